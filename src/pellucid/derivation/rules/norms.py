"""Norms of vectors and matrices."""

from __future__ import annotations

import math

import numpy as np
import torch

from pellucid.core.language import text
from pellucid.derivation.registry import Unsupported, rule, unbroadcast
from pellucid.derivation.rules.reductions import axes_of, spread

_SOURCE = "Golub and Van Loan 2013, Matrix Computations, sections 2.2 and 2.3"
_KINK = text("At 0, where a norm has no derivative, PyTorch takes 0; equal largest entries share the gradient.")


def vector_norm(x, p, dim, keepdim):
    """The p-norm over dimensions; of order 0 the number of entries that are not 0."""
    axes, size = axes_of(dim, x.ndim), np.abs(x)
    if not size.size and math.isinf(p):
        raise Unsupported(text("a maximum of nothing"), text("a tensor with entries"), text("look at the shapes"))
    if p == math.inf:
        return size.max(axis=axes, keepdims=keepdim)
    if p == -math.inf:
        return size.min(axis=axes, keepdims=keepdim)
    if p == 0:
        return (x != 0).sum(axis=axes, keepdims=keepdim).astype(float)
    if p == 2:
        return np.sqrt(np.square(x).sum(axis=axes, keepdims=keepdim))
    return (size**p).sum(axis=axes, keepdims=keepdim) ** (1 / p)


def vector_norm_backward(dY, Y, x, p, dim, keepdim):
    """The gradient of the p-norm, 0 where the norm is."""
    dY, Y = spread(dY, x.shape, dim, keepdim), spread(Y, x.shape, dim, keepdim)
    if p == 0:
        return np.zeros(x.shape)
    if p == 1:
        return np.sign(x) * dY
    if math.isinf(p):
        chosen = (np.abs(x) == Y) | np.isnan(x)
        return np.sign(x) * chosen * dY / chosen.sum(axis=axes_of(dim, x.ndim), keepdims=True)
    powers = np.sign(x) * np.abs(x) ** (p - 1)
    if p < 1:
        return np.where(x == 0, 0.0, powers) * dY * Y ** (1 - p)
    return powers * np.where(Y == 0, 0.0, dY / Y ** (p - 1))


def _spelled(order):
    return {2: ("fro", "None", "2", "2.0"), 1: ("1", "1.0"), math.inf: ("inf",), -math.inf: ("-inf",)}[order]


def by_order(argument, euclidean, one, greatest, least, general):
    """An equation that depends on the order of the norm."""
    found, rest = "", general
    for order, part in ((2, euclidean), (1, one), (math.inf, greatest), (-math.inf, least)):
        for spelling in _spelled(order):
            found += rf"\given{{{argument}={spelling}}}{{{part}}}"
            rest = rf"\given{{{argument}!={spelling}}}{{{rest}}}"
    return found + rest


def _equations(argument, letter, parameter):
    x = letter
    return {
        "forward": "Y = "
        + by_order(
            argument, rf"\sqrt{{\sum_{{i}} {x}_{{i}}^{{2}}}}", rf"\sum_{{i}} |{x}_{{i}}|", rf"\max_{{i}} |{x}_{{i}}|",
            rf"\min_{{i}} |{x}_{{i}}|", rf"\Bigl( \sum_{{i}} |{x}_{{i}}|^{{p}} \Bigr)^{{1/p}}",
        ),
        "backward": {
            parameter: rf"\bar{{{x}}}_{{i}} = "
            + by_order(
                argument, rf"\frac{{{x}_{{i}}}}{{Y}} \bar{{Y}}", rf"\operatorname{{sign}}({x}_{{i}}) \bar{{Y}}",
                rf"\frac{{1}}{{n}} [|{x}_{{i}}| = Y] \operatorname{{sign}}({x}_{{i}}) \bar{{Y}}",
                rf"\frac{{1}}{{n}} [|{x}_{{i}}| = Y] \operatorname{{sign}}({x}_{{i}}) \bar{{Y}}",
                rf"\operatorname{{sign}}({x}_{{i}}) \frac{{|{x}_{{i}}|^{{p-1}}}}{{Y^{{p-1}}}} \bar{{Y}}",
            )
        },
        "symbols": {x: parameter, "Y": "output", "p": argument},
        "where": {"i": text("the positions along the reduced dimensions"), "n": text("how many entries have the magnitude Y")},
        "source": _SOURCE, "note": _KINK,
    }  # fmt: skip


@rule("linalg_vector_norm", function=torch.linalg.vector_norm, **_equations("ord", "X", "x"))
class linalg_vector_norm:
    def forward(x, ord=2, dim=None, keepdim=False, *, dtype=None):
        return vector_norm(x, float(ord), dim, keepdim)

    def backward(dY, Y, x, ord=2, dim=None, keepdim=False, *, dtype=None):
        return {"x": vector_norm_backward(dY, Y, x, float(ord), dim, keepdim)}


@rule("norm", function=torch.norm, **_equations("p", "X", "input"))
class norm:
    def forward(input, p="fro", dim=None, keepdim=False, dtype=None):
        if p == "nuc":
            return matrix_norm(input, "nuc", (0, 1) if dim is None else dim, keepdim)
        return vector_norm(input, 2.0 if p in ("fro", None) else float(p), dim, keepdim)

    def backward(dY, Y, input, p="fro", dim=None, keepdim=False, dtype=None):
        if p == "nuc":
            return {"input": matrix_norm_backward(dY, Y, input, "nuc", (0, 1) if dim is None else dim, keepdim)}
        return {"input": vector_norm_backward(dY, Y, input, 2.0 if p in ("fro", None) else float(p), dim, keepdim)}


@rule("frobenius_norm", function=lambda input, dim, keepdim=False: torch.norm(input, dim=dim, keepdim=keepdim),
    forward=r"Y = \sqrt{\sum_{i} X_{i}^{2}}", backward={"input": r"\bar{X}_{i} = \frac{X_{i}}{Y} \bar{Y}"},
    symbols={"X": "input", "Y": "output"}, where={"i": text("the positions along the reduced dimensions")}, source=_SOURCE, note=_KINK,
)  # fmt: skip
class frobenius_norm:
    def forward(input, dim=None, keepdim=False):
        return vector_norm(input, 2.0, dim, keepdim)

    def backward(dY, Y, input, dim=None, keepdim=False):
        return {"input": vector_norm_backward(dY, Y, input, 2.0, dim, keepdim)}


def _two_axes(dim, dimensions):
    rows, columns = axes_of(dim, dimensions)
    return rows, columns


def matrix_norm(A, order, dim, keepdim):
    """fro, nuc, and the operator norms 1, 2, inf; with a minus sign the smallest instead of the largest."""
    rows, columns = _two_axes(dim, A.ndim)
    if order == "fro":
        return vector_norm(A, 2.0, dim, keepdim)
    if order in ("nuc", 2, -2):
        values = np.linalg.svd(np.moveaxis(A, (rows, columns), (-2, -1)), compute_uv=False)
        found = values.sum(axis=-1) if order == "nuc" else values.max(axis=-1) if order == 2 else values.min(axis=-1)
        return np.expand_dims(found, sorted((rows, columns))) if keepdim else found
    summed, other = (rows, columns) if abs(order) == 1 else (columns, rows)
    sums = np.abs(A).sum(axis=summed, keepdims=True)
    found = sums.max(axis=other, keepdims=True) if order > 0 else sums.min(axis=other, keepdims=True)
    return found if keepdim else found.squeeze((rows, columns))


def matrix_norm_backward(dY, Y, A, order, dim, keepdim):
    rows, columns = _two_axes(dim, A.ndim)
    if order == "fro":
        return vector_norm_backward(dY, Y, A, 2.0, dim, keepdim)
    dY, Y = (array if keepdim else np.expand_dims(array, sorted((rows, columns))) for array in (dY, Y))
    if order in ("nuc", 2, -2):
        U, values, Vh = np.linalg.svd(np.moveaxis(A, (rows, columns), (-2, -1)), full_matrices=False)
        weights = np.ones_like(values)
        if order != "nuc":
            chosen = values == np.moveaxis(Y, (rows, columns), (-2, -1))[..., 0]
            if not chosen.any(axis=-1).all():
                extreme = values.max(axis=-1, keepdims=True) if order == 2 else values.min(axis=-1, keepdims=True)
                chosen = values == extreme
            weights = chosen / chosen.sum(axis=-1, keepdims=True)
        return np.moveaxis((U * weights[..., None, :]) @ Vh, (-2, -1), (rows, columns)) * dY
    summed, other = (rows, columns) if abs(order) == 1 else (columns, rows)
    sums = np.abs(A).sum(axis=summed, keepdims=True)
    chosen = sums == (sums.max(axis=other, keepdims=True) if order > 0 else sums.min(axis=other, keepdims=True))
    return np.sign(A) * (chosen / chosen.sum(axis=other, keepdims=True)) * dY


def _by_matrix_order(argument, frobenius, nuclear, spectral, columns, rows):
    parts = {
        "fro": frobenius, "None": frobenius, "nuc": nuclear, "2": spectral, "2.0": spectral, "-2": spectral, "1": columns, "1.0": columns,
        "-1": columns, "inf": rows, "-inf": rows,
    }  # fmt: skip
    return "".join(rf"\given{{{argument}={order}}}{{{part}}}" for order, part in parts.items())


_MATRIX = {
    "forward": "Y = "
    + _by_matrix_order(
        "ord", r"\sqrt{\sum_{i j} A_{i j}^{2}}", r"\sum_{k} \sigma_{k}(A)", r"\sigma_{k}(A)", r"\sum_{i} |A_{i k}|", r"\sum_{j} |A_{k j}|"
    ),
    "backward": {
        "A": r"\bar{A} = "
        + _by_matrix_order(
            "ord", r"\frac{A}{Y} \bar{Y}", r"U V^{\top} \bar{Y}", r"u_{k} v_{k}^{\top} \bar{Y}",
            r"\operatorname{sign}(A) \odot [\text{column } k] \bar{Y}", r"\operatorname{sign}(A) \odot [\text{row } k] \bar{Y}",
        )
    },
    "symbols": {"A": "A", "Y": "output"},
    "where": {
        "i": text("a row"), "j": text("a column"),
        "k": text("the singular value, column or row; the largest, or with a minus sign the smallest"),
        r"\sigma": text("the singular values"), "U": text("the left singular vectors"), "V": text("the right singular vectors"),
        "u": text("a left singular vector"), "v": text("a right singular vector"),
    },
    "source": _SOURCE,
}  # fmt: skip


def _order(ord):
    return ord if isinstance(ord, str) else float(ord)


@rule("linalg_matrix_norm", function=torch.linalg.matrix_norm, **_MATRIX)
class linalg_matrix_norm:
    def forward(A, ord="fro", dim=(-2, -1), keepdim=False, *, dtype=None):
        return matrix_norm(A, _order(ord), dim, keepdim)

    def backward(dY, Y, A, ord="fro", dim=(-2, -1), keepdim=False, *, dtype=None):
        return {"A": matrix_norm_backward(dY, Y, A, _order(ord), dim, keepdim)}


def _is_of_matrix(A, ord, dim):
    """Whether linalg.norm takes the norm of a matrix: two dimensions and an order."""
    return ord is not None and (len(dim) == 2 if isinstance(dim, (tuple, list)) else dim is None and A.ndim == 2)


@rule(
    "linalg_norm", function=torch.linalg.norm,
    forward=r"Y = \given{!ord}{\sqrt{\sum_{i} A_{i}^{2}}}\given{ord}{\lVert A \rVert_{p}}",
    backward={
        "A": r"\bar{A} = \given{!ord}{\frac{A}{Y} \bar{Y}}\given{ord}{\frac{\partial \lVert A \rVert_{p}}{\partial A} \bar{Y}}"
    },
    symbols={"A": "A", "Y": "output", "p": "ord"}, where={"i": text("the positions along the reduced dimensions")}, source=_SOURCE,
    note=text("With two dimensions and an order the norm of a matrix, else of a vector."),
)  # fmt: skip
class linalg_norm:
    def forward(A, ord=None, dim=None, keepdim=False, *, dtype=None):
        if _is_of_matrix(A, ord, dim):
            return matrix_norm(A, _order(ord), dim, keepdim)
        return vector_norm(A, 2.0 if ord is None else float(ord), dim, keepdim)

    def backward(dY, Y, A, ord=None, dim=None, keepdim=False, *, dtype=None):
        if _is_of_matrix(A, ord, dim):
            return {"A": matrix_norm_backward(dY, Y, A, _order(ord), dim, keepdim)}
        return {"A": vector_norm_backward(dY, Y, A, 2.0 if ord is None else float(ord), dim, keepdim)}


@rule(
    "dist", function=torch.dist,
    forward=r"Y = \lVert A - B \rVert_{p}",
    backward={
        "input": r"\bar{A} = \operatorname{sign}(A - B) \odot \frac{|A - B|^{p-1}}{Y^{p-1}} \bar{Y}", "other": r"\bar{B} = -\bar{A}"
    },
    symbols={"A": "input", "B": "other", "p": "p", "Y": "output"}, source=_SOURCE, note=_KINK,
)  # fmt: skip
class dist:
    def forward(input, other, p=2):
        return vector_norm(input - other, float(p), None, False)

    def backward(dY, Y, input, other, p=2):
        gradient = vector_norm_backward(dY, Y, input - other, float(p), None, False)
        return {"input": unbroadcast(gradient, input.shape), "other": unbroadcast(-gradient, other.shape)}
