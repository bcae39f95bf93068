"""The summary of a training in plain words, in both languages, and as it is stored."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from pellucid.core.language import text, use_language
from pellucid.core.records import Cost, Finding, Interval, Notice, Score, Task
from pellucid.core.results import Baseline, Baselines, ClassScores, PartEvaluation
from pellucid.training.summary import Summary, summarize

DIGITS = Task(kind="classification", targets=("digit",), classes=tuple("0123456789"))
HOUSES = Task(kind="regression", targets=("value",))
COST = Cost(
    seconds=12.4,
    training_seconds=9.0,
    checkpoint_seconds=0.1,
    epochs=60,
    steps=3420,
    samples=68_000,
    parameters=34_762,
    total_flops=2.34e11,
    peak_memory_bytes=400 * 2**20,
)
GOOD = Finding(symptom="generalisation", level="good", summary=text("A good fit"), evidence={"metric": "accuracy"})


def accuracy(value: float, low: float | None = None, high: float | None = None, samples: int = 360) -> Score:
    interval = None if low is None or high is None else Interval(low=low, high=high)
    return Score(name="accuracy", value=value, interval=interval, samples=samples)


def summed_up(**changes: Any) -> Summary:
    values: dict[str, Any] = {
        "task": DIGITS,
        "scores": {"train": [accuracy(0.999)], "validation": [accuracy(0.98, 0.95, 0.99)], "test": [accuracy(0.9806, 0.9605, 0.9906)]},
        "findings": [GOOD],
        "cost": COST,
        "stopped": text("all {epochs} epochs are done", epochs=60),
        "run": "runs/digits",
        "primary": "accuracy",
        "constant": 0.101,
    }
    return summarize(**{**values, **changes})


def words(summary: Summary) -> str:
    with use_language("en"):
        return "\n".join(str(line) for line in summary.lines())


R2 = {
    "task": HOUSES,
    "primary": "r2",
    "constant": -0.002,
    "findings": [],
    "scores": {
        "test": [
            Score(name="r2", value=0.801, interval=Interval(low=0.78, high=0.82), samples=4128),
            Score(name="mae", value=31234.5, higher_is_better=False, samples=4128),
        ]
    },
}
TUMOURS = PartEvaluation(
    samples=100,
    scores=(),
    per_class=(
        ClassScores(name="malignant", samples=40, predicted=38, precision=accuracy(0.92), recall=None, f1=None),
        ClassScores(name="benign", samples=60, predicted=62, precision=None, recall=None, f1=None),
    ),
    positive_class="malignant",
    sensitivity=accuracy(0.9, 0.8, 0.95, samples=40),
    specificity=accuracy(0.95, 0.9, 0.97, samples=60),
)
COMPARED = Baselines(
    primary="accuracy", part="test", samples=360, train_samples=1000, network=accuracy(0.98),
    baselines=(
        Baseline(name="constant", model="", scores=(accuracy(0.1),), train_samples=1000),
        Baseline(name="random_forest", model="", scores=(accuracy(0.99),), train_samples=500),
        Baseline(name="svm", model="", skipped=text("the time was used up")),
    ),
    representation=text("pixels"), verdict=text("no better than a random forest"), seconds=2.0,
)  # fmt: skip
OVERFITTED = Finding(symptom="overfitting", level="fault", summary=text("Overfitting: ..."), remedy=text("try --dropout 0.3"))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, "On the test part (360 samples): accuracy 0.981, 95 % interval [0.961, 0.991]."),
        ({}, "About 98 of 100 new samples will be answered right (96 to 100)"),
        ({}, "For comparison: a constant answer, the training part's commonest class, would get 0.101."),
        ({}, "12 s for 60 epochs (3 420 steps) on cpu; all 60 epochs are done."),
        ({}, "34 762 parameters, 2.3e11 floating-point operations, 400 MiB of memory at most."),
        ({}, "pellucid predict runs/digits NEW_DATA"),
        ({"run": "my runs/digits"}, 'pellucid predict "my runs/digits" NEW_DATA'),
        ({"scores": {"test": [accuracy(0.9965, 0.995, 0.9975, samples=10_000)]}}, "About 996 of 1000 new samples"),
        ({"scores": {"test": [accuracy(1.0, 0.904, 1.0, samples=36)]}}, "(90 to 100)"),
        ({"scores": {"test": [accuracy(0.9, 0.74, 0.96, samples=30)]}}, "30 test samples leave the score uncertain by ±0.110"),
        ({"scores": {"test": [accuracy(0.2, 0.08, 0.39, samples=30)]}}, "that the network is better is not shown"),
        ({"scores": {"validation": [accuracy(0.98, 0.95, 0.99)]}}, "this score is a little too good"),
        ({"scores": {"train": [accuracy(0.98)]}}, "says little about new ones"),
        ({"scores": {}}, "nothing was measured"),
        ({"scores": {"test": [accuracy(1.0, samples=1)]}}, "On the test part (1 sample): accuracy 1.000."),
        ({"cost": replace(COST, epochs=1, steps=1), "stopped": text("the one epoch is done")}, "for 1 epoch (1 step) on cpu; the one"),
        ({"evaluation": TUMOURS}, "Of class 'malignant' 0.900 [0.800, 0.950] are recognised (sensitivity, 40 samples), of class"),
        ({"evaluation": TUMOURS}, "Of the answers 'malignant' 0.920 are right (precision)."),
        ({"baselines": COMPARED}, "Baselines: no better than a random forest"),
        ({"baselines": COMPARED}, "a constant answer 0.100, a random forest 0.990 (learnt from 500 of 1 000 samples); 2.0 s"),
        ({"baselines": COMPARED}, "Left out: a support vector machine (the time was used up)."),
        (R2, "For comparison: a constant answer, the training part's mean, would get -0.002."),
        (R2, "explains 80 % of the variance of value; on average a prediction is off by 31 2"),
        ({"findings": [OVERFITTED]}, "Next: Against overfitting: try --dropout 0.3."),
        ({"notices": [Notice(kind="k", summary=text("column 'id' is an identifier"))]}, "Note: column 'id' is an identifier"),
    ],
)
def test_what_is_said(changes: dict[str, Any], said: str) -> None:
    assert said in words(summed_up(**changes))


def test_sections_stand_in_the_order_of_interest() -> None:
    with use_language("en"):
        assert [str(heading) for heading, _ in summed_up().sections()] == ["Result", "Verdict", "Cost", "Next"]


@pytest.mark.parametrize("changes", [{}, R2, {"scores": {}}, {"findings": [OVERFITTED, GOOD]}])
def test_a_stored_summary_is_read_in_either_language(changes: dict[str, Any]) -> None:
    summary = summed_up(**changes)
    again = Summary.from_dict(json.loads(json.dumps(summary.to_dict())))
    assert again == summary
    for language in ("en", "zh"):
        with use_language(language):
            lines = [str(line) for line in again.lines()]
            assert lines == [str(line) for line in summary.lines()]
            assert not any("{" in line for line in lines)
