"""Series in tables. Wide: one row per series, its steps in columns of numbers. Long: one row per step, with a column that names the series.

A table says nothing of which of the two it is, or that it holds series at all: the option `task` ("time_series") says that it does; `group`
and `time` together say that it is long.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl

from pellucid.core.errors import DataError
from pellucid.core.language import Text, text
from pellucid.core.records import Notice
from pellucid.data.ledger import NumberedNames
from pellucid.data.series.values import RawSeries, SeriesValues
from pellucid.data.tables.columns import Column, as_number_series, infer_column
from pellucid.data.tables.files import RawTable, load
from pellucid.data.tables.parsing import MISSING, MISSING_AMONG_NUMBERS, as_text, number_notation, parse_numbers, stripped, without
from pellucid.data.tables.reading import column_name, target_names, without_empty_rows

FEW_STEPS = 8  # of rows that are said to belong together: more likely the rows are the steps
FEWEST_STEPS = 3  # columns of numbers; with fewer, a row is no series
_NUMBERED = re.compile(r"^(?P<name>.*?)[\s_.\-\[(]*(?P<number>\d+)[\])]?$")
_UNEVEN = 1.5  # times the usual distance of two steps
_EXAMPLES = 5


def read_table_of_series(source: Any, target: Any, *, header: bool = True, group: Any = None, time: Any = None) -> RawSeries:
    """The series of a table, wide or long.

    Raises:
        DataError: no such table or column, no columns of numbers, times that are none.
    """
    raw, _ = without_empty_rows(load(source, header=header))
    targets = target_names(raw, target)
    if len(targets) > 1:
        raise DataError(
            text("{count} target columns: {names}", count=len(targets), names=targets),
            text("one target for each series"),
            text("name one of them"),
        )
    name = targets[0] if targets else None
    group_name = None if group is None else column_name(raw, group, "group")
    time_name = None if time is None else column_name(raw, time, "time")
    for option, of_option in (("group", group_name), ("time", time_name)):
        if of_option is not None and of_option == name:
            raise DataError(
                text("{option} is the target {name!r}", option=option, name=name),
                text("a column other than the target"),
                text("name another column, or leave {option} out", option=option),
            )
    if group_name is not None and time_name is not None:
        return read_long(raw, name, group_name, time_name)
    return read_wide(raw, name, group_name, time_name)


def numbers_of(values: pl.Series, decimal_comma: bool) -> np.ndarray | None:
    """(n,) float64 of a column of numbers, NaN where one is missing; None for a column of anything else."""
    if values.dtype == pl.String:
        texts = without(stripped(values), MISSING | MISSING_AMONG_NUMBERS)
        distinct = texts.unique().drop_nulls()
        notation, wrong = number_notation(distinct, decimal_comma) if distinct.len() else ("plain", distinct)
        if wrong.len():
            return None
        numbers = parse_numbers(texts, notation)
    elif values.dtype.is_numeric() or values.dtype in (pl.Boolean, pl.Null):
        numbers = as_number_series(values.cast(pl.Float64) if values.dtype in (pl.Boolean, pl.Null) else values)
    else:
        return None
    return numbers.cast(pl.Float64).fill_null(float("nan")).to_numpy()


def _columns_of_numbers(raw: RawTable, without_these: Sequence[str | None]) -> tuple[dict[str, np.ndarray], list[str]]:
    """The columns of numbers in their order, and the names of those that are none."""
    found: dict[str, np.ndarray] = {}
    others: list[str] = []
    for values in raw.frame.get_columns():
        if values.name in without_these:
            continue
        numbers = numbers_of(values, raw.decimal_comma)
        if numbers is None or _counts_rows(values, raw):
            others.append(values.name)
        else:
            found[values.name] = numbers
    return found, others


def _counts_rows(values: pl.Series, raw: RawTable) -> bool:
    """Whether the column only counts the rows, as the first column of an exported frame does."""
    column: Column = infer_column(values.name, values, decimal_comma=raw.decimal_comma)[0]
    return column.counts_rows and values.name == raw.frame.columns[0]


def _left_out(others: Sequence[str], raw: RawTable) -> list[Notice]:
    if not others:
        return []
    summary = text("columns of {name} without numbers to read as a series are left out: {names}", name=raw.shown, names=list(others)[:20])
    return [Notice(kind="unused_columns", summary=summary, evidence={"columns": list(others)})]


# -- wide ----------------------------------------------------------------------------------------------------------------------------


def read_wide(raw: RawTable, target: str | None, group: str | None, time: str | None) -> RawSeries:
    """One row per series. Columns called x_1, x_2, ..., y_1, y_2, ... are several channels."""
    numbers, others = _columns_of_numbers(raw, (target, group, time))
    if len(numbers) < FEWEST_STEPS:
        raise DataError(
            text("{name} has {count} columns of numbers beside the target", name=raw.shown, count=len(numbers)),
            text("one row per series, its steps in at least {fewest} columns; or one row per step", fewest=FEWEST_STEPS),
            text("for one row per step name the column of the series with --group and that of the time with --time"),
        )
    if group is not None and len(numbers) < FEW_STEPS and raw.frame[group].n_unique() < raw.frame.height:
        raise DataError(
            text("rows of {name} with equal {group!r} and {count} columns of numbers, but no time", name=raw.shown, group=group,
                 count=len(numbers)),
            text("one row per step: the columns of the series and of the time; or one row per series, its steps in columns"),
            text("name the column of the time with --time, or leave --group out"),
        )  # fmt: skip
    channels = channels_of(list(numbers))
    if channels is None:
        names, table = [""], np.stack(list(numbers.values()), axis=1)[:, :, None]  # (n, T, 1)
    else:
        names = list(channels)
        table = np.stack([np.stack([numbers[column] for column in columns], axis=1) for columns in channels.values()], axis=2)
    columns = list(numbers)
    summary = (
        text("each row of {name} is a series of {steps} steps: the columns {first} to {last}", name=raw.shown, steps=table.shape[1],
             first=columns[0], last=columns[-1])
        if channels is None
        else text("each row of {name} is a series of {steps} steps with {count} channels: {names}", name=raw.shown, steps=table.shape[1],
                  count=len(names), names=names[:20])
    )  # fmt: skip
    notices = [*raw.notices, Notice(kind="wide_series", summary=summary), *_left_out(others, raw)]
    return RawSeries(
        values=SeriesValues.of(list(table), names),
        identifiers=NumberedNames(len(table), "row ", 1),
        name=raw.name,
        shown=raw.shown,
        layout="wide",
        labels=None if target is None else raw.frame[target],
        target=target or "class",
        value_columns=tuple(numbers),
        groups=None if group is None else np.asarray(as_text(raw.frame[group]).fill_null("").to_list(), dtype=object),
        times=None if time is None else _moments(raw, time)[0],
        notices=notices,
        header=raw.header,
        decimal_comma=raw.decimal_comma,
    )


def channels_of(names: Sequence[str]) -> dict[str, list[str]] | None:
    """channel -> its columns, where the names say so: x_1, x_2, x_3, y_1, y_2, y_3. None where all columns are one channel."""
    found: dict[str, list[tuple[int, str]]] = {}
    for name in names:
        match = _NUMBERED.match(name)
        if match is None or not match["name"]:
            return None
        found.setdefault(match["name"], []).append((int(match["number"]), name))
    steps = [[number for number, _ in columns] for columns in found.values()]
    if len(found) < 2 or len(steps[0]) < FEWEST_STEPS or any(one != steps[0] or one != sorted(one) for one in steps):
        return None
    return {channel: [name for _, name in columns] for channel, columns in found.items()}


# -- long ----------------------------------------------------------------------------------------------------------------------------


def read_long(raw: RawTable, target: str | None, group: str, time: str) -> RawSeries:
    """One row per step: rows of one `group` are a series, ordered by `time`; the other columns of numbers are its channels."""
    numbers, others = _columns_of_numbers(raw, (target, group, time))
    if not numbers:
        raise DataError(
            text("{name} has no column of numbers beside group, time and target", name=raw.shown),
            text("at least one column with the values of the series"),
            text("check the columns: {names}", names=raw.frame.columns[:20]),
        )
    owners = as_text(raw.frame[group]).fill_null("")
    moments, known = _moments(raw, time)
    names = owners.unique(maintain_order=True)
    place = owners.replace_strict({name: index for index, name in enumerate(names.to_list())}, return_dtype=pl.Int64).to_numpy()
    order = np.lexsort((np.arange(len(place)), moments, place))
    lengths = np.bincount(place, minlength=len(names))
    begins = np.concatenate([[0], np.cumsum(lengths)])
    sorted_moments = moments[order]
    table = np.stack(list(numbers.values()), axis=1)
    values = SeriesValues(table[order], begins.astype(np.int64), tuple(numbers) if len(numbers) > 1 else ("",))

    unusable: dict[int, Text] = {}
    disordered = 0
    uneven = 0
    for index, (first, last) in enumerate(zip(begins[:-1].tolist(), begins[1:].tolist(), strict=True)):
        rows, gaps = order[first:last], np.diff(sorted_moments[first:last])
        if not names[index]:
            unusable[index] = text("its rows do not say which series they belong to: {group!r} is missing", group=group)
        elif not known[rows].all():
            unusable[index] = text("the time {name!r} of one of its steps is missing", name=time)
        elif len(gaps) and (gaps == 0).any():
            twice = int(rows[int(np.flatnonzero(gaps == 0)[0]) + 1])
            unusable[index] = text("its time {value} stands twice", value=str(raw.frame[time][twice]))
        disordered += bool(len(rows) > 1 and (np.diff(rows) < 0).any())
        usual = float(np.median(gaps)) if len(gaps) else 0.0
        uneven += bool(len(gaps) and (gaps > _UNEVEN * usual).any())
    summary = text("the rows of {name} with equal {group!r} are a series, in the order of {time!r}; its channels: {names}",
                   name=raw.shown, group=group, time=time, names=list(numbers)[:20])  # fmt: skip
    notices = [*raw.notices, Notice(kind="long_series", summary=summary), *_left_out(others, raw)]
    if disordered:
        summary = text("in {count} series the rows are not in the order of {time!r}; they are put in order", count=disordered, time=time)
        notices.append(Notice(kind="disordered_times", summary=summary, evidence={"series": disordered}))
    if uneven:
        summary = text(
            "in {count} of {series} series the steps of {time!r} are not evenly spaced; the network sees their order, not their distance",
            count=uneven, series=len(names), time=time,
        )  # fmt: skip
        notices.append(Notice(kind="uneven_times", summary=summary, evidence={"series": uneven}))
    labels = None if target is None else _labels(raw.frame[target], place, order, begins, unusable)
    return RawSeries(
        values=values,
        identifiers=names.to_list(),
        name=raw.name,
        shown=raw.shown,
        layout="long",
        labels=labels,
        target=target or "class",
        value_columns=tuple(numbers),
        group=group,
        time=time,
        unusable=unusable,
        notices=notices,
        header=raw.header,
        decimal_comma=raw.decimal_comma,
    )


def _labels(values: pl.Series, place: np.ndarray, order: np.ndarray, begins: np.ndarray, unusable: dict[int, Text]) -> pl.Series:
    """One label for each series: the one that its rows have. Rows without any do not contradict the others."""
    texts = without(as_text(values.cast(pl.String) if values.dtype in (pl.Categorical, pl.Enum) else values), frozenset([""]))
    codes = texts.cast(pl.Categorical).to_physical().cast(pl.Int64).fill_null(-1).to_numpy()[order]
    chosen: list[int | None] = []
    for index, (first, last) in enumerate(zip(begins[:-1].tolist(), begins[1:].tolist(), strict=True)):
        rows = np.flatnonzero(codes[first:last] >= 0)
        found = np.unique(codes[first:last][rows])
        chosen.append(int(order[first + rows[0]]) if len(found) else None)
        if len(found) > 1:
            several = sorted({str(texts[int(order[first + row])]) for row in rows[: 10 * _EXAMPLES].tolist()})
            unusable.setdefault(index, text("its rows name several targets: {values}", values=several[:_EXAMPLES]))
    return pl.Series(values.name, [None if row is None else values[row] for row in chosen], dtype=values.dtype)


def _moments(raw: RawTable, name: str) -> tuple[np.ndarray, np.ndarray]:
    """(n,) sortable numbers of a column of times, microseconds for dates, and whether each is there."""
    column, values = infer_column(name, raw.frame[name], decimal_comma=raw.decimal_comma)
    if column.kind not in ("date", "numeric", "identifier", "constant", "boolean") or values.dtype == pl.String:
        raise DataError(
            text("time is the column {name!r}, whose values are neither dates nor numbers", name=name),
            text("a column of dates or numbers"),
            text("name such a column, or write its dates as 2024-01-31"),
        )
    if values.dtype == pl.Datetime:
        values = values.dt.timestamp("us")
    known = values.is_not_null().to_numpy()
    return values.cast(pl.Float64).fill_null(0.0).to_numpy(), known
