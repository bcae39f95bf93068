"""Entries taken from, or brought to, positions along one dimension: gather and scatter, index_select and index_add, masks."""

from __future__ import annotations

import numpy as np
import torch

from pellucid.core.language import text
from pellucid.derivation.registry import Unsupported, rule, unbroadcast

_SOURCE = "Harris et al. 2020, Array programming with NumPy, section Array indexing"
_PLACES = {"j": text("a position in the index")}


def grid(index, dim):
    """The places along `dim` with those of all other dimensions beside them: an index of arrays."""
    places = list(np.indices(index.shape, sparse=True))
    places[dim % max(index.ndim, 1)] = index
    return tuple(places)


def widened(*arrays):
    """At least one dimension each."""
    return tuple(np.atleast_1d(array) for array in arrays)


def gathered(input, dim, index):
    if not index.size:  # of any number of dimensions
        return np.zeros(index.shape)
    array, places = widened(input, index)
    return array[grid(places, dim)].reshape(index.shape)


def scattered(shape, dim, index, values):
    """Zeros with values added at places along a dimension."""
    if not index.size:
        return np.zeros(shape)
    Y = np.zeros(shape or (1,))
    places, values = widened(index, values)
    np.add.at(Y, grid(places, dim), values[tuple(slice(size) for size in places.shape)])
    return Y.reshape(shape)


def part_of(array, shape):
    """The corner of this shape."""
    return array[tuple(slice(size) for size in shape)]


def _padded(part, shape):
    """The same with zeros around it."""
    whole = np.zeros(shape)
    whole[tuple(slice(size) for size in part.shape)] = part
    return whole


@rule(
    "gather", function=torch.gather,
    forward=r"Y_{j} = X_{I_{j}}", backward={"input": r"\bar{X}_{i} = \sum_{j: I_{j} = i} \bar{Y}_{j}"},
    symbols={"X": "input", "I": "index", "Y": "output"}, where={**_PLACES, "i": text("a position in X")}, source=_SOURCE,
    note=text("The index stands in the place of one coordinate; the others are those of the index itself."),
)  # fmt: skip
class gather:
    def forward(input, dim, index, *, sparse_grad=False):
        return gathered(input, dim, index)

    def backward(dY, Y, input, dim, index, *, sparse_grad=False):
        return {"input": scattered(input.shape, dim, index, dY)}


@rule(
    "take_along_dim", function=torch.take_along_dim,
    forward=r"Y_{j} = X_{I_{j}}", backward={"input": r"\bar{X}_{i} = \sum_{j: I_{j} = i} \bar{Y}_{j}"},
    symbols={"X": "input", "I": "indices", "Y": "output"}, where={**_PLACES, "i": text("a position in X")}, source=_SOURCE,
)  # fmt: skip
class take_along_dim:
    def forward(input, indices, dim=None):
        if dim is None:
            return input.reshape(-1)[indices.reshape(-1)]
        array, places = _matched(input, indices, dim)
        return np.take_along_axis(array, places, dim)

    def backward(dY, Y, input, indices, dim=None):
        if dim is None:
            return {"input": scattered((input.size,), 0, indices.reshape(-1), dY).reshape(input.shape)}
        array, places = _matched(input, indices, dim)
        return {"input": unbroadcast(scattered(array.shape, dim, places, dY), input.shape)}


def _matched(input, indices, dim):
    """Both broadcast against each other in all other dimensions."""
    shapes = []
    for array in (input, indices):
        shape = list(array.shape)
        shape[dim] = 1
        shapes.append(shape)
    common = np.broadcast_shapes(*shapes)
    return tuple(
        np.broadcast_to(array, [array.shape[dim] if axis == dim % array.ndim else size for axis, size in enumerate(common)])
        for array in (input, indices)
    )


@rule(
    "index_select", function=torch.index_select,
    forward=r"Y_{j} = X_{I_{j}}", backward={"input": r"\bar{X}_{i} = \sum_{j: I_{j} = i} \bar{Y}_{j}"},
    symbols={"X": "input", "I": "index", "Y": "output"}, where={"j": text("a place in the index"), "i": text("a row of X")}, source=_SOURCE,
)  # fmt: skip
class index_select:
    def forward(input, dim, index):
        rows = np.take(np.atleast_1d(input), index.reshape(-1), axis=dim)
        return rows if input.ndim else rows.reshape(())

    def backward(dY, Y, input, dim, index):
        return {"input": _rows_added(np.zeros(input.shape), dim, index, dY)}


def _rows_added(whole, dim, index, rows):
    """A copy with rows along a dimension added at these places."""
    Y = np.atleast_1d(whole).astype(np.result_type(whole, rows))
    np.add.at(np.moveaxis(Y, dim, 0), index.reshape(-1), np.moveaxis(np.atleast_1d(rows), dim, 0))
    return Y.reshape(np.shape(whole))


def _rows_at(array, dim, index, shape):
    """The rows along a dimension at these places."""
    return np.take(np.atleast_1d(array), index.reshape(-1), axis=dim).reshape(shape)


def _rows_cleared(array, dim, index):
    Y = np.atleast_1d(array).copy()
    np.moveaxis(Y, dim, 0)[index.reshape(-1)] = 0
    return Y.reshape(array.shape)


@rule(
    "index_add", function=torch.index_add,
    forward=r"Y_{i} = X_{i} + \given{alpha!=1}{\alpha} \sum_{j: I_{j} = i} S_{j}",
    backward={"input": r"\bar{X} = \bar{Y}", "source": r"\bar{S}_{j} = \given{alpha!=1}{\alpha} \bar{Y}_{I_{j}}"},
    symbols={"X": "input", "I": "index", "S": "source", "Y": "output", r"\alpha": "alpha"},
    where={"j": text("a place in the index"), "i": text("a row of X")}, source=_SOURCE,
)  # fmt: skip
class index_add:
    def forward(input, dim, index, source, *, alpha=1):
        return _rows_added(input, dim, index, alpha * source)

    def backward(dY, Y, input, dim, index, source, *, alpha=1):
        return {"input": dY, "source": alpha * _rows_at(dY, dim, index, source.shape)}


@rule(
    "index_copy", function=torch.index_copy,
    forward=r"Y_{I_{j}} = S_{j}, \quad Y_{i} = X_{i} \text{ elsewhere}",
    backward={"input": r"\bar{X}_{i} = [i \notin I] \bar{Y}_{i}", "source": r"\bar{S}_{j} = \bar{Y}_{I_{j}}"},
    symbols={"X": "input", "I": "index", "S": "source", "Y": "output"},
    where={"j": text("a place in the index"), "i": text("a row of X")}, source=_SOURCE,
)  # fmt: skip
class index_copy:
    def forward(input, dim, index, source):
        Y = np.atleast_1d(input).copy()
        np.moveaxis(Y, dim, 0)[index.reshape(-1)] = np.moveaxis(np.atleast_1d(source), dim, 0)
        return Y.reshape(input.shape)

    def backward(dY, Y, input, dim, index, source):
        return {"input": _rows_cleared(dY, dim, index), "source": _rows_at(dY, dim, index, source.shape)}


@rule(
    "index_fill", function=torch.index_fill,
    forward=r"Y_{i} = v \text{ where } i \in I, \quad X_{i} \text{ elsewhere}",
    backward={"input": r"\bar{X}_{i} = [i \notin I] \bar{Y}_{i}", "value": r"\bar{v} = \sum_{i \in I} \bar{Y}_{i}"},
    symbols={"X": "input", "I": "index", "v": "value", "Y": "output"}, where={"i": text("a row of X")}, source=_SOURCE,
)  # fmt: skip
class index_fill:
    def forward(input, dim, index, value):
        Y = np.atleast_1d(input).copy()
        np.moveaxis(Y, dim, 0)[index.reshape(-1)] = value
        return Y.reshape(input.shape)

    def backward(dY, Y, input, dim, index, value):
        kept = _rows_cleared(dY, dim, index)
        return {"input": kept, "value": (dY - kept).sum().reshape(np.shape(value))}


def _value_or_source(bound):
    """scatter(x, dim, index, 1.0) and scatter(..., value=1.0) are the same."""
    return bound if bound["value"] is None else {**bound, "src": bound["value"], "value": None}


@rule(
    "scatter", function=torch.scatter,
    forward=r"Y_{I_{j}} = S_{j}, \quad Y_{i} = X_{i} \text{ elsewhere}",
    backward={"input": r"\bar{X}_{i} = [i \notin I] \bar{Y}_{i}", "src": r"\bar{S}_{j} = \bar{Y}_{I_{j}}"},
    symbols={"X": "input", "I": "index", "S": "src", "Y": "output"}, where={**_PLACES, "i": text("a position in X")}, source=_SOURCE,
    note=text("Where several entries go to one position the last one stays, and PyTorch gives the gradient to all of them."),
)  # fmt: skip
class scatter:
    def forward(input, dim, index, src=None, *, value=None, reduce=None):
        if reduce is not None:
            raise Unsupported(text("scatter with reduce={reduce!r}", reduce=reduce), text("scatter_reduce"), text("call scatter_reduce"))
        Y, places = np.atleast_1d(input).copy(), np.atleast_1d(index)
        Y[grid(places, dim)] = part_of(np.atleast_1d(src), places.shape) if np.ndim(src) else src
        return Y.reshape(input.shape)

    def backward(dY, Y, input, dim, index, src=None, *, value=None, reduce=None):
        dX = np.atleast_1d(dY).copy()
        dX[grid(np.atleast_1d(index), dim)] = 0
        taken = gathered(dY, dim, index)
        return {"input": dX.reshape(input.shape), "src": _padded(taken, src.shape) if np.ndim(src) else taken.sum()}

    arguments = _value_or_source


@rule(
    "scatter_add", function=torch.scatter_add,
    forward=r"Y_{i} = X_{i} + \sum_{j: I_{j} = i} S_{j}", backward={"input": r"\bar{X} = \bar{Y}", "src": r"\bar{S}_{j} = \bar{Y}_{I_{j}}"},
    symbols={"X": "input", "I": "index", "S": "src", "Y": "output"}, where={**_PLACES, "i": text("a position in X")}, source=_SOURCE,
)  # fmt: skip
class scatter_add:
    def forward(input, dim, index, src):
        return (input + scattered(input.shape, dim, index, src)).astype(input.dtype)

    def backward(dY, Y, input, dim, index, src):
        return {"input": dY, "src": _padded(gathered(dY, dim, index), src.shape)}


_REDUCTIONS = {"sum": np.add, "mean": np.add, "prod": np.multiply, "amax": np.maximum, "amin": np.minimum}
_NEUTRAL = {"sum": 0.0, "mean": 0.0, "prod": 1.0, "amax": -np.inf, "amin": np.inf}


@rule(
    "scatter_reduce", function=torch.scatter_reduce,
    forward=r"Y_{i} = \given{reduce=sum}{\sum}\given{reduce=mean}{\frac{1}{n_{i}} \sum}\given{reduce=prod}{\prod}\given{reduce=amax}{\max}"
    r"\given{reduce=amin}{\min} \{ \given{include_self}{X_{i},\, }S_{j}: I_{j} = i \}",
    backward={
        "input": r"\bar{X}_{i} = \frac{\partial Y_{i}}{\partial X_{i}} \bar{Y}_{i}",
        "src": r"\bar{S}_{j} = \frac{\partial Y_{I_{j}}}{\partial S_{j}} \bar{Y}_{I_{j}}",
    },
    symbols={"X": "input", "I": "index", "S": "src", "Y": "output"},
    where={**_PLACES, "i": text("a position in X"), "n": text("how many numbers are averaged")}, source=_SOURCE,
    note=text("The derivatives are 1 of a sum, 1/n of a mean, the product of the others of a product; equal extremes share the gradient."),
)  # fmt: skip
class scatter_reduce:
    def forward(input, dim, index, src, reduce, *, include_self=True):
        Y, places = np.atleast_1d(input).astype(np.float64), grid(np.atleast_1d(index), dim)
        if not include_self:
            Y[places] = _NEUTRAL[reduce]
        _REDUCTIONS[reduce].at(Y, places, part_of(np.atleast_1d(src), np.shape(places[dim])))
        if reduce == "mean":
            Y = Y / _counts(input, dim, index, include_self)
        return Y.reshape(input.shape).astype(input.dtype)

    def backward(dY, Y, input, dim, index, src, reduce, *, include_self=True):
        taken, own = part_of(np.atleast_1d(src), np.atleast_1d(index).shape).reshape(index.shape), dY
        if reduce == "mean":
            own = dY / _counts(input, dim, index, include_self).reshape(input.shape)
        of_source = gathered(own, dim, index)
        if reduce == "prod":
            own, of_source = _of_product(dY, input, dim, index, taken, include_self)
        elif reduce in ("amax", "amin"):
            first, hits = input == Y, taken == gathered(Y, dim, index)
            part = dY / (first + scattered(input.shape, dim, index, hits.astype(float)))
            own, of_source = first * part, hits * gathered(part, dim, index)
        if not include_self:
            own = np.atleast_1d(own).copy()
            own[grid(np.atleast_1d(index), dim)] = 0
            own = own.reshape(input.shape)
        return {"input": own, "src": _padded(of_source, src.shape)}


def _counts(input, dim, index, include_self):
    found = np.atleast_1d(scattered(input.shape, dim, index, np.ones(index.shape)))
    return np.maximum(found + include_self, 1)


def _of_product(dY, input, dim, index, taken, include_self):
    """The product of all others: of those that are not 0, where at most one is."""
    ones, zeros = np.where(input == 0, 1.0, input), (input == 0).astype(float)
    if not include_self:
        ones, zeros = np.atleast_1d(ones).copy(), np.atleast_1d(zeros)
        places = grid(np.atleast_1d(index), dim)
        ones[places], zeros[places] = 1.0, 0.0
        ones, zeros = ones.reshape(input.shape), zeros.reshape(input.shape)
    rest = scatter_reduce.forward(ones, dim, index, np.where(taken == 0, 1.0, taken), "prod")
    zeros = zeros + scattered(input.shape, dim, index, (taken == 0).astype(float))

    def others(x, rest, zeros):
        return np.where(x == 0, rest * (zeros == 1), rest * (zeros == 0) / np.where(x == 0, 1.0, x))

    of_source = gathered(dY, dim, index) * others(taken, gathered(rest, dim, index), gathered(zeros, dim, index))
    return dY * others(input, rest, zeros), of_source


@rule(
    "masked_select", function=torch.masked_select,
    forward=r"Y_{j} = X_{I_{j}}", backward={"input": r"\bar{X}_{I_{j}} = \bar{Y}_{j}, \quad 0 \text{ elsewhere}"},
    symbols={"X": "input", "Y": "output"},
    where={"I": text("the positions at which the mask is true, row by row"), "j": text("a position in Y")}, source=_SOURCE,
)  # fmt: skip
class masked_select:
    def forward(input, mask):
        array, chosen = np.broadcast_arrays(input, mask)
        return array[chosen]

    def backward(dY, Y, input, mask):
        array, chosen = np.broadcast_arrays(input, mask)
        dX = np.zeros(array.shape)
        dX[chosen] = dY
        return {"input": unbroadcast(dX, input.shape)}


@rule(
    "masked_scatter", function=torch.masked_scatter,
    forward=r"Y_{I_{j}} = S_{j}, \quad Y_{i} = X_{i} \text{ elsewhere}",
    backward={"input": r"\bar{X}_{i} = [i \notin I] \bar{Y}_{i}", "source": r"\bar{S}_{j} = \bar{Y}_{I_{j}}"},
    symbols={"X": "input", "S": "source", "Y": "output"},
    where={"I": text("the positions at which the mask is true, row by row"), "i": text("a position in X"), "j": text("a position in S")},
    source=_SOURCE,
)  # fmt: skip
class masked_scatter:
    def forward(input, mask, source):
        array, chosen = np.broadcast_arrays(input, mask)
        Y = array.copy()
        Y[chosen] = source.reshape(-1)[: np.count_nonzero(chosen)]
        return Y

    def backward(dY, Y, input, mask, source):
        chosen, dS = np.broadcast_to(mask, dY.shape), np.zeros(source.size)
        dS[: np.count_nonzero(chosen)] = dY[chosen]
        return {"input": unbroadcast(np.where(chosen, 0.0, dY), input.shape), "source": dS.reshape(source.shape)}
