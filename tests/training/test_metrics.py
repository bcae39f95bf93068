"""Metrics against scikit-learn, their intervals against repeated sampling, and the condition of `until`."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from sklearn import metrics as reference

from pellucid.core.errors import OptionError, OptionTypeError
from pellucid.core.records import Task
from pellucid.training.losses import probabilities
from pellucid.training.metrics import (
    METRICS,
    constant_answer,
    constant_outputs,
    full_scores,
    paired_difference,
    parse_condition,
    primary_metric,
    quick_metrics,
    watched_metrics,
)  # fmt: skip


def classification(classes: int) -> Task:
    return Task(kind="classification", classes=tuple(str(k) for k in range(classes)))


def drawn(classes: int, samples: int, columns: int | None = None, seed: int = 0):
    generator = torch.Generator().manual_seed(seed)
    targets = torch.randint(classes, (samples,), generator=generator)
    logits = torch.randn(samples, columns or classes, generator=generator)
    if columns == 1:
        logits[:, 0] += targets * 1.5
    else:
        logits[torch.arange(samples), targets] += 1.5
    return logits, targets


def chances(z):
    return probabilities(z.double(), "cross_entropy", max(z.shape[1], 2)).numpy()


def labels(z):
    return chances(z).argmax(1)


REFERENCES = {
    "accuracy": lambda z, y: reference.accuracy_score(y, labels(z)),
    "balanced_accuracy": lambda z, y: reference.balanced_accuracy_score(y, labels(z)),
    "precision": lambda z, y: reference.precision_score(y, labels(z), average="macro", zero_division=0),
    "recall": lambda z, y: reference.recall_score(y, labels(z), average="macro", zero_division=0),
    "f1": lambda z, y: reference.f1_score(y, labels(z), average="macro", zero_division=0),
    "log_loss": lambda z, y: reference.log_loss(y, chances(z), labels=np.arange(chances(z).shape[1])),
    "roc_auc": lambda z, y: reference.roc_auc_score(y, chances(z)[:, 1]),
    "top5_accuracy": lambda z, y: reference.top_k_accuracy_score(y, z.numpy(), k=5, labels=np.arange(z.shape[1])),
    "r2": lambda z, y: reference.r2_score(y, z),
    "rmse": lambda z, y: reference.root_mean_squared_error(y, z),
    "mae": lambda z, y: reference.mean_absolute_error(y, z),
    "mse": lambda z, y: reference.mean_squared_error(y, z),
    "mean_iou": lambda z, y: reference.jaccard_score(y, z, average="macro"),  # of pixels
    "pixel_accuracy": lambda z, y: reference.accuracy_score(y, z),
    "dice": lambda z, y: reference.f1_score(y, z, average="macro"),
}


def test_every_metric_has_a_reference():
    assert set(REFERENCES) == {name for name, metric in METRICS.items() if metric.task != "forecasting"}  # these: test_forecasting


def test_segmentation_against_scikit_learn():
    """Pixels of all images together, void left out; a class that neither occurs nor is answered has no part in the means."""
    generator = torch.Generator().manual_seed(0)
    task = Task(kind="segmentation", classes=("a", "b", "c", "never"))
    scores = torch.randn(7, 4, 5, 6, generator=generator)
    scores[:, 3] = -50.0
    masks = torch.randint(0, 3, (7, 5, 6), generator=generator)
    masks[0] = 255
    masks[2, :, 3:] = 255
    counts = masks != 255
    maps = scores.argmax(1)
    found = {score.name: score for score in full_scores(scores, masks, task)}
    assert set(found) == {"mean_iou", "pixel_accuracy", "dice"}
    for name, score in found.items():
        assert score.value == pytest.approx(REFERENCES[name](maps[counts].numpy(), masks[counts].numpy()), rel=1e-9), name
        assert score.interval is not None
        assert score.interval.low < score.value < score.interval.high
    assert full_scores(maps.to(torch.uint8), masks.to(torch.uint8), task) == list(found.values())  # maps say as much as scores
    assert quick_metrics(scores, masks, task) == {name: score.value for name, score in found.items()}
    batch = masks.masked_fill(masks == 255, -100)  # as batches have it
    assert quick_metrics(scores, batch, task) == {name: score.value for name, score in found.items()}
    value, interval = paired_difference(maps, masks.clamp_max(2), masks, task)
    assert interval is not None
    assert value == pytest.approx(found["mean_iou"].value - 1.0)
    assert interval.high < 0


def test_the_constant_answer_to_masks_is_the_commonest_class_of_each_pixel():
    masks = torch.tensor([[[0, 1, 255]], [[0, 1, 255]], [[1, 0, 255]]])
    task = Task(kind="segmentation", classes=("a", "b"))
    constant = constant_answer(masks, task)
    assert constant.tolist() == [[0, 1, 0]]  # nobody says anything about the third pixel: the commonest class of all, the first of equals
    assert constant_outputs(constant, torch.zeros(2, 2, 4)).tolist() == [[[0, 1, 0, 0]] * 2] * 2


@pytest.mark.filterwarnings("ignore:y_pred contains classes not in y_true:UserWarning")  # scikit-learn remarks what the case is about
@pytest.mark.parametrize(
    ("classes", "samples", "columns"), [(2, 57, 1), (2, 57, 2), (3, 200, None), (12, 300, None), (12, 9, None), (10, 6000, None)]
)
def test_classification_against_scikit_learn(classes, samples, columns):
    z, y = drawn(classes, samples, columns)
    task = classification(classes)
    found = {score.name: score for score in full_scores(z, y, task)}
    expected = {"accuracy", "balanced_accuracy", "precision", "recall", "f1", "log_loss"}
    expected |= {"roc_auc"} if classes == 2 else set()
    expected |= {"top5_accuracy"} if classes > 10 else set()
    assert set(found) == expected
    for name, score in found.items():
        assert score.value == pytest.approx(REFERENCES[name](z, y.numpy()), rel=1e-9), name
        assert score.interval is None or score.interval.low <= score.value <= score.interval.high
        assert score.samples == samples
        assert score.higher_is_better == (name != "log_loss")
    quick = quick_metrics(z, y, task)
    assert quick == {name: pytest.approx(found[name].value) for name in ("accuracy", "balanced_accuracy", "f1")}


@pytest.mark.parametrize(("samples", "targets"), [(5, 1), (300, 1), (300, 3), (5000, 2)])
def test_regression_against_scikit_learn(samples, targets):
    y = torch.randn(samples, targets, generator=torch.Generator().manual_seed(0)) * torch.tensor([1.0, 50.0, 0.1])[:targets] + 1000
    z = y + 0.3 * torch.randn(samples, targets, generator=torch.Generator().manual_seed(1))
    task = Task(kind="regression", targets=("a", "b", "c")[:targets])
    found = {score.name: score for score in full_scores(z, y, task)}
    assert set(found) == {"r2", "rmse", "mae", "mse"}
    for name, score in found.items():
        assert score.value == pytest.approx(REFERENCES[name](z.double().numpy(), y.double().numpy()), rel=1e-6), name
        assert score.interval.low < score.value < score.interval.high
    assert quick_metrics(z, y, task) == {name: pytest.approx(found[name].value) for name in ("r2", "rmse", "mae")}


def test_values_that_do_not_exist_are_left_out():
    constant = full_scores(torch.randn(9, 1), torch.ones(9, 1), Task(kind="regression"))
    assert {score.name for score in constant} == {"rmse", "mae", "mse"}
    assert "r2" not in quick_metrics(torch.randn(9, 1), torch.full((9, 1), 0.1), Task(kind="regression"))
    one_class = full_scores(torch.randn(9, 2), torch.zeros(9).long(), classification(2))
    assert "roc_auc" not in {score.name for score in one_class}
    assert full_scores(torch.zeros(0, 2), torch.zeros(0).long(), classification(2)) == []


def test_without_a_single_error_resampling_says_nothing_and_wilson_does():
    y = torch.arange(40) % 2
    found = {score.name: score for score in full_scores(10 * torch.eye(2)[y], y, classification(2))}
    assert found["accuracy"].value == found["f1"].value == found["roc_auc"].value == 1.0
    assert found["accuracy"].interval.low == pytest.approx(1 / (1 + 1.959964**2 / 40), abs=1e-4)  # Wilson 1927 at p = 1
    assert found["f1"].interval is None
    assert found["roc_auc"].interval is None


def test_intervals_can_be_left_out_and_are_the_same_every_time():
    z, y = drawn(3, 100)
    plain = full_scores(z, y, classification(3), intervals=False)
    assert all(score.interval is None for score in plain)
    state = np.random.get_state()[1].copy(), torch.get_rng_state()
    again = [full_scores(z, y, classification(3)) for _ in range(2)]
    assert again[0] == again[1]
    assert [score.value for score in plain] == [score.value for score in again[0]]
    assert (np.random.get_state()[1] == state[0]).all()
    assert torch.equal(torch.get_rng_state(), state[1])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["accuracy", "balanced_accuracy", "f1", "log_loss", "roc_auc", "r2", "rmse", "mae"])
def test_intervals_cover_the_truth(name):
    """In 400 samples of 150, the 95 % interval holds the value of the whole population about 95 times in 100."""
    kind = METRICS[name].task
    task = classification(2) if kind == "classification" else Task(kind="regression")

    def sample(n, seed):
        if kind == "classification":
            return drawn(2, n, seed=seed)
        generator = torch.Generator().manual_seed(seed)
        y = torch.randn(n, 1, generator=generator)
        return y + 0.5 * torch.randn(n, 1, generator=generator), y

    truth = REFERENCES[name](*(t.double() if t.is_floating_point() else t.numpy() for t in sample(400_000, 10_000)))
    hits = 0
    for seed in range(400):
        interval = next(score.interval for score in full_scores(*sample(150, seed), task) if score.name == name)
        hits += interval.low <= truth <= interval.high
    assert 0.91 <= hits / 400 <= 0.985


def test_blocks_give_the_interval_of_single_samples():
    """Above 2000 samples random blocks are drawn: the width stays that of the central limit theorem."""
    generator = torch.Generator().manual_seed(0)
    y = torch.randn(20_000, 1, generator=generator)
    z = y + torch.randn(20_000, 1, generator=generator)
    interval = next(score.interval for score in full_scores(z, y, Task(kind="regression")) if score.name == "mse")
    width = 2 * 1.96 * ((y - z).double() ** 2).std().item() / math.sqrt(20_000)
    assert interval.high - interval.low == pytest.approx(width, rel=0.1)


def test_every_epochs_metrics_are_those_that_until_can_name():
    for task, output, targets in (
        (classification(3), *drawn(3, 50)),
        (Task(kind="regression"), torch.randn(50, 1), torch.randn(50, 1)),
    ):
        assert ["loss", *quick_metrics(output, targets, task)] == watched_metrics(task)
        assert primary_metric(task) in watched_metrics(task)


@pytest.mark.parametrize(
    ("written", "metric", "sign", "value"),
    [
        ("accuracy>=0.95", "accuracy", ">=", 0.95),
        (" Accuracy >= 95 % ", "accuracy", ">=", 0.95),
        ("accuracy≥95%", "accuracy", ">=", 0.95),
        ("validation accuracy > .9", "accuracy", ">", 0.9),
        ("balanced-accuracy=>0.5", "balanced_accuracy", ">=", 0.5),
        ("loss<0.1", "loss", "<", 0.1),
        ("loss<=1e-3", "loss", "<=", 0.001),
        ("f1>=1", "f1", ">=", 1.0),
    ],
)
def test_conditions(written, metric, sign, value):
    condition = parse_condition(written, classification(3))
    assert (condition.metric, condition.sign, condition.value) == (metric, sign, pytest.approx(value))
    assert parse_condition(str(condition)) == condition


def test_when_a_condition_holds():
    condition = parse_condition("accuracy>=0.95")
    assert condition.holds({"accuracy": 0.95})
    assert not condition.holds({"accuracy": 0.9499})
    assert not condition.holds({"loss": 1.0})
    assert not condition.holds({"accuracy": math.nan})
    assert not parse_condition("loss<0.1").holds({"loss": 0.1})


@pytest.mark.parametrize(
    ("written", "task", "error", "says"),
    [
        ("acuracy>=0.95", classification(2), OptionError, "did you mean 'accuracy'"),
        ("r2>=0.5", classification(2), OptionError, "every epoch measures: loss, accuracy, balanced_accuracy, f1"),
        ("accuracy>=0.5", Task(kind="regression"), OptionError, "loss, r2, rmse, mae"),
        ("roc_auc>=0.5", classification(2), OptionError, "every epoch measures"),
        ("accuracy>=95", classification(2), OptionError, "write 0.95 for 95 %"),
        ("accuracy>=-1", classification(2), OptionError, "lies between 0 and 1"),
        ("accuracy<=0.9", classification(2), OptionError, "rises while(.|\n)*until='accuracy>=0.9'"),
        ("loss>=0.1", classification(2), OptionError, "falls while(.|\n)*until='loss<=0.1'"),
        ("accuracy==0.9", classification(2), OptionError, "use >="),
        ("accuracy>=high", classification(2), OptionTypeError, "as a number"),
        ("accuracy>=nan", classification(2), OptionTypeError, "as a number"),
        ("accuracy", classification(2), OptionTypeError, "for example accuracy>=0.95"),
        ("", classification(2), OptionTypeError, "for example"),
        ("0.95", classification(2), OptionTypeError, "for example"),
        (0.95, classification(2), OptionTypeError, "for example"),
    ],
)
def test_bad_conditions(written, task, error, says):
    with pytest.raises(error, match=says):
        parse_condition(written, task)


def test_thousands_of_classes_take_little_memory():
    """The cells of the confusion matrix are summed by class, not multiplied by a matrix of cells and classes."""
    import tracemalloc

    draw = np.random.default_rng(0)
    targets = torch.from_numpy(draw.integers(0, 10_000, 5000))
    output = torch.zeros(5000, 10_000)
    output[torch.arange(5000), torch.where(torch.from_numpy(draw.random(5000) < 0.7), targets, (targets + 1) % 10_000)] = 5.0
    task = Task(kind="classification", classes=tuple(map(str, range(10_000))))
    tracemalloc.start()
    found = {score.name: score for score in full_scores(output, targets, task)}
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 300e6  # of NumPy's; a matrix of cells by classes would be 400e6 by itself
    assert found["accuracy"].value == pytest.approx(0.7, abs=0.03)
    assert found["f1"].interval is not None
    assert found["f1"].interval.low < found["f1"].interval.high
