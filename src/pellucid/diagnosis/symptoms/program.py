"""Mistakes in the program of a loop: they are wrong whatever the numbers are, and are read from what the loop did, not from how it went."""

from __future__ import annotations

import math
from statistics import median

from pellucid.core.language import Text, text
from pellucid.core.records import Finding
from pellucid.diagnosis.dynamic.course import course_of, numbers
from pellucid.diagnosis.dynamic.curves import shown
from pellucid.diagnosis.dynamic.noise import falling
from pellucid.diagnosis.dynamic.observations import Observations
from pellucid.diagnosis.registry import symptom
from pellucid.diagnosis.symptoms.step_size import demanded_falls, relative_steps

LEAST_STEPS = 5  # updates before a habit of the loop is called one
NEVER_CLEARED = 3  # stretches between updates: whoever adds up gradients on purpose makes no update between
MODE_STEPS = 2  # the mode is the same in all steps of an epoch
HABIT = 0.9  # of the steps: more than an exception
UPHILL = -0.2  # cosine between update and -gradient below which the update climbs; chance alone gives 1 / sqrt(parameters)
CLIMBED = 0.2  # of the rise to the first order that the steps would have made together uphill
BESIDE = 6.0  # standard deviations by which equal neighbours outnumber those of a random order: once in 10^9 shuffled trainings
SORTED = 0.5  # of the way from a random order to a sorted one
LOSS_NAMES = {
    "cross_entropy": text("the cross-entropy"),
    "nll_loss": text("the negative log-likelihood"),
    "mse_loss": text("the mean squared error"),
    "l1_loss": text("the mean absolute error"),
    "smooth_l1_loss": text("the smooth L1 loss"),
    "huber_loss": text("the Huber loss"),
    "binary_cross_entropy": text("the binary cross-entropy"),
    "binary_cross_entropy_with_logits": text("the binary cross-entropy"),
}


def loss_name(seen: Observations) -> Text:
    """The loss in the middle of a sentence."""
    return LOSS_NAMES.get(seen.loss.kind or "", text("the loss"))


@symptom("missing_zero_grad", reads=Observations)
def missing_zero_grad(seen: Observations) -> list[Finding]:
    """Every update uses the sum of all gradients so far.

    Between two updates the gradient was never cleared (None or zero) at the start of any backward pass. Accumulation over several
    batches clears it once per update, and a discriminator clears what the generator left: neither is counted.
    """
    facts = seen.gradients
    if facts.intervals < NEVER_CLEARED or facts.uncleared < HABIT * facts.intervals or not any(numbers(facts.norm)):
        return []  # without any gradient it was cleared, but too early
    return [
        Finding(
            symptom="missing_zero_grad",
            level="fault",
            confidence=0.97,
            where="optimizer.zero_grad()",
            summary=text(
                "The gradient of {name} is never cleared, though those of another optimizer are: in {uncleared} of {intervals} stretches "
                "between two steps of its own it was still there and was added to.",
                name=facts.uncleared_at,
                uncleared=facts.uncleared,
                intervals=facts.intervals,
            )
            if facts.uncleared_at
            else text(
                "Gradients are never cleared: in {uncleared} of {intervals} stretches between two updates the gradient of the step before "
                "was still there and was added to, so that every update repeats all earlier ones.",
                uncleared=facts.uncleared,
                intervals=facts.intervals,
            ),
            evidence={"uncleared": facts.uncleared, "intervals": facts.intervals, "expected": {"uncleared": "0"}},
            remedy=text("call zero_grad() of every optimizer, or model.zero_grad(), before loss.backward()")
            if facts.uncleared_at
            else text("call optimizer.zero_grad() before loss.backward() in every step (once per update where batches are accumulated)"),
        )
    ]


@symptom("flipped_gradient", reads=Observations)
def flipped_gradient(seen: Observations) -> list[Finding]:
    """The training maximises what it should minimise: by the sign of the loss, by `maximize=True`, or by an update along the gradient."""
    known = seen.loss.kind is not None
    maximizing = [facts.kind for facts in seen.optimizers if facts.maximize]
    if known and seen.loss.negated != bool(maximizing) and seen.loss.several == 1 and not seen.several_models:
        if seen.loss.negated:
            what = text("What the training minimises is minus {loss}, so that it grows.", loss=loss_name(seen))
            where, remedy = "loss", text("call backward() on the loss itself, without the minus sign")
        else:
            what = text("{optimizer} has maximize=True, so that {loss} grows.", optimizer=maximizing[0], loss=loss_name(seen))
            where, remedy = "optimizer", text("leave maximize=True out")
        evidence = {"negated": seen.loss.negated, "maximize": bool(maximizing), "expected": {"negated": "False", "maximize": "False"}}
        return [
            Finding(symptom="flipped_gradient", level="fault", confidence=0.97, where=where, summary=what, evidence=evidence, remedy=remedy)
        ]
    return [] if maximizing else uphill(seen) or against_its_gradient(seen)


def uphill(seen: Observations) -> list[Finding]:
    """The weights move along the gradient that the optimizer was given."""
    measured = [value for value in seen.gradients.alignment if value is not None]
    uphill = [value for value in measured if value < UPHILL]
    if len(measured) < LEAST_STEPS or len(uphill) < HABIT * len(measured):
        return []
    middle = sorted(measured)[len(measured) // 2]
    return [
        Finding(
            symptom="flipped_gradient",
            level="fault",
            confidence=0.95,
            where="optimizer",
            summary=text(
                "Updates go uphill: at {uphill} of {looks} looks the weights moved along the gradient instead of against it (cosine "
                "between update and negative gradient {cosine:.2f}).",
                uphill=len(uphill),
                looks=len(measured),
                cosine=middle,
            ),
            evidence={"cosine": middle, "looks": len(measured), "uphill": len(uphill), "expected": {"cosine": "> 0"}},
            remedy=text("subtract the gradient: parameter -= learning_rate * parameter.grad"),
        )
    ]


def against_its_gradient(seen: Observations) -> list[Finding]:
    """The loss rises from the first step on although every step is small and promises a fall: the gradient itself has the wrong sign.

    Steps that are too large also make a loss rise, but promise to take away a good part of it at once. Targets that the network makes
    itself, as in learning the values of actions, may make it rise too, but by far less than as many steps uphill would.
    """
    course = course_of(seen)
    falls, steps = demanded_falls(seen), relative_steps(seen)
    if course is None or not course.minimised or len(falls) < 3 or seen.steps < 4 * LEAST_STEPS:
        return []
    means = numbers(seen.loss.trend_mean)
    early = falls[: max(3, len(falls) // 2)]  # a loss that has been driven far up may promise more
    rises = falling([-mean for mean in means]) > 0.999 and falling([-mean for mean in means[: len(means) // 2]]) > 0.95
    small = max(early) < 0.5 and median(steps or [1.0]) < 0.02 and min(early) > 0
    if not (rises and small and course.rose(6.0) and course.now > 1.05 * max(course.initial, course.trivial or 0.0)):
        return []
    if math.log(course.now / course.first) < CLIMBED * median(early) * seen.steps:
        return []
    return [
        Finding(
            symptom="flipped_gradient",
            level="fault",
            confidence=0.85,
            where="gradient",
            summary=text(
                "The gradient has the wrong sign: each step is small and should lower the loss by {fall:.1g} % of its value, and the loss "
                "rose from {first} to {now}.",
                fall=100 * median(falls),
                first=shown(course.first),
                now=shown(course.now),
            ),
            evidence={
                "promised_fall_over_loss": median(falls),
                "first_loss": course.first,
                "loss": course.now,
                "expected": {"loss": "falls"},
            },
            remedy=text("look for a minus sign between backward() and step(): a hook, a custom backward, or gradients changed by hand"),
        )
    ]


@symptom("shape_broadcast", reads=Observations)
def shape_broadcast(seen: Observations) -> list[Finding]:
    """The loss compares every output with every target: (N, 1) against (N,) is spread to (N, N), and the best answer is a constant.

    A term of fewer entries that is spread to another's shape without making pairs, as a weight per class is, is no mistake.
    """
    if seen.loss.broadcast is None:
        return []
    smaller, result = seen.loss.broadcast
    entries = math.prod(smaller)
    if len(result) < 2 or result[-1] != result[-2] or result[-1] < 2 or math.prod(result) != entries * result[-1]:
        return []
    return [
        Finding(
            symptom="shape_broadcast",
            level="fault",
            confidence=0.95,
            where="loss",
            summary=text(
                "The loss compares every output with every target: a term of shape {smaller} was spread to {result}, {count} comparisons "
                "for {entries} samples. Its best answer is a constant.",
                smaller=str(tuple(smaller)),
                result=str(tuple(result)),
                count=math.prod(result),
                entries=entries,
            ),
            evidence={"shape": list(smaller), "compared_shape": list(result), "expected": {"compared_shape": str(tuple(smaller))}},
            remedy=text("give outputs and targets one shape: targets.unsqueeze(1), or outputs.squeeze(1)"),
        )
    ]


@symptom("wrong_mode", reads=Observations)
def wrong_mode(seen: Observations) -> list[Finding]:
    """Dropout and batch normalisation do in training what belongs to evaluation, or the reverse."""
    return trained_in_evaluation_mode(seen) + evaluated_in_training_mode(seen)


def trained_in_evaluation_mode(seen: Observations) -> list[Finding]:
    modes = seen.modes
    in_training = modes.training_forwards - modes.training_in_eval
    if not modes.dependent or modes.training_in_eval < MODE_STEPS:
        return []
    if in_training > seen.steps - MODE_STEPS:
        return []  # every update had a pass in training mode: the others made adversarial examples or the like
    if not any(_trains_inside(seen, path) for path in modes.dependent):
        return []  # a frozen feature extractor stays as it is
    return [
        Finding(
            symptom="wrong_mode",
            level="fault",
            confidence=0.95 if in_training > 0 else 0.8,
            where=modes.dependent[0],
            summary=text(
                "The network trains in evaluation mode: {count} of {all} training passes, with layers {layers} switched off.",
                count=modes.training_in_eval,
                all=modes.training_forwards,
                layers=list(modes.dependent[:4]),
            ),
            evidence={
                "training_in_evaluation_mode": modes.training_in_eval,
                "training_passes": modes.training_forwards,
                "layers": list(modes.dependent),
                "expected": {"training_in_evaluation_mode": "0"},
            },
            remedy=text("call model.train() before training, and again after every evaluation"),
        )
    ]


def _trains_inside(seen: Observations, path: str) -> bool:
    """Whether the module at `path`, or the one that holds it, has a parameter that is trained."""
    around = path.rpartition(".")[0]
    return any(weight.trainable and (weight.layer == path or weight.layer.startswith(around)) for weight in seen.weights)


def evaluated_in_training_mode(seen: Observations) -> list[Finding]:
    """Most forward passes without gradients ran in training mode. A generator that makes samples for its critic does so rightly."""
    modes = seen.modes
    if not modes.dependent or seen.several_models or modes.evaluation_in_train < 3:
        return []
    if modes.evaluation_in_train < HABIT * modes.evaluation_forwards:
        return []
    return [
        Finding(
            symptom="wrong_mode",
            level="fault",
            confidence=0.8,
            where=modes.dependent[0],
            summary=text(
                "The network is evaluated in training mode: {count} of {all} forward passes without gradients, with layers {layers} at "
                "work, so that the result is noisy and the batches evaluated change the running statistics.",
                count=modes.evaluation_in_train,
                all=modes.evaluation_forwards,
                layers=list(modes.dependent[:4]),
            ),
            evidence={
                "evaluations_in_training_mode": modes.evaluation_in_train,
                "evaluations": modes.evaluation_forwards,
                "layers": list(modes.dependent),
                "expected": {"evaluations_in_training_mode": "0"},
            },
            remedy=text("call model.eval() before evaluation, and model.train() after it"),
        )
    ]


@symptom("no_shuffle", reads=Observations)
def no_shuffle(seen: Observations) -> list[Finding]:
    """Batches sorted by class are a fault; the same batches in the same order every epoch are worth an advice."""
    return sorted_by_class(seen) or same_order(seen)


def sorted_by_class(seen: Observations) -> list[Finding]:
    """Neighbouring samples have equal classes far more often than chance, and batches hold few classes.

    Under a random order, the number of equal neighbours among n pairs is about binomial with the mean that the classes' shares give.
    A sampler that puts P classes with K samples each into a batch also makes equal neighbours, but no batch of one class.
    """
    facts = seen.targets
    n, equal, chance = facts.neighbours, facts.equal_neighbours, facts.expected_equal
    if facts.seen != "classes" or chance is None or n < 30 or len(seen.loss.target_shape or ()) != 1:
        return []
    deviation = math.sqrt(max(chance * (1 - chance / n), 1e-9))
    order = (equal - chance) / max(n - chance, 1e-9)
    one_class = facts.single_class_batches / max(facts.batches, 1)
    fixed = seen.batches.period is not None and seen.batches.repeats > 0
    if equal - chance < BESIDE * deviation or order < SORTED or (one_class < 0.5 and not fixed):
        return []
    return [
        Finding(
            symptom="no_shuffle",
            level="fault",
            confidence=0.95 if one_class >= 0.5 else 0.85,
            where="data",
            summary=text(
                "The batches are sorted by class: {equal} of {n} neighbouring samples have the same class, and {chance:.0f} would in a "
                "random order. Each update forgets the other classes.",
                equal=equal,
                n=n,
                chance=chance,
            ),
            evidence={
                "equal_neighbours": equal,
                "neighbours": n,
                "single_class_batches": facts.single_class_batches,
                "batches": facts.batches,
                "expected": {"equal_neighbours": f"{chance:.0f} +- {deviation:.0f}"},
            },
            remedy=text("shuffle the training samples: DataLoader(..., shuffle=True)"),
        )
    ]


def same_order(seen: Observations) -> list[Finding]:
    facts = seen.batches
    if facts.period is None or facts.period < 3 or facts.repeats < facts.period:
        return []
    return [
        Finding(
            symptom="no_shuffle",
            level="advice",
            confidence=0.9,
            where="data",
            summary=text(
                "The same {period} batches come in the same order in every epoch ({repeats} batches equal to those an epoch before).",
                period=facts.period,
                repeats=facts.repeats,
            ),
            evidence={"period": facts.period, "repeats": facts.repeats, "expected": {"period": "None"}},
            remedy=text("shuffle the training samples (DataLoader(..., shuffle=True)), unless their order carries meaning for the network"),
        )
    ]
