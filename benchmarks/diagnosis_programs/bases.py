"""The base programs: each reaches a sensible score in at most five seconds at one thread. Half are for tuning, half held out, by name.

The split was written down before anything was measured: no threshold may be chosen by a held-out program.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from diagnosis_programs import data
from diagnosis_programs.networks import (
    BagOfWords,
    Convolutional1d,
    Design,
    Functional,
    FunctionalConvolutional,
    Nested,
    Recurrent,
    Residual,
    Transformer,
    convolutional,
    finished,
    sequential,
)
from pellucid.diagnosis.experiments.experiment import Experiment

PARTS = {
    "tuning": ("wine", "cancer", "housing", "digits-mlp", "fashion-cnn", "power-gru", "spam-bag", "sunspots-lstm"),
    "held-out": ("seeds", "income", "mileage", "digits-cnn", "mnist-residual", "vowels-lstm", "heart-cnn1d", "reviews-transformer",
                 "temperatures"),
}  # fmt: skip


def step_by_hand(model: nn.Module, optimizer: Any, loss: Any, batch: Any) -> Tensor:
    """A user's own step: gradients are cleared at the end."""
    x, y = batch
    model.train()
    out = model(x)
    error = loss(out, y)
    error.backward()
    optimizer.step()
    model.zero_grad()
    return error.detach()


def clipped_step(model: nn.Module, optimizer: Any, loss: Any, batch: Any) -> Tensor:
    inputs, targets = batch
    optimizer.zero_grad(set_to_none=True)
    value = loss(model(inputs), targets)
    value.backward()
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    return value


def binary_loss(outputs: Tensor, targets: Tensor) -> Tensor:
    return F.binary_cross_entropy_with_logits(outputs, targets)


@dataclass(frozen=True, kw_only=True)
class Base:
    """A healthy program in parts that a fault can exchange.

    `kind`: "classes" (targets (N,), outputs (N, K)), "binary" (targets and outputs (N, 1), scores) or "values" (both (N, 1)).
    `body`, `head`: beginnings of the names of the parameters of everything but the last layer, and of the last layer.
    """

    name: str
    kind: str
    data: Callable[[], data.Parts]
    network: Callable[[Design], nn.Module]
    loss: Any
    optimizer: str = "adam"
    rate: float = 1e-3
    batch: int = 32
    epochs: int = 10
    step: Any = None
    least: float = 0.8  # the score that a sound training reaches
    body: tuple[str, ...] = ()
    head: tuple[str, ...] = ()
    tokens: bool = False
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def part(self) -> str:
        return next(part for part, names in PARTS.items() if self.name in names)

    @property
    def classes(self) -> int:
        return int(self.data()[0][1].max()) + 1

    def model(self, design: Design) -> Callable[[], nn.Module]:
        return lambda: finished(self.network(design), design)

    def optimizer_of(self, name: str | None = None, rate: float | None = None, **options: Any) -> Callable[[nn.Module], Any]:
        return made(name or self.optimizer, self.rate if rate is None else rate, **({} if name else self.options), **options)

    def experiment(self, design: Design = Design(), **changes: Any) -> Experiment:  # noqa: B008 (frozen)
        train, test = self.data()
        given = {
            "model": self.model(design), "loss": self.loss, "optimizer": self.optimizer_of(), "train": train, "test": test,
            "batch_size": self.batch, "epochs": self.epochs, "step": self.step,
        }  # fmt: skip
        return Experiment(**{**given, **changes})


OPTIMIZERS: dict[str, Any] = {
    "adam": torch.optim.Adam, "adamw": torch.optim.AdamW, "sgd": torch.optim.SGD, "momentum": partial(torch.optim.SGD, momentum=0.9),
    "rmsprop": torch.optim.RMSprop, "adagrad": torch.optim.Adagrad, "rprop": torch.optim.Rprop, "nesterov":
    partial(torch.optim.SGD, momentum=0.9, nesterov=True), "nadam": torch.optim.NAdam, "adadelta": torch.optim.Adadelta,
    "radam": torch.optim.RAdam, "adamax": torch.optim.Adamax, "asgd": torch.optim.ASGD,
}  # fmt: skip


def made(name: str, rate: float, **options: Any) -> Callable[[nn.Module], Any]:
    """An optimizer's factory."""
    return lambda model: OPTIMIZERS[name]([p for p in model.parameters() if p.requires_grad], lr=rate, **options)


BASES: dict[str, Base] = {
    base.name: base
    for base in (
        Base(name="wine", kind="classes", data=data.wine, network=lambda d: sequential(13, (32, 32), 3, d), loss=nn.CrossEntropyLoss(),
             optimizer="momentum", rate=0.02, batch=16, epochs=20, least=0.9, body=("0", "2"), head=("4",)),
        Base(name="cancer", kind="binary", data=data.breast_cancer, network=lambda d: Functional(30, (24, 24), 1, d), loss=binary_loss,
             rate=3e-3, epochs=15, least=0.9, body=("fc",), head=("out",)),
        Base(name="housing", kind="values", data=data.housing, network=lambda d: Nested(7, 48, 1, d), loss=F.mse_loss, rate=3e-3, batch=64,
             epochs=20, least=0.6, body=("encoder",), head=("head",)),
        Base(name="digits-mlp", kind="classes", data=lambda: data.digits(flat=True), network=lambda d: Functional(64, (48, 48), 10, d),
             loss=F.cross_entropy, optimizer="sgd", rate=0.1, epochs=20, least=0.9, body=("fc",), head=("out",)),
        Base(name="fashion-cnn", kind="classes", data=lambda: data.small_images("fashion_mnist"),
             network=lambda d: convolutional(1, 14, 10, d, norm=True), loss=nn.CrossEntropyLoss(), rate=2e-3, epochs=7, least=0.75,
             body=("0", "1", "4", "5"), head=("11",)),
        Base(name="power-gru", kind="classes", data=data.italy_power, network=lambda d: Recurrent(nn.GRU, 1, 2, d), loss=F.cross_entropy,
             rate=5e-3, epochs=20, step=clipped_step, least=0.9, body=("rnn",), head=("head",)),
        Base(name="spam-bag", kind="classes", data=lambda: data.messages(column=False), network=lambda d: BagOfWords(1500, 2, d),
             loss=nn.CrossEntropyLoss(), rate=3e-3, epochs=8, least=0.9, body=("embedding", "fc1"), head=("fc2",), tokens=True),
        Base(name="sunspots-lstm", kind="values", data=data.sunspots, network=lambda d: Recurrent(nn.LSTM, 1, 1, d), loss=nn.MSELoss(),
             rate=5e-3, epochs=12, step=step_by_hand, least=0.7, body=("rnn",), head=("head",)),
        Base(name="seeds", kind="classes", data=data.wheat, network=lambda d: Nested(7, 32, 3, d), loss=F.cross_entropy, rate=5e-3,
             batch=16, epochs=25, least=0.85, body=("encoder",), head=("head",)),
        Base(name="income", kind="binary", data=data.adult, network=lambda d: sequential(data.adult()[0][0].shape[1], (32, 16), 1, d),
             loss=nn.BCEWithLogitsLoss(), optimizer="momentum", rate=0.02, batch=32, epochs=8, least=0.79, body=("0", "2"), head=("4",)),
        Base(name="mileage", kind="values", data=data.miles_per_gallon, network=lambda d: Functional(9, (32, 32), 1, d), loss=nn.MSELoss(),
             optimizer="sgd", rate=0.03, batch=16, epochs=30, step=step_by_hand, least=0.75, body=("fc",), head=("out",)),
        Base(name="digits-cnn", kind="classes", data=lambda: data.digits(flat=False), network=lambda d: FunctionalConvolutional(8, 10, d),
             loss=F.cross_entropy, optimizer="momentum", rate=0.02, epochs=10, least=0.9, body=("conv", "fc1"), head=("fc2",)),
        Base(name="mnist-residual", kind="classes", data=lambda: data.small_images("mnist"), network=lambda d: Residual(10, d),
             loss=nn.CrossEntropyLoss(), optimizer="adamw", rate=3e-3, batch=50, epochs=8, step=clipped_step, least=0.85,
             body=("stem", "layer"), head=("fc",)),
        Base(name="vowels-lstm", kind="classes", data=data.vowels, network=lambda d: Recurrent(nn.LSTM, 12, 9, d), loss=F.cross_entropy,
             rate=1e-2, batch=20, epochs=20, least=0.8, body=("rnn",), head=("head",)),
        Base(name="heart-cnn1d", kind="classes", data=data.heartbeats, network=lambda d: Convolutional1d(1, 2, d),
             loss=nn.CrossEntropyLoss(), optimizer="rmsprop", rate=2e-3, batch=16, epochs=10, least=0.9, body=("convs", "norms"),
             head=("classifier",)),
        Base(name="reviews-transformer", kind="classes", data=data.reviews, network=lambda d: Transformer(3000, 24, 2, d),
             loss=F.cross_entropy, optimizer="adamw", rate=2e-3, batch=50, epochs=4, least=0.6, body=("words", "places", "block"),
             head=("head",), tokens=True),
        Base(name="temperatures", kind="values", data=data.temperatures, network=lambda d: Nested(14, 32, 1, d, norm=True),
             loss=nn.SmoothL1Loss(), optimizer="adamw", rate=2e-3, epochs=10, least=0.45, body=("encoder",), head=("head",)),
    )
}  # fmt: skip
