"""Methods that read the derivative at the sample, or around it: saliency, input x gradient, SmoothGrad."""

from __future__ import annotations

import torch
from torch import Tensor

from pellucid.core.language import text
from pellucid.explanation.players import Players
from pellucid.explanation.reference import Reference
from pellucid.explanation.registry import Attributed, method
from pellucid.explanation.sampling import averaged
from pellucid.explanation.subject import Subject, Tell

_NOISE = 0.15  # of a sample's range: between the 10 % and 20 % that Smilkov et al. 2017, section 3.2, found best


@method("saliency", family="gradient", needs=("gradient",), compares=False, draws=False)
def saliency(
    subject: Subject, *, reference: Reference, players: Players, generator: torch.Generator, samples: int | None, tell: Tell
) -> Attributed:
    """|df(x)/dx|, entry by entry; for a token the sum over its embedding's D numbers. It has no sign and needs no reference.

    Source: Simonyan, Vedaldi and Zisserman 2014, section 3 (without their maximum over channels).
    """
    _, slopes = subject.gradients(subject.inputs)
    return Attributed(subject.gathered([slope.abs() for slope in slopes]))


@method("input_x_gradient", family="gradient", needs=("gradient",), compares=False, draws=False)
def input_x_gradient(
    subject: Subject, *, reference: Reference, players: Players, generator: torch.Generator, samples: int | None, tell: Tell
) -> Attributed:
    """x df(x)/dx: what the output would lose without the entry if the network were linear. "Absent" is zero, whatever the baseline.

    Source: Shrikumar, Greenside and Kundaje 2017, section 2.2.
    """
    points = subject.points(subject.inputs)
    _, slopes = subject.gradients_at(points, subject.inputs)
    return Attributed(subject.gathered([point * slope for point, slope in zip(points, slopes, strict=True)]))


@method("smoothgrad", family="gradient", needs=("gradient",), compares=False)
def smoothgrad(
    subject: Subject, *, reference: Reference, players: Players, generator: torch.Generator, samples: int | None, tell: Tell
) -> Attributed:
    """The mean of df(x + e)/dx over Gaussian e, whose standard deviation is 15 % of the range of the sample's values.

    Source: Smilkov, Thorat, Kim, Viegas and Wattenberg 2017, section 3.
    """
    points, n = subject.points(subject.inputs), subject.samples
    spreads = [_NOISE * (point.flatten(1).amax(1) - point.flatten(1).amin(1)) for point in points]

    def draw(count: int) -> tuple[Tensor, ...]:
        moved = []
        for point, spread in zip(points, spreads, strict=True):
            noise = torch.randn(count, *point.shape, generator=generator, dtype=point.dtype).to(point)
            moved.append((point + noise * spread.reshape(-1, *[1] * (point.dim() - 1))).flatten(0, 1))  # (count * n, ...)
        inputs = tuple(tensor.repeat(count, *[1] * (tensor.dim() - 1)) for tensor in subject.inputs)
        _, slopes = subject.gradients_at(moved, inputs, None if subject.target is None else subject.target.repeat(count))
        return tuple(part.reshape(count, n, *part.shape[1:]) for part in subject.gathered(slopes))

    found = averaged(draw, at_once=max(1, subject.batch_size // n), samples=samples, tell=tell)
    return Attributed(found.mean, found.low, found.high, found.exact, (text("{count} noisy copies of each sample", count=found.count),))
