"""Confident learning: the equations again, written out slowly; and real wrong labels."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from diagnosis.symptoms.data_sets import digits, experiment, texts
from diagnosis.symptoms.faulty_data import flipped
from pellucid.diagnosis.data.label_noise import (
    RANKINGS,
    OutOfSample,
    confident_joint,
    cross_validated,
    estimated_joint,
    noise_share,
    noisy_samples,
    normalised_margin,
    self_confidence,
    thresholds,
)
from pellucid.diagnosis.experiments.experiment import Experiment
from pellucid.diagnosis.symptoms.labels import cross_validated_noisy_labels

K = 3


def drawn(samples: int = 200, seed: int = 0, classes: int = K) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(classes, (samples,), generator=generator)
    scores = torch.randn(samples, classes, generator=generator) + 1.5 * F.one_hot(labels, classes)
    return labels, scores.double().softmax(1)


def slow_joint(labels: list[int], probabilities: list[list[float]], classes: int) -> list[list[int]]:
    """Equations 1 and 2, sample by sample."""
    limits = []
    for j in range(classes):
        own = [row[j] for row, label in zip(probabilities, labels, strict=True) if label == j]
        limits.append(sum(own) / len(own) if own else float("inf"))
    joint = [[0] * classes for _ in range(classes)]
    for row, label in zip(probabilities, labels, strict=True):
        reached = [j for j in range(classes) if row[j] >= limits[j]]
        if reached:
            joint[label][max(reached, key=lambda j: row[j])] += 1
    return joint


@pytest.mark.parametrize("seed", range(5))
def test_the_confident_joint_is_that_of_the_paper(seed: int) -> None:
    labels, probabilities = drawn(seed=seed)
    assert confident_joint(labels, probabilities).tolist() == slow_joint(labels.tolist(), probabilities.tolist(), K)


def test_a_class_without_samples_has_no_threshold() -> None:
    labels, probabilities = drawn()
    labels = labels.clamp_max(1)
    assert thresholds(labels, probabilities)[2] == torch.inf
    assert confident_joint(labels, probabilities)[:, 2].sum() == 0
    assert torch.isfinite(estimated_joint(labels, probabilities)).all()


def test_rows_of_the_estimated_joint_sum_to_the_labels_shares() -> None:
    labels, probabilities = drawn()
    joint = estimated_joint(labels, probabilities)
    torch.testing.assert_close(joint.sum(1), labels.bincount().double() / len(labels))


def test_the_noise_that_was_made_is_estimated() -> None:
    """Perfectly calibrated probabilities of noisy labels: a tenth is wrong."""
    generator = torch.Generator().manual_seed(1)
    right = torch.randint(K, (6000,), generator=generator)
    _, labels = flipped(0.1)(right, right)
    probabilities = torch.full((6000, K), 0.05, dtype=torch.float64)
    probabilities[torch.arange(6000), right] = 0.9
    assert noise_share(labels, probabilities) == pytest.approx(0.1, abs=0.01)
    found = noisy_samples(labels, probabilities)
    assert bool((labels[found] != right[found]).all())
    assert len(found) == pytest.approx(int((labels != right).sum()), rel=0.02)


def test_rankings_of_three_samples() -> None:
    labels = torch.tensor([0, 1, 2])
    probabilities = torch.tensor([[0.7, 0.2, 0.1], [0.5, 0.3, 0.2], [0.1, 0.8, 0.1]])
    torch.testing.assert_close(self_confidence(labels, probabilities), torch.tensor([0.7, 0.3, 0.1]))
    torch.testing.assert_close(normalised_margin(labels, probabilities), torch.tensor([0.5, -0.2, -0.7]))


@pytest.mark.parametrize("by", ["noise_rate", "confident_joint", "both"])
@pytest.mark.parametrize("ranking", RANKINGS)
def test_samples_are_named_worst_first(by: str, ranking: str) -> None:
    labels, probabilities = drawn()
    found = noisy_samples(labels, probabilities, ranking, by)
    scores = RANKINGS[ranking](labels, probabilities)[found]
    assert len(found) > 0
    assert bool((scores.diff() >= 0).all())
    assert len(found.unique()) == len(found)


def test_no_noise_names_nobody() -> None:
    labels = torch.arange(90) % K
    assert len(noisy_samples(labels, 0.85 * F.one_hot(labels, K).double() + 0.05)) == 0


# -- the experiment's own network ----------------------------------------------------------------------------------------------------------


def noisy_digits(samples: int = 600) -> tuple[Tensor, Tensor, Tensor]:
    inputs, right = (one[:samples] for one in digits())
    return inputs, flipped(0.15)(inputs, right)[1], right


def trained(loss: object = None, outputs: int = 10) -> Experiment:
    inputs, labels, _ = noisy_digits()
    return experiment(
        ((inputs, labels), None),
        loss,
        outputs,
        lambda: nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, outputs)),
        optimizer=lambda network: torch.optim.Adam(network.parameters(), 5e-3),
        epochs=6,
    )


def test_cross_validation_of_the_users_network_separates_wrong_from_right() -> None:
    from sklearn.metrics import roc_auc_score

    _, labels, right = noisy_digits()
    before = torch.random.get_rng_state()
    seen = OutOfSample.of(trained(), 60.0, folds=3)
    assert torch.equal(before, torch.random.get_rng_state())
    assert seen is not None
    probabilities = seen.probabilities
    assert torch.equal(seen.labels, labels)
    found = cross_validated_noisy_labels(seen)
    assert [(one.cause, one.established_by) for one in found] == [("noisy_labels", "controlled")]
    named = torch.tensor(found[0].evidence["samples"])
    assert float((labels != right)[named].float().mean()) > 0.8
    sound = OutOfSample(probabilities=probabilities[labels == right], labels=right[labels == right])
    assert cross_validated_noisy_labels(sound) == [], "the samples with right labels alone"
    torch.testing.assert_close(probabilities.sum(1), torch.ones(600))
    assert roc_auc_score((labels != right).numpy(), -self_confidence(labels, probabilities).numpy()) >= 0.95


def test_each_sample_is_answered_by_a_network_that_has_not_seen_it() -> None:
    """Labels drawn at random: whoever had learnt them by heart would know them."""
    inputs, _, _ = noisy_digits(300)
    labels = torch.randint(10, (300,), generator=torch.Generator().manual_seed(3))
    by_heart = trained().changed(train=(inputs, labels), epochs=40)
    probabilities = cross_validated(by_heart, folds=2, seconds=60.0)
    assert probabilities is not None
    assert float((probabilities.argmax(1) == labels).float().mean()) < 0.25


def test_what_cannot_be_cross_validated_gives_none() -> None:
    inputs, labels, _ = noisy_digits()
    assert cross_validated(trained(), folds=3, seconds=0.0) is None, "no time"
    values = experiment(((inputs, torch.randn(600, 2, 2)), None), F.mse_loss, 4,
                        lambda: nn.Sequential(nn.Flatten(), nn.Linear(64, 4), nn.Unflatten(1, (2, 2))), epochs=3)  # fmt: skip
    assert cross_validated(values, seconds=20.0) is None, "no scores of classes"
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(inputs, labels), batch_size=32)
    assert cross_validated(trained().changed(train=loader)) is None, "a loader"


def test_a_data_set_and_tokens_work_as_tensors_do() -> None:
    inputs, labels, _ = noisy_digits()
    stored = trained().changed(train=torch.utils.data.TensorDataset(inputs, labels))
    assert cross_validated(stored, folds=2, seconds=30.0) is not None
    assert cross_validated(experiment((texts(), None), outputs=2, epochs=3), folds=2, seconds=30.0) is not None


# -- real errors -------------------------------------------------------------------------------------------------------------------------

FIRST = {"cifar10": 17, "mnist": 7}  # cleanlab 2.7.1's find_label_issues with its defaults, of 54 and 15 errors: benchmarks/label_noise.py


@pytest.mark.shared_data
@pytest.mark.parametrize("name", FIRST)
def test_as_many_real_errors_are_named_first_as_cleanlab_names(name: str, shared_data: Path) -> None:
    folder = shared_data / "label_errors"
    labels = torch.from_numpy(np.load(folder / f"{name}_test_labels_and_pred.npz")["original_label"].astype(np.int64))
    probabilities = torch.from_numpy(np.load(folder / f"{name}_test_pred_probs.npz")["probs"]).double()
    wrong = {case["id"] for case in json.loads((folder / f"{name}_mturk.json").read_text("utf-8")) if case["mturk"]["given"] < 3}
    first = noisy_samples(labels, probabilities)[: len(wrong)]
    assert len(wrong & set(first.tolist())) >= FIRST[name]
