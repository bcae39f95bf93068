"""New rows for a trained network; row hashes; the description of a table."""

from __future__ import annotations

import hashlib
import json
import struct
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch

from pellucid.core.errors import DataError
from pellucid.core.language import use_language
from pellucid.data.description import DataDescription, describe
from pellucid.data.tables.hashes import hash_table
from pellucid.data.tables.new_rows import read_new_table
from pellucid.data.tables.preprocessing import TablePreprocessing
from pellucid.data.tables.reading import TableSamples, read_frame, read_table

ROWS = 60
FRAME = pl.DataFrame(
    {
        "age": [float(20 + row * 7 % 50) for row in range(ROWS)],
        "income": [f"${row * 7 % 41},{row * 13 % 900 + 100}" for row in range(ROWS)],
        "work": [["Private", "Gov", "Self"][row % 3] for row in range(ROWS)],
        "member": [["yes", "no"][row % 2] for row in range(ROWS)],
        "since": [f"2024-{1 + row % 12:02d}-{1 + row % 28:02d}" for row in range(ROWS)],
        "key": [f"k{row}" for row in range(ROWS)],
        "y": [["no", "yes", "no"][row * 7 % 3] for row in range(ROWS)],
    }
)


def trained(frame: pl.DataFrame | Path = FRAME, target: Any = "y", **options: Any) -> tuple[TableSamples, TablePreprocessing]:
    samples = read_table(frame, target, **options)
    fitted = TablePreprocessing.fit(samples, np.arange(len(samples)))
    return samples, TablePreprocessing.from_dict(json.loads(json.dumps(fitted.to_dict())))


NEW_SOURCES = {
    "the same": FRAME,
    "without target and key": FRAME.drop("y", "key"),
    "other order, more columns": FRAME.select(reversed(FRAME.columns)).with_columns(extra=pl.lit(1)),
    "pandas": FRAME.to_dict(as_series=False),
    "other types": FRAME.with_columns(
        pl.col("age").cast(pl.String),
        pl.col("since").str.to_date(),
        pl.col("member") == "yes",
        pl.col("work").cast(pl.Categorical),
        pl.col("income").str.replace_all("[$,]", "").cast(pl.Int64),
    ),
}


@pytest.mark.parametrize("case", NEW_SOURCES)
def test_new_rows_are_read_as_the_training_rows_were(case: str) -> None:
    samples, fitted = trained()
    source = NEW_SOURCES[case]
    new = read_new_table(pd.DataFrame(source) if isinstance(source, dict) else source, fitted)
    assert torch.equal(fitted.inputs(new), fitted.inputs(samples))
    assert list(new.identifiers) == list(samples.identifiers)
    if "without" in case:
        assert new.task is None
        assert new.targets is None
    else:
        assert new.task == samples.task
        assert new.targets is not None
        assert new.targets.tolist() == samples.targets.tolist()  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda frame: frame.rename({"age": "Age"}), ["no column 'age'", "1 of 5", "did you mean 'Age'"]),
        (lambda frame: frame.with_columns(age=pl.lit("old")), ["column 'age' holds 'old' in row 1", "60 of 60", "numbers"]),
        (
            lambda frame: frame.with_columns(age=pl.Series(["1"] * 6 + ["six"] + ["2"] * 53)),
            ["column 'age' holds 'six' in row 7", "1 of 60"],
        ),
        (lambda frame: frame.with_columns(since=pl.lit("some day")), ["column 'since' holds 'some day' in row 1", "dates"]),
        (lambda frame: frame.with_columns(age=pl.lit([1])), ["column 'age'", "List"]),
    ],
)
def test_new_rows_that_do_not_fit(change: Any, words: list[str]) -> None:
    _, fitted = trained()
    with pytest.raises(DataError) as caught:
        read_new_table(change(FRAME), fitted)
    for word in words:
        assert word in str(caught.value)
    assert caught.value.do


def test_unseen_levels_and_missing_values_are_predicted() -> None:
    _, fitted = trained()
    new = read_new_table(FRAME.with_columns(work=pl.lit("Farm"), age=pl.lit(None), member=pl.lit("?")), fitted)
    inputs = fitted.inputs(new)
    assert torch.isfinite(inputs).all()
    work = [index for index, name in enumerate(fitted.feature_columns) if name == "work"]
    assert not inputs[:, work].any()
    assert "newly_missing" in [notice.kind for notice in new.notices]
    assert [notice.where for notice in new.notices if notice.kind == "new_categories"] == ["work"]


@pytest.mark.parametrize(
    ("label", "reason"),
    [("maybe", "class 'maybe'"), (None, "missing"), ("", "missing"), ("?", "missing")],
)
def test_targets_that_do_not_fit(label: str | None, reason: str) -> None:
    _, fitted = trained()
    frame = FRAME.with_columns(y=pl.when(pl.int_range(ROWS) == 3).then(pl.lit(label)).otherwise(pl.col("y")))
    optional = read_new_table(frame, fitted)
    assert len(optional) == ROWS
    assert optional.targets is None
    assert any(reason in str(notice.summary) and "row 4" in str(notice.summary) for notice in optional.notices)
    required = read_new_table(frame, fitted, target="required")
    assert len(required) == ROWS - 1
    assert required.inputs.height == ROWS - 1
    assert [item.identifier for item in required.quarantined] == ["row 4"]
    assert read_new_table(frame, fitted, target="ignored").targets is None
    with pytest.raises(DataError, match="no column 'y', the target"):
        read_new_table(FRAME.drop("y"), fitted, target="required")
    with pytest.raises(DataError, match="60 of 60 rows"):
        read_new_table(FRAME.with_columns(y=pl.lit("other")), fitted, target="required")


def test_labels_written_differently_and_numbers_as_classes() -> None:
    _, fitted = trained()
    new = read_new_table(FRAME.with_columns(y=pl.col("y").str.to_uppercase() + "."), fitted)
    assert new.targets is not None
    samples, numeric = trained(FRAME.with_columns(y=pl.Series([1.0, 2.0] * 30)))
    for values in ([1, 2] * 30, ["1", "2"] * 30, ["1.0", "2.0"] * 30, [1.0, 2.0] * 30):
        again = read_new_table(FRAME.with_columns(y=pl.Series(values)), numeric)
        assert again.targets is not None
        assert again.targets.tolist() == samples.targets.tolist()  # type: ignore[union-attr]


def test_regression_targets_of_new_rows() -> None:
    samples, fitted = trained(FRAME.with_columns(y=pl.Series([row * 1.5 for row in range(ROWS)])))
    texts = FRAME.with_columns(y=pl.Series([f"{row * 1.5}" for row in range(ROWS)]))
    new = read_new_table(texts, fitted)
    assert np.array_equal(new.targets, samples.targets)  # type: ignore[arg-type]
    torn = read_new_table(
        texts.with_columns(y=pl.when(pl.int_range(ROWS) == 0).then(pl.lit("x")).otherwise("y")), fitted, target="required"
    )
    assert "'x', not a number" in str(torn.quarantined[0].reason)


def test_columns_without_names_are_known_by_place(tmp_path: Path) -> None:
    path, fewer, wrong = tmp_path / "train.csv", tmp_path / "new.csv", tmp_path / "wrong.csv"
    FRAME.select("age", "y", "work").write_csv(path, include_header=False)
    FRAME.select("age", "work").write_csv(fewer, include_header=False)
    FRAME.write_csv(wrong, include_header=False)
    samples, fitted = trained(path, 1)
    assert not fitted.header
    for source in (path, fewer):
        new = read_new_table(source, fitted)
        assert torch.equal(fitted.inputs(new), fitted.inputs(samples))
        assert (new.targets is None) == (source == fewer)
    with pytest.raises(DataError, match=r"7 columns(.|\n)*3 columns"):
        read_new_table(wrong, fitted)


def test_words_that_meant_missing_still_do() -> None:
    numbers = [str(row) for row in range(ROWS - 1)] + ["broken"]
    samples, fitted = trained(FRAME.with_columns(age=pl.Series(numbers)))
    new = read_new_table(FRAME.with_columns(age=pl.Series(numbers[::-1])), fitted)
    assert new.inputs["age"].to_list() == samples.inputs["age"].to_list()[::-1]


def test_empty_rows_of_a_new_file_keep_their_numbers(tmp_path: Path) -> None:
    _, fitted = trained()
    path = tmp_path / "new.csv"
    lines = FRAME.drop("y").write_csv().splitlines()
    path.write_text("\n".join([*lines[:3], ",,,,,", *lines[3:5]]), encoding="utf-8")
    assert list(read_new_table(path, fitted).identifiers) == ["row 1", "row 2", "row 4", "row 5"]


# -- hashes --------------------------------------------------------------------------------------------------------------------------


def test_row_hashes_by_hand() -> None:
    frame = pl.DataFrame({"x": [1.5, None], "t": ["中", None]})
    expected = [
        hashlib.blake2b(struct.pack("<d", 1.5) + b"3:\xe4\xb8\xad", digest_size=16).hexdigest(),
        hashlib.blake2b(struct.pack("<d", float("nan")) + b"-", digest_size=16).hexdigest(),
    ]
    assert hash_table(frame, ["x", "t"]) == expected


def test_equal_rows_have_equal_hashes_and_others_do_not() -> None:
    frame = pl.DataFrame({"x": [0.0, -0.0, 1.0, 1.0, 1.0, None], "a": ["b", "b", "1:b", "1", None, None], "c": ["", "", "", ":b", "", ""]})
    hashes = hash_table(frame, ["x", "a", "c"])
    assert hashes[0] == hashes[1]
    assert len(set(hashes)) == 5


def test_row_numbers_and_constants_do_not_make_rows_different_but_keys_do() -> None:
    frame = pl.DataFrame({"n": range(40), "x": [row % 4 * 1.5 for row in range(40)], "y": [row % 2 for row in range(40)]})
    assert len(set(read_frame(frame, "y").hashes)) == 4
    assert len(set(read_frame(frame.with_columns(key=pl.Series([f"k{row}" for row in range(40)])), "y").hashes)) == 40
    assert len(set(read_frame(frame, "y").input_hashes)) == 4


def test_reading_and_hashing_is_fast(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rows = 32_000
    columns: dict[str, Any] = {f"n{index}": rng.integers(0, 1000, rows) for index in range(6)}
    columns |= {f"c{index}": rng.choice([f"level {value}" for value in range(12)], rows) for index in range(8)}
    pl.DataFrame({**columns, "y": rng.choice(["a", "b"], rows)}).write_csv(tmp_path / "t.csv")
    started = time.perf_counter()
    read_table(tmp_path / "t.csv", "y")
    assert time.perf_counter() - started < 3  # 0.2 s on an idle machine


# -- description ---------------------------------------------------------------------------------------------------------------------


def test_a_table_described() -> None:
    frame = pl.concat([FRAME.with_columns(age=pl.when(pl.int_range(ROWS) < 6).then(None).otherwise("age")), FRAME.tail(1)])
    frame = frame.with_columns(
        twin=pl.col("work"), number=pl.Series([row * 1.25 for row in range(ROWS + 1)]).gather([*range(ROWS), ROWS - 1])
    )
    found = describe(read_frame(frame, "y"))
    assert (found.kind, found.samples, found.shape) == ("table", ROWS + 1, (8,))
    columns = {column.name: column for column in found.columns}
    assert columns["age"].missing == 6
    assert columns["age"].minimum == 20
    assert columns["number"].median == pytest.approx(37.5, abs=2)
    assert columns["work"].common == {"Gov": 20, "Private": 20, "Self": 21}
    assert columns["since"].first == "2024-01-01 00:00:00"
    assert not columns["key"].used
    assert found.classes == {"no": 41, "yes": 20}
    assert found.duplicates == 1
    assert found.missing == 6
    assert {"identifier_column", "equal_columns"} <= {notice.kind for notice in found.notices}
    assert str(found.sentences[0]) == "61 rows with 8 input columns: 3 numeric, 1 boolean, 2 categorical, 1 date, 1 identifier."
    assert DataDescription.from_dict(json.loads(json.dumps(found.to_dict(), allow_nan=False))) == found
    for language in ("en", "zh"):
        with use_language(language):
            assert all(str(sentence) for sentence in found.sentences)


def test_contradictions_imbalance_and_quarantine_are_said() -> None:
    frame = pl.DataFrame(
        {"x": [row % 30 for row in range(120)], "z": [row % 7 for row in range(120)], "y": ["a"] * 110 + ["b"] * 9 + [None]},
        strict=False,
    )  # fmt: skip
    frame = pl.concat([frame, frame.head(1).with_columns(y=pl.lit("b"))])
    found = describe(read_frame(frame, "y"))
    words = " ".join(map(str, found.sentences))
    assert found.contradictions == 2
    assert "imbalanced: 'a' has 110 samples, 'b' has 10" in words
    assert "'a', is 91.7 % of the samples" in words
    assert "Samples that cannot be used: 1, for example row 120" in words


def test_regressions_and_tables_without_target() -> None:
    found = describe(read_frame(FRAME.with_columns(y=pl.Series([row * 1.5 for row in range(ROWS)])), "y"))
    assert found.targets[0].maximum == 88.5
    assert "0 to 88.5" in " ".join(map(str, found.sentences))
    assert "No target was named." in map(str, describe(read_frame(FRAME, None)).sentences)


def test_arrays_are_described_too() -> None:
    from pellucid.data.samples import Samples

    inputs = np.zeros((10, 3), dtype=np.float32)
    inputs[:, 1] = np.arange(10)
    samples = Samples(kind="array", name="a", task=None, inputs=inputs, targets=None, identifiers=["x"] * 10, hashes=["h"] * 10)
    found = describe(samples)
    assert found.shape == (3,)
    assert found.columns[0].maximum == 9
    assert found.columns[0].mean == pytest.approx(1.5)
    assert found.duplicates == 9
    assert [notice.kind for notice in found.notices] == ["constant_features"]
