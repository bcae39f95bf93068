"""Triangles and diagonals of matrices."""

from __future__ import annotations

import numpy as np
import torch

from pellucid.core.language import text
from pellucid.derivation.registry import rule

_SOURCE = "Golub and Van Loan 2013, Matrix Computations, section 1.2"
_WHERE = {"i": text("a row"), "j": text("a column")}


@rule(
    "tril", function=torch.tril,
    forward=r"Y_{i j} = [j - i \leq d] X_{i j}", backward={"input": r"\bar{X}_{i j} = [j - i \leq d] \bar{Y}_{i j}"},
    symbols={"X": "input", "Y": "output", "d": "diagonal"}, where=_WHERE, source=_SOURCE,
)  # fmt: skip
class tril:
    def forward(input, diagonal=0):
        return np.tril(input, diagonal)

    def backward(dY, Y, input, diagonal=0):
        return {"input": np.tril(dY, diagonal)}


@rule(
    "triu", function=torch.triu,
    forward=r"Y_{i j} = [j - i \geq d] X_{i j}", backward={"input": r"\bar{X}_{i j} = [j - i \geq d] \bar{Y}_{i j}"},
    symbols={"X": "input", "Y": "output", "d": "diagonal"}, where=_WHERE, source=_SOURCE,
)  # fmt: skip
class triu:
    def forward(input, diagonal=0):
        return np.triu(input, diagonal)

    def backward(dY, Y, input, diagonal=0):
        return {"input": np.triu(dY, diagonal)}


def _placed(values, shape, offset, dim1, dim2):
    """Zeros with these values on one diagonal."""
    Y = np.zeros(shape, dtype=values.dtype)
    rows, columns = np.arange(values.shape[-1]) + max(-offset, 0), np.arange(values.shape[-1]) + max(offset, 0)
    np.moveaxis(Y, (dim1, dim2), (-2, -1))[..., rows, columns] = values
    return Y


@rule(
    "diagonal", function=torch.diagonal,
    forward=r"Y_{i} = X_{i,\, i + k}", backward={"input": r"\bar{X}_{i,\, i + k} = \bar{Y}_{i}, \quad 0 \text{ elsewhere}"},
    symbols={"X": "input", "Y": "output", "k": "offset"}, where={"i": _WHERE["i"]}, source=_SOURCE,
)  # fmt: skip
class diagonal:
    def forward(input, offset=0, dim1=0, dim2=1):
        return np.diagonal(input, offset, dim1, dim2)

    def backward(dY, Y, input, offset=0, dim1=0, dim2=1):
        return {"input": _placed(dY, input.shape, offset, dim1, dim2)}


@rule(
    "linalg_diagonal", function=torch.linalg.diagonal,
    forward=r"Y_{i} = X_{i,\, i + k}", backward={"A": r"\bar{X}_{i,\, i + k} = \bar{Y}_{i}, \quad 0 \text{ elsewhere}"},
    symbols={"X": "A", "Y": "output", "k": "offset"}, where={"i": _WHERE["i"]}, source=_SOURCE,
)  # fmt: skip
class linalg_diagonal:
    def forward(A, *, offset=0, dim1=-2, dim2=-1):
        return np.diagonal(A, offset, dim1, dim2)

    def backward(dY, Y, A, *, offset=0, dim1=-2, dim2=-1):
        return {"A": _placed(dY, A.shape, offset, dim1, dim2)}


@rule(
    "diag_embed", function=torch.diag_embed,
    forward=r"Y_{i,\, i + k} = X_{i}, \quad 0 \text{ elsewhere}", backward={"input": r"\bar{X}_{i} = \bar{Y}_{i,\, i + k}"},
    symbols={"X": "input", "Y": "output", "k": "offset"}, where={"i": _WHERE["i"]}, source=_SOURCE,
)  # fmt: skip
class diag_embed:
    def forward(input, offset=0, dim1=-2, dim2=-1):
        size, dims = input.shape[-1] + abs(offset), sorted((dim1 % (input.ndim + 1), dim2 % (input.ndim + 1)))
        shape = list(input.shape[:-1])
        for dim in dims:
            shape.insert(dim, size)
        return _placed(input, shape, offset, dim1, dim2)

    def backward(dY, Y, input, offset=0, dim1=-2, dim2=-1):
        return {"input": np.diagonal(dY, offset, dim1, dim2)}


_DIAG = {
    "forward": r"Y_{i} = X_{i,\, i + k} \text{ of a matrix}, \quad Y_{i,\, i + k} = X_{i} \text{ of a vector}",
    "backward": {
        "input": r"\bar{X}_{i,\, i + k} = \bar{Y}_{i} \text{ of a matrix}, \quad \bar{X}_{i} = \bar{Y}_{i,\, i + k} \text{ of a vector}"
    },
    "where": {"i": _WHERE["i"]}, "source": _SOURCE,
}  # fmt: skip


@rule("diag", function=torch.diag, symbols={"X": "input", "Y": "output", "k": "diagonal"}, **_DIAG)
class diag:
    def forward(input, diagonal=0):
        return np.diag(input, diagonal)

    def backward(dY, Y, input, diagonal=0):
        if input.ndim == 1:
            return {"input": np.diagonal(dY, diagonal)}
        return {"input": _placed(dY, input.shape, diagonal, 0, 1)}


@rule(
    "diagflat", function=torch.diagflat,
    forward=r"Y_{i,\, i + k} = \operatorname{vec}(X)_{i}, \quad 0 \text{ elsewhere}",
    backward={"input": r"\operatorname{vec}(\bar{X})_{i} = \bar{Y}_{i,\, i + k}"},
    symbols={"X": "input", "Y": "output", "k": "offset"}, where={"i": _WHERE["i"]}, source=_SOURCE,
)  # fmt: skip
class diagflat:
    def forward(input, offset=0):
        return np.diagflat(input, offset)

    def backward(dY, Y, input, offset=0):
        return {"input": np.diagonal(dY, offset).reshape(input.shape)}


@rule(
    "trace", function=torch.trace,
    forward=r"Y = \sum_{i} X_{i i}", backward={"input": r"\bar{X} = \bar{Y} I"},
    symbols={"X": "input", "Y": "output"}, where={"i": _WHERE["i"], "I": text("the identity matrix")},
    source="Petersen and Pedersen 2012, The Matrix Cookbook, eq. 99",
)  # fmt: skip
class trace:
    def forward(input):
        return np.trace(input)

    def backward(dY, Y, input):
        return {"input": dY * np.eye(*input.shape)}
