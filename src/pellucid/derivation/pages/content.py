"""What the three pages share: headings, how an array is told in a line, which steps belong together, what is said of the check."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import TYPE_CHECKING

import numpy as np

from pellucid.core.language import Text, text
from pellucid.derivation.check import Check
from pellucid.derivation.notation import Notation
from pellucid.derivation.tape import Step, Value
from pellucid.derivation.textbook import FACTORS

if TYPE_CHECKING:
    from pellucid.derivation.derive import Derivation

GIVEN = text("The network and what is given")
FORWARD = text("Forward")
LOSS = text("Loss")
BACKWARD = text("Backward")
UPDATE = text("Update")
CHECK = text("Check")
NO_OPTIMIZER = text("no optimizer was given")
NETWORK_ITSELF = text("the network itself")
ARRIVES = text("arrives")
SUM_OF = text("the sum of the gradients from equations")
OURS, THEIRS, ERROR, WHAT = text("ours"), text("PyTorch's"), text("error"), text("compared")
SHOW = text("show numbers")
UNFOLD = text("unfold all")
THEME = text("light or dark")
CONTENTS = text("contents")
EXCERPT = text("an excerpt: the first entries")
FINDINGS = text("Findings")
REMEDY = text("What to do")
WITHOUT_EQUATION = text("Without an equation")
NOTHING_WITHOUT = text("every operation has an equation")
WITHOUT_NUMBERS = text("the page would be over 50 MB: the numbers behind the heat maps are left out")
WITHOUT_STEPS = text("the page would be over 50 MB: steps are listed without their equations")
LETTERS = text("letters")
ELEMENTARY = text("In elementary steps:")
SMALL_STEPS = 60  # up to this many steps every number that fits is shown
NOTATIONS = {
    "column": text("notation: z = Wx + b, examples are columns"),
    "row": text("notation: XW + b, examples are rows"),
    "torch": text("notation: XWᵀ + b, examples are rows, weights as torch stores them"),
}


@dataclass(frozen=True)
class Bundle:
    """Consecutive steps that are folded together: of one module, or of one part of an expansion."""

    title: str  # in the language in force: equal titles are one bundle
    steps: tuple[Step, ...]

    @property
    def heading(self) -> Text | str:
        """The title for pages in both languages; a module's path is the same in each."""
        groups = self.steps[0].groups
        return Text("{parts}", {"parts": list(groups)}) if groups else self.title


def shape_of(array: np.ndarray) -> str:
    """4 × 2; a single number has none."""
    return "×".join(str(size) for size in array.shape)


def told(array: np.ndarray) -> Text:
    """An array in a line: shape, and between what its entries lie."""
    if not array.size:
        return text("{shape}, empty", shape=shape_of(array))
    if array.ndim == 0:
        return text("{number}", number=_short(array))
    if array.dtype.kind not in "fiu":
        return text("{shape}, {kind}", shape=shape_of(array), kind=str(array.dtype))
    missing = int(np.isnan(array).sum()) if array.dtype.kind == "f" else 0
    if missing:
        return text("{shape}, {count} of {all} entries are NaN", shape=shape_of(array), count=missing, all=array.size)
    low, high = _short(array.min()), _short(array.max())
    if low == high:
        return text("{shape}, all {number}", shape=shape_of(array), number=low)
    return text("{shape}, from {low} to {high}", shape=shape_of(array), low=low, high=high)


def _short(number: object) -> str:
    return f"{float(np.asarray(number).reshape(())):.4g}".replace("-", "−")


def source_of(step: Step) -> str:
    """train.py:12"""
    return "" if step.source is None else f"{PurePath(step.source.file).name}:{step.source.line}"


def is_small(derivation: Derivation) -> bool:
    """Whether every step is shown with its numbers."""
    return len(derivation.steps) <= SMALL_STEPS


def bundles(steps: Sequence[Step], depth: int = 1) -> list[Bundle]:
    """Consecutive steps by the first parts of their module's path, and by expansion."""
    found: list[Bundle] = []
    for step in steps:
        title = step.group or ".".join(step.module.split(".")[:depth])
        if found and found[-1].title == title:
            found[-1] = Bundle(title, (*found[-1].steps, step))
        else:
            found.append(Bundle(title, (step,)))
    return found


def forward_steps(derivation: Derivation) -> list[Step]:
    return [step for step in derivation.steps if step.stage != "loss"]


def loss_steps(derivation: Derivation) -> list[Step]:
    return [step for step in derivation.steps if step.stage == "loss"]


def backward_steps(derivation: Derivation) -> list[Step]:
    """The steps that the walk back passes, in its order."""
    return [step for step in reversed(derivation.steps) if step.gradients]


def sums_before(derivation: Derivation, step: Step) -> list[Value]:
    """The step's results that several steps use: their gradients arrive as a sum."""
    return [value for value in step.outputs if value.gradient is not None and len(_givers(derivation, value)) > 1]


def _givers(derivation: Derivation, value: Value) -> list[int]:
    return [number for number in dict.fromkeys(value.uses) if derivation.steps[number - 1].gradients]


def givers(derivation: Derivation, value: Value) -> list[int]:
    """The equations whose gradients are summed at a value, the last first."""
    return sorted(_givers(derivation, value), reverse=True)


def shared_parameters(derivation: Derivation) -> list[Value]:
    """Leaves that several steps use: their gradient is a sum."""
    seen: set[int] = set()
    found: list[Value] = []
    for value in (*derivation.inputs, *derivation.parameters.values()):
        if value.index not in seen and value.gradient is not None and len(_givers(derivation, value)) > 1:
            found.append(value)
        seen.add(value.index)
    return found


def head(derivation: Derivation) -> Text:
    mode = text("training mode") if derivation.training else text("evaluation mode")
    return text("one training step: {steps} equations, {mode}, float64", steps=len(derivation.steps), mode=mode)


def given(derivation: Derivation) -> list[Text]:
    """Sentences about the pass."""
    said = [NOTATIONS[derivation.notation]]
    said += list(derivation.notes)
    if derivation.precision.dtype != "float64":
        said.append(
            text(
                "the network computes in {dtype}: its loss there differs from the one here by {loss}, its outputs by {outputs} relative",
                dtype=derivation.precision.dtype, loss=f"{derivation.precision.loss:.2g}", outputs=f"{derivation.precision.outputs:.2g}",
            )
        )  # fmt: skip
    if derivation.aside:
        said.append(text("left out: {count} operations on which neither outputs nor loss depend", count=derivation.aside))
    return said


def loss_note(derivation: Derivation) -> Text | None:
    return FACTORS.get(derivation.loss_name)


def status_of(step: Step) -> Text | None:
    """What is to be said of a step that is not simply checked."""
    return {
        "no equation": text("no equation; autograd's value"),
        "differs": text("differs from the derivative, as its author meant it"),
        "wrong": text("wrong: its backward is not the derivative"),
    }.get(step.status)


def check_rows(derivation: Derivation, check: Check) -> list[tuple[Text, str, str, str]]:
    """What was compared, ours, PyTorch's, the error; loss first, then each parameter's gradient, then each new value."""
    last = derivation.steps[derivation.loss.step - 1] if derivation.loss.step else None
    ours = last.our_output if last is not None and isinstance(last.our_output, np.ndarray) else derivation.loss.array
    rows = [(text("loss"), *_both(ours, derivation.loss.array, last.error.forward if last is not None else None))]
    seen: set[int] = set()
    for name, value in derivation.parameters.items():
        if value.index in seen or value.gradient is None or value.autograd is None:
            continue
        seen.add(value.index)
        rows.append((text("dL/d {name}", name=name), *_both(value.gradient, value.autograd, value.error)))
    for update in derivation.updates:
        rows.append((text("new {name}", name=update.parameter), *_both(update.new, update.theirs, update.error)))
    return rows


def _both(ours: np.ndarray, theirs: np.ndarray, error: float | None) -> tuple[str, str, str]:
    return _digits(ours), _digits(theirs), "—" if error is None else f"{error:.1e}" if error else "0"


def _digits(array: np.ndarray) -> str:
    """A number, or the Euclidean norm of an array: one number for both sides to be compared by eye."""
    if array.size == 1:
        return f"{float(array.reshape(-1)[0]):.12g}"
    return f"‖·‖ = {float(np.linalg.norm(array.reshape(-1))):.12g}"


def setting_lines(notation: Notation) -> list[str]:
    """Letter and value of the optimiser's settings that its equations use: eta = 0.5."""
    from pellucid.derivation.updates import SYMBOLS

    updates = notation.derivation.updates
    if not updates:
        return []
    first = updates[0]
    used = " ".join(line.equation for line in first.lines)
    found: list[str] = []
    for name, letter in SYMBOLS.items():
        if name not in first.settings:
            continue
        value = first.settings[name]
        if name == "betas":
            found += [rf"\beta_{place} = {_power(beta)}" for place, beta in enumerate(value, 1)] if r"\beta_1" in used else []
        elif letter in used and isinstance(value, (int, float)):
            found.append(rf"{letter} = {_power(value)}")
    return found


def _power(number: float) -> str:
    """A setting in LaTeX: 10^{-8} rather than 1e-08."""
    written = f"{number:g}"
    if "e" not in written:
        return written
    mantissa, exponent = written.split("e")
    return (rf"{mantissa} \cdot " if mantissa != "1" else "") + f"10^{{{int(exponent)}}}"


def more(count: int) -> str:
    return str(text("and {count} more", count=count))


def old(array: np.ndarray) -> Text:
    return text("old: {what}", what=told(array))


def gradient(array: np.ndarray) -> Text:
    return text("gradient: {what}", what=told(array))


def new(array: np.ndarray) -> Text:
    return text("new: {what}", what=told(array))


def parameters(derivation: Derivation) -> Text:
    entries = sum(value.array.size for value in {value.index: value for value in derivation.parameters.values()}.values())
    return text("{count} parameters in {arrays} arrays", count=entries, arrays=len(derivation.parameters))


def error_told(error: float) -> Text:
    return text("relative error against autograd: {error}", error=f"{error:.1g}")


def is_drawable(array: np.ndarray) -> bool:
    """Whether every number is shown: up to 64, in 8 rows and columns."""
    return 0 < array.size <= 64 and array.ndim <= 2 and max((*array.shape, 1)) <= 8
