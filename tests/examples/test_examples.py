"""Every script of examples/ is short and runs. Those that a row of docs/coverage.md names are run by tests/docs/test_coverage.py."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ONE_THREAD = {**os.environ, "OMP_NUM_THREADS": "1"}  # many tests may run beside this one
ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"
SAID = {  # script -> a line of its output; the number in it must be at least the one given
    "mlp_by_hand.py": (r"final loss (\d\.\d+)", 0.0),
    "mlp_by_hand_broken.py": (r"in both layers: +loss (\d\.\d+)", 0.1),
    "fit_your_arrays.py": (r"test accuracy (\d\.\d+), 95 % interval \[\d\.\d+, \d\.\d+\]", 0.85),
}


def test_every_script_is_tested_and_short() -> None:
    scripts = {path.name: path for path in EXAMPLES.glob("*.py")}
    named = set(re.findall(r"`python examples/(\w+\.py)", (ROOT / "docs" / "coverage.md").read_text(encoding="utf-8")))
    assert set(scripts) == set(SAID) | named
    for name, path in scripts.items():
        lines = path.read_text(encoding="utf-8").splitlines()
        assert len(lines) <= 60, name
        assert f"python examples/{name}" in "\n".join(lines[:8]), name


@pytest.mark.parametrize("name", sorted(SAID))
def test_script(name: str, tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, EXAMPLES / name], cwd=tmp_path, capture_output=True, text=True, encoding="utf-8", env=ONE_THREAD)
    assert done.returncode == 0, done.stderr
    pattern, least = SAID[name]
    found = re.search(pattern, done.stdout)
    assert found, done.stdout
    assert float(found[1]) >= least
    assert {path.name for path in tmp_path.iterdir()} <= {"runs"}
