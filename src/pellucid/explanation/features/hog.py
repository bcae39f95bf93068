"""Histograms of oriented gradients: features of images as people made them before networks learnt their own.

    gradient by [-1 0 1], of the channel where it is longest; each pixel votes with the gradient's length for its orientation
    (9 bins over 0 to 180 degrees), shared linearly between the two nearest bins and the four nearest cells; cells in blocks of 2 x 2,
    each block v -> min(v / sqrt(|v|^2 + e^2), 0.2), normalised again (L2-Hys)

Source: Dalal and Triggs, "Histograms of oriented gradients for human detection", CVPR 2005, section 6; without the Gaussian window of 6.4.
"""

from __future__ import annotations

import numpy as np

BINS = 9
EPSILON = 1e-3  # of the length of a block; the paper calls the results insensitive to it
CLIP = 0.2
CHUNK = 256  # images at once: their votes take 9 numbers a pixel


def hog(images: np.ndarray, cell: int | None = None) -> np.ndarray:
    """(N, features) float64 of images (N, C, H, W). `cell` is the side of a cell in pixels; None: 8 as in the paper, of small images
    a quarter of the shorter side, so that there are four cells across."""
    _, _, height, width = images.shape
    side = cell_side(height, width) if cell is None else cell
    rows, columns = _shares(height, side), _shares(width, side)  # (pixels, cells): how much of a pixel's vote each cell gets
    blocks = [_blocks(images[start : start + CHUNK], rows, columns) for start in range(0, len(images), CHUNK)]
    return np.concatenate(blocks)


def _blocks(images: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """(n, features) of some images."""
    length, angle = _gradients(images.astype(np.float64))
    spot = angle / np.pi * BINS - 0.5  # the centre of bin k lies at (k + 1/2) * 20 degrees
    distance = np.abs((spot[..., None] - np.arange(BINS) + BINS / 2) % BINS - BINS / 2)  # around the circle
    votes = length[..., None] * np.maximum(0.0, 1 - distance)  # (n, H, W, BINS)
    inner = np.einsum("nhwb,hr,wc->nrcb", votes, rows, columns, optimize=True)
    if min(inner.shape[1:3]) < 2:
        return _normalised(inner.reshape(len(images), -1))
    corners = (inner[:, :-1, :-1], inner[:, :-1, 1:], inner[:, 1:, :-1], inner[:, 1:, 1:])
    blocks = np.concatenate(corners, axis=3)  # (N, rows - 1, columns - 1, 4 * BINS)
    return _normalised(blocks).reshape(len(images), -1)


def cell_side(height: int, width: int) -> int:
    """8 pixels, of small images a quarter of the shorter side."""
    return max(1, min(8, min(height, width) // 4))


def _gradients(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Length and angle (0 to pi) (N, H, W) of the gradient, of the channel where it is longest; zero at the border."""
    down, right = np.zeros_like(images), np.zeros_like(images)
    down[:, :, 1:-1] = images[:, :, 2:] - images[:, :, :-2]
    right[:, :, :, 1:-1] = images[:, :, :, 2:] - images[:, :, :, :-2]
    lengths = np.hypot(down, right)
    longest = lengths.argmax(axis=1)[:, None]
    down, right, length = (np.take_along_axis(item, longest, axis=1)[:, 0] for item in (down, right, lengths))
    return length, np.arctan2(down, right) % np.pi


def _shares(pixels: int, side: int) -> np.ndarray:
    """(pixels, cells): a pixel's vote goes to the two cells whose centres lie nearest, the nearer the more; beyond the border lost."""
    cells = max(1, pixels // side)
    centres = (np.arange(cells) + 0.5) * side
    return np.maximum(0.0, 1 - np.abs(np.arange(pixels)[:, None] + 0.5 - centres) / side)


def _normalised(blocks: np.ndarray) -> np.ndarray:
    """L2-Hys: to length 1, clipped, to length 1 again."""
    blocks = np.minimum(_to_length_one(blocks), CLIP)
    return _to_length_one(blocks)


def _to_length_one(blocks: np.ndarray) -> np.ndarray:
    return blocks / np.sqrt(np.square(blocks).sum(axis=-1, keepdims=True) + EPSILON**2)
