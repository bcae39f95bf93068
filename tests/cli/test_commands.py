"""The commands end to end, on data sets that come along: training, JSON, predictions, evaluation, resuming, the description of data."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from cli.conftest import Called
from pellucid.cli import main


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with one run on iris and one on diabetes."""
    folder = tmp_path_factory.mktemp("trained")
    for name in ("iris", "diabetes"):
        options = ["--epochs", "5", "--no-baselines", "--directory", str(folder / "runs"), "--language", "en"]
        assert main.run(["fit", name, *options]) == 0
    return folder


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Eight flowers, two of them without a sepal length."""
    path = tmp_path / "新的 flowers.csv"
    header = "sepal length (cm),sepal width (cm),petal length (cm),petal width (cm),target\n"
    rows = "5.1,3.5,1.4,0.2,setosa\n6.2,2.9,4.3,1.3,versicolor\n,3.3,6.0,2.5,virginica\n5.0,3.6,1.4,0.2,setosa\n"
    path.write_text(header + rows + rows.replace("5.", "4."), encoding="utf-8")
    return path


def test_fit_says_where_what_and_how_well(call: Callable[..., Called]) -> None:
    code, out, err = call("fit", "iris", "--epochs", "5")
    assert code == 0
    lines = err.splitlines()
    assert lines[0].split()[0] == "Run"
    path = Path(lines[0].split()[1])
    assert (path / "records" / "summary.json").is_file()
    assert "iris: 150 samples of 4 features" in err
    assert "epoch 5/5: loss " in err
    assert "95 % interval [" in " ".join(out.split())
    for heading in ("Result", "Baselines", "Verdict", "Cost", "Next", "Run"):
        assert f"\n{heading} " in out
    assert f"pellucid predict {path} " in " ".join(out.split())
    assert "\x1b" not in out + err


def test_fit_in_chinese(call: Callable[..., Called]) -> None:
    code, out, err = call("fit", "iris", "--epochs", "2", "--language", "zh")
    assert code == 0
    assert "第 2/2 轮：损失" in err
    assert "95 % 置信区间 [" in out
    assert "Result" not in out


def test_fit_as_json(call: Callable[..., Called]) -> None:
    code, out, err = call("fit", "iris", "--epochs", "2", "--json", "--network-option", "hidden=8", "--no-baselines")
    answer = json.loads(out)
    assert code == 0
    assert set(answer) >= {"run", "task", "metrics", "findings", "cost"}
    assert answer["task"] == "classification"
    assert 0 <= answer["metrics"]["test"]["accuracy"] <= 1
    assert set(answer["metrics"]) == {"train", "validation", "test"}
    assert all(isinstance(finding["summary"], str) for finding in answer["findings"])
    assert answer["cost"]["epochs"] == 2
    assert "epoch 2/2" in err
    assert json.loads((Path(answer["run"]) / "run.json").read_text(encoding="utf-8"))["config"]["network_options"] == {"hidden": 8}


def test_fit_from_a_file(call: Callable[..., Called], tmp_path: Path) -> None:
    (tmp_path / "options.toml").write_text(
        'data = "wine"\nepochs = 3\nnetwork = "logistic"\nseed = 7\nbaselines = false\n', encoding="utf-8"
    )
    code, out, _ = call("fit", "--config", "options.toml", "--epochs", "2", "--json")
    config = json.loads((Path(json.loads(out)["run"]) / "run.json").read_text(encoding="utf-8"))["config"]
    assert code == 0
    assert (config["epochs"], config["network"], config["seed"], config["baselines"]) == (2, "logistic", 7, False)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["fit", "absent.csv"], "absent.csv"),
        (["fit", "irsi"], "iris"),
        (["fit", "iris", "--target", "specie"], "specie"),
        (["fit", "iris", "--network", "mpl"], "mlp"),
        (["fit", "iris", "--until", "acuracy>0.9"], "accuracy"),
        (["fit", "iris", "--network-option", "hiden=3"], "hidden"),
        (["fit", "iris", "--device", "cuda:99"], "cuda"),
        (["predict", "absent", "iris"], "absent"),
        (["resume", "absent"], "absent"),
        (["evaluate", "absent", "iris"], "absent"),
        (["data", "absent.csv"], "absent.csv"),
        (["data", "iris", "--task", "clasification"], "classification"),
    ],
)
def test_bad_input_leaves_nothing_behind(call: Callable[..., Called], arguments: list[str], says: str) -> None:
    code, out, err = call(*arguments)
    assert (code, out) == (2, "")
    assert says in err
    assert "Traceback" not in err
    assert not Path("runs").exists() or not list(Path("runs").iterdir())


def test_parts_in_files_of_their_own(call: Callable[..., Called], tmp_path: Path) -> None:
    """--test and --validation take a file, all of whose rows are that part; a file for validation alone is refused."""
    sizes = {"train": 60, "validation": 15, "test": 25}
    for number, (part, size) in enumerate(sizes.items()):
        rows = "".join(f"{row + 0.1 * number},{row % 7},{'yes' if row % 2 else 'no'}\n" for row in range(size))
        (tmp_path / f"{part}.csv").write_text("a,b,y\n" + rows, encoding="utf-8")
    train, *options = [str(tmp_path / "train.csv"), "--target", "y", "--epochs", "1", "--no-baselines", "--no-report"]
    options += ["--directory", str(tmp_path / "runs")]
    files = ["--test", str(tmp_path / "test.csv"), "--validation", str(tmp_path / "validation.csv")]
    code, _, err = call("fit", train, *options, *files)
    assert code == 0
    assert "100 samples of 2 features (60 training, 15 validation, 25 test)" in " ".join(err.split())
    code, _, err = call("fit", train, *options, *files[2:])
    assert code == 2
    assert "--test does not" in " ".join(err.split())


def test_predict_in_every_form(call: Callable[..., Called], trained: Path, table: Path, tmp_path: Path) -> None:
    run = str(next((trained / "runs").glob("iris*")))
    code, out, _ = call("predict", run, str(table))
    rows = list(csv.DictReader(io.StringIO(out)))
    assert code == 0
    assert len(rows) == 8
    assert {row["target"] for row in rows} <= {"setosa", "versicolor", "virginica"}
    assert sum(float(row[name]) for name in rows[0] if name.startswith("probability") for row in rows[:1]) == pytest.approx(1)
    assert json.loads(call("predict", run, str(table), "--json")[1])["predictions"][0]["target"] == rows[0]["target"]
    code, out, _ = call("predict", run, str(table), "--output", "answers.jsonl")
    assert code == 0
    assert "8 predictions are in answers.jsonl" in out
    assert len((tmp_path / "answers.jsonl").read_text(encoding="utf-8").splitlines()) == 8
    regression = call("predict", str(next((trained / "runs").glob("diabetes*"))), "diabetes", "--json")[1]
    assert json.loads(regression)["samples"] == 442


def test_predict_of_other_columns(call: Callable[..., Called], trained: Path, tmp_path: Path) -> None:
    (tmp_path / "other.csv").write_text("a,b\n1,2\n", encoding="utf-8")
    code, out, err = call("predict", str(next((trained / "runs").glob("iris*"))), "other.csv", "--output", "p.csv")
    assert (code, out) == (2, "")
    assert "sepal length (cm)" in err
    assert not (tmp_path / "p.csv").exists()


def test_evaluate(call: Callable[..., Called], trained: Path, table: Path) -> None:
    run = str(next((trained / "runs").glob("iris*")))
    code, out, _ = call("evaluate", run, "iris")
    assert code == 0
    assert out.startswith("150 samples\n")
    assert "accuracy" in out
    answer = json.loads(call("evaluate", run, str(table), "--json")[1])
    assert answer["samples"] == 8
    assert 0 <= answer["metrics"]["accuracy"] <= 1


def test_the_list_knows_the_results(call: Callable[..., Called], trained: Path) -> None:
    answer = json.loads(call("runs", str(trained / "runs"), "--json")[1])
    assert {run["status"] for run in answer["runs"]} == {"finished"}
    assert {run["part"] for run in answer["runs"]} == {"test"}
    assert [run["network"] for run in json.loads(call("runs", str(trained / "runs"), "--where", "r2>-10", "--json")[1])["runs"]]


def test_a_finished_run_is_not_resumed(call: Callable[..., Called], trained: Path) -> None:
    code, out, err = call("resume", str(next((trained / "runs").glob("iris*"))))
    assert (code, out) == (2, "")
    assert "finished" in err


@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
@pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals between processes")
def test_an_interrupted_training_says_how_to_go_on_and_does(call: Callable[..., Called], tmp_path: Path, number: int) -> None:
    command = [sys.executable, "-m", "pellucid", "fit", "wine", "--patience", "100000", "--epochs", "500", "--no-baselines"]
    child = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=tmp_path)
    assert child.stderr is not None
    said = []
    for line in child.stderr:
        said.append(line)
        if line.startswith("epoch"):
            break
    time.sleep(0.3)
    child.send_signal(number)
    out, err = child.communicate(timeout=60)
    run = next((tmp_path / "runs").iterdir())
    assert child.returncode == 128 + number
    assert out == ""
    assert f"pellucid resume runs/{run.name}" in " ".join(err.split())
    assert "Traceback" not in err
    assert "stopped" in call("runs")[1]
    if number == signal.SIGINT:
        before = len((run / "metrics.jsonl").read_text(encoding="utf-8").splitlines())
        code, out, err = call("resume", str(Path("runs", run.name)), "--json")
        assert code == 0
        assert json.loads(out)["cost"]["epochs"] > before
        assert "finished" in call("runs")[1]


@pytest.mark.parametrize("source", ["digits", "iris", "diabetes"])
@pytest.mark.parametrize("language", ["en", "zh"])
def test_data(call: Callable[..., Called], source: str, language: str) -> None:
    code, out, err = call("data", source, "--language", language)
    assert (code, err) == (0, "")
    assert source in out.splitlines()[0]
    assert "\x1b" not in out
    answer = json.loads(call("data", source, "--json")[1])
    assert answer["samples"] == {"digits": 1797, "iris": 150, "diabetes": 442}[source]


def test_data_of_a_table(call: Callable[..., Called], table: Path) -> None:
    code, out, _ = call("data", str(table), "--target", "target")
    assert code == 0
    assert "sepal length (cm)" in out
    assert "25.0 %" in out  # one of four is missing
    assert "setosa" in out


@pytest.mark.parametrize("encoding", ["gbk", "ascii"])
def test_training_on_a_console_that_is_not_utf8(monkeypatch: pytest.MonkeyPatch, encoding: str) -> None:
    streams = {name: io.TextIOWrapper(io.BytesIO(), encoding=encoding, write_through=True) for name in ("stdout", "stderr")}
    for name, stream in streams.items():
        monkeypatch.setattr(sys, name, stream)
    monkeypatch.setenv("LANG", "zh_CN.UTF-8")
    assert main.run(["fit", "iris", "--epochs", "2", "--no-baselines", "--directory", "训练 runs"]) == 0
    out, err = (stream.buffer.getvalue().decode(encoding) for stream in streams.values())  # type: ignore[attr-defined]
    assert ("结果" if encoding == "gbk" else "Result") in out
    assert ("训练 runs" in err) == (encoding == "gbk")
