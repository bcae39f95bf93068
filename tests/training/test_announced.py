"""Passes over data that take long say so after their first second, and in the end what they took."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from pellucid.training import evaluation
from pellucid.training.evaluation import Announced


class Slow:
    """A part of 100 samples in batches of 10; a batch takes `seconds` of the clock that stands in for time.perf_counter."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
        self.now, self.seconds = 0.0, seconds
        monkeypatch.setattr(evaluation.time, "perf_counter", lambda: self.now)

    def __len__(self) -> int:
        return 100

    def batches(self, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
        for _ in range(len(self) // batch_size):
            self.now += self.seconds
            yield torch.zeros(batch_size, 1), torch.zeros(batch_size)


@pytest.mark.parametrize(
    ("seconds", "expected", "took"), [(0.7, "7.0 s", "7.0 s"), (20.0, "3 min 20 s", "3 min 20 s"), (0.4, None, None), (0.001, None, None)]
)
def test_what_takes_long_is_announced(seconds: float, expected: str | None, took: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    batches = list(Announced(Slow(monkeypatch, seconds), lambda sentence: said.append(str(sentence))).batches(10))
    assert len(batches) == 10
    if expected is None:
        assert said == []
    else:
        assert [bool(re.fullmatch(pattern, line)) for pattern, line in zip(
            (f"expected: {expected}, \\d[\\d.]* [GM]iB of memory", f"it took: {took}, \\d[\\d.]* [GM]iB of memory"), said, strict=True
        )] == [True, True]  # fmt: skip
