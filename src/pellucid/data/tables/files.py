"""A table as it was given, before anything is interpreted: a file of any of the formats, or a frame in memory, as a polars frame."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from pellucid.core.errors import DataError, did_you_mean
from pellucid.core.language import Text, text
from pellucid.core.memory import require_memory
from pellucid.core.records import Notice
from pellucid.data.tables.delimited import read_delimited
from pellucid.data.tables.encodings import decompress, to_utf8

_COMPRESSED_SUFFIXES = (".gz", ".xz", ".bz2")
_MEMORY_PER_BYTE = 6  # of text while it is read: the bytes, the cells, their interpretation


@dataclass
class RawTable:
    """Columns as the source holds them: texts from a text file, typed from anything else."""

    frame: pl.DataFrame
    name: str  # short, for the run
    shown: Text | str  # the file's name, for messages
    header: bool = True  # whether the columns have names of their own
    decimal_comma: bool = False  # whether a comma in a number is likely to be a decimal sign
    path: str | None = None
    notices: list[Notice] = field(default_factory=list[Notice])
    texts: tuple[str, ...] = ()  # columns that hold texts, whatever they look like


def is_frame(value: Any) -> bool:
    """Whether `value` is a polars or pandas frame, or a table that speaks Arrow's interchange protocol."""
    if isinstance(value, (pl.DataFrame, pl.LazyFrame)):
        return True
    return _is_pandas(value) or (hasattr(value, "__arrow_c_stream__") and hasattr(value, "column_names"))


def load(source: Any, *, header: bool = True) -> RawTable:
    """The table in a file or a frame.

    Raises:
        DataError: no such file, an unreadable one, or something that is no table.
    """
    if isinstance(source, RawTable):
        return source
    if isinstance(source, (str, Path)):
        return _load_file(Path(source).expanduser(), header)
    return RawTable(_distinct(_frame_of(source)), name="table", shown=text("the frame"))


# -- files ---------------------------------------------------------------------------------------------------------------------------


def _load_file(path: Path, header: bool) -> RawTable:
    content = _bytes_of(path)
    lowered = path.name.lower()
    for suffix in _COMPRESSED_SUFFIXES:
        lowered = lowered.removesuffix(suffix)
    stem = Path(lowered).stem and path.name[: len(Path(lowered).stem)]
    place = str(path.resolve())
    if content.startswith(b"PAR1") or lowered.endswith((".parquet", ".pq")):
        return RawTable(_distinct(_parquet(content, path.name)), name=stem, shown=path.name, path=place)
    content = decompress(content, path.name)
    if lowered.endswith((".jsonl", ".ndjson")) or (lowered.endswith(".json") and content.lstrip()[:1] == b"{"):
        return RawTable(_distinct(_json_lines(to_utf8(content, path.name), path.name)), name=stem, shown=path.name, path=place)
    if lowered.endswith(".json"):
        raise DataError(
            text("{name} is one JSON document", name=path.name),
            text("one JSON object per line, such as {example}", example='{"age": 39, "income": "<=50K"}'),
            text("write each row as an object of its own, for example with pandas: frame.to_json(path, orient='records', lines=True)"),
        )
    require_memory(
        _MEMORY_PER_BYTE * len(content),
        text("{name}, read into memory,", name=path.name),
        text("take a part of its rows, or store it as Parquet, which needs less"),
    )
    table = read_delimited(to_utf8(content, path.name), lowered if lowered != path.name.lower() else path.name, header=header)
    return RawTable(
        table.frame,
        name=stem,
        shown=path.name,
        header=table.header,
        decimal_comma=table.delimiter == ";",
        path=place,
        notices=table.notices,
    )


def _bytes_of(path: Path) -> bytes:
    if path.is_dir():
        raise DataError(text("{path} is a folder", path=str(path)), text("a file that holds a table"), text("name one of the files in it"))
    try:
        if path.exists() and not (path.is_file() or path.is_fifo()):  # /dev/zero never ends; a pipe such as /dev/stdin does
            raise DataError(
                text("{path} is no file but a device", path=str(path)),
                text("a file that holds a table"),
                text("write the table into a file first"),
            )
        content = path.read_bytes()
    except FileNotFoundError:
        raise _missing(path) from None
    except OSError as error:
        raise DataError(
            text("{path} cannot be read: {reason}", path=str(path), reason=error.strerror or str(error)),
            text("a file that you may read"),
            text("check its permissions"),
        ) from None
    if not content:
        raise DataError(text("{name} is empty (0 bytes)", name=path.name), text("a table with rows"), text("check the file"))
    return content


def _missing(path: Path) -> DataError:
    folder = path.parent
    if not folder.is_dir():
        return DataError(
            text("there is no file {path}: its folder does not exist", path=str(path)), text("the path of a table"), text("check the path")
        )
    if path.is_symlink():
        return DataError(
            text("{path} is a link to a file that does not exist: {target}", path=str(path), target=str(path.readlink())),
            text("the path of a table"),
            text("restore that file, or mend the link"),
        )
    siblings = sorted(entry.name for entry in folder.iterdir() if not entry.name.startswith("."))
    return DataError(
        text("there is no file {path}", path=str(path)),
        text("the path of a table"),
        did_you_mean(path.name, siblings) if siblings else text("check the path: its folder is empty"),
    )


def _parquet(content: bytes, name: str) -> pl.DataFrame:
    try:
        frame = pl.read_parquet(content)
    except Exception as error:  # polars' own errors, and panics of its reader on hostile bytes
        raise DataError(
            text("{name} cannot be read as Parquet: {reason}", name=name, reason=str(error).splitlines()[0] if str(error) else "?"),
            text("a complete Parquet file"),
            text("copy or download it again"),
        ) from None
    return _with_rows(frame, name)


def _json_lines(content: bytes, name: str) -> pl.DataFrame:
    """One JSON object per line. Absent keys are missing values."""
    if not content.strip():
        raise DataError(text("{name} is empty", name=name), text("one JSON object per line"), text("check the file"))
    try:
        return _with_rows(pl.read_ndjson(content, infer_schema_length=None), name)
    except (pl.exceptions.PolarsError, ValueError) as error:
        reason = str(error)
    for number, line in enumerate(content.split(b"\n"), start=1):
        if not line.strip():
            continue
        try:
            entry = json.loads(line)
        except ValueError as error:
            raise DataError(
                text("line {line} of {name} is not JSON: {reason}", line=number, name=name, reason=str(error)),
                text("one JSON object per line"),
                text("correct the line"),
            ) from None
        if not isinstance(entry, dict):
            shown = line[:60].decode("utf-8", "replace")
            raise DataError(
                text("line {line} of {name} holds no JSON object: {shown!r}", line=number, name=name, shown=shown),
                text("one JSON object per line, such as {example}", example='{"age": 39, "income": "<=50K"}'),
                text("write each row as an object of its own"),
            )  # fmt: skip
    raise DataError(
        text("{name} cannot be read as JSON lines: {reason}", name=name, reason=reason.splitlines()[0]),
        text("one JSON object per line, with values of the same type under the same key"),
        text("save it as CSV or Parquet"),
    )


def _with_rows(frame: pl.DataFrame, name: Text | str) -> pl.DataFrame:
    if not frame.height or not frame.width:
        raise DataError(
            text("{name} has {columns} columns and no rows", name=name, columns=frame.width),
            text("a table with rows"),
            text("check the file"),
        )
    return frame


# -- frames --------------------------------------------------------------------------------------------------------------------------


def _is_pandas(value: Any) -> bool:
    return type(value).__module__.split(".")[0] == "pandas" and hasattr(value, "columns") and hasattr(value, "dtypes")


def _frame_of(source: Any) -> pl.DataFrame:
    """A polars frame with the same values; the user's own is never changed."""
    if isinstance(source, pl.LazyFrame):
        source = source.collect()
    if not isinstance(source, pl.DataFrame):
        if _is_pandas(source):
            source = _from_pandas(source)
        elif hasattr(source, "__arrow_c_stream__"):
            source = pl.DataFrame(source)
        else:
            raise DataError(
                text("a {type} is no table", type=type(source).__name__),
                text("a path, or a polars or pandas frame"),
                text("convert it: polars.DataFrame(...)"),
            )
    return _with_rows(source, text("the frame"))


def _from_pandas(frame: Any) -> pl.DataFrame:
    """Column by column and without pyarrow, which pandas' own conversion asks for."""
    columns: list[pl.Series] = []
    names: list[str] = []
    for position in range(len(frame.columns)):
        label, series = frame.columns[position], frame.iloc[:, position]
        names.append("_".join(map(str, label)) if isinstance(label, tuple) else str(label))
        dtype = str(series.dtype)
        missing = series.isna()
        if series.dtype.__class__.__module__.startswith("numpy") and series.dtype.kind in "biuf":
            values = pl.Series(series.to_numpy())
        elif dtype.startswith("datetime64"):
            moments = series.dt.tz_localize(None) if getattr(series.dtype, "tz", None) is not None else series
            values = pl.Series(moments.to_numpy().astype("datetime64[us]"))
        elif dtype.startswith("timedelta64"):
            values = pl.Series(series.to_numpy().astype("timedelta64[us]"))
        else:  # texts, categories, pandas' own nullable types, Python objects
            entries = [None if absent else entry for entry, absent in zip(series.tolist(), missing.tolist(), strict=True)]
            values = _series_of(entries)
        columns.append(values)
    return pl.DataFrame([column.alias(str(index)) for index, column in enumerate(columns)]).pipe(_renamed, names)


def _renamed(frame: pl.DataFrame, names: list[str]) -> pl.DataFrame:
    taken: list[str] = []
    for name in names:
        candidate, count = name, 1
        while candidate in taken:
            count += 1
            candidate = f"{name} ({count})"
        taken.append(candidate)
    frame.columns = taken
    return frame


def _series_of(entries: list[Any]) -> pl.Series:
    """Typed where all entries agree, else texts: what is mixed is decided where column kinds are."""
    kinds = {type(entry) for entry in entries if entry is not None}
    if kinds and kinds <= {int, float}:
        return pl.Series(entries, dtype=pl.Float64, strict=False)
    if len(kinds) == 1:
        try:
            return pl.Series(entries)
        except (TypeError, pl.exceptions.PolarsError):
            pass
    return pl.Series([None if entry is None else str(entry) for entry in entries], dtype=pl.String)


def _distinct(frame: pl.DataFrame) -> pl.DataFrame:
    """Names without blanks around them, as in text files."""
    stripped = [name.strip() or f"column_{index}" for index, name in enumerate(frame.columns)]
    return frame if stripped == frame.columns else _renamed(frame.clone(), stripped)
