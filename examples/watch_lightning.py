"""Watching a training by Lightning: one line before `fit`, which is unchanged. Lightning makes its optimizer later; it is found then.

Needs the package lightning. The learning rate is far too high on purpose: the watcher says so.
Run it: python examples/watch_lightning.py
"""

import lightning
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import pellucid


class Digits(lightning.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.network = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))

    def training_step(self, batch: list[torch.Tensor], _: int) -> torch.Tensor:
        inputs, targets = batch
        return nn.functional.cross_entropy(self.network(inputs), targets)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=30.0)


def train(watch=pellucid.watch):
    """Three epochs on the digits; gives the module and the watcher."""
    torch.manual_seed(0)
    inputs, targets = load_digits(return_X_y=True)
    data = TensorDataset(torch.tensor(inputs / 16, dtype=torch.float32), torch.tensor(targets))
    module = Digits()
    watcher = watch(module.network)
    trainer = lightning.Trainer(
        max_epochs=3, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False
    )
    trainer.fit(module, DataLoader(data, batch_size=32, shuffle=True))
    return module.network, watcher


if __name__ == "__main__":
    _, watcher = train()
    print(watcher.report())
    print("found:", ", ".join(finding.symptom for finding in watcher.findings))
    watcher.close()
