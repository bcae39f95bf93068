"""How good a network is: metrics by name, their 95 % intervals, and the condition of `until`.

Every metric is a function of sums over samples (counts of the confusion matrix, sums of squared errors): an epoch costs one pass, and a
bootstrap no second one, since resampling draws how often each cell or block of samples occurs (Efron and Tibshirani 1993, section 6.4).
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pellucid.core.errors import OptionError, OptionTypeError, did_you_mean
from pellucid.core.language import text
from pellucid.core.numerics import wilson_interval
from pellucid.core.records import Interval, Score, Task
from pellucid.training.forecasting import measures as forecasts
from pellucid.training.losses import probabilities
from pellucid.training.masks.measures import FROM_PIXELS, answered, commonest_at_each_place, like, pixel_counts

RESAMPLES = 1000
BLOCKS = 2000  # samples are resampled one by one up to this number, in random blocks above it
TOP = 5  # of top5_accuracy
_ENTRIES = 2**22  # outputs turned into probabilities together


@dataclass(frozen=True)
class Metric:
    """One row of the table."""

    name: str
    task: str  # the kind of task it belongs to
    equation: str
    higher_is_better: bool = True
    limits: tuple[float, float] = (0.0, 1.0)  # the values it can take
    each_epoch: bool = False  # cheap: measured after every epoch, so that `until` can name it
    also: tuple[str, ...] = ()  # further kinds of task that are measured by it


METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("accuracy", "classification", "share of samples whose largest output is their class", each_epoch=True),
        Metric("balanced_accuracy", "classification", "mean over the classes that occur of recall_k", each_epoch=True),
        Metric("precision", "classification", "mean over classes of TP_k / (TP_k + FP_k); 0 where never predicted"),
        Metric("recall", "classification", "mean over classes of TP_k / (TP_k + FN_k); 0 where predicted and absent"),
        Metric("f1", "classification", "mean over classes of 2 TP_k / (2 TP_k + FP_k + FN_k)", each_epoch=True),
        Metric("log_loss", "classification", "- 1 / N sum_i ln p_i[y_i], in nats", False, (0.0, math.inf)),
        Metric("roc_auc", "classification", "two classes: P(score of a random second-class sample > that of a first-class one), ties half"),
        Metric("top5_accuracy", "classification", "more than 10 classes: share of samples whose class is among the 5 largest outputs"),
        Metric("r2", "regression", "1 - sum (y - z)^2 / sum (y - mean y)^2, mean over targets", True, (-math.inf, 1.0), True),
        Metric(
            "rmse",
            "regression",
            "sqrt(1 / N sum (y - z)^2), mean over targets, in the target's unit",
            False,
            (0.0, math.inf),
            True,
            ("forecasting",),
        ),
        Metric(
            "mae",
            "regression",
            "1 / N sum |y - z|, mean over targets, in the target's unit",
            False,
            (0.0, math.inf),
            True,
            ("forecasting",),
        ),
        Metric("mse", "regression", "1 / N sum (y - z)^2, mean over targets", False, (0.0, math.inf)),
        Metric("mase", "forecasting", "mae / mean |y_t - y_(t - season)| of the training part", False, (0.0, math.inf), True),
        Metric("smape", "forecasting", "mean 200 |y - z| / (|y| + |z|), in percent", False, (0.0, 200.0)),
        Metric("coverage_80", "forecasting", "share of the values inside the 80 % interval"),
        Metric("coverage_95", "forecasting", "share of the values inside the 95 % interval"),
        Metric("mean_iou", "segmentation", "mean over classes of TP_k / (TP_k + FP_k + FN_k), in pixels of all images", each_epoch=True),
        Metric("pixel_accuracy", "segmentation", "share of pixels whose largest output is their class", each_epoch=True),
        Metric("dice", "segmentation", "mean over classes of 2 TP_k / (2 TP_k + FP_k + FN_k), in pixels of all images", each_epoch=True),
    )
}


def predicted_classes(output: Tensor) -> Tensor:
    """(N,) class indices from logits (N, K), or (N, 1) for two classes, where above 0 is the second class."""
    return (output[:, 0] > 0).long() if output.shape[1] == 1 else output.argmax(1)


def quick_metrics(output: Tensor, targets: Tensor, task: Task, part: Any = None) -> dict[str, float]:
    """The metrics marked `each_epoch`, in torch: output (N, columns) against targets (N,) or (N, d), regression in the user's units; scores
    (N, K, H, W) or class maps (N, H, W) against masks (N, H, W).

    A metric that has no value here (r2 of a constant target) is left out. `part`, here and below: whose outputs these are, where several
    series have each a scale of its own.
    """
    values = MEASURES[task.kind].quick(output, targets, task, *_scales(part))
    return {name: value for name, value in values.items() if not math.isnan(value)}


def full_scores(
    output: Tensor, targets: Tensor, task: Task, *, loss: Any = "cross_entropy", seed: int = 0, intervals: bool = True, part: Any = None
) -> list[Score]:
    """Every metric of the task that has a value here, with its 95 % interval, on samples the network has not learnt from.

    accuracy and top5_accuracy: Wilson's interval (right at 0 and 1 too). roc_auc: DeLong's. The others: percentiles of 1000 bootstrap
    resamples drawn from their own generator; None where all resamples give one value, and so say nothing about the uncertainty.

    Args: output (N, columns), targets (N,) class indices or (N, d), regression in the user's units; `loss` tells how outputs become
    probabilities.
    """
    generator = np.random.default_rng(seed) if intervals else None  # None: values alone, at no cost
    output, targets = output.detach().cpu(), targets.detach().cpu()
    if not len(output):
        return []
    measured = MEASURES[task.kind].full(output, targets, task, loss, generator, *_scales(part))
    return [
        Score(
            name=name,
            value=value,
            interval=interval if intervals else None,
            higher_is_better=METRICS[name].higher_is_better,
            samples=len(output),
        )
        for name, (value, interval) in measured.items()
        if not math.isnan(value)
    ]


def constant_answer(train_targets: Tensor, task: Task) -> Tensor:
    """What answers best without looking at an input: (K,) the classes' shares as log-probabilities, (d,) the mean of the targets, or (H, W)
    the class that is commonest at each pixel.

    `train_targets` are the training part's: class indices (N,), numbers (N, d), in whose units the mean is, or masks (N, H, W).
    """
    return MEASURES[task.kind].constant(train_targets, task)


def constant_outputs(constant: Tensor, targets: Tensor) -> Tensor:
    """The constant answer for each of the targets."""
    return like(constant, targets) if targets.ndim == 3 else constant.expand(len(targets), -1)


def _scales(part: Any) -> tuple[np.ndarray, ...]:
    scales = forecasts.scales_of(part)
    return () if scales is None else (scales,)


def paired_difference(
    first: Tensor, second: Tensor, targets: Tensor, task: Task, *, seed: int = 0, part: Any = None
) -> tuple[float, Interval | None]:
    """How much better the first of two models is in the primary metric, on the same samples, with its 95 % interval.

    Accuracy: with b samples that only the first answers right and c that only the second does, (b - c) / N; the interval is Wald's after
    adding 1/2 to each of the four counts, which holds its level for small counts too, where a bootstrap would be too sure. Source:
    Agresti and Min, "Simple improved confidence intervals for comparing matched proportions", 2005, section 2.
    The others: percentiles of bootstrap resamples in which both models are measured on the same draws.

    Args: as `full_scores`. The value is NaN and the interval None where the metric has no value.
    """
    n = len(targets)
    if not n:
        return math.nan, None
    return MEASURES[task.kind].difference(first, second, targets, task, seed, *_scales(part))


_Measured = dict[str, tuple[float, Interval | None]]


def _quick_classification(output: Tensor, targets: Tensor, task: Task) -> dict[str, float]:
    classes = task.outputs
    guesses, truth = predicted_classes(output), targets
    right = torch.bincount(truth[guesses == truth], minlength=classes).double().numpy()  # (K,) true positives
    truths = torch.bincount(truth, minlength=classes).double().numpy()  # (K,)
    guessed = torch.bincount(guesses, minlength=classes).double().numpy()  # (K,)
    return {name: float(_FROM_COUNTS[name](right, truths, guessed)) for name in ("accuracy", "balanced_accuracy", "f1")}


def _quick_regression(output: Tensor, targets: Tensor, task: Task) -> dict[str, float]:
    sums = _error_sums(output, targets).sum(0)
    return {name: float(_FROM_SUMS[name](sums)) for name in ("r2", "rmse", "mae")}


def _class_shares(train_targets: Tensor, task: Task) -> Tensor:
    shares = torch.bincount(train_targets.long(), minlength=task.outputs).double() / len(train_targets)
    return shares.clamp_min(torch.finfo(torch.float64).eps).log()


def _mean_target(train_targets: Tensor, task: Task) -> Tensor:
    return train_targets.double().reshape(len(train_targets), -1).mean(0)


def _accuracy_difference(first: Tensor, second: Tensor, targets: Tensor, task: Task, seed: int) -> tuple[float, Interval | None]:
    n = len(targets)
    right = (predicted_classes(first) == targets.cpu(), predicted_classes(second) == targets.cpu())
    b, c = int((right[0] & ~right[1]).sum()), int((right[1] & ~right[0]).sum())
    centre = (b - c) / (n + 2)
    half = 1.959964 * math.sqrt(max(b + c + 1 - (b - c) ** 2 / (n + 2), 0.0)) / (n + 2)
    return (b - c) / n, Interval(low=max(-1.0, centre - half), high=min(1.0, centre + half))


def _r2_difference(first: Tensor, second: Tensor, targets: Tensor, task: Task, seed: int) -> tuple[float, Interval | None]:
    both = np.stack([_error_sums(first, targets), _error_sums(second, targets)], axis=1)  # (N, 2, d, 5)
    return _bootstrapped_difference(both, _r2, seed)


def _iou_difference(first: Tensor, second: Tensor, targets: Tensor, task: Task, seed: int) -> tuple[float, Interval | None]:
    both = np.stack([pixel_counts(maps, targets, task.outputs).numpy() for maps in (first, second)], axis=1)  # (N, 2, K, K)
    return _bootstrapped_difference(both, FROM_PIXELS["mean_iou"], seed)


def _bootstrapped_difference(both: np.ndarray, score: Callable[[np.ndarray], Any], seed: int) -> tuple[float, Interval | None]:
    """`score` of the sums over samples of (N, 2, ...) terms, the first model's less the second's."""
    values = score(both.sum(0))
    draws = resampled(both, np.random.default_rng(seed))
    assert draws is not None
    scores = score(draws)  # (R, 2)
    return float(values[0] - values[1]), percentiles(scores[:, 0] - scores[:, 1])


def _quick_segmentation(output: Tensor, targets: Tensor, task: Task) -> dict[str, float]:
    counts = pixel_counts(output, targets, task.outputs).sum(0).cpu().numpy()
    return {name: float(score(counts)) for name, score in FROM_PIXELS.items()}


def _segmentation(output: Tensor, targets: Tensor, task: Task, loss: Any, generator: np.random.Generator | None) -> _Measured:
    counts = pixel_counts(output, targets, task.outputs).numpy()
    draws = resampled(counts, generator)
    return {
        name: (float(score(counts.sum(0))), None if draws is None else percentiles(score(draws))) for name, score in FROM_PIXELS.items()
    }


def _classification(output: Tensor, targets: Tensor, task: Task, loss: str, generator: np.random.Generator | None) -> _Measured:
    n, classes = len(targets), task.outputs
    guesses = predicted_classes(output)
    cells, counts = np.unique((targets * classes + guesses).numpy(), return_counts=True)  # the confusion matrix's cells that occur
    rows, columns = cells // classes, cells % classes

    def gathered(drawn: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:  # (..., cells) to (..., K) each
        right = np.where(rows == columns, drawn, 0)
        return _by_class(right, rows, classes), _by_class(drawn, rows, classes), _by_class(drawn, columns, classes)

    resamples = RESAMPLES if len(cells) * classes <= 1e6 else RESAMPLES // 5
    of_all = gathered(counts)
    draws = gathered(generator.multinomial(n, counts / n, size=resamples)) if generator else None
    measured: _Measured = {}
    for name, from_counts in _FROM_COUNTS.items():
        value = float(from_counts(*of_all))
        interval = None
        if draws is not None:
            interval = wilson_interval(round(value * n), n) if name == "accuracy" else percentiles(from_counts(*draws))
        measured[name] = (value, interval)
    smallest = np.finfo(np.float64).eps  # a probability of 0 would cost infinitely much
    step = max(1, _ENTRIES // max(1, output.shape[1]))
    surprise = np.concatenate(
        [
            -probabilities(some.double(), loss, classes).gather(1, truth[:, None])[:, 0].clamp(smallest, 1.0).log().numpy()
            for some, truth in zip(output.split(step), targets.split(step), strict=True)
        ]
    )  # (N,)
    costs = resampled(np.stack([np.ones(n), surprise], 1), generator)
    measured["log_loss"] = (float(surprise.mean()), None if costs is None else percentiles(costs[:, 1] / costs[:, 0]))
    if classes == 2 and 0 < int(targets.sum()) < n:
        area, interval = _roc_auc(output[:, -1].double() - (output[:, 0].double() if output.shape[1] == 2 else 0), targets)
        measured["roc_auc"] = (area, interval if generator else None)
    if classes > 2 * TOP:
        hits = int((output.topk(TOP, dim=1).indices == targets[:, None]).any(1).sum())
        measured["top5_accuracy"] = (hits / n, wilson_interval(hits, n) if generator else None)
    return measured


def _regression(output: Tensor, targets: Tensor, task: Task, loss: Any, generator: np.random.Generator | None) -> _Measured:
    terms = _error_sums(output, targets)
    draws = resampled(terms, generator)
    total = terms.sum(0)
    return {name: (float(f(total)), None if draws is None else percentiles(f(draws))) for name, f in _FROM_SUMS.items()}


# -- from counts: true positives, occurrences and predictions of each class, (..., K) -------------------------------------------------


def _by_class(drawn: np.ndarray, classes_of_cells: np.ndarray, classes: int) -> np.ndarray:
    """(..., cells) summed by class to (..., K)."""
    order = np.argsort(classes_of_cells, kind="stable")
    present, starts = np.unique(classes_of_cells[order], return_index=True)
    summed = np.zeros((*drawn.shape[:-1], classes))
    summed[..., present] = np.add.reduceat(drawn[..., order], starts, axis=-1)
    return summed


def _ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    return np.divide(above, below, out=np.zeros_like(above, dtype=np.float64), where=below > 0)


def _class_mean(values: np.ndarray, occurs: np.ndarray) -> np.ndarray:
    """The mean over the classes that occur; others have no part in it."""
    return (values * occurs).sum(-1) / occurs.sum(-1)


_FROM_COUNTS: dict[str, Callable[[np.ndarray, np.ndarray, np.ndarray], Any]] = {
    "accuracy": lambda right, truths, guessed: right.sum(-1) / truths.sum(-1),
    "balanced_accuracy": lambda right, truths, guessed: _class_mean(_ratio(right, truths), truths > 0),
    "precision": lambda right, truths, guessed: _class_mean(_ratio(right, guessed), truths + guessed > 0),
    "recall": lambda right, truths, guessed: _class_mean(_ratio(right, truths), truths + guessed > 0),
    "f1": lambda right, truths, guessed: _class_mean(_ratio(2 * right, truths + guessed), truths + guessed > 0),
}


# -- from sums over samples of [1, e^2, |e|, y, y^2] for each target, (..., d, 5) -------------------------------------------------------


def _error_sums(output: Tensor, targets: Tensor) -> np.ndarray:
    """(N, d, 5) float64; y is taken from its mean over the samples given, so that sums of squares keep their digits."""
    truth = targets.detach().cpu().double().reshape(len(targets), -1)
    error = truth - output.detach().cpu().double().reshape(truth.shape)
    centred = truth - truth.mean(0)
    return torch.stack([torch.ones_like(error), error**2, error.abs(), centred, centred**2], dim=2).numpy()


def _r2(sums: np.ndarray) -> np.ndarray:
    spread = sums[..., 4] - sums[..., 3] ** 2 / sums[..., 0]
    constant = spread <= 1e-12 * np.maximum(sums[..., 4], np.finfo(np.float64).tiny)
    return (1.0 - sums[..., 1] / np.where(constant, np.nan, spread)).mean(-1)


_FROM_SUMS: dict[str, Callable[[np.ndarray], Any]] = {
    "r2": _r2,
    "rmse": lambda sums: np.sqrt(sums[..., 1] / sums[..., 0]).mean(-1),
    "mae": lambda sums: (sums[..., 2] / sums[..., 0]).mean(-1),
    "mse": lambda sums: (sums[..., 1] / sums[..., 0]).mean(-1),
}


def resampled(per_sample: np.ndarray, generator: np.random.Generator | None) -> np.ndarray | None:
    """(RESAMPLES, ...) bootstrap draws of the sum over samples of (N, ...) terms; above BLOCKS samples whole random blocks are drawn."""
    if generator is None:
        return None
    terms = per_sample.reshape(len(per_sample), -1)
    if len(terms) > BLOCKS:
        edges = np.linspace(0, len(terms), BLOCKS, endpoint=False).astype(np.int64)
        terms = np.add.reduceat(terms[generator.permutation(len(terms))], edges, axis=0)
    picks = generator.integers(len(terms), size=(RESAMPLES, len(terms)))
    times = np.stack([np.bincount(row, minlength=len(terms)) for row in picks]).astype(np.float64)  # how often each term is drawn
    return (times @ terms).reshape(RESAMPLES, *per_sample.shape[1:])


def percentiles(values: np.ndarray) -> Interval | None:
    values = values[np.isfinite(values)]
    if len(values) < 2:
        return None
    low, high = np.quantile(values, [0.025, 0.975])
    return Interval(low=float(low), high=float(high)) if high > low else None


def _roc_auc(score: Tensor, targets: Tensor) -> tuple[float, Interval | None]:
    """Mann and Whitney's estimate with DeLong's variance, its interval on the logit scale. Source: DeLong et al. 1988."""
    positive, negative = score[targets == 1].numpy(), score[targets == 0].numpy()
    below, among = np.sort(negative), np.sort(positive)
    wins = (np.searchsorted(below, positive, "left") + np.searchsorted(below, positive, "right")) / (2 * len(negative))  # of each positive
    losses = 1 - (np.searchsorted(among, negative, "left") + np.searchsorted(among, negative, "right")) / (2 * len(positive))
    area = float(wins.mean())
    if min(len(positive), len(negative)) < 2 or not 0 < area < 1:
        return area, None
    deviation = math.sqrt(wins.var(ddof=1) / len(positive) + losses.var(ddof=1) / len(negative))
    centre, half = math.log(area / (1 - area)), 1.959964 * deviation / (area * (1 - area))
    return area, Interval(low=1 / (1 + math.exp(half - centre)), high=1 / (1 + math.exp(-half - centre)))


# -- tasks -----------------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Measures:
    """How the answers to one kind of task are measured."""

    primary: str  # the metric a summary names first
    quick: Callable[..., dict[str, float]]  # (output, targets, task); of forecasts of several series also their scales
    full: Callable[..., _Measured]  # (output, targets, task, loss, generator), likewise
    constant: Callable[[Tensor, Task], Tensor]
    difference: Callable[..., tuple[float, Interval | None]]  # (first, second, targets, task, seed), likewise
    kept: Callable[[Tensor], Tensor] | None = None  # what is kept of a batch's outputs where a whole part's are too many


MEASURES: dict[str, Measures] = {
    "classification": Measures("accuracy", _quick_classification, _classification, _class_shares, _accuracy_difference),
    "regression": Measures("r2", _quick_regression, _regression, _mean_target, _r2_difference),
    "forecasting": Measures("mase", forecasts.quick, forecasts.full, forecasts.constant, forecasts.difference),
    "segmentation": Measures(
        "mean_iou", _quick_segmentation, _segmentation,
        lambda targets, task: commonest_at_each_place(targets, task.outputs), _iou_difference, answered,
    ),
}  # fmt: skip


# -- until -----------------------------------------------------------------------------------------------------------------------------

_CONDITION = re.compile(r"^\s*(?P<name>[A-Za-z_][\w -]*?)\s*(?P<sign>>=|<=|=>|=<|==|=|>|<|≥|≤)\s*(?P<value>[^\s%]+)\s*(?P<percent>%?)\s*$")
_SIGNS = {"≥": ">=", "=>": ">=", "≤": "<=", "=<": "<="}


@dataclass(frozen=True)
class Condition:
    """A metric and the bound that ends training: `parse_condition("accuracy>=0.95").holds({"accuracy": 0.96})`."""

    metric: str
    sign: str  # ">=", ">", "<=", "<"
    value: float

    def holds(self, measured: Mapping[str, float]) -> bool:
        """Whether the measured value reaches the bound; a value that is missing or NaN never does."""
        seen = measured.get(self.metric, math.nan)
        return {">=": seen >= self.value, ">": seen > self.value, "<=": seen <= self.value, "<": seen < self.value}[self.sign]

    def __str__(self) -> str:
        return f"{self.metric} {self.sign} {self.value:g}"


def primary_metric(task: Task) -> str:
    """The metric a summary names first."""
    return MEASURES[task.kind].primary


def watched_metrics(task: Task | None = None) -> list[str]:
    """What `until` can name: the loss and the task's metrics that every epoch measures."""
    return ["loss", *(m.name for m in METRICS.values() if m.each_epoch and (task is None or task.kind in (m.task, *m.also)))]


def parse_condition(condition: str, task: Task | None = None) -> Condition:
    """Read a condition such as "accuracy>=0.95", "accuracy >= 95%" or "loss<0.1".

    Raises:
        OptionTypeError: not of that form. OptionError: a metric that this task does not measure at every epoch, or a bound that is met at
        once or never.
    """
    got = text("until is {value!r}", value=condition)
    form = text("a metric, >= or <=, and a number, for example accuracy>=0.95")
    match = _CONDITION.match(condition) if isinstance(condition, str) else None
    if not match:
        raise OptionTypeError(got, form, text("write it in quotes: until='accuracy>=0.95'"))
    name = re.sub(r"[\s-]+", "_", match["name"].lower()).removeprefix("validation_")
    known = watched_metrics(task)
    if name not in known:
        raise OptionError(got, text("one of the metrics that every epoch measures: {metrics}", metrics=known), did_you_mean(name, known))
    try:
        value = float(match["value"]) / (100.0 if match["percent"] else 1.0)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise OptionTypeError(got, form, text("write the bound as a number, for example 0.95"))
    sign = _SIGNS.get(match["sign"], match["sign"])
    metric = METRICS.get(name)
    rises = metric.higher_is_better if metric else False
    low, high = metric.limits if metric else (-math.inf, math.inf)
    if not low <= value <= high:
        advice = text("write {share:g} for {value:g} %", share=value / 100, value=value) if high == 1 and 1 < value <= 100 else None
        raise OptionError(
            got,
            text("{metric} lies between {low:g} and {high:g}", metric=name, low=low, high=high),
            advice or text("choose a bound in that range"),
        )
    if sign not in ((">=", ">") if rises else ("<=", "<")):
        right = ">=" if rises else "<="
        expected = (
            text("{metric} rises while the network learns: use >=", metric=name)
            if rises
            else text("{metric} falls while the network learns: use <=", metric=name)
        )
        raise OptionError(got, expected, text("write until='{metric}{sign}{value:g}'", metric=name, sign=right, value=value))
    return Condition(name, sign, value)
