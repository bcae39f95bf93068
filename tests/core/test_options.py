"""The option table: every option takes its default, refuses what it must, and says why."""

from __future__ import annotations

import inspect
import math
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import pellucid
from pellucid.core.errors import OptionError, OptionTypeError
from pellucid.core.options import BY_NAME, OPTIONS, Option, resolve


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.name)
def test_every_option(option: Option) -> None:
    assert option.help.message
    assert option.kind in ("integer", "number", "choice", "text", "path", "duration", "fraction", "flag", "mapping")
    assert option.group in ("task", "network", "optimisation", "regularisation", "data", "run")
    assert option.check(option.default) == option.default
    assert (option.kind == "choice") == bool(option.choices)
    assert str(option.expectation()).startswith(f"{option.name} is ")
    if not option.nullable:
        with pytest.raises(OptionTypeError, match=f"{option.name} is None"):
            option.check(None)
    if option.kind in ("integer", "number", "fraction", "duration"):
        for value in (math.nan, math.inf, -math.inf):
            with pytest.raises(OptionError):
                option.check(value)
        for value in ("many", [1, 2], np.zeros(3), {}):
            with pytest.raises(OptionError):
                option.check(value)
        with pytest.raises(OptionTypeError):
            option.check(True)


def test_the_table_is_fits_signature() -> None:
    parameters = inspect.signature(pellucid.fit).parameters
    shared = [name for name in parameters if name in BY_NAME]
    assert shared == [option.name for option in OPTIONS if option.name in parameters]  # the same order
    assert all(parameters[name].default == BY_NAME[name].default for name in shared)
    assert len(BY_NAME) == len(OPTIONS)


@pytest.mark.parametrize(
    ("name", "given_value", "value"),
    [
        ("epochs", "12", 12),
        ("epochs", 12.0, 12),
        ("epochs", np.int64(3), 3),
        ("epochs", "auto", "auto"),
        ("epochs", "AUTO", "auto"),
        ("learning_rate", "1e-3", 0.001),
        ("learning_rate", Fraction(1, 4), 0.25),
        ("clip", None, None),
        ("clip", "none", None),
        ("clip", 1, 1.0),
        ("optimizer", " AdamW ", "adamw"),
        ("loss", "Cross-Entropy", "cross_entropy"),
        ("budget", "3min", 180.0),
        ("budget", "1.5h", 5400.0),
        ("budget", "90", 90.0),
        ("budget", "250ms", 0.25),
        ("budget", 12, 12.0),
        ("checkpoint_interval", "0s", 0.0),
        ("validation", 0.2, 0.2),
        ("validation", 200, 200),
        ("validation", "200", 200),
        ("header", "no", False),
        ("header", True, True),
        ("directory", Path("a"), "a"),
        ("network_options", {"filters": 3}, {"filters": 3}),
        ("network", "mlp", "mlp"),
        ("network", print, print),
        ("class_weight", [1.0, 2.0], [1.0, 2.0]),
        ("seed", 2**63 - 1, 2**63 - 1),  # exact, though no float64 is
        ("seed", "9007199254740993", 2**53 + 1),
    ],
)
def test_accepted(name: str, given_value: Any, value: Any) -> None:
    found = BY_NAME[name].check(given_value)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("name", "value", "kind", "part"),
    [
        ("epochs", 0, OptionError, "at least 1"),
        ("epochs", -3, OptionError, "epochs is -3"),
        ("epochs", 2.5, OptionError, "round it to a whole number"),
        ("epochs", "ten", OptionTypeError, "epochs is 'ten'"),
        ("learning_rate", 0, OptionError, "above 0"),
        ("dropout", 1.0, OptionError, "below 1"),
        ("optimizer", "adma", OptionError, "did you mean 'adam'?"),
        ("optimizer", 3, OptionTypeError, "optimizer is 3"),
        ("budget", "3 weeks", OptionError, "3min"),
        ("budget", "-3min", OptionError, "budget"),
        ("validation", 1.5, OptionError, "round it"),
        ("validation", -0.1, OptionError, "at least 0"),
        ("header", "maybe", OptionTypeError, "say true or false"),
        ("directory", 1.5, OptionTypeError, "directory is 1.5"),
        ("network_options", "filters", OptionTypeError, "NAME=VALUE"),
        ("seed", 2**63, OptionError, "seed is 9223372036854775808"),
        ("epochs", 10**400, OptionError, "at most 1000000"),
    ],
)
def test_refused(name: str, value: Any, kind: type[OptionError], part: str) -> None:
    with pytest.raises(kind) as caught:
        BY_NAME[name].check(value)
    assert part in str(caught.value)
    assert len(caught.value.sentences()) == 3


@given(
    st.sampled_from(OPTIONS),
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.binary(), st.lists(st.integers())),
)
def test_a_value_is_taken_or_refused_and_nothing_else(option: Option, value: Any) -> None:
    try:
        taken = option.check(value)
    except OptionError:
        return
    again = option.check(taken)  # what was stored in a run can be read again
    assert again == taken or (again is taken)


def test_resolve() -> None:
    resolved = resolve({"epochs": "3"})
    assert list(resolved) == [option.name for option in OPTIONS]
    assert resolved["epochs"] == 3
    assert resolved["seed"] == 0
    with pytest.raises(OptionTypeError, match="did you mean 'learning_rate'"):
        resolve({"learning_rat": 1})
