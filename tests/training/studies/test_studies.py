"""How much more data, which remedy: by the command that a user gives, on data whose answer is known."""

from __future__ import annotations

import json
from statistics import fmean

import numpy as np
import pytest

import pellucid
from pellucid.core.errors import DataError
from pellucid.core.records import Task
from pellucid.core.studies import curve_sentences, options_of, remedy_sentences
from pellucid.training.studies.learning_curve import described, needed_for

QUICK = {"baselines": False, "report": False, "learning_rate": 0.01, "epochs": 3, "batch_size": 32}


def clouds(samples: int, classes: int = 2, noise: float = 1.0, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(seed)
    y = np.arange(samples) % classes
    return (draw.normal(size=(classes, 8))[y] + noise * draw.normal(size=(samples, 8))).astype(np.float32), y


@pytest.fixture(scope="module")
def studied(tmp_path_factory):
    return pellucid.fit(
        *clouds(600), network="logistic", learning_curve=True, directory=tmp_path_factory.mktemp("runs"), **{**QUICK, "report": True}
    )


def test_the_curve_of_a_training(studied):
    curve = studied.learning_curve
    sizes = [point.samples for point in curve.points]
    train = sum(letter == "t" for letter in json.loads((studied.directory / "data.json").read_text())["parts"])
    assert sizes == [train >> halvings for halvings in range(len(sizes))][::-1]
    assert all(len(point.errors) == 3 for point in curve.points)
    assert fmean(curve.points[-1].errors) <= fmean(curve.points[0].errors)
    assert curve.metric == "accuracy"
    assert curve.part == "test"
    assert all(needed.low is None or needed.high is None or needed.low <= needed.samples <= needed.high for needed in curve.needed)
    assert [str(sentence) for sentence in curve_sentences(curve)]
    page = (studied.directory / "report.html").read_text()
    assert 'id="learning_curve"' in page
    assert 'id="remedies"' not in page  # nobody asked


def test_too_few_samples_for_a_curve_are_refused_before_the_training(tmp_path):
    with pytest.raises(DataError, match=r"at least 160 training samples"):
        pellucid.fit(*clouds(100), learning_curve=True, directory=tmp_path, **QUICK)
    assert not list(tmp_path.iterdir())


def test_held_back_points_are_foretold():
    """A law that holds is confirmed at the size that it was not shown; one that breaks is doubted."""
    sizes, random = [50, 100, 200, 400, 800, 1600], np.random.default_rng(0)
    errors = {n: [float(4 * n**-0.5 * np.exp(0.05 * random.standard_normal())) for _ in range(3)] for n in sizes}
    curve = described(errors, 10_000, metric="rmse", complement=False, part="test", seconds=1.0)
    assert curve.held_back.right
    needed = needed_for(curve, 4 * 6400**-0.5)
    assert needed.low <= 6400 <= needed.high
    broken = described({**errors, 1600: [errors[800][0] * 3] * 3}, 10_000, metric="rmse", complement=False, part="test", seconds=1.0)
    assert not broken.held_back.right
    assert "doubtful" in str(curve_sentences(broken)[-1])


@pytest.mark.slow
def test_remedies_on_a_set_that_is_learnt_by_heart(tmp_path):
    """Forty columns of noise and forty samples a class: a wide network without regularisation overfits, and weights held small help."""
    draw = np.random.default_rng(0)
    y = np.arange(240) % 2
    X = np.hstack([(y * 1.6 - 0.8)[:, None] + draw.normal(size=(240, 1)), draw.normal(size=(240, 40))]).astype(np.float32)
    run = pellucid.fit(
        X, y, network="mlp", network_options={"hidden": (256,)}, weight_decay=0.0, dropout=0.0, learning_rate=0.01, epochs=60,
        patience=60, remedy=True, baselines=False, report=True, directory=tmp_path,
    )  # fmt: skip
    found = run.remedies
    names = {trial.name: trial for trial in found.trials}
    assert {"l2", "l1", "dropout", "smaller", "longer", "larger", "less"} <= set(names)
    assert fmean(found.train_scores) > fmean(found.scores) + 0.1  # it does overfit
    for trial in found.trials:
        assert trial.interval.low <= trial.difference <= trial.interval.high
        assert trial.helps is (True if trial.interval.low > 0 else False if trial.interval.high < 0 else None)
    assert names["less"].helps is not True  # there is nothing to take away
    assert options_of(names["smaller"]) == "--network-option hidden=128"
    assert (found.best is None) == (not any(trial.helps for trial in found.trials))
    assert 'id="remedies"' in (run.directory / "report.html").read_text()
    assert remedy_sentences(found)


def test_a_task_without_classes_has_no_labels_to_smooth():
    from pellucid.training.studies.remedies import remedies

    class Again:
        samples = type("Samples", (), {"task": Task(kind="regression", targets=("y",))})

    settings = type(
        "Settings", (), {"weight_decay": 0.1, "l1": 0.0, "dropout": 0.1, "label_smoothing": 0.0, "augment": "none", "epochs": 5}
    )
    network = {"name": "mlp", "custom": False, "options": {"hidden": (64,)}, "input_shape": [8]}
    found = {remedy.name: remedy.changes for remedy in remedies(settings, network, Again)}
    assert not isinstance(found["label_smoothing"], dict)
    assert found["larger"] == {"network_options": {"hidden": (128,)}}
    assert found["longer"] == {"epochs": 10}
