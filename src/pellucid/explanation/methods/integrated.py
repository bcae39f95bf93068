"""Methods that integrate the derivative on the way from a reference: integrated gradients, expected gradients."""

from __future__ import annotations

import torch
from torch import Tensor

from pellucid.core.language import Text, text
from pellucid.explanation.players import Players
from pellucid.explanation.reference import Reference
from pellucid.explanation.registry import Attributed, method
from pellucid.explanation.sampling import averaged
from pellucid.explanation.subject import Subject, Tell

_GAP = 0.01  # of the change to explain
_FIRST_STEPS, _MOST_STEPS = 16, 1024
_BESIDE = 1e-6  # of the way: the first gradient, which at a reference of zeros would be that of every ReLU's kink, or of a norm's
_ENDS = (  # Gregory's rule: what the weights of the first nodes, and of the last, differ from 1; by how many of them there can be
    (-1 / 2,), (-7 / 12, 1 / 12), (-5 / 8, 1 / 6, -1 / 24), (-469 / 720, 59 / 240, -29 / 240, 19 / 720),
)  # fmt: skip


@method("integrated_gradients", family="gradient", needs=("gradient",))
def integrated_gradients(
    subject: Subject, *, reference: Reference, players: Players, generator: torch.Generator, samples: int | None, tell: Tell
) -> Attributed:
    """(x - x') times the integral over a in [0, 1] of df(x' + a (x - x'))/dx; x' is the reference.

    Gradients at equal steps, summed by Gregory's rule (of fourth order; where a ReLU network's gradient jumps, equal steps miss the least).
    The number of steps doubles, sample by sample, until the contributions add up to f(x) - f(x') within 1 % of it; the gradients that are
    known are kept. Several references: the mean over them. `samples`: how many gradients each way gets (two at least), then fixed.
    Sources: Sundararajan, Taly and Yan 2017, equation 1 and axiom "completeness"; P. J. Davis, P. Rabinowitz 1984, section 2.9 (the rule).
    """
    n, r, device = subject.samples, reference.count, subject.device
    ends, starts = subject.points(subject.inputs), subject.points(reference.values)
    found = [torch.zeros_like(end) for end in ends]
    gaps = torch.zeros(n * r, dtype=torch.float64, device=device)
    together = max(1, subject.batch_size // (_FIRST_STEPS if samples is None else samples))
    for ways in torch.arange(n * r, device=device).split(together):
        rows = ways // r  # sample of each way
        origins = rows if reference.own else ways % r
        way = _Ways(subject, [start[origins] for start in starts], [end[rows] for end in ends], rows)
        parts, gaps[ways] = _completed(way, samples)
        for whole, part in zip(found, parts, strict=True):
            whole.index_add_(0, rows, part / r)
        tell(int(ways[-1]) + 1, n * r)
    notes: list[Text] = []
    if float(gaps.max()) > _GAP:
        notes.append(text("completeness: the contributions miss the change of the output by {gap:.2g} of it in the worst sample",
                          gap=float(gaps.max())))  # fmt: skip
    return Attributed(subject.gathered(found), notes=tuple(notes), gap=float(gaps.max()))


class _Ways:
    """The straight ways from references to samples (w of them), the gradients met on them, and what these add up to."""

    def __init__(self, subject: Subject, starts: list[Tensor], ends: list[Tensor], rows: Tensor) -> None:
        self.subject, self.starts, self.apart = subject, starts, [end - start for end, start in zip(ends, starts, strict=True)]
        self.rows = rows  # (w,) the sample of each
        self.total = [torch.zeros_like(end) for end in ends]  # of all gradients so far
        self.near: dict[int, list[Tensor]] = {}  # gradients at the nodes next to both ends; -1 is the last one
        own, target = tuple(tensor[rows] for tensor in subject.inputs), None if subject.target is None else subject.target[rows]
        self.change = (subject.value[rows] - subject.values_at(starts, own, target)).double()

    def walk(self, nodes: Tensor, steps: int) -> None:
        """Take the gradients at these of the nodes 0 ... `steps`."""
        w, target = len(self.rows), self.subject.target
        for part in nodes.split(max(1, self.subject.batch_size // w)):
            along = [
                (
                    start[:, None] + (part / steps).clamp(min=_BESIDE).to(start).reshape(1, -1, *[1] * (start.dim() - 1)) * apart[:, None]
                ).flatten(0, 1)
                for start, apart in zip(self.starts, self.apart, strict=True)
            ]
            rows = self.rows.repeat_interleave(len(part))
            own = tuple(tensor[rows] for tensor in self.subject.inputs)
            _, slopes = self.subject.gradients_at(along, own, None if target is None else target[rows])
            slopes = [slope.unflatten(0, (w, len(part))) for slope in slopes]
            self.total = [total + slope.sum(1) for total, slope in zip(self.total, slopes, strict=True)]
            for place, node in enumerate(part.tolist()):
                for number in (node, node - steps - 1):
                    if -4 <= number < 4:
                        self.near[number] = [slope[:, place].clone() for slope in slopes]

    def summed(self, steps: int) -> list[Tensor]:
        """The contributions by the rule with all nodes 0 ... `steps`."""
        found = list(self.total)
        for place, weight in enumerate(_ENDS[min(steps, 3)]):
            for end in (self.near[place], self.near[-1 - place]):
                found = [one + weight * gradient for one, gradient in zip(found, end, strict=True)]
        return [one / steps * apart for one, apart in zip(found, self.apart, strict=True)]

    def halved(self) -> None:
        """Steps are half as long from now on: every node has twice the number, counted from its end."""
        numbers = ((number, 2 * number if number >= 0 else 2 * number + 1) for number in self.near)
        self.near = {new: self.near[old] for old, new in numbers if -4 <= new < 4}

    def only(self, which: Tensor) -> None:
        """Go on with some of them."""
        self.rows = self.rows[which]
        self.starts, self.apart, self.total = ([part[which] for part in parts] for parts in (self.starts, self.apart, self.total))
        self.near = {number: [part[which] for part in parts] for number, parts in self.near.items()}


def _completed(ways: _Ways, samples: int | None) -> tuple[list[Tensor], Tensor]:
    """Each way's contributions and gap, (w, ...) and (w,)."""
    steps = _FIRST_STEPS if samples is None else max(1, samples - 1)
    device = ways.rows.device
    ways.walk(torch.arange(steps + 1, device=device), steps)
    found = ways.summed(steps)
    change = ways.change
    gaps = torch.empty_like(change)
    scale = change.abs().clamp(min=1e-3 * float(ways.subject.value.abs().max()) + 1e-12)
    left, parts = torch.arange(len(ways.rows), device=device), found
    while True:
        total = sum((part.flatten(1).sum(1).double() for part in parts), torch.zeros_like(change[left]))
        gaps[left] = (total - change[left]).abs() / scale[left]
        open_ = gaps[left] > _GAP
        if samples is not None or not bool(open_.any()) or steps >= _MOST_STEPS:
            return found, gaps
        ways.only(open_)
        left, steps = left[open_], 2 * steps
        ways.halved()
        ways.walk(torch.arange(1, steps, 2, device=device), steps)
        parts = ways.summed(steps)
        for whole, part in zip(found, parts, strict=True):
            whole[left] = part


@method("expected_gradients", family="gradient", needs=("gradient",))
def expected_gradients(
    subject: Subject, *, reference: Reference, players: Players, generator: torch.Generator, samples: int | None, tell: Tell
) -> Attributed:
    """Integrated gradients averaged over the references: the mean of (x - x') df(x' + a (x - x'))/dx over x' and a in [0, 1], both drawn.

    Source: Erion, Janizek, Sturmfels, Lundberg and Lee 2021, equation 2.
    """
    n, device = subject.samples, subject.device
    points = subject.points(subject.inputs)
    starts = subject.points(reference.values)  # (R, ...), or (N, ...) where each sample has its own

    def draw(count: int) -> tuple[Tensor, ...]:
        sample = torch.arange(n, device=device).repeat(count)  # (count * n,)
        which = torch.randint(reference.count, (count * n,), generator=generator).to(device)
        rows = sample if reference.own else which
        places = torch.rand(count * n, generator=generator, dtype=torch.float64)
        along, apart = [], []
        for point, start in zip(points, starts, strict=True):
            a = places.to(point).reshape(-1, *[1] * (point.dim() - 1))
            apart.append(point[sample] - start[rows])
            along.append(start[rows] + a * apart[-1])
        inputs = tuple(tensor[sample] for tensor in subject.inputs)
        _, slopes = subject.gradients_at(along, inputs, None if subject.target is None else subject.target[sample])
        parts = subject.gathered([slope * change for slope, change in zip(slopes, apart, strict=True)])
        return tuple(part.reshape(count, n, *part.shape[1:]) for part in parts)

    found = averaged(draw, at_once=max(1, subject.batch_size // n), samples=samples, tell=tell)
    return Attributed(
        found.mean, found.low, found.high, found.exact, (text("{count} references drawn for each sample", count=found.count),)
    )
