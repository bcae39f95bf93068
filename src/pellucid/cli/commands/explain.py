"""`pellucid explain`: why a trained network answered so, in the user's own columns, words or pixels, and how far to trust it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from pellucid.cli.command import Command, GroupedOption, NamedArgument
from pellucid.cli.layout import fill, shorten, width_of
from pellucid.cli.output_files import checked_output, made_ready
from pellucid.cli.session import Session
from pellucid.core.errors import OptionError
from pellucid.core.language import text

if TYPE_CHECKING:
    from pellucid.explanation.drawing.samples import Part
    from pellucid.training.explaining import Explained

FORMATS = (".html", ".png")
SHOWN = 12  # columns or words in a terminal
BAR = 24  # characters of the longest bar on one side
_TRUST_COLOUR = {"high": "green", "limited": "yellow", "none": "red"}


def _explain(
    session: Session, run: str, source: str | None, row: str | None, words: str | None, method: str, target: str | None, baseline: str,
    output: str | None, certify: bool, even_if_untrusted: bool, seed: int,
) -> None:  # fmt: skip
    file = checked_output(output, FORMATS)

    from pellucid.cli.progress import TerminalProgress
    from pellucid.training.explaining import explain_run
    from pellucid.training.run import load

    progress = TerminalProgress(session.err)
    try:
        progress.waiting(text("reading the run and its data"))
        explained = explain_run(
            load(run), source, row=row, words=words, target=target, method=method, baseline=baseline, seed=seed,
            tell=lambda said: progress.waiting(said),
        )  # fmt: skip
        certified = certify or file is not None
        if certified:
            progress.waiting(text("testing the explanation"))
            explained.explanation.certificate  # noqa: B018 (computed here, while progress is shown)
    finally:
        progress.close()
    if file is not None:
        write = explained.to_html if file.suffix.lower() == ".html" else explained.plot
        write(made_ready(file), even_if_untrusted=even_if_untrusted)
    if session.json:
        session.write_json(_answer(run, output, explained, certified))
        return
    _show(session, explained, certified, even_if_untrusted, drawn=output is not None)
    if output is not None:
        session.out.line("")
        session.out.prose(str(text("all of it: {path}", path=output)))


def _once(context: click.Context, option: click.Parameter, values: tuple[str, ...]) -> str | None:
    """The value of an option that names what is explained: one sample and one class at a time, and the last of several is as good a guess
    as the first."""
    if len(values) > 1:
        raise OptionError(
            text("{option} is given {count} times: {values}", option=option.opts[0], count=len(values), values=list(values)),
            text("one sample and one class at a time"),
            text("call pellucid explain once for each of them"),
        )
    return values[0] if values else None


def _show(session: Session, explained: Explained, certified: bool, even_if_untrusted: bool, *, drawn: bool) -> None:
    from pellucid.explanation.drawing.page import facts_of
    from pellucid.explanation.terms import TRUST

    out, sample = session.out, explained.sample
    out.prose(str(sample.title), "bold")
    out.prose(str(text("{sentence}.", sentence=sample.answer)), "bold")
    out.line("")
    untrusted = certified and explained.explanation.certificate.trust == "none" and not even_if_untrusted
    if not untrusted:
        for part in sample.parts:
            if part.kind in ("columns", "words"):
                _show_part(session, part, explained.target)
            elif not drawn:
                out.prose(str(text("the contributions of pixels and time steps are drawn with --output FILE.html")))
                out.line("")
    if sample.sums is not None and not untrusted:
        out.prose(str(text("{sentence}.", sentence=sample.sums)))
        out.line("")
    if certified:
        certificate = explained.explanation.certificate
        if untrusted:
            out.prose(str(text("The contributions are not shown, because they cannot be trusted; --even-if-untrusted shows them.")), "red")
        colour = _TRUST_COLOUR.get(certificate.trust, "")
        out.prose(str(text("Trust: {trust}", trust=TRUST.get(certificate.trust, certificate.trust))), f"bold {colour}".strip())
        for reason in certificate.reasons:
            out.prose(str(reason), first="  - ", rest="    ")
    else:
        out.prose(str(text("How far to trust this: not tested; --certify tests it.")), "yellow")
    out.line("")
    for said in (*facts_of(explained.explanation), *explained.explanation.notes, *explained.notes):
        out.prose(str(said), "dim", rest="  ")


def _show_part(session: Session, part: Part, target: str) -> None:
    """The entries that count most, with bars from zero to both sides."""
    out = session.out
    order = [int(place) for place in (-abs(part.values)).argsort(kind="stable")]
    if part.kind == "words":  # what stands between the words, and words that the network does not know, say nothing
        order = [place for place in order if part.values[place]]
    if not order:
        return  # said in the notes
    largest = float(abs(part.values).max()) or 1.0
    rows: list[tuple[str, float, str]] = []
    for place in order[:SHOWN]:
        name = f"{part.names[place]} = {part.shown[place]}" if part.shown else part.names[place]
        low, high = float(part.low[place]), float(part.high[place])
        interval = f"  [{low:.3g}, {high:.3g}]" if f"{low:.3g}" != f"{high:.3g}" else ""
        rows.append((shorten(name, 36), float(part.values[place]), interval))
    width = max((width_of(name) for name, _, _ in rows), default=0)
    half = min(BAR, max(6, (out.columns - width - 34) // 2))
    lowers, raises = str(text("lowers {output}", output=target)), str(text("raises {output}", output=target))
    out.line(" " * max(0, width + 2 + half - width_of(lowers) - 1) + f"{lowers} | {raises}")
    for name, value, interval in rows:
        length = round(half * abs(value) / largest)
        left, right = ("", "█" * length) if value >= 0 else ("█" * length, "")
        out.line(f"{fill(name, width)}  {left:>{half}}|{right:<{half}} {value:+9.3g}{interval}")
    if len(order) > SHOWN:
        left = f"{float(part.values[order[SHOWN:]].sum()):+.3g}"
        out.prose(str(text("and {count} that count less, together {sum}", count=len(order) - SHOWN, sum=left)), "dim")
    out.line("")


def _answer(run: str, output: str | None, explained: Explained, certified: bool) -> dict[str, Any]:
    """What --json prints: the same names and numbers, sentences in the user's language."""
    explanation = explained.explanation
    parts: list[dict[str, Any]] = []
    for part in explained.sample.parts:
        known: dict[str, Any] = {"kind": part.kind, "attributions": part.values, "low": part.low, "high": part.high}
        if part.names:
            known["names"] = list(part.names)
        if part.shown:
            known["values"] = list(part.shown)
        parts.append(known)
    absent = explanation.value_absent
    notes = [str(note) for note in (*explanation.notes, *explained.notes)]
    return {
        "run": run, "sample": explained.identifier, "part": explained.part, "answer": explained.answer,
        "probability": explained.probability, "actual": explained.actual, "explained": explained.target,
        "output_value": float(explanation.value[0]),
        "reference_value": None if absent is None else float(absent[0]), "method": explanation.method,
        "reference": str(explanation.reference), "gap": explanation.gap, "parts": parts, "notes": notes,
        "certificate": _certificate(explanation.certificate) if certified else None, "output": output,
    }  # fmt: skip


def _certificate(certificate: Any) -> dict[str, Any]:
    return {**certificate.to_dict(), "reasons": [str(reason) for reason in certificate.reasons]}


command = Command(
    "explain",
    _explain,
    [
        NamedArgument("run", value=text("RUN"), says=text("the folder of a run")),
        NamedArgument(
            "source", value=text("DATA"), required=False,
            says=text("an image, or a file with rows as the run has learnt from; without it --row names a sample of the run's own data"),
        ),
        GroupedOption(
            "--row", value=text("N"), group="data", multiple=True, callback=_once,
            says=text("the sample; rows are counted from 1, without the heading: 17 is the 17th row"),
        ),
        GroupedOption(
            "--text", "words", value=text('"..."'), group="data", multiple=True, callback=_once,
            says=text("a text, for a run that has learnt from one column of texts")
        ),
        GroupedOption(
            "--target", value=text("CLASS"), group="data", multiple=True, callback=_once,
            says=text("the class to explain (default: the predicted one)"),
        ),
        GroupedOption(
            "--method", default="auto", value=text("NAME"), group="run",
            says=text("auto (the default), integrated_gradients, shapley, occlusion, lime, ...: a wrong name lists all"),
        ),
        GroupedOption(
            "--baseline", default="auto", value=text("NAME"), group="run",
            says=text('what "absent" means: auto, zero, mean, blur, noise or samples (default: auto)'),
        ),
        GroupedOption("--certify", is_flag=True, group="run", says=text("test the explanation: how far to trust it; --output does too")),
        GroupedOption("--output", value=text("FILE.html|.png"), group="run", says=text("write a page with everything, or a picture")),
        GroupedOption(
            "--even-if-untrusted", is_flag=True, group="run", says=text("show the contributions even where the tests say they mean nothing")
        ),
        GroupedOption(
            "--seed", type=int, default=0, value=text("INTEGER"), group="run", says=text("seed of what is drawn at random (default: 0)")
        ),
    ],
    word="解释",
    short=text("say why the network answers so"),
    about=text(
        "Says how much each column, word or pixel of one sample contributed to the network's answer, compared with what the answer would "
        "be without it: columns with the values you know, categories as one column, classes by their names. --certify measures whether the "
        "contributions say something about the network at all."
    ),
    examples=(
        ("pellucid explain runs/adult-mlp --row 17", text("a row of the run's data")),
        ("pellucid explain runs/pets-cnn cat.png --output cat.html", text("a picture, as a page")),
    ),
)  # fmt: skip
