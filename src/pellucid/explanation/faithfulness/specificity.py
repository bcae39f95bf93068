"""Specificity: an explanation must serve this input and this class, better than the maps of other inputs and other classes do."""

from __future__ import annotations

import torch
from torch import Tensor

from pellucid.core.language import text
from pellucid.explanation.faithfulness.removals import Removals
from pellucid.explanation.faithfulness.score import FaithfulnessScore, mean_of, tail

ALPHA = 0.05
MAPS = 39  # of other inputs: better than 38 of them is p = 0.05
ALONE = 99  # for a single sample, where they are cheap: five of them may explain it better by chance
DRAWS = 199


def input_specificity(maps: Tensor, table: Removals, others: Tensor, generator: torch.Generator) -> FaithfulnessScore:
    """The share of other inputs' maps (N, J, P) that explain a sample worse than its own; p-value: its own map is one of them by chance."""
    expected = text("near 1, p at most {alpha}: hardly any other input's map explains the sample as well", alpha=ALPHA)
    source = "Edgington and Onghena 2007, chapter 3"
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
    value, interval, samples = mean_of((theirs < own[:, None] - 1e-9).double().mean(1), 0, 1)
    return FaithfulnessScore(name="input_specificity", value=value, interval=interval, samples=samples, p_value=p_value,
                             passed=p_value <= ALPHA, expected=expected, source=source)  # fmt: skip


def class_specificity(maps: Tensor, table: Removals) -> FaithfulnessScore:
    """How much better a map explains the chosen output than the one of the others it explains best: a difference of correlations."""
    expected = text("above 0: the chosen output is explained better than every other one")
    source = "Selvaraju et al. 2017, section 3"
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
