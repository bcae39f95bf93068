"""What a trace consists of: values (tensors at one moment), operations that turn values into values, and references between them.

A tensor object changes when something writes into it or into its memory, so a trace does not speak of tensors but of values:

    value      a tensor's content at one moment, with its place in the gradient graph
    variable   the tensor object, in its life from value to value: `x.add_(1)` makes the next value of the variable x
    storage    the memory: the values of a tensor and of its views share it
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge


@dataclass(frozen=True)
class Reference:
    """Stands for a tensor in an operation's arguments and outputs: the position of its value in `Trace.values`."""

    value: int

    def __repr__(self) -> str:
        return f"%{self.value}"


class Source(NamedTuple):
    """A line of the user's program."""

    file: str
    line: int
    function: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


@dataclass(frozen=True, eq=False)
class Value:
    """A tensor's content at one moment of the forward pass."""

    index: int
    kind: str  # "input", "target", "parameter", "buffer", "constant", "draw" (a random draw), or "operation"
    name: str  # "input", "layer1.0.conv1.weight", "relu_7"
    tensor: Tensor  # the content, detached; unchanged by whatever was written into the tensor later. Read it, never write to it
    edge: GradientEdge | None  # where the gradient with respect to exactly this value arrives; None without gradient
    variable: int  # equal for the successive values of one tensor object
    storage: int  # equal for values that share memory: a view and its base
    operation: int | None = None  # the operation that made it or wrote to it; None for leaves
    previous: int | None = None  # the same variable's value before that operation wrote to it

    @property
    def leaf(self) -> bool:
        """Given to the pass from outside, not computed by it."""
        return self.operation is None and self.previous is None

    @property
    def requires_grad(self) -> bool:
        return self.edge is not None


@dataclass(frozen=True)
class Surroundings:
    """The modes in force around an operation; a replay restores them."""

    gradient: bool = True  # torch.is_grad_enabled()
    inference: bool = False  # torch.is_inference_mode_enabled()
    autocast: tuple[tuple[str, torch.dtype], ...] = ()  # device types with automatic mixed precision, and its dtype
    default_device: torch.device | None = None  # of `with torch.device(...)`, for operations that make tensors from nothing


@dataclass(frozen=True, eq=False)
class Operation:
    """One tensor operation as the program called it; what it called in turn is inside it and not recorded."""

    index: int
    name: str  # the textbook's name: "linear", "relu", "add"; for an autograd.Function its class's name
    function: Callable[..., Any]  # calling it with `args` and `kwargs` (tensors in place of references) does the operation again
    args: tuple[Any, ...]  # as given, with a Reference in the place of each tensor
    kwargs: Mapping[str, Any]
    outputs: Any  # the returned structure with References; an output that is an argument's own value is that argument's Reference
    written: tuple[tuple[Reference, Reference], ...]  # (before, after) of every argument it wrote to, or whose memory it wrote to
    draws: tuple[Reference, ...]  # random draws made inside, in order: dropout masks, noise
    module: str  # path of the innermost module: "layer1.0.conv1"; "" for the network itself
    source: Source | None  # the innermost line outside torch; None where the whole stack is torch's
    stage: str  # "forward" or "loss"
    level: str  # "function"; "aten": seen below Python only (torch.func); "autograd" and "script": a Function hiding its inside
    in_place: bool  # it wrote into one of its arguments and returned it, or returned nothing
    surroundings: Surroundings

    def inputs(self) -> list[Reference]:
        """The argument tensors' references, in order, repetitions kept."""
        return references((self.args, self.kwargs))

    def results(self) -> list[Reference]:
        """What it computed: the outputs' references, then the values after its writes that are no outputs."""
        found = list(dict.fromkeys(references(self.outputs)))
        return found + [after for _, after in self.written if after not in found]


def mapped(structure: Any, kind: type | tuple[type, ...], function: Callable[[Any], Any], dataclass_fields: bool = False) -> Any:
    """The same nesting of tuples, lists, dicts and slices, with `function` applied to each leaf that is a `kind`.

    A named tuple keeps its type, a subclass of dict becomes a dict, and so does a dataclass where `dataclass_fields`.
    """
    if isinstance(structure, kind):
        return function(structure)
    if isinstance(structure, (tuple, list)):
        items = [mapped(item, kind, function, dataclass_fields) for item in cast("list[Any]", structure)]
        if isinstance(structure, list):
            return items
        if hasattr(structure, "_fields"):  # a named tuple takes its items one by one, torch.return_types take them together
            return type(structure)(*items)
        return type(structure)(items) if type(structure).__module__ == "torch.return_types" else tuple(items)
    if isinstance(structure, Mapping):
        return {key: mapped(item, kind, function, dataclass_fields) for key, item in cast("Mapping[Any, Any]", structure).items()}
    if isinstance(structure, slice):
        return slice(*(mapped(item, kind, function) for item in (structure.start, structure.stop, structure.step)))
    if dataclass_fields and dataclasses.is_dataclass(structure) and not isinstance(structure, (type, Reference)):
        fields = {item.name: getattr(structure, item.name) for item in dataclasses.fields(structure)}
        return {key: mapped(item, kind, function, dataclass_fields) for key, item in fields.items()}
    return structure.copy() if isinstance(structure, np.ndarray) else structure


def references(structure: Any) -> list[Reference]:
    """All references in the structure, in order."""
    found: list[Reference] = []
    mapped(structure, Reference, found.append)
    return found


def tensors(structure: Any) -> list[Tensor]:
    """All tensors in the structure, in order."""
    found: list[Tensor] = []
    mapped(structure, Tensor, found.append, dataclass_fields=True)
    return found
