"""Training curves with known truth: a course, the sampling error of the validation samples, scatter from epoch to epoch."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from pellucid.core.records import Interval, Score
from pellucid.diagnosis.dynamic.curves import Curves


@dataclass(frozen=True)
class Truth:
    """What the network would score on infinitely many samples, and how its losses run."""

    kind: str = "classification"
    train: float = 0.97  # accuracy or R²
    new: float = 0.96  # on new samples
    trivial: float = 0.5
    epochs: int = 40
    time_constant: float = 6.0  # of the decay of the loss, in epochs
    floor: float = 0.08  # of the training loss
    rise: float = 0.0  # of the validation loss per epoch, after `turn`
    turn: int = 10
    loss_gap: float = 0.02
    scatter: float = 0.01
    validation_samples: int = 400
    keep_best: bool = True
    stopped: str = "epochs"


def simulate(truth: Truth, seed: int) -> Curves:
    rng = np.random.default_rng(seed)
    t, n = np.arange(truth.epochs), truth.validation_samples
    start = -math.log(truth.trivial) if truth.kind == "classification" else 1.0
    course = truth.floor + (start - truth.floor) * np.exp(-t / truth.time_constant)
    stderr = 0.6 * np.sqrt(np.maximum(course, 0.02)) / math.sqrt(n)
    memorised = (course - 0.01) * min(truth.rise * 4, 0.9) * (t > truth.turn)
    train_loss = course * np.exp(truth.scatter * rng.standard_normal(truth.epochs)) - memorised
    validation_loss = course + truth.loss_gap + truth.rise * np.maximum(t - truth.turn, 0)
    validation_loss += stderr * rng.standard_normal()  # the same validation samples in every epoch: one shift for all
    validation_loss += truth.scatter * rng.standard_normal(truth.epochs)
    kept = int(np.argmin(validation_loss)) if truth.keep_best else truth.epochs - 1
    return Curves(
        primary="accuracy" if truth.kind == "classification" else "r2",
        train=_score(truth, truth.train, 4 * n, rng, exact=True),
        validation=_score(truth, truth.new, n, rng),
        test=_score(truth, truth.new, n, rng),
        trivial=truth.trivial if truth.kind == "classification" else 0.0,
        trivial_loss=start,
        epochs=tuple(int(i) + 1 for i in t),
        train_loss=tuple(train_loss.tolist()),
        validation_loss=tuple(validation_loss.tolist()),
        validation_loss_stderr=tuple(stderr.tolist()),
        learning_rate=(0.001,) * truth.epochs,
        kept_epoch=kept + 1,
        stopped=truth.stopped,
    )


def _score(truth: Truth, value: float, samples: int, rng: np.random.Generator, *, exact: bool = False) -> Score:
    if truth.kind == "classification":
        return Score(name="accuracy", value=value if exact else rng.binomial(samples, value) / samples, samples=samples)
    # R² of a linear prediction with normal noise, drawn as the correlation of n pairs (Fisher's z)
    if exact:
        z, deviation = math.atanh(math.sqrt(value)), 1 / math.sqrt(samples)
    else:
        deviation = 1 / math.sqrt(samples - 3)
        z = math.atanh(math.sqrt(value)) + deviation * rng.standard_normal()
    low, high = math.tanh(max(z - 1.96 * deviation, 0)) ** 2, math.tanh(z + 1.96 * deviation) ** 2
    return Score(name="r2", value=math.tanh(z) ** 2, interval=Interval(low=low, high=high), samples=samples)
