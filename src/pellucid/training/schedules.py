"""Learning-rate schedules: pure functions of the step, so that resuming needs no state.

learning_rate(t) for t = 0, 1, ..., T - 1, where T is the number of updates and p the peak rate; later steps keep the last rate.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from pellucid.core.errors import OptionError, did_you_mean
from pellucid.core.language import text

WARMUP_FRACTION = 0.1  # of all steps, for "warmup"
RISE_FRACTION = 0.3  # of all steps, for "one_cycle"
START_DIVISOR, END_DIVISOR = 25.0, 1e4  # one_cycle starts at p / 25 and ends at p / 25 / 10000
STEP_FACTOR, STEP_STAGES = 0.1, 3  # "step" divides the rate by ten after each third


def constant(step: float, total_steps: int, peak: float) -> float:
    """p at every step."""
    return peak


def step_decay(step: float, total_steps: int, peak: float) -> float:
    """p * 0.1 ** floor(t / ceil(T / 3)): a tenth after each third. Source: He et al. 2016, section 4.2 divides by ten at set epochs."""
    return peak * STEP_FACTOR ** (min(step, total_steps - 1) // -(-total_steps // STEP_STAGES))


def cosine(step: float, total_steps: int, peak: float) -> float:
    """p * (1 + cos(pi t / T)) / 2. Source: Loshchilov and Hutter 2017 (SGDR), equation 5, without restarts."""
    return peak * 0.5 * (1.0 + math.cos(math.pi * min(step, total_steps - 1) / total_steps))


def one_cycle(step: float, total_steps: int, peak: float) -> float:
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


def warmup(step: float, total_steps: int, peak: float) -> float:
    """Up in a straight line over W = ceil(T / 10) steps, p (t + 1) / W, then down in a straight line, p (T - t) / (T - W).

    Source: Goyal et al. 2017, section 2.2 (gradual warm-up); the straight way down is Devlin et al. 2019's (BERT, appendix A.2).
    """
    step = min(step, total_steps - 1)
    rise = math.ceil(WARMUP_FRACTION * total_steps)
    if step < rise:
        return peak * ((step + 1) / rise)
    return peak * ((total_steps - step) / (total_steps - rise))


def linear(step: float, total_steps: int, peak: float) -> float:
    """p (T - t) / T: down in a straight line from the first step on. Source: Devlin et al. 2019 (BERT), appendix A.2, without warm-up."""
    return peak * ((total_steps - min(step, total_steps - 1)) / total_steps)


SCHEDULES: dict[str, Callable[[float, int, float], float]] = {
    "constant": constant,
    "step": step_decay,
    "cosine": cosine,
    "one_cycle": one_cycle,
    "warmup": warmup,
    "linear": linear,
}


# The share of a schedule after which the rate only falls; a schedule that is not named here never falls.
RISES = {"step": 0.0, "cosine": 0.0, "one_cycle": RISE_FRACTION, "warmup": WARMUP_FRACTION, "linear": 0.0}


@dataclass(frozen=True)
class Turn:
    """A change of plan: from update `step` on, training ends after update number `total`."""

    step: int
    total: int
    reason: str  # "clock": another speed than planned; "learnt": nothing more is won; "end": the time is up

    def to_dict(self) -> dict[str, Any]:
        return {"step": self.step, "total": self.total, "reason": self.reason}

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Turn:
        return cls(int(stored["step"]), int(stored["total"]), str(stored["reason"]))


@dataclass(frozen=True)
class Schedule:
    """A named schedule over `total_steps` updates with the peak rate `peak`: `Schedule("cosine", 1000, 0.1).learning_rate(0)` is 0.1.

    `turns` are changes of plan on the way. From a turn on, what is left of the schedule is stretched or shortened to the updates that are
    left: the rate goes on where it was and comes to the schedule's end at the new last update, whatever the speed was before.
    """

    name: str
    total_steps: int
    peak: float
    turns: tuple[Turn, ...] = ()
    _positions: tuple[float, ...] = field(init=False, repr=False, compare=False)  # of the turns

    def __post_init__(self) -> None:
        object.__setattr__(self, "total_steps", max(self.total_steps, 1))
        if self.name not in SCHEDULES:
            raise OptionError(
                text("schedule is {name!r}", name=self.name),
                text("one of the {count} schedules", count=len(SCHEDULES)),
                did_you_mean(self.name, SCHEDULES),
            )
        positions: list[float] = []
        for index, turn in enumerate(self.turns):
            positions.append(_position(turn.step, self.total_steps, self.turns[:index], positions))
        object.__setattr__(self, "_positions", tuple(positions))

    @property
    def end(self) -> int:
        """How many updates there will be, as far as is known now."""
        return self.turns[-1].total if self.turns else self.total_steps

    @property
    def decays(self) -> bool:
        return self.name in RISES

    def has_risen(self, step: int) -> bool:
        """Whether the rate can only fall from update `step` on; never so where the schedule does not decay."""
        return self.decays and self.position(step) >= RISES[self.name] * self.total_steps

    def position(self, step: int) -> float:
        """Where update `step` stands on the schedule as it was planned at first: `step` itself until the first turn."""
        return _position(step, self.total_steps, self.turns, self._positions)

    def turned(self, turn: Turn) -> Schedule:
        """The same schedule with one more change of plan, not before the last."""
        return replace(self, turns=(*self.turns, turn))

    def learning_rate(self, step: int) -> float:
        return SCHEDULES[self.name](self.position(step) if self.turns else step, self.total_steps, self.peak)

    def apply(self, optimizer: torch.optim.Optimizer, step: int) -> None:
        """Set the rate of every parameter group for update number `step`, counted from 0."""
        rate = self.learning_rate(step)
        for group in optimizer.param_groups:
            if isinstance(group["lr"], Tensor):  # a user's optimiser may keep its rate on the device
                group["lr"].fill_(rate)
            else:
                group["lr"] = rate


def _position(step: int, total_steps: int, turns: tuple[Turn, ...], positions: Sequence[float]) -> float:
    """From the last turn at or before `step`, a straight line to the last position at the last update."""
    for turn, start in zip(reversed(turns), reversed(positions), strict=True):
        if turn.step <= step:
            last = max(turn.total - 1, turn.step)
            share = (step - turn.step) / (last - turn.step) if last > turn.step else 1.0
            return start + (total_steps - 1 - start) * min(share, 1.0)
    return step
