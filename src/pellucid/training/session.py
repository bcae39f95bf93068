"""One session of training a run, from prepared data to the summary. `fit` starts the first; `Run.resume` starts the others.

What is decided here is written into the run before it takes effect, and read, not decided again, by every later session.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from pellucid.core.errors import DivergenceError, PellucidError
from pellucid.core.language import text
from pellucid.core.records import Cost, Finding, Score
from pellucid.core.system import Signals, peak_memory_bytes
from pellucid.data.samples import Prepared, ResidentPart
from pellucid.diagnosis.curves import Curves
from pellucid.diagnosis.verdict import verdict
from pellucid.runs.directory import RunDirectory
from pellucid.training.augmentation import build_augmentation
from pellucid.training.cost import flops_per_sample, thread_count
from pellucid.training.evaluation import outputs_of
from pellucid.training.loop import Loop, explain_failure, load_weights, loader_states, restore_loaders
from pellucid.training.losses import Loss, build_loss, class_weights
from pellucid.training.metrics import full_scores, parse_condition, primary_metric
from pellucid.training.optimizers import build_optimizer
from pellucid.training.progress import Plan, Progress
from pellucid.training.randomness import epoch_order, own_random_state, seed_everything
from pellucid.training.range_test import range_test
from pellucid.training.schedules import Schedule
from pellucid.training.settings import CUSTOMARY_RATE, Settings
from pellucid.training.summary import summarize

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

    directory: RunDirectory
    prepared: Prepared
    settings: Settings
    network: nn.Module
    network_name: str
    device: torch.device
    progress: Progress
    name: str

    def execute(self) -> None:
        """Train to the end, or go on to the end, then measure and sum up.

        Raises:
            DivergenceError: the loss became infinite or NaN; the best weights so far are in the run.
            Interrupted: Ctrl-C or SIGTERM; a checkpoint is written.
            MemoryShortage, ModelError: a step cannot be made.
        """
        threads = thread_count(self.settings.threads)
        with self.directory.lock(), Signals() as signals, own_random_state(self.settings.seed), threads:
            self.network.to(self.device)
            if self.device.type != "cpu":
                for part in ("train", "validation", "test"):
                    if isinstance(getattr(self.prepared, part), ResidentPart):
                        setattr(self.prepared, part, getattr(self.prepared, part).to(self.device))
            self.progress.planned(self._plan())
            checkpoint = self.directory.latest_checkpoint()
            state = checkpoint[1] if checkpoint is not None else None
            if state is not None and INITIAL in state:  # nothing has been trained yet
                if state["network"] is not None:
                    load_weights(self.network, state["network"])
                restore_loaders(parts_of(self.prepared), state["loaders"])
                state = None
            loaders = loader_states(parts_of(self.prepared))
            settings = self._decide(signals)
            self.progress.decided(settings.to_dict(), settings.chosen)
            restore_loaders(parts_of(self.prepared), loaders)  # training's orders do not depend on what the range test read
            seed_everything(settings.seed + 1)  # training's draws do not depend on what the range test drew
            with self._failures_explained():
                loop = self._loop(settings, signals)
            if state is not None:
                loop.restore(state)
            else:
                self.directory.cut_metrics(0)
            try:
                with self._failures_explained():
                    loop.run()
            except DivergenceError:
                self._keep_last_good(loop)
                raise
            self._finish(loop, settings, signals)

    @contextmanager
    def _failures_explained(self) -> Iterator[None]:
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

    # -- before training -------------------------------------------------------------------------------------------------------------

    def _plan(self) -> Plan:
        task = self.prepared.task
        return Plan(
            name=self.name,
            task=task.kind,
            outputs=task.classes if task.kind == "classification" else task.targets,
            samples={part: len(getattr(self.prepared, part)) for part in ("train", "validation", "test")},
            input_shape=tuple(self.prepared.input_shape),
            network=self.network_name,
            parameters=sum(parameter.numel() for parameter in self.network.parameters()),
            settings=self.settings.to_dict(),
            chosen=self.settings.chosen,
        )

    def _optimizer(self, network: nn.Module, learning_rate: float) -> torch.optim.Optimizer:
        return build_optimizer(
            self.settings.optimizer, network,
            learning_rate=learning_rate, momentum=self.settings.momentum, weight_decay=self.settings.weight_decay,
        )  # fmt: skip

    def loss_function(self) -> Loss:
        return loss_of(self.settings, self.prepared)

    def _decide(self, signals: Signals) -> Settings:
        """The learning rate by a range test, the number of epochs by the budget: measured once, written, then read."""
        settings = self.settings
        if settings.learning_rate != "auto" and settings.budget is None:
            return settings
        decisions = self.directory.read_record("decisions") if "decisions" in self.directory.record_names() else None
        if decisions is None:
            self.progress.phase(text("learning-rate range test") if settings.learning_rate == "auto" else text("measuring the speed"))
            name = settings.optimizer if isinstance(settings.optimizer, str) else "adamw"
            with self._failures_explained():
                batches = self._trial_batches(signals)
                test = range_test(self.network, self._optimizer, self.loss_function(), batches, default=CUSTOMARY_RATE[name])
            decisions = {"range_test": test.to_dict(), "learning_rate": settings.learning_rate, "epochs": settings.epochs}
            if settings.learning_rate == "auto":
                decisions["learning_rate"] = test.learning_rate
            if settings.budget is not None:
                steps = max(1, math.ceil(len(self.prepared.train) / settings.batch_size))
                # Measuring after each epoch costs about a third of a training pass over as many samples.
                measured = (2 * len(self.prepared.validation) / max(len(self.prepared.train), 1)) / 3
                affordable = 0.9 * settings.budget / (test.seconds_per_step * steps * (1 + measured))
                limit = settings.epochs if "epochs" not in settings.chosen else 10 * settings.epochs
                decisions["epochs"] = int(max(1, min(limit, affordable)))
            self.directory.write_record("decisions", decisions)
        patience = settings.patience
        if patience is not None and "patience" in settings.chosen:
            patience = max(10, math.ceil(decisions["epochs"] * 0.4))
        return replace(settings, learning_rate=decisions["learning_rate"], epochs=decisions["epochs"], patience=patience)

    def _trial_batches(self, signals: Signals) -> Iterator[tuple[Tensor, Tensor]]:
        """Shuffled training batches, over and over: the range test takes as many as it needs."""
        train = self.prepared.train
        for epoch in itertools.count():
            if getattr(train, "ordered", True):
                order = epoch_order(len(train), self.settings.seed, -1 - epoch)
                order = order[: len(order) - (len(order) % self.settings.batch_size == 1 and len(order) > 1)]
                batches = train.batches(self.settings.batch_size, order.to(getattr(train, "device", "cpu")))
            else:
                batches = train.batches(self.settings.batch_size)
            for inputs, targets in batches:
                self._end_if_asked(signals)
                yield inputs.to(self.device), targets.to(self.device)

    def _end_if_asked(self, signals: Signals) -> None:
        """Outside the loop there is nothing to save: what is on the disk is all there is."""
        if signals.received:
            signals.raise_interrupted(self.directory.path)

    def _loop(self, settings: Settings, signals: Signals) -> Loop:
        condition = parse_condition(settings.until, self.prepared.task) if settings.until else None
        loop = Loop(
            network=self.network,
            optimizer=self._optimizer(self.network, float(settings.learning_rate)),
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
            augmentation=build_augmentation(settings.augment, tuple(self.prepared.input_shape)),
            autocast=torch.bfloat16 if settings.precision == "bfloat16" else None,
            budget_seconds=settings.budget,
            checkpoint_interval=settings.checkpoint_interval,
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

    def _finish(self, loop: Loop, settings: Settings, signals: Signals) -> None:
        """Best weights, scores of every part, findings, cost, summary; the summary last: a run that has one is finished."""
        self.progress.phase(text("measuring the best network on every part"))
        load_weights(self.network, loop.best.weights)
        self.directory.save_weights(loop.best.weights, {"epoch": str(loop.best.epoch)})
        scores: dict[str, list[Score]] = {}
        for part in ("train", "validation", "test"):
            if len(getattr(self.prepared, part)):
                self._end_if_asked(signals)
                scores[part] = measure(self.network, getattr(self.prepared, part), self.prepared, settings.loss, device=self.device,
                                       autocast=loop.autocast, seed=settings.seed, intervals=part != "train")  # fmt: skip
        findings = self._verdict(loop, settings, scores)
        sample, _ = next(self.prepared.train.batches(2))
        parameters = sum(parameter.numel() for parameter in self.network.parameters())
        flops = flops_per_sample(self.network, sample.to(self.device))
        cost = Cost(
            seconds=loop.elapsed(), training_seconds=loop.training_seconds, checkpoint_seconds=loop.checkpoint_seconds,
            epochs=loop.epoch, steps=loop.step, samples=loop.samples_seen, parameters=parameters,
            flops_per_sample=flops, total_flops=flops * loop.samples_seen if flops is not None else None,
            peak_memory_bytes=peak_memory_bytes(), device=str(self.device),
        )  # fmt: skip
        stopped = loop.stopped or text("all {epochs} epochs are done", epochs=loop.epoch)
        summary = summarize(
            task=self.prepared.task, scores=scores, findings=findings, cost=cost, notices=list(self.prepared.notices),
            stopped=stopped, run=str(self.directory.path), primary=primary_metric(self.prepared.task),
        )  # fmt: skip
        self.directory.write_record("scores", {part: [score.to_dict() for score in of_part] for part, of_part in scores.items()})
        self.directory.write_record("findings", {"findings": [finding.to_dict() for finding in findings]})
        self.directory.write_record("cost", cost)
        self.directory.write_record("summary", summary)
        self.progress.finished(summary)

    def _verdict(self, loop: Loop, settings: Settings, scores: dict[str, list[Score]]) -> list[Finding]:
        """Over- or underfitting, from the curves and the final scores."""
        task, train = self.prepared.task, self.prepared.train
        targets = all_targets(train) if getattr(train, "ordered", True) else None
        counts = variance = None
        if targets is not None and task.kind == "classification":
            counts = torch.bincount(targets.long(), minlength=len(task.classes)).tolist()
        elif targets is not None:
            variance = float(targets.double().reshape(len(targets), -1).var(dim=0, correction=0).mean())
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
            settings=settings.to_dict(),
        )
        if not plain_loss or settings.class_weight is not None:  # the entropy of the classes is not this loss's trivial value
            curves = replace(curves, trivial_loss=None)
        return list(verdict(curves))


def loss_of(settings: Settings, prepared: Prepared) -> Loss:
    """The loss function that the settings name, with the class weights of the training part."""
    weights = None
    if settings.class_weight is not None:
        weights = class_weights(settings.class_weight, prepared.task, all_targets(prepared.train))
    return build_loss(settings.loss, prepared.task, class_weight=weights, label_smoothing=settings.label_smoothing)


def all_targets(part: Any) -> Tensor:
    """(n, ...): every target of a part, on the CPU."""
    return torch.cat([targets.cpu() for _, targets in part.batches(4096)])


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
    outputs, targets = outputs_of(network, part, device=device, batch_size=512, autocast=autocast)
    if prepared.task.kind == "regression":
        outputs = prepared.preprocessing.restore_targets(outputs)
        targets = prepared.preprocessing.restore_targets(targets)
    return full_scores(outputs, targets, prepared.task, loss=loss, seed=seed, intervals=intervals)
