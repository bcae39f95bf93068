"""Memory on which several tensors look: what was written to it, and where in it a tensor's entries are."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

import numpy as np

from pellucid.core.language import text
from pellucid.core.trace import Operation, Reference, Trace
from pellucid.derivation.registry import Unsupported
from pellucid.derivation.tape import Value


@dataclass(frozen=True)
class Write:
    """A window's part of a memory was replaced by `result`."""

    before: int  # the trace's value of the window
    after: int
    result: Value
    operation: Operation


@dataclass
class Memory:
    """A storage on which several tensors look: what its base holds, and writes through other windows not yet put into it."""

    root: int  # variable of the base
    current: Value
    window: int  # a value of the trace that is the base
    pending: list[Write] = field(default_factory=lambda: list[Write]())


def memory_of(trace: Trace) -> tuple[dict[int, list[int]], dict[int, set[int]], dict[int, list[tuple[int, int]]]]:
    """By storage: the operations that wrote to it, the variables that live in it, (operation, variable) of values seen after a write."""
    writers, variables = defaultdict[int, list[int]](list), defaultdict[int, set[int]](set)
    seen = defaultdict[int, list[tuple[int, int]]](list)
    for operation in trace.operations:
        for storage in dict.fromkeys(trace[after].storage for _, after in operation.written):
            writers[storage].append(operation.index)
    for value in trace.values:
        if value.variable >= 0:
            variables[value.storage].add(value.variable)
            if value.previous is not None and value.operation is not None:
                seen[value.storage].append((value.operation, value.variable))
    return writers, variables, seen


def positions(trace: Trace, base: int, window: int) -> np.ndarray:
    """Where in the base, flattened, the entries of a window on the same memory are; both are values of the trace.

    Raises:
        Unsupported: the window looks at memory beside the base, or reads it as another number type.
    """
    whole, part = (_addresses(*trace.window(Reference(index))) for index in (base, window))
    order = np.argsort(whole, axis=None, kind="stable")
    places = np.searchsorted(whole.reshape(-1)[order], part.reshape(-1))
    found = order[np.minimum(places, max(order.size - 1, 0))] if order.size else places
    same_type = trace.values[base].tensor.dtype == trace.values[window].tensor.dtype
    if not same_type or not np.array_equal(whole.reshape(-1)[found], part.reshape(-1)):
        raise Unsupported(text("two views that share memory only in part"), text("a view of its base"), text("clone one of them"))
    return found.reshape(part.shape)


def _addresses(offset: int, shape: tuple[int, ...], stride: tuple[int, ...]) -> np.ndarray:
    """The place in memory of each entry of a window."""
    places = np.full(shape, offset, dtype=np.int64)
    for axis, (size, step) in enumerate(zip(shape, stride, strict=True)):
        places += (np.arange(size) * step).reshape(-1, *([1] * (len(shape) - axis - 1)))
    return places
