"""Every metric with its interval, and every class by itself."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from pellucid.core.language import Text, text
from pellucid.core.records import Score
from pellucid.core.results import ClassScores, PartEvaluation
from pellucid.report import wording
from pellucid.report.figures import Axis, Bar, bars
from pellucid.report.records import PARTS, RunRecords
from pellucid.report.sections.absent import Absent, not_recorded

MOST_CLASSES = 60
UNFOLDED_CLASSES, LOWEST_CLASSES = 20, 10  # of more classes the lowest are shown, and the table of all is folded


def content(records: RunRecords) -> Mapping[str, Any] | Absent:
    part = records.part
    if part is None:
        return not_recorded(records)
    measured = records.evaluated if records.evaluated_part == part else None
    scores = list(records.scores_of(part))
    if measured is not None:
        extra = {"sensitivity": measured.sensitivity, "specificity": measured.specificity}
        known = {score.name for score in scores}
        scores += [_renamed(score, name) for name, score in extra.items() if score is not None and name not in known]
    between = [score for score in scores if _between_zero_and_one(score)]
    common, drawn = bars([_ends(score) for score in between])
    by_name = dict(zip((score.name for score in between), drawn, strict=True))
    return {
        "part": wording.PART_NAMES[part],
        "samples": wording.grouped(scores[0].samples) if scores else "0",
        "rows": [(score, wording.metric_name(score.name), by_name.get(score.name)) for score in scores],
        "axis": common if between else None,
        "others": [(wording.PART_NAMES[other], _by_name(records, other)) for other in PARTS if other != part and records.scores_of(other)],
        "positive_class": measured.positive_class if measured is not None else None,
        "classes": _classes(measured.per_class) if measured is not None else None,
        "pixels": records.task.kind == "segmentation",
        "classes_left_out": _left_out(measured),
        "missing_classes": records.task.kind == "classification" and (measured is None or not measured.per_class),
        "note": _note(records),
    }


def _renamed(score: Score, name: str) -> Score:
    return Score(name=name, value=score.value, interval=score.interval, samples=score.samples)


def _between_zero_and_one(score: Score) -> bool:
    ends = (score.value, *((score.interval.low, score.interval.high) if score.interval else ()))
    return score.higher_is_better and all(0.0 <= end <= 1.0 for end in ends)


def _ends(score: Score) -> tuple[float, float, float] | tuple[float, None, None]:
    return (score.value, None, None) if score.interval is None else (score.value, score.interval.low, score.interval.high)


def _by_name(records: RunRecords, part: str) -> dict[str, Score]:
    return {score.name: score for score in records.scores_of(part)}


def _classes(found: Sequence[ClassScores]) -> Mapping[str, Any] | None:
    """The rows of the table per class, with one common track for the F1 scores, of masks the IoU; of many classes first those with the
    lowest."""
    if not found:
        return None
    shown = list(found[:MOST_CLASSES])
    common: Axis
    drawn: list[Bar | None]
    judged = [row.iou if any(other.iou is not None for other in shown) else row.f1 for row in shown]
    common, drawn = bars([_ends(score) if score is not None else None for score in judged])
    rows = list(zip(shown, drawn, strict=True))
    if len(rows) <= UNFOLDED_CLASSES:
        return {"first": rows, "all": [], "axis": common}
    lowest = [row for _, row in sorted(zip(judged, rows, strict=True), key=lambda pair: pair[0].value if pair[0] is not None else math.inf)]
    return {"first": lowest[:LOWEST_CLASSES], "all": rows, "axis": common}


def _left_out(measured: PartEvaluation | None) -> int:
    return 0 if measured is None else measured.classes_left_out + max(0, len(measured.per_class) - MOST_CLASSES)


def _note(records: RunRecords) -> Text:
    if records.task.kind == "classification":
        return text(
            "Intervals hold 95 %: accuracy by Wilson's formula, the area under the ROC curve by DeLong's, the others by the bootstrap. "
            "They tell the uncertainty of the samples that were measured, not of another training."
        )
    if records.task.kind == "segmentation":
        return text(
            "Scores are of the pixels of all images together; void pixels count nothing. Intervals hold 95 %, by the bootstrap over whole "
            "images. They tell the uncertainty of the images that were measured, not of another training."
        )
    return text(
        "Intervals hold 95 %, by the bootstrap over the samples. "
        "They tell the uncertainty of the samples that were measured, not of another training."
    )
