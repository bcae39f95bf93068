"""The changes that an engineer tries on any training, and where they change anything."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from pellucid.core.records import Change
from pellucid.diagnosis.experiments.experiment import Experiment
from pellucid.diagnosis.experiments.samples import called, device_of, first_tensor, on_device, samples_in
from pellucid.diagnosis.experiments.scoring import scoring_of

ADAPTIVE = ("Adam", "AdamW", "NAdam", "RAdam", "Adamax", "RMSprop", "Muon")
RATES, FARTHER = (0.1, 10.0), (0.01, 100.0)  # times the user's learning rate
ADAM_RATE = 1e-3  # Kingma and Ba, 2015, the default of the paper and of torch
USUAL_BATCH = 32  # Masters and Luschi, Revisiting small batch training, 2018
LEAST_UPDATES = 20  # per epoch: with fewer, smaller batches are tried


def learning_rate(optimizer: Any) -> float | None:
    """Of the first group; None where it has none."""
    rate = optimizer.param_groups[0].get("lr")
    return None if rate is None else float(rate)


def usual_suspects(experiment: Experiment, model: nn.Module, optimizer: Any) -> Iterable[tuple[str, Change]]:
    """The changes that an engineer tries on any training, where they change anything."""
    inputs, targets = experiment.samples("train", 1000)
    rate = learning_rate(optimizer)
    tensor = inputs if isinstance(inputs, Tensor) and inputs.is_floating_point() else None
    if tensor is not None and unusual_scale(tensor):
        yield "standardised inputs", Change(kind="standardise_inputs")
    if scoring_of(experiment).metric == "r2" and unusual_scale(first_tensor(targets)):
        yield "standardised targets", Change(kind="standardise_targets")
    loader = isinstance(experiment.train, DataLoader)
    updates = experiment.steps / experiment.epochs
    if not loader and experiment.batch_size > USUAL_BATCH and updates < LEAST_UPDATES and samples_in(experiment.train) > 4 * USUAL_BATCH:
        yield "batch size", Change(kind="batch_size", values={"size": USUAL_BATCH})
    if not loader and experiment.batch_size < 4 and samples_in(experiment.train) > 4 * USUAL_BATCH:
        yield "batch size", Change(kind="batch_size", values={"size": USUAL_BATCH})
    for factor in RATES if rate else ():
        yield f"learning rate x {factor:g}", Change(kind="learning_rate", values={"rate": (rate or 0.0) * factor})
    if type(optimizer).__name__ not in ADAPTIVE or rate is None:
        yield "Adam", Change(kind="optimizer", values={"name": "adam", "rate": ADAM_RATE})
    if any((group.get("weight_decay") or 0.0) > 0 for group in optimizer.param_groups):
        yield "no weight decay", Change(kind="weight_decay", values={"value": 0.0})
    if draws(experiment, model):
        yield "no dropout", Change(kind="no_dropout")
    for factor in FARTHER if rate else ():
        yield f"learning rate x {factor:g}", Change(kind="learning_rate", values={"rate": (rate or 0.0) * factor})


def draws(experiment: Experiment, model: nn.Module) -> bool:
    """Whether a training pass draws random numbers, as dropout does, of a module or of a function."""
    inputs, _ = experiment.first_batch()
    model.train()
    answers: list[Tensor] = []
    try:
        for seed in (0, 1):
            with experiment.seeded(seed), torch.no_grad():
                answers.append(first_tensor(called(copy.deepcopy(model), on_device(inputs, device_of(model)))))
    except Exception:  # a model that cannot be copied or wants another step: then its modules are asked
        return any("Dropout" in type(module).__name__ for module in model.modules())
    return not torch.equal(*answers)


def unusual_scale(tensor: Tensor) -> bool:
    """Whether values are far from mean 0 and deviation 1: a column ten times as large as another, or all of them three times too large."""
    flat = tensor.detach().double().reshape(len(tensor), -1) if tensor.dim() == 2 else tensor.detach().double().reshape(-1, 1)
    finite = torch.where(flat.isfinite(), flat, torch.zeros_like(flat))
    deviations = finite.std(0, unbiased=False)
    alive = deviations > 0
    if not bool(alive.any()):
        return False
    sizes = finite.pow(2).mean(0).sqrt()[alive]
    return bool(sizes.max() > 3) or bool(sizes.max() < 0.1) or bool(deviations[alive].max() > 10 * deviations[alive].median())
