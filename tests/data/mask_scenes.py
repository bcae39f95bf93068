"""Small scenes with masks, as files: a sky above a ground and a few things on it, in bright colours and noise."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

CLASSES = ("sky", "ground", "box")


def scene(random: np.random.Generator, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """((H, W, 3) uint8, (H, W) uint8 class indices)."""
    mask = np.zeros((height, width), dtype=np.uint8)
    mask[random.integers(height // 3, 2 * height // 3) :] = 1
    rows, columns = np.mgrid[:height, :width]
    for _ in range(random.integers(1, 4)):
        row, column, side = random.integers(0, height), random.integers(0, width), random.integers(height // 8 + 1, height // 4 + 2)
        mask[(abs(rows - row) < side) & (abs(columns - column) < side)] = 2
    colours = np.array([[120, 170, 230], [90, 110, 60], [210, 80, 60]]) + random.normal(0, 12, (3, 3))
    return np.clip(colours[mask] + random.normal(0, 15, (height, width, 3)), 0, 255).astype(np.uint8), mask


def write_scenes(folder: Path, count: int = 12, sizes: Sequence[tuple[int, int]] = ((24, 32),), seed: int = 0) -> Path:
    """images/ and masks/ in `folder`; the masks hold 255 in one corner."""
    random = np.random.default_rng(seed)
    for index in range(count):
        image, mask = scene(random, *sizes[index % len(sizes)])
        mask[:2, :2] = 255
        save(folder / "images" / f"scene{index}.png", image)
        save(folder / "masks" / f"scene{index}.png", mask)
    return folder


def save(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
