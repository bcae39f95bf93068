"""Overfitting: the network answers its own training samples better than new ones, by more than chance and by enough to matter.

Two signs. The *gap*: the same weights, in evaluation mode, score better on the training part than on the validation part. The *rise*: the
validation loss climbs above its minimum while the training loss goes on falling. A rise before which the weights were saved costs time,
not quality, and is said to be so.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from statistics import median
from typing import Any

from pellucid.core.language import Text, text
from pellucid.core.records import Finding, Interval, Score
from pellucid.diagnosis.dynamic.curves import Curves, metric_word, part_word, point_word, shown
from pellucid.diagnosis.dynamic.noise import difference_interval, probability_above, running_median, scatter
from pellucid.diagnosis.registry import symptom

# A gap matters when it takes more than this share of what was learnt (training score minus trivial score) ...
MATERIAL = 0.05
# ... and makes the error on new samples larger than the training error by more than this share of it. A linear model with p parameters,
# fitted to n samples, makes (1 + p/n) / (1 - p/n) times its own squared error on new samples in the mean: 1.25 times at the old rule of
# thumb of nine to ten samples for a parameter.
EXCESS = 0.25
SEVERE = 3.0  # times a gap that matters: nobody would call this ordinary
NOTHING_LEARNT = 0.10  # of the way from the trivial to a perfect score on the training part: too little to speak of memorising


@dataclass(frozen=True)
class Gap:
    """Training score minus held-out score, positive when the training part is answered better."""

    value: float
    interval: Interval | None
    learnt: float  # training score minus trivial score, in the same direction: what could be lost
    train_error: float  # how far the training score is from a perfect one

    @property
    def lost(self) -> float:
        """The share of what was learnt that does not carry over to new samples."""
        return self.value / self.learnt

    @property
    def bound(self) -> float:
        """The smallest gap that matters."""
        return max(MATERIAL * self.learnt, EXCESS * self.train_error)

    @property
    def material(self) -> bool:
        """The whole 95 % interval lies above what matters."""
        return self.interval is not None and self.interval.low > self.bound

    @property
    def severe(self) -> bool:
        return self.interval is not None and self.interval.low > SEVERE * self.bound

    def confidence_above(self, bound: float) -> float:
        """How sure it is that the gap is larger."""
        deviation = (self.value - self.interval.low) / 1.96 if self.interval else 0.0
        return probability_above(self.value, bound, deviation)

    def confidence_below(self, bound: float) -> float:
        """How sure it is that the gap is smaller."""
        deviation = (self.interval.high - self.value) / 1.96 if self.interval else 0.0
        return probability_above(bound, self.value, deviation)


def generalisation_gap(curves: Curves) -> Gap | None:
    """The gap of the weights that were kept; None without both scores, or where too little was learnt to lose any of it."""
    train, held_out = curves.train, curves.held_out
    if train is None or held_out is None or curves.simple:  # a forecast's parts lie in different times: their errors are no pair
        return None
    share = curves.share(train.value)
    if share is not None and share < NOTHING_LEARNT:
        return None
    sign = 1.0 if curves.higher_is_better else -1.0
    # Where the trivial score is unknown, the score's own size is the scale.
    learnt = sign * (train.value - curves.trivial) if curves.trivial is not None else max(abs(train.value), abs(held_out.value))
    if learnt <= 0:
        return None
    if train.interval is None and train.name != "accuracy":  # the training part is all there is of its kind: its score is exact
        train = replace(train, interval=Interval(low=train.value, high=train.value))
    interval = difference_interval(train, held_out)
    if interval is not None and sign < 0:
        interval = Interval(low=-interval.high, high=-interval.low)
    train_error = max(0.0, 1.0 - train.value) if sign > 0 else abs(train.value)
    return Gap(sign * (train.value - held_out.value), interval, learnt, train_error)


@dataclass(frozen=True)
class Rise:
    """The validation loss after its minimum, where it climbed while the training loss fell."""

    best_epoch: int  # number of the epoch with the lowest validation loss
    lowest: float
    latest: float
    train_then: float
    train_now: float
    kept: float  # validation loss of the weights that were kept
    noise: float  # standard deviation of the rise by chance
    confidence: float

    @property
    def harmless(self) -> bool:
        """The weights of the minimum were kept, or some that are as good within noise."""
        return self.kept - self.lowest <= 1.96 * self.noise


def validation_rise(curves: Curves) -> Rise | None:
    """Whether the validation loss rose above its minimum by more than chance and materially, the training loss still falling.

    Chance has three parts: the sampling error of both losses (taken as independent although both are measured on the same samples: this
    errs on the careful side), the scatter from epoch to epoch, and the luck of a minimum over many epochs, sqrt(2 ln n) deviations.
    """
    losses, train, n = curves.validation_loss, curves.train_loss, len(curves.validation_loss)
    if n < 6 or len(train) != n or not all(map(math.isfinite, (*losses, *train))):
        return None
    window = 3 if n < 30 else 5
    smooth = running_median(losses, window)
    best = min(range(n), key=lambda i: smooth[i])
    after = n - 1 - best
    if after < 3:
        return None
    late = min(5, after // 2 + 1)
    lowest, latest = smooth[best], median(losses[-late:])
    stderr = curves.validation_loss_stderr if len(curves.validation_loss_stderr) == n else (0.0,) * n
    jitter = scatter(losses)
    noise = math.hypot(stderr[best], median(stderr[-late:]), jitter / math.sqrt(late))
    luck = jitter * math.sqrt(2 * math.log(n) / window)
    reference = curves.reference_loss()
    scale = max((reference if reference is not None else losses[0]) - lowest, abs(lowest) * MATERIAL)
    rise = latest - lowest - luck
    if rise <= 0 or rise < 1.96 * noise or rise < MATERIAL * scale:
        return None
    train_then, train_now = running_median(train, window)[best], median(train[-late:])
    if train_now > train_then - 2 * scatter(train) / math.sqrt(late):
        return None  # both losses rise: that is divergence or a learning rate too large, not overfitting
    if reference is not None and max(reference - train_now, rise) < NOTHING_LEARNT * reference:
        return None  # nothing was learnt by heart that could cost anything
    kept = losses[curves.epochs.index(curves.kept_epoch)] if curves.kept_epoch in curves.epochs else losses[-1]
    return Rise(curves.epochs[best], lowest, latest, train_then, train_now, kept, noise, probability_above(rise, MATERIAL * scale, noise))


@dataclass(frozen=True)
class Fall:
    """The score on held-out samples at the minimum of their loss, and at the end."""

    then: float
    now: float
    material: bool  # lower by more than chance, and by more than a share `MATERIAL` of what was learnt


def score_after(curves: Curves, rise: Rise) -> Fall | None:
    """What a rise of the loss cost in the score; None where scores were not measured at each epoch."""
    scores = curves.validation_score
    if len(scores) != len(curves.validation_loss):
        return None
    sign = 1.0 if curves.higher_is_better else -1.0
    late = min(5, (len(scores) - 1 - curves.epochs.index(rise.best_epoch)) // 2 + 1)
    then, now = scores[curves.epochs.index(rise.best_epoch)], median(scores[-late:])
    samples = curves.held_out.samples if curves.held_out is not None else 0
    chance = difference_interval(*(Score(name=curves.primary, value=value, samples=samples) for value in (then, now)))
    learnt = abs(then - (curves.trivial or 0.0))
    surely = chance is None or (chance.low > 0 if sign > 0 else chance.high < 0)
    return Fall(then, now, surely and sign * (then - now) > MATERIAL * learnt)


@symptom("overfitting")
def overfitting(curves: Curves) -> list[Finding]:
    """A material gap, a rise whose damage was kept, or (as a good sign) a rise from which the best weights were saved."""
    gap, rise = generalisation_gap(curves), validation_rise(curves)
    evidence = _evidence(curves, gap, rise)
    if gap is not None and gap.material:
        return [
            Finding(
                symptom="overfitting",
                level="fault" if gap.severe else "advice",
                confidence=gap.confidence_above(gap.bound),
                summary=_gap_summary(curves, gap, rise),
                evidence=evidence,
                remedy=_remedy(curves, rise),
            )
        ]
    if rise is None:
        return []
    course = text(
        "after {best} the validation loss rose from {lowest} to {latest} while the training loss fell from {then} to {now}",
        best=point_word(curves, rise.best_epoch),
        lowest=shown(rise.lowest),
        latest=shown(rise.latest),
        then=shown(rise.train_then),
        now=shown(rise.train_now),
    )
    more = _remedy(curves, rise)
    fallen = score_after(curves, rise)
    if not rise.harmless and fallen is not None and not fallen.material:
        return [
            Finding(
                symptom="overfitting",
                level="advice",
                confidence=rise.confidence,
                summary=text(
                    "Overfitting of the loss only: {course}. The {metric} did not fall with it, {before} then and {now} now: the network "
                    "grows surer than it should be, and its answers are no worse.",
                    course=course,
                    metric=metric_word(curves.primary),
                    before=shown(fallen.then),
                    now=shown(fallen.now, fallen.then),
                ),
                evidence={**evidence, "score_then": fallen.then, "score_now": fallen.now},
                remedy=text("where probabilities matter: {more}", more=more),
            )
        ]
    if not rise.harmless:
        return [
            Finding(
                symptom="overfitting",
                level="fault",
                confidence=rise.confidence,
                summary=text("Overfitting: {course}, and the best weights were not kept.", course=course),
                evidence=evidence,
                remedy=text("keep the weights of epoch {best}, or stop there (--epochs {best}); or {more}", best=rise.best_epoch, more=more)
                if curves.epochs_trained is None
                else more,
            )
        ]
    if curves.epochs_trained is not None:
        return []  # the weights are the last ones: that these are as good as the best is chance
    kept_epoch = curves.kept_epoch or rise.best_epoch
    wasted = curves.epochs[-1] - kept_epoch
    return [
        Finding(
            symptom="overfitting",
            level="advice" if 2 * wasted > curves.epochs_done and wasted > 20 else "good",
            confidence=rise.confidence,
            summary=text(
                "The network that was kept does not overfit: its weights are those of epoch {kept}, with a validation loss of {loss}. "
                "Training went on to memorise: {course}. That cost time, {wasted} of {epochs} epochs, and no accuracy.",
                kept=kept_epoch,
                loss=shown(rise.kept),
                course=course,
                wasted=wasted,
                epochs=curves.epochs_done,
            ),
            evidence=evidence,
            remedy=text("--epochs {epochs} saves that time; for a better result {more}", epochs=kept_epoch, more=more),
        )
    ]


def _gap_summary(curves: Curves, gap: Gap, rise: Rise | None) -> Text:
    assert curves.train is not None
    assert curves.held_out is not None
    assert gap.interval is not None
    said = text(
        "{what}: {metric} is {train} on the training part but {held_out} on the {part}; gap {gap}, 95 % interval [{low}, {high}]. "
        "{lost:.0f} % of what was learnt does not carry over to new samples.",
        what=text("Overfitting") if gap.severe else text("Mild overfitting"),
        metric=metric_word(curves.primary),
        train=shown(curves.train.value),
        held_out=shown(curves.held_out.value),
        part=part_word(curves.held_out_part),
        gap=shown(gap.value),
        low=shown(gap.interval.low, gap.value),
        high=shown(gap.interval.high, gap.value),
        lost=100 * min(gap.lost, 1.0),
    )
    if rise is None:
        return said
    return text(
        "{said} The validation loss rose from {lowest} after {best} to {latest} while the training loss went on falling.",
        said=said,
        best=point_word(curves, rise.best_epoch),
        lowest=shown(rise.lowest),
        latest=shown(rise.latest),
    )


def _evidence(curves: Curves, gap: Gap | None, rise: Rise | None) -> dict[str, Any]:
    """The numbers, and (`expected`) what they should be."""
    evidence: dict[str, Any] = {"metric": curves.primary, "trivial": curves.trivial}
    for part in ("train", "validation", "test"):
        score = getattr(curves, part)
        if score is not None:
            evidence[part] = score.value
            evidence[f"{part}_samples"] = score.samples
    if gap is not None:
        evidence["gap"] = gap.value
        evidence["gap_interval"] = [gap.interval.low, gap.interval.high] if gap.interval else None
        evidence["lost_share"] = gap.lost
        evidence["expected"] = {"gap": f"<= {gap.bound:.3g}"}
    if rise is not None:
        if curves.epochs_trained is None:
            evidence |= {"best_epoch": rise.best_epoch, "kept_epoch": curves.kept_epoch}
        else:
            evidence["best_evaluation"] = rise.best_epoch
        evidence["lowest_validation_loss"] = rise.lowest
        evidence["latest_validation_loss"] = rise.latest
        evidence["latest_validation_loss_noise"] = rise.noise
    return evidence


def _remedy(curves: Curves, rise: Rise | None) -> Text:
    """What holds a network back: of `fit` the options that this training has not used to the full."""
    if curves.epochs_trained is not None:
        return text("keep the weights of the lowest loss on held-out samples; weight decay, dropout or more samples help")
    options: list[str] = []
    settings = curves.settings
    without_effect = settings.get("without_effect", ())  # options that this network or optimiser has no use for
    augment = str(settings.get("augment", "none"))
    if len(curves.input_shape) == 3 and augment in ("none", "auto"):
        options.append("--augment shift")
    elif len(curves.input_shape) == 3 and "cutout" not in augment:
        options.append(f"--augment {augment},cutout")
    weight_decay = settings.get("weight_decay", 0.0)
    weight_decay = float(weight_decay) if isinstance(weight_decay, (int, float)) else 0.0
    if weight_decay < 0.3 and "weight_decay" not in without_effect:
        options.append(f"--weight-decay {max(0.01, 10 * weight_decay):g}")
    dropout = settings.get("dropout", 0.0)
    if isinstance(dropout, (int, float)) and dropout < 0.5 and "dropout" not in without_effect:
        options.append(f"--dropout {0.3 if dropout < 0.3 else 0.5:g}")
    if rise is not None and not rise.harmless:
        options.append(f"--epochs {rise.best_epoch}")
    if not options:
        return text("train on more samples, or choose a smaller network")
    return text("try one of these and compare on the validation part: {options}; more training samples help most", options=options[:3])
