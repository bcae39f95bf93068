"""Level: a constant added to every value leaves the differences between features as they are, but moves signs, proportions and sums."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from pellucid.core.language import text
from pellucid.explanation.faithfulness.removals import Removals
from pellucid.explanation.faithfulness.scale import LEAST, MOST, middle_slope, slopes_of, sums_fit
from pellucid.explanation.faithfulness.score import FaithfulnessScore
from pellucid.explanation.reference import Reference
from pellucid.explanation.subject import Subject

LARGEST = 0.15  # of the spread of a map's values over features: see the log of the benchmarks


def level_score(maps: Tensor, table: Removals, changes: Mapping[str, Tensor], *, judged: bool) -> FaithfulnessScore:
    """The constant that is in every value of the maps (N, P), per standard deviation of their values over features.

    By the sums, against each of `changes` (N,), the whole change of the output from one reference (Sundararajan et al. 2017, proposition
    1); and by how the error of the predicted changes grows with the number of features that are absent (with a free intercept, as LIME's
    values have one). The smallest of these counts, as it is not known what the map promises. Not asked where the values have another size
    than the changes: those have no common zero.
    """
    expected = text("at most {most} standard deviations of the values, by one of the references", most=LARGEST)
    slope = middle_slope(maps, slopes_of(maps, table)[0])
    spread = maps.double().std(1, correction=0).sum()
    if not judged or not bool(spread > 0) or not LEAST <= slope <= MOST:
        why = text("not asked: the method does not promise sums") if not judged else text("not asked: the values have another size")
        return FaithfulnessScore(name="level", value=None, expected=expected, note=why)
    sums, offsets = maps.double().sum(1), [_by_size(maps, table)]
    fits = False
    for change in changes.values():
        offsets.append((sums - change) / maps.shape[1])
        fits = fits or sums_fit(sums, change)
    sizes = [float(offset.abs().sum() / spread) for offset in offsets]
    best = min(range(len(sizes)), key=lambda number: sizes[number] if math.isfinite(sizes[number]) else math.inf)
    return FaithfulnessScore(
        name="level", value=math.copysign(sizes[best], float(offsets[best].sum())), passed=fits or sizes[best] <= LARGEST,
        expected=expected, source="Sundararajan et al. 2017, proposition 1",
        note=text("the least of {count} references", count=len(changes)) if len(changes) > 1 else None,
    )  # fmt: skip


def _by_size(maps: Tensor, table: Removals) -> Tensor:
    """(N,) by how much more a map predicts of the change with every feature that is absent."""
    over = maps.double() @ table.removed.double().T - (table.full[:, :1] - table.outputs[..., 0])
    size = table.sizes.double() - table.sizes.double().mean()
    return (over * size).sum(1) / (size**2).sum().clamp(min=1e-12)


def likely_references(subject: Subject, data: Any, generator: torch.Generator) -> dict[str, Reference]:
    """References that maps from elsewhere are often made with: zero, the mean or samples of the background, a blurred copy, token 0."""
    background = subject.inputs if data is None and subject.samples > 1 else data
    found = {"zero": Reference.of(subject, "zero", data)}
    if background is not None:
        found |= {kind: Reference.of(subject, kind, background, generator) for kind in ("mean", "samples")}
    if subject.kind in ("image", "volume", "series"):
        found["own mean"] = Reference.of(subject, "mean")
        found["blur"] = Reference.of(subject, "blur")
    if not all(subject.continuous):
        found["token 0"] = Reference.of(subject, tuple(torch.zeros_like(x[:1]) for x in subject.inputs))
    return found
