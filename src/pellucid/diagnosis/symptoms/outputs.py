"""The last activation and the loss do not belong together: what the network can say, and what it is asked to say.

All of it follows from the range of values that the output can take whatever the weights (`diagnosis.ranges`), never from a layer's name.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from pellucid.core.language import Text, text
from pellucid.core.records import Change, Finding
from pellucid.core.trace import Operation, Reference
from pellucid.diagnosis.registry import symptom
from pellucid.diagnosis.static.comparisons import HARMLESS, Comparison
from pellucid.diagnosis.static.flow import RESHAPING, argument, place_of, told_place
from pellucid.diagnosis.static.program import Program
from pellucid.diagnosis.static.ranges import Range

OUTSIDE = 0.01  # share of targets beyond what the output can reach, before they are more than outliers
UNREACHABLE = 0.01  # share of the targets' variance that no weights can explain
FLOOR = 0.1  # least loss that the output allows, over the loss of knowing nothing
SPARE = 2.0  # outputs over classes in the data, from which it is worth a word
SQUASHING = frozenset({
    "sigmoid", "tanh", "hardsigmoid", "hardtanh", "softsign", "softmax", "softmin", "relu6", "log_softmax", "log_sigmoid",
})  # fmt: skip
RECTIFYING = frozenset({
    "relu", "relu6", "softplus", "elu", "selu", "celu", "leaky_relu", "gelu", "silu", "mish", "hardswish", "threshold", "prelu",
    "rrelu",
})  # fmt: skip
AVERAGING = RESHAPING | {"pow", "square", "abs", "mean", "sum", "mul", "div", "add", "sqrt"}  # from a difference to the loss
SCALING = HARMLESS | {"mul", "div", "sub", "rsub", "neg", "mean", "sum"}


def last_activation(program: Program, reference: Reference) -> Operation | None:
    """The activation through which the value came last, past reshaping and constant factors; None where a layer comes first."""
    for _, made in program.flow.upward(reference, SCALING):
        if made.name in SQUASHING | RECTIFYING:
            return made
    return None


def cut_at_zero(program: Program, reference: Reference) -> Operation | None:
    """A clamp at 0 of what also goes below, through which the value came last: a ReLU by another name."""
    ranges = program.flow.ranges
    for value, made in program.flow.upward(reference, SCALING):
        if made.name in ("clamp", "clamp_min", "maximum") and ranges[value].low == 0 and ranges[made.inputs()[0]].low < -1e-3:
            return made
    return None


def axis_of(program: Program, operation: Operation) -> int:
    """The axis along which a softmax normalises, counted from 0; PyTorch's own choice where none is given."""
    dimensions = program.flow.tensor(operation.inputs()[0]).dim()
    axis = argument(operation, 1, "dim")
    if axis is None:
        return 0 if dimensions in (0, 1, 3) else 1
    return int(axis) % max(dimensions, 1)


def is_constant(program: Program, operation: Operation) -> bool:
    """A softmax over one entry is 1 whatever goes in."""
    given = program.flow.tensor(operation.inputs()[0])
    return operation.name in ("softmax", "log_softmax", "softmin") and given.dim() > 0 and given.shape[axis_of(program, operation)] == 1


def class_axis(scores: Tensor) -> int:
    return 1 if scores.dim() > 1 else 0


def shown(number: float) -> str:
    return f"{number:.3g}"


def shown_range(found: Range) -> str:
    return f"[{shown(found.low)}, {shown(found.high)}]"


def finding(
    cause: str, level: str, confidence: float, where: str, summary: Text, evidence: dict[str, object], remedy: Text, change: Change | None
) -> Finding:
    """A static finding: its symptom is its cause."""
    return Finding(
        symptom=cause, cause=cause, level=level, confidence=confidence, where=where, summary=summary, evidence=evidence, remedy=remedy,
        change=change, established_by="static",
    )  # fmt: skip


# -- wrong_output_activation -------------------------------------------------------------------------------------------------------------


@symptom("wrong_output_activation", reads=Program)
def wrong_output_activation(program: Program) -> list[Finding]:
    """The output cannot take the values that the loss asks for, whatever the weights."""
    found: list[Finding] = []
    for comparison in program.comparisons:
        one = (
            _constant_output(program, comparison)
            or _values_out_of_reach(program, comparison)
            or _scores_too_narrow(program, comparison)
            or _not_logarithms(program, comparison)
            or _not_exclusive(program, comparison)
            or _too_exclusive(program, comparison)
        )
        if one is not None:
            found.append(one)
    return found[:1]


def _constant_output(program: Program, comparison: Comparison) -> Finding | None:
    activation = last_activation(program, comparison.prediction)
    if activation is None or not is_constant(program, activation):
        return None
    return finding(
        "wrong_output_activation", "fault", 0.98, place_of(activation),
        text(
            "The {activation} at {place} runs over a single entry, so that the output is {value} for every input.",
            activation=activation.name, place=told_place(activation), value="0" if activation.name == "log_softmax" else "1",
        ),
        {"entries": 1, "activation": activation.name, "expected": {"entries": ">= 2"}},
        text("use a sigmoid for one unit (or none, with binary_cross_entropy_with_logits), and none at all for a regression"),
        Change(kind="output_activation", values={"name": "sigmoid", "position": activation.index})
        if program.targets_of(comparison).kind == "binary" and comparison.kind != "binary_cross_entropy_with_logits"
        else Change(kind="drop_output_activation", values={"position": activation.index}),
    )  # fmt: skip


def _values_out_of_reach(program: Program, comparison: Comparison) -> Finding | None:
    """A regression's targets lie where the last activation never gets."""
    reach = program.flow.ranges[comparison.prediction]
    activation = last_activation(program, comparison.prediction)
    if not comparison.values or not reach.reached or activation is None or not (math.isfinite(reach.low) or math.isfinite(reach.high)):
        return None
    wanted = program.wanted(comparison).double()
    wanted = wanted[wanted.isfinite()]
    spread = float(wanted.std(unbiased=False)) if wanted.numel() else 0.0
    nearest = wanted.clamp(reach.low - 1e-3 * spread, reach.high + 1e-3 * spread)
    outside = float((nearest != wanted).double().mean()) if wanted.numel() else 0.0
    lost = float(((wanted - nearest) ** 2).mean()) / max(spread**2, 1e-30)
    if outside < OUTSIDE or lost < 1e-4:
        return None
    low, high = float(wanted.min()), float(wanted.max())
    return finding(
        "wrong_output_activation", "fault" if lost >= UNREACHABLE else "advice", 0.95 if lost >= UNREACHABLE else 0.6, place_of(activation),
        text(
            "The output cannot reach its targets: {activation} at {place} gives values in {reach}, and {share:.0f} % of the targets, "
            "which go from {low} to {high}, lie outside.",
            activation=activation.name, place=told_place(activation), reach=shown_range(reach), share=100 * outside, low=shown(low),
            high=shown(high),
        ),
        {
            "activation": activation.name, "output_low": reach.low, "output_high": reach.high, "target_low": low, "target_high": high,
            "targets_outside": outside, "unreachable_variance": lost, "expected": {"targets_outside": "0"},
        },
        text("leave the last activation out, or scale the targets into {reach}", reach=shown_range(reach)),
        Change(kind="drop_output_activation", values={"position": activation.index}),
    )  # fmt: skip


def _scores_too_narrow(program: Program, comparison: Comparison) -> Finding | None:
    """Scores that are squashed before the loss applies its own softmax or sigmoid: it can never become sure."""
    reach = program.flow.ranges[comparison.prediction]
    activation = last_activation(program, comparison.prediction) or cut_at_zero(program, comparison.prediction)
    if activation is None or not reach.reached or activation.name in ("softmax", "softmin", "log_softmax"):
        return None
    if comparison.kind == "cross_entropy":
        scores = program.flow.tensor(comparison.prediction)
        classes = scores.shape[class_axis(scores)] if scores.dim() else 1
        if classes < 2:
            return None
        least = math.log1p((classes - 1) * math.exp(-reach.width)) if math.isfinite(reach.width) else 0.0
        unknowing = math.log(classes)
        rectified = activation.name in ("relu", "relu6", "clamp", "clamp_min", "maximum") and reach.low == 0
        own = "softmax"
    elif comparison.kind == "binary_cross_entropy_with_logits":
        least = least_binary(program.wanted(comparison), reach)
        unknowing, rectified, own = math.log(2), False, "sigmoid"
    else:
        return None
    evidence = {
        "activation": activation.name, "score_low": reach.low, "score_high": reach.high, "least_loss": least,
        "loss_of_knowing_nothing": unknowing,
        "expected": {"least_loss": "0"},
    }  # fmt: skip
    remedy = text("leave {activation} out: the loss applies its own {own} to raw scores", activation=activation.name, own=own)
    if least >= FLOOR * unknowing:
        return finding(
            "wrong_output_activation", "fault", 0.93, place_of(activation),
            text(
                "The loss applies its own {own}, but the scores went through {activation} at {place} before and lie in {reach}: the loss "
                "cannot fall below {least}, and knowing nothing costs {unknowing}.",
                own=own, activation=activation.name, place=told_place(activation), reach=shown_range(reach), least=shown(least),
                unknowing=shown(unknowing),
            ),
            evidence, remedy, Change(kind="drop_output_activation", values={"position": activation.index}),
        )  # fmt: skip
    if rectified:
        return finding(
            "wrong_output_activation", "fault", 0.8, place_of(activation),
            text(
                "The scores of the classes go through {activation} at {place}: a class whose score is below 0 gets no gradient and can die "
                "for good.",
                activation=activation.name, place=told_place(activation),
            ),
            evidence, remedy, Change(kind="drop_output_activation", values={"position": activation.index}),
        )  # fmt: skip
    return None


def least_binary(wanted: Tensor, reach: Range) -> float:
    """What binary cross-entropy costs at least, beyond the targets' own entropy, when the scores stay in `reach`."""
    wanted = wanted.double().clamp(0, 1)
    best = torch.logit(wanted, eps=1e-9).clamp(reach.low, reach.high)
    loss = torch.nn.functional.binary_cross_entropy_with_logits(best, wanted)
    return float(loss - (torch.special.entr(wanted) + torch.special.entr(1 - wanted)).mean())


def _not_logarithms(program: Program, comparison: Comparison) -> Finding | None:
    """Probabilities go where log-probabilities belong."""
    if comparison.kind not in ("nll_loss", "kl_div"):
        return None
    reach = program.flow.ranges[comparison.prediction]
    activation = last_activation(program, comparison.prediction)
    if activation is None or reach.low < 0 or reach.high > 1 + 1e-6:
        return None
    return finding(
        "wrong_output_activation", "fault", 0.95, place_of(activation),
        text(
            "{loss} expects log-probabilities, which are at most 0, and gets probabilities in {reach} from {activation} at {place}.",
            loss=comparison.kind, reach=shown_range(reach), activation=activation.name, place=told_place(activation),
        ),
        {"activation": activation.name, "output_low": reach.low, "output_high": reach.high, "expected": {"output_high": "0"}},
        text("use log_softmax in place of {activation}, or cross_entropy on the raw scores", activation=activation.name),
        Change(kind="output_activation", values={"name": "log", "position": activation.index}),
    )  # fmt: skip


def _not_exclusive(program: Program, comparison: Comparison) -> Finding | None:
    """The likelihood of the right class alone is raised, and nothing makes the classes share: every class may become 1."""
    if comparison.kind != "nll_loss":
        return None
    activation = last_activation(program, comparison.prediction)
    if activation is None and comparison.logarithm is not None:
        activation = last_activation(program, comparison.logarithm.inputs()[0])
    reach = program.flow.ranges[comparison.prediction]
    if activation is None or activation.name not in ("sigmoid", "log_sigmoid", "hardsigmoid") or reach.high > 1e-3:
        return None
    return finding(
        "wrong_output_activation", "fault", 0.9, place_of(activation),
        text(
            "{activation} at {place} gives every class a probability of its own, and the loss only asks that the right class's be high: "
            "giving 1 to all classes is its best answer.",
            activation=activation.name, place=told_place(activation),
        ),
        {"activation": activation.name, "expected": {"activation": "log_softmax"}},
        text("use cross_entropy on the raw scores"),
        Change(kind="drop_output_activation", values={"position": activation.index}),
    )  # fmt: skip


def _too_exclusive(program: Program, comparison: Comparison) -> Finding | None:
    """A softmax for labels of which several may hold at once, or for values that do not share anything."""
    if comparison.kind not in ("binary_cross_entropy", "binary_cross_entropy_with_logits") and not comparison.values:
        return None
    activation = last_activation(program, comparison.prediction)
    output, wanted = program.flow.tensor(comparison.prediction), program.wanted(comparison).double()
    if activation is None or activation.name != "softmax" or output.dim() != 2 or wanted.dim() != 2 or output.shape[1] < 2:
        return None
    sums = output.double().sum(1)
    if float((sums - 1).abs().max()) > 1e-3 or wanted.shape[1] != output.shape[1]:
        return None
    off = float(((wanted.sum(1) - 1).abs() > 0.05).double().mean())
    if off < 0.1:
        return None
    return finding(
        "wrong_output_activation", "fault", 0.93, place_of(activation),
        text(
            "The softmax at {place} shares a total of 1 among the {count} outputs, and the targets of {share:.0f} % of the samples sum to "
            "something else.",
            place=told_place(activation), count=output.shape[1], share=100 * off,
        ),
        {"activation": "softmax", "targets_with_other_sum": off, "expected": {"targets_with_other_sum": "0"}},
        text("use a sigmoid for each output where several labels may hold at once; none for a regression"),
        Change(kind="output_activation", values={"name": "sigmoid", "position": activation.index}),
    )  # fmt: skip


# -- missing_output_activation -----------------------------------------------------------------------------------------------------------


@symptom("missing_output_activation", reads=Program)
def missing_output_activation(program: Program) -> list[Finding]:
    """Raw scores, which learning can bring anywhere, go into a loss or a logarithm that expects probabilities."""
    for comparison in program.comparisons:
        one = _raw_scores(program, comparison)
        if one is not None:
            return [one]
    return []


def _raw_scores(program: Program, comparison: Comparison) -> Finding | None:
    ranges = program.flow.ranges
    if comparison.logarithm is not None:
        raw = comparison.logarithm.inputs()[0]
        expected, name, low, high = "(0, 1]", "sigmoid" if comparison.kind == "binary_cross_entropy" else "softmax", 0.0, math.inf
    elif comparison.kind in ("nll_loss", "kl_div"):
        raw, expected, name, low, high = comparison.prediction, "[-inf, 0]", "log_softmax", -math.inf, 1.0
    elif comparison.kind == "binary_cross_entropy":
        raw, expected, name, low, high = comparison.prediction, "[0, 1]", "sigmoid", 0.0, 1.0
    elif comparison.kind == "poisson_nll_loss" and argument(comparison.operation, 2, "log_input", True) is False:
        raw, expected, name, low, high = comparison.prediction, "[0, inf]", "softplus", 0.0, math.inf
    else:
        return None
    cut = _cut_off(program, raw) if comparison.logarithm is not None else None
    reach = ranges[raw if cut is None else cut]
    if not reach.reached or (reach.low >= low - 1e-3 and reach.high <= high + 1e-3):
        return None
    layer = program.layers[-1].name if program.layers else place_of(comparison.operation)
    return finding(
        "missing_output_activation", "fault", 0.95, layer,
        text(
            "{loss} expects values in {expected}, and gets raw scores of layer {layer}, which can become anything in {reach}.",
            loss=comparison.operation.name if comparison.logarithm is None else comparison.logarithm.name, expected=expected,
            layer=layer, reach=shown_range(reach),
        ),
        {"output_low": reach.low, "output_high": reach.high, "loss": comparison.kind, "expected": {"output": expected}},
        text("apply {activation} before it, or use the loss that takes raw scores", activation=name),
        Change(kind="output_activation", values={"name": name}),
    )  # fmt: skip


def _cut_off(program: Program, raw: Reference) -> Reference | None:
    """What goes into a clamp at 0 or above, where that is no guard: the result of one activation or layer that also goes below 0.

    What is cut off gets no slope. Left out is what several values are combined into: the difference of two cumulative probabilities could
    be negative by its range alone, and never is.
    """
    for _, made in program.flow.upward(raw, HARMLESS | {"rsub", "sub"}):
        if made.name not in ("clamp", "clamp_min"):
            continue
        before = made.inputs()[0]
        *_, (_, source) = program.flow.upward(before, SCALING)
        plain = source.name in SQUASHING | RECTIFYING or any(layer.operation is source for layer in program.layers)
        if plain and program.flow.ranges[made.results()[0]].low >= 0 and program.flow.ranges[before].low < -1e-3:
            return before
    return None


# -- wrong_output_units ------------------------------------------------------------------------------------------------------------------


@symptom("wrong_output_units", reads=Program)
def wrong_output_units(program: Program) -> list[Finding]:
    """As many outputs as there are classes or target values; not fewer, not one for all."""
    for found in _wrong_units(program):
        return [found]
    return []


def _wrong_units(program: Program) -> Iterator[Finding]:
    for comparison in program.comparisons:
        if comparison.kind in ("cross_entropy", "nll_loss", "multi_margin_loss"):
            yield from _class_units(program, comparison)
        elif comparison.values:
            yield from _value_units(program, comparison)


def _class_units(program: Program, comparison: Comparison) -> Iterator[Finding]:
    flow, wanted = program.flow, program.wanted(comparison)
    scores = flow.tensor(comparison.prediction)
    if comparison.kind == "nll_loss" and comparison.by_hand:
        return
    if scores.dim() and class_axis(scores) in program.batch_axes.get(comparison.prediction.value, ()):
        return  # each sample is compared with all others: a contrastive loss
    units = scores.shape[class_axis(scores)] if scores.dim() else 1
    where = program.layers[-1].name if program.layers else place_of(comparison.operation)
    classes = 0
    if not wanted.is_floating_point():
        ignored = argument(comparison.operation, 4, "ignore_index", -100) if not comparison.by_hand else -100
        kept = wanted[wanted != ignored]
        classes = int(kept.max()) + 1 if kept.numel() else 0
        present = len(torch.unique(kept))
    else:
        classes = present = units
    values = wanted.is_floating_point() and bool(((wanted < 0) | (wanted > 1)).any())
    answerable = wanted.is_floating_point() or bool(((wanted == 0) | (wanted == 1)).all())
    evidence = {"outputs": units, "classes": classes, "expected": {"outputs": str(max(classes, 2))}}
    if units == 1:
        yield finding(
            "wrong_output_units", "fault", 0.97, where,
            text(
                "The last layer, {layer}, has one output, and {loss} needs one per class: the softmax of a single score is always 1, so "
                "that nothing is learnt.",
                layer=where, loss=comparison.operation.name,
            ),
            evidence,
            text("use {name}", name="mse_loss")
            if values else text("give it 2 outputs, or keep one and use binary_cross_entropy_with_logits with targets of 0 and 1"),
            Change(kind="loss", values={"name": "mse" if values else "bce_with_logits"}) if answerable else None,
        )  # fmt: skip
    elif classes > units:
        yield finding(
            "wrong_output_units", "fault", 0.97, where,
            text(
                "The last layer, {layer}, has {units} outputs, and the targets hold classes up to {highest}.",
                layer=where, units=units, highest=classes - 1
            ),
            evidence, text("give it {classes} outputs", classes=classes), None,
        )  # fmt: skip
    elif present >= 2 and units >= SPARE * classes and units - classes >= 5 and not program.targets.shape and program.targets.samples >= 50:
        yield finding(
            "wrong_output_units", "advice", 0.6, where,
            text(
                "The last layer, {layer}, has {units} outputs, and only {classes} classes occur in the targets.",
                layer=where, units=units, classes=classes
            ),
            evidence, text("give it {classes} outputs, unless the others occur later", classes=classes), None,
        )  # fmt: skip


def _value_units(program: Program, comparison: Comparison) -> Iterator[Finding]:
    """One output against several targets, or several against one: PyTorch spreads the smaller one over the larger."""
    output, wanted = program.flow.tensor(comparison.prediction), program.flow.tensor(comparison.target)
    if output.dim() != 2 or wanted.dim() != 2 or output.shape[0] != wanted.shape[0] or output.shape == wanted.shape:
        return
    if comparison.by_hand and not _only_averaged(program, comparison.operation):
        return  # the densities of a mixture, quantiles, the nearest of several: each output has a part of its own
    where = program.layers[-1].name if program.layers else place_of(comparison.operation)
    if output.shape[1] == 1 or wanted.shape[1] == 1:
        yield finding(
            "wrong_output_units", "fault", 0.9, where,
            text(
                "The last layer, {layer}, gives {outputs} values per sample, and the targets have {targets}: the loss compares each with "
                "all.",
                layer=where, outputs=output.shape[1], targets=wanted.shape[1],
            ),
            {"outputs": output.shape[1], "targets": wanted.shape[1], "expected": {"outputs": str(wanted.shape[1])}},
            text("give it {targets} outputs", targets=wanted.shape[1]), None,
        )  # fmt: skip


def _only_averaged(program: Program, difference: Operation) -> bool:
    """Whether the squares or sizes of these differences go into the loss as they are, all alike."""
    flow, waiting = program.flow, list(difference.results())
    for _ in range(64):
        if not waiting:
            return True
        one = waiting.pop()
        for user in flow.users.get(one.value, ()):
            others = [taken for taken in user.inputs() if taken != one and flow.is_prediction(taken)]
            if user.name not in AVERAGING or (others and user.name in ("mul", "div")):
                return False
            waiting += user.results()
    return False
