"""The course of a watched training's loss: where it started, where it is, how sure that is, and what a constant answer would get."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import linear_regression, median

from pellucid.diagnosis.dynamic.observations import Column, Observations

NON_NEGATIVE = frozenset(
    {
        "cross_entropy", "nll_loss", "mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss", "binary_cross_entropy",
        "binary_cross_entropy_with_logits",
    }
)  # fmt: skip

NOT_LEARNT = 0.05  # of the way from the loss of a constant answer to 0
DIVERGED = 2.0  # times the loss that it started from
JUDGED_STEPS = 50  # before "it does not learn" is more than a slow start, or the swing with which a full batch finds its valley
LEAST_TARGETS = 64  # seen, before their entropy or variance is known to a few per cent


def numbers(column: Column) -> list[float]:
    """The measured entries of a column."""
    return [value for value in column if value is not None]


def entry(column: Column, place: int) -> float | None:
    """What a look measured; None where it did not, or where the column was not kept."""
    return column[place] if place < len(column) else None


def middle(column: Column, default: float = 0.0) -> float:
    """The median of the measured entries."""
    known = numbers(column)
    return median(known) if known else default


def latest(column: Column, count: int) -> list[float]:
    """The measured entries among the last `count` looks."""
    return numbers(column[-count:])


@dataclass(frozen=True)
class Course:
    """Means over the first and the last steps, with their standard errors."""

    steps: int
    first: float  # mean of the first block of steps
    first_error: float
    now: float  # mean over about the last fifth of the training
    now_error: float
    late_lowest: float  # the lowest block among these
    lowest: float  # the lowest block
    highest: float
    initial: float  # of the very first step, before any update
    trivial: float | None  # the loss of the best constant answer, where the targets were seen
    guess: float | None  # the loss of an answer without knowledge of the classes' shares, ln K: what a weighted loss starts from
    finite: bool  # at every step
    minimised: bool  # a loss of a known kind that is at least 0 and belongs to this model alone: it should fall

    @property
    def reference(self) -> float:
        """What learning starts from: the loss of a constant answer, or that of the first steps where it is lower or the other not known.

        The first step counts too: where the steps are too large, the first block of steps is already far above it.
        """
        return min(value for value in (self.first, self.initial, self.trivial) if value is not None)

    @property
    def learnt(self) -> float:
        """How far the loss fell from the reference towards 0; below 0 where it rose.

        Weights of classes are not seen, and make the loss of a constant answer ln K rather than the entropy of the classes. Where the loss
        ends between the two, the first counts.
        """
        reference = self.reference
        if self.trivial is not None and self.guess is not None and self.trivial < self.now:
            reference = min(self.first, self.initial, self.guess)
        return (reference - self.now) / reference if reference > 0 else 0.0

    @property
    def learnt_at_most(self) -> float:
        """`learnt` and two standard errors of it: what it may be, as far as the noise of the loss lets one say."""
        error = self.now_error if self.reference == self.trivial else math.hypot(self.first_error, self.now_error)
        return self.learnt + (2 * error / self.reference if self.reference > 0 else 0.0)

    @property
    def learns(self) -> bool:
        """Whether the loss has fallen, from chance or from the start, by more than chance and materially."""
        return self.fell() and self.learnt > NOT_LEARNT and self.finite

    @property
    def fails(self) -> bool:
        """Whether it is known that the network does not learn: not so much as would matter can hide in the noise of the loss.

        Between this and `learns` lies what cannot be told yet.
        """
        if not self.finite or self.now > DIVERGED * max(self.initial, self.trivial or 0.0):
            return True
        return self.steps >= JUDGED_STEPS and self.learnt_at_most < NOT_LEARNT

    def fell(self, deviations: float = 3.0) -> bool:
        """Whether the loss is lower than at first by more than chance."""
        return self.first - self.now > deviations * math.hypot(self.first_error, self.now_error)

    def rose(self, deviations: float = 3.0) -> bool:
        """Whether it is higher. Where it grows without bound, its late values scatter as much as they grow: the lowest of them tells."""
        chance = deviations * math.hypot(self.first_error, self.now_error)
        return self.now - self.first > chance or self.late_lowest > 2 * self.first + deviations * self.first_error


def course_of(seen: Observations) -> Course | None:
    """The course; None where too little was seen."""
    loss = seen.loss
    blocks = [(mean, std or 0.0) for mean, std in zip(loss.trend_mean, loss.trend_std, strict=False) if mean is not None]
    if len(blocks) < (1 if loss.nonfinite else 2):
        return None
    start, end = blocks[: max(1, len(blocks) // 20)], blocks[-max(1, len(blocks) // 5) :]
    first, first_error = _mean(start, loss.trend_width, loss.noise)
    now, now_error = _mean(end, loss.trend_width, loss.noise)
    lowest = min(mean for mean, _ in blocks)
    minimised = (
        loss.kind in NON_NEGATIVE and not loss.negated and loss.several == 1 and not seen.several_models
        and min(*(value for value in loss.trend_low if value is not None), lowest) >= 0
        and not any(facts.maximize for facts in seen.optimizers)
    )  # fmt: skip
    return Course(
        steps=seen.steps,
        first=first,
        first_error=first_error,
        now=now,
        now_error=now_error,
        late_lowest=min(mean for mean, _ in end),
        lowest=lowest,
        highest=max(mean for mean, _ in blocks),
        initial=first if loss.first is None else loss.first,
        trivial=trivial_loss(seen),
        guess=guessing_loss(seen),
        finite=seen.loss.nonfinite == 0,
        minimised=minimised,
    )


def _mean(blocks: Sequence[tuple[float, float]], width: int, noise: float | None) -> tuple[float, float]:
    """Mean over blocks, and its standard error: the larger of two.

    One takes the steps as independent, from their scatter within the blocks (of two steps' values alone, the median would be far too
    small). The other takes the means of up to 8 stretches as independent around the line through them: it also counts what wanders.

    Source: Ch. J. Geyer, Practical Markov chain Monte Carlo, Statistical Science 7 (1992), section 3.2 (batch means).
    """
    means = [mean for mean, _ in blocks]
    mean = sum(means) / len(means)
    scatter = math.sqrt(sum(std * std for _, std in blocks) / len(blocks) * width / (width - 1)) if width > 1 else noise or 0.0
    stretches = min(8, len(means) // 2)
    if stretches < 4:
        return mean, scatter / math.sqrt(width * len(means))
    ends = [place * len(means) // stretches for place in range(stretches + 1)]
    parts = [sum(means[start:end]) / (end - start) for start, end in pairwise(ends)]
    slope, intercept = linear_regression(range(stretches), parts)
    around = math.sqrt(sum((part - slope * place - intercept) ** 2 for place, part in enumerate(parts)) / (stretches - 2))
    return mean, max(scatter / math.sqrt(width * len(means)), around / math.sqrt(stretches))


def guessing_loss(seen: Observations) -> float | None:
    """ln K, the cross-entropy of the same probability for each of the K classes seen; ln 2 of yes or no."""
    if seen.loss.kind in ("binary_cross_entropy", "binary_cross_entropy_with_logits"):
        return None if seen.loss.summed else math.log(2)
    known = seen.loss.kind in ("cross_entropy", "nll_loss") and not seen.loss.summed
    return math.log(len(seen.targets.classes)) if known and len(seen.targets.classes) > 1 else None


def trivial_loss(seen: Observations) -> float | None:
    """The loss of the best constant answer to the targets seen: the entropy of the classes, or the variance of the values.

    Targets that are all alike, as the zeros of a residual or the ones of a least-squares GAN, are no answers to be learnt.
    """
    facts, kind = seen.targets, seen.loss.kind
    if facts.samples < LEAST_TARGETS or seen.loss.summed:
        return None
    if facts.seen == "classes" and facts.classes and kind in ("cross_entropy", "nll_loss"):
        total = sum(facts.classes.values())
        return -sum(count / total * math.log(count / total) for count in facts.classes.values() if count)
    if facts.seen == "values" and facts.std and kind == "mse_loss":
        return facts.std**2
    return None
