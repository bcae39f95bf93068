"""The proof of a remedy: what it says of changes whose effect is known."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from pellucid.core.errors import ModelError, OptionError, OptionTypeError
from pellucid.core.language import text, use_language
from pellucid.core.numerics import mean_interval
from pellucid.core.records import Change, Finding, Verification
from pellucid.diagnosis.experiments.experiment import Experiment
from pellucid.diagnosis.experiments.verification import FIRST_SEED, MOST_SEEDS, NOT_WORTH, Prover

_drawn = torch.Generator().manual_seed(0)
X = torch.randn(300, 4, generator=_drawn)
Y = (X[:, 0] + X[:, 1] > 0).long()
VALUES = 3 * X[:, :1] - X[:, 1:2]


def experiment(rate: float = 0.1, **settings: Any) -> Experiment:
    settings = {
        "model": lambda: nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 2)), "loss": F.cross_entropy,
        "optimizer": lambda model: torch.optim.SGD(model.parameters(), rate), "train": (X[:200], Y[:200]), "test": (X[200:], Y[200:]),
        "batch_size": 32, "epochs": 4, **settings,
    }  # fmt: skip
    return Experiment(**settings)


def regression(**settings: Any) -> Experiment:
    return experiment(
        **{
            "model": lambda: nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 1)), "loss": F.mse_loss,
            "train": (X[:200], VALUES[:200]), "test": (X[200:], VALUES[200:]), **settings,
        }
    )  # fmt: skip


def rate(value: float) -> Change:
    return Change(kind="learning_rate", values={"rate": value})


def test_a_change_that_helps() -> None:
    proof = Prover(experiment(1e-5)).verify(rate(0.1))
    assert proof.verdict == "helps"
    assert len(proof.seeds) >= 3
    differences = [after - before for before, after in zip(proof.before, proof.after, strict=True)]
    assert proof.difference == pytest.approx(sum(differences) / len(differences))
    level = {3: 0.975, 5: 0.99, 8: 0.985}[len(proof.seeds)]  # half of the error is left to the first look, the rest to two more
    interval = mean_interval(torch.tensor(differences, dtype=torch.float64).numpy(), level)
    assert (proof.interval.low, proof.interval.high) == (interval.low, interval.high)
    assert proof.complete
    assert proof.steps == experiment().steps
    assert min(proof.seeds) >= FIRST_SEED  # not the seeds by which findings are made


def test_one_sample_from_each_of_three_seeds_proves_nothing() -> None:
    """Scores of 100 samples are rounded to hundredths: three equal differences of one sample have no interval of length 0."""
    proof = Prover(experiment(0.1)).verify(rate(0.105), seeds=(10, 11, 12))
    assert proof.interval.high - proof.interval.low > 0.005


def test_the_opposite_is_worse() -> None:
    assert Prover(experiment(0.1)).verify(rate(1e-5)).verdict == "worse"


def test_a_change_that_changes_nothing() -> None:
    proof = Prover(experiment(0.1)).verify(rate(0.1))
    assert proof.verdict == "no difference"
    assert proof.difference == 0
    assert len(proof.seeds) == 3  # every further seed would give the same


def test_a_small_change_is_no_difference_and_takes_further_seeds_while_it_could_be_one() -> None:
    for value in (0.1001, 0.097):
        proof = Prover(experiment(0.1)).verify(rate(value))
        assert proof.verdict == "no difference"
        settled = proof.interval.low > -NOT_WORTH and proof.interval.high < NOT_WORTH
        assert settled == (value == 0.1001)
        assert (len(proof.seeds) < MOST_SEEDS) == settled


@pytest.mark.parametrize(
    ("before", "change", "verdict"),
    [(regression(optimizer=lambda m: torch.optim.SGD(m.parameters(), 50.0)), rate(0.05), "helps"), (regression(), rate(50.0), "worse")],
)
def test_a_breakdown_counts_as_a_constant_answer(before: Experiment, change: Change, verdict: str) -> None:
    proof = Prover(before).verify(change)
    broken, whole = (proof.before, proof.after) if verdict == "helps" else (proof.after, proof.before)
    assert set(broken) == {-math.inf}  # told as it was
    assert proof.verdict == verdict
    assert abs(proof.difference) == pytest.approx(sum(whole) / len(whole))  # and counted as R2 0
    assert abs(proof.difference) <= 1


def test_both_sides_break_down() -> None:
    before = regression(optimizer=lambda m: torch.optim.SGD(m.parameters(), 50.0))
    proof = Prover(before).verify(rate(60.0))
    assert proof.verdict == "no difference"
    assert proof.difference == 0


def test_a_remedy_of_a_program_that_raises() -> None:
    """Targets of the wrong type raise in the loss: the training without the change is a breakdown."""
    before = experiment(train=(X[:200], Y[:200].float()), test=(X[200:], Y[200:].float()))
    assert Prover(before).verify(Change(kind="targets_as_classes")).verdict == "helps"


def test_another_loss_is_measured_by_the_same_metric() -> None:
    proof = Prover(experiment(loss=lambda o, t: 0.01 * F.cross_entropy(o, t))).verify(Change(kind="loss", values={"name": "cross_entropy"}))
    assert proof.metric == "accuracy"
    assert proof.verdict == "helps"
    # without a metric of its own, by the user's loss on both sides
    sums = regression(
        model=lambda: nn.Linear(4, 3),
        loss=lambda o, t: F.mse_loss(o.sum(1, True), t),
        optimizer=lambda m: torch.optim.SGD(m.parameters(), 1e-4),
    )
    proof = Prover(sums).verify(rate(0.1))
    assert proof.metric == "loss"
    assert proof.verdict == "helps"
    assert max(proof.before) < -1 < min(proof.after) < 0


def test_weighted_classes_are_counted_alike() -> None:
    """Where one sample in 25 is of the rare class, nothing but the other is right 24 times of 25, and balanced in half of the cases."""
    chance = torch.Generator().manual_seed(2)
    inputs = torch.randn(1000, 4, generator=chance)
    rare = (inputs[:, 0] + 0.8 * torch.randn(1000, generator=chance) > 2.2).long()
    proof = Prover(experiment(0.02, train=(inputs[:500], rare[:500]), test=(inputs[500:], rare[500:]))).verify(Change(kind="class_weight"))
    assert proof.metric == "balanced_accuracy"
    assert max(proof.before) == pytest.approx(0.5, abs=0.05)
    assert proof.verdict == "helps"
    assert "balanced accuracy" in str(proof)


def test_samples_left_out_are_scored_on_both_sides_alike() -> None:
    wrong = Y.clone()
    wrong[:60] = 1 - wrong[:60]
    before = experiment(train=(X, wrong), test=None)
    proof = Prover(before).verify(Change(kind="drop_samples", values={"indices": list(range(60))}))
    assert all(score <= 0.85 for score in proof.after)  # the wrong labels are still among those that are scored
    assert proof.metric == "accuracy"


@pytest.mark.slow
def test_a_budget_shortens_both_sides_alike() -> None:
    before = experiment(1e-3, epochs=2000)
    proof = Prover(before).verify(rate(0.1), budget=4)
    assert not proof.complete
    assert 30 <= proof.steps < before.steps
    assert proof.seconds < 8
    assert proof.verdict == "helps"


def test_too_small_a_budget_says_what_it_takes() -> None:
    with pytest.raises(OptionError, match="updates for each training"):
        Prover(experiment(epochs=2000)).verify(rate(0.1), budget="1ms")


def test_the_unchanged_training_runs_once_for_all_proofs() -> None:
    made: list[int] = []

    def model() -> nn.Module:
        made.append(1)
        return nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 2))

    prover = Prover(experiment(1e-5, model=model))
    first = prover.verify(rate(0.1))
    count = len(made)
    second = prover.verify(rate(0.2))
    assert first.before[:3] == second.before[:3]
    assert len(made) - count < count


def test_the_random_state_is_put_back() -> None:
    state = torch.get_rng_state()
    Prover(experiment()).verify(rate(1e-5))
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize(
    ("seeds", "error"),
    [(2, OptionError), ([1, 1, 2], OptionError), ("3", OptionTypeError), (True, OptionTypeError), (2.5, OptionTypeError)],
)
def test_seeds_that_prove_nothing(seeds: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        Prover(experiment()).verify(rate(0.1), seeds=seeds)


def test_a_change_that_does_not_fit() -> None:
    with pytest.raises(ModelError, match="cannot be applied here"):
        Prover(experiment()).verify(Change(kind="no_dropout"))


def test_findings_that_cannot_be_proved() -> None:
    watched = Finding(symptom="lr_too_high", summary=text("x"), change=rate(0.1))
    with pytest.raises(OptionError, match="belongs to no experiment"):
        watched.verify()
    bound = Finding(symptom="insufficient_data", summary=text("x"))
    object.__setattr__(bound, "_prover", Prover(experiment()))
    with pytest.raises(OptionError, match="no change that can be applied"):
        bound.verify()


def test_what_it_says() -> None:
    proof = Prover(experiment(1e-5)).verify(rate(0.1))
    assert str(proof).startswith(f"The remedy helps: over {len(proof.seeds)} seeds accuracy went from 0.")
    assert "95 % interval [" in str(proof)
    assert "budget" not in str(proof)
    assert str(replace(proof, complete=False)).endswith(f"The budget cut each training to {proof.steps} updates.")
    with use_language("zh"):
        assert str(proof) == proof.summary.render("zh")
    assert Verification.from_dict(proof.to_dict()) == proof
