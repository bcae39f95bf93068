"""Comparisons and logic: truth values and masks, which have no gradient."""

from __future__ import annotations

import numpy as np
import torch

from pellucid.derivation.registry import rule

_SOURCE = "Graham, Knuth and Patashnik 1994, Concrete Mathematics, section 2.1 (Iverson's brackets)"
_BITS = "Knuth 2011, The Art of Computer Programming, volume 4A, section 7.1.3"


def _of_two(name, function, y, f, source=_SOURCE, swapped=False):
    def forward(input, other):
        return f(other, input) if swapped else f(input, other)

    def backward(dY, Y, input, other):
        return {}

    return rule(
        name, function=function, forward=f"Y = {y}", backward={}, symbols={"A": "input", "B": "other", "Y": "output"}, source=source
    )(type(name, (), {"forward": forward, "backward": backward, "__module__": __name__}))


def _of_one(name, function, y, f, source=_SOURCE):
    def forward(input):
        return f(np.asarray(input))

    def backward(dY, Y, input):
        return {}

    return rule(name, function=function, forward=f"Y = {y}", backward={}, symbols={"X": "input", "Y": "output"}, source=source)(
        type(name, (), {"forward": forward, "backward": backward, "__module__": __name__})
    )


eq = _of_two("eq", torch.eq, "[A = B]", np.equal)
ne = _of_two("ne", torch.ne, r"[A \ne B]", np.not_equal)
lt = _of_two("lt", torch.lt, "[A < B]", np.less)
le = _of_two("le", torch.le, r"[A \le B]", np.less_equal)
gt = _of_two("gt", torch.gt, "[A > B]", np.greater)
ge = _of_two("ge", torch.ge, r"[A \ge B]", np.greater_equal)
logical_and = _of_two("logical_and", torch.logical_and, r"[A \ne 0] \wedge [B \ne 0]", np.logical_and)
logical_or = _of_two("logical_or", torch.logical_or, r"[A \ne 0] \vee [B \ne 0]", np.logical_or)
logical_xor = _of_two("logical_xor", torch.logical_xor, r"[A \ne 0] \oplus [B \ne 0]", np.logical_xor)
logical_not = _of_one("logical_not", torch.logical_not, "[X = 0]", np.logical_not)
bitwise_and = _of_two("bitwise_and", torch.bitwise_and, r"A \wedge B", np.bitwise_and, _BITS)
bitwise_or = _of_two("bitwise_or", torch.bitwise_or, r"A \vee B", np.bitwise_or, _BITS)
bitwise_xor = _of_two("bitwise_xor", torch.bitwise_xor, r"A \oplus B", np.bitwise_xor, _BITS)
bitwise_not = _of_one("bitwise_not", torch.bitwise_not, r"\lnot X", np.invert, _BITS)
isnan = _of_one("isnan", torch.isnan, r"[X \ne X]", np.isnan)
isinf = _of_one("isinf", torch.isinf, r"[|X| = \infty]", np.isinf)
isfinite = _of_one("isfinite", torch.isfinite, r"[|X| < \infty]", np.isfinite)
isposinf = _of_one("isposinf", torch.isposinf, r"[X = \infty]", lambda x: x == np.inf)
isneginf = _of_one("isneginf", torch.isneginf, r"[X = -\infty]", lambda x: x == -np.inf)
signbit = _of_one("signbit", torch.signbit, "[X < 0]", lambda x: np.signbit(x) if x.dtype.kind == "f" else x < 0)
floor_divide = _of_two("floor_divide", torch.floor_divide, r"\lfloor A / B \rfloor", np.floor_divide)
rfloor_divide = _of_two(
    "rfloor_divide", lambda input, other: other // input, r"\lfloor B / A \rfloor", np.floor_divide, swapped=True
)  # fmt: skip


@rule(
    "isclose", function=torch.isclose,
    forward=r"Y = \bigl[ |A - B| \le \varepsilon + \rho \, |B| \bigr]", backward={},
    symbols={"A": "input", "B": "other", r"\rho": "rtol", r"\varepsilon": "atol", "Y": "output"}, source=_SOURCE,
)  # fmt: skip
class isclose:
    def forward(input, other, rtol=1e-5, atol=1e-8, equal_nan=False):
        return np.isclose(input, other, rtol=rtol, atol=atol, equal_nan=equal_nan)

    def backward(dY, Y, input, other, rtol=1e-5, atol=1e-8, equal_nan=False):
        return {}


@rule(
    "heaviside", function=torch.heaviside,
    forward=r"Y = [X > 0] + [X = 0] \odot V", backward={}, symbols={"X": "input", "V": "values", "Y": "output"},
    source="Bracewell 2000, The Fourier Transform and Its Applications, chapter 4",
)  # fmt: skip
class heaviside:
    def forward(input, values):
        return np.where(np.isnan(input), 0.0, np.heaviside(input, values)).astype(np.result_type(input, values))

    def backward(dY, Y, input, values):
        return {}
