"""What the graph of a loss shows at the moment of its backward pass: which loss it is, against which targets, and what was done to it.

A loss of PyTorch leaves one node with its arguments, `NllLossBackward0._saved_target`; one written out by hand leaves the nodes of its
arithmetic. The walk goes from the loss towards the model and stops at the model's outputs, where these are known.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from torch import Tensor

NODES = 64  # visited at most
KINDS = {
    "NllLoss": "nll_loss",
    "NllLoss2D": "nll_loss",
    "NllLossNd": "nll_loss",
    "MseLoss": "mse_loss",
    "BinaryCrossEntropy": "binary_cross_entropy",
    "BinaryCrossEntropyWithLogits": "binary_cross_entropy_with_logits",
    "SmoothL1Loss": "smooth_l1_loss",
    "HuberLoss": "huber_loss",
    "KlDiv": "kl_div",
    "SoftMarginLoss": "soft_margin_loss",
    "MultiMarginLoss": "multi_margin_loss",
    "MultilabelMarginLoss": "multilabel_margin_loss",
    "CtcLoss": "ctc_loss",
    "CudnnCtcLoss": "ctc_loss",
}
CLASSES = {"nll_loss", "multi_margin_loss"}  # their targets are class indices
RESHAPING = {
    "View", "UnsafeView", "Reshape", "ReshapeAlias", "Squeeze", "Unsqueeze", "Permute", "Transpose", "T", "Clone", "ToCopy", "Slice",
    "Select", "Alias", "Expand", "Index",
}  # fmt: skip
SUM = 2  # PyTorch's number for reduction="sum"; 1 is the mean, 0 neither
STEEP = {"Sqrt", "Rsqrt", "Pow", "Acos", "Asin", "Hypot", "Xlogy"}  # an infinite derivative of a finite result
SQUASHING = {"Softmax": "softmax", "LogSoftmax": "log_softmax", "Sigmoid": "sigmoid"}
BOUNDING = {"Relu": "relu", "Sigmoid": "sigmoid", "Tanh": "tanh"}  # what keeps outputs within bounds
APPLIES_ITSELF = {"cross_entropy": {"softmax", "log_softmax"}, "binary_cross_entropy_with_logits": {"sigmoid"}}


@dataclass
class LossGraph:
    """What was read. Tensors among it are the program's own: read them, never keep them beyond the look."""

    kind: str | None = None
    nodes: tuple[str, ...] = ()
    several: int = 0
    summed: bool = False  # over the samples, not averaged
    negated: bool = False
    factor: float = 1.0
    scaled: bool = False  # a tensor multiplies the loss at the top, as a gradient scaler does: another one at every step
    broadcast: tuple[tuple[int, ...], tuple[int, ...]] | None = None
    normalised: str | None = None
    bounded: str | None = None  # "relu", "sigmoid" or "tanh" where what the loss compares comes right out of one
    axis: int | None = None  # along which a softmax gave the probabilities of nll_loss, where that is not the classes' axis
    target: Tensor | None = None
    targets: str | None = None  # "classes" or "values"
    output_shape: tuple[int, ...] | None = None
    reached: bool = False  # an output of the model was met
    leaves: list[Tensor] = field(default_factory=list)  # that require gradients, met outside the model
    steep: tuple[str | None, str | None] | None = None  # an operation whose derivative can be infinite
    _seen: list[Any] = field(default_factory=list)


def name_of(node: Any) -> str:
    """The operation behind a node of the graph: "NllLossBackward0" is "NllLoss"."""
    return re.sub(r"Backward\d*$", "", node.name().rpartition("::")[2])


def operation_of(node: Any) -> str:
    """The same as the program calls it: "LogBackward0" is "log"."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name_of(node)).lower()


def shape_of(node: Any) -> tuple[int, ...] | None:
    """The shape of what the node's operation gave."""
    if hasattr(node, "variable"):
        return tuple(node.variable.shape)
    metadata = getattr(node, "_input_metadata", None)
    if not metadata:
        return None
    shape = getattr(metadata[0], "shape", None)
    return None if shape is None else tuple(int(size) for size in shape)


def before(node: Any) -> list[Any]:
    return [other for other, _ in node.next_functions if other is not None]


def read(loss: Tensor, outputs: Collection[Any] = ()) -> LossGraph:
    """Walk up from `loss`. `outputs` are the nodes of the model's outputs; without them the walk ends after NODES nodes."""
    graph = LossGraph()
    top = loss.grad_fn
    if top is None:
        return graph
    node = _factors(top, graph, outputs)
    if node in outputs and shape_of(node) == ():  # the model gives its loss, alone or beside what it compares
        outputs = [output for output in outputs if output is not node]
        node = _factors(node, graph, outputs)
    names: list[str] = []
    waiting, seen = [node], {id(node)}
    graph._seen.append(node)  # ids are those of living objects only
    while waiting and len(names) < NODES:
        node = waiting.pop(0)
        if node in outputs:
            graph.reached = True
            continue
        names.append(node.name())
        if hasattr(node, "variable"):
            graph.leaves.append(cast("Any", node).variable)
            continue
        _recognise(node, graph, outputs)
        _spread(node, graph)
        for other in before(node):
            if id(other) not in seen:
                seen.add(id(other))
                graph._seen.append(other)
                waiting.append(other)
    graph.nodes = tuple(names[:24])
    graph.steep = steep(top, outputs)
    graph._seen.clear()
    if graph.several == 0 and graph.kind is not None:
        graph.several = 1
    if graph.kind is None:
        graph.negated = False  # minus something unknown is nothing to speak of
    return graph


def _factors(node: Any, graph: LossGraph, outputs: Collection[Any]) -> Any:
    """Pass over what multiplies the whole loss at its top: a scaler's scale, 1 / accumulation, a sign. Ends at an output of the model."""
    for depth in range(8):
        name, parents = name_of(node), before(node)
        if len(parents) != 1 or node in outputs:
            break
        if name == "Neg":
            graph.negated = not graph.negated
        elif name in ("Mul", "Div") and shape_of(node) == () and isinstance(other := _other(node), Tensor) and other.numel() == 1:
            value = float(other)
            if value == 0 or (name == "Div" and node.next_functions[0][0] is None):
                break
            graph.factor *= value if name == "Mul" else 1 / value
            if value < 0:
                graph.negated, graph.factor = not graph.negated, abs(graph.factor)
            graph.scaled |= depth == 0 and name == "Mul" and other.dtype != torch.float64  # a Python number is kept as float64
        elif name not in ("ToCopy", "Clone", "View", "Squeeze"):
            break
        node = parents[0]
    return node


def _other(node: Any) -> Any:
    """The constant operand of a product or quotient."""
    try:
        return node._saved_other if node.next_functions[0][0] is not None else node._saved_self
    except (RuntimeError, AttributeError):  # freed, or not kept
        return None


def scale_of(loss: Tensor) -> Tensor | None:
    """What a gradient scaler multiplied this loss with."""
    node = loss.grad_fn
    found = _other(node) if node is not None and name_of(node) == "Mul" else None
    return found if isinstance(found, Tensor) and found.numel() == 1 else None


def _recognise(node: Any, graph: LossGraph, outputs: Collection[Any]) -> None:
    name = name_of(node)
    kind = KINDS.get(name)
    if kind is not None:
        graph.several += 1
        if graph.kind is not None:
            return
        target = _saved(node, "target")
        graph.summed = _saved(node, "reduction") == SUM
        above = _behind_reshaping(node, outputs)
        _wrong_axis(node, kind, graph)
        if kind == "nll_loss" and above is not None and name_of(above) == "LogSoftmax" and above not in outputs:
            kind = "cross_entropy"
            _already_normalised(above, kind, graph, outputs)
        elif kind in APPLIES_ITSELF:
            _already_normalised(node, kind, graph, outputs)
        elif kind == "mse_loss":
            graph.bounded = _bounded(node)
        graph.kind, graph.target, graph.targets = kind, target, "classes" if kind in CLASSES | {"cross_entropy"} else "values"
        own = _saved(node, "self")
        graph.output_shape = None if own is None else tuple(own.shape)
    elif graph.kind is None and name in ("Mean", "Sum"):
        _by_hand(node, graph, outputs)


def _by_hand(node: Any, graph: LossGraph, outputs: Collection[Any]) -> None:
    """Losses that are written out, which leave the nodes of their arithmetic: of squares and absolute values, and of logarithms."""
    parents = before(node)
    if len(parents) != 1 or parents[0] in outputs:
        return
    parent = parents[0]
    name, above = name_of(parent), before(parent)
    difference = bool(above) and name_of(above[0]) in ("Sub", "Rsub")
    squared = (name == "Pow" and _saved(parent, "exponent") == 2) or (name == "Mul" and len(above) == 2 and above[0] is above[1])
    if difference and squared:
        graph.kind = "mse_loss"
        graph.bounded = _bounded(above[0])
    elif difference and name == "Abs":
        graph.kind = "l1_loss"
    elif name == "Where" and len(above) == 2 and {"Abs", "Pow", "Sub"} <= {name_of(one) for one in _nodes(parent, outputs)[:12]}:
        graph.kind = "huber_loss"  # half a square near 0, a line beyond
    else:
        _logarithms_by_hand(node, graph, outputs)
    if graph.kind is not None:
        graph.several += 1
        graph.output_shape = graph.output_shape or shape_of(above[0])


def _logarithms_by_hand(node: Any, graph: LossGraph, outputs: Collection[Any]) -> None:
    """Minus a mean of log-probabilities, weighted by targets or picked by labels; without the minus sign it is no loss that is known."""
    minus, parent = _minus_before(node, graph), before(node)[0]
    while len(before(parent)) == 1 and parent not in outputs and (name_of(parent) == "Neg" or name_of(parent) in RESHAPING - {"Index"}):
        minus = None if minus is None else minus != (name_of(parent) == "Neg")
        parent = before(parent)[0]
    name, above = name_of(parent), before(parent)
    if parent in outputs or not above:
        return
    products = above if name in ("Add", "Sub") and len(above) == 2 else [parent]
    weighed = [before(one)[0] for one in products if name_of(one) == "Mul" and len(before(one)) == 1]
    kind, target, targets = None, None, None
    if len(products) == 2 == len(weighed) and all(name_of(one) == "Log" for one in weighed):
        kind = "binary_cross_entropy"
    elif name_of(node) == "Sum" and len(weighed) == 1 and (name_of(weighed[0]) == "LogSoftmax" or _of_probabilities(weighed[0])):
        kind = "cross_entropy" if name_of(weighed[0]) == "LogSoftmax" else "nll_loss"
        above, target, targets = weighed, _other(parent), "values"
    elif name in ("Gather", "Index") and name_of(above[0]) == "LogSoftmax":
        kind = "cross_entropy"
        target, targets = (_saved(parent, "index"), "classes") if name == "Gather" else (None, None)
    if kind is None or (name in ("Gather", "Index") and minus is False):  # a likelihood of what was done, as a policy's, may be lowered
        return
    graph.kind, graph.target, graph.targets, graph.output_shape = kind, target, targets, shape_of(above[0])
    graph.negated = minus is False  # here a minus sign belongs to the loss
    if kind == "cross_entropy":
        _already_normalised(above[0], kind, graph, outputs)


def _minus_before(node: Any, graph: LossGraph) -> bool | None:
    """Whether an odd number of minus signs stands between the top and this node; None where it is one of several terms."""
    minus, above = graph.negated, graph._seen[0]
    while above is not node:
        parents = before(above)
        if len(parents) != 1:
            return None
        minus, above = minus != (name_of(above) == "Neg"), parents[0]
    return minus


def _of_probabilities(node: Any) -> bool:
    """Whether this is the logarithm of a softmax, or of anything that was divided by its sum, kept away from 0 or not."""
    if name_of(node) != "Log":
        return False
    above = before(node)
    while len(above) == 1 and name_of(above[0]) in ("Add", "Clamp", "ClampMin"):
        above = before(above[0])
    return bool(above) and name_of(above[0]) in ("Softmax", "Div")


def _already_normalised(node: Any, kind: str, graph: LossGraph, outputs: Collection[Any]) -> None:
    """Whether the loss normalises what was normalised, or bounded, before."""
    above = _behind_reshaping(node, ())
    squashed = None if above is None else SQUASHING.get(name_of(above))
    if squashed in APPLIES_ITSELF[kind]:
        graph.normalised = squashed
    graph.bounded = _bounded(node)


def _bounded(node: Any) -> str | None:
    above = _behind_reshaping(node, ())
    return None if above is None else BOUNDING.get(name_of(above))


def _wrong_axis(node: Any, kind: str, graph: LossGraph) -> None:
    """A softmax, or its logarithm, right before nll_loss that does not run over the classes."""
    above = before(node)[0] if kind == "nll_loss" and before(node) else None
    while above is not None and name_of(above) in ("Log", "Add", "Clamp", "ClampMin") and len(before(above)) == 1:
        above = before(above)[0]
    shape = None if above is None else shape_of(above)
    if above is None or shape is None or len(shape) < 2 or name_of(above) not in ("Softmax", "LogSoftmax"):
        return
    axis = _saved(above, "dim")
    if isinstance(axis, int):
        axis = axis - 2**64 if axis >= 2**63 else axis  # kept as a number without sign
        graph.axis = axis % len(shape) if axis % len(shape) != 1 else None


def _behind_reshaping(node: Any, outputs: Collection[Any]) -> Any:
    """The node that computed this node's first argument, past views of it."""
    parents = before(node)
    while parents and name_of(parents[0]) in RESHAPING and parents[0] not in outputs:
        parents = before(parents[0])
    return parents[0] if parents else None


def _spread(node: Any, graph: LossGraph) -> None:
    """Whether this node spread a term over a larger shape: (N, 1) against (N,) becomes (N, N)."""
    if graph.broadcast is not None or name_of(node) not in ("Expand", "Sub", "Rsub", "Mul"):
        return
    result, parents = shape_of(node), before(node)
    shapes = [shape for shape in map(shape_of, parents) if shape is not None]
    if result is None or not shapes or len(shapes) != len(parents):
        return
    smaller = max(shapes, key=_entries)
    if len(smaller) > 0 and _entries(smaller) < _entries(result) and _entries(smaller) > 1:
        graph.broadcast = smaller, result


def _entries(shape: tuple[int, ...]) -> int:
    entries = 1
    for size in shape:
        entries *= size
    return entries


def _saved(node: Any, name: str) -> Any:
    try:
        return getattr(node, f"_saved_{name}")
    except (RuntimeError, AttributeError):  # freed, changed in place since, or not kept
        return None


def _nodes(top: Any, outputs: Collection[Any]) -> list[Any]:
    """From the loss to the model's outputs, nearest to the loss first."""
    order, seen, waiting = [], set[int](), [] if top is None else [top]
    while waiting and len(order) < NODES:
        node = waiting.pop(0)
        if id(node) in seen or (node in outputs and node is not top):
            continue
        seen.add(id(node))
        order.append(node)  # kept, so that ids are those of living objects
        waiting.extend(before(node))
    return order


def born(loss: Tensor, outputs: Collection[Any] = ()) -> tuple[str | None, str | None]:
    """The operation nearest to the model that gives what is not finite from finite arguments, and why; (None, None) where none is seen.

    Why: "ignored", every label is one that the loss leaves out; "empty", a mean over nothing; "masked", the score of a label is -inf.
    """
    for node in reversed(_nodes(loss.grad_fn, outputs)):
        reason = _breaks(node)
        if reason is not None:
            return "cross_entropy" if name_of(node) in KINDS and KINDS[name_of(node)] == "nll_loss" else operation_of(node), reason or None
    return None, None


def holds_nonfinite(loss: Tensor, outputs: Collection[Any] = ()) -> bool:
    """Whether what the loss computes with is not finite before it is reduced."""
    kept = [_saved(node, name) for node in _nodes(loss.grad_fn, outputs) for name in ("self", "other", "target", "result")]
    return any(isinstance(tensor, Tensor) and tensor.is_floating_point() and not bool(tensor.isfinite().all()) for tensor in kept)


def steep(top: Any, outputs: Collection[Any] = ()) -> tuple[str | None, str | None]:
    """The operation of the loss nearest to the model whose derivative can be infinite where its result is finite; "unused" behind a where.

    Read from names and plain numbers only: after a backward pass the tensors are gone.
    """
    nodes = _nodes(top, outputs)
    chosen = any(name_of(node) == "Where" for node in nodes)
    for singular in (STEEP, {"Log", "Div", "Reciprocal"} if chosen else set[str]()):
        for node in reversed(nodes):
            if name_of(node) in singular and not (name_of(node) == "Pow" and (_saved(node, "exponent") or 2) >= 1):
                return operation_of(node), "unused" if chosen else None
    return None, None


def _breaks(node: Any) -> str | None:
    """Whether finite arguments of this node give something that is not finite: why, "" where the operation says it; None where not."""
    name = name_of(node)
    own, other, result = _saved(node, "self"), _saved(node, "other"), _saved(node, "result")
    if name == "Mean":
        return "empty" if _saved(node, "self_sym_numel") == 0 or math.prod(_saved(node, "self_sym_sizes") or (1,)) == 0 else None
    if KINDS.get(name) == "nll_loss":
        return _of_labels(node, own)
    if isinstance(own, Tensor) and not bool(own.isfinite().all()):
        return None
    if name in ("Std", "Var"):
        return "empty" if isinstance(own, Tensor) and own.numel() < 2 else _when(result, lambda t: ~t.isfinite())
    if name in ("Log", "Log2", "Log10"):
        return _when(own, lambda t: t <= 0)
    if name == "Log1P":
        return _when(own, lambda t: t <= -1)
    if name in ("Div", "Reciprocal"):
        return _when(other, lambda t: t == 0) if name == "Div" else _when(result, lambda t: ~t.isfinite())
    if name in ("Exp", "Sqrt", "Rsqrt", "Exp2", "Expm1", "Softmax", "LogSoftmax") or name.startswith("Norm"):
        return _when(result, lambda t: ~t.isfinite())
    if name == "Pow":
        exponent = _saved(node, "exponent")
        if isinstance(exponent, (int, float)):
            return _when(own, lambda t: ~t.pow(exponent).isfinite())
    if name in ("Acos", "Asin"):
        return _when(own, lambda t: t.abs() > 1)
    return None


def _when(tensor: Any, broken: Callable[[Tensor], Tensor]) -> str | None:
    return "" if isinstance(tensor, Tensor) and bool(broken(tensor).any()) else None


def _of_labels(node: Any, log_probabilities: Any) -> str | None:
    """A mean over no label, and the logarithm of a probability that a mask has made 0."""
    target, ignored, total = _saved(node, "target"), _saved(node, "ignore_index"), _saved(node, "total_weight")
    mean = _saved(node, "reduction") == 1
    if mean and isinstance(target, Tensor) and isinstance(ignored, int) and bool(_left_out(target, ignored).all()):
        return "ignored" if target.numel() else "empty"
    if mean and isinstance(total, Tensor) and bool((total == 0).all()):
        return "empty"
    finite_or_masked = isinstance(log_probabilities, Tensor) and not bool(log_probabilities.isnan().any())
    return "masked" if finite_or_masked and bool(log_probabilities.isneginf().any()) else None


def _left_out(target: Tensor, ignored: int) -> Tensor:
    """Where the label is the ignored one, which a node keeps as a number without sign."""
    return target == (ignored - 2**64 if ignored >= 2**63 else ignored)
