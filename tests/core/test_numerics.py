"""Intervals against SciPy and by their coverage; finite differences against derivatives known in closed form."""

from __future__ import annotations

import math
import random
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from pellucid.core.numerics import (
    bootstrap_interval,
    finite_differences,
    mean_interval,
    student_t_quantile,
    wilson_interval,
)


@given(st.integers(1, 5000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))), st.sampled_from([0.8, 0.95, 0.99]))
def test_wilson_is_scipys(counts: tuple[int, int], level: float) -> None:
    successes, n = counts
    ours = wilson_interval(successes, n, level)
    theirs = stats.binomtest(successes, n).proportion_ci(level, method="wilson")
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=1e-12)
    assert 0 <= ours.low <= successes / n <= ours.high <= 1


def test_wilson_of_nothing() -> None:
    assert (wilson_interval(0, 0).low, wilson_interval(0, 0).high) == (0, 1)


@given(st.floats(0.0005, 0.9995), st.one_of(st.integers(1, 10_000), st.floats(0.5, 200)))
def test_t_quantile_is_scipys(probability: float, degrees: float) -> None:
    assert student_t_quantile(probability, degrees) == pytest.approx(stats.t.ppf(probability, degrees), rel=1e-8, abs=1e-8)


@pytest.mark.parametrize(("probability", "degrees", "book"), [(0.975, 1, 12.706), (0.975, 10, 2.228), (0.95, 4, 2.132), (0.995, 30, 2.750)])
def test_t_quantile_is_the_tables(probability: float, degrees: float, book: float) -> None:
    """Abramowitz and Stegun 1964, table 26.10."""
    assert student_t_quantile(probability, degrees) == pytest.approx(book, abs=5e-4)
    assert student_t_quantile(0.975, math.inf) == pytest.approx(1.959964, abs=1e-6)


def test_mean_interval_is_scipys() -> None:
    values = np.random.default_rng(0).normal(3, 2, 17)
    ours = mean_interval(values, 0.9)
    assert (ours.low, ours.high) == pytest.approx(stats.t.interval(0.9, 16, values.mean(), stats.sem(values)), rel=1e-10)
    for few in ([], [1.0]):
        assert mean_interval(np.array(few)).high == math.inf


def _mean(values: np.ndarray) -> float:
    return float(values.mean())


def test_bootstrap_is_scipys_percentile_interval() -> None:
    values = np.random.default_rng(1).exponential(2, 60)
    ours = bootstrap_interval(_mean, values, resamples=9999)
    theirs = stats.bootstrap((values,), np.mean, n_resamples=9999, method="percentile", rng=np.random.default_rng(2)).confidence_interval
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), rel=0.02)


def test_bootstrap_covers_the_truth() -> None:
    """90 % intervals of 300 samples of 40: the true mean lies in about 90 % of them (binomial: 0.83 to 0.95 with certainty 0.999)."""
    generator = np.random.default_rng(3)
    inside = 0
    for seed in range(300):
        interval = bootstrap_interval(
            lambda x: x.mean(axis=1), generator.normal(1, 1, 40), resamples=400, level=0.9, seed=seed, batched=True
        )
        inside += interval.low <= 1 <= interval.high
    assert 0.83 <= inside / 300 <= 0.95


def test_bootstrap_batched_paired_and_stratified() -> None:
    generator = np.random.default_rng(4)
    x, y = generator.normal(size=(2, 50))
    one = bootstrap_interval(lambda a, b: np.mean((a - b) ** 2), x, y, resamples=300)
    many = bootstrap_interval(lambda a, b: ((a - b) ** 2).mean(axis=1), x, y, resamples=300, batched=True)
    assert (one.low, one.high) == pytest.approx((many.low, many.high))
    again = bootstrap_interval(lambda a, b: np.mean((a - b) ** 2), x, y, resamples=300)
    assert one == again
    classes = np.array([0] * 45 + [1] * 5)
    assert bootstrap_interval(lambda c: (c == 1).mean(), classes, strata=classes).high == 0.1  # each class keeps its share
    assert bootstrap_interval(lambda c: (c == 1).mean(), classes).high > 0.1


@pytest.mark.parametrize("arrays", [(np.array([]),), (np.array([1.0, 2.0]),)])
def test_bootstrap_without_a_value(arrays: tuple[np.ndarray, ...]) -> None:
    assert math.isnan(bootstrap_interval(lambda x: math.nan, *arrays, resamples=20).low)


def test_no_random_state_is_touched() -> None:
    before = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()
    bootstrap_interval(_mean, np.arange(9.0), resamples=50)
    assert before[:2] == (random.getstate(), np.random.get_state()[1].tolist())
    assert torch.equal(before[2], torch.get_rng_state())


A = np.random.default_rng(5).normal(size=(3, 4))


@pytest.mark.parametrize(
    ("function", "gradient", "point"),
    [
        (lambda x: (x**2).sum(), lambda x: 2 * x, A),
        (lambda x: (x**3).sum(), lambda x: 3 * x**2, A * 100),
        (lambda x: x[0, 0] * x[1, 1], None, A),
        (lambda x: (x * x * x * x).sum(), lambda x: 4 * x**3, A),
        (lambda x: 7.0, lambda x: 0 * x, A.T),
        (lambda x: x**2, lambda x: 2 * x, np.float64(3.0)),
    ],
)
@pytest.mark.parametrize(
    "kind", [np.array, torch.tensor, lambda a: torch.tensor(a).t().contiguous().t() if np.ndim(a) == 2 else torch.tensor(a)]
)
@pytest.mark.parametrize("richardson", [False, True])
def test_finite_differences(function: Any, gradient: Any, point: Any, kind: Any, richardson: bool) -> None:
    given_point = kind(point)
    before = given_point.clone() if torch.is_tensor(given_point) else given_point.copy()
    found = finite_differences(function, given_point, richardson=richardson)
    assert type(found) is type(given_point)
    assert (given_point == before).all()
    if gradient is None:
        expected = np.zeros_like(A)
        expected[0, 0], expected[1, 1] = A[1, 1], A[0, 0]
    else:
        expected = gradient(np.asarray(point))
    scale = max(np.abs(expected).max(initial=0.0), np.abs(np.asarray(found)).max(initial=0.0)) or 1.0
    assert np.abs(np.asarray(found) - expected).max(initial=0.0) < (1e-11 if richardson else 1e-8) * scale


def test_richardson_is_more_exact() -> None:
    point = np.linspace(-2, 2, 9)
    slope = 3 * np.cos(3 * point) * np.exp(np.sin(3 * point))
    errors = [
        np.abs(finite_differences(lambda x: np.exp(np.sin(3 * x)).sum(), point, richardson=flag) - slope).max() / np.abs(slope).max()
        for flag in (False, True)
    ]
    assert errors[1] < errors[0] / 10
    assert errors[0] < 1e-8


def test_finite_differences_of_float32_tensors_are_float64() -> None:
    found = finite_differences(lambda x: x.exp().sum(), torch.zeros(2, dtype=torch.float32, requires_grad=True))
    assert found.dtype == torch.float64
    torch.testing.assert_close(found, torch.ones(2, dtype=torch.float64), rtol=1e-9, atol=0)
