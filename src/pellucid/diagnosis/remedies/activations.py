"""Changes of activations: the one at the output, those between layers, and new ones."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from pellucid.core.language import text
from pellucid.core.trace import Operation, Trace
from pellucid.diagnosis.experiments.experiment import Experiment, mapped
from pellucid.diagnosis.remedies import cannot, remedy
from pellucid.diagnosis.remedies.rewiring import Call, around_the_model, at, last_activation, positioned, traced
from pellucid.diagnosis.remedies.weights import reinitialise

LEAST_PROBABILITY = 1e-12  # below which "log" of an output that is a probability does not go

ACTIVATIONS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "none": lambda x: x,
    "relu": F.relu,
    "leaky_relu": F.leaky_relu,
    "elu": F.elu,
    "selu": F.selu,
    "gelu": F.gelu,
    "silu": F.silu,
    "mish": F.mish,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "softplus": F.softplus,
    "softmax": lambda x: torch.softmax(x, _class_axis(x)),
    "log_softmax": lambda x: torch.log_softmax(x, _class_axis(x)),
    "log": lambda x: torch.log(x.clamp_min(LEAST_PROBABILITY)),
    "layer_norm": lambda x: F.layer_norm(x, x.shape[1:]),  # of each sample: J. L. Ba et al., Layer normalization, 2016, equation 3
}


@remedy("drop_output_activation", may=("position",))
def drop_output_activation(experiment: Experiment, values: Mapping[str, Any]) -> Experiment:
    """The last activation before the loss is passed through: the loss, and whoever scores, get what went into it."""
    kind = "drop_output_activation"
    seen = traced(experiment, kind)
    position = values.get("position")
    last = last_activation(seen) if position is None else positioned(seen, kind, position)[0]
    if last is None:
        raise cannot(kind, text("no activation was found between the last layer and the loss"))
    return at(experiment, kind, seen, [last], lambda call: call.given)


@remedy("output_activation", "name", may=("position",))
def output_activation(experiment: Experiment, values: Mapping[str, Any]) -> Experiment:
    """The output goes through `name`: in the place of the last activation where there is one, after the last layer else.

    "log" makes log-probabilities of probabilities: log_softmax in the place of a softmax.
    """
    kind = "output_activation"
    name, function = _activation(kind, values["name"])
    seen = traced(experiment, kind)
    position = values.get("position")
    last = last_activation(seen) if position is None else positioned(seen, kind, position)[0]
    if name == "log":
        if last is not None and last.name == "softmax":
            return at(experiment, kind, seen, [last], _logarithm_of_softmax)
        return around_the_model(experiment, kind, _nothing, lambda outputs: _first_through(function, outputs))
    if last is not None:
        return at(experiment, kind, seen, [last], lambda call: call.instead(function))
    return around_the_model(experiment, kind, _nothing, lambda outputs: _first_through(function, outputs))


def _logarithm_of_softmax(call: Call) -> Tensor:
    return F.log_softmax(*call.args, **call.kwargs) if call.function is F.softmax else torch.log_softmax(*call.args, **call.kwargs)


@contextmanager
def _nothing() -> Generator[None]:
    yield


def _first_through(function: Callable[[Tensor], Tensor], outputs: Any) -> Any:
    """The first tensor of an answer through a function; the others stay."""
    first: list[Tensor] = []

    def one(tensor: Tensor) -> Tensor:
        first.append(tensor)
        return function(tensor) if len(first) == 1 else tensor

    return mapped(one, outputs)


@remedy("replace_activation", "from", "to", may=("position", "scheme"))
def replace_activation(experiment: Experiment, values: Mapping[str, Any]) -> Experiment:
    """Activations `from` of the model's pass become `to`: those at `position`, else all but the one at the output.

    With `scheme` the weights are drawn for the new ones, as by the change "reinitialise".
    """
    kind = "replace_activation"
    _, function = _activation(kind, values["to"])
    old = str(values["from"])
    seen = traced(experiment, kind)
    if values.get("position") is not None:
        found = positioned(seen, kind, values["position"])
        if any(one.name != old for one in found):
            raise cannot(kind, text("operation {index} is {name}, not {old}", index=found[0].index, name=found[0].name, old=old))
    else:
        last = last_activation(seen)
        found = [one for one in seen.operations if one.name == old and one.stage == "forward" and one is not last]
    if not found:
        raise cannot(kind, text("the model's pass calls no {name} before its output", name=old))
    changed = at(experiment, kind, seen, found, lambda call: call.instead(function))
    return changed if values.get("scheme") is None else reinitialise(changed, {"scheme": values["scheme"]})


@remedy("insert_activation", "after", "name")
def insert_activation(experiment: Experiment, values: Mapping[str, Any]) -> Experiment:
    """What comes out of `after` goes through `name`: a module's path (each of its calls), or the position of an operation; or several."""
    kind = "insert_activation"
    _, function = _activation(kind, values["name"])
    seen = traced(experiment, kind)
    after = values["after"]
    found: list[Operation] = []
    for one in after if isinstance(after, (list, tuple)) else [after]:
        found += _last_of_module(seen, kind, one) if isinstance(one, str) else positioned(seen, kind, one)
    return at(experiment, kind, seen, found, lambda call: _through(function, call.made()))


def _through(function: Callable[[Tensor], Tensor], outputs: Any) -> Any:
    return function(outputs) if isinstance(outputs, Tensor) else _first_through(function, outputs)


def _last_of_module(seen: Trace, kind: str, path: str) -> list[Operation]:
    """The last operation of each call of a module."""
    inside = [one for one in seen.operations if one.stage == "forward" and (one.module == path or one.module.startswith(f"{path}."))]
    if not inside:
        raise cannot(kind, text("no operation runs in a module named {path!r}", path=path))
    if len({one.name for one in inside}) == 1 and len({one.module for one in inside}) == 1:
        return inside  # a layer: each of its calls is one operation
    known = {one.index for one in inside}
    return [one for one in inside if one.index + 1 not in known]


def _activation(kind: str, name: Any) -> tuple[str, Callable[[Tensor], Tensor]]:
    if name not in ACTIVATIONS:
        raise cannot(kind, text("{name!r} is none of {names}", name=str(name), names=list(ACTIVATIONS)))
    return str(name), ACTIVATIONS[name]


def _class_axis(scores: Tensor) -> int:
    """Of (N, K, ...); the only one of (K,)."""
    return 1 if scores.dim() > 1 else 0
