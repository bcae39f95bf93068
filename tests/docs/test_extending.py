"""The examples of docs/extending.md, run as they stand."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ONE_THREAD = {**os.environ, "OMP_NUM_THREADS": "1"}  # many tests may run beside this one
DOCUMENT = (Path(__file__).resolve().parents[2] / "docs" / "extending.md").read_text(encoding="utf-8")
SECTIONS = [section.partition("\n") for section in re.split(r"^## ", DOCUMENT, flags=re.MULTILINE)[1:]]
CODE = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
EXAMPLES = [(heading, code[1]) for heading, _, body in SECTIONS if (code := CODE.search(body))]


def test_every_kind_of_extension_has_an_example() -> None:
    assert [heading for heading, _ in EXAMPLES] == ["A network", "A kind of data", "A symptom"]


@pytest.mark.slow
@pytest.mark.parametrize("code", [code for _, code in EXAMPLES], ids=[heading for heading, _ in EXAMPLES])
def test_example(code: str, tmp_path: Path) -> None:
    """In a process of its own: what it registers must not be seen by other tests."""
    (tmp_path / "example.py").write_text(code, encoding="utf-8")
    done = subprocess.run([sys.executable, "example.py"], cwd=tmp_path, capture_output=True, encoding="utf-8", env=ONE_THREAD)
    assert done.returncode == 0, done.stderr
