"""Classes or numbers; rows whose target cannot be used; columns by name and by index."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pellucid.core.errors import DataError
from pellucid.data.tables.columns import Column
from pellucid.data.tables.reading import read_frame, read_table
from pellucid.data.targets import choose_task, natural_order

TASKS = [
    (["b", "a"] * 5, "auto", "classification", ("a", "b")),
    ([True, False] * 5, "auto", "classification", ("false", "true")),
    ([1, 0] * 5, "auto", "classification", ("0", "1")),
    (["10", "9", "2"] * 5, "auto", "classification", ("2", "9", "10")),
    (["1.0", "2.0"] * 5, "auto", "classification", ("1", "2")),
    ([1.0, 2.0, None] * 5, "auto", "classification", ("1", "2")),
    (["class 10", "class 2"] * 5, "auto", "classification", ("class 2", "class 10")),
    (["None", "NA", "x"] * 5, "auto", "classification", ("NA", "None", "x")),
    (["001", "002"] * 5, "auto", "classification", ("001", "002")),
    ([index % 100 for index in range(1000)], "auto", "classification", tuple(map(str, range(100)))),
    (list(range(50)), "auto", "regression", ()),
    ([int(1.2**index) for index in range(50)], "auto", "regression", ()),
    ([1, 2, 3], "auto", "regression", ()),
    ([1.5, 2.0] * 5, "auto", "regression", ()),
    (["1,234", "$5", "7%"], "auto", "regression", ()),
    ([1, 2] * 5, "regression", "regression", ()),
    ([True, False] * 5, "regression", "regression", ()),
    ([1.5, 2.5] * 5, "classification", "classification", ("1.5", "2.5")),
    (list(range(30)) * 2, "classification", "classification", tuple(map(str, range(30)))),
    ([10**20, 2 * 10**20] * 5, "auto", "classification", ("1e+20", "2e+20")),
]


@pytest.mark.parametrize(("values", "task", "kind", "classes"), TASKS)
def test_tasks(values: list[Any], task: str, kind: str, classes: tuple[str, ...]) -> None:
    choice = choose_task(pl.Series(values, dtype=pl.Float64 if values[0] == 10**20 else None), task, name="y")
    assert choice.task.kind == kind
    assert choice.task.classes == classes
    assert choice.task.targets == ("y",)
    said = [notice for notice in choice.notices if notice.kind == "task"]
    assert len(said) == (1 if task == "auto" else 0)
    if kind == "classification" and isinstance(values[0], str):
        labels = [classes[code] for code in choice.values]
        assert labels == [value.removesuffix(".0") for value in values]


def test_arrays_and_lists_are_welcome() -> None:
    assert choose_task(np.array([0, 1, 1, 0])).task.classes == ("0", "1")
    assert choose_task(np.array(["b", "a", "b", "a"])).task.classes == ("a", "b")
    assert choose_task([0.5, 1.5]).values.shape == (2, 1)


@pytest.mark.parametrize(
    ("values", "task", "words"),
    [
        (["a"] * 5, "auto", ["'y' is 'a' in all 5 rows"]),
        ([3.0] * 5, "regression", ["'y' is '3' in all 5 rows"]),
        ([None] * 5, "auto", ["empty in all 5 rows"]),
        (["", "?", " "], "auto", ["empty in all 3 rows"]),
        ([float("nan")] * 5, "auto", ["empty"]),
        (["a", "b", "c"], "auto", ["3 different values in 3 rows"]),
        ([f"name {index}" for index in range(50)], "auto", ["50 different values", "--task regression"]),
        (["a", "b"] * 3, "regression", ["holds texts", "'a' in row 1", "regression"]),
        (["a", "a", "b"], "auto", ["classes b", "one sample each", "'a' has the others"]),
        (["a", "b"], "auto", ["every class of 'y' has one sample only: a, b"]),
        ([1e300, -1e300, 2.5], "regression", ["1e+300"]),
        ([[1], [2]], "auto", ["List"]),
    ],
)
def test_targets_that_cannot_be_learnt(values: list[Any], task: str, words: list[str]) -> None:
    with pytest.raises(DataError) as caught:
        choose_task(pl.Series(values), task, name="y")
    for word in words:
        assert word in str(caught.value)
    assert caught.value.expected
    assert caught.value.do


@given(st.lists(st.one_of(st.integers(-50, 50).map(str), st.text("ab1 ", max_size=3)), min_size=2, max_size=30))
def test_no_target_crashes_and_usable_rows_have_their_class(labels: list[str]) -> None:
    try:
        choice = choose_task(pl.Series(labels))
    except DataError:
        return
    assert len(choice.usable) == len(choice.values) == len(labels)
    for row, label in enumerate(labels):
        if not choice.usable[row]:
            assert row in choice.reasons
        elif choice.task.kind == "classification":
            named = choice.task.classes[choice.values[row]]
            assert named == label.strip() or float(named) == float(label)
        else:
            assert choice.values[row, 0] == float(label)


def test_natural_order() -> None:
    labels = ["b", "10", "2", "a10", "a2", "-1", "1.5", "A", "中", "①", "nan"]
    assert sorted(labels, key=natural_order)[:4] == ["-1", "1.5", "2", "10"]
    assert sorted(labels, key=natural_order).index("a2") < sorted(labels, key=natural_order).index("a10")


# -- rows that cannot be used --------------------------------------------------------------------------------------------------------


def with_target(values: list[Any]) -> pl.DataFrame:
    return pl.DataFrame({"x": [float(row * 3 % 7) for row in range(len(values))], "y": values}, strict=False)


@pytest.mark.parametrize(
    ("values", "task", "bad", "reason"),
    [
        (["a", "b"] * 15 + [""], "auto", "row 31", "missing"),
        (["a", "b"] * 15 + ["c"], "auto", "row 31", "only sample of the class 'c'"),
        ([*map(str, range(30)), "broken"], "auto", "row 31", "'broken', not a number"),
        ([*np.linspace(0, 1, 30).tolist(), float("inf")], "auto", "row 31", "infinite"),
        ([*np.linspace(0, 1, 30).tolist(), float("nan")], "auto", "row 31", "missing"),
    ],
)
def test_single_rows_are_set_aside_by_name(values: list[Any], task: str, bad: str, reason: str) -> None:
    samples = read_frame(with_target(values), "y", task=task)
    assert len(samples) == 30
    assert samples.inputs.height == 30
    assert samples.targets is not None
    assert len(samples.targets) == len(samples.hashes) == len(samples.input_hashes) == 30
    assert [item.identifier for item in samples.quarantined] == [bad]
    assert reason in str(samples.quarantined[0].reason)
    assert list(samples.identifiers) == [f"row {row}" for row in range(1, 31)]


def test_too_many_unusable_rows_are_an_error() -> None:
    with pytest.raises(DataError, match=r"4 of 30 rows .* row 27: the target 'y' is missing(.|\n)*at most 10 %"):
        read_frame(with_target(["a", "b"] * 13 + [None] * 4), "y")


def test_similar_classes_and_classes_that_look_missing_are_said() -> None:
    kinds = [notice.kind for notice in choose_task(["Yes", "yes", "NA"] * 4).notices]
    assert kinds == ["missing_or_class", "similar_classes", "task"]


# -- which column --------------------------------------------------------------------------------------------------------------------

FRAME = pl.DataFrame({"age": [1.5, 2.5, 3.5, 4.5], "1": [1.0, 2.5, 2.0, 1.5], "收入": [1.0, 2.5, 3.0, 4.0], "a,b": [0.5, 1.5, 1.0, 2.0]})


@pytest.mark.parametrize(
    ("target", "names"),
    [
        ("age", ("age",)),
        ("收入", ("收入",)),
        (0, ("age",)),
        (-1, ("a,b",)),
        ("-2", ("收入",)),
        ("1", ("1",)),
        ("2", ("收入",)),
        ("a,b", ("a,b",)),
        ("age,收入", ("age", "收入")),
        (["age", -1], ("age", "a,b")),
        (np.int64(2), ("收入",)),
        (" age ", ("age",)),
        (None, ()),
    ],
)
def test_targets_by_name_and_index(target: Any, names: tuple[str, ...]) -> None:
    samples = read_frame(FRAME, target)
    assert (samples.task.targets if samples.task else ()) == names
    assert samples.inputs.columns == [name for name in FRAME.columns if name not in names]
    if samples.targets is not None:
        assert samples.targets.tolist() == [list(row) for row in FRAME.select(names).iter_rows()]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"target": "agee"}, ["no column 'agee'", "did you mean 'age'"]),
        ({"target": 4}, ["column 4", "4 columns", "-1"]),
        ({"target": -5}, ["column -5"]),
        ({"target": True}, ["True"]),
        ({"target": ["age", "age"]}, ["each column once"]),
        ({"target": []}, ["0 columns"]),
        ({"target": "age,收入", "task": "classification"}, ["2 target columns"]),
        ({"target": "age", "group": "ag"}, ["no column 'ag'", "group"]),
        ({"target": "age", "time": "age"}, ["time is the target 'age'"]),
    ],
)
def test_columns_that_do_not_exist(arguments: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(DataError) as caught:
        read_frame(FRAME, **arguments)
    for word in words:
        assert word in str(caught.value)


def test_without_names_columns_have_places(tmp_path: Any) -> None:
    path = tmp_path / "t.csv"
    path.write_text("x,1.5,2\ny,2.5,3\nx,3.5,9\ny,1.5,2\n")
    samples = read_table(path, 1, header=False)
    assert samples.inputs.columns == ["column_0", "column_2"]
    assert samples.task is not None
    assert samples.task.targets == ("column_1",)
    with pytest.raises(DataError, match="the columns are called column_0 to column_2"):
        read_table(path, "income", header=False)
    assert samples.reference == {"source": str(path), "target": 1, "task": "auto", "header": False, "group": None, "time": None}


# -- group and time ------------------------------------------------------------------------------------------------------------------


def test_groups_and_times() -> None:
    frame = pl.DataFrame(
        {
            "patient": ["p", "q", "", "p", None, "q"],
            "day": ["2024-01-05", "2024-01-03", "2024-01-04", "2024-01-01", "2024-01-02", "2024-01-06"],
            "x": [1.5, 2.5, 1.0, 2.0, 3.0, 4.0],
            "y": [0.5, 1.5, 2.5, 3.5, 4.5, 5.5],
        }
    )
    samples = read_frame(frame, "y", group="patient", time="day")
    assert samples.groups is not None
    assert samples.times is not None
    assert samples.inputs.columns == ["day", "x"]
    assert samples.groups.tolist() == ["p", "q", "missing 2", "p", "missing 4", "q"]
    assert np.argsort(samples.times).tolist() == [3, 4, 1, 2, 0, 5]
    assert read_frame(frame, "y", time="x").times is not None
    with pytest.raises(DataError, match="a column of dates or numbers"):
        read_frame(frame, "y", time="patient")


def test_rows_without_a_time_are_set_aside() -> None:
    frame = pl.DataFrame({"t": [*map(float, range(1, 30)), None], "x": [1.5, 2.5] * 15, "y": [0, 1] * 15})
    samples = read_frame(frame, "y", time="t")
    assert len(samples) == 29
    assert "time 't' is missing" in str(samples.quarantined[0].reason)


def test_columns_are_kept_as_records() -> None:
    samples = read_frame(FRAME, "age")
    for column in samples.columns.values():
        assert Column.from_dict(column.to_dict()) == column
