"""How many images a second the data path alone gives: gathered by index, augmented as bytes, cast, standardised, laid out for convolutions.

    python benchmarks/image_pipeline.py [--rounds 20] [--name cifar10]

The images are random bytes of the shape of CIFAR-10 (or, with --name, those of a published set). Beside it the textbook's way: a Dataset
that changes one image at a time, in a DataLoader. The aim, 20,000 images a second on one core, keeps the data path a small part of a
training step: networks of this size train on 1,000 to 8,000.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterable
from statistics import median
from typing import Any

import numpy as np
import torch
from measurement import interleaved, met, report, verdict
from torch.utils.data import DataLoader, Dataset

from pellucid import data
from pellucid.core.records import Task
from pellucid.data.images.reading import ImagePreprocessing
from pellucid.data.samples import ResidentPart, Samples
from pellucid.training.augmentation import build_augmentation

BATCH = 512
AIM = 20_000


class OneByOne(Dataset[Any]):
    """Scaled, padded, cropped, mirrored and standardised, an image at a time."""

    def __init__(self, pixels: torch.Tensor, mean: torch.Tensor, scale: torch.Tensor) -> None:
        self.pixels, self.mean, self.scale = pixels, mean, scale

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        image = torch.nn.functional.pad(self.pixels[index].float(), (4, 4, 4, 4), mode="reflect")
        row, column = torch.randint(9, (2,)).tolist()
        image = image[:, row : row + 32, column : column + 32]
        if torch.rand(()) < 0.5:
            image = image.flip(2)
        return (image - self.mean) / self.scale, 0


def samples_of(name: str | None) -> Samples:
    if name is not None:
        return data.read(name)
    pixels = np.random.default_rng(0).integers(0, 256, (20_000, 3, 32, 32), dtype=np.uint8)
    labels = np.arange(len(pixels)) % 10
    task = Task(kind="classification", targets=("class",), classes=tuple("0123456789"))
    return Samples("images", "random", task, pixels, labels, [str(number) for number in range(len(pixels))], [""] * len(pixels))


def resident(part: ResidentPart, augment: str) -> Callable[[], Iterable[Any]]:
    changed = build_augmentation(augment, tuple(part.inputs.shape[1:]))

    def batches() -> Iterable[Any]:
        order = torch.randperm(len(part))[: 20 * BATCH]
        if changed is None:
            yield from part.batches(BATCH, order)
            return
        for inputs, targets in part.batches(BATCH, order, lambda stored, chosen: changed(stored, chosen=chosen, epoch=1)):
            yield changed.finish(inputs, targets)

    return batches


def seconds_per_image(batches: Callable[[], Iterable[Any]]) -> Callable[[], float]:
    def once() -> float:
        start = time.process_time()  # the processor's own seconds: others on the machine do not count
        count = sum(len(inputs) for inputs, _ in batches())
        return (time.process_time() - start) / count

    return once


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--name")
    arguments = parser.parse_args()
    torch.set_num_threads(1)  # a second of the processor is a second of one core
    samples = samples_of(arguments.name)
    everything = np.arange(min(len(samples), 20_000))
    preprocessing = ImagePreprocessing.fit(samples, everything)
    part = ResidentPart(preprocessing.inputs(samples, everything), preprocessing.targets(samples, everything), everything, preprocessing)
    part.memory_format = torch.channels_last
    mean, scale = (torch.from_numpy(values).float().reshape(-1, 1, 1) for values in (preprocessing.mean, preprocessing.scale))
    loader = DataLoader(OneByOne(part.inputs[: 4 * BATCH], mean, scale), batch_size=BATCH, shuffle=True)
    names = ("none", "shift", "alternating_flip,shift", "flip,shift,cutout", "alternating_flip,shift,cutout,mixup")
    ways: dict[str, Callable[[], Iterable[Any]]] = {name: resident(part, name) for name in names}
    ways["a DataLoader, one image at a time: flip, shift"] = lambda: loader
    times = interleaved({name: seconds_per_image(way) for name, way in ways.items()}, arguments.rounds)
    rows = [
        {
            "augmentation": name,
            "images per core second": f"{1 / median(times[name]):,.0f}",
            "aim": f">= {AIM:,}" if name in names else "",
            "met": met(1 / median(times[name]) >= AIM) if name in names else "",
        }
        for name in ways
    ]
    report("image_pipeline", rows, {"rounds": arguments.rounds, "images": arguments.name or "random"})
    return verdict(rows)


if __name__ == "__main__":
    raise SystemExit(main())
