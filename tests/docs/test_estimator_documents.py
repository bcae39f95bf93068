"""The examples of docs/estimators.md, run as they stand; both languages show the same."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ONE_THREAD = {**os.environ, "OMP_NUM_THREADS": "1"}  # many tests may run beside this one
ROOT = Path(__file__).resolve().parents[2]
CODE = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
ENGLISH, CHINESE = ((ROOT / "docs" / name).read_text(encoding="utf-8") for name in ("estimators.md", "estimators.zh-CN.md"))


def test_both_languages_show_the_same() -> None:
    assert CODE.findall(ENGLISH) == CODE.findall(CHINESE)
    parameters = [re.findall(r"^\| `(\w+)` \|", document, re.MULTILINE) for document in (ENGLISH, CHINESE)]
    assert parameters[0] == parameters[1]
    assert len(parameters[0]) == 6
    assert len(re.findall("^## ", ENGLISH, re.MULTILINE)) == len(re.findall("^## ", CHINESE, re.MULTILINE))


@pytest.mark.slow
@pytest.mark.parametrize("code", CODE.findall(ENGLISH))
def test_example(code: str, tmp_path: Path) -> None:
    (tmp_path / "example.py").write_text(code, encoding="utf-8")
    done = subprocess.run([sys.executable, "example.py"], cwd=tmp_path, capture_output=True, encoding="utf-8", env=ONE_THREAD)
    assert done.returncode == 0, done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["example.py"]
