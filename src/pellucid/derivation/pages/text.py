"""A derivation as plain text of 100 columns: every number of a small network, one line for each step of a large one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from pellucid.core.language import Text, text
from pellucid.derivation.formula import substituted
from pellucid.derivation.latex_formula import parse
from pellucid.derivation.notation import Notation, Written
from pellucid.derivation.pages import content
from pellucid.derivation.pages.plain import columns_of, equation_lines, plain, wrapped
from pellucid.derivation.tape import Step, Value

if TYPE_CHECKING:
    from pellucid.derivation.derive import Derivation
    from pellucid.derivation.updates import Update

WIDTH = 100
LISTED = 40  # lines of a kind in a large derivation
INDENT = "    "


def to_text(derivation: Derivation) -> str:
    """The derivation as plain text in the language in force."""
    notation = Notation(derivation)
    lines = [f"{derivation.network}: {content.head(derivation)}", ""]
    if content.is_small(derivation):
        lines += _small(derivation, notation)
    else:
        lines += _large(derivation, notation)
    narrow = [part for line in lines for part in (wrapped(line, WIDTH) if columns_of(line.rstrip()) > WIDTH else (line.rstrip(),))]
    return "\n".join(narrow).rstrip() + "\n"


def one_line(derivation: Derivation) -> str:
    """One equation of the page with its number: the gradient of the output layer's weights, and how far it is from autograd's."""
    notation = Notation(derivation)
    for step in content.backward_steps(derivation):
        for written in notation.backward(step):
            value = step.places.get(written.argument)
            if value is not None and value.kind == "parameter" and len(written.parts) > 1:
                error = "" if value.error is None else content.error_told(value.error)
                return f"({step.index}) {plain(written.row)}   {error}"
    return ""


def _title(number: int, title: Text, more: str = "") -> list[str]:
    words = f"{number}  {title}{more}"
    return [words, "─" * min(WIDTH, columns_of(words)), ""]


def _small(derivation: Derivation, notation: Notation) -> list[str]:
    lines = [*_title(1, content.GIVEN), *_given(derivation, notation), ""]
    lines += _title(2, content.FORWARD)
    for step in content.forward_steps(derivation):
        lines += [*_forward(notation, step), ""]
    lines += [*_title(3, content.LOSS), *_loss(derivation, notation)]
    lines += _title(4, content.BACKWARD)
    named = notation.loss()
    slope = named[1] if named else None
    if slope is not None:
        lines += [*_written(slope, INDENT), ""]
    for step in content.backward_steps(derivation):
        if slope is None or step.stage != "loss":
            lines += [*_backward(derivation, notation, step), ""]
    for value in content.shared_parameters(derivation):
        lines += [*_sum(derivation, notation, value), ""]
    lines += _updates(derivation, notation)
    return [*lines, *_check(derivation)]


def _given(derivation: Derivation, notation: Notation) -> list[str]:
    lines = [str(said) for said in content.given(derivation)] + [""]
    for symbol, value in notation.letters.legend[:LISTED]:
        drawn = notation.drawn(value)
        if value.array.size <= 64 and value.array.ndim <= 2 and max((*value.array.shape, 1)) <= 8:
            lines += _indented(equation_lines([symbol, drawn], WIDTH - 4), f"{value.name}  {content.shape_of(value.array)}")
        else:
            lines.append(f"{INDENT}{plain(symbol)}  {value.name}  {content.told(value.array)}")
    if len(notation.letters.legend) > LISTED:
        lines.append(f"{INDENT}{content.more(len(notation.letters.legend) - LISTED)}")
    return lines


def _indented(lines: Sequence[str], aside: str = "", indent: str = INDENT) -> list[str]:
    """Lines of an equation, with a word at the right where there is room."""
    rows = [indent + line for line in lines]
    if aside:
        place = max(rows, key=columns_of)
        room = WIDTH - columns_of(aside)
        base = len(rows) // 2 if len(rows) > 1 else 0
        if columns_of(place) + 2 <= room:
            rows[base] += " " * (room - columns_of(rows[base])) + aside
        else:
            rows.append(indent + aside)
    return rows


def _heading(step: Step, arrow: str = "") -> str:
    parts = [f"({step.index}){arrow} {step.operation}"]
    if step.module:
        parts.append(str(text("in {module}", module=step.module)))
    if step.group:
        parts.append(f"[{step.group}]")
    left = "  ".join(parts)
    where = content.source_of(step)
    return left if not where else left + " " * max(2, WIDTH - columns_of(left) - columns_of(where)) + where


def _forward(notation: Notation, step: Step) -> list[str]:
    lines = [_heading(step)]
    written = notation.forward(step)
    if written is None:
        for value in step.outputs:
            lines.append(f"{INDENT}{plain(notation.symbol(value))}: {content.told(value.array)}")
    else:
        lines += _written(written, INDENT)
        if len(step.outputs) > 1:
            lines += [f"{INDENT}{plain(notation.symbol(value))}: {content.told(value.array)}" for value in step.outputs]
    return [*lines, *_remarks(step)]


def _remarks(step: Step) -> list[str]:
    said = [content.status_of(step), step.note]
    return [f"{INDENT}{sentence}" for sentence in said if sentence is not None]


def _written(written: Written, indent: str) -> list[str]:
    value = written.value
    aside = "" if value is None or value.ndim == 0 else content.shape_of(value)
    equation = equation_lines(list(written.parts), WIDTH - len(indent))
    if written.also is not None:
        equation[-1] += f",   {plain(written.also)}"
    lines = _indented(equation, aside, indent) if len(written.parts) > 1 or "=" in equation[0] else []
    if written.symbol is not None and written.numbers:
        worked = equation_lines([written.symbol, *written.numbers], WIDTH - len(indent))
        if max(map(columns_of, worked)) > WIDTH - len(indent):  # the numbers put in are too wide: the result alone
            worked = equation_lines([written.symbol, written.numbers[-1]], WIDTH - len(indent))
        lines += _indented(worked, "", indent)
    elif value is not None and written.symbol is not None:
        lines.append(f"{indent}{plain(written.symbol)}: {content.told(value)}")
    return lines


def _loss(derivation: Derivation, notation: Notation) -> list[str]:
    lines: list[str] = []
    named = notation.loss()
    if named is not None:
        lines += [*_written(named[0], INDENT)]
    note = content.loss_note(derivation)
    if note is not None and named is not None:
        lines += [f"{INDENT}{derivation.loss_name}: {note}"]
    steps = content.loss_steps(derivation)
    if named is not None:
        lines += ["", str(content.ELEMENTARY)] if len(steps) > 1 else []
        steps = steps if len(steps) > 1 else []
        for step in steps:
            written = notation.forward(step)
            if written is not None:
                lines += _indented(_short(written), f"({step.index})", INDENT)
        return [*lines, ""]
    for step in steps:
        lines += [*_forward(notation, step), ""]
    if not steps:
        lines += [f"{INDENT}L = {content.told(derivation.loss.array)}", ""]
    return lines


def _short(written: Written) -> list[str]:
    """The equation and its result, without the numbers put in."""
    parts = list(written.parts)
    if written.numbers and written.value is not None and written.value.size == 1:
        parts.append(written.numbers[-1])
    return equation_lines(parts, WIDTH - 4)


def _backward(derivation: Derivation, notation: Notation, step: Step) -> list[str]:
    lines = [_heading(step, " ←")]
    for value in content.sums_before(derivation, step):
        lines += _sum(derivation, notation, value)
    for symbol, gradient in notation.arriving(step):
        arrives = text("arrives: {symbol}, {what}", symbol=plain(symbol), what=content.told(gradient))
        lines.append(f"{INDENT}{arrives}")
    for written in notation.backward(step):
        lines += _written(written, INDENT)
    return [*lines, *([f"{INDENT}{content.status_of(step)}"] if content.status_of(step) else [])]


def _sum(derivation: Derivation, notation: Notation, value: Value) -> list[str]:
    symbol = substituted(parse(r"\bar{Y}"), {"Y": notation.symbol(value)})
    places = [f"({number})" for number in content.givers(derivation, value)]
    said = text("{symbol} is the sum of what equations {places} give", symbol=plain(symbol), places=places)
    lines = [f"{INDENT}{said}"]
    if value.gradient is not None and value.array.size <= 64 and value.array.ndim <= 2:
        lines += _indented(equation_lines([symbol, notation.drawn(value, value.gradient)], WIDTH - 4))
    return lines


def _updates(derivation: Derivation, notation: Notation) -> list[str]:
    lines = _title(5, content.UPDATE)
    if not derivation.updates:
        return [*lines, f"{INDENT}{content.NO_OPTIMIZER}", ""]
    settings = ",  ".join(plain(parse(setting)) for setting in content.setting_lines(notation))
    lines += [f"{derivation.updates[0].method}: {settings}", ""]
    for update in derivation.updates:
        lines += [*_update(derivation, notation, update), ""]
    return lines


def _update(derivation: Derivation, notation: Notation, update: Update) -> list[str]:
    lines = [f"{update.parameter}  {content.shape_of(update.old)}"]
    if update.note is not None:
        lines.append(f"{INDENT}{update.note}")
    written = notation.update(update)
    if len(written) > 1:
        lines.append(f"{INDENT}g = {content.told(update.gradient)}")
    for line in written:
        lines.append(f"{INDENT}{plain(line.row)}")
        if line.numbers and line.symbol is not None:
            worked = equation_lines([line.symbol, *line.numbers], WIDTH - 4)
            if max(map(columns_of, worked)) > WIDTH - 4:
                worked = equation_lines([line.symbol, line.numbers[-1]], WIDTH - 4)
            lines += _indented(worked)
    if not written or not written[-1].numbers:
        lines += [f"{INDENT}{told}" for told in (content.old(update.old), content.gradient(update.gradient), content.new(update.new))]
    return lines


def _check(derivation: Derivation) -> list[str]:
    check = derivation.check()
    lines = [*_title(6, content.CHECK), str(check), ""]
    rows = content.check_rows(derivation, check)
    heads = ("", str(text("ours")), "PyTorch", str(text("error")))
    table = [heads, *((str(what), ours, theirs, error) for what, ours, theirs, error in rows[:LISTED])]
    widths = [max(columns_of(row[column]) for row in table) for column in range(4)]
    for row in table:
        lines.append("  ".join(cell + " " * (width - columns_of(cell)) for cell, width in zip(row, widths, strict=True)))
    if len(rows) > LISTED:
        lines.append(content.more(len(rows) - LISTED))
    return lines


# a large derivation: a line for each step -------------------------------------------------------------------------------------------


def _large(derivation: Derivation, notation: Notation) -> list[str]:
    lines = [*_title(1, content.GIVEN), *[str(said) for said in content.given(derivation)], ""]
    for value in (*derivation.inputs, *derivation.targets):
        lines.append(f"{INDENT}{plain(notation.symbol(value))}  {value.name}  {content.told(value.array)}")
    lines += [f"{INDENT}{content.parameters(derivation)}", ""]
    lines += [*_title(2, content.FORWARD), *_step_lines(content.forward_steps(derivation), lambda step: _forward_line(notation, step)), ""]
    lines += _title(3, content.LOSS)
    named = notation.loss()
    if named is not None:
        lines += _written(named[0], INDENT)
    lines += [*_step_lines(content.loss_steps(derivation), lambda step: _forward_line(notation, step)), ""]
    lines += [*_title(4, content.BACKWARD), *_step_lines(content.backward_steps(derivation), lambda step: _backward_line(step)), ""]
    if derivation.updates:
        lines += _title(5, content.UPDATE)
        first = derivation.updates[0]
        settings = ",  ".join(plain(parse(setting)) for setting in content.setting_lines(notation))
        lines += [f"{first.method}: {settings}", *(f"{INDENT}{plain(parse(line.equation))}" for line in first.lines), ""]
        for update in derivation.updates[:LISTED]:
            lines.append(f"{INDENT}{update.parameter}: {content.old(update.old)}")
        if len(derivation.updates) > LISTED:
            lines.append(f"{INDENT}{content.more(len(derivation.updates) - LISTED)}")
        lines.append("")
    return [*lines, *_check(derivation)]


def _step_lines(steps: Sequence[Step], line: Callable[[Step], str]) -> Iterator[str]:
    """A line for each step while there are few, else a line for each module."""
    if len(steps) <= 3 * LISTED:
        yield from (_cut(line(step)) for step in steps)
        return
    parts = content.bundles(steps, 1)
    depth = 1
    while len(parts) < LISTED and depth < 4 and len(content.bundles(steps, depth + 1)) <= 3 * LISTED:
        depth += 1
        parts = content.bundles(steps, depth)
    for part in parts[: 3 * LISTED]:
        first, last = part.steps[0], part.steps[-1]
        operations = list(dict.fromkeys(step.operation for step in part.steps))
        title = part.title or str(content.NETWORK_ITSELF)
        yield _cut(f"({first.index})–({last.index})  {title}: {', '.join(operations[:6])}{', …' if len(operations) > 6 else ''}")
    if len(parts) > 3 * LISTED:
        yield str(text("and {count} more; the HTML page shows them all", count=len(parts) - 3 * LISTED))


def _cut(line: str) -> str:
    while columns_of(line) > WIDTH:
        line = line[:-2] + "…"
    return line


def _forward_line(notation: Notation, step: Step) -> str:
    written = notation.forward(step)
    equation = "" if written is None else plain(written.row)
    if columns_of(equation) > 46 or not equation:
        equation = f"{plain(notation.symbol(step.outputs[0]))} = {step.operation}(…)" if step.outputs else step.operation
    left = f"({step.index})".ljust(7) + equation
    right = f"{content.told(step.outputs[0].array)}" if step.outputs else ""
    status = content.status_of(step)
    return left + " " * max(2, 56 - columns_of(left)) + (f"{right}; {status}" if status else right)


def _backward_line(step: Step) -> str:
    given = [f"{place} {content.shape_of(gradient) or '1'}" for place, gradient in step.gradients.items() if gradient is not None]
    left = f"({step.index}) ← {step.operation}" + (f"  {step.module}" if step.module else "")
    error = "" if step.error.backward is None else f"  {step.error.backward:.0e}"
    return left + " " * max(2, 50 - columns_of(left)) + "dL/d: " + ", ".join(given) + error
