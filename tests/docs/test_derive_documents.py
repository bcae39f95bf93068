"""docs/derive.md: its tables are those of the registry, and its examples run as they stand."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from pellucid.derivation.registry import all_rules

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT = (ROOT / "docs" / "derive.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"^```python\n(.*?)^```", DOCUMENT, re.MULTILINE | re.DOTALL)


def test_the_tables_are_up_to_date() -> None:
    done = subprocess.run([sys.executable, str(ROOT / "tools" / "rules_table.py"), "check"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_every_rule_has_its_row_in_both_languages() -> None:
    for name in ("derive.md", "derive.zh-CN.md"):
        rows = re.findall(r"^\| `(\w+)` \|", (ROOT / "docs" / name).read_text(encoding="utf-8"), re.MULTILINE)
        assert sorted(rows) == sorted(all_rules())


@pytest.mark.slow
@pytest.mark.parametrize("code", EXAMPLES, ids=range(len(EXAMPLES)))
def test_example(code: str, tmp_path: Path) -> None:
    (tmp_path / "example.py").write_text(code, encoding="utf-8")
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "example.py"], cwd=tmp_path, capture_output=True, encoding="utf-8", env=environment)
    assert done.returncode == 0, done.stderr
