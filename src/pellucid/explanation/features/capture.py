"""What one module of a network gives for inputs: recorded by hooks that are gone afterwards, in evaluation mode that is put back."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pad_packed_sequence

from pellucid.core.errors import ModelError, OptionError, PellucidError, did_you_mean
from pellucid.core.language import Text, text
from pellucid.core.trace.model import random_state_kept, run_eagerly, shared_copy
from pellucid.explanation.checks import plainly, refused, tensors_of

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
_LAST_AXIS = (nn.Linear, nn.LayerNorm, nn.Embedding, nn.RNNBase, nn.MultiheadAttention)
Inputs = tuple[Tensor, ...]


@dataclass(frozen=True)
class Call:
    """One call of the module."""

    arguments: tuple[Any, ...]
    keywords: dict[str, Any]
    output: Any


def module_at(model: nn.Module, layer: str) -> nn.Module:
    """The module at the path `layer`, as in `model.named_modules()`.

    Raises:
        OptionError: there is no such module.
    """
    modules = dict(model.named_modules())
    if not isinstance(cast("Any", layer), str) or layer.replace("_orig_mod.", "") not in modules:  # torch.compile's own part of a path
        names = [name for name in modules if name]
        raise OptionError(
            text("the network has no layer {name!r}", name=layer),
            text("the path of a module, as in model.named_modules()"),
            did_you_mean(str(layer), names) if names else text("the network has no parts: put its operations into modules"),
        )
    return modules[layer.replace("_orig_mod.", "")]


def prepared(model: Any, inputs: Any) -> tuple[nn.Module, Inputs, list[Text]]:
    """A copy of the network over the user's weights, that shares nothing else with it, copies of the inputs, and notes.

    Raises:
        ModelError: the model is no torch module, or cannot be copied.
        DataError: the inputs are no tensors, have no samples, or not equally many.
    """
    if not isinstance(model, nn.Module):
        raise ModelError(
            text("the model is a {kind}", kind=type(model).__name__),
            text("a torch.nn.Module"),
            text("for a run: pellucid.load(path).model"),
        )
    tensors, keywords = tensors_of(inputs)
    notes: list[Text] = []
    twin = shared_copy(model, notes).eval()
    if keywords is not None:
        by_name = twin.forward
        twin.forward = lambda *parts: by_name(**dict(zip(keywords, parts, strict=True)))
    return twin, tuple(tensor.detach().clone() for tensor in tensors), notes


def passed(model: nn.Module, inputs: Sequence[Tensor]) -> Any:
    """What the network gives; it may write into its inputs.

    Raises:
        DataError: it does not take them.
    """
    try:
        return model(*(tensor.clone() for tensor in inputs))
    except PellucidError:
        raise
    except Exception as error:  # whatever a network raises
        raise refused(error, model, tuple(inputs), None) from error


@contextmanager
def quiet(model: nn.Module) -> Generator[None]:
    """Around each pass of a prepared network: the user's random state, mixed precision and inference mode are put back, and so are the
    copy's own buffers, which a module may change in evaluation mode too."""
    buffers = [(buffer, buffer.detach().clone()) for buffer in model.buffers()]
    devices = {tensor.device for tensor in (*model.parameters(), *model.buffers())}
    with plainly(), random_state_kept(devices, 0), run_eagerly():
        try:
            yield
        finally:
            with torch.no_grad():
                for buffer, kept in buffers:
                    if buffer.shape == kept.shape:
                        buffer.copy_(kept)


@contextmanager
def recorded(module: nn.Module) -> Generator[list[Call]]:
    """The calls of `module` inside the block, in order."""
    calls: list[Call] = []

    def keep(_: nn.Module, arguments: tuple[Any, ...], keywords: dict[str, Any], output: Any) -> None:
        calls.append(Call(arguments, keywords, output))

    hook = module.register_forward_hook(keep, with_kwargs=True)
    try:
        yield calls
    finally:
        hook.remove()


def batches(inputs: Inputs, size: int) -> Iterator[Inputs]:
    for start in range(0, len(inputs[0]), size):
        yield tuple(item[start : start + size] for item in inputs)


def calls_of(model: nn.Module, module: nn.Module, inputs: Inputs, layer: str) -> list[Call]:
    """The calls of `module` in one forward pass without gradients.

    Raises:
        OptionError: the forward pass does not come to the module.
    """
    with quiet(model), torch.no_grad(), recorded(module) as calls:
        passed(model, inputs)
    if not calls:
        raise OptionError(
            text("the layer {name!r} is not called in the forward pass", name=layer),
            text("a layer through which these inputs pass"),
            text("a module whose forward method the network does not call (its weight may be used directly) cannot be watched"),
        )
    return calls


def tensor_of(output: Any) -> Tensor | None:
    """The tensor that a module's output is, or begins with: LSTM and attention give more than one."""
    if isinstance(output, Tensor):
        return output
    if isinstance(output, (tuple, list)):
        return next((found for item in cast("Sequence[Any]", output) if (found := tensor_of(item)) is not None), None)
    if isinstance(output, dict) or hasattr(output, "values"):
        return next((found for item in cast("Any", output).values() if (found := tensor_of(item)) is not None), None)
    return None


def units_first(module: nn.Module, calls: Sequence[Call], samples: int, layer: str) -> Tensor:
    """The layer's output as (N, units, ...): channels of a convolution, the last axis of everything that has time steps.

    Raises:
        OptionError: the module gives no tensor of numbers with the samples along an axis.
    """
    if isinstance(module, nn.RNNCellBase):  # an own loop over time: its calls are the time steps
        states = [state for call in calls if (state := tensor_of(call.output)) is not None]
        return torch.stack(states, dim=2)
    output = calls[-1].output
    first = cast("Any", output[0] if isinstance(output, (tuple, list)) and output else output)
    found = pad_packed_sequence(first, batch_first=True)[0] if isinstance(first, PackedSequence) else tensor_of(output)
    if found is not None and found.ndim > 1 and len(found) != samples and found.shape[1] == samples:
        found = found.transpose(0, 1)  # time first, as recurrent layers and attention have it by default
    if found is None or not found.is_floating_point() or len(found) != samples:
        raise OptionError(
            text(
                "the layer {name!r} gives {what}", name=layer, what=str(tuple(found.shape)) if found is not None else type(output).__name__
            ),
            text("a tensor of floating-point numbers for {count} samples", count=samples),
            text("choose a layer whose output is a tensor with the samples along an axis"),
        )
    if found.ndim == 1:
        return found[:, None]
    return found.movedim(-1, 1) if found.ndim > 2 and not _channels_second(module, found) else found


def _channels_second(module: nn.Module, output: Tensor) -> bool:
    """Whether axis 1 holds the units: of images always, of three axes where there is a convolution or its normalisation."""
    if isinstance(module, _LAST_AXIS):
        return False
    if output.ndim > 3:
        return True
    of_channels = (*CONVOLUTIONS, nn.BatchNorm1d, nn.InstanceNorm1d, nn.MaxPool1d, nn.AvgPool1d, nn.AdaptiveAvgPool1d)
    return any(isinstance(part, of_channels) for part in module.modules())
