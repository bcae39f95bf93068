"""The data and the loop that several scripts of this folder use: handwritten digits, mini-batches, one optimiser, a falling rate."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor, nn


def digits(seed: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """X (1437, 1, 8, 8), y (1437,), X_test (360, 1, 8, 8), y_test (360,): another split for each seed, grey values standardised."""
    data = load_digits()
    images = torch.tensor(data.images, dtype=torch.float32)[:, None] / 16
    X, X_test, y, y_test = train_test_split(images, torch.tensor(data.target), test_size=360, stratify=data.target, random_state=seed)
    return (X - X.mean()) / X.std(), y, (X_test - X.mean()) / X.std(), y_test


def train(
    model: nn.Module,
    X: Tensor,
    y: Tensor,
    *,
    steps: int,
    learning_rate: float = 0.005,
    batch: int = 64,
    loss: Callable[[Tensor, Tensor], Tensor] = F.cross_entropy,
    weight_decay: float = 0.0,
    l1: float = 0.0,
    clip: float | None = None,
    augment: Callable[[Tensor], Tensor] | None = None,
) -> nn.Module:
    """Adam with mini-batches drawn at random; the learning rate falls to zero along a cosine. `weight_decay` is L2 in the gradient."""
    optimizer = torch.optim.Adam(model.parameters(), weight_decay=weight_decay, fused=True)
    model.train()
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = learning_rate * (1 + math.cos(math.pi * step / steps)) / 2
        rows = slice(None) if batch >= len(X) else torch.randint(len(X), (batch,))
        inputs = X[rows] if augment is None else augment(X[rows])
        value = loss(model(inputs), y[rows])
        if l1:
            value = value + l1 * sum(parameter.abs().sum() for parameter in model.parameters())
        optimizer.zero_grad()
        value.backward()
        if clip is not None:
            nn.utils.clip_grad_norm_(model.parameters(), clip)
        optimizer.step()
    return model.eval()


@torch.no_grad()
def accuracy(model: nn.Module, X: Tensor, y: Tensor) -> float:
    return float((model(X).argmax(1) == y).float().mean())
