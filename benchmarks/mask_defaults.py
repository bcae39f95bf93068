"""What networks for masks are trained with where the user says nothing: compared on scenes drawn here, which no goal is measured on.

    python benchmarks/mask_defaults.py [--seconds 60] [--only unet,fcn,...]

A scene of 96 x 128 pixels has a sky over a ground, discs, boxes of the same colours as these, thin poles and a rare small thing; light,
colours and noise differ from scene to scene, and the test scenes are darker. Every variant trains on the same 120 scenes for the same
processor time and is measured on 80 others; mean IoU of the validation part (the light of training) and of the test part (darker).
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import pellucid

VARIANTS: dict[str, dict[str, Any]] = {
    "unet": {},
    "unet, whole pictures": {"network_options": {"reduction": 1}},
    "fcn": {"network": "fcn", "network_options": {"reduction": 2, "filters": "32,64,128,192"}},
    "fcn, whole pictures": {"network": "fcn", "network_options": {"reduction": 1, "filters": "32,64,128,192"}},
    "unet, cross_entropy+dice": {"loss": "cross_entropy+dice"},
    "unet, focal": {"loss": "focal"},
    "unet, balanced": {"class_weight": "balanced"},
    "unet, without light": {"augment": "flip,scale,crop:64x96"},
    "unet, flip alone": {"augment": "flip"},
}


def scene(random: np.random.Generator, brightness: float) -> tuple[np.ndarray, np.ndarray]:
    """((96, 128, 3) uint8, (96, 128) uint8 classes)."""
    height, width = 96, 128
    rows, columns = np.mgrid[:height, :width]
    mask = np.zeros((height, width), dtype=np.uint8)
    mask[rows > random.integers(35, 65) + 6 * np.sin(columns / random.integers(8, 30))] = 1
    for _ in range(random.integers(2, 6)):
        row, column, size = random.integers(10, 90), random.integers(0, width), random.integers(5, 16)
        if random.random() < 0.5:
            mask[(rows - row) ** 2 + (columns - column) ** 2 < size**2] = 2
        else:
            mask[(abs(rows - row) < size) & (abs(columns - column) < size)] = 3
    for _ in range(random.integers(1, 4)):
        column, top = random.integers(0, width - 2), random.integers(5, 50)
        mask[top : top + random.integers(25, 45), column : column + 2] = 4
    if random.random() < 0.4:
        row, column = random.integers(50, 90), random.integers(5, 120)
        mask[row : row + 4, column : column + 4] = 5
    colours = np.array([[130, 170, 220], [95, 105, 75], [190, 100, 80], [190, 100, 80], [120, 115, 110], [200, 190, 60]])
    picture = (colours + random.normal(0, 18, (6, 3)))[mask] + random.normal(0, 22, (height, width, 3))
    picture = picture * (brightness + random.normal(0, 0.08))
    return np.clip(picture, 0, 255).astype(np.uint8), mask


def write(folder: Path, count: dict[str, int]) -> None:
    random = np.random.default_rng(0)
    for part, many in count.items():
        for index in range(many):
            image, mask = scene(random, 0.6 if part == "test" else 1.0)
            for kind, pixels in (("images", image), ("masks", mask)):
                (folder / part / kind).mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels).save(folder / part / kind / f"{index}.png")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0, help="of the processor, for each training")
    parser.add_argument("--only", default="", help="names of variants, joined by semicolons")
    options = parser.parse_args()
    wanted = [name.strip() for name in options.only.split(";") if name.strip()] or list(VARIANTS)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "scenes"
        write(folder, {"train": 120, "val": 40, "test": 80})
        quiet = {"baselines": False, "report": False, "directory": Path(place) / "runs"}
        pellucid.fit(folder, epochs=1, **quiet)  # what is only done once: imports, the choice of kernels
        for name in wanted:
            spent_for = {}
            for epochs in (1, 4):
                begun = time.process_time()
                pellucid.fit(folder, epochs=epochs, **quiet, **VARIANTS[name])
                spent_for[epochs] = time.process_time() - begun
            each = (spent_for[4] - spent_for[1]) / 3
            epochs = max(3, round((options.seconds - spent_for[1]) / each) + 1)
            begun = time.process_time()
            run = pellucid.fit(folder, epochs=epochs, patience=epochs, **quiet, **VARIANTS[name])
            spent = time.process_time() - begun
            scores = {part: run.metrics[part]["mean_iou"] for part in ("validation", "test")}
            print(
                f"{name:28} {epochs:4} epochs {spent:5.0f} s   validation {scores['validation']:.3f}   darker {scores['test']:.3f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
