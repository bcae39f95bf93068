"""Predictions for a person (a table), for a spreadsheet (CSV) and for a program (JSON lines, JSON)."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from pellucid.cli.layout import number, one_line, shorten
from pellucid.cli.results import notice_rows
from pellucid.cli.terminal import Output
from pellucid.core.language import sample_name, text
from pellucid.core.records import Notice
from pellucid.core.system import write_atomically
from pellucid.core.wording import count

if TYPE_CHECKING:
    from pellucid.training.answers import Predictions

SHOWN = 20  # samples in a terminal
_CLASSES_SHOWN = 3  # the most probable ones


def tell_skipped(output: Output, skipped: Sequence[str]) -> None:
    """What could not be read, by name: nothing is left out in silence."""
    for reason in skipped[:5]:
        output.prose(str(text("left out: {what}", what=reason)), "yellow", rest="  ")
    if len(skipped) > 5:
        output.prose(str(text("left out: {count} more", count=count(len(skipped) - 5))), "yellow")


def tell_notices(output: Output, notices: Sequence[Notice]) -> None:
    """What is unlike the data that the network was trained on."""
    for notice in notices:
        output.prose(str(text("note: {what}", what=notice.summary)), "yellow", rest="  ")


def show_table(output: Output, answer: Predictions) -> None:
    rows = range(min(len(answer), SHOWN))
    names = [shorten(one_line(str(sample_name(answer.identifiers[index]))), 40) for index in rows]
    if answer.labels is not None and answer.probabilities is not None:
        header = [str(text("sample")), answer.task.targets[0], str(text("probability")), str(text("next likely"))]
        table = []
        for index in rows:
            chances = answer.probabilities[index]
            order = chances.argsort()[::-1][:_CLASSES_SHOWN]
            others = ", ".join(f"{answer.task.classes[other]} {chances[other]:.3f}" for other in order[1:])
            table.append([names[index], (answer.labels[index], "bold"), f"{chances[order[0]]:.3f}", (others, "dim")])
        output.table(header, table, right=(2,))
    elif answer.forecasts:
        columns = answer.to_dict()
        shown = [[number(value, 5) if isinstance(value, float) else str(value) for value in values[:SHOWN]] for values in columns.values()]
        output.table(list(columns), [list(row) for row in zip(*shown, strict=True)], right=range(1, len(columns)))
    elif answer.values is not None:
        header = [str(text("sample")), *answer.task.targets]
        table = [[names[index], *(number(float(value), 5) for value in answer.values[index])] for index in rows]
        output.table(header, table, right=range(1, len(header)))
    elif answer.masks is not None:
        classes = answer.task.classes
        header = [str(text("sample")), str(text("size")), str(text("commonest classes"))]
        table = []
        for index in rows:
            mask = answer.masks[index]
            shares = sorted(((float((mask == number).mean()), name) for number, name in enumerate(classes)), reverse=True)[:_CLASSES_SHOWN]
            told = ", ".join(f"{name} {100 * share:.0f} %" for share, name in shares if share)
            table.append([names[index], f"{mask.shape[0]} x {mask.shape[1]}", told])
        output.table(header, table, right=(1,))
        output.prose(str(text("--output FOLDER writes the masks")), "dim")
    if len(answer) > SHOWN:
        output.prose(str(text("and {count} more; --output FILE.csv writes all of them", count=count(len(answer) - SHOWN))), "dim")


def write_csv(answer: Predictions, stream: TextIO) -> None:
    columns = answer.to_dict()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(zip(*columns.values(), strict=True))


def rows_of(answer: Predictions) -> Iterator[dict[str, Any]]:
    columns = answer.to_dict()
    for row in zip(*columns.values(), strict=True):
        yield dict(zip(columns, row, strict=True))


def as_json(answer: Predictions, output: str | None) -> dict[str, Any]:
    known: dict[str, Any] = {"task": answer.task.kind, "samples": len(answer), "skipped": list(answer.skipped)}
    known["notices"] = notice_rows(answer.notices)
    return {**known, "output": output} if output is not None else {**known, "predictions": list(rows_of(answer))}


def write_file(answer: Predictions, path: Path) -> None:
    """Whole or not at all. UTF-8; CSV begins with a byte order mark where it holds more than ASCII, because spreadsheets ask for it.

    Raises:
        StorageError: the disk is full, or the folder cannot be written to.
    """
    content = io.StringIO()
    if path.suffix.lower() == ".csv":
        write_csv(answer, content)
    else:
        for row in rows_of(answer):
            content.write(json.dumps(row, ensure_ascii=False) + "\n")
    written = content.getvalue()
    mark = path.suffix.lower() == ".csv" and not written.isascii()
    write_atomically(path, [written.encode("utf-8-sig" if mark else "utf-8")])
