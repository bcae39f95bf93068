"""derive: every equation of a network, with its numbers, each one checked.

    derivation = pellucid.derive(model, inputs, targets, loss=torch.nn.functional.cross_entropy, optimizer=optimizer)
    print(derivation)                 # forward, loss, backward, update: numbered equations with shapes and numbers
    derivation.check()                # ours against PyTorch's, the worst errors, what has no equation

One pass is traced on a copy, operation by operation, and done again in float64 on the CPU. Each operation becomes a step, executed by its
rule in NumPy; then the backward pass is walked by the rules alone. Every value and every gradient is compared with PyTorch's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pellucid.core.errors import OptionError, TraceError, did_you_mean
from pellucid.core.language import Text, text
from pellucid.core.options import BY_NAME
from pellucid.core.records import Finding
from pellucid.core.trace import Trace, trace
from pellucid.core.trace.records import mapped, tensors
from pellucid.derivation import expansions, rules  # noqa: F401  (read here, so that the first derivation does not pay for it)
from pellucid.derivation.check import Check, check_of
from pellucid.derivation.comparison import error_of
from pellucid.derivation.differences import Differences, differences_of
from pellucid.derivation.recorded import Recorded, array_of
from pellucid.derivation.refusals import overwritten_error
from pellucid.derivation.subject import check_differentiable, criterion_of, inputs_of, network_of
from pellucid.derivation.tape import Step, Tape, Value
from pellucid.derivation.verification import verified

NOTATIONS = ("column", "row", "torch")


@dataclass(frozen=True)
class Precision:
    """What computing in float64 changed: the network's own precision against float64."""

    dtype: str  # the network's own: "float32"
    loss: float  # |loss in its own precision - loss in float64|
    outputs: float  # the largest difference of an output, over the largest output


@dataclass(frozen=True, eq=False)
class Derivation:
    """One training step in equations and numbers. Made by `pellucid.derive`."""

    steps: tuple[Step, ...]  # the numbered equations, in the order in which they ran
    parameters: Mapping[str, Value]  # by path; tied parameters are several names of one value
    inputs: tuple[Value, ...]
    targets: tuple[Value, ...]
    outputs: tuple[Value, ...]
    loss: Value
    updates: tuple[Any, ...]  # what the optimizer does to each parameter
    findings: tuple[Finding, ...]  # faults, stopped gradients, custom backwards, where NaN is born
    notes: tuple[Text, ...]  # what a reader should know about the pass
    precision: Precision
    differences: Differences | None  # central differences, where they were asked for
    notation: str
    network: str  # the class or function's name
    loss_name: str
    training: bool  # whether the network was in training mode
    tape: Tape
    aside: int  # operations on which neither outputs nor loss depend, left out

    @property
    def gradients(self) -> dict[str, np.ndarray]:
        """dL/d(parameter) by name, ours; zero where the loss does not depend on a parameter."""
        return {
            name: value.gradient if value.gradient is not None else np.zeros(value.shape)
            for name, value in self.parameters.items()
            if value.requires_gradient
        }

    def check(self, gradients: Mapping[str, Any] | None = None) -> Check:
        """Ours against PyTorch's, at every value; with `gradients` (NumPy arrays by parameter) also yours against ours."""
        check = check_of(self)
        if gradients is None:
            return check
        from pellucid.derivation.homework import compared  # reads what is needed only here

        return compared(self, check, gradients)

    def to_text(self) -> str:
        """The derivation as plain text."""
        from pellucid.derivation.pages.text import to_text

        return to_text(self)

    def to_latex(self, path: str | Path | None = None) -> str:
        """The derivation as a LaTeX document, written to `path` where one is given."""
        from pellucid.derivation.pages.latex import to_latex

        return to_latex(self, path)

    def to_html(self, path: str | Path | None = None) -> str:
        """The derivation as one self-contained HTML page, written to `path` where one is given."""
        from pellucid.derivation.pages.html import to_html

        return to_html(self, path)

    def __str__(self) -> str:
        return self.to_text()

    def __repr__(self) -> str:
        return f"Derivation({self.network}, {len(self.steps)} steps, loss {float(self.loss.array.reshape(())):.6g})"


def derive(
    model: Any,
    inputs: Any,
    targets: Any = None,
    loss: Any = None,
    optimizer: torch.optim.Optimizer | None = None,
    *,
    notation: str = "column",
    finite_differences: bool = False,
    clip: float | None = None,
) -> Derivation:
    """Every equation of one training step of `model`, forward, loss, backward and update, with its numbers, each compared with PyTorch.

    `model` is a torch.nn.Module or a function; `inputs` a tensor, a tuple of positional arguments (tensors, numbers, nested lists or dicts
    of tensors) or a dict of keyword arguments; `loss` a callable (outputs, targets), or (outputs) without targets, a name of
    `named_losses`, or None for the sum of the outputs. `notation` ("column", "row" or "torch") only typesets the same numbers.
    `clip` is the largest norm of the whole gradient, as for torch.nn.utils.clip_grad_norm_ before the optimizer's step.
    `finite_differences` adds central differences of the loss for every parameter, sampled where there are many entries.

        derivation = pellucid.derive(network, images, labels, loss=torch.nn.functional.cross_entropy)
        print(derivation.check())

    Nothing of the user's changes: neither parameters, buffers, gradients and mode nor the random state.

    Raises:
        ModelError: no network, or one that hides its operations (TorchScript, quantised, sharded) or cannot be differentiated.
        DataError: inputs, targets or a loss that cannot be used.
        OptionError: an unknown notation or loss.
    """
    if notation not in NOTATIONS:
        raise OptionError(
            text("notation {name!r}", name=notation), text("one of {names}", names=NOTATIONS), did_you_mean(str(notation), NOTATIONS)
        )
    network, given, targets = network_of(model), inputs_of(inputs), inputs_of(targets)
    criterion = criterion_of(loss, targets)
    check_differentiable(network, given)
    own = _traced(network, given, targets, criterion)
    _refuse_inner_gradients(own)
    _refuse_complex(own)
    exact = own if _in_float64(own) else own.replay(dtype=torch.float64, device="cpu")
    with overwritten_error(exact):
        recorded = Recorded(exact)
        findings = verified(recorded)
    parameters = {name: recorded.value(reference) for name, reference in exact.parameters.items()}
    held = {name: recorded.value(reference) for name, reference in exact.buffers.items() if exact[reference].requires_grad}
    parameters |= held  # tensors that a function closes over
    tape = recorded.tape
    updates: tuple[Any, ...] = ()
    if optimizer is not None:
        from pellucid.derivation.updates import updates_of

        updates = tuple(updates_of(optimizer, network, parameters, BY_NAME["clip"].check(clip)))
    return Derivation(
        steps=tuple(tape.steps),
        parameters=parameters,
        inputs=tuple(value for value in tape.values if value.kind == "input"),
        targets=tuple(value for value in tape.values if value.kind == "target"),
        outputs=tuple(_values(recorded.outputs)),
        loss=recorded.loss,
        updates=updates,
        findings=tuple(findings),
        notes=_notes(own, exact, network),
        precision=_precision(own, exact),
        differences=differences_of(exact, parameters) if finite_differences else None,
        notation=notation,
        network=_name(model),
        loss_name=loss if isinstance(loss, str) else "sum" if loss is None else _name(loss),
        training=own.training,
        tape=tape,
        aside=recorded.aside,
    )


def _traced(network: Any, inputs: Any, targets: Any, criterion: Any) -> Trace:
    """The pass with gradients of floating-point inputs; without them for a program that refuses such inputs (one that calls .numpy())."""
    floating = any(tensor.is_floating_point() for tensor in tensors(inputs))
    try:
        return _trace(network, inputs, targets, criterion, floating)
    except TraceError:
        if not floating:
            raise
        return _trace(network, inputs, targets, criterion, False)


def _trace(network: Any, inputs: Any, targets: Any, criterion: Any, input_gradients: bool) -> Trace:
    if targets is not None:
        return trace(network, inputs, targets, criterion, input_gradients=input_gradients)
    return trace(network, inputs, None, criterion, input_gradients=input_gradients)


def _refuse_inner_gradients(own: Trace) -> None:
    """A gradient penalty and the like: derivatives of derivatives, of which the operations' list knows nothing."""
    for operation in own.operations:
        if operation.function is torch.autograd.grad:
            raise TraceError(
                text("the pass computes gradients itself: torch.autograd.grad at {where}", where=str(operation.source)),
                text("a forward pass of operations with first derivatives"),
                text("derive the network and its loss without this term"),
            )


def _refuse_complex(own: Trace) -> None:
    assert own.loss is not None
    if own[own.loss].tensor.is_complex():
        raise TraceError(
            text("the loss is a complex number ({dtype})", dtype=str(own[own.loss].tensor.dtype).removeprefix("torch.")),
            text("a real number: only that can be made smaller"),
            text("take .real or .abs() of it"),
        )


def _in_float64(recorded: Trace) -> bool:
    return all(
        value.tensor.device.type == "cpu" and (not value.tensor.is_floating_point() or value.tensor.dtype == torch.float64)
        for value in recorded.values
    )


def _precision(own: Trace, exact: Trace) -> Precision:
    assert own.loss is not None
    dtypes = [str(own[reference].tensor.dtype) for reference in own.parameters.values()] or [str(own[own.loss].tensor.dtype)]
    pairs = [
        (array_of(a), array_of(b)) for a, b in zip(tensors(own.tensors(own.outputs)), tensors(exact.tensors(exact.outputs)), strict=True)
    ]
    outputs = max((error_of(a, b) for a, b in pairs if a.dtype.kind == "f"), default=0.0)
    ours, theirs = (float(array_of(which.tensor(own.loss)).reshape(())) for which in (own, exact))
    return Precision(max(set(dtypes), key=dtypes.count).removeprefix("torch."), abs(ours - theirs), outputs)


def _notes(own: Trace, exact: Trace, network: torch.nn.Module) -> tuple[Text, ...]:
    """What the trace says, and what was done to the network to derive it."""
    notes = list(own.notes)
    reads = [note for note in own.notes if "__bool__" in str(note.values.get("names", ""))]
    if reads:
        notes.append(text("the program decides by values of tensors which operations run: the pass that ran is shown"))
    hooked = [name for name, parameter in network.named_parameters() if getattr(parameter, "_backward_hooks", None)]
    hooked += [name or type(module).__name__ for name, module in network.named_modules() if _changes_gradients(module)]
    if hooked:
        notes.append(
            text("backward hooks of {names} act on gradients and are left out: those of the program without them are shown", names=hooked)
        )
    devices = sorted({str(value.tensor.device) for value in own.values if value.tensor.device.type != "cpu"})
    if devices:
        notes.append(text("the network is on {devices}: a copy on the CPU was derived", devices=devices))
    return tuple(notes)


def _changes_gradients(module: torch.nn.Module) -> bool:
    return bool(module._backward_hooks or module._backward_pre_hooks)  # pyright: ignore[reportPrivateUsage]  (torch has no public way)


def _values(structure: Any) -> list[Value]:
    found: list[Value] = []
    mapped(structure, Value, found.append)
    return found


def _name(item: Any) -> str:
    return getattr(item, "__name__", type(item).__name__)
