"""Every script of examples/ runs, says what it promises, stays short, and leaves nothing beside its runs."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
SAID = {  # script -> a line of its output; a number in it must be at least the one given
    "exact_resume.py": (r"resumed to (\d+) epochs; all \d+ tensors equal to those never interrupted: True", 25),
    "fit_your_arrays.py": (r"test accuracy (\d\.\d+), 95 % interval \[\d\.\d+, \d\.\d+\]", 0.85),
    "own_network.py": (r"test accuracy (\d\.\d+)", 0.95),
    "own_dataset.py": (r"test accuracy (\d\.\d+)", 0.85),
    "compare_optimizers.py": (r"adam .* (\d\.\d+)$", 0.9),
}


def test_every_script_is_tested_and_short() -> None:
    scripts = {path.name: path for path in EXAMPLES.glob("*.py")}
    assert set(scripts) == set(SAID)
    for name, path in scripts.items():
        lines = path.read_text(encoding="utf-8").splitlines()
        assert len(lines) <= 60, name
        assert f"python examples/{name}" in "\n".join(lines[:8]), name


@pytest.mark.parametrize("name", sorted(SAID))
def test_script(name: str, tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, EXAMPLES / name], cwd=tmp_path, capture_output=True, text=True, encoding="utf-8", check=False)
    assert done.returncode == 0, done.stderr
    pattern, least = SAID[name]
    found = re.search(pattern, done.stdout, re.MULTILINE)
    assert found, done.stdout
    assert float(found[1]) >= least
    assert [path.name for path in tmp_path.iterdir()] == ["runs"]
