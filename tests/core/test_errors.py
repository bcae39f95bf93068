"""The error tree: what each error is, its three sentences, and that it can be sent to another process."""

from __future__ import annotations

import inspect
import pickle
import re
from typing import Any

import pytest

from pellucid.core import errors
from pellucid.core.errors import PellucidError, did_you_mean
from pellucid.core.language import text, use_language

CLASSES = {name: value for name, value in vars(errors).items() if inspect.isclass(value) and issubclass(value, PellucidError)}
TREE = {  # name: (base, what the ecosystem expects, exit code)
    "PellucidError": (Exception, Exception, 1),
    "InputError": (PellucidError, ValueError, 2),
    "DataError": (errors.InputError, ValueError, 2),
    "OptionError": (errors.InputError, ValueError, 2),
    "OptionTypeError": (errors.OptionError, TypeError, 2),
    "ModelError": (errors.InputError, ValueError, 2),
    "TraceError": (errors.ModelError, ValueError, 2),
    "RunError": (errors.InputError, ValueError, 2),
    "TrainingError": (PellucidError, RuntimeError, 1),
    "DivergenceError": (errors.TrainingError, RuntimeError, 1),
    "MemoryShortage": (errors.TrainingError, RuntimeError, 1),
    "StorageError": (PellucidError, OSError, 1),
    "Interrupted": (PellucidError, Exception, 130),
}


def test_the_tree_is_whole_and_drawn() -> None:
    assert set(TREE) == set(CLASSES)
    assert all(re.search(rf"\b{name}\b", errors.__doc__ or "") for name in CLASSES)


@pytest.mark.parametrize("name", TREE)
def test_errors(name: str) -> None:
    base, ecosystem, exit_code = TREE[name]
    kind: Any = CLASSES[name]
    error = kind(text("{n} rows", n=3), expected="5 rows", do=text("add 2"))
    assert isinstance(error, base)
    assert isinstance(error, ecosystem)
    assert error.exit_code == exit_code
    assert str(error) == "3 rows\nExpected: 5 rows\nWhat to do: add 2"
    assert kind("only this").sentences() == ["only this"]
    assert kind("a", do="b").sentences() == ["a", "What to do: b"]
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is kind
    assert (str(again), again.args, again.exit_code) == (str(error), error.args, exit_code)
    with use_language("zh"):
        assert str(error).startswith("3 rows")  # values and untranslated sentences stay; the rest follows the language


def test_storage_errors_are_the_systems() -> None:
    error = errors.StorageError("the disk is full", "room", "delete something", errno=28)
    assert (error.errno, error.filename, error.args) == (28, None, ("the disk is full", "room", "delete something"))
    assert pickle.loads(pickle.dumps(error)).errno == 28
    assert errors.StorageError("a", "b").errno is None


def test_exit_code_of_an_interruption() -> None:
    error = errors.Interrupted("stopped", exit_code=143)
    assert pickle.loads(pickle.dumps(error)).exit_code == 143
    assert errors.Interrupted("stopped").exit_code == 130


@pytest.mark.parametrize(
    ("word", "known", "expected"),
    [
        ("incme", ["age", "income"], "did you mean 'income'?"),
        ("INCOME", ["age", "income"], "did you mean 'income'?"),
        ("年收人", ["年收入", "年龄"], "did you mean '年收入'?"),
        ("zzz", ["age", "income"], "choose one of: age, income"),
        ("zzz", [3, 4], "choose one of: 3, 4"),
        ("zzz", [], "choose one of: "),
        ("zzz", [f"a{i}" for i in range(40)], "choose one of: " + ", ".join(f"a{i}" for i in range(12)) + " (and 28 more)"),
    ],
)
def test_did_you_mean(word: str, known: list[Any], expected: str) -> None:
    assert str(did_you_mean(word, known)) == expected
