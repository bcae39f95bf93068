"""A forward pass and its loss as a list of tensor operations, in the order in which they ran.

    trace = pellucid.core.trace.trace(model, inputs, targets, loss)
    print(trace)                                  # a table: linear, relu, add, ..., with module and source line
    trace.gradients()                             # dL/d(value) for every value on the way to the loss
    trace.replay().outputs == trace.outputs       # the list is complete: doing it again gives the same numbers

Modules are not enough: a functional call, a residual sum, a layer used twice are invisible between modules. A trace sees operations, on a
copy of the network, so that nothing of the user's changes: neither parameters, buffers, gradients and mode nor the random state.
"""

from __future__ import annotations

import traceback
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pellucid.core.errors import TraceError, did_you_mean
from pellucid.core.language import Text, text
from pellucid.core.trace.model import ModulePath, answer_of, copied, named_attributes, random_state_kept, run_eagerly
from pellucid.core.trace.modes import recorded_by
from pellucid.core.trace.recording import Recording
from pellucid.core.trace.records import Operation, Reference, Source, Value, mapped, references, tensors
from pellucid.core.trace.replay import Replay

__all__ = ["Operation", "Reference", "Source", "Trace", "Value", "trace"]


@dataclass(frozen=True, eq=False)
class Trace:
    """The operations of one pass and every value they took and gave. `inputs`, `outputs` and the like are structures with References."""

    operations: tuple[Operation, ...]
    values: tuple[Value, ...]
    inputs: Any  # as given: one Reference, a tuple of positional arguments, or a dict of keyword arguments
    targets: Any
    outputs: Any  # what the network returned
    loss: Reference | None
    parameters: Mapping[str, Reference]  # by path; tied parameters are several names of one value
    buffers: Mapping[str, Reference]  # before the pass
    training: bool
    notes: tuple[Text, ...] = ()  # what a reader of the trace should know: hidden operations, values read into Python, ...
    _alive: Any = field(default=None, repr=False)  # keeps the gradient graph

    def __getitem__(self, reference: Reference) -> Value:
        return self.values[reference.value]

    def tensor(self, reference: Reference) -> Tensor:
        """A value's content, as it was at its moment."""
        return self.values[reference.value].tensor

    def tensors(self, structure: Any) -> Any:
        """The same structure with tensors in the place of references: `trace.tensors(trace.outputs)`."""
        return mapped(structure, Reference, self.tensor)

    def window(self, reference: Reference) -> tuple[int, tuple[int, ...], tuple[int, ...]]:
        """Where in its memory a value's tensor looks, in entries: offset, shape and stride. Values of one storage are windows on it."""
        tensor: Tensor = self._alive[self.values[reference.value].variable]
        return int(tensor.storage_offset()), tuple(tensor.shape), tensor.stride()

    def is_view(self, reference: Reference) -> bool:
        """Whether autograd regards a value's tensor as a view of another."""
        tensor: Tensor = self._alive[self.values[reference.value].variable]
        return tensor._is_view()

    def arguments(self, operation: Operation) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """What the operation was called with, with the tensors' contents at the time of the call."""
        return mapped((operation.args, dict(operation.kwargs)), Reference, self.tensor)

    def users(self, reference: Reference) -> list[Operation]:
        """The operations that take this value."""
        return [operation for operation in self.operations if reference in operation.inputs()]

    def gradients(self, of: Reference | None = None, wanted: Iterable[Reference] | None = None) -> dict[Reference, Tensor]:
        """The gradient of the loss (or of another value of one element) with respect to values, each at its own moment.

        Values on which it does not depend are left out. `wanted` defaults to all values.

        Raises:
            TraceError: there is no loss, it has several elements, or no gradient reaches it.
        """
        of = of or self.loss
        if of is None:
            raise TraceError(
                text("the trace has no loss"),
                text("a value to differentiate"),
                text("give trace a loss, or gradients a value of the trace"),
            )
        top = self[of]
        if top.tensor.numel() != 1 or top.edge is None:
            shape = str(tuple(top.tensor.shape))
            raise TraceError(
                text("{name} has shape {shape} and requires_grad={state}", name=top.name, shape=shape, state=top.requires_grad),
                text("one element that depends on something with requires_grad=True"),
                text("reduce the loss to its mean or sum, and let a parameter or input require its gradient"),
            )
        wanted = [Reference(value.index) for value in self.values] if wanted is None else wanted
        edges = {reference: edge for reference in wanted if (edge := self[reference].edge) is not None}
        if not edges:
            return {}
        try:
            found = torch.autograd.grad(
                [top.edge],
                list(edges.values()),
                grad_outputs=[torch.ones_like(top.tensor) if top.tensor.is_complex() else None],  # None is one, and loads no sympy
                retain_graph=True,
                allow_unused=True,
            )
        except RuntimeError as error:
            raise TraceError(
                text("PyTorch cannot differentiate this pass: {error}", error=str(error)),
                text("operations with gradients by torch.autograd.grad"),
                text("look at the notes of the trace; torch.utils.checkpoint needs use_reentrant=False"),
            ) from error
        return {reference: gradient for reference, gradient in zip(edges, found, strict=True) if gradient is not None}

    def replay(
        self,
        inputs: Any = None,
        targets: Any = None,
        parameters: Mapping[str, Tensor] | None = None,
        buffers: Mapping[str, Tensor] | None = None,
        *,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> Trace:
        """Do the recorded operations again and return their trace: the same operations and references, other values.

        Without arguments the values are equal bit for bit. Random draws are the recorded ones. Other leaves take the same path through the
        program. With `dtype` (say torch.float64) floating-point leaves and draws are cast, and precisions named in the program replaced.

        Raises:
            TraceError: an operation does not accept the new leaves, or a name is unknown.
        """
        leaves: dict[int, Tensor] = {}
        for recorded, given, what in ((self.inputs, inputs, "inputs"), (self.targets, targets, "targets")):
            if given is None:
                continue
            mine, new = references(recorded), tensors(given)
            if len(mine) != len(new):
                raise TraceError(
                    text("{what} holds {count} tensors", what=what, count=len(new)),
                    text("{count} tensors, as when the trace was made", count=len(mine)),
                    text("give {what} in the structure in which the trace got it", what=what),
                )
            leaves.update({reference.value: tensor for reference, tensor in zip(mine, new, strict=True)})
        for known, given in ((self.parameters, parameters), (self.buffers, buffers)):
            for name, tensor in (given or {}).items():
                if name not in known:
                    raise TraceError(
                        text("no leaf is called {name!r}", name=name), text("a name of the network"), did_you_mean(name, known)
                    )
                leaves[known[name].value] = tensor
        again = Replay(self.operations, self.values, dtype, torch.device(device) if device is not None else None)
        with torch.inference_mode(False), torch.enable_grad():
            values = again.run(leaves)
        return Trace(
            self.operations, tuple(values[i] for i in range(len(values))), self.inputs, self.targets, self.outputs, self.loss,
            self.parameters, self.buffers, self.training, self.notes, again.variables,
        )  # fmt: skip

    def summary(self, limit: int | None = None) -> str:
        """A table with one line per operation (the first `limit`), then the notes."""
        head = [str(text("operation")), str(text("module")), str(text("takes")), str(text("gives")), str(text("line"))]
        rows = [["", *head]]
        for operation in self.operations[:limit]:
            takes = " ".join(self[reference].name for reference in operation.inputs())
            gives = " ".join(f"{self[r].name}{_shape(self.tensor(r))}" for r in operation.results())
            line = f"{Path(operation.source.file).name}:{operation.source.line}" if operation.source else ""
            rows.append([str(operation.index), operation.name, operation.module, _shortened(takes), _shortened(gives), line])
        widths = [max(_width(row[column]) for row in rows) for column in range(len(rows[0]))]
        lines = ["  ".join(cell + " " * (w - _width(cell)) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows]
        if limit is not None and limit < len(self.operations):
            lines.append(str(text("... and {count} more operations", count=len(self.operations) - limit)))
        return "\n".join([*lines, *(str(text("Note: {note}", note=note)) for note in self.notes)])

    def __str__(self) -> str:
        return self.summary()

    def __repr__(self) -> str:
        return f"Trace({len(self.operations)} operations, {len(self.values)} values)"


def _shortened(cell: str, longest: int = 60) -> str:
    return cell if len(cell) <= longest else cell[: longest - 3] + "..."


def _shape(tensor: Tensor) -> str:
    return "[nested]" if tensor.is_nested else str(list(tensor.shape))


def _width(cell: str) -> int:
    """Columns on a terminal: a Chinese character takes two."""
    return sum(2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in cell)


def trace(
    model: nn.Module,
    inputs: Any,
    targets: Any = None,
    loss: Callable[..., Any] | None = None,
    *,
    training: bool | None = None,
    input_gradients: bool = False,
    seed: int | None = None,
) -> Trace:
    """Run `model` once on `inputs`, and `loss(outputs, targets)`, on copies, and record every tensor operation.

    `inputs` is a tensor, a tuple of positional arguments or a dict of keyword arguments; arguments may be numbers and nested lists and
    dicts. Without `targets` the loss is called with the outputs alone. `training` chooses the copy's mode; None leaves it as the model's.
    With `input_gradients` every floating-point input requires its gradient. Random numbers are those the next forward pass would draw,
    or those of `seed`.

        trace(model, images, labels, torch.nn.functional.cross_entropy)

    Raises:
        TraceError: the network is no torch.nn.Module, hides its operations (TorchScript, quantised), raises, or returns something that
            depends on no recorded operation; or the loss is not one number.
    """
    if targets is not None and loss is None:
        raise TraceError(
            text("targets were given, but no loss"),
            text("a loss that compares the outputs with the targets"),
            text("give loss, or leave targets out"),
        )
    with torch.inference_mode(False), torch.enable_grad(), run_eagerly():
        return _traced(model, inputs, targets, loss, training, input_gradients, seed)


def _traced(
    model: nn.Module,
    inputs: Any,
    targets: Any,
    loss: Callable[..., Any] | None,
    training: bool | None,
    input_gradients: bool,
    seed: int | None,
) -> Trace:
    notes: list[Text] = []
    network, criterion, substitutes = copied(model, loss, notes)
    if training is not None:
        network.train(training)
    given = (*tensors((inputs, targets)), *network.parameters(), *network.buffers())
    devices = {tensor.device for tensor in given}
    recording = Recording(ModulePath(), tuple(sorted({"cpu", *(device.type for device in devices)})))
    recording.notes, recording.substitutes = notes, substitutes
    recording.names = {id(tensor): name for name, tensor in named_attributes(network)}
    inputs, targets = _cloned((inputs, targets), input_gradients)
    parameters = {name: recording.leaf(tensor, "parameter", name) for name, tensor in network.named_parameters(remove_duplicate=False)}
    buffers = {name: recording.leaf(tensor, "buffer", name) for name, tensor in network.named_buffers(remove_duplicate=False)}
    if isinstance(criterion, nn.Module):
        recording.names.update({id(tensor): name for name, tensor in named_attributes(criterion, "loss")})
        for name, tensor in (*criterion.named_parameters("loss"), *criterion.named_buffers("loss")):
            recording.leaf(tensor, "constant", name)
    input_references, target_references = _leaves(recording, inputs, "input"), _leaves(recording, targets, "target")
    with random_state_kept(devices, seed):
        outputs, loss_reference = _pass(recording, network, inputs, targets, criterion)
    if recording.reads:
        names = list(dict.fromkeys(f"{name} ({source})" for name, source in recording.reads))
        recording.notes.append(
            text("values are read into Python by {names}: a replay uses those read when the trace was made", names=names)
        )
    return Trace(
        operations=tuple(recording.operations),
        values=recording.values(),
        inputs=input_references,
        targets=target_references,
        outputs=outputs,
        loss=loss_reference,
        parameters=parameters,
        buffers=buffers,
        training=network.training,
        notes=tuple(recording.notes),
        _alive=[variable.tensor for variable in recording.variables],
    )


def _cloned(structure: Any, input_gradients: bool) -> Any:
    """The inputs and targets as copies; a tensor given twice stays one tensor."""
    clones: dict[int, Tensor] = {}

    def clone(tensor: Tensor, differentiate: bool) -> Tensor:
        if id(tensor) not in clones:
            twin = tensor.detach().clone()
            if twin.is_floating_point() or twin.is_complex():
                if differentiate:  # the pass may write to its input, which PyTorch forbids for leaves that require their gradient
                    twin = twin.requires_grad_().clone()
                else:
                    twin.requires_grad_(tensor.requires_grad)
            clones[id(tensor)] = twin
        return clones[id(tensor)]

    inputs, targets = structure
    return mapped(inputs, Tensor, lambda t: clone(t, input_gradients)), mapped(targets, Tensor, lambda t: clone(t, False))


def _leaves(recording: Recording, structure: Any, kind: str) -> Any:
    """References to the tensors of the inputs or targets, named by their place: input, input[1], input["mask"]."""

    def named(item: Any, name: str) -> Any:
        if isinstance(item, Tensor):
            return recording.leaf(item, kind, name)
        if isinstance(item, Mapping):
            return {key: named(part, f"{name}[{key!r}]") for key, part in item.items()}
        if isinstance(item, (tuple, list)):
            parts = [named(part, name if isinstance(item, tuple) and len(item) == 1 else f"{name}[{i}]") for i, part in enumerate(item)]
            return parts if isinstance(item, list) else tuple(parts)
        return item

    return named(structure, kind)


def _pass(
    recording: Recording, network: nn.Module, inputs: Any, targets: Any, criterion: Callable[..., Any] | None
) -> tuple[Any, Reference | None]:
    """One forward pass and the loss, recorded: references to the outputs and to the loss."""
    what, outputs = text("the network"), None
    try:
        with recording.path.follow(network), recorded_by(recording):
            outputs = answer_of(network, inputs)
        result = recording.see_all(outputs)
        _check_outputs(recording, outputs, result)
        if criterion is None:
            return result, None
        what, recording.stage = text("the loss"), "loss"
        with recording.path.follow(criterion) if isinstance(criterion, nn.Module) else nullcontext(), recorded_by(recording):
            value = criterion(outputs) if targets is None else criterion(outputs, targets)
    except TraceError:
        raise
    except Exception as error:
        lines = [Source(frame.filename, frame.lineno or 0, frame.name) for frame in traceback.extract_tb(error.__traceback__)]
        place: list[Text | str] = []
        module, failure = recording.path.failed
        if failure is error and module:
            place.append(text("module {path}", path=module))
        place += [str(line) for line in lines if recording.is_program(line.file)][-1:]
        handed = [
            _described(inputs) if recording.stage == "forward" else _described((outputs, targets) if targets is not None else outputs)
        ]
        raise TraceError(
            text("{what} raised {error}", what=what, error=f"{type(error).__name__}: {error}"),
            text("{what} runs on what it was given: {given}", what=what, given=handed),
            text("look at {place}; give inputs and targets as your own training loop does", place=place or [what]),
        ) from error
    return result, _loss_reference(recording, value)


def _described(structure: Any) -> str:
    """Types and shapes, as in float32 (32, 3), int64 (32,)."""
    if isinstance(structure, Tensor):
        return f"{str(structure.dtype).removeprefix('torch.')} {tuple(structure.shape)}"
    if isinstance(structure, Mapping):
        return "{" + ", ".join(f"{key}: {_described(item)}" for key, item in structure.items()) + "}"
    if isinstance(structure, (tuple, list)):
        return "(" + ", ".join(_described(item) for item in structure) + ")"
    return repr(structure) if isinstance(structure, (int, float, str, bool, type(None))) else type(structure).__name__


def _loss_reference(recording: Recording, value: Any) -> Reference:
    if not isinstance(value, Tensor) or value.numel() != 1:
        got = _described(value)
        raise TraceError(
            text("the loss returned {got}", got=got), text("one number, as a tensor"), text('reduce it: reduction="mean" or "sum"')
        )
    return recording.see_all(value)


def _check_outputs(recording: Recording, outputs: Any, result: Any) -> None:
    """Refuse outputs of which the trace cannot say where they come from."""
    found: Sequence[Reference] = references(result)
    if not found:
        raise TraceError(
            text("the network returned {got}, which holds no tensor", got=_described(outputs)),
            text("a tensor, or a tuple, list, dict or dataclass with tensors"),
            text("return the tensors the loss needs"),
        )
    if not recording.reaches(found, ("input", "parameter", "buffer")):
        raise TraceError(
            text("the network returned {got}, which depends on no recorded operation of its inputs or parameters", got=_described(outputs)),
            text("outputs computed by torch operations in Python"),
            text("look for work done outside torch (NumPy, another library, compiled code) between the inputs and the outputs"),
        )
