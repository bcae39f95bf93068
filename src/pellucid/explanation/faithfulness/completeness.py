"""Completeness gap: the attributions should add up to what the output changes from the reference to the sample."""

from __future__ import annotations

import torch
from torch import Tensor

from pellucid.core.language import text
from pellucid.explanation.faithfulness.score import FaithfulnessScore, mean_of

TOLERANCE = 0.05  # of the change: Sundararajan et al. 2017, section 5, add steps until the sum is within 5 %
WORST = 5 * TOLERANCE  # of one sample: a mean of many hides it
CLAIMED = {"integrated_gradients", "expected_gradients", "deeplift", "shapley"}  # methods that promise it


def completeness(sums: Tensor, change: Tensor, least: Tensor) -> Tensor:
    """|sum of attributions - (f(x) - f(reference))| / |f(x) - f(reference)|, (N,); a change below `least` (N,) counts as that much.

    Source: Sundararajan, Taly and Yan 2017, proposition 1.
    """
    return (sums.double() - change).abs() / torch.maximum(change.abs(), least).clamp(min=1e-12)


def completeness_score(sums: Tensor, change: Tensor, least: Tensor, *, claimed: bool) -> FaithfulnessScore:
    """The gap over samples; it passes or fails only where the method promises it. `least`: as in `completeness`; of contributions that
    cancel, the whole change may be next to nothing, and any gap many times as large.
    """
    gaps = completeness(sums, change, least)
    value, interval, samples = mean_of(gaps, 0)
    worst = text("in the worst sample {gap}", gap=f"{100 * float(gaps.max()):.2g} %")
    return FaithfulnessScore(
        name="completeness", value=value, interval=interval, samples=samples,
        passed=value <= TOLERANCE and float(gaps.max()) <= WORST if claimed else None,
        expected=text("at most {tolerance}, of no sample above {worst}", tolerance=TOLERANCE, worst=WORST),
        source="Sundararajan et al. 2017, proposition 1 and section 5",
        note=worst if claimed else text("reported only: the method does not promise it"),
    )  # fmt: skip
