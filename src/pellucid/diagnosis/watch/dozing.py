"""Where steps are so short that watching would show: one stretch of many is watched, and of the other steps only the loss is seen."""

from __future__ import annotations

import time
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from pellucid.diagnosis.watch import looking

if TYPE_CHECKING:
    from pellucid.diagnosis.watch.recorder import Recorder

SHORT = 0.003  # seconds of a step below which all its events show: they take 30 to 50 us,
LIGHT = 0.03  # and 200 to 400 us after longer ones, when what they run through has left the caches: then those that cost little stay
ALWAYS = 512  # first steps, which are all watched
STRETCH, AWAKE = 512, 32  # then so many out of so many
TOGETHER = 64  # steps handed over together
clock = time.perf_counter


class Doze:
    """Stands in the recorder's place while it sleeps: the beginning of an optimizer's step is not seen, nor are the model's calls.

    Where steps are not that short, calls and the gradient after each backward pass are seen: modes, evaluations, the batch in which a NaN
    was born. It is as lean as can be. What it has seen is handed over now and then, and at the latest when the recorder wakes: before a
    look, at a new stretch, and where a step is not like those before.
    """

    wants_beginnings = False

    def __init__(self, recorder: Recorder) -> None:
        self.recorder = recorder
        self.transformed = False
        self._passes = self._calls = 1  # backward passes, and calls of the model, in one step
        self._optimizer: Callable[[], torch.optim.Optimizer | None] = lambda: None
        self._host = True  # where losses are
        self._raw = True  # nothing multiplies them
        self._light = False  # calls and gradients are seen
        self._met = 0  # backward passes in this step
        self._steps = self._enough = 0  # since the latest handing over; at how many it is due
        self._losses: list[float] = []
        self._own = 0.0  # seconds; every 16th step stands for the others

    def consider(self) -> None:
        """After an update: sleep, where the steps are short and all alike?"""
        recorder, step = self.recorder, self.recorder.step
        if step % STRETCH < AWAKE or step + 2 >= recorder.sampling.next or recorder.sampling.step_seconds >= LIGHT:
            return
        if recorder.attachment is None or not recorder.stepping or not recorder.forwards or recorder.loss_module is not None:
            return
        if recorder.look or recorder.finishing or recorder.pair or recorder.strangers or recorder.probe.checking:
            return
        alive = recorder.ownership.alive()
        self._calls, self._passes = round(recorder.forwards / step), round(recorder.backwards / step)
        alike = abs(recorder.forwards / step - self._calls) < 0.01 and recorder.backwards == self._passes * step
        if alike and len(alive) == 1:  # else steps that are not seen could not be counted
            self._optimizer = weakref.ref(alive[0])
            self._host = all(parameter.is_cpu for parameter in recorder.ownership.trainable)
            self._raw = recorder.factor == 1.0 and not recorder.scaled
            self._met = self._steps = 0
            self._losses = []
            self._plan()
            recorder.asleep = True
            recorder.spent.updated_at = None
            self._light = recorder.sampling.step_seconds >= SHORT
            recorder.attachment.sleep(self, self if self._light else None)

    def forward(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.recorder.called(args, kwargs)

    def backward_begins(self, tensors: Any) -> None:
        timed = not self._steps & 15
        start = clock() if timed else 0.0
        self._met += 1
        if self._light:
            self.recorder.top = getattr(tensors, "grad_fn", None)
        if self._host:
            try:
                value = tensors.item() if self._raw else self.recorder.unscaled(tensors)
            except (RuntimeError, AttributeError):
                return  # no single number
            self._losses.append(value)
            if value - value:  # NaN, as of infinity; 0 of numbers
                self._breaks(tensors, value)
        elif isinstance(tensors, Tensor) and tensors.numel() == 1:
            self.recorder.course.wait(self.recorder.step + self._steps, tensors.detach())
        if timed:
            self._own += 16 * (clock() - start)

    def backward_ends(self) -> None:
        recorder = self.recorder
        if not self._light:
            return
        recorder.modes.training_in_eval += not recorder.window.training
        if recorder.nonfinite is None and self._raw and recorder.window.batch is not None and not recorder.probe.finite():
            self.count()
            looking.locate_in_gradients(recorder)
            self._plan()  # an alarm may have been given
        recorder.top = None

    def step_begins(self, optimizer: torch.optim.Optimizer, closure: bool) -> None:
        pass

    def step_ends(self, optimizer: torch.optim.Optimizer) -> None:
        if self._met == self._passes and optimizer is self._optimizer():
            self._met = 0
            self._steps += 1
            self.recorder.window.batch = None
            if self._steps >= self._enough:
                start = clock()
                self._hand_over()
                self.recorder.sampling.own += clock() - start
        elif self.recorder.ownership.of(optimizer)[0] is not None:
            self.recorder.strangers += 1  # somebody else's backward pass, a second optimizer: nothing is as it was
            self.wake()
            self.recorder.step_ends(optimizer)

    def fail(self, error: Exception) -> None:
        self.recorder.fail(error)

    def wake(self) -> None:
        self.count()
        recorder = self.recorder
        recorder.asleep = False
        recorder.window.backwards, self._met = self._met, 0
        if recorder.attachment is not None:
            recorder.attachment.wake()

    def count(self) -> None:
        """Hand over. There were as many calls of the model in the steps that were not seen as in those that were."""
        recorder, steps, losses, optimizer = self.recorder, self._steps, self._losses, self._optimizer()
        if not steps:
            return
        calls = steps * self._calls
        ended = steps * self._passes
        self._losses = losses[ended:]
        if len(losses) >= ended:
            several = (losses[first : first + self._passes] for first in range(0, ended, self._passes))
            recorder.course.extend(recorder.step, losses[:ended] if self._passes == 1 else (sum(part) / self._passes for part in several))
        recorder.step += steps
        recorder.forwards += calls
        recorder.backwards += ended
        recorder.samples += calls * recorder.order.usual()
        recorder.order.skip(calls)
        recorder.sampling.own += self._own
        seen = recorder.ownership.of(optimizer)[0] if optimizer is not None else None
        if optimizer is not None and seen is not None:
            recorder.stepped(seen, optimizer, recorder.step - 1, steps)
        self._steps, self._own = 0, 0.0
        self._plan()

    def _hand_over(self) -> None:
        recorder = self.recorder
        self.count()
        recorder.check_losses(clock())
        self._plan()  # an alarm may have been given
        if recorder.step % STRETCH < AWAKE or recorder.step + 1 >= recorder.sampling.next:
            self.wake()

    def _plan(self) -> None:
        """In how many steps to hand over: at the latest at the next stretch, or before the next look."""
        step = self.recorder.step
        self._enough = max(1, min(TOGETHER - step % TOGETHER, self.recorder.sampling.next - 1 - step))

    def _breaks(self, loss: Tensor, value: float) -> None:
        self.count()
        looking.locate(self.recorder, loss, value)
        self._plan()  # an alarm may have been given
