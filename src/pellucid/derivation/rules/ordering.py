"""Largest, smallest, middle and ordered entries: the gradient goes to the entries that were chosen."""

from __future__ import annotations

import numpy as np
import torch

from pellucid.core.language import text
from pellucid.derivation.registry import Unsupported, rule, unbroadcast
from pellucid.derivation.rules.reductions import axes_of, spread

_SOURCE = "Boyd and Vandenberghe 2004, Convex Optimization, section 3.2.3"
_FIRST = text("Where several entries are equal, PyTorch takes the first along the dimension.")
_SHARED = text("Where several entries are equal, PyTorch shares the gradient among them in equal parts.")


def along(input, dim):
    """The dimension as a non-negative number, and the input with at least one dimension."""
    return dim % max(input.ndim, 1), np.atleast_1d(input)


def picked(input, indices, dim, keepdim):
    """The entries at one index per slice along a dimension, and the indices."""
    values = np.take_along_axis(input, np.expand_dims(indices, dim), dim)
    return (values, np.expand_dims(indices, dim)) if keepdim else (np.squeeze(values, dim), indices)


def put_back(dY, indices, shape, dim, keepdim):
    """The gradient of entries taken at these indices."""
    axis, dX = dim % max(len(shape), 1), np.zeros(shape or (1,))
    places, gradient = np.atleast_1d(indices), np.atleast_1d(dY)
    if not keepdim and shape:
        places, gradient = np.expand_dims(indices, axis), np.expand_dims(dY, axis)
    np.put_along_axis(dX, places, gradient, axis)
    return dX.reshape(shape)


def shared(dY, Y, input, dim, keepdim):
    """The gradient in equal parts for all entries that equal the extreme."""
    whole = np.broadcast_to(spread(Y, input.shape, dim, keepdim), input.shape)
    chosen = (input == whole) | (np.isnan(input) & np.isnan(whole))
    parts = chosen.sum(axis=axes_of(dim, input.ndim), keepdims=True)
    return chosen * (spread(dY, input.shape, dim, keepdim) / parts)


def _refuse_ties(tied, what):
    if np.any(tied):
        raise Unsupported(
            text("{what} of equal entries, among which PyTorch promises no choice", what=what),
            text("entries that differ"),
            text("sort with stable=True instead"),
        )


def _is_tensor(argument):
    return argument is not None and not isinstance(argument, (bool, int, float, str, tuple, list, np.integer))


def _extreme_arguments(bound):
    """max(x, other) and max(x, dim) stand in the same place."""
    return {**bound, "dim": None, "other": bound["dim"]} if _is_tensor(bound["dim"]) else bound


def _extreme(name, pick, pair, elementwise):
    """The rule of max or min: of everything, along a dimension with indices, or of two tensors."""
    sign = ">" if name == "max" else "<"

    class body:
        def forward(input, dim=None, keepdim=False, *, other=None):
            if other is not None:
                return pair(input, other)
            if dim is None:
                return np.asarray(elementwise(input))
            axis, array = along(input, dim)
            values, indices = picked(array, pick(array, axis), axis, keepdim)
            return (values, indices) if input.ndim else (values.reshape(()), indices.reshape(()))

        def backward(dY, Y, input, dim=None, keepdim=False, *, other=None):
            if other is not None:
                mine, its = shares(dY, input, other, name)
                return {"input": unbroadcast(mine, input.shape), "other": unbroadcast(its, other.shape)}
            if dim is None:
                return {"input": shared(dY, Y, input, None, False)}
            return {"input": put_back(dY[0], Y[1], input.shape, dim, keepdim)}

        arguments = _extreme_arguments

    body.__module__ = __name__
    return rule(
        name, function=getattr(torch, name),
        forward=rf"Y = \given{{!other}}{{\{name}_{{i}} X_{{i}}}}\given{{other}}{{\{name}(X, B)}}"
        rf"\given{{dim}}{{, \quad k = \arg\{name}_{{i}} X_{{i}}}}",
        backward={
            "input": r"\given{!other}{\given{!dim}{\bar{X}_{i} = \frac{1}{n} [X_{i} = Y] \bar{Y}}"
            r"\given{dim}{\bar{X}_{i} = [i = k] \bar{Y}}}"
            rf"\given{{other}}{{\bar{{X}} = ([X {sign} B] + \tfrac{{1}}{{2}} [X = B]) \odot \bar{{Y}}}}",
            "other": rf"\bar{{B}} = ([B {sign} X] + \tfrac{{1}}{{2}} [X = B]) \odot \bar{{Y}}",
        },
        symbols={"X": "input", "B": "other", "Y": "output"},
        where={
            "i": text("the positions compared"), "k": text("the position chosen: the first, where several are equal"),
            "n": text("how many entries equal the result: they share the gradient"),
        },
        source=_SOURCE,
    )(body)  # fmt: skip


def shares(dY, input, other, name):
    """Of the larger (smaller) of two tensors: equal entries get half each."""
    half, less = np.where(input == other, dY / 2, dY), input < other if name == "max" else input > other
    more = input > other if name == "max" else input < other
    return np.where(less, 0.0, half), np.where(more, 0.0, half)


_extreme("max", lambda array, axis: np.argmax(array, axis=axis), np.maximum, np.max)
_extreme("min", lambda array, axis: np.argmin(array, axis=axis), np.minimum, np.min)


def _shared_extreme(name, reduce, command):
    class body:
        def forward(input, dim=(), keepdim=False):
            return reduce(input, axis=axes_of(dim, input.ndim), keepdims=keepdim)

        def backward(dY, Y, input, dim=(), keepdim=False):
            return {"input": shared(dY, Y, input, dim, keepdim)}

    body.__module__ = __name__
    return rule(
        name, function=getattr(torch, name), forward=rf"Y = {command}_{{i}} X_{{i}}",
        backward={"input": r"\bar{X}_{i} = \frac{1}{n} [X_{i} = Y] \bar{Y}"}, symbols={"X": "input", "Y": "output"},
        where={"i": text("the positions compared"), "n": text("how many entries equal the result")}, source=_SOURCE, note=_SHARED,
    )(body)  # fmt: skip


_shared_extreme("amax", np.max, r"\max")
_shared_extreme("amin", np.min, r"\min")


@rule(
    "aminmax", function=torch.aminmax,
    forward=r"A = \min_{i} X_{i}, \quad B = \max_{i} X_{i}",
    backward={"input": r"\bar{X}_{i} = \frac{1}{m} [X_{i} = A] \bar{A} + \frac{1}{n} [X_{i} = B] \bar{B}"},
    symbols={"X": "input", "A": "output", "B": "output"},
    where={"i": text("the positions compared"), "m": text("how many entries are smallest"), "n": text("how many entries are largest")},
    source=_SOURCE, note=_SHARED,
)  # fmt: skip
class aminmax:
    def forward(input, *, dim=None, keepdim=False):
        axes = axes_of(dim, input.ndim)
        return np.min(input, axis=axes, keepdims=keepdim), np.max(input, axis=axes, keepdims=keepdim)

    def backward(dY, Y, input, *, dim=None, keepdim=False):
        return {"input": shared(dY[0], Y[0], input, dim, keepdim) + shared(dY[1], Y[1], input, dim, keepdim)}


def _position(name, pick):
    class body:
        def forward(input, dim=None, keepdim=False):
            if dim is None:
                found = np.asarray(pick(input.reshape(-1), 0))
                return found.reshape((1,) * input.ndim) if keepdim else found
            axis, array = along(input, dim)
            found = pick(array, axis)
            return np.expand_dims(found, axis) if keepdim and input.ndim else found.reshape(()) if not input.ndim else found

        def backward(dY, Y, input, dim=None, keepdim=False):
            return {}

    body.__module__ = __name__
    return rule(
        name, function=getattr(torch, name), forward=rf"k = \arg\{name[3:]}_{{i}} X_{{i}}", backward={},
        symbols={"X": "input", "k": "output"}, where={"i": text("the positions compared")}, source=_SOURCE, note=_FIRST,
    )(body)  # fmt: skip


_position("argmax", lambda array, axis: np.argmax(array, axis=axis))
_position("argmin", lambda array, axis: np.argmin(array, axis=axis))


def order(input, dim, descending):
    """The places of the entries in order; equal ones keep their order, NaN is the largest."""
    if not descending:
        return np.argsort(input, axis=dim, kind="stable")
    return input.shape[dim] - 1 - np.flip(np.argsort(np.flip(input, dim), axis=dim, kind="stable"), dim)


def _promised_order(array, axis, descending, stable, what):
    """The order, refused where PyTorch's depends on its algorithm."""
    if not stable and array.shape[axis] > _IN_PLACE:
        _refuse_ties(np.diff(np.sort(array, axis=axis), axis=axis) == 0, what)
    return order(array, axis, descending)


_IN_PLACE = 16  # up to this length PyTorch sorts by insertion, which keeps the order of equal entries

_SORTED = {
    "forward": r"Y_{i} = X_{\pi(i)}", "backward": {"input": r"\bar{X}_{\pi(i)} = \bar{Y}_{i}"},
    "where": {"i": text("a position along the dimension"), r"\pi": text("the place from which a position's entry comes")},
    "symbols": {"X": "input", "Y": "output"}, "source": "Knuth 1998, The Art of Computer Programming, volume 3, section 5.2",
}  # fmt: skip


def _stable_first(bound):
    """sort(x, stable, dim, descending) is another order of arguments."""
    if isinstance(bound["dim"], bool):
        bound["stable"], bound["dim"], bound["descending"] = bound["dim"], bound["descending"], bound["stable"]
    return bound


@rule("sort", function=torch.sort, note=text("Equal entries keep their order; NaN counts as the largest."), **_SORTED)
class sort:
    def forward(input, dim=-1, descending=False, *, stable=None):
        axis, array = along(input, dim)
        places = _promised_order(array, axis, descending, stable, "sort")
        return np.take_along_axis(array, places, axis).reshape(input.shape), places.reshape(input.shape)

    def backward(dY, Y, input, dim=-1, descending=False, *, stable=None):
        return {"input": put_back(dY[0], Y[1], input.shape, dim, True)}


@rule("msort", function=torch.msort, note=text("Equal entries keep their order; NaN counts as the largest."), **_SORTED)
class msort:
    def forward(input):
        return np.sort(input, axis=0) if input.ndim else input

    def backward(dY, Y, input):
        return {"input": put_back(dY, order(input, 0, False), input.shape, 0, True) if input.ndim else dY}


@rule(
    "argsort", function=torch.argsort, forward=r"k = \pi(i), \quad X_{\pi(1)} \leq X_{\pi(2)} \leq \dots", backward={},
    symbols={"X": "input", "k": "output"}, where=_SORTED["where"], source=_SORTED["source"],
)  # fmt: skip
class argsort:
    def forward(input, dim=-1, descending=False, *, stable=False):
        axis, array = along(input, dim)
        return _promised_order(array, axis, descending, stable, "argsort").reshape(input.shape)

    def backward(dY, Y, input, dim=-1, descending=False, *, stable=False):
        return {}


@rule("topk", function=torch.topk, **_SORTED)
class topk:
    def forward(input, k, dim=-1, largest=True, sorted=True):
        axis, array = along(input, dim)
        places = order(array, axis, largest)
        ordered = np.take_along_axis(array, places, axis)
        size = ordered.shape[axis]
        reached = np.take(ordered, range(min(k + 1, size)), axis)
        _refuse_ties(np.diff(reached, axis=axis) == 0, "topk")
        if not sorted and k < size:
            raise Unsupported(text("topk without order"), text("sorted=True"), text("ask for sorted entries"))
        shape = list(input.shape)
        if input.ndim:
            shape[axis] = k
        first = range(k)
        return np.take(ordered, first, axis).reshape(shape), np.take(places, first, axis).reshape(shape)

    def backward(dY, Y, input, k, dim=-1, largest=True, sorted=True):
        return {"input": put_back(dY[0], Y[1], input.shape, dim, True)}


def _ranked(array, axis, rank, what):
    """The place of the entry of this rank (from 0), refused where another entry is equal to it."""
    ordered = np.sort(array, axis=axis)
    value = np.take(ordered, [rank], axis)
    _refuse_ties((array == value).sum(axis=axis) > 1, what)
    return np.take(order(array, axis, False), rank, axis)


@rule(
    "kthvalue", function=torch.kthvalue,
    forward=r"Y = X_{\pi(k)}", backward={"input": r"\bar{X}_{i} = [i = \pi(k)] \bar{Y}"},
    symbols={"X": "input", "k": "k", "Y": "output"}, where=_SORTED["where"], source=_SORTED["source"],
)  # fmt: skip
class kthvalue:
    def forward(input, k, dim=-1, keepdim=False):
        axis, array = along(input, dim)
        values, indices = picked(array, _ranked(array, axis, k - 1, "kthvalue"), axis, keepdim)
        return (values, indices) if input.ndim else (values.reshape(()), indices.reshape(()))

    def backward(dY, Y, input, k, dim=-1, keepdim=False):
        return {"input": put_back(dY[0], Y[1], input.shape, dim, keepdim)}


@rule(
    "median", function=torch.median,
    forward=r"Y = X_{\pi(m)}, \quad m = \lceil n / 2 \rceil",
    backward={"input": r"\bar{X}_{i} = \given{dim}{[i = \pi(m)]}\given{!dim}{\frac{1}{c} [X_{i} = Y]} \bar{Y}"},
    symbols={"X": "input", "Y": "output"},
    where={
        **_SORTED["where"], "n": text("the number of entries"), "m": text("the middle rank, from 1: the lower one of two"),
        "c": text("how many entries equal the median"),
    },
    source="Casella and Berger 2002, Statistical Inference, section 1.6",
)  # fmt: skip
class median:
    def forward(input, dim=None, keepdim=False):
        axis, array = along(input, 0 if dim is None else dim)
        if dim is None:
            flat = np.sort(input.reshape(-1))
            return np.asarray(np.nan if np.isnan(flat[-1:]).any() else flat[(flat.size - 1) // 2])
        if np.isnan(array).any():
            raise Unsupported(text("the median of NaN"), text("numbers"), text("use nanmedian"))
        values, indices = picked(array, _ranked(array, axis, (array.shape[axis] - 1) // 2, "median"), axis, keepdim)
        return (values, indices) if input.ndim else (values.reshape(()), indices.reshape(()))

    def backward(dY, Y, input, dim=None, keepdim=False):
        if dim is None:
            return {"input": shared(dY, Y, input, None, False)}
        return {"input": put_back(dY[0], Y[1], input.shape, dim, keepdim)}


@rule(
    "mode", function=torch.mode,
    forward=r"Y = X_{k} \text{, the most frequent}", backward={"input": r"\bar{X}_{i} = [i = k] \bar{Y}"},
    symbols={"X": "input", "Y": "output"}, where={"i": text("a position along the dimension"), "k": text("the position chosen")},
    source="Casella and Berger 2002, Statistical Inference, exercise 2.27",
    note=text("Among values of equal frequency the smallest counts, and of its places the last."),
)  # fmt: skip
class mode:
    def forward(input, dim=-1, keepdim=False):
        axis, array = along(input, dim)
        if array.shape[axis] > _IN_PLACE:
            _refuse_ties(np.diff(np.sort(array, axis=axis), axis=axis) == 0, "mode")
        places = np.apply_along_axis(_last_of_most_frequent, axis, array)
        values, indices = picked(array, places, axis, keepdim)
        return (values, indices) if input.ndim else (values.reshape(()), indices.reshape(()))

    def backward(dY, Y, input, dim=-1, keepdim=False):
        return {"input": put_back(dY[0], Y[1], input.shape, dim, keepdim)}


def _last_of_most_frequent(row):
    values, counts = np.unique(row, return_counts=True)
    return np.flatnonzero(row == values[np.argmax(counts)])[-1]


def _running(name, accumulate, command):
    class body:
        def forward(input, dim):
            axis, array = along(input, dim)
            values = accumulate(array, axis=axis)
            places = np.arange(array.shape[axis]).reshape(-1, *(1,) * (array.ndim - axis - 1))
            here = (array == values) | np.isnan(array)
            return values.reshape(input.shape), np.maximum.accumulate(np.where(here, places, 0), axis=axis).reshape(input.shape)

        def backward(dY, Y, input, dim):
            dX, axis = np.zeros(input.shape or (1,)), dim % max(input.ndim, 1)
            places = list(np.indices(dX.shape))
            places[axis] = np.atleast_1d(Y[1])
            np.add.at(dX, tuple(places), np.atleast_1d(dY[0]))
            return {"input": dX.reshape(input.shape)}

    body.__module__ = __name__
    return rule(
        name, function=getattr(torch, name), forward=rf"Y_{{i}} = {command}_{{j \leq i}} X_{{j}}",
        backward={"input": r"\bar{X}_{j} = \sum_{i: k_{i} = j} \bar{Y}_{i}"}, symbols={"X": "input", "Y": "output"},
        where={
            "i": text("a position along the dimension"), "j": text("the positions up to it"),
            "k": text("the position chosen: the last, where several are equal"),
        },
        source=_SOURCE,
    )(body)  # fmt: skip


_running("cummax", np.maximum.accumulate, r"\max")
_running("cummin", np.minimum.accumulate, r"\min")
