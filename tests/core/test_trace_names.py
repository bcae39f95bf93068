"""One name for every spelling of an operation."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import get_overridable_functions

from pellucid.core.trace.names import operation_name, spelling


@pytest.mark.parametrize(
    ("name", "functions"),
    [
        ("add", [torch.add, Tensor.add, Tensor.add_, Tensor.__add__, Tensor.__radd__, Tensor.__iadd__, torch.ops.aten.add.Tensor]),
        ("sub", [torch.sub, torch.subtract, Tensor.__sub__, Tensor.subtract_, Tensor.__isub__]),
        ("rsub", [torch.rsub, Tensor.__rsub__]),
        ("div", [torch.div, torch.true_divide, Tensor.__truediv__, Tensor.divide_]),
        ("rdiv", [Tensor.__rdiv__, Tensor.__rtruediv__]),
        ("relu", [torch.relu, torch.relu_, F.relu, Tensor.relu, Tensor.relu_, torch.ops.aten.relu_.default, torch.ops.aten.relu]),
        ("softmax", [torch.softmax, F.softmax, Tensor.softmax, torch.special.softmax]),
        ("sigmoid", [torch.sigmoid, F.sigmoid, torch.special.expit]),
        ("matmul", [torch.matmul, Tensor.__matmul__, torch.linalg.matmul]),
        ("pow", [torch.pow, Tensor.__pow__]),
        ("rpow", [Tensor.__rpow__]),
        ("cat", [torch.cat, torch.concat, torch.concatenate]),
        ("clamp", [torch.clamp, torch.clip, Tensor.clip_]),
        ("linear", [F.linear]),
        ("max_pool2d", [F.max_pool2d]),
        ("getitem", [Tensor.__getitem__]),
        ("setitem", [Tensor.__setitem__]),
        ("mT", [Tensor.mT.__get__]),
        ("t", [Tensor.t, Tensor.T.__get__]),
        ("adjoint", [Tensor.adjoint, Tensor.mH.__get__]),
        ("data", [Tensor.data.__get__]),
        ("set_data", [Tensor.data.__set__]),
        ("log_softmax", [F.log_softmax, torch.log_softmax]),
        ("cross_entropy", [F.cross_entropy]),
        ("bitwise_and", [Tensor.__and__, torch.bitwise_and]),
        ("lstm", [torch.lstm]),
        ("fft_fft", [torch.fft.fft]),
        ("unfold", [F.unfold]),
        ("unfold_dimension", [Tensor.unfold]),
    ],
)
def test_names(name: str, functions: list[Any]) -> None:
    assert [operation_name(function) for function in functions] == [name] * len(functions)


def _documented_aliases() -> list[tuple[str, str]]:
    """(spelling, what PyTorch's documentation says it is an alias of) for every function of PyTorch that a mode can see."""
    found = set()
    for functions in get_overridable_functions().values():
        for function in functions:
            alias = re.search(r"Alias (?:for|of) :(?:func|meth):`~?([\w.]+)", getattr(function, "__doc__", None) or "")
            if alias:
                target = alias.group(1).split(".")[-1].rstrip("_")
                found.add((spelling(function), target))
    numbers = {("ndimension", "dim"), ("nelement", "numel")}  # no operations
    return sorted(found - numbers - {("linalg_diagonal", "diagonal")})  # takes other dimensions when none are named


@pytest.mark.parametrize(("alias", "target"), _documented_aliases())
def test_every_documented_alias_has_the_name_of_its_target(alias: str, target: str) -> None:
    class _Named:
        def __init__(self, name: str) -> None:
            self.__name__ = name

    assert operation_name(_Named(alias)) == operation_name(_Named(target))  # pyright: ignore[reportArgumentType]
