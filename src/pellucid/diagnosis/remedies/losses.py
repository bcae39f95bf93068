"""Changes of the loss: another one, another reduction, another weight of classes, and shapes that fit."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from pellucid.core.language import text
from pellucid.diagnosis.experiments.experiment import Experiment
from pellucid.diagnosis.experiments.samples import first_tensor
from pellucid.diagnosis.experiments.scoring import class_axis, scoring_of
from pellucid.diagnosis.remedies import cannot, remedy

Loss = Callable[[Any, Any], Any]


@remedy("loss", "name")
def loss(experiment: Experiment, values: Mapping[str, Any]) -> Experiment:
    """One of PyTorch's losses, averaged over the samples; targets are given in the form that it takes."""
    name = str(values["name"])
    if name not in LOSSES:
        raise cannot("loss", text("{name!r} is none of {names}", name=name, names=list(LOSSES)))
    return with_loss(experiment, LOSSES[name])


@remedy("loss_mean")
def loss_mean(experiment: Experiment, _: Mapping[str, Any]) -> Experiment:
    """The loss is divided by the number of samples in the batch."""
    summed = experiment.loss
    return with_loss(experiment, lambda outputs, targets: summed(outputs, targets) / max(1, len(first_tensor(targets))))


@remedy("class_weight")
def class_weight(experiment: Experiment, _: Mapping[str, Any]) -> Experiment:
    """Classes weigh in inverse proportion to their number: w_k = N / (K n_k), and the loss is sum(w l) / sum(w) over the batch.

    Made of the user's own loss, which must be a mean over samples: sum_k w_k n_k mean_k / sum_k w_k n_k, a mean for each class. What is
    classified is scored by the balanced accuracy: the plain one rises where rare classes are given up.
    """
    _, targets = experiment.samples("train", 20_000)
    labels = _labels(one_tensor(targets, "class_weight"))
    if labels.numel() != len(labels):
        raise cannot("class_weight", text("there are several targets for each sample"))
    values, counts = labels.unique(return_counts=True)
    if len(values) < 2:
        raise cannot("class_weight", text("the training part holds one class only"))
    weights = (counts.sum() / (len(values) * counts.double())).to(torch.get_default_dtype())
    given = experiment.loss

    def weighted(outputs: Any, targets: Any) -> Any:
        mine = _labels(targets)
        total, parts = 0.0, []
        for value, weight in zip(values.to(mine.device), weights.tolist(), strict=True):
            chosen = mine == value
            count = int(chosen.sum())
            if count:
                parts.append(weight * count * given(one_tensor(outputs, "class_weight")[chosen], targets[chosen]))
                total += weight * count
        return sum(parts) / total if parts else given(outputs, targets)

    changed = with_loss(experiment, weighted)
    return changed.changed(scoring=replace(scoring_of(changed), balanced=True))


def with_loss(experiment: Experiment, changed: Loss) -> Experiment:
    """The experiment trained with another loss, and scored as before: where the loss is the score, by the user's own."""
    scoring = scoring_of(experiment)
    if scoring.metric == "loss" and scoring.loss is None:
        scoring = replace(scoring, loss=experiment.loss)
    return experiment.changed(loss=changed, scoring=scoring)


# -- PyTorch's losses, with targets in the form that they take ---------------------------------------------------------------------------


def _as_classes(outputs: Tensor, targets: Tensor) -> Tensor:
    """Class indices (N, ...) for scores (N, K, ...); probabilities of the outputs' own shape stay."""
    if targets.shape == outputs.shape:
        return targets.to(outputs.dtype)
    return targets.reshape(outputs.shape[:1] + outputs.shape[2:]).long()


def _as_values(outputs: Tensor, targets: Tensor) -> Tensor:
    """Values of the outputs' shape and type; classes as rows of K with a single 1."""
    if targets.numel() == outputs.numel():
        return targets.reshape(outputs.shape).to(outputs.dtype)
    axis = class_axis(outputs, targets)
    if axis is None:
        raise cannot("loss", shapes_of(outputs, targets))
    rows = F.one_hot(targets.reshape(outputs.shape[:1] + outputs.shape[2:]).long(), outputs.shape[1]).to(outputs.dtype)
    return rows.movedim(-1, 1)


def _of_classes(function: Loss) -> Loss:
    return lambda outputs, targets: function(outputs, _as_classes(one_tensor(outputs, "loss"), one_tensor(targets, "loss")))


def _of_values(function: Loss) -> Loss:
    return lambda outputs, targets: function(outputs, _as_values(one_tensor(outputs, "loss"), one_tensor(targets, "loss")))


def _nll(outputs: Tensor, targets: Tensor) -> Tensor:
    if targets.shape == outputs.shape:
        return -(outputs * targets.to(outputs.dtype)).sum(1).mean()
    return F.nll_loss(outputs, _as_classes(outputs, targets))


LOSSES: Mapping[str, Loss] = {
    "cross_entropy": _of_classes(F.cross_entropy),
    "nll": _nll,
    "bce": _of_values(F.binary_cross_entropy),
    "bce_with_logits": _of_values(F.binary_cross_entropy_with_logits),
    "mse": _of_values(F.mse_loss),
    "mae": _of_values(F.l1_loss),
    "huber": _of_values(F.huber_loss),
    "smooth_l1": _of_values(F.smooth_l1_loss),
    "poisson_nll": _of_values(F.poisson_nll_loss),
}


def _labels(targets: Tensor) -> Tensor:
    """One label for each sample, from rows of K with a single 1, a column (N, 1), or as they are."""
    if targets.dim() == 2 and targets.shape[1] > 1:
        return targets.argmax(1)
    return targets.reshape(len(targets)) if targets.dim() == 2 else targets


def one_tensor(given: Any, kind: str) -> Tensor:
    """Outputs or targets, which must be a tensor."""
    if isinstance(given, Tensor):
        return given
    raise cannot(kind, text("outputs and targets are no single tensors, but {type}", type=type(given).__name__))


def shapes_of(outputs: Tensor, targets: Tensor) -> Any:
    """How outputs and targets do not fit, in words."""
    return text(
        "the outputs have shape {outputs}, the targets {targets}", outputs=str(tuple(outputs.shape)), targets=str(tuple(targets.shape))
    )
