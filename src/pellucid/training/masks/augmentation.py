"""Changes of images together with their masks: every pixel keeps its class.

    flip           mirrored left to right with probability 1/2                    Ronneberger et al. 2015 deform; mirroring as in images
    scale[:s]      seen larger or smaller by a factor from 1/s to s, evenly on a logarithmic scale    Chen et al. 2018, section 4.1;
                   not so small that the piece would reach beyond the image
    crop[:h x w]   a piece of h x w pixels from a random place                    Chen et al. 2018, section 4.1
    light[:s]      contrast times a factor from 1/s to s, brightness moved by up to s - 1 standard deviations; the mask stays
                                                                                  Howard 2013, section 2; Liu et al. 2016, section 2.2

A piece of the image, of the size (h / f, w / f) for a factor f, is drawn and brought to h x w: images bilinearly, masks by the nearest
pixel, so that no class is mixed. Beyond the image its border goes on, and the mask is IGNORED.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from pellucid.core.errors import OptionError, did_you_mean
from pellucid.core.language import text
from pellucid.data.masks.classes import IGNORED

OF_MASKS = ("crop", "scale", "light")  # which other samples do not have
MASK_AUGMENTATIONS = ("none", "flip", *OF_MASKS)
SCALE = 1.5
LIGHT = 1.5  # as in the photometric distortion of Liu et al. 2016: contrast 0.5 to 1.5, brightness by 32 of 255, half a standard deviation
CROP_FRACTION = 0.8  # of both sides
LARGEST_CROP = 256  # pixels of a side, where nobody says more: a step's time and memory grow with the piece


@dataclass(frozen=True)
class MaskAugmentation:
    """What happens to each training batch of images (N, C, H, W), standardised, and masks (N, H, W)."""

    crop: tuple[int, int] | None = None  # height and width of the piece; None: the whole image
    flip: bool = False
    scale: float = 1.0  # the largest factor; the smallest is its inverse
    light: float = 1.0  # the largest factor of the contrast

    def together(
        self, inputs: Tensor, targets: Tensor, generator: torch.Generator | None = None, chosen: Tensor | None = None, epoch: int = 0
    ) -> tuple[Tensor, Tensor]:
        """The batch's pieces, of one size. The draws come from `generator`, a CPU generator, or from torch's global one.

        The place of a piece is drawn so that it holds as much of the image as it can; what is IGNORED all along the lower or right side
        (the rest of a canvas, see data.masks) belongs to no image.
        """
        height, width = self.crop or (inputs.shape[2], inputs.shape[3])
        images: list[Tensor] = []
        masks: list[Tensor] = []
        draws = torch.rand(len(inputs), 4, generator=generator).tolist()
        for image, mask, (larger, down, right, side) in zip(inputs, targets, draws, strict=True):
            used = _used(mask)
            least = min(1.0, max(1 / self.scale, height / used[0], width / used[1]))
            factor = math.exp(math.log(least) + larger * math.log(self.scale / least))
            rows, columns = max(1, round(height / factor)), max(1, round(width / factor))
            piece, labels = _cut(image, mask, (_start(used[0], rows, down), _start(used[1], columns, right)), (rows, columns))
            if (rows, columns) != (height, width):
                piece = F.interpolate(piece[None], size=(height, width), mode="bilinear", align_corners=False)[0]
                labels = F.interpolate(labels[None, None].float(), size=(height, width), mode="nearest-exact")[0, 0].to(labels.dtype)
            if self.flip and side < 0.5:
                piece, labels = piece.flip(2), labels.flip(1)
            if self.light > 1:
                contrast, brightness = torch.rand(2, generator=generator).mul(2).sub(1).tolist()
                piece = piece * math.exp(contrast * math.log(self.light)) + brightness * (self.light - 1)
            images.append(piece)
            masks.append(labels)
        stacked = torch.stack(images)
        channels_last = inputs.is_contiguous(memory_format=torch.channels_last) and not inputs.is_contiguous()
        return stacked.contiguous(memory_format=torch.channels_last) if channels_last else stacked, torch.stack(masks)


def _used(mask: Tensor) -> tuple[int, int]:
    """Height and width of the image within its canvas: without rows and columns at the end that are all IGNORED."""
    counts = mask != IGNORED
    rows, columns = counts.any(1).nonzero(), counts.any(0).nonzero()
    return (int(rows[-1]) + 1, int(columns[-1]) + 1) if len(rows) else (mask.shape[0], mask.shape[1])


def _start(size: int, piece: int, draw: float) -> int:
    """Where a piece begins along a side: within the image where it fits, else with the image somewhere within the piece."""
    free = size - piece
    return min(int(draw * (free + 1)), free) if free >= 0 else -min(int(draw * (1 - free)), -free)


def _cut(image: Tensor, mask: Tensor, start: tuple[int, int], size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """The piece (C, h, w) from `start`, which may lie outside, and its mask (h, w)."""
    inside = [(max(0, low), min(full, low + length)) for low, length, full in zip(start, size, mask.shape, strict=True)]
    (top, bottom), (left, right) = inside
    around = (left - start[1], start[1] + size[1] - right, top - start[0], start[0] + size[0] - bottom)
    piece, labels = image[:, top:bottom, left:right], mask[top:bottom, left:right]
    if any(around):
        piece, labels = F.pad(piece, around, mode="replicate"), F.pad(labels, around, value=IGNORED)
    return piece, labels


# -- names -------------------------------------------------------------------------------------------------------------------------------


def automatic_mask_augmentation(input_shape: tuple[int, ...]) -> str:
    """Pieces of CROP_FRACTION of the sides, in whole sixteens, mirrored, at several scales, in other light; of small images the whole."""
    sides = [min(LARGEST_CROP, int(CROP_FRACTION * side) // 16 * 16) for side in input_shape[1:]]
    return f"flip,scale,light,crop:{sides[0]}x{sides[1]}" if min(sides) >= 64 else "flip,light"


def build_mask_augmentation(name: str, input_shape: tuple[int, ...]) -> MaskAugmentation | None:
    """The augmentation called `name`, such as "flip,scale:1.5,crop:144x192"; None for "none".

    Raises:
        OptionError: an unknown name, or an amount that makes no sense.
    """
    built = MaskAugmentation()
    words = [word for word in re.split(r"[,+\s]+", name.strip().lower()) if word]
    if words == ["none"]:
        return None
    for word in words:
        step, colon, amount = word.partition(":")
        if step not in MASK_AUGMENTATIONS or step == "none":
            raise OptionError(
                text("augment is {name!r}", name=name),
                text("none, or of images with masks one or several of: {choices}", choices=list(MASK_AUGMENTATIONS[1:])),
                did_you_mean(step, MASK_AUGMENTATIONS),
            )
        if step == "flip" and not colon:
            built = replace(built, flip=True)
        elif step == "scale" and _number(amount or str(SCALE), 1.0, 8.0):
            built = replace(built, scale=float(amount or SCALE))
        elif step == "light" and _number(amount or str(LIGHT), 1.0, 4.0):
            built = replace(built, light=float(amount or LIGHT))
        elif step == "crop" and (match := re.fullmatch(r"(\d+)(?:x(\d+))?", amount or "")) and int(match[1]) * int(match[2] or 1):
            built = replace(built, crop=(int(match[1]), int(match[2] or match[1])))
        elif step == "crop" and not colon:
            built = replace(built, crop=(min(LARGEST_CROP, input_shape[1]), min(LARGEST_CROP, input_shape[2])))
        else:
            raise OptionError(
                text("augment has {word!r}", word=word),
                text(
                    "for example flip, scale:1.5 (a factor from 1 to 8), light:1.5 (from 1 to 4) or crop:144x192 (pixels, height x width)"
                ),
                text("leave {amount!r} out to get the default", amount=f":{amount}"),
            )
    return built


def _number(amount: str, least: float, most: float) -> bool:
    try:
        return least <= float(amount) <= most
    except ValueError:
        return False
