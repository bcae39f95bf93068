"""Images: a folder per class to learn from; files, folders or arrays to predict. In memory they are bytes, (N, C, H, W) uint8."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from pellucid.core.errors import DataError
from pellucid.core.hashing import hash_rows, join_hashes
from pellucid.core.language import Text, text
from pellucid.core.memory import available_memory_bytes, require_memory
from pellucid.core.records import Notice, Task
from pellucid.core.wording import counted
from pellucid.data.arrays.checks import per_sample
from pellucid.data.arrays.preprocessing import ByteStandardisation, mean_and_scale
from pellucid.data.arrays.targets import target_hashes
from pellucid.data.images.decoding import Header, Unreadable, as_pixels, decode, in_threads, read_header, reason_of
from pellucid.data.images.folders import ImageFile, ImageListing, images_below, list_images
from pellucid.data.kinds import PreprocessingKind, preprocessing_kind
from pellucid.data.ledger import NumberedNames
from pellucid.data.samples import Quarantined, Samples
from pellucid.data.splitting import part_word

LARGEST_SIDE = 128  # pixels; larger pictures are made smaller: what a class is can nearly always be seen at this size
_SMALLEST_SIDE = 32  # pictures are not made smaller than this to save memory
_QUARANTINE_LIMIT = 0.1  # more unreadable files than this are no accident


# -- reading to learn ----------------------------------------------------------------------------------------------------------------


def read_image_folder(
    folder: Path | str,
    *,
    group: Any = None,
    time: Any = None,
    size: Sequence[int] | None = None,
    channels: int | None = None,
) -> Samples:
    """A folder of images per class; also folders train, test (and val) with a folder per class each. Class folders may be nested.

    Unreadable files are quarantined by name with the reason. Images of different sizes are brought to one; `size` (H, W) and `channels`
    repeat what was decided when the folder was read before.

    Raises:
        DataError: no images, no class folders, one class, a class with a single image, more than 10 % unreadable, more than memory holds.
    """
    root = Path(folder).resolve()
    return _read_listing(list_images(root), root.name, group, time, size, channels)


def read_image_parts(
    folders: Mapping[str, Path | str],
    *,
    group: Any = None,
    time: Any = None,
    size: Sequence[int] | None = None,
    channels: int | None = None,
) -> Samples:
    """Folders of images per class that the user has split: part ("train", "validation", "test") -> folder."""
    listing = ImageListing()
    for part, folder in folders.items():
        root = Path(folder).resolve()
        read = list_images(root)
        listing.notices += read.notices
        listing.files += [ImageFile(file.path, f"{part}: {file.identifier}", file.label, part) for file in read.files]
    return _read_listing(listing, Path(folders["train"]).resolve().name, group, time, size, channels)


def _read_listing(listing: ImageListing, name: str, group: Any, time: Any, size: Sequence[int] | None, channels: int | None) -> Samples:
    classes = _learnable_classes(listing)
    headers = in_threads(read_header, [file.path for file in listing.files])
    bad = {index: header.reason for index, header in enumerate(headers) if isinstance(header, Unreadable)}
    _check_quarantine(listing.files, bad)
    readable = [header for header in headers if isinstance(header, Header)]
    notices = list(listing.notices)
    if size is None or channels is None:
        size, channels = common_size(readable, notices), 1 if all(header.grey for header in readable) else 3
    animated = sum(header.animated for header in readable)
    if animated:
        notices.append(
            Notice(
                kind="animated_images",
                summary=counted(
                    animated,
                    text("one image is animated: only its first frame is used"),
                    text("{count} images are animated: only their first frame is used", count=animated),
                ),
                evidence={"files": animated},
            )
        )
    chosen = [index for index in range(len(listing.files)) if index not in bad]
    pixels, failed = _decode_all([listing.files[index].path for index in chosen], channels, (int(size[0]), int(size[1])))
    bad.update({chosen[position]: reason for position, reason in failed.items()})
    _check_quarantine(listing.files, bad)
    if failed:
        pixels = pixels[[position for position in range(len(chosen)) if position not in failed]]
    kept = [file for index, file in enumerate(listing.files) if index not in bad]
    _check_class_sizes(kept, classes)

    task = Task(kind="classification", targets=("class",), classes=tuple(classes))
    number = {label: index for index, label in enumerate(classes)}
    targets = np.asarray([number[file.label] for file in kept], dtype=np.int64)
    fixed = np.asarray([file.part for file in kept]) if listing.has_parts else None
    input_hashes = hash_rows(pixels)
    return Samples(
        kind="images",
        name=name,
        task=task,
        inputs=pixels,
        targets=targets,
        identifiers=[file.identifier for file in kept],
        hashes=join_hashes(input_hashes, target_hashes(task, targets)),
        reference={"own": {"size": [int(size[0]), int(size[1])], "channels": channels}},
        fixed_parts=fixed,
        groups=per_sample(group, len(kept), fixed, "group"),
        times=per_sample(time, len(kept), fixed, "time"),
        quarantined=[Quarantined(identifier=listing.files[index].identifier, reason=bad[index]) for index in sorted(bad)],
        notices=notices,
        input_hashes=input_hashes,
    )


def _learnable_classes(listing: ImageListing) -> list[str]:
    """The classes of the training part. Raises DataError where another part has a class that training never sees."""
    classes = listing.classes
    if listing.has_parts:
        trained = {file.label for file in listing.files if file.part == "train"}
        for part in ("validation", "test"):
            unknown = sorted({file.label for file in listing.files if file.part == part} - trained)
            if unknown:
                raise DataError(
                    text("the class folders {classes} stand only in the {part} part", classes=unknown[:10], part=part_word(part)),
                    text("classes that the training part has too: {classes}", classes=sorted(trained)[:10]),
                    text("add training images of these classes, or take their folders out of the {part} part", part=part_word(part)),
                )
    return classes


def _check_quarantine(files: Sequence[ImageFile], bad: Mapping[int, Text]) -> None:
    if len(bad) > _QUARANTINE_LIMIT * len(files):
        examples = [text("{name} ({reason})", name=files[index].identifier, reason=bad[index]) for index in sorted(bad)[:3]]
        raise DataError(
            text("{bad} of {count} images cannot be read, for example {examples}", bad=len(bad), count=len(files), examples=examples),
            text("at most {limit:.0f} % unreadable files, which are left out and listed", limit=100 * _QUARANTINE_LIMIT),
            text("repair or remove these files (an interrupted download or copy is the usual cause)"),
        )


def _check_class_sizes(kept: Sequence[ImageFile], classes: Sequence[str]) -> None:
    counts = dict.fromkeys(classes, 0)
    for file in kept:
        if file.part in ("", "train"):
            counts[file.label] += 1
    few = [label for label, count in counts.items() if count < (1 if any(file.part for file in kept) else 2)]
    if few:
        raise DataError(
            text("the class folders {classes} hold fewer than 2 readable images to learn from", classes=few[:10]),
            text("at least 2 images per class: one to learn from and one to test with"),
            text("add images to these classes, or take the folders out"),
        )


def common_size(headers: Sequence[Header], notices: list[Notice]) -> tuple[int, int]:
    """(H, W) for all: their own where it is one and small; else the medians, the longer side at most LARGEST_SIDE, as memory allows."""
    sizes = {(header.height, header.width) for header in headers}
    height = statistics.median(header.height for header in headers)
    width = statistics.median(header.width for header in headers)
    factor = min(1.0, LARGEST_SIDE / max(height, width))
    available = available_memory_bytes()
    if available is not None:  # once here and once in the parts, and as much again for everything else
        room = available / 4 / (3 * len(headers) * height * width)
        factor = min(factor, max(math.sqrt(room), _SMALLEST_SIDE / max(height, width)))
    chosen = (max(1, round(height * factor)), max(1, round(width * factor)))
    if sizes != {chosen}:
        smallest, largest, common = ("{} x {}".format(*pair) for pair in (min(sizes, key=math.prod), max(sizes, key=math.prod), chosen))
        notices.append(
            Notice(
                kind="resized_images",
                summary=counted(
                    len(sizes),
                    text("the images, {size} (height x width) each, are resized to {common}", size=smallest, common=common),
                    text(
                        "the images have {count} different sizes (height x width), from {smallest} to {largest}; all are resized to "
                        "{common}",
                        count=len(sizes), smallest=smallest, largest=largest, common=common,
                    ),
                ),
                evidence={"sizes": len(sizes), "smallest": smallest, "largest": largest, "chosen": list(chosen)},
            )
        )  # fmt: skip
    return chosen


def _decode_all(paths: Sequence[str], channels: int, size: tuple[int, int]) -> tuple[np.ndarray, dict[int, Text]]:
    """(n, C, H, W) uint8, and which positions failed, with the reason."""
    what = text("{count} images of {height} x {width} pixels", count=len(paths), height=size[0], width=size[1])
    require_memory(len(paths) * channels * size[0] * size[1], what)
    pixels = np.zeros((len(paths), channels, *size), dtype=np.uint8)

    def fill(position: int) -> Text | None:
        picture = decode(paths[position], channels, size)
        if isinstance(picture, Unreadable):
            return picture.reason
        pixels[position] = picture
        return None

    reasons = in_threads(fill, range(len(paths)))
    return pixels, {position: reason for position, reason in enumerate(reasons) if reason is not None}


# -- reading to predict --------------------------------------------------------------------------------------------------------------


def image_paths(source: Any) -> tuple[list[str], list[str], list[Notice]] | None:
    """(paths, names, notices) of an image file, a folder of images or a sequence of paths; None where `source` is none of these."""
    if isinstance(source, (str, Path)):
        path = Path(source)
        if path.is_dir():
            notices: list[Notice] = []
            found = list(images_below(path.resolve(), notices))
            if not found:
                raise DataError(
                    text("the folder {path} holds no images", path=str(path)),
                    text("images"),
                    text("give the folder in which the images are"),
                )
            return found, [Path(file).relative_to(path.resolve()).as_posix() for file in found], notices
        return ([str(path)], [path.name], []) if path.is_file() else None
    if isinstance(source, (list, tuple)) and source and all(isinstance(item, (str, Path)) for item in cast("Sequence[Any]", source)):
        paths = [str(item) for item in cast("Sequence[Any]", source)]
        return paths, paths, []
    return None


def read_new_images(source: Any, channels: int, size: tuple[int, int], task: Task | None) -> Samples | None:
    """Image files, folders, paths or pillow pictures brought to (C, H, W); None where `source` is none of these.

    Where the images of a folder stand in subfolders that are called as classes, these are their targets.
    """
    pictures = _pictures(source)
    notices: list[Notice] = []
    if pictures is not None:
        names: Sequence[str] = NumberedNames(len(pictures))
        paths: list[str] = []
        pixels, failed = np.zeros((len(pictures), channels, *size), dtype=np.uint8), dict[int, Text]()
        for position, picture in enumerate(pictures):
            try:
                pixels[position] = as_pixels(picture, channels, size)
            except Exception as error:
                failed[position] = reason_of(error)
    else:
        found = image_paths(source)
        if found is None:
            return None
        paths, names, notices = found
        pixels, failed = _decode_all(paths, channels, size)
    kept = [position for position in range(len(pixels)) if position not in failed]
    if not kept:
        examples = [text("{identifier}: {reason}", identifier=names[position], reason=failed[position]) for position in sorted(failed)[:3]]
        raise DataError(
            text("none of {count} images can be read ({examples})", count=len(failed), examples=examples),
            text("at least one image that can be read"),
            text("check the files: an interrupted download or copy is the usual cause"),
        )
    of_folder = isinstance(source, (str, Path)) and Path(source).is_dir()
    targets = _targets_from_folders([names[position] for position in kept], task, notices) if of_folder else None
    return Samples(
        kind="images",
        name=Path(str(source)).name if isinstance(source, (str, Path)) else "images",
        task=task if targets is not None else None,
        inputs=pixels[kept] if failed else pixels,
        targets=targets,
        identifiers=[names[position] for position in kept],
        hashes=[""] * len(kept),
        quarantined=[Quarantined(identifier=names[position], reason=reason) for position, reason in failed.items()],
        notices=notices,
    )


def _pictures(source: Any) -> list[Image.Image] | None:
    """Pictures that pillow has already opened."""
    items: list[Any] = list(cast("Sequence[Any]", source)) if isinstance(source, (list, tuple)) else [source]
    return items if items and all(isinstance(item, Image.Image) for item in items) else None


def _targets_from_folders(names: Sequence[str], task: Task | None, notices: list[Notice]) -> np.ndarray | None:
    """(n,) class indices where every image stands in a folder that is called as a class; else None, said where only some do."""
    if task is None or task.kind != "classification":
        return None
    number = {label: index for index, label in enumerate(task.classes)}
    found = [next((number[folder] for folder in Path(name).parts[:-1] if folder in number), None) for name in names]
    known = [label for label in found if label is not None]
    if len(known) == len(names) and known:
        return np.asarray(known, dtype=np.int64)
    if known:
        strange = next(name for name, label in zip(names, found, strict=True) if label is None)
        notices.append(
            Notice(
                kind="unknown_class_folder",
                summary=text(
                    "{known} of {count} images stand in a folder of a known class, others do not ({example}); no class is taken as given",
                    known=len(known), count=len(names), example=strange,
                ),
            )
        )  # fmt: skip
    return None


# -- preprocessing -------------------------------------------------------------------------------------------------------------------


@dataclass
class ImagePreprocessing:
    """Bytes until the batch is on its device, then (pixel - mean) / scale per channel."""

    input_shape: tuple[int, ...]  # (C, H, W)
    mean: np.ndarray  # (C,) of the training part, in 0..255
    scale: np.ndarray
    task: Task | None
    kind: str = "images"
    _finish: ByteStandardisation = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._finish = ByteStandardisation(self.mean, self.scale, len(self.input_shape))

    @staticmethod
    def fit(samples: Samples, train: np.ndarray) -> ImagePreprocessing:
        pixels: np.ndarray = samples.inputs
        mean, scale = mean_and_scale(pixels, train)
        return ImagePreprocessing(tuple(pixels.shape[1:]), mean, scale, samples.task)

    def inputs(self, samples: Samples, indices: np.ndarray | None = None) -> Tensor:
        """(n, C, H, W) uint8."""
        pixels: np.ndarray = samples.inputs
        if tuple(pixels.shape[1:]) != self.input_shape:
            raise DataError(
                text("images of shape {got}", got=str(tuple(pixels.shape[1:]))),
                text("images of shape {shape} (channels, height, width), as the network was trained on", shape=str(self.input_shape)),
                text("give the image files: they are resized as the training images were"),
            )
        if indices is None:
            return torch.from_numpy(pixels.copy())
        require_memory(
            len(indices) * pixels[:1].nbytes, text("{count} images of {shape} bytes", count=len(indices), shape=str(self.input_shape))
        )
        return torch.from_numpy(pixels[indices])

    def targets(self, samples: Samples, indices: np.ndarray | None = None) -> Tensor:
        """(n,) int64 class indices."""
        if samples.targets is None:
            raise DataError(
                text("the images have no classes"),
                text("a folder per class, called as the classes are"),
                text("sort the images into folders, or use predict, which needs no classes"),
            )
        chosen = samples.targets if indices is None else samples.targets[indices]
        return torch.from_numpy(np.ascontiguousarray(chosen, dtype=np.int64))

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
            "task": None if self.task is None else self.task.to_dict(),
        }

    @staticmethod
    def from_dict(stored: Mapping[str, Any]) -> ImagePreprocessing:
        return ImagePreprocessing(
            input_shape=tuple(int(size) for size in stored["input_shape"]),
            mean=np.asarray(stored["mean"], dtype=np.float64),
            scale=np.asarray(stored["scale"], dtype=np.float64),
            task=None if stored["task"] is None else Task.from_dict(stored["task"]),
        )


@preprocessing_kind
class ImagePreprocessingKind(PreprocessingKind):
    kind = "images"

    def fit(self, samples: Samples, train: np.ndarray) -> ImagePreprocessing:
        return ImagePreprocessing.fit(samples, train)

    def restore(self, stored: Mapping[str, Any]) -> ImagePreprocessing:
        return ImagePreprocessing.from_dict(stored)
