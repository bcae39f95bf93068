"""What chance alone does to a score and to a curve, so that a verdict speaks of more than chance."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist, median

from pellucid.core.numerics import wilson_interval
from pellucid.core.records import Interval, Score

_NORMAL = NormalDist()


def interval_of(score: Score) -> Interval | None:
    """The score's own 95 % interval; for a share of samples without one, Wilson's; None where nothing can be said."""
    if score.interval is not None:
        return score.interval
    if score.name != "accuracy" or score.samples <= 0:
        return None
    return wilson_interval(round(score.value * score.samples), score.samples)


def difference_interval(first: Score, second: Score) -> Interval | None:
    """The 95 % interval of `first - second`, measured on different samples, from the interval of each.

    low = d - sqrt((a - a.low)² + (b.high - b)²), high = d + sqrt((a.high - a)² + (b - b.low)²) with d = a - b: right for skewed
    intervals too, as a score close to 1 has.

    Source: R. G. Newcombe, Interval estimation for the difference between independent proportions, Statistics in Medicine 17 (1998),
    method 10.
    """
    of_first, of_second = interval_of(first), interval_of(second)
    if of_first is None or of_second is None:
        return None
    a, b = first.value, second.value
    low = a - b - math.hypot(max(a - of_first.low, 0.0), max(of_second.high - b, 0.0))
    high = a - b + math.hypot(max(of_first.high - a, 0.0), max(b - of_second.low, 0.0))
    return Interval(low=low, high=high)


def scatter(values: Sequence[float]) -> float:
    """Standard deviation of a curve's epoch-to-epoch scatter around its course, robust to a few spikes.

    The second difference of white noise with deviation s has deviation s·sqrt(6), and a straight course has none; the median absolute
    value of a normal variable is 0.6745 deviations.
    """
    bends = [abs(a - 2 * b + c) for a, b, c in zip(values, values[1:], values[2:], strict=False)]
    return median(bends) / (0.6745 * math.sqrt(6)) if bends else 0.0


def running_median(values: Sequence[float], window: int) -> list[float]:
    """The median of the `window` (odd) values around each; fewer at the ends."""
    half = window // 2
    return [median(values[max(0, i - half) : i + half + 1]) for i in range(len(values))]


def falling(values: Sequence[float]) -> float:
    """How sure we are that a curve falls: 1 - p of the one-sided Mann-Kendall test for a downward trend; 0.5 where nothing is seen.

    Source: H. B. Mann, Nonparametric tests against trend, Econometrica 13 (1945), section 3.
    """
    n = len(values)
    if n < 3:
        return 0.5
    pairs = sum((values[i] > values[j]) - (values[i] < values[j]) for i in range(n) for j in range(i + 1, n))
    deviation = math.sqrt(n * (n - 1) * (2 * n + 5) / 18)
    return _NORMAL.cdf((pairs - (pairs > 0) + (pairs < 0)) / deviation)


def probability_above(estimate: float, threshold: float, deviation: float) -> float:
    """The probability that a normal estimate's true value lies above the threshold, held between 0.5 and 0.99."""
    if deviation <= 0:
        return 0.99 if estimate > threshold else 0.5
    return min(0.99, max(0.5, _NORMAL.cdf((estimate - threshold) / deviation)))
