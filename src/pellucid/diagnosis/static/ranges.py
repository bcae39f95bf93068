"""Which values an operation's result can take, whatever the weights: interval arithmetic along a trace.

A sigmoid gives [0, 1], twice a sigmoid minus one [-1, 1], a linear layer anything, log(p + 1e-8) of a probability [-18.4, 0]. From this
follows whether an output can reach its target and whether a logarithm can meet 0, for any way of writing them down.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pellucid.core.trace import Operation, Reference, Trace
from pellucid.core.trace.records import mapped

INF = math.inf
# Give some of the values they get, or averages of them: the range stays.
SELECTING = frozenset({
    "flatten", "view", "reshape", "permute", "transpose", "contiguous", "squeeze", "unsqueeze", "getitem", "to", "float", "double",
    "half", "bfloat16", "type", "clone", "detach", "expand", "expand_as", "view_as", "repeat", "repeat_interleave", "tile",
    "max_pool1d", "max_pool2d", "max_pool3d", "adaptive_max_pool1d", "adaptive_max_pool2d", "adaptive_max_pool3d",
    "adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d", "avg_pool1d", "avg_pool2d", "avg_pool3d", "mean", "amax",
    "amin", "max", "min", "median", "select", "narrow", "chunk", "split", "tensor_split", "unbind", "gather", "index_select", "take",
    "take_along_dim", "cat", "stack", "hstack", "vstack", "dstack", "flip", "roll", "t", "mT", "movedim", "topk", "sort", "ravel",
    "unflatten", "diagonal", "swapaxes", "data", "requires_grad", "alias", "as_strided", "nanmean", "mode", "broadcast_to", "cummax",
    "cummin", "type_as", "pixel_shuffle", "pixel_unshuffle", "channel_shuffle", "masked_select", "maximum", "minimum", "quantile",
    "cpu", "cuda",
})  # fmt: skip
WITH_ZERO = frozenset({
    "pad", "tril", "triu", "unfold", "fold", "diag", "diag_embed", "dropout1d", "dropout2d", "dropout3d", "feature_dropout",
    "avg_pool1d", "avg_pool2d",
})  # fmt: skip
SMOOTHING = frozenset({"nearest", "nearest-exact", "linear", "bilinear", "trilinear", "area"})  # modes of interpolate that do not overshoot
# Rise (or stay) with their argument: the ends of the range go to the ends. Called as they were, on the two ends.
MONOTONE = frozenset({
    "sigmoid", "tanh", "relu", "relu6", "leaky_relu", "elu", "selu", "celu", "softplus", "hardtanh", "hardsigmoid", "softsign",
    "log_sigmoid", "exp", "exp2", "expm1", "log", "log1p", "log2", "log10", "sqrt", "clamp", "clamp_min", "clamp_max", "threshold",
    "atan", "erf", "sign", "heaviside", "round", "floor", "ceil", "trunc", "sinh", "asinh", "softshrink", "hardshrink",
})  # fmt: skip
# Their least values; they are not monotone: x * sigmoid(x) at -1.278, x * Phi(x) at -0.752, mish at -1.192, hardswish at -1.5.
DIPPING = {"silu": -0.2785, "gelu": -0.17, "mish": -0.3089, "hardswish": -0.375}
FIXED = {
    "softmax": (0.0, 1.0), "softmin": (0.0, 1.0), "gumbel_softmax": (0.0, 1.0), "log_softmax": (-INF, 0.0), "normalize": (-1.0, 1.0),
    "cosine_similarity": (-1.0, 1.0), "sin": (-1.0, 1.0), "cos": (-1.0, 1.0), "one_hot": (0.0, 1.0), "erfc": (0.0, 2.0),
    "norm": (0.0, INF), "vector_norm": (0.0, INF), "linalg_vector_norm": (0.0, INF), "linalg_norm": (0.0, INF), "std": (0.0, INF),
    "var": (0.0, INF), "cdist": (0.0, INF), "pairwise_distance": (0.0, INF), "rnn_tanh": (-1.0, 1.0), "rnn_relu": (0.0, INF),
    "rnn_tanh_cell": (-1.0, 1.0), "gru": (-1.0, 1.0), "gru_cell": (-1.0, 1.0), "rrelu": (-INF, INF), "prelu": (-INF, INF),
    "sigmoid_focal_loss": (0.0, INF),
}  # fmt: skip
LOSSES = frozenset({
    "cross_entropy", "mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss", "binary_cross_entropy", "binary_cross_entropy_with_logits",
})  # fmt: skip
UNIT = frozenset({"normalize"})
WEIGHTED = frozenset({
    "linear", "conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d", "matmul", "rmatmul", "mm",
    "bmm", "mv", "addmm", "addmv", "baddbmm", "einsum", "bilinear", "tensordot", "inner", "dot",
})  # fmt: skip
LEARNT = frozenset({
    "embedding", "embedding_bag", "batch_norm", "layer_norm", "group_norm", "instance_norm", "rms_norm", "multi_head_attention_forward",
})  # fmt: skip


@dataclass(frozen=True)
class Range:
    """[low, high]. `reached`: learning can bring the value anywhere between (or as near as the arithmetic allows)."""

    low: float = -INF
    high: float = INF
    reached: bool = False
    unit: bool = False  # rows of length 1

    def __contains__(self, value: float) -> bool:
        return self.low <= value <= self.high

    @property
    def width(self) -> float:
        return self.high - self.low


UNKNOWN = Range()
ANYTHING = Range(-INF, INF, True)


def union(*ranges: Range) -> Range:
    return Range(min(r.low for r in ranges), max(r.high for r in ranges), all(r.reached for r in ranges), all(r.unit for r in ranges))


def _times(a: float, b: float) -> float:
    return 0.0 if a == 0 or b == 0 else a * b


def _free(a: Range, b: Range) -> bool:
    """Whether two values joined can be brought anywhere between: by both, or by one that is free of all bounds."""
    return (a.reached and b.reached) or any(r.reached and r.low == -INF and r.high == INF for r in (a, b))


def product(a: Range, b: Range) -> Range:
    ends = [_times(x, y) for x in (a.low, a.high) for y in (b.low, b.high)]
    return Range(min(ends), max(ends), _free(a, b))


def total(a: Range, b: Range) -> Range:
    return Range(a.low + b.low, a.high + b.high, _free(a, b))


def negative(a: Range) -> Range:
    return Range(-a.high, -a.low, a.reached)


def inverse(a: Range) -> Range:
    if a.low >= 0:
        return Range(0.0 if a.high == INF else 1 / a.high if a.high else INF, INF if a.low == 0 else 1 / a.low, a.reached)
    return UNKNOWN


class Ranges:
    """The range of every value of a trace; `learnt` and `given` say which depend on parameters and on data."""

    def __init__(self, traced: Trace, learnt: set[int], given: set[int]) -> None:
        self.trace, self.learnt, self.given = traced, learnt, given
        self._known: dict[int, Range] = {}
        for value in traced.values:
            if value.leaf:
                self._known[value.index] = self._leaf(value.kind, value.tensor)
        for operation in traced.operations:
            results = operation.results()
            for place, reference in enumerate(results):
                if traced[reference].operation != operation.index:
                    continue  # the argument itself
                found = self._of(operation, place)
                before = traced[reference].previous
                if before is not None and operation.name in ("setitem", "index_put", "index_fill", "masked_fill", "copy", "scatter"):
                    found = union(found, self._known.get(before, UNKNOWN))
                self._known[reference.value] = found

    def __getitem__(self, reference: Reference) -> Range:
        return self._known.get(reference.value, UNKNOWN)

    @staticmethod
    def _leaf(kind: str, tensor: Tensor) -> Range:
        if kind == "parameter":
            return ANYTHING
        found = seen_range(tensor)
        return Range(found.low, found.high, kind in ("buffer", "constant"))

    def _argument(self, item: Any, kind: torch.dtype = torch.float64) -> Range | None:
        """A number, as an operation on values of this type has it, or a reference as a range."""
        if isinstance(item, Reference):
            return self[item]
        if isinstance(item, (int, float)) and not isinstance(item, bool):
            number = rounded(item, kind)
            return Range(number, number, True)
        return None

    def _kind(self, inputs: list[Reference]) -> torch.dtype:
        """The type of floating-point numbers in which an operation on these values computes."""
        kinds = [self.trace.tensor(one).dtype for one in inputs if self.trace.tensor(one).is_floating_point()]
        return functools.reduce(torch.promote_types, kinds) if kinds else torch.float64

    def _of(self, operation: Operation, place: int) -> Range:
        """The range of the operation's result number `place`."""
        name, inputs = operation.name, operation.inputs()
        taken = [self[reference] for reference in inputs if self.trace.tensor(reference).is_floating_point()]
        if name in FIXED:
            low, high = FIXED[name]
            return Range(low, high, True, name in UNIT)
        if name in ("lstm", "lstm_cell"):
            return Range(-1.0, 1.0, True) if (place < 2 and name == "lstm") or place == 0 else ANYTHING
        if name in LEARNT:
            return ANYTHING
        if name in LOSSES:
            return Range(0.0, INF)
        if name in WEIGHTED:
            return self._weighted(inputs, taken)
        if not taken:
            found = seen_range(self.trace.tensor(operation.results()[place]))
            fixed = not operation.draws and not any(reference.value in self.given for reference in inputs)
            return Range(found.low, found.high, fixed)
        if name in DIPPING:
            return Range(max(min(taken[0].low, 0.0), DIPPING[name]) if taken[0].low < 0 else 0.0, max(taken[0].high, 0.0), taken[0].reached)
        if name in MONOTONE:
            return self._monotone(operation, taken[0])
        arithmetic = self._arithmetic(operation, inputs)
        if arithmetic is not None:
            return arithmetic
        if name == "interpolate" and operation.kwargs.get("mode", "nearest") in SMOOTHING:
            return taken[0]
        if name in ("dropout", "alpha_dropout"):
            p = operation.kwargs.get("p", 0.5)
            scaled = product(taken[0], Range(1.0, 1 / (1 - p) if p < 1 else 1.0, True))
            return union(taken[0], scaled, Range(0.0, 0.0, True)) if operation.kwargs.get("training", True) else taken[0]
        if name == "masked_fill":
            filled = self._argument(operation.kwargs.get("value", operation.args[-1])) or UNKNOWN
            return union(taken[0], filled)
        if name == "where":
            sides = [side for item in operation.args[1:3] if (side := self._argument(item)) is not None]
            return union(*sides) if sides else UNKNOWN
        if len(taken) == 2 and name in ("max", "maximum", "min", "minimum"):
            side = max if name.startswith("max") else min
            return Range(side(taken[0].low, taken[1].low), side(taken[0].high, taken[1].high), _free(*taken))
        if name in SELECTING or name in WITH_ZERO:
            kept = union(*taken) if name in ("cat", "stack", "hstack", "vstack", "dstack") else taken[0]
            padded = name == "pad" or (name in WITH_ZERO and operation.kwargs.get("padding", 0) not in (0, (0,), (0, 0)))
            kept = union(kept, Range(0.0, 0.0, True)) if padded or name in WITH_ZERO - {"avg_pool1d", "avg_pool2d"} else kept
            return Range(kept.low, kept.high, kept.reached)
        return UNKNOWN

    def _weighted(self, inputs: list[Reference], taken: list[Range]) -> Range:
        if len(taken) >= 2 and all(r.unit for r in taken[:2]):
            return Range(-1.0, 1.0, True)
        if any(reference.value in self.learnt and reference.value not in self.given for reference in inputs):
            return ANYTHING
        return Range(0.0, INF) if taken and all(r.low >= 0 for r in taken) else UNKNOWN

    def _monotone(self, operation: Operation, taken: Range) -> Range:
        ends = torch.tensor([taken.low, taken.high], dtype=torch.float64)
        first = operation.inputs()[0]
        kind = self._kind([first])
        args, kwargs = mapped((operation.args, dict(operation.kwargs)), float, lambda number: rounded(number, kind))
        args, kwargs = mapped((args, kwargs), Reference, lambda r: ends if r == first else self.trace.tensor(r))
        try:
            with torch.no_grad():
                low, high = (float(end) for end in _evaluated(operation.function, args, kwargs, ends))
        except (RuntimeError, TypeError, ValueError):
            return UNKNOWN
        if math.isnan(low):  # log of something negative; softsign of infinity
            low = -1.0 if operation.name == "softsign" else -INF
        if math.isnan(high):
            high = 1.0 if operation.name == "softsign" else INF
        return Range(low, high, taken.reached)

    def _arithmetic(self, operation: Operation, inputs: list[Reference]) -> Range | None:
        name = operation.name
        kind = self._kind(inputs)
        sides = [side for item in (*operation.args, *operation.kwargs.values()) if (side := self._argument(item, kind)) is not None]
        if name in ("square", "abs") or (name in ("pow", "mul") and _is_square(operation)):
            reach = max(abs(sides[0].low), abs(sides[0].high))
            return Range(0.0, reach if name == "abs" else reach * reach, sides[0].reached)
        if name == "neg":
            return negative(sides[0])
        if name in ("sum", "nansum", "cumsum", "logsumexp"):
            if name == "logsumexp":
                return Range(-INF, INF, sides[0].reached)
            count = max(self.trace.tensor(inputs[0]).numel() // max(self.trace.tensor(operation.results()[0]).numel(), 1), 1)
            return product(sides[0], Range(float(1 if name == "cumsum" else count), float(count), True))
        if name == "prod" and sides[0].low >= 0:
            return Range(0.0, 1.0 if sides[0].high <= 1 else INF, sides[0].reached)
        if name == "reciprocal":
            return inverse(sides[0])
        if name in ("pow", "rpow") and name == "pow" and sides[0].low >= 0 and len(sides) > 1 and sides[1].low == sides[1].high:
            exponent = sides[1].low
            return Range(0.0 if exponent > 0 else 1.0 if sides[0].high <= 1 else 0.0, sides[0].high**exponent if exponent > 0 else INF,
                         sides[0].reached)  # fmt: skip
        if len(sides) < 2:
            return None
        a, b = sides[0], sides[1]
        alpha = operation.kwargs.get("alpha", 1)
        b = b if alpha == 1 or not isinstance(alpha, (int, float)) else product(b, Range(alpha, alpha, True))
        if name == "add":
            return total(a, b)
        if name == "sub":
            return total(a, negative(b))
        if name == "rsub":
            return total(b, negative(a))
        if name == "mul":
            return product(a, b)
        if name == "div":
            return self._quotient(inputs, a, b)
        if name == "rdiv":
            return product(b, inverse(a))
        return None

    def _quotient(self, inputs: list[Reference], a: Range, b: Range) -> Range:
        """x / y; a share where y is the sum of x, unit rows where y is its norm."""
        if len(inputs) == 2:
            origin = self.divisor(inputs[1])
            if origin is not None and self.same(origin.inputs()[0], inputs[0]):
                if origin.name == "sum" and a.low >= 0:
                    return Range(0.0, 1.0, a.reached)
                if "norm" in origin.name:
                    return Range(-1.0, 1.0, True, True)
        if b.low > 0 or b.high < 0:
            return product(a, inverse(b) if b.low > 0 else negative(inverse(negative(b))))
        if b.low >= 0:
            return product(a, Range(0.0, INF, b.reached))
        return Range(-INF, INF, a.reached)

    def same(self, a: Reference, b: Reference) -> bool:
        """Whether two values are one, or were computed in the same way from the same values."""
        if a == b:
            return True
        makers = [self.trace[one].operation for one in (a, b)]
        if makers[0] is None or makers[1] is None:
            return False
        first, second = (self.trace.operations[one] for one in makers if one is not None)
        return first.name == second.name and not first.draws and first.args == second.args and dict(first.kwargs) == dict(second.kwargs)

    def divisor(self, reference: Reference) -> Operation | None:
        """The sum or norm behind a divisor, past reshaping and a guard against 0."""
        for _ in range(6):
            made = self.trace[reference].operation
            if made is None:
                return None
            operation = self.trace.operations[made]
            if operation.name == "sum" or "norm" in operation.name:
                return operation
            if operation.name not in SELECTING | {"add", "clamp", "clamp_min", "maximum"} or not operation.inputs():
                return None
            reference = operation.inputs()[0]
        return None


def seen_range(tensor: Tensor) -> Range:
    """Of a value that is given, not computed from weights: what is seen."""
    if tensor.is_complex() or not tensor.numel() or tensor.layout != torch.strided:
        return UNKNOWN
    values = tensor.detach().double()
    low, high = float(values.min()), float(values.max())
    return Range(low, high) if math.isfinite(low + high) else UNKNOWN


def rounded(number: float, kind: torch.dtype) -> float:
    """A number as a tensor of this type holds it: 1 - 1e-8 is 1 in float32, and 1e-8 is 0 in float16."""
    return float(torch.tensor(float(number), dtype=kind))


def _is_square(operation: Operation) -> bool:
    if operation.name == "pow":
        exponent = operation.args[1] if len(operation.args) > 1 else operation.kwargs.get("exponent")
        return isinstance(exponent, (int, float)) and exponent > 0 and exponent % 2 == 0
    return len(operation.args) == 2 and operation.args[0] == operation.args[1] and isinstance(operation.args[0], Reference)


def _evaluated(function: Callable[..., Any], args: Any, kwargs: Any, ends: Tensor) -> Tensor:
    """The function on the two ends; one that writes in place writes into them."""
    kwargs = {name: value for name, value in kwargs.items() if name not in ("inplace", "out")}
    result = function(*args, **kwargs)
    return result if isinstance(result, Tensor) else ends
