"""Kill a program at a chosen instant, as the system, a power cut or a batch queue would: SIGKILL, nothing is cleaned up.

    while killed_at("write", n, lambda: work(folder)):   # at the first write, the second, ... until the work ends before the n-th
        check(folder)
        n += 1

The work runs in a forked child. In it every call by which Python touches files is counted; at the n-th call of a kind the child kills
itself: before the call, and in the midst of a write, when half of the bytes are written. Whatever lies between two calls is then the
state before the next one, so that all n of all kinds together are all the states a kill can leave.

Threads do not survive a fork: work that uses a thread pool which this process has already used (polars has one, torch has one as soon
as it may use two threads) would wait for ever. Such work is forked from a process that has only imported:

    with CleanParent("training.trainings") as parent:
        parent.killed_at("write", n, "fit", "digits", str(folder))   # trainings.fit("digits", str(folder))
"""

from __future__ import annotations

import builtins
import importlib
import io
import json
import os
import signal
import subprocess
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

KINDS = ("open", "write", "fsync", "rename", "truncate", "remove", "folder")
CAN_FORK = hasattr(os, "fork")
LIMIT_SECONDS = 120.0  # a child that hangs is an error, not a kill


def killed_at(kind: str, n: int, function: Callable[[], Any]) -> bool:
    """Run `function` in a child that is killed at its n-th call (from 1) of `kind`. False: it finished before.

    Raises:
        AssertionError: the function raised; its traceback is in the message.
    """
    return _ended_by_kill(_fork(function, kind, n))


def killed_after(seconds: float, function: Callable[[], Any]) -> bool:
    """Run `function` in a child that is killed after `seconds`. False: it finished before."""
    child = _fork(function)
    deadline = time.perf_counter() + seconds
    while time.perf_counter() < deadline:
        if child.ended():
            break
        time.sleep(min(0.002, max(deadline - time.perf_counter(), 0.0)))
    else:
        with suppress(ProcessLookupError):
            os.kill(child.process, signal.SIGKILL)
    return _ended_by_kill(child)


def ended(function: Callable[[], Any]) -> Child:
    """Run `function` in a child; the child, ended, with "kind", "message" and "exit_code" of the exception that ended it in its report."""
    child = _fork(function)
    child.wait()
    return child


def calls(function: Callable[[], Any]) -> dict[str, int]:
    """How many calls of each kind `function` makes, run to its end in a child: what the n of `killed_at` can be."""
    child = _fork(function, count=True)
    assert not _ended_by_kill(child)
    return child.report["calls"]


def in_child(function: Callable[[], Any]) -> Any:
    """What `function` returns (as JSON) when run in a child that nobody kills."""
    child = _fork(function)
    assert not _ended_by_kill(child)
    return child.report["returned"]


class Child:
    """A forked process and what it tells through a pipe."""

    def __init__(self, process: int, pipe: int) -> None:
        self.process = process
        self._pipe = pipe
        self.status: int | None = None  # negative: minus the signal that ended it; else its exit code
        self.report: dict[str, Any] = {}

    def ended(self) -> bool:
        if self.status is None:
            process, status = os.waitpid(self.process, os.WNOHANG)
            if process:
                self._collect(status)
        return self.status is not None

    def wait(self) -> int:
        deadline = time.perf_counter() + LIMIT_SECONDS
        while not self.ended():
            if time.perf_counter() > deadline:
                os.kill(self.process, signal.SIGKILL)
                self._collect(os.waitpid(self.process, 0)[1])
                raise AssertionError(f"the child did not end within {LIMIT_SECONDS} s")
            time.sleep(0.001)
        assert self.status is not None
        return self.status

    def _collect(self, status: int) -> None:
        self.status = os.waitstatus_to_exitcode(status)
        with os.fdopen(self._pipe, "rb") as pipe:
            written = pipe.read()
        with suppress(ValueError):  # nothing, when it was killed
            self.report = json.loads(written)


class CleanParent:
    """A process that imports `module`, calls its `prepare()`, and does nothing else but fork: the functions above, there.

    `function` is a name in that module; arguments and answers must be what JSON holds.
    """

    def __init__(self, module: str) -> None:
        self._module = module

    def __enter__(self) -> CleanParent:
        reading, writing = os.pipe()
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
        self._process = subprocess.Popen(
            [sys.executable, __file__, self._module, str(writing)], stdin=subprocess.PIPE, env=environment, pass_fds=(writing,)
        )
        os.close(writing)
        self._answers = os.fdopen(reading, "rb")
        return self

    def __exit__(self, *error: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._answers.close()
        self._process.wait(timeout=30)

    def killed_at(self, kind: str, n: int, function: str, *arguments: Any) -> bool:
        return self._ask("killed_at", [kind, n], function, arguments)

    def killed_after(self, seconds: float, function: str, *arguments: Any) -> bool:
        return self._ask("killed_after", [seconds], function, arguments)

    def ended(self, function: str, *arguments: Any) -> dict[str, Any]:
        """The child's report."""
        return self._ask("ended", [], function, arguments)

    def calls(self, function: str, *arguments: Any) -> dict[str, int]:
        return self._ask("calls", [], function, arguments)

    def in_child(self, function: str, *arguments: Any) -> Any:
        return self._ask("in_child", [], function, arguments)

    def _ask(self, what: str, before: list[Any], function: str, arguments: tuple[Any, ...]) -> Any:
        assert self._process.stdin is not None
        request = {"what": what, "before": before, "function": function, "arguments": list(arguments)}
        self._process.stdin.write(json.dumps(request).encode() + b"\n")
        self._process.stdin.flush()
        answer = json.loads(self._answers.readline() or b'{"error": "the clean parent has ended"}')
        if "error" in answer:
            raise AssertionError(answer["error"])
        return answer["value"]


def _serve(module_name: str, pipe: int) -> None:
    """The clean parent's own program."""
    import runs.kill as harness  # this file under the name by which the module knows it

    os.set_inheritable(pipe, False)
    module = importlib.import_module(module_name)
    module.prepare()
    for line in sys.stdin:
        request = json.loads(line)
        function = partial(getattr(module, request["function"]), *request["arguments"])
        try:
            value = getattr(harness, request["what"])(*request["before"], function)
            answer = {"value": value.report if isinstance(value, harness.Child) else value}
        except Exception:
            answer = {"error": traceback.format_exc()[-20_000:]}
        os.write(pipe, json.dumps(answer).encode() + b"\n")


def _ended_by_kill(child: Child) -> bool:
    status = child.wait()
    if status == -signal.SIGKILL:
        return True
    assert status == 0, child.report.get("error", f"the child ended with {status}")
    return False


def _fork(function: Callable[[], Any], kind: str | None = None, n: int = 0, *, count: bool = False) -> Child:
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 warns of forking beside threads; none of ours holds a lock
        process = os.fork()
    if process:
        os.close(writing)
        return Child(process, reading)
    os.close(reading)
    report: dict[str, Any] = {}
    code = 1
    try:
        if kind is not None or count:
            with _counting(kind, n) as counted:
                report["returned"] = function()
            report["calls"] = counted
        else:
            report["returned"] = function()
        code = 0
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 1
        report["error"] = traceback.format_exc()[-20_000:]
    except BaseException as error:
        report["error"], report["kind"] = traceback.format_exc()[-20_000:], type(error).__name__
        report["message"], report["exit_code"] = str(error)[:5_000], getattr(error, "exit_code", None)
    finally:
        with suppress(TypeError, ValueError):
            report = json.loads(json.dumps(report, default=repr))
        os.write(writing, json.dumps(report).encode())  # less than a pipe holds: nobody reads before we have ended
        os._exit(code)  # no buffers flushed, no exit handlers: they are the parent's


@contextmanager
def _counting(kind: str | None, n: int) -> Iterator[dict[str, int]]:
    """Count every call that touches files; at the n-th of `kind`, end."""
    counted = dict.fromkeys(KINDS, 0)

    def reached(this: str) -> bool:
        counted[this] += 1
        return this == kind and counted[this] == n

    def die() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def counting(this: str, original: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            if reached(this):
                die()
            return original(*arguments, **named)

        return call

    write = os.write

    def write_half(descriptor: int, data: Any) -> int:
        if reached("write"):
            view = memoryview(data).cast("B")
            write(descriptor, view[: len(view) // 2])
            die()
        return write(descriptor, data)

    class Raw(io.FileIO):
        """What `open` of a file for writing gives: its unbuffered writes are counted like os.write."""

        def write(self, data: Any) -> int:
            if reached("write"):
                view = memoryview(data).cast("B")
                super().write(view[: len(view) // 2])
                die()
            return super().write(data) or 0

    original_open = builtins.open

    def open_counted(file: Any, mode: str = "r", buffering: int = -1, *arguments: Any, **named: Any) -> Any:
        if reached("open"):
            die()
        if isinstance(file, int) or not set(mode) & set("wax+"):
            return original_open(file, mode, buffering, *arguments, **named)
        raw = Raw(file, mode.replace("b", "").replace("t", ""))
        if buffering == 0:
            return raw
        buffered = io.BufferedRandom(raw) if "+" in mode else io.BufferedWriter(raw)
        return buffered if "b" in mode else io.TextIOWrapper(buffered, *arguments, **named)

    patches: list[tuple[Any, str, Any]] = [
        (builtins, "open", open_counted),
        (io, "open", open_counted),
        (os, "open", counting("open", os.open)),
        (os, "write", write_half),
        (os, "fsync", counting("fsync", os.fsync)),
        (os, "fdatasync", counting("fsync", getattr(os, "fdatasync", os.fsync))),
        (os, "replace", counting("rename", os.replace)),
        (os, "rename", counting("rename", os.rename)),
        (os, "truncate", counting("truncate", os.truncate)),
        (os, "ftruncate", counting("truncate", os.ftruncate)),
        (os, "unlink", counting("remove", os.unlink)),
        (os, "remove", counting("remove", os.remove)),
        (os, "mkdir", counting("folder", os.mkdir)),
    ]
    originals = [(owner, name, getattr(owner, name)) for owner, name, _ in patches if hasattr(owner, name)]
    for owner, name, replacement in patches:
        if hasattr(owner, name):
            setattr(owner, name, replacement)
    try:
        yield counted
    finally:
        for owner, name, original in originals:
            setattr(owner, name, original)


def files(folder: Path) -> dict[str, int]:
    """Every file under `folder` and its size, for messages of failing tests."""
    return {str(path.relative_to(folder)): path.stat().st_size for path in sorted(folder.rglob("*")) if path.is_file()}


if __name__ == "__main__":
    _serve(sys.argv[1], int(sys.argv[2]))
