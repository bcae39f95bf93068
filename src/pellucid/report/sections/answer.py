"""The answer first: how good, better than simpler models or not, learnt too little or too much, and what to do next."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pellucid.core.language import Text, text
from pellucid.core.records import Finding
from pellucid.core.system import quoted
from pellucid.core.wording import counted
from pellucid.report import wording
from pellucid.report.records import RunRecords

MARKS = {"good": "✓", "advice": "!", "fault": "✗", "unknown": "–"}  # beside the words: colour alone says nothing to some eyes


@dataclass(frozen=True)
class Verdict:
    """One answer: its mark, a word or two, and the sentences under it."""

    level: str  # "good", "advice", "fault", "unknown"
    word: Text
    sentences: tuple[Text, ...]

    @property
    def mark(self) -> str:
        return MARKS.get(self.level, MARKS["unknown"])


def content(records: RunRecords) -> Mapping[str, Any]:
    part = records.part
    score = records.score(part) or next(iter(records.scores_of(part or "")), None)
    return {
        "score": score,
        "metric": wording.metric_name(score.name) if score else None,
        "value": wording.value(score.value) if score else None,
        "interval": wording.interval(score.interval, score.value) if score else "",
        "bounded": score is not None and score.interval is not None and 0 <= score.interval.low <= score.interval.high <= 1,
        "part": wording.PART_NAMES.get(part or "", part),
        "measured": _measured(records),
        "comparison": _comparison(records),
        "verdicts": _verdicts(records),
        "next_steps": _next_steps(records),
    }


def _measured(records: RunRecords) -> list[Text]:
    """What the score means in everyday words, and what it must not be taken for."""
    told = [Text.from_dict(sentence) for sentence in (records.summary or {}).get("told") or ()][1:]  # the first is the headline's
    if records.divergence is not None:
        return [text("There is no score: the training ended before it was done.")]
    if not records.finished:
        row = records.history[-1] if records.history else {}
        part = "validation" if row.get("validation") else "train"
        value = (row.get(part) or {}).get(records.primary)
        epochs = counted(len(records.history), text("1 epoch"), text("{count} epochs", count=wording.grouped(len(records.history))))
        if value is None:
            running = text("There is no score yet: the training is running and has done {epochs}.", epochs=epochs)
            return [
                running if records.running
                else text("There is no score yet: the training has done {epochs} and was interrupted.", epochs=epochs)
            ]  # fmt: skip
        values = {"epochs": epochs, "metric": wording.metric_name(records.primary), "value": wording.value(value),
                  "part": wording.PART_NAMES[part]}  # fmt: skip
        if records.running:
            return [
                text(
                    "There is no final score yet: the training is running; after {epochs} the {metric} is {value} on the {part}.", **values
                )
            ]
        return [
            text("There is no final score yet: the training was interrupted after {epochs}, with {metric} {value} on the {part}.", **values)
        ]
    if records.part == "validation":
        told.append(text("No test part was held out; the validation part chose the weights, so this score is a little too good."))
    elif records.part == "train":
        told.append(text("Nothing was held out: these are the samples the network learnt from, and the score says little about new ones."))
    elif records.part is None:
        told.append(text("nothing was measured: no sample was held out and the training part has no score"))
    return list(dict.fromkeys(told))


def _comparison(records: RunRecords) -> Verdict:
    found = records.baselines
    if found is None:
        return Verdict("unknown", text("not compared"), (text("No classical model was trained on these data."),))
    word = {
        "better": text("yes"),
        "not_shown": text("not shown"),
        "worse": text("no"),
    }.get(found.conclusion, text("not compared"))
    level = {"better": "good", "not_shown": "advice", "worse": "fault"}.get(found.conclusion, "unknown")
    return Verdict(level, word, (found.verdict,))


def _verdicts(records: RunRecords) -> list[Verdict]:
    return [Verdict(finding.level, _word(finding), (finding.summary,)) for finding in records.findings]


def _word(finding: Finding) -> Text:
    words = {"overfitting": text("overfitting"), "underfitting": text("underfitting"), "divergence": text("divergence")}
    if finding.level == "good":
        return text("nothing wrong seen")
    return words.get(finding.symptom, text("something to look at"))


def _next_steps(records: RunRecords) -> list[Text]:
    if records.summary is not None:
        return [Text.from_dict(step) for step in records.summary.get("next_steps") or ()]
    steps = [finding.remedy for finding in records.findings if finding.remedy is not None]
    if records.running:
        return [text("wait until the training has ended, and draw this report again: {command}",
                     command=f"pellucid report {quoted(records.path)}")]  # fmt: skip
    if records.divergence is None:
        steps.append(text("go on with: {command}", command=f"pellucid resume {quoted(records.path)}"))
    return steps
