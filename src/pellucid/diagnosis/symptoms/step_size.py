"""The size of the steps, and what the loss makes of them: too large, too small, diverging, oscillating, standing still."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from statistics import median

from pellucid.core.language import Text, text
from pellucid.core.records import Finding
from pellucid.diagnosis.course import Course, course_of, entry, numbers
from pellucid.diagnosis.curves import shown
from pellucid.diagnosis.noise import falling
from pellucid.diagnosis.observations import Observations
from pellucid.diagnosis.registry import symptom
from pellucid.diagnosis.symptoms.gradients import matrices

UNSTABLE = 4.0  # of the loss that the step promises to take away: the bound of `demanded_falls`
LARGE_STEP = 0.1  # update over weight, at two looks: a hundred times the customary 1e-3
THROWN = 10.0  # times the first loss, to which the first steps throw it
SMALL_STEP = 1e-5  # a hundredth of it, in the layer and at the look where it is largest
LEAST_STEPS = 20
NOT_LEARNT = 0.05  # of the way from the loss of a constant answer to 0
DIVERGED = 2.0  # times the loss that it started from
WINDOW = 30  # steps in which turning points are counted
ALTERNATING = 0.95  # share of turning points: 3.3 deviations above two thirds for 28 inner values
SWING = 0.05  # of the loss, from step to step
FLAT_STEPS = 100  # before a loss that does not fall is said to stand still


def relative_steps(seen: Observations) -> list[float]:
    """Per look: the median over the layers of |update| / |weight|.

    Source: A. Karpathy, CS231n notes, Neural networks 3, "Ratio of weights:updates": it should be somewhere around 1e-3.
    """
    return numbers(tuple(step_at(seen, place) for place in range(len(seen.looks))))


def step_at(seen: Observations, place: int) -> float | None:
    """Of one look: the median over the layers of |update| / |weight|."""
    known = numbers(tuple(entry(weight.ratio, place) for weight in matrices(seen)))
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
    One look alone does not count as large: the first step of an adaptive optimizer, or a layer that starts at 0, is no sign.
    """
    course = course_of(seen)
    if course is None or (not course.minimised and seen.nonfinite is None):
        return []
    steps, falls = relative_steps(seen), demanded_falls(seen)
    step, fall = sorted(steps)[-2] if len(steps) > 1 else 0.0, max(falls, default=0.0)
    thrown = course.highest > THROWN * course.initial and seen.gradients.backwards_per_step < 1.5  # a line search tries far points
    learning = learns(course, seen)
    if (step < LARGE_STEP and fall < UNSTABLE) or (learning and not (thrown and step >= LARGE_STEP)):
        return []
    if seen.steps < LEAST_STEPS and seen.nonfinite is None and fall < UNSTABLE:
        return []  # too early to say that it does not learn
    rate = largest_rate(seen)
    return [
        Finding(
            symptom="lr_too_high",
            level="advice" if learning else "fault",
            confidence=0.95 if step >= LARGE_STEP and fall >= UNSTABLE else 0.8,
            where="learning_rate",
            summary=text(
                "The learning rate {rate} is too high: a step changes the weights by {step} of their size and by itself would lower the "
                "loss by up to {fall} times its value; the loss went from {first} to {now}.",
                rate=shown(rate),
                step=shown(step),
                fall=shown(fall),
                first=shown(course.first),
                now=shown(course.now),
            ),
            evidence={
                "learning_rate": rate,
                "update_over_weight": step,
                "promised_fall_over_loss": fall,
                "first_loss": course.first,
                "loss": course.now,
                "expected": {"update_over_weight": f"about 1e-3, < {LARGE_STEP}", "promised_fall_over_loss": f"< {UNSTABLE}"},
            },
            remedy=text("learning rate {rate}", rate=workable_rate(seen, rate)) if rate else text("lower the learning rate"),
        )
    ]


def learns(course: Course, seen: Observations) -> bool:
    """Whether the loss has fallen, from chance or from the start, by more than chance and materially."""
    return course.fell() and course.learnt > NOT_LEARNT and seen.loss.nonfinite == 0


def largest_rate(seen: Observations) -> float | None:
    """The largest learning rate there was: a schedule may begin and end at 0."""
    rates = [rate for rates in seen.learning_rates for rate in rates]
    rates += [group.learning_rate for facts in seen.optimizers for group in facts.groups if group.learning_rate is not None]
    return max(rates, default=None)


def workable_rate(seen: Observations, rate: float) -> str:
    """What makes the step at the first look that is too large a sensible one: later looks see weights that such steps have thrown away."""
    for place, look in enumerate(seen.looks):
        step, fall = step_at(seen, place) or 0.0, fall_at(seen, place) or 0.0
        if step >= LARGE_STEP or fall >= UNSTABLE:
            return rounded((look.learning_rate or rate) * lowered(step, fall))
    return rounded(rate * lowered(0.0, 0.0))


def lowered(step: float, fall: float) -> float:
    """The factor that brings the step to a hundredth of the weights and the promised fall below the loss itself."""
    return min(1e-2 / step if step > 0 else 1.0, 1.0 / fall if fall > 0 else 1.0, 0.1)


def rounded(rate: float) -> str:
    """To one leading digit of 1, 2 or 5: 0.0034 -> 0.002."""
    exponent = math.floor(math.log10(rate))
    leading = rate / 10.0**exponent
    return f"{(5 if leading >= 5 else 2 if leading >= 2 else 1) * 10.0**exponent:g}"


@symptom("lr_too_low", reads=Observations)
def lr_too_low(seen: Observations) -> list[Finding]:
    """Gradients arrive, the loss does not fall, and the largest steps there were are far below what moves a weight."""
    course, rate = course_of(seen), largest_rate(seen)
    steps = [ratio for weight in matrices(seen) for ratio in numbers(weight.ratio)]
    if course is None or not course.minimised or not steps or seen.steps < LEAST_STEPS or not rate:
        return []
    step = max(steps)
    if step >= SMALL_STEP or step == 0.0 or learns(course, seen):
        return []
    if course.trivial is not None and course.now < 0.5 * course.trivial:
        return []  # it goes on from a state in which little is left to learn
    return [
        Finding(
            symptom="lr_too_low",
            level="fault",
            confidence=0.9,
            where="learning_rate",
            summary=text(
                "The learning rate {rate} is too low: in {steps} steps none changed the weights by more than {step:.1g} of their size, "
                "and the loss stays at {now}.",
                rate=f"{rate:g}",
                steps=seen.steps,
                step=step,
                now=shown(course.now),
            ),
            evidence={
                "learning_rate": rate,
                "update_over_weight": step,
                "first_loss": course.first,
                "loss": course.now,
                "expected": {"update_over_weight": f"about 1e-3, > {SMALL_STEP:g}"},
            },
            remedy=text("learning rate {rate}, where steps are about 1e-3 of the weights", rate=rounded(rate * 1e-3 / step)),
        )
    ]


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
            level="advice" if learns(course, seen) else "fault",
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
    if course is None or not course.minimised or seen.steps < FLAT_STEPS or course.learnt > NOT_LEARNT / 2 or seen.loss.nonfinite:
        return []
    means = numbers(seen.loss.trend_mean)
    late = means[len(means) // 2 :]
    if math.hypot(course.first_error, course.now_error) > NOT_LEARNT / 2 * course.now or not 0.01 < falling(late) < 0.99:
        return []
    if course.now > DIVERGED * course.reference or (course.trivial is None and course.fell(2.0)):
        return []
    said: Text = (
        text("The loss has not fallen in {steps} steps: it is {now}.", steps=seen.steps, now=shown(course.now))
        if course.trivial is None
        else text(
            "After {steps} steps the loss stands at {now}, and a constant answer gets {trivial}.",
            steps=seen.steps, now=shown(course.now), trivial=shown(course.trivial),
        )
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
