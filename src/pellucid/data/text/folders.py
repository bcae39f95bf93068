"""Texts in files: a folder with a folder of .txt files for each class, train and test folders of these, or files without a class.

Each file is one text. Encodings are those of tables: UTF-8 with or without a mark, UTF-16, GB18030 (tables.encodings).
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from pellucid.core.errors import DataError
from pellucid.core.language import Text, text
from pellucid.data.images.folders import PART_NAMES, entries_of
from pellucid.data.samples import Quarantined
from pellucid.data.tables.encodings import to_utf8
from pellucid.data.tables.files import RawTable
from pellucid.data.tables.reading import QUARANTINE_LIMIT, TableSamples, samples_of
from pellucid.data.text.preprocessing import CLASS, COLUMN, SUFFIXES
from pellucid.data.text.vocabulary import wordless

_LOOKED_AT = 200  # entries of a folder, until it is known what it holds
_LAYOUT = text("a folder with one subfolder of .txt files per class, for example reviews/good/1.txt and reviews/bad/1.txt")


@dataclass(frozen=True)
class TextFile:
    path: str
    identifier: str  # relative to the source, with "/"
    label: str  # the name of its class's folder; "" where it has none
    part: str = ""  # "train", "validation", "test" or "" where the folders do not say


def is_text_name(name: str) -> bool:
    return name.lower().endswith(SUFFIXES)


def holds_texts(folder: str | Path, depth: int = 3) -> bool:
    """Whether the first files found in or below `folder` are texts and none of them is an image. Quick, and never raises."""
    from pellucid.data.images.decoding import is_image_name

    try:
        with os.scandir(folder) as entries:
            found = [entry for _, entry in zip(range(_LOOKED_AT), entries, strict=False) if not entry.name.startswith(".")]
        files = [entry.name for entry in found if entry.is_file()]
        folders = [entry.path for entry in found if entry.is_dir()]
    except OSError:
        return False
    if any(is_image_name(name) for name in files):
        return False
    if folders and depth:  # what stands beside folders is a README
        return any(holds_texts(inner, depth - 1) for inner in sorted(folders)[:5])
    return any(is_text_name(name) for name in files)


def list_texts(root: Path) -> list[TextFile]:
    """The .txt files below `root`, in natural order, with the class and the part that their folders say.

    Raises:
        DataError: a folder cannot be read, or holds no texts.
    """
    base = root
    while True:  # through folders that hold nothing but one folder of folders, as unpacked archives do
        files, folders = entries_of(str(base))
        if len(folders) != 1 or any(map(is_text_name, files)) or not entries_of(str(base / folders[0]))[1]:
            break
        base = base / folders[0]
    parts = {name: PART_NAMES[name.lower()] for name in folders if name.lower() in PART_NAMES}
    if "train" in parts.values() and len(parts) > 1:
        found = [file for name, part in parts.items() for file in _of_classes(root, base / name, part)]
    else:
        found = list(_of_classes(root, base, ""))
    if not found:
        raise DataError(
            text("{folder} holds no .txt files", folder=str(root)), _LAYOUT, text("give the folder that contains the class folders")
        )
    return found


def _of_classes(root: Path, folder: Path, part: str) -> Iterator[TextFile]:
    files, folders = entries_of(str(folder))
    for path in (folder / name for name in files if is_text_name(name)):
        yield TextFile(str(path), path.relative_to(root).as_posix(), "", part)
    for name in folders:
        for path in _below(folder / name):
            yield TextFile(str(path), path.relative_to(root).as_posix(), name, part)


def _below(folder: Path) -> Iterator[Path]:
    files, folders = entries_of(str(folder))
    yield from (folder / name for name in files if is_text_name(name))
    for name in folders:
        yield from _below(folder / name)


def read_files(files: Sequence[TextFile]) -> tuple[list[TextFile], list[str], list[Quarantined]]:
    """(the files that can be read, their texts, those set aside: empty ones, mere punctuation, and what is no text)."""
    kept: list[TextFile] = []
    texts: list[str] = []
    aside: list[Quarantined] = []
    for file in files:
        try:
            content = to_utf8(Path(file.path).read_bytes(), Path(file.path).name).decode("utf-8").strip()
        except DataError as error:
            reason = error.got if isinstance(error.got, Text) else text("{reason}", reason=error.got)
            aside.append(Quarantined(identifier=file.identifier, reason=reason))
            continue
        except OSError as error:
            reason = text("it cannot be read: {reason}", reason=error.strerror or str(error))
            aside.append(Quarantined(identifier=file.identifier, reason=reason))
            continue
        kept.append(file)
        texts.append(content)
    nothing = wordless(pl.Series(texts, dtype=pl.String))
    aside += [Quarantined(identifier=kept[place].identifier, reason=reason) for place, reason in nothing.items()]
    said = [place for place in range(len(kept)) if place not in nothing]
    return [kept[place] for place in said], [texts[place] for place in said], aside


def read_text_folder(root: Path, *, task: str = "auto", group: Any = None, time: Any = None) -> TableSamples:
    """A sample for each file of a class; where there are train and test folders, they are the parts.

    Raises:
        DataError: no class folders, fewer than two classes, or more than a tenth of the files unreadable.
    """
    return _samples({"": root}, task=task, group=group, time=time)


def read_text_parts(roots: Mapping[str, Path], *, task: str = "auto", group: Any = None, time: Any = None) -> TableSamples:
    """Folders that the user has already split: part ("train", "validation", "test") -> folder."""
    return _samples(roots, task=task, group=group, time=time)


def _samples(roots: Mapping[str, Path], *, task: str, group: Any, time: Any) -> TableSamples:
    for option, value in (("group", group), ("time", time)):
        if value is not None:
            raise DataError(
                text("{option}={value!r} for a folder of texts", option=option, value=str(value)),
                text("files, which have no columns"),
                text("leave it out, or put the texts into a table with this column"),
            )
    if task == "regression":
        raise DataError(
            text("task=regression for a folder of texts"),
            text("a classification: the classes are the names of the subfolders"),
            text("leave task out; for texts with numbers to predict give a table with a column of texts and one of numbers"),
        )
    several = len(roots) > 1
    found: list[TextFile] = []
    for part, root in roots.items():
        for file in list_texts(root):
            identifier = f"{part}/{file.identifier}" if several else file.identifier
            found.append(TextFile(file.path, identifier, file.label, part or file.part))
    root = next(iter(roots.values()))
    classes = {file.label for file in found if file.label}
    if not classes:
        raise DataError(
            text("{folder} holds texts, for example {example}, but no class folders", folder=str(root), example=found[0].identifier),
            _LAYOUT,
            text("make one subfolder per class and move the texts into them; to label new texts with a trained network use predict"),
        )
    if len(classes) < 2:
        raise DataError(
            text("{folder} holds a single class, {name}", folder=str(root), name=next(iter(classes))),
            text("at least two class folders with .txt files"),
            text("add a folder with texts of another class"),
        )
    loose = [Quarantined(identifier=file.identifier, reason=text("it stands in no class folder")) for file in found if not file.label]
    kept, texts, aside = read_files([file for file in found if file.label])
    if len(aside) > max(1, QUARANTINE_LIMIT * len(found)):
        raise DataError(
            text("{count} of {files} texts in {folder} cannot be used, for example {example}: {reason}", count=len(aside), files=len(found),
                 folder=str(root), example=aside[0].identifier, reason=aside[0].reason),
            text("at most {limit:.0f} % of the files", limit=100 * QUARANTINE_LIMIT),
            text("save them as UTF-8 text, or take them out of the folder"),
        )  # fmt: skip
    raw = RawTable(
        pl.DataFrame({COLUMN: texts, CLASS: [file.label for file in kept]}), name=root.resolve().name or "texts", shown=str(root),
        texts=(COLUMN,),
    )  # fmt: skip
    sides = np.asarray([file.part for file in kept]) if any(file.part for file in kept) else None
    samples = samples_of(
        raw, CLASS, task="classification", group=None, time=None, sides=sides, identifiers=[file.identifier for file in kept]
    )
    samples.quarantined = [*samples.quarantined, *aside, *loose]
    return samples


def new_texts(source: Path) -> tuple[pl.DataFrame, list[str], list[Quarantined]]:
    """(a table of texts, with their classes where all have a folder, the files' names, those set aside) of a file or a folder.

    Raises:
        DataError: no texts, or none that can be read.
    """
    files = [TextFile(str(source), source.name, "")] if source.is_file() else list_texts(source)
    kept, texts, aside = read_files(files)
    if not kept:
        raise DataError(
            text("no text can be read: {examples}", examples=[item.summary for item in aside[:3]]),
            text("files that hold text"),
            text("save them as UTF-8 text"),
        )
    frame = pl.DataFrame({COLUMN: texts})
    if all(file.label for file in kept):
        frame = frame.with_columns(pl.Series(CLASS, [file.label for file in kept]))
    return frame, [file.identifier for file in kept], aside
