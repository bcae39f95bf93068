"""Occlusion: how far the output falls when a window, or a feature, is replaced by the reference."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from pellucid.explanation.methods.coalitions import Chosen, Game, Inputs
from pellucid.explanation.players import Players, time_axis
from pellucid.explanation.reference import Reference
from pellucid.explanation.registry import Attributed, method
from pellucid.explanation.subject import Subject, Tell

WINDOWS_ALONG = 8  # windows side by side along an axis; with steps of half a window, 15 positions


@method("feature_ablation", family="perturbation", draws=False)
def feature_ablation(
    subject: Subject, *, reference: Reference, players: Players, generator: torch.Generator, samples: int | None, tell: Tell
) -> Attributed:
    """f(x) - f(x with one feature absent), for each feature by itself, averaged over the references: nothing is left to chance.

    Source: the leave-one-out effects of Strumbelj, Kononenko and Robnik-Sikonja 2009; in images Zeiler and Fergus 2014.
    """
    game = Game(subject, reference, players, tell)
    alone = ~torch.eye(game.count, dtype=torch.bool, device=game.device)

    def choose(games: Tensor, part: slice) -> Chosen:
        return games // game.references, games % game.references, alone[None, part]

    left = game.values(game.samples * game.references, game.count, choose)
    drops = game.full[:, None] - left.reshape(game.samples, game.references, game.count).mean(1)
    return Attributed(players.spread(drops.to(subject.predictions.dtype)))


@method("occlusion", family="perturbation", options=("window", "stride"), draws=False)
def occlusion(
    subject: Subject,
    *,
    reference: Reference,
    players: Players,
    generator: torch.Generator,
    samples: int | None,
    tell: Tell,
    window: int | None = None,
    stride: int | None = None,
) -> Attributed:
    """A window slides over the sample; an entry gets the mean of f(x) - f(x without the window) over the windows that cover it.

    Images: squares over all channels, an eighth of the longer side in half steps where `window` and `stride` (in entries) do not say
    otherwise; series: stretches of time, tokens and columns: one by one.
    Source: M. D. Zeiler, R. Fergus, "Visualizing and understanding convolutional networks", 2014, section 4.2.
    """
    game = Game(subject, reference, players, tell)
    masks = [windows(subject, index, window, stride) for index in range(len(subject.inputs))]  # each (windows, one sample's shape)
    first = [sum(len(mask) for mask in masks[:index]) for index in range(len(masks) + 1)]
    count = first[-1]

    def copies(games: Tensor, part: slice) -> tuple[Tensor, Inputs]:
        rows = games // game.references
        absent = reference.at(rows, games % game.references)
        which = torch.arange(part.start, part.stop, device=game.device)
        mixed = list[Tensor]()
        for index, (entries, mask) in enumerate(zip(subject.inputs, masks, strict=True)):
            inside = (which >= first[index]) & (which < first[index + 1])
            hidden = mask[(which - first[index]).clamp(0, len(mask) - 1)] & inside.reshape(-1, *[1] * (entries.dim() - 1))
            mixed.append(torch.where(hidden, absent[index][:, None], entries[rows][:, None]).flatten(0, 1))
        return rows, tuple(mixed)

    left = game.evaluated(game.samples * game.references, count, copies)
    drops = game.full[:, None] - left.reshape(game.samples, game.references, count).mean(1)  # (samples, windows)
    found = list[Tensor]()
    for index, (entries, mask) in enumerate(zip(subject.inputs, masks, strict=True)):
        covers = mask.reshape(len(mask), -1).double()
        mean = drops[:, first[index] : first[index + 1]] @ covers / covers.sum(0)
        found.append(mean.reshape(-1, *mask.shape[1:]).expand(entries.shape).to(subject.predictions.dtype))
    return Attributed(tuple(found))


def windows(subject: Subject, index: int, window: int | None = None, stride: int | None = None) -> Tensor:
    """The positions of the window over one sample of an input, (windows, ...) bool; an axis of one entry stands for all of its entries."""
    entries = subject.inputs[index]
    shape = tuple(entries.shape[1:])
    if len(shape) < 2 or not subject.continuous[index]:
        window, stride, axes = window or 1, stride or window or 1, tuple(range(len(shape)))
    else:
        axes = (time_axis(subject, (shape[0], shape[1])),) if len(shape) == 2 else tuple(range(1, len(shape)))
        longest = max(shape[axis] for axis in axes)
        parts = 4 * WINDOWS_ALONG if len(shape) == 2 else WINDOWS_ALONG
        window = window or max(1, math.ceil(longest / parts))
        stride = stride or max(1, window // 2)
    masks = torch.ones((1, *[1] * len(shape)), dtype=torch.bool, device=entries.device)
    for axis in axes:
        size = shape[axis]
        starts = torch.arange(0, max(size - window, 0) + stride, stride, device=entries.device).clamp(max=max(size - window, 0)).unique()
        places = torch.arange(size, device=entries.device)
        along = (places >= starts[:, None]) & (places < starts[:, None] + window)  # (positions, size)
        along = along.reshape(1, len(starts), *[size if a == axis else 1 for a in range(len(shape))])
        masks = (masks[:, None] & along).flatten(0, 1)
    return masks
