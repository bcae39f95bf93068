"""Numbers that must not depend on the user's random state: confidence intervals and finite differences."""

from __future__ import annotations

import math
from collections.abc import Callable
from statistics import NormalDist
from typing import Any

import numpy as np

from pellucid.core.records import Interval

_RESAMPLED_ENTRIES = 2**22  # a batch of bootstrap resamples holds at most this many entries per array: 32 MB of float64


def wilson_interval(successes: int, n: int, level: float = 0.95) -> Interval:
    """The interval of a proportion successes / n; sensible at 0 and n too, where the normal approximation collapses.

    (p + z^2 / 2n +- z sqrt(p (1 - p) / n + z^2 / 4n^2)) / (1 + z^2 / n), p = successes / n.
    Source: E. B. Wilson, "Probable inference, the law of succession, and statistical inference", 1927.
    """
    if n <= 0:
        return Interval(low=0.0, high=1.0, level=level)
    z = NormalDist().inv_cdf(0.5 + level / 2)
    p = successes / n
    centre = p + z * z / (2 * n)
    half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    scale = 1 + z * z / n
    low = (centre - half) / scale if successes > 0 else 0.0  # exactly: rounding would leave 1e-17
    high = (centre + half) / scale if successes < n else 1.0
    return Interval(low=low, high=high, level=level)


def student_t_quantile(probability: float, degrees: float) -> float:
    """The quantile of Student's t distribution, by bisection on its distribution function (the incomplete beta function's fraction).

    Source: Abramowitz and Stegun 1964, 26.7.1; the continued fraction 26.5.8, evaluated by Lentz's method.
    """
    if math.isinf(degrees):
        return NormalDist().inv_cdf(probability)
    if probability == 0.5:
        return 0.0
    if probability < 0.5:
        return -student_t_quantile(1 - probability, degrees)
    low, high = 0.0, 1.0
    while _student_t_cdf(high, degrees) < probability:
        high *= 2
    for _ in range(200):
        middle = (low + high) / 2
        if middle in (low, high):
            break
        if _student_t_cdf(middle, degrees) < probability:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def _student_t_cdf(t: float, degrees: float) -> float:
    return 1 - 0.5 * _incomplete_beta(degrees / (degrees + t * t), degrees / 2, 0.5)


def _incomplete_beta(x: float, a: float, b: float) -> float:
    if x in (0.0, 1.0):
        return x
    if x > (a + 1) / (a + b + 2):
        return 1 - _incomplete_beta(1 - x, b, a)
    front = math.exp(math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)) / a
    c, d = 1.0, 1 / (1 - (a + b) * x / (a + 1))
    fraction = d
    for m in range(1, 1000):
        for numerator in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            d = 1 / (1 + numerator * d)
            c = 1 + numerator / c
            fraction *= c * d
        if abs(c * d - 1) < 1e-15:
            break
    return front * fraction


def mean_interval(values: np.ndarray, level: float = 0.95) -> Interval:
    """The interval of the mean of independent values (n,): mean +- t quantile * standard deviation / sqrt(n). Source: Student 1908.

    Fewer than two values say nothing about their spread: the interval is unbounded.
    """
    values = np.asarray(values, dtype=np.float64)
    if len(values) < 2:
        return Interval(low=-math.inf, high=math.inf, level=level)
    half = student_t_quantile(0.5 + level / 2, len(values) - 1) * float(values.std(ddof=1)) / math.sqrt(len(values))
    mean = float(values.mean())
    return Interval(low=mean - half, high=mean + half, level=level)


def bootstrap_interval(
    statistic: Callable[..., Any],
    *arrays: np.ndarray,
    resamples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
    strata: np.ndarray | None = None,
    batched: bool = False,
) -> Interval:
    """The percentile interval of `statistic(*arrays)`, samples drawn along the first axis with replacement, within `strata` where given.

    With `batched` the statistic takes many resamples at once, arrays of shape (resamples, n, ...), and returns (resamples,): often a
    hundred times faster. Resamples without a finite value are left out; where none has one, the interval is (nan, nan).
    Source: Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, section 13.3.

        bootstrap_interval(lambda right: right.mean(axis=1), predictions == targets, batched=True)
    """
    n = len(arrays[0])
    if n == 0:
        return Interval(low=math.nan, high=math.nan, level=level)
    arrays = tuple(np.asarray(array) for array in arrays)
    generator = np.random.default_rng(seed)
    groups = [np.arange(n)] if strata is None else [np.flatnonzero(strata == stratum) for stratum in np.unique(strata)]
    at_once = max(1, _RESAMPLED_ENTRIES // max(array.size for array in arrays))
    found: list[Any] = []
    for start in range(0, resamples, at_once):
        rows = min(at_once, resamples - start)
        chosen = np.concatenate([group[generator.integers(0, len(group), (rows, len(group)))] for group in groups], axis=1)  # (rows, n)
        if batched:
            found.extend(np.asarray(statistic(*(array[chosen] for array in arrays)), dtype=np.float64).reshape(rows))
        else:
            found.extend(float(statistic(*(array[row] for array in arrays))) for row in chosen)
    values = np.asarray(found, dtype=np.float64)
    values = values[np.isfinite(values)]
    if not len(values):
        return Interval(low=math.nan, high=math.nan, level=level)
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return Interval(low=float(low), high=float(high), level=level)


def finite_differences(function: Callable[[Any], Any], point: Any, step: float | None = None, *, richardson: bool = False) -> Any:
    """The gradient of a scalar function at `point`, an array or a tensor, by central differences in float64, entry by entry.

    D(h) = (f(x + h e_i) - f(x - h e_i)) / 2h, error O(h^2), with h = eps^(1/3) max(1, |x_i|), where truncation and rounding balance.
    With `richardson`, (4 D(h / 2) - D(h)) / 3, error O(h^4), with h = eps^(1/5) max(1, |x_i|): four evaluations per entry, not two.
    `function` is given an array or tensor of its own, which it must not keep or change. Returns the shape and kind of `point`.
    Source: Press et al., "Numerical Recipes", 3rd edition, section 5.7.
    """
    if hasattr(point, "detach"):  # a torch tensor, recognised without importing torch
        work = point.detach().double().contiguous().clone()
        gradient = work.clone()
    else:
        work = np.array(point, dtype=np.float64, order="C")
        gradient = np.empty_like(work)
    flat, slopes = work.reshape(-1), gradient.reshape(-1)

    def central(i: int, value: float, h: float) -> float:
        up, down = value + h, value - h  # what is really added is up - value: representable, so that no digits are lost
        flat[i] = up
        above = float(function(work))
        flat[i] = down
        below = float(function(work))
        flat[i] = value
        return (above - below) / (up - down)

    exponent = 1 / 5 if richardson else 1 / 3
    for i, value in enumerate(flat.tolist()):
        h = step if step is not None else float(np.finfo(np.float64).eps) ** exponent * max(1.0, abs(value))
        slope = central(i, value, h)
        slopes[i] = (4 * central(i, value, h / 2) - slope) / 3 if richardson else slope
    return gradient
