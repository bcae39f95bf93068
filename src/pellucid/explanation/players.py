"""Players: which entries of a sample are one feature, and the samples in which some of them are absent.

The word is that of cooperative games (Shapley 1953): a player is a column of a table, a patch of an image, a token, a window of time.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, cast

import torch
from torch import Tensor

from pellucid.core.errors import OptionError
from pellucid.core.language import Text, text
from pellucid.explanation.subject import Subject
from pellucid.explanation.time_axis import time_axis

_ALONG = 8  # patches or windows along an axis: 64 of an image, so that a single one can be seen and all of them be tried


@dataclass(frozen=True, eq=False)
class Players:
    """The `count` features of a sample; `index` has the shape of one sample of each input and says whose an entry is."""

    count: int
    index: tuple[Tensor, ...]  # long, values in [0, count); a mask is one player, and never absent
    stated: Text
    names: tuple[str, ...] | None = None

    def mixed(self, inputs: Sequence[Tensor], reference_values: Sequence[Tensor], present: Tensor) -> tuple[Tensor, ...]:
        """Samples (n, ...) whose absent players' entries come from the reference; `present` (n, count) bool.

        The inputs and the reference have n rows, or one for all. With `present` (n, s, count) each row is mixed in s ways: (n * s, ...).
        For inputs of one floating type `present` may be 0 and 1 in that type: exactly the same in a fraction of the time.
        """
        found = list[Tensor]()
        several = present.dim() == 3
        for index, own, absent in zip(self.index, inputs, reference_values, strict=True):
            chosen = present.to(index.device)
            if not self._in_order:
                chosen = chosen[..., index]
            own, absent = (own[:, None], absent[:, None]) if several else (own, absent)
            mixed = torch.lerp(absent, own, chosen) if chosen.is_floating_point() else torch.where(chosen, own, absent)
            found.append(mixed.flatten(0, 1) if several else mixed)
        return tuple(found)

    @cached_property
    def _in_order(self) -> bool:
        """The players are the columns of one table, in their order: a copy less of everything."""
        return len(self.index) == 1 and torch.equal(self.index[0].cpu(), torch.arange(self.count))

    @property
    def sizes(self) -> Tensor:
        """(count,) how many entries each player has."""
        return torch.bincount(torch.cat([index.reshape(-1) for index in self.index]), minlength=self.count)

    def spread(self, values: Tensor) -> tuple[Tensor, ...]:
        """(n, count) one number per player as one per entry, each input (n, ...), in equal parts: `summed` gives the numbers back.

        Truth values are repeated.
        """
        shares = values if values.dtype == torch.bool else values / self.sizes.to(values)
        return tuple(shares.to(index.device)[:, index] for index in self.index)

    def summed(self, attributions: Sequence[Tensor]) -> Tensor:
        """Attributions (n, ...) added up over each player's entries: (n, count)."""
        n = len(attributions[0])
        total = torch.zeros(n, self.count, dtype=attributions[0].dtype, device=attributions[0].device)
        for index, part in zip(self.index, attributions, strict=True):
            total.index_add_(1, index.reshape(-1).to(total.device), part.reshape(n, -1).to(total))
        return total

    @classmethod
    def of(cls, subject: Subject, features: Any = "auto") -> Players:
        """One player a column, patch, token or window of time; `features`: "auto", "entries" (each number by itself), the edge of a patch
        or window, or integers of one sample's shape (a tuple of them for several inputs) that say which player an entry belongs to.

        Raises:
            OptionError: none of these.
        """
        if isinstance(features, (Tensor, tuple, list)):
            return _given(subject, features)
        edge = None if isinstance(features, str) else features
        if features not in ("auto", "entries") and not (isinstance(edge, int) and not isinstance(edge, bool) and edge >= 1):
            raise OptionError(
                text("features is {features!r}", features=features),
                text('"auto", "entries", the edge of a patch as an integer >= 1, or a tensor of integers of one sample\'s shape'),
                text("leave it at auto, or number the entries that belong together"),
            )
        index: list[Tensor] = []
        count = 0
        for tensor, continuous, mask in zip(subject.inputs, subject.continuous, subject.masks, strict=True):
            shape = tuple(tensor.shape[1:])
            own = (
                torch.zeros(shape, dtype=torch.long)
                if mask
                else _entries(shape)
                if features == "entries" or not continuous
                else _grouped(subject, shape, edge)
            )
            index.append((own + count).to(tensor.device))
            count += int(own.max()) + 1 if own.numel() else 0
        names = subject.columns if len(index) == 1 and subject.columns is not None and len(subject.columns) == count else None
        return cls(count, tuple(index), _stated(subject, features, index), names)


def _entries(shape: tuple[int, ...]) -> Tensor:
    return torch.arange(math.prod(shape)).reshape(shape)


def _grouped(subject: Subject, shape: tuple[int, ...], edge: int | None) -> Tensor:
    """Tables: an entry; series: windows along time; images: square patches over all channels; more axes likewise."""
    if len(shape) < 2:
        return _entries(shape)
    if len(shape) == 2:
        axis = time_axis(subject, shape)
        window = edge or max(1, math.ceil(shape[axis] / (4 * _ALONG)))
        steps = torch.arange(shape[axis]) // window
        return (steps[None, :] if axis == 1 else steps[:, None]).expand(shape).contiguous()
    spatial = shape[1:]
    edge = edge or max(1, round(max(spatial) / _ALONG))
    found = torch.zeros(spatial, dtype=torch.long)
    for axis, size in enumerate(spatial):
        along = (torch.arange(size) // edge).reshape([-1 if a == axis else 1 for a in range(len(spatial))])
        found = found * math.ceil(size / edge) + along
    return found.expand(shape).contiguous()


def _stated(subject: Subject, features: Any, index: Sequence[Tensor]) -> Text:
    if features == "entries":
        return text("each number by itself")
    if subject.kind == "series":
        shape = subject.inputs[0].shape
        return text("windows of time (axis {axis} of the inputs)", axis=1 + time_axis(subject, (shape[1], shape[2])))
    kinds = {"table": text("each column"), "tokens": text("each token"),
             "image": text("square patches, all channels together"), "volume": text("cubes, all channels together")}  # fmt: skip
    return kinds.get(subject.kind) or text("columns, patches, tokens and windows of time, input by input")


def _given(subject: Subject, features: Any) -> Players:
    parts: list[Any] = list(cast("Sequence[Any]", features)) if isinstance(features, (tuple, list)) else [features]
    shapes = [tuple(tensor.shape[1:]) for tensor in subject.inputs]
    got = [tuple(part.shape) if isinstance(part, Tensor) else type(part).__name__ for part in parts]
    if got != shapes or any(part.is_floating_point() or part.dtype == torch.bool for part in parts):
        raise OptionError(
            text("features have shapes {got}", got=[str(shape) for shape in got]),
            text("integers of shapes {shapes}, those of one sample", shapes=[str(shape) for shape in shapes]),
            text("number the entries that belong together, from 0"),
        )
    numbers = torch.cat([part.reshape(-1).long().cpu() for part in parts])
    known, dense = numbers.unique(return_inverse=True)  # whatever numbers the user chose, in their order
    pieces = dense.split([math.prod(shape) for shape in shapes])
    index = tuple(p.reshape(s).to(x.device) for p, s, x in zip(pieces, shapes, subject.inputs, strict=True))
    return Players(len(known), index, text("the groups that were given"))
