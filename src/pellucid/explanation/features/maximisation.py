"""Activation maximisation: the input that excites a unit most, kept smooth and within the data's range.

    x* = argmax_x a_u(x) - decay |x - m|^2 / n,   m the mean of the data

by gradient ascent; images are shifted by a pixel or two before each step and smoothed after every few, which takes away the high
frequencies that excite a unit and mean nothing to a person. Source: Erhan, Bengio, Courville and Vincent 2009 (the idea); Yosinski et al.,
"Understanding neural networks through deep visualization", 2015, section 3 (decay and blur); Olah, Mordvintsev and Schubert,
"Feature visualization", Distill 2017 (shifts).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pellucid.core.errors import OptionError
from pellucid.core.language import text
from pellucid.explanation.checks import plainly
from pellucid.explanation.features import capture

DECAY = 0.05  # of the squared distance to the mean, in standard deviations of the data
BLUR_EVERY = 8  # steps
BATCH = 256
RATE = 0.1  # of a step, in standard deviations of the data


@dataclass(frozen=True)
class Maximised:
    """One made input a unit."""

    units: tuple[int, ...]
    inputs: tuple[Tensor, ...]  # each (units, ...), shaped as the model's inputs
    activations: Tensor  # (units,) what each unit gives for it
    highest: Tensor  # (units,) what it gives at most for the data


@plainly()
def maximise(
    network: capture.Network, module: nn.Module, inputs: tuple[Tensor, ...], units: Sequence[int], *, layer: str, steps: int, seed: int
) -> Maximised:
    """One input for each of `units`, all in one batch; `highest` is measured on the inputs.

    Raises:
        OptionError: an input is made of whole numbers (tokens), along which there is no gradient.
    """
    if not all(item.is_floating_point() for item in inputs):
        raise OptionError(
            text("the inputs are whole numbers"), text("floating-point inputs, along which there is a gradient"),
            text("tokens have none: exciting(unit) names the texts that excite a unit most"),
        )  # fmt: skip
    generator = torch.Generator().manual_seed(seed)
    count, chosen = len(units), torch.tensor(list(units))
    means = [item.mean(dim=0, keepdim=True) for item in inputs]
    spread = [float(item.std()) or 1.0 for item in inputs]
    bounds = [(item.amin(), item.amax()) for item in inputs]
    made = [
        (mean + 0.1 * size * torch.randn((count, *mean.shape[1:]), generator=generator).to(mean)).requires_grad_()
        for mean, size in zip(means, spread, strict=True)
    ]

    def activations(given: Sequence[Tensor]) -> Tensor:
        with capture.recorded(module) as calls:
            network.passed(given)
        maps = capture.units_first(module, calls, count, layer)  # (count, units, ...)
        return maps[torch.arange(count), chosen.to(maps.device)].reshape(count, -1).mean(dim=1)

    with network.quiet(), torch.enable_grad():
        momenta = [torch.zeros_like(item) for item in made]
        for step in range(steps):
            shifts = [tuple(int(s) for s in torch.randint(-2, 3, (2,), generator=generator)) if item.ndim == 4 else () for item in made]
            moved = [torch.roll(item, shift, (2, 3)) if shift else item for item, shift in zip(made, shifts, strict=True)]
            gains = activations(moved).sum() - sum(
                DECAY * ((item - mean) / size).square().flatten(1).mean(dim=1).sum()
                for item, mean, size in zip(made, means, spread, strict=True)
            )
            gradients = torch.autograd.grad(gains, made, allow_unused=True)
            with torch.no_grad():
                for item, momentum, gradient, size, (low, high) in zip(made, momenta, gradients, spread, bounds, strict=True):
                    if gradient is None:
                        continue
                    length = gradient.flatten(1).square().mean(dim=1).sqrt().clamp_min(1e-12).reshape(-1, *[1] * (item.ndim - 1))
                    momentum.mul_(0.8).add_(gradient / length)
                    item.add_(momentum, alpha=RATE * size).clamp_(low, high)
                    if item.ndim == 4 and step % BLUR_EVERY == BLUR_EVERY - 1 and step < steps - 1:
                        item.copy_(_blurred(item))
    with network.quiet(), torch.no_grad():
        reached = activations(made)
        highest = torch.full((count,), -torch.inf)
        for batch in capture.batches(inputs, BATCH):
            size = len(batch[0])
            maps = capture.units_first(module, capture.calls_of(network, module, batch, layer), size, layer)
            highest = torch.maximum(highest, maps[:, chosen].reshape(size, count, -1).mean(dim=2).amax(dim=0).cpu())
    return Maximised(tuple(units), tuple(item.detach() for item in made), reached.detach().cpu(), highest)


def _blurred(images: Tensor) -> Tensor:
    """Each channel smoothed by [1 2 1] / 4 along both axes."""
    weights = images.new_tensor([1.0, 2.0, 1.0]) / 4
    kernel = torch.outer(weights, weights).expand(images.shape[1], 1, 3, 3)
    return F.conv2d(F.pad(images, (1, 1, 1, 1), mode="replicate"), kernel, groups=images.shape[1])
