"""The two streams: what can be written to them, how wide they are, and when colours and moving lines are welcome.

Output must never fail because a console is not UTF-8: a character that it does not know is replaced by its nearest ASCII neighbour.
"""

from __future__ import annotations

import codecs
import io
import os
import shutil
import sys
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, TextIO

from pellucid.cli.layout import one_line, width_of, wrap

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text as Styled

Piece = str | tuple[str, str]  # words, or (words, style)

_WIDEST = 110  # longer lines of prose are hard to read, however wide the window

# What stands in for a character that a console's encoding does not have. Each is one column wide, so that alignment survives.
_NEIGHBOURS = str.maketrans(
    {
        "━": "=", "─": "-", "╸": "=", "╺": "-", "│": "|", "✓": "+", "✗": "x", "·": "|", "•": "*", "–": "-", "—": "-", "−": "-", "×": "x",
        "≥": ">", "≤": "<", "≈": "~", "±": "~", "→": ">", "←": "<", "…": ".", "‘": "'", "’": "'", "“": '"', "”": '"', "²": "2", "³": "3",
    }
)  # fmt: skip


def _replace(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lost = error.object[error.start : error.end].translate(_NEIGHBOURS)
    return "".join(character if character.isascii() else "?" for character in lost), error.end


def prepare_streams() -> None:
    """From now on writing to standard output and standard error never raises UnicodeEncodeError; a closed one (`>&-`) swallows all."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: PTH123, SIM115 - it lives as long as the process
    codecs.register_error("pellucid.console", _replace)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="pellucid.console")


def can_write_chinese(stream: TextIO | None = None) -> bool:
    """Whether the stream's encoding has Chinese characters (UTF-8 and GBK do, ASCII and Latin-1 do not)."""
    stream = sys.stdout if stream is None else stream
    try:
        "训练".encode(getattr(stream, "encoding", None) or "utf-8", "strict")
    except (UnicodeEncodeError, LookupError):
        return False
    return True


class Output:
    """One of the two standard streams, seen as a place to write lines for a person."""

    def __init__(self, name: str) -> None:
        self.name = name  # "stdout" or "stderr"

    @property
    def stream(self) -> Any:
        return getattr(sys, self.name)

    @cached_property
    def live(self) -> bool:
        """Whether a line may be redrawn: a terminal, and not one that cannot move its cursor."""
        stream = self.stream
        return bool(stream is not None and stream.isatty()) and os.environ.get("TERM", "") not in ("dumb", "unknown")

    @cached_property
    def coloured(self) -> bool:
        """Colours only in a terminal, and not where the user asked for none (no-color.org)."""
        return self.live and not os.environ.get("NO_COLOR")

    @cached_property
    def unicode(self) -> bool:
        """Whether lines and ticks beyond ASCII are sure to be drawn, one column wide."""
        return str(getattr(self.stream, "encoding", None) or "utf-8").lower().replace("_", "-").startswith("utf")

    def ends_where(self, other: Output) -> bool:
        """Whether both streams come to one place: a terminal, or a file or pipe into which both were led."""
        try:
            mine, others = (os.fstat(output.stream.fileno()) for output in (self, other))
        except (AttributeError, OSError, ValueError):  # a stream of another program's making
            return False
        return os.path.samestat(mine, others)

    @property
    def columns(self) -> int:
        """The width to write prose for."""
        return max(40, min(self.full_columns, _WIDEST))

    @property
    def full_columns(self) -> int:
        """The window's width; 80 where there is no window."""
        if os.environ.get("COLUMNS", "").isdecimal():
            return max(int(os.environ["COLUMNS"]), 20)
        try:
            return os.get_terminal_size(self.stream.fileno()).columns or 80
        except (AttributeError, OSError, ValueError):
            return shutil.get_terminal_size((80, 24)).columns if self.live else 80

    @cached_property
    def console(self) -> Console:
        from rich.console import Console

        # Nothing of rich that guesses: a user's [brackets] are no markup, their numbers get no colours, their :words: no pictures.
        return Console(
            stderr=self.name == "stderr",
            force_terminal=self.live,
            no_color=not self.coloured,
            width=self.full_columns if self.live else None,
            highlight=False,
            markup=False,
            emoji=False,
            soft_wrap=True,
        )

    def line(self, *pieces: Piece) -> None:
        """One line, of any length."""
        self.console.print(styled(*pieces), soft_wrap=True)

    def prose(self, sentence: str, style: str = "", *, first: str = "", rest: str | None = None) -> None:
        """A sentence as broken lines, the first begun with `first`; control characters in it do nothing."""
        for line in wrap(one_line(sentence), self.columns, first=first, rest=rest):
            self.line((line, style))

    def table(
        self, header: Sequence[str], rows: Sequence[Sequence[Piece]], *, right: Sequence[int] = (), spare: Sequence[int] = ()
    ) -> None:
        """Aligned columns; those numbered in `right` are flush right.

        Where the window is too narrow the columns in `spare` are left out, one after the other, as long as that is needed. In a pipe
        every row is one line with all its columns, whatever its length.
        """
        from rich.table import Table

        cells = [[name, *(plain(row[position]) for row in rows)] for position, name in enumerate(header)]
        widths = {position: max(width_of(cell) for cell in column) + 2 for position, column in enumerate(cells)}
        kept = list(widths)
        for position in spare:
            if self.live and sum(widths[column] for column in kept) - 2 > self.full_columns:
                kept.remove(position)
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim" if self.coloured else "")
        for position in kept:
            justify = "right" if position in right else "left"
            table.add_column(header[position], justify=justify, no_wrap=not self.live, overflow="fold")
        for row in rows:
            table.add_row(*(styled(row[position]) for position in kept))
        width = self.full_columns if self.live else 100_000
        for segments in self.console.render_lines(table, self.console.options.update(width=width), pad=False):
            self.console.print(_without_trailing_blanks(segments), soft_wrap=True)


def plain(piece: Piece) -> str:
    """The words without their style."""
    return piece if isinstance(piece, str) else piece[0]


def _without_trailing_blanks(segments: Sequence[Any]) -> Styled:
    from rich.text import Text as Styled

    line = Styled()
    for segment in segments:
        line.append(segment.text, segment.style)
    line.rstrip()
    return line


def styled(*pieces: Piece) -> Styled:
    from rich.text import Text as Styled

    return Styled.assemble(*pieces)
