"""The first second: real updates on a throw-away copy, to know before a training what it will take, in time and in memory.

The updates are the loop's own, data and augmentation included, with the threads that training uses. The network, the optimiser and the
random state that training begins with are not touched; loaders are set back by the session.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from pellucid.core.memory import available_memory_bytes
from pellucid.core.system import peak_memory_bytes
from pellucid.training.evaluation import outputs_of
from pellucid.training.loop import Loop

WARM_UP = 2  # updates whose time does not count: memory is taken, kernels are chosen, optimiser state is made
ENOUGH = 50  # measured updates are enough, whatever time is left
REHEARSED = 512  # samples on which the measuring of the finished network is tried out
WORKSPACE = 1.5  # memory of a step beside what the backward pass keeps: gradients of activations, workspaces of convolutions


@dataclass(frozen=True)
class Trial:
    """What was measured. Seconds of the wall clock."""

    steps: int  # how many updates were measured
    step_seconds: float  # one update with its data
    data_seconds_per_sample: float  # of which reading, a sample
    forward_seconds_per_sample: float  # in evaluation mode
    scoring_seconds: float | None  # scores, intervals and details of the part held out, from made-up answers; None: not asked for
    activation_bytes: int  # what the backward pass of one update keeps
    parameter_bytes: int
    optimizer_bytes: int
    peak_bytes: int | None  # the most the process (on a GPU: the device) has held so far, the trial included

    def evaluation_seconds(self, samples: int) -> float:
        """One pass over `samples` samples in evaluation mode."""
        return samples * (self.data_seconds_per_sample + self.forward_seconds_per_sample)


class _Batches:
    """A few finished batches as a part."""

    def __init__(self, inputs: Tensor, targets: Tensor) -> None:
        self.inputs, self.targets = inputs, targets

    def batches(self, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
        yield self.inputs, self.targets


def try_out(
    loop: Loop, batches: Iterator[tuple[Tensor, Tensor]], *, seconds: float, score: Callable[[Tensor, Tensor], float] | None = None
) -> Trial:
    """Make updates for about `seconds`: at least one that counts, at most `ENOUGH`.

    `loop` has a copy of the network and an optimiser of its own; `batches` gives training batches on the device, not yet augmented.
    `score` scores a few outputs and targets and gives the seconds that scoring the part held out will take.
    """
    network = loop.network
    network.train()
    activations = 0
    durations: list[float] = []
    reading = samples = 0.0
    start = time.perf_counter()
    inputs = targets = None
    for count in range(WARM_UP + ENOUGH):
        begun = time.perf_counter()
        inputs, targets = next(batches)
        read = time.perf_counter()
        augmented, answers = loop.augmented(inputs, targets)
        if count == 0:
            activations = _update_with_kept_bytes(loop, augmented, answers)
        else:
            loop.update(augmented, answers)
        _wait(loop.device)
        if count >= WARM_UP or (count and time.perf_counter() - start > seconds):
            durations.append(time.perf_counter() - begun)
            reading += read - begun
            samples += len(inputs)
        if durations and time.perf_counter() - start > seconds:
            break
    assert inputs is not None
    assert targets is not None
    forward, outputs, answers = _forward(loop, inputs[:REHEARSED], targets[:REHEARSED])
    return Trial(
        steps=len(durations),
        step_seconds=sum(durations) / len(durations),
        data_seconds_per_sample=reading / samples,
        forward_seconds_per_sample=forward,
        scoring_seconds=score(outputs, answers) if score is not None else None,
        activation_bytes=activations,
        parameter_bytes=parameter_bytes(network),
        optimizer_bytes=_optimizer_bytes(loop.optimizer),
        peak_bytes=peak_bytes(loop.device),
    )


def _forward(loop: Loop, inputs: Tensor, targets: Tensor) -> tuple[float, Tensor, Tensor]:
    """Seconds per sample of a pass in evaluation mode, and its outputs and targets, on the CPU."""
    part = _Batches(inputs, targets)
    fastest = float("inf")
    while True:
        begun = time.perf_counter()
        outputs, answers = outputs_of(loop.network, part, device=loop.device, batch_size=REHEARSED, autocast=loop.autocast)
        first, fastest = fastest == float("inf"), min(fastest, time.perf_counter() - begun)
        if not first or fastest > 1:  # the first call may choose kernels; a slow one is measured well enough by itself
            return fastest / len(inputs), outputs, answers


def _wait(device: torch.device) -> None:
    """A GPU works behind our back: wait until it has done what was asked."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


# -- memory ------------------------------------------------------------------------------------------------------------------------------


def _update_with_kept_bytes(loop: Loop, inputs: Tensor, targets: Any) -> int:
    """One update; gives how many bytes its backward pass kept, parameters left out, each piece of memory counted once."""
    own = {parameter.untyped_storage().data_ptr() for parameter in loop.network.parameters()}
    kept: dict[int, int] = {}

    def count(tensor: Tensor) -> Tensor:
        if tensor.layout == torch.strided and not tensor.is_nested:
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in own:
                kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
        loop.update(inputs, targets)
    return sum(kept.values())


def step_bytes(loop: Loop, inputs: Tensor, targets: Tensor, batch_size: int) -> int:
    """About how much memory one update on `batch_size` samples takes beside the parameters, from an update on a few samples."""
    few = min(len(inputs), 4)
    loop.network.train()
    kept = _update_with_kept_bytes(loop, inputs[:few], targets[:few])
    return int(WORKSPACE * kept * batch_size / few) + parameter_bytes(loop.network) + _optimizer_bytes(loop.optimizer)


def parameter_bytes(network: nn.Module) -> int:
    return sum(parameter.numel() * parameter.element_size() for parameter in network.parameters())


def _optimizer_bytes(optimizer: torch.optim.Optimizer) -> int:
    states: list[Any] = [state for state in optimizer.state.values() if isinstance(state, dict)]
    return sum(value.numel() * value.element_size() for state in states for value in state.values() if isinstance(value, Tensor))


def available_bytes(device: torch.device) -> int | None:
    """Memory that a training on `device` can still take; None where nobody tells."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return available_memory_bytes()


def peak_bytes(device: torch.device) -> int | None:
    """The most memory used so far, on the device that computes."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    return peak_memory_bytes() if device.type == "cpu" or sys.platform == "darwin" else None
