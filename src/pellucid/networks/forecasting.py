"""What stands around every network that forecasts: a linear forecast to start from, the window on its own scale, quantiles in order.

A network (N, C, L) -> (N, h Q) says only how the forecast departs from a linear one of the same window, so that a series that rises beyond
all that was seen in training is no other problem than before. Sources: Zeng et al. 2023 (one linear layer over the lags, the last value
subtracted); Oreshkin et al. 2020 (N-BEATS: networks for the residuals of a forecast); Kim et al. 2022 (RevIN: a window's own level and
scale, given back to the answer).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_SMALLEST = 0.05  # of the training part's deviation: a window that hardly varies is not blown up
_PENALTIES = tuple(10.0**power for power in range(-1, 6))
_FILLINGS = 20  # half of the targets missing at most: the filling is then within about a millionth
_FITTED = 0.75  # of the training windows, the earliest: the penalty is chosen on the rest
MOST_ENTRIES = 2**25  # numbers of the windows that a linear forecast is fitted to: 256 MB


def a_season_before(inputs: Tensor, horizon: int, season: int, season_channel: bool) -> Tensor:
    """(N, h) of windows (N, C, L): the seasonal naive forecast y_(t + j) = y_(t + j - m), the latest of its season that is known.

    With `season_channel` the channel 1 holds the value a season before what is forecast; without a season it is the last value.
    """
    if season_channel:
        return inputs[:, 1, -horizon:]
    at = torch.arange(horizon, device=inputs.device) % season - season
    return inputs[:, 0, at.clamp_min(-inputs.shape[2])]


@dataclass
class Linear:
    """y = W (x - mean) / scale + b over all entries of a window, of the values themselves or of their distances to the last one."""

    weight: Tensor  # (h, C L)
    bias: Tensor  # (h,)
    mean: Tensor  # (C L,)
    scale: Tensor
    relative: bool
    penalty: float

    def __call__(self, windows: Tensor) -> Tensor:  # (N, C, L) -> (N, h)
        return linear_forecast(windows, self.weight, self.bias, self.mean, self.scale, self.relative)


def linear_forecast(windows: Tensor, weight: Tensor, bias: Tensor, mean: Tensor, scale: Tensor, relative: bool | Tensor) -> Tensor:
    last = windows[:, :1, -1:] * relative
    features = torch.cat([windows[:, :1] - last, windows[:, 1:]], 1).flatten(1)
    return F.linear((features - mean) / scale, weight, bias) + last[:, 0]


def fit_linear(part: Any) -> Linear:
    """Ridge regression of the following steps on the windows of a training part, in closed form; its penalty, and whether the last value is
    subtracted first, by the mean absolute error on the latest quarter of the windows.

    Source: Hoerl and Kennard 1970. The windows are a part's in the order of time (of one series after the other); those between the two
    pieces that would overlap are left out.
    """
    width = math.prod(next(iter(part.batches(1)))[0].shape[1:])
    every = max(1, math.ceil(len(part) * width / MOST_ENTRIES))
    batches = list(part.batches(2048, torch.arange(0, len(part), every)))
    windows, targets = torch.cat([x for x, _ in batches]).cpu(), torch.cat([y for _, y in batches]).cpu().double()
    n, horizon = targets.shape
    cut = max(1, int(_FITTED * n))
    early = slice(0, max(1, cut - min(-(-horizon // every), n // 10)))
    best: tuple[float, float, bool] | None = None
    for relative in (False, True):
        features, wanted = _problem(windows, targets, relative)
        mean, scale = _standard(features[early])
        held_out = (features[cut:] - mean) / scale
        for penalty, (weight, bias) in _solutions((features[early] - mean) / scale, wanted[early], _PENALTIES):
            error = float((held_out @ weight.T + bias - wanted[cut:]).abs().nanmean()) if cut < n else penalty
            if best is None or error < best[0]:
                best = (error, penalty, relative)
    assert best is not None
    _, penalty, relative = best
    features, wanted = _problem(windows, targets, relative)
    mean, scale = _standard(features)
    _, (weight, bias) = next(_solutions((features - mean) / scale, wanted, (penalty,)))
    return Linear(weight.float(), bias.float(), mean.float(), scale.float(), relative, penalty)


def _problem(windows: Tensor, targets: Tensor, relative: bool) -> tuple[Tensor, Tensor]:
    last = windows[:, :1, -1:].double() * relative
    features = torch.cat([windows[:, :1].double() - last, windows[:, 1:].double()], 1).flatten(1)
    return features, targets - last[:, 0]


def _standard(features: Tensor) -> tuple[Tensor, Tensor]:
    scale = features.std(0, correction=0)
    return features.mean(0), torch.where(scale > 1e-6, scale, 1.0)


def _solutions(features: Tensor, targets: Tensor, penalties: tuple[float, ...]) -> Any:
    """(penalty, (W (h, F), b (h,))) of each penalty, from one decomposition.

    Targets without a value are filled with what the fit says of them until it stays (Healy and Westmacott 1956), which gives the fit of the
    others alone.
    """
    missing = targets.isnan()
    start = targets.nanmean(0).nan_to_num()
    values, vectors = torch.linalg.eigh(features.T @ features)
    for penalty in penalties:

        def solved(filled: Tensor, penalty: float = penalty) -> tuple[Tensor, Tensor]:
            bias = filled.mean(0)
            projected = vectors.T @ (features.T @ (filled - bias))
            return (vectors @ (projected / (values.clamp_min(0)[:, None] + penalty))).T, bias

        weight, bias = solved(torch.where(missing, start, targets))
        for _ in range(_FILLINGS if missing.any() else 0):
            weight, bias = solved(torch.where(missing, features @ weight.T + bias, targets))
        yield penalty, (weight, bias)


class Forecaster(nn.Module):
    """With x_1 ... x_L the target's past in a window, l its last value, s its deviation and f_j the linear forecast of step j:

        u = (x - l) / s, the other channels as they are;   c, e = network(u), of each step j: a centre and Q - 1 distances
        m_j = f_j + s c_j                                  the median
        q_j = m_j +- s w_k sum softplus(e)                 the other quantiles, in order by construction

    The linear forecast is fitted to the training part before the first step and stays; the network's last layer starts at zero, so that
    training begins at the linear forecast. w_k is 1 until `calibrate` has compared the intervals with data that the weights were not
    fitted to.

    Args:
        network: (N, C, L) -> (N, h Q), or (N, h) where only one value is forecast.
        input_shape: (C, L).
        horizon: h.
        quantiles: the Q levels, rising, odd in number and the median in the middle; () for one value.
        season_channel: whether channel 1 is the target too, a season before what is forecast.
    """

    relative: Tensor
    widths: Tensor
    starts: Tensor

    def __init__(
        self, network: nn.Module, input_shape: tuple[int, ...], *, horizon: int, quantiles: tuple[float, ...], season_channel: bool
    ) -> None:
        super().__init__()
        self.network, self.horizon, self.quantiles, self.season_channel = network, horizon, quantiles, season_channel
        features, half = math.prod(input_shape), len(quantiles) // 2
        self.register_buffer("weight", torch.zeros(horizon, features))
        self.register_buffer("bias", torch.zeros(horizon))
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("scale", torch.ones(features))
        self.register_buffer("relative", torch.ones(()))
        self.register_buffer("starts", torch.zeros(horizon, 2, half))  # distances at first, before the softplus
        self.register_buffer("widths", torch.ones(half))  # w_k, from the inside outwards

    def forward(self, inputs: Tensor) -> Tensor:  # (N, C, L) -> (N, h Q) or (N, h)
        last, spread = self._level(inputs)
        own = 1 + self.season_channel  # channels in the target's unit
        answer = self.network(torch.cat([(inputs[:, :own] - last) / spread[..., None], inputs[:, own:]], 1))
        linear = self.linear(inputs)
        if not self.quantiles:
            return linear + spread * answer
        half = len(self.quantiles) // 2
        answer = answer.reshape(len(answer), self.horizon, len(self.quantiles))
        centre = (linear + spread * answer[..., 0])[..., None]  # (N, h, 1)
        distances = F.softplus(answer[..., 1:].reshape(*answer.shape[:2], 2, half) + self.starts).cumsum(-1)  # (N, h, 2, half)
        distances = (distances * self.widths).cummax(-1).values * spread[..., None, None]
        return torch.cat([centre - distances[:, :, 0].flip(-1), centre, centre + distances[:, :, 1]], 2).flatten(1)

    def linear(self, inputs: Tensor) -> Tensor:
        """(N, h) the forecast that the network departs from."""
        return linear_forecast(inputs, self.weight, self.bias, self.mean, self.scale, self.relative)  # pyright: ignore[reportArgumentType]

    @staticmethod
    def _level(inputs: Tensor) -> tuple[Tensor, Tensor]:
        """(N, 1, 1) the last value and (N, 1) the deviation of the target."""
        past = inputs[:, :1]
        middle = past.mean(2)[..., None]
        return past[:, :, -1:], (past - middle).square().mean(2).sqrt().clamp_min(_SMALLEST)

    @torch.no_grad()
    def initialize_from_part(self, part: Any) -> None:
        """Fit the linear forecast, take the distances from its errors, and let the network's last layer start at zero."""
        linear = fit_linear(part)
        for name in ("weight", "bias", "mean", "scale", "relative"):
            getattr(self, name).copy_(torch.as_tensor(getattr(linear, name)))
        output = getattr(self.network, "output", None)
        if isinstance(output, nn.Linear) and type(self.network).__module__.startswith("pellucid."):  # a user's own stays as it is
            for parameter in output.parameters():
                nn.init.zeros_(parameter)
        if not self.quantiles:
            return
        errors: list[Tensor] = []
        for windows, targets in part.batches(2048, torch.arange(0, len(part), max(1, len(part) // 20_000))):
            errors.append((targets - linear(windows)) / self._level(windows)[1])
        found = torch.cat(errors).double()  # (n, h)
        half = len(self.quantiles) // 2
        upper = [torch.nanquantile(found, level, 0).nan_to_num() for level in self.quantiles[half + 1 :]]
        lower = [-torch.nanquantile(found, level, 0).nan_to_num() for level in self.quantiles[:half][::-1]]
        for side, reached in enumerate((lower, upper)):
            inner = torch.zeros_like(reached[0])
            for k, distance in enumerate(reached):
                step = (distance - inner).clamp_min(0.01)
                self.starts[:, side, k] = step.expm1().log().float()
                inner = inner + step

    @torch.no_grad()
    def calibrate(self, outputs: Tensor, targets: Tensor) -> None:
        """Widen (or narrow) each interval by the factor with which it would have held its share of `targets`.

        The factor is the quantile of |y - m| / |q - m|, on the side of m where y lies. Source: conformalised quantile regression, Romano,
        Patterson and Candes 2019, with distances in units of the interval.

        Args:
            outputs: (N, h Q) of this network. targets: (N, h), of data that the weights were not fitted to.
        """
        half = len(self.quantiles) // 2
        found = outputs.reshape(len(outputs), self.horizon, -1)
        if not half or not len(found):
            return
        error = targets - found[..., half]
        for k in range(half):
            side = torch.where(error > 0, found[..., half + 1 + k] - found[..., half], found[..., half] - found[..., half - 1 - k])
            ratios = (error.abs() / side.clamp_min(1e-9)).flatten().double()
            ratios = ratios[~ratios.isnan()].sort().values  # steps without a value say nothing
            share = self.quantiles[half + 1 + k] - self.quantiles[half - 1 - k]
            self.widths[k] *= ratios[min(len(ratios) - 1, math.ceil((len(ratios) + 1) * share) - 1)].float()
