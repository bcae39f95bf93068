"""What one module of a network gives for inputs: recorded by hooks that are gone afterwards, in evaluation mode that is put back."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pad_packed_sequence

from pellucid.core.errors import DataError, ModelError, OptionError, PellucidError, did_you_mean
from pellucid.core.language import Text, text
from pellucid.core.trace.model import random_state_kept, run_eagerly
from pellucid.explanation.checks import converted, in_the_networks_type, plainly, refused, tensors_of
from pellucid.explanation.isolation import Isolation

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
    if any(isinstance(module, torch.jit.ScriptModule) for module in (model, modules.get(str(layer)))):
        raise OptionError(
            text("the layer {name!r} is part of a TorchScript module", name=str(layer)),
            text("modules in Python: what TorchScript computes inside cannot be seen"),
            text("give the network as it was before torch.jit.script, trace or freeze"),
        )
    if not isinstance(cast("Any", layer), str) or layer.replace("_orig_mod.", "") not in modules:  # torch.compile's own part of a path
        names = [name for name in modules if name]
        raise OptionError(
            text("the network has no layer {name!r}", name=layer),
            text("the path of a module, as in model.named_modules()"),
            did_you_mean(str(layer), names) if names else text("the network has no parts: put its operations into modules"),
        )
    return modules[layer.replace("_orig_mod.", "")]


@dataclass(eq=False)
class Network:
    """A copy of the user's network, on which passes run, and the names under which it takes its inputs."""

    isolation: Isolation
    keywords: tuple[str, ...] | None

    @property
    def model(self) -> nn.Module:
        return self.isolation.model

    def passed(self, inputs: Sequence[Tensor]) -> Any:
        """What the network gives; it may write into its inputs.

        Raises:
            DataError: it does not take them.
        """
        own = tuple(tensor.clone() for tensor in inputs)
        try:
            return self.model(*own) if self.keywords is None else self.model(**dict(zip(self.keywords, own, strict=True)))
        except PellucidError:
            raise
        except Exception as error:  # whatever a network raises
            raise refused(error, self.model, tuple(inputs), self.keywords) from error

    @contextmanager
    def quiet(self) -> Generator[None]:
        """Around each pass: the user's modules, random state, mixed precision and inference mode are put back after it."""
        devices = {tensor.device for tensor in (*self.model.parameters(), *self.model.buffers())}
        with plainly(), random_state_kept(devices, 0), run_eagerly(), self.isolation.kept(self.model):
            yield


def prepared(model: Any, inputs: Any) -> tuple[Network, Inputs, list[Text]]:
    """A copy of the network that shares its weights and nothing else, copies of the inputs, and notes.

    Raises:
        ModelError: the model is no torch module, or cannot be copied.
        DataError: the inputs are no tensors, have no samples, or not equally many; or the network does not take them.
    """
    if not isinstance(model, nn.Module):
        raise ModelError(
            text("the model is a {kind}", kind=type(model).__name__),
            text("a torch.nn.Module"),
            text("for a run: pellucid.load(path).model"),
        )
    tensors, keywords = tensors_of(inputs)
    notes: list[Text] = []
    network = Network(Isolation(model, notes), keywords)
    given = tuple(tensor.detach().clone() for tensor in tensors)

    def first() -> None:
        with network.quiet(), torch.no_grad():
            network.passed([tensor[:2] for tensor in given])

    try:
        network.isolation.first_pass(first)
    except DataError:
        came, given = given, in_the_networks_type(model, given)
        if all(one.dtype == two.dtype for one, two in zip(came, given, strict=True)):
            raise
        network.isolation.first_pass(first)
        notes.append(converted(came, given))
    return network, given, notes


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


def calls_of(network: Network, module: nn.Module, inputs: Inputs, layer: str) -> list[Call]:
    """The calls of `module` in one forward pass without gradients.

    Raises:
        OptionError: the forward pass does not come to the module.
    """
    with network.quiet(), torch.no_grad(), recorded(module) as calls:
        network.passed(inputs)
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
