"""Claim: sigmoid and tanh make gradients vanish in deep networks, ReLU does not.

Measured: multilayer perceptrons of 32 units a layer on the digits, Xavier's start for sigmoid and tanh, He's for ReLU: before training,
log10 of the gradient's norm at the first layer over that at the last; after 300 steps of Adam, the accuracy on the test part, the learning
rate chosen for each among the same three on a validation part.

Came out: sigmoid loses the gradient by many powers of ten over 20 layers and stays at guessing. Tanh does not: with Xavier's start its
gradient arrives and it learns as well as ReLU. At depth 3 all three work.

python examples/claims/activations.py
"""

from __future__ import annotations

import math

import torch
from claim import Figures, report
from learning import accuracy, digits, train
from torch import Tensor, nn

ACTIVATIONS = {"sigmoid": nn.Sigmoid, "tanh": nn.Tanh, "ReLU": nn.ReLU}


def network(name: str, depth: int) -> nn.Sequential:
    layers: list[nn.Module] = [nn.Flatten()]
    for inputs in [64] + [32] * (depth - 2):
        layers += [nn.Linear(inputs, 32), ACTIVATIONS[name]()]
    model = nn.Sequential(*layers, nn.Linear(32, 10))
    for layer in model:
        if isinstance(layer, nn.Linear):
            (nn.init.kaiming_normal_ if name == "ReLU" else nn.init.xavier_normal_)(layer.weight)
            nn.init.zeros_(layer.bias)
    return model


def vanished(model: nn.Sequential, X: Tensor, y: Tensor) -> float:
    """log10 of the first layer's gradient over the last's."""
    nn.functional.cross_entropy(model(X), y).backward()
    return math.log10(float(model[1].weight.grad.norm() / model[-1].weight.grad.norm()))


def measure(seed: int, quick: bool) -> Figures:
    X, y, X_test, y_test = digits(seed)
    found: Figures = {}
    for depth in (3, 20):
        for name in ACTIVATIONS:
            torch.manual_seed(seed)
            ratio = vanished(network(name, depth), X, y)
            models = []
            for rate in (0.003,) if quick else (0.001, 0.003, 0.01):
                model = train(network(name, depth), X[:1137], y[:1137], steps=100 if quick else 300, learning_rate=rate)
                models.append((accuracy(model, X[1137:], y[1137:]), len(models), model))
            found[f"{name}, {depth} layers"] = {"log10 of gradients": ratio, "test accuracy": accuracy(max(models)[2], X_test, y_test)}
    return found


if __name__ == "__main__":
    report(measure, seeds=5, script=__file__)
