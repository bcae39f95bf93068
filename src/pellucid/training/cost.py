"""What a network costs: its parameters, and the floating-point operations of learning from one sample."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode


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
            with counting() as counter:
                trial(inputs).float().sum().backward()
        total = counter.get_total_flops()
    except Exception:  # a user's network may do anything; its cost is worth a figure, never a failure
        return None
    return total / len(inputs) if total else None


def _lstm_flops(inputs: tuple[int, ...], *weights: Any, **_: Any) -> int:
    """2 T N (rows of W_ih I + rows of W_hh H): MKL-DNN's LSTM layer is one operation, which torch does not count."""
    steps, batch = inputs[:2]
    return 2 * steps * batch * (math.prod(weights[0]) + math.prod(weights[1]))


def _lstm_backward_flops(inputs: tuple[int, ...], *weights: Any, **_: Any) -> int:
    return 2 * _lstm_flops(inputs, *weights)


def counting() -> FlopCounterMode:
    """A context that counts the matrix products, convolutions and attention in it."""
    more = {torch.ops.aten.mkldnn_rnn_layer: _lstm_flops, torch.ops.aten.mkldnn_rnn_layer_backward: _lstm_backward_flops}
    return FlopCounterMode(display=False, custom_mapping=more)


# Below this many operations in a step, handing parts of small tensors to other threads wins nothing, and where other programs want the same
# cores it loses much, because a step waits for its slowest part at every layer: benchmarks/threads.py measures both.
ONE_THREAD_FLOPS = 2e8


def threads_for(flops_of_a_sample: float | None, batch_size: int) -> int:
    """How many threads one operation should use: one for small steps, else as many as torch has now.

    A function of the work alone, not of a measured time: the same run gives the same numbers again.
    """
    if flops_of_a_sample is not None and flops_of_a_sample * batch_size < ONE_THREAD_FLOPS:
        return 1
    return torch.get_num_threads()


def bfloat16_is_fast(device: torch.device) -> bool:
    """Whether `device` multiplies bfloat16 numbers by instructions of its own (AVX512-BF16, AMX; NVIDIA from Ampere on).

    Where it has none, bfloat16 is computed in float32 and converted to and fro: slower, and less exact for nothing.
    """
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    if device.type != "cpu":
        return False
    has = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return bool(has.get("avx512_bf16") or has.get("amx_bf16"))


@contextmanager
def thread_count(threads: int) -> Iterator[None]:
    """Use `threads` threads inside the block; afterwards the number is as it was."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
