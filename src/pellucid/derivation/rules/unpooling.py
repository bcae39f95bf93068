"""The way back from max pooling, and max pooling over windows of drawn places."""

from __future__ import annotations

import math

import numpy as np
import torch.nn.functional as F

from pellucid.core.language import text
from pellucid.derivation.registry import Unsupported, rule
from pellucid.derivation.rules.convolution import sizes_of
from pellucid.derivation.rules.pooling import chosen, scattered


def _rows(x, count):
    """A row for each example and channel."""
    return x.reshape(count, x.size // max(count, 1))


def _unpooled_size(input, kernel_size, stride, padding, output_size, n):
    if output_size is not None:
        return [int(size) for size in output_size][-n:]
    kernel = sizes_of(kernel_size, n)
    stride = kernel if stride is None or stride == [] else sizes_of(stride, n)
    return [
        (size - 1) * s + k - 2 * p
        for size, s, k, p in zip(input.shape[input.ndim - n :], stride, kernel, sizes_of(padding, n), strict=True)
    ]


def _max_unpool(n):
    def forward(input, indices, kernel_size, stride=None, padding=0, output_size=None):
        spatial = _unpooled_size(input, kernel_size, stride, padding, output_size, n)
        lead = input.shape[: input.ndim - n]
        Y = np.zeros((math.prod(lead), math.prod(spatial)))
        np.put_along_axis(Y, _rows(indices, len(Y)), _rows(input, len(Y)), axis=1)
        return Y.reshape(*lead, *spatial)

    def backward(dY, Y, input, indices, kernel_size, stride=None, padding=0, output_size=None):
        M = math.prod(input.shape[: input.ndim - n])
        return {"input": np.take_along_axis(_rows(dY, M), _rows(indices, M), axis=1).reshape(input.shape)}

    return rule(
        f"max_unpool{n}d", function=getattr(F, f"max_unpool{n}d"),
        forward=r"Y_{I_{j}} = X_{j}, \quad Y_{i} = 0 \; (i \notin I)", backward={"input": r"\bar{X}_{j} = \bar{Y}_{I_{j}}"},
        symbols={"X": "input", "I": "indices", "Y": "output"},
        where={"i": text("a position in {tensor}", tensor="Y"), "j": text("a position in {tensor}", tensor="X")},
        source="Zeiler and Fergus 2014, Visualizing and understanding convolutional networks, section 2.1",
    )(type(f"max_unpool{n}d", (), {"forward": forward, "backward": backward, "__module__": __name__}))  # fmt: skip


max_unpool1d, max_unpool2d, max_unpool3d = (_max_unpool(n) for n in (1, 2, 3))


# -- fractional max pooling ----------------------------------------------------------------------------------------------------------------


def _beginnings(samples, size, outputs, kernel):
    """Where the windows begin: drawn steps of (size - kernel) / (outputs - 1) on average; the last window ends at the edge."""
    begin = np.full((*samples.shape, outputs), size - kernel)
    if outputs > 1:
        step = (size - kernel) / (outputs - 1)
        i = np.arange(outputs - 1)
        begin[..., :-1] = ((i + samples[..., None]) * step).astype(int) - (samples[..., None] * step).astype(int)
    return begin


def _fractional(input, kernel_size, output_size, output_ratio, samples, n):
    """The values (N C, *outputs, window) and the positions of the windows' entries in the plane."""
    spatial = input.shape[input.ndim - n :]
    kernel = sizes_of(kernel_size, n)
    if output_size is None:
        output_size = [int(size * ratio) for size, ratio in zip(spatial, np.broadcast_to(output_ratio, n), strict=True)]
    outputs, M = sizes_of(output_size, n), math.prod(input.shape[: input.ndim - n])
    samples = samples.reshape(M, n)
    positions = np.zeros([M] + [1] * (2 * n), dtype=np.int64)
    for axis in range(n):
        # PyTorch takes the draws in the order of width and height in two dimensions, of depth, height and width in three
        begin = _beginnings(samples[:, n - 1 - axis if n == 2 else axis], spatial[axis], outputs[axis], kernel[axis])
        place = begin[:, :, None] + np.arange(kernel[axis])  # (M, outputs, window)
        shape = [M] + [1] * (2 * n)
        shape[1 + axis], shape[1 + n + axis] = outputs[axis], kernel[axis]
        positions = positions * spatial[axis] + place.reshape(shape)
    positions = positions.reshape(M, *outputs, math.prod(kernel))
    values = np.take_along_axis(_rows(input, M), _rows(positions, M), axis=1).reshape(positions.shape)
    return values, positions


def _fractional_max_pool(n, with_indices):
    name = f"fractional_max_pool{n}d" + ("_with_indices" if with_indices else "")

    def found(input, kernel_size, output_size, output_ratio, samples, draws):
        samples = draws[0] if samples is None and draws else samples
        if samples is None:
            raise Unsupported(text("fractional pooling without its recorded draws"), text("the draws"), text("give draws=(samples,)"))
        values, positions = _fractional(input, kernel_size, output_size, output_ratio, samples, n)
        index = chosen(values, positions) if values.size else np.zeros(values.shape[:-1], dtype=np.int64)
        best = np.take_along_axis(_rows(input, len(index)), _rows(index, len(index)), axis=1)
        shape = (*input.shape[: input.ndim - n], *index.shape[1:])
        return best.reshape(shape), index.reshape(shape)

    def forward(
        input, kernel_size, output_size=None, output_ratio=None, return_indices=False, _random_samples=None, *, draws=()
    ):  # fmt: skip
        best, index = found(input, kernel_size, output_size, output_ratio, _random_samples, draws)
        return (best, index) if with_indices or return_indices else best

    def backward(
        dY, Y, input, kernel_size, output_size=None, output_ratio=None, return_indices=False, _random_samples=None, *, draws=()
    ):  # fmt: skip
        index = Y[1] if isinstance(Y, tuple) else found(input, kernel_size, output_size, output_ratio, _random_samples, draws)[1]
        return {"input": scattered(dY[0] if isinstance(dY, tuple) else dY, index, input.shape, n)}

    return rule(
        name, function=getattr(F, name),
        forward=r"P_{i} = \max_{j \in R_{i}} S_{j}",
        backward={"input": r"\bar{S}_{j} = \sum_{i:\, j = \operatorname{argmax} R_{i}} \bar{P}_{i}"},
        symbols={"S": "input", "P": "output"},
        where={
            "i": text("a position in {tensor}", tensor="P"), "j": text("a position in {tensor}", tensor="S"),
            "R": text("the windows, at drawn places"),
        },
        source="Graham 2014, Fractional max-pooling, section 2",
    )(type(name, (), {"forward": forward, "backward": backward, "__module__": __name__}))  # fmt: skip


fractional_max_pool2d, fractional_max_pool3d = (_fractional_max_pool(n, False) for n in (2, 3))
fractional_max_pool2d_with_indices, fractional_max_pool3d_with_indices = (_fractional_max_pool(n, True) for n in (2, 3))
