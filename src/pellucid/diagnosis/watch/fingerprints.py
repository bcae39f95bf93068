"""Batches recognised again: a few hundred bytes of each batch as a fingerprint, and the order in which fingerprints come."""

from __future__ import annotations

import ctypes
import itertools
import math
from collections import Counter
from typing import Any

import torch
from torch import Tensor

from pellucid.diagnosis.dynamic.observations import BatchFacts

WHOLE = 256  # bytes up to which a batch is read whole
PIECE = 128  # bytes read of a larger one
REACH = {"relu": (0.0, math.inf), "sigmoid": (0.0, 1.0), "tanh": (-1.0, 1.0)}
KEPT = 8192  # fingerprints whose step is remembered


class Fingerprints:
    """A number for a batch's content from one place in it, in less than a microsecond; places are found once per size."""

    def __init__(self) -> None:
        self._entries = -1
        self._offset = self._length = 0

    def of(self, batch: Tensor) -> int | None:
        """None where reading would cost a wait for the device: only plain contiguous tensors in the host's memory are read."""
        if type(batch) is not Tensor or not batch.is_cpu or not batch.is_contiguous():
            return None
        entries = batch.numel()
        if entries != self._entries:
            self._place(batch, entries)
        return hash(ctypes.string_at(batch.data_ptr() + self._offset, self._length)) if self._length else None

    def _place(self, batch: Tensor, entries: int) -> None:
        """The middle of the sample in the middle: images are often empty at their borders."""
        self._entries, total = entries, entries * batch.element_size()
        self._offset, self._length = 0, total
        if total > WHOLE:
            samples = batch.shape[0] if batch.dim() > 1 else 1
            each = total // samples
            self._offset = min((samples // 2) * each + max(0, each - PIECE) // 2, total - PIECE)
            self._length = PIECE


class BatchOrder:
    """Fingerprints by step, and the period with which they come again. Steps may be left out: it is steps that are compared."""

    def __init__(self) -> None:
        self.steps = 0
        self.complete = True
        self.of: str | None = None
        self.sizes: Counter[int] = Counter()
        self._first: dict[int, int] = {}
        self._latest: int | None = None
        self._latest_step = 0
        self._distance = self._period = self._run = 0
        self._marks: list[int] = []  # training forwards before each evaluation phase
        self._odd: list[int] = []  # training forwards at the end of which a smaller batch came
        self._seen = self._largest = self._full = 0

    def add(self, mark: int | None, of: str, step: int) -> None:
        """The batch of one step, by its fingerprint."""
        if mark is None:
            self.complete = False
            return
        self.of = of
        self.steps += 1
        first = self._first.get(mark)
        if first is None:
            if len(self._first) < KEPT:
                self._first[mark] = step
            self._run = self._period = 0
        elif mark == self._latest and step == self._latest_step + 1:  # over and over: a period of 1 only where there is no other batch
            self._period = 1 if len(self._first) == 1 else 0
            self._run = self._run + 1 if self._period else 0
        else:
            distance = step - first
            if distance == self._distance:  # two batches in a row came again after as many steps
                self._period = math.gcd(self._period, distance)
            if self._period and distance % self._period:
                self._period = 0
            self._distance = distance
            self._run = self._run + 1 if self._period else 0
        self._latest, self._latest_step = mark, step

    def size(self, samples: int) -> None:
        self._seen += 1
        if samples == self._largest:
            self._full += 1
            return
        if samples in self.sizes or len(self.sizes) < 16:
            self.sizes[samples] += 1
        if samples > self._largest:
            self.sizes[self._largest] += self._full
            self._largest, self._full = samples, 0
        elif len(self._odd) < 64:
            self._odd.append(self._seen)

    def skip(self, batches: int) -> None:
        """So many batches came and were not seen."""
        self._seen += batches

    def usual(self) -> int:
        """The largest batch size, which nearly all batches have."""
        return self._largest

    def evaluated(self) -> None:
        """An evaluation phase begins."""
        if (not self._marks or self._marks[-1] != self._seen) and self._seen:
            self._marks = [*self._marks[-63:], self._seen]

    def facts(self) -> BatchFacts:
        counts = self.sizes + Counter({self._largest: self._full})
        usual = counts.most_common(1)
        return BatchFacts(
            steps=self.steps,
            of=self.of if self.steps else None,
            size=usual[0][0] if usual else None,
            sizes={str(size): count for size, count in sorted(counts.items())},
            period=self._period or None,
            repeats=self._run,
            distinct=len(self._first),
            epoch=_regular(self._marks) or _regular(self._odd),
            complete=self.complete,
        )


def _regular(places: list[int]) -> int | None:
    """The distance between successive places, where they are evenly spaced."""
    distances = [b - a for a, b in zip([0, *places], places, strict=False)]
    return distances[0] if distances and len(set(distances)) == 1 else None


class Targets:
    """What the looks saw of the targets: which classes, in which order, or which range of values."""

    def __init__(self) -> None:
        self.seen: str | None = None
        self.batches = self.samples = self.neighbours = self.equal = self.single = 0
        self.classes: Counter[int] = Counter()
        self.sum = self.squares = 0.0
        self.low, self.high = math.inf, -math.inf
        self.beyond = dict.fromkeys(REACH, 0.0)

    def add(self, kind: str, values: list[float], successive: bool) -> None:
        """The (flattened) targets of one batch; `successive` where one target stands for one sample."""
        if self.seen not in (None, kind):
            return
        values = [value for value in values if math.isfinite(value)]
        if kind == "classes":
            values = [value for value in values if value >= 0]  # an ignored index, -100, is no class
        if not values:
            return
        self.seen = kind
        self.batches += 1
        self.samples += len(values)
        self.low, self.high = min(self.low, *values), max(self.high, *values)
        if kind == "classes":
            labels = [int(value) for value in values]
            for label, count in Counter(labels).items():
                if label in self.classes or len(self.classes) < 1000:
                    self.classes[label] += count
            if successive:
                self.neighbours += len(labels) - 1
                self.equal += sum(a == b for a, b in itertools.pairwise(labels))
                self.single += len(labels) > 1 and len(set(labels)) == 1
        else:
            self.sum += sum(values)
            self.squares += sum(value * value for value in values)
            for name, (low, high) in REACH.items():
                self.beyond[name] += sum((value - min(max(value, low), high)) ** 2 for value in values)

    def facts(self) -> dict[str, Any]:
        """The fields of TargetFacts."""
        if self.seen is None:
            return {}
        known: dict[str, Any] = {"seen": self.seen, "batches": self.batches, "samples": self.samples, "low": self.low, "high": self.high}
        if self.seen == "values":
            mean = self.sum / self.samples
            spread = math.sqrt(max(self.squares / self.samples - mean * mean, 0.0))
            return {**known, "mean": mean, "std": spread, "beyond": {name: total / self.samples for name, total in self.beyond.items()}}
        counted = sum(self.classes.values())
        same = sum(count * (count - 1) for count in self.classes.values()) / (counted * (counted - 1)) if counted > 1 else 0.0
        return {
            **known,
            "classes": {str(label): count for label, count in sorted(self.classes.items())},
            "neighbours": self.neighbours,
            "equal_neighbours": self.equal,
            "expected_equal": same * self.neighbours,
            "single_class_batches": self.single,
        }


def first_tensor(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor | None:
    """The first tensor among a call's arguments, in order, through lists and dicts."""
    waiting: list[Any] = [*args, *kwargs.values()]
    for _ in range(64):
        if not waiting:
            return None
        item = waiting.pop(0)
        if isinstance(item, torch.Tensor):
            return item
        if isinstance(item, dict):
            waiting = [*item.values(), *waiting]
        elif isinstance(item, (list, tuple)):
            waiting = [*item, *waiting]
        elif hasattr(item, "data") and isinstance(item.data, torch.Tensor):  # PackedSequence
            return item.data
    return None
