"""The evaluation in detail against counts written again, slower and simpler; the worst mistakes as they stood in the user's data."""

from __future__ import annotations

import base64
import io
import json
import math
import time
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import pellucid
from pellucid import data
from pellucid.core.records import Task
from pellucid.core.results import Evaluation, Mistakes, PartEvaluation
from pellucid.training.assessment import BINS, CLASSES_LISTED, MISTAKES, calibration, evaluate_part, png, worst_mistakes
from pellucid.training.metrics import full_scores


def made_up(samples: int, classes: int, seed: int = 0) -> tuple[Tensor, Tensor, Task]:
    """Logits that are right more often than not."""
    draw = np.random.default_rng(seed)
    targets = draw.integers(0, classes, samples)
    logits = draw.normal(size=(samples, classes))
    logits[np.arange(samples), targets] += 1.5
    return torch.from_numpy(logits).float(), torch.from_numpy(targets), Task(kind="classification", classes=tuple(map(str, range(classes))))


def evaluated(outputs: Tensor, targets: Tensor, task: Task, loss: Any = "cross_entropy") -> PartEvaluation:
    return evaluate_part(outputs, targets, task, full_scores(outputs, targets, task, loss=loss), loss=loss)


@pytest.mark.parametrize("classes", [2, 5])
def test_each_class_is_counted(classes: int) -> None:
    outputs, targets, task = made_up(300, classes)
    found = evaluated(outputs, targets, task)
    guesses = [max(range(classes), key=lambda k, row=row: row[k]) for row in outputs.tolist()]
    pairs = list(zip(targets.tolist(), guesses, strict=True))
    for k, of_class in enumerate(found.per_class):
        right = sum(actual == k and guess == k for actual, guess in pairs)
        actual, answered = sum(actual == k for actual, _ in pairs), sum(guess == k for _, guess in pairs)
        assert (of_class.name, of_class.samples, of_class.predicted) == (str(k), actual, answered)
        assert of_class.precision is not None
        assert of_class.precision.value == right / answered
        assert of_class.recall is not None
        assert of_class.recall.value == right / actual
        assert of_class.f1 is not None
        assert of_class.f1.value == pytest.approx(2 * right / (actual + answered))
        for score in (of_class.precision, of_class.recall, of_class.f1):
            assert score.interval is not None
            assert 0 <= score.interval.low < score.value < score.interval.high <= 1
    assert found.confusion is not None
    assert [[pairs.count((i, j)) for j in range(classes)] for i in range(classes)] == [list(row) for row in found.confusion.counts]
    wrong = [int(count) for *_, count in found.confusion.pairs]
    assert wrong == sorted(wrong, reverse=True)
    assert sum(wrong) == sum(actual != guess for actual, guess in pairs)


@pytest.mark.slow
def test_the_interval_of_f1_holds_its_level() -> None:
    """Of 400 samples drawn from a known confusion matrix about 95 % of the intervals hold the true F1."""
    draw = np.random.default_rng(0)
    cells = np.array([0.35, 0.1, 0.05, 0.5])  # [actual, predicted]: 00, 01, 10, 11
    truth = 2 * cells[3] / (2 * cells[3] + cells[1] + cells[2])
    task, held = Task(kind="classification", classes=("a", "b")), 0
    for _ in range(400):
        drawn = draw.choice(4, size=80, p=cells)
        outputs = torch.nn.functional.one_hot(torch.from_numpy(drawn % 2), 2).double()
        interval = evaluated(outputs, torch.from_numpy(drawn // 2), task).per_class[1].f1
        assert interval is not None
        assert interval.interval is not None
        held += interval.interval.low <= truth <= interval.interval.high
    assert 0.92 < held / 400 < 0.98


@pytest.mark.parametrize(
    ("classes", "positive"),
    [
        (("malignant", "benign"), "malignant"), (("benign", "malignant"), "malignant"), (("0", "1"), "1"), (("a", "b"), "b"),
        (("no", "Yes"), "Yes"), (("阳性", "阴性"), "阳性"), (("good", "bad"), "bad"), (("True", "1"), "1"),
    ],
)  # fmt: skip
def test_sensitivity_is_that_of_the_class_looked_for(classes: tuple[str, str], positive: str) -> None:
    task = Task(kind="classification", classes=classes)
    targets = torch.tensor([0, 0, 0, 0, 1, 1])
    outputs = torch.tensor([[1.0, 0.0], [1, 0], [1, 0], [0, 1], [0, 1], [1, 0]])
    found = evaluated(outputs, targets, task)
    assert found.positive_class == positive
    assert found.sensitivity is not None
    assert found.specificity is not None
    rates = (found.sensitivity.value, found.specificity.value)
    assert rates == ((0.75, 0.5) if classes.index(positive) == 0 else (0.5, 0.75))


def test_one_output_for_two_classes_gives_the_same() -> None:
    outputs, targets, task = made_up(200, 2)
    two = evaluated(outputs, targets, task)
    one = evaluated(outputs[:, 1:] - outputs[:, :1], targets, task, loss="binary_cross_entropy")
    assert one.per_class == two.per_class
    assert one.calibration is not None
    assert two.calibration is not None
    assert one.calibration.ece.value == pytest.approx(two.calibration.ece.value, abs=1e-6)


@pytest.mark.parametrize(
    ("targets", "outputs"),
    [
        ([0], [[1.0, 0.0, 0.0]]), ([2], [[1.0, 0.0, 0.0]]), ([0, 0, 1], [[1.0, 0, 0], [1, 0, 0], [0, 1, 0]]),
        ([0, 1, 1], [[math.nan, math.nan, math.nan], [0, 1, 0], [0, 0, 1]]),
    ],
    ids=["one sample, right", "one sample, wrong", "a class that is missing", "NaN"],
)  # fmt: skip
def test_small_and_strange_parts(targets: list[int], outputs: list[list[float]]) -> None:
    task = Task(kind="classification", classes=("a", "b", "c"))
    found = evaluated(torch.tensor(outputs), torch.tensor(targets), task)
    stored = json.dumps(found.to_dict(), allow_nan=True)
    assert PartEvaluation.from_dict(json.loads(stored)) == found
    assert len(found.per_class) == 3
    if targets == [0, 0, 1]:
        missing = found.per_class[2]
        assert (missing.samples, missing.recall, missing.precision, missing.f1) == (0, None, None, None)


@pytest.mark.slow
def test_ten_thousand_classes_stay_small_and_quick() -> None:
    outputs, targets, task = made_up(3000, 10_000)
    start = time.process_time()
    scores = full_scores(outputs, targets, task, intervals=False)
    found = evaluate_part(outputs, targets, task, scores, loss="cross_entropy")
    assert time.process_time() - start < 10
    assert len(found.per_class) == CLASSES_LISTED
    assert found.classes_left_out == 10_000 - CLASSES_LISTED
    assert found.confusion is not None
    assert not found.confusion.counts
    assert len(found.confusion.pairs) == 40
    assert len(json.dumps(found.to_dict())) < 200_000
    f1 = [item.f1.value for item in found.per_class if item.f1 is not None]
    assert f1 == sorted(f1)


# -- calibration -------------------------------------------------------------------------------------------------------------------------


def test_calibration_error_by_hand() -> None:
    draw = np.random.default_rng(0)
    confidence, right = draw.uniform(0.3, 1.0, 500), draw.uniform(size=500) < 0.6
    expected = 0.0
    for index in range(BINS):
        inside = [i for i in range(500) if index / BINS < confidence[i] <= (index + 1) / BINS]
        if inside:
            expected += len(inside) / 500 * abs(np.mean([right[i] for i in inside]) - np.mean([confidence[i] for i in inside]))
    found = calibration(confidence, right)
    assert found is not None
    assert found.ece.value == pytest.approx(expected, abs=1e-12)
    assert sum(item.samples for item in found.bins) == 500


@pytest.mark.parametrize(("samples", "shift", "shown"), [(2000, 0.0, False), (60, 0.0, False), (2000, 0.15, True)])
def test_a_calibrated_network_is_not_accused(samples: int, shift: float, shown: bool) -> None:
    """Right answers drawn with the probability stated, or `shift` more seldom: is the error beyond what chance gives?"""
    beyond = 0
    for seed in range(20):
        draw = np.random.default_rng(seed)
        confidence = draw.uniform(0.5, 1.0, samples)
        found = calibration(confidence, draw.uniform(size=samples) < confidence - shift, seed=seed)
        assert found is not None
        assert found.chance is not None
        beyond += found.ece.value > found.chance.high
    assert (beyond == 20) if shown else (beyond <= 3)


def test_calibration_of_certain_answers() -> None:
    found = calibration(np.ones(10), np.ones(10, dtype=bool))
    assert found is not None
    assert found.ece.value == 0
    assert found.bins[-1].accuracy == 1
    assert calibration(np.array([np.nan]), np.array([True])) is None


# -- regression --------------------------------------------------------------------------------------------------------------------------


def test_several_targets() -> None:
    draw = np.random.default_rng(0)
    targets = torch.from_numpy(draw.normal(size=(5000, 3)) * [1, 10, 100])
    outputs = targets + torch.from_numpy(draw.normal(size=(5000, 3)) * [0.1, 1, 50])
    task = Task(kind="regression", targets=("a", "b", "c"))
    found = evaluated(outputs, targets, task)
    assert [item.name for item in found.regression] == ["a", "b", "c"]
    for column, item in enumerate(found.regression):
        residuals = (outputs - targets)[:, column].numpy()
        assert item.residual_quantiles["0.5"] == pytest.approx(np.median(residuals))
        assert len(item.pairs) == 4000 // 3
        scores = {score.name: score for score in item.scores}
        expected = 1 - (residuals**2).sum() / ((targets[:, column] - targets[:, column].mean()) ** 2).sum().item()
        assert scores["r2"].value == pytest.approx(expected)
        actual, predicted = item.pairs[0]
        place = int((targets[:, column] - actual).abs().argmin())
        assert outputs[place, column].item() == pytest.approx(predicted, rel=1e-4)


# -- the worst mistakes ------------------------------------------------------------------------------------------------------------------


def mistakes_of(samples: Any, prepared: Any, outputs: Tensor, part: str = "test") -> Mistakes:
    targets = torch.cat([truth for _, truth in getattr(prepared, part).batches(1000)])
    if prepared.task.kind == "regression":
        targets = prepared.preprocessing.restore_targets(targets)
    return worst_mistakes(
        outputs, targets, prepared.task, part=part, source=getattr(prepared, part), samples=samples,
        preprocessing=prepared.preprocessing, loss="cross_entropy",
    )  # fmt: skip


def test_a_row_is_shown_as_the_user_wrote_it() -> None:
    rows = 200
    frame = pl.DataFrame(
        {
            "count": [i % 17 for i in range(rows)], "price": [None if i == 7 else i / 3 for i in range(rows)],
            "colour": ["red" if i % 3 else "蓝" for i in range(rows)], "ok": [i % 2 == 0 for i in range(rows)],
            "day": [f"2024-01-{1 + i % 28:02}" for i in range(rows)], "y": ["yes" if i % 5 else "no" for i in range(rows)],
        }
    )  # fmt: skip
    samples = data.read(frame, "y")
    prepared = data.prepare(samples)
    outputs = torch.tensor([[0.0, 2.0]]).repeat(len(prepared.test), 1)
    outputs[:, 0] = -torch.arange(len(outputs)) / 10  # each surer than the one before
    found = mistakes_of(samples, prepared, outputs)
    assert samples.task is not None
    wrong = [int(i) for i in prepared.test.indices if frame["y"][int(i)] != samples.task.classes[1]]
    assert found.wrong == len(wrong)
    assert [mistake.index for mistake in found.mistakes] == wrong[::-1][:MISTAKES]
    for mistake in found.mistakes:
        row = frame.row(mistake.index, named=True)
        assert mistake.values["count"] == row["count"]
        assert isinstance(mistake.values["count"], int)
        assert mistake.values["colour"] == row["colour"]
        assert mistake.values["ok"] is row["ok"]
        assert str(mistake.values["day"]).startswith(row["day"])
        assert mistake.actual == (row["y"],)
        assert mistake.probability is not None
        assert mistake.loss == pytest.approx(-math.log(1 - mistake.probability), rel=1e-3)
    assert Mistakes.from_dict(json.loads(json.dumps(found.to_dict(), allow_nan=False))) == found


def test_a_wide_table_shows_some_columns() -> None:
    draw = np.random.default_rng(0)
    frame = pl.DataFrame({f"c{i}": draw.normal(size=50) for i in range(100)}).with_columns(y=pl.Series(["a", "b"] * 25))
    samples = data.read(frame, "y")
    prepared = data.prepare(samples)
    found = mistakes_of(samples, prepared, torch.zeros(len(prepared.test), 2))
    assert len(found.mistakes[0].values) == 30
    assert found.columns_left_out == 70


def picture(thumbnail: str | None) -> np.ndarray:
    assert thumbnail is not None
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(thumbnail.partition(",")[2]))))


def test_an_image_is_shown_with_its_own_pixels(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    pixels = draw.integers(0, 256, size=(40, 20, 24, 3), dtype=np.uint8)
    for index, image in enumerate(pixels):
        folder = tmp_path / "abc"[index % 2]
        folder.mkdir(exist_ok=True)
        Image.fromarray(image).save(folder / f"{index:03}.png")
    samples = data.read(tmp_path)
    prepared = data.prepare(samples)
    found = mistakes_of(samples, prepared, torch.zeros(len(prepared.test), 2))
    assert found.mistakes
    for mistake in found.mistakes:
        assert np.array_equal(picture(mistake.thumbnail), pixels[int(Path(mistake.identifier).stem)])


@pytest.mark.parametrize(("shape", "largest"), [((3, 300, 200), (96, 64)), ((1, 96, 96), (96, 96))])
def test_thumbnails_are_small(shape: tuple[int, ...], largest: tuple[int, int]) -> None:
    smooth = np.linspace(0, 255, shape[1] * shape[2]).reshape(1, *shape[1:]).repeat(shape[0], 0).astype(np.uint8)
    assert picture(png(smooth)).shape[:2] == largest
    noise = np.random.default_rng(0).integers(0, 256, size=(3, 96, 96), dtype=np.uint8)
    assert len(png(noise)) < 30_000


def test_the_largest_errors_of_a_regression() -> None:
    X = np.random.default_rng(0).normal(size=(100, 4))
    y = 1000 + 50 * X[:, 0]
    samples = data.read((X, y))
    prepared = data.prepare(samples)
    outputs = torch.full((len(prepared.test), 1), 1000.0)
    found = mistakes_of(samples, prepared, outputs)
    errors = sorted(((abs(y[i] - 1000), int(i)) for i in prepared.test.indices), reverse=True)
    assert [mistake.index for mistake in found.mistakes] == [index for _, index in errors[:MISTAKES]]
    assert found.wrong is None
    assert found.mistakes[0].actual[0] == pytest.approx(y[found.mistakes[0].index], rel=1e-5)
    assert found.mistakes[0].predicted == (1000.0,)


@pytest.mark.parametrize("shuffle", [False, True])
def test_a_users_loader(shuffle: bool, tmp_path: Path) -> None:
    """Which sample a mistake was is told where the loader keeps the order, and not where it shuffles."""
    draw = np.random.default_rng(0)
    X = torch.from_numpy(draw.normal(size=(64, 1, 8, 8))).float()
    y = torch.from_numpy(draw.integers(0, 2, 64))
    train = DataLoader(TensorDataset(X, y), batch_size=16, shuffle=True)
    test = DataLoader(TensorDataset(X, y), batch_size=16, shuffle=shuffle)
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 2))
    run = pellucid.fit((train, test), network=network, epochs=1, learning_rate=1e-6, directory=tmp_path, report=False)
    records = run.directory / "records"
    mistakes = Mistakes.from_dict(json.loads((records / "mistakes.json").read_text(encoding="utf-8")))
    evaluation = Evaluation.from_dict(json.loads((records / "evaluation.json").read_text(encoding="utf-8")))
    answers = run.model(X).argmax(1)
    assert mistakes.wrong == int((answers != y).sum())
    assert evaluation.parts["test"].samples == 64
    if shuffle:
        assert not mistakes.mistakes
    else:
        assert mistakes.mistakes
        places = [mistake.index - 64 for mistake in mistakes.mistakes]  # the parts of the data stand one after another
        assert all(answers[place] != y[place] for place in places)


def test_the_records_of_a_run_fit_into_a_megabyte(tmp_path: Path) -> None:
    """Noise is what PNG cannot compress."""
    draw = np.random.default_rng(0)
    X = draw.integers(0, 256, size=(120, 3, 128, 128), dtype=np.uint8)
    run = pellucid.fit(
        X, draw.integers(0, 2, 120), network="logistic", epochs=1, learning_rate=1e-3, directory=tmp_path, report=False, baselines=False
    )
    sizes = {path.name: path.stat().st_size for path in (run.directory / "records").iterdir()}
    assert sizes["mistakes.json"] > 50_000
    assert sum(sizes.values()) < 1_000_000
