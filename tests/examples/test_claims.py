"""The scripts of examples/claims: short, and what they found is what docs/course says, in its tables, its text and its direction."""

from __future__ import annotations

import ast
import importlib
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

ROOT = Path(__file__).resolve().parents[2]
CLAIMS = ROOT / "examples" / "claims"
COURSE = ROOT / "docs" / "course"
SHARED = {"claim.py", "learning.py"}  # what the scripts share
SCRIPTS = sorted(path.stem for path in CLAIMS.glob("*.py") if path.name not in SHARED)
PAIRS = sorted((path.with_name(path.name.replace(".zh-CN", "")), path) for path in COURSE.glob("*.zh-CN.md"))

# What the chapters conclude: (row, column, end of the interval, relation, bound). Those of QUICK are held by the quick measurement too.
Direction = tuple[str, str, str, str, float]
QUICK: dict[str, list[Direction]] = {
    "xor": [("perceptron", "all four right", "high", "<", 0.6), ("MLP, 8 hidden units", "accuracy", "low", ">", 0.9)],
    "width": [
        ("256 units", "on the interval", "high", "<", 0.2),
        ("256 units", "beside it", "low", ">", 0.5),
        ("256 units, no activation", "on the interval", "low", ">", 0.6),
    ],
    "activations": [
        ("sigmoid, 20 layers", "log10 of gradients", "high", "<", -8.0),
        ("tanh, 20 layers", "log10 of gradients", "low", ">", -1.0),
        ("sigmoid, 20 layers", "test accuracy", "high", "<", 0.2),
        ("tanh, 20 layers", "test accuracy", "low", ">", 0.6),
    ],
    "optimizers": [("Adam", "steps, even", "high", "<", 130), ("SGD", "steps, even", "high", "<", 200)],
    "kernels": [
        ("3", "d = 2", "low", ">", 0.9),
        ("3", "d = 4", "high", "<", 0.6),
        ("5", "d = 6", "high", "<", 0.6),
        ("3", "by gradient", "mean", "<", 3.5),
        ("3, 3, 3", "by gradient", "mean", ">", 6.5),
    ],
    "pooling": [
        ("maximum, 2 x 2", "shift 0", "low", ">", 0.85),
        ("maximum, 2 x 2", "shift 2", "high", "<", 0.6),
        ("maximum over all places", "shift 4", "low", ">", 0.5),
        ("maximum, 2 x 2, trained on shifted", "shift 4", "low", ">", 0.6),
    ],
    "lags": [
        ("RNN", "gradient, lag 10", "high", "<", -1.0),
        ("LSTM, forget gate open", "gradient, lag 10", "low", ">", -1.0),
        ("attention", "recall, lag 10", "low", ">", 0.9),
    ],
    "clipping": [
        ("LSTM, weights x 3", "exploded", "high", "<", 0.6),
        ("LSTM, weights x 16", "exploded", "low", ">", 0.4),
        ("LSTM, weights x 16, clipped", "exploded", "low", ">", 0.4),
    ],
    "gru_lstm": [("GRU, 8 inputs of 8", "weights", "mean", "<", 9000), ("LSTM, 8 inputs of 8", "weights", "mean", ">", 11000)],
    "regularization": [
        ("overfitting, none", "training", "low", ">", 0.99),
        ("overfitting, none", "test", "high", "<", 0.96),
        ("underfitting, none", "training", "high", "<", 0.7),
    ],
    "more_data": [("exponent", "64 units", "low", ">", 0.15), ("exponent", "2 units", "high", "<", 0.15)],
    "outliers": [("MAE minus MSE", "20 %", "high", "<", -2.0), ("Huber minus MSE", "20 %", "high", "<", -2.0)],
    "classical": [("network", "wine", "low", ">", 0.9), ("decision tree", "wine", "high", "<", 0.99)],
    "privacy": [
        ("100 samples", "area under the curve", "low", ">", 0.55),
        ("100 samples, labels wrong", "area under the curve", "low", ">", 0.6),
        ("1437 samples", "area under the curve", "high", "<", 0.6),
    ],
    "backpropagation": [
        ("MLP, 6 layers", "changed by backward", "high", "<", 0.5),
        ("MLP, 6 layers", "SGD against Adam, cosine", "high", "<", 0.9),
        ("CNN", "log10 of error", "high", "<", -8.0),
    ],
}
FULL: dict[str, list[Direction]] = {
    "xor": [("MLP, 2 hidden units", "all four right", "high", "<", 0.9), ("perceptron", "accuracy", "high", "<", 0.75)],
    "width": [
        ("16 units", "on the interval", "high", "<", 0.05),
        ("16 units", "20 noisy points", "low", "<", 0.3),  # overlaps with that of 256 units
        ("256 units", "20 noisy points", "high", ">", 0.3),
        *[(row, "beside it", "high", ">", 0.707) for row in ("1 unit", "4 units", "16 units", "64 units", "256 units")],
    ],
    "activations": [("tanh, 20 layers", "test accuracy", "low", ">", 0.9), ("ReLU, 20 layers", "test accuracy", "high", "<", 0.9)],
    "outliers": [
        ("MAE minus MSE", "none", "low", ">", 0.0),
        ("Huber minus MSE", "none", "low", "<", 0.0),
        ("Huber minus MSE", "none", "high", ">", 0.0),
        ("MAE minus MSE", "skewed noise", "low", ">", 0.0),
        ("Huber minus MSE", "skewed noise", "low", ">", 0.0),
    ],
    "clipping": [
        ("RNN, weights x 3", "exploded", "low", ">", 0.1),
        ("RNN, weights x 3", "learnt", "mean", "<", 0.01),
        ("RNN, weights x 3, clipped", "learnt", "low", ">", 0.2),
        ("LSTM, weights x 16, clipped", "learnt", "mean", "<", 0.01),
    ],
    "regularization": [
        ("overfitting, augmentation", "test, difference to none", "low", ">", 0.0),
        *[(f"overfitting, {name}", "test, difference to none", "low", "<", 0.0) for name in ("L1", "L2", "dropout")],
        *[(f"underfitting, {name}", "test, difference to none", "low", "<", 0.0) for name in ("L1", "L2", "dropout", "augmentation")],
        *[(f"underfitting, {name}", "test, difference to none", "high", ">", 0.0) for name in ("L1", "L2", "dropout", "augmentation")],
    ],
    "more_data": [("exponent", "64 units", "low", ">", 0.5), ("exponent", "2 units", "low", "<", 0.0)],
    "lags": [
        ("attention", "recall, lag 30", "low", ">", 0.9),
        ("LSTM, forget gate open", "recall, lag 10", "low", ">", 0.9),
        *[(kind, "gradient, lag 30", "high", "<", -4.0) for kind in ("RNN", "LSTM", "GRU")],
        ("LSTM, forget gate open", "gradient, lag 30", "low", ">", -1.0),
    ],
    "gru_lstm": [
        *[(f"difference, {reading}", "ms a step", "low", ">", 0.0) for reading in ("8 inputs of 8", "32 inputs of 2")],
        *[(f"difference, {reading}", "test accuracy", "low", "<", 0.0) for reading in ("8 inputs of 8", "32 inputs of 2")],
        *[(f"difference, {reading}", "test accuracy", "high", ">", 0.0) for reading in ("8 inputs of 8", "32 inputs of 2")],
    ],
    "privacy": [
        ("100 samples, labels wrong", "area under the curve", "low", ">", 0.7),
        ("100 samples, weight decay, labels wrong", "area under the curve", "high", "<", 0.7),
        ("100 samples, stopped early", "area under the curve", "high", "<", 0.65),
        ("100 samples, stopped early", "test accuracy", "high", "<", 0.87),
    ],
    "optimizers": [("SGD", "steps, uneven", "low", ">", 150), ("momentum", "steps, uneven", "low", ">", 150)],
    "pooling": [("maximum, 2 x 2", "shift 1", "high", "<", 0.8), ("average over all places", "shift 0", "high", "<", 0.9)],
    "classical": [
        *[(f"network minus {name}", task, "low", "<", 0.0) for name in ("SVM", "random forest") for task in ("wine", "breast cancer")],
        *[(f"network minus {name}", task, "high", ">", 0.0) for name in ("SVM", "random forest") for task in ("wine", "breast cancer")],
        *[(f"network minus {name}", task, "low", ">", 0.0) for name in ("SVM", "random forest") for task in ("digits", "shifted")],
    ],
}


@pytest.fixture(autouse=True)
def one_thread_and_the_scripts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(CLAIMS))
    monkeypatch.syspath_prepend(str(ROOT / "tools"))


def script(name: str) -> ModuleType:
    return importlib.import_module(name)


def stored(name: str) -> dict[str, Any]:
    return json.loads((CLAIMS / "results" / f"{name}.json").read_text(encoding="utf-8"))["rows"]


def not_held(rows: dict[str, Any], directions: list[Direction]) -> list[str]:
    faults: list[str] = []
    for row, column, end, relation, bound in directions:
        value = rows[row][column][end]
        if not (value > bound if relation == ">" else value < bound):
            faults.append(f"{row}, {column}: {rows[row][column]['shown']}, but its {end} should be {relation} {bound}")
    return faults


@pytest.mark.parametrize("name", SCRIPTS)
def test_short_and_told(name: str) -> None:
    source = (CLAIMS / f"{name}.py").read_text(encoding="utf-8")
    assert len(source.splitlines()) <= 60
    record = json.loads((CLAIMS / "results" / f"{name}.json").read_text(encoding="utf-8"))
    assert f"report(measure, seeds={record['seeds']}, script=__file__)" in source  # the results are of the script as it is
    told = ast.get_docstring(ast.parse(source)) or ""
    for part in ("Claim: ", "Measured: ", "Came out: ", f"python examples/claims/{name}.py"):
        assert part in told
    showing = [page for page in PAIRS if f"<!-- claim: {name} -->" in page[0].read_text(encoding="utf-8")]
    assert len(showing) == 1
    assert all(f"`python examples/claims/{name}.py`" in page.read_text(encoding="utf-8") for page in showing[0])


@pytest.mark.parametrize("name", SCRIPTS)
def test_what_the_chapters_conclude_is_in_the_results(name: str) -> None:
    assert not not_held(stored(name), QUICK[name] + FULL.get(name, []))


def test_a_direction_that_does_not_hold_is_named() -> None:
    rows = {"a": {"b": {"mean": 0.5, "low": 0.4, "high": 0.6, "shown": "0.500 [0.400, 0.600]"}}}
    assert not not_held(rows, [("a", "b", "low", ">", 0.3)])
    assert "should be > 0.45" in not_held(rows, [("a", "b", "low", ">", 0.45)])[0]


@pytest.mark.parametrize("name", [pytest.param(name, marks=[] if name == "xor" else [pytest.mark.slow]) for name in SCRIPTS])
def test_the_quick_measurement_has_the_direction(name: str) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.random.fork_rng():
            rows = script("claim").over_seeds(script(name).measure, 3, True)
    finally:
        torch.set_num_threads(threads)
    assert not not_held(rows, QUICK[name])


@pytest.mark.slow
def test_the_command(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, CLAIMS / "xor.py", "--quick"], cwd=tmp_path, capture_output=True, text=True, encoding="utf-8", check=False
    )
    assert done.returncode == 0, done.stderr
    assert "MLP, 8 hidden units" in done.stdout
    assert "mean over 3 seeds [95 % interval]" in done.stdout
    assert not list(tmp_path.iterdir())
    refused = subprocess.run([sys.executable, CLAIMS / "xor.py", "--quick", "--write"], capture_output=True, check=False)
    assert refused.returncode == 2


def test_figures_and_their_decimals() -> None:
    def measure(seed: int, quick: bool) -> dict[str, dict[str, float]]:
        return {"one": {"share": seed > 0, "steps": 100.0 + seed, "count": 3.0}, "two": {"share": True, "steps": 20.0}}

    table = script("claim").over_seeds(measure, 4, False)
    assert table["one"]["share"]["shown"] == "0.750 [0.301, 0.954]"  # Wilson's interval of 3 of 4
    assert table["one"]["steps"]["shown"] == "102 [99, 104]"  # 101.5 -+ 3.182 * 1.291 / 2
    assert table["two"]["steps"]["shown"] == "20 [20, 20]"
    assert table["one"]["count"]["shown"] == "3"


def test_tables_of_the_course_are_the_results() -> None:
    tables = script("course_tables")
    for path in sorted(COURSE.glob("*.md")):
        page = path.read_text(encoding="utf-8")
        assert tables.updated(page, path.name.endswith(".zh-CN.md")) == page, f"{path.name}: run python tools/course_tables.py"
        assert tables.stray_figures(page) == [], path.name


def test_a_wrong_figure_is_seen() -> None:
    tables = script("course_tables")
    page = (COURSE / "perceptron.zh-CN.md").read_text(encoding="utf-8")
    shown = stored("xor")["perceptron"]["accuracy"]["shown"]
    assert tables.updated(page.replace(shown, "0.999 [0.998, 1.000]"), chinese=True) == page
    assert tables.stray_figures("准确率 0.123\n| 0.5 |\n$0.7$ `0.8` 0.5\n") == ["0.123"]
    with pytest.raises(ValueError, match="5 rows and 2 columns"):
        tables.table("xor", "| | a |\n|---|---|\n| b | c |\n", labelled=True)


@pytest.mark.parametrize(("english", "chinese"), PAIRS, ids=[english.stem for english, _ in PAIRS])
def test_both_languages(english: Path, chinese: Path) -> None:
    assert script("readme_pair").differences(english, chinese) == []
    prose = script("chinese_prose")
    lines = prose.prose_of_markdown(chinese.read_text(encoding="utf-8"))
    assert [(number, *prose.faults(line)) for number, line in lines if list(prose.faults(line))] == []


def test_the_index_names_every_chapter() -> None:
    for page in (COURSE / "README.md", COURSE / "README.zh-CN.md"):
        ending = page.name.removeprefix("README")
        named = page.read_text(encoding="utf-8")
        for english, _ in PAIRS:
            assert english.stem == "README" or f"({english.stem}{ending})" in named


def test_commands_of_the_chapters_exist(capsys: pytest.CaptureFixture[str]) -> None:
    """Every script is there, and every option is one of the command; the commands themselves are run by tests/docs and tests/cli."""
    from pellucid.cli.main import run

    pages = [english.read_text(encoding="utf-8") for english, _ in PAIRS]
    blocks = [block for page in pages for block in re.findall(r"```bash\n(.*?)```", page, re.DOTALL)]
    commands = {tuple(shlex.split(line, comments=True)) for block in blocks for line in block.splitlines()}
    known: dict[str, set[str]] = {}
    for program, *arguments in sorted(commands):
        if program == "python":
            assert (ROOT / arguments[0]).is_file(), arguments
            continue
        assert program == "pellucid"
        if arguments[0] not in known:
            assert run([arguments[0], "--help"]) == 0
            known[arguments[0]] = set(re.findall(r"--[\w-]+", capsys.readouterr().out))
        assert {argument for argument in arguments if argument.startswith("--")} <= known[arguments[0]], arguments
