"""The small loop by which an experiment trains: seeded, watched where asked for, scored while it runs, and stopped in time."""

from __future__ import annotations

import math
import random
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from pellucid.core.errors import ModelError
from pellucid.core.language import text
from pellucid.core.trace.model import random_state_kept
from pellucid.diagnosis.dynamic.observations import Observations
from pellucid.diagnosis.experiments.samples import Batch, called, described, device_of, empty, on_device
from pellucid.diagnosis.experiments.scoring import Scoring, scoring_of

if TYPE_CHECKING:
    from pellucid.diagnosis.experiments.experiment import Experiment

EVALUATED = 2000  # samples of a part that are scored while a training runs, evenly chosen
SCORED = 10_000  # of a part that are scored at the end, evenly chosen: an accuracy is known to 0.005 from so many
MOMENTS = 20  # times a trial is scored while it runs, at most
SCORING_SHARE = 0.3  # of a training's time that may go into scoring it while it runs


def plain_step(model: nn.Module, optimizer: Any, loss: Any, batch: Batch) -> Tensor:
    """One update: clear, forward, backward, step."""
    inputs, targets = batch
    optimizer.zero_grad()
    value = loss(called(model, inputs), targets)
    value.backward()
    optimizer.step()
    return value


@dataclass(frozen=True, kw_only=True)
class Moment:
    """The scores at one time of a training."""

    step: int
    train_loss: float | None
    test_loss: float | None
    train_score: float | None
    test_score: float | None


@dataclass(frozen=True, kw_only=True, eq=False)
class Trial:
    """What one training gave."""

    seed: int
    losses: tuple[float, ...]  # of each update, on its batch, before the update
    moments: tuple[Moment, ...] = ()  # before the first update, about MOMENTS times, and at the end
    scoring: Scoring | None = None
    seconds: float = 0.0
    updating: float = 0.0  # of these, in updates: the rest makes the model and scores it
    complete: bool = True  # False: stopped by the limit of steps or seconds, by a loss that is not finite, or by an error
    finite: bool = True
    error: Exception | None = None
    model: nn.Module | None = field(default=None, repr=False)
    observations: Observations | None = field(default=None, repr=False)

    @property
    def steps(self) -> int:
        return len(self.losses)

    @property
    def score(self) -> float | None:
        """On the test part at the end, else on the training part; higher is better. Minus infinity where the training broke down."""
        if self.error is not None or not self.finite:
            return -math.inf
        if not self.moments:
            return None
        last = self.moments[-1]
        return last.train_score if last.test_score is None else last.test_score


class Training:
    """One training while it runs."""

    def __init__(
        self, experiment: Experiment, seed: int, steps: int | None, seconds: float | None, watch: bool, score: bool, tell: Any
    ) -> None:
        self.experiment, self.seed, self.seconds, self.watch, self.tell = experiment, seed, seconds, watch, tell
        self.started = time.perf_counter()
        self.total = min(experiment.steps, steps or experiment.steps)
        self.scoring = scoring_of(experiment) if score else None
        self.losses: list[float] = []
        self.moments: list[Moment] = []
        self.scored_for = self.made_in = 0.0  # seconds
        self.finite = True

    def trial(self) -> Trial:
        problem: Exception | None = None
        model, watcher, observations = None, None, None
        try:
            model, optimizer = self.experiment.build(self.seed)
            watcher = self.watched(model, optimizer)
            self.made_in = time.perf_counter() - self.started
            self.train(model, optimizer)
        except Exception as error:  # the user's code may raise whatever it likes: the trial says so
            problem = error
        finally:
            if watcher is not None:
                observations = watcher.observations
                watcher.close()
        seconds = time.perf_counter() - self.started
        return Trial(
            seed=self.seed, losses=tuple(self.losses), moments=tuple(self.moments), scoring=self.scoring,
            seconds=seconds, updating=seconds - self.made_in - self.scored_for,
            complete=problem is None and self.finite and len(self.losses) == self.experiment.steps,
            finite=self.finite, error=problem, model=model, observations=observations,
        )  # fmt: skip

    def watched(self, model: nn.Module, optimizer: Any) -> Any:
        if not self.watch:
            return None
        from pellucid.diagnosis.watch.watcher import Watcher

        loss = self.experiment.loss if isinstance(self.experiment.loss, nn.Module) else None
        return Watcher(model, optimizer if isinstance(optimizer, torch.optim.Optimizer) else None, loss, announce=False, closely=True)

    def train(self, model: nn.Module, optimizer: Any) -> None:
        experiment = self.experiment
        scheduler = experiment.scheduler(optimizer) if experiment.scheduler is not None else None
        generator = torch.Generator().manual_seed(self.seed)
        seed_all(self.seed)
        self.score(model, EVALUATED)
        going = True
        while going:
            model.train()
            begun = len(self.losses)
            for batch in experiment.batches(generator):
                going = self.update(model, optimizer, batch)
                if not going:
                    break
            if len(self.losses) == begun:
                raise empty("train")
            if going and scheduler is not None:
                plateau = isinstance(scheduler, torch.optim.lr_scheduler.ReduceLROnPlateau)
                scheduler.step(*([sum(self.losses[begun:]) / (len(self.losses) - begun)] if plateau else []))
        if self.finite:
            self.score(model, SCORED)

    def update(self, model: nn.Module, optimizer: Any, batch: Batch) -> bool:
        """One update; whether there shall be another."""
        step = self.experiment.step or plain_step
        self.losses.append(number_of(step(model, optimizer, self.experiment.loss, on_device(batch, device_of(model)))))
        self.finite = math.isfinite(self.losses[-1])
        if self.tell is not None:
            self.tell(len(self.losses), self.total)
        passed = time.perf_counter() - self.started
        if not self.finite or len(self.losses) >= self.total or (self.seconds is not None and passed > self.seconds):
            return False
        if len(self.losses) % max(1, self.total // MOMENTS) == 0 and self.scored_for < SCORING_SHARE * passed:
            self.score(model, EVALUATED)
            model.train()
        return True

    def score(self, model: nn.Module, limit: int) -> None:
        if self.scoring is None:
            return
        began = time.perf_counter()
        found: dict[str, tuple[float | None, float | None]] = {"train": (None, None), "test": (None, None)}
        for part in found:
            if getattr(self.experiment, part) is None:
                continue
            try:
                with random_state_kept(accelerators(), self.seed):
                    found[part] = self.scoring.measure(model, self.experiment.loss, self.experiment.portions(part, limit))
            except Exception:
                if self.experiment.step is None:
                    raise
                # with a step of the user's own the loss may be no function of (outputs, targets): what the steps gave is the score
                late = self.losses[-max(1, len(self.losses) // 5) :]
                mean = sum(late) / len(late) if late and part == "train" else None
                found[part] = (mean, None if mean is None else -mean)
        (train_loss, train_score), (test_loss, test_score) = found["train"], found["test"]
        self.moments.append(
            Moment(step=len(self.losses), train_loss=train_loss, train_score=train_score, test_loss=test_loss, test_score=test_score)
        )
        self.scored_for += time.perf_counter() - began


def seed_all(seed: int) -> None:
    """Python's, NumPy's and torch's random numbers start from `seed`; where CUDA is not in use it stays so."""
    torch.default_generator.manual_seed(seed)
    for device in accelerators():
        torch.get_device_module(device).manual_seed_all(seed) if device.type == "cuda" else torch.get_device_module(device).manual_seed(
            seed
        )
    np.random.seed(seed % 2**32)
    random.seed(seed)


def accelerators() -> set[torch.device]:
    """Accelerators whose random state a training may use."""
    if torch.cuda.is_available():
        return {torch.device("cuda", index) for index in range(torch.cuda.device_count())}
    return {torch.device("mps")} if torch.backends.mps.is_available() else set()


def number_of(value: Any) -> float:
    """A step's answer as a number.

    Raises:
        ModelError: it is none.
    """
    if isinstance(value, Tensor) and value.numel() == 1:
        return float(value.detach())
    if isinstance(value, (int, float)):
        return float(value)
    raise ModelError(
        text("the step gave {what}", what="None" if value is None else described(value)),
        text("the loss of its batch, one number: step(model, optimizer, loss, batch) -> loss"),
        text("end your step with return loss"),
    )
