"""One training step of a run in equations: an example of its own data, its loss, its optimiser, and the network that it has come to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pellucid.core.errors import DataError, OptionError
from pellucid.core.language import Text, text
from pellucid.derivation.derive import Derivation, derive
from pellucid.training.losses import Loss, build_loss, class_weights
from pellucid.training.optimizers import build_optimizer
from pellucid.training.run import Run

PARTS = ("train", "validation", "test")
_SAME = {"mse": "mse", "mae": "mae", "huber": "huber", "cross_entropy": "cross_entropy"}  # losses that derive knows by the same name


@dataclass(frozen=True)
class Example:
    """One sample as the network gets it."""

    inputs: Tensor  # (1, ...)
    targets: Tensor  # (1,) or (1, outputs)
    index: int  # its position in the data
    identifier: str  # row number or file name
    part: str  # "train", "validation" or "test"


@dataclass(frozen=True)
class Derived:
    """A derivation and what it was made of."""

    derivation: Derivation
    example: Example
    notes: tuple[Text, ...]


def derive_run(run: Run, index: int = 0, *, notation: str = "column") -> Derived:
    """The equations of one step of the run's network on the example at `index` of its data, in evaluation mode.

    The optimiser starts anew: its state (momentum and the like) is zero.

    Raises:
        DataError: the data cannot be read again, or there is no such example.
        OptionError: an option was given as a Python object, which the run does not hold.
    """
    if run._record["data"]["reference"] is None:
        raise DataError(
            text("the run {path} was trained on data in memory", path=str(run.directory)),
            text("data that can be read again: a file, a folder or a built-in data set"),
            text("derive it in Python: pellucid.derive(run.model, inputs, targets, loss=...)"),
        )
    prepared = run._prepare_again(None, None)
    example = _example(prepared, index)
    network = run.model
    settings = run.settings
    for name in ("loss", "optimizer"):
        if str(settings[name]).startswith("python:"):
            raise OptionError(
                text("{option} was given as a Python object, {name}", option=name, name=settings[name].removeprefix("python:")),
                text("an option that run.json can hold"),
                text("derive it in Python: pellucid.derive(run.model, inputs, targets, loss=...)"),
            )
    loss: Any = _loss(settings, prepared)
    optimizer = build_optimizer(
        settings["optimizer"], network,
        learning_rate=float(settings["learning_rate"]), momentum=settings["momentum"], weight_decay=settings["weight_decay"] or 0.0,
    )  # fmt: skip
    derivation = derive(network, example.inputs, example.targets, loss, optimizer, notation=notation, clip=settings["clip"])
    return Derived(derivation, example, (text("the optimizer starts anew, as at the first step: its state is zero"),))


def _example(prepared: Any, index: int) -> Example:
    total = len(prepared.ledger.codes)
    if not 0 <= index < total:
        raise DataError(
            text("there is no example {index}", index=index),
            text("a number from 0 to {last}: the data have {count} samples", last=total - 1, count=total),
            text("for example --example 0"),
        )
    for name in PARTS:
        part = getattr(prepared, name)
        places = np.flatnonzero(np.asarray(part.indices) == index) if len(part) else np.zeros(0, dtype=int)
        if len(places):
            if not getattr(part, "ordered", True):
                raise DataError(
                    text("the run's data come from a DataLoader, which decides the order itself"),
                    text("data whose samples have numbers"),
                    text("derive it in Python: pellucid.derive(run.model, inputs, targets, loss=...)"),
                )
            inputs, targets = next(iter(part.batches(1, torch.from_numpy(places[:1].astype(np.int64)))))
            return Example(inputs, targets, index, prepared.ledger.identifiers[index], name)
    raise DataError(
        text("example {index} was left out of training, validation and test", index=index),
        text("an example of one of the parts"),
        text("take another number; pellucid data names what is left out"),
    )


def _loss(settings: dict[str, Any], prepared: Any) -> str | Loss:
    """By name where derive knows the very same function, so that the page writes it as the textbook does."""
    plain = settings.get("class_weight") is None and not settings.get("label_smoothing")
    if plain and settings["loss"] in _SAME:
        return _SAME[settings["loss"]]
    weight = None
    if settings.get("class_weight") is not None:
        targets = torch.cat([targets for _, targets in prepared.train.batches(4096)])
        weight = class_weights(settings["class_weight"], prepared.task, targets)
    return build_loss(settings["loss"], prepared.task, class_weight=weight, label_smoothing=settings.get("label_smoothing") or 0.0)
