"""The .ts format of the UEA and UCR archives: a header of lines @key value, then one series per line, its class at the end.

    @problemName Vowels
    @timeStamps false
    @univariate false
    @dimensions 2
    @equalLength false
    @classLabel true a b
    @data
    1.8,1.7,1.6:0.2,0.1,0.3:a

Values are divided by commas, channels (dimensions) by colons; "?" is a missing value. `@targetLabel true` announces a number instead of a
class. A line that cannot be read is set aside with its reason.

Source: Loning et al., sktime, 2019, format specification of .ts files, version 1.0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import polars as pl

from pellucid.core.errors import DataError
from pellucid.core.language import Text, text
from pellucid.core.memory import require_memory
from pellucid.core.records import Notice
from pellucid.data.ledger import NumberedNames
from pellucid.data.series.values import RawSeries, SeriesValues
from pellucid.data.tables.encodings import to_utf8

_MISSING = frozenset(["?", "", "nan", "na"])
_EXAMPLES = 5
_MEMORY_PER_BYTE = 8  # of the file: its text, its lines, and a double of eight bytes for at least two characters
_TRUTH = {"true": True, "false": False}


def is_ts_name(path: str | Path) -> bool:
    return Path(path).suffix.lower() == ".ts"


def test_file_of(path: Path) -> Path | None:
    """NAME_TEST.ts beside NAME_TRAIN.ts, as the archives have them; None where there is none."""
    stem = path.stem
    if not stem.lower().endswith("_train"):
        return None
    ending = "_TEST" if stem.endswith("_TRAIN") else "_test"
    other = path.with_name(stem[: -len(ending) - 1] + ending + path.suffix)
    return other if other.is_file() else None


def read_ts(path: Path) -> RawSeries:
    """The series of a .ts file.

    Raises:
        DataError: no such file, no header, time stamps, or no line that can be read.
    """
    lines = _lines(path)
    header, first = _header(lines, path.name)
    labelled = header.get("classlabel") == "true" or header.get("targetlabel") == "true"
    rows = [(number, line) for number, line in enumerate(lines[first:], first + 1) if line.strip() and not line.lstrip().startswith("#")]
    if not rows:
        raise DataError(text("{name} has no series after @data", name=path.name), text("one series per line"), text("check the file"))
    if labelled and all(_is_unlabelled(line) for _, line in rows):
        raise DataError(
            text(
                "the header of {name} announces a class for each series, and the class is missing: every line ends in values",
                name=path.name,
            ),
            text("a class behind the last colon of each line"),
            text("add it; for series without a class write @classLabel false into the header"),
        )
    dimensions = _dimensions(header, rows, labelled, path.name)
    series: list[np.ndarray] = []
    labels: list[str | None] = []
    unusable: dict[int, Text] = {}
    for place, (number, line) in enumerate(rows):
        channels = line.strip().split(":")
        label = channels.pop().strip() if labelled else None
        labels.append(label)
        read = _values(channels, dimensions, number, path.name)
        if labelled and isinstance(read, Text) and _is_unlabelled(line):
            read = text("line {number} ends in values, without a class", number=number)
        if isinstance(read, Text):
            unusable[place] = read
            read = np.zeros((0, dimensions))
        elif label is not None and header.get("classes") and label not in header["classes"].split() and label not in ("", "?"):
            unusable[place] = text("its class {label!r} is none of those that @classLabel names", label=label)
        series.append(read)
    values = SeriesValues.of(series, [""] if dimensions == 1 else [str(channel + 1) for channel in range(dimensions)])
    return RawSeries(
        values=values,
        identifiers=NumberedNames(len(rows), "row ", 1),
        name=path.stem.removesuffix("_TRAIN").removesuffix("_train"),
        shown=path.name,
        layout="ts",
        labels=pl.Series("class", labels, dtype=pl.String) if labelled else None,
        target="class" if header.get("targetlabel") != "true" else "target",
        task="regression" if header.get("targetlabel") == "true" else "classification",
        unusable=unusable,
        notices=_contradicted(header, values, unusable, path.name),
    )


def _lines(path: Path) -> list[str]:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(
            text("{path} cannot be read: {reason}", path=str(path), reason=error.strerror or str(error)),
            text("a .ts file that you may read"),
            text("check the path and its permissions"),
        ) from None
    require_memory(_MEMORY_PER_BYTE * len(content), text("{name}, read into memory,", name=path.name))
    return to_utf8(content, path.name).decode("utf-8", "replace").removeprefix("\ufeff").splitlines()


def _header(lines: list[str], name: str) -> tuple[dict[str, str], int]:
    """key, in lower case -> its first word, in lower case; "classes" -> the names; and where the data begin."""
    header: dict[str, str] = {}
    for number, line in enumerate(lines):
        words = line.strip().split()
        if not words or words[0].startswith("#"):
            continue
        if not words[0].startswith("@"):
            break
        key = words[0][1:].lower()
        if key == "data":
            _check_header(header, name)
            return header, number + 1
        header[key] = words[1].lower() if len(words) > 1 else ""
        if key == "classlabel":
            header["classes"] = " ".join(words[2:])
    raise DataError(
        text("{name} has no line @data before its series", name=name),
        text("a .ts file: lines @problemName, @classLabel true NAMES, ..., @data, then one series per line"),
        text("write that header; a table without it is read as .csv with task time_series"),
    )


def _check_header(header: Mapping[str, str], name: str) -> None:
    if header.get("timestamps") == "true":
        raise _stamped(name)
    if not {"classlabel", "targetlabel"} & set(header):
        raise DataError(
            text("the header of {name} says nothing of classes", name=name),
            text("a line @classLabel true NAME NAME ..., @targetLabel true, or @classLabel false"),
            text("add it before @data"),
        )
    for key in ("classlabel", "targetlabel", "timestamps", "univariate", "equallength", "missing"):
        if header.get(key, "true") not in _TRUTH:
            raise DataError(
                text("{name} says @{key} {value}", name=name, key=key, value=header[key]),
                text("@{key} true or @{key} false", key=key),
                text("correct the header"),
            )


def _stamped(name: str) -> DataError:
    return DataError(
        text("{name} has time stamps: values written as (time, value)", name=name),
        text("series whose steps are evenly spaced, as values alone, under @timeStamps false"),
        text(
            "bring each series to even steps, or give a long table: one row per step with columns for the series, the time and the values"
        ),
    )


def _is_unlabelled(line: str) -> bool:
    """Whether behind the last colon there stand values, several of them, instead of a class."""
    words = line.rsplit(":", 1)[-1].split(",")
    return len(words) > 1 and not isinstance(_numbers(words), str)


def _dimensions(header: Mapping[str, str], rows: Sequence[tuple[int, str]], labelled: bool, name: str) -> int:
    """How many channels a series has: what the header says, else what the first line has.

    Raises:
        DataError: the header says no number, or one that no line has.
    """
    stated = header.get("dimensions") or header.get("dimension")
    if stated is not None and not (stated.isdecimal() and int(stated) > 0):
        raise DataError(
            text("{name} says @dimensions {value}", name=name, value=stated), text("a whole number from 1"), text("correct the header")
        )
    if stated is None:
        return 1 if header.get("univariate") == "true" else max(1, rows[0][1].count(":") + (not labelled))
    found = {line.count(":") + (not labelled) for _, line in rows}
    if int(stated) not in found:
        raise DataError(
            text("the header of {name} says @dimensions {stated}, and its lines have {found} channels",
                 name=name, stated=int(stated), found=sorted(found)[:_EXAMPLES]),
            text("as many channels, divided by colons, as the header says"),
            text("correct @dimensions, or the lines"),
        )  # fmt: skip
    return int(stated)


def _values(channels: list[str], dimensions: int, number: int, name: str) -> np.ndarray | Text:
    """(T, C) of one line, or why it cannot be read. A channel that is shorter than the others ends in missing values."""
    if len(channels) != dimensions:
        return text("line {number} has {got} channels, not {expected}", number=number, got=len(channels), expected=dimensions)
    read: list[np.ndarray] = []
    for channel in channels:
        words = channel.split(",") if channel.strip() else []
        try:
            read.append(np.asarray(words, dtype=np.float64) if words else np.zeros(0))
        except ValueError:
            if "(" in channel:
                raise _stamped(name) from None
            numbers = _numbers(words)
            if isinstance(numbers, str):
                return text("line {number} holds {value!r}, which is no number", number=number, value=numbers[:40])
            read.append(numbers)
    result = np.full((max(map(len, read)), dimensions), np.nan)
    for place, numbers in enumerate(read):
        result[: len(numbers), place] = numbers
    return result


def _numbers(words: list[str]) -> np.ndarray | str:
    """Words with missing values among them; the first that is neither."""
    numbers = np.full(len(words), np.nan)
    for place, word in enumerate(words):
        bare = word.strip()
        if bare.lower() in _MISSING:
            continue
        try:
            numbers[place] = float(bare)
        except ValueError:
            return bare
    return numbers


def _contradicted(header: Mapping[str, str], values: SeriesValues, unusable: Mapping[int, Text], name: str) -> list[Notice]:
    """What the header says and the series are not."""
    lengths = np.delete(values.lengths, list(unusable))
    if header.get("equallength") != "true" or len(set(lengths.tolist())) < 2:
        return []
    summary = text(
        "{name} says that all series are of equal length; they have {shortest} to {longest} steps",
        name=name, shortest=int(lengths.min()), longest=int(lengths.max()),
    )  # fmt: skip
    return [Notice(kind="unequal_lengths", summary=summary)]
