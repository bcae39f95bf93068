"""Scale: a map that promises sums must have the size of the output's changes, not only their proportions."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from pellucid.core.language import text
from pellucid.explanation.faithfulness.completeness import TOLERANCE
from pellucid.explanation.faithfulness.infidelity import ALONE, HIGH
from pellucid.explanation.faithfulness.removals import Removals
from pellucid.explanation.faithfulness.score import FaithfulnessScore, mean_of

LEAST, MOST = 0.5, 2.0  # slopes: those of right maps of eight networks lay in 0.57 to 1.11, where features interact too

_EVEN = 1e-6  # of a map's largest value: less is rounding


def sums_fit(sums: Tensor, change: Tensor) -> bool:
    """Whether the sums of the attributions (N,) are the changes of the output from the reference to the samples, as in `completeness`."""
    return float((sums.double() - change).abs().sum()) <= TOLERANCE * float(change.abs().sum())


def scale_score(maps: Tensor, table: Removals, sums: Tensor, change: Tensor, *, judged: bool, compared: bool) -> FaithfulnessScore:
    """The slope of real on predicted changes among sets of one size, (N,), its median over samples: 1 where the values have their size.

    A map whose sums fit the change has its scale, whatever the slope: interactions move that. It fails where for most samples the slope
    lies outside [0.5, 2] by more than two standard errors, or where sums can be compared (`compared`) and do not fit. `judged`: whether
    the map promises sums. Source: the scale b of Yeh et al. 2019, proposition 2.1, which infidelity leaves free.
    """
    slopes, error = slopes_of(maps, table)
    within = (slopes + error >= LEAST) & (slopes - error <= MOST)
    fit = sums_fit(sums, change)
    passed = fit or (float(within.double().mean()) >= 0.5 and not compared)
    ratio = float(sums.double().sum() / change.sum()) if float(change.sum()) else math.nan
    note = None
    if not judged:
        note = text("reported only: the method does not promise sums")
    elif compared and math.isfinite(ratio):
        note = text("the values add up to {ratio:.3g} times the change of the output", ratio=ratio)
    return FaithfulnessScore(
        name="scale", value=middle_slope(maps, slopes), samples=tuple(slopes.tolist()), passed=passed if judged else None,
        expected=text("sums within {sums:.0%} of the change of the output; where they cannot be compared, {least} to {most}",
                      sums=TOLERANCE, least=LEAST, most=MOST),
        source="Yeh et al. 2019, proposition 2.1", note=note,
    )  # fmt: skip


def middle_slope(maps: Tensor, slopes: Tensor) -> float:
    """The median over samples of the slopes (N,); maps that tell no features apart, as those of zero, have none."""
    apart = maps.amax(1) - maps.amin(1) > _EVEN * maps.abs().amax(1)
    return float(slopes[apart].median()) if bool(apart.any()) else 1.0


def slopes_of(maps: Tensor, table: Removals) -> tuple[Tensor, Tensor]:
    """(N,) real on predicted changes, and two standard errors; 0 for maps that are zero."""
    predicted, real = maps.double() @ table.indicators, table.changes[0]
    largest = predicted.abs().amax(1).clamp(min=1e-300)  # first: squares of tiny values would be nothing
    predicted = predicted / largest[:, None]
    power = (predicted**2).sum(1).clamp(min=1e-300)
    slopes = (predicted * real).sum(1) / power
    left = ((real - slopes[:, None] * predicted) ** 2).sum(1) / max(1, real.shape[1] - 2)
    return torch.where(maps.any(1), slopes / largest, torch.zeros_like(slopes)), 2 * (left / power).sqrt() / largest


def squared_error(maps: Tensor, table: Removals, path: Tensor | None, *, judged: bool) -> FaithfulnessScore:
    """1 - sum (change - predicted)^2 / sum change^2 of a map with its own values, per that of the best map: the share of `share_explained`
    without a free scale.

    Where features interact, values that add up to the whole change are larger than what single features change: by how much, the slope of
    integrated gradients, `path` (N, P), says, which is the other scale that a map may have.
    Source: Yeh et al. 2019, definition 2.1, with their I among sets of one size.
    """
    predicted, changes = maps.double() @ table.indicators, table.changes[0]
    own = _share(predicted, changes)
    halves = [_share(guess, changes[:, half]) for half, guess in table.held_out]
    best = (halves[0] + halves[1]) / 2
    if path is not None:
        slopes = slopes_of(path, table)[0].clamp(LEAST, MOST)
        own = torch.maximum(own, _share(predicted * slopes[:, None], changes))
        best = torch.maximum(best, _share(path.double() @ table.indicators, changes))
    best = torch.maximum(best, own).clamp(min=0.01)  # as in share_of: where nothing explains more than 1 % of the variance, nothing does
    value, _, samples = mean_of((own / best).clamp(min=-1.0))
    least = HIGH if len(maps) > 1 else ALONE
    return FaithfulnessScore(
        name="squared_error", value=value, samples=samples, passed=value >= least if judged else None,
        expected=text("at least {share} of what the best map explains", share=least), source="Yeh et al. 2019, definition 2.1",
        note=None if judged else text("reported only: the values need not have the size of the changes"),
    )  # fmt: skip


def _share(predicted: Tensor, changes: Tensor) -> Tensor:
    """(N,) the share of the changes' (N, m) squares that their predictions leave nothing of."""
    return 1 - ((changes - predicted) ** 2).sum(1) / (changes**2).sum(1).clamp(min=1e-300)
