"""The layers of any network as a table: what each gives out, its parameters, its operations, and how much of the input it sees.

Measured by one forward pass of a copy. Layers are the modules without modules inside; what a larger module computes itself, by functions
and not by modules, or with parameters of its own, is a row of its own.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from pellucid.core.results import LayerRow, NetworkTable
from pellucid.core.trace import Operation, Reference, Trace, trace
from pellucid.training.cost import counting

ROWS = 300  # of deeper networks the rest is counted in `rows_left_out`
_TRACED_FLOPS = 2e11  # of one sample: tracing a larger network for its receptive fields would take many seconds


@dataclass
class _Layer:
    """What was seen of one module."""

    module: nn.Module
    flops: float = 0.0  # of its own, all calls together
    calls: int = 0
    output_shape: tuple[int, ...] | None = None
    rank: int = 0  # when its first call ended


@dataclass
class _Call:
    """A call that has not returned yet."""

    path: str
    before: float  # operations counted when it began
    inside: float = 0.0  # of which the calls in it took


@dataclass
class _Watch:
    """Hooks on every module of a copied network."""

    counter: FlopCounterMode
    samples: int
    layers: dict[str, _Layer] = field(default_factory=dict)
    calls: list[_Call] = field(default_factory=list)

    @contextmanager
    def on(self, network: nn.Module) -> Iterator[None]:
        handles: list[Any] = []
        for path, module in network.named_modules():
            self.layers[path] = _Layer(module)
            handles.append(module.register_forward_pre_hook(self._entering(path), prepend=True))
            handles.append(module.register_forward_hook(self._leaving(path)))
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _entering(self, path: str) -> Callable[..., None]:
        def entering(module: nn.Module, arguments: Any) -> None:
            self.calls.append(_Call(path, float(self.counter.get_total_flops())))

        return entering

    def _leaving(self, path: str) -> Callable[..., None]:
        def leaving(module: nn.Module, arguments: Any, output: Any) -> None:
            call = self.calls.pop()
            total = float(self.counter.get_total_flops()) - call.before
            layer = self.layers[path]
            if not layer.calls:
                layer.rank = sum(seen.calls > 0 for seen in self.layers.values())
            layer.calls += 1
            layer.flops += total - call.inside
            if self.calls:
                self.calls[-1].inside += total
            if layer.output_shape is None:
                layer.output_shape = _shape_of(output, self.samples)

        return leaving


def _shape_of(output: Any, samples: int) -> tuple[int, ...] | None:
    """One sample's shape of a tensor, or of the first tensor of a tuple."""
    while isinstance(output, (tuple, list)) and output:
        output = cast("Sequence[Any]", output)[0]
    if not isinstance(output, Tensor):
        return None
    shape = tuple(output.shape)
    return shape[1:] if shape and shape[0] == samples else shape


def network_table(network: nn.Module, inputs: Tensor) -> NetworkTable:
    """The layers of `network` in the order in which they are first called, for a batch `inputs` (N, ...) of two samples or more.

    Operations are counted as `cost.flops_per_sample` counts them, forward only. Receptive fields are those of convolutions and pooling:
    None where some layer before has mixed all positions (flatten, fully connected layers, attention) and for networks without them.
    Neither the network nor the global random state changes. Raises what the network's forward pass, or copying it, raises.
    """
    devices = [inputs.device] if inputs.device.type == "cuda" else []
    trial = copy.deepcopy(network).train()  # in training mode, as it learns: with evaluation's shortcuts some layers are not called
    for module in trial.modules():  # the user's own hooks are not ours to call
        module._forward_hooks.clear()
        module._forward_pre_hooks.clear()
    with torch.random.fork_rng(devices=devices), torch.no_grad(), counting() as counter:
        watch = _Watch(counter, len(inputs))
        with watch.on(trial):
            trial(inputs)
        total = float(counter.get_total_flops())
        convolves = any("conv" in str(name) for name in counter.get_flop_counts().get("Global", {}))
    fields = _receptive_fields(trial, inputs) if convolves and total / len(inputs) < _TRACED_FLOPS else {}
    rows = _rows(watch.layers, len(inputs), fields)
    return NetworkTable(
        rows=tuple(rows[:ROWS]),
        input_shape=tuple(inputs.shape[1:]),
        parameters=sum(parameter.numel() for parameter in network.parameters()),
        trainable=sum(parameter.numel() for parameter in network.parameters() if parameter.requires_grad),
        flops=total / len(inputs) or None,
        rows_left_out=max(0, len(rows) - ROWS),
    )


def _rows(layers: Mapping[str, _Layer], samples: int, fields: Mapping[str, tuple[int, ...]]) -> list[LayerRow]:
    """Layers that were called, in the order in which they first gave something out; then those with parameters that never were."""
    absorbed = {path: _absorbing(path, layers) for path, layer in layers.items() if not layer.calls}
    counted: set[int] = set()
    rows: list[LayerRow] = []
    for path, layer in sorted(layers.items(), key=lambda item: (item[1].calls == 0, item[1].rank)):
        if absorbed.get(path) is not None:
            continue
        own = list(layer.module.parameters(recurse=False))
        own += [p for other, by in absorbed.items() if by == path for p in layers[other].module.parameters(recurse=False)]
        new = {id(parameter): parameter.numel() for parameter in own if id(parameter) not in counted}
        counted.update(new)
        if not own and not layer.flops and (not layer.calls or any(True for _ in layer.module.children())):
            continue  # nothing but its parts
        rows.append(
            LayerRow(
                path=path,
                kind=type(layer.module).__name__,
                output_shape=layer.output_shape,
                parameters=sum(new.values()),
                flops=layer.flops / samples,
                receptive_field=fields.get(path),
                shared=bool(own) and not new,
                calls=layer.calls,
            )
        )
    return rows


def _absorbing(path: str, layers: Mapping[str, _Layer]) -> str | None:
    """The layer of torch that uses a module inside it without calling it, as MultiheadAttention does its `out_proj`."""
    above = path
    while above:
        above = above.rpartition(".")[0]
        if layers[above].calls:
            return above if type(layers[above].module).__module__.startswith("torch.nn.") else None
    return None


# -- receptive fields --------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Field:
    """Of one position of a feature map: how many input positions it sees per axis, and how far apart two neighbours' are."""

    size: tuple[int, ...]
    step: tuple[int, ...]


_CONVOLUTIONS = ("conv1d", "conv2d", "conv3d")
_POOLINGS = ("max_pool1d", "max_pool2d", "max_pool3d", "avg_pool1d", "avg_pool2d", "avg_pool3d", "lp_pool1d", "lp_pool2d")
# Operations that leave positions where they are. Normalisations count among them, as is customary, though their statistics do not.
_IN_PLACE = {
    "relu", "relu6", "leaky_relu", "prelu", "rrelu", "elu", "celu", "selu", "gelu", "silu", "mish", "sigmoid", "logsigmoid", "tanh",
    "softplus", "softsign", "hardtanh", "hardswish", "hardsigmoid", "hardshrink", "softshrink", "tanhshrink", "threshold", "clamp", "exp",
    "dropout", "dropout1d", "dropout2d", "dropout3d", "alpha_dropout", "feature_alpha_dropout", "batch_norm", "instance_norm", "group_norm",
    "local_response_norm", "add", "sub", "mul", "div", "neg", "abs", "pow", "square", "sqrt", "cat", "clone", "contiguous", "to", "float",
    "maximum", "minimum", "pad", "detach",
}  # fmt: skip


def _receptive_fields(network: nn.Module, inputs: Tensor) -> dict[str, tuple[int, ...]]:
    """path of a module -> receptive field of what it gives out; {} where the network cannot be traced.

    A layer with kernel k, dilation d and stride s, on a map of receptive field r whose neighbours lie t input positions apart, gives

        r' = r + (k - 1) d t,   t' = s t

    and where branches meet the largest counts. Source: Araujo, Norris and Sim, "Computing receptive fields of convolutional neural
    networks", Distill 2019, section "single-path networks" and, for branches, "arbitrary computation graphs".
    """
    try:
        with torch.random.fork_rng(devices=[inputs.device] if inputs.device.type == "cuda" else []):
            recorded = trace(network, inputs)
    except Exception:  # a network that hides its operations: the column stays empty
        return {}
    axes = inputs.ndim - 2
    known: dict[int, _Field] = {}
    if isinstance(recorded.inputs, Reference) and axes > 0:
        known[recorded.inputs.value] = _Field((1,) * axes, (1,) * axes)
    fields: dict[str, tuple[int, ...] | None] = {}
    for operation in recorded.operations:
        reached = _after(operation, recorded, known, axes)
        for result in operation.results():
            if reached is not None:
                known[result.value] = reached
        path = operation.module
        while True:  # what a module gives out is what its last operation gives out
            fields[path] = reached.size if reached is not None else None
            if not path:
                break
            path = path.rpartition(".")[0]
    return {path: size for path, size in fields.items() if size is not None}


def _after(operation: Operation, recorded: Trace, known: Mapping[int, _Field], axes: int) -> _Field | None:
    inputs = [known[reference.value] for reference in operation.inputs() if reference.value in known]
    results = operation.results()
    if not inputs or not results or recorded.tensor(results[0]).ndim != axes + 2:
        return None
    name = operation.name.rstrip("_")
    if name in _CONVOLUTIONS or name in _POOLINGS:
        return _after_window(operation, recorded, inputs[0], axes)
    if name not in _IN_PLACE or any(one.step != inputs[0].step for one in inputs):
        return None
    return _Field(tuple(max(sizes) for sizes in zip(*(one.size for one in inputs), strict=True)), inputs[0].step)


def _after_window(operation: Operation, recorded: Trace, before: _Field, axes: int) -> _Field:
    arguments, named = operation.args, operation.kwargs

    def given(position: int, name: str, default: Any) -> tuple[int, ...]:
        value = arguments[position] if position < len(arguments) else named.get(name, default)
        value = default if value is None or value == () else value
        return tuple(int(size) for size in value) if isinstance(value, (tuple, list)) else (int(value),) * axes

    def all_axes(sizes: tuple[int, ...]) -> tuple[int, ...]:
        return sizes * axes if len(sizes) == 1 else sizes

    name = operation.name.rstrip("_")
    if name in _CONVOLUTIONS:
        weight = named.get("weight", arguments[1] if len(arguments) > 1 else None)
        kernel = tuple(recorded.tensor(weight).shape[2:])
        stride, dilation = given(3, "stride", 1), given(5, "dilation", 1)
    else:
        offset = 1 if name.startswith("lp_") else 0  # lp_pool(input, norm_type, kernel_size, stride)
        kernel = given(1 + offset, "kernel_size", 1)
        stride = given(2 + offset, "stride", kernel)
        dilation = given(4, "dilation", 1) if name.startswith("max_") else (1,) * axes
    kernel, stride, dilation = all_axes(kernel), all_axes(stride), all_axes(dilation)
    size = tuple(r + (k - 1) * d * t for r, k, d, t in zip(before.size, kernel, dilation, before.step, strict=True))
    return _Field(size, tuple(s * t for s, t in zip(stride, before.step, strict=True)))
