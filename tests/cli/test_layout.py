"""Widths, line breaking and numbers."""

from __future__ import annotations

import math

import pytest

from pellucid.cli.layout import clock, fill, listing, number, one_line, shorten, width_of, wrap


@pytest.mark.parametrize(
    ("line", "columns"),
    [("", 0), ("abc", 3), ("训练", 4), ("训练 fit", 8), ("，。", 4), ("e\u0301", 1), ("a\u200bb", 2), ("━━", 2), ("ﬁ", 1)],
)
def test_width(line: str, columns: int) -> None:
    assert width_of(line) == columns
    assert width_of(fill(line, 12)) == 12


@pytest.mark.parametrize("columns", [10, 16, 23, 40, 80])
@pytest.mark.parametrize(
    "sentence",
    [
        "one short word after another, and no end of them in sight",
        "训练集和验证集的损失都很低，而且彼此接近；没有看到过拟合，也没有看到欠拟合。",
        "在表格、图像文件夹或内置数据集（digits、iris）上训练网络，准确率 98.3 %，95 % 置信区间 [0.972, 0.988]。",
        "first paragraph\nsecond paragraph, longer than the first one",
    ],
)
def test_wrap_keeps_every_character_and_every_limit(sentence: str, columns: int) -> None:
    lines = wrap(sentence, columns, first="* ")
    assert all(width_of(line) <= max(columns, 18) for line in lines), lines  # 18: the longest piece here, with its indent
    assert "".join("".join(lines).split()).replace("*", "", 1) == "".join(sentence.split())
    assert lines[0].startswith("* ")
    assert all(line.startswith("  ") for line in lines[1:])


@pytest.mark.parametrize("columns", range(6, 30))
def test_punctuation_is_never_first_nor_an_opening_bracket_last(columns: int) -> None:
    lines = wrap("训练集，验证集。测试集（三份）各有“名字”；都很好！", columns)
    assert not [line for line in lines if line.lstrip()[0] in "，。；：！？、）”"]
    assert not [line for line in lines if line[-1] in "（“"]


@pytest.mark.parametrize("columns", range(16, 50))
def test_an_interval_and_a_grouped_number_stay_in_one_piece(columns: int) -> None:
    lines = wrap("accuracy 0.933, 95 % interval [0.787, 0.982], with 1 234 567 parameters 共 21 300 个", columns)
    for piece in ("95 %", "[0.787, 0.982]", "1 234 567", "21 300"):
        assert sum(piece in line for line in lines) == 1
    assert " ".join(lines).replace("  ", " ").startswith("accuracy 0.933, 95 % interval [0.787, 0.982],")


def test_a_long_word_stays_whole() -> None:
    path = "/a/very/long/path/that/no/narrow/window/holds"
    assert path in wrap(f"see {path} for more", 20)


@pytest.mark.parametrize(
    ("line", "columns", "short"),
    [("abcdef", 6, "abcdef"), ("abcdefghij", 7, "abc…hij"), ("训练集验证集", 7, "训…证集"), ("训练集验证集", 12, "训练集验证集")],
)
def test_shorten(line: str, columns: int, short: str) -> None:
    cut = shorten(line, columns)
    assert width_of(cut) <= columns
    assert cut[0] == short[0]
    assert cut[-1] == short[-1]


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (0.0, "0.0000"), (0.98123, "0.9812"), (12.3456, "12.35"), (1234.5, "1234"), (0.00012345, "1.2e-4"), (2.5e7, "2.5e+7"),
        (-0.5, "-0.5000"), (math.nan, "NaN"), (math.inf, "inf"), (-math.inf, "-inf"), (None, "-"),
    ],
)  # fmt: skip
def test_number(value: float | None, written: str) -> None:
    assert number(value) == written


@pytest.mark.parametrize(
    ("seconds", "short"), [(0.44, "0:00"), (9.97, "0:10"), (59.6, "1:00"), (200.0, "3:20"), (7500.0, "2:05:00"), (math.inf, "-:--")]
)
def test_clock(seconds: float, short: str) -> None:
    assert clock(seconds) == short


def test_listing() -> None:
    assert listing(["a", "b"]).render("en") == "a, b"
    assert listing([str(i) for i in range(10)]).render("en") == "0, 1, 2, 3, 4, 5 and 4 more"
    assert listing([str(i) for i in range(7)]).render("en") == "0, 1, 2, 3, 4, 5, 6"  # "and 1 more" would be longer


def test_control_characters_of_a_file_cannot_redraw_the_terminal() -> None:
    assert one_line("a\x1b[2Jb\r\nc\x9bd") == "a [2Jb c d"
