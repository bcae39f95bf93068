"""What a watcher saw of the training's steps: its findings with their numbers, and curves of the gradient, the updates and silent units.

Only where the run was made with the option `watch`. Of many layers those are drawn that a finding names, then those that differ most from
the rest. A record that somebody has edited may hold anything: what is no number becomes a gap, and texts are cut.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from statistics import median
from typing import Any, TypeVar, cast

from pellucid.core.language import Text, text
from pellucid.core.records import Finding
from pellucid.diagnosis.dynamic.observations import LayerSeries, Observations, ParameterSeries
from pellucid.diagnosis.watch.drawing import number, share
from pellucid.report import wording
from pellucid.report.figures import Plot, axis, logarithmic_axis
from pellucid.report.records import RunRecords, Watched
from pellucid.report.sections.absent import Absent
from pellucid.report.sections.training import Figure

MOST_LINES = 4  # of one figure: as many as there are colours
MOST_FINDINGS = 12
MOST_EVIDENCE = 12  # numbers of one finding
LONGEST = 400  # characters of a sentence; ours are far shorter
LONGEST_NAME = 80
LARGEST = 1e100  # beyond it a number is damage, not a measurement: float32 ends at 3e38
LEVELS = {"good": "✓", "fault": "✗", "advice": "!"}

_Series = TypeVar("_Series", LayerSeries, ParameterSeries)


def content(records: RunRecords) -> Mapping[str, Any] | Absent:
    watched = records.watched
    if watched is None:
        return Absent()
    seen = watched.observations
    figures = [
        _loss(watched),
        _gradient(watched),
        _update(watched),
        _silent(watched),
        _rates(watched),
        _noise_scale(watched),
        _time(watched),
    ]
    return {
        "lead": _lead(watched),
        "findings": [_finding(finding) for finding in watched.findings[:MOST_FINDINGS]],
        "findings_left_out": max(0, len(watched.findings) - MOST_FINDINGS),
        "facts": _facts(seen),
        "figures": [figure for figure in figures if figure is not None],
        "unseen": [_sentence(reason) for reason in seen.unseen[:MOST_FINDINGS]],
    }


# -- words -------------------------------------------------------------------------------------------------------------------------------


def _lead(watched: Watched) -> Text:
    seen = watched.observations
    return text(
        "{looks} of {steps} steps were watched closely, from step {first} on; "
        "of the others the loss, the learning rate and the time are kept.",
        looks=wording.grouped(_float(seen.looks_made)),
        steps=wording.grouped(_float(seen.steps)),
        first=wording.grouped(watched.first_step),
    )


def _finding(finding: Finding) -> Mapping[str, Any]:
    """What was found, where, by which numbers, and what to do."""
    level = finding.level if finding.level in LEVELS else "advice"
    evidence = [(_cut(name, LONGEST_NAME), _evidence(value)) for name, value in list(finding.evidence.items())[:MOST_EVIDENCE]]
    return {
        "level": level,
        "mark": LEVELS[level],
        "summary": _sentence(finding.summary),
        "where": None if finding.where is None else _cut(finding.where, LONGEST_NAME),
        "evidence": [(name, words) for name, words in evidence if words],
        "remedy": None if finding.remedy is None else _sentence(finding.remedy),
    }


def _evidence(value: object) -> str:
    """A number, a name or a few of them; what is built of more is left to the record."""
    if isinstance(value, bool) or value is None:
        return ""
    if isinstance(value, (int, float)):
        return number(float(value)) if math.isfinite(_float(value)) else ""
    if isinstance(value, (list, tuple)):
        parts = [_evidence(item) for item in cast("Sequence[object]", value)[:6]]
        return ", ".join(part for part in parts if part)
    return _cut(value, LONGEST_NAME) if isinstance(value, str) else ""


def _sentence(sentence: Text | str) -> Text | str:
    """A sentence as it is; one that is far longer than any of ours is cut."""
    return sentence if len(str(sentence)) <= LONGEST else _cut(sentence, LONGEST)


def _cut(words: object, most: int) -> str:
    shown = str(words)
    return shown if len(shown) <= most else f"{shown[: most - 1]}…"


def _facts(seen: Observations) -> list[tuple[Text, Text | str]]:
    """Names and numbers, those that were measured."""
    loss, gradients, time = seen.loss, seen.gradients, seen.time
    rows: list[tuple[Text, Text | str]] = []
    if loss.first is not None:
        rows.append((text("loss of the first and the latest step"), f"{_number(loss.first)} → {_number(_latest(loss.values))}"))
    if loss.noise is not None:
        rows.append((text("noise of a single step's loss (standard deviation)"), _number(loss.noise)))
    if gradients.noise_scale is not None:
        rows.append(
            (
                text("gradient noise scale"),
                text("{samples} samples, with batches of {size}", samples=_number(gradients.noise_scale), size=_number(seen.batches.size)),
            )
        )
    step, waiting = _latest(time.step_seconds), _latest(time.waiting_seconds)
    if step is not None:
        rows.append((text("time of a step"), f"{_number(1000 * step)} ms"))
    if step is not None and waiting is not None and step > 0:
        rows.append((text("of which between an update and the next forward pass: data loading"), _share(waiting / step)))
    rows.append(
        (
            text("what watching took"),
            text("{seconds} s, {share} of the time without it", seconds=_number(time.overhead_seconds), share=_share(time.overhead)),
        )
    )
    return rows


# -- numbers -----------------------------------------------------------------------------------------------------------------------------


def _float(value: object) -> float:
    """A number of the record; NaN for what is none."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not abs(value) <= LARGEST:
        return math.nan
    return 0.0 if abs(value) < 1 / LARGEST else float(value)


def _number(value: object) -> str:
    found = _float(value)
    return "–" if math.isnan(found) else number(found)


def _share(value: object) -> str:
    found = _float(value)
    return "–" if math.isnan(found) else share(found)


def _column(values: Iterable[object], length: int) -> list[float]:
    """As many numbers as there are steps; NaN where nothing was measured."""
    found = [_float(value) for value in values][:length]
    return found + [math.nan] * (length - len(found))


def _latest(values: Sequence[object]) -> float | None:
    return next((found for found in map(_float, reversed(values)) if not math.isnan(found)), None)


def _steps(watched: Watched, steps: Iterable[object]) -> list[float]:
    return [watched.first_step + _float(step) for step in steps]


def _any(values: Iterable[float]) -> bool:
    return any(math.isfinite(value) for value in values)


def _differing(series: Sequence[_Series], watched: Watched, size: Callable[[_Series], float]) -> list[_Series]:
    """At most MOST_LINES of `series`: those that a finding names, then those whose size is the most orders of magnitude from the middle."""
    sizes = {place: math.log10(found) for place, one in enumerate(series) if (found := size(one)) > 0}
    if not sizes:
        return []
    middle = median(sizes.values())
    named = {str(finding.where) for finding in watched.findings if finding.where}
    ranked = sorted(sizes, key=lambda place: (not (_names(series[place]) & named), -abs(sizes[place] - middle), place))
    return [series[place] for place in sorted(ranked[:MOST_LINES])]  # in the model's order


def _names(one: LayerSeries | ParameterSeries) -> set[str]:
    return {one.path} if isinstance(one, LayerSeries) else {one.name, one.layer}


def _middle(values: Iterable[object]) -> float:
    """The median of what was measured and is above 0; NaN without such."""
    found = [value for value in map(_float, values) if value > 0]
    return median(found) if found else math.nan


# -- curves ------------------------------------------------------------------------------------------------------------------------------

_STEP = text("step")


def _loss(watched: Watched) -> Figure | None:
    loss = watched.observations.loss
    steps = _steps(watched, loss.trend_step)
    means, deviations = _column(loss.trend_mean, len(steps)), _column(loss.trend_std, len(steps))
    if not _any(means):
        return None
    later, values = _steps(watched, loss.evaluation_steps), _column(loss.evaluation_values, len(loss.evaluation_steps))
    lows = [mean - deviation for mean, deviation in zip(means, deviations, strict=True)]
    highs = [mean + deviation for mean, deviation in zip(means, deviations, strict=True)]
    plot = Plot(axis([*steps, *later], whole=True, margin=0.02), axis([*means, *values, *lows, *highs], most=5))
    plot.band(steps, lows, highs, "train")
    plot.line(steps, means, "train")
    legend = [("train", text("training, its scatter shaded"))]
    if _any(values):
        plot.line(later, values, "validation")
        legend.append(("validation", text("evaluation")))
    caption = text(
        "Means over {width} steps; the band is one standard deviation of single steps around them.", width=_number(loss.trend_width)
    )
    return Figure("watched-loss", text("Loss by step"), plot, _STEP, text("loss"), tuple(legend), caption)


def _curves(
    name: str, title: Text, y_name: Text, steps: Sequence[float], lines: Sequence[tuple[str, Text, list[float]]], caption: Text | None
) -> Figure | None:
    """Lines on a logarithmic axis; zeros lie on its lower edge."""
    values = [value for _, _, line in lines for value in line]
    if not any(value > 0 for value in values):
        return None
    plot = Plot(axis(steps, whole=True, margin=0.02), logarithmic_axis(values))
    for kind, _, line in lines:
        plot.line(steps, line, kind)
    return Figure(name, title, plot, _STEP, y_name, tuple((kind, words) for kind, words, _ in lines), caption)


def _lines(series: Sequence[ParameterSeries], column: str, length: int) -> list[tuple[str, Text, list[float]]]:
    return [
        (f"l{place}", text("layer {name}", name=_cut(one.name, LONGEST_NAME)), _column(getattr(one, column), length))
        for place, one in enumerate(series)
    ]


def _chosen(shown: int, of: int) -> Text | None:
    if shown >= of:
        return None
    return text("{shown} of {count}: those that a finding names, then those that differ most from the rest.", shown=shown, count=of)


def _matrices(seen: Observations) -> list[ParameterSeries]:
    """Weights proper; biases and scales only where there is nothing else."""
    trained = [one for one in seen.weights if one.trainable]
    return [one for one in trained if len(one.shape) > 1] or trained


def _gradient(watched: Watched) -> Figure | None:
    seen = watched.observations
    steps = _steps(watched, seen.steps_of_looks())
    matrices = _matrices(seen)
    drawn = _differing(matrices, watched, lambda one: _middle(one.gradient) / math.sqrt(max(_float(one.elements), 1.0)))
    norm, raw = _column(seen.gradients.norm, len(steps)), _column(seen.gradients.raw_norm, len(steps))
    lines = [("whole", text("all weights"), norm)] if _any(norm) else []
    if any(before > 1.001 * after for before, after in zip(raw, norm, strict=True)):
        lines.append(("whole dashed", text("all weights, before clipping"), raw))
    lines += _lines(drawn, "gradient", len(steps))
    told = _chosen(len(drawn), len(matrices))
    return _curves(
        "watched-gradient", text("Norm of the gradient by step"), text("norm, logarithmic; 0 on the lower edge"), steps, lines, told
    )


def _update(watched: Watched) -> Figure | None:
    seen = watched.observations
    steps = _steps(watched, seen.steps_of_looks())
    matrices = _matrices(seen)
    drawn = _differing(matrices, watched, lambda one: _middle(one.ratio))
    told = _chosen(len(drawn), len(matrices))
    y_name = text("norm of the update / norm of the weight, logarithmic; 0 on the lower edge")
    return _curves("watched-update", text("Update over weight by step"), y_name, steps, _lines(drawn, "ratio", len(steps)), told)


def _silent(watched: Watched) -> Figure | None:
    seen = watched.observations
    steps = _steps(watched, seen.steps_of_looks())
    rectified = [layer for layer in seen.layers if layer.rectifier and _any(_column(layer.zeros, len(steps)))]
    named = {str(finding.where) for finding in watched.findings if finding.where}

    def worst(layer: LayerSeries) -> tuple[bool, float, float]:
        return layer.path not in named, -(_latest(layer.dead) or 0.0), -(_latest(layer.zeros) or 0.0)

    drawn = sorted(rectified, key=worst)[:MOST_LINES]
    if not drawn:
        return None
    plot = Plot(axis(steps, whole=True, margin=0.02), axis([0.0, 100.0], most=5, margin=0.03))
    legend: list[tuple[str, Text]] = []
    for place, layer in enumerate(drawn):
        plot.line(steps, [100 * value for value in _column(layer.zeros, len(steps))], f"l{place} dashed")
        plot.line(steps, [100 * value for value in _column(layer.dead, len(steps))], f"l{place}")
        legend.append((f"l{place}", text("layer {name}", name=_cut(layer.path or layer.kind, LONGEST_NAME))))
    caption = text(
        "Solid: units that were zero for every sample of the look. Dashed: zeros among all values, which a rectifier should have. "
        "{shown} of {count} layers with a rectifier, those with most silent units.",
        shown=len(drawn),
        count=len(rectified),
    )
    return Figure("watched-silent", text("Silent units and zeros by step"), plot, _STEP, text("share in %"), tuple(legend), caption)


def _rates(watched: Watched) -> Figure | None:
    seen = watched.observations
    steps = _steps(watched, seen.learning_rate_steps)
    several = list(seen.learning_rates)[: len(steps)]
    groups = min(max((len(rates) for rates in several), default=0), MOST_LINES)
    lines = [_column([rates[group] if group < len(rates) else None for rates in several], len(steps)) for group in range(groups)]
    lines = [line for place, line in enumerate(lines) if _any(line) and str(line) not in map(str, lines[:place])]  # NaN differs from NaN
    if not lines:
        return None
    plot = Plot(axis(steps, whole=True, margin=0.02), axis([0.0, *(value for line in lines for value in line)], most=4))
    for place, line in enumerate(lines):
        plot.line(steps, line, f"l{place}")
    legend = tuple((f"l{place}", text("group {number}", number=place + 1)) for place in range(len(lines))) if len(lines) > 1 else ()
    return Figure("watched-rates", text("Learning rate by step"), plot, _STEP, text("learning rate"), legend)


def _noise_scale(watched: Watched) -> Figure | None:
    gradients = watched.observations.gradients
    steps = _steps(watched, gradients.noise_scale_steps)
    values = _column(gradients.noise_scale_values, len(steps))
    if sum(value > 0 for value in values) < 2:
        return None
    size = _float(watched.observations.batches.size)
    plot = Plot(axis(steps, whole=True, margin=0.02), logarithmic_axis([*values, size]))
    legend: list[tuple[str, Text]] = [("l0", text("noise scale"))]
    if size > 0:
        plot.horizontal(size, "test")
        legend.append(("test", text("batch size")))
    plot.line(steps, values, "l0")
    caption = text("Batches far below it are mostly noise; batches far above it cost more than they gain.")
    return Figure(
        "watched-noise", text("Gradient noise scale by step"), plot, _STEP, text("samples, logarithmic"), tuple(legend), caption
    )  # fmt: skip


def _time(watched: Watched) -> Figure | None:
    time = watched.observations.time
    steps = _steps(watched, watched.observations.steps_of_looks())
    whole, waiting = ([1000 * value for value in _column(values, len(steps))] for values in (time.step_seconds, time.waiting_seconds))
    if not _any(whole):
        return None
    plot = Plot(axis(steps, whole=True, margin=0.02), axis([0.0, *whole, *waiting], most=4))
    plot.line(steps, whole, "train")
    plot.line(steps, waiting, "validation")
    legend = (("train", text("one step")), ("validation", text("of which data loading")))
    return Figure(
        "watched-time", text("Time of a step"), plot, _STEP, text("milliseconds"), legend,
        text("Without the watcher's own share. Data loading is all that lies between an update and the next forward pass."),
    )  # fmt: skip
