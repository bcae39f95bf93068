"""What a watcher does at each event of a loop. Between looks: a few microseconds, and nothing is read from a device.

The events of one update ("window"): the model is called, perhaps several times; one or several backward passes end in it; an optimizer
makes a step, or the weights change without one. An optimizer with a closure has the model called inside its step.
"""

from __future__ import annotations

import logging
import math
import sys
import time
import warnings
import weakref
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from threading import get_ident
from typing import Any

import torch
from torch import Tensor, nn

from pellucid.core.language import Text, text
from pellucid.diagnosis.dynamic.observations import LossFacts, NonFinite, Observations
from pellucid.diagnosis.watch import looking, loss_graph, nonfinite, observing
from pellucid.diagnosis.watch.attachment import Attachment
from pellucid.diagnosis.watch.dozing import ALWAYS, Doze
from pellucid.diagnosis.watch.fingerprints import BatchOrder, Fingerprints, Targets, first_tensor
from pellucid.diagnosis.watch.history import LearningRates, LossCourse, Rows
from pellucid.diagnosis.watch.look import Layers, Look
from pellucid.diagnosis.watch.loss_module import LossModule
from pellucid.diagnosis.watch.noise_scale import NoiseScale
from pellucid.diagnosis.watch.ownership import OptimizerSeen, Ownership
from pellucid.diagnosis.watch.probe import Probe
from pellucid.diagnosis.watch.sampling import Sampling
from pellucid.diagnosis.watch.static_look import StaticLook

READ_SECONDS = 0.1  # how long losses on a device wait to be read
WAITING = 4096  # losses on a device that wait at most
PATIENCE = 64  # backward passes after which a look without an update ends
UNUSED = (100, 200)  # backward passes without any update after which symptoms are looked for
clock = time.perf_counter
logger = logging.getLogger("pellucid")


@dataclass
class Modes:
    """Forward passes, by gradients and mode."""

    training: int = 0
    training_in_eval: int = 0
    evaluation: int = 0
    evaluation_in_train: int = 0


@dataclass
class Spent:
    """Seconds since the look before, and steps among which they are shared."""

    steps: int = 0
    seconds: float = 0.0
    waited: float = 0.0
    waits: int = 0
    updated_at: float | None = None
    own: float = 0.0  # our own seconds at the latest update


@dataclass
class Window:
    """The present update, from one to the next."""

    called: bool = False  # the model ran with gradients
    thread: int | None = None
    training: bool = True  # the mode of its latest forward pass
    evaluated: bool = False  # somewhere in it
    batch: tuple[tuple[Any, ...], dict[str, Any]] | None = None  # its latest, to find where a NaN was born
    samples: int = 0
    losses: list[float] = field(default_factory=list)
    backwards: int = 0

    def restart(self) -> None:
        self.called = self.evaluated = False
        self.batch = None
        self.samples = self.backwards = 0
        self.losses.clear()


class Recorder:
    """The state of one watched training. Nothing here refers to the user's `Watcher`, so that one can be forgotten."""

    wants_beginnings = True

    def __init__(
        self,
        model: nn.Module,
        optimizers: tuple[torch.optim.Optimizer, ...] = (),
        loss_module: LossModule | None = None,
        when_judged: Callable[[Recorder], None] | None = None,
        closely: bool = False,
    ) -> None:
        self.model, self.loss_module, self.when_judged = model, loss_module, when_judged
        self.ended: Callable[[], None] = lambda: None
        self.attachment: Attachment | None = None
        self.asleep = False  # only the losses of most steps are seen: they are short
        self.doze = Doze(self)
        self.strangers = 0  # backward passes that were not this model's
        self.sampling = Sampling(closely)
        self.ownership = Ownership(model, optimizers)
        self.stepping = bool(optimizers)  # optimizers of torch make the updates
        self.probe = Probe(self.ownership.to_train() or self.ownership.trainable)
        self.layers = Layers(model)
        self.rows, self.course, self.rates = Rows(), LossCourse(), LearningRates()
        self.order, self.targets, self.noise = BatchOrder(), Targets(), NoiseScale()
        self.noise_points: list[tuple[int, float]] = []
        self.modes, self.spent, self.window = Modes(), Spent(), Window()
        self.memory = observing.Memory()
        self.loss_facts = LossFacts()
        self.static: StaticLook | None = None
        self.nonfinite: NonFinite | None = None
        self.step = self.samples = self.forwards = self.backwards = 0
        self.evaluation_seconds = 0.0
        self.transformed = self.compiled = self.several_models = self.failed = self.closed = False
        self.look: Look | None = None
        self.finishing: Look | None = None
        self.pair: tuple[int, dict[str, Tensor], int] | None = None
        self.in_closure = self._own_backward = False
        self._evaluating_since: float | None = None
        self.latest_loss: float | Tensor | None = None
        self._losses_read = clock()
        self.top: Any = None  # the node of the loss, during its backward pass
        self.scaled = False  # a gradient scaler multiplies the loss, with another factor at every step
        self.factor = 1.0  # what else does
        self._rate: Any = None
        self._fingerprints = Fingerprints()
        self._latest_optimizer: tuple[Callable[[], Any], OptimizerSeen | None] = (lambda: None, None)

    # -- events ------------------------------------------------------------------------------------------------------------------------

    def forward(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """The model is called."""
        now = clock()
        window = self.window
        if not self.stepping and window.backwards and self.probe.weight_moved():
            self._updated(now)
            window = self.window
        if self.finishing is not None:
            looking.finish(self)
        if torch.is_grad_enabled():
            self._trains(now, window, args, kwargs)
        else:
            self._evaluates(now, window)
        self.sampling.own += clock() - now

    def called(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """The model is called while only little is seen."""
        window = self.window
        if not torch.is_grad_enabled():
            if self._evaluating_since is None:
                self.doze.count()
            return self._evaluates(clock(), window)
        if self._evaluating_since is not None:
            self._evaluation_ends(clock())
            window.evaluated = False
        self.modes.training += 1
        window.training, window.batch = self.model.training, (args, kwargs)
        return None

    def _evaluates(self, now: float, window: Window) -> None:
        modes = self.modes
        modes.evaluation += 1
        modes.evaluation_in_train += self.model.training
        if self._evaluating_since is None:
            self._evaluating_since = now
            window.evaluated = True
            self.order.evaluated()

    def _trains(self, now: float, window: Window, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.forwards += 1
        self.modes.training += 1
        if self._evaluating_since is not None:
            self._evaluation_ends(now)
        if not window.called:
            window.called, window.thread = True, get_ident()
            if self.spent.updated_at is not None and not window.evaluated:
                self.spent.waited += now - self.spent.updated_at
                self.spent.waits += 1
        window.training = self.model.training
        window.batch = args, kwargs
        batch = args[0] if args and type(args[0]) is Tensor else first_tensor(args, kwargs)
        if batch is not None and batch.dim():
            order, count = self.order, batch.shape[0]
            window.samples += count
            order.size(count)
            if order.complete and (self.loss_module is None or not self.loss_module.orders):
                order.add(self._fingerprints.of(batch), "inputs", self.forwards)
        if self.static is None:
            looking.look_statically(self, args, kwargs)
        if self.look is None and self.step >= self.sampling.next:
            looking.begin(self)
        look = self.look
        if look is not None and not look.forward_done and not look.attached:
            start = clock()
            look.training = window.training
            look.attach()
            look.cost += clock() - start

    def _evaluation_ends(self, now: float) -> None:
        if self._evaluating_since is not None:
            self.evaluation_seconds += now - self._evaluating_since
            self._evaluating_since = None
        if self.loss_module is not None:
            self.loss_module.phase_ends(self.step)

    def backward_begins(self, tensors: Any) -> None:
        """torch.autograd.backward is called; whether it concerns this model is known when it ends."""
        self._own_backward = False
        window = self.window
        now = clock()
        if self.forwards and (not window.called or get_ident() != window.thread):
            self.strangers += 1
            return
        if not self.stepping and window.backwards and self.probe.weight_moved():
            self._updated(now)
            window = self.window
        if not self.forwards and self.finishing is not None:
            looking.finish(self)
        for one in self.ownership.seen:
            if one.clearing is not None:
                one.clearing.backward_begins()
        if not self.probe.backward_begins(self.step):
            return
        self._own_backward, self.latest_loss = True, None
        self.top = None
        loss = tensors if isinstance(tensors, Tensor) else tensors[0] if isinstance(tensors, (list, tuple)) and tensors else None
        if not isinstance(loss, Tensor) or loss.numel() != 1:
            loss = None
        elif loss.is_cpu:
            value = self.latest_loss = self.unscaled(loss)
            self.top = loss.grad_fn
            if not math.isfinite(value):
                looking.locate(self, loss, value)
        else:
            self.latest_loss = loss.detach()
        if not self.forwards and self.look is None and self.step >= self.sampling.next:
            looking.begin(self)
        look = self.look
        if look is not None and look.graph is None and loss is not None:
            start = clock()
            looking.read_graph(self, look, loss)
            look.cost += clock() - start
        self.sampling.own += clock() - now

    def unscaled(self, loss: Tensor) -> float:
        """The loss before a scaler and accumulation multiplied it."""
        value = loss.item()
        if self.factor != 1.0:
            value /= self.factor
        if self.scaled:
            scale = loss_graph.scale_of(loss)
            value /= float(scale) if scale is not None else 1.0
        return value

    def backward_ends(self) -> None:
        if not self._own_backward:
            return
        now = clock()
        self._own_backward = False
        if not self.probe.backward_ends():
            self.strangers += 1
            return
        window = self.window
        window.backwards += 1
        self.backwards += 1
        if self.nonfinite is None and not self.scaled and window.batch is not None and not self.probe.finite():
            looking.locate_in_gradients(self)
        self.top = None
        if self.forwards and not window.training:
            self.modes.training_in_eval += 1
        if isinstance(self.latest_loss, float):
            window.losses.append(self.latest_loss)
        elif isinstance(self.latest_loss, Tensor):
            self.course.wait(self.step, self.latest_loss)
        self.latest_loss = None
        if not self.stepping or self.backwards == 1:
            self.probe.keep_weight()
        if self.step == 0 and self.backwards in UNUSED and self.when_judged is not None:
            self.when_judged(self)
        look = self.look
        if look is not None:
            start = clock()
            measured = self.ownership.measured
            look.raw_norm(measured)
            if not self.stepping:
                look.forget_gradients()
                look.read_gradients(measured)
                look.keep_weights(measured)
            if window.backwards > PATIENCE:
                look.read_gradients(measured)
                self.finishing, self.look = look, None
            look.cost += clock() - start
        self.sampling.own += clock() - now

    def step_begins(self, optimizer: torch.optim.Optimizer, closure: bool) -> None:
        known, seen = self._latest_optimizer
        first = False
        if known() is not optimizer:
            seen, first = self.ownership.of(optimizer)
            self._latest_optimizer = weakref.ref(optimizer), seen
        if seen is None:
            return
        now = clock()
        if seen.facts is None:
            looking.describe_optimizers(self)
        if first:
            self.stepping = True
            self.probe.owned(self.ownership.to_train())
            self.memory.began(seen.names)
            self.ownership.look_at_clearing()
            if self.look is not None:  # what was read after the backward pass, while no optimizer was known, is read again
                self.look.forget_gradients()
        self.in_closure = closure
        if closure and self.look is None and self.step >= self.sampling.next:
            if self.finishing is not None:
                looking.finish(self)
            looking.begin(self)
        if self.look is not None and (self.window.backwards or closure):
            start = clock()
            self.look.keep_weights(self.ownership.measured)
            if not closure:
                looking.read_gradients(self, self.look, seen)
            self.look.cost += clock() - start
        elif self.finishing is not None and not self.window.backwards and not closure:  # one of several that step together
            start = clock()
            looking.read_gradients(self, self.finishing, seen)
            self.finishing.cost += clock() - start
        elif self.pair is not None and self.window.backwards and not closure:
            looking.compare_gradients(self)
        self.sampling.own += clock() - now

    def step_ends(self, optimizer: torch.optim.Optimizer) -> None:
        known, seen = self._latest_optimizer
        if known() is not optimizer:
            seen, _ = self.ownership.of(optimizer)
        if seen is None:
            return
        now = clock()
        if self.in_closure:
            self.in_closure = False
            if self.look is not None and self.window.backwards:
                start = clock()
                looking.read_gradients(self, self.look, seen)
                self.look.cost += clock() - start
            elif self.pair is not None and self.window.backwards:
                looking.compare_gradients(self)
        self.stepped(seen, optimizer, self.step)
        if self.window.backwards:
            self._updated(now)
        self.sampling.own += clock() - now

    def stepped(self, seen: OptimizerSeen, optimizer: torch.optim.Optimizer, step: int, steps: int = 1) -> None:
        """An optimizer has made `steps`, the latest of them at `step`: note them, and learning rates that have changed."""
        seen.stepped(step)
        seen.steps += steps - 1
        rate = optimizer.param_groups[0]["lr"]
        if rate is not self._rate and not (isinstance(rate, Tensor) and self.look is None):  # reading a tensor may wait for a device
            self._rate = rate
            groups = [group for one in self.ownership.alive() for group in one.param_groups]
            self.rates.add(step, tuple(float(group["lr"]) for group in groups[:32]))

    def _updated(self, now: float) -> None:
        """The weights have changed: a window ends."""
        window, spent, look = self.window, self.spent, self.look
        if window.losses:
            value = window.losses[0] if len(window.losses) == 1 else sum(window.losses) / len(window.losses)
            self.course.append(self.step, value)
        if not self.step & 63 or self.course.waiting:
            self.check_losses(now)
        self.probe.updated(self.step)
        self.samples += window.samples
        if look is not None:
            look.updated, look.samples, look.backwards, look.batch = True, window.samples or None, window.backwards, window.batch
            self.finishing, self.look = look, None
        elif spent.updated_at is not None and not window.evaluated:
            seconds = now - spent.updated_at - (self.sampling.own - spent.own)
            if seconds > 0:
                self.sampling.stepped(seconds)
                spent.seconds += seconds
                spent.steps += 1
        spent.updated_at, spent.own = now, self.sampling.own
        self.step += 1
        window.restart()
        if self.step > ALWAYS:
            self.doze.consider()

    def check_losses(self, now: float) -> None:
        """Now and then: has the loss jumped? Losses on a device are read."""
        if not self.step & 63 and self.course.jumped():
            self.sampling.alarm(self.step + 1)
        if (waiting := len(self.course.waiting)) and (now - self._losses_read > READ_SECONDS or waiting > WAITING):
            self.read_losses()

    # -- reading, and the end ----------------------------------------------------------------------------------------------------------

    def read_losses(self) -> None:
        """Losses that were kept on a device, in one transfer."""
        self._losses_read = clock()
        for step, value in self.course.read_waiting(self.factor):
            if not math.isfinite(value) and self.nonfinite is None:
                self.nonfinite = nonfinite.found_late(self, step, value)
                self.sampling.alarm(self.step + 1)

    def settle(self) -> None:
        """Take in what has been measured but not read: before somebody reads the observations, and at the end."""
        start = clock()
        if not self.stepping and self.window.backwards and self.probe.weight_moved():
            self._updated(start)
        if self.finishing is not None:
            looking.finish(self)
        self.read_losses()
        if self.loss_module is not None and self._evaluating_since is not None:
            self._evaluation_ends(start)
        self.doze.count()
        self.sampling.own += clock() - start

    def unused(self) -> int:
        """Backward passes, where none of them was followed by an update."""
        return self.backwards if self.step == 0 and not self.probe.weight_moved() else 0

    def observations(self) -> Observations:
        self.ownership.count_holders()
        return observing.observations(self)

    def unseen(self) -> Iterable[Text]:
        if self.compiled:
            yield text("the model is compiled: activations are not seen, gradients and weights are")
        if self.backwards and not self.forwards and not self.compiled:
            yield text("the model itself is never called: batches and modes are not seen")
        if self.transformed or self.doze.transformed:
            yield text("inside transforms of torch.func (vmap, grad) the model's calls are not seen")
        if self.backwards and self.loss_facts.kind is None and self.loss_module is None:
            yield text("which loss this is cannot be told from its graph; name it: watch(model, loss=module)")
        if self.backwards and self.targets.seen is None:
            yield text("the targets are not seen; name the loss: watch(model, loss=module)")
        if self.static is not None and not self.static.facts.made:
            yield from self.static.facts.notes

    def fail(self, error: Exception) -> None:
        """Our own failure: say so once, go away, leave the training alone."""
        if self.failed:
            return
        self.failed = True
        try:
            self.ended()
            self.close()
            logger.debug("the watcher failed", exc_info=error)
            problem = f"{type(error).__name__}: {error}".splitlines()[0][:300]
            said = text(
                "Pellucid's watcher failed and has ended; your training goes on as if it were not there ({problem})", problem=problem
            )
            with warnings.catch_warnings():
                warnings.simplefilter("default")  # where warnings are errors, this one must not end the training
                warnings.warn(str(said), RuntimeWarning, stacklevel=2)
        except Exception:
            print("Pellucid's watcher has ended.", file=sys.stderr)

    def close(self) -> None:
        """Let go of everything of the user's. What was found stays."""
        if self.closed:
            return
        self.closed = True
        for look in (self.look, self.finishing):
            if look is not None:
                look.detach()
        self.look = None
        if not self.failed:
            try:
                self.settle()
            except Exception as error:
                logger.debug("the last look could not be read", exc_info=error)
        self.finishing = self.pair = None
        self.window = Window()
