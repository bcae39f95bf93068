"""Gradients, or updated parameters, computed elsewhere: where they part from the derivation, and why, as far as numbers can tell.

    derivation.check(gradients={"W1": dW1, "b1": db1, "W2": dW2, "b2": db2})

A wrong gradient is compared with what the customary mistakes would give: the sign, the transpose, a constant factor, an activation whose
derivative was left out, a sum over the batch that was forgotten, a parameter that was never updated. The walk back is done again with each
mistake built in; a mistake is named only where it explains every number.
"""

from __future__ import annotations

import dataclasses
import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from pellucid.core.errors import DataError, did_you_mean
from pellucid.core.language import Text, text
from pellucid.core.records import Finding
from pellucid.derivation.comparison import error_of
from pellucid.derivation.tape import Step, Tape, Value

if TYPE_CHECKING:
    from pellucid.derivation.check import Check
    from pellucid.derivation.derive import Derivation

TOLERANCE = 1e-6  # of arrays computed elsewhere, perhaps in float32 and printed with few digits
ACTIVATIONS = frozenset({
    "sigmoid", "tanh", "relu", "leaky_relu", "prelu", "elu", "selu", "celu", "gelu", "silu", "mish", "softplus", "softsign", "hardtanh",
    "relu6", "hardsigmoid", "hardswish", "logsigmoid", "softmax", "log_softmax",
})  # fmt: skip
MOST_ACTIVATIONS = 6  # leaving out each subset of them is tried


def compared(derivation: Derivation, check: Check, given: Mapping[str, Any]) -> Check:
    """The check with `homework` filled in and a fault for each array that is not ours, in the order of the backward pass.

    Raises:
        DataError: a name that is no parameter, or an array of another shape.
    """
    pairs = [_matched(derivation, name, array) for name, array in given.items()]
    pairs.sort(key=lambda pair: -_first_use(derivation.parameters[pair[1]]))
    results: dict[str, dict[str, Any]] = {}
    findings: list[Finding] = []
    walk = _Walk(derivation)
    for name, parameter, array, updated in pairs:
        value = derivation.parameters[parameter]
        wanted = _updated(derivation, parameter) if updated else derivation.gradients[parameter]
        error, turned = _error(array, wanted, value.shape)
        right = error <= TOLERANCE
        results[name] = {
            "parameter": parameter,
            "kind": "updated" if updated else "gradient",
            "error": error,
            "right": right,
            "transposed": turned,
        }
        if not right:
            findings.append(_finding(derivation, walk, name, parameter, array, updated, error, first=not findings))
    return dataclasses.replace(
        check,
        passed=check.passed and not findings,
        findings=(*findings, *check.findings),
        homework={"tolerance": TOLERANCE, "arrays": results},
    )


# -- which parameter an array is about ---------------------------------------------------------------------------------------------------

_LETTER = re.compile(r"^(?:d|grad_|gradient_|new_)?(?P<letter>[Ww]|weight|[Bb]|bias)_?(?P<number>\d+)?(?:_new|_grad)?$")


def _matched(derivation: Derivation, name: str, given: Any) -> tuple[str, str, np.ndarray, bool]:
    """(the user's name, the parameter's path, the array, whether it is the parameter after the update)."""
    parameters = [path for path, value in derivation.parameters.items() if value.requires_gradient]
    parameter = name if name in parameters else _by_letter(derivation, name, parameters)
    if parameter is None:
        raise DataError(
            text("{name!r} is no parameter of {network}", name=name, network=derivation.network),
            text("a path such as {paths}, or W1, b1, W2, b2, ... for the layers in their order", paths=parameters[:8]),
            did_you_mean(name, parameters),
        )
    try:
        array = np.asarray(given.detach().cpu().numpy() if hasattr(given, "detach") else given, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(text("{name!r} holds {kind}", name=name, kind=type(given).__name__), text("an array of numbers"), None) from error
    explicit = name.startswith("new_") or name.endswith("_new")
    return name, parameter, array, explicit or _looks_updated(derivation, parameter, array, name)


def _by_letter(derivation: Derivation, name: str, parameters: Sequence[str]) -> str | None:
    """W2, dW2, b1, weight_2: the n-th matrix or the n-th bias in the order in which the forward pass uses them."""
    match = _LETTER.match(name)
    if match is None:
        return None
    matrices = match["letter"] in ("W", "w", "weight")
    kind = [path for path in parameters if (derivation.parameters[path].array.ndim >= 2) == matrices]
    kind.sort(key=lambda path: _first_use(derivation.parameters[path]))
    position = int(match["number"] or 1) - 1
    return kind[position] if 0 <= position < len(kind) else None


def _first_use(value: Value) -> int:
    return min(value.uses, default=0)


def _looks_updated(derivation: Derivation, parameter: str, array: np.ndarray, name: str) -> bool:
    """Without a word about it: an array that is ours after the update, or nearer to the parameter's old value than to its gradient."""
    if name.startswith(("d", "grad")) and name not in derivation.parameters:
        return False
    gradient, old = derivation.gradients[parameter], derivation.parameters[parameter].array
    if _error(array, gradient, old.shape)[0] <= TOLERANCE:
        return False
    if (
        any(update.parameter == parameter for update in derivation.updates)
        and _error(array, _updated(derivation, parameter), old.shape)[0] <= TOLERANCE
    ):
        return True
    distance = _error(array, old, old.shape)[0]
    return distance < 0.2 and distance < _error(array, gradient, old.shape)[0]


def _updated(derivation: Derivation, parameter: str) -> np.ndarray:
    for update in derivation.updates:
        if update.parameter == parameter:
            return update.new
    raise DataError(
        text("{name!r} looks like a parameter after its update, and the derivation has no optimizer", name=parameter),
        text("a gradient, or a derivation with an update"),
        text("give derive the optimizer, or call the array d{name}", name=parameter),
    )


def _shaped(array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray | None:
    """The array in the parameter's shape where only dimensions of size one differ: (1, H) and (H, 1) for a bias (H,)."""
    squeezed = tuple(size for size in array.shape if size != 1)
    return array.reshape(shape) if squeezed == tuple(size for size in shape if size != 1) else None


def _error(array: np.ndarray, wanted: np.ndarray, shape: tuple[int, ...]) -> tuple[float, bool]:
    """(error, whether the array was taken as the transpose). A textbook's (inputs, outputs) matrix is the transpose of torch's."""
    straight = _shaped(array, shape)
    if straight is not None:
        return error_of(straight, wanted), False
    turned = _shaped(array.T, shape) if array.ndim == 2 else None
    if turned is not None:
        return error_of(turned, wanted), True
    return np.inf, False


# -- why -------------------------------------------------------------------------------------------------------------------------------


def _finding(
    derivation: Derivation, walk: _Walk, name: str, parameter: str, array: np.ndarray, updated: bool, error: float, *, first: bool
) -> Finding:
    value = derivation.parameters[parameter]
    step = next((s for s in reversed(derivation.steps) if s.index in value.uses), None)
    reason, remedy = _reason_updated(derivation, parameter, array) if updated else _reason(derivation, walk, parameter, array)
    what = text("{name} after the update", name=parameter) if updated else text("dL/d({name})", name=parameter)
    number = step.index if step else 0
    if first:
        summary = text("{given} parts from equation ({number}), {what}: {reason}", given=name, number=number, what=what, reason=reason)
    else:
        summary = text("{given} is not {what} of equation ({number}) either: {reason}", given=name, number=number, what=what, reason=reason)
    return Finding(
        symptom="homework",
        level="fault",
        confidence=1.0,
        where=f"({number})",
        summary=summary,
        evidence={"parameter": parameter, "given": name, "error": error if np.isfinite(error) else None, "first": first},
        remedy=remedy,
        established_by="controlled",
    )


def _reason_updated(derivation: Derivation, parameter: str, array: np.ndarray) -> tuple[Text, Text | None]:
    update = next(update for update in derivation.updates if update.parameter == parameter)
    shaped = _shaped(array, update.old.shape)
    if shaped is None:
        shaped = _shaped(array.T, update.old.shape)
    if shaped is None:
        return _wrong_shape(array, update.old.shape)
    if np.array_equal(shaped, update.old) or error_of(shaped, update.old) <= 1e-12:
        return text("the parameter was never updated"), text("subtract the learning rate times its gradient")
    factor = _factor(shaped - update.old, update.new - update.old)
    if factor is not None and factor < 0:
        return text("the update goes uphill: the sign is wrong"), text("subtract the gradient, do not add it")
    if factor is not None:
        return text("the update is {factor} times ours", factor=f"{factor:.6g}"), text(
            "compare the learning rate and the factor of the gradient"
        )
    return text("the numbers differ, and no customary mistake explains them"), text("compare the gradients: give them instead")


def _wrong_shape(array: np.ndarray, shape: tuple[int, ...]) -> tuple[Text, Text | None]:
    return (
        text("it has shape {got}, the parameter {shape}", got=str(array.shape), shape=str(shape)),
        text("give one number for each number of the parameter"),
    )


def _reason(derivation: Derivation, walk: _Walk, parameter: str, array: np.ndarray) -> tuple[Text, Text | None]:
    """The mistake that explains every number, the simplest first."""
    ours = derivation.gradients[parameter]
    shaped = _shaped(array, ours.shape)
    if shaped is None and array.ndim == 2:
        shaped = _shaped(array.T, ours.shape)
    if shaped is None:
        if array.ndim == ours.ndim + 1 and array.shape[1:] == ours.shape and error_of(array.sum(0), ours) <= TOLERANCE:
            return text("the sum over the {count} samples is missing", count=len(array)), text("sum over the batch: .sum(axis=0)")
        return _wrong_shape(array, ours.shape)
    if not np.any(shaped) and np.any(ours):
        return text("it is zero everywhere: no gradient was computed"), text("walk the chain rule back to this parameter")
    if ours.ndim == 2 and ours.shape[0] == ours.shape[1] and error_of(shaped.T, ours) <= TOLERANCE:
        return text("it is the transpose"), text("exchange rows and columns: .T")
    customary = _customary_factors(derivation)
    for any_factor in (False, True):  # a factor that nobody would make by mistake is believed last, and of a single number never
        told = _as_factor(derivation, shaped, ours, customary, any_factor)
        if told is not None:
            return told
        for steps, gradient in walk.without_derivatives(parameter):
            factor = _factor(shaped, gradient)
            if factor is None or not ((any_factor and shaped.size > 1) or _nearest(factor, customary)):
                continue
            what = text("the derivative of {activations} is missing", activations=[_place(step) for step in steps])
            if abs(factor - 1) > 1e-6:
                what = text("{what}, and it is multiplied by {factor}", what=what, factor=f"{factor:.6g}")
            return what, _missing_derivative(derivation, steps)
    return text("the numbers differ, and no customary mistake explains them"), text(
        "compare with the numbers of this equation, term by term"
    )


def _missing_derivative(derivation: Derivation, steps: Sequence[Step]) -> Text:
    """What to do, and what is true of the mistake: at a sigmoid output alone it is another loss's gradient, and learns."""
    remedy = text("multiply by the derivative of the activation where the gradient passes it: for the sigmoid a (1 - a)")
    outputs = {value.index for value in derivation.outputs}
    at_output = [step.operation == "sigmoid" and any(value.index in outputs for value in step.outputs) for step in steps]
    if all(at_output):
        return text(
            "{remedy}. Left out at a sigmoid output alone, it is up to a factor the gradient of binary cross-entropy, and trains well",
            remedy=remedy,
        )
    if any(at_output):
        return text("{remedy}. Left out in a hidden layer too, it is no loss's gradient, and does not train well", remedy=remedy)
    return remedy


def _place(step: Step) -> Text:
    return text("{operation} in equation ({number})", operation=step.operation, number=step.index)


def _samples(derivation: Derivation) -> int:
    return next((value.shape[0] for value in derivation.inputs if value.array.ndim > 1), 1)


def _customary_factors(derivation: Derivation) -> list[float]:
    n = float(_samples(derivation))
    sizes = sorted({1.0, 2.0, 0.5, n, 1 / n, 2 * n, 2 / n, n / 2, 0.5 / n})
    return [*sizes, *(-size for size in sizes)]


def _nearest(factor: float, customary: Sequence[float]) -> bool:
    return any(abs(factor / value - 1) < 1e-6 for value in customary)


def _as_factor(
    derivation: Derivation, shaped: np.ndarray, ours: np.ndarray, customary: Sequence[float], any_factor: bool
) -> tuple[Text, Text | None] | None:
    factor = _factor(shaped, ours)
    if factor is None or not ((any_factor and shaped.size > 1) or _nearest(factor, customary)):
        return None
    if abs(factor + 1) < 1e-6:
        return text("the sign is wrong"), text("turn it: the gradient points uphill, the update subtracts it")
    samples = _samples(derivation)
    size = abs(factor)
    known = [
        (2.0, text("the factor 2 of the square's derivative is too much")),
        (0.5, text("the factor 2 of the square's derivative is missing")),
        (float(samples), text("1/N is missing, N = {count} samples", count=samples)),
        (1.0 / samples, text("1/N is too much, N = {count} samples", count=samples)),
        (2.0 * samples, text("1/N is missing, N = {count} samples, and a factor 2 is too much", count=samples)),
        (0.5 / samples, text("1/N is too much, N = {count} samples, and a factor 2 is missing", count=samples)),
    ]
    what = next((words for value, words in known if abs(size / value - 1) < 1e-6 and value != 1.0), None)
    what = what or text("it is ours times {factor}", factor=f"{size:.6g}")
    if factor < 0:
        what = text("{what}, and the sign is wrong", what=what)
    return what, text(
        "compare the loss you differentiate with {loss}: its constant factor is part of the gradient", loss=derivation.loss_name
    )


def _factor(array: np.ndarray, ours: np.ndarray) -> float | None:
    """c with array = c ours in every entry, or None."""
    norm = float((ours * ours).sum())
    if not norm or not np.isfinite(norm) or not np.isfinite(array).all():
        return None
    factor = float((array * ours).sum()) / norm
    return factor if factor and error_of(array, factor * ours) <= TOLERANCE else None


class _Walk:
    """The walk back, done again with a mistake built in."""

    def __init__(self, derivation: Derivation) -> None:
        self.tape: Tape = derivation.tape
        self.loss = derivation.loss
        names = {step.index: step for step in derivation.steps if step.operation in ACTIVATIONS and step.stage == "forward"}
        self.activations = list(names.values())[-MOST_ACTIVATIONS:]

    def without_derivatives(self, parameter: str) -> Iterator[tuple[list[Step], np.ndarray]]:
        """Which activations' derivatives were left out, and the gradient that gives; the fewest first, the last layer first."""
        for count in range(1, len(self.activations) + 1):
            for left_out in itertools.combinations(reversed(self.activations), count):
                gradient = self._gradients({step.index for step in left_out}).get(parameter)
                if gradient is not None:
                    yield list(left_out), gradient

    def _gradients(self, left_out: set[int]) -> dict[str, np.ndarray]:
        arriving: dict[int, np.ndarray] = {self.loss.index: np.ones(self.loss.shape)}
        for step in reversed(self.tape.steps):
            gradients = [arriving.get(output.index) for output in step.outputs]
            if step.identity or all(gradient is None for gradient in gradients):
                continue
            if step.index in left_out:
                found: Mapping[str, np.ndarray | None] = {next(iter(step.places)): gradients[0]}
            else:
                found = step.pull(gradients)
            for place, gradient in found.items():
                value = step.places[place]
                if gradient is not None and value.requires_gradient:
                    arriving[value.index] = arriving[value.index] + gradient if value.index in arriving else gradient
        return {value.name: arriving[value.index] for value in self.tape.values if value.kind == "parameter" and value.index in arriving}
