"""Tensors drawn around given numbers. Zeros, ones, ranges and plain draws are leaves of a derivation: their values are recorded."""

from __future__ import annotations

import numpy as np
import torch

from pellucid.core.language import text
from pellucid.derivation.registry import Unsupported, rule

_NONE = text("The draw counts as a constant: PyTorch gives its parameters the gradient 0.")


def _drawn(draws):
    if not draws:
        raise Unsupported(text("a draw that was not recorded"), text("the random numbers that were drawn"), text("give draws=(numbers,)"))
    return draws[0]


@rule(
    "bernoulli", function=torch.bernoulli,
    forward=r"Y_{i} \sim \operatorname{Bernoulli}(P_{i})", backward={"input": r"\bar{P} = 0"}, symbols={"P": "input", "Y": "output"},
    where={"i": text("a position")}, source="Casella and Berger 2002, Statistical Inference, section 3.2", note=_NONE,
)  # fmt: skip
class bernoulli:
    def forward(input, p=None, *, generator=None, draws=()):
        return _drawn(draws)

    def backward(dY, Y, input, p=None, *, generator=None, draws=()):
        return {"input": np.zeros(input.shape)}


@rule(
    "normal", function=torch.normal,
    forward=r"Y_{i} \sim \operatorname{Normal}(\mu_{i}, \sigma_{i}^{2})", backward={"mean": r"\bar{\mu} = 0", "std": r"\bar{\sigma} = 0"},
    symbols={r"\mu": "mean", r"\sigma": "std", "Y": "output"}, where={"i": text("a position")},
    source="Casella and Berger 2002, Statistical Inference, section 3.3", note=_NONE,
)  # fmt: skip
class normal:
    def forward(mean=0.0, std=1.0, size=None, *, generator=None, draws=()):
        return _drawn(draws)

    def backward(dY, Y, mean=0.0, std=1.0, size=None, *, generator=None, draws=()):
        return {"mean": np.zeros(np.shape(mean)), "std": np.zeros(np.shape(std))}
