"""Central differences of the loss: the one check that needs no derivative at all."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch

from pellucid.core.language import text
from pellucid.core.trace import Trace
from pellucid.derivation.recorded import array_of
from pellucid.derivation.tape import Value

_SECONDS = 30.0  # what sampling may cost where not every entry can be tried
_TOLERANCE = 1e-5
_STEPS = (1.0, 1 / 32, 1 / 1024)  # smaller ones where a kink lies within the larger


@dataclass(frozen=True)
class Slope:
    """One tensor's gradient against central differences of the loss."""

    name: str
    error: float  # |slope - gradient| over the gradient's largest entry, the worst of the entries tried
    tried: int
    entries: int
    entry: tuple[int, ...] = ()  # the worst one
    slope: float = 0.0  # there, by central differences
    gradient: float = 0.0  # there, ours


@dataclass(frozen=True)
class Differences:
    """(L(w + h) - L(w - h)) / 2h against dL/dw, h = cbrt(eps) max(1, |w|); entries sampled where there are many."""

    slopes: tuple[Slope, ...]

    @property
    def worst(self) -> float:
        """The largest error of all tensors."""
        return max((slope.error for slope in self.slopes), default=0.0)

    def __str__(self) -> str:
        rows = [
            text(
                "{name}: {tried} of {entries} entries, error {error}", name=s.name, tried=s.tried, entries=s.entries, error=f"{s.error:.2g}"
            )
            for s in self.slopes
        ]
        return "\n".join(map(str, rows))


def differences_of(exact: Trace, parameters: Mapping[str, Value]) -> Differences:
    """Central differences for every parameter that has a gradient; for the inputs where there is no such parameter.

    Each slope costs two passes. Up to 30 seconds every entry is tried; else the largest gradients and random ones, at least two of each.
    """
    assert exact.loss is not None
    given = {name: value for name, value in parameters.items() if value.requires_gradient}
    loss = _losses(exact)
    began = time.perf_counter()
    loss(next(iter(given), None), None)
    affordable = int(_SECONDS / (2 * max(time.perf_counter() - began, 1e-6)))
    everything = sum(value.array.size for value in given.values())
    share = max(2, affordable // max(len(given), 1))
    generator = np.random.default_rng(0)
    slopes: list[Slope] = []
    seen: set[int] = set()
    for name, value in given.items():
        if value.index not in seen:  # tied parameters once
            seen.add(value.index)
            entries = value.array.size if everything <= affordable else min(value.array.size, share)
            slopes.append(_slope(name, value, entries, lambda array, name=name: loss(name, array), generator))
    return Differences(tuple(slopes))


def _losses(exact: Trace) -> Callable[[str | None, np.ndarray | None], float]:
    """The loss as a function of one tensor."""
    assert exact.loss is not None
    target = exact.loss

    def loss(name: str | None, array: np.ndarray | None) -> float:
        if name is None or array is None:
            again = exact.replay()
        else:
            leaves = {name: torch.from_numpy(array)}
            again = exact.replay(parameters=leaves) if name in exact.parameters else exact.replay(buffers=leaves)
        return float(array_of(again.tensor(target)).reshape(()))

    return loss


def _slope(name: str, value: Value, entries: int, loss: Callable[[np.ndarray], float], generator: np.random.Generator) -> Slope:
    gradient = (value.gradient if value.gradient is not None else np.zeros(value.shape)).reshape(-1)
    if entries >= gradient.size:
        chosen = np.arange(gradient.size)
    else:  # those that matter, and some that should not
        largest = np.argsort(-np.abs(gradient))[: (entries + 1) // 2]
        others = np.setdiff1d(np.arange(gradient.size), largest)
        chosen = np.concatenate([largest, generator.choice(others, entries - len(largest), replace=False)])
    scale = float(np.abs(gradient).max(initial=0.0))
    worst = Slope(name, 0.0, len(chosen), gradient.size)
    eps = float(np.finfo(np.float64).eps)
    for entry in chosen:
        best: tuple[float, float] | None = None
        for part in _STEPS:
            point = np.array(value.array).reshape(-1)
            h = float(np.cbrt(eps)) * part * max(1.0, abs(float(point[entry])))
            middle = point[entry]
            point[entry] = up = middle + h
            above = loss(point.reshape(value.shape))
            point[entry] = down = middle - h
            below = loss(point.reshape(value.shape))
            slope = (above - below) / (up - down)
            rounding = 8 * eps * max(abs(above), abs(below)) / h  # the difference of two rounded losses says nothing below this
            error = abs(slope - gradient[entry]) / max(scale, abs(slope), rounding / _TOLERANCE, 1e-300)
            best = min(best or (np.inf, 0.0), (error, slope))
            if error <= _TOLERANCE:
                break
        assert best is not None
        if best[0] >= worst.error:
            place = tuple(int(i) for i in np.unravel_index(int(entry), value.shape))
            worst = Slope(name, best[0], len(chosen), gradient.size, place, best[1], float(gradient[entry]))
    return worst
