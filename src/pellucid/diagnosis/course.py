"""The course of a watched training's loss: where it started, where it is, how sure that is, and what a constant answer would get."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from pellucid.diagnosis.observations import Column, Observations

NON_NEGATIVE = frozenset(
    {
        "cross_entropy", "nll_loss", "mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss", "binary_cross_entropy",
        "binary_cross_entropy_with_logits",
    }
)  # fmt: skip

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
    lowest: float  # the lowest block
    highest: float
    initial: float  # of the very first step, before any update
    trivial: float | None  # the loss of the best constant answer, where the targets were seen
    guess: float | None  # the loss of an answer without knowledge of the classes' shares, ln K: what a weighted loss starts from
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

    def fell(self, deviations: float = 3.0) -> bool:
        """Whether the loss is lower than at first by more than chance."""
        return self.first - self.now > deviations * math.hypot(self.first_error, self.now_error)

    def rose(self, deviations: float = 3.0) -> bool:
        return self.now - self.first > deviations * math.hypot(self.first_error, self.now_error)


def course_of(seen: Observations) -> Course | None:
    """The course; None where too little was seen."""
    loss = seen.loss
    blocks = [(mean, std or 0.0) for mean, std in zip(loss.trend_mean, loss.trend_std, strict=False) if mean is not None]
    if len(blocks) < 2:
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
        lowest=lowest,
        highest=max(mean for mean, _ in blocks),
        initial=first if loss.first is None else loss.first,
        trivial=trivial_loss(seen),
        guess=guessing_loss(seen),
        minimised=minimised,
    )


def _mean(blocks: Sequence[tuple[float, float]], width: int, noise: float | None) -> tuple[float, float]:
    """Mean over blocks, and its standard error from the scatter of single steps."""
    mean = sum(block for block, _ in blocks) / len(blocks)
    scatter = median(std for _, std in blocks) or noise or 0.0
    return mean, scatter / math.sqrt(width * len(blocks))


def guessing_loss(seen: Observations) -> float | None:
    """ln K, the cross-entropy of the same probability for each of the K classes seen."""
    known = seen.loss.kind in ("cross_entropy", "nll_loss") and not seen.loss.summed
    return math.log(len(seen.targets.classes)) if known and len(seen.targets.classes) > 1 else None


def trivial_loss(seen: Observations) -> float | None:
    """The loss of the best constant answer to the targets seen: the entropy of the classes, or the variance of the values."""
    facts, kind = seen.targets, seen.loss.kind
    if facts.samples < LEAST_TARGETS or seen.loss.summed:
        return None
    if facts.seen == "classes" and facts.classes and kind in ("cross_entropy", "nll_loss"):
        total = sum(facts.classes.values())
        return -sum(count / total * math.log(count / total) for count in facts.classes.values() if count)
    if facts.seen == "values" and facts.std is not None and kind == "mse_loss":
        return facts.std**2
    return None
