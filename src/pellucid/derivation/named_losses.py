"""Losses by name, as textbooks write them: y the targets, y_hat the network's outputs, m samples (the first dimension).

    half_squared_error              1/2 sum (y_hat - y)^2
    mse_per_sample                  1/m sum ||y - y_hat||^2
    mse                             1/n sum (y_hat - y)^2 over all n entries, as torch.nn.MSELoss
    mae                             1/n sum |y_hat - y|
    huber                           1/n sum h(y_hat - y), h(e) = e^2 / 2 where |e| <= 1, else |e| - 1/2
    cross_entropy                   on logits: softmax, then -1/m sum_i ln p_i[y_i], as torch.nn.CrossEntropyLoss
    cross_entropy_of_probabilities  -1/m sum_i sum_k y_ik ln y_hat_ik, on probabilities with one-hot targets
    negative_log_likelihood         on log-probabilities, as torch.nn.NLLLoss
    binary_cross_entropy            -1/n sum y ln y_hat + (1 - y) ln(1 - y_hat), on probabilities
    binary_cross_entropy_with_logits  the same on logits

They differ by constant factors, which scale every gradient. Where the textbook writes elementary steps, so does the code: each becomes an
equation of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from pellucid.core.errors import DataError, OptionError, did_you_mean
from pellucid.core.language import text
from pellucid.core.trace.records import tensors


def half_squared_error(outputs: Tensor, targets: Tensor) -> Tensor:
    """1/2 sum (y_hat - y)^2. Source: Rumelhart, Hinton and Williams 1986, equation 3."""
    return 0.5 * ((outputs - _like(targets, outputs)) ** 2).sum()


def mse_per_sample(outputs: Tensor, targets: Tensor) -> Tensor:
    """1/m sum_i ||y_i - y_hat_i||^2, m samples. Source: Goodfellow, Bengio and Courville 2016, equation 5.5."""
    return ((_like(targets, outputs) - outputs) ** 2).sum() / outputs.shape[0]


def mse(outputs: Tensor, targets: Tensor) -> Tensor:
    """The mean over all entries of (y_hat - y)^2, as torch.nn.MSELoss."""
    return F.mse_loss(outputs, _like(targets, outputs))


def mae(outputs: Tensor, targets: Tensor) -> Tensor:
    """The mean over all entries of |y_hat - y|, as torch.nn.L1Loss."""
    return F.l1_loss(outputs, _like(targets, outputs))


def huber(outputs: Tensor, targets: Tensor) -> Tensor:
    """The mean of Huber's function with delta = 1, as torch.nn.HuberLoss. Source: Huber 1964."""
    return F.huber_loss(outputs, _like(targets, outputs))


def cross_entropy_of_probabilities(outputs: Tensor, targets: Tensor) -> Tensor:
    """-1/m sum_i sum_k y_ik ln y_hat_ik: probabilities against one-hot targets (N, K), or class indices (N,)."""
    if targets.dim() == outputs.dim() - 1 and not targets.is_floating_point():
        targets = F.one_hot(targets, outputs.shape[1])
    return -(_like(targets, outputs) * torch.log(outputs)).sum() / outputs.shape[0]


def binary_cross_entropy(outputs: Tensor, targets: Tensor) -> Tensor:
    """-1/n sum y ln y_hat + (1 - y) ln(1 - y_hat), probabilities against 0 and 1."""
    y = _like(targets, outputs)
    return -(y * torch.log(outputs) + (1 - y) * torch.log(1 - outputs)).mean()


def binary_cross_entropy_with_logits(outputs: Tensor, targets: Tensor) -> Tensor:
    """The same on logits, as torch.nn.BCEWithLogitsLoss."""
    return F.binary_cross_entropy_with_logits(outputs, _like(targets, outputs))


LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "half_squared_error": half_squared_error,
    "mse_per_sample": mse_per_sample,
    "mse": mse,
    "mae": mae,
    "huber": huber,
    "cross_entropy": F.cross_entropy,
    "cross_entropy_of_probabilities": cross_entropy_of_probabilities,
    "negative_log_likelihood": F.nll_loss,
    "binary_cross_entropy": binary_cross_entropy,
    "binary_cross_entropy_with_logits": binary_cross_entropy_with_logits,
}


def sum_of_outputs(outputs: Any, targets: Any = None) -> Tensor:
    """What is differentiated without a loss: the sum of all floating-point outputs, or the one number that the network returns."""
    found = [tensor for tensor in tensors(outputs) if tensor.is_floating_point()]
    if not found:
        raise DataError(
            text("the outputs hold no floating-point tensor"),
            text("numbers that can be differentiated"),
            text("give a loss of the outputs"),
        )
    if len(found) == 1 and found[0].numel() == 1:
        return found[0]
    total = found[0].sum()
    for tensor in found[1:]:
        total = total + tensor.sum()
    return total


def loss_called(name: str) -> Callable[[Tensor, Tensor], Tensor]:
    """The loss of this name.

    Raises:
        OptionError: there is none.
    """
    if name not in LOSSES:
        raise OptionError(
            text("there is no loss called {name!r}", name=name), text("one of {names}", names=list(LOSSES)), did_you_mean(name, LOSSES)
        )
    return LOSSES[name]


def _like(targets: Tensor, outputs: Tensor) -> Tensor:
    """Targets of the outputs' shape: broadcasting (N,) against (N, 1) would silently compare every sample with every other."""
    if targets.shape != outputs.shape:
        if targets.numel() != outputs.numel() or targets.squeeze().shape != outputs.squeeze().shape:
            raise DataError(
                text("the targets have shape {got}", got=str(tuple(targets.shape))),
                text("the shape of the outputs, {expected}", expected=str(tuple(outputs.shape))),
                text("give one target for each output"),
            )
        targets = targets.reshape(outputs.shape)
    return targets if targets.is_floating_point() else targets.to(outputs.dtype)
