"""Train on your own torch Datasets with your own network: here an LSTM that reads a digit row by row.

python examples/own_dataset.py
"""

from __future__ import annotations

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.utils.data import Dataset

import pellucid


class RowsOfDigits(Dataset[tuple[Tensor, int]]):
    """Each sample is a sequence of T = 8 rows with D = 8 grey values in [0, 1]."""

    def __init__(self, *, last: bool) -> None:
        digits = load_digits()
        chosen = slice(1400, None) if last else slice(None, 1400)
        self.images = torch.tensor(digits.images[chosen] / 16.0, dtype=torch.float32)  # (n, 8, 8)
        self.labels = digits.target[chosen].tolist()

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.images[index], self.labels[index]


class RowReader(nn.Module):
    """The hidden state after the last row decides (Hochreiter and Schmidhuber 1997)."""

    def __init__(self, hidden_size: int = 64) -> None:
        super().__init__()
        self.lstm = nn.LSTM(input_size=8, hidden_size=hidden_size, batch_first=True)
        self.head = nn.Linear(hidden_size, 10)

    def forward(self, rows: Tensor) -> Tensor:
        _, (hidden_state, _) = self.lstm(rows)  # hidden_state (1, N, 64)
        return self.head(hidden_state[-1])  # (N, 10)


def main() -> None:
    # (train, test): the test part is yours, the validation part is held out of the training set.
    run = pellucid.fit((RowsOfDigits(last=False), RowsOfDigits(last=True)), network=RowReader, learning_rate=0.01, epochs=15)
    print(f"test accuracy {run.metrics['test']['accuracy']:.3f}")
    for finding in run.findings:
        print(f"{finding.symptom}: {finding.summary}")


if __name__ == "__main__":
    main()
