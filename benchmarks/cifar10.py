"""Time to accuracy on images: whole commands, from the shell's prompt to the prompt, on the published test part.

    python benchmarks/cifar10.py [--data-dir ../shared/data] [--seeds 1] [--only default,budget,fashion] [--classic-epochs 10] [--quick]

Each row is a process of its own, timed by the clock on the wall: starting Python, reading the data, measuring, classical baselines and the
report are part of it. `classic` is examples/cifar10_classic.py, the loop that textbooks show (batches of 64, SGD with momentum, a small
network); the others are `pellucid fit` as a person types it. A seed draws the validation part and the initial weights; the test part is
the published one and chooses nothing. The rows of one seed run in turn, so that a change of the machine's speed meets all of them.
--quick makes one pass over the data each, to see that everything works; its figures are no results.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from measurement import load, met, report, verdict

ROOT = Path(__file__).resolve().parent.parent
LEVELS = (0.8, 0.85, 0.9, 0.92, 0.93)  # validation accuracies whose time is kept


@dataclass(frozen=True)
class Case:
    """One command and its aim."""

    name: str
    data: str
    arguments: tuple[str, ...] = ()
    accuracy: float | None = None
    seconds: float | None = None


CASES = (
    Case("classic", "cifar10"),
    Case("budget", "cifar10", ("--budget", "4min"), 0.90, 240),
    Case("default", "cifar10", (), 0.93, 720),
    Case("fashion", "fashion-mnist", (), 0.93),
)


def timed(command: list[str]) -> tuple[float, str]:
    """Seconds of the whole command and what it printed."""
    start = time.perf_counter()
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - start
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr}")
    return seconds, done.stdout


def classic(case: Case, options: argparse.Namespace, seed: int, folder: Path) -> dict[str, Any]:
    epochs = 1 if options.quick else options.classic_epochs
    command = [sys.executable, "examples/cifar10_classic.py", "--epochs", str(epochs), "--data-dir", str(options.data_dir)]
    seconds, printed = timed(command)
    found = re.search(r"test accuracy ([\d.]+)", printed)
    assert found is not None, printed
    return {"seconds": seconds, "accuracy": float(found[1]), "epochs": epochs}


def fitted(case: Case, options: argparse.Namespace, seed: int, folder: Path) -> dict[str, Any]:
    command = [sys.executable, "-m", "pellucid", "fit", case.data, "--data-dir", str(options.data_dir), "--directory", str(folder)]
    command += [*case.arguments, "--seed", str(seed), *(["--epochs", "1"] if options.quick else [])]
    seconds, _ = timed(command)
    (run,) = folder.iterdir()
    records = {name: json.loads((run / "records" / f"{name}.json").read_text("utf-8")) for name in ("scores", "cost")}
    settings = json.loads((run / "run.json").read_text("utf-8"))["settings"]
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text("utf-8").splitlines()]
    reached = {f"{level:.2f}": next((row["seconds"] for row in rows if row["validation"]["accuracy"] >= level), None) for level in LEVELS}
    return {
        "seconds": seconds,
        "accuracy": next(score["value"] for score in records["scores"]["test"] if score["name"] == "accuracy"),
        "epochs": records["cost"]["epochs"],
        "training_seconds": records["cost"]["training_seconds"],
        "samples_per_second": records["cost"]["samples"] / records["cost"]["training_seconds"],
        "precision": settings["precision"],
        "seconds_of_training_until_validation_accuracy": reached,
    }


def row(case: Case, runs: list[dict[str, Any]], reference: list[dict[str, Any]]) -> dict[str, Any]:
    accuracies, seconds = [run["accuracy"] for run in runs], [run["seconds"] for run in runs]
    ratios = [run["seconds"] / other["seconds"] for run, other in zip(runs, reference, strict=False)]
    aims = [f">= {case.accuracy}"] if case.accuracy else []
    aims += [f"<= {case.seconds:g} s"] if case.seconds else []
    reached = (case.accuracy is None or mean(accuracies) >= case.accuracy) and (case.seconds is None or max(seconds) <= case.seconds)
    return {
        "command": f"classic loop, {runs[0]['epochs']} epochs"
        if case.name == "classic"
        else f"fit {' '.join((case.data, *case.arguments))}",
        "test accuracy": f"{mean(accuracies):.4f}" + (f" ± {stdev(accuracies):.4f}" if len(accuracies) > 1 else ""),
        "seconds": f"{mean(seconds):.0f}" + (f" ({min(seconds):.0f} to {max(seconds):.0f})" if len(seconds) > 1 else ""),
        "epochs": runs[0]["epochs"],
        "time / classic": f"{mean(ratios):.2f}" if ratios and case.name != "classic" else "",
        "seeds": len(runs),
        "aim": ", ".join(aims),
        "met": met(reached) if aims else "",
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--only", default=",".join(case.name for case in CASES))
    parser.add_argument("--classic-epochs", type=int, default=10)
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    options.data_dir = options.data_dir.resolve()
    cases = [case for case in CASES if case.name in options.only.split(",")]
    runs: dict[str, list[dict[str, Any]]] = {case.name: [] for case in cases}
    for seed in range(options.first_seed, options.first_seed + options.seeds):
        for case in random.Random(seed).sample(cases, len(cases)):
            with tempfile.TemporaryDirectory() as folder:
                run = (classic if case.name == "classic" else fitted)(case, options, seed, Path(folder))
            runs[case.name].append({"seed": seed, "load_per_core": load(), **run})
            print(f"seed {seed}, {case.name}: {run['accuracy']:.4f} in {run['seconds']:.0f} s", flush=True)
    rows = [row(case, runs[case.name], runs.get("classic", [])) for case in cases]
    report("cifar10-quick" if options.quick else "cifar10", rows, {"runs": runs})
    return 0 if options.quick else verdict(rows)


if __name__ == "__main__":
    sys.exit(main())
