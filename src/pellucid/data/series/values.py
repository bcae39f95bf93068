"""Series of numbers as they were read: of any length each, all with the same channels; and what makes one unusable."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import polars as pl

from pellucid.core.hashing import hash_bytes
from pellucid.core.language import Text, text
from pellucid.core.records import Notice

LONGEST = 1_000_000  # steps of one series that are read


@dataclass(frozen=True)
class SeriesValues:
    """The steps of n series one after the other, and where each series begins."""

    steps: np.ndarray  # (all steps, C) float64; NaN where a value is missing
    begins: np.ndarray  # (n + 1,) int64, the last the number of steps
    channels: tuple[str, ...]  # names; "" where there is none

    @staticmethod
    def of(series: Sequence[np.ndarray], channels: Sequence[str]) -> SeriesValues:
        """From arrays (T_i, C)."""
        lengths = [len(values) for values in series]
        steps = np.concatenate(series) if series else np.zeros((0, len(channels)))
        return SeriesValues(
            np.asarray(steps, dtype=np.float64), np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64), tuple(channels)
        )

    def __len__(self) -> int:
        return len(self.begins) - 1

    def __iter__(self) -> Iterator[np.ndarray]:
        """The series, (T_i, C) each."""
        for first, last in zip(self.begins[:-1].tolist(), self.begins[1:].tolist(), strict=True):
            yield self.steps[first:last]

    def __getitem__(self, chosen: np.ndarray) -> SeriesValues:
        """The series at the positions `chosen` (m,)."""
        all_of_them = list(self)
        return SeriesValues.of([all_of_them[place] for place in np.asarray(chosen).tolist()], self.channels)

    @property
    def lengths(self) -> np.ndarray:
        """(n,) steps of each series."""
        return np.diff(self.begins)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(n, channels, steps of the longest)."""
        return len(self), len(self.channels), int(self.lengths.max(initial=0))

    def hashes(self) -> list[str]:
        """A hash of each series; equal series have equal hashes."""
        return [hash_bytes(np.ascontiguousarray(np.where(np.isnan(values), np.nan, values + 0.0)).tobytes()) for values in self]


def joined(several: Sequence[SeriesValues]) -> SeriesValues:
    return SeriesValues.of([values for one in several for values in one], several[0].channels)


@dataclass
class RawSeries:
    """What one source holds, before anything is decided about its target."""

    values: SeriesValues
    identifiers: Sequence[str]
    name: str  # short, for the run
    shown: Text | str  # the file's name, for messages
    layout: str  # "ts", "wide", "long" or "array"
    labels: pl.Series | None = None  # (n,), None where the source has no target
    target: str = "class"
    task: str = "auto"  # what the source itself says of its target
    value_columns: tuple[str, ...] = ()  # of a table, that the values came from
    group: str | None = None  # of a long table: the column that names the series
    time: str | None = None  # of a long table: the column that orders its steps
    groups: np.ndarray | None = None  # (n,) samples of one group stay on one side of the split
    times: np.ndarray | None = None  # (n,) sortable
    unusable: dict[int, Text] = field(default_factory=dict[int, Text])  # place -> reason
    notices: list[Notice] = field(default_factory=list[Notice])
    header: bool = True
    decimal_comma: bool = False


def check_values(raw: RawSeries) -> None:
    """Set aside series without a step, without a value, with infinite values, or longer than can be read."""
    for place, values in enumerate(raw.values):
        if place in raw.unusable:
            continue
        if not len(values):
            raw.unusable[place] = text("it has no steps")
        elif len(values) > LONGEST:
            raw.unusable[place] = text("it has {steps} steps, more than {most}", steps=len(values), most=LONGEST)
        elif np.isnan(values).all():
            raw.unusable[place] = text("none of its values is there")
        elif np.isinf(values).any():
            step = int(np.flatnonzero(np.isinf(values).any(axis=1))[0])
            raw.unusable[place] = text("its value at step {step} is infinite", step=step + 1)
