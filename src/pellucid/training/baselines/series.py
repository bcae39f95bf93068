"""What classical models see of series (N, C, T) that end in NaN: a few numbers that sum each up, and for the nearest neighbour the series
themselves, stretched to one length.

Of each channel: mean, standard deviation, minimum, maximum, slope of the line of least squares, autocorrelation at lags of 1, 2, 4 and 8
steps, the mean size of a step's change, how often the mean is crossed, where maximum and minimum stand; of each quarter mean, standard
deviation and slope. And the length, where lengths differ.

Source: Deng, Runger, Tuv and Vladimir, A time series forest for classification and feature extraction, 2013, section 3.1 (mean, deviation,
slope of intervals); Bagnall et al., The great time series classification bake off, 2017, section 2 (nearest neighbour, 1-NN).
"""

from __future__ import annotations

import torch
from torch import Tensor

LAGS = (1, 2, 4, 8)
PARTS = 4
MOST_STEPS = 512  # of a series whose neighbours are looked for
_PER_CHANNEL = 5 + len(LAGS) + 4 + 3 * PARTS


def summary_width(channels: int) -> int:
    return channels * _PER_CHANNEL + 1


def summary(series: Tensor) -> Tensor:
    """(N, C, T) -> (N, C * 25 + 1)."""
    steps = series.shape[2]
    stands = ~series.isnan()  # (N, C, T)
    x = torch.nan_to_num(series)
    times = torch.arange(steps, dtype=series.dtype).expand_as(series)
    lengths = ((~series.isnan().all(1)) * torch.arange(1, steps + 1)).amax(1)  # (N,)
    mean, deviation, slope = _moments(x, times, stands)
    centred = torch.where(stands, x - mean[..., None], 0.0)
    energy = centred.square().sum(2).clamp(min=1e-12)
    lagged = [(centred[..., lag:] * centred[..., : steps - lag]).sum(2) / energy if lag < steps else torch.zeros_like(mean) for lag in LAGS]
    pairs = (stands[..., 1:] & stands[..., :-1]).to(x.dtype)
    count = pairs.sum(2).clamp(min=1)
    change = ((x[..., 1:] - x[..., :-1]).abs() * pairs).sum(2) / count
    crossings = (((centred[..., 1:] > 0) != (centred[..., :-1] > 0)) * pairs).sum(2) / count
    high, low = x.masked_fill(~stands, -torch.inf), x.masked_fill(~stands, torch.inf)
    length = lengths[:, None].clamp(min=1).to(x.dtype)
    numbers = [
        mean,
        deviation,
        high.amax(2),
        low.amin(2),
        slope,
        *lagged,
        change,
        crossings,
        high.argmax(2) / length,
        low.argmin(2) / length,
    ]
    quarter = (torch.arange(steps)[None] * PARTS // lengths.clamp(min=1)[:, None])[:, None]  # (N, 1, T)
    for place in range(PARTS):
        numbers += _moments(x, times, stands & (quarter == place))
    return torch.cat([torch.stack(numbers, 2).flatten(1), lengths[:, None].to(x.dtype)], 1).nan_to_num(posinf=0.0, neginf=0.0)


def _moments(x: Tensor, times: Tensor, stands: Tensor) -> list[Tensor]:
    """Mean, standard deviation and slope (per step) over the steps that stand, (N, C) each."""
    count = stands.sum(2).clamp(min=1)
    mean = (x * stands).sum(2) / count
    centred = torch.where(stands, x - mean[..., None], 0.0)
    middle = (times * stands).sum(2) / count
    away = torch.where(stands, times - middle[..., None], 0.0)
    return [mean, (centred.square().sum(2) / count).sqrt(), (away * centred).sum(2) / away.square().sum(2).clamp(min=1e-12)]


def stretched(series: Tensor, steps: int) -> Tensor:
    """(N, C, T) -> (N, C * steps): each series read at `steps` places evenly from its first step to its last, on straight lines."""
    lengths = ((~series.isnan().all(1)) * torch.arange(1, series.shape[2] + 1)).amax(1)
    last = (lengths - 1).clamp(min=0)[:, None]
    places = torch.linspace(0, 1, steps)[None] * last  # (N, steps)
    low = places.floor().long()
    high = torch.minimum(low + 1, last)
    shape = (-1, series.shape[1], -1)
    first, second = (torch.nan_to_num(series).gather(2, index[:, None].expand(*shape)) for index in (low, high))
    return torch.lerp(first, second, (places - low)[:, None].to(series.dtype)).flatten(1)
