"""The evidence for a verdict: what was measured while training and at its end, and what guessing would have got."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from pellucid.core.language import Text, text
from pellucid.core.records import Record, Score

METRIC_WORDS = {
    "accuracy": text("accuracy"),
    "balanced_accuracy": text("balanced accuracy"),
    "precision": text("precision (mean over the classes)"),
    "recall": text("recall (mean over the classes)"),
    "f1": text("F1 score (mean over the classes)"),
    "roc_auc": text("area under the ROC curve"),
    "r2": text("R2"),
    "rmse": text("root mean squared error"),
    "mae": text("mean absolute error"),
    "mse": text("mean squared error"),
    "log_loss": text("log loss"),
    "top5_accuracy": text("top-5 accuracy"),
    "mean_iou": text("mean IoU"),
    "pixel_accuracy": text("pixel accuracy"),
    "dice": text("Dice (mean over the classes)"),
    "mase": text("mean absolute scaled error"),
    "smape": text("symmetric mean absolute percentage error"),
    "coverage_80": text("share inside the 80 % interval"),
    "coverage_95": text("share inside the 95 % interval"),
    "loss": text("loss"),
}
_CHANCE = {"r2": 0.0, "roc_auc": 0.5}  # what guessing gets whatever the data are


def metric_word(name: str) -> Text | str:
    """The metric's name for a person; a name we do not know stands for itself."""
    return METRIC_WORDS.get(name, name)


def part_word(part: str) -> Text:
    """A part of the data, in the middle of a sentence."""
    return {"train": text("training part"), "validation": text("validation part"), "test": text("test part")}[part]


def point_word(curves: Curves, number: int) -> Text:
    """A point of the curves in the middle of a sentence."""
    if curves.epochs_trained is None:
        return text("epoch {number}", number=number)
    return text("evaluation {number} of {count}", number=number, count=curves.epochs_done)


def shown(value: float | None, beside: float | None = None) -> str:
    """A number as a person reads it: three decimals for scores and everyday losses, four digits for the rest, 32 310 and not 3.231e+04.

    `beside` is the number it stands beside and is written like: an end of an interval like its middle.
    """
    if value is None:
        return "-"
    scale = abs(value if beside is None else max(value, beside, key=abs))
    if 0.001 <= scale < 10 or value == 0:
        return f"{value:.3f}"
    return f"{value:,.0f}".replace(",", " ") if 1000 <= scale < 1e9 else f"{value:.4g}"


@dataclass(frozen=True, kw_only=True)
class Curves(Record):
    """Training curves (one value per epoch, in order) and the final scores of the weights that were kept.

    Losses of an epoch are measured in evaluation mode with one set of weights; where a program only has the running mean over the
    epoch's batches, that mean stands for the training loss (it is a little too high: dropout was on and the weights were older).
    `train`, `validation` and `test` are the primary metric of one and the same network, so that their difference means something.
    """

    primary: str  # the metric of the three scores below: "accuracy", "r2", ...
    train: Score | None = None
    validation: Score | None = None
    test: Score | None = None
    trivial: float | None = None  # the primary metric of the best constant answer
    trivial_loss: float | None = None  # the loss of the best constant answer
    simple_name: str = ""  # of a forecast: the simple one that is best on the held-out part, such as "seasonal_naive"
    simple: Mapping[str, float] = field(default_factory=lambda: cast("dict[str, float]", {}))  # part -> its primary metric there
    epochs: tuple[int, ...] = ()  # numbers of the epochs, from 1; of the evaluations, where `epochs_trained` is given
    epochs_trained: int | None = None  # of a training of the user's own that was evaluated now and then; None: of each epoch, by `fit`
    train_loss: tuple[float, ...] = ()
    validation_loss: tuple[float, ...] = ()  # empty without a validation part
    validation_loss_stderr: tuple[float, ...] = ()  # standard error of that mean over the validation samples
    validation_score: tuple[float, ...] = ()  # the primary metric on the validation part, where it was measured at each epoch
    learning_rate: tuple[float, ...] = ()
    kept_epoch: int | None = None  # whose weights were kept; None: those of the last epoch
    stopped: str = "epochs"  # "epochs", "patience", "until", "budget" or "interrupted"
    input_shape: tuple[int, ...] = ()  # of one sample; (C, H, W) for images
    settings: Mapping[str, Any] = field(default_factory=lambda: cast("dict[str, Any]", {}))  # resolved options, so that a remedy is new

    @classmethod
    def from_history(
        cls,
        rows: Iterable[Mapping[str, Any]],
        *,
        primary: str,
        scores: Mapping[str, Sequence[Score]] | None = None,
        class_counts: Sequence[int] | None = None,
        target_variance: float | None = None,
        trivial: Mapping[str, float] | None = None,
        kept_epoch: int | None = None,
        stopped: str = "epochs",
        input_shape: Sequence[int] = (),
        settings: Mapping[str, Any] | None = None,
    ) -> Curves:
        """Collect what was measured.

        Args:
            rows: one mapping per epoch: `epoch`, `learning_rate`, `train` and `validation` with `loss`, `loss_stderr` and metrics
                (the lines of metrics.jsonl).
            primary: the metric that the verdict is about.
            scores: part ("train", "validation", "test") -> the final scores of the kept weights, in evaluation mode.
            class_counts: training samples per class; gives what the trivial predictor gets in classification.
            target_variance: of the targets the loss sees (1 when they are standardised), for a squared loss.
            trivial: metric or "loss" -> what the trivial predictor gets, where it is known better than from the two above.
            kept_epoch: the epoch whose weights were kept.
            stopped: "epochs", "patience", "until", "budget" or "interrupted".
            input_shape: of one sample.
            settings: the resolved options of the training.
        """
        rows = list(rows)
        weighed = (settings or {}).get("class_weight") is not None
        if weighed and class_counts is not None:  # weighed classes count alike (exactly so where the weights are balanced)
            class_counts = [1] * len(class_counts)
        known = dict(_trivial(class_counts, target_variance), **(trivial or {}))
        chosen = {part: next((s for s in some if s.name == primary), None) for part, some in (scores or {}).items()}
        return cls(
            primary=primary,
            train=chosen.get("train"),
            validation=chosen.get("validation"),
            test=chosen.get("test"),
            trivial=known.get(primary, _CHANCE.get(primary)),
            trivial_loss=known.get("loss"),
            epochs=tuple(int(row.get("epoch", number)) for number, row in enumerate(rows, start=1)),
            train_loss=_column(rows, "train", "loss") or _column(rows, "train", "running_loss"),
            validation_loss=_column(rows, "validation", "loss"),
            validation_loss_stderr=_column(rows, "validation", "loss_stderr"),
            learning_rate=tuple(float(row["learning_rate"]) for row in rows) if all("learning_rate" in row for row in rows) else (),
            kept_epoch=kept_epoch,
            stopped=stopped,
            input_shape=tuple(input_shape),
            settings=dict(settings or {}),
        )

    @property
    def held_out(self) -> Score | None:
        """The score on samples that did not form the weights: the validation part, else the test part."""
        return self.validation or self.test

    @property
    def held_out_part(self) -> str:
        return "validation" if self.validation else "test"

    @property
    def epochs_done(self) -> int:
        return len(self.epochs)

    @property
    def higher_is_better(self) -> bool:
        score = self.train or self.held_out
        return score.higher_is_better if score else True

    def share(self, value: float) -> float | None:
        """How far `value` is from the trivial predictor (0) to a perfect one (1); None where the trivial score is unknown."""
        if self.trivial is None:
            return None
        perfect = 1.0 if self.higher_is_better else 0.0
        return (value - self.trivial) / (perfect - self.trivial) if perfect != self.trivial else None

    def reference_loss(self) -> float | None:
        """The loss from which learning started: that of the best constant answer, else that of the first epoch."""
        if self.trivial_loss is not None:
            return self.trivial_loss
        first = self.validation_loss or self.train_loss
        return first[0] if first else None


def _column(rows: Sequence[Mapping[str, Any]], part: str, name: str) -> tuple[float, ...]:
    """One value per epoch, or nothing where an epoch lacks it: a curve with holes cannot be judged."""
    values: list[Any] = [(row.get(part) or {}).get(name) for row in rows]
    return () if any(value is None for value in values) else tuple(float(value) for value in values)


def _trivial(class_counts: Sequence[int] | None, target_variance: float | None) -> dict[str, float]:
    """The best constant answer: the most frequent class, its loss the entropy of the classes; or the mean, its loss the variance."""
    if class_counts is not None and sum(class_counts) > 0:
        shares = [count / sum(class_counts) for count in class_counts if count > 0]
        return {
            "accuracy": max(shares),
            "balanced_accuracy": 1 / len(class_counts),
            "loss": -sum(share * math.log(share) for share in shares),
        }
    if target_variance is not None:
        return {"r2": 0.0, "loss": target_variance}
    return {}
