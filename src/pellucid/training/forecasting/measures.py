"""How good forecasts are, over all origins of a part: each window is forecast from what was known at its origin.

    mae            mean |y - z|, z the median
    rmse           sqrt of mean (y - z)^2
    mase           mae / mean |y_t - y_(t - m)| of the training part, m the season: below 1 is better than the seasonal naive forecast of
                   one season was there; of several series the mean of each one's own. Source: Hyndman and Koehler 2006, section 3
    smape          mean 200 |y - z| / (|y| + |z|), in percent. Source: Makridakis et al. 2020, equation 1
    coverage_80    share of the values inside the 80 % interval; coverage_95 likewise

A step without a value (NaN) is not measured. Forecasts of origins less than h steps apart overlap and so do their errors: intervals come
from the circular bootstrap of Politis and Romano 1992 with blocks of 2 h - 1 neighbouring origins, all those that a forecast overlaps
with. Deviations are widened by sqrt(k / (k - 1)) and by Student's t of k - 1 degrees of freedom over the normal quantile, for k blocks.
Fewer than four blocks give no interval: nobody can tell.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pellucid.core.records import Interval, Task

RESAMPLES = 1000
FEWEST_BLOCKS = 4  # of origins that hardly overlap; of fewer an interval cannot be told
_STUDENT = {4: 3.182, 5: 2.776, 6: 2.571, 7: 2.447, 8: 2.365, 9: 2.306, 10: 2.262, 12: 2.201, 15: 2.145, 20: 2.093, 30: 2.045, 60: 2.001}
_NORMAL = 1.960
_TERMS = ("absolute", "squared", "relative", "inside_80", "inside_95", "scaled")  # means over a window's steps
_SCORES: dict[str, Callable[[np.ndarray, Task], Any]] = {  # of means over windows (..., terms)
    "mase": lambda terms, task: terms[..., 5],
    "mae": lambda terms, task: terms[..., 0],
    "rmse": lambda terms, task: np.sqrt(np.maximum(terms[..., 1], 0)),
    "smape": lambda terms, task: terms[..., 2],
    "coverage_80": lambda terms, task: terms[..., 3],
    "coverage_95": lambda terms, task: terms[..., 4],
}


def points(output: Tensor, task: Task) -> Tensor:
    """(N, h) the median, or the one value, of outputs (N, h Q) or (N, h)."""
    if output.shape[1] == task.horizon:
        return output
    return by_level(output, task)[..., len(task.quantiles) // 2]


def by_level(output: Tensor, task: Task) -> Tensor:
    """(N, h, Q)."""
    return output.reshape(len(output), task.horizon, -1)


def scales_of(part: Any) -> np.ndarray | None:
    """(n,) what each window's error is divided by for the mean over windows to be the mean over the series of their MASE: the series' own
    scale, times its share of the windows times the number of series. None where one scale, the task's, serves all."""
    chosen: list[np.ndarray] = []
    while hasattr(part, "part"):  # a part of a part
        if hasattr(part, "chosen"):
            chosen.append(part.chosen.cpu().numpy())
        part = part.part
    if getattr(part, "series_scales", None) is None:
        return None
    series, scales = part.series, part.series_scales
    for some in reversed(chosen):
        series, scales = series[some], scales[some]
    _, of, counts = np.unique(series, return_inverse=True, return_counts=True)
    return scales * counts[of] * len(counts) / max(1, len(series))


def quick(output: Tensor, targets: Tensor, task: Task, scales: np.ndarray | None = None) -> dict[str, float]:
    """What every epoch measures."""
    means = _terms(output, targets, task, scales).mean(0)
    return {name: float(_SCORES[name](means, task)) for name in ("mase", "mae", "rmse")}


def full(
    output: Tensor, targets: Tensor, task: Task, loss: Any, generator: np.random.Generator | None, scales: np.ndarray | None = None
) -> dict[str, tuple[float, Interval | None]]:
    terms = _terms(output, targets, task, scales)
    draws = block_means(terms, task.horizon, generator) if generator is not None else None
    means = terms.mean(0)
    return {
        name: (float(score(means, task)), None if draws is None else _interval(score(draws, task), 1.0 if "coverage" in name else math.inf))
        for name, score in _SCORES.items()
    }


def constant(train_targets: Tensor, task: Task) -> Tensor:
    """(h,) the mean of the training part."""
    return train_targets.double().nanmean().expand(task.horizon)


def difference(
    first: Tensor, second: Tensor, targets: Tensor, task: Task, seed: int, scales: np.ndarray | None = None
) -> tuple[float, Interval | None]:
    """MASE of the first less that of the second, over the same origins: negative where the first is better."""
    apart = _terms(first, targets, task, scales)[:, 5:] - _terms(second, targets, task, scales)[:, 5:]  # (N, 1)
    draws = block_means(apart, task.horizon, np.random.default_rng(seed))
    return float(apart.mean(0)[0]), None if draws is None else _interval(draws[:, 0], lowest=-math.inf)


def _terms(output: Tensor, targets: Tensor, task: Task, scales: np.ndarray | None = None) -> np.ndarray:
    """(N, terms) float64 over the steps with values, NaN where there is no interval; `scales` as `scales_of`."""
    truth = targets.detach().cpu().double()
    found = output.detach().cpu().double()
    known = ~truth.isnan()
    count = known.sum(1).clamp_min(1)

    def mean(values: Tensor) -> Tensor:  # (N, h) -> (N,)
        return torch.where(known, values.double(), 0.0).sum(1) / count

    error = (truth - points(found, task)).abs()
    size = truth.abs() + points(found, task).abs()
    relative = torch.where(size > 0, 200 * error / size, 0.0)
    inside = [torch.full((len(truth),), math.nan, dtype=torch.float64)] * 2
    if found.shape[1] != task.horizon:
        levels, half = by_level(found, task), len(task.quantiles) // 2
        inside = [
            mean((truth >= levels[..., half - k]) & (truth <= levels[..., half + k])) for k in range(1, half + 1)
        ]  # from the inside outwards
    absolute = mean(error)
    scaled = absolute / (torch.as_tensor(scales) if scales is not None else task.scale or math.nan)
    return torch.stack([absolute, mean(error**2), mean(relative), *inside, scaled], 1).numpy()


def block_means(terms: np.ndarray, horizon: int, generator: np.random.Generator) -> np.ndarray | None:
    """(RESAMPLES, ...) means over resampled windows (N, ...), drawn in blocks of 2 `horizon` - 1 neighbours and widened for how few the
    blocks are; None of fewer than `FEWEST_BLOCKS`."""
    n, length = len(terms), 2 * horizon - 1
    blocks = n // length
    if blocks < FEWEST_BLOCKS:
        return None
    around = np.concatenate([terms, terms[: length - 1]])  # the first follow the last, so that each counts alike
    sums = np.concatenate([np.zeros((1, terms.shape[1])), np.cumsum(around, 0)])
    means = (sums[length:] - sums[:-length]) / length  # (n, ...)
    picks = generator.integers(len(means), size=(RESAMPLES, -(-n // length)))
    draws, middle = means[picks].mean(1), terms.mean(0)
    student = next((value for most, value in reversed(_STUDENT.items()) if blocks >= most), _NORMAL)
    return middle + (draws - middle) * (math.sqrt(blocks / (blocks - 1)) * student / _NORMAL)


def _interval(values: np.ndarray, highest: float = math.inf, lowest: float = 0.0) -> Interval | None:
    values = values[np.isfinite(values)]
    if len(values) < 2:
        return None
    low, high = np.clip(np.quantile(values, [0.025, 0.975]), lowest, highest)
    return Interval(low=float(low), high=float(high)) if high > low else None
