"""A run directory whose writer was killed, at every call that touches a file: it opens, and holds what had been completed."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from pellucid.runs.directory import RunDirectory
from runs.kill import CAN_FORK, KINDS, calls, files, in_child, killed_after, killed_at

pytestmark = pytest.mark.skipif(not CAN_FORK, reason="needs fork")

RUN: dict[str, Any] = {
    "format": 1, "pellucid": "0.1.0", "name": "a", "created": "2025-01-01T00:00:00+00:00",
    "config": {}, "data": {}, "task": {}, "network": {}, "environment": {},
}  # fmt: skip


def state(step: int) -> dict[str, Any]:
    return {"step": step, "weights": torch.full((20,), float(step)), "history": [1.0 / step, (step,)], "metrics_size": 0}


def train(folder: Path) -> None:
    """What a training does to its directory, in its order: create or go on, rows, checkpoints, weights, records."""
    path = folder / "run"
    directory = RunDirectory.open(path) if (path / "run.json").exists() else RunDirectory.create(folder, "run")
    if not (directory.path / "run.json").exists():
        directory.write_json("data.json", {"hashes": ["x"] * 100})
        directory.write_json("run.json", RUN)
    with directory.lock():
        checkpoint = directory.latest_checkpoint()
        step = checkpoint[0] if checkpoint else 0
        directory.cut_metrics(checkpoint[1]["metrics_size"] if checkpoint else 0)
        while step < 6:
            step += 1
            directory.append_metrics({"step": step, "loss": 1 / step})
            if step % 2 == 0:
                directory.save_checkpoint(step, {**state(step), "metrics_size": directory.metrics_size()})
        directory.save_weights({"weights": torch.ones(10)}, {"step": step})
        directory.write_record("scores", {"accuracy": 0.5})
        directory.write_record("summary", {"done": True})


def check_readable(folder: Path) -> None:
    """Whatever was killed: no reader ever sees half a file."""
    path = folder / "run"
    if not (path / "run.json").exists():
        return  # there is no run yet
    directory = RunDirectory.open(path)
    rows = directory.metrics()
    assert [row["step"] for row in rows] == list(range(1, len(rows) + 1))
    checkpoint = directory.latest_checkpoint()
    if checkpoint is not None:
        step, stored = checkpoint
        assert torch.equal(stored["weights"], state(step)["weights"])
        assert stored["history"] == state(step)["history"]
        assert len(rows) >= step
    if directory.has_weights():
        assert torch.equal(directory.load_weights()[0]["weights"], torch.ones(10))
    for name in directory.record_names():
        assert directory.read_record(name)


def check_finished(path: Path) -> None:
    directory = RunDirectory.open(path)
    assert directory.read_record("summary") == {"done": True}
    assert [row["step"] for row in directory.metrics()] == [1, 2, 3, 4, 5, 6]
    assert directory.checkpoint_steps() == [6, 4]
    assert not directory.is_locked()
    assert sorted(name for name in files(path) if name.endswith(".tmp")) == []


@pytest.mark.parametrize("kind", [pytest.param(kind, marks=pytest.mark.slow) if kind in ("open", "fsync") else kind for kind in KINDS])
def test_killed_at_every_call_and_gone_on(tmp_path: Path, kind: str) -> None:
    n = 1
    while True:
        folder = tmp_path / str(n)
        folder.mkdir()
        if not killed_at(kind, n, lambda folder=folder: train(folder)):
            break
        check_readable(folder)
        train(folder)  # in this process: the lock of the killed one does not count
        # a kill before run.json has left a directory that is no run; the next training then has one of its own
        check_finished(folder / "run" if (folder / "run" / "run.json").exists() else folder / "run-2")
        shutil.rmtree(folder)
        n += 1
    assert n - 1 == calls(lambda: train(tmp_path / "counted"))[kind] > (0 if kind != "truncate" else -1)


def test_killed_twice(tmp_path: Path) -> None:
    """Killed, gone on and killed again at another place, gone on."""
    writes = calls(lambda: train(tmp_path / "counted"))["write"]
    for first, second in [(4, 3), (writes // 2, 4), (writes - 2, 1), (writes, 2)]:
        folder = tmp_path / f"{first}-{second}"
        folder.mkdir()
        assert killed_at("write", first, lambda folder=folder: train(folder))
        killed_at("rename", second, lambda folder=folder: train(folder))
        check_readable(folder)
        train(folder)
        check_finished(folder / "run")


def test_killed_at_some_instants(tmp_path: Path) -> None:
    for index in range(12):
        folder = tmp_path / str(index)
        folder.mkdir()
        killed_after(0.002 * index, lambda folder=folder: train(folder))
        check_readable(folder)
        train(folder)
        check_finished(folder / "run" if (folder / "run" / "run.json").exists() else folder / "run-2")


def test_the_harness_itself(tmp_path: Path) -> None:
    """A harness that never kills would let everything pass."""

    def write() -> str:
        (tmp_path / "a").write_text("12345678")
        (tmp_path / "b").write_bytes(b"12345678")
        (tmp_path / "b").rename(tmp_path / "c")
        return "done"

    def fail() -> None:
        raise ValueError("what went wrong")

    assert calls(write) == {**dict.fromkeys(KINDS, 0), "open": 2, "write": 2, "rename": 1}
    assert in_child(write) == "done"
    for path in tmp_path.iterdir():
        path.unlink()
    assert killed_at("open", 1, write)
    assert files(tmp_path) == {}
    assert killed_at("write", 2, write)
    assert files(tmp_path) == {"a": 8, "b": 4}  # killed in the midst of the write
    assert killed_at("rename", 1, write)
    assert files(tmp_path) == {"a": 8, "b": 8}
    assert not killed_at("rename", 2, write)
    assert files(tmp_path) == {"a": 8, "c": 8}
    with pytest.raises(AssertionError, match="what went wrong"):
        killed_at("open", 1, fail)
    assert not killed_after(60, write)
