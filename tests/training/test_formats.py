"""Runs of every released format are read, used and resumed by this version."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import pellucid

FORMATS = sorted(path for path in (Path(__file__).resolve().parents[1] / "formats").iterdir() if path.is_dir())


def test_the_present_format_is_kept():
    assert [path.name for path in FORMATS] == ["1"]


@pytest.fixture(params=FORMATS, ids=lambda path: path.name)
def kept(request, tmp_path):
    shutil.copytree(request.param, tmp_path / "kept")
    return tmp_path / "kept"


def test_a_finished_run_is_read_and_used(kept):
    run = pellucid.load(kept / "finished")
    assert run.status == "finished"
    assert run.summary is not None
    assert all(str(line) for line in run.summary.lines())
    assert run.metrics["test"]["accuracy"] == run.summary.score("test", "accuracy").value
    assert run.evaluate("iris").metrics["accuracy"] > 0.8
    predictions = run.predict([[5.1, 3.5, 1.4, 0.2]])
    assert predictions.labels == ["setosa"]


def test_an_interrupted_run_is_resumed(kept):
    before = pellucid.load(kept / "finished")
    run = pellucid.load(kept / "interrupted")
    assert run.status == "unfinished"
    done = run.resume()
    assert done.status == "finished"
    assert len(done.history) == len(before.history)
    assert done.metrics["train"]["accuracy"] == pytest.approx(before.metrics["train"]["accuracy"], abs=0.05)
