"""The softmax family: probabilities from scores, their logarithms, and the smooth maximum."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F

from pellucid.core.language import text
from pellucid.derivation.registry import Unsupported, rule

_SOURCE = "Goodfellow, Bengio and Courville 2016, Deep Learning, section 6.2.2.3"
_WHERE = {"k": text("the position along dim"), "j": text("the positions along dim"), "e": text("Euler's number")}


def axis_of(dim, dimensions):
    """The dimension; the legacy default of PyTorch where none is given."""
    return dim if dim is not None else 0 if dimensions in (0, 1, 3) else 1


def shifted(x, axis):
    """x minus its maximum, so that no exponential overflows: softmax does not see the difference."""
    return x if not x.size or not x.ndim else x - x.max(axis=axis, keepdims=True)


def softmax_along(x, axis):
    if not x.ndim:
        return np.ones(())
    exponentials = np.exp(shifted(x, axis))
    return exponentials / exponentials.sum(axis=axis, keepdims=True)


def log_softmax_along(x, axis):
    if not x.ndim:
        return np.zeros(())
    x = shifted(x, axis)
    return x - np.log(np.exp(x).sum(axis=axis, keepdims=True))


def softmax_backward(dY, Y, axis):
    """The Jacobian diag(Y) - Y Y^T times dY."""
    return np.zeros(()) if not Y.ndim else Y * (dY - np.sum(dY * Y, axis=axis, keepdims=True))


@rule(
    "softmax", function=F.softmax,
    forward=r"Y_{k} = \frac{e^{X_{k}}}{\sum_{j} e^{X_{j}}}",
    backward={"input": r"\bar{X}_{k} = Y_{k} \Bigl( \bar{Y}_{k} - \sum_{j} \bar{Y}_{j} Y_{j} \Bigr)"},
    symbols={"X": "input", "Y": "output"}, where=_WHERE, source=_SOURCE,
)  # fmt: skip
class softmax:
    def forward(input, dim=None, _stacklevel=3, dtype=None):
        return softmax_along(input, axis_of(dim, input.ndim))

    def backward(dY, Y, input, dim=None, _stacklevel=3, dtype=None):
        return {"input": softmax_backward(dY, Y, axis_of(dim, input.ndim))}


@rule(
    "log_softmax", function=F.log_softmax,
    forward=r"Y_{k} = X_{k} - \ln \sum_{j} e^{X_{j}}",
    backward={"input": r"\bar{X}_{k} = \bar{Y}_{k} - e^{Y_{k}} \sum_{j} \bar{Y}_{j}"},
    symbols={"X": "input", "Y": "output"}, where=_WHERE, source=_SOURCE,
)  # fmt: skip
class log_softmax:
    def forward(input, dim=None, _stacklevel=3, dtype=None):
        return log_softmax_along(input, axis_of(dim, input.ndim))

    def backward(dY, Y, input, dim=None, _stacklevel=3, dtype=None):
        if not input.ndim:
            return {"input": np.zeros(())}
        return {"input": dY - np.exp(Y) * dY.sum(axis=axis_of(dim, input.ndim), keepdims=True)}


@rule(
    "softmin", function=F.softmin,
    forward=r"Y_{k} = \frac{e^{-X_{k}}}{\sum_{j} e^{-X_{j}}}",
    backward={"input": r"\bar{X}_{k} = -Y_{k} \Bigl( \bar{Y}_{k} - \sum_{j} \bar{Y}_{j} Y_{j} \Bigr)"},
    symbols={"X": "input", "Y": "output"}, where=_WHERE, source=_SOURCE,
)  # fmt: skip
class softmin:
    def forward(input, dim=None, _stacklevel=3, dtype=None):
        return softmax_along(-input, axis_of(dim, input.ndim))

    def backward(dY, Y, input, dim=None, _stacklevel=3, dtype=None):
        return {"input": -softmax_backward(dY, Y, axis_of(dim, input.ndim))}


@rule(
    "logsumexp", function=torch.logsumexp,
    forward=r"Y = \ln \sum_{j} e^{X_{j}}",
    backward={"input": r"\bar{X}_{k} = \bar{Y} \, e^{X_{k} - Y}"},
    symbols={"X": "input", "Y": "output"}, where=_WHERE,
    source="Boyd and Vandenberghe 2004, Convex Optimization, section 3.1.5",
)  # fmt: skip
class logsumexp:
    def forward(input, dim, keepdim=False):
        axes = tuple(dim) if isinstance(dim, (tuple, list)) else (dim,)
        axes = axes or tuple(range(input.ndim))
        if not input.ndim:
            return input * 1.0
        largest = input.max(axis=axes, keepdims=True, initial=-np.inf)
        largest = np.where(np.isfinite(largest), largest, 0.0)
        total = np.log(np.exp(input - largest).sum(axis=axes, keepdims=True)) + largest
        return total if keepdim else total.squeeze(axes)

    def backward(dY, Y, input, dim, keepdim=False):
        axes = tuple(dim) if isinstance(dim, (tuple, list)) else (dim,)
        if input.ndim and not keepdim:
            axes = axes or tuple(range(input.ndim))
            dY, Y = np.expand_dims(dY, axes), np.expand_dims(Y, axes)
        return {"input": dY * np.exp(input - Y)}


@rule(
    "gumbel_softmax", function=F.gumbel_softmax,
    forward=r"\given{hard}{Y = \operatorname{onehot}(\operatorname{argmax} S), \quad S}\given{!hard}{Y}"
    r" = \operatorname{softmax}\Bigl( \frac{X - \ln E}{\tau} \Bigr)",
    backward={
        "logits": r"\bar{X}_{k} = \frac{1}{\tau} \, \given{hard}{S_{k}}\given{!hard}{Y_{k}}"
        r" \Bigl( \bar{Y}_{k} - \sum_{j} \bar{Y}_{j} \given{hard}{S_{j}}\given{!hard}{Y_{j}} \Bigr)"
    },
    symbols={"X": "logits", r"\tau": "tau", "Y": "output"},
    where={
        "k": text("the position along dim"), "j": text("the positions along dim"),
        "E": text("the draws, exponentially distributed"), "S": text("the soft sample"),
    },
    source="Jang, Gu and Poole 2017, Categorical reparameterization with Gumbel-softmax, equation 2 and section 2.2",
    note=text("With hard the one-hot sample is returned and the gradient of the soft one is taken (straight through)."),
)  # fmt: skip
class gumbel_softmax:
    def forward(logits, tau=1, hard=False, eps=1e-10, dim=-1, *, draws=()):
        soft = softmax_along(_noisy(logits, draws) / tau, dim)
        if not hard:
            return soft
        best = np.expand_dims(soft.argmax(axis=dim), dim)
        one_hot = np.zeros(soft.shape)
        np.put_along_axis(one_hot, best, 1.0, axis=dim)
        return one_hot - soft + soft  # as PyTorch writes it, rounding included

    def backward(dY, Y, logits, tau=1, hard=False, eps=1e-10, dim=-1, *, draws=()):
        return {"logits": softmax_backward(dY, softmax_along(_noisy(logits, draws) / tau, dim), dim) / tau}


def _noisy(logits, draws):
    if not draws:
        raise Unsupported(text("gumbel_softmax without its recorded draws"), text("the draws"), text("give draws=(draws,)"))
    return logits - np.log(draws[0])
