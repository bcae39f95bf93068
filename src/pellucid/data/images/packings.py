"""The forms in which published image sets lie on disks: IDX files, CIFAR's binary batches and their archive, mosaics without loss.

Each packing is asked for a folder and answers with the content, or None where the folder does not hold it. Nothing is unpickled and
nothing is unpacked to the disk. Every count and every label is checked, and whatever has a published checksum, by it.
"""

from __future__ import annotations

import gzip
import hashlib
import math
import re
import tarfile
import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from pellucid.core.errors import DataError
from pellucid.core.language import Text, text
from pellucid.core.records import Notice
from pellucid.data.download import PublishedFile, checksum_holds
from pellucid.data.images.decoding import in_threads, reason_of
from pellucid.data.images.folders import natural_order


@dataclass(frozen=True)
class Layout:
    """What a set consists of, however it is packed."""

    title: str  # as its publishers write it
    shape: tuple[int, int, int]  # (C, H, W)
    train: int  # images of the official training part
    test: int
    classes: tuple[str, ...]

    @property
    def samples(self) -> int:
        return self.train + self.test


@dataclass
class Content:
    """A set in memory, the training part first."""

    pixels: np.ndarray  # (N, C, H, W) uint8
    labels: np.ndarray  # (N,) int64
    notices: list[Notice] = field(default_factory=list[Notice])


class Packing(ABC):
    """One form of one set."""

    @abstractmethod
    def read(self, folder: Path, layout: Layout, remarks: list[Text]) -> Content | None:
        """What `folder` holds in this form; None where it does not, with a remark where it nearly does.

        Raises:
            DataError: it is there and damaged.
        """


@contextmanager
def _refusals(path: Path, expected: Text) -> Iterator[None]:
    """Whatever a torn or strange file makes a reader raise, as one error that names the file."""
    try:
        yield
    except DataError:
        raise
    except (OSError, EOFError, ValueError, KeyError, SyntaxError, zlib.error, tarfile.TarError, Image.DecompressionBombError) as error:
        raise _damaged(path, text("it cannot be read: {reason}", reason=reason_of(error)), expected) from None


def _damaged(path: Path, reason: Text, expected: Text) -> DataError:
    return DataError(
        text("{path} is damaged or another file: {reason}", path=str(path), reason=reason),
        expected,
        text("remove this file and give the published one; without it, it is downloaded"),
    )


def _check_labels(labels: np.ndarray, path: Path, layout: Layout) -> None:
    if int(labels.max()) >= len(layout.classes):
        raise _damaged(
            path,
            text("its labels go up to {highest}", highest=int(labels.max())),
            text("labels from 0 to {last}", last=len(layout.classes) - 1),
        )


# -- IDX -----------------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class IdxFiles(Packing):
    """Four IDX files, each with or without gzip; known by the SHA-256 of their content, because sets share the files' names.

    Source: LeCun, Cortes, Burges, "The MNIST database", section "File formats".
    """

    contents: Mapping[str, str]  # "train-images-idx3-ubyte" -> SHA-256 of the file without gzip
    others: Mapping[str, str] = field(default_factory=dict[str, str])  # SHA-256 -> title of another set with files of these names

    def read(self, folder: Path, layout: Layout, remarks: list[Text]) -> Content | None:
        paths = {name: path for name in self.contents if (path := _idx_path(folder, name)) is not None}
        missing = [f"{name}.gz" for name in self.contents if name not in paths]
        if missing:
            if paths:
                remarks.append(text("the folder {folder} lacks {files}", folder=str(folder), files=missing))
            return None
        arrays: dict[tuple[str, str], np.ndarray] = {}
        for name, path in paths.items():
            part, what, _ = name.split("-", 2)
            count, shape = layout.train if part == "train" else layout.test, layout.shape if what == "images" else ()
            start = 16 if shape else 8  # bytes of the header: type and number of dimensions, then their sizes
            expected = text("the published file {name} of {title}", name=f"{name}.gz", title=layout.title)
            with _refusals(path, expected):
                raw = _unzipped(path, start + count * math.prod(shape))
            found = hashlib.sha256(raw).hexdigest()
            if found in self.others:
                remarks.append(text("the folder {folder} holds {title}", folder=str(folder), title=self.others[found]))
                return None
            if found != self.contents[name]:
                raise _damaged(path, text("its content does not have the published checksum"), expected)
            arrays[part, what] = np.frombuffer(raw, dtype=np.uint8, offset=start).reshape(count, *shape)
        labels = np.concatenate([arrays["train", "labels"], arrays["t10k", "labels"]])
        return Content(np.concatenate([arrays["train", "images"], arrays["t10k", "images"]]), labels.astype(np.int64))


def _idx_path(folder: Path, name: str) -> Path | None:
    """The file `name` in `folder`, with or without gzip, also with the dot that some programs put into the name."""
    names = (f"{name}.gz", name, f"{name.replace('-idx', '.idx')}.gz", name.replace("-idx", ".idx"))
    return next((folder / known for known in names if (folder / known).is_file()), None)


def _unzipped(path: Path, size: int) -> bytes:
    """The content of a file with or without gzip, never much more than the `size` bytes that are expected."""
    with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
        return file.read(size + 1)


# -- CIFAR -------------------------------------------------------------------------------------------------------------------------------

_BATCHES = (*(f"data_batch_{number}.bin" for number in range(1, 6)), "test_batch.bin")
UNPACKED_FOLDER = "cifar-10-batches-bin"


def _records(content: bytes, name: str, path: Path, layout: Layout, into: Content) -> None:
    """One batch of CIFAR's binary version: per image a byte of label, then its channels one after the other, each row by row.

    Source: Krizhevsky, "The CIFAR-10 dataset", section "Binary version".
    """
    number = _BATCHES.index(name)
    each = layout.train // 5
    count, start = (layout.test, layout.train) if number == 5 else (each, number * each)
    width = 1 + math.prod(layout.shape)
    if len(content) != count * width:
        raise _damaged(
            path,
            text("{name} has {got} bytes", name=name, got=len(content)),
            text("{count} images of {width} bytes each in {name}", count=count, width=width, name=name),
        )
    rows = np.frombuffer(content, dtype=np.uint8).reshape(count, width)
    _check_labels(rows[:, 0], path, layout)
    into.labels[start : start + count] = rows[:, 0]
    into.pixels[start : start + count] = rows[:, 1:].reshape(count, *layout.shape)


def _empty(layout: Layout) -> Content:
    return Content(np.empty((layout.samples, *layout.shape), dtype=np.uint8), np.empty(layout.samples, dtype=np.int64))


@dataclass(frozen=True)
class CifarArchive(Packing):
    """The archive of the binary version, as published; read as it is, never unpacked to the disk."""

    file: PublishedFile

    def read(self, folder: Path, layout: Layout, remarks: list[Text]) -> Content | None:
        path = folder / self.file.name
        if not path.is_file():
            return None
        expected = text("the published archive {name} ({size} bytes)", name=self.file.name, size=self.file.bytes)
        content, seen = _empty(layout), set[str]()
        with _refusals(path, expected):
            if not checksum_holds(path, self.file):
                reason = text("it has {size} bytes and not the published checksum", size=path.stat().st_size)
                raise _damaged(path, reason, expected)
            with tarfile.open(path, "r:gz") as archive:
                for member in archive:
                    name = member.name.rpartition("/")[2]
                    if name not in _BATCHES or not member.isfile():
                        continue
                    if name in seen:
                        raise _damaged(path, text("it holds {name} twice", name=name), expected)
                    seen.add(name)
                    stream = archive.extractfile(member)
                    limit = layout.samples * (1 + math.prod(layout.shape))
                    _records(stream.read(limit + 1) if stream is not None else b"", name, path, layout, content)
        missing = [name for name in _BATCHES if name not in seen]
        if missing:
            raise _damaged(path, text("it lacks {files}", files=missing), expected)
        return content


@dataclass(frozen=True)
class CifarBatches(Packing):
    """The six files of the unpacked archive."""

    def read(self, folder: Path, layout: Layout, remarks: list[Text]) -> Content | None:
        there = [name for name in _BATCHES if (folder / name).is_file()]
        if len(there) < len(_BATCHES):
            if there:
                lacking = [name for name in _BATCHES if name not in there]
                remarks.append(text("the folder {folder} lacks {files}", folder=str(folder), files=lacking))
            return None
        content = _empty(layout)
        for name in _BATCHES:
            path = folder / name
            with _refusals(path, text("a batch of {title}'s binary version", title=layout.title)):
                _records(path.read_bytes(), name, path, layout, content)
        return content


def pickled_version(folder: Path) -> Path | None:
    """The pickled version of CIFAR-10 in `folder`, packed or unpacked; None where there is none."""
    for path in (folder / "cifar-10-batches-py", folder / "cifar-10-python.tar.gz", folder / "cifar-10-batches-py.tar.gz"):
        if path.exists():
            return path
    if (folder / "data_batch_1").is_file() and (folder / "batches.meta").is_file():
        return folder
    return None


# -- mosaics -----------------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Mosaics(Packing):
    """train_1.webp, train_2.webp, ..., test.webp (or .png): the images side by side, row by row; labels.npz with train, test, class_names.

    `train_from_jpeg` and `test_from_jpeg` in labels.npz may name images whose pixels came from a copy with loss; that is said.
    """

    def read(self, folder: Path, layout: Layout, remarks: list[Text]) -> Content | None:
        labels_path = folder / "labels.npz"
        pictures = [path for path in _listed(folder) if re.fullmatch(r"(train_\d+|train|test)\.(webp|png)", path.name)]
        if not labels_path.is_file() or not pictures:
            return None
        expected = text("mosaics of {title} with their labels", title=layout.title)
        with _refusals(labels_path, expected), np.load(labels_path, allow_pickle=False) as stored:
            arrays: dict[str, np.ndarray] = {name: stored[name] for name in stored.files}
            train, test = arrays["train"], arrays["test"]
        names = tuple(str(name) for name in arrays["class_names"].tolist()) if "class_names" in arrays else layout.classes
        if names != layout.classes:
            raise _damaged(labels_path, text("its classes are {classes}", classes=list(names)), expected)
        if (train.shape, test.shape) != ((layout.train,), (layout.test,)) or train.dtype.kind not in "iu" or test.dtype.kind not in "iu":
            raise _damaged(labels_path, text("it has {train} and {test} labels", train=train.size, test=test.size), expected)
        labels = np.concatenate([train, test]).astype(np.int64)
        _check_labels(labels, labels_path, layout)
        content = Content(np.empty((layout.samples, *layout.shape), dtype=np.uint8), labels)
        ordered = sorted((path for path in pictures if not path.name.startswith("test")), key=lambda path: natural_order(path.name))
        parts = [(ordered, 0, layout.train), ([path for path in pictures if path.name.startswith("test")], layout.train, layout.samples)]
        places: list[tuple[Path, int, int]] = []
        for paths, start, end in parts:
            for path in paths:
                with _refusals(path, expected):
                    tiles = _tiles(path, layout)
                places.append((path, start, start + tiles))
                start += tiles
            if start != end:
                raise _damaged(folder, text("its mosaics hold {got} images where {wanted} are labelled", got=start, wanted=end), expected)

        def fill(place: tuple[Path, int, int]) -> None:
            path, start, end = place
            with _refusals(path, expected):
                content.pixels[start:end] = _cut(path, layout)

        in_threads(fill, places)
        inexact = sum(arrays[name].size for name in ("train_from_jpeg", "test_from_jpeg") if name in arrays)
        if inexact:
            content.notices.append(
                Notice(
                    kind="inexact_pixels",
                    summary=text(
                        "{count} of {samples} images in {folder} come from a copy with loss; the other pixels are the published ones",
                        count=inexact, samples=layout.samples, folder=str(folder),
                    ),
                    evidence={"images": inexact},
                )
            )  # fmt: skip
        return content


def _listed(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError:
        return []


def _tiles(path: Path, layout: Layout) -> int:
    """How many images the mosaic holds. Raises ValueError where they do not fit."""
    _, height, width = layout.shape
    with Image.open(path, formats=("WEBP", "PNG")) as picture:
        if picture.width % width or picture.height % height or picture.mode != ("RGB" if layout.shape[0] == 3 else "L"):
            raise ValueError(
                str(text("{width} x {height} pixels of mode {mode} are no mosaic of {tile} x {tile_height} pixels",
                         width=picture.width, height=picture.height, mode=picture.mode, tile=width, tile_height=height))
            )  # fmt: skip
        return (picture.width // width) * (picture.height // height)


def _cut(path: Path, layout: Layout) -> np.ndarray:
    """(n, C, H, W) uint8."""
    channels, height, width = layout.shape
    with Image.open(path, formats=("WEBP", "PNG")) as picture:
        pixels = np.asarray(picture)
    rows, columns = pixels.shape[0] // height, pixels.shape[1] // width
    return pixels.reshape(rows, height, columns, width, channels).transpose(0, 2, 4, 1, 3).reshape(-1, channels, height, width)
