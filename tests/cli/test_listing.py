"""The table of runs, and runs side by side."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pellucid.cli import main
from pellucid.cli.layout import width_of
from pellucid.core.options import resolve
from pellucid.runs.directory import RunDirectory
from pellucid.runs.store import RunEntry


def make_run(parent: Path, name: str, created: str, *, network: str = "mlp", kind: str = "classification", **config: Any) -> None:
    directory = RunDirectory.create(parent, name)
    directory.write_json(
        "run.json",
        {
            "format": 1,
            "pellucid": "0.1.0",
            "name": directory.path.name,
            "created": created,
            "config": resolve(config),
            "data": {"name": "iris", "kind": "table", "samples": 150, "reference": None},
            "task": {"format": 1, "kind": kind, "targets": ["t"], "classes": []},
            "network": {"name": network, "options": {}, "input_shape": [4], "outputs": 3, "parameters": 123, "custom": False},
            "environment": {"python": "3.11"},
        },
    )
    metric = {"accuracy": 0.9} if kind == "classification" else {"r2": 0.5}
    for epoch in (1, 2, 3):
        directory.append_metrics({"epoch": epoch, "step": epoch, "seconds": epoch / 2, "validation": {"loss": 1 / epoch, **metric}})


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    folder = tmp_path / "runs"
    make_run(folder, "iris-mlp", "2020-11-19T10:00:00+00:00", epochs=3)
    make_run(folder, "iris-logistic", "2020-11-20T10:00:00+00:00", network="logistic", learning_rate=0.1)
    make_run(folder, "糖尿病 [b]", "2020-11-20T11:00:00+00:00", kind="regression")
    torn = folder / "torn"
    torn.mkdir()
    (torn / "run.json").write_text('{"format":')
    return folder


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str], runs: Path) -> Callable[..., tuple[int, str, str]]:
    def call(*arguments: str) -> tuple[int, str, str]:
        code = main.run(["runs", *arguments])
        written = capsys.readouterr()
        return code, written.out, written.err

    return call


def test_the_latest_first_and_one_line_each(call: Callable[..., tuple[int, str, str]]) -> None:
    code, out, err = call()
    lines = out.splitlines()
    assert code == 0
    assert [line.split("  ")[0] for line in lines[1:4]] == ["糖尿病 [b]", "iris-logistic", "iris-mlp"]
    assert "accuracy 0.900*" in lines[3]
    assert "2020-11-19" in lines[3]
    assert "torn" in lines[4]
    assert "unreadable" in lines[4]
    assert "torn" in err
    assert lines[5].startswith("* on the validation part")
    starts = {width_of(line[: line.index(word)]) for line, word in zip(lines[1:4], ["stopped"] * 3, strict=True)}
    assert len(starts) == 1  # Chinese names keep the columns straight
    assert not any(line != line.rstrip() for line in lines)


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        (["--network", "logistic"], ["iris-logistic"]),
        (["--task", "regression"], ["糖尿病 [b]"]),
        (["--status", "unreadable"], ["torn"]),
        (["--where", "accuracy>0.8", "--where", "epochs=3"], ["iris-logistic", "iris-mlp"]),
        (["--where", "learning_rate=0.1"], ["iris-logistic"]),
        (["--where", "accuracy>0.95"], []),
    ],
)
def test_filters(call: Callable[..., tuple[int, str, str]], arguments: list[str], names: list[str]) -> None:
    code, out, _ = call(*arguments, "--json")
    answer = json.loads(out)
    assert code == 0
    assert [run["name"] for run in answer["runs"]] == names
    assert call(*arguments)[0] == 0


def test_json_says_everything(call: Callable[..., tuple[int, str, str]]) -> None:
    runs = {run["name"]: run for run in json.loads(call("--json")[1])["runs"]}
    assert runs["iris-logistic"]["config"]["learning_rate"] == 0.1
    assert runs["iris-logistic"]["metrics"]["accuracy"] == 0.9
    assert runs["torn"]["error"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--where", "acuracy>0.9"], "did you mean 'accuracy'?"),
        (["--where", "good"], "accuracy>=0.95"),
        (["--task", "clasification"], "did you mean 'classification'?"),
        (["nowhere"], "nowhere"),
        (["runs", "runs"], "--compare"),
        (["--compare", "runs/iris-mlp", "runs/torn"], "torn"),
        (["--compare", "runs/iris-mlp", "nowhere"], "nowhere"),
    ],
)
def test_bad_input(call: Callable[..., tuple[int, str, str]], arguments: list[str], says: str) -> None:
    code, out, err = call(*arguments)
    assert (code, out) == (2, "")
    assert says in err


def test_empty_and_matching_nothing(call: Callable[..., tuple[int, str, str]], tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert call("empty") == (0, "no runs in empty\n", "")
    assert call("--network", "cnn") == (0, "none of the 4 runs matches\n", "")


def test_compare(call: Callable[..., tuple[int, str, str]]) -> None:
    code, out, _ = call("--compare", "runs/iris-mlp", "runs/iris-logistic")
    rows = [line.split() for line in out.splitlines()]
    assert code == 0
    assert ["learning_rate", "auto", "0.1"] in rows
    assert ["epochs", "3", "auto"] in rows
    assert ["name", "mlp", "logistic"] in rows
    assert ["accuracy", "0.9000", "0.9000"] in rows
    assert not [row for row in rows if row[:1] == ["optimizer"]]  # the same in both
    answer = json.loads(call("--compare", "runs/iris-mlp", "runs/iris-logistic", "--json")[1])
    assert {"kind": "network", "name": "name", "values": ["mlp", "logistic"]} in answer["rows"]


def test_runs_loads_no_torch(runs: Path) -> None:
    import subprocess

    code = "import sys; from pellucid.cli.main import run; run(['runs']); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == 0


@pytest.mark.parametrize(
    ("metric", "higher"), [("accuracy", True), ("r2", True), ("log_loss", False), ("rmse", False), ("mae", False), ("roc_auc", True)]
)
def test_the_best_value_is_marked(metric: str, higher: bool) -> None:
    from pellucid.cli.listing import _cells
    from pellucid.runs.store import ComparedRow

    cells = _cells(ComparedRow("metric", metric, (0.1, 0.2, None)))
    assert cells == (["0.1000", ("0.2000", "bold"), "-"] if higher else [("0.1000", "bold"), "0.2000", "-"])


def test_an_entry_of_a_foreign_date_is_shown_as_it_is() -> None:
    from pellucid.cli.listing import _local

    assert _local("yesterday", short=True) == "yesterday"
    assert _local(RunEntry(Path("x"), "x").created, short=True) == "-"
