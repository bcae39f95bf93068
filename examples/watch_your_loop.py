"""Watch a training loop of your own: one line before it, and what is wrong is said while it runs.

python examples/watch_your_loop.py

The loop below has a mistake that is easily made: the gradient is never cleared, so that every update uses the sum of all gradients.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import nn

import pellucid


def train(clears: bool) -> tuple[float, Any]:
    torch.manual_seed(0)
    digits = load_digits()
    inputs, targets = torch.tensor(digits.data / 16, dtype=torch.float32), torch.tensor(digits.target)
    model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)

    watcher = pellucid.watch(model)
    loss = torch.tensor(0.0)
    for _ in range(10):
        for part in torch.randperm(len(inputs)).split(64):
            loss = F.cross_entropy(model(inputs[part]), targets[part])
            if clears:
                optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    watcher.close()
    return loss.item(), watcher


def main() -> None:
    loss, watcher = train(clears=False)
    for finding in watcher.findings:
        print(f"found: {finding.symptom}: {finding.summary}")
    mended, healthy = train(clears=True)
    print(f"final loss {loss:.3f} with the mistake, {mended:.3f} without; then {len(healthy.findings)} findings")
    print(healthy.report())
    print("a page with curves:", healthy.report("watch.html"))


if __name__ == "__main__":
    main()
