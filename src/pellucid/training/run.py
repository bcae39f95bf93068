"""`Run`: a trained network with all that is known about it. The disk is the truth; a `Run` reads it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from pellucid import data
from pellucid.core.errors import DataError, OptionError, RunError
from pellucid.core.language import Text, text
from pellucid.core.records import Finding, Notice, Score, Task
from pellucid.core.studies import LearningCurve, RemedyTrials
from pellucid.core.system import environment, environment_differences
from pellucid.data.kinds import preprocessing_kind_of
from pellucid.data.ledger import Ledger
from pellucid.networks.registry import build, own_network
from pellucid.runs.directory import RunDirectory
from pellucid.training.answers import Evaluation, Predictions, class_values
from pellucid.training.construction import choose_device, surrounded
from pellucid.training.evaluation import Announced, outputs_of
from pellucid.training.forecasting.forecasts import next_steps
from pellucid.training.loop import load_weights
from pellucid.training.losses import probabilities
from pellucid.training.metrics import MEASURES
from pellucid.training.progress import Progress
from pellucid.training.randomness import own_random_state
from pellucid.training.session import INITIAL, Session, measure
from pellucid.training.settings import Settings
from pellucid.training.summary import Summary

if TYPE_CHECKING:
    pass

Tell = Callable[[Text], None]  # what shows a sentence to a person


class Run:
    """One training: its directory, its network and what was measured.

    Attributes: `directory` (Path), `config` (every option), `settings` (every value used), `task`, `model` (the best network, in
    evaluation mode), `history` (a dict per epoch), `metrics` ({"train": {...}, "validation": {...}, "test": {...}}), `scores`
    (the same with intervals), `findings`, `notices`, `summary` (None until training is finished).
    """

    def __init__(self, directory: RunDirectory, network: Any = None) -> None:
        self._directory = directory
        self._network = network  # a module, a factory, or None: build it from run.json
        self._model: nn.Module | None = None
        self._record = directory.read_json("run.json")

    def __repr__(self) -> str:
        return f"Run({str(self.directory)!r}, network={self._record['network']['name']!r}, status={self.status!r})"

    @property
    def directory(self) -> Path:
        return self._directory.path

    @property
    def config(self) -> dict[str, Any]:
        return dict(self._record["config"])

    @property
    def settings(self) -> dict[str, Any]:
        """Every concrete value that training used."""
        settings = dict(self._record["settings"])
        if "decisions" in self._directory.record_names():
            decisions = self._directory.read_record("decisions")
            settings.update({name: decisions[name] for name in ("learning_rate", "epochs", "batch_size") if name in decisions})
        return settings

    @property
    def task(self) -> Task:
        return Task.from_dict(self._record["task"])

    @property
    def history(self) -> list[dict[str, Any]]:
        return self._directory.metrics()

    @property
    def scores(self) -> dict[str, list[Score]]:
        if "scores" not in self._directory.record_names():
            return {}
        stored = self._directory.read_record("scores")
        return {part: [Score.from_dict(score) for score in scores] for part, scores in stored.items() if isinstance(scores, list)}

    @property
    def metrics(self) -> dict[str, dict[str, float]]:
        return {part: {score.name: score.value for score in scores} for part, scores in self.scores.items()}

    @property
    def findings(self) -> list[Finding]:
        if "findings" not in self._directory.record_names():
            return []
        return [Finding.from_dict(finding) for finding in self._directory.read_record("findings")["findings"]]

    @property
    def notices(self) -> list[Notice]:
        return [Notice.from_dict(notice) for notice in self._record.get("notices", [])]

    @property
    def summary(self) -> Summary | None:
        if "summary" not in self._directory.record_names():
            return None
        return Summary.from_dict(self._directory.read_record("summary"))

    @property
    def status(self) -> str:
        """ "finished", or "unfinished" (resume goes on)."""
        return "finished" if "summary" in self._directory.record_names() else "unfinished"

    @property
    def model(self) -> nn.Module:
        """The best network so far, in evaluation mode, on the CPU."""
        if self._model is None:
            network = self._build()
            load_weights(network, self._best_weights())
            self._model = network.cpu().eval()
        return self._model

    def _build(self) -> nn.Module:
        described, settings = self._record["network"], self._record["settings"]
        return surrounded(
            self._bare(described, settings), self.task, settings["loss"], tuple(described["input_shape"]), self._preprocessing().facts
            if self.task.kind == "forecasting" else None,
        )  # fmt: skip

    def _bare(self, described: Mapping[str, Any], settings: Mapping[str, Any]) -> nn.Module:
        """The network alone, without what its task puts around it."""
        if not described["custom"]:
            return build(
                described["name"], input_shape=tuple(described["input_shape"]), outputs=described["outputs"],
                activation=settings["activation"], dropout=settings["dropout"], options=described["options"],
            )  # fmt: skip
        if self._network is None:
            raise RunError(
                text("the run was trained with your own network {name}, which the run does not contain", name=described["name"]),
                text("the same network again"),
                text("load it with pellucid.load({path!r}, network=YourNetwork())", path=str(self.directory)),
            )
        return own_network(self._network, tuple(described["input_shape"]), described["outputs"])

    def _best_weights(self) -> Mapping[str, Any]:
        if (self.directory / "weights.safetensors").is_file():
            return self._directory.load_weights()[0]
        checkpoint = self._directory.latest_checkpoint()
        if checkpoint is None or INITIAL in checkpoint[1]:
            raise RunError(
                text("the run {path} has no weights yet", path=str(self.directory)),
                text("a run whose training has come at least to its first checkpoint"),
                text("go on with: pellucid resume {path}", path=str(self.directory)),
            )
        state = checkpoint[1]
        return state["best"]["weights"] or state["network"]

    # -- what a run can do -----------------------------------------------------------------------------------------------------------

    def predict(
        self, inputs: Any, *, header: bool | None = None, batch_size: int = 512, data_dir: Any = None, tell: Tell | None = None
    ) -> Predictions:
        """Predict new samples: a path, an array, a frame, a data set; the run's own preprocessing is applied.

        `header` says whether a table's first line holds the column names; None: as in the table the run was trained on.
        `data_dir` is where a published image set is looked for first (its official test part is taken); None: where fit looked.
        `tell` is called with a sentence when it will take more than some seconds, and at the end.

        Raises:
            DataError: columns or shapes are not those the network was trained on.
        """
        samples, part = self._new(inputs, header, "ignored", data_dir)
        outputs = self._outputs(part, batch_size, tell)
        skipped = tuple(str(item.summary) for item in samples.quarantined)
        if self.task.kind == "forecasting":
            forecasts = tuple(next_steps(outputs, samples, self._preprocessing()))
            times = [time for forecast in forecasts for time in forecast.times]
            return Predictions(
                self.task, times, None, None, None, forecasts=forecasts, names=(samples.time_name, samples.group or ""), skipped=skipped,
                notices=tuple(samples.notices),
            )  # fmt: skip
        if self.task.kind == "segmentation":
            from pellucid.data.masks.reading import shrunk

            pairs = zip(samples.sizes.tolist(), samples.originals.tolist(), strict=True)
            masks = [shrunk(outputs[place, :height, :width].numpy(), size) for place, ((height, width), size) in enumerate(pairs)]
            classes = self._preprocessing().classes
            return Predictions(
                self.task, list(samples.identifiers), None, None, None, masks, classes, skipped=skipped, notices=tuple(samples.notices)
            )
        if self.task.kind == "classification":
            chances = probabilities(outputs, self._record["settings"]["loss"], len(self.task.classes)).double().numpy()
            names = class_values(self.task.classes)
            labels = [names[index] for index in chances.argmax(axis=1)]
            return Predictions(self.task, list(samples.identifiers), labels, chances, None, skipped=skipped, notices=tuple(samples.notices))
        values = self._preprocessing().restore_targets(outputs).double().reshape(len(outputs), -1).numpy()
        return Predictions(self.task, list(samples.identifiers), None, None, values, skipped=skipped, notices=tuple(samples.notices))

    def evaluate(
        self, data: Any, target: Any = None, *, header: bool | None = None, data_dir: Any = None, tell: Tell | None = None
    ) -> Evaluation:
        """Score the network on data with known targets, with 95 % intervals.

        `header`, `data_dir` and `tell` as in `predict`.

        Raises:
            DataError: no target in the data, or columns and shapes are not those the network was trained on.
        """
        source = data if target is None else (data, target)
        samples, part = self._new(source, header, "required", data_dir)
        preprocessing = self._preprocessing()
        if samples.targets is None:
            raise DataError(
                text("the data have no target to compare with"),
                text("the target {target}", target=list(self.task.targets)),
                text("add it, or use predict"),
            )
        view = _View(self.task, preprocessing)
        scores = measure(
            self.model,
            Announced(part, tell) if tell is not None else part,
            view,
            self._record["settings"]["loss"],
            device=torch.device("cpu"),
        )
        skipped = tuple(str(item.summary) for item in samples.quarantined)
        return Evaluation(tuple(scores), len(part), skipped, (*samples.notices, *self._seen_before(samples)))

    def resume(
        self, data: Any = None, target: Any = None, *, network: Any = None, progress: Progress | None = None, started: float | None = None
    ) -> Run:
        """Go on with an interrupted training, exactly where its last checkpoint was written.

        A time budget goes on with what earlier commands have left of it; `started` is what time.perf_counter said when this one began.

        `data` (and `target`) are needed where the run was trained on data in memory; they are compared with the ledger.

        Raises:
            RunError: the training is already finished, or the run cannot be read.
            DataError: the data are not those the run was trained on.
        """
        if self.status == "finished":
            raise RunError(
                text("the training of {path} is finished", path=str(self.directory)),
                text("an interrupted training"),
                text("start another with pellucid fit; pellucid runs lists what there is"),
            )
        started = time.perf_counter() if started is None else started
        progress = progress if progress is not None else Progress()
        if network is not None:
            self._network = network
        samples = self._read_again(data, target)
        prepared = self._split_again(samples)
        settings = self._settings_again()
        progress.started(self.directory)
        try:
            for notice in self._environment_notices():
                progress.notice(notice)
            with own_random_state(settings.seed):
                module = self._build()
            session = Session(
                directory=self._directory, prepared=prepared, settings=settings, network=module,
                network_name=self._record["network"]["name"], device=choose_device(self.config["device"]), progress=progress,
                name=self._record["data"]["name"], samples=samples,
                baselines=bool(self.config.get("baselines", False)), started=started, report=bool(self.config.get("report", True)),
                watch=bool(self.config.get("watch", False)),
            )  # fmt: skip
            session.execute()
        finally:
            progress.close()
        return Run(self._directory, network=module)

    @property
    def learning_curve(self) -> LearningCurve | None:
        """How much more data a smaller error needs, where `fit` was asked for it (learning_curve=True)."""
        return (
            LearningCurve.from_dict(self._directory.read_record("learning_curve")) if self._directory.has_record("learning_curve") else None
        )

    @property
    def remedies(self) -> RemedyTrials | None:
        """Which classical remedy helps against over- or underfitting, where `fit` was asked for it (remedy=True)."""
        has = self._directory.has_record("remedies")
        return RemedyTrials.from_dict(self._directory.read_record("remedies")) if has else None

    def report(self) -> Path:
        """Draw report.html into the run again, from its records alone, and return its path. Works for an unfinished run too."""
        from pellucid.report import write  # the template engine is loaded when it is needed

        return write(self._directory)

    def experiment(self, data: Any = None, target: Any = None) -> Any:
        """The training as a `pellucid.Experiment`, which can be run again and diagnosed: the run's data, split, preprocessing, network,
        loss, optimizer and schedule. Held-out scores are those of the validation part, so that the test part chooses nothing.

        `data` (and `target`) are needed where the run was trained on data in memory. Augmentation and reduced precision are left out.

        Raises:
            DataError: the data cannot be read again, or are not those of the run.
            OptionError: the loss or optimizer was given as a Python object, which the run does not hold.
            RunError: the run was trained with the user's own network, which load was not given.
        """
        from pellucid.training.experiment import experiment_of

        return experiment_of(self, data, target)

    def _seen_before(self, samples: Any) -> list[Notice]:
        """What a score must not be taken for: samples that the network has learnt from, or that chose its weights."""
        seen = Ledger.from_dict(self._directory.read_json("data.json")).seen(samples)
        train, validation = seen.get("train", 0), seen.get("validation", 0)
        if not train and not validation:
            return []
        told: list[Text] = []
        if train:
            told.append(text("{count} of the {samples} samples stood in the run's training part: the network has learnt from them",
                             count=train, samples=len(samples)))  # fmt: skip
        if validation:
            told.append(text("{count} of the {samples} samples stood in the run's validation part, which chose the weights",
                             count=validation, samples=len(samples)))  # fmt: skip
        summary = text("{what}. The scores say too little about new samples: measure on samples that the run has not seen", what=told)
        return [Notice(kind="seen_before", summary=summary, evidence={"train": train, "validation": validation, "samples": len(samples)})]

    # -- how ------------------------------------------------------------------------------------------------------------------------

    def _preprocessing(self) -> Any:
        return data.restore(self._directory.read_json("preprocessing.json"))

    def _new(self, source: Any, header: bool | None, targets: str, data_dir: Any) -> tuple[Any, Any]:
        """New samples, and they as a Part."""
        preprocessing = self._preprocessing()
        header = bool(self.config["header"]) if header is None else header
        stored = self.config.get("data_dir")
        if data_dir is None and stored is not None and Path(stored).is_dir():
            data_dir = stored
        samples = data.read_new(source, preprocessing, header=header, task=self.task, targets=targets, data_dir=data_dir)
        if not len(samples):
            raise DataError(
                text("the data have no samples"), text("at least one sample"), text("give a file with rows, or a folder with images")
            )
        labelled = targets == "required" and samples.targets is not None
        return samples, preprocessing_kind_of(preprocessing.kind).new_part(samples, preprocessing, labelled=labelled)

    def _outputs(self, part: Any, batch_size: int, tell: Tell | None = None) -> torch.Tensor:
        """The network's outputs, or what is kept of them, for new samples."""
        part = Announced(part, tell) if tell is not None else part
        kept = MEASURES[self.task.kind].kept
        return outputs_of(self.model, part, device=torch.device("cpu"), batch_size=batch_size, kept=kept)[0]

    def _prepare_again(self, source: Any, target: Any) -> Any:
        """Read the same data again and rebuild the same split from the ledger."""
        return self._split_again(self._read_again(source, target))

    def _read_again(self, source: Any, target: Any) -> Any:
        """The samples the run was trained on, from where they came or as they are given."""
        config = self.config
        if source is not None:
            samples = data.read(source, target, task=config["task"], header=config["header"], group=config["group"], time=config["time"])
        elif self._record["data"]["reference"] is not None:
            samples = data.read_reference(self._record["data"]["reference"])
        else:
            raise DataError(
                text("the run {path} was trained on data in memory", path=str(self.directory)),
                text("the same data again"),
                text("give them: pellucid.load({path!r}).resume(data=(X, y))", path=str(self.directory)),
            )
        return samples

    def _split_again(self, samples: Any) -> Any:
        """The parts of the run, from the ledger.

        Raises:
            DataError: the samples are not those of the run.
        """
        ledger = Ledger.from_dict(self._directory.read_json("data.json"))
        difference = ledger.differences(samples)
        if difference is not None:
            raise DataError(
                difference,
                text("the data that the run was trained on"),
                text("restore the data, or start a new training with pellucid fit"),
            )
        config = self.config
        return data.prepare(
            samples, validation=config["validation"], test=config["test"], seed=config["seed"], ledger=ledger,
            preprocessing=self._preprocessing(),
        )  # fmt: skip

    def _settings_again(self) -> Settings:
        stored = dict(self._record["settings"])
        for name in ("loss", "optimizer", "activation"):
            if str(stored[name]).startswith("python:"):
                raise OptionError(
                    text("{option} was given as a Python object, {name}", option=name, name=stored[name].removeprefix("python:")),
                    text("an option that run.json can hold"),
                    text("train again with pellucid.fit"),
                )
        known = set(Settings.__dataclass_fields__)
        return Settings(**{**{k: v for k, v in stored.items() if k in known}, "chosen": tuple(stored.get("chosen", ()))})

    def _environment_notices(self) -> list[Text]:
        """Exact resuming holds for the same machine and torch build: say what differs, and go on."""
        now = environment(choose_device(self.config["device"]))
        differing = [f"{name}: {before} -> {after}" for name, before, after in environment_differences(self._record["environment"], now)]
        if not differing:
            return []
        return [
            text("this machine differs from the run's ({differences}): the result can differ in the last digits", differences=differing)
        ]


@dataclass(frozen=True)
class _View:
    """The two things `measure` asks of prepared data."""

    task: Task
    preprocessing: Any


def load(directory: Any, network: Any = None) -> Run:
    """Any earlier run. `network` is needed where it was trained with the user's own module: names and shapes are checked.

    Raises:
        RunError: the directory is not a run, is torn, or was written by a newer version.

    Example: `pellucid.load("runs/digits-cnn-1").predict(images)`
    """
    return Run(RunDirectory.open(directory), network=network)
