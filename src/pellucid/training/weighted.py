"""Samples that do not count alike: a weight per sample, in the loss and nowhere else.

    L = 1 / n sum_i u_i l_i,   u_i = w_i / mean w

over a batch of n samples with losses l_i; mean w is taken over the whole part, so that a batch's gradient is, on average over batches, that
of the weighted mean of all samples. (Dividing by the batch's own weights, as torch.nn.CrossEntropyLoss does with class weights, would leave
a batch of one sample with no weight at all.) Only ratios of weights matter.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pellucid.core.hashing import hash_rows, join_hashes
from pellucid.training.losses import Loss
from pellucid.training.masks.measures import joined_masks


def distinct_samples(inputs: np.ndarray, targets: np.ndarray, weights: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """Positions (n,) of the samples that differ in input or target, and what each weighs (n,): its own weight and that of its copies.

    A sample that weighs nothing is left out. The order is that of the samples' content hashes: the same samples in another order, or a
    sample twice instead of with weight two, give the same positions up to copies, and exactly the same weights.
    """
    kept = np.arange(len(inputs)) if weights is None else np.flatnonzero(weights > 0)
    hashes = np.asarray(join_hashes(_hashed(inputs, kept), _hashed(targets, kept)))
    _, first, inverse = np.unique(hashes, return_index=True, return_inverse=True)
    share = np.ones(len(kept)) if weights is None else weights[kept]
    order = np.lexsort((share, inverse))  # a sum of floats depends on their order: let it depend on nothing else
    return kept[first], np.bincount(inverse[order], weights=share[order])


def _hashed(array: np.ndarray, rows: np.ndarray) -> list[str]:
    """A hash per row; the rows of a table are the same whether they are whole numbers or floats."""
    if array.ndim > 2:  # images: many numbers, and bytes are no fractions
        return hash_rows(array[rows])
    return [value for block in np.array_split(rows, 1 + len(rows) // 65536) for value in hash_rows(array[block].astype(np.float64))]


@dataclass
class WeightedTargets:
    """The targets of a batch with the weight of each sample, where a loop expects targets."""

    values: Tensor  # (n,) or (n, outputs)
    weights: Tensor  # (n,) float32

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, chosen: Any) -> WeightedTargets:
        return WeightedTargets(self.values[chosen], self.weights[chosen])

    def to(self, device: Any) -> WeightedTargets:
        return WeightedTargets(self.values.to(device), self.weights.to(device))

    def cpu(self) -> WeightedTargets:
        return self.to("cpu")


def joined(targets: Sequence[Any]) -> Any:
    """The targets, or outputs, of several batches as those of one; masks of different sizes in one canvas."""
    if targets and isinstance(targets[0], WeightedTargets):
        return WeightedTargets(torch.cat([item.values for item in targets]), torch.cat([item.weights for item in targets]))
    if len({tensor.shape[1:] for tensor in targets}) > 1 and targets[0].ndim == 3:
        return joined_masks(list(targets))
    return torch.cat(list(targets))


def without_weights(targets: Any) -> Any:
    """The targets alone."""
    return targets.values if isinstance(targets, WeightedTargets) else targets


@dataclass
class WeightedPart:
    """A part whose batches carry the weights of their samples: see `Part`."""

    part: Any  # ResidentPart
    weights: Tensor  # (n,) float32, with mean one

    @staticmethod
    def of(part: Any, weights: np.ndarray) -> WeightedPart:
        """`weights` (n,), one per sample of `part`, in any unit; all may be zero, as those of a class that counts for nothing."""
        return WeightedPart(part, torch.from_numpy((weights / (weights.mean() or 1.0)).astype(np.float32)))

    @property
    def indices(self) -> np.ndarray:
        return self.part.indices

    @property
    def device(self) -> torch.device:
        return self.part.device

    def __len__(self) -> int:
        return len(self.part)

    def to(self, device: torch.device) -> WeightedPart:
        return WeightedPart(self.part.to(device), self.weights.to(device))

    def batches(self, batch_size: int, order: Tensor | None = None) -> Iterator[tuple[Tensor, WeightedTargets]]:
        weights = self.weights if order is None else self.weights[order]
        shares = weights.split(batch_size)
        for (inputs, targets), share in zip(self.part.batches(batch_size, order), shares, strict=True):
            yield inputs, WeightedTargets(targets, share)


def weighted(loss: Loss) -> Loss:
    """`loss` of targets that carry weights: u_i l_i for each sample, their mean for a batch."""

    def samples(output: Tensor, targets: Any) -> Tensor:
        return loss.samples(output, targets.values) * targets.weights

    def mean(output: Tensor, targets: Any) -> Tensor:
        return samples(output, targets).mean()

    return Loss(loss.name, loss.task, loss.columns, mean, samples)
