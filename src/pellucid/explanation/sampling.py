"""The mean of independent draws with its interval: a pilot fixes how many draws are needed, fresh ones make mean and interval.

Stopping when the interval is narrow enough, or keeping the pilot's draws, would pick the lucky ones and cover too seldom.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from pellucid.core.numerics import student_t_quantile
from pellucid.explanation.subject import Tell

PILOT, FEWEST, MOST = 16, 32, 512
AIM = 0.05  # of a sample's largest value: the typical half width that the number of draws is chosen for
ROUNDING = 32  # steps of the number type, relative to a sample's largest value: what varies by less is the same in every draw

Draw = Callable[[int], tuple[Tensor, ...]]  # how many -> each input's part, (how many, N, ...)


@dataclass(eq=False)
class _Moments:
    """Count, mean, sum of squared deviations, and extremes of draws that come in chunks. Source: Chan, Golub and LeVeque 1979, eq. 2.1."""

    count: int = 0
    mean: Tensor | None = None
    squares: Tensor | None = None
    low: Tensor | None = None
    high: Tensor | None = None

    def add(self, drawn: Tensor) -> None:
        n, mean = len(drawn), drawn.mean(0)
        squares = (drawn - mean).square().sum(0)
        low, high = drawn.amin(0), drawn.amax(0)
        if self.mean is None or self.squares is None or self.low is None or self.high is None:
            self.count, self.mean, self.squares, self.low, self.high = n, mean, squares, low, high
            return
        apart, total = mean - self.mean, self.count + n
        self.mean = self.mean + apart * (n / total)
        self.squares = self.squares + squares + apart.square() * (self.count * n / total)
        self.low, self.high = torch.minimum(self.low, low), torch.maximum(self.high, high)
        self.count = total


@dataclass(frozen=True, eq=False)
class Averaged:
    """Means with 95 % intervals, one tensor per input; `exact` where no draw differed."""

    mean: tuple[Tensor, ...]
    low: tuple[Tensor, ...]
    high: tuple[Tensor, ...]
    exact: tuple[Tensor, ...]
    count: int


def averaged(draw: Draw, *, at_once: int, samples: int | None, tell: Tell) -> Averaged:
    """The mean over draws. `at_once`: draws per call of `draw`; `samples`: how many fresh draws, else the pilot decides.

    Interval: mean +- t quantile(0.975, n - 1) s / sqrt(n). Source: Student 1908.
    """
    pilot = _drawn(draw, PILOT, at_once)
    count = max(2, samples) if samples is not None else _size(pilot)
    fresh = _drawn(draw, count, at_once, tell)
    quantile = student_t_quantile(0.975, count - 1)
    mean, low, high, exact = [], [], [], []
    for first, moments in zip(pilot, fresh, strict=True):
        centre, squares = _known(moments.mean), _known(moments.squares)
        spread = torch.maximum(_known(first.high), _known(moments.high)) - torch.minimum(_known(first.low), _known(moments.low))
        same = spread <= ROUNDING * torch.finfo(centre.dtype).eps * _largest(centre)
        half = torch.where(same, 0.0, quantile * (squares / (count - 1) / count).sqrt())
        mean.append(centre)
        low.append(centre - half)
        high.append(centre + half)
        exact.append(same)
    return Averaged(tuple(mean), tuple(low), tuple(high), tuple(exact), count)


def _drawn(draw: Draw, count: int, at_once: int, tell: Tell | None = None) -> list[_Moments]:
    found: list[_Moments] = []
    done = 0
    while done < count:
        parts = draw(min(at_once, count - done))
        found = found or [_Moments() for _ in parts]
        for moments, part in zip(found, parts, strict=True):
            moments.add(part)
        done += len(parts[0])
        if tell is not None:
            tell(done, count)
    return found


def _size(pilot: list[_Moments]) -> int:
    """Draws for which the root mean square half width is `AIM` of the largest value, on average over the samples."""
    variance = torch.stack([(_known(m.squares) / (m.count - 1)).flatten(1).mean(1) for m in pilot]).amax(0)  # (N,)
    largest = torch.stack([_known(m.mean).flatten(1).abs().amax(1) for m in pilot]).amax(0)
    needed = float((2 * variance.sqrt() / (AIM * largest.clamp(min=torch.finfo(largest.dtype).tiny))).square().median())
    return int(min(MOST, max(FEWEST, needed)))


def _largest(values: Tensor) -> Tensor:
    return values.flatten(1).abs().amax(1).reshape(-1, *[1] * (values.dim() - 1))


def _known(value: Tensor | None) -> Tensor:
    assert value is not None
    return value
