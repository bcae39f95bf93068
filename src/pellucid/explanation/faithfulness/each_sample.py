"""Each sample: a mean over samples hides those whose map is wholly wrong; they are looked for one by one, and named."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from pellucid.core.language import text
from pellucid.core.numerics import student_t_quantile
from pellucid.explanation.faithfulness.removals import Removals
from pellucid.explanation.faithfulness.score import FaithfulnessScore, correlation

ALPHA = 0.05  # of all samples together (Bonferroni)
LEAST = 0.5  # of what can be explained of a sample: see the log of the benchmarks
MOST = 8  # samples that are looked at again
ORDERS = 32  # pairs of them then: of 12 columns, a standard error of about a tenth


def each_sample(
    shares: Sequence[float], maps: Tensor, rivals: Sequence[Tensor], again: Callable[[Tensor], Removals], rows: Sequence[int]
) -> FaithfulnessScore:
    """The least share explained of any sample; it fails where one of several is shown to lie below a half.

    `shares`: those of `share_explained`. Samples that look wrong by them, eight at most, are measured `again` (numbers of samples ->
    their table) with other sets, so that having been chosen is no evidence, and corrected for as many as were chosen. `rivals` (N, P) are
    other maps, the best of which says what can be explained. The error over orders is the jackknife's, an order and its reverse left out
    together. `rows`: what the samples are called. Sources: Efron and Tibshirani 1993, chapter 11; Bonferroni's inequality.
    """
    expected = text("no sample shown to lie below {least:.0%} of what can be explained of it, p above {alpha} for all together",
                    least=LEAST, alpha=ALPHA)  # fmt: skip
    source = "Efron and Tibshirani 1993, chapter 11"
    if len(shares) < 2:
        return FaithfulnessScore(name="each_sample", value=None, expected=expected, note=text("not applicable: there is one sample"))
    low = [number for number in sorted(range(len(shares)), key=lambda number: shares[number]) if shares[number] < LEAST][:MOST]
    found = dict[int, float]()
    if low:
        chosen = torch.tensor(low)
        lower, ratio = _shown(maps[chosen], [rival[chosen] for rival in rivals], again(chosen))
        found = {number: float(share) for number, is_lower, share in zip(low, lower, ratio, strict=True) if bool(is_lower)}
    note = text("{rows} (counted from 0): {shares}; {count} of {n} samples", rows=[rows[number] for number in sorted(found)],
                shares=[f"{100 * max(0.0, found[number]):.0f} %" for number in sorted(found)], count=len(found), n=len(shares))  # fmt: skip
    return FaithfulnessScore(name="each_sample", value=min(shares), samples=tuple(shares), passed=not found, expected=expected,
                             source=source, note=note if found else None)  # fmt: skip


def _shown(maps: Tensor, rivals: Sequence[Tensor], table: Removals) -> tuple[Tensor, Tensor]:
    """(n,) which shares are significantly below `LEAST`, and the shares."""
    pairs, per = len(table.orders) // 2, len(table.removed) // len(table.orders)
    pair = torch.arange(len(table.removed)) // per % pairs
    predicted, changes = torch.stack([maps, *rivals]).double() @ table.indicators, table.changes[0]

    def lacking(kept: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The map's correlation, the best of the others, and by how much the map's is too low."""
        own, *others = correlation(predicted[..., kept], changes[:, kept])
        best = torch.stack(others).amax(0)
        return own, best, math.sqrt(LEAST) * best - own

    own, best, lack = lacking(torch.ones_like(pair, dtype=torch.bool))
    left_out = torch.stack([lacking(pair != which)[2] for which in range(pairs)])
    error = ((left_out - left_out.mean(0)) ** 2).sum(0).mul((pairs - 1) / pairs).sqrt()
    lower = (lack > student_t_quantile(1 - ALPHA / len(maps), pairs - 1) * error) & (best > 0.1)  # else nothing explains anything
    ratio = own / torch.maximum(own, best).clamp(min=0.1)
    return lower, ratio.abs() * ratio
