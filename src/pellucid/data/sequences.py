"""Samples of unequal length in memory: all steps one after the other, padded only to the longest of their batch.

Texts are tokens, whole numbers padded with 0; series are numbers, padded with NaN: so the networks for sequences see where a sample ends
(networks.sequences). A part of another kind of steps needs nothing but another array.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

PADDING, UNKNOWN = 0, 1  # the tokens that stand for nothing, and for what the vocabulary does not hold
_POOL = 50  # batches whose samples are sorted by length together: enough for batches of nearly equal length, few enough to stay random


@dataclass
class SequencePart:
    """One side of the split: the steps of n samples, and where each sample begins. See `samples.Part`."""

    steps: np.ndarray  # whole numbers (all steps,), or numbers of C channels (all steps, C)
    begins: np.ndarray  # (n + 1,) int64, the last the number of steps
    targets: Tensor  # (n,) or (n, outputs)
    indices: np.ndarray
    longest: int | None = None  # steps of a sample that are kept, from its beginning; None: all
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    changeable: ClassVar[bool] = False

    def __len__(self) -> int:
        return len(self.begins) - 1

    @property
    def lengths(self) -> np.ndarray:
        """(n,) steps kept of each sample."""
        lengths = np.diff(self.begins)
        return lengths if self.longest is None else np.minimum(lengths, self.longest)

    def to(self, device: torch.device) -> SequencePart:
        return replace(self, targets=self.targets.to(device), device=device)

    def grouped(self, order: Tensor, batch_size: int) -> Tensor:
        """`order` so changed that the samples of a batch are of nearly equal length; a function of `order` alone.

        Within each `_POOL` batches of the order the samples are sorted by length and cut into batches; these come in the order in which
        their first samples stood, one that is not whole at the very end.
        """
        lengths, pool = self.lengths, _POOL * batch_size
        batches: list[np.ndarray] = []
        given = order.cpu().numpy()
        for start in range(0, len(given), pool):
            chosen = given[start : start + pool]
            by_length = np.argsort(lengths[chosen], kind="stable")
            cut = [by_length[first : first + batch_size] for first in range(0, len(by_length), batch_size)]
            cut.sort(key=lambda places: (len(places) < batch_size, int(places[0])))
            batches += [chosen[places] for places in cut]
        return torch.from_numpy(np.concatenate(batches)).to(order.device) if batches else order

    def batches(
        self, batch_size: int, order: Tensor | None = None, change: Callable[[Tensor, Tensor], Tensor] | None = None
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """(`padded` samples, targets), in the order given."""
        places = np.arange(len(self)) if order is None else order.cpu().numpy()
        for start in range(0, len(places), batch_size):
            chosen = places[start : start + batch_size]
            yield self.padded(chosen).to(self.device), self.targets[torch.from_numpy(chosen).to(self.targets.device)]

    def padded(self, chosen: np.ndarray, steps: int = 1) -> Tensor:
        """Tokens (n, T) int64 with 0 behind the shorter samples, or series (n, C, T) with NaN behind them; T: the longest of these, at
        least `steps`."""
        lengths = self.lengths[chosen]
        times = np.arange(int(lengths.max(initial=steps)))
        stands = times < lengths[:, None]  # (n, T)
        found = self.steps[(self.begins[chosen][:, None] + times)[stands]]
        if np.issubdtype(self.steps.dtype, np.integer):
            result = np.full(stands.shape, PADDING, dtype=np.int64)
            result[stands] = found
            return torch.from_numpy(result)
        result = np.full((*stands.shape, *self.steps.shape[1:]), np.nan, dtype=np.float32)
        result[stands] = found
        return torch.from_numpy(np.ascontiguousarray(np.moveaxis(result, 1, -1)))
