"""A time budget: the whole command, from its first instant to the report, takes the time it was given.

Before training, what an update and the final measuring take is measured, and the number of updates follows from it. While training, the
`Timekeeper` looks at the clock: where the present speed would miss the end (other programs want the processor), it moves the last update
and with it what is left of the learning-rate schedule, so that the rate has come down when the time is up. Every such change is written
into the run before it takes effect, and a training that is gone on with reads it: the updates made before are made again bit for bit.
"""

from __future__ import annotations

import itertools
import math
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from pellucid.core.errors import OptionError
from pellucid.core.language import Text, text
from pellucid.core.wording import duration
from pellucid.training.schedules import Schedule, Turn

clock = time.perf_counter  # seconds; tests put their own here

AIM = 0.97  # of the budget: where the command should end
TOLERANCE = 0.015  # of the budget: an end that is missed by less needs no change of plan
TOLERANCE_OF_REST = 0.08  # of the time that is left: far from the end the speed may still change back
WINDOW = 0.05  # of the budget: the speed is that of the latest updates
FEWEST_MARKS = 5  # so that one long pause is not taken for the speed
WIND_DOWN = 0.2  # of the updates made so far: how many more bring the rate down when nothing more is learnt


@dataclass
class Budget:
    """How long the command may take, and since when it runs."""

    seconds: float
    started: float  # the clock's reading at the command's first instant
    earlier: float = 0.0  # seconds that earlier sessions of the same training have spent

    def spent(self) -> float:
        return self.earlier + clock() - self.started

    def left(self) -> float:
        """Seconds until the command should have ended; negative when it should have ended already."""
        return AIM * self.seconds - self.spent()

    def require(self, measuring: float) -> None:
        """Refuse a budget that leaves no time before the `measuring` (seconds) at the end.

        Raises:
            OptionError: it is too short; the message names the least that could do.
        """
        if self.left() <= measuring:
            raise self.too_short(measuring)

    def too_short(self, measuring: float, training: float = 0.0) -> OptionError:
        """The refusal, with a budget that would hold `training` and `measuring` (seconds) as well."""
        return OptionError(
            text("the budget is {budget}; {spent} went before the first step, and measuring the result takes {measuring}",
                 budget=duration(self.seconds), spent=duration(self.spent()), measuring=duration(measuring)),
            text("a budget that holds at least a few steps of training"),
            text("give it more time: --budget {least}s", least=math.ceil(1.2 * (self.spent() + measuring + training))),
        )  # fmt: skip


class Timekeeper:
    """Holds one training to its budget. It keeps nothing that a checkpoint must hold: the schedule's turns are in the run."""

    def __init__(
        self,
        budget: Budget,
        *,
        tail_seconds: float,
        step_seconds: float | None,
        epoch_end_seconds: float,
        steps_per_epoch: int,
        most_steps: int,
        write: Callable[[Schedule], None],
    ) -> None:
        """`tail_seconds`: what comes after the last update; `epoch_end_seconds`: measuring after each epoch; both as measured before
        training, when an update took `step_seconds`. `most_steps`: no more updates than that, whatever time is left. `write` writes the
        schedule's turns into the run.
        """
        self.budget, self.tail_seconds, self.step_seconds = budget, tail_seconds, step_seconds
        self.epoch_end_seconds, self.steps_per_epoch, self.most_steps = epoch_end_seconds, max(1, steps_per_epoch), most_steps
        self.write = write
        self.begin(0)

    def begin(self, step: int) -> None:
        """A session of training begins, `step` updates being made."""
        self._outside = 0.0  # seconds since then that went into measuring after epochs
        self._begun = (self.budget.spent(), step)
        self._marks = deque([self._begun])  # (seconds in updates, updates made) at the latest looks
        self._last_turn = -math.inf

    def epoch_measured(self, seconds: float) -> None:
        """Measuring after an epoch took `seconds`."""
        self._outside += seconds
        self.epoch_end_seconds += 0.5 * (seconds - self.epoch_end_seconds)

    def seconds_left(self) -> float:
        """Until the last update should be made."""
        slower = 1.0
        (since, first), (until, last) = self._begun, self._marks[-1]
        if self.step_seconds and last > first:  # what comes after training will be slower too, as training was on the whole
            slower = max(1.0, (until - since) / (last - first) / self.step_seconds)
        return self.budget.left() - min(self.tail_seconds * slower, max(self.tail_seconds, 0.5 * self.budget.seconds))

    def _seconds_per_step(self) -> float | None:
        """The present speed: measuring after epochs is left out, and so is the slowest stretch, which may hold a pause."""
        stretches = [(until - since, last - first) for (since, first), (until, last) in itertools.pairwise(self._marks) if last > first]
        if len(stretches) > 3:
            stretches.remove(max(stretches, key=lambda stretch: stretch[0] / stretch[1]))
        steps = sum(made for _, made in stretches)
        return sum(seconds for seconds, _ in stretches) / steps if steps else None

    def look(self, step: int, schedule: Schedule) -> Schedule:
        """After update number `step`: the schedule as it was, or with a turn, already written, where the end would be missed."""
        if is_decided(schedule, step):
            return schedule
        now = self.budget.spent()
        window = max(WINDOW * self.budget.seconds, 0.2)
        self._marks.append((now - self._outside, step))
        while len(self._marks) > FEWEST_MARKS and self._marks[-1][0] - self._marks[1][0] >= window:
            self._marks.popleft()
        left = self.seconds_left()
        if left <= 0:
            return schedule if schedule.end <= step + 1 else self._turned(schedule, Turn(step, step + 1, "end"), now)
        speed = self._seconds_per_step()
        if speed is None:
            return schedule
        cost = speed + self.epoch_end_seconds / self.steps_per_epoch
        if now - self._last_turn < window / 2 < (schedule.end - step) * cost:  # no change of plan at every breath
            return schedule
        end = min(step + max(1, int(left / cost)) if cost > 0 else self.most_steps, self.most_steps)
        if end > schedule.end and is_winding_down(schedule):
            return schedule
        if abs(end - schedule.end) * cost <= max(TOLERANCE * self.budget.seconds, TOLERANCE_OF_REST * left):
            return schedule
        return self._turned(schedule, Turn(step, max(end, step + 1), "learnt" if is_winding_down(schedule) else "clock"), now)

    def wind_down(self, step: int, schedule: Schedule) -> Schedule | None:
        """Nothing more is learnt: bring the rate down in a few more updates and end early. None: there is nothing to bring down.

        A schedule that has not yet risen to its highest rate has not had its chance; it goes on.
        """
        if is_decided(schedule, step):
            return schedule
        if not schedule.decays:
            return None
        steps = max(1, math.ceil(WIND_DOWN * step))
        if is_winding_down(schedule) or not schedule.has_risen(step) or step + steps >= schedule.end:
            return schedule
        return self._turned(schedule, Turn(step, step + steps, "learnt"), self.budget.spent())

    def fills(self, schedule: Schedule) -> bool:
        """Whether training goes on until the time is up, and not only until there is nothing more to do."""
        return schedule.end < self.most_steps and not is_winding_down(schedule)

    def reason_to_stop(self, schedule: Schedule) -> tuple[str, Text]:
        """After the last update: why it was the last, for a program and for a person."""
        budget = duration(self.budget.seconds)
        if is_winding_down(schedule):
            return "patience", text(
                "nothing more was learnt, and the learning rate was brought to its end before the time budget of {budget} was used up",
                budget=budget,
            )
        if was_cut_short(schedule):
            return "budget", text("the time budget of {budget} was used up before the learning rate had come to its end", budget=budget)
        return "budget", text("the time budget of {budget} is used up", budget=budget)

    def _turned(self, schedule: Schedule, turn: Turn, now: float) -> Schedule:
        schedule = schedule.turned(turn)
        self.write(schedule)
        self._last_turn = now
        return schedule


def is_decided(schedule: Schedule, step: int) -> bool:
    """Whether updates are made again that a session before this one made: what it decided for later ones stands."""
    return bool(schedule.turns) and schedule.turns[-1].step > step


def is_winding_down(schedule: Schedule) -> bool:
    """Whether training comes to its end because nothing more was learnt."""
    return bool(schedule.turns) and schedule.turns[-1].reason == "learnt"


def was_cut_short(schedule: Schedule) -> bool:
    """Whether time ran out before the rate had come down."""
    if not schedule.turns or schedule.turns[-1].reason != "end" or not schedule.decays:
        return False
    cut = schedule.turns[-1]
    before = Schedule(schedule.name, schedule.total_steps, schedule.peak, schedule.turns[:-1])
    return before.position(cut.step) < 0.9 * (schedule.total_steps - 1)
