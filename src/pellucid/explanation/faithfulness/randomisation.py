"""Parameter randomisation: an explanation that stays the same when the network forgets all it learnt explains no network."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from pellucid.core.language import text
from pellucid.explanation.checks import close
from pellucid.explanation.faithfulness.relatives import Relatives, scrambled
from pellucid.explanation.faithfulness.score import FaithfulnessScore, mean_of, rank_correlation
from pellucid.explanation.subject import Subject

NETWORKS = 3  # at least
_LIMIT = 0.5
_SPREAD = 0.2  # of the mean correlation of unrelated maps that samples share, at most: the limit lies 2.5 of it away


def randomisation_score(
    mapped: Callable[[Subject], Tensor], own: Tensor, relatives: Relatives, base: Subject, generator: torch.Generator
) -> FaithfulnessScore:
    """The rank correlation of the maps `own` (N, P) with those of the same method on networks with scrambled weights, mean over them.

    Three networks, more where features are few: Spearman's correlation of P unrelated values has the standard deviation 1 / sqrt(P - 1).
    Source: Adebayo et al. 2018, section 3 (Spearman's correlation with and without absolute values: theirs, with signs kept).
    """
    found = []
    for _ in range(max(NETWORKS, math.ceil(_SPREAD**-2 / (own.shape[1] - 1)))):
        other = relatives.with_network(scrambled(base.model, generator), base)
        other.predictions = other.outputs(other.inputs)  # as they are: a network that overflows is no error here
        if not close(other.predictions, base.predictions):  # else it is the same network
            found.append(rank_correlation(own, mapped(other)))
        other.model = base.model
    expected = text("at most {limit}: a network that forgot all has another map", limit=_LIMIT)
    if not found:
        return FaithfulnessScore(name="parameter_randomisation", value=None, expected=expected, source="Adebayo et al. 2018, section 3",
                                 note=text("not tested: other weights leave the outputs as they are"))  # fmt: skip
    value, interval, samples = mean_of(torch.stack(found).mean(0), -1, 1)
    return FaithfulnessScore(
        name="parameter_randomisation", value=value, interval=interval, samples=samples, passed=value <= _LIMIT,
        expected=expected, source="Adebayo et al. 2018, section 3",
    )  # fmt: skip
