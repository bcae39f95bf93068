"""Claim: a trained network can tell what it was trained on.

Measured: digits; an attacker who sees nothing but a sample's loss guesses whether it was among the training samples (the smaller the loss,
the likelier; Yeom et al. 2018): the area under the ROC curve, 0.5 being a guess; and the test accuracy. "labels wrong": a fifth of the
labels are drawn at random, as in data gathered carelessly; they can only be known by heart.

Came out: true of few samples, most where labels are wrong. Many samples help most; stopping
early helps and costs accuracy; weight decay helps where labels are wrong.

python examples/claims/privacy.py
"""

import torch
from claim import Figures, report
from learning import accuracy, digits, train
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn
from torch.nn.functional import cross_entropy


def leaked(model: nn.Module, members: tuple[Tensor, Tensor], others: tuple[Tensor, Tensor]) -> float:
    """The area under the ROC curve of the loss: members against samples never seen."""
    with torch.no_grad():
        losses = [cross_entropy(model(X), y, reduction="none") for X, y in (members, others)]
    labels = [1] * len(losses[0]) + [0] * len(losses[1])
    return float(roc_auc_score(labels, -torch.cat(losses).numpy()))


def measure(seed: int, quick: bool) -> Figures:
    X, y, X_test, y_test = digits(seed)
    torch.manual_seed(seed)
    wrong = {labels: torch.where(torch.rand(len(labels)) < 0.2, torch.randint(10, (len(labels),)), labels) for labels in (y, y_test)}
    kinds = {
        "100 samples": (100, 300, {}),
        "100 samples, weight decay": (100, 300, {"weight_decay": 0.1}),
        "100 samples, stopped early": (100, 30, {}),
        "1437 samples": (1437, 300, {}),
    }
    found: Figures = {}
    for name, (number, steps, options) in kinds.items():
        for manner, labels, test_labels in (("", y, y_test), (", labels wrong", wrong[y], wrong[y_test])):
            torch.manual_seed(seed)
            model = nn.Sequential(nn.Flatten(), nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10))
            train(model, X[:number], labels[:number], steps=steps // 2 if quick else steps, **options)
            area = leaked(model, (X[:number], labels[:number]), (X_test, test_labels))
            found[name + manner] = {"area under the curve": area, "test accuracy": accuracy(model, X_test, y_test)}
    return found


if __name__ == "__main__":
    report(measure, seeds=8, script=__file__)
