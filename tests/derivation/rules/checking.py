"""A rule against PyTorch on one call: the traced call's arguments go to the rule, its results and gradients are compared with PyTorch's."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pellucid.core.trace import Operation, Reference, Trace, trace
from pellucid.core.trace.records import mapped, references
from pellucid.derivation.comparison import error_of
from pellucid.derivation.registry import Rule, find_rule


class _Call(nn.Module):
    def __init__(self, call: Callable[..., Any]) -> None:
        super().__init__()
        self.call = call

    def forward(self, *tensors: Tensor) -> Any:
        return self.call(*tensors)


@dataclass
class Call:
    """One traced call of a torch function, ready for its rule."""

    trace: Trace
    operation: Operation
    rule: Rule | None
    arguments: dict[str, Any]  # bound to the rule's parameters, arrays in the place of tensors
    outputs: list[Reference]

    @property
    def theirs(self) -> list[np.ndarray]:
        return [_array(self.trace.tensor(reference)) for reference in self.outputs]


@dataclass(frozen=True, eq=False)
class _Named:
    """A tensor as the tape gives it to `Rule.bind`."""

    reference: Reference
    array: np.ndarray


def _array(tensor: Tensor) -> np.ndarray:
    tensor = tensor.double() if tensor.is_floating_point() else tensor
    array = tensor.detach().numpy(force=True).view()
    array.flags.writeable = False
    return array


def calls(function: Callable[..., Any], args: Any, kwargs: Mapping[str, Any], gradients: bool = True) -> list[Call]:
    """What a trace of function(*args, **kwargs) records. Floating-point tensors without a gradient are constants,

    but without `gradients` all are inputs.
    """
    given: list[Tensor] = []
    constant = lambda tensor: gradients and tensor.is_floating_point() and not tensor.requires_grad  # noqa: E731
    mapped((args, dict(kwargs)), Tensor, lambda tensor: None if constant(tensor) else given.append(tensor))
    given = list({id(tensor): tensor for tensor in given}.values())

    def call(*tensors: Tensor) -> Any:
        inputs = {id(mine): its for mine, its in zip(given, tensors, strict=True)}
        new_args, new_kwargs = mapped((args, dict(kwargs)), Tensor, lambda tensor: inputs.get(id(tensor), tensor))
        return function(*new_args, **new_kwargs)

    with warnings.catch_warnings():  # what PyTorch says of a call is not the rule's matter
        warnings.simplefilter("ignore")
        found = trace(_Call(call), tuple(given), input_gradients=gradients, seed=0)
    made = []
    for operation in found.operations:
        rule = find_rule(operation.name)
        arguments = {}
        if rule is not None:
            call_args, call_kwargs = mapped((operation.args, dict(operation.kwargs)), Reference, lambda r: _array(found.tensor(r)))
            arguments = rule.bind(call_args, call_kwargs, [_array(found.tensor(reference)) for reference in operation.draws])
        outputs = references(operation.outputs) or [after for _, after in operation.written]
        made.append(Call(found, operation, rule, arguments, outputs))
    return made


def flat(results: Any) -> list[np.ndarray]:
    """The results as one list."""
    if isinstance(results, (tuple, list)):
        return [item for result in results for item in flat(result)]
    return [np.asarray(results)]


def _result(call: Call, ours: list[np.ndarray]) -> Any:
    return ours[0] if len(ours) == 1 else tuple(ours)


def check(call: Call) -> tuple[float, float, dict[str, Any]]:
    """The errors (forward, backward) of a rule on a traced call, and its gradients for a random gradient of the output."""
    rule = call.rule
    assert rule is not None
    ours, theirs = flat(rule.run_forward(call.arguments)), call.theirs
    assert len(ours) == len(theirs), f"{len(ours)} results, PyTorch has {len(theirs)}"
    forward = max((error_of(mine, its) for mine, its in zip(ours, theirs, strict=True)), default=0.0)
    generator = np.random.default_rng(1)
    arriving = [generator.standard_normal(array.shape) for array in theirs]
    edges = [call.trace[reference].edge for reference in call.outputs]
    flowing = [i for i, edge in enumerate(edges) if edge is not None]
    if not flowing:
        return forward, 0.0, {}
    arriving = [array if i in flowing else np.zeros(array.shape) for i, array in enumerate(arriving)]
    found = rule.run_backward(_result(call, arriving), _result(call, theirs), call.arguments)
    named = _named_references(call)
    wanted: dict[Reference, list[str]] = {}  # one tensor may stand in several places: autograd has the sum
    for place, reference in named.items():
        if call.trace[reference].edge is not None:
            wanted.setdefault(reference, []).append(place)
    gradients = torch.autograd.grad(
        [edges[i] for i in flowing],
        [call.trace[reference].edge for reference in wanted],
        [torch.from_numpy(arriving[i]) for i in flowing],
        allow_unused=True,
        retain_graph=True,
    )
    mine = _places(found)
    backward = 0.0
    for (_, places), gradient in zip(wanted.items(), gradients, strict=True):
        place = places[0]
        its = None if gradient is None else _array(gradient if gradient.layout == torch.strided else gradient.to_dense())
        parts = [mine[name] for name in places if name in mine]
        array = sum(parts[1:], parts[0]) if parts else None
        if its is None or array is None:
            other = array if its is None else its
            if other is not None and np.any(other != 0):
                raise AssertionError(f"only {'autograd' if array is None else 'the rule'} has a gradient of {place}")
            continue
        if array.shape != its.shape:
            raise AssertionError(f"gradient of {place} has shape {array.shape}, not {its.shape}")
        error = error_of(array, its)
        if 1e-9 < error < np.inf:  # zero but for rounding? The terms summed tell: those of gradients arriving with random signs
            signed = [array * generator.choice((-1.0, 1.0), array.shape) for array in arriving]
            terms = _places(rule.run_backward(_result(call, signed), _result(call, theirs), call.arguments))
            sizes = [float(np.abs(terms[name]).max()) for name in places if name in terms]
            error = error_of(array, its, max(1e-3, *sizes))
        backward = max(backward, error)
    return forward, backward, {place: mine.get(place) for places in wanted.values() for place in places}


def _places(found: Mapping[str, Any]) -> dict[str, np.ndarray]:
    places: dict[str, np.ndarray] = {}

    def take(place: str, gradient: Any) -> None:
        if isinstance(gradient, (list, tuple)):
            for position, item in enumerate(gradient):
                take(f"{place}[{position}]", item)
        elif gradient is not None:
            places[place] = np.asarray(gradient)

    for name, gradient in found.items():
        take(name, gradient)
    return places


def _named_references(call: Call) -> dict[str, Reference]:
    """The argument tensors' references by place: "input", "tensors[1]"."""
    operation, rule = call.operation, call.rule
    assert rule is not None
    args, kwargs = mapped((operation.args, dict(operation.kwargs)), Reference, lambda r: _Named(r, _array(call.trace.tensor(r))))
    arguments = rule.bind(args, kwargs, operation.draws)
    named: dict[str, Reference] = {}

    def take(place: str, argument: Any) -> None:
        if isinstance(argument, _Named):
            named[place] = argument.reference
        elif isinstance(argument, (list, tuple)):
            for position, item in enumerate(argument):
                take(f"{place}[{position}]", item)

    for name, argument in arguments.items():
        if name != "draws":
            take(name, argument)
    return named


def oddly_strided(array: np.ndarray) -> np.ndarray:
    """The same content with gaps, in the reverse order of dimensions, one of them running backwards; read-only."""
    wide = np.empty(tuple(2 * size + 1 for size in reversed(array.shape)), dtype=array.dtype)
    view = wide[(..., *(slice(1, 2 * size + 1, 2) for size in reversed(array.shape)))].transpose()
    if array.ndim:
        view = view[::-1]
    view[...] = array
    view.flags.writeable = False
    return view


def central_difference_error(call: Call, gradients: Mapping[str, Any], step: float = 1e-5) -> float:
    """Our gradients against central differences of our forward pass, along a random direction for each argument."""
    rule = call.rule
    assert rule is not None
    generator = np.random.default_rng(1)
    arriving = [generator.standard_normal(array.shape) for array in call.theirs]
    edges = [call.trace[reference].edge for reference in call.outputs]
    worst = 0.0
    arrays = {place: array for place, array in _places(call.arguments).items() if gradients.get(place) is not None}
    directions = np.random.default_rng(2)
    for place, array in arrays.items():
        if not array.size:
            continue
        direction = directions.standard_normal(array.shape)

        def loss(amount: float, array: np.ndarray = array, direction: np.ndarray = direction, place: str = place) -> float:
            moved = _replaced(call.arguments, place, array + amount * direction)
            results = flat(rule.run_forward(moved))
            return sum(float((g * y).sum()) for g, y, edge in zip(arriving, results, edges, strict=True) if edge is not None)

        numeric = (loss(step) - loss(-step)) / (2 * step)
        terms = np.abs(gradients[place] * direction).sum()
        if terms or numeric:
            worst = max(worst, abs(numeric - float((gradients[place] * direction).sum())) / max(terms, 1e-3))
    return worst


def _replaced(arguments: Mapping[str, Any], place: str, array: np.ndarray) -> dict[str, Any]:
    """The arguments with another array at one place."""

    def visit(here: str, argument: Any) -> Any:
        if here == place:
            return array
        if isinstance(argument, (list, tuple)) and place.startswith(here + "["):
            items = [visit(f"{here}[{position}]", item) for position, item in enumerate(argument)]
            return items if isinstance(argument, list) else tuple(items)
        return argument

    return {name: visit(name, argument) for name, argument in arguments.items()}
