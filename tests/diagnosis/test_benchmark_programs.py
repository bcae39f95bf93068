"""The tables of the benchmark of `diagnose` are whole: split, sizes, labels of the vocabulary, addresses, and programs that run."""

from __future__ import annotations

import random
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))

from diagnosis_programs import faults, healthy, real_cases  # noqa: E402
from diagnosis_programs.bases import BASES, PARTS  # noqa: E402
from diagnosis_programs.data import SHARED  # noqa: E402

CAUSES = frozenset(
    [
        "wrong_output_activation",
        "missing_output_activation",
        "wrong_loss",
        "double_softmax",
        "softmax_wrong_axis",
        "unstable_loss",
        "loss_reduction_sum",
        "missing_activation",
        "wrong_hidden_activation",
        "saturating_activation",
        "shape_broadcast",
        "wrong_output_units",
        "bad_init",
        "frozen_weights",
        "detached_branch",
        "wrong_mode",
        "unnormalised_input",
        "unnormalised_target",
        "double_normalised_input",
        "label_encoding",
        "single_class_labels",
        "class_imbalance",
        "noisy_labels",
        "labels_misaligned",
        "data_leakage",
        "train_test_preprocess_mismatch",
        "uninformative_input",
        "insufficient_data",
        "outliers_with_mse",
        "bad_batch_size",
        "wrong_optimizer",
        "too_few_epochs",
        "over_regularised",
        "capacity",
        "lr_too_high",
        "lr_too_low",
        "missing_zero_grad",
        "flipped_gradient",
        "no_shuffle",
        "vanishing_gradient",
        "exploding_gradient",
        "dead_relu",
        "nan",
        "leaky_batch",
        "wrong_gradient",
    ]
)
FREE = ("wine", "cancer", "digits-mlp", "digits-cnn")  # base programs on data that scikit-learn has
needs_data = pytest.mark.skipif(not SHARED.exists(), reason="needs the shared data sets")


def test_every_base_program_is_in_one_part() -> None:
    named = [name for names in PARTS.values() for name in names]
    assert sorted(named) == sorted(BASES)
    assert len(named) == len(set(named)) >= 12


def test_every_cause_is_injected() -> None:
    assert frozenset(faults.rows()) == CAUSES


@needs_data
@pytest.mark.shared_data
def test_the_sample_is_fixed_and_stratified() -> None:
    names = faults.sample()
    assert len(names) == len(set(names)) == faults.SAMPLE
    assert [faults.part_of(name) for name in names].count("tuning") == faults.SAMPLE // 2
    assert {name.split("/")[0] for name in names} == CAUSES
    assert {name.split("/")[2] for name in names} == set(faults.STRENGTHS)


def test_there_are_enough_healthy_programs_and_real_cases() -> None:
    assert len(healthy.NAMES) >= 150
    assert len(real_cases.NAMES) >= 25


@needs_data
@pytest.mark.shared_data
def test_real_cases_name_their_thread_and_a_cause() -> None:
    cases = [real_cases.program(name) for name in real_cases.NAMES]
    assert all(case.address.startswith("http") and case.cause in CAUSES for case in cases)
    assert len({case.address for case in cases}) == len(cases)


@pytest.mark.filterwarnings("ignore:Using a target size")
def test_faulty_programs_differ_from_their_base_and_run() -> None:
    names = [f"{cause}/{base}/{strength}" for cause in faults.rows() for base in FREE for strength in faults.STRENGTHS]
    made = [program for name in random.Random(0).sample(names, 40) if (program := faults.named(*name.split("/"))) is not None]
    assert len(made) > 20
    for program in made:
        base = BASES[program.name.split("/")[1]].experiment()
        fields = ("model", "loss", "optimizer", "train", "test", "batch_size", "epochs", "scheduler", "step", "shuffle")
        changed = [field for field in fields if getattr(program.experiment, field) is not getattr(base, field)]
        assert changed, program.name
        assert program.where, program.name
        trial = program.experiment.run(0, steps=2, score=False)
        assert trial.error is None, (program.name, trial.error)


@pytest.mark.parametrize("name", ["twin/wine/wider", "recipe/own_network", "loss/focal", "output/cosine head", "setting/batches of one"])
def test_healthy_programs_learn(name: str) -> None:
    program = healthy.program(name)
    trial = program.experiment.run(0)
    assert trial.error is None
    assert program.least is not None
    assert trial.score is not None
    assert trial.score >= program.least
