"""Faults of the optimizer, the loop and the size of the network: they show while it trains, or when it is trained otherwise."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from diagnosis_programs.bases import Base
from diagnosis_programs.faults import Injected, fault, tensors, unlike
from diagnosis_programs.faults_of_structure import layers
from diagnosis_programs.networks import Design

RATE = ("learning_rate", "optimizer", "scheduler")


@fault(
    "lr_too_high",
    family="dynamic",
    where=RATE,
    early=True,
    also="divergence nan dead_relu saturation oscillation exploding_gradient constant_output plateau",
)
def lr_too_high(base: Base, severe: bool) -> Injected | None:
    """A thousand times the fitting rate; mild: thirty times."""
    return Injected(experiment=base.experiment(optimizer=base.optimizer_of(rate=base.rate * (1000 if severe else 30), name=None)))


def decaying(optimizer: Any) -> Any:
    return torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.1)


@fault("lr_too_low", family="dynamic", where=RATE, also="plateau underfitting too_few_epochs")
def lr_too_low(base: Base, severe: bool) -> Injected | None:
    """A hundred-thousandth of the fitting rate; mild: a hundredth, or a scheduler that divides it by ten after each epoch."""
    if not severe and unlike(base):
        slow = base.optimizer_of(rate=base.rate / 3)
        return Injected(experiment=base.experiment(optimizer=slow, scheduler=decaying), causes="lr_too_low")
    return Injected(experiment=base.experiment(optimizer=base.optimizer_of(rate=base.rate / (1e5 if severe else 100))))


def never_cleared(model: nn.Module, optimizer: Any, loss: Any, batch: Any) -> Tensor:
    inputs, targets = batch
    value = loss(model(inputs), targets)
    value.backward()
    optimizer.step()
    return value


def seldom_cleared(model: nn.Module, optimizer: Any, loss: Any, batch: Any) -> Tensor:
    """zero_grad() stands outside the inner loop."""
    if getattr(optimizer, "batches_seen", 0) % 20 == 0:
        optimizer.zero_grad()
    optimizer.batches_seen = getattr(optimizer, "batches_seen", 0) + 1
    return never_cleared(model, optimizer, loss, batch)


@fault("missing_zero_grad", family="dynamic", where=("optimizer.zero_grad()", "zero_grad", "step", "optimizer", "gradient"),
       structural=True, early=True, also="lr_too_high divergence oscillation exploding_gradient nan")  # fmt: skip
def missing_zero_grad(base: Base, severe: bool) -> Injected | None:
    """Gradients are never cleared; mild: once in twenty updates."""
    return Injected(experiment=base.experiment(step=never_cleared if severe else seldom_cleared))


def ascending(model: nn.Module, optimizer: Any, loss: Any, batch: Any) -> Tensor:
    inputs, targets = batch
    optimizer.zero_grad()
    value = loss(model(inputs), targets)
    (-value).backward()
    optimizer.step()
    return value


@fault(
    "flipped_gradient",
    family="dynamic",
    where=("gradient", "loss", "optimizer", "step"),
    structural=True,
    also="divergence nan lr_too_high wrong_loss exploding_gradient",
)
def flipped_gradient(base: Base, severe: bool) -> Injected | None:
    """The loss is maximised in the step; mild: the loss function itself has a minus sign too many."""
    if severe:
        return Injected(experiment=base.experiment(step=ascending))
    return Injected(experiment=base.experiment(loss=lambda o, t: -base.loss(o, t)))


@fault(
    "no_shuffle",
    family="dynamic",
    where=("data", "shuffle", "train", "batches"),
    also="oscillation overfitting plateau underfitting",
)
def no_shuffle(base: Base, severe: bool) -> Injected | None:
    """Samples come sorted by target; mild: one in four stands elsewhere."""
    (inputs, targets), test = tensors(base)
    key = targets.flatten().float()
    if not severe:
        chance = torch.Generator().manual_seed(0)
        moved = torch.rand(len(key), generator=chance) < 0.25
        key = torch.where(moved, key[torch.randperm(len(key), generator=chance)], key)
    order = key.argsort(stable=True)
    train: Any = (inputs[order], targets[order])
    if unlike(base):
        return Injected(experiment=base.experiment(train=DataLoader(TensorDataset(*train), batch_size=base.batch), test=test))
    return Injected(experiment=base.experiment(train=train, test=test, shuffle=False))


def scaled(factor: float) -> Any:
    def change(module: nn.Module) -> None:
        if isinstance(module, (nn.Linear, nn.Conv2d, nn.Conv1d)):
            module.weight.mul_(factor)

    return change


@fault(
    "vanishing_gradient",
    family="dynamic",
    where=(),
    causes="bad_init saturating_activation",
    early=True,
    also="lr_too_low plateau underfitting constant_output frozen_weights",
)
def vanishing_gradient(base: Base, severe: bool) -> Injected | None:
    """Eight more hidden layers with weights of a fifth of their size; mild: four, of half their size."""
    design = Design(extra=8, initialise=scaled(0.2)) if severe else Design(extra=4, initialise=scaled(0.5))
    return Injected(experiment=base.experiment(design), where=(*layers(base), "gradient"))


@fault(
    "exploding_gradient",
    family="dynamic",
    where=(),
    causes="bad_init",
    early=True,
    also="lr_too_high divergence nan oscillation dead_relu initial_loss plateau constant_output",
)
def exploding_gradient(base: Base, severe: bool) -> Injected | None:
    """Five more hidden layers with weights of eight times their size; mild: three, four times."""
    design = Design(extra=5, initialise=scaled(8.0)) if severe else Design(extra=3, initialise=scaled(4.0))
    return Injected(experiment=base.experiment(design), where=(*layers(base), "gradient"))


def biased(value: float) -> Any:
    def change(module: nn.Module) -> None:
        if isinstance(module, (nn.Linear, nn.Conv2d, nn.Conv1d)) and module.bias is not None and len(module.bias) > 10:
            module.bias.fill_(value)

    return change


@fault(
    "dead_relu",
    family="dynamic",
    where=(),
    causes="bad_init",
    early=True,
    also="vanishing_gradient constant_output plateau underfitting frozen_weights",
)
def dead_relu(base: Base, severe: bool) -> Injected | None:
    """Biases of hidden layers far below 0; mild: some below it."""
    if base.name in ("fashion-cnn", "temperatures") and not severe:  # what follows a normalisation does not see its bias
        return None
    return Injected(experiment=base.experiment(Design(extra=1, initialise=biased(-30.0 if severe else -3.0))), where=layers(base))


@fault(
    "nan",
    family="dynamic",
    where=("inputs", "input", "column", "data", "train", "targets"),
    early=True,
    structural=True,
    causes="missing_values",
    also="divergence",
)
def nan(base: Base, severe: bool) -> Injected | None:
    """One value of the inputs is missing (mild), or one in a hundred samples has one missing."""
    if base.tokens:
        return None
    (inputs, targets), test = tensors(base)
    rows = range(5, len(inputs), 100) if severe else [len(inputs) // 2]
    for row in rows:
        inputs[row].view(-1)[0] = torch.nan
    return Injected(experiment=base.experiment(train=(inputs, targets), test=test))


@fault("bad_batch_size", family="dynamic", where=("batch_size", "batch", "epochs"), causes="too_few_epochs", also="lr_too_low underfitting")
def bad_batch_size(base: Base, severe: bool) -> Injected | None:
    """All samples at once, so that there are as many updates as epochs; mild: a third of them."""
    samples = len(base.data()[0][0])
    epochs = max(3, base.epochs // 2)
    return Injected(experiment=base.experiment(batch_size=samples if severe else samples // 3, epochs=epochs))


@fault(
    "wrong_optimizer",
    family="dynamic",
    where=("optimizer", "learning_rate"),
    also="oscillation divergence underfitting plateau too_few_epochs",
)
def wrong_optimizer(base: Base, severe: bool) -> Injected | None:
    """Rprop, which is made for whole data sets, on small batches; mild: Adadelta or Adagrad at Adam's rate, or SGD at it."""
    if severe:
        return Injected(experiment=base.experiment(optimizer=base.optimizer_of("rprop", 0.01), batch_size=min(base.batch, 16)))
    name = "adadelta" if unlike(base) else "adagrad"
    return Injected(experiment=base.experiment(optimizer=base.optimizer_of(name, 1e-3)), causes="wrong_optimizer lr_too_low")


@fault("too_few_epochs", family="dynamic", where=("epochs",), causes="lr_too_low", also="underfitting bad_batch_size")
def too_few_epochs(base: Base, severe: bool) -> Injected | None:
    """One epoch at a cautious rate; mild: three."""
    return Injected(
        experiment=base.experiment(epochs=1 if severe else 3, optimizer=base.optimizer_of(rate=base.rate / 4)),
        where=("epochs", "learning_rate"),
    )


@fault(
    "over_regularised",
    family="dynamic",
    where=("weight_decay", "dropout", "optimizer", "regularisation"),
    also="underfitting plateau constant_output",
)
def over_regularised(base: Base, severe: bool) -> Injected | None:
    """Weight decay of 1 or dropout of 0.95; mild: 0.1 or 0.7."""
    if unlike(base):
        return Injected(experiment=base.experiment(Design(dropout=0.95 if severe else 0.7)), where=("dropout", "regularisation", "p"))
    decay = (30.0 if severe else 3.0) if base.optimizer == "adamw" else (1.0 if severe else 0.1)
    return Injected(experiment=base.experiment(optimizer=base.optimizer_of(weight_decay=decay)))


@fault("capacity", family="dynamic", where=(), also="underfitting")
def capacity(base: Base, severe: bool) -> Injected | None:
    """One unit in each hidden layer; mild: two or three."""
    design = Design(width=0.02 if severe else 0.07)
    return Injected(experiment=base.experiment(design), where=(*layers(base), "units", "width"))


@fault("leaky_batch", family="dynamic", where=(), also="underfitting plateau overfitting wrong_mode", structural=True)
def leaky_batch(base: Base, severe: bool) -> Injected | None:
    """A transpose and a view spread each sample over the batch; mild: the batch's mean is subtracted from the scores."""
    where = ("model", "batch", "output", *layers(base))
    if severe:
        return Injected(experiment=base.experiment(Design(mixing=True)), where=where)

    class Centred(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = base.model(Design())()

        def forward(self, x: Tensor) -> Tensor:
            scores = self.network(x)
            return scores - scores.mean(dim=0)

    return Injected(experiment=base.experiment(model=Centred), where=where)


class Backwards(torch.autograd.Function):
    """tanh whose derivative was written down wrongly: its sign depends on the value."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, severe: bool) -> Tensor:
        y = torch.tanh(x / 4) * 4
        ctx.save_for_backward(y)
        ctx.severe = severe
        return y

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:  # type: ignore[override]
        (y,) = ctx.saved_tensors
        return gradient * (y if ctx.severe else 1 + y.abs()), None


@fault(
    "wrong_gradient",
    family="dynamic",
    where=(),
    causes="flipped_gradient",
    also="divergence underfitting plateau constant_output",
    structural=True,
)
def wrong_gradient(base: Base, severe: bool) -> Injected | None:
    """An own autograd function with a derivative that is not its own; mild: of the right sign."""

    class Own(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = base.model(Design())()

        def forward(self, x: Tensor) -> Tensor:
            return Backwards.apply(self.network(x), severe)  # type: ignore[no-any-return]

    return Injected(experiment=base.experiment(model=Own), where=("model", "network", "gradient", "backward", "", *layers(base)),
                    causes="wrong_gradient")  # fmt: skip
