"""Running sums and products, differences, integrals by the trapezoidal rule."""

from __future__ import annotations

import numpy as np
import torch

from pellucid.core.language import text
from pellucid.derivation.registry import rule, unbroadcast
from pellucid.derivation.rules.casts import converted

_SOURCE = "Blelloch 1990, Prefix sums and their applications, section 1.1"
_WHERE = {"i": text("a position along the dimension"), "j": text("another position along it")}


def from_the_end(array, axis):
    """The running sum from the last position backwards."""
    return np.flip(np.cumsum(np.flip(array, axis), axis=axis), axis)


@rule(
    "cumsum", function=torch.cumsum,
    forward=r"Y_{i} = \sum_{j \leq i} X_{j}", backward={"input": r"\bar{X}_{j} = \sum_{i \geq j} \bar{Y}_{i}"},
    symbols={"X": "input", "Y": "output"}, where=_WHERE, source=_SOURCE,
)  # fmt: skip
class cumsum:
    def forward(input, dim, *, dtype=None):
        return np.cumsum(input if dtype is None else converted(input, dtype), axis=dim if input.ndim else 0).reshape(input.shape)

    def backward(dY, Y, input, dim, *, dtype=None):
        return {"input": from_the_end(dY, dim) if input.ndim else dY}


@rule(
    "cumprod", function=torch.cumprod,
    forward=r"Y_{i} = \prod_{j \leq i} X_{j}",
    backward={"input": r"\bar{X}_{j} = \sum_{i \geq j} \bar{Y}_{i} \prod_{k \leq i,\, k \neq j} X_{k}"},
    symbols={"X": "input", "Y": "output"}, where={**_WHERE, "k": text("the other positions up to i")}, source=_SOURCE,
)  # fmt: skip
class cumprod:
    def forward(input, dim, *, dtype=None):
        return np.cumprod(input if dtype is None else converted(input, dtype), axis=dim if input.ndim else 0).reshape(input.shape)

    def backward(dY, Y, input, dim, *, dtype=None):
        if not input.ndim:
            return {"input": dY}
        zero = input == 0
        first = zero & (np.cumsum(zero, axis=dim) == 1)  # only the first 0 of a row has a gradient by the products without it
        plain = from_the_end(dY * Y, dim) / np.where(zero, 1.0, input)
        without = np.cumprod(np.where(first, 1.0, input), axis=dim)
        return {"input": np.where(zero, np.where(first, from_the_end(dY * without, dim), 0.0), plain)}


@rule(
    "logcumsumexp", function=torch.logcumsumexp,
    forward=r"Y_{i} = \ln \sum_{j \leq i} e^{X_{j}}", backward={"input": r"\bar{X}_{j} = \sum_{i \geq j} e^{X_{j} - Y_{i}} \bar{Y}_{i}"},
    symbols={"X": "input", "Y": "output"}, where={**_WHERE, "e": text("Euler's number")}, source=_SOURCE,
)  # fmt: skip
class logcumsumexp:
    def forward(input, dim):
        return np.logaddexp.accumulate(np.atleast_1d(input), axis=dim).reshape(input.shape)

    def backward(dY, Y, input, dim):
        if not input.ndim:
            return {"input": dY}
        parts = []  # in logarithms, so that no exponential overflows: one sum for gradients above 0, one for those below
        for sign in (1, -1):
            logarithms = np.where(sign * dY > 0, np.log(np.abs(dY)), -np.inf) - Y
            parts.append(np.exp(np.flip(np.logaddexp.accumulate(np.flip(logarithms, dim), axis=dim), dim) + input))
        return {"input": parts[0] - parts[1]}


@rule(
    "diff", function=torch.diff,
    forward=r"Y = \Delta^{n} [\given{prepend}{P, }X\given{append}{, A}], \quad (\Delta Z)_{i} = Z_{i + 1} - Z_{i}",
    backward={
        "input": r"\bar{X} = (\Delta^{\top})^{n} \bar{Y}\given{prepend}{ \text{ at its own places}}",
        "prepend": r"\bar{P} = (\Delta^{\top})^{n} \bar{Y} \text{ at its own places}",
        "append": r"\bar{A} = (\Delta^{\top})^{n} \bar{Y} \text{ at its own places}",
    },
    symbols={"X": "input", "n": "n", "P": "prepend", "A": "append", "Y": "output"},
    where={"i": _WHERE["i"], r"\Delta": text("the difference of neighbours"), "Z": text("any tensor")},
    source="Burden and Faires 2011, Numerical Analysis, section 3.3",
)  # fmt: skip
class diff:
    def forward(input, n=1, dim=-1, prepend=None, append=None):
        if n == 0:
            return input
        return np.diff(np.concatenate([part for part in (prepend, input, append) if part is not None], axis=dim), min(n, 10**6), axis=dim)

    def backward(dY, Y, input, n=1, dim=-1, prepend=None, append=None):
        if n == 0:
            return {"input": dY}
        parts = [part for part in (prepend, input, append) if part is not None]
        whole, length = dY, sum(part.shape[dim] for part in parts)
        if n >= length:
            whole = np.zeros((*input.shape[: dim % input.ndim], length, *input.shape[dim % input.ndim + 1 :]))
        for _ in range(n if n < length else 0):  # the transpose of a difference: -dY_i + dY_{i-1}
            border = np.zeros_like(np.take(input, [0], axis=dim))
            whole = -np.diff(np.concatenate([border, whole, border], axis=dim), axis=dim)
        pieces = iter(np.split(whole, np.cumsum([part.shape[dim] for part in parts])[:-1], axis=dim))
        names = (("prepend", prepend), ("input", input), ("append", append))
        return {name: next(pieces) if part is not None else None for name, part in names}


def _heights(y, x, dx, dim):
    """The widths of the strips, broadcast along the dimension of y."""
    if x is None:
        return dx
    widths = np.diff(x, axis=-1 if x.ndim == 1 else dim)
    return widths.reshape(-1, *(1,) * (y.ndim - dim % y.ndim - 1)) if x.ndim == 1 else widths


def _trapezoid(name, total):
    """The integral over a dimension, or the running integral."""

    class body:
        def forward(y, x=None, *, dx=1, dim=-1):
            along = np.moveaxis(y, dim, 0)
            strips = np.moveaxis(_heights(y, x, dx, dim) * np.moveaxis(along[1:] + along[:-1], 0, dim) / 2, dim, 0)
            return strips.sum(axis=0) if total else np.moveaxis(np.cumsum(strips, axis=0), 0, dim)

        def backward(dY, Y, y, x=None, *, dx=1, dim=-1):
            along, axis = np.moveaxis(y, dim, 0), dim % y.ndim
            strips = np.broadcast_to(dY, (len(along) - 1, *dY.shape)) if total else from_the_end(np.moveaxis(dY, dim, 0), 0)
            arriving = np.moveaxis(strips, 0, dim) / 2  # at (y_i + y_{i+1}) times the width
            of_y = np.zeros(along.shape)
            weighted = np.moveaxis(arriving * _heights(y, x, dx, dim), dim, 0)
            of_y[1:] += weighted
            of_y[:-1] += weighted
            found = {"y": np.moveaxis(of_y, 0, dim)}
            if x is not None:
                of_width = np.moveaxis(arriving, dim, 0) * (along[1:] + along[:-1])
                of_width = of_width.reshape(len(of_width), -1).sum(axis=1) if x.ndim == 1 else np.moveaxis(of_width, 0, axis)
                place = -1 if x.ndim == 1 else axis
                shape = list(x.shape)
                shape[place] -= 1
                of_width = np.moveaxis(unbroadcast(of_width, tuple(shape)), place, 0)
                of_x = np.zeros((len(of_width) + 1, *of_width.shape[1:]))
                of_x[1:] += of_width
                of_x[:-1] -= of_width
                found["x"] = np.moveaxis(of_x, 0, place)
            return found

    body.__module__ = __name__
    upper, running = ("n", "") if total else ("i", "_{i}")
    return rule(
        name, function=getattr(torch, name),
        forward=rf"Y{running} = \sum_{{j=2}}^{{{upper}}} \given{{!x}}{{h}}\given{{x}}{{(x_{{j}} - x_{{j-1}})}} "
        r"\frac{y_{j} + y_{j-1}}{2}",
        backward={
            "y": r"\bar{y}_{j} = \frac{1}{2} (h_{j} \bar{S}_{j} + h_{j+1} \bar{S}_{j+1})",
            "x": r"\bar{x}_{j} = \frac{y_{j} + y_{j-1}}{2} \bar{S}_{j} - \frac{y_{j+1} + y_{j}}{2} \bar{S}_{j+1}",
        },
        symbols={"y": "y", "x": "x", "h": "dx", "Y": "output"},
        where={
            "j": text("a position along the dimension"), "S": text("the strip that ends at a position"),
            **({"n": text("the last position")} if total else {"i": text("a position along the dimension")}),
        },
        source="Burden and Faires 2011, Numerical Analysis, section 4.3",
    )(body)  # fmt: skip


_trapezoid("trapezoid", True)
_trapezoid("cumulative_trapezoid", False)
