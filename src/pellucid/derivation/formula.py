"""Equations as trees: the LaTeX that the rules are written in, read once, so that letters can be exchanged and numbers put in their places.

`parse` reads the subset of LaTeX that equations of rules use; `latex` writes it again; pages/mathml.py and pages/plain.py draw it.
A command that is not known becomes a word, never an error: a user's own rule shall not break the page.
"""

from __future__ import annotations

import re
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


GREEK = dict(
    zip(
        re.findall(
            r"\w+",
            "alpha beta gamma delta epsilon varepsilon zeta eta theta vartheta kappa lambda mu nu xi pi rho sigma tau phi varphi chi psi "
            "omega Gamma Delta Theta Lambda Xi Pi Sigma Phi Psi Omega ell",
        ),
        "αβγδϵεζηθϑκλμνξπρστϕφχψωΓΔΘΛΞΠΣΦΨΩℓ",
        strict=True,
    )
)
SIGNS = {
    "odot": "⊙", "top": "⊤", "sum": "∑", "prod": "∏", "leftarrow": "←", "rightarrow": "→", "to": "→", "mapsto": "↦", "partial": "∂",
    "cdot": "·", "times": "×", "neq": "≠", "ne": "≠", "le": "≤", "leq": "≤", "ge": "≥", "geq": "≥", "in": "∈", "notin": "∉", "dots": "…",
    "ldots": "…", "cdots": "⋯", "ddots": "⋱", "vdots": "⋮", "lVert": "‖", "rVert": "‖", "Vert": "‖", "lvert": "|", "rvert": "|",
    "mid": "|", "lfloor": "⌊", "rfloor": "⌋", "lceil": "⌈", "rceil": "⌉", "infty": "∞", "approx": "≈", "equiv": "≡", "pm": "±",
    "otimes": "⊗", "oplus": "⊕", "circ": "∘", "ast": "∗", "star": "⋆", "bigwedge": "⋀", "bigvee": "⋁", "wedge": "∧", "vee": "∨",
    "lnot": "¬", "neg": "¬", "forall": "∀", "exists": "∃", "nabla": "∇", "int": "∫", "langle": "⟨", "rangle": "⟩", "prime": "′",
    "cup": "∪", "cap": "∩", "subset": "⊂", "setminus": "∖", "propto": "∝", "sim": "∼", "ll": "≪", "gg": "≫", "div": "÷", "oslash": "⊘",
    "lbrace": "{", "rbrace": "}", "backslash": "\\", "colon": ":", "iff": "⇔", "implies": "⇒", "Rightarrow": "⇒", "mod": "mod",
}  # fmt: skip
FUNCTIONS = re.findall(r"\w+", "max min exp log ln sin cos tan tanh sinh cosh arcsin arccos arctan sup inf det arg gcd deg dim")
SPACES = {"quad": "\\quad", "qquad": "\\qquad", ",": "\\,", ";": "\\;", ":": "\\:", "!": "", " ": "\\ ", "enspace": "\\quad"}
BOUNDED = {"\\sum", "\\prod", "\\max", "\\min", "\\bigwedge", "\\bigvee", "\\sup", "\\inf"}  # what stands under and above them
_TEXTS = ("text", "operatorname", "mathrm", "mathtt", "mathsf", "textrm", "textit", "texttt")
_STYLES = ("mathbf", "boldsymbol", "mathcal", "mathbb", "mathit", "bm")
_ACCENTS = ("bar", "hat", "tilde", "overline", "widehat", "widetilde", "vec", "dot", "underline")
_ACCENTED = tuple(f"\\{accent}" for accent in _ACCENTS)
_SIZES = ("left", "right", "big", "bigl", "bigr", "Big", "Bigl", "Bigr", "bigg", "biggl", "biggr", "Bigg", "Biggl", "Biggr", "middle")
_IGNORED = ("limits", "nolimits", "displaystyle", "textstyle", "scriptstyle", "nonumber")
_TOKEN = re.compile(r"\\[A-Za-z]+\*?|\\.|\d+(?:\.\d+)?|[^\s]")


def parse(source: str) -> Row:
    """The tree of an equation in LaTeX."""
    return _Reader(source).row()


def first_of(source: str) -> Node:
    """The first part of an equation: the letter that it consists of."""
    items = parse(source).items
    return items[0] if items else Row(())


class _Reader:
    def __init__(self, source: str) -> None:
        self.source, self.place = source, 0

    def peek(self) -> str:
        found = _TOKEN.match(self.source, self._skipped())
        return found[0] if found else ""

    def _skipped(self) -> int:
        while self.place < len(self.source) and self.source[self.place].isspace():
            self.place += 1
        return self.place

    def take(self) -> str:
        token = self.peek()
        self.place += len(token)
        return token

    def row(self, ends: Sequence[str] = ()) -> Row:
        items: list[Node] = []
        while (token := self.peek()) and token not in ends:
            if token in ("^", "_", "'"):
                self._script(items)
                continue
            node = self.atom()
            if node is not None:
                items.append(node)
        return Row(tuple(items))

    def _script(self, items: list[Node]) -> None:
        sign = self.take()
        content = Symbol("\\prime") if sign == "'" else self.argument()
        base = items.pop() if items else Row(())
        before = base if isinstance(base, Script) else Script(base)
        if sign == "_" and before.sub is None:
            items.append(Script(before.base, content, before.sup))
        elif sign != "_" and (before.sup is None or sign == "'"):
            sup = content if before.sup is None else Row((before.sup, content))
            items.append(Script(before.base, before.sub, sup))
        elif sign == "^" and before.sup == Symbol("\\prime"):
            items.append(Script(before.base, before.sub, Row((Symbol("\\prime"), content))))
        else:
            items.append(Script(base, content if sign == "_" else None, None if sign == "_" else content))

    def argument(self) -> Node:
        if self.peek() == "{":
            return self.braced()
        return self.atom() or Row(())

    def braced(self) -> Node:
        self.take()
        inside = self.row(("}",))
        self.take()
        return inside.items[0] if len(inside.items) == 1 else inside

    def raw(self) -> str:
        """The characters inside the next braces, as they are."""
        if self.peek() != "{":
            return self.take()
        self.take()
        start, depth = self.place, 1
        while depth and self.place < len(self.source):
            depth += {"{": 1, "}": -1}.get(self.source[self.place], 0)
            self.place += 1
        return self.source[start : self.place - 1]

    def atom(self) -> Node | None:
        token = self.peek()
        if token == "{":
            return self.braced()
        self.take()
        if not token.startswith("\\"):
            if token[0].isdigit():
                return Number(token)
            return Letter(token) if token.isalpha() else None if token in ("}", "&") else Symbol(" " if token == "~" else token)
        name = token[1:]
        if name in GREEK:
            return Letter(token)
        if name in SIGNS or name in FUNCTIONS or name in ("{", "}", "|", "%", "&", "_", "#", "$"):
            return Symbol("\\rVert" if name == "|" else token)
        if name in SPACES:
            return Symbol(SPACES[name]) if SPACES[name] else None
        if name == "bmod":
            return Words(" mod ", "text")
        if name in ("frac", "dfrac", "tfrac"):
            top = self.argument()
            return Fraction(top, self.argument())
        if name == "sqrt":
            degree = None
            if self.peek() == "[":
                self.take()
                degree = self.row(("]",))
                self.take()
            return Root(self.argument(), degree)
        if name in _ACCENTS:
            return Accent("bar" if name == "overline" else name.removeprefix("wide"), self.argument())
        if name in _STYLES:
            return self.argument()
        if name in _TEXTS or name == "operatorname*":
            return Words(self.raw().replace("\\_", "_"), name.rstrip("*"))
        if name in _SIZES:
            return None if self.peek() == "." and self.take() else self.atom()
        if name == "substack":
            return _Reader(self.raw()).table("substack", "")
        if name == "begin":
            kind = self.raw()
            if kind in ("array", "alignedat"):
                self.raw()
            return self.table(kind.rstrip("*"), "\\end")
        return None if name in _IGNORED else Words(name, "mathrm")

    def table(self, kind: str, end: str) -> Table:
        rows: list[list[Node]] = [[]]
        while True:
            rows[-1].append(self.row(("&", "\\\\", "\\end")))
            token = self.take()
            if token == "\\\\":
                rows.append([])
            elif token != "&":
                break
        if end:
            self.raw()
        if len(rows) > 1 and all(cell == Row(()) for cell in rows[-1]):
            rows.pop()
        return Table(kind, tuple(tuple(row) for row in rows))


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


def latex(node: Node) -> str:
    """The tree as LaTeX."""
    match node:
        case Letter(name) | Symbol(name):
            return name + " " if name.startswith("\\") and name[-1].isalpha() else name
        case Number(digits):
            return digits
        case Words(words, upright):
            return f"\\{upright}{{{escaped(words)}}}"
        case Row(items):
            return _latex_row(items)
        case Script(base, sub, sup):
            below = "" if sub is None else f"_{{{latex(sub)}}}"
            above = "" if sup is None else f"^{{{latex(sup)}}}"
            inner = latex(Row((Row(()), base)) if isinstance(base, Matrix) else base)
            if isinstance(base, (Row, Script)) and inner.startswith(_ACCENTED):  # TeX drops braces around one accented letter
                inner = "{}" + inner
            return (f"{{{inner}}}" if isinstance(base, (Row, Script)) else inner.rstrip()) + below + above
        case Fraction(top, bottom):
            return f"\\frac{{{latex(top)}}}{{{latex(bottom)}}}"
        case Root(body, degree):
            return f"\\sqrt{'' if degree is None else f'[{latex(degree)}]'}{{{latex(body)}}}"
        case Accent(kind, body):
            return f"\\{kind}{{{latex(body)}}}"
        case Table(kind, rows):
            inside = " \\\\ ".join(" & ".join(latex(cell) for cell in row) for row in rows)
            return f"\\substack{{{inside}}}" if kind == "substack" else f"\\begin{{{kind}}}{inside}\\end{{{kind}}}"
        case Matrix(array):
            return _matrix(array)
        case _:
            return ""


def _latex_row(items: Sequence[Node]) -> str:
    """Brackets around a matrix grow with it."""
    drawn: list[str] = []
    opened: list[int] = []
    for place, item in enumerate(items):
        if item == Symbol("("):
            opened.append(len(drawn))
        if item == Symbol(")") and opened:
            start = opened.pop()
            if any("bmatrix" in part for part in drawn[start + 1 :]):
                drawn[start] = "\\left("
                drawn.append("\\right)")
                continue
        drawn.append(f"({latex(item)})" if in_brackets(items, place) else latex(item))
    return "".join(drawn)


def _matrix(array: np.ndarray) -> str:
    entries = [_scientific(entry) for entry in numerals(array)]
    if array.ndim == 0 or array.size == 1:
        return entries[0]
    rows, columns = (array.shape[0], 1) if array.ndim == 1 else array.shape
    inside = " \\\\ ".join(" & ".join(entries[row * columns : (row + 1) * columns]) for row in range(rows))
    return f"\\begin{{bmatrix}}{inside}\\end{{bmatrix}}"


def _scientific(entry: str) -> str:
    entry = entry.replace("∞", "\\infty ").replace("nan", "\\mathrm{NaN}")
    if "e" not in entry or "\\" in entry:
        return entry
    mantissa, exponent = entry.split("e")
    return f"{mantissa} \\cdot 10^{{{int(exponent)}}}"


_ESCAPES = {
    "\\": "\\textbackslash{}", "_": "\\_", "{": "\\{", "}": "\\}", "%": "\\%", "#": "\\#", "&": "\\&", "$": "\\$",
    "~": "\\textasciitilde{}", "^": "\\textasciicircum{}", "<": "\\textless{}", ">": "\\textgreater{}",
}  # fmt: skip


def escaped(words: str) -> str:
    """Words as LaTeX text."""
    return "".join(_ESCAPES.get(character, character) for character in words)
