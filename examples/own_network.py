"""Train your own torch.nn.Module: it gets all that a named network gets: range test, early stopping, ledger, exact resume, verdict.

python examples/own_network.py
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

import pellucid


class ResidualNetwork(nn.Module):
    """Two convolutions around a skip connection, y = x + F(x) (He et al. 2016, equation 1)."""

    def __init__(self, channels: int = 24, classes: int = 10) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, channels, kernel_size=3, padding=1)
        self.block = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1), nn.BatchNorm2d(channels), nn.ReLU(), nn.Conv2d(channels, channels, 3, padding=1)
        )
        self.head = nn.Linear(channels * 16, classes)

    def forward(self, images: Tensor) -> Tensor:
        hidden = torch.relu(self.stem(images))  # (N, 24, 8, 8)
        hidden = torch.relu(hidden + self.block(hidden))  # (N, 24, 8, 8)
        hidden = nn.functional.max_pool2d(hidden, 2)  # (N, 24, 4, 4)
        return self.head(hidden.flatten(1))  # (N, 10): logits, no softmax


def main() -> None:
    # A class or any function without arguments is a factory; an instance is welcome too (a copy of it is trained).
    run = pellucid.fit("digits", network=ResidualNetwork, learning_rate=0.005, epochs=8)
    print(f"test accuracy {run.metrics['test']['accuracy']:.3f}")

    # The run keeps the weights, not your class: loading asks for it, and checks names and shapes.
    model = pellucid.load(run.directory, network=ResidualNetwork).model
    print("parameters", sum(parameter.numel() for parameter in model.parameters()))


if __name__ == "__main__":
    main()
