"""Quantiles: a rank between two entries is interpolated, and the gradient goes to both."""

from __future__ import annotations

import numpy as np
import torch

from pellucid.core.language import text
from pellucid.derivation.registry import Unsupported, rule
from pellucid.derivation.rules.ordering import order

_SOURCE = "Hyndman and Fan 1996, Sample quantiles in statistical packages, definition 7"
_UNSORTED = 16  # beyond, PyTorch's sort keeps no order among equal entries


def _rows(input, dim, keepdim):
    """The input as (everything else, the dimension), and the shape of one quantile of it."""
    if dim is None:
        return input.reshape(1, -1), (1,) * input.ndim if keepdim else ()
    array = np.atleast_1d(input)
    moved = np.moveaxis(array, dim, -1)
    shape = list(array.shape)
    shape[dim] = 1
    if not keepdim:
        del shape[dim % len(shape)]
    return moved.reshape(-1, array.shape[dim]), tuple(shape) if input.ndim or keepdim else ()


def _ranks(rows, q, interpolation, without_nan):
    """(lower place, upper place, weight of the upper, slope of the weight by q) in order, each (quantiles, rows)."""
    count = (~np.isnan(rows)).sum(axis=1) if without_nan else np.full(len(rows), rows.shape[1])
    last = np.maximum(count - 1, 0)
    rank = np.reshape(q, (-1, 1)) * last
    lower, upper = np.floor(rank).astype(int), np.ceil(rank).astype(int)
    weight, slope = rank - lower, np.broadcast_to(last, rank.shape)
    if interpolation == "midpoint":
        weight, slope = np.full(rank.shape, 0.5), np.zeros(rank.shape)
    elif interpolation in ("lower", "higher", "nearest"):
        chosen = {"lower": np.floor, "higher": np.ceil, "nearest": np.round}[interpolation](rank).astype(int)
        lower, upper, weight, slope = chosen, chosen, np.zeros(rank.shape), np.zeros(rank.shape)
    return lower, upper, weight, slope


def _quantiles(input, q, dim, keepdim, interpolation, without_nan):
    rows, shape = _rows(input, dim, keepdim)
    ordered = np.sort(rows, axis=1)
    lower, upper, weight, _ = _ranks(rows, q, interpolation, without_nan)
    numbers = np.arange(len(rows))
    low, high = ordered[numbers, lower], ordered[numbers, upper]
    found = np.where(weight < 0.5, low + weight * (high - low), high - (high - low) * (1 - weight))
    if not without_nan:
        found = np.where(np.isnan(rows).any(axis=1), np.nan, found)
    return found.reshape((*np.shape(q), *shape))


def _backward(dY, input, q, dim, keepdim, interpolation, without_nan):
    rows, _ = _rows(input, dim, keepdim)
    if rows.shape[1] > _UNSORTED and (np.diff(np.sort(rows, axis=1), axis=1) == 0).any():
        raise Unsupported(
            text("a quantile of equal entries, among which PyTorch promises no choice"),
            text("entries that differ"),
            text("add a little noise"),
        )
    places, numbers = order(rows, 1, False), np.arange(len(rows))
    lower, upper, weight, slope = _ranks(rows, q, interpolation, without_nan)
    if not without_nan:  # NaN is the largest: the quantile is it
        strange = np.isnan(rows).any(axis=1)
        lower, upper = np.where(strange, rows.shape[1] - 1, lower), np.where(strange, rows.shape[1] - 1, upper)
    arriving, dX = dY.reshape(-1, len(rows)), np.zeros(rows.shape)
    for position in range(len(arriving)):
        np.add.at(dX, (numbers, places[numbers, lower[position]]), arriving[position] * (1 - weight[position]))
        np.add.at(dX, (numbers, places[numbers, upper[position]]), arriving[position] * weight[position])
    if dim is None or not input.ndim:
        gradients = {"input": dX.reshape(input.shape)}
    else:
        moved = np.moveaxis(input, dim, -1).shape
        gradients = {"input": np.moveaxis(dX.reshape(moved), -1, dim)}
    if isinstance(q, np.ndarray):
        ordered = np.sort(rows, axis=1)
        steps = (ordered[numbers, upper] - ordered[numbers, lower]) * slope
        gradients["q"] = (arriving * steps).sum(axis=1).reshape(np.shape(q))
    return gradients


def _quantile(name, without_nan):
    class body:
        def forward(input, q, dim=None, keepdim=False, *, interpolation="linear"):
            return _quantiles(input, q, dim, keepdim, interpolation, without_nan)

        def backward(dY, Y, input, q, dim=None, keepdim=False, *, interpolation="linear"):
            return _backward(dY, input, q, dim, keepdim, interpolation, without_nan)

    body.__module__ = __name__
    return rule(
        name, function=getattr(torch, name),
        forward=r"Y = (1 - w) X_{\pi(k)} + w X_{\pi(k+1)}, \quad k = \lfloor q (n - 1) \rfloor"
        r"\given{interpolation=linear}{, \quad w = q (n - 1) - k}",
        backward={
            "input": r"\bar{X}_{\pi(k)} = (1 - w) \bar{Y}, \quad \bar{X}_{\pi(k+1)} = w \bar{Y}, \quad 0 \text{ elsewhere}",
            "q": r"\bar{q} = \given{interpolation=linear}{(n - 1) (X_{\pi(k+1)} - X_{\pi(k)}) \bar{Y}}\given{interpolation!=linear}{0}",
        },
        symbols={"X": "input", "q": "q", "Y": "output"},
        where={
            "n": text("the number of entries"), "k": text("the rank below, from 0"), r"\pi": text("the place of the entry of a rank"),
            "w": text("the weight of the entry above"),
        },
        source=_SOURCE, note=text("NaN is left out.") if without_nan else text("With NaN among the entries the result is NaN."),
    )(body)  # fmt: skip


_quantile("quantile", False)
_quantile("nanquantile", True)
