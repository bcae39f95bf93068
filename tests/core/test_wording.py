"""Quantities and names are written in one way wherever they stand."""

from __future__ import annotations

import math

import pytest

from pellucid.core.wording import baseline_name, count, duration, memory, samples


@pytest.mark.parametrize(
    ("seconds", "written"),
    [
        (0.0, "0.0 s"), (-1.0, "0.0 s"), (0.44, "0.4 s"), (9.97, "10 s"), (59.6, "1 min 0 s"), (200.0, "3 min 20 s"), (7500.0, "2 h 5 min"),
        (7199.0, "2 h 0 min"), (math.inf, "unknown"),
    ],
)  # fmt: skip
def test_durations(seconds: float, written: str) -> None:
    assert duration(seconds).render("en") == written


@pytest.mark.parametrize(
    ("amount", "written"),
    [(0, "0 B"), (1023, "1023 B"), (2048, "2.0 KiB"), (351 * 2**20, "351 MiB"), (3.5 * 2**30, "3.5 GiB"), (2**70, "1024 EiB")],
)
def test_memory(amount: float, written: str) -> None:
    assert memory(amount) == written


def test_counts_and_names() -> None:
    assert [count(number) for number in (999, 21300.4, 1e6)] == ["999", "21 300", "1 000 000"]
    assert [str(samples(number)) for number in (0, 1, 2, 1500)] == ["0 samples", "1 sample", "2 samples", "1 500 samples"]
    assert [str(baseline_name("linear", primary)) for primary in ("accuracy", "r2")] == ["logistic regression", "ridge regression"]
    assert str(baseline_name("somebodys_model")) == "somebodys model"
