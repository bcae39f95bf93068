"""Changes of shapes that meet in the loss: one prediction for one target, in the place of each with all."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from pellucid.diagnosis.experiments.experiment import Experiment
from pellucid.diagnosis.experiments.scoring import class_axis
from pellucid.diagnosis.remedies import cannot, remedy
from pellucid.diagnosis.remedies.losses import one_tensor, shapes_of, with_loss
from pellucid.diagnosis.remedies.rewiring import Call, Rewiring, under

COMPARING = frozenset({  # operations that spread one tensor over the other
    "sub", "rsub", "add", "mul", "div", "mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss", "maximum", "minimum",
})  # fmt: skip


@remedy("reshape_targets")
def reshape_targets(experiment: Experiment, _: Mapping[str, Any]) -> Experiment:
    """The loss gets targets in the shape of the outputs, and compares each with its own; where classes are compared with scores (N, K),
    in the shape (N,)."""

    def shaped(outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        if targets.numel() == outputs.numel():
            return outputs, targets.reshape(outputs.shape)
        if class_axis(outputs, targets) is not None:
            return outputs, targets.reshape(outputs.shape[:1] + outputs.shape[2:])
        raise cannot("reshape_targets", shapes_of(outputs, targets))

    return _reshaped(experiment, "reshape_targets", shaped)


@remedy("reshape_outputs")
def reshape_outputs(experiment: Experiment, _: Mapping[str, Any]) -> Experiment:
    """The loss gets outputs in the shape of the targets, and compares each with its own."""

    def shaped(outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        if targets.numel() != outputs.numel():
            raise cannot("reshape_outputs", shapes_of(outputs, targets))
        return outputs.reshape(targets.shape), targets

    return _reshaped(experiment, "reshape_outputs", shaped)


def _reshaped(experiment: Experiment, kind: str, shaped: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]) -> Experiment:
    """The loss of tensors in one shape; where it changes one of them itself, its own comparison is changed."""
    given = experiment.loss
    alike = Rewiring(kind=kind, rewrite=_one_by_one, names=COMPARING)

    def loss(outputs: Any, targets: Any) -> Any:
        with under(alike, "loss"):
            return given(*shaped(one_tensor(outputs, kind), one_tensor(targets, kind)))

    return with_loss(experiment, loss)


def _one_by_one(call: Call) -> Any:
    first, second = (*call.args[:2], None, None)[:2]
    if isinstance(first, Tensor) and isinstance(second, Tensor) and first.shape != second.shape and first.numel() == second.numel() > 1:
        try:
            spread = torch.broadcast_shapes(first.shape, second.shape)
        except RuntimeError:  # shapes that do not meet raise in the call itself
            return call.made()
        if spread.numel() > first.numel():
            return call.function(first, second.reshape(first.shape), *call.args[2:], **call.kwargs)
    return call.made()
