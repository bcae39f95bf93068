"""The same network on other samples, and other networks on the same samples: what an explanation is compared with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from pellucid.core.trace.model import shared_copy
from pellucid.core.trace.records import tensors
from pellucid.explanation.checks import close
from pellucid.explanation.players import Players
from pellucid.explanation.reference import Reference
from pellucid.explanation.subject import Spent, Subject

NETWORKS, FEWEST = 39, 19  # with scrambled weights: better than 19 of them is p = 0.05
_MANY_PARAMETERS, _MANY_SAMPLES = 2**24, 16  # above, fewer networks: weights take longer to draw than passes; many samples say enough


@dataclass(eq=False)
class Relatives:
    """Makes subjects out of one, and counts what all of them compute."""

    subject: Subject
    made: list[Subject] = field(default_factory=list)

    def with_samples(self, inputs: Sequence[Tensor], target: Tensor | None) -> Subject:
        """The same network on other samples of the same shapes."""
        made = replace(self.subject, inputs=tuple(inputs), target=target, _alone=None, notes=[], _forward=0, _backward=0)
        made.predictions = made.outputs(made.inputs)  # as they are: NaN far from the samples is no error
        self.made.append(made)
        return made

    def with_network(self, model: nn.Module, base: Subject | None = None) -> Subject:
        """Another network on the same samples. Its outputs are computed when they are asked for."""
        made = replace(base or self.subject, model=model, original=None, notes=[], _predictions=None, _alone=None, _forward=0,
                       _backward=0)  # fmt: skip
        self.made.append(made)
        return made

    def spent(self) -> Spent:
        every = [self.subject.spent, *(made.spent for made in self.made)]
        return Spent(forward=sum(s.forward for s in every), backward=sum(s.backward for s in every), seconds=every[0].seconds)


def scrambled(model: nn.Module, generator: torch.Generator) -> nn.Module:
    """A copy whose weights stand in random places within each parameter: sizes are kept, what was learnt is gone.

    Of a network without parameters the buffers and the tensors among its attributes, which are its weights then.
    Source: Adebayo et al. 2018, section 3 (independent randomisation, all layers at once), with the learnt weights' own distribution.
    """
    twin = shared_copy(model, [])
    weights: list[Tensor] = list(twin.parameters())
    if not weights:
        weights = [t for module in twin.modules() for t in tensors(list(vars(module).values())) if t.is_floating_point() and t.is_leaf]
    for weight in {id(weight): weight for weight in weights}.values():
        places = torch.randperm(weight.numel(), generator=generator).to(weight.device)
        weight.data = weight.detach().reshape(-1)[places].reshape(weight.shape)  # a new tensor: the old one is the user's
    return twin


def path_maps(subject: Subject, reference: Reference, players: Players, *, steps: int, magnitude: bool = False) -> Tensor:
    """(N, P): (x - x') times the mean of df/dx at `steps` places between the mean reference x' and x; one step is taken at x itself.

    `magnitude`: absolute values, entry by entry, as maps without signs have them.
    """
    return _along(subject, reference, players, steps, magnitude)[1]


def _along(subject: Subject, reference: Reference, players: Players, steps: int, magnitude: bool) -> tuple[Tensor, Tensor]:
    """(N,) the output at the last place, and the maps."""
    rows = torch.arange(subject.samples, device=subject.device)
    ends, count = subject.points(subject.inputs), min(reference.count, 8)
    starts = [torch.zeros_like(end) for end in ends]
    for which in range(count):
        for start, part in zip(starts, subject.points(reference.at(rows, torch.full_like(rows, which))), strict=True):
            start += part / count
    values, total = torch.zeros(0), [torch.zeros_like(end) for end in ends]
    for step in range(steps):
        along = 1.0 if steps == 1 else (step + 0.5) / steps
        at = [start + along * (end - start) for start, end in zip(starts, ends, strict=True)]
        values, slopes = subject.gradients_at(at, subject.inputs)
        for whole, slope in zip(total, slopes, strict=True):
            whole += slope / steps
    parts = subject.gathered([(end - start) * slope for start, end, slope in zip(starts, ends, total, strict=True)])
    return values, players.summed([part.abs() for part in parts] if magnitude else parts).double().cpu()


def scrambled_maps(
    relatives: Relatives, reference: Reference, players: Players, *, magnitude: bool, generator: torch.Generator
) -> Tensor | None:
    """(K, N, P) gradient x (input - reference) of networks with scrambled weights.

    Left out are those that overflow or are flat, and those that give what the network itself gives: they are the same network. None where
    fewer than 19 are left: a network that rounds, say, has gradients that are zero everywhere, and the weights of one that reaches them
    by a function from outside cannot be scrambled.
    """
    subject = relatives.subject
    size = sum(parameter.numel() for parameter in subject.model.parameters())
    found: list[Tensor] = []
    few = size >= _MANY_PARAMETERS or subject.samples >= _MANY_SAMPLES
    for _ in range(FEWEST + 5 if few else NETWORKS):
        other = relatives.with_network(scrambled(subject.model, generator))
        values, maps = _along(other, reference, players, 1, magnitude)
        if not close(values, subject.value, 1e-5):
            found.append(maps)
        other.model = subject.model  # the copy's memory is given back
    usable = [maps for maps in found if bool(torch.isfinite(maps).all()) and bool(maps.any())]
    return torch.stack(usable) if len(usable) >= FEWEST else None
