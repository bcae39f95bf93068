"""How much more data would help: the same network after learning from growing parts of the data, and the power laws that fit."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from pellucid.core.errors import DataError
from pellucid.core.language import text
from pellucid.core.power_law import FEWEST_SIZES, error_at, fitted, samples_for, spread_of
from pellucid.core.records import Interval
from pellucid.core.studies import CurvePoint, HeldBack, LearningCurve, Needed
from pellucid.training.metrics import METRICS
from pellucid.training.studies.retraining import Retraining

SIZES = 6  # each twice the one before
FEWEST_SAMPLES = 20  # of the smallest size
SEEDS = 3
KEPT_LAWS = 200  # in the record
FRACTIONS = (0.9, 0.75, 0.5)  # of the error that all of the data reach


def learning_curve(again: Retraining, *, seeds: int = SEEDS) -> LearningCurve:
    """Train on halves of halves of the training part, `seeds` times each, and measure on the run's own held-out samples.

    A seed draws which samples are kept (of every class its share; whole groups; of samples in time the latest) and the first weights;
    the smaller parts of a seed lie within its larger ones.

    Raises:
        DataError: too few training samples, nothing held out, or samples that cannot be chosen from.
    """
    train = again.ledger.indices("train")
    sizes = sizes_of(again.samples, again.ledger)
    again.total += seeds * len(sizes)
    errors: dict[int, list[float]] = {size: [] for size in sizes}
    metric = METRICS[again.metric]
    complement = metric.higher_is_better and metric.limits[1] == 1.0
    begun = again.seconds
    for seed in range(seeds):
        order = _order(again, train, seed)
        for size in sizes:
            score = again.scores(seed, keep=order[:size])[again.part]
            errors[size].append(1 - score if complement else score)
    held_out = again.ledger.sizes()[again.part]
    return described(errors, held_out, metric=again.metric, complement=complement, part=again.part, seconds=again.seconds - begun)


def sizes_of(samples: Any, ledger: Any) -> list[int]:
    """How many training samples each point of the curve is learnt from, the fewest first.

    Raises:
        DataError: too few training samples, or nothing held out.
    """
    parts, classes = ledger.sizes(), samples.task.outputs if samples.task and samples.task.kind == "classification" else 1
    least, held_out = max(FEWEST_SAMPLES, 2 * classes), parts["validation"] + parts["test"]
    sizes = [size for halvings in range(SIZES) if (size := parts["train"] >> halvings) >= least][::-1]
    if len(sizes) < FEWEST_SIZES or not held_out:
        raise DataError(
            text("the training part has {count} samples, and {part} are held out", count=parts["train"], part=held_out),
            text("at least {count} training samples, and some held out, for a learning curve", count=least << (FEWEST_SIZES - 1)),
            text("give more data, or leave the learning curve out"),
        )
    return sizes


def described(errors: dict[int, list[float]], held_out: int, *, metric: str, complement: bool, part: str, seconds: float) -> LearningCurve:
    """The laws of measured `errors` (size -> an error for each seed) and what follows from them."""
    least = 0.5 / (held_out + 1)  # no error seen in so many samples is not no error
    sizes = np.array([size for size, found in errors.items() for _ in found], dtype=np.float64)
    values = np.array([max(error, least) for found in errors.values() for error in found])
    laws = fitted(sizes, values)
    most = int(sizes.max())
    now = float(np.median(error_at(laws, most)))
    needed = tuple(_needed(laws, fraction * now) for fraction in FRACTIONS)
    return LearningCurve(
        metric=metric, complement=complement, part=part,
        points=tuple(CurvePoint(samples=size, errors=tuple(found)) for size, found in errors.items()),
        laws=tuple((float(a), float(b), float(c)) for a, b, c in laws[:KEPT_LAWS]), needed=needed, now=now,
        held_back=_held_back(sizes, values), seconds=seconds,
    )  # fmt: skip


def needed_for(curve: LearningCurve, error: float) -> Needed:
    """How many training samples the network of `curve` needs for `error`."""
    return _needed(np.array(curve.laws), error)


def _needed(laws: np.ndarray, error: float) -> Needed:
    samples = samples_for(laws, error)
    low, middle, high = (float(value) for value in np.quantile(samples, (0.025, 0.5, 0.975), method="inverted_cdf"))
    finite = [None if math.isinf(value) else value for value in (middle, low, high)]
    return Needed(error=error, samples=finite[0], low=finite[1], high=finite[2])


def _held_back(sizes: np.ndarray, values: np.ndarray) -> HeldBack | None:
    """What the law of all sizes but the largest says of the largest, beside what was measured there."""
    most = sizes.max()
    before = sizes < most
    if len(np.unique(sizes[before])) < FEWEST_SIZES:
        return None
    laws = fitted(sizes[before], values[before])
    measured = values[~before]
    noise = spread_of(laws, sizes[before], values[before]) / math.sqrt(len(measured))
    predicted = error_at(laws, float(most)) * np.exp(noise * np.random.default_rng(0).standard_normal(len(laws)))
    low, middle, high = (float(value) for value in np.quantile(predicted, (0.025, 0.5, 0.975)))
    measured_mean = float(np.exp(np.log(measured).mean()))
    return HeldBack(samples=int(most), predicted=middle, interval=Interval(low=low, high=high), measured=measured_mean)


def _order(again: Retraining, train: np.ndarray, seed: int) -> np.ndarray:
    """The training part in a seed's order: its first n samples are what the training of size n sees."""
    random, samples = np.random.default_rng(seed), again.samples
    if samples.times is not None:  # more data would be an earlier beginning
        return train[np.argsort(np.asarray(samples.times)[train], kind="stable")[::-1]]
    if samples.groups is not None:
        names, group = np.unique(np.asarray(samples.groups)[train], return_inverse=True)
        return train[np.argsort(random.permutation(len(names))[group], kind="stable")]
    if samples.task is not None and samples.task.kind == "classification" and samples.targets is not None and np.ndim(samples.targets) == 1:
        labels = np.asarray(samples.targets)[train]
        place = np.empty(len(train))
        for label in np.unique(labels):  # every class is spread evenly over the order, and one of every class comes first
            rows = random.permutation(np.flatnonzero(labels == label))
            place[rows] = (np.arange(len(rows)) + random.uniform(0, 1)) / len(rows)
            place[rows[0]] -= 1
        return train[np.argsort(place)]
    return random.permutation(train)
