"""Diagnose a training of your own: why it fails, with evidence, and a remedy that is proved by training again.

python examples/diagnose_your_training.py

Two mistakes that are easily made: a softmax in the network before a loss that applies its own, and pixels from 0 to 16 as they are.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import Tensor, nn

import pellucid
from pellucid.diagnosis.remedies import apply


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.hidden, self.output = nn.Linear(64, 64), nn.Linear(64, 10)

    def forward(self, pixels: Tensor) -> Tensor:
        return F.softmax(self.output(F.relu(self.hidden(pixels))), dim=1)


def main() -> None:
    digits = load_digits()
    order = torch.randperm(len(digits.target), generator=torch.Generator().manual_seed(0))
    inputs, targets = torch.tensor(digits.data, dtype=torch.float32)[order], torch.tensor(digits.target)[order]
    experiment = pellucid.Experiment(
        model=Net,
        loss=F.cross_entropy,
        optimizer=lambda model: torch.optim.SGD(model.parameters(), lr=0.05),
        train=(inputs[:1200], targets[:1200]),
        test=(inputs[1200:], targets[1200:]),
        batch_size=64,
        epochs=5,
    )
    findings = pellucid.diagnose(experiment, budget="10s")
    print(findings)
    print()

    for finding in findings:
        if finding.change is not None and finding.level == "fault":
            print(f"{finding.cause}: {finding.verify()}")
            experiment = apply(experiment, finding.change)
    print(f"test accuracy {experiment.run(seed=0).score:.3f} with the remedies of all faults")
    print("a page with all evidence:", findings.to_html("diagnosis.html"))


if __name__ == "__main__":
    main()
