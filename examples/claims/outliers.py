"""Claim: the squared error is sensitive to outliers; the absolute error and Huber's loss are not.

Measured: y = 2 x1 - x2 + e, five inputs, e normal with standard deviation 0.5, 400 samples, a linear model. A share of the targets is moved
up by 20. In the last column e is exponential with mean 0 and standard deviation 2: skewed, but no outliers. The root mean square difference
between the predictions and the true mean of y on 1000 new inputs; Huber's threshold is 1.

Came out: true, by far. But without outliers MAE is worse than MSE, and where the noise is skewed both of the others miss the mean.

python examples/claims/outliers.py
"""

from __future__ import annotations

import torch
from claim import Figures, report
from learning import train
from torch import Tensor, nn

LOSSES = {"MSE": nn.functional.mse_loss, "MAE": nn.functional.l1_loss, "Huber": nn.functional.huber_loss}


def mean(X: Tensor) -> Tensor:
    return 2 * X[:, :1] - X[:, 1:2]


def samples(share: float, skewed: bool) -> tuple[Tensor, Tensor]:
    """X (400, 5) standard normal, y (400, 1)."""
    X = torch.randn(400, 5)
    noise = 2 * (torch.empty(400, 1).exponential_() - 1) if skewed else 0.5 * torch.randn(400, 1)
    y = mean(X) + noise
    y[: round(400 * share)] += 20
    return X, y


def measure(seed: int, quick: bool) -> Figures:
    found: Figures = {name: {} for name in LOSSES}
    for column, share, skewed in (("none", 0, False), ("5 %", 0.05, False), ("20 %", 0.2, False), ("skewed noise", 0, True)):
        for name, loss in LOSSES.items():
            torch.manual_seed(seed)
            X, y = samples(share, skewed)
            model = train(nn.Linear(5, 1), X, y, steps=200 if quick else 400, learning_rate=0.1, batch=400, loss=loss)
            with torch.no_grad():
                new = torch.randn(1000, 5)
                found[name][column] = float((model(new) - mean(new)).pow(2).mean().sqrt())
    for name in ("MAE", "Huber"):
        found[f"{name} minus MSE"] = {column: error - found["MSE"][column] for column, error in found[name].items()}
    return found


if __name__ == "__main__":
    report(measure, seeds=8, script=__file__)
