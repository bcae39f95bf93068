"""What a training step of Pellucid costs over a bare, well-written PyTorch loop that does the same work.

    python benchmarks/step_cost.py [--rounds 40] [--threads 1]

Same network and initial weights, same fused optimiser and parameter groups, same batches in the same order, same losses: asserted equal
to the last bit. Two times are compared. `steps`: the training steps alone. `epochs`: whole epochs, where both loops also measure the
validation part and keep the best weights; Pellucid measures a sample of the training part too, which the verdict needs. Rounds are
interleaved; the ratio of the medians counts.
"""

from __future__ import annotations

import argparse
import copy
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from measurement import interleaved, met, ratio, report, verdict
from torch import Tensor, nn
from torch.nn import functional as F

from pellucid.core.records import Task
from pellucid.core.system import Signals
from pellucid.data.samples import ResidentPart
from pellucid.runs.directory import RunDirectory
from pellucid.training.loop import Loop
from pellucid.training.losses import build_loss
from pellucid.training.optimizers import build_optimizer
from pellucid.training.progress import Progress
from pellucid.training.randomness import epoch_order
from pellucid.training.schedules import Schedule

CLASSES, LEARNING_RATE, WEIGHT_DECAY, SEED = 10, 0.001, 0.01, 0


@dataclass(frozen=True)
class Work:
    """One training: the network, the data, the batch size."""

    name: str
    make: Callable[[], nn.Module]
    shape: tuple[int, ...]
    batch_size: int
    steps: int  # per epoch
    epochs: int
    aim: float


def mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, CLASSES))


def cnn() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(32 * 7 * 7, 64), nn.ReLU(), nn.Linear(64, CLASSES),
    )  # fmt: skip


WORKS = (
    Work("MLP 64-64, batch 64", mlp, (64,), 64, steps=400, epochs=2, aim=1.10),
    Work("CNN 28x28, batch 64", cnn, (1, 28, 28), 64, steps=25, epochs=2, aim=1.03),
)


class Unprocessed:
    """Data that are ready as they are."""

    kind = "array"

    def finish(self, batch: Tensor) -> Tensor:
        return batch

    def restore_targets(self, outputs: Tensor) -> Tensor:
        return outputs


def draw(work: Work, samples: int, seed: int) -> ResidentPart:
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(samples, *work.shape, generator=generator)
    targets = torch.randint(CLASSES, (samples,), generator=generator)
    return ResidentPart(inputs, targets, np.arange(samples), Unprocessed())  # type: ignore[arg-type]


# -- the bare loop -----------------------------------------------------------------------------------------------------------------------


def bare(work: Work, network: nn.Module, train: ResidentPart, validation: ResidentPart) -> tuple[float, float, list[float]]:
    """(seconds in steps, seconds in all, loss of each epoch): what a careful person writes by hand."""
    weights = [p for p in network.parameters() if p.ndim >= 2]
    others = [p for p in network.parameters() if p.ndim < 2]
    groups: list[dict[str, Any]] = [{"params": weights, "weight_decay": WEIGHT_DECAY}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=LEARNING_RATE, fused=True)
    (X, Y), n = (train.inputs, train.targets), len(train)
    in_steps, means, best = 0.0, [], (float("inf"), {})
    start = time.perf_counter()
    for epoch in range(work.epochs):
        begin = time.perf_counter()
        network.train()
        losses, sizes = [], []
        for chosen in epoch_order(n, SEED, epoch).split(work.batch_size):
            inputs, targets = X[chosen], Y[chosen]
            loss = F.cross_entropy(network(inputs), targets)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            losses.append(loss.detach())
            sizes.append(len(inputs))
        total = sum(value * size for value, size in zip(torch.stack(losses).tolist(), sizes, strict=True))
        in_steps += time.perf_counter() - begin
        means.append(total / sum(sizes))
        network.eval()
        with torch.inference_mode():
            logits = torch.cat([network(inputs) for inputs in validation.inputs.split(512)])
            measured = F.cross_entropy(logits, validation.targets, reduction="none")
            accuracy = (logits.argmax(1) == validation.targets).float().mean().item()
            now = measured.mean().item()
        assert 0 <= accuracy <= 1
        if now < best[0]:
            best = (now, {name: value.clone() for name, value in network.state_dict().items()})
    return in_steps, time.perf_counter() - start, means


# -- Pellucid's ----------------------------------------------------------------------------------------------------------------------------


@dataclass
class TimedLoop(Loop):
    """The loop with a clock at both ends of an epoch's steps."""

    in_steps: float = 0.0

    def _batches(self) -> Any:
        self._begin = time.perf_counter()
        return super()._batches()

    def _end_epoch(self) -> None:
        self._read_losses()
        self.in_steps += time.perf_counter() - self._begin
        super()._end_epoch()


def ours(work: Work, network: nn.Module, train: ResidentPart, validation: ResidentPart, folder: Path) -> tuple[float, float, list[float]]:
    """The same three for Pellucid's loop, as `fit` runs it."""
    task = Task(kind="classification", classes=tuple(map(str, range(CLASSES))))
    directory = RunDirectory.create(folder, "run")
    with Signals() as signals:
        loop = TimedLoop(
            network=network,
            optimizer=build_optimizer("adamw", network, learning_rate=LEARNING_RATE, momentum=0.9, weight_decay=WEIGHT_DECAY),
            loss_function=build_loss("cross_entropy", task),
            train=train,
            validation=validation,
            test=validation,
            task=task,
            preprocessing=train.preprocessing,
            schedule=Schedule("constant", work.steps * work.epochs, LEARNING_RATE),
            directory=directory,
            progress=Progress(),
            signals=signals,
            epochs=work.epochs,
            batch_size=work.batch_size,
            seed=SEED,
            device=torch.device("cpu"),
        )
        start = time.perf_counter()
        loop.run()
        seconds = time.perf_counter() - start
    return loop.in_steps, seconds - loop.checkpoint_seconds, [row["train"]["running_loss"] for row in directory.metrics()]


def compare(work: Work, rounds: int, folder: Path) -> list[dict[str, Any]]:
    torch.manual_seed(SEED)
    initial = work.make()
    train, validation = draw(work, work.steps * work.batch_size, 1), draw(work, max(256, work.steps * work.batch_size // 5), 2)
    seen: dict[str, list[float]] = {}
    whole: dict[str, list[float]] = {"bare": [], "pellucid": []}

    def measured(name: str, run: Callable[..., tuple[float, float, list[float]]], *extra: Any) -> Callable[[], float]:
        def once() -> float:
            in_steps, seconds, losses = run(work, copy.deepcopy(initial), train, validation, *extra)
            assert seen.setdefault("losses", losses) == losses, f"{name}: {losses} is not {seen['losses']}"
            whole[name].append(seconds)
            return in_steps

        return once

    times = interleaved({"bare": measured("bare", bare), "pellucid": measured("pellucid", ours, folder)}, rounds, warm_up=2)
    rows = []
    for what, ours_, bare_ in (
        ("steps", times["pellucid"], times["bare"]),
        ("epochs", whole["pellucid"][2:], whole["bare"][2:]),
    ):
        value, low, high = ratio(ours_, bare_)
        steps = work.steps * work.epochs
        rows.append(
            {
                "work": work.name,
                "time of": what,
                "bare (us per step)": f"{1e6 * median(bare_) / steps:.1f}",
                "pellucid (us per step)": f"{1e6 * median(ours_) / steps:.1f}",
                "ratio": f"{value:.3f}",
                "95 % interval": f"[{low:.3f}, {high:.3f}]",
                "aim": f"<= {work.aim:.2f}" if what == "steps" else "",
                "met": met(value <= work.aim) if what == "steps" else "",
            }
        )
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        for work in WORKS:
            rows.extend(compare(work, arguments.rounds, Path(folder)))
    report("step_cost", rows, {"rounds": arguments.rounds, "threads": arguments.threads})
    return verdict(rows)


if __name__ == "__main__":
    raise SystemExit(main())
