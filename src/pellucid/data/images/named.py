# ruff: noqa: E501 - checksums stand in one line with their file
"""The image sets that everybody knows by name: CIFAR-10, MNIST, Fashion-MNIST. Found on the disk, else downloaded; checked either way."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pellucid.core.errors import DataError
from pellucid.core.hashing import hash_rows, join_hashes
from pellucid.core.language import Text, text
from pellucid.core.memory import require_memory
from pellucid.core.records import Notice, Task
from pellucid.core.system import cache_folder
from pellucid.data.arrays.checks import per_sample
from pellucid.data.arrays.targets import target_hashes
from pellucid.data.download import PublishedFile, Tell, download
from pellucid.data.images.packings import (
    UNPACKED_FOLDER,
    CifarArchive,
    CifarBatches,
    Content,
    IdxFiles,
    Layout,
    Mosaics,
    Packing,
    pickled_version,
)
from pellucid.data.names import plain_name
from pellucid.data.samples import Samples

DATA_DIR_VARIABLE = "PELLUCID_DATA_DIR"


@dataclass(frozen=True)
class NamedSet:
    """One published set and the forms in which it may lie on a disk."""

    name: str
    layout: Layout
    packings: tuple[Packing, ...]
    published: tuple[PublishedFile, ...]
    mirrorable: bool  # whether an image mirrored left to right is as good an example of its class


# file -> size and MD5 as published (gzip), SHA-256 of the content
_MNIST = {
    "train-images-idx3-ubyte": (9912422, "f68b3c2dcbeaaa9fbdd348bbdeb94873", "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db"),
    "train-labels-idx1-ubyte": (28881, "d53e105ee54ea40749a09fcbcd1e9432", "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5"),
    "t10k-images-idx3-ubyte": (1648877, "9fb629c4189551a2d022fa330f9573f3", "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7"),
    "t10k-labels-idx1-ubyte": (4542, "ec29112dd5afa0611ce80d1b7f02629c", "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2"),
}  # fmt: skip
_FASHION = {
    "train-images-idx3-ubyte": (26421880, "8d4fb7e6c68d591d4c3dfef9ec88bf0d", "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888"),
    "train-labels-idx1-ubyte": (29515, "25c81989df183df01b3e8a0aad5dffbe", "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9"),
    "t10k-images-idx3-ubyte": (4422102, "bef4ecab320f06d8554ea6380940ec79", "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b"),
    "t10k-labels-idx1-ubyte": (5148, "bb300cfdad3c16e7a12a480ee83cd310", "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34"),
}  # fmt: skip


def _idx_files(rows: dict[str, tuple[int, str, str]], *places: str) -> tuple[PublishedFile, ...]:
    return tuple(
        PublishedFile(f"{name}.gz", size, checksum, tuple(f"{place}{name}.gz" for place in places))
        for name, (size, checksum, _) in rows.items()
    )


def _idx_packing(rows: dict[str, tuple[int, str, str]], others: dict[str, tuple[int, str, str]], title: str) -> IdxFiles:
    """`others` and `title`: the set whose files have the same names."""
    return IdxFiles({name: content for name, (_, _, content) in rows.items()}, {content: title for _, _, content in others.values()})


_CIFAR10 = PublishedFile(  # MD5 c32a1d4ab5d03f1284b67883e8d87530 on the publisher's page
    "cifar-10-binary.tar.gz",
    170052171,
    "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
    ("https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",),
)

NAMED_IMAGES: dict[str, NamedSet] = {
    found.name: found
    for found in (
        NamedSet(  # Krizhevsky, "Learning multiple layers of features from tiny images", 2009
            name="cifar10",
            layout=Layout(
                "CIFAR-10", (3, 32, 32), 50_000, 10_000,
                ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
            ),
            packings=(CifarArchive(_CIFAR10), CifarBatches(), Mosaics()),
            published=(_CIFAR10,),
            mirrorable=True,
        ),
        NamedSet(  # LeCun, Bottou, Bengio, Haffner, "Gradient-based learning applied to document recognition", 1998
            name="mnist",
            layout=Layout("MNIST", (1, 28, 28), 60_000, 10_000, tuple("0123456789")),
            packings=(_idx_packing(_MNIST, _FASHION, "Fashion-MNIST"),),
            published=_idx_files(
                _MNIST, "https://ossci-datasets.s3.amazonaws.com/mnist/", "https://storage.googleapis.com/cvdf-datasets/mnist/"
            ),
            mirrorable=False,
        ),
        NamedSet(  # Xiao, Rasul, Vollgraf, "Fashion-MNIST", arXiv:1708.07747, 2017
            name="fashion-mnist",
            layout=Layout(
                "Fashion-MNIST", (1, 28, 28), 60_000, 10_000,
                ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
            ),
            packings=(_idx_packing(_FASHION, _MNIST, "MNIST"),),
            published=_idx_files(
                _FASHION,
                "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
                "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
            ),
            mirrorable=True,
        ),
    )
}  # fmt: skip


# -- where a set may be ----------------------------------------------------------------------------------------------------------------


def read_content(found: NamedSet, data_dir: Any = None, tell: Tell | None = None) -> Content:
    """The set from the first place that holds it: `data_dir`, the folder that PELLUCID_DATA_DIR names, the cache, shared/data; else from
    the network, into the first of these that was named.

    Raises:
        DataError: a place that was named is no folder; a file is damaged; it is nowhere and cannot be downloaded.
        StorageError: the disk refuses.
    """
    remarks: list[Text] = []
    asked = _asked_for(data_dir)
    for place in (*asked, cache_folder() / "data", *_shared_places()):
        for folder in _folders(place, found.name):
            for packing in found.packings:
                content = packing.read(folder, found.layout, remarks)
                if content is not None:
                    return content
            pickled = pickled_version(folder) if found.name == "cifar10" else None
            if pickled is not None:
                remarks.append(
                    text("{path} is the pickled version, which can run programs and is not opened; the binary version {name} is needed",
                         path=str(pickled), name=found.published[0].name)
                )  # fmt: skip
    goal = (asked[0] if asked else cache_folder() / "data") / found.name
    try:
        for file in found.published:
            download(file, goal, tell)
    except DataError as error:
        if not remarks:
            raise
        raise DataError(text("{remarks}; and {failure}", remarks=remarks, failure=error.got), error.expected, error.do) from None
    content = next((content for packing in found.packings if (content := packing.read(goal, found.layout, remarks)) is not None), None)
    assert content is not None
    content.notices += [Notice(kind="passed_over", summary=remark) for remark in remarks]
    return content


def _asked_for(data_dir: Any) -> list[Path]:
    """The folders that the user has named. Raises DataError where one is none."""
    named = [("data_dir", data_dir), (DATA_DIR_VARIABLE, os.environ.get(DATA_DIR_VARIABLE))]
    places: list[Path] = []
    for origin, value in named:
        if value is None or value == "":
            continue
        path = Path(os.path.expanduser(value)).absolute()  # noqa: PTH111
        if not path.is_dir():
            raise DataError(
                text("{origin} is {path}, and there is no such folder", origin=origin, path=str(path)),
                text("a folder in which the published image sets are, or are to be put"),
                text("make it, or leave {origin} out", origin=origin),
            )
        places.append(path)
    return places


def _shared_places() -> Iterator[Path]:
    """The folder shared/data beside the working directory, and beside the repository where Pellucid runs from a checkout."""
    checkout = Path(__file__).resolve().parents[4]
    for folder in (Path.cwd(), *((checkout,) if (checkout / "pyproject.toml").is_file() else ())):
        yield folder.parent / "shared" / "data"


def _folders(place: Path, name: str) -> Iterator[Path]:
    """The folders in `place` where the set's files may be: itself, those called as the set is, and what is usual inside of these."""
    if not place.is_dir():
        return
    yield place
    wanted = {plain_name(name), plain_name(UNPACKED_FOLDER)} if name == "cifar10" else {plain_name(name)}
    inner: list[Path] = []
    with suppress(OSError):
        inner = sorted(entry for entry in place.iterdir() if plain_name(entry.name) in wanted and entry.is_dir())
    for folder in inner:
        yield folder
        yield from (folder / usual for usual in ("raw", UNPACKED_FOLDER) if (folder / usual).is_dir())


def sets_in(folder: Path) -> list[str]:
    """Which sets seem to lie in `folder`, by the names of their files: for the message about a folder without images."""
    likely = {"cifar10": ("cifar-10-binary.tar.gz", "data_batch_1.bin", "data_batch_1", "cifar-10-batches-py", "cifar-10-python.tar.gz"),
              "mnist": ("train-images-idx3-ubyte.gz", "train-images-idx3-ubyte")}  # fmt: skip
    found = [name for name, files in likely.items() if any((folder / file).exists() for file in files)]
    return ["fashion-mnist"] if found == ["mnist"] and "fashion" in folder.name.lower() else found


# -- as samples --------------------------------------------------------------------------------------------------------------------------


def read_named_images(name: str, *, data_dir: Any = None, group: Any = None, time: Any = None, tell: Tell | None = None) -> Samples:
    """A named set as Samples of the kind "images", its official training and test parts fixed; samples are called "train/00017".

    Raises:
        DataError: see `read_content`.
    """
    found = NAMED_IMAGES[name]
    layout = found.layout
    require_memory(
        2 * layout.samples * math.prod(layout.shape), text("the {count} images of {title}", count=layout.samples, title=layout.title)
    )
    content = read_content(found, data_dir, tell)
    task = Task(kind="classification", targets=("class",), classes=layout.classes)
    parts = np.repeat(["train", "test"], [layout.train, layout.test])
    input_hashes = hash_rows(content.pixels)
    return Samples(
        kind="images",
        name=name,
        task=task,
        inputs=content.pixels,
        targets=content.labels,
        identifiers=[f"{part}/{number:05d}" for part, count in (("train", layout.train), ("test", layout.test)) for number in range(count)],
        hashes=join_hashes(input_hashes, target_hashes(task, content.labels)),
        reference={"own": {"data_dir": str(_asked_for(data_dir)[0])}} if data_dir is not None else None,
        fixed_parts=parts,
        groups=per_sample(group, layout.samples, parts, "group"),
        times=per_sample(time, layout.samples, parts, "time"),
        notices=content.notices,
        input_hashes=input_hashes,
        mirrorable=found.mirrorable,
    )


def official_test_part(name: str, data_dir: Any = None) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """(pixels (n, C, H, W) uint8, class names (n,), identifiers) of the official test part: what a trained network is measured on."""
    found = NAMED_IMAGES[name]
    content = read_content(found, data_dir)
    start = found.layout.train
    labels = np.asarray(found.layout.classes)[content.labels[start:]]
    return content.pixels[start:], labels, [f"test/{number:05d}" for number in range(found.layout.test)]
