"""The same entries in another shape or order: the gradient takes the way back."""

from __future__ import annotations

import math

import numpy as np
import torch

from pellucid.core.language import text
from pellucid.derivation.registry import Unsupported, rule, unbroadcast

_SOURCE = "Harris et al. 2020, Array programming with NumPy"


def sizes(shape):
    """One tuple from view(2, 3), view((2, 3)) and reshape(shape=...)."""
    if len(shape) == 1 and isinstance(shape[0], (tuple, list)):
        shape = shape[0]
    if any(not isinstance(size, (int, np.integer, np.ndarray)) for size in shape):
        raise Unsupported(text("a view as another number type"), text("a shape"), text("use .to(dtype) to convert numbers"))
    return tuple(int(size) for size in shape)


def given_sizes(positional, *named):
    """The sizes or dimensions of a call that may give them one by one, as a tuple, or by keyword."""
    for sequence in named:
        if sequence is not None:
            return sizes((sequence,) if isinstance(sequence, (tuple, list)) else (int(sequence),))
    return sizes(positional)


@rule(
    "view", "reshape", "_unsafe_view", function=torch.Tensor.reshape,
    forward=r"Y = \operatorname{reshape}(X)", backward={"input": r"\bar{X} = \operatorname{reshape}(\bar{Y})"},
    symbols={"X": "input", "Y": "output"}, source=_SOURCE,
)  # fmt: skip
class view:
    def forward(input, *shape, size=None, **named):
        return np.reshape(input, given_sizes(shape, size, named.get("shape")))

    def backward(dY, Y, input, *shape, size=None, **named):
        return {"input": np.reshape(dY, input.shape)}


@rule(
    "view_as", "reshape_as", function=torch.Tensor.reshape_as,
    forward=r"Y = \operatorname{reshape}(X)", backward={"input": r"\bar{X} = \operatorname{reshape}(\bar{Y})"},
    symbols={"X": "input", "Y": "output"}, source=_SOURCE,
)  # fmt: skip
class view_as:
    def forward(input, other):
        return np.reshape(input, other.shape)

    def backward(dY, Y, input, other):
        return {"input": np.reshape(dY, input.shape)}


@rule(
    "flatten", function=torch.flatten,
    forward=r"Y = \operatorname{flatten}(X)", backward={"input": r"\bar{X} = \operatorname{reshape}(\bar{Y})"},
    symbols={"X": "input", "Y": "output"}, source=_SOURCE,
)  # fmt: skip
class flatten:
    def forward(input, start_dim=0, end_dim=-1):
        if input.ndim == 0:
            return input.reshape(1)
        first, last = start_dim % input.ndim, end_dim % input.ndim
        return input.reshape(*input.shape[:first], math.prod(input.shape[first : last + 1]), *input.shape[last + 1 :])

    def backward(dY, Y, input, start_dim=0, end_dim=-1):
        return {"input": dY.reshape(input.shape)}


@rule(
    "ravel", function=torch.ravel,
    forward=r"Y = \operatorname{flatten}(X)", backward={"input": r"\bar{X} = \operatorname{reshape}(\bar{Y})"},
    symbols={"X": "input", "Y": "output"}, source=_SOURCE,
)  # fmt: skip
class ravel:
    def forward(input):
        return input.reshape(-1)

    def backward(dY, Y, input):
        return {"input": dY.reshape(input.shape)}


@rule(
    "unflatten", function=torch.unflatten,
    forward=r"Y = \operatorname{reshape}(X)", backward={"input": r"\bar{X} = \operatorname{reshape}(\bar{Y})"},
    symbols={"X": "input", "Y": "output"}, source=_SOURCE,
)  # fmt: skip
class unflatten:
    def forward(input, dim, sizes):
        new, dim = [int(size) for size in sizes], dim % input.ndim
        if -1 in new:
            known = -math.prod(new)
            new[new.index(-1)] = input.shape[dim] // known if known else 0
        return input.reshape(*input.shape[:dim], *new, *input.shape[dim + 1 :])

    def backward(dY, Y, input, dim, sizes):
        return {"input": dY.reshape(input.shape)}


@rule(
    "transpose", function=torch.transpose,
    forward=r"Y = X^{\top}", backward={"input": r"\bar{X} = \bar{Y}^{\top}"}, symbols={"X": "input", "Y": "output"}, source=_SOURCE,
    note=text("Two dimensions change places; of a batch of matrices these are rows and columns."),
)  # fmt: skip
class transpose:
    def forward(input, dim0=None, dim1=None, *, axis0=None, axis1=None):
        return np.swapaxes(input, *_pair(dim0, dim1, axis0, axis1)) if input.ndim else input

    def backward(dY, Y, input, dim0=None, dim1=None, *, axis0=None, axis1=None):
        return {"input": np.swapaxes(dY, *_pair(dim0, dim1, axis0, axis1)) if input.ndim else dY}


def _pair(dim0, dim1, axis0, axis1):
    return (axis0 if dim0 is None else dim0), (axis1 if dim1 is None else dim1)


@rule(
    "t", function=torch.t,
    forward=r"Y = X^{\top}", backward={"input": r"\bar{X} = \bar{Y}^{\top}"}, symbols={"X": "input", "Y": "output"}, source=_SOURCE,
)  # fmt: skip
class t:
    def forward(input):
        return np.transpose(input)

    def backward(dY, Y, input):
        return {"input": np.transpose(dY)}


@rule(
    "mT", "adjoint", function=torch.adjoint,
    forward=r"Y = X^{\top}", backward={"input": r"\bar{X} = \bar{Y}^{\top}"}, symbols={"X": "input", "Y": "output"}, source=_SOURCE,
    note=text("Rows and columns change places in every matrix of the batch."),
)  # fmt: skip
class mT:
    def forward(input):
        return np.swapaxes(input, -1, -2) if input.ndim else input

    def backward(dY, Y, input):
        return {"input": np.swapaxes(dY, -1, -2) if input.ndim else dY}


@rule(
    "permute", function=torch.Tensor.permute,
    forward=r"Y_{\pi(i)} = X_{i}", backward={"input": r"\bar{X}_{i} = \bar{Y}_{\pi(i)}"},
    symbols={"X": "input", "Y": "output"}, where={"i": text("a position"), r"\pi": text("the new order of the dimensions")}, source=_SOURCE,
)  # fmt: skip
class permute:
    def forward(input, *dims, **named):
        return np.transpose(input, given_sizes(dims, named.get("dims")))

    def backward(dY, Y, input, *dims, **named):
        order = [dim % max(input.ndim, 1) for dim in given_sizes(dims, named.get("dims"))]
        return {"input": np.transpose(dY, np.argsort(order)) if order else dY}


@rule(
    "movedim", function=torch.movedim,
    forward=r"Y_{\pi(i)} = X_{i}", backward={"input": r"\bar{X}_{i} = \bar{Y}_{\pi(i)}"},
    symbols={"X": "input", "Y": "output"}, where={"i": text("a position"), r"\pi": text("the new order of the dimensions")}, source=_SOURCE,
)  # fmt: skip
class movedim:
    def forward(input, source, destination):
        return np.moveaxis(input, source, destination) if input.ndim else input

    def backward(dY, Y, input, source, destination):
        return {"input": np.moveaxis(dY, destination, source) if input.ndim else dY}


@rule(
    "squeeze", function=torch.squeeze,
    forward=r"Y = X", backward={"input": r"\bar{X} = \bar{Y}"}, symbols={"X": "input", "Y": "output"}, source=_SOURCE,
    note=text("Dimensions of size 1 are left out."),
)  # fmt: skip
class squeeze:
    def forward(input, dim=None):
        dims = range(input.ndim) if dim is None else dim if isinstance(dim, (tuple, list)) else (dim,)
        gone = {axis % max(input.ndim, 1) for axis in dims}
        return input.reshape([size for axis, size in enumerate(input.shape) if size != 1 or axis not in gone])

    def backward(dY, Y, input, dim=None):
        return {"input": dY.reshape(input.shape)}


@rule(
    "unsqueeze", function=torch.unsqueeze,
    forward=r"Y = X", backward={"input": r"\bar{X} = \bar{Y}"}, symbols={"X": "input", "Y": "output"}, source=_SOURCE,
    note=text("A dimension of size 1 is put in."),
)  # fmt: skip
class unsqueeze:
    def forward(input, dim):
        return np.expand_dims(input, dim)

    def backward(dY, Y, input, dim):
        return {"input": dY.reshape(input.shape)}


_REPEATED = {"i": text("a position in X"), "j": text("the positions to which it was repeated")}
_REPEATS = {
    "forward": r"Y_{j} = X_{i(j)}", "backward": {"input": r"\bar{X}_{i} = \sum_{j: i(j) = i} \bar{Y}_{j}"},
    "symbols": {"X": "input", "Y": "output"}, "where": _REPEATED, "source": _SOURCE,
}  # fmt: skip


@rule("expand", function=torch.Tensor.expand, note=text("The gradient is summed over the repetitions."), **_REPEATS)
class expand:
    def forward(input, *size, implicit=False, **named):
        return np.broadcast_to(input, _expanded(input.shape, given_sizes(size, named.get("size"))))

    def backward(dY, Y, input, *size, implicit=False, **named):
        return {"input": unbroadcast(dY, input.shape)}


def _expanded(shape, new):
    """The new shape with -1, "as it is", filled in."""
    old = (1,) * (len(new) - len(shape)) + tuple(shape)
    return tuple(before if size == -1 else size for size, before in zip(new, old, strict=True))


@rule("expand_as", function=torch.Tensor.expand_as, note=text("The gradient is summed over the repetitions."), **_REPEATS)
class expand_as:
    def forward(input, other):
        return np.broadcast_to(input, other.shape)

    def backward(dY, Y, input, other):
        return {"input": unbroadcast(dY, input.shape)}


@rule("broadcast_to", function=torch.broadcast_to, note=text("The gradient is summed over the repetitions."), **_REPEATS)
class broadcast_to:
    def forward(input, size):
        return np.broadcast_to(input, _expanded(input.shape, sizes((size,))))

    def backward(dY, Y, input, size):
        return {"input": unbroadcast(dY, input.shape)}


@rule("repeat", function=torch.Tensor.repeat, note=text("The gradient is summed over the repetitions."), **_REPEATS)
class repeat:
    def forward(input, *repeats, **named):
        return np.tile(input, given_sizes(repeats, named.get("repeats")))

    def backward(dY, Y, input, *repeats, **named):
        return {"input": _untiled(dY, input.shape, given_sizes(repeats, named.get("repeats")))}


@rule("tile", function=torch.tile, note=text("The gradient is summed over the repetitions."), **_REPEATS)
class tile:
    def forward(input, *dims, **named):
        return np.tile(input, given_sizes(dims, named.get("dims")))

    def backward(dY, Y, input, *dims, **named):
        return {"input": _untiled(dY, input.shape, given_sizes(dims, named.get("dims")))}


def _untiled(gradient, shape, repeats):
    """The sum over the copies that np.tile made."""
    full = (1,) * (len(repeats) - len(shape)) + tuple(shape)
    repeats = (1,) * (len(full) - len(repeats)) + tuple(repeats)
    pairs = [size for pair in zip(repeats, full, strict=True) for size in pair]
    return gradient.reshape(pairs).sum(axis=tuple(range(0, len(pairs), 2))).reshape(shape)


@rule("repeat_interleave", function=torch.repeat_interleave, note=text("The gradient is summed over the repetitions."), **_REPEATS)
class repeat_interleave:
    def forward(input, repeats=None, dim=None, *, output_size=None):
        if repeats is None:  # repeat_interleave(repeats): 0, 0, 1, 1, 1 for (2, 3)
            return np.repeat(np.arange(input.shape[0]), input)
        return np.repeat(input, repeats, axis=dim)

    def backward(dY, Y, input, repeats=None, dim=None, *, output_size=None):
        if repeats is None:
            return {}
        shape, axis = (input.shape, dim) if dim is not None else ((input.size,), 0)
        taken = np.repeat(np.arange(shape[axis] if shape else 1), repeats)
        dX = np.zeros(shape or (1,))
        np.add.at(np.moveaxis(dX, axis, 0), taken, np.moveaxis(dY, axis, 0))
        return {"input": dX.reshape(input.shape)}


@rule(
    "flip", function=torch.Tensor.flip,
    forward=r"Y_{i} = X_{n - 1 - i}", backward={"input": r"\bar{X}_{i} = \bar{Y}_{n - 1 - i}"},
    symbols={"X": "input", "Y": "output"},
    where={"i": text("a position along a flipped dimension, from 0"), "n": text("the size of that dimension")}, source=_SOURCE,
)  # fmt: skip
class flip:
    def forward(input, *dims, **named):
        return np.flip(input, _flipped(input, dims, named))

    def backward(dY, Y, input, *dims, **named):
        return {"input": np.flip(dY, _flipped(input, dims, named))}


def _flipped(input, dims, named):
    """The flipped dimensions: the first for reversed(x), none of a single number."""
    return () if not input.ndim else (0,) if not dims and not named else given_sizes(dims, named.get("dims"))


@rule(
    "fliplr", function=torch.fliplr,
    forward=r"Y_{i} = X_{n - 1 - i}", backward={"input": r"\bar{X}_{i} = \bar{Y}_{n - 1 - i}"},
    symbols={"X": "input", "Y": "output"}, where={"i": text("a column, from 0"), "n": text("the number of columns")}, source=_SOURCE,
)  # fmt: skip
class fliplr:
    def forward(input):
        return np.fliplr(input)

    def backward(dY, Y, input):
        return {"input": np.fliplr(dY)}


@rule(
    "flipud", function=torch.flipud,
    forward=r"Y_{i} = X_{n - 1 - i}", backward={"input": r"\bar{X}_{i} = \bar{Y}_{n - 1 - i}"},
    symbols={"X": "input", "Y": "output"}, where={"i": text("a row, from 0"), "n": text("the number of rows")}, source=_SOURCE,
)  # fmt: skip
class flipud:
    def forward(input):
        return np.flipud(input)

    def backward(dY, Y, input):
        return {"input": np.flipud(dY)}


@rule(
    "roll", function=torch.roll,
    forward=r"Y_{(i + s) \bmod n} = X_{i}", backward={"input": r"\bar{X}_{i} = \bar{Y}_{(i + s) \bmod n}"},
    symbols={"X": "input", "Y": "output", "s": "shifts"},
    where={"i": text("a position along a rolled dimension, from 0"), "n": text("the size of that dimension")}, source=_SOURCE,
)  # fmt: skip
class roll:
    def forward(input, shifts, dims=None):
        return np.roll(input, _plain(shifts), _plain(dims) if dims is not None and np.size(dims) else None)

    def backward(dY, Y, input, shifts, dims=None):
        back = -np.asarray(shifts)
        return {"input": np.roll(dY, _plain(back), _plain(dims) if dims is not None and np.size(dims) else None)}


def _plain(numbers):
    """A number, or a tuple of numbers where there are several."""
    flat = tuple(int(number) for number in np.reshape(numbers, -1))
    return flat[0] if len(flat) == 1 else flat


@rule(
    "rot90", function=torch.rot90,
    forward=r"Y = \operatorname{rot}^{k}(X)", backward={"input": r"\bar{X} = \operatorname{rot}^{-k}(\bar{Y})"},
    symbols={"X": "input", "Y": "output", "k": "k"}, source=_SOURCE,
    note=text("A quarter of a turn, k times, in the plane of two dimensions."),
)  # fmt: skip
class rot90:
    def forward(input, k=1, dims=(0, 1)):
        return np.rot90(input, k, tuple(dims))

    def backward(dY, Y, input, k=1, dims=(0, 1)):
        return {"input": np.rot90(dY, -k, tuple(dims))}


@rule(
    "unfold_dimension", function=torch.Tensor.unfold,
    forward=r"Y_{w, j} = X_{s w + j}", backward={"input": r"\bar{X}_{i} = \sum_{w, j: s w + j = i} \bar{Y}_{w, j}"},
    symbols={"X": "input", "Y": "output", "s": "step"},
    where={"i": text("a position along the dimension"), "w": text("the window"), "j": text("the position in the window")}, source=_SOURCE,
)  # fmt: skip
class unfold_dimension:
    def forward(input, dimension, size, step):
        if not input.ndim:
            return input.reshape(1)[:size]
        windows = np.lib.stride_tricks.sliding_window_view(input, size, axis=dimension)
        return windows[(*(slice(None),) * (dimension % input.ndim), slice(None, None, step))]

    def backward(dY, Y, input, dimension, size, step):
        if not input.ndim:
            return {"input": dY.sum()}
        dX = np.zeros(input.shape)
        along, windows = (np.moveaxis(array, dimension % input.ndim, 0) for array in (dX, dY))
        for j in range(size):
            along[j : j + step * (len(windows) - 1) + 1 : step] += windows[..., j]
        return {"input": dX}
