"""What `import pellucid` offers, and what it does not load."""

from __future__ import annotations

import subprocess
import sys

import pytest

import pellucid


def test_public_names() -> None:
    assert pellucid.__all__ == [
        "Experiment",
        "NetworkClassifier",
        "NetworkRegressor",
        "Run",
        "certify",
        "check_rule",
        "derive",
        "diagnose",
        "errors",
        "explain",
        "features",
        "fit",
        "importance",
        "load",
        "watch",
    ]
    assert sorted(pellucid._HOME) == sorted(pellucid.__all__)
    assert set(dir(pellucid)) == {*pellucid.__all__, "__version__"}


@pytest.mark.parametrize("name", pellucid.__all__)
def test_public_names_are_there(name: str) -> None:
    value = getattr(pellucid, name)
    home = value.__name__ if name == "errors" else value.__module__
    assert home == pellucid._HOME[name]


def test_a_name_that_is_not_there() -> None:
    with pytest.raises(AttributeError, match="no attribute 'fitt'"):
        pellucid.fitt  # noqa: B018


HEAVY = ("torch", "sklearn", "matplotlib", "polars", "scipy", "numpy", "PIL", "rich", "click")
LOADED = f"import sys; found = [name for name in {HEAVY} if name in sys.modules]; print(found); sys.exit(bool(found))"


@pytest.mark.parametrize(
    "statement",
    [
        "import pellucid; pellucid.errors.DataError; pellucid.__version__; dir(pellucid)",
        "import pellucid.core.options, pellucid.core.language, pellucid.core.records, pellucid.core.errors",
        "from pellucid.core.options import resolve; resolve({'epochs': 3})",
    ],
)
def test_imports_are_light(statement: str) -> None:
    """In a process of its own: neither torch nor anything else that takes long to load."""
    done = subprocess.run([sys.executable, "-I", "-c", f"{statement}; {LOADED}"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_importing_changes_nothing() -> None:
    """Neither random states nor torch's settings nor warning filters nor logging."""
    program = """
import logging, random, warnings, numpy, torch
def state():
    return (random.getstate(), numpy.random.get_state()[1].tolist(), torch.get_rng_state().tolist(), torch.get_default_dtype(),
            torch.get_num_threads(), list(warnings.filters), list(logging.root.handlers), logging.root.level, torch.is_grad_enabled())
before = state()
import pellucid, pellucid.core.trace, pellucid.core.numerics
pellucid.fit, pellucid.load, pellucid.Run
assert state() == before
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
