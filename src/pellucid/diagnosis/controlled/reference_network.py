"""A plain network on the user's data, and inputs exchanged among the samples: whether there is anything to learn, and whether the
user's own network learns it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pellucid.diagnosis.experiments.experiment import Experiment
from pellucid.diagnosis.experiments.loop import SCORED
from pellucid.diagnosis.experiments.samples import evenly, samples_in, taken
from pellucid.diagnosis.experiments.scoring import Scoring

WIDTH = 128
LARGEST_INPUT = 20_000  # entries of one sample
STEPS = 400  # updates of 64 samples
BATCH = 64
LONGEST_TEXT = 2_000
VOCABULARY = 100_000
LARGEST_SET = 20_000  # samples it is trained on, and as many it is scored on, evenly chosen


def reference_experiment(experiment: Experiment, scoring: Scoring) -> Experiment | None:
    """An MLP of two hidden layers of 128 ReLU units on standardised inputs, or the mean of embeddings for whole numbers, under Adam.

    None where inputs are no single tensor, or targets are neither classes nor values per sample.
    """
    if not isinstance(experiment.train, tuple) or scoring.metric == "loss":
        return None
    if not all(isinstance(one, Tensor) for one in experiment.train):
        return None
    inputs, targets = taken(experiment.train, evenly(samples_in(experiment.train), LARGEST_SET))  # never all of millions of rows
    if not torch.isfinite(inputs.float()).all():
        return None
    entries = inputs[0].numel()
    labels = targets.argmax(1) if scoring.metric == "accuracy" and targets.dim() == 2 and targets.shape[1] > 1 else targets
    if not 0 < entries <= LARGEST_INPUT or (scoring.metric == "accuracy" and labels.numel() != len(labels)):
        return None
    tokens = (
        not inputs.is_floating_point()
        and inputs.dim() == 2
        and entries <= LONGEST_TEXT
        and int(inputs.min()) >= 0
        and int(inputs.max()) < VOCABULARY
    )
    prepare = (lambda given: given) if tokens else _standardiser(inputs)
    wanted, loss, outputs = _wanted(labels, scoring)

    def part(data: Any) -> Any:
        return None if data is None else (prepare(data[0]), wanted(data[1]))

    test = experiment.test if isinstance(experiment.test, tuple) and all(isinstance(one, Tensor) for one in experiment.test) else None
    test = None if test is None else taken(test, evenly(samples_in(test), LARGEST_SET))
    words = int(inputs.max()) + 1 if tokens else 0
    if test is not None and tokens and int(test[0].max()) >= words:
        words = int(test[0].max()) + 1
    return Experiment(
        model=lambda: _Texts(words, outputs) if tokens else _plain(entries, outputs),
        loss=loss,
        optimizer=lambda model: torch.optim.Adam(model.parameters(), 1e-3),
        train=part((inputs, targets)),
        test=part(test),
        batch_size=BATCH,
        epochs=max(1, round(STEPS * BATCH / len(inputs))),
    )


def inputs_exchanged(experiment: Experiment, steps: int) -> Experiment | None:
    """The same experiment on inputs that are exchanged among the training samples; None for data sets and loaders.

    No more samples than so many updates use, evenly chosen: of millions of rows no copy is made.
    """
    if not isinstance(experiment.train, tuple) or not isinstance(experiment.train[0], Tensor):
        return None
    inputs, targets = taken(experiment.train, evenly(samples_in(experiment.train), max(SCORED, steps * experiment.batch_size)))
    order = torch.randperm(len(inputs), generator=torch.Generator().manual_seed(1))
    return experiment.changed(train=(inputs[order], targets))


def _plain(entries: int, outputs: int) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(entries, WIDTH), nn.ReLU(), nn.Linear(WIDTH, WIDTH), nn.ReLU(), nn.Linear(WIDTH, outputs))


class _Texts(nn.Module):
    """Mean and maximum of embeddings, then an MLP."""

    def __init__(self, words: int, outputs: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(words, 32)
        self.head = nn.Sequential(nn.Linear(64, WIDTH), nn.ReLU(), nn.Linear(WIDTH, outputs))

    def forward(self, inputs: Tensor) -> Tensor:
        embedded = self.embedding(inputs.long())
        return self.head(torch.cat([embedded.mean(1), embedded.amax(1)], dim=1))


def _standardiser(inputs: Tensor) -> Callable[[Tensor], Tensor]:
    flat = inputs.float().reshape(len(inputs), -1)
    mean, std = flat.mean(0), flat.std(0, unbiased=False)
    std = torch.where(std > 0, std, torch.ones_like(std))
    return lambda given: ((given.float().reshape(len(given), -1) - mean) / std).clamp(-10, 10)


def _wanted(labels: Tensor, scoring: Scoring) -> tuple[Callable[[Tensor], Tensor], Any, int]:
    """How targets are given to the plain network, its loss, and its number of outputs."""
    if scoring.metric == "accuracy":
        several = labels.reshape(-1)
        low, high = int(several.min()), int(several.max())

        def classes(targets: Tensor) -> Tensor:
            chosen = targets.argmax(1) if targets.dim() == 2 and targets.shape[1] > 1 else targets
            return chosen.reshape(-1).long().clamp(0, high)

        return classes, F.cross_entropy, max(high, low + 1) + 1
    values = labels.double().reshape(len(labels), -1)
    mean, std = values.mean(0), values.std(0, unbiased=False).clamp_min(1e-12)
    return lambda targets: ((targets.double().reshape(len(targets), -1) - mean) / std).float(), F.mse_loss, values.shape[1]
