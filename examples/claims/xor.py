"""Claim: a perceptron cannot learn exclusive or, a network with one hidden layer can (Minsky and Papert 1969).

Measured: the accuracy on the four points, the best after any of 100 answers for the perceptron and after training for the others, and the
share of the seeds in which all four are right.

Came out: no line is right on more than three of four points, whatever the seed; logistic regression ends where all four probabilities are
one half. Two hidden units are enough to represent the function, but training does not always find it; eight find it every time.

python examples/claims/xor.py
"""

from __future__ import annotations

import torch
from claim import Figures, report
from torch import nn

X = torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])  # (4, 2)
Y = torch.tensor([0.0, 1.0, 1.0, 0.0])  # (4,)


def perceptron() -> float:
    """Rosenblatt's rule: a wrong answer moves the weights by the input. The best accuracy seen."""
    weights, bias, best = torch.randn(2), torch.randn(()), 0.0
    for _ in range(25):
        for point in torch.randperm(4):
            error = Y[point] - (weights @ X[point] + bias > 0).float()
            weights, bias = weights + error * X[point], bias + error
            best = max(best, float(((X @ weights + bias > 0) == (Y > 0.5)).float().mean()))
    return best


def trained(model: nn.Module, steps: int) -> float:
    optimizer = torch.optim.Adam(model.parameters(), lr=0.05, fused=True)
    for _ in range(steps):
        optimizer.zero_grad()
        nn.functional.binary_cross_entropy_with_logits(model(X)[:, 0], Y).backward()
        optimizer.step()
    return float(((model(X)[:, 0] > 0) == (Y > 0.5)).float().mean())


def measure(seed: int, quick: bool) -> Figures:
    torch.manual_seed(seed)
    steps = 150 if quick else 300
    scores = {"perceptron": perceptron(), "logistic regression": trained(nn.Linear(2, 1), steps)}
    for hidden in (2, 4, 8):
        model = nn.Sequential(nn.Linear(2, hidden), nn.Tanh(), nn.Linear(hidden, 1))
        scores[f"MLP, {hidden} hidden units"] = trained(model, steps)
    return {row: {"accuracy": score, "all four right": score == 1.0} for row, score in scores.items()}


if __name__ == "__main__":
    report(measure, seeds=20, script=__file__)
