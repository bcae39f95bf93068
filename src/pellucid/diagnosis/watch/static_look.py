"""One pass over the first batch on a copy of the model, operation by operation: what the program does, and on which line."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from pellucid.core.language import Text, text
from pellucid.core.trace.records import Operation, references
from pellucid.core.trace.tracing import Trace, trace
from pellucid.diagnosis.dynamic.observations import OperationFact, StaticFacts
from pellucid.diagnosis.watch.attachment import Hook
from pellucid.diagnosis.watch.statistics import Bounds

SAMPLES = 8  # of the first batch
LARGEST = 50_000_000  # parameters' entries: a copy of more is not made
OPERATIONS = 400
PASSING = {
    "flatten", "view", "reshape", "permute", "transpose", "contiguous", "squeeze", "unsqueeze", "__getitem__", "dropout", "dropout2d",
    "feature_dropout", "alpha_dropout", "max_pool1d", "max_pool2d", "max_pool3d", "avg_pool1d", "avg_pool2d", "avg_pool3d",
    "adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_max_pool2d", "mean", "to", "float", "clone", "T", "mT",
}  # fmt: skip
RECTIFIERS = {"relu", "relu_", "relu6", "threshold", "clamp_min"}
BOUNDS: dict[str, Bounds] = {
    "sigmoid": (0.0, 1.0), "tanh": (-1.0, 1.0), "hardtanh": (-1.0, 1.0), "hardsigmoid": (0.0, 1.0), "softsign": (-1.0, 1.0),
    "relu6": (None, 6.0),
}  # fmt: skip


class Maker(NamedTuple):
    """The operation that made a module's first input, past operations that only reshape, pool or drop values."""

    name: str
    module: str  # where it ran
    rectifies: bool
    bounds: Bounds | None


@dataclass
class StaticLook:
    """The facts, and what the looks at modules need to know: which operation made a module's input."""

    facts: StaticFacts = field(default_factory=StaticFacts)
    makers: dict[str, Maker] = field(default_factory=dict)  # module path -> what made its first input


def look(model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> StaticLook:
    """Trace a few samples through a copy. A model that cannot be traced gives facts that say why; nothing is raised."""
    refusal = _refusal(model)
    if refusal is not None:
        return StaticLook(StaticFacts(notes=(refusal,)))
    problem: Exception | None = None
    for few in (True, False):
        try:
            pass_ = _traced(model, args, kwargs, few)
        except Exception as error:  # whatever the user's forward raises on a few samples; on the whole batch it has the last word
            problem = error
            continue
        return _described(model, pass_)
    assert problem is not None
    why = f"{type(problem).__name__}: {problem}".splitlines()[0][:200]
    return StaticLook(StaticFacts(notes=(text("the operations inside could not be recorded: {error}", error=why),)))


def is_compiled(model: nn.Module) -> bool:
    """torch.compile(model) wraps the model, model.compile() replaces its call."""
    return any("_orig_mod" in module._modules or getattr(module, "_compiled_call_impl", None) is not None for module in model.modules())


def _refusal(model: nn.Module) -> Text | None:
    """Why no copy of this model is run."""
    entries = sum(parameter.numel() for parameter in model.parameters())
    if entries > LARGEST:
        return text("the model has {count} weights: no copy is made of so large a model", count=entries)
    if is_compiled(model):
        return text("compiled code hides its operations")
    distributed = any(type(module).__name__ in ("DistributedDataParallel", "FullyShardedDataParallel") for module in model.modules())
    if distributed or any(isinstance(module, nn.SyncBatchNorm) for module in model.modules()):
        return text("a model that talks to other processes is not run once more on a copy")
    return None


def without_hooks(model: nn.Module) -> nn.Module:
    """The model, or where it carries hooks of the user's program a copy without them: what they do must not be done once more.

    Hooks of PyTorch itself, which compute the weights of the older weight_norm or of pruning, belong to the model.
    """

    def foreign(hook: Any) -> bool:
        return not isinstance(hook, Hook) and not (getattr(hook, "__module__", None) or type(hook).__module__ or "").startswith("torch.")

    hooks = [(module, name) for module in model.modules() for name in ("_forward_pre_hooks", "_forward_hooks")]
    if not any(foreign(hook) for module, name in hooks for hook in getattr(module, name).values()):
        return model
    copied = copy.deepcopy(model)
    for module in copied.modules():
        for name in ("_forward_pre_hooks", "_forward_hooks"):
            present = getattr(module, name)
            for key in [key for key, hook in present.items() if foreign(hook)]:
                del present[key]
    return copied


def traced(model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], loss: Callable[..., Any] | None = None) -> Trace | None:
    """The whole batch through a copy, and the loss of its outputs; None where that is not possible."""
    if _refusal(model) is not None:
        return None
    try:
        return _traced(model, args, kwargs, few=False, loss=loss)
    except Exception:  # whatever the user's forward raises
        return None


def _traced(model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], few: bool, loss: Callable[..., Any] | None = None) -> Trace:
    """Positional arguments go as a tuple, keyword arguments as a dict; a model called with both gets them through a small module."""
    if few:
        args, kwargs = _few(args, _samples(args, kwargs)), _few(kwargs, _samples(args, kwargs))
    model = without_hooks(model)
    if args and kwargs:
        return trace(_Called(model, tuple(kwargs)), (*args, *kwargs.values()), loss=loss)
    return trace(model, kwargs or args, loss=loss)


class _Called(nn.Module):
    """Calls the model with its last arguments by name."""

    def __init__(self, model: nn.Module, names: tuple[str, ...]) -> None:
        super().__init__()
        self.model, self.names = model, names
        self.training = model.training

    def forward(self, *args: Any) -> Any:
        plain = len(args) - len(self.names)
        return self.model(*args[:plain], **dict(zip(self.names, args[plain:], strict=True)))


def _samples(*structures: Any) -> int | None:
    """The batch size: the first length of the first tensor."""
    waiting = list(structures)
    while waiting:
        item = waiting.pop(0)
        if isinstance(item, Tensor):
            return item.shape[0] if item.dim() else None
        if isinstance(item, dict):
            waiting = [*item.values(), *waiting]
        elif isinstance(item, (list, tuple)):
            waiting = [*item, *waiting]
    return None


def _few(structure: Any, samples: int | None) -> Any:
    """The first samples of every tensor that has them along its first dimension."""
    if isinstance(structure, Tensor):
        return structure[:SAMPLES] if structure.dim() and structure.shape[0] == samples else structure
    if isinstance(structure, dict):
        return {key: _few(item, samples) for key, item in structure.items()}
    if type(structure) in (list, tuple):
        return type(structure)(_few(item, samples) for item in structure)
    return structure


def _described(model: nn.Module, traced: Trace) -> StaticLook:
    wrapped = any(path.startswith("model.") for path in traced.parameters) and not hasattr(model, "model")

    def path_of(path: str) -> str:
        return path.removeprefix("model").removeprefix(".") if wrapped else path

    with torch.no_grad():
        made = traced.operations[:OPERATIONS]
        users: dict[int, list[int]] = {}
        makers: dict[int, Operation] = {}
        for operation in traced.operations:
            for reference in operation.inputs():
                users.setdefault(reference.value, []).append(operation.index)
            for reference in operation.results():
                makers[reference.value] = operation
        facts = tuple(_fact(traced, operation, users, path_of) for operation in made)
        first: dict[str, Operation] = {}
        for operation in traced.operations:
            first.setdefault(path_of(operation.module), operation)
        modules = {path: _maker(operation, makers, path_of) for path, operation in first.items()}
    return StaticLook(
        StaticFacts(
            made=True,
            operations=facts,
            total=len(traced.operations),
            unreached=_unreached(model, traced, path_of),
            output_shapes=tuple(tuple(traced.tensor(reference).shape) for reference in references(traced.outputs))[:16],
            notes=traced.notes,
        ),
        {path: maker for path, maker in modules.items() if maker is not None},
    )


def _fact(traced: Trace, operation: Operation, users: dict[int, list[int]], path_of: Any) -> OperationFact:
    results = [traced.tensor(reference) for reference in operation.results()]
    feeds = {user for reference in operation.results() for user in users.get(reference.value, ()) if user < OPERATIONS}
    broken = any(tensor.is_floating_point() and not bool(tensor.isfinite().all()) for tensor in results)
    return OperationFact(
        name=operation.name,
        module=path_of(operation.module),
        source=f"{Path(operation.source.file).name}:{operation.source.line}" if operation.source else None,
        shape=tuple(results[0].shape) if results else (),
        feeds=tuple(sorted(feeds)),
        nonfinite=broken,
    )


def _maker(operation: Operation, makers: dict[int, Operation], path_of: Any) -> Maker | None:
    nearest: Operation | None = None
    seen = operation
    for _ in range(16):
        sources = [makers.get(reference.value) for reference in seen.inputs()[:1]]
        if not sources or sources[0] is None:
            break
        seen = sources[0]
        nearest = nearest or seen
        if seen.name not in PASSING:
            telling = seen if seen.name in RECTIFIERS or seen.name in BOUNDS else nearest
            return Maker(telling.name, path_of(seen.module), seen.name in RECTIFIERS, BOUNDS.get(seen.name))
    return None if nearest is None else Maker(nearest.name, path_of(nearest.module), False, None)


def _unreached(model: nn.Module, traced: Trace, path_of: Any) -> tuple[str, ...]:
    """Trainable parameters from which no path of operations leads to an output."""
    reached = {reference.value for reference in references(traced.outputs)}
    previous = {value.index: value.previous for value in traced.values}
    for operation in reversed(traced.operations):
        results = {reference.value for reference in operation.results()}
        if results & reached:
            reached |= {reference.value for reference in operation.inputs()}
            reached |= {past for value in results if (past := previous[value]) is not None}
    trainable = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    names = [(path_of(name), reference) for name, reference in traced.parameters.items()]
    found = {name for name, reference in names if reference.value in reached}
    return tuple(name for name, _ in names if name in trainable and name not in found)[:64]
