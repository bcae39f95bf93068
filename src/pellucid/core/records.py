"""What is measured or found, as frozen records that can be written to a run and read by any later version.

A record is a frozen dataclass with a `format` integer. Fields that a newer version wrote and this one does not know are kept in
`unknown` and written back unchanged.
"""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any, ClassVar, Self, cast

from pellucid.core.errors import OptionError
from pellucid.core.language import Text, text


@dataclass(frozen=True, kw_only=True)
class Record:
    """The base of all records: `to_dict` gives what JSON can hold, `from_dict` reads it back."""

    format: ClassVar[int] = 1
    unknown: Mapping[str, Any] = field(default_factory=lambda: cast("dict[str, Any]", {}), repr=False, compare=False)

    def to_dict(self) -> dict[str, Any]:
        stored: dict[str, Any] = {"format": type(self).format}
        for item in dataclasses.fields(self):
            if item.name != "unknown":
                stored[item.name] = _stored(getattr(self, item.name))
        return {**self.unknown, **stored}

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Self:
        hints = _hints(cls)
        known = {item.name for item in dataclasses.fields(cls)} - {"unknown"}
        values = {name: _restored(value, hints[name]) for name, value in stored.items() if name in known}
        unknown = {name: value for name, value in stored.items() if name not in known and name != "format"}
        return cls(**values, unknown=unknown)


@cache
def _hints(cls: type) -> dict[str, Any]:
    return typing.get_type_hints(cls)


def _stored(value: Any) -> Any:
    if isinstance(value, (Record, Text)):
        return value.to_dict()
    if isinstance(value, Mapping):
        return {str(key): _stored(item) for key, item in cast("Mapping[Any, Any]", value).items()}
    if isinstance(value, (list, tuple)):
        return [_stored(item) for item in cast("list[Any]", value)]
    if hasattr(value, "tolist") and not isinstance(value, (str, int, float)):  # a NumPy or torch scalar or array
        return value.tolist()
    return value


def _restored(value: Any, hint: Any) -> Any:
    if value is None:
        return None
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        candidates: list[Any] = [argument for argument in arguments if argument is not type(None)]
        if isinstance(value, dict):  # a stored record or sentence: only a structured type can hold it
            candidates = [c for c in candidates if c is Text or _is_record(c) or typing.get_origin(c)]
        return _restored(cast("Any", value), candidates[0]) if candidates else cast("Any", value)
    if hint is Text:
        return Text.from_dict(value)
    if _is_record(hint):
        return hint.from_dict(value)
    if isinstance(value, list):
        items = [_restored(item, arguments[0] if arguments else Any) for item in cast("list[Any]", value)]
        return tuple(items) if origin is tuple else items
    if isinstance(value, dict):
        stored = cast("dict[str, Any]", value)
        if hint is Any and stored.keys() == {"text", "values"}:  # a sentence among the evidence
            return Text.from_dict(stored)
        return {key: _restored(item, arguments[1] if len(arguments) == 2 else Any) for key, item in stored.items()}
    return value


def _is_record(hint: Any) -> bool:
    return isinstance(hint, type) and issubclass(hint, Record)


@dataclass(frozen=True, kw_only=True)
class Interval(Record):
    """A confidence interval, [low, high]; equal ends where the value is exact."""

    low: float
    high: float
    level: float = 0.95


@dataclass(frozen=True, kw_only=True)
class Score(Record):
    """One metric on one part of the data."""

    name: str  # "accuracy", "r2", ...: keys of training.metrics
    value: float
    interval: Interval | None = None
    higher_is_better: bool = True
    samples: int = 0  # how many samples it was measured on


@dataclass(frozen=True, kw_only=True)
class Change(Record):
    """One concrete change of a training, that can be applied to an Experiment: a kind known to `diagnosis.remedies`, and its values."""

    kind: str  # "learning_rate", "optimizer", "loss", "standardise_inputs", ...
    values: Mapping[str, Any] = field(default_factory=lambda: cast("dict[str, Any]", {}))  # plain values: {"rate": 0.01}


@dataclass(frozen=True, kw_only=True)
class Verification(Record):
    """A remedy's proof: the same training before and after it, from the same seeds."""

    change: Change
    metric: str  # "accuracy", "balanced_accuracy", "r2" or "loss" (its negative), measured the same way on both sides; higher is better
    seeds: tuple[int, ...]
    before: tuple[float, ...]  # the score from each seed; minus infinity where the training broke down
    after: tuple[float, ...]
    difference: float  # mean of after - before
    interval: Interval  # of the difference; holds 95 % although seeds are added while it is open which side is better
    verdict: str  # "helps", "no difference" or "worse"; without what leaked, a lower score is the true one: "helps"
    steps: int = 0  # updates of each training before the change
    complete: bool = True  # False: the budget shortened the trainings
    seconds: float = 0.0
    cause: str | None = None  # of the finding whose remedy it is; None where a change was tried by itself

    def __str__(self) -> str:
        """One sentence."""
        return str(self.summary)

    @property
    def summary(self) -> Text:
        """What the change does, with its interval."""
        helps = (
            text("The score falls as it should: the earlier one was not true, since the network had learnt from what it was tested on")
            if self.cause == "data_leakage" and self.difference < 0
            else text("The remedy helps")
        )
        words = {
            "helps": helps, "worse": text("The remedy makes it worse"),
            "no difference": text("The remedy makes no difference that the seeds do not explain"),
        }  # fmt: skip
        metric = {
            "accuracy": text("accuracy"), "balanced_accuracy": text("balanced accuracy"), "loss": text("negative loss"), "r2": text("R2"),
        }.get(self.metric, self.metric)  # fmt: skip
        said = text(
            "{verdict}: over {seeds} seeds {metric} went from {before} to {after}; difference {difference:+.3g}, 95 % interval "
            "[{low:.3g}, {high:.3g}].",
            verdict=words.get(self.verdict, self.verdict), seeds=len(self.seeds), metric=metric, before=_mean(self.before, self.metric),
            after=_mean(self.after, self.metric), difference=self.difference, low=self.interval.low, high=self.interval.high,
        )  # fmt: skip
        if self.complete:
            return said
        return text("{said} The budget cut each training to {steps} updates.", said=said, steps=self.steps)


def _mean(scores: tuple[float, ...], metric: str) -> str | Text:
    """The mean of the trainings that did not break down, and how many did; an R2 below 0 counts as 0, as in the difference."""
    kept = [max(score, 0.0) if metric == "r2" else score for score in scores if math.isfinite(score)]
    if not kept:
        return text("a breakdown")
    mean = f"{sum(kept) / len(kept):.3g}"
    return mean if len(kept) == len(scores) else text("{mean} ({count} broke down)", mean=mean, count=len(scores) - len(kept))


@dataclass(frozen=True, kw_only=True)
class Finding(Record):
    """Something wrong (or worth knowing) about a training, with its evidence and a remedy."""

    symptom: str  # what is seen: "overfitting"
    cause: str | None = None  # why, from the vocabulary of causes, when it is established
    level: str = "advice"  # "fault": we would bet on it; "advice"; "good": the check was made and nothing is wrong
    confidence: float = 0.5  # in [0, 1]
    where: str | None = None  # layer path, tensor, setting or source line
    summary: Text  # one sentence for a person
    evidence: Mapping[str, Any] = field(default_factory=lambda: cast("dict[str, Any]", {}))  # numbers, and what they should be
    remedy: Text | None = None  # a concrete change, in words
    change: Change | None = None  # the same as something that can be applied, where it is mechanical
    established_by: str = "dynamic"  # "static", "data", "dynamic", "controlled"

    def verify(self, seeds: int | Sequence[int] = 3, budget: float | str | None = None) -> Verification:
        """Prove the remedy: the experiment that was diagnosed runs without the change and with it, from the same seeds.

        `seeds` is how many (at least 3), or which; further ones are added while it is open which side is better. `budget` ("60s") bounds
        the time; trainings that are longer are compared over as many updates as it leaves. The user's own objects stay as they are.

        Raises:
            OptionError: the finding comes from a watched training and not from `pellucid.diagnose`, has no change that can be applied,
                or the budget is too small.
            ModelError, DataError: the change does not fit this experiment.
        """
        prover = self.__dict__.get("_prover")
        if prover is None:
            raise OptionError(
                text("this finding belongs to no experiment that could be run again"),
                text("a finding of pellucid.diagnose: a proof takes a training that can be started anew"),
                text("write your training as a pellucid.Experiment, and call pellucid.diagnose(experiment)"),
            )
        if self.change is None:
            raise OptionError(
                text("the remedy of {cause!r} is no change that can be applied by itself", cause=self.cause or self.symptom),
                text("a finding whose change is not None"),
                text("do what its remedy says in your own code, and diagnose again"),
            )
        proof = replace(prover.verify(self.change, seeds, budget), cause=self.cause or self.symptom)
        leaked = proof.cause == "data_leakage" and proof.verdict == "worse"
        return replace(proof, verdict="helps") if leaked else proof


@dataclass(frozen=True, kw_only=True)
class Notice(Record):
    """Something about the user's data or settings that they should know before they trust a result."""

    kind: str  # "identifier_column", "duplicate_rows", ...
    summary: Text
    where: str | None = None  # column, file or setting
    evidence: Mapping[str, Any] = field(default_factory=lambda: cast("dict[str, Any]", {}))


@dataclass(frozen=True, kw_only=True)
class Cost(Record):
    """What a training cost."""

    seconds: float  # wall time of all sessions together, evaluation and checkpoints included
    training_seconds: float  # of which in training steps
    checkpoint_seconds: float  # of which writing checkpoints
    epochs: int
    steps: int
    samples: int  # training samples seen, repetitions counted
    parameters: int
    flops_per_sample: float | None = None  # forward and backward, one sample; None where it cannot be counted
    total_flops: float | None = None
    peak_memory_bytes: int | None = None
    device: str = "cpu"
    energy_joules: float | None = None  # of the processor's packages while training; None where the machine does not tell
    expected_seconds: float | None = None  # of the whole command, said before the first update
    expected_memory_bytes: int | None = None


@dataclass(frozen=True, kw_only=True)
class Expectation(Record):
    """What a training is expected to take, measured before its first update; see training.trial."""

    seconds: float  # the whole command, from its start to the report
    training_seconds: float  # of which in updates and in measuring after each epoch
    measuring_seconds: float  # of which after the last update: scores, classical baselines, report
    memory_bytes: int | None  # the most the process will hold; on a GPU, the device
    available_bytes: int | None  # what could be taken when this was written, beside what was held already
    epochs: int  # at most
    steps: int
    batch_size: int
    step_seconds: float  # one update with its data
    measured_steps: int  # how many updates were made to know it
    parameter_bytes: int
    optimizer_bytes: int
    activation_bytes: int  # what the backward pass of one update keeps
    data_bytes: int  # of the samples that stay in memory
    may_end_sooner: bool = False  # by early stopping, or by a condition that is reached


@dataclass(frozen=True, kw_only=True)
class Task(Record):
    """What is learnt: the target, and how an answer is written."""

    kind: str  # "classification", "regression", "forecasting" or "segmentation"
    targets: tuple[str, ...] = ("target",)  # the target's name; several for several regression targets
    classes: tuple[str, ...] = ()  # the class names, in the order of the network's outputs
    horizon: int = 1  # forecasting: steps ahead, each of which is an output
    season: int = 1  # forecasting: steps after which the series repeats itself about; 1 where none was found
    scale: float | None = None  # forecasting: mean |y_t - y_(t - season)| of the training part, which MASE divides by
    quantiles: tuple[float, ...] = ()  # forecasting: levels of the outputs of each step, rising; () where only one value is forecast

    @property
    def numeric(self) -> bool:
        """Whether the targets are numbers in a unit of their own."""
        return self.kind in ("regression", "forecasting")

    @property
    def outputs(self) -> int:
        """K classes (of samples or of pixels), the number of regression targets, or of steps ahead."""
        if self.kind == "forecasting":
            return self.horizon
        return len(self.classes) if self.kind in ("classification", "segmentation") else len(self.targets)
