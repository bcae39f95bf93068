"""Activation functions by name, each with its equation and source; and the initialisers that suit them.

A hidden unit computes a = f(z), z = W x + b. All functions here act element by element on any shape. Softmax is not among them: it
couples all units of a layer and belongs to the loss, which takes the scores before it (logits). Step functions (Heaviside, sign) are
not either: their derivative is zero wherever it exists, so that no gradient passes.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from pellucid.core.errors import OptionError, OptionTypeError, did_you_mean
from pellucid.core.language import Text, text


@dataclass(frozen=True)
class Activation:
    """One row of the table: `build()` makes the module; `gain` keeps the variance of z from layer to layer at the start."""

    name: str
    build: Callable[[], nn.Module]
    equation: str  # LaTeX, z is the input; s is the logistic sigmoid 1 / (1 + e^{-z})
    source: str
    initialization: str = "he_normal"  # what "auto" stands for: rectifiers he_normal, S-shaped xavier_uniform, selu lecun_normal


_S_SHAPED = "xavier_uniform"
ACTIVATIONS: dict[str, Activation] = {
    row.name: row
    for row in (
        Activation("identity", nn.Identity, r"z", "a layer without activation: the network stays linear", _S_SHAPED),
        Activation("relu", nn.ReLU, r"\max(0, z)", "Nair and Hinton 2010"),
        Activation("relu6", nn.ReLU6, r"\min(\max(0, z), 6)", "Krizhevsky 2010, Convolutional deep belief networks on CIFAR-10"),
        Activation("leaky_relu", nn.LeakyReLU, r"\max(0, z) + 0.01 \min(0, z)", "Maas et al. 2013, section 2"),
        Activation(
            "prelu",
            nn.PReLU,
            r"\max(0, z) + \alpha \min(0, z), \alpha \text{ learnt, } 0.25 \text{ at first}",
            "He et al. 2015, equation 1",
        ),
        Activation("elu", nn.ELU, r"z \text{ if } z > 0 \text{ else } e^{z} - 1", "Clevert et al. 2016, equation 15, alpha = 1"),
        Activation(
            "selu",
            nn.SELU,
            r"1.0507 \, (z \text{ if } z > 0 \text{ else } 1.67326 (e^{z} - 1))",
            "Klambauer et al. 2017, equation 2",
            "lecun_normal",
        ),
        Activation("celu", nn.CELU, r"\max(0, z) + \min(0, e^{z} - 1)", "Barron 2017, alpha = 1"),
        Activation("gelu", nn.GELU, r"z \, \tfrac{1}{2} (1 + \mathrm{erf}(z / \sqrt{2}))", "Hendrycks and Gimpel 2016, section 2"),
        Activation("silu", nn.SiLU, r"z \, s(z)", "Elfwing et al. 2018; called swish by Ramachandran et al. 2017"),
        Activation("mish", nn.Mish, r"z \tanh(\ln(1 + e^{z}))", "Misra 2020, equation 1"),
        Activation("sigmoid", nn.Sigmoid, r"s(z) = 1 / (1 + e^{-z})", "the logistic function", _S_SHAPED),
        Activation("tanh", nn.Tanh, r"(e^{z} - e^{-z}) / (e^{z} + e^{-z})", "the hyperbolic tangent", _S_SHAPED),
        Activation("softplus", nn.Softplus, r"\ln(1 + e^{z})", "Dugas et al. 2001"),
        Activation("softsign", nn.Softsign, r"z / (1 + |z|)", "Bergstra et al. 2009", _S_SHAPED),
        Activation("hardtanh", nn.Hardtanh, r"\min(\max(-1, z), 1)", "Collobert 2004", _S_SHAPED),
        Activation("hardsigmoid", nn.Hardsigmoid, r"\min(\max(0, z / 6 + 1 / 2), 1)", "Howard et al. 2019, section 5.2", _S_SHAPED),
        Activation("hardswish", nn.Hardswish, r"z \min(\max(0, z / 6 + 1 / 2), 1)", "Howard et al. 2019, section 5.2"),
        Activation("logsigmoid", nn.LogSigmoid, r"\ln s(z) = -\ln(1 + e^{-z})", "the logarithm of the logistic function", _S_SHAPED),
        Activation("tanhshrink", nn.Tanhshrink, r"z - \tanh(z)", "PyTorch, torch.nn.Tanhshrink", _S_SHAPED),
        Activation("softshrink", nn.Softshrink, r"\mathrm{sign}(z) \max(0, |z| - 0.5)", "Donoho 1995, threshold 0.5", _S_SHAPED),
        Activation(
            "hardshrink", nn.Hardshrink, r"z \text{ if } |z| > 0.5 \text{ else } 0", "Donoho and Johnstone 1994, threshold 0.5", _S_SHAPED
        ),
    )
}
ALIASES = {
    "swish": "silu",
    "linear": "identity",
    "none": "identity",
    "logistic": "sigmoid",
    "hard_swish": "hardswish",
    "hard_sigmoid": "hardsigmoid",
}

_REFUSED: dict[str, tuple[Text, Text]] = {
    "softmax": (
        text("softmax is not an activation of a hidden layer: it makes the units of a layer compete for a sum of 1"),
        text("leave it out: cross_entropy takes the scores before softmax (logits) and applies it itself"),
    ),
    "step": (
        text("a step function has the derivative zero wherever it has one, so that no gradient passes through it"),
        text("use sigmoid, its smooth form, or relu"),
    ),
}
_REFUSED |= {"log_softmax": _REFUSED["softmax"], "logsoftmax": _REFUSED["softmax"], "softmin": _REFUSED["softmax"]}
_REFUSED |= {"heaviside": _REFUSED["step"], "sign": _REFUSED["step"], "threshold": _REFUSED["step"]}


class FunctionActivation(nn.Module):
    """A user's own function of one tensor, such as `torch.sin`, as a module."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, z: Tensor) -> Tensor:
        return self.function(z)

    def extra_repr(self) -> str:
        return getattr(self.function, "__name__", repr(self.function))


def activation_name(name: str) -> str:
    """The table's own name for `name` ("Swish" gives "silu").

    Raises:
        OptionError: no such activation, or one that cannot work in a hidden layer.
    """
    key = name.strip().lower().replace("-", "_")
    key = ALIASES.get(key, key)
    if key in ACTIVATIONS:
        return key
    got = text("activation is {name!r}", name=name)
    if key in _REFUSED:
        raise OptionError(got, *_REFUSED[key])
    raise OptionError(
        got, text("one of the {count} activation functions", count=len(ACTIVATIONS)), did_you_mean(name, [*ACTIVATIONS, *ALIASES])
    )


def build_activation(activation: Any) -> nn.Module:
    """A fresh module from a name, a module class, a module (copied), a `functools.partial` of a class, or a function of one tensor.

    Raises:
        OptionError: an unknown name. OptionTypeError: something that cannot be called.
    """
    if isinstance(activation, str):
        return ACTIVATIONS[activation_name(activation)].build()
    if isinstance(activation, nn.Module):
        return copy.deepcopy(activation)
    factory: Any = activation.func if isinstance(activation, functools.partial) else activation
    if isinstance(factory, type) and issubclass(factory, nn.Module):
        return activation()
    if callable(activation):
        return FunctionActivation(cast("Callable[[Tensor], Tensor]", activation))
    raise OptionTypeError(
        text("activation is {value!r}", value=activation),
        text("a name, a torch module, or a function of one tensor"),
        text("give for example activation='relu' or activation=torch.nn.GELU"),
    )


def _constant_zero(weight: Tensor) -> None:
    nn.init.zeros_(weight)


# Each fills a weight in place from torch's global generator. fan_in and fan_out count the connections into and out of a unit.
INITIALIZERS: dict[str, tuple[Callable[[Tensor], Any], str, str]] = {
    "he_normal": (
        functools.partial(nn.init.kaiming_normal_, nonlinearity="relu"),
        r"w \sim N(0, 2 / \mathrm{fan}_{in})",
        "He et al. 2015, equation 10",
    ),
    "he_uniform": (
        functools.partial(nn.init.kaiming_uniform_, nonlinearity="relu"),
        r"w \sim U(-a, a), a = \sqrt{6 / \mathrm{fan}_{in}}",
        "He et al. 2015, equation 10",
    ),
    "xavier_uniform": (
        nn.init.xavier_uniform_,
        r"w \sim U(-a, a), a = \sqrt{6 / (\mathrm{fan}_{in} + \mathrm{fan}_{out})}",
        "Glorot and Bengio 2010, equation 16",
    ),
    "xavier_normal": (
        nn.init.xavier_normal_,
        r"w \sim N(0, 2 / (\mathrm{fan}_{in} + \mathrm{fan}_{out}))",
        "Glorot and Bengio 2010, equation 12",
    ),
    "lecun_normal": (
        functools.partial(nn.init.kaiming_normal_, nonlinearity="linear"),
        r"w \sim N(0, 1 / \mathrm{fan}_{in})",
        "LeCun et al. 1998, Efficient BackProp, equation 16",
    ),
    "orthogonal": (nn.init.orthogonal_, r"W W^T = I \text{ or } W^T W = I", "Saxe et al. 2014"),
    "normal": (functools.partial(nn.init.normal_, std=0.01), r"w \sim N(0, 0.01^2)", "Krizhevsky et al. 2012, section 5"),
    "uniform": (functools.partial(nn.init.uniform_, a=-0.05, b=0.05), r"w \sim U(-0.05, 0.05)", "a fixed small range"),
    "zeros": (_constant_zero, r"w = 0", "fits layers without hidden units only: equal hidden units stay equal"),
}


def initialize(module: nn.Module, initialization: str = "auto", activation: Any = "relu") -> None:
    """Fill the weights of all linear and convolution layers in `module` in place; biases become 0.

    "auto" takes what suits the activation: He for the rectifier family, Xavier for S-shaped functions, LeCun for selu. The draws come
    from torch's global generator, so that a seed set outside decides them.

    Raises:
        OptionError: an unknown initialiser.
    """
    if initialization == "auto":
        known = isinstance(activation, str)
        initialization = ACTIVATIONS[activation_name(activation)].initialization if known else "he_normal"
    if initialization not in INITIALIZERS:
        raise OptionError(
            text("initialization is {name!r}", name=initialization),
            text("one of the {count} initialisers", count=len(INITIALIZERS) + 1),
            did_you_mean(initialization, ["auto", *INITIALIZERS]),
        )
    fill = INITIALIZERS[initialization][0]
    for layer in module.modules():
        if isinstance(layer, (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)):
            with torch.no_grad():
                fill(layer.weight)
                if layer.bias is not None:
                    layer.bias.zero_()
