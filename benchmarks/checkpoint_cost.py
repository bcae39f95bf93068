"""What checkpoints cost: the time of one against the network's size, and a whole training against its checkpoint interval.

    python benchmarks/checkpoint_cost.py [--rounds 3]

A checkpoint holds weights, best weights, optimiser and random state: for AdamW four times the weights. It is written, synchronised with the
disk and renamed while training waits. The interval is 30 s by default, so that an interruption by force costs half of that on average.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from measurement import interleaved, met, report, table, verdict
from torch import nn

import pellucid
from pellucid.runs.directory import RunDirectory

WIDTHS = (64, 512, 2048)  # of two hidden layers: 5 thousand, 0.3 million, 4.3 million parameters
INTERVALS = (1e9, 30.0, 5.0, 1.0, 0.2)  # seconds; the first never comes
DEFAULT_INTERVAL, AIM = 30.0, 0.01


def one_checkpoint(width: int, folder: Path, rounds: int) -> dict[str, Any]:
    """The seconds and the bytes of one checkpoint of an AdamW training."""
    network = nn.Sequential(nn.Linear(64, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 10))
    optimizer = torch.optim.AdamW(network.parameters())
    network(torch.randn(4, 64)).sum().backward()
    optimizer.step()
    directory, seconds, size = RunDirectory.create(folder, f"width-{width}"), [], 0
    for step in range(1, 4 * rounds + 1):
        weights = {name: value.clone() for name, value in network.state_dict().items()}
        state = {"network": dict(network.state_dict()), "optimizer": optimizer.state_dict(), "best": {"weights": weights}, "step": step}
        start = time.perf_counter()
        directory.save_checkpoint(step, state)
        seconds.append(time.perf_counter() - start)
        size = max(path.stat().st_size for path in directory.path.glob("checkpoint-*"))
    share = median(seconds) / DEFAULT_INTERVAL
    return {
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
        "checkpoint (MB)": f"{size / 1e6:.2f}",
        "median (ms)": f"{1e3 * median(seconds):.1f}",
        "slowest (ms)": f"{1e3 * max(seconds):.1f}",
        "of the training at 30 s": f"{100 * share:.3f} %",
        "aim": f"<= {100 * AIM:g} %",
        "met": met(share <= AIM),
    }


def trainings(folder: Path, rounds: int) -> list[dict[str, Any]]:
    """The same training of some seconds with ever shorter intervals."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((6000, 64)).astype(np.float32)
    y = (X[:, :8].sum(1) > 0).astype(np.int64)
    spent: dict[float, list[float]] = {interval: [] for interval in INTERVALS}

    def train(interval: float) -> float:
        run = pellucid.fit(
            X, y, network="mlp", learning_rate=0.001, epochs=40, patience=40, batch_size=32,
            checkpoint_interval=min(interval, 3e7), directory=str(folder),
        )  # fmt: skip
        assert run.summary is not None
        spent[interval].append(run.summary.cost.checkpoint_seconds)
        return run.summary.cost.seconds

    times = interleaved({str(interval): lambda interval=interval: train(interval) for interval in INTERVALS}, rounds, warm_up=1)
    reference = median(times[str(INTERVALS[0])])
    return [
        {
            "interval": "never" if interval > 1e6 else f"{interval:g} s",
            "training (s)": f"{median(times[str(interval)]):.2f}",
            "of which checkpoints (s)": f"{median(spent[interval]):.3f}",
            "against never": f"{median(times[str(interval)]) / reference:.3f}",
        }
        for interval in INTERVALS
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as folder:
        sizes = [one_checkpoint(width, Path(folder), rounds) for width in WIDTHS]
        intervals = trainings(Path(folder), rounds)
    print(table(intervals), end="\n\n")
    report("checkpoint_cost", sizes, {"intervals": intervals})
    return verdict(sizes)


if __name__ == "__main__":
    raise SystemExit(main())
