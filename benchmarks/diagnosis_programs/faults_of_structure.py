"""Faults of the network and the loss: they can be seen before the first step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from diagnosis_programs.bases import Base
from diagnosis_programs.faults import Injected, fault, tensors, unlike
from diagnosis_programs.networks import Design

OUTPUT = ("output", "outputs", "loss", "head", "last")


def places(base: Base) -> tuple[str, ...]:
    return (*OUTPUT, *base.head)


def designed(base: Base, design: Design, **changes: Any) -> Any:
    return base.experiment(design, **changes)


# -- outputs -----------------------------------------------------------------------------------------------------------------------------


@fault(
    "wrong_output_activation",
    family="static",
    where=OUTPUT,
    also="constant_output plateau underfitting saturation vanishing_gradient",
    structural=True,
)
def wrong_output_activation(base: Base, severe: bool) -> Injected | None:
    """Sigmoid or tanh before cross-entropy, softmax on one unit, sigmoid or ReLU onto unbounded values."""
    if base.kind == "classes":
        return Injected(experiment=designed(base, Design(output="sigmoid" if severe else "tanh")), where=places(base))
    if base.kind == "values":
        return Injected(experiment=designed(base, Design(output="sigmoid" if severe else "relu")), where=places(base))
    if severe:
        return Injected(experiment=designed(base, Design(output="softmax"), loss=nn.BCELoss()), where=places(base))
    return Injected(experiment=designed(base, Design(output="relu")), where=places(base))


def own_binary(outputs: Tensor, targets: Tensor) -> Tensor:
    p = outputs.clamp(1e-6, 1 - 1e-6)
    return -(targets * torch.log(p) + (1 - targets) * torch.log(1 - p)).mean()


def own_entropy(outputs: Tensor, targets: Tensor) -> Tensor:
    return -(F.one_hot(targets, outputs.shape[1]) * torch.log(outputs.clamp(min=1e-8))).sum(1).mean()


@fault(
    "missing_output_activation",
    family="static",
    where=OUTPUT,
    causes="wrong_loss wrong_output_activation",
    structural=True,
    also="plateau underfitting divergence lr_too_high exploding_gradient initial_loss dead_relu",
)
def missing_output_activation(base: Base, severe: bool) -> Injected | None:
    """Raw scores into a loss of (log-)probabilities; mild: softmax into nll_loss, the logarithm is missing."""
    if base.kind == "classes":
        if severe:
            return Injected(experiment=designed(base, Design(), loss=own_entropy if unlike(base) else nn.NLLLoss()), where=places(base))
        return Injected(experiment=designed(base, Design(output="softmax"), loss=F.nll_loss), where=places(base))
    if base.kind == "binary":
        return Injected(experiment=designed(base, Design(output=None if severe else "tanh"), loss=own_binary), where=places(base))
    return None


def to_the_number(outputs: Tensor, targets: Tensor) -> Tensor:
    """Every score is drawn to the number of the class."""
    return F.mse_loss(outputs, targets.float()[:, None].expand_as(outputs))


def absolute_of_scores(outputs: Tensor, targets: Tensor) -> Tensor:
    return F.l1_loss(torch.softmax(outputs, 1), F.one_hot(targets, outputs.shape[1]).float())


@fault(
    "wrong_loss",
    family="static",
    where=OUTPUT,
    causes="wrong_output_units wrong_output_activation",
    structural=True,
    also="plateau underfitting constant_output divergence label_encoding frozen_weights vanishing_gradient lr_too_low initial_loss",
)
def wrong_loss(base: Base, severe: bool) -> Injected | None:
    """Regression losses on class numbers, cross-entropy of one output (always 0), cross-entropy onto values."""
    if base.kind == "classes":
        return Injected(experiment=designed(base, Design(), loss=to_the_number if severe else absolute_of_scores), where=places(base),
                        structural=severe)  # fmt: skip
    if base.kind == "binary":
        return Injected(experiment=designed(base, Design(), loss=nn.CrossEntropyLoss() if severe else nn.L1Loss()), where=places(base),
                        structural=severe)  # fmt: skip
    return Injected(
        experiment=designed(base, Design(), loss=F.cross_entropy if severe else F.binary_cross_entropy_with_logits), where=places(base)
    )


def of_softmax(loss: Any) -> Callable[[Tensor, Tensor], Tensor]:
    return lambda outputs, targets: loss(F.softmax(outputs, dim=1), targets)


@fault("double_softmax", family="static", where=OUTPUT, also="plateau underfitting vanishing_gradient", structural=True)
def double_softmax(base: Base, severe: bool) -> Injected | None:
    """Softmax before cross-entropy; mild: log-softmax before it, which changes nothing. Of one output: sigmoid twice."""
    if base.kind == "classes":
        if not severe:
            return Injected(experiment=designed(base, Design(output="log_softmax")), where=places(base), structural=False)
        if unlike(base):
            return Injected(experiment=designed(base, Design(), loss=of_softmax(base.loss)), where=places(base))
        return Injected(experiment=designed(base, Design(output="softmax")), where=places(base))
    if base.kind == "binary":
        return Injected(
            experiment=designed(base, Design(output="sigmoid")), where=places(base), causes="double_softmax wrong_output_activation"
        )
    return None


@fault("softmax_wrong_axis", family="static", where=OUTPUT, also="leaky_batch plateau underfitting", structural=True)
def softmax_wrong_axis(base: Base, severe: bool) -> Injected | None:
    """Softmax over the batch; mild: before cross-entropy, which puts most of it right again."""
    if base.kind == "classes":
        if severe:
            return Injected(experiment=designed(base, Design(output="log_softmax_batch"), loss=nn.NLLLoss()), where=places(base))
        return Injected(
            experiment=designed(base, Design(output="log_softmax_batch")), where=places(base), causes="softmax_wrong_axis double_softmax"
        )
    if base.kind == "binary" and severe:
        return Injected(experiment=designed(base, Design(output="softmax_batch"), loss=nn.BCELoss()), where=places(base))
    return None


@fault(
    "wrong_output_units",
    family="static",
    where=OUTPUT,
    causes="wrong_loss label_encoding",
    also="plateau underfitting constant_output divergence initial_loss exploding_gradient lr_too_high shape_broadcast unnormalised_target",
)
def wrong_output_units(base: Base, severe: bool) -> Injected | None:
    """One output for many classes; mild: twenty more outputs than classes, which costs little. Four outputs for one value."""
    if base.kind == "classes":
        if not severe:
            return Injected(experiment=designed(base, Design(outputs=base.classes + 20)), where=places(base))
        if base.classes == 2:
            return None
        (train, test) = (((inputs, targets.float()[:, None])) for inputs, targets in tensors(base))
        loss = nn.BCEWithLogitsLoss() if unlike(base) else nn.MSELoss()
        return Injected(
            experiment=designed(base, Design(outputs=1), loss=loss, train=train, test=test),
            where=(*places(base), "targets"),
            structural=True,
        )
    if base.kind == "values":
        return Injected(
            experiment=designed(base, Design(outputs=4), loss=lambda o, t: ((o - t) ** 2).mean()),
            where=places(base), causes="wrong_output_units shape_broadcast",
        )  # fmt: skip
    return None


# -- losses ------------------------------------------------------------------------------------------------------------------------------


def by_hand(gain: float) -> Callable[[Tensor, Tensor], Tensor]:
    def loss(outputs: Tensor, targets: Tensor) -> Tensor:
        p = torch.softmax(gain * outputs, dim=1)
        return -torch.log(p[torch.arange(len(targets)), targets]).mean()

    return loss


def binary_by_hand(gain: float) -> Callable[[Tensor, Tensor], Tensor]:
    def loss(outputs: Tensor, targets: Tensor) -> Tensor:
        p = torch.sigmoid(gain * outputs)
        return -(targets * p.log() + (1 - targets) * (1 - p).log()).mean()

    return loss


def of_logarithms(outputs: Tensor, targets: Tensor) -> Tensor:
    return torch.sqrt(F.mse_loss(torch.log(outputs + 1), torch.log(targets + 1)))


def log_cosh(outputs: Tensor, targets: Tensor) -> Tensor:
    return torch.log(torch.cosh(4 * (outputs - targets))).mean()


@fault("unstable_loss", family="static", where=("loss", *OUTPUT), also="nan divergence lr_too_high initial_loss exploding_gradient")
def unstable_loss(base: Base, severe: bool) -> Injected | None:
    """A logarithm of what may be 0; severe: it will be."""
    if base.kind == "classes":
        return Injected(experiment=designed(base, Design(), loss=by_hand(20.0 if severe else 1.0)), where=places(base))
    if base.kind == "binary":
        return Injected(experiment=designed(base, Design(), loss=binary_by_hand(20.0 if severe else 1.0)), where=places(base))
    return Injected(
        experiment=designed(base, Design(), loss=of_logarithms if severe else log_cosh), where=places(base),
        causes="unstable_loss wrong_loss nan" if severe else "",
    )  # fmt: skip


def summed(base: Base) -> Any:
    if base.kind == "classes":
        return nn.CrossEntropyLoss(reduction="sum") if unlike(base) else (lambda o, t: F.cross_entropy(o, t, reduction="none").sum())
    if base.kind == "binary":
        return nn.BCEWithLogitsLoss(reduction="sum")
    return (lambda o, t: ((o - t) ** 2).sum()) if unlike(base) else nn.MSELoss(reduction="sum")


@fault("loss_reduction_sum", family="static", where=("loss",), also="lr_too_high divergence nan exploding_gradient dead_relu oscillation")
def loss_reduction_sum(base: Base, severe: bool) -> Injected | None:
    """The loss of a batch is summed at a rate that fits its mean; mild: with an optimizer that divides by the size of the gradient."""
    plain = base.optimizer in ("sgd", "momentum")
    if plain != severe:
        return None
    return Injected(experiment=designed(base, Design(), loss=summed(base)))


@fault(
    "shape_broadcast",
    family="static",
    where=("loss", "targets", "output", "outputs"),
    structural=True,
    also="constant_output plateau underfitting",
)
def shape_broadcast(base: Base, severe: bool) -> Injected | None:
    """Outputs (N, 1) against targets (N,); mild: the other way round, or with an absolute error."""
    if base.kind == "classes":
        return None
    if severe:
        train, test = ((inputs, targets[:, 0]) for inputs, targets in tensors(base))
        loss = F.mse_loss if base.kind == "values" and unlike(base) else _squares(base)
        return Injected(experiment=designed(base, Design(), loss=loss, train=train, test=test))
    return Injected(experiment=designed(base, Design(), loss=lambda o, t: _squares(base)(o.squeeze(1), t)))


def _squares(base: Base) -> Callable[[Tensor, Tensor], Tensor]:
    through = torch.sigmoid if base.kind == "binary" else (lambda x: x)
    return lambda outputs, targets: (through(outputs) - targets).pow(2).mean()


# -- layers ------------------------------------------------------------------------------------------------------------------------------


def layers(base: Base) -> tuple[str, ...]:
    return ("model", "activation", "hidden", "more", "layers", *base.body, *base.head)


def nonlinear(base: Base) -> bool:
    """Whether without its activations the network is linear in its inputs."""
    return base.name not in ("fashion-cnn", "digits-cnn", "mnist-residual", "power-gru", "sunspots-lstm", "vowels-lstm", "heart-cnn1d",
                             "reviews-transformer", "temperatures")  # fmt: skip


@fault("missing_activation", family="static", where=(), causes="capacity", also="underfitting", structural=True)
def missing_activation(base: Base, severe: bool) -> Injected | None:
    """No activation between the linear layers; severe: three more of them."""
    if severe and not nonlinear(base):
        return None
    return Injected(
        experiment=designed(base, Design(hidden=None, extra=3 if severe else 1)), where=(*layers(base), "hidden.0", "model"),
        causes="missing_activation",
    )  # fmt: skip


@fault(
    "wrong_hidden_activation",
    family="static",
    where=(),
    also="vanishing_gradient plateau underfitting constant_output lr_too_low",
    structural=True,
)
def wrong_hidden_activation(base: Base, severe: bool) -> Injected | None:
    """Softmax between layers; mild: log-softmax."""
    return Injected(experiment=designed(base, Design(hidden="softmax" if severe else "log_softmax")), where=layers(base))


@fault(
    "saturating_activation", family="static", where=(), causes="vanishing_gradient", also="plateau underfitting constant_output saturation"
)
def saturating_activation(base: Base, severe: bool) -> Injected | None:
    """Sigmoids in hidden layers; severe: five more layers of them."""
    return Injected(experiment=designed(base, Design(hidden="sigmoid", extra=5 if severe else 0)), where=layers(base))


def zero(module: nn.Module) -> None:
    if isinstance(module, (nn.Linear, nn.Conv2d, nn.Conv1d)):
        nn.init.zeros_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def constant(module: nn.Module) -> None:
    if isinstance(module, (nn.Linear, nn.Conv2d, nn.Conv1d)):
        nn.init.constant_(module.weight, 0.5)


def normal(module: nn.Module) -> None:
    if isinstance(module, (nn.Linear, nn.Conv2d, nn.Conv1d)):
        nn.init.normal_(module.weight)


def uniform(module: nn.Module) -> None:
    if isinstance(module, (nn.Linear, nn.Conv2d, nn.Conv1d)):
        nn.init.uniform_(module.weight)


@fault(
    "bad_init",
    family="static",
    where=(),
    also="exploding_gradient lr_too_high divergence initial_loss constant_output plateau underfitting vanishing_gradient frozen_weights "
    "dead_relu oscillation",
)
def bad_init(base: Base, severe: bool) -> Injected | None:
    """All weights alike (0, or 0.5); mild: drawn far too large."""
    change = (zero if unlike(base) else constant) if severe else (normal if unlike(base) else uniform)
    return Injected(experiment=designed(base, Design(initialise=change)), where=(*layers(base), "weights", "parameters"), structural=severe)


@fault("frozen_weights", family="static", where=(), causes="unowned_parameters", also="underfitting plateau lr_too_low")
def frozen_weights(base: Base, severe: bool) -> Injected | None:
    """Random first layers with requires_grad=False; severe: the optimizer is given the last layer only."""
    if not severe:
        return Injected(experiment=designed(base, Design(freeze=base.body)), where=base.body)

    def only_head(model: nn.Module) -> Any:
        mine = [parameter for name, parameter in model.named_parameters() if name.startswith(base.head)]
        from diagnosis_programs.bases import OPTIMIZERS

        return OPTIMIZERS[base.optimizer](mine, lr=base.rate)

    return Injected(experiment=designed(base, Design(), optimizer=only_head), where=(*base.body, "optimizer"), structural=True)


@fault(
    "detached_branch", family="static", where=(), causes="frozen_weights", also="underfitting plateau unowned_parameters", structural=True
)
def detached_branch(base: Base, severe: bool) -> Injected | None:
    """detach(), .data or no_grad() before the last layer; mild: after the first."""
    return Injected(experiment=designed(base, Design(detach="late" if severe else "early")), where=(*layers(base), *base.head),
                    causes="detached_branch")  # fmt: skip


def in_evaluation(model: nn.Module, optimizer: Any, loss: Any, batch: Any) -> Tensor:
    """The call of model.train() after an evaluation was forgotten."""
    model.eval()
    inputs, targets = batch
    optimizer.zero_grad()
    value = loss(model(inputs), targets)
    value.backward()
    optimizer.step()
    return value


@fault("wrong_mode", family="static", where=("mode", "model", "dropout", "evaluation"), also="overfitting underfitting", structural=True)
def wrong_mode(base: Base, severe: bool) -> Injected | None:
    """F.dropout that is never switched off; mild: training in evaluation mode, so that dropout never works."""
    where = ("mode", "model", "dropout", "evaluation", "norms", "bn", "output", *layers(base))
    if severe:
        return Injected(experiment=designed(base, Design(always_drop=0.5)), where=where)
    return Injected(experiment=designed(base, Design(dropout=0.2), step=in_evaluation), where=where)
