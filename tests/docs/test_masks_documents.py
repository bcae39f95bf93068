"""docs/masks.md: its tables are those of the code, its commands name options that there are, both languages show the same."""

import re
from pathlib import Path

import pytest

from pellucid.core.options import BY_NAME
from pellucid.networks import registry
from pellucid.training.augmentation import build_augmentation
from pellucid.training.masks.losses import MASK_LOSSES

DOCS = Path(__file__).parents[2] / "docs"
PAGES = ("masks.md", "masks.zh-CN.md")


def written(page: str) -> str:
    return (DOCS / page).read_text(encoding="utf-8")


@pytest.mark.parametrize("page", PAGES)
def test_the_tables_are_those_of_the_code(page):
    named = set(re.findall(r"`([^`\n]+)`", written(page)))
    assert set(MASK_LOSSES) <= named
    assert {name for name in registry.names() if registry.entry(name).tasks == ("segmentation",)} <= named
    for option in re.findall(r"(?<!-)--([a-z][a-z-]+)", written(page)):
        assert option.replace("-", "_") in {*BY_NAME, "target", "output", "row", "network_option"}, option
    for value in re.findall(r"--augment (\S+?)`", written(page)):
        assert build_augmentation(value, (3, 180, 240), task_kind="segmentation") is not None


def test_both_languages_have_the_same_code():
    english, chinese = ([re.split(r"  +#", line)[0] for line in re.findall(r"^pellucid .*$", written(page), re.M)] for page in PAGES)
    assert english == chinese
    assert len(english) == 6
