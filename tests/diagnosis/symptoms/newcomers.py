"""Programs as newcomers write them: a loop of their own each, with the fault of a lecture's first week, and its healthy twin.

A program is a function that trains under a watcher and gives what was found. `FAULTY` says which root must be told, at which place and
with which word in the remedy, `HEALTHY` about which programs nothing may be said. A program that takes long is in `LONG`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import pellucid
from diagnosis.symptoms.programs import mlp, table
from pellucid.core.records import Finding

Found = tuple[Finding, ...]
Program = Callable[[], Found]
Loss = Callable[[Tensor, Tensor], Tensor]
FAULTY: dict[str, tuple[Program, str, str, str]] = {}  # name -> program, symptom of the root, part of the place, part of the remedy
HEALTHY: dict[str, Program] = {}
LONG: set[str] = set()


def faulty(name: str, symptom: str, where: str = "", remedy: str = "") -> Callable[[Program], Program]:
    def keep(program: Program) -> Program:
        FAULTY[name] = program, symptom, where, remedy
        return program

    return keep


def healthy(name: str) -> Callable[[Program], Program]:
    def keep(program: Program) -> Program:
        HEALTHY[name] = program
        return program

    return keep


def batches(data: Any, size: int = 32, epochs: int = 8) -> Iterator[tuple[Tensor, Tensor]]:
    """Shuffled anew in every epoch."""
    inputs, targets = data(torch.Generator().manual_seed(torch.initial_seed()))
    for _ in range(epochs):
        for chosen in torch.randperm(len(inputs)).split(size):
            yield inputs[chosen], targets[chosen]


def train(model: nn.Module, optimizer: torch.optim.Optimizer, data: Iterator[tuple[Tensor, Tensor]], loss: Loss = F.cross_entropy) -> Found:
    """The loop of every introduction."""
    with pellucid.watch(model) as watcher:
        for inputs, targets in data:
            optimizer.zero_grad()
            loss(model(inputs), targets).backward()
            optimizer.step()
        return watcher.findings


def adam(model: nn.Module, rate: float = 3e-3) -> torch.optim.Optimizer:
    return torch.optim.Adam(model.parameters(), lr=rate)


# -- who owns the weights ------------------------------------------------------------------------------------------------------------


class Tuned(nn.Module):
    """A backbone that came with weights, and a new head."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone, self.head = mlp(10, 64, 64, last=nn.ReLU)(), nn.Linear(64, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.head(self.backbone(inputs))


@faulty("only the head is given to the optimizer", "unowned_parameters", "backbone", "requires_grad_(False)")
def _only_head() -> Found:
    model = Tuned()
    return train(model, torch.optim.Adam(model.head.parameters(), lr=3e-3), batches(table()))


@faulty("only the head is given to the optimizer, SGD, long", "unowned_parameters", "backbone", "requires_grad_(False)")
def _only_head_long() -> Found:
    model = Tuned()
    return train(model, torch.optim.SGD(model.head.parameters(), lr=0.05, momentum=0.9), batches(table(), epochs=25))


@healthy("the backbone is frozen")
def _frozen_backbone() -> Found:
    model = Tuned()
    model.backbone.requires_grad_(False)
    return train(model, torch.optim.Adam(model.head.parameters(), lr=3e-3), batches(table()))


@healthy("one optimizer for the backbone, one for the head")
def _two_optimizers() -> Found:
    model = Tuned()
    slow, fast = torch.optim.SGD(model.backbone.parameters(), lr=0.02), torch.optim.Adam(model.head.parameters(), lr=3e-3)
    with pellucid.watch(model) as watcher:
        for inputs, targets in batches(table()):
            slow.zero_grad()
            fast.zero_grad()
            F.cross_entropy(model(inputs), targets).backward()
            fast.step()
            slow.step()
        return watcher.findings


def in_turns(every: int) -> Found:
    """The backbone's optimizer has its turn after some epochs."""
    model = Tuned()
    head, backbone = torch.optim.Adam(model.head.parameters(), lr=3e-3), torch.optim.Adam(model.backbone.parameters(), lr=1e-3)
    with pellucid.watch(model) as watcher:
        for number, (inputs, targets) in enumerate(batches(table(), epochs=15)):
            model.zero_grad()
            F.cross_entropy(model(inputs), targets).backward()
            (backbone if number % every == every - 1 else head).step()
        return watcher.findings


@healthy("optimizers take turns")
def _turns() -> Found:
    return in_turns(6)


@faulty("the second optimizer makes no step", "frozen_weights", "backbone", "step()")
def _no_step() -> Found:
    return in_turns(10**6)


class Critic(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = mlp(4, 32, 32, 1, activation=nn.LeakyReLU)()

    def forward(self, inputs: Tensor) -> Tensor:
        return self.layers(inputs)


@healthy("Wasserstein critic with gradient penalty")
def _critic() -> Found:
    """The last bias cancels in the difference of means: its gradient is exactly 0."""
    critic, generator = Critic(), mlp(2, 32, 4)()
    first, second = torch.optim.Adam(critic.parameters(), lr=1e-3, betas=(0.5, 0.9)), adam(generator, 1e-3)
    with pellucid.watch(critic) as watcher:
        for number in range(100):
            real = torch.randn(32, 4) @ torch.diag(torch.tensor([1.0, 2.0, 0.5, 1.0]))
            fake = generator(torch.randn(32, 2)).detach()
            share = torch.rand(32, 1)
            between = (share * real + (1 - share) * fake).requires_grad_(True)
            (slope,) = torch.autograd.grad(critic(between).sum(), between, create_graph=True)
            penalty = 10 * ((slope.norm(2, dim=1) - 1) ** 2).mean()
            first.zero_grad()
            (critic(fake).mean() - critic(real).mean() + penalty).backward()
            first.step()
            if number % 5 == 4:
                second.zero_grad()
                (-critic(generator(torch.randn(32, 2))).mean()).backward()
                second.step()
        return watcher.findings


@faulty("evaluation mode from the start", "wrong_mode", "2", "model.train()")
def _evaluation_mode() -> Found:
    model = mlp(10, 32, 32, 3, dropout=0.3)().eval()
    return train(model, adam(model), batches(table()))
