"""The recording of one pass: which tensors the program's operations took and gave, and which value each tensor had at that moment."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge

from pellucid.core.language import Text, text
from pellucid.core.trace.execution import (
    Execution,
    drawn,
    generator_state,
    gradient_edge,
    kernel_name,
    shows_draw,
    storage_of,
    surroundings_now,
    visible_dropout,
)
from pellucid.core.trace.model import ModulePath
from pellucid.core.trace.names import READS, TENSOR_ATTRIBUTES, attribute, operation_name, spelling
from pellucid.core.trace.records import Operation, Reference, Source, Value, mapped, references, tensors

_TORCH = str(Path(torch.__file__).parent) + os.sep
_PELLUCID = str(Path(__file__).resolve().parents[2]) + os.sep
_TRACING = str(Path(__file__).parent) + os.sep  # this folder
_GENERATED = ("<eval_with_key>", "<frozen ", "<string>")  # code that stands in no file: torch.fx, the import system, exec


@dataclass
class _Variable:
    """A tensor object while it is recorded: its present value, and by what we notice that it became another."""

    index: int
    tensor: Tensor
    value: int
    state: tuple[Any, ...] = ()


@dataclass
class _Entry:
    """A value in the making."""

    kind: str
    name: str
    variable: int
    storage: tuple[str, int]
    operation: int | None
    previous: int | None
    edge: GradientEdge | None = None


class Recording(Execution):
    """Records what happens in `with recorded_by(recording):` (trace_modes.py), in order.

    A tensor is recognised by the object first (we keep every object alive, so its identity means something), then by its memory and
    geometry: `x.data`, an unpacked saved tensor and a tensor that went through NumPy and back are new objects on old memory. Whether it
    still has the value we know is told by the writes counted on its memory, its version, its geometry and its place in the gradient graph.
    """

    def __init__(self, path: ModulePath, device_types: tuple[str, ...]) -> None:
        super().__init__()
        self.path, self.stage, self.notes = path, "forward", list[Text]()
        self.operations: list[Operation] = []
        self.entries: list[_Entry] = []
        self.substitutes: dict[int, Tensor] = {}  # id of a tensor of the user's network -> its copy
        self.names: dict[int, str] = {}  # id of a tensor -> what to call it when it turns up as a constant
        self.variables: list[_Variable] = []
        self._by_object: dict[int, _Variable] = {}
        self._by_form: dict[tuple[Any, ...], _Variable] = {}
        self._by_storage: dict[tuple[str, int], _Variable] = {}
        self._constants = 0
        self._below_autograd: set[int] = set()  # values first seen by a kernel, before autograd gave them their place in its graph
        self._draws: list[Reference] = []
        self._noted: set[tuple[str, Source | None]] = set()
        self.reads: list[tuple[str, Source | None]] = []  # values that went from a tensor into Python
        self._device_types = device_types

    # -- values ------------------------------------------------------------------------------------------------------------------------

    def leaf(self, tensor: Tensor, kind: str, name: str) -> Reference:
        """Register a tensor that the pass is given. One tensor under two names (tied weights) is one value."""
        with self.own_work():
            known = self._by_object.get(id(tensor))
            return Reference(known.value if known else self._new_variable(tensor, kind, name, None).value)

    def _form(self, tensor: Tensor) -> tuple[Any, ...]:
        """Memory and geometry: what two tensor objects share when they are the same window on the same memory."""
        storage = storage_of(tensor)
        if storage[0] == "tensor":
            return (storage,)
        layout = (tensor.storage_offset(), tuple(tensor.shape), tensor.stride(), tensor.dtype, tensor.is_conj(), tensor.is_neg())
        return (storage, *layout)

    def _state(self, tensor: Tensor) -> tuple[Any, ...]:
        """What changes when the tensor's value or its place in the gradient graph does."""
        version = 0 if tensor.is_inference() else tensor._version
        node = tensor.grad_fn
        graph = (id(node), tensor.output_nr) if node is not None else tensor.requires_grad
        return (self._form(tensor), self.writes[storage_of(tensor)], version, graph)

    def _new_variable(self, tensor: Tensor, kind: str, name: str, operation: int | None) -> _Variable:
        variable = _Variable(len(self.variables), tensor, len(self.entries))
        self.variables.append(variable)
        self._new_value(variable, tensor, kind, name, operation, None)
        return variable

    def _new_value(self, variable: _Variable, tensor: Tensor, kind: str, name: str, operation: int | None, previous: int | None) -> None:
        storage = storage_of(tensor)
        variable.value, variable.state = len(self.entries), self._state(tensor)
        self.entries.append(_Entry(kind, name, variable.index, storage, operation, previous, gradient_edge(tensor)))
        self.keep(variable.value, tensor)
        self._recognise(variable, tensor)
        self._by_form[variable.state[0]] = variable
        self._by_storage.setdefault(storage, variable)

    def _recognise(self, variable: _Variable, tensor: Tensor) -> None:
        """From now on this object is known as this variable."""
        if self._by_object.get(id(tensor)) is not variable:
            self._by_object[id(tensor)] = variable
            self._alive.append(tensor)
        variable.tensor = tensor

    def see(self, tensor: Tensor, operation: int | None = None) -> Reference:
        """The value that a tensor has now. A value not known yet is a write through a view, an unseen view, or a constant.

        `operation` is the one that is about to end, when we ask what it wrote.
        """
        variable = self._variable_of(tensor)
        if variable is None:
            return self._constant(tensor, computed=tensor.grad_fn is not None)
        if id(tensor) not in self._by_object and self._form(variable.tensor) != self._form(tensor):
            return self._unseen_view(variable, tensor)
        state = self._state(tensor)
        if state == variable.state:
            self._recognise(variable, tensor)
        elif state[:2] == variable.state[:2] and variable.value in self._below_autograd:  # autograd has since taken up a kernel's result
            self._below_autograd.discard(variable.value)
            variable.state, self.entries[variable.value].edge = state, gradient_edge(tensor)
            self._recognise(variable, tensor)
        else:
            writer = operation if operation is not None else self._last_writer(storage_of(tensor))
            old = self.entries[variable.value]
            root = old.name.partition("@")[0]
            name = root if writer is None else f"{root}@{writer}"  # x after operation 7: "x@7"
            self._new_value(variable, tensor, old.kind, name, writer, variable.value)
        return Reference(variable.value)

    def _variable_of(self, tensor: Tensor) -> _Variable | None:
        """The variable that this object is, or of which it is a window; else one that shares its memory; else none."""
        with self.own_work():
            variable = self._by_object.get(id(tensor)) or self._by_form.get(self._form(tensor))
            if variable is None:
                variable = self._by_storage.get(storage_of(tensor))
                if variable is not None and variable.tensor.dtype != tensor.dtype:
                    return None
            return variable

    def _constant(self, tensor: Tensor, computed: bool) -> Reference:
        """A tensor from outside: an attribute of a module, a global, something made by other libraries."""
        self._constants += 1
        name = self.names.get(id(tensor)) or f"constant_{self._constants}"
        if computed:
            where = self._source()
            self.notes.append(text("{name} (at {where}) was computed before the pass: it is a constant here", name=name, where=str(where)))
        with self.own_work():
            return Reference(self._new_variable(tensor, "constant", name, None).value)

    def _last_writer(self, storage: tuple[str, int]) -> int | None:
        """The last operation that wrote to this memory."""
        for operation in reversed(self.operations):
            if any(self.entries[after.value].storage == storage for _, after in operation.written):
                return operation.index
        return None

    def _unseen_view(self, base: _Variable, tensor: Tensor) -> Reference:
        """A view made where we could not look: record it as what it is, a window on memory we know."""
        index = len(self.operations)
        args = (self.see(base.tensor), tuple(tensor.shape), tensor.stride(), tensor.storage_offset())
        output = Reference(self._new_variable(tensor, "operation", f"as_strided_{index}", index).value)
        self._append("as_strided", torch.as_strided, args, {}, output, (), (), "aten", False)
        return output

    # -- operations --------------------------------------------------------------------------------------------------------------------

    def call(self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        """A torch function that the program called."""
        if self.depth or self.busy or torch._C._are_functorch_transforms_active():
            return function(*args, **kwargs)  # inside torch.func's transforms tensors are wrapped: their kernels are recorded instead
        read = attribute(function)
        if read is not None and read not in TENSOR_ATTRIBUTES and function.__name__ == "__get__":
            return function(*args, **kwargs)  # .shape, .dtype, .device, ...
        name = spelling(function)
        args, kwargs = self._own(args, kwargs)
        if name in READS:
            self.reads.append((name, self._source()))
        elif name in ("register_hook", "backward"):
            self._note(name, text("{name} at {where} acts on gradients and is not replayed", name=name, where=str(self._source())))
        return self._record(operation_name(function), function, args, kwargs, "function")

    def _own(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[tuple[Any, ...], Mapping[str, Any]]:
        """The arguments with tensors from outside replaced by copies, so that the pass can write to none of the user's.

        A closure may hold a parameter of the user's network: its copy is the copied network's. Any other tensor is a constant.
        """
        foreign = False
        for tensor in tensors((args, kwargs)):
            if id(tensor) in self.substitutes:
                foreign = True
            elif id(tensor) not in self._by_object and id(tensor) not in self.names and self._variable_of(tensor) is None:
                foreign = True
                with self.own_work():
                    twin = tensor.detach().clone()
                    if tensor.requires_grad:
                        twin.requires_grad_()
                self.substitutes[id(tensor)] = twin
                self._alive.append(tensor)
                self._constant(twin, computed=tensor.grad_fn is not None)
        if not foreign:
            return args, kwargs
        return mapped((args, dict(kwargs)), Tensor, lambda tensor: self.substitutes.get(id(tensor), tensor))

    def outside(self, kernel: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        """A kernel that no Python function called: torch.func's transforms, scripted functions, code in C++."""
        if isinstance(kernel, torch._ops.OpOverload) and kernel_name(kernel) == "lift_fresh":  # marks a tensor that Python made
            return self.execute(kernel, args, kwargs)
        return self._record(operation_name(kernel), kernel, args, kwargs, "aten", lambda *a, **k: self.execute(kernel, a, k))

    def opaque(self, function: Any, apply: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        """An autograd.Function or a scripted function: one operation, whatever it does inside."""
        if isinstance(function, torch.jit.ScriptFunction):
            name, again, level = str(function.name), function, "script"
            where = str(self._source())
            self._note(name, text("the TorchScript function {name} at {where} hides the operations inside it", name=name, where=where))
        else:
            name, again, level = function.__name__, function.apply, "autograd"
            if name == "_NoopSaveInputs":  # bookkeeping of torch.utils.checkpoint without reentrance
                return apply(*args, **kwargs)
            if name == "CheckpointFunction":
                return self._checkpoint(*args)
        args, kwargs = self._own(args, kwargs)
        return self._record(name, again, args, kwargs, level, apply)

    def _checkpoint(self, run: Callable[..., Any], _preserve_random_state: bool, *args: Any) -> Any:
        """Reentrant checkpointing runs without gradients and again in the backward pass. Here it runs once, so that it can be seen."""
        flows = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors(args))
        where = str(self._source())
        if flows:
            self._note("checkpoint", text("torch.utils.checkpoint at {where} is traced as if it were not there", where=where))
        else:
            self._note(
                "checkpoint", text("torch.utils.checkpoint at {where} lets no gradient through (use_reentrant=False does)", where=where)
            )
        with torch.set_grad_enabled(flows):
            return run(*args)

    def _record(
        self,
        name: str,
        function: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        level: str,
        run: Callable[..., Any] | None = None,
    ) -> Any:
        given: list[tuple[Tensor, Reference]] = []

        def refer(tensor: Tensor) -> Reference:
            reference = self.see(tensor)
            given.append((tensor, reference))
            return reference

        with self.own_work():
            named_args, named_kwargs = mapped(args, Tensor, refer), mapped(kwargs, Tensor, refer)
            modes = surroundings_now(self._device_types, makes_from_nothing=not given)
        self._draws, self.depth = [], self.depth + 1
        try:
            with visible_dropout(name, args, kwargs):
                result = (run or function)(*args, **kwargs)
        finally:
            self.depth -= 1
        with self.own_work():
            index = len(self.operations)
            after = [(before, self.see(tensor, index)) for tensor, before in given]
            written = tuple(dict.fromkeys(pair for pair in after if pair[0] != pair[1]))
            if level == "aten":
                self._below_autograd.update(changed.value for _, changed in written)
            results = len(self.entries)
            outputs = mapped(result, Tensor, lambda tensor: self._output(tensor, name, index, level))
            if len(self.entries) - results > 1:  # several results: chunk_3[0], chunk_3[1]
                for position, entry in enumerate(self.entries[results:]):
                    entry.name = f"{entry.name}[{position}]"
            returned = references(outputs)
            if returned or written:
                changed = {pair[1] for pair in written}
                in_place = bool(written) and (not returned or any(reference in changed for reference in returned))
                for reference in set(returned) & changed:  # x.relu_() returns what it wrote: "relu_3" says more than "linear_2@3"
                    if self.entries[reference.value].kind == "operation":
                        self.entries[reference.value].name = f"{name}_{index}"
                self._append(name, function, named_args, named_kwargs, outputs, written, tuple(self._draws), level, in_place, modes)
        return result

    def _output(self, tensor: Tensor, name: str, index: int, level: str) -> Reference:
        if id(tensor) in self._by_object:  # in place, or the argument itself, as from dropout in evaluation mode
            return self.see(tensor, index)
        value = self._new_variable(tensor, "operation", f"{name}_{index}", index).value
        if level == "aten":
            self._below_autograd.add(value)
        return Reference(value)

    def _append(
        self,
        name: str,
        function: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        outputs: Any,
        written: tuple[tuple[Reference, Reference], ...],
        draws: tuple[Reference, ...],
        level: str,
        in_place: bool,
        modes: Any = None,
    ) -> None:
        self.operations.append(
            Operation(
                index=len(self.operations),
                name=name,
                function=function,
                args=args,
                kwargs=kwargs,
                outputs=outputs,
                written=written,
                draws=draws,
                module=self.path.here,
                source=self._source(),
                stage=self.stage,
                level=level,
                in_place=in_place,
                surroundings=modes or surroundings_now(self._device_types, makes_from_nothing=False),
            )
        )

    def draw(self, kernel: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        name = kernel_name(kernel)
        with self.own_work():
            state = None if shows_draw(kernel) else generator_state(args, kwargs)
        result = kernel(*args, **kwargs)
        with self.own_work(), torch.inference_mode(False), torch.no_grad():
            draw = drawn(kernel, args, kwargs, result) if state is None else state
            if state is not None:  # a fused kernel that keeps its mask to itself: from the generator's state it draws the same again
                self._note(name, text("{name} hides its random draws: the state of the random generator is kept instead", name=name))
            self._draws.append(Reference(len(self.entries)))
            self.contents[len(self.entries)] = draw.detach().clone()
            self.entries.append(_Entry("draw", f"{name}_{len(self.operations)}", -1, ("draw", len(self.entries)), None, None))
        return result

    # -- where -------------------------------------------------------------------------------------------------------------------------

    def _source(self) -> Source | None:
        """The innermost line that is neither torch's nor ours, inside the pass; else the line that asked for the trace."""
        frame, inside = sys._getframe(1), True
        while frame is not None:
            file = frame.f_code.co_filename
            if inside and frame.f_code.co_name == "_pass" and file.startswith(_TRACING):
                inside = False  # further out our own networks are no longer part of the pass
            if self.is_program(file) and (inside or not file.startswith(_PELLUCID)):
                return Source(file, frame.f_lineno, frame.f_code.co_qualname)
            frame = frame.f_back
        return None

    def _note(self, what: str, note: Text) -> None:
        key = (what, self._source())
        if key not in self._noted:
            self._noted.add(key)
            self.notes.append(note)

    @staticmethod
    def is_program(file: str) -> bool:
        """Whether a line of this file is the user's, or a network's: not torch's, not ours, not generated."""
        return not file.startswith((_TORCH, _TRACING, *_GENERATED)) and Path(file).name != "contextlib.py"

    # -- the end -----------------------------------------------------------------------------------------------------------------------

    def values(self) -> tuple[Value, ...]:
        """All values, finished."""
        with self.own_work():
            for variable in self.variables:  # results of kernels that no function took up later
                if variable.value in self._below_autograd and variable.tensor.requires_grad:
                    self.entries[variable.value].edge = gradient_edge(variable.tensor)
        storages: dict[tuple[str, int], int] = {}
        return tuple(
            Value(
                index=index,
                kind=entry.kind if entry.previous is None else "operation",
                name=entry.name,
                tensor=self.contents[index],
                edge=entry.edge,
                variable=entry.variable,
                storage=storages.setdefault(entry.storage, len(storages)),
                operation=entry.operation,
                previous=entry.previous,
            )
            for index, entry in enumerate(self.entries)
        )

    def see_all(self, structure: Any) -> Any:
        """The structure with references in the place of tensors."""
        with self.own_work():
            return mapped(structure, Tensor, self.see, dataclass_fields=True)

    def reaches(self, found: Sequence[Reference], kinds: tuple[str, ...]) -> bool:
        """Whether one of the values was computed from a leaf of these kinds."""
        waiting, known = [reference.value for reference in found], set[int]()
        while waiting:
            index = waiting.pop()
            if index in known:
                continue
            known.add(index)
            entry = self.entries[index]
            if entry.previous is not None:
                waiting.append(entry.previous)
            if entry.operation is not None:
                operation = self.operations[entry.operation]
                waiting += [reference.value for reference in (*operation.inputs(), *(before for before, _ in operation.written))]
            elif entry.kind in kinds and entry.previous is None:
                return True
        return False
