"""One mask file as class codes: the values of a grey or palette picture, or the colours of another."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import cast

import numpy as np
from PIL import Image

from pellucid.core.language import text
from pellucid.data.images.decoding import Unreadable, opened, reason_of

MOST_VALUES = 255  # of one mask: it is kept as an index into its own values


@dataclass(frozen=True)
class Mask:
    """A mask as its file has it. codes[indices] are its values, or its colours as `classes.code_of` numbers them."""

    codes: np.ndarray  # (n,) int64, ascending
    indices: np.ndarray  # (H, W) uint8
    colour: bool  # the codes are colours, not all grey
    palette: Mapping[int, tuple[int, int, int]] = field(default_factory=lambda: cast("dict[int, tuple[int, int, int]]", {}))

    @property
    def counts(self) -> np.ndarray:
        return np.bincount(self.indices.reshape(-1), minlength=len(self.codes))

    def with_grey_as_colour(self) -> Mask:
        """The grey values as colours, where other masks of the set have colours."""
        if self.colour:
            return self
        codes = [self.palette.get(int(code), (int(code),) * 3) for code in self.codes]
        numbers = np.asarray([(r << 16) + (g << 8) + b for r, g, b in codes], dtype=np.int64)
        unique, inverse = np.unique(numbers, return_inverse=True)
        return Mask(unique, inverse.astype(np.uint8)[self.indices], True)


def _unique(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """np.unique with the inverse; small values are counted, which is much faster than sorting them."""
    low, high = int(values.min()), int(values.max())
    if low < 0 or high > 65535:
        codes, indices = np.unique(values, return_inverse=True)
        return codes, indices.reshape(values.shape)
    codes = np.flatnonzero(np.bincount(values.reshape(-1)))
    table = np.zeros(high + 1, dtype=np.int64)
    table[codes] = np.arange(len(codes))
    return codes, table[values]


def read_mask(path: str) -> Mask | Unreadable:
    """The mask in a file, by its pixels' values: palettes are not resolved, nothing is scaled."""
    try:
        with opened(path) as image:
            return mask_of(image)
    except Exception as error:  # one broken file must not end the reading of the others, whatever breaks
        return Unreadable(reason_of(error))


def mask_of(image: Image.Image) -> Mask | Unreadable:
    image.load()
    palette: dict[int, tuple[int, int, int]] = {}
    colour = False
    if image.mode == "P":
        stored = (image.getpalette("RGB") or [])[: 3 * 256]
        palette = {place: (stored[3 * place], stored[3 * place + 1], stored[3 * place + 2]) for place in range(len(stored) // 3)}
        values = np.asarray(image).astype(np.int64)
    elif image.mode in ("1", "L", "I", "F") or image.mode.startswith("I;16"):
        values = np.asarray(image)
        if values.dtype.kind == "f" and not (np.isfinite(values).all() and (values == np.rint(values)).all()):
            return Unreadable(text("its values are no whole numbers"))
        values = values.astype(np.int64)
    elif image.mode == "LA":
        values = np.asarray(image)[..., 0].astype(np.int64)
    else:
        pixels = np.asarray(image.convert("RGB")).astype(np.int64)  # (H, W, 3); transparency says nothing about a class
        grey = bool((pixels == pixels[..., :1]).all())
        values = pixels[..., 0] if grey else (pixels[..., 0] << 16) + (pixels[..., 1] << 8) + pixels[..., 2]
        colour = not grey
    codes, indices = _unique(values)
    if len(codes) > MOST_VALUES or codes[0] < 0:
        return Unreadable(text("it holds {count} different values from {low} to {high}: no mask of classes", count=len(codes),
                               low=int(codes[0]), high=int(codes[-1])))  # fmt: skip
    return Mask(codes, indices.astype(np.uint8), colour, {code: palette[code] for code in codes.tolist() if code in palette})
