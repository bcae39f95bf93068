"""What the texts of a table mean: missing values, numbers in several notations, dates in several formats, truth values.

Everything here works on whole columns and is used twice: to find out what a column is, and to read it again in new data.
"""

from __future__ import annotations

import re

import numpy as np
import polars as pl

# Texts that stand for "no value" wherever they are met (those of pandas, and "?" of the UCI repository).
MISSING = frozenset(
    ["", "?", "NA", "N/A", "n/a", "#N/A", "#NA", "#N/A N/A", "<NA>", "nan", "NaN", "NAN", "-nan", "-NaN", "null", "NULL", "Null", "None",
     "NaT", "1.#QNAN", "-1.#IND", "#VALUE!", "#DIV/0!", "#REF!", "#NULL!"]
)  # fmt: skip
# In a target of texts, these could be the name of a class; the others can only be the trace of a missing value.
MISSING_IN_LABELS = frozenset(["", "?", "nan", "NaN", "NAN", "-nan", "-NaN", "#N/A", "<NA>", "NaT", "#N/A N/A"])
# Among numbers and dates these mean the same; elsewhere they may be a level of their own.
MISSING_AMONG_NUMBERS = MISSING | frozenset(
    ["-", "--", "---", ".", "..", "...", "…", "—", "–", "*", "na", "none", "missing", "Missing", "unknown", "Unknown", "UNKNOWN", "N.A.",
     "n.a.", "not available", "无", "缺失", "空", "未知", "不详", "暂无"]
)  # fmt: skip

_BLANKS = " \t\n\r\f\v\u00a0\u3000\ufeff"
TRUE_AND_FALSE = (
    ("true", "false"), ("yes", "no"), ("t", "f"), ("y", "n"), ("on", "off"), ("是", "否"), ("对", "错"), ("有", "无"), ("真", "假"),
)  # fmt: skip


def stripped(values: pl.Series) -> pl.Series:
    """Texts without blanks around them."""
    return values.str.strip_chars(_BLANKS)


def without(values: pl.Series, texts: frozenset[str]) -> pl.Series:
    """The series with `texts` as missing values."""
    return values.set(values.is_in(list(texts)), None) if values.len() else values


def as_text(values: pl.Series) -> pl.Series:
    """Any column as texts, the same text for the same value whatever its type: 2, 2.0 and "2" are "2"."""
    dtype = values.dtype
    if dtype == pl.String:
        return stripped(values)
    if dtype == pl.Boolean:
        return values.cast(pl.String)
    if dtype.is_float():
        numbers = values.cast(pl.Float64)
        whole = (numbers == numbers.round(0)) & (numbers.abs() < 2.0**53)
        texts = numbers.cast(pl.String)
        integers = numbers.cast(pl.Int64, strict=False).cast(pl.String)
        return integers.zip_with(whole.fill_null(False), texts).set(numbers.is_nan().fill_null(False), None)
    return values.cast(pl.String, strict=False)


# -- numbers -------------------------------------------------------------------------------------------------------------------------

# "plain": 1234.5 or 1.2e3; "grouped": 1,234.5, $5, 12%; "comma": 1.234,5
_GROUPED = r"^[-+−]?\s*[$€£¥￥]?\s*[-+−]?(\d{1,3}([, ]\d{3})+|\d+)(\.\d+)?\s*[%％€元]?$"
_COMMA = r"^[-+−]?\s*[$€£¥￥]?\s*[-+−]?(\d{1,3}([. ]\d{3})+|\d+)(,\d+)?\s*[%％€元]?$"
_ONE_COMMA = r"^[^,]*,[^,.]*$"
_DECORATION = r"[$€£¥￥%％元\s]"


def number_notation(distinct: pl.Series, decimal_comma: bool = False) -> tuple[str, pl.Series]:
    """(notation, the texts among `distinct` that are no numbers in it): the notation that reads most of them."""
    left = distinct.filter(distinct.cast(pl.Float64, strict=False).is_null())
    best = ("plain", left)
    if not left.len():
        return best
    order = ("comma", "grouped") if decimal_comma else ("grouped", "comma")
    for notation in order:
        wrong = distinct.filter(parse_numbers(distinct, notation).is_null())
        # "1,5" cannot be grouped; "1,234" can be either, and is what the file's delimiter makes likely
        if wrong.len() < best[1].len():
            best = (notation, wrong)
    return best


def parse_numbers(values: pl.Series, notation: str) -> pl.Series:
    """Stripped texts as Float64; what is no number in this notation becomes null."""
    if notation == "plain":
        return values.cast(pl.Float64, strict=False)
    fits = values.str.contains(_GROUPED if notation == "grouped" else _COMMA)
    bare = values.str.replace_all(_DECORATION, "").str.replace_all("−", "-")
    if notation == "grouped":
        bare = bare.str.replace_all(",", "", literal=True)
    else:
        bare = bare.str.replace_all(".", "", literal=True).str.replace_all(",", ".", literal=True)
    plain = values.cast(pl.Float64, strict=False) if notation == "grouped" else None
    numbers = bare.cast(pl.Float64, strict=False)
    parsed = numbers.set(~fits.fill_null(False), None)
    return parsed if plain is None else parsed.zip_with(plain.is_null(), plain)


# -- dates ---------------------------------------------------------------------------------------------------------------------------

_TIME = r"(?:[T\s]+(\d{1,2}):(\d{2})(?::(\d{2})(?:[.,]\d+)?)?\s*([AaPp][Mm])?\s*(?:Z|UTC|GMT|[+-]\d{2}:?\d{2})?)?$"
_YEAR_FIRST = r"^(\d{4})\s*[-/.年]\s*(\d{1,2})(?:\s*[-/.月]\s*(\d{1,2})\s*日?|\s*月)?" + _TIME
_YEAR_LAST = r"^(\d{1,2})[-/.](\d{1,2})[-/.](\d{4}|\d{2})" + _TIME
_DAY_NAME = r"^(?:[A-Za-z]{3,9},?\s+)?"
_DAY_MONTH_NAME = _DAY_NAME + r"(\d{1,2})(?:st|nd|rd|th)?[-\s]+([A-Za-z]{3,9})\.?,?[-\s]+(\d{4}|\d{2})" + _TIME
_MONTH_NAME_DAY = r"^([A-Za-z]{3,9})\.?\s+(\d{1,2})(?:st|nd|rd|th)?,?\s+(\d{4})" + _TIME
_COMPACT = r"^((?:19|20)\d{2})(\d{2})(\d{2})(?:\.0)?$"
_MONTHS = {
    name: number for number, name in enumerate(["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"], 1)
}
DATE_FORMATS = {  # name -> (pattern, which groups are year, month, day)
    "year_first": (_YEAR_FIRST, (1, 2, 3)),
    "day_first": (_YEAR_LAST, (3, 2, 1)),
    "month_first": (_YEAR_LAST, (3, 1, 2)),
    "day_month_name": (_DAY_MONTH_NAME, (3, 2, 1)),
    "month_name_day": (_MONTH_NAME_DAY, (3, 1, 2)),
    "compact": (_COMPACT, (1, 2, 3)),
}
_COULD_BE_DATE = re.compile(r"\d{4}\s*[-/.年]\s*\d|\d[-/.]\d{1,2}[-/.]\d|[A-Za-z]{3}.*\d{2}|^\d{8}$")
_LONGEST_DATE = 64  # characters; "Wednesday, 30th September 2024 11:59:59.123456 PM +00:00" has 57
_COMPACT_FIRST, _COMPACT_LAST = 19000101, 21001231


def date_formats(distinct: pl.Series) -> tuple[tuple[str, ...], pl.Series, bool]:
    """(formats in the order in which to try them, texts among `distinct` that none reads, whether day and month could be exchanged)."""
    sample = distinct.head(20).to_list()
    if sum(len(value) <= _LONGEST_DATE and bool(_COULD_BE_DATE.search(value)) for value in sample) < 0.5 * len(sample):
        return (), distinct, False
    read = {name: parse_date_format(distinct, name).is_not_null() for name in DATE_FORMATS if name != "compact"}
    counts = {name: int(found.sum() or 0) for name, found in read.items()}
    ambiguous = counts["day_first"] == counts["month_first"] > 0
    if ambiguous:  # dots are written where the day comes first, slashes more often where the month does
        dots = int(distinct.str.contains(r"^\d{1,2}\.\d{1,2}\.").sum() or 0)
        counts["month_first" if dots > distinct.len() / 2 else "day_first"] -= 1
    order = tuple(sorted((name for name in counts if counts[name] > 0), key=lambda name: -counts[name]))
    if not order:
        return (), distinct, False
    left = distinct.filter(parse_dates(distinct, order).is_null())
    used: list[str] = []
    open_ = pl.Series([True] * distinct.len())
    for name in order:  # formats that add nothing are forgotten: "day_first" reads what "month_first" cannot
        if (read[name] & open_).any():
            used.append(name)
            open_ = open_ & ~read[name]
    return tuple(used), left, ambiguous


def are_compact_dates(distinct: pl.Series) -> bool:
    """Whether whole numbers are dates written YYYYMMDD: all of them valid, and several."""
    low, high = distinct.min(), distinct.max()
    if distinct.len() < 3 or not isinstance(low, (int, float)) or not isinstance(high, (int, float)):
        return False
    if low < _COMPACT_FIRST or high > _COMPACT_LAST:
        return False
    return parse_date_format(distinct.cast(pl.Int64).cast(pl.String), "compact").null_count() == 0


def parse_dates(values: pl.Series, formats: tuple[str, ...]) -> pl.Series:
    """Stripped texts as Datetime("us"): each value in the first of the formats that reads it, null where none does."""
    result = pl.Series([None] * values.len(), dtype=pl.Datetime("us"))
    for name in formats:
        parsed = parse_date_format(values, name)
        result = result.zip_with(result.is_not_null(), parsed)
    return result


def parse_date_format(values: pl.Series, name: str) -> pl.Series:
    pattern, (year_group, month_group, day_group) = DATE_FORMATS[name]
    groups = values.str.extract_groups(pattern).struct.unnest()

    def numbers(group: int, missing: int) -> np.ndarray:
        if group > groups.width:
            return np.full(values.len(), missing)
        return groups.to_series(group - 1).cast(pl.Int64, strict=False).fill_null(missing).to_numpy()

    years, days = numbers(year_group, -1), numbers(day_group, 1)
    if "month_name" in name or "name_day" in name:
        names = groups.to_series(month_group - 1).str.to_lowercase().str.slice(0, 3)
        months = names.replace_strict(_MONTHS, default=0, return_dtype=pl.Int64).fill_null(0).to_numpy()
    else:
        months = numbers(month_group, 0)
    years = np.where((years >= 0) & (years < 100), np.where(years < 69, years + 2000, years + 1900), years)
    hours, minutes, seconds = numbers(4, 0), numbers(5, 0), numbers(6, 0)
    if groups.width >= 7:
        half = groups.to_series(6).str.to_lowercase()
        hours = np.where((half == "pm").fill_null(False).to_numpy() & (hours < 12), hours + 12, hours)
        hours = np.where((half == "am").fill_null(False).to_numpy() & (hours == 12), 0, hours)
    first = (np.clip(years, 1, 9999) - 1970) * 12 + np.clip(months, 1, 12) - 1
    month_start = first.astype("datetime64[M]").astype("datetime64[D]")
    length = ((first + 1).astype("datetime64[M]").astype("datetime64[D]") - month_start).astype(np.int64)
    valid = (years > 0) & (months >= 1) & (months <= 12) & (days >= 1) & (days <= length)
    valid &= (hours < 25) & (minutes < 60) & (seconds < 61)
    moments = (month_start + (days - 1)).astype("datetime64[s]") + (hours * 3600 + minutes * 60 + seconds).astype("timedelta64[s]")
    return pl.Series(moments.astype("datetime64[us]")).set(pl.Series(~valid), None)


# -- truth values --------------------------------------------------------------------------------------------------------------------


def truth_pair(distinct: pl.Series) -> tuple[str, str] | None:
    """The pair of words ("yes", "no") that all of `distinct` are, in any case; both must occur."""
    if distinct.len() > 6:
        return None
    words = {str(value).lower() for value in distinct.to_list()}
    return next((pair for pair in TRUE_AND_FALSE if words == set(pair)), None)


def parse_truth(values: pl.Series, pair: tuple[str, str]) -> pl.Series:
    """Stripped texts as Boolean; other words become null."""
    lowered = values.str.to_lowercase()
    return lowered.replace_strict({pair[0]: True, pair[1]: False}, default=None, return_dtype=pl.Boolean)
