"""The benchmark of `diagnose` goes on where it was interrupted, counts what it says it counts, and its table of confidences rises."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from pellucid.core.language import text
from pellucid.core.records import Change, Finding
from pellucid.diagnosis.experiments.experiment import Experiment
from pellucid.diagnosis.experiments.verification import Prover

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
# the benchmark and the folder of these tests are both named "diagnosis"
_tests = sys.modules.pop("diagnosis", None)
sys.path.insert(0, str(BENCHMARKS))

from diagnosis_confidence import SOURCE, error, fitted, left_out, written  # noqa: E402
from diagnosis_facts import fact  # noqa: E402
from diagnosis_measures import calibration, measures, misses, of_healthy, placed, wilson  # noqa: E402
from diagnosis_programs import faults, healthy  # noqa: E402

from diagnosis import copied, stored, unsettled, version  # noqa: E402

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


def told(name: str, group: str, right: bool, stated: float = 0.8) -> dict[str, Any]:
    return {"kind": ("data", "advice", name), "group": group, "right": right, "stated": stated}


def test_shares_of_a_cause_are_drawn_towards_those_of_its_establishment() -> None:
    seen = [told("a", "wine", True), told("a", "wine", True), told("a", "cancer", True), told("b", "wine", False)]
    table = fitted(seen, weight=2.0, least=2)
    # observations are base programs: a twice right, b once wrong. Level (2 + 1) / (3 + 2), establishment (2 + 2 * 0.6) / (3 + 2)
    assert table["data", "advice"] == pytest.approx((0.8, 0.64))
    assert table["data", "advice", "a"][1] == pytest.approx((2 + 2 * 0.64) / 4)
    assert ("data", "advice", "b") not in table


def test_a_base_program_is_judged_by_a_table_that_has_not_seen_it() -> None:
    seen = [told("a", "wine", True), told("a", "cancer", False)]
    assert left_out(seen, (2.0, 10, 0.0)) == [(pytest.approx(2 / 9), True), (pytest.approx(7 / 9), False)]


def test_the_table_is_put_into_the_source() -> None:
    source = SOURCE.read_text(encoding="utf-8")
    made = written(source, {("data", "advice"): (0.61, 0.5), ("data", "fault", "data_leakage"): (0.9, 0.999)}, 0.5)
    assert '("data", "fault", "data_leakage"): (0.90, 0.99),' in made
    assert "SLOPE = 0.5" in made
    assert made.partition("# the table ends")[2] == source.partition("# the table ends")[2]


# -- what is true of an advice ------------------------------------------------------------------------------------------------------------


def linear(rate: float = 0.1, samples: int = 64, width: int = 2, noise: bool = False, epochs: int = 5) -> Experiment:
    chance = torch.Generator().manual_seed(0)
    inputs = torch.randn(samples + 200, width, generator=chance)
    targets = torch.randint(2, (len(inputs),), generator=chance) if noise else (inputs[:, 0] > 0).long()
    return Experiment(
        model=lambda: torch.nn.Sequential(torch.nn.Linear(width, 32), torch.nn.ReLU(), torch.nn.Linear(32, 2)),
        loss=torch.nn.functional.cross_entropy, optimizer=lambda model: torch.optim.Adam(model.parameters(), rate),
        train=(inputs[:samples], targets[:samples]), test=(inputs[samples:], targets[samples:]), batch_size=16, epochs=epochs,
    )  # fmt: skip


def advice(cause: str, experiment: Experiment, change: Change | None = None, **more: Any) -> Finding:
    made = Finding(symptom=cause, cause=cause, summary=text("said"), level="advice", confidence=0.5, change=change, **more)
    object.__setattr__(made, "_prover", Prover(experiment))
    return made


@pytest.mark.slow
@pytest.mark.parametrize(("rate", "right"), [(1e-6, True), (0.05, False)])
def test_an_advice_with_a_remedy_is_right_where_the_remedy_helps(rate: float, right: bool) -> None:
    experiment = linear(rate)
    told, how = fact(experiment, advice("lr_too_low", experiment, Change(kind="learning_rate", values={"rate": 0.05})), 0.0)
    assert told is right
    assert how.startswith("learning_rate: ")


@pytest.mark.slow
@pytest.mark.parametrize(("noise", "right"), [(True, True), (False, False)])
def test_overfitting_is_a_gap_in_other_trainings(noise: bool, right: bool) -> None:
    experiment = linear(0.02, samples=64, width=20, noise=noise, epochs=40 if noise else 2)
    if not noise:
        experiment = linear(0.02, samples=2000, epochs=2)
    assert fact(experiment, advice("overfitting", experiment), 0.0)[0] is right


@pytest.mark.parametrize(("noise", "right"), [(True, True), (False, False)])
def test_inputs_say_nothing_where_no_training_learns(noise: bool, right: bool) -> None:
    experiment = linear(noise=noise)
    assert fact(experiment, advice("uninformative_input", experiment), 0.0)[0] is right


@pytest.mark.slow
def test_units_are_dead_that_give_nothing_in_other_trainings() -> None:
    experiment = linear()
    killed = experiment.changed(
        model=lambda: _with_dead_units(experiment.model()), optimizer=lambda m: torch.optim.SGD(m.parameters(), 0.1)
    )
    told = {"where": "2", "evidence": {"dead_share": 0.5}}
    assert [fact(one, advice("dead_relu", one, **told), 0.0)[0] for one in (killed, experiment)] == [True, False]


def _with_dead_units(model: Any) -> Any:
    with torch.no_grad():
        model[0].bias[:16] = -100.0
    return model


def test_copies_and_classes_are_counted() -> None:
    experiment = linear()
    few = experiment.changed(train=(torch.zeros(42, 2), torch.tensor([0] * 40 + [1] * 2)))
    assert [fact(few, advice("class_imbalance", few), 0.0)[0], fact(experiment, advice("class_imbalance", experiment), 0.0)[0]] == [
        True,
        False,
    ]
    leaked = advice("data_leakage", experiment, evidence={"shared": 3})
    assert [fact(experiment, leaked, share)[0] for share in (0.02, 0.0)] == [True, False]
    assert fact(experiment, advice("data_leakage", experiment, evidence={"columns": [1]}), 0.0)[0] is None


@pytest.mark.slow
def test_more_samples_would_help_where_half_of_them_do_worse() -> None:
    short, enough = linear(samples=20, width=20, epochs=30), linear(samples=2000, epochs=2)
    assert fact(short, advice("insufficient_data", short), 0.0)[0] is True
    assert fact(enough, advice("insufficient_data", enough), 0.0)[0] is False


def test_an_advice_counts_by_its_fact_and_a_fault_does_not() -> None:
    known = {"causes": [], "part": "tuning"}
    told = [{**finding("lr_too_low", level, 0.95), "fact": True, "settled_by": "helps"} for level in ("advice", "fault")]
    assert [calibration([result(one, kind="healthy", **known)])[0] for one in told] == [pytest.approx(0.05), pytest.approx(0.95)]
    unknown = finding("lr_too_low", "advice")
    assert [unsettled(result(one, kind="healthy", **known)) for one in (told[0], finding("plateau", "advice"), unknown)] == [
        False,
        False,
        True,
    ]


def test_misses_are_told_of_the_asked_part_only() -> None:
    lines = misses([result(finding("nan")), result(finding("nan"), part="held-out")], "tuning")
    assert "## Not told as a fault: 1" in lines
    assert "## Wrong faults: 1" in lines


def test_copies_across_parts_and_paths_of_a_sequential() -> None:
    assert copied(faults.program("data_leakage/cancer/mild").experiment) == pytest.approx(0.3, abs=0.01)
    assert copied(healthy.program("twin/cancer/wider").experiment) == 0.0
    assert faults.program("wrong_output_activation/wine/severe").where[-2:] == ("4", "5")
