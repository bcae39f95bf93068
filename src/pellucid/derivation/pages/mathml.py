"""Equations as MathML Core, which browsers draw by themselves: no script, no fonts to load."""

from __future__ import annotations

from html import escape

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
from pellucid.derivation.latex_formula import BOUNDED, FUNCTIONS, GREEK, SIGNS, latex

_SPACES = {"\\quad": "1em", "\\qquad": "2em", "\\,": "0.17em", "\\;": "0.28em", "\\:": "0.22em", "\\ ": "0.25em", " ": "0.25em"}
_ACCENTS = {"bar": "¯", "hat": "^", "tilde": "~", "vec": "→", "dot": "˙", "underline": "_"}
_UPRIGHT = {"\\infty": "∞", "\\nabla": "∇", "\\top": "⊤", "\\prime": "′"}


def equation(node: Node, *, block: bool = True) -> str:
    """A <math> element; its LaTeX goes along for those who copy it."""
    display = ' display="block"' if block else ' displaystyle="true"'
    has_numbers = "data-latex" if _light(node) else ""
    source = f' {has_numbers}="{escape(latex(node), quote=True)}"' if has_numbers else ""
    return f"<math{display}{source}>{row(node)}</math>"


def equality(parts: list[Node], sign: str = "=", *, block: bool = True) -> str:
    """a = b = c."""
    items: list[Node] = []
    for part in parts:
        items += [Symbol(sign)] if items else []
        items += part.items if isinstance(part, Row) else (part,)
    return equation(Row(tuple(items)), block=block)


def _light(node: Node) -> bool:
    return "bmatrix" not in latex(node)


def row(node: Node) -> str:
    """One element for the node."""
    inner = mathml(node)
    return f"<mrow>{inner}</mrow>" if isinstance(node, Row) else inner


def mathml(node: Node) -> str:
    """The node's elements."""
    match node:
        case Row(items):
            return _row(items)
        case Letter(name):
            return f"<mi>{escape(GREEK.get(name[1:], name) if name.startswith(chr(92)) else name)}</mi>"
        case Number(digits):
            return f"<mn>{escape(digits)}</mn>"
        case Symbol(sign):
            return _symbol(sign)
        case Words(words, upright):
            if upright == "operatorname":
                return f'<mi mathvariant="normal">{escape(words)}</mi>'
            return f"<mtext>{escape(words)}</mtext>"
        case Script(base, sub, sup):
            return _scripted(base, sub, sup)
        case Fraction(top, bottom):
            return f"<mfrac>{row(top)}{row(bottom)}</mfrac>"
        case Root(body, None):
            return f"<msqrt>{row(body)}</msqrt>"
        case Root(body, degree) if degree is not None:
            return f"<mroot>{row(body)}{row(degree)}</mroot>"
        case Accent("underline", body):
            return f'<munder accentunder="true">{row(body)}<mo>_</mo></munder>'
        case Accent(kind, body):
            return f'<mover accent="true">{row(body)}<mo stretchy="false">{_ACCENTS.get(kind, "¯")}</mo></mover>'
        case Table(kind, rows):
            return _table(kind, rows)
        case Matrix(array):
            return _matrix(array)
        case _:
            return ""


def _row(items: tuple[Node, ...]) -> str:
    """Brackets around a matrix are drawn as the borders of what they enclose: not every computer has a font whose brackets grow."""
    drawn: list[str] = []
    opened: list[int] = []
    for place, item in enumerate(items):
        if item == Symbol("("):
            opened.append(len(drawn))
        if item == Symbol(")") and opened:
            start = opened.pop()
            inside = "".join(drawn[start + 1 :])
            drawn[start:] = [_grouped(inside)]
            continue
        if isinstance(item, Script) and item.base == Symbol(")") and opened:  # (y - t)^2: the brackets belong together
            start = opened.pop()
            drawn[start:] = [_with_scripts(_grouped("".join(drawn[start + 1 :])), item.sub, item.sup)]
            continue
        drawn.append(f'<mo stretchy="false">(</mo>{mathml(item)}<mo stretchy="false">)</mo>' if in_brackets(items, place) else _item(item))
    return "".join(drawn)


def _grouped(inside: str) -> str:
    """Brackets, as high as what they enclose needs and no higher."""
    if 'class="numbers"' in inside:
        return f'<mrow class="paren">{inside}</mrow>'
    stretchy = "true" if "<mfrac" in inside or "<munder" in inside else "false"
    return f'<mrow><mo stretchy="{stretchy}">(</mo>{inside}<mo stretchy="{stretchy}">)</mo></mrow>'


def _with_scripts(inner: str, sub: Node | None, sup: Node | None) -> str:
    if sub is not None and sup is not None:
        return f"<msubsup>{inner}{row(sub)}{row(sup)}</msubsup>"
    if sub is not None:
        return f"<msub>{inner}{row(sub)}</msub>"
    return inner if sup is None else f"<msup>{inner}{row(sup)}</msup>"


def _item(node: Node) -> str:
    return row(node) if isinstance(node, Row) else mathml(node)


def _symbol(sign: str) -> str:
    if sign in _SPACES:
        return f'<mspace width="{_SPACES[sign]}"></mspace>'
    if sign == "\\partial":
        return '<mi mathvariant="normal">∂</mi>'
    if sign in _UPRIGHT:
        return f'<mo lspace="0" rspace="0">{_UPRIGHT[sign]}</mo>'
    if not sign.startswith("\\"):
        if sign in "()[]|":
            return f'<mo stretchy="false">{sign}</mo>'
        return f"<mo>{'−' if sign == '-' else escape(sign)}</mo>"
    name = sign[1:]
    if name in FUNCTIONS:
        return f'<mi mathvariant="normal">{name}</mi><mspace width="0.12em"></mspace>'
    drawn = SIGNS.get(name, name)
    if drawn in "‖⌊⌋⌈⌉|":
        return f'<mo lspace="0" rspace="0" stretchy="false">{drawn}</mo>'
    return f"<mo>{escape(drawn)}</mo>"


def _scripted(base: Node, sub: Node | None, sup: Node | None) -> str:
    bounded = isinstance(base, Symbol) and base.sign in BOUNDED
    if isinstance(base, Symbol) and base.sign[1:] in FUNCTIONS:
        inner = f'<mi mathvariant="normal">{base.sign[1:]}</mi>'
    elif isinstance(base, Symbol) and base.sign in ("(", ")", "[", "]"):
        inner = f'<mo stretchy="false">{base.sign}</mo>'
    elif isinstance(base, Matrix) and base.array.size == 1 and numerals(base.array)[0].startswith("-"):
        inner = f"<mrow><mo>(</mo>{_matrix(base.array)}<mo>)</mo></mrow>"
    else:
        inner = row(base)
    if sup == Symbol("\\prime"):  # the sign is raised by itself
        inner, sup = f"<mrow>{inner}{mathml(Symbol(chr(92) + 'prime'))}</mrow>", None
    under, over = ("munder", "mover") if bounded else ("msub", "msup")
    if sub is not None and sup is not None:
        both = "munderover" if bounded else "msubsup"
        return f"<{both}>{inner}{row(sub)}{row(sup)}</{both}>"
    if sub is not None:
        return f"<{under}>{inner}{row(sub)}</{under}>"
    return inner if sup is None else f"<{over}>{inner}{row(sup)}</{over}>"


def _table(kind: str, rows: tuple[tuple[Node, ...], ...]) -> str:
    inside = "".join("<mtr>" + "".join(f"<mtd>{row(cell)}</mtd>" for cell in line) + "</mtr>" for line in rows)
    table = f'<mtable class="{escape(kind, quote=True)}">{inside}</mtable>'
    if kind == "cases":
        return f"<mrow><mo>{{</mo>{table}</mrow>"
    if kind.endswith("matrix"):
        left, right = {"pmatrix": "()", "vmatrix": "||"}.get(kind, "[]")
        return f"<mrow><mo>{left}</mo>{table}<mo>{right}</mo></mrow>"
    return table


def _matrix(array: np.ndarray) -> str:
    written = numerals(array)
    if array.ndim == 0 or array.size == 1:
        return _entry(written[0])
    rows, columns = (array.shape[0], 1) if array.ndim == 1 else array.shape
    longest = [max(written[column::columns], key=len) for column in range(columns)]
    entries = [_aligned(entry, longest[place % columns]) for place, entry in enumerate(written)]
    lines = (entries[line * columns : (line + 1) * columns] for line in range(rows))
    inside = "".join("<mtr>" + "".join(f"<mtd>{entry}</mtd>" for entry in line) + "</mtr>" for line in lines)
    return f'<mtable class="numbers">{inside}</mtable>'


def _aligned(entry: str, longest: str) -> str:
    """The entry behind as much room as the longest of its column is longer: text-align does not reach into MathML."""
    missing = longest[: len(longest) - len(entry)].replace("-", "−")
    return (f"<mrow><mphantom><mn>{missing}</mn></mphantom>{_entry(entry)}</mrow>") if missing and "e" not in longest else _entry(entry)


def _entry(entry: str) -> str:
    if "e" in entry and entry != "nan":
        mantissa, exponent = entry.split("e")
        mantissa = mantissa.replace("-", "−")
        return f"<mrow><mn>{mantissa}</mn><mo>·</mo><msup><mn>10</mn><mn>{str(int(exponent)).replace('-', '−')}</mn></msup></mrow>"
    return f"<mn>{'NaN' if entry == 'nan' else entry.replace('-', '−')}</mn>"
