"""Losses. `reduction` says whether the examples' losses are averaged, summed or kept apart."""

from __future__ import annotations

import math

import numpy as np
import torch.nn.functional as F

from pellucid.core.language import text
from pellucid.derivation.registry import Unsupported, rule, unbroadcast
from pellucid.derivation.rules.conditions import unless
from pellucid.derivation.rules.softmax import log_softmax_along

_GOODFELLOW = "Goodfellow, Bengio and Courville 2016, Deep Learning, "
_L = r"L\given{reduction=none}{_{i}} = \given{reduction=mean}{\frac{1}{n} }\given{reduction!=none}{\sum_{i} }"
_dL = r"\given{reduction=mean}{\frac{1}{n} }\bar{L}\given{reduction=none}{_{i}}"
_WHERE = {"i": text("an entry"), "n": text("the number of entries")}


def modern(size_average, reduce):
    """Refuse the arguments that `reduction` replaced."""
    if size_average is not None or reduce is not None:
        raise Unsupported(
            text("the deprecated arguments size_average and reduce"), text("reduction"), text('use reduction="mean", "sum" or "none"')
        )


def reduced(losses, reduction):
    """Their mean, their sum, or the losses themselves."""
    return {"mean": np.mean, "sum": np.sum, "none": np.asarray}[reduction](losses)


def unreduced(dL, shape, reduction):
    """The gradient of each of the losses of this shape."""
    return np.broadcast_to(dL / np.float64(math.prod(shape)) if reduction == "mean" else dL, shape)


def _shape(*arrays):
    return np.broadcast_shapes(*(np.shape(array) for array in arrays))


_PAIR = {r"\hat{y}": "input", "y": "target", "L": "output"}
_WEIGHTED = {**_PAIR, "w": "weight"}
_W = r"\given{weight}{w_{i} }"


@rule(
    "mse_loss", function=F.mse_loss,
    forward=_L.replace(r"\frac{1}{n}", r"\given{!weight}{\frac{1}{n}}\given{weight}{\frac{1}{\sum_{i} w_{i}}}") + _W + r"(\hat{y}_{i} - y_{i})^{2}",
    backward={
        "input": rf"\bar{{\hat{{y}}}}_{{i}} = {_dL} \cdot 2 (\hat{{y}}_{{i}} - y_{{i}})",
        "target": r"\bar{y}_{i} = -\bar{\hat{y}}_{i}",
    },
    symbols=_WEIGHTED, where=_WHERE, source=_GOODFELLOW + "equation 5.4",
)  # fmt: skip
class mse_loss:
    def forward(input, target, size_average=None, reduce=None, reduction="mean", weight=None):
        modern(size_average, reduce)
        _unweighted(weight)
        return reduced((input - target) ** 2, reduction)

    def backward(dL, L, input, target, size_average=None, reduce=None, reduction="mean", weight=None):
        difference = input - target
        d = 2 * difference * unreduced(dL, difference.shape, reduction)
        return {"input": unbroadcast(d, input.shape), "target": unbroadcast(-d, target.shape)}


def _unweighted(weight):
    if weight is not None:
        raise Unsupported(
            text("a weight for every entry"), text("no weight"), text("multiply the losses of reduction='none' by the weights")
        )


@rule(
    "cross_entropy", function=F.cross_entropy,
    forward=r"\hat{Y} = \operatorname{softmax}(Z), \quad L\given{reduction=none}{_{i}} = "
    r"-\given{reduction=mean}{\frac{1}{m} }\given{reduction!=none}{\sum_{i} }\sum_{k} \given{weight}{w_{k} }"
    + unless("label_smoothing", 0, r"\Bigl( (1 - \varepsilon) ") + r"y_{ik}" + unless("label_smoothing", 0, r" + \frac{\varepsilon}{K} \Bigr)")
    + r" \ln \hat{y}_{ik}",
    backward={
        "input": r"\bar{Z}_{ik} = \given{reduction=mean}{\frac{1}{m} }\bar{L}\given{reduction=none}{_{i}} \given{!weight}{(\hat{y}_{ik} - t_{ik})}"
        r"\given{weight}{\Bigl( \hat{y}_{ik} \sum_{j} w_{j} t_{ij} - w_{k} t_{ik} \Bigr)}, \quad t_{ik} = "
        + unless("label_smoothing", 0, r"(1 - \varepsilon) ") + "y_{ik}" + unless("label_smoothing", 0, r" + \frac{\varepsilon}{K}"),
        "target": r"\bar{y}_{ik} = -\given{reduction=mean}{\frac{1}{m} }\bar{L}\given{reduction=none}{_{i}} "
        + unless("label_smoothing", 0, r"(1 - \varepsilon) ") + r"\given{weight}{w_{k} }\ln \hat{y}_{ik}",
    },
    symbols={"Z": "input", "y": "target", "w": "weight", r"\varepsilon": "label_smoothing", "L": "output"},
    where={
        "i": text("an example (and a position, where there are several)"), "k": text("a class"), "j": text("a class"),
        "Y": text("the predicted probabilities, with a hat"), "t": text("the target's probabilities, smoothed"),
        "m": text("the number of examples, or with class weights the sum of their weights; those with ignore_index do not count"),
        "K": text("the number of classes"),
    },
    source=_GOODFELLOW + "sections 5.5 and 6.2.2.3; label smoothing: Szegedy et al. 2016, Rethinking the Inception architecture, section 7",
    note=text("y is one-hot: y_ik = 1 where k is the class of example i, 0 for all k where it is ignore_index. Target probabilities stand for themselves."),
)  # fmt: skip
class cross_entropy:
    def forward(input, target, weight=None, size_average=None, ignore_index=-100, reduce=None, reduction="mean", label_smoothing=0.0):
        modern(size_average, reduce)
        axis, T, count = _targets(input, target, weight, ignore_index, label_smoothing)
        losses = -_times(T, log_softmax_along(input, axis), exact_zeros=input.shape != target.shape).sum(axis=axis)
        return losses if reduction == "none" else losses.sum() / (count if reduction == "mean" else 1.0)

    def backward(
        dL, L, input, target, weight=None, size_average=None, ignore_index=-100, reduce=None, reduction="mean", label_smoothing=0.0
    ):
        axis, T, count = _targets(input, target, weight, ignore_index, label_smoothing)
        logs = log_softmax_along(input, axis)
        dL = np.expand_dims(dL, axis) if reduction == "none" else dL / (count if reduction == "mean" else 1.0)
        dZ = dL * (np.exp(logs) * T.sum(axis=axis, keepdims=True) - T)
        if input.shape != target.shape:
            return {"input": dZ, "target": None}
        w = 1.0 if weight is None else _along(weight, axis, input.ndim)
        return {"input": dZ, "target": -dL * (1 - label_smoothing) * w * logs}


def _along(weight, axis, dimensions):
    """The classes' weights, broadcast along their axis."""
    return weight.reshape(*([1] * axis), -1, *([1] * (dimensions - axis - 1)))


def _targets(input, target, weight, ignore_index, smoothing):
    """The axis of the classes, w_k t_ik of the shape of the input, and by what a mean divides."""
    axis = min(1, input.ndim - 1)
    K = input.shape[axis]
    w = np.float64(1.0) if weight is None else _along(weight, axis, input.ndim)
    if input.shape == target.shape and target.dtype.kind == "f":  # probabilities
        return axis, w * ((1 - smoothing) * target + smoothing / K), np.float64(input.size / K if K else 0)
    counts = target != ignore_index
    classes = np.where(counts, target, 0)
    one_hot = np.expand_dims(classes, axis) == np.arange(K).reshape(*([1] * axis), -1, *([1] * (input.ndim - axis - 1)))
    one_hot = one_hot & np.expand_dims(counts, axis)
    T = w * ((1 - smoothing) * one_hot + smoothing / K * np.expand_dims(counts, axis))
    return axis, T, np.sum(counts if weight is None else weight[classes] * counts, dtype=np.float64)


def _times(T, logs, exact_zeros):
    """T log p; 0 log 0 = 0 for class indices, which PyTorch looks up instead of multiplying."""
    return np.where(T == 0, 0.0, T * logs) if exact_zeros else T * logs


@rule(
    "nll_loss", function=F.nll_loss,
    forward=r"L\given{reduction=none}{_{i}} = -\given{reduction=mean}{\frac{1}{m} }\given{reduction!=none}{\sum_{i} }"
    r"\sum_{k} \given{weight}{w_{k} }y_{ik} X_{ik}",
    backward={"input": r"\bar{X}_{ik} = -\given{reduction=mean}{\frac{1}{m} }\bar{L}\given{reduction=none}{_{i}} \given{weight}{w_{k} }y_{ik}"},
    symbols={"X": "input", "y": "target", "w": "weight", "L": "output"},
    where={
        "i": text("an example (and a position, where there are several)"), "k": text("a class"),
        "m": text("the number of examples, or with class weights the sum of their weights; those with ignore_index do not count"),
    },
    source=_GOODFELLOW + "section 5.5",
    note=text("y is one-hot: y_ik = 1 where k is the class of example i, 0 for all k where it is ignore_index."),
)  # fmt: skip
class nll_loss:
    def forward(input, target, weight=None, size_average=None, ignore_index=-100, reduce=None, reduction="mean"):
        modern(size_average, reduce)
        axis, T, count = _targets(input, target, weight, ignore_index, 0.0)
        losses = -_times(T, input, exact_zeros=True).sum(axis=axis)
        return losses if reduction == "none" else losses.sum() / (count if reduction == "mean" else 1.0)

    def backward(dL, L, input, target, weight=None, size_average=None, ignore_index=-100, reduce=None, reduction="mean"):
        axis, T, count = _targets(input, target, weight, ignore_index, 0.0)
        return {"input": -T * (np.expand_dims(dL, axis) if reduction == "none" else dL / (count if reduction == "mean" else 1.0))}
