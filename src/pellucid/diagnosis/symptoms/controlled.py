"""Causes that short controlled trainings establish: what helped, from several seeds, by more than seeds explain.

Where several changes help, one cause is named: the first in the order of `ORDER` that brings most of what the best of them brings. Data
come before settings, since a step that fits well-scaled inputs hides what is wrong with them, and the user's optimizer before another one.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import partial
from typing import Any

from pellucid.core.language import Text, text
from pellucid.core.records import Change, Finding
from pellucid.diagnosis.controlled.batch_checks import RELATIVE
from pellucid.diagnosis.controlled.suspects import ADAPTIVE
from pellucid.diagnosis.controlled.trials import HEAVY, WORTH, Effect, Trials
from pellucid.diagnosis.dynamic.curves import metric_word, shown
from pellucid.diagnosis.findings import established
from pellucid.diagnosis.registry import symptom

DATA = {"inputs": ("standardised inputs",), "targets": ("standardised targets",)}
RATE = {
    "rate up": tuple(f"learning rate x {10**n:g}" for n in range(1, 6)),
    "rate down": tuple(f"learning rate x {10.0**-n:g}" for n in range(1, 6)),
}
AMOUNT = {"batch": ("batch size",), "longer": ("longer",)}
REGULARISATION = {"decay": ("no weight decay",), "dropout": ("no dropout",)}
OPTIMIZER = {"optimizer": ("Adam",)}
MOST = 0.7  # of what the best change brings
ADVICE = 0.1
LEARNT = 0.5  # of the way from a constant answer to a perfect one, or of a loss: the larger part
NOTHING = 0.05  # of the loss of one batch: as good as not learnt by heart
BY_HEART = 0.9
SAME = 1e-5  # of the answers' size, by which they differ where float32's rounding alone tells samples apart
NARROW = 4  # units of a layer that may be too few to tell 16 samples apart
TOUCHED = 1e-3  # of an output's spread, by which other samples move it in evaluation mode
CUSTOMARY = {"Adam": (2e-4, 2e-2), "AdamW": (2e-4, 2e-2), "RMSprop": (2e-4, 1e-2), "SGD": (3e-3, 0.5)}  # rates in published recipes
OF_CLASSES = frozenset({"cross_entropy", "binary_cross_entropy", "binary_cross_entropy_with_logits"})
SLOW = frozenset({"lr_too_low", "too_few_epochs"})
FADED = 1e-4  # gradient at one end of a sequence over that at the other
LEAST_SAMPLES = 200  # before "no network finds anything" is more than a lack of data


_established = partial(established, by="controlled")


def helping(trials: Trials) -> dict[str, Effect]:
    """The changes that helped, proved over several seeds, material, and to more than a constant answer."""
    arms = {**trials.arms, **({"longer": trials.longer} if trials.longer is not None else {})}
    least = -math.inf if trials.constant is None else trials.constant + 2 * max(trials.noise, trials.standard_error)
    effects = {name: trials.effect(arm) for name, arm in arms.items() if arm.score > least}
    return {name: effect for name, effect in effects.items() if effect.proved and effect.closed >= WORTH}


def chosen(trials: Trials, family: str) -> str | None:
    """The best change of this family, where it names the cause; None where another does, or a remedy of another finding does as well."""
    effects = helping(trials)
    best = max((effect.difference for effect in effects.values()), default=0.0)
    good = {name: effect.difference for name, effect in effects.items() if effect.difference >= MOST * best}
    standing_in = {each: _of_symptoms(trials, good, each) for each in RATE}
    if any(name.startswith("remedy of") and not any(name in names for names in standing_in.values()) for name in good):
        return None
    # a customary rate that seems too low is a sign of too few updates
    rates = {each: (*names, *standing_in[each]) for each, names in RATE.items()}
    settings = {**AMOUNT, **rates} if _customary(trials) else {**rates, **AMOUNT}
    families = {**DATA, **REGULARISATION, **settings, **OPTIMIZER}
    for each, names in families.items():
        present = [name for name in names if name in good]
        if present:
            top = max(good[name] for name in present)
            mildest = next(name for name in present if good[name] >= top - 2 * trials.noise)
            return mildest if each == family else None
    return None


def _of_symptoms(trials: Trials, names: Iterable[str], family: str) -> tuple[str, ...]:
    """Remedies that are another learning rate, of findings that name no cause: dead units are no root where a smaller rate mends them."""
    found: list[str] = []
    for name in names:
        change = trials.arms[name].change if name.startswith("remedy of") else None
        if change is None or change.kind != "learning_rate" or trials.rate is None or "lr_too_" in name:
            continue
        if (change.values["rate"] > trials.rate) == (family == "rate up"):
            found.append(name)
    return tuple(found)


def _customary(trials: Trials) -> bool:
    low, high = CUSTOMARY.get(trials.optimizer, (0.0, 0.0))
    return trials.rate is not None and low <= trials.rate <= high


def _finding(
    trials: Trials, cause: str, name: str, where: str, said: Text, remedy: Text, sure: bool = True, **evidence: Any
) -> list[Finding]:
    arm = trials.longer if name == "longer" else trials.arms[name]
    assert arm is not None
    effect = trials.effect(arm)
    if not effect.material or not (sure or effect.heavy):
        return []  # nobody would act on it
    heavy = effect.heavy and sure
    measured = {
        "metric": trials.metric, "score": trials.reference.score, "score_after": arm.score, "seeds": len(arm.scores),
        "difference": effect.difference, "noise_between_seeds": trials.noise, "steps": trials.steps,
        "also_helps": sorted(set(helping(trials)) - {name}), **evidence,
    }  # fmt: skip
    return _established(
        cause,
        text(
            "{said} In {seeds} trainings of {steps} steps with and without this change, {metric} went from {before} to {after}.",
            said=said, seeds=len(arm.scores), steps=trials.steps, metric=metric_word(trials.metric),
            before=shown(trials.reference.score), after=shown(arm.score),
        ),
        remedy,
        where=where,
        level="fault" if heavy else "advice",
        confidence=0.85 if heavy else 0.6,
        evidence=measured,
        expected={"difference": f"< {2 * trials.noise:.3g}"},
        change=arm.change,
    )  # fmt: skip


@symptom("tried_unnormalised_input", reads=Trials)
def unnormalised_input(trials: Trials) -> list[Finding]:
    """Standardised inputs are learnt from much better."""
    if chosen(trials, "inputs") is None:
        return []
    said = text("The inputs are not on a scale that the network can learn from.")
    return _finding(
        trials,
        "unnormalised_input",
        "standardised inputs",
        "inputs",
        said,
        text("subtract each column's mean and divide by its deviation, both of the training part"),
    )


@symptom("tried_unnormalised_target", reads=Trials)
def unnormalised_target(trials: Trials) -> list[Finding]:
    """Standardised targets are learnt much better."""
    if chosen(trials, "targets") is None:
        return []
    said = text("The targets are not on a scale that the network can learn.")
    return _finding(
        trials,
        "unnormalised_target",
        "standardised targets",
        "targets",
        said,
        text("train on (y - mean) / deviation of the training part, and put predictions back"),
    )


@symptom("tried_lr_too_high", reads=Trials)
def lr_too_high(trials: Trials) -> list[Finding]:
    """A tenth of the learning rate, or less, does better."""
    return _rate(trials, "lr_too_high", "rate down", text("The learning rate is too high."))


@symptom("tried_lr_too_low", reads=Trials)
def lr_too_low(trials: Trials) -> list[Finding]:
    """Ten times the learning rate, or more, does better in the same number of steps."""
    return _rate(trials, "lr_too_low", "rate up", text("The learning rate is too low."))


def _rate(trials: Trials, cause: str, family: str, said: Text) -> list[Finding]:
    name = chosen(trials, family)
    if name is None:
        return []
    change = trials.arms[name].change
    assert change is not None
    # a training that was cut short may get there with more steps: that a larger rate is faster is advice, unless nothing was learnt at all
    sure = family == "rate down" or trials.whole or (trials.learnt or 0.0) < ADVICE
    rate = change.values["rate"]
    return _finding(
        trials,
        cause,
        name,
        "learning_rate",
        said,
        text("learning rate {rate}", rate=f"{rate:g}"),
        sure,
        learning_rate=trials.rate,
        better_rate=rate,
    )


@symptom("wrong_optimizer", reads=Trials)
def wrong_optimizer(trials: Trials) -> list[Finding]:
    """Adam with its default rate does better than the user's optimizer at any rate tried."""
    if chosen(trials, "optimizer") is None:
        return []
    said = text("{optimizer} does not get there at any learning rate that was tried.", optimizer=trials.optimizer)
    return _finding(trials, "wrong_optimizer", "Adam", "optimizer", said, text("Adam with learning rate 0.001"))


@symptom("bad_batch_size", reads=Trials)
def bad_batch_size(trials: Trials) -> list[Finding]:
    """Batches of 32 do better on the same number of samples."""
    if chosen(trials, "batch") is None:
        return []
    said = text("Batches of {size} samples are a bad choice here.", size=trials.batch_size)
    return _finding(trials, "bad_batch_size", "batch size", "batch_size", said, text("batches of 32 samples"), batch_size=trials.batch_size)


@symptom("too_few_epochs", reads=Trials)
def too_few_epochs(trials: Trials) -> list[Finding]:
    """The same training for more epochs does better."""
    if chosen(trials, "longer") is None:
        return []
    said = text("The training ends before the network has learnt what it can.")
    return _finding(
        trials,
        "too_few_epochs",
        "longer",
        "epochs",
        said,
        text("train for {epochs} epochs", epochs=trials.longer.change.values["epochs"] if trials.longer and trials.longer.change else ""),
        sure=trials.constant is not None,  # a loss that nothing is known of always falls further
    )


@symptom("over_regularised", reads=Trials)
def over_regularised(trials: Trials) -> list[Finding]:
    """Without weight decay or dropout the network does better."""
    if chosen(trials, "decay") is not None:
        said = text("Weight decay holds the weights so small that the network cannot learn.")
        remedy = text("a hundredth of the weight decay, or none")
        return _finding(trials, "over_regularised", "no weight decay", "weight_decay", said, remedy)
    if chosen(trials, "dropout") is not None:
        said = text("Dropout takes away more than the network can spare.")
        return _finding(trials, "over_regularised", "no dropout", "dropout", said, text("a smaller dropout probability, or none"))
    return []


@symptom("tried_uninformative_input", reads=Trials)
def uninformative_input(trials: Trials) -> list[Finding]:
    """Neither the user's network nor a plain one does better than with inputs that belong to other samples."""
    network, independent = trials.network, trials.network_independent
    known = independent is not None or "uninformative_input" in trials.suspected  # a probe that finds nothing is a second witness
    if network is None or not known or trials.constant is None or trials.samples < LEAST_SAMPLES or helping(trials):
        return []
    blind = max((arm.score for arm in (independent, trials.independent) if arm is not None), default=trials.constant)
    chance = max(2 * trials.noise, trials.standard_error)
    # what is learnt is learnt, whatever the noise between seeds of a training that breaks down
    least = min(max(blind, trials.constant) + 2 * chance, trials.constant + ADVICE * (1 - trials.constant))
    if max(network.score, trials.reference.score) > least:
        return []
    return _established(
        "uninformative_input",
        text(
            "Inputs and targets have nothing to do with each other, as far as two networks can tell: {metric} is {score} with yours, "
            "{plain} with a plain network, and {blind} when inputs are exchanged among the samples. Either the inputs do not hold what "
            "decides the target, or inputs and targets are not in the same order.",
            metric=metric_word(trials.metric), score=shown(trials.reference.score), plain=shown(network.score), blind=shown(blind),
        ),
        text("follow one sample from its source to the network, and see that its target is its own"),
        where="inputs",
        confidence=0.7,
        evidence={
            "metric": trials.metric, "score": trials.reference.score, "plain_network": network.score, "inputs_exchanged": blind,
            "constant": trials.constant,
        },
        expected={"score": f"> {least:.3f}"},
    )  # fmt: skip


@symptom("tried_wrong_loss", reads=Trials)
def wrong_loss(trials: Trials) -> list[Finding]:
    """The loss falls to a small part of what it was, the answers on the training part stay at chance, and a plain network learns them."""
    network, mine = trials.network, trials.reference
    if network is None or trials.constant is None or trials.metric != "accuracy" or helping(trials) or not _minimised(trials):
        return []
    if trials.compares & OF_CLASSES:
        return []  # it is the loss for classes, of the right targets: what falls is the first answers' size
    least = trials.constant + ADVICE * (1 - trials.constant)
    if mine.train_score > least or network.train_score < trials.constant + LEARNT * (1 - trials.constant):
        return []
    return _established(
        "wrong_loss",
        text(
            "The loss does not ask for the right answer: it fell from {first} to {last}, and accuracy on the same samples is {mine}, "
            "no better than a constant answer ({constant}); a plain network with the cross-entropy gets {others}.",
            first=shown(trials.first_loss), last=shown(mine.loss), mine=shown(mine.train_score), constant=shown(trials.constant),
            others=shown(network.train_score),
        ),
        text("see what the loss compares: for classes, one score for each class and the class's number, with cross_entropy"),
        where="loss",
        change=Change(kind="loss", values={"name": "cross_entropy"}) if trials.classes else None,
        confidence=0.75,
        evidence={
            "first_loss": trials.first_loss, "loss": mine.loss, "train_score": mine.train_score, "constant": trials.constant,
            "plain_train_score": network.train_score,
        },
        expected={"train_score": f"> {least:.3f}"},
    )  # fmt: skip


def _settings_tried(trials: Trials) -> bool:
    rates = trials.rate is None or {"learning rate x 10", "learning rate x 0.1"} <= set(trials.arms)
    return rates and (trials.optimizer in ADAPTIVE or "Adam" in trials.arms)


def _minimised(trials: Trials) -> bool:
    """Whether the loss went, for the larger part: then the network can do what the loss asks for."""
    return 0 <= trials.reference.loss < (1 - LEARNT) * trials.first_loss


@symptom("capacity", reads=Trials)
def capacity(trials: Trials) -> list[Finding]:
    """A plain network does far better on the training part too, whatever setting is tried, and the gradient is right: it is too small."""
    network, mine, batch = trials.network, trials.best, trials.batch
    if network is None or trials.constant is None or not trials.outdone or batch.wrong_gradient:
        return []
    path, width = trials.narrowest
    small = trials.linear or 0 < width < NARROW
    # beside a waist that is to see, what helps does not help enough: the plain network outdoes it too
    tried = trials.whole and trials.longer is not None and _settings_tried(trials) and (small or not helping(trials))
    if not tried and not (small and trials.rested and _customary(trials)):
        return []  # a training that came to rest at a usual rate tells as much of a network that is small to see
    if trials.metric == "accuracy" and _minimised(trials) and mine.train_score < trials.constant + ADVICE * (1 - trials.constant):
        return []  # it does what its loss asks for
    if batch.by_heart is not None and batch.by_heart < NOTHING and not 0 < width < NARROW:
        return []  # not too small: broken
    if not small and batch.faded is not None and batch.faded < FADED:
        return []
    others = network
    said = text(
        "The network is too small, or its form does not fit these data: on the training part it gets {metric} {mine}, a plain network of "
        "two layers of 128 units gets {others}.",
        metric=metric_word(trials.metric), mine=shown(mine.train_score), others=shown(others.train_score),
    )  # fmt: skip
    return _established(
        "capacity",
        text("{said} Its narrowest hidden layer, {path}, has {width} units.", said=said, path=path, width=width) if path else said,
        text("more units in the narrowest layer, or more layers"),
        where=path or "model",
        confidence=0.7,
        evidence={
            "metric": trials.metric, "narrowest": width, "train_score": mine.train_score, "plain_train_score": others.train_score,
            "score": mine.score, "plain_score": others.score,
        },
        expected={"train_score": f"> {2 * others.train_score - 1:.3f}"},
    )  # fmt: skip


@symptom("tried_vanishing_gradient", reads=Trials)
def vanishing_gradient(trials: Trials) -> list[Finding]:
    """The gradient fades through time, and a plain network on the same sequences learns what the user's does not.

    Source: R. Pascanu, T. Mikolov and Y. Bengio, On the difficulty of training recurrent neural networks, 2013, section 2.
    """
    faded, network = trials.batch.faded, trials.network
    if faded is None or faded >= FADED or network is None or not trials.outdone or (trials.learnt or 0.0) >= LEARNT or helping(trials):
        return []
    if mixed_samples(trials.batch.dependence) or not _settings_tried(trials) or SLOW & set(trials.suspected):
        return []  # samples that are taken for steps, or updates too small to learn anything
    return _established(
        "vanishing_gradient",
        text(
            "The gradient vanishes through time: at one end of the sequences it is {faded} times as large as at the other, and a plain "
            "network that sees all of a sequence at once gets {metric} {others} on the training part, yours {mine}.",
            faded=shown(faded), metric=metric_word(trials.metric), others=shown(network.train_score), mine=shown(trials.best.train_score),
        ),
        text("use an LSTM or GRU with a forget bias of 1 or more, orthogonal recurrent weights, shorter sequences, or attention"),
        where="model",
        confidence=0.85,
        evidence={"first_over_last": faded, "train_score": trials.best.train_score, "plain_train_score": network.train_score},
        expected={"first_over_last": f"> {FADED:g}"},
    )  # fmt: skip


@symptom("not_learnt_by_heart", reads=Trials)
def not_learnt_by_heart(trials: Trials) -> list[Finding]:
    """Sixteen samples cannot be learnt by heart, with the user's optimizer or with Adam, and they all get one and the same answer."""
    batch = trials.batch
    if batch.first_loss is None or batch.last_loss is None or batch.adam_loss is None or batch.constant_loss is None:
        return []
    if batch.apart is None or batch.apart > SAME:
        return []  # hard to learn, as by few saturated units
    start = min(batch.first_loss, batch.constant_loss)
    best = min(batch.last_loss, batch.adam_loss)
    if helping(trials) or start <= 0 or best < (1 - NOTHING) * start or (trials.learnt or 0.0) > ADVICE or 0 < trials.narrowest[1] < NARROW:
        return []
    return _established(
        "not_learnt_by_heart",
        text(
            "The network cannot learn 16 samples by heart: after 200 updates on nothing else the loss went from {first} to {last}, and "
            "with inputs that are all the same to {constant}. What tells the samples apart does not reach the output.",
            first=shown(batch.first_loss), last=shown(best), constant=shown(batch.constant_loss),
        ),
        text("follow one sample from layer to layer to where samples become equal"),
        symptom_only=True,
        where="model",
        confidence=0.9,
        evidence={
            "first_loss": batch.first_loss, "last_loss": batch.last_loss, "adam_loss": batch.adam_loss,
            "constant_loss": batch.constant_loss,
        },
        expected={"last_loss": f"< {0.1 * start:.3g}"},
    )  # fmt: skip


@symptom("leaky_batch", reads=Trials)
def leaky_batch(trials: Trials) -> list[Finding]:
    """A sample's output changes when the other samples of its batch do, in evaluation mode."""
    return mixed_samples(trials.batch.dependence)


def mixed_samples(dependence: float | None) -> list[Finding]:
    """The finding that samples influence each other, by how much an output changes, over the outputs' spread."""
    if dependence is None or not TOUCHED <= dependence < math.inf:  # NaN tells nothing
        return []
    summary = text(
        "Samples of one batch influence each other: when the others change, the output of the first changes by {share} of the "
        "outputs' spread, in evaluation mode.",
        share=shown(dependence),
    )
    remedy = text("look for a softmax, mean or attention over dimension 0, a view() that mixes samples, or batch_first missing")
    return _in_evaluation("leaky_batch", summary, remedy, 0.85, "dependence", dependence)


@symptom("tried_wrong_mode", reads=Trials)
def wrong_mode(trials: Trials) -> list[Finding]:
    """A classifier answers at random in evaluation mode: dropout that is never switched off, of whatever form."""
    drawn = trials.batch.drawn
    if drawn is None or not TOUCHED <= drawn < math.inf or trials.metric != "accuracy":
        return []
    summary = text(
        "In evaluation mode the same inputs get another output each time: from one pass to the next outputs change by {share} of "
        "their spread.",
        share=shown(drawn),
    )
    remedy = text("draw random numbers only while self.training is true; give F.dropout training=self.training")
    return _in_evaluation("wrong_mode", summary, remedy, 0.8, "changed", drawn, trials.suspected.get("wrong_mode"))


def _in_evaluation(
    cause: str, summary: Text, remedy: Text, sure: float, measured: str, value: float, where: str | None = None
) -> list[Finding]:
    """A change of outputs in evaluation mode that must not be."""
    expected = {measured: f"< {TOUCHED}"}
    return _established(cause, summary, remedy, where=where or "model", confidence=sure, evidence={measured: value}, expected=expected)


@symptom("wrong_gradient", reads=Trials)
def wrong_gradient(trials: Trials) -> list[Finding]:
    """The gradient is not the slope of the loss."""
    batch = trials.batch
    if not batch.wrong_gradient:
        return []
    mended = {name: arm for name, arm in trials.arms.items() if name.startswith("remedy of wrong_gradient")}
    best = max(mended.values(), key=lambda arm: arm.score, default=None)
    no_better = best is not None and trials.effect(best).difference <= trials.noise  # on purpose, then
    stuck = batch.by_heart is not None and batch.by_heart < BY_HEART and (trials.learnt or 0.0) < LEARNT
    stuck = (stuck or trials.outdone) and not batch.surrogate and not no_better
    effect = None if best is None else trials.effect(best)
    # that the derivative is wrong is known: one seed shows what it costs
    proved = effect is not None and effect.closed >= HEAVY and effect.difference > 2 * math.sqrt(2) * trials.noise
    if not (stuck or proved) and (batch.surrogate or batch.stopped or no_better):
        return []  # on purpose: a straight-through estimator, a twin that is held still
    names = ", ".join(batch.wrong_gradient[:3])
    return _established(
        "wrong_gradient",
        text(
            "The gradient of {count} parameter tensors ({names}) is not the slope of the loss: measured by central differences it "
            "differs by {error} of its size.",
            count=len(batch.wrong_gradient), names=names, error=shown(batch.gradient_error),
        ),
        text("look for detach(), .data, numpy, rounding or an autograd.Function of your own between these weights and the loss"),
        where=names,
        level="fault" if stuck or proved else "advice",
        confidence=0.85 if stuck or proved else 0.5,
        change=best.change if best is not None and not no_better else None,
        evidence={"parameters": list(batch.wrong_gradient[:64]), "relative_error": batch.gradient_error},
        expected={"relative_error": f"< {RELATIVE:g}"},
    )  # fmt: skip
