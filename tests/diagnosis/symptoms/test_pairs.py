"""Programs in pairs that differ in the one thing that makes the first of them wrong."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from diagnosis.symptoms.data_sets import (
    Make,
    Pair,
    blobs,
    embedded,
    experiment,
    regression,
    seeded,
    split,
    standardised,
    texts,
    with_test,
    with_train,
)
from diagnosis.symptoms.faulty_data import exchanged, flipped, heavy, squared_classes
from diagnosis.symptoms.static_networks import Case, amounts, binary, classes, in_evaluation, linear, mlp, module, table
from pellucid.core.records import Finding
from pellucid.diagnosis.data.contents import Contents
from pellucid.diagnosis.registry import symptoms
from pellucid.diagnosis.static.program import Program


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def guarded(eps: float) -> Any:
    """Binary cross-entropy by hand behind a clamp."""

    def loss(outputs: Tensor, targets: Tensor) -> Tensor:
        p = outputs[:, 0].clamp(eps, 1 - eps)
        return -(targets * p.log() + (1 - targets) * (1 - p).log()).mean()

    return loss


def density(outputs: Tensor, targets: Tensor) -> Tensor:
    """A mixture of four normal densities of deviation 1, whose means are the outputs."""
    return -torch.logsumexp(-0.5 * (outputs - targets) ** 2, 1).mean()


def steps(outputs: Tensor, targets: Tensor) -> Tensor:
    """The probability of an interval: a difference of two cumulative ones, which by its range alone could be negative."""
    p = torch.sigmoid(outputs[:, 0] + 0.5) - torch.sigmoid(outputs[:, 0] - 0.5)
    return -((1 + targets) * p.clamp(min=1e-6).log()).mean()


class Branches(nn.Module):
    """Four residual branches, the last layers of which start at 0, and before them units that are drawn or all alike."""

    def __init__(self, alike: bool) -> None:
        super().__init__()
        self.first = nn.Linear(10, 12)
        inner, outer = [nn.Linear(12, 12) for _ in range(4)], [nn.Linear(12, 12) for _ in range(4)]
        self.inner, self.outer = nn.ModuleList(inner), nn.ModuleList(outer)
        self.last = nn.Linear(12, 4)
        for layer in (*outer, *(inner if alike else ())):
            nn.init.constant_(layer.weight, 0.5 * alike)
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        for inner, outer in zip(self.inner, self.outer, strict=True):
            x = x + outer(torch.relu(inner(x)))
        return self.last(x)


def spread(kept: int | None) -> Any:
    """Squared errors of class numbers, spread over the outputs; or of one-hot rows."""
    return lambda o, t: F.mse_loss(o, t.float()[:, None].expand_as(o) if kept is None else F.one_hot(t, kept).float())


def by_function(drops: bool) -> Any:
    """A dropout, or a ReLU, by a function."""
    between = (lambda m, x: F.dropout(x, 0.3, m.training)) if drops else (lambda _, x: torch.relu(x))
    return module(lambda m, x: m.b(between(m, m.a(x))), a=linear(10, 16), b=linear(16, 4))


def signs(size: int) -> Any:
    """Rprop, on all samples or on few of them."""
    return Case(
        model=mlp(4), loss=F.cross_entropy, data=lambda: (torch.randn(size, 10), torch.arange(size) % 4),
        optimizer=lambda m: torch.optim.Rprop(m.parameters()),
    )  # fmt: skip


PAIRS: dict[str, tuple[str, str, Case, Case]] = {  # name -> cause, level, faulty, healthy
    "equal units": (
        "bad_init", "fault",
        Case(model=lambda: Branches(True), loss=F.cross_entropy, data=table(classes)),
        Case(model=lambda: Branches(False), loss=F.cross_entropy, data=table(classes)),
    ),
    "a clamp that rounding takes away": (
        "unstable_loss", "advice",
        Case(model=mlp(1, nn.Sigmoid), loss=guarded(1e-8), data=table(binary)),
        Case(model=mlp(1, nn.Sigmoid), loss=guarded(1e-6), data=table(binary)),
    ),
    "the exponential of a loss": (
        "unstable_loss", "advice",
        Case(model=mlp(4), loss=lambda o, t: torch.exp(F.cross_entropy(o, t)), data=table(classes)),
        Case(model=mlp(4), loss=lambda o, t: 1 - torch.exp(-F.cross_entropy(o, t)), data=table(classes)),
    ),
    "the exponential of a loss by hand": (
        "unstable_loss", "advice",
        Case(model=mlp(1), loss=lambda o, t: torch.exp((o - t).abs()).mean(), data=table(lambda: amounts(1))),
        Case(model=mlp(1), loss=lambda o, t: (torch.exp(o) - t.abs() * o).mean(), data=table(lambda: amounts(1))),
    ),
    "four outputs for one value": (
        "wrong_output_units", "fault",
        Case(model=mlp(4), loss=lambda o, t: ((o - t) ** 2).mean(), data=table(lambda: amounts(1))),
        Case(model=mlp(4), loss=density, data=table(lambda: amounts(1))),
    ),
    "class numbers spread over the outputs": (
        "wrong_loss", "fault",
        Case(model=mlp(4), loss=spread(None), data=table(classes)),
        Case(model=mlp(4), loss=spread(4), data=table(classes)),
    ),
    "a clamp that hides what is no probability": (
        "missing_output_activation", "fault",
        Case(model=mlp(1, nn.Tanh), loss=guarded(1e-6), data=table(binary)),
        Case(model=mlp(1), loss=steps, data=table(binary)),
    ),
    "a functional dropout trained in evaluation mode": (
        "wrong_mode", "fault",
        Case(model=by_function(True), loss=F.cross_entropy, data=table(classes), step=in_evaluation),
        Case(model=by_function(False), loss=F.cross_entropy, data=table(classes), step=in_evaluation),
    ),
    "signs of gradients of few samples": ("wrong_optimizer", "advice", signs(400), signs(32)),
}  # fmt: skip


def found(case: Case) -> list[Finding]:
    program = Program.of(case.experiment())
    return [finding for function in symptoms(reads=Program).values() for finding in function(program) or ()]


@pytest.mark.parametrize("name", PAIRS)
def test_the_first_of_a_pair_is_wrong_and_the_second_is_not(name: str) -> None:
    cause, level, faulty, healthy = PAIRS[name]
    mine = [finding for finding in found(faulty) if finding.cause == cause]
    assert [finding.level for finding in mine] == [level]
    for language in ("en", "zh"):
        assert "{" not in mine[0].summary.render(language)
    said = [finding for finding in found(healthy) if finding.level == "fault" or finding.summary.message == mine[0].summary.message]
    assert not said, [str(finding.summary) for finding in said]


def numbered_anew(inputs: Tensor, labels: Tensor) -> Pair:
    """Other numbers for the same words; 0 fills the texts up."""
    code = torch.cat([torch.zeros(1, dtype=torch.long), 1 + torch.randperm(199, generator=seeded(3))])
    return code[inputs], labels


def cubes(steps: int) -> Pair:
    x = torch.linspace(-16, 16, steps)[:, None]
    return x, x**3


WORDS = texts(400, 14)
WINE = standardised(split(embedded("wine"), 0.35))
IN_DATA: dict[str, tuple[str, str, Make, str]] = {  # name -> symptom, level, program, what must not be told beside it
    "four of ten labels of few samples are wrong": (
        "noisy_labels", "fault", lambda: experiment(with_train(WINE, flipped(0.4))), "labels_misaligned"
    ),
    "labels of few samples in another order": (
        "labels_misaligned", "fault", lambda: experiment(with_train(WINE, exchanged)), "noisy_labels"
    ),
    "words are numbered anew": (
        "train_test_preprocess_mismatch", "fault", lambda: experiment(with_test(split(WORDS), numbered_anew)), "label_encoding"
    ),
    "large targets": ("unnormalised_target", "advice", lambda: experiment(split(cubes(300))), "outliers_with_mse"),
    "outliers": ("outliers_with_mse", "fault", lambda: experiment(split(heavy(regression(), 0.02, 300))), "unnormalised_target"),
}  # fmt: skip


def seen_in_data(made: Make) -> list[Finding]:
    contents = Contents.of(made())
    return [finding for function in symptoms(reads=Contents).values() for finding in function(contents) or ()]


@pytest.mark.parametrize("name", IN_DATA)
def test_what_is_seen_in_data_is_not_taken_for_its_neighbour(name: str) -> None:
    symptom, level, made, neighbour = IN_DATA[name]
    told = {finding.symptom: finding.level for finding in seen_in_data(made)}
    assert told.get(symptom) == level
    assert neighbour not in told


def test_words_numbered_alike_are_no_finding() -> None:
    assert not seen_in_data(lambda: experiment(split(WORDS)))


@pytest.mark.parametrize("outputs", [1, 4])
def test_classes_are_made_of_amounts_only_where_there_are_outputs_for_them(outputs: int) -> None:
    pair = blobs(200, 8, 4, 3.0, seed=13)
    loss = squared_classes if outputs == 1 else (lambda o, t: F.mse_loss(o[:, 0], t.float()))
    found = [one for one in seen_in_data(lambda: experiment(split(pair), loss, outputs)) if one.symptom == "label_encoding"]
    assert len(found) == 1
    assert (found[0].change is None) == (outputs == 1)
