"""The learning-rate range test: raise the rate a little with every step on a throw-away copy, and see where the loss falls fastest.

Source: L. N. Smith, "Cyclical Learning Rates for Training Neural Networks", 2017, section 3.3. The rate chosen is a tenth of the one at
which the smoothed loss is lowest: common practice, and steady from seed to seed. The steepest point of the curve, the other customary
choice, is not: on small data it differs tenfold between seeds, mostly to the slow side.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from pellucid.core.errors import ModelError
from pellucid.core.language import text

SMOOTHING = 0.9  # of the exponential average of the losses
STOP_RATIO = 4.0  # the loss is this many times its lowest value: the rate is too high, no need to go on
SAFETY = 10.0  # chosen rate = (rate of the lowest smoothed loss) / SAFETY


@dataclass(frozen=True)
class RangeTest:
    """What the range test saw and chose."""

    learning_rate: float
    rates: tuple[float, ...]
    losses: tuple[float, ...]  # smoothed
    seconds_per_step: float

    def to_dict(self) -> dict[str, Any]:
        return {"learning_rate": self.learning_rate, "rates": list(self.rates), "losses": list(self.losses)}


def range_test(
    network: nn.Module,
    make_optimizer: Callable[[nn.Module, float], torch.optim.Optimizer],
    loss_function: Callable[[Tensor, Tensor], Tensor],
    batches: Iterable[tuple[Tensor, Tensor]],
    *,
    default: float,
    steps: int = 100,
) -> RangeTest:
    """Choose a learning rate between default / 30 and default * 30.

    `batches` yields at least one batch and is read once; the network given is not changed. `default` is the optimiser's customary rate: the
    middle of the range searched, and the answer where the test says nothing (a loss that never falls).
    """
    try:
        trial = copy.deepcopy(network)
    except Exception as error:  # a factory may have made a network that cannot be copied
        raise ModelError(
            text("your network cannot be copied: {error}", error=f"{type(error).__name__}: {error}"),
            text("a network that copy.deepcopy can copy, because the range test trains a copy"),
            text("set the learning rate: --learning-rate 0.001"),
        ) from error
    trial.train()
    low, high = default / 100, default * 100
    optimizer = make_optimizer(trial, low)
    rates: list[float] = []
    losses: list[float] = []
    average, start = 0.0, time.perf_counter()
    for step, (inputs, targets) in enumerate(batches):
        if step == steps:
            break
        rate = low * (high / low) ** (step / max(steps - 1, 1))
        for group in optimizer.param_groups:
            group["lr"] = rate
        loss = loss_function(trial(inputs), targets)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        value = loss.item()
        if not math.isfinite(value):
            break
        average = SMOOTHING * average + (1 - SMOOTHING) * value
        rates.append(rate)
        losses.append(average / (1 - SMOOTHING ** (step + 1)))  # corrected for the start at zero
        if step > 10 and losses[-1] > STOP_RATIO * min(losses):
            break
    seconds_per_step = (time.perf_counter() - start) / max(len(rates), 1)
    return RangeTest(_choose(rates, losses, default), tuple(rates), tuple(losses), seconds_per_step)


def _choose(rates: list[float], losses: list[float], default: float) -> float:
    if len(losses) < 10:
        return default
    lowest = min(range(len(losses)), key=losses.__getitem__)
    if lowest < 5 or losses[0] - losses[lowest] < 0.02 * abs(losses[0]):
        return default  # nothing was learnt at any rate: the test has nothing to say
    chosen = min(max(rates[lowest] / SAFETY, default / 30), default * 30)
    return float(f"{chosen:.2g}")  # two digits are all the test can tell
