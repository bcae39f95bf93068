"""Measuring a network on one part of the data, in evaluation mode and without gradients."""

from __future__ import annotations

import math
from contextlib import nullcontext
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pellucid.core.records import Task
from pellucid.training.metrics import quick_metrics

TRAIN_SAMPLE_LIMIT = 4096  # samples of the training part measured after each epoch


def outputs_of(
    network: nn.Module, part: Any, *, device: torch.device, batch_size: int, autocast: torch.dtype | None = None
) -> tuple[Tensor, Tensor]:
    """The network's outputs and the targets of a whole part, float32 on the CPU. The network's mode is as before afterwards."""
    outputs: list[Tensor] = []
    targets: list[Tensor] = []
    precision = torch.autocast(device.type, autocast) if autocast else nullcontext()
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        with torch.inference_mode(), precision:
            for batch, target in part.batches(batch_size):
                outputs.append(network(batch.to(device)).float().cpu())
                targets.append(target.cpu())
    finally:
        for module, training in modes:
            module.training = training
    return torch.cat(outputs), torch.cat(targets)


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
    outputs, targets = outputs_of(network, part, device=device, batch_size=batch_size, autocast=autocast)
    losses = loss_function.per_sample(outputs, targets).double()
    measured = {"loss": float(losses.mean())}
    if len(losses) > 1:
        measured["loss_stderr"] = float(losses.std() / math.sqrt(len(losses)))
    if task.kind == "regression":
        outputs, targets = preprocessing.restore_targets(outputs), preprocessing.restore_targets(targets)
    return {**measured, **quick_metrics(outputs, targets, task)}


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


def evaluation_sample(part: Any, limit: int) -> Any:
    """At most `limit` samples of the training part, the same at every epoch: a curve measured as the validation curve is measured."""
    limit = min(limit, TRAIN_SAMPLE_LIMIT)
    if len(part) <= limit or not getattr(part, "ordered", True):
        return part
    chosen = torch.randperm(len(part), generator=torch.Generator().manual_seed(0))[:limit]
    return Subset(part, chosen.sort().values)
