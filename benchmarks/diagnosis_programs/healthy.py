"""Programs with nothing wrong: twins of the base programs, the repository's recipes, small, noisy and imbalanced data, and unusual code.

A fault that is found in one of them is a false alarm. `advice` names what may truly be said of a program all the same; `least` is the score
that shows it sound (None where its score says nothing, as of a generator).
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import nn

from diagnosis_programs.bases import BASES, Base, made
from diagnosis_programs.data import split
from diagnosis_programs.networks import Design
from pellucid.diagnosis.experiments.experiment import Experiment


@dataclass(frozen=True, kw_only=True)
class Healthy:
    name: str
    experiment: Experiment
    advice: frozenset[str] = frozenset()
    least: float | None = None

    @property
    def part(self) -> str:
        return part_of(self.name)


TABLE: dict[str, Callable[[], Healthy]] = {}


def healthy(name: str, *, least: float | None = None, advice: str = "") -> Callable[[Callable[[], Experiment]], Callable[[], Experiment]]:
    """Register a function that makes the experiment."""

    def register(make: Callable[[], Experiment]) -> Callable[[], Experiment]:
        if name in TABLE:
            raise ValueError(name)
        TABLE[name] = lambda: Healthy(name=name, experiment=make(), advice=frozenset(advice.split()), least=least)
        return make

    return register


def part_of(name: str) -> str:
    """A twin belongs where its base program does; the others are divided by a checksum of their names, which knows nothing of results."""
    if name.startswith("twin/"):
        return BASES[name.split("/")[1]].part
    return "tuning" if zlib.crc32(name.encode()) % 2 else "held-out"


def program(name: str) -> Healthy:
    return TABLE[name]()


# -- twins of the base programs ------------------------------------------------------------------------------------------------------------


def redrawn(base: Base) -> Experiment:
    """Other parts of the same data, other first weights."""
    (inputs, targets), (test_inputs, test_targets) = base.data()
    if base.name in ("sunspots-lstm", "temperatures"):  # time order is kept
        parts = (inputs[:-200], targets[:-200]), (test_inputs, test_targets)
    else:
        parts = split(torch.cat([inputs, test_inputs]), torch.cat([targets, test_targets]), len(inputs), len(test_inputs), seed=11)

    def model() -> nn.Module:
        torch.rand(17)  # other first weights from the same seed
        return base.model(Design())()

    return base.experiment(train=parts[0], test=parts[1], model=model)


def other_optimizer(base: Base) -> Experiment:
    """AdamW instead of SGD, Nesterov or RMSprop instead of Adam, at usual rates."""
    if base.optimizer in ("sgd", "momentum"):
        return base.experiment(optimizer=made("adamw", 2e-3, weight_decay=1e-2))
    if base.name in ("fashion-cnn", "cancer", "housing", "seeds", "mnist-residual"):
        return base.experiment(optimizer=made("nesterov", 0.02))
    return base.experiment(optimizer=made("rmsprop" if base.tokens else "nadam", base.rate))


def cosine(epochs: int) -> Any:
    return lambda optimizer: torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)


def regularised(base: Base) -> Experiment:
    """Some dropout, some weight decay, a schedule, and epochs to pay for it."""
    epochs = base.epochs + 4
    return base.experiment(Design(dropout=0.15), optimizer=base.optimizer_of(weight_decay=1e-4), epochs=epochs, scheduler=cosine(epochs))


TWINS: dict[str, Callable[[Base], Experiment]] = {
    "redrawn": redrawn,
    "other optimizer": other_optimizer,
    "wider": lambda base: base.experiment(Design(width=1.6)),
    "gelu": lambda base: base.experiment(Design(hidden="gelu")),
    "regularised": regularised,
}


def twin(base: str, change: str) -> Experiment:
    return TWINS[change](BASES[base])


for _base in BASES.values():
    for _change in TWINS:
        healthy(f"twin/{_base.name}/{_change}", least=_base.least - 0.03)(partial(twin, _base.name, _change))

from diagnosis_programs import healthy_data, healthy_unusual  # noqa: E402, F401  (register theirs)

NAMES = tuple(TABLE)
