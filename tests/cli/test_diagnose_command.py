"""`pellucid diagnose`: a trained run, its data read again."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from cli.conftest import Called
from pellucid.cli import main


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Nothing can be learnt with such a rate."""
    folder = tmp_path_factory.mktemp("trained") / "runs"
    options = ["--network", "mlp", "--epochs", "4", "--optimizer", "sgd", "--learning-rate", "1e-9", "--schedule", "constant"]
    assert main.run(["fit", "iris", *options, "--no-baselines", "--no-report", "--directory", str(folder), "--language", "en"]) == 0
    return str(next(path for path in folder.iterdir() if path.is_dir()))


def test_findings_are_printed(call: Callable[..., Called], run: str) -> None:
    before = {path: path.stat().st_mtime_ns for path in Path(run).rglob("*")}
    code, out, _ = call("diagnose", run, "--budget", "3s", "--language", "en")
    assert code == 0
    assert "MultilayerPerceptron: " in out
    assert "Your training: " in out
    assert "What to do: " in out
    assert all(len(line) <= 100 for line in out.splitlines())
    assert {path: path.stat().st_mtime_ns for path in Path(run).rglob("*")} == before


def test_in_chinese(call: Callable[..., Called], run: str) -> None:
    code, out, _ = call("diagnose", run, "--budget", "2s", "--language", "zh")
    assert code == 0
    assert "What to do" not in out
    assert "你的训练" in out


def test_remedies_are_proved_and_a_page_is_written(call: Callable[..., Called], run: str, tmp_path: Path) -> None:
    path = tmp_path / "新" / "诊断.html"
    code, out, _ = call("diagnose", run, "--budget", "6s", "--verify", "--output", str(path), "--json")
    assert code == 0
    answer = json.loads(out)
    assert answer["run"] == run
    assert answer["findings"]
    proved = [finding["verification"] for finding in answer["findings"] if finding["verification"] is not None]
    assert all(one["verdict"] in ("helps", "no difference", "worse") and len(one["seeds"]) >= 3 for one in proved)
    page = path.read_text(encoding="utf-8")
    assert page.startswith("<!doctype html>")
    assert answer["findings"][0]["symptom"] in page or answer["findings"][0]["cause"] in page


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--budget", "soon"], "budget is 'soon'"),
        (["--budget", "0"], "above 0"),
        (["--output", "page.pdf"], "a name that ends in one of: .html"),
        (["--seed"], "No such option"),
    ],
)
def test_bad_options(call: Callable[..., Called], run: str, arguments: list[str], words: str) -> None:
    code, _, err = call("diagnose", run, *arguments, "--language", "en")
    assert code == 2
    assert words in err


def test_what_is_no_run(call: Callable[..., Called], tmp_path: Path) -> None:
    code, _, err = call("diagnose", str(tmp_path), "--language", "en")
    assert code == 2
    assert "Error: " in err
