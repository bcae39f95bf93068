"""Products over any dimensions: einsum and what is a case of it.

Every operand has labels, one for each dimension; equal labels run together, and those that the result lacks are summed over. Two operands
are one product of matrices at a time; the gradient of an operand is the same contraction with the result in the operand's place.
"""

from __future__ import annotations

import math

import numpy as np
import torch

from pellucid.core.language import text
from pellucid.derivation.registry import Unsupported, rule, unbroadcast

_EINSTEIN = "Einstein 1916, Die Grundlage der allgemeinen Relativitaetstheorie, section 5"


def contract(operands, labels, output):
    """The sum of the products of the entries with equal labels: each operand's are distinct. A label that is nowhere has size 1."""
    x, given = operands[0], list(labels[0])
    for position in range(1, len(operands) + 1):
        later = set(output).union(*labels[position:])
        alone = [axis for axis, label in enumerate(given) if label not in later]
        x, given = x.sum(axis=tuple(alone)), [label for label in given if label in later]
        if position < len(operands):
            x, given = _two(x, given, operands[position], list(labels[position]), set(output).union(*labels[position + 1 :]))
    x = x.transpose([given.index(label) for label in output if label in given])
    return x.reshape([x.shape[[one for one in output if one in given].index(label)] if label in given else 1 for label in output])


def _two(a, in_a, b, in_b, wanted):
    """One product of matrices for each entry of the labels that both have and that are wanted."""
    size = {}
    for array, labels in ((a, in_a), (b, in_b)):
        for label, length in zip(labels, array.shape, strict=True):
            size[label] = max(size.get(label, 1), length) if 0 not in (size.get(label, 1), length) else 0
    both = [label for label in in_a if label in in_b]
    batch, summed = [label for label in both if label in wanted], [label for label in both if label not in wanted]
    rows, columns = [label for label in in_a if label not in both], [label for label in in_b if label not in both]

    def arranged(array, labels, *groups):
        flat = [label for group in groups for label in group]
        array = array.transpose([labels.index(label) for label in flat])
        array = np.broadcast_to(array, [size[label] for label in flat])  # a dimension of size 1 runs along
        return array.reshape([math.prod(size[label] for label in group) for group in groups])

    y = arranged(a, in_a, batch, rows, summed) @ arranged(b, in_b, batch, summed, columns)
    labels = batch + rows + columns
    return y.reshape([size[label] for label in labels]), labels


def contract_gradients(dY, operands, labels, output):
    """The gradient of every operand."""
    found = []
    for position, (operand, mine) in enumerate(zip(operands, labels, strict=True)):
        others = [array for other, array in enumerate(operands) if other != position]
        their = [list(one) for other, one in enumerate(labels) if other != position]
        full = contract([dY, *others], [list(output), *their], mine)
        shape = np.broadcast_shapes(full.shape, operand.shape)
        full = np.broadcast_to(full, shape)
        found.append(unbroadcast(full, operand.shape))
    return found


# -- einsum --------------------------------------------------------------------------------------------------------------------------------


def read_equation(equation, ranks):
    """Labels of each operand and of the result. The dimensions of an ellipsis are numbers, counted from the last."""
    left, arrow, right = equation.replace(" ", "").partition("->")
    terms = left.split(",")
    if len(terms) != len(ranks):
        raise Unsupported(
            text("{terms} terms in {equation!r}, {operands} operands", terms=len(terms), equation=equation, operands=len(ranks)),
            text("a term for every operand"), text("check the equation"),
        )  # fmt: skip
    labels = []
    for term, rank in zip(terms, ranks, strict=True):
        before, dots, after = term.partition("...")
        hidden = rank - len(before) - len(after) if dots else 0
        labels.append([*before, *range(hidden, 0, -1), *after])
    hidden = list(range(max((label for one in labels for label in one if isinstance(label, int)), default=0), 0, -1))
    if arrow:
        before, dots, after = right.partition("...")
        return labels, [*before, *(hidden if dots else []), *after]
    letters = [label for one in labels for label in one if isinstance(label, str)]
    return labels, hidden + sorted(label for label in set(letters) if letters.count(label) == 1)


def _diagonals(x, labels):
    """The entries at which repeated labels agree, as a view, and the distinct labels."""
    distinct = list(dict.fromkeys(labels))
    return (
        x if len(distinct) == len(labels) else np.einsum(x, [distinct.index(label) for label in labels], range(len(distinct)))
    ), distinct


@rule(
    "einsum", function=torch.einsum,
    forward=r"Y_{o} = \sum_{s} \prod_{j} (X_{j})_{o,s}",
    backward={"operands": r"(\bar{X}_{j})_{o,s} = \sum_{r} \bar{Y}_{o} \prod_{k \ne j} (X_{k})_{o,s}"},
    symbols={"X": "operands", "Y": "output"},
    where={
        "o": text("the labels of the result"), "s": text("the labels that are summed over"), "j": text("an operand"),
        "k": text("another operand"), "r": text("the labels that the operand lacks"),
    },
    source=_EINSTEIN, note=text("Each operand has those of the labels that the equation gives it."),
)  # fmt: skip
class einsum:
    def forward(equation, *operands):
        operands = _flat(operands)
        labels, output = read_equation(equation, [operand.ndim for operand in operands])
        views = [_diagonals(operand, one) for operand, one in zip(operands, labels, strict=True)]
        return contract([view for view, _ in views], [one for _, one in views], output)

    def backward(dY, Y, equation, *operands):
        nested, operands = isinstance(operands[0], (list, tuple)), _flat(operands)
        labels, output = read_equation(equation, [operand.ndim for operand in operands])
        views = [_diagonals(operand, one) for operand, one in zip(operands, labels, strict=True)]
        found = contract_gradients(dY, [view for view, _ in views], [one for _, one in views], output)
        gradients = []
        for operand, one, gradient in zip(operands, labels, found, strict=True):
            dX = np.zeros(operand.shape)
            _diagonals(dX, one)[0][...] = gradient
            gradients.append(dX)
        return {"operands": [gradients] if nested else gradients}


def _flat(operands):
    """einsum(equation, a, b) and einsum(equation, [a, b])."""
    return list(operands[0]) if isinstance(operands[0], (list, tuple)) else list(operands)


# -- its cases -----------------------------------------------------------------------------------------------------------------------------


def _pair_labels(a, b, in_a, in_b):
    """Labels of two operands whose dimensions `in_a` and `in_b` run together, and of the result: what is left of a, then of b."""
    left, right = list(range(a.ndim)), [a.ndim + axis for axis in range(b.ndim)]
    for one, other in zip(in_a, in_b, strict=True):
        right[other % b.ndim] = left[one % a.ndim]
    return left, right, [label for label in left if label not in right] + [label for label in right if label not in left]


def _dimensions(dims, rank):
    """Of tensordot: a number, or two lists."""
    if isinstance(dims, np.ndarray):
        dims = dims.tolist()
    if isinstance(dims, int):
        return list(range(rank - dims, rank)), list(range(dims))
    first, second = dims
    return ([first], [second]) if isinstance(first, int) else (list(first), list(second))


@rule(
    "tensordot", function=torch.tensordot,
    forward=r"Y_{ik} = \sum_{j} A_{ij} B_{jk}",
    backward={"a": r"\bar{A}_{ij} = \sum_{k} \bar{Y}_{ik} B_{jk}", "b": r"\bar{B}_{jk} = \sum_{i} \bar{Y}_{ik} A_{ij}"},
    symbols={"A": "a", "B": "b", "Y": "output"},
    where={"i": text("the other dimensions of A"), "j": text("the dimensions summed over"), "k": text("the other dimensions of B")},
    source="Kolda and Bader 2009, Tensor decompositions and applications, section 2",
)  # fmt: skip
class tensordot:
    def forward(a, b, dims=2):
        left, right, output = _pair_labels(a, b, *_dimensions(dims, a.ndim))
        return contract([a, b], [left, right], output)

    def backward(dY, Y, a, b, dims=2):
        left, right, output = _pair_labels(a, b, *_dimensions(dims, a.ndim))
        dA, dB = contract_gradients(dY, [a, b], [left, right], output)
        return {"a": dA, "b": dB}


@rule(
    "inner", function=torch.inner,
    forward=r"Y_{ik} = \sum_{j} A_{ij} B_{kj}",
    backward={"input": r"\bar{A}_{ij} = \sum_{k} \bar{Y}_{ik} B_{kj}", "other": r"\bar{B}_{kj} = \sum_{i} \bar{Y}_{ik} A_{ij}"},
    symbols={"A": "input", "B": "other", "Y": "output"},
    where={"i": text("the other dimensions of A"), "j": text("the last dimension of both"), "k": text("the other dimensions of B")},
    source="Kolda and Bader 2009, Tensor decompositions and applications, section 2",
)  # fmt: skip
class inner:
    def forward(input, other):
        return np.inner(input, other)

    def backward(dY, Y, input, other):
        if not input.ndim or not other.ndim:
            return {"input": unbroadcast(dY * other, input.shape), "other": unbroadcast(dY * input, other.shape)}
        dA, dB = contract_gradients(dY, [input, other], *_inner_labels(input, other))
        return {"input": dA, "other": dB}


def _inner_labels(a, b):
    left, right, output = _pair_labels(a, b, [-1], [-1])
    return [left, right], output


@rule(
    "kron", function=torch.kron,
    forward=r"Y = A \otimes B, \quad Y_{ip + k,\, jq + l} = A_{ij} B_{kl}",
    backward={
        "input": r"\bar{A}_{ij} = \sum_{k} \sum_{l} \bar{Y}_{ip + k,\, jq + l} B_{kl}",
        "other": r"\bar{B}_{kl} = \sum_{i} \sum_{j} \bar{Y}_{ip + k,\, jq + l} A_{ij}",
    },
    symbols={"A": "input", "B": "other", "Y": "output"},
    where={
        "i": text("a row of A"), "j": text("a column of A"), "k": text("a row of B"), "l": text("a column of B"),
        "p": text("the number of rows of B"), "q": text("the number of columns of B"),
    },
    source="Petersen and Pedersen 2012, The Matrix Cookbook, section 10.2.1",
)  # fmt: skip
class kron:
    def forward(input, other):
        return np.kron(input, other)

    def backward(dY, Y, input, other):
        n = max(input.ndim, other.ndim)
        a, b = (x.reshape([1] * (n - x.ndim) + list(x.shape)) for x in (input, other))
        mixed = dY.reshape([size for pair in zip(a.shape, b.shape, strict=True) for size in pair])
        dA, dB = contract_gradients(mixed, [a, b], [range(0, 2 * n, 2), range(1, 2 * n, 2)], range(2 * n))
        return {"input": dA.reshape(input.shape), "other": dB.reshape(other.shape)}


@rule(
    "linalg_vecdot", "vecdot", function=torch.linalg.vecdot,
    forward=r"Y = \sum_{i} A_{i} B_{i}",
    backward={"x": r"\bar{A}_{i} = \bar{Y} B_{i}", "y": r"\bar{B}_{i} = \bar{Y} A_{i}"},
    symbols={"A": "x", "B": "y", "Y": "output"}, where={"i": text("the position along dim")},
    source="Petersen and Pedersen 2012, The Matrix Cookbook, section 2.4",
)  # fmt: skip
class linalg_vecdot:
    def forward(x, y, *, dim=-1):
        return np.sum(x * y, axis=dim)

    def backward(dY, Y, x, y, *, dim=-1):
        dY = np.expand_dims(dY, dim)
        return {"x": unbroadcast(dY * y, x.shape), "y": unbroadcast(dY * x, y.shape)}


def _cross(*names, function, find):
    def forward(input, other, dim=None):
        return np.cross(input, other, axis=find(input, dim))

    def backward(dY, Y, input, other, dim=None):
        axis = find(input, dim)
        a, b = np.broadcast_arrays(input, other)
        return {
            "input": unbroadcast(np.cross(b, dY, axis=axis), input.shape),
            "other": unbroadcast(np.cross(dY, a, axis=axis), other.shape),
        }

    return rule(
        *names, function=function,
        forward=r"Y = A \times B", backward={"input": r"\bar{A} = B \times \bar{Y}", "other": r"\bar{B} = \bar{Y} \times A"},
        symbols={"A": "input", "B": "other", "Y": "output"}, source="Marsden and Tromba 2011, Vector Calculus, section 1.3",
    )(type(names[0], (), {"forward": forward, "backward": backward, "__module__": __name__}))  # fmt: skip


cross = _cross("cross", function=torch.cross, find=lambda x, dim: list(x.shape).index(3) if dim is None else dim)
linalg_cross = _cross("linalg_cross", function=torch.linalg.cross, find=lambda x, dim: -1 if dim is None else dim)
