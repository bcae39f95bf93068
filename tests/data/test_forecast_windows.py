"""Series in tables: times, steps, gaps, seasons, and windows that never cross the split."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

from pellucid import data
from pellucid.core.errors import DataError
from pellucid.data.description import describe
from pellucid.data.forecasting.calendar import Steps, find_steps
from pellucid.data.forecasting.preprocessing import SeriesPreprocessing
from pellucid.data.forecasting.seasons import autocorrelation, find_season, grows_with_level


def months(count: int, first: int = 1949) -> list[str]:
    return [f"{first + month // 12}-{month % 12 + 1:02d}" for month in range(count)]


def seasonal(count: int = 120, *, noise: float = 0.05, seed: int = 0) -> np.ndarray:
    """Monthly, additive, with a slow trend."""
    t = np.arange(count)
    return 10 + 0.02 * t + 3 * np.sin(2 * np.pi * t / 12) + noise * np.random.default_rng(seed).normal(size=count)


def frame(count: int = 120, **columns: Any) -> pl.DataFrame:
    return pl.DataFrame({"month": months(count), "y": seasonal(count), **columns})


def read(source: Any, target: Any = "y", **options: Any) -> Any:
    return data.read(source, target, task="forecasting", **options)


# -- times -------------------------------------------------------------------------------------------------------------------------------


def microseconds(moments: list[datetime.datetime]) -> np.ndarray:
    return np.asarray(moments, dtype="datetime64[us]").astype(np.int64).astype(np.float64)


def between(first: str, last: str, every: str) -> list[datetime.datetime]:
    return pl.datetime_range(datetime.datetime.fromisoformat(first), datetime.datetime.fromisoformat(last), every, eager=True).to_list()


@pytest.mark.parametrize(
    ("moments", "unit", "size", "after"),
    [
        (between("2020-01-01", "2020-01-03", "1h"), "seconds", 3600, "2020-01-03 01"),
        (pl.Series(between("2020-01-01", "2021-06-01", "1mo")).dt.month_end().to_list(), "months", 1, "2021-07-31 00"),
        (between("2019-01-01", "2023-01-01", "1q"), "months", 3, "2023-04-01 00"),
        (between("2020-01-06", "2020-03-06", "1d"), "seconds", 86_400, "2020-03-07 00"),
    ],
)
def test_steps_are_found_and_continued(moments: list[datetime.datetime], unit: str, size: float, after: str) -> None:
    times = microseconds(moments)
    steps = find_steps([times], dates=True, written="%Y-%m-%d %H", name="t")
    assert (steps.unit, steps.size) == (unit, size)
    places = steps.places(times)
    assert np.allclose(places, np.arange(len(times)), atol=1e-9)
    assert np.array_equal(steps.times(np.arange(len(times))), times)
    assert steps.names(np.asarray([len(times)]))[0] == after
    assert Steps.from_dict(steps.to_dict()) == steps


def test_business_days_have_no_weekends_and_holidays_are_gaps() -> None:
    days = [datetime.datetime(2024, 1, 1) + datetime.timedelta(days=day) for day in range(60)]
    days = [day for day in days if day.weekday() < 5 and day.day != 15]
    steps = find_steps([microseconds(days)], dates=True, written="%Y-%m-%d", name="t")
    assert steps.unit == "business_days"
    places = steps.places(microseconds(days))
    assert np.allclose(places, np.round(places))
    assert places[-1] == np.busday_count("2024-01-01", days[-1].date())
    assert steps.names(np.asarray([4, 5])) == ["2024-01-05", "2024-01-08"]


def test_the_time_may_be_spread_over_columns() -> None:
    hours = pl.datetime_range(datetime.datetime(2010, 1, 1), datetime.datetime(2010, 1, 12), "1h", eager=True, closed="left")
    spread = pl.DataFrame({"No": range(1, len(hours) + 1), "year": hours.dt.year(), "month": hours.dt.month(), "day": hours.dt.day(),
                           "hour": hours.dt.hour(), "y": np.sin(np.arange(len(hours)))})  # fmt: skip
    samples = read(spread)
    assert samples.steps.unit == "seconds"
    assert samples.steps.size == 3600
    assert samples.identifiers[25] == "2010-01-02 01:00"
    assert list(samples.columns) == []  # "No" counts the rows


@pytest.mark.parametrize(
    ("columns", "options", "says"),
    [
        ({"y": seasonal()}, {}, "no column of times is found"),
        ({"a": months(120), "b": months(120), "y": seasonal()}, {}, "2 columns of dates: a, b(.|\n)*--time COLUMN"),
        (
            {"month": months(120), "name": [f"n{i % 60}" for i in range(120)], "y": seasonal()},
            {"time": "name"},
            "neither dates nor numbers",
        ),
        ({"month": months(120), "y": ["high", "low"] * 60}, {}, "column of the kind"),
        ({"month": months(120), "y": np.ones(120)}, {}, "is 1 in all 120"),
        ({"month": [*months(60), *months(60)], "y": seasonal()}, {}, "60 times in month occur twice(.|\n)*rows 1 and 61"),
        ({"month": [*months(60), *months(60)], "place": ["a"] * 60 + ["b"] * 60, "y": seasonal()}, {}, "--group place"),
        ({"t": np.cumsum(1 + np.random.default_rng(0).random(120)), "y": seasonal()}, {}, "vary from(.|\n)*no step fits"),
        ({"month": months(6), "y": seasonal(6)}, {}, "training part has 6 steps"),
        ({"month": months(120), "y": seasonal()}, {"horizon": 100}, "training part has 77 steps(.|\n)*smaller --horizon"),
        ({"month": [None] * 30 + months(90), "y": seasonal()}, {}, "30 of 120 rows(.|\n)*is missing"),
    ],
)
def test_what_is_no_series_is_refused(columns: dict[str, Any], options: dict[str, Any], says: str) -> None:
    with pytest.raises(DataError, match=says):
        data.prepare(read(pl.DataFrame(columns), **options))


def test_values_that_are_no_dates_are_named() -> None:
    for every in (20, 5):  # one of 20 is set aside, one of 5 is an error
        times: list[str] = ["soon" if row % every == 3 else month + "-01" for row, month in enumerate(months(120))]
        table = pl.DataFrame({"month": times, "y": seasonal()})
        if every == 20:
            samples = read(table)
            assert "is 'soon', which is no time" in str(samples.quarantined[0].reason)
            continue
        for options in ({}, {"time": "month"}):
            with pytest.raises(DataError, match="24 of 120 values of 'month' are no dates, for example 'soon' in row 4"):
                read(table, **options)


def test_one_target() -> None:
    with pytest.raises(DataError, match=r"2 targets: y, z(.|\n)*forecasting takes one column"):
        read(frame(z=seasonal()), "y,z")


def test_a_description_tells_what_a_training_would_find() -> None:
    described = describe(read(frame(extra=np.arange(120) % 7)))
    said = "\n".join(str(notice.summary) for notice in described.notices)
    assert "times: month, one step is one month, from 1949-01 to 1958-12. Series: 1. Columns beside the target: extra" in said
    assert "y repeats itself every 12 steps" in said
    short = describe(read(pl.DataFrame({"month": months(6), "y": seasonal(6)})))
    assert "no training is possible: the training part has" in "\n".join(str(notice.summary) for notice in short.notices)


def test_horizon_belongs_to_forecasts() -> None:
    with pytest.raises(DataError, match=r"horizon(.|\n)*--task forecasting"):
        data.read(frame(), "y", horizon=3)


def test_several_tables_are_refused() -> None:
    with pytest.raises(DataError, match="one table"):
        data.read((frame(), frame()), "y", task="forecasting")


def test_rows_out_of_order_are_sorted_and_copies_set_aside() -> None:
    whole = frame()
    shuffled = whole.sample(fraction=1.0, shuffle=True, seed=1)
    samples = read(pl.concat([shuffled, shuffled[:2]]))
    assert samples.targets[:, 0].tolist() == whole["y"].to_list()
    assert samples.identifiers == months(120)
    assert [notice.kind for notice in samples.notices] == ["sorted_by_time"]
    assert len(samples.quarantined) == 2
    assert "a copy of row" in str(samples.quarantined[0].reason)


def test_several_series_by_group() -> None:
    both = pl.concat([frame(place=["b"] * 120), frame(100, place=["a"] * 100).with_columns(pl.col("y") * 5)])
    samples = read(both, group="place")
    assert samples.series_names == ["a", "b"]
    assert samples.identifiers[0] == "a 1949-01"
    prepared = data.prepare(samples)
    windows, numbers, places = prepared.preprocessing.latest(samples)
    assert numbers.tolist() == [0, 1]
    assert places.tolist() == [100, 120]
    for part in (prepared.train, prepared.validation, prepared.test):
        for origin in part.origins.tolist():  # no window reaches into another series
            assert origin - part.lags >= (100 if origin >= 100 else 0)
            assert origin + part.horizon <= (220 if origin >= 100 else 100)
    assert windows.shape == (2, *prepared.input_shape)


# -- windows -----------------------------------------------------------------------------------------------------------------------------


def test_windows_know_nothing_of_later_parts() -> None:
    """Whatever the validation and test part hold: training windows, statistics and decisions stay the same."""
    whole = frame(extra=np.random.default_rng(1).normal(size=120))
    first = data.prepare(read(whole))
    end = int(first.train.origins.max()) + first.train.horizon  # first row that is not for training
    changed = whole.with_columns(
        y=pl.when(pl.int_range(pl.len()) >= end).then(pl.col("y") * 100 + 7).otherwise(pl.col("y")),
        extra=pl.when(pl.int_range(pl.len()) >= end).then(-50.0).otherwise(pl.col("extra")),
    )
    second = data.prepare(read(changed))
    stored = [{name: value for name, value in part.preprocessing.to_dict().items() if name not in ("columns", "target_column")}
              for part in (first, second)]  # what the columns are is decided on the whole table  # fmt: skip
    assert stored[0] == stored[1]
    for one, other in zip(first.train.batches(7), second.train.batches(7), strict=True):
        assert torch.equal(one[0], other[0])
        assert torch.equal(one[1], other[1])
    values = whole["y"].to_numpy()
    for name, part in (("train", first.train), ("validation", first.validation), ("test", first.test)):
        rows = set(first.ledger.indices(name).tolist())
        inputs, targets = next(part.batches(10_000))
        restored = first.preprocessing.restore_targets(targets).numpy()
        past = first.preprocessing.restore_targets(inputs[:, 0]).numpy()
        for window, origin in enumerate(part.origins.tolist()):
            assert set(range(origin, origin + part.horizon)) <= rows
            assert np.allclose(restored[window], values[origin : origin + part.horizon], atol=1e-5)
            assert np.allclose(past[window], values[origin - part.lags : origin], atol=1e-5)


def test_gaps_are_said_carried_and_neither_learnt_nor_scored() -> None:
    whole = frame().with_columns(y=pl.when(pl.int_range(pl.len()) == 50).then(None).otherwise(pl.col("y")))
    samples = read(whole[[row for row in range(120) if row not in (30, 31)]], horizon=3, lags=6)
    prepared = data.prepare(samples)
    said = "\n".join(str(notice.summary) for notice in prepared.notices)
    assert "times without a row: 2; rows without y: 1" in said
    assert "left out of 112 windows because of gaps: 3" in said  # those that would begin at 30 and 31, and one that would forecast one of 3
    begun = {origin for part in (prepared.train, prepared.validation, prepared.test) for origin in part.origins.tolist()}
    assert {28, 48, 49, 50} <= begun
    assert not begun & {29, 30, 31}
    assert np.isnan(prepared.train.following(torch.tensor([48]))[0].numpy()).tolist() == [False, False, True]
    kinds = [channel.kind for channel in prepared.preprocessing.channels]
    assert "observed" in kinds
    window = prepared.train.windows(torch.tensor([34]))[0]  # steps 28 to 33
    target, observed = window[0], window[kinds.index("observed")]
    assert observed.tolist() == [1, 1, 0, 0, 1, 1]
    assert target[2] == target[1] == target[3]


def test_too_many_gaps_are_one_error_and_long_ones_break_windows() -> None:
    third = frame().with_columns(y=pl.when(pl.int_range(pl.len()) % 4 == 3).then(None).otherwise(pl.col("y")))
    assert len(data.prepare(read(third)).train) > 20  # every fourth value is missing
    most = frame().with_columns(y=pl.when(pl.int_range(pl.len()) % 3 > 0).then(None).otherwise(pl.col("y")))
    with pytest.raises(DataError, match=r"windows are left to learn from(.|\n)*half of its steps(.|\n)*smaller --horizon"):
        data.prepare(read(most, horizon=12, lags=24))
    long = frame().with_columns(y=pl.when(pl.int_range(pl.len()).is_between(40, 59)).then(None).otherwise(pl.col("y")))
    begun = set(data.prepare(read(long, horizon=4, lags=8)).train.origins.tolist())
    assert begun.isdisjoint(range(45, 58))


def test_a_value_that_is_no_number_is_named() -> None:
    values = [f"{value:.3f}" for value in seasonal()]
    values[40] = "n/a?"
    samples = read(pl.DataFrame({"month": months(120), "y": values}))
    assert "rows without y: 1 (such as 'n/a?' in row 41)" in "\n".join(str(notice.summary) for notice in samples.notices)


def test_columns_beside_the_series() -> None:
    weather = ["rain", "sun", "fog"] * 40
    samples = read(frame(temperature=np.random.default_rng(0).normal(20, 5, 120), weather=weather, same=[3.0] * 120))
    prepared = data.prepare(samples)
    channels = prepared.preprocessing.channels
    assert [(channel.kind, channel.name, channel.level) for channel in channels[1:]] == [
        ("number", "temperature", ""), ("level", "weather", "fog"), ("level", "weather", "rain"), ("level", "weather", "sun"),
    ]  # fmt: skip
    inputs, _ = next(prepared.train.batches(1))
    levels = inputs[0, [2, 3, 4]]
    assert torch.equal(levels.sum(0), torch.ones(inputs.shape[2]))
    origin = int(prepared.train.origins[0])
    assert (
        levels.argmax(0).numpy() == [["fog", "rain", "sun"].index(weather[row]) for row in range(origin - inputs.shape[2], origin)]
    ).all()


def test_preprocessing_is_stored_and_new_rows_are_read_by_it(tmp_path: Path) -> None:
    prepared = data.prepare(read(frame(extra=np.arange(120) % 7)))
    again = SeriesPreprocessing.from_dict(prepared.preprocessing.to_dict())
    assert again == prepared.preprocessing
    path = tmp_path / "recent.csv"
    frame(60, extra=np.arange(60) % 7).write_csv(path)
    samples = data.read_new(path, again)
    _, _, places = again.latest(samples)
    assert places.tolist() == [60]
    frame(60).write_csv(path)
    with pytest.raises(DataError, match="no column 'extra'"):
        data.read_new(path, again)
    short = data.read_new(frame(5, extra=np.arange(5)), again)
    with pytest.raises(DataError, match="at least 24 steps of the recent past"):
        again.latest(short)


# -- seasons -----------------------------------------------------------------------------------------------------------------------------


def test_autocorrelation_against_its_equation() -> None:
    values = np.random.default_rng(0).normal(size=57)
    mean = values.mean()
    slow = [((values[: 57 - lag] - mean) * (values[lag:] - mean)).sum() / ((values - mean) ** 2).sum() for lag in range(20)]
    assert np.allclose(autocorrelation(values, 19), slow)


def walk(count: int) -> np.ndarray:
    return np.cumsum(np.random.default_rng(3).normal(size=count))


@pytest.mark.parametrize(
    ("values", "calendar", "season"),
    [
        (seasonal(), [12.0], 12),
        (seasonal() + np.arange(120), [12.0], 12),  # a trend hides nothing
        (seasonal(), [], 12),  # found without a calendar
        (walk(500), [7.0, 365.25], 1),  # persistence is no season
        (np.random.default_rng(0).normal(size=400), [7.0], 1),
        (np.sin(np.arange(300) * 2 * np.pi / 17) + walk(300) * 0.01, [7.0], 17),
        (np.tile([0.0, 0, 0, 0, 0, 3, 3], 40) + 0.1 * walk(280), [7.0], 7),
    ],
)
def test_seasons(values: np.ndarray, calendar: list[float], season: int) -> None:
    assert find_season(values, calendar)[0] == season


def test_the_logarithm_is_for_swings_that_grow_with_the_level() -> None:
    t = np.arange(144)
    level, swing = np.exp(0.01 * t), 1 + 0.2 * np.sin(2 * np.pi * t / 12)
    assert grows_with_level(100 * level * swing, 12)
    assert not grows_with_level(100 * level + 20 * (swing - 1), 12)  # grows, swings stay
    assert not grows_with_level(100 * swing, 12)  # no growth
    assert not grows_with_level(100 * level * swing - 90, 12)  # not positive everywhere
