"""PyTorch's own refusals to differentiate a pass, in words that name the lines."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from pellucid.core.errors import TraceError
from pellucid.core.language import text
from pellucid.core.trace import Operation, Trace, Value

_OVERWRITTEN = re.compile(r"modified by an inplace operation: \[\S+ \[([\d, ]*)\]\](?:, which is output \d+ of (\w+?)(?:Backward\d*)?,)?")


@contextmanager
def overwritten_error(recorded: Trace) -> Iterator[None]:
    """In the place of "modified by an inplace operation: version 1, expected 0" the operation that wrote, and what it wrote over."""
    try:
        yield
    except TraceError as error:
        found = _OVERWRITTEN.search(str(error))
        writer, value = _writer(recorded, found) if found else (None, None)
        if writer is None or value is None:
            raise
        maker = recorded.operations[value.operation] if value.operation is not None else None
        raise TraceError(
            text(
                "{writer} at {where} writes over {value}, and the gradient of an operation needs what was there",
                writer=_spelt(writer),
                where=str(writer.source),
                value=text("the result of {name} at {where}", name=maker.name, where=str(maker.source)) if maker else value.name,
            ),
            text("values that stay as they are until the backward pass has used them"),
            text("make a new tensor: y = y + x for y += x, relu(y) for relu_(y), torch.where or index_put without underscore"),
        ) from error


def _writer(recorded: Trace, found: re.Match[str]) -> tuple[Operation | None, Value | None]:
    shape = tuple(int(size) for size in found[1].split(",") if size.strip())
    for value in recorded.values:
        node = re.sub(r"Backward\d*$", "", value.edge.node.name()) if value.edge is not None else ""
        if tuple(value.tensor.shape) != shape or (found[2] and node != found[2]):
            continue
        for operation in recorded.operations[(value.operation if value.operation is not None else -1) + 1 :]:
            if any(recorded[before].storage == value.storage for before, _ in operation.written):
                return operation, value
    return None, None


def _spelt(operation: Operation) -> str:
    return getattr(operation.function, "__name__", operation.name)
