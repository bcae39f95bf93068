from __future__ import annotations

import errno
import os
import platform
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from pellucid.core import system
from pellucid.core.errors import Interrupted, StorageError
from pellucid.core.system import (
    Signals,
    environment,
    environment_differences,
    free_bytes,
    legal_name,
    peak_memory_bytes,
    process_is_alive,
    remove_temporaries,
    storage_errors,
    write_atomically,
)


def names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.mark.parametrize(
    ("name", "legal"),
    [
        ("digits-mlp", "digits-mlp"),
        ("手写数字 训练", "手写数字 训练"),
        ('a/b\\c:d*e?f"g<h>i|j', "a-b-c-d-e-f-g-h-i-j"),
        ("../../etc/passwd", "-..-etc-passwd"),
        ("..", "run"),
        ("", "run"),
        ("   ", "run"),
        ("name. . ", "name"),
        ("tab\tnew\nline\x00", "tab-new-line-"),
        ("CON", "CON_"),
        ("nul.txt", "nul_.txt"),
        ("com1", "com1_"),
        ("COM¹.csv", "COM¹_.csv"),
        ("lpt10", "lpt10"),
        ("console", "console"),
        (".hidden", "hidden"),
        ("a\u200bb\u202e", "ab"),  # invisible characters, and one that turns the reading direction
        ("e\u0301", "\u00e9"),  # macOS writes these apart
        ("\ud800bad", "bad"),
    ],
)
def test_names_become_legal_on_every_system(name: str, legal: str) -> None:
    assert legal_name(name) == legal
    assert legal_name(legal) == legal


@pytest.mark.parametrize("character", ["x", "字", "𝔘"])
def test_long_names_are_cut_between_characters(character: str) -> None:
    cut = legal_name(character * 400)
    assert set(cut) == {character}
    assert 110 < len(cut.encode()) <= system.LONGEST_NAME


def test_atomic_write_replaces_and_leaves_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "文件.json"
    write_atomically(path, [b"first"])
    write_atomically(path, [b"sec", memoryview(b"ond"), b""])
    assert path.read_bytes() == b"second"
    assert names_in(tmp_path) == {path.name}


LARGE = 2**18  # from here on a buffer is written by itself


@pytest.mark.parametrize(
    "sizes",
    [[], [0], [1, 0, 2], [LARGE], [LARGE - 1, 1, 5], [5, LARGE, 5, 2**20, 0], [2**17] * 5, [1] * 1000, [LARGE - 1, LARGE - 1, LARGE + 1]],
)
def test_all_bytes_of_small_and_large_buffers_arrive_in_order(tmp_path: Path, sizes: list[int]) -> None:
    buffers = [bytes([index % 251]) * size for index, size in enumerate(sizes)]
    write_atomically(tmp_path / "a", [memoryview(buffer) if index % 2 else buffer for index, buffer in enumerate(buffers)])
    assert (tmp_path / "a").read_bytes() == b"".join(buffers)


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (errno.ENOSPC, "no space is left"),
        (errno.EROFS, "read-only"),
        (errno.EACCES, "refused"),
        (errno.EPERM, "refused"),
        (errno.ENOENT, "does not exist"),
        (errno.ENOTDIR, "in the way"),
        (errno.EIO, os.strerror(errno.EIO)),
    ],
)
@pytest.mark.parametrize("call", ["open", "write", "fsync", "replace"])
def test_a_refusing_disk_is_one_clear_error_and_keeps_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, said: str, call: str
) -> None:
    path = tmp_path / "run.json"
    write_atomically(path, [b"old"])

    def refuse(*arguments: object, **named: object) -> None:
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as patch:
        patch.setattr(os, call, refuse)
        with pytest.raises(StorageError) as caught:
            write_atomically(path, [b"new"])
    error = caught.value
    assert said in str(error)
    assert str(path) in str(error.got)
    assert error.expected
    assert error.do
    assert isinstance(error, OSError)
    assert path.read_bytes() == b"old"
    assert names_in(tmp_path) == {"run.json"}


def test_a_full_disk_for_real(tmp_path: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    descriptor = os.open("/dev/full", os.O_WRONLY)
    try:
        with pytest.raises(StorageError, match="no space is left"), storage_errors("/dev/full"):
            system.write_all(descriptor, b"x")
    finally:
        os.close(descriptor)


def test_file_systems_that_cannot_synchronise_are_taken_at_their_word(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unsupported(descriptor: int) -> None:
        raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr(os, "fsync", unsupported)
    write_atomically(tmp_path / "a", [b"x"])
    assert (tmp_path / "a").read_bytes() == b"x"


def test_long_writes_that_are_taken_in_parts_are_completed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: write(descriptor, memoryview(data)[:3]))
    write_atomically(tmp_path / "a", [b"0123456789", memoryview(b"abcd")])
    assert (tmp_path / "a").read_bytes() == b"0123456789abcd"


def test_temporaries_of_the_dead_go_and_those_of_the_living_stay(tmp_path: Path) -> None:
    dead = subprocess.run(
        [sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True, check=True
    ).stdout.strip()
    living = str(os.getppid())
    kept = {f".run.json.{living}-0.tmp", "notes.tmp", ".lock", "run.json"}
    for name in (*kept, f".run.json.{dead}-0.tmp", f".a.b.{os.getpid()}-17.tmp", ".x.99999999999999999999999-1.tmp"):
        (tmp_path / name).write_bytes(b"")
    remove_temporaries(tmp_path)
    assert names_in(tmp_path) == kept
    remove_temporaries(tmp_path / "missing")


@pytest.mark.parametrize(
    ("process", "alive"), [(os.getpid(), True), (-1, False), (0, False), (2**40, False)], ids=["own", "-1", "0", "2**40"]
)
def test_living_processes_are_known(process: int, alive: bool) -> None:
    assert process_is_alive(process) is alive


@pytest.mark.skipif(os.name == "nt", reason="signals are raised differently on Windows")
@pytest.mark.parametrize(("number", "exit_code", "named"), [(signal.SIGINT, 130, "Ctrl-C"), (signal.SIGTERM, 143, "SIGTERM")])
def test_a_signal_becomes_an_exception_at_a_safe_point(number: int, exit_code: int, named: str) -> None:
    before = signal.getsignal(number)

    def train() -> None:
        with Signals() as signals:
            assert not signals.received
            signal.raise_signal(number)
            assert signals.received
            signals.raise_interrupted(Path("runs/with blank"))

    with pytest.raises(Interrupted) as caught:
        train()
    assert caught.value.exit_code == exit_code
    assert named in str(caught.value)
    assert "pellucid resume 'runs/with blank'" in str(caught.value)
    assert signal.getsignal(number) is before


@pytest.mark.skipif(os.name == "nt", reason="signals are raised differently on Windows")
def test_the_second_signal_ends_at_once_and_an_unseen_one_is_not_lost() -> None:
    before = signal.getsignal(signal.SIGINT)
    arrived = 0

    def train(times: int) -> None:
        nonlocal arrived
        with Signals():
            for _ in range(times):
                signal.raise_signal(signal.SIGINT)
                arrived += 1

    with pytest.raises(KeyboardInterrupt):
        train(3)
    assert arrived == 1
    with pytest.raises(KeyboardInterrupt):
        train(1)
    assert arrived == 2
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.skipif(os.name == "nt", reason="signals are raised differently on Windows")
def test_ignored_signals_stay_ignored_and_other_threads_catch_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        with Signals() as signals:
            signal.raise_signal(signal.SIGTERM)
            assert not signals.received
    finally:
        signal.signal(signal.SIGTERM, before)
    handlers: list[object] = []

    def in_thread() -> None:
        with Signals() as signals:
            handlers.append(signal.getsignal(signal.SIGINT))
            assert not signals.received

    thread = threading.Thread(target=in_thread)
    thread.start()
    thread.join()
    assert handlers == [signal.getsignal(signal.SIGINT)]


def test_memory_disk_and_machine_are_described() -> None:
    peak = peak_memory_bytes()
    assert peak is not None
    assert 10**7 < peak < 10**12
    assert (free_bytes(Path("not/yet/there")) or 0) > 0
    described = environment()
    assert described["threads"] == 1
    assert all(described[name] for name in ("python", "torch", "numpy", "pellucid", "cpu", "platform", "cores"))
    assert environment_differences(described, environment()) == []
    assert environment_differences({**described, "torch": "1.0", "python": "3.99"}, described) == [("torch", "1.0", described["torch"])]


def test_a_long_calculation_ends_at_once() -> None:
    with Signals() as signals:
        with signals.at_once():
            signal.raise_signal(signal.SIGINT)
            pytest.fail("the calculation went on")
        assert signals.received
        with pytest.raises(Interrupted):
            signals.raise_interrupted("run")


def test_a_library_does_not_swallow_the_end() -> None:
    with Signals() as signals:
        with signals.at_once():
            try:
                signal.raise_signal(signal.SIGTERM)
            except Exception:
                pytest.fail("taken for a failure")
        assert signals.received
    with Signals() as signals, signals.at_once():
        pass
    assert not signals.received


@pytest.mark.skipif(sys.platform != "linux" or platform.libc_ver()[0] != "glibc", reason="a setting of glibc")
def test_freed_memory_is_kept() -> None:
    """A block of 64 MiB taken again costs no page faults; without the setting, all of them again. In a process of its own."""
    program = """
import ctypes, resource, sys
from pellucid.core.memory import keep_freed_memory
if sys.argv[1] == "kept":
    assert keep_freed_memory()
library = ctypes.CDLL(None)
library.malloc.restype, library.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
for _ in range(2):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    block = library.malloc(2**26)
    ctypes.memset(block, 1, 2**26)
    library.free(block)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
    faults = {
        how: int(subprocess.run([sys.executable, "-c", program, how], capture_output=True, text=True, check=True).stdout)
        for how in ("kept", "left")
    }
    assert faults["kept"] <= 8 < faults["left"]  # pages of 2 MiB would be 32 faults
