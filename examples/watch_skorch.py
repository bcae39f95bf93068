"""Watching a training by skorch: a callback of four lines, since skorch makes its module when training begins.

Needs the package skorch. The learning rate is far too high on purpose: the watcher says so.
Run it: python examples/watch_skorch.py
"""

import numpy as np
import torch
from sklearn.datasets import load_digits
from skorch import NeuralNetClassifier
from skorch.callbacks import Callback
from torch import nn

import pellucid


class Watching(Callback):
    def __init__(self, watch) -> None:
        self.watch, self.watcher = watch, None

    def on_train_begin(self, net, **_) -> None:
        self.watcher = self.watch(net.module_)


def train(watch=pellucid.watch):
    """Three epochs on the digits; gives the module and the watcher."""
    torch.manual_seed(0)
    inputs, targets = load_digits(return_X_y=True)
    watching = Watching(watch)
    net = NeuralNetClassifier(
        nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10)),
        criterion=nn.CrossEntropyLoss, optimizer=torch.optim.SGD, lr=30.0, max_epochs=3, batch_size=32,
        iterator_train__shuffle=True, train_split=None, verbose=0, callbacks=[("watching", watching)],
    )  # fmt: skip
    net.fit((inputs / 16).astype(np.float32), targets)
    watcher = dict(net.callbacks_)["watching"].watcher
    return net.module_, watcher


if __name__ == "__main__":
    _, watcher = train()
    print(watcher.report())
    print("found:", ", ".join(finding.symptom for finding in watcher.findings))
    watcher.close()
