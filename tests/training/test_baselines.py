"""Classical models beside the network: the same numbers as scikit-learn by hand, within the time given, for every kind of data."""

from __future__ import annotations

import json
import math
import random
import signal
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.tree import DecisionTreeClassifier
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

import pellucid
from pellucid import data
from pellucid.core.errors import Interrupted
from pellucid.core.language import Text
from pellucid.core.numerics import bootstrap_interval
from pellucid.core.records import Interval, Score, Task
from pellucid.core.results import Baseline, Baselines, Difference
from pellucid.training.baselines import compare, comparison
from pellucid.training.baselines.comparison import verdict_of
from pellucid.training.baselines.features import Features, features_of, views_of
from pellucid.training.baselines.models import Candidate
from pellucid.training.metrics import paired_difference
from pellucid.training.summary import baseline_sentences


def answers_of(prepared: Any, part: str = "test", right: float = 0.9) -> tuple[Tensor, Tensor]:
    """Outputs of a made-up network and the targets of a part, in the user's units."""
    targets = torch.cat([truth for _, truth in getattr(prepared, part).batches(1000)])
    draw = torch.Generator().manual_seed(0)
    if prepared.task.kind == "regression":
        outputs = targets + 0.3 * torch.randn(targets.shape, generator=draw)
        return prepared.preprocessing.restore_targets(outputs), prepared.preprocessing.restore_targets(targets)
    wrong = torch.rand(len(targets), generator=draw) > right
    guesses = torch.where(wrong, (targets + 1) % prepared.task.outputs, targets)
    return torch.nn.functional.one_hot(guesses, prepared.task.outputs).float() * 3, targets


def compared(prepared: Any, part: str = "test", seconds: float = 60.0, **more: Any) -> Baselines:
    outputs, targets = answers_of(prepared, part)

    def refuse(batch: Tensor) -> Tensor:
        raise AssertionError("the network is asked again only where the order is not known")

    given = {"part": part, "outputs": outputs, "targets": targets, "answer": refuse, "loss": "cross_entropy", "seconds": seconds}
    found = compare(prepared, **{**given, **more})
    assert Baselines.from_dict(json.loads(json.dumps(found.to_dict(), allow_nan=False))) == found
    return found


def by_name(found: Baselines) -> dict[str, Baseline]:
    return {baseline.name: baseline for baseline in found.baselines}


def value_of(baseline: Baseline, metric: str) -> float:
    return next(score.value for score in baseline.scores if score.name == metric)


NAMES = ["constant", "decision_tree", "linear", "gradient_boosting", "random_forest", "svm"]


# -- the oracle: scikit-learn by hand ----------------------------------------------------------------------------------------------------


def spiral(samples: int = 400) -> tuple[np.ndarray, np.ndarray]:
    """Two classes that no line divides."""
    draw = np.random.default_rng(0)
    X = draw.uniform(-1, 1, size=(samples, 3))
    return X, (X[:, 0] * X[:, 1] > 0).astype(int)


def test_scores_are_those_of_scikit_learn_on_the_same_split() -> None:
    X, y = spiral()
    prepared = data.prepare(data.read((X, y)))
    found = by_name(compared(prepared))
    assert list(found) == NAMES
    train, test = prepared.train.indices, prepared.test.indices
    order = np.random.default_rng(0).permutation(len(train))  # the order in which the models see the training part
    scaled = (X - X[train].mean(0)) / X[train].std(0)
    for name, model in (
        ("decision_tree", DecisionTreeClassifier(min_samples_leaf=5, random_state=0)),
        ("linear", LogisticRegression(max_iter=1000)),
        ("gradient_boosting", HistGradientBoostingClassifier(random_state=0)),
    ):
        inputs = prepared.train.inputs.numpy()[order] if name != "linear" else scaled[train][order]
        model.fit(inputs, y[train][order])
        expected = model.score(prepared.test.inputs.numpy() if name != "linear" else scaled[test], y[test])
        assert value_of(found[name], "accuracy") == pytest.approx(expected), name
        assert found[name].train_samples == len(train)
    commonest = np.bincount(y[train]).argmax()
    assert value_of(found["constant"], "accuracy") == pytest.approx((y[test] == commonest).mean())
    shares = np.bincount(y[train]) / len(train)
    assert value_of(found["constant"], "log_loss") == pytest.approx(-np.log(shares[y[test]]).mean())
    assert value_of(found["random_forest"], "accuracy") > 0.85
    assert value_of(found["linear"], "accuracy") < 0.7
    assert found["decision_tree"].model == "DecisionTreeClassifier(min_samples_leaf=5)"
    assert "log_loss" not in {score.name for score in found["svm"].scores}


def test_regression_in_the_users_units() -> None:
    draw = np.random.default_rng(0)
    X = draw.normal(size=(300, 4))
    Y = np.stack([1000 + 20 * X[:, 0], 3 * X[:, 1] - X[:, 2]], axis=1) + 0.1 * draw.normal(size=(300, 2))
    prepared = data.prepare(data.read((X, Y)))
    found = by_name(compared(prepared))
    assert all(found[name].skipped is None for name in NAMES)
    train, test = prepared.train.indices, prepared.test.indices
    scaled = (X - X[train].mean(0)) / X[train].std(0)
    model = RidgeCV(alphas=np.logspace(-3, 4, 15)).fit(scaled[train], (Y[train] - Y[train].mean(0)) / Y[train].std(0))
    predicted = model.predict(scaled[test]) * Y[train].std(0) + Y[train].mean(0)
    assert value_of(found["linear"], "mae") == pytest.approx(np.abs(predicted - Y[test]).mean(), rel=1e-4)
    assert value_of(found["constant"], "mae") == pytest.approx(np.abs(Y[train].mean(0) - Y[test]).mean(), rel=1e-4)
    assert "MultiOutputRegressor(SVR())" in found["svm"].model


def test_a_table_with_categories() -> None:
    """The class depends on a category alone: trees see it as one column of codes, the others as one-hot features."""
    draw = np.random.default_rng(0)
    rows = 600
    city = draw.integers(0, 12, rows)
    frame = pl.DataFrame(
        {
            "city": [f"城市{value}" for value in city], "size": draw.normal(size=rows),
            "note": [None if i % 9 == 0 else i % 5 for i in range(rows)], "y": ["a" if value % 3 == 0 else "b" for value in city],
        }
    )  # fmt: skip
    prepared = data.prepare(data.read(frame, "y"))
    features = features_of(prepared.train, prepared.preprocessing)
    assert isinstance(features, Features)
    views = views_of(prepared.train, features)
    (position,) = features.categorical
    codes = views.matrices["trees"][:, position]
    names = np.asarray(frame["city"])[prepared.train.indices]
    assert len(set(zip(codes, names, strict=True))) == 12
    found = by_name(compared(prepared))
    for name in ("decision_tree", "linear", "gradient_boosting", "random_forest", "svm"):
        assert value_of(found[name], "accuracy") > 0.9, name


# -- differences -------------------------------------------------------------------------------------------------------------------------


def test_the_difference_of_r2_is_paired() -> None:
    draw = np.random.default_rng(0)
    targets = draw.normal(size=(150, 1))
    first, second = (targets + scale * draw.normal(size=(150, 1)) for scale in (0.3, 0.4))
    task = Task(kind="regression")
    value, interval = paired_difference(torch.from_numpy(first), torch.from_numpy(second), torch.from_numpy(targets), task)

    def difference(a: np.ndarray, b: np.ndarray, y: np.ndarray) -> float:
        return float((((b - y) ** 2).sum() - ((a - y) ** 2).sum()) / ((y - y.mean()) ** 2).sum())

    expected = bootstrap_interval(difference, first, second, targets, resamples=2000)
    assert value == pytest.approx(difference(first, second, targets))
    assert interval is not None
    assert (interval.low, interval.high) == pytest.approx((expected.low, expected.high), abs=0.01)


@pytest.mark.parametrize(
    ("only_first", "only_second", "shown"), [(5, 0, True), (4, 0, False), (0, 0, False), (30, 15, True), (24, 15, False)]
)
def test_the_difference_of_accuracy_is_no_surer_than_an_exact_test(only_first: int, only_second: int, shown: bool) -> None:
    """By McNemar's exact test (mid-p) the p values are 0.03, 0.06, 1, 0.03, 0.15."""
    n = 200
    targets = torch.zeros(n, dtype=torch.long)
    first, second = torch.zeros(n, 2), torch.zeros(n, 2)
    first[:, 0] = second[:, 0] = 1
    second[:only_first, 1] = 2
    first[only_first : only_first + only_second, 1] = 2
    value, interval = paired_difference(first, second, targets, Task(kind="classification", classes=("a", "b")))
    assert value == pytest.approx((only_first - only_second) / n)
    assert interval is not None
    assert (interval.low > 0) is shown
    assert interval.low <= value <= interval.high


def test_its_interval_holds_its_level() -> None:
    draw, held = np.random.default_rng(0), 0
    shares = [0.75, 0.1, 0.05, 0.1]  # both right, only the first, only the second, none
    task = Task(kind="classification", classes=("a", "b"))
    for _ in range(500):
        cells = draw.choice(4, size=100, p=shares)
        outputs = [torch.nn.functional.one_hot(torch.from_numpy((~np.isin(cells, good)).astype(int)), 2) for good in ((0, 1), (0, 2))]
        _, interval = paired_difference(outputs[0].float(), outputs[1].float(), torch.zeros(100, dtype=torch.long), task)
        assert interval is not None
        held += interval.low <= 0.05 <= interval.high
    assert 0.92 < held / 500 < 0.985


def fake(name: str, value: float, difference: float, low: float, high: float) -> Baseline:
    return Baseline(
        name=name, model=name, scores=(Score(name="accuracy", value=value),), train_samples=100,
        difference=Difference(metric="accuracy", value=difference, interval=Interval(low=low, high=high)),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("baselines", "best", "conclusion", "words"),
    [
        ([fake("constant", 0.5, 0.4, 0.3, 0.5), fake("linear", 0.8, 0.1, 0.05, 0.15)], "linear", "better",
         "better than the best of 1 classical"),
        ([fake("svm", 0.9, 0.0, -0.1, 0.1), fake("linear", 0.8, 0.1, 0.05, 0.15)], "svm", "not_shown",
         "no better than a support vector machine"),
        ([fake("linear", 0.85, 0.05, -0.1, 0.1)], "linear", "not_shown", "is not shown on 50 samples"),
        ([fake("linear", 0.95, -0.05, -0.1, -0.01)], "linear", "worse", "worse than logistic regression"),
        ([fake("constant", 0.9, 0.0, -0.1, 0.1), fake("linear", 0.8, 0.1, 0.0, 0.15)], "constant", "not_shown", "may say nothing"),
        ([fake("constant", 0.5, 0.4, 0.3, 0.5)], "constant", "better", "No classical model was measured"),
        ([], None, "unknown", "could be compared"),
    ],
)  # fmt: skip
def test_the_verdict(baselines: list[Baseline], best: str | None, conclusion: str, words: str) -> None:
    task = Task(kind="classification", classes=("a", "b"))
    found = verdict_of(Score(name="accuracy", value=0.9), baselines, 50, task)
    assert found[:2] == (best, conclusion)
    assert words in str(found[2])


# -- time --------------------------------------------------------------------------------------------------------------------------------


class Slow:
    """A model that takes `seconds` x (samples / 1000) ^ power by the test's clock."""

    def __init__(self, clock: list[float], seconds: float, power: float) -> None:
        self.clock, self.seconds, self.power = clock, seconds, power

    def fit(self, inputs: np.ndarray, targets: np.ndarray) -> None:
        self.classes_ = np.unique(targets)
        self.clock[0] += self.seconds * (len(inputs) / 1000) ** self.power

    def predict_proba(self, inputs: np.ndarray) -> np.ndarray:
        return np.full((len(inputs), len(self.classes_)), 1 / len(self.classes_))

    def get_params(self) -> dict[str, Any]:
        return {}


@pytest.mark.parametrize(
    ("seconds", "power", "low", "high"),
    [
        (0.05, 1.0, 16_000, 16_000),  # all in 0.8 s
        (1.0, 1.0, 3_000, 5_200),  # all would take 16 s: as many as fit into half of 10 s, the trials counted
        (0.1, 2.0, 4_500, 7_500),  # all would take 26 s
        (6.0, 1.0, 0, 0),  # a thousand would take 6 s: more than half of 10 s
    ],
)
def test_a_slow_model_is_learnt_from_fewer_samples(
    seconds: float, power: float, low: int, high: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [100.0]
    monkeypatch.setattr(comparison.time, "perf_counter", lambda: clock[0])
    monkeypatch.setattr(comparison, "CANDIDATES", (Candidate("slow", "trees", lambda problem: Slow(clock, seconds, power)),))
    monkeypatch.setattr(comparison, "described", lambda model: "Slow()")
    draw = np.random.default_rng(0)
    X, y = draw.normal(size=(20_500, 20)), draw.integers(0, 2, 20_500)
    prepared = data.prepare(data.read((X, y)), validation=2250, test=2250)
    assert len(prepared.train) == 16_000
    found = compared(prepared, seconds=10.0)
    baseline = by_name(found)["slow"]
    assert low <= baseline.train_samples <= high
    assert clock[0] - 100 <= 10.5
    sentences = " ".join(str(sentence) for sentence in baseline_sentences(found))
    if high == 0:
        assert baseline.skipped is not None
        assert "learning from 500 samples took 3.0 s, and the 2.0 s that were left do not suffice for twice as many" in str(
            baseline.skipped
        )
        assert "Left out: slow" in sentences
    elif high < 16_000:
        assert f"learnt from {baseline.train_samples:,} of 16 000 samples".replace(",", " ") in sentences


def test_no_time_left_is_said() -> None:
    found = compared(data.prepare(data.read(spiral())), seconds=-1.0)
    assert all(str(baseline.skipped) == "the time was used up" for baseline in found.baselines if baseline.name != "constant")
    assert "No classical model was measured" in str(found.verdict)


# -- every kind of data ------------------------------------------------------------------------------------------------------------------


def pictures() -> Any:
    draw = np.random.default_rng(0)
    y = draw.integers(0, 3, 240)
    X = draw.integers(0, 40, size=(240, 3, 40, 20), dtype=np.uint8)
    for image, label in zip(X, y, strict=True):
        image[label, 5:30] += 60
    return X, y


class Lazy(Dataset):
    """Samples that are read when they are needed."""

    def __init__(self, X: np.ndarray, y: np.ndarray) -> None:
        self.X, self.y = X.astype(np.float32), y

    def __len__(self) -> int:
        return len(self.y)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return torch.from_numpy(self.X[index]) + 0 * torch.rand(1), int(self.y[index])


def tokens() -> Any:
    draw = torch.Generator().manual_seed(0)
    return TensorDataset(torch.randint(0, 50, (100, 7), generator=draw), torch.randint(0, 2, (100,), generator=draw))


def many_classes() -> Any:
    draw = np.random.default_rng(0)
    y = np.arange(900) % 150
    return draw.normal(size=(150, 6))[y] * 3 + 0.1 * draw.normal(size=(900, 6)), y


@pytest.mark.parametrize(
    ("source", "described", "good", "skipped"),
    [
        (pictures, "averaged down to 3 x 16 x 16", {"linear", "random_forest", "svm", "gradient_boosting"}, set()),
        (lambda: Lazy(*spiral()), "the 3 numbers of a sample", {"random_forest", "svm"}, set()),
        (lambda: Lazy(np.random.default_rng(0).normal(size=(150, 7, 5)), np.arange(150) % 2), "shape (7, 5) as one vector", set(), set()),
        (tokens, "none", set(), {"linear", "decision_tree", "gradient_boosting", "random_forest", "svm"}),
        (many_classes, "the 6 numbers", {"linear", "random_forest"}, {"gradient_boosting", "svm"}),
    ],
    ids=["images", "lazy data set", "sequences", "tokens", "150 classes"],
)  # fmt: skip
def test_kinds_of_data(source: Callable[[], Any], described: str, good: set[str], skipped: set[str]) -> None:
    prepared = data.prepare(data.read(source()))
    found = compared(prepared)
    assert described in str(found.representation)
    models = by_name(found)
    assert {name for name, baseline in models.items() if baseline.skipped is not None} == skipped
    for name in good:
        assert value_of(models[name], "accuracy") > 0.8, name
    assert str(found.verdict)


@pytest.mark.parametrize("shuffle", [False, True])
def test_a_loader_that_shuffles(shuffle: bool) -> None:
    """Network and models are measured on the same samples, whatever order the test loader has: a network that is always right wins."""
    X, y = (torch.from_numpy(value) for value in spiral())
    loaders = [DataLoader(TensorDataset(X.float(), y), batch_size=64, shuffle=shuffle) for _ in range(2)]
    prepared = data.prepare(data.read(tuple(loaders)))

    def answer(batch: Tensor) -> Tensor:
        return torch.nn.functional.one_hot((batch[:, 0] * batch[:, 1] > 0).long(), 2).float()

    found = compared(prepared, answer=answer)
    assert found.network is not None
    assert found.network.value == 1.0
    assert all(baseline.skipped is None for baseline in found.baselines)


def test_a_class_that_the_training_part_lacks() -> None:
    X, y = spiral(200)
    y = np.where(np.arange(200) >= 180, 2, y)
    prepared = data.prepare(data.read((X, y), time=np.arange(200)), test=30)  # the latest samples are the test part
    assert 2 not in y[prepared.train.indices]
    found = by_name(compared(prepared))
    assert all(found[name].skipped is None for name in NAMES)


# -- in a run ----------------------------------------------------------------------------------------------------------------------------


def record_of(run: pellucid.Run, name: str) -> dict[str, Any]:
    return json.loads((run.directory / "records" / f"{name}.json").read_text(encoding="utf-8"))


def test_a_training_compares_itself_and_touches_nothing(tmp_path: Path) -> None:
    X, y = spiral()
    random.seed(7)
    np.random.seed(7)
    torch.manual_seed(7)
    expected = (random.random(), np.random.rand(), torch.rand(1))
    random.seed(7)
    np.random.seed(7)
    torch.manual_seed(7)
    import sympy  # noqa: F401 - importing it (as torch does when it counts operations) adds a filter

    filters, threads = list(warnings.filters), torch.get_num_threads()
    run = pellucid.fit(X, y, epochs=2, learning_rate=0.01, class_weight="balanced", directory=tmp_path, report=False)
    assert (random.random(), np.random.rand(), torch.rand(1)) == expected
    assert list(warnings.filters) == filters
    assert torch.get_num_threads() == threads
    found = Baselines.from_dict(record_of(run, "baselines"))
    assert found.part == "test"
    assert found.network is not None
    assert found.network.value == run.metrics["test"]["accuracy"]
    assert "class weights" in str(found.notes[0])
    assert run.summary is not None
    assert run.summary.baselines == found
    assert ("Baselines", str(found.verdict)) in [(str(heading), str(sentences[0])) for heading, sentences in run.summary.sections()]


@pytest.mark.parametrize("kind", ["classification", "regression"])
def test_one_constant_answer_in_the_result_and_among_the_baselines(kind: str, tmp_path: Path) -> None:
    """The training part's commonest class, or mean, measured on the test part: not the test part's own, which nobody can know."""
    X, _ = spiral()
    y = np.asarray([0] * 45 + [1] * 55 if kind == "classification" else range(100))
    sides = np.repeat(["train", "test"], [80, 20])  # the training part's commonest class is 0, the test part's is 1
    train, test = ((X[:100][sides == side], y[sides == side]) for side in ("train", "test"))
    run = pellucid.fit((train, test), epochs=1, learning_rate=0.01, directory=tmp_path, report=False)
    summary = run.summary
    assert summary is not None
    assert summary.baselines is not None
    assert summary.constant == pytest.approx(value_of(by_name(summary.baselines)["constant"], summary.primary), abs=1e-6)
    if kind == "classification":
        assert summary.constant == 0.0


def test_without_baselines_and_without_parts_held_out(tmp_path: Path) -> None:
    X, y = spiral(40)
    run = pellucid.fit(X, y, epochs=1, learning_rate=0.01, baselines=False, directory=tmp_path, report=False)
    assert not (run.directory / "records" / "baselines.json").exists()
    alone = DataLoader(TensorDataset(torch.from_numpy(X).float(), torch.from_numpy(y)), batch_size=8, sampler=range(40))
    network = nn.Linear(3, 2)
    run = pellucid.fit(alone, network=network, epochs=1, learning_rate=0.01, directory=tmp_path, report=False)
    assert "No part was held out" in str(Text.from_dict(record_of(run, "baselines")["verdict"]))


def test_what_fails_is_a_notice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*arguments: Any, **named: Any) -> Any:
        raise RuntimeError("no such luck")

    monkeypatch.setattr("pellucid.training.baselines.compare", broken)
    monkeypatch.setattr("pellucid.training.results.network_table", broken)
    X, y = spiral(60)
    run = pellucid.fit(X, y, epochs=1, learning_rate=0.01, directory=tmp_path, report=False)
    assert run.status == "finished"
    assert not (run.directory / "records" / "baselines.json").exists()
    assert (run.directory / "records" / "evaluation.json").exists()


def test_ctrl_c_in_the_comparison_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the network reached is on the disk; going on only makes up for the comparison."""
    X, y = spiral(120)
    fits: list[int] = []

    class Interrupting(Slow):
        def fit(self, inputs: np.ndarray, targets: np.ndarray) -> None:
            fits.append(1)
            if len(fits) == 1:
                signal.raise_signal(signal.SIGINT)
                time.sleep(60)
            super().fit(inputs, targets)

    candidate = Candidate("slow", "trees", lambda problem: Interrupting([0.0], 0.0, 1.0))
    with monkeypatch.context() as patch:
        patch.setattr(comparison, "CANDIDATES", (candidate,))
        patch.setattr(comparison, "described", lambda model: "Slow()")
        with pytest.raises(Interrupted):
            pellucid.fit(X, y, epochs=2, learning_rate=0.01, directory=tmp_path, report=False)
    (path,) = tmp_path.iterdir()
    run = pellucid.load(path)
    before = run.metrics
    weights = (path / "weights.safetensors").read_bytes()
    assert 0 <= before["test"]["accuracy"] <= 1
    assert run.status == "unfinished"
    assert len(run.predict(X[:3])) == 3
    again = run.resume(data=(X, y))
    assert again.status == "finished"
    assert again.metrics == before
    assert (path / "weights.safetensors").read_bytes() == weights
    assert math.isfinite(value_of(Baselines.from_dict(record_of(again, "baselines")).baselines[1], "accuracy"))
