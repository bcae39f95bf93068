"""Beyond the input: an explanation must say more than drawings of the input without the network, and than what all inputs share."""

from __future__ import annotations

import torch
from torch import Tensor

from pellucid.core.language import text
from pellucid.explanation.faithfulness.removals import Removals
from pellucid.explanation.faithfulness.score import FaithfulnessScore, correlation, share_of
from pellucid.explanation.players import Players, time_axis
from pellucid.explanation.reference import Reference, blurred
from pellucid.explanation.subject import Subject

LEAST = 0.25  # of what is left can be explained: development models, see the log of the benchmarks
_PER_MAP = 4  # features for each map that is taken out: few features are explained by a few maps of any kind


def beyond_the_input(maps: Tensor, table: Removals, drawn: Tensor) -> FaithfulnessScore:
    """The share that this map explains of what maps `drawn` (Q, N, P) from the input alone, or shared by inputs, leave unexplained.

    The squared partial correlation of predicted with real changes, given what the drawn maps predict (their best mixture for each sample),
    per that of the best additive map. The edge detector of Adebayo et al. 2018, section 5.1, is one of the drawn maps.
    """
    given, changes = (_most_predictive(drawn, table).double() @ table.indicators).permute(1, 2, 0), table.changes[0]  # (N, M, Q), (N, M)
    own = _partial(maps.double() @ table.indicators, changes, given)
    best = [_partial(predicted, changes[:, half], given[:, half]) for half, predicted in table.held_out]
    value, interval, samples = share_of(own, (best[0] + best[1]) / 2)
    return FaithfulnessScore(
        name="beyond_the_input", value=value, interval=interval, samples=samples, passed=value >= LEAST,
        expected=text("at least {share} of what drawings of the input and the mean map of other inputs leave open", share=LEAST),
        source="Adebayo et al. 2018, section 5.1",
    )  # fmt: skip


def _most_predictive(drawn: Tensor, table: Removals) -> Tensor:
    """As many of the drawn maps as the number of features allows, those that predict most."""
    most = max(1, table.count // _PER_MAP)
    return drawn[table.explained(drawn).abs().mean(1).argsort(descending=True)[:most]]


def _partial(predicted: Tensor, changes: Tensor, given: Tensor) -> Tensor:
    """(N,) the correlation of two (N, m), each less its least-squares fit by the columns of `given` (N, m, Q), sample by sample."""
    given = given / given.norm(dim=1, keepdim=True).clamp(min=1e-300)
    basis, sizes, _ = torch.linalg.svd(given, full_matrices=False)
    basis = basis * (sizes > 1e-5 * sizes[:, :1]).double()[:, None]  # maps that are alike count once

    def left(values: Tensor) -> Tensor:
        rest = values - torch.einsum("nmq,nq->nm", basis, torch.einsum("nmq,nm->nq", basis, values))
        size, whole = rest.norm(dim=1, keepdim=True), values.norm(dim=1, keepdim=True)
        return torch.where(size > 1e-5 * whole, rest, torch.zeros_like(rest))  # rounding is nothing that is left

    return correlation(left(predicted), left(changes))


def shared_maps(maps: Tensor, target: Tensor | None, neighbours: Tensor | None) -> Tensor:
    """(Q, N, P) what the maps (N, P) of the other samples have in common, of the same output where there are any, each in its own units;
    and what the maps of `neighbours` (N, J, P) have.
    """
    n = len(maps)
    own = maps / maps.abs().sum(1, keepdim=True).clamp(min=1e-300)
    found: list[Tensor] = []
    if n > 1:
        others = ~torch.eye(n, dtype=torch.bool)
        alike = others if target is None else others & (target.cpu()[:, None] == target.cpu())
        chosen = torch.where(alike.any(1, keepdim=True), alike, others).double()
        found.append(chosen @ own.double() / chosen.sum(1, keepdim=True))
    if neighbours is not None:
        found.append((neighbours / neighbours.abs().sum(2, keepdim=True).clamp(min=1e-300)).mean(1))
    return torch.stack(found) if found else torch.zeros(0, *maps.shape, dtype=torch.float64)


def drawn_from_inputs(subject: Subject, reference: Reference, players: Players) -> Tensor:
    """(Q, N, P) maps that need no network: the input, its difference from the reference, their sizes and squares; where there are axes
    beside the channels also edges, smoothed sizes, the largest channel, the local spread, and what lies in the middle.
    """
    rows = torch.arange(subject.samples, device=subject.device)
    own, apart = list[Tensor](), list[Tensor]()
    for index, (x, start) in enumerate(zip(subject.inputs, reference.at(rows), strict=True)):
        if x.is_floating_point():
            own.append(x)
            apart.append(x - (start if reference.own else reference.values[index].mean(0, keepdim=True)))
        else:
            own.append((x != 0).double())
            apart.append((x != start).double())
    found = [[torch.ones_like(x) for x in own], own, apart]
    found += [[part.abs() for part in apart], [part**2 for part in apart], [x.abs() for x in own], [x**2 for x in own]]
    if any(x.dim() > 2 for x in own):
        found.append([_edges(x) for x in own])
        found += [[_smooth(part.abs(), subject) for part in apart], [_smooth(part**2, subject) for part in apart]]
        found += [[_smooth(x.abs(), subject) for x in own], [_smooth(x**2, subject) - _smooth(x, subject) ** 2 for x in own]]
        found.append([part.abs().amax(1, keepdim=True).expand_as(part) if part.dim() > 2 else part for part in apart])
        found += [[_middle(x) for x in own], [part.abs() * _middle(part) for part in apart]]
    return torch.stack([players.summed([part.double() for part in parts]).cpu() for parts in found])


def _smooth(x: Tensor, subject: Subject) -> Tensor:
    """Blurred along the axes after the channels; of a series, along time."""
    if x.dim() < 3:
        return x
    if x.dim() == 3 and time_axis(subject, (x.shape[1], x.shape[2])) == 0:
        return blurred(x.transpose(1, 2)).transpose(1, 2)
    return blurred(x)


def _middle(x: Tensor) -> Tensor:
    """A hill in the middle of the axes after the channels."""
    found = torch.ones_like(x)
    for axis in range(2, x.dim()):
        places = torch.linspace(-1, 1, x.shape[axis], dtype=x.dtype, device=x.device)
        found = found * torch.exp(-2 * places**2).reshape([-1 if a == axis else 1 for a in range(x.dim())])
    return found


def _edges(inputs: Tensor) -> Tensor:
    """The sum of the absolute differences to the neighbours along every axis after the channels; of two axes, along both."""
    found = torch.zeros_like(inputs)
    for axis in range(2 if inputs.dim() > 3 else 1, inputs.dim()):
        step = inputs.diff(dim=axis).abs()
        found.narrow(axis, 1, step.shape[axis]).add_(step)
        found.narrow(axis, 0, step.shape[axis]).add_(step)
    return found
