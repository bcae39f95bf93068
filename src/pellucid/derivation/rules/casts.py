"""The same numbers: copied, in another number type, or cut off from the gradient."""

from __future__ import annotations

import numpy as np
import torch

from pellucid.core.language import text
from pellucid.derivation.registry import rule

_SOURCE = "Paszke et al. 2019, PyTorch: an imperative style, high-performance deep learning library, section 4"
_KINDS = {
    torch.bool: np.bool_, torch.uint8: np.uint8, torch.int8: np.int8, torch.int16: np.int16, torch.int32: np.int32, torch.int64: np.int64,
}  # fmt: skip
_EQUATIONS = {"forward": r"Y = X", "backward": {"input": r"\bar{X} = \bar{Y}"}, "symbols": {"X": "input", "Y": "output"}, "source": _SOURCE}


def converted(array, dtype):
    """In another number type: every floating-point type is float64 here; to an integer, digits after the point are cut off."""
    if isinstance(dtype, torch.dtype):
        dtype = _KINDS.get(dtype, np.float64)
    if np.issubdtype(dtype, np.floating):
        dtype = np.float64
    if np.issubdtype(dtype, np.integer) and array.dtype.kind == "f":
        array = array.astype(np.int64)  # as PyTorch does: first cut off, then wrap around
    return array.astype(dtype, copy=False)


def _passed(dY, input):
    return {"input": dY} if input.dtype.kind == "f" else {}


@rule(
    "clone", "contiguous", "positive", "alias", "lift_fresh", "pin_memory", "cpu", "cuda", "real", "conj", "conj_physical", "resolve_conj",
    "resolve_neg", function=torch.clone, **_EQUATIONS,
)  # fmt: skip
class clone:
    def forward(input, *args, **options):
        return input

    def backward(dY, Y, input, *args, **options):
        return {"input": dY}


@rule(
    "to", "type", function=torch.Tensor.to, **_EQUATIONS,
    note=text("All floating-point types are computed in float64 here; an integer or truth value has no gradient."),
)  # fmt: skip
class to:
    def forward(input, *args, **options):
        wanted = [item for item in (*args, options.get("dtype"), options.get("other")) if item is not None]
        for item in wanted:
            if isinstance(item, torch.dtype):
                return converted(input, item)
            if isinstance(item, np.ndarray):
                return converted(input, item.dtype)
            if isinstance(item, str) and item.rsplit(".")[-1].endswith("Tensor"):  # x.type("torch.LongTensor")
                return converted(input, _TYPES.get(item.rsplit(".")[-1], torch.float64))
            if isinstance(item, type) and item.__name__.endswith("Tensor"):
                return converted(input, _TYPES.get(item.__name__, torch.float64))
        return input

    def backward(dY, Y, input, *args, **options):
        return _passed(dY, input)


_TYPES = {
    "BoolTensor": torch.bool, "ByteTensor": torch.uint8, "CharTensor": torch.int8, "ShortTensor": torch.int16, "IntTensor": torch.int32,
    "LongTensor": torch.int64,
}  # fmt: skip


@rule(
    "type_as", "_to_copy", function=torch.Tensor.type_as, **_EQUATIONS,
    note=text("All floating-point types are computed in float64 here; an integer or truth value has no gradient."),
)  # fmt: skip
class type_as:
    def forward(input, other=None, *, dtype=None, **options):
        return input if other is None and dtype is None else converted(input, dtype or other.dtype)

    def backward(dY, Y, input, other=None, *, dtype=None, **options):
        return _passed(dY, input)


@rule(
    "float", "double", "half", "bfloat16", function=torch.Tensor.double, **_EQUATIONS,
    note=text("All floating-point types are computed in float64 here; an integer or truth value has no gradient."),
)  # fmt: skip
class float_:
    def forward(input, *, memory_format=None):
        return converted(input, torch.float64)

    def backward(dY, Y, input, *, memory_format=None):
        return _passed(dY, input)


def _whole(name, dtype):
    """The rule of a conversion to integers or truth values: no gradient."""

    class body:
        def forward(input, *, memory_format=None):
            return converted(input, dtype)

        def backward(dY, Y, input, *, memory_format=None):
            return {}

    body.__module__ = __name__
    equation = r"Y = [X \neq 0]" if name == "bool" else r"Y = \operatorname{trunc}(X)"
    made = rule(
        name, function=getattr(torch.Tensor, name), forward=equation, backward={}, symbols={"X": "input", "Y": "output"}, source=_SOURCE
    )
    return made(body)


for _name, _dtype in (
    ("long", torch.int64), ("int", torch.int32), ("short", torch.int16), ("char", torch.int8), ("byte", torch.uint8), ("bool", torch.bool),
):  # fmt: skip
    _whole(_name, _dtype)


@rule(
    "detach", "data", function=torch.Tensor.detach,
    forward=r"Y = X", backward={}, symbols={"X": "input", "Y": "output"}, source=_SOURCE,
    note=text("The gradient stops here: Y counts as a constant."),
)  # fmt: skip
class detach:
    def forward(input):
        return input

    def backward(dY, Y, input):
        return {}
