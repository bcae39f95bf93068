"""Every sentence a user reads, in the user's language.

A sentence is written once, in English, as `text("column {name!r} is empty", name="age")`. The result is a `Text`: it keeps the
sentence and its values apart, so that one record stored on disk can be read in either language later. The Chinese sentences stand in
`locale/zh_CN/LC_MESSAGES/pellucid.po`; gettext finds them by the English sentence. This file imports neither torch nor click.
"""

from __future__ import annotations

import gettext as _gettext
import locale as _locale
import os
import re
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, cast

LANGUAGES = ("en", "zh")
LOCALE_DIRECTORY = Path(__file__).resolve().parent.parent / "locale"

_CHINESE = re.compile("[\u3000-\u303f\u4e00-\u9fff]")
_BLANK_BEFORE = re.compile(r"(?<=[\u4e00-\u9fff]) (\{(\w+)\})")
_BLANK_AFTER = re.compile(r"(\{(\w+)\}) (?=[\u4e00-\u9fff])")

_current: ContextVar[str | None] = ContextVar("pellucid_language", default=None)


def language() -> str:
    """The language in force: the innermost `use_language`, else the environment's locale, else English."""
    return _current.get() or language_of_environment()


def language_of_environment(environment: Mapping[str, str] | None = None) -> str:
    """The user's language: "zh" when the locale's variables, in gettext's order of authority, name Chinese; else "en"."""
    environment = os.environ if environment is None else environment
    for variable in ("PELLUCID_LANGUAGE", "LANGUAGE", "LC_ALL", "LC_MESSAGES", "LANG"):
        value = environment.get(variable, "")
        if value:
            return "zh" if value.lower().startswith("zh") else "en"
    if os.name == "nt":  # Windows keeps the user's language in the system, not in variables
        name = _locale.getlocale()[0] or ""
        return "zh" if name.lower().startswith(("zh", "chinese")) else "en"
    return "en"


@contextmanager
def use_language(name: str) -> Generator[None]:
    """Read every `Text` rendered inside the block in `name` ("en" or "zh")."""
    token = _current.set(name)
    try:
        yield
    finally:
        _current.reset(token)


@dataclass(frozen=True, repr=False)
class Text:
    """A sentence and its values, rendered when it is read. `str(sentence)` renders in the language in force."""

    message: str
    values: Mapping[str, Any] = field(default_factory=lambda: cast("dict[str, Any]", {}))

    def render(self, name: str | None = None) -> str:
        name = name or language()
        template = _catalogue(name).gettext(self.message) if name != "en" and self.message else self.message
        values = {key: _rendered(value, name) for key, value in self.values.items()}
        if name == "zh":  # a blank parts Chinese from Latin letters and digits, not from Chinese: "raises {output}" is given either
            ours = {key: values[key] for key, value in self.values.items() if isinstance(value, Text)}
            template = _BLANK_BEFORE.sub(lambda at: at[1] if _CHINESE.match(ours.get(at[2], "")) else at[0], template)
            template = _BLANK_AFTER.sub(lambda at: at[1] if _CHINESE.match(ours.get(at[2], "")[-1:]) else at[0], template)
        return template.format(**values) if values else template.replace("{{", "{").replace("}}", "}")

    def __str__(self) -> str:
        return self.render()

    def __repr__(self) -> str:  # what a person sees of a record that is printed: the sentence, not its parts
        return repr(self.render())

    def __hash__(self) -> int:  # of the sentence alone: its values need not be hashable
        return hash(self.message)

    def to_dict(self) -> dict[str, Any]:
        return {"text": self.message, "values": {key: _stored(value) for key, value in self.values.items()}}

    @staticmethod
    def from_dict(stored: Mapping[str, Any] | str) -> Text:
        if isinstance(stored, str):  # a plain sentence from someone else's program
            return Text("{sentence}", {"sentence": stored})
        return Text(stored["text"], {key: _restored(value) for key, value in stored.get("values", {}).items()})


def text(message: str, /, **values: Any) -> Text:
    """Mark a sentence for translation and bind its values. The extractor of catalogues looks for calls of this name."""
    return Text(message, values)


_ROW = re.compile(r"(?:(?P<table>.+) )?row (?P<number>\d+)", re.DOTALL)


def sample_name(identifier: str) -> Text | str:
    """What a ledger calls a sample, for a person: the rows of tables in the reader's language, a file's name as it is."""
    row = _ROW.fullmatch(identifier)
    if row is None:
        return identifier
    if row["table"] is None:
        return text("row {number}", number=row["number"])
    return text("{table} row {number}", table=row["table"], number=row["number"])


@cache
def _catalogue(name: str) -> _gettext.NullTranslations:
    folder = {"zh": "zh_CN"}.get(name, name)
    return _gettext.translation("pellucid", LOCALE_DIRECTORY, languages=[folder], fallback=True)


def _rendered(value: Any, name: str) -> Any:
    if isinstance(value, Text):
        return value.render(name)
    if isinstance(value, (list, tuple)):
        separator = "、" if name == "zh" else ", "
        return separator.join(str(_rendered(item, name)) for item in cast("Sequence[Any]", value))
    return value


def _stored(value: Any) -> Any:
    if isinstance(value, Text):
        return value.to_dict()
    if isinstance(value, (list, tuple)):
        return [_stored(item) for item in cast("Sequence[Any]", value)]
    if value is None or isinstance(value, (str, int, float, bool)):
        return value
    if hasattr(value, "item") and getattr(value, "ndim", 1) == 0:  # a NumPy or torch scalar: "{value:g}" needs a number again
        return value.item()
    return str(value)


def _restored(value: Any) -> Any:
    if isinstance(value, dict):
        stored = cast("dict[str, Any]", value)
        return Text.from_dict(stored) if "text" in stored else stored
    if isinstance(value, list):
        return [_restored(item) for item in cast("list[Any]", value)]
    return value
