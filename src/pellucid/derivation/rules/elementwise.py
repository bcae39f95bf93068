"""Arithmetic with broadcasting: the four operations and their reflected forms, remainders, powers, sums of products.

Where an argument is repeated by broadcasting, its gradient is summed over the repetitions (`unbroadcast`).
"""

from __future__ import annotations

import numpy as np
import torch

from pellucid.core.language import text
from pellucid.derivation.registry import Unsupported, rule, unbroadcast

_SOURCE = "Deisenroth, Faisal and Ong 2020, Mathematics for Machine Learning, section 5.2.1"
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


# -- remainders ----------------------------------------------------------------------------------------------------------------------------

_FLOOR = "Graham, Knuth and Patashnik 1994, Concrete Mathematics, section 3.4"


@rule(
    "remainder", function=torch.remainder,
    forward=r"Y = A - B \odot \lfloor A / B \rfloor",
    backward={"input": r"\bar{A} = \bar{Y}", "other": r"\bar{B} = -\bar{Y} \odot \lfloor A / B \rfloor"},
    symbols={"A": "input", "B": "other", "Y": "output"}, source=_FLOOR, note=_BROADCAST,
)  # fmt: skip
class remainder:
    def forward(input, other):
        return np.remainder(input, other)

    def backward(dY, Y, input, other):
        return {"input": unbroadcast(dY, np.shape(input)), "other": unbroadcast(-dY * np.floor(input / other), np.shape(other))}


@rule(
    "rremainder",
    forward=r"Y = B - A \odot \lfloor B / A \rfloor",
    backward={"input": r"\bar{A} = -\bar{Y} \odot \lfloor B / A \rfloor", "other": r"\bar{B} = \bar{Y}"},
    symbols={"A": "input", "B": "other", "Y": "output"}, source=_FLOOR, note=_BROADCAST, function=lambda input, other: other % input,
)  # fmt: skip
class rremainder:
    def forward(input, other):
        return np.remainder(other, input)

    def backward(dY, Y, input, other):
        return {"input": unbroadcast(-dY * np.floor(other / input), np.shape(input)), "other": unbroadcast(dY, np.shape(other))}


@rule(
    "fmod", function=torch.fmod,
    forward=r"Y = A - B \odot \operatorname{trunc}(A / B)",
    backward={"input": r"\bar{A} = \bar{Y}", "other": r"\bar{B} = -\bar{Y} \odot \operatorname{trunc}(A / B)"},
    symbols={"A": "input", "B": "other", "Y": "output"}, source=_FLOOR, note=_BROADCAST,
)  # fmt: skip
class fmod:
    def forward(input, other):
        return np.fmod(input, other)

    def backward(dY, Y, input, other):
        return {"input": unbroadcast(dY, np.shape(input)), "other": unbroadcast(-dY * np.trunc(input / other), np.shape(other))}


# -- powers --------------------------------------------------------------------------------------------------------------------------------

_POWERS = "Spivak 2008, Calculus, chapter 18"
_ZERO_POWERS = text("The exponent 0 has gradient 0 in the base; the base 0 has gradient 0 in an exponent that is not negative.")


def _power(base, exponent):
    return np.power(base, exponent) if np.result_type(base, exponent).kind == "f" else np.power(np.asarray(base), np.asarray(exponent))


def _in_base(base, exponent):
    """The derivative of base^exponent in the base."""
    slope = exponent * np.power(np.asarray(base, dtype=float), np.subtract(exponent, 1.0))
    return np.where(np.equal(exponent, 0), 0.0, slope)


def _in_exponent(base, exponent, power):
    """The derivative of base^exponent in the exponent."""
    zero = np.equal(base, 0) & np.greater_equal(exponent, 0)
    return np.where(zero, 0.0, power * np.log(np.where(zero, 1.0, base)))


@rule(
    "pow", function=torch.pow,
    forward=r"Y = A^{B}",
    backward={"input": r"\bar{A} = \bar{Y} \odot B \odot A^{B - 1}", "exponent": r"\bar{B} = \bar{Y} \odot Y \odot \ln A"},
    symbols={"A": "input", "B": "exponent", "Y": "output"}, source=_POWERS, note=_ZERO_POWERS,
)  # fmt: skip
class pow_:
    def forward(input, exponent):
        return _power(input, exponent)

    def backward(dY, Y, input, exponent):
        return {
            "input": unbroadcast(dY * _in_base(input, exponent), np.shape(input)),
            "exponent": unbroadcast(dY * _in_exponent(input, exponent, Y), np.shape(exponent))
            if isinstance(exponent, np.ndarray)
            else None,
        }


@rule(
    "rpow", function=lambda input, other: other**input,
    forward=r"Y = B^{A}",
    backward={"input": r"\bar{A} = \bar{Y} \odot Y \odot \ln B", "other": r"\bar{B} = \bar{Y} \odot A \odot B^{A - 1}"},
    symbols={"A": "input", "B": "other", "Y": "output"}, source=_POWERS, note=_ZERO_POWERS,
)  # fmt: skip
class rpow:
    def forward(input, other):
        return _power(other, input)

    def backward(dY, Y, input, other):
        return {
            "input": unbroadcast(dY * _in_exponent(other, input, Y), np.shape(input)),
            "other": unbroadcast(dY * _in_base(other, input), np.shape(other)) if isinstance(other, np.ndarray) else None,
        }


@rule(
    "float_power", function=torch.float_power,
    forward=r"Y = A^{B}",
    backward={"input": r"\bar{A} = \bar{Y} \odot B \odot A^{B - 1}", "exponent": r"\bar{B} = \bar{Y} \odot Y \odot \ln A"},
    symbols={"A": "input", "B": "exponent", "Y": "output"}, source=_POWERS, note=_ZERO_POWERS,
)  # fmt: skip
class float_power:
    def forward(input, exponent):
        return np.float_power(input, exponent)

    def backward(dY, Y, input, exponent):
        return pow_.backward(dY, Y, input, exponent)


@rule(
    "ldexp", function=torch.ldexp,
    forward=r"Y = A \odot 2^{B}",
    backward={"input": r"\bar{A} = \bar{Y} \odot 2^{B}", "other": r"\bar{B} = \bar{Y} \odot Y \ln 2"},
    symbols={"A": "input", "B": "other", "Y": "output"}, source=_POWERS, note=_BROADCAST,
)  # fmt: skip
class ldexp:
    def forward(input, other):
        return input * np.exp2(other)

    def backward(dY, Y, input, other):
        return {
            "input": unbroadcast(dY * np.exp2(other), np.shape(input)),
            "other": unbroadcast(dY * Y * np.log(2), np.shape(other)),
        }


# -- sums of products ----------------------------------------------------------------------------------------------------------------------


@rule(
    "lerp", function=torch.lerp,
    forward=r"Y = A + W \odot (B - A)",
    backward={
        "input": r"\bar{A} = \bar{Y} \odot (1 - W)", "end": r"\bar{B} = \bar{Y} \odot W", "weight": r"\bar{W} = \bar{Y} \odot (B - A)",
    },
    symbols={"A": "input", "B": "end", "W": "weight", "Y": "output"}, source=_SOURCE, note=_BROADCAST,
)  # fmt: skip
class lerp:
    def forward(input, end, weight):
        return np.where(np.abs(weight) < 0.5, input + weight * (end - input), end - (end - input) * (1 - weight))

    def backward(dY, Y, input, end, weight):
        return {
            "input": unbroadcast(dY * (1 - weight), input.shape),
            "end": unbroadcast(dY * weight, end.shape),
            "weight": unbroadcast(dY * (end - input), np.shape(weight)),
        }


@rule(
    "addcmul", function=torch.addcmul,
    forward=r"Y = X + \given{value!=1}{v \, }A \odot B",
    backward={
        "input": r"\bar{X} = \bar{Y}", "tensor1": r"\bar{A} = \given{value!=1}{v \, }\bar{Y} \odot B",
        "tensor2": r"\bar{B} = \given{value!=1}{v \, }\bar{Y} \odot A",
    },
    symbols={"X": "input", "A": "tensor1", "B": "tensor2", "v": "value", "Y": "output"}, source=_SOURCE, note=_BROADCAST,
)  # fmt: skip
class addcmul:
    def forward(input, tensor1, tensor2, *, value=1):
        return input + value * tensor1 * tensor2

    def backward(dY, Y, input, tensor1, tensor2, *, value=1):
        return {
            "input": unbroadcast(dY, input.shape),
            "tensor1": unbroadcast(value * dY * tensor2, tensor1.shape),
            "tensor2": unbroadcast(value * dY * tensor1, tensor2.shape),
        }


@rule(
    "addcdiv", function=torch.addcdiv,
    forward=r"Y = X + \given{value!=1}{v \, }A / B",
    backward={
        "input": r"\bar{X} = \bar{Y}", "tensor1": r"\bar{A} = \given{value!=1}{v \, }\bar{Y} / B",
        "tensor2": r"\bar{B} = -\given{value!=1}{v \, }\bar{Y} \odot A / B^{2}",
    },
    symbols={"X": "input", "A": "tensor1", "B": "tensor2", "v": "value", "Y": "output"}, source=_SOURCE, note=_BROADCAST,
)  # fmt: skip
class addcdiv:
    def forward(input, tensor1, tensor2, *, value=1):
        return input + value * tensor1 / tensor2

    def backward(dY, Y, input, tensor1, tensor2, *, value=1):
        return {
            "input": unbroadcast(dY, input.shape),
            "tensor1": unbroadcast(value * dY / tensor2, tensor1.shape),
            "tensor2": unbroadcast(-value * dY * tensor1 / np.square(tensor2), tensor2.shape),
        }
