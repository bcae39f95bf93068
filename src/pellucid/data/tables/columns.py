"""What each column of a table is: numeric, boolean, categorical, date, text, identifier or constant, and how its values are read.

A column's kind is its schema: it is decided on the whole table, once, and stored with the run. Every number that is learnt from a
column (means, levels, vocabularies) comes from the training rows alone: see `column_encoding`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl

from pellucid.core.errors import DataError
from pellucid.core.language import Text, sample_name, text
from pellucid.core.records import Record
from pellucid.data.tables.parsing import (
    MISSING,
    MISSING_AMONG_NUMBERS,
    are_compact_dates,
    as_text,
    date_formats,
    number_notation,
    parse_dates,
    parse_numbers,
    parse_truth,
    stripped,
    truth_pair,
    without,
)

KINDS = ("numeric", "boolean", "categorical", "date", "text", "identifier", "constant", "nested")
USED_KINDS = ("numeric", "boolean", "categorical", "date", "text")

_STRAY_SHARE = 0.1  # of a numeric column's values may be words: they are read as missing and reported
_STRAY_WORDS = 20  # different ones
_MANY_NUMBERS = 20  # different numbers a column needs before words among them look stray rather than like further levels
_IDENTIFIER_ROWS = 10  # fewer rows cannot tell an identifier from a coincidence
_IDENTIFIER_SHARE = 0.95  # of the values must be different
_TEXT_LEVELS = 50  # up to so many different sentences are levels, unless nearly every row has its own
_TEXT_WORDS, _TEXT_CHARACTERS = 3.5, 8.0  # mean length from which a cell is prose: words, or Chinese characters
_IDENTIFIER_NAME = re.compile(
    r"(?i:(^|[\W_])(ids?|uuid|guid|index|idx|key|serial|rowid|row_?num(ber)?|no)$)|[a-z](ID|Id)$|^Unnamed: 0$"
    r"|编号|序号|学号|工号|单号|流水号|身份证"
)
_TIME_NAME = re.compile(r"year|month|day|date|time|week|hour|step|年|月|日|时间|日期", re.IGNORECASE)
_HAN = r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Hangul}]"


@dataclass(frozen=True, kw_only=True)
class Column(Record):
    """How one column is read, and what was counted when its kind was decided."""

    name: str
    kind: str  # one of KINDS
    rows: int = 0
    missing: int = 0  # of these, without a value
    distinct: int = 0  # different values
    notation: str = "plain"  # numeric, from texts: "plain", "grouped" (1,234.5 or $5 or 12 %), "comma" (1.234,5)
    date_formats: tuple[str, ...] = ()  # date, from texts: keys of column_parsing.DATE_FORMATS, in the order in which to try them
    truth_words: tuple[str, ...] = ()  # boolean, from texts: the word for true, the word for false
    also_missing: tuple[str, ...] = ()  # texts that mean "no value" in this column
    stray: int = 0  # values that are neither missing nor of the column's kind, read as missing
    infinite: int = 0  # infinite numbers, read as missing
    whole: bool = False  # numeric: all values are whole numbers
    counts_rows: bool = False  # identifier: 0, 1, 2, ... or 1, 2, 3, ... in some order
    ambiguous_dates: bool = False  # day and month could be exchanged
    words_for_missing: tuple[str, ...] = ()  # what missing values looked like, for a description

    @property
    def used(self) -> bool:
        """Whether a network sees it."""
        return self.kind in USED_KINDS


# -- what is it? ---------------------------------------------------------------------------------------------------------------------


def infer_column(name: str, values: pl.Series, *, decimal_comma: bool = False) -> tuple[Column, pl.Series]:
    """The column's kind, and its values in that kind's type: Float64, Boolean, Datetime or String."""
    dtype = values.dtype
    if dtype.is_nested() or dtype in (pl.Binary, pl.Object):
        return Column(name=name, kind="nested", rows=values.len(), missing=values.null_count()), values
    if dtype in (pl.Categorical, pl.Enum) or dtype == pl.Null:
        values = values.cast(pl.String)
    if values.dtype == pl.String:
        column, typed = _infer_from_texts(name, values, decimal_comma)
    elif dtype == pl.Boolean:
        column, typed = Column(name=name, kind="boolean"), values
    elif dtype in (pl.Date, pl.Datetime):
        column, typed = Column(name=name, kind="date"), _as_datetime(values)
    else:  # numbers, durations, times of day
        column, typed = _infer_from_numbers(name, values)
    return _settled(column, typed, values)


def _infer_from_texts(name: str, values: pl.Series, decimal_comma: bool) -> tuple[Column, pl.Series]:
    texts = stripped(values)
    distinct = texts.unique().drop_nulls()
    present = without(distinct, MISSING).drop_nulls()
    words = tuple(sorted(set(distinct.to_list()) - set(present.to_list()))) if present.len() < distinct.len() else ()
    base = Column(name=name, kind="categorical", words_for_missing=words)
    if not present.len():
        return replace(base, kind="constant"), without(texts, MISSING)
    pair = truth_pair(present)
    if pair is not None:
        column = replace(base, kind="boolean", truth_words=pair)
        return column, parse_truth(without(texts, MISSING), pair)
    numeric = _as_numeric(base, texts, present, decimal_comma) or _as_date(base, texts, present)
    return numeric if numeric is not None else (base, without(texts, MISSING))


def _as_numeric(base: Column, texts: pl.Series, present: pl.Series, decimal_comma: bool) -> tuple[Column, pl.Series] | None:
    among_numbers = without(present, MISSING_AMONG_NUMBERS).drop_nulls()
    if not among_numbers.len():
        return None
    notation, wrong = number_notation(among_numbers, decimal_comma)
    if wrong.len() == among_numbers.len() or _are_codes(among_numbers):
        return None
    also = set(present.to_list()) - set(among_numbers.to_list()) if present.len() > among_numbers.len() else set[str]()
    stray = 0
    if wrong.len():
        stray = int(texts.is_in(wrong.to_list()).sum() or 0)
        few = wrong.len() <= _STRAY_WORDS and stray <= _STRAY_SHARE * texts.len()
        if not few or among_numbers.len() - wrong.len() <= _MANY_NUMBERS:
            return None
        also |= set(wrong.to_list())
    column = replace(base, kind="numeric", notation=notation, also_missing=tuple(sorted(also)), stray=stray)
    numbers = parse_numbers(without(texts, MISSING | also), notation)
    if notation == "plain" and _may_be_compact(numbers):
        formats = ("compact",)
        return replace(column, kind="date", date_formats=formats), parse_dates(without(texts, MISSING | also), formats)
    return _finite(column, numbers)


def _as_date(base: Column, texts: pl.Series, present: pl.Series) -> tuple[Column, pl.Series] | None:
    among_dates = without(present, MISSING_AMONG_NUMBERS).drop_nulls()
    if not among_dates.len():
        return None
    formats, wrong, ambiguous = date_formats(among_dates)
    also = (set(present.to_list()) - set(among_dates.to_list())) | set(wrong.to_list())
    stray = int(texts.is_in(wrong.to_list()).sum() or 0) if wrong.len() else 0
    if not formats or wrong.len() > _STRAY_WORDS or stray > _STRAY_SHARE * texts.len() or wrong.len() * 2 >= among_dates.len():
        return None
    column = replace(
        base,
        kind="date",
        date_formats=formats,
        also_missing=tuple(sorted(also)),
        stray=stray,
        ambiguous_dates=ambiguous and not wrong.len(),
    )
    return column, parse_dates(without(texts, MISSING | also), formats)


def _are_codes(distinct: pl.Series) -> bool:
    """Postal codes and the like: digits with leading zeros are names, not numbers."""
    return bool(distinct.str.contains(r"^0\d{3,}$").any())


def _may_be_compact(numbers: pl.Series) -> bool:
    distinct = numbers.unique().drop_nulls()
    return bool(distinct.len()) and bool((distinct == distinct.round(0)).all()) and are_compact_dates(distinct)


def _infer_from_numbers(name: str, values: pl.Series) -> tuple[Column, pl.Series]:
    numbers = as_number_series(values)
    if values.dtype.is_integer() and _may_be_compact(numbers):
        formats = ("compact",)
        return Column(name=name, kind="date", date_formats=formats), parse_dates(as_text(values), formats)
    return _finite(Column(name=name, kind="numeric"), numbers)


def as_number_series(values: pl.Series) -> pl.Series:
    """A column of numbers, truth values, durations (seconds) or times of day (seconds) as Float64, NaN as null."""
    dtype = values.dtype
    if dtype == pl.Duration:
        return values.dt.total_microseconds().cast(pl.Float64) / 1e6
    if dtype == pl.Time:
        return values.cast(pl.Int64).cast(pl.Float64) / 1e9
    numbers = values.cast(pl.Float64, strict=False)
    return numbers.fill_nan(None)


def _as_datetime(values: pl.Series) -> pl.Series:
    if isinstance(values.dtype, pl.Datetime) and values.dtype.time_zone is not None:
        values = values.dt.replace_time_zone(None)
    return values.cast(pl.Datetime("us"))


def _finite(column: Column, numbers: pl.Series) -> tuple[Column, pl.Series]:
    numbers = numbers.fill_nan(None)
    infinite = numbers.is_infinite().fill_null(False)
    count = int(infinite.sum() or 0)
    if count:
        numbers = numbers.set(infinite, None)
    return replace(column, infinite=count), numbers


def _settled(column: Column, typed: pl.Series, raw: pl.Series) -> tuple[Column, pl.Series]:
    """Count, and find what no network can learn from: constants and identifiers; tell prose from levels."""
    typed = typed.alias(column.name)
    present = typed.drop_nulls()
    distinct = present.n_unique() if present.len() else 0
    column = replace(column, rows=typed.len(), missing=typed.null_count(), distinct=distinct)
    if column.kind == "numeric":
        column = replace(column, whole=bool((present == present.round(0)).all()))
    if column.whole and _is_beyond_floats(column, present, raw):
        return replace(column, kind="identifier", distinct=raw.n_unique()), typed
    if distinct == 0 or (distinct == 1 and not column.missing):
        return replace(column, kind="constant"), typed
    if column.kind == "numeric" and column.whole and _may_identify(column):
        counting = _counts_rows(column, present)
        if counting or _is_numbered(column):
            return replace(column, kind="identifier", counts_rows=counting), typed
    if column.kind == "categorical":
        return replace(column, kind=_kind_of_texts(column, present)), typed
    return column, typed


def _may_identify(column: Column) -> bool:
    return column.rows >= _IDENTIFIER_ROWS and not column.missing and not _TIME_NAME.search(column.name)


def _counts_rows(column: Column, present: pl.Series) -> bool:
    low, high = present.min(), present.max()
    return column.distinct == column.rows and low in (0.0, 1.0) and high == low + column.rows - 1  # type: ignore[operator]


def _is_numbered(column: Column) -> bool:
    """Nearly all different under a name like "id"."""
    return has_identifier_name(column.name) and column.distinct >= _IDENTIFIER_SHARE * column.rows


def _is_beyond_floats(column: Column, present: pl.Series, raw: pl.Series) -> bool:
    """Whole numbers of more than 53 bits, different in nearly every row: account numbers and the like, which no float tells apart."""
    largest = present.abs().max()
    if column.rows < _IDENTIFIER_ROWS or not isinstance(largest, float) or largest < 2.0**53:
        return False
    return raw.n_unique() >= _IDENTIFIER_SHARE * column.rows > present.n_unique()


def has_identifier_name(name: str) -> bool:
    return bool(_IDENTIFIER_NAME.search(name))


def _kind_of_texts(column: Column, present: pl.Series) -> str:
    distinct = present.unique()
    share = column.distinct / present.len()
    sample = distinct.head(2000)
    characters = sample.str.len_chars().to_numpy().astype(np.float64)
    han = sample.str.count_matches(_HAN).to_numpy().astype(np.float64)
    words = (sample.str.count_matches(r"\s+").to_numpy() + 1.0).astype(np.float64)
    chinese = han.sum() > 0.3 * characters.sum()
    prose = (han.mean() >= _TEXT_CHARACTERS) if chinese else (words.mean() >= _TEXT_WORDS)
    if prose and share > 0.05 and (column.distinct > _TEXT_LEVELS or share > 0.5):
        return "text"
    named = has_identifier_name(column.name)
    if present.len() >= _IDENTIFIER_ROWS and share >= (0.8 if named else _IDENTIFIER_SHARE):
        return "identifier"
    return "categorical"


# -- read it again -------------------------------------------------------------------------------------------------------------------


def read_column(column: Column, values: pl.Series, rows: Any = None, *, strict: bool = True) -> pl.Series:
    """New values of a known column in its kind's type.

    `rows` names the rows for messages; texts that mean "no value" are null.

    Raises:
        DataError: where `strict`, a value that is not of the column's kind; the message names the first one's row.
    """
    dtype = values.dtype
    if dtype.is_nested() or dtype in (pl.Binary, pl.Object):
        raise DataError(
            text("column {name!r} holds {type} values", name=column.name, type=str(dtype)),
            _expected(column),
            text("give plain values in this column"),
        )
    if column.kind == "date" and dtype in (pl.Date, pl.Datetime):
        return _as_datetime(values).alias(column.name)
    if column.kind == "numeric" and (dtype.is_numeric() or dtype in (pl.Boolean, pl.Duration, pl.Time)):
        return _finite(column, as_number_series(values))[1].alias(column.name)
    if column.kind == "boolean" and dtype == pl.Boolean:
        return values.alias(column.name)
    texts = as_text(values)
    missing = MISSING if column.kind in ("categorical", "text", "identifier") else MISSING_AMONG_NUMBERS
    texts = without(texts, missing | frozenset(column.also_missing))
    if column.kind == "numeric":
        typed = parse_numbers(texts, column.notation)
    elif column.kind == "date":
        typed = parse_dates(texts, column.date_formats or ("year_first",))
        if column.date_formats == () and strict and typed.null_count() > texts.null_count():
            formats = date_formats(texts.unique().drop_nulls())[0]
            typed = parse_dates(texts, formats)
    elif column.kind == "boolean":
        pair = (column.truth_words[0], column.truth_words[1]) if column.truth_words else ("true", "false")
        typed = parse_truth(texts.replace({"1": pair[0], "0": pair[1]}), pair)
    else:
        return texts.alias(column.name)
    if strict and column.kind != "boolean" and typed.null_count() > texts.null_count():
        raise _wrong_value(column, texts, typed, rows)
    if column.kind == "numeric":
        typed = _finite(column, typed)[1]
    return typed.alias(column.name)


def _expected(column: Column) -> Text:
    return {
        "numeric": text("numbers, as in the table the network was trained on"),
        "date": text("dates, as in the table the network was trained on"),
        "boolean": text("true or false, as in the table the network was trained on"),
    }.get(column.kind, text("texts or numbers, as in the table the network was trained on"))


def _wrong_value(column: Column, texts: pl.Series, typed: pl.Series, rows: Any) -> DataError:
    wrong = texts.is_not_null() & typed.is_null()
    position = int(wrong.arg_true()[0])
    return DataError(
        text(
            "column {name!r} holds {value!r} in {row}; {count} of {rows} values are not of its kind",
            name=column.name, value=str(texts[position])[:60],
            row=sample_name(rows[position] if rows is not None else f"row {position + 1}"),
            count=int(wrong.sum() or 0), rows=texts.len(),
        ),
        _expected(column),
        text("correct the value, or leave the cell empty if it is unknown"),
    )  # fmt: skip


def infer_columns(
    frame: pl.DataFrame, *, decimal_comma: bool = False, texts: tuple[str, ...] = ()
) -> tuple[dict[str, Column], pl.DataFrame]:
    """Every column's kind, and the frame with every column in its kind's type; those of `texts` are prose, whatever they hold."""
    columns: dict[str, Column] = {}
    typed: list[pl.Series] = []
    for values in frame.get_columns():
        if values.name in texts:
            column = Column(
                name=values.name, kind="text", rows=values.len(), missing=values.null_count(), distinct=values.drop_nulls().n_unique()
            )
            series = values
        else:
            column, series = infer_column(values.name, values, decimal_comma=decimal_comma)
        columns[column.name] = column
        typed.append(series)
    return columns, pl.DataFrame(typed)


def content_columns(columns: Mapping[str, Column]) -> list[str]:
    """The names of the columns in which samples that are not copies of each other may differ: all but mere row numbers."""
    return [name for name, column in columns.items() if column.kind not in ("nested", "constant") and not column.counts_rows]


def used_columns(columns: Mapping[str, Column]) -> list[str]:
    """The names of the columns that a network sees."""
    return [name for name, column in columns.items() if column.used]
