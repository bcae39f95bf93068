"""Over- and underfitting of a training that is watched: what its evaluations say, where their losses are seen.

The scores of a finished training tell more; here there are only losses, and nobody knows which weights will be kept.
"""

from __future__ import annotations

import math

from pellucid.core.language import text
from pellucid.core.records import Finding
from pellucid.diagnosis.dynamic.course import Course, course_of, numbers
from pellucid.diagnosis.dynamic.curves import Curves, shown
from pellucid.diagnosis.dynamic.noise import falling
from pellucid.diagnosis.dynamic.observations import Observations
from pellucid.diagnosis.registry import symptom
from pellucid.diagnosis.symptoms.overfitting import NOTHING_LEARNT, validation_rise


def curves_of(seen: Observations) -> Curves | None:
    """One epoch per evaluation: its loss, and the mean loss of the training steps since the evaluation before.

    The standard error of an evaluation follows from the scatter of single training steps, sd of one sample = noise * sqrt(batch size).
    """
    loss = seen.loss
    blocks = [(step, mean) for step, mean in zip(loss.trend_step, loss.trend_mean, strict=False) if mean is not None]
    train: list[float] = []
    held_out: list[float] = []
    errors: list[float] = []
    before = 0
    for number, (step, value) in enumerate(zip(loss.evaluation_steps, loss.evaluation_values, strict=False)):
        between = [mean for middle, mean in blocks if before <= middle <= step]
        if value is None or not between:
            continue
        before = step
        train.append(sum(between) / len(between))
        held_out.append(value)
        samples = loss.evaluation_samples[number] if number < len(loss.evaluation_samples) else 0
        errors.append((loss.noise or 0.0) * math.sqrt((seen.batches.size or 1) / samples) if samples else 0.0)
    if len(held_out) < 3:
        return None
    course = course_of(seen)
    return Curves(
        primary="loss",
        trivial_loss=course.trivial if course else None,
        epochs=tuple(range(1, len(held_out) + 1)),
        train_loss=tuple(train),
        validation_loss=tuple(held_out),
        validation_loss_stderr=tuple(errors),
    )


@symptom("watched_overfitting", reads=Observations)
def watched_overfitting(seen: Observations) -> list[Finding]:
    """The evaluation loss rose above its minimum by more than chance while the training loss fell on.

    A fault where it ended above the loss of a constant answer, else an advice: the loop may keep the best weights, which is not seen.
    """
    curves, course = curves_of(seen), course_of(seen)
    if curves is None or course is None or not course.minimised:
        return []
    rise = validation_rise(curves)
    if rise is None:
        return []
    worse = course.trivial is not None and rise.latest > course.trivial
    return [
        Finding(
            symptom="overfitting",
            level="fault" if worse else "advice",
            confidence=rise.confidence,
            where="evaluation",
            summary=text(
                "Overfitting: after evaluation {best} of {count} the evaluation loss rose from {lowest} to {latest} while the training "
                "loss fell from {then} to {now}.",
                best=rise.best_epoch,
                count=curves.epochs_done,
                lowest=shown(rise.lowest),
                latest=shown(rise.latest),
                then=shown(rise.train_then),
                now=shown(rise.train_now),
            ),
            evidence={
                "best_evaluation": rise.best_epoch,
                "evaluations": curves.epochs_done,
                "lowest_evaluation_loss": rise.lowest,
                "latest_evaluation_loss": rise.latest,
                "noise": rise.noise,
                "trivial_loss": course.trivial,
                "expected": {"latest_evaluation_loss": f"<= {rise.lowest + 1.96 * rise.noise:.4g}"},
            },
            remedy=text(
                "keep the weights of evaluation {best} (early stopping); weight decay, dropout or more samples help", best=rise.best_epoch
            ),
        )
    ]


@symptom("watched_underfitting", reads=Observations)
def watched_underfitting(seen: Observations) -> list[Finding]:
    """The loss no longer falls, and is hardly below that of a constant answer, in training and evaluation."""
    curves, course = curves_of(seen), course_of(seen)
    if curves is None or course is None or not course.minimised or course.trivial is None or curves.epochs_done < 6:
        return []
    if course.learnt >= NOTHING_LEARNT or curves.validation_loss[-1] < (1 - NOTHING_LEARNT) * course.trivial:
        return []
    if falling(numbers(curves.train_loss[-max(6, curves.epochs_done // 2) :])) > 0.95:
        return []  # still learning
    return [_underfitted(curves, course)]


def _underfitted(curves: Curves, course: Course) -> Finding:
    return Finding(
        symptom="underfitting",
        level="advice",
        confidence=0.7,
        where="loss",
        summary=text(
            "Underfitting: the training loss stands at {now} and no longer falls, and a constant answer gets {trivial}.",
            now=shown(course.now),
            trivial=shown(course.trivial),
        ),
        evidence={
            "loss": course.now,
            "trivial_loss": course.trivial,
            "evaluation_loss": curves.validation_loss[-1],
            "learnt_share": course.learnt,
            "expected": {"learnt_share": f">= {NOTHING_LEARNT}"},
        },
        remedy=text("a larger network, or another kind of it; inputs that say more about the target; less regularisation"),
    )
