"""Learning-rate schedules: pure functions of the step, so that resuming needs no state.

learning_rate(t) for t = 0, 1, ..., T - 1, where T is the number of updates and p the peak rate; later steps keep the last rate.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from pellucid.core.errors import OptionError, did_you_mean
from pellucid.core.language import text

WARMUP_FRACTION = 0.1  # of all steps, for "warmup"
RISE_FRACTION = 0.3  # of all steps, for "one_cycle"
START_DIVISOR, END_DIVISOR = 25.0, 1e4  # one_cycle starts at p / 25 and ends at p / 25 / 10000
STEP_FACTOR, STEP_STAGES = 0.1, 3  # "step" divides the rate by ten after each third


def constant(step: int, total_steps: int, peak: float) -> float:
    """p at every step."""
    return peak


def step_decay(step: int, total_steps: int, peak: float) -> float:
    """p * 0.1 ** floor(t / ceil(T / 3)): a tenth after each third. Source: He et al. 2016, section 4.2 divides by ten at set epochs."""
    return peak * STEP_FACTOR ** (min(step, total_steps - 1) // -(-total_steps // STEP_STAGES))


def cosine(step: int, total_steps: int, peak: float) -> float:
    """p * (1 + cos(pi t / T)) / 2. Source: Loshchilov and Hutter 2017 (SGDR), equation 5, without restarts."""
    return peak * 0.5 * (1.0 + math.cos(math.pi * min(step, total_steps - 1) / total_steps))


def one_cycle(step: int, total_steps: int, peak: float) -> float:
    """Up from p / 25 to p along half a cosine in the first 30 % of the steps, then down to p / 250000 along another.

    Source: Smith and Topin 2018 (super-convergence), in the cosine form of torch.optim.lr_scheduler.OneCycleLR, step for step. The momentum
    is left alone: it stays what the user or the optimiser's custom says.
    """
    last = total_steps - 1
    rise = RISE_FRACTION * total_steps - 1.0
    step = min(step, last)
    if step <= rise:
        low, share = peak / START_DIVISOR, step / rise if rise > 0 else 1.0
        return peak + (low - peak) * 0.5 * (1.0 + math.cos(math.pi * share))
    low, share = peak / START_DIVISOR / END_DIVISOR, (step - rise) / (last - rise) if last > 0 else 0.0
    return low + (peak - low) * 0.5 * (1.0 + math.cos(math.pi * share))


def warmup(step: int, total_steps: int, peak: float) -> float:
    """Up in a straight line over W = ceil(T / 10) steps, p (t + 1) / W, then down in a straight line, p (T - t) / (T - W).

    Source: Goyal et al. 2017, section 2.2 (gradual warm-up); the straight way down is Devlin et al. 2019's (BERT, appendix A.2).
    """
    step = min(step, total_steps - 1)
    rise = math.ceil(WARMUP_FRACTION * total_steps)
    if step < rise:
        return peak * ((step + 1) / rise)
    return peak * ((total_steps - step) / (total_steps - rise))


SCHEDULES: dict[str, Callable[[int, int, float], float]] = {
    "constant": constant,
    "step": step_decay,
    "cosine": cosine,
    "one_cycle": one_cycle,
    "warmup": warmup,
}


@dataclass(frozen=True)
class Schedule:
    """A named schedule over `total_steps` updates with the peak rate `peak`: `Schedule("cosine", 1000, 0.1).learning_rate(0)` is 0.1."""

    name: str
    total_steps: int
    peak: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "total_steps", max(self.total_steps, 1))
        if self.name not in SCHEDULES:
            raise OptionError(
                text("schedule is {name!r}", name=self.name),
                text("one of the {count} schedules", count=len(SCHEDULES)),
                did_you_mean(self.name, SCHEDULES),
            )

    def learning_rate(self, step: int) -> float:
        return SCHEDULES[self.name](step, self.total_steps, self.peak)

    def apply(self, optimizer: torch.optim.Optimizer, step: int) -> None:
        """Set the rate of every parameter group for update number `step`, counted from 0."""
        rate = SCHEDULES[self.name](step, self.total_steps, self.peak)
        for group in optimizer.param_groups:
            if isinstance(group["lr"], Tensor):  # a user's optimiser may keep its rate on the device
                group["lr"].fill_(rate)
            else:
                group["lr"] = rate
