r"""A derivation as a LaTeX document, to be typeset with xelatex, lualatex or (in English) pdflatex; Chinese with ctex.

Only amsmath, graphicx and, for Chinese, ctex are asked for. What is wider than the line is scaled down to it (\fit).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pellucid.core.language import Text, language
from pellucid.derivation.formula import Node, Row, Symbol, substituted
from pellucid.derivation.latex_formula import escaped, latex, parse
from pellucid.derivation.notation import Notation, Written
from pellucid.derivation.pages import content
from pellucid.derivation.tape import Step, Value

if TYPE_CHECKING:
    from pellucid.derivation.derive import Derivation
    from pellucid.derivation.updates import Update

LISTED = 60  # steps and parameters shown with their equations in a large derivation; the rest is named
_SIGNS = {
    "×": r"$\times$", "−": "$-$", "ᵀ": r"$^{\top}$", "—": "---", "–": "--", "‖": r"$\Vert$", "·": r"$\cdot$", "…": r"\dots{}",
    "σ": r"$\sigma$", "’": "'", "∞": r"$\infty$",
}  # fmt: skip
_HEAD = r"""\usepackage{amsmath,amssymb,graphicx}
\usepackage[a4paper,margin=22mm]{geometry}
\setcounter{MaxMatrixCols}{64}
\setlength{\parindent}{0pt}
\setlength{\parskip}{4pt}
\newsavebox{\derivationbox}
\newcommand{\fit}[1]{\par\sbox{\derivationbox}{$\displaystyle #1$}%
  \ifdim\wd\derivationbox>\linewidth\resizebox{\linewidth}{!}{\usebox{\derivationbox}}\else\usebox{\derivationbox}\fi\par}
\newcommand{\step}[1]{\medskip\par\noindent\textbf{#1}\par}
"""


def to_latex(derivation: Derivation, path: str | Path | None = None) -> str:
    """The document in the language in force, written to `path` where one is given."""
    notation = Notation(derivation)
    body = "\n".join(_body(derivation, notation))
    chinese = language() == "zh" or any("\u2e80" <= character <= "\uffef" for character in body)
    document = (r"\documentclass[UTF8]{ctexart}" if chinese else r"\documentclass{article}") + "\n" + _HEAD
    title = words(derivation.network)
    document += f"\\title{{{title}}}\n\\date{{}}\n\\begin{{document}}\n\\maketitle\n{body}\n\\end{{document}}\n"
    if path is not None:
        Path(path).write_text(document, encoding="utf-8")
    return document


def words(sentence: Text | str) -> str:
    """A sentence as LaTeX text: what LaTeX would read as a command is escaped."""
    return "".join(_SIGNS.get(character, escaped(character)) for character in str(sentence))


def _body(derivation: Derivation, notation: Notation) -> Iterator[str]:
    yield words(content.head(derivation)) + "\n"
    yield _section(content.GIVEN)
    for said in content.given(derivation):
        yield words(said) + "\n"
    for symbol, value in notation.letters.legend[:LISTED]:
        yield f"\\texttt{{{words(value.name)}}}"
        yield _given(notation, symbol, value)
    yield from _more(len(notation.letters.legend))
    yield _section(content.FORWARD)
    yield from _steps(content.forward_steps(derivation), lambda step: _forward(notation, step))
    yield _section(content.LOSS)
    named = notation.loss()
    if named is not None:
        yield from _written(named[0])
        note = content.loss_note(derivation)
        if note is not None:
            yield words(note) + "\n"
    yield from _steps(content.loss_steps(derivation), lambda step: _forward(notation, step))
    yield _section(content.BACKWARD)
    if named is not None and named[1] is not None:
        yield from _written(named[1])
    yield from _steps(content.backward_steps(derivation), lambda step: _backward(derivation, notation, step))
    for value in content.shared_parameters(derivation):
        yield _sum(derivation, notation, value)
    yield _section(content.UPDATE)
    yield from _updates(derivation, notation)
    yield _section(content.CHECK)
    yield from _check(derivation)


def _section(title: Text) -> str:
    return f"\n\\section{{{words(title)}}}"


def _fit(parts: Sequence[Node], sign: str = "=") -> str:
    items: list[Node] = []
    for part in parts:
        items += [Symbol(sign)] if items else []
        items += part.items if isinstance(part, Row) else (part,)
    return f"\\fit{{{latex(Row(tuple(items)))}}}"


def _given(notation: Notation, symbol: Node, value: Value) -> str:
    if content.is_drawable(value.array):
        return _fit([symbol, notation.drawn(value)])
    return f"${latex(symbol)}$: {words(content.told(value.array))}\n"


def _steps(steps: Sequence[Step], draw: Callable[[Step], Iterator[str]]) -> Iterator[str]:
    for step in steps[:LISTED]:
        yield from draw(step)
    if len(steps) > LISTED:
        rest = steps[LISTED:]
        yield words(f"({rest[0].index})–({rest[-1].index}): {', '.join(dict.fromkeys(step.operation for step in rest))}") + "\n"


def _more(count: int) -> Iterator[str]:
    if count > LISTED:
        yield words(content.more(count - LISTED)) + "\n"


def _heading(step: Step, arrow: str = "") -> str:
    module = f" \\texttt{{{words(step.module)}}}" if step.module else ""
    group = f" {words(step.group)}" if step.group else ""
    where = f" {{\\normalfont\\small\\texttt{{{words(content.source_of(step))}}}}}" if step.source else ""
    return f"\\step{{({step.index}){arrow} {words(step.operation)}{module}{group}{where}}}"


def _forward(notation: Notation, step: Step) -> Iterator[str]:
    yield _heading(step)
    written = notation.forward(step)
    if written is not None:
        yield from _written(written)
    if written is None or len(step.outputs) > 1:
        for value in step.outputs:
            yield f"${latex(notation.symbol(value))}$: {words(content.told(value.array))}\n"
    for said in (content.status_of(step), step.note):
        if said is not None:
            yield words(said) + "\n"


def _written(written: Written) -> Iterator[str]:
    if len(written.parts) > 1 or len(written.row.items) > 1:
        also = "" if written.also is None else f" \\qquad {latex(written.also)}"
        yield f"\\fit{{{latex(written.row)}{also}}}"
    if written.numbers and written.symbol is not None:
        yield _fit([written.symbol, *written.numbers])
    elif written.value is not None and written.symbol is not None:
        yield f"${latex(written.symbol)}$: {words(content.told(written.value))}\n"


def _backward(derivation: Derivation, notation: Notation, step: Step) -> Iterator[str]:
    yield _heading(step, r" $\leftarrow$")
    for value in content.sums_before(derivation, step):
        yield _sum(derivation, notation, value)
    for symbol, gradient in notation.arriving(step):
        yield f"{words(content.ARRIVES)} ${latex(symbol)}$: {words(content.told(gradient))}\n"
    for written in notation.backward(step):
        yield from _written(written)
    status = content.status_of(step)
    if status is not None:
        yield words(status) + "\n"


def _sum(derivation: Derivation, notation: Notation, value: Value) -> str:
    symbol = substituted(parse(r"\bar{Y}"), {"Y": notation.symbol(value)})
    places = ", ".join(f"({number})" for number in content.givers(derivation, value))
    said = f"${latex(symbol)}$: {words(content.SUM_OF)} {places}\n"
    if value.gradient is not None and content.is_drawable(value.gradient):
        said += "\n" + _fit([symbol, notation.drawn(value, value.gradient)])
    return said


def _updates(derivation: Derivation, notation: Notation) -> Iterator[str]:
    if not derivation.updates:
        yield words(content.NO_OPTIMIZER) + "\n"
        return
    settings = ", ".join(f"${line}$" for line in content.setting_lines(notation))
    yield f"{words(derivation.updates[0].method)}: {settings}\n"
    for update in derivation.updates[:LISTED]:
        yield from _update(notation, update)
    yield from _more(len(derivation.updates))


def _update(notation: Notation, update: Update) -> Iterator[str]:
    yield f"\\step{{\\texttt{{{words(update.parameter)}}} {words(content.shape_of(update.old))}}}"
    if update.note is not None:
        yield words(update.note) + "\n"
    written = notation.update(update)
    for line in written:
        yield f"\\fit{{{latex(line.row)}}}"
        if line.numbers and line.symbol is not None:
            yield _fit([line.symbol, *line.numbers])
    if not written or not written[-1].numbers:
        for told in (content.old(update.old), content.gradient(update.gradient), content.new(update.new)):
            yield words(told) + "\n"


def _check(derivation: Derivation) -> Iterator[str]:
    check = derivation.check()
    for line in str(check).splitlines():
        yield words(line.strip()) + "\n"
    rows = content.check_rows(derivation, check)
    yield "\\fit{\\begin{tabular}{lllr}"
    yield " & ".join(words(head) for head in (content.WHAT, content.OURS, content.THEIRS, content.ERROR)) + r" \\ \hline"
    for row in rows[:LISTED]:
        yield " & ".join(words(cell) for cell in row) + r" \\"
    yield "\\end{tabular}}"
    yield from _more(len(rows))
