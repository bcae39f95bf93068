"""An explanation as one HTML file: each sample in its user's terms, the certificate with its reasons, how it was made; in both languages.

Where the certificate's trust is "none", no colours are drawn: the page says why, and how to have them drawn even so.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pellucid.core.errors import OptionError
from pellucid.core.language import Text, text
from pellucid.core.page import both, head_of_page, write_page
from pellucid.core.page import style as shared_style
from pellucid.core.wording import duration
from pellucid.explanation.drawing import colours
from pellucid.explanation.drawing.samples import Part, Sample, samples_of
from pellucid.explanation.registry import methods
from pellucid.explanation.terms import TRUST, method_name, score_name

if TYPE_CHECKING:
    from pellucid.explanation.certificate import Certificate
    from pellucid.explanation.explanation import Explanation
    from pellucid.explanation.faithfulness.score import FaithfulnessScore

COLUMNS_SHOWN = 20  # of a table; the others are folded
SAMPLES_SHOWN = 64
TRUST_CLASS = {"high": "good", "limited": "advice", "none": "fault"}
_ROUNDING = 1e-4  # of the change of the output, by which sums of float32 numbers may miss it
UNSIGNED = ("saliency", "grad_cam", "attention")  # what matters, without saying for or against
WHY_NOT = text("No colours are drawn: these attributions cannot be trusted.")
EVEN_SO = text("To see them even so: even_if_untrusted=True, or --even-if-untrusted on the command line.")


def to_html(
    explanation: Explanation,
    path: str | Path,
    *,
    names: Any = None,
    values: Any = None,
    images: Any = None,
    classes: Sequence[str] | None = None,
    titles: Sequence[str] | None = None,
    even_if_untrusted: bool = False,
) -> Path:
    """Write the page. What the arguments name: see `samples_of`.

    Raises:
        OptionError: another ending than .html, or what `samples_of` refuses.
        StorageError: the file cannot be written.
    """
    check_ending(path, (".html", ".htm"))
    samples = samples_of(explanation, names=names, values=values, images=images, classes=classes, titles=titles)
    network = type(explanation.evidence.subject.original).__name__ if explanation.evidence is not None else ""
    return write(path, explanation, samples, title=network, even_if_untrusted=even_if_untrusted)


def check_ending(path: str | Path, endings: Sequence[str]) -> None:
    """Raise an OptionError where the file would be called something else than it is."""
    if Path(path).suffix.lower() not in endings:
        raise OptionError(
            text("the output file is {path!r}", path=str(path)), text("a name that ends in one of: {endings}", endings=list(endings)),
            text("to_html writes a page, plot a picture"),
        )  # fmt: skip


def write(
    path: str | Path,
    explanation: Explanation,
    samples: Sequence[Sample],
    *,
    title: Text | str,
    notes: Sequence[Text] = (),
    even_if_untrusted: bool = False,
) -> Path:
    """The page of samples that are in their user's terms already."""
    drawn = even_if_untrusted or explanation.certificate.trust != "none"
    parts = [*head_of_page(title), f'<p class="soft">{both(made_by(explanation))}</p>']
    for sample in samples[:SAMPLES_SHOWN]:
        parts += _sample(explanation, sample, len(samples) > 1, drawn)
    if len(samples) > SAMPLES_SHOWN:
        left = text("{count} more samples are not shown", count=len(samples) - SAMPLES_SHOWN)
        parts.append(f'<p class="soft">{both(left)}</p>')
    parts += certificate_section(explanation.certificate, _names(explanation, samples))
    parts += _made(explanation, notes)
    parts.append("</div>")
    return write_page(path, title, "".join(parts), style())


def heading(title: Text) -> str:
    return f"<h2>{both(title)}</h2>"


def style() -> str:
    return shared_style() + (Path(__file__).parent / "page.css").read_text(encoding="utf-8")


# -- one sample --------------------------------------------------------------------------------------------------------------------------


def _sample(explanation: Explanation, sample: Sample, several: bool, drawn: bool) -> Iterator[str]:
    yield f"<section><h2>{both(sample.title)}</h2>" if several or sample.title else "<section>"
    if sample.answer is not None:
        yield f'<p class="answer">{both(_sentence(sample.answer))}</p>'
    if sample.sums is not None:
        yield f'<p class="soft">{both(_sentence(sample.sums))}</p>'
    if not drawn:
        reasons = "".join(f"<li>{both(reason)}</li>" for reason in explanation.certificate.reasons)
        said = f"<p><strong>{both(WHY_NOT)}</strong></p><ul>{reasons}</ul>"
        yield f'<div class="finding fault">{said}<p class="soft">{both(EVEN_SO)}</p></div>'
        for part in sample.parts:
            if part.image is not None:
                yield f'<div class="pictures">{_picture(part.image, text("the image"))}</div>'
        yield "</section>"
        return
    for part in sample.parts:
        yield from _DRAWN[part.kind](part, sample, explanation)
    yield "</section>"


def _sentence(said: Text) -> Text:
    return text("{sentence}.", sentence=said)


def legend(largest: float, explained: Text | str | None, *, unsigned: bool, clipped: bool = False) -> str:
    """The scale in words: which colour speaks for the output, which against it."""
    bar = ", ".join(colours.as_css(share, 1.0) for share in np.linspace(0 if unsigned else -1, 1, 11))
    low = "0" if unsigned else f"−{number(largest)}"
    what = explained if explained is not None else text("the output")
    if unsigned:
        ends = (text("matters little"), text("matters for {output}", output=what))
    else:
        ends = (text("lowers {output}", output=what), text("raises {output}", output=what))
    words = "".join(f"<span>{both(end)}</span>" for end in ends)
    beyond = text("Values beyond the end of the scale are drawn in the colour of its end.")
    note = f'<p class="soft">{both(beyond)}</p>' if clipped else ""
    return (
        f'<div class="legend"><div class="words">{words}</div><div class="scale" style="background:linear-gradient(to right, {bar})"></div>'
        f'<div class="words"><span>{low}</span>{"" if unsigned else "<span>0</span>"}<span>{number(largest)}</span></div></div>{note}'
    )


def number(value: float) -> str:
    """Three digits, with the sign that typographers use."""
    return f"{value:.3g}".replace("-", "−")


def value_of(part: Part, place: int) -> str:
    """A column's own value, "" where it is not known; a negative number has the same sign as the contributions beside it."""
    shown = part.shown[place] if part.shown else ""
    return f"−{shown[1:]}" if shown.startswith("-") and shown[1:].replace(".", "", 1)[:1].isdecimal() else shown


def _pixels(part: Part, sample: Sample, explanation: Explanation) -> Iterator[str]:
    assert part.image is not None
    largest = colours.strength(part.values)
    overlay = colours.over_image(part.image, part.values, largest)
    clipped = float(np.abs(part.values).max(initial=0.0)) > largest * 1.0001
    pictures = [_picture(part.image, text("the image")), _picture(overlay, text("what counts, over the image"))]
    yield f'<div class="pictures">{"".join(pictures)}</div>'
    yield legend(largest, sample.explained, unsigned=explanation.method in UNSIGNED, clipped=clipped)


def _picture(image: np.ndarray, caption: Text) -> str:
    words = escape(str(caption), quote=True)
    return f'<figure><img alt="{words}" src="{colours.data_uri(image)}"><figcaption>{both(caption)}</figcaption></figure>'


def _columns(part: Part, sample: Sample, explanation: Explanation) -> Iterator[str]:
    order = np.argsort(-np.abs(part.values), kind="stable")
    largest = float(max(np.abs(part.low).max(initial=0.0), np.abs(part.high).max(initial=0.0), np.abs(part.values).max(initial=0.0)))
    yield legend(largest, sample.explained, unsigned=explanation.method in UNSIGNED)
    head = [text("column"), text("value"), text("contribution"), text("number")]
    if part.sampled:
        head.append(text("95 % interval"))
    titles = "".join(f"<th{' class=n' if place >= 3 else ''}>{both(title)}</th>" for place, title in enumerate(head))
    rows = [_row(part, int(place), largest) for place in order]
    for first, last in ((0, COLUMNS_SHOWN), (COLUMNS_SHOWN, len(rows))):
        if rows[first:last]:
            table = f'<div class="table"><table class="columns"><tr>{titles}</tr>{"".join(rows[first:last])}</table></div>'
            left = number(float(part.values[order[first:]].sum()))
            rest = text("{count} columns that count less, together {sum}", count=len(rows) - first, sum=left)
            yield table if first == 0 else f"<details><summary>{both(rest)}</summary>{table}</details>"


def _row(part: Part, place: int, largest: float) -> str:
    value, low, high = (float(item[place]) for item in (part.values, part.low, part.high))
    colour = colours.as_css(0.75 if value >= 0 else -0.75, 1.0)
    at = [50 + 50 * item / largest if largest else 50.0 for item in (min(value, 0.0), max(value, 0.0), low, high)]
    bar = f'<i class="bar" style="left:{at[0]:.2f}%;width:{at[1] - at[0]:.2f}%;background:{colour}"></i>'
    if part.sampled:
        bar += f'<i class="whisker" style="left:{at[2]:.2f}%;width:{at[3] - at[2]:.2f}%"></i>'
    interval = f"<td class=n>{number(low)} … {number(high)}</td>" if part.sampled else ""
    shown = value_of(part, place)
    return (
        f"<tr><td><bdi>{escape(part.names[place])}</bdi></td><td><bdi>{escape(shown)}</bdi></td>"
        f'<td class="bars"><span class="track">{bar}</span></td><td class=n>{number(value)}</td>{interval}</tr>'
    )


def _words(part: Part, sample: Sample, explanation: Explanation) -> Iterator[str]:
    largest = float(np.abs(part.values).max(initial=0.0))
    shown: list[str] = []
    for word, value in zip(part.names, part.values.tolist(), strict=True):
        if not value or not word.strip():  # also what stands between words, and words that the network does not know
            shown.append(escape(word) or " ")
            continue
        colour = f"background:{colours.as_css(value, largest)};color:{'#fff' if colours.is_dark(value, largest) else '#111'}"
        shown.append(f'<span class="word" style="{colour}" title="{number(value)}">{escape(word)}</span>')
    spaced = (
        " "
        if not any(not word.strip() for word in part.names)
        and not any("\u3040" <= letter <= "\u9fff" for word in part.names for letter in word)
        else ""
    )
    yield f'<p class="words-shown">{spaced.join(shown)}</p>'
    yield legend(largest, sample.explained, unsigned=explanation.method in UNSIGNED)
    everything = [int(place) for place in np.argsort(-np.abs(part.values), kind="stable") if part.values[int(place)]]
    order, others = everything[:COLUMNS_SHOWN], everything[COLUMNS_SHOWN:]
    titles = "".join(f"<th{' class=n' if place == 2 else ''}>{both(title)}</th>"
                     for place, title in enumerate((text("word"), text("contribution"), text("number"))))  # fmt: skip
    bars = "".join(
        f'<tr><td><bdi>{escape(part.names[place])}</bdi> <span class="soft">{place}</span></td>'
        + _row(part, place, largest).split("</td>", 2)[2]
        for place in order
    )
    whole = f'<div class="table"><table class="columns"><tr>{titles}</tr>{bars}</table></div>'
    if others:
        rest = text("and {count} that count less, together {sum}", count=len(others), sum=number(float(part.values[others].sum())))
        whole += f'<p class="soft">{both(rest)}</p>'
    summary = text("the words that count most")
    yield f"<details><summary>{both(summary)}</summary>{whole}</details>"


def _steps(part: Part, sample: Sample, explanation: Explanation) -> Iterator[str]:
    """Each channel's line over time, each step's contribution as its background."""
    assert part.series is not None
    channels, steps = part.values.shape
    largest = float(np.abs(part.values).max(initial=0.0))
    yield legend(largest, sample.explained, unsigned=explanation.method in UNSIGNED)
    order = np.argsort(-np.abs(part.values).sum(axis=1), kind="stable")
    if channels > 1:
        first_is = text("The channels that count most stand first.")
        yield f'<p class="soft">{both(first_is)}</p>'
    drawings = [_series(part, int(channel), largest) for channel in order]
    for first, last in ((0, 8), (8, channels)):
        if drawings[first:last]:
            inside = "".join(drawings[first:last])
            left = number(float(part.values[order[first:]].sum()))
            rest = text("{count} channels that count less, together {sum}", count=channels - first, sum=left)
            yield inside if first == 0 else f"<details><summary>{both(rest)}</summary>{inside}</details>"
    along = text("time step")
    yield f'<p class="soft times"><span>0</span><span>{both(along)}</span><span>{steps - 1}</span></p>'


def _series(part: Part, channel: int, largest: float) -> str:
    assert part.series is not None
    values, series = part.values[channel], part.series[channel]
    steps = len(values)
    low, high = float(series.min()), float(series.max())
    width = 1000 / steps
    backs = "".join(
        f'<rect x="{width * step:.2f}" y="0" width="{width * 1.03:.2f}" height="100" fill="{colours.as_css(value, largest)}"/>'
        for step, value in enumerate(values.tolist())
    )
    points = " ".join(
        f"{width * (step + 0.5):.1f},{92 - 84 * (value - low) / (high - low) if high > low else 50:.1f}"
        for step, value in enumerate(series.tolist())
    )
    name = escape(part.names[channel])
    return (
        f'<div class="series"><span class="name"><bdi>{name}</bdi></span>'
        f'<span class="ends"><b>{number(high)}</b><b>{number(low)}</b></span>'
        f'<svg viewBox="0 0 1000 100" preserveAspectRatio="none">{backs}<polyline points="{points}"/></svg></div>'
    )


_DRAWN = {"pixels": _pixels, "columns": _columns, "words": _words, "steps": _steps}


# -- how far to trust it, how it was made --------------------------------------------------------------------------------------------------


def _compares(explanation: Explanation) -> bool:
    """Whether the method uses the reference itself; of a method that is not known here it is taken to."""
    known = methods().get(explanation.method)
    return known is None or known.compares


def made_by(explanation: Explanation) -> Text:
    """The method and what its numbers are compared with."""
    if not _compares(explanation):
        return text("{method}; its tests take {reference} for what is absent", method=method_name(explanation.method),
                    reference=explanation.reference)  # fmt: skip
    return text("{method}, compared with {reference}", method=method_name(explanation.method), reference=explanation.reference)


def _names(explanation: Explanation, samples: Sequence[Sample]) -> Sequence[str]:
    """What the user calls the tested features, where one is a column."""
    made = explanation.evidence
    parts = [part for sample in samples[:1] for part in sample.parts]
    columns = len(parts) == 1 and parts[0].kind == "columns" and made is not None and len(parts[0].names) == made.players.count
    return parts[0].names if columns else ()


def _with_names(said: Text, names: Sequence[str]) -> Text:
    """The same sentence with the user's names of features in place of their numbers."""
    features = said.values.get("features")
    if not names or not isinstance(features, list):
        return said
    own = [names[item.values["number"]] if isinstance(item, Text) and "number" in item.values else item for item in features]
    return Text(said.message, {**said.values, "features": own})


def certificate_section(certificate: Certificate, names: Sequence[str] = ()) -> Iterator[str]:
    """The certificate: trust, reasons, every score beside what it should be; `names` of the features, where they are columns."""
    trust = certificate.trust
    yield heading(text("Certificate of the explanation"))
    reasons = "".join(f"<li>{both(reason)}</li>" for reason in certificate.reasons)
    said = text("Trust: {trust}", trust=TRUST.get(trust, trust))
    yield f'<div class="finding {TRUST_CLASS.get(trust, "advice")}"><p><strong>{both(said)}</strong></p><ul>{reasons}</ul></div>'
    if certificate.scores:
        heads = (text("what is tested"), text("result"), text("95 % interval"), text("what it should be"), text("passed"), text("source"))
        titles = "".join(f"<th{' class=n' if 0 < place < 3 else ''}>{both(title)}</th>" for place, title in enumerate(heads))
        rows = "".join(_score(score, names) for score in certificate.scores)
        yield f'<div class="table"><table class="scores"><tr>{titles}</tr>{rows}</table></div>'
        yield f'<p class="soft">{both(certificate.correction)}</p>'


def _score(score: FaithfulnessScore, names: Sequence[str]) -> str:
    interval = score.interval
    between = "–" if interval is None or interval.low == interval.high else f"{number(interval.low)} … {number(interval.high)}"
    passed = {True: "✓", False: "✗", None: "–"}[score.passed]
    kind = {True: "good", False: "fault", None: "soft"}[score.passed]
    note = "" if score.note is None else f'<br><span class="soft">{both(_with_names(score.note, names))}</span>'
    value = "–" if score.value is None else number(score.value)
    if score.value is not None and score.p_value is not None:
        value += f'<br><span class="soft">{both(text("p = {p}", p=f"{score.p_value:.2g}"))}</span>'
    return (
        f'<tr><td class="wrap">{both(score_name(score.name))}{note}</td><td class=n>{value}</td><td class=n>{between}</td>'
        f'<td class="wrap">{both(score.expected)}</td><td class="{kind}-mark">{passed}</td>'
        f'<td class="soft wrap">{escape(score.source)}</td></tr>'
    )


def facts_of(explanation: Explanation) -> Iterator[Text]:
    """How the attributions were made, in sentences."""
    if not any("name" in note.values and "why" in note.values for note in explanation.notes):  # which says the method, and why
        yield text("Method: {method}", method=method_name(explanation.method))
    if _compares(explanation):
        yield text('Reference, which is what "absent" means: {reference}', reference=explanation.reference)
    else:
        yield text('This method uses no reference; in its tests "absent" means: {reference}', reference=explanation.reference)
    if explanation.evidence is not None and explanation.evidence.family in ("perturbation", "surrogate", "shapley"):
        yield text("One feature is: {features}", features=explanation.features)
    if explanation.gap is not None:
        if explanation.gap < _ROUNDING:
            yield text("The contributions add up to the change of the output")
        elif len(explanation.value) == 1:
            yield text("The contributions add up to the change of the output but for {gap} of it", gap=f"{100 * explanation.gap:.2g} %")
        else:
            yield text("The contributions add up to the change of the output but for {gap} of it (the worst sample)",
                       gap=f"{100 * explanation.gap:.2g} %")  # fmt: skip
    spent = explanation.spent
    yield text(
        "Spent: {forward} samples forward, {backward} backward, {time}",
        forward=spent.forward, backward=spent.backward, time=duration(spent.seconds),
    )  # fmt: skip


def _made(explanation: Explanation, notes: Sequence[Text]) -> Iterator[str]:
    yield heading(text("How it was made")) + "<ul>"
    for said in (*facts_of(explanation), *explanation.notes, *notes):
        yield f"<li>{both(said)}</li>"
    yield "</ul>"
