"""Writes into a tensor, in place or not: what was written over has the gradient zero, what was written takes it."""

from __future__ import annotations

import numpy as np
import torch

from pellucid.derivation.registry import rule, unbroadcast
from pellucid.derivation.rules.indexing import split_index

_SOURCE = "Harris et al. 2020, Array programming with NumPy, section Array indexing"


def places(shape, index):
    """The positions in a flattened array of this shape that an index names, in the shape of what it takes out."""
    basic, advanced = split_index(index, len(shape))
    positions = np.arange(int(np.prod(shape))).reshape(shape)[basic]
    return positions if advanced is None else positions[advanced]


def written(input, positions, value, accumulate=False):
    """A copy of `input` with `value`, broadcast, at these positions; leading dimensions of size one too many are PyTorch's to allow."""
    Y, value = input.reshape(-1).copy(), np.asarray(value)
    value = np.broadcast_to(value.reshape(value.shape[max(value.ndim - positions.ndim, 0) :]), positions.shape)
    if accumulate:
        np.add.at(Y, positions, value)
    else:
        Y[positions] = value
    return Y.reshape(input.shape)


def cleared(dY, positions):
    """The gradient of what was written over."""
    dX = dY.reshape(-1).copy()
    dX[positions] = 0
    return dX.reshape(dY.shape)


def taken(dY, positions, shape):
    """The gradient of what was written: summed where it was broadcast."""
    return unbroadcast(dY.reshape(-1)[positions], shape[max(len(shape) - positions.ndim, 0) :]).reshape(shape)


def _set(input, index, value):
    result = input.clone()
    result[index] = value
    return result


@rule(
    "setitem", function=_set,
    forward=r"Y_{I} = V, \quad Y_{i} = X_{i} \text{ elsewhere}",
    backward={"input": r"\bar{X}_{i} = [i \notin I] \bar{Y}_{i}", "value": r"\bar{V} = \bar{Y}_{I}"},
    symbols={"X": "input", "I": "index", "V": "value", "Y": "output"}, where={"i": "a position in X"}, source=_SOURCE,
)  # fmt: skip
class setitem:
    def forward(input, index, value):
        return written(input, places(input.shape, index), value)

    def backward(dY, Y, input, index, value):
        positions = places(input.shape, index)
        return {"input": cleared(dY, positions), "value": taken(dY, positions, np.shape(value))}


@rule(
    "index_put", function=torch.index_put,
    forward=r"Y_{I_{j}} = \given{accumulate}{X_{I_{j}} + \sum }V_{j}, \quad Y_{i} = X_{i} \text{ elsewhere}",
    backward={
        "input": r"\bar{X}_{i} = \given{!accumulate}{[i \notin I] }\bar{Y}_{i}",
        "values": r"\bar{V}_{j} = \bar{Y}_{I_{j}}",
    },
    symbols={"X": "input", "I": "indices", "V": "values", "Y": "output"},
    where={"i": "a position in X", "j": "a position in V"}, source=_SOURCE,
)  # fmt: skip
class index_put:
    def forward(input, indices, values, accumulate=False):
        return written(input, places(input.shape, _index(indices)), values, accumulate)

    def backward(dY, Y, input, indices, values, accumulate=False):
        positions = places(input.shape, _index(indices))
        return {"input": dY if accumulate else cleared(dY, positions), "values": taken(dY, positions, np.shape(values))}


def _index(indices):
    """None stands for a whole dimension here, not for a new one."""
    return tuple(slice(None) if index is None else index for index in indices)


@rule(
    "masked_fill", function=torch.masked_fill,
    forward=r"Y_{i} = v \text{ where } M_{i}, \quad X_{i} \text{ elsewhere}",
    backward={"input": r"\bar{X}_{i} = [\lnot M_{i}] \bar{Y}_{i}", "value": r"\bar{v} = \sum_{i} [M_{i}] \bar{Y}_{i}"},
    symbols={"X": "input", "M": "mask", "v": "value", "Y": "output"}, where={"i": "a position"}, source=_SOURCE,
)  # fmt: skip
class masked_fill:
    def forward(input, mask, value):
        return np.where(mask, np.asarray(value, dtype=input.dtype), input)

    def backward(dY, Y, input, mask, value):
        return {
            "input": unbroadcast(np.where(mask, 0.0, dY), input.shape),
            "value": np.where(mask, dY, 0.0).sum().reshape(np.shape(value)),
        }


@rule(
    "fill", function=torch.fill,
    forward=r"Y_{i} = v", backward={"input": r"\bar{X} = 0", "value": r"\bar{v} = \sum_{i} \bar{Y}_{i}"},
    symbols={"X": "input", "v": "value", "Y": "output"}, where={"i": "a position"}, source=_SOURCE,
)  # fmt: skip
class fill:
    def forward(input, value):
        return np.full(input.shape, np.asarray(value, dtype=input.dtype))

    def backward(dY, Y, input, value):
        return {"input": np.zeros(input.shape), "value": dY.sum().reshape(np.shape(value))}


@rule(
    "zero", function=lambda input: input.clone().zero_(),
    forward=r"Y = 0", backward={"input": r"\bar{X} = 0"}, symbols={"X": "input", "Y": "output"}, source=_SOURCE,
)  # fmt: skip
class zero:
    def forward(input):
        return np.zeros_like(input)

    def backward(dY, Y, input):
        return {"input": np.zeros(input.shape)}


@rule(
    "copy", function=lambda input, src, non_blocking=False: input.clone().copy_(src),
    forward=r"Y = S", backward={"input": r"\bar{X} = 0", "src": r"\bar{S} = \bar{Y}"},
    symbols={"X": "input", "S": "src", "Y": "output"}, source=_SOURCE,
)  # fmt: skip
class copy:
    def forward(input, src, non_blocking=False):
        return np.broadcast_to(np.asarray(src, dtype=input.dtype), input.shape)

    def backward(dY, Y, input, src, non_blocking=False):
        return {"input": np.zeros(input.shape), "src": unbroadcast(dY, np.shape(src))}
