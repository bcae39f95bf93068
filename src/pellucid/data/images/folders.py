"""Which image files a folder holds, and what their folders say about class and part."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from pellucid.core.errors import DataError
from pellucid.core.language import text
from pellucid.core.records import Notice
from pellucid.core.system import quoted
from pellucid.core.wording import counted
from pellucid.data.images.decoding import Unreadable, image_suffixes, read_header

PART_NAMES = {
    "train": "train", "training": "train",
    "validation": "validation", "val": "validation", "valid": "validation", "dev": "validation",
    "test": "test", "testing": "test",
}  # fmt: skip


@dataclass(frozen=True)
class ImageFile:
    path: str
    identifier: str  # relative to the source, with "/"
    label: str  # its class: the name of the folder it is in
    part: str = ""  # "train", "validation", "test" or "" where the folders do not say


@dataclass
class ImageListing:
    """The image files of a source, in natural order, with their classes."""

    files: list[ImageFile] = field(default_factory=list[ImageFile])
    notices: list[Notice] = field(default_factory=list[Notice])

    @property
    def classes(self) -> list[str]:
        return sorted({file.label for file in self.files}, key=natural_order)

    @property
    def has_parts(self) -> bool:
        return any(file.part for file in self.files)


def natural_order(name: str) -> tuple[list[tuple[int, int, str]], str]:
    """A sorting key by which "2" comes before "10"."""
    pieces = re.split(r"(\d+)", name)
    return [(0, int(piece), "") if piece.isdecimal() else (1, 0, piece.lower()) for piece in pieces if piece], name


def images_below(folder: Path, notices: list[Notice] | None = None) -> Iterator[str]:
    """Paths of all image files in and below `folder`, in natural order; hidden files are passed over, links to folders are followed once.

    A link to a folder in which `folder` itself stands is not followed: it would bring in what belongs elsewhere, and at worst the disk.

    Raises:
        DataError: a folder cannot be read.
    """
    seen: set[str] = set()
    others: list[str] = []

    def walk(place: str) -> Iterator[str]:
        real = os.path.realpath(place)
        if real in seen:
            return
        seen.add(real)
        files, folders = entries_of(place, notices)
        for name in files:
            path = os.path.join(place, name)  # noqa: PTH118 - there may be a million
            if _is_image(path):
                yield path
            else:
                others.append(path)
        for name in folders:
            yield from walk(os.path.join(place, name))  # noqa: PTH118

    yield from walk(str(folder))
    if others and notices is not None:
        notices.append(
            Notice(
                kind="other_files",
                summary=counted(
                    len(others),
                    text("{example} in {folder} is not an image by its name; it was passed over",
                         example=Path(others[0]).name, folder=folder.name),
                    text("{count} files in {folder} are not images by their names (for example {example}); they were passed over",
                         count=len(others), folder=folder.name, example=Path(others[0]).name),
                ),
                where=str(folder),
                evidence={"files": len(others)},
            )
        )  # fmt: skip


def _is_image(path: str) -> bool:
    suffix = os.path.splitext(path)[1].lower()  # noqa: PTH122
    if suffix in image_suffixes():
        return True
    return not suffix and not isinstance(read_header(path), Unreadable)  # MNIST-like collections have names without endings


def entries_of(folder: str, notices: list[Notice] | None = None) -> tuple[list[str], list[str]]:
    """(names of files, names of folders), in natural order, without hidden ones and without links to a folder in which this one stands.

    Raises:
        DataError: the folder cannot be read.
    """
    files: list[str] = []
    folders: list[str] = []
    upward: list[str] = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith((".", "__MACOSX")) or entry.name.lower() in ("thumbs.db", "desktop.ini"):
                    continue
                if not _is_folder(entry):
                    files.append(entry.name)
                elif _leads_up(entry, folder):
                    upward.append(entry.name)
                else:
                    folders.append(entry.name)
    except OSError as error:
        raise DataError(
            text("the folder {path} cannot be read: {reason}", path=folder, reason=error.strerror or str(error)),
            text("a folder that you may read"),
            text("change its permissions, or give another"),
        ) from None
    if upward and notices is not None:
        example = os.path.join(os.path.basename(folder), upward[0])  # noqa: PTH118, PTH119
        summary = text("{count} links to a folder in which they stand themselves were not followed (for example {example})",
                       count=len(upward), example=example)  # fmt: skip
        notices.append(Notice(kind="link_upward", summary=summary, where=folder, evidence={"links": len(upward)}))
    return sorted(files, key=natural_order), sorted(folders, key=natural_order)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself, for example
        return False


def _leads_up(entry: os.DirEntry[str], folder: str) -> bool:
    """Whether an entry is a link (on Windows also a junction) to `folder` or to one above it."""
    if not entry.is_symlink() and not getattr(entry, "is_junction", bool)():
        return False
    goal, here = os.path.realpath(entry.path), os.path.realpath(folder)
    return here == goal or here.startswith(goal.rstrip(os.sep) + os.sep)


def list_images(root: Path) -> ImageListing:
    """The images of a folder per class; also of folders train, test (and val) with a folder per class each.

    Raises:
        DataError: an empty folder, no images, no class folders, a single class.
    """
    listing = ImageListing()
    base = _descend(root, listing)
    files, folders = entries_of(str(base))
    parts = {name: PART_NAMES[name.lower()] for name in folders if name.lower() in PART_NAMES}
    if "train" in parts.values() and len(parts) > 1 and len(parts) == len(set(parts.values())):
        for name in folders:
            if name in parts:
                _add_classes(listing, root, base / name, parts[name])
            else:
                listing.notices.append(_passed_over(name, text("it is none of train, validation and test")))
    else:
        _add_classes(listing, root, base, "")
    loose = [name for name in files if _is_image(str(base / name))]
    if loose and listing.files:
        listing.notices.append(
            Notice(
                kind="images_without_class",
                summary=counted(
                    len(loose),
                    text("{example} stands in {folder} itself and belongs to no class; it was left out",
                         example=loose[0], folder=base.name),
                    text("{count} images stand in {folder} itself and belong to no class (for example {example}); they were left out",
                         count=len(loose), folder=base.name, example=loose[0]),
                ),
                where=str(base),
                evidence={"files": len(loose)},
            )
        )  # fmt: skip
    _check(listing, root, base, files)
    return listing


def _descend(root: Path, listing: ImageListing) -> Path:
    """Through folders that hold nothing but one folder: unpacked archives often do."""
    base = root
    for _ in range(8):
        files, folders = entries_of(str(base))
        if len(folders) != 1 or any(_is_image(str(base / name)) for name in files):
            break
        inner = base / folders[0]
        if not entries_of(str(inner))[1]:  # the one folder is a class, and the only one
            break
        base = inner
    if base != root:
        listing.notices.append(
            Notice(kind="inner_folder", summary=text("the classes were found in the folder {folder}", folder=str(base.relative_to(root))))
        )
    return base


def _add_classes(listing: ImageListing, root: Path, folder: Path, part: str) -> None:
    found = False
    empty: list[str] = []
    inner: list[Notice] = []  # one folder's each; a data set may have ten thousand folders
    for name in entries_of(str(folder), listing.notices)[1]:
        before = len(listing.files)
        for path in images_below(folder / name, inner):
            identifier = Path(path).relative_to(root).as_posix()
            listing.files.append(ImageFile(path, identifier, name, part))
        if len(listing.files) == before:
            empty.append(name)
        found = found or len(listing.files) > before
    listing.notices += _joined(inner, folder)
    if len(empty) == 1:
        listing.notices.append(_passed_over(empty[0], text("it holds no images")))
    elif empty:
        summary = text("{count} folders hold no images and were passed over (for example {examples})", count=len(empty), examples=empty[:3])
        listing.notices.append(Notice(kind="folder_passed_over", summary=summary, where=str(folder), evidence={"folders": len(empty)}))
    if part and not found:
        listing.notices.append(
            _passed_over(folder.name, text("it holds no class folders with images; use predict for images without a class"))
        )


def _joined(notices: list[Notice], folder: Path) -> list[Notice]:
    """The notices of many folders, those of one kind as one that counts."""
    kinds: dict[str, list[Notice]] = {}
    for notice in notices:
        kinds.setdefault(notice.kind, []).append(notice)
    joined: list[Notice] = []
    for kind, alike in kinds.items():
        if len(alike) == 1:
            joined += alike
            continue
        count = sum(int(number) for notice in alike for number in notice.evidence.values())
        summary = counted(
            len(alike) - 1,
            text("{first}; the same in one more folder, {count} files or links in all", first=alike[0].summary, count=count),
            text("{first}; the same in {others} more folders, {count} files or links in all",
                 first=alike[0].summary, others=len(alike) - 1, count=count),
        )  # fmt: skip
        joined.append(Notice(kind=kind, summary=summary, where=str(folder), evidence={"files": count, "folders": len(alike)}))
    return joined


def _passed_over(name: str, reason: object) -> Notice:
    return Notice(
        kind="folder_passed_over", summary=text("the folder {name} was passed over: {reason}", name=name, reason=reason), where=name
    )


def _check(listing: ImageListing, root: Path, base: Path, files: list[str]) -> None:
    layout = text("a folder with one subfolder of images per class, for example photos/cat/1.jpg and photos/dog/1.jpg")
    if not listing.files:
        example = next(images_below(base), None)
        if example is not None:
            raise DataError(
                text("{folder} holds images, for example {example}, but no class folders", folder=str(base),
                     example=Path(example).relative_to(base).as_posix()),
                layout,
                text("make one subfolder per class and move the images into them; to label new images with a trained network use predict"),
            )  # fmt: skip
        tables = [name for name in files if os.path.splitext(name)[1].lower() in (".csv", ".tsv", ".parquet", ".jsonl", ".ndjson")]  # noqa: PTH122
        if tables:
            raise DataError(
                text("{folder} holds no images, but the tables {tables}", folder=str(base), tables=tables[:5]),
                layout,
                text("give the table itself: {path}", path=str(base / tables[0])),
            )
        from pellucid.data.images.named import sets_in  # which needs this module's order of names

        sets = sets_in(base)
        if sets:
            raise DataError(
                text("{folder} holds no images, but files of {name}", folder=str(base), name=sets[0]),
                layout,
                text("give the set by its name: {command}", command=f"pellucid fit {sets[0]} --data-dir {quoted(base)}"),
            )
        everything = [name for group in entries_of(str(root)) for name in group]
        if not everything:
            raise DataError(
                text("the folder {folder} is empty", folder=str(root)), layout, text("put images there, or give another folder")
            )
        raise DataError(
            text("{folder} holds no images; it holds {names}", folder=str(root), names=everything[:5]),
            layout,
            text("give the folder that contains the class folders; images end in .png, .jpg, .webp, ..."),
        )
    train = {file.label for file in listing.files if file.part in ("", "train")}
    if len(train) < 2:
        raise DataError(
            text("{folder} holds a single class, {name}", folder=str(base), name=next(iter(train), "-")),
            text("at least two class folders with images"),
            text("add a folder with images of another class"),
        )
