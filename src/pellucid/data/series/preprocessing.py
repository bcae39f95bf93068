"""Series made ready for a network: missing values filled in and marked, every channel standardised by the training part alone.

    z[c, t] = (x[c, t] - mean[c]) / scale[c],   mean and scale over all values of channel c that are there

A missing value within a series lies on the straight line between its neighbours (at an end it is the nearest value, in a channel without
any value the mean); where the training part has such values in a channel, a further channel is 1 where one was filled in and 0 elsewhere
(Lipton, Kale and Wetzel 2016, Modeling missing data in clinical time series with RNNs, section 3). Where series end they end: shorter ones
are padded with NaN only beside the longest of their batch, and networks leave padding out (networks.sequences).

Series of more than MOST_STEPS steps become the means of k successive steps each, the same k for all.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from pellucid.core.errors import DataError
from pellucid.core.language import text
from pellucid.core.memory import require_memory
from pellucid.core.records import Task
from pellucid.data.arrays.preprocessing import TargetScaling
from pellucid.data.kinds import PreprocessingKind, preprocessing_kind
from pellucid.data.samples import ResidentPart, Samples
from pellucid.data.sequences import SequencePart
from pellucid.data.series.values import SeriesValues

FORMAT = 1
POINTS = 120  # of a series that is drawn
_DRAWN, _DRAWN_CLASSES, _DRAWN_CHANNELS = 3, 12, 6
MOST_STEPS = 8_192  # of one series in a batch; speech at 16 kHz keeps what a telephone carries


@dataclass(frozen=True)
class SeriesPreprocessing:
    """Made by `fit`; how the training source looked stands here too, so that new data are read alike."""

    kind = "series"

    channels: tuple[str, ...]
    mean: np.ndarray  # (C,)
    scale: np.ndarray  # (C,)
    low: np.ndarray  # (C,) smallest and largest value of the training part
    high: np.ndarray
    marked: tuple[int, ...]  # channels whose missing values have a channel of their own
    longest: int  # steps of the longest training series, after averaging
    shortest: int
    together: int  # k: steps that become one
    task: Task
    target_scaling: TargetScaling
    layout: str = "array"
    value_columns: tuple[str, ...] = ()
    group: str | None = None
    time: str | None = None
    header: bool = True
    examples: Mapping[str, Any] = field(default_factory=lambda: cast("dict[str, Any]", {}))  # class -> training series as curves

    @staticmethod
    def fit(samples: Samples, train: np.ndarray) -> SeriesPreprocessing:
        """Look at the series `train` alone."""
        assert samples.task is not None
        whole: SeriesValues = samples.inputs
        values = whole[train]
        steps, missing = values.steps, np.isnan(values.steps)
        present = ~missing
        counts = np.maximum(present.sum(axis=0), 1)
        mean = np.where(present, steps, 0.0).sum(axis=0) / counts
        scale = np.sqrt(np.where(present, np.square(steps - mean), 0.0).sum(axis=0) / counts)
        low = np.where(present, steps, np.inf).min(axis=0)
        high = np.where(present, steps, -np.inf).max(axis=0)
        constant = (low >= high) | (scale <= 1e-14 * np.abs(mean))  # nothing there, or never another value: zero, not infinite
        scale[constant] = 1.0
        together = max(1, -(-int(whole.lengths.max(initial=1)) // MOST_STEPS))
        lengths = -(-values.lengths // together)
        return SeriesPreprocessing(
            channels=values.channels,
            mean=mean,
            scale=scale,
            low=np.where(np.isfinite(low), low, 0.0),
            high=np.where(np.isfinite(high), high, 0.0),
            marked=tuple(np.flatnonzero(missing.any(axis=0)).tolist()),
            longest=int(lengths.max(initial=1)),
            shortest=int(lengths.min()),
            together=together,
            task=samples.task,
            target_scaling=TargetScaling.fit(samples, train),
            examples=_examples(values, samples, train),
            **{name: getattr(samples, name) for name in ("layout", "value_columns", "group", "time", "header") if hasattr(samples, name)},
        )

    @property
    def input_shape(self) -> tuple[int, ...]:
        """(C, T): T the longest training series."""
        return len(self.channels) + len(self.marked), self.longest

    @property
    def facts(self) -> dict[str, Any]:
        """What choosing a network must know of the inputs."""
        return {"series": self.longest}

    @property
    def inputs_named(self) -> tuple[str, ...]:
        """A name for each input channel."""
        names = [name or str(text("value")) for name in self.channels]
        return (*names, *(str(text("{name} is missing", name=names[channel])) for channel in self.marked))

    @property
    def as_given(self) -> bool:
        """Whether the network's steps and channels are those of the data, but for their scale."""
        return self.together == 1 and not self.marked

    def steps(self, values: SeriesValues) -> SeriesValues:
        """Filled in, averaged, standardised, marked: float32 (all steps, C + marked)."""
        if len(values.channels) != len(self.channels):
            raise DataError(
                text("series of {got} channels", got=len(values.channels)),
                text("{count} channels, as the network was trained on", count=len(self.channels)),
                text("give the same channels in the same order"),
            )
        made: list[np.ndarray] = []
        for series in values:
            missing = np.isnan(series)
            filled = _filled(series, missing, self.mean) if missing.any() else series
            ready = np.concatenate([(filled - self.mean) / self.scale, missing[:, list(self.marked)]], axis=1)
            made.append((_averaged(ready, self.together) if self.together > 1 else ready).astype(np.float32))
        begins = np.concatenate([[0], np.cumsum([len(one) for one in made])]).astype(np.int64)
        steps = np.concatenate(made) if made else np.zeros((0, self.input_shape[0]), dtype=np.float32)
        return SeriesValues(steps, begins, values.channels)

    def curves(self, samples: Samples, index: int) -> tuple[tuple[float | None, ...], ...]:
        """(C, at most POINTS): a series as the user gave it, to be drawn."""
        values: SeriesValues = samples.inputs
        return curves_of(values.steps[values.begins[index] : values.begins[index + 1]])

    def inputs(self, samples: Samples, indices: np.ndarray | None = None) -> Tensor:
        """(n, C, T) float32, T steps of the longest of these, NaN behind the shorter ones."""
        values: SeriesValues = samples.inputs if indices is None else samples.inputs[np.asarray(indices)]
        longest = -(-values.shape[2] // self.together)
        require_memory(
            4 * len(values) * self.input_shape[0] * longest, text("{count} series of up to {steps} steps", count=len(values), steps=longest)
        )
        ready = self.steps(values)
        part = SequencePart(ready.steps, ready.begins, torch.zeros(len(values)), np.arange(len(values)))
        return part.padded(np.arange(len(values))) if len(values) else torch.zeros(0, *self.input_shape)

    def targets(self, samples: Samples, indices: np.ndarray | None = None) -> Tensor:
        """Classification: (n,) int64. Regression: (n, outputs) float32, standardised by the training part."""
        return self.target_scaling.apply(samples, indices)

    def finish(self, batch: Tensor) -> Tensor:
        return batch

    def restore_targets(self, outputs: Tensor) -> Tensor:
        """Regression outputs (n, outputs) in the user's units; class scores unchanged."""
        return self.target_scaling.restore(outputs)

    def to_dict(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "kind": self.kind,
            "channels": list(self.channels),
            **{name: getattr(self, name).tolist() for name in ("mean", "scale", "low", "high")},
            "marked": list(self.marked),
            "longest": self.longest,
            "shortest": self.shortest,
            "together": self.together,
            "task": self.task.to_dict(),
            "target": self.target_scaling.to_dict(),
            "layout": self.layout,
            "value_columns": list(self.value_columns),
            "group": self.group,
            "time": self.time,
            "header": self.header,
            "examples": dict(self.examples),
        }

    @staticmethod
    def from_dict(stored: Mapping[str, Any]) -> SeriesPreprocessing:
        return SeriesPreprocessing(
            channels=tuple(str(name) for name in stored["channels"]),
            mean=np.asarray(stored["mean"], dtype=np.float64),
            scale=np.asarray(stored["scale"], dtype=np.float64),
            low=np.asarray(stored["low"], dtype=np.float64),
            high=np.asarray(stored["high"], dtype=np.float64),
            marked=tuple(int(channel) for channel in stored["marked"]),
            longest=int(stored["longest"]),
            shortest=int(stored["shortest"]),
            together=int(stored["together"]),
            task=Task.from_dict(stored["task"]),
            target_scaling=TargetScaling.from_dict(stored["target"]),
            layout=str(stored["layout"]),
            value_columns=tuple(stored["value_columns"]),
            group=stored["group"],
            time=stored["time"],
            header=bool(stored["header"]),
            examples=stored.get("examples") or {},
        )


def curves_of(series: np.ndarray) -> tuple[tuple[float | None, ...], ...]:
    """(T, C) -> (C, at most POINTS) for a drawing: of every stretch of steps one value, None where it is missing."""
    chosen = series if len(series) <= POINTS else series[np.linspace(0, len(series) - 1, POINTS).round().astype(np.int64)]
    return tuple(
        tuple(float(f"{value:.5g}") if np.isfinite(value) else None for value in channel.tolist()) for channel in chosen.T[:_DRAWN_CHANNELS]
    )


def _examples(values: SeriesValues, samples: Samples, train: np.ndarray) -> dict[str, Any]:
    """Class -> the curves of its first training series, and how many steps the longest of them has; one entry "" for a regression."""
    assert samples.task is not None
    everything = list(values)
    if samples.task.kind == "classification" and samples.targets is not None:
        of_class = np.asarray(samples.targets)[train]
        chosen = {name: np.flatnonzero(of_class == index)[:_DRAWN] for index, name in enumerate(samples.task.classes[:_DRAWN_CLASSES])}
    else:
        chosen = {"": np.arange(min(_DRAWN, len(everything)))}
    return {
        name: [{"steps": len(everything[place]), "curves": curves_of(everything[place])} for place in places.tolist()]
        for name, places in chosen.items()
        if len(places)
    }


def _filled(series: np.ndarray, missing: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """(T, C) with each missing value on the straight line between its neighbours in time."""
    filled, times = series.copy(), np.arange(len(series))
    for channel in np.flatnonzero(missing.any(axis=0)).tolist():
        gaps = missing[:, channel]
        known = ~gaps
        filled[gaps, channel] = np.interp(times[gaps], times[known], series[known, channel]) if known.any() else mean[channel]
    return filled


def _averaged(series: np.ndarray, together: int) -> np.ndarray:
    """(T, C) -> (ceil(T / k), C): means of k successive steps, of what is left at the end."""
    begins = np.arange(0, len(series), together)
    counts = np.diff(np.append(begins, len(series)))
    return np.add.reduceat(series, begins, axis=0) / counts[:, None]


@preprocessing_kind
class SeriesPreprocessingKind(PreprocessingKind):
    kind = "series"

    def fit(self, samples: Samples, train: np.ndarray) -> SeriesPreprocessing:
        return SeriesPreprocessing.fit(samples, train)

    def restore(self, stored: Mapping[str, Any]) -> SeriesPreprocessing:
        return SeriesPreprocessing.from_dict(stored)

    def read_new(self, source: Any, target: Any, preprocessing: Any, *, header: bool, task: Task | None, targets: str) -> Samples:
        from pellucid.data.series.reading import read_new_series

        return read_new_series(source, target, preprocessing, header=header, task=task, targets=targets)

    def part(self, samples: Samples, indices: np.ndarray, preprocessing: Any) -> Any:
        """Series of one length as one tensor; else each batch is padded to its own longest."""
        targets = preprocessing.targets(samples, indices)
        values: SeriesValues = samples.inputs[np.asarray(indices)]
        if len(set(values.lengths.tolist())) <= 1:
            return ResidentPart(preprocessing.inputs(samples, indices), targets, indices, preprocessing)
        ready = preprocessing.steps(values)
        return SequencePart(ready.steps, ready.begins, targets, indices)
