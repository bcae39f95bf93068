"""How far two results are apart, when rounding is allowed for and nothing else.

    error = |ours - theirs| / (the magnitude of the terms summed, or the tensor's largest entry where that is larger)

A gradient that is truly zero is the sum of large terms that cancel: what is left is rounding, small beside the terms. Which terms were
summed is asked of the rules themselves, and only where the plain error, over the largest entry, is too large:

* backward: a rule is linear in the arriving gradient g, dx_i = sum_j J_ji g_j. With random signs s_j it gives sum_j J_ji s_j g_j, whose
  root mean square over the signs is (sum_j (J_ji g_j)^2)^(1/2): never more than the sum of the terms' magnitudes.
* forward: inputs changed by random signs times a small part h of themselves change the output by h sum_j J_ij s_j x_j.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pellucid.core.trace.records import mapped
from pellucid.derivation.registry import Rule
from pellucid.derivation.tape import Tape, Value, run_forward

TOLERANCE = 1e-9  # rounding in float64 stays below, an error of an equation does not
_SMALL = 2.0**-20
_DRAWS = 8


def error_of(ours: np.ndarray, theirs: np.ndarray, terms: float = 0.0) -> float:
    """The largest difference over `terms` or the largest finite entry; infinite where shapes, NaNs or infinities differ.

    Integers and truth values are equal (0) or not (1).
    """
    if ours.shape != theirs.shape:
        return np.inf
    if not ours.size:
        return 0.0
    if theirs.dtype.kind not in "fc":
        return 0.0 if np.array_equal(ours, theirs) else 1.0
    with np.errstate(all="ignore"):
        difference = np.abs(ours - theirs)
        worst = float(difference.max())
        if worst == 0.0:
            return 0.0
        sizes = [np.abs(ours), np.abs(theirs)]
        if not np.isfinite(worst):
            same = (ours == theirs) | (np.isnan(ours) & np.isnan(theirs))
            finite = np.isfinite(ours) & np.isfinite(theirs)
            if not (same | finite).all():
                return np.inf
            if not finite.any():
                return 0.0
            difference, sizes = difference[finite], [size[finite] for size in sizes]
            worst = float(difference.max())
        largest = max(float(size.max()) for size in sizes)
        return worst / max(largest, terms) if worst else 0.0


def forward_error(rule: Rule, arguments: Mapping[str, Any], ours: Sequence[np.ndarray], theirs: Sequence[np.ndarray]) -> float:
    """The worst error of a rule's results."""
    errors = [error_of(mine, its) for mine, its in zip(ours, theirs, strict=True)]
    for position in range(len(errors)):
        if TOLERANCE < errors[position] < np.inf and theirs[position].dtype.kind == "f":
            terms = _forward_terms(rule, arguments, ours[position], position)
            errors[position] = error_of(ours[position], theirs[position], terms)
    return max(errors, default=0.0)


def _forward_terms(rule: Rule, arguments: Mapping[str, Any], output: np.ndarray, position: int) -> float:
    generator, largest = np.random.default_rng(0), 0.0

    def changed(value: Value) -> Value:
        if value.array.dtype.kind != "f":
            return value
        signs = generator.choice((-1.0, 1.0), value.shape)
        return Value(value.index, value.name, value.kind, value.array * (1 + _SMALL * signs), False)

    for _ in range(_DRAWS):
        try:
            near = run_forward(rule, mapped(dict(arguments), Value, changed))[position]
        except Exception:  # the changed arguments are outside of what the rule takes
            break
        with np.errstate(all="ignore"):
            change = np.abs(near - output)
        if change.shape == output.shape and np.isfinite(change).any():
            largest = max(largest, float(change[np.isfinite(change)].max()) / _SMALL)
    return largest


class Magnitudes:
    """The magnitude of the terms of which gradients are sums, asked for one value at a time during a walk back."""

    def __init__(self, tape: Tape, loss: Value) -> None:
        self.tape, self.loss = tape, loss
        self._known: dict[int, np.ndarray] = {}
        self._generator = np.random.default_rng(0)

    def error(self, value: Value, ours: np.ndarray, theirs: np.ndarray) -> float:
        """The error of a value's gradient, over the magnitude of its terms where that is needed."""
        error = error_of(ours, theirs)
        if not TOLERANCE < error < np.inf:
            return error
        plain = error
        for _ in range(_DRAWS):  # a sum with random signs may vanish too: ask until it explains the difference, or several times
            terms = self._draw(value)
            known = self._known.get(value.index)
            self._known[value.index] = terms if known is None else np.maximum(known, terms)
            error = min(plain, error_of(ours, theirs, _largest(self._known[value.index])))
            if error <= TOLERANCE:
                return error
        del self._known[value.index]
        return error

    def _draw(self, value: Value) -> np.ndarray:
        """|sum of terms with random signs| of one value; of values in between that nothing was compared with, too."""
        waiting, fresh = [value], dict[int, np.ndarray]()
        while waiting:
            top = waiting[-1]
            if top.index in fresh:
                waiting.pop()
                continue
            steps = [self.tape.steps[index - 1] for index in dict.fromkeys(top.uses)]
            steps = [step for step in steps if not step.identity and step.gradients]
            unknown = [out for step in steps for out in step.outputs if self._magnitude(out, fresh) is None]
            if unknown:
                waiting += unknown
                continue
            waiting.pop()
            total = np.zeros(top.shape)
            for step in steps:
                signed = []
                for out in step.outputs:
                    magnitude = self._magnitude(out, fresh)
                    assert magnitude is not None
                    signed.append(magnitude * self._generator.choice((-1.0, 1.0), out.shape))
                pulled = step.pull(signed)
                places = step.places
                for place, gradient in pulled.items():
                    if gradient is not None and places[place] is top:
                        total = total + np.abs(gradient)
            fresh[top.index] = total
        return fresh[value.index]

    def _magnitude(self, value: Value, fresh: Mapping[int, np.ndarray]) -> np.ndarray | None:
        if value.index in fresh:
            return fresh[value.index]
        if value.index in self._known:
            return self._known[value.index]
        if value is self.loss or not value.requires_gradient or value.gradient is None:
            return np.ones(value.shape) if value is self.loss else np.zeros(value.shape)
        if value.error is not None:  # compared and found right over its own entries, or PyTorch's value was taken instead
            return np.abs(value.gradient if value.error <= TOLERANCE or value.autograd is None else value.autograd)
        return None


def _largest(array: np.ndarray) -> float:
    finite = array[np.isfinite(array)]
    return float(finite.max()) if finite.size else 0.0
