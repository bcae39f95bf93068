"""The report of a run as one HTML file: offline, in English and Chinese, for the screen and for paper."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from pellucid.core.language import Text, language, text
from pellucid.core.system import write_atomically
from pellucid.core.wording import TASK_NAMES
from pellucid.report import wording
from pellucid.report.records import UNREADABLE, RunRecords, read_records
from pellucid.report.sections import SECTIONS, Absent
from pellucid.runs.directory import RunDirectory

FILE_NAME = "report.html"
LIMIT = 5_000_000  # bytes of the file; above it the pictures of mistakes go, then the points of scatter plots
_TEMPLATES = Path(__file__).parent / "templates"


def write(directory: RunDirectory | Path | str) -> Path:
    """Draw the report of a run from its records into the run, and return its path. An earlier report is replaced.

    Raises:
        RunError: the directory is not a run, or a newer version wrote it.
        StorageError: the disk refuses.
    """
    records = read_records(directory)
    path = records.path / FILE_NAME
    write_atomically(path, [render(records).encode("utf-8", "replace")])
    return path


def render(records: RunRecords) -> str:
    """The page, 5 MB at most."""
    page = _whole(records, None)
    for smaller, notice in ((_without_pictures, _NO_PICTURES), (_with_fewer_points, _FEWER_POINTS)):
        if len(page.encode("utf-8", "replace")) <= LIMIT:
            break
        records = smaller(records)
        page = _whole(records, notice)
    return page


_NO_PICTURES = text("The pictures of mistakes are left out: the file would be over 5 MB.")
_FEWER_POINTS = text("The pictures of mistakes and most points of the figures are left out: the file would be over 5 MB.")


def _without_pictures(records: RunRecords) -> RunRecords:
    if records.mistakes is None:
        return records
    bare = tuple(replace(mistake, thumbnail=None, values=dict(list(mistake.values.items())[:8])) for mistake in records.mistakes.mistakes)
    return replace(records, mistakes=replace(records.mistakes, mistakes=bare))


def _with_fewer_points(records: RunRecords) -> RunRecords:
    if records.evaluation is None:
        return records
    parts = {
        name: replace(
            part,
            regression=tuple(replace(target, pairs=target.pairs[:100]) for target in part.regression[:4]),
            per_class=part.per_class[:20],
            confusion=None,
        )
        for name, part in records.evaluation.parts.items()
    }
    return replace(records, evaluation=replace(records.evaluation, parts=parts))


def _whole(records: RunRecords, notice: Text | None) -> str:
    environment = _environment()
    drawn: list[Mapping[str, Any]] = []
    for section in SECTIONS:
        try:
            found = section.content(records)
            if isinstance(found, Absent):
                if found.reason is not None:
                    drawn.append({"section": section, "reason": found.reason, "body": None})
                continue
            body = Markup(environment.get_template(f"{section.name}.html").render(found))
        except UNREADABLE as error:  # one record that somebody has edited must not take the other sections along
            drawn.append({"section": section, "reason": _unreadable(error), "body": None})
            continue
        drawn.append({"section": section, "reason": None, "body": body})
    title = {name: f"{records.name}: {_TITLE.render(name)}" for name in ("en", "zh")}
    return environment.get_template("page.html").render(
        language=language(),
        records=records,
        title=title,
        drawn=drawn,
        notice=notice,
        state=_state(records),
        created=str(records.run.get("created", ""))[:16].replace("T", " "),
        task=TASK_NAMES.get(records.task.kind, records.task.kind),
        parameters=_parameters(records),
        version=str(records.run.get("pellucid", "")),
        style=Markup((_TEMPLATES / "page.css").read_text(encoding="utf-8")),
        script=Markup((_TEMPLATES / "page.js").read_text(encoding="utf-8")),
    )


_TITLE = text("report")


def _unreadable(error: Exception) -> Text:
    return text("This section cannot be drawn from the run's records: {reason}", reason=f"{type(error).__name__}: {error}"[:300])


def _state(records: RunRecords) -> tuple[str, Text]:
    if records.divergence is not None:
        return "fault", text("diverged")
    if records.finished:
        return "good", text("finished")
    return "advice", text("running") if records.running else text("interrupted")


def _parameters(records: RunRecords) -> str:
    count = records.network.parameters if records.network is not None else records.run["network"].get("parameters")
    return wording.grouped(count) if isinstance(count, (int, float)) else "–"


@cache
def _environment() -> Environment:
    """Templates that escape whatever is put into them; a name that a template does not get is an error, not a gap."""
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(
        both=both, name=name_of_user, grouped=wording.grouped, value=wording.value, stated=wording.stated, interval=wording.interval,
        shape=wording.shape, printable=_printable, longest=lambda labels: max(labels, key=len, default=""),
    )  # fmt: skip
    environment.globals["text"] = text
    return environment


def both(sentence: Any) -> Markup:
    """A sentence in both languages, of which the page shows one; a plain text as it is."""
    if not isinstance(sentence, Text):
        return escape(_printable(str(sentence)))
    english, chinese = _printable(sentence.render("en")), _printable(sentence.render("zh"))
    if english == chinese:
        return escape(english)
    return Markup('<span lang="en">{}</span><span lang="zh">{}</span>').format(english, chinese)


def name_of_user(word: Any) -> Markup:
    """A name from the user's data: harmless, whatever it is; its direction of writing does not leak into ours."""
    if isinstance(word, Text):  # "row 5" is our name for it, in both languages
        return both(word)
    shown = _printable(str(word))
    return Markup("<bdi>{}</bdi>").format(shown if shown.strip() else "␣")


def _printable(words: str) -> str:
    """Without characters that no page may hold, or that would turn the direction of what follows."""
    if words.isprintable():
        return words
    kept = (word if word in "\n\t" or unicodedata.category(word) not in ("Cc", "Cf", "Cs", "Co", "Cn") else "\ufffd" for word in words)
    return "".join(kept)
