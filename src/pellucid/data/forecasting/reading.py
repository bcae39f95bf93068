"""A table with a column of times as series: the rows in the order of time, each at its place; what is doubled, missing or out of order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl

from pellucid.core.errors import DataError
from pellucid.core.language import Text, text
from pellucid.core.records import Notice, Task
from pellucid.data.forecasting.calendar import Steps, Times, find_steps, find_times
from pellucid.data.samples import Quarantined, Samples
from pellucid.data.tables.columns import Column, infer_columns, read_column
from pellucid.data.tables.files import RawTable, load
from pellucid.data.tables.hashes import hash_table
from pellucid.data.tables.parsing import as_text
from pellucid.data.tables.reading import column_name, without_empty_rows

ALONE = ""  # the name of a series that is the only one
MOST_LEVELS = 12  # of a column of categories that is seen beside the series
_LIMIT = 0.1  # of the rows may be set aside; beyond, something is wrong with the file


@dataclass
class SeriesSamples(Samples):
    """Rows of one or several series, series by series and in the order of time. `inputs` is a polars frame of the columns beside the
    target; `targets` (N, 1) has NaN where a row has no value."""

    steps: Steps = field(default_factory=lambda: Steps(unit="numbers", size=1, first=0))
    places: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=np.int64))  # (N,) of the rows' times
    series: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=np.int64))  # (N,) number of the row's series
    series_names: Sequence[str] = (ALONE,)
    columns: Mapping[str, Column] = field(default_factory=dict[str, Column])  # those beside the target that can be used
    target_column: Column | None = None
    time: str | None = None  # the column's name
    group: str | None = None
    horizon: int | str = "auto"  # as asked for
    lags: int | str = "auto"
    header: bool = True
    decimal_comma: bool = False

    @property
    def time_name(self) -> str:
        """Of the column that holds the times; "time" where several do."""
        return "time" if self.time is None or ", " in self.time else self.time


def read_series(
    source: Any,
    target: Any = None,
    *,
    header: bool = True,
    group: Any = None,
    time: Any = None,
    horizon: int | str = "auto",
    lags: int | str = "auto",
) -> SeriesSamples:
    """The series in a table file or a frame: `target` over the column `time`, one series for each value of the column `group`.

    Raises:
        DataError: no times, times at no regular distances, two values for one time, or a target that is no series of numbers.
    """
    raw, _ = without_empty_rows(load(source, header=header))
    group_name = None if group is None else column_name(raw, group, "group")
    time_name = None if time is None else column_name(raw, time, "time")
    _check_one(raw, target)
    columns, typed = infer_columns(raw.frame, decimal_comma=raw.decimal_comma)
    kinds = {name: column.kind for name, column in columns.items()}
    target_name = column_name(raw, target, "target") if target is not None else _only_number(columns, raw, time_name, group_name)
    if target_name in (group_name, time_name):
        option, name = ("group", group_name) if target_name == group_name else ("time", time_name)
        raise DataError(
            text("{option} is the target {name!r}", option=option, name=name),
            text("a column other than the target"),
            text("name another column, or leave {option} out", option=option),
        )
    _check_numbers(columns[target_name], typed[target_name])
    others = typed.drop([target_name, *([group_name] if group_name else [])])
    times = find_times(others, raw.frame, kinds, time_name, target_name)
    read = _Rows(raw, typed, columns, target_name, group_name, times)
    samples = read.samples()
    samples.horizon, samples.lags = horizon, lags
    if raw.path is not None:
        samples.reference = {"source": raw.path, "target": target, "task": "forecasting", "header": header, "group": group, "time": time}
    return samples


def read_new_series(source: Any, preprocessing: Any, *, header: bool = True) -> SeriesSamples:
    """A later stretch of the series that a network was trained on: the same columns, times at the same distances.

    Raises:
        DataError: a column is missing, or the times are others.
    """
    raw, _ = without_empty_rows(load(source, header=header and preprocessing.header))
    needed = {**preprocessing.columns, preprocessing.target_column.name: preprocessing.target_column}
    named = [*needed, *([preprocessing.group] if preprocessing.group else []), *(preprocessing.time_columns)]
    missing = [name for name in dict.fromkeys(named) if name not in raw.frame.columns]
    if missing:
        raise DataError(
            text("{name} has no column {wanted!r}", name=raw.shown, wanted=missing[0]),
            text("the columns that the network was trained on: {names}", names=list(dict.fromkeys(named))[:20]),
            text("give the recent rows of the series with all their columns"),
        )
    inferred, typed = infer_columns(raw.frame.select(list(dict.fromkeys(named))), decimal_comma=raw.decimal_comma)
    typed = typed.with_columns([read_column(column, raw.frame[name]).alias(name) for name, column in needed.items()])
    kinds = {name: column.kind for name, column in inferred.items()}
    alone = preprocessing.time_columns[0] if len(preprocessing.time_columns) == 1 else None
    times = find_times(typed.select(list(preprocessing.time_columns)), raw.frame, kinds, alone, preprocessing.target_column.name)
    known = {name: needed.get(name, column) for name, column in inferred.items()}
    rows = _Rows(raw, typed, known, preprocessing.target_column.name, preprocessing.group, times, preprocessing.steps)
    return rows.samples(tuple(preprocessing.columns))


def _only_number(columns: Mapping[str, Column], raw: RawTable, time: str | None, group: str | None) -> str:
    """The column that is forecast where nobody names it: the only one of numbers."""
    numbers = [name for name, column in columns.items() if column.kind == "numeric" and name not in (time, group)]
    if len(numbers) == 1:
        return numbers[0]
    raise DataError(
        text("the data have no target"),
        text("the column to forecast, of: {names}", names=numbers[:20] or list(raw.frame.columns)[:20]),
        text("name the target with --target; the columns are: {columns}", columns=list(raw.frame.columns)[:20]),
    )


def _check_one(raw: RawTable, target: Any) -> None:
    several = target.split(",") if isinstance(target, str) and target not in raw.frame.columns else target
    if isinstance(several, (list, tuple)) and len(several) > 1:
        names = [str(name).strip() for name in several]
        raise DataError(
            text("{count} targets: {names}", count=len(names), names=names[:20]),
            text("one target: forecasting takes one column, and sees the others as far as the past goes"),
            text("take one of them, for example --target {name}; forecast each in a run of its own", name=names[0]),
        )


def _check_numbers(column: Column, values: pl.Series) -> None:
    if values.dtype not in (pl.Float64, pl.Boolean) or column.kind in ("date", "text", "categorical"):
        raise DataError(
            text("the target {name!r} is a column of the kind {kind}", name=column.name, kind=column.kind),
            text("a column of numbers to forecast"),
            text("name another column as the target"),
        )
    present = values.cast(pl.Float64).drop_nulls()
    if not present.len():
        raise DataError(
            text("the target {name!r} is empty in all {rows} rows", name=column.name, rows=values.len()),
            text("a value to learn in every row"),
            text("name another column as the target"),
        )
    if present.n_unique() == 1:
        raise DataError(
            text("the target {name!r} is {value:g} in all {count} samples", name=column.name, value=float(present[0]), count=present.len()),
            text("a target that varies"),
            text("choose another target: there is nothing to learn"),
        )


class _Rows:
    """One reading: rows sorted, placed and checked."""

    def __init__(
        self, raw: RawTable, typed: pl.DataFrame, columns: Mapping[str, Column], target: str, group: str | None, times: Times,
        steps: Steps | None = None,
    ) -> None:  # fmt: skip
        self.raw, self.typed, self.columns, self.target, self.group, self.times = raw, typed, columns, target, group, times
        self.steps = steps
        self.notices: list[Notice] = list(raw.notices)
        self.quarantined: list[Quarantined] = []

    def samples(self, wanted: Sequence[str] | None = None) -> SeriesSamples:
        """`wanted`: the columns beside the target; None: those that can be used."""
        raw, rows = self.raw, self.raw.frame.height
        names = (
            np.full(rows, ALONE, dtype=object)
            if self.group is None
            else np.asarray([ALONE if value is None else value for value in as_text(raw.frame[self.group]).to_list()], dtype=object)
        )
        series_names, series = np.unique(names.astype(str), return_inverse=True)
        known = np.isfinite(self.times.values)
        for row in np.flatnonzero(~known).tolist():
            self._set_aside(row, self._without_time(row))
        order = np.lexsort((self.times.values, series))
        order = order[known[order]]
        self._say_order(order, series)
        order = self._without_copies(order, series)
        if len(self.quarantined) > max(1, _LIMIT * rows):
            first = self.quarantined[0]
            raise DataError(
                text("{count} of {rows} rows of {name} cannot be used, for example {example}: {reason}",
                     count=len(self.quarantined), rows=rows, name=raw.shown, example=first.identifier, reason=first.reason),
                text("a time in every row, and one row for every time"),
                text("correct the column {name!r}, or leave these rows out of the file", name=self.times.name),
            )  # fmt: skip
        moments, series = self.times.values[order], series[order]
        steps = self.steps
        if steps is None:
            each = [moments[series == number] for number in range(len(series_names))]
            steps = find_steps(each, dates=self.times.dates, written=self.times.written, name=self.times.name)
        places = steps.places(moments)
        if np.abs(places - np.round(places)).max(initial=0) > 1e-6:
            raise DataError(
                text("times in {name} lie between the steps of the series the network was trained on", name=self.times.name),
                text("times {step} apart, counted from {first}", step=steps.word, first=steps.names(np.zeros(1))[0]),
                text("bring the series to that step first"),
            )
        places = np.round(places).astype(np.int64)
        used = self._beside() if wanted is None else {name: self.columns[name] for name in wanted}
        values = self.typed[self.target].cast(pl.Float64).fill_null(float("nan")).to_numpy()[order]
        self._say_holes(places, series, values, len(series_names))
        frame = self.typed.select(list(used))[order] if used else pl.DataFrame({"": np.zeros(len(order))})
        return SeriesSamples(
            kind="forecasting",
            name=raw.name,
            task=Task(kind="forecasting", targets=(self.target,)),
            inputs=frame,
            targets=values.reshape(-1, 1),
            identifiers=self._identifiers(steps, places, series_names[series]),
            hashes=self._hashes(frame, used, places, series_names[series], values),
            times=places,
            quarantined=self.quarantined,
            notices=self.notices,
            steps=steps,
            places=places,
            series=series,
            series_names=series_names.tolist(),
            columns=used,
            target_column=self.columns[self.target],
            time=", ".join(self.times.columns),
            group=self.group,
            header=raw.header,
            decimal_comma=raw.decimal_comma,
        )

    def _set_aside(self, row: int, reason: Text) -> None:
        self.quarantined.append(Quarantined(identifier=f"row {row + 1}", reason=reason))

    def _say_order(self, order: np.ndarray, series: np.ndarray) -> None:
        back = sum(int((np.diff(order[series[order] == number]) < 0).sum()) for number in np.unique(series))
        if back:
            summary = text("the rows are not in the order of {time}; they are sorted by it", time=self.times.name)
            self.notices.append(Notice(kind="sorted_by_time", summary=summary, where=self.times.name, evidence={"steps_back": back}))

    def _without_copies(self, order: np.ndarray, series: np.ndarray) -> np.ndarray:
        """Rows that say the same of the same time again are set aside; two values for one time are refused."""
        same = (np.diff(self.times.values[order]) == 0) & (np.diff(series[order]) == 0)
        if not same.any():
            return order
        kept = np.ones(len(order), dtype=bool)
        numbers = self.raw.frame.with_row_index("").drop("")
        for place in np.flatnonzero(same).tolist():
            first, second = int(order[place]), int(order[place + 1])
            if numbers.row(first) != numbers.row(second):
                raise self._doubled(first, second, int(same.sum()))
            kept[place + 1] = False
            self._set_aside(second, text("a copy of row {row}", row=first + 1))
        return order[kept]

    def _doubled(self, first: int, second: int, count: int) -> DataError:
        apart = [
            name for name, column in self.columns.items()
            if column.kind in ("categorical", "boolean") and name not in (self.target, self.group) and self._separates(name)
        ]  # fmt: skip
        return DataError(
            text("{count} times in {time} occur twice or more: rows {first} and {second} give different values for one time",
                 count=count, time=self.times.name, first=first + 1, second=second + 1),
            text("one row for every time of a series"),
            text("these seem to be several series: --group {column}", column=apart[0])
            if apart
            else text("name the column that tells the series apart with --group, or keep one row for every time, for example the mean"),
        )  # fmt: skip

    def _separates(self, name: str) -> bool:
        keys = pl.DataFrame({"time": self.times.values, "series": as_text(self.raw.frame[name])})
        return not bool(keys.is_duplicated().any())

    def _beside(self) -> dict[str, Column]:
        """The columns that are seen beside the series: numbers, truth values and few categories."""
        used: dict[str, Column] = {}
        left_out: list[str] = []
        for name, column in self.columns.items():
            if name in (self.target, self.group, *self.times.columns):
                continue
            if column.kind in ("numeric", "boolean") or (column.kind == "categorical" and self.typed[name].n_unique() <= MOST_LEVELS):
                used[name] = column
            else:
                left_out.append(name)
        if left_out:
            summary = text("columns that a forecast does not see: {names}", names=left_out[:20])
            self.notices.append(Notice(kind="unused_columns", summary=summary, evidence={"columns": left_out}))
        return used

    def _say_holes(self, places: np.ndarray, series: np.ndarray, values: np.ndarray, count: int) -> None:
        absent = 0
        for number in range(count):
            of_one = places[series == number]
            absent += int(of_one.max() - of_one.min() + 1 - len(of_one)) if len(of_one) else 0
        missing = int(np.isnan(values).sum())
        if absent or missing:
            summary = text(
                "times without a row: {absent}; rows without {target}: {missing}{example}. A forecast sees the last value before them, and "
                "steps without a value are neither learnt nor scored",
                absent=absent, missing=missing, target=self.target, example=self._example(),
            )  # fmt: skip
            self.notices.append(Notice(kind="gaps", summary=summary, where=self.target, evidence={"absent": absent, "missing": missing}))

    def _without_time(self, row: int) -> Text:
        written = [self.raw.frame[name][row] for name in self.times.columns]
        if all(value is None or not str(value).strip() for value in written):
            return text("the time {name!r} is missing", name=self.times.name)
        shown = ", ".join(str(value) for value in written)[:40]
        return text("the time {name!r} is {value!r}, which is no time", name=self.times.name, value=shown)

    def _example(self) -> Text | str:
        """A row whose target is written and is no number."""
        written = as_text(self.raw.frame[self.target])
        typed = self.typed[self.target].cast(pl.Float64)
        unread = np.flatnonzero(((typed.is_null() | ~typed.is_finite()).fill_null(True) & written.is_not_null()).to_numpy())
        unread = [row for row in unread.tolist() if str(written[row]).strip()]
        if not unread:
            return ""
        return text(" (such as {value!r} in row {row})", value=str(written[unread[0]])[:30], row=unread[0] + 1)

    @staticmethod
    def _identifiers(steps: Steps, places: np.ndarray, names: np.ndarray) -> list[str]:
        return [f"{name} {time}" if name else time for name, time in zip(names.tolist(), steps.names(places), strict=True)]

    @staticmethod
    def _hashes(frame: pl.DataFrame, used: Mapping[str, Column], places: np.ndarray, names: np.ndarray, values: np.ndarray) -> list[str]:
        keys = pl.DataFrame({"series": names.tolist(), "place": places, "value": values})
        whole = pl.concat([keys, frame.select(list(used)).rename({name: f"column {name}" for name in used})], how="horizontal")
        return hash_table(whole, whole.columns)


def series_notice(samples: SeriesSamples) -> Notice:
    """Where the times are, how far they reach, how many series there are and what stands beside them."""
    first, last = samples.steps.names(np.asarray([samples.places.min(), samples.places.max()]))
    summary = text(
        "times: {time}, one step is {step}, from {first} to {last}. Series: {count}{group}. Columns beside the target: {columns}",
        time=samples.time, step=samples.steps.word, first=first, last=last, count=len(samples.series_names),
        group="" if samples.group is None else f" ({samples.group})", columns=list(samples.columns)[:20] or "-",
    )  # fmt: skip
    evidence = {"series": len(samples.series_names), "columns": list(samples.columns)}
    return Notice(kind="series", summary=summary, where=samples.time or "", evidence=evidence)


def gap_sentence(count: int, of: int) -> Text:
    """How many windows gaps leave out."""
    return text(
        "left out of {of} windows because of gaps: {count}. Their forecast would begin at a time without a row, or more than half of their "
        "past, or of what they forecast, has no value",
        count=count, of=of,
    )  # fmt: skip
