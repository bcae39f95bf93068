"""A softmax that is applied twice, or that shares its 1 among the wrong things."""

from __future__ import annotations

import math

from pellucid.core.language import Text, text
from pellucid.core.records import Change, Finding
from pellucid.core.trace import Operation
from pellucid.diagnosis.registry import symptom
from pellucid.diagnosis.static.comparisons import HARMLESS, Comparison, share_of
from pellucid.diagnosis.static.flow import argument, place_of, told_place
from pellucid.diagnosis.static.program import Program
from pellucid.diagnosis.symptoms.outputs import FLOOR, axis_of, class_axis, finding, is_constant, last_activation, shown

# -- double_softmax ----------------------------------------------------------------------------------------------------------------------


@symptom("double_softmax", reads=Program)
def double_softmax(program: Program) -> list[Finding]:
    """The loss applies a softmax to what is a softmax already. A log_softmax may be applied twice: the second changes nothing."""
    for comparison in program.comparisons:
        if comparison.kind not in ("cross_entropy", "binary_cross_entropy_with_logits"):
            continue
        activation = last_activation(program, comparison.prediction) or _by_hand(program, comparison)
        if activation is None or activation.name not in ("softmax", "softmin", "div") or is_constant(program, activation):
            continue
        scores, reach = program.flow.tensor(comparison.prediction), program.flow.ranges[comparison.prediction]
        classes = scores.shape[class_axis(scores)]
        least = math.log1p((classes - 1) * math.exp(-reach.width)) if math.isfinite(reach.width) else 0.0
        if classes < 2 or not reach.reached or least < FLOOR * math.log(classes):
            continue
        return [
            finding(
                "double_softmax", "fault", 0.97, place_of(activation),
                text(
                    "The softmax is applied twice: at {place}, and again inside {loss}. With {classes} classes the loss cannot fall below "
                    "{least} (knowing nothing costs {unknowing}), and the gradients are damped.",
                    place=told_place(activation), loss=comparison.operation.name, classes=classes, least=shown(least),
                    unknowing=shown(math.log(classes)),
                ),
                {"activation": "softmax", "least_loss": least, "classes": classes, "expected": {"least_loss": "0"}},
                text("leave the softmax out and give raw scores to the loss; apply it only where probabilities are shown"),
                Change(kind="output_activation", values={"name": "log", "position": activation.index})
                if activation.name == "div" else Change(kind="drop_output_activation", values={"position": activation.index}),
            )
        ]  # fmt: skip
    return []


def _by_hand(program: Program, comparison: Comparison) -> Operation | None:
    """exp(x) / exp(x).sum(), where the prediction is such shares."""
    made = next((one for _, one in program.flow.upward(comparison.prediction, HARMLESS) if one.name == "div"), None)
    return made if made is not None and share_of(program.flow, made.results()[0]) is not None else None


# -- softmax_wrong_axis ------------------------------------------------------------------------------------------------------------------


@symptom("softmax_wrong_axis", reads=Program)
def softmax_wrong_axis(program: Program) -> list[Finding]:
    """A softmax shares 1 among samples, times or queries where it should share it among classes or keys."""
    if not program.traced:
        return []
    for operation in program.trace.operations:
        if operation.name not in ("softmax", "log_softmax") or operation.results()[0].value not in program.flow.of_loss:
            continue
        if not program.flow.is_prediction(operation.results()[0]) or is_constant(program, operation):
            continue
        found = _over_the_batch(program, operation) or _over_the_queries(program, operation)
        if found is not None:
            return [found]
    return [one for comparison in program.comparisons if (one := _not_over_the_classes(program, comparison)) is not None][:1]


def _over_the_batch(program: Program, operation: Operation) -> Finding | None:
    given = operation.inputs()[0]
    axis, shape = axis_of(program, operation), tuple(program.flow.tensor(given).shape)
    if operation.stage == "loss" or program.batch_axes.get(given.value) != (axis,) or shape[axis] != program.samples:
        return None
    return _wrong_axis(
        program, operation, axis,
        text(
            "The {name} at {place} runs along axis {axis} of {shape}, which is the batch: a sample's result depends on the other samples "
            "of its batch.",
            name=operation.name, place=told_place(operation), axis=axis, shape=str(shape),
        ), 0.93, len(shape) - 1 if len(shape) > 1 else None,
    )  # fmt: skip


def _over_the_queries(program: Program, operation: Operation) -> Finding | None:
    """Attention weights that go straight into a product must sum to 1 along the axis over which the product sums."""
    result = operation.results()[0]
    axis, dimensions = axis_of(program, operation), program.flow.tensor(result).dim()
    users = [user for user in program.flow.users.get(result.value, []) if user.name not in ("detach", "dropout")]
    if len(users) != 1 or users[0].name not in ("matmul", "bmm", "einsum") or dimensions < 3:
        return None
    sides = users[0].inputs()
    if len(sides) != 2 or sides[0] == sides[1] or not all(program.flow.is_prediction(side) for side in sides):
        return None
    first = sides[0] == result
    summed = _summed(users[0], first) if users[0].name == "einsum" else dimensions - 1 if first else dimensions - 2
    if summed is None or axis == summed:
        return None
    return _wrong_axis(
        program, operation, axis,
        text(
            "The attention weights at {place} sum to 1 along axis {axis}, and the product with the values sums along axis {summed}.",
            place=told_place(operation), axis=axis, summed=summed,
        ), 0.85, summed,
    )  # fmt: skip


def _summed(product: Operation, first: bool) -> int | None:
    """The one axis of this side of an einsum over which it sums; None where it is not one, or the equation has gaps."""
    equation = str(product.args[0]).replace(" ", "")
    taken, arrow, given = equation.partition("->")
    sides = taken.split(",")
    if not arrow or "." in equation or len(sides) != 2:
        return None
    mine = sides[0 if first else 1]
    gone = [place for place, letter in enumerate(mine) if letter not in given and letter in sides[1 if first else 0]]
    return gone[0] if len(gone) == 1 else None


def _not_over_the_classes(program: Program, comparison: Comparison) -> Finding | None:
    """The probabilities do not sum to 1 over the classes, though a softmax made them."""
    flow = program.flow
    if comparison.kind == "cross_entropy" and comparison.by_hand | (comparison.operation.name == "nll_loss"):
        logs = comparison.operation.inputs()[0]
        start = logs
    elif comparison.values or comparison.kind == "binary_cross_entropy":
        start = comparison.prediction
    else:
        return None
    made = next((one for _, one in flow.upward(start, HARMLESS | {"log", "neg"}) if one.name in ("softmax", "log_softmax")), None)
    if made is None or is_constant(program, made):
        return None
    at = flow.tensor(start).double()
    logarithmic = flow.ranges[start].high <= 1e-6 and flow.ranges[start].low < 0
    shares = at.exp() if logarithmic else at
    if comparison.operation.name == "nll_loss":
        axis = class_axis(shares)
    elif comparison.operation.name == "gather":
        axis = int(argument(comparison.operation, 1, "dim", 1)) % shares.dim()
    else:
        wanted = flow.tensor(comparison.target).double()
        axes = [i for i in range(wanted.dim()) if wanted.shape[i] > 1 and bool(((wanted.sum(i) - 1).abs() < 1e-3).all())]
        if wanted.shape != shares.shape or not axes:
            return None
        axis = axes[-1]
    if float((shares.sum(axis) - 1).abs().max()) < 1e-2 or float(shares.min()) < 0:
        return None
    others = [i for i in range(shares.dim()) if i != axis and float((shares.sum(i) - 1).abs().max()) < 1e-2]
    if not others:
        return None
    return _wrong_axis(
        program, made, axis_of(program, made),
        text(
            "The {name} at {place} shares 1 along axis {others} of the output, and the classes lie along axis {axis}: over the classes the "
            "probabilities sum to values between {low} and {high}.",
            name=made.name, place=told_place(made), others=others[0], axis=axis, low=shown(float(shares.sum(axis).min())),
            high=shown(float(shares.sum(axis).max())),
        ), 0.95, None if flow.tensor(made.inputs()[0]).shape != shares.shape else axis,
    )  # fmt: skip


def _wrong_axis(program: Program, operation: Operation, axis: int, summary: Text, confidence: float, right: int | None) -> Finding:
    shape = list(program.flow.tensor(operation.inputs()[0]).shape)
    return finding(
        "softmax_wrong_axis", "fault", confidence, place_of(operation), summary,
        {"axis": axis, "shape": shape, "expected": {"axis": "another" if right is None else str(right)}},
        text("give it the axis of the classes (of the keys, in attention): dim={axis}", axis=-1 if right is None else right),
        None if right is None else Change(kind="softmax_axis", values={"axis": right, "position": operation.index}),
    )  # fmt: skip
