"""What is measured of a finished training, as records in the run: how good the network is, where it errs, what simpler models reach.

Training writes them (`records/evaluation.json`, `mistakes.json`, `baselines.json`, `network.json`); the report and `Run` read them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from pellucid.core.language import Text
from pellucid.core.records import Interval, Record, Score

# -- how good ----------------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class ClassScores(Record):
    """One class: of those answered so, how many are (precision); of those that are, how many were found (recall)."""

    name: str
    samples: int  # of this class in the part
    predicted: int  # how often the network answered it
    precision: Score | None  # TP / (TP + FP); None where the class was never answered
    recall: Score | None  # TP / (TP + FN), of two classes also called sensitivity; None where the part has no such sample
    f1: Score | None  # 2 TP / (2 TP + FP + FN); None where neither occurs
    specificity: Score | None = None  # TN / (TN + FP); of two classes only
    iou: Score | None = None  # TP / (TP + FP + FN); of the pixels of masks only


@dataclass(frozen=True, kw_only=True)
class Confusion(Record):
    """What was taken for what. Of many classes the whole matrix is not kept, only the pairs that were confused most."""

    classes: tuple[str, ...] = ()  # of the matrix; () where there are too many
    counts: tuple[tuple[int, ...], ...] = ()  # counts[actual][predicted]
    pairs: tuple[tuple[str | int, ...], ...] = ()  # (actual, predicted, count), wrong answers only, the commonest first


@dataclass(frozen=True, kw_only=True)
class CalibrationBin(Record):
    """The samples whose largest probability lies in (low, high]."""

    low: float
    high: float
    samples: int
    confidence: float | None  # mean of the largest probability; None without samples
    accuracy: float | None  # share answered right


@dataclass(frozen=True, kw_only=True)
class Calibration(Record):
    """Whether a network that says 80 % is right 8 times of 10."""

    ece: Score  # expected calibration error: sum over bins of samples / N |accuracy - confidence|
    bins: tuple[CalibrationBin, ...]
    chance: Interval | None = None  # where the ECE of a perfectly calibrated network lies with as many samples: it is never 0


@dataclass(frozen=True, kw_only=True)
class TargetEvaluation(Record):
    """One regression target, in its own unit."""

    name: str
    scores: tuple[Score, ...]  # r2, rmse, mae
    pairs: tuple[tuple[float, ...], ...]  # (actual, predicted) of at most 2000 samples drawn at random
    residual_quantiles: Mapping[str, float]  # "0.025" -> quantile of predicted - actual


@dataclass(frozen=True, kw_only=True)
class PartEvaluation(Record):
    """One part of the data."""

    samples: int
    scores: tuple[Score, ...]
    per_class: tuple[ClassScores, ...] = ()  # in the classes' order; of many classes those with the lowest F1, lowest first
    classes_left_out: int = 0  # how many classes `per_class` leaves out
    positive_class: str | None = None  # of two classes: the one that sensitivity and specificity speak of
    sensitivity: Score | None = None  # the positive class's recall
    specificity: Score | None = None  # the other class's recall
    confusion: Confusion | None = None
    calibration: Calibration | None = None
    regression: tuple[TargetEvaluation, ...] = ()
    targets_left_out: int = 0  # how many regression targets are left out


@dataclass(frozen=True, kw_only=True)
class Evaluation(Record):
    """records/evaluation.json: the kept weights, measured on the parts they have not learnt from."""

    task: str  # "classification" or "regression"
    primary: str  # the metric that is named first
    parts: Mapping[str, PartEvaluation]  # "validation", "test"; "train" where nothing else was held out


# -- where it errs -----------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Mistake(Record):
    """One sample that the network answers worst."""

    index: int  # position in the data as they were read, from 0
    identifier: str  # row number or file name
    actual: tuple[str | float, ...]  # the class, or a number per target
    predicted: tuple[str | float, ...]
    probability: float | None = None  # the network's, of its answer
    probability_of_actual: float | None = None
    loss: float  # -ln of the probability of the true class; regression: mean squared error in standard deviations of the targets
    thumbnail: str | None = None  # data:image/png;base64,..., at most 96 x 96 pixels
    values: Mapping[str, Any] = field(default_factory=lambda: cast("dict[str, Any]", {}))  # a table's columns, as the user wrote them
    curves: tuple[tuple[float | None, ...], ...] = ()  # a series, thinned out: a curve for each channel


@dataclass(frozen=True, kw_only=True)
class Mistakes(Record):
    """records/mistakes.json: the worst first."""

    task: str
    part: str  # the part they come from
    samples: int  # how many it has
    wrong: int | None  # how many were answered wrong; None for regression
    mistakes: tuple[Mistake, ...]
    columns_left_out: int = 0  # of a wide table


@dataclass(frozen=True, kw_only=True)
class MaskPicture(Record):
    """One image with its mask, beside what the network answered. Pictures are data:image/png;base64,..."""

    index: int  # position in the data as they were read, from 0
    identifier: str  # file name
    choice: str  # "worst" or "random"
    pixel_accuracy: float
    mean_iou: float  # of the classes that this image shows or was answered
    image: str | None
    mask: str
    answer: str
    mistakes: str  # wrong pixels dark red, void ones white


@dataclass(frozen=True, kw_only=True)
class MaskPictures(Record):
    """records/masks.json: the worst first, then some drawn at random."""

    part: str
    samples: int
    legend: tuple[tuple[str, ...], ...]  # (class, "#rrggbb")
    pictures: tuple[MaskPicture, ...]


@dataclass(frozen=True, kw_only=True)
class Forecast(Record):
    """What was, or will be, forecast from one origin."""

    series: str  # its name; "" where there is only one
    times: tuple[str, ...]  # (h,) as the user's file writes them
    median: tuple[float, ...]  # (h,)
    intervals: Mapping[str, tuple[tuple[float, float], ...]] = field(  # "0.8" -> (h,) lower and upper ends
        default_factory=lambda: cast("dict[str, tuple[tuple[float, float], ...]]", {})
    )
    actual: tuple[float | None, ...] = ()  # (h,) None at steps without a value; () where it is not known yet
    place: int = 0  # of the first step, counted in steps from the start of `past`


@dataclass(frozen=True, kw_only=True)
class Forecasts(Record):
    """records/forecasts.json: one series with forecasts from origins one after the other, every series' next steps, errors by step."""

    part: str  # the part the origins lie in
    origins: int  # that were measured in all
    series: str  # the one that is shown
    past: tuple[float | None, ...]  # its values from before the first origin to the end
    past_times: tuple[str, ...]
    shown: tuple[Forecast, ...]  # from origins a horizon apart
    upcoming: tuple[Forecast, ...]  # after the last value of each series, of the first few
    upcoming_left_out: int = 0
    errors: Mapping[str, tuple[float, ...]] = field(default_factory=lambda: cast("dict[str, tuple[float, ...]]", {}))  # by step, MAE


# -- what simpler models reach -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Difference(Record):
    """The network's score minus a baseline's, on the same samples."""

    metric: str
    value: float
    interval: Interval | None  # paired: both are measured on the same samples
    higher_is_better: bool = True

    @property
    def network_is_better(self) -> bool | None:
        """True or False where the interval shows it, None where it leaves it open."""
        if self.interval is None or self.interval.low <= 0 <= self.interval.high:
            return None
        return (self.interval.low > 0) == self.higher_is_better


@dataclass(frozen=True, kw_only=True)
class Baseline(Record):
    """One simple or classical model, learnt from the same training part."""

    name: str  # "constant", "linear", "decision_tree", "random_forest", "gradient_boosting", "svm", "nearest_neighbour"
    model: str  # scikit-learn's class and what was set: "RandomForestClassifier(n_estimators=200)"
    scores: tuple[Score, ...] = ()
    difference: Difference | None = None
    fit_seconds: float | None = None
    predict_seconds: float | None = None
    train_samples: int = 0  # fewer than the training part has where all of them would have taken too long
    skipped: Text | None = None  # why it was not trained
    notes: tuple[Text, ...] = ()  # what a reader of its score must know


@dataclass(frozen=True, kw_only=True)
class Baselines(Record):
    """records/baselines.json: is the network worth its while on these data?"""

    primary: str
    part: str  # the part all are measured on
    samples: int  # of that part
    train_samples: int = 0  # of the training part
    network: Score | None  # the network's own score in the primary metric
    baselines: tuple[Baseline, ...]
    representation: Text  # what the models saw
    best: str | None = None  # the name of the best baseline
    conclusion: str = "unknown"  # "better", "not_shown", "worse": the network against the best; "unknown" where nothing was measured
    verdict: Text  # the same in words, with numbers
    notes: tuple[Text, ...] = ()  # what a reader of the comparison must know
    seconds: float = 0.0


# -- what the network is -----------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class LayerRow(Record):
    """One layer, in the order of the first calls."""

    path: str  # the module's name in the network: "features.0"; "" for what the network itself computes
    kind: str  # "Conv2d"
    output_shape: tuple[int, ...] | None  # of one sample; None where the output is no tensor
    parameters: int  # 0 where an earlier row has already counted them
    flops: float | None  # forward, one sample, all calls together; a multiplication and an addition are two
    receptive_field: tuple[int, ...] | None = None  # inputs that one output sees, per spatial axis; None where that is not defined
    shared: bool = False  # its parameters are those of an earlier row
    calls: int = 1  # in one forward pass


@dataclass(frozen=True, kw_only=True)
class NetworkTable(Record):
    """records/network.json."""

    rows: tuple[LayerRow, ...]
    input_shape: tuple[int, ...]
    parameters: int  # each counted once
    trainable: int
    flops: float | None  # forward, one sample
    rows_left_out: int = 0
