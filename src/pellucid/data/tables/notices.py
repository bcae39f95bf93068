"""What a person should know about the columns of their table before they trust a result: one notice per matter, not per column."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from pellucid.core.language import Text, text
from pellucid.core.records import Notice
from pellucid.data.tables.columns import Column

_SHOWN = 8  # columns named in one sentence
_MOSTLY = 0.5  # missing from here on is worth a notice


def column_notices(columns: Mapping[str, Column]) -> list[Notice]:
    """Notices about columns that are left out, and about values that were read in a way that could be wrong."""
    notices: list[Notice] = []
    for kind, applies, say in _MATTERS:
        concerned = [column for column in columns.values() if applies(column)]
        if concerned:
            names = [repr(column.name) for column in concerned[:_SHOWN]]
            if len(concerned) > _SHOWN:
                names.append("...")
            notices.append(
                Notice(
                    kind=kind,
                    summary=say(concerned, names),
                    where=concerned[0].name,
                    evidence={"columns": [column.name for column in concerned]},
                )
            )
    return notices


def reasons_for_dropping(columns: Mapping[str, Column]) -> list[Text]:
    """Why each unused column is not used."""
    words = {
        "identifier": text("has a different value in nearly every row"),
        "constant": text("has one value"),
        "nested": text("holds lists or records"),
    }
    return [
        text(
            "{name!r} {why}",
            name=column.name,
            why=text("is empty") if column.kind == "constant" and not column.distinct else words[column.kind],
        )
        for column in columns.values()
        if not column.used
    ]


def _identifiers(concerned: list[Column], names: list[str]) -> Text:
    return text("left out, because nearly every row has its own value (an identifier): {names}", names=names)


def _constants(concerned: list[Column], names: list[str]) -> Text:
    return text("left out, because the value is the same in every row: {names}", names=names)


def _empty(concerned: list[Column], names: list[str]) -> Text:
    return text("left out, because there is no value in any row: {names}", names=names)


def _nested(concerned: list[Column], names: list[str]) -> Text:
    return text("left out, because the cells hold lists or records: {names}", names=names)


def _infinite(concerned: list[Column], names: list[str]) -> Text:
    return text("{count} infinite numbers are read as missing: {names}", count=sum(column.infinite for column in concerned), names=names)


def _stray(concerned: list[Column], names: list[str]) -> Text:
    words = [repr(word) for column in concerned for word in column.also_missing][:_SHOWN]
    return text(
        "{count} values that are not of their column's kind ({words}) are read as missing: {names}",
        count=sum(column.stray for column in concerned), words=words, names=names,
    )  # fmt: skip


def _decorated(concerned: list[Column], names: list[str]) -> Text:
    return text("thousands separators, currency and per cent signs are taken off the numbers: {names}", names=names)


def _commas(concerned: list[Column], names: list[str]) -> Text:
    return text("the comma is read as the decimal sign: {names}", names=names)


def _dates(concerned: list[Column], names: list[str]) -> Text:
    month_first = "month_first" in concerned[0].date_formats
    order = text("month/day/year") if month_first else text("day/month/year")
    return text("day and month of the dates cannot be told apart; read as {order}: {names}", order=order, names=names)


def _formats(concerned: list[Column], names: list[str]) -> Text:
    return text("dates are written in several formats: {names}", names=names)


def _missing(concerned: list[Column], names: list[str]) -> Text:
    return text("more than half of the values are missing: {names}", names=names)


def _is_mostly_missing(column: Column) -> bool:
    return column.used and column.rows > 0 and column.missing > _MOSTLY * column.rows


_Matter = tuple[str, Callable[[Column], bool], Callable[[list[Column], list[str]], Text]]
_MATTERS: tuple[_Matter, ...] = (
    ("identifier_column", lambda column: column.kind == "identifier", _identifiers),
    ("constant_column", lambda column: column.kind == "constant" and column.distinct > 0, _constants),
    ("empty_column", lambda column: column.kind == "constant" and column.distinct == 0, _empty),
    ("nested_column", lambda column: column.kind == "nested", _nested),
    ("infinite_values", lambda column: column.infinite > 0, _infinite),
    ("stray_values", lambda column: column.used and column.stray > 0, _stray),
    ("decorated_numbers", lambda column: column.kind == "numeric" and column.notation == "grouped", _decorated),
    ("decimal_comma", lambda column: column.kind == "numeric" and column.notation == "comma", _commas),
    ("ambiguous_dates", lambda column: column.kind == "date" and column.ambiguous_dates, _dates),
    ("several_date_formats", lambda column: column.kind == "date" and len(column.date_formats) > 1, _formats),
    ("mostly_missing", _is_mostly_missing, _missing),
)
