"""What a watcher has seen, for a terminal, a notebook and as one HTML file in both languages."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from pellucid.core import page
from pellucid.core.language import Text, text
from pellucid.core.page import both, head_of_page, write_page
from pellucid.core.records import Finding
from pellucid.diagnosis.dynamic.observations import LayerSeries, Observations, ParameterSeries
from pellucid.diagnosis.watch.drawing import curves, number, share, spark

MARKS = {"fault": "✗", "advice": "!", "good": "✓"}
ROWS = 60  # of a table in the terminal
LAYER_HEADINGS = (
    text("layer"), text("kind"), text("mean"), text("deviation"), text("zeros"), text("silent units"), text("saturated"), text("gradient"),
)  # fmt: skip
WEIGHT_HEADINGS = (text("parameter"), text("shape"), text("norm"), text("gradient"), text("update / weight"))


@dataclass(frozen=True)
class Report:
    """`print(report)` in a terminal; in a notebook it shows itself with its curves."""

    observations: Observations
    findings: tuple[Finding, ...] = ()

    def __str__(self) -> str:
        return "\n".join(_lines(self.observations, self.findings))

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        return f"<style>{style()}</style>{_content(self.observations, self.findings)}"


def write(path: str | Path, seen: Observations, findings: Sequence[Finding]) -> Path:
    """One HTML file without anything from outside. Raises StorageError where it cannot be written."""
    return write_page(path, seen.model, _content(seen, findings), style())


# -- what is said ------------------------------------------------------------------------------------------------------------------------


def _facts(seen: Observations) -> Iterator[Text]:
    """The state in sentences, the most important first."""
    yield text(
        "{model}: {steps} steps watched, {looks} of them closely; {parameters} weights.",
        model=seen.model,
        steps=seen.steps,
        looks=seen.looks_made,
        parameters=f"{seen.parameters:,}".replace(",", " "),
    )
    loss = seen.loss
    if loss.values:
        latest = next((value for value in reversed(loss.values) if value is not None), None)
        kind = loss.module or loss.kind or text("unknown")
        yield text("Loss ({kind}): {first} at first, {latest} at last.", kind=kind, first=number(loss.first), latest=number(latest))
    if seen.learning_rates:
        yield text("Learning rate: {rate}.", rate=[number(rate) for rate in seen.learning_rates[-1]])
    gradients = seen.gradients
    if gradients.noise_scale is not None:
        yield text(
            "Gradient noise scale: {samples} samples (batches of {size}).", samples=number(gradients.noise_scale), size=seen.batches.size
        )
    batches = seen.batches
    if batches.period is not None and batches.repeats >= batches.period > 1:
        yield text("The same batches come again in the same order after {period} steps.", period=batches.period)
    time = seen.time
    steps = [value for value in time.step_seconds if value is not None]
    waits = [value for value in time.waiting_seconds if value is not None]
    if steps and waits:
        yield text(
            "A step takes {step} ms, {waiting} ms of it between an update and the next forward pass (loading data).",
            step=number(1000 * steps[-1]),
            waiting=number(1000 * waits[-1]),
        )
    yield text(
        "Watching took {share} of the time besides itself: {seconds} s, of which {start} s once at the start.",
        share=share(time.overhead),
        seconds=number(time.overhead_seconds),
        start=number(time.start_seconds),
    )
    yield from seen.unseen


def _latest(values: Sequence[float | None]) -> float | None:
    return next((value for value in reversed(values) if value is not None), None)


def _layer_row(layer: LayerSeries) -> list[str]:
    path = layer.path or "·"
    numbers = [number(_latest(layer.mean)), number(_latest(layer.std)), share(_latest(layer.zeros)), share(_latest(layer.dead))]
    where = f"→ {path}" if layer.side == "input" else path  # what flows into the module
    return [where, layer.kind or "–", *numbers, share(_latest(layer.saturated)), number(_latest(layer.gradient))]


def _weight_row(weight: ParameterSeries) -> list[str]:
    shape = "×".join(map(str, weight.shape)) or "1"
    return [weight.name, shape, *(number(_latest(values)) for values in (weight.weight, weight.gradient, weight.ratio))]


def _findings(seen: Observations, findings: Sequence[Finding]) -> Iterator[tuple[str, Text, Text | None]]:
    for finding in findings:
        yield finding.level, finding.summary, finding.remedy
    if not findings and not seen.steps:
        yield "advice", text("No training step was seen: nothing can be said."), text("train the model while the watcher is open")
    elif not findings:
        yield "good", text("Nothing wrong has been found so far."), None


# -- terminal ----------------------------------------------------------------------------------------------------------------------------


def _lines(seen: Observations, findings: Sequence[Finding]) -> Iterator[str]:
    for fact in _facts(seen):
        yield str(fact)
    yield ""
    for level, summary, remedy in _findings(seen, findings):
        yield f"{MARKS.get(level, '!')} {summary}"
        if remedy is not None:
            yield "  " + str(text("What to do: {what}", what=remedy))
    for headings, rows in (
        (LAYER_HEADINGS, [_layer_row(layer) for layer in seen.layers]),
        (WEIGHT_HEADINGS, [_weight_row(weight) for weight in seen.weights]),
    ):
        if rows:
            yield ""
            yield from _table([str(heading) for heading in headings], rows[:ROWS])
            if len(rows) > ROWS:
                yield str(text("... and {count} more; the HTML report has all: watcher.report(path)", count=len(rows) - ROWS))


def _table(headings: list[str], rows: list[list[str]]) -> Iterator[str]:
    widths = [max(columns_of(row[place]) for row in [headings, *rows]) for place in range(len(headings))]
    for row in [headings, *rows]:
        cells = [
            cell + " " * (width - columns_of(cell)) if place < 2 else " " * (width - columns_of(cell)) + cell
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        yield "  ".join(cells).rstrip()


def columns_of(cell: str) -> int:
    return sum(2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in cell)


# -- HTML --------------------------------------------------------------------------------------------------------------------------------


def style() -> str:
    """The style sheet of our pages and of their curves."""
    return page.style() + (Path(__file__).parent / "report.css").read_text(encoding="utf-8")


def _content(seen: Observations, findings: Sequence[Finding]) -> str:
    parts = [
        *head_of_page(seen.model),
        *(f"<p>{both(fact)}</p>" for fact in _facts(seen)),
        f"<h2>{both(text('Findings'))}</h2>",
    ]
    for level, summary, remedy in _findings(seen, findings):
        advice = "" if remedy is None else f'<p class="soft">{both(text("What to do: {what}", what=remedy))}</p>'
        parts.append(f'<div class="finding {escape(level)}"><p>{both(summary)}</p>{advice}</div>')
    parts += observed_curves(seen)
    layers = [[*_layer_row(layer), spark(layer.std, logarithmic=True), spark(layer.gradient, logarithmic=True)] for layer in seen.layers]
    weights = [[*_weight_row(weight), spark(weight.ratio, logarithmic=True)] for weight in seen.weights]
    headings = (*LAYER_HEADINGS, text("deviation over time"), text("gradient over time"))
    parts += _section(text("Layers"), headings, layers, 2)
    parts += _section(text("Parameters"), (*WEIGHT_HEADINGS, text("update / weight over time")), weights, 1)
    parts.append("</div>")
    return "".join(parts)


def observed_curves(seen: Observations) -> Iterator[str]:
    """The course of a watched training as figures."""
    loss, steps = seen.loss, seen.steps_of_looks()
    positive = all(value is None or value > 0 for value in loss.trend_mean)
    band = [
        (step, mean - deviation, mean + deviation)
        for step, mean, deviation in zip(loss.trend_step, loss.trend_mean, loss.trend_std, strict=True)
        if mean is not None and deviation is not None
    ]
    trend = list(zip(loss.trend_step, loss.trend_mean, strict=True))
    evaluation = list(zip(loss.evaluation_steps, loss.evaluation_values, strict=True))
    yield from _figure(
        text("Loss by step"),
        curves([("c0", trend), ("c1", evaluation)], logarithmic=positive, band=band),
        [text("training, its scatter shaded"), text("evaluation")] if evaluation else [text("training, its scatter shaded")],
    )
    norms = list(zip(steps, seen.gradients.norm, strict=True))
    raw = list(zip(steps, seen.gradients.raw_norm, strict=True))
    clipped = any(a[1] is not None and b[1] is not None and b[1] > 1.001 * a[1] for a, b in zip(norms, raw, strict=True))
    yield from _figure(
        text("Norm of the gradient by step"),
        curves([("c0", norms), ("c1", raw)] if clipped else [("c0", norms)], logarithmic=True),
        [text("as the optimizer gets it"), text("before clipping")] if clipped else [],
    )
    chosen = [weight for weight in seen.weights if len(weight.shape) > 1]
    chosen = [chosen[0], chosen[len(chosen) // 2], chosen[-1]] if len(chosen) > 3 else chosen
    yield from _figure(
        text("Update over weight by step"),
        curves([(f"c{place}", list(zip(steps, one.ratio, strict=True))) for place, one in enumerate(chosen)], logarithmic=True),
        [one.name for one in chosen],
    )
    rates = [(float(step), several[0]) for step, several in zip(seen.learning_rate_steps, seen.learning_rates, strict=True) if several]
    if len(rates) > 1:
        yield from _figure(text("Learning rate by step"), curves([("c0", rates)]), [])
    scale = list(zip(seen.gradients.noise_scale_steps, seen.gradients.noise_scale_values, strict=True))
    if len(scale) > 1:
        yield from _figure(text("Gradient noise scale by step, in samples"), curves([("c0", scale)], logarithmic=True), [])


def _figure(title: Text, drawing: str, keys: Sequence[Text | str]) -> Iterator[str]:
    if drawing:
        yield f"<h2>{both(title)}</h2>{drawing}"
        yield "".join(f'<span class="key k{place}">{both(key)}</span>' for place, key in enumerate(keys))


def _section(title: Text, headings: Sequence[Text], rows: list[list[str]], drawings: int) -> Iterator[str]:
    if not rows:
        return
    words = 2
    head = "".join(f"<th{' class=n' if place >= words else ''}>{both(heading)}</th>" for place, heading in enumerate(headings))
    body = []
    for row in rows:
        cells = [f"<td>{f'<code>{escape(cell)}</code>' if place == 0 else escape(cell)}</td>" for place, cell in enumerate(row[:words])]
        cells += [f'<td class="n">{escape(cell)}</td>' for cell in row[words : len(row) - drawings]]
        cells += [f"<td>{cell}</td>" for cell in row[len(row) - drawings :]]
        body.append(f"<tr>{''.join(cells)}</tr>")
    yield f'<h2>{both(title)}</h2><div class="table"><table><tr>{head}</tr>{"".join(body)}</table></div>'
