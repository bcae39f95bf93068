"""Curves as SVG without a word in them: numbers and titles stand around it as HTML, so that one page serves both languages."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

WIDTH, HEIGHT = 600.0, 160.0
Points = Sequence[tuple[float, float | None]]


def curves(series: Sequence[tuple[str, Points]], *, logarithmic: bool = False, band: Sequence[tuple[float, float, float]] = ()) -> str:
    """Lines on common axes, one CSS class each ("c0", "dots c1"), with the ends of both axes in numbers; "" where nothing can be drawn.

    `band`: (x, low, high), an area behind the first line.
    """

    def usable(y: float | None) -> bool:
        return y is not None and math.isfinite(y) and (y > 0 or not logarithmic)

    places = [x for _, points in series for x, y in points if usable(y)]
    heights = [float(y) for _, points in series for _, y in points if y is not None and usable(y)]
    if not places:
        return ""
    left, right = min(places), max(places)
    low, high = min(heights), max(heights)
    if logarithmic:
        low, high = 10 ** math.floor(math.log10(low)), 10 ** math.ceil(math.log10(high))
    if low == high:
        low, high = (low / 2, high * 2) if logarithmic else (low - 0.5 * (abs(low) or 1), high + 0.5 * (abs(high) or 1))

    def at(x: float, y: float) -> str:
        across = (x - left) / (right - left) if right > left else 0.5
        up = math.log(max(y, low) / low) / math.log(high / low) if logarithmic else (min(max(y, low), high) - low) / (high - low)
        return f"{WIDTH * across:.1f} {HEIGHT * (1 - up):.1f}"

    drawn = [f'<path class="grid" d="M0 0H{WIDTH:.0f}M0 {HEIGHT / 2:.0f}H{WIDTH:.0f}M0 {HEIGHT:.0f}H{WIDTH:.0f}"/>']
    area = [(x, a, b) for x, a, b in band if usable(a) and usable(b)]
    if len(area) > 1:
        there, back = "L".join(at(x, b) for x, _, b in area), "L".join(at(x, a) for x, a, _ in reversed(area))
        drawn.append(f'<path class="band" d="M{there}L{back}Z"/>')
    for kind, points in series:
        drawn.append(f'<path class="{escape(kind)}" d="{_path(points, at, usable)}"/>')
    svg = f'<svg viewBox="0 0 {WIDTH:.0f} {HEIGHT:.0f}" preserveAspectRatio="none" aria-hidden="true">{"".join(drawn)}</svg>'
    return (
        f'<div class="plot"><span class="high">{number(high)}</span><span class="low">{number(low)}</span>{svg}'
        f'<span class="left">{number(left)}</span><span class="right">{number(right)}</span></div>'
    )


def _path(points: Points, at, usable) -> str:  # pyright: ignore[reportMissingParameterType]
    """A broken line with a gap where a value is missing; a lone value is a dot."""
    parts: list[str] = []
    pen = False
    for position, (x, y) in enumerate(points):
        if y is None or not usable(y):
            pen = False
            continue
        alone = not pen and (position + 1 == len(points) or not usable(points[position + 1][1]))
        parts.append(f"{'L' if pen else 'M'}{at(x, y)}{'h0' if alone else ''}")
        pen = True
    return "".join(parts)


def spark(values: Sequence[float | None], *, logarithmic: bool = False) -> str:
    """A small curve for a row of a table."""
    known = [value for value in values if value is not None and (value > 0 or not logarithmic)]
    if len(known) < 2:
        return ""
    scaled = [math.log10(value) if logarithmic else value for value in known]
    low, high = min(scaled), max(scaled)
    width = (high - low) or 1.0
    points = " ".join(f"{100 * place / (len(scaled) - 1):.1f},{22 - 20 * (value - low) / width:.1f}" for place, value in enumerate(scaled))
    return f'<svg class="spark" viewBox="0 0 100 24" preserveAspectRatio="none" aria-hidden="true"><polyline points="{points}"/></svg>'


def number(value: float | None, digits: int = 3) -> str:
    """A number as a person reads it: three digits, 1.2e-5, a true minus."""
    if value is None:
        return "–"
    if value == 0:
        return "0"
    if float(value).is_integer() and abs(value) < 1e6:
        return f"{value:.0f}".replace("-", "−")
    shown = f"{value:.{digits}g}" if 1e-3 <= abs(value) < 1e6 else f"{value:.{digits - 1}e}"
    mantissa, _, exponent = shown.partition("e")
    return (mantissa + (f"e{int(exponent)}" if exponent else "")).replace("-", "−")


def share(value: float | None) -> str:
    """A share in percent."""
    return "–" if value is None else f"{100 * value:.1f} %" if 0 < value < 0.1 else f"{100 * value:.0f} %"
