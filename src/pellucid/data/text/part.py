"""Samples of unequal length in memory: one after the other, padded only to the longest of their batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

_POOL = 50  # batches whose samples are sorted by length together: enough for batches of nearly equal length, few enough to stay random


@dataclass
class SequencePart:
    """Tokens of n samples, flat, and where each begins."""

    tokens: np.ndarray  # (all tokens,) int32
    begins: np.ndarray  # (n + 1,)
    targets: Tensor  # (n,) or (n, outputs)
    indices: np.ndarray
    longest: int  # tokens of a sample that are kept, from its beginning
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    changeable: ClassVar[bool] = False

    def __len__(self) -> int:
        return len(self.begins) - 1

    @property
    def lengths(self) -> np.ndarray:
        """(n,) tokens kept of each sample."""
        return np.minimum(np.diff(self.begins), self.longest)

    def to(self, device: torch.device) -> SequencePart:
        return replace(self, targets=self.targets.to(device), device=device)

    def grouped(self, order: Tensor, batch_size: int) -> Tensor:
        """`order` so changed that the samples of a batch are of nearly equal length; a function of `order` alone.

        Within each `_POOL` batches of the order the samples are sorted by length and cut into batches; the batches come in the order in which
        their first samples stood.
        """
        lengths, pool = self.lengths, _POOL * batch_size
        batches: list[np.ndarray] = []
        given = order.cpu().numpy()
        for start in range(0, len(given), pool):
            chosen = given[start : start + pool]
            by_length = np.argsort(lengths[chosen], kind="stable")
            cut = [by_length[first : first + batch_size] for first in range(0, len(by_length), batch_size)]
            cut.sort(key=lambda places: (len(places) < batch_size, int(places[0])))  # what is not a whole batch comes last
            batches += [chosen[places] for places in cut]
        return torch.from_numpy(np.concatenate(batches)).to(order.device) if batches else order

    def batches(
        self, batch_size: int, order: Tensor | None = None, change: Callable[[Tensor, Tensor], Tensor] | None = None
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """(tokens (n, T) int64 with 0 behind the shorter ones, targets), in the order given."""
        places = np.arange(len(self)) if order is None else order.cpu().numpy()
        for start in range(0, len(places), batch_size):
            chosen = places[start : start + batch_size]
            yield self.padded(chosen).to(self.device), self.targets[torch.from_numpy(chosen).to(self.targets.device)]

    def padded(self, chosen: np.ndarray) -> Tensor:
        """(n, T) int64, T the longest of the chosen samples."""
        lengths = np.minimum(self.begins[chosen + 1] - self.begins[chosen], self.longest)
        steps = np.arange(int(lengths.max(initial=1)))
        stands = steps < lengths[:, None]
        result = np.zeros(stands.shape, dtype=np.int64)
        result[stands] = self.tokens[(self.begins[chosen][:, None] + steps)[stands]]
        return torch.from_numpy(result)


def part_of(preprocessing: Any, samples: Any, indices: np.ndarray) -> SequencePart:
    tokens, begins = preprocessing.tokens(samples, indices)
    return SequencePart(tokens, begins, preprocessing.targets(samples, indices), indices, preprocessing.longest)
