"""Underfitting: the network has not even learnt its training samples, or was still learning when training ended.

What the best possible network would reach on these data cannot be known from training curves; the only yardstick that is always there is
the trivial predictor, the best constant answer.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

from pellucid.core.language import Text, text
from pellucid.core.records import Change, Finding
from pellucid.diagnosis.dynamic.curves import Curves, metric_word, shown
from pellucid.diagnosis.dynamic.noise import falling, probability_above, scatter
from pellucid.diagnosis.registry import symptom
from pellucid.diagnosis.symptoms.overfitting import NOTHING_LEARNT, generalisation_gap, validation_rise

LEARNT_ALL = 0.97  # of the way to a perfect score on the training part: nothing much is left to learn
MUCH_LEARNT = 0.9  # of the way: one or two epochs that came so far may have been enough
STILL_LEARNING = 0.05  # of all that was learnt, gained in the last quarter: a decay exp(-t/T) stopped before t = 3 T
LOSS_IMPROVED = 0.9  # of the trivial loss: the answers carry information even where the score does not show it
SURELY_BELOW, BELOW = 4.0, 0.5  # deviations of chance, and the share, by which a score lies below the constant answer's
LOSS_CONSTANT = 0.95  # of the trivial loss: the answers are all but constant


@symptom("underfitting")
def underfitting(curves: Curves) -> list[Finding]:
    """The training score is near the trivial one; else the losses were still falling when the planned epochs ended."""
    return unlearning(curves) or near_trivial(curves) or still_falling(curves)


def unlearning(curves: Curves) -> list[Finding]:
    """The loss falls below 0 and the right answers grow fewer than a constant answer has: what is trained is to be wrong.

    A loss below 0, as minus a gain, is no mistake; nor is a score below the constant answer's with a loss that is not learnt.
    """
    share = None if curves.train is None else curves.share(curves.train.value)
    if curves.train is None or share is None or curves.trivial is None or curves.primary != "accuracy" or len(curves.train_loss) < 2:
        return []
    first, last = curves.train_loss[0], curves.train_loss[-1]
    chance = math.sqrt(curves.trivial * (1 - curves.trivial) / max(curves.train.samples, 1))
    if last >= min(first, 0.0) or curves.train.value > min(curves.trivial - SURELY_BELOW * chance, BELOW * curves.trivial):
        return []
    return [
        Finding(
            symptom="flipped_gradient",
            cause="flipped_gradient",
            level="fault",
            confidence=0.9,
            where="loss",
            summary=text(
                "The sign of the loss is wrong: it fell from {first} to {last}, below 0, and the better it is, the worse are the answers: "
                "{metric} on the training part is {train}, and a constant answer gets {trivial}.",
                first=shown(first),
                last=shown(last),
                metric=metric_word(curves.primary),
                train=shown(curves.train.value),
                trivial=shown(curves.trivial),
            ),
            evidence={
                "first_loss": first,
                "loss": last,
                "train": curves.train.value,
                "trivial": curves.trivial,
                "expected": {"train": f"> {curves.trivial:.3g}"},
            },
            remedy=text("minimise minus the log-probability: put a minus sign before the loss, or use cross_entropy"),
            change=Change(kind="minimise"),
        )
    ]


def near_trivial(curves: Curves) -> list[Finding]:
    """The score on the training part itself, which is no sample but all there is to fit, is near the best constant answer's."""
    share = None if curves.train is None else curves.share(curves.train.value)
    if curves.train is None or share is None or curves.trivial is None:
        return []
    bound = NOTHING_LEARNT
    if curves.train_loss and curves.trivial_loss:
        loss = curves.train_loss[_kept_index(curves)] / curves.trivial_loss
        if loss < LOSS_IMPROVED:
            return []  # rare classes: the most frequent one stays the best answer, but the probabilities are better than constant
        if loss > LOSS_CONSTANT:
            bound = 3 * NOTHING_LEARNT  # such answers can be right a little more often by luck
    if share >= bound:
        return []
    deviation = 0.5 / math.sqrt(max(curves.train.samples, 1))  # of an accuracy near 1/2; the scale of chance for R² too
    return [
        Finding(
            symptom="underfitting",
            level="fault" if share < bound / 2 else "advice",
            confidence=probability_above(bound, share, deviation),
            summary=text(
                "Underfitting: {metric} on the training part itself is {train}, and a constant answer gets {trivial}. The "
                "network has learnt {share:.0f} % of the way to a perfect score: it is too small or too simple, was trained too little, "
                "or the inputs say almost nothing about the target.",
                metric=metric_word(curves.primary),
                train=shown(curves.train.value),
                trivial=shown(curves.trivial),
                share=100 * max(share, 0.0),
            ),
            evidence={
                "metric": curves.primary,
                "train": curves.train.value,
                "trivial": curves.trivial,
                "learnt_share": share,
                "train_samples": curves.train.samples,
                "expected": {"learnt_share": f">= {bound:.3g}"},
            },
            remedy=_learn_more(curves),
            change=_longer(curves),
        )
    ]


@dataclass(frozen=True)
class Fall:
    """How much one curve fell over its last quarter."""

    before: float
    after: float
    share: float  # of all that was learnt so far
    certainty: float  # that it falls at all


def still_falling(curves: Curves) -> list[Finding]:
    """Too few epochs: both losses fell steadily over the last quarter of the planned epochs, by more than chance and materially.

    With a learning rate that is annealed to nothing every loss falls at the end and then stops. There the losses must have been falling
    both at the end and before the rate sank to half of its largest value, and twice as much. Nothing is said when
    training was ended by its own success (early stopping, `until`), when the training part is learnt already, or when the network overfits.
    """
    if curves.stopped in ("patience", "until"):
        return []
    share = None if curves.train is None else curves.share(curves.train.value)
    if len(curves.train_loss) < 3:
        return _too_short(curves, share)
    gap = generalisation_gap(curves)
    if (share is not None and share >= LEARNT_ALL) or (gap is not None and gap.material) or validation_rise(curves) is not None:
        return []
    epochs = curves.epochs_done
    end = _before_annealing(curves.learning_rate, epochs)
    annealed = end < epochs
    falls: list[Fall] = []
    for losses in (curves.train_loss, curves.validation_loss):
        for stop in {epochs, end} if losses else ():
            fall = fall_at_end(losses[:stop], curves.reference_loss())
            if fall is None or fall.certainty < 0.98 or fall.share < STILL_LEARNING * (1 + annealed):
                return []
            falls.append(fall)
    watched = fall_at_end((curves.validation_loss or curves.train_loss)[:end], curves.reference_loss())
    assert watched is not None
    values = {
        "before": shown(watched.before),
        "after": shown(watched.after),
        "share": 100 * watched.share,
        "window": text("{count} epochs", count=_quarter(end))
        if curves.epochs_trained is None
        else text("{count} of {whole} evaluations", count=_quarter(end), whole=epochs),
    }
    epochs = curves.epochs_trained or epochs
    if annealed:
        summary = text(
            "Underfitting: too few epochs. The loss was still falling when the schedule began to lower the learning rate (from {before} to "
            "{after} over {window}, {share:.0f} % of all that was learnt by then).",
            **values,
        )
    else:
        summary = text(
            "Underfitting: too few epochs. The loss was still falling when training ended after epoch {epochs} (from {before} to {after} "
            "over the last {window}, {share:.0f} % of all that was learnt).",
            epochs=epochs,
            **values,
        )
    return [
        Finding(
            symptom="underfitting",
            level="advice",
            confidence=min(0.95, *(fall.certainty for fall in falls)),
            summary=summary,
            evidence={
                "metric": curves.primary,
                "trivial": curves.trivial,
                "epochs": epochs,
                "loss_before": watched.before,
                "loss_after": watched.after,
                "share_of_last_quarter": watched.share,
                "expected": {"share_of_last_quarter": f"<= {STILL_LEARNING}"},
            },
            remedy=_train_longer(curves, _round_up(3 * epochs)),
            change=_longer(curves),
        )
    ]


def _too_short(curves: Curves, share: float | None) -> list[Finding]:
    """One or two epochs have no curve whose end could be judged; where the training part is not learnt yet, more are worth trying."""
    epochs = curves.epochs_trained or curves.epochs_done
    if curves.train is None or share is None or share >= MUCH_LEARNT or not epochs:
        return []
    values = {"metric": metric_word(curves.primary), "train": shown(curves.train.value), "epochs": epochs}
    if epochs == 1:
        summary = text(
            "Too short to judge: after one epoch, with {metric} {train} on the training part, nobody can tell whether the loss was still "
            "falling.",
            **values,
        )
    else:
        summary = text(
            "Too short to judge: after {epochs} epochs, with {metric} {train} on the training part, nobody can tell whether the loss was "
            "still falling.",
            **values,
        )
    return [
        Finding(
            symptom="too_short",
            level="advice",
            confidence=0.5,
            summary=summary,
            evidence={
                "metric": curves.primary,
                "trivial": curves.trivial,
                "epochs": epochs,
                "train": curves.train.value,
                "learnt_share": share,
                "expected": {"epochs": ">= 3"},
            },
            remedy=_train_longer(curves, max(10, _round_up(3 * epochs))),
            change=_longer(curves),
        )
    ]


def fall_at_end(losses: Sequence[float], reference: float | None) -> Fall | None:
    """How much the last quarter of the epochs lowered the loss, against all that was gained since `reference`."""
    recent = losses[-_quarter(len(losses)) - 1 :]
    if len(recent) < 3 or not all(map(math.isfinite, losses)):
        return None
    ends = max(1, len(recent) // 4)
    before, after = median(recent[:ends]), median(recent[-ends:])
    learnt = max(reference if reference is not None else losses[0], losses[0]) - after
    if learnt <= 0 or before <= after:
        return None
    if len(recent) < 6:  # too few for a test of trend: every epoch lower than the one before, by more than the scatter
        steady = all(a > b for a, b in pairwise(recent)) and before - after > 3 * scatter(losses)
        certainty = 0.98 if steady else 0.5
    else:
        certainty = falling(recent)
    return Fall(before, after, (before - after) / learnt, certainty)


def _quarter(epochs: int) -> int:
    return max(2, math.ceil(epochs / 4))


def _before_annealing(learning_rates: Sequence[float], epochs: int) -> int:
    """How many epochs there are up to the last whose learning rate was more than half of the largest."""
    if len(learning_rates) != epochs:
        return epochs
    half = max(learning_rates) / 2
    return 1 + max(i for i, rate in enumerate(learning_rates) if rate > half)


def _kept_index(curves: Curves) -> int:
    return curves.epochs.index(curves.kept_epoch) if curves.kept_epoch in curves.epochs else -1


def _round_up(epochs: int) -> int:
    """To one or two leading digits: 37 -> 40, 120 -> 120, 1234 -> 1300."""
    unit = max(1, 10 ** (len(str(epochs)) - 2)) if epochs >= 100 else 10 if epochs > 10 else 1
    return math.ceil(epochs / unit) * unit


def _longer(curves: Curves) -> Change | None:
    """Three times the epochs, of a training of the user's own; `fit` has an option for it."""
    return None if curves.epochs_trained is None else Change(kind="epochs", values={"epochs": 3 * curves.epochs_trained})


def _train_longer(curves: Curves, epochs: int) -> Text:
    return text("train longer: --epochs {epochs}", epochs=epochs) if curves.epochs_trained is None else _learn_more(curves)


def _learn_more(curves: Curves) -> Text:
    """What lets a network learn more: of `fit` the options that this training has not used."""
    if curves.epochs_trained is not None:
        return text(
            "train longer (epochs={epochs}); then a larger network, and inputs that say more about the target",
            epochs=3 * curves.epochs_trained,
        )
    options: list[str] = []
    if curves.settings.get("network") in ("logistic", "perceptron", "linear"):
        options.append("--network cnn" if len(curves.input_shape) == 3 else "--network mlp")
    if curves.stopped not in ("patience", "until"):
        options.append(f"--epochs {_round_up(3 * max(curves.epochs_done, 1))}")
    weight_decay, dropout = curves.settings.get("weight_decay"), curves.settings.get("dropout")
    if isinstance(weight_decay, (int, float)) and weight_decay > 0.05:
        options.append("--weight-decay 0")
    if isinstance(dropout, (int, float)) and dropout > 0.3:
        options.append("--dropout 0")
    automatic = curves.settings.get("learning_rate", "auto") == "auto" or "learning_rate" in curves.settings.get("chosen", ())
    options.append("--optimizer adamw" if automatic else "--learning-rate auto")
    return text("try in this order: {options}; then a larger network, and inputs that say more about the target", options=options[:3])
