"""Whether a network that says 80 % is right 8 times of 10."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pellucid.core.language import Text, text
from pellucid.core.results import Calibration
from pellucid.report import wording
from pellucid.report.figures import Plot, axis
from pellucid.report.records import RunRecords
from pellucid.report.sections.absent import Absent, not_recorded


def content(records: RunRecords) -> Mapping[str, Any] | Absent:
    if records.task.kind != "classification":
        return Absent()
    measured = records.evaluated
    if measured is None or measured.calibration is None:
        return not_recorded(records)
    calibration = measured.calibration
    return {
        "part": wording.PART_NAMES[records.evaluated_part or "test"],
        "ece": calibration.ece,
        "chance": calibration.chance,
        "sentences": _sentences(calibration),
        "reliability": _reliability(calibration),
        "histogram": _histogram(calibration),
    }


def _sentences(calibration: Calibration) -> list[Text]:
    samples = sum(found.samples for found in calibration.bins)
    filled = [found for found in calibration.bins if found.samples and found.confidence is not None and found.accuracy is not None]
    if not samples or not filled:
        return []
    confidence = sum(found.samples * (found.confidence or 0.0) for found in filled) / samples
    accuracy = sum(found.samples * (found.accuracy or 0.0) for found in filled) / samples
    told: list[Text] = []
    if calibration.chance is not None and calibration.ece.value <= calibration.chance.high:
        told.append(
            text(
                "With {samples} samples a perfectly calibrated network would show {low} to {high}: nothing is wrong here that these "
                "samples could show.",
                samples=wording.grouped(samples), low=wording.value(calibration.chance.low), high=wording.value(calibration.chance.high),
            )
        )  # fmt: skip
    elif calibration.chance is not None:
        told.append(
            text(
                "With {samples} samples a perfectly calibrated network would show {low} to {high}: the probabilities are not to be "
                "taken at their word.",
                samples=wording.grouped(samples), low=wording.value(calibration.chance.low), high=wording.value(calibration.chance.high),
            )
        )  # fmt: skip
    mean = text(
        "On average it says {confidence:.1f} % and is right {accuracy:.1f} % of the time",
        confidence=100 * confidence,
        accuracy=100 * accuracy,
    )
    if confidence - accuracy > 0.01:
        told.append(text("{mean}: it is too sure of itself.", mean=mean))
    elif accuracy - confidence > 0.01:
        told.append(text("{mean}: it is less sure than it could be.", mean=mean))
    else:
        told.append(text("{mean}.", mean=mean))
    return told


def _reliability(calibration: Calibration) -> Plot:
    """Share answered right against the probability given; on the diagonal both agree."""
    low = min((found.low for found in calibration.bins if found.samples), default=0.0)
    low = min(low, min((found.accuracy for found in calibration.bins if found.accuracy is not None), default=0.0))
    ends = axis([low, 1.0], most=5, margin=0.03)
    plot = Plot(ends, ends)
    plot.segment((ends.low, ends.low), (ends.high, ends.high), "ideal")
    filled = [found for found in calibration.bins if found.samples and found.confidence is not None and found.accuracy is not None]
    largest = max((found.samples for found in filled), default=1)
    for found in filled:
        place = found.confidence or 0.0
        kind = "gap" if found.samples >= 0.02 * largest else "gap small"  # a bin of one sample is right always or never
        plot.segment((place, place), (place, found.accuracy or 0.0), kind)
    for size, least in (("small", 0.0), ("middle", 0.02), ("large", 0.2)):
        limit = {"small": 0.02, "middle": 0.2, "large": 2.0}[size]
        chosen = [found for found in filled if least <= found.samples / largest < limit]
        plot.dots([found.confidence or 0.0 for found in chosen], [found.accuracy or 0.0 for found in chosen], f"train {size}")
    return plot


def _histogram(calibration: Calibration) -> Plot:
    """How many samples got which probability."""
    filled = [found for found in calibration.bins if found.samples]
    total = sum(found.samples for found in filled) or 1
    plot = Plot(_reliability(calibration).x, axis([0.0, *(100 * found.samples / total for found in filled)], most=3, margin=0.0))
    for found in filled:
        plot.box((found.low, 0.0), (found.high, 100 * found.samples / total), "bar")
    return plot
