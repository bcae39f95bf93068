"""Exact resuming: a training killed anywhere and gone on ends with the same bytes as the one never interrupted."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from pellucid.runs.directory import RunDirectory
from runs.kill import CAN_FORK, KINDS, CleanParent
from training.trainings import TRAININGS, outcome, table, the_run
from turns import in_turn

pytestmark = pytest.mark.skipif(not CAN_FORK, reason="needs fork")
Uninterrupted = Callable[[str], dict[str, Any]]


def assert_equal(resumed: dict[str, Any], uninterrupted: dict[str, Any], what: str) -> None:
    assert resumed["rows"] == uninterrupted["rows"], what
    assert resumed["weights"] == uninterrupted["weights"], what
    assert resumed["records"] == uninterrupted["records"], what


@contextmanager
def folder_in_memory() -> Iterator[Path]:
    """A folder in memory where there is one: SIGKILL leaves there what it leaves on a disk, and fsync, most of the time, costs nothing."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as folder:
        yield Path(folder)


@pytest.fixture
def place() -> Iterator[Path]:
    with folder_in_memory() as folder:
        yield folder


@pytest.fixture(scope="module")
def parent() -> Iterator[CleanParent]:
    with CleanParent("training.trainings") as started:
        yield started


@pytest.fixture(scope="module")
def uninterrupted(parent: CleanParent) -> Iterator[Callable[[str], dict[str, Any]]]:
    """The outcome of a training that nobody interrupts, made once for each, and how many calls of each kind it makes."""
    known: dict[str, dict[str, Any]] = {}
    with folder_in_memory() as folder:

        def of(name: str) -> dict[str, Any]:
            if name not in known:
                here = folder / str(len(known))
                counted = parent.calls("fit", name, str(here))
                known[name] = {**outcome(here), "calls": counted}
            return known[name]

        yield of


def kill_and_resume(parent: CleanParent, name: str, kind: str, n: int, folder: Path, expected: dict[str, Any]) -> bool:
    """Kill at the n-th call of `kind`, go on, compare. False: the training made fewer calls."""
    if not parent.killed_at(kind, n, "fit", name, str(folder)):
        return False
    parent.in_child("go_on", name, str(folder))
    assert_equal(outcome(folder), expected, f"{name}: killed at {kind} {n}")
    shutil.rmtree(folder)
    return True


# In the default suite each training is killed in one way or another; in all ways with the slow tests.
SOME = [(name, kind) for name in TRAININGS for kind in ("open", "write", "fsync", "rename")]


@pytest.mark.parametrize(("name", "kind"), in_turn(SOME, 7, first=1))
def test_killed_at_some_call(name: str, kind: str, place: Path, parent: CleanParent, uninterrupted: Uninterrupted) -> None:
    expected = uninterrupted(name)
    # multiples of the golden ratio: all trainings and kinds together are spread evenly from the first call to the last
    fraction = SOME.index((name, kind)) * 0.6180339887 % 1
    n = 1 + int(fraction * expected["calls"][kind])
    assert kill_and_resume(parent, name, kind, n, place / str(n), expected)


EVERY = ["mlp, dropout, adamw, one cycle, early stopping", "cnn, batch normalisation, momentum", "range test, clipping, l1"]


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", EVERY)
def test_killed_at_every_call(name: str, kind: str, place: Path, parent: CleanParent, uninterrupted: Uninterrupted) -> None:
    expected = uninterrupted(name)
    n = 1
    while kill_and_resume(parent, name, kind, n, place / str(n), expected):
        n += 1
    assert n - 1 == expected["calls"][kind]


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", [name for name in TRAININGS if name not in EVERY])
def test_killed_at_many_calls(name: str, kind: str, place: Path, parent: CleanParent, uninterrupted: Uninterrupted) -> None:
    expected = uninterrupted(name)
    count = expected["calls"][kind]
    for n in range(1, count + 1, max(1, count // 8)):
        assert kill_and_resume(parent, name, kind, n, place / str(n), expected)


@pytest.mark.parametrize("name", in_turn(TRAININGS, 4, first=2))
def test_killed_twice(name: str, place: Path, parent: CleanParent, uninterrupted: Uninterrupted) -> None:
    """The resumed training is killed too, at the same kind of place and earlier than the first time."""
    expected = uninterrupted(name)
    assert parent.killed_at("rename", expected["calls"]["rename"] // 2, "fit", name, str(place))
    parent.killed_at("rename", 4, "go_on", name, str(place))
    parent.killed_at("write", 3, "go_on", name, str(place))
    parent.in_child("go_on", name, str(place))
    assert_equal(outcome(place), expected, name)


@pytest.mark.parametrize("instants", [1, pytest.param(15, marks=[pytest.mark.slow, pytest.mark.timeout(3600)])])
@pytest.mark.parametrize("name", in_turn(TRAININGS, 4, first=1))
def test_killed_at_random_instants(name: str, instants: int, place: Path, parent: CleanParent, uninterrupted: Uninterrupted) -> None:
    """Anywhere: while data are read, in the range test, in a step, while scores are measured."""
    expected = uninterrupted(name)
    generator = random.Random(f"{name} {instants}")
    start = time.perf_counter()
    parent.in_child("fit", name, str(place / "timed"))
    seconds = time.perf_counter() - start
    for index in range(instants):
        folder = place / str(index)
        parent.killed_after(generator.uniform(0, seconds), "fit", name, str(folder))
        while generator.random() < 0.5:  # and again, some times
            parent.killed_after(generator.uniform(0, seconds), "go_on", name, str(folder))
        parent.in_child("go_on", name, str(folder))
        assert_equal(outcome(folder), expected, f"{name}: instant {index}")


@pytest.mark.slow
def test_checkpoints_by_the_clock_do_not_change_the_result(place: Path, parent: CleanParent, uninterrupted: Uninterrupted) -> None:
    """When checkpoints are written depends on time; what comes out does not."""
    for number, name in enumerate(TRAININGS):
        folder = place / str(number)
        parent.in_child("fit", name, str(folder), {"checkpoint_interval": 1000.0})
        assert_equal(outcome(folder), uninterrupted(name), name)


@pytest.mark.parametrize("place_of_kill", [0.4, 0.7, 0.99])
def test_killed_before_the_first_checkpoint(place_of_kill: float, place: Path, parent: CleanParent, uninterrupted: Uninterrupted) -> None:
    """Rows are written, a checkpoint is not: training begins again, with what was decided."""
    name = "range test, clipping, l1"
    rare = {"checkpoint_interval": 1000.0}
    count = parent.calls("fit", name, str(place / "counted"), rare)["write"]
    assert parent.killed_at("write", max(1, int(place_of_kill * count)), "fit", name, str(place / "killed"), rare)
    parent.in_child("go_on", name, str(place / "killed"))
    assert_equal(outcome(place / "killed"), uninterrupted(name), name)


def test_a_damaged_newest_checkpoint_falls_back_to_the_one_before(place: Path, parent: CleanParent, uninterrupted: Uninterrupted) -> None:
    name = next(iter(TRAININGS))
    expected = uninterrupted(name)
    assert parent.killed_at("rename", expected["calls"]["rename"] // 2, "fit", name, str(place))
    path = the_run(place)
    assert path is not None
    newest = max(path.glob("checkpoint-*"), key=lambda file: int(file.stem.split("-")[1]))
    newest.write_bytes(newest.read_bytes()[:-100])
    parent.in_child("go_on", name, str(place))
    assert_equal(outcome(place), expected, name)


# ------------------------------------------------------------------------------------------------------------------------------- signals


@pytest.mark.parametrize(
    ("where", "name"),
    [
        ("step", "mlp, dropout, adamw, one cycle, early stopping"),
        ("range test", "range test, clipping, l1"),
        ("scores", "cnn, batch normalisation, momentum"),
    ],
)
@pytest.mark.parametrize(("number", "exit_code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_saves_says_how_to_go_on_and_the_result_is_the_same(
    number: int, exit_code: int, where: str, name: str, place: Path, parent: CleanParent, uninterrupted: Uninterrupted
) -> None:
    expected = uninterrupted(name)
    report = parent.ended("fit_signalled", name, str(place), number, where)
    path = the_run(place)
    assert path is not None
    assert report["kind"] == "Interrupted", report
    assert report["exit_code"] == exit_code
    assert f"pellucid resume {path}" in report["message"]
    assert not (path / "records" / "summary.json").exists()
    assert not RunDirectory.open(path).is_locked()
    parent.in_child("go_on", name, str(place))
    assert_equal(outcome(place), expected, name)


def command(*arguments: str, folder: Path) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "PELLUCID_LANGUAGE": "en"}
    environment.pop("OMP_NUM_THREADS", None)  # default threads
    return subprocess.Popen(
        [sys.executable, "-m", "pellucid", *arguments], cwd=folder, env=environment,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, encoding="utf-8",
    )  # fmt: skip


FIT_DIGITS = (
    "fit", "digits", "--network", "mlp", "--epochs", "60", "--patience", "100", "--learning-rate", "0.002",
    "--checkpoint-interval", "100ms", "--no-baselines", "--no-report",
)  # fmt: skip


@pytest.mark.parametrize(
    ("number", "exit_code", "go_on"),
    [
        pytest.param(signal.SIGINT, 130, False, marks=pytest.mark.slow),  # tests/cli has it by default
        pytest.param(signal.SIGINT, 130, True, marks=pytest.mark.slow),
        pytest.param(signal.SIGTERM, 143, True, marks=pytest.mark.slow),
    ],
)
def test_the_command_line_interrupted_and_resumed_with_default_threads(number: int, exit_code: int, go_on: bool, place: Path) -> None:
    """As a person does it: `pellucid fit`, Ctrl-C, the command that the message names."""
    process = command(*FIT_DIGITS, folder=place)
    deadline = time.perf_counter() + 60
    while not list(place.glob("runs/*/checkpoint-*")) and process.poll() is None and time.perf_counter() < deadline:
        time.sleep(0.01)
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == exit_code, errors
    assert "Traceback" not in errors
    path = the_run(place / "runs")
    assert path is not None
    assert f"pellucid resume {path.relative_to(place)}" in " ".join(errors.split())
    if not go_on:
        return
    resumed = command("resume", str(path.relative_to(place)), folder=place)
    _, errors = resumed.communicate(timeout=120)
    assert resumed.returncode == 0, errors
    (place / "whole").mkdir()
    never_interrupted = command(*FIT_DIGITS, folder=place / "whole")
    _, errors = never_interrupted.communicate(timeout=120)
    assert never_interrupted.returncode == 0, errors
    assert_equal(outcome(place / "runs"), outcome(place / "whole" / "runs"), "digits")


def test_resuming_a_finished_run_and_one_without_its_data_is_explained(place: Path, parent: CleanParent) -> None:
    import pellucid
    from pellucid.core.errors import DataError, RunError

    name = next(iter(TRAININGS))
    assert parent.killed_at("rename", 20, "fit", name, str(place))
    path = the_run(place)
    assert path is not None
    X, y = table()
    with pytest.raises(DataError, match="in memory"):
        pellucid.load(path).resume()
    with pytest.raises(DataError) as caught:
        pellucid.load(path).resume((X + 1, y))
    assert caught.value.do
    parent.in_child("go_on", name, str(place))
    with pytest.raises(RunError, match="finished"):
        pellucid.load(path).resume((X, y))
