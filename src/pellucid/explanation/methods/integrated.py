"""Methods that integrate the derivative on the way from a reference: integrated gradients, expected gradients."""

from __future__ import annotations

import numpy as np
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


@method("integrated_gradients", family="gradient", needs=("gradient",))
def integrated_gradients(
    subject: Subject, *, reference: Reference, players: Players, generator: torch.Generator, samples: int | None, tell: Tell
) -> Attributed:
    """(x - x') times the integral over a in [0, 1] of df(x' + a (x - x'))/dx, by Gauss-Legendre; x' is the reference.

    The number of steps doubles, sample by sample, until the contributions add up to f(x) - f(x') within 1 % of it. Several references: the
    mean over them. `samples`: the number of steps, then fixed.
    Source: Sundararajan, Taly and Yan 2017, equation 1 and axiom "completeness".
    """
    n, r = subject.samples, reference.count
    rows = torch.arange(n, device=subject.device).repeat_interleave(r)  # (n * r,)
    which = torch.arange(r, device=subject.device).repeat(n)
    inputs = tuple(tensor[rows] for tensor in subject.inputs)
    target = None if subject.target is None else subject.target[rows]
    ends, starts = subject.points(inputs), subject.points(reference.at(rows, which))
    change = subject.values_at(ends, inputs, target) - subject.values_at(starts, inputs, target)
    found = [torch.zeros_like(end) for end in ends]
    gaps = torch.full_like(change, torch.inf)
    scale = change.abs().clamp(min=1e-3 * float(subject.value.abs().max()) + 1e-12)
    steps, left = samples or _FIRST_STEPS, torch.arange(len(rows), device=subject.device)
    while len(left) and steps <= (samples or _MOST_STEPS):
        parts = _path(subject, [e[left] for e in ends], [s[left] for s in starts], tuple(x[left] for x in inputs),
                      None if target is None else target[left], steps)  # fmt: skip
        total = sum((part.flatten(1).sum(1) for part in parts), torch.zeros_like(change[left]))
        gaps[left] = (total - change[left]).abs() / scale[left]
        for whole, part in zip(found, parts, strict=True):
            whole[left] = part
        left = left[gaps[left] > _GAP]
        tell(len(rows) - len(left), len(rows))
        steps *= 2
    notes: list[Text] = []
    if len(left):
        notes.append(text("completeness: the contributions miss the change of the output by {gap:.2g} of it in the worst sample",
                          gap=float(gaps.max())))  # fmt: skip
    mean = [whole.reshape(n, r, *whole.shape[1:]).mean(1) for whole in found]
    return Attributed(subject.gathered(mean), notes=tuple(notes), gap=float(gaps.max()))


def _path(
    subject: Subject, ends: list[Tensor], starts: list[Tensor], inputs: tuple[Tensor, ...], target: Tensor | None, steps: int
) -> list[Tensor]:
    """The rule with `steps` nodes: sum over nodes of weight * gradient, times (x - x'). As many paths at once as a batch holds."""
    nodes, weights = np.polynomial.legendre.leggauss(steps)
    places, weights = torch.as_tensor((nodes + 1) / 2), torch.as_tensor(weights / 2)
    n, chunk = len(ends[0]), max(1, subject.batch_size // steps)
    pieces: list[list[Tensor]] = []
    for start in range(0, n, chunk):
        rows = slice(start, min(n, start + chunk))
        count = rows.stop - rows.start
        along = []
        for end, begin in zip(ends, starts, strict=True):
            a = places.to(end).reshape(1, steps, *[1] * (end.dim() - 1))
            along.append((begin[rows, None] + a * (end[rows] - begin[rows])[:, None]).flatten(0, 1))  # (count * steps, ...)
        copies = tuple(tensor[rows].repeat_interleave(steps, 0) for tensor in inputs)
        _, slopes = subject.gradients_at(along, copies, None if target is None else target[rows].repeat_interleave(steps))
        pieces.append([
            (slope.reshape(count, steps, *slope.shape[1:]) * weights.to(slope).reshape(1, steps, *[1] * (slope.dim() - 1))).sum(1)
            * (end[rows] - begin[rows])
            for slope, end, begin in zip(slopes, ends, starts, strict=True)
        ])  # fmt: skip
    return [torch.cat(parts) for parts in zip(*pieces, strict=True)]


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
