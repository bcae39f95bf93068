"""A row of the table of tasks: the files a user has, the one command, what it must reach, the classical models beside it."""

from __future__ import annotations

import json
import math
import shlex
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import pellucid
from pellucid.data.ledger import Ledger

# 97.5th percentile of Student's t for 1, 2, ... degrees of freedom; beyond the list the normal's 1.96 is near enough
STUDENT = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228)


@dataclass(frozen=True)
class Goal:
    """What a metric must reach: at least `least`, or at most `most`; or the best (or `named`) baseline's less `behind` at most."""

    metric: str
    least: float | None = None
    most: float | None = None
    behind: float | None = None  # how far behind the baseline the mean may lie; negative: how far it must lie before it
    named: str | None = None

    def bound(self, baselines: Mapping[str, float]) -> float | None:
        """The number to reach; None where there is no baseline to compare with."""
        if self.behind is None:
            return self.least if self.least is not None else self.most
        chosen = [value for name, value in baselines.items() if self.named in (None, name)]
        if not chosen:
            return None
        return min(chosen) + self.behind if self.lower_is_better else max(chosen) - self.behind

    @property
    def lower_is_better(self) -> bool:
        return self.most is not None or self.metric in ("rmse", "mae", "mse", "mase", "log_loss")

    def reached(self, value: float, baselines: Mapping[str, float]) -> bool:
        bound = self.bound(baselines)
        return bound is not None and (value <= bound if self.lower_is_better else value >= bound)

    def shown(self, baselines: Mapping[str, float]) -> str:
        bound = self.bound(baselines)
        return "-" if bound is None else f"{'<=' if self.lower_is_better else '>='} {bound:.4g}"


@dataclass(frozen=True)
class Measured:
    """One seed's training: metric -> value on the test part; baseline -> metric -> value on the same samples."""

    scores: Mapping[str, float]
    baselines: Mapping[str, Mapping[str, float]]
    parameters: int
    seconds: float
    details: Mapping[str, Any] = field(default_factory=dict[str, Any])


@dataclass(frozen=True)
class Row:
    """One data set. `files` gives what `fit` is called with, (data, {argument: value}), and may write what a user has into the folder."""

    task: str  # "tables", "text", ...: what --only asks for, beside the name
    name: str
    files: Callable[[Path, Path], tuple[Any, dict[str, Any]]]  # (folder of the shared data, an empty folder)
    goals: tuple[Goal, ...]
    needs: str  # a path below the shared data without which the row is left out
    scores: Callable[[Any], dict[str, float]] | None = None  # further metrics of a finished Run, on its test part
    measure: Callable[[Row, Path, int], Measured] | None = None  # in place of `fitted`, for what one `fit` does not do
    said: str = ""  # a remark for the table: the split, the source of the goal

    def measured(self, data_dir: Path, seed: int) -> Measured:
        return (self.measure or fitted)(self, data_dir, seed)


def command(source: Any, arguments: Mapping[str, Any]) -> str:
    """The command line that does what `fit(source, **arguments)` does."""
    parts = [shlex.quote(Path(part).name) for part in (source if isinstance(source, tuple) else (source,))]
    names = [parts[0], *(f"--{name} {part}" for name, part in zip(("test", "validation"), parts[:0:-1], strict=False))]
    options = [f"--{name.replace('_', '-')} {shlex.quote(str(value))}" for name, value in arguments.items()]
    return " ".join(["pellucid fit", *names, *options])


def fitted(row: Row, data_dir: Path, seed: int) -> Measured:
    """`pellucid fit` with its defaults. The seed draws the split, the first weights and the order of the samples."""
    with tempfile.TemporaryDirectory() as folder:
        source, arguments = row.files(data_dir, Path(folder))
        start = time.perf_counter()
        run = pellucid.fit(source, **arguments, seed=seed, directory=Path(folder) / "runs")
        seconds = time.perf_counter() - start
        assert run.summary is not None
        record = json.loads((run.directory / "records" / "baselines.json").read_text(encoding="utf-8"))
        baselines = {
            entry["name"]: {score["name"]: score["value"] for score in entry["scores"]} for entry in record["baselines"] if entry["scores"]
        }
        scores = {**run.metrics["test"], **(row.scores(run) if row.scores else {})}
        details = {
            "command": command(source, arguments), "network": run._record["network"]["name"], "epochs": run.summary.cost.epochs,
            "learning_rate": run.settings["learning_rate"], "samples": _sizes(run),
        }  # fmt: skip
        return Measured(scores, baselines, run.summary.cost.parameters, seconds, details)


def _sizes(run: Any) -> dict[str, int]:
    ledger = Ledger.from_dict(json.loads((run.directory / "data.json").read_text(encoding="utf-8")))
    return {part: len(ledger.indices(part)) for part in ("train", "validation", "test")}


def interval(values: list[float]) -> tuple[float, float | None]:
    """Mean, and half the width of its 95 % interval by Student's t over seeds; None for one seed."""
    if len(values) < 2:
        return values[0], None
    quantile = STUDENT[len(values) - 2] if len(values) - 2 < len(STUDENT) else 1.96
    return mean(values), quantile * stdev(values) / math.sqrt(len(values))
