"""Columns as features. scikit-learn is the oracle where it does the same; everything comes from the training rows alone."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pellucid.core.errors import DataError
from pellucid.data.tables.encoding import (
    BooleanEncoding,
    CategoricalEncoding,
    DateEncoding,
    NumericEncoding,
    fit_encoding,
    restore_encoding,
)
from pellucid.data.tables.preprocessing import TablePreprocessing
from pellucid.data.tables.prose import TextEncoding, terms_of
from pellucid.data.tables.reading import read_frame


def stored(encoding: Any) -> Any:
    return restore_encoding(json.loads(json.dumps(encoding.to_dict(), allow_nan=False)))


# -- numbers -------------------------------------------------------------------------------------------------------------------------


def test_plain_numbers_are_standardised_as_scikit_learn_does(rng: np.random.Generator) -> None:
    from sklearn.preprocessing import StandardScaler

    train, new = rng.normal(5, 3, 200), rng.normal(5, 3, 50)
    encoding = NumericEncoding.fit(pl.Series(train))
    expected = StandardScaler().fit(train[:, None]).transform(new[:, None])
    assert encoding.spread == 0
    np.testing.assert_allclose(encoding.encode(pl.Series(new)), expected, rtol=1e-5, atol=1e-6)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def test_skewed_numbers_are_drawn_together(rng: np.random.Generator) -> None:
    train = np.exp(rng.normal(0, 2, 1000))
    encoding = NumericEncoding.fit(pl.Series(train))
    encoded = encoding.encode(pl.Series(train))[:, 0]
    assert encoding.spread > 0
    assert abs(encoded.mean()) < 1e-5
    assert abs(encoded.std() - 1) < 1e-4
    assert encoded.max() < 6 < (train.max() - train.mean()) / train.std()
    median, quarters = np.median(train), np.quantile(train, [0.25, 0.75])
    by_hand = np.arcsinh((train - median) / (quarters[1] - quarters[0]))
    np.testing.assert_allclose(encoded, (by_hand - by_hand.mean()) / by_hand.std(), rtol=1e-4, atol=1e-5)
    assert abs(encoding.encode(pl.Series([1e30]))[0, 0]) <= 8


def test_missing_numbers_are_the_median_with_an_indicator() -> None:
    encoding = NumericEncoding.fit(pl.Series([1.0, 2.0, 3.0, 10.0, None, 4.0]))
    encoded = encoding.encode(pl.Series([None, 3.0, 1.0]))
    assert encoding.features == ["", "missing"]
    assert encoded[0, 0] == encoded[1, 0]
    assert encoded[:, 1].tolist() == [1.0, 0.0, 0.0]
    assert NumericEncoding.fit(pl.Series([1.0, 2.0])).encode(pl.Series([None, 1.0])).shape == (2, 1)


def test_pieces_follow_the_formula(rng: np.random.Generator) -> None:
    train = rng.uniform(0, 1, 4096)
    encoding = NumericEncoding.fit(pl.Series(train), pieces=8)
    assert len(encoding.bounds) == 9
    x = 0.37
    b = np.asarray(encoding.bounds)
    by_hand = [min(1.0, max(0.0, (x - b[t - 1]) / (b[t] - b[t - 1]))) for t in range(1, 9)]
    encoded = encoding.encode(pl.Series([x]))[0, 1:]
    np.testing.assert_allclose(encoded + np.asarray(encoding.piece_means), by_hand, atol=1e-6)
    np.testing.assert_allclose(encoding.encode(pl.Series(train)).mean(axis=0), 0, atol=1e-5)
    assert len(encoding.features) == 9
    assert NumericEncoding.fit(pl.Series([0.0, 1.0] * 2000), pieces=8).bounds == ()


def test_a_value_of_many_rows_is_one_bound(rng: np.random.Generator) -> None:
    gains = np.concatenate([np.zeros(9000), rng.uniform(1, 2, 1000)])
    bounds = NumericEncoding.fit(pl.Series(gains), pieces=8).bounds
    assert len(bounds) == 9  # quantiles of all rows would be 0 seven times
    np.testing.assert_allclose(bounds, [0.0, *np.quantile(gains[9000:], np.linspace(0, 1, 8))])


numbers = st.lists(
    st.one_of(st.none(), st.floats(allow_nan=False, allow_infinity=False), st.integers(-5, 5).map(float)), min_size=1, max_size=60
)


@given(train=numbers, new=numbers, pieces=st.sampled_from([0, 8]))
@settings(max_examples=200)
def test_no_numbers_break_the_encoding(train: list[float | None], new: list[float | None], pieces: int) -> None:
    encoding = NumericEncoding.fit(pl.Series(train, dtype=pl.Float64), pieces)
    values = pl.Series(new, dtype=pl.Float64)
    encoded = encoding.encode(values)
    assert encoded.dtype == np.float32
    assert encoded.shape == (len(new), len(encoding.features))
    assert np.isfinite(encoded).all()
    assert stored(encoding) == encoding
    assert np.array_equal(stored(encoding).encode(values), encoded)


# -- levels, truth values, dates -----------------------------------------------------------------------------------------------------

levels = st.lists(st.one_of(st.none(), st.sampled_from(["a", "b", "c", "d", "10", "9", "e f", "中"])), min_size=1, max_size=40)


@given(train=levels, new=levels)
def test_levels_are_one_hot_as_scikit_learn_does(train: list[str | None], new: list[str | None]) -> None:
    from sklearn.preprocessing import OneHotEncoder

    encoding = CategoricalEncoding.fit(pl.Series("x", train, dtype=pl.String))
    encoded = encoding.encode(pl.Series("x", new, dtype=pl.String))
    assert encoded.shape == (len(new), len(encoding.features))
    assert stored(encoding) == encoding
    if not encoding.features:
        return
    oracle = OneHotEncoder(handle_unknown="infrequent_if_exist", min_frequency=2, sparse_output=False)
    present = np.asarray([value for value in train if value is not None], dtype=object)[:, None]
    known = [row for row, value in enumerate(new) if value is not None]
    if len(present) and known and encoding.levels:
        expected = oracle.fit(present).transform(np.asarray([new[row] for row in known], dtype=object)[:, None])
        columns = [f"x0_{level}" for level in encoding.levels] + (["x0_infrequent_sklearn"] if encoding.other else [])
        order = [list(oracle.get_feature_names_out()).index(name) for name in columns]
        np.testing.assert_array_equal(encoded[known][:, : len(columns)], expected[:, order])
    for row, value in enumerate(new):
        if value is None:
            assert encoded[row].tolist() == [0.0] * (encoded.shape[1] - encoding.missing) + [1.0] * encoding.missing


def test_levels_are_in_natural_order_and_limited() -> None:
    encoding = CategoricalEncoding.fit(pl.Series("x", ["10", "9", "b", "a"] * 3))
    assert encoding.features == ["= 9", "= 10", "= a", "= b"]
    many = CategoricalEncoding.fit(pl.Series("x", [f"l{row % 1000}" for row in range(10_000)]))
    assert len(many.levels) == 128
    assert many.other
    rare = CategoricalEncoding.fit(pl.Series("x", [f"l{row}" for row in range(100)]))
    assert rare.features == []


def test_truth_values() -> None:
    encoding = BooleanEncoding.fit(pl.Series([True, False, None]))
    assert encoding.encode(pl.Series([True, False, None])).tolist() == [[1, 0], [-1, 0], [0, 1]]
    assert BooleanEncoding.fit(pl.Series([True, False])).encode(pl.Series([None], dtype=pl.Boolean)).tolist() == [[0]]
    assert stored(encoding) == encoding


def test_dates() -> None:
    import datetime

    days = pl.Series([datetime.datetime(2023, 12, 1) + datetime.timedelta(days=3 * row) for row in range(40)])
    encoding = DateEncoding.fit(days)
    assert encoding.parts == ("days", "year", "month", "day", "weekday")
    encoded = encoding.encode(days)
    assert encoded.shape == (40, len(encoding.features))
    np.testing.assert_allclose(encoded[:, 0].mean(), 0, atol=1e-5)
    np.testing.assert_allclose(encoded[:, 0].std(), 1, atol=1e-5)
    december, january = encoded[0], encoded[11]  # 1 December and 3 January: neighbours on the circle of months
    position = encoding.features.index("month sine")
    np.testing.assert_allclose(december[position : position + 2], [math.sin(2 * math.pi), 1], atol=1e-6)
    np.testing.assert_allclose(january[position : position + 2], [math.sin(math.pi / 6), math.cos(math.pi / 6)], atol=1e-6)
    assert stored(encoding) == encoding
    missing = encoding.encode(pl.Series([None], dtype=pl.Datetime("us")))
    assert missing.tolist() == [[0.0] * len(encoding.features)]


# -- prose ---------------------------------------------------------------------------------------------------------------------------

REVIEWS = ["Good food, good price!", "Bad food", "味道很好，good", "太慢了 味道", "price 10 is OK", "OK, good food"] * 5


def test_words_are_weighted_as_scikit_learn_does() -> None:
    from sklearn.feature_extraction.text import TfidfVectorizer

    encoding = TextEncoding.fit(pl.Series(REVIEWS))
    found = terms_of(pl.Series(REVIEWS)).sort("row", "term")
    tokens = found.group_by("row", maintain_order=True).agg("term", "count").rows_by_key("row")

    def tokenise(text: str) -> list[str]:
        ((terms, counts),) = tokens[REVIEWS.index(text)]
        return [term for term, count in zip(terms, counts, strict=True) for _ in range(int(count))]

    oracle = TfidfVectorizer(tokenizer=tokenise, token_pattern=None, lowercase=False, sublinear_tf=True, vocabulary=list(encoding.terms))
    expected = oracle.fit_transform(REVIEWS).toarray() * encoding.scale
    np.testing.assert_allclose(encoding.encode(pl.Series(REVIEWS)), expected, rtol=1e-5, atol=1e-6)
    assert stored(encoding) == encoding
    assert encoding.encode(pl.Series([None, "zzz", ""])).tolist() == [[0.0] * len(encoding.terms)] * 3


def test_terms_are_words_characters_and_pairs() -> None:
    found = terms_of(pl.Series(["The cat's CAT", "味道很好a味", None]))
    first = {term: count for row, term, count in found.iter_rows() if row == 0}
    second = {term: count for row, term, count in found.iter_rows() if row == 1}
    assert first == {"the": 1, "cat": 2, "s": 1}
    assert second == {"味": 2, "道": 1, "很": 1, "好": 1, "a": 1, "味道": 1, "道很": 1, "很好": 1}


def test_the_commonest_terms_are_kept(rng: np.random.Generator) -> None:
    words = [f"w{number}" for number in range(3000)]
    texts = [" ".join(words[index] for index in np.minimum(rng.zipf(1.3, 20) - 1, 2999)) for _ in range(400)]
    encoding = TextEncoding.fit(pl.Series(texts))
    assert len(encoding.terms) == 256
    assert encoding.terms[0] == "w0"


# -- whole tables --------------------------------------------------------------------------------------------------------------------


def table(rows: int = 200, seed: int = 0) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    return pl.DataFrame(
        {
            "年龄": [None if row % 17 == 0 else float(value) for row, value in enumerate(rng.integers(20, 70, rows))],
            "gains": np.exp(rng.normal(0, 3, rows)),
            "colour": rng.choice(["red", "green", "blue"], rows),
            "flag": rng.choice(["yes", "no"], rows),
            "when": [f"2024-{1 + value % 12:02d}-{1 + value % 28:02d}" for value in rng.integers(0, 1000, rows)],
            "note": [
                f"the {a} thing was {b} and {c}" for a, b, c in zip(*(rng.choice(list("abcdefgh"), rows) for _ in "123"), strict=True)
            ],
            "key": [f"k{row:05d}" for row in range(rows)],
            "y": rng.choice(["low", "high"], rows),
        }
    )


def test_a_whole_table(tmp_path: Any) -> None:
    samples = read_frame(table(), "y")
    train = np.arange(0, 200, 2)
    fitted = TablePreprocessing.fit(samples, train)
    inputs = fitted.inputs(samples)
    assert inputs.dtype == torch.float32
    assert tuple(inputs.shape) == (200, *fitted.input_shape)
    assert torch.isfinite(inputs).all()
    assert len(fitted.feature_names) == len(fitted.feature_columns) == fitted.input_shape[0]
    assert len(set(fitted.feature_names)) == fitted.input_shape[0]
    assert set(fitted.feature_columns) == {"年龄", "gains", "colour", "flag", "when", "note"}
    assert "年龄 missing" in fitted.feature_names
    assert torch.equal(fitted.inputs(samples, np.array([5, 3])), inputs[[5, 3]])
    assert fitted.targets(samples, np.array([5, 3])).tolist() == samples.targets[[5, 3]].tolist()  # type: ignore[index]
    assert torch.equal(fitted.finish(inputs), inputs)
    written = json.dumps(fitted.to_dict(), allow_nan=False, ensure_ascii=False)
    again = TablePreprocessing.from_dict(json.loads(written))
    assert torch.equal(again.inputs(samples), inputs)
    assert again.to_dict() == fitted.to_dict()


def test_nothing_but_the_training_rows_is_looked_at() -> None:
    frame = table()
    train = np.arange(100)
    other = frame.with_row_index("row").with_columns(
        pl.when(pl.col("row") >= 100).then(pl.col("年龄") * 100 + 3.5).otherwise(pl.col("年龄")).alias("年龄"),
        pl.when(pl.col("row") >= 100).then(pl.lit("violet")).otherwise(pl.col("colour")).alias("colour"),
        pl.when(pl.col("row") >= 100).then(pl.lit("completely different words of prose here")).otherwise(pl.col("note")).alias("note"),
        pl.when(pl.col("row") >= 100).then(-pl.col("gains")).otherwise(pl.col("gains")).alias("gains"),
    ).drop("row")  # fmt: skip
    first, second = (TablePreprocessing.fit(read_frame(source, "y"), train).to_dict()["encodings"] for source in (frame, other))
    assert first == second


def test_regression_targets_are_standardised_and_restored() -> None:
    frame = table().with_columns(pl.Series("y", np.linspace(1000, 2000, 200)), pl.Series("z", np.linspace(-1, 1, 200)))
    samples = read_frame(frame, ["y", "z"])
    fitted = TablePreprocessing.fit(samples, np.arange(100))
    targets = fitted.targets(samples)
    assert targets.dtype == torch.float32
    np.testing.assert_allclose(targets[:100].mean(dim=0), [0, 0], atol=1e-6)
    np.testing.assert_allclose(fitted.restore_targets(targets).numpy(), samples.targets, rtol=1e-5, atol=1e-6)


def test_many_numeric_columns_get_no_pieces() -> None:
    rng = np.random.default_rng(0)
    wide = pl.DataFrame({f"p{index}": rng.normal(size=4000) for index in range(100)}).with_columns(pl.Series("y", [0, 1] * 2000))
    assert TablePreprocessing.fit(read_frame(wide, "y"), np.arange(4000)).input_shape == (100,)
    narrow = wide.select("p0", "p1", "y")
    assert TablePreprocessing.fit(read_frame(narrow, "y"), np.arange(4000)).input_shape == (2 * (1 + 15),)
    assert TablePreprocessing.fit(read_frame(narrow, "y"), np.arange(500)).input_shape == (2,)


def test_high_cardinality_is_limited_and_fast() -> None:
    frame = pl.DataFrame(
        {"code": [f"c{row % 70_000}" for row in range(100_000)], "x": [row % 13 for row in range(100_000)], "y": [0, 1] * 50_000}
    )
    samples = read_frame(frame, "y")
    assert samples.columns["code"].kind == "categorical"
    assert TablePreprocessing.fit(samples, np.arange(100_000)).input_shape[0] <= 140


def test_training_rows_without_variation_are_refused() -> None:
    frame = pl.DataFrame({"x": [1.0] * 10 + [2.0] * 10, "y": [0, 1] * 10})
    with pytest.raises(DataError, match="10 training rows"):
        TablePreprocessing.fit(read_frame(frame, "y"), np.arange(10))
    with pytest.raises(DataError, match="no target"):
        TablePreprocessing.fit(read_frame(frame, None), np.arange(10))


@pytest.mark.parametrize("kind", ["numeric", "boolean", "categorical", "date", "text"])
def test_every_kind_survives_training_rows_without_values(kind: str) -> None:
    dtype = {"numeric": pl.Float64, "boolean": pl.Boolean, "date": pl.Datetime("us")}.get(kind, pl.String)
    empty = pl.Series("x", [None, None], dtype=dtype)
    encoding = fit_encoding(kind, empty)
    assert encoding.encode(empty).shape == (2, len(encoding.features))
    assert stored(encoding) == encoding
