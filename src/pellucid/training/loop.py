"""The training loop: forward, loss, backward, update, named so.

`Loop` holds exactly what a checkpoint holds, so that stopping anywhere and going on changes nothing: not one bit of the weights.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from pellucid.core.errors import DivergenceError, MemoryShortage, ModelError
from pellucid.core.language import Text, text
from pellucid.core.records import Task
from pellucid.core.system import Signals
from pellucid.runs.directory import RunDirectory
from pellucid.runs.in_memory import RunInMemory
from pellucid.training.augmentation import Augmentation, Mixed
from pellucid.training.budget import Timekeeper
from pellucid.training.evaluation import curve_samples, evaluate, evaluation_sample
from pellucid.training.masks.augmentation import MaskAugmentation
from pellucid.training.metrics import Condition
from pellucid.training.progress import Progress, StepReport
from pellucid.training.randomness import epoch_order, random_state, set_random_state
from pellucid.training.regularization import clip_gradients, l1_penalty
from pellucid.training.schedules import Schedule

LOOK_SECONDS = 0.2  # how often the loop looks up: reports, interruptions, checkpoints


@dataclass
class Best:
    """The weights with the lowest validation loss so far, and when that was."""

    loss: float = math.inf
    epoch: int = 0
    weights: dict[str, Tensor] = field(default_factory=dict)


@dataclass
class Loop:
    """One training. The first group is given, the second is the state that a checkpoint saves."""

    network: nn.Module
    optimizer: torch.optim.Optimizer
    loss_function: Callable[[Tensor, Tensor], Tensor]
    train: Any  # Part
    validation: Any  # Part; may be empty
    test: Any  # Part; only its loader's state is looked at
    task: Task
    preprocessing: Any
    schedule: Schedule
    directory: RunDirectory | RunInMemory
    progress: Progress
    signals: Signals
    epochs: int
    batch_size: int
    seed: int
    device: torch.device
    patience: int | None = None
    until: Condition | None = None
    l1: float = 0.0
    clip: float | None = None
    augmentation: Augmentation | MaskAugmentation | None = None
    autocast: torch.dtype | None = None
    timekeeper: Timekeeper | None = None  # only with a time budget
    checkpoint_interval: float = 30.0
    keep: str = "best"  # "best": the weights with the lowest loss; "last": those after the last step, and the epochs are not measured

    epoch: int = 0  # epochs completed
    batch: int = 0  # batches of the present epoch completed
    step: int = 0  # updates made
    best: Best = field(default_factory=Best)
    stopped: Text | None = None  # why training ended, for a person
    stop_kind: str = "epochs"  # the same for a program: "epochs", "until", "patience", "budget"
    started: float | None = None  # the clock's reading when the command began; None: when training did
    earlier_seconds: float = 0.0  # of earlier commands
    seconds: float = 0.0  # of earlier sessions' training
    training_seconds: float = 0.0
    checkpoint_seconds: float = 0.0
    samples_seen: int = 0
    epoch_loss: float = 0.0  # sum over the present epoch's samples
    epoch_samples: int = 0
    epoch_random_state: dict[str, Any] | None = None  # at the start of the present epoch; only for a user's DataLoader
    epoch_loader_state: Any = None  # the loader's own generator, then

    def run(self) -> None:
        """Train until every epoch is done or a reason to stop is met. Raises DivergenceError, Interrupted, MemoryShortage, ModelError."""
        self.begin_session()
        while self.stopped is None:
            self.network.train()
            for inputs, targets in self._batches():
                self.schedule.apply(self.optimizer, self.step)
                loss = self.update(inputs, targets)
                self._count(loss, len(inputs))
                if self._time_is_up():
                    break
            self._end_epoch()

    def update(self, inputs: Tensor, targets: Tensor) -> Tensor:
        """One update with the present learning rate; gives the loss."""
        with self._precision:
            output = self.network(inputs)  # forward
            loss = targets.loss(self.loss_function, output) if isinstance(targets, Mixed) else self.loss_function(output, targets)  # loss
        if self.l1:
            loss = loss + self.l1 * l1_penalty(self.network)
        loss.backward()  # backward
        if self.clip is not None:
            clip_gradients(self._parameters, self.clip)
        self.optimizer.step()  # update
        self.optimizer.zero_grad()
        return loss

    def __post_init__(self) -> None:
        self._parameters = [parameter for parameter in self.network.parameters() if parameter.requires_grad]
        self._precision = torch.autocast(self.device.type, self.autocast) if self.autocast else nullcontext()

    def planned_steps(self) -> int:
        return self.schedule.end if self.timekeeper is not None else self.epochs * self.batches_per_epoch

    def planned_epochs(self) -> int:
        return min(self.epochs, math.ceil(self.schedule.end / self.batches_per_epoch)) if self.timekeeper is not None else self.epochs

    def _time_is_up(self) -> bool:
        """Whether a budget's last update is made; without a budget the epochs end a training."""
        return self.timekeeper is not None and self.step >= self.schedule.end

    @property
    def batches_per_epoch(self) -> int:
        return max(1, math.ceil(self._epoch_samples() / self.batch_size)) if self._ordered() else len(self.train.loader)

    # -- the data of one epoch -------------------------------------------------------------------------------------------------------

    def _ordered(self) -> bool:
        return getattr(self.train, "ordered", True)  # False: a user's DataLoader, which has its own order

    def _epoch_samples(self) -> int:
        """All samples, but for a last batch of one sample, which batch normalisation cannot train on; another order finds it next time."""
        samples = len(self.train)
        return samples - 1 if samples > self.batch_size > 1 and samples % self.batch_size == 1 else samples

    def _batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        """The batches of this epoch that are still to come, on the device and augmented."""
        done = self.batch
        if done and self._time_is_up():  # resumed between the last step and the end of its epoch
            return
        if self._ordered():
            order = epoch_order(len(self.train), self.seed, self.epoch)[: self._epoch_samples()]
            if hasattr(self.train, "grouped"):
                order = self.train.grouped(order, self.batch_size)
            order = order[done * self.batch_size :]
            if not len(order):  # resumed between an epoch's last step and its end: splitting nothing would give one empty batch
                return
            yield from self._ordered_batches(order)
            return
        if done:  # the loader draws its order from the random state: go back to the epoch's start, pass over what is done, come back
            now = random_state()
            set_random_state(self.epoch_random_state or now)
            batches = iter(self.train.batches(self.batch_size))
            for _ in itertools.islice(batches, done):
                pass
            set_random_state(now)
        else:
            self.epoch_random_state, self.epoch_loader_state = random_state(), self.train.state()
            batches = self.train.batches(self.batch_size)
        for inputs, targets in batches:
            yield self.augmented(inputs.to(self.device), targets.to(self.device))

    def _ordered_batches(self, order: Tensor) -> Iterator[tuple[Tensor, Any]]:
        """The samples at the positions `order` (n,) of the training part, augmented before they are standardised where the part can."""
        change, epoch = self.augmentation, self.epoch
        places = iter(order.split(self.batch_size))  # on the CPU, where changes are drawn: asking a GPU for them would wait for it
        order = order.to(getattr(self.train, "device", "cpu"))
        if not isinstance(change, Augmentation) or not getattr(self.train, "changeable", False):
            for inputs, targets in self.train.batches(self.batch_size, order):
                yield self.augmented(inputs.to(self.device), targets.to(self.device), next(places, None))
            return
        batches = self.train.batches(self.batch_size, order, lambda stored, _: change(stored, chosen=next(places), epoch=epoch))
        for inputs, targets in batches:
            yield change.finish(inputs.to(self.device), targets.to(self.device))

    def augmented(self, inputs: Tensor, targets: Any, chosen: Tensor | None = None) -> tuple[Tensor, Any]:
        """A batch on the device, changed as every training batch is; `chosen` are its positions in the training part, where known."""
        if self.augmentation is None:
            return inputs, targets
        return self.augmentation.together(inputs, targets, chosen=chosen, epoch=self.epoch)

    # -- between steps ---------------------------------------------------------------------------------------------------------------

    def begin_session(self) -> None:
        """Start the clock, and keep the weights as they are until an epoch has given better ones."""
        self._first_weights = {} if self.best.weights else _copied_state(self.network)
        self._session_start = self._last_checkpoint = self._mark = time.perf_counter()
        self._session_first_step = self.step
        self._losses: list[Tensor] = []
        self._sizes: list[int] = []
        self._recent = (0.0, 0)  # loss sum and samples since the last report
        self._next_look = self._session_start + min(LOOK_SECONDS, self.checkpoint_interval)
        self._train_sample = evaluation_sample(self.train, limit=curve_samples(self.train, self.validation))
        if self.timekeeper is not None:
            self.timekeeper.begin(self.step)

    def _count(self, loss: Tensor, samples: int) -> None:
        self.step += 1
        self.batch += 1
        self._losses.append(loss.detach())  # no .item(): reading a value waits for the device
        self._sizes.append(samples)
        if time.perf_counter() >= self._next_look:
            self._look()

    def _look(self) -> None:
        """Every fifth of a second: is the loss finite, has somebody asked us to stop, is a checkpoint due; and tell the watcher."""
        self._read_losses()
        now = time.perf_counter()
        self._report(now)
        if self.signals.received:
            self.checkpoint()
            self.signals.raise_interrupted(self.directory.path)
        if self.timekeeper is not None:
            self.schedule = self.timekeeper.look(self.step, self.schedule)
        if now - self._last_checkpoint >= self.checkpoint_interval:
            self.checkpoint()
        self._next_look = time.perf_counter() + min(LOOK_SECONDS, self.checkpoint_interval)

    def _read_losses(self) -> None:
        """Fold the steps' losses into the epoch's sum, in the order of the steps whatever the clock says."""
        if not self._losses:
            return
        recent_loss, recent_samples = self._recent
        for value, size in zip(torch.stack(self._losses).tolist(), self._sizes, strict=True):
            self.epoch_loss += value * size
            self.epoch_samples += size
            self.samples_seen += size
            recent_loss += value * size
            recent_samples += size
        self._recent = (recent_loss, recent_samples)
        self._losses.clear()
        self._sizes.clear()
        if not math.isfinite(self.epoch_loss):
            raise self._divergence()

    def _report(self, now: float) -> None:
        loss, samples = self._recent
        self._recent = (0.0, 0)
        spent = now - self._session_start
        steps_here = self.step - self._session_first_step
        rate = spent / max(steps_here, 1)
        self.progress.step(
            StepReport(
                epoch=self.epoch + 1,
                epochs=self.planned_epochs(),
                step=self.step,
                steps=self.planned_steps(),
                loss=loss / max(samples, 1),
                learning_rate=self.optimizer.param_groups[0]["lr"],
                samples_per_second=samples / max(now - self._mark, 1e-9),
                seconds=self.seconds + spent,
                seconds_left=max(self.timekeeper.seconds_left(), 0.0)
                if self.timekeeper is not None and self.timekeeper.fills(self.schedule)
                else rate * max(self.planned_steps() - self.step, 0),
            )
        )
        self._mark = now

    def last_good_weights(self) -> dict[str, Any]:
        """The best weights so far; before the end of the first epoch those from which this stretch of training started."""
        return self.best.weights or self._first_weights

    def elapsed(self) -> float:
        """Seconds of all sessions so far."""
        return self.seconds + time.perf_counter() - self._session_start

    def command_seconds(self) -> float:
        """Seconds of all commands so far, reading and deciding included."""
        return self.earlier_seconds + time.perf_counter() - (self.started if self.started is not None else self._session_start)

    def _divergence(self) -> DivergenceError:
        return DivergenceError(
            text(
                "the loss became {value} in epoch {epoch}, at step {step} (learning rate {rate:.3g})",
                value="NaN" if math.isnan(self.epoch_loss) else text("infinite"),
                epoch=self.epoch + 1,
                step=self.step,
                rate=self.optimizer.param_groups[0]["lr"],
            ),
            text("a finite loss at every step"),
            text(
                "lower the learning rate (for example --learning-rate {rate:.2g}), clip the gradient (--clip 1), "
                "or look for extreme values in the data",
                rate=self.schedule.peak / 10,
            ),
        )

    # -- between epochs --------------------------------------------------------------------------------------------------------------

    def _end_epoch(self) -> None:
        """Measure, keep the best weights, write the row, decide whether to go on."""
        self._read_losses()
        self.epoch, self.batch = self.epoch + 1, 0
        row: dict[str, Any] = {"epoch": self.epoch, "step": self.step, "learning_rate": self.optimizer.param_groups[0]["lr"]}
        running_loss = self.epoch_loss / max(self.epoch_samples, 1)
        row["train"] = {"running_loss": running_loss, "loss": running_loss}
        start = time.perf_counter()
        if self._ordered() and self.keep == "best":  # a second pass over a user's own loader would cost as much as the first
            row["train"].update(self._measure(self._train_sample))
        if len(self.validation):
            row["validation"] = self._measure(self.validation)
        if self.timekeeper is not None:
            self.timekeeper.epoch_measured(time.perf_counter() - start)
        self.epoch_loss, self.epoch_samples, self.epoch_random_state = 0.0, 0, None
        watched = row.get("validation") or row["train"]
        if not math.isfinite(watched["loss"]) and not all(torch.isfinite(p).all() for p in self.network.parameters()):
            self.epoch_loss = watched["loss"]
            raise self._divergence()
        if self.keep == "last":
            if watched["loss"] < self.best.loss:  # what patience looks at
                self.best.loss, self.best.epoch = watched["loss"], self.epoch
        elif watched["loss"] < self.best.loss or not self.best.weights:
            self.best, self._first_weights = Best(watched["loss"], self.epoch, _copied_state(self.network)), {}
        self.stopped = self._reason_to_stop(watched)
        if self.keep == "last" and self.stopped is not None:
            self.best, self._first_weights = Best(watched["loss"], self.epoch, _copied_state(self.network)), {}
        row["seconds"] = round(self.elapsed(), 3)
        self.directory.append_metrics(row)
        self.progress.epoch(row)
        if self.stopped is not None:
            self.checkpoint()
        elif time.perf_counter() >= self._next_look:
            self._look()

    def _measure(self, part: Any) -> dict[str, float]:
        return evaluate(
            self.network, part, self.loss_function, self.task, self.preprocessing,
            device=self.device, batch_size=max(self.batch_size, 512), autocast=self.autocast,
        )  # fmt: skip

    def _reason_to_stop(self, watched: Mapping[str, float]) -> Text | None:
        if self.until is not None and self.until.holds(watched):
            self.stop_kind = "until"
            return text("the condition {condition} was reached in epoch {epoch}", condition=str(self.until), epoch=self.epoch)
        if self.epoch >= self.epochs:
            self.stop_kind = "epochs"
            return text("the one epoch is done") if self.epochs == 1 else text("all {epochs} epochs are done", epochs=self.epochs)
        if self.patience is not None and self.epoch - self.best.epoch >= self.patience:
            schedule = self.timekeeper.wind_down(self.step, self.schedule) if self.timekeeper is not None else None
            if schedule is None:
                self.stop_kind = "patience"
                return text(
                    "no progress on the validation part for {patience} epochs (best: epoch {best})",
                    patience=self.patience,
                    best=self.best.epoch,
                )
            self.schedule = schedule
        if self.timekeeper is not None and self._time_is_up():
            self.stop_kind, reason = self.timekeeper.reason_to_stop(self.schedule)
            return reason
        return None

    # -- checkpoints -----------------------------------------------------------------------------------------------------------------

    def checkpoint(self) -> None:
        """Write everything that going on exactly needs."""
        self._read_losses()
        start = time.perf_counter()
        self.training_seconds += start - self._last_checkpoint
        state = {
            "epoch": self.epoch,
            "batch": self.batch,
            "step": self.step,
            "network": dict(self.network.state_dict()),
            "optimizer": self.optimizer.state_dict(),
            "random": random_state(),
            "epoch_random": self.epoch_random_state,
            "loaders": self._loader_states(),
            "best": {"loss": self.best.loss, "epoch": self.best.epoch, "weights": self.best.weights},
            "stopped": self.stopped.to_dict() if self.stopped else None,
            "stop_kind": self.stop_kind,
            "seconds": self.elapsed(),
            "command_seconds": self.command_seconds(),
            "training_seconds": self.training_seconds,
            "checkpoint_seconds": self.checkpoint_seconds,
            "samples_seen": self.samples_seen,
            "epoch_loss": self.epoch_loss,
            "epoch_samples": self.epoch_samples,
            "metrics_size": self.directory.metrics_size(),
        }
        self.directory.save_checkpoint(self.step, state)
        self._last_checkpoint = time.perf_counter()
        self.checkpoint_seconds += self._last_checkpoint - start

    def _parts(self) -> dict[str, Any]:
        return {"train": self.train, "validation": self.validation, "test": self.test}

    def _loader_states(self) -> dict[str, Any]:
        states = loader_states(self._parts())
        if "train" in states and self.batch:  # within an epoch: its start, from which the batches already seen are passed over
            states["train"] = self.epoch_loader_state
        return states

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go back to where a checkpoint was written. The metrics written after it are cut off."""
        load_weights(self.network, state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.epoch, self.batch, self.step = state["epoch"], state["batch"], state["step"]
        best = state["best"]
        self.best = Best(best["loss"], best["epoch"], best["weights"])
        self.stopped = Text.from_dict(state["stopped"]) if state["stopped"] else None
        self.stop_kind = state["stop_kind"]
        self.earlier_seconds = state.get("command_seconds", state["seconds"])
        self.seconds, self.training_seconds = state["seconds"], state["training_seconds"]
        self.checkpoint_seconds, self.samples_seen = state["checkpoint_seconds"], state["samples_seen"]
        self.epoch_loss, self.epoch_samples = state["epoch_loss"], state["epoch_samples"]
        self.epoch_random_state = state["epoch_random"]
        restore_loaders(self._parts(), state["loaders"])
        self.epoch_loader_state = state["loaders"].get("train")
        self.directory.cut_metrics(state["metrics_size"])
        set_random_state(state["random"])


def loader_states(parts: Mapping[str, Any]) -> dict[str, Any]:
    """What the users' own loaders among the parts will draw their next orders from."""
    return {name: part.state() for name, part in parts.items() if not getattr(part, "ordered", True)}


def restore_loaders(parts: Mapping[str, Any], states: Mapping[str, Any]) -> None:
    """Set the users' own loaders back to `states`."""
    for name, state in states.items():
        if not getattr(parts[name], "ordered", True):  # the same samples may come back as arrays
            parts[name].restore(state)


def _copied_state(network: nn.Module) -> dict[str, Any]:
    return {name: value.detach().clone() if isinstance(value, Tensor) else value for name, value in network.state_dict().items()}


def load_weights(network: nn.Module, weights: Mapping[str, Any]) -> None:
    """Load a state dict, or say which names and shapes do not fit.

    Raises:
        ModelError: the weights are of another network.
    """
    own = network.state_dict()
    missing = [name for name in own if name not in weights]
    extra = [name for name in weights if name not in own]
    shapes = [
        f"{name}: {tuple(weights[name].shape)} -> {tuple(own[name].shape)}"
        for name in own
        if name in weights and isinstance(own[name], Tensor) and own[name].shape != weights[name].shape
    ]
    if missing or extra or shapes:
        raise ModelError(
            text(
                "the stored weights do not fit the network: missing {missing}; unknown {extra}; other shape {shapes}",
                missing=missing[:5] or "-",
                extra=extra[:5] or "-",
                shapes=shapes[:5] or "-",
            ),
            text("the {count} tensors of this network, by name and shape", count=len(own)),
            text("give the same network that the run was trained with: pellucid.load(run, network=...)"),
        )
    network.load_state_dict(weights)


def explain_failure(error: Exception, batch_size: int) -> Exception:
    """What a step raised, mostly a RuntimeError of torch, as one of ours: out of memory, or a network that cannot be trained as it is."""
    message = str(error)
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)) or "not enough memory" in message or "out of memory" in message.lower():
        return MemoryShortage(
            text("the memory of the device does not hold a step with {batch_size} samples", batch_size=batch_size),
            text("a batch that fits"),
            text("use a smaller batch: --batch-size {smaller}", smaller=max(1, batch_size // 2)),
        )
    return ModelError(
        text("the network failed in a training step: {message}", message=message.strip().split("\n")[0] or type(error).__name__),
        text("a network whose forward and backward pass run on a batch of {batch_size} samples", batch_size=batch_size),
        text("run one step of your network by hand on one batch; the full text of torch follows the chain of exceptions"),
    )
