"""`pellucid.diagnose`: why a training fails, with evidence, and a remedy that can be proved.

    findings = pellucid.diagnose(experiment, budget="60s")
    findings[0].cause, findings[0].remedy
    findings[0].verify()

Stages, each with its share of the budget: the program (one traced batch), the data (samples), the user's own training under watch, and
controlled experiments. What they find is joined: the same cause seen twice is told once, and consequences stand under their root.
"""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, cast

from pellucid.core.errors import ModelError, OptionTypeError, PellucidError
from pellucid.core.language import Text, text
from pellucid.core.options import Option
from pellucid.core.records import Finding, Score
from pellucid.core.wording import duration
from pellucid.diagnosis.causes import NAMED, rooted
from pellucid.diagnosis.confidence import calibrated
from pellucid.diagnosis.dynamic.curves import Curves
from pellucid.diagnosis.dynamic.observations import Observations
from pellucid.diagnosis.experiments.experiment import Experiment, Trial
from pellucid.diagnosis.experiments.loop import SCORED
from pellucid.diagnosis.experiments.samples import samples_in
from pellucid.diagnosis.experiments.scoring import constant_score, scoring_of
from pellucid.diagnosis.experiments.verification import Prover
from pellucid.diagnosis.joining import as_seen, borne_out, joined, refuted, weighed
from pellucid.diagnosis.registry import failed, symptoms
from pellucid.diagnosis.remedies.changes import with_change

WATCHED = 0.4  # of the budget for the user's own training under watch; the rest is for controlled experiments
LOOKING = 0.5  # of the budget that may have passed before the last symptom of the data is looked for
SUSPECTED, UNSUSPECTED = 0.25, 0.08  # of the budget that the judgement of labels by the user's own network may take
TOLD_EVERY = 0.5  # seconds between two words about a training that runs
BUDGET = Option("budget", "duration", 60.0, text("the time that the diagnosis may take, for example 60s or 5min"), "run", above=0.0)


class Diagnosis(tuple[Finding, ...]):
    """What was found, roots first, faults before advice; a tuple of findings that prints itself.

    `left_out` says what could not be looked at, and why; `seconds` what each stage took; `trial` is the training that was watched.
    """

    left_out: tuple[Text, ...]
    seconds: Mapping[str, float]
    trial: Trial | None
    experiment: Experiment

    def __new__(
        cls,
        findings: Iterable[Finding],
        experiment: Experiment,
        trial: Trial | None = None,
        left_out: Iterable[Text] = (),
        seconds: Mapping[str, float] | None = None,
    ) -> Diagnosis:
        made = super().__new__(cls, findings)
        made.experiment, made.trial = experiment, trial
        made.left_out, made.seconds = tuple(left_out), dict(seconds or {})
        return made

    @property
    def findings(self) -> tuple[Finding, ...]:
        """The findings as a plain tuple."""
        return tuple(self)

    @property
    def observations(self) -> Observations | None:
        """What was seen of the training under watch."""
        return None if self.trial is None else self.trial.observations

    def report(self, path: str | Path | None = None) -> Any:
        """The diagnosis for a terminal or a notebook; with `path` as an HTML file in English and Chinese.

        Raises:
            StorageError: the file cannot be written.
        """
        from pellucid.diagnosis import report

        return report.Report(self) if path is None else report.write(path, self)

    def to_html(self, path: str | Path) -> Path:
        """The same as `report(path)`."""
        return self.report(path)

    def to_dict(self) -> dict[str, Any]:
        """Findings, what was left out, and what each stage took, for a file."""
        return {
            "format": 1,
            "findings": [finding.to_dict() for finding in self],
            "left_out": [note.to_dict() for note in self.left_out],
            "seconds": dict(self.seconds),
        }

    def __str__(self) -> str:
        return str(self.report())

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        return self.report()._repr_html_()

    def __reduce__(self) -> Any:
        raise OptionTypeError(
            text("a diagnosis was copied or pickled"),
            text("an object that can be copied: a diagnosis holds factories, so that its findings can be proved"),
            text("store diagnosis.to_dict()"),
        )


def diagnose(experiment: Any, budget: float | str = "60s", *, seed: int = 0, tell: Callable[[Text], None] | None = None) -> Diagnosis:
    """Why a training fails, or does worse than it could: findings with evidence, a remedy each, and its proof by `finding.verify()`.

    `experiment` is a `pellucid.Experiment` or a run. `budget` bounds the time ("60s", "5min", seconds), from when the experiment was seen
    to run: a training that is longer than its share is watched in part, and `left_out` says so. `tell` is called with what is being
    done. No object of the user's is changed.

    Raises:
        OptionTypeError: what is given is neither an experiment nor a run.
        ModelError: the model, the loss or the step fails on a batch, or a factory gives the same object twice.
        OptionError: the budget is no time.
    """
    seconds = BUDGET.check(budget)
    return _Diagnosing(Experiment.of(experiment), seconds, seed, tell or (lambda said: None)).done()


@dataclass
class _Diagnosing:
    """A diagnosis in the making."""

    experiment: Experiment
    limit: float
    seed: int
    tell: Callable[[Text], None]
    began: float = field(default_factory=time.perf_counter)
    found: list[Finding] = field(default_factory=lambda: cast("list[Finding]", []))
    left_out: list[Text] = field(default_factory=lambda: cast("list[Text]", []))
    seconds: dict[str, float] = field(default_factory=lambda: cast("dict[str, float]", {}))
    trial: Trial | None = None
    trials: Any = None

    def left(self) -> float:
        return self.limit - (time.perf_counter() - self.began)

    def done(self) -> Diagnosis:
        self.loaded()
        self.tell(text("seeing whether the experiment runs"))
        problem = self.checked()
        self.began = time.perf_counter()
        with self.stage("static", text("the program")):
            self.tell(text("reading the program: one traced batch"))
            self.static()
        with self.stage("data", text("the data")):
            self.tell(text("looking at the data"))
            self.contents()
        if problem is not None:
            raise self.explained(problem)
        with self.stage("dynamic", text("the training")):
            self.watched()
        with self.stage("labels", text("the labels")):
            self.labels()
        with self.stage("controlled", text("controlled experiments")):
            self.controlled()
        prover = Prover(self.experiment)
        findings = tuple(
            as_seen(finding)
            for finding in rooted(
                calibrated(weighed(one, self.trials)) for one in borne_out(joined(self.found)) if not refuted(one, self.trials)
            )
        )
        for finding in findings:
            object.__setattr__(finding, "_prover", prover)
        return Diagnosis(findings, self.experiment, self.trial, self.left_out, self.seconds)

    @contextmanager
    def stage(self, name: str, called: Text) -> Iterator[None]:
        """Time a stage. What fails in it is said, and the other stages go on."""
        began = time.perf_counter()
        try:
            with warnings.catch_warnings():
                if name != "dynamic":  # what the user's code warns of is told by their own training, once
                    warnings.simplefilter("ignore")
                yield
        except Exception as error:
            self.left_out.append(
                text("{stage} could not be looked at: {error}", stage=called, error=f"{type(error).__name__}: {error}".splitlines()[0])
            )
        finally:
            self.seconds[name] = time.perf_counter() - began

    def loaded(self) -> None:
        """The first optimizer that a process makes loads PyTorch's compiler, for seconds: once, and they are the process's own."""
        if "torch._dynamo" not in sys.modules:
            self.tell(text("loading what PyTorch's optimizers need: once in each process, some seconds"))
            began = time.perf_counter()
            import_module("torch._dynamo")
            self.seconds["loading"] = time.perf_counter() - began

    # -- stages --------------------------------------------------------------------------------------------------------------------------

    def checked(self) -> ModelError | None:
        """What is wrong with the experiment itself; None where it runs. A factory that does not keep its word ends the diagnosis."""
        began = time.perf_counter()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                self.experiment.check()
        except ModelError as error:
            if error.__cause__ is None:
                raise
            return error
        finally:
            self.seconds["check"] = time.perf_counter() - began
        return None

    def explained(self, problem: ModelError) -> ModelError:
        """The failure of a batch; where the program or the data show why, that is what to do."""
        for finding in rooted(joined(self.found)):
            if finding.level == "fault" and finding.remedy is not None:
                better = ModelError(problem.got, problem.expected, text("{said} {remedy}", said=finding.summary, remedy=finding.remedy))
                better.__cause__ = problem.__cause__
                return better
        return problem

    def static(self) -> None:
        from pellucid.diagnosis.static.program import Program

        program = Program.of(self.experiment, self.seed)
        self.left_out.extend(program.notes if program.graph is None else ())
        self.look(Program, program)

    def contents(self) -> None:
        from pellucid.diagnosis.data.contents import Contents

        contents = Contents.of(self.experiment)
        self.left_out.extend(getattr(contents, "notes", ()))
        self.look(Contents, contents)

    def watched(self) -> None:
        """The user's own training, as much of it as its share of the budget holds."""
        told = time.perf_counter()

        def tell(step: int, steps: int) -> None:
            nonlocal told
            if time.perf_counter() - told >= TOLD_EVERY or step == steps:
                told = time.perf_counter()
                self.tell(text("watching your training: update {step} of {steps}", step=step, steps=steps))

        self.tell(text("watching your training"))
        share = min(WATCHED * self.limit, max(self.left(), 0.0))
        trial = self.trial = self.experiment.run(self.seed, seconds=share, watch=True, tell=tell)
        if trial.observations is not None:
            self.look(Observations, trial.observations)
        if trial.error is not None:
            self.found.append(_raised(trial))
            return
        if not trial.finite and not any(finding.symptom == "nan" for finding in self.found):
            self.found.append(_not_finite(trial))
        if trial.finite and trial.complete:
            curves = curves_of(self.experiment, trial)
            if curves is not None:
                self.look(Curves, curves)
        elif trial.finite:
            self.left_out.append(
                text(
                    "your training was watched for {steps} of its {whole} updates: the whole of it takes longer than the {share} that the "
                    "budget leaves; overfitting and what comes late were not looked for",
                    steps=trial.steps, whole=self.experiment.steps, share=duration(share),
                )
            )  # fmt: skip

    def labels(self) -> None:
        """Wrong labels by the user's own network: two trainings of half the samples each, where they are cheap beside the budget."""
        trial = self.trial
        if trial is None or not trial.complete or trial.scoring is None or trial.scoring.metric != "accuracy":
            return
        suspected = any(finding.symptom == "noisy_labels" for finding in self.found)
        share = (SUSPECTED if suspected else UNSUSPECTED) * self.limit
        known = {finding.symptom for finding in self.found if finding.level == "fault"}
        if trial.seconds > share or self.left() < trial.seconds or known - {"noisy_labels", "overfitting"}:
            return  # a training that is wrong in another way judges no label
        from pellucid.diagnosis.data.label_noise import OutOfSample

        self.tell(text("judging each label by a training without it"))
        answers = OutOfSample.of(self.experiment, seconds=2 * share)
        if answers is not None:
            self.look(OutOfSample, answers)

    def controlled(self) -> None:
        from pellucid.diagnosis.controlled.trials import Trials

        if self.trial is not None and self.trial.error is not None:
            self.left_out.append(text("controlled experiments: the training ends with an error"))
            return
        left = self.left()
        self.tell(text("controlled experiments"))
        self.trials = (
            Trials.of(self.experiment, seconds=left, found=tuple(borne_out(joined(self.found))), tell=self.tell) if left > 0 else None
        )
        if self.trials is None:
            self.found.extend(self.mixed())
            self.left_out.append(
                text(
                    "controlled experiments: the budget of {budget} leaves {left} for them, too little for two trainings",
                    budget=duration(self.limit),
                    left=duration(max(left, 0.0)),
                )
            )
            return
        self.left_out.extend(self.trials.left_out)
        self.look(Trials, self.trials)

    def mixed(self) -> list[Finding]:
        """Samples that influence each other, which some forward passes of eight samples show: the one experiment that always fits."""
        from pellucid.diagnosis.controlled.batch_checks import mixing
        from pellucid.diagnosis.symptoms.controlled import mixed_samples

        with self.experiment.seeded(self.seed):
            return mixed_samples(mixing(self.experiment, 0.0).get("dependence"))

    def look(self, kind: type[Any], evidence: Any) -> None:
        """Every symptom that reads this kind of evidence; one of another package that fails is reported and does not stop the others.

        Looking at data may take long: what does not begin within its share of the budget is left out.
        """
        late: list[Text | str] = []
        for name, function in symptoms(reads=kind).items():
            if kind.__name__ == "Contents" and self.left() < (1 - LOOKING) * self.limit:
                late.append(NAMED.get(name, name))
                continue
            try:
                self.found.extend(with_change(finding, self.experiment) for finding in function(evidence) or ())
            except Exception as error:
                self.found.append(failed(name, error))
        if late:
            self.left_out.append(text("the budget left no time to look for these in the data: {names}", names=late))


# -- the training --------------------------------------------------------------------------------------------------------------------------


def curves_of(experiment: Experiment, trial: Trial) -> Curves | None:
    """The moments of a whole training as curves; None where its score is a loss."""
    scoring = scoring_of(experiment)
    moments = [moment for moment in trial.moments[1:] if moment.train_loss is not None]
    if scoring.metric == "loss" or not moments:
        return None
    last = moments[-1]

    def score(part: str, value: float | None) -> Score | None:
        data = getattr(experiment, part)
        if value is None:
            return None
        size = samples_in(data) if not hasattr(data, "batch_size") else len(data) * (data.batch_size or 1)
        return Score(name=scoring.metric, value=value, samples=min(size, SCORED))

    held_out = tuple(moment.test_loss for moment in moments if moment.test_loss is not None)
    return Curves(
        primary=scoring.metric,
        train=score("train", last.train_score),
        test=score("test", last.test_score),
        trivial=constant_score(experiment, scoring),
        epochs=tuple(range(1, len(moments) + 1)),
        epochs_trained=experiment.epochs,
        train_loss=tuple(moment.train_loss for moment in moments if moment.train_loss is not None),
        validation_loss=held_out if len(held_out) == len(moments) else (),
        validation_score=tuple(moment.test_score for moment in moments if moment.test_score is not None),
    )


def _raised(trial: Trial) -> Finding:
    error = trial.error
    said = "\n".join(error.sentences()) if isinstance(error, PellucidError) else f"{type(error).__name__}: {error}"
    return Finding(
        symptom="error",
        level="fault",
        confidence=1.0,
        where="step",
        summary=text("Your training ends with an error after {steps} updates: {error}", steps=trial.steps, error=said.splitlines()[0]),
        evidence={"error": said, "updates": trial.steps},
        remedy=text("mend what the error says; it comes from your model, loss, step or data"),
        established_by="dynamic",
    )


def _not_finite(trial: Trial) -> Finding:
    return Finding(
        symptom="nan",
        level="fault",
        confidence=1.0,
        where="loss",
        summary=text("The loss is {value} at update {step}.", value=str(trial.losses[-1]), step=trial.steps),
        evidence={"loss": trial.losses[-1], "update": trial.steps, "expected": {"loss": "finite"}},
        remedy=text("see whether inputs, targets and first weights are finite, and whether the loss takes a logarithm or divides"),
        established_by="dynamic",
    )
