"""One score of an explanation, with what it should be."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from pellucid.core.language import Text
from pellucid.core.numerics import mean_interval
from pellucid.core.records import Interval, Record


@dataclass(frozen=True, kw_only=True)
class FaithfulnessScore(Record):
    """A score over the samples, its interval, and whether it is what a faithful explanation reaches."""

    name: str
    value: float | None  # None: not tested
    interval: Interval | None = None  # 95 %, of the mean over samples
    expected: Text  # what a faithful explanation reaches
    passed: bool | None = None  # None: not tested, or reported only
    p_value: float | None = None  # of the chance that a map which knows nothing does as well
    samples: tuple[float, ...] = ()  # the score of each sample
    source: str = ""
    note: Text | None = None  # why it was not tested, or what to look at


def mean_of(values: Tensor, least: float = -math.inf, most: float = math.inf) -> tuple[float, Interval | None, tuple[float, ...]]:
    """The mean over samples (N,), its interval within what the score can be, and the values themselves."""
    listed = values.double().cpu()
    interval = mean_interval(listed.numpy()) if len(listed) > 1 else None
    if interval is not None:
        interval = replace(interval, low=max(interval.low, least), high=min(interval.high, most))
    return float(listed.mean()), interval, tuple(listed.tolist())


def share_of(own: Tensor, best: Tensor) -> tuple[float, Interval | None, tuple[float, ...]]:
    """(own correlation / best correlation)^2 of the means over samples (N,), with own's sign; its interval for this best; that of each.

    A best correlation below 0.1 counts as 0.1: where nothing explains more than 1 % of the variance, nothing does. Two samples have no
    interval: Student's factor of 12.7 says nothing of a share.
    """
    best = torch.maximum(own, best).double().clamp(min=0.1)
    mean, interval, _ = mean_of(own, -1, 1)

    def squared(value: float) -> float:
        ratio = value / float(best.mean())
        return abs(ratio) * ratio

    ratios = own.double() / best
    between = (
        None if interval is None or len(own) < 3 else replace(interval, low=squared(interval.low), high=min(1.0, squared(interval.high)))
    )
    return squared(mean), between, tuple((ratios.abs() * ratios).cpu().tolist())


def tail(drawn: Tensor, observed: float | Tensor) -> float:
    """(1 + how many of the draws reach the observed value) / (1 + draws), a valid p-value. Source: Phipson and Smyth 2010, section 3."""
    reach = float((drawn >= torch.as_tensor(observed, dtype=drawn.dtype) - 1e-9).sum())
    return (1 + reach) / (1 + len(drawn))


def rank_correlation(one: Tensor, other: Tensor) -> Tensor:
    """Spearman's correlation along the last axis, (..., P) -> (...); ties share their mean rank; 0 where nothing varies."""
    return correlation(_ranks(one), _ranks(other))


def correlation(one: Tensor, other: Tensor) -> Tensor:
    """Pearson's correlation along the last axis, whatever the scale; 0 where nothing varies."""
    return (_varying(one) * _varying(other)).sum(-1).clamp(-1, 1)


def _varying(values: Tensor) -> Tensor:
    """Less their mean, of length 1 along the last axis; 0 where nothing varies."""
    values = values.double()
    values = values / values.abs().amax(-1, keepdim=True).clamp(min=1e-300)  # first: squares of tiny values would be nothing
    values = values - values.mean(-1, keepdim=True)
    return values / values.norm(dim=-1, keepdim=True).clamp(min=1e-30)


def _ranks(values: Tensor) -> Tensor:
    below = (values[..., None, :] < values[..., :, None]).sum(-1)
    equal = (values[..., None, :] == values[..., :, None]).sum(-1)
    return below.double() + (equal.double() - 1) / 2
