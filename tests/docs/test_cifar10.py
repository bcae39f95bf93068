"""docs/cifar10.md pairs lines of two programs: every line it shows stands in the program it is said to be from, in both languages."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CLASSIC = (ROOT / "examples" / "cifar10_classic.py").read_text(encoding="utf-8")
PELLUCID = (ROOT / "examples" / "cifar10_pellucid.py").read_text(encoding="utf-8")
LOOP = (ROOT / "src" / "pellucid" / "training" / "loop.py").read_text(encoding="utf-8")
NOT_CODE = {  # commands, files, attributes, another way to write it
    "pellucid fit cifar10", "training/loop.py", "run.history", "run.scores", "pellucid.fit", 'optimizer="momentum"',
}  # fmt: skip


def pairs(language: str) -> list[tuple[str, list[str], list[str]]]:
    """(step, code of the plain program, code of the other) of each row."""
    document = ROOT / "docs" / ("cifar10.md" if language == "en" else "cifar10.zh-CN.md")
    rows = [line.strip("|").split("|") for line in document.read_text(encoding="utf-8").splitlines() if line.startswith("|")]
    assert all(len(row) == 3 for row in rows)
    return [(step.strip(), re.findall("`([^`]+)`", plain), re.findall("`([^`]+)`", ours)) for step, plain, ours in rows[2:]]


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_lines_shown_are_the_programs_own(language: str) -> None:
    for step, plain, ours in pairs(language):
        for code in plain:
            assert code in CLASSIC, step
        for code in set(ours) - NOT_CODE:
            assert code in PELLUCID or code in LOOP, step


def test_every_line_of_the_classic_training_is_explained() -> None:
    """What happens between the first line of the function `train` and its end, and every layer of the network, is in the table."""
    shown = [code for _, plain, _ in pairs("en") for code in plain]
    body = re.search(r"def train\(.*?\n(.*?)\n\n", CLASSIC, re.DOTALL)
    assert body is not None
    statements = [line.strip() for line in body[1].splitlines() if not line.strip().startswith(("return", "for images"))]
    assert len(statements) >= 7
    for statement in statements:
        assert any(code in statement for code in shown), statement


def test_every_setting_of_fit_is_explained() -> None:
    shown = {code for _, _, ours in pairs("en") for code in ours}
    call = re.search(r"pellucid\.fit\(\n(.*?)\n\)", PELLUCID, re.DOTALL)
    assert call is not None
    for line in call[1].splitlines():
        setting = line.split("  #")[0].strip()
        assert setting in shown or setting == "baselines=False,", setting


def test_both_languages_show_the_same_lines() -> None:
    english, chinese = ([(sorted(plain), sorted(ours)) for _, plain, ours in pairs(language)] for language in ("en", "zh"))
    assert english == chinese
