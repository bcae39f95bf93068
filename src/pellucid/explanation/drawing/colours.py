"""Colours for signed numbers, and arrays as pictures that a page can hold.

The scale runs from blue over white to red, symmetric about zero, and can be told apart by readers with any common colour blindness:
ColorBrewer's RdBu. Source: Harrower and Brewer, "ColorBrewer.org", The Cartographic Journal 40, 2003. Numbers without a sign are drawn from
white to dark blue (Brewer's Blues).
"""

from __future__ import annotations

import base64
import io

import numpy as np
from PIL import Image

_SIGNED = "053061 2166ac 4393c3 92c5de d1e5f0 f7f7f7 fddbc7 f4a582 d6604d b2182b 67001f"
_POSITIVE = "f7fbff deebf7 c6dbef 9ecae1 6baed6 4292c6 2171b5 08519c 08306b"
QUANTILE = 0.995  # of the absolute values of a picture's pixels that keeps its colour's strength: one lone pixel must not pale all others


def _anchors(colours: str) -> np.ndarray:
    return np.asarray([[int(colour[place : place + 2], 16) for place in (0, 2, 4)] for colour in colours.split()], dtype=np.float64)


def signed(values: np.ndarray, largest: float) -> np.ndarray:
    """(..., 3) uint8: red above zero, blue below, the stronger the larger; at `largest` and beyond the end of the scale."""
    return _along(_anchors(_SIGNED), 0.5 + 0.5 * np.clip(values / largest if largest > 0 else values * 0, -1, 1))


def positive(values: np.ndarray, largest: float) -> np.ndarray:
    """(..., 3) uint8: white at zero, dark blue at `largest`."""
    return _along(_anchors(_POSITIVE), np.clip(values / largest if largest > 0 else values * 0, 0, 1))


def _along(anchors: np.ndarray, share: np.ndarray) -> np.ndarray:
    places = np.linspace(0, 1, len(anchors))
    share = np.nan_to_num(share, nan=0.5)
    return np.stack([np.interp(share, places, anchors[:, channel]) for channel in range(3)], axis=-1).round().astype(np.uint8)


def as_css(value: float, largest: float) -> str:
    """The signed colour as #rrggbb."""
    return "#" + bytes(signed(np.asarray([value]), largest)[0].tolist()).hex()


def is_dark(value: float, largest: float) -> bool:
    """Whether white letters are better read on the signed colour than black ones (relative luminance of sRGB, WCAG 2.1)."""
    linear = (signed(np.asarray([value]), largest)[0] / 255.0) ** 2.2
    return float(linear @ np.asarray([0.2126, 0.7152, 0.0722])) < 0.18


def strength(values: np.ndarray) -> float:
    """The absolute value at the end of a picture's scale: the largest but for the strongest 0.5 % of the pixels."""
    absolute = np.abs(values[np.isfinite(values)])
    return float(np.quantile(absolute, QUANTILE)) or float(absolute.max(initial=0.0))


def over_image(image: np.ndarray, values: np.ndarray, largest: float) -> np.ndarray:
    """(H, W, 3) uint8: the image (H, W, 3) in faint grey, the attributions (H, W) over it, the stronger the less the image shows."""
    grey = 255 - 0.3 * (255 - image.astype(np.float64).mean(axis=2, keepdims=True))
    share = np.clip(np.abs(values) / largest if largest > 0 else values * 0, 0, 1)[..., None] ** 0.6
    return ((1 - share) * grey + share * signed(values, largest)).round().astype(np.uint8)


def data_uri(picture: np.ndarray) -> str:
    """A picture (H, W, 3) uint8 as a PNG in a data URI."""
    written = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(picture)).save(written, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(written.getvalue()).decode("ascii")


def as_picture(image: np.ndarray, bounds: tuple[float, float] | None = None) -> np.ndarray:
    """(H, W, 3) uint8 of one image: (C, H, W), (H, W, C) or (H, W), whole numbers up to 255, or any numbers, stretched to their range.

    `bounds`: what is drawn black and white, else the image's own smallest and largest number.
    """
    array = np.asarray(image)
    if array.ndim == 2:
        array = array[None]
    if array.shape[0] not in (1, 3) and array.shape[-1] in (1, 3, 4):
        array = np.moveaxis(array, -1, 0)[:3]
    if array.dtype != np.uint8:
        low, high = bounds or (float(array.min()), float(array.max()))
        array = (np.clip((array - low) / (high - low), 0, 1) * 255 if high > low else array * 0 + 128).round().astype(np.uint8)
    if array.shape[0] not in (1, 3):
        array = array.mean(axis=0, keepdims=True).round().astype(np.uint8)
    return np.ascontiguousarray(np.broadcast_to(np.moveaxis(array, 0, -1), (*array.shape[1:], 3)))
