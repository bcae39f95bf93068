"""Gradients that fade or grow on their way back through the layers."""

from __future__ import annotations

import math
from statistics import fmean, median

from pellucid.core.language import text
from pellucid.core.records import Finding
from pellucid.diagnosis.dynamic.course import JUDGED_STEPS, Course, course_of, entry, numbers
from pellucid.diagnosis.dynamic.observations import Observations, ParameterSeries
from pellucid.diagnosis.registry import symptom

LAYERS = 3  # matrices that a network must have for "through the layers" to mean something
FADED = 1e-4  # gradient per weight of the first layers over that of the last ones
# Below this it may cost a training all. Accuracy on digits, 64 units a layer, SGD 0.1 / Adam 1e-3: tanhs 8 deep 0.07 (0.39 / 0.89), 12 deep
# 0.01 (0.09 / 0.59), sigmoids 3 deep 0.003 (0.09 / 0.47). Alone it proves nothing: ReLUs 8 deep, as PyTorch starts them, 0.02 (- / 0.93).
FADING = 0.01
STILL = 1e-4  # update over weight of the first layers, a tenth of what is customary,
OUTRUN = 30.0  # where the last one's is so many times as much
LOST = 1e-3  # of the outputs' size, by which samples make them differ at first
LITTLE, MUCH = 0.1, 0.5  # of the loss: learnt so little, it may be for want of a gradient; learnt so much, it was in nobody's way
GROWN = 1e2  # gradient per activation of the first layer over that of the last, at the first step
UNKNOWING = 10.0  # first cross-entropy over ln K,
FEW_TARGETS = 8
LARGER = 10.0  # where activations or gradients have grown through the layers: with usual initial weights outputs are below inputs
SMALL = 1e-2  # of the largest loss there was, or of that of a constant answer
SENSITIVE = 1e3  # relative change of the loss per relative change of one layer's weights


def matrices(seen: Observations) -> list[ParameterSeries]:
    """The weights of layers that are trained, in the model's order: no biases, no factors of normalisations, no embeddings.

    Where optimizers are known, what belongs to none is left out: its gradient is not cleared, and adds up from step to step.
    """
    embeddings = {layer.path for layer in seen.layers if layer.kind.startswith("Embedding")}
    held = any(weight.owners for weight in seen.weights)
    return [
        weight for weight in seen.weights
        if weight.trainable and len(weight.shape) >= 2 and weight.layer not in embeddings and numbers(weight.gradient)
        and (weight.owners or not held)
    ]  # fmt: skip


def backward_ratio(seen: Observations) -> float | None:
    """The gradient per weight in the first layers over that in the last: the median over the looks, the very first left out.

    A last layer that starts at zero passes nothing back in the first step, therefore without it. Of the first fourth of all layers the
    largest counts: what fades on its way back is small in all of them, and the queries and keys of attention, whose softmax begins almost
    even, get little wherever they stand.
    """
    layers = matrices(seen)
    if len(layers) < LAYERS:
        return None
    ratios = ratios_by_look(seen)[1:]
    return median(ratios) if ratios else None


def ratios_by_look(seen: Observations) -> list[float]:
    """That ratio, look by look."""
    last, ratios = matrices(seen)[-1], list[float]()
    for place in range(len(seen.looks)):
        per_weight = [
            value / math.sqrt(layer.elements) for layer in first_layers(seen) if (value := entry(layer.gradient, place)) is not None
        ]
        below = entry(last.gradient, place)
        if per_weight and below:
            ratios.append(max(per_weight) / (below / math.sqrt(last.elements)))
    return ratios


def first_layers(seen: Observations) -> list[ParameterSeries]:
    """The first fourth of the layers, at least one."""
    layers = matrices(seen)
    return layers[: max(1, len(layers) // 4)]


def sensitivity(seen: Observations, looks: int = 3) -> tuple[float, str | None]:
    """The largest |g| |w| / L of a layer, median over the first looks: by what share the loss changes per share of these weights; whose.

    Of a loss L close to 0 everything is a large share, as when a trained network is trained further: such looks say nothing.
    """
    found: list[tuple[float, str]] = []
    course = course_of(seen)
    usual = 0.0 if course is None else max(course.highest, course.trivial or 0.0)
    for place, look in enumerate(seen.looks[:looks]):
        if look.loss is None or look.loss <= SMALL * usual:
            continue
        products = [
            (gradient * size / look.loss, weight.name)
            for weight in matrices(seen)
            if (gradient := entry(weight.gradient, place)) is not None and (size := entry(weight.weight, place)) is not None
        ]
        found += [max(products)] if products else []
    return sorted(found)[len(found) // 2] if found else (0.0, None)


@symptom("vanishing_gradient", reads=Observations)
def vanishing_gradient(seen: Observations) -> list[Finding]:
    """The gradient per weight of the first layer is a tiny part of the last one's.

    A fault where the network does not learn; where the loss falls all the same (an adaptive optimizer makes up for it), an advice. A part
    that is small and not tiny is told where it has a consequence: the first layers stand still while the last one moves, or what tells
    samples apart has faded as well on its way to the output. Gradients that are tiny everywhere, as after the loss has become 0, are no
    sign of it: the ratio tells.

    Source: X. Glorot and Y. Bengio, Understanding the difficulty of training deep feedforward neural networks, 2010, section 4.2.
    """
    ratio = backward_ratio(seen)
    if ratio is None or ratio > FADING or ratio == 0.0:  # exactly 0: nothing comes back at all, which is another symptom
        return []
    layers, course = matrices(seen), course_of(seen)
    tiny, early = ratio <= FADED, seen.steps < JUDGED_STEPS
    if early and max(ratios_by_look(seen)[:2]) > (FADED if tiny else FADING) and (backward_growth(seen) or 1.0) > FADED:
        return []  # it was there at first, and faded with the first steps: their size is judged when it can be
    learnt = course.learnt if course is not None and course.fell() else 0.0
    if not tiny and (learnt > MUCH or not (first_layers_rest(seen) or signal_fades(seen))):
        return []
    learns = learnt > LITTLE or not (tiny or (course is not None and course.fails))
    return [
        Finding(
            symptom="vanishing_gradient",
            level="advice" if learns else "fault",
            confidence=0.6 if learns else 0.9,
            where=layers[0].name,
            summary=text(
                "The gradient vanishes on its way back through {layers} layers: per weight it is {ratio:.1g} times as large in {first} as "
                "in {last}.",
                layers=len(layers),
                ratio=ratio,
                first=layers[0].name,
                last=layers[-1].name,
            ),
            evidence={"first_over_last": ratio, "layers": len(layers), "expected": {"first_over_last": f"> {FADING:g}"}},
            remedy=text(
                "use ReLU or GELU instead of sigmoid or tanh, initialise for it (torch.nn.init.kaiming_normal_), and add normalisation "
                "layers or residual connections"
            ),
        )
    ]


def first_layers_rest(seen: Observations) -> bool:
    """Whether the first layers' weights hardly change while the last one's do."""
    first = [fmean(known) for layer in first_layers(seen) if (known := numbers(layer.ratio))]
    last = numbers(matrices(seen)[-1].ratio)
    return bool(first and last) and max(first) <= min(STILL, fmean(last) / OUTRUN)


def signal_fades(seen: Observations) -> bool:
    """Whether all samples had almost the same output at the first look, and it was not 0, as of a last layer that starts there."""
    output = seen.layer("")
    return output is not None and bool(output.size(0)) and max(output.spreads()[:1], default=1.0) <= LOST


@symptom("exploding_gradient", reads=Observations)
def exploding_gradient(seen: Observations) -> list[Finding]:
    """The gradient grows on its way back: at the first looks, before the steps could have done it.

    Either the gradient with respect to the first layer's activations is a multiple of that of the last, or the loss changes a thousand
    times as much as a layer's weights, or scores that have grown through the layers make the first cross-entropy a multiple of ln K. A
    loss that is summed over samples, and inputs or targets in units of their own, make the gradient's norm large and none of these ratios.
    Where the network learns, nothing is said: a gradient that is clipped, or normalised by the optimizer, does no harm.

    Source: R. Pascanu, T. Mikolov and Y. Bengio, On the difficulty of training recurrent neural networks, 2013, section 2; the loss of a
    network that knows nothing: A. Karpathy, CS231n notes, Neural networks 3, "Sanity checks".
    """
    course = course_of(seen)
    growth, (change, steepest) = backward_growth(seen) or 0.0, sensitivity(seen)
    several = any(look.backwards > 1 for look in seen.looks[:1])  # a closure's later passes are not at the first weights
    start = course.initial / course.guess if course is not None and course.guess and not several else 0.0
    start = start if max(growth, forward_growth(seen) or 0.0) >= LARGER else 0.0
    if growth < GROWN and change < SENSITIVE and start < UNKNOWING:
        return []
    if course is not None and course.learns and not far_above_guessing(seen, course):
        return []
    layers = matrices(seen)
    norm = next(iter(numbers(seen.gradients.raw_norm or seen.gradients.norm)), math.nan)
    return [
        Finding(
            symptom="exploding_gradient",
            level="fault",
            confidence=0.9,
            where=steepest if growth < GROWN and start < UNKNOWING else layers[0].name if layers else None,
            summary=text(
                "The gradient explodes: it is {growth:.3g} times as large in the first layer as in the last, and its norm at the first "
                "step is {norm:.3g}.",
                growth=growth,
                norm=norm,
            )
            if growth >= GROWN
            else text(
                "The gradient explodes: the loss of the first step is {start:.3g} times that of guessing, so that the outputs are far too "
                "large, and the gradient's norm is {norm:.3g}.",
                start=start,
                norm=norm,
            )
            if start >= UNKNOWING
            else text(
                "The gradient explodes: its norm is {norm:.3g} at the first step, and changing {layer} by 1 % changes the loss by "
                "{change:.3g} %.",
                norm=norm,
                layer=steepest,
                change=change,
            ),
            evidence={
                "gradient_norm": norm,
                "first_over_last": growth,
                "sensitivity": change,
                "loss_over_guessing": start,
                "expected": {
                    "first_over_last": f"< {GROWN:g}",
                    "sensitivity": f"< {SENSITIVE:g}",
                    "loss_over_guessing": f"about 1, < {UNKNOWING:g}",
                },
            },
            remedy=text(
                "initialise with smaller weights (torch.nn.init.kaiming_normal_, or orthogonal for recurrent ones), add normalisation "
                "layers, and clip the gradient: torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)"
            ),
        )
    ]


def far_above_guessing(seen: Observations, course: Course) -> bool:
    """Whether the loss is a multiple of that of an answer without knowledge, from where a fall is not yet learning.

    A few targets are enough for this: the variance of so many values may be wrong by a factor of two, not of ten.
    """
    guess = course.guess or course.trivial
    if guess is None and seen.loss.kind == "mse_loss" and not seen.loss.summed and seen.targets.samples >= FEW_TARGETS:
        guess = (seen.targets.std or 0.0) ** 2
    return bool(guess) and course.now > UNKNOWING * guess


def forward_growth(seen: Observations) -> float | None:
    """At the first look: the root mean square of the model's output over that of the first activations seen, its input as a rule."""
    output, first = seen.layer(""), seen.layers[0] if seen.layers else None
    if output is None or first is None or first is output:
        return None
    start, end = first.size(0), output.size(0)
    return (end or 0.0) / start if start else None


def backward_growth(seen: Observations) -> float | None:
    """At the first look that has it: the gradient per activation of the first layer over that of the last before the output."""
    layers = [layer for layer in seen.layers if layer.path and layer.side == "output" and numbers(layer.gradient)]
    if len(layers) < LAYERS:
        return None
    first, last = layers[0].gradient, layers[-1].gradient
    return next((a / b for a, b in zip(first, last, strict=False) if a is not None and b), None)
