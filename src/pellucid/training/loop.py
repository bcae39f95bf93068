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
from pellucid.training.augmentation import Augmentation
from pellucid.training.evaluation import evaluate, evaluation_sample
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
    directory: RunDirectory
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
    augmentation: Augmentation | None = None
    autocast: torch.dtype | None = None
    budget_seconds: float | None = None
    checkpoint_interval: float = 30.0

    epoch: int = 0  # epochs completed
    batch: int = 0  # batches of the present epoch completed
    step: int = 0  # updates made
    best: Best = field(default_factory=Best)
    stopped: Text | None = None  # why training ended, for a person
    stop_kind: str = "epochs"  # the same for a program: "epochs", "until", "patience", "budget"
    seconds: float = 0.0  # of earlier sessions
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
        network, loss_function, optimizer = self.network, self.loss_function, self.optimizer
        parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
        precision = torch.autocast(self.device.type, self.autocast) if self.autocast else nullcontext()
        while self.stopped is None:
            network.train()
            for inputs, targets in self._batches():
                self.schedule.apply(optimizer, self.step)
                with precision:
                    output = network(inputs)  # forward
                    loss = loss_function(output, targets)  # loss
                if self.l1:
                    loss = loss + self.l1 * l1_penalty(network)
                loss.backward()  # backward
                if self.clip is not None:
                    clip_gradients(parameters, self.clip)
                optimizer.step()  # update
                optimizer.zero_grad()
                self._count(loss, len(inputs))
            self._end_epoch()

    def planned_steps(self) -> int:
        return self.epochs * self.batches_per_epoch

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
        if self._ordered():
            order = epoch_order(len(self.train), self.seed, self.epoch)[: self._epoch_samples()]
            order = order[done * self.batch_size :].to(getattr(self.train, "device", "cpu"))
            if not len(order):  # resumed between an epoch's last step and its end: splitting nothing would give one empty batch
                return
            batches = self.train.batches(self.batch_size, order)
        elif done:  # the loader draws its order from the random state: go back to the epoch's start, pass over what is done, come back
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
            inputs, targets = inputs.to(self.device), targets.to(self.device)
            yield (self.augmentation(inputs) if self.augmentation else inputs), targets

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
        self._train_sample = evaluation_sample(self.train, limit=max(len(self.validation), 256))

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
                epochs=self.epochs,
                step=self.step,
                steps=self.planned_steps(),
                loss=loss / max(samples, 1),
                learning_rate=self.optimizer.param_groups[0]["lr"],
                samples_per_second=samples / max(now - self._mark, 1e-9),
                seconds=self.seconds + spent,
                seconds_left=rate * max(self.planned_steps() - self.step, 0),
            )
        )
        self._mark = now

    def last_good_weights(self) -> dict[str, Any]:
        """The best weights so far; before the end of the first epoch those from which this stretch of training started."""
        return self.best.weights or self._first_weights

    def elapsed(self) -> float:
        """Seconds of all sessions so far."""
        return self.seconds + time.perf_counter() - self._session_start

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
        if self._ordered():  # a second pass over a user's own loader would cost as much as the first
            row["train"].update(self._measure(self._train_sample))
        if len(self.validation):
            row["validation"] = self._measure(self.validation)
        self.epoch_loss, self.epoch_samples, self.epoch_random_state = 0.0, 0, None
        watched = row.get("validation") or row["train"]
        if not math.isfinite(watched["loss"]) and not all(torch.isfinite(p).all() for p in self.network.parameters()):
            self.epoch_loss = watched["loss"]
            raise self._divergence()
        if watched["loss"] < self.best.loss or not self.best.weights:
            self.best, self._first_weights = Best(watched["loss"], self.epoch, _copied_state(self.network)), {}
        self.stopped = self._reason_to_stop(watched)
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
            return text("all {epochs} epochs are done", epochs=self.epochs)
        if self.patience is not None and self.epoch - self.best.epoch >= self.patience:
            self.stop_kind = "patience"
            return text(
                "no progress on the validation part for {patience} epochs (best: epoch {best})",
                patience=self.patience,
                best=self.best.epoch,
            )
        if self.budget_seconds is not None and self.elapsed() >= self.budget_seconds:
            self.stop_kind = "budget"
            return text("the time budget of {seconds:.0f} s is used up", seconds=self.budget_seconds)
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
