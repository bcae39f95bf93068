"""Deletion and insertion: the output as features go, or come, in the order of their attributions, against random orders."""

from __future__ import annotations

import torch
from torch import Tensor

from pellucid.core.language import Text, text
from pellucid.explanation.faithfulness.removals import FEW, Removals, beginnings
from pellucid.explanation.faithfulness.score import FaithfulnessScore, mean_of, tail

ALPHA = 0.05
_LOWERS = text("above 0, p at most {alpha}: taking the most important features first lowers the output faster than chance", alpha=ALPHA)
_RAISES = text("above 0, p at most {alpha}: giving the most important features first raises the output faster than chance", alpha=ALPHA)
_ROUNDING = 1e-4  # of a standard deviation: no difference between two orders


def descending(maps: Tensor, generator: torch.Generator) -> Tensor:
    """(N, P) features from the largest attribution to the smallest; equal ones in random order, so that a constant map is no order."""
    chance = torch.rand(maps.shape, generator=generator).argsort(1)
    return chance.gather(1, maps.gather(1, chance).argsort(dim=1, descending=True, stable=True))


def own_sets(maps: Tensor, generator: torch.Generator) -> Tensor:
    """(N, 2 S, P) the sets that are absent along each map's own order: deletion, then insertion (all but the first features)."""
    going = beginnings(descending(maps, generator))
    return torch.cat([going, ~going], 1)


def deletion_insertion(own: Tensor, table: Removals) -> tuple[FaithfulnessScore, FaithfulnessScore]:
    """own (N, 2 S): the chosen output where the sets of `own_sets` are absent.

    A score is how far the mean output along the map's order lies below (deletion) or above (insertion) that along random orders, in
    standard deviations of random orders; its p-value: the map's order is one of the random ones, of few features one of all there are.
    Source: Petsiuk, Das and Saenko 2018, section 3.3 (the curves); Samek et al. 2017, section III (random orders).
    """
    n, steps = own.shape[0], own.shape[1] // 2
    drawn = table.outputs[..., 0].reshape(n, len(table.orders), steps).mean(2)  # (N, R): deletion along a random order, insertion reversed
    centre, spread = drawn.mean(1), drawn.std(1).clamp(min=1e-12)
    scale = torch.maximum(spread, 1e-6 * table.full[:, 0].abs())  # an output that nothing changes: rounding is no evidence
    random = ((drawn - centre[:, None]) / scale[:, None]).mean(0)  # (R,)
    going = (centre - own[:, :steps].mean(1)) / scale
    coming = (own[:, steps:].mean(1) - centre) / scale
    every = table.count < FEW
    return _score("deletion", going, -random, _LOWERS, every=every), _score("insertion", coming, random, _RAISES, every=every)


def _score(name: str, standardised: Tensor, random: Tensor, expected: Text, *, every: bool) -> FaithfulnessScore:
    value, interval, samples = mean_of(standardised)
    p_value = tail(random, value - _ROUNDING)
    if every:
        p_value = max(1 / len(random), float((random >= value - _ROUNDING).double().mean()))
    return FaithfulnessScore(
        name=name, value=value, interval=interval, samples=samples, p_value=p_value, passed=p_value <= ALPHA, expected=expected,
        source="Petsiuk et al. 2018, section 3.3; Samek et al. 2017, section III",
    )  # fmt: skip
