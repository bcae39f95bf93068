"""Tensors joined along a dimension, and parts of a tensor along a dimension: each part gets its part of the gradient."""

from __future__ import annotations

import numpy as np
import torch

from pellucid.core.language import text
from pellucid.derivation.registry import rule, unbroadcast

_SOURCE = "Harris et al. 2020, Array programming with NumPy"
_JOINS = {
    "forward": r"Y = [X_{1}, \dots, X_{n}]", "backward": {"tensors": r"[\bar{X}_{1}, \dots, \bar{X}_{n}] = \bar{Y}"},
    "symbols": {"X": "tensors", "Y": "output"}, "where": {"n": text("the number of tensors")}, "source": _SOURCE,
}  # fmt: skip
_SPLITS = {
    "forward": r"[Y_{1}, \dots, Y_{n}] = X", "backward": {"input": r"\bar{X} = [\bar{Y}_{1}, \dots, \bar{Y}_{n}]"},
    "symbols": {"X": "input", "Y": "output"}, "where": {"n": text("the number of parts")}, "source": _SOURCE,
}  # fmt: skip


def outputs(dY):
    """The gradients of all outputs; a call with one part has one output."""
    return dY if isinstance(dY, tuple) else (dY,)


def _joined(arrays):
    """Those that PyTorch joins: an old rule leaves out empty vectors among tensors of more dimensions."""
    dimensions = max((array.ndim for array in arrays), default=0)
    return [array.ndim == dimensions or array.shape != (0,) for array in arrays]


@rule("cat", function=torch.cat, **_JOINS)
class cat:
    def forward(tensors, dim=0):
        return np.concatenate([array for array, used in zip(tensors, _joined(tensors), strict=True) if used], axis=dim)

    def backward(dY, Y, tensors, dim=0):
        gradients, start = [], 0
        along = np.moveaxis(dY, dim, 0)
        for array, used in zip(tensors, _joined(tensors), strict=True):
            size = array.shape[dim] if used else 0
            gradients.append(np.moveaxis(along[start : start + size], 0, dim) if used else np.zeros(array.shape))
            start += size
        return {"tensors": gradients}


@rule("stack", function=torch.stack, **_JOINS)
class stack:
    def forward(tensors, dim=0):
        return np.stack(tensors, axis=dim)

    def backward(dY, Y, tensors, dim=0):
        return {"tensors": list(np.moveaxis(dY, dim, 0))}


def _stacked(name, function, widen, dimension):
    """A rule of torch.hstack and its kin: widened to some shape, then joined."""

    def first(arrays):
        return [widen(array) for array in arrays]

    class body:
        def forward(tensors):
            return np.concatenate(first(tensors), axis=dimension(tensors))

        def backward(dY, Y, tensors):
            parts = np.split(dY, np.cumsum([a.shape[dimension(tensors)] for a in first(tensors)])[:-1], axis=dimension(tensors))
            return {"tensors": [part.reshape(array.shape) for part, array in zip(parts, tensors, strict=True)]}

    body.__module__ = __name__
    return rule(name, function=function, **_JOINS)(body)


_stacked("hstack", torch.hstack, np.atleast_1d, lambda tensors: 0 if tensors[0].ndim <= 1 else 1)
_stacked("vstack", torch.vstack, np.atleast_2d, lambda tensors: 0)
_stacked("dstack", torch.dstack, np.atleast_3d, lambda tensors: 2)
_stacked("column_stack", torch.column_stack, lambda a: a.reshape(-1, 1) if a.ndim <= 1 else a, lambda tensors: 1)


def _cut(input, places, dim):
    """Parts between these places along a dimension."""
    return tuple(np.split(input, places, axis=dim))


@rule("split", "split_with_sizes", "unsafe_split", "unsafe_split_with_sizes", function=torch.Tensor.split, **_SPLITS)
class split:
    def forward(input, split_size_or_sections=None, dim=0, *, split_size=None, split_sizes=None):
        given = next(size for size in (split_size_or_sections, split_size, split_sizes) if size is not None)
        if isinstance(given, (tuple, list)):
            return _cut(input, np.cumsum([int(size) for size in given])[:-1], dim)
        return _cut(input, range(given, input.shape[dim], given) if given else [], dim)

    def backward(dY, Y, input, split_size_or_sections=None, dim=0, *, split_size=None, split_sizes=None):
        return {"input": np.concatenate(outputs(dY), axis=dim)}


@rule("chunk", "unsafe_chunk", function=torch.chunk, **_SPLITS)
class chunk:
    def forward(input, chunks, dim=0):
        size = -(-input.shape[dim] // chunks)
        if not size:  # of an empty dimension as many parts as were asked for
            return _cut(input, [0] * (chunks - 1), dim)
        return _cut(input, range(size, input.shape[dim], size), dim)

    def backward(dY, Y, input, chunks, dim=0):
        return {"input": np.concatenate(outputs(dY), axis=dim)}


@rule("tensor_split", function=torch.tensor_split, **_SPLITS)
class tensor_split:
    def forward(input, indices_or_sections=None, dim=0, *, indices=None, sections=None, tensor_indices_or_sections=None):
        given = next(g for g in (indices_or_sections, indices, sections, tensor_indices_or_sections) if g is not None)
        return tuple(np.array_split(input, _places(given), axis=dim))

    def backward(dY, Y, input, indices_or_sections=None, dim=0, *, indices=None, sections=None, tensor_indices_or_sections=None):
        given = next(g for g in (indices_or_sections, indices, sections, tensor_indices_or_sections) if g is not None)
        return {"input": _parts_put_back(dY, input, _places(given), dim)}


def _places(given):
    """A number of parts, or the places of cuts."""
    if isinstance(given, (int, np.integer)):
        return int(given)
    return int(given) if isinstance(given, np.ndarray) and not given.ndim else [int(place) for place in given]


def _parts_put_back(dY, input, places, dim):
    """Parts between places may overlap or be missing: put back by position."""
    gradient = np.zeros(input.shape)
    parts = np.array_split(np.arange(input.shape[dim]), places)
    along = np.moveaxis(gradient, dim, 0)
    for part, positions in zip(outputs(dY), parts, strict=True):
        along[positions] += np.moveaxis(part, dim, 0)
    return gradient


def _named_split(name, function, dimension):
    """hsplit, vsplit, dsplit: tensor_split along a fixed dimension."""

    class body:
        def forward(input, indices_or_sections):
            return tuple(np.array_split(input, _places(indices_or_sections), axis=dimension(input)))

        def backward(dY, Y, input, indices_or_sections):
            return {"input": _parts_put_back(dY, input, _places(indices_or_sections), dimension(input))}

    body.__module__ = __name__
    return rule(name, function=function, **_SPLITS)(body)


_named_split("hsplit", torch.hsplit, lambda input: 0 if input.ndim == 1 else 1)
_named_split("vsplit", torch.vsplit, lambda input: 0)
_named_split("dsplit", torch.dsplit, lambda input: 2)


@rule("unbind", function=torch.unbind, **_SPLITS)
class unbind:
    def forward(input, dim=0):
        return tuple(np.moveaxis(input, dim, 0))

    def backward(dY, Y, input, dim=0):
        return {"input": np.stack(outputs(dY), axis=dim)}


@rule(
    "select", function=torch.select,
    forward=r"Y = X_{i}", backward={"input": r"\bar{X}_{i} = \bar{Y}"}, symbols={"X": "input", "Y": "output", "i": "index"}, source=_SOURCE,
)  # fmt: skip
class select:
    def forward(input, dim, index):
        return np.moveaxis(input, dim, 0)[int(index)]

    def backward(dY, Y, input, dim, index):
        dX = np.zeros(input.shape)
        np.moveaxis(dX, dim, 0)[int(index)] = dY
        return {"input": dX}


@rule(
    "narrow", function=torch.narrow,
    forward=r"Y_{j} = X_{s + j}", backward={"input": r"\bar{X}_{s + j} = \bar{Y}_{j}"},
    symbols={"X": "input", "Y": "output", "s": "start"}, where={"j": text("a position in Y along the dimension, from 0")}, source=_SOURCE,
)  # fmt: skip
class narrow:
    def forward(input, dim, start, length):
        return np.moveaxis(np.moveaxis(input, dim, 0)[_span(input, dim, start, length)], 0, dim)

    def backward(dY, Y, input, dim, start, length):
        dX = np.zeros(input.shape)
        np.moveaxis(dX, dim, 0)[_span(input, dim, start, length)] = np.moveaxis(dY, dim, 0)
        return {"input": dX}


def _span(input, dim, start, length):
    first = int(start) + (input.shape[dim] if int(start) < 0 else 0)
    return slice(first, first + int(length))


@rule(
    "broadcast_tensors", function=torch.broadcast_tensors,
    forward=r"Y_{j} = X_{i(j)}", backward={"tensors": r"\bar{X}_{i} = \sum_{j: i(j) = i} \bar{Y}_{j}"},
    symbols={"X": "tensors", "Y": "output"},
    where={"i": text("a position in one of the tensors"), "j": text("the positions to which it was repeated")}, source=_SOURCE,
)  # fmt: skip
class broadcast_tensors:
    def forward(*tensors):
        return tuple(np.broadcast_arrays(*_listed(tensors)))

    def backward(dY, Y, *tensors):
        gradients = [unbroadcast(gradient, array.shape) for gradient, array in zip(outputs(dY), _listed(tensors), strict=True)]
        return {"tensors": [gradients] if _is_listed(tensors) else gradients}


def _is_listed(tensors):
    return len(tensors) == 1 and isinstance(tensors[0], (tuple, list))


def _listed(tensors):
    return tensors[0] if _is_listed(tensors) else tensors


@rule(
    "meshgrid", function=lambda *tensors, indexing="ij": torch.meshgrid(*tensors, indexing=indexing),
    forward=r"Y_{k, i_{1}, \dots, i_{n}} = X_{k, i_{k}}",
    backward={"tensors": r"\bar{X}_{k, i} = \sum_{i_{1}, \dots, i_{n}: i_{k} = i} \bar{Y}_{k, i_{1}, \dots, i_{n}}"},
    symbols={"X": "tensors", "Y": "output"},
    where={"k": text("the tensor, 1 to n"), "n": text("the number of tensors"), "i": text("positions")},
    source=_SOURCE,
)  # fmt: skip
class meshgrid:
    def forward(*tensors, indexing=None):
        return tuple(np.meshgrid(*(array.reshape(-1) for array in _listed(tensors)), indexing=indexing or "ij"))

    def backward(dY, Y, *tensors, indexing=None):
        arrays, gradients = _listed(tensors), []
        for position, (gradient, array) in enumerate(zip(outputs(dY), arrays, strict=True)):
            axis = 1 - position if indexing == "xy" and position < 2 and len(arrays) > 1 else position
            others = tuple(other for other in range(gradient.ndim) if other != axis)
            gradients.append(gradient.sum(axis=others).reshape(array.shape))
        return {"tensors": [gradients] if _is_listed(tensors) else gradients}


def _widened(name, function, widen):
    """atleast_1d and its kin: dimensions of size 1 put in."""

    class body:
        def forward(*tensors):
            arrays = _listed(tensors)
            return tuple(widen(array) for array in arrays)

        def backward(dY, Y, *tensors):
            gradients = [gradient.reshape(array.shape) for gradient, array in zip(outputs(dY), _listed(tensors), strict=True)]
            return {"tensors": [gradients] if _is_listed(tensors) else gradients}

    body.__module__ = __name__
    return rule(
        name, function=function, forward=r"Y = X", backward={"tensors": r"\bar{X} = \bar{Y}"},
        symbols={"X": "tensors", "Y": "output"}, source=_SOURCE,
    )(body)  # fmt: skip


_widened("atleast_1d", torch.atleast_1d, np.atleast_1d)
_widened("atleast_2d", torch.atleast_2d, np.atleast_2d)
_widened("atleast_3d", torch.atleast_3d, np.atleast_3d)


@rule("block_diag", function=torch.block_diag,
    forward=r"Y = \begin{bmatrix} X_{1} & & 0 \\ & \ddots & \\ 0 & & X_{n} \end{bmatrix}",
    backward={"tensors": r"\bar{X}_{k} = \bar{Y}_{k k}"},
    symbols={"X": "tensors", "Y": "output"}, where={"k": text("a block, 1 to n"), "n": text("the number of blocks")}, source=_SOURCE,
)  # fmt: skip
class block_diag:
    def forward(*tensors):
        blocks = [np.atleast_2d(array) for array in _listed(tensors)]
        ends = np.cumsum([(0, 0), *(block.shape for block in blocks)], axis=0)
        Y = np.zeros(ends[-1], dtype=np.result_type(*blocks))
        for block, (row, column) in zip(blocks, ends, strict=False):
            Y[row : row + block.shape[0], column : column + block.shape[1]] = block
        return Y

    def backward(dY, Y, *tensors):
        gradients, row, column = [], 0, 0
        for array in _listed(tensors):
            rows, columns = np.atleast_2d(array).shape
            gradients.append(dY[row : row + rows, column : column + columns].reshape(array.shape))
            row, column = row + rows, column + columns
        return {"tensors": [gradients] if _is_listed(tensors) else gradients}
