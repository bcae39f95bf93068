"""Forecasts with their times and intervals: of origins one after the other beside what came true, and of the steps after the last value."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pellucid.core.records import Task
from pellucid.core.results import Forecast, Forecasts
from pellucid.training.forecasting.comparison import naive_forecasts
from pellucid.training.forecasting.measures import by_level, points

SHOWN = 6  # origins in the picture
UPCOMING = 20  # series whose next steps are listed
_BEFORE = 3  # horizons of the past in front of the first origin


def forecasts_of(
    outputs: Tensor, targets: Tensor, task: Task, *, part: str, source: Any, samples: Any, preprocessing: Any, network: nn.Module
) -> Forecasts:
    """What records/forecasts.json holds.

    Args:
        outputs, targets: (N, h Q) or (N, h), and (N, h), of the windows of `source`, in the user's units.
    """
    horizon = task.horizon
    rows = np.asarray(source.indices)
    series = samples.series[rows]
    shown_series = int(series[-1])
    of_one = np.flatnonzero(series == shown_series)
    places = samples.places[rows[of_one]]
    chosen = [int(of_one[-1])]
    for place, position in zip(places[::-1].tolist(), of_one[::-1].tolist(), strict=True):  # backwards, a horizon apart
        if len(chosen) < SHOWN and samples.places[rows[chosen[-1]]] - place >= horizon:
            chosen.append(position)
    chosen = chosen[::-1]
    here = samples.series == shown_series
    first = max(int(samples.places[rows[chosen[0]]]) - max(_BEFORE * horizon, 2), int(samples.places[here].min()))
    last = int(samples.places[here].max())
    past: list[float | None] = [None] * (last - first + 1)
    for place, value in zip(samples.places[here].tolist(), samples.targets[here, 0].tolist(), strict=True):
        if place >= first and np.isfinite(value):
            past[place - first] = _rounded(value)
    errors = {"network": _by_step(points(outputs, task), targets)}
    errors |= {name: _by_step(answer, targets) for name, answer in naive_forecasts(source, preprocessing).items()}
    upcoming = next_steps(_answers(network, preprocessing.latest(samples)[0]), samples, preprocessing)
    return Forecasts(
        part=part,
        origins=len(rows),
        series=samples.series_names[shown_series],
        past=tuple(past),
        past_times=tuple(samples.steps.names(np.arange(first, last + 1))),
        shown=tuple(
            _forecast(
                outputs[at], task, samples.series_names[shown_series], samples.steps, int(samples.places[rows[at]]), first, targets[at]
            )
            for at in chosen
        ),
        upcoming=tuple(upcoming[:UPCOMING]),
        upcoming_left_out=max(0, len(upcoming) - UPCOMING),
        errors=errors,
    )


def next_steps(outputs: Tensor, samples: Any, preprocessing: Any) -> list[Forecast]:
    """The forecasts after the last value of each series, of the network's `outputs` for the last window of each."""
    _, numbers, places = preprocessing.latest(samples)
    restored = preprocessing.restore_targets(outputs)
    return [
        _forecast(output, preprocessing.task, samples.series_names[number], samples.steps, int(place), int(place))
        for output, number, place in zip(restored, numbers.tolist(), places.tolist(), strict=True)
    ]


def forecast_columns(forecasts: Sequence[Forecast], task: Task, names: Sequence[str]) -> dict[str, list[Any]]:
    """Column name -> values, a row for each step: the series where there are several, the time, the median and the ends of the intervals.

    Args:
        names: of the columns of times and of series in the user's table.
    """
    time, group = names
    columns: dict[str, list[Any]] = {}
    if any(forecast.series for forecast in forecasts):
        columns[group or "series"] = [forecast.series for forecast in forecasts for _ in forecast.times]
    columns[time] = [moment for forecast in forecasts for moment in forecast.times]
    columns[task.targets[0]] = [value for forecast in forecasts for value in forecast.median]
    for level in sorted({level for forecast in forecasts for level in forecast.intervals}, key=float):
        for end, name in enumerate(("lower", "upper")):
            ends = [pair[end] for forecast in forecasts for pair in forecast.intervals[level]]
            columns[f"{name} {100 * float(level):g} %"] = ends
    return columns


def _answers(network: nn.Module, windows: Tensor) -> Tensor:
    """The network's outputs for windows (S, C, L), in evaluation mode, on the CPU."""
    device = next(iter(network.parameters())).device
    was_training = network.training
    network.eval()
    try:
        with torch.inference_mode():
            return torch.cat([network(some.to(device)).float().cpu() for some in windows.split(1024)])
    finally:
        network.train(was_training)


def _forecast(output: Tensor, task: Task, series: str, steps: Any, place: int, first: int, actual: Tensor | None = None) -> Forecast:
    median = points(output[None], task)[0].tolist()
    intervals: Mapping[str, Any] = {}
    if output.numel() != task.horizon:
        levels, half = by_level(output[None], task)[0], len(task.quantiles) // 2
        intervals = {
            f"{task.quantiles[half + k] - task.quantiles[half - k]:.6g}": tuple(
                (_rounded(low), _rounded(high)) for low, high in levels[:, [half - k, half + k]].tolist()
            )
            for k in range(1, half + 1)
        }
    return Forecast(
        series=series,
        times=tuple(steps.names(place + np.arange(task.horizon))),
        median=tuple(_rounded(value) for value in median),
        intervals=intervals,
        actual=() if actual is None else tuple(None if math.isnan(value) else _rounded(value) for value in actual.tolist()),
        place=place - first,
    )


def _by_step(answers: Tensor, targets: Tensor) -> tuple[float, ...]:
    """(h,) mean absolute error of each step ahead."""
    return tuple(_rounded(value) for value in (answers.double() - targets.double()).abs().nanmean(0).nan_to_num().tolist())


def _rounded(value: float) -> float:
    """Six digits: more than a picture shows."""
    return float(f"{value:.6g}")
