"""Series as a network sees them: windows over the past, each with the steps that follow it. A window is cut when a batch asks for it.

A window belongs to the part in which all the steps that it forecasts stand; what it sees may lie in earlier parts, as it would when the
forecast is made. So no training window knows anything of the validation or test part.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

ENOUGH = 0.5  # of the steps of a window's past, and of those it forecasts, must have values


@dataclass
class Grid:
    """Series one after the other, with a column for every place between their first and last rows."""

    begins: np.ndarray  # (S + 1,) where each series begins
    firsts: np.ndarray  # (S,) its first place
    values: np.ndarray  # (T,) NaN where there is none
    rows: np.ndarray  # (T,) the row at that place, -1 where there is none

    @staticmethod
    def of(samples: Any) -> Grid:
        """The places of `SeriesSamples`."""
        lengths: list[int] = []
        firsts: list[int] = []
        for number in range(len(samples.series_names)):
            places = samples.places[samples.series == number]
            firsts.append(int(places.min()) if len(places) else 0)
            lengths.append(int(places.max()) - firsts[-1] + 1 if len(places) else 0)
        begins = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        values = np.full(begins[-1], np.nan)
        rows = np.full(begins[-1], -1, dtype=np.int64)
        at = begins[samples.series] + samples.places - np.asarray(firsts)[samples.series]
        values[at] = samples.targets[:, 0]
        rows[at] = np.arange(len(samples))
        return Grid(begins, np.asarray(firsts, dtype=np.int64), values, rows)

    def column(self, of_rows: np.ndarray) -> np.ndarray:
        """(T,) the values (N,) of the rows at their places, NaN where there is no row."""
        found = np.full(len(self.rows), np.nan)
        there = self.rows >= 0
        found[there] = of_rows[self.rows[there]]
        return found

    def carried(self, values: np.ndarray) -> np.ndarray:
        """(T,) with the last value before it where one is missing, within each series; NaN before its first."""
        found = values.copy()
        for start, end in zip(self.begins[:-1], self.begins[1:], strict=True):
            known = np.where(np.isfinite(values[start:end]), np.arange(end - start), -1)
            last = np.maximum.accumulate(known) if end > start else known
            found[start:end] = np.where(last >= 0, values[start:end][np.maximum(last, 0)], np.nan)
        return found

    def before(self, values: np.ndarray, steps: int) -> np.ndarray:
        """(T,) the value `steps` earlier in the same series (later where negative); NaN where there is none."""
        found = np.full(len(values), np.nan)
        for start, end in zip(self.begins[:-1], self.begins[1:], strict=True):
            size = end - start - abs(steps)
            if size > 0 and steps >= 0:
                found[start + steps : end] = values[start : start + size]
            elif size > 0:
                found[start : start + size] = values[start - steps : end]
        return found

    def origins(self, lags: int, horizon: int, reach: int) -> np.ndarray:
        """(n,) places in the grid at which a window's forecast can begin: rows with `lags` steps and `reach` steps (the season's) of the
        series before them and `horizon` steps from there on, of both at least `ENOUGH` with values. A long gap so breaks windows, and a
        missing value does not."""
        known = np.isfinite(self.values)
        counted = np.concatenate([[0], np.cumsum(known)])
        found: list[np.ndarray] = []
        for start, end in zip(self.begins[:-1], self.begins[1:], strict=True):
            some = np.flatnonzero(known[start:end])
            if not len(some):
                continue
            first = start + int(some[0])
            at = np.arange(max(first + lags, first + reach), end - horizon + 1)
            seen, wanted = counted[at] - counted[at - lags], counted[at + horizon] - counted[at]
            found.append(at[(self.rows[at] >= 0) & (seen >= ENOUGH * lags) & (wanted >= ENOUGH * horizon)])
        return np.concatenate(found) if found else np.zeros(0, dtype=np.int64)


@dataclass
class WindowPart:
    """One side of the split: the windows whose forecasts lie in it."""

    channels: Tensor  # (C, T) of all series, as the network sees them
    values: Tensor  # (T,) the target, standardised; NaN where it has no value
    origins: Tensor  # (n,) int64, where each window's forecast begins
    indices: np.ndarray  # (n,) the row in the data of the first step that is forecast
    lags: int
    horizon: int
    series: np.ndarray | None = None  # (n,) number of each window's series; None where there is only one
    series_scales: np.ndarray | None = None  # (n,) mean |y_t - y_(t - season)| of that series in the training part
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    changeable: ClassVar[bool] = False

    def __len__(self) -> int:
        return len(self.origins)

    def to(self, device: torch.device) -> WindowPart:
        return replace(
            self, channels=self.channels.to(device), values=self.values.to(device), origins=self.origins.to(device), device=device
        )

    def batches(
        self, batch_size: int, order: Tensor | None = None, change: Callable[[Tensor, Tensor], Tensor] | None = None
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """(windows (n, C, lags), the steps that follow (n, horizon)); as `samples.Part`."""
        origins = self.origins if order is None else self.origins[order.to(self.origins.device)]
        for some in origins.split(batch_size):
            yield self.windows(some), self.following(some)

    def windows(self, origins: Tensor) -> Tensor:
        """(n, C, lags) before each origin."""
        at = origins[:, None] + torch.arange(-self.lags, 0, device=origins.device)
        return self.channels[:, at].transpose(0, 1).contiguous()

    def following(self, origins: Tensor) -> Tensor:
        """(n, horizon) from each origin on; NaN at steps without a value."""
        return self.values[origins[:, None] + torch.arange(self.horizon, device=origins.device)]
