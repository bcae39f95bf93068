"""Many cases that show the same: some of them in the default suite, all of them with the slow tests."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest


def in_turn(cases: Iterable[Any], every: int, first: int = 0) -> list[Any]:
    """The cases for `pytest.mark.parametrize`: each `every`-th from the `first` on as it is, the others marked slow."""
    return [
        case if place % every == first else pytest.param(*(case if isinstance(case, tuple) else (case,)), marks=pytest.mark.slow)
        for place, case in enumerate(cases)
    ]
