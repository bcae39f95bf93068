"""How good forecasts are, over all origins of a part: each window is forecast from what was known at its origin.

    mae            mean |y - z|, z the median
    rmse           sqrt of mean (y - z)^2
    mase           mae / mean |y_t - y_(t - m)| of the training part, m the season: below 1 is better than the seasonal naive forecast of
                   one season was there. Source: Hyndman and Koehler 2006
    smape          mean 200 |y - z| / (|y| + |z|), in percent. Source: Makridakis et al. 2020, equation 1
    coverage_80    share of the values inside the 80 % interval; coverage_95 likewise

Windows of neighbouring origins overlap and so do their errors: intervals come from a bootstrap of blocks of as many neighbouring origins
as a forecast has steps, the circular one of Politis and Romano 1992. Where the part has fewer than two such blocks they are of half its
origins, and the interval is too sure.
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
_TERMS = ("absolute", "squared", "relative", "inside_80", "inside_95")  # means over a window's steps
_SCORES: dict[str, Callable[[np.ndarray, Task], Any]] = {  # of means over windows (..., terms)
    "mase": lambda terms, task: terms[..., 0] / task.scale if task.scale else np.full(terms.shape[:-1], np.nan),
    "mae": lambda terms, task: terms[..., 0],
    "rmse": lambda terms, task: np.sqrt(terms[..., 1]),
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


def quick(output: Tensor, targets: Tensor, task: Task) -> dict[str, float]:
    """What every epoch measures."""
    means = _terms(output, targets, task).mean(0)
    return {name: float(_SCORES[name](means, task)) for name in ("mase", "mae", "rmse")}


def full(
    output: Tensor, targets: Tensor, task: Task, loss: Any, generator: np.random.Generator | None
) -> dict[str, tuple[float, Interval | None]]:
    terms = _terms(output, targets, task)
    draws = block_means(terms, task.horizon, generator) if generator is not None else None
    means = terms.mean(0)
    return {name: (float(score(means, task)), None if draws is None else _interval(score(draws, task))) for name, score in _SCORES.items()}


def constant(train_targets: Tensor, task: Task) -> Tensor:
    """(h,) the mean of the training part."""
    return train_targets.double().mean().expand(task.horizon)


def difference(first: Tensor, second: Tensor, targets: Tensor, task: Task, seed: int) -> tuple[float, Interval | None]:
    """MASE of the first less that of the second, over the same origins: negative where the first is better."""
    both = np.stack([_terms(output, targets, task)[:, 0] for output in (first, second)], axis=1)  # (N, 2)
    scale = task.scale or math.nan
    draws = block_means(both, task.horizon, np.random.default_rng(seed))
    means = both.mean(0)
    value = float(means[0] - means[1]) / scale
    return value, None if draws is None else _interval((draws[:, 0] - draws[:, 1]) / scale)


def _terms(output: Tensor, targets: Tensor, task: Task) -> np.ndarray:
    """(N, terms) float64, NaN where there is no interval."""
    truth = targets.detach().cpu().double()
    found = output.detach().cpu().double()
    error = (truth - points(found, task)).abs()
    size = truth.abs() + points(found, task).abs()
    relative = torch.where(size > 0, 200 * error / size, 0.0)
    inside = [torch.full((len(truth),), math.nan, dtype=torch.float64)] * 2
    if found.shape[1] != task.horizon:
        levels, half = by_level(found, task), len(task.quantiles) // 2
        inside = [
            ((truth >= levels[..., half - k]) & (truth <= levels[..., half + k])).double().mean(1) for k in range(1, half + 1)
        ]  # from the inside outwards
    return torch.stack([error.mean(1), (error**2).mean(1), relative.mean(1), *inside], 1).numpy()


def block_means(terms: np.ndarray, length: int, generator: np.random.Generator) -> np.ndarray | None:
    """(RESAMPLES, ...) means over resampled windows (N, ...), drawn in blocks of `length` neighbours; None of fewer than four windows."""
    n = len(terms)
    if n < 4:
        return None
    length = max(1, min(length, n // 2))
    around = np.concatenate([terms, terms[: length - 1]])  # the first follow the last, so that each counts alike
    sums = np.concatenate([np.zeros((1, terms.shape[1])), np.cumsum(around, 0)])
    blocks = (sums[length:] - sums[:-length]) / length  # (n, ...)
    picks = generator.integers(len(blocks), size=(RESAMPLES, -(-n // length)))
    return blocks[picks].mean(1)


def _interval(values: np.ndarray) -> Interval | None:
    values = values[np.isfinite(values)]
    if len(values) < 2:
        return None
    low, high = np.quantile(values, [0.025, 0.975])
    return Interval(low=float(low), high=float(high)) if high > low else None
