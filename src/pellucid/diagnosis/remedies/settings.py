"""Changes of the settings of a training: learning rate, optimizer, batches, epochs, and what is done around an update."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from pellucid.core.language import text
from pellucid.diagnosis.experiments.experiment import Experiment
from pellucid.diagnosis.experiments.samples import loader_of
from pellucid.diagnosis.remedies import cannot, remedy

OPTIMIZERS: Mapping[str, Callable[..., torch.optim.Optimizer]] = {
    "sgd": torch.optim.SGD,
    "momentum": lambda groups, lr: torch.optim.SGD(groups, lr=lr, momentum=0.9),
    "nesterov": lambda groups, lr: torch.optim.SGD(groups, lr=lr, momentum=0.9, nesterov=True),
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "radam": torch.optim.RAdam,
    "rmsprop": torch.optim.RMSprop,
    "adagrad": torch.optim.Adagrad,
}


@remedy("learning_rate", "rate")
def learning_rate(experiment: Experiment, values: Mapping[str, Any]) -> Experiment:
    """The first group's learning rate becomes `rate`; those of other groups keep their proportion to it."""
    rate = float(values["rate"])
    built(experiment, "learning_rate", needs="lr")

    def change(_: nn.Module, optimizer: Any) -> Any:
        first = float(optimizer.param_groups[0]["lr"])
        for group in optimizer.param_groups:
            wanted = rate * float(group["lr"]) / first if first else rate
            if isinstance(group["lr"], Tensor):
                group["lr"].fill_(wanted)
            else:
                group["lr"] = wanted
        return optimizer

    return with_optimizer(experiment, change)


@remedy("optimizer", "name", "rate")
def optimizer(experiment: Experiment, values: Mapping[str, Any]) -> Experiment:
    """Another optimizer of the same parameters, with its own defaults and the weight decay of the user's groups."""
    name, rate = str(values["name"]).lower(), float(values["rate"])
    if name not in OPTIMIZERS:
        raise cannot("optimizer", text("{name!r} is none of {names}", name=name, names=list(OPTIMIZERS)))

    def change(_: nn.Module, old: Any) -> Any:
        groups: list[dict[str, Any]] = [
            {"params": group["params"], **({"weight_decay": group["weight_decay"]} if group.get("weight_decay") else {})}
            for group in old.param_groups
        ]
        return OPTIMIZERS[name](groups, lr=rate)

    return with_optimizer(experiment, change)


@remedy("weight_decay", "value")
def weight_decay(experiment: Experiment, values: Mapping[str, Any]) -> Experiment:
    """The weight decay of every group that had one; of all groups where none had."""
    value = float(values["value"])
    built(experiment, "weight_decay", needs="weight_decay")

    def change(_: nn.Module, optimizer: Any) -> Any:
        several = [group for group in optimizer.param_groups if group["weight_decay"]] or optimizer.param_groups
        for group in several:
            group["weight_decay"] = value
        return optimizer

    return with_optimizer(experiment, change)


@remedy("batch_size", "size")
def batch_size(experiment: Experiment, values: Mapping[str, Any]) -> Experiment:
    """So many samples per update."""
    size = int(values["size"])
    if isinstance(experiment.train, DataLoader):
        return experiment.changed(train=loader_of(experiment.train, batch_size=size))
    return experiment.changed(batch_size=size)


@remedy("epochs", "epochs")
def epochs(experiment: Experiment, values: Mapping[str, Any]) -> Experiment:
    """So many passes over the data."""
    return experiment.changed(epochs=int(values["epochs"]))


@remedy("shuffle")
def shuffle(experiment: Experiment, _: Mapping[str, Any]) -> Experiment:
    """A new order of the samples in each epoch."""
    if isinstance(experiment.train, DataLoader):
        return experiment.changed(train=loader_of(experiment.train, shuffle=True))
    if experiment.shuffle:
        raise cannot("shuffle", text("the samples are drawn in a new order in each epoch already"))
    return experiment.changed(shuffle=True)


@remedy("clip", "norm")
def clip(experiment: Experiment, values: Mapping[str, Any]) -> Experiment:
    """The whole gradient is scaled down to `norm` before each update where it is larger."""
    norm = float(values["norm"])
    built(experiment, "clip", needs="hooks")

    def before(optimizer: Any, *_: Any) -> None:
        torch.nn.utils.clip_grad_norm_([p for group in optimizer.param_groups for p in group["params"]], norm)

    return with_optimizer(experiment, lambda _, optimizer: _hooked(optimizer, optimizer.register_step_pre_hook, before))


@remedy("zero_grad")
def zero_grad(experiment: Experiment, _: Mapping[str, Any]) -> Experiment:
    """Gradients are cleared after each update, so that none is added to the next one's."""
    if experiment.step is None:
        raise cannot("zero_grad", text("the plain step clears the gradients before each update already"))
    built(experiment, "zero_grad", needs="hooks")

    def after(optimizer: Any, *_: Any) -> None:
        optimizer.zero_grad()

    return with_optimizer(experiment, lambda _, optimizer: _hooked(optimizer, optimizer.register_step_post_hook, after))


@remedy("keep_gradient")
def keep_gradient(experiment: Experiment, _: Mapping[str, Any]) -> Experiment:
    """A gradient stays until an update was made with it: clearing it between backward() and step() does nothing, step() clears it."""
    if experiment.step is None:
        raise cannot("keep_gradient", text("the plain step clears no gradient between backward() and step()"))
    built(experiment, "keep_gradient", needs="hooks")

    def change(model: nn.Module, optimizer: Any) -> Any:
        unused: list[bool] = [False]
        clear = optimizer.zero_grad

        def came(_: Tensor) -> None:
            unused[0] = True

        def kept(clearing: Callable[..., Any]) -> Callable[..., Any]:
            return lambda *args, **kwargs: None if unused[0] else clearing(*args, **kwargs)

        def used(*_: Any) -> None:
            unused[0] = False
            clear()

        for group in optimizer.param_groups:
            for parameter in group["params"]:
                if parameter.requires_grad:
                    parameter.register_post_accumulate_grad_hook(came)
        optimizer.zero_grad, model.zero_grad = kept(clear), kept(model.zero_grad)
        return _hooked(optimizer, optimizer.register_step_post_hook, used)

    return with_optimizer(experiment, change)


@remedy("no_scheduler")
def no_scheduler(experiment: Experiment, _: Mapping[str, Any]) -> Experiment:
    """The learning rate stays as the optimizer was made with it."""
    if experiment.scheduler is None:
        raise cannot("no_scheduler", text("the experiment has no scheduler"))
    return experiment.changed(scheduler=None)


@remedy("minimise")
def minimise(experiment: Experiment, _: Mapping[str, Any]) -> Experiment:
    """The update goes down where it went up: `maximize` is taken off, else every gradient is turned around before the update."""
    optimizer = built(experiment, "minimise", needs="hooks")
    climbs = any(group.get("maximize") for group in optimizer.param_groups)

    def downwards(optimizer: Any) -> Any:
        for group in optimizer.param_groups:
            group["maximize"] = False
        return optimizer

    @torch.no_grad()
    def turned(optimizer: Any, *_: Any) -> None:
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    parameter.grad.neg_()

    if climbs:
        return with_optimizer(experiment, lambda _, optimizer: downwards(optimizer))
    return with_optimizer(experiment, lambda _, optimizer: _hooked(optimizer, optimizer.register_step_pre_hook, turned))


def with_optimizer(experiment: Experiment, change: Callable[[nn.Module, Any], Any]) -> Experiment:
    """The experiment whose optimizer is changed right after the user's factory made it."""
    factory = experiment.optimizer
    return experiment.changed(optimizer=lambda model: change(model, factory(model)))


def built(experiment: Experiment, kind: str, needs: str) -> Any:
    """A fresh optimizer of the experiment, which must have a setting (or, for "hooks", be torch's)."""
    with experiment.seeded(0):
        _, optimizer = experiment.build(0)
    if needs == "hooks" and not isinstance(optimizer, torch.optim.Optimizer):
        raise cannot(kind, text("{type} is no torch.optim.Optimizer", type=type(optimizer).__name__))
    if needs != "hooks" and any(needs not in group for group in optimizer.param_groups):
        raise cannot(kind, text("{type} has no setting {name!r}", type=type(optimizer).__name__, name=needs))
    return optimizer


def _hooked(optimizer: Any, register: Callable[[Any], Any], hook: Any) -> Any:
    register(hook)
    return optimizer
