"""`pellucid report`: where the file is, as words or JSON; shown when asked; errors in three lines."""

from __future__ import annotations

import json
import shutil
import webbrowser
from pathlib import Path

import pytest

from pellucid.cli import main

FORMATS = Path(__file__).resolve().parents[1] / "formats"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return Path(shutil.copytree(FORMATS / "1" / "finished", tmp_path / "我的 run"))


def test_it_prints_where_the_report_is(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["report", str(run)]) == 0
    out = capsys.readouterr().out
    assert out.replace("\n", "") == str((run / "report.html").resolve())
    assert (run / "report.html").read_text("utf-8").startswith("<!DOCTYPE html>")


def test_as_json_and_in_chinese(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["report", str(run), "--json", "--language", "zh"]) == 0
    assert Path(json.loads(capsys.readouterr().out)["report"]) == (run / "report.html").resolve()
    assert '<html lang="zh"' in (run / "report.html").read_text("utf-8")


@pytest.mark.parametrize("works", [True, False])
def test_it_is_shown_when_asked(run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, works: bool) -> None:
    opened: list[str] = []
    monkeypatch.setattr(webbrowser, "open", lambda address: opened.append(address) or works)
    assert main.run(["report", str(run), "--open"]) == 0
    assert opened == [(run / "report.html").resolve().as_uri()]
    assert ("no browser" in capsys.readouterr().err) == (not works)


@pytest.mark.parametrize("place", ["absent", "empty"])
def test_what_is_no_run_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str], place: str) -> None:
    (tmp_path / "empty").mkdir()
    assert main.run(["report", str(tmp_path / place)]) == 2
    err = capsys.readouterr().err
    assert err.startswith("Error:")
    assert "Traceback" not in err
