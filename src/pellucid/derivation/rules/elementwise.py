"""Arithmetic with broadcasting: the four operations and their reflected forms.

Where an argument is repeated by broadcasting, its gradient is summed over the repetitions (`unbroadcast`).
"""

from __future__ import annotations

import numpy as np
import torch

from pellucid.core.language import text
from pellucid.derivation.registry import Unsupported, rule, unbroadcast

_SOURCE = "Deisenroth, Faisal and Ong 2020, Mathematics for Machine Learning, section 5.2.3"
_BROADCAST = text("Where an argument is broadcast, its gradient is summed over the repetitions.")


@rule(
    "add", function=torch.add,
    forward=r"Y = A + \given{alpha!=1}{\alpha} B",
    backward={"input": r"\bar{A} = \bar{Y}", "other": r"\bar{B} = \given{alpha!=1}{\alpha} \bar{Y}"},
    symbols={"A": "input", "B": "other", "Y": "output", r"\alpha": "alpha"},
    source=_SOURCE, note=_BROADCAST,
)  # fmt: skip
class add:
    def forward(input, other, *, alpha=1):
        return input + (other if alpha == 1 else alpha * other)

    def backward(dY, Y, input, other, *, alpha=1):
        return {"input": unbroadcast(dY, np.shape(input)), "other": unbroadcast(alpha * dY, np.shape(other))}


@rule(
    "sub", function=torch.sub,
    forward=r"Y = A - \given{alpha!=1}{\alpha} B",
    backward={"input": r"\bar{A} = \bar{Y}", "other": r"\bar{B} = -\given{alpha!=1}{\alpha} \bar{Y}"},
    symbols={"A": "input", "B": "other", "Y": "output", r"\alpha": "alpha"},
    source=_SOURCE, note=_BROADCAST,
)  # fmt: skip
class sub:
    def forward(input, other, *, alpha=1):
        return input - (other if alpha == 1 else alpha * other)

    def backward(dY, Y, input, other, *, alpha=1):
        return {"input": unbroadcast(dY, np.shape(input)), "other": unbroadcast(-alpha * dY, np.shape(other))}


@rule(
    "rsub", function=torch.rsub,
    forward=r"Y = B - \given{alpha!=1}{\alpha} A",
    backward={"input": r"\bar{A} = -\given{alpha!=1}{\alpha} \bar{Y}", "other": r"\bar{B} = \bar{Y}"},
    symbols={"A": "input", "B": "other", "Y": "output", r"\alpha": "alpha"},
    source=_SOURCE, note=_BROADCAST,
)  # fmt: skip
class rsub:
    def forward(input, other, alpha=1):
        return other - (input if alpha == 1 else alpha * input)

    def backward(dY, Y, input, other, alpha=1):
        return {"input": unbroadcast(-alpha * dY, np.shape(input)), "other": unbroadcast(dY, np.shape(other))}


@rule(
    "mul", function=torch.mul,
    forward=r"Y = A \odot B",
    backward={"input": r"\bar{A} = \bar{Y} \odot B", "other": r"\bar{B} = \bar{Y} \odot A"},
    symbols={"A": "input", "B": "other", "Y": "output"},
    source=_SOURCE, note=_BROADCAST,
)  # fmt: skip
class mul:
    def forward(input, other):
        return input * other

    def backward(dY, Y, input, other):
        return {"input": unbroadcast(dY * other, np.shape(input)), "other": unbroadcast(dY * input, np.shape(other))}


@rule(
    "div", function=torch.div,
    forward=r"Y = \given{rounding_mode}{\operatorname{round}(} A / B \given{rounding_mode}{)}",
    backward={
        "input": r"\bar{A} = \given{!rounding_mode}{\bar{Y} / B}\given{rounding_mode}{0}",
        "other": r"\bar{B} = \given{!rounding_mode}{-\bar{Y} \odot A / B^{2}}\given{rounding_mode}{0}",
    },
    symbols={"A": "input", "B": "other", "Y": "output"},
    source=_SOURCE, note=_BROADCAST,
)  # fmt: skip
class div:
    def forward(input, other, *, rounding_mode=None):
        if rounding_mode is None:
            return np.true_divide(input, other)
        if rounding_mode == "floor":
            return np.floor_divide(input, other)
        quotient = np.trunc(np.true_divide(input, other))
        return quotient if np.result_type(input, other).kind == "f" else quotient.astype(np.result_type(input, other))

    def backward(dY, Y, input, other, *, rounding_mode=None):
        if rounding_mode is not None:  # piecewise constant
            return {"input": np.zeros(np.shape(input)), "other": np.zeros(np.shape(other))}
        return {"input": unbroadcast(dY / other, np.shape(input)), "other": unbroadcast(-dY * input / np.square(other), np.shape(other))}


@rule(
    "rdiv",
    forward=r"Y = B / A",
    backward={"input": r"\bar{A} = -\bar{Y} \odot B / A^{2}", "other": r"\bar{B} = \bar{Y} / A"},
    symbols={"A": "input", "B": "other", "Y": "output"},
    source=_SOURCE, note=_BROADCAST, function=lambda input, other: other / input,
)  # fmt: skip
class rdiv:
    def forward(input, other):
        return np.true_divide(other, input)

    def backward(dY, Y, input, other):
        return {"input": unbroadcast(-dY * other / np.square(input), np.shape(input)), "other": unbroadcast(dY / input, np.shape(other))}


@rule(
    "neg", function=torch.neg,
    forward=r"Y = -X", backward={"input": r"\bar{X} = -\bar{Y}"}, symbols={"X": "input", "Y": "output"}, source=_SOURCE,
)  # fmt: skip
class neg:
    def forward(input):
        if np.asarray(input).dtype == bool:
            raise Unsupported(text("the negative of a mask"), text("numbers"), text("use logical_not"))
        return -input

    def backward(dY, Y, input):
        return {"input": -dY}
