"""Functions of two numbers, entry by entry, with broadcasting."""

from __future__ import annotations

import numpy as np
import torch

from pellucid.core.language import text
from pellucid.derivation.registry import rule, unbroadcast
from pellucid.derivation.rules.functions import special

_HANDBOOK = "Olver, Lozier, Boisvert and Clark 2010, NIST Handbook of Mathematical Functions, section "
_BROADCAST = text("Where an argument is broadcast, its gradient is summed over the repetitions.")
_PAIR = {"A": "input", "B": "other", "Y": "output"}


@rule(
    "hypot", function=torch.hypot,
    forward=r"Y = \sqrt{A^{2} + B^{2}}",
    backward={"input": r"\bar{A} = \bar{Y} \odot A / Y", "other": r"\bar{B} = \bar{Y} \odot B / Y"},
    symbols=_PAIR, source=_HANDBOOK + "1.9(i)", note=_BROADCAST,
)  # fmt: skip
class hypot:
    def forward(input, other):
        return np.hypot(input, other)

    def backward(dY, Y, input, other):
        return {"input": unbroadcast(dY * input / Y, np.shape(input)), "other": unbroadcast(dY * other / Y, np.shape(other))}


@rule(
    "atan2", function=torch.atan2,
    forward=r"Y = \operatorname{arg}(B + i A)",
    backward={"input": r"\bar{A} = \bar{Y} \odot \frac{B}{A^{2} + B^{2}}", "other": r"\bar{B} = -\bar{Y} \odot \frac{A}{A^{2} + B^{2}}"},
    symbols=_PAIR, where={"i": text("the imaginary unit")}, source=_HANDBOOK + "1.9(i)",
    note=text("The angle of the point (B, A). At the origin the gradient is 0."),
)  # fmt: skip
class atan2:
    def forward(input, other):
        return np.arctan2(input, other)

    def backward(dY, Y, input, other):
        square = np.square(input) + np.square(other)
        share = np.where(square == 0, 0.0, dY / np.where(square == 0, 1.0, square))
        return {"input": unbroadcast(share * other, np.shape(input)), "other": unbroadcast(-share * input, np.shape(other))}


@rule(
    "xlogy", function=torch.xlogy,
    forward=r"Y = A \odot \ln B",
    backward={"input": r"\bar{A} = \bar{Y} \odot \ln B", "other": r"\bar{B} = \bar{Y} \odot A / B"},
    symbols=_PAIR, source="Cover and Thomas 2006, Elements of Information Theory, section 2.1",
    note=text("0 ln 0 is 0, and its gradient too."),
)  # fmt: skip
class xlogy:
    def forward(input, other):
        return np.where(np.isnan(other), np.nan, np.where(np.equal(input, 0), 0.0, input * np.log(other)))

    def backward(dY, Y, input, other):
        zero = np.equal(input, 0) & np.less_equal(other, 0)
        return {
            "input": unbroadcast(np.where(zero, 0.0, dY * np.log(np.where(zero, 1.0, other))), np.shape(input)),
            "other": unbroadcast(dY * input / other, np.shape(other)),
        }


@rule(
    "xlog1py", function=torch.special.xlog1py,
    forward=r"Y = A \odot \ln(1 + B)",
    backward={"input": r"\bar{A} = \bar{Y} \odot \ln(1 + B)", "other": r"\bar{B} = \bar{Y} \odot \frac{A}{1 + B}"},
    symbols=_PAIR, source="Cover and Thomas 2006, Elements of Information Theory, section 2.1",
    note=text("0 ln 0 is 0, and its gradient too."),
)  # fmt: skip
class xlog1py:
    def forward(input, other):
        return np.where(np.isnan(other), np.nan, np.where(np.equal(input, 0), 0.0, input * np.log1p(other)))

    def backward(dY, Y, input, other):
        zero = np.equal(input, 0) & np.less_equal(other, -1)
        return {
            "input": unbroadcast(np.where(zero, 0.0, dY * np.log1p(np.where(zero, 0.0, other))), np.shape(input)),
            "other": unbroadcast(dY * input / np.add(other, 1), np.shape(other)),
        }


def _share(difference, base):
    """1 / (1 + base^difference): what one of two exponentials has of their sum."""
    return 1 / (1 + base**difference)


@rule(
    "logaddexp", function=torch.logaddexp,
    forward=r"Y = \ln(e^{A} + e^{B})",
    backward={
        "input": r"\bar{A} = \bar{Y} \odot \frac{e^{A}}{e^{A} + e^{B}}", "other": r"\bar{B} = \bar{Y} \odot \frac{e^{B}}{e^{A} + e^{B}}",
    },
    symbols=_PAIR, where={"e": text("Euler's number")}, source="Boyd and Vandenberghe 2004, Convex Optimization, section 3.1.5",
    note=_BROADCAST,
)  # fmt: skip
class logaddexp:
    def forward(input, other):
        return np.logaddexp(input, other)

    def backward(dY, Y, input, other):
        return {
            "input": unbroadcast(dY * _share(np.subtract(other, input), np.e), np.shape(input)),
            "other": unbroadcast(dY * _share(np.subtract(input, other), np.e), np.shape(other)),
        }


@rule(
    "logaddexp2", function=torch.logaddexp2,
    forward=r"Y = \log_{2}(2^{A} + 2^{B})",
    backward={
        "input": r"\bar{A} = \bar{Y} \odot \frac{2^{A}}{2^{A} + 2^{B}}", "other": r"\bar{B} = \bar{Y} \odot \frac{2^{B}}{2^{A} + 2^{B}}",
    },
    symbols=_PAIR, source="Boyd and Vandenberghe 2004, Convex Optimization, section 3.1.5", note=_BROADCAST,
)  # fmt: skip
class logaddexp2:
    def forward(input, other):
        return np.logaddexp2(input, other)

    def backward(dY, Y, input, other):
        return {
            "input": unbroadcast(dY * _share(np.subtract(other, input), 2.0), np.shape(input)),
            "other": unbroadcast(dY * _share(np.subtract(input, other), 2.0), np.shape(other)),
        }


@rule(
    "copysign", function=torch.copysign,
    forward=r"Y = |A| \odot \operatorname{sign}(B)",
    backward={"input": r"\bar{A} = \bar{Y} \odot Y / A", "other": r"\bar{B} = 0"},
    symbols=_PAIR, source="IEEE 2019, Standard for floating-point arithmetic 754, section 5.5.1",
    note=text("The sign of -0 is negative. At 0 the gradient is 0."),
)  # fmt: skip
class copysign:
    def forward(input, other):
        return np.copysign(input, other)

    def backward(dY, Y, input, other):
        ratio = np.where(np.equal(input, 0), 0.0, Y / np.where(np.equal(input, 0), 1.0, input))
        return {"input": unbroadcast(dY * ratio, np.shape(input)), "other": np.zeros(np.shape(other))}


@rule(
    "zeta", function=torch.special.zeta,
    forward=r"Y = \zeta(A, B) = \sum_{k=0}^{\infty} \frac{1}{(k + B)^{A}}",
    backward={"other": r"\bar{B} = -\bar{Y} \odot A \odot \zeta(A + 1, B)"},
    symbols=_PAIR, where={r"\zeta": text("Hurwitz's zeta function"), "k": text("the number of the term")}, source=_HANDBOOK + "25.11",
)  # fmt: skip
class zeta:
    def forward(input, other):
        return special().zeta(input * 1.0, other * 1.0)

    def backward(dY, Y, input, other):
        return {"other": unbroadcast(-dY * input * special().zeta(input + 1.0, other * 1.0), np.shape(other))}
