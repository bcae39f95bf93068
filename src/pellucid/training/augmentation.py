"""Data augmentation of image batches on whatever device they are: random shifts and left-right flips, all samples at once.

    output[n, c, i, j] = input[n, c, r(i + dy_n), r(j' + dx_n)],   j' = W - 1 - j for the flipped samples, else j

dy_n and dx_n are drawn from -s ... s for each image, r reflects at the border (-1 becomes 1). Source: Krizhevsky et al. 2012, section 4.1
(translations and horizontal reflections). A flip is wrong where left and right differ in meaning: digits, letters, traffic signs.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pellucid.core.errors import OptionError, did_you_mean
from pellucid.core.language import text

AUGMENTATIONS: dict[str, tuple[bool, bool]] = {
    "none": (False, False),
    "shift": (True, False),
    "flip": (False, True),
    "shift_flip": (True, True),
}
SHIFT_FRACTION = 1 / 8  # of the shorter side: 4 of 32 pixels (He et al. 2016, section 4.2), 1 of 8


@dataclass(frozen=True)
class Augmentation:
    """What happens to each training batch (N, C, H, W), of any number type; the result is a new tensor of the same shape and type."""

    shift: int = 0  # the largest shift in pixels, up, down, left and right
    flip: bool = False  # mirror each image with probability 1/2

    def __call__(self, batch: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """The batch, changed. The draws come from `generator`, a CPU generator, or from torch's global one."""
        samples, _, height, width = batch.shape
        rows = torch.arange(height).expand(samples, height)  # (N, H)
        columns = torch.arange(width).expand(samples, width)  # (N, W)
        if self.flip:
            mirrored = torch.rand(samples, 1, generator=generator) < 0.5
            columns = torch.where(mirrored, width - 1 - columns, columns)
        if self.shift:
            offsets = torch.randint(-self.shift, self.shift + 1, (2, samples, 1), generator=generator)
            rows, columns = _reflected(rows + offsets[0], height), _reflected(columns + offsets[1], width)
        flat = (rows[:, :, None] * width + columns[:, None, :]).view(samples, 1, height * width)  # (N, 1, H W)
        flat = flat.to(batch.device, non_blocking=True).expand(-1, batch.shape[1], -1)
        return batch.flatten(2).gather(2, flat).view(batch.shape)


def _reflected(positions: Tensor, size: int) -> Tensor:
    """Positions -s ... size - 1 + s folded back into 0 ... size - 1; right while s < size."""
    return (size - 1) - ((size - 1) - positions.abs()).abs()


def build_augmentation(name: str, input_shape: tuple[int, ...]) -> Augmentation | None:
    """The augmentation called `name` for samples of `input_shape` (C, H, W); None for "none".

    Raises:
        OptionError: an unknown name, or samples that are no images.
    """
    if name not in AUGMENTATIONS:
        raise OptionError(
            text("augment is {name!r}", name=name),
            text("one of: {choices}", choices=list(AUGMENTATIONS)),
            did_you_mean(name, AUGMENTATIONS),
        )
    shifts, flips = AUGMENTATIONS[name]
    if not (shifts or flips):
        return None
    if len(input_shape) != 3:
        raise OptionError(
            text("augment is {augment} and the inputs have shape {shape}", augment=name, shape=list(input_shape)),
            text("images of shape (channels, height, width)"),
            text("leave --augment out"),
        )
    shortest = min(input_shape[1:])
    shift = min(max(1, round(SHIFT_FRACTION * shortest)), shortest - 1) if shifts else 0
    return Augmentation(shift, flips)
