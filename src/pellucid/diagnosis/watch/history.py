"""What is kept of a long training in bounded memory: rows of looks, the course of the loss, learning rates."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from operator import mul
from typing import Any

import torch
from torch import Tensor

from pellucid.diagnosis.dynamic.noise import scatter
from pellucid.diagnosis.dynamic.observations import Column, Look
from pellucid.diagnosis.watch.statistics import column, finite

ROWS = 64
NEWEST = 16  # rows never thinned out
SINGLE = 512  # steps whose own loss is kept
BLOCKS = 256  # of the loss's course
RATES = 256
Block = tuple[int, int, int, float, float, float, float]  # first step, steps, finite values, their sum, sum of squares, low, high


@dataclass
class Row:
    """One look. `layers` and `weights`: what was measured, by key, in the order of the fields of Activation and the like."""

    look: Look
    layers: Mapping[Hashable, tuple[float | None, ...]] = field(default_factory=dict)
    weights: Mapping[str, tuple[float | None, ...]] = field(default_factory=dict)
    norm: float | None = None
    raw_norm: float | None = None
    alignment: float | None = None
    cosine: float | None = None
    step_seconds: float | None = None
    waiting_seconds: float | None = None
    noise_scale: float | None = None


class Rows:
    """The looks. When there are too many, every second of the older ones goes: the past becomes coarser, its ends stay."""

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self.made = 0

    def add(self, row: Row) -> None:
        self.rows.append(row)
        self.made += 1
        if len(self.rows) > ROWS:
            older = len(self.rows) - NEWEST
            self.rows = [row for place, row in enumerate(self.rows) if place >= older or place % 2 == 0]

    def of_rows(self, name: str) -> Column:
        return column(getattr(row, name) for row in self.rows)

    def columns(self, what: str, key: Any, width: int) -> list[Column]:
        """One column per measured number of a layer ("layers") or parameter ("weights"); None where a look did not meet it."""
        found = [getattr(row, what).get(key) for row in self.rows]
        return [column(None if values is None else values[place] for values in found) for place in range(width)]


class LossCourse:
    """The loss of every step: the latest ones themselves, and the whole course as means over blocks that grow with its length."""

    def __init__(self) -> None:
        self.steps: deque[int] = deque(maxlen=SINGLE)
        self.values: deque[float] = deque(maxlen=SINGLE)
        self._new: list[tuple[int, float]] = []
        self.waiting: list[tuple[int, int, Tensor]] = []  # step, version, loss
        self.first: float | None = None
        self.nonfinite = 0
        self.last_finite: int | None = None
        self.width = 1
        self.blocks: list[Block] = []

    def append(self, step: int, value: float) -> None:
        """One more; taken in together with others, when there are enough or somebody reads."""
        self._new.append((step, value))
        if len(self._new) >= 128 or step < 8:
            self.take_in()

    def extend(self, step: int, values: Iterable[float]) -> None:
        """The losses of successive steps, from `step` on."""
        self._new.extend(enumerate(values, step))
        self.take_in()

    def take_in(self) -> None:
        if not self._new:
            return
        new, self._new = self._new, []
        self.steps.extend(step for step, _ in new)
        self.values.extend(value for _, value in new)
        if self.first is None:
            self.first = new[0][1]
        self.last_finite = next((step for step, value in reversed(new) if math.isfinite(value)), self.last_finite)
        start = 0
        while start < len(new):
            free = self.width - self.blocks[-1][1] if self.blocks else 0
            part = new[start : start + (free if free > 0 else self.width)]
            block = _block(part[0][0], [value for _, value in part])
            self.nonfinite += block[1] - block[2]
            if free > 0:
                self.blocks[-1] = _joined(self.blocks[-1], block)
            elif len(self.blocks) < BLOCKS:
                self.blocks.append(block)
            else:
                pairs = zip(self.blocks[::2], self.blocks[1::2], strict=True)
                self.blocks, self.width = [*(_joined(a, b) for a, b in pairs), block], 2 * self.width
            start += len(part)

    def wait(self, step: int, value: Tensor) -> None:
        """A loss on a device, to be read later."""
        self.waiting.append((step, value._version, value))

    def read_waiting(self, factor: float) -> list[tuple[int, float]]:
        """Read those that wait, over `factor`: means per step. One that was written over since is not known any more."""
        waiting, self.waiting = self.waiting, []
        if not waiting:
            return []
        several: dict[int, list[float]] = {}
        values = torch.stack([tensor.to(torch.float32).reshape(()) for _, _, tensor in waiting]).tolist()
        for (step, version, tensor), value in zip(waiting, values, strict=True):
            if tensor._version == version:
                several.setdefault(step, []).append(value / factor)
        found = [(step, sum(losses) / len(losses)) for step, losses in several.items()]
        for step, value in found:
            self.append(step, value)
        return found

    def noise(self) -> float | None:
        finite_values = [value for value in self.values if math.isfinite(value)]
        return finite(scatter(finite_values)) if len(finite_values) >= 8 else None

    def jumped(self, count: int = 32) -> bool:
        """A cheap signal: the latest value has left the range in which the values before it were."""
        self.take_in()
        *before, value = list(self.values)[-count - 1 :] or [math.nan]
        recent = [one for one in before if math.isfinite(one)]
        if len(recent) < 8 or not math.isfinite(value):
            return False
        middle = sorted(recent)[len(recent) // 2]
        return value - middle > 0.5 * abs(middle) and value - middle > 12 * scatter(recent)

    def facts(self) -> dict[str, Any]:
        """The fields of LossFacts that hold the course."""
        self.take_in()
        means, deviations = [], []
        for _, _, count, total, squares, _, _ in self.blocks:
            mean = total / count if count else math.nan
            means.append(mean)
            deviations.append(math.sqrt(max(squares / count - mean * mean, 0.0)) if count else math.nan)
        return {
            "steps": tuple(self.steps),
            "values": column(self.values),
            "trend_step": tuple(start + (steps - 1) / 2 for start, steps, *_ in self.blocks),
            "trend_mean": column(means),
            "trend_std": column(deviations),
            "trend_low": column(block[5] for block in self.blocks),
            "trend_high": column(block[6] for block in self.blocks),
            "trend_width": self.width,
            "first": finite(self.first),
            "noise": self.noise(),
            "nonfinite": self.nonfinite,
        }


def _block(step: int, values: list[float]) -> Block:
    finite_values = values if math.isfinite(sum(values)) else [value for value in values if math.isfinite(value)]
    low, high = min(finite_values, default=math.inf), max(finite_values, default=-math.inf)
    return step, len(values), len(finite_values), sum(finite_values), sum(map(mul, finite_values, finite_values)), low, high


def _joined(a: Block, b: Block) -> Block:
    return a[0], a[1] + b[1], a[2] + b[2], a[3] + b[3], a[4] + b[4], min(a[5], b[5]), max(a[6], b[6])


class LearningRates:
    """The rates of all groups whenever the first changed; thinned out evenly."""

    def __init__(self) -> None:
        self.points: list[tuple[int, tuple[float, ...]]] = []
        self._every = 1
        self._changes = 0

    def add(self, step: int, rates: tuple[float, ...]) -> None:
        self._changes += 1
        if (self._changes - 1) % self._every:
            return
        self.points.append((step, rates))
        if len(self.points) > RATES:
            self.points, self._every = self.points[::2], 2 * self._every
