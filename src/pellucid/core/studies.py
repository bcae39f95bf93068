"""What studies beyond one training found, as records in the run, and in sentences: how much data, which remedy.

`training.studies` writes them; the terminal and the report say them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from pellucid.core.language import Text, text
from pellucid.core.records import Interval, Record
from pellucid.core.wording import count


@dataclass(frozen=True, kw_only=True)
class CurvePoint(Record):
    """The same network after learning from so many samples, a training for each seed."""

    samples: int
    errors: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class Needed(Record):
    """How many training samples a smaller error needs. None stands for: no number of them."""

    error: float
    samples: float | None  # the median of the laws that fit
    low: float | None  # 95 %
    high: float | None


@dataclass(frozen=True, kw_only=True)
class HeldBack(Record):
    """The law of the smaller sizes alone, asked for the mean error at the largest one."""

    samples: int
    predicted: float
    interval: Interval  # of such a mean, the noise of its trainings included
    measured: float

    @property
    def right(self) -> bool:
        return self.interval.low <= self.measured <= self.interval.high


@dataclass(frozen=True, kw_only=True)
class LearningCurve(Record):
    """records/learning_curve.json: error against training samples, and the power laws that fit (core.power_law)."""

    metric: str  # "accuracy"; the error is 1 - metric, or the metric where smaller is better
    complement: bool  # the error is 1 - metric
    part: str  # on which the error is measured
    points: tuple[CurvePoint, ...]  # the fewest samples first
    now: float  # the error of all training samples by the median law: without the noise of the last trainings
    laws: tuple[tuple[float, ...], ...]  # (a, b, c), of equal weight
    needed: tuple[Needed, ...]
    held_back: HeldBack | None  # None where too few sizes are left without the largest
    seconds: float


@dataclass(frozen=True, kw_only=True)
class RemedyTrial(Record):
    """One remedy beside the training as it was, with the same seeds."""

    name: str  # "l2", "dropout", ...
    options: Mapping[str, Any]  # of `fit`, that differ
    against: str  # "over" or "under": fitting
    scores: tuple[float, ...]  # validation, a seed each
    train_scores: tuple[float, ...]
    difference: float  # mean, positive: better than without
    interval: Interval  # 95 %, paired by seed, corrected for the number of remedies
    helps: bool | None  # None: the interval holds zero


@dataclass(frozen=True, kw_only=True)
class RemedyTrials(Record):
    """records/remedies.json: the classical remedies against over- and under-fitting, tried and compared on the validation part."""

    metric: str
    higher_is_better: bool
    scores: tuple[float, ...]  # validation, without a remedy
    train_scores: tuple[float, ...]
    trials: tuple[RemedyTrial, ...]  # the most helpful first
    best: str | None  # the remedy that helps most, if one does
    test_before: tuple[float, ...]  # of all seeds, without and with the best; measured once the best was chosen
    test_after: tuple[float, ...]
    skipped: Mapping[str, Text]  # remedy -> why it was not tried
    seconds: float


REMEDY_NAMES = {
    "l2": text("L2 regularisation (weight decay)"),
    "l1": text("L1 regularisation"),
    "dropout": text("dropout"),
    "label_smoothing": text("label smoothing"),
    "augmentation": text("augmentation"),
    "mixup": text("mixup"),
    "smaller": text("a network half as wide"),
    "longer": text("twice as many passes"),
    "larger": text("a network twice as wide"),
    "less": text("less regularisation"),
}
AGAINST = {"over": text("overfitting"), "under": text("underfitting")}


def curve_sentences(curve: LearningCurve) -> list[Text]:
    """What the learning curve says: the error now, how many samples a smaller one needs, whether the law foretold the last point."""
    last = curve.points[-1]
    told = [text("{samples} training samples give an error of {error} ({metric}; mean of {seeds} trainings), {law} by the power law",
                 samples=count(last.samples), error=_error(curve, fmean(last.errors)), metric=_metric(curve), seeds=len(last.errors),
                 law=_error(curve, curve.now))]  # fmt: skip
    told += [_needed(curve, needed, last.samples) for needed in curve.needed]
    if curve.held_back is not None:
        held = curve.held_back
        words = {"predicted": _error(curve, held.predicted), "low": _error(curve, held.interval.low),
                 "high": _error(curve, held.interval.high), "measured": _error(curve, held.measured),
                 "samples": count(held.samples)}  # fmt: skip
        told.append(
            text("checked: from the smaller sizes alone {predicted} ({low} to {high}) was foretold for {samples} samples; "
                 "measured {measured}", **words)
            if held.right
            else text("doubtful: from the smaller sizes alone {predicted} ({low} to {high}) was foretold for {samples} samples, and "
                      "measured was {measured}: the error does not fall by one power law here", **words)
        )  # fmt: skip
    return told


def _metric(curve: LearningCurve) -> str:
    return f"1 - {curve.metric}" if curve.complement else curve.metric


def _error(curve: LearningCurve, error: float) -> str:
    return f"{error:.2%}" if curve.complement else f"{error:.3g}"


def _needed(curve: LearningCurve, needed: Needed, now: int) -> Text:
    error = _error(curve, needed.error)
    if needed.low is None:
        return text("an error of {error}: more data of this kind will not bring it", error=error)
    if needed.samples is None:
        return text("an error of {error}: more than {low} samples, and probably no number of them", error=error, low=count(needed.low))
    more = count(max(0.0, needed.samples - now))
    if needed.high is None:
        return text("an error of {error}: about {more} samples more ({low} in all at least; that it can be reached is not certain)",
                    error=error, more=more, low=count(needed.low))  # fmt: skip
    return text("an error of {error}: about {more} samples more ({low} to {high} in all)", error=error, more=more,
                low=count(needed.low), high=count(needed.high))  # fmt: skip


def remedy_sentences(trials: RemedyTrials) -> list[Text]:
    """Where the training stands, what helps, what harms, what leaves it open."""
    told = [text("without a remedy: training {train}, validation {validation} ({metric}; mean of {seeds} trainings)",
                 train=f"{fmean(trials.train_scores):.4g}", validation=f"{fmean(trials.scores):.4g}", metric=trials.metric,
                 seeds=len(trials.scores))]  # fmt: skip
    for trial in trials.trials:
        words: dict[str, Any] = {"name": REMEDY_NAMES.get(trial.name, trial.name), "change": f"{trial.difference:+.4f}",
                                 "low": f"{trial.interval.low:+.4f}", "high": f"{trial.interval.high:+.4f}"}  # fmt: skip
        if trial.helps:
            told.append(text("helps: {name}, {change} ({low} to {high}): {options}", options=options_of(trial), **words))
        elif trial.helps is False:
            told.append(text("harms: {name}, {change} ({low} to {high})", **words))
        else:
            told.append(text("open: {name}, {change} ({low} to {high})", **words))
    if trials.best is None:
        told.append(text("no remedy is shown to help: leave the training as it is"))
    elif trials.test_after:
        told.append(text("with {name} on the test part: {after} instead of {before}", name=REMEDY_NAMES.get(trials.best, trials.best),
                         after=f"{fmean(trials.test_after):.4g}", before=f"{fmean(trials.test_before):.4g}"))  # fmt: skip
    return told


def options_of(trial: RemedyTrial) -> str:
    """The options as the command line takes them."""
    words: list[str] = []
    for name, value in trial.options.items():
        if isinstance(value, Mapping):
            for own, amount in value.items():
                amount = ",".join(str(item) for item in amount) if isinstance(amount, (list, tuple)) else amount
                words.append(f"--network-option {own}={amount}")
        else:
            words.append(f"--{name.replace('_', '-')} {value:g}" if isinstance(value, float) else f"--{name.replace('_', '-')} {value}")
    return " ".join(words)
