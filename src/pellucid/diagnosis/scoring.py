"""How good a network's answers are, whatever loss it was trained with: the yardstick by which a remedy is compared with what was before."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from pellucid.diagnosis.experiment import Experiment

BATCH = 512
CLASSES_LIMIT = 1000


@dataclass(frozen=True)
class Scoring:
    """The metric: "accuracy" of class targets, "r2" of values, "loss" (its negative, so that higher is better) of anything else.

    Class targets are whole numbers (N,) or (N, ...) with outputs (N, K, ...); 0 and 1 with one output; or one row of K with a single 1.
    """

    metric: str
    classes: int = 0

    @torch.no_grad()
    def measure(self, model: nn.Module, loss: Callable[[Any, Any], Any], inputs: Any, targets: Any) -> tuple[float | None, float | None]:
        """Mean loss and score in evaluation mode; the mode is put back."""
        from pellucid.diagnosis.experiment import first_tensor, mapped

        mode = model.training
        model.eval()
        size = len(first_tensor(targets))
        total, weight = 0.0, 0
        outputs: list[Any] = []
        try:
            for start in range(0, size, BATCH):
                part = slice(start, start + BATCH)
                given, wanted = mapped(lambda t, p=part: t[p], inputs), mapped(lambda t, p=part: t[p], targets)
                answer = model(given)
                count = len(first_tensor(wanted))
                total += float(loss(answer, wanted)) * count
                weight += count
                outputs.append(answer)
        finally:
            model.train(mode)
        mean = total / max(weight, 1)
        if self.metric == "loss" or not all(isinstance(answer, Tensor) for answer in outputs) or not isinstance(targets, Tensor):
            return mean, -mean
        return mean, self.score(torch.cat(outputs), targets)

    def score(self, outputs: Tensor, targets: Tensor) -> float | None:
        """The metric of outputs (N, ...) against targets (N, ...); None where their shapes do not belong together."""
        if self.metric == "accuracy":
            labels = targets.argmax(1) if _one_hot(targets) else targets
            if outputs.dim() == labels.dim() + 1 and outputs.shape[1] > 1:
                chosen = outputs.argmax(1)
            else:  # one output for two classes: a probability, or a score around 0
                single = outputs.reshape(labels.shape) if outputs.numel() == labels.numel() else None
                if single is None:
                    return None
                probabilities = bool((single >= 0).all()) and bool((single <= 1).all())
                chosen = (single > (0.5 if probabilities else 0.0)).to(labels.dtype)
            if chosen.shape != labels.shape:
                return None
            return float((chosen == labels).double().mean())
        if outputs.numel() != targets.numel():
            return None
        wanted = targets.double().reshape(len(targets), -1)
        error = ((outputs.double().reshape(wanted.shape) - wanted) ** 2).sum()
        spread = ((wanted - wanted.mean(0)) ** 2).sum()
        return float(1 - error / spread) if float(spread) > 0 else None


def scoring_of(experiment: Experiment) -> Scoring:
    """The metric that fits the targets."""
    _, targets = experiment.samples("train", 1000)
    if not isinstance(targets, Tensor):
        return Scoring("loss")
    if _one_hot(targets):
        return Scoring("accuracy", targets.shape[1])
    values = targets.reshape(-1)
    whole = not targets.is_floating_point() or bool((values == values.round()).all())
    low, high = (float(values.min()), float(values.max())) if len(values) else (0.0, 0.0)
    classes = int(high) + 1
    if not targets.is_floating_point() and low >= 0 and classes <= CLASSES_LIMIT:
        return Scoring("accuracy", max(classes, 2))
    if whole and low >= 0 and high <= 1 and high > low:
        return Scoring("accuracy", 2)
    return Scoring("r2")


def _one_hot(targets: Tensor) -> bool:
    """Rows of K > 1 with a single 1 and else 0."""
    if targets.dim() != 2 or targets.shape[1] < 2:
        return False
    return bool(((targets == 0) | (targets == 1)).all()) and bool((targets.sum(1) == 1).all())
