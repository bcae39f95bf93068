"""The defaults for time series beside their alternatives, on sets that are no goal: three drawn by published recipes, and two real.

    python benchmarks/series_defaults.py [--only cbf,ecg] [--alternatives "default,augment none"] [--seeds 3] [--data-dir ../shared/data]

cbf (cylinder, bell, funnel: Saito 1994), ragged (the same, cut off after 60 to 128 of 128 steps), control (control charts of six kinds:
Alcock and Manolopoulos 1999), ecg (heartbeats of ECG5000's training file, the four commonest kinds), digits (scikit-learn's, read row by
row: 8 channels, 8 steps). The training parts are small, as those of the UCR archive are; test parts are large. The seed draws
the samples, the split and the weights; every alternative sees the same. Accuracy is all that is compared: it may run beside anything.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
from measurement import report
from sklearn.datasets import load_digits

import pellucid

Sample = tuple[np.ndarray, np.ndarray]
TRAIN = {"cbf": 30, "ragged": 60, "control": 90, "ecg": 120, "digits": 200}
TEST = 600
ALTERNATIVES: dict[str, dict[str, Any]] = {
    "default": {},
    "augment none": {"augment": "none"},
    "jitter alone": {"augment": "jitter"},
    "never stopped early": {"patience": 1_000_000},
    "rate 0.001": {"learning_rate": 0.001},
    "rate 0.005": {"learning_rate": 0.005},
    "resnet1d": {"network": "resnet1d"},
    "gru": {"network": "gru"},
}


def cylinder_bell_funnel(count: int, draw: np.random.Generator, ragged: bool = False, steps: int = 128) -> Sample:
    X, y = np.full((count, 1, steps), np.nan), draw.integers(0, 3, count)
    times = np.arange(steps)
    for row, kind in enumerate(y):
        begin = int(draw.integers(16, 33))
        end = min(begin + int(draw.integers(32, 97)), steps - 1)
        shape = (1.0, (times - begin) / (end - begin), (end - times) / (end - begin))[kind]
        series = (6 + draw.normal()) * ((times >= begin) & (times <= end)) * shape + draw.normal(size=steps)
        kept = int(draw.integers(60, steps + 1)) if ragged else steps
        X[row, 0, :kept] = series[:kept]
    return X, y


def control_charts(count: int, draw: np.random.Generator, steps: int = 60) -> Sample:
    X, y = np.zeros((count, 1, steps)), draw.integers(0, 6, count)
    times = np.arange(steps)
    for row, kind in enumerate(y):
        added: Any = 0.0
        if kind == 1:
            added = draw.uniform(10, 15) * np.sin(2 * np.pi * times / draw.uniform(10, 15))
        elif kind in (2, 3):
            added = draw.uniform(0.2, 0.5) * times * (1 if kind == 2 else -1)
        elif kind in (4, 5):
            added = draw.uniform(7.5, 20) * (times >= draw.uniform(steps / 3, 2 * steps / 3)) * (1 if kind == 4 else -1)
        X[row, 0] = 30 + 2 * draw.uniform(-3, 3, steps) + added
    return X, y


def heartbeats(draw: np.random.Generator, data_dir: Path) -> Sample:
    table = np.loadtxt(data_dir / "timeseries" / "ECG5000_TRAIN.txt")
    table = table[np.isin(table[:, 0], (1, 2, 3, 4))]
    table = table[draw.permutation(len(table))]
    return table[:, None, 1:], table[:, 0].astype(np.int64)


def rows_of_digits(draw: np.random.Generator) -> Sample:
    X, y = load_digits(return_X_y=True)
    order = draw.permutation(len(X))
    return X.reshape(-1, 8, 8)[order], y[order]


def drawn(name: str, seed: int, data_dir: Path) -> tuple[Sample, Sample]:
    """((X, y) to learn from, (X, y) to test with)."""
    draw = np.random.default_rng([seed, 7])
    made: dict[str, Callable[[int], Sample]] = {
        "cbf": lambda count: cylinder_bell_funnel(count, draw),
        "ragged": lambda count: cylinder_bell_funnel(count, draw, ragged=True),
        "control": lambda count: control_charts(count, draw),
    }
    few = TRAIN[name]
    if name in made:
        return made[name](few), made[name](TEST)
    X, y = heartbeats(draw, data_dir) if name == "ecg" else rows_of_digits(draw)
    return (X[:few], y[:few]), (X[few : few + TEST], y[few : few + TEST])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--only", default=",".join(TRAIN))
    parser.add_argument("--alternatives", default=",".join(ALTERNATIVES))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--data-dir", type=Path, default=Path(__file__).resolve().parent.parent.parent / "shared" / "data")
    given = parser.parse_args()
    rows: list[dict[str, Any]] = []
    for name in given.only.split(","):
        for alternative in given.alternatives.split(","):
            scores: list[float] = []
            start = time.process_time()
            for seed in range(given.seeds):
                with tempfile.TemporaryDirectory() as folder:
                    options = ALTERNATIVES[alternative]
                    run = pellucid.fit(drawn(name, seed, given.data_dir), task="time_series", seed=seed, directory=folder, baselines=False,
                                       report=False, **options)  # fmt: skip
                    scores.append(run.metrics["test"]["accuracy"])
            seconds = (time.process_time() - start) / given.seeds
            rows.append({
                "data": name, "training series": TRAIN[name], "alternative": alternative, "accuracy": f"{mean(scores):.4f}",
                "each seed": " ".join(f"{score:.3f}" for score in scores), "processor seconds": f"{seconds:.0f}",
            })  # fmt: skip
            print(rows[-1], flush=True)
    report("series_defaults", rows, {"seeds": given.seeds})


if __name__ == "__main__":
    main()
