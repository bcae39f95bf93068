"""Lines that fit a terminal: widths of Chinese characters, line breaking, and how numbers, times and amounts are written.

Neither click nor rich breaks Chinese text: it has no spaces, so both move a whole sentence to the next line. `wrap` breaks between
any two Chinese characters and keeps punctuation where Chinese typography wants it. Imports nothing heavy: `--help` uses this file.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Iterable, Sequence

from pellucid.core.language import Text, text

_NEVER_FIRST = "，。；：！？、）”’》】…%,.;:!?)]}"  # a line may not begin with these
_NEVER_LAST = "（“‘《【([{"  # nor end with these
_TOGETHER = re.compile(r"(?<=\d),? (?=[-\d.]+\])|(?<=\d) (?=\d{3}\b)|(?<=\d) (?=%)")  # the blanks in [0.787, 0.982], 1 234 and 95 %
_BLANK = "\x00"  # stands for such a blank while lines are broken


def width_of(line: str) -> int:
    """How many columns a terminal needs for `line`: two for a Chinese character, none for a combining mark."""
    return sum(_cells(character) for character in line)


def _cells(character: str) -> int:
    if unicodedata.combining(character) or unicodedata.category(character) in ("Cf", "Mn", "Me"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def fill(line: str, columns: int) -> str:
    """`line` with as many blanks as bring it to `columns` terminal columns."""
    return line + " " * max(columns - width_of(line), 0)


def shorten(line: str, columns: int) -> str:
    """`line`, cut in the middle where it is wider than `columns`: both the beginning and the end of a path or name say something."""
    if width_of(line) <= columns:
        return line
    head, tail = _cut(line, (columns - 1) // 2), _cut(line[::-1], columns - 1 - (columns - 1) // 2)[::-1]
    return f"{head}…{tail}"


def _cut(line: str, columns: int) -> str:
    used = 0
    for position, character in enumerate(line):
        used += _cells(character)
        if used > columns:
            return line[:position]
    return line


def wrap(sentence: str, columns: int, *, first: str = "", rest: str | None = None) -> list[str]:
    """`sentence` as lines of at most `columns` terminal columns, the first begun with `first`, the others with `rest`.

    `rest` is by default as many blanks as `first` is wide. A word that is too long (a path) keeps a line of its own, uncut.
    """
    rest = " " * width_of(first) if rest is None else rest
    lines: list[str] = []
    for paragraph in _TOGETHER.sub(lambda blank: blank[0].replace(" ", _BLANK), sentence).split("\n"):
        line, begun = (first if not lines else rest), False
        for piece in _pieces(paragraph):
            if begun and width_of(line) + width_of(piece.rstrip()) > columns:
                lines.append(line.rstrip())
                line, piece = rest, piece.lstrip()
            line += piece
            begun = begun or bool(piece.strip())
        lines.append(line.rstrip())
    return [line.replace(_BLANK, " ") for line in lines]


def _pieces(paragraph: str) -> list[str]:
    """The paragraph cut wherever a line may end; blanks stay at the end of the piece before them."""
    pieces: list[str] = []
    for character in paragraph:
        if pieces and not _may_break(pieces[-1][-1], character):
            pieces[-1] += character
        else:
            pieces.append(character)
    return pieces


def _may_break(before: str, after: str) -> bool:
    if after == " " or after in _NEVER_FIRST or before in _NEVER_LAST:
        return False
    return before == " " or _cells(before) == 2 or _cells(after) == 2


# -- numbers ---------------------------------------------------------------------------------------------------------------------


def number(value: float | None, digits: int = 4) -> str:
    """A measured value with `digits` significant digits, and as many places below one: 0.9667, 12.35; very small or large: 3.5e-4."""
    if value is None:
        return "-"
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else ("-inf" if value < 0 else "inf")
    size = abs(value)
    if size and (size < 1e-3 or size >= 1e6):
        return f"{value:.1e}".replace("e-0", "e-").replace("e+0", "e+")
    places = digits - 1 - math.floor(math.log10(size)) if size >= 1 else digits
    return f"{value:.{max(places, 0)}f}"


def clock(seconds: float) -> str:
    """A time that changes while one looks: 0:07, 12:30, 1:02:03."""
    if not math.isfinite(seconds):
        return "-:--"
    whole = max(round(seconds), 0)
    hours, minutes, rest = whole // 3600, whole // 60 % 60, whole % 60
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def listing(names: Sequence[str] | Iterable[str], shown: int = 6) -> Text:
    """Names in a row, at most `shown` of them, then how many more there are."""
    names = list(names)
    if len(names) <= shown + 1:
        return text("{names}", names=names)
    return text("{names} and {more} more", names=names[:shown], more=len(names) - shown)


def words(*parts: Text | str) -> str:
    """The parts in a row; a blank between them, but none between two Chinese characters nor beside Chinese punctuation."""
    line = ""
    for part in (str(part) for part in parts):
        together = not line or not part or (_cells(line[-1]) == 2 and _cells(part[0]) == 2) or line[-1] in "，。；：！？、（）"
        line += part if together else f" {part}"
    return line


def one_line(sentence: str) -> str:
    """Control characters and line breaks of somebody's file out of the way, so that they cannot redraw the terminal."""
    return re.sub(r"[\x00-\x1f\x7f-\x9f]+", " ", sentence)
