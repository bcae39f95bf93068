"""Activation functions, entry by entry."""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F

from pellucid.core.language import text
from pellucid.derivation.registry import Unsupported, rule, unbroadcast
from pellucid.derivation.rules.functions import ROOT_TWO_PI, special

_SYMBOLS = {"X": "input", "Y": "output"}
_E = {"e": text("Euler's number")}
_SIGMA = {r"\sigma": text("the logistic function")}
_GOODFELLOW = "Goodfellow, Bengio and Courville 2016, Deep Learning, "
_AT_KINK = text("At the kinks, where there is no derivative, PyTorch takes 0.")


def logistic(x):
    """1 / (1 + e^-x), without overflow."""
    small = np.exp(-np.abs(x))
    return np.where(x >= 0, 1 / (1 + small), small / (1 + small))


def softplus_of(x):
    """ln(1 + e^x), without overflow."""
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


@rule(
    "relu", function=F.relu,
    forward=r"Y = \max(0, X)", backward={"input": r"\bar{X} = \bar{Y} \odot [X > 0]"}, symbols=_SYMBOLS,
    source="Glorot, Bordes and Bengio 2011, Deep sparse rectifier neural networks",
    note=text("At 0, where there is no derivative, PyTorch takes 0."),
)  # fmt: skip
class relu:
    def forward(input, inplace=False):
        return np.maximum(input, 0)

    def backward(dY, Y, input, inplace=False):
        return {"input": np.where(input <= 0, 0.0, dY)}


@rule(
    "relu6", function=F.relu6,
    forward=r"Y = \min(\max(0, X), 6)", backward={"input": r"\bar{X} = \bar{Y} \odot [0 < X < 6]"}, symbols=_SYMBOLS,
    source="Krizhevsky 2010, Convolutional deep belief networks on CIFAR-10", note=_AT_KINK,
)  # fmt: skip
class relu6:
    def forward(input, inplace=False):
        return np.minimum(np.maximum(input, 0), 6)

    def backward(dY, Y, input, inplace=False):
        return {"input": np.where((input <= 0) | (input >= 6), 0.0, dY)}


@rule(
    "leaky_relu", function=F.leaky_relu,
    forward=r"Y = \max(0, X) + \alpha \min(0, X)", backward={"input": r"\bar{X} = \bar{Y} \odot ([X > 0] + \alpha [X \le 0])"},
    symbols={**_SYMBOLS, r"\alpha": "negative_slope"},
    source="Maas, Hannun and Ng 2013, Rectifier nonlinearities improve neural network acoustic models",
)  # fmt: skip
class leaky_relu:
    def forward(input, negative_slope=0.01, inplace=False):
        return np.where(input > 0, input, negative_slope * input)

    def backward(dY, Y, input, negative_slope=0.01, inplace=False):
        return {"input": np.where(input > 0, dY, negative_slope * dY)}


@rule(
    "prelu", function=F.prelu,
    forward=r"Y = \max(0, X) + \alpha \odot \min(0, X)",
    backward={
        "input": r"\bar{X} = \bar{Y} \odot ([X > 0] + \alpha \odot [X \le 0])", "weight": r"\bar{\alpha} = \sum \bar{Y} \odot \min(0, X)",
    },
    symbols={**_SYMBOLS, r"\alpha": "weight"},
    source="He, Zhang, Ren and Sun 2015, Delving deep into rectifiers, equations 1 to 3",
    note=text("One slope for all entries, or one per channel: the sum goes over what shares it."),
)  # fmt: skip
class prelu:
    def forward(input, weight):
        return np.where(input > 0, input, _slopes(input, weight) * input)

    def backward(dY, Y, input, weight):
        slopes = _slopes(input, weight)
        per_slope = unbroadcast(np.where(input > 0, 0.0, dY * input), slopes.shape)
        return {"input": np.where(input > 0, dY, slopes * dY), "weight": per_slope.reshape(weight.shape)}


def _slopes(input, weight):
    """One slope, or one per channel (the dimension 1)."""
    return weight.reshape(()) if weight.size == 1 and input.ndim < 2 else weight.reshape(1, -1, *([1] * max(input.ndim - 2, 0)))


@rule(
    "rrelu", function=F.rrelu,
    forward=r"Y = \max(0, X) + A \odot \min(0, X)", backward={"input": r"\bar{X} = \bar{Y} \odot ([X > 0] + A \odot [X \le 0])"},
    symbols=_SYMBOLS,
    where={"A": text("slopes drawn uniformly between lower and upper in training; their mean, (lower + upper) / 2, in evaluation")},
    source="Xu, Wang, Chen and Li 2015, Empirical evaluation of rectified activations in convolutional network, section 2.4",
)  # fmt: skip
class rrelu:
    def forward(input, lower=1 / 8, upper=1 / 3, training=False, inplace=False, *, draws=()):
        return input * _random_slopes(input, lower, upper, training, draws)

    def backward(dY, Y, input, lower=1 / 8, upper=1 / 3, training=False, inplace=False, *, draws=()):
        return {"input": dY * _random_slopes(input, lower, upper, training, draws)}


def _random_slopes(input, lower, upper, training, draws):
    if not training:
        return np.where(input > 0, 1.0, (lower + upper) / 2)
    if input.size and not draws:
        raise Unsupported(text("rrelu without its recorded draws"), text("the slopes that were drawn"), text("give draws=(slopes,)"))
    return np.where(input > 0, 1.0, draws[0]) if input.size else np.ones(input.shape)


@rule(
    "threshold", function=F.threshold,
    forward=r"Y = X \odot [X > t] + v \, [X \le t]", backward={"input": r"\bar{X} = \bar{Y} \odot [X > t]"},
    symbols={**_SYMBOLS, "t": "threshold", "v": "value"}, source=_GOODFELLOW + "section 6.3",
)  # fmt: skip
class threshold:
    def forward(input, threshold, value, inplace=False):
        return np.where(input <= threshold, value, input).astype(input.dtype)

    def backward(dY, Y, input, threshold, value, inplace=False):
        return {"input": np.where(input <= threshold, 0.0, dY)}


# -- exponential units ---------------------------------------------------------------------------------------------------------------------


def _elu(x, alpha, scale, input_scale):
    return np.where(x > 0, scale * x, scale * alpha * np.expm1(input_scale * np.minimum(x, 0)))


def _elu_slope(x, alpha, scale, input_scale):
    return np.where(x <= 0, scale * alpha * input_scale * np.exp(input_scale * np.minimum(x, 0)), scale)


@rule(
    "elu", function=F.elu,
    forward=r"Y = X \odot [X > 0] + \alpha (e^{X} - 1) \odot [X \le 0]",
    backward={"input": r"\bar{X} = \bar{Y} \odot \bigl( [X > 0] + \alpha e^{X} \odot [X \le 0] \bigr)"},
    symbols={**_SYMBOLS, r"\alpha": "alpha"}, where=_E,
    source="Clevert, Unterthiner and Hochreiter 2016, Fast and accurate deep network learning by exponential linear units",
)  # fmt: skip
class elu:
    def forward(input, alpha=1.0, inplace=False):
        return _elu(input, alpha, 1.0, 1.0)

    def backward(dY, Y, input, alpha=1.0, inplace=False):
        return {"input": dY * _elu_slope(input, alpha, 1.0, 1.0)}


_ALPHA, _LAMBDA = 1.6732632423543772, 1.0507009873554805


@rule(
    "selu", function=F.selu,
    forward=r"Y = \lambda \bigl( X \odot [X > 0] + \alpha (e^{X} - 1) \odot [X \le 0] \bigr)",
    backward={"input": r"\bar{X} = \lambda \bar{Y} \odot \bigl( [X > 0] + \alpha e^{X} \odot [X \le 0] \bigr)"},
    symbols=_SYMBOLS, where={**_E, r"\alpha": text("1.6733"), r"\lambda": text("1.0507")},
    source="Klambauer, Unterthiner, Mayr and Hochreiter 2017, Self-normalizing neural networks, equation 2",
)  # fmt: skip
class selu:
    def forward(input, inplace=False):
        return _elu(input, _ALPHA, _LAMBDA, 1.0)

    def backward(dY, Y, input, inplace=False):
        return {"input": dY * _elu_slope(input, _ALPHA, _LAMBDA, 1.0)}


@rule(
    "celu", function=F.celu,
    forward=r"Y = X \odot [X > 0] + \alpha (e^{X / \alpha} - 1) \odot [X \le 0]",
    backward={"input": r"\bar{X} = \bar{Y} \odot \bigl( [X > 0] + e^{X / \alpha} \odot [X \le 0] \bigr)"},
    symbols={**_SYMBOLS, r"\alpha": "alpha"}, where=_E,
    source="Barron 2017, Continuously differentiable exponential linear units",
)  # fmt: skip
class celu:
    def forward(input, alpha=1.0, inplace=False):
        return _elu(input, alpha, 1.0, 1 / alpha)

    def backward(dY, Y, input, alpha=1.0, inplace=False):
        return {"input": dY * _elu_slope(input, alpha, 1.0, 1 / alpha)}


# -- sigmoids ------------------------------------------------------------------------------------------------------------------------------


@rule(
    "sigmoid", function=torch.sigmoid,
    forward=r"Y = \sigma(X) = \frac{1}{1 + e^{-X}}", backward={"input": r"\bar{X} = \bar{Y} \odot Y \odot (1 - Y)"},
    symbols=_SYMBOLS, where={**_SIGMA, **_E}, source=_GOODFELLOW + "section 3.10",
)  # fmt: skip
class sigmoid:
    def forward(input):
        return logistic(input)

    def backward(dY, Y, input):
        return {"input": dY * Y * (1 - Y)}


@rule(
    "log_sigmoid", "logsigmoid", function=F.logsigmoid,
    forward=r"Y = \ln \sigma(X) = -\ln(1 + e^{-X})", backward={"input": r"\bar{X} = \bar{Y} \odot \sigma(-X)"},
    symbols=_SYMBOLS, where={**_SIGMA, **_E}, source=_GOODFELLOW + "section 3.10",
)  # fmt: skip
class log_sigmoid:
    def forward(input):
        return -softplus_of(-input)

    def backward(dY, Y, input):
        return {"input": dY * logistic(-input)}


@rule(
    "tanh", function=torch.tanh,
    forward=r"Y = \tanh(X)", backward={"input": r"\bar{X} = \bar{Y} \odot (1 - Y^{2})"}, symbols=_SYMBOLS,
    source=_GOODFELLOW + "section 6.3.2",
)  # fmt: skip
class tanh:
    def forward(input):
        return np.tanh(input)

    def backward(dY, Y, input):
        return {"input": dY * (1 - Y**2)}


@rule(
    "softplus", function=F.softplus,
    forward=r"Y = \frac{1}{\beta} \ln(1 + e^{\beta X})", backward={"input": r"\bar{X} = \bar{Y} \odot \sigma(\beta X)"},
    symbols={**_SYMBOLS, r"\beta": "beta"}, where={**_SIGMA, **_E}, source=_GOODFELLOW + "section 3.10",
    note=text("Where beta X is above the threshold (20) PyTorch takes Y = X and the derivative 1."),
)  # fmt: skip
class softplus:
    def forward(input, beta=1, threshold=20):
        return np.where(beta * input > threshold, input, softplus_of(beta * input) / beta)

    def backward(dY, Y, input, beta=1, threshold=20):
        return {"input": dY * np.where(beta * input > threshold, 1.0, logistic(beta * input))}


@rule(
    "softsign", function=F.softsign,
    forward=r"Y = \frac{X}{1 + |X|}", backward={"input": r"\bar{X} = \frac{\bar{Y}}{(1 + |X|)^{2}}"}, symbols=_SYMBOLS,
    source="Bergstra, Desjardins, Lamblin and Bengio 2009, Quadratic polynomials learn better image features",
)  # fmt: skip
class softsign:
    def forward(input):
        return input / (1 + np.abs(input))

    def backward(dY, Y, input):
        return {"input": dY / (1 + np.abs(input)) ** 2}


@rule(
    "tanhshrink", function=F.tanhshrink,
    forward=r"Y = X - \tanh(X)", backward={"input": r"\bar{X} = \bar{Y} \odot \tanh^{2}(X)"}, symbols=_SYMBOLS,
    source="Paszke et al. 2019, PyTorch: an imperative style, high-performance deep learning library",
)  # fmt: skip
class tanhshrink:
    def forward(input):
        return input - np.tanh(input)

    def backward(dY, Y, input):
        return {"input": dY * np.tanh(input) ** 2}


@rule(
    "hardtanh", function=F.hardtanh,
    forward=r"Y = \min(\max(a, X), b)", backward={"input": r"\bar{X} = \bar{Y} \odot [a < X < b]"},
    symbols={**_SYMBOLS, "a": "min_val", "b": "max_val"},
    source="Collobert 2004, Large scale machine learning (thesis)", note=_AT_KINK,
)  # fmt: skip
class hardtanh:
    def forward(input, min_val=-1.0, max_val=1.0, inplace=False):
        return np.minimum(np.maximum(input, min_val), max_val)

    def backward(dY, Y, input, min_val=-1.0, max_val=1.0, inplace=False):
        return {"input": np.where((input <= min_val) | (input >= max_val), 0.0, dY)}


_SIXTH = float(np.float32(1 / 6))  # PyTorch's kernel has this constant in single precision, whatever the numbers' precision


@rule(
    "hardsigmoid", function=F.hardsigmoid,
    forward=r"Y = \tfrac{1}{6} \min(\max(0, X + 3), 6)", backward={"input": r"\bar{X} = \tfrac{1}{6} \bar{Y} \odot [-3 < X < 3]"},
    symbols=_SYMBOLS, source="Howard et al. 2019, Searching for MobileNetV3, section 5.2", note=_AT_KINK,
)  # fmt: skip
class hardsigmoid:
    def forward(input, inplace=False):
        return np.minimum(np.maximum(input + 3, 0), 6) / 6

    def backward(dY, Y, input, inplace=False):
        return {"input": np.where((input > -3) & (input < 3), dY * _SIXTH, 0.0)}


# -- the input times a gate ----------------------------------------------------------------------------------------------------------------


@rule(
    "hardswish", function=F.hardswish,
    forward=r"Y = \tfrac{1}{6} X \odot \min(\max(0, X + 3), 6)",
    backward={"input": r"\bar{X} = \bar{Y} \odot \bigl( [X \ge 3] + [-3 < X < 3] \odot \tfrac{1}{6} (2 X + 3) \bigr)"},
    symbols=_SYMBOLS, source="Howard et al. 2019, Searching for MobileNetV3, section 5.2",
    note=text("At -3 PyTorch takes the derivative 0, at 3 it takes 1."),
)  # fmt: skip
class hardswish:
    def forward(input, inplace=False):
        return input * np.minimum(np.maximum(input + 3, 0), 6) / 6

    def backward(dY, Y, input, inplace=False):
        return {"input": np.where(input <= -3, 0.0, np.where(input < 3, dY * (input / 3 + 0.5), dY))}


@rule(
    "silu", function=F.silu,
    forward=r"Y = X \odot \sigma(X)",
    backward={"input": r"\bar{X} = \bar{Y} \odot \sigma(X) \odot \bigl( 1 + X \odot (1 - \sigma(X)) \bigr)"},
    symbols=_SYMBOLS, where=_SIGMA,
    source="Elfwing, Uchibe and Doya 2018, Sigmoid-weighted linear units for neural network function approximation",
    note=text("Also called swish."),
)  # fmt: skip
class silu:
    def forward(input, inplace=False):
        return input * logistic(input)

    def backward(dY, Y, input, inplace=False):
        gate = logistic(input)
        return {"input": dY * gate * (1 + input * (1 - gate))}


@rule(
    "mish", function=F.mish,
    forward=r"Y = X \odot \tanh(S), \quad S = \ln(1 + e^{X})",
    backward={"input": r"\bar{X} = \bar{Y} \odot \bigl( \tanh(S) + X \odot (1 - \tanh^{2}(S)) \odot \sigma(X) \bigr)"},
    symbols=_SYMBOLS, where={**_SIGMA, **_E, "S": text("the softplus of X")},
    source="Misra 2020, Mish: a self regularized non-monotonic activation function",
)  # fmt: skip
class mish:
    def forward(input, inplace=False):
        return input * np.tanh(softplus_of(input))

    def backward(dY, Y, input, inplace=False):
        gate = np.tanh(softplus_of(input))
        return {"input": dY * (gate + input * (1 - gate**2) * logistic(input))}


_CUBIC = 0.044715  # of the approximation by tanh


@rule(
    "gelu", function=F.gelu,
    forward=r"Y = \given{approximate=none}{X \odot \Phi(X)}"
    r"\given{approximate!=none}{\tfrac{1}{2} X \odot (1 + T), \quad T = \tanh\Bigl( \sqrt{2 / \pi} \, (X + 0.044715 X^{3}) \Bigr)}",
    backward={
        "input": r"\bar{X} = \bar{Y} \odot \given{approximate=none}{\bigl( \Phi(X) + X \odot \varphi(X) \bigr)}"
        r"\given{approximate!=none}{\Bigl( \tfrac{1}{2} (1 + T)"
        r" + \tfrac{1}{2} X \odot (1 - T^{2}) \odot \sqrt{2 / \pi} \, (1 + 0.134145 X^{2}) \Bigr)}"
    },
    symbols=_SYMBOLS,
    where={
        r"\Phi": text("the distribution function of the standard normal distribution"), r"\varphi": text("its density"),
        "T": text("the hyperbolic tangent by which the distribution function is approximated"),
    },
    source="Hendrycks and Gimpel 2016, Gaussian error linear units, section 2",
)  # fmt: skip
class gelu:
    def forward(input, approximate="none"):
        if approximate == "none":
            return input * special().ndtr(input)
        return 0.5 * input * (1 + _gelu_tanh(input))

    def backward(dY, Y, input, approximate="none"):
        if approximate == "none":
            return {"input": dY * (special().ndtr(input) + input * np.exp(-input * input / 2) / ROOT_TWO_PI)}
        T = _gelu_tanh(input)
        inner = math.sqrt(2 / math.pi) * (1 + 3 * _CUBIC * input * input)
        return {"input": dY * (0.5 * (1 + T) + 0.5 * input * (1 - T * T) * inner)}


def _gelu_tanh(x):
    return np.tanh(math.sqrt(2 / math.pi) * (x + _CUBIC * x**3))


@rule(
    "glu", function=F.glu,
    forward=r"Y = A \odot \sigma(B), \quad [A, B] = X",
    backward={"input": r"\bar{X} = \bigl[ \bar{Y} \odot \sigma(B), \; \bar{Y} \odot A \odot \sigma(B) \odot (1 - \sigma(B)) \bigr]"},
    symbols=_SYMBOLS, where={**_SIGMA, "A": text("the first half of the input"), "B": text("the second half of the input")},
    source="Dauphin, Fan, Auli and Grangier 2017, Language modeling with gated convolutional networks, equation 1",
)  # fmt: skip
class glu:
    def forward(input, dim=-1):
        A, B = np.split(input, 2, axis=dim)
        return A * logistic(B)

    def backward(dY, Y, input, dim=-1):
        A, B = np.split(input, 2, axis=dim)
        gate = logistic(B)
        return {"input": np.concatenate([dY * gate, dY * A * gate * (1 - gate)], axis=dim)}


# -- shrinkage -----------------------------------------------------------------------------------------------------------------------------


@rule(
    "softshrink", function=F.softshrink,
    forward=r"Y = \operatorname{sign}(X) \odot \max(0, |X| - \lambda)", backward={"input": r"\bar{X} = \bar{Y} \odot [|X| > \lambda]"},
    symbols={**_SYMBOLS, r"\lambda": "lambd"},
    source="Donoho and Johnstone 1994, Ideal spatial adaptation by wavelet shrinkage", note=_AT_KINK,
)  # fmt: skip
class softshrink:
    def forward(input, lambd=0.5):
        return np.where(np.isnan(input), input, np.sign(input) * np.maximum(np.abs(input) - lambd, 0))

    def backward(dY, Y, input, lambd=0.5):
        return {"input": np.where((input >= -lambd) & (input <= lambd), 0.0, dY)}


@rule(
    "hardshrink", function=F.hardshrink,
    forward=r"Y = X \odot [|X| > \lambda]", backward={"input": r"\bar{X} = \bar{Y} \odot [|X| > \lambda]"},
    symbols={**_SYMBOLS, r"\lambda": "lambd"},
    source="Donoho and Johnstone 1994, Ideal spatial adaptation by wavelet shrinkage", note=_AT_KINK,
)  # fmt: skip
class hardshrink:
    def forward(input, lambd=0.5):
        return np.where((input >= -lambd) & (input <= lambd), 0.0, input)

    def backward(dY, Y, input, lambd=0.5):
        return {"input": np.where((input >= -lambd) & (input <= lambd), 0.0, dY)}
