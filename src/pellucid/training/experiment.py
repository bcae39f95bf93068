"""A run as an experiment that can be started anew: its data read again, its network, loss and optimizer as the run's settings say."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from pellucid.core.errors import OptionError
from pellucid.core.language import Text, text
from pellucid.data.samples import ResidentPart
from pellucid.data.sequences import SequencePart
from pellucid.diagnosis.experiments.experiment import Experiment
from pellucid.training.construction import choose_device
from pellucid.training.optimizers import build_optimizer
from pellucid.training.regularization import clip_gradients, penalized_parameters
from pellucid.training.run import Run
from pellucid.training.schedules import Schedule
from pellucid.training.session import loss_of
from pellucid.training.settings import Settings

FINISHED = 250_000_000  # numbers of a part that are kept as the network gets them: 1 GB; more are finished batch by batch


class _Finished(Dataset[tuple[Tensor, Tensor]]):
    """A part's samples one by one, as the network gets them."""

    def __init__(self, part: Any) -> None:
        self.part = part

    def __len__(self) -> int:
        return len(self.part)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        if isinstance(self.part, SequencePart):  # to one length, so that samples can be put together
            return self.part.padded(np.asarray([index]), int(self.part.lengths.max(initial=1)))[0], self.part.targets[index]
        inputs, targets = next(iter(self.part.batches(1, torch.tensor([index]))))
        return inputs[0], targets[0]


def experiment_of(run: Run, data: Any = None, target: Any = None) -> Experiment:
    """The experiment; see `Run.experiment`."""
    run._build()  # says at once where the run does not hold the user's own network
    prepared = run._prepare_again(data, target)
    settings = replace(run._settings_again(), **{name: run.settings[name] for name in ("learning_rate", "epochs", "batch_size")})
    if isinstance(settings.learning_rate, str):
        raise OptionError(
            text("the run {path} has not come to its learning rate", path=str(run.directory)),
            text("a run whose training has begun"),
            text("go on with: pellucid resume {path}", path=str(run.directory)),
        )
    device = choose_device(run.config["device"])
    held_out = prepared.validation if len(prepared.validation) else prepared.test
    train = _data(prepared.train)
    size = len(prepared.train)
    if size % settings.batch_size == 1 and size > 1 and isinstance(train, tuple):
        train = tuple(item[:-1] for item in train)  # as fit does: batch normalisation takes no batch of one sample
        size -= 1
    steps = settings.epochs * math.ceil(size / settings.batch_size)
    return Experiment(
        model=lambda: run._build().to(device),
        loss=loss_of(settings, prepared),
        optimizer=_optimizer(settings, steps),
        train=train,
        test=_data(held_out) if len(held_out) else None,
        batch_size=settings.batch_size,
        epochs=settings.epochs,
    )


def left_out(run: Run) -> list[Text]:
    """What of a run its experiment has not."""
    settings = run.settings
    said: list[Text] = []
    if settings.get("augment") not in (None, "none"):
        said.append(text("augmentation ({name}): the experiment trains on the samples as they are", name=settings["augment"]))
    if settings.get("precision") not in (None, "float32"):
        said.append(text("the precision {name}: the experiment computes in float32", name=settings["precision"]))
    return said


def _data(part: Any) -> Any:
    """(X, y) as the network gets them where they lie in memory, else a data set; of a loader of the user's the batches of one pass."""
    if isinstance(part, SequencePart) and part.steps[:1].size * len(part) * int(part.lengths.max(initial=1)) <= FINISHED:
        return part.padded(np.arange(len(part))), part.targets.cpu()
    resident = isinstance(part, ResidentPart)
    ordered = getattr(part, "ordered", True)
    if not ordered or (resident and part.inputs.numel() <= FINISHED):
        one_canvas = torch.arange(len(part)) if hasattr(part, "sizes") else None  # images of several sizes in one array
        batches = list(part.batches(512) if one_canvas is None else part.batches(len(part), one_canvas))
        return torch.cat([inputs for inputs, _ in batches]), torch.cat([targets for _, targets in batches])
    return _Finished(part)


def _optimizer(settings: Settings, steps: int) -> Callable[[nn.Module], torch.optim.Optimizer]:
    """The run's optimizer with what its loop does around an update: the schedule, clipping and the L1 penalty's gradient."""
    schedule = Schedule(settings.schedule, steps, 1.0)

    def make(network: nn.Module) -> torch.optim.Optimizer:
        optimizer = build_optimizer(
            settings.optimizer, network,
            learning_rate=float(settings.learning_rate), momentum=settings.momentum, weight_decay=settings.weight_decay,
        )  # fmt: skip
        penalized = penalized_parameters(network)
        made: list[int] = []
        peaks: list[Any] = []  # the rates that the schedule scales: known at the first update, whoever changed them before

        def before(optimizer: torch.optim.Optimizer, *_: Any) -> None:
            if not peaks:
                peaks.extend(float(group["lr"]) for group in optimizer.param_groups)
            share = schedule.learning_rate(len(made))
            made.append(1)
            for group, peak in zip(optimizer.param_groups, peaks, strict=False):
                group["lr"] = share * peak
            if settings.l1:
                for weight in penalized:
                    if weight.grad is not None:
                        weight.grad.add_(weight.detach().sign(), alpha=settings.l1)
            if settings.clip is not None:
                clip_gradients([p for group in optimizer.param_groups for p in group["params"]], settings.clip)

        if settings.schedule != "constant" or settings.l1 or settings.clip is not None:
            optimizer.register_step_pre_hook(before)
        return optimizer

    return make
