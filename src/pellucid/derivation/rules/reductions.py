"""Sums and means."""

from __future__ import annotations

import math

import numpy as np
import torch

from pellucid.derivation.registry import rule

_SOURCE = "Petersen and Pedersen 2012, The Matrix Cookbook, section 2"


def axes_of(dim, dimensions):
    """The reduced axes as non-negative numbers: all of them for None and for an empty list."""
    if dim is None or (isinstance(dim, (tuple, list)) and not len(dim)):
        return tuple(range(dimensions))
    return tuple(int(axis) % max(dimensions, 1) for axis in (dim if isinstance(dim, (tuple, list)) else (dim,)))[: dimensions or 0]


def spread(gradient, shape, dim, keepdim):
    """A reduced gradient repeated over the axes that were reduced, read-only."""
    if not keepdim:
        gradient = np.expand_dims(gradient, axes_of(dim, len(shape)))
    return np.broadcast_to(gradient, shape)


@rule(
    "sum", function=torch.sum,
    forward=r"Y = \sum_{i} X_{i}", backward={"input": r"\bar{X}_{i} = \bar{Y}"},
    symbols={"X": "input", "Y": "output"}, where={"i": "the positions along the summed dimensions"}, source=_SOURCE,
)  # fmt: skip
class sum_:
    def forward(input, dim=None, keepdim=False, *, dtype=None):
        return np.sum(input, axis=axes_of(dim, np.ndim(input)), keepdims=keepdim)

    def backward(dY, Y, input, dim=None, keepdim=False, *, dtype=None):
        return {"input": spread(dY, input.shape, dim, keepdim)}


@rule(
    "mean", function=torch.mean,
    forward=r"Y = \frac{1}{n} \sum_{i} X_{i}", backward={"input": r"\bar{X}_{i} = \frac{1}{n} \bar{Y}"},
    symbols={"X": "input", "Y": "output"},
    where={"i": "the positions along the averaged dimensions", "n": "how many they are"}, source=_SOURCE,
)  # fmt: skip
class mean:
    def forward(input, dim=None, keepdim=False, *, dtype=None):
        axes = axes_of(dim, input.ndim)
        return np.sum(input, axis=axes, keepdims=keepdim) / np.float64(math.prod(input.shape[axis] for axis in axes))

    def backward(dY, Y, input, dim=None, keepdim=False, *, dtype=None):
        count = math.prod(input.shape[axis] for axis in axes_of(dim, input.ndim))
        return {"input": spread(dY / np.float64(count), input.shape, dim, keepdim)}
