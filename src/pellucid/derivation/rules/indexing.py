"""Parts of a tensor by position or mask. Positions taken several times get the sum of their gradients."""

from __future__ import annotations

import numpy as np
import torch

from pellucid.core.language import text
from pellucid.derivation.registry import rule

_SOURCE = "Harris et al. 2020, Array programming with NumPy, section Array indexing"


def split_index(index, dimensions):
    """An index as PyTorch reads it, in two NumPy indices one after the other: integers, slices and None first, then arrays and masks.

    NumPy counts a plain integer among the index arrays, which moves dimensions in x[0, :, [1, 2]]; PyTorch takes it first.
    """
    items = list(index) if isinstance(index, tuple) else [index]
    items = [np.asarray(item) if isinstance(item, (list, np.ndarray)) else item for item in items]
    items = [int(item) if isinstance(item, np.ndarray) and not item.ndim and item.dtype != bool else item for item in items]
    used = sum(_taken(item) for item in items if item is not Ellipsis and item is not None)
    basic, advanced = [], []
    for item in items:
        if item is Ellipsis:
            basic += [slice(None)] * (dimensions - used)
            advanced += [slice(None)] * (dimensions - used)
        elif isinstance(item, (bool, np.bool_)) or (
            isinstance(item, np.ndarray) and not item.ndim
        ):  # x[True]: a new dimension of size 1 or 0
            basic.append(None)
            advanced.append(np.asarray([bool(item)]))
        elif isinstance(item, np.ndarray):
            basic += [slice(None)] * _taken(item)
            advanced.append(item.astype(bool) if item.dtype == np.uint8 else item)
        else:
            basic.append(_plain(item) if isinstance(item, slice) else item)
            advanced += [slice(None)] * (not isinstance(item, (int, np.integer)))
    arrays = any(isinstance(item, np.ndarray) for item in advanced)
    return tuple(basic), tuple(advanced) if arrays else None


def _taken(item):
    """How many dimensions one item of an index takes up."""
    if isinstance(item, np.ndarray):
        return item.ndim if item.dtype in (np.bool_, np.uint8) else 1
    return 0 if isinstance(item, (bool, np.bool_)) else 1


def _plain(item):
    return slice(*(None if part is None else int(part) for part in (item.start, item.stop, item.step)))


@rule(
    "getitem", function=torch.Tensor.__getitem__,
    forward=r"Y_{j} = X_{I_{j}}", backward={"input": r"\bar{X}_{i} = \sum_{j: I_{j} = i} \bar{Y}_{j}"},
    symbols={"X": "input", "I": "index", "Y": "output"}, where={"i": text("a position in X"), "j": text("a position in Y")}, source=_SOURCE,
)  # fmt: skip
class getitem:
    def forward(input, index):
        basic, advanced = split_index(index, input.ndim)
        part = input[basic]
        return part if advanced is None else part[advanced]

    def backward(dY, Y, input, index):
        basic, advanced = split_index(index, input.ndim)
        dX = np.zeros(input.shape)
        if advanced is None:
            dX[basic] = dY
        else:
            part = dX[basic]
            if np.shares_memory(part, dX):
                np.add.at(part, advanced, dY)
        return {"input": dX}


@rule(
    "take", function=torch.take,
    forward=r"Y_{j} = \operatorname{vec}(X)_{I_{j}}",
    backward={"input": r"\operatorname{vec}(\bar{X})_{i} = \sum_{j: I_{j} = i} \bar{Y}_{j}"},
    symbols={"X": "input", "I": "index", "Y": "output"}, where={"i": text("a position in X"), "j": text("a position in Y")}, source=_SOURCE,
)  # fmt: skip
class take:
    def forward(input, index):
        return input.reshape(-1)[index]

    def backward(dY, Y, input, index):
        dX = np.zeros(input.size)
        np.add.at(dX, index, dY)
        return {"input": dX.reshape(input.shape)}


@rule(
    "put", function=lambda input, index, source, accumulate=False: input.put(index, source, accumulate),
    forward=r"\operatorname{vec}(Y)_{I_{j}} = \given{accumulate}{\operatorname{vec}(X)_{I_{j}} + }S_{j},"
    r" \quad \operatorname{vec}(Y)_{i} = \operatorname{vec}(X)_{i} \text{ elsewhere}",
    backward={
        "input": r"\operatorname{vec}(\bar{X})_{i} = \given{!accumulate}{[i \notin I] }\operatorname{vec}(\bar{Y})_{i}",
        "source": r"\bar{S}_{j} = \operatorname{vec}(\bar{Y})_{I_{j}}",
    },
    symbols={"X": "input", "I": "index", "S": "source", "Y": "output"},
    where={"i": text("a position in X"), "j": text("a position in S")}, source=_SOURCE,
)  # fmt: skip
class put:
    def forward(input, index, source, accumulate=False):
        Y = input.reshape(-1).copy()
        if accumulate:
            np.add.at(Y, index, source.reshape(index.shape))
        else:
            Y[index] = source.reshape(index.shape)
        return Y.reshape(input.shape)

    def backward(dY, Y, input, index, source, accumulate=False):
        dX = dY.reshape(-1).copy()
        if not accumulate:
            dX[index] = 0
        return {"input": dX.reshape(input.shape), "source": dY.reshape(-1)[index].reshape(source.shape)}
