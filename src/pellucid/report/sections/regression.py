"""What was predicted against what was true, and how far the predictions are off."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from pellucid.core.results import TargetEvaluation
from pellucid.report import wording
from pellucid.report.figures import Plot, axis
from pellucid.report.records import RunRecords
from pellucid.report.sections.absent import Absent, not_recorded

MOST_TARGETS = 12


def content(records: RunRecords) -> Mapping[str, Any] | Absent:
    if records.task.kind != "regression":
        return Absent()
    measured = records.evaluated
    if measured is None or not measured.regression:
        return not_recorded(records)
    targets = [target for target in measured.regression if target.pairs]
    return {
        "part": wording.PART_NAMES[records.evaluated_part or "test"],
        "samples": measured.samples,
        "targets": [_target(target, measured.samples) for target in targets[:MOST_TARGETS]],
        "left_out": max(0, len(targets) - MOST_TARGETS),
    }


def _target(target: TargetEvaluation, samples: int) -> Mapping[str, Any]:
    pairs = [(float(actual), float(predicted)) for actual, predicted in target.pairs if math.isfinite(actual) and math.isfinite(predicted)]
    actual, predicted = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    ends = axis([*actual, *predicted], most=5)
    against = Plot(ends, ends)
    against.segment((ends.low, ends.low), (ends.high, ends.high), "ideal")
    against.dots(actual, predicted, "cloud")
    errors = [guess - truth for truth, guess in pairs]
    residuals = Plot(axis(predicted, most=5), axis([0.0, *errors], most=5))
    residuals.dots(predicted, errors, "cloud")
    residuals.horizontal(0.0, "ideal")
    return {
        "name": target.name,
        "scores": [(wording.metric_name(score.name), wording.stated(score)) for score in target.scores],
        "against": against,
        "residuals": residuals,
        "quantiles": _quantiles(target),
        "drawn": len(pairs) if len(pairs) < samples else None,
    }


def _quantiles(target: TargetEvaluation) -> list[tuple[str, str]]:
    found = sorted((float(share), number) for share, number in target.residual_quantiles.items())
    return [(f"{100 * share:g} %", wording.value(number)) for share, number in found]
