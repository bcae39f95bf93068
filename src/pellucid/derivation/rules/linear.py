"""Products of matrices and vectors."""

from __future__ import annotations

import math

import numpy as np
import torch

from pellucid.core.language import text
from pellucid.derivation.registry import rule, unbroadcast
from pellucid.derivation.rules.conditions import unless

_GILES = "Giles 2008, An extended collection of matrix derivative results, section 2.2"
_VECTORS = text("Vectors are a row on the left and a column on the right; further dimensions are broadcast.")
_PAIR = {"A": "input", "B": "other", "Y": "output"}


def transposed(x):
    """The last two dimensions exchanged."""
    return np.swapaxes(x, -1, -2)


def product_gradients(dY, A, B):
    """Of the two factors of matmul, each in its own shape."""
    left = A[None, :] if A.ndim == 1 else A  # (..., n, k)
    right = B[:, None] if B.ndim == 1 else B  # (..., k, m)
    if B.ndim == 1:
        dY = dY[..., None]
    if A.ndim == 1:
        dY = np.expand_dims(dY, -2)
    dA, dB = dY @ transposed(right), transposed(left) @ dY
    return unbroadcast(dA, left.shape).reshape(A.shape), unbroadcast(dB, right.shape).reshape(B.shape)


@rule(
    "linear", function=torch.nn.functional.linear,
    forward=r"Y = X W^{\top}\given{bias}{ + b}",
    backward={
        "input": r"\bar{X} = \bar{Y} W",
        "weight": r"\bar{W} = \bar{Y}^{\top} X",
        "bias": r"\bar{b} = \sum_{n} \bar{Y}_{n}",
    },
    symbols={"X": "input", "W": "weight", "b": "bias", "Y": "output"},
    where={"n": text("the examples")},
    source="Goodfellow, Bengio and Courville 2016, Deep Learning, section 6.5.6",
)  # fmt: skip
class linear:
    def forward(input, weight, bias=None):
        return input @ weight.T + (0 if bias is None else bias)  # (..., in) (in, out) -> (..., out)

    def backward(dY, Y, input, weight, bias=None):
        n, matrix = math.prod(input.shape[:-1]), weight.reshape(-1, input.shape[-1]) if weight.ndim == 1 else weight
        rows, columns = dY.reshape(n, matrix.shape[0]), input.reshape(n, matrix.shape[1])
        return {
            "input": (rows @ matrix).reshape(input.shape),
            "weight": (rows.T @ columns).reshape(weight.shape),
            "bias": None if bias is None else unbroadcast(dY, bias.shape),
        }


@rule(
    "bilinear", function=torch.nn.functional.bilinear,
    forward=r"Y_{o} = \sum_{i} \sum_{j} A_{i} W_{oij} B_{j}\given{bias}{ + b_{o}}",
    backward={
        "input1": r"\bar{A}_{i} = \sum_{o} \sum_{j} \bar{Y}_{o} W_{oij} B_{j}",
        "input2": r"\bar{B}_{j} = \sum_{o} \sum_{i} \bar{Y}_{o} A_{i} W_{oij}",
        "weight": r"\bar{W}_{oij} = \sum_{n} \bar{Y}_{no} A_{ni} B_{nj}",
        "bias": r"\bar{b}_{o} = \sum_{n} \bar{Y}_{no}",
    },
    symbols={"A": "input1", "B": "input2", "W": "weight", "b": "bias", "Y": "output"},
    where={"o": text("an output"), "i": text("an entry of A"), "j": text("an entry of B"), "n": text("the examples")},
    source="Tenenbaum and Freeman 2000, Separating style and content with bilinear models, equation 1",
)  # fmt: skip
class bilinear:
    def forward(input1, input2, weight, bias=None):
        right = np.tensordot(input2, weight, (-1, 2))  # (..., out, in1)
        return np.matmul(right, input1[..., None])[..., 0] + (0 if bias is None else bias)

    def backward(dY, Y, input1, input2, weight, bias=None):
        n = math.prod(dY.shape[:-1])
        dy, a, b = dY.reshape(n, dY.shape[-1]), input1.reshape(n, input1.shape[-1]), input2.reshape(n, input2.shape[-1])
        mixed = np.tensordot(dy, weight, (1, 0))  # (n, in1, in2)
        outer = (a[:, :, None] * b[:, None, :]).reshape(n, weight.shape[1] * weight.shape[2])
        return {
            "input1": np.matmul(mixed, b[..., None]).reshape(input1.shape),
            "input2": np.matmul(a[:, None, :], mixed).reshape(input2.shape),
            "weight": (dy.T @ outer).reshape(weight.shape),
            "bias": None if bias is None else dy.sum(axis=0),
        }


_MATMUL = {
    "forward": r"Y = A B",
    "backward": {"input": r"\bar{A} = \bar{Y} B^{\top}", "other": r"\bar{B} = A^{\top} \bar{Y}"},
    "symbols": _PAIR,
    "source": _GILES,
}


@rule("matmul", function=torch.matmul, **_MATMUL, note=_VECTORS)
class matmul:
    def forward(input, other):
        return np.matmul(input, other)

    def backward(dY, Y, input, other):
        dA, dB = product_gradients(dY, input, other)
        return {"input": dA, "other": dB}


@rule(
    "rmatmul", function=lambda input, other: input.__rmatmul__(other),
    forward=r"Y = B A", backward={"input": r"\bar{A} = B^{\top} \bar{Y}", "other": r"\bar{B} = \bar{Y} A^{\top}"},
    symbols=_PAIR, source=_GILES, note=_VECTORS,
)  # fmt: skip
class rmatmul:
    def forward(input, other):
        return np.matmul(other, input)

    def backward(dY, Y, input, other):
        dB, dA = product_gradients(dY, other, input)
        return {"input": dA, "other": dB}


_TWO_MATRICES = {**_MATMUL, "symbols": {"A": "input", "B": "mat2", "Y": "output"}}
_TWO_MATRICES["backward"] = {"input": r"\bar{A} = \bar{Y} B^{\top}", "mat2": r"\bar{B} = A^{\top} \bar{Y}"}


@rule("mm", function=torch.mm, **_TWO_MATRICES)
class mm:
    def forward(input, mat2):
        return input @ mat2

    def backward(dY, Y, input, mat2):
        return {"input": dY @ mat2.T, "mat2": input.T @ dY}


@rule("bmm", function=torch.bmm, **_TWO_MATRICES, note=text("One product for each matrix of the batch."))
class bmm:
    def forward(input, mat2):
        return input @ mat2

    def backward(dY, Y, input, mat2):
        return {"input": dY @ transposed(mat2), "mat2": transposed(input) @ dY}


@rule(
    "mv", function=torch.mv,
    forward=r"y = A x", backward={"input": r"\bar{A} = \bar{y} x^{\top}", "vec": r"\bar{x} = A^{\top} \bar{y}"},
    symbols={"A": "input", "x": "vec", "y": "output"}, source=_GILES,
)  # fmt: skip
class mv:
    def forward(input, vec):
        return input @ vec

    def backward(dY, Y, input, vec):
        return {"input": np.outer(dY, vec), "vec": dY @ input}


def _dot(name, function):
    def forward(input, other):
        return np.dot(input, other)

    def backward(dY, Y, input, other):
        return {"input": dY * other, "other": dY * input}

    return rule(
        name, function=function,
        forward=r"y = a^{\top} b", backward={"input": r"\bar{a} = \bar{y} \, b", "other": r"\bar{b} = \bar{y} \, a"},
        symbols={"a": "input", "b": "other", "y": "output"}, source=_GILES,
    )(type(name, (), {"forward": forward, "backward": backward, "__module__": __name__}))  # fmt: skip


dot, vdot = _dot("dot", torch.dot), _dot("vdot", torch.vdot)


@rule(
    "outer", function=torch.outer,
    forward=r"Y = a b^{\top}", backward={"input": r"\bar{a} = \bar{Y} b", "vec2": r"\bar{b} = \bar{Y}^{\top} a"},
    symbols={"a": "input", "b": "vec2", "Y": "output"}, source=_GILES,
)  # fmt: skip
class outer:
    def forward(input, vec2):
        return np.outer(input, vec2)

    def backward(dY, Y, input, vec2):
        return {"input": dY @ vec2, "vec2": input @ dY}


# -- a product added to something ----------------------------------------------------------------------------------------------------------

_BETA, _ALPHA = unless("beta", 1, r"\beta "), unless("alpha", 1, r"\alpha ")


def _plus(first, second, product, gradients):
    """The equations of Y = beta C + alpha (a product of A and B)."""
    return {
        "forward": rf"Y = {_BETA}C + {_ALPHA}{product}",
        "backward": {
            "input": rf"\bar{{C}} = {_BETA}\bar{{Y}}",
            first: rf"\bar{{A}} = {_ALPHA}{gradients[0]}",
            second: rf"\bar{{B}} = {_ALPHA}{gradients[1]}",
        },
        "symbols": {"C": "input", "A": first, "B": second, r"\alpha": "alpha", r"\beta": "beta", "Y": "output"},
        "source": _GILES,
        "note": text("Where C is broadcast, its gradient is summed over the repetitions. With beta = 0, C does not count."),
    }


def _sum(input, product, beta, alpha):
    scaled = product if alpha == 1 else alpha * product
    return scaled if beta == 0 else input + scaled if beta == 1 else beta * input + scaled


def _added(dY, input, beta):
    return unbroadcast(beta * dY, input.shape)


_MATRICES = (r"\bar{Y} B^{\top}", r"A^{\top} \bar{Y}")


@rule("addmm", function=torch.addmm, **_plus("mat1", "mat2", "A B", _MATRICES))
class addmm:
    def forward(input, mat1, mat2, *, beta=1, alpha=1):
        return _sum(input, mat1 @ mat2, beta, alpha)

    def backward(dY, Y, input, mat1, mat2, *, beta=1, alpha=1):
        return {"input": _added(dY, input, beta), "mat1": alpha * (dY @ mat2.T), "mat2": alpha * (mat1.T @ dY)}


@rule("baddbmm", function=torch.baddbmm, **_plus("batch1", "batch2", "A B", _MATRICES))
class baddbmm:
    def forward(input, batch1, batch2, *, beta=1, alpha=1):
        return _sum(input, batch1 @ batch2, beta, alpha)

    def backward(dY, Y, input, batch1, batch2, *, beta=1, alpha=1):
        return {
            "input": _added(dY, input, beta),
            "batch1": alpha * (dY @ transposed(batch2)),
            "batch2": alpha * (transposed(batch1) @ dY),
        }


@rule(
    "addbmm", function=torch.addbmm,
    **{**_plus("batch1", "batch2", r"\sum_{n} A_{n} B_{n}", _MATRICES), "where": {"n": text("the matrices of the batch")}},
)  # fmt: skip
class addbmm:
    def forward(input, batch1, batch2, *, beta=1, alpha=1):
        return _sum(input, np.sum(batch1 @ batch2, axis=0), beta, alpha)

    def backward(dY, Y, input, batch1, batch2, *, beta=1, alpha=1):
        return {
            "input": _added(dY, input, beta),
            "batch1": alpha * (dY @ transposed(batch2)),
            "batch2": alpha * (transposed(batch1) @ dY),
        }


@rule("addmv", function=torch.addmv, **_plus("mat", "vec", "A B", (r"\bar{Y} B^{\top}", r"A^{\top} \bar{Y}")))
class addmv:
    def forward(input, mat, vec, *, beta=1, alpha=1):
        return _sum(input, mat @ vec, beta, alpha)

    def backward(dY, Y, input, mat, vec, *, beta=1, alpha=1):
        return {"input": _added(dY, input, beta), "mat": alpha * np.outer(dY, vec), "vec": alpha * (dY @ mat)}


@rule("addr", function=torch.addr, **_plus("vec1", "vec2", r"A B^{\top}", (r"\bar{Y} B", r"\bar{Y}^{\top} A")))
class addr:
    def forward(input, vec1, vec2, *, beta=1, alpha=1):
        return _sum(input, np.outer(vec1, vec2), beta, alpha)

    def backward(dY, Y, input, vec1, vec2, *, beta=1, alpha=1):
        return {"input": _added(dY, input, beta), "vec1": alpha * (dY @ vec2), "vec2": alpha * (vec1 @ dY)}


# -- many factors --------------------------------------------------------------------------------------------------------------------------


def _many(matrices):
    result = matrices[0]
    for matrix in matrices[1:]:
        result = result @ matrix
    return result


def _many_gradients(dY, matrices):
    """Each factor's gradient: what stands left of it, transposed, times dY, times what stands right of it, transposed."""
    found = []
    left = None
    rights = [None]
    for matrix in reversed(matrices[1:]):
        rights.append(matrix if rights[-1] is None else matrix @ rights[-1])
    for matrix, right in zip(matrices, reversed(rights), strict=True):
        partial = dY if right is None else dY @ right.T
        found.append(partial if left is None else left.T @ partial)
        left = matrix if left is None else left @ matrix
    return found


_FACTORS = {
    "forward": r"Y = A_{1} A_{2} \cdots A_{n}",
    "symbols": {"A": "tensors", "Y": "output"},
    "where": {"n": text("the number of factors"), "i": text("the number of a factor")},
    "source": _GILES,
}
_FACTOR_GRADIENT = r"\bar{A}_{i} = (A_{1} \cdots A_{i-1})^{\top} \, \bar{Y} \, (A_{i+1} \cdots A_{n})^{\top}"


@rule("linalg_multi_dot", function=torch.linalg.multi_dot, **_FACTORS, backward={"tensors": _FACTOR_GRADIENT})
class linalg_multi_dot:
    def forward(tensors):
        return _many(tensors)

    def backward(dY, Y, tensors):
        matrices = list(tensors)  # the first may be a row, the last a column
        if matrices[0].ndim == 1:
            matrices[0], dY = matrices[0][None, :], np.expand_dims(dY, 0)
        if matrices[-1].ndim == 1:
            matrices[-1], dY = matrices[-1][:, None], np.expand_dims(dY, -1)
        return {"tensors": [g.reshape(t.shape) for g, t in zip(_many_gradients(dY, matrices), tensors, strict=True)]}


@rule(
    "chain_matmul", function=torch.chain_matmul,
    **{**_FACTORS, "symbols": {"A": "matrices", "Y": "output"}}, backward={"matrices": _FACTOR_GRADIENT},
)  # fmt: skip
class chain_matmul:
    def forward(*matrices):
        return _many(matrices)

    def backward(dY, Y, *matrices):
        return {"matrices": _many_gradients(dY, matrices)}
