"""Axes, ticks and marks: numbers to places, and never a word inside a drawing."""

from __future__ import annotations

import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pellucid.report.figures import Plot, axis, bars, logarithmic_axis, spans_decades

NUMBERS = st.floats(-1e12, 1e12, allow_subnormal=False)


@given(st.lists(NUMBERS, min_size=1, max_size=20))
def test_an_axis_holds_every_value_and_has_a_few_round_ticks(values):
    found = axis(values)
    assert found.low < found.high
    assert all(-1e-6 <= found.place(value) <= 1 + 1e-6 for value in values)
    assert len(found.ticks) <= 12
    assert all(-1e-6 <= tick.place <= 1 + 1e-6 for tick in found.ticks)
    places = [tick.place for tick in found.ticks]
    assert places == sorted(places)


@given(st.lists(st.floats(1e-12, 1e12), min_size=1, max_size=20))
def test_a_logarithmic_axis_holds_every_positive_value(values):
    found = logarithmic_axis(values)
    assert all(-1e-9 <= found.place(value) <= 1 + 1e-9 for value in values)
    assert all(0 <= tick.place <= 1 for tick in found.ticks)


@pytest.mark.parametrize(
    ("values", "labels"),
    [
        ([0, 1], ["0", "0.2", "0.4", "0.6", "0.8", "1.0"]),
        ([0, 100], ["0", "20", "40", "60", "80", "100"]),
        ([-1, 1], ["−1.0", "−0.5", "0", "0.5", "1.0"]),
        ([0, 5_000], ["0", "1\u202f000", "2\u202f000", "3\u202f000", "4\u202f000", "5\u202f000"]),
        ([0.9, 1.0], ["0.90", "0.92", "0.94", "0.96", "0.98", "1.00"]),
        ([math.nan, math.inf, 3.0, 4.0], ["3.0", "3.2", "3.4", "3.6", "3.8", "4.0"]),
    ],
)
def test_ticks_are_round_and_labelled_alike(values, labels):
    assert [tick.label for tick in axis(values).ticks] == labels


def test_a_label_stands_where_its_number_is():
    found = axis([0, 10])
    for tick in found.ticks:
        assert found.place(float(tick.label)) == pytest.approx(tick.place)
    powers = logarithmic_axis([1e-6, 1e6])
    assert [tick.label for tick in powers.ticks] == ["10⁻⁶", "10⁻⁴", "0.01", "1", "100", "10000", "10⁶"]
    assert powers.place(0.01) == pytest.approx(powers.ticks[2].place)


def test_epochs_are_whole():
    assert [tick.label for tick in axis([1, 2], whole=True).ticks] == ["1", "2"]


def test_when_a_logarithmic_axis_is_worth_it():
    assert spans_decades([0.01, 1.0])
    assert not spans_decades([0.1, 1.0])
    assert not spans_decades([0.0, 1.0])
    assert not spans_decades([math.nan])


def test_a_line_has_a_gap_where_a_value_is_missing():
    plot = Plot(axis([0, 4]), axis([0, 4]))
    plot.line([0, 1, 2, 3, 4], [0, 1, math.nan, 3, 4], "train")
    path = re.search(r' d="([^"]+)"', plot.marks[0])
    assert path
    assert path[1].count("M") == 2
    assert path[1].count("L") == 2


def test_a_line_of_one_epoch_is_a_dot_and_of_none_is_nothing():
    plot = Plot(axis([1, 1]), axis([0, 4]))
    plot.line([1], [2], "train")
    assert 'class="dots train"' in plot.marks[0]
    plot = Plot(axis([1, 1]), axis([0, 4]))
    plot.line([1, 2], [math.nan, math.inf], "train")
    plot.dots([math.nan], [1], "train")
    plot.band([1, 2], [math.nan, 0], [1, math.nan], "train")
    assert not plot.marks


def test_a_long_line_keeps_its_ends_and_stays_small():
    plot = Plot(axis([0, 100_000]), axis([0, 1]))
    plot.line(list(range(100_001)), [i / 100_000 for i in range(100_001)], "train")
    assert len(plot.marks[0]) < 20_000
    points = re.findall(r"[ML]([\d.]+) ([\d.]+)", plot.marks[0])
    assert float(points[0][0]) == pytest.approx(1000 * plot.x.place(0), abs=0.1)
    assert float(points[-1][0]) == pytest.approx(1000 * plot.x.place(100_000), abs=0.1)


def test_the_place_of_a_point():
    plot = Plot(axis([0, 10], margin=0), axis([0, 10], margin=0))
    plot.dots([2.5], [7.5], "x")
    assert "M250.0 250.0h0" in plot.marks[0]  # down is up in SVG


def test_a_drawing_has_no_words():
    plot = Plot(axis([0, 10]), axis([0, 10]))
    plot.line([0, 10], [0, 10], "train")
    plot.note(9.0, 5.0, "a word", "kept")
    plot.box((0, 0), (1, 5), "bar")
    assert "<text" not in plot.svg
    assert "word" not in plot.svg
    assert plot.notes[0].side == "left"  # no room on the right
    assert plot.notes[0].place.startswith("right:")


def test_bars_share_one_scale():
    common, drawn = bars([(0.5, 0.4, 0.6), (0.9, None, None), None, (math.nan, None, None)])
    assert drawn[2] is None
    assert drawn[3] is None
    first, second = drawn[0], drawn[1]
    assert first is not None
    assert second is not None
    assert first.low is not None
    assert first.high is not None
    assert first.low < first.place < first.high < second.place
    assert second.low is None
    assert first.place == pytest.approx(100 * common.place(0.5))
