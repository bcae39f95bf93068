"""Activation functions: element by element."""

from __future__ import annotations

import numpy as np
import torch

from pellucid.core.language import text
from pellucid.derivation.registry import rule


@rule(
    "relu", function=torch.nn.functional.relu,
    forward=r"Y = \max(0, X)",
    backward={"input": r"\bar{X} = \bar{Y} \odot [X > 0]"},
    symbols={"X": "input", "Y": "output"},
    source="Glorot, Bordes and Bengio 2011, Deep sparse rectifier neural networks",
    note=text("At 0, where there is no derivative, PyTorch takes 0."),
)  # fmt: skip
class relu:
    def forward(input, inplace=False):
        return np.maximum(input, 0)

    def backward(dY, Y, input, inplace=False):
        return {"input": dY * (input > 0)}


@rule(
    "sigmoid", function=torch.sigmoid,
    forward=r"Y = \sigma(X) = \frac{1}{1 + e^{-X}}",
    backward={"input": r"\bar{X} = \bar{Y} \odot Y \odot (1 - Y)"},
    symbols={"X": "input", "Y": "output"},
    where={r"\sigma": "the logistic function", "e": "Euler's number"},
    source="Goodfellow, Bengio and Courville 2016, Deep Learning, section 3.10",
)  # fmt: skip
class sigmoid:
    def forward(input):
        small = np.exp(-np.abs(input))  # never overflows
        return np.where(input >= 0, 1 / (1 + small), small / (1 + small))

    def backward(dY, Y, input):
        return {"input": dY * Y * (1 - Y)}


@rule(
    "tanh", function=torch.tanh,
    forward=r"Y = \tanh(X)",
    backward={"input": r"\bar{X} = \bar{Y} \odot (1 - Y^{2})"},
    symbols={"X": "input", "Y": "output"},
    source="Goodfellow, Bengio and Courville 2016, Deep Learning, section 6.3.2",
)  # fmt: skip
class tanh:
    def forward(input):
        return np.tanh(input)

    def backward(dY, Y, input):
        return {"input": dY * (1 - Y**2)}
