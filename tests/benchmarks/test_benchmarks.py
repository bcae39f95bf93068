"""The benchmarks measure what they say: the bare loop does Pellucid's work bit for bit, the peers see the ledger's split."""

from __future__ import annotations

import copy
import importlib
import json
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(BENCHMARKS))

    def loaded(name: str) -> ModuleType:
        return importlib.import_module(name)

    return loaded


def test_the_bare_loop_and_ours_have_the_same_losses_and_weights_to_the_last_bit(load: Any, tmp_path: Path) -> None:
    step_cost = load("step_cost")
    for work in step_cost.WORKS:
        short = replace(work, steps=4, epochs=3)
        torch.manual_seed(0)
        initial = short.make()
        train, validation = step_cost.draw(short, 4 * short.batch_size, 1), step_cost.draw(short, 100, 2)
        bare, ours = copy.deepcopy(initial), copy.deepcopy(initial)
        _, _, expected = step_cost.bare(short, bare, train, validation)
        _, _, seen = step_cost.ours(short, ours, train, validation, tmp_path)
        assert seen == expected
        assert all(torch.equal(a, b) for a, b in zip(bare.state_dict().values(), ours.state_dict().values(), strict=True))
        assert not torch.equal(next(initial.parameters()), next(ours.parameters()))


def test_the_peers_see_the_split_of_the_run(load: Any, tmp_path: Path) -> None:
    accuracy = load("accuracy")
    case = next(case for case in accuracy.CASES if case.name == "wine")
    data, target, table, targets = case.load(tmp_path)
    measured, parts = accuracy.fitted(case, data, target, 0, str(tmp_path))
    assert len(parts) == len(table) == len(targets) == 178
    assert {part: int((parts == part).sum()) > 20 for part in ("train", "validation", "test")} == dict.fromkeys(
        ("train", "validation", "test"), True
    )
    assert measured["score"] > 0.85
    scores = accuracy.peer_scores(case, table, targets, parts, 0)
    assert {name for name, (score, _) in scores.items() if score > 0.8} == {"logistic regression", "MLP", "gradient boosting"}


def test_interleaving_measures_every_alternative_in_every_round(load: Any) -> None:
    measurement, calls = load("measurement"), []

    def alternative(name: str, seconds: float) -> Any:
        def once() -> float:
            calls.append(name)
            return seconds

        return once

    times = measurement.interleaved({"a": alternative("a", 2.0), "b": alternative("b", 1.0)}, rounds=5, warm_up=2)
    assert times == {"a": [2.0] * 5, "b": [1.0] * 5}
    assert all(set(calls[i : i + 2]) == {"a", "b"} for i in range(0, 14, 2))
    assert measurement.ratio(times["a"], times["b"]) == (2.0, 2.0, 2.0)


def test_a_report_names_machine_and_versions_and_a_missed_aim_is_a_failure(
    load: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    measurement = load("measurement")
    monkeypatch.setattr(measurement, "RESULTS", tmp_path / "results")
    rows = [{"what": "x", "met": "yes"}, {"what": "longer", "met": "no"}]
    stored = json.loads(measurement.report("trial", rows, {"rounds": 3}).read_text(encoding="utf-8"))
    assert stored["rows"] == rows
    assert stored["hardware"]["cores"] >= 1
    assert stored["versions"]["torch"] != "-"
    assert "| what   | met |\n|--------|-----|\n| x      | yes |" in capsys.readouterr().out
    assert measurement.verdict(rows) == 1
    assert measurement.verdict(rows[:1]) == 0
