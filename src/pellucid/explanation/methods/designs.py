"""Which coalitions to try, and how their outputs make Shapley values: best linear prediction from coalitions that are not nested.

The coalitions of an order are nested, so that their outputs say nearly the same, and each serves two players only. Here every coalition
serves all players. What games look like is stated as a random game: an additive part that may be anything (the weights are exact on it),
and interactions of three, five and seven players (those of two, four, ... cancel between a coalition and its complement). The weights
have the smallest expected squared error for such games among those that are unbiased for *every* game once the players' roles are drawn.
Sources: D. G. Krige 1951, G. Matheron 1963 (the prediction); L. M. Ruiz, F. Valenciano, J. M. Zarzuelo 1998 (linear, symmetric and
efficient values: one number for each size of coalition says which, and where all are 1 it is the Shapley value); I. Covert, S.-I. Lee 2021
(complements).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from pellucid.explanation.methods.coalitions import Chosen, Estimate, Game, t_quantile

INTERACTIONS = {3: 1.0, 5: 0.3, 7: 0.1}  # how many players, and the variance of what they do together
NOISE = 0.01  # the variance of the rest, which is taken to be different for each coalition
_DRAWS = 8  # of which the best is taken
FEWEST_REPEATS = 3  # of each size of coalition: of twice as many coalitions as players, half would be spent on the additive part
FEWEST_REFERENCES = 20
TWICE = 40  # references that are met twice: the variance of half as many is too uncertain where interactions are few and strong
FEWEST, MOST = 8, 64  # players: sets of seven others; and a linear system of some hundred equations that takes half a second
MOST_IDLE = 0.5  # of the players, over samples and references (one-hot columns where both have a zero): up to there it was measured


@dataclass(frozen=True, eq=False)
class Design:
    """n coalitions of M players, and what makes values of half the differences between them and their complements."""

    members: Tensor  # (n, M) bool
    weights: Tensor  # (n, M)
    rest: Tensor  # (M,) of half the difference between everybody and nobody


@lru_cache(maxsize=32)
def design(players: int, repeats: int) -> Design:
    """Coalitions of every size from 1 to M - 1, each size `repeats` times: as good as about 3.2 `repeats` - 3.4 pairs of orders, by the
    expected error, for 8 to 64 players and 2 to 10 repeats.
    """
    generator = torch.Generator().manual_seed(0)
    return min((_weighted(_coalitions(players, repeats, generator)) for _ in range(_DRAWS)), key=lambda found: found[1])[0]


def _coalitions(players: int, repeats: int, generator: torch.Generator) -> Tensor:
    sizes = torch.arange(1, players).repeat(repeats)
    return torch.rand(len(sizes), players, generator=generator).argsort(1).argsort(1) < sizes[:, None]


def _weighted(members: Tensor) -> tuple[Design, float]:
    """The weights for these coalitions, and the expected squared error."""
    n, M = members.shape
    known = torch.cat([members, torch.ones(1, M, dtype=torch.bool)])  # and everybody
    size, signs = known.sum(1), known.double() * 2 - 1
    apart = ((M - signs @ signs.T) / 2).round().long()  # in how many players two coalitions differ
    among, others = zip(*((_signs(M, k), _signs(M - 1, k - 1)) for k in INTERACTIONS), strict=True)
    scale = [variance / math.comb(M, k) for k, variance in INTERACTIONS.items()]
    outputs = sum(s * table[apart] for s, table in zip(scale, among, strict=True))  # (n + 1, n + 1) covariance
    without = M - size[:, None] - (~known).long()  # absent players among the others of each player
    values = sum(s * 2 / k * table[without] for s, table, k in zip(scale, others, INTERACTIONS, strict=True)) * signs  # with each value
    # unbiased: one condition per size and its complement's. Exact on additive games: the last M rows
    sizes = torch.minimum(size, M - size)[:-1]
    kinds = torch.cat([torch.nn.functional.one_hot(sizes - 1, M // 2).double(), torch.zeros(1, M // 2).double()])  # (n + 1, kinds)
    once = torch.where(2 * size == M, 1.0, 0.5)[:, None].double() * known
    inside = known.double() - size[:, None] / M  # sums to zero over the players
    system = torch.zeros(n + 1 + M, n + 1 + M, dtype=torch.float64)
    system[: n + 1, : n + 1] = outputs
    system[: n + 1, n + 1 :], system[n + 1 :, : n + 1] = signs / 2, signs.T / 2
    right = torch.zeros(n + 1 + M, 1 + M // 2, M, dtype=torch.float64)
    right[: n + 1, 0], right[n + 1 :, 0] = values, torch.eye(M, dtype=torch.float64)
    right[: n + 1, 1:] = kinds[..., None] * inside[:, None]
    system[:n, :n].diagonal().add_(NOISE)
    found = torch.linalg.solve(system, right.flatten(1)).unflatten(1, right.shape[1:])[: n + 1]
    sums = torch.einsum("st,sj,skj->tk", kinds, once, found)  # (kinds, 1 + kinds): must add up to 1
    much = torch.linalg.lstsq(sums[:, 1:], (1 - sums[:, :1]), driver="gelsd").solution[:, 0]  # some condition follows from the others
    found = found[:, 0] + torch.einsum("k,skj->sj", much, found[:, 1:])
    found[:-1] -= found[:-1].mean(1, keepdim=True)  # zero but for rounding: the values add up exactly
    found[-1] += (2 - found[-1].sum()) / M
    prior = sum(s * (2 / k) ** 2 * math.comb(M - 1, k - 1) for s, k in zip(scale, INTERACTIONS, strict=True))
    error = float((torch.einsum("sj,st,tj->j", found, outputs, found) - 2 * (found * values).sum(0) + prior).mean())
    return Design(members, found[:-1], found[-1]), error


def suits(game: Game, idle: Tensor) -> bool:
    """Whether a design is the better choice. `idle` (samples, references, players): who did nothing when first looked at.

    Only orders give a player who does nothing exactly zero; the weights give it zero on average.
    """
    enough = game.references >= FEWEST_REFERENCES and FEWEST <= game.count <= MOST
    return enough and not bool(idle.all(1).any()) and float(idle.double().mean()) <= MOST_IDLE


def designed(game: Game, generator: torch.Generator, pairs: int) -> Estimate:
    """Every sample against every reference by the weights of one design, with the players' roles drawn anew for each reference.

    Some references are met twice, in other roles: how far the two values are apart makes the variance of all. `pairs`: how many pairs of
    orders with each reference would be as good.
    """
    N, M, R = game.samples, game.count, game.references
    plan, dtype = design(M, max(FEWEST_REPEATS, math.ceil((pairs + 3.4) / 3.2))), game.shared_type or torch.bool
    twice = game.drawn_references(min(R, TWICE), generator)  # (N, k)
    references = torch.cat([torch.arange(R, device=game.device).expand(N, R), twice], 1)
    n, clusters = len(plan.members), references.shape[1]
    roles = torch.rand(clusters, M, generator=generator, device=generator.device).argsort(1)
    turned = torch.randint(clusters, (N, 1), generator=generator, device=generator.device)  # samples seldom share their draws
    drawn = ((torch.arange(clusters) + turned.cpu()) % clusters).reshape(-1).to(game.device)  # of each game
    members = plan.members[:, roles.cpu()].transpose(0, 1)  # (clusters, n, M)
    present = torch.cat([members, ~members], 1).to(game.device, dtype)
    roles, weights, rest = roles.to(game.device), plan.weights.to(game.device), plan.rest.to(game.device)
    change = (game.full[:, None] - game.empty.gather(1, references)).reshape(-1, 1)

    def choose(games: Tensor, part: slice) -> Chosen:
        return games // clusters, references.reshape(-1)[games], present[drawn[games]][:, part]

    found = torch.empty(N * clusters, M, dtype=torch.float64, device=game.device)
    for games, v in game.blocks(N * clusters, 2 * n, game.mixed(choose)):
        by_role = ((v[:, :n] - v[:, n:]) @ weights + change[games] * rest) / 2
        found[games] = by_role.gather(1, roles[drawn[games]])
    found = found.reshape(N, clusters, M)
    once, again = found[:, :R], found[:, R:]
    apart = again - once.gather(1, twice[..., None].expand(-1, -1, M))  # (N, k, M)
    values = (once.sum(1) + apart.sum(1) / 2) / R
    squares = apart.square() / 2
    variance = squares.mean(1) * (R - len(twice[0]) / 2) / R**2
    freedom = squares.sum(1).square() / (squares.square().sum(1) / 3).clamp(min=torch.finfo(torch.float64).tiny) - 2  # see `_estimate`
    exact = found.amax(1) - found.amin(1) <= game.noise()
    half = torch.where(exact, 0.0, t_quantile(freedom.clamp(1, twice.shape[1])) * variance.sqrt())
    return Estimate(values, values - half, values + half, exact)


def _signs(count: int, many: int) -> Tensor:
    """The sum over all sets of `many` of `count` players of the product of their signs, by how many signs are negative (Krawtchouk)."""
    return torch.tensor(
        [float(sum((-1) ** i * math.comb(d, i) * math.comb(count - d, many - i) for i in range(many + 1))) for d in range(count + 1)],
        dtype=torch.float64,
    )
