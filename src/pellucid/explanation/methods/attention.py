"""What attention looked at, as far as the chosen output depends on it."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from pellucid.core.language import Text, text
from pellucid.explanation.attending import AttentionWeights
from pellucid.explanation.players import Players, time_axis
from pellucid.explanation.reference import Reference
from pellucid.explanation.registry import Attributed, method
from pellucid.explanation.subject import Subject, Tell


def _over(found: list[tuple[Tensor, int]], positions: set[int], n: int, classes: int) -> list[tuple[Tensor, int]]:
    """The maps whose keys are so many positions. (n, K) probabilities of the classes are none."""
    return [
        (weights, axis)
        for weights, axis in found
        if weights.shape[axis] in positions and axis > 0 and len(weights) % n == 0 and tuple(weights.shape) != (n, classes)
    ]


@method("attention", family="attention", needs=("gradient", "attention"), compares=False, draws=False)
def attention(
    subject: Subject, *, reference: Reference, players: Players, generator: torch.Generator, samples: int | None, tell: Tell
) -> Attributed:
    """The sum over layers, heads and queries of A max(0, df/dA), A the attention that a position receives as a key.

    Attention alone says where a head looked, not whether the output used it: hence the gradient. Other positions' content has mixed into
    a position's by the later layers; the map does not undo this.
    Source: after Barkan et al. 2021 (Grad-SAM), who weight self-attention with its positive gradient.
    """
    index, widths = positions_of(subject)
    points = subject.points(subject.inputs)

    def run(rows: slice) -> Tensor:
        own = tuple(tensor[rows] for tensor in subject.inputs)
        maps = AttentionWeights()
        with subject.surrounded(gradient=True):
            leaves = tuple(point[rows].detach().requires_grad_() for point in points)
            outputs = subject.run_points(leaves, own, meet=maps.meet)
            values = subject.chosen(outputs, None if subject.target is None else subject.target[rows])
            n = len(values)
            chosen = _over(maps.found, set(widths), n, subject.classes)
            slopes = subject.slopes(values, [weights for weights, _ in chosen])
        total = torch.zeros(n, max(weights.shape[axis] for weights, axis in chosen), dtype=values.dtype, device=values.device)
        for (weights, axis), slope in zip(chosen, slopes, strict=True):
            if slope is not None:
                received = (weights.detach() * slope.clamp(min=0)).movedim(axis, -1)
                received = received.reshape(n, -1, received.shape[-1]).sum(1)  # heads may be folded into the samples' axis
                total[:, total.shape[1] - received.shape[1] :] += received  # a class token stands first
        return total

    total = torch.cat(subject.batched(subject.samples, run))
    found = [torch.zeros(tensor.shape, dtype=total.dtype, device=total.device) for tensor in subject.inputs]
    found[index] = _placed(subject, index, widths, total)
    unsigned = text("attention has no sign: no entry can be said to lower the output, and the numbers do not have the size of its changes")
    others = [i for i, x in enumerate(subject.inputs) if i != index and x.dim() >= 2 and total.shape[1] in x.shape[1:]]
    alike = text("inputs {first} and {others} have equally many positions: attention over either counts for input {first}", first=index,
                 others=others)  # fmt: skip
    return Attributed(tuple(found), notes=(unsigned,), warnings=(alike,) if others else ())


def obstacle(subject: Subject) -> Text | None:
    """Why there is no map; None where some attention has the positions of an input as its keys."""
    index, widths = positions_of(subject)
    if index >= 0:
        first, maps = tuple(tensor[:1] for tensor in subject.inputs), AttentionWeights()
        points = subject.points(first)
        with subject.surrounded(gradient=False):
            subject.run_points(points, first, meet=maps.meet)
        if _over(maps.found, set(widths), 1, subject.classes):
            return None
    return text("no attention was met whose keys are the tokens, time steps or patches of an input")


def positions_of(subject: Subject) -> tuple[int, tuple[int, ...]]:
    """Which input has positions, and how many keys stand for them: tokens, time steps, patches with and without a class token."""
    for index, tensor in enumerate(subject.inputs):
        shape = tuple(tensor.shape[1:])
        if not subject.continuous[index] and len(shape) == 1 and any(place.input == index for place in subject.places):
            return index, (shape[0], shape[0] + 1)
        if subject.continuous[index] and len(shape) == 2:
            steps = shape[time_axis(subject, (shape[0], shape[1]))]
            return index, (steps, steps + 1)
        if subject.continuous[index] and len(shape) == 3:
            grids = [h * w for h, w in _grids(shape[1], shape[2])]
            return index, tuple(grids) + tuple(grid + 1 for grid in grids)
    return -1, ()


def _grids(height: int, width: int) -> list[tuple[int, int]]:
    """Grids of square patches, at least 2 x 2 of them."""
    edges = [edge for edge in range(1, min(height, width) // 2 + 1) if height % edge == 0 and width % edge == 0]
    return [(height // edge, width // edge) for edge in edges]


def _placed(subject: Subject, index: int, widths: tuple[int, ...], total: Tensor) -> Tensor:
    """(n, positions) in the shape of the input: a token's own, a time step's in equal parts on its channels, a patch's on its pixels."""
    tensor = subject.inputs[index]
    n = len(total)
    if tensor.dim() == 2:
        return total[:, -tensor.shape[1] :].clone()
    if tensor.dim() == 3:
        axis = time_axis(subject, (tensor.shape[1], tensor.shape[2]))
        steps = total[:, -tensor.shape[axis + 1] :].unsqueeze(2 - axis)
        return (steps / tensor.shape[2 - axis]).expand(tensor.shape).contiguous()
    grids = {h * w: (h, w) for h, w in _grids(tensor.shape[2], tensor.shape[3])}
    count = total.shape[1] if total.shape[1] in grids else total.shape[1] - 1
    h, w = grids[count]
    patches = total[:, -count:].reshape(n, 1, h, w)
    share = tensor.shape[1] * (tensor.shape[2] // h) * (tensor.shape[3] // w)
    return (F.interpolate(patches, tensor.shape[2:], mode="nearest") / share).expand(tensor.shape).contiguous()
