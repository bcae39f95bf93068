"""The estimators: scikit-learn's own checks, an oracle for the training, and what scikit-learn's users do with an estimator."""

from __future__ import annotations

import copy
import hashlib
import os
import pickle
import random
import subprocess
import sys
import threading
import warnings
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas
import polars
import pytest
import torch
from joblib import parallel_config
from sklearn.base import BaseEstimator, clone
from sklearn.compose import make_column_transformer
from sklearn.datasets import load_iris, make_regression
from sklearn.exceptions import DataConversionWarning, NotFittedError
from sklearn.impute import SimpleImputer
from sklearn.model_selection import GridSearchCV, StratifiedKFold, cross_val_predict, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.utils.estimator_checks import check_estimator, parametrize_with_checks
from torch import nn

import pellucid
from pellucid.core.errors import DataError, DivergenceError, OptionError, OptionTypeError
from pellucid.core.language import use_language
from pellucid.core.options import BY_NAME
from pellucid.training.estimators import NetworkClassifier, NetworkRegressor
from pellucid.training.randomness import epoch_order

FEW = {"epochs": 15, "random_state": 0}  # enough where the test is not about how good the network is


def blobs(samples: int = 90, features: int = 4, classes: int = 3, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(seed)
    y = np.arange(samples) % classes
    return draw.normal(size=(classes, features))[y] * 2 + draw.normal(size=(samples, features)), y


def surface(samples: int = 90, targets: int = 1) -> tuple[np.ndarray, np.ndarray]:
    X, y = make_regression(samples, 5, n_informative=3, n_targets=targets, random_state=0)
    return X, 100.0 + y


class Net(nn.Module):
    """A network of the user's own, of any number of features."""

    def __init__(self, inputs: int = 4, outputs: int = 3) -> None:
        super().__init__()
        self.hidden = nn.Linear(inputs, 8)
        self.output = nn.Linear(8, outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.output(self.hidden(x).tanh())


def mean_of_squares(output: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return (output - targets).square().mean()


# ---------------------------------------------------------------------------------------------------------------- scikit-learn's own checks

VARIANTS: dict[str, BaseEstimator] = {
    "perceptron": NetworkClassifier(network="perceptron", epochs=20, learning_rate=0.05),
    "logistic": NetworkClassifier(network="logistic", optimizer="rmsprop", epochs=20, learning_rate=0.05, class_weight="balanced"),
    "linear regression": NetworkRegressor(network="perceptron", optimizer="momentum", epochs=20),
    "a larger network": NetworkClassifier(
        network="mlp",
        network_options={"hidden": (32, 32), "batch_norm": True},
        activation="gelu",
        dropout=0.1,
        epochs=20,
        label_smoothing=0.05,
    ),
    "early stopping": NetworkClassifier(validation=0.2, epochs=40, patience=15, optimizer="nesterov", schedule="cosine"),
    "early stopping of a regression": NetworkRegressor(validation=0.2, epochs=40, patience=15, optimizer="adam", loss="huber", clip=1.0),
    "other losses": NetworkClassifier(loss="binary_cross_entropy", optimizer="adagrad", epochs=20, weight_decay=0.0, l1=1e-5),
}


@pytest.mark.slow  # the defaults, and all losses and optimizers one by one, are in the default suite
@pytest.mark.parametrize("name", VARIANTS)
def test_check_estimator(name: str) -> None:
    """No check is expected to fail. The one that asks for SCIPY_ARRAY_API in the environment is made in the test of the defaults."""
    results = check_estimator(VARIANTS[name], on_fail="raise", on_skip=None)
    assert len(results) >= 55
    assert {result["status"] for result in results} <= {"passed", "skipped"}
    assert {result["check_name"] for result in results if result["status"] == "skipped"} <= {"check_array_api_input"}


@pytest.mark.slow
def test_check_estimator_in_chinese() -> None:
    """Some checks look for words in messages."""
    with use_language("zh"):
        check_estimator(NetworkClassifier(network="logistic", epochs=20, learning_rate=0.05), on_fail="raise", on_skip=None)


def test_check_estimator_with_the_defaults_and_nothing_skipped() -> None:
    """In a process of its own, whose environment lets the check of array libraries be made."""
    program = (
        "from pellucid import NetworkClassifier, NetworkRegressor\n"
        "from sklearn.utils.estimator_checks import check_estimator\n"
        "for estimator in (NetworkClassifier(epochs=20), NetworkRegressor(epochs=20)):\n"
        "    print({result['status'] for result in check_estimator(estimator)})\n"
    )
    environment = {**os.environ, "SCIPY_ARRAY_API": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, env=environment, check=False)
    assert done.stdout.split("\n")[:2] == ["{'passed'}"] * 2, done.stderr


@pytest.mark.slow
@parametrize_with_checks([NetworkClassifier(), NetworkRegressor()])
def test_each_check_with_the_defaults(estimator: Any, check: Any) -> None:
    check(estimator)


# ------------------------------------------------------------------------------------------------------------------------------- the oracle

PLAIN = {
    "sgd": (0.1, lambda parameters: torch.optim.SGD(parameters, lr=0.1)),
    "momentum": (0.05, lambda parameters: torch.optim.SGD(parameters, lr=0.05, momentum=0.9)),
    "adamw": (0.01, lambda parameters: torch.optim.AdamW(parameters, lr=0.01, weight_decay=0.0)),
}


def plain_training(
    X: np.ndarray, y: np.ndarray, weights: np.ndarray, network: nn.Module, optimizer: torch.optim.Optimizer, epochs: int, regression: bool
) -> list[float]:
    """The same training again, slower and simpler: the samples in the order of their hashes, standardised, 32 at a time."""

    def digest(row: np.ndarray) -> bytes:
        return hashlib.blake2b((row.astype("<f8") + 0.0).tobytes(), digest_size=16).digest()

    keys = [hashlib.blake2b(digest(x) + digest(np.atleast_1d(t)), digest_size=16).hexdigest() for x, t in zip(X, y, strict=True)]
    order = [index for index in sorted(range(len(X)), key=keys.__getitem__) if weights[index]]
    X, y, weights = X[order], y[order], weights[order]
    inputs = torch.tensor((X - X.mean(axis=0)) / X.std(axis=0), dtype=torch.float32)
    targets = torch.tensor((y - y.mean()) / y.std(), dtype=torch.float32)[:, None] if regression else torch.tensor(y)
    shares = torch.tensor(weights / weights.mean(), dtype=torch.float32)
    losses = []
    network.train()
    for epoch in range(epochs):
        total = 0.0
        for chosen in epoch_order(len(inputs), 7, epoch).split(32):
            output = network(inputs[chosen])
            if regression:
                each = (output - targets[chosen])[:, 0] ** 2
            else:
                each = nn.functional.cross_entropy(output, targets[chosen], reduction="none")
            loss = (shares[chosen] * each).mean()
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            total += loss.item() * len(chosen)
        losses.append(total / len(inputs))
    return losses


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("regression", [False, True])
@pytest.mark.parametrize("optimizer", PLAIN)
def test_losses_and_weights_equal_those_of_a_plain_loop(optimizer: str, regression: bool, weighted: bool) -> None:
    X, y = surface(90) if regression else blobs(90)
    network = Net(X.shape[1], 1 if regression else 3)
    weights = np.random.default_rng(1).integers(0, 4, len(X)).astype(float) if weighted else np.ones(len(X))
    rate, make = PLAIN[optimizer]
    made = NetworkRegressor if regression else NetworkClassifier
    estimator = made(
        network=network,
        optimizer=optimizer,
        learning_rate=rate,
        schedule="constant",
        epochs=4,
        batch_size=32,
        weight_decay=0.0,
        random_state=7,
    ).fit(X, y, sample_weight=weights if weighted else None)
    plain = copy.deepcopy(network)
    losses = plain_training(X, y, weights, plain, make(plain.parameters()), 4, regression)
    assert estimator.loss_curve_ == pytest.approx(losses, rel=1e-6)
    for ours, theirs in zip(estimator.network_.parameters(), plain.parameters(), strict=True):
        assert torch.allclose(ours, theirs, rtol=1e-5, atol=1e-7)


def test_a_run_that_is_kept_is_that_of_fit(tmp_path: Path) -> None:
    """The same arrays, options and parts: the same weights."""
    X, y = blobs()
    estimator = NetworkClassifier(validation=0.25, directory=tmp_path / "runs", **FEW).fit(X, y)
    again = pellucid.load(estimator.run_.directory)
    assert again.status == "finished"
    assert again.task.classes == ("0", "1", "2")
    assert np.array_equal(again.predict(X).labels, estimator.predict(X))
    assert np.allclose(again.predict(X).probabilities, estimator.predict_proba(X), atol=1e-6)
    assert estimator.loss_curve_ == [row["train"]["running_loss"] for row in again.history]
    assert set(again.metrics) == {"train", "validation"}
    with pytest.raises(OptionError, match="sample_weight and directory"):
        estimator.fit(X, y, sample_weight=np.arange(90))
    with pytest.raises(OptionError, match="warm_start and directory"):
        NetworkClassifier(directory=tmp_path / "runs", warm_start=True, **FEW).fit(X, y)


# --------------------------------------------------------------------------------------------------------------------------- sample weights


def test_only_the_samples_count() -> None:
    """Not their order, not their number type, not how copies are written down."""
    X, y = blobs()
    X = np.round(X)
    weights = np.random.default_rng(0).integers(0, 4, len(X))
    expected = NetworkClassifier(**FEW).fit(X, y, sample_weight=weights).predict_proba(X)
    shuffled = np.random.default_rng(1).permutation(len(X))
    repeated = np.repeat(np.arange(len(X)), weights)
    same = {
        "other order": (X[shuffled], y[shuffled], weights[shuffled]),
        "copies": (X[repeated], y[repeated], None),
        "whole numbers": (X.astype(np.int64), y, weights),
        "four times the weight": (X, y, 4 * weights),
        "labels of another kind": (X, np.asarray(["a", "b", "c"])[y], weights),
    }
    for name, arguments in same.items():
        assert np.array_equal(NetworkClassifier(**FEW).fit(*arguments).predict_proba(X), expected), name
    assert not np.allclose(NetworkClassifier(**FEW).fit(X, y).predict_proba(X), expected)
    # held-out samples count by their weights too
    stopped = [NetworkClassifier(validation=0.3, **FEW).fit(*same[name]).predict_proba(X) for name in ("other order", "copies")]
    assert np.array_equal(*stopped)


def test_weights_of_classes_multiply_weights_of_samples() -> None:
    X, y = blobs()
    of_class = np.asarray([1.0, 4.0, 0.5])
    weights = np.random.default_rng(0).uniform(0.5, 2, len(X))
    expected = NetworkClassifier(**FEW).fit(X, y, sample_weight=weights * of_class[y]).predict_proba(X)
    for class_weight in ({0: 1, 1: 4, 2: 0.5}, [1, 4, 0.5], "1,4,0.5", {1: 4, 2: 0.5}):
        got = NetworkClassifier(class_weight=class_weight, **FEW).fit(X, y, sample_weight=weights).predict_proba(X)
        assert np.array_equal(got, expected), class_weight
    y = (y == 1).astype(int)  # one of three
    balanced = NetworkClassifier(class_weight="balanced", **FEW).fit(X, y).predict_proba(X)
    assert np.array_equal(balanced, NetworkClassifier(class_weight={0: 0.75, 1: 1.5}, **FEW).fit(X, y).predict_proba(X))


def test_weights_with_a_loss_of_the_users_own() -> None:
    X, y = surface()
    estimator = NetworkRegressor(loss=mean_of_squares, **FEW)
    plain = estimator.fit(X, y).predict(X)
    assert np.allclose(plain, NetworkRegressor(loss="mse", **FEW).fit(X, y).predict(X), rtol=1e-5)
    assert np.array_equal(estimator.fit(X, y, sample_weight=np.full(len(X), 3.0)).predict(X), plain)
    assert estimator.fit(np.r_[X, X[:5]], np.r_[y, y[:5]]).score(X, y) > -1  # copies stay copies
    with pytest.raises(OptionError, match="loss is your own function"):
        estimator.fit(X, y, sample_weight=np.arange(len(X)))


# ------------------------------------------------------------------------------------------------------------ what users do with estimators


def test_searches_over_a_pipeline() -> None:
    X, y = load_iris(return_X_y=True)
    X = X.copy()
    X[::17, 1] = np.nan
    pipeline = make_pipeline(SimpleImputer(), StandardScaler(), NetworkClassifier(random_state=0, epochs=30))
    grid = {
        "networkclassifier__network_options": [{"hidden": (8,)}, {"hidden": (32, 16)}],
        "networkclassifier__learning_rate": [0.001, 0.02],
    }
    search = GridSearchCV(pipeline, grid, cv=3).fit(X, y)
    assert search.best_params_["networkclassifier__learning_rate"] == 0.02
    assert search.best_score_ > 0.9
    assert search.predict(X).shape == y.shape


def test_weights_through_a_pipeline() -> None:
    X, y = blobs()
    weights = np.arange(len(X)) % 3
    pipeline = make_pipeline(StandardScaler(), NetworkClassifier(**FEW)).fit(X, y, networkclassifier__sample_weight=weights)
    alone = NetworkClassifier(**FEW).fit(StandardScaler().fit_transform(X), y, sample_weight=weights)
    assert np.array_equal(pipeline.predict_proba(X), alone.predict_proba(StandardScaler().fit_transform(X)))
    zeroed = NetworkClassifier(class_weight={0: 1, 1: 1, 2: 0}, validation=0.2, **FEW).fit(X, y)
    assert not (zeroed.predict(X) == 2).any()


@pytest.mark.slow
def test_two_processes_and_two_threads_give_what_one_gives() -> None:
    X, y = blobs()
    grid = [{"dropout": [0.0, 0.3]}, {"network": [Net()]}]

    def found(**keywords: Any) -> np.ndarray:
        return (
            GridSearchCV(NetworkClassifier(**FEW), grid, cv=3, scoring="neg_log_loss", **keywords).fit(X, y).cv_results_["mean_test_score"]
        )

    alone = found()
    assert len(set(alone.tolist())) == 3
    assert np.array_equal(alone, found(n_jobs=2))
    with parallel_config("threading", n_jobs=2):
        assert np.array_equal(alone, found())


def test_cross_validation() -> None:
    X, y = load_iris(return_X_y=True)
    folds = StratifiedKFold(3, shuffle=True, random_state=0)
    chances = cross_val_predict(NetworkClassifier(random_state=0), X, y, cv=folds, method="predict_proba")
    assert chances.shape == (150, 3)
    assert np.allclose(chances.sum(axis=1), 1)
    assert (chances.argmax(axis=1) == y).mean() > 0.93
    assert cross_val_score(NetworkRegressor(random_state=0), *surface(), cv=3).min() > 0.8


@pytest.mark.parametrize("store", ["pickle", "joblib"])
@pytest.mark.parametrize("estimator", [NetworkClassifier(**FEW), NetworkClassifier(network=Net(), **FEW), NetworkRegressor(**FEW)])
def test_stored_and_read_again(estimator: Any, store: str, tmp_path: Path) -> None:
    X, y = blobs() if isinstance(estimator, NetworkClassifier) else surface()
    fitted = clone(estimator).fit(X, y)
    if store == "pickle":
        again = pickle.loads(pickle.dumps(fitted))
    else:
        joblib.dump(fitted, tmp_path / "estimator.joblib")
        again = joblib.load(tmp_path / "estimator.joblib")
    assert np.array_equal(again.predict(X), fitted.predict(X))
    assert repr(again.get_params()) == repr(fitted.get_params()) or isinstance(fitted.network, nn.Module)
    with pytest.raises(NotFittedError):
        clone(fitted).predict(X)


@pytest.mark.parametrize("library", [pandas, polars])
def test_frames(library: Any) -> None:
    X, y = blobs(classes=2)
    names = ["length", "width", "wing", "质量"]
    frame = library.DataFrame({name: X[:, column] for column, name in enumerate(names)})
    labels = library.Series(np.asarray(["benign", "malignant"])[y])
    fitted = NetworkClassifier(**FEW).fit(frame, labels)
    assert fitted.feature_names_in_.tolist() == names
    assert fitted.classes_.tolist() == ["benign", "malignant"]
    assert set(fitted.predict(frame)) <= {"benign", "malignant"}
    with pytest.raises(ValueError, match="feature names should match"):
        fitted.predict(frame[names[::-1]])
    with pytest.warns(UserWarning, match="does not have valid feature names"):
        fitted.predict(X)
    pipeline = make_pipeline(StandardScaler(), NetworkClassifier(**FEW))
    output = "pandas" if library is pandas else "polars"
    pipeline.set_output(transform=output).fit(frame, labels)
    assert pipeline[-1].feature_names_in_.tolist() == names
    assert (pipeline.predict(frame) == np.asarray(labels)).mean() > 0.9


@pytest.mark.parametrize("optimizer", BY_NAME["optimizer"].choices)
def test_every_optimizer_learns_at_its_customary_rate(optimizer: str) -> None:
    X, y = blobs()
    fitted = NetworkClassifier(optimizer=optimizer, **FEW).fit(X, y)
    assert fitted.loss_curve_[-1] < 0.8 * fitted.loss_curve_[0]


def test_several_targets() -> None:
    X, y = surface(targets=2)
    y[:, 1] *= 1000
    fitted = NetworkRegressor(random_state=0).fit(X, y)
    assert fitted.predict(X).shape == y.shape
    assert fitted.predict(X).dtype == np.float64
    assert fitted.score(X, y) > 0.9
    with pytest.warns(DataConversionWarning, match="column-vector y"):
        column = NetworkRegressor(**FEW).fit(X, y[:, :1])
    assert column.predict(X).shape == (len(X),)


def test_images() -> None:
    draw = np.random.default_rng(0)
    y = draw.integers(0, 2, 60)
    X = draw.integers(0, 100, size=(60, 1, 8, 8), dtype=np.uint8)
    X[np.arange(60), 0, 4 * y] += 100
    fitted = NetworkClassifier(network="cnn", epochs=15, random_state=0).fit(X, y)
    assert fitted.score(X, y) > 0.9
    assert np.allclose(fitted.predict_proba(X)[:3], fitted.predict_proba(X[:3]), atol=1e-5)
    grey = NetworkClassifier(network="cnn", epochs=15, random_state=0).fit(X[:, 0], y)  # without their channel
    assert np.array_equal(grey.predict_proba(X[:, 0]), fitted.predict_proba(X))
    with pytest.raises(DataError, match="samples of shape"):
        fitted.predict(X[:, :, :4])


def test_an_answer_does_not_depend_on_its_neighbours() -> None:
    X, y = blobs()
    fitted = NetworkClassifier(**FEW).fit(X, y)
    together = fitted.predict_proba(X)
    assert np.allclose(np.concatenate([fitted.predict_proba(X[i : i + 1]) for i in range(len(X))]), together, rtol=1e-13, atol=0)
    assert np.allclose(fitted.predict_log_proba(X), np.log(together), rtol=1e-12)
    assert next(fitted.network_.parameters()).dtype == torch.float32


def test_early_stopping_keeps_the_best_epoch() -> None:
    X, y = blobs(60)
    y[::5] = (y[::5] + 1) % 3  # labels that only memory can explain
    estimator = NetworkClassifier(validation=0.3, epochs=300, patience=12, dropout=0.0, weight_decay=0.0, learning_rate=0.02,
                                  schedule="constant", random_state=0)  # fmt: skip
    fitted = estimator.fit(X, y)
    losses = [row["validation"]["loss"] for row in fitted.history_]
    assert fitted.kept_epoch_ == 1 + int(np.argmin(losses))
    assert fitted.n_iter_ == len(losses) == fitted.kept_epoch_ + 12 < 300
    shorter = clone(estimator).set_params(epochs=fitted.kept_epoch_).fit(X, y)
    assert np.array_equal(shorter.predict_proba(X), fitted.predict_proba(X))
    through = clone(estimator).set_params(validation=None, patience="auto", epochs=30).fit(X, y)
    assert through.n_iter_ == through.kept_epoch_ == 30
    assert len(through.history_[0]) == 5  # nothing is measured that nobody asked for
    assert (
        clone(estimator).set_params(validation=None, patience=3, learning_rate=0.5, optimizer="sgd", batch_size=16).fit(X, y).n_iter_ < 300
    )


def test_warm_start_goes_on() -> None:
    X, y = blobs()
    estimator = NetworkClassifier(warm_start=True, **FEW).fit(X, y)
    first, scaling = estimator.loss_curve_, estimator.preprocessing_
    estimator.fit(X + 0.01, y)
    assert estimator.loss_curve_[0] < 0.7 * first[0]
    assert estimator.preprocessing_ is scaling
    assert estimator.set_params(warm_start=False).fit(X, y).loss_curve_ == first
    with pytest.raises(DataError, match="y holds"):
        estimator.set_params(warm_start=True).fit(X, y == 1)
    with pytest.raises(ValueError, match="samples of shape"):
        estimator.fit(X[:, :2], y)


def test_the_range_test_is_made_when_asked_for() -> None:
    X, y = blobs()
    customary = NetworkClassifier(optimizer="momentum", **FEW).fit(X, y)
    measured = NetworkClassifier(optimizer="momentum", learning_rate="range_test", **FEW).fit(X, y)
    assert customary.settings_["learning_rate"] == 0.05
    assert measured.settings_["learning_rate"] != 0.05
    assert measured.score(X, y) > 0.8


# --------------------------------------------------------------------------------------------------------------------------- random numbers


def test_random_state() -> None:
    X, y = blobs()

    def chances(random_state: Any) -> np.ndarray:
        return NetworkClassifier(epochs=3, random_state=random_state).fit(X, y).predict_proba(X)

    assert np.array_equal(chances(3), chances(np.int64(3)))
    assert np.array_equal(chances(np.random.RandomState(3)), chances(np.random.RandomState(3)))
    assert not np.array_equal(chances(3), chances(4))
    assert not np.array_equal(chances(None), chances(None))
    fresh = NetworkClassifier(epochs=3).fit(X, y)
    assert np.array_equal(chances(fresh.seed_), fresh.predict_proba(X))
    generator = np.random.RandomState(3)
    assert not np.array_equal(chances(generator), chances(generator))
    for wrong in ("seed", 1.5, -1):
        with pytest.raises(ValueError):
            chances(wrong)


@pytest.mark.parametrize("random_state", [0, None])
def test_nothing_of_the_users_changes(random_state: Any, capfd: Any, tmp_path: Path) -> None:
    """Random states, threads, number types, warning filters, arrays, the network given; nothing is printed and no file is made."""
    X, y = blobs()
    before = X.copy(), y.copy()
    network = Net().eval()
    weights = copy.deepcopy(network.state_dict())
    state = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
    settings = torch.get_num_threads(), torch.get_default_dtype(), list(warnings.filters), threading.active_count(), torch.is_grad_enabled()
    NetworkClassifier(network=network, epochs=3, random_state=random_state, validation=0.2).fit(X, y).predict(X)
    assert (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()) == state
    after = torch.get_num_threads(), torch.get_default_dtype(), list(warnings.filters), threading.active_count(), torch.is_grad_enabled()
    assert after == settings
    assert np.array_equal(X, before[0])
    assert np.array_equal(y, before[1])
    assert all(torch.equal(value, weights[name]) for name, value in network.state_dict().items())
    assert not network.training
    assert capfd.readouterr() == ("", "")
    assert list(tmp_path.iterdir()) == []


# -------------------------------------------------------------------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("parameters", "error", "message"),
    [
        ({"optimizer": "adm"}, OptionError, "did you mean 'adam'"),
        ({"network": "mpl"}, OptionError, "did you mean 'mlp'"),
        ({"network_options": {"hiden": 3}}, OptionTypeError, "hiden"),
        ({"network_options": 3}, OptionTypeError, "network_options is 3"),
        ({"epochs": 0}, OptionError, "epochs is 0"),
        ({"epochs": "many"}, OptionTypeError, "epochs is 'many'"),
        ({"learning_rate": -1.0}, OptionError, "learning_rate is -1"),
        ({"learning_rate": "rangetest"}, OptionTypeError, "learning_rate is 'rangetest'"),
        ({"dropout": 1.0}, OptionError, "dropout is 1"),
        ({"validation": -0.1}, OptionError, "validation is -0.1"),
        ({"validation": 90}, DataError, "leave none to train on"),
        ({"class_weight": {7: 2.0, 1: 1.0}}, ValueError, "are not in class_weight"),
        ({"class_weight": [1.0, 2.0]}, OptionError, "class_weight"),
        ({"class_weight": [1.0, 2.0, -1.0]}, OptionError, "class_weight"),
        ({"loss": "mse", "label_smoothing": 0.1}, OptionError, "label_smoothing"),
        ({"device": "tpu"}, OptionError, "device is 'tpu'"),
        ({"augment": "flip"}, OptionError, "augment is flip"),
        ({"activation": "rellu"}, OptionError, "relu"),
        ({"network": Net(7)}, ValueError, "your network failed"),
        (
            {"learning_rate": 1000.0, "optimizer": "sgd", "weight_decay": 100.0},
            DivergenceError,
            "learning rate",
        ),
    ],
)
def test_options(parameters: dict[str, Any], error: type[Exception], message: str) -> None:
    X, y = blobs()
    with pytest.raises(error, match=message):
        NetworkClassifier(**{**FEW, **parameters}).fit(X, y)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda X, y: (np.where(X > 2, np.nan, X), y), "contains NaN"),
        (lambda X, y: (np.where(X > 2, 1e200, X), y), "in size"),
        (lambda X, y: (X, y * 0), "only one class"),
        (lambda X, y: (X, y * 0.3), "Unknown label type"),
        (lambda X, y: (X, np.eye(3)[y]), "1d array"),
        (lambda X, y: (X[:10], y), "inconsistent numbers of samples"),
        (lambda X, y: (np.where(X > 2, "two", X.astype(object)), y), "could not convert string"),
        (lambda X, y: (X[0], y[:1]), "Expected 2D array"),
    ],
)
def test_data(change: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        NetworkClassifier(**FEW).fit(*change(*blobs()))


@pytest.mark.parametrize(
    ("weights", "message"),
    [(np.zeros(90), "zero"), (-np.ones(90), "sample_weight.0. is -1"), (np.ones(3), "sample_weight"), ([np.nan] * 90, "NaN")],
)
def test_weights(weights: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        NetworkClassifier(**FEW).fit(*blobs(), sample_weight=weights)


def test_parameters() -> None:
    """Those of classes belong to the classifier alone; all but an estimator's own are options of `fit`; `__init__` only stores."""
    parameters = NetworkClassifier().get_params()
    assert set(parameters) - set(NetworkRegressor().get_params()) == {"class_weight", "label_smoothing"}
    assert set(parameters) - set(BY_NAME) == {"random_state", "warm_start"}
    differing = {name for name in set(parameters) & set(BY_NAME) if parameters[name] != BY_NAME[name].default}
    assert differing == {"validation", "directory"}
    strange = object()
    assert NetworkClassifier(epochs=strange).epochs is strange


@pytest.mark.parametrize("missing", [None, 1])
def test_labels_of_several_types_are_named(missing: object) -> None:
    y = np.array(["a", missing] * 20, dtype=object)
    with pytest.raises(ValueError, match="several types"):
        NetworkClassifier(epochs=1).fit(np.zeros((40, 2)), y)


STRANGE: dict[str, Any] = {
    "pandas, texts": lambda: pandas.DataFrame({"size": range(40), "colour": ["red", "blue"] * 20}),
    "pandas, categories": lambda: pandas.DataFrame({"size": range(40), "colour": pandas.Categorical(["red", "blue"] * 20)}),
    "polars, texts": lambda: polars.DataFrame({"size": range(40), "colour": ["red", "blue"] * 20}),
    "polars, categories": lambda: polars.DataFrame({"size": range(40), "colour": ["red", "blue"] * 20}, schema_overrides={
        "colour": polars.Categorical}),
    "dates": lambda: pandas.DataFrame({"size": range(40), "colour": pandas.date_range("2020", periods=40)}),
}  # fmt: skip


@pytest.mark.parametrize("kind", STRANGE)
def test_columns_without_numbers_are_named_with_one_remedy_that_works(kind: str) -> None:
    frame, y = STRANGE[kind](), np.arange(40) % 2
    with pytest.raises(DataError, match=r"texts, categories or dates: colour") as caught:
        NetworkClassifier(**FEW).fit(frame, y)
    remedy = str(caught.value.do)
    assert "give a frame" not in remedy
    assert "OneHotEncoder" in remedy
    encoded = make_column_transformer((OneHotEncoder(handle_unknown="ignore"), ["colour"]), remainder="passthrough", sparse_threshold=0)
    assert set(make_pipeline(encoded, NetworkClassifier(**FEW)).fit(frame, y).predict(frame)) <= {0, 1}


def test_frames_of_numbers_in_every_type_are_taken() -> None:
    frame = pandas.DataFrame(
        {"a": pandas.Categorical([1, 2] * 20), "b": pandas.array([True, False] * 20, dtype="boolean"),
         "c": pandas.array(range(40), dtype="Int64"), "d": pandas.Series([1, 2.5] * 20, dtype=object)}
    )  # fmt: skip
    assert len(NetworkClassifier(**FEW).fit(frame, np.arange(40) % 2).predict(frame)) == 40
