"""Programs with one thing wrong each. Without it the program is one of the healthy ones, or as healthy."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.lr_scheduler import ExponentialLR, StepLR

from diagnosis.symptoms.healthy import BINARY, IMAGES, TABLE, TOKENS, VALUES, Several, by_hand
from diagnosis.symptoms.programs import (
    Batch,
    Program,
    Recurrent,
    adam,
    ascending,
    biased,
    cleared_too_early,
    cnn,
    evaluated,
    evaluated_and_left,
    evaluated_in_training_mode,
    flipped_by_hand,
    initialised,
    left_in_evaluation,
    mlp,
    never_cleared,
    recurrent_scaled,
    scaled,
    sgd,
    table,
    values,
)


class Cut(nn.Module):
    """The first layer's result is detached."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = nn.Linear(10, 32), nn.Linear(32, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.head(torch.relu(self.body(inputs)).detach())


class Rounded(nn.Module):
    """A step that has no slope stands between two layers."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = nn.Linear(10, 32), nn.Linear(32, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.head(torch.sign(self.body(inputs)))


class Unused(nn.Module):
    """A layer that forward() forgets."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.head = nn.Linear(10, 32), nn.Linear(32, 32), nn.Linear(32, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.head(torch.relu(self.first(inputs)))


class Logarithm(nn.Module):
    """log(relu(x)): minus infinity as soon as a unit is off."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = nn.Linear(8, 32), nn.Linear(32, 1)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.head(torch.log(torch.relu(self.body(inputs))))


class Distance(nn.Module):
    """The norm of what may be exactly 0: its derivative is NaN."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Linear(8, 16)

    def forward(self, inputs: Tensor) -> Tensor:
        return torch.sqrt((torch.relu(self.body(inputs)) * (inputs[:, :1] > 0)).sum(1, keepdim=True))


def of_rounded_probabilities(outputs: Tensor, targets: Tensor) -> Tensor:
    p = torch.sigmoid(60 * outputs[:, 0])  # exactly 0 or 1 where the network is sure
    return -(targets * torch.log(p) + (1 - targets) * torch.log(1 - p)).mean()


def with_missing(draw: Any) -> Any:
    """A value of the inputs is missing."""

    def drawn(generator: torch.Generator) -> Batch:
        inputs, targets = draw(generator)
        inputs[len(inputs) // 2, 0] = torch.nan
        return inputs, targets

    return drawn


def times(factor: Any, draw: Any) -> Any:
    def drawn(generator: torch.Generator) -> Batch:
        inputs, targets = draw(generator)
        return inputs * factor, targets

    return drawn


def only_head(model: Any) -> Any:
    return torch.optim.Adam(model[-1].parameters(), lr=3e-3)


def two_over_all(model: Any) -> Any:
    return Several(torch.optim.Adam(model.parameters(), lr=1e-3), torch.optim.Adam(model.parameters(), lr=1e-3))


def first_group_at_rest(model: Any) -> Any:
    return torch.optim.SGD([{"params": model[0].parameters(), "lr": 0.0}, {"params": model[2:].parameters()}], lr=0.05)


class Uphill(torch.optim.Optimizer):
    def __init__(self, parameters: Any, lr: float) -> None:
        super().__init__(parameters, {"lr": lr})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    parameter += group["lr"] * parameter.grad


def rings(generator: torch.Generator) -> Batch:
    """A ring around a disc."""
    inputs = torch.randn(320, 2, generator=generator)
    return inputs, (inputs.norm(dim=1) > 1.18).long()


SIZES = torch.tensor([1e4, 1.0, 1e-3, 1.0, 1.0, 1e5, 1.0, 1.0])


class OneCleared(Several):
    """Of optimisers that step together, the first is cleared."""

    def zero_grad(self) -> None:
        self.parts[0].zero_grad()


def one_cleared(model: Any) -> OneCleared:
    return OneCleared(torch.optim.SGD(model[0].parameters(), 0.05), torch.optim.SGD(model[2:].parameters(), 0.05))


def filled(value: float) -> Any:
    def change(module: nn.Module) -> None:
        for parameter in module.parameters(recurse=False):
            parameter.fill_(value)

    return change


DEEP = replace(TABLE, network=mlp(10, *[32] * 8, 3, activation=nn.Sigmoid), epochs=25)
DROPOUT = replace(TABLE, network=mlp(10, 48, 48, 3, dropout=0.4), evaluate=evaluated)

FAULTY: dict[str, dict[str, Program]] = {  # symptom -> programs that have it
    "lr_too_high": {
        "rate far too high, SGD": replace(TABLE, optimizer=sgd(20.0)),
        "rate far too high, Adam": replace(TABLE, optimizer=adam(3.0)),
        "rate too high, regression": replace(VALUES, optimizer=sgd(2.0)),
        "rate too high, cnn": replace(IMAGES, optimizer=sgd(5.0)),
        "rate too high, cnn, Adam": replace(IMAGES, optimizer=adam(0.5)),
        "rate too high, transformer": replace(TOKENS, optimizer=adam(0.5)),
        "rate too high, momentum": replace(TABLE, optimizer=sgd(3.0, momentum=0.9)),
        "inputs of every size": replace(VALUES, data=times(SIZES, values()), optimizer=sgd(0.01), where="inputs"),
        "targets in the tens of thousands": replace(VALUES, data=values(scale=1e5), optimizer=sgd(0.01), where="targets"),
    },
    "lr_too_low": {
        "rate too low, SGD": replace(TABLE, optimizer=sgd(1e-6), epochs=25),
        "rate too low, Adam": replace(TABLE, optimizer=adam(1e-8), epochs=25),
        "rate too low, cnn": replace(IMAGES, optimizer=sgd(1e-6)),
        "rate too low, regression": replace(VALUES, optimizer=sgd(1e-7), epochs=25),
        "rate of 1e-6, Adam": replace(TABLE, optimizer=adam(1e-6), epochs=25),
        "rate of 1e-6, Adam, cnn": replace(IMAGES, optimizer=adam(1e-6)),
        "rate of 1e-6, Adam, transformer": replace(TOKENS, optimizer=adam(1e-6)),
        "scheduler stepped per batch": replace(IMAGES, scheduler=lambda o, _: StepLR(o, 10, 0.1), epochs=16, where="scheduler"),
        "exponential scheduler stepped per batch": replace(TABLE, scheduler=lambda o, _: ExponentialLR(o, 0.7), epochs=25,
                                                           where="scheduler"),
    },
    "divergence": {
        "wide inputs": replace(VALUES, data=times(3.0, values()), batch=320, epochs=22, network=mlp(8, 1), optimizer=sgd(0.2)),
        "rate too high, twenty steps": replace(VALUES, batch=320, epochs=20, network=mlp(8, 1), optimizer=sgd(1.6)),
    },
    "oscillation": {
        "absolute error, full batch": replace(VALUES, network=mlp(8, 1), loss=F.l1_loss, batch=1000, epochs=80, optimizer=sgd(8.0)),
        "absolute error, larger rate": replace(VALUES, network=mlp(8, 1), loss=F.l1_loss, batch=1000, epochs=80, optimizer=sgd(20.0)),
    },
    "plateau": {
        "targets of chance": replace(TABLE, data=table(1000, flipped=1.0), network=mlp(10, 3), optimizer=sgd(0.02)),
        "targets of chance, regression": replace(VALUES, data=values(1000, noise=1e3), network=mlp(8, 1), batch=250, epochs=80,
                                                 optimizer=sgd(0.01)),
        "targets in the tens of thousands, Adam": replace(VALUES, data=values(scale=1e5), where="targets"),
        "targets far from 0, Adam": replace(VALUES, loss=lambda o, t: F.mse_loss(o, 2e5 + 1e5 * t), where="targets"),
        "inputs of every size, Adam": replace(VALUES, data=times(SIZES, values()), where="inputs"),
    },
    "vanishing_gradient": {
        "eight sigmoid layers": replace(DEEP, optimizer=sgd(0.1)),
        "eight sigmoid layers, momentum": replace(DEEP, optimizer=sgd(0.1, momentum=0.9)),
        "ten tanh layers with small weights": replace(DEEP, network=initialised(mlp(10, *[32] * 10, 3, activation=nn.Tanh), scaled(0.3))),
        "ten ReLU layers with small weights": replace(DEEP, network=initialised(mlp(10, *[32] * 10, 3), scaled(0.4))),
        # about a thousandth: tiny steps of the first layers, and units that go out for want of a signal
        "six ReLU layers with weights of half their size": replace(DEEP, network=initialised(mlp(10, *[32] * 6, 3), scaled(0.5)),
                                                                   optimizer=sgd(0.1)),
        "twelve tanh layers": replace(DEEP, network=mlp(10, *[32] * 12, 3, activation=nn.Tanh), optimizer=sgd(0.03)),
    },
    "exploding_gradient": {
        "ten layers with large weights": replace(TABLE, network=initialised(mlp(10, *[32] * 10, 3), scaled(8.0))),
        "six layers with large weights, regression": replace(VALUES, network=initialised(mlp(8, *[32] * 6, 1), scaled(10.0)),
                                                             optimizer=sgd(0.01)),
        "eight layers with large weights": replace(TOKENS, network=initialised(mlp(12, *[32] * 8, 2), scaled(9.0)),
                                           data=table(256, 12, 2)),
        "recurrent ReLU with large weights": replace(TOKENS, network=initialised(lambda: Recurrent(partial(nn.RNN, nonlinearity="relu")),
                                                     recurrent_scaled(8.0))),
    },
    "dead_relu": {
        "biases far below 0": replace(TABLE, network=initialised(mlp(10, 32, 32, 3), biased(-30.0))),
        "biases far below 0, cnn": replace(IMAGES, network=lambda: nn.Sequential(nn.Flatten(), mlp(64, 64, 64, 10)().apply(
            lambda m: nn.init.constant_(m.bias, -30.0) if isinstance(m, nn.Linear) and m.out_features == 64 else None)),
            optimizer=adam(1e-4)),
    },
    "saturation": {
        "sigmoid on unscaled inputs": replace(TABLE, data=times(1000.0, table()), network=mlp(10, 32, 32, 3, activation=nn.Sigmoid)),
        "tanh that begins saturated": replace(TABLE, network=initialised(mlp(10, *[32] * 5, 3, activation=nn.Tanh), scaled(12.0)),
                                              optimizer=adam(1e-3), epochs=5),
        "tanh with large weights": replace(TABLE, network=initialised(mlp(10, 32, 32, 32, 3, activation=nn.Tanh), scaled(60.0)),
                                           optimizer=sgd(1e-3)),
    },
    "constant_output": {
        "inputs that are all 0": replace(TABLE, data=times(0.0, table())),
        "weights that are all 0": replace(TABLE, network=initialised(mlp(10, 32, 32, 3), scaled(0.0))),
        "biases far below 0, regression": replace(VALUES, network=initialised(mlp(8, 32, 32, 1), biased(-30.0)), optimizer=adam(1e-4)),
    },
    "nan": {
        "log of 0": replace(VALUES, network=Logarithm, where="log"),
        "root of 0": replace(VALUES, network=Distance, where="sqrt"),
        "missing value": replace(TABLE, data=with_missing(table()), where="input"),
        "log of a sigmoid": replace(BINARY, loss=of_rounded_probabilities, optimizer=adam(0.02), where="log"),
    },
    "missing_zero_grad": {
        "never cleared": replace(TABLE, step=never_cleared),
        "never cleared, Adam": replace(TABLE, step=never_cleared, optimizer=adam()),
        "one of two optimizers never cleared": replace(TABLE, optimizer=one_cleared, where="zero_grad"),
        "never cleared, cnn": replace(IMAGES, step=never_cleared),
    },
    "flipped_gradient": {
        "minus the loss": replace(TABLE, step=ascending, optimizer=sgd(0.01)),
        "maximize": replace(TABLE, optimizer=sgd(0.01, maximize=True)),
        "an optimizer that adds": replace(VALUES, optimizer=lambda m: Uphill(m.parameters(), 1e-3)),
        "gradients negated": replace(TABLE, step=flipped_by_hand, optimizer=sgd(0.02)),
    },
    "shape_broadcast": {
        "column against row": replace(VALUES, data=values(column=False)),
        "row against column": replace(VALUES, network=mlp(8, 32, 32, 1, last=partial(nn.Flatten, 0))),
        "column against row, by hand": replace(VALUES, data=values(column=False), loss=by_hand),
        "row against column, L1": replace(VALUES, data=values(column=False), loss=F.l1_loss),
    },
    "wrong_mode": {
        "left in evaluation mode": replace(DROPOUT, step=left_in_evaluation, evaluate=None),
        "evaluation mode after the first epoch": replace(DROPOUT, evaluate=evaluated_and_left),
        "evaluation mode from the start": replace(DROPOUT, prepare=lambda m: m.eval(), evaluate=None),
        "evaluated in training mode": replace(DROPOUT, evaluate=evaluated_in_training_mode),
        "evaluated in training mode, batch norm": replace(IMAGES, network=cnn(norm=True), evaluate=evaluated_in_training_mode),
    },
    "no_shuffle": {
        "sorted by class": replace(TABLE, order="sorted"),
        "sorted by class, cnn": replace(IMAGES, order="sorted", batch=16),
        "sorted by class, transformer": replace(TOKENS, order="sorted"),
    },
    "frozen_weights": {
        "cleared too early": replace(TABLE, step=cleared_too_early),
        "detached_branch": replace(TABLE, network=Cut, where="body"),
        "sign": replace(TABLE, network=Rounded, where="body"),
        "unused layer": replace(TABLE, network=Unused, where="second"),
        "a group with rate 0": replace(TABLE, optimizer=first_group_at_rest, where="0"),
    },
    "unowned_parameters": {
        "only the head in the optimizer": replace(TABLE, optimizer=only_head),
    },
    "repeated_parameters": {
        "two optimizers over all": replace(TABLE, optimizer=two_over_all),
    },
    "watched_double_softmax": {
        "softmax before the cross-entropy": replace(TABLE, network=mlp(10, 32, 3, last=partial(nn.Softmax, 1)), where="loss"),
    },
    "watched_missing_output_activation": {
        "raw scores into nll_loss": replace(TABLE, loss=F.nll_loss, where="loss"),
    },
    "watched_wrong_output_activation": {
        "sigmoid before a loss of logits": replace(BINARY, network=mlp(10, 32, 1, last=nn.Sigmoid), where="loss"),
        "relu on the scores": replace(TABLE, network=mlp(10, 32, 3, last=nn.ReLU), where="loss"),
        "tanh on the scores": replace(TABLE, network=mlp(10, 32, 3, last=nn.Tanh), where="loss"),
        "relu on values around 0": replace(VALUES, network=mlp(8, 32, 1, last=nn.ReLU), loss=F.mse_loss, where="output"),
    },
    "watched_softmax_wrong_axis": {
        "log_softmax over the batch": replace(TABLE, network=mlp(10, 32, 3, last=partial(nn.LogSoftmax, 0)), loss=F.nll_loss, where="loss"),
    },
    "watched_bad_init": {
        "all weights 0": replace(TABLE, network=initialised(mlp(10, 32, 3), filled(0.0)), where="0"),
        "all weights equal": replace(TABLE, network=initialised(mlp(10, 32, 3), filled(0.1)), where="0"),
        "all weights 0, tanh": replace(TABLE, network=initialised(mlp(10, 32, 16, 3, activation=nn.Tanh), filled(0.0)), where="0"),
    },
    "watched_overfitting": {
        "more parameters than samples": replace(TABLE, data=table(100, 20, 2, flipped=0.4), network=mlp(20, 128, 128, 2),
                                                loss=nn.CrossEntropyLoss, optimizer=adam(3e-3), epochs=60, evaluate=evaluated, tell=True),
    },
    "watched_underfitting": {
        "linear on what is not": replace(TABLE, data=rings, network=mlp(2, 2), loss=nn.CrossEntropyLoss, optimizer=adam(1e-2),
                                         epochs=20, evaluate=evaluated, tell=True),
    },
}  # fmt: skip
