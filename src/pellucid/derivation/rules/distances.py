"""Distances and similarities of vectors."""

from __future__ import annotations

import math

import numpy as np
import torch

from pellucid.core.language import text
from pellucid.derivation.registry import Unsupported, rule, unbroadcast

_MINKOWSKI = "Deza and Deza 2016, Encyclopedia of Distances, chapter 5"
_SLOPE = text("For p = 2 the gradient is the unit vector of the difference; where the vectors are equal it is 0.")


def norm(x, p, axis=-1):
    """(sum |x|^p)^(1/p); the number of entries that are not 0 for p = 0, the largest for infinite p."""
    size = np.abs(x)
    if p == 0:
        return np.sum(x != 0, axis=axis, dtype=np.float64)
    if math.isinf(p):
        if not x.shape[axis]:
            return np.zeros(np.delete(x.shape, axis))
        return size.max(axis=axis) if p > 0 else size.min(axis=axis)
    if p == 2:
        return np.sqrt(np.sum(x * x, axis=axis))
    return np.sum(size**p, axis=axis) ** (1 / p)


def norm_slope(x, p, length, axis=-1, shared=True):
    """The derivative of the norm in each entry, 0 where the norm is 0. The largest entries share it equally, or each have it whole."""
    length = np.expand_dims(length, axis)
    if p == 0:
        return np.zeros(x.shape)
    if math.isinf(p):
        largest = np.abs(x) == length
        return np.sign(x) * largest / (np.maximum(largest.sum(axis=axis, keepdims=True), 1) if shared else 1.0)
    if p == 1:
        return np.sign(x)
    nowhere = length == 0
    if p == 2:
        return np.where(nowhere, 0.0, x / np.where(nowhere, 1.0, length))
    slope = np.sign(x) * np.where(x == 0, 0.0, np.abs(np.where(x == 0, 1.0, x)) ** (p - 1))
    return np.where(nowhere, 0.0, slope * np.where(nowhere, 1.0, length) ** (1 - p))


@rule(
    "pairwise_distance", function=torch.pairwise_distance,
    forward=r"Y = \lVert D \rVert_{p}, \quad D = A - B + \varepsilon",
    backward={
        "x1": r"\bar{A} = \bar{Y} \frac{\partial \lVert D \rVert_{p}}{\partial D}",
        "x2": r"\bar{B} = -\bar{Y} \frac{\partial \lVert D \rVert_{p}}{\partial D}",
    },
    symbols={"A": "x1", "B": "x2", "p": "p", r"\varepsilon": "eps", "Y": "output"}, where={"D": text("the difference")},
    source=_MINKOWSKI, note=_SLOPE,
)  # fmt: skip
class pairwise_distance:
    def forward(x1, x2, p=2.0, eps=1e-6, keepdim=False):
        distance = norm(x1 - x2 + eps, p)
        return distance[..., None] if keepdim else distance

    def backward(dY, Y, x1, x2, p=2.0, eps=1e-6, keepdim=False):
        difference = x1 - x2 + eps
        slope = norm_slope(difference, p, norm(difference, p)) * (dY if keepdim else np.expand_dims(dY, -1))
        return {"x1": unbroadcast(slope, x1.shape), "x2": unbroadcast(-slope, x2.shape)}


@rule(
    "cosine_similarity", function=torch.cosine_similarity,
    forward=r"Y = \sum \hat{A} \odot \hat{B}, \quad \hat{A} = \frac{A}{\lVert A \rVert}, \quad \hat{B} = \frac{B}{\lVert B \rVert}",
    backward={
        "x1": r"\bar{A} = \frac{\bar{Y}}{\lVert A \rVert} (\hat{B} - Y \hat{A})", "x2": r"\bar{B} = \frac{\bar{Y}}{\lVert B \rVert}"
        r" (\hat{A} - Y \hat{B})",
    },
    symbols={"A": "x1", "B": "x2", "Y": "output"},
    source="Manning, Raghavan and Schuetze 2008, Introduction to Information Retrieval, section 6.3.1",
    note=text("A norm below eps counts as eps; its gradient is taken as if it did not."),
)  # fmt: skip
class cosine_similarity:
    def forward(x1, x2, dim=1, eps=1e-8):
        x1, x2 = np.broadcast_arrays(x1, x2)
        return np.sum(_unit(x1, dim, eps)[0] * _unit(x2, dim, eps)[0], axis=dim)

    def backward(dY, Y, x1, x2, dim=1, eps=1e-8):
        a, b = np.broadcast_arrays(x1, x2)
        (ua, na), (ub, nb), dY = _unit(a, dim, eps), _unit(b, dim, eps), np.expand_dims(dY, dim)
        return {
            "x1": unbroadcast(_unit_backward(dY * ub, a, ua, na, dim, eps), x1.shape),
            "x2": unbroadcast(_unit_backward(dY * ua, b, ub, nb, dim, eps), x2.shape),
        }


def _unit(x, dim, eps):
    length = np.maximum(np.sqrt(np.sum(x * x, axis=dim, keepdims=True)), eps)
    return x / length, length


def _unit_backward(g, x, unit, length, dim, eps):
    true = np.sqrt(np.sum(x * x, axis=dim, keepdims=True))
    along = np.sum(g * unit, axis=dim, keepdims=True) * np.where(true == 0, 0.0, x / np.where(true == 0, 1.0, true))
    return (g - along) / length


@rule(
    "cdist", function=torch.cdist,
    forward=r"Y_{ij} = \lVert A_{i} - B_{j} \rVert_{p}",
    backward={
        "x1": r"\bar{A}_{i} = \sum_{j} \bar{Y}_{ij} \frac{\partial \lVert A_{i} - B_{j} \rVert_{p}}{\partial A_{i}}",
        "x2": r"\bar{B}_{j} = -\sum_{i} \bar{Y}_{ij} \frac{\partial \lVert A_{i} - B_{j} \rVert_{p}}{\partial A_{i}}",
    },
    symbols={"A": "x1", "B": "x2", "p": "p", "Y": "output"}, where={"i": text("a row of A"), "j": text("a row of B")},
    source=_MINKOWSKI, note=_SLOPE,
)  # fmt: skip
class cdist:
    def forward(x1, x2, p=2.0, compute_mode=None):
        return norm(x1[..., :, None, :] - x2[..., None, :, :], p)

    def backward(dY, Y, x1, x2, p=2.0, compute_mode=None):
        slope = norm_slope(x1[..., :, None, :] - x2[..., None, :, :], p, Y, shared=False) * dY[..., None]  # (..., i, j, features)
        return {"x1": unbroadcast(slope.sum(axis=-2), x1.shape), "x2": unbroadcast(-slope.sum(axis=-3), x2.shape)}


@rule(
    "pdist", function=torch.nn.functional.pdist,
    forward=r"Y_{ij} = \lVert X_{i} - X_{j} \rVert_{p}, \quad i < j",
    backward={
        "input": r"\bar{X}_{i} = \sum_{j > i} \bar{Y}_{ij} \frac{\partial \lVert X_{i} - X_{j} \rVert_{p}}{\partial X_{i}}"
        r" + \sum_{j < i} \bar{Y}_{ji} \frac{\partial \lVert X_{j} - X_{i} \rVert_{p}}{\partial X_{i}}"
    },
    symbols={"X": "input", "p": "p", "Y": "output"}, where={"i": text("a row of X"), "j": text("a row of X")}, source=_MINKOWSKI,
    note=_SLOPE,
)  # fmt: skip
class pdist:
    def forward(input, p=2.0):
        if input.ndim != 2:
            raise Unsupported(text("an input of {n} dimensions", n=input.ndim), text("a matrix"), text("use cdist"))
        i, j = np.triu_indices(input.shape[0], 1)
        return norm(input[i] - input[j], p)

    def backward(dY, Y, input, p=2.0):
        i, j = np.triu_indices(input.shape[0], 1)
        slope = norm_slope(input[i] - input[j], p, Y, shared=False) * dY[:, None]
        dX = np.zeros(input.shape)
        np.add.at(dX, i, slope)
        np.add.at(dX, j, -slope)
        return {"input": dX}
