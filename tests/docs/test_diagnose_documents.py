"""The programs in docs/diagnose.md and its Chinese pair run as they stand."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

DOCUMENTS = Path(__file__).resolve().parents[2] / "docs"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["diagnose.md", "diagnose.zh-CN.md"])
def test_programs_run(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    programs = re.findall(r"```python\n(.*?)```", (DOCUMENTS / name).read_text(encoding="utf-8"), flags=re.DOTALL)
    assert len(programs) == 1
    exec(compile(programs[0].replace('"10s"', '"3s"'), name, "exec"), {"__name__": "__main__"})
    said = capsys.readouterr().out
    assert "\ndouble_softmax 3 {" in said  # the cause, and its layer
    assert "accuracy went from" in said
    assert Path("diagnosis.html").stat().st_size > 5000
