"""Weights that training does not reach: no optimizer has them, no gradient gets to them, or two updates move them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise

from pellucid.core.language import Text, text
from pellucid.core.records import Finding
from pellucid.diagnosis.dynamic.course import middle, numbers
from pellucid.diagnosis.dynamic.observations import Observations, ParameterSeries
from pellucid.diagnosis.registry import symptom
from pellucid.diagnosis.symptoms.step_size import SMALL_STEP

LEAST_STEPS = 10  # updates before weights that have not changed are called frozen: a warm-up may begin at 0
LEAST_LOOKS = 3
PATIENCE = 100  # steps of other optimizers before one that makes none is missed: critics are trained some five times as often (WGAN)
ROUNDING = 1e-6  # of the largest gradient per entry: below it a gradient is 0 up to rounding, as of a bias before a normalisation
NAMED = 6  # weights named in a sentence


@symptom("unowned_parameters", reads=Observations)
def unowned_parameters(seen: Observations) -> list[Finding]:
    """Trainable weights that no optimizer has, although gradients reach them.

    Said as soon as an optimizer has made steps: those that exist and wait for their turn are known. A part frozen with
    requires_grad=False is left alone by intent and not named.
    """
    stepping = [facts for facts in seen.optimizers if facts.steps > 0]
    if seen.steps < 2:  # only then have those that wait been looked for
        return []
    forgotten = [weight.name for weight in seen.weights if weight.name in seen.unowned and weight.changed is not True and _reached(weight)]
    if not forgotten or not any(facts.owned for facts in stepping):
        return []
    elements = sum(weight.elements for weight in seen.weights if weight.name in forgotten)
    return [
        Finding(
            symptom="unowned_parameters",
            level="fault",
            confidence=0.9,
            where=common_place(forgotten),
            summary=text(
                "No optimizer has {count} trainable weight tensors ({elements} numbers): {names}. They get gradients and never change.",
                count=len(forgotten),
                elements=elements,
                names=forgotten[:NAMED],
            ),
            evidence={"parameters": forgotten, "elements": elements, "expected": {"parameters": "[]"}},
            remedy=text(
                "give them to the optimizer (model.parameters() has all); where they are frozen on purpose, requires_grad_(False) says so "
                "and saves their gradients"
            ),
        )
    ]


def _reached(weight: ParameterSeries) -> bool:
    """Whether a gradient other than 0 got to this weight."""
    return weight.trainable and any(value > 0 for value in numbers(weight.gradient))


@symptom("repeated_parameters", reads=Observations)
def repeated_parameters(seen: Observations) -> list[Finding]:
    """Weights that one optimizer has twice, or two optimizers have: every update moves them twice.

    Two optimizers may share weights by intent, one for each of two losses, and then take turns: an advice. One that begins when the other
    has ended, as LBFGS after Adam, shares nothing.
    """
    repeated = sorted({name for facts in seen.optimizers for name in facts.repeated})
    times = sorted((facts.began, facts.latest or 0) for facts in seen.optimizers if facts.began is not None)
    at_once = any(begins <= ended for (_, ended), (begins, _) in pairwise(times))
    shared = [weight.name for weight in seen.weights if weight.owners > 1 and weight.name not in repeated] if at_once else []
    names = repeated or shared
    if not names:
        return []
    return [
        Finding(
            symptom="repeated_parameters",
            level="fault" if repeated else "advice",
            confidence=0.95 if repeated else 0.7,
            where=common_place(names),
            summary=text("{count} weight tensors are updated twice in every step: {names}.", count=len(names), names=names[:NAMED])
            if repeated
            else text("Two optimizers have the same {count} weight tensors: {names}.", count=len(names), names=names[:NAMED]),
            evidence={"parameters": names, "expected": {"owners": "1"}},
            remedy=text("give each parameter to one group of one optimizer"),
        )
    ]


@symptom("frozen_weights", reads=Observations)
def frozen_weights(seen: Observations) -> list[Finding]:
    """Weights with requires_grad=True that an optimizer has and that have not changed, told apart by why."""
    if seen.gradients.unused:
        return _never_updated(seen)
    if seen.steps < LEAST_STEPS or len(seen.looks) < LEAST_LOOKS or not any(facts.steps for facts in seen.optimizers):
        return []
    frozen = [weight for weight in seen.weights if weight.trainable and weight.owners > 0 and weight.changed is False]
    return [*_without_step(seen), *(_frozen_in_optimizer(seen, frozen) if frozen else ())]


def _never_updated(seen: Observations) -> list[Finding]:
    """Backward passes bring gradients to the model, and nothing ever changes it. Long accumulation looks alike at first."""
    facts = seen.gradients
    if facts.unused < (PATIENCE if facts.others_stepped else 2 * PATIENCE):
        return []
    if facts.others_stepped:
        cause = "foreign_optimizer"
        said = text(
            "The model is never updated: {count} backward passes brought gradients to it, and the optimizer that makes steps holds none of "
            "its parameters.",
            count=facts.unused,
        )
        remedy = text("make the optimizer from model.parameters() of this very model, after the last change to it")
    else:
        cause = "no_step"
        said = text(
            "The model is never updated: {count} backward passes brought gradients to it, and no step followed.", count=facts.unused
        )
        remedy = text("call optimizer.step() after loss.backward()")
    return [
        Finding(
            symptom="frozen_weights", cause=cause, level="fault", confidence=0.85, where="optimizer.step()", summary=said,
            evidence={"backward_passes": facts.unused, "steps": 0, "expected": {"steps": "> 0"}}, remedy=remedy,
        )
    ]  # fmt: skip


def _without_step(seen: Observations) -> list[Finding]:
    """Gradients reach them and an optimizer has them, but its step() is never called."""
    weights = [weight for weight in seen.weights if weight.name in seen.waiting and weight.changed is False and _reached(weight)]
    if not weights or seen.steps < PATIENCE:
        return []
    return [_frozen(
        weights, "no_step", "fault", 0.85,
        text("The optimizer that has {names} has made no step in {steps} steps of the others.", names=_names(weights), steps=seen.steps),
        text("call step() of every optimizer, or freeze these weights: requires_grad_(False)"),
    )]  # fmt: skip


def _frozen_in_optimizer(seen: Observations, frozen: Sequence[ParameterSeries]) -> list[Finding]:
    largest = max((middle(weight.gradient) / max(weight.elements, 1) ** 0.5 for weight in seen.weights), default=0.0)
    after_backward = numbers(seen.gradients.raw_norm)
    whole = len(frozen) == sum(weight.trainable and weight.owners > 0 for weight in seen.weights)
    if whole and any(after_backward) and not any(any(numbers(weight.gradient)) for weight in frozen):
        return [_cleared_too_early(frozen)]
    detached = [weight for weight in frozen if not numbers(weight.gradient)]
    zero = _whole_layers(seen, [weight for weight in frozen if numbers(weight.gradient) and not any(numbers(weight.gradient))])
    idle = [
        weight for weight in frozen
        if weight not in detached and weight not in zero and middle(weight.gradient) / max(weight.elements, 1) ** 0.5 > ROUNDING * largest
    ]  # fmt: skip
    return [*_without_gradient(seen, detached), *_with_zero_gradient(seen, zero), *_not_moved(seen, idle)]


def _cleared_too_early(weights: Sequence[ParameterSeries]) -> Finding:
    """Gradients are there after the backward pass, and none, or zeros, when the optimizer makes its step."""
    return _frozen(
        weights, "cleared_too_early", "fault", 0.97,
        text("The gradient is cleared between backward() and step(): every update is made without it."),
        text("call optimizer.zero_grad() before loss.backward(), not after it"),
    )  # fmt: skip


def _without_gradient(seen: Observations, weights: Sequence[ParameterSeries]) -> list[Finding]:
    """The gradient is None: the layer never runs (an advice: other uses may need it), or its result is cut off."""
    ran = {layer.path for layer in seen.layers}
    unused = [weight for weight in weights if weight.layer not in ran]
    cut = [weight for weight in weights if weight.layer in ran]
    found: list[Finding] = []
    if cut:
        found.append(_frozen(
            cut, "detached_branch", "fault", 0.95,
            text("No gradient reaches {names}, although these layers run: what they give is cut off from the loss.", names=_names(cut)),
            text("look for .detach(), .item(), .data, torch.no_grad() or a NumPy call between this layer and the loss"),
        ))  # fmt: skip
    if unused:
        found.append(_frozen(
            unused, "unused", "advice", 0.8,
            text("{names} take no part: these layers do not run in training.", names=_names(unused)),
            text("call these layers in forward(), or remove them"),
        ))  # fmt: skip
    return found


def _whole_layers(seen: Observations, weights: Sequence[ParameterSeries]) -> list[ParameterSeries]:
    """Of these weights, those whose layer has no others that get a gradient.

    A bias alone may get exactly 0 by the nature of the loss: where a difference of means is trained, as by a Wasserstein critic, the last
    bias cancels. A layer through which nothing comes back gets none at all.
    """
    named = {weight.name for weight in weights}
    alive = {weight.layer for weight in seen.weights if weight.trainable and weight.name not in named and any(numbers(weight.gradient))}
    return [weight for weight in weights if weight.layer not in alive]


def _with_zero_gradient(seen: Observations, weights: Sequence[ParameterSeries]) -> list[Finding]:
    if not weights:
        return []
    return [_frozen(
        weights, "zero_gradient", "fault", 0.85,
        text("The gradient of {names} is exactly 0 at all of {looks} looks, so that they never change.", names=_names(weights),
             looks=len(numbers(weights[0].gradient))),
        text("look at the layer behind them: dead or saturated units, a product with 0, or a rounding step such as argmax, sign or round"),
    )]  # fmt: skip


def _not_moved(seen: Observations, weights: Sequence[ParameterSeries]) -> list[Finding]:
    rates = [rate for rates in seen.learning_rates for rate in rates]
    moved = [ratio for weight in seen.weights if weight.changed for ratio in numbers(weight.ratio)]
    if not weights or (moved and any(rates) and max(moved) < SMALL_STEP):
        return []  # all move so little that some do not at all: the rate is too low
    if rates and not any(rates):
        said, remedy = text("The learning rate is 0 in all {steps} steps.", steps=seen.steps), text("set a learning rate above 0")
    else:
        said = text(
            "{names} get gradients and are in the optimizer, but have not changed in {steps} steps.",
            names=_names(weights),
            steps=seen.steps,
        )
        remedy = text(
            "look at their group's learning rate; updates below the precision of the number type are lost: keep such weights in float32"
        )
    return [_frozen(weights, "not_moved", "fault", 0.9, said, remedy)]


def _frozen(weights: Sequence[ParameterSeries], cause: str, level: str, confidence: float, said: Text, remedy: Text) -> Finding:
    return Finding(
        symptom="frozen_weights",
        cause=cause,
        level=level,
        confidence=confidence,
        where=common_place(weight.name for weight in weights),
        summary=said,
        evidence={
            "parameters": [weight.name for weight in weights],
            "elements": sum(weight.elements for weight in weights),
            "gradient_norm": middle(weights[0].gradient) if numbers(weights[0].gradient) else None,
            "expected": {"changed": "True"},
        },
        remedy=remedy,
    )


def _names(weights: Sequence[ParameterSeries]) -> list[str]:
    names = [weight.name for weight in weights]
    return names if len(names) <= NAMED else [*names[: NAMED - 1], f"... ({len(names)})"]


def common_place(names: Iterable[str]) -> str:
    """The path that parameters share: "encoder" of encoder.0.weight and encoder.1.bias; the first name where they share none."""
    parts = [name.split(".") for name in names]
    if len(parts) == 1:
        return ".".join(parts[0])
    shared: list[str] = []
    for column in zip(*parts, strict=False):
        if len(set(column)) > 1:
            break
        shared.append(column[0])
    return ".".join(shared) or ".".join(parts[0])
