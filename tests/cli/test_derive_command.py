"""`pellucid derive`: a trained run in equations, from data read again."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from cli.conftest import Called
from pellucid.cli import main


@pytest.fixture(scope="module", params=["iris", "diabetes"])
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("trained") / "runs"
    options = ["--network-option", "hidden=4", "--epochs", "2", "--no-baselines", "--no-report", "--directory", str(folder)]
    assert main.run(["fit", request.param, *options, "--language", "en"]) == 0
    return str(next(path for path in folder.iterdir() if path.is_dir()))


def test_the_equations_are_printed(call: Callable[..., Called], run: str) -> None:
    code, out, _ = call("derive", run, "--example", "3", "--language", "en")
    assert code == 0
    assert "z⁽¹⁾ = W⁽¹⁾ x + b⁽¹⁾" in out
    assert "Check passed" in out


@pytest.mark.parametrize("notation", ["row", "torch"])
def test_a_page_is_written(call: Callable[..., Called], run: str, tmp_path: Path, notation: str) -> None:
    path = tmp_path / "页面.html"
    code, out, _ = call("derive", run, "--output", str(path), "--notation", notation, "--language", "en")
    assert code == 0
    assert "∂L/∂W" in out
    assert str(path) in out
    assert path.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")


def test_json(call: Callable[..., Called], run: str, tmp_path: Path) -> None:
    code, out, _ = call("derive", run, "--output", str(tmp_path / "derivation.txt"), "--json")
    answer = json.loads(out)
    assert code == 0
    assert answer["check"]["passed"] is True
    assert answer["part"] in ("train", "validation", "test")
    assert (tmp_path / "derivation.txt").is_file()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--example", "100000"], "there is no example 100000"),
        (["--example", "-1"], "there is no example -1"),
        (["--output", "page.pdf"], ".html"),
        (["--notation", "colum"], "column"),
    ],
)
def test_refused(call: Callable[..., Called], run: str, arguments: list[str], words: str) -> None:
    code, _, err = call("derive", run, *arguments, "--language", "en")
    assert code == 2
    assert words in err
