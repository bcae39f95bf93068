"""Is bfloat16 harmless? The default image network trained in float32 and in bfloat16, seed by seed, on part of CIFAR-10.

    python benchmarks/precision.py [--data-dir ../shared/data] [--seeds 5] [--samples 4000] [--epochs 4] [--quick]

A pair has the same seed: the same training images, validation part, initial weights, order of batches, flips and shifts. What differs is
the number format of the forward and backward pass alone (weights, their gradients and the optimiser stay float32). The verdict is the mean
paired difference of the test accuracy with its 95 % interval (Student's t). Harmless: the interval reaches no further down than -0.005.
The ratio of the times says what the format wins on this processor; the details say whether `fit` takes it by itself here.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from statistics import mean, median, stdev
from typing import Any

import numpy as np
import torch
from measurement import met, report, verdict
from scipy.stats import t as student

import pellucid
from pellucid.data import read
from pellucid.training.cost import bfloat16_is_fast

HARMLESS = 0.005  # of accuracy
FORMATS = ("float32", "bfloat16")


def trained(source: Any, precision: str, seed: int, epochs: int, folder: str) -> dict[str, float]:
    run = pellucid.fit(
        source, network="whitened_cnn", precision=precision, seed=seed, epochs=epochs, augment="alternating_flip,shift:2",
        baselines=False, report=False, directory=folder,
    )  # fmt: skip
    assert run.summary is not None
    return {"accuracy": run.metrics["test"]["accuracy"], "loss": run.history[-1]["validation"]["loss"],
            "seconds": run.summary.cost.training_seconds}  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=Path, default=Path(__file__).resolve().parent.parent.parent / "shared" / "data")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--samples", type=int, default=4000)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    if options.quick:
        options.seeds, options.samples, options.epochs = 2, 1000, 1
    images = read("cifar10", data_dir=options.data_dir)
    assert images.targets is not None
    assert images.fixed_parts is not None
    train, test = (np.flatnonzero(images.fixed_parts == part) for part in ("train", "test"))
    measured: dict[str, list[dict[str, float]]] = {precision: [] for precision in FORMATS}
    for seed in range(options.seeds):
        chosen = np.random.default_rng(seed).choice(train, options.samples, replace=False)
        source = tuple((images.inputs[part], images.targets[part]) for part in (chosen, test))
        for precision in FORMATS if seed % 2 else FORMATS[::-1]:
            with tempfile.TemporaryDirectory() as folder:
                measured[precision].append(trained(source, precision, seed, options.epochs, folder))
            print(f"seed {seed}, {precision}: {measured[precision][-1]}", flush=True)
    differences = [b["accuracy"] - a["accuracy"] for a, b in zip(measured["float32"], measured["bfloat16"], strict=True)]
    half = float(student.ppf(0.975, len(differences) - 1)) * stdev(differences) / len(differences) ** 0.5
    rows = []
    for precision, runs in measured.items():
        accuracies = [run["accuracy"] for run in runs]
        rows.append({
            "precision": precision,
            "test accuracy": f"{mean(accuracies):.4f} ± {stdev(accuracies):.4f}",
            "seconds": f"{median(run['seconds'] for run in runs):.1f}",
            "time / float32": f"{median(r['seconds'] / o['seconds'] for r, o in zip(runs, measured['float32'], strict=True)):.2f}",
            "difference": f"{mean(differences):+.4f} [{mean(differences) - half:+.4f}, {mean(differences) + half:+.4f}]"
            if precision == "bfloat16" else "",
            "seeds": len(runs),
            "aim": f"not below -{HARMLESS}" if precision == "bfloat16" else "",
            "met": met(mean(differences) - half >= -HARMLESS) if precision == "bfloat16" else "",
        })  # fmt: skip
    report("precision-quick" if options.quick else "precision", rows,
           {"runs": measured, "differences": differences, "taken_by_fit_here": bfloat16_is_fast(torch.device("cpu"))})  # fmt: skip
    return 0 if options.quick else verdict(rows)


if __name__ == "__main__":
    sys.exit(main())
