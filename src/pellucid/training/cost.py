"""What a network costs: its parameters, and the floating-point operations of learning from one sample."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager

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


# Below this many operations in a step, handing parts of small tensors to other threads wins nothing, and where other programs want the same
# cores it loses much: on 2 cores an MLP of 64-64 units took 0.20 ms a step with one thread and with two, and 35 ms with two while another
# program was busy; a small CNN with 7e7 operations 1.9 ms with one and with two, 9.8 ms with two beside another program.
ONE_THREAD_FLOPS = 2e8


def threads_for(flops_of_a_sample: float | None, batch_size: int) -> int:
    """How many threads one operation should use: one for small steps, else as many as torch has now.

    A function of the work alone, not of a measured time: the same run gives the same numbers again.
    """
    if flops_of_a_sample is not None and flops_of_a_sample * batch_size < ONE_THREAD_FLOPS:
        return 1
    return torch.get_num_threads()


@contextmanager
def thread_count(threads: int) -> Iterator[None]:
    """Use `threads` threads inside the block; afterwards the number is as it was."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
