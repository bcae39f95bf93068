"""Normalisation: by the statistics of a batch, a layer, groups of channels, one example, or neighbouring channels."""

from __future__ import annotations

import math

import numpy as np
import torch.nn.functional as F

from pellucid.core.language import text
from pellucid.derivation.registry import rule, unbroadcast

_SYMBOLS = {"X": "input", "Y": "output", r"\gamma": "weight", r"\beta": "bias", r"\varepsilon": "eps"}
_GAMMA, _BETA = r"\given{weight}{\gamma \odot }", r"\given{bias}{ + \beta}"


def standardised(x, axes, eps, mean=None, variance=None):
    """(x - mean) / (variance + eps)^(1/2) and the denominator; the statistics over `axes` where none are given."""
    mean = x.mean(axis=axes, keepdims=True) if mean is None else mean
    centred = x - mean
    variance = np.mean(centred**2, axis=axes, keepdims=True) if variance is None else variance
    deviation = np.sqrt(variance + eps)
    return centred / deviation, deviation


def standardised_backward(dX_hat, X_hat, deviation, axes):
    """Through the statistics too: (dX_hat - mean(dX_hat) - X_hat mean(dX_hat X_hat)) / deviation."""
    mean, along = dX_hat.mean(axis=axes, keepdims=True), np.mean(dX_hat * X_hat, axis=axes, keepdims=True)
    return (dX_hat - mean - X_hat * along) / deviation


def _per_channel(array, dimensions):
    return array if array is None or dimensions < 2 else array.reshape(1, array.size, *([1] * (dimensions - 2)))


def _affine(x_hat, weight, bias):
    return (x_hat if weight is None else x_hat * weight) + (0 if bias is None else bias)


def _affine_gradients(dY, X_hat, weight, bias):
    return {
        "weight": None if weight is None else unbroadcast(dY * X_hat, weight.shape),
        "bias": None if bias is None else unbroadcast(dY, bias.shape),
    }


def _over_statistics(over):
    """The equations of a normalisation whose mean and variance are those of the input itself."""
    return {
        "forward": r"Y = " + _GAMMA + r"\hat{X}" + _BETA + r", \quad \hat{X} = \frac{X - \mu}{\sqrt{\sigma^{2} + \varepsilon}}",
        "backward": {
            "input": r"\bar{X} = \frac{1}{\sqrt{\sigma^{2} + \varepsilon}} \Bigl( G - \frac{1}{m} \sum G - \hat{X} \odot \frac{1}{m}"
            r" \sum G \odot \hat{X} \Bigr), \quad G = " + _GAMMA + r"\bar{Y}",
            "weight": r"\bar{\gamma} = \sum \bar{Y} \odot \hat{X}",
            "bias": r"\bar{\beta} = \sum \bar{Y}",
        },
        "where": {
            r"\mu": text("the mean over {entries}", entries=over),
            r"\sigma": text("the standard deviation over {entries}, dividing by m", entries=over),
            "m": text("the number of entries of {entries}", entries=over), "G": text("the gradient of the normalised input"),
        },
    }  # fmt: skip


_BATCH = _over_statistics(text("the examples and positions of a channel"))


def _in_both_modes(training, equation):
    """Gradients flow through the statistics where they are the input's own; running statistics are constants."""
    running = r"\bar{X} = \frac{1}{\sqrt{\sigma^{2} + \varepsilon}} \, " + _GAMMA + r"\bar{Y}"
    return rf"\given{{{training}}}{{{equation}}}\given{{!{training}}}{{{running}}}"


@rule(
    "batch_norm", function=F.batch_norm,
    forward=_BATCH["forward"],
    backward={**_BATCH["backward"], "input": _in_both_modes("training", _BATCH["backward"]["input"])},
    symbols=_SYMBOLS,
    where={
        **_BATCH["where"],
        r"\mu": text("the mean over the examples and positions of a channel; in evaluation the running mean"),
        r"\sigma": text("the standard deviation over the same (dividing by m); in evaluation of the running variance"),
    },
    source="Ioffe and Szegedy 2015, Batch normalization, algorithm 1 and section 3",
    note=text("In training the statistics are the batch's and gradients flow through them; in evaluation they are constants."),
)  # fmt: skip
class batch_norm:
    def forward(input, running_mean=None, running_var=None, weight=None, bias=None, training=False, momentum=0.1, eps=1e-5):
        n = input.ndim
        statistics = () if training else (_per_channel(running_mean, n), _per_channel(running_var, n))
        x_hat, _ = standardised(input, (0, *range(2, n)), eps, *statistics)
        return _affine(x_hat, _per_channel(weight, n), _per_channel(bias, n))

    def backward(dY, Y, input, running_mean=None, running_var=None, weight=None, bias=None, training=False, momentum=0.1, eps=1e-5):
        n, axes = input.ndim, (0, *range(2, input.ndim))
        statistics = () if training else (_per_channel(running_mean, n), _per_channel(running_var, n))
        X_hat, deviation = standardised(input, axes, eps, *statistics)
        dX_hat = dY if weight is None else dY * _per_channel(weight, n)
        return {
            "input": standardised_backward(dX_hat, X_hat, deviation, axes) if training else dX_hat / deviation,
            "weight": None if weight is None else np.sum(dY * X_hat, axis=axes),
            "bias": None if bias is None else dY.sum(axis=axes),
        }


@rule(
    "layer_norm", function=F.layer_norm, **_over_statistics(text("the normalised dimensions (the last ones)")),
    symbols=_SYMBOLS, source="Ba, Kiros and Hinton 2016, Layer normalization, equation 3",
)  # fmt: skip
class layer_norm:
    def forward(input, normalized_shape, weight=None, bias=None, eps=1e-5, cudnn_enable=True):
        axes = tuple(range(input.ndim - len(normalized_shape), input.ndim))
        return _affine(standardised(input, axes, eps)[0], weight, bias)

    def backward(dY, Y, input, normalized_shape, weight=None, bias=None, eps=1e-5, cudnn_enable=True):
        axes = tuple(range(input.ndim - len(normalized_shape), input.ndim))
        X_hat, deviation = standardised(input, axes, eps)
        dX = standardised_backward(dY if weight is None else dY * weight, X_hat, deviation, axes)
        return {"input": dX, **_affine_gradients(dY, X_hat, weight, bias)}


@rule(
    "group_norm", function=F.group_norm, **_over_statistics(text("a group of channels of one example")),
    symbols=_SYMBOLS, source="Wu and He 2018, Group normalization, section 3",
)  # fmt: skip
class group_norm:
    def forward(input, num_groups, weight=None, bias=None, eps=1e-5, cudnn_enabled=True):
        x_hat = standardised(_grouped(input, num_groups), -1, eps)[0].reshape(input.shape)
        return _affine(x_hat, _per_channel(weight, input.ndim), _per_channel(bias, input.ndim))

    def backward(dY, Y, input, num_groups, weight=None, bias=None, eps=1e-5, cudnn_enabled=True):
        weight_, n = _per_channel(weight, input.ndim), input.ndim
        X_hat, deviation = standardised(_grouped(input, num_groups), -1, eps)
        dX_hat = (dY if weight is None else dY * weight_).reshape(X_hat.shape)
        dX = standardised_backward(dX_hat, X_hat, deviation, -1).reshape(input.shape)
        over = (0, *range(2, n))
        return {
            "input": dX,
            "weight": None if weight is None else np.sum(dY * X_hat.reshape(input.shape), axis=over),
            "bias": None if bias is None else dY.sum(axis=over),
        }


def _grouped(x, groups):
    """(N, C, ...) -> (N, groups, entries of a group)."""
    return x.reshape(x.shape[0], groups, math.prod(x.shape[1:]) // groups)


_INSTANCE = _over_statistics(text("the positions of a channel of one example"))


@rule(
    "instance_norm", function=F.instance_norm,
    forward=_INSTANCE["forward"],
    backward={**_INSTANCE["backward"], "input": _in_both_modes("use_input_stats", _INSTANCE["backward"]["input"])},
    symbols=_SYMBOLS, where=_INSTANCE["where"],
    source="Ulyanov, Vedaldi and Lempitsky 2016, Instance normalization, section 2",
)  # fmt: skip
class instance_norm:
    def forward(input, running_mean=None, running_var=None, weight=None, bias=None, use_input_stats=True, momentum=0.1, eps=1e-5):
        n = input.ndim
        statistics = () if use_input_stats else (_per_channel(running_mean, n), _per_channel(running_var, n))
        x_hat, _ = standardised(input, tuple(range(2, n)), eps, *statistics)
        return _affine(x_hat, _per_channel(weight, n), _per_channel(bias, n))

    def backward(dY, Y, input, running_mean=None, running_var=None, weight=None, bias=None, use_input_stats=True, momentum=0.1, eps=1e-5):
        n, axes = input.ndim, tuple(range(2, input.ndim))
        statistics = () if use_input_stats else (_per_channel(running_mean, n), _per_channel(running_var, n))
        X_hat, deviation = standardised(input, axes, eps, *statistics)
        dX_hat = dY if weight is None else dY * _per_channel(weight, n)
        return {
            "input": standardised_backward(dX_hat, X_hat, deviation, axes) if use_input_stats else dX_hat / deviation,
            "weight": None if weight is None else np.sum(dY * X_hat, axis=(0, *axes)),
            "bias": None if bias is None else dY.sum(axis=(0, *axes)),
        }


@rule(
    "rms_norm", function=F.rms_norm,
    forward=r"Y = " + _GAMMA + r"\hat{X}, \quad \hat{X} = \frac{X}{r}, \quad r = \sqrt{\frac{1}{m} \sum X^{2} + \varepsilon}",
    backward={
        "input": r"\bar{X} = \frac{1}{r} \Bigl( G - \hat{X} \odot \frac{1}{m} \sum G \odot \hat{X} \Bigr), \quad G = "
        + _GAMMA + r"\bar{Y}",
        "weight": r"\bar{\gamma} = \sum \bar{Y} \odot \hat{X}",
    },
    symbols={"X": "input", "Y": "output", r"\gamma": "weight", r"\varepsilon": "eps"},
    where={
        "m": text("the number of normalised entries"), "r": text("their root mean square"),
        "G": text("the gradient of the normalised input"),
    },
    source="Zhang and Sennrich 2019, Root mean square layer normalization, equation 4",
    note=text("Where no eps is given PyTorch adds the machine's epsilon of the numbers' precision."),
)  # fmt: skip
class rms_norm:
    def forward(input, normalized_shape, weight=None, eps=None):
        x_hat, _ = _root_mean_square(input, normalized_shape, eps)
        return x_hat if weight is None else x_hat * weight

    def backward(dY, Y, input, normalized_shape, weight=None, eps=None):
        x_hat, r = _root_mean_square(input, normalized_shape, eps)
        axes = tuple(range(input.ndim - len(normalized_shape), input.ndim))
        G = dY if weight is None else dY * weight
        dX = (G - x_hat * np.mean(G * x_hat, axis=axes, keepdims=True)) / r
        return {"input": dX, "weight": None if weight is None else unbroadcast(dY * x_hat, weight.shape)}


def _root_mean_square(x, normalized_shape, eps):
    axes = tuple(range(x.ndim - len(normalized_shape), x.ndim))
    r = np.sqrt(np.mean(x**2, axis=axes, keepdims=True) + (np.finfo(np.float64).eps if eps is None else eps))
    return x / r, r


@rule(
    "local_response_norm", function=F.local_response_norm,
    forward=r"Y_{c} = X_{c} \, D_{c}^{-\beta}, \quad D_{c} = k + \frac{\alpha}{n} \sum_{j \in N(c)} X_{j}^{2}",
    backward={
        "input": r"\bar{X}_{c} = \bar{Y}_{c} D_{c}^{-\beta} - \frac{2 \alpha \beta}{n} X_{c}"
        r" \sum_{j:\, c \in N(j)} \bar{Y}_{j} X_{j} D_{j}^{-\beta - 1}"
    },
    symbols={"X": "input", "Y": "output", "n": "size", r"\alpha": "alpha", r"\beta": "beta", "k": "k"},
    where={
        "c": text("a channel"), "j": text("a channel"), "N": text("the n channels around a channel"),
        "D": text("the denominator before its power"),
    },
    source="Krizhevsky, Sutskever and Hinton 2012, ImageNet classification with deep convolutional neural networks, section 3.3",
    note=text("PyTorch divides alpha by the size n, the paper does not."),
)  # fmt: skip
class local_response_norm:
    def forward(input, size, alpha=1e-4, beta=0.75, k=1.0):
        return input * _response(input, size, alpha, k) ** -beta

    def backward(dY, Y, input, size, alpha=1e-4, beta=0.75, k=1.0):
        D = _response(input, size, alpha, k)
        inner = dY * input * D ** (-beta - 1)
        return {"input": dY * D**-beta - 2 * alpha * beta / size * input * _neighbours(inner, (size - 1) // 2, size // 2)}


def _neighbours(x, before, after):
    """The sum over the channels from c - before to c + after."""
    total = np.cumsum(np.pad(x, [(0, 0), (before + 1, after)] + [(0, 0)] * (x.ndim - 2)), axis=1)
    width = before + after + 1
    return total[:, width:] - total[:, :-width]


def _response(x, size, alpha, k):
    return k + alpha / size * _neighbours(x**2, size // 2, (size - 1) // 2)


@rule(
    "normalize", function=F.normalize,
    forward=r"Y = \frac{X}{d}, \quad d = \max(\lVert X \rVert_{p}, \varepsilon)",
    backward={
        "input": r"\bar{X} = \frac{1}{d} \Bigl( \bar{Y} - [\lVert X \rVert_{p} \ge \varepsilon] \Bigl( \sum \bar{Y} \odot Y \Bigr)"
        r" \frac{\partial \lVert X \rVert_{p}}{\partial X} \Bigr)"
    },
    symbols={"X": "input", "Y": "output", "p": "p", r"\varepsilon": "eps"}, where={"d": text("the norm along dim, at least the epsilon")},
    source="Petersen and Pedersen 2012, The Matrix Cookbook, section 2.6",
)  # fmt: skip
class normalize:
    def forward(input, p=2.0, dim=1, eps=1e-12):
        return input / np.maximum(power_norm(input, p, dim), eps)

    def backward(dY, Y, input, p=2.0, dim=1, eps=1e-12):
        norm = power_norm(input, p, dim)
        d, along = np.maximum(norm, eps), np.sum(dY * input, axis=dim, keepdims=True)
        return {"input": dY / d - np.where(norm >= eps, along / d**2, 0.0) * power_norm_slope(input, p, dim, norm)}


def power_norm(x, p, dim):
    """(sum |x|^p)^(1/p) along `dim`, which stays as a dimension of size one."""
    size = np.abs(x)
    if math.isinf(p):
        return size.max(axis=dim, keepdims=True) if p > 0 else size.min(axis=dim, keepdims=True)
    if p == 0:
        return np.sum(x != 0, axis=dim, keepdims=True).astype(float)
    if p == 2:
        return np.sqrt(np.sum(x * x, axis=dim, keepdims=True))
    return np.sum(size**p, axis=dim, keepdims=True) ** (1 / p)


def power_norm_slope(x, p, dim, norm):
    """d norm / d x; 0 where the norm is 0. The largest entries (p infinite) share it equally."""
    if p == 0:
        return np.zeros(x.shape)
    if math.isinf(p):
        ties = np.abs(x) == norm
        return np.sign(x) * ties / ties.sum(axis=dim, keepdims=True)
    if p == 1:
        return np.sign(x)
    if p == 2:
        return np.where(norm == 0, 0.0, x / np.where(norm == 0, 1.0, norm))
    slope = np.sign(x) * np.where(x == 0, 0.0, np.abs(np.where(x == 0, 1.0, x)) ** (p - 1))
    return np.where(norm == 0, 0.0, slope * np.where(norm == 0, 1.0, norm) ** (1 - p))
