"""Predicted masks as PNG files, in the values or colours of the masks that were learnt from."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from pellucid.core.system import write_atomically
from pellucid.data.masks.classes import MaskClasses, colour_of


def as_png(mask: np.ndarray, classes: MaskClasses) -> bytes:
    """The class indices (H, W) as a PNG: masks of values get these values, with a palette that makes them visible; masks of colours a
    palette of these colours. Values above 255 make a grey picture of 16 bits.
    """
    codes = np.asarray(classes.codes)
    buffer = io.BytesIO()
    if not classes.by_colour and codes.max() > 255:
        Image.fromarray(codes.astype(np.uint16)[mask]).save(buffer, format="PNG")
        return buffer.getvalue()
    values = np.arange(len(codes), dtype=np.uint8) if classes.by_colour else codes.astype(np.uint8)
    palette = np.zeros((256, 3), dtype=np.uint8)
    palette[values] = [colour_of(int(code)) for code in codes] if classes.by_colour else classes.palette
    picture = Image.fromarray(values[mask], mode="L")
    picture.putpalette(palette.reshape(-1).tolist())  # which makes it mode P
    picture.save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()


def mask_names(identifiers: Sequence[str]) -> list[str]:
    """A name for the mask of each image: the image's own with the ending .png, whole where two would be called alike, and without a folder
    that all are in.
    """
    folders = {Path(name).parent.as_posix() for name in identifiers}
    if len(folders) == 1:
        identifiers = [Path(name).name for name in identifiers]
    short = [Path(name).with_suffix(".png").as_posix() for name in identifiers]
    names = [name if short.count(name) == 1 else f"{identifier}.png" for name, identifier in zip(short, identifiers, strict=True)]
    return [_within(name) for name in names]


def _within(name: str) -> str:
    """A path that stays below the folder of masks, whatever an image was called."""
    return "/".join(part for part in Path(name).parts if part not in ("..", ".", "/", "\\") and ":" not in part) or "mask.png"


def write_masks(folder: Path, masks: Iterable[np.ndarray], identifiers: Sequence[str], classes: MaskClasses) -> list[str]:
    """Each mask whole or not at all; gives the names. Raises StorageError where the folder cannot be written to."""
    names = mask_names(identifiers)
    for name, mask in zip(names, masks, strict=True):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        write_atomically(folder / name, [as_png(mask, classes)])
    return names
