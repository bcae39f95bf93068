"""The size of the steps, and what the loss makes of them: too large, too small, diverging, oscillating, standing still."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from statistics import median

from pellucid.core.language import Text, text
from pellucid.core.records import Finding
from pellucid.diagnosis.dynamic.course import DIVERGED, JUDGED_STEPS, NOT_LEARNT, Course, course_of, entry, numbers
from pellucid.diagnosis.dynamic.curves import shown
from pellucid.diagnosis.dynamic.noise import falling
from pellucid.diagnosis.dynamic.observations import Observations
from pellucid.diagnosis.registry import symptom
from pellucid.diagnosis.symptoms.gradients import matrices

UNSTABLE = 4.0  # of the loss that the step promises to take away: the bound of `demanded_falls`
LARGE_STEP = 0.1  # update over weight, at two looks: a hundred times the customary 1e-3
LARGE_LOOKS = 6  # before their median counts: the first steps of a network that then learns well may change it by a quarter
THROWN = 10.0  # times the first loss, to which the first steps throw it
SMALL_STEP = 1e-5  # a hundredth of it, in the layer and at the look where it is largest
SMALL_ADAPTIVE = 1e-4  # of an optimizer that gives every weight a step of the learning rate's size, whatever its gradient
CUSTOMARY_STEP = 1e-3
FIRST_STEP = 0.03  # update over weight of the first step, the largest that the healthy trainings of the tests begin with
CUSTOMARY_RATE = 1e-3  # of Adam: D. Kingma and J. Ba, Adam, 2015, algorithm 1; for tuning BERT, 2e-5 to 5e-5 (J. Devlin et al., 2019)
SLOW = 5e-5  # of the loss that a step promises to take away: 20 000 such steps for all of it
LEAST_STEPS = 20
WINDOW = 30  # steps in which turning points are counted
ALTERNATING = 0.95  # share of turning points: 3.3 deviations above two thirds for 28 inner values
SWING = 0.05  # of the loss, from step to step
FLAT_STEPS = 100  # before a loss that does not fall is said to stand still
FLAT_UNKNOWN = 300  # the same where the loss of a constant answer is not known
ABOVE = 1.5  # times the loss of a constant answer: farther above it, a loss does not stand still there
FAR = 10.0  # root mean square of inputs or targets; 1 where they are standardised
LIKELY_RATE = 1.0  # above it the rate is to blame, whatever the size of inputs and targets
DECAYED = 1e-3  # of its largest value: a learning rate that does nothing any more
MUCH_LEFT, LITTLE_LEFT = 0.5, 0.1  # of the loss that learning started from


_SIZE, _VALUE = text("their size"), text("its value")  # in the middle of a sentence


def relative_steps(seen: Observations) -> list[float]:
    """Per look: the median over the layers of |update| / |weight|; layers that started at 0 have no size to compare with.

    Source: A. Karpathy, CS231n notes, Neural networks 3, "Ratio of weights:updates": it should be somewhere around 1e-3.
    """
    return numbers(tuple(step_at(seen, place) for place in range(len(seen.looks))))


def step_at(seen: Observations, place: int) -> float | None:
    """Of one look: the median over the layers of |update| / |weight|."""
    sized = [weight for weight in matrices(seen) if any(numbers(weight.weight)[:1])]
    known = numbers(tuple(entry(weight.ratio, place) for weight in sized))
    return median(known) if known else None


def demanded_falls(seen: Observations) -> list[float]:
    """Per look: the fall of the loss that the update promises to first order, over the loss itself: D = -<g, u> / L.

    A loss that is at least 0 and has a gradient that is b-Lipschitz in the metric of the update u = -P g has <g, P g> <= 2 b L, and the
    step is stable for b < 2: so D > 4 means a step beyond what is stable, whatever the optimizer.

    Source: Y. Nesterov, Introductory Lectures on Convex Optimization, 2004, equation (2.1.6) and theorem 2.1.14, with L >= 0.
    """
    return numbers(tuple(fall_at(seen, place) for place in range(len(seen.looks))))


def fall_at(seen: Observations, place: int) -> float | None:
    """Of one look: D."""
    loss, norm, alignment = seen.looks[place].loss, entry(seen.gradients.norm, place), entry(seen.gradients.alignment, place)
    if loss is None or loss <= 0 or norm is None or alignment is None:
        return None
    update = math.sqrt(sum((entry(weight.update, place) or 0.0) ** 2 for weight in seen.weights))
    return norm * update * alignment / loss


@symptom("lr_too_high", reads=Observations)
def lr_too_high(seen: Observations) -> list[Finding]:
    """Steps are large against the weights, or larger than any loss of its kind stands, and the network does not learn: a fault.

    Where it learns after the first steps have thrown it far away, an advice: what was thrown away, such as dead units, does not come back.
    So are first steps that are all large and get nowhere, before it can be said that the network does not learn. One look alone does not
    count as large: the first step of an adaptive optimizer, or a layer that starts at 0, is no sign.
    """
    course = course_of(seen)
    if course is None or (not course.minimised and seen.nonfinite is None):
        return []
    steps, falls = relative_steps(seen), demanded_falls(seen)
    step = sorted(steps)[-2] if len(steps) > 1 else 0.0
    if len(steps) == 1 and steps[0] >= 1 and seen.loss.nonfinite:
        step = steps[0]  # it changed the weights by more than their size, and nothing was finite after it
    fall = max(falls, default=0.0)
    thrown = course.highest > THROWN * course.initial and seen.gradients.backwards_per_step < 1.5  # a line search tries far points
    failing = course.fails or (step >= LARGE_STEP and seen.steps >= JUDGED_STEPS and course.learnt < -NOT_LEARNT)
    at_once = seen.steps < JUDGED_STEPS and len(steps) > LARGE_LOOKS and median(steps[1:]) >= LARGE_STEP and course.learnt <= 0
    if (step < LARGE_STEP and fall < UNSTABLE) or not (failing or at_once or (thrown and step >= LARGE_STEP)):
        return []
    rate, far = largest_rate(seen), far_from_one(seen)
    cause, remedy = (None, lower_rate(seen)) if far is None or (rate or 0.0) > LIKELY_RATE else far
    if cause is None and {facts.kind for facts in seen.optimizers} == {"Rprop"} and seen.batches.distinct > 1:
        cause = "wrong_optimizer"  # it adapts each step by the last gradient's sign, which differs from batch to batch
        remedy = text("use Adam, or give Rprop all samples at once")
    return [
        Finding(
            symptom="lr_too_high",
            cause=cause,
            level="fault" if failing else "advice",
            confidence=0.95 if step >= LARGE_STEP and fall >= UNSTABLE else 0.8 if failing or thrown else 0.6,
            where={"unnormalised_input": "inputs", "unnormalised_target": "targets", "wrong_optimizer": "optimizer"}.get(
                cause or "", "learning_rate"
            ),
            summary=_too_large(rate, step, fall, course, seen),
            evidence={
                "learning_rate": rate,
                "update_over_weight": step,
                "promised_fall_over_loss": fall,
                "first_loss": course.initial,
                "loss": course.now,
                "expected": {"update_over_weight": f"about {CUSTOMARY_STEP:g}, < {LARGE_STEP}", "promised_fall_over_loss": f"< {UNSTABLE}"},
            },
            remedy=remedy,
        )
    ]


def _too_large(rate: float | None, step: float, fall: float, course: Course, seen: Observations) -> Text:
    """What is too large, by which sign, and what came of it."""
    what = text("The steps are too large") if rate is None else text("The learning rate {rate} is too high", rate=f"{rate:.4g}")
    sign = (
        text("one step changes the weights by {share}", share=_times(step, _SIZE))
        if step >= LARGE_STEP
        else text("judged by its slope, the loss would have to fall by {share} in one step", share=_times(fall, _VALUE))
    )
    if seen.loss.nonfinite:
        came = text("the loss is no longer a finite number")
    else:
        came = text("the loss went from {first} to {now}", first=shown(course.initial), now=shown(course.now))
    return text("{what}: {sign}, and {came}.", what=what, sign=sign, came=came)


def _times(ratio: float, of: Text) -> Text:
    """ "27 % of their size", "12 times their size"."""
    if ratio < 1:
        return text("{percent:.0f} % of {of}", percent=100 * ratio, of=of)
    return (
        text("more than 1000 times {of}", of=of)
        if ratio > 1000
        else text("{ratio} times {of}", ratio=f"{ratio:.{int(ratio < 10)}f}", of=of)
    )


def far_from_one(seen: Observations) -> tuple[str, Text] | None:
    """Inputs or targets of a size that no customary learning rate suits: the cause, and the remedy."""
    size = size_of_inputs(seen)
    if size > FAR:
        return "unnormalised_input", text(
            "standardise each feature of the inputs, (x - mean) / deviation: all together their root mean square is {size}, and should be "
            "about 1",
            size=shown(size),
        )
    size = size_of_targets(seen)
    if size > FAR:
        return "unnormalised_target", text(
            "standardise the targets, (y - mean) / deviation with mean {mean} and deviation {deviation}, and undo it in predictions",
            mean=shown(seen.targets.mean),
            deviation=shown(seen.targets.std),
        )
    return None


def size_of_inputs(seen: Observations) -> float:
    """Root mean square of what the model's first modules took, at the first look."""
    given = [layer for layer in seen.layers if layer.side == "input" and not layer.kind]
    return max((layer.size(0) or 0.0 for layer in given), default=0.0)


def size_of_targets(seen: Observations) -> float:
    """Root mean square of the targets, where they are values that are averaged over few samples at least; else 0."""
    facts = seen.targets
    if facts.seen != "values" or facts.mean is None or facts.std is None or facts.samples < LEAST_STEPS:
        return 0.0
    return math.hypot(facts.mean, facts.std)


def largest_rate(seen: Observations) -> float | None:
    """The largest learning rate there was: a schedule may begin and end at 0."""
    rates = [rate for rates in seen.learning_rates for rate in rates]
    rates += [group.learning_rate for facts in seen.optimizers for group in facts.groups if group.learning_rate is not None]
    return max(rates, default=None)


def lower_rate(seen: Observations) -> Text:
    """A rate with which a step would have changed the weights by 3 % at most and promised less than the loss itself.

    The first step that was too large tells it: what came after it is no measure. At most a tenth of the largest rate.
    """
    rate = largest_rate(seen)
    for place, look in enumerate(seen.looks):
        step, fall = step_at(seen, place) or 0.0, fall_at(seen, place) or 0.0
        if rate and look.learning_rate and (step > FIRST_STEP or fall > 1):  # else the rate is still being warmed up
            factor = min(FIRST_STEP / max(step, FIRST_STEP), 1 / max(fall, 1.0))
            return text("learning rate {rate}", rate=rounded(min(look.learning_rate * factor, rate / 10)))
    return text("lower the learning rate by a factor of 10")


def rounded(rate: float) -> str:
    """To one leading digit of 1, 2 or 5: 0.0034 -> 0.002."""
    exponent = math.floor(math.log10(rate))
    leading = rate / 10.0**exponent
    return f"{(5 if leading >= 5 else 2 if leading >= 2 else 1) * 10.0**exponent:g}"


@symptom("lr_too_low", reads=Observations)
def lr_too_low(seen: Observations) -> list[Finding]:
    """Gradients arrive, and the steps are far below what moves a weight: from the start, or because the rate has decayed too early."""
    course = course_of(seen)
    if course is None or not course.minimised or seen.steps < LEAST_STEPS:
        return []
    return decayed(seen, course) or too_slow(seen, course)


def decayed(seen: Observations, course: Course) -> list[Finding]:
    """For more than half of all steps the rate has been a thousandth of what it was, and much of the loss is left.

    Schedules that anneal to 0 do so at their end. A rate that is lowered because the loss no longer falls is lowered rightly.
    """
    rates = [max(rates, default=0.0) for rates in seen.learning_rates]
    peak = max(rates, default=0.0)
    late = next((place for place in range(len(rates)) if max(rates[place:]) <= DECAYED * peak), None)
    if late is None or peak == 0.0 or (course.learns and course.now < LITTLE_LEFT * course.reference):
        return []
    since = seen.learning_rate_steps[late]
    if seen.steps - since < max(JUDGED_STEPS, since):
        return []
    fell_at = next(step for step, rate in zip(seen.learning_rate_steps[late::-1], rates[late::-1], strict=False) if rate > DECAYED * peak)
    before = [mean for step, mean in zip(seen.loss.trend_step, seen.loss.trend_mean, strict=False) if mean is not None and step < fell_at]
    if fell_at >= FLAT_STEPS and len(before) >= LEAST_STEPS and falling(before[len(before) // 2 :]) < 0.5:
        return []
    return [
        Finding(
            symptom="lr_too_low",
            level="fault" if course.now > MUCH_LEFT * course.reference else "advice",
            confidence=0.9,
            where="scheduler",
            summary=text(
                "The learning rate decays too early: it fell from {peak} to {rate} within the first {since} of {steps} steps, and since "
                "then the loss stays at {now}.",
                peak=f"{peak:.3g}",
                rate=f"{rates[late]:.1g}",
                since=since,
                steps=seen.steps,
                now=shown(course.now),
            ),
            evidence={
                "learning_rate": rates[-1],
                "largest_learning_rate": peak,
                "decayed_at_step": since,
                "first_loss": course.initial,
                "loss": course.now,
                "expected": {"learning_rate": f"> {DECAYED * peak:.2g}"},
            },
            remedy=text(
                "call scheduler.step() once per epoch and not after every batch, or let the scheduler count in batches: its rate should "
                "fall over the whole training"
            ),
        )
    ]


def too_slow(seen: Observations, course: Course) -> list[Finding]:
    """Neither the weights nor the loss can get anywhere with steps of this size, and the loss has not fallen.

    By the first order, a step takes D = -<g, u> / L of the loss away, noise of the gradient included: an upper bound of the pace.
    """
    rate, steps = largest_rate(seen), [ratio for weight in matrices(seen) for ratio in numbers(weight.ratio)]
    if not rate or not steps or course.learns or _rising(seen):
        return []
    falls = demanded_falls(seen)
    step, pace = max(steps), sum(falls) / len(falls) if falls else None
    adaptive = any({"betas", "alpha"} & group.settings.keys() for facts in seen.optimizers for group in facts.groups)
    if not (
        step < SMALL_STEP
        or (pace is not None and step < CUSTOMARY_STEP and pace < SLOW and seen.steps >= JUDGED_STEPS)
        or (pace is not None and adaptive and step < SMALL_ADAPTIVE and pace * seen.steps < NOT_LEARNT and seen.steps >= JUDGED_STEPS)
    ):
        return []
    if step == 0.0 or (course.trivial is not None and course.now < MUCH_LEFT * course.trivial):
        return []  # it goes on from a state in which little is left to learn
    return [
        Finding(
            symptom="lr_too_low",
            level="fault",
            confidence=0.9,
            where="learning_rate",
            summary=text(
                "The learning rate {rate} is too low: none of {steps} steps changed the weights by more than {share} of their size, and "
                "the loss stays at {now}.",
                rate=f"{rate:g}",
                steps=seen.steps,
                share=f"1/{float(f'{1 / step:.1g}'):,.0f}".replace(",", " "),
                now=shown(course.now),
            ),
            evidence={
                "learning_rate": rate,
                "update_over_weight": step,
                "promised_fall_over_loss": pace,
                "first_loss": course.initial,
                "loss": course.now,
                "expected": {"update_over_weight": f"about {CUSTOMARY_STEP:g}"},
            },
            remedy=text("learning rate 0.001; 2e-5 to 1e-4 for a network that was trained before")
            if adaptive and rate < CUSTOMARY_RATE
            else text(
                "learning rate {rate}, where steps are about 1/1000 of the weights",
                rate=rounded(rate * CUSTOMARY_STEP / max(median(relative_steps(seen)), 1e-12)),
            ),
        )
    ]


def _rising(seen: Observations) -> bool:
    """The rate is still being warmed up."""
    rates = [max(rates, default=0.0) for rates in seen.learning_rates]
    return len(rates) > 2 and rates[-1] == max(rates) > rates[0]


@symptom("divergence", reads=Observations)
def divergence(seen: Observations) -> list[Finding]:
    """The loss has become a multiple of what it started from, by more than chance."""
    course = course_of(seen)
    if course is None or not course.minimised or seen.steps < LEAST_STEPS:
        return []
    start = max(course.first, course.trivial or 0.0) if course.trivial is not None else course.first
    if course.now < DIVERGED * start or not course.rose():
        return []
    return [
        Finding(
            symptom="divergence",
            level="fault",
            confidence=0.9,
            where="loss",
            summary=text("The loss diverges: it rose from {first} to {now}.", first=shown(course.first), now=shown(course.now)),
            evidence={
                "first_loss": course.first, "loss": course.now, "trivial_loss": course.trivial, "expected": {"loss": f"< {start:.4g}"},
            },
            remedy=text("lower the learning rate by a factor of 10, and clip the gradient"),
        )
    ]  # fmt: skip


@symptom("oscillation", reads=Observations)
def oscillation(seen: Observations) -> list[Finding]:
    """The loss goes up and down from step to step and no longer falls: steps jump across a valley.

    Full-batch training at the edge of stability also goes up and down, and falls all the same (J. Cohen et al., 2021): that is healthy.

    Of independent noise, two thirds of all values are turning points, with variance (16 n - 29) / 90; of a loss that goes up and down, all.
    A fixed order of batches makes the loss of each batch come back with the order's period: then nothing is said.

    Source: M. Kendall and A. Stuart, The Advanced Theory of Statistics, volume 3, 1976, section 45.18 (turning points).
    """
    course, values = course_of(seen), numbers(seen.loss.values)[-WINDOW:]
    if course is None or not course.minimised or len(values) < WINDOW or (seen.batches.period or 1) > 1:
        return []
    turning = turning_points(values)
    swing = median(abs(a - b) for a, b in pairwise(values)) / max(median(values), 1e-30)
    pairs = [(a + b) / 2 for a, b in zip(values[::2], values[1::2], strict=False)]
    if turning < ALTERNATING or swing < SWING or falling(pairs) > 0.95:
        return []
    return [
        Finding(
            symptom="oscillation",
            level="advice" if course.learns else "fault",
            confidence=0.9,
            where="learning_rate",
            summary=text(
                "The loss oscillates: {turning:.0f} % of the last {count} steps turn it from rising to falling or back, by {swing:.0f} % "
                "of its value.",
                turning=100 * turning,
                count=len(values),
                swing=100 * swing,
            ),
            evidence={"turning_points": turning, "swing": swing, "loss": course.now, "expected": {"turning_points": "about 0.67"}},
            remedy=text("lower the learning rate to a half or a third"),
        )
    ]


def turning_points(values: Sequence[float]) -> float:
    """The share of inner values that are above or below both neighbours."""
    inner = [(b - a) * (c - b) < 0 for a, b, c in zip(values, values[1:], values[2:], strict=False)]
    return sum(inner) / len(inner) if inner else 0.0


@symptom("plateau", reads=Observations)
def plateau(seen: Observations) -> list[Finding]:
    """The loss is not below that of a constant answer, or of the first steps, and does not fall; it is known well enough to say so."""
    course = course_of(seen)
    if course is None or not course.minimised or seen.loss.nonfinite:
        return []
    return out_of_reach(seen, course) or standstill(seen, course)


def out_of_reach(seen: Observations, course: Course) -> list[Finding]:
    """Steps of a customary size get nowhere, because the targets are far from what outputs begin with, or the inputs are far from 1."""
    if seen.steps < JUDGED_STEPS or course.learns:
        return []
    cause, remedy = far_from_one(seen) or (None, None)
    falls, level = demanded_falls(seen), "fault"
    if cause == "unnormalised_target" and falls and sum(falls) / len(falls) < SLOW <= max(relative_steps(seen), default=0.0):
        where, said = "targets", text(
            "The targets are out of reach: their mean is {mean} and their deviation {deviation}, outputs begin near 0, and in {steps} "
            "steps the loss went from {first} to {now}.",
            mean=shown(seen.targets.mean), deviation=shown(seen.targets.std), steps=seen.steps, first=shown(course.initial),
            now=shown(course.now),
        )  # fmt: skip
    elif cause == "unnormalised_input" and course.trivial is not None and course.late_lowest > DIVERGED * course.trivial:
        means = numbers(seen.loss.trend_mean)
        level = "advice" if falling(means[len(means) // 2 :]) > 0.99 else "fault"
        where, said = "inputs", text(
            "The inputs are too large: their root mean square is {size}. After {steps} steps the loss is {now}, and a constant answer gets "
            "{trivial}.",
            size=shown(size_of_inputs(seen)), steps=seen.steps, now=shown(course.now), trivial=shown(course.trivial),
        )  # fmt: skip
    else:
        return []
    return [
        Finding(
            symptom="plateau",
            cause=cause,
            level=level,
            confidence=0.9,
            where=where,
            summary=said,
            evidence={
                "first_loss": course.initial, "loss": course.now, "trivial_loss": course.trivial, "input_size": size_of_inputs(seen),
                "target_mean": seen.targets.mean, "target_deviation": seen.targets.std, "expected": {"size": "about 1"},
            },
            remedy=remedy,
        )
    ]  # fmt: skip


def standstill(seen: Observations, course: Course) -> list[Finding]:
    """Where nobody knows what a constant answer gets, many steps must show it: some losses stay level by nature."""
    known = course.trivial is not None
    if seen.steps < (FLAT_STEPS if known else FLAT_UNKNOWN) or course.learnt > NOT_LEARNT / 2 or course.learnt_at_most > NOT_LEARNT:
        return []
    means = numbers(seen.loss.trend_mean)
    error = course.now_error if known else math.hypot(course.first_error, course.now_error)
    if error > NOT_LEARNT / 2 * course.now or not 0.01 < falling(means[len(means) // 2 :]) < 0.99:
        return []
    if course.now > ABOVE * course.reference or (not known and course.fell(2.0)):
        return []  # a loss against targets that the network makes itself, as in reinforcement learning, may rise while it learns
    said: Text = (
        text(
            "After {steps} steps the loss stands at {now}, and a constant answer gets {trivial}.",
            steps=seen.steps, now=shown(course.now), trivial=shown(course.trivial),
        )
        if known
        else text("The loss has not fallen in {steps} steps: it was {first} and is {now}.",
                  steps=seen.steps, first=shown(course.first), now=shown(course.now))
    )  # fmt: skip
    return [
        Finding(
            symptom="plateau",
            level="advice",
            confidence=0.7,
            where="loss",
            summary=said,
            evidence={
                "first_loss": course.first, "loss": course.now, "trivial_loss": course.trivial, "steps": seen.steps,
                "expected": {"loss": f"< {(1 - NOT_LEARNT) * course.reference:.4g}"},
            },
            remedy=text(
                "see whether the network can learn ten samples by heart: if not, something in the program is wrong; if so, look at the "
                "learning rate and at whether inputs and targets belong together"
            ),
        )
    ]  # fmt: skip
