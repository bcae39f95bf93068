"""Images with masks made ready for a network: standardised bytes, batches of images of one size, masks with VOID where nothing counts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, cast

import numpy as np
import torch
from torch import Tensor

from pellucid.core.errors import DataError
from pellucid.core.language import text
from pellucid.core.records import Notice, Task
from pellucid.data.arrays.preprocessing import ByteStandardisation, mean_and_scale
from pellucid.data.images.decoding import Header, Unreadable, in_threads, read_header
from pellucid.data.images.folders import images_below
from pellucid.data.images.reading import image_paths
from pellucid.data.kinds import PreprocessingKind, preprocessing_kind
from pellucid.data.ledger import NumberedNames
from pellucid.data.masks.classes import IGNORED, VOID, MaskClasses
from pellucid.data.masks.folders import folders_of, list_pairs
from pellucid.data.masks.reading import MaskSamples, decoded, read_listing
from pellucid.data.samples import Quarantined, ResidentPart, Samples
from pellucid.data.splitting import part_word

MOST_PIXELS = 2**19  # of a batch that is only looked at: a dozen pictures of 240 x 180


@dataclass
class MaskPart(ResidentPart):
    """Images and masks in canvases, and how much of each canvas its image fills.

    In the part's own order batches hold images of one size, as large as they are: an answer does not depend on what else there is. In
    another order a batch is what was asked for, in a canvas for the largest image of it, IGNORED beside the smaller ones.
    """

    sizes: np.ndarray = field(default_factory=lambda: np.zeros((0, 2), dtype=np.int64))  # (n, 2)
    changeable: ClassVar[bool] = False  # image and mask can only be changed together
    curve_samples: ClassVar[int] = 64  # of the training part measured after every epoch: an image is as many answers as it has pixels

    def batches(
        self, batch_size: int, order: Tensor | None = None, change: Callable[[Tensor, Tensor], Tensor] | None = None
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """(images (n, C, h, w), masks (n, h, w) int64, IGNORED where nothing counts)."""
        if order is None:
            for start, stop in self._alike(batch_size):
                yield self._finished_pair(torch.arange(start, stop, device=self.inputs.device))
            return
        for chosen in order.split(batch_size):
            yield self._finished_pair(chosen)

    def _alike(self, batch_size: int) -> Iterator[tuple[int, int]]:
        """Runs (start, stop) of neighbours of one size, none with more than MOST_PIXELS but for a single picture."""
        start = 0
        while start < len(self):
            most = min(batch_size, max(1, MOST_PIXELS // int(self.sizes[start].prod())))
            stop = start + 1
            while stop < len(self) and stop - start < most and (self.sizes[stop] == self.sizes[start]).all():
                stop += 1
            yield start, stop
            start = stop

    def _finished_pair(self, chosen: Tensor) -> tuple[Tensor, Tensor]:
        height, width = (int(side) for side in self.sizes[chosen.cpu().numpy()].max(axis=0))
        inputs = self.inputs.index_select(0, chosen)[..., :height, :width]
        targets = self.targets.index_select(0, chosen)[..., :height, :width]
        return self._finished(inputs), targets.long().masked_fill_(targets == VOID, IGNORED)


@dataclass
class MaskPreprocessing:
    """Bytes until the batch is on its device, then (pixel - mean) / scale per channel; the classes as the user's masks write them."""

    input_shape: tuple[int, ...]  # (C, H, W); H and W are those of the canvas: other images may have others
    mean: np.ndarray  # (C,) of the training part, in 0..255
    scale: np.ndarray
    task: Task
    classes: MaskClasses
    factor: float = 1.0  # by which images are made smaller
    kind: str = "masks"
    _finish: ByteStandardisation = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._finish = ByteStandardisation(self.mean, self.scale, 3)

    def inputs(self, samples: Samples, indices: np.ndarray | None = None) -> Tensor:
        """(n, C, H, W) uint8."""
        pixels: np.ndarray = samples.inputs
        if pixels.shape[1] != self.input_shape[0]:
            raise DataError(
                text("images with {channels} channels", channels=pixels.shape[1]),
                text("images with {channels} channels, as the network was trained on", channels=self.input_shape[0]),
                text("give the image files: their colours are read as those of the training images were"),
            )
        return torch.from_numpy(pixels.copy() if indices is None else pixels[indices])

    def targets(self, samples: Samples, indices: np.ndarray | None = None) -> Tensor:
        """(n, H, W) uint8 class indices, VOID where nothing counts."""
        if samples.targets is None:
            raise DataError(
                text("the images have no masks"),
                text("the folders images and masks, with files of equal names"),
                text("give the masks too, or use predict, which needs none"),
            )
        return torch.from_numpy(samples.targets.copy() if indices is None else samples.targets[indices])

    def part(self, samples: MaskSamples, indices: np.ndarray | None = None, *, labelled: bool = True) -> MaskPart:
        indices = np.arange(len(samples)) if indices is None else indices
        inputs = self.inputs(samples, indices)
        targets = self.targets(samples, indices) if labelled else torch.full((len(inputs), *inputs.shape[2:]), VOID, dtype=torch.uint8)
        return MaskPart(inputs, targets, indices, cast("Any", self), sizes=samples.sizes[indices])

    def finish(self, batch: Tensor) -> Tensor:
        return self._finish(batch)

    def restore_targets(self, outputs: Tensor) -> Tensor:
        return outputs

    def to_dict(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "format": 1,
            "input_shape": list(self.input_shape),
            "mean": self.mean.tolist(),
            "scale": self.scale.tolist(),
            "task": self.task.to_dict(),
            "classes": self.classes.to_dict(),
            "factor": self.factor,
        }

    @staticmethod
    def from_dict(stored: Mapping[str, Any]) -> MaskPreprocessing:
        return MaskPreprocessing(
            input_shape=tuple(int(size) for size in stored["input_shape"]),
            mean=np.asarray(stored["mean"], dtype=np.float64),
            scale=np.asarray(stored["scale"], dtype=np.float64),
            task=Task.from_dict(stored["task"]),
            classes=MaskClasses.from_dict(stored["classes"]),
            factor=float(stored["factor"]),
        )


def _mean_and_scale(samples: MaskSamples, train: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Per channel, over the pixels of the images: what lies beside them in the canvas has no part in it."""
    if (samples.sizes[train] == samples.inputs.shape[2:]).all():
        return mean_and_scale(samples.inputs, train)
    channels = samples.inputs.shape[1]
    sums, squares, count = np.zeros(channels), np.zeros(channels), 0
    for place in train.tolist():
        height, width = samples.sizes[place]
        image = samples.inputs[place, :, :height, :width].reshape(channels, -1).astype(np.float64)
        sums, squares, count = sums + image.sum(1), squares + np.square(image).sum(1), count + image.shape[1]
    mean = sums / max(count, 1)
    scale = np.sqrt(np.maximum(squares / max(count, 1) - mean**2, 0.0))
    return mean, np.where(scale > 0, scale, 1.0)


@preprocessing_kind
class MaskPreprocessingKind(PreprocessingKind):
    kind = "masks"

    def fit(self, samples: Samples, train: np.ndarray) -> MaskPreprocessing:
        assert isinstance(samples, MaskSamples)
        assert samples.task is not None
        assert samples.classes is not None
        mean, scale = _mean_and_scale(samples, train)
        return MaskPreprocessing(tuple(samples.inputs.shape[1:]), mean, scale, samples.task, samples.classes, samples.factor)

    def restore(self, stored: Mapping[str, Any]) -> MaskPreprocessing:
        return MaskPreprocessing.from_dict(stored)

    def part(self, samples: Samples, indices: np.ndarray, preprocessing: Any) -> MaskPart:
        assert isinstance(samples, MaskSamples)
        return preprocessing.part(samples, indices)

    def new_part(self, samples: Samples, preprocessing: Any, *, labelled: bool) -> MaskPart:
        assert isinstance(samples, MaskSamples)
        return preprocessing.part(samples, labelled=labelled)

    def read_new(
        self, source: Any, target: Any, preprocessing: Any, *, header: bool, task: Task | None, targets: str
    ) -> MaskSamples | None:
        """Images of any size, without masks to predict, with them to measure."""
        if targets == "required":
            return _with_masks(source, target, preprocessing)
        if isinstance(source, np.ndarray):
            return _of_array(source, preprocessing)
        notices: list[Notice] = []
        folders = folders_of(Path(source)) if isinstance(source, (str, Path)) and Path(source).is_dir() else []
        if folders:
            root = Path(source)
            paths = [path for images, _, _ in folders for path in images_below(images, notices)]
            names = [Path(path).relative_to(root).as_posix() for path in paths]
            summary = text("{folder}: only its folders of images are read, not those of masks", folder=root.name)
            notices.append(Notice(kind="images_alone", summary=summary))
        else:
            found = image_paths(source)
            if found is None:
                raise DataError(
                    text("new data of type {type}", type=type(source).__name__),
                    text("an image, a folder of images, a list of paths, or bytes of shape (N, {channels}, H, W)",
                         channels=preprocessing.input_shape[0]),
                    text("give the path of the images"),
                )  # fmt: skip
            paths, names, notices = found
        return _of_files(paths, names, notices, preprocessing)


def _of_array(source: np.ndarray, preprocessing: Any) -> MaskSamples:
    pixels = source[None] if source.ndim == 3 else source
    channels = preprocessing.input_shape[0]
    if pixels.ndim != 4 or pixels.shape[1] != channels or pixels.dtype != np.uint8 or not pixels.size:
        raise DataError(
            text("an array of shape {shape} and type {dtype}", shape=str(source.shape), dtype=str(source.dtype)),
            text("bytes (uint8) of shape (N, {channels}, H, W) or ({channels}, H, W)", channels=channels),
            text("bring the axes into this order, values from 0 to 255"),
        )
    sizes = np.tile(np.asarray(pixels.shape[2:], dtype=np.int64), (len(pixels), 1))
    return _unlabelled(pixels, sizes, sizes, NumberedNames(len(pixels)), [], [])


def _of_files(paths: Sequence[str], names: Sequence[str], notices: Sequence[Notice], preprocessing: Any) -> MaskSamples:
    headers = in_threads(read_header, paths)
    bad = {place: header.reason for place, header in enumerate(headers) if isinstance(header, Unreadable)}
    good = [place for place in range(len(paths)) if place not in bad]
    originals = np.asarray([(h.height, h.width) for h in headers if isinstance(h, Header)], dtype=np.int64).reshape(-1, 2)
    inputs, sizes, failed = decoded([paths[place] for place in good], originals, preprocessing.factor, preprocessing.input_shape[0])
    bad |= {good[position]: reason for position, reason in failed.items()}
    kept = [position for position in range(len(good)) if position not in failed]
    if not kept:
        examples = [text("{identifier}: {reason}", identifier=names[place], reason=bad[place]) for place in sorted(bad)[:3]]
        raise DataError(
            text("none of {count} images can be read ({examples})", count=len(paths), examples=examples),
            text("at least one image that can be read"),
            text("check the files: an interrupted download or copy is the usual cause"),
        )
    left_out = [Quarantined(identifier=names[place], reason=bad[place]) for place in sorted(bad)]
    found = [names[good[position]] for position in kept]
    return _unlabelled(inputs[kept], sizes[kept], originals[kept], found, left_out, notices)


def _unlabelled(
    inputs: np.ndarray, sizes: np.ndarray, originals: np.ndarray, names: Sequence[str], left_out: Sequence[Quarantined],
    notices: Sequence[Notice],
) -> MaskSamples:  # fmt: skip
    return MaskSamples(
        kind="masks", name="images", task=None, inputs=inputs, targets=None, identifiers=names, hashes=[""] * len(inputs),
        quarantined=left_out, notices=list(notices), sizes=sizes, originals=originals,
    )  # fmt: skip


def _with_masks(source: Any, target: Any, preprocessing: Any) -> MaskSamples:
    """A folder with masks; of one that brings its own test part, that part."""
    if not isinstance(source, (str, Path)) or target is not None:
        raise DataError(
            text("data of type {type} to measure on", type=type(source).__name__),
            text("a folder with the folders images and masks"),
            text("give that folder"),
        )
    root = Path(source).expanduser().resolve()
    listing = list_pairs(root)
    if listing.has_parts and any(pair.part == "test" for pair in listing.pairs):
        listing = replace(listing, pairs=[pair for pair in listing.pairs if pair.part == "test"])
        summary = text("{folder} brings its own parts: its {part} part is measured", folder=root.name, part=part_word("test"))
        listing.notices.append(Notice(kind="test_part", summary=summary))
    samples = read_listing(
        listing, root, time=None, scale=preprocessing.factor, channels=preprocessing.input_shape[0], classes=preprocessing.classes
    )
    samples.fixed_parts = samples.groups = None
    return samples
