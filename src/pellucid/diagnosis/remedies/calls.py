"""Changes of other single calls: softmax axes, logarithms, detach, dropout, and modes."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from pellucid.core.language import text
from pellucid.core.trace.names import operation_name
from pellucid.diagnosis.experiments.experiment import Experiment, first_tensor
from pellucid.diagnosis.experiments.samples import called, device_of, on_device
from pellucid.diagnosis.remedies import cannot, remedy
from pellucid.diagnosis.remedies.losses import with_loss
from pellucid.diagnosis.remedies.rewiring import Call, Rewiring, around_the_model, at, last_activation, positioned, rewired, traced, under

DROPOUTS = frozenset({"dropout", "dropout1d", "dropout2d", "dropout3d", "alpha_dropout", "feature_alpha_dropout", "feature_dropout"})
LOGARITHMS = frozenset({"log", "log2", "log10"})
CUTTING = frozenset({"detach", "data"})


@remedy("softmax_axis", "axis", may=("position",))
def softmax_axis(experiment: Experiment, values: Mapping[str, Any]) -> Experiment:
    """A softmax or log_softmax runs along another axis: the one at `position`, else the one at the output, else the only one."""
    kind, axis = "softmax_axis", int(values["axis"])
    seen = traced(experiment, kind)
    several = [one for one in seen.operations if one.name in ("softmax", "log_softmax", "softmin")]
    if values.get("position") is not None:
        chosen = positioned(seen, kind, values["position"])
    else:
        last = last_activation(seen)
        chosen = [last] if last in several else several
    if not chosen or any(one not in several for one in chosen):
        raise cannot(kind, text("there is no softmax"))
    if len(chosen) > 1 and values.get("position") is None:
        raise cannot(kind, text("there are {count} calls of softmax, none of them at the output", count=len(chosen)))

    def along(call: Call) -> Tensor:
        function = {"softmax": torch.softmax, "log_softmax": torch.log_softmax}.get(
            call.address.name, lambda x, dim: torch.softmax(-x, dim)
        )
        return function(call.given, axis)

    return at(experiment, kind, seen, chosen, along)


@remedy("stable_log", may=("eps",))
def stable_log(experiment: Experiment, values: Mapping[str, Any]) -> Experiment:
    """Logarithms in the model and the loss are taken of values of at least `eps` (1e-7 where it is not said)."""
    eps = float(values.get("eps") or 1e-7)
    seen = traced(experiment, "stable_log")
    if not any(one.name in LOGARITHMS for one in seen.operations):
        raise cannot("stable_log", text("neither the model nor the loss takes a logarithm"))
    return rewired(
        experiment, Rewiring(kind="stable_log", rewrite=lambda call: call.instead(_logarithm(call.address.name, eps)), names=LOGARITHMS)
    )


def _logarithm(name: str, eps: float) -> Callable[[Tensor], Tensor]:
    function = {"log": torch.log, "log2": torch.log2, "log10": torch.log10}[name]
    return lambda given: function(given.clamp_min(eps))


@remedy("attach", may=("position",))
def attach(experiment: Experiment, values: Mapping[str, Any]) -> Experiment:
    """detach() and .data give the tensor itself, in the model and the loss, and no_grad() is left out of a pass that has gradients; with
    `position` only there."""
    kind = "attach"
    seen = traced(experiment, kind)
    if values.get("position") is not None:
        return at(experiment, kind, seen, positioned(seen, kind, values["position"]), lambda call: call.given)
    cut = any(one.name in CUTTING for one in seen.operations)
    without = any(not one.surroundings.gradient for one in seen.operations)
    if not cut and not without:
        raise cannot(kind, text("neither the model nor the loss cuts a gradient by detach(), .data or no_grad()"))

    def whole(call: Call) -> Any:
        if call.address.name in CUTTING:
            return call.given
        wanted = bool(call.args[0]) or training[-1]
        return call.function(wanted)

    training: list[bool] = [True]

    @contextmanager
    def context() -> Generator[None]:
        training.append(torch.is_grad_enabled())
        try:
            with under(rewiring, "forward"):
                yield
        finally:
            training.pop()

    names = CUTTING | {operation_name(torch._C._set_grad_enabled)}
    rewiring = Rewiring(kind=kind, rewrite=whole, names=frozenset(names))
    given = experiment.loss

    def loss(outputs: Any, targets: Any) -> Any:
        with context():
            return given(outputs, targets)

    return with_loss(around_the_model(experiment, kind, context), loss)


@remedy("no_dropout")
def no_dropout(experiment: Experiment, _: Mapping[str, Any]) -> Experiment:
    """Nothing is dropped: neither by modules nor by functions, nor between recurrent layers nor in attention."""
    kind = "no_dropout"
    seen = traced(experiment, kind)
    with experiment.seeded(0):
        model, _optimizer = experiment.build(0)
    inside = (nn.RNNBase, nn.MultiheadAttention)
    between = any(isinstance(module, inside) and module.dropout for module in model.modules())
    if not between and not any(one.draws and (one.name in DROPOUTS or "attention" in one.name) for one in seen.operations):
        raise cannot(kind, text("the model drops nothing"))
    factory = experiment.model

    def fresh() -> nn.Module:
        model = factory()
        for module in model.modules():
            if isinstance(module, inside):
                module.dropout = 0.0
        return model

    def kept(call: Call) -> Any:
        if call.address.name in DROPOUTS:
            return call.given
        if len(call.args) > 4:
            return call.function(*call.args[:4], 0.0, *call.args[5:], **call.kwargs)
        return call.function(*call.args, **{**call.kwargs, "dropout_p": 0.0})

    names = DROPOUTS | {"scaled_dot_product_attention"}
    return rewired(experiment.changed(model=fresh), Rewiring(kind=kind, rewrite=kept, names=frozenset(names)))


@remedy("train_mode")
def train_mode(experiment: Experiment, _: Mapping[str, Any]) -> Experiment:
    """Passes with gradients run in training mode whatever the step set, and dropout stops in evaluation mode."""
    kind = "train_mode"
    drops = any(one.name in DROPOUTS and one.draws for one in traced(experiment, kind, training=False).operations)
    if experiment.step is None and not drops:
        raise cannot(kind, text("the plain step trains in training mode, and nothing is dropped in evaluation mode"))
    factory = experiment.model
    modes: list[bool] = [True]

    def fresh() -> nn.Module:
        model = factory()

        def train(module: nn.Module, _args: Any) -> None:
            if torch.is_grad_enabled():
                module.train()
            modes[-1] = module.training

        model.register_forward_pre_hook(train, prepend=True)
        return model

    def stopped(call: Call) -> Any:
        return call.made() if modes[-1] else call.given

    return around_the_model(
        experiment.changed(model=fresh), kind, lambda: under(Rewiring(kind=kind, rewrite=stopped, names=DROPOUTS), "forward")
    )


@remedy("follow_mode", "attribute")
def follow_mode(experiment: Experiment, values: Mapping[str, Any]) -> Experiment:
    """A switch of the user's own, such as `self.is_training`, is on while its module trains and off in evaluation."""
    kind, name = "follow_mode", str(values["attribute"])
    with experiment.seeded(0):
        model, _optimizer = experiment.build(0)
    if not any(isinstance(vars(module).get(name), bool) for module in model.modules()) or name == "training":
        raise cannot(kind, text("no module has a switch {name!r} that is true or false", name=name))
    factory = experiment.model

    def fresh() -> nn.Module:
        model = factory()
        for module in model.modules():
            on = vars(module).get(name)
            if isinstance(on, bool):

                def switch(module: nn.Module, _args: Any, on: bool = on) -> None:
                    setattr(module, name, on if module.training else not on)

                module.register_forward_pre_hook(switch, prepend=True)
        return model

    return experiment.changed(model=fresh)


def switches_of_chance(experiment: Experiment) -> list[str]:
    """Switches of the user's own with which a network in evaluation draws random numbers, and turned over does not."""
    with experiment.seeded(0):
        model, _ = experiment.build(0)
        inputs = on_device(experiment.first_batch()[0], device_of(model))
        model.eval()
        names = {
            name: on
            for module in model.modules() if not type(module).__module__.startswith("torch.")
            for name, on in vars(module).items() if isinstance(on, bool) and name != "training"
        }  # fmt: skip

        @torch.no_grad()
        def draws() -> bool:
            return not torch.equal(*(first_tensor(called(model, inputs)) for _ in range(2)))

        def turned(name: str, on: bool) -> None:
            for module in model.modules():
                if name in vars(module):
                    setattr(module, name, on)

        found: list[str] = []
        for name, on in names.items() if draws() else ():
            turned(name, not on)
            try:
                calm = not draws()
            except Exception:  # the switch is of something else, and the other way does not run
                calm = False
            turned(name, on)
            found += [name] if calm else []
    return found
