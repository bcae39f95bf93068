"""The softmax family."""

from __future__ import annotations

import numpy as np
import torch

from pellucid.derivation.registry import rule


def _dimension(dim, dimensions):
    """The legacy default of PyTorch where no dimension is given."""
    return dim if dim is not None else 0 if dimensions in (0, 1, 3) else 1


@rule(
    "log_softmax", function=torch.nn.functional.log_softmax,
    forward=r"Y_{k} = X_{k} - \ln \sum_{j} e^{X_{j}}",
    backward={"input": r"\bar{X}_{k} = \bar{Y}_{k} - e^{Y_{k}} \sum_{j} \bar{Y}_{j}"},
    symbols={"X": "input", "Y": "output"},
    where={"k": "the position along dim", "j": "the positions along dim", "e": "Euler's number"},
    source="Goodfellow, Bengio and Courville 2016, Deep Learning, section 6.2.2.3",
)  # fmt: skip
class log_softmax:
    def forward(input, dim=None, _stacklevel=3, dtype=None):
        axis = _dimension(dim, input.ndim)
        shifted = input - input.max(axis=axis, keepdims=True) if input.size else input
        return shifted - np.log(np.exp(shifted).sum(axis=axis, keepdims=True))

    def backward(dY, Y, input, dim=None, _stacklevel=3, dtype=None):
        return {"input": dY - np.exp(Y) * dY.sum(axis=_dimension(dim, input.ndim), keepdims=True)}
