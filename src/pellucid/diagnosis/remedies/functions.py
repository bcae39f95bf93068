"""A change of autograd functions of the user's own: their gradient is that of their forward."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from pellucid.core.language import text
from pellucid.core.trace.execution import generator_access
from pellucid.core.trace.model import random_state_kept
from pellucid.diagnosis.experiments.experiment import Experiment, mapped
from pellucid.diagnosis.experiments.samples import called, device_of, on_device
from pellucid.diagnosis.remedies import cannot, remedy
from pellucid.diagnosis.remedies.rewiring import around_the_model


@remedy("differentiate")
def differentiate(experiment: Experiment, _: Mapping[str, Any]) -> Experiment:
    """The gradient of an autograd.Function is that of its forward, as autograd finds it, in the place of its own backward.

    While the model runs, and only then, the user's class keeps beside its result what it was given; the node of that one call gets the
    backward. A call that was made elsewhere, or in another thread before, keeps the class's own.
    """
    kind = "differentiate"
    with experiment.seeded(0):
        model, _optimizer = experiment.build(0)
        inputs, targets = on_device(experiment.first_batch(), device_of(model))
        model.train()
        outputs = called(model, inputs)
        found = _functions([outputs, experiment.loss(outputs, targets)])
    if not found:
        raise cannot(kind, text("the model calls no autograd.Function"))

    @contextmanager
    def context() -> Generator[None]:
        with ExitStack() as changed:
            for function in found:
                changed.enter_context(_differentiated(function))
            yield

    return around_the_model(experiment, kind, context)


def _functions(values: Any) -> list[type[Function]]:
    """The classes of the user's own functions in the graph of these values, each once."""
    waiting: list[Any] = []
    mapped(lambda tensor: (waiting.append(tensor.grad_fn), tensor)[1], values)
    found, known = dict[type[Function], None](), set[Any]()
    while waiting:
        node = waiting.pop()
        if node is None or node in known:
            continue
        known.add(node)
        owner = getattr(node, "_forward_cls", None)
        if owner is not None and not owner.__module__.startswith("torch."):
            found[owner] = None
        waiting.extend(following for following, _ in node.next_functions)
    return list(found)


@contextmanager
def _differentiated(function: type[Function]) -> Generator[None]:
    """Calls of this class inside the block have nodes whose backward is that of the forward."""
    apart = function.setup_context is not Function.setup_context  # the form in which forward gets no ctx
    name = "setup_context" if apart else "forward"
    own, was = vars(function).get(name), getattr(function, name)
    forward = function.forward

    def kept(ctx: Any, *args: Any, **kwargs: Any) -> Any:
        given = args[0] if apart else args
        plain = (lambda *values: forward(*values)) if apart else (lambda *values: forward(_Context(values), *values))
        ctx._forward_cls = SimpleNamespace(backward=_backward_of(plain, given), vjp=Function.vjp)
        return was(ctx, *args, **kwargs)

    setattr(function, name, staticmethod(kept))
    try:
        yield
    finally:
        if own is None:
            delattr(function, name)
        else:
            setattr(function, name, own)


def _backward_of(forward: Callable[..., Any], args: Sequence[Any]) -> Callable[..., tuple[Any, ...]]:
    """The backward of a forward at these arguments; where a gradient of it is wanted in turn, through the arguments themselves.

    The forward runs again, and draws the random numbers that it drew.
    """
    devices = {torch.device("cpu"), *(one.device for one in args if isinstance(one, Tensor) and one.device.type != "meta")}
    drawn = {device: generator_access(device)[0]() for device in devices}

    def backward(ctx: Any, *gradients: Any) -> tuple[Any, ...]:
        again = torch.is_grad_enabled()
        wanted = [place for place, needed in enumerate(ctx.needs_input_grad) if needed]
        values = [
            one if again or not isinstance(one, Tensor) else one.detach().requires_grad_(place in wanted) for place, one in enumerate(args)
        ]
        with torch.enable_grad(), random_state_kept(devices, None):
            for device, state in drawn.items():
                generator_access(device)[1](state)
            outputs = forward(*values)
        several = outputs if isinstance(outputs, tuple) else (outputs,)
        pairs = [
            (output, gradient) for output, gradient in zip(several, gradients, strict=True)
            if isinstance(output, Tensor) and output.requires_grad and gradient is not None
        ]  # fmt: skip
        found: list[Any] = [None] * len(args)
        if pairs and wanted:
            slopes = torch.autograd.grad(
                [output for output, _ in pairs], [values[place] for place in wanted], [gradient for _, gradient in pairs],
                create_graph=again, allow_unused=True,
            )  # fmt: skip
            for place, slope in zip(wanted, slopes, strict=True):
                found[place] = slope
        return tuple(found)

    return backward


class _Context:
    """What a forward is given to keep for its backward, which is not called."""

    def __init__(self, args: tuple[Any, ...]) -> None:
        self.needs_input_grad = tuple(isinstance(one, Tensor) and one.requires_grad for one in args)
        self.saved_tensors: tuple[Any, ...] = ()

    def save_for_backward(self, *tensors: Any) -> None:
        self.saved_tensors = tensors

    def mark_dirty(self, *_: Any) -> None: ...

    def mark_non_differentiable(self, *_: Any) -> None: ...

    def set_materialize_grads(self, _: bool) -> None: ...
