"""Running a trace's operations again: on the recorded leaves, on others, in another precision, on another device."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge

from pellucid.core.errors import TraceError
from pellucid.core.language import text
from pellucid.core.trace.execution import (
    Execution,
    gradient_edge,
    kernel_name,
    repeated,
    run_from_state,
    shows_draw,
    surrounded,
    visible_dropout,
)
from pellucid.core.trace.records import Operation, Reference, Value, mapped, references, tensors

_FLOATS = {"float", "double", "half", "bfloat16"}
_COMPLEX = {torch.float16: torch.complex32, torch.float32: torch.complex64, torch.float64: torch.complex128}


class Replay(Execution):
    """One repetition of recorded operations. `values` holds what each value became."""

    def __init__(
        self, operations: Sequence[Operation], values: Sequence[Value], dtype: torch.dtype | None, device: torch.device | None
    ) -> None:
        super().__init__()
        self.operations, self.recorded, self.dtype, self.device = operations, values, dtype, device
        self.variables: dict[int, Tensor] = {}
        self.edges: dict[int, GradientEdge | None] = {}
        self._draws: list[Tensor] = []

    def run(self, leaves: Mapping[int, Tensor]) -> dict[int, Value]:
        """Set the leaves (recorded values where `leaves` says nothing), then do every operation. Returns the new values by index."""
        for value in self.recorded:
            if value.leaf and value.kind != "draw":
                self._set_leaf(value, leaves.get(value.index))
        with self:
            for operation in self.operations:
                try:
                    self._repeat(operation)
                except TraceError:
                    raise
                except Exception as error:
                    raised = f"{type(error).__name__}: {error}"
                    raise TraceError(
                        text(
                            "replaying operation {index}, {name}, raised {error}", index=operation.index, name=operation.name, error=raised
                        ),
                        text("leaves of the shapes, types and devices with which the trace was made, unless every operation takes others"),
                        text("trace the network again on these inputs"),
                    ) from error
        return {
            value.index: dataclasses.replace(value, tensor=self.contents[value.index], edge=self.edges[value.index])
            if value.index in self.contents
            else value
            for value in self.recorded
        }

    def _set_leaf(self, value: Value, given: Tensor | None) -> None:
        tensor = value.tensor if given is None else given
        tensor = tensor.detach().clone()
        dtype = self._precision(tensor.dtype)
        tensor = tensor.to(device=self.device or tensor.device, dtype=dtype)
        if value.requires_grad and (tensor.is_floating_point() or tensor.is_complex()):
            tensor.requires_grad_()
            if not (isinstance(value.edge, GradientEdge) and value.edge.node.name().endswith("AccumulateGrad")):
                tensor = tensor.clone()  # an input that the pass may write to although its gradient is wanted
        self.variables[value.variable] = tensor
        self._note(value.index)

    def _note(self, index: int) -> None:
        """Keep what this value is now."""
        if index not in self.contents:
            tensor = self.variables[self.recorded[index].variable]
            with self.own_work():
                self.edges[index] = gradient_edge(tensor)
                self.keep(index, tensor)

    def _take(self, reference: Reference) -> Tensor:
        self._note(reference.value)
        return self.variables[self.recorded[reference.value].variable]

    def _repeat(self, operation: Operation) -> None:
        args, kwargs = mapped((operation.args, dict(operation.kwargs)), Reference, self._take)
        function: Callable[..., Any] = operation.function
        modes = operation.surroundings
        if self.dtype is not None or self.device is not None:
            function, args, kwargs = self._converted(operation, args, kwargs)
            if self.device is not None and modes.default_device is not None:
                modes = dataclasses.replace(modes, default_device=self.device)
        self._draws = [self.recorded[reference.value].tensor for reference in operation.draws]
        self.depth += 1
        try:
            with surrounded(modes, mixed_precision=self.dtype is None), visible_dropout(operation.name, args, kwargs):
                result = function(*args, **kwargs)
        finally:
            self.depth -= 1
        results = self._distinct(operation, tensors(result))
        if self.dtype is not None and not operation.in_place:
            with surrounded(modes, mixed_precision=False), self.own_work():
                results = [self._in_precision(tensor, tensors((args, kwargs))) for tensor in results]
        for reference, tensor in zip(references(operation.outputs), results, strict=True):
            self.variables[self.recorded[reference.value].variable] = tensor
            self._note(reference.value)
        for _, after in operation.written:
            self._note(after.value)

    def _distinct(self, operation: Operation, results: Sequence[Tensor]) -> list[Tensor]:
        """In another precision `x.float()` may give x itself, which a later write would then change too: as when recorded, a new tensor."""
        given = {id(self.variables[self.recorded[r.value].variable]) for r in operation.inputs()} if self.dtype or self.device else set()
        distinct = list(results)
        for position, reference in enumerate(references(operation.outputs)):
            if id(results[position]) in given and self.recorded[reference.value].previous is None and reference not in operation.inputs():
                with surrounded(operation.surroundings, mixed_precision=False), self.own_work():
                    distinct[position] = results[position].clone()
        return distinct

    def draw(self, kernel: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        if not self._draws:
            raise TraceError(
                text("{kernel} draws random numbers of which the trace knows nothing", kernel=kernel_name(kernel)),
                text("the draws of the recorded pass"),
                text("trace the network again instead of replaying it"),
            )
        draw = self._draws.pop(0)
        with self.own_work():
            if shows_draw(kernel):
                return repeated(kernel, args, kwargs, draw.to(self.device or draw.device))
            return run_from_state(kernel, args, kwargs, draw)

    # -- another precision, another device ---------------------------------------------------------------------------------------------

    def _precision(self, dtype: torch.dtype) -> torch.dtype:
        if self.dtype is None or not (dtype.is_floating_point or dtype.is_complex):
            return dtype
        return _COMPLEX.get(self.dtype, dtype) if dtype.is_complex else self.dtype

    def _in_precision(self, tensor: Tensor, given: Sequence[Tensor]) -> Tensor:
        if any(tensor is other for other in given):
            return tensor
        return tensor.to(self._precision(tensor.dtype))

    def _converted(self, operation: Operation, args: Any, kwargs: dict[str, Any]) -> tuple[Callable[..., Any], Any, dict[str, Any]]:
        """The call with precisions and devices named in it replaced: `x.float()`, `dtype=torch.float32`, `x.to("cuda")`."""
        function, name = operation.function, operation.name
        if name in _FLOATS and self.dtype is not None:
            return torch.Tensor.to, (args[0], self.dtype), {}
        if name in ("cpu", "cuda", "xpu", "mps") and self.device is not None:
            return torch.Tensor.to, (args[0], self.device), {}
        args, kwargs = mapped((args, kwargs), (torch.dtype, torch.device), self._replaced)
        if self.device is not None:
            if "device" in kwargs:
                kwargs["device"] = self.device
            if name == "to":
                args = tuple(self.device if isinstance(item, (str, int)) and not isinstance(item, bool) else item for item in args)
        if name == "type" and len(args) > 1 and isinstance(args[1], (str, type)):
            recorded = self.recorded[references(operation.outputs)[0].value].tensor.dtype
            return torch.Tensor.to, (args[0], self._precision(recorded)), {}
        makes = [self.recorded[reference.value].tensor for reference in references(operation.outputs)]
        if self.dtype is not None and not operation.inputs() and not operation.draws and all(t.is_floating_point() for t in makes):
            kwargs = _with_dtype(function, args, kwargs, self.dtype)
        return function, args, kwargs

    def _replaced(self, item: Any) -> Any:
        if isinstance(item, torch.dtype):
            return self._precision(item)
        return self.device or item


def _with_dtype(function: Callable[..., Any], args: Any, kwargs: dict[str, Any], dtype: torch.dtype) -> dict[str, Any]:
    """Ask a function that makes a tensor from nothing for this precision, where it can be asked."""
    try:
        function(*args, **{**kwargs, "dtype": dtype})
    except (TypeError, RuntimeError):
        return kwargs
    return {**kwargs, "dtype": dtype}
