"""Delimited text (CSV, TSV, semicolons, bars, runs of blanks) as a frame of texts: nothing is interpreted here.

polars reads the cells; the shape is checked before, on the bytes, so that a ragged line can be named and a file with stray quotation
marks is read as its author meant it.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import polars as pl

from pellucid.core.errors import DataError
from pellucid.core.language import text
from pellucid.core.records import Notice

_NEWLINE, _QUOTE = ord("\n"), ord('"')
_DELIMITERS = ("\t", ";", "|", ",")  # the order of trust: a comma is also a decimal sign and stands in sentences
_SNIFFED_BYTES = 1 << 17
_AGREEING = 0.7  # of the sniffed lines must have the same number of fields for a delimiter to be one
_NUMBER = re.compile(r"\s*[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?\s*")


@dataclass
class DelimitedTable:
    """Cells as they stand in the file."""

    frame: pl.DataFrame  # every column of type String
    delimiter: str
    header: bool  # whether the names come from the file
    notices: list[Notice] = field(default_factory=list[Notice])


@dataclass
class _Records:
    """Where the records of a text begin and end, and how many fields each has."""

    starts: np.ndarray
    ends: np.ndarray
    fields: np.ndarray


def read_delimited(content: bytes, name: str, *, header: bool = True) -> DelimitedTable:
    """The table in `content`, UTF-8 with one newline character per line end.

    Raises:
        DataError: no rows, or a row with more or fewer fields than the first one; the message names its line.
    """
    try:
        return _read_delimited(content, name, header)
    except csv.Error as error:  # a field of more than 128 KiB, which is no field
        raise DataError(
            text("{name} cannot be read as a table: {reason}", name=name, reason=str(error)),
            text("lines of fields, divided by commas, semicolons, tabulators or bars"),
            text("check the file"),
        ) from None


def _read_delimited(content: bytes, name: str, header: bool) -> DelimitedTable:
    if not content.strip():
        raise DataError(text("{name} is empty", name=name), text("a table with a line of column names and rows"), text("check the file"))
    delimiter = find_delimiter(content, name)
    if delimiter == " ":
        content, delimiter = _runs_of_blanks(content)
    notices: list[Notice] = []
    rows: list[list[str]] | None = None
    quoting = _is_well_quoted(content, delimiter)
    if not quoting:
        rows = _lenient_rows(content, delimiter)
        if rows is None:
            notices.append(
                Notice(
                    kind="plain_quotation_marks", summary=text("quotation marks in {name} enclose no fields: read as plain text", name=name)
                )
            )
    if rows is None:
        content = _without_blank_lines(content, _records(content, delimiter, quoting))
        rows_found = _records(content, delimiter, quoting)
        first = next(_parsed(content[: int(rows_found.ends[0])].decode("utf-8"), delimiter, quoting), [])
        first = _check_width(content, rows_found, first, name, delimiter)
        body = content[int(rows_found.ends[0]) + 1 :]
        frame = _polars_frame(body, delimiter, quoting, len(first)) if body else pl.DataFrame()
    else:
        first = rows[0]
        frame = pl.DataFrame({str(j): [row[j] for row in rows[1:]] for j in range(len(first))}, schema=_schema(len(first)))
    names = [field.strip() for field in first]
    if header and len(frame) and _looks_like_data(names, frame):
        header = False
        notices.append(
            Notice(
                kind="header_is_data",
                summary=text(
                    "the first line of {name} is a row of data ({values}), not of names: the columns are called {first} to {last}",
                    name=name, values=", ".join(name[:20] for name in names[:3]), first="column_0", last=f"column_{len(names) - 1}",
                ),
            )
        )  # fmt: skip
    elif not header and len(frame) and _look_like_names(names, frame):
        notices.append(
            Notice(
                kind="data_is_header",
                summary=text(
                    "the first line of {name} looks like column names ({values}) and is read as a row, because --no-header (header=False) "
                    "says so: leave that out if they are names",
                    name=name, values=", ".join(name[:20] for name in names[:3]),
                ),
            )
        )  # fmt: skip
    if not header:
        top = pl.DataFrame([[value] for value in first], schema=_schema(len(first)))
        frame = pl.concat([top, frame]) if len(frame) else top
        names = [f"column_{index}" for index in range(len(first))]
    elif not len(frame):
        raise DataError(
            text("{name} has one line: {names}", name=name, names=", ".join(names)[:200]),
            text("a line of column names and at least one row"),
            text("add rows; if this line is a row and not names, use --no-header (header=False)"),
        )
    frame.columns = _distinct_names(names, notices)
    return DelimitedTable(frame, delimiter, header, notices)


# -- the delimiter -------------------------------------------------------------------------------------------------------------------


def find_delimiter(content: bytes, name: str = "") -> str:
    """The character that divides most lines into the same number of fields, more than one; "," where none does (one column)."""
    start = content[:_SNIFFED_BYTES]
    if len(content) > len(start):
        start = start[: start.rfind(b"\n") + 1] or start
    best, best_share = ",", 0.0
    preferred = {"tsv": "\t", "tab": "\t", "psv": "|"}.get(name.lower().removesuffix(".gz").rpartition(".")[2])
    for delimiter in (*([preferred] if preferred else []), *_DELIMITERS):
        if delimiter.encode() not in start:
            continue
        share = _agreement(start, delimiter)
        if share > best_share + 1e-9:
            best, best_share = delimiter, share
    if best_share >= _AGREEING:
        return best
    if b'"' not in start and _agreement(_runs_of_blanks(start)[0], "\t") >= max(0.95, best_share):
        return " "
    return best if best_share else ","


def _agreement(content: bytes, delimiter: str) -> float:
    """The share of lines that have the commonest number of fields, 0.0 where that is one."""
    found = _records(content, delimiter, _is_well_quoted(content, delimiter))
    counts = np.bincount(found.fields[found.ends > found.starts])
    if len(counts) <= 2 and not counts[2:].sum():
        return 0.0
    return 0.0 if counts.argmax() < 2 else float(counts.max() / counts.sum())


def _runs_of_blanks(content: bytes) -> tuple[bytes, str]:
    lines = (b"\t".join(line.split()) for line in content.split(b"\n"))
    return b"\n".join(lines), "\t"


# -- the shape -----------------------------------------------------------------------------------------------------------------------


def _records(content: bytes, delimiter: str, quoting: bool) -> _Records:
    """Newlines and delimiters outside quotation marks, found on the bytes: an even number of marks stands before them."""
    data = np.frombuffer(content, dtype=np.uint8)
    newlines = np.flatnonzero(data == _NEWLINE)
    delimiters = np.flatnonzero(data == ord(delimiter))
    if quoting and (quotes := np.flatnonzero(data == _QUOTE)).size:
        newlines = newlines[np.searchsorted(quotes, newlines) % 2 == 0]
        delimiters = delimiters[np.searchsorted(quotes, delimiters) % 2 == 0]
    ends = newlines if len(data) and data[-1] == _NEWLINE else np.append(newlines, len(data))
    starts = np.concatenate([[0], ends[:-1] + 1]) if len(ends) else ends
    before = np.searchsorted(delimiters, ends)
    return _Records(starts, ends, np.diff(before, prepend=0) + 1)


def _is_well_quoted(content: bytes, delimiter: str) -> bool:
    """Whether every quotation mark opens a field, closes one, or is doubled inside one (RFC 4180)."""
    data = np.frombuffer(content, dtype=np.uint8)
    quotes = np.flatnonzero(data == _QUOTE)
    if len(quotes) % 2:
        return False
    edges = np.zeros(256, dtype=bool)
    edges[[_NEWLINE, _QUOTE, ord(delimiter)]] = True
    opening, closing = quotes[0::2], quotes[1::2]
    before = data[np.maximum(opening - 1, 0)]
    after = data[np.minimum(closing + 1, len(data) - 1)] if len(data) else closing
    return bool((edges[before] | (opening == 0)).all() and (edges[after] | (closing == len(data) - 1)).all())


def _lenient_rows(content: bytes, delimiter: str) -> list[list[str]] | None:
    """Quotation marks that only count where a field begins (blanks before it allowed); None unless all rows then fit together."""
    try:
        rows = [row for row in _parsed(content.decode("utf-8"), delimiter, True) if row and (len(row) > 1 or row[0].strip())]
    except csv.Error:
        return None
    fits = all(len(row) == len(rows[0]) for row in rows) and not any("\n" in cell for row in rows for cell in row)
    return rows if rows and fits else None


def _parsed(content: str, delimiter: str, quoting: bool) -> Iterator[list[str]]:
    style = csv.QUOTE_MINIMAL if quoting else csv.QUOTE_NONE
    return csv.reader(io.StringIO(content, newline=""), delimiter=delimiter, quoting=style, skipinitialspace=delimiter != "\t")


def _without_blank_lines(content: bytes, found: _Records) -> bytes:
    blank = found.fields == 1
    if not blank.any():
        return content
    beside = None if not blank.all() else b"\r\n"  # in a table of one column a row of spaces is a value that somebody wrote
    kept: list[bytes] = []
    start = 0
    for row in np.flatnonzero(blank).tolist():
        if not content[found.starts[row] : found.ends[row]].strip(beside):
            kept.append(content[start : found.starts[row]])
            start = int(found.ends[row]) + 1
    return b"".join([*kept, content[start:]]) if start else content


def _check_width(content: bytes, found: _Records, first: list[str], name: str, delimiter: str) -> list[str]:
    """The first row's fields; with one more, empty, where every row but the first ends in a delimiter."""
    width = len(first)
    ragged = np.flatnonzero(found.fields != width)
    if not len(ragged):
        return first
    if (found.fields[1:] == width + 1).all():
        data = np.frombuffer(content, dtype=np.uint8)
        if (data[found.ends[1:] - 1] == ord(delimiter)).all():
            return [*first, ""]
        return ["", *first]  # as R writes tables: the row names have no name
    row = int(ragged[0])
    line = content.count(b"\n", 0, int(found.starts[row])) + 1
    shown = content[found.starts[row] : found.ends[row]][:80].decode("utf-8", errors="ignore")
    raise DataError(
        text(
            "line {line} of {name} has {fields} fields and the first line has {width}: {shown!r}; {count} of {rows} lines differ",
            line=line, name=name, fields=int(found.fields[row]), width=width, shown=shown, count=len(ragged), rows=len(found.fields),
        ),
        text("the same number of fields, divided by {delimiter!r}, in every line", delimiter=delimiter),
        text("correct these lines; enclose fields that contain {delimiter!r} in double quotation marks", delimiter=delimiter),
    )  # fmt: skip


# -- the cells -----------------------------------------------------------------------------------------------------------------------


def _schema(width: int) -> dict[str, type[pl.DataType]]:
    return {str(index): pl.String for index in range(width)}


def _polars_frame(body: bytes, delimiter: str, quoting: bool, width: int) -> pl.DataFrame:
    try:
        quote, names = ('"' if quoting else None), list(_schema(width))
        frame = pl.read_csv(body, has_header=False, separator=delimiter, quote_char=quote, infer_schema=False, new_columns=names)
    except pl.exceptions.PolarsError:  # what polars finds malformed although the shape is right
        frame = None
    if frame is None or frame.width != width:
        rows = [row for row in _parsed(body.decode("utf-8"), delimiter, quoting) if row]
        frame = pl.DataFrame({str(j): [row[j] for row in rows] for j in range(width)}, schema=_schema(width))
    return frame


def _looks_like_data(names: list[str], frame: pl.DataFrame) -> bool:
    """Whether the first line is a row like those below it: its texts stand in their columns again, or it holds nothing but numbers.

    Numbers alone can be names: years, wavelengths or pixels, which rise or fall from left to right.
    """
    numbers = [float(name) for name in names if _NUMBER.fullmatch(name)]
    words = [index for index, name in enumerate(names) if name and not _NUMBER.fullmatch(name)]
    often = 1 if numbers else max(2, len(frame) // 100)  # without a number the evidence must be stronger
    for index in words:
        if (frame.to_series(index).str.strip_chars() == names[index]).sum() >= often:
            return True
    if words or not numbers:
        return False
    steps = np.diff(numbers)
    return len(numbers) < 3 or not ((steps > 0).all() or (steps < 0).all())


def _look_like_names(names: list[str], frame: pl.DataFrame) -> bool:
    """Whether the first line holds different words and no number, above a column of nothing but numbers."""
    if any(not name or _NUMBER.fullmatch(name) for name in names) or len(set(names)) < len(names):
        return False
    stripped = (values.str.strip_chars() for values in frame.get_columns())
    present = (values.filter(values != "") for values in stripped)
    return any(len(values) > 0 and values.str.contains(f"^(?:{_NUMBER.pattern})$").all() for values in present)


def _distinct_names(names: list[str], notices: list[Notice]) -> list[str]:
    """Every column gets a name of its own: an empty one its position, the second "x" becomes "x (2)"."""
    distinct: list[str] = []
    repeated: list[str] = []
    for index, name in enumerate(names):
        name = name or f"column_{index}"
        candidate, count = name, 1
        while candidate in distinct:
            count += 1
            candidate = f"{name} ({count})"
        if count > 1:
            repeated.append(name)
        distinct.append(candidate)
    if repeated:
        notices.append(
            Notice(
                kind="duplicate_columns",
                summary=text("several columns are called {names}: the later ones are read as {example!r}", names=sorted(set(repeated)),
                             example=f"{repeated[0]} (2)"),
                where=repeated[0],
            )
        )  # fmt: skip
    return distinct
