"""The benchmark of `diagnose` goes on where it was interrupted, counts what it says it counts, and its table of confidences rises."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
# the benchmark and the folder of these tests are both named "diagnosis"
_tests = sys.modules.pop("diagnosis", None)
sys.path.insert(0, str(BENCHMARKS))

from diagnosis_confidence import error, isotonic  # noqa: E402
from diagnosis_measures import calibration, measures, misses, of_healthy, placed, wilson  # noqa: E402
from diagnosis_programs import faults, healthy  # noqa: E402

from diagnosis import copied, stored, version  # noqa: E402

sys.path.remove(str(BENCHMARKS))
del sys.modules["diagnosis"]
if _tests is not None:
    sys.modules["diagnosis"] = _tests

SETTINGS: dict[str, Any] = {"budget": 6.0, "version": "a"}


def finding(cause: str, level: str = "fault", confidence: float = 0.9, where: str = "loss", by: str = "static") -> dict[str, Any]:
    return {"symptom": cause, "cause": cause, "level": level, "confidence": confidence, "where": where, "established_by": by,
            "change": None, "summary": cause, "consequences": []}  # fmt: skip


def result(*findings: dict[str, Any], kind: str = "fault", **more: Any) -> dict[str, Any]:
    known = {
        "name": "wrong_loss/wine/mild", "kind": kind, "part": "tuning", "causes": ["wrong_loss"] if kind == "fault" else [],
        "also": ["plateau"], "where": ["loss"], "structural": True, "costs": True, "early": False, "family": "static",
        "cause": "wrong_loss",
    }  # fmt: skip
    told = {"findings": list(findings), "error": None, "verdict": None, "verified": False, "early_seen": None, "seconds": 1.0}
    return {**known, **told, **more}


def test_results_of_the_same_settings_are_taken_over_and_a_torn_line_is_not(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    lines = [{"kind": "fault", "name": "a", **SETTINGS}, {"kind": "fault", "name": "b", **SETTINGS, "version": "b"}]
    path.write_text("\n".join(map(json.dumps, lines)) + '\n{"kind": "fault", "na', encoding="utf-8")
    assert list(stored(path, **SETTINGS)) == [("fault", "a")]
    assert list(stored(path, budget=6.0)) == [("fault", "a"), ("fault", "b")]
    assert stored(tmp_path / "none.jsonl", **SETTINGS) == {}


def test_the_version_is_that_of_the_code() -> None:
    assert version() == version()
    assert len(version()) == 12


def test_what_counts_as_right() -> None:
    results = [result(finding("wrong_loss"), finding("plateau")), result(finding("lr_too_high"), where=["learning_rate"])]
    told = measures(results)
    assert told["right cause in top 3"] == (0.5, 2)
    assert told["label recall"] == (0.5, 2)
    assert told["label precision"] == (pytest.approx(1 / 3), 3)
    assert told["label precision, with consequences"] == (0.5, 2)
    assert told["right place"] == (1.0, 1)
    assert told["before step 1"] == (1.0, 1)


def test_an_advice_with_the_right_name_is_no_recall() -> None:
    told = measures([result(finding("wrong_loss", "advice"))])
    assert (told["right cause in top 3"][0], told["label recall"][0]) == (1.0, 0.0)


def test_a_remedy_that_was_not_there_is_not_verified() -> None:
    told = measures([result(finding("wrong_loss"), verified=True), result(finding("wrong_loss"), verified=True, verdict="helps")])
    assert told["remedy verified"] == (0.5, 2)
    assert told["remedy verified, of those that could be applied"] == (1.0, 1)


@pytest.mark.parametrize(
    ("where", "places", "right"),
    [
        ("fc1", ["fc"], True), ("fc1.weight", ["fc"], True), ("5", ["4", "5"], True), ("51", ["5"], False), ("head", ["fc"], False),
        ("inputs[:, [3, 4]]", ["inputs"], True), ("real.py:3", ["loss"], False), (None, ["loss"], False),
    ],
)  # fmt: skip
def test_places(where: str, places: list[str], right: bool) -> None:
    assert placed({"where": where}, {"where": places, "cause": "wrong_loss"}) is right


def test_healthy_programs_count_faults_only() -> None:
    rows = of_healthy("tuning", [result(finding("plateau", "advice"), kind="healthy"), result(finding("nan"), kind="healthy")])
    assert str(rows[0]["value"]).startswith("0.500 [")
    assert wilson(0, 100)[1] == pytest.approx(0.037, abs=0.001)


def test_calibration_error_of_too_sure_findings() -> None:
    found, number, _ = calibration([result(finding("wrong_loss", confidence=0.9), finding("nan", confidence=0.9))])
    assert (found, number) == (pytest.approx(0.4), 2)
    assert error([(0.9, True), (0.9, False)]) == pytest.approx(0.4)


def test_shares_rise_and_small_blocks_are_not_called_sure() -> None:
    knots = isotonic([(0.5, False)] * 20 + [(0.7, True)] * 20 + [(0.8, False)] * 20 + [(0.9, True)] * 40)
    assert [stated for stated, _ in knots] == [0.5, 0.75, 0.9]
    assert [share for _, share in knots] == [0.05, 0.5, 0.98]


def test_misses_are_told_of_the_asked_part_only() -> None:
    lines = misses([result(finding("nan")), result(finding("nan"), part="held-out")], "tuning")
    assert "## Not told as a fault: 1" in lines
    assert "## Wrong faults: 1" in lines


def test_copies_across_parts_and_paths_of_a_sequential() -> None:
    assert copied(faults.program("data_leakage/cancer/mild").experiment) == pytest.approx(0.3, abs=0.01)
    assert copied(healthy.program("twin/cancer/wider").experiment) == 0.0
    assert faults.program("wrong_output_activation/wine/severe").where[-2:] == ("4", "5")
