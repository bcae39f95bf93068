"""Each sample's coalition game, v(S): the model's output where the players in S keep their values and the others come from a reference.

Shapley values, LIME, feature ablation and importance ask for many v(S) at once. One batch holds as many perturbed copies, of one sample or
of many, as `COPIES_BYTES` allows; where memory is short, `Subject` halves it.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from functools import cached_property

import torch
from scipy.special import stdtrit
from torch import Tensor

from pellucid.core.errors import ModelError
from pellucid.core.language import text
from pellucid.explanation.players import Players
from pellucid.explanation.reference import Reference
from pellucid.explanation.subject import Subject, Tell

PROGRESS_BATCHES = 8  # of the network between two signs of life
COPIES_BYTES = 2**24  # of perturbed inputs made at once: some hundred thousand rows of a table, and a memory that nobody misses
ROUNDING = 32  # steps of the number type, relative to the model's output: what varies by less is the same

Inputs = tuple[Tensor, ...]
Chosen = tuple[Tensor, Tensor, Tensor]  # (n,) samples, (n,) references, (n, states, players) who is present: see Players.mixed


@dataclass(frozen=True, eq=False)
class Estimate:
    """Values of the players, (samples, players) float64, with their 95 % intervals; `exact` where nothing varies."""

    values: Tensor
    low: Tensor
    high: Tensor
    exact: Tensor

    @classmethod
    def of_exact(cls, values: Tensor) -> Estimate:
        return cls(values, values, values, torch.ones_like(values, dtype=torch.bool))


class Game:
    """v(S) of every sample of a subject, against every one of its references."""

    def __init__(self, subject: Subject, reference: Reference, players: Players, tell: Tell | None = None) -> None:
        self.subject, self.reference, self.players, self.tell = subject, reference, players, tell
        self.samples, self.count, self.references = subject.samples, players.count, reference.count
        self.device = subject.device

    @cached_property
    def shared_type(self) -> torch.dtype | None:
        """Of the inputs, where it is one of float32 and float64."""
        kinds = {entries.dtype for entries in self.subject.inputs}
        return kinds.pop() if kinds in ({torch.float32}, {torch.float64}) else None

    @cached_property
    def full(self) -> Tensor:
        """f(x), (samples,): everybody is present."""
        return self.subject.value.double()

    @cached_property
    def empty(self) -> Tensor:
        """f(reference), (samples, references), of each sample's own target: nobody is present."""
        if self.reference.own:
            return self._finite(self.subject.values(self.reference.values).double())[:, None]
        outputs = self._finite(self.subject.outputs(self.reference.values).double())  # (R, K)
        target = self.subject.target
        return outputs[:, 0].expand(self.samples, -1) if target is None else outputs[:, target].T

    def noise(self) -> Tensor:
        """How much of a sample's values, (samples, 1), may be rounding."""
        magnitude = torch.maximum(self.full.abs(), self.empty.abs().amax(1))
        return ROUNDING * torch.finfo(self.subject.predictions.dtype).eps * magnitude[:, None]

    def values(self, games: int, states: int, choose: Callable[[Tensor, slice], Chosen]) -> Tensor:
        """v of `states` coalitions in each of `games` games, (games, states) float64; `choose` says which: see `mixed`."""
        return self.evaluated(games, states, self.mixed(choose))

    def evaluated(
        self,
        games: int,
        states: int,
        copies: Callable[[Tensor, slice], tuple[Tensor, Inputs]],
        measure: Callable[[Tensor, Tensor], Tensor] | None = None,
    ) -> Tensor:
        """The model's chosen output on perturbed copies, (games, states) float64: see `blocks`."""
        found = torch.empty(games, states, dtype=torch.float64, device=self.device)
        for numbers, values in self.blocks(games, states, copies, measure):
            found[numbers] = values
        return found

    def blocks(
        self,
        games: int,
        states: int,
        copies: Callable[[Tensor, slice], tuple[Tensor, Inputs]],
        measure: Callable[[Tensor, Tensor], Tensor] | None = None,
    ) -> Generator[tuple[Tensor, Tensor]]:
        """The numbers of some games (n,), and the model's chosen output on their perturbed copies, (n, states) float64; then the next.

        `copies` of some games (n,) and a slice of the states gives the games' samples (n,) and the copies (n * s, ...). `measure`, where
        given, makes one number per copy of the copies' samples (n * s,) and all of their outputs (n * s, K).
        """
        size = sum(entries[0].numel() * entries.element_size() for entries in self.subject.inputs)
        at_once = max(1, min(COPIES_BYTES // max(size, 1), PROGRESS_BATCHES * self.subject.batch_size))
        some, part = max(1, at_once // max(states, 1)), max(1, min(states, at_once))
        for start in range(0, games, some):
            numbers = torch.arange(start, min(games, start + some), device=self.device)
            found = torch.empty(len(numbers), states, dtype=torch.float64, device=self.device)
            for first in range(0, states, part):
                chosen = slice(first, min(states, first + part))
                samples, inputs = copies(numbers, chosen)
                if measure is None:
                    target = self.subject.target
                    chosen_outputs = None if target is None else target[samples].repeat_interleave(chosen.stop - first)
                    values = self.subject.values(inputs, chosen_outputs)
                else:
                    values = measure(samples.repeat_interleave(chosen.stop - first), self.subject.outputs(inputs))
                found[:, chosen] = self._finite(values).reshape(len(numbers), -1)
                if self.tell is not None:
                    self.tell(start * states + len(numbers) * chosen.stop, games * states)
            yield numbers, found

    def mixed(self, choose: Callable[[Tensor, slice], Chosen]) -> Callable[[Tensor, slice], tuple[Tensor, Inputs]]:
        """The copies in which those who are chosen are present. `choose` is given the numbers of some games (n,) and a slice of the states,
        s of them; it gives the games' samples (n,), references (n,), and who is present, (n, s, players) or (1, s, players).
        """

        def copies(numbers: Tensor, part: slice) -> tuple[Tensor, Inputs]:
            samples, references, present = choose(numbers, part)
            own = tuple(entries[samples] for entries in self.subject.inputs)
            return samples, self.players.mixed(own, self.reference.at(samples, references), present)

        return copies

    def drawn_references(self, clusters: int, generator: torch.Generator) -> Tensor:
        """References of each sample, (samples, clusters), without replacement."""
        chance = torch.rand(self.samples, self.references, generator=generator, device=generator.device)
        return chance.argsort(1)[:, :clusters].to(self.device)

    def _finite(self, values: Tensor) -> Tensor:
        if not bool(torch.isfinite(values).all()):
            raise ModelError(
                text("the network's output is NaN or infinite where features are replaced by the reference"),
                text("finite outputs on the inputs, on the reference, and on mixtures of both"),
                text('choose a reference that looks more like the data: baseline="mean", or data= with some training inputs'),
            )
        return values


def t_quantile(freedom: Tensor) -> Tensor:
    """The 0.975 quantile of Student's t with these degrees of freedom."""
    return torch.as_tensor(stdtrit(freedom.cpu().numpy(), 0.975), dtype=torch.float64, device=freedom.device)
