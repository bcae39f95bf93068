"""Resolution: is the map right inside the features that were tested? Within a patch, its pixels; within a pixel, its channels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from scipy.special import ndtr
from torch import Tensor

from pellucid.core.language import Text, text
from pellucid.explanation.faithfulness.removals import without
from pellucid.explanation.faithfulness.score import FaithfulnessScore, correlation, share_of
from pellucid.explanation.players import Players
from pellucid.explanation.reference import Reference
from pellucid.explanation.subject import Subject

ALPHA, LEAST = 0.05, 0.6  # development models: see the log of the benchmarks
FEWEST, MOST, ALL = 16, 256, 512  # pairs of sets: of a sample at least, at most; of all samples together
ACTIVE = 8  # one large feature in so many is looked into at a time: near the input and its reference, where most maps come from
GRADIENTS = 8  # pairs at which the derivative is taken, in each half


@dataclass(frozen=True, eq=False)
class Level:
    """Pairs of sets of small features that take equally many away of each large feature: their difference is all inside the large ones."""

    inside: Text  # the large features, in words
    small: Players
    signs: Tensor  # (K, U) float64: 1 in the first set, -1 in the second, 0 in neither
    changes: Tensor  # (N, K) f(x without the second) - f(x without the first)
    attainable: Tensor  # (N,) what the derivative at other pairs reaches; 0 without gradients

    def explained(self, attributions: Sequence[Tensor]) -> Tensor:
        """(N,) the correlation of predicted with real differences."""
        return correlation(self.small.summed(attributions).double().cpu() @ self.signs.T, self.changes)


def resolution_score(attributions: Sequence[Tensor], levels: Sequence[Level]) -> FaithfulnessScore:
    """The least share, over levels, of what the derivative explains of the output's differences inside the tested features.

    As `share_explained`, with pairs of sets between which the sums over the tested features do not tell; the best map is the mean of
    df/dx * (x - x') at such sets, from one half of the pairs for the other. p-value: unrelated maps have correlations of standard deviation
    1 / sqrt(pairs). Source of the perturbations: Yeh et al. 2019, definition 2.1.
    """
    found: list[FaithfulnessScore] = []
    for level in levels:
        own = level.explained(attributions)
        value, interval, samples = share_of(own, level.attainable)
        p_value = float(ndtr(-float(own.mean()) * math.sqrt(level.changes.numel())))
        passed = value >= LEAST and p_value <= ALPHA
        found.append(FaithfulnessScore(
            name="resolution", value=value, interval=interval, samples=samples, p_value=p_value, passed=passed, note=level.inside,
            expected=text("at least {share} of what can be explained inside the tested features", share=LEAST),
            source="Yeh et al. 2019, definition 2.1",
        ))  # fmt: skip
    return min(found, key=lambda score: (bool(score.passed), float(score.value or 0.0)))


def constant_within(attributions: Sequence[Tensor], players: Players) -> bool:
    """Whether a map gives all entries of a feature the same, and so claims nothing inside it."""
    largest = max(float(part.abs().max()) for part in attributions if part.numel())
    spread = players.spread(players.summed([part.double() for part in attributions]))
    return all(bool(((part - even).abs() <= 1e-4 * largest).all()) for part, even in zip(attributions, spread, strict=True))


def measured_level(
    subject: Subject, reference: Reference, large: Players, small: Players, inside: Text, generator: torch.Generator
) -> Level:
    """Evaluate the network on pairs of sets of `small` features, in an eighth of the `large` ones at a time."""
    n = subject.samples
    pairs = max(FEWEST, min(MOST, ALL // n))
    signs = torch.stack([_balanced(_owners(large, small), large.count, generator) for _ in range(pairs)])  # (K, U)
    sets = torch.cat([signs > 0, signs < 0])  # (2 K, U)
    changes, attainable = list[Tensor](), list[Tensor]()
    for sample in range(n):
        rows = torch.full((len(sets),), sample)
        outputs = without(subject, reference, small, rows, sets)[:, 0]
        changes.append(outputs[pairs:] - outputs[:pairs])
        attainable.append(_by_derivative(subject, reference, small, sample, signs, changes[-1]))
    return Level(inside, small, signs.double(), torch.stack(changes), torch.stack(attainable).clamp(min=0))


def _by_derivative(subject: Subject, reference: Reference, small: Players, sample: int, signs: Tensor, changes: Tensor) -> Tensor:
    """() the correlation of the changes of one half of the pairs with what the derivative at sets of the other half says of them."""
    if subject.differentiable is not None:
        return torch.zeros((), dtype=torch.float64)
    half, found = len(signs) // 2, list[Tensor]()
    for mine, others in ((slice(0, half), slice(half, None)), (slice(half, None), slice(0, half))):
        chosen = signs[mine][:GRADIENTS]
        absent = torch.cat([chosen > 0, chosen < 0]).to(subject.device)
        rows = torch.full((len(absent),), sample, device=subject.device)
        own = tuple(x[rows] for x in subject.inputs)
        starts = reference.at(rows, torch.arange(len(absent), device=subject.device) % reference.count)
        target = None if subject.target is None else subject.target[rows]
        ends, begins = subject.points(own), subject.points(starts)
        mixed = small.mixed(own, starts, ~absent)
        _, slopes = subject.gradients_at(subject.points(mixed), mixed, target)
        parts = subject.gathered([(end - begin) * slope for end, begin, slope in zip(ends, begins, slopes, strict=True)])
        guess = small.summed(parts).double().cpu().mean(0)
        found.append(correlation(guess @ signs[others].double().T, changes[others]))
    return (found[0] + found[1]) / 2


def _owners(large: Players, small: Players) -> Tensor:
    """(U,) the large feature that each small one lies in."""
    owners = torch.zeros(small.count, dtype=torch.long)
    for whose, part in zip(large.index, small.index, strict=True):
        owners[part.reshape(-1).cpu()] = whose.reshape(-1).cpu()
    return owners


def _balanced(owners: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """(U,) int8: in an eighth of the large features as many 1 as -1, at random, and 0 elsewhere."""
    order = (owners.double() + 0.999 * torch.rand(len(owners), generator=generator, dtype=torch.float64)).argsort()
    sizes = torch.bincount(owners, minlength=count)
    place = torch.empty_like(owners)
    place[order] = torch.arange(len(owners)) - (sizes.cumsum(0) - sizes)[owners[order]]
    half = (sizes // 2)[owners]
    signs = torch.where(place < half, 1, torch.where(place < 2 * half, -1, 0))
    active = torch.zeros(count, dtype=torch.bool)
    several = (sizes > 1).nonzero()[:, 0]
    active[several[torch.randperm(len(several), generator=generator)[: max(1, math.ceil(len(several) / ACTIVE))]]] = True
    return torch.where(active[owners], signs, 0).to(torch.int8)
