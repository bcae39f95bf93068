"""Products of matrices."""

from __future__ import annotations

import math

import numpy as np
import torch

from pellucid.core.language import text
from pellucid.derivation.registry import Unsupported, rule, unbroadcast


@rule(
    "linear", function=torch.nn.functional.linear,
    forward=r"Y = X W^{\top}\given{bias}{ + b}",
    backward={
        "input": r"\bar{X} = \bar{Y} W",
        "weight": r"\bar{W} = \bar{Y}^{\top} X",
        "bias": r"\bar{b} = \sum_{n} \bar{Y}_{n}",
    },
    symbols={"X": "input", "W": "weight", "b": "bias", "Y": "output"},
    where={"n": "the examples"},
    source="Goodfellow, Bengio and Courville 2016, Deep Learning, section 6.5.6",
)  # fmt: skip
class linear:
    def forward(input, weight, bias=None):
        if weight.ndim != 2:
            raise Unsupported(text("a weight of {n} dimensions", n=weight.ndim), text("a matrix"), text("use matmul"))
        return input @ weight.T + (0 if bias is None else bias)  # (..., in) (in, out) -> (..., out)

    def backward(dY, Y, input, weight, bias=None):
        n = math.prod(input.shape[:-1])
        rows, columns = dY.reshape(n, weight.shape[0]), input.reshape(n, weight.shape[1])
        return {"input": dY @ weight, "weight": rows.T @ columns, "bias": None if bias is None else rows.sum(axis=0).reshape(bias.shape)}


@rule(
    "matmul", function=torch.matmul,
    forward=r"Y = A B",
    backward={"input": r"\bar{A} = \bar{Y} B^{\top}", "other": r"\bar{B} = A^{\top} \bar{Y}"},
    symbols={"A": "input", "B": "other", "Y": "output"},
    source="Giles 2008, An extended collection of matrix derivative results, section 2.2.2",
    note=text("Vectors are a row on the left and a column on the right; further dimensions are broadcast."),
)  # fmt: skip
class matmul:
    def forward(input, other):
        return np.matmul(input, other)

    def backward(dY, Y, input, other):
        A = input[None, :] if input.ndim == 1 else input  # (..., n, k)
        B = other[:, None] if other.ndim == 1 else other  # (..., k, m)
        if input.ndim == 1:
            dY = dY[..., None] if other.ndim == 1 else dY
            dY = np.expand_dims(dY, -2)
        elif other.ndim == 1:
            dY = dY[..., None]
        dA, dB = dY @ np.swapaxes(B, -1, -2), np.swapaxes(A, -1, -2) @ dY
        return {"input": unbroadcast(dA, A.shape).reshape(input.shape), "other": unbroadcast(dB, B.shape).reshape(other.shape)}
