"""Claim: pooling makes a network robust to shifts of the image.

Measured: the test accuracy on digits shifted by 0 to 4 pixels to either side on an empty canvas of 8 x 16, by networks trained with the
digit in the middle: two convolutions, each followed by nothing or by pooling of 2 x 2, or a mean or maximum over all places at the end; and
maximum pooling trained on digits shifted by up to 4 pixels.

Came out: mostly false. Pooling over small windows softens the fall a little; the maximum over all places stands all shifts, and so does a
network trained with shifted images.

python examples/claims/pooling.py
"""

import torch
from claim import Figures, report
from learning import accuracy, digits, train
from torch import Tensor, nn


def placed(images: Tensor, shift: int) -> Tensor:
    """(N, 1, 8, 8) in the middle of an empty (N, 1, 8, 16), moved by `shift` pixels to the right."""
    canvas = torch.full((len(images), 1, 8, 16), float(images.min()))
    canvas[..., 4 + shift : 12 + shift] = images
    return canvas


def shifted_at_random(canvas: Tensor) -> Tensor:
    """Each image of the batch by its own -4 to 4 pixels: nothing of the digit is lost."""
    moves = torch.randint(-4, 5, (len(canvas),)).tolist()
    return torch.stack([image.roll(move, -1) for image, move in zip(canvas, moves, strict=True)])


def network(pool: type[nn.Module] | None, whole: nn.Module | None = None) -> nn.Sequential:
    small = [nn.Identity() if pool is None else pool(2) for _ in range(2)]
    first, second = nn.Conv2d(1, 8, 3, padding=1), nn.Conv2d(8, 16, 3, padding=1)
    model = nn.Sequential(first, nn.ReLU(), small[0], second, nn.ReLU(), small[1], whole or nn.Identity(), nn.Flatten())
    return model.append(nn.Linear(model(torch.zeros(1, 1, 8, 16)).shape[1], 10))


def measure(seed: int, quick: bool) -> Figures:
    X, y, X_test, y_test = digits(seed)
    torch.manual_seed(seed)
    kinds = {
        "no pooling": (network(None), None),
        "average, 2 x 2": (network(nn.AvgPool2d), None),
        "maximum, 2 x 2": (network(nn.MaxPool2d), None),
        "average over all places": (network(None, nn.AdaptiveAvgPool2d(1)), None),
        "maximum over all places": (network(None, nn.AdaptiveMaxPool2d(1)), None),
        "maximum, 2 x 2, trained on shifted": (network(nn.MaxPool2d), shifted_at_random),
    }
    found: Figures = {}
    for name, (model, augment) in kinds.items():
        train(model, placed(X, 0), y, steps=150 if quick else 300, learning_rate=0.01, augment=augment)
        scores = [[accuracy(model, placed(X_test, side * shift), y_test) for side in (-1, 1)] for shift in range(5)]
        found[name] = {f"shift {shift}": sum(pair) / 2 for shift, pair in enumerate(scores)}
    return found


if __name__ == "__main__":
    report(measure, seeds=4, script=__file__)
