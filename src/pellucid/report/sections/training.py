"""Training curves: loss and score per epoch with the verdict drawn on them, the learning rate, and how it was found."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pellucid.core.language import Text, text
from pellucid.report import wording
from pellucid.report.figures import Plot, axis, logarithmic_axis, spans_decades
from pellucid.report.records import RunRecords
from pellucid.report.sections.absent import Absent


@dataclass(frozen=True)
class Figure:
    """A drawing with its words."""

    name: str  # of the anchor
    title: Text
    plot: Plot
    x_name: Text
    y_name: Text | str
    legend: tuple[tuple[str, Text], ...] = ()  # (the marks' kind, what it is)
    caption: Text | None = None
    described: tuple[Text, ...] = ()  # the curves in words, for whoever cannot see them


def content(records: RunRecords) -> Mapping[str, Any] | Absent:
    if not records.history:
        return Absent(text("No epoch was done, so there is no curve."))
    figures = [_losses(records), _metric(records), _rates(records), _range_test(records)]
    return {"figures": [figure for figure in figures if figure is not None], "findings": records.findings, "stopped": _stopped(records)}


def _stopped(records: RunRecords) -> Text | None:
    stored = (records.summary or {}).get("stopped")
    return Text.from_dict(stored) if stored is not None else None


def _column(rows: Sequence[Mapping[str, Any]], part: str, name: str) -> list[float]:
    """A value per epoch; NaN where an epoch has none."""
    values = [(row.get(part) or {}).get(name) for row in rows]
    return [float(value) if isinstance(value, (int, float)) else math.nan for value in values]


def _any(values: Sequence[float]) -> bool:
    return any(math.isfinite(value) for value in values)


def _described(epochs: Sequence[float], curves: Sequence[tuple[str, Sequence[float]]]) -> tuple[Text, ...]:
    """First and last value of each curve, and where it was lowest and highest."""
    told: list[Text] = []
    for part, values in curves:
        points = [(value, int(epoch)) for epoch, value in zip(epochs, values, strict=True) if math.isfinite(value)]
        if points:
            low, high = min(points), max(points)
            told.append(
                text(
                    "{part}: {first} at first, {last} at last; lowest {low} in epoch {at_low}, highest {high} in epoch {at_high}.",
                    part=wording.PART_NAMES[part], first=wording.value(points[0][0]), last=wording.value(points[-1][0]),
                    low=wording.value(low[0]), at_low=low[1], high=wording.value(high[0]), at_high=high[1],
                )
            )  # fmt: skip
    return tuple(told)


def _losses(records: RunRecords) -> Figure | None:
    rows = records.history
    epochs = [float(row.get("epoch", number)) for number, row in enumerate(rows, start=1)]
    train, validation = _column(rows, "train", "loss"), _column(rows, "validation", "loss")
    noise = _column(rows, "validation", "loss_stderr")
    if not _any(train) and not _any(validation):
        return None
    logarithmic = spans_decades([*train, *validation])
    kept = records.kept_epoch
    band = [_ends(loss, error, logarithmic) for loss, error in zip(validation, noise, strict=True)]
    seen = [*train, *validation, *(band[epochs.index(kept)] if kept is not None else ())]
    y = logarithmic_axis(seen) if logarithmic else axis(seen, most=5)
    plot = Plot(axis(epochs, whole=True, margin=0.02), y)
    if kept is not None:
        plot.vertical(kept, "kept")
    if _any(validation):
        plot.band(epochs, [max(low, y.low) for low, _ in band], [min(high, y.high) for _, high in band], "validation")
    plot.line(epochs, train, "train")
    plot.line(epochs, validation, "validation")
    if kept is not None:
        at = epochs.index(kept)
        lowest = validation[at] if _any(validation) else train[at]
        plot.dots([kept], [lowest], "kept")
        plot.note(kept, y.high, text("kept: epoch {epoch}, loss {loss}", epoch=kept, loss=wording.value(lowest)), "kept")
    legend = [("train", text("training part"))] if _any(train) else []
    if _any(validation):
        legend += [("validation", text("validation part, with its 95 % band"))]
    loss = records.settings.get("loss", "")
    return Figure(
        "losses",
        text("Loss per epoch"),
        plot,
        text("epoch"),
        text("{name}, logarithmic", name=wording.named(wording.LOSS_NAMES, loss))
        if logarithmic
        else wording.named(wording.LOSS_NAMES, loss),
        tuple(legend),
        text("The dot marks the weights that were kept: those with the lowest validation loss.")
        if _any(validation)
        else text("The dot marks the weights that were kept: those with the lowest training loss, for nothing was held out to choose by."),
        _described(epochs, (("train", train), ("validation", validation))),
    )


def _ends(loss: float, error: float, logarithmic: bool) -> tuple[float, float]:
    """The 95 % interval of a mean loss; on a logarithmic axis that of its logarithm, whose standard error is error / loss."""
    if not logarithmic or loss <= 0 or not math.isfinite(error):
        return loss - 1.96 * error, loss + 1.96 * error
    factor = math.exp(min(1.96 * error / loss, 20.0))
    return loss / factor, loss * factor


def _metric(records: RunRecords) -> Figure | None:
    rows, name = records.history, records.primary
    epochs = [float(row.get("epoch", number)) for number, row in enumerate(rows, start=1)]
    train, validation = _column(rows, "train", name), _column(rows, "validation", name)
    if not _any(train) and not _any(validation):
        return None
    test = records.score("test", name)
    values = [*train, *validation, *([test.value] if test else [])]
    if name == "r2":  # the first epochs of a regression can be far below 0 and would flatten the rest
        values = [max(value, -1.0) for value in values]
    plot = Plot(axis(epochs, whole=True, margin=0.02), axis(values, most=5))
    kept = records.kept_epoch
    if kept is not None:
        plot.vertical(kept, "kept")
    if test is not None:
        plot.horizontal(test.value, "test")
    plot.line(epochs, [max(value, plot.y.low) for value in train], "train")
    plot.line(epochs, [max(value, plot.y.low) for value in validation], "validation")
    gap = _gap(records, name)
    if kept is not None and _any(train) and _any(validation):
        at = epochs.index(kept)
        ends = max(train[at], plot.y.low), max(validation[at], plot.y.low)
        if all(map(math.isfinite, ends)):
            plot.segment((kept, ends[0]), (kept, ends[1]), "gap")
            difference = gap if gap is not None else train[at] - validation[at]
            plot.note(kept, sum(ends) / 2, text("gap {gap}", gap=wording.difference(difference, ends[0])), "gap")
    legend = [("train", text("training part"))] if _any(train) else []
    legend += [("validation", text("validation part"))] if _any(validation) else []
    legend += [("test", text("test part, kept weights"))] if test is not None else []
    caption = text(
        "Training and validation are measured after each epoch with dropout off. "
        "The gap between them at the kept weights tells how much is memorised."
    )
    word = wording.metric_name(name)
    curves = _described(epochs, (("train", train), ("validation", validation)))
    return Figure("metric", text("{metric} per epoch", metric=word), plot, text("epoch"), word, tuple(legend), caption, curves)


def _gap(records: RunRecords, metric: str) -> float | None:
    """The gap of the kept weights on the whole parts, as the verdict measured it."""
    for finding in records.findings:
        if finding.evidence.get("metric") == metric and isinstance(finding.evidence.get("gap"), (int, float)):
            return float(finding.evidence["gap"])
    return None


def _rates(records: RunRecords) -> Figure | None:
    rows = records.history
    epochs = [float(row.get("epoch", number)) for number, row in enumerate(rows, start=1)]
    rates = [float(row["learning_rate"]) if isinstance(row.get("learning_rate"), (int, float)) else math.nan for row in rows]
    if not _any(rates):
        return None
    plot = Plot(axis(epochs, whole=True, margin=0.02), axis([0.0, *rates], most=4))
    plot.line(epochs, rates, "rate")
    settings = records.settings
    peak = settings.get("learning_rate")
    caption = None
    if isinstance(peak, (int, float)):
        caption = text(
            "{optimizer}, {schedule}; largest rate {peak}.",
            optimizer=wording.named(wording.OPTIMIZER_NAMES, settings.get("optimizer")),
            schedule=wording.named(dict(wording.SCHEDULE_NAMES), settings.get("schedule")),
            peak=wording.rate(peak),
        )
    return Figure("rates", text("Learning rate at the end of each epoch"), plot, text("epoch"), text("learning rate"), (), caption)


def _range_test(records: RunRecords) -> Figure | None:
    found = records.decisions.get("range_test") or {}
    rates, losses = found.get("rates") or [], found.get("losses") or []
    if records.config.get("learning_rate") != "auto" or len(rates) != len(losses) or len(rates) < 3:
        return None
    rates, losses = [float(rate) for rate in rates], [float(loss) for loss in losses]
    ceiling = 2.0 * next((loss for loss in losses if math.isfinite(loss)), 1.0)
    shown = [loss if loss <= ceiling else math.nan for loss in losses]
    if not _any(shown):
        return None
    plot = Plot(logarithmic_axis(rates), axis(shown, most=4))
    chosen = float(found.get("learning_rate") or records.decisions.get("learning_rate") or math.nan)
    if math.isfinite(chosen) and plot.x.low <= chosen <= plot.x.high:
        plot.vertical(chosen, "kept")
        plot.note(chosen, plot.y.high, text("chosen: {rate}", rate=wording.rate(chosen)), "kept")
    plot.line(rates, shown, "train")
    return Figure(
        "range-test",
        text("Learning-rate range test"),
        plot,
        text("learning rate, logarithmic"),
        text("loss"),
        (),
        text("Before training the rate was raised with every step on a copy; the chosen one is a tenth of where the loss was lowest."),
    )
