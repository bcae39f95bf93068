"""Claim: small kernels see details, large ones see wide context; several small ones in a row see as far as one large one.

Measured: the receptive field by the formula r = 1 + sum (k - 1), and by the gradient (how many inputs move one output); the accuracy in
telling pairs of dots d pixels apart from pairs d + 2 apart, by the maximum over all places; the test accuracy on the digits.

Came out: both counts agree, and the receptive field decides: a pair wider than it is told apart by guessing. Three kernels of 3 see as far
as one of 7, but do not learn to use it in every seed. On the digits of 8 x 8 pixels no size is shown to be better than the others.

python examples/claims/kernels.py
"""

import torch
from claim import Figures, report
from learning import accuracy, digits, train
from torch import Tensor, nn

KERNELS = {"3": [3], "5": [5], "7": [7], "3, 3, 3": [3, 3, 3]}


def convolutions(sizes: list[int], padding: bool) -> nn.Sequential:
    layers: list[nn.Module] = []
    for place, size in enumerate(sizes):
        layers += [nn.Conv2d(16 if place else 1, 16, size, padding=size // 2 if padding else 0), nn.ReLU()]
    return nn.Sequential(*layers)


def measured_field(sizes: list[int]) -> int:
    """The extent of the inputs that change one output in the middle."""
    image = torch.rand(1, 1, 25, 25, requires_grad=True)
    nn.Sequential(*convolutions(sizes, padding=True)[::2])(image)[0, :, 12, 12].sum().backward()  # without the ReLUs
    return int((image.grad[0, 0].abs().sum(0) > 0).sum())


def pairs(distance: int, number: int) -> tuple[Tensor, Tensor]:
    """(number, 1, 1, 28): two dots, `distance` apart (class 1) or two more (class 0), at least seven pixels from the borders."""
    y = torch.arange(number) % 2
    first = torch.randint(7, 13, (number,))
    images = torch.zeros(number, 1, 7, 28)
    for dots in (first, first + distance + 2 * (1 - y)):
        images[torch.arange(number), 0, 3, dots] = 1.0
    return images, y


def measure(seed: int, quick: bool) -> Figures:
    X, y, X_test, y_test = digits(seed)
    found: Figures = {}
    for name, sizes in KERNELS.items():
        torch.manual_seed(seed)
        found[name] = {"by formula": 1 + sum(size - 1 for size in sizes), "by gradient": measured_field(sizes)}
        for distance in (2, 4, 6):
            model = nn.Sequential(convolutions(sizes, padding=False), nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(16, 2))
            train(model, *pairs(distance, 512), steps=100 if quick else 250, learning_rate=0.01)
            found[name][f"d = {distance}"] = accuracy(model, *pairs(distance, 500))
        model = nn.Sequential(convolutions(sizes, padding=True), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(256, 10))
        found[name]["digits"] = accuracy(train(model, X, y, steps=100 if quick else 200), X_test, y_test)
    return found


if __name__ == "__main__":
    report(measure, seeds=4, script=__file__)
