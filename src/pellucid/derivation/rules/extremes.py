"""The larger, the smaller, and choices between two: gradients go where the value came from."""

from __future__ import annotations

import numpy as np
import torch

from pellucid.core.language import text
from pellucid.derivation.registry import rule, unbroadcast

_SUBGRADIENT = "Boyd and Vandenberghe 2004, Convex Optimization, section 3.2.3"
_BROADCAST = text("Where an argument is broadcast, its gradient is summed over the repetitions.")
_TRUTHS = (np.bool_, np.uint8, torch.bool, torch.uint8)
_SHARED = text("Where both are equal each gets half of the gradient.")


def _extreme(name, function, letters, choose, wins):
    def forward(input, other):
        return choose(input, other)

    def backward(dY, Y, input, other):
        half = np.where(np.equal(input, other), dY / 2, dY)
        return {
            "input": unbroadcast(np.where(wins(other, input), 0.0, half), np.shape(input)),
            "other": unbroadcast(np.where(wins(input, other), 0.0, half), np.shape(other)),
        }

    sign = ">" if letters == "max" else "<"
    return rule(
        name, function=function,
        forward=rf"Y = \{letters}(A, B)",
        backward={
            "input": rf"\bar{{A}} = \bar{{Y}} \odot \bigl( [A {sign} B] + \tfrac{{1}}{{2}} [A = B] \bigr)",
            "other": rf"\bar{{B}} = \bar{{Y}} \odot \bigl( [B {sign} A] + \tfrac{{1}}{{2}} [A = B] \bigr)",
        },
        symbols={"A": "input", "B": "other", "Y": "output"}, source=_SUBGRADIENT, note=_SHARED,
    )(type(name, (), {"forward": forward, "backward": backward, "__module__": __name__}))  # fmt: skip


maximum = _extreme("maximum", torch.maximum, "max", np.maximum, np.greater)
minimum = _extreme("minimum", torch.minimum, "min", np.minimum, np.less)


def _number(name, function, letters, choose, not_worse):
    def forward(input, other):
        return choose(input, other)

    def backward(dY, Y, input, other):
        first = not_worse(input, other) | np.isnan(other)
        return {
            "input": unbroadcast(np.where(first, dY, 0.0), np.shape(input)),
            "other": unbroadcast(np.where(first, 0.0, dY), np.shape(other)),
        }

    sign, less = (r"\ge", "<") if letters == "max" else (r"\le", ">")
    return rule(
        name, function=function,
        forward=rf"Y = \{letters}(A, B)",
        backward={"input": rf"\bar{{A}} = \bar{{Y}} \odot [A {sign} B]", "other": rf"\bar{{B}} = \bar{{Y}} \odot [A {less} B]"},
        symbols={"A": "input", "B": "other", "Y": "output"}, source=_SUBGRADIENT,
        note=text("Where one is no number (NaN) it is the other; where both are equal the first gets the gradient."),
    )(type(name, (), {"forward": forward, "backward": backward, "__module__": __name__}))  # fmt: skip


fmax = _number("fmax", torch.fmax, "max", np.fmax, np.greater_equal)
fmin = _number("fmin", torch.fmin, "min", np.fmin, np.less_equal)

_INSIDE = text("At a bound the gradient passes.")


@rule(
    "clamp", function=torch.clamp,
    forward=r"Y = \given{max}{\min(}\given{min}{\max(}X\given{min}{, a)}\given{max}{, b)}",
    backward={
        "input": r"\bar{X} = \bar{Y}\given{min}{ \odot [X \ge a]}\given{max}{ \odot [X \le b]}",
        "min": r"\bar{a} = \bar{Y} \odot [X < a]\given{max}{ \odot [a < b]}",
        "max": r"\bar{b} = \bar{Y} \odot \given{!min}{[X > b]}\given{min}{[\max(X, a) > b]}",
    },
    symbols={"X": "input", "a": "min", "b": "max", "Y": "output"}, source=_SUBGRADIENT, note=_INSIDE,
)  # fmt: skip
class clamp:
    def forward(input, min=None, max=None):
        Y = input if min is None else np.maximum(input, min)
        return Y if max is None else np.minimum(Y, max)

    def backward(dY, Y, input, min=None, max=None):
        inside = np.ones((), dtype=bool) if min is None else np.greater_equal(input, min)
        inside = inside if max is None else inside & np.less_equal(input, max)
        found = {"input": unbroadcast(np.where(inside, dY, 0.0), input.shape)}
        if isinstance(min, np.ndarray):
            below = np.less(input, min) & (True if max is None else np.less(min, max))
            found["min"] = unbroadcast(np.where(below, dY, 0.0), min.shape)
        if isinstance(max, np.ndarray):
            above = np.greater(input, max) | (False if min is None else np.less(max, min))
            found["max"] = unbroadcast(np.where(above, dY, 0.0), max.shape)
        return found


@rule(
    "clamp_min", function=torch.clamp_min,
    forward=r"Y = \max(X, a)",
    backward={"input": r"\bar{X} = \bar{Y} \odot [X \ge a]", "min": r"\bar{a} = \bar{Y} \odot [X < a]"},
    symbols={"X": "input", "a": "min", "Y": "output"}, source=_SUBGRADIENT, note=_INSIDE,
)  # fmt: skip
class clamp_min:
    def forward(input, min):
        return clamp.forward(input, min)

    def backward(dY, Y, input, min):
        return clamp.backward(dY, Y, input, min)


@rule(
    "clamp_max", function=torch.clamp_max,
    forward=r"Y = \min(X, b)",
    backward={"input": r"\bar{X} = \bar{Y} \odot [X \le b]", "max": r"\bar{b} = \bar{Y} \odot [X > b]"},
    symbols={"X": "input", "b": "max", "Y": "output"}, source=_SUBGRADIENT, note=_INSIDE,
)  # fmt: skip
class clamp_max:
    def forward(input, max):
        return clamp.forward(input, None, max)

    def backward(dY, Y, input, max):
        return clamp.backward(dY, Y, input, None, max)


@rule(
    "where", function=torch.where,
    forward=r"Y_{i} = \begin{cases} A_{i} & C_{i} \\ B_{i} & \lnot C_{i} \end{cases}",
    backward={"input": r"\bar{A}_{i} = [C_{i}] \, \bar{Y}_{i}", "other": r"\bar{B}_{i} = [\lnot C_{i}] \, \bar{Y}_{i}"},
    symbols={"C": "condition", "A": "input", "B": "other", "Y": "output"}, where={"i": text("an entry")},
    source="Harris et al. 2020, Array programming with NumPy", note=_BROADCAST,
)  # fmt: skip
class where:
    def forward(condition, input, other):
        return np.where(condition, input, other)

    def backward(dY, Y, condition, input, other):
        return {
            "input": unbroadcast(np.where(condition, dY, 0.0), np.shape(input)),
            "other": unbroadcast(np.where(condition, 0.0, dY), np.shape(other)),
        }

    def arguments(bound):  # x.where(condition, other) has the tensor first
        if getattr(getattr(bound["condition"], "array", bound["condition"]), "dtype", None) not in _TRUTHS:
            bound["condition"], bound["input"] = bound["input"], bound["condition"]
        return bound
