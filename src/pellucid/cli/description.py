"""What is seen in the data before training, drawn: sentences, columns, classes, and what looks suspicious."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from pellucid.cli.layout import one_line, shorten, width_of
from pellucid.cli.names import column_kind_name, part_name, task_name
from pellucid.cli.predictions import tell_skipped
from pellucid.cli.terminal import Output, Piece, plain
from pellucid.core.language import text
from pellucid.core.wording import count

if TYPE_CHECKING:
    from pellucid.data.description import DataDescription, ValueDescription

_COLUMNS_SHOWN = 60
_CLASSES_SHOWN = 20
_LONGEST_NAME = 32
_BAR = 24  # columns of the bar of the commonest class


def show_description(output: Output, description: DataDescription) -> None:
    title: list[Piece] = [(one_line(description.name), "bold")]
    if description.task is not None:
        title.append(f"  {task_name(description.task.kind)}")
    output.line(*title)
    for sentence in description.sentences:
        output.prose(str(sentence))
    several = description.kind == "table" or len(description.columns) > 1  # columns, or the channels of series
    if description.columns and not several:
        output.prose(str(text("Values: {values}.", values=_values(description.columns[0], 100, description.samples))))
    if description.parts:
        parts = [text("{count} {part}", count=count(size), part=part_name(part)) for part, size in description.parts.items()]
        output.prose(str(text("The data come already split: {parts}.", parts=parts)))
    if description.classes:
        output.line("")
        _show_classes(output, description.classes, description.task is not None and description.task.kind == "segmentation")
    if description.columns and several:
        output.line("")
        _show_columns(output, description)
    if description.notices or description.quarantined:
        output.line("")
    for notice in description.notices:
        output.prose(str(notice.summary), "yellow", first="! ", rest="  ")
    tell_skipped(output, [str(item.summary) for item in description.quarantined])


def _show_classes(output: Output, classes: Mapping[str, int], pixels: bool) -> None:
    """The classes, the commonest first, with a bar each: an imbalance is seen before it is read."""
    order = sorted(classes, key=lambda name: -classes[name])
    largest, total = max(classes[order[0]], 1), max(sum(classes.values()), 1)
    block = "━" if output.unicode else "="
    rows: list[list[Piece]] = [
        [
            shorten(one_line(name), _LONGEST_NAME),
            count(classes[name]),
            f"{100 * classes[name] / total:.1f} %",
            (block * max(round(_BAR * classes[name] / largest), 1 if classes[name] else 0), "green"),
        ]
        for name in order[:_CLASSES_SHOWN]
    ]
    header = [str(text("class")), str(text("pixels") if pixels else text("samples")), str(text("share")), ""]
    output.table(header, rows, right=(1, 2), spare=(3,))
    if len(order) > _CLASSES_SHOWN:
        more, least = len(order) - _CLASSES_SHOWN, order[-1]
        rest = text("and {count} more classes, down to {name!r} with {samples}", count=more, name=least, samples=classes[least])
        output.prose(str(rest), "dim")


def _show_columns(output: Output, description: DataDescription) -> None:
    shown = description.columns[:_COLUMNS_SHOWN]
    unused = text("not used")
    first = text("column") if description.kind == "table" else text("channel")
    header = [str(first), str(text("kind")), str(text("missing")), str(text("distinct")), str(text("values"))]
    rows: list[list[Piece]] = [
        [
            (shorten(one_line(column.name), _LONGEST_NAME), "" if column.used else "dim"),
            str(column_kind_name(column.kind)) + ("" if column.used else f" ({unused})"),
            _missing(column, description.steps or description.samples),
            "-" if column.distinct is None else count(column.distinct),
        ]
        for column in shown
    ]
    taken = sum(max(width_of(plain(cell)) for cell in column) + 2 for column in zip(header, *rows, strict=False))
    room = max(24, output.full_columns - taken) if output.live else 200
    for row, column in zip(rows, shown, strict=True):
        row.append(_values(column, room, description.samples))
    output.table(header, rows, right=(2, 3), spare=(3,))
    if len(description.columns) > len(shown):
        more = len(description.columns) - len(shown)
        output.prose(str(text("and {count} more columns; --json shows all of them", count=count(more))), "dim")


def _missing(column: ValueDescription, samples: int) -> Piece:
    if not column.missing:
        return ("-", "dim")
    share = 100 * column.missing / max(samples, 1)
    return (f"{share:.1f} %" if share >= 0.05 else "< 0.1 %", "yellow")


def _values(column: ValueDescription, room: int, samples: int) -> str:
    """The range of numbers and dates, the commonest of other values."""
    if column.minimum is not None and column.maximum is not None:
        spread = text("{low} to {high}", low=_short(column.minimum), high=_short(column.maximum))
        return str(spread if column.mean is None else text("{range}, mean {mean}", range=spread, mean=_short(column.mean)))
    if column.first is not None and column.last is not None:
        return str(text("{low} to {high}", low=column.first.removesuffix(" 00:00:00"), high=column.last.removesuffix(" 00:00:00")))
    present = max(samples - column.missing, 1)
    names = [f"{shorten(one_line(name), 20)} {_share(100 * size / present)}" for name, size in column.common.items()]
    return whole_items(names, room, more=(column.distinct or 0) > len(names))


def _share(share: float) -> str:
    return f"{share:.0f} %" if share >= 0.5 else "< 1 %"


def _short(value: float) -> str:
    whole = abs(value) < 1e9 and (value == int(value) or abs(value) >= 1e4)
    return count(value) if whole else f"{value:.4g}"


def whole_items(items: list[str], room: int, *, more: bool = False) -> str:
    """The first items of a list, as many as fit; dots where there are more."""
    shown = list(items)
    while len(shown) > 1 and width_of(", ".join(shown)) + (5 if more or len(shown) < len(items) else 0) > room:
        shown.pop()
    return ", ".join([*shown, *(["..."] if shown and (more or len(shown) < len(items)) else [])])
