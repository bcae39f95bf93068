"""The verdict on real trainings: a network that memorises noise, its healthy twin, and a network too simple for its task."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pellucid.core.records import Finding, Score
from pellucid.diagnosis.dynamic.curves import Curves
from pellucid.diagnosis.verdict import verdict
from turns import in_turn

SEEDS = range(4)


def blobs(samples: int, generator: torch.Generator, flipped: float = 0.0) -> tuple[Tensor, Tensor]:
    """Two overlapping clouds in ten dimensions; a share of the labels is wrong."""
    targets = torch.randint(2, (samples,), generator=generator)
    inputs = torch.randn(samples, 10, generator=generator) + 1.2 * targets[:, None]
    wrong = torch.rand(samples, generator=generator) < flipped
    return inputs, torch.where(wrong, 1 - targets, targets)


def exclusive_or(samples: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    inputs = torch.rand(samples, 2, generator=generator) * 2 - 1
    return inputs, (inputs[:, 0] * inputs[:, 1] > 0).long()


def mlp(features: int, hidden: int) -> nn.Module:
    return nn.Sequential(nn.Linear(features, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, 2))


def measured(network: nn.Module, inputs: Tensor, targets: Tensor) -> dict[str, float]:
    network.eval()
    with torch.no_grad():
        logits = network(inputs)
        losses = F.cross_entropy(logits, targets, reduction="none")
    return {
        "loss": losses.mean().item(),
        "loss_stderr": losses.std().item() / len(losses) ** 0.5,
        "accuracy": (logits.argmax(1) == targets).float().mean().item(),
    }


def trained(
    make: Callable[[], nn.Module],
    draw: Callable[[int, torch.Generator], tuple[Tensor, Tensor]],
    *,
    samples: int,
    seed: int,
    epochs: int = 60,
    keep_best: bool = False,
    weight_decay: float = 0.0,
    learning_rate: float = 0.01,
) -> tuple[Finding, ...]:
    """A plain training loop, and the verdict on it."""
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    (inputs, targets), held_out = draw(samples, generator), draw(300, generator)
    network, rows, best = make(), [], (float("inf"), 0, {})
    optimizer = torch.optim.AdamW(network.parameters(), lr=learning_rate, weight_decay=weight_decay)
    for epoch in range(1, epochs + 1):
        network.train()
        for chosen in torch.randperm(samples, generator=generator).split(32):
            optimizer.zero_grad()
            F.cross_entropy(network(inputs[chosen]), targets[chosen]).backward()
            optimizer.step()
        row: dict[str, Any] = {"epoch": epoch, "learning_rate": learning_rate}
        row |= {"train": measured(network, inputs, targets), "validation": measured(network, *held_out)}
        rows.append(row)
        if row["validation"]["loss"] < best[0]:
            best = (row["validation"]["loss"], epoch, {name: value.clone() for name, value in network.state_dict().items()})
    if keep_best:
        network.load_state_dict(best[2])
    parts = {"train": (inputs, targets), "validation": held_out}
    scores = {
        name: [Score(name="accuracy", value=measured(network, *part)["accuracy"], samples=len(part[1]))] for name, part in parts.items()
    }
    curves = Curves.from_history(
        rows, primary="accuracy", scores=scores, class_counts=np.bincount(targets).tolist(), kept_epoch=best[1] if keep_best else epochs
    )
    return verdict(curves)


@pytest.mark.parametrize("seed", in_turn(SEEDS, 4))
def test_a_large_network_on_noisy_labels_overfits(seed: int) -> None:
    (finding, *_) = trained(lambda: mlp(10, 128), lambda n, g: blobs(n, g, flipped=0.25), samples=200, seed=seed)
    assert (finding.symptom, finding.level) == ("overfitting", "fault")
    assert finding.evidence["train"] > 0.97
    assert finding.evidence["validation"] < 0.85


@pytest.mark.parametrize("seed", in_turn(SEEDS, 4))
def test_its_healthy_twin_is_good(seed: int) -> None:
    findings = trained(lambda: nn.Linear(10, 2), blobs, samples=600, seed=seed)
    assert {finding.level for finding in findings} == {"good"}


@pytest.mark.parametrize("seed", in_turn(SEEDS, 4))
def test_the_large_network_is_good_on_clean_labels_with_the_best_weights_kept(seed: int) -> None:
    findings = trained(lambda: mlp(10, 64), blobs, samples=800, seed=seed, keep_best=True, epochs=30)
    assert {finding.level for finding in findings} == {"good"}


@pytest.mark.parametrize("seed", in_turn(SEEDS, 4))
def test_a_linear_network_on_a_task_that_is_not_linear_underfits(seed: int) -> None:
    (finding, *_) = trained(lambda: nn.Linear(2, 2), exclusive_or, samples=600, seed=seed, epochs=30)
    assert finding.symptom == "underfitting"
    assert finding.level != "good"
    findings = trained(lambda: mlp(2, 32), exclusive_or, samples=600, seed=seed, epochs=60)
    assert {finding.level for finding in findings} == {"good"}


@pytest.mark.parametrize("seed", in_turn(SEEDS, 4))
def test_too_few_epochs_are_seen(seed: int) -> None:
    findings = trained(lambda: mlp(2, 32), exclusive_or, samples=600, seed=seed, epochs=8, learning_rate=0.001)
    assert [(finding.symptom, finding.level) for finding in findings] == [("underfitting", "advice")]
    assert "--epochs" in str(findings[0].remedy)
