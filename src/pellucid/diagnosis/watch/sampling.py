"""When to look closely. Looks are dense at first and then as rare as their price demands; an alarm makes them dense again for a while."""

from __future__ import annotations

import time

SHARE = 0.005  # of the time of training that looks may take; seeing the steps between takes the other part of what we promise
EARLY = 32  # steps: the 1st, 2nd, 4th, ... 32nd are always looked at
JUDGED = (1, 7, 15, 31)  # of these looks, at which mistakes of a program show: judged whatever it costs
CLOSEST = 10  # steps between looks that are due
ALARMS = 24  # looks that alarms may cause
CLOSELY = 0.1  # the share where the training's time is ours to spend
JUDGING = 0.002  # share of the time that judging the observations may take


class Sampling:
    """The price of looks, the duration of ordinary steps, and what follows for the next look.

    Looks after EARLY come every k-th step, k = price of a look / (share * duration of a step). Closely, the early ones are the first eight
    steps and then about every fifth: a short training is over before the 32nd step.
    """

    def __init__(self, closely: bool = False) -> None:
        self.closely, self.share = closely, CLOSELY if closely else SHARE
        self.next = 0
        self.alarms = 0
        self.look_seconds = 0.0
        self.step_seconds = 0.0
        self.own = 0.0  # seconds spent in us, all together
        self.start = 0.0  # of which once, at the start
        self.started = time.perf_counter()
        self._comparing = 0.0
        self._judging = 0.0
        self._judged = 0.0
        self._alarmed_at = -1

    def elapsed(self) -> float:
        return time.perf_counter() - self.started

    def overhead(self) -> float:
        """Our own time over the time without us."""
        elapsed = self.elapsed()
        return self.own / max(elapsed - self.own, 1e-9)

    def stepped(self, seconds: float) -> None:
        """An ordinary step took so long, ourselves not counted.

        What is kept is about what the fastest tenth of them take: on a busy machine the others wait for their turn.
        """
        pace = 1.0 if not self.step_seconds else 0.1 if seconds < self.step_seconds else 0.01
        self.step_seconds += (min(seconds, 2 * (self.step_seconds or seconds)) - self.step_seconds) * pace

    def looked(self, step: int, seconds: float) -> None:
        """The look at `step` has cost `seconds`: when is the next due?"""
        self.look_seconds += (seconds - self.look_seconds) * (0.3 if self.look_seconds else 1.0)
        if step + 1 < EARLY:
            self.next = step + 1 + step // 8 if self.closely else 2 * step + 1
            return
        affordable = (self.look_seconds + self._comparing) / (self.share * max(self.step_seconds, 1e-7))
        self.next = step + max(CLOSEST, int(affordable) + 1)

    def alarm(self, step: int) -> None:
        """Something seems wrong: look at `step`, if alarms have not been too many."""
        if self.alarms < ALARMS and step != self._alarmed_at and step < self.next:
            self.alarms += 1
            self._alarmed_at = self.next = step

    def alarmed(self, step: int) -> bool:
        """Whether the look at `step` is due to an alarm."""
        return step == self._alarmed_at

    def compared(self, seconds: float) -> None:
        """Comparing two successive gradients belongs to the price of a look."""
        self._comparing += (seconds - self._comparing) * (0.3 if self._comparing else 1.0)

    def may_judge(self, step: int, looks: int) -> bool:
        """Whether the symptoms should be looked for after the look at `step`: an early one, or a few are there and the price allows it."""
        elapsed = self.elapsed()
        return step in JUDGED or (looks >= 2 and elapsed - self._judged >= self._judging / JUDGING)

    def judged(self, seconds: float) -> None:
        self._judging, self._judged = seconds, self.elapsed()
