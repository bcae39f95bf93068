"""Where NaN or infinity was born: in the data, in an operation of the forward pass, in the loss, or on the way back.

The recorded batch is run once more on a copy of the model, operation by operation. A value that is not finite is followed back to the
operation that made it from finite ones. Infinity that the program wrote itself, as a mask of -inf, is legal until an operation makes NaN
of it: then that operation is named. On the way back it is the first operation whose incoming gradient is finite and whose outgoing is not.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping
from copy import deepcopy
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn

from pellucid.core.trace.records import Operation, Reference, references, tensors
from pellucid.core.trace.tracing import Trace
from pellucid.diagnosis.dynamic.observations import NonFinite
from pellucid.diagnosis.watch import loss_graph, static_look

if TYPE_CHECKING:
    from pellucid.diagnosis.watch.look import Look
    from pellucid.diagnosis.watch.recorder import Recorder

Batch = tuple[tuple[Any, ...], dict[str, Any]]
WRITING = {"masked_fill", "where", "full", "full_like", "new_full", "fill", "tensor", "setitem", "index_fill", "masked_scatter", "scatter"}
NAMED = 32


class Birth(NamedTuple):
    """An operation that gave what is not finite."""

    operation: str
    module: str
    source: str | None
    detail: str | None = None  # "unused": on the way back, where torch.where or a mask had left the value out


# -- the forward pass --------------------------------------------------------------------------------------------------------------------


def in_loss(recorder: Recorder, loss: Tensor, value: float, batch: Batch | None, outputs: Collection[Any]) -> NonFinite:
    """The earliest place that is not finite: the weights, the targets, the inputs, an operation of the model, one of the loss."""
    known = _known(recorder, recorder.step, value)
    names = [name for name, parameter in recorder.ownership.parameters.items() if not _finite(parameter)]
    spoilt = batch is not None and _spoilt(batch)
    if names and not spoilt:
        return NonFinite(**known, where="weights", path=names[0], paths=tuple(names[:NAMED]))
    target = loss_graph.read(loss, outputs).target
    if target is not None and not _finite(target):
        return NonFinite(**known, where="targets")
    traced = None if batch is None else static_look.traced(recorder.model, *batch)
    whole = traced is not None and all(_finite(traced.tensor(reference)) for reference in references(traced.outputs))
    if spoilt and not whole:
        return NonFinite(**known, where="input")
    birth = None if traced is None else _birth(traced)
    if birth is not None:
        return NonFinite(
            **known, where="forward", operation=birth.operation, path=birth.module, source=birth.source, detail=birth.detail
        )  # fmt: skip
    operation, detail = loss_graph.born(loss, outputs)
    if operation is None and whole and loss_graph.holds_nonfinite(loss, outputs):
        return NonFinite(**known, where="targets")  # what the loss takes besides the model's outputs
    return NonFinite(**known, where="loss", operation=operation, detail=detail)


def _birth(traced: Trace) -> Birth | None:
    """Follow what is not finite in the outputs back to where it was born; NaN first, then infinity that nobody wrote."""
    makers = {reference.value: operation for operation in traced.operations for reference in operation.results()}
    for broken in (_nan, _infinite):
        for operation in _origins(traced, makers, references(traced.outputs), broken):
            infinite = [reference for reference in _taken(traced, operation) if _infinite(traced.tensor(reference))]
            if broken is _nan and infinite:  # NaN made of infinity: by whom?
                computed = [one for one in _origins(traced, makers, infinite, _infinite) if not _written(traced, one)]
                return _described(computed[0] if computed else operation)
            if broken is _nan or not _written(traced, operation):
                return _described(operation)
    return None


def _origins(traced: Trace, makers: Mapping[int, Operation], start: Iterable[Reference], broken: Any) -> list[Operation]:
    """The operations, earliest first, that gave a `broken` value on the way to `start` from values that are not broken."""
    waiting = [reference for reference in start if broken(traced.tensor(reference))]
    seen, found = {reference.value for reference in waiting}, dict[int, Operation]()
    while waiting:
        operation = makers.get(waiting.pop().value)
        if operation is None:
            continue  # a leaf: the program's own constant, or data
        taken = [reference for reference in _taken(traced, operation) if broken(traced.tensor(reference))]
        if not taken:
            found[operation.index] = operation
        for reference in taken:
            if reference.value not in seen:
                seen.add(reference.value)
                waiting.append(reference)
    return [found[index] for index in sorted(found)]


def _taken(traced: Trace, operation: Operation) -> list[Reference]:
    """What it computed from; a value that it has written over is among them."""
    return [reference for reference in operation.inputs() if traced.tensor(reference).is_floating_point()]


def _written(traced: Trace, operation: Operation) -> bool:
    """Whether the program wrote this infinity itself: it fills, or takes no number that was computed or given, as log(mask) does."""
    if operation.name in WRITING or not _taken(traced, operation):
        return True
    return any(isinstance(argument, float) and math.isinf(argument) for argument in (*operation.args, *operation.kwargs.values()))


def _nan(tensor: Tensor) -> bool:
    return tensor.is_floating_point() and bool(tensor.isnan().any())


def _infinite(tensor: Tensor) -> bool:
    return tensor.is_floating_point() and bool(tensor.isinf().any())


def _described(operation: Operation, detail: str | None = None) -> Birth:
    source = f"{Path(operation.source.file).name}:{operation.source.line}" if operation.source else None
    return Birth(operation.name, operation.module, source, detail)


# -- the way back ------------------------------------------------------------------------------------------------------------------------


def in_gradients(recorder: Recorder, top: Any, batch: Batch | None, outputs: Collection[Any]) -> NonFinite:
    """A gradient that is not finite after a loss that was. `top` is the node of that loss, whose backward pass is over."""
    held = {name: parameter.grad for name, parameter in recorder.ownership.parameters.items() if parameter.grad is not None}
    broken = {name: gradient for name, gradient in held.items() if not _finite(gradient)}
    nan = any(map(_nan, broken.values()))
    birth = None if batch is None else _birth_behind(recorder.model, batch)
    operation, detail = (None, None) if birth is not None or top is None else loss_graph.steep(top, outputs)
    return _on_the_way_back(_known(recorder, recorder.step, math.nan if nan else math.inf), birth, operation, detail, list(broken))


def at_look(recorder: Recorder, look: Look, broken: list[str], nan: bool) -> NonFinite:
    """The same after the update of a look: with the weights as they were before it."""
    birth = None if look.batch is None else _birth_behind(_restored(recorder.model, look.before), look.batch)
    detail = None if look.graph is None else look.graph.steep
    operation, detail = (None, None) if birth is not None or detail is None else detail
    known = _known(recorder, look.step, math.nan if nan else math.inf)
    return _on_the_way_back(known, birth, operation, detail, broken)


def _on_the_way_back(known: dict[str, Any], birth: Birth | None, operation: str | None, detail: str | None, names: list[str]) -> NonFinite:
    known |= {"where": "backward", "paths": tuple(names[:NAMED])}
    if birth is None:
        return NonFinite(**known, path="loss" if operation else names[-1] if names else None, operation=operation, detail=detail)
    return NonFinite(**known, path=birth.module, operation=birth.operation, source=birth.source, detail=birth.detail)


def _birth_behind(model: nn.Module, batch: Batch) -> Birth | None:
    """The first operation, from the outputs back, that turns a finite gradient into one that is not."""
    traced = static_look.traced(model, *batch, loss=_weighted_sum)
    if traced is None:
        return None
    try:
        gradients = traced.gradients()
    except Exception:  # no way from the outputs to a parameter, or memory
        return None
    for operation in reversed(traced.operations):
        given = [gradients[reference] for reference in operation.results() if reference in gradients]
        if operation.stage == "loss" or not given or not all(map(_finite, given)):
            continue
        for reference in operation.inputs():
            gradient = gradients.get(reference)
            if gradient is not None and not _finite(gradient):
                same = given[0].shape == gradient.shape
                unused = same and not bool(given[0][~gradient.isfinite()].any())
                return _described(operation, "unused" if unused else None)
    return None


def _weighted_sum(outputs: Any) -> Tensor:
    """A number that depends on every entry of the outputs, each with another slope near 1: the loss itself is not known."""
    parts = [tensor for tensor in tensors(outputs) if tensor.is_floating_point() and tensor.requires_grad]
    terms = [(part.reshape(-1) * torch.linspace(0.5, 1.5, part.numel(), device=part.device, dtype=part.dtype)) for part in parts]
    return torch.stack([torch.where(term.isfinite(), term, torch.zeros_like(term)).sum() for term in terms]).sum()


def _restored(model: nn.Module, before: Mapping[str, Tensor]) -> nn.Module:
    """A copy with the weights from before the update, where they were kept whole."""
    copied = deepcopy(static_look.without_hooks(model))
    with torch.no_grad():
        for name, parameter in copied.named_parameters():
            kept = before.get(name)
            if kept is not None and kept.numel() == parameter.numel():
                parameter.copy_(kept.reshape(parameter.shape))
    return copied


# -- both --------------------------------------------------------------------------------------------------------------------------------


def found_late(recorder: Recorder, step: int, value: float) -> NonFinite:
    """On a device losses are read some steps later: the weights have usually taken it in by then."""
    names = [name for name, parameter in recorder.ownership.parameters.items() if not _finite(parameter)]
    known = _known(recorder, step, value)
    return NonFinite(**known, where="weights" if names else "loss", path=names[0] if names else None, paths=tuple(names[:NAMED]))


def _known(recorder: Recorder, step: int, value: float) -> dict[str, Any]:
    recorder.course.take_in()
    return {"step": step, "since": recorder.course.last_finite, "kind": "nan" if math.isnan(value) else "inf"}


def _spoilt(batch: Batch) -> bool:
    """NaN or infinity among the inputs; -inf alone may be a mask."""
    floating = [tensor.detach() for tensor in tensors(batch) if tensor.is_floating_point() and tensor.device.type != "meta"]
    return any(bool(tensor.isnan().any()) or bool(tensor.isposinf().any()) for tensor in floating)


def _finite(tensor: Tensor) -> bool:
    if not (tensor.is_floating_point() or tensor.is_complex()) or tensor.device.type == "meta":
        return True
    tensor = tensor.detach()
    return bool(torch.isfinite(tensor.coalesce().values() if tensor.is_sparse else tensor).all())
