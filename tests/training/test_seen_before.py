"""`evaluate` on samples that the run was trained on says so: the ledger knows every sample by its content."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from PIL import Image
from torch.utils.data import TensorDataset

import pellucid
from pellucid.core.records import Notice

QUICK = {"epochs": 1, "learning_rate": 0.01, "baselines": False, "report": False, "directory": "runs", "validation": 20, "test": 20}


def rows(samples: int = 100) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(0)
    return draw.normal(size=(samples, 4)).astype(np.float32), np.arange(samples) % 2


def frame() -> pl.DataFrame:
    """Numbers, words, row numbers, and names that tell every row apart and that no network sees."""
    X, y = rows()
    return pl.DataFrame(
        {
            "id": range(1, 101),
            "passenger": [f"Ms {chr(65 + i // 26)}{chr(97 + i % 26)}, {i * 7919 % 1000}" for i in range(100)],
            "size": X[:, 0].astype(float),
            "age": [str(value) if index % 9 else "" for index, value in enumerate((10 * X[:, 1]).round())],
            "colour": np.asarray(["red", "green", "blue"])[np.arange(100) % 3],
            "kind": np.asarray(["cat", "dog"])[y],
        }
    )


def as_file() -> Path:
    frame().write_csv("table.csv")
    return Path("table.csv")


def photos() -> Path:
    draw = np.random.default_rng(0)
    for index in range(100):
        folder = Path("photos") / ("cat", "dog")[index % 2]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(draw.integers(0, 255, (8, 8), dtype=np.uint8)).save(folder / f"{index}.png")
    return Path("photos")


def numbers() -> tuple[Any, Any]:
    X, _ = rows()
    return X, X[:, 0] - X[:, 1]


SOURCES: dict[str, tuple[Callable[[], Any], str | None]] = {
    "a table's file": (as_file, "kind"),
    "a frame": (frame, "kind"),
    "a folder of images": (photos, None),
    "arrays": (rows, None),
    "arrays, regression": (numbers, None),
    "a torch data set": (lambda: TensorDataset(*map(torch.from_numpy, rows())), None),
    "digits": (lambda: "digits", None),
    "diabetes": (lambda: "diabetes", None),
}


def seen(notices: Any) -> list[Notice]:
    return [notice for notice in notices if notice.kind == "seen_before"]


@pytest.mark.parametrize("source", SOURCES)
def test_samples_of_the_training_and_the_validation_part_are_counted(source: str) -> None:
    make, target = SOURCES[source]
    data = make()
    run = pellucid.fit(data, target, **QUICK)
    found = run.evaluate(data)
    (notice,) = seen(found.notices)
    sizes = {part: run.scores[part][0].samples for part in ("train", "validation")}
    assert {part: notice.evidence[part] for part in sizes} == sizes
    assert sizes["validation"] == 20
    assert str(sizes["train"]) in str(notice.summary)
    assert found.to_dict()["notices"][0]["evidence"]["train"] == sizes["train"]


def test_new_samples_are_not_taken_for_seen_ones() -> None:
    X, y = rows(200)
    run = pellucid.fit(X[:100], y[:100], **QUICK)
    assert not seen(run.evaluate((X[100:], y[100:])).notices)
    assert not seen(run.evaluate((X[:100], 1 - y[:100])).notices)  # the same inputs with other answers are other samples
    (notice,) = seen(run.evaluate((X[90:110], y[90:110])).notices)
    assert 0 < notice.evidence["train"] + notice.evidence["validation"] <= 10


def test_a_table_without_the_columns_that_tell_samples_apart_cannot_be_compared() -> None:
    run = pellucid.fit(frame(), "kind", **QUICK)
    assert not seen(run.evaluate(frame().drop("passenger")).notices)


def test_the_terminal_says_it(capsys: pytest.CaptureFixture[str]) -> None:
    from pellucid.cli.main import run as pellucid_command

    run = pellucid.fit("iris", **QUICK)
    assert pellucid_command(["evaluate", str(run.directory), "iris"]) == 0
    assert "of the 150 samples stood in the run's training part" in " ".join(capsys.readouterr().err.split())
