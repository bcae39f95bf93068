"""Claim: L1, L2, dropout and augmentation keep a network from overfitting. And: regularisation does not cure underfitting.

Measured: accuracy on the training and on the test part of the digits. "overfitting": 100 training samples, 128 hidden units.
"underfitting": 1137, 2 hidden units. The strength of each is the best of three on 300 other samples; differences are within a seed.

Came out: augmentation helps, what L1, L2 and dropout do is too small to be shown here; nothing helps the network that underfits.

python examples/claims/regularization.py
"""

from collections.abc import Callable

import torch
from claim import Figures, report
from learning import accuracy, digits, train
from torch import Tensor, nn


def bent(strength: float) -> Callable[[Tensor], Tensor]:
    """Each image moved, turned, stretched and sheared at random: the six numbers of an affine map, changed by `strength` on average."""

    def change(images: Tensor) -> Tensor:
        maps = torch.eye(2, 3) + strength * torch.randn(len(images), 2, 3)
        grid = nn.functional.affine_grid(maps, list(images.shape), align_corners=False)
        return nn.functional.grid_sample(images, grid, padding_mode="border", align_corners=False)

    return change


KINDS = {  # name -> (strength -> options of `train`), three strengths
    "none": (lambda strength: {}, (0,)),
    "L1": (lambda strength: {"l1": strength}, (0.0001, 0.001, 0.01)),
    "L2": (lambda strength: {"weight_decay": strength}, (0.001, 0.01, 0.1)),
    "dropout": (lambda strength: {}, (0.1, 0.3, 0.5)),
    "augmentation": (lambda strength: {"augment": bent(strength)}, (0.05, 0.1, 0.2)),
}


def measure(seed: int, quick: bool) -> Figures:
    X, y, X_test, y_test = digits(seed)
    found: Figures = {}
    for situation, number, hidden in (("overfitting", 100, 128), ("underfitting", 1137, 2)):
        for name, (options, strengths) in KINDS.items():
            models = []
            for strength in strengths[:1] if quick else strengths:
                torch.manual_seed(seed)
                dropout = nn.Dropout(strength if name == "dropout" else 0.0)
                model = nn.Sequential(nn.Flatten(), nn.Linear(64, hidden), nn.ReLU(), dropout, nn.Linear(hidden, 10))
                train(model, X[:number], y[:number], steps=100 if quick else 300, **options(strength))
                models.append((accuracy(model, X[1137:], y[1137:]), len(models), model))
            model = max(models)[2]
            scores = {"training": accuracy(model, X[:number], y[:number]), "test": accuracy(model, X_test, y_test)}
            plain = found.get(f"{situation}, none", scores)
            found[f"{situation}, {name}"] = scores | {"test, difference to none": scores["test"] - plain["test"]}
    return found


if __name__ == "__main__":
    report(measure, seeds=5, script=__file__)
