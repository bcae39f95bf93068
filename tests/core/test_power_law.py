"""Power laws recovered from errors that follow one, and intervals that hold what they say."""

from __future__ import annotations

import numpy as np
import pytest

from pellucid.core.power_law import error_at, fitted, samples_for, spread_of

SIZES = np.repeat(1000 / 2.0 ** np.arange(6), 3).round()


def test_without_noise_the_law_itself():
    laws = fitted(SIZES, 3.0 * SIZES**-0.5)
    assert np.median(laws[:, 1]) == pytest.approx(0.5, rel=0.02)
    assert np.median(error_at(laws, 4000)) == pytest.approx(3 * 4000**-0.5, rel=0.01)
    assert np.median(samples_for(laws, 3 * 4000**-0.5)) == pytest.approx(4000, rel=0.03)


def test_what_no_amount_of_data_takes_away():
    laws = fitted(SIZES, 3.0 * SIZES**-1.0 + 0.05)
    assert np.median(laws[:, 2]) == pytest.approx(0.05, rel=0.02)
    assert np.isinf(samples_for(laws, 0.04)).all()


def test_intervals_hold_95_percent():
    """Laws drawn at random, noise of 3 or 10 %: the 95 % interval of the error at one, four and ten times the data, and of the samples
    that three quarters of the error need. 150 draws: below 0.91 chance is less than 1 in 50."""
    random, held = np.random.default_rng(1), {1: 0, 4: 0, 10: 0, "samples": 0}
    for draw in range(150):
        b, c, scale = np.exp(random.uniform(np.log(0.1), 0)), random.choice([0, random.uniform(0, 0.05)]), random.uniform(0.05, 0.3)
        most = random.choice([500, 5000, 50_000])
        sizes = np.repeat(most / 2.0 ** np.arange(6), 3).round()
        errors = (scale * (sizes / most) ** -b + c) * np.exp(random.choice([0.03, 0.1]) * random.standard_normal(len(sizes)))
        laws = fitted(sizes, errors, seed=draw)
        for times in (1, 4, 10):
            low, high = np.quantile(error_at(laws, most * times), (0.025, 0.975))
            held[times] += low <= scale * times**-b + c <= high
        wanted = 0.75 * (scale + c)
        low, high = np.quantile(samples_for(laws, wanted), (0.025, 0.975), method="inverted_cdf")
        held["samples"] += low <= (most * (scale / (wanted - c)) ** (1 / b) if wanted > c else np.inf) <= high
    assert min(held.values()) / 150 >= 0.91, held


def test_the_spread_of_one_training():
    random = np.random.default_rng(0)
    errors = 2 * SIZES**-0.4 * np.exp(0.2 * random.standard_normal(len(SIZES)))
    assert spread_of(fitted(SIZES, errors), SIZES, errors) == pytest.approx(0.2, rel=0.4)


def test_three_sizes_are_too_few():
    with pytest.raises(ValueError, match="four"):
        fitted(np.array([10, 20, 40]), np.array([0.3, 0.2, 0.1]))
