"""Standardisation of arrays and images: z = (x - mean) / scale, fitted on the training part alone.

One mean and one scale per feature of (N, F); one per channel of (N, C, H, W), because a pixel means the same wherever it is. Large arrays
of bytes stay bytes in memory, a quarter of the size, and are standardised batch by batch on the device.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pellucid.core.errors import DataError
from pellucid.core.language import text
from pellucid.core.memory import require_memory
from pellucid.core.records import Task
from pellucid.data.kinds import PreprocessingKind, preprocessing_kind
from pellucid.data.samples import Samples

_CHUNK_BYTES = 1 << 25
_BYTES_KEPT_FROM = 1 << 26  # smaller arrays are standardised once, which saves a few operations in every batch


def mean_and_scale(array: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation (divided by n) over the given rows, in float64: per feature of (N, F), per channel of (N, C, ...).

    A feature that never changes gets the scale 1: it becomes zero, not infinite.
    """
    if array.dtype == np.uint8 and array.ndim > 2:
        return _mean_and_scale_of_bytes(array, rows)
    axes = (0, *range(2, array.ndim))
    width = array.shape[1]
    step = max(1, _CHUNK_BYTES // max(8, 8 * array[:1].size))
    total, numbers = np.zeros(width), len(rows) * (array[:1].size // width)
    low, high = np.full(width, np.inf), np.full(width, -np.inf)
    for start in range(0, len(rows), step):
        block = array[rows[start : start + step]].astype(np.float64)
        total += block.sum(axis=axes)
        low, high = np.minimum(low, block.min(axis=axes)), np.maximum(high, block.max(axis=axes))
    mean = total / numbers
    squares = np.zeros(width)
    aligned = mean.reshape(-1, *[1] * (array.ndim - 2))
    for start in range(0, len(rows), step):
        block = array[rows[start : start + step]].astype(np.float64)
        squares += np.square(block - aligned).sum(axis=axes)  # around the mean, in a second pass: no cancellation
    scale = np.sqrt(squares / numbers)
    constant = (low == high) | (scale <= 1e-14 * np.abs(mean))
    scale[constant] = 1.0
    mean[constant] = low[constant]  # exactly, so that a constant becomes exactly zero
    return mean, scale


def _mean_and_scale_of_bytes(array: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The same, exactly, from how often each of the 256 values occurs: one pass."""
    width, values = array.shape[1], np.arange(256)
    counts = np.zeros((width, 256), dtype=np.int64)
    step = max(1, _CHUNK_BYTES // max(8, 8 * array[:1].size))
    for start in range(0, len(rows), step):
        block = array[rows[start : start + step]]
        for channel in range(width):
            counts[channel] += np.bincount(block[:, channel].ravel(), minlength=256)
    numbers = counts.sum(axis=1)
    mean = (counts * values).sum(axis=1) / numbers
    scale = np.sqrt((counts * np.square(values - mean[:, None])).sum(axis=1) / numbers)
    scale[(counts > 0).sum(axis=1) == 1] = 1.0
    return mean, scale


@dataclass
class TargetScaling:
    """Regression targets standardised by the training part, and back. A classification has none."""

    mean: list[float] = field(default_factory=list[float])  # (outputs,)
    scale: list[float] = field(default_factory=list[float])

    @staticmethod
    def fit(samples: Samples, train: np.ndarray) -> TargetScaling:
        if samples.task is None or samples.task.kind != "regression" or samples.targets is None:
            return TargetScaling()
        mean, scale = mean_and_scale(np.asarray(samples.targets, dtype=np.float64).reshape(len(samples), -1), train)
        return TargetScaling(mean.tolist(), scale.tolist())

    def apply(self, samples: Samples, indices: np.ndarray | None) -> Tensor:
        """(n,) int64 class indices, or (n, outputs) float32 standardised."""
        if samples.targets is None:
            raise DataError(
                text("the data have no target"), text("inputs with their targets"), text("add the target, or use predict, which needs none")
            )
        chosen = samples.targets if indices is None else samples.targets[indices]
        if not self.mean:
            return torch.from_numpy(np.ascontiguousarray(chosen, dtype=np.int64))
        values = np.asarray(chosen, dtype=np.float64).reshape(len(chosen), len(self.mean))
        return torch.from_numpy(((values - np.asarray(self.mean)) / np.asarray(self.scale)).astype(np.float32))

    def restore(self, outputs: Tensor) -> Tensor:
        """Regression outputs (n, outputs) in the user's units, float64 where the device has it; class scores unchanged."""
        if not self.mean:
            return outputs
        dtype = torch.float32 if outputs.device.type == "mps" else torch.float64
        mean = torch.tensor(self.mean, dtype=dtype, device=outputs.device)
        scale = torch.tensor(self.scale, dtype=dtype, device=outputs.device)
        return outputs.to(dtype) * scale + mean

    def to_dict(self) -> dict[str, Any]:
        return {"mean": self.mean, "scale": self.scale}

    @staticmethod
    def from_dict(stored: Mapping[str, Any]) -> TargetScaling:
        return TargetScaling([float(value) for value in stored["mean"]], [float(value) for value in stored["scale"]])


class ByteStandardisation:
    """(batch - mean) / scale per channel, for batches that are still bytes; the constants are kept on every device they were used on."""

    def __init__(self, mean: np.ndarray, scale: np.ndarray, dimensions: int) -> None:
        shape = (1, -1, *[1] * (dimensions - 1))
        self._mean = torch.from_numpy(mean.astype(np.float32)).reshape(shape)
        self._scale = torch.from_numpy((1.0 / scale).astype(np.float32)).reshape(shape)
        self._on: dict[torch.device, tuple[Tensor, Tensor]] = {self._mean.device: (self._mean, self._scale)}

    def __call__(self, batch: Tensor) -> Tensor:
        if batch.device not in self._on:
            self._on[batch.device] = (self._mean.to(batch.device), self._scale.to(batch.device))
        mean, scale = self._on[batch.device]
        return (batch.to(torch.float32) - mean).mul_(scale)


@dataclass
class ArrayPreprocessing:
    """Arrays, standardised. `input_shape` is one sample's."""

    input_shape: tuple[int, ...]
    mean: np.ndarray  # (F,) or (C,), float64
    scale: np.ndarray
    low: float  # smallest and largest input of the training part
    high: float
    bytes_kept: bool  # large arrays of uint8 stay uint8 until `finish`
    task: Task | None
    target_scaling: TargetScaling
    kind: str = "array"
    _finish: ByteStandardisation | None = field(init=False, default=None, repr=False)

    def __post_init__(self) -> None:
        if self.bytes_kept:
            self._finish = ByteStandardisation(self.mean, self.scale, len(self.input_shape))

    @staticmethod
    def fit(samples: Samples, train: np.ndarray) -> ArrayPreprocessing:
        array: np.ndarray = samples.inputs
        mean, scale = mean_and_scale(array, train)
        low, high = extremes(array, train)
        return ArrayPreprocessing(
            input_shape=tuple(array.shape[1:]),
            mean=mean,
            scale=scale,
            low=low,
            high=high,
            bytes_kept=array.dtype == np.uint8 and array.ndim > 2 and array.nbytes > _BYTES_KEPT_FROM,
            task=samples.task,
            target_scaling=TargetScaling.fit(samples, train),
        )

    def inputs(self, samples: Samples, indices: np.ndarray | None = None) -> Tensor:
        """(n, *input_shape): float32 standardised, or images of bytes as they are.

        Raises:
            DataError: samples of another shape, or more than memory holds.
        """
        array: np.ndarray = samples.inputs
        if tuple(array.shape[1:]) != self.input_shape:
            raise DataError(
                text("samples of shape {got}", got=str(tuple(array.shape[1:]))),
                text("samples of shape {shape}, as the network was trained on", shape=str(self.input_shape)),
                text("bring the data into that shape"),
            )
        rows = np.arange(len(array)) if indices is None else indices
        dtype = np.uint8 if self.bytes_kept and array.dtype == np.uint8 else np.float32
        amount = len(rows) * max(1, array[:1].size) * np.dtype(dtype).itemsize
        require_memory(amount, text("{count} samples of shape {shape}", count=len(rows), shape=str(self.input_shape)))
        result = np.empty((len(rows), *self.input_shape), dtype=dtype)
        step = max(1, _CHUNK_BYTES // max(8, 8 * array[:1].size))
        mean = self.mean.reshape(-1, *[1] * (array.ndim - 2))
        scale = self.scale.reshape(-1, *[1] * (array.ndim - 2))
        for start in range(0, len(rows), step):
            block = array[rows[start : start + step]]
            result[start : start + step] = block if self.bytes_kept else (block.astype(np.float64) - mean) / scale
        return torch.from_numpy(result)

    def targets(self, samples: Samples, indices: np.ndarray | None = None) -> Tensor:
        return self.target_scaling.apply(samples, indices)

    def finish(self, batch: Tensor) -> Tensor:
        return batch if self._finish is None else self._finish(batch)

    def restore_targets(self, outputs: Tensor) -> Tensor:
        return self.target_scaling.restore(outputs)

    def to_dict(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "format": 1,
            "input_shape": list(self.input_shape),
            "mean": self.mean.tolist(),
            "scale": self.scale.tolist(),
            "low": self.low,
            "high": self.high,
            "bytes_kept": self.bytes_kept,
            "task": None if self.task is None else self.task.to_dict(),
            "target": self.target_scaling.to_dict(),
        }

    @staticmethod
    def from_dict(stored: Mapping[str, Any]) -> ArrayPreprocessing:
        return ArrayPreprocessing(
            input_shape=tuple(int(size) for size in stored["input_shape"]),
            mean=np.asarray(stored["mean"], dtype=np.float64),
            scale=np.asarray(stored["scale"], dtype=np.float64),
            low=float(stored["low"]),
            high=float(stored["high"]),
            bytes_kept=bool(stored["bytes_kept"]),
            task=None if stored["task"] is None else Task.from_dict(stored["task"]),
            target_scaling=TargetScaling.from_dict(stored["target"]),
        )


def extremes(array: np.ndarray, rows: np.ndarray) -> tuple[float, float]:
    """The smallest and the largest number in the given rows."""
    step = max(1, _CHUNK_BYTES // max(8, 8 * array[:1].size))
    blocks = [array[rows[start : start + step]] for start in range(0, len(rows), step)]
    return float(min(block.min() for block in blocks)), float(max(block.max() for block in blocks))


@preprocessing_kind
class ArrayPreprocessingKind(PreprocessingKind):
    kind = "array"

    def fit(self, samples: Samples, train: np.ndarray) -> ArrayPreprocessing:
        return ArrayPreprocessing.fit(samples, train)

    def restore(self, stored: Mapping[str, Any]) -> ArrayPreprocessing:
        return ArrayPreprocessing.from_dict(stored)
