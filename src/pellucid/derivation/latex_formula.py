"""The LaTeX of equations: `parse` reads the subset that equations of rules use into a tree, `latex` writes it again.

A command that is not known becomes a word, never an error: a user's own rule shall not break the page.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

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
