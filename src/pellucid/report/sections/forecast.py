"""Forecasts beside what came true, the next steps of the series, and how the error grows with the steps ahead."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pellucid.core.language import Text, text
from pellucid.core.results import Forecast, Forecasts
from pellucid.core.wording import baseline_name
from pellucid.report import wording
from pellucid.report.figures import Axis, Plot, Tick, axis
from pellucid.report.records import RunRecords
from pellucid.report.sections.absent import Absent, not_recorded

MOST_STEPS = 60  # of the next ones in the table
_KINDS = {"network": "train", "seasonal_naive": "validation", "naive": "test"}  # CSS classes of the lines of errors


def content(records: RunRecords) -> Mapping[str, Any] | Absent:
    if records.task.kind != "forecasting":
        return Absent()
    found = records.forecasts
    if found is None or not found.shown:
        return not_recorded(records)
    levels = sorted({level for forecast in (*found.shown, *found.upcoming) for level in forecast.intervals}, key=float)
    errors = _errors(found)
    return {
        "part": wording.PART_NAMES.get(found.part, found.part),
        "origins": wording.grouped(found.origins),
        "count": len(found.shown),
        "series": found.series,
        "plot": _picture(found, levels),
        "legend": [
            ("actual", text("true")),
            ("train", text("forecast (median)")),
            ("train", text("{levels} interval", levels=[f"{100 * float(level):g} %" for level in levels])),
        ][: 2 + bool(levels)],
        "levels": [_interval(level) for level in levels],
        "errors": errors,
        "error_legend": [
            (_KINDS.get(name, ""), text("the network") if name == "network" else baseline_name(name, "mase")) for name in found.errors
        ],
        "upcoming": [(forecast.series, _rows(forecast, levels)) for forecast in found.upcoming],
        "left_out": found.upcoming_left_out,
        "horizon": records.task.horizon,
    }


def _interval(level: str) -> Text:
    return text("{share:g} % interval", share=100 * float(level))


def _picture(found: Forecasts, levels: Sequence[str]) -> Plot:
    upcoming = [forecast for forecast in found.upcoming if forecast.series == found.series][:1]
    count = len(found.past)
    times = [*found.past_times, *(time for forecast in upcoming for time in forecast.times)]
    ends = [end for forecast in (*found.shown, *upcoming) for pairs in forecast.intervals.values() for pair in pairs for end in pair]
    medians = [value for forecast in (*found.shown, *upcoming) for value in forecast.median]
    plot = Plot(_times(times), axis([*(value for value in found.past if value is not None), *medians, *ends], most=5))
    for forecast, first in (*((forecast, forecast.place) for forecast in found.shown), *((forecast, count) for forecast in upcoming)):
        steps = [float(first + step) for step in range(len(forecast.median))]
        for level in reversed(levels):
            if level in forecast.intervals:
                pairs = forecast.intervals[level]
                plot.band(steps, [pair[0] for pair in pairs], [pair[1] for pair in pairs], "train")
        plot.line(steps, forecast.median, "train")
        plot.vertical(float(first) - 0.5, "kept")
    plot.line([float(step) for step in range(count)], [float("nan") if value is None else value for value in found.past], "actual")
    return plot


def _times(times: Sequence[str], most: int = 6) -> Axis:
    """Steps as places, a few of them with their times."""
    low, high = -0.5, max(len(times) - 0.5, 0.5)
    every = max(1, -(-len(times) // most))
    marks = range(every // 2, len(times), every)
    return Axis(low, high, tuple(Tick((mark - low) / (high - low), times[mark]) for mark in marks))


def _errors(found: Forecasts) -> Plot | None:
    values = [value for errors in found.errors.values() for value in errors]
    steps = len(next(iter(found.errors.values()), ()))
    if steps < 2:
        return None
    plot = Plot(axis([1.0, float(steps)], most=6, whole=True), axis([0.0, *values], most=5))
    for name, errors in found.errors.items():
        plot.line([float(step) for step in range(1, steps + 1)], errors, _KINDS.get(name, ""))
    return plot


def _rows(forecast: Forecast, levels: Sequence[str]) -> list[tuple[str, str, list[str]]]:
    return [
        (
            time,
            wording.value(median),
            [
                f"{wording.value(forecast.intervals[level][step][0])} … {wording.value(forecast.intervals[level][step][1])}"
                for level in levels
                if level in forecast.intervals
            ],
        )
        for step, (time, median) in enumerate(zip(forecast.times, forecast.median, strict=True))
    ][:MOST_STEPS]
