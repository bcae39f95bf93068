"""The tape: values and steps in NumPy, the forward pass as it is written, the backward pass by rules from the last step to the first.

    tape = Tape()
    W, x = tape.leaf(array, "parameter", "W"), tape.leaf(other, "input", "x")
    z = tape.apply("linear", x, W)          # one step: the rule's forward, executed
    loss = tape.apply("sum", z)
    tape.backward(loss)                     # W.gradient, x.gradient, and every step's gradients

`derive` fills a tape from a trace (recorded.py); expansions write theirs with `apply`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pellucid.core.language import Text, text
from pellucid.core.trace.records import Source, mapped
from pellucid.derivation.registry import Rule, Unsupported, find_rule


@dataclass(eq=False)
class Value:
    """A tensor's content at one moment."""

    index: int
    name: str  # "input", "fc1.weight", "linear_1"
    kind: str  # "input", "target", "parameter", "buffer", "constant", "draw" (a random draw), or "operation"
    array: np.ndarray  # float64; integers, booleans and complex numbers as they are. Read it, never write to it
    requires_gradient: bool  # whether a gradient can reach it
    gradient: np.ndarray | None = None  # dL/d(this value), ours: the sum over its uses
    autograd: np.ndarray | None = None  # the same by PyTorch; None where it has none to compare with
    error: float | None = None  # of ours against PyTorch's
    step: int | None = None  # the step that made it (its index, from 1); None for leaves
    uses: list[int] = field(default_factory=lambda: list[int]())  # the steps that take it, repetitions kept
    symbol: str = ""  # its letter in LaTeX, where an expansion gives it one: "h_{3}", "\\tilde{C}_{3}", "W_{f}"

    @property
    def shape(self) -> tuple[int, ...]:
        return self.array.shape

    @property
    def differentiable(self) -> bool:
        """Whether its numbers are real and continuous: a class index or a mask has no gradient."""
        return self.array.dtype.kind == "f"

    def __repr__(self) -> str:
        return f"{self.name}{list(self.shape)}"


@dataclass(frozen=True)
class Error:
    """How far a step is from PyTorch: |ours - theirs| / (the magnitude of the terms summed, or the largest entry where that is larger)."""

    forward: float | None = None  # None: nothing to compare with, as inside an expansion
    backward: float | None = None  # the worst of the gradients that the step contributes to


@dataclass(eq=False)
class Step:
    """One numbered equation: what was computed, from what, and in the backward pass the gradient of each argument."""

    index: int  # the equation's number, from 1
    operation: str  # the rule's title: "linear"
    rule: Rule | None  # None: without an equation
    arguments: dict[str, Any]  # by parameter; Values in the place of tensors, everything else as the program gave it
    outputs: tuple[Value, ...]
    module: str = ""  # path of the innermost module
    source: Source | None = None  # the line of the program
    stage: str = "forward"  # or "loss"
    groups: tuple[Text | str, ...] = ()  # titles of the expansion's parts, from the outermost: ("LSTM layer 0", "t = 3", "forget gate")
    in_place: bool = False
    status: str = "checked"  # "no equation"; "differs": a custom backward meant to differ from the derivative; "wrong"
    error: Error = field(default_factory=Error)
    gradients: Mapping[str, np.ndarray | None] = field(default_factory=lambda: dict[str, "np.ndarray | None"]())  # "input": dL/d(input)
    our_output: np.ndarray | tuple[np.ndarray, ...] | None = None  # by the rule; kept where small, else the outputs' arrays stand for it
    note: Text | None = None  # what a reader should know of this very step
    draws: tuple[Value, ...] = ()
    pullback: Callable[[list[np.ndarray]], Mapping[str, np.ndarray | None]] | None = None  # the gradients, where no rule gives them
    operation_index: int | None = None  # the traced operation it comes from

    @property
    def group(self) -> str:
        """The titles of the expansion's parts in one: "LSTM layer 0, t = 3, forget gate"; "" outside of expansions."""
        return ", ".join(map(str, self.groups))

    @property
    def output(self) -> Value | tuple[Value, ...]:
        """The result; several as a tuple."""
        return self.outputs[0] if len(self.outputs) == 1 else self.outputs

    @property
    def places(self) -> dict[str, Value]:
        """The argument tensors by place: "input", "tensors[1]"."""
        return {name: value for parameter, argument in self.arguments.items() for name, value in _places(parameter, argument)}

    @property
    def inputs(self) -> list[Value]:
        """The argument tensors, in order, repetitions kept."""
        return list(self.places.values())

    @property
    def equation(self) -> str:
        """The forward equation in LaTeX; "" without one."""
        return self.rule.equation(self.arguments) if self.rule else ""

    @property
    def gradient_equations(self) -> dict[str, str]:
        """The backward equations in LaTeX, by argument."""
        return self.rule.gradient_equations(self.arguments) if self.rule else {}

    @property
    def identity(self) -> bool:
        """Whether the result is the argument itself, as of dropout in evaluation mode."""
        return any(output is value for output in self.outputs for value in self.inputs)

    @property
    def opaque(self) -> bool:
        """Whether nothing is known of its gradients."""
        return self.rule is None and self.pullback is None and not self.identity

    def pull(self, arriving: Sequence[np.ndarray | None]) -> dict[str, np.ndarray | None]:
        """The gradient of each argument place from the gradients of the outputs (None: nothing used that output)."""
        complete = [np.zeros(v.shape) if g is None else g for g, v in zip(arriving, self.outputs, strict=True)]
        if self.pullback is not None or self.rule is None:
            return dict(self.pullback(complete)) if self.pullback else {}
        arrays = arrays_of(self.arguments)
        single = len(self.outputs) == 1
        output = self.outputs[0].array if single else tuple(value.array for value in self.outputs)
        found = self.rule.run_backward(complete[0] if single else tuple(complete), output, arrays)
        return _by_place(self, found)

    def __repr__(self) -> str:
        where = f" in {self.module}" if self.module else ""
        return f"({self.index}) {', '.join(map(repr, self.outputs))} = {self.operation}({', '.join(map(repr, self.inputs))}){where}"


class Gradients(Mapping[str, "np.ndarray | None"]):
    """A step's gradients by place. A large one of an argument that many steps take is computed again when it is asked for.

    Else a recurrent network's weight would be kept once for every time.
    """

    def __init__(self, step: Step, arriving: Sequence[np.ndarray | None], found: Mapping[str, np.ndarray | None]) -> None:
        self._step, self._arriving, self._places = step, arriving, step.places
        given = {place: gradient for place, gradient in found.items() if gradient is not None}
        self._kept = {place: gradient for place, gradient in given.items() if not self._is_many_times_large(place, gradient)}
        self._all = tuple(given)

    def _is_many_times_large(self, place: str, gradient: np.ndarray) -> bool:
        return gradient.size > KEPT_ENTRIES and len(self._places[place].uses) > KEPT_USES

    def __getitem__(self, place: str) -> np.ndarray | None:
        if place in self._kept:
            return self._kept[place]
        if place not in self._all:
            raise KeyError(place)
        return self._step.pull(self._arriving)[place]

    def __contains__(self, place: object) -> bool:
        return place in self._all

    def __iter__(self) -> Iterator[str]:
        return iter(self._all)

    def __len__(self) -> int:
        return len(self._all)


def arrays_of(structure: Any) -> Any:
    """The structure with arrays in the place of Values."""
    return mapped(structure, Value, lambda value: value.array)


def _places(name: str, argument: Any) -> Iterator[tuple[str, Value]]:
    if isinstance(argument, Value):
        yield name, argument
    elif isinstance(argument, (list, tuple)):
        for position, item in enumerate(argument):
            yield from _places(f"{name}[{position}]", item)
    elif isinstance(argument, Mapping):
        for key, item in argument.items():
            yield from _places(f"{name}[{key!r}]", item)
    elif isinstance(argument, slice):
        for part in ("start", "stop", "step"):
            yield from _places(f"{name}.{part}", getattr(argument, part))


def _by_place(step: Step, found: Mapping[str, Any]) -> dict[str, np.ndarray | None]:
    """What `backward` returned, by place, in the arguments' own shapes."""
    gradients: dict[str, np.ndarray | None] = {}

    def take(place: str, gradient: Any) -> None:
        if isinstance(gradient, (list, tuple)):
            for position, item in enumerate(gradient):
                take(f"{place}[{position}]", item)
        elif gradient is not None:
            gradients[place] = np.asarray(gradient)

    for parameter, gradient in found.items():
        take(parameter, gradient)
    places = step.places
    for place, gradient in gradients.items():
        if place in places and gradient is not None and gradient.shape != places[place].shape:
            raise ShapeMismatch(step, place, gradient.shape)
    return {place: gradients.get(place) for place, value in places.items() if value.requires_gradient and place in gradients}


class ShapeMismatch(Exception):  # noqa: N818
    """A rule gave a gradient of another shape than its argument's."""

    def __init__(self, step: Step, place: str, shape: tuple[int, ...]) -> None:
        super().__init__(f"{step.operation}: the gradient of {place} has shape {shape}, not {step.places[place].shape}")
        self.step, self.place = step, place


KEPT_ENTRIES = 4096  # results by the rule are kept beside PyTorch's up to this size, to show both numbers
KEPT_USES = 4  # larger gradients of an argument that more steps take are not kept for each of them


class Tape:
    """Values and steps in the order in which they were made."""

    def __init__(self) -> None:
        self.values: list[Value] = []
        self.steps: list[Step] = []
        self._groups: list[Text | str] = []
        self.module, self.stage = "", "forward"  # where the steps being made belong
        self.source: Source | None = None
        self.operation_index: int | None = None

    def leaf(self, array: Any, kind: str = "constant", name: str = "", requires_gradient: bool | None = None) -> Value:
        """A value given from outside. Floating-point inputs, parameters and constants of an expansion can have a gradient."""
        array = as_array(array)
        if requires_gradient is None:
            requires_gradient = bool(array.dtype.kind == "f" and kind in ("input", "parameter"))
        return self._new(array, name or f"{kind}_{len(self.values)}", kind, requires_gradient, None)

    def _new(self, array: np.ndarray, name: str, kind: str, requires_gradient: bool, step: int | None) -> Value:
        value = Value(len(self.values), name, kind, array, requires_gradient, step=step)
        self.values.append(value)
        return value

    @contextmanager
    def group(self, title: Text | str) -> Iterator[None]:
        """Steps made inside the block stand under this title; groups may stand inside groups."""
        self._groups.append(title)
        try:
            yield
        finally:
            self._groups.pop()

    def apply(
        self,
        name: str,
        *args: Any,
        label: str | Sequence[str] = "",
        symbol: str | Sequence[str] = "",
        module: str | None = None,
        draws: Sequence[Value] = (),
        **kwargs: Any,
    ) -> Any:
        """Execute a rule on Values and other arguments: its Value, or a tuple of Values.

        `label` and `symbol`, the letter in LaTeX, name the result; several results take as many.

        Raises:
            Unsupported: there is no rule of this name, or it does not cover this call.
        """
        rule = find_rule(name)
        if rule is None:
            raise Unsupported(
                text("there is no rule for {name!r}", name=name), text("a rule"), text("write one: see derivation/registry.py")
            )
        arguments = rule.bind(args, kwargs, draws)
        results = run_forward(rule, arguments)
        labels = [label] if isinstance(label, str) else list(label)
        step = self.add(
            rule.name, rule, arguments, results,
            names=labels if label and len(results) == len(labels) else None, label=label if isinstance(label, str) else "",
        )  # fmt: skip
        if symbol:
            for value, letter in zip(step.outputs, [symbol] if isinstance(symbol, str) else symbol, strict=False):
                value.symbol = letter
        if module is not None:
            step.module = module
        return step.output

    def add(
        self,
        operation: str,
        rule: Rule | None,
        arguments: dict[str, Any],
        results: Sequence[np.ndarray | Value],
        names: Sequence[str] | None = None,
        requires_gradient: Sequence[bool] | None = None,
        label: str = "",
    ) -> Step:
        """A new step with these results; a Value among them is an argument given back unchanged."""
        index = len(self.steps) + 1
        step = Step(
            index, operation, rule, arguments, (), self.module, self.source, self.stage,
            groups=tuple(self._groups), operation_index=self.operation_index,
        )  # fmt: skip
        inputs = step.inputs
        flows = any(value.requires_gradient for value in inputs)
        outputs: list[Value] = []
        for position, result in enumerate(results):
            if isinstance(result, Value):
                outputs.append(result)
                continue
            name = names[position] if names else f"{label or operation + '_' + str(index)}" + (f"[{position}]" if len(results) > 1 else "")
            needed = requires_gradient[position] if requires_gradient is not None else flows and result.dtype.kind == "f"
            outputs.append(self._new(result, name, "operation", needed, index))
        step.outputs = tuple(outputs)
        for value in inputs:
            value.uses.append(index)
        self.steps.append(step)
        return step

    def mark(self) -> tuple[int, int]:
        """The present end of the tape, to come back to."""
        return len(self.steps), len(self.values)

    def rewind(self, mark: tuple[int, int]) -> None:
        """Forget steps and values made since `mark`."""
        steps, values = mark
        del self.steps[steps:], self.values[values:]
        for value in self.values:
            while value.uses and value.uses[-1] > steps:
                value.uses.pop()

    def backward(
        self,
        loss: Value,
        settle: Callable[[Value, np.ndarray | None], np.ndarray | None] | None = None,
        rescue: Callable[[Step, Exception], None] | None = None,
    ) -> None:
        """Walk back from dL/dL = 1: the gradient of every value that the loss depends on.

        `settle` sees each value with its complete gradient and says with which gradient the walk goes on. `rescue` gets a step whose
        backward raised and gives it another pullback.
        """
        arriving: dict[int, np.ndarray] = {loss.index: np.ones(loss.shape)}
        settled: dict[int, np.ndarray | None] = {}

        def complete(value: Value) -> np.ndarray | None:
            if value.index not in settled:
                value.gradient = arriving.pop(value.index, None)
                settled[value.index] = settle(value, value.gradient) if settle else value.gradient
            return settled[value.index]

        for step in reversed(self.steps):
            if step.identity:
                continue
            gradients = [complete(value) if value.requires_gradient else None for value in step.outputs]
            for value in step.outputs:
                settled.pop(value.index, None)
            if all(gradient is None for gradient in gradients):
                continue
            try:
                found = step.pull(gradients)
            except Exception as error:
                if rescue is None:
                    raise
                rescue(step, error)
                found = step.pull(gradients)
            step.gradients = Gradients(step, gradients, found)
            places = step.places
            for place, gradient in found.items():
                if gradient is not None:
                    value = places[place]
                    before = arriving.get(value.index)
                    arriving[value.index] = gradient if before is None else before + gradient
        for value in self.values:
            if value.step is None and value.requires_gradient:
                complete(value)


def as_array(content: Any) -> np.ndarray:
    """Floating-point content as float64."""
    array = np.asarray(content)
    return array.astype(np.float64) if array.dtype.kind == "f" and array.dtype != np.float64 else array


def run_forward(rule: Rule, arguments: Mapping[str, Any]) -> list[np.ndarray]:
    """The rule's results on bound arguments with Values, flat."""
    flat: list[np.ndarray] = []

    def take(result: Any) -> None:
        if isinstance(result, (tuple, list)):
            for item in result:
                take(item)
        elif result is not None:
            flat.append(as_array(result))

    take(rule.run_forward(arrays_of(arguments)))
    return flat
