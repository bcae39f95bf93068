"""Images read at given places: sampling grids of affine maps, and bilinear, nearest or bicubic reading (spatial transformers)."""

from __future__ import annotations

import itertools

import numpy as np
import torch.nn.functional as F

from pellucid.core.language import text
from pellucid.derivation.registry import Unsupported, rule

_SOURCE = "Jaderberg, Simonyan, Zisserman and Kavukcuoglu 2015, Spatial transformer networks, section 3"


def _places(coordinate, size, align_corners):
    """From -1..1 to positions of pixels, and the factor between them."""
    factor = (size - 1) / 2 if align_corners else size / 2
    return (coordinate + 1) * factor - (0.0 if align_corners else 0.5), factor


def _mirrored(x, low, high):
    """Positions reflected into [low / 2, high / 2], and the sign of the derivative."""
    if low == high:
        return np.zeros_like(x), np.zeros_like(x)
    start, span = low / 2, (high - low) / 2
    sign = np.where(x - start < 0, -1.0, 1.0)
    beyond = np.abs(x - start)
    extra, flips = np.fmod(beyond, span), np.floor(beyond / span)
    odd = flips % 2 == 1
    return np.where(odd, span - extra + start, extra + start), np.where(odd, -sign, sign)


def _inside(x, size, padding_mode, align_corners):
    """Positions brought inside the image, as the padding mode says, and the derivative of that."""
    if padding_mode == "zeros":
        return x, np.ones_like(x)
    slope = np.ones_like(x)
    if padding_mode == "reflection":
        x, slope = _mirrored(x, *((0, 2 * (size - 1)) if align_corners else (-1, 2 * size - 1)))
    clipped = np.clip(x, 0, size - 1)
    return clipped, np.where((x <= 0) | (x >= size - 1), 0.0, slope)


def _cubic(t):
    """Keys' weights (a = -3/4) of the four neighbours, and their derivatives, at t in [0, 1)."""
    a = -0.75

    def near(r):
        return ((a + 2) * r - (a + 3)) * r**2 + 1, 3 * (a + 2) * r**2 - 2 * (a + 3) * r

    def far(r):
        return ((a * r - 5 * a) * r + 8 * a) * r - 4 * a, (3 * a * r - 10 * a) * r + 8 * a

    found = [(far(t + 1), 1), (near(t), 1), (near(1 - t), -1), (far(2 - t), -1)]
    return [weight for (weight, _), _ in found], [sign * slope for (_, slope), sign in found]


def _taps(coordinate, size, mode, padding_mode, align_corners):
    """For one dimension: [(position, weight, d weight / d coordinate)] of the pixels read."""
    x, factor = _places(coordinate, size, align_corners)
    if mode == "bicubic":
        left = np.floor(x)
        weights, slopes = _cubic(x - left)
        return [
            (_tap_inside(left + k - 1, size, padding_mode, align_corners), w, s * factor)
            for k, (w, s) in enumerate(zip(weights, slopes, strict=True))
        ]
    x, slope = _inside(x, size, padding_mode, align_corners)
    if mode == "nearest":
        return [(np.rint(x), np.ones_like(x), np.zeros_like(x))]
    left = np.floor(x)
    slope = slope * factor
    return [(left, left + 1 - x, -slope), (left + 1, x - left, slope)]


def _tap_inside(position, size, padding_mode, align_corners):
    """Bicubic reading brings each of its pixels inside by itself."""
    return np.rint(_inside(position, size, padding_mode, align_corners)[0])


def _read(input, grid, mode, padding_mode, align_corners):
    """Each combination of taps: (weights by dimension, slopes by dimension, index into input, which are inside)."""
    if mode not in ("bilinear", "nearest", "bicubic"):
        raise Unsupported(
            text("reading of mode {mode!r}", mode=mode), text("bilinear, nearest or bicubic"), text("choose one of these modes")
        )
    sizes = input.shape[:1:-1]  # grids name the last dimension first
    taps = [_taps(grid[..., k], size, mode, padding_mode, bool(align_corners)) for k, size in enumerate(sizes)]
    examples = np.arange(len(input)).reshape(-1, *(1,) * (grid.ndim - 2))
    for combination in itertools.product(*taps):
        valid = np.ones(grid.shape[:-1], bool)
        places = []
        for (position, _, _), size in zip(combination, sizes, strict=True):
            valid &= (position >= 0) & (position <= size - 1)
            places.append(np.clip(np.nan_to_num(position), 0, size - 1).astype(np.int64))
        weights, slopes = [tap[1] for tap in combination], [tap[2] for tap in combination]
        yield weights, slopes, (examples, slice(None), *reversed(places)), valid


def _product(factors):
    result = factors[0]
    for factor in factors[1:]:
        result = result * factor
    return result


@rule(
    "grid_sample", function=F.grid_sample,
    forward=r"Y_{c}(j) = \sum_{u} X_{c}(u) \prod_{d} a(x_{d}(j) - u_{d}), \quad "
    r"x_{d} = \given{align_corners}{\frac{s_{d} - 1}{2} (G_{d} + 1)}\given{!align_corners}{\frac{s_{d}}{2} (G_{d} + 1) - \frac{1}{2}}",
    backward={
        "input": r"\bar{X}_{c}(u) = \sum_{j} \bar{Y}_{c}(j) \prod_{d} a(x_{d}(j) - u_{d})",
        "grid": r"\bar{G}_{e}(j) = \sum_{c} \bar{Y}_{c}(j) \sum_{u} X_{c}(u) \frac{\partial x_{e}}{\partial G_{e}} a'(x_{e} - u_{e})"
        r" \prod_{d \neq e} a(x_{d} - u_{d})",
    },
    symbols={"X": "input", "G": "grid", "Y": "output"},
    where={
        "c": text("a channel"), "j": text("a place in the output"), "u": text("a pixel of X"), "d": text("a dimension"),
        "e": text("a dimension"), "x": text("the place in X, in pixels"), "s": text("the size of X along a dimension"),
        "a": text("the weight of a distance: 1 - |r| for bilinear reading up to the distance 1, Keys' cubic for bicubic"),
    },
    source=_SOURCE,
    note=text("Outside of the image its border is repeated, mirrored, or 0, as padding_mode says; there the place has no gradient."),
)  # fmt: skip
class grid_sample:
    def forward(input, grid, mode="bilinear", padding_mode="zeros", align_corners=None):
        channels_last = np.zeros((*grid.shape[:-1], input.shape[1]))
        for weights, _, index, valid in _read(input, grid, mode, padding_mode, align_corners):
            channels_last += (_product(weights) * valid)[..., None] * input[index]
        return np.moveaxis(channels_last, -1, 1)

    def backward(dY, Y, input, grid, mode="bilinear", padding_mode="zeros", align_corners=None):
        dX, dG, arriving = np.zeros(input.shape), np.zeros(grid.shape), np.moveaxis(dY, 1, -1)
        for weights, slopes, index, valid in _read(input, grid, mode, padding_mode, align_corners):
            np.add.at(dX, index, (_product(weights) * valid)[..., None] * arriving)
            seen = (input[index] * arriving).sum(axis=-1) * valid
            for k, slope in enumerate(slopes):
                dG[..., k] += seen * _product([slope, *weights[:k], *weights[k + 1 :]])
        return {"input": dX, "grid": dG}


def _base(size, align_corners):
    """The output's own places, (positions, coordinates and a 1): the last dimension first."""
    if align_corners:
        axes = [np.linspace(-1, 1, n) if n > 1 else np.zeros(n) for n in size[2:]]
    else:
        axes = [(2 * np.arange(n) + 1) / n - 1 for n in size[2:]]
    coordinates = np.meshgrid(*axes, indexing="ij")[::-1]
    return np.stack([*coordinates, np.ones(size[2:])], axis=-1)


@rule(
    "affine_grid", function=F.affine_grid,
    forward=r"G_{n}(j) = \Theta_{n} \begin{bmatrix} p_{j} \\ 1 \end{bmatrix}",
    backward={"theta": r"\bar{\Theta}_{n} = \sum_{j} \bar{G}_{n}(j) \begin{bmatrix} p_{j} \\ 1 \end{bmatrix}^{\top}"},
    symbols={r"\Theta": "theta", "G": "output"},
    where={"n": text("an example"), "j": text("a place in the output"), "p": text("its coordinates, from -1 to 1")}, source=_SOURCE,
)  # fmt: skip
class affine_grid:
    def forward(theta, size, align_corners=None):
        base = _base(size, align_corners)
        return (base.reshape(1, -1, base.shape[-1]) @ np.swapaxes(theta, 1, 2)).reshape(len(theta), *base.shape[:-1], -1)

    def backward(dY, Y, theta, size, align_corners=None):
        base = _base(size, align_corners)
        rows = dY.reshape(len(theta), -1, dY.shape[-1])
        return {"theta": np.swapaxes(rows, 1, 2) @ base.reshape(1, -1, base.shape[-1])}
