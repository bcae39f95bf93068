"""Everything a run's directory says, read once for the report. What is absent is None or empty; what cannot be read is named.

Nothing here loads torch or touches a model: a report can be drawn anywhere the directory can be copied to.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar, cast

from pellucid.core.errors import PellucidError
from pellucid.core.language import Text, text
from pellucid.core.records import Cost, Finding, Notice, Score, Task
from pellucid.core.results import Baselines, Evaluation, Forecasts, MaskPictures, Mistakes, NetworkTable, PartEvaluation
from pellucid.core.studies import LearningCurve, RemedyTrials
from pellucid.diagnosis.dynamic.observations import Observations
from pellucid.runs.directory import RunDirectory

PARTS = ("test", "validation", "train")  # the part whose scores are believed most comes first
PRIMARY = {  # where no record names the metric
    "classification": "accuracy", "regression": "r2", "forecasting": "mase", "segmentation": "mean_iou",
}  # fmt: skip

# What a record that somebody has edited, or an older version has written otherwise, makes its reader raise.
UNREADABLE = (PellucidError, KeyError, IndexError, TypeError, ValueError, AttributeError, ArithmeticError, OSError)

_Made = TypeVar("_Made")


@dataclass(frozen=True)
class Watched:
    """What a watcher saw of the latest session."""

    observations: Observations
    findings: tuple[Finding, ...] = ()
    first_step: int = 0  # of the training, where the session began: the observations count from there


@dataclass(frozen=True)
class RunRecords:
    """The records of one run."""

    path: Path
    run: Mapping[str, Any]  # run.json
    task: Task
    ledger: Mapping[str, Any] = field(default_factory=lambda: cast("dict[str, Any]", {}))  # data.json
    preprocessing: Mapping[str, Any] = field(default_factory=lambda: cast("dict[str, Any]", {}))
    history: Sequence[Mapping[str, Any]] = ()  # a row per epoch
    scores: Mapping[str, tuple[Score, ...]] = field(default_factory=lambda: cast("dict[str, tuple[Score, ...]]", {}))
    evaluation: Evaluation | None = None
    mistakes: Mistakes | None = None
    masks: MaskPictures | None = None
    forecasts: Forecasts | None = None
    baselines: Baselines | None = None
    learning_curve: LearningCurve | None = None
    remedies: RemedyTrials | None = None
    network: NetworkTable | None = None
    watched: Watched | None = None
    findings: tuple[Finding, ...] = ()
    cost: Cost | None = None
    summary: Mapping[str, Any] | None = None  # a finished run has one
    decisions: Mapping[str, Any] = field(default_factory=lambda: cast("dict[str, Any]", {}))
    running: bool = False  # somebody trains in it while this is read
    unreadable: tuple[Text, ...] = ()  # files that are there and cannot be read, each with the reason

    @property
    def name(self) -> str:
        return str(self.run["name"])

    @property
    def finished(self) -> bool:
        return self.summary is not None

    @property
    def divergence(self) -> Finding | None:
        """Why training ended without an answer, where the loss became infinite or NaN."""
        found = (finding for finding in self.findings if finding.symptom == "divergence")
        return next(found, None) if not self.finished else None

    @property
    def settings(self) -> dict[str, Any]:
        """Every concrete value that training used."""
        decided = {name: self.decisions[name] for name in ("learning_rate", "epochs") if name in self.decisions}
        return {**(self.run.get("settings") or {}), **decided}

    @property
    def config(self) -> Mapping[str, Any]:
        """The options as they were given, "auto" included."""
        return self.run["config"]

    @property
    def notices(self) -> list[Notice]:
        return [Notice.from_dict(notice) for notice in self.run.get("notices") or []]

    @property
    def primary(self) -> str:
        """The metric that is named first."""
        if self.evaluation is not None:
            return self.evaluation.primary
        return str((self.summary or {}).get("primary") or PRIMARY.get(self.task.kind, "accuracy"))

    @property
    def part(self) -> str | None:
        """The part whose scores are the answer: test, else validation, else train; None where nothing was measured."""
        return next((part for part in PARTS if self.scores_of(part)), None)

    def scores_of(self, part: str) -> tuple[Score, ...]:
        return self.scores.get(part, ())

    def score(self, part: str | None, name: str | None = None) -> Score | None:
        """A score of a part; the primary metric unless another is named."""
        return next((score for score in self.scores_of(part or "") if score.name == (name or self.primary)), None)

    @property
    def evaluated(self) -> PartEvaluation | None:
        """What was measured in detail on the part that is the answer, else on the next best part that was."""
        measured = self.evaluation.parts if self.evaluation is not None else {}
        return next((measured[part] for part in PARTS if part in measured), None)

    @property
    def evaluated_part(self) -> str | None:
        measured = self.evaluation.parts if self.evaluation is not None else {}
        return next((part for part in PARTS if part in measured), None)

    @property
    def kept_epoch(self) -> int | None:
        """The epoch whose weights were kept: of the lowest validation loss, without a validation part of the lowest training loss."""
        best, lowest = None, math.inf
        for number, row in enumerate(self.history, start=1):
            loss = (row.get("validation") or row.get("train") or {}).get("loss")
            if isinstance(loss, (int, float)) and loss < lowest:
                best, lowest = int(row.get("epoch", number)), loss
        return best


def read_records(directory: RunDirectory | Path | str) -> RunRecords:
    """Read a run, of this or an earlier version, finished or not.

    Raises:
        RunError: the directory is not a run, or a newer version wrote it.
    """
    if not isinstance(directory, RunDirectory):
        directory = RunDirectory.open(directory)
    run = directory.read_json("run.json")
    unreadable: list[Text] = []

    def told(name: str, make: Callable[[], _Made]) -> _Made | None:
        try:
            return make()
        except UNREADABLE as error:
            reason: Any = error.got if isinstance(error, PellucidError) else f"{type(error).__name__}: {error}"[:200]
            unreadable.append(text("{name} cannot be read ({reason})", name=name, reason=reason))
            return None

    def record(name: str, make: Callable[[Mapping[str, Any]], _Made]) -> _Made | None:
        if not directory.has_record(name):
            return None
        return told(f"records/{name}.json", lambda: make(directory.read_record(name)))

    def file(name: str) -> Mapping[str, Any]:
        return told(name, lambda: directory.read_json(name)) or {} if (directory.path / name).is_file() else {}

    evaluation = record("evaluation", Evaluation.from_dict)
    scores = record("scores", _scores) or {}
    if evaluation is not None:
        scores = {**scores, **{part: measured.scores for part, measured in evaluation.parts.items() if measured.scores}}
    return RunRecords(
        path=directory.path,
        run=run,
        task=told("run.json", lambda: Task.from_dict(run["task"])) or Task(kind="classification"),
        ledger=file("data.json"),
        preprocessing=file("preprocessing.json"),
        history=told("metrics.jsonl", directory.metrics) or [],
        scores=scores,
        evaluation=evaluation,
        mistakes=record("mistakes", Mistakes.from_dict),
        masks=record("masks", MaskPictures.from_dict),
        forecasts=record("forecasts", Forecasts.from_dict),
        baselines=record("baselines", Baselines.from_dict),
        learning_curve=record("learning_curve", LearningCurve.from_dict),
        remedies=record("remedies", RemedyTrials.from_dict),
        network=record("network", NetworkTable.from_dict),
        watched=record("watch", _watched),
        findings=record("findings", lambda stored: tuple(Finding.from_dict(finding) for finding in stored["findings"])) or (),
        cost=record("cost", Cost.from_dict),
        summary=record("summary", dict[str, Any]),
        decisions=record("decisions", dict[str, Any]) or {},
        running=directory.is_locked(),
        unreadable=tuple(unreadable),
    )


def _watched(stored: Mapping[str, Any]) -> Watched:
    return Watched(
        observations=Observations.from_dict(stored["observations"]),
        findings=tuple(Finding.from_dict(finding) for finding in stored["findings"]),
        first_step=int(stored.get("first_step") or 0),
    )


def _scores(stored: Mapping[str, Any]) -> dict[str, tuple[Score, ...]]:
    return {part: tuple(Score.from_dict(score) for score in scores) for part, scores in stored.items() if isinstance(scores, list)}
