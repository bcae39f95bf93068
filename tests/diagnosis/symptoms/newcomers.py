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
from diagnosis.symptoms.programs import mlp, table, values
from pellucid.core.records import Finding

Found = tuple[Finding, ...]
Program = Callable[[], Found]
Loss = Callable[[Tensor, Tensor], Tensor]
FAULTY: dict[str, tuple[Program, str, str, str]] = {}  # name -> program, symptom of the root, part of the place, part of the remedy
HEALTHY: dict[str, Program] = {}
LONG: set[str] = set()  # programs that take more than a second


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


def without_updates(of_another_model: bool) -> Found:
    model = Tuned()
    optimizer = adam(Tuned())
    with pellucid.watch(model) as watcher:
        for inputs, targets in batches(table(), epochs=30):
            model.zero_grad()
            F.cross_entropy(model(inputs), targets).backward()
            if of_another_model:
                optimizer.step()
        return watcher.findings


@faulty("no step at all", "frozen_weights", "no step followed", "call optimizer.step()")
def _no_step_at_all() -> Found:
    return without_updates(False)


@faulty("the optimizer is of the model before", "frozen_weights", "holds none of its parameters", "this very model")
def _other_model() -> Found:
    return without_updates(True)


@healthy("one update for 64 batches")
def _long_accumulation() -> Found:
    model = Tuned()
    optimizer = adam(model)
    with pellucid.watch(model, optimizer) as watcher:
        for number, (inputs, targets) in enumerate(batches(table(), epochs=20), 1):
            (F.cross_entropy(model(inputs), targets) / 64).backward()
            if number % 64 == 0:
                optimizer.step()
                optimizer.zero_grad()
        return watcher.findings


# -- outputs that do not fit the loss ----------------------------------------------------------------------------------------------------


def ending(last: nn.Module | None, loss: Loss) -> Found:
    model = nn.Sequential(mlp(10, 32, 3)(), *([] if last is None else [last]))
    return train(model, adam(model), batches(table()), loss)


def binary(outputs: Tensor, targets: Tensor) -> Tensor:
    return F.binary_cross_entropy_with_logits(outputs, F.one_hot(targets, 3).float())


@faulty("softmax before cross_entropy", "double_softmax", "the loss cannot fall below 0.551", "leave the softmax out")
def _softmax() -> Found:
    return ending(nn.Softmax(dim=1), F.cross_entropy)


@faulty("sigmoid before a loss of logits", "wrong_output_activation", "at least 0.693", "leave sigmoid out")
def _sigmoid() -> Found:
    return ending(nn.Sigmoid(), binary)


@faulty("nll_loss of raw scores", "missing_output_activation", "never below 0", "cross_entropy")
def _raw_scores() -> Found:
    return ending(None, F.nll_loss)


@faulty("nll_loss of probabilities", "missing_output_activation", "never below 0", "cross_entropy")
def _probabilities() -> Found:
    return ending(nn.Softmax(dim=1), F.nll_loss)


@healthy("nll_loss of a log_softmax")
def _log_softmax() -> Found:
    return ending(nn.LogSoftmax(dim=1), F.nll_loss)


@healthy("cross_entropy of a log_softmax")
def _log_softmax_twice() -> Found:
    return ending(nn.LogSoftmax(dim=1), F.cross_entropy)


@healthy("scores of a sigmoid that are scaled")
def _scaled_sigmoid() -> Found:
    return ending(nn.Sigmoid(), lambda outputs, targets: F.cross_entropy(10 * outputs, targets))


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


# -- NaN -----------------------------------------------------------------------------------------------------------------------------


class Attention(nn.Module):
    """One head over a padded sequence of 6 vectors; `filled` masks the padded positions with -inf."""

    def __init__(self, whole_rows: bool) -> None:
        super().__init__()
        self.project, self.head, self.whole_rows = nn.Linear(5, 15), nn.Linear(5, 3), whole_rows

    def forward(self, inputs: Tensor) -> Tensor:
        query, key, value = self.project(inputs).chunk(3, dim=-1)
        padded = (inputs == 0).all(-1)  # (N, T)
        scores = (query @ key.transpose(1, 2) / 5**0.5).masked_fill(padded[:, None, :], float("-inf"))
        attended = scores.softmax(-1) @ value  # (N, T, D)
        return self.head(attended.mean(1))


def padded(generator: torch.Generator, empty: bool) -> tuple[Tensor, Tensor]:
    """Sequences of 1 to 6 vectors, the rest 0; where `empty`, one of them has no vector at all."""
    inputs, lengths = torch.randn(320, 6, 5, generator=generator), torch.randint(1, 7, (320,), generator=generator)
    lengths[100] = 0 if empty else 1
    inputs[torch.arange(6) >= lengths[:, None]] = 0.0
    return inputs, (inputs.sum((1, 2)) > 0).long() + (inputs[:, 0, 0] > 0.5).long()


@faulty("attention to a sequence that is all padding", "nan", "softmax", "unmasked")
def _empty_row() -> Found:
    model = Attention(True)
    return train(model, adam(model), batches(lambda g: padded(g, empty=True)))


@healthy("attention with a padding mask")
def _padding() -> Found:
    model = Attention(False)
    return train(model, adam(model), batches(lambda g: padded(g, empty=False)))


class Layers(nn.Module):
    """Two layers and something between them; the rows that a mask leaves out are 0 there."""

    def __init__(self, between: Callable[[Tensor], Tensor], width: int = 32) -> None:
        super().__init__()
        self.first, self.last, self.between = nn.Linear(8, 32), nn.Linear(width, 1), between

    def forward(self, inputs: Tensor) -> Tensor:
        return self.last(self.between(self.first(inputs).abs() * (inputs[:, :1] > -1)))


def regression(between: Callable[[Tensor], Tensor], width: int = 32) -> Found:
    model = Layers(between, width)
    return train(model, adam(model), batches(values()), F.mse_loss)


faulty("root of rows of 0", "nan", "sqrt", "1e-8")(lambda: regression(torch.sqrt))
faulty("power one half of rows of 0", "nan", "pow", "1e-8")(lambda: regression(lambda x: x**0.5))
healthy("norm of rows of 0")(lambda: regression(lambda x: x.norm(dim=1, keepdim=True), 1))
faulty("a division in the branch that is not taken", "nan", "div", "torch.where")(
    lambda: regression(lambda x: torch.where(x > 0.1, 1 / x, 0.0))
)
faulty("a logarithm in the branch that is not taken", "nan", "log", "torch.where")(
    lambda: regression(lambda x: torch.where(x > 0, torch.log(x), torch.zeros_like(x)))
)
faulty("a mask of zeros and infinity multiplied", "nan", "mul", "masked_fill")(
    lambda: regression(lambda x: torch.softmax(x + (x < 0).float() * float("-inf"), 1))
)
healthy("root of rows of 0 and a little")(lambda: regression(lambda x: torch.sqrt(x + 1e-2)))
healthy("a logarithm of a safe argument")(lambda: regression(lambda x: torch.where(x > 0, torch.log(torch.where(x > 0, x, 1) + 0.1), 0.0)))


def distances(outputs: Tensor, eps: float) -> Tensor:
    """Between all pairs of a batch, each to itself too."""
    differences = outputs[:, None] - outputs[None]
    return (differences.square().sum(-1) + eps).sqrt()


def contrastive(eps: float) -> Found:
    """Equal classes close, others at a distance of at least 1."""

    def loss(outputs: Tensor, targets: Tensor) -> Tensor:
        apart, same = distances(outputs, eps), (targets[:, None] == targets[None]).float()
        return (same * apart.square() + (1 - same) * F.relu(1 - apart).square()).mean()

    model = mlp(10, 32, 4)()
    return train(model, adam(model), batches(table()), loss)


faulty("contrastive loss over distances of 0", "nan", "sqrt (loss)", "1e-8")(lambda: contrastive(0.0))
healthy("contrastive loss")(lambda: contrastive(1e-8))


def spoilt(what: str) -> Callable[[torch.Generator], tuple[Tensor, Tensor]]:
    def draw(generator: torch.Generator) -> tuple[Tensor, Tensor]:
        inputs, targets = values()(generator)
        (inputs if what == "inputs" else targets)[200, 0] = float("nan")
        return inputs, targets

    return draw


def on_spoilt(what: str, loss: Loss) -> Found:
    model = mlp(8, 32, 1)()
    return train(model, adam(model), batches(spoilt(what)), loss)


faulty("NaN in the targets", "nan", "targets", "clean the targets")(lambda: on_spoilt("targets", F.mse_loss))
faulty("NaN in the targets, by hand", "nan", "targets", "clean the targets")(
    lambda: on_spoilt("targets", lambda outputs, targets: ((outputs - targets) ** 2).mean())
)
faulty("NaN in the targets, absolute error", "nan", "targets", "clean the targets")(lambda: on_spoilt("targets", F.l1_loss))
faulty("NaN in the inputs", "nan", "input", "clean the data")(lambda: on_spoilt("inputs", F.mse_loss))


def with_ignored(per_batch: int) -> Found:
    """Labels of -100 count for nothing; a batch of four may have no others."""

    def draw(generator: torch.Generator) -> tuple[Tensor, Tensor]:
        inputs, targets = table(160)(generator)
        return inputs, torch.where(torch.rand(len(targets), generator=generator) < 0.6, -100, targets)

    model = mlp(10, 32, 3)()
    return train(model, adam(model), batches(draw, per_batch))


faulty("every label of a batch is left out", "nan", "label", "leave such batches out")(lambda: with_ignored(4))
healthy("some labels are left out")(lambda: with_ignored(40))


def over_chosen(outputs: Tensor, targets: Tensor) -> Tensor:
    """The error of large targets only: some batches of eight have none."""
    return (outputs - targets)[targets > 1.2].square().mean()


@faulty("a mean over nothing", "nan", "mean", "numel()")
def _empty_mean() -> Found:
    model = mlp(8, 32, 1)()
    return train(model, adam(model), batches(values(), 8), over_chosen)


faulty("values far beyond the number type", "nan", "", "scale inputs")(
    lambda: train(model := mlp(8, 32, 1)(), torch.optim.SGD(model.parameters(), lr=1e-3), batches(huge), F.mse_loss)
)


def huge(generator: torch.Generator) -> tuple[Tensor, Tensor]:
    inputs, targets = values()(generator)
    return inputs, targets * 1e25


# -- losses that are written out -------------------------------------------------------------------------------------------------------


def weighed(scores: Tensor, targets: Tensor) -> Tensor:
    """The sum over the classes of target times log-probability: minus the cross-entropy."""
    return (F.one_hot(targets, 3).float() * F.log_softmax(scores, 1)).sum(1).mean()


@healthy("cross-entropy written out")
def _written_out() -> Found:
    model = mlp(10, 32, 3)()
    return train(model, adam(model), batches(table()), lambda scores, targets: -weighed(scores, targets))


@faulty("cross-entropy written out without its minus sign", "flipped_gradient", "loss", "minus sign")
def _without_its_minus() -> Found:
    model = mlp(10, 32, 3)()
    return train(model, adam(model), batches(table()), weighed)


@healthy("focal loss")
def _focal() -> Found:
    def focal(scores: Tensor, targets: Tensor) -> Tensor:
        chosen = F.log_softmax(scores, 1).gather(1, targets[:, None])
        return -((1 - chosen.exp()) ** 2 * chosen).mean()

    model = mlp(10, 32, 3)()
    return train(model, adam(model), batches(table()), focal)


@faulty("log of a softmax over the batch", "softmax_wrong_axis", "loss", "dim=1")
def _over_the_batch() -> Found:
    model = mlp(10, 32, 3, last=lambda: nn.Softmax(0))()
    return train(model, adam(model), batches(table()), lambda shares, targets: F.nll_loss(torch.log(shares + 1e-8), targets))


@faulty("tanh before targets far outside", "wrong_output_activation", "output", "tanh")
def _tanh_before_prices() -> Found:
    model = mlp(8, 32, 1, last=nn.Tanh)()
    return train(model, adam(model), batches(values(scale=10.0)), F.mse_loss)
