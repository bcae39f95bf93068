"""Measuring a network on one part of the data, in evaluation mode and without gradients."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pellucid.core.language import Text, text
from pellucid.core.records import Task
from pellucid.core.system import peak_memory_bytes
from pellucid.training.masks.losses import per_image
from pellucid.training.masks.measures import compact
from pellucid.training.metrics import MEASURES, quick_metrics
from pellucid.training.summary import WORTH_SAYING, usage_sentence
from pellucid.training.weighted import joined, without_weights

FIRST_SECOND = 1.0  # of a long pass: what it has done tells how long all of it takes
TRAIN_SAMPLE_LIMIT = 4096  # samples of the training part measured after each epoch
TRAIN_SCORE_LIMIT = 10_000  # and at the end: an accuracy within 0.01, where all of a large part take as long as a tenth of the training


def outputs_of(
    network: nn.Module,
    part: Any,
    *,
    device: torch.device,
    batch_size: int,
    autocast: torch.dtype | None = None,
    kept: Callable[[Tensor], Tensor] | None = None,
) -> tuple[Tensor, Tensor]:
    """The network's outputs, or what `kept` keeps of each batch's, and the targets of a whole part, float32 on the CPU.

    The network's mode is as before afterwards.
    """
    outputs: list[Tensor] = []
    targets: list[Tensor] = []
    for output, target in answers_of(network, part, device=device, batch_size=batch_size, autocast=autocast):
        outputs.append((output if kept is None else kept(output)).cpu())
        targets.append((target if kept is None else compact(target)).cpu())
    return joined(outputs), joined(targets)


def answers_of(
    network: nn.Module, part: Any, *, device: torch.device, batch_size: int, autocast: torch.dtype | None = None
) -> Iterator[tuple[Tensor, Any]]:
    """(output in float32, targets) batch by batch, in evaluation mode; the network's mode is as before afterwards."""
    precision = torch.autocast(device.type, autocast) if autocast else nullcontext()
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        with torch.inference_mode(), precision:
            for batch, target in part.batches(batch_size):
                yield network(batch.to(device)).float(), target
    finally:
        for module, training in modes:
            module.training = training


def evaluate(
    network: nn.Module,
    part: Any,
    loss_function: Any,
    task: Task,
    preprocessing: Any,
    *,
    device: torch.device,
    batch_size: int,
    autocast: torch.dtype | None = None,
) -> dict[str, float]:
    """Loss with its standard error over the samples, and the task's cheap metrics, on one part."""
    if MEASURES[task.kind].kept is not None:
        return _evaluated_by_batches(network, part, loss_function, task, device, batch_size, autocast)
    outputs, targets = outputs_of(network, part, device=device, batch_size=batch_size, autocast=autocast)
    losses = loss_function.per_sample(outputs, targets).double()
    targets = without_weights(targets)
    measured = {"loss": float(losses.mean())}
    if len(losses) > 1:
        measured["loss_stderr"] = float(losses.std() / math.sqrt(len(losses)))
    if task.numeric:
        outputs, targets = preprocessing.restore_targets(outputs), preprocessing.restore_targets(targets)
    return {**measured, **quick_metrics(outputs, targets, task, part)}


def _evaluated_by_batches(
    network: nn.Module, part: Any, loss_function: Any, task: Task, device: torch.device, batch_size: int, autocast: torch.dtype | None
) -> dict[str, float]:
    """As `evaluate`, where the outputs of a whole part are too many to keep: a term of the loss and a class map of each sample are."""
    terms: list[Tensor] = []
    outputs: list[Tensor] = []
    targets: list[Tensor] = []
    kept = MEASURES[task.kind].kept
    assert kept is not None
    for output, target in answers_of(network, part, device=device, batch_size=batch_size, autocast=autocast):
        terms.append(loss_function.terms(output, target.to(device)).double().cpu())
        outputs.append(kept(output).cpu())
        targets.append(compact(target).cpu())
    losses = per_image(torch.cat(terms))
    measured = {"loss": float(losses.mean())}
    if len(losses) > 1:
        measured["loss_stderr"] = float(losses.std() / math.sqrt(len(losses)))
    return {**measured, **quick_metrics(joined(outputs), joined(targets), task)}


class Announced:
    """A part that is gone through once, told about: after its first second how long all of it will take, at the end what it took.

    What is over in a moment is not told about.
    """

    def __init__(self, part: Any, tell: Callable[[Text], None]) -> None:
        self.part, self.tell = part, tell

    def __len__(self) -> int:
        return len(self.part)

    def batches(self, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
        begun, done = time.perf_counter(), 0
        measured = announced = False
        for inputs, targets in self.part.batches(batch_size):
            yield inputs, targets
            done += len(inputs)
            spent = time.perf_counter() - begun
            if not measured and spent >= FIRST_SECOND:
                measured, expected = True, spent / done * len(self)
                announced = expected >= WORTH_SAYING
                if announced:
                    self.tell(text("expected: {usage}", usage=usage_sentence(expected, peak_memory_bytes())))
        if announced:
            self.tell(text("it took: {usage}", usage=usage_sentence(time.perf_counter() - begun, peak_memory_bytes())))


class Subset:
    """Fixed samples of a part, in the part's order."""

    def __init__(self, part: Any, chosen: Tensor) -> None:
        self.part, self.chosen = part, chosen
        self.indices = np.asarray(part.indices)[chosen.numpy()]

    def __len__(self) -> int:
        return len(self.chosen)

    def batches(self, batch_size: int, order: Tensor | None = None) -> Any:
        chosen = self.chosen if order is None else self.chosen[order]
        return self.part.batches(batch_size, chosen.to(getattr(self.part, "device", "cpu")))


def curve_samples(train: Any, validation: Any) -> int:
    """How many training samples are measured after every epoch."""
    return min(max(len(validation), 256), getattr(train, "curve_samples", TRAIN_SAMPLE_LIMIT))


def evaluation_sample(part: Any, limit: int) -> Any:
    """At most `limit` samples of the training part, the same every time: a curve measured as the validation curve is measured."""
    if len(part) <= limit or not getattr(part, "ordered", True):
        return part
    chosen = torch.randperm(len(part), generator=torch.Generator().manual_seed(0))[:limit]
    return Subset(part, chosen.sort().values)
