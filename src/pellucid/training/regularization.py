"""Keeping weights and gradients small: the L1 penalty and gradient clipping. (L2 is the optimisers' weight decay, dropout a layer.)"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn


def penalized_parameters(network: nn.Module) -> list[nn.Parameter]:
    """The trainable weight matrices and kernels: parameters with two or more dimensions.

    Biases and the scales of normalisation layers are left out, for L1 as for weight decay: they are few, do not multiply inputs with each
    other, and pulling them to zero only shifts the function (Goodfellow, Bengio and Courville 2016, section 7.1).
    """
    return [parameter for parameter in network.parameters() if parameter.requires_grad and parameter.ndim >= 2]


def l1_penalty(network: nn.Module) -> Tensor:
    """sum over all weights |w|, a differentiable scalar; its gradient is sign(w), and 0 at w = 0.

    Source: Tibshirani 1996; Goodfellow et al. 2016, equation 7.18. The strength multiplies it outside: loss + l1 * l1_penalty(network).
    """
    weights = penalized_parameters(network)
    if not weights:
        return torch.zeros(())
    total = weights[0].abs().sum()
    for weight in weights[1:]:
        total = total + weight.abs().sum()
    return total


def clip_gradients(parameters: Iterable[Tensor], largest: float) -> Tensor:
    """Scale all gradients together so that their global norm is at most `largest`; returns the norm before, a scalar tensor.

    g <- g * min(1, largest / ||g||), ||g||^2 = sum over all parameters and entries g_i^2. Source: Pascanu et al. 2013, algorithm 1.
    The norm is not read on the host: no synchronisation with the device.
    """
    return torch.nn.utils.clip_grad_norm_(parameters, largest)
