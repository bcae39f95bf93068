"""What a network costs: its parameters, and the floating-point operations of learning from one sample."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode


def trainable_parameters(network: nn.Module) -> int:
    """How many numbers training adjusts; a parameter used twice counts once."""
    return sum(parameter.numel() for parameter in network.parameters() if parameter.requires_grad)


def flops_per_sample(network: nn.Module, inputs: Tensor) -> float | None:
    """Operations of one forward and backward pass per sample, a multiplication and an addition being two.

    Counted by torch.utils.flop_counter on a deep copy in training mode with the batch `inputs` (N, ...): matrix products, convolutions and
    attention; element-wise operations are left out, as is customary. None where the network cannot be copied or its output is no tensor.
    Neither the network nor the global random state changes.
    """
    devices = [inputs.device] if inputs.device.type == "cuda" else []
    try:
        with torch.random.fork_rng(devices=devices), torch.enable_grad():
            trial = copy.deepcopy(network).train()
            with FlopCounterMode(display=False) as counter:
                trial(inputs).float().sum().backward()
        total = counter.get_total_flops()
    except Exception:  # a user's network may do anything; its cost is worth a figure, never a failure
        return None
    return total / len(inputs) if total else None
