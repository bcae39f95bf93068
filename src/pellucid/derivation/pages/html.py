"""A derivation as one HTML file: offline, in English and Chinese, light and dark, for the screen, the projector and the printer."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator, Sequence
from html import escape
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING

import numpy as np

from pellucid.core.language import Text, language, use_language
from pellucid.core.page import both
from pellucid.derivation.check import Check
from pellucid.derivation.comparison import TOLERANCE
from pellucid.derivation.formula import Node, Row, Symbol, substituted
from pellucid.derivation.latex_formula import parse
from pellucid.derivation.notation import Notation, Written
from pellucid.derivation.pages import content
from pellucid.derivation.pages.mathml import equality, equation
from pellucid.derivation.tape import Step, Value

if TYPE_CHECKING:
    from pellucid.derivation.derive import Derivation
    from pellucid.derivation.updates import Update

LIMIT = 50_000_000  # bytes of a page; above it, it is folded further
MAP_ENTRIES = 4096  # of one array behind a heat map; of a larger one the first entries
MAP_BYTES = 12_000_000  # of all numbers behind heat maps together
FOLDED_STEPS = 24  # from this many steps on they are folded by module
_HERE = Path(__file__).parent


def to_html(derivation: Derivation, path: str | Path | None = None) -> str:
    """The page, written to `path` where one is given; 50 MB at most."""
    page = ""
    for notice, numbers, equations in ((None, True, True), (content.WITHOUT_NUMBERS, False, True), (content.WITHOUT_STEPS, False, False)):
        page = _Page(derivation, notice, MAP_BYTES if numbers else 0, equations).whole()
        if len(page) * 2 < LIMIT or len(page.encode()) <= LIMIT:
            break
    if path is not None:
        Path(path).write_text(page, encoding="utf-8")
    return page


class _Page:
    def __init__(self, derivation: Derivation, notice: Text | None, room: int, equations: bool) -> None:
        self.derivation, self.notation = derivation, Notation(derivation)
        self.notice, self.room, self.equations = notice, room, equations
        self.check = derivation.check()

    def whole(self) -> str:
        titles = (content.GIVEN, content.FORWARD, content.LOSS, content.BACKWARD, content.UPDATE, content.CHECK)
        classes = ("given", "forward", "loss", "backward", "update", "check")
        bodies = (self._given, self._forward, self._loss, self._backward, self._updates, self._check)
        sections = "\n".join(
            f'<section id="{name}" class="{name}"><h2><span class="count">{number}</span>{both(title)}</h2>\n'
            + "\n".join(body())
            + "\n</section>"
            for number, (name, title, body) in enumerate(zip(classes, titles, bodies, strict=True), 1)
        )
        navigation = "".join(f'<a href="#{name}">{both(title)}</a>' for name, title in zip(classes, titles, strict=True))
        head = content.head(self.derivation)
        shown = {name: f"{self.derivation.network}: {head.render(name)}" for name in ("en", "zh")}
        data = json.dumps(shown, ensure_ascii=False).replace("<", "\\u003c")
        return Template((_HERE / "page.html").read_text(encoding="utf-8")).substitute(
            language=language(),
            title=escape(f"{self.derivation.network}: {head}"),
            style=(_HERE / "page.css").read_text(encoding="utf-8"),
            script=(_HERE / "page.js").read_text(encoding="utf-8"),
            contents=escape(str(content.CONTENTS), quote=True),
            navigation=navigation,
            unfold=both(content.UNFOLD),
            theme=both(content.THEME),
            network=escape(self.derivation.network),
            head=both(head),
            body=f'<script type="application/json" id="titles">{data}</script>\n{sections}',
        )

    # sections ----------------------------------------------------------------------------------------------------------------------

    def _given(self) -> Iterator[str]:
        sentences = [*([self.notice] if self.notice else []), *content.given(self.derivation), content.parameters(self.derivation)]
        yield '<ul class="said">' + "".join(f"<li>{both(said)}</li>" for said in sentences) + "</ul>"
        cards = [self._given_card(symbol, value) for symbol, value in self.notation.letters.legend]
        if len(cards) <= FOLDED_STEPS:
            yield f'<div class="given-list">{"".join(cards)}</div>'
        else:
            first = len(self.derivation.inputs) + len(self.derivation.targets)
            yield f'<div class="given-list">{"".join(cards[:first])}</div>'
            yield self._folded(both(content.LETTERS), f'<div class="given-list">{"".join(cards[first:])}</div>', str(len(cards) - first))

    def _given_card(self, symbol: Node, value: Value) -> str:
        small = content.is_drawable(value.array)
        inner = equality([symbol, self.notation.drawn(value)]) if small else equation(symbol) + self._told(value.array)
        shape = content.shape_of(self.notation.laid_out(value))
        caption = f"{escape(value.name)} {shape}" if small else escape(value.name)
        return (
            f'<figure><figcaption>{caption}</figcaption><div class="scroll">{inner}</div>{"" if small else self._map(value.array)}</figure>'
        )

    def _forward(self) -> Iterator[str]:
        yield from self._steps(content.forward_steps(self.derivation), self._forward_step)

    def _loss(self) -> Iterator[str]:
        named = self.notation.loss()
        steps = content.loss_steps(self.derivation)
        if named is None:
            yield from self._steps(steps, self._forward_step)
            if not steps:
                yield f'<div class="step">{equality([parse("L"), self.notation.drawn(self.derivation.loss)])}</div>'
            return
        note = content.loss_note(self.derivation)
        said = f'<p class="note"><code>{escape(self.derivation.loss_name)}</code>: {both(note)}</p>' if note is not None else ""
        yield f'<article class="step">{self._written(named[0])}{said}</article>'
        inside = "\n".join(self._forward_step(step) for step in steps)
        yield self._folded(both(content.ELEMENTARY), inside, _span(steps)) if steps else ""

    def _backward(self) -> Iterator[str]:
        named = self.notation.loss()
        steps = content.backward_steps(self.derivation)
        if named is not None and named[1] is not None:
            yield f'<article class="step">{self._written(named[1])}</article>'
            loss = [step for step in steps if step.stage == "loss"]
            steps = [step for step in steps if step.stage != "loss"]
            if loss:
                inside = "\n".join(self._backward_step(step) for step in loss)
                yield self._folded(both(content.ELEMENTARY), inside, _span(loss))
        yield from self._steps(steps, self._backward_step)
        sums = [self._sum(value) for value in content.shared_parameters(self.derivation)]
        if sums:
            yield f'<article class="step">{"".join(sums)}</article>'

    def _updates(self) -> Iterator[str]:
        updates = self.derivation.updates
        if not updates:
            yield f'<p class="said">{both(content.NO_OPTIMIZER)}</p>'
            return
        settings = "".join(f"<span>{equation(parse(line), block=False)}</span> " for line in content.setting_lines(self.notation))
        yield f'<p class="arrives"><strong>{escape(updates[0].method)}</strong> {settings}</p>'
        cards = [self._update(update) for update in updates]
        if len(cards) <= FOLDED_STEPS:
            yield from cards
            return
        yield from cards[:1]
        yield self._folded(escape(f"{updates[1].parameter} … {updates[-1].parameter}"), "\n".join(cards[1:]), str(len(cards) - 1))

    def _check(self) -> Iterator[str]:
        yield _verdict(self.check)
        findings = self.check.findings
        if findings:
            items = "".join(
                f"<li>{both(finding.summary)}" + (f"<br>{both(content.REMEDY)}: {both(finding.remedy)}" if finding.remedy else "") + "</li>"
                for finding in findings
            )
            yield f'<h3>{both(content.FINDINGS)}</h3><ul class="findings">{items}</ul>'
        missing = [step for step in self.derivation.steps if step.rule is None and not step.identity]
        if missing:
            names = ", ".join(f'<a href="#f{step.index}">({step.index})</a> {escape(step.operation)}' for step in missing)
            yield f"<p>{both(content.WITHOUT_EQUATION)}: {names}</p>"
        else:
            yield f'<p class="said">{both(content.NOTHING_WITHOUT)}</p>'
        heads = "".join(
            f"<th{kind}>{both(head)}</th>"
            for head, kind in ((content.WHAT, ""), (content.OURS, ""), (content.THEIRS, ""), (content.ERROR, ' class="number"'))
        )
        rows = "".join(
            f'<tr><td>{both(what)}</td><td>{escape(ours)}</td><td>{escape(theirs)}</td><td class="number">{escape(error)}</td></tr>'
            for what, ours, theirs, error in content.check_rows(self.derivation, self.check)
        )
        table = f'<div class="table"><table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table></div>'
        yield table if len(rows) < 60_000 else self._folded(both(content.WHAT), table)

    # steps -------------------------------------------------------------------------------------------------------------------------

    def _steps(self, steps: Sequence[Step], draw: Callable[[Step], str]) -> Iterator[str]:
        """The steps, those of an expansion folded, and of a large network those of a module."""
        large = len(self.derivation.steps) > FOLDED_STEPS
        for part in content.bundles(steps) if large else _by_group(steps):
            inside = "\n".join(draw(step) for step in part.steps)
            if not part.title or (large and len(part.steps) == 1):
                yield inside
                continue
            nested = [bundle for bundle in content.bundles(part.steps, 2) if bundle.title != part.title] if large else []
            if len(nested) > 1 and len(part.steps) > FOLDED_STEPS:
                inside = "\n".join(
                    self._folded(both(bundle.heading), "\n".join(draw(step) for step in bundle.steps), _span(bundle.steps))
                    for bundle in content.bundles(part.steps, 2)
                )
            yield self._folded(both(part.heading), inside, _span(part.steps))

    def _folded(self, title: str, inside: str, aside: str = "") -> str:
        soft = f'<span class="soft">{escape(aside)}</span>' if aside else ""
        return f'<details class="matters"><summary>{title}{soft}</summary><div class="inside">{inside}</div></details>'

    def _header(self, step: Step, *, back: bool) -> str:
        link, sign = (f"f{step.index}", " ←") if back else (f"b{step.index}", "")
        module = f'<span class="module">{escape(step.module)}</span>' if step.module else ""
        where = content.source_of(step)
        source = f'<span class="source">{escape(where)}</span>' if where else ""
        error = step.error.backward if back else step.error.forward
        badge = _badge(error)
        number = (
            f'<a class="number" href="#{link}">({step.index}){sign}</a>'
            if step.gradients
            else f'<span class="number">({step.index})</span>'
        )
        return f'<header>{number}<span class="operation">{escape(step.operation)}</span>{module}{source}{badge}</header>'

    def _forward_step(self, step: Step) -> str:
        body: list[str] = []
        written = self.notation.forward(step) if self.equations else None
        if written is not None:
            body.append(self._written(written))
        if written is None or len(step.outputs) > 1:
            for value in step.outputs:
                body.append(f'<div class="arrives">{equation(self.notation.symbol(value), block=False)}{self._told(value.array)}</div>')
                body.append(self._map(value.array))
        body += [f'<p class="status">{both(status)}</p>' for status in (content.status_of(step),) if status is not None]
        body += [f'<p class="note">{both(note)}</p>' for note in (step.note, step.rule.note if step.rule else None) if note is not None]
        body.append(self._where(step))
        return f'<article class="step" id="f{step.index}">{self._header(step, back=False)}{"".join(body)}</article>'

    def _where(self, step: Step) -> str:
        """What the equation's own letters stand for: indices and quantities that are no arguments."""
        if step.rule is None or not step.rule.where or not self.equations:
            return ""
        used = step.rule.equation(step.arguments) + " ".join(step.rule.gradient_equations(step.arguments).values())
        from pellucid.derivation.registry import letters

        present = letters(used)
        told = [
            f"<span>{equation(parse(letter), block=False)} {both(meaning)}</span>"
            for letter, meaning in step.rule.where.items()
            if letter in present and letter not in ("e", r"\sigma")
        ]
        if not told or (step.operation == "linear" and self.notation.chain and self.notation.name == "column"):
            return ""
        return f'<p class="note where">{"; ".join(told)}</p>'

    def _backward_step(self, step: Step) -> str:
        body = [self._sum(value) for value in content.sums_before(self.derivation, step)]
        for symbol, gradient in self.notation.arriving(step):
            body.append(
                f'<div class="arrives"><span>{both(content.ARRIVES)}</span>{equation(symbol, block=False)}{self._told(gradient)}</div>'
            )
        if self.equations:
            body += [self._written(written) for written in self.notation.backward(step)]
        status = content.status_of(step)
        body += [f'<p class="status">{both(status)}</p>'] if status is not None else []
        return f'<article class="step" id="b{step.index}">{self._header(step, back=True)}{"".join(body)}</article>'

    def _sum(self, value: Value) -> str:
        symbol = substituted(parse(r"\bar{Y}"), {"Y": self.notation.symbol(value)})
        links = ", ".join(f'<a href="#b{number}">({number})</a>' for number in content.givers(self.derivation, value))
        inner = equation(symbol, block=False)
        shown = ""
        if value.gradient is not None and content.is_drawable(value.gradient):
            shown = f'<div class="scroll">{equality([symbol, self.notation.drawn(value, value.gradient)])}</div>'
        return f'<div class="arrives">{inner}<span>{both(content.SUM_OF)} {links}</span></div>{shown}'

    def _update(self, update: Update) -> str:
        module = f'<span class="operation">{escape(update.parameter)}</span><span class="module">{content.shape_of(update.old)}</span>'
        badge = (
            ""
            if update.error is None
            else f'<span class="error">✓ {update.error:.0e}</span>'
            if update.error
            else '<span class="error">✓ 0</span>'
        )
        body: list[str] = []
        if update.note is not None:
            body.append(f'<p class="status">{both(update.note)}</p>')
        written = self.notation.update(update) if self.equations else []
        if len(written) > 1:
            body.append(f'<div class="arrives">{equation(parse("g"), block=False)}{self._told(update.gradient)}</div>')
        body += [self._written(line, shape=False) for line in written]
        if not written or not written[-1].numbers:
            for told in (content.old(update.old), content.gradient(update.gradient), content.new(update.new)):
                body.append(f'<p class="note">{both(told)}</p>')
        return f'<article class="step"><header>{module}{badge}</header>{"".join(body)}</article>'

    # numbers -----------------------------------------------------------------------------------------------------------------------

    def _written(self, written: Written, *, shape: bool = True) -> str:
        value = written.value
        size = f'<span class="shape">{content.shape_of(value)}</span>' if shape and value is not None and value.ndim else ""
        sign = "\\leftarrow" if written.arrow else "="
        lines: list[str] = []
        if len(written.parts) > 1 or len(written.row.items) > 1:
            also = "" if written.also is None else equation(written.also)
            first = equality(list(written.parts), sign) if len(written.parts) > 1 else equation(written.row)
            lines.append(f'<div class="line"><div class="scroll">{first}{also}</div>{size}</div>')
        if written.numbers and written.symbol is not None:
            *inside, result = written.numbers
            first, second = ([written.symbol, *inside], equation(Row((Symbol("="), result)))) if inside else ([written.symbol, result], "")
            lines.append(f'<div class="scroll worked">{equality(first)}{second}</div>')  # the result goes to a new line where it must
        elif value is not None and written.symbol is not None:
            lines.append(f'<div class="arrives">{equation(written.symbol, block=False)}{self._told(value)}</div>{self._map(value)}')
        return f'<div class="pair">{"".join(lines)}</div>'

    def _told(self, array: np.ndarray) -> str:
        return f"<span>{both(content.told(array))}</span>"

    def _map(self, array: np.ndarray) -> str:
        """A button that draws the array, from numbers embedded here."""
        if array.size < 2 or array.dtype.kind not in "fiu" or self.room <= 0:
            return ""
        tiles, height, width = _tiles(array.shape)
        kept = min(array.size, MAP_ENTRIES)
        tiles = max(1, min(tiles, -(-kept // (height * width))))
        height = min(height, max(1, MAP_ENTRIES // width)) if tiles == 1 else height
        numbers = np.ascontiguousarray(array.reshape(-1)[: tiles * height * width], dtype="<f4")[:MAP_ENTRIES]
        encoded = base64.b64encode(numbers.tobytes()).decode()
        self.room -= len(encoded)
        excerpt = f'<p class="note">{both(content.EXCERPT)}</p>' if numbers.size < array.size else ""
        return (
            f'<div class="map"><button type="button" aria-expanded="false" data-shape="{tiles} {height} {width}" data-numbers="{encoded}">'
            f"{both(content.SHOW)}</button>{excerpt}</div>"
        )


def _badge(error: float | None) -> str:
    """The error against PyTorch, beside the step."""
    if error is None:
        return ""
    good = error <= TOLERANCE
    return f'<span class="error{"" if good else " bad"}">{"✓" if good else "✗"} {f"{error:.0e}" if error else "0"}</span>'


def _verdict(check: Check) -> str:
    parts: list[str] = []
    for name in ("en", "zh"):
        with use_language(name):
            first, *rest = str(check).splitlines()
        parts.append(
            f'<span lang="{name}"><span class="verdict{"" if check.passed else " bad"}">{escape(first)}</span><br>'
            + "<br>".join(escape(line.strip()) for line in rest)
            + "</span>"
        )
    return f'<p class="said">{"".join(parts)}</p>'


def _by_group(steps: Sequence[Step]) -> list[content.Bundle]:
    """Only the parts of expansions are folded."""
    found: list[content.Bundle] = []
    for step in steps:
        if found and found[-1].title == step.group:
            found[-1] = content.Bundle(step.group, (*found[-1].steps, step))
        else:
            found.append(content.Bundle(step.group, (step,)))
    return found


def _span(steps: Sequence[Step]) -> str:
    first, last = steps[0].index, steps[-1].index
    return f"({first})–({last})" if first != last else f"({first})"


def _tiles(shape: tuple[int, ...]) -> tuple[int, int, int]:
    """An array as pictures of rows and columns."""
    if len(shape) < 2:
        return 1, 1, int(np.prod(shape, dtype=int))
    return int(np.prod(shape[:-2], dtype=int)), shape[-2], shape[-1]
