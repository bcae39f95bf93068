"""Predictions as table, CSV, JSON lines and JSON."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pellucid.cli import predictions
from pellucid.cli.terminal import Output
from pellucid.core.errors import StorageError
from pellucid.core.language import text
from pellucid.core.records import Notice, Task
from pellucid.training.answers import Predictions

CHANCES = np.array([[0.7, 0.2, 0.1], [0.05, 0.05, 0.9]])


def classes(names: tuple[str, ...] = ("a", "b,c", "猫")) -> Predictions:
    task = Task(kind="classification", targets=("kind",), classes=names)
    return Predictions(task, ["row 1", "row 2"], [names[0], names[2]], CHANCES, None)


def values(count: int = 2) -> Predictions:
    task = Task(kind="regression", targets=("price", "area"))
    return Predictions(task, [f"row {i}" for i in range(count)], None, None, np.arange(2.0 * count).reshape(count, 2))


def test_csv_holds_every_number_exactly(tmp_path: Path) -> None:
    path = tmp_path / "预测 out.csv"
    predictions.write_file(classes(), path)
    assert path.read_bytes().startswith(b"\xef\xbb\xbf")  # a spreadsheet needs the mark for the Chinese class
    rows = list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8-sig"))))
    assert [row["kind"] for row in rows] == ["a", "猫"]
    assert [float(row["probability of b,c"]) for row in rows] == [0.2, 0.05]
    assert [item.name for item in tmp_path.iterdir()] == [path.name]


def test_plain_csv_has_no_mark(tmp_path: Path) -> None:
    predictions.write_file(values(), tmp_path / "p.csv")
    assert (tmp_path / "p.csv").read_bytes() == b"sample,price,area\nrow 0,0.0,1.0\nrow 1,2.0,3.0\n"


def test_json_lines(tmp_path: Path) -> None:
    predictions.write_file(classes(), tmp_path / "p.JSONL")
    rows = [json.loads(line) for line in (tmp_path / "p.JSONL").read_text(encoding="utf-8").splitlines()]
    assert rows[1] == {"sample": "row 2", "kind": "猫", "probability of a": 0.05, "probability of b,c": 0.05, "probability of 猫": 0.9}


def test_a_folder_that_does_not_exist(tmp_path: Path) -> None:
    with pytest.raises(StorageError):
        predictions.write_file(values(), tmp_path / "no" / "p.csv")


def test_as_json() -> None:
    answer = predictions.as_json(values(), None)
    assert answer["samples"] == 2
    assert answer["predictions"][1] == {"sample": "row 1", "price": 2.0, "area": 3.0}
    assert "predictions" not in predictions.as_json(values(), "p.csv")


def test_table_shows_the_first_ones_and_says_how_many_more(capsys: pytest.CaptureFixture[str]) -> None:
    predictions.show_table(Output("stdout"), values(50))
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1 + predictions.SHOWN + 1
    assert lines[-1].startswith("and 30 more")
    predictions.show_table(Output("stdout"), classes())
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split() == ["row", "1", "a", "0.700", "b,c", "0.200,", "猫", "0.100"]


def test_what_was_left_out_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    predictions.tell_skipped(Output("stderr"), [f"{i}.png: truncated" for i in range(7)])
    err = capsys.readouterr().err.splitlines()
    assert err[0] == "left out: 0.png: truncated"
    assert err[-1] == "left out: 2 more"


def test_what_is_unlike_the_training_data_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    strange = Notice(kind="new_categories", summary=text("'color' holds purple"), where="color")
    predictions.tell_notices(Output("stderr"), [strange])
    assert capsys.readouterr().err == "note: 'color' holds purple\n"
    assert predictions.as_json(replace(values(), notices=(strange,)), None)["notices"] == [
        {"kind": "new_categories", "where": "color", "summary": "'color' holds purple", "evidence": {}}
    ]
