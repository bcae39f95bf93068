"""Losses. `reduction` says whether the examples' losses are averaged, summed or kept apart."""

from __future__ import annotations

import math

import numpy as np
import torch.nn.functional as F

from pellucid.core.language import text
from pellucid.derivation.registry import Unsupported, rule, unbroadcast
from pellucid.derivation.rules.activations import logistic, softplus_of
from pellucid.derivation.rules.conditions import unless, where_it_is
from pellucid.derivation.rules.softmax import log_softmax_along

_GOODFELLOW = "Goodfellow, Bengio and Courville 2016, Deep Learning, "
EACH = r"\given{reduction=none}{_{i}}"  # with the reduction "none" every entry has its own loss
FACTOR = r"\given{reduction=mean}{\frac{1}{n} }"
SUM = FACTOR + r"\given{reduction!=none}{\sum_{i} }"
ARRIVING = FACTOR + r"\bar{L}" + EACH
TINY = float(np.float32(1e-12))  # PyTorch's kernels have this constant in single precision, whatever the numbers' precision
WHERE = {"i": text("an entry"), "n": text("the number of entries")}
_PAIR = {r"\hat{y}": "input", "y": "target", "L": "output"}
_WEIGHTS = r"\given{weight}{w_{i} }"
_WEIGHTED_SUM = (
    r"\given{reduction=mean}{\given{!weight}{\frac{1}{n} }\given{weight}{\frac{1}{W} }}\given{reduction!=none}{\sum_{i} }" + _WEIGHTS
)
_WEIGHTED_ARRIVING = r"\given{reduction=mean}{\given{!weight}{\frac{1}{n} }\given{weight}{\frac{1}{W} }}\bar{L}" + EACH + r" \, " + _WEIGHTS
_ERROR = r"(\hat{y}_{i} - y_{i})"


def modern(size_average, reduce):
    """Refuse the arguments that `reduction` replaced."""
    if size_average is not None or reduce is not None:
        raise Unsupported(
            text("the deprecated arguments size_average and reduce"), text("reduction"), text('use reduction="mean", "sum" or "none"')
        )


def reduced(losses, reduction):
    """Their mean, their sum, or the losses themselves."""
    if reduction == "none":
        return losses
    return np.sum(losses) / (np.float64(np.size(losses)) if reduction == "mean" else 1.0)


def unreduced(dL, shape, reduction):
    """The gradient of each of the losses of this shape."""
    return np.broadcast_to(dL / np.float64(math.prod(shape)) if reduction == "mean" else dL, shape)


# -- of numbers ----------------------------------------------------------------------------------------------------------------------------


def _weighted(losses, weight, reduction):
    """With weights the mean divides by their sum."""
    if weight is None or reduction != "mean":
        return reduced(losses if weight is None else losses * weight, reduction)
    return np.sum(losses * weight) / np.sum(weight)


def _pair_gradients(dL, losses, slopes, input, target, weight, reduction):
    """The gradients of input, target and weight; `slopes` are the derivatives of the losses in the input."""
    if weight is None:
        d = slopes * unreduced(dL, losses.shape, reduction)
        return {"input": unbroadcast(d, input.shape), "target": unbroadcast(-d, target.shape)}
    total = np.sum(weight) if reduction == "mean" else 1.0
    d = dL * weight * slopes / total
    in_weight = dL * (losses - (np.sum(losses * weight) / total if reduction == "mean" else 0.0)) / total
    return {"input": unbroadcast(d, input.shape), "target": unbroadcast(-d, target.shape), "weight": unbroadcast(in_weight, weight.shape)}


def _of_difference(loss, slope, source, note=None):
    """The equations of a loss of the difference of prediction and target."""
    mean = r"\given{reduction=mean}{\frac{1}{W} }"
    return {
        "forward": rf"L{EACH} = {_WEIGHTED_SUM}{loss}",
        "backward": {
            "input": rf"\bar{{\hat{{y}}}}_{{i}} = {_WEIGHTED_ARRIVING}{slope}",
            "target": r"\bar{y}_{i} = -\bar{\hat{y}}_{i}",
            "weight": rf"\bar{{w}}_{{i}} = {mean}\bar{{L}}{EACH} \Bigl( {loss}\given{{reduction=mean}}{{ - L}} \Bigr)",
        },
        "symbols": {**_PAIR, "w": "weight"},
        "where": {**WHERE, "W": text("the sum of the weights")},
        "source": source,
        "note": note,
    }


@rule("mse_loss", function=F.mse_loss, **_of_difference(_ERROR + "^{2}", rf"\cdot 2 {_ERROR}", _GOODFELLOW + "equation 5.4"))
class mse_loss:
    def forward(input, target, size_average=None, reduce=None, reduction="mean", weight=None):
        modern(size_average, reduce)
        return _weighted((input - target) ** 2, weight, reduction)

    def backward(dL, L, input, target, size_average=None, reduce=None, reduction="mean", weight=None):
        difference = input - target
        return _pair_gradients(dL, difference**2, 2 * difference, input, target, weight, reduction)


@rule(
    "l1_loss", function=F.l1_loss,
    **_of_difference(
        r"|\hat{y}_{i} - y_{i}|", rf"\operatorname{{sign}}{_ERROR}",
        "Boyd and Vandenberghe 2004, Convex Optimization, section 6.1.1",
        text("Where prediction and target are equal PyTorch takes the derivative 0."),
    ),
)  # fmt: skip
class l1_loss:
    def forward(input, target, size_average=None, reduce=None, reduction="mean", weight=None):
        modern(size_average, reduce)
        return _weighted(np.abs(input - target), weight, reduction)

    def backward(dL, L, input, target, size_average=None, reduce=None, reduction="mean", weight=None):
        difference = input - target
        return _pair_gradients(dL, np.abs(difference), np.sign(difference), input, target, weight, reduction)


_HUBER = "Huber 1964, Robust estimation of a location parameter"
_D = r", \quad d_{i} = \hat{y}_{i} - y_{i}"


@rule(
    "huber_loss", function=F.huber_loss,
    forward=rf"L{EACH} = {SUM}{_WEIGHTS}" + r"\begin{cases} \frac{1}{2} d_{i}^{2} & |d_{i}| \le \delta \\ "
    r"\delta (|d_{i}| - \frac{1}{2} \delta) & |d_{i}| > \delta \end{cases}" + _D,
    backward={
        "input": rf"\bar{{\hat{{y}}}}_{{i}} = {ARRIVING} \, {_WEIGHTS}" + r"\min(\max(d_{i}, -\delta), \delta)",
        "target": r"\bar{y}_{i} = -\bar{\hat{y}}_{i}",
    },
    symbols={**_PAIR, r"\delta": "delta", "w": "weight"}, where={**WHERE, "d": text("the differences")}, source=_HUBER,
)  # fmt: skip
class huber_loss:
    def forward(input, target, reduction="mean", delta=1.0, weight=None):
        size = np.abs(input - target)
        losses = np.where(size <= delta, 0.5 * size**2, delta * (size - 0.5 * delta))
        return reduced(losses if weight is None else losses * weight, reduction)

    def backward(dL, L, input, target, reduction="mean", delta=1.0, weight=None):
        d = np.clip(input - target, -delta, delta)
        d = (d if weight is None else d * weight) * unreduced(dL, d.shape, reduction)
        return {"input": unbroadcast(d, input.shape), "target": unbroadcast(-d, target.shape)}


@rule(
    "smooth_l1_loss", function=F.smooth_l1_loss,
    forward=rf"L{EACH} = {SUM}" + r"\begin{cases} \frac{1}{2 \beta} d_{i}^{2} & |d_{i}| < \beta \\ "
    r"|d_{i}| - \frac{1}{2} \beta & |d_{i}| \ge \beta \end{cases}" + _D,
    backward={
        "input": rf"\bar{{\hat{{y}}}}_{{i}} = {ARRIVING} \, " + r"\min(\max(d_{i} / \beta, -1), 1)",
        "target": r"\bar{y}_{i} = -\bar{\hat{y}}_{i}",
    },
    symbols={**_PAIR, r"\beta": "beta"}, where={**WHERE, "d": text("the differences")},
    source="Girshick 2015, Fast R-CNN, equation 3", note=text("With beta = 0 it is the absolute difference."),
)  # fmt: skip
class smooth_l1_loss:
    def forward(input, target, size_average=None, reduce=None, reduction="mean", beta=1.0):
        modern(size_average, reduce)
        size = np.abs(input - target)
        return reduced(np.where(size < beta, 0.5 * size**2 / (beta or 1.0), size - 0.5 * beta), reduction)

    def backward(dL, L, input, target, size_average=None, reduce=None, reduction="mean", beta=1.0):
        difference = input - target
        slope = np.clip(difference / beta, -1, 1) if beta else np.sign(difference)
        d = slope * unreduced(dL, slope.shape, reduction)
        return {"input": unbroadcast(d, input.shape), "target": unbroadcast(-d, target.shape)}


# -- of classes ----------------------------------------------------------------------------------------------------------------------------


_SMOOTHED = unless("label_smoothing", 0, r", \quad t_{ik} = (1 - \varepsilon) y_{ik} + \frac{\varepsilon}{K}")


def _target(indices="ik"):
    """y, or where labels are smoothed t."""
    return where_it_is("label_smoothing", 0, f"y_{{{indices}}}") + unless("label_smoothing", 0, f"t_{{{indices}}}")


_ONE_HOT = text("y is one-hot: y_ik = 1 where k is the class of example i, 0 for all k where it is ignore_index.")
_COUNT = text("the number of examples, or with class weights the sum of their weights; those with ignore_index do not count")


@rule(
    "cross_entropy", function=F.cross_entropy,
    forward=r"\hat{Y} = \operatorname{softmax}(Z), \quad L\given{reduction=none}{_{i}} = "
    r"-\given{reduction=mean}{\frac{1}{m} }\given{reduction!=none}{\sum_{i} }\sum_{k} \given{weight}{w_{k} }"
    + _target() + r" \ln \hat{y}_{ik}" + _SMOOTHED,
    backward={
        "input": r"\bar{Z}_{ik} = \given{reduction=mean}{\frac{1}{m} }\bar{L}\given{reduction=none}{_{i}} \, "
        r"\given{!weight}{(\hat{y}_{ik} - " + _target() + r")}"
        r"\given{weight}{\Bigl( \hat{y}_{ik} \sum_{j} w_{j} " + _target("ij") + " - w_{k} " + _target() + r" \Bigr)}",
        "target": r"\bar{y}_{ik} = -\given{reduction=mean}{\frac{1}{m} }\bar{L}\given{reduction=none}{_{i}} \, "
        + unless("label_smoothing", 0, r"(1 - \varepsilon) ") + r"\given{weight}{w_{k} }\ln \hat{y}_{ik}",
    },
    symbols={"Z": "input", "y": "target", "w": "weight", r"\varepsilon": "label_smoothing", "L": "output"},
    where={
        "i": text("an example (and a position, where there are several)"), "k": text("a class"), "j": text("a class"),
        "Y": text("the predicted probabilities, with a hat"), "t": text("the target's probabilities, smoothed"),
        "m": _COUNT,
        "K": text("the number of classes"),
    },
    source=_GOODFELLOW + "sections 5.5 and 6.2.2.3; label smoothing: Szegedy et al. 2016, Rethinking the Inception architecture, section 7",
    note=text(
        "y is one-hot: y_ik = 1 where k is the class of example i, 0 for all k where it is ignore_index. "
        "Probabilities as targets stand for themselves; where they do not sum to 1, the predicted ones are multiplied by their sum."
    ),
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
    backward={
        "input": r"\bar{X}_{ik} = -\given{reduction=mean}{\frac{1}{m} }\bar{L}\given{reduction=none}{_{i}} \, \given{weight}{w_{k} }y_{ik}"
    },
    symbols={"X": "input", "y": "target", "w": "weight", "L": "output"},
    where={
        "i": text("an example (and a position, where there are several)"), "k": text("a class"),
        "m": _COUNT,
    },
    source=_GOODFELLOW + "section 5.5",
    note=_ONE_HOT,
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


# -- of probabilities ----------------------------------------------------------------------------------------------------------------------

_P = {r"\hat{y}": "input", "y": "target", "w": "weight", "L": "output"}


@rule(
    "binary_cross_entropy", function=F.binary_cross_entropy,
    forward=rf"L{EACH} = -{SUM}{_WEIGHTS}" + r"\bigl( y_{i} \ln \hat{y}_{i} + (1 - y_{i}) \ln(1 - \hat{y}_{i}) \bigr)",
    backward={
        "input": rf"\bar{{\hat{{y}}}}_{{i}} = {ARRIVING} \, {_WEIGHTS}" + r"\frac{\hat{y}_{i} - y_{i}}{\hat{y}_{i} (1 - \hat{y}_{i})}",
        "target": rf"\bar{{y}}_{{i}} = {ARRIVING} \, {_WEIGHTS}" + r"\ln \frac{1 - \hat{y}_{i}}{\hat{y}_{i}}",
    },
    symbols=_P, where=WHERE, source=_GOODFELLOW + "sections 3.13 and 6.2.2.2",
    note=text("PyTorch lets no logarithm be below -100, and the denominator of the gradient be no smaller than 1e-12."),
)  # fmt: skip
class binary_cross_entropy:
    def forward(input, target, weight=None, size_average=None, reduce=None, reduction="mean"):
        modern(size_average, reduce)
        losses = (target - 1) * np.maximum(np.log1p(-input), -100) - target * np.maximum(np.log(input), -100)
        return reduced(losses if weight is None else losses * weight, reduction)

    def backward(dL, L, input, target, weight=None, size_average=None, reduce=None, reduction="mean"):
        d = unreduced(dL, np.shape(L) if reduction == "none" else np.broadcast_shapes(input.shape, np.shape(weight)), reduction)
        d = d if weight is None else d * weight
        return {
            "input": unbroadcast(d * (input - target) / np.maximum((1 - input) * input, TINY), input.shape),
            "target": unbroadcast(d * (np.log1p(-input) - np.log(input)), target.shape),
        }


@rule(
    "binary_cross_entropy_with_logits", function=F.binary_cross_entropy_with_logits,
    forward=rf"L{EACH} = -{SUM}{_WEIGHTS}"
    r"\bigl( \given{pos_weight}{p_{i} }y_{i} \ln \hat{y}_{i} + (1 - y_{i}) \ln(1 - \hat{y}_{i}) \bigr), \quad \hat{y}_{i} = \sigma(z_{i})",
    backward={
        "input": rf"\bar{{z}}_{{i}} = {ARRIVING} \, {_WEIGHTS}"
        r"\given{!pos_weight}{(\hat{y}_{i} - y_{i})}\given{pos_weight}{\bigl( (p_{i} y_{i} + 1 - y_{i}) \, \hat{y}_{i} - p_{i} y_{i}"
        r" \bigr)}",
        "target": rf"\bar{{y}}_{{i}} = {ARRIVING} \, {_WEIGHTS}"
        r"\given{!pos_weight}{(-z_{i})}\given{pos_weight}{\bigl( \ln(1 - \hat{y}_{i}) - p_{i} \ln \hat{y}_{i} \bigr)}",
    },
    symbols={"z": "input", "y": "target", "w": "weight", "p": "pos_weight", "L": "output"},
    where={**WHERE, r"\sigma": text("the logistic function")}, source=_GOODFELLOW + "section 6.2.2.2",
)  # fmt: skip
class binary_cross_entropy_with_logits:
    def forward(input, target, weight=None, size_average=None, reduce=None, reduction="mean", pos_weight=None):
        modern(size_average, reduce)
        p = 1.0 if pos_weight is None else pos_weight
        losses = p * target * softplus_of(-input) + (1 - target) * softplus_of(input)
        return reduced(losses if weight is None else losses * weight, reduction)

    def backward(dL, L, input, target, weight=None, size_average=None, reduce=None, reduction="mean", pos_weight=None):
        p = 1.0 if pos_weight is None else pos_weight
        d = unreduced(dL, np.broadcast_shapes(input.shape, target.shape, np.shape(weight), np.shape(p)), reduction)
        d = d if weight is None else d * weight
        return {
            "input": unbroadcast(d * ((p * target + 1 - target) * logistic(input) - p * target), input.shape),
            "target": unbroadcast(d * (p * softplus_of(-input) - softplus_of(input)), target.shape),
        }


_BATCH_FACTOR = FACTOR + r"\given{reduction=batchmean}{\frac{1}{m} }"


@rule(
    "kl_div", function=F.kl_div,
    forward=rf"L{EACH} = {_BATCH_FACTOR}" + r"\given{reduction!=none}{\sum_{i} }\given{!log_target}{y_{i} (\ln y_{i} - x_{i})}"
    r"\given{log_target}{e^{y_{i}} (y_{i} - x_{i})}",
    backward={
        "input": rf"\bar{{x}}_{{i}} = -{_BATCH_FACTOR}\bar{{L}}{EACH} \, " + r"\given{!log_target}{y_{i}}\given{log_target}{e^{y_{i}}}",
        "target": rf"\bar{{y}}_{{i}} = {_BATCH_FACTOR}\bar{{L}}{EACH} \, "
        r"\given{!log_target}{(\ln y_{i} + 1 - x_{i})}\given{log_target}{e^{y_{i}} (y_{i} + 1 - x_{i})}",
    },
    symbols={"x": "input", "y": "target", "L": "output"}, where={**WHERE, "m": text("the number of examples"), "e": text("Euler's number")},
    source="Kullback and Leibler 1951, On information and sufficiency; " + _GOODFELLOW + "equation 3.50",
    note=text("x are the logarithms of the predicted probabilities. The true divergence is that of the reduction batchmean."),
)  # fmt: skip
class kl_div:
    def forward(input, target, size_average=None, reduce=None, reduction="mean", log_target=False):
        modern(size_average, reduce)
        entropy = np.exp(target) * target if log_target else np.where(target == 0, 0.0, target * np.log(np.where(target == 0, 1.0, target)))
        losses = entropy - (np.exp(target) if log_target else target) * input
        if reduction == "batchmean":
            return np.sum(losses) / (input.shape[0] if input.ndim else 1)
        return reduced(losses, reduction)

    def backward(dL, L, input, target, size_average=None, reduce=None, reduction="mean", log_target=False):
        shape = np.broadcast_shapes(input.shape, target.shape)
        if reduction == "batchmean":
            d = np.broadcast_to(dL / (input.shape[0] if input.ndim else 1), shape)
        else:
            d = unreduced(dL, shape, reduction)
        p = np.exp(target) if log_target else target
        in_target = p * (target + 1 - input) if log_target else np.log(target) + 1 - input
        return {"input": unbroadcast(-d * p, input.shape), "target": unbroadcast(d * in_target, target.shape)}


@rule(
    "gaussian_nll_loss", function=F.gaussian_nll_loss,
    forward=rf"L{EACH} = {SUM}" + r"\frac{1}{2} \Bigl( \ln v_{i} + \frac{(\hat{y}_{i} - y_{i})^{2}}{v_{i}}\given{full}{ + \ln 2 \pi}"
    r" \Bigr)",
    backward={
        "input": rf"\bar{{\hat{{y}}}}_{{i}} = {ARRIVING} \, " + r"\frac{\hat{y}_{i} - y_{i}}{v_{i}}",
        "target": r"\bar{y}_{i} = -\bar{\hat{y}}_{i}",
        "var": rf"\bar{{v}}_{{i}} = {ARRIVING} \cdot " + r"\frac{1}{2} \Bigl( \frac{1}{v_{i}} - \frac{(\hat{y}_{i} -"
        r" y_{i})^{2}}{v_{i}^{2}} \Bigr)",
    },
    symbols={**_PAIR, "v": "var"}, where=WHERE,
    source="Nix and Weigend 1994, Estimating the mean and variance of the target probability distribution",
    note=text("A variance below eps counts as eps; its gradient passes all the same."),
)  # fmt: skip
class gaussian_nll_loss:
    def forward(input, target, var, full=False, eps=1e-6, reduction="mean"):
        v = _variance(input, var, eps)
        losses = 0.5 * (np.log(v) + (input - target) ** 2 / v) + (0.5 * math.log(2 * math.pi) if full else 0.0)
        return reduced(losses, reduction)

    def backward(dL, L, input, target, var, full=False, eps=1e-6, reduction="mean"):
        v, difference = _variance(input, var, eps), input - target
        d = unreduced(dL, np.broadcast_shapes(difference.shape, v.shape), reduction)
        in_variance = unbroadcast(d * 0.5 * (1 / v - (difference / v) ** 2), v.shape)
        return {
            "input": unbroadcast(d * difference / v, input.shape),
            "target": unbroadcast(-d * difference / v, target.shape),
            "var": in_variance.reshape(var.shape) if isinstance(var, np.ndarray) else None,
        }


def _variance(input, var, eps):
    """At least eps; one per example where it has a dimension less than the input."""
    var = np.maximum(var, eps)
    return var[..., None] if var.shape != input.shape and var.shape == input.shape[:-1] and var.ndim else var


@rule(
    "poisson_nll_loss", function=F.poisson_nll_loss,
    forward=rf"L{EACH} = {SUM}" + r"\Bigl( \given{log_input}{e^{x_{i}} - y_{i} x_{i}}\given{!log_input}{x_{i} - y_{i} \ln(x_{i} +"
    r" \varepsilon)}"
    r"\given{full}{ + [y_{i} > 1] (y_{i} \ln y_{i} - y_{i} + \tfrac{1}{2} \ln 2 \pi y_{i})} \Bigr)",
    backward={
        "input": rf"\bar{{x}}_{{i}} = {ARRIVING} \, "
        r"\given{log_input}{(e^{x_{i}} - y_{i})}\given{!log_input}{\Bigl( 1 - \frac{y_{i}}{x_{i} + \varepsilon} \Bigr)}",
        "target": rf"\bar{{y}}_{{i}} = {ARRIVING} \, "
        r"\Bigl( -\given{log_input}{x_{i}}\given{!log_input}{\ln(x_{i} + \varepsilon)}"
        r"\given{full}{ + [y_{i} > 1] \bigl( \ln y_{i} + \tfrac{1}{2 y_{i}} \bigr)} \Bigr)",
    },
    symbols={"x": "input", "y": "target", r"\varepsilon": "eps", "L": "output"}, where={**WHERE, "e": text("Euler's number")},
    source="McCullagh and Nelder 1989, Generalized Linear Models, chapter 6",
    note=text("Without the part that depends on the target alone, unless full is given (Stirling's approximation)."),
)  # fmt: skip
class poisson_nll_loss:
    def forward(input, target, log_input=True, full=False, size_average=None, eps=1e-8, reduce=None, reduction="mean"):
        modern(size_average, reduce)
        losses = np.exp(input) - target * input if log_input else input - target * np.log(input + eps)
        if full:
            y = np.where(target > 1, target, 1.0)
            losses = losses + np.where(target > 1, y * np.log(y) - y + 0.5 * np.log(2 * math.pi * y), 0.0)
        return reduced(losses, reduction)

    def backward(dL, L, input, target, log_input=True, full=False, size_average=None, eps=1e-8, reduce=None, reduction="mean"):
        d = unreduced(dL, np.broadcast_shapes(input.shape, target.shape), reduction)
        slope = np.exp(input) - target if log_input else 1 - target / (input + eps)
        in_target = -input if log_input else -np.log(input + eps)
        if full:
            y = np.where(target > 1, target, 1.0)
            in_target = in_target + np.where(target > 1, np.log(y) + 0.5 / y, 0.0)
        return {"input": unbroadcast(d * slope, input.shape), "target": unbroadcast(d * in_target, target.shape)}
