"""Time series as people have them: .ts files, wide and long tables, arrays padded with NaN; and all that can be wrong with them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pellucid import data
from pellucid.core.errors import DataError
from pellucid.data.kinds import preprocessing_kind_of
from pellucid.data.samples import ResidentPart
from pellucid.data.sequences import SequencePart
from pellucid.data.series.preprocessing import MOST_STEPS, POINTS

HEADER = "#a comment\n@problemName Two\n@timeStamps false\n@univariate false\n@equalLength false\n@classLabel true a b\n@data\n"


def ts(folder: Path, body: str, header: str = HEADER, name: str = "two.ts") -> Path:
    path = folder / name
    path.write_text(header + body, encoding="utf-8")
    return path


def rows(count: int = 12, label: str = "ab") -> str:
    return "".join(f"{i},{i + 1},{i + 2}:{-i},0.5,{i}:{label[i % len(label)]}\n" for i in range(count))


# -- .ts ---------------------------------------------------------------------------------------------------------------------------------


def test_a_ts_file(tmp_path: Path) -> None:
    body = "1,2,3:4,5,6:a\n\n 7 , ? ,9:?,11,12: b\n13:14:a\n# none\n1,2:3,4,5:b\n"
    samples = data.read(ts(tmp_path, body))
    assert samples.kind == "series"
    assert samples.task is not None
    assert samples.task.classes == ("a", "b")
    assert samples.targets is not None
    assert samples.targets.tolist() == [0, 1, 0, 1]
    assert list(samples.identifiers) == ["row 1", "row 2", "row 3", "row 4"]
    first, second, third, fourth = samples.inputs
    np.testing.assert_array_equal(first, [[1, 4], [2, 5], [3, 6]])
    np.testing.assert_array_equal(second, [[7, np.nan], [np.nan, 11], [9, 12]])
    np.testing.assert_array_equal(third, [[13, 14]])
    np.testing.assert_array_equal(fourth, [[1, 3], [2, 4], [np.nan, 5]])  # a channel that is shorter than the others
    assert "3 values" in str([notice.summary for notice in samples.notices])


def test_numbers_as_targets_and_no_targets(tmp_path: Path) -> None:
    numbers = HEADER.replace("@classLabel true a b", "@targetLabel true")
    samples = data.read(ts(tmp_path, "".join(f"1,2:3,4:{i / 7}\n" for i in range(20)), numbers))
    assert samples.task is not None
    assert samples.task.kind == "regression"
    nothing = data.read(ts(tmp_path, "1,2:3,4\n5,6:7,8\n", HEADER.replace("true a b", "false")))
    assert nothing.task is None
    assert len(nothing) == 2


def test_train_and_test_files_of_one_name(tmp_path: Path) -> None:
    ts(tmp_path, rows(8), name="Two_TEST.ts")
    train = ts(tmp_path, rows(12).replace("0.5", "0.25"), name="Two_TRAIN.ts")
    samples = data.read(train)
    assert samples.name == "Two"
    assert samples.fixed_parts is not None
    assert samples.fixed_parts.tolist() == ["train"] * 12 + ["test"] * 8
    assert "Two_TEST.ts" in str(samples.notices[0].summary)
    assert samples.identifiers[12] == "Two_TEST.ts row 1"
    prepared = data.prepare(samples)
    assert len(prepared.test) == 8
    again = data.read_reference(samples.reference or {})
    assert again.hashes == samples.hashes
    both = data.read((train, tmp_path / "Two_TEST.ts"))
    assert both.hashes == samples.hashes


BROKEN: dict[str, tuple[str, str]] = {  # what is wrong -> (the line, the reason)
    "a word": ("1,x,3:4,5,6:a", "'x', which is no number"),
    "a channel too few": ("1,2,3:a", "1 channels, not 2"),
    "a channel too many": ("1:2:3:a", "3 channels, not 2"),
    "values for a class": ("1,2:3,4", "ends in values, without a class"),
    "another class": ("1,2:3,4:c", "'c' is none of those"),
    "no class": ("1,2:3,4:", "target 'class' is missing"),
    "class unknown": ("1,2:3,4:?", "target 'class' is missing"),
    "no steps": (":: a".replace(" ", ""), "no steps"),
    "no values": ("?,?:?,?:a", "none of its values"),
    "infinite": ("1,inf:3,4:a", "step 2 is infinite"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_lines_that_cannot_be_used_are_set_aside(case: str, tmp_path: Path) -> None:
    line, reason = BROKEN[case]
    samples = data.read(ts(tmp_path, rows(12) + line + "\n" + rows(4)))
    assert [item.identifier for item in samples.quarantined] == ["row 13"]
    assert reason in str(samples.quarantined[0].summary)
    assert len(samples) == 16
    assert "row 13" not in list(samples.identifiers)
    assert any("left out" in str(notice.summary) for notice in samples.notices)
    with pytest.raises(DataError, match="cannot be used"):
        data.read(ts(tmp_path, rows(4) + (line + "\n") * 3))


REFUSED: dict[str, tuple[str, str, str]] = {  # what is wrong -> (header, body, the message)
    "time stamps": (HEADER.replace("@timeStamps false", "@timeStamps true"), rows(), "time stamps"),
    "time stamps in the data": (HEADER, "(0,1.5),(1,2.5):(0,1),(1,2):a\n", "time stamps"),
    "no @data": (HEADER.replace("@data\n", ""), rows(), "no line @data"),
    "no header": ("", rows(), "no line @data"),
    "empty": ("", "", "no line @data"),
    "no series": (HEADER, "\n\n", "no series after @data"),
    "nothing of classes": (HEADER.replace("@classLabel true a b\n", ""), rows(), "nothing of classes"),
    "neither true nor false": (HEADER.replace("@equalLength false", "@equalLength maybe"), rows(), "@equallength maybe"),
    "other dimensions": (
        HEADER.replace("@univariate", "@dimensions 3\n@univariate"),
        rows(),
        r"says @dimensions 3, and its lines have 2 channels",
    ),
    "no classes in the lines": (HEADER, "1,2:3,4\n5,6:7,8\n", "the class is missing: every line ends in values"),
    "one channel and no class": (HEADER.replace("variate false", "variate true"), "1,2\n5,6\n", "the class is missing: every line ends"),
    "no dimensions": (HEADER.replace("@univariate", "@dimensions 0\n@univariate"), rows(), "@dimensions 0"),
    "one class": (HEADER, rows(12, "a"), "class"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_files_that_are_refused(case: str, tmp_path: Path) -> None:
    header, body, message = REFUSED[case]
    with pytest.raises(DataError, match=message):
        data.prepare(data.read(ts(tmp_path, body, header)))


@settings(max_examples=60)
@given(st.lists(st.text(alphabet="0123456789.,:?ab-+eE@#() \tnainf\n\x00é", max_size=30), max_size=12), st.booleans())
def test_no_file_breaks_the_reader(tmp_path_factory: pytest.TempPathFactory, lines: list[str], with_header: bool) -> None:
    path = tmp_path_factory.getbasetemp() / "noise.ts"
    path.write_text((HEADER if with_header else "") + "\n".join(lines) + "\n" + (rows(12) if with_header else ""), encoding="utf-8")
    try:
        samples = data.read(path)
    except DataError:
        return
    assert len(samples) + len(samples.quarantined) >= 12
    assert np.isfinite(samples.inputs.steps).any()
    data.prepare(samples)


# -- tables ------------------------------------------------------------------------------------------------------------------------------


def wide(count: int = 20, steps: int = 6) -> pl.DataFrame:
    values = np.random.default_rng(0).normal(size=(count, steps)).round(3)
    labels = ["up" if i % 2 else "down" for i in range(count)]
    return pl.DataFrame({"id": range(1, count + 1), **{f"t{i}": values[:, i] for i in range(steps)}, "class": labels})


def long(count: int = 20) -> pl.DataFrame:
    draw = np.random.default_rng(0)
    return pl.DataFrame(
        [
            {
                "who": f"p{i}",
                "day": f"2024-03-{day + 1:02d}",
                "x": round(draw.normal(), 3),
                "y": float(i),
                "class": "up" if i % 2 else "down",
            }
            for i in range(count)
            for day in range(4 + i % 3)
        ]
    )


def test_a_row_per_series(tmp_path: Path) -> None:
    frame = wide()
    path = tmp_path / "wide.csv"
    frame.write_csv(path)
    assert data.read(path, "class").kind == "table"  # unless somebody says that it holds series
    samples = data.read(path, "class", task="time_series")
    assert samples.inputs.shape == (20, 1, 6)  # the numbers of the rows are no step
    np.testing.assert_allclose(list(samples.inputs)[3][:, 0], frame.row(3)[1:7])
    assert "t0 to t5" in str([str(notice.summary) for notice in samples.notices])
    lines = path.read_text(encoding="utf-8").splitlines()
    lines[2] = "2,1.5,,2.5,,,,down"  # missing within; ended before the last columns
    path.write_text("\n".join(lines), encoding="utf-8")
    series = list(data.read(path, "class", task="time_series").inputs)[1]
    np.testing.assert_array_equal(series[:, 0], [1.5, np.nan, 2.5])


def test_channels_by_the_names_of_columns() -> None:
    values = np.arange(24.0).reshape(4, 6)
    names = ["left_1", "left_2", "left_3", "right_1", "right_2", "right_3"]
    samples = data.read((pl.DataFrame(values, schema=names), ["a", "b", "a", "b"]), task="time_series")
    assert samples.inputs.channels == ("left", "right")
    np.testing.assert_array_equal(next(iter(samples.inputs)), [[0, 3], [1, 4], [2, 5]])


def test_a_row_per_step(tmp_path: Path) -> None:
    frame = long()
    path = tmp_path / "long.csv"
    frame.sample(fraction=1.0, shuffle=True, seed=0).write_csv(path)
    samples = data.read(path, "class", task="time_series", group="who", time="day")
    assert samples.inputs.shape == (20, 2, 6)
    assert samples.inputs.channels == ("x", "y")
    place = list(samples.identifiers).index("p7")
    np.testing.assert_allclose(list(samples.inputs)[place], frame.filter(pl.col("who") == "p7").select("x", "y").to_numpy())
    assert "not in the order" in str([str(notice.summary) for notice in samples.notices])
    prepared = data.prepare(samples)
    new = data.read_new(path, prepared.preprocessing, task=samples.task, targets="required")
    assert new.targets is not None
    assert samples.targets is not None
    assert new.targets.tolist() == samples.targets.tolist()
    with pytest.raises(DataError, match="no column 'y'"):
        data.read_new(frame.drop("y"), prepared.preprocessing, task=samples.task)


def _changed(frame: pl.DataFrame, who: str, **values: Any) -> pl.DataFrame:
    first = frame.with_row_index("row").filter(pl.col("who") == who)["row"][0]
    row = {**frame.row(first, named=True), **values}
    return pl.concat([frame[:first], pl.DataFrame([row], schema=frame.schema), frame[first + 1 :]])


LONG: dict[str, tuple[dict[str, Any], str]] = {
    "a time twice": ({"day": "2024-03-02"}, "2024-03-02 stands twice"),
    "no time": ({"day": None}, "'day' of one of its steps is missing"),
    "two classes": ({"class": "up"}, "several targets: down, up"),
}


@pytest.mark.parametrize("case", LONG)
def test_long_tables_set_series_aside(case: str) -> None:
    values, reason = LONG[case]
    samples = data.read(_changed(long(), "p4", **values), "class", task="time_series", group="who", time="day")
    assert [item.identifier for item in samples.quarantined] == ["p4"]
    assert reason in str(samples.quarantined[0].summary)


def test_uneven_times_are_said() -> None:
    frame = _changed(long(), "p4", day="2023-01-01")
    samples = data.read(frame, "class", task="time_series", group="who", time="day")
    assert "in 1 of 20 series" in str([str(notice.summary) for notice in samples.notices])


REFUSED_TABLES: dict[str, tuple[Any, dict[str, Any], str]] = {
    "no time named": (long(), {"group": "who"}, "--time"),
    "too few columns": (pl.DataFrame({"a": [1.0, 2], "class": ["x", "y"]}), {}, "1 columns of numbers"),
    "time is the target": (long(), {"group": "who", "time": "class"}, "time is the target"),
    "words as times": (long(), {"group": "day", "time": "who"}, "neither dates nor numbers"),
    "nothing to read": (long().drop("x", "y"), {"group": "who", "time": "day"}, "no column of numbers"),
}


@pytest.mark.parametrize("case", REFUSED_TABLES)
def test_tables_that_are_refused(case: str) -> None:
    frame, options, message = REFUSED_TABLES[case]
    with pytest.raises(DataError, match=message):
        data.read(frame, "class", task="time_series", **options)


# -- arrays ------------------------------------------------------------------------------------------------------------------------------


def test_arrays_and_lists_of_arrays() -> None:
    draw = np.random.default_rng(0)
    X, y = draw.normal(size=(12, 2, 7)), np.arange(12) % 2
    X[3, :, 4:] = np.nan
    padded = data.read((X, y), task="time_series")
    ragged = data.read(([values[:, : 4 if place == 3 else 7] for place, values in enumerate(X)], y), task="time_series")
    assert padded.hashes == ragged.hashes
    assert padded.inputs.lengths.tolist() == [7, 7, 7, 4, *[7] * 8]
    flat = data.read((X[:, 0], y), task="time_series")
    assert flat.inputs.shape == (12, 1, 7)
    for wrong, message in (
        ((X[..., None], y), "shape"),
        ((X, y[:5]), "12 series"),
        (([X[0], X[0, 0]] * 6, y), "channels"),
    ):
        with pytest.raises(DataError, match=message):
            data.read(wrong, task="time_series")


# -- made ready --------------------------------------------------------------------------------------------------------------------------


def _samples(lengths: list[int], channels: int = 2) -> tuple[Any, list[np.ndarray]]:
    draw = np.random.default_rng(0)
    series = [draw.normal(3.0, 2.0, size=(channels, length)) for length in lengths]
    return data.read((series, np.arange(len(series)) % 2), task="time_series"), series


def test_standardised_by_the_training_part_alone() -> None:
    samples, series = _samples([5 + place % 4 for place in range(30)])
    prepared = data.prepare(samples, validation=5, test=5)
    assert isinstance(prepared.train, SequencePart)
    chosen = np.concatenate([series[place] for place in prepared.train.indices], axis=1)
    for part in (prepared.train, prepared.test):
        inputs, _ = next(part.batches(1))
        expected = (series[part.indices[0]] - chosen.mean(1, keepdims=True)) / chosen.std(1, keepdims=True)
        np.testing.assert_allclose(inputs[0].numpy(), expected, rtol=1e-5, atol=1e-6)
    stored = data.restore(prepared.preprocessing.to_dict())
    np.testing.assert_array_equal(stored.inputs(samples).numpy(), prepared.preprocessing.inputs(samples).numpy())
    assert stored.to_dict() == prepared.preprocessing.to_dict()


def test_padding_is_nan_and_equal_lengths_have_none() -> None:
    ragged = data.prepare(_samples([5 + place % 4 for place in range(30)])[0])
    batch, _ = next(ragged.train.batches(len(ragged.train)))
    lengths = (~batch.isnan().all(1)).sum(1)
    assert sorted(set(lengths.tolist())) == [5, 6, 7, 8]
    even = data.prepare(_samples([6] * 30)[0])
    assert isinstance(even.train, ResidentPart)
    assert not next(even.train.batches(30))[0].isnan().any()


def test_missing_values_are_filled_and_marked() -> None:
    X = np.tile(np.arange(6.0), (12, 2, 1)) + np.arange(12)[:, None, None]
    X[0, 0, [2, 3]] = np.nan  # between 1 and 4
    X[1, 0, 0] = np.nan  # before 2: held
    samples = data.read((X, np.arange(12) % 2), task="time_series")
    preprocessing = preprocessing_kind_of("series").fit(samples, np.arange(12))
    assert preprocessing.input_shape == (3, 6)
    inputs = preprocessing.inputs(samples).numpy()
    restored = inputs[:, :2] * preprocessing.scale[None, :, None] + preprocessing.mean[None, :, None]
    np.testing.assert_allclose(restored[0, 0], np.arange(6.0), atol=1e-5)
    np.testing.assert_allclose(restored[1, 0, :2], [2.0, 2.0], atol=1e-5)
    assert inputs[0, 2].tolist() == [0, 0, 1, 1, 0, 0]
    assert inputs[2, 2].tolist() == [0] * 6


def test_very_long_series_are_averaged_and_very_short_ones_are_read() -> None:
    draw = np.random.default_rng(0)
    series = [draw.normal(size=100_000), *[draw.normal(size=size) for size in (1, 2, 50)], *[draw.normal(size=40) for _ in range(8)]]
    samples = data.read((series, np.arange(12) % 2), task="time_series")
    preprocessing = preprocessing_kind_of("series").fit(samples, np.arange(12))
    together = preprocessing.together
    assert together == -(-100_000 // MOST_STEPS)
    inputs = preprocessing.inputs(samples)
    assert inputs.shape == (12, 1, -(-100_000 // together))
    ready = inputs[0, 0].double().numpy() * preprocessing.scale + preprocessing.mean
    np.testing.assert_allclose(ready[:3], series[0][: 3 * together].reshape(3, together).mean(1), atol=1e-5)
    assert all(len(curve) == POINTS for curve in preprocessing.curves(samples, 0))
    assert len(preprocessing.curves(samples, 1)[0]) == 1


def test_new_series_must_have_the_same_channels() -> None:
    samples, _ = _samples([6] * 12)
    prepared = data.prepare(samples)
    one = data.read_new(np.zeros((2, 9)), prepared.preprocessing)
    assert one.inputs.shape == (1, 2, 9)
    with pytest.raises(DataError, match="3 channels"):
        data.read_new(np.zeros((4, 3, 9)), prepared.preprocessing)


def test_described() -> None:
    samples, _ = _samples([5, 6, 7] * 4)
    described = data.describe(samples)
    assert described.lengths == (5, 7)
    assert "12 series with 2 channels and 5 to 7 steps." in [str(sentence) for sentence in described.sentences]
    assert [column.name for column in described.columns] == ["1", "2"]


@pytest.mark.parametrize("lengths", [(9, 9), (9, 7), (2, 2)])
@pytest.mark.parametrize("channels", [1, 2])
def test_a_list_of_two_series_is_two_samples(lengths: tuple[int, int], channels: int) -> None:
    generator = np.random.default_rng(0)
    series = [generator.normal(size=(channels, 9)) for _ in range(12)]
    fitted = data.prepare(data.read((series, ["a", "b"] * 6), task="time_series")).preprocessing
    both = [generator.normal(size=(channels, length)) for length in lengths]
    for targets in ("ignored", "optional"):
        new = data.read_new(both, fitted, targets=targets, task=fitted.task)
        assert [one.T.tolist() for one in new.inputs] == [one.tolist() for one in both]
        assert new.targets is None
    y = np.asarray(["a", "b"])
    labelled = data.read_new((both, y), fitted, targets="required", task=fitted.task)
    assert labelled.targets is not None
    assert labelled.targets.tolist() == [0, 1]


def test_a_list_of_two_arrays_is_a_pair_only_where_it_can_be_one() -> None:
    X, y = np.random.default_rng(0).normal(size=(12, 9)), np.arange(12) % 2
    samples = data.read([X, y])
    assert samples.task is not None
    assert len(samples) == 12
    with pytest.raises(DataError, match="one sample only"):  # two series and their two targets
        data.read([X[0], X[1]], [0, 1], task="time_series")
    fitted = data.prepare(data.read((X, y))).preprocessing
    assert len(data.read_new([X[0], X[1]], fitted, targets="ignored")) == 2
    assert len(data.read_new([X, y], fitted, targets="required", task=samples.task)) == 12
    with pytest.raises(DataError):
        data.read_new([X, y], fitted, targets="ignored")
