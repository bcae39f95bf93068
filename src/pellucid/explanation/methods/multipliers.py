"""DeepLIFT's rules, operation by operation: the value of a call stays as it is, its derivative becomes the multiplier."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from pellucid.core.errors import PellucidError
from pellucid.core.trace.names import operation_name
from pellucid.core.trace.records import mapped, tensors
from pellucid.explanation.attending import taken_apart

_NODES = 16  # of the average of a derivative along a line
_SAME = 1e-6  # relative change below which the derivative itself is the multiplier: the quotient would be rounding

ELEMENTWISE = {
    "relu", "relu6", "leaky_relu", "prelu", "rrelu", "elu", "selu", "celu", "gelu", "silu", "mish", "softplus", "softsign", "sigmoid",
    "tanh", "logsigmoid", "log_sigmoid", "hardsigmoid", "hardswish", "hardtanh", "hardshrink", "softshrink", "tanhshrink", "threshold",
    "clamp", "clamp_min", "clamp_max", "abs", "exp", "exp2", "expm1", "log", "log2", "log10", "log1p", "sqrt", "rsqrt", "square",
    "reciprocal", "rdiv", "pow", "float_power", "rpow", "sin", "cos", "tan", "asin", "acos", "atan", "sinh", "cosh", "asinh", "acosh",
    "atanh", "erf", "erfc", "sinc", "maximum", "minimum", "fmax", "fmin", "logaddexp", "nan_to_num",
}  # fmt: skip
ALONG_A_LINE = {
    "softmax", "log_softmax", "softmin", "logsumexp", "layer_norm", "rms_norm", "group_norm", "instance_norm", "local_response_norm",
    "normalize", "norm", "vector_norm", "linalg_norm", "linalg_vector_norm", "var", "std", "prod", "cumprod", "glu",
    "cosine_similarity", "pairwise_distance", "cdist", "dist", "lp_pool1d", "lp_pool2d",
}  # fmt: skip
PRODUCTS = {"mul", "matmul", "bmm", "mm", "mv", "dot", "inner", "einsum", "outer", "linear", "multiply"}
POOLS = {"max_pool1d", "max_pool2d", "max_pool3d", "adaptive_max_pool1d", "adaptive_max_pool2d", "adaptive_max_pool3d"}
LINEAR = {  # in what depends on the input: their derivative is the multiplier
    "linear", "conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d", "add", "sub", "rsub", "mul",
    "div", "neg", "positive", "matmul", "rmatmul", "bmm", "mm", "mv", "addmm", "baddbmm", "dot", "inner", "einsum", "tensordot",
    "outer", "batch_norm", "mean", "sum", "nansum", "cumsum", "trace", "avg_pool1d", "avg_pool2d", "avg_pool3d", "adaptive_avg_pool1d",
    "adaptive_avg_pool2d", "adaptive_avg_pool3d", "pad", "constant_pad_nd", "interpolate", "upsample", "pixel_shuffle",
    "pixel_unshuffle", "unfold", "fold", "unfold_dimension", "cat", "stack", "hstack", "vstack", "dstack", "chunk", "split",
    "tensor_split", "unbind", "getitem", "setitem", "select", "narrow", "index_select", "gather", "take_along_dim", "scatter",
    "scatter_add", "index_add", "reshape", "view", "view_as", "flatten", "unflatten", "squeeze", "unsqueeze", "transpose", "t", "mT",
    "permute", "movedim", "expand", "expand_as", "broadcast_to", "repeat", "repeat_interleave", "tile", "flip", "roll", "rot90",
    "diagonal", "diag", "tril", "triu", "clone", "contiguous", "to", "float", "double", "type", "type_as", "requires_grad_",
    "requires_grad", "copy", "alpha_dropout", "dropout", "dropout1d", "dropout2d", "dropout3d", "feature_dropout",
    "feature_alpha_dropout", "embedding", "addcmul", "lerp", "where", "masked_fill", "atleast_2d", "real", "swapaxes",
    "channel_shuffle", "cross", "addmv", "ravel", "masked_select", "broadcast_tensors", "meshgrid", "bilinear", "set_data", "fill",
    "zero",
}  # fmt: skip
_MASKED = {"where": 0, "masked_fill": 1, "masked_select": 1}  # linear only while the mask is the same in both passes


class Untreated(PellucidError):  # noqa: N818 (a signal between two files, not an error of the tree)
    """An operation without a rule."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


class Replaced(torch.autograd.Function):
    """The value of the second argument with the derivative of the first."""

    @staticmethod
    def forward(ctx: Any, linear: Tensor, value: Tensor) -> Tensor:
        return value.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        return gradients[0], None


class _AlongALine(torch.autograd.Function):
    """The value of a function with its derivative averaged from a reference to the input, by Gauss-Legendre."""

    @staticmethod
    def forward(ctx: Any, entry: Tensor, reference: Tensor, value: Tensor, function: Callable[[Tensor], Tensor]) -> Tensor:
        ctx.save_for_backward(entry.detach(), reference)
        ctx.function = function
        return value.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        entry, reference = ctx.saved_tensors
        nodes, weights = np.polynomial.legendre.leggauss(_NODES)
        total = torch.zeros_like(entry)
        with torch.enable_grad():
            for node, weight in zip((nodes + 1) / 2, weights / 2, strict=True):
                point = (reference + float(node) * (entry - reference)).requires_grad_()
                (slope,) = torch.autograd.grad(ctx.function(point), point, gradients[0])
                total += float(weight) * slope
        return total, None, None, None


@dataclass(eq=False)
class _Met:
    """What an operation took and gave in the first pass."""

    name: str
    operands: list[Tensor]
    result: Tensor | None


class Rules:
    """Two passes: the first, on the reference, is noted down; the second, on the input, gets multipliers for derivatives."""

    def __init__(self) -> None:
        self.noted: list[_Met] = []
        self.position: int | None = None  # None: the first pass

    def second(self) -> None:
        self.position = 0

    def meet(self, func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        if not torch.is_grad_enabled():
            return NotImplemented
        dependent = [tensor for tensor in tensors((args, dict(kwargs))) if tensor.requires_grad]
        if not dependent:
            return NotImplemented
        result = taken_apart(func, args, kwargs, self._attend)
        if result is not NotImplemented:
            return result
        name = operation_name(func)
        written = args[0] if _in_place(func, kwargs) and args and isinstance(args[0], Tensor) else None
        met = self._ruled(name, func if written is None else _out_of_place(func), args, _without(kwargs, "inplace"), dependent)
        if met is NotImplemented:
            return self._linear(name, func, args, kwargs, dependent)
        return met if written is None else written.copy_(met)

    def _ruled(self, name: str, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], dependent: list[Tensor]) -> Any:
        one = all(tensor is dependent[0] for tensor in dependent)
        if name in ("div", "true_divide") and args and any(args[1] is tensor for tensor in dependent):
            return self._quotient(args[0], args[1]) if not kwargs.get("rounding_mode") else NotImplemented
        if name in PRODUCTS and len(dependent) > 1:
            if len(dependent) > 2 or (name == "linear" and kwargs.get("bias", args[2] if len(args) > 2 else None) is not None):
                raise Untreated(name)
            return self._product(name, lambda a, b: func(*_in_turn(args, dependent, (a, b)), **kwargs), dependent[0], dependent[-1])
        if name in ("maximum", "minimum", "fmax", "fmin") and len(dependent) == 2:
            apart = dependent[0] - dependent[1]  # max(a, b) = (a + b + |a - b|) / 2
            sign = 1 if name in ("maximum", "fmax") else -1
            return (dependent[0] + dependent[1] + sign * self._elementwise("abs", torch.abs, apart)) / 2
        if name in ELEMENTWISE and one:
            return self._elementwise(name, lambda x: func(*_with(args, dependent[0], x), **_with(kwargs, dependent[0], x)), dependent[0])
        if name in ALONG_A_LINE and one:
            return self._along_a_line(name, lambda x: func(*_with(args, dependent[0], x), **_with(kwargs, dependent[0], x)), dependent[0])
        if name in POOLS:
            if kwargs.pop("return_indices", False):
                raise Untreated(name)
            pool = getattr(F, name + "_with_indices")
            return self._largest(name, lambda x: pool(x, *args[1:], **_without(kwargs, "input")), dependent[0], spatial=int(name[-2]))
        if name in ("max", "min", "amax", "amin"):
            return self._reduced(name, func, args, kwargs, dependent[0])
        return NotImplemented

    def _linear(self, name: str, func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], dependent: list[Tensor]) -> Any:
        if name in _MASKED:
            masks = [tensor for tensor in tensors((args, dict(kwargs))) if tensor.dtype == torch.bool]
            before = self._note(name, masks, None)
            if before is not None and any(not torch.equal(old, new) for old, new in zip(before.operands, masks, strict=True)):
                raise Untreated(f"{name} with a condition that differs between input and reference")
        result = func(*args, **kwargs)
        if name not in LINEAR and any(tensor.requires_grad for tensor in tensors(result)):
            raise Untreated(name)
        if name in ("addcmul", "lerp", "bilinear", "cross", "tensordot", "addmm", "baddbmm", "addmv", "linear") and len(dependent) > 1:
            bias_only = name in ("addmm", "baddbmm", "addmv") and sum(tensor.requires_grad for tensor in args[1:]) < 2
            if not bias_only:
                raise Untreated(name)
        return result

    # -- the rules -------------------------------------------------------------------------------------------------------------------

    def _elementwise(self, name: str, function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        point = x.detach().clone().requires_grad_()
        value = function(point * 1)  # a result, because an in-place spelling writes into it
        before = self._note(name, [point], value)
        if before is None or before.result is None:
            return Replaced.apply(torch.zeros_like(value) + 0 * _broadcast(x, value), value.detach())  # any derivative: nobody asks
        (slope,) = torch.autograd.grad(value.sum(), point)
        old = before.operands[0]
        entry, reference = _broadcast(point.detach(), value), _broadcast(old, value)
        apart = entry - reference
        close = apart.abs() <= _SAME * (entry.abs() + reference.abs()) + torch.finfo(apart.dtype).tiny
        share = 1 if value.shape == x.shape else x.numel() / value.numel()  # a sum over broadcast entries
        local = _broadcast(slope * share, value)
        multiplier = torch.where(close, local, (value.detach() - before.result) / torch.where(close, torch.ones_like(apart), apart))
        return Replaced.apply(multiplier * _broadcast(x, value), value.detach())

    def _along_a_line(self, name: str, function: Callable[[Tensor], Any], x: Tensor) -> Tensor:
        with torch.no_grad():
            value = function(x.detach().clone())
        if not isinstance(value, Tensor):
            raise Untreated(name)
        before = self._note(name, [x], value)
        return _AlongALine.apply(x, x.detach().clone() if before is None else before.operands[0], value, function)

    def _product(self, name: str, function: Callable[[Tensor, Tensor], Tensor], a: Tensor, b: Tensor) -> Tensor:
        """ab - a'b' = (a - a') (b + b') / 2 + (b - b') (a + a') / 2."""
        with torch.no_grad():
            value = function(a, b)
        before = self._note(name, [a, b], value)
        old_a, old_b = (a.detach(), b.detach()) if before is None else before.operands
        return Replaced.apply(function(a, (b.detach() + old_b) / 2) + function((a.detach() + old_a) / 2, b), value)

    def _quotient(self, a: Any, b: Tensor) -> Tensor:
        """a times 1 / b, whose multiplier is -1 / (b b')."""
        inverse = self._elementwise("reciprocal", torch.reciprocal, b)
        if isinstance(a, Tensor) and a.requires_grad:
            return self._product("mul", torch.mul, a, inverse)
        return a * inverse

    def _largest(self, name: str, pool: Callable[[Tensor], tuple[Tensor, Tensor]], x: Tensor, spatial: int) -> Tensor:
        """A window's change goes to its largest entry: of the input where it rose, of the reference where it fell."""
        with torch.no_grad():
            value, place = pool(x.detach())
        before = self._note(name, [x, place], value)
        if before is None or before.result is None:
            return Replaced.apply(0 * x.sum() + torch.zeros_like(value), value)
        old, old_place = before.operands
        flat, old_flat = x.flatten(-spatial), old.flatten(-spatial)

        def at(entries: Tensor, where: Tensor) -> Tensor:
            return entries.gather(-1, where.flatten(-spatial)).reshape(value.shape)

        rose = value > before.result
        entry = torch.where(rose, at(flat, place), at(flat, old_place))
        reference = torch.where(rose, at(old_flat, place), at(old_flat, old_place))
        apart = entry.detach() - reference
        close = apart.abs() <= _SAME * (entry.detach().abs() + reference.abs())
        multiplier = torch.where(
            close, torch.zeros_like(apart), (value - before.result) / torch.where(close, torch.ones_like(apart), apart)
        )
        return Replaced.apply(multiplier * entry, value)

    def _reduced(self, name: str, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], x: Tensor) -> Any:
        """max(x, dim) and amax(x, dim) as pooling over one axis; min is -max(-x)."""
        dim = kwargs.get("dim", args[1] if len(args) > 1 else None)
        keep = kwargs.get("keepdim", args[2] if len(args) > 2 else False)
        axes = [dim] if isinstance(dim, int) else list(dim) if isinstance(dim, (tuple, list)) else []
        if not axes:
            raise Untreated(name)
        axes = sorted(axis % x.dim() for axis in axes)
        sign = -1 if "min" in name else 1
        moved = (sign * x).movedim(axes, list(range(-len(axes), 0))).flatten(-len(axes))
        found = sign * self._largest(name, lambda rows: rows.max(-1, keepdim=True), moved, spatial=1)[..., 0]
        for axis in axes if keep else []:
            found = found.unsqueeze(axis)
        if name in ("amax", "amin"):
            return found
        with torch.no_grad():
            plain = func(x.detach(), *args[1:], **kwargs)
        return type(plain)((found, plain.indices))

    def _attend(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scale: float) -> tuple[Tensor, Tensor]:
        def times(a: Tensor, b: Tensor) -> Tensor:
            return self._product("matmul", torch.matmul, a, b) if a.requires_grad and b.requires_grad else a @ b

        scores = times(query, key.transpose(-2, -1)) * scale
        scores = scores if mask is None else scores + mask
        weights = self._along_a_line("softmax", _softmax, scores) if scores.requires_grad else _softmax(scores)
        return times(weights, value), weights

    def _note(self, name: str, operands: list[Tensor], result: Tensor | None) -> _Met | None:
        """Note the call in the first pass, None; find it again in the second."""
        if self.position is None:
            kept = [operand.detach().clone() for operand in operands]  # what is written into later must not change it
            self.noted.append(_Met(name, kept, None if result is None else result.detach().clone()))
            return None
        same = self.position < len(self.noted) and self.noted[self.position].name == name
        met = self.noted[self.position] if same else None
        if met is None or [operand.shape for operand in met.operands] != [operand.shape for operand in operands]:
            raise Untreated(f"{name}: the network takes another path on the reference than on the input")
        self.position += 1
        return met


def _softmax(scores: Tensor) -> Tensor:
    return torch.softmax(scores, -1).nan_to_num(0.0)


def _in_place(func: Any, kwargs: Mapping[str, Any]) -> bool:
    name = getattr(func, "__name__", "")
    return (
        bool(kwargs.get("inplace")) or (name.endswith("_") and not name.endswith("__")) or (name.startswith("__i") and name.endswith("__"))
    )


def _with(structure: Any, old: Tensor, new: Tensor) -> Any:
    return mapped(structure, Tensor, lambda tensor: new if tensor is old else tensor)


def _in_turn(structure: Any, old: list[Tensor], new: tuple[Tensor, Tensor]) -> Any:
    """The first of the two dependent tensors replaced by the first new one, the second by the second, though they be one tensor."""
    left = list(new)
    return mapped(structure, Tensor, lambda tensor: left.pop(0) if left and any(tensor is item for item in old) else tensor)


def _out_of_place(func: Any) -> Callable[..., Any]:
    return lambda first, *rest, **keywords: func(first.clone(), *rest, **keywords)


def _without(kwargs: Mapping[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in kwargs.items() if key != name}


def _broadcast(entry: Tensor, value: Tensor) -> Tensor:
    return entry if entry.shape == value.shape else entry.expand(value.shape)
