"""The report at the end of a training: drawn, left out when asked, never the end of a training; and again by `Run.report`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

import pellucid
from pellucid.cli import main
from pellucid.core.errors import DivergenceError
from pellucid.report.records import read_records
from pellucid.report.sections.reproduction import content
from pellucid.training.fit import train
from pellucid.training.progress import Progress

QUICK: dict[str, Any] = {"epochs": 2, "baselines": False, "directory": "runs"}


def text_of(path: Path) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", path.read_text("utf-8")))


def test_fit_draws_the_report_of_its_own_numbers() -> None:
    run = pellucid.fit("iris", **QUICK)
    path = run.directory / "report.html"
    accuracy = f"{run.metrics['test']['accuracy']:.3f}"
    assert f'<p class="big">{accuracy}</p>' in path.read_text("utf-8")
    path.unlink()
    assert run.report() == path
    assert f'<p class="big">{accuracy}</p>' in path.read_text("utf-8")
    assert "cannot be drawn" not in text_of(path)
    assert "cannot be read" not in text_of(path)


def test_no_report_where_none_is_wanted() -> None:
    assert not (pellucid.fit("iris", report=False, **QUICK).directory / "report.html").exists()


class Listening(Progress):
    def __init__(self) -> None:
        self.notices: list[str] = []
        self.done = False

    def notice(self, notice: Any) -> None:
        self.notices.append(str(getattr(notice, "summary", notice)))

    def finished(self, summary: Any) -> None:
        self.done = True


def test_a_report_that_cannot_be_drawn_is_said_and_costs_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(directory: Any) -> None:
        raise ValueError("a template is broken")

    monkeypatch.setattr("pellucid.report.write", broken)
    listening = Listening()
    run = train("iris", None, QUICK, listening)
    assert run.status == "finished"
    assert listening.done
    assert [notice for notice in listening.notices if "a template is broken" in notice and "pellucid report" in notice]


def test_a_diverged_training_has_a_report_that_says_so() -> None:
    with pytest.raises(DivergenceError):
        pellucid.fit("diabetes", optimizer="sgd", learning_rate=900.0, schedule="constant", **{**QUICK, "epochs": 30})
    (path,) = Path("runs").glob("*/report.html")
    words = text_of(path)
    assert "There is no score: the training ended before it was done." in words
    assert "diverged" in words
    assert "没有得分" in words


def test_an_unfinished_run_has_a_report_when_asked() -> None:
    run = pellucid.fit("iris", report=False, **QUICK)
    for name in ("summary", "scores", "evaluation", "cost"):
        (run.directory / "records" / f"{name}.json").unlink(missing_ok=True)
    path = pellucid.load(run.directory).report()
    assert "There is no final score yet" in text_of(path)


def test_the_configuration_in_the_report_trains_the_same_network() -> None:
    first = pellucid.fit("iris", seed=3, **{**QUICK, "epochs": 4})
    Path("again.toml").write_text(content(read_records(first.directory))["configuration"], encoding="utf-8")
    assert main.run(["fit", "--config", "again.toml", "--directory", "second", "--json"]) == 0
    (second,) = Path("second").iterdir()
    assert pellucid.load(second).metrics == first.metrics
    assert [row["train"] for row in pellucid.load(second).history] == [row["train"] for row in first.history]
