"""What docs/images.md says is what the code does: names, defaults, sizes; and both languages say the same."""

import re
from pathlib import Path

import pytest

from pellucid.data.images.named import DATA_DIR_VARIABLE, NAMED_IMAGES
from pellucid.data.images.reading import LARGEST_SIDE
from pellucid.data.splitting import AUTOMATIC_LIMITS
from pellucid.training.augmentation import CUTOUT_FRACTION, MIXUP_ALPHA, OF_IMAGES, SHIFT_FRACTION, build_augmentation

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGES = ("images.md", "images.zh-CN.md")


@pytest.mark.parametrize("page", PAGES)
def test_the_tables_are_those_of_the_code(page):
    content = (DOCS / page).read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([a-z0-9_-]+)` \| (.*?) \|(.*?)\|$", content, flags=re.MULTILINE)
    assert [name for name, _, _ in rows] == [*NAMED_IMAGES, *OF_IMAGES]
    for (_, images, parts), found in zip(rows, NAMED_IMAGES.values(), strict=False):
        assert images.startswith(" x ".join(map(str, found.layout.shape)))
        assert {f"{found.layout.train:,}", f"{found.layout.test:,}"} <= set(re.findall(r"[\d,]+\d", parts))
    assert f"{AUTOMATIC_LIMITS['validation']:,}" in content
    assert DATA_DIR_VARIABLE in content
    assert f"{LARGEST_SIDE} " in content
    assert str(MIXUP_ALPHA) in content
    assert (SHIFT_FRACTION, CUTOUT_FRACTION) == (1 / 8, 1 / 4)  # in words on the page
    for given in re.findall(r"--augment ([a-z_:,0-9]+)", content):
        build_augmentation(given, (3, 32, 32))


def test_both_languages_have_the_same_code():
    english, chinese = ((DOCS / page).read_text(encoding="utf-8") for page in PAGES)
    assert [line for line in english.splitlines() if line.startswith("|--")] == [
        line for line in chinese.splitlines() if line.startswith("|--")
    ]
    assert english.count("\n## ") == chinese.count("\n## ")
    codes = [set(re.findall(r"`[^`\n]+`", page)) for page in (english, chinese)]
    assert codes[0] == codes[1]
