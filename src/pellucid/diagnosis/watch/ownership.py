"""The model's parameters by name, and the optimizers that hold them."""

from __future__ import annotations

import gc
import weakref
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import nn

from pellucid.diagnosis.dynamic.observations import OptimizerFacts
from pellucid.diagnosis.watch.look import WEIGHTS
from pellucid.diagnosis.watch.probe import Clearing

OPTIMIZERS = 16  # remembered


@dataclass
class OptimizerSeen:
    """An optimizer that holds parameters of the model. It may be gone before its watcher."""

    optimizer: weakref.ref[torch.optim.Optimizer]
    given: bool
    steps: int = 0
    names: frozenset[str] = frozenset()
    facts: OptimizerFacts | None = None  # as last seen
    began: int | None = None  # updates of the model before its first step,
    latest: int | None = None  # and before its latest
    clearing: Clearing | None = None  # where it is one of several

    def stepped(self, updates: int) -> None:
        self.steps += 1
        self.began, self.latest = updates if self.began is None else self.began, updates
        if self.clearing is not None:
            self.clearing.stepped()


class Ownership:
    """Names and tensors as they were when last looked up: a loop may add, tie or replace parameters, and make optimizers late."""

    def __init__(self, model: nn.Module, given: Iterable[torch.optim.Optimizer]) -> None:
        self.model = model
        self.optimizers: weakref.WeakKeyDictionary[torch.optim.Optimizer, OptimizerSeen | None] = weakref.WeakKeyDictionary()
        self.seen: list[OptimizerSeen] = []  # those still alive and those of the past
        self.times_held: dict[str, int] = {}
        self.waiting: frozenset[str] = frozenset()  # names that only optimizers hold that have made no step
        self.foreign = False  # an optimizer that holds nothing of this model has made a step
        self._searched = False
        self.look_up()
        for optimizer in given:
            self._new(optimizer, given=True)

    def look_up(self) -> None:
        """Read the names anew. Integers among the parameters, as the states of Keras's random generators, are never trained: left out."""
        self.aliases: dict[str, list[str]] = {}
        self.parameters: dict[str, nn.Parameter] = {}
        first: dict[int, str] = {}
        for name, parameter in self.model.named_parameters(remove_duplicate=False):
            if not (parameter.is_floating_point() or parameter.is_complex()):
                continue
            known = first.setdefault(id(parameter), name)
            if known == name:
                self.parameters[name] = parameter
            else:
                self.aliases.setdefault(known, []).append(name)
        self.names = {id(parameter): name for name, parameter in self.parameters.items()}
        self.trainable = [parameter for parameter in self.parameters.values() if parameter.requires_grad]
        names = list(self.parameters)
        if len(names) > WEIGHTS:
            names = [names[place * len(names) // WEIGHTS] for place in range(WEIGHTS)]
        self.measured = {name: self.parameters[name] for name in names}

    def look_up_optimizers(self) -> None:
        """What each known optimizer holds by now; groups may have been added."""
        for optimizer, seen in list(self.optimizers.items()):
            if seen is None:
                self._new(optimizer)
            else:
                seen.names = self._held_by(optimizer)

    def look_for_others(self) -> None:
        """Optimizers that exist and have made no step yet, where parameters seem to belong to none: the turn of theirs may come.

        They are looked for among all objects of the program, which takes some 40 ms, therefore once.
        """
        without = {id(parameter): name for name, parameter in self.parameters.items() if parameter.requires_grad and not self.owned(name)}
        if not self.alive() or not without or self._searched:
            return
        self._searched = True
        others = [one for one in gc.get_objects() if issubclass(type(one), torch.optim.Optimizer) and one not in self.optimizers]
        held = (without.get(id(parameter)) for optimizer in others for group in optimizer.param_groups for parameter in group["params"])
        self.waiting = frozenset(name for name in held if name is not None)

    def of(self, optimizer: torch.optim.Optimizer) -> tuple[OptimizerSeen | None, bool]:
        """What is known of the optimizer, None where it holds nothing of this model; and whether it is met for the first time."""
        try:
            return self.optimizers[optimizer], False
        except KeyError:
            return self._new(optimizer), True

    def _new(self, optimizer: torch.optim.Optimizer, given: bool = False) -> OptimizerSeen | None:
        names = self._held_by(optimizer)
        seen = OptimizerSeen(weakref.ref(optimizer), given, 0, names) if names else None
        self.optimizers[optimizer] = seen
        self.foreign |= seen is None
        if seen is not None:
            self.seen = [*self.seen[1 - OPTIMIZERS :], seen]  # a loop may make a new one for every phase
        return seen

    def look_at_clearing(self) -> None:
        """Several optimizers: each has to have its own gradients cleared."""
        if len(self.seen) > 1:
            for seen in self.seen:
                names = [name for name, parameter in self.parameters.items() if name in seen.names and parameter.requires_grad]
                if seen.clearing is None and names:
                    seen.clearing = Clearing(self.parameters[names[-1]])

    def _held_by(self, optimizer: torch.optim.Optimizer) -> frozenset[str]:
        held = (self.names.get(id(parameter)) for group in optimizer.param_groups for parameter in group["params"])
        return frozenset(name for name in held if name is not None)

    def alive(self) -> list[torch.optim.Optimizer]:
        return [optimizer for optimizer, seen in self.optimizers.items() if seen is not None]

    def owned(self, name: str) -> bool:
        return any(name in seen.names for seen in self.optimizers.values() if seen is not None)

    def to_train(self) -> list[nn.Parameter]:
        """The trainable parameters that optimizers have."""
        return [parameter for name, parameter in self.parameters.items() if parameter.requires_grad and self.owned(name)]

    def ever_owned(self) -> frozenset[str]:
        return frozenset[str]().union(*(seen.names for seen in self.seen))

    def count_holders(self) -> None:
        """How often optimizers that are alive hold each parameter."""
        alive = self.alive()
        if alive:
            held = Counter(id(parameter) for optimizer in alive for group in optimizer.param_groups for parameter in group["params"])
            self.times_held = {name: held[id(parameter)] for name, parameter in self.parameters.items()}
