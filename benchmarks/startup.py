"""How long a person waits: `pellucid --help`, and `pellucid fit digits` until training shows its first progress.

    python benchmarks/startup.py [--rounds 7]

Every measurement is a new process; medians count. The first progress is the first loss that appears, in a terminal (the moving line) and in
a pipe (the first epoch's line); the training is then stopped. The files are warm in the system's cache, as they are from the second use on.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

from measurement import met, report, verdict

LOSS = re.compile(rb"loss\D{0,12}\d")


def program() -> list[str]:
    """The installed command beside this Python, as a user starts it."""
    beside = Path(sys.executable).with_name("pellucid")
    return [str(beside)] if beside.exists() else [shutil.which("pellucid") or "pellucid"]


def help_seconds() -> float:
    start = time.perf_counter()
    subprocess.run([*program(), "--help"], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def first_progress_seconds(terminal: bool) -> float:
    """From the start of `pellucid fit digits` to the first loss it shows."""
    with tempfile.TemporaryDirectory() as folder:
        if terminal:
            import pty

            ours, theirs = pty.openpty()
        else:
            ours, theirs = os.pipe()
        start = time.perf_counter()
        environment = {**os.environ, "TERM": "xterm", "COLUMNS": "120", "PELLUCID_LANGUAGE": "en"}
        process = subprocess.Popen([*program(), "fit", "digits"], cwd=folder, stdout=theirs, stderr=theirs, env=environment)
        os.close(theirs)
        shown, seconds = b"", float("inf")
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
            process.wait()
            os.close(ours)
    return seconds


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    measured = {
        "pellucid --help": ([help_seconds() for _ in range(3 * rounds)], 0.3),
        "pellucid fit digits: first progress, in a terminal": ([first_progress_seconds(True) for _ in range(rounds)], 3.0),
        "pellucid fit digits: first progress, in a pipe": ([first_progress_seconds(False) for _ in range(rounds)], 3.0),
    }
    rows: list[dict[str, Any]] = [
        {
            "what": name,
            "median (s)": f"{median(seconds):.2f}",
            "fastest to slowest": f"{min(seconds):.2f} to {max(seconds):.2f}",
            "aim": f"< {aim:g}",
            "met": met(median(seconds) < aim),
        }
        for name, (seconds, aim) in measured.items()
    ]
    report("startup", rows, {"seconds": {name: seconds for name, (seconds, _) in measured.items()}})
    return verdict(rows)


if __name__ == "__main__":
    raise SystemExit(main())
