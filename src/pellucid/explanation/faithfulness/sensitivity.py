"""Sensitivity: an explanation should hardly change where the input hardly changes."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from pellucid.core.language import text
from pellucid.explanation.faithfulness.relatives import Relatives
from pellucid.explanation.faithfulness.score import FaithfulnessScore, mean_of
from pellucid.explanation.subject import Subject

COPIES = 3
RADIUS = 0.02  # of the range of the inputs' values: a change of five grey levels of 256, that nobody sees
_LIMIT = 1.0  # a change as large as the map itself: the map of the neighbour could be any other


def max_sensitivity(maps: Tensor, moved: Tensor) -> Tensor:
    """max over copies of |map(x + e) - map(x)| / |map(x)|, Euclidean norms: maps (N, P), moved (J, N, P) -> (N,).

    Source: Yeh et al. 2019, definition 4.1, estimated from random e as in their section 4; relative to the map's norm.
    """
    largest = maps.double().abs().amax(-1, keepdim=True).clamp(min=1e-300)  # first: squares of tiny values would be nothing
    maps, moved = maps / largest, moved / largest
    norm = maps.norm(dim=-1)
    return torch.where(norm > 0, (moved - maps).norm(dim=-1).amax(0) / norm.clamp(min=1e-300), torch.zeros_like(norm))


def sensitivity_score(
    mapped: Callable[[Subject], Tensor], own: Tensor, relatives: Relatives, base: Subject, generator: torch.Generator
) -> FaithfulnessScore:
    """`mapped` makes the maps (N, P) of a subject by the method that is tested, always from the same seed; `own`: those of `base`."""
    moved = []
    for _ in range(COPIES):
        inputs = []
        for x in base.inputs:
            if x.is_floating_point():
                noise = (torch.rand(x.shape, generator=generator, dtype=torch.float32) * 2 - 1).to(x)
                x = x + RADIUS * (x.amax() - x.amin()) * noise
            inputs.append(x)
        moved.append(mapped(relatives.with_samples(inputs, base.target)))
    value, interval, samples = mean_of(max_sensitivity(own, torch.stack(moved)), 0)
    return FaithfulnessScore(
        name="sensitivity", value=value, interval=interval, samples=samples, passed=value < _LIMIT,
        expected=text("below {limit}, the size of the map itself, when each input value changes by up to {radius:.0%} of the range",
                      limit=_LIMIT, radius=RADIUS),
        source="Yeh et al. 2019, definition 4.1",
    )  # fmt: skip
