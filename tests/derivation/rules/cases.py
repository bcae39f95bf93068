"""How the tables cases_FAMILY.py say a call of a torch function: `CASES = {"rule name": [case(...), ...]}`.

    CASES = {
        "linear": [
            case(normal(3, 4), normal(5, 4), normal(5)),
            case(normal(3, 4), normal(5, 4), bias=None),
        ],
        "sum": [case(normal(2, 3), 1, True), case(normal(2, 3)).calling(lambda x: x.sum(0, keepdim=True))],
        "abs": [case(given([0.0, -1.0])).at_a_kink()],
    }

A tensor is said by how it is drawn (`normal(3, 4)`); lists and dicts of tensors may be nested. The call goes to the rule's torch function,
or to that of `.calling(function)`, which may be any Python function that makes one traced call of the rule's name (or alias).
Every case is also tried on arrays with odd strides. `.refused("words")`: the rule does not cover the call, and these words say why.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Draw:
    """A tensor to be drawn."""

    make: Callable[[torch.Generator], Tensor]
    name: str
    differentiable: bool = True

    def __call__(self, generator: torch.Generator) -> Tensor:
        tensor = self.make(generator)
        return tensor.requires_grad_() if self.differentiable and tensor.is_floating_point() else tensor

    def constant(self) -> Draw:
        """The same without a gradient: a buffer, a weight of classes."""
        return replace(self, differentiable=False)

    def times(self, factor: float) -> Draw:
        return Draw(lambda g: self.make(g) * factor, f"{factor}*{self.name}")

    def plus(self, constant: float) -> Draw:
        return Draw(lambda g: self.make(g) + constant, f"{self.name}+{constant}")

    def __repr__(self) -> str:
        return self.name


def normal(*shape: int) -> Draw:
    """Standard normal numbers in float64."""
    return Draw(lambda g: torch.randn(shape, generator=g, dtype=torch.float64), f"normal{list(shape)}")


def between(low: float, high: float, *shape: int) -> Draw:
    """Uniform numbers from `low` to `high`."""
    return Draw(lambda g: low + (high - low) * torch.rand(shape, generator=g, dtype=torch.float64), f"between({low},{high}){list(shape)}")


def positive(*shape: int) -> Draw:
    """Numbers from 0.2 to 2."""
    return between(0.2, 2.0, *shape)


def unit(*shape: int) -> Draw:
    """Numbers from 0.05 to 0.95: probabilities."""
    return between(0.05, 0.95, *shape)


def apart(*shape: int) -> Draw:
    """Numbers of both signs, no two closer than 0.1 and none closer than 0.05 to 0: no ties, no kinks near."""

    def make(g: torch.Generator) -> Tensor:
        count = torch.Size(shape).numel()
        return ((torch.randperm(count, generator=g).double() - count // 2 + 0.5) / 10).reshape(shape)

    return Draw(make, f"apart{list(shape)}")


def simplex(*shape: int) -> Draw:
    """Probabilities that sum to one along the dimension 1 (the last, where there is only one)."""
    return Draw(lambda g: torch.randn(shape, generator=g, dtype=torch.float64).softmax(min(1, len(shape) - 1)), f"simplex{list(shape)}")


def integers(high: int, *shape: int, low: int = 0) -> Draw:
    """Integers from `low` up to, not including, `high`."""
    return Draw(lambda g: torch.randint(low, high, shape, generator=g), f"integers({low},{high}){list(shape)}")


def mask(*shape: int) -> Draw:
    """True or False with equal probability."""
    return Draw(lambda g: torch.rand(shape, generator=g) < 0.5, f"mask{list(shape)}")


def signs(*shape: int) -> Draw:
    """-1 or 1 in float64."""
    return Draw(lambda g: 2.0 * torch.randint(0, 2, shape, generator=g).double() - 1, f"signs{list(shape)}")


def given(content: Any) -> Draw:
    """This very content; floating-point numbers in float64."""

    def make(_: torch.Generator) -> Tensor:
        tensor = torch.as_tensor(content)
        return tensor.double() if tensor.is_floating_point() else tensor

    return Draw(make, f"given({content})")


@dataclass(frozen=True)
class Case:
    """One call of a torch function."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    function: Callable[..., Any] | None = None
    kink: bool = False  # where there is no derivative and a convention decides: no central differences
    refusal: str = ""  # words of the refusal
    tolerance: float = 1e-12  # of the results

    def calling(self, function: Callable[..., Any]) -> Case:
        return replace(self, function=function)

    def at_a_kink(self) -> Case:
        return replace(self, kink=True)

    def refused(self, words: str) -> Case:
        return replace(self, refusal=words)

    def within(self, tolerance: float) -> Case:
        """PyTorch's own result is no better than this: its series are short."""
        return replace(self, tolerance=tolerance)

    def __str__(self) -> str:
        parts = [repr(item) for item in self.args] + [f"{key}={value!r}" for key, value in self.kwargs.items()]
        return re.sub(r" at 0x[0-9a-f]+", "", f"({', '.join(parts)})")[:120]  # one name in every process


def case(*args: Any, **kwargs: Any) -> Case:
    """A call with these arguments."""
    return Case(args, kwargs)
