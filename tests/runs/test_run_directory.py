from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pellucid.core.errors import RunError, StorageError
from pellucid.core.language import text
from pellucid.core.records import Score
from pellucid.runs.directory import RunDirectory

RUN: dict[str, Any] = {
    "format": 1,
    "pellucid": "0.1.0",
    "name": "digits",
    "created": "2025-01-01T00:00:00+00:00",
    "config": {"epochs": 3},
    "data": {"name": "digits"},
    "task": {"kind": "classification"},
    "network": {"name": "mlp"},
    "environment": {},
}


def a_run(folder: Path, name: str = "digits") -> RunDirectory:
    directory = RunDirectory.create(folder, name)
    directory.write_json("run.json", {**RUN, "name": directory.path.name})
    return directory


def test_directories_are_made_with_legal_and_unique_names(tmp_path: Path) -> None:
    names = [
        RunDirectory.create(tmp_path / "新 文件夹" / "deep", name).path.name for name in ("数字:mlp", "数字:mlp", "数字-mlp", "con", "")
    ]
    assert names == ["数字-mlp", "数字-mlp-2", "数字-mlp-3", "con_", "run"]


def test_two_processes_never_get_the_same_directory(tmp_path: Path) -> None:
    made: list[Path] = []
    threads = [threading.Thread(target=lambda: made.extend(RunDirectory.create(tmp_path, "run").path for _ in range(20))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(made)) == 80


def test_json_comes_back_and_is_valid_for_every_reader(tmp_path: Path) -> None:
    directory = a_run(tmp_path)
    content = {
        "a": 1, "中文": "值", "nested": {"x": [1.5, None, True]}, "big": 2**80, "inf": math.inf, "nan": [math.nan], "tuple": (1, 2),
        "numpy": np.float32(0.5), "array": np.arange(3), "tensor": torch.tensor(2), "path": tmp_path, 3: "key", "negative zero": -0.0,
        "said": text("{n} rows", n=3), "score": Score(name="accuracy", value=float("-inf")),
    }  # fmt: skip
    for name in ("preprocessing.json", "data.json"):
        directory.write_json(name, content)
        read = directory.read_json(name)
        assert math.isnan(read["nan"][0])
        assert read["inf"] == math.inf
        assert read["score"]["value"] == -math.inf
        assert math.copysign(1, read["negative zero"]) == -1
        assert (read["big"], read["tuple"], read["3"], read["array"]) == (2**80, [1, 2], "key", [0, 1, 2])
        assert (read["numpy"], read["tensor"], read["path"], read["中文"]) == (0.5, 2, str(tmp_path), "值")
        assert read["said"]["text"] == "{n} rows"
        strict = json.loads((directory.path / name).read_text("utf-8"), parse_constant=lambda word: pytest.fail(word))
        assert strict["inf"] == {"float": "inf"}


def test_records(tmp_path: Path) -> None:
    directory = a_run(tmp_path)
    assert directory.record_names() == []
    assert not directory.has_record("summary")
    score = Score(name="accuracy", value=0.5)
    directory.write_record("summary", score)
    directory.write_record("分析 1", {"a": 1})
    assert directory.record_names() == ["summary", "分析 1"]
    assert Score.from_dict(directory.read_record("summary")) == score
    with pytest.raises(RunError, match=r"does not exist(.|\n)*summary"):
        directory.read_record("missing")


@pytest.mark.parametrize("name", ["../escape", "a/b", "a\\b", "/etc/passwd", "", "..", ".hidden", "con", "a:b", "x\x00", "../run", "a\n"])
def test_names_that_lead_out_of_the_run_are_refused(tmp_path: Path, name: str) -> None:
    directory = a_run(tmp_path)
    for attempt in (
        lambda: directory.write_record(name, {}),
        lambda: directory.read_record(name),
        lambda: directory.write_json(f"{name}.json", {}),
        lambda: directory.read_json(f"{name}.json"),
    ):
        with pytest.raises(RunError, match="no file name inside a run"):
            attempt()
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["digits", "run.json"]


# --------------------------------------------------------------------------------------------------------------------------------- open


def test_open_takes_the_directory_or_its_run_json(tmp_path: Path) -> None:
    directory = a_run(tmp_path)
    before = {path: path.stat().st_mtime_ns for path in directory.path.rglob("*")}
    assert RunDirectory.open(directory.path).path == directory.path
    assert RunDirectory.open(str(directory.path / "run.json")).path == directory.path
    assert {path: path.stat().st_mtime_ns for path in directory.path.rglob("*")} == before  # reading changes nothing


def test_open_says_what_is_there_instead(tmp_path: Path) -> None:
    a_run(tmp_path, "digits-mlp")
    a_run(tmp_path, "iris")
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("x")
    for path, said in [
        (tmp_path, "folder that holds runs: digits-mlp, iris"),
        (tmp_path / "empty", "has no run.json"),
        (tmp_path / "file", "is a file"),
        (tmp_path / "digits-mlb", "did you mean '.*digits-mlp'"),
        (tmp_path / "nowhere" / "x", "does not exist"),
        (tmp_path / ("x" * 300), "File name too long|does not exist"),
        ("nul\x00", "does not exist"),
    ]:
        with pytest.raises((RunError, StorageError), match=said) as caught:
            RunDirectory.open(path)
        assert caught.value.do


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("", "torn"),
        ("{", "torn"),
        (json.dumps(RUN)[:-20], "torn"),
        ("\x00" * 100, "torn"),
        ("[1]", "of type list"),
        ("3", "of type int"),
        ("NaN", "torn"),
        ('{"format": 1e999}', "too large"),
        ('{"format": ' + "9" * 5000 + "}", "torn"),
        ("[" * 100_000, "nested too deep"),
        ("{}", "no valid field 'format'"),
        (json.dumps({**RUN, "format": True}), "no valid field 'format'"),
        (json.dumps({**RUN, "format": "1"}), "no valid field 'format'"),
        (json.dumps({**RUN, "format": -1}), "no valid field 'format'"),
        (json.dumps({**RUN, "format": 2, "pellucid": "9.8.7"}), "Pellucid 9.8.7, in format 2"),
        (json.dumps({**RUN, "format": 10**300, "pellucid": ["x" * 10**5]}), "in format 1000"),
        (json.dumps({**RUN, "config": []}), "'config' is missing or of the wrong type"),
        (json.dumps({key: RUN[key] for key in RUN if key != "network"}), "'network' is missing"),
        (json.dumps({**RUN, "name": 3}), "'name'"),
    ],
    ids=lambda value: value[:40],
)
def test_torn_hostile_and_newer_run_json(tmp_path: Path, written: str, said: str) -> None:
    directory = a_run(tmp_path)
    (directory.path / "run.json").write_text(written)
    with pytest.raises(RunError, match=said) as caught:
        RunDirectory.open(directory.path)
    assert caught.value.do
    assert len(str(caught.value)) < 1500


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    directory = a_run(tmp_path)
    (directory.path / "run.json").write_bytes(b'{"format": 1, "name": "\xff\xfe"}')
    with pytest.raises(RunError, match="torn or is not JSON"):
        RunDirectory.open(directory.path)


# ------------------------------------------------------------------------------------------------------------------------------ metrics


def test_metrics_are_appended_cut_and_read(tmp_path: Path) -> None:
    directory = a_run(tmp_path)
    assert directory.metrics() == []
    assert directory.metrics_size() == 0
    rows = [{"epoch": number, "train": {"loss": 1 / number}, "名": "值"} for number in range(1, 6)]
    sizes = []
    for row in rows:
        directory.append_metrics(row)
        sizes.append(directory.metrics_size())
    assert directory.metrics() == rows
    directory.cut_metrics(sizes[2])
    assert directory.metrics() == rows[:3]
    directory.append_metrics(rows[3])
    assert RunDirectory.open(directory.path).metrics() == rows[:4]
    with pytest.raises(RunError, match="at least the 99999 bytes"):
        directory.cut_metrics(99999)
    directory.cut_metrics(0)
    assert directory.metrics() == []


@pytest.mark.parametrize("torn", ['{"epoch": 2', "{", '{"epoch": 2}', "\x00" * 50, "{}x\n", "\x00\x00\n", '{"a": 1e999}\n', "[1]\n"])
def test_a_torn_last_line_is_dropped_and_nothing_is_glued_to_it(tmp_path: Path, torn: str) -> None:
    a_run(tmp_path).append_metrics({"epoch": 1})
    directory = RunDirectory.open(tmp_path / "digits")
    path = directory.path / "metrics.jsonl"
    with path.open("a") as file:
        file.write(torn)
    assert directory.metrics() == [{"epoch": 1}]
    assert directory.metrics_size() == len('{"epoch":1}\n')
    directory.append_metrics({"epoch": 2})
    assert directory.metrics() == [{"epoch": 1}, {"epoch": 2}]


def test_a_torn_line_in_the_middle_is_named(tmp_path: Path) -> None:
    directory = a_run(tmp_path)
    (directory.path / "metrics.jsonl").write_text('{"epoch":1}\n{"epo\n{"epoch":3}\n')
    with pytest.raises(RunError, match=r"metrics.jsonl, line 2"):
        directory.metrics()


def test_half_a_row_on_a_full_disk_is_repaired_by_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = a_run(tmp_path)
    directory.append_metrics({"epoch": 1})
    write = os.write

    def full(descriptor: int, data: Any) -> int:
        write(descriptor, bytes(data)[:5])
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        with pytest.raises(StorageError, match="no space"):
            directory.append_metrics({"epoch": 2})
    assert directory.metrics() == [{"epoch": 1}]
    directory.append_metrics({"epoch": 2})
    assert directory.metrics() == [{"epoch": 1}, {"epoch": 2}]


def test_appending_a_row_is_quick(tmp_path: Path) -> None:
    directory = a_run(tmp_path)
    row = {"epoch": 1, "step": 3, "train": {"loss": 1.234, "accuracy": 0.9}, "validation": {"loss": 0.5, "accuracy": 0.75}}
    spent = []
    for _ in range(200):
        start = time.perf_counter()
        directory.append_metrics(row)
        spent.append(time.perf_counter() - start)
    assert sorted(spent)[100] < 200e-6


# ------------------------------------------------------------------------------------------------------------ weights and checkpoints


def test_weights_with_extra_state_and_metadata(tmp_path: Path) -> None:
    class Counting(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding = torch.nn.Embedding(5, 3)
            self.output = torch.nn.Linear(3, 5, bias=False)
            self.output.weight = self.embedding.weight
            self.seen: Any = {"words": ["一", "two"], 3: (1.5, None)}

        def get_extra_state(self) -> Any:
            return self.seen

        def set_extra_state(self, state: Any) -> None:
            self.seen = state

    directory = a_run(tmp_path)
    with pytest.raises(RunError, match="no weights yet"):
        directory.load_weights()
    network = Counting()
    directory.save_weights(network.state_dict(), {"epoch": 3, "loss": math.inf})
    state, metadata = directory.load_weights()
    other = Counting()
    other.seen = None
    other.load_state_dict(state)
    assert torch.equal(other.embedding.weight, network.embedding.weight)
    assert list(state) == list(network.state_dict())
    assert other.seen == network.seen
    assert metadata == {"epoch": 3, "loss": math.inf}


def test_weights_of_another_run_of_the_same_shape_are_refused(tmp_path: Path) -> None:
    directories = []
    for name in ("first", "second"):
        directory = a_run(tmp_path, name)
        directory.save_weights({"weight": torch.ones(3)})
        directories.append(directory)
    first, second = directories
    moved = first.path.rename(tmp_path / "moved")  # a run keeps its weights wherever it is
    assert RunDirectory.open(moved).load_weights()[1] == {}
    (second.path / "weights.safetensors").write_bytes((moved / "weights.safetensors").read_bytes())
    with pytest.raises(RunError, match="another run: first"):
        second.load_weights()


def test_the_last_two_checkpoints_are_kept_and_a_damaged_one_falls_back(tmp_path: Path) -> None:
    directory = a_run(tmp_path)
    assert directory.latest_checkpoint() is None
    for step in (5, 10, 100, 1000):
        directory.save_checkpoint(step, {"step": step, "weights": torch.full((50,), float(step))})
    assert directory.checkpoint_steps() == [1000, 100]
    latest = directory.latest_checkpoint()
    assert latest is not None
    assert latest[0] == 1000 == latest[1]["step"]

    newest = directory.path / "checkpoint-1000.safetensors"
    newest.write_bytes(newest.read_bytes()[:-7])
    latest = directory.latest_checkpoint()
    assert latest is not None
    assert latest[0] == 100
    # going on from there, the damaged file of a future given up must not push the good one out
    directory.save_checkpoint(150, {"step": 150})
    assert directory.checkpoint_steps() == [150, 100]

    for path in directory.path.glob("checkpoint-*"):
        path.write_bytes(b"")
    with pytest.raises(RunError, match="remove all checkpoints"):
        directory.latest_checkpoint()


def test_a_checkpoint_under_another_name_is_not_believed(tmp_path: Path) -> None:
    directory = a_run(tmp_path)
    directory.save_checkpoint(5, {"step": 5})
    (directory.path / "checkpoint-5.safetensors").rename(directory.path / "checkpoint-9.safetensors")
    with pytest.raises(RunError, match="another step"):
        directory.latest_checkpoint()
    (directory.path / "checkpoint-x.safetensors").write_bytes(b"")
    (directory.path / "checkpoint--1.safetensors").write_bytes(b"")
    assert directory.checkpoint_steps() == [9]


def test_a_failed_checkpoint_leaves_the_ones_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = a_run(tmp_path)
    directory.save_checkpoint(1, {"step": 1})
    directory.save_checkpoint(2, {"step": 2})

    def full(descriptor: int, data: Any) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        with pytest.raises(StorageError, match="no space is left"):
            directory.save_checkpoint(3, {"step": 3})
    assert directory.latest_checkpoint() == (2, {"step": 2})
    assert sorted(path.name for path in directory.path.iterdir()) == ["checkpoint-1.safetensors", "checkpoint-2.safetensors", "run.json"]


def test_a_copied_run_is_a_run(tmp_path: Path) -> None:
    import shutil

    directory = a_run(tmp_path)
    directory.append_metrics({"epoch": 1})
    with directory.lock():
        directory.save_checkpoint(1, {"step": 1})
        shutil.copytree(directory.path, tmp_path / "copy")
    copy = RunDirectory.open(tmp_path / "copy")
    assert not copy.is_locked()
    with copy.lock():
        assert copy.latest_checkpoint() == (1, {"step": 1})


# --------------------------------------------------------------------------------------------------------------------------------- lock

HOLD = """
import sys, time
from pellucid.runs.directory import RunDirectory
with RunDirectory.open(sys.argv[1]).lock():
    print("locked", flush=True)
    time.sleep(60)
"""


def test_one_process_at_a_time_and_a_killed_one_does_not_count(tmp_path: Path) -> None:
    directory = a_run(tmp_path)
    assert not directory.is_locked()
    other = subprocess.Popen([sys.executable, "-c", HOLD, str(directory.path)], stdout=subprocess.PIPE, text=True)
    try:
        assert other.stdout is not None
        assert other.stdout.readline() == "locked\n"
        assert directory.is_locked()
        with pytest.raises(RunError, match=f"is being trained by process {other.pid}"), directory.lock():
            pass
    finally:
        other.kill()
        other.communicate()
    assert not directory.is_locked()
    with directory.lock():
        assert directory.is_locked()


def test_one_trainer_within_a_process(tmp_path: Path) -> None:
    directory = a_run(tmp_path)
    with directory.lock():
        with pytest.raises(RunError, match=f"process {os.getpid()}"), RunDirectory.open(directory.path).lock():
            pass
        assert directory.is_locked()
    with directory.lock():
        pass


def test_a_process_number_left_by_an_earlier_process_with_our_number_is_no_holder(tmp_path: Path) -> None:
    import platform

    directory = a_run(tmp_path)
    (directory.path / ".lock").write_text(json.dumps({"process": os.getpid(), "machine": platform.node()}))
    assert not directory.is_locked()
    for garbage in ("", "{", "[]", '{"process": "x"}', '{"process": 1e400, "machine": 3}'):
        (directory.path / ".lock").write_text(garbage)
        assert not directory.is_locked()
        with directory.lock():
            pass


def test_file_systems_without_locks_go_by_the_process_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import errno
    import platform

    fcntl = pytest.importorskip("fcntl")

    def unsupported(*arguments: Any) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "lockf", unsupported)
    directory = a_run(tmp_path)
    (directory.path / ".lock").write_text(json.dumps({"process": os.getppid(), "machine": platform.node()}))
    with pytest.raises(RunError, match=str(os.getppid())), directory.lock():
        pass
    dead = subprocess.run(
        [sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True, check=True
    ).stdout.strip()
    (directory.path / ".lock").write_text(json.dumps({"process": dead, "machine": platform.node()}))
    with directory.lock():
        pass


def test_locking_removes_what_killed_writers_left(tmp_path: Path) -> None:
    directory = a_run(tmp_path)
    directory.write_record("summary", {})
    for folder in (directory.path, directory.path / "records"):
        (folder / f".x.json.{2**31 + 5}-0.tmp").write_text("half")
    with directory.lock():
        assert [path.name for path in directory.path.rglob("*.tmp")] == []


# ----------------------------------------------------------------------------------------------------------------------------- the disk


@pytest.mark.skipif(os.name == "nt", reason="permissions are other things on Windows")
def test_a_folder_that_cannot_be_made_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(StorageError, match="in the way"):
        RunDirectory.create(tmp_path / "file", "run")
    with pytest.raises(StorageError, match="in the way"):
        RunDirectory.create(tmp_path / "file" / "deeper", "run")
    if Path("/proc/version").exists():
        with pytest.raises(StorageError, match="/proc"):
            RunDirectory.create("/proc/runs", "run")


def test_a_run_that_vanishes_is_one_clear_error(tmp_path: Path) -> None:
    import shutil

    directory = a_run(tmp_path)
    shutil.rmtree(directory.path)
    for attempt in (
        lambda: directory.save_checkpoint(1, {}),
        lambda: directory.append_metrics({}),
        lambda: directory.write_json("run.json", {}),
        lambda: directory.write_record("summary", {}),
        lambda: directory.lock().__enter__(),
    ):
        with pytest.raises(StorageError, match="does not exist"):
            attempt()
