"""What a series is like: how it repeats itself, and whether its swings grow with its level. Decided on the training part alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist

import numpy as np

_LONGEST = 1 / 3  # of the training part may be one season: it must be seen three times
_TESTED = 1.645  # standard errors: the 90 % test of the M4 competition
_WEAKEST = 0.1  # autocorrelation of a season: a weaker one would explain 1 % of the variance
_GROWTH = 1.5  # the largest mean of a block over the smallest, from which on it matters whether swings grow with the level


def autocorrelation(values: np.ndarray, lags: int) -> np.ndarray:
    """(lags + 1,) r_k = sum (y_t - m)(y_(t+k) - m) / sum (y_t - m)^2, by the fast Fourier transform.

    Source: Box and Jenkins 1970, section 2.1.5.
    """
    centred = values - values.mean()
    size = 1 << (2 * len(values) - 1).bit_length()
    spectrum = np.fft.rfft(centred, size)
    found = np.fft.irfft(spectrum * spectrum.conj(), size)[: lags + 1]
    return found / found[0] if found[0] > 0 else np.zeros(lags + 1)


def detrended(values: np.ndarray) -> np.ndarray:
    """Without the parabola that fits best: a trend is no season."""
    places = np.linspace(-1, 1, len(values))
    return values - np.polyval(np.polyfit(places, values, 2), places)


def find_season(values: np.ndarray, calendar: Sequence[float]) -> tuple[int, float]:
    """(steps of the season, its autocorrelation); (1, 0) where the series does not repeat itself.

    Asked first are the `calendar`'s seasons (steps of a day, a week, a year): each of the series without its moving average over that
    season, as in the classical decomposition, so that neither trend nor slow swings pass for it. The highest autocorrelation wins where
    it passes the 90 % test and 0.1; a longer one must be higher by 0.05. Where none does, the highest peak at any lag counts, if
    noise would hardly (5 %) have one as high.

    Args:
        values: (n,) without missing values.
    Source: the test of the M4 competition, Makridakis, Spiliotis and Assimakopoulos 2020, section 2.4: r_m > 1.645
    sqrt((1 + 2 sum_(k<m) r_k^2) / n).
    """
    n = len(values)
    longest = int(n * _LONGEST)
    if longest < 2 or np.ptp(values) == 0:
        return 1, 0.0
    best, height = 1, 0.0
    for season in (round(steps) for steps in calendar):
        if 2 <= season <= longest:
            found, bounds = _tested(_without_average(values, season), season)
            if found[season] > max(bounds[season], _WEAKEST, height + 0.05 * (best > 1)):
                best, height = season, float(found[season])
    if best > 1:
        return best, height
    found, bounds = _tested(detrended(values), longest)
    by_chance = NormalDist().inv_cdf(1 - 0.05 / longest) / math.sqrt(n)  # the highest of so many, of noise
    for lag in range(4, longest):
        around = max(2, lag // 8)
        nearby = np.concatenate([found[lag - around : lag], found[lag + 1 : lag + 1 + around]])
        if found[lag] > max(bounds[lag], by_chance, _WEAKEST) and found[lag] >= nearby.max() and found[lag] > height:
            best, height = lag, float(found[lag])
    return best, height


def _tested(values: np.ndarray, lags: int) -> tuple[np.ndarray, np.ndarray]:
    """(lags + 1,) autocorrelations, and what each must pass."""
    found = autocorrelation(values, lags)
    before = np.concatenate([[0.0, 0.0], np.cumsum(found[1:-1] ** 2)])  # of shorter lags
    return found, _TESTED * np.sqrt((1 + 2 * before[: lags + 1]) / len(values))


def _without_average(values: np.ndarray, season: int) -> np.ndarray:
    """(n - season + 1,): each value minus the mean of the season around it."""
    sums = np.cumsum(np.concatenate([[0.0], values]))
    averages = (sums[season:] - sums[:-season]) / season
    start = season // 2
    return values[start : start + len(averages)] - averages


def grows_with_level(values: np.ndarray, season: int) -> bool:
    """Whether the logarithm makes the swings even: all values positive, a level that changes, and blocks whose deviation is
    in proportion to their mean rather than constant.

    Blocks of a season (at least 8 steps) have means m_b and deviations s_b from a straight line; the coefficient of
    variation of s_b / m_b is compared with that of s_b. Source: Guerrero 1993, section 3, for the powers 0 (logarithm) and 1.
    """
    if not len(values) or values.min() <= 0:
        return False
    size = max(8, season)
    blocks = len(values) // size
    if blocks < 4:
        return False
    cut = values[len(values) - blocks * size :].reshape(blocks, size)
    places = np.linspace(-1, 1, size)
    slopes = (cut * places).mean(1) / (places**2).mean()
    means, deviations = cut.mean(1), (cut - slopes[:, None] * places).std(1)
    if means.max() < _GROWTH * means.min() or (deviations == 0).any():
        return False

    def variation(numbers: np.ndarray) -> float:
        return float(numbers.std() / numbers.mean())

    return variation(deviations / means) < variation(deviations)
