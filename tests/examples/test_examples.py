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
    "grid_search.py": (r"test accuracy (\d\.\d+) with", 0.93),
    "cifar10_classic.py": (r"test accuracy (\d\.\d+)", 0.2),
    "watch_your_loop.py": (r"final loss \d+\.\d+ with the mistake, (\d\.\d+) without; then 0 findings", 0.0),
    "diagnose_your_training.py": (r"test accuracy (\d\.\d+) with the remedies of all faults", 0.85),
    "explain_what_is_learnt.py": (r"best layer: (\d\.\d+)", 0.9),
    "fit_your_arrays.py": (r"test accuracy (\d\.\d+), 95 % interval \[\d\.\d+, \d\.\d+\]", 0.85),
}
WATCHED = {f"watch_{framework}.py" for framework in ("lightning", "skorch", "transformers", "keras")}  # by test_frameworks.py
ARGUMENTS = {"cifar10_classic.py": ("--epochs", "1", "--samples", "4000")}
NEEDS_DATA = {"cifar10_classic.py"}
SLOW = {
    "explain_what_is_learnt.py",
    "cifar10_classic.py",
    "fit_your_arrays.py",
    "diagnose_your_training.py",
    "grid_search.py",
    "watch_your_loop.py",
    "mlp_by_hand_broken.py",
}


def test_every_script_is_tested_and_short() -> None:
    scripts = {path.name: path for path in EXAMPLES.glob("*.py")}
    named = set(re.findall(r"`python examples/(\w+\.py)", (ROOT / "docs" / "coverage.md").read_text(encoding="utf-8")))
    assert set(scripts) == set(SAID) | WATCHED | named
    for name, path in scripts.items():
        lines = path.read_text(encoding="utf-8").splitlines()
        assert len(lines) <= 60, name
        assert f"python examples/{name}" in "\n".join(lines[:8]), name


def marks(name: str) -> list[pytest.MarkDecorator]:
    return [*([pytest.mark.shared_data] if name in NEEDS_DATA else []), *([pytest.mark.slow] if name in SLOW else [])]


@pytest.mark.parametrize("name", [pytest.param(name, marks=marks(name)) for name in sorted(SAID)])
def test_script(name: str, tmp_path: Path) -> None:
    command = [sys.executable, EXAMPLES / name, *ARGUMENTS.get(name, ())]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, encoding="utf-8", env=ONE_THREAD)
    assert done.returncode == 0, done.stderr
    pattern, least = SAID[name]
    found = re.search(pattern, done.stdout)
    assert found, done.stdout
    assert float(found[1]) >= least
    assert {path.name for path in tmp_path.iterdir()} <= {"runs", "watch.html", "diagnosis.html", "features.html"}
