"""The copy of the user's network on which a trace is made: what cannot be traced, how a network is copied, what is put back afterwards."""

from __future__ import annotations

import copy
import inspect
import random
import sys
from collections.abc import Generator, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from pellucid.core.errors import TraceError
from pellucid.core.language import Text, text
from pellucid.core.trace.execution import generator_access
from pellucid.core.trace.records import tensors


def copied(model: nn.Module, loss: Any, notes: list[Text]) -> tuple[nn.Module, Any, dict[int, Tensor]]:
    """A network and a loss that share nothing with the user's, and for the id of each of the user's tensors its copy.

    Raises:
        TraceError: the network is of a kind whose operations cannot be seen.
    """
    model = _unwrapped(model)
    refuse(model, text("the network"))
    memo: dict[int, Any] = {}
    copies: list[Any] = []
    for part in (model, loss):
        if isinstance(part, nn.Module):
            if part is not model:
                refuse(part, text("the loss"))
            copies.append(_without_compilers(_copy(part, memo, notes)))
        else:
            copies.append(part)
    substitutes = {}
    for part, twin in zip((model, loss), copies, strict=True):
        if isinstance(part, nn.Module):
            pairs = zip((*part.parameters(), *part.buffers()), (*twin.parameters(), *twin.buffers()), strict=True)
            substitutes.update({id(mine): its for mine, its in pairs})
            for parameter in twin.parameters():
                parameter.grad = None  # memory only: the copy's gradients are computed by edge, never accumulated
    return copies[0], copies[1], substitutes


def shared_copy(model: nn.Module, notes: list[Text]) -> nn.Module:
    """A network of its own over the user's weights: they share memory and are not differentiated; buffers and all else are copies.

    What a pass does to buffers, modes, attributes and hooks stays in the copy, and no memory is spent on a second set of weights. Parts
    under torch.compile become plain Python. TorchScript modules are copied whole: they know no shared weights.

    Raises:
        TraceError: the network cannot be copied.
    """
    model = _unwrapped(model)
    memo: dict[int, Any] = {}
    if not any(isinstance(module, torch.jit.ScriptModule) for module in model.modules()):
        for parameter in model.parameters():
            weight = parameter.clone() if parameter.is_inference() else parameter.detach()  # inference tensors refuse every gradient
            memo[id(parameter)] = nn.Parameter(weight, requires_grad=False)
    twin = _without_compilers(_copy(model, memo, notes))
    for name, buffer in list(twin.named_buffers(remove_duplicate=False)):
        if buffer.is_inference():
            owner, _, key = name.rpartition(".")
            twin.get_submodule(owner)._buffers[key] = buffer.clone()
    for parameter in (weight for weight in twin.parameters() if weight.is_leaf):  # those of TorchScript need not be
        parameter.requires_grad = False
    return twin


def _unwrapped(model: nn.Module) -> nn.Module:
    """The network inside torch.compile's or a data-parallel wrapper."""
    while True:
        if _compiled(model):
            model = cast("nn.Module", model._orig_mod)
        elif isinstance(model, (nn.DataParallel, nn.parallel.DistributedDataParallel)):
            model = model.module
        else:
            return model


def _compiled(module: object) -> bool:
    return type(module).__name__ == "OptimizedModule" and hasattr(module, "_orig_mod")


def _without_compilers(model: nn.Module) -> nn.Module:
    model = _unwrapped(model)
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if _compiled(child):
                setattr(module, name, _unwrapped(child))
    return model


def refuse(model: object, part: Text) -> None:
    """Raise a TraceError that names what in `model` hides its operations; `part` says whether it is the network or the loss."""
    if not isinstance(model, nn.Module):
        raise TraceError(
            text("{part} is a {kind}", part=part, kind=type(model).__name__),
            text("a torch.nn.Module"),
            text("put the function into the forward method of a small torch.nn.Module"),
        )
    for path, module in model.named_modules():
        name, home = path or text("the whole"), type(module).__module__
        if isinstance(module, torch.jit.ScriptModule):
            raise TraceError(
                text("{part} contains a TorchScript module: {path} ({kind})", part=part, path=name, kind=type(module).__name__),
                text("modules in Python: TorchScript runs its operations where they cannot be recorded"),
                text("give the network as it was before torch.jit.script or torch.jit.trace"),
            )
        if home.startswith(
            ("torch.ao.nn.quantized", "torch.nn.quantized", "torch.ao.nn.intrinsic.quantized", "torch.ao.nn.sparse.quantized")
        ):
            raise TraceError(
                text("{part} contains a quantised module: {path} ({kind})", part=part, path=name, kind=type(module).__name__),
                text("modules with floating-point weights: quantised ones have no gradients"),
                text("give the network as it was before quantisation"),
            )
        for key, tensor in (*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)):
            where = f"{path}.{key}" if path else key
            if nn.parameter.is_lazy(tensor):
                raise TraceError(
                    text("{part} contains {path}, whose shape is not known yet", part=part, path=where),
                    text("a network that has seen data once: a lazy layer takes its shape from its first input"),
                    text("call the network once on these inputs, then trace it"),
                )
            if tensor.device.type == "meta":
                raise TraceError(
                    text("{part} contains {path}, which is on the meta device and has no values", part=part, path=where),
                    text("a network with values"),
                    text("materialise it with to_empty, load its weights, then trace it"),
                )


def _copy(model: nn.Module, memo: dict[int, Any], notes: list[Text]) -> nn.Module:
    """copy.deepcopy, with two obstacles cleared: tensors that are results, and attributes such as locks and open files."""
    for module in model.modules():
        for tensor in tensors(list(vars(module).values())):
            if not tensor.is_leaf:  # deepcopy refuses results, such as a cached activation or the weight of the old weight_norm
                memo[id(tensor)] = tensor.detach().clone().requires_grad_()
    first = dict(memo)
    try:
        return copy.deepcopy(model, memo)
    except Exception:  # whatever a class raises when it cannot be copied
        memo.clear()
        memo.update(first)
    modules = dict(model.named_modules())
    for module in modules.values():
        memo[id(module)] = object.__new__(type(module))
    for path, module in modules.items():
        twin = memo[id(module)]
        for name, value in vars(module).items():
            try:
                twin.__dict__[name] = copy.deepcopy(value, memo)
            except Exception as error:
                if name in ("_parameters", "_buffers", "_modules"):
                    raise TraceError(
                        text("the network cannot be copied: {error}", error=f"{type(error).__name__}: {error}"),
                        text("a network that copy.deepcopy can copy, so that yours stays as it is"),
                        text("look at the parameters and buffers of {path}", path=path or type(module).__name__),
                    ) from error
                twin.__dict__[name] = value
                where = f"{path}.{name}" if path else name
                notes.append(text("the attribute {where} cannot be copied: the traced pass used your network's own", where=where))
    return memo[id(model)]


def named_attributes(model: nn.Module, prefix: str = "") -> Iterator[tuple[str, Tensor]]:
    """Tensors in plain attributes of modules, neither parameters nor buffers, with their paths: "encoder.mask", "scales[2]"."""

    def inside(value: Any, name: str) -> Iterator[tuple[str, Tensor]]:
        if isinstance(value, Tensor):
            yield name, value
        elif isinstance(value, (list, tuple)):
            for position, item in enumerate(cast("list[Any]", value)):
                yield from inside(item, f"{name}[{position}]")
        elif type(value) is dict:
            for key, item in cast("dict[Any, Any]", value).items():
                yield from inside(item, f"{name}[{key!r}]")

    for path, module in model.named_modules(prefix=prefix):
        for name, value in vars(module).items():
            if name not in ("_parameters", "_buffers", "_modules"):
                yield from inside(value, f"{path}.{name}" if path else name)


class ModulePath:
    """Which module's forward is running, kept by hooks on the copy. A module may run many times, and inside itself."""

    def __init__(self) -> None:
        self._stack: list[tuple[nn.Module | None, str]] = [(None, "")]
        self.failed: tuple[str, BaseException | None] = ("", None)  # the innermost module that raised, and what

    @property
    def here(self) -> str:
        return self._stack[-1][1]

    @contextmanager
    def follow(self, model: nn.Module) -> Generator[None]:
        """Keep the path while the block runs; paths are those of `model.named_modules()`."""
        names: dict[nn.Module, list[str]] = {}
        for path, module in model.named_modules(remove_duplicate=False):
            names.setdefault(module, []).append(path)

        def enter(module: nn.Module, _: Any) -> None:
            known, parent = names[module], self.here
            inside = [name for name in known if name.rpartition(".")[0] == parent and name]  # shared by two parents: take this one's name
            self._stack.append((module, (inside or known)[0]))

        def leave(module: nn.Module, _inputs: Any, _outputs: Any) -> None:
            error = sys.exc_info()[1]
            if error is not None and self.failed[1] is not error:
                self.failed = (self.here, error)
            while len(self._stack) > 1 and self._stack.pop()[0] is not module:
                pass

        with ExitStack() as hooks:
            for module in names:
                for handle in (
                    module.register_forward_pre_hook(enter, prepend=True),
                    module.register_forward_hook(leave, always_call=True),
                ):
                    hooks.callback(handle.remove)
            yield


@contextmanager
def random_state_kept(devices: set[torch.device], seed: int | None) -> Generator[None]:
    """Put every random generator back afterwards: Python's, NumPy's, torch's on the CPU and on `devices`. `seed` seeds them inside."""
    python, numpy = random.getstate(), np.random.get_state()
    generators = {device: generator_access(device) for device in devices | {torch.device("cpu")} if device.type != "meta"}
    states = {device: read() for device, (read, _) in generators.items()}
    try:
        if seed is not None:
            random.seed(seed)
            np.random.seed(seed % 2**32)
            for device, (_, write) in generators.items():  # not torch.manual_seed: it would seed devices that are not put back
                write(torch.Generator(device).manual_seed(seed).get_state())
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
        for device, (_, write) in generators.items():
            write(states[device])


@contextmanager
def run_eagerly() -> Generator[None]:
    """Functions and modules under torch.compile run as plain Python while the block runs. Free where nothing was compiled."""
    if "torch._dynamo" not in sys.modules:
        yield
        return
    with torch.compiler.set_stance("force_eager"):
        yield


def answer_of(network: Any, inputs: Any) -> Any:
    """network(inputs): a tuple's entries by position, a mapping's by name; as a whole where forward takes it so: `forward(self, batch)`."""
    if isinstance(inputs, Mapping):
        by_name = cast("Mapping[str, Any]", inputs)
        return network(inputs) if _takes_whole(network, inputs, (), by_name) else network(**by_name)
    if isinstance(inputs, tuple):
        by_position = cast("tuple[Any, ...]", inputs)
        return network(inputs) if _takes_whole(network, inputs, by_position, {}) else network(*by_position)
    return network(inputs)


def _takes_whole(network: Any, inputs: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bool:
    """Whether forward can take `inputs` as one argument, and its entries not."""
    try:
        signature = inspect.signature(getattr(network, "forward", network))
    except (TypeError, ValueError):  # it has none that Python knows
        return False
    try:
        signature.bind(*args, **kwargs)
    except TypeError:
        try:
            signature.bind(inputs)
        except TypeError:
            return False
        return True
    return False
