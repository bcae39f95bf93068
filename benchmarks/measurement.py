"""What every benchmark shares: medians with their uncertainty, a table for people, a JSON file with the machine and the versions."""

from __future__ import annotations

import json
import os
import platform
import random
import sys
import time
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median
from typing import Any

RESULTS = Path(__file__).resolve().parent / "results"


def hardware() -> dict[str, Any]:
    """The machine: processor, cores we may use, memory, system."""
    processor = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        processor = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), processor)
    except OSError:
        pass
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else None
    return {"processor": processor, "cores": cores, "memory_bytes": memory, "system": f"{platform.system()} {platform.release()}"}


def versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for package in ("pellucid", "torch", "numpy", "scikit-learn", "polars"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "-"
    return found


def load() -> float | None:
    """How busy the machine was in the last minute: processes per core."""
    return round(os.getloadavg()[0] / (os.cpu_count() or 1), 2) if hasattr(os, "getloadavg") else None


def interleaved(alternatives: dict[str, Callable[[], float]], rounds: int, *, warm_up: int = 1, seed: int = 0) -> dict[str, list[float]]:
    """Measure the alternatives in turn, in a new random order in each round, so that a change of the machine's speed meets all of them.

    Each function does its work once and returns the time it wants counted, in seconds.
    """
    order, drawn = list(alternatives), random.Random(seed)
    times: dict[str, list[float]] = {name: [] for name in alternatives}
    for turn in range(-warm_up, rounds):
        drawn.shuffle(order)
        for name in order:
            seconds = alternatives[name]()
            if turn >= 0:
                times[name].append(seconds)
    return times


def ratio(times: Sequence[float], reference: Sequence[float], *, draws: int = 2000, seed: int = 0) -> tuple[float, float, float]:
    """The ratio of the medians and its 95 % bootstrap interval; pairs of one round stay together."""
    pairs, drawn = list(zip(times, reference, strict=True)), random.Random(seed)
    ratios = []
    for _ in range(draws):
        sample = drawn.choices(pairs, k=len(pairs))
        ratios.append(median(a for a, _ in sample) / median(b for _, b in sample))
    ratios.sort()
    return median(times) / median(reference), ratios[int(0.025 * draws)], ratios[int(0.975 * draws)]


def table(rows: Sequence[dict[str, Any]]) -> str:
    """A Markdown table, aligned, as it goes into the README."""
    headings = list(rows[0])
    cells = [headings, *([str(row.get(heading, "")) for heading in headings] for row in rows)]
    widths = [max(len(line[column]) for line in cells) for column in range(len(headings))]
    lines = ["| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |" for line in cells]
    return "\n".join([lines[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *lines[1:]])


def report(name: str, rows: Sequence[dict[str, Any]], details: dict[str, Any]) -> Path:
    """Print the table, write everything to results/NAME.json, and say where that is."""
    print(table(rows))
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    record = {
        "benchmark": name,
        "when": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
        "hardware": hardware(),
        "versions": versions(),
        "load_per_core": load(),
        "rows": list(rows),
        **details,
    }
    path.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(f"\n{record['hardware']['processor']}, {record['hardware']['cores']} cores; {record['versions']}; load {record['load_per_core']}")
    print(f"details: {path}")
    return path


def verdict(rows: Sequence[dict[str, Any]]) -> int:
    """The exit status: 1 where a row misses its aim."""
    missed = [row for row in rows if row.get("met") == "no"]
    for row in missed:
        print(f"missed: {row}", file=sys.stderr)
    return 1 if missed else 0


def met(reached: bool) -> str:
    return "yes" if reached else "no"
