"""Which axis of a series is time: (N, C, T) and (N, T, C) look alike, so a pass is followed to the first operation that knows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from pellucid.core.trace.names import operation_name
from pellucid.core.trace.records import mapped, tensors
from pellucid.explanation.passes import MOVES
from pellucid.explanation.subject import Subject

_known: WeakKeyDictionary[Subject, dict[tuple[int, int], int | None]] = WeakKeyDictionary()

# which axis of its input an operation takes for time
_LAST = {"conv1d", "conv_transpose1d", "max_pool1d", "avg_pool1d", "adaptive_avg_pool1d", "adaptive_max_pool1d", "batch_norm",
         "instance_norm", "group_norm", "upsample"}  # fmt: skip
_RECURRENT = {"lstm", "gru", "rnn_tanh", "rnn_relu"}  # the second axis where batch_first, else the first
_ENCODER = {"_transformer_encoder_layer_fwd", "_native_multi_head_attention"}  # (N, T, E)
_POOLED = {"mean", "amax", "max", "logsumexp", "median"}  # the axis that they take away; a norm by hand keeps it, a sum is anything
# the last axis holds channels: the other one is time
_OF_CHANNELS = {"linear", "layer_norm", "rms_norm", "lstm_cell", "gru_cell", "rnn_tanh_cell", "rnn_relu_cell"}


def time_axis(subject: Subject, shape: tuple[int, int]) -> int:
    """Which axis of one sample of a series is time: 0 or 1.

    What the first operation says that knows: convolution and pooling, recurrence, attention, a layer over the last axis, a mean over one.
    Where none is met, the last axis where a 1-d convolution is the first layer, the first axis where another layer is, else the longer one.
    """
    known = _known.setdefault(subject, {})
    if shape not in known:
        known[shape] = _followed(subject, shape)
    found = known[shape]
    return _by_layers(subject, shape) if found is None else found


def _followed(subject: Subject, shape: tuple[int, int]) -> int | None:
    index = next((i for i, x in enumerate(subject.inputs) if x.is_floating_point() and tuple(x.shape[1:]) == shape), None)
    if index is None:
        return None
    first = tuple(tensor[:1].clone() for tensor in subject.inputs)
    following = _Following(first[index])
    try:
        with subject.surrounded(gradient=False), following:
            subject.call(first)
    except Exception:  # it takes no mode around it, or no single sample: the layers say it
        return None
    return following.time


class _Following(TorchFunctionMode):
    """Where the entries of one sample (1, A, B) are in the tensors that are made of it, up to the first operation that knows time."""

    def __init__(self, given: Tensor) -> None:
        super().__init__()
        self.shape = given.shape[1:]
        self.time: int | None = None
        self._alive = [given]  # ids stay valid
        self._entries = {id(given): torch.arange(self.shape.numel()).reshape(given.shape)}

    def __torch_function__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        if self.time is None:
            source = next((tensor for tensor in tensors((args, kwargs)) if id(tensor) in self._entries), None)
            if source is not None:
                self._look(operation_name(func), func, args, kwargs, result, self._entries[id(source)])
        return result

    def _look(self, name: str, func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], result: Any, entries: Tensor) -> None:
        axis = _axis_of_time(name, args, kwargs, entries.dim())
        if axis is not None:
            self.time = self._of_input(entries, axis)
        elif name in _OF_CHANNELS:
            channels = self._of_input(entries, -1)
            self.time = None if channels is None else 1 - channels
        elif name in MOVES:
            again_args, again_kwargs = mapped((args, dict(kwargs)), Tensor, lambda tensor: self._entries.get(id(tensor), tensor))
            self._keep(tensors(result), tensors(func(*again_args, **again_kwargs)))
        else:  # entry by entry, as far as the shape tells
            self._keep([made for made in tensors(result) if made.shape == entries.shape], [entries] * 9)

    def _keep(self, made: list[Tensor], entries: list[Tensor]) -> None:
        for tensor, places in zip(made, entries, strict=False):
            if tensor.shape == places.shape:
                self._alive.append(tensor)
                self._entries[id(tensor)] = places

    def _of_input(self, entries: Tensor, axis: int) -> int | None:
        """The axis of the sample along which one goes when one goes along this axis."""
        if not -entries.dim() <= axis < entries.dim() or entries.shape[axis] < 2:
            return None
        step = int((entries.select(axis, 1) - entries.select(axis, 0)).reshape(-1)[0].abs())
        if 1 in self.shape:
            return 0 if self.shape[1] == 1 else 1
        return {1: 1, self.shape[1]: 0}.get(step)


def _axis_of_time(name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any], axes: int) -> int | None:
    if name in _LAST and axes == 3:
        return -1
    if name in _RECURRENT and axes == 3:
        return 1 if args[-1] is True else 0
    if name in _ENCODER and axes == 3:
        return 1
    if name == "multi_head_attention_forward":
        return 0
    if name == "scaled_dot_product_attention":
        return -2
    if name in _POOLED and axes == 3 and not kwargs.get("keepdim", False):
        along = kwargs.get("dim", kwargs.get("axis", args[1] if len(args) > 1 else None))
        return along if isinstance(along, int) and along % axes else None
    return None


def _by_layers(subject: Subject, shape: tuple[int, int]) -> int:
    for module in subject.model.modules():
        if isinstance(module, (nn.Conv1d, nn.BatchNorm1d)):
            return 1
        if isinstance(module, (nn.RNNBase, nn.MultiheadAttention, nn.Linear, nn.LayerNorm)):
            return 0
    return int(shape[1] > shape[0])
