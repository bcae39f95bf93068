"""One image file as an array of bytes (C, H, W): every mode that pillow reads becomes grey (C = 1) or RGB (C = 3)."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from pellucid.core.language import Text, text

# Not pictures, or decoded by another program (PostScript by Ghostscript): a training must not start programs because of a file's content.
_EXCLUDED_FORMATS = {"EPS", "WMF", "EMF", "MPEG", "HDF5", "GRIB", "BUFR", "PDF"}
_GREY_MODES = {"1", "L", "LA", "La", "I", "F"}  # and I;16 of any byte order
_TURNED = {5, 6, 7, 8}  # EXIF orientations in which width and height change places
_ORIENTATION = 0x0112
_LARGEST = 1024**3 // 4 // 3  # pixels; pillow's own limit, a quarter of a GiB as RGB, beyond which a file may be a decompression bomb

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True)
class Header:
    """What a file says about its picture before anything is decoded."""

    height: int
    width: int
    grey: bool
    animated: bool


@dataclass(frozen=True)
class Unreadable:
    """A file that is no readable picture, and why."""

    reason: Text


class _RefusedError(Exception):
    """A picture that is not taken, with the reason for a person."""

    def __init__(self, reason: Text) -> None:
        super().__init__(reason)
        self.reason = reason


@cache
def image_formats() -> tuple[str, ...]:
    """The formats that are read, by pillow's names."""
    Image.init()
    return tuple(name for name in Image.ID if name not in _EXCLUDED_FORMATS)


@cache
def image_suffixes() -> frozenset[str]:
    """The lower-case file name endings of these formats: .png, .jpg, .webp, ..."""
    formats = set(image_formats())
    return frozenset(suffix for suffix, name in Image.registered_extensions().items() if name in formats)


def is_image_name(path: Path | str) -> bool:
    return os.path.splitext(path)[1].lower() in image_suffixes()  # noqa: PTH122 - names, of which there may be a million


def read_header(path: Path | str) -> Header | Unreadable:
    """Size and colour without decoding."""
    try:
        with opened(path) as image:
            width, height = image.size
            if image.getexif().get(_ORIENTATION) in _TURNED:
                width, height = height, width
            animated = bool(getattr(image, "is_animated", False)) and image.format != "MPO"  # MPO: a photograph with its preview
            return Header(height, width, is_grey(image), animated)
    except Exception as error:  # one broken file must not end the reading of the others, whatever breaks
        return Unreadable(reason_of(error))


@contextmanager
def opened(path: Path | str) -> Iterator[Image.Image]:
    """The picture, not decoded yet. Raises _RefusedError for an empty file (a pipe is one too) and for more pixels than pictures have."""
    if os.path.getsize(path) == 0:  # noqa: PTH202
        raise _RefusedError(text("the file is empty"))
    with Image.open(path, formats=image_formats()) as image:
        width, height = image.size
        if width * height > (Image.MAX_IMAGE_PIXELS or _LARGEST):
            raise _RefusedError(text("it has {width} x {height} pixels: it may be a decompression bomb", width=width, height=height))
        yield image


def decode(path: Path | str, channels: int, size: tuple[int, int] | None) -> np.ndarray | Unreadable:
    """(C, H, W) uint8 of the first frame, upright, resized to `size` (H, W) where it has another."""
    try:
        with opened(path) as image:
            if size is not None:
                largest = 2 * max(size)
                image.draft("L" if channels == 1 else "RGB", (largest, largest))  # JPEG: decode only as finely as needed
            return as_pixels(image, channels, size)
    except Exception as error:
        return Unreadable(reason_of(error))


def as_pixels(image: Image.Image, channels: int, size: tuple[int, int] | None) -> np.ndarray:
    """(C, H, W) uint8 of an open picture. Raises what pillow raises where it cannot be decoded."""
    image.load()
    picture = _in_bytes(ImageOps.exif_transpose(image), channels)
    if size is not None and picture.size != (size[1], size[0]):
        picture = picture.resize((size[1], size[0]), Image.Resampling.BILINEAR, reducing_gap=2.0)
    pixels = np.asarray(picture, dtype=np.uint8)
    return pixels[None] if pixels.ndim == 2 else np.ascontiguousarray(np.moveaxis(pixels, 2, 0))


def is_grey(image: Image.Image) -> bool:
    """Whether an open picture has no colour, by its mode or palette."""
    if image.mode in _GREY_MODES or image.mode.startswith("I;16"):
        return True
    if image.mode == "P":
        palette = np.asarray(image.getpalette("RGB") or [0], dtype=np.uint8)
        triples = palette[: len(palette) // 3 * 3].reshape(-1, 3)
        return bool((triples == triples[:, :1]).all())
    return False


def _in_bytes(image: Image.Image, channels: int) -> Image.Image:
    """Mode L or RGB: transparency on white, deep greys scaled to 0..255."""
    mode = "L" if channels == 1 else "RGB"
    if image.mode.startswith("I;16") or image.mode in ("I", "F"):
        return Image.fromarray(_deep_grey(image)).convert(mode)
    if image.has_transparency_data:
        picture = image.convert("RGBA")
        white = Image.new("RGBA", picture.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, picture).convert(mode)
    return image if image.mode == mode else image.convert(mode)


def _deep_grey(image: Image.Image) -> np.ndarray:
    """(H, W) uint8 of a picture with more than 8 bits: 0..65535 and 0..1 become 0..255."""
    values = np.asarray(image).astype(np.float64)
    low, high = float(values.min()), float(values.max())
    if not np.isfinite(values).all() or low < 0:
        raise _RefusedError(text("its grey values are negative or not finite"))
    if image.mode == "F" and high <= 1.0:
        values = values * 255.0
    elif image.mode.startswith("I;16") or (high > 255 and high <= 65535):
        values = values / 257.0
    elif high > 255:
        raise _RefusedError(text("its grey values reach {high:g}, beyond 65535: nobody knows which is white", high=high))
    return np.rint(values).astype(np.uint8)


# What Pillow's decoders say of damaged files (parts of their sentences, in lower case), and what that means.
_DAMAGES = {
    ("truncated", "unexpected end of file", "not enough image data"): text("the file is cut off: its end is missing"),
    ("broken data stream", "unrecognized data stream", "broken png", "decoder error", "bad checksum", "corrupt"): text(
        "its data are damaged"
    ),
}


def reason_of(error: Exception) -> Text:
    """Why a file could not be read, in a few words; the sentence of a library that we do not know is quoted."""
    if isinstance(error, _RefusedError):
        return error.reason
    if isinstance(error, UnidentifiedImageError):
        return text("it is no image that Pillow can read")
    if isinstance(error, (Image.DecompressionBombError, Image.DecompressionBombWarning)):
        return text("it has too many pixels: it may be a decompression bomb")
    if isinstance(error, PermissionError):
        return text("permission denied")
    if isinstance(error, FileNotFoundError):
        return text("it does not exist")
    message = str(error).split("\n")[0][:200] or type(error).__name__
    known = next((reason for parts, reason in _DAMAGES.items() if any(part in message.lower() for part in parts)), None)
    return text("it cannot be decoded (Pillow: {message})", message=message) if known is None else known


def in_threads(function: Callable[[T], R], items: Sequence[T] | Iterable[T]) -> list[R]:
    """`function` of every item, in order; pillow decodes outside of Python's lock, so threads share the work."""
    with warnings.catch_warnings(), ThreadPoolExecutor(max_workers=max(1, min(16, _processors()))) as pool:
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # such images are left out by name
        try:
            return list(pool.map(function, items))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)  # Ctrl-C: do not decode the rest first
            raise


def _processors() -> int:
    affinity: Any = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1
