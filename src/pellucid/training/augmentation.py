"""Data augmentation of training batches on whatever device they are: every change is made to all samples of a batch at once.

    flip              mirrored left to right with probability 1/2        Krizhevsky et al. 2012, section 4.1
    alternating_flip  every image mirrored in every second epoch         Jordan 2024, arXiv:2404.00498, section 3.6
    shift[:s]         moved by up to s pixels, reflected at the border   Krizhevsky et al. 2012, section 4.1; He et al. 2016, section 4.2
    shift_zero[:s]    the same, with black (uint8: zeros) moved in       He et al. 2016, section 4.2
    cutout[:s]        a square of s x s pixels set to the mean           DeVries & Taylor 2017, arXiv:1708.04552
    mixup[:a]         l x + (1 - l) x', targets alike, l ~ Beta(a, a)    Zhang et al. 2018, arXiv:1710.09412, section 1
    token_dropout[:p] each token of a text unknown with probability p    Iyyer et al. 2015, ACL, section 3.2, "word dropout"

For series there are jitter, scaling, time_warp and window_slice: see `series_augmentation`.

    crop, scale, light   of images with masks                            see masks.augmentation

Several are joined with commas: "alternating_flip,shift:4,cutout:8". Flips and shifts only move pixels and are made on the stored bytes,
before they are cast and standardised; cutout and mixup need the finished numbers, whose mean is zero.

A flip is wrong where left and right differ in meaning: digits, letters, traffic signs.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pellucid.core.errors import OptionError, did_you_mean
from pellucid.core.language import text
from pellucid.data.sequences import PADDING, UNKNOWN
from pellucid.training.masks.augmentation import OF_MASKS, MaskAugmentation, build_mask_augmentation
from pellucid.training.series_augmentation import AMOUNTS as SERIES_AMOUNTS
from pellucid.training.series_augmentation import SeriesChanges

OF_IMAGES = ("none", "flip", "alternating_flip", "shift", "shift_zero", "cutout", "mixup")
AUGMENTATIONS = (*OF_IMAGES, "token_dropout", *SERIES_AMOUNTS, *OF_MASKS)
_OLDER_NAMES = {"shift_flip": ("flip", "shift")}
_AMOUNTS = ("shift", "shift_zero", "cutout", "mixup", "token_dropout", *SERIES_AMOUNTS, *OF_MASKS)  # those that take one after a colon
_FRACTIONS = ("mixup", "token_dropout", *SERIES_AMOUNTS)  # amounts that need not be whole
SHIFT_FRACTION = 1 / 8  # of the shorter side: 4 of 32 pixels (He et al. 2016, section 4.2), 1 of 8
CUTOUT_FRACTION = 1 / 4  # of the shorter side: 8 of 32 pixels, DeVries & Taylor's choice for CIFAR-100
MIXUP_ALPHA = 0.2  # Zhang et al. 2018, section 3.1: 0.1 to 0.4 improve on none; larger values underfit short trainings
TOKEN_DROPOUT = 0.2  # Iyyer et al. 2015, section 4.3, drop 0.3 of the words; other values were not compared
_SMALLEST_SIDE = 16  # pixels; smaller pictures, such as the digits of 8 x 8, lose what they show when they are moved


@dataclass(frozen=True)
class Augmentation:
    """What happens to each training batch (N, C, H, W), of any number type; results are new tensors of the same shape and type."""

    shift: int = 0  # the largest shift in pixels, up, down, left and right
    flip: bool = False  # mirror each image with probability 1/2
    alternating: bool = False  # the flip: not by chance but in every second epoch, where positions and epoch are known
    reflect: bool = True  # what is moved in from outside: the image's own mirror image, or zeros
    cutout: int = 0  # pixels of the square's side
    mixup: float = 0.0  # a of Beta(a, a)
    token_dropout: float = 0.0  # probability of each token to be made the unknown one
    series: SeriesChanges = field(default_factory=SeriesChanges)
    seed: int = 0  # which half of the images the alternating flip begins with

    def __call__(self, batch: Tensor, generator: torch.Generator | None = None, chosen: Tensor | None = None, epoch: int = 0) -> Tensor:
        """The batch (N, C, H, W), flipped and shifted. The draws come from `generator`, a CPU generator, or from torch's global one.

            output[n, c, i, j] = input[n, c, r(i + dy_n), r(j' + dx_n)],   j' = W - 1 - j for the flipped samples, else j

        dy_n and dx_n are drawn from -s ... s for each image, r reflects at the border (-1 becomes 1). `chosen` (N,) are the positions
        of the samples in their part, on the CPU.
        """
        if not (self.flip or self.shift):
            return batch
        samples, _, height, width = batch.shape
        rows = torch.arange(height).expand(samples, height)  # (N, H)
        columns = torch.arange(width).expand(samples, width)  # (N, W)
        if self.flip:
            if self.alternating and chosen is not None:
                mirrored = ((_first_sides(chosen, self.seed) + epoch) % 2 == 1)[:, None]
            else:
                mirrored = torch.rand(samples, 1, generator=generator) < 0.5
            columns = torch.where(mirrored, width - 1 - columns, columns)
        outside = None
        if self.shift:
            offsets = torch.randint(-self.shift, self.shift + 1, (2, samples, 1), generator=generator)
            rows, columns = rows + offsets[0], columns + offsets[1]
            if not self.reflect:
                outside = ((rows < 0) | (rows >= height))[:, :, None] | ((columns < 0) | (columns >= width))[:, None, :]  # (N, H, W)
            rows, columns = _reflected(rows, height), _reflected(columns, width)
        flat = (rows[:, :, None] * width + columns[:, None, :]).view(samples, 1, height * width)  # (N, 1, H W)
        flat = flat.to(batch.device, non_blocking=True).expand(-1, batch.shape[1], -1)
        moved = batch.flatten(2).gather(2, flat).view(batch.shape)
        return moved if outside is None else moved.masked_fill_(outside[:, None].to(batch.device), 0)

    def together(
        self, inputs: Tensor, targets: Any, generator: torch.Generator | None = None, chosen: Tensor | None = None, epoch: int = 0
    ) -> tuple[Tensor, Any]:
        """All changes of a standardised batch, one after the other."""
        return self.finish(self(inputs, generator, chosen, epoch), targets, generator)

    def finish(self, inputs: Tensor, targets: Any, generator: torch.Generator | None = None) -> tuple[Tensor, Any]:
        """Standardised inputs (N, ...) and their targets, squares cut out, tokens (N, T) dropped, samples mixed: a regression's
        targets too, others as `Mixed`.

        Raises:
            OptionError: mixup of whole numbers, such as words' indices, which nothing lies between; dropping tokens of what is no text.
        """
        if self.series != SeriesChanges():
            if not inputs.is_floating_point() or inputs.ndim != 3:
                raise OptionError(
                    text("augment has changes for series and the inputs are of shape {shape}", shape=str(tuple(inputs.shape[1:]))),
                    text("series of shape (channels, steps)"),
                    text("leave them out"),
                )
            inputs = self.series(inputs, generator)
        if self.token_dropout:
            if inputs.is_floating_point() or inputs.ndim != 2:
                raise OptionError(
                    text("augment has token_dropout and the inputs are no texts"), text("texts"), text("leave token_dropout out")
                )
            dropped = (torch.rand(inputs.shape, generator=generator) < self.token_dropout).to(inputs.device)
            inputs = inputs.masked_fill(dropped & (inputs != PADDING), UNKNOWN)
        if self.cutout:
            samples, _, height, width = inputs.shape
            centres = torch.stack([torch.randint(0, size, (samples,), generator=generator) for size in (height, width)])
            start = centres - self.cutout // 2  # (2, N); a part of the square may lie outside, as in the paper
            inside = [
                (torch.arange(size) >= low[:, None]) & (torch.arange(size) < low[:, None] + self.cutout)
                for size, low in zip((height, width), start, strict=True)
            ]
            square = inside[0][:, None, :, None] & inside[1][:, None, None, :]  # (N, 1, H, W)
            inputs = inputs.masked_fill(square.to(inputs.device, non_blocking=True), 0)
        if self.mixup:
            if not inputs.is_floating_point():
                raise OptionError(
                    text("augment has mixup and the inputs are whole numbers ({dtype})", dtype=str(inputs.dtype)),
                    text("inputs between which something lies: images or measurements"),
                    text("leave mixup out"),
                )
            share = _beta(self.mixup, generator)
            partners = torch.randperm(len(inputs), generator=generator).to(inputs.device)
            inputs = torch.lerp(inputs[partners], inputs, share)
            others = targets[partners]
            if isinstance(targets, Tensor) and targets.is_floating_point():
                targets = torch.lerp(others, targets, share)
            else:
                targets = Mixed(targets, others, share)
        return inputs, targets


@dataclass(frozen=True)
class Mixed:
    """Two targets for each sample of a batch, the first with the weight `share`, the second with the rest."""

    first: Any
    second: Any
    share: float

    def loss(self, loss_function: Callable[[Tensor, Any], Tensor], output: Tensor) -> Tensor:
        """share l(z, y) + (1 - share) l(z, y'): with cross-entropy, which is linear in the target, the loss of the mixed target itself."""
        return self.share * loss_function(output, self.first) + (1 - self.share) * loss_function(output, self.second)


def _reflected(positions: Tensor, size: int) -> Tensor:
    """Positions -s ... size - 1 + s folded back into 0 ... size - 1; right while s < size."""
    return (size - 1) - ((size - 1) - positions.abs()).abs()


def _first_sides(positions: Tensor, seed: int) -> Tensor:
    """0 or 1 for each position (N,): a fair coin that falls the same way every time. The last mixing of MurmurHash3 (Appleby 2011)."""
    mixed = positions.long() + (seed * 0x9E3779B9 & 0x7FFFFFFF)
    for factor in (-0xAE502812AA7333, -0x3B314601E57A13AD):  # 0xFF51AFD7ED558CCD and 0xC4CEB9FE1A85EC53 as signed numbers
        mixed = mixed ^ ((mixed >> 33) & 0x7FFFFFFF)
        mixed = mixed * factor
    return ((mixed ^ ((mixed >> 33) & 0x7FFFFFFF)) & 1).long()


def _beta(alpha: float, generator: torch.Generator | None) -> float:
    """One draw of Beta(alpha, alpha): NumPy's, because torch's own takes no generator, seeded by a draw of torch's."""
    seed = int(torch.randint(2**62, (), generator=generator))
    return float(np.random.default_rng(seed).beta(alpha, alpha))


# -- names -------------------------------------------------------------------------------------------------------------------------------


def automatic_augmentation(input_shape: tuple[int, ...], mirrorable: bool) -> str:
    """The augmentation for samples of `input_shape`: pictures that are large enough are moved, those that may be are mirrored too."""
    if len(input_shape) != 3 or input_shape[0] not in (1, 3) or min(input_shape[1:]) < _SMALLEST_SIDE:
        return "none"
    return "alternating_flip,shift" if mirrorable else "shift"


def mirrors(name: str) -> bool:
    """Whether the augmentation called `name` mirrors images."""
    return any(step in ("flip", "alternating_flip", "shift_flip") for step, _ in _steps(name))


def _steps(name: str) -> list[tuple[str, str | None]]:
    """("shift", "4") of "shift:4", in the order given. Raises OptionError for names that are none."""
    steps: list[tuple[str, str | None]] = []
    for word in re.split(r"[,+\s]+", name.strip().lower().replace("-", "_")):
        step, colon, amount = word.partition(":")
        if step not in AUGMENTATIONS and step not in _OLDER_NAMES:
            raise OptionError(
                text("augment is {name!r}", name=name),
                text("one of: {choices}, or several joined by commas", choices=list(AUGMENTATIONS)),
                did_you_mean(step, AUGMENTATIONS),
            )
        if colon and step not in _AMOUNTS:
            raise OptionError(
                text("augment has {word!r}", word=word),
                text("an amount only after one of: {choices}", choices=list(_AMOUNTS)),
                text("write {step} alone", step=step),
            )
        steps += [(older, None) for older in _OLDER_NAMES[step]] if step in _OLDER_NAMES else [(step, amount if colon else None)]
    if len(steps) > 1 and any(step == "none" for step, _ in steps):
        raise OptionError(
            text("augment is {name!r}", name=name), text("none alone, or changes joined by commas"), text("leave one of them out")
        )
    return steps


def build_augmentation(
    name: str, input_shape: tuple[int, ...], seed: int = 0, task_kind: str = "classification"
) -> Augmentation | MaskAugmentation | None:
    """The augmentation called `name` for samples of `input_shape` (C, H, W); None for "none".

    Raises:
        OptionError: an unknown name, an amount that makes no sense, or samples that are no images.
    """
    if task_kind == "segmentation":
        return build_mask_augmentation(name, input_shape)
    built = Augmentation(seed=seed)
    steps = _steps(name)
    if steps == [("none", None)]:
        return None
    if any(step in OF_MASKS for step, _ in steps):
        raise OptionError(
            text("augment is {augment} and the task is {task}", augment=name, task=task_kind),
            text("{steps} with images that have masks", steps=list(OF_MASKS)),
            text("leave them out"),
        )
    if len(input_shape) != 3 and any(step not in ("mixup", "token_dropout", *SERIES_AMOUNTS) for step, _ in steps):
        raise OptionError(
            text("augment is {augment} and the inputs have shape {shape}", augment=name, shape=list(input_shape)),
            text("images of shape (channels, height, width)"),
            text("leave --augment out"),
        )
    shortest = min(input_shape[1:]) if len(input_shape) == 3 else 0
    for step, amount in steps:
        if step == "mixup":
            built = replace(built, mixup=_amount(name, step, amount, MIXUP_ALPHA, 0.001, 100.0))
        elif step == "token_dropout":
            built = replace(built, token_dropout=_amount(name, step, amount, TOKEN_DROPOUT, 0.0, 0.9))
        elif step in SERIES_AMOUNTS:
            default, least, most = SERIES_AMOUNTS[step]
            built = replace(built, series=replace(built.series, **{step: _amount(name, step, amount, default, least, most)}))
        elif step == "cutout":
            default = max(1, round(CUTOUT_FRACTION * shortest))
            built = replace(built, cutout=int(_amount(name, step, amount, default, 1, shortest)))
        elif step in ("shift", "shift_zero"):
            default = min(max(1, round(SHIFT_FRACTION * shortest)), shortest - 1)
            built = replace(built, shift=int(_amount(name, step, amount, default, 0, shortest - 1)), reflect=step == "shift")
        else:
            built = replace(built, flip=True, alternating=step == "alternating_flip")
    return built


def _amount(name: str, step: str, amount: str | None, default: float, least: float, most: float) -> float:
    if amount is None:
        return default
    try:
        value = float(amount)
    except ValueError:
        value = float("nan")
    if not least <= value <= most or (step not in _FRACTIONS and value != int(value)):
        raise OptionError(
            text("augment is {name!r}", name=name),
            text("{step} with a number from {least:g} to {most:g}", step=step, least=least, most=most)
            if step in _FRACTIONS
            else text("{step} with a whole number of pixels from {least:g} to {most:g}", step=step, least=least, most=most),
            text("leave {amount!r} out to get the default", amount=f":{amount}"),
        )
    return value
