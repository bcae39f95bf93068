"""Infidelity: does the sum over absent features predict what the output loses, and better than maps that do not know the network?"""

from __future__ import annotations

import torch
from torch import Tensor

from pellucid.core.language import Text, text
from pellucid.explanation.faithfulness.removals import FEW, Removals
from pellucid.explanation.faithfulness.score import FaithfulnessScore, mean_of, share_of, tail

DRAWS = 199
FEWEST_DRAWS = 19  # that are other maps: fewer give no p-value of 5 %
ALPHA = 0.05
EXACT = 1e-6  # of the changes' mean square: an error of a thousandth, a hundred times the rounding of float32 networks
HIGH, ALONE, NEARLY, LOW = 0.8, 0.9, 0.8, 0.0625  # shares of what can be explained: see the log of the benchmarks


def infidelity(maps: Tensor, changes: Tensor, absent: Tensor) -> Tensor:
    """The mean over sets of (b sum_j I_j a_j - (f(x) - f(x - I)))^2, least over b >= 0, per mean square of the changes: (N,) in [0, 1].

    maps (N, P), changes (N, M) = f(x) - f(x without the set), absent (P, M) whether feature j is in the set (or that less a mean, where
    the changes are less it too). 0: the map predicts all changes; 1: nothing.
    Source: Yeh et al. 2019, definition 2.1, with the best scale of their section 2.3 (proposition 2.1); b < 0 would praise inverted maps.
    """
    predicted, changes = maps.double() @ absent.double(), changes.double()
    predicted, changes = (x / x.abs().amax(-1, keepdim=True).clamp(min=1e-300) for x in (predicted, changes))  # both scales are free
    power = (changes**2).mean(-1)
    shared = (predicted * changes).mean(-1).clamp(min=0)
    least = power - shared**2 / (predicted**2).mean(-1).clamp(min=1e-300)
    return torch.where(power > 0, least / power.clamp(min=1e-300), torch.ones_like(power)).clamp(0, 1)


def exact(maps: Tensor, table: Removals) -> bool:
    """Whether one scale for each sample makes the map predict every change but for rounding: M sets of P features leave no other map."""
    absent = table.removed.double().T
    changes = (table.full[:, :1] - table.outputs[..., 0]).double()
    still = (changes.abs().amax(1) <= 1e-6 * table.full[:, 0].abs()) & (maps == 0).all(1)
    return bool(((infidelity(maps, changes, absent) <= EXACT) | still).all())


def infidelity_score(maps: Tensor, table: Removals, scrambled: Tensor | None, generator: torch.Generator) -> FaithfulnessScore:
    """Infidelity among sets of one size, against maps that cannot know the network, all kinds of which must be beaten.

    The same values in random places (Gaussian values where there are fewer than six features, or where hardly any places change the map,
    as those of equal values), and maps of the network with scrambled weights, `scrambled` (K, N, P); where there are none, the same sizes
    with random signs (a harder test for maps in which one or two features are nearly all: half of the random signs leave one feature as it
    is). A draw is common to all samples, so that what maps share by their position alone counts once. Beating all of them is one test, the
    largest p-value (Berger 1982, intersection-union).
    """
    observed = table.explained(maps)
    p_values = {"places": tail(_drawn(maps, table, generator), float(observed.mean()))}
    if scrambled is None and bool((maps < 0).any()) and maps.shape[1] >= FEW:
        signs = torch.randint(0, 2, (DRAWS, 1, maps.shape[1]), generator=generator) * 2 - 1
        p_values["signs"] = tail(table.explained(maps * signs).mean(1), float(observed.mean()))
    if scrambled is not None:
        p_values["networks"] = tail(table.explained(scrambled).mean(1), float(observed.mean()))
    worst = max(p_values, key=lambda kind: p_values[kind])
    value, interval, samples = mean_of(infidelity(maps, table.changes[0], table.indicators), 0, 1)
    return FaithfulnessScore(
        name="infidelity", value=value, interval=interval, samples=samples, p_value=p_values[worst], passed=p_values[worst] <= ALPHA,
        expected=text("below that of maps that know nothing of the network: p at most {alpha}", alpha=ALPHA),
        source="Yeh et al. 2019, definition 2.1", note=_note(worst, p_values[worst]),
    )  # fmt: skip


def _drawn(maps: Tensor, table: Removals, generator: torch.Generator) -> Tensor:
    """(DRAWS,) the mean score of maps whose values stand in random places."""
    places = torch.rand(DRAWS, maps.shape[1], generator=generator).argsort(1)
    moved = maps[:, places].transpose(0, 1)  # (DRAWS, N, P)
    moved = moved[((moved - maps).abs() > 1e-6 * maps.abs().amax(-1, keepdim=True)).flatten(1).any(1)]  # what is the same map is no other
    if maps.shape[1] < FEW or len(moved) < FEWEST_DRAWS:
        moved = torch.randn(DRAWS, *maps.shape, generator=generator, dtype=maps.dtype)
    return table.explained(moved).mean(1)


def _note(worst: str, p_value: float) -> Text | None:
    if p_value <= ALPHA:
        return None
    return {
        "places": text("the same values in random places predict as well"),
        "signs": text("the same map with random signs predicts as well"),
        "networks": text("maps of a network with scrambled weights predict as well"),
    }[worst]


def share_explained(maps: Tensor, table: Removals, path: Tensor | None = None) -> FaithfulnessScore:
    """The share of what an additive map can explain at all: (correlation of this map / correlation of the best additive map)^2.

    The best map is a ridge regression on one half of the sets, scored on the other, an estimate from below; or `path` (N, P), integrated
    gradients, where they reach more. Negative where the map is wrong way round.
    Source: the surrogate of LIME (Ribeiro, Singh and Guestrin 2016, equation 1) with equal weights.
    """
    best = table.attainable if path is None else torch.maximum(table.attainable, table.explained(path))
    value, interval, samples = share_of(table.explained(maps), best)
    least = HIGH if len(maps) > 1 else ALONE
    return FaithfulnessScore(
        name="share_explained", value=value, interval=interval, samples=samples, passed=value >= least,
        expected=text("at least {share} of what the best additive map explains", share=least), source="Ribeiro et al. 2016, equation 1",
        note=None if value >= least else text("below the {least:.0%} that are asked of a single sample", least=least) if len(maps) == 1
        else text("below the {least:.0%} that are asked of {count} samples", least=least, count=len(maps)),
    )  # fmt: skip
