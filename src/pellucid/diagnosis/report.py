"""A diagnosis for a terminal, a notebook and as one HTML file in both languages."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from pellucid.core.language import Text, text
from pellucid.core.page import both, head_of_page, write_page
from pellucid.core.records import Finding, Verification
from pellucid.core.wording import counted, duration
from pellucid.diagnosis.causes import titled
from pellucid.diagnosis.evidence import bounds, called, gauge
from pellucid.diagnosis.watch.drawing import number
from pellucid.diagnosis.watch.report import MARKS, observed_curves, style

if TYPE_CHECKING:
    from pellucid.diagnosis.diagnose import Diagnosis

WAYS = {
    "static": text("read in the program, before the first step"),
    "data": text("seen in the data"),
    "dynamic": text("seen while training"),
    "controlled": text("established by a controlled experiment"),
}
LEVELS = {"fault": text("fault"), "advice": text("advice"), "good": text("good")}
FINDINGS, NOTHING = text("Findings"), text("Nothing wrong has been found.")
LEFT_OUT = text("Not looked at")
SHOWN = 6  # numbers of evidence in a terminal
WORDS_EXPECTED = {"finite": text("finite"), "none": text("none"), "all": text("all"), "more than one": text("more than one")}
APART = ("consequences", "also_established_by", "expected")  # evidence with a place of its own


@dataclass(frozen=True)
class Report:
    """`print(report)` in a terminal; in a notebook it shows itself."""

    diagnosis: Diagnosis
    proofs: Mapping[int, Verification] | None = None  # position of a finding -> what its remedy was proved to do

    def __str__(self) -> str:
        return "\n".join(self.lines())

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        return f"<style>{style()}</style>{_content(self.diagnosis, self.proofs or {})}"

    def lines(self) -> Iterator[str]:
        """The lines of the terminal."""
        for fact in _facts(self.diagnosis):
            yield str(fact)
        for position, finding in enumerate(self.diagnosis):
            yield ""
            headed = text("{name}: {said}", name=titled(name_of(finding)), said=finding.summary)
            yield f"{MARKS.get(finding.level, '!')} {headed}"
            for line in _details(finding):
                yield f"  {line}"
            proof = (self.proofs or {}).get(position)
            if proof is not None:
                yield f"  {proof.summary}"
        if not any(finding.level != "good" for finding in self.diagnosis):
            yield ""
            yield f"{MARKS['good']} {NOTHING}"
        if self.diagnosis.left_out:
            yield ""
            yield str(text("{what}:", what=LEFT_OUT))
            for note in self.diagnosis.left_out:
                yield f"  - {note}"


def write(path: str | Path, diagnosis: Diagnosis, proofs: Mapping[int, Verification] | None = None) -> Path:
    """One HTML file without anything from outside. Raises StorageError where it cannot be written."""
    return write_page(path, _title(diagnosis), _content(diagnosis, proofs or {}), style())


def name_of(finding: Finding) -> str:
    """The cause, or the symptom where no cause is established."""
    return finding.cause or finding.symptom


def _title(diagnosis: Diagnosis) -> str:
    model = diagnosis.trial.model if diagnosis.trial is not None else None
    return type(model).__name__ if model is not None else "Experiment"


def _facts(diagnosis: Diagnosis) -> Iterator[Text]:
    faults = sum(finding.level == "fault" for finding in diagnosis)
    advice = sum(finding.level == "advice" for finding in diagnosis)
    one, many = text("1 fault"), text("{count} faults", count=faults)
    piece, pieces = text("1 piece of advice"), text("{count} pieces of advice", count=advice)
    yield text(
        "{model}: {faults}, {advice}; the diagnosis took {time}.",
        model=_title(diagnosis),
        faults=counted(faults, one, many),
        advice=counted(advice, piece, pieces),
        time=duration(sum(diagnosis.seconds.values())),
    )
    trial = diagnosis.trial
    if trial is not None and trial.losses:
        yield text(
            "Your training: {steps} updates, loss {first} at first and {last} at last.",
            steps=trial.steps, first=number(trial.losses[0]), last=number(trial.losses[-1]),
        )  # fmt: skip
        if trial.scoring is not None and trial.moments and trial.scoring.metric != "loss":
            last = trial.moments[-1]
            metric = {"accuracy": text("accuracy"), "r2": text("R2")}[trial.scoring.metric]
            if last.test_score is not None:
                yield text(
                    "Its {metric}: {train} on the training part, {test} on the test part.",
                    metric=metric, train=number(last.train_score), test=number(last.test_score),
                )  # fmt: skip
            else:
                yield text("Its {metric}: {train} on the training part.", metric=metric, train=number(last.train_score))


def _details(finding: Finding) -> Iterator[Text]:
    if finding.remedy is not None:
        yield text("What to do: {what}", what=finding.remedy)
    if finding.where:
        yield text("Where: {place}", place=finding.where)
    yield text(
        "{level}, confidence {confidence:.0f} %, {way}",
        level=LEVELS.get(finding.level, finding.level), confidence=100 * finding.confidence,
        way=WAYS.get(finding.established_by, finding.established_by),
    )  # fmt: skip
    for other in _listed(finding.evidence.get("also_established_by")):
        yield text("Also {way}: {said}", way=WAYS.get(other["established_by"], other["established_by"]), said=other["summary"])


def _listed(items: Any) -> list[dict[str, Any]]:
    return [item for item in cast("list[Any]", items or []) if isinstance(item, dict)]


# -- HTML --------------------------------------------------------------------------------------------------------------------------------


def _content(diagnosis: Diagnosis, proofs: Mapping[int, Verification]) -> str:
    parts = [
        *head_of_page(_title(diagnosis)),
        *(f"<p>{both(fact)}</p>" for fact in _facts(diagnosis)),
        f"<h2>{both(FINDINGS)}</h2>",
    ]
    for position, finding in enumerate(diagnosis):
        parts.append(_finding(finding, proofs.get(position)))
    if not any(finding.level != "good" for finding in diagnosis):
        parts.append(f'<div class="finding good"><p>{both(NOTHING)}</p></div>')
    if diagnosis.left_out:
        notes = "".join(f"<li>{both(note)}{_names(note)}</li>" for note in diagnosis.left_out)
        parts.append(f"<h2>{both(LEFT_OUT)}</h2><ul>{notes}</ul>")
    if diagnosis.observations is not None:
        parts += observed_curves(diagnosis.observations)
    parts.append("</div>")
    return "".join(parts)


def _names(note: Text) -> str:
    """The names beside a sentence that tells only how many they are."""
    names = cast("list[Text]", note.values.get("names") or []) if "count" in note.values else []
    return "<ul>" + "".join(f"<li>{both(name)}</li>" for name in names) + "</ul>" if names else ""


def _finding(finding: Finding, proof: Verification | None) -> str:
    details = "".join(f'<p class="soft">{both(line)}</p>' for line in _details(finding))
    proved = "" if proof is None else f"<p><strong>{both(proof.summary)}</strong></p>"
    consequences = "".join(f"<li>{both(other['summary'])}</li>" for other in _listed(finding.evidence.get("consequences")))
    under = f"<ul>{consequences}</ul>" if consequences else ""
    head = f"<p><code>{both(titled(name_of(finding)))}</code> {both(finding.summary)}</p>"
    return f'<div class="finding {escape(finding.level)}">{head}{details}{proved}{under}{_evidence(finding)}</div>'


def _evidence(finding: Finding) -> str:
    """The numbers, beside them what they should be, and a small picture of both."""
    expected = cast("Mapping[str, Any]", finding.evidence.get("expected") or {})
    rows = [
        (name, _shown(value), str(expected.get(name, "")), gauge(float(value), str(expected.get(name, ""))) if _is_number(value) else "")
        for name, value in finding.evidence.items()
        if name not in APART and _shown(value)
    ]
    rows += [(name, "–", str(value), "") for name, value in expected.items() if name not in finding.evidence]
    if not rows:
        return ""
    heads = "".join(f"<th>{both(head)}</th>" for head in (text("evidence"), text("value"), text("should be")))
    body = "".join(
        f'<tr><td title="{escape(name)}">{both(called(name))}</td><td>{value}</td><td>{both(_wanted(wanted))}</td><td>{picture}</td></tr>'
        for name, value, wanted, picture in rows
    )
    return f'<div class="table"><table><tr>{heads}<th></th></tr>{body}</table></div>'


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _wanted(said: str) -> Text | str:
    """What is expected, with its few words in both languages."""
    if said.startswith("about ") and " " not in said.removeprefix("about "):
        return text("about {value}", value=said.removeprefix("about "))
    if " to " in said and bounds(said) is not None:
        low, _, rest = said.partition(" to ")
        high, _, best = rest.partition(", best about ")
        if " " not in high:
            return (
                text("{low} to {high}, best about {best}", low=low, high=high, best=best)
                if best
                else text("{low} to {high}", low=low, high=high)
            )
    return WORDS_EXPECTED.get(said, said)


def _shown(value: Any) -> str:
    """A number, a word or a short list as HTML; "" for what is no single thing."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (int, float)):
        return escape(number(float(value)))
    if isinstance(value, (str, Text)):
        return both(value)
    if isinstance(value, (list, tuple)) and 0 < len(cast("list[Any]", value)) <= SHOWN:
        shown = [_shown(item) for item in cast("list[Any]", value)]
        return ", ".join(shown) if all(shown) else ""
    return ""
