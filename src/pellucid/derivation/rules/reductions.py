"""Sums, means, products and variances over dimensions; counts and truth values of a whole."""

from __future__ import annotations

import math

import numpy as np
import torch

from pellucid.core.language import text
from pellucid.derivation.registry import rule, unbroadcast
from pellucid.derivation.rules.casts import converted
from pellucid.derivation.rules.shapes import given_sizes

_SOURCE = "Petersen and Pedersen 2012, The Matrix Cookbook, section 2"
_OVER = {"i": text("the positions along the reduced dimensions")}


def axes_of(dim, dimensions):
    """The reduced axes as non-negative numbers: all of them for None and for an empty list."""
    if dim is None or (isinstance(dim, (tuple, list)) and not len(dim)):
        return tuple(range(dimensions))
    return tuple(int(axis) % max(dimensions, 1) for axis in (dim if isinstance(dim, (tuple, list)) else (dim,)))[: dimensions or 0]


def spread(gradient, shape, dim, keepdim):
    """A reduced gradient repeated over the axes that were reduced, read-only."""
    if not keepdim:
        gradient = np.expand_dims(gradient, axes_of(dim, len(shape)))
    return np.broadcast_to(gradient, shape)


def count(shape, dim):
    """How many entries go into one entry of a reduced tensor."""
    return np.float64(math.prod(shape[axis] for axis in axes_of(dim, len(shape))))


@rule(
    "sum", function=torch.sum,
    forward=r"Y = \sum_{i} X_{i}", backward={"input": r"\bar{X}_{i} = \bar{Y}"},
    symbols={"X": "input", "Y": "output"}, where={"i": text("the positions along the summed dimensions")}, source=_SOURCE,
)  # fmt: skip
class sum_:
    def forward(input, dim=None, keepdim=False, *, dtype=None):
        return np.sum(input if dtype is None else converted(input, dtype), axis=axes_of(dim, np.ndim(input)), keepdims=keepdim)

    def backward(dY, Y, input, dim=None, keepdim=False, *, dtype=None):
        return {"input": spread(dY, input.shape, dim, keepdim)}


@rule(
    "sum_to_size", function=torch.Tensor.sum_to_size,
    forward=r"Y = \sum_{i} X_{i}", backward={"input": r"\bar{X}_{i} = \bar{Y}"},
    symbols={"X": "input", "Y": "output"}, where={"i": text("the positions along dimensions that the new size has not, or has as 1")},
    source=_SOURCE,
)  # fmt: skip
class sum_to_size:
    def forward(input, *size, **named):
        return unbroadcast(input, given_sizes(size, named.get("size")))

    def backward(dY, Y, input, *size, **named):
        return {"input": np.broadcast_to(dY, input.shape)}


@rule(
    "nansum", function=torch.nansum,
    forward=r"Y = \sum_{i: X_{i} \neq \text{NaN}} X_{i}", backward={"input": r"\bar{X}_{i} = [X_{i} \neq \text{NaN}] \bar{Y}"},
    symbols={"X": "input", "Y": "output"}, where={"i": text("the positions along the summed dimensions")}, source=_SOURCE,
)  # fmt: skip
class nansum:
    def forward(input, dim=None, keepdim=False, *, dtype=None):
        return np.nansum(input, axis=axes_of(dim, input.ndim), keepdims=keepdim)

    def backward(dY, Y, input, dim=None, keepdim=False, *, dtype=None):
        return {"input": spread(dY, input.shape, dim, keepdim) * ~np.isnan(input)}


@rule(
    "mean", function=torch.mean,
    forward=r"Y = \frac{1}{n} \sum_{i} X_{i}", backward={"input": r"\bar{X}_{i} = \frac{1}{n} \bar{Y}"},
    symbols={"X": "input", "Y": "output"},
    where={"i": text("the positions along the averaged dimensions"), "n": text("how many they are")}, source=_SOURCE,
)  # fmt: skip
class mean:
    def forward(input, dim=None, keepdim=False, *, dtype=None):
        return np.sum(input, axis=axes_of(dim, input.ndim), keepdims=keepdim) / count(input.shape, dim)

    def backward(dY, Y, input, dim=None, keepdim=False, *, dtype=None):
        return {"input": spread(dY / count(input.shape, dim), input.shape, dim, keepdim)}


@rule(
    "nanmean", function=torch.nanmean,
    forward=r"Y = \frac{1}{n} \sum_{i: X_{i} \neq \text{NaN}} X_{i}",
    backward={"input": r"\bar{X}_{i} = \frac{1}{n} [X_{i} \neq \text{NaN}] \bar{Y}"},
    symbols={"X": "input", "Y": "output"},
    where={"i": text("the positions along the averaged dimensions"), "n": text("how many of them are numbers")}, source=_SOURCE,
)  # fmt: skip
class nanmean:
    def forward(input, dim=None, keepdim=False, *, dtype=None):
        axes = axes_of(dim, input.ndim)
        return np.nansum(input, axis=axes, keepdims=keepdim) / np.sum(~np.isnan(input), axis=axes, keepdims=keepdim)

    def backward(dY, Y, input, dim=None, keepdim=False, *, dtype=None):
        numbers = ~np.isnan(input)
        share = dY / numbers.sum(axis=axes_of(dim, input.ndim), keepdims=keepdim)
        return {"input": np.where(numbers, spread(share, input.shape, dim, keepdim), 0.0)}


@rule(
    "prod", function=torch.prod,
    forward=r"Y = \prod_{i} X_{i}", backward={"input": r"\bar{X}_{i} = \bar{Y} \prod_{j \neq i} X_{j}"},
    symbols={"X": "input", "Y": "output"}, where={"i": text("the positions along the reduced dimension"), "j": text("all other positions")},
    source=_SOURCE,
)  # fmt: skip
class prod:
    def forward(input, dim=None, keepdim=False, *, dtype=None):
        return np.prod(input if dtype is None else converted(input, dtype), axis=axes_of(dim, input.ndim), keepdims=keepdim)

    def backward(dY, Y, input, dim=None, keepdim=False, *, dtype=None):
        flat = np.moveaxis(input, dim, -1) if dim is not None and input.ndim else input.reshape(-1)
        ones = np.ones((*flat.shape[:-1], 1))
        before = np.cumprod(np.concatenate([ones, flat[..., :-1]], axis=-1), axis=-1)[..., : flat.shape[-1]]
        after = np.flip(np.cumprod(np.concatenate([ones, np.flip(flat, -1)[..., :-1]], axis=-1), axis=-1), -1)[..., : flat.shape[-1]]
        others = before * after  # the product of all others, zeros among them or not
        others = np.moveaxis(others, -1, dim) if dim is not None and input.ndim else others.reshape(input.shape)
        return {"input": spread(dY, input.shape, dim, keepdim) * others}


def _spread_arguments(bound):
    """var(x, False) means unbiased=False; `correction` is what is taken from n: 1 as a rule, 0 where not unbiased."""
    if isinstance(bound["dim"], bool):
        bound["unbiased"], bound["dim"] = bound["dim"], None
    if bound["correction"] is None:
        bound["correction"] = 1 if bound["unbiased"] is None else int(bound["unbiased"])
    return {**bound, "unbiased": None}


def _deviations(input, dim, correction):
    """x minus its mean, and the denominator n - correction."""
    axes = axes_of(dim, input.ndim)
    n = count(input.shape, dim)
    return input - input.sum(axis=axes, keepdims=True) / n, max(n - correction, np.float64(0))


def _variance(input, dim, keepdim, correction):
    centred, denominator = _deviations(input, dim, correction)
    return np.square(centred).sum(axis=axes_of(dim, input.ndim), keepdims=keepdim) / denominator


def _of_deviation(dY, Y, input, dim, keepdim, correction):
    """dL/d(variance) from dL/d(standard deviation): no gradient where the deviation is 0, as PyTorch has it."""
    return np.where(Y == 0, 0.0, dY / (2 * Y))


def _of_variance(dV, input, dim, keepdim, correction):
    centred, _ = _deviations(input, dim, correction)
    return 2 / (count(input.shape, dim) - correction) * spread(dV, input.shape, dim, keepdim) * centred


_MOMENTS = {
    "i": text("the positions along the reduced dimensions"), "n": text("how many they are"), r"\mu": text("their mean"),
}  # fmt: skip


@rule(
    "var", function=torch.var,
    forward=r"Y = \frac{1}{n - c} \sum_{i} (X_{i} - \mu)^{2}", backward={"input": r"\bar{X}_{i} = \frac{2}{n - c} (X_{i} - \mu) \bar{Y}"},
    symbols={"X": "input", "Y": "output", "c": "correction"}, where=_MOMENTS,
    source="Casella and Berger 2002, Statistical Inference, section 5.2",
)  # fmt: skip
class var:
    def forward(input, dim=None, unbiased=None, keepdim=False, *, correction=None):
        return _variance(input, dim, keepdim, correction)

    def backward(dY, Y, input, dim=None, unbiased=None, keepdim=False, *, correction=None):
        return {"input": _of_variance(dY, input, dim, keepdim, correction)}

    arguments = _spread_arguments


@rule(
    "std", function=torch.std,
    forward=r"Y = \sqrt{\frac{1}{n - c} \sum_{i} (X_{i} - \mu)^{2}}",
    backward={"input": r"\bar{X}_{i} = \frac{1}{n - c} \frac{X_{i} - \mu}{Y} \bar{Y}"},
    symbols={"X": "input", "Y": "output", "c": "correction"}, where=_MOMENTS,
    source="Casella and Berger 2002, Statistical Inference, section 5.2",
    note=text("Where all numbers are equal there is no derivative; PyTorch takes 0."),
)  # fmt: skip
class std:
    def forward(input, dim=None, unbiased=None, keepdim=False, *, correction=None):
        return np.sqrt(_variance(input, dim, keepdim, correction))

    def backward(dY, Y, input, dim=None, unbiased=None, keepdim=False, *, correction=None):
        dV = _of_deviation(dY, Y, input, dim, keepdim, correction)
        return {"input": _of_variance(dV, input, dim, keepdim, correction)}

    arguments = _spread_arguments


@rule(
    "var_mean", function=torch.var_mean,
    forward=r"V = \frac{1}{n - c} \sum_{i} (X_{i} - \mu)^{2}, \quad \mu = \frac{1}{n} \sum_{i} X_{i}",
    backward={"input": r"\bar{X}_{i} = \frac{2}{n - c} (X_{i} - \mu) \bar{V} + \frac{1}{n} \bar{\mu}"},
    symbols={"X": "input", "V": "output", r"\mu": "output", "c": "correction"},
    where={key: _MOMENTS[key] for key in ("i", "n")}, source="Casella and Berger 2002, Statistical Inference, section 5.2",
)  # fmt: skip
class var_mean:
    def forward(input, dim=None, unbiased=None, keepdim=False, *, correction=None):
        mean_ = np.sum(input, axis=axes_of(dim, input.ndim), keepdims=keepdim) / count(input.shape, dim)
        return _variance(input, dim, keepdim, correction), mean_

    def backward(dY, Y, input, dim=None, unbiased=None, keepdim=False, *, correction=None):
        of_mean = spread(dY[1] / count(input.shape, dim), input.shape, dim, keepdim)
        return {"input": _of_variance(dY[0], input, dim, keepdim, correction) + of_mean}

    arguments = _spread_arguments


@rule(
    "std_mean", function=torch.std_mean,
    forward=r"S = \sqrt{\frac{1}{n - c} \sum_{i} (X_{i} - \mu)^{2}}, \quad \mu = \frac{1}{n} \sum_{i} X_{i}",
    backward={"input": r"\bar{X}_{i} = \frac{1}{n - c} \frac{X_{i} - \mu}{S} \bar{S} + \frac{1}{n} \bar{\mu}"},
    symbols={"X": "input", "S": "output", r"\mu": "output", "c": "correction"},
    where={key: _MOMENTS[key] for key in ("i", "n")}, source="Casella and Berger 2002, Statistical Inference, section 5.2",
    note=text("Where all numbers are equal there is no derivative; PyTorch takes 0."),
)  # fmt: skip
class std_mean:
    def forward(input, dim=None, unbiased=None, keepdim=False, *, correction=None):
        mean_ = np.sum(input, axis=axes_of(dim, input.ndim), keepdims=keepdim) / count(input.shape, dim)
        return np.sqrt(_variance(input, dim, keepdim, correction)), mean_

    def backward(dY, Y, input, dim=None, unbiased=None, keepdim=False, *, correction=None):
        dV = _of_deviation(dY[0], Y[0], input, dim, keepdim, correction)
        of_mean = spread(dY[1] / count(input.shape, dim), input.shape, dim, keepdim)
        return {"input": _of_variance(dV, input, dim, keepdim, correction) + of_mean}

    arguments = _spread_arguments


@rule(
    "all", function=torch.all,
    forward=r"Y = \bigwedge_{i} [X_{i} \neq 0]", backward={}, symbols={"X": "input", "Y": "output"}, where=_OVER, source=_SOURCE,
)  # fmt: skip
class all_:
    def forward(input, dim=None, keepdim=False):
        return _truth(np.all(input, axis=axes_of(dim, input.ndim), keepdims=keepdim), input)

    def backward(dY, Y, input, dim=None, keepdim=False):
        return {}


@rule(
    "any", function=torch.any,
    forward=r"Y = \bigvee_{i} [X_{i} \neq 0]", backward={}, symbols={"X": "input", "Y": "output"}, where=_OVER, source=_SOURCE,
)  # fmt: skip
class any_:
    def forward(input, dim=None, keepdim=False):
        return _truth(np.any(input, axis=axes_of(dim, input.ndim), keepdims=keepdim), input)

    def backward(dY, Y, input, dim=None, keepdim=False):
        return {}


def _truth(found, input):
    """PyTorch answers in bytes where it was asked in bytes."""
    return np.asarray(found).astype(np.uint8) if input.dtype == np.uint8 else found


@rule(
    "count_nonzero", function=torch.count_nonzero,
    forward=r"Y = \sum_{i} [X_{i} \neq 0]", backward={}, symbols={"X": "input", "Y": "output"}, where=_OVER, source=_SOURCE,
)  # fmt: skip
class count_nonzero:
    def forward(input, dim=None):
        return np.count_nonzero(input, axis=axes_of(dim, input.ndim)) if input.ndim else np.asarray(int(input != 0))

    def backward(dY, Y, input, dim=None):
        return {}
