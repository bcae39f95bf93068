"""Equations as trees: their parts, and what is done to them: letters exchanged, numbers put in their places.

`latex_formula` reads the LaTeX that the rules are written in and writes it again; pages/mathml.py and pages/plain.py draw it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np


class Node:
    """A part of an equation."""


@dataclass(frozen=True)
class Letter(Node):
    name: str  # "x", or a Greek letter as a command: "\\alpha"


@dataclass(frozen=True)
class Number(Node):
    digits: str


@dataclass(frozen=True)
class Symbol(Node):
    sign: str  # as LaTeX writes it: "+", "(", "\\odot", "\\sum"


@dataclass(frozen=True)
class Words(Node):
    words: str
    upright: str = "text"  # the command: text, operatorname, mathrm, mathtt


@dataclass(frozen=True)
class Row(Node):
    items: tuple[Node, ...]


@dataclass(frozen=True)
class Script(Node):
    base: Node
    sub: Node | None = None
    sup: Node | None = None


@dataclass(frozen=True)
class Fraction(Node):
    top: Node
    bottom: Node


@dataclass(frozen=True)
class Root(Node):
    body: Node
    degree: Node | None = None


@dataclass(frozen=True)
class Accent(Node):
    kind: str  # bar, hat, tilde, ...
    body: Node


@dataclass(frozen=True)
class Table(Node):
    kind: str  # the environment: cases, bmatrix, aligned; or substack
    rows: tuple[tuple[Node, ...], ...]


@dataclass(frozen=True, eq=False)
class Matrix(Node):
    """Numbers in the place of a letter: a scalar, a vector (drawn as a column) or a matrix."""

    array: np.ndarray


def exchanged(node: Node, change: Callable[[Node], Node | None]) -> Node:
    """The tree with every part for which `change` gives another in its place; what it gives is not looked into again."""
    instead = change(node)
    if instead is not None:
        return instead

    def inside(part: Node | None) -> Node | None:
        return None if part is None else exchanged(part, change)

    def within(part: Node) -> Node:
        return exchanged(part, change)

    match node:
        case Row(items):
            return Row(tuple(within(item) for item in items))
        case Script(base, sub, sup):
            return Script(within(base), inside(sub), inside(sup))
        case Fraction(top, bottom):
            return Fraction(within(top), within(bottom))
        case Root(body, degree):
            return Root(within(body), inside(degree))
        case Accent(kind, body):
            return Accent(kind, within(body))
        case Table(kind, rows):
            return Table(kind, tuple(tuple(within(cell) for cell in row) for row in rows))
        case _:
            return node


def with_script(symbol: Node, sub: Node | None, sup: Node | None) -> Node:
    """A letter that may have indices of its own, with further ones: z^{(1)} with index i and transposed is z^{(1) T}_{i}."""
    own = symbol if isinstance(symbol, Script) else Script(symbol)
    if isinstance(symbol, Matrix) and symbol.array.size == 1 and sup == Symbol("\\top"):
        sup = None
        if sub is None:
            return symbol
    if isinstance(symbol, (Fraction, Row, Matrix, Number)) and (sub is not None or sup is not None):
        base = symbol if isinstance(symbol, (Matrix, Number)) else Row((Symbol("("), symbol, Symbol(")")))
        return Script(base, sub, sup)
    if sub is not None and own.sub is not None:  # u_5 is result 5, so (u_5)_i is its entry i
        own = Script(Row((Symbol("("), own, Symbol(")"))), sub)
    elif sub is not None:
        own = Script(own.base, sub, own.sup)
    if sup is None:
        return own if own.sub is not None or own.sup is not None else own.base
    if own.sup is None:
        return Script(own.base, own.sub, sup)
    if sup == Symbol("\\top"):
        return Script(own.base, own.sub, Row((own.sup, sup)))
    return Script(Row((Symbol("("), own, Symbol(")"))), None, sup)


def gradient_of(symbol: Node) -> Fraction:
    """dL/d(symbol)."""
    return Fraction(Row((Symbol("\\partial"), Letter("L"))), Row((Symbol("\\partial"), symbol)))


def substituted(node: Node, symbols: Mapping[str, Node], gradients: Mapping[str, Node] | None = None) -> Node:
    """The rule's letters exchanged for the network's own, and each bar for the gradient that it stands for.

    `gradients` gives other things in the places of the bars, such as their numbers.
    """

    def gradient(name: str, sub: Node | None, sup: Node | None) -> Node | None:
        if gradients is not None and name in gradients:
            return with_script(gradients[name], sub, sup)
        if name not in symbols:
            return None
        inner = gradient_of(with_script(symbols[name], sub, None))
        return inner if sup is None else Script(Row((Symbol("("), inner, Symbol(")"))), None, sup)

    def change(part: Node) -> Node | None:
        match part:
            case Letter(name) if name in symbols:
                return symbols[name]
            case Accent("bar", Letter(name)):
                return gradient(name, None, None)
            case Accent(kind, Letter(name)) if isinstance(symbols.get(name), Script):  # a hat over z, not over its index
                own = symbols[name]
                return Script(Accent(kind, own.base), own.sub, own.sup) if isinstance(own, Script) else None
            case Script(Letter(name), sub, sup) if name in symbols:
                return with_script(symbols[name], _inside(sub), _inside(sup))
            case Script(Accent("bar", Letter(name)), sub, sup):
                return gradient(name, _inside(sub), _inside(sup))
            case _:
                return None

    def _inside(part: Node | None) -> Node | None:
        return None if part is None else exchanged(part, change)

    return simplified(exchanged(node, change))


def simplified(node: Node) -> Node:
    """Differences of two numbers worked out (the exponent 2 - 1), a power of one left out, and an ordinary product beside a number."""

    def change(part: Node) -> Node | None:
        match part:
            case Row((Number(a), Symbol("-"), Number(b))):
                difference = float(a) - float(b)
                return Number(f"{difference:g}") if difference >= 0 else None
            case Script(base, sub, sup) if sup is not None and simplified(sup) == Number("1"):
                return simplified(base) if sub is None else Script(simplified(base), simplified(sub))
            case Row(items):
                inner = tuple(simplified(item) for item in items)
                return Row(tuple(_product(inner, place) for place in range(len(inner))))
            case _:
                return None

    return exchanged(node, change)


def _product(items: tuple[Node, ...], place: int) -> Node:
    beside = items[max(0, place - 1) : place] + items[place + 1 : place + 2]
    numbers = any(isinstance(item, Number) for item in beside)
    return Symbol("\\cdot") if items[place] == Symbol("\\odot") and numbers else items[place]


def in_brackets(items: Sequence[Node], place: int) -> bool:
    """Whether the item is a negative number that needs brackets where it stands: after a sign or a factor."""
    item = items[place]
    if not isinstance(item, Matrix) or item.array.size != 1 or not numerals(item.array)[0].startswith("-") or place == 0:
        return False
    return items[place - 1] not in (Symbol("("), Symbol("="), Symbol("\\leftarrow"))


def indexed(node: Node, names: Sequence[str]) -> bool:
    """Whether one of the letters stands with an index, so that no whole array can be put in its place."""
    found = False

    def look(part: Node) -> Node | None:
        nonlocal found
        if isinstance(part, Script) and part.sub is not None:
            base = part.base.body if isinstance(part.base, Accent) else part.base
            found = found or (isinstance(base, Letter) and base.name in names)
        return None

    exchanged(node, look)
    return found


def sides(row: Node) -> list[Row]:
    """The parts of an equation between its signs of equality, outside brackets."""
    parts: list[list[Node]] = [[]]
    depth = 0
    for item in row.items if isinstance(row, Row) else (row,):
        depth += {"(": 1, "[": 1, ")": -1, "]": -1}.get(item.sign, 0) if isinstance(item, Symbol) else 0
        if item in (Symbol("="), Symbol("\\leftarrow")) and depth == 0:
            parts.append([])
        else:
            parts[-1].append(item)
    return [Row(tuple(part)) for part in parts]


def numerals(array: np.ndarray, digits: int = 4) -> list[str]:
    """The entries, flat, in one form: `digits` significant ones of the largest; whole numbers as such."""
    flat = list(np.asarray(array).reshape(-1))
    if array.dtype.kind in "iub":
        return [str(int(entry)) for entry in flat]
    if array.dtype.kind == "c":
        return [f"{entry:.{digits}g}" for entry in flat]
    finite = [abs(float(entry)) for entry in flat if np.isfinite(entry)]
    largest = max(finite, default=0.0)
    if all(float(entry).is_integer() for entry in flat if np.isfinite(entry)) and largest < 1e6:
        written = [f"{float(entry):.0f}" if np.isfinite(entry) else str(float(entry)) for entry in flat]
    elif 1e-4 <= largest < 1e6:
        places = int(np.clip(digits - 1 - np.floor(np.log10(largest)), 0, digits + 3))
        written = [f"{float(entry):.{places}f}" for entry in flat]
    else:
        written = [f"{float(entry):.{digits - 1}e}" for entry in flat]
    return [("0" if not float(entry) else form).replace("inf", "∞") for form, entry in zip(written, flat, strict=True)]
