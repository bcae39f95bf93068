"""Specificity: an explanation must serve this input and this class, better than other inputs', other classes' and no network's maps do."""

from __future__ import annotations

import torch
from torch import Tensor

from pellucid.core.language import text
from pellucid.explanation.faithfulness.removals import Removals
from pellucid.explanation.faithfulness.score import FaithfulnessScore, mean_of, tail
from pellucid.explanation.players import Players
from pellucid.explanation.reference import Reference
from pellucid.explanation.subject import Subject

ALPHA = 0.05
MAPS = 39  # of other inputs: better than 38 of them is p = 0.05
DRAWS = 199
_MARGIN = 0.5  # what a map leaves unexplained, per what the best map drawn from the input alone leaves: development models, see the log


def input_specificity(maps: Tensor, table: Removals, others: Tensor, generator: torch.Generator) -> FaithfulnessScore:
    """The share of other inputs' maps (N, J, P) that explain a sample worse than its own; p-value: its own map is one of them by chance."""
    expected = text("near 1: hardly any other input's map explains the sample as well")
    source = "permutation of maps over inputs; Edgington and Onghena 2007, chapter 3"
    if others.shape[1] < 3:
        return FaithfulnessScore(name="input_specificity", value=None, expected=expected, source=source,
                                 note=text("not tested: give data=, inputs of the same kind, or more samples"))  # fmt: skip
    own, theirs = table.explained(maps), table.explained(others.transpose(0, 1)).T  # (N,), (N, J)
    if len(own) == 1:
        p_value = tail(theirs[0], own[0])
    else:
        every = torch.cat([own[:, None], theirs], 1)
        chosen = torch.randint(0, every.shape[1], (len(own), DRAWS), generator=generator)
        p_value = tail(every.gather(1, chosen).mean(0), float(own.mean()))
    value, interval, samples = mean_of((theirs < own[:, None] - 1e-9).double().mean(1))
    return FaithfulnessScore(name="input_specificity", value=value, interval=interval, samples=samples, p_value=p_value,
                             passed=p_value <= ALPHA, expected=expected, source=source)  # fmt: skip


def class_specificity(maps: Tensor, table: Removals) -> FaithfulnessScore:
    """How much better a map explains the chosen output than the one of the others it explains best: a difference of correlations."""
    expected = text("above 0: the chosen output is explained better than every other one")
    source = "the class sensitivity of Selvaraju et al. 2017, section 3, measured"
    outputs = table.outputs.shape[2]
    if outputs == 1:
        return FaithfulnessScore(name="class_specificity", value=None, expected=expected, source=source,
                                 note=text("not applicable: there is one output"))  # fmt: skip
    others = torch.stack([table.explained(maps, output) for output in range(1, outputs)]).amax(0)
    margin = table.explained(maps) - others
    value, interval, samples = mean_of(margin)
    passed = value > 0 and float((margin > 0).double().mean()) >= 0.5
    return FaithfulnessScore(name="class_specificity", value=value, interval=interval, samples=samples, passed=passed, expected=expected,
                             source=source)  # fmt: skip


def beyond_the_input(maps: Tensor, table: Removals, drawn: Tensor) -> FaithfulnessScore:
    """What a map leaves unexplained, per what the best of the maps `drawn` (Q, N, P) from the input alone leaves.

    1 - (correlation / attainable correlation)^2 of both. Above 0.5 the explanation says little that the picture of the input does not.
    Source: the edge detectors of Adebayo et al. 2018, section 5.1, as competitors.
    """
    own, theirs = table.explained(maps).mean(), table.explained(drawn).mean(1).amax()
    best = torch.stack([table.attainable.mean(), own, theirs, torch.tensor(0.1, dtype=own.dtype)]).amax()
    left, left_by_them = 1 - (own.clamp(min=0) / best) ** 2, 1 - (theirs.clamp(min=0) / best) ** 2
    value = float(left / left_by_them) if float(left_by_them) > 1e-6 else float("inf")
    return FaithfulnessScore(name="beyond_the_input", value=min(value, 1e6), passed=value <= _MARGIN,
                             source="Adebayo et al. 2018, section 5.1", expected=text("at most {margin}", margin=_MARGIN))  # fmt: skip


def drawn_from_inputs(subject: Subject, reference: Reference, players: Players) -> Tensor:
    """(Q, N, P) maps that need no network: a constant, the difference from the reference, its size, edges."""
    ones = torch.ones(subject.samples, players.count, dtype=torch.float64)
    if not all(subject.continuous):
        return ones[None]
    rows = torch.arange(subject.samples, device=subject.device)
    apart = [x - start for x, start in zip(subject.inputs, reference.at(rows), strict=True)]
    found = [ones, *(players.summed(parts).double().cpu() for parts in (apart, [part.abs() for part in apart]))]
    if any(x.dim() > 2 for x in subject.inputs):
        found.append(players.summed([_edges(x) for x in subject.inputs]).double().cpu())
    return torch.stack(found)


def _edges(inputs: Tensor) -> Tensor:
    """The sum of the absolute differences to the neighbours along every axis after the channels; of two axes, along both."""
    found = torch.zeros_like(inputs)
    for axis in range(2 if inputs.dim() > 3 else 1, inputs.dim()):
        step = inputs.diff(dim=axis).abs()
        found.narrow(axis, 1, step.shape[axis]).add_(step)
        found.narrow(axis, 0, step.shape[axis]).add_(step)
    return found
