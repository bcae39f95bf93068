"""What a session decides before its first update, from a measured first second: the batch that fits into memory, the learning rate, how
many updates the time allows; and what all of it is expected to take.

Decisions are written into the run before they take effect and read, not made again, by every later session. The expectation is measured by
every session anew: the machine may be another.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from pellucid.core.errors import MemoryShortage
from pellucid.core.language import Text, text
from pellucid.core.records import Expectation
from pellucid.core.system import Signals
from pellucid.core.wording import memory
from pellucid.data.samples import ResidentPart
from pellucid.training.assessment import evaluate_part
from pellucid.training.budget import Budget, Timekeeper
from pellucid.training.evaluation import TRAIN_SCORE_LIMIT, curve_samples
from pellucid.training.loop import Loop, loader_states, restore_loaders
from pellucid.training.metrics import full_scores
from pellucid.training.randomness import seed_everything
from pellucid.training.range_test import range_test
from pellucid.training.schedules import Schedule, Turn
from pellucid.training.settings import CUSTOMARY_RATE, Settings
from pellucid.training.trial import Trial, available_bytes, parameter_bytes, step_bytes, try_out

if TYPE_CHECKING:
    from pellucid.training.session import Session

TRIAL_SECONDS = 0.3  # of a training without a budget
TRIAL_SHARE, LONGEST_TRIAL = 0.02, 1.0  # of a budget; seconds
RANGE_TEST_SHARE = 0.05  # of a budget: a shorter range test, or none
FEWEST_RANGE_STEPS = 40  # a shorter test says nothing
UNKNOWN_STEPS = 10**9  # a network that cannot be copied: the timekeeper's first look sets the number of updates
LEAST_STEPS = 5  # with fewer there is no training to speak of
MOST_EPOCHS = 300, 10  # a budget buys no more than this many, or this many times what would be customary
BASELINE_SHARE = 0.05  # of a budget: for the classical baselines
BASELINE_SECONDS = 0.4  # beside it: loading scikit-learn's models, and the one whose time was underestimated
SCORING_SECONDS = 1.5  # without a budget: scores and their intervals, most of it for importing scikit-learn
RECORDS_SECONDS = 1.1  # details, mistakes, the table of layers, report, the end of the program
COMPARISON_BYTES = 120 * 2**20  # what scikit-learn and its models take
SCORED = 4096  # made-up answers whose scoring is timed


def least_measuring(baselines: bool) -> float:
    """Seconds after the last update that are known before anything has been measured."""
    return RECORDS_SECONDS + (BASELINE_SECONDS if baselines else 0.0)


@dataclass
class Decided:
    """The settings with every decision, and how long it will take."""

    settings: Settings
    turns: tuple[Turn, ...] = ()
    steps: int | None = None  # of a budgeted schedule, as it was first planned
    trial: Trial | None = None
    budget: Budget | None = None
    measuring_seconds: float = 0.0  # after the last update
    stored: dict[str, Any] = field(default_factory=dict)  # what the run holds


def decide(session: Session, signals: Signals, budget: Budget | None) -> Decided:
    """Measure, decide, write; or measure and read what was decided.

    Raises:
        OptionError: the budget is too short for anything.
        MemoryShortage: not even the smallest batch fits, or not the one that was asked for.
    """
    stored = session.directory.read_record("decisions") if "decisions" in session.directory.record_names() else {}
    decided = Decided(session.settings, budget=budget, stored=stored)
    if "batch_size" in stored:
        decided.settings = replace(decided.settings, batch_size=stored["batch_size"])
    if session.directory.path is not None or budget is not None:
        if budget is not None:
            budget.require(least_measuring(session.baselines))
            session.progress.phase(text("measuring the speed"))
        parts = {"train": session.prepared.train}
        loaders = loader_states(parts)
        decided.trial = _try_out(session, decided, signals)
        restore_loaders(parts, loaders)  # how many updates the trial made is the clock's affair: what follows does not depend on it
        seed_everything(session.settings.seed)
        decided.measuring_seconds = _measuring_seconds(session, decided)
    settings = decided.settings
    if not stored.get("complete", bool(stored)):
        if settings.learning_rate == "auto" and "learning_rate" not in stored:
            stored.update(_learning_rate(session, decided, signals))
        if budget is not None:
            stored.update(_steps(session, decided))
        if stored:
            session.directory.write_record("decisions", {**stored, "complete": True})
    epochs = stored.get("epochs", settings.epochs)
    patience = settings.patience
    if patience is not None and "patience" in settings.chosen:
        # A budget may buy many epochs: early stopping waits as long as it would without one, and a quarter of them.
        patience = max(10, math.ceil(min(epochs, settings.epochs) * 0.4), math.ceil(0.25 * epochs) if budget is not None else 0)
    decided.settings = replace(
        settings, learning_rate=stored.get("learning_rate", settings.learning_rate), epochs=epochs, patience=patience
    )
    decided.steps = stored.get("steps")
    decided.turns = tuple(Turn.from_dict(turn) for turn in stored.get("turns", ()))
    return decided


# -- the trial ---------------------------------------------------------------------------------------------------------------------------


def _try_out(session: Session, decided: Decided, signals: Signals) -> Trial | None:
    """The first second; halves the batch where memory is short. None where the network cannot be copied."""
    try:
        network = copy.deepcopy(session.network)
    except Exception:  # the range test, where it is needed, refuses it
        return None
    settings = decided.settings
    ordered = getattr(session.prepared.train, "ordered", True)
    may_halve = ordered and "batch_size" in settings.chosen and not decided.stored
    seconds = TRIAL_SECONDS if settings.budget is None else min(LONGEST_TRIAL, TRIAL_SHARE * settings.budget)
    rate = CUSTOMARY_RATE.get(str(settings.optimizer), 0.001) if settings.learning_rate == "auto" else float(settings.learning_rate)
    while True:
        size = settings.batch_size
        try:
            with session.failures_explained():
                loop = session.loop_of(replace(settings, learning_rate=rate), signals, network=network)
                batches = session.trial_batches(signals, size)
                needed, available = _needed(loop, batches, size), available_bytes(session.device)
                if available is not None and needed > available:
                    if may_halve and size > 1:
                        raise MemoryShortage(text("a step needs {needed}", needed=memory(needed)))
                    session.progress.notice(_shortage(needed, available, size, ordered))
                score = partial(_scoring_seconds, session, settings) if settings.budget is not None else None
                trial = try_out(loop, batches, seconds=seconds, score=score)
                batches.close()
            break
        except MemoryShortage:
            if not may_halve or size == 1:
                raise
            settings = replace(settings, batch_size=size // 2)
            network = copy.deepcopy(session.network)
    if settings.batch_size != decided.settings.batch_size:
        decided.stored["batch_size"] = settings.batch_size
        session.directory.write_record("decisions", {**decided.stored, "complete": False})
        session.progress.notice(
            text(
                "batches of {planned} samples do not fit into memory: batches of {chosen} are used",
                planned=decided.settings.batch_size,
                chosen=settings.batch_size,
            )
        )
        decided.settings = settings
    return trial


def _needed(loop: Loop, batches: Iterator[tuple[Tensor, Tensor]], size: int) -> int:
    inputs, targets = next(batches)
    return step_bytes(loop, inputs, targets, size)


def _shortage(needed: int, available: int, size: int, ordered: bool) -> Text:
    if not ordered:
        return text(
            "a step on a batch of your loader needs about {needed} of memory, and {available} can be taken: give smaller batches",
            needed=memory(needed),
            available=memory(available),
        )
    return text(
        "a step with {size} samples needs about {needed} of memory, and {available} can be taken: use --batch-size {smaller}",
        size=size,
        needed=memory(needed),
        available=memory(available),
        smaller=max(1, size // 2),
    )


# -- decisions ---------------------------------------------------------------------------------------------------------------------------


def _learning_rate(session: Session, decided: Decided, signals: Signals) -> dict[str, Any]:
    """By a range test; by custom where a budget leaves no time for one."""
    settings, steps = decided.settings, 100
    name = settings.optimizer if isinstance(settings.optimizer, str) else "adamw"
    if decided.budget is not None and decided.trial is not None:
        steps = min(steps, int(RANGE_TEST_SHARE * decided.budget.seconds / decided.trial.step_seconds))
        if steps < FEWEST_RANGE_STEPS:
            rate = CUSTOMARY_RATE[name]
            session.progress.notice(text("the budget leaves no time for a learning-rate range test: {rate} is customary", rate=rate))
            return {"learning_rate": rate}
    session.progress.phase(text("learning-rate range test"))
    with session.failures_explained():
        batches = session.trial_batches(signals, settings.batch_size)
        test = range_test(
            session.network, session.optimizer_of, session.loss_function(), batches, default=CUSTOMARY_RATE[name], steps=steps
        )
    return {"range_test": test.to_dict(), "learning_rate": test.learning_rate}


def _steps(session: Session, decided: Decided) -> dict[str, Any]:
    """How many updates the budget allows."""
    settings, trial, budget = decided.settings, decided.trial, decided.budget
    assert budget is not None
    per_epoch = _steps_per_epoch(session, settings)
    most = most_epochs(settings)
    if trial is None:
        return {"steps": UNKNOWN_STEPS, "epochs": most, "turns": []}
    left = budget.left() - decided.measuring_seconds
    cost = trial.step_seconds + _epoch_end_seconds(session, trial) / per_epoch
    steps = int(left / cost) if left > 0 else 0
    if steps < min(LEAST_STEPS, per_epoch):
        raise budget.too_short(decided.measuring_seconds, LEAST_STEPS * trial.step_seconds)
    if steps > most * per_epoch:
        steps = most * per_epoch
        if "epochs" in settings.chosen:
            session.progress.notice(
                text("the budget is longer than {epochs} epochs take, and more are of no use: training will end before it", epochs=most)
            )
    return {"steps": steps, "epochs": min(most, math.ceil(steps / per_epoch)), "turns": []}


def most_epochs(settings: Settings) -> int:
    """A user's own number is a limit; ours is a custom that a budget may go beyond."""
    if "epochs" not in settings.chosen:
        return settings.epochs
    return max(MOST_EPOCHS[0], MOST_EPOCHS[1] * settings.epochs)


def _steps_per_epoch(session: Session, settings: Settings) -> int:
    train = session.prepared.train
    return max(1, math.ceil(len(train) / settings.batch_size)) if getattr(train, "ordered", True) else max(1, len(train.loader))


def _epoch_end_seconds(session: Session, trial: Trial) -> float:
    """Measuring after an epoch: the validation part, and about as many training samples."""
    validation, train = len(session.prepared.validation), len(session.prepared.train)
    sampled = (
        min(train, curve_samples(session.prepared.train, session.prepared.validation))
        if getattr(session.prepared.train, "ordered", True)
        else 0
    )
    return trial.evaluation_seconds(validation + sampled)


def _measuring_seconds(session: Session, decided: Decided) -> float:
    """What comes after the last update: measuring every part, records, baselines, report."""
    if decided.trial is None:
        return 0.1 * (decided.budget.seconds if decided.budget is not None else 0.0)
    train = len(session.prepared.train)
    parts = min(train, TRAIN_SCORE_LIMIT) if getattr(session.prepared.train, "ordered", True) else train
    parts += len(session.prepared.validation) + len(session.prepared.test)
    scoring = decided.trial.scoring_seconds if decided.trial.scoring_seconds is not None else SCORING_SECONDS
    seconds = _epoch_end_seconds(session, decided.trial) + decided.trial.evaluation_seconds(parts) + scoring
    seconds += least_measuring(session.baselines and decided.budget is not None)
    if decided.budget is not None:
        seconds += BASELINE_SHARE * decided.budget.seconds
    return seconds


def _scoring_seconds(session: Session, settings: Settings, outputs: Tensor, targets: Tensor) -> float:
    """What scoring the part held out will take: the same functions on as many answers, made of a few repeated."""
    prepared, task = session.prepared, session.prepared.task
    held_out = next(size for size in map(len, (prepared.test, prepared.validation, prepared.train)) if size)
    samples = min(held_out, SCORED)
    chosen = torch.arange(samples) % len(outputs)
    outputs, targets = outputs[chosen], targets[chosen]
    if task.numeric:
        outputs, targets = prepared.preprocessing.restore_targets(outputs), prepared.preprocessing.restore_targets(targets)
    full_scores(outputs[:2], targets[:2], task, loss=settings.loss, seed=0)  # imports what scoring imports: over before training begins
    start = time.perf_counter()
    scores = full_scores(outputs, targets, task, loss=settings.loss, seed=0)
    evaluate_part(outputs, targets, task, scores, loss=settings.loss, seed=0)
    return (time.perf_counter() - start) * held_out / samples


# -- what follows from them --------------------------------------------------------------------------------------------------------------


def timekeeper_of(session: Session, decided: Decided, loop: Loop) -> Timekeeper | None:
    """Who holds the training to its budget, where there is one."""
    if decided.budget is None:
        return None

    def write(schedule: Schedule) -> None:
        decided.stored["turns"] = [turn.to_dict() for turn in schedule.turns]
        session.directory.write_record("decisions", {**decided.stored, "complete": True})

    trial = decided.trial
    return Timekeeper(
        decided.budget,
        tail_seconds=decided.measuring_seconds,
        step_seconds=trial.step_seconds if trial is not None else None,
        epoch_end_seconds=_epoch_end_seconds(session, trial) if trial is not None else 0.0,
        steps_per_epoch=loop.batches_per_epoch,
        most_steps=most_epochs(session.settings) * loop.batches_per_epoch,
        write=write,
    )


def expectation(session: Session, decided: Decided, loop: Loop, spent: float) -> Expectation | None:
    """What is left to do, at the measured speed, on top of the `spent` seconds; None where nothing was measured."""
    trial, settings = decided.trial, decided.settings
    if trial is None:
        return None
    steps, per_epoch = loop.planned_steps(), loop.batches_per_epoch
    left = max(steps - loop.step, 0)
    training = left * trial.step_seconds + math.ceil(left / per_epoch) * _epoch_end_seconds(session, trial)
    parts = (getattr(session.prepared, part) for part in ("train", "validation", "test"))
    data = sum(tensor.numel() * tensor.element_size() for part in parts if isinstance(part, ResidentPart)
               for tensor in (part.inputs, part.targets))  # fmt: skip
    memory = trial.peak_bytes
    if memory is not None:
        memory += parameter_bytes(session.network)  # the best weights are kept beside the present ones
        if session.baselines and session.device.type == "cpu":
            memory += COMPARISON_BYTES
    return Expectation(
        seconds=spent + training + decided.measuring_seconds,
        training_seconds=training,
        measuring_seconds=decided.measuring_seconds,
        memory_bytes=memory,
        available_bytes=available_bytes(session.device),
        epochs=loop.planned_epochs(),
        steps=steps,
        batch_size=settings.batch_size,
        step_seconds=trial.step_seconds,
        measured_steps=trial.steps,
        parameter_bytes=trial.parameter_bytes,
        optimizer_bytes=trial.optimizer_bytes,
        activation_bytes=trial.activation_bytes,
        data_bytes=data,
        may_end_sooner=settings.until is not None or (settings.patience is not None and settings.patience < loop.planned_epochs()),
    )
