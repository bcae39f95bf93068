"""fit against the same loop in plain PyTorch, and against what it promises never to touch."""

from __future__ import annotations

import copy
import json
import random

import numpy as np
import polars as pl
import pytest
import torch
from torch import nn

import pellucid
from pellucid.core.errors import DataError, DivergenceError, ModelError, OptionError, OptionTypeError, PellucidError
from pellucid.training.randomness import epoch_order


def blobs(samples: int = 240, features: int = 6, classes: int = 3, noise: float = 1.0, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Gaussian clouds, one per class: easy, but not trivial."""
    draw = np.random.default_rng(seed)
    y = np.arange(samples) % classes
    centres = draw.normal(size=(classes, features)) * 2
    return (centres[y] + noise * draw.normal(size=(samples, features))).astype(np.float32), y


class Net(nn.Module):
    def __init__(self, inputs: int = 6, outputs: int = 3) -> None:
        super().__init__()
        self.hidden = nn.Linear(inputs, 16)
        self.output = nn.Linear(16, outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.output(self.hidden(x).relu())


QUICK = {"baselines": False, "report": False}  # what comes after training has tests of its own
PLAIN = {
    "sgd": lambda parameters: torch.optim.SGD(parameters, lr=0.05),
    "momentum": lambda parameters: torch.optim.SGD(parameters, lr=0.05, momentum=0.9),
    "adam": lambda parameters: torch.optim.Adam(parameters, lr=0.05),
}


@pytest.mark.parametrize("optimizer", PLAIN)
def test_losses_equal_those_of_a_plain_loop(optimizer, tmp_path):
    """The oracle: twenty lines of plain PyTorch on the same batches give the same losses, digit for digit."""
    X, y = blobs()
    network = Net()
    run = pellucid.fit(
        X, y, network=network, optimizer=optimizer, learning_rate=0.05, schedule="constant", epochs=4, patience=4, batch_size=32,
        weight_decay=0.0, seed=3, directory=tmp_path, **QUICK,
    )  # fmt: skip
    ledger = json.loads((run.directory / "data.json").read_text())
    train = pellucid.load(run.directory)._prepare_again((X, y), None).train
    assert ledger["format"] == 1

    plain = copy.deepcopy(network).train()
    plain_optimizer = PLAIN[optimizer](plain.parameters())
    for epoch in range(4):
        total = 0.0
        for chosen in epoch_order(len(train), 3, epoch).split(32):
            inputs, targets = train.inputs[chosen], train.targets[chosen]
            loss = nn.functional.cross_entropy(plain(inputs), targets)
            loss.backward()
            plain_optimizer.step()
            plain_optimizer.zero_grad()
            total += loss.item() * len(inputs)
        assert run.history[epoch]["train"]["running_loss"] == pytest.approx(total / len(train), rel=1e-6)


def test_user_state_is_untouched(tmp_path):
    X, y = blobs()
    X_before, y_before = X.copy(), y.copy()
    network = Net().train()
    before = copy.deepcopy(network.state_dict())
    torch.manual_seed(7)
    np.random.seed(7)
    random.seed(7)
    expected = (torch.rand(3), np.random.rand(3), random.random())
    torch.manual_seed(7)
    np.random.seed(7)
    random.seed(7)
    threads, dtype = torch.get_num_threads(), torch.get_default_dtype()
    pellucid.fit(X, y, network=network, epochs=2, directory=tmp_path, **QUICK)
    assert torch.equal(torch.rand(3), expected[0])
    assert np.array_equal(np.random.rand(3), expected[1])
    assert random.random() == expected[2]
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert network.training
    assert all(parameter.grad is None for parameter in network.parameters())
    assert np.array_equal(X, X_before)
    assert np.array_equal(y, y_before)
    assert (torch.get_num_threads(), torch.get_default_dtype()) == (threads, dtype)


def test_same_seed_same_weights_other_seed_other_weights(tmp_path):
    X, y = blobs()
    options = {"epochs": 2, "directory": tmp_path, "network": "mlp"}
    first, second, third = (pellucid.fit(X, y, seed=seed, **options, **QUICK) for seed in (1, 1, 2))
    weights = [torch.cat([p.flatten() for p in run.model.parameters()]) for run in (first, second, third)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_a_long_table_gets_embedded_columns_and_comes_back_the_same(tmp_path):
    rng = np.random.default_rng(0)
    frame = pl.DataFrame({"size": rng.normal(size=3600), "place": rng.choice(["north", "south", "west"], size=3600)})
    frame = frame.with_columns(price=pl.col("size").abs() + (pl.col("place") == "west").cast(pl.Float64))
    run = pellucid.fit(frame, "price", epochs=2, learning_rate=0.01, directory=tmp_path, **QUICK)
    (inputs,) = run.model.embedding.of_column.shape[1:]
    assert json.loads((run.directory / "run.json").read_text())["network"]["options"]["columns"] == [inputs - 3, 3]
    again = pellucid.load(run.directory)
    assert np.array_equal(run.predict(frame.head(50)).values, again.predict(frame.head(50)).values)


@pytest.mark.parametrize("loader", [False, True])
def test_what_is_learnt_does_not_depend_on_how_fast_the_trial_was(tmp_path, monkeypatch, loader):
    X, y = blobs()
    data, runs = (X, y), []
    for seconds in (0.0, 0.5):
        if loader:
            dataset = torch.utils.data.TensorDataset(torch.as_tensor(X, dtype=torch.float32), torch.as_tensor(y))
            data = torch.utils.data.DataLoader(dataset, 16, shuffle=True, generator=torch.Generator().manual_seed(3))
        monkeypatch.setattr("pellucid.training.decisions.TRIAL_SECONDS", seconds)
        runs.append(pellucid.fit(data, epochs=2, dropout=0.3, network="mlp", directory=tmp_path, baselines=False, report=False))
    first, second = ([parameter.detach() for parameter in run.model.parameters()] for run in runs)
    assert all(torch.equal(one, other) for one, other in zip(first, second, strict=True))


def test_learns_and_loads_and_predicts(tmp_path):
    X, y = blobs(600)
    names = np.array(["red", "green", "blue"])[y]
    run = pellucid.fit(X, names, directory=tmp_path, **QUICK)
    assert run.metrics["test"]["accuracy"] > 0.9
    again = pellucid.load(run.directory)
    predictions = again.predict(X[:10])
    assert predictions.labels is not None
    assert np.mean(np.array(predictions.labels) == names[:10]) >= 0.8
    assert predictions.probabilities is not None
    assert predictions.probabilities.sum(axis=1) == pytest.approx(np.ones(10))
    assert again.evaluate((X, names)).metrics["accuracy"] > 0.9
    assert again.summary is not None
    assert again.status == "finished"
    assert again.metrics == run.metrics


@pytest.mark.parametrize("values", [np.array([0, 1, 2]), np.array([-5, 3, 40]), np.array(["a", "b", "c"]), np.array([False, True])])
def test_labels_compare_with_the_users_own(values, tmp_path):
    X, y = blobs(classes=len(values), noise=0.2)
    run = pellucid.fit(X, values[y], epochs=20, learning_rate=0.02, directory=tmp_path, **QUICK)
    assert (np.array(run.predict(X).labels) == values[y]).mean() > 0.9


def test_regression_in_the_users_units(tmp_path):
    draw = np.random.default_rng(0)
    X = draw.normal(size=(500, 4)).astype(np.float32)
    y = 1000 + 50 * (X[:, 0] - 2 * X[:, 1]) + draw.normal(size=500)
    run = pellucid.fit(X, y, directory=tmp_path, **QUICK)
    assert run.task.kind == "regression"
    assert run.metrics["test"]["r2"] > 0.95
    values = run.predict(X).values
    assert values is not None
    assert abs(values[:, 0].mean() - y.mean()) < 10


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"epoch": 3}, OptionTypeError, "epochs"),
        ({"epochs": 0}, OptionError, "at least 1"),
        ({"learning_rate": -1.0}, OptionError, "learning_rate"),
        ({"learning_rate": float("nan")}, OptionError, "learning_rate"),
        ({"network": "mpl"}, PellucidError, "mlp"),
        ({"network": "cnn"}, ModelError, "cnn"),
        ({"activation": "rellu"}, PellucidError, "relu"),
        ({"network": "mlp", "network_options": {"hiden": (8,)}}, PellucidError, "hidden"),
        ({"device": "cuda:99"}, OptionError, "cpu"),
        ({"until": "acuracy>=0.9"}, OptionError, "accuracy"),
        ({"loss": "mse", "label_smoothing": 0.1}, OptionError, "label_smoothing"),
        ({"augment": "flip"}, OptionError, "images"),
        ({"class_weight": "1,2"}, OptionError, "class_weight"),
        ({"network": nn.Linear(5, 3)}, ModelError, "5"),
        ({"network": nn.Linear(6, 7)}, ModelError, "7"),
        ({"network": 3.5}, PellucidError, "network"),
        ({"network": nn.Linear(6, 3), "activation": "relu"}, OptionError, "activation"),
        ({"network": nn.Linear(6, 3), "dropout": 0.5}, OptionError, "dropout"),
        (
            {"network": nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Linear(8, 3)), "batch_size": 1},
            ModelError,
            "1 value per channel",
        ),
        ({"optimizer": lambda network: None}, OptionTypeError, "optimizer"),
        ({"optimizer": lambda network: torch.optim.SGD(network, lr=0.1)}, ModelError, "not iterable"),
        ({"optimizer": torch.optim.LBFGS}, ModelError, "closure"),
        ({"loss": lambda output, targets: torch.tensor(1.0)}, ModelError, "does not require grad"),
        ({"budget": "soon"}, OptionError, "budget"),
    ],
)
def test_bad_options_name_the_remedy_and_leave_nothing_behind(options, error, words, tmp_path):
    X, y = blobs()
    with pytest.raises(error) as caught:
        pellucid.fit(X, y, directory=tmp_path / "runs", **options, **QUICK)
    assert words in str(caught.value)
    assert isinstance(caught.value, ValueError)
    assert not (tmp_path / "runs").exists()


def test_what_new_rows_have_and_the_training_data_had_not_is_said(tmp_path):
    X, y = blobs()
    frame = pl.DataFrame({"size": X[:, 0], "color": np.array(["red", "green", "blue"])[y], "y": X[:, 1]})
    run = pellucid.fit(frame, "y", epochs=1, learning_rate=0.01, directory=tmp_path, **QUICK)
    strange = frame.with_columns(color=pl.lit("purple"))
    for answer in (run.predict(strange), run.evaluate(strange)):
        assert [notice.where for notice in answer.notices] == ["color"]
    assert not run.predict(frame).notices


@pytest.mark.parametrize("samples", [2, 5, 9])
def test_a_regression_on_samples_too_few_to_hold_any_out(samples, tmp_path):
    X, _ = blobs()
    run = pellucid.fit(X[:samples], X[:samples, 0], epochs=1, learning_rate=0.01, directory=tmp_path, **QUICK)
    assert "test" not in run.metrics


@pytest.mark.parametrize("options", [{"class_weight": np.array([1.0, 2.0, 1.0])}, {"group": np.arange(240) // 2}, {"time": np.arange(240)}])
def test_arrays_as_options(options, tmp_path):
    X, y = blobs()
    assert pellucid.fit(X, y, epochs=1, learning_rate=0.01, directory=tmp_path, **options, **QUICK).metrics["test"]


def test_a_network_that_cannot_be_copied_is_trained_when_a_function_makes_it(tmp_path):
    class Generating(nn.Linear):
        def __init__(self):
            super().__init__(6, 3)
            self.numbers = (number for number in range(3))

    X, y = blobs()
    assert pellucid.fit(X, y, network=Generating, epochs=1, learning_rate=0.01, directory=tmp_path, **QUICK).metrics["test"]
    with pytest.raises(ModelError, match="learning-rate"):
        pellucid.fit(X, y, network=Generating, epochs=1, directory=tmp_path, **QUICK)


def test_misspelled_keyword_is_a_type_error(tmp_path):
    with pytest.raises(TypeError, match="epochs"):
        pellucid.fit(*blobs(), epoch=3, directory=tmp_path, **QUICK)


@pytest.mark.parametrize("good_steps", [0, 5, 12])  # before the first step, within the first epoch, in the second
def test_divergence_keeps_the_last_good_weights(good_steps, tmp_path):
    class Exploding(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(6, 3)
            self.steps = 0

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.steps += self.training
            return self.linear(x) * (float("nan") if self.steps > good_steps else 1.0)

    X, y = blobs()
    with pytest.raises(DivergenceError, match="NaN"):
        pellucid.fit(
            X, y, network=Exploding(), epochs=5, batch_size=16, learning_rate=0.01, validation=0.25, test=0.2, directory=tmp_path, **QUICK
        )
    (run,) = [pellucid.load(path, network=Exploding()) for path in tmp_path.iterdir()]
    assert all(torch.isfinite(parameter).all() for parameter in run.model.parameters())
    assert run.findings[0].symptom == "divergence"
    assert f"epoch {1 if good_steps == 12 else 0}" in str(run.findings[0].summary)


def test_class_weight_by_name(tmp_path):
    X, y = blobs()
    names = np.array(["red", "green", "blue"])[y]
    run = pellucid.fit(X, names, class_weight={"red": 5.0}, epochs=2, learning_rate=0.01, directory=tmp_path, **QUICK)
    assert run.config["class_weight"] == {"red": 5.0}


def test_until_and_patience_stop_early(tmp_path):
    X, y = blobs(noise=0.3)
    run = pellucid.fit(X, y, until="accuracy>=0.5", epochs=50, learning_rate=0.01, directory=tmp_path, **QUICK)
    assert len(run.history) < 50
    run = pellucid.fit(X, y, patience=2, epochs=500, learning_rate=0.05, schedule="constant", directory=tmp_path, **QUICK)
    assert len(run.history) < 500


class Pairs(torch.utils.data.Dataset):
    """A user's own map-style data set."""

    def __init__(self, X: np.ndarray, y: np.ndarray) -> None:
        self.X, self.y = X, y

    def __len__(self) -> int:
        return len(self.X)

    def __getitem__(self, index: int):
        return torch.from_numpy(self.X[index]), int(self.y[index])


@pytest.mark.parametrize("wrap", ["dataset", "loader", "tensor_dataset"])
def test_torch_data_pairs(wrap, tmp_path):
    X, y = blobs(400)
    X_train, y_train, X_test, y_test = X[:300], y[:300], X[300:], y[300:]
    if wrap == "tensor_dataset":
        train, test = (
            torch.utils.data.TensorDataset(torch.from_numpy(a), torch.from_numpy(b)) for a, b in ((X_train, y_train), (X_test, y_test))
        )
    else:
        train, test = Pairs(X_train, y_train), Pairs(X_test, y_test)
    if wrap == "loader":
        train, test = torch.utils.data.DataLoader(train, batch_size=32, shuffle=True), torch.utils.data.DataLoader(test, batch_size=64)
    run = pellucid.fit((train, test), network=Net(), epochs=15, learning_rate=0.01, directory=tmp_path, **QUICK)
    assert run.metrics["test"]["accuracy"] > 0.85
    assert {score.samples for score in run.scores["test"]} == {100}


def test_no_target_is_refused(tmp_path):
    with pytest.raises(DataError):
        pellucid.fit(blobs()[0], directory=tmp_path, **QUICK)
