"""One session of training a run, from prepared data to the summary. `fit` starts the first; `Run.resume` starts the others.

What is decided here is written into the run before it takes effect, and read, not decided again, by every later session.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pellucid.core.energy import EnergyMeter
from pellucid.core.errors import DivergenceError, PellucidError
from pellucid.core.language import text
from pellucid.core.records import Cost, Expectation, Finding, Score
from pellucid.core.system import Signals, peak_memory_bytes, quoted
from pellucid.data.samples import Prepared, ResidentPart
from pellucid.diagnosis.dynamic.curves import Curves
from pellucid.diagnosis.verdict import verdict
from pellucid.runs.directory import RunDirectory
from pellucid.training.augmentation import build_augmentation
from pellucid.training.budget import Budget
from pellucid.training.construction import all_parameters
from pellucid.training.cost import flops_per_sample, thread_count
from pellucid.training.decisions import BASELINE_SECONDS, RECORDS_SECONDS, Decided, decide, expectation, most_epochs, timekeeper_of
from pellucid.training.evaluation import TRAIN_SCORE_LIMIT, evaluation_sample, outputs_of
from pellucid.training.forecasting.comparison import simple_scores
from pellucid.training.loop import Loop, explain_failure, load_weights, loader_states, restore_loaders
from pellucid.training.losses import Loss, build_loss, class_weights
from pellucid.training.metrics import (
    MEASURES,
    constant_answer,
    constant_outputs,
    full_scores,
    parse_condition,
    primary_metric,
    quick_metrics,
)
from pellucid.training.optimizers import build_optimizer
from pellucid.training.progress import Plan, Progress
from pellucid.training.randomness import epoch_order, own_random_state, seed_everything
from pellucid.training.results import Results
from pellucid.training.schedules import Schedule
from pellucid.training.settings import Settings, has_dropout
from pellucid.training.summary import summarize
from pellucid.training.temperature import CALIBRATION_SAMPLES, best_temperature
from pellucid.training.weighted import WeightedPart, joined

COMPARISON_SECONDS, COMPARISON_SHARE = 10.0, 0.1  # classical models may take so long, or this share of a longer training
INITIAL = "initial"  # marks the checkpoint that is written before the first step


def keep_initial_state(directory: RunDirectory, network: nn.Module | None, prepared: Prepared) -> None:
    """What nobody can make again is in the run before run.json is: the weights of a user's own `network`, the state of their loaders."""
    weights = dict(network.state_dict()) if network is not None else None
    loaders = loader_states(parts_of(prepared))
    if weights is not None or loaders:
        directory.save_checkpoint(0, {INITIAL: True, "network": weights, "loaders": loaders})


def parts_of(prepared: Prepared) -> dict[str, Any]:
    return {"train": prepared.train, "validation": prepared.validation, "test": prepared.test}


@dataclass
class Session:
    """What one session of training needs. Nothing here is state: the state is the `Loop`'s, and on disk."""

    directory: Any  # RunDirectory, or RunInMemory for `learn` alone
    prepared: Prepared
    settings: Settings
    network: nn.Module
    network_name: str
    device: torch.device
    progress: Progress
    name: str
    loss: Loss | None = None  # another than the settings' own: with sample weights
    keep: str = "best"  # which weights; see Loop
    report: bool = False  # draw report.html into the run at the end
    watch: bool = False  # look into the training while it runs
    samples: Any = None  # what was read: the worst mistakes are shown as the user gave them
    baselines: bool = False  # compare with classical models at the end
    threads: int = field(default_factory=torch.get_num_threads)  # that these may use; the training has its own number
    started: float = field(default_factory=time.perf_counter)  # the clock's reading when the command began
    expected: Expectation | None = None  # what it should take, once that is known

    def execute(self) -> None:
        """Train to the end, or go on to the end, then measure and sum up.

        Raises:
            DivergenceError: the loss became infinite or NaN; the best weights so far are in the run.
            Interrupted: Ctrl-C or SIGTERM; a checkpoint is written.
            MemoryShortage, ModelError: a step cannot be made.
        """
        threads = thread_count(self.settings.threads)
        with self.directory.lock(), Signals() as signals, own_random_state(self.settings.seed), threads, EnergyMeter() as meter:
            resumed = any(self.directory.checkpoint_steps())  # then the meter has not seen all of it
            try:
                loop, settings = self.learn(signals)
            except DivergenceError:
                self._draw_report()
                raise
            self._finish(loop, settings, signals, None if resumed else meter.joules())

    def learn(self, signals: Signals) -> tuple[Loop, Settings]:
        """The training alone. The caller lends the random state and sets the number of threads; raises what `execute` raises."""
        self.place()
        self.progress.planned(self._plan())
        checkpoint = self.directory.latest_checkpoint()
        state = checkpoint[1] if checkpoint is not None else None
        if state is not None and INITIAL in state:  # nothing has been trained yet
            if state["network"] is not None:
                load_weights(self.network, state["network"])
            restore_loaders(parts_of(self.prepared), state["loaders"])
            state = None
        loaders = loader_states(parts_of(self.prepared))
        budget = None
        if self.settings.budget is not None:
            spent = state.get("command_seconds", state["seconds"]) if state is not None else 0.0
            budget = Budget(self.settings.budget, self.started, earlier=spent)
        decided = decide(self, signals, budget)
        settings = decided.settings
        self.progress.decided(settings.to_dict(), settings.chosen)
        restore_loaders(parts_of(self.prepared), loaders)  # training's orders do not depend on what the range test read
        seed_everything(settings.seed + 1)  # training's draws do not depend on what the range test drew
        with self.failures_explained():
            loop = self.loop_of(settings, signals)
        loop.started = self.started
        loop.timekeeper = timekeeper_of(self, decided, loop)
        if decided.steps is not None:
            loop.epochs = most_epochs(self.settings)  # the timekeeper may come to more than were planned
            loop.schedule = Schedule(settings.schedule, decided.steps, float(settings.learning_rate), decided.turns)
        if state is not None:
            loop.restore(state)
        else:
            self.directory.cut_metrics(0)
        self._expect(decided, loop)
        try:
            with self._watching(loop), self.failures_explained():
                loop.run()
        except DivergenceError:
            self._keep_last_good(loop)
            raise
        return loop, settings

    def _expect(self, decided: Decided, loop: Loop) -> None:
        """Say, and keep, what the training is expected to take."""
        expected = expectation(self, decided, loop, loop.command_seconds())
        if expected is not None and self.directory.path is not None:
            self.directory.write_record("plan", expected)
            self.progress.expected(expected)
        self.expected = expected

    def place(self) -> None:
        """Network and data where, and as, they are computed with."""
        self.network.to(self.device)
        if self.settings.memory_format == "channels_last":
            self.network.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
            for part in parts_of(self.prepared).values():
                if hasattr(part, "memory_format"):
                    part.memory_format = torch.channels_last
        if self.device.type != "cpu":
            for part in ("train", "validation", "test"):
                if isinstance(getattr(self.prepared, part), (ResidentPart, WeightedPart)):
                    setattr(self.prepared, part, getattr(self.prepared, part).to(self.device))

    @contextmanager
    def failures_explained(self) -> Iterator[None]:
        """What torch, or the user's own network, loss or optimiser, raises in a step, as one of our errors; a mistake of ours stays one."""
        try:
            yield
        except PellucidError:
            raise
        except (RuntimeError, MemoryError) as error:
            raise explain_failure(error, self.settings.batch_size) from error
        except Exception as error:
            ours = type(self.network).__module__.startswith("pellucid.")
            if ours and isinstance(self.settings.optimizer, str) and isinstance(self.settings.loss, str):
                raise
            raise explain_failure(error, self.settings.batch_size) from error

    @contextmanager
    def _watching(self, loop: Loop) -> Iterator[None]:
        """What a watcher sees of the steps made inside the block, in records/watch.json; what fails in it is no harm to the training."""
        if not self.watch or self.directory.path is None:
            yield
            return
        from pellucid.diagnosis.watch.watcher import Watcher

        first = loop.step
        with Watcher(loop.network, loop.optimizer, announce=False) as watcher:
            try:
                yield
            finally:
                watcher.close()
                try:
                    self.directory.write_record("watch", {**watcher.to_dict(), "first_step": first})
                except Exception as error:
                    reason = f"{type(error).__name__}: {error}"
                    self.progress.notice(text("what was watched could not be written ({reason})", reason=reason))

    # -- before training -------------------------------------------------------------------------------------------------------------

    def _plan(self) -> Plan:
        task = self.prepared.task
        vocabulary = getattr(self.prepared.preprocessing, "vocabulary", None)
        return Plan(
            name=self.name,
            task=task.kind,
            outputs=task.classes or task.targets,
            samples={part: len(getattr(self.prepared, part)) for part in ("train", "validation", "test")},
            input_shape=tuple(self.prepared.input_shape),
            network=self.network_name,
            parameters=all_parameters(self.network),
            settings=self.settings.to_dict(),
            chosen=self.settings.chosen,
            columns=columns_of(self.prepared.preprocessing),
            unit=getattr(vocabulary, "unit", None),
            vocabulary=None if vocabulary is None else len(vocabulary.tokens),
            shortest=getattr(self.prepared.preprocessing, "shortest", None),
        )

    def optimizer_of(self, network: nn.Module, learning_rate: float) -> torch.optim.Optimizer:
        return build_optimizer(
            self.settings.optimizer, network,
            learning_rate=learning_rate, momentum=self.settings.momentum, weight_decay=self.settings.weight_decay,
        )  # fmt: skip

    def loss_function(self) -> Loss:
        return self.loss if self.loss is not None else loss_of(self.settings, self.prepared)

    def trial_batches(self, signals: Signals, size: int) -> Generator[tuple[Tensor, Tensor], None, None]:
        """Shuffled training batches, over and over: who measures or tests before training takes as many as it needs."""
        train = self.prepared.train
        for epoch in itertools.count():
            if getattr(train, "ordered", True):
                order = epoch_order(len(train), self.settings.seed, -1 - epoch)
                order = order[: len(order) - (len(order) % size == 1 and len(order) > 1)]
                order = train.grouped(order, size) if hasattr(train, "grouped") else order
                batches = train.batches(size, order.to(getattr(train, "device", "cpu")))
            else:
                batches = train.batches(size)
            for inputs, targets in batches:
                self._end_if_asked(signals)
                yield inputs.to(self.device), targets.to(self.device)

    def _end_if_asked(self, signals: Signals) -> None:
        """Outside the loop there is nothing to save: what is on the disk is all there is."""
        if signals.received:
            signals.raise_interrupted(self.directory.path)

    def loop_of(self, settings: Settings, signals: Signals, network: nn.Module | None = None) -> Loop:
        """A loop at its first step, over the session's network or over a copy of it."""
        network = network if network is not None else self.network
        condition = parse_condition(settings.until, self.prepared.task) if settings.until else None
        loop = Loop(
            network=network,
            optimizer=self.optimizer_of(network, float(settings.learning_rate)),
            loss_function=self.loss_function(),
            train=self.prepared.train,
            validation=self.prepared.validation,
            test=self.prepared.test,
            task=self.prepared.task,
            preprocessing=self.prepared.preprocessing,
            schedule=Schedule("constant", 1, float(settings.learning_rate)),
            directory=self.directory,
            progress=self.progress,
            signals=signals,
            epochs=settings.epochs,
            batch_size=settings.batch_size,
            seed=settings.seed,
            device=self.device,
            patience=settings.patience,
            until=condition,
            l1=settings.l1,
            clip=settings.clip,
            augmentation=build_augmentation(settings.augment, tuple(self.prepared.input_shape), settings.seed, self.prepared.task.kind),
            autocast=torch.bfloat16 if settings.precision == "bfloat16" else None,
            checkpoint_interval=settings.checkpoint_interval,
            keep=self.keep,
        )
        loop.schedule = Schedule(settings.schedule, loop.planned_steps(), float(settings.learning_rate))
        return loop

    # -- after training --------------------------------------------------------------------------------------------------------------

    def _keep_last_good(self, loop: Loop) -> None:
        """The loss diverged: the last good weights are kept (epoch 0: those before training), and the reason."""
        self.directory.save_weights(loop.last_good_weights(), {"epoch": str(loop.best.epoch), "diverged": "true"})
        finding = Finding(
            symptom="divergence",
            level="fault",
            confidence=1.0,
            summary=text(
                "the loss became infinite or NaN at step {step}; the weights of epoch {epoch} are kept",
                step=loop.step,
                epoch=loop.best.epoch,
            ),
            evidence={"step": loop.step, "epoch": loop.epoch + 1, "learning_rate": loop.optimizer.param_groups[0]["lr"]},
            remedy=text("lower the learning rate or clip the gradient (--clip 1)"),
        )  # fmt: skip
        self.directory.write_record("findings", {"findings": [finding.to_dict()]})

    def _finish(self, loop: Loop, settings: Settings, signals: Signals, joules: float | None) -> None:
        """Best weights, scores of every part, findings, cost, summary; the summary last: a run that has one is finished."""
        self.progress.phase(text("measuring the best network on every part"))
        load_weights(self.network, loop.best.weights)
        weights, about = loop.best.weights, {"epoch": str(loop.best.epoch)}
        temperature = self._temperature(loop, settings)
        if temperature is not None:
            self.network.scale_scores(1 / temperature)  # pyright: ignore[reportCallIssue]
            weights, about["temperature"] = dict(self.network.state_dict()), repr(temperature)
        if self._calibrate_intervals(loop):
            weights = dict(self.network.state_dict())
        self.directory.save_weights(weights, about)
        scores: dict[str, list[Score]] = {}
        outputs = targets = None
        for part in ("train", "validation", "test"):  # the last that has samples is the one of which everything is told
            if len(getattr(self.prepared, part)):
                self._end_if_asked(signals)
                samples = getattr(self.prepared, part)
                if part == "train":
                    samples = evaluation_sample(samples, TRAIN_SCORE_LIMIT)
                outputs, targets = answers(self.network, samples, self.prepared, device=self.device, autocast=loop.autocast)
                scores[part] = full_scores(outputs, targets, self.prepared.task, loss=settings.loss, seed=settings.seed,
                                           intervals=part != "train", part=samples)  # fmt: skip
        train_targets = all_targets(self.prepared.train) if getattr(self.prepared.train, "ordered", True) else None
        findings = self._verdict(loop, settings, scores, train_targets)
        self.directory.write_record("scores", {part: [score.to_dict() for score in of_part] for part, of_part in scores.items()})
        self.directory.write_record("findings", {"findings": [finding.to_dict() for finding in findings]})
        sample, _ = next(self.prepared.train.batches(2))
        baselines = evaluation = None
        if outputs is not None and targets is not None:
            part = list(scores)[-1]
            results = Results(self.directory, self.prepared, self.samples, settings, self.progress, part, outputs, targets,
                              self.network)  # fmt: skip
            evaluation = results.write_evaluation(scores[part])
            results.write_network(self.network, sample.to(self.device))
            self._end_if_asked(signals)
            if self.baselines:
                baselines = results.write_baselines(self.network, signals=signals, seconds=self._seconds_for_baselines(loop),
                                                    threads=self.threads, device=self.device, autocast=loop.autocast)  # fmt: skip
                self._end_if_asked(signals)
        parameters = all_parameters(self.network)
        flops = flops_per_sample(self.network, sample.to(self.device))
        cost = Cost(
            seconds=loop.command_seconds(), training_seconds=loop.training_seconds, checkpoint_seconds=loop.checkpoint_seconds,
            epochs=loop.epoch, steps=loop.step, samples=loop.samples_seen, parameters=parameters,
            flops_per_sample=flops, total_flops=flops * loop.samples_seen if flops is not None else None,
            peak_memory_bytes=peak_memory_bytes(), energy_joules=joules, device=str(self.device),
            expected_seconds=self.expected.seconds if self.expected is not None else None,
            expected_memory_bytes=self.expected.memory_bytes if self.expected is not None and self.device.type == "cpu" else None,
        )  # fmt: skip
        stopped = loop.stopped or text("all {epochs} epochs are done", epochs=loop.epoch)
        summary = summarize(
            task=self.prepared.task, scores=scores, findings=findings, cost=cost, notices=list(self.prepared.notices),
            stopped=stopped, run=str(self.directory.path), primary=primary_metric(self.prepared.task), baselines=baselines,
            evaluation=evaluation, constant=self._constant_score(train_targets, targets, list(scores)),
        )  # fmt: skip
        self.directory.write_record("cost", cost)
        self.directory.write_record("summary", summary)
        self._draw_report()
        self.progress.finished(summary)

    def _constant_score(self, train_targets: Tensor | None, targets: Tensor | None, parts: Sequence[str]) -> float | None:
        """What the training part's commonest class, or mean, gets in the primary metric on the last of `parts`, that of `targets`."""
        task = self.prepared.task
        if train_targets is None or targets is None:
            return None
        outputs = constant_outputs(constant_answer(train_targets, task), targets)
        if task.numeric:
            outputs = self.prepared.preprocessing.restore_targets(outputs.float())
        return quick_metrics(outputs, targets, task, getattr(self.prepared, parts[-1])).get(primary_metric(task))

    def _draw_report(self) -> None:
        """report.html from the records that are there; what goes wrong with it is said, and the training is none the worse for it."""
        if not self.report:
            return
        try:
            from pellucid.report import write  # the template engine, only after training

            write(self.directory)
        except Exception as error:
            reason = error.got if isinstance(error, PellucidError) else f"{type(error).__name__}: {error}"
            self.progress.notice(text("the report could not be drawn ({reason}); try: pellucid report {run}",
                                      reason=reason, run=quoted(self.directory.path)))  # fmt: skip

    def _seconds_for_baselines(self, loop: Loop) -> float:
        """A tenth of the training's time, or what is a moment to a person; no more than a budget leaves."""
        seconds = max(COMPARISON_SECONDS, COMPARISON_SHARE * loop.training_seconds)
        return seconds if loop.timekeeper is None else min(seconds, loop.timekeeper.budget.left() - RECORDS_SECONDS - BASELINE_SECONDS)

    def _temperature(self, loop: Loop, settings: Settings) -> float | None:
        """What the scores of a network trained with smoothed labels are to be divided by; None where there is nothing to correct."""
        validation = self.prepared.validation
        scalable = hasattr(self.network, "scale_scores") and settings.loss == "cross_entropy" and settings.label_smoothing > 0
        if not (scalable and len(validation)):
            return None
        outputs, targets = answers(self.network, evaluation_sample(validation, CALIBRATION_SAMPLES), self.prepared, device=self.device,
                                   autocast=loop.autocast)  # fmt: skip
        return best_temperature(outputs, targets)

    def _calibrate_intervals(self, loop: Loop) -> bool:
        """Let a network that gives intervals compare them with the validation part; whether it did."""
        calibrate, validation = getattr(self.network, "calibrate", None), self.prepared.validation
        if not callable(calibrate) or not len(validation):
            return False
        sample = evaluation_sample(validation, CALIBRATION_SAMPLES)
        calibrate(*outputs_of(self.network, sample, device=self.device, batch_size=512, autocast=loop.autocast))
        return True

    def _without_effect(self, settings: Settings) -> list[str]:
        """Options that hold other networks back and would do nothing to this one."""
        names = [] if has_dropout(self.network_name) else ["dropout"]
        if settings.optimizer == "muon" and hasattr(self.network, "scale_free_parameters"):
            names.append("weight_decay")
        return names

    def _verdict(self, loop: Loop, settings: Settings, scores: dict[str, list[Score]], targets: Tensor | None) -> list[Finding]:
        """Over- or underfitting, from the curves and the final scores."""
        task = self.prepared.task
        counts = variance = None
        if targets is not None and task.kind == "classification":
            counts = torch.bincount(targets.long(), minlength=len(task.classes)).tolist()
        elif targets is not None and task.numeric:
            variance = float(np.nanvar(targets.double().reshape(len(targets), -1).numpy(), axis=0).mean())  # NaN: a step without a value
        plain_loss = settings.loss in ("cross_entropy", "binary_cross_entropy", "mse") and not settings.label_smoothing
        curves = Curves.from_history(
            self.directory.metrics(),
            primary=primary_metric(task),
            scores=scores,
            class_counts=counts,
            target_variance=variance if settings.loss == "mse" else None,
            kept_epoch=loop.best.epoch,
            stopped=loop.stop_kind,
            input_shape=self.prepared.input_shape,
            settings={**settings.to_dict(), "without_effect": self._without_effect(settings)},
        )
        if not plain_loss or settings.class_weight is not None:  # the entropy of the classes is not this loss's trivial value
            curves = replace(curves, trivial_loss=None)
        if task.kind == "forecasting":
            held_out = curves.held_out_part
            parts = {"train": evaluation_sample(self.prepared.train, TRAIN_SCORE_LIMIT), held_out: getattr(self.prepared, held_out)}
            with torch.inference_mode():
                name, simple = simple_scores(self.network, self.prepared, {part: some for part, some in parts.items() if len(some)})
            curves = replace(curves, simple_name=name, simple=simple)
        return list(verdict(curves))


def columns_of(preprocessing: Any) -> int | None:
    """How many columns of a table the network sees; None for data that are no table."""
    encodings = getattr(preprocessing, "encodings", None)
    return None if not encodings else sum(bool(encoding.features) for encoding in encodings.values())


def loss_of(settings: Settings, prepared: Prepared) -> Loss:
    """The loss function that the settings name, with the class weights of the training part."""
    weights = None
    if settings.class_weight is not None:
        weights = class_weights(settings.class_weight, prepared.task, all_targets(prepared.train))
    return build_loss(settings.loss, prepared.task, class_weight=weights, label_smoothing=settings.label_smoothing)


def all_targets(part: Any) -> Tensor:
    """(n, ...): every target of a part, on the CPU."""
    return part.targets.cpu() if isinstance(part, ResidentPart) else joined([targets.cpu() for _, targets in part.batches(4096)])


def measure(
    network: nn.Module,
    part: Any,
    prepared: Any,
    loss: Any,
    *,
    device: torch.device,
    autocast: torch.dtype | None = None,
    seed: int = 0,
    intervals: bool = True,
) -> list[Score]:
    """Every metric of the task on one part, in the user's units, with 95 % intervals."""
    outputs, targets = answers(network, part, prepared, device=device, autocast=autocast)
    return full_scores(outputs, targets, prepared.task, loss=loss, seed=seed, intervals=intervals, part=part)


def answers(
    network: nn.Module, part: Any, prepared: Any, *, device: torch.device, autocast: torch.dtype | None = None
) -> tuple[Tensor, Tensor]:
    """The network's outputs and the targets of a whole part, on the CPU; regression in the user's units, of masks class maps."""
    kept = MEASURES[prepared.task.kind].kept
    outputs, targets = outputs_of(network, part, device=device, batch_size=512, autocast=autocast, kept=kept)
    if prepared.task.numeric:
        outputs = prepared.preprocessing.restore_targets(outputs)
        targets = prepared.preprocessing.restore_targets(targets)
    return outputs, targets
