"""Numbers that must not depend on the user's random state: confidence intervals and finite differences."""

from __future__ import annotations

import math
from collections.abc import Callable
from statistics import NormalDist

import numpy as np

from pellucid.core.records import Interval


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
    return Interval(low=max(0.0, (centre - half) / scale), high=min(1.0, (centre + half) / scale), level=level)


def student_t_quantile(probability: float, degrees: float) -> float:
    """The quantile of Student's t distribution, by bisection on its distribution function (the incomplete beta function's fraction).

    Source: Abramowitz and Stegun 1964, 26.7.1; the continued fraction 26.5.8, evaluated by Lentz's method.
    """
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
    """The interval of the mean of independent values (n,): mean +- t quantile * standard deviation / sqrt(n). Source: Student 1908."""
    values = np.asarray(values, dtype=np.float64)
    mean = float(values.mean())
    if len(values) < 2:
        return Interval(low=-math.inf, high=math.inf, level=level)
    half = student_t_quantile(0.5 + level / 2, len(values) - 1) * float(values.std(ddof=1)) / math.sqrt(len(values))
    return Interval(low=mean - half, high=mean + half, level=level)


def bootstrap_interval(
    statistic: Callable[..., float],
    *arrays: np.ndarray,
    resamples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
    strata: np.ndarray | None = None,
) -> Interval:
    """The percentile interval of `statistic(*arrays)`, samples drawn along the first axis with replacement, within `strata` where given.

    Source: Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, section 13.3. Resamples without a value (NaN) are left out.
    """
    generator = np.random.default_rng(seed)
    n = len(arrays[0])
    groups = [np.arange(n)] if strata is None else [np.flatnonzero(strata == stratum) for stratum in np.unique(strata)]
    found: list[float] = []
    for _ in range(resamples):
        chosen = np.concatenate([group[generator.integers(0, len(group), len(group))] for group in groups])
        found.append(float(statistic(*(array[chosen] for array in arrays))))
    values = np.asarray(found)
    values = values[np.isfinite(values)]
    if not len(values):
        return Interval(low=math.nan, high=math.nan, level=level)
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return Interval(low=float(low), high=float(high), level=level)


def finite_differences(function: Callable[[np.ndarray], float], point: np.ndarray, step: float | None = None) -> np.ndarray:
    """The gradient of a scalar function at `point` by central differences in float64, one pair of evaluations per entry.

    (f(x + h e_i) - f(x - h e_i)) / 2h with h = cbrt(eps) max(1, |x_i|), where truncation and rounding errors balance.
    Source: Press et al., "Numerical Recipes", 3rd edition, section 5.7.
    """
    point = np.array(point, dtype=np.float64)
    gradient = np.empty_like(point)
    flat, slopes = point.reshape(-1), gradient.reshape(-1)
    for i, value in enumerate(flat.copy()):
        h = step if step is not None else float(np.cbrt(np.finfo(np.float64).eps)) * max(1.0, abs(float(value)))
        up, down = value + h, value - h  # what is really added is up - value: representable, so that no digits are lost
        flat[i] = up
        above = function(point)
        flat[i] = down
        below = function(point)
        flat[i] = value
        slopes[i] = (above - below) / (up - down)
    return gradient


def relative_error(ours: np.ndarray, theirs: np.ndarray, terms: np.ndarray | float = 0.0) -> float:
    """The largest |ours - theirs| over the magnitude of the terms summed, or the largest entry where that is larger.

    A gradient that is truly zero, the sum of large terms that cancel, so counts as zero.
    """
    ours, theirs = np.asarray(ours, dtype=np.float64), np.asarray(theirs, dtype=np.float64)
    if not ours.size:
        return 0.0
    scale = np.maximum(np.abs(terms), max(float(np.abs(ours).max()), float(np.abs(theirs).max())))
    with np.errstate(invalid="ignore", divide="ignore"):
        errors = np.where(ours == theirs, 0.0, np.abs(ours - theirs) / np.where(scale == 0, 1.0, scale))
    return float(np.where(np.isnan(ours) & np.isnan(theirs), 0.0, errors).max())
