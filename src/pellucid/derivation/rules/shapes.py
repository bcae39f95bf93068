"""The same entries in another shape: the gradient takes the way back."""

from __future__ import annotations

import numpy as np
import torch

from pellucid.core.language import text
from pellucid.derivation.registry import Unsupported, rule

_SOURCE = "Harris et al. 2020, Array programming with NumPy"


def sizes(shape):
    """One tuple from view(2, 3), view((2, 3)) and reshape(shape=...)."""
    if len(shape) == 1 and isinstance(shape[0], (tuple, list)):
        shape = shape[0]
    if any(not isinstance(size, (int, np.integer, np.ndarray)) for size in shape):
        raise Unsupported(text("a view as another number type"), text("a shape"), text("use .to(dtype) to convert numbers"))
    return tuple(int(size) for size in shape)


@rule(
    "view", "reshape", function=torch.Tensor.view,
    forward=r"Y = \operatorname{reshape}(X)", backward={"input": r"\bar{X} = \operatorname{reshape}(\bar{Y})"},
    symbols={"X": "input", "Y": "output"}, source=_SOURCE,
)  # fmt: skip
class view:
    def forward(input, *shape):
        return np.reshape(input, sizes(shape))

    def backward(dY, Y, input, *shape):
        return {"input": np.reshape(dY, input.shape)}


@rule(
    "flatten", function=torch.flatten,
    forward=r"Y = \operatorname{flatten}(X)", backward={"input": r"\bar{X} = \operatorname{reshape}(\bar{Y})"},
    symbols={"X": "input", "Y": "output"}, source=_SOURCE,
)  # fmt: skip
class flatten:
    def forward(input, start_dim=0, end_dim=-1):
        if input.ndim == 0:
            return input.reshape(1)
        first, last = start_dim % input.ndim, end_dim % input.ndim
        return input.reshape(*input.shape[:first], int(np.prod(input.shape[first : last + 1])), *input.shape[last + 1 :])

    def backward(dY, Y, input, start_dim=0, end_dim=-1):
        return {"input": dY.reshape(input.shape)}
