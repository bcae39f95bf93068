"""Another resolution: each output position is a weighted mean of input positions, and its gradient goes back by the same weights.

The weights are products of one matrix per dimension, A (outputs, inputs): Y = A_1 A_2 X along two dimensions, dX = A_1^T A_2^T dY.
"""

from __future__ import annotations

import functools
import math

import numpy as np
import torch

from pellucid.core.language import text
from pellucid.derivation.registry import Unsupported, rule

_LINEAR = ("linear", "bilinear", "trilinear")


def _output_sizes(input, size, scale_factor, recompute, mode):
    """(sizes, scales) per dimension; a scale of None is the quotient of the sizes."""
    dimensions = input.ndim - 2
    if size is not None:
        sizes = [int(length) for length in size] if isinstance(size, (tuple, list)) else [int(size)] * dimensions
        return sizes, [None] * dimensions
    factors = list(scale_factor) if isinstance(scale_factor, (tuple, list)) else [scale_factor] * dimensions
    factors = [float(factor) for factor in factors]
    sizes = [math.floor(float(length) * factor) for length, factor in zip(input.shape[2:], factors, strict=True)]
    return sizes, [None] * dimensions if recompute or mode == "area" else factors


def _weights(inputs, outputs, scale, mode, align_corners, antialias):
    """The matrix A (outputs, inputs) of one dimension."""
    if inputs == outputs and scale is None and mode != "area" and not antialias:
        return np.eye(inputs)
    if mode == "area":
        return _mean_weights(inputs, outputs)
    ratio = (inputs - 1) / (outputs - 1) if align_corners and outputs > 1 else 0.0 if align_corners else None
    if ratio is None:
        ratio = 1 / scale if scale else inputs / outputs
    A, i = np.zeros((outputs, inputs)), np.arange(outputs)
    if antialias:
        return _antialiased(A, ratio, mode)
    if mode in ("nearest", "nearest-exact"):
        A[i, _nearest(i, inputs, ratio, mode)] = 1
        return A
    x = ratio * i if align_corners else ratio * (i + 0.5) - 0.5
    if mode in _LINEAR:
        x = np.maximum(x, 0)
        left = np.minimum(np.floor(x).astype(int), inputs - 1)
        part = np.clip(x - left, 0, 1)
        np.add.at(A, (i, left), 1 - part)
        np.add.at(A, (i, np.minimum(left + 1, inputs - 1)), part)
        return A
    left = np.floor(x).astype(int)
    for tap in range(-1, 3):
        np.add.at(A, (i, np.clip(left + tap, 0, inputs - 1)), _cubic(np.abs(x - left - tap), -0.75))
    return A


def _nearest(i, inputs, ratio, mode):
    """The positions nearest to s i, or s (i + 1/2). PyTorch rounds them in its forward and its backward pass in different ways."""
    i, single = i + (0.0 if mode == "nearest" else 0.5), np.float32
    forward = np.floor((i * ratio).astype(single))
    backward = np.floor(i.astype(single) * single(ratio))
    if mode == "nearest" and len(i) in (inputs, 2 * inputs):
        backward = i * inputs // len(i)
    forward, backward = (np.minimum(found.astype(int), inputs - 1) for found in (forward, backward))
    if not np.array_equal(forward, backward):
        raise Unsupported(
            text("{inputs} to {outputs} positions, where PyTorch's two passes take different ones", inputs=inputs, outputs=len(i)),
            text("sizes at which no rounding decides"),
            text("choose another size, or give it instead of a factor"),
        )
    return forward


def _mean_weights(inputs, outputs):
    """Means over the parts that adaptive average pooling takes."""
    A = np.zeros((outputs, inputs))
    for i in range(outputs):
        first, last = i * inputs // outputs, -(-(i + 1) * inputs // outputs)
        A[i, first:last] = 1 / (last - first)
    return A


def _cubic(r, a):
    """Keys' cubic convolution kernel at the distances r >= 0."""
    near, far = ((a + 2) * r - (a + 3)) * r**2 + 1, ((r - 5) * r + 8) * r * a - 4 * a
    return np.where(r <= 1, near, np.where(r < 2, far, 0.0))


_FILTERS = {  # mode -> (half width, weight of a distance)
    "bilinear": (1, lambda r: np.maximum(0.0, 1 - r)),
    "bicubic": (2, lambda r: _cubic(r, -0.5)),
    "lanczos": (3, lambda r: np.where(r < 3, np.sinc(r) * np.sinc(r / 3), 0.0)),
}


def _antialiased(A, ratio, mode):
    """A filter that is stretched where the resolution falls, its weights divided by their sum."""
    outputs, inputs = A.shape
    half, weight = _FILTERS[mode]
    stretch = max(ratio, 1.0)
    for i in range(outputs):
        centre = ratio * (i + 0.5)
        first, last = max(int(centre - half * stretch + 0.5), 0), min(int(centre + half * stretch + 0.5), inputs)
        found = weight(np.abs((np.arange(first, last) - centre + 0.5) / stretch))
        A[i, first:last] = found / found.sum()
    return A


@functools.lru_cache(maxsize=64)
def _cached_weights(*description):
    return _weights(*description)


def matrices(input, size, scale_factor, mode, align_corners, recompute, antialias):
    """One weight matrix per dimension."""
    if mode not in (*_LINEAR, "nearest", "nearest-exact", "bicubic", "area", "lanczos"):
        raise Unsupported(
            text("interpolation of mode {mode!r}", mode=mode),
            text("a mode of torch.nn.functional.interpolate"),
            text("choose another mode"),
        )
    sizes, scales = _output_sizes(input, size, scale_factor, recompute, mode)
    return [
        _cached_weights(length, new, scale, mode, bool(align_corners), bool(antialias))
        for length, new, scale in zip(input.shape[2:], sizes, scales, strict=True)
    ]


def along_each(array, weights):
    """Multiply each dimension after the second with its matrix."""
    for axis, matrix in enumerate(weights, start=2):
        array = np.moveaxis(np.moveaxis(array, axis, -1) @ matrix.T, -1, axis)
    return array


@rule(
    "interpolate", "upsample", function=torch.nn.functional.interpolate,
    forward=r"\given{mode!=area}{Y_{i} = \sum_{u} \prod_{d} a(x_{d} - u_{d}) X_{u}, \quad "
    r"x_{d} = \given{mode=nearest}{\lfloor s_{d} i_{d} \rfloor}\given{mode=nearest-exact}{\lfloor s_{d} (i_{d} + \tfrac{1}{2}) \rfloor}"
    r"\given{mode!=nearest}{\given{mode!=nearest-exact}{\given{align_corners}{s_{d} i_{d}}"
    r"\given{!align_corners}{s_{d} (i_{d} + \tfrac{1}{2}) - \tfrac{1}{2}}}}}"
    r"\given{mode=area}{Y_{i} = \frac{1}{n_{i}} \sum_{u \in R_{i}} X_{u}}",
    backward={
        "input": r"\given{mode!=area}{\bar{X}_{u} = \sum_{i} \prod_{d} a(x_{d} - u_{d}) \bar{Y}_{i}}"
        r"\given{mode=area}{\bar{X}_{u} = \sum_{i: u \in R_{i}} \frac{1}{n_{i}} \bar{Y}_{i}}"
    },
    symbols={"X": "input", "Y": "output"},
    where={
        "i": text("a position in Y"), "u": text("a position in X"), "d": text("a dimension"),
        "x": text("the place in X that a position in Y falls on"),
        "s": text("the size of X over that of Y (corners aligned: of the distances between corners)"),
        "a": text("the weight of a distance: 1 at 0 for the nearest, max(0, 1 - |r|) for linear, Keys' cubic for bicubic modes"),
        "R": text("the part of X that falls on a position in Y"), "n": text("how many positions it has"),
    },
    source="Keys 1981, Cubic convolution interpolation for digital image processing, eqs. 4 and 15",
    note=text("Outside of the tensor its border is repeated."),
)  # fmt: skip
class interpolate:
    def forward(
        input, size=None, scale_factor=None, mode="nearest", align_corners=None, recompute_scale_factor=None, antialias=False
    ):  # fmt: skip
        return along_each(input, matrices(input, size, scale_factor, mode, align_corners, recompute_scale_factor, antialias))

    def backward(
        dY, Y, input, size=None, scale_factor=None, mode="nearest", align_corners=None, recompute_scale_factor=None, antialias=False
    ):  # fmt: skip
        weights = matrices(input, size, scale_factor, mode, align_corners, recompute_scale_factor, antialias)
        return {"input": along_each(dY, [matrix.T for matrix in weights])}
