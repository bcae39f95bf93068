"""The loss does not fit what is to be learnt, or computes it in a way that breaks."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from pellucid.core.errors import PellucidError
from pellucid.core.language import Text, text
from pellucid.core.records import Change, Finding
from pellucid.core.trace import Operation
from pellucid.diagnosis.registry import symptom
from pellucid.diagnosis.static.comparisons import LOGARITHMS, VALUE_LOSSES, Comparison
from pellucid.diagnosis.static.flow import line_of, place_of, told_place
from pellucid.diagnosis.static.program import Program, Targets
from pellucid.diagnosis.symptoms.outputs import class_axis, finding, last_activation, shown, shown_range

FEW_CLASSES = 20  # different whole numbers that are more likely classes than amounts
LEAST_SAMPLES = 30  # targets before "always" and "never" are said of them
EXTREME = 1e-4  # a probability before the first step that is on its way to 0
OVERFLOW = 20.0  # of the 88 at which exp ends in float32
TWICE = (1.7, 2.4)  # growth of a loss with a batch twice as large that is a sum over its samples; dropout and batch statistics move it
BINARY = frozenset({"binary_cross_entropy", "binary_cross_entropy_with_logits"})
FOLLOWS_SIZE = frozenset({"SGD", "ASGD", "Rprop", "LBFGS"})  # steps in proportion to the gradient; Adam and the like divide its size out


# -- wrong_loss --------------------------------------------------------------------------------------------------------------------------


@symptom("wrong_loss", reads=Program)
def wrong_loss(program: Program) -> list[Finding]:
    """A loss for another kind of targets: squared errors of class numbers, cross-entropy of values, binary losses of several classes."""
    for comparison in program.comparisons:
        for found in _wrong_loss(program, comparison):
            return [found]
    return []


def _wrong_loss(program: Program, comparison: Comparison) -> Iterator[Finding]:
    wanted = program.targets_of(comparison)
    if comparison.values:
        yield from _values_loss(program, comparison, wanted)
    elif comparison.kind in BINARY:
        yield from _binary_loss(program, comparison, wanted)
    elif comparison.kind == "cross_entropy":
        yield from _class_loss(program, comparison, wanted)


def _of_classes(program: Program, comparison: Comparison) -> Targets | None:
    """The targets, where they are whole numbers of an integer type from 0 on, all of them in use: names of classes, by all we can see."""
    given = program.targets
    if given.kind not in ("classes", "binary") or not given.whole or given.low != 0 or not 2 <= given.classes <= FEW_CLASSES:
        return None
    if given.shape not in ((), (1,)) or given.samples < LEAST_SAMPLES or min(given.counts, default=0) == 0:
        return None
    return given if bool((program.wanted(comparison).double() == program.wanted(comparison).double().round()).all()) else None


def _values_loss(program: Program, comparison: Comparison, wanted: Targets) -> Iterator[Finding]:
    classes, output = _of_classes(program, comparison), program.flow.tensor(comparison.prediction)
    seen = program.flow.tensor(comparison.target)
    if wanted.kind in ("one_hot", "binary") and (wanted.kind == "one_hot" or classes is not None or wanted.samples >= LEAST_SAMPLES):
        if comparison.target.value in program.flow.targets:
            yield _advised(program, comparison, wanted)
        return
    spread_out = seen.dim() == 2 and bool((seen == seen[:, :1]).all())  # the class number, once for each output
    if classes is None or classes.classes < 3 or (seen.numel() > seen.shape[0] and not spread_out):
        return
    outputs = output.shape[1] if output.dim() > 1 else 1
    several = outputs > 1
    yield finding(
        "wrong_loss", "fault", 0.93 if several else 0.7, place_in_loss(comparison),
        text(
            "{loss} treats the {classes} classes as amounts: class {highest} is called {highest} times as much as class 1, and a sample of "
            "class 0 taken for class {highest} is a larger error than one taken for class 1.",
            loss=comparison.kind, classes=classes.classes, highest=classes.classes - 1,
        ),
        {"loss": comparison.kind, "classes": classes.classes, "outputs": outputs, "expected": {"loss": "cross_entropy"}},
        text(
            "give the network {classes} outputs and use cross_entropy, unless the classes are steps of one scale", classes=classes.classes
        ),
        Change(kind="loss", values={"name": "cross_entropy"}) if outputs == classes.classes else None,
    )  # fmt: skip


def _advised(program: Program, comparison: Comparison, wanted: Targets) -> Finding:
    """Squared errors of probabilities are a proper score, and learn more slowly where the network is sure and wrong."""
    binary = wanted.kind == "binary"
    activation = last_activation(program, comparison.prediction)
    squashed = activation is not None and activation.name in ("sigmoid", "softmax", "hardsigmoid")
    name = "binary cross-entropy" if binary else "cross_entropy"
    return finding(
        "wrong_loss", "advice", 0.5, place_in_loss(comparison),
        text(
            "{loss} is used for classes. It can be learnt, but where the network is sure and wrong its gradient nearly vanishes; {name} is "
            "made for it.",
            loss=comparison.kind, name=name,
        ),
        {"loss": comparison.kind, "targets": wanted.kind, "expected": {"loss": name}},
        text("use {name}", name=name),
        Change(kind="loss", values={"name": ("bce" if squashed else "bce_with_logits") if binary else "cross_entropy"})
        if binary or not squashed else None,
    )  # fmt: skip


def _binary_loss(program: Program, comparison: Comparison, wanted: Targets) -> Iterator[Finding]:
    beyond = wanted.low < -1e-6 or wanted.high > 1 + 1e-6
    if beyond and wanted.distinct > 2:
        classes = wanted.integral and wanted.low >= 0
        name = "cross_entropy" if classes else "mse_loss"
        yield finding(
            "wrong_loss", "fault", 0.95, place_in_loss(comparison),
            text(
                "{loss} needs targets between 0 and 1, and gets {distinct} different values between {low} and {high}: it has no lower "
                "bound then, and is driven to minus infinity.",
                loss=comparison.operation.name if not comparison.by_hand else comparison.kind, distinct=wanted.distinct,
                low=shown(wanted.low), high=shown(wanted.high),
            ),
            {"target_low": wanted.low, "target_high": wanted.high, "distinct": wanted.distinct, "expected": {"target_high": "1"}},
            text("use {name}, with {units} outputs", name=name, units=int(wanted.high) + 1 if classes else 1),
            None if classes else Change(kind="loss", values={"name": "mse"}),
        )  # fmt: skip
    elif wanted.kind == "one_hot" and wanted.classes >= 3 and program.targets.samples >= LEAST_SAMPLES:
        yield finding(
            "wrong_loss", "advice", 0.5, place_in_loss(comparison),
            text(
                "Every sample has exactly one of {classes} labels, and {loss} asks about each label by itself; cross_entropy uses that "
                "they exclude each other.",
                classes=wanted.classes, loss=comparison.kind,
            ),
            {"loss": comparison.kind, "labels_per_sample": 1, "expected": {"labels_per_sample": "more than one"}},
            text("use cross_entropy on the raw scores"), None,
        )  # fmt: skip


def _class_loss(program: Program, comparison: Comparison, wanted: Targets) -> Iterator[Finding]:
    seen, scores = program.flow.tensor(comparison.target), program.flow.tensor(comparison.prediction)
    if comparison.by_hand and comparison.operation.name in ("gather", "getitem"):
        return
    if not seen.is_floating_point():
        given = program.targets
        entire = given.all is not None and given.all[:1].numel() * len(seen) == seen.numel()  # not one column of several
        if entire and not given.whole and not given.integral and given.distinct > FEW_CLASSES:
            yield finding(
                "wrong_loss", "fault", 0.9, place_in_loss(comparison),
                text(
                    "The targets are measured values ({distinct} different ones between {low} and {high}), and the loss takes what is left "
                    "of them after rounding down as classes.",
                    distinct=given.distinct, low=shown(given.low), high=shown(given.high),
                ),
                {"distinct": given.distinct, "expected": {"loss": "mse_loss"}},
                text("give the network one output and use mse_loss or huber_loss"), None,
            )  # fmt: skip
        return
    if seen.shape != scores.shape or seen.dim() < 2 or seen.shape[class_axis(seen)] < 2:
        return
    every = program.wanted(comparison).double()
    every = every if every.dim() == seen.dim() and every.shape[1:] == seen.shape[1:] else seen.double()
    axis = class_axis(seen)
    sums = every.sum(axis)
    off = float(((sums - 1).abs() > 0.05).double().mean())
    if off < 0.1:
        return
    labels = bool(((every == 0) | (every == 1)).all())
    shares = float(every.min()) >= 0 and float(sums.std(unbiased=False)) < 1e-3 * max(float(sums.mean()), 1e-30)
    if shares:
        return  # constant weights of proper shares
    name = "binary_cross_entropy_with_logits" if labels else "mse_loss"
    yield finding(
        "wrong_loss", "fault", 0.85 if labels else 0.93, place_in_loss(comparison),
        text(
            "cross_entropy takes each row of targets as probabilities that sum to 1; the rows of {share:.0f} % of the samples sum to "
            "something else (between {low} and {high}).",
            share=100 * off, low=shown(float(sums.min())), high=shown(float(sums.max())),
        ),
        {"rows_with_other_sum": off, "target_low": float(every.min()), "target_high": float(every.max()), "expected": {"row_sum": "1"}},
        text("use {name}", name=name), Change(kind="loss", values={"name": "bce_with_logits" if labels else "mse"}),
    )  # fmt: skip


def place_in_loss(comparison: Comparison) -> str:
    return (line_of(comparison.operation) if comparison.by_hand or comparison.operation.source else None) or comparison.operation.name


# -- unstable_loss -----------------------------------------------------------------------------------------------------------------------


@symptom("unstable_loss", reads=Program)
def unstable_loss(program: Program) -> list[Finding]:
    """A logarithm that can meet 0, an exp that can overflow, a division by what can be 0.

    An unguarded logarithm of a softmax or sigmoid is an advice while its argument is far from 0; a fault where it is on its way there.
    """
    if not program.traced or program.loss is None:
        return []
    found = [
        *_born_broken(program), *_unguarded_logarithms(program), *_unguarded_exponentials(program), *_exponentials_of_losses(program)
    ]  # fmt: skip
    return sorted(found, key=lambda one: (one.level != "fault", -one.confidence))[:1]


def _born_broken(program: Program) -> Iterator[Finding]:
    """The first operation that gives NaN or infinity from finite values, where the loss or a gradient is broken before the first step."""
    broken = [name for name, gradient in program.gradients.items() if not bool(gradient.isfinite().all())]
    if program.loss is not None and math.isfinite(program.loss) and not broken:
        return
    if not all(_finite(one.tensor) for one in program.trace.values if one.leaf and one.kind in ("input", "target")):
        return  # the data are broken, which the training shows
    for operation in program.trace.operations:
        results = [program.flow.tensor(one) for one in operation.results() if one.value in program.flow.of_loss]
        taken = [program.flow.tensor(one) for one in operation.inputs()]
        if all(_finite(one) for one in results) or not all(_finite(one) for one in taken):
            continue
        raw = operation.name in LOGARITHMS and program.flow.ranges[operation.inputs()[0]].low < 0
        if operation.name == "masked_fill" or raw or not any(program.flow.is_prediction(one) for one in operation.results()):
            continue
        yield _unstable(
            program, operation, 0.95,
            text(
                "The loss is broken before the first step: {name} at {place} gives values that are not finite from finite ones.",
                name=operation.name, place=line_of(operation) or told_place(operation),
            ),
            {"loss": str(program.loss), "operation": operation.name, "expected": {"loss": "finite"}},
        )  # fmt: skip
        return
    if broken:
        sharp = [one for one in program.trace.operations if one.name in ("sqrt", "norm", "pow", "div", "rsqrt", "cdist", "std", "where")]
        zero = [one for one in sharp if any(bool((program.flow.tensor(taken) == 0).any()) for taken in one.inputs())]
        where = zero[-1] if zero else program.trace.operations[-1]
        yield _unstable(
            program, where, 0.85,
            text(
                "The gradient is not finite before the first step though the loss is: {name} at {place} has no slope at 0.",
                name=where.name, place=line_of(where) or told_place(where),
            ),
            {"parameters": broken[:4], "operation": where.name, "expected": {"gradient": "finite"}},
        )  # fmt: skip


def _finite(tensor: Tensor) -> bool:
    return not tensor.is_floating_point() or bool(tensor.isfinite().all())


def _unstable(program: Program, operation: Operation, confidence: float, summary: Text, evidence: dict[str, object]) -> Finding:
    return finding(
        "unstable_loss", "fault", confidence, line_of(operation) or place_of(operation), summary, evidence,
        text("keep its argument away from 0 (clamp(min=1e-7), or + 1e-7), or use PyTorch's loss on raw scores"),
        Change(kind="stable_log", values={"eps": 1e-7}) if operation.name in LOGARITHMS else None,
    )  # fmt: skip


def _unguarded_logarithms(program: Program) -> Iterator[Finding]:
    """log(p) with nothing that keeps p above 0. In float32 1 - sigmoid(x) is exactly 0 from x = 17 on, and a softmax from a gap of 104."""
    for operation in program.trace.operations:
        if operation.name not in LOGARITHMS or operation.results()[0].value not in program.flow.of_loss:
            continue
        argument = operation.inputs()[0]
        reach = program.flow.ranges[argument]
        if not program.flow.is_prediction(argument) or not reach.reached or reach.low > 0 or reach.low < -1e-3:
            continue  # what can be negative is a missing activation
        activation = last_activation(program, argument)
        if activation is None:
            continue
        values = program.flow.tensor(argument)
        least = float(values.min()) if values.numel() else 1.0
        danger = least < EXTREME
        yield finding(
            "unstable_loss", "fault" if danger else "advice", 0.85 if danger else 0.6, line_of(operation) or place_of(operation),
            text(
                "{log} at {place} takes the result of {activation}, in {reach}, with nothing that keeps it above 0: once it is 0 the loss "
                "is infinite. The smallest value before the first step is {least}.",
                log=operation.name, place=line_of(operation) or told_place(operation), activation=activation.name, reach=shown_range(reach),
                least=shown(least),
            ),
            {"operation": operation.name, "activation": activation.name, "least_argument": least,
             "expected": {"least_argument": f"> {EXTREME}"}},
            text("use cross_entropy or binary_cross_entropy_with_logits on raw scores, or log(p.clamp(min=1e-7))"),
            Change(kind="stable_log", values={"eps": 1e-7}),
        )  # fmt: skip


def _unguarded_exponentials(program: Program) -> Iterator[Finding]:
    """A softmax by hand that does not subtract the largest score first: exp overflows at 88 in float32."""
    for operation, largest in _exponentials(program, ("exp",)):
        normalised = [
            user for user in program.flow.users.get(operation.results()[0].value, ()) if user.name == "div" and _shares(program, user)
        ]
        subtracted = program.flow.maker(operation.inputs()[0])
        if not normalised or (subtracted is not None and subtracted.name in ("sub", "rsub")):
            continue
        yield _may_overflow(
            operation, largest, "largest_score", 0.8,
            text(
                "A softmax by hand at {place}: exp overflows once a score is above 88, and the largest one is {largest} before the first "
                "step.",
                place=line_of(operation) or told_place(operation), largest=shown(largest),
            ),
            text("use torch.softmax, or subtract the largest score before exp"),
        )  # fmt: skip


def _exponentials_of_losses(program: Program) -> Iterator[Finding]:
    """exp of what is a loss already: made of prediction and targets, at least 0, and without an upper bound.

    A log link, exp(score), knows no targets; the ratio of a policy's probabilities goes below 1 as well; exp(-loss) ends at 1.
    """
    for operation, largest in _exponentials(program, ("exp", "exp2", "expm1")):
        argument = operation.inputs()[0]
        if argument.value not in program.flow.targets or program.flow.ranges[argument].low < 0:
            continue
        yield _may_overflow(
            operation, largest, "largest_argument", 0.85,
            text(
                "{name} at {place} is taken of a loss, which has no upper bound: its gradient is multiplied by the result, and beyond 88 "
                "it overflows. The loss inside is {largest} before the first step.",
                name=operation.name, place=line_of(operation) or told_place(operation), largest=shown(largest),
            ),
            text("minimise the loss itself; take its exponential only to show it"),
        )  # fmt: skip


def _exponentials(program: Program, names: tuple[str, ...]) -> Iterator[tuple[Operation, float]]:
    """Operations of these names whose argument can become too large, each with its largest argument at the first weights."""
    for operation in program.trace.operations:
        if operation.name in names and operation.results()[0].value in program.flow.of_loss:
            argument = operation.inputs()[0]
            if program.flow.is_prediction(argument) and program.flow.ranges[argument].high >= 80:
                yield operation, float(program.flow.tensor(argument).max())


def _may_overflow(operation: Operation, largest: float, measured: str, sure: float, summary: Text, remedy: Text) -> Finding:
    """A fault where the argument is large already, else an advice."""
    danger = largest > OVERFLOW
    return finding(
        "unstable_loss", "fault" if danger else "advice", sure if danger else 0.6, line_of(operation) or place_of(operation), summary,
        {"operation": operation.name, measured: largest, "expected": {measured: f"< {OVERFLOW:g}"}}, remedy, None,
    )  # fmt: skip


def _shares(program: Program, quotient: Operation) -> bool:
    taken = quotient.inputs()
    below = program.flow.ranges.divisor(taken[1]) if len(taken) == 2 else None
    return below is not None and below.name == "sum" and program.flow.ranges.same(below.inputs()[0], taken[0])


# -- loss_reduction_sum ------------------------------------------------------------------------------------------------------------------


@symptom("loss_reduction_sum", reads=Program)
def loss_reduction_sum(program: Program) -> list[Finding]:
    """The loss is a sum over the batch, so that a step of plain gradient descent grows with the batch.

    A fault only where one step along the gradient makes the loss of the very same batch larger, and the step of the mean would not.
    Adam and the like divide the gradient's size out: nothing is said then.
    """
    if not program.traced or program.growth is None or not TWICE[0] <= program.growth <= TWICE[1] or program.optimizer not in FOLLOWS_SIZE:
        return []
    before = program.loss
    entries = max([program.samples, 1, *(program.flow.tensor(one.prediction).numel() for one in program.comparisons)])
    summed, means = _after_a_step(program, 1.0), [_after_a_step(program, 1 / one) for one in (max(program.samples, 1), entries)]
    averaged = min((one for one in means if one is not None), default=None)
    if before is None or summed is None or averaged is None or program.samples < 2:
        return []
    harmful = (not math.isfinite(summed) or summed > before) and averaged < before
    place = place_in_loss(program.comparisons[0]) if program.comparisons else "loss"
    return [
        finding(
            "loss_reduction_sum", "fault" if harmful else "advice", 0.88 if harmful else 0.5, place,
            text(
                "The loss is summed over the {samples} samples of a batch: with the learning rate {rate} one step takes the loss of the "
                "same batch from {before} to {summed}; the mean's step would take it to {averaged}.",
                samples=program.samples, rate=shown(program.rate or 0.0), before=shown(before), summed=shown(summed),
                averaged=shown(averaged),
            ),
            {
                "growth_with_batch": program.growth, "loss_before": before, "loss_after_step": summed, "loss_after_step_of_mean": averaged,
                "expected": {"growth_with_batch": "1", "loss_after_step": f"< {before:.3g}"},
            },
            text('average over the samples (reduction="mean"), or divide the learning rate by the batch size'),
            Change(kind="loss_mean"),
        )
    ]  # fmt: skip


def _after_a_step(program: Program, share: float) -> float | None:
    """The loss of the same batch after one step of gradient descent with this share of the gradient."""
    if program.rate is None or not program.gradients:
        return None
    moved = {
        name: program.trace.tensor(program.trace.parameters[name]) - program.rate * share * gradient
        for name, gradient in program.gradients.items()
    }
    try:
        again = program.trace.replay(parameters=moved)
    except PellucidError:
        return None
    return float(again.tensor(again.loss)) if again.loss is not None else None


# -- shape_broadcast ---------------------------------------------------------------------------------------------------------------------


@symptom("traced_shape_broadcast", reads=Program)
def shape_broadcast(program: Program) -> list[Finding]:
    """(N, 1) against (N,) is spread to (N, N): every output is compared with every target, and the best answer is a constant.

    Pairs that are asked for, with as many dimensions on both sides as in x[:, None] - y[None, :], are no mistake.
    """
    for comparison in program.comparisons:
        output, wanted = program.flow.tensor(comparison.prediction), program.flow.tensor(comparison.target)
        if comparison.by_hand and comparison.kind != "cross_entropy":
            sides = [one for one in comparison.operation.inputs() if program.flow.is_prediction(one)]
            output = program.flow.tensor(sides[0]) if sides else output
        if comparison.kind not in VALUE_LOSSES | BINARY or output.dim() == wanted.dim() or not output.dim() or not wanted.dim():
            continue
        try:
            result = torch.broadcast_shapes(output.shape, wanted.shape)
        except RuntimeError:
            continue
        entries, size = math.prod(result), program.samples
        larger = max(output.numel(), wanted.numel())
        if size < 2 or entries != larger * size or result[-1] != size or output.shape[0] != size or wanted.shape[0] != size:
            continue
        fewer = "targets" if wanted.dim() < output.dim() else "outputs"
        return [
            finding(
                "shape_broadcast", "fault", 0.97, place_in_loss(comparison),
                text(
                    "Outputs of shape {output} and targets of shape {wanted} are spread to {result}: {count} comparisons for "
                    "{samples} samples, whose best answer is a constant.",
                    output=str(tuple(output.shape)), wanted=str(tuple(wanted.shape)), result=str(tuple(result)), count=entries,
                    samples=size,
                ),
                {
                    "output_shape": list(output.shape), "target_shape": list(wanted.shape), "compared_shape": list(result),
                    "expected": {"compared_shape": str(tuple(output.shape))},
                },
                text("give outputs and targets one shape: targets.unsqueeze(1), or outputs.squeeze(1)"),
                Change(kind="reshape_targets" if fewer == "targets" else "reshape_outputs"),
            )
        ]  # fmt: skip
    return []
