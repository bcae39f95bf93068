"""What is derived: the network, or any callable, its inputs and its loss, made fit for a trace; or refused."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pellucid.core.errors import DataError, ModelError
from pellucid.core.language import text
from pellucid.core.trace.records import mapped, tensors
from pellucid.derivation.named_losses import loss_called, sum_of_outputs


class CallableNetwork(nn.Module):
    """A plain function as a network: the tensors and modules that it closes over, or reads from its module, are the network's own."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        object.__setattr__(self, "_function", function)  # kept out of copies: a copied function would close over other tensors
        for name, item in _held_by(function):
            if isinstance(item, nn.Module):
                self.add_module(name, item)
            elif isinstance(item, nn.Parameter):
                self.register_parameter(name, item)
            else:
                self.register_buffer(name, item)

    def __deepcopy__(self, memo: dict[int, Any]) -> CallableNetwork:
        import copy

        twin = self.__class__.__new__(self.__class__)
        nn.Module.__init__(twin)
        memo[id(self)] = twin
        for name, value in self.__dict__.items():
            twin.__dict__[name] = value if name == "_function" else copy.deepcopy(value, memo)
        return twin

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        function: Callable[..., Any] = self.__dict__["_function"]
        return function(*args, **kwargs)


def _held_by(function: Callable[..., Any]) -> Iterator[tuple[str, Any]]:
    """Tensors and modules that a function uses without being given them, by name."""
    seen: set[int] = set()
    bound = getattr(function, "__self__", None)
    candidates: list[tuple[str, Any]] = [("model", bound)] if isinstance(bound, nn.Module) else []
    while isinstance(function, functools.partial):
        candidates += [(f"argument_{i + 1}", item) for i, item in enumerate(function.args)] + list(function.keywords.items())
        function = function.func
    plain: Any = inspect.unwrap(getattr(function, "__func__", function))
    if not inspect.isfunction(plain) and callable(function) and not inspect.isbuiltin(function):
        candidates += list(vars(function).items()) if hasattr(function, "__dict__") else []  # an object with __call__
        plain = type(function).__call__
    if inspect.isfunction(plain):
        try:
            used = inspect.getclosurevars(plain)
            candidates += [*used.nonlocals.items(), *used.globals.items()]
        except ValueError:  # a closure variable that has no value yet
            pass
        candidates += [(p.name, p.default) for p in inspect.signature(plain).parameters.values() if p.default is not p.empty]
    for name, value in candidates:
        items = (
            list(value.items())
            if isinstance(value, dict)
            else list(enumerate(value))
            if isinstance(value, (list, tuple))
            else [("", value)]
        )
        for key, item in items:
            if isinstance(item, (Tensor, nn.Module)) and id(item) not in seen:
                seen.add(id(item))
                full = f"{name}_{key}" if key != "" else name
                yield full.replace(".", "_") or "value", item


def network_of(model: Any) -> nn.Module:
    """The network to trace.

    Raises:
        ModelError: it is neither a module nor a callable, or its tensors are spread over several processes.
    """
    if isinstance(model, nn.Module):
        network = model
    elif isinstance(model, type) and issubclass(model, nn.Module):
        raise ModelError(
            text("the class {name} instead of a network", name=model.__name__),
            text("an instance: a torch.nn.Module with its parameters"),
            text("call it first: {name}(...)", name=model.__name__),
        )
    elif isinstance(model, torch.jit.ScriptFunction):
        raise ModelError(
            text("the TorchScript function {name}", name=str(model.name)),
            text("Python code: TorchScript runs its operations where they cannot be recorded"),
            text("give the function as it was before torch.jit.script or torch.jit.trace"),
        )
    elif callable(model):
        network = CallableNetwork(model)
    else:
        raise ModelError(
            text("an object of type {kind} instead of a network", kind=type(model).__name__),
            text("a torch.nn.Module, or a function of tensors"),
            text("give the network itself; load its weights into it first if you have only those"),
        )
    for name, tensor in (*network.named_parameters(), *network.named_buffers()):
        if type(tensor).__name__ == "DTensor" or hasattr(tensor, "full_tensor") or "ShardedTensor" in type(tensor).__name__:
            raise ModelError(
                text("{name} is sharded over several processes ({kind})", name=name, kind=type(tensor).__name__),
                text("a network whose tensors are whole in this process"),
                text("gather its state into an unsharded copy and derive that"),
            )
        if tensor.is_quantized:
            raise ModelError(
                text("{name} is quantised ({kind})", name=name, kind=str(tensor.dtype)),
                text("floating-point weights: quantised ones have no gradients"),
                text("give the network as it was before quantisation"),
            )
    return network


def inputs_of(inputs: Any) -> Any:
    """Inputs with arrays as tensors; floating-point ones in PyTorch's default precision, as a data loader would give them."""

    def tensor_of(array: np.ndarray) -> Tensor:
        if array.dtype.kind not in "biufc":
            raise DataError(
                text("an array of {kind}", kind=str(array.dtype)),
                text("numbers"),
                text("encode text and objects as numbers before they reach the network"),
            )
        tensor = torch.from_numpy(np.array(array))
        return tensor.to(torch.get_default_dtype()) if tensor.is_floating_point() else tensor

    return mapped(inputs, np.ndarray, tensor_of)


def criterion_of(loss: Any, targets: Any) -> Callable[..., Any]:
    """The loss as a callable.

    Raises:
        OptionError: there is no loss of this name.
        DataError: a named loss without targets, targets without a loss.
    """
    if loss is None:
        if targets is not None:
            raise DataError(
                text("targets were given, but no loss"),
                text("a loss that compares the outputs with the targets"),
                text('give loss, say loss="mse" or loss=torch.nn.functional.cross_entropy, or leave targets out'),
            )
        return sum_of_outputs
    if isinstance(loss, str):
        if targets is None:
            raise DataError(
                text("the loss {name!r}, but no targets", name=loss), text("targets to compare the outputs with"), text("give targets")
            )
        return loss_called(loss)
    if not callable(loss):
        raise DataError(
            text("a loss of type {kind}", kind=type(loss).__name__),
            text("a function (outputs, targets), its name, or None for the sum of the outputs"),
            text('say loss="mse" or loss=torch.nn.functional.cross_entropy'),
        )
    return loss


def check_differentiable(network: nn.Module, inputs: Any) -> None:
    """Refuse what has nothing to differentiate: no parameters, and inputs of integers only."""
    able = [t for t in (*network.parameters(), *network.buffers()) if t.requires_grad] + [
        t for t in tensors(inputs) if t.is_floating_point() or t.is_complex()
    ]
    if not able and not tensors(inputs):
        raise DataError(
            text("inputs without a tensor, and no parameter that requires a gradient"),
            text("something with a derivative: floating-point inputs, or parameters with requires_grad=True"),
            text("give the tensors of which the network is a function"),
        )
    if not able:
        kinds = sorted({str(tensor.dtype).removeprefix("torch.") for tensor in tensors(inputs)})
        raise DataError(
            text("inputs of {kinds} and no parameter that requires a gradient", kinds=kinds),
            text("something with a derivative: floating-point inputs, or parameters with requires_grad=True"),
            text("convert the inputs with .float(), or thaw the parameters with requires_grad_()"),
        )
