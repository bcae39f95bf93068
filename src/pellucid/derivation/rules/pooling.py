"""Pooling: the maximum, the mean or a power mean over windows, P(i, j) = pool(S(i s : i s + f, j s : j s + f))."""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from numpy.lib.stride_tricks import as_strided

from pellucid.core.language import text
from pellucid.derivation.registry import Unsupported, rule
from pellucid.derivation.rules.conditions import unless
from pellucid.derivation.rules.convolution import put_back, sizes_of

_SOURCE = "Goodfellow, Bengio and Courville 2016, Deep Learning, section 9.3"


class Windows:
    """The windows of one call on (..., *spatial), flattened in front to one dimension M of examples and channels."""

    def __init__(self, shape, n, kernel_size, stride, padding=0, dilation=1, ceil_mode=False):
        self.n, self.shape, self.spatial = n, shape, shape[len(shape) - n :]
        if len(shape) not in (n + 1, n + 2):
            raise Unsupported(
                text("an input of {got} dimensions", got=len(shape)), text("{n} or {m}", n=n + 1, m=n + 2), text("check the input's shape")
            )
        self.kernel = sizes_of(kernel_size, n)
        empty = stride is None or (isinstance(stride, (tuple, list)) and not stride)
        self.stride = self.kernel if empty else sizes_of(stride, n)
        self.padding, self.dilation = sizes_of(padding, n), sizes_of(dilation, n)
        self.outputs = tuple(
            self._outputs(*numbers, bool(ceil_mode))
            for numbers in zip(self.spatial, self.kernel, self.stride, self.padding, self.dilation, strict=True)
        )
        # what the windows reach: padding on both sides, and beyond it where ceil_mode lets the last window hang over
        self.whole = tuple(
            max((o - 1) * s + d * (k - 1) + 1, size + p)
            for o, s, d, k, size, p in zip(self.outputs, self.stride, self.dilation, self.kernel, self.spatial, self.padding, strict=True)
        )

    def _outputs(self, size, kernel, stride, padding, dilation, ceil_mode):
        free = size + 2 * padding - dilation * (kernel - 1) - 1
        count = -(-free // stride) + 1 if ceil_mode else free // stride + 1
        if ceil_mode and (count - 1) * stride >= size + padding:  # the last window must begin inside
            count -= 1
        return count

    def flat(self, x):
        """(M, *spatial)."""
        return x.reshape(math.prod(self.shape[: len(self.shape) - self.n]), *x.shape[len(self.shape) - self.n :])

    def unflat(self, y):
        """(M, *anything) back to the leading dimensions of the input."""
        return y.reshape(*self.shape[: len(self.shape) - self.n], *y.shape[1:])

    def of(self, x, fill):
        """(..., *spatial) -> (M, *outputs, *kernel), a view of the padded input."""
        x = self.flat(x)
        after = [whole - p - size for whole, p, size in zip(self.whole, self.padding, self.spatial, strict=True)]
        x = np.pad(x, [(0, 0), *zip(self.padding, after, strict=True)], constant_values=fill)
        strides = (*(step * s for step, s in zip(x.strides[1:], self.stride, strict=True)),)
        inside = (*(step * d for step, d in zip(x.strides[1:], self.dilation, strict=True)),)
        return as_strided(x, (x.shape[0], *self.outputs, *self.kernel), (x.strides[0], *strides, *inside), writeable=False)

    def back(self, windows):
        """The transpose of `of`: (M, *outputs, *kernel), broadcast where need be -> the input's shape."""
        M = math.prod(self.shape[: len(self.shape) - self.n])
        windows = np.broadcast_to(windows, (M, *self.outputs, *self.kernel))
        columns = np.moveaxis(windows, range(self.n + 1, 2 * self.n + 1), range(self.n))[None]  # (1, *kernel, M, *outputs)
        x = put_back(columns, self.whole, self.stride, self.dilation)[:, 0]
        return x[(slice(None), *(slice(p, p + size) for p, size in zip(self.padding, self.spatial, strict=True)))].reshape(self.shape)

    def counts(self, include_padding):
        """How many entries each window has: (*outputs,). Entries that ceil_mode let hang over are never counted."""
        found = np.ones(())
        for o, k, s, p, size in zip(self.outputs, self.kernel, self.stride, self.padding, self.spatial, strict=True):
            begin = np.arange(o) * s - p
            end = np.minimum(begin + k, size + p)
            if not include_padding:
                begin, end = np.maximum(begin, 0), np.minimum(end, size)
            found = np.multiply.outer(found, end - begin)
        return found


def chosen(values, positions):
    """Which entry of each window PyTorch takes as its maximum: (M, *outputs, k) and (*outputs, k) -> index into the spatial entries.

    The first of several equal ones in row-major order; the last NaN where there are some; padding (position -1) never.
    """
    best = values.argmax(axis=-1)
    if values.dtype.kind == "f" and np.isnan(values).any():
        isnan = np.isnan(values)
        best = np.where(isnan.any(axis=-1), values.shape[-1] - 1 - isnan[..., ::-1].argmax(axis=-1), best)
    index = np.take_along_axis(np.broadcast_to(positions, values.shape), best[..., None], axis=-1)[..., 0]
    if (index < 0).any():  # all -inf, and the padding came first
        first = np.take_along_axis(positions, (positions >= 0).argmax(axis=-1)[..., None], axis=-1)[..., 0]
        index = np.where(index < 0, first, index)
    return index


def _lowest(x):
    return -np.inf if x.dtype.kind == "f" else np.iinfo(x.dtype).min


def max_pool(input, windows, return_indices):
    n, k = windows.n, math.prod(windows.kernel)
    values = windows.of(input, _lowest(input))
    values = values.reshape(*values.shape[: n + 1], k)
    plane = Windows((1, *windows.spatial), n, windows.kernel, windows.stride, windows.padding, windows.dilation)
    plane.outputs, plane.whole = windows.outputs, windows.whole
    positions = plane.of(np.arange(math.prod(windows.spatial)).reshape(1, *windows.spatial), -1).reshape(*windows.outputs, k)
    if not values.size:
        index = np.zeros(values.shape[:-1], dtype=np.int64)
    else:
        index = chosen(values, positions)
    flat = windows.flat(input).reshape(index.shape[0], math.prod(windows.spatial))
    best = np.take_along_axis(flat, index.reshape(index.shape[0], math.prod(windows.outputs)), axis=1).reshape(index.shape)
    return (windows.unflat(best), windows.unflat(index)) if return_indices else windows.unflat(best)


def scattered(gradient, index, shape, n):
    """Each gradient added at its index into the spatial entries: (..., *outputs) -> shape."""
    size, M = math.prod(shape[len(shape) - n :]), math.prod(shape[: len(shape) - n])
    places = index.reshape(M, index.size // max(M, 1)) + np.arange(M)[:, None] * size
    return np.bincount(places.reshape(-1), gradient.reshape(-1), M * size).reshape(shape)


def max_pool_backward(dY, Y, input, windows):
    index = Y[1] if isinstance(Y, tuple) else max_pool(input, windows, True)[1]
    return {"input": scattered(dY[0] if isinstance(dY, tuple) else dY, index, input.shape, windows.n)}


_PARTS = {"s": text("the stride"), "f": text("the size of the window"), "p": text("the padding")}
_REACH = text("the positions that a window covers")
_TIES = text("Where several entries of a window are the largest, the first (row by row) counts and gets the whole gradient.")


def _slices(n, dilated=False):
    """S(i s - p : i s - p + f, ...), with the step d of a dilated window."""
    p, d = unless("padding", 0, " - p", n), unless("dilation", 1, " : d", n) if dilated else ""
    return "S(" + ",\\, ".join(f"{i} s{p} : {i} s{p} + f{d}" for i in "ijl"[:n]) + ")"


def _pool_letters(n):
    P, S = text("a position in {tensor}", tensor="P"), text("a position in {tensor}", tensor="S")
    return {**dict.fromkeys("ijl"[:n], P), **dict.fromkeys("uvw"[:n], S)}


def _max(n):
    ij, uv = ", ".join("ijl"[:n]), ", ".join("uvw"[:n])
    return {
        "forward": rf"P({ij}) = \max {_slices(n, True)}",
        "backward": {"input": rf"\bar{{S}}({uv}) = \sum_{{{ij}:\, ({uv}) = \operatorname{{argmax}} {_slices(n, True)}}} \bar{{P}}({ij})"},
        "symbols": {"S": "input", "P": "output"},
        "where": {**_PARTS, **_pool_letters(n), "d": text("the dilation: the window takes every d-th entry of its reach f")},
        "source": _SOURCE,
        "note": _TIES,
    }


def _maximum(n, function, with_indices):
    def forward(input, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False, return_indices=False):
        return max_pool(input, Windows(input.shape, n, kernel_size, stride, padding, dilation, ceil_mode), with_indices or return_indices)

    def backward(dY, Y, input, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False, return_indices=False):
        return max_pool_backward(dY, Y, input, Windows(input.shape, n, kernel_size, stride, padding, dilation, ceil_mode))

    name = f"max_pool{n}d" + ("_with_indices" if with_indices else "")
    return rule(name, function=function, **_max(n))(type(name, (), {"forward": forward, "backward": backward, "__module__": __name__}))


max_pool1d, max_pool2d, max_pool3d = (_maximum(n, getattr(torch, f"max_pool{n}d"), False) for n in (1, 2, 3))
max_pool1d_with_indices, max_pool2d_with_indices, max_pool3d_with_indices = (
    _maximum(n, getattr(F, f"max_pool{n}d_with_indices"), True) for n in (1, 2, 3)
)


def average(input, windows, include_padding, divisor):
    total = windows.of(input, 0).sum(axis=tuple(range(windows.n + 1, 2 * windows.n + 1)))
    return windows.unflat(total / (windows.counts(include_padding) if divisor is None else divisor))


def average_backward(dY, windows, include_padding, divisor):
    share = windows.flat(dY) / (windows.counts(include_padding) if divisor is None else divisor)
    return {"input": windows.back(share.reshape(*share.shape, *([1] * windows.n)))}


def _mean(n):
    ij, uv = ", ".join("ijl"[:n]), ", ".join("uvw"[:n])
    return {
        "forward": rf"P({ij}) = \frac{{1}}{{k}} \sum {_slices(n)}",
        "backward": {"input": rf"\bar{{S}}({uv}) = \sum_{{{ij}:\, ({uv}) \in R({ij})}} \frac{{1}}{{k}} \bar{{P}}({ij})"},
        "symbols": {"S": "input", "P": "output"},
        "where": {**_PARTS, **_pool_letters(n), "k": text("the number of entries of the window"), "R": _REACH},
        "source": _SOURCE,
        "note": text("Padded zeros are counted as entries unless count_include_pad is False; what hangs over the padding never is."),
    }


@rule("avg_pool1d", function=F.avg_pool1d, **_mean(1))
class avg_pool1d:
    def forward(input, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True):
        return average(input, Windows(input.shape, 1, kernel_size, stride, padding, 1, ceil_mode), count_include_pad, None)

    def backward(dY, Y, input, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True):
        return average_backward(dY, Windows(input.shape, 1, kernel_size, stride, padding, 1, ceil_mode), count_include_pad, None)


@rule("avg_pool2d", function=F.avg_pool2d, **_mean(2))
class avg_pool2d:
    def forward(input, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True, divisor_override=None):
        return average(input, Windows(input.shape, 2, kernel_size, stride, padding, 1, ceil_mode), count_include_pad, divisor_override)

    def backward(dY, Y, input, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True, divisor_override=None):
        return average_backward(
            dY, Windows(input.shape, 2, kernel_size, stride, padding, 1, ceil_mode), count_include_pad, divisor_override
        )


@rule("avg_pool3d", function=F.avg_pool3d, **_mean(3))
class avg_pool3d:
    def forward(input, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True, divisor_override=None):
        return average(input, Windows(input.shape, 3, kernel_size, stride, padding, 1, ceil_mode), count_include_pad, divisor_override)

    def backward(dY, Y, input, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True, divisor_override=None):
        return average_backward(
            dY, Windows(input.shape, 3, kernel_size, stride, padding, 1, ceil_mode), count_include_pad, divisor_override
        )


# -- adaptive: the number of windows is given, output i covers floor(i L / l) to ceil((i + 1) L / l) ---------------------------------------


def bounds(size, outputs):
    """Beginning and end of each window."""
    i = np.arange(outputs)
    return i * size // outputs, -(-(i + 1) * size // outputs)


def _output_sizes(output_size, spatial):
    wanted = output_size if isinstance(output_size, (tuple, list)) else [output_size] * len(spatial)
    wanted = list(wanted) * len(spatial) if len(wanted) == 1 else wanted
    return [size if given is None else int(given) for given, size in zip(wanted, spatial, strict=True)]


def _means(size, outputs):
    """The matrix (outputs, size) of the means over the windows of one dimension."""
    begin, end = bounds(size, outputs)
    at = np.arange(size)
    return ((at >= begin[:, None]) & (at < end[:, None])) / (end - begin)[:, None]


def adaptive_mean(input, output_size, n):
    spatial = input.shape[input.ndim - n :]
    for axis, (size, outputs) in enumerate(zip(spatial, _output_sizes(output_size, spatial), strict=True), input.ndim - n):
        input = np.moveaxis(np.tensordot(input, _means(size, outputs), (axis, 1)), -1, axis)
    return input


def adaptive_mean_backward(dY, input, output_size, n):
    spatial = input.shape[input.ndim - n :]
    for axis, (size, outputs) in enumerate(zip(spatial, _output_sizes(output_size, spatial), strict=True), input.ndim - n):
        dY = np.moveaxis(np.tensordot(dY, _means(size, outputs), (axis, 0)), -1, axis)
    return {"input": dY}


def adaptive_max(input, output_size, n, return_indices):
    spatial, lead = input.shape[input.ndim - n :], input.shape[: input.ndim - n]
    values, positions, inside = input, np.arange(math.prod(spatial)).reshape(spatial), np.ones((), dtype=bool)
    sizes = _output_sizes(output_size, spatial)
    index = []
    for i, (size, outputs) in enumerate(zip(spatial, sizes, strict=True)):
        begin, end = bounds(size, outputs)
        reach = begin[:, None] + np.arange(int((end - begin).max()) if outputs else 0)
        shape = [1] * (2 * n)
        shape[i], shape[n + i] = reach.shape
        index.append(np.minimum(reach, size - 1).reshape(shape))
        inside = inside & (reach < end[:, None]).reshape(shape)
    values = np.where(inside, values[(..., *index)], _lowest(input))  # (..., *outputs, *window)
    positions = np.where(inside, positions[tuple(index)], -1)
    window = math.prod(inside.shape[n:])
    values, positions = values.reshape(math.prod(lead), *sizes, window), positions.reshape(*sizes, window)
    best = chosen(values, positions) if values.size else np.zeros(values.shape[:-1], dtype=np.int64)
    flat = input.reshape(math.prod(lead), math.prod(spatial))
    result = np.take_along_axis(flat, best.reshape(math.prod(lead), math.prod(sizes)), axis=1).reshape(*lead, *sizes)
    return (result, best.reshape(result.shape)) if return_indices else result


_ADAPTIVE = {
    "i": text("a position in {tensor}", tensor="P"), "j": text("a position in {tensor}", tensor="S"), "R": text("the windows"),
}  # fmt: skip
_WINDOWS = text("Output position i of l covers the entries from floor(i L / l) to ceil((i + 1) L / l) of L, in each dimension.")


def _adaptive_mean(n, names):
    def forward(input, output_size):
        return adaptive_mean(input, output_size, n)

    def backward(dY, Y, input, output_size):
        return adaptive_mean_backward(dY, input, output_size, n)

    return rule(
        *names, function=getattr(F, names[0]),
        forward=r"P_{i} = \frac{1}{|R_{i}|} \sum_{j \in R_{i}} S_{j}",
        backward={"input": r"\bar{S}_{j} = \sum_{i:\, j \in R_{i}} \frac{1}{|R_{i}|} \bar{P}_{i}"},
        symbols={"S": "input", "P": "output"}, where=_ADAPTIVE,
        source=_SOURCE, note=_WINDOWS,
    )(type(names[0], (), {"forward": forward, "backward": backward, "__module__": __name__}))  # fmt: skip


def _adaptive_max(n, name, with_indices):
    def forward(input, output_size, return_indices=False):
        return adaptive_max(input, output_size, n, with_indices or return_indices)

    def backward(dY, Y, input, output_size, return_indices=False):
        index = Y[1] if isinstance(Y, tuple) else adaptive_max(input, output_size, n, True)[1]
        return {"input": scattered(dY[0] if isinstance(dY, tuple) else dY, index, input.shape, n)}

    return rule(
        name, function=getattr(F, name),
        forward=r"P_{i} = \max_{j \in R_{i}} S_{j}",
        backward={"input": r"\bar{S}_{j} = \sum_{i:\, j = \operatorname{argmax} R_{i}} \bar{P}_{i}"},
        symbols={"S": "input", "P": "output"}, where=_ADAPTIVE,
        source=_SOURCE, note=_WINDOWS,
    )(type(name, (), {"forward": forward, "backward": backward, "__module__": __name__}))  # fmt: skip


adaptive_avg_pool1d, adaptive_avg_pool2d, adaptive_avg_pool3d = (_adaptive_mean(n, [f"adaptive_avg_pool{n}d"]) for n in (1, 2, 3))
adaptive_max_pool1d, adaptive_max_pool2d, adaptive_max_pool3d = (_adaptive_max(n, f"adaptive_max_pool{n}d", False) for n in (1, 2, 3))
adaptive_max_pool1d_with_indices, adaptive_max_pool2d_with_indices, adaptive_max_pool3d_with_indices = (
    _adaptive_max(n, f"adaptive_max_pool{n}d_with_indices", True) for n in (1, 2, 3)
)


# -- power mean and its relatives --------------------------------------------------------------------------------------------------------


def _power_root(n):
    def sums(input, p, windows):
        return average(input**p, windows, True, None) * math.prod(windows.kernel)  # a window that hangs over counts as a whole one

    def forward(input, norm_type, kernel_size, stride=None, ceil_mode=False):
        return sums(input, norm_type, Windows(input.shape, n, kernel_size, stride, 0, 1, ceil_mode)) ** (1 / norm_type)

    def backward(dY, Y, input, norm_type, kernel_size, stride=None, ceil_mode=False):
        windows = Windows(input.shape, n, kernel_size, stride, 0, 1, ceil_mode)
        total = sums(input, norm_type, windows)
        share = np.where(total == 0, 0.0, dY * total ** (1 / norm_type - 1)) * math.prod(windows.kernel)
        return {"input": average_backward(share, windows, True, None)["input"] * input ** (norm_type - 1)}

    ij, uv = ", ".join("ijl"[:n]), ", ".join("uvw"[:n])
    return rule(
        f"lp_pool{n}d", function=getattr(F, f"lp_pool{n}d"),
        forward=rf"P({ij}) = \Bigl( \sum_{{({uv}) \in R({ij})}} S({uv})^{{p}} \Bigr)^{{1/p}}",
        backward={
            "input": rf"\bar{{S}}({uv}) = S({uv})^{{p - 1}} \sum_{{{ij}:\, ({uv}) \in R({ij})}}"
            rf" P({ij})^{{1 - p}} \, \bar{{P}}({ij})"
        },
        symbols={"S": "input", "P": "output", "p": "norm_type"}, where={**_pool_letters(n), "R": _REACH},
        source="Gulcehre, Cho, Pascanu and Bengio 2014, Learned-norm pooling for deep feedforward and recurrent neural networks",
        note=text("The gradient is 0 where the sum is 0."),
    )(type(f"lp_pool{n}d", (), {"forward": forward, "backward": backward, "__module__": __name__}))  # fmt: skip


lp_pool1d, lp_pool2d, lp_pool3d = (_power_root(n) for n in (1, 2, 3))
