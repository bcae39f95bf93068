"""A training of ours under a watcher: the same run, bit for bit, and one record more."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

import pellucid
from pellucid.core.errors import DivergenceError
from pellucid.diagnosis.dynamic.observations import Observations


def fitted(tmp_path: Path, name: str, **options: Any) -> Any:
    return pellucid.fit("iris", epochs=4, seed=3, baselines=False, report=False, directory=str(tmp_path / name), **options)


def test_the_weights_are_the_same_and_the_record_is_there(tmp_path: Path) -> None:
    plain, watched = fitted(tmp_path, "plain"), fitted(tmp_path, "watched", watch=True)
    pairs = zip(plain.model.state_dict().values(), watched.model.state_dict().values(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)
    assert not (plain.directory / "records" / "watch.json").exists()
    stored = json.loads((watched.directory / "records" / "watch.json").read_text(encoding="utf-8"))
    seen = Observations.from_dict(stored["observations"])
    assert seen.steps == watched.summary.cost.steps
    assert seen.loss.kind == "cross_entropy"
    assert [optimizer.given for optimizer in seen.optimizers] == [True]
    assert stored["first_step"] == 0


def test_a_training_that_diverges_says_where(tmp_path: Path) -> None:
    with pytest.raises(DivergenceError):
        pellucid.fit(
            "diabetes", epochs=30, learning_rate=1000.0, optimizer="sgd", clip=None, baselines=False, report=False, watch=True,
            directory=str(tmp_path / "runs"),
        )  # fmt: skip
    (run,) = (tmp_path / "runs").iterdir()
    stored = json.loads((run / "records" / "watch.json").read_text(encoding="utf-8"))
    assert Observations.from_dict(stored["observations"]).nonfinite is not None
