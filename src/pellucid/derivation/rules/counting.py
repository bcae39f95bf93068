"""Positions and counts: results that are whole numbers and have no gradient."""

from __future__ import annotations

import numpy as np
import torch

from pellucid.core.language import text
from pellucid.derivation.registry import rule

_SOURCE = "Harris et al. 2020, Array programming with NumPy"
_SEARCH = "Knuth 1998, The Art of Computer Programming, volume 3, section 6.2.1"
_BOUNDS = {"i": text("a place in the boundaries"), "v": text("a value"), "B": text("the boundaries, in order")}


def _searched(boundaries, values, right):
    return np.searchsorted(boundaries, values, side="right" if right else "left")


@rule(
    "nonzero", "argwhere", function=torch.nonzero,
    forward=r"Y = \{ i : X_{i} \neq 0 \}", backward={}, symbols={"X": "input", "Y": "output"},
    where={"i": text("a position")}, source=_SOURCE,
)  # fmt: skip
class nonzero:
    def forward(input, *, as_tuple=False):
        found = np.argwhere(input)
        if not as_tuple:
            return found
        return tuple(found.T) if input.ndim else (np.flatnonzero(np.atleast_1d(input)),)

    def backward(dY, Y, input, *, as_tuple=False):
        return {}


@rule(
    "searchsorted", function=torch.searchsorted,
    forward=r"Y = |\{ i : B_{i} \given{right}{\leq}\given{!right}{<} v \}|", backward={}, symbols={"Y": "output"},
    where=_BOUNDS, source=_SEARCH,
)  # fmt: skip
class searchsorted:
    def forward(sorted_sequence, input, *, out_int32=False, right=False, side=None, sorter=None):
        right = right or side == "right"
        if not np.size(input):
            return np.zeros(input.shape, np.int64)
        if sorter is not None:
            sorted_sequence = np.take_along_axis(sorted_sequence, sorter, -1)
        if sorted_sequence.ndim == 1 or np.ndim(input) == 0:
            return np.asarray(_searched(sorted_sequence, input, right))
        flat = [
            _searched(row, values, right)
            for row, values in zip(sorted_sequence.reshape(-1, sorted_sequence.shape[-1]), input.reshape(-1, input.shape[-1]), strict=True)
        ]
        return np.asarray(flat, dtype=np.int64).reshape(input.shape)

    def backward(dY, Y, sorted_sequence, input, *, out_int32=False, right=False, side=None, sorter=None):
        return {}


@rule(
    "bucketize", function=torch.bucketize,
    forward=r"Y = |\{ i : B_{i} \given{right}{\leq}\given{!right}{<} v \}|", backward={},
    symbols={"v": "input", "B": "boundaries", "Y": "output"},
    where={"i": _BOUNDS["i"]}, source=_SEARCH,
)  # fmt: skip
class bucketize:
    def forward(input, boundaries, *, out_int32=False, right=False):
        return np.asarray(_searched(boundaries, input, right))

    def backward(dY, Y, input, boundaries, *, out_int32=False, right=False):
        return {}


@rule(
    "bincount", function=torch.bincount,
    forward=r"Y_{k} = \sum_{i: X_{i} = k} \given{weights}{w_{i}}\given{!weights}{1}", backward={},
    symbols={"X": "input", "w": "weights", "Y": "output"}, where={"i": text("a position"), "k": text("a number counted")}, source=_SOURCE,
)  # fmt: skip
class bincount:
    def forward(input, weights=None, minlength=0):
        return np.bincount(input, weights, minlength)

    def backward(dY, Y, input, weights=None, minlength=0):
        return {}


@rule(
    "unique", function=torch.unique,
    forward=r"Y = \{ X_{i} \}", backward={}, symbols={"X": "input", "Y": "output"}, where={"i": text("a position")}, source=_SOURCE,
)  # fmt: skip
class unique:
    def forward(input, sorted=True, return_inverse=False, return_counts=False, dim=None):
        values, inverse, counts = np.unique(input, return_inverse=True, return_counts=True, axis=dim)
        inverse = inverse.reshape(input.shape if dim is None else -1)
        found = [values, *([inverse] if return_inverse else []), *([counts] if return_counts else [])]
        return tuple(found) if len(found) > 1 else values

    def backward(dY, Y, input, sorted=True, return_inverse=False, return_counts=False, dim=None):
        return {}
