"""The network's outputs where random sets of features are absent: one table that most scores read.

Sets are the beginnings of random orders and of the same orders reversed, so that all sizes occur equally often. A map of attributions
predicts the change of the output by the sum over the absent features; how well is its correlation with the real changes *among sets of the
same size*: that the output moves more when more is taken away every map predicts, a constant one too.
Source of the perturbations and the sum: Yeh et al. 2019, definition 2.1; of correlating them: Bhatt, Weller and Moura 2020, definition 4.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from pellucid.explanation.faithfulness.score import correlation
from pellucid.explanation.players import Players
from pellucid.explanation.reference import Reference
from pellucid.explanation.subject import Subject

ORDERS, FEWEST, MOST = 256, 20, 128  # of all samples together; of each at least (better than 20 is p = 0.05), at most; pairs
SIZES = 9
CLASSES = 16  # outputs that are looked at: the chosen one and the largest others
REFERENCES = 8  # over which an output is averaged at least, where there are more
PASSES = 2**20  # of small inputs and 2**17 of large ones: as many references as these allow
SMALL = 512  # numbers of a sample
FEW = 6  # features: with fewer, their permutations are too few to be a test, and sets of one size too much alike; all orders are tried
_COPIES_BYTES = 2**25  # of perturbed inputs made at once


@dataclass(frozen=True, eq=False)
class Removals:
    """M random sets of P features, and the change of C outputs of N samples when a set is absent. The chosen output comes first."""

    removed: Tensor  # (M, P) bool
    outputs: Tensor  # (N, M, C) float64
    full: Tensor  # (N, C) outputs of the samples themselves
    orders: Tensor  # (R, P): order r gave the sets r * M / R and following

    @property
    def count(self) -> int:
        return self.removed.shape[1]

    @cached_property
    def sizes(self) -> Tensor:
        return self.removed.sum(1)

    @cached_property
    def _means(self) -> Tensor:
        """(M, M) what takes the mean over the sets of the same size; over all sets where features are few."""
        same = (
            self.sizes[:, None] == self.sizes[None] if self.count >= FEW else torch.ones(len(self.sizes), len(self.sizes), dtype=torch.bool)
        )
        return same.double() / same.sum(1, keepdim=True)

    def _within(self, values: Tensor) -> Tensor:
        return values - values @ self._means.T

    def mean_of_size(self, values: Tensor) -> Tensor:
        """The mean of values (..., M) over the sets of the same size, (..., M)."""
        same = (self.sizes[:, None] == self.sizes[None]).double()
        return values @ (same / same.sum(1, keepdim=True)).T

    @cached_property
    def changes(self) -> Tensor:
        """(C, N, M) f(x) - f(x without the set), less the mean of its size."""
        return self._within((self.full[:, None] - self.outputs).permute(2, 0, 1))

    @cached_property
    def indicators(self) -> Tensor:
        """(P, M) whether a feature is absent, less the mean of the size."""
        return self._within(self.removed.double().T)

    def explained(self, maps: Tensor, output: int = 0) -> Tensor:
        """The correlation of the changes that maps (..., N, P) predict with those of an output: (..., N)."""
        return correlation(maps.double() @ self.indicators, self.changes[output])

    @cached_property
    def additive(self) -> Tensor:
        """(N, P) the additive map that fits the changes best (ridge regression); what all features share is fitted across sizes."""
        found = _ridge(self.indicators, self.changes[0], self._penalty)
        left = self.full[:, :1] - self.outputs[..., 0] - found @ self.removed.double().T
        size = self.sizes.double()
        return found + (left * size).sum(1, keepdim=True) / (size**2).sum()

    @cached_property
    def _halves(self) -> tuple[Tensor, Tensor]:
        """Numbers of the sets of two halves of the orders; an order and its reverse stay together."""
        per, half = len(self.removed) // len(self.orders), len(self.orders) // 2
        order = torch.arange(len(self.removed)) // per % half
        return (order % 2 == 0).nonzero()[:, 0], (order % 2 == 1).nonzero()[:, 0]

    def _predicted(self, penalty: float, least: float = -math.inf) -> list[tuple[Tensor, Tensor]]:
        """Of both halves: the numbers of its sets, and the changes (N, m) there by the best additive map (>= `least`) of the other."""
        one, two = self._halves
        return [
            (left, _ridge(self.indicators[:, fitted], self.changes[0][:, fitted], penalty).clamp(min=least) @ self.indicators[:, left])
            for fitted, left in ((one, two), (two, one))
        ]

    def _held_out(self, penalty: float, least: float = -math.inf) -> Tensor:
        """(N,) the correlation of the best additive map of one half with the changes of the other."""
        scores = [correlation(predicted, self.changes[0][:, left]) for left, predicted in self._predicted(penalty, least)]
        return (scores[0] + scores[1]) / 2

    @cached_property
    def _penalty(self) -> float:
        penalties = (1e-3, 1e-2, 1e-1, 1.0)
        return max(penalties, key=lambda penalty: float(self._held_out(penalty).mean()))

    @cached_property
    def held_out(self) -> list[tuple[Tensor, Tensor]]:
        """Of both halves of the sets: their numbers, and the changes (N, m) that an additive map fitted to the other half predicts."""
        return self._predicted(self._penalty)

    @cached_property
    def attainable(self) -> Tensor:
        """(N,) what the best additive map reaches on sets it was not fitted to."""
        return self._held_out(self._penalty).clamp(min=0)

    @cached_property
    def lost_without_signs(self) -> float:
        """The share of what the best additive map explains that it loses where its negative values are set to zero."""
        best = float(self.attainable.mean())
        return 1 - float(self._held_out(self._penalty, 0.0).clamp(min=0).mean() / best) ** 2 if best > 0 else 0.0


def _ridge(indicators: Tensor, changes: Tensor, penalty: float) -> Tensor:
    """(N, P); the penalty is relative to the features' mean square."""
    gram = indicators @ indicators.T
    gram = gram + penalty * gram.diagonal().mean().clamp(min=1e-12) * torch.eye(len(gram), dtype=gram.dtype)
    return torch.linalg.solve(gram, indicators @ changes.T).T


def random_orders(count: int, generator: torch.Generator, samples: int = 8, pairs: int | None = None) -> Tensor:
    """(R, P): half at random, more where samples are few, or `pairs`, then the same reversed; of few features all orders, equally often."""
    if count < FEW:
        half = torch.tensor([order for order in itertools.permutations(range(count)) if order[0] < order[-1]])
        half = half.repeat(math.ceil(FEWEST / 2 / len(half)), 1)
    else:
        drawn = min(MOST, max(FEWEST, ORDERS // samples)) // 2 if pairs is None else pairs
        half = torch.rand(drawn, count, generator=generator).argsort(1)
    return torch.cat([half, half.flip(1)])


def steps(count: int) -> Tensor:
    """How many features are absent at each step: up to `SIZES` numbers in 1..P-1, symmetric: a reversed order gives the complements."""
    if count == 2:
        return torch.arange(3)  # none and both too: one alone of two says nothing but which is larger
    if count <= SIZES + 1:
        return torch.arange(1, count)
    lower = torch.linspace(1, count / 2, SIZES // 2 + 1)[:-1].round().long()  # from one: else the first features are not told apart
    middle = [count // 2] if count % 2 == 0 else []
    return torch.cat([lower, torch.tensor(middle, dtype=torch.long), (count - lower).flip(0)])


def beginnings(orders: Tensor) -> Tensor:
    """(R, P) orders -> (R, S, P) bool: the features before each step."""
    place = orders.argsort(1)
    return place[:, None, :] < steps(orders.shape[1])[None, :, None]


def measured(subject: Subject, reference: Reference, players: Players, generator: torch.Generator, pairs: int | None = None) -> Removals:
    """Evaluate the network on all samples and sets: N * R * S passes, fewer where orders of few features share their sets."""
    n = subject.samples
    orders = random_orders(players.count, generator, n, pairs)
    removed = beginnings(orders).flatten(0, 1)
    sets, which = removed.unique(dim=0, return_inverse=True)
    sample = torch.arange(n).repeat_interleave(len(sets))
    outputs = without(subject, reference, players, sample, sets.repeat(n, 1)).reshape(n, len(sets), -1)[:, which]
    full = subject.predictions.gather(1, columns(subject)).double().cpu()
    return Removals(removed, outputs, full, orders)


def columns(subject: Subject) -> Tensor:
    """(N, C) the outputs that are looked at: the chosen one, then the largest others."""
    if subject.target is None:
        return torch.zeros(subject.samples, 1, dtype=torch.long, device=subject.device)
    others = subject.predictions.scatter(1, subject.target[:, None], -torch.inf)
    largest = others.topk(min(CLASSES, subject.classes) - 1, dim=1).indices
    return torch.cat([subject.target[:, None], largest], 1)


def without(subject: Subject, reference: Reference, players: Players, sample: Tensor, removed: Tensor) -> Tensor:
    """(n, C) float64: outputs of samples (n,) where the features `removed` (n, P) come from the reference, the mean over references."""
    looked, size = columns(subject), sum(x[0].numel() * x.element_size() for x in subject.inputs)
    at_once = max(1, _COPIES_BYTES // max(size, 1))
    numbers = sum(x[0].numel() for x in subject.inputs)
    count = min(reference.count, max(REFERENCES, (PASSES if numbers <= SMALL else PASSES // 8) // len(sample)))
    found = torch.zeros(len(sample), looked.shape[1], dtype=torch.float64)
    for start in range(0, len(sample), at_once):
        rows = slice(start, start + at_once)
        chosen, present = sample[rows].to(subject.device), ~removed[rows].to(subject.device)
        own = tuple(x[chosen] for x in subject.inputs)
        for which in range(count):
            absent = reference.at(chosen, torch.full_like(chosen, which * reference.count // count))
            outputs = subject.outputs(players.mixed(own, absent, present)).gather(1, looked[chosen])
            found[rows] += outputs.double().cpu() / count
    return found
