"""Grad-CAM: where in the last spatial layer the class is seen."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from pellucid.core.errors import ModelError, OptionError, did_you_mean
from pellucid.core.language import Text, text
from pellucid.core.trace.names import operation_name
from pellucid.core.trace.records import tensors
from pellucid.explanation.players import Players
from pellucid.explanation.reference import Reference
from pellucid.explanation.registry import Attributed, method
from pellucid.explanation.subject import Subject, Tell

_MODES = {1: "linear", 2: "bilinear", 3: "trilinear"}  # of resizing, by the number of spatial axes
_KEPT = {  # operations after a convolution whose output still is a stack of maps: they may be the layer
    "conv1d", "conv2d", "conv3d", "batch_norm", "group_norm", "instance_norm", "local_response_norm", "relu", "relu6", "leaky_relu",
    "prelu", "elu", "selu", "celu", "gelu", "silu", "mish", "softplus", "sigmoid", "tanh", "hardswish", "hardsigmoid", "hardtanh", "clamp",
    "add", "sub", "mul", "cat", "dropout", "dropout2d", "clone", "contiguous", "to",
}  # fmt: skip
_COARSER = {"max_pool1d", "max_pool2d", "max_pool3d", "avg_pool1d", "avg_pool2d", "avg_pool3d", "pad", "interpolate"}  # between such layers


class Layers:
    """Met during a pass: outputs of convolutions and of what follows them while they still have spatial extent, in order."""

    def __init__(self, shape: tuple[int, ...], last: int | None = None) -> None:
        self.shape = shape  # of the input, (N, C, ...)
        self.last = last  # the derivative is wanted at this one: nothing before it is recorded
        self.found: list[Tensor] = []
        self._of_convolution: dict[int, Tensor] = {}

    def meet(self, func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        name = operation_name(func)
        result = func(*args, **kwargs)
        if isinstance(result, Tensor) and (name in _KEPT or name in _COARSER) and result.dim() == len(self.shape):
            known = any(id(tensor) in self._of_convolution for tensor in tensors((args, dict(kwargs))))
            if name.startswith("conv") or known:
                self._of_convolution[id(result)] = result
                if name in _KEPT and result.shape[2:].numel() > 1 and result.shape[0] == self.shape[0]:
                    self.found.append(result)
                    if len(self.found) - 1 == self.last and any(result is tensor for tensor in tensors((args, dict(kwargs)))):
                        result.requires_grad_()  # written in place: the program may go on with either name
                    elif len(self.found) - 1 == self.last:
                        self.found[-1] = result.detach().requires_grad_()
                        result = self.found[-1].clone()  # the program may write into it
        return result


def _last_layer(subject: Subject, index: int) -> int | None:
    """The place of the last layer with spatial extent in their order, seen in a pass of the first sample; None where there is none."""
    with subject.surrounded(gradient=False):
        first = tuple(tensor[:1] for tensor in subject.inputs)
        layers = Layers(tuple(first[index].shape))
        subject.run_points(subject.points(first), first, meet=layers.meet)
    return len(layers.found) - 1 if layers.found else None


def layer_obstacle(subject: Subject) -> Text | None:
    """Why there is no layer to look at; None where there is one."""
    index = _image_of(subject)
    if index is None:
        return text("no input has the shape (N, C, ...) of an image or a series")
    return None if _last_layer(subject, index) is not None else text("no convolution was met whose output has spatial extent")


@method("grad_cam", family="activation", needs=("gradient", "layer"), options=("layer",), predicts=True, compares=False, draws=False)
def grad_cam(
    subject: Subject,
    *,
    reference: Reference,
    players: Players,
    generator: torch.Generator,
    samples: int | None,
    tell: Tell,
    layer: str | None = None,
) -> Attributed:
    """ReLU(sum over k of a_k A_k), a_k the spatial mean of df/dA_k, resized to the input and shared by its channels.

    A are the maps of `layer`, a module's path, or of the last operation after a convolution whose output has spatial extent.
    Source: Selvaraju et al. 2017, equations 1 and 2.
    """
    index = _image_of(subject)
    if index is None:
        raise ModelError(text("no input has the shape (N, C, ...) of an image or a series"), text("an image or a series"),
                         text("use another method"))  # fmt: skip
    axes = subject.inputs[index].dim() - 2
    points, last = subject.points(subject.inputs), None if layer else _last_layer(subject, index)

    def run(rows: slice) -> tuple[Tensor, Tensor, Tensor]:
        own = tuple(tensor[rows] for tensor in subject.inputs)
        layers, kept = Layers(tuple(own[index].shape), last), []
        with subject.surrounded(gradient=True), _kept(subject, layer, kept):
            outputs = subject.run_points(tuple(point[rows] for point in points), own, meet=None if layer else layers.meet)
            values = subject.chosen(outputs, None if subject.target is None else subject.target[rows])
            maps = _checked(kept, layer, axes) if layer else layers.found[-1]
            slopes = subject.slopes(values, (maps,))[0] if values.requires_grad else None
        if slopes is None:
            raise OptionError(
                text("the output does not depend on the layer {layer!r}", layer=layer),
                text("a layer on the way to the output"),
                text("leave layer out: the last one with spatial extent is taken"),
            )
        weights = slopes.mean(tuple(range(2, 2 + axes)), keepdim=True)  # (n, K, 1, 1)
        seen = torch.relu((weights * maps.detach()).sum(1, keepdim=True))  # (n, 1, h, w)
        return (
            F.interpolate(seen, own[index].shape[2:], mode=_MODES[axes], align_corners=False),
            torch.tensor(maps.shape[1:]),
            outputs.detach(),
        )

    pieces = subject.batched(subject.samples, run)
    subject.remember(torch.cat([outputs for _, _, outputs in pieces]))
    seen = torch.cat([piece for piece, _, _ in pieces])
    found = [torch.zeros_like(tensor, dtype=seen.dtype) for tensor in subject.inputs]
    found[index] = (seen / found[index].shape[1]).expand_as(found[index]).contiguous()
    shape = str(tuple(pieces[0][1].tolist()))
    note = text("maps of the layer {layer}, {shape}", layer=layer or text("with the last spatial extent"), shape=shape)
    return Attributed(tuple(found), notes=(note,))


def _image_of(subject: Subject) -> int | None:
    return next((i for i, tensor in enumerate(subject.inputs) if 3 <= tensor.dim() <= 5 and tensor.is_floating_point()), None)


class _kept:  # noqa: N801 (a context manager)
    """The output of the named module, kept while the block runs; what follows gets a copy, because it may write into it."""

    def __init__(self, subject: Subject, layer: str | None, kept: list[Any]) -> None:
        modules = dict(subject.model.named_modules())
        if layer is not None and layer not in modules:
            names = [name for name in modules if name]
            raise OptionError(
                text("the network has no layer {name!r}", name=layer),
                text("the path of a module, as in model.named_modules()"),
                did_you_mean(layer, names),
            )
        self.module, self.kept, self.handle = None if layer is None else modules[layer], kept, None

    def __enter__(self) -> None:
        def keep(module: Any, inputs: Any, output: Any) -> Any:
            maps = output.detach().requires_grad_() if isinstance(output, Tensor) and output.is_floating_point() else output
            self.kept.append(maps)  # nothing before it is recorded
            return maps.clone() if isinstance(maps, Tensor) else None

        self.handle = None if self.module is None else self.module.register_forward_hook(keep)

    def __exit__(self, *_: Any) -> None:
        if self.handle is not None:
            self.handle.remove()


def _checked(kept: list[Any], layer: str | None, axes: int) -> Tensor:
    maps = kept[-1] if kept else None
    if not isinstance(maps, Tensor) or maps.dim() != axes + 2 or maps.shape[2:].numel() == 1:
        got = str(tuple(maps.shape)) if isinstance(maps, Tensor) else text("no tensor")
        raise OptionError(
            text("the layer {layer!r} gives {got}", layer=layer, got=got),
            text("maps (N, K, ...) with {axes} spatial axes", axes=axes),
            text("choose a convolution or a block of them, or leave layer out"),
        )
    return maps
