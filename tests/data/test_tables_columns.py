"""What a column is, and what its texts mean."""

from __future__ import annotations

import datetime
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pellucid.core.errors import DataError
from pellucid.data.tables.columns import Column, infer_column, read_column
from pellucid.data.tables.notices import column_notices
from pellucid.data.tables.parsing import as_text, date_formats, number_notation, parse_dates, parse_numbers
from pellucid.data.tables.reading import read_frame

LETTERS = [f"{chr(97 + a)}{chr(97 + b)}" for a in range(26) for b in range(26)]
PROSE = [f"the {LETTERS[i]} was {LETTERS[-i]} and quite {LETTERS[3 * i % 600]}" for i in range(60)]

KINDS = [
    ("x", ["1", "2.5", "-3e4", ".5", "+7"], "numeric"),
    ("x", [" 1 ", "\u00a02", "3\u3000"], "numeric"),
    ("x", ["1", "?", "NA", "", "nan", "null", "N/A", "2", "None", "-"], "numeric"),
    ("x", ["1,234", "2,000,000", "$5", "12%", "¥7.5", "-$3"], "numeric"),
    ("x", ["12345678901234567890123", "5", "99999999999999999999"], "numeric"),
    ("x", ["inf", "1", "-inf", "2"], "numeric"),
    ("x", [str(i) for i in range(50)] + ["unknown value", "broken"], "numeric"),
    ("x", ["1", "2", "X"] * 10, "categorical"),
    ("x", ["02139", "10001", "00501"] * 5, "categorical"),
    ("x", ["yes", "No", "YES", "no"], "boolean"),
    ("x", ["是", "否", "是", ""], "boolean"),
    ("x", ["T", "F", "t"], "boolean"),
    ("x", ["true", "false", "maybe"], "categorical"),
    ("x", ["red", "green", "red", "blue"] * 3, "categorical"),
    ("x", ["NA", "red", "NA", "blue"] * 3, "categorical"),
    ("x", ["2024-01-31", "2024-02-29", "2023-12-01"], "date"),
    ("x", ["31/01/2024", "01/02/2024"], "date"),
    ("x", ["2024年1月31日", "2023年12月1日"], "date"),
    ("x", ["1949-01", "1949-02", "1949-03"], "date"),
    ("x", ["20240131", "20240229", "20231201"], "date"),
    ("x", ["Jan 31, 2024", "3 Feb 2023", "?"], "date"),
    ("x", ["2024-01-31"] * 15 + ["2024-02-01"] * 4 + ["soon"], "date"),
    ("x", ["10.5", "11.5", "2024-01-01"], "categorical"),
    ("x", PROSE, "text"),
    ("x", ["味道很好送餐也很快下次再来", "太慢了等了两个小时菜都凉了", "非常满意包装很好分量也足够"], "text"),
    ("x", LETTERS[:30], "identifier"),
    ("x", [str(i) for i in range(1, 21)], "identifier"),
    ("x", [str(i) for i in range(19, -1, -1)], "identifier"),
    ("x", [str(i) for i in range(5, 25)], "numeric"),
    ("year", [str(i) for i in range(1, 21)], "numeric"),
    ("PassengerId", [str(i * 7) for i in range(20)], "identifier"),
    ("customer_id", [str(i % 4) for i in range(20)], "numeric"),
    ("paid", [str(i * 7) for i in range(20)], "numeric"),
    ("订单编号", [str(10**20 + i) for i in range(20)], "identifier"),
    ("x", ["5", "5", "5"], "constant"),
    ("x", ["5", "5", ""], "numeric"),
    ("x", ["", "?", "NA"], "constant"),
    ("x", [True, False, None], "boolean"),
    ("x", [1, 2, 2], "numeric"),
    ("x", [1.0, float("nan"), 2.0], "numeric"),
    ("x", [datetime.date(2024, 1, 1), datetime.date(2024, 1, 2)], "date"),
    ("x", [[1], [2]], "nested"),
    ("x", [{"a": 1}, {"a": 2}], "nested"),
]


@pytest.mark.parametrize(("name", "values", "kind"), KINDS)
def test_kinds(name: str, values: list[Any], kind: str) -> None:
    column, typed = infer_column(name, pl.Series("x", values, strict=False))
    assert column.kind == kind
    assert Column.from_dict(column.to_dict()) == column
    if kind in ("numeric", "boolean", "date", "categorical", "text"):
        again = read_column(column, pl.Series("x", values, strict=False))
        assert again.to_list() == typed.to_list()  # what was understood once is understood again


@pytest.mark.parametrize(
    ("texts", "decimal_comma", "numbers"),
    [
        (["1,234.5", "$5", "12%", "-¥3", "1e3"], False, [1234.5, 5.0, 12.0, -3.0, 1000.0]),
        (["1,5", "2", "1.234,5"], False, [1.5, 2.0, 1234.5]),
        (["1,234", "5,678"], False, [1234.0, 5678.0]),
        (["1,234", "5,678"], True, [1.234, 5.678]),
        (["1,234,567", "1"], True, [1234567.0, 1.0]),
        (["\u221255,5", "3"], False, [-55.5, 3.0]),
        (["1_000", "0x10"], False, [None, None]),
    ],
)
def test_number_notations(texts: list[str], decimal_comma: bool, numbers: list[float | None]) -> None:
    notation, _ = number_notation(pl.Series(texts), decimal_comma)
    assert parse_numbers(pl.Series(texts), notation).to_list() == numbers


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=20))
def test_every_float_is_read_exactly(numbers: list[float]) -> None:
    texts = pl.Series([repr(number) for number in numbers])
    assert parse_numbers(texts, "plain").to_list() == numbers


D = datetime.datetime


@pytest.mark.parametrize(
    ("texts", "dates", "ambiguous"),
    [
        (["2024-01-31", "2024/2/1", "2024.3.4"], [D(2024, 1, 31), D(2024, 2, 1), D(2024, 3, 4)], False),
        (["2024-01-31T10:20:30Z", "2024-01-31 10:20:30.5"], [D(2024, 1, 31, 10, 20, 30)] * 2, False),
        (["2024-01-31 10:20", "2024-01-31"], [D(2024, 1, 31, 10, 20), D(2024, 1, 31)], False),
        (["31/01/2024", "01/02/2024"], [D(2024, 1, 31), D(2024, 2, 1)], False),
        (["01/31/2024", "02/01/2024"], [D(2024, 1, 31), D(2024, 2, 1)], False),
        (["01/02/2024"], [D(2024, 1, 2)], True),
        (["01.02.2024"], [D(2024, 2, 1)], True),
        (["1/2/24 11:30 PM", "1/13/99 12:05 am"], [D(2024, 1, 2, 23, 30), D(1999, 1, 13, 0, 5)], False),
        (["Jan 31, 2024", "3 Feb 2023", "5-Mar-99"], [D(2024, 1, 31), D(2023, 2, 3), D(1999, 3, 5)], False),
        (["2024年1月31日", "2024年2月"], [D(2024, 1, 31), D(2024, 2, 1)], False),
        (["2023-02-29", "2024-02-29", "2000-02-29", "1900-02-29"], [None, D(2024, 2, 29), D(2000, 2, 29), None], False),
    ],
)  # fmt: skip
def test_dates(texts: list[str], dates: list[Any], ambiguous: bool) -> None:
    formats, _, could_be_exchanged = date_formats(pl.Series(texts))
    assert parse_dates(pl.Series(texts), formats).to_list() == dates
    assert could_be_exchanged is ambiguous


@given(st.lists(st.datetimes(D(1000, 1, 1), D(9999, 12, 30)), min_size=1, max_size=10))
def test_dates_as_python_writes_them(moments: list[datetime.datetime]) -> None:
    moments = [moment.replace(microsecond=0) for moment in moments]
    for write in (datetime.datetime.isoformat, lambda moment: moment.strftime("%Y/%m/%d %H:%M:%S").zfill(19)):
        assert parse_dates(pl.Series([write(moment) for moment in moments]), ("year_first",)).to_list() == moments


@pytest.mark.parametrize(
    ("values", "texts"),
    [
        ([1, 2, None], ["1", "2", None]),
        ([1.0, 2.5, float("nan"), 1e300, -0.0], ["1", "2.5", None, "1e+300", "0"]),
        ([True, None], ["true", None]),
        ([" a ", "b"], ["a", "b"]),
    ],
)
def test_the_same_text_for_the_same_value(values: list[Any], texts: list[str | None]) -> None:
    assert as_text(pl.Series(values)).to_list() == texts


def test_notices_name_what_is_left_out_or_could_be_wrong() -> None:
    rows = 60
    frame = pl.DataFrame(
        {
            "key": LETTERS[:rows],
            "number": [str(row) for row in range(rows)],
            "same": ["a"] * rows,
            "empty": [None] * rows,
            "lists": [[1]] * rows,
            "infinite": [float("inf"), *map(float, range(rows - 1))],
            "stray": [*[str(row * 3) for row in range(rows - 1)], "broken"],
            "money": [f"${row},000" for row in range(1, rows + 1)],
            "comma": [f"{row},5" for row in range(rows)],
            "when": [f"0{1 + row % 9}/0{1 + row % 7}/2024" for row in range(rows)],
            "formats": ["2024-01-31", "3 Feb 2023"] * (rows // 2),
            "rare": [1.0, 2.0, 3.0] + [None] * (rows - 3),
            "good": [row % 7 for row in range(rows)],
            "<script>": [row % 5 for row in range(rows)],
            "y": [row % 2 for row in range(rows)],
        },
        strict=False,
    )  # fmt: skip
    samples = read_frame(frame, "y")
    found = {notice.kind: notice for notice in samples.notices}
    assert found["identifier_column"].evidence["columns"] == ["key", "number"]
    assert found["constant_column"].evidence["columns"] == ["same"]
    assert found["empty_column"].evidence["columns"] == ["empty"]
    assert found["nested_column"].evidence["columns"] == ["lists"]
    assert found["infinite_values"].where == "infinite"
    assert "'broken'" in str(found["stray_values"].summary)
    assert found["decorated_numbers"].where == "money"
    assert found["decimal_comma"].where == "comma"
    assert "month/day/year" in str(found["ambiguous_dates"].summary)
    assert found["several_date_formats"].where == "formats"
    assert found["mostly_missing"].where == "rare"
    assert samples.inputs["infinite"].null_count() == 1


def test_many_columns_make_one_notice() -> None:
    columns = {f"c{index}": Column(name=f"c{index}", kind="constant", distinct=1) for index in range(500)}
    (notice,) = column_notices(columns)
    assert "..." in str(notice.summary)
    assert len(notice.evidence["columns"]) == 500


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ({"key": LETTERS[:30]}, "'key' has a different value in nearly every row"),
        ({"a": ["x"] * 30, "b": [None] * 30}, "'a' has one value, 'b' is empty"),
    ],
)
def test_tables_of_nothing_usable_are_refused(columns: dict[str, Any], expected: str) -> None:
    with pytest.raises(DataError, match=expected):
        read_frame(pl.DataFrame({**columns, "y": [0, 1] * 15}), "y")


def test_x_that_counts_the_rows_is_learnt_from_where_there_is_nothing_else() -> None:
    samples = read_frame(pl.DataFrame({"x": range(30), "y": np.sin(np.arange(30.0))}), "y")
    assert samples.columns["x"].kind == "numeric"
    with pytest.raises(DataError, match="one column"):
        read_frame(pl.DataFrame({"y": [0, 1] * 15}), "y")


# -- columns that tell the answer ----------------------------------------------------------------------------------------------------

N = 60
DIE = [i * 7 % 6 for i in range(N)]


@pytest.mark.parametrize(
    ("column", "target", "kind"),
    [
        (["no" if i % 3 else "yes" for i in range(N)], [0 if i % 3 else 1 for i in range(N)], "equals_target"),
        ([f"{i % 3}{i % 2}" for i in range(N)], [i % 3 for i in range(N)], "determines_target"),
        ([i * 1.37 + 3 for i in range(N)], [int(i > 20) for i in range(N)], "separating_column"),
        ([i * 1.7 % 11 for i in range(N)], [i * 1.7 % 11 for i in range(N)], "equals_target"),
        ([32 + 1.8 * (i * 1.7 % 11) for i in range(N)], [i * 1.7 % 11 for i in range(N)], "equals_target"),
        ([f"k{value}" for value in DIE], [value * 1.5 for value in DIE], "determines_target"),
        ([i * 1.37 % 5 for i in range(N)], [int(i > 20) for i in range(N)], None),
        (["a" if i % 3 else "b" for i in range(N)], [i % 2 for i in range(N)], None),
        ([1e308 * (-1) ** i for i in range(N)], [i * 1.7 % 11 for i in range(N)], None),
    ],
)
def test_leaks(column: list[Any], target: list[Any], kind: str | None) -> None:
    samples = read_frame(pl.DataFrame({"x": column, "noise": [i * 0.37 % 1 for i in range(N)], "y": target}), "y")
    found = [notice for notice in samples.notices if notice.kind in ("equals_target", "determines_target", "separating_column")]
    assert [(notice.kind, notice.where) for notice in found] == ([(kind, "x")] if kind else [])
