"""The programs in docs/explain.md and its Chinese pair run as they stand."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

DOCUMENTS = Path(__file__).resolve().parents[2] / "docs"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["explain.md", "explain.zh-CN.md"])
def test_programs_run(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    programs = re.findall(r"```python\n(.*?)```", (DOCUMENTS / name).read_text(encoding="utf-8"), flags=re.DOTALL)
    assert len(programs) == 1
    exec(compile(programs[0], name, "exec"), {"__name__": "__main__"})
    said = capsys.readouterr().out
    assert re.search("trust: (high|limited)", said)
    assert "held-out samples" in said
    assert "income" in Path("explanation.html").read_text(encoding="utf-8")
