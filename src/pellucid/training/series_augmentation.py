"""Random changes of series (N, C, T) that end in NaN where they are shorter than T: how long each is, and its class, stay as they are.

    jitter[:s]        x[c, t] + e, e ~ N(0, s^2), each value for itself              Um et al. 2017, ICMI, section 3.1
    scaling[:s]       a[c] x[c, t], a ~ N(1, s^2), one factor for each channel       Um et al. 2017, section 3.1
    time_warp[:s]     x[c, p(t)], p grows by exp(v(t)), v broken lines through       Um et al. 2017, section 3.1 (there splines)
                      knots ~ N(0, s^2), brought back to the length of the series
    window_slice[:r]  a window of the share r, stretched to the whole length         Le Guennec et al. 2016, AALTD, section 3.1

Values between two steps lie on the straight line between them. Numbers are in standard deviations of the training part.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

AMOUNTS = {  # name -> default, least, most
    "jitter": (0.05, 0.0, 10.0),
    "scaling": (0.1, 0.0, 10.0),
    "time_warp": (0.2, 0.0, 2.0),
    "window_slice": (0.9, 0.1, 1.0),
}
_KNOTS = 6  # of a warp: four within, as Um et al. take, and both ends


@dataclass(frozen=True)
class SeriesChanges:
    """What happens to each training batch of series; zero (and a window of 1) is nothing."""

    jitter: float = 0.0
    scaling: float = 0.0
    time_warp: float = 0.0
    window_slice: float = 1.0

    def __call__(self, series: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """(N, C, T) changed; the draws come from `generator`, a CPU generator, or from torch's global one."""
        samples, channels, steps = series.shape
        device = series.device
        times = torch.arange(steps, device=device)
        lengths = ((~series.isnan().all(1)) * (times + 1)).amax(1, keepdim=True) if steps else times.new_zeros(samples, 1)  # (N, 1)
        if self.window_slice < 1:
            start = torch.rand(samples, 1, generator=generator).to(device) * (1 - self.window_slice)
            series = _at(series, (lengths - 1).clamp(min=0) * start + times * self.window_slice, lengths)
        if self.time_warp:
            knots = torch.randn(samples, 1, _KNOTS, generator=generator).to(device) * self.time_warp
            speeds = torch.nn.functional.interpolate(knots, size=max(steps, 2), mode="linear", align_corners=True)[:, 0].exp()
            passed = torch.cat([speeds.new_zeros(samples, 1), speeds[:, : steps - 1].cumsum(1)], 1)  # (N, T)
            last = passed.gather(1, (lengths - 1).clamp(min=0)).clamp(min=1e-9)
            series = _at(series, passed / last * (lengths - 1).clamp(min=0), lengths)
        if self.scaling:
            series = series * (1 + self.scaling * torch.randn(samples, channels, 1, generator=generator).to(series))
        if self.jitter:
            series = series + self.jitter * torch.randn(series.shape, generator=generator).to(series)
        return series


def _at(series: Tensor, places: Tensor, lengths: Tensor) -> Tensor:
    """The values of (N, C, T) at `places` (N, T) between the steps, NaN behind the `lengths` (N, 1) of the series."""
    places = torch.minimum(places.clamp(min=0.0), (lengths - 1).clamp(min=0).to(places.dtype))
    low = places.floor().long()
    high = torch.minimum(low + 1, (lengths - 1).clamp(min=0))
    first, second = (series.gather(2, index[:, None].expand_as(series)) for index in (low, high))
    between = torch.lerp(first, second, (places - low)[:, None].to(series.dtype))
    stands = torch.arange(series.shape[2], device=series.device) < lengths
    return between.masked_fill(~stands[:, None], torch.nan)
