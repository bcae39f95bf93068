"""The times of a series: which column holds them, how far apart they are, and what the next ones are called.

A regular series has a place, a whole number, for every time: so many seconds, months, business days or plain steps after the first. Places
without a row are gaps.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from pellucid.core.errors import DataError
from pellucid.core.language import Text, text
from pellucid.core.records import Record

MICROSECONDS = 1_000_000
_DAY = 86_400
_YEAR = 365.25 * _DAY
_USUAL_SHARE = 0.5  # of the distances between neighbouring times must be one and the same step; the others are gaps
_PARTS = ("year", "month", "day", "hour", "minute")  # of a time that is spread over columns
_PART_NAMES = {"year": ("year", "yr", "年", "年份"), "month": ("month", "mon", "月", "月份"), "day": ("day", "日"),
               "hour": ("hour", "hr", "时", "小时"), "minute": ("minute", "min", "分", "分钟")}  # fmt: skip
_NUMBERED = re.compile(r"^(no|t|step|time|index|idx|year|week|period|序号|编号|年|年份|时间|步)$", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class Steps(Record):
    """How far apart the times are, and where place 0 is."""

    unit: str  # "seconds", "months", "business_days" or "numbers"
    size: float  # units of one step
    first: float  # place 0: microseconds since 1970, or the number
    written: str = "%Y-%m-%d %H:%M:%S"  # how times are written, for strftime
    month_ends: bool = False  # months: the last day of each

    def places(self, times: np.ndarray) -> np.ndarray:
        """(n,) places of `times` (n,), microseconds since 1970 or numbers; fractions where a time lies between two places."""
        if self.unit == "months":
            return (_month_numbers(times) - _month_numbers(np.asarray([self.first]))[0]) / self.size
        if self.unit == "business_days":
            days = times.astype(np.int64) // (_DAY * MICROSECONDS)
            return np.busday_count(np.datetime64(int(self.first) // (_DAY * MICROSECONDS), "D"), days.astype("datetime64[D]")) / self.size
        size = self.size * MICROSECONDS if self.unit == "seconds" else self.size
        return (np.asarray(times, dtype=np.float64) - self.first) / size

    def times(self, places: np.ndarray) -> np.ndarray:
        """(n,) the times of places: the inverse of `places`."""
        places = np.asarray(places)
        if self.unit == "months":
            first = np.asarray([self.first]).astype("datetime64[us]")
            months = first.astype("datetime64[M]") + (places * int(self.size)).astype("timedelta64[M]")
            if self.month_ends:
                found = (months + 1).astype("datetime64[D]") - 1
                return found.astype("datetime64[us]").astype(np.int64).astype(np.float64)
            inside = (first - first.astype("datetime64[M]").astype("datetime64[us]")).astype(np.int64)
            return (months.astype("datetime64[us]").astype(np.int64) + inside).astype(np.float64)
        if self.unit == "business_days":
            first = np.datetime64(int(self.first) // (_DAY * MICROSECONDS), "D")
            found = np.busday_offset(first, (places * int(self.size)).astype(np.int64), roll="forward")
            return found.astype("datetime64[us]").astype(np.int64).astype(np.float64)
        size = self.size * MICROSECONDS if self.unit == "seconds" else self.size
        return self.first + places * size

    def names(self, places: np.ndarray) -> list[str]:
        """What the times of places are called, as the user's file writes them."""
        times = self.times(places)
        if self.unit == "numbers":
            return [f"{value:.15g}" for value in times.tolist()]
        moments: list[Any] = np.round(times).astype(np.int64).astype("datetime64[us]").tolist()
        return [moment.strftime(self.written) for moment in moments]

    def seasons(self) -> list[float]:
        """Steps of a day, a week and a year, the shorter first, where a step is shorter than these; () for plain numbers."""
        if self.unit == "months":
            return [12 / self.size] if self.size < 12 else []
        if self.unit == "business_days":
            return [5 / self.size, 260.9 / self.size]
        if self.unit == "numbers":
            return []
        return [period / self.size for period in (_DAY, 7 * _DAY, _YEAR) if period >= 2 * self.size]

    @property
    def word(self) -> Text:
        """One step in words: "1 hour", "3 months"."""
        if self.unit == "numbers":
            return text("{count:g} (numbers)", count=self.size)
        if self.unit == "business_days":
            return text("one business day")
        if self.unit == "months":
            known = {1: text("one month"), 3: text("one quarter"), 12: text("one year")}
            return known.get(int(self.size)) or text("{count:g} months", count=self.size)
        known = {1: text("one second"), 60: text("one minute"), 3600: text("one hour"), _DAY: text("one day"), 7 * _DAY: text("one week")}
        if self.size in known:
            return known[int(self.size)]
        for unit, words in ((_DAY, "{count:g} days"), (3600, "{count:g} hours"), (60, "{count:g} minutes")):
            if self.size % unit == 0:
                return _COUNTED[words](self.size / unit)
        return text("{count:g} seconds", count=self.size)


_COUNTED = {
    "{count:g} days": lambda count: text("{count:g} days", count=count),
    "{count:g} hours": lambda count: text("{count:g} hours", count=count),
    "{count:g} minutes": lambda count: text("{count:g} minutes", count=count),
}


def _month_numbers(times: np.ndarray) -> np.ndarray:
    return np.asarray(times).astype(np.int64).astype("datetime64[us]").astype("datetime64[M]").astype(np.int64)


# -- which column ------------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Times:
    """The time of every row."""

    name: str  # the column's, or "year, month, day, hour"
    columns: tuple[str, ...]  # that it is made of
    values: np.ndarray  # (n,) float64: microseconds since 1970, or numbers; NaN where a row has none
    dates: bool
    written: str = ""  # how dates are written, for strftime


def find_times(typed: pl.DataFrame, raw: pl.DataFrame, kinds: Mapping[str, str], time: str | None, target: str) -> Times:
    """The times of a table's rows: of the column `time`, else of the only column of dates, of columns year, month, day, hour, or of one
    that counts.

    Args:
        typed: columns in their kinds' types. raw: the same as they were read, for how dates are written.
        kinds: column -> kind, as `infer_columns` says.

    Raises:
        DataError: no such column, or several.
    """
    if time is not None:
        found = _of_column(time, typed, raw, kinds)
        if found is None:
            _check_dates(raw[time])
            raise DataError(
                text("time is the column {name!r}, whose values are neither dates nor numbers", name=time),
                text("a column of dates or numbers"),
                text("name such a column, or write its dates as 2024-01-31"),
            )
        return found
    candidates = [name for name in typed.columns if name != target]
    dates = [name for name in candidates if kinds.get(name) == "date"]
    if len(dates) == 1:
        found = _of_column(dates[0], typed, raw, kinds)
        assert found is not None
        return found
    spread = _of_parts(typed, [name for name in candidates if kinds.get(name) != "date"]) if not dates else None
    if spread is not None:
        return spread
    counting = [name for name in candidates if kinds.get(name) in ("numeric", "identifier") and _NUMBERED.match(name.strip())]
    counting = [name for name in counting if typed[name].dtype == pl.Float64]
    if not dates and len(counting) == 1:
        found = _of_column(counting[0], typed, raw, kinds)
        assert found is not None
        return found
    for name in candidates if not dates else ():
        _check_dates(raw[name])
    raise DataError(
        text("there are {count} columns of dates: {names}", count=len(dates), names=dates)
        if dates
        else text("no column of times is found among: {names}", names=candidates[:20]),
        text("one column that says when each row was measured"),
        text("name it: --time COLUMN"),
    )


_DATED = re.compile(r"^\s*\d{1,4}[-/.]\d{1,2}([-/.]\d{1,4})?([ T]\d{1,2}:\d{2}.*)?\s*$")


def _check_dates(values: pl.Series) -> None:
    """A column whose values mostly look like dates, but not all: that the others are none is what is wrong.

    Raises:
        DataError: such a column.
    """
    if values.dtype != pl.String:
        return
    written = [(row, value) for row, value in enumerate(values.to_list(), 1) if value is not None and value.strip()]
    others = [(row, value) for row, value in written if not _DATED.match(value)]
    if others and len(others) < 0.5 * len(written):
        row, value = others[0]
        raise DataError(
            text("{count} of {all} values of {name!r} are no dates, for example {value!r} in row {row}",
                 count=len(others), all=len(written), name=values.name, value=value[:30], row=row),
            text("a column of dates"),
            text("correct these values, or leave their rows out of the file"),
        )  # fmt: skip


def _of_column(name: str, typed: pl.DataFrame, raw: pl.DataFrame, kinds: Mapping[str, str]) -> Times | None:
    values = typed[name]
    if values.dtype == pl.Datetime:
        moments = values.dt.timestamp("us").cast(pl.Float64).fill_null(float("nan")).to_numpy()
        return Times(name, (name,), moments, True, _written(values, raw[name]))
    if values.dtype == pl.Float64:
        return Times(name, (name,), values.fill_null(float("nan")).to_numpy(), False)
    return None


def _written(moments: pl.Series, raw: pl.Series) -> str:
    """As the file writes them where it begins with the year; else as ISO 8601 does, as short as the times allow."""
    present = moments.drop_nulls()
    seconds = present.dt.timestamp("us").to_numpy() // MICROSECONDS
    inside = seconds % _DAY
    first = str(raw.drop_nulls()[0]) if raw.dtype == pl.String and raw.drop_nulls().len() else ""
    if not inside.any():
        if re.fullmatch(r"\s*\d{4}[-/]\d{1,2}\s*", first):
            return "%Y/%m" if "/" in first else "%Y-%m"
        return "%Y/%m/%d" if re.fullmatch(r"\s*\d{4}/\d{1,2}/\d{1,2}\s*", first) else "%Y-%m-%d"
    clock = "%H:%M" if not (inside % 60).any() else "%H:%M:%S"
    return f"%Y-%m-%d{'T' if 'T' in first[:12] else ' '}{clock}"


def _of_parts(typed: pl.DataFrame, candidates: Sequence[str]) -> Times | None:
    """Columns year, month, day, hour and minute as one time: at least year and month."""
    by_name = {name.strip().lower(): name for name in candidates if typed[name].dtype == pl.Float64}
    found: dict[str, str] = {}
    for part in _PARTS:
        name = next((by_name[word] for word in _PART_NAMES[part] if word in by_name), None)
        if name is None:
            break
        found[part] = name
    if len(found) < 2:
        return None
    n = typed.height
    parts = {part: typed[name].fill_null(float("nan")).to_numpy() for part, name in found.items()}
    known = np.all([np.isfinite(values) for values in parts.values()], axis=0)
    whole = {part: np.where(known, values, 1).astype(np.int64) for part, values in parts.items()}
    limits = {"year": (1, 9999), "month": (1, 12), "day": (1, 31), "hour": (0, 24), "minute": (0, 59)}
    known &= np.all([(whole[part] >= limits[part][0]) & (whole[part] <= limits[part][1]) for part in found], axis=0)
    months = (np.clip(whole["year"], 1, 9999) - 1970) * 12 + np.clip(whole["month"], 1, 12) - 1
    moments = months.astype("datetime64[M]").astype("datetime64[us]").astype(np.int64).astype(np.float64)
    ones = np.zeros(n, dtype=np.int64)
    seconds = (whole.get("day", ones + 1) - 1) * _DAY + whole.get("hour", ones) * 3600 + whole.get("minute", ones) * 60
    values = np.where(known, moments + seconds * MICROSECONDS, np.nan)
    written = {2: "%Y-%m", 3: "%Y-%m-%d"}.get(len(found), "%Y-%m-%d %H:%M")
    return Times(", ".join(found.values()), tuple(found.values()), values, True, written)


# -- how far apart -----------------------------------------------------------------------------------------------------------------------


def find_steps(times: Sequence[np.ndarray], *, dates: bool, written: str, name: str) -> Steps:
    """The step of series whose distinct times are `times`, rising.

    Raises:
        DataError: fewer than two times, or distances that are no multiples of one step.
    """
    every = np.unique(np.concatenate(times))
    distances = np.concatenate([np.diff(of_one) for of_one in times])
    if len(distances) < 2:
        raise DataError(
            text("{name} holds {count} different times", name=name, count=len(every)), text("a series of many times"),
            text("give the series one row for each time"),
        )  # fmt: skip
    if dates:
        for steps in (_months(every, written), _business_days(every, distances, written)):
            if steps is not None:
                return steps
    values, counts = np.unique(np.round(distances, 9), return_counts=True)
    usual = float(values[counts.argmax()])
    unit = MICROSECONDS if dates else 1.0
    steps = Steps(unit="seconds" if dates else "numbers", size=usual / unit, first=float(every[0]), written=written)
    off = np.abs(steps.places(every) - np.round(steps.places(every))) > 1e-6
    if counts.max() < _USUAL_SHARE * len(distances) or off.any():
        shown = [_distance(value, dates) for value in (values[0], values[-1])]
        raise DataError(
            text("the distances between the times in {name} vary from {low} to {high}, and no step fits all of them",
                 name=name, low=shown[0], high=shown[1]),
            text("times at regular distances, such as every hour, day or month; gaps may be among them"),
            text("bring the series to one step first, for example its mean of every hour or day"),
        )  # fmt: skip
    return steps


def _distance(value: float, dates: bool) -> Text | str:
    if not dates:
        return f"{value:g}"
    return Steps(unit="seconds", size=value / MICROSECONDS, first=0.0).word


def _months(every: np.ndarray, written: str) -> Steps | None:
    """Times at the same day of different months, or at their ends."""
    moments = every.astype(np.int64).astype("datetime64[us]")
    months = moments.astype("datetime64[M]")
    inside = (moments - months.astype("datetime64[us]")).astype(np.int64)
    to_end = ((months + 1).astype("datetime64[us]") - moments).astype(np.int64)
    ends = bool((to_end == _DAY * MICROSECONDS).all())
    numbers = months.astype(np.int64)
    if not (ends or (inside == inside[0]).all()) or (np.diff(numbers) < 1).any():
        return None
    size = int(np.gcd.reduce(np.diff(numbers)))
    if (np.diff(numbers) == size).mean() < _USUAL_SHARE:
        return None
    return Steps(unit="months", size=size, first=float(every[0]), written=written, month_ends=ends and not (inside == inside[0]).all())


def _business_days(every: np.ndarray, distances: np.ndarray, written: str) -> Steps | None:
    """Days without Saturdays and Sundays over several weeks; holidays are gaps."""
    day = _DAY * MICROSECONDS
    if (every % day).any() or (distances % day).any() or np.median(distances) != day or every[-1] - every[0] < 21 * day:
        return None
    weekdays = (every.astype(np.int64) // day + 3) % 7  # 1970-01-01 was a Thursday
    if (weekdays >= 5).any():
        return None
    return Steps(unit="business_days", size=1, first=float(every[0]), written=written)
