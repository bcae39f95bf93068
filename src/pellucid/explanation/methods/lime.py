"""LIME: a linear model of the network's output around each sample, in terms of which features are present."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from pellucid.core.language import Text, text
from pellucid.explanation.methods.coalitions import Chosen, Estimate, Game, t_quantile
from pellucid.explanation.players import Players
from pellucid.explanation.reference import Reference
from pellucid.explanation.registry import Attributed, method
from pellucid.explanation.subject import Subject, Tell

WIDTH = 0.25  # of the kernel, in cosine distance: the authors' own program's for images and words
RIDGE = 1e-6  # the penalty on the squared weights beside the mean squared error: it decides between equal features and shrinks nothing
AIM = 0.05  # of a sample's largest weight: the half width of its widest interval that the number of coalitions is chosen for
MOST_DRAWN = 4096
FAITHFUL_SHARE = 0.5  # of the variation: below it more is left over than the weights account for


@method("lime", family="surrogate")
def lime(
    subject: Subject, *, reference: Reference, players: Players, generator: torch.Generator, samples: int | None, tell: Tell
) -> Attributed:
    """The weights of a ridge regression of v(S) on who is in S, for S drawn at random and weighted by closeness.

    weights = argmin sum_S k(S) (v(S) - b - sum_{j in S} w_j)^2 / sum_S k(S) + RIDGE |w|^2, k(S) = exp(-d(S)^2 / WIDTH^2), where
    d = 1 - sqrt(|S| / M) is the cosine distance of S from everybody, and a player is in S with probability 1/2. A pilot chooses the number
    of coalitions, fresh ones make the weights and their intervals.
    Source: M. T. Ribeiro, S. Singh, C. Guestrin, "Why should I trust you?", 2016, equation 1 and section 3.4.
    """
    game = Game(subject, reference, players, tell)
    if samples is None:
        fewest = max(64, 6 * (game.count + 1))
        pilot, _ = fitted(game, fewest, generator)
        widest = ((pilot.high - pilot.low) / 2).amax(1).mean() / pilot.values.abs().amax(1).mean().clamp(min=1e-300)
        samples = min(max(MOST_DRAWN, fewest), max(fewest, math.ceil(fewest * float(widest / AIM) ** 2)))
    found, share = fitted(game, max(samples, 2 * game.count + 3), generator)
    dtype = subject.predictions.dtype
    note = text(
        "the linear models that LIME fits account for {mean:.0%} of the variation among their coalitions, {least:.0%} in the worst case",
        mean=float(share.mean()), least=float(share.min()),
    )  # fmt: skip
    warnings = tuple[Text, ...]()
    if bool((share < FAITHFUL_SHARE).any()):
        alone = text(
            "careful: the linear model accounts for less than half of the variation, so that its weights say little about the network; "
            "shapley or occlusion do not assume a linear model"
        )
        careful = alone if len(share) == 1 else text(
            "careful: of {count} of {samples} samples the linear model accounts for less than half of the variation, so that its weights "
            "say little about the network there; shapley or occlusion do not assume a linear model",
            count=int((share < FAITHFUL_SHARE).sum()), samples=len(share),
        )  # fmt: skip
        warnings = (careful,)
    low, high = (players.spread(bound.to(dtype)) for bound in (found.low, found.high))
    return Attributed(
        players.spread(found.values.to(dtype)), low, high, exact=players.spread(found.exact), notes=(note,), warnings=warnings
    )


def fitted(game: Game, drawn: int, generator: torch.Generator) -> tuple[Estimate, Tensor]:
    """The regression of every sample on the same `drawn` coalitions, and the share (samples,) of the variation that it accounts for.

    The interval allows for errors of unequal spread: the sandwich A^-1 (sum_S h_S e_S^2 h_S') A^-1 with residuals over 1 - leverage.
    Source: J. G. MacKinnon, H. White 1985 (HC3).
    """
    N, M = game.samples, game.count
    present = torch.rand(drawn, M, generator=generator, device=generator.device).lt(0.5).to(game.device)
    which = torch.randint(game.references, (drawn,), generator=generator, device=generator.device).to(game.device)

    def choose(games: Tensor, part: slice) -> Chosen:
        return games // drawn, which[games % drawn], present[games % drawn, None]

    v = game.values(N * drawn, 1, choose).reshape(N, drawn).T  # (drawn, N)
    distance = 1 - (present.sum(1).double() / M).sqrt()
    closeness = torch.softmax(-((distance / WIDTH) ** 2), 0)[:, None]  # (drawn, 1), sums to 1
    design = torch.cat([torch.ones_like(distance)[:, None], present.double(), _controls(game, present, which)], 1)  # (drawn, columns)
    columns = design.shape[1]
    penalty = RIDGE * torch.eye(columns, dtype=torch.float64, device=game.device)
    penalty[0, 0] = 0
    gram = design.T @ (closeness * design) + penalty
    solve = torch.linalg.solve(gram, (closeness * design).T)  # (columns, drawn): weights = solve @ v
    solve = solve + torch.linalg.solve(gram, penalty @ solve)  # iterated once, the penalty shrinks by its square: 1e-5 becomes 1e-10
    weights = solve @ v
    residual = v - design @ weights  # (drawn, N)
    leverage = (design * solve.T).sum(1, keepdim=True)
    variance = solve.square() @ (residual / (1 - leverage).clamp(min=1e-6)).square()  # (columns, N)
    exact = (residual.abs().amax(0) <= game.noise()[:, 0])[:, None].expand(N, M)
    half = t_quantile(torch.tensor(float(drawn - columns), dtype=torch.float64)).to(game.device) * variance[1 : M + 1].T.sqrt()
    rounding = game.noise() * solve[1 : M + 1].abs().sum(1)  # (N, M) what the rounding of the network's values can do to a weight
    half = torch.where(exact, rounding, half)
    values = weights[1 : M + 1].T
    total = (closeness * (v - (closeness * v).sum(0)).square()).sum(0)
    share = 1 - (closeness * residual.square()).sum(0) / total.clamp(min=1e-300)
    return Estimate(values, values - half, values + half, exact), torch.where(total > 0, share, 1.0)


def _controls(game: Game, present: Tensor, which: Tensor) -> Tensor:
    """Of a table: how far what stands in for an absent column lies from the references' mean, (drawn, M), zero for present ones.

    Zero on average whoever is present: these columns change no weight and take the references' own variation out of the errors.
    """
    single = all(game.subject.continuous) and sum(index.numel() for index in game.players.index) == game.count
    if not single or game.references == 1:
        return torch.empty(len(present), 0, dtype=torch.float64, device=game.device)
    entries = torch.cat([values.flatten(1) for values in game.reference.values], 1)
    order = torch.cat([index.reshape(-1) for index in game.players.index]).argsort()
    away = (entries - entries.mean(0)).double()[:, order]
    return away[which] * ~present
