"""How long a person waits: `pellucid --help`, and `pellucid fit digits` until training shows its first progress.

    python benchmarks/startup.py [--rounds 7]

Every measurement is a new process, in turn with the others; medians count. The first progress is the first loss that appears, in a terminal
(the moving line) and in a pipe (the first epoch's line); the training is then stopped. The processor's time is given beside the clock's: it
hardly depends on what else the machine does. The last row is what PyTorch itself takes for `import torch` and one step of fused AdamW. The
files are warm in the system's cache, as they are from the second use on.
"""

from __future__ import annotations

import argparse
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

from measurement import interleaved, met, report, verdict

LOSS = re.compile(rb"loss\D{0,12}\d")


def program() -> list[str]:
    """The installed command beside this Python, as a user starts it."""
    beside = Path(sys.executable).with_name("pellucid")
    return [str(beside)] if beside.exists() else [shutil.which("pellucid") or "pellucid"]


BARE = """
import torch
network = torch.nn.Linear(64, 10)
optimizer = torch.optim.AdamW(network.parameters(), fused=True)
network(torch.randn(16, 64)).sum().backward()
optimizer.step()
"""


def finished(command: list[str]) -> tuple[float, float]:
    """(seconds by the clock, seconds of the processor) of a program that ends by itself."""
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{command} ended with exit code {process.returncode}")
    return seconds, used.ru_utime + used.ru_stime


def first_progress(terminal: bool) -> tuple[float, float]:
    """The same of `pellucid fit digits` until the first loss it shows."""
    with tempfile.TemporaryDirectory() as folder:
        ours, theirs = pty.openpty() if terminal else os.pipe()
        environment = {**os.environ, "TERM": "xterm", "COLUMNS": "120", "PELLUCID_LANGUAGE": "en"}
        start = time.perf_counter()
        process = subprocess.Popen([*program(), "fit", "digits"], cwd=folder, stdout=theirs, stderr=theirs, env=environment)
        os.close(theirs)
        shown = b""
        try:
            while not LOSS.search(shown):
                try:
                    piece = os.read(ours, 65536)
                except OSError:  # the terminal's other end was closed
                    piece = b""
                if not piece:
                    raise RuntimeError("`pellucid fit digits` ended without showing a loss:\n" + shown.decode(errors="replace"))
                shown += piece
            seconds = time.perf_counter() - start
        finally:
            process.send_signal(signal.SIGKILL)
            _, status, used = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            os.close(ours)
    return seconds, used.ru_utime + used.ru_stime


CASES: dict[str, tuple[Callable[[], tuple[float, float]], float | None]] = {
    "pellucid --help": (lambda: finished([*program(), "--help"]), 0.3),
    "pellucid fit digits: first progress, in a terminal": (lambda: first_progress(True), 3.0),
    "pellucid fit digits: first progress, in a pipe": (lambda: first_progress(False), 3.0),
    "import torch and one step of AdamW, no Pellucid": (lambda: finished([sys.executable, "-c", BARE]), None),
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    processor: dict[str, list[float]] = {name: [] for name in CASES}

    def measured(name: str) -> Callable[[], float]:
        def once() -> float:
            seconds, used = CASES[name][0]()
            processor[name].append(used)
            return seconds

        return once

    clock = interleaved({name: measured(name) for name in CASES}, rounds)
    rows: list[dict[str, Any]] = [
        {
            "what": name,
            "median (s)": f"{median(clock[name]):.2f}",
            "fastest to slowest": f"{min(clock[name]):.2f} to {max(clock[name]):.2f}",
            "processor time (s)": f"{median(processor[name]):.2f}",
            "aim": "" if aim is None else f"< {aim:g}",
            "met": "" if aim is None else met(median(clock[name]) < aim),
        }
        for name, (_, aim) in CASES.items()
    ]
    report("startup", rows, {"rounds": rounds, "clock_seconds": clock, "processor_seconds": processor})
    return verdict(rows)


if __name__ == "__main__":
    raise SystemExit(main())
