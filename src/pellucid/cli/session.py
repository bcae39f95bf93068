"""What the whole program wishes, known before click reads the arguments: language, JSON, tracebacks, and the two streams."""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pellucid.cli.terminal import Output, can_write_chinese
from pellucid.core.errors import OptionError
from pellucid.core.language import LANGUAGES, Text, language_of_environment, text


@dataclass
class Session:
    """One call of the program."""

    json: bool = False  # standard output holds one JSON object, all else goes to standard error
    started: float | None = None  # what time.perf_counter said when the process began; None: the process is not ours alone
    traceback: bool = False  # show where an unexpected error came from
    out: Output = field(default_factory=lambda: Output("stdout"))
    err: Output = field(default_factory=lambda: Output("stderr"))

    def tell(self, sentence: Text) -> None:
        """Something for a person beside the answer: standard error."""
        self.err.prose(str(sentence))

    def write_json(self, answer: Mapping[str, Any]) -> None:
        """The one JSON object. NaN and infinity, which JSON does not have, become null."""
        utf8 = str(getattr(sys.stdout, "encoding", None) or "utf-8").lower().replace("_", "-").startswith("utf")
        sys.stdout.write(json.dumps(_plain(answer), ensure_ascii=not utf8, allow_nan=False, indent=2) + "\n")
        sys.stdout.flush()


def _plain(value: Any) -> Any:
    if hasattr(value, "to_dict"):
        return _plain(value.to_dict())
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if hasattr(value, "tolist"):  # a NumPy or torch scalar or array
        return _plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if value is None or isinstance(value, (bool, int, float, str)) else str(value)


def session_of(arguments: Sequence[str]) -> Session:
    """Look ahead for what must be known even when the arguments turn out to be wrong."""
    words = _before_double_dash(arguments)
    debug = os.environ.get("PELLUCID_DEBUG", "").lower() not in ("", "0", "false", "no")
    return Session(json="--json" in words, traceback=debug or "--traceback" in words)


def language_of(arguments: Sequence[str]) -> str:
    """ "zh" or "en": `--language`, else the locale; English where neither stream can write Chinese.

    Raises:
        OptionError: `--language` with a word that is no language of ours.
    """
    words = _before_double_dash(arguments)
    chosen = language_of_environment()
    for position, word in enumerate(words):
        if word == "--language" and position + 1 < len(words):
            chosen = _known(words[position + 1])
        elif word.startswith("--language="):
            chosen = _known(word.partition("=")[2])
    if chosen == "zh" and not (can_write_chinese(sys.stderr) and can_write_chinese(sys.stdout)):
        return "en"  # rows of question marks would help nobody
    return chosen


def _known(name: str) -> str:
    lowered = name.lower().replace("_", "-")
    for language in LANGUAGES:
        if lowered == language or lowered.startswith((f"{language}-", f"{language}.")):
            return language
    raise OptionError(
        text("the language is {name!r}", name=name),
        text("one of: {names}", names=list(LANGUAGES)),
        text("write --language en or --language zh"),
    )


def _before_double_dash(arguments: Sequence[str]) -> Sequence[str]:
    return arguments[: arguments.index("--")] if "--" in arguments else arguments
