"""The programs in docs/explain.md and its Chinese pair run as they stand."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pellucid.explanation.reference import KINDS
from pellucid.explanation.registry import methods

DOCUMENTS = Path(__file__).resolve().parents[2] / "docs"


@pytest.mark.parametrize("name", ["explain.md", "explain.zh-CN.md"])
def test_every_method_and_reference_has_a_row(name: str) -> None:
    document = (DOCUMENTS / name).read_text(encoding="utf-8")
    assert set(re.findall(r"^\| `(\w+)` \|", document, flags=re.MULTILINE)) == set(methods())
    assert set(re.findall(r"^\| `\"(\w+)\"` \|", document, flags=re.MULTILINE)) == {"auto", *KINDS}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["explain.md", "explain.zh-CN.md"])
def test_programs_run(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    programs = re.findall(r"```python\n(.*?)```", (DOCUMENTS / name).read_text(encoding="utf-8"), flags=re.DOTALL)
    assert len(programs) == 1
    exec(compile(programs[0], name, "exec"), {"__name__": "__main__"})
    said = capsys.readouterr().out
    assert re.search("trust: (high|limited)", said)
    assert "held-out samples" in said
    assert re.search("^(none|limited)$", said, flags=re.MULTILINE)  # random maps are never trusted
    assert re.search(r"class \d becomes \d with (income|debt) from", said)
    assert "income" in Path("explanation.html").read_text(encoding="utf-8")
