"""Claim: the more data, the better the network.

Measured: the error rate on the test part of the digits after training on n of them: a network of 64 hidden units, one of 2, and a random
forest; and the exponent b of error = a n^-b, fitted in each seed on the logarithms.

Came out: true of a network that is large enough, and of the forest as well; with 2 units more data change nothing.

python examples/claims/more_data.py
"""

from __future__ import annotations

import numpy as np
import torch
from claim import Figures, report
from learning import accuracy, digits, train
from sklearn.ensemble import RandomForestClassifier
from torch import nn

NUMBERS = (50, 100, 200, 400, 800, 1437)


def measure(seed: int, quick: bool) -> Figures:
    X, y, X_test, y_test = digits(seed)
    found: Figures = {}
    for number in NUMBERS[::2] if quick else NUMBERS:
        found[f"n = {number}"] = errors = {}
        for hidden in (64, 2):
            torch.manual_seed(seed)
            model = nn.Sequential(nn.Flatten(), nn.Linear(64, hidden), nn.ReLU(), nn.Linear(hidden, 10))
            train(model, X[:number], y[:number], steps=100 if quick else 500)
            errors[f"{hidden} units"] = 1 - accuracy(model, X_test, y_test)
        forest = RandomForestClassifier(10 if quick else 100, random_state=seed)
        forest.fit(X[:number].flatten(1).numpy(), y[:number].numpy())
        errors["forest"] = 1 - forest.score(X_test.flatten(1).numpy(), y_test.numpy())
    logarithms = np.log([[int(row.removeprefix("n = ")), *cells.values()] for row, cells in found.items()])
    exponents = -np.polyfit(logarithms[:, 0], logarithms[:, 1:], 1)[0]
    return found | {"exponent": dict(zip(errors, exponents.tolist(), strict=True))}


if __name__ == "__main__":
    report(measure, seeds=8, script=__file__)
