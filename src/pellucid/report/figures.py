"""Figures without words: an SVG of the marks alone, and where each tick, note and axis stands, for the page to write beside it in HTML.

The SVG has a square of 1000 x 1000 units that the page stretches to any size; strokes keep their width, numbers their font. So one
drawing serves a telephone, a screen and a sheet of paper, and its titles, axes and legends are written in both languages.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from markupsafe import Markup

from pellucid.core.language import Text

SIDE = 1000.0  # units of the drawing's own square
MOST_POINTS = 600  # of one line: more than a screen can show
_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


@dataclass(frozen=True)
class Tick:
    place: float  # along the axis, 0 to 1
    label: str


@dataclass(frozen=True)
class Axis:
    """Numbers to places between 0 and 1."""

    low: float
    high: float
    ticks: tuple[Tick, ...]
    logarithmic: bool = False

    def place(self, value: float) -> float:
        if self.logarithmic:
            if value <= 0:
                return 0.0
            return (math.log10(value) - math.log10(self.low)) / (math.log10(self.high) - math.log10(self.low))
        return (value - self.low) / (self.high - self.low)


def axis(values: Iterable[float], *, most: int = 6, margin: float = 0.04, whole: bool = False) -> Axis:
    """A linear axis that holds all finite `values`, with at most about `most` round ticks."""
    finite = [value for value in values if math.isfinite(value)] or [0.0, 1.0]
    low, high = min(finite), max(finite)
    if high - low <= 1e-12 * max(abs(low), abs(high), 1e-300):
        half = abs(low) * 0.1 or 1.0
        low, high = low - half, high + half
    room = (high - low) * margin
    low, high = low - room, high + room
    step = _round_step((high - low) / most)
    if whole:
        step = max(1.0, step)
    first = math.ceil(low / step - 1e-9)
    marks = [number * step for number in range(first, math.floor(high / step + 1e-9) + 1)]
    return Axis(low, high, tuple(Tick((mark - low) / (high - low), _label(mark, step)) for mark in marks))


def logarithmic_axis(values: Iterable[float]) -> Axis:
    """A logarithmic axis that holds all finite positive `values`, with ticks at powers of ten, or at 1, 2 and 5 where these are few."""
    finite = [value for value in values if math.isfinite(value) and value > 0] or [1.0, 10.0]
    low, high = math.log10(min(finite)), math.log10(max(finite))
    room = max((high - low) * 0.04, 0.02)
    low, high = low - room, high + room
    powers = range(math.ceil(low), math.floor(high) + 1)
    if len(powers) >= 3:
        every = -(-len(powers) // 7)
        marks = [(power, f"{10.0**power:g}" if -4 < power < 5 else f"10{str(power).translate(_SUPERSCRIPT)}") for power in powers][::every]
    else:
        numbers = [digit * 10.0**power for power in range(math.floor(low), math.ceil(high) + 1) for digit in (1, 2, 5)]
        marks = [(math.log10(number), f"{number:g}") for number in numbers if low <= math.log10(number) <= high]
    return Axis(10**low, 10**high, tuple(Tick((mark - low) / (high - low), label) for mark, label in marks), logarithmic=True)


def spans_decades(values: Iterable[float]) -> bool:
    """Whether positive values differ by so much that a linear axis would hide the small ones."""
    finite = [value for value in values if math.isfinite(value)]
    return len(finite) > 1 and min(finite) > 0 and max(finite) / min(finite) > 30


def _round_step(least: float) -> float:
    power = 10.0 ** math.floor(math.log10(least))
    return next(factor * power for factor in (1.0, 2.0, 2.5, 5.0, 10.0) if factor * power >= least * (1 - 1e-9))


def _label(mark: float, step: float) -> str:
    if abs(mark) < step * 1e-6:
        return "0"
    if max(abs(mark), step) >= 1e6 or step < 1e-4:
        return f"{mark:.3g}".replace("-", "−").replace("e+0", "e").replace("e+", "e")
    decimals = max(0, -math.floor(math.log10(step) + 1e-9))
    decimals += round(step * 10**decimals, 6) != round(step * 10**decimals)  # steps of 2.5 and 0.25
    return f"{mark:,.{decimals}f}".replace(",", "\u202f").replace("-", "−")


@dataclass(frozen=True)
class Note:
    """A word at a place of the drawing."""

    x: float  # 0 (left) to 1
    y: float  # 0 (bottom) to 1
    words: Text | str
    kind: str = ""
    side: str = "right"  # of the place

    @property
    def place(self) -> str:
        """CSS that puts the words beside the place and never outside the drawing."""
        across = f"left:{100 * self.x:.2f}%" if self.side == "right" else f"right:{100 - 100 * self.x:.2f}%"
        return f"{across};bottom:{100 * min(max(self.y, 0.0), 1.0):.2f}%"


@dataclass
class Plot:
    """Marks on two axes. `kind` is the mark's CSS class: train, validation, kept, ..."""

    x: Axis
    y: Axis
    marks: list[str] = field(default_factory=list[str])
    notes: list[Note] = field(default_factory=list[Note])

    def line(self, xs: Sequence[float], ys: Sequence[float], kind: str) -> None:
        """A broken line; it has a gap where a value is not finite."""
        points = list(zip(xs, ys, strict=True))
        if len(points) > MOST_POINTS:
            every = len(points) / MOST_POINTS
            points = [points[int(number * every)] for number in range(MOST_POINTS)] + [points[-1]]
        drawn: list[str] = []
        pen = "M"
        for x, y in points:
            if not (math.isfinite(x) and math.isfinite(y)):
                pen = "M"
                continue
            drawn.append(f"{pen}{self._at(x, y)}")
            pen = "L"
        if len(drawn) == 1:  # one epoch: a dot
            self.dots([points[0][0]], [points[0][1]], kind)
        elif drawn:
            self.marks.append(f'<path class="line {kind}" d="{"".join(drawn)}"/>')

    def band(self, xs: Sequence[float], lows: Sequence[float], highs: Sequence[float], kind: str) -> None:
        """The area between two lines."""
        rows = [(x, low, high) for x, low, high in zip(xs, lows, highs, strict=True) if all(map(math.isfinite, (x, low, high)))]
        if len(rows) > MOST_POINTS:
            rows = rows[:: -(-len(rows) // MOST_POINTS)]
        if len(rows) > 1:
            there = "L".join(self._at(x, high) for x, _, high in rows)
            back = "L".join(self._at(x, low) for x, low, _ in reversed(rows))
            self.marks.append(f'<path class="band {kind}" d="M{there}L{back}Z"/>')

    def dots(self, xs: Sequence[float], ys: Sequence[float], kind: str) -> None:
        """Round dots: strokes of no length, so that stretching leaves them round."""
        places = [self._at(x, y) for x, y in zip(xs, ys, strict=True) if math.isfinite(x) and math.isfinite(y)]
        if places:
            self.marks.append(f'<path class="dots {kind}" d="{"".join(f"M{place}h0" for place in places)}"/>')

    def segment(self, start: tuple[float, float], end: tuple[float, float], kind: str) -> None:
        self.marks.append(f'<path class="line {kind}" d="M{self._at(*start)}L{self._at(*end)}"/>')

    def vertical(self, x: float, kind: str) -> None:
        self.segment((x, self.y.low), (x, self.y.high), kind)

    def horizontal(self, y: float, kind: str) -> None:
        self.segment((self.x.low, y), (self.x.high, y), kind)

    def box(self, low: tuple[float, float], high: tuple[float, float], kind: str) -> None:
        """A filled rectangle between two corners."""
        left, bottom, right, top = self._x(low[0]), self._y(low[1]), self._x(high[0]), self._y(high[1])
        self.marks.append(
            f'<rect class="{kind}" x="{left:.1f}" y="{top:.1f}" width="{max(right - left, 0):.1f}" height="{max(bottom - top, 0):.1f}"/>'
        )

    def note(self, x: float, y: float, words: Text | str, kind: str = "") -> None:
        """Words beside a place, on the side where there is more room."""
        across = self.x.place(x)
        self.notes.append(Note(across, self.y.place(y), words, kind, "right" if across < 0.6 else "left"))

    @property
    def svg(self) -> Markup:
        """The drawing; the grid lines of both axes under the marks."""
        grid = "".join(f"M{SIDE * tick.place:.1f} 0V{SIDE:.0f}" for tick in self.x.ticks)
        grid += "".join(f"M0 {SIDE * (1 - tick.place):.1f}H{SIDE:.0f}" for tick in self.y.ticks)
        return Markup(
            f'<svg viewBox="0 0 {SIDE:.0f} {SIDE:.0f}" preserveAspectRatio="none" aria-hidden="true" focusable="false">'
            f'<path class="grid" d="{grid}"/>{"".join(self.marks)}</svg>'
        )  # numbers and our own class names alone

    def _x(self, x: float) -> float:
        return SIDE * min(max(self.x.place(x), -0.01), 1.01)

    def _y(self, y: float) -> float:
        return SIDE * (1 - min(max(self.y.place(y), -0.01), 1.01))

    def _at(self, x: float, y: float) -> str:
        return f"{self._x(x):.1f} {self._y(y):.1f}"


@dataclass(frozen=True)
class Bar:
    """A score with its interval on a common track, as places from 0 to 100 %."""

    place: float
    low: float | None
    high: float | None


def bars(values: Sequence[tuple[float, float, float] | tuple[float, None, None] | None]) -> tuple[Axis, list[Bar | None]]:
    """(value, low, high) of each row -> one axis for all, and each row's bar."""
    numbers = [number for row in values if row is not None for number in row if number is not None]
    common = axis(numbers, most=4, margin=0.06)
    drawn: list[Bar | None] = []
    for row in values:
        if row is None or not math.isfinite(row[0]):
            drawn.append(None)
            continue
        low, high = (None, None) if row[1] is None or row[2] is None else (100 * common.place(row[1]), 100 * common.place(row[2]))
        drawn.append(Bar(100 * common.place(row[0]), low, high))
    return common, drawn


CURVES = ("l0", "l1", "l2", "l3", "whole")  # CSS classes of several curves in one drawing


def curves(several: Sequence[Sequence[float | None]], steps: Sequence[int], frame: Axis | None = None) -> Plot:
    """Series over the numbers of their steps, from 1; those that were thinned out have the `steps` said. `frame`: the axis of values."""
    shown = [[math.nan if value is None else float(value) for value in values] for values in several]
    across = axis([1, max(2, *steps)], most=5, margin=0.0, whole=True)
    plot = Plot(across, frame or axis([value for values in shown for value in values], most=4))
    for number, values in enumerate(shown):
        last = steps[min(number, len(steps) - 1)]
        places = [1 + index * (last - 1) / max(len(values) - 1, 1) for index in range(len(values))]
        plot.line(places, values, CURVES[number % len(CURVES)])
    return plot
