"""Training programs as people write them, in plain PyTorch: data, a network, an optimiser and a loop, every part exchangeable.

A fault is one part exchanged; its healthy twin is the program before.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import pellucid
from pellucid.diagnosis.dynamic.observations import Observations

Batch = tuple[Tensor, Tensor]
Step = Callable[["Training", Tensor, Tensor], None]


@dataclass
class Training:
    """What a step of the loop works with."""

    model: nn.Module
    optimizer: Any
    loss: Any
    scheduler: Any = None
    number: int = 0  # steps made
    kept: dict[str, Any] = field(default_factory=dict)


# -- steps ---------------------------------------------------------------------------------------------------------------------------


def plain(training: Training, inputs: Tensor, targets: Tensor) -> None:
    training.optimizer.zero_grad()
    training.loss(training.model(inputs), targets).backward()
    training.optimizer.step()


def clipped(training: Training, inputs: Tensor, targets: Tensor) -> None:
    training.optimizer.zero_grad()
    training.loss(training.model(inputs), targets).backward()
    nn.utils.clip_grad_norm_(training.model.parameters(), 1.0)
    training.optimizer.step()


def accumulating(training: Training, inputs: Tensor, targets: Tensor) -> None:
    """The gradients of four batches make one update."""
    (training.loss(training.model(inputs), targets) / 4).backward()
    if training.number % 4 == 3:
        training.optimizer.step()
        training.optimizer.zero_grad()


def with_closure(training: Training, inputs: Tensor, targets: Tensor) -> None:
    def closure() -> Tensor:
        training.optimizer.zero_grad()
        loss = training.loss(training.model(inputs), targets)
        loss.backward()
        return loss

    training.optimizer.step(closure)


def never_cleared(training: Training, inputs: Tensor, targets: Tensor) -> None:
    training.loss(training.model(inputs), targets).backward()
    training.optimizer.step()


def cleared_too_early(training: Training, inputs: Tensor, targets: Tensor) -> None:
    """zero_grad between backward and step: no gradient is left to use."""
    training.loss(training.model(inputs), targets).backward()
    training.optimizer.zero_grad(set_to_none=False)
    training.optimizer.step()


def ascending(training: Training, inputs: Tensor, targets: Tensor) -> None:
    training.optimizer.zero_grad()
    (-training.loss(training.model(inputs), targets)).backward()
    training.optimizer.step()


def flipped_by_hand(training: Training, inputs: Tensor, targets: Tensor) -> None:
    training.optimizer.zero_grad()
    training.loss(training.model(inputs), targets).backward()
    for parameter in training.model.parameters():
        if parameter.grad is not None:
            parameter.grad.neg_()
    training.optimizer.step()


def left_in_evaluation(training: Training, inputs: Tensor, targets: Tensor) -> None:
    """Without model.train() after the first evaluation."""
    if training.number >= 40:
        training.model.eval()
    plain(training, inputs, targets)


def twice(training: Training, inputs: Tensor, targets: Tensor) -> None:
    """Two terms of a loss, each with its own backward pass."""
    training.optimizer.zero_grad()
    outputs = training.model(inputs)
    training.loss(outputs, targets).backward(retain_graph=True)
    (1e-3 * outputs.float().pow(2).mean()).backward()
    training.optimizer.step()


# -- evaluation ----------------------------------------------------------------------------------------------------------------------


def evaluated(training: Training, held_out: Iterable[Batch]) -> None:
    training.model.eval()
    with torch.no_grad():
        for inputs, targets in held_out:
            training.loss(training.model(inputs), targets)
    training.model.train()


def evaluated_in_training_mode(training: Training, held_out: Iterable[Batch]) -> None:
    with torch.no_grad():
        for inputs, targets in held_out:
            training.loss(training.model(inputs), targets)


def evaluated_and_left(training: Training, held_out: Iterable[Batch]) -> None:
    """Evaluation mode stays on."""
    training.model.eval()
    with torch.no_grad():
        for inputs, targets in held_out:
            training.loss(training.model(inputs), targets)


# -- data: generator -> inputs, targets -------------------------------------------------------------------------------------------------


def table(samples: int = 320, features: int = 10, classes: int = 3, *, flipped: float = 0.0, shares: tuple[float, ...] = ()) -> Any:
    """Classes by a random network of one hidden layer; a share of the labels is wrong; `shares` makes classes rare."""

    def draw(generator: torch.Generator) -> Batch:
        pool = samples * (8 if shares else 1)
        inputs = torch.randn(pool, features, generator=generator)
        hidden = torch.tanh(inputs @ torch.randn(features, 16, generator=generator))
        scores = hidden @ torch.randn(16, classes, generator=generator)
        targets = ((scores - scores.mean(0)) / scores.std(0)).argmax(1)
        if shares:
            kept = [torch.nonzero(targets == c)[: max(2, round(share * samples))].flatten() for c, share in enumerate(shares)]
            chosen = torch.cat(kept)[torch.randperm(sum(map(len, kept)), generator=generator)]
            inputs, targets = inputs[chosen], targets[chosen]
        wrong = torch.rand(len(targets), generator=generator) < flipped
        return inputs, torch.where(wrong, torch.randint(classes, (len(targets),), generator=generator), targets)

    return draw


def values(samples: int = 320, features: int = 8, *, noise: float = 0.1, column: bool = True, scale: float = 1.0) -> Any:
    """A smooth function of the features with noise."""

    def draw(generator: torch.Generator) -> Batch:
        inputs = torch.randn(samples, features, generator=generator)
        weights = torch.randn(features, generator=generator) / math.sqrt(features)
        targets = torch.sin(inputs @ weights) + 0.5 * inputs[:, 0] + noise * torch.randn(samples, generator=generator)
        targets = scale * (targets - targets.mean()) / targets.std()
        return inputs, targets[:, None] if column else targets

    return draw


def images(samples: int = 300) -> Any:
    """Handwritten digits of 8 x 8 pixels."""

    def draw(generator: torch.Generator) -> Batch:
        from sklearn.datasets import load_digits

        loaded: Any = load_digits()
        chosen = torch.randperm(len(loaded.target), generator=generator)[:samples]
        inputs = torch.tensor(np.asarray(loaded.images), dtype=torch.float32)[:, None] / 16 - 0.3
        return inputs[chosen], torch.tensor(np.asarray(loaded.target))[chosen]

    return draw


def tokens(samples: int = 256, length: int = 12, vocabulary: int = 40) -> Any:
    """Sequences of tokens; the class is that of the most frequent kind of token."""

    def draw(generator: torch.Generator) -> Batch:
        inputs = torch.randint(vocabulary, (samples, length), generator=generator)
        return inputs, ((inputs % 2).float().mean(1) > 0.5).long()

    return draw


def next_tokens(samples: int = 256, length: int = 12, vocabulary: int = 20) -> Any:
    """Sequences from a Markov chain; the target is each next token, (N, T)."""

    def draw(generator: torch.Generator) -> Batch:
        chain = torch.softmax(3 * torch.randn(vocabulary, vocabulary, generator=generator), dim=1)
        sequence = [torch.randint(vocabulary, (samples,), generator=generator)]
        for _ in range(length):
            sequence.append(torch.multinomial(chain[sequence[-1]], 1, generator=generator)[:, 0])
        whole = torch.stack(sequence, dim=1)
        return whole[:, :-1], whole[:, 1:]

    return draw


def waves(samples: int = 256, length: int = 16) -> Any:
    """Windows of one long series, in time order; the target is the next value."""

    def draw(generator: torch.Generator) -> Batch:
        time = torch.arange(samples + length + 1, dtype=torch.float32)
        series = torch.sin(0.3 * time) + 0.5 * torch.sin(0.05 * time) + 0.1 * torch.randn(len(time), generator=generator)
        windows = series.unfold(0, length + 1, 1)[:samples]
        return windows[:, :-1, None].contiguous(), windows[:, -1:].contiguous()

    return draw


# -- networks -----------------------------------------------------------------------------------------------------------------------


def mlp(*sizes: int, activation: Any = nn.ReLU, dropout: float = 0.0, norm: Any = None, last: Any = None) -> Any:
    def make() -> nn.Module:
        layers: list[nn.Module] = []
        for number, (inward, outward) in enumerate(pairwise(sizes)):
            layers.append(nn.Linear(inward, outward))
            if number < len(sizes) - 2:
                layers += [norm(outward)] if norm else []
                layers.append(activation())
                layers += [nn.Dropout(dropout)] if dropout else []
        return nn.Sequential(*layers, *([last()] if last else []))

    return make


def initialised(make: Any, change: Callable[[nn.Module], None]) -> Any:
    def made() -> nn.Module:
        model = make()
        with torch.no_grad():
            model.apply(change)
        return model

    return made


def he(module: nn.Module) -> None:
    if isinstance(module, (nn.Linear, nn.Conv2d)):
        nn.init.kaiming_normal_(module.weight)
        nn.init.zeros_(module.bias)  # type: ignore[arg-type]


def scaled(factor: float) -> Callable[[nn.Module], None]:
    def change(module: nn.Module) -> None:
        if isinstance(module, (nn.Linear, nn.Conv2d)):
            module.weight.mul_(factor)

    return change


def recurrent_scaled(factor: float) -> Callable[[nn.Module], None]:
    def change(module: nn.Module) -> None:
        if isinstance(module, nn.RNN):
            module.weight_hh_l0.mul_(factor)

    return change


def biased(value: float) -> Callable[[nn.Module], None]:
    def change(module: nn.Module) -> None:
        if isinstance(module, nn.Linear) and module.out_features > 3:
            module.bias.fill_(value)

    return change


def cnn(*, norm: bool = False, dropout: float = 0.0) -> Any:
    def make() -> nn.Module:
        return nn.Sequential(
            nn.Conv2d(1, 12, 3, padding=1), nn.BatchNorm2d(12) if norm else nn.Identity(), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(12, 24, 3, padding=1), nn.BatchNorm2d(24) if norm else nn.Identity(), nn.ReLU(), nn.AdaptiveAvgPool2d(2),
            nn.Flatten(), nn.Dropout(dropout), nn.Linear(96, 10),
        )  # fmt: skip

    return make


class Block(nn.Module):
    """x + f(x), the last normalisation of f starting at zero."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(channels, channels, 3, padding=1), nn.Conv2d(channels, channels, 3, padding=1)
        self.norm1, self.norm2 = nn.BatchNorm2d(channels), nn.BatchNorm2d(channels)
        nn.init.zeros_(self.norm2.weight)

    def forward(self, inputs: Tensor) -> Tensor:
        return F.relu(inputs + self.norm2(self.second(F.relu(self.norm1(self.first(inputs))))))


def residual() -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 12, 3, padding=1), nn.ReLU(), Block(12), nn.MaxPool2d(2), Block(12), nn.AdaptiveAvgPool2d(1),
                         nn.Flatten(), nn.Linear(12, 10))  # fmt: skip


class Recurrent(nn.Module):
    def __init__(self, kind: Any = nn.LSTM, vocabulary: int = 40, outputs: int = 2, *, series: bool = False, every: bool = False) -> None:
        super().__init__()
        self.embedding = nn.Linear(1, 12) if series else nn.Embedding(vocabulary, 12)
        self.recurrent = kind(12, 24, batch_first=True)
        self.head = nn.Linear(24, outputs)
        self.every = every

    def forward(self, inputs: Tensor) -> Tensor:
        states, _ = self.recurrent(self.embedding(inputs))
        return self.head(states).transpose(1, 2) if self.every else self.head(states[:, -1])


class Transformer(nn.Module):
    """Token and position embeddings, two encoder layers; classes of the mean, or each next token."""

    def __init__(self, vocabulary: int = 40, outputs: int = 2, *, every: bool = False, tied: bool = False, norm_first: bool = True) -> None:
        super().__init__()
        self.embedding, self.position = nn.Embedding(vocabulary, 16), nn.Parameter(0.02 * torch.randn(32, 16))
        layer = nn.TransformerEncoderLayer(16, 2, 32, dropout=0.1, batch_first=True, norm_first=norm_first)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(16, outputs)
        if tied:
            self.head.weight = self.embedding.weight
        self.every = every

    def forward(self, inputs: Tensor) -> Tensor:
        length = inputs.shape[1]
        mask = torch.full((length, length), -math.inf).triu(1) if self.every else None
        hidden = self.encoder(self.embedding(inputs) + self.position[:length], mask=mask)
        return self.head(hidden).transpose(1, 2) if self.every else self.head(hidden.mean(1))


# -- a program ----------------------------------------------------------------------------------------------------------------------


def sgd(rate: float = 0.05, **options: Any) -> Any:
    return lambda model: torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=rate, **options)


def adam(rate: float = 3e-3, **options: Any) -> Any:
    return lambda model: torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=rate, **options)


@dataclass(frozen=True, kw_only=True)
class Program:
    """One training program. `where`: a part of the place at which its fault must be found."""

    data: Any
    network: Any
    loss: Any = F.cross_entropy
    optimizer: Any
    step: Step = plain
    evaluate: Any = None
    scheduler: Any = None  # optimizer, total steps -> scheduler
    batch: int = 32
    epochs: int = 12
    order: str = "shuffled"  # "shuffled", "fixed" (as drawn, every epoch alike), "sorted" (by target)
    prepare: Any = None  # model -> None, after it is made
    tell: bool = False  # watch gets the loss
    where: str = ""


def batches(program: Program, data: Batch, generator: torch.Generator) -> Iterator[Batch]:
    inputs, targets = data
    order = torch.arange(len(inputs))
    if program.order == "sorted":
        order = targets.flatten().argsort(stable=True)
    elif program.order == "shuffled":
        order = torch.randperm(len(inputs), generator=generator)
    for chosen in order.split(program.batch):
        yield inputs[chosen], targets[chosen]


def observed(program: Program, seed: int) -> Observations:
    """Train the program under a watcher and give what it saw."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        generator = torch.Generator().manual_seed(1000 + seed)
        inputs, targets = program.data(generator)
        part = len(inputs) * 3 // 4 if program.evaluate else len(inputs)
        held_out = list(zip(inputs[part:].split(64), targets[part:].split(64), strict=True))
        model = program.network()
        if program.prepare:
            program.prepare(model)
        optimizer = program.optimizer(model)
        per_epoch = math.ceil(part / program.batch)
        scheduler = program.scheduler(optimizer, per_epoch * program.epochs) if program.scheduler else None
        training = Training(model, optimizer, program.loss() if isinstance(program.loss, type) else program.loss, scheduler)
        own = optimizer if isinstance(optimizer, torch.optim.Optimizer) else None  # several are found when they step
        with pellucid.watch(model, own, training.loss if program.tell else None) as watcher:
            for _ in range(program.epochs):
                for batch in batches(program, (inputs[:part], targets[:part]), generator):
                    program.step(training, *batch)
                    training.number += 1
                    if scheduler:
                        scheduler.step()
                if program.evaluate:
                    program.evaluate(training, held_out)
            return watcher.observations
