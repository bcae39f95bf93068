"""Agreement: two methods of other families explain the same, and where they do not."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from pellucid.core.language import Text, text
from pellucid.explanation.faithfulness.score import FaithfulnessScore, mean_of, rank_correlation, tail
from pellucid.explanation.players import Players

DRAWS = 199
ALPHA = 0.05


def agreement_scores(
    maps: Tensor, others: Mapping[str, Tensor], players: Players, generator: torch.Generator
) -> tuple[FaithfulnessScore, ...]:
    """The rank correlation over features, (N,), with each other method's maps (N, P), against the same map in random places.

    Reported only: where two methods disagree, this does not say which is right.
    Source: Krishna et al. 2022, section 4.1 (rank correlation of explanations).
    """
    found = []
    for name, other in others.items():
        observed = rank_correlation(maps, other)
        places = torch.rand(DRAWS, maps.shape[1], generator=generator).argsort(1)
        drawn = torch.stack([rank_correlation(maps[:, place], other).mean() for place in places])
        value, interval, samples = mean_of(observed, -1, 1)
        p_value = tail(drawn, value)
        found.append(FaithfulnessScore(
            name=f"agreement_{name}", value=value, interval=interval, samples=samples, p_value=p_value,
            passed=True if p_value <= ALPHA else None,
            expected=text("above 0, that of unrelated maps, p at most {alpha}", alpha=ALPHA), source="Krishna et al. 2022, section 4.1",
            note=_where(maps, other, players),
        ))  # fmt: skip
    return tuple(found)


def _where(maps: Tensor, other: Tensor, players: Players) -> Text:
    """The features on which two maps differ most, each in units of its own size."""
    apart = [scaled / scaled.abs().sum(1, keepdim=True).clamp(min=1e-300) for scaled in (maps.double(), other.double())]
    differ = (apart[0] - apart[1]).abs().mean(0)
    most = differ.topk(min(3, len(differ))).indices.tolist()
    return text(
        "they differ most on {features}", features=[players.names[i] if players.names else text("feature {number}", number=i) for i in most]
    )
