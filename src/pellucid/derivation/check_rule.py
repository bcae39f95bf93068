"""check_rule: a rule by itself against PyTorch's function, autograd, and central differences of its own forward."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pellucid.core.errors import OptionError, did_you_mean
from pellucid.core.language import Text, text
from pellucid.core.records import Record
from pellucid.core.trace.records import mapped, tensors
from pellucid.derivation.comparison import TOLERANCE, error_of, forward_error
from pellucid.derivation.registry import Rule, all_rules, find_rule
from pellucid.derivation.tape import Step, Tape, Value, run_forward

_DIFFERENCES = 1e-5


@dataclass(frozen=True, kw_only=True)
class Comparison(Record):
    """Two numbers that should be equal: the entry where they are furthest apart."""

    error: float  # relative: over the terms summed, or the largest entry
    ours: float
    theirs: float
    entry: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True)
class RuleCheck(Record):
    """A rule on one set of arguments. `print` it: each line has both numbers."""

    rule: str
    passed: bool
    forward: Comparison | None  # against the torch function; None where the rule names none
    backward: Mapping[str, Comparison] = field(default_factory=lambda: dict[str, Comparison]())  # by argument, against autograd
    differences: Mapping[str, Comparison] = field(default_factory=lambda: dict[str, Comparison]())  # by argument, along random directions

    def __str__(self) -> str:
        head = text("Rule {name}: passed", name=self.rule) if self.passed else text("Rule {name}: not passed", name=self.rule)
        lines = [str(head)]
        rows: list[tuple[str, Text | str, Comparison]] = [("forward", "PyTorch", self.forward)] if self.forward else []
        rows += [(f"dL/d({name})", "autograd", found) for name, found in self.backward.items()]
        rows += [(f"dL/d({name})", text("central differences"), found) for name, found in self.differences.items()]
        for what, other, found in rows:
            numbers = {"ours": f"{found.ours:.9g}", "theirs": f"{found.theirs:.9g}", "error": f"{found.error:.2g}"}
            line = text("{what}: {ours}, by {other} {theirs}, relative error {error}", what=what, other=other, **numbers)
            lines.append(f"  {line}")
        return "\n".join(lines)


def check_rule(rule: Rule | str, arguments: Mapping[str, Any] | Sequence[Any]) -> RuleCheck:
    """Compare a rule with its torch function: the result, each gradient by autograd, and by central differences of the rule's own forward.

    `arguments` are those of `forward`, by name or in order, tensors or arrays where it takes tensors; floating-point ones are taken in
    float64, and a random gradient arrives at the outputs.

        print(pellucid.check_rule("linear", (torch.randn(5, 3), torch.randn(2, 3), torch.randn(2))))

    Raises:
        OptionError: there is no rule of this name.
        Unsupported: the rule does not cover these arguments.
    """
    if isinstance(rule, str):
        found = find_rule(rule)
        if found is None:
            raise OptionError(
                text("there is no rule for {name!r}", name=rule), text("a traced operation with a rule"), did_you_mean(rule, all_rules())
            )
        rule = found
    given = mapped(dict(arguments) if isinstance(arguments, Mapping) else tuple(arguments), (Tensor, np.ndarray), _tensor)
    draws = given.pop("draws", ()) if isinstance(given, dict) else ()
    args, kwargs = ((), given) if isinstance(given, dict) else (given, {})
    tape, leaves = Tape(), dict[int, Value]()

    def leaf(tensor: Tensor) -> Value:
        return leaves.setdefault(id(tensor), tape.leaf(tensor.detach().numpy(), "input"))

    bound = rule.bind(args, kwargs, draws)
    values = mapped(bound, Tensor, leaf)
    ours = run_forward(rule, values)
    step = tape.add(rule.name, rule, values, ours)
    generator = np.random.default_rng(0)
    arriving = [generator.standard_normal(value.shape) if value.differentiable else None for value in step.outputs]
    gradients = step.pull(arriving)
    forward: Comparison | None = None
    backward: dict[str, Comparison] = {}
    if rule.function is not None:
        twins = {id(tensor): tensor.detach().clone().requires_grad_(tensor.requires_grad) for tensor in tensors((args, kwargs, draws))}
        inputs = {place: twins[id(tensor)] for place, tensor in zip(step.places, tensors(bound), strict=True)}
        args, kwargs = mapped((args, {**kwargs, **({"draws": draws} if draws else {})}), Tensor, lambda tensor: twins[id(tensor)])
        theirs = tensors(rule.function(*args, **kwargs))
        arrays = [tensor.detach().numpy() for tensor in theirs]
        if len(arrays) != len(ours):
            forward = Comparison(error=np.inf, ours=float(len(ours)), theirs=float(len(arrays)))
        else:
            errors = [_furthest(a, b) for a, b in zip(ours, arrays, strict=True)]
            worst = max(errors, key=lambda comparison: comparison.error)
            forward = Comparison(error=forward_error(rule, values, ours, arrays), ours=worst.ours, theirs=worst.theirs, entry=worst.entry)
            backward = _by_autograd(step, theirs, inputs, arriving, gradients)
    differences = _by_differences(step, arriving, gradients, generator)
    passed = (
        (forward is None or forward.error <= TOLERANCE)
        and all(found.error <= TOLERANCE for found in backward.values())
        and all(found.error <= _DIFFERENCES for found in differences.values())
    )
    return RuleCheck(rule=rule.name, passed=passed, forward=forward, backward=backward, differences=differences)


def _tensor(item: Tensor | np.ndarray) -> Tensor:
    tensor = torch.from_numpy(np.array(item)) if isinstance(item, np.ndarray) else item.detach().cpu().clone()
    return tensor.double().requires_grad_() if tensor.is_floating_point() else tensor


def _furthest(ours: np.ndarray, theirs: np.ndarray) -> Comparison:
    error = error_of(ours, theirs)
    if ours.shape != theirs.shape or not ours.size:
        return Comparison(error=error, ours=float(ours.size), theirs=float(theirs.size))
    with np.errstate(all="ignore"):
        place = int(np.nan_to_num(np.abs(np.asarray(ours, float) - np.asarray(theirs, float)), nan=np.inf).argmax())
    entry = tuple(int(i) for i in np.unravel_index(place, ours.shape))
    return Comparison(error=error, ours=float(ours[entry]), theirs=float(theirs[entry]), entry=entry)


def _by_autograd(
    step: Step, theirs: list[Tensor], inputs: dict[str, Tensor], arriving: Sequence[np.ndarray | None], gradients: Mapping[str, Any]
) -> dict[str, Comparison]:
    pairs = [(t, torch.from_numpy(g)) for t, g in zip(theirs, arriving, strict=True) if g is not None and t.requires_grad]
    wanted = {place: tensor for place, tensor in inputs.items() if tensor.requires_grad}
    if not pairs or not wanted:
        return {}
    outputs, grads = [list(column) for column in zip(*pairs, strict=True)]
    found = torch.autograd.grad(outputs, list(wanted.values()), grads, allow_unused=True)
    result: dict[str, Comparison] = {}
    for (place, tensor), gradient in zip(wanted.items(), found, strict=True):
        theirs_array = np.zeros(tuple(tensor.shape)) if gradient is None else gradient.detach().numpy()
        ours = gradients.get(place)
        ours = np.zeros(tuple(tensor.shape)) if ours is None else ours
        comparison = _furthest(ours, theirs_array)
        error = min(comparison.error, error_of(ours, theirs_array, _terms(step, place, arriving)))
        result[place] = Comparison(error=error, ours=comparison.ours, theirs=comparison.theirs, entry=comparison.entry)
    return result


def _terms(step: Step, place: str, arriving: Sequence[np.ndarray | None]) -> float:
    """The magnitude of the terms summed in a gradient: the largest entry with random signs before the terms (see comparison.py)."""
    generator, largest = np.random.default_rng(1), 0.0
    for _ in range(4):
        signed = [None if g is None else g * generator.choice((-1.0, 1.0), g.shape) for g in arriving]
        gradient = step.pull(signed).get(place)
        if gradient is not None and gradient.size:
            largest = max(largest, float(np.nan_to_num(np.abs(gradient), posinf=0.0).max()))
    return largest


def _by_differences(
    step: Step, arriving: Sequence[np.ndarray | None], gradients: Mapping[str, Any], generator: np.random.Generator
) -> dict[str, Comparison]:
    """<g, f(x + h v) - f(x - h v)> / 2h against <gradient, v> for the rule's own forward f, along random directions v."""
    assert step.rule is not None
    found: dict[str, Comparison] = {}
    h = float(np.cbrt(np.finfo(np.float64).eps))
    for place in gradients:
        value, worst = step.places[place], Comparison(error=0.0, ours=0.0, theirs=0.0)
        point, gradient = value.array, gradients[place]
        for _ in range(3 if point.size else 0):
            direction = generator.standard_normal(point.shape) * np.maximum(1.0, np.abs(point))
            slopes = []
            for part in (h, h / 32):
                sums = []
                for sign in (1, -1):
                    value.array = point + sign * part * direction
                    results = run_forward(step.rule, step.arguments)
                    sums.append([float((g * r).sum()) for g, r in zip(arriving, results, strict=True) if g is not None])
                value.array = point
                slopes.append(sum(up - down for up, down in zip(*sums, strict=True)) / (2 * part))
            claim = 0.0 if gradient is None else float((gradient * direction).sum())
            scale = max(abs(claim), float(np.abs(0.0 if gradient is None else gradient * direction).max()), *map(abs, slopes), 1e-300)
            slope = min(slopes, key=lambda s: abs(s - claim))
            worst = max(worst, Comparison(error=abs(slope - claim) / scale, ours=claim, theirs=slope), key=lambda c: c.error)
        found[place] = worst
    return found
