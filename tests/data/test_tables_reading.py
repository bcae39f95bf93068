"""From files and frames to rows: formats, encodings, delimiters, quotation marks; what cannot be read says why."""

from __future__ import annotations

import bz2
import datetime
import gzip
import io
import lzma
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pellucid.core.errors import DataError
from pellucid.data.tables.delimited import find_delimiter, read_delimited
from pellucid.data.tables.encodings import to_utf8
from pellucid.data.tables.files import load
from pellucid.data.tables.reading import read_frame, read_table, read_table_parts

CITIES = "city,rooms,price\n北京,3,12.5\n上海,2,11.0\n北京,1,8.25\n广州,4,7.5\n"


def written(folder: Path, content: bytes | str, name: str = "houses.csv") -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
    return path


# -- formats and encodings -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("plain.csv", CITIES.encode()),
        ("mark.csv", CITIES.encode("utf-8-sig")),
        ("utf16.csv", CITIES.encode("utf-16")),
        ("utf16be.csv", b"\xfe\xff" + CITIES.encode("utf-16-be")),
        ("gbk.csv", CITIES.encode("gbk")),
        ("gb18030.csv", CITIES.encode("gb18030")),
        ("windows.csv", CITIES.replace("\n", "\r\n").encode()),
        ("macintosh.csv", CITIES.replace("\n", "\r").encode()),
        ("tabs.tsv", CITIES.replace(",", "\t").encode()),
        ("semicolons.csv", CITIES.replace(",", ";").encode()),
        ("bars.txt", CITIES.replace(",", "|").encode()),
        ("blanks.txt", CITIES.replace(",", "   ").encode()),
        ("no_end.csv", CITIES.rstrip("\n").encode()),
        ("blank_lines.csv", CITIES.replace("\n", "\n\n").encode()),
        ("packed.csv.gz", gzip.compress(CITIES.encode("gbk"), mtime=0)),  # its test is called the same in every process
        ("packed.csv.xz", lzma.compress(CITIES.encode())),
        ("packed.csv.bz2", bz2.compress(CITIES.encode())),
        ("padded.csv", (CITIES + ",,\n,,\n").encode()),
        ("trailing.csv", CITIES.replace("\n", ",\n").replace("price,", "price").encode()),
        ("quoted.csv", CITIES.replace("北京", '"北京"').encode()),
        ("after_comma.csv", CITIES.replace(",", '", "').replace("北京\"", "北京").replace("上海\"", "上海").replace("广州\"", "广州")
         .replace("city\"", "city").replace("\n", '"\n').encode()),
        ("两 城.csv", CITIES.encode()),
    ],
)  # fmt: skip
def test_the_same_table_in_every_dress(tmp_path: Path, name: str, content: bytes) -> None:
    samples = read_table(written(tmp_path, content, name), "price")
    assert samples.inputs["city"].to_list() == ["北京", "上海", "北京", "广州"]
    assert samples.inputs["rooms"].to_list() == [3, 2, 1, 4]
    assert samples.targets is not None
    assert samples.targets[:, 0].tolist() == [12.5, 11.0, 8.25, 7.5]
    assert list(samples.identifiers) == ["row 1", "row 2", "row 3", "row 4"]
    reference = read_table(written(tmp_path, CITIES, "reference.csv"), "price")
    assert samples.hashes == reference.hashes


def test_utf16_without_a_mark() -> None:
    assert to_utf8("a,b\n1,2\n".encode("utf-16-le"), "x.csv") == b"a,b\n1,2\n"
    assert to_utf8("a,b\n1,2\n".encode("utf-16-be"), "x.csv") == b"a,b\n1,2\n"


def test_parquet_and_json_lines_give_the_same_rows(tmp_path: Path) -> None:
    frame = pl.DataFrame({"a": [1.0, 2.5, None] * 4, "b": ["x", None, "y"] * 4, "y": [1, 2, 3] * 4})
    frame.write_parquet(tmp_path / "t.parquet")
    frame.write_ndjson(tmp_path / "t.jsonl")
    frame.write_csv(tmp_path / "t.csv")
    read = [
        read_table(source, "y") for source in (tmp_path / "t.parquet", str(tmp_path / "t.jsonl"), tmp_path / "t.csv", frame, frame.lazy())
    ]
    for samples in read:
        assert samples.hashes == read[0].hashes
        assert samples.inputs["a"].to_list() == frame["a"].to_list()
        assert samples.inputs["b"].to_list() == frame["b"].to_list()


def test_pandas_frames_read_as_pandas_understands_them(tmp_path: Path) -> None:
    frame = pd.DataFrame(
        {
            "number": [1.0, np.nan, 3.0, 4.5],
            "nullable": pd.array([1, None, 3, 4], dtype="Int64"),
            "text": ["a", None, "b", "a"],
            "level": pd.Categorical(["u", "v", "u", None]),
            "flag": [True, False, True, True],
            "day": pd.to_datetime(["2024-01-01", "2024-02-03", None, "2024-05-06"]),
            ("two", "levels"): [1, 2, 3, 4],
            7: [1.5, 2.5, 3.5, 4.5],
            "y": [0.1, 0.2, 0.3, 0.4],
        }
    )
    before = frame.copy(deep=True)
    samples = read_frame(frame, "y")
    pd.testing.assert_frame_equal(frame, before)
    table = samples.inputs
    assert table.columns == ["number", "nullable", "text", "level", "flag", "day", "two_levels", "7"]
    assert table["number"].to_list() == [1.0, None, 3.0, 4.5]
    assert table["nullable"].to_list() == [1, None, 3, 4]
    assert table["text"].to_list() == ["a", None, "b", "a"]
    assert table["level"].to_list() == ["u", "v", "u", None]
    assert table["flag"].to_list() == [True, False, True, True]
    assert table["day"].to_list() == [datetime.datetime(2024, 1, 1), datetime.datetime(2024, 2, 3), None, datetime.datetime(2024, 5, 6)]


def test_arrow_tables_and_polars_types(tmp_path: Path) -> None:
    frame = pl.DataFrame(
        {
            "level": pl.Series(["u", "v", "u", "v"], dtype=pl.Categorical),
            "decimal": pl.Series(["1.5", "2.5", "3.5", "4.5"]).cast(pl.Decimal(10, 2)),
            "span": pl.Series([1_000_000, 2_000_000, 3_000_000, 4_500_000]).cast(pl.Duration("us")),
            "clock": pl.Series([datetime.time(1), datetime.time(2), datetime.time(3), datetime.time(4)]),
            "zone": pl.Series([datetime.datetime(2024, 1, day) for day in (1, 2, 3, 4)]).dt.replace_time_zone("Asia/Shanghai"),
            "list": [[1], [2], [3], [4]],
            "y": [0.5, 1.5, 2.5, 3.5],
        }
    )
    for source in (frame, frame.drop("level", "zone").to_arrow()):
        samples = read_frame(source, "y")
        assert samples.inputs["decimal"].to_list() == [1.5, 2.5, 3.5, 4.5]
        assert samples.inputs["span"].to_list() == [1.0, 2.0, 3.0, 4.5]
        assert samples.inputs["clock"].to_list() == [3600.0, 7200.0, 10800.0, 14400.0]
        assert any(notice.kind == "nested_column" for notice in samples.notices)


# -- delimited text ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "delimiter"),
    [
        ("a,b\n1,2\n", ","),
        ("a;b\n1,5;2,5\n3,5;4,5\n", ";"),
        ("a\tb\n1,5\t2,5\n", "\t"),
        ('label,text\n1,"a; b, c"\n0,"d; e"\n', ","),
        ("label,text\n1,好的，很好\n0,不行\n", ","),
        ("a|b,c|d\n1|2|3\n", "|"),
        ("price\n1\n2\n", ","),
        ("a  b   c\n1  2   3\n", " "),
        ("a,b\n1,2\n3,4\n5,6\n7\n", ","),
        ("text\nno, commas here\nor two, three, four\nnone\n", ","),
    ],
)
def test_delimiters_are_found(content: str, delimiter: str) -> None:
    assert find_delimiter(content.encode()) == delimiter


cells = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"], exclude_characters="\x00\r\ufeff"), max_size=8)


@given(st.data())
def test_whatever_python_writes_is_read_back(data: st.DataObject) -> None:
    """Quoted newlines, doubled quotation marks, delimiters in cells: the csv module is the oracle."""
    import csv

    width = data.draw(st.integers(2, 4))
    rows = data.draw(st.lists(st.lists(cells, min_size=width, max_size=width), min_size=1, max_size=6))
    delimiter = data.draw(st.sampled_from(",;\t|"))
    buffer = io.StringIO()
    writer = csv.writer(buffer, delimiter=delimiter, quoting=csv.QUOTE_ALL, lineterminator="\n")
    names = [f"name{index}" for index in range(width)]
    writer.writerows([names, *rows])
    table = read_delimited(buffer.getvalue().encode("utf-8"), "x.csv")
    assert table.frame.columns == names
    assert [["" if cell is None else cell for cell in row] for row in table.frame.iter_rows()] == rows


@pytest.mark.parametrize(
    ("content", "expected", "kind"),
    [
        ('kind\ttext\nham\tsay "hi\nspam\t"half\nham\tends"\n', [('say "hi',), ('"half',), ('ends"',)], "plain_quotation_marks"),
        ('size,pipe\n1,5" pipe\n2,plain\n3,7" pipe\n', [('5" pipe',), ("plain",), ('7" pipe',)], None),
        ('a,b\n1,"x\ny"\n2,"p""q"\n', [("x\ny",), ('p"q',)], None),
    ],
)
def test_stray_quotation_marks(content: str, expected: list[tuple[str]], kind: str | None) -> None:
    table = read_delimited(content.encode(), "x.tsv")
    assert table.frame.select(table.frame.columns[1]).rows() == expected
    assert [notice.kind for notice in table.notices] == ([kind] if kind else [])


@pytest.mark.parametrize(
    ("content", "names"),
    [
        ("a,a,b\n1,2,3\n4,5,6\n", ["a", "a (2)", "b"]),
        (",a\n0,x\n1,y\n", ["column_0", "a"]),
        (" age , <script> \n1,2\n3,4\n", ["age", "<script>"]),
        ("年龄,收入 水平\n1,2\n3,4\n", ["年龄", "收入 水平"]),
        ("x y\n1 2\n", ["x", "y"]),
        ("a,b\n0,1,2\n1,3,4\n", ["column_0", "a", "b"]),
    ],
)
def test_names(content: str, names: list[str]) -> None:
    assert read_delimited(content.encode(), "x.csv").frame.columns == names


@pytest.mark.parametrize(
    ("content", "is_data"),
    [
        ("5.1,3.5,setosa\n4.9,3.0,setosa\n6.1,3.2,virginica\n", True),
        ("6,148,72\n1,85,66\n8,183,64\n", True),
        ("ham,hello there\nspam,win\nham,hi\nham,ok\n", True),
        ("name,2019,2020\nx,1,2\ny,3,4\n", False),
        ("400.5,401.0,401.5\n1,2,3\n4,5,6\n", False),
        ("age,income\n30,1\n40,0\n", False),
        ("a,b\na,1\nc,2\nd,3\ne,4\n", False),
    ],
)
def test_a_first_line_of_data_is_not_lost(content: str, is_data: bool) -> None:
    table = read_delimited(content.encode(), "x.csv")
    lines = content.count("\n")
    assert table.header is not is_data
    assert table.frame.height == (lines if is_data else lines - 1)
    assert [notice.kind for notice in table.notices] == (["header_is_data"] if is_data else [])
    assert read_delimited(content.encode(), "x.csv", header=False).frame.height == lines


@pytest.mark.parametrize(
    ("content", "suspected"),
    [
        ("age,income\n30,1\n40,0\n", True),
        ("name,age\nx,1\ny,\nz,3.5\n", True),
        ("age,age\n30,1\n40,0\n", False),
        ("x,age\ny,old\nz,3\n", False),  # the column below holds words too
        ("5.1,3.5,setosa\n4.9,3.0,setosa\n", False),
        ("setosa,virginica\nsetosa,versicolor\n", False),
    ],
)
def test_a_forgotten_line_of_names_is_suspected(content: str, suspected: bool) -> None:
    """--no-header is believed, and what it probably loses is said."""
    table = read_delimited(content.encode(), "x.csv", header=False)
    assert table.frame.height == content.count("\n")
    assert [notice.kind for notice in table.notices] == (["data_is_header"] if suspected else [])


# -- what cannot be read -------------------------------------------------------------------------------------------------------------

RAGGED = "a,b,c\n1,2,3\n4,5\n6,7,8\n9,10,11,12\n"
BAD_FILES = {
    "empty": (b"", "x.csv", ["empty"]),
    "only blanks": (b" \n\n", "x.csv", ["empty"]),
    "header only": (b"a,b,c\n", "x.csv", ["one line", "a, b, c", "--no-header"]),
    "ragged": (RAGGED.encode(), "x.csv", ["line 3", "2 fields", "3", "'4,5'", "2 of 5 lines"]),
    "ragged after a quoted newline": (b'a,b\n"x\ny",2\n3\n', "x.csv", ["line 4", "1 fields"]),
    "zeros": (b"a,b\n\x00\x01\x02,3\n", "x.csv", ["binary", "byte 5"]),
    "workbook": (b"PK\x03\x04rest", "x.csv", ["Excel workbook", "save the sheet as CSV"]),
    "picture": (b"\x89PNG\r\n\x1a\n", "x.csv", ["an image"]),
    "pickle": (b"\x80\x04\x95\x00", "x.csv", ["pickle", "never opens"]),
    "torn parquet": (b"PAR1" + b"\x00" * 40, "x.parquet", ["Parquet", "complete"]),
    "text named parquet": (b"a,b\n1,2\n", "x.parquet", ["Parquet"]),
    "torn gzip": (gzip.compress(CITIES.encode() * 50)[:60], "x.csv.gz", ["torn"]),
    "torn xz": (lzma.compress(CITIES.encode() * 50)[:80], "x.csv.xz", ["torn"]),
    "no gzip inside": (b"\x1f\x8bnonsense", "x.csv.gz", ["torn"]),
    "western": ("name,y\nJosé Müller,1\nZoë,2\n".encode("latin-1"), "x.csv", ["not UTF-8", "0xE9", "line 2", "Windows-1252", "iconv"]),
    "western that decodes as Chinese": ("name,y\nMüller,1\nKröger,2\n".encode("latin-1"), "x.csv", ["not UTF-8", "line 2"]),
    "Japanese": ("name,y\nカタカナと漢字,1\nひらがなの文,2\n".encode("shift_jis"), "x.csv", ["not UTF-8", "line 2"]),
    "torn UTF-16": (CITIES.encode("utf-16")[:-1], "x.csv", ["UTF-16"]),
    "JSON lines": (b'{"a": 1}\n{"a": \n', "x.jsonl", ["line 2", "JSON"]),
    "JSON lists": (b'{"a": 1}\n[1, 2]\n', "x.jsonl", ["line 2", "object"]),
    "one JSON document": (b'[{"a": 1, "y": 2}]', "x.json", ["one JSON document", "lines=True"]),
    "empty JSON lines": (b" \n", "x.jsonl", ["empty"]),
    "one endless field": (b"a" * 200_000 + b"\n1\n", "x.csv", ["cannot be read as a table", "field limit"]),
    "no rows": (None, "x.parquet", ["no rows"]),
}


@pytest.mark.parametrize("case", BAD_FILES)
def test_bad_files_are_refused_with_numbers_and_a_remedy(tmp_path: Path, case: str) -> None:
    content, name, words = BAD_FILES[case]
    path = tmp_path / name
    if content is None:
        pl.DataFrame({"a": pl.Series([], dtype=pl.Int64)}).write_parquet(path)
    else:
        path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        read_table(path, 0)
    message = str(caught.value)
    assert caught.value.expected
    assert caught.value.do
    for word in words:
        assert word in message
    assert ".csv" not in name or name in message


def test_big5_is_named() -> None:
    with pytest.raises(DataError, match="BIG5"):
        to_utf8("姓名,值\n陳大文說話難嗎體驗,1\n".encode("big5"), "x.csv")


def test_missing_files_suggest_their_neighbours(tmp_path: Path) -> None:
    written(tmp_path, CITIES, "houses.csv")
    with pytest.raises(DataError, match=r"did you mean 'houses\.csv'"):
        load(tmp_path / "house.csv")
    with pytest.raises(DataError, match="folder does not exist"):
        load(tmp_path / "nowhere" / "x.csv")
    with pytest.raises(DataError, match="is a folder"):
        load(tmp_path)
    (tmp_path / "link.csv").symlink_to("gone.csv")
    with pytest.raises(DataError, match=r"link to a file that does not exist: gone\.csv"):
        load(tmp_path / "link.csv")
    if Path("/dev/zero").exists():  # Windows has none
        with pytest.raises(DataError, match="is no file but a device"):
            load("/dev/zero")
    with pytest.raises(DataError, match="no table"):
        load(object())


# -- parts that the user has split ---------------------------------------------------------------------------------------------------


def test_two_files_become_one_table_with_its_parts(tmp_path: Path) -> None:
    train = written(tmp_path, "x,colour,y\n1,red,no\n2,blue,yes\n3,red,no\n4,blue,yes\n", "train.csv")
    test = written(tmp_path, "colour,y,x\nred,no.,1.5\ngreen,Yes.,2.5\n", "test.csv")
    samples = read_table_parts({"train": (train, "y"), "test": (test, "y")})
    assert samples.task is not None
    assert samples.task.classes == ("no", "yes")
    assert samples.targets is not None
    assert samples.targets.tolist() == [0, 1, 0, 1, 0, 1]
    assert samples.fixed_parts is not None
    assert samples.fixed_parts.tolist() == ["train"] * 4 + ["test"] * 2
    assert samples.inputs["x"].to_list() == [1, 2, 3, 4, 1.5, 2.5]
    assert samples.identifiers[4] == "test.csv row 1"
    assert "renamed_labels" in [notice.kind for notice in samples.notices]


def test_classes_are_those_of_the_training_part() -> None:
    train = pl.DataFrame({"x": range(20), "y": ["a", "b"] * 10})
    test = pl.DataFrame({"x": range(20), "y": ["a", "b"] * 9 + ["a", "c"]})
    samples = read_table_parts({"train": (train, "y"), "test": (test, "y")})
    assert len(samples) == 39
    assert [item.identifier for item in samples.quarantined] == ["test row 20"]
    assert "'c'" in str(samples.quarantined[0].reason)


def test_parts_with_other_columns_are_refused() -> None:
    train = pl.DataFrame({"age": [1, 2], "y": [1.5, 2.5]})
    with pytest.raises(DataError, match=r"no column 'age'.*\n.*\n.*did you mean 'Age'"):
        read_table_parts({"train": (train, "y"), "test": (train.rename({"age": "Age"}), "y")})
