"""What docs/forecasting.md says is what the code does; and both languages say the same."""

import re
from pathlib import Path

import pytest

from pellucid.core.options import BY_NAME
from pellucid.data.forecasting.preprocessing import _HORIZONS, _IN_WINDOW, LONGEST_HORIZON, QUANTILES
from pellucid.data.forecasting.reading import MOST_LEVELS

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGES = ("forecasting.md", "forecasting.zh-CN.md")


@pytest.mark.parametrize("page", PAGES)
def test_the_numbers_are_those_of_the_code(page):
    content = (DOCS / page).read_text(encoding="utf-8")
    for number in (*_HORIZONS.values(), _IN_WINDOW, LONGEST_HORIZON, MOST_LEVELS):
        assert re.search(rf"\b{number}\b", content)
    assert round(100 * (QUANTILES[-1] - QUANTILES[0])) == 95
    assert round(100 * (QUANTILES[-2] - QUANTILES[1])) == 80
    known = {f"--{name.replace('_', '-')}" for name in BY_NAME} | {"--target", "--output", "--row"}
    assert set(re.findall(r"--[a-z][a-z-]*", content)) <= known


def test_both_languages_have_the_same_code():
    english, chinese = ((DOCS / page).read_text(encoding="utf-8") for page in PAGES)
    assert [line for line in english.splitlines() if line.startswith("|--")] == [
        line for line in chinese.splitlines() if line.startswith("|--")
    ]
    assert english.count("\n## ") == chinese.count("\n## ")
    assert set(re.findall(r"`[^`\n]+`", english)) == set(re.findall(r"`[^`\n]+`", chinese))
    assert re.findall(r"\| ([0-9.]+(?: ± [0-9.]+)?)(?= \|)", english) == re.findall(r"\| ([0-9.]+(?: ± [0-9.]+)?)(?= \|)", chinese)
