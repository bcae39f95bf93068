from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pellucid.core.errors import OptionError, RunError
from pellucid.runs.directory import RunDirectory
from pellucid.runs.store import compare, matching, runs_in


def a_run(folder: Path, name: str, day: int, *, network: str = "mlp", accuracy: float | None = None, rows: int = 2, **config: Any) -> Path:
    directory = RunDirectory.create(folder, name)
    directory.write_json("run.json", {
        "format": 1, "pellucid": "0.1.0", "name": name, "created": f"2025-01-{day:02}T00:00:00+00:00",
        "config": {"epochs": 3, "learning_rate": "auto", "network": network, **config},
        "data": {"name": name.split("-")[0]}, "task": {"kind": "classification"},
        "network": {"name": network, "options": {"hidden": [64]}}, "environment": {"torch": "2.13"},
    })  # fmt: skip
    for epoch in range(1, rows + 1):
        directory.append_metrics(
            {"epoch": epoch, "seconds": 2.5 * epoch, "train": {"loss": 1.0}, "validation": {"loss": 0.5, "accuracy": epoch / 10}}
        )
    if accuracy is not None:
        scores = {part: [{"name": "accuracy", "value": value}] for part, value in (("train", 1.0), ("test", accuracy))}
        directory.write_record("summary", {"scores": scores, "cost": {"seconds": 9}})
    return directory.path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    a_run(tmp_path, "digits-mlp", 3, accuracy=0.97, batch_size=64)
    a_run(tmp_path, "digits-cnn", 1, network="cnn", accuracy=0.99)
    a_run(tmp_path, "iris-mlp", 2)
    a_run(tmp_path, "wine", 4, rows=0)
    torn = a_run(tmp_path, "torn", 5)
    (torn / "run.json").write_text("{")
    (tmp_path / "no run").mkdir()
    (tmp_path / "file.txt").write_text("x")
    return tmp_path


def test_list(folder: Path) -> None:
    entries = {entry.name: entry for entry in runs_in(folder)}
    assert list(entries) == ["torn", "digits-cnn", "iris-mlp", "digits-mlp", "wine"]
    assert {name: entry.status for name, entry in entries.items()} == {
        "torn": "unreadable", "digits-cnn": "finished", "iris-mlp": "stopped", "digits-mlp": "finished", "wine": "started",
    }  # fmt: skip
    assert "torn or is not JSON" in (entries["torn"].error or "")
    cnn = entries["digits-cnn"]
    assert (cnn.network, cnn.task, cnn.data, cnn.part, cnn.metrics) == ("cnn", "classification", "digits", "test", {"accuracy": 0.99})
    assert (cnn.epochs, cnn.seconds) == (2, 9.0)
    iris = entries["iris-mlp"]
    assert (iris.part, iris.metrics, iris.seconds) == ("validation", {"loss": 0.5, "accuracy": 0.2}, 5.0)
    with RunDirectory.open(folder / "iris-mlp").lock():
        assert runs_in(folder / "iris-mlp")[0].status == "running"


@pytest.mark.parametrize(
    "summary",
    [{"scores": 3}, {"scores": {"test": [1]}}, {"cost": 1, "scores": {"test": [{"value": "high"}]}}, {"cost": {"seconds": "x"}}],
)
def test_records_of_wrong_types_do_not_break_the_list(folder: Path, summary: dict[str, Any]) -> None:
    RunDirectory.open(folder / "wine").write_record("summary", summary)
    (folder / "iris-mlp" / "metrics.jsonl").write_text('{"validation": 3, "seconds": []}\n')
    assert {entry.name: entry.status for entry in runs_in(folder)}["wine"] == "finished"


def test_no_folder() -> None:
    with pytest.raises(RunError, match="is not a folder"):
        runs_in("missing")


@pytest.mark.parametrize(
    ("conditions", "names"),
    [
        ([], ["torn", "digits-cnn", "iris-mlp", "digits-mlp", "wine"]),
        (["network=MLP"], ["iris-mlp", "digits-mlp", "wine"]),
        (["network!=mlp"], ["torn", "digits-cnn"]),
        (["name=digits*"], ["digits-cnn", "digits-mlp"]),
        (["accuracy>=0.97"], ["digits-cnn", "digits-mlp"]),
        (["accuracy > 0.97"], ["digits-cnn"]),
        (["accuracy<0.5", "status=stopped"], ["iris-mlp"]),
        (["batch-size=64"], ["digits-mlp"]),
        (["created>=2025-01-03"], ["digits-mlp", "wine"]),
        (["epochs=2", "seconds<9"], ["iris-mlp"]),
        (["learning_rate=auto", "data=wine"], ["wine"]),
        (["status=unreadable"], ["torn"]),
        (["accuracy=high"], []),
    ],
)
def test_filter(folder: Path, conditions: list[str], names: list[str]) -> None:
    assert [entry.name for entry in matching(runs_in(folder), conditions)] == names


@pytest.mark.parametrize(
    ("condition", "said"),
    [
        ("accurcy>0.5", "did you mean 'accuracy'"),
        ("accuracy", "a name, a sign and a value"),
        ("accuracy>>0.9", "a name, a sign and a value"),
        (">3", "a name"),
        ("", "a name"),
    ],
)
def test_wrong_filters_are_explained(folder: Path, condition: str, said: str) -> None:
    with pytest.raises(OptionError, match=said):
        matching(runs_in(folder), [condition])


def test_compare(folder: Path) -> None:
    rows = compare([folder / "digits-mlp", folder / "digits-cnn"])
    assert [(row.kind, row.name, row.values) for row in rows] == [
        ("config", "network", ("mlp", "cnn")),
        ("config", "batch_size", (64, None)),
        ("network", "name", ("mlp", "cnn")),
        ("metric", "accuracy", (0.97, 0.99)),
        ("cost", "epochs", (2, 2)),
        ("cost", "seconds", (9.0, 9.0)),
    ]
    with pytest.raises(RunError, match="at least two"):
        compare([folder / "wine"])
    with pytest.raises(RunError, match="torn or is not JSON"):
        compare([folder / "wine", folder / "torn"])
