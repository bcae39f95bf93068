"""Records come back from JSON as they went, with what a newer version wrote kept."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import numpy as np
import pytest
import torch

from pellucid.core.language import text
from pellucid.core.records import Cost, Finding, Interval, Notice, Record, Score, Task
from pellucid.core.results import (
    Baseline,
    Baselines,
    Calibration,
    CalibrationBin,
    ClassScores,
    Confusion,
    Difference,
    Evaluation,
    LayerRow,
    Mistake,
    Mistakes,
    NetworkTable,
    PartEvaluation,
    TargetEvaluation,
)

ACCURACY = Score(name="accuracy", value=0.98, interval=Interval(low=0.97, high=0.99), samples=360)
EXAMPLES = [
    Interval(low=0.1, high=0.2),
    Score(name="accuracy", value=0.98, interval=Interval(low=0.97, high=0.99), samples=360),
    Score(name="r2", value=-1.0),
    Finding(symptom="overfitting", summary=text("gap {gap:.2f}", gap=0.12), remedy=text("more data"), evidence={"gap": 0.12, "n": [1, 2]}),
    Finding(symptom="ok", summary=text("nothing"), evidence={"because": text("of {x}", x=1), "inner": {"why": text("so")}}),
    Notice(kind="duplicate_rows", summary=text("{n} rows twice", n=3), where="age"),
    Cost(seconds=1.0, training_seconds=0.5, checkpoint_seconds=0.1, epochs=3, steps=9, samples=100, parameters=10),
    Task(kind="classification", classes=("猫", "dog")),
    Evaluation(
        task="classification",
        primary="accuracy",
        parts={
            "test": PartEvaluation(
                samples=360,
                scores=(ACCURACY,),
                per_class=(ClassScores(name="猫", samples=0, predicted=1, precision=ACCURACY, recall=None, f1=ACCURACY),),
                confusion=Confusion(classes=("猫", "dog"), counts=((1, 2), (3, 4)), pairs=(("dog", "猫", 3),)),
                calibration=Calibration(
                    ece=Score(name="ece", value=0.02, higher_is_better=False),
                    bins=(CalibrationBin(low=0.5, high=1.0, samples=0, confidence=None, accuracy=None),),
                    chance=Interval(low=0.0, high=0.1),
                ),
            )
        },
    ),
    PartEvaluation(
        samples=3,
        scores=(),
        regression=(TargetEvaluation(name="y", scores=(ACCURACY,), pairs=((1.0, 2.0),), residual_quantiles={"0.5": 0.1}),),
    ),
    Mistakes(
        task="regression",
        part="test",
        samples=3,
        wrong=None,
        mistakes=(
            Mistake(index=3, identifier="row 5", actual=(1.0, 2.0), predicted=(3.0, 2.0), loss=2.5, values={"age": 3, "名字": None}),
            Mistake(index=3, identifier="a.png", actual=("猫",), predicted=("dog",), probability=0.9, loss=2.5, thumbnail="data:,"),
        ),
    ),
    Baselines(
        primary="accuracy",
        part="test",
        samples=360,
        network=ACCURACY,
        baselines=(
            Baseline(name="svm", model="SVC()", skipped=text("too slow: {seconds:.0f} s", seconds=80.0)),
            Baseline(
                name="linear",
                model="LogisticRegression()",
                scores=(ACCURACY,),
                difference=Difference(metric="accuracy", value=0.01, interval=Interval(low=-0.01, high=0.03)),
                notes=(text("trained on {n} samples", n=3),),
            ),
        ),
        representation=text("the columns"),
        verdict=text("no better"),
    ),
    NetworkTable(
        rows=(LayerRow(path="0", kind="Conv2d", output_shape=(8, 3, 3), parameters=80, flops=1e3, receptive_field=(3, 3)),),
        input_shape=(1, 8, 8),
        parameters=80,
        trainable=80,
        flops=1e3,
    ),
]


@pytest.mark.parametrize("record", EXAMPLES, ids=lambda record: type(record).__name__)
def test_there_and_back(record: Record) -> None:
    stored = json.loads(json.dumps(record.to_dict()))
    assert stored["format"] == type(record).format
    again = type(record).from_dict(stored)
    assert again == record
    assert again.to_dict() == record.to_dict()


@pytest.mark.parametrize("record", EXAMPLES, ids=lambda record: type(record).__name__)
def test_unknown_fields_are_kept(record: Record) -> None:
    stored = {**record.to_dict(), "format": 7, "new_field": {"text": 1, "other": [2]}}
    again = type(record).from_dict(stored)
    assert again == record
    assert again.to_dict()["new_field"] == {"text": 1, "other": [2]}
    assert again.to_dict()["format"] == type(record).format
    with pytest.raises(dataclasses.FrozenInstanceError):
        again.unknown = {}  # pyright: ignore[reportAttributeAccessIssue]


@pytest.mark.parametrize(
    ("value", "stored"),
    [
        (np.float64(0.5), 0.5),
        (np.int64(3), 3),
        (np.bool_(True), True),
        (np.array([1.5, 2.0]), [1.5, 2.0]),
        (np.array([[1], [2]]), [[1], [2]]),
        (torch.tensor(2.0), 2.0),
        (torch.tensor([1, 2]), [1, 2]),
        ({3: (1, 2)}, {"3": [1, 2]}),
        (None, None),
    ],
)
def test_what_is_stored(value: Any, stored: Any) -> None:
    record = Notice(kind="k", summary=text("s"), evidence={"value": value})
    assert json.loads(json.dumps(record.to_dict()))["evidence"]["value"] == stored


def test_fields_a_record_of_an_older_version_lacks_take_their_defaults() -> None:
    assert Score.from_dict({"format": 1, "name": "accuracy", "value": 1.0}) == Score(name="accuracy", value=1.0)


def test_task_outputs() -> None:
    assert Task(kind="classification", classes=("a", "b", "c")).outputs == 3
    assert Task(kind="regression", targets=("x", "y")).outputs == 2


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Nested(Record):
    scores: tuple[Score, ...] = ()
    by_part: dict[str, list[Score]] = dataclasses.field(default_factory=dict)
    best: Score | None = None
    note: str | float | None = None


def test_records_inside_records() -> None:
    score = Score(name="accuracy", value=1.0, interval=Interval(low=0.9, high=1.0))
    nested = _Nested(scores=(score,), by_part={"test": [score, score]}, best=score, note=2.5)
    assert _Nested.from_dict(json.loads(json.dumps(nested.to_dict()))) == nested
    assert _Nested.from_dict(_Nested().to_dict()) == _Nested()


@pytest.mark.parametrize(
    ("low", "high", "higher_is_better", "expected"),
    [(0.1, 0.2, True, True), (0.1, 0.2, False, False), (-0.2, -0.1, True, False), (-0.2, -0.1, False, True), (-0.1, 0.1, True, None)],
)
def test_a_difference_says_who_is_better(low: float, high: float, higher_is_better: bool, expected: bool | None) -> None:
    interval = Interval(low=low, high=high)
    found = Difference(metric="m", value=0.0, interval=interval, higher_is_better=higher_is_better)
    assert found.network_is_better is expected
    assert Difference(metric="m", value=0.0, interval=None).network_is_better is None
