"""Claim: one hidden layer, wide enough, approximates any continuous function (Cybenko 1989; Hornik 1991).

Measured: the root mean square error of networks with one hidden layer of tanh units on f(x) = sin(3 pi x), whose own root mean square is
0.71: on the interval they were trained on, from 200 points without noise; beside that interval; and on it, from 20 points with noise.

Came out: width buys approximation where there are data, and only there. Beside the interval no width is better than saying 0, and from 20
noisy points the error stops falling at 16 units. Without an activation function, 256 units are one straight line.

python examples/claims/width.py
"""

from __future__ import annotations

import math

import torch
from claim import Figures, report
from learning import train
from torch import Tensor, nn
from torch.nn.functional import mse_loss


def f(x: Tensor) -> Tensor:
    return torch.sin(3 * math.pi * x)


INSIDE = torch.linspace(-1, 1, 200)[:, None]  # (200, 1)
BESIDE = torch.linspace(1, 1.5, 100)[:, None]


def network(width: int, activation: type[nn.Module]) -> nn.Module:
    """Kinks spread over the interval: weights and biases of the first layer up to 8, so that no width suffers from its start."""
    model = nn.Sequential(nn.Linear(1, width), activation(), nn.Linear(width, 1))
    for parameter in model[0].parameters():
        nn.init.uniform_(parameter, -8, 8)
    return model


@torch.no_grad()
def error(model: nn.Module, x: Tensor) -> float:
    return float(mse_loss(model(x), f(x)).sqrt())


def measure(seed: int, quick: bool) -> Figures:
    torch.manual_seed(seed)
    steps = 300 if quick else 1000
    few = 2 * torch.rand(20, 1) - 1
    noisy = f(few) + 0.3 * torch.randn(20, 1)
    found: Figures = {}
    for width, activation in ((1, nn.Tanh), (4, nn.Tanh), (16, nn.Tanh), (64, nn.Tanh), (256, nn.Tanh), (256, nn.Identity)):
        exact = train(network(width, activation), INSIDE, f(INSIDE), steps=steps, learning_rate=0.02, batch=200, loss=mse_loss)
        learnt = train(network(width, activation), few, noisy, steps=steps, learning_rate=0.02, batch=20, loss=mse_loss)
        name = f"{width} unit{'s' * (width > 1)}{', no activation' * (activation is nn.Identity)}"
        found[name] = {"on the interval": error(exact, INSIDE), "beside it": error(exact, BESIDE), "20 noisy points": error(learnt, INSIDE)}
    return found


if __name__ == "__main__":
    report(measure, seeds=5, script=__file__)
