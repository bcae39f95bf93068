"""Shapley values: exact by enumeration where that is affordable, else by antithetic permutations or designs (see designs), with intervals.

phi_j = the mean over all orders of the players of v(those before j, and j) - v(those before j), where v(S) is the model's output with the
players in S as they are and the others taken from a reference sample, averaged over the references (the interventional game).
Sources: L. S. Shapley 1953; J. Castro, D. Gomez, J. Tejada 2009 (sampling orders); E. Strumbelj, I. Kononenko 2014 (an order and a
reference drawn together); S. Lundberg, S.-I. Lee 2017; R. Mitchell, J. Cooper, E. Frank, G. Holmes 2022 (an order and its reverse).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from pellucid.core.language import Text, text
from pellucid.explanation.methods.coalitions import Chosen, Estimate, Game, t_quantile
from pellucid.explanation.methods.designs import designed, suits
from pellucid.explanation.players import Players
from pellucid.explanation.reference import Reference
from pellucid.explanation.registry import Attributed, method
from pellucid.explanation.subject import Subject, Tell

MOST_ENUMERATED = 12  # players: 4096 coalitions
MOST_PASSES = 2**18  # for all coalitions of all samples with every reference; a network of 3 layers on one core makes 500 000 a second
PILOT_REFERENCES = 8  # two pairs of orders with each
PILOT_SAMPLES = 32  # say how many pairs all of them need
AIM = 0.05  # of a sample's largest value: the half width of its widest interval that the size of the sample is chosen for
FEWEST_PAIRS, MOST_PAIRS = 32, 512


@method("shapley", family="shapley")
def shapley(
    subject: Subject, *, reference: Reference, players: Players, generator: torch.Generator, samples: int | None, tell: Tell
) -> Attributed:
    """Each player's Shapley value. `samples`: pairs of orders per sample; all coalitions are tried where that takes no more passes."""
    game = Game(subject, reference, players, tell)
    found = shapley_values(game, generator, samples)
    change = game.full - game.empty.mean(1)
    gap = (found.values.sum(1) - change).abs() / change.abs().clamp(min=1e-300)
    gap = torch.where((found.values.sum(1) - change).abs() <= game.noise()[:, 0], 0.0, gap)  # rounding is no gap
    dtype = subject.predictions.dtype
    low, high = (players.spread(bound.to(dtype)) for bound in (found.low, found.high))
    return Attributed(
        players.spread(found.values.to(dtype)), low, high, exact=players.spread(found.exact), gap=float(gap.max()),
        notes=(_note(game, samples),),
    )  # fmt: skip


def _note(game: Game, pairs: int | None) -> Text:
    if affordable(game, pairs):
        return text("exact: all {count} coalitions of the features were tried", count=2**game.count)
    drawn = text("Shapley values from coalitions drawn at random; the features' values add up exactly, each has a 95 % interval")
    if game.count > MOST_ENUMERATED or pairs is not None:
        return drawn
    return text(
        "{drawn} (all {coalitions} coalitions with {references} references of {samples} samples would be too many; fewer references or "
        "samples make it exact)",
        drawn=drawn, coalitions=2**game.count, references=game.references, samples=game.samples,
    )  # fmt: skip


def affordable(game: Game, pairs: int | None) -> bool:
    """Whether all coalitions are tried: within what `pairs` of orders would take, and where nothing was asked for within `MOST_PASSES`."""
    each = 2**game.count * game.references if game.count <= MOST_ENUMERATED else math.inf
    return each * game.samples <= MOST_PASSES if pairs is None else each <= 2 * pairs * max(1, game.count - 1)


def shapley_values(game: Game, generator: torch.Generator, pairs: int | None = None) -> Estimate:
    """Exact where all coalitions can be tried, else sampled."""
    return enumerated(game) if affordable(game, pairs) else sampled(game, generator, pairs)


def enumerated(game: Game) -> Estimate:
    """All 2^M coalitions with every reference: phi_j = sum over S without j of |S|! (M - |S| - 1)! / M! (v(S and j) - v(S))."""
    M, R, coalitions = game.count, game.references, 2**game.count
    members = (torch.arange(coalitions, device=game.device)[:, None] >> torch.arange(M, device=game.device)) & 1 == 1  # (2^M, M)
    size = members.sum(1)
    joined = torch.tensor([0.0, *(1 / (M * math.comb(M - 1, s - 1)) for s in range(1, M + 1))], dtype=torch.float64, device=game.device)
    absent = torch.tensor([*(1 / (M * math.comb(M - 1, s)) for s in range(M)), 0.0], dtype=torch.float64, device=game.device)
    weights = torch.where(members, joined[size, None], -absent[size, None])  # (2^M, M)

    def choose(games: Tensor, part: slice) -> Chosen:  # nobody and everybody are known
        return games // R, games % R, members[None, 1:-1][:, part]

    v = game.values(game.samples * R, coalitions - 2, choose).reshape(game.samples, R, -1).mean(1)
    v = torch.cat([game.empty.mean(1, keepdim=True), v, game.full[:, None]], 1)  # (samples, 2^M)
    return Estimate.of_exact(v @ weights)


def contributions(game: Game, references: Tensor, pairs: int, generator: torch.Generator, rows: Tensor | None = None) -> Tensor:
    """What each player adds, (samples, clusters, pairs, M), averaged over an order drawn at random and its reverse.

    `references` (samples, clusters): the reference sample that each cluster of pairs plays against. `rows`: which samples, None for all.
    """
    (N, clusters), M = references.shape, game.count
    rows = torch.arange(N, device=game.device) if rows is None else rows
    drawn = torch.rand(N * clusters * pairs, M, generator=generator, device=generator.device).argsort(1)
    place = drawn.to(game.device, torch.int8 if M < 2**7 else torch.int32)  # of a player in its order
    reference = references.reshape(-1).repeat_interleave(pairs)
    # the prefixes of the order that are neither empty nor full, then those of its reverse, their complements: place < length, >= length
    dtype = game.shared_type or torch.float32
    length = torch.arange(1, M, device=game.device, dtype=dtype)
    start, sign = torch.cat([length, 1 - length])[:, None], torch.ones_like(length)[:, None]
    sign = torch.cat([-sign, sign])

    def choose(orders: Tensor, part: slice) -> Chosen:
        present = torch.addcmul(start[part], sign[part], place[orders, None].to(dtype)).clamp_(0, 1)
        return rows[orders // (clusters * pairs)], reference[orders], present if game.shared_type else present > 0

    added = torch.empty(len(place), M, dtype=torch.float64, device=game.device)
    for orders, v in game.blocks(len(place), 2 * (M - 1), game.mixed(choose)):
        change = (game.full[rows[orders // (clusters * pairs)]] - game.empty[rows[orders // (clusters * pairs)], reference[orders]])[
            :, None
        ]
        apart = torch.cat(
            [-change, v[:, : M - 1] - v[:, M - 1 :], change], 1
        )  # (n, M + 1): those before less the others, one more at a time
        added[orders] = apart.diff(dim=1).gather(1, place[orders].long()).div_(2)
    return added.reshape(N, clusters, pairs, M)


def sampled(game: Game, generator: torch.Generator, pairs: int | None = None) -> Estimate:
    """Antithetic pairs of orders, in clusters that share a reference: two-stage sampling of (reference, order).

    A pilot says how much of the variance the references make and how much the orders, and thereby how many pairs are needed (where
    `pairs` does not say) and how a reference's own output f(r) - mean f predicts what its cluster gives: taken off, it makes the sum of the
    values f(x) - mean f(r) exactly. Fresh references and orders make the values and intervals.
    Where all references are met and no player was seen to do nothing, a design needs fewer coalitions for the same error.
    Source: W. G. Cochran, "Sampling Techniques", 1977, section 10.4 (the variance); F. E. Satterthwaite 1946 (degrees of freedom).
    """
    R = game.references
    first = game.drawn_references(min(R, PILOT_REFERENCES), generator)
    looked = slice(None, None, math.ceil(game.samples / PILOT_SAMPLES) if pairs is None else 1)
    pilot = _pilot(game, first, looked, generator) if pairs is None or pairs < 2 * R else None
    clusters, each = _split(_enough(pilot[0], R) if pairs is None and pilot is not None else pairs or FEWEST_PAIRS, R)
    if pairs is None and pilot is not None and clusters == R and suits(game, pilot[2]):
        return designed(game, generator, each)
    chosen = game.drawn_references(clusters, generator)
    fresh = contributions(game, chosen, each, generator)
    if clusters == R or pilot is None:  # every reference is met equally often: the control is zero on average
        return _estimate(fresh, fresh, R, game.noise())
    if looked.step > 1:
        pilot = _pilot(game, first, slice(None), generator)
    return _estimate(_corrected(game, fresh, chosen, pilot[1]), pilot[0], R, game.noise())


def _pilot(game: Game, references: Tensor, looked: slice, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Of the samples that are looked at: what a few pairs give, corrected, (samples, clusters, pairs, M), the slopes, (samples, M), and who
    did nothing in any pair of a cluster, (samples, clusters, M) bool.
    """
    rows, references = torch.arange(game.samples, device=game.device)[looked], references[looked]
    raw = contributions(game, references, max(2, FEWEST_PAIRS // 2 // references.shape[1]), generator, rows)
    slope = _slope(_control(game, references, rows), raw.mean(2))
    idle = (raw.abs() <= game.noise()[rows, :, None, None]).all(2)
    return _corrected(game, raw, references, slope, rows), slope, idle


def _control(game: Game, references: Tensor, rows: Tensor | None = None) -> Tensor:
    """f(r) - mean f of the references (samples, clusters): zero on average."""
    empty = game.empty if rows is None else game.empty[rows]
    return empty.gather(1, references) - empty.mean(1, keepdim=True)


def _corrected(game: Game, added: Tensor, references: Tensor, slope: Tensor, rows: Tensor | None = None) -> Tensor:
    return added - (_control(game, references, rows)[..., None] * slope[:, None])[:, :, None]


def _slope(control: Tensor, means: Tensor) -> Tensor:
    """Least squares of the clusters' means (samples, clusters, M) on the control (samples, clusters). The slopes of a sample sum to -1."""
    centred = control - control.mean(1, keepdim=True)
    spread = centred.square().sum(1, keepdim=True)
    slope = (centred[..., None] * means).sum(1) / spread.clamp(min=torch.finfo(spread.dtype).tiny)
    return torch.where(spread > 0, slope, -1 / means.shape[2])


def _variances(pairs: Tensor) -> tuple[Tensor, Tensor]:
    """Between clusters, (samples, M), and within each of them, (samples, clusters, M)."""
    means = pairs.mean(2)
    within = (pairs - means[:, :, None]).square().sum(2) / (pairs.shape[2] - 1)
    return (means.var(1) if means.shape[1] > 1 else torch.zeros_like(means[:, 0])), within


def _split(pairs: int, references: int) -> tuple[int, int]:
    """Clusters, and pairs in each of them: two at least, for a variance; all references where there are pairs enough."""
    if pairs >= 2 * references:
        return references, max(2, round(pairs / references))
    return max(2, pairs // 2), 2


def _enough(pilot: Tensor, references: int) -> int:
    """How many pairs bring the mean half width of the samples' widest intervals to `AIM` of their largest values."""
    between, within = _variances(pilot)
    within = within.mean(1)
    between = (between - within / pilot.shape[2]).clamp(min=0)  # of the references alone
    aim = AIM * pilot.mean((1, 2)).abs().amax(1).mean()
    n = FEWEST_PAIRS
    while n < MOST_PAIRS:
        clusters, each = _split(n, references)
        variance = (1 - clusters / references) * between / clusters + within / (clusters * each)
        if 2 * variance.amax(1).sqrt().mean() <= aim:
            break
        n = min(MOST_PAIRS, math.ceil(n * 1.2))
    # beyond half of what it takes to meet every reference twice, that is the better bargain: the references' variance is gone at once
    return max(n, 2 * references) if references < n else n


def _estimate(pairs: Tensor, pilot: Tensor, references: int, noise: Tensor) -> Estimate:
    """Mean and t interval of (samples, clusters, pairs, M). Exact: what varies, pilot included, by no more than `noise` (samples, 1)."""
    _, clusters, each, _ = pairs.shape
    values = pairs.mean((1, 2))
    between, within = _variances(pairs)
    share = clusters / references
    outer = (1 - share) * between / clusters  # (samples, M)
    inner = share * within / (each * clusters**2)  # (samples, clusters, M)
    variance = outer + inner.sum(1)
    # the mean of s^4 over samples of d + 1 is (1 + 2 / d) sigma^4: hence d + 2, and 2 taken off, which is exact for a single cluster
    freedom = variance.square() / (outer.square() / (clusters + 1) + inner.square().sum(1) / (each + 1)) - 2
    freedom = freedom.nan_to_num(1.0).clamp(1, clusters * each - 1)
    spread = torch.maximum(pairs.amax((1, 2)), pilot.amax((1, 2))) - torch.minimum(pairs.amin((1, 2)), pilot.amin((1, 2)))
    exact = spread <= noise
    half = torch.where(exact, 0.0, t_quantile(freedom) * variance.sqrt())
    return Estimate(values, values - half, values + half, exact)
