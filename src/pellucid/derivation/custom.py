"""An autograd.Function: its backward is the user's own claim about its forward. Central differences of the forward say whether it holds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from pellucid.derivation.operations import Alone, local_gradients
from pellucid.derivation.recorded import array_of

TOLERANCE = 1e-5  # of central differences
_DIRECTIONS = 4


@dataclass(frozen=True)
class Verdict:
    """What central differences say of a custom backward."""

    kind: str  # "agrees"; "differs": meant to, as straight-through estimators are; "wrong"; "unknown": the function cannot be run again
    error: float  # the worst over the arguments, over the magnitude of the terms of the slope
    argument: int | None = None  # the trace's value whose gradient is worst
    slope: float = 0.0  # by central differences, along a random direction
    claimed: float = 0.0  # the same by the custom backward


def verdict_on(alone: Alone, arriving: Mapping[int, np.ndarray]) -> Verdict:
    """Compare the backward of one autograd.Function with central differences of its forward along random directions.

    <g, f(x + h v) - f(x - h v)> / 2h against <backward(g), v>, for each argument x and several v, with g what arrives at the outputs.
    A backward may differ on purpose: where the derivative is zero almost everywhere (sign, round: a straight-through estimator), and where
    the forward is the identity, so that the gradient is all that the function is for (reversal, scaling, clipping).
    """
    generator = np.random.default_rng(0)
    try:
        values = alone.run()
        gradients = {i: g if np.any(g) else generator.standard_normal(g.shape) for i, g in arriving.items() if values[i].edge is not None}
        claimed = local_gradients(alone, gradients)
        worst = Verdict("agrees", 0.0)
        for index in alone.inputs:
            if values[index].edge is not None:
                found = _along_directions(alone, index, array_of(values[index].tensor), gradients, claimed.get(index), generator)
                worst = max(worst, found, key=lambda verdict: (_GRAVITY[verdict.kind], verdict.error))
        return worst
    except Exception:  # a function that keeps state, or refuses float64: nothing can be said
        return Verdict("unknown", np.nan)


_GRAVITY = {"agrees": 0, "unknown": 1, "differs": 2, "wrong": 3}


def _along_directions(
    alone: Alone,
    index: int,
    point: np.ndarray,
    arriving: Mapping[int, np.ndarray],
    claimed: np.ndarray | None,
    generator: np.random.Generator,
) -> Verdict:
    claimed = np.zeros(point.shape) if claimed is None else claimed
    kept = Verdict("agrees", 0.0)
    same = all(array_of(alone.values[alone.index[i]].tensor).shape == point.shape for i in arriving)
    identity = same and all(np.array_equal(array_of(alone.values[alone.index[i]].tensor), point) for i in arriving)
    for step in (np.cbrt(np.finfo(np.float64).eps), 1e-7):  # the smaller one where a kink lies within the larger
        slopes, claims, terms, flat = [], [], [], 0
        for _ in range(_DIRECTIONS):
            direction = generator.choice((-1.0, 1.0), point.shape) * np.maximum(1.0, np.abs(point))
            above, below = alone.run({index: point + step * direction}), alone.run({index: point - step * direction})
            changes = {i: array_of(above[i].tensor) - array_of(below[i].tensor) for i in arriving}
            flat += not any(np.any(change) for change in changes.values())
            slopes.append(sum(float((arriving[i] * change).sum()) for i, change in changes.items()) / (2 * step))
            claims.append(float((claimed * direction).sum()))
            terms.append(sum(float(np.abs(arriving[i] * change).sum()) for i, change in changes.items()) / (2 * step))
        scale = max(*terms, *map(abs, claims), 1e-300)  # the terms: the outputs of a softmax or a norm change, their sum does not
        errors = [abs(slope - claim) / scale for slope, claim in zip(slopes, claims, strict=True)]
        place = int(np.argmax(errors))
        meant = 2 * flat > _DIRECTIONS or identity
        kind = "agrees" if errors[place] <= TOLERANCE else "differs" if meant else "wrong"
        found = Verdict(kind, errors[place], index, slopes[place], claims[place])
        if kind == "agrees":
            return found
        kept = found if kept.kind == "agrees" or found.error < kept.error or kind == "differs" else kept
    return kept
