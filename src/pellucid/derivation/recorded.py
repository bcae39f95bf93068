"""From a trace to a tape: every recorded operation becomes a step, or several, and each result is compared with PyTorch's.

A trace's values are tensors at moments, so that an in-place operation gives a new value like any other. Memory that two tensors share, a
view and its base, needs more: a write through one changes the other. It is written as what it means, in two steps more,

    r = f(view)                      the write's own equation
    base' = put(base, positions, r)  the base with the written part replaced
    view' = take(base', positions)   every other window on that memory, when it is next looked at

which is also how autograd sees it, so that each gradient has its counterpart.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch

from pellucid.core.language import Text, text
from pellucid.core.trace import Operation, Reference, Trace
from pellucid.core.trace.records import mapped, references
from pellucid.derivation.comparison import TOLERANCE, error_of, forward_error
from pellucid.derivation.memory import Memory, Write, memory_of, positions
from pellucid.derivation.operations import Alone, local_gradients
from pellucid.derivation.registry import Rule, Unsupported, find_expansion, find_rule
from pellucid.derivation.tape import KEPT_ENTRIES, Error, Step, Tape, Value, run_forward

# operations that take from a tensor its shape and type only
_CONSTANTS = frozenset({
    "zeros", "ones", "full", "empty", "eye", "arange", "zeros_like", "ones_like", "full_like", "empty_like", "new_zeros", "new_ones",
    "new_full", "new_empty", "new_tensor", "empty_strided",
})  # fmt: skip
_DETACHES = ("detach", "data")  # operations made to stop the gradient


@dataclass(frozen=True)
class Stop:
    """A step through which autograd lets no gradient pass, although it has a derivative."""

    step: Step
    reason: str  # "detach", "torch.no_grad()"


class Recorded:
    """The tape of a trace; `trace` is the pass in float64 on the CPU."""

    def __init__(self, trace: Trace) -> None:
        assert trace.loss is not None
        self.trace, self.tape = trace, Tape()
        self.values: dict[int, Value] = {}  # the trace's value -> the tape's
        self.traced: dict[int, int] = {}  # the tape's value -> the trace's
        self.comparable: dict[int, int] = {}  # the tape's value -> the trace's whose gradient by autograd is the same quantity
        self.stops: list[Stop] = []
        self.unseen: list[Step] = []  # writes that autograd does not know of
        self.alone: dict[int, Alone] = {}  # operations done again by PyTorch
        self._edges: dict[tuple[int, int], int] = {}  # autograd's place of a gradient -> the first value that has it
        self._memory: dict[int, Memory] = {}
        wanted = [reference for reference in trace.buffers.values() if trace[reference].requires_grad]
        self._closed_over = {reference.value for reference in wanted}  # what a function closes over and wants the gradient of
        self._writers, self._variables, self._seen_again = memory_of(trace)
        for structure in (trace.inputs, trace.targets, dict(trace.parameters)):
            for reference in references(structure):
                self.value(reference)
        needed = self._needed([trace.loss, *references(trace.outputs)])
        for operation in trace.operations:
            if operation.index in needed:
                self._write(operation)
        self.outputs = mapped(trace.outputs, Reference, self.value)
        self.loss = self.value(trace.loss)
        self.aside = len(trace.operations) - len(needed)  # operations on which neither outputs nor loss depend

    def _needed(self, roots: Sequence[Reference]) -> set[int]:
        """The operations on which these values depend."""
        waiting, known, needed = [reference.value for reference in roots], set[int](), set[int]()

        def need(index: int) -> None:
            if index not in needed:
                needed.add(index)
                operation = self.trace.operations[index]
                waiting.extend(r.value for r in (*operation.inputs(), *(before for before, _ in operation.written)))

        while waiting:
            index = waiting.pop()
            if index in known:
                continue
            known.add(index)
            value = self.trace.values[index]
            if value.operation is not None:
                need(value.operation)
            if value.previous is not None and value.operation is not None:
                waiting.append(value.previous)
                since = self.trace.values[value.previous].operation
                for writer in self._writers[value.storage]:  # writes through other windows in between
                    if (since is None or writer > since) and writer <= value.operation:
                        need(writer)
        for operation in self.trace.operations:  # gives its argument back in evaluation mode: nothing depends on it, and it is worth a line
            if "dropout" in operation.name and operation.index not in needed:
                made = references(operation.outputs)
                if made and all(reference.value in known for reference in made):
                    needed.add(operation.index)
        return needed

    # -- values ------------------------------------------------------------------------------------------------------------------------

    def value(self, reference: Reference) -> Value:
        """The tape's value for one of the trace's; leaves and looks at changed memory are made when they are first asked for."""
        index = reference.value
        if index not in self.values:
            value = self.trace.values[index]
            memory = self._memory.get(value.storage)
            if value.previous is not None and memory is not None:
                mark = self.tape.mark()
                try:
                    self._look(index, memory)
                except Unsupported as refusal:
                    self.tape.rewind(mark)
                    step = self.tape.add(
                        "write", None, {"input": memory.current}, [self._array(index)], requires_gradient=[value.requires_grad]
                    )
                    step.status, step.note = "no equation", refusal.got if isinstance(refusal.got, Text) else None
                    self._bind(index, step.outputs[0])
            else:  # a leaf; or statistics that an operation wrote beside its result
                kind = "parameter" if index in self._closed_over else value.kind if value.leaf else "buffer"
                name = value.name if kind != "draw" else f"draw_{sum(known.kind == 'draw' for known in self.tape.values) + 1}"
                self._bind(index, self.tape.leaf(self._array(index), kind, name, value.leaf and value.requires_grad))
        return self.values[index]

    def _array(self, index: int) -> np.ndarray:
        return array_of(self.trace.values[index].tensor)

    def _bind(self, index: int, value: Value) -> None:
        """This value of the trace is this value of the tape."""
        self.values[index] = value
        self.traced.setdefault(value.index, index)
        edge = self.trace.values[index].edge
        if edge is not None and self._edges.setdefault((id(edge.node), edge.output_nr), index) == index:
            self.comparable.setdefault(value.index, index)

    def _overlooked(self, before: int, after: int) -> bool:
        """Whether autograd takes the value after a write for the value before it."""
        first, second = self.trace.values[before].edge, self.trace.values[after].edge
        return first is not None and second is not None and (first.node, first.output_nr) == (second.node, second.output_nr)

    # -- operations --------------------------------------------------------------------------------------------------------------------

    def _write(self, operation: Operation) -> None:
        """The steps of one operation."""
        args, kwargs = mapped((operation.args, dict(operation.kwargs)), Reference, self.value)
        draws = [self.value(reference) for reference in operation.draws]
        tape, first = self.tape, len(self.tape.steps)
        self._here(operation)
        given, returned = operation.inputs(), references(operation.outputs)
        made = returned or [operation.written[0][1]]
        if all(reference in given for reference in made):
            self._unchanged(operation, made, args, kwargs)
            return
        if self._made_from_nothing(operation, made, draws):
            return
        reason = self._by_rule(operation, made, args, kwargs, draws)
        if reason is not None:
            self._by_torch(operation, args, kwargs, reason)
        for index in _inner_results(self.trace, operation):
            if index in self.values:
                self.comparable.pop(self.values[index].index, None)
        self._note_stop(operation, tape.steps[first:])

    def _here(self, operation: Operation) -> None:
        tape = self.tape
        tape.module, tape.source, tape.stage, tape.operation_index = operation.module, operation.source, operation.stage, operation.index

    def _unchanged(self, operation: Operation, made: Sequence[Reference], args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """A step that gives its argument back: dropout in evaluation mode, a conversion to the type that is there."""
        rule = find_rule(operation.name)
        try:
            arguments = rule.bind(args, kwargs) if rule else _named(operation, args, kwargs)
        except Unsupported:
            rule, arguments = None, _named(operation, args, kwargs)
        step = self.tape.add(rule.name if rule else operation.name, rule, arguments, [self.value(reference) for reference in made])
        step.error = Error(forward=0.0)

    def _made_from_nothing(self, operation: Operation, made: Sequence[Reference], draws: Sequence[Value]) -> bool:
        """zeros, arange, randn, x.uniform_(): constants and draws are leaves, not equations."""
        arrays = [self._array(reference.value) for reference in made]
        drawn = len(made) == len(draws) == 1 and np.array_equal(arrays[0], draws[0].array)
        constant = operation.name in _CONSTANTS or not operation.inputs()
        if not (drawn or (constant and not draws)) or any(self.trace[reference].requires_grad for reference in made):
            return False
        written = {after.value: before.value for before, after in operation.written}
        for reference, array in zip(made, arrays, strict=True):
            name = f"{operation.name}_{self.trace[reference].operation}"
            value = draws[0] if drawn else self.tape.leaf(array, "constant", name)
            before = written.get(reference.value)
            if before is None or not self._remember(Write(before, reference.value, value, operation)):
                self._bind(reference.value, value)
        return True

    def _by_rule(
        self, operation: Operation, made: Sequence[Reference], args: tuple[Any, ...], kwargs: dict[str, Any], draws: list[Value]
    ) -> Text | None:
        """Write the operation by its expansion or its rule; else say why not."""
        arrays = [self._array(reference.value) for reference in made]
        if any(array.dtype.kind == "c" for array in (*arrays, *(self._array(r.value) for r in operation.inputs()))):
            return text("complex numbers")
        expand, rule = find_expansion(operation.name), find_rule(operation.name)
        if operation.level == "script" or (operation.level == "autograd" and not _is_rule_of(rule, operation)):
            expand = rule = None
        reason = text("there is no rule for {name}", name=operation.name)
        for write in (partial(self._expanded, expand) if expand else None, partial(self._ruled, rule) if rule else None):
            if write is None:
                continue
            mark = self.tape.mark()
            try:
                write(operation, made, arrays, args, kwargs, draws)
                return None
            except Unsupported as refusal:
                reason = refusal.got if isinstance(refusal.got, Text) else text("{what}", what=refusal.got)
            except Exception as error:  # a rule of a user's, or a call that its rule does not foresee
                reason = text("its rule raised {error}", error=f"{type(error).__name__}: {error}")
            self.tape.rewind(mark)
        return reason

    def _ruled(
        self, rule: Rule, operation: Operation, made: Sequence[Reference], theirs: list[np.ndarray], args: Any, kwargs: Any, draws: Any
    ) -> None:
        arguments = rule.bind(args, kwargs, draws)
        ours = run_forward(rule, arguments)
        if len(ours) != len(theirs):
            got, expected = len(ours), len(theirs)
            raise Unsupported(text("its rule gives {got} results, PyTorch {expected}", got=got, expected=expected), None, None)
        step = self.tape.add(rule.name, rule, arguments, theirs, requires_gradient=[self.trace[r].requires_grad for r in made])
        self._compared(step, ours, forward_error(rule, arguments, ours, theirs))
        step.draws = tuple(draws)
        self._results(operation, step, made)

    def _compared(self, step: Step, ours: Sequence[np.ndarray], error: float) -> None:
        step.error = Error(forward=error)
        if error > TOLERANCE:
            step.status = "wrong"
        if sum(array.size for array in ours) <= KEPT_ENTRIES:
            step.our_output = ours[0] if len(ours) == 1 else tuple(ours)

    def _expanded(
        self,
        expand: Callable[..., Any],
        operation: Operation,
        made: Sequence[Reference],
        theirs: list[np.ndarray],
        args: Any,
        kwargs: Any,
        draws: Any,
    ) -> None:
        tape, first = self.tape, len(self.tape.steps)
        if "draws" in inspect.signature(expand).parameters:
            kwargs = {**kwargs, "draws": tuple(draws)}
        results: list[Value] = []
        mapped(expand(tape, *args, **kwargs), Value, results.append)
        if len(results) != len(theirs):
            raise Unsupported(
                text("its expansion gives {got} results, PyTorch {expected}", got=len(results), expected=len(theirs)), None, None
            )
        for position, (value, array, reference) in enumerate(zip(results, theirs, made, strict=True)):
            fresh = value.step is not None and value.step > first and value not in results[:position]
            if not fresh:  # an argument given back, or one value in two places
                value = tape.apply("clone", value)
            step = tape.steps[(value.step or 1) - 1]
            ours = value.array
            error = (
                forward_error(step.rule, step.arguments, [ours], [array]) if step.rule and len(step.outputs) == 1 else error_of(ours, array)
            )
            if step.error.forward is None:
                self._compared(step, [ours], error)
            elif error > TOLERANCE:
                step.status = "wrong"
            value.array, value.requires_gradient = array, self.trace[reference].requires_grad
            self._bind(reference.value, value)

    def _by_torch(self, operation: Operation, args: tuple[Any, ...], kwargs: dict[str, Any], reason: Text) -> None:
        """A step without an equation: PyTorch's results, and its gradients of this operation alone."""
        made = [reference for reference in operation.results() if reference not in operation.inputs()]
        results = [self._array(reference.value) for reference in made]
        step = self.tape.add(
            operation.name, None, _named(operation, args, kwargs), results, requires_gradient=[self.trace[r].requires_grad for r in made]
        )
        step.status, step.note = "no equation", reason
        self._results(operation, step, made)
        step.pullback = self.pullback(step, operation)

    def pullback(self, step: Step, operation: Operation) -> Callable[[list[np.ndarray]], Mapping[str, np.ndarray | None]]:
        """PyTorch's gradients of one operation alone, by place."""
        alone = self.alone[operation.index] = Alone(self.trace, operation)

        def pull(arriving: list[np.ndarray]) -> Mapping[str, np.ndarray | None]:
            made = [self.traced[value.index] for value in step.outputs]
            found = local_gradients(alone, dict(zip(made, arriving, strict=True)))
            wanted = {place: self.traced[value.index] for place, value in step.places.items() if value.requires_gradient}
            return {place: found.pop(index, None) for place, index in wanted.items()}  # an argument in two places: all of it at the first

        return pull

    def _results(self, operation: Operation, step: Step, made: Sequence[Reference]) -> None:
        """Say which values of the trace the step's results are, writes into shared memory included."""
        step.in_place = operation.in_place
        written = {after.value: before.value for before, after in operation.written}
        given = operation.inputs()
        for reference, value in zip(made, step.outputs, strict=True):
            index = reference.value
            if reference in given:  # one of several results is an argument given back, as by broadcast_tensors: it stays that value
                continue
            self.traced.setdefault(value.index, index)
            before = written.get(index)
            if before is None:
                self._bind(index, value)
                continue
            if self._overlooked(before, index):
                self._overlook(step, self.values[before])
            else:
                self._bypass(before)
            if not self._remember(Write(before, index, value, operation)):
                self._bind(index, value)

    def _bypass(self, before: int) -> None:
        """A view was written to: autograd leads the gradient past it, and past the views it is a view of, straight to the base."""
        while self.trace.is_view(Reference(before)):
            self.comparable.pop(self.values[before].index, None)
            value = self.trace.values[before]
            if value.previous is not None or value.operation is None:
                return
            taken = [r.value for r in self.trace.operations[value.operation].inputs() if self.trace[r].storage == value.storage]
            if not taken:
                return
            before = taken[0]

    def _overlook(self, step: Step, before: Value) -> None:
        """Autograd does not know of this write: it hands the gradient on as if nothing had happened."""
        place = next(place for place, value in step.places.items() if value is before)
        step.pullback = lambda arriving: {place: arriving[0]}
        step.status = "differs"
        step.note = text("written where autograd does not see it: the gradient passes as if the write had not happened")
        self.unseen.append(step)

    # -- memory on which several tensors look ----------------------------------------------------------------------------------------------

    def _remember(self, write: Write) -> bool:
        """Note a write into memory on which others look later. False where nobody does, or where the value is the base itself."""
        value = self.trace.values[write.before]
        later = [(w, variable) for w, variable in self._seen_again[value.storage] if w >= write.operation.index]
        if all(variable == value.variable for _, variable in later):
            return False
        memory = self._memory.get(value.storage)
        if memory is None:
            root = min(self._variables[value.storage])
            known = [index for index in self.values if self.trace.values[index].variable == root]
            if not known:
                return False
            memory = self._memory[value.storage] = Memory(root, self.values[max(known)], max(known))
        if value.variable == memory.root:
            memory.current = write.result
            memory.pending.clear()
            return False
        memory.pending.append(write)
        return True

    def _look(self, index: int, memory: Memory) -> None:
        """A tensor whose memory was written to since: the base with all writes put into it, then what the tensor shows of it."""
        trace, tape = self.trace, self.tape
        for write in memory.pending:
            self._here(write.operation)
            tape.operation_index = None
            base = memory.current
            places = positions(trace, memory.window, write.before)
            memory.current = tape.apply("put", base, places, write.result, label=_later(self.values[memory.window], tape))
            step = tape.steps[-1]
            step.in_place = True
            if base.requires_gradient and (trace.values[write.after].edge is None or self._overlooked(write.before, write.after)):
                self._overlook(step, base)
        memory.pending.clear()
        if trace.values[index].variable == memory.root:
            value = memory.current
        else:
            before = trace.values[index].previous
            label = _later(self.values[before], tape) if before in self.values else ""
            value = tape.apply("take", memory.current, positions(trace, memory.window, index), label=label)
        step = tape.steps[(value.step or 1) - 1]
        self._compared(step, [value.array], error_of(value.array, self._array(index)))
        self._bind(index, value)

    # -- where the gradient stops ------------------------------------------------------------------------------------------------------

    def _note_stop(self, operation: Operation, steps: Sequence[Step]) -> None:
        for step in steps:
            made = [value for value in step.outputs if value.differentiable and value.index in self.traced]
            if not made or any(value.requires_gradient for value in step.outputs):
                continue
            flows = any(value.requires_gradient for value in step.inputs)
            if flows and (step.rule is None or step.rule.backward_equations or operation.name in _DETACHES):
                modes = operation.surroundings
                stopped = modes.inference or not modes.gradient
                self.stops.append(Stop(step, "torch.no_grad()" if stopped and operation.name not in _DETACHES else operation.name))


def _inner_results(trace: Trace, operation: Operation) -> set[int]:
    """Results from which the operation computes others of its results, as a cell its hidden state from its cell state.

    Autograd's gradient with respect to them counts what flows inside the operation too, ours what arrives from outside.
    """
    edges = {reference.value: edge for reference in operation.results() if (edge := trace[reference].edge) is not None}
    if len(edges) < 2:
        return set()
    results: dict[tuple[Any, int], int] = {(edge.node, edge.output_nr): index for index, edge in edges.items()}
    known = {edge.node for reference in operation.inputs() if (edge := trace[reference].edge) is not None}
    waiting, found = [node for node, _ in results], set[int]()
    known.update(waiting)
    while waiting:
        for node, output in waiting.pop().next_functions:
            if (node, output) in results:
                found.add(results[node, output])
            if node is not None and node not in known:
                known.add(node)
                waiting.append(node)
    return found


def _later(value: Value, tape: Tape) -> str:
    """What to call a value after the step that is about to be written: "relu_3@7"."""
    return f"{value.name.partition('@')[0]}@{len(tape.steps) + 1}"


def _is_rule_of(rule: Rule | None, operation: Operation) -> bool:
    """Whether this rule was written for this very autograd.Function, not for a torch function of its name."""
    return (
        rule is not None
        and rule.function is not None
        and rule.function in (operation.function, getattr(operation.function, "__self__", None))
    )


def _named(operation: Operation, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of an operation without a rule, by the names of its own signature where it has one."""
    try:
        function = getattr(getattr(operation.function, "__self__", None), "forward", operation.function)  # of an autograd.Function
        names = [name for name in inspect.signature(function).parameters if name != "ctx"]
    except (TypeError, ValueError):
        names = ["input"]
    names += [f"argument_{position + 1}" for position in range(len(names), len(args))]
    return {**dict(zip(names, args, strict=False)), **kwargs}


def array_of(tensor: torch.Tensor) -> np.ndarray:
    """A tensor's content as an array, read-only; floating-point numbers in float64."""
    tensor = tensor.detach()
    if tensor.is_nested:
        tensor = torch.nested.to_padded_tensor(tensor, 0.0)
    if tensor.layout != torch.strided:
        tensor = tensor.to_dense()
    if tensor.is_floating_point() and tensor.dtype != torch.float64:
        tensor = tensor.double()
    array = tensor.cpu().resolve_conj().resolve_neg().numpy().view()
    array.flags.writeable = False
    return array
