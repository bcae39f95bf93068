"""Changes of what a network is made of, in each fresh model: outputs, hidden units, gates, and how samples go through it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from pellucid.core.language import text
from pellucid.core.trace import Trace
from pellucid.diagnosis.experiments.experiment import Experiment, first_tensor, mapped
from pellucid.diagnosis.experiments.samples import called, device_of, joined, on_device
from pellucid.diagnosis.remedies import cannot, remedy
from pellucid.diagnosis.remedies.losses import LOSSES, with_loss
from pellucid.diagnosis.remedies.rewiring import traced
from pellucid.diagnosis.static.flow import RESHAPING, Flow, Layer

KEEPING = RESHAPING | {  # between two layers: each unit by itself
    "relu", "relu6", "leaky_relu", "elu", "selu", "celu", "gelu", "silu", "mish", "tanh", "sigmoid", "softplus", "softsign", "hardtanh",
    "hardswish", "hardsigmoid", "dropout", "dropout1d", "dropout2d", "alpha_dropout", "batch_norm", "layer_norm", "max_pool1d",
    "max_pool2d", "avg_pool1d", "avg_pool2d", "adaptive_avg_pool1d", "adaptive_avg_pool2d", "getitem", "select", "mean", "contiguous",
}  # fmt: skip
UNITS = 64  # of a hidden layer that is widened: what a plain network of a few thousand samples has
ASKED = 8  # samples, whether the changed network can answer
Replaced = dict[str, dict[str, int]]  # module path -> what is given to its class otherwise


@remedy("output_units", "units", may=("loss",))
def output_units(experiment: Experiment, values: Mapping[str, Any]) -> Experiment:
    """The last layer is drawn anew with so many outputs, as its class draws it; with `loss` for that loss."""
    kind, units = "output_units", int(values["units"])
    if units < 1 or values.get("loss", "cross_entropy") not in LOSSES:
        raise cannot(kind, text("{name!r} is none of {names}", name=str(values.get("loss", units)), names=list(LOSSES)))
    layers = _layers(traced(experiment, kind))
    if not layers:
        raise cannot(kind, text("no layer with weights was found on the way to the loss"))
    path = layers[-1].operation.module
    changed = _rebuilt(experiment, kind, {path: {"out_features": units, "out_channels": units}})
    if values.get("loss"):
        changed = with_loss(changed, LOSSES[str(values["loss"])])
    answer = _answered(changed, kind)
    if units not in answer.shape[1:2] + answer.shape[-1:]:
        raise cannot(kind, text("the network's answer has shape {shape} all the same", shape=str(tuple(answer.shape))))
    return changed.changed(scoring=None)


@remedy("wider", may=("units",))
def wider(experiment: Experiment, values: Mapping[str, Any]) -> Experiment:
    """Hidden layers of fewer units get `units` (64 where it is not said), and the layers after them as many inputs, all drawn anew.

    Only where each hidden layer's output goes into further layers by operations that take each unit by itself.
    """
    kind, units = "wider", int(values.get("units") or UNITS)
    seen = traced(experiment, kind)
    flow, layers = Flow(seen), _layers(seen)
    with experiment.seeded(0):
        model, _ = experiment.build(0)
    modules = dict(model.named_modules())
    widths = {layer.operation.module: _width(modules.get(layer.operation.module)) for layer in layers[:-1]}
    narrow = [path for path, width in widths.items() if width is not None and width < units]
    if not narrow:
        raise cannot(kind, text("no hidden layer has fewer than {units} units", units=units))
    changes: Replaced = {path: {_OUT[_kind(modules[path])]: units} for path in narrow}
    for layer in layers[1:]:
        path = layer.operation.module
        for source, between in _before(flow, layer, layers):
            width = widths.get(source)
            if source in narrow and width is not None:
                entry = _IN.get(_kind(modules.get(path)))
                if entry is None:
                    raise cannot(kind, text("the inputs of {path} cannot be made more", path=path or "model"))
                changes.setdefault(path, {})[entry] = getattr(modules[path], entry) // width * units
                for norm in between:
                    if isinstance(modules.get(norm), nn.modules.batchnorm._BatchNorm):
                        changes[norm] = {"num_features": units}
                    elif isinstance(modules.get(norm), nn.LayerNorm):
                        changes[norm] = {"normalized_shape": units}
    changed = _rebuilt(experiment, kind, changes)
    _answered(changed, kind)
    return changed


_OUT = {"linear": "out_features", "convolution": "out_channels", "recurrent": "hidden_size"}
_IN = {"linear": "in_features", "convolution": "in_channels", "recurrent": "input_size"}


def _kind(module: nn.Module | None) -> str:
    kinds = {"linear": nn.Linear, "convolution": (nn.Conv1d, nn.Conv2d, nn.Conv3d), "recurrent": nn.RNNBase}
    return next((name for name, classes in kinds.items() if isinstance(module, classes)), "")


def _width(module: nn.Module | None) -> int | None:
    return getattr(module, _OUT[_kind(module)]) if _kind(module) else None


def _layers(seen: Trace) -> list[Layer]:
    if seen.loss is None:
        return []
    return [layer for layer in Flow(seen).layers if layer.operation.stage == "forward"]


def _before(flow: Flow, layer: Layer, layers: list[Layer]) -> list[tuple[str, list[str]]]:
    """The modules of layers whose output a layer takes unit by unit, with the modules of what stands between."""
    makers = {one.operation.index: one.operation.module for one in layers}
    between: list[str] = []
    for _, made in flow.upward(layer.data, KEEPING):
        if made.index in makers:
            return [(makers[made.index], between)]
        between.append(made.module)
    return []


def _rebuilt(experiment: Experiment, kind: str, changes: Replaced) -> Experiment:
    """Modules of each fresh model made again by their class, with other sizes; the others, and their weights, as the factory made them."""
    factory = experiment.model

    def fresh() -> nn.Module:
        model = factory()
        modules = dict(model.named_modules())
        for path, sizes in changes.items():
            old = modules.get(path)
            if old is None:
                raise cannot(kind, text("no operation runs in a module named {path!r}", path=path))
            new = _again(old, kind, sizes).to(device_of(model))
            new.train(old.training)
            if old is model:
                return new
            parent, _, name = path.rpartition(".")
            setattr(modules[parent], name, new)
        return model

    changed = experiment.changed(model=fresh)
    with changed.seeded(0):
        changed.build(0)
    return changed


def _again(old: nn.Module, kind: str, sizes: Mapping[str, int]) -> nn.Module:
    """A module of the same class and settings with other sizes."""
    name = type(old).__name__
    settings: dict[str, tuple[str, ...]] = {
        "Linear": ("in_features", "out_features"),
        **{f"Conv{n}d": ("in_channels", "out_channels", "kernel_size", "stride", "padding", "dilation", "groups", "padding_mode")
           for n in (1, 2, 3)},
        **dict.fromkeys(("RNN", "LSTM", "GRU"), ("input_size", "hidden_size", "num_layers", "batch_first", "dropout", "bidirectional")),
        **{f"BatchNorm{n}d": ("num_features", "eps", "momentum", "affine", "track_running_stats") for n in (1, 2, 3)},
        "LayerNorm": ("normalized_shape", "eps", "elementwise_affine"),
    }  # fmt: skip
    if not type(old).__module__.startswith("torch.nn.") or name not in settings:
        raise cannot(kind, text("{name} cannot be made again with other sizes", name=name))
    given = {setting: getattr(old, setting) for setting in settings[name]}
    given |= {setting: value for setting, value in sizes.items() if setting in given}
    if isinstance(old, (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)):
        given["bias"] = old.bias is not None
    elif isinstance(old, nn.RNNBase):
        given["bias"] = old.bias
        if name == "RNN":
            given["nonlinearity"] = old.nonlinearity
    weight = next(old.parameters(), None)
    made: Any = type(old)
    return made(**given, **({"dtype": weight.dtype} if weight is not None else {}))


def _answered(experiment: Experiment, kind: str) -> Tensor:
    """What the changed network answers to some samples of the first batch.

    Raises:
        ModelError: its parts no longer fit together, or its loss cannot be taken.
    """
    with experiment.seeded(0), torch.no_grad():
        model, _ = experiment.build(0)
        batch = on_device(experiment.first_batch(), device_of(model))
        size = len(first_tensor(batch))
        inputs, targets = mapped(lambda t: t[:ASKED] if t.dim() and len(t) == size else t, batch)
        try:
            outputs = called(model, inputs)
            experiment.loss(outputs, targets)
        except Exception as error:  # whatever the user's forward or loss raises of other shapes
            raise cannot(kind, f"{type(error).__name__}: {error}".splitlines()[0]) from error
    return first_tensor(outputs)


@remedy("gate_bias", may=("steps",))
def gate_bias(experiment: Experiment, values: Mapping[str, Any]) -> Experiment:
    """The gates of LSTM and GRU begin so that they keep their state for up to T steps: forget bias log u, input bias -log u with
    u ~ U(1, T - 1); of a GRU the update gate's bias is log u.

    Source: C. Tallec and Y. Ollivier, Can recurrent neural networks warp time?, 2018 (arXiv:1804.11188), section 3.
    """
    kind = "gate_bias"
    steps = int(values.get("steps") or _sequence_length(experiment))
    kinds = (nn.LSTM, nn.GRU, nn.LSTMCell, nn.GRUCell)
    with experiment.seeded(0):
        model, _ = experiment.build(0)
    if not any(isinstance(module, kinds) and module.bias for module in model.modules()):
        raise cannot(kind, text("the model has no LSTM or GRU with biases"))
    if steps < 3:
        raise cannot(kind, text("sequences of {steps} steps need no memory", steps=steps))
    factory = experiment.model

    @torch.no_grad()
    def fresh() -> nn.Module:
        model = factory()
        for module in model.modules():
            if not isinstance(module, kinds) or not module.bias:
                continue
            size, lstm = module.hidden_size, isinstance(module, (nn.LSTM, nn.LSTMCell))
            for name, bias in module.named_parameters(recurse=False):
                if not name.startswith("bias"):
                    continue
                keep = torch.empty(size, device=bias.device, dtype=bias.dtype).uniform_(1, steps - 1).log()
                gates = bias.view(-1, size)  # LSTM: input, forget, cell, output; GRU: reset, update, new
                gates[1].copy_(keep if "_hh" in name else torch.zeros_like(keep))  # one bias of the two that are added
                if lstm:
                    gates[0].copy_(-keep if "_hh" in name else torch.zeros_like(keep))
        return model

    return experiment.changed(model=fresh)


def _sequence_length(experiment: Experiment) -> int:
    inputs = first_tensor(experiment.samples("train", 8)[0])
    return int(inputs.shape[1]) if inputs.dim() > 1 else 0


@remedy("samples_alone")
def samples_alone(experiment: Experiment, _: Mapping[str, Any]) -> Experiment:
    """Each sample goes through the network by itself, in batches of one, so that no other can change its answer."""
    kind = "samples_alone"
    with experiment.seeded(0):
        model, _optimizer = experiment.build(0)
    if any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in model.modules()):
        raise cannot(kind, text("a batch normalisation needs several samples"))
    factory = experiment.model

    def fresh() -> nn.Module:
        model = factory()
        model.forward = _Alone(model.forward)
        return model

    changed = experiment.changed(model=fresh)
    answers = _answered(changed, kind)
    if len(answers) > 1 and float((answers - answers[:1]).abs().max()) == 0.0:
        raise cannot(kind, text("by itself every sample gets the same answer"))
    return changed


class _Alone:
    """A forward that is given one sample after the other."""

    def __init__(self, forward: Callable[..., Any]) -> None:
        self.forward = forward

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        size = len(first_tensor((args, kwargs)))

        def sample(place: int) -> Any:
            one = mapped(lambda t: t[place : place + 1] if t.dim() and len(t) == size else t, (args, kwargs))
            return self.forward(*one[0], **one[1])

        answers = [sample(place) for place in range(size)]
        return joined([(answer, answer) for answer in answers])[0]


def memory_steps(experiment: Experiment) -> int | None:
    """The steps of the sequences of a network with gates; None where it has none."""
    with experiment.seeded(0):
        model, _ = experiment.build(0)
    gated = any(isinstance(module, (nn.LSTM, nn.GRU, nn.LSTMCell, nn.GRUCell)) for module in model.modules())
    steps = _sequence_length(experiment)
    return steps if gated and steps >= 3 and math.isfinite(steps) else None
