"""Equations as plain text: Unicode letters and signs, matrices over several lines, broken at signs of equality to a width."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

import numpy as np

from pellucid.derivation.formula import (
    Accent,
    Fraction,
    Letter,
    Matrix,
    Node,
    Number,
    Root,
    Row,
    Script,
    Symbol,
    Table,
    Words,
    in_brackets,
    numerals,
)
from pellucid.derivation.latex_formula import FUNCTIONS, GREEK, SIGNS

_SUPERSCRIPTS = dict(zip("0123456789+-=()nijkmtTs⊤′,", "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁼⁽⁾ⁿⁱʲᵏᵐᵗᵀˢᵀ′⋅", strict=True)) | {"−": "⁻", "[": "⁽", "]": "⁾"}
_SUBSCRIPTS = dict(zip("0123456789+-=()aehijklmnoprstuvx,", "₀₁₂₃₄₅₆₇₈₉₊₋₌₍₎ₐₑₕᵢⱼₖₗₘₙₒₚᵣₛₜᵤᵥₓ,", strict=True)) | {"−": "₋"}
_ACCENTS = {"bar": "\u0304", "hat": "\u0302", "tilde": "\u0303", "vec": "\u20d7", "dot": "\u0307", "underline": "\u0332"}
_SPACED = set("=+−←→⊙×≠≤≥∈∉≈·⊗⊕∘<>")


@dataclass(frozen=True)
class Box:
    """Lines of one width; `base` is the line on which its neighbours stand."""

    lines: tuple[str, ...]
    base: int = 0

    @property
    def width(self) -> int:
        return max((columns_of(line) for line in self.lines), default=0)


def columns_of(line: str) -> int:
    """The columns of a terminal that the line takes: a Chinese character takes two, an accent none."""
    return sum(0 if unicodedata.combining(character) else 2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in line)


def padded(line: str, width: int) -> str:
    return line + " " * (width - columns_of(line))


def beside(boxes: list[Box]) -> Box:
    """Boxes next to each other on one base line."""
    above = max((box.base for box in boxes), default=0)
    below = max((len(box.lines) - box.base - 1 for box in boxes), default=0)
    lines = [""] * (above + below + 1)
    for box in boxes:
        for number in range(len(lines)):
            inner = number - above + box.base
            lines[number] += padded(box.lines[inner] if 0 <= inner < len(box.lines) else "", box.width)
    return Box(tuple(lines), above)


def wrapped(line: str, width: int) -> list[str]:
    """A sentence over several lines, broken at blanks, or after any Chinese character; its indentation is kept."""
    indent = line[: len(line) - len(line.lstrip())]
    rows, row = [], indent
    for piece in re.findall(r"[\u3000-\u9fff\uff00-\uffef]|[^\s\u3000-\u9fff\uff00-\uffef]+|\s+", line.lstrip()):
        if columns_of(row + piece) > width and row.strip() and piece not in "，。；：、）":
            rows.append(row.rstrip())
            row = indent + piece.lstrip()
        else:
            row += piece
    return [*rows, row.rstrip()]


def plain(node: Node) -> str:
    """An equation without arrays on one line."""
    return " ".join(line.strip() for line in box_of(node).lines)


def equation_lines(parts: list[Node], width: int) -> list[str]:
    """a = b = c: on one line where it fits, else each = under the first."""
    boxes = [box_of(part) for part in parts]
    lead = boxes[0].width
    rows: list[list[Box]] = [[boxes[0]]]
    used = lead
    for box in boxes[1:]:
        if used + 3 + box.width > width and len(rows[-1]) > 1:
            rows.append([Box((" " * lead,))])
            used = lead
        rows[-1] += [Box((" = ",)), box]
        used += 3 + box.width
    return [line.rstrip() for row in rows for line in beside(row).lines]


def box_of(node: Node) -> Box:
    match node:
        case Row(items):
            return _row(items)
        case Matrix(array):
            return _matrix(array)
        case Script(base, sub, sup):
            inner = _row((Row(()), base)) if isinstance(base, Matrix) else box_of(base)
            if len(inner.lines) > 1:  # a matrix: the superscript at its upper right corner
                above = "" if sup is None else _script(plain(sup), _SUPERSCRIPTS, "^")
                lines = [padded(line, inner.width) for line in inner.lines]
                return Box((lines[0] + above, *lines[1:]), inner.base)
            return Box((_scripted(plain(base), sub, sup),))
        case _:
            return Box((_line(node),))


def _row(items: tuple[Node, ...]) -> Box:
    boxes: list[Box] = []
    for position, item in enumerate(items):
        box = box_of(item)
        if in_brackets(items, position):
            box = Box((f"({box.lines[0]})",))
        if boxes and _apart(items[position - 1], item):
            boxes.append(Box((" ",)))
        boxes.append(box)
    return beside(boxes) if boxes else Box(("",))


def _apart(left: Node, right: Node) -> bool:
    """Whether a blank stands between two neighbours: always around relations, and between factors."""
    left, right = _edge(left), _edge(right)
    if left == Row(()):
        return False
    if (isinstance(right, Symbol) and _sign(right.sign) in ")],;:}⌋⌉") or (isinstance(left, Symbol) and _sign(left.sign) in "([{⌊⌈∂¬"):
        return False
    if (isinstance(left, Symbol) and left.sign in ("-", "+")) or (isinstance(right, Symbol) and right.sign in ("-", "+")):
        return True
    if any(isinstance(side, Symbol) and (_sign(side.sign) in _SPACED or not _sign(side.sign).strip()) for side in (left, right)):
        return not any(isinstance(side, Symbol) and not _sign(side.sign).strip() for side in (left, right))
    if isinstance(right, Symbol) and _sign(right.sign) in "([":
        return isinstance(left, (Matrix, Fraction)) or (isinstance(left, Symbol) and _sign(left.sign) in ",∑")
    if isinstance(left, Symbol) and left.sign in ("|", "/", "\\lVert", "\\rVert", "\\prime", "!"):
        return False
    if isinstance(right, Symbol) and right.sign in ("|", "/", "\\lVert", "\\rVert", "\\prime", "!"):
        return False
    return not (isinstance(left, Symbol) and _sign(left.sign) in "‖|")


def _edge(node: Node) -> Node:
    return _edge(node.base) if isinstance(node, Script) else node


def _sign(sign: str) -> str:
    if sign.startswith("\\"):
        name = sign[1:]
        return SIGNS.get(name, "  " if "quad" in name else " " if name in (",", ";", ":", " ") else name)
    return "−" if sign == "-" else sign


def _line(node: Node) -> str:
    match node:
        case Letter(name):
            return GREEK.get(name[1:], name) if name.startswith("\\") else name
        case Number(digits):
            return digits
        case Symbol(sign):
            return _sign(sign)
        case Words(words):
            return words
        case Fraction(top, bottom):
            return f"{_factor(top)}/{_factor(bottom)}"
        case Root(body):
            return f"√{plain(body)}" if _simple(body) else f"√({plain(body)})"
        case Accent(kind, body):
            inner = plain(body)
            return unicodedata.normalize("NFC", inner + _ACCENTS.get(kind, "")) if len(inner) == 1 else f"{kind}({inner})"
        case Table("substack", rows):
            return ", ".join(plain(cell) for row in rows for cell in row)
        case Table("cases", rows):
            return "{ " + "; ".join(" ".join(plain(cell).rstrip(",") for cell in row) for row in rows) + " }"
        case Table(_, rows):
            return "[" + "; ".join(" ".join(plain(cell) for cell in row) for row in rows) + "]"
        case _:
            return plain(node)


def _simple(node: Node) -> bool:
    if isinstance(node, Row):  # ∂L, or one thing
        return len(node.items) < 2 or (len(node.items) == 2 and node.items[0] == Symbol("\\partial"))
    return not isinstance(node, (Fraction, Table))


def _factor(node: Node) -> str:
    inner = plain(node)
    return inner if _simple(node) else f"({inner})"


def _scripted(base: str, sub: Node | None, sup: Node | None) -> str:
    if base in FUNCTIONS or base in ("∑", "∏", "⋀", "⋁"):
        under = "" if sub is None else _script(plain(sub), _SUBSCRIPTS, "_")
        return base + under + ("" if sup is None else _script(plain(sup), _SUPERSCRIPTS, "^"))
    above = "" if sup is None else _script(plain(sup), _SUPERSCRIPTS, "^")
    below = "" if sub is None else _script(plain(sub), _SUBSCRIPTS, "_")
    if above.startswith("⁽") and above.endswith("ᵀ"):
        return base + above[:-1] + below + "ᵀ"
    return base + above + below if above.startswith("⁽") else base + below + above  # the number of a layer stands before an index


def _script(content: str, table: dict[str, str], sign: str) -> str:
    tight = content.replace(" ", "")
    if all(character in table for character in tight):
        return "".join(table[character] for character in tight)
    return f"{sign}{tight}" if len(tight) == 1 else f"{sign}{{{tight}}}"


def _matrix(array: np.ndarray) -> Box:
    entries = [entry.replace("-", "−") for entry in numerals(array)]
    if array.ndim == 0 or array.size == 1:
        return Box((entries[0],))
    rows, columns = (array.shape[0], 1) if array.ndim == 1 else array.shape
    widths = [max(len(entries[row * columns + column]) for row in range(rows)) for column in range(columns)]
    lines: list[str] = []
    for row in range(rows):
        inside = "  ".join(entries[row * columns + column].rjust(widths[column]) for column in range(columns))
        left, right = ("[", "]") if rows == 1 else ("⎡", "⎤") if row == 0 else ("⎣", "⎦") if row == rows - 1 else ("⎢", "⎥")
        lines.append(f"{left} {inside} {right}")
    return Box(tuple(lines), (rows - 1) // 2)
