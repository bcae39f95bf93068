"""One parameter that stands for the model: whether a backward pass reached it, whether its gradient was cleared, whether it moved."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from pellucid.diagnosis.watch.fingerprints import Fingerprints
from pellucid.diagnosis.watch.statistics import dense

CHECKED = 128  # intervals that are all checked
LISTED = 128  # entries up to which a bias is read as numbers: after a step of 20 ms, with cold caches, half as long as summing
SUMMED = 2**14  # entries at most of a gradient that is read after every backward pass


class Clearing:
    """Of an optimizer beside others: whether the gradient of its last parameter is cleared from one of its steps to the next."""

    def __init__(self, parameter: nn.Parameter) -> None:
        self.parameter = parameter
        self.intervals = self.uncleared = 0
        self._used: tuple[int, int] | None = None  # the state of the gradient that its latest step used
        self._cleared = True

    def backward_begins(self) -> None:
        gradient = self.parameter.grad
        if not self._cleared and (gradient is None or _state(self.parameter) != self._used or not bool(dense(gradient).any())):
            self._cleared = True

    def stepped(self) -> None:
        if self._used is not None and self.intervals < CHECKED:
            self.intervals += 1
            self.uncleared += not self._cleared
        self._used = _state(self.parameter)
        self._cleared = self._used is None or self.intervals >= CHECKED


class Probe:
    """Told from the identity and version of one parameter's .grad: a version counts the writes into a tensor.

    `intervals` counts stretches from one update to the next, `uncleared` those in which the gradient that the first update had used
    was still there, untouched, when the second used it again. It is one that an optimizer has, as soon as one is known: what belongs to
    none is rightly never cleared.
    """

    def __init__(self, trainable: Sequence[nn.Parameter]) -> None:
        self.candidates = _in_order(trainable)
        self.furthest = _furthest(trainable)
        self.parameter: nn.Parameter | None = self.candidates[0] if self.candidates else None
        self.intervals = self.uncleared = 0
        self.misses = 0  # backward passes in a row that did not reach it
        self.checking = False  # whether the present interval will be counted
        self._cleared = True  # before the first update nothing has to be cleared
        self._before: tuple[int, int] | None = None
        self._after: tuple[int, int] | None = None
        self._others: dict[int, tuple[int, int] | None] = {}
        self._weight: Any = None

    def owned(self, parameters: Sequence[nn.Parameter]) -> None:
        """These are what an optimizer has: look at one of them from now on."""
        if not parameters:
            return
        self.candidates, self.furthest = _in_order(parameters), _furthest(parameters)
        if not any(self.parameter is one for one in parameters):
            self.parameter = self.candidates[0]
            self._before, self._after, self._cleared = None, _state(self.parameter), True
            self._others = {}

    def backward_begins(self, updates: int) -> bool:
        """Note the state of .grad. False where there is no parameter to look at."""
        parameter = self.parameter
        if parameter is None:
            return False
        gradient = parameter.grad
        state = self._before = None if gradient is None else (id(gradient), gradient._version)
        if not self._cleared:
            if gradient is None or state != self._after:
                self._cleared = True
            elif (updates < 8 or gradient._version == 0) and not bool(gradient.any()):
                self._cleared = True  # zeroed through .data, which counts no version
        return True

    def backward_ends(self) -> bool:
        """Whether a gradient arrived; if so its state is remembered."""
        parameter = self.parameter
        assert parameter is not None
        gradient = parameter.grad
        state = None if gradient is None else (id(gradient), gradient._version)
        if state == self._before and not self._find_another():
            return False
        self.misses = 0
        self._after = _state(self.parameter)
        return True

    def _find_another(self) -> bool:
        """No gradient arrived here: does one arrive elsewhere? Asked at the 1st, 2nd, 4th, 8th, ... miss."""
        self.misses += 1
        if self.misses & (self.misses - 1):
            return False
        known, self._others = self._others, {id(one): _state(one) for one in self.candidates}
        if self.misses == 1 and self._after is not None:
            return False  # it did arrive before, and the states of the others are old
        arrived = [one for one in self.candidates if one is not self.parameter and self._others[id(one)] not in (None, known.get(id(one)))]
        if arrived:
            self.parameter = arrived[0]
        return bool(arrived)

    def finite(self) -> bool:
        """Whether the gradient furthest from the loss is finite; so are then all on its way, as a rule. On a device nothing is read."""
        gradient = None if self.furthest is None else self.furthest.grad
        if gradient is None or not gradient.is_cpu or gradient.layout is not torch.strided:
            return True
        total = sum(gradient.tolist()) if gradient.dim() == 1 and gradient.numel() <= LISTED else gradient.sum().item()
        return math.isfinite(total) or bool(gradient.isfinite().all())

    def updated(self, step: int) -> None:
        """The weights have changed for the `step`-th time (from 0). After the first steps every 16th interval is checked."""
        if self.checking and step:
            self.intervals += 1
            self.uncleared += not self._cleared
        self.checking = step < CHECKED or not step & 15
        self._cleared = not self.checking
        if self.checking:  # read again: clipping has written into it since the backward pass
            self._after = _state(self.parameter)

    def keep_weight(self) -> None:
        self._weight = _content(self.parameter)

    def weight_moved(self) -> bool:
        """Whether the parameter changed since `keep_weight`."""
        return self.parameter is not None and _content(self.parameter) != self._weight


def _furthest(parameters: Sequence[nn.Parameter]) -> nn.Parameter | None:
    """The first of a size that is summed in a few microseconds, or the bias beside it, which is read faster still."""
    known = [one for one in parameters if not nn.parameter.is_lazy(one) and one.numel() <= SUMMED and not one.is_complex()]
    beside = [one for one in known[:2] if one.dim() == 1 and one.numel() <= LISTED and any(one is other for other in parameters[:2])]
    return beside[0] if beside else known[0] if known else None


def _in_order(parameters: Sequence[nn.Parameter]) -> list[nn.Parameter]:
    """The last first, which is nearest to the loss."""
    return [*parameters[-1:], *parameters[:1], *parameters]


def _state(parameter: nn.Parameter | None) -> tuple[int, int] | None:
    gradient = None if parameter is None else parameter.grad
    return None if gradient is None else (id(gradient), gradient._version)


def _content(parameter: Tensor | None) -> Any:
    """What tells of a change: version, memory, and, where that is cheap, the entries: writing through `.data` counts no version."""
    if parameter is None or parameter.device.type == "meta":
        return None
    return parameter._version, parameter.data_ptr(), Fingerprints().of(parameter.detach())
