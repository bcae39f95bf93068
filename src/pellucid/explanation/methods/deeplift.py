"""DeepLIFT (rescale): contributions handed back through every operation in proportion to what its inputs changed against the reference.

The network runs on the reference, then on the sample; every operation that is not linear in what depends on the input is met in both
passes (see `Rules`), so that functional calls, activations used twice and residual sums are treated as what they are.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pellucid.core.errors import ModelError
from pellucid.core.language import Text, text
from pellucid.explanation.methods.multipliers import Rules, Untreated
from pellucid.explanation.players import Players
from pellucid.explanation.reference import Reference
from pellucid.explanation.registry import Attributed, applicable, method
from pellucid.explanation.subject import Subject, Tell


@method("deeplift", family="gradient", needs=("gradient", "rules"), draws=False)
def deeplift(
    subject: Subject, *, reference: Reference, players: Players, generator: torch.Generator, samples: int | None, tell: Tell
) -> Attributed:
    """(x - x') times the multiplier of each entry; multipliers follow the chain rule. Several references: the mean over them.

    Multipliers: (f(x) - f(x')) / (x - x') of an elementwise f; the mean of the other factor over x and x' for a product; the derivative
    averaged along the straight line from x' to x for softmax and normalisation, which is the same rule for several inputs.
    Source: Shrikumar, Greenside and Kundaje 2017, sections 3.1 to 3.5.1; products as in Shapley's two-player game.
    """
    n, r = subject.samples, reference.count
    every = torch.arange(n, device=subject.device).repeat_interleave(r)  # (n * r,) sample of each pair
    which = torch.arange(r, device=subject.device).repeat(n)
    references = reference.at(every, which)
    starts, ends = subject.points(references), subject.points(tuple(tensor[every] for tensor in subject.inputs))
    target = None if subject.target is None else subject.target[every]

    def run(rows: slice) -> tuple[Tensor, Tensor, list[Tensor]]:
        rules = Rules()
        own = tuple(tensor[every[rows]] for tensor in subject.inputs)
        chosen = None if target is None else target[rows]
        with subject.surrounded(gradient=True):
            before = subject.run_points(tuple(start[rows].detach().requires_grad_() for start in starts), own, meet=rules.meet)
            rules.second()
            leaves = tuple(end[rows].detach().requires_grad_() for end in ends)
            values = subject.chosen(subject.run_points(leaves, own, meet=rules.meet), chosen)
            slopes = subject.slopes(values, leaves)
        parts = [
            torch.zeros_like(leaf) if slope is None else slope * (leaf.detach() - start[rows])
            for slope, leaf, start in zip(slopes, leaves, starts, strict=True)
        ]
        return values.detach(), subject.chosen(before, chosen).detach(), parts

    try:
        pieces = subject.batched(n * r, run)
    except Untreated as error:
        raise ModelError(
            text("DeepLIFT has no rule for the operation {name}", name=error.name),
            text("operations whose change can be shared among their inputs one by one"),
            text("these can be applied: {names}", names=[name for name in applicable(subject) if name != "deeplift"]),
        ) from None
    change = torch.cat([values - before for values, before, _ in pieces])
    found = [torch.cat(parts) for parts in zip(*(parts for _, _, parts in pieces), strict=True)]
    total = sum((part.flatten(1).sum(1) for part in found), torch.zeros_like(change))
    scale = change.abs().clamp(min=1e-3 * float(subject.value.abs().max()) + 1e-12)
    mean = [part.reshape(n, r, *part.shape[1:]).mean(1) for part in found]
    return Attributed(subject.gathered(mean), gap=float(((total - change).abs() / scale).max()))


def obstacle(subject: Subject) -> Text | None:
    """Which operation has no rule; None where all of them have one. The first sample is compared with itself."""
    if any(isinstance(module, torch.jit.ScriptModule) for module in subject.model.modules()):
        return text("the operations inside TorchScript cannot be seen")
    first, rules = tuple(tensor[:1] for tensor in subject.inputs), Rules()
    points = subject.points(first)
    try:
        with subject.surrounded(gradient=True):
            for _ in range(2):
                subject.run_points(tuple(point.detach().requires_grad_() for point in points), first, meet=rules.meet)
                rules.second()
    except Untreated as error:
        return text("DeepLIFT has no rule for the operation {name}", name=error.name)
    return None
