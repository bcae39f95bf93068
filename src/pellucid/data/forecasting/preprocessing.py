"""How series are prepared: logarithm or not, season, horizon, lags and the channels of a window. Decided on the training part alone."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import polars as pl
import torch
from torch import Tensor

from pellucid.core.errors import DataError
from pellucid.core.language import text
from pellucid.core.records import Notice, Task
from pellucid.data.forecasting.calendar import Steps
from pellucid.data.forecasting.reading import SeriesSamples, gap_sentence, read_new_series
from pellucid.data.forecasting.seasons import find_season, grows_with_level
from pellucid.data.forecasting.windows import Grid, WindowPart
from pellucid.data.kinds import PreprocessingKind, preprocessing_kind
from pellucid.data.samples import ResidentPart, Samples
from pellucid.data.tables.columns import Column

FORMAT = 1
QUANTILES = (0.025, 0.1, 0.5, 0.9, 0.975)  # the ends of the 95 % and 80 % intervals, and the median
LONGEST_HORIZON = 48  # steps, where nobody says: the longest of the M4 competition
# Steps ahead by the step of the series where no season says: those of the M4 competition (Makridakis et al. 2020, table 1).
_HORIZONS = {"year": 6, "quarter": 8, "month": 18, "week": 13, "day": 14, "hour": 48}
_SHARE = 0.6  # of the rows of the validation and of the test part may be one forecast, so that several origins are left
_FEWEST = 5  # windows to learn from
_MANY_MISSING = 0.01  # of the steps: from there on a window says which of its values were seen
_IN_WINDOW = 200  # steps of a season that is seen twice in a window; of a longer one the values a season ago are a channel of their own


@dataclass(frozen=True)
class Channel:
    """One row of a window."""

    kind: str  # "target", "season" (the target a season before what is forecast), "observed", "number", "level", "sine", "cosine"
    name: str = ""  # of the column
    level: str = ""  # of a category
    period: float = 0.0  # steps of a sine or cosine
    mean: float = 0.0
    scale: float = 1.0

    def to_dict(self) -> dict[str, Any]:
        return dict(self.__dict__)


@dataclass(frozen=True)
class SeriesPreprocessing:
    """Made by `fit`."""

    kind = "forecasting"

    task: Task
    steps: Steps
    lags: int
    logarithm: bool
    mean: float  # of the target (of its logarithm), in the training part
    scale: float
    channels: tuple[Channel, ...]
    season_lag: int  # steps between a forecast's step and the value of the "season" channel; 0: the season lies in the window
    columns: Mapping[str, Column]
    target_column: Column
    time_columns: tuple[str, ...]
    group: str | None = None
    header: bool = True
    scales: Mapping[str, float] = field(default_factory=dict[str, float])  # of each of several series what `task.scale` is of all
    notices: Sequence[Notice] = field(default=(), compare=False)

    @property
    def input_shape(self) -> tuple[int, int]:
        """(C, lags)."""
        return len(self.channels), self.lags

    @property
    def horizon(self) -> int:
        return self.task.horizon

    @cached_property
    def facts(self) -> dict[str, Any]:
        """What a network must know of the inputs."""
        return {"season_channel": self.season_lag > 0}

    # -- what `samples.Preprocessing` asks for -----------------------------------------------------------------------------------------

    def part(self, samples: SeriesSamples, indices: np.ndarray) -> WindowPart:
        """The windows all of whose forecast rows, as far as there are rows, are among `indices`."""
        grid = Grid.of(samples)
        chosen = np.zeros(len(samples) + 1, dtype=bool)
        chosen[indices] = True
        outside = np.concatenate([[0], np.cumsum((grid.rows >= 0) & ~chosen[grid.rows])])
        origins = grid.origins(self.lags, self.horizon, self.season_lag)
        origins = origins[outside[origins + self.horizon] == outside[origins]]
        values = torch.from_numpy(self.transformed(grid.values).astype(np.float32))
        series = scales = None
        if len(self.scales) and self.task.scale is not None:
            series = samples.series[grid.rows[origins]]
            scales = np.asarray([self.scales.get(name, self.task.scale) for name in samples.series_names])[series]
        return WindowPart(
            self.rows_of_channels(samples, grid), values, torch.from_numpy(origins), grid.rows[origins], self.lags, self.horizon,
            series, scales,
        )  # fmt: skip

    def latest(self, samples: SeriesSamples) -> tuple[Tensor, np.ndarray, np.ndarray]:
        """((S, C, lags) the last window of each series, (S,) the number of the series, (S,) the place of the first step after it).

        Series that are too short have none.
        """
        grid = Grid.of(samples)
        known = np.isfinite(grid.values)
        ends: list[int] = []
        series: list[int] = []
        needed = max(self.lags, self.season_lag)
        for number, (start, end) in enumerate(zip(grid.begins[:-1], grid.begins[1:], strict=True)):
            some = np.flatnonzero(known[start:end])
            if len(some) and some[-1] + 1 - some[0] >= needed:
                ends.append(int(start + some[-1] + 1))
                series.append(number)
        if not ends:
            longest = int(np.diff(grid.begins).max(initial=0))
            raise DataError(
                text("the series has {count} steps", count=longest),
                text("at least {needed} steps of the recent past, from which a forecast is made", needed=needed),
                text("give more of the past: the last {needed} rows", needed=needed),
            )
        channels = self.rows_of_channels(samples, grid)
        at = torch.tensor(ends)[:, None] + torch.arange(-self.lags, 0)
        numbers = np.asarray(series)
        places = grid.firsts[numbers] + np.asarray(ends) - grid.begins[numbers]
        return channels[:, at].transpose(0, 1).contiguous(), numbers, places

    def inputs(self, samples: Samples, indices: np.ndarray | None = None) -> Tensor:
        """(n, C, lags): the window before each of the rows `indices`; None: the last window of each series."""
        assert isinstance(samples, SeriesSamples)
        if indices is None:
            return self.latest(samples)[0]
        part, origins = self._windows_at(samples, indices)
        return part.windows(origins)

    def targets(self, samples: Samples, indices: np.ndarray | None = None) -> Tensor:
        """(n, horizon) float32: the steps from each of the rows `indices` on; None: of all windows."""
        assert isinstance(samples, SeriesSamples)
        if indices is None:
            part = self.part(samples, np.arange(len(samples)))
            return part.following(part.origins)
        part, origins = self._windows_at(samples, indices)
        return part.following(origins)

    def _windows_at(self, samples: SeriesSamples, rows: np.ndarray) -> tuple[WindowPart, Tensor]:
        """All windows, and the origins (n,) of those whose forecasts begin at `rows`."""
        part = self.part(samples, np.arange(len(samples)))
        at = {int(row): place for place, row in enumerate(part.indices.tolist())}
        lacking = next((int(row) for row in rows if int(row) not in at), None)
        if lacking is not None:
            needed = max(self.lags, self.season_lag)
            raise DataError(
                text("no forecast can begin at {row}", row=samples.identifiers[lacking]),
                text("a row with {needed} steps before it and {horizon} with values from it on", needed=needed, horizon=self.horizon),
                text("take another row, for example {row}", row=samples.identifiers[int(part.indices[-1])] if len(part) else "-"),
            )
        return part, part.origins[[at[int(row)] for row in rows]]

    @property
    def inputs_named(self) -> list[str]:
        """What each channel is called, for an explanation."""
        kinds = {"target": self.task.targets[0], "season": f"{self.task.targets[0]} (t-{self.season_lag})", "observed": "observed"}
        return [
            kinds.get(channel.kind)
            or (f"{channel.kind} {channel.period:g}" if channel.period else f"{channel.name} {channel.level}".strip())
            for channel in self.channels
        ]

    def finish(self, batch: Tensor) -> Tensor:
        return batch

    def transformed(self, values: np.ndarray) -> np.ndarray:
        """The target as the network sees it: its logarithm where that was chosen, standardised. A value that has no logarithm counts as the
        smallest that has one."""
        if self.logarithm:
            values = np.log(np.where(np.isfinite(values), np.maximum(values, 1e-12), np.nan))
        return (values - self.mean) / self.scale

    def restore_targets(self, outputs: Tensor) -> Tensor:
        """Outputs (n, ...) in the user's units, float64 where the device has it."""
        dtype = torch.float32 if outputs.device.type == "mps" else torch.float64
        values = outputs.to(dtype) * self.scale + self.mean
        return values.exp() if self.logarithm else values

    # -- channels ----------------------------------------------------------------------------------------------------------------------

    def rows_of_channels(self, samples: SeriesSamples, grid: Grid) -> Tensor:
        """(C, T) float32, finite."""
        target = grid.carried(self.transformed(grid.values))
        places = np.concatenate(
            [first + np.arange(end - start) for first, start, end in zip(grid.firsts, grid.begins[:-1], grid.begins[1:], strict=True)]
        )
        made: list[np.ndarray] = []
        for channel in self.channels:
            if channel.kind == "target":
                row = target
            elif channel.kind == "season":  # at step i of a window the value a season before step i + horizon
                row = grid.before(target, self.season_lag - self.horizon)
            elif channel.kind == "observed":
                row = np.isfinite(grid.values).astype(np.float64)
            elif channel.kind in ("sine", "cosine"):
                phase = 2 * math.pi * places / channel.period
                row = np.sin(phase) if channel.kind == "sine" else np.cos(phase)
            else:
                row = (grid.carried(_column(samples, grid, channel)) - channel.mean) / channel.scale
            made.append(np.nan_to_num(row).astype(np.float32))
        return torch.from_numpy(np.stack(made))

    def to_dict(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "kind": self.kind,
            "input_shape": list(self.input_shape),
            "task": self.task.to_dict(),
            "steps": self.steps.to_dict(),
            "lags": self.lags,
            "logarithm": self.logarithm,
            "mean": self.mean,
            "scale": self.scale,
            "channels": [channel.to_dict() for channel in self.channels],
            "season_lag": self.season_lag,
            "columns": [column.to_dict() for column in self.columns.values()],
            "target_column": self.target_column.to_dict(),
            "time_columns": list(self.time_columns),
            "group": self.group,
            "header": self.header,
            "scales": dict(self.scales),
        }

    @staticmethod
    def from_dict(stored: Mapping[str, Any]) -> SeriesPreprocessing:
        return SeriesPreprocessing(
            task=Task.from_dict(stored["task"]),
            steps=Steps.from_dict(stored["steps"]),
            lags=int(stored["lags"]),
            logarithm=bool(stored["logarithm"]),
            mean=float(stored["mean"]),
            scale=float(stored["scale"]),
            channels=tuple(Channel(**channel) for channel in stored["channels"]),
            season_lag=int(stored["season_lag"]),
            columns={column.name: column for column in map(Column.from_dict, stored["columns"])},
            target_column=Column.from_dict(stored["target_column"]),
            time_columns=tuple(stored["time_columns"]),
            group=stored["group"],
            header=bool(stored["header"]),
            scales=dict(stored.get("scales", {})),
        )


def _column(samples: SeriesSamples, grid: Grid, channel: Channel) -> np.ndarray:
    values: pl.Series = samples.inputs[channel.name]
    if channel.kind == "level":
        hot = (values.cast(pl.String) == channel.level).cast(pl.Float64)
        return grid.column(hot.fill_null(float("nan")).to_numpy())
    return grid.column(values.cast(pl.Float64).fill_null(float("nan")).to_numpy())


# -- decided on the training part --------------------------------------------------------------------------------------------------------


class _Fitting:
    """Looks at the rows `train` alone."""

    def __init__(self, samples: SeriesSamples, train: np.ndarray) -> None:
        assert samples.task is not None
        self.samples, self.train, self.task = samples, train, samples.task
        self.notices: list[Notice] = []
        rows = np.zeros(len(samples), dtype=bool)
        rows[train] = True
        self.grid = Grid.of(samples)
        self.in_train = np.append(rows, False)[self.grid.rows]
        self.seen = np.where(self.in_train, self.grid.values, np.nan)  # (T,)
        self.long = [self._stretch(number) for number in range(len(samples.series_names))]

    def _stretch(self, number: int) -> np.ndarray:
        """The training values of one series, without gaps: the last value before one stands in it."""
        start, end = self.grid.begins[number : number + 2]
        known = np.flatnonzero(np.isfinite(self.seen[start:end]))
        if not len(known):
            return np.zeros(0)
        carried = self.grid.carried(self.seen)[start:end]
        return carried[known[0] : known[-1] + 1]

    def fit(self) -> SeriesPreprocessing:
        longest = max(self.long, key=len)
        if not len(longest) or np.ptp(np.concatenate(self.long)) == 0:
            raise DataError(
                text("the target {name!r} is the same in the whole training part", name=self.task.targets[0]),
                text("a target that varies in the training part"),
                text("give a longer series"),
            )
        season, strength = find_season(longest, self.samples.steps.seasons())
        logarithm = grows_with_level(longest, season) and bool(np.nanmin(self.seen) > 0)
        horizon = self._horizon(season)
        lags = self._lags(season, horizon, len(longest))
        season_lag = season * math.ceil(horizon / season) if season > max(1, lags) else 0
        if season_lag > len(longest) // 2:
            season, strength, season_lag = 1, 0.0, 0
        self._check_length(lags, horizon, season_lag, longest)
        self._tell(season, strength, logarithm, horizon, lags)
        values = self.seen[np.isfinite(self.seen)]
        values = np.log(values) if logarithm else values
        task = replace(self.task, horizon=horizon, season=season, scale=self._naive_error(season), quantiles=QUANTILES)
        made = SeriesPreprocessing(
            task=task,
            steps=self.samples.steps,
            lags=lags,
            logarithm=logarithm,
            mean=float(values.mean()),
            scale=float(values.std()) or 1.0,
            channels=tuple(self._channels(lags, season_lag, len(longest))),
            season_lag=season_lag,
            columns=self.samples.columns,
            target_column=self.samples.target_column or Column(name=task.targets[0], kind="numeric"),
            time_columns=tuple((self.samples.time or "").split(", ")),
            group=self.samples.group,
            header=self.samples.header,
            scales=self._scales(season),
            notices=self.notices,
        )
        self._check_windows(made)
        return made

    def _held_out(self) -> int:
        """Places of the shorter of the parts that are not for training; of the training part where there are none."""
        places = np.unique(self.samples.places)
        of_train = np.unique(self.samples.places[self.train])
        left = len(places) - len(of_train)
        return left // 2 if left else len(of_train) // 4

    def _horizon(self, season: int) -> int:
        asked = self.samples.horizon
        if asked != "auto":
            return int(asked)
        name = _name_of_step(self.samples.steps)
        wanted = season if 1 < season <= LONGEST_HORIZON else _HORIZONS.get(name, 10)
        return max(1, min(wanted, int(_SHARE * self._held_out())))

    def _lags(self, season: int, horizon: int, steps: int) -> int:
        asked = self.samples.lags
        if asked != "auto":
            return int(asked)
        wanted = max(2 * season, 2 * horizon) if 1 < season <= _IN_WINDOW else max(3 * horizon, 24)
        return max(1, min(wanted, (steps - horizon) // 2))

    def _check_length(self, lags: int, horizon: int, reach: int, longest: np.ndarray) -> None:
        needed = max(lags, reach) + horizon + _FEWEST - 1
        if len(longest) < needed:
            raise DataError(
                text("the training part has {count} steps of {name}", count=len(longest), name=self.task.targets[0]),
                text("at least {needed}: {lags} that a forecast is made from, {horizon} that are forecast, and a few windows more",
                     needed=needed, lags=max(lags, reach), horizon=horizon),
                text("give a longer series, or smaller --horizon and --lags"),
            )  # fmt: skip
        short = [
            name for name, values in zip(self.samples.series_names, self.long, strict=True) if len(values) < max(lags, reach) + horizon
        ]
        if short:
            summary = text(
                "series too short to learn from, of fewer than {needed} steps in the training part: {names}",
                needed=max(lags, reach) + horizon, names=short[:10],
            )  # fmt: skip
            self.notices.append(Notice(kind="short_series", summary=summary, evidence={"series": short[:1000]}))

    def _tell(self, season: int, strength: float, logarithm: bool, horizon: int, lags: int) -> None:
        name, steps = self.task.targets[0], self.samples.steps
        if season > 1:
            found = text(
                "{name} repeats itself every {season} steps (autocorrelation {strength:.2f} in the training part)",
                name=name, season=season, strength=strength,
            )  # fmt: skip
        else:
            found = text("{name} has no season that the training part shows", name=name)
        summary = text(
            "one step is {step}; {season}. {horizon} steps ahead are forecast from the last {lags} (--horizon, --lags)",
            step=steps.word, season=found, horizon=horizon, lags=lags,
        )  # fmt: skip
        self.notices.append(
            Notice(kind="forecast", summary=summary, where=name, evidence={"season": season, "horizon": horizon, "lags": lags})
        )
        if logarithm:
            summary = text("the swings of {name} grow with its level, and all its values are positive: its logarithm is learnt", name=name)
            self.notices.append(Notice(kind="logarithm", summary=summary, where=name))
        possible = len(self.grid.origins(lags, horizon, 0))
        without_gaps = sum(
            max(0, int(end - start) - lags - horizon + 1) for start, end in zip(self.grid.begins, self.grid.begins[1:], strict=False)
        )
        if without_gaps > possible:
            left_out = Notice(kind="windows_left_out", summary=gap_sentence(without_gaps - possible, without_gaps), where=name)
            self.notices.append(left_out)

    def _check_windows(self, made: SeriesPreprocessing) -> None:
        """A training part that is long enough and too full of gaps."""
        count = len(made.part(self.samples, self.train))
        if count >= _FEWEST:
            return
        seen = self.seen[self.in_train]
        raise DataError(
            text("{missing} of {count} training rows have no {name}: {windows} windows are left to learn from", name=self.task.targets[0],
                 missing=int(np.isnan(seen).sum()), count=len(seen), windows=count),
            text("at least {fewest} windows of {lags} past steps and {horizon} that follow, each with values for half of its steps",
                 fewest=_FEWEST, lags=made.lags, horizon=made.horizon),
            text("fill the gaps, give a longer series, or smaller --horizon and --lags"),
        )  # fmt: skip

    def _scales(self, season: int) -> dict[str, float]:
        """`_naive_error` of each series by itself, where there are several; one without any error in the training part has none."""
        names = self.samples.series_names
        if len(names) < 2:
            return {}
        errors = np.abs(self.seen - self.grid.before(self.seen, season))
        found: dict[str, float] = {}
        for name, start, end in zip(names, self.grid.begins[:-1], self.grid.begins[1:], strict=True):
            of_one = errors[start:end][np.isfinite(errors[start:end])]
            if len(of_one) and of_one.mean() > 0:
                found[name] = float(of_one.mean())
        return found

    def _naive_error(self, season: int) -> float | None:
        """Mean |y_t - y_(t - season)| of the training part, which MASE divides by. Source: Hyndman and Koehler 2006, equation 9 on."""
        errors = np.abs(self.seen - self.grid.before(self.seen, season))
        errors = errors[np.isfinite(errors)]
        return float(errors.mean()) if len(errors) and errors.mean() > 0 else None

    def _channels(self, lags: int, season_lag: int, steps: int) -> list[Channel]:
        found = [Channel("target")]
        if season_lag:
            found.append(Channel("season"))
        if np.isnan(self.grid.values).mean() > _MANY_MISSING:
            found.append(Channel("observed"))
        frame = self.samples.inputs
        for name, column in self.samples.columns.items():
            of_train: pl.Series = frame[name][self.train]
            if column.kind == "categorical":
                levels = sorted(str(level) for level in of_train.drop_nulls().unique().to_list())
                found += [Channel("level", name, level) for level in (levels if len(levels) > 2 else levels[:1]) if len(levels) > 1]
                continue
            numbers = of_train.cast(pl.Float64).drop_nulls().to_numpy()
            if len(numbers) and np.ptp(numbers) > 0:
                found.append(Channel("number", name, mean=float(numbers.mean()), scale=float(numbers.std())))
        for period in self.samples.steps.seasons():
            if steps >= 2 * period > lags:  # what a window holds twice needs no clock
                found += [Channel("sine", period=period), Channel("cosine", period=period)]
        return found


def _name_of_step(steps: Steps) -> str:
    if steps.unit == "months":
        return {1: "month", 3: "quarter", 12: "year"}.get(int(steps.size), "")
    if steps.unit == "business_days":
        return "day"
    return {3600: "hour", 86_400: "day", 604_800: "week"}.get(int(steps.size), "") if steps.unit == "seconds" else ""


@preprocessing_kind
class SeriesPreprocessingKind(PreprocessingKind):
    kind = "forecasting"

    def fit(self, samples: Samples, train: np.ndarray) -> SeriesPreprocessing:
        assert isinstance(samples, SeriesSamples)
        return _Fitting(samples, np.asarray(train)).fit()

    def restore(self, stored: Mapping[str, Any]) -> SeriesPreprocessing:
        return SeriesPreprocessing.from_dict(stored)

    def part(self, samples: Samples, indices: np.ndarray, preprocessing: Any) -> WindowPart:
        assert isinstance(samples, SeriesSamples)
        return preprocessing.part(samples, indices)

    def new_part(self, samples: Samples, preprocessing: Any, *, labelled: bool) -> Any:
        """Every window whose following steps are known; or, to forecast what is not, the last window of each series."""
        assert isinstance(samples, SeriesSamples)
        if not labelled:
            windows, _, _ = preprocessing.latest(samples)
            return ResidentPart(windows, torch.zeros(len(windows)), np.arange(len(windows)), preprocessing)
        part = preprocessing.part(samples, np.arange(len(samples)))
        if not len(part):
            needed = max(preprocessing.lags, preprocessing.season_lag) + preprocessing.horizon
            raise DataError(
                text("no forecast can be compared with these {count} rows", count=len(samples)),
                text("at least {needed} steps one after the other: those a forecast is made from, and those that follow", needed=needed),
                text("give a longer stretch of the series"),
            )
        return part

    def read_new(self, source: Any, target: Any, preprocessing: Any, *, header: bool, task: Task | None, targets: str) -> SeriesSamples:
        return read_new_series(source, preprocessing, header=header)
