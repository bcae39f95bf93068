"""Methods that read the derivative at the sample itself: saliency, input x gradient, SmoothGrad."""

from __future__ import annotations

import torch

from pellucid.explanation.players import Players
from pellucid.explanation.reference import Reference
from pellucid.explanation.registry import Attributed, method
from pellucid.explanation.subject import Subject, Tell


@method("saliency", family="gradient", needs=("gradient",))
def saliency(
    subject: Subject, *, reference: Reference, players: Players, generator: torch.Generator, samples: int | None, tell: Tell
) -> Attributed:
    """|df(x)/dx|, entry by entry; for a token the sum over its embedding's D numbers.

    Source: Simonyan, Vedaldi and Zisserman 2014, section 3 (without their maximum over channels).
    """
    _, slopes = subject.gradients(subject.inputs)
    return Attributed(subject.gathered([slope.abs() for slope in slopes]))
