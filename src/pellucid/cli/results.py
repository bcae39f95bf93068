"""What a training came to, for a person and for a program; and the scores on other data."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pellucid.cli.layout import fill, number, one_line, width_of, wrap
from pellucid.cli.names import metric_name
from pellucid.cli.terminal import Output
from pellucid.core.language import text
from pellucid.core.records import Finding, Notice, Record, Score
from pellucid.core.results import Baselines
from pellucid.core.studies import curve_sentences, remedy_sentences
from pellucid.core.wording import samples

if TYPE_CHECKING:
    from pellucid.training.answers import Evaluation
    from pellucid.training.run import Run

_MARKS = {"fault": ("✗", "red"), "advice": ("!", "yellow"), "good": ("✓", "green")}  # level of a finding -> its mark


def show_result(output: Output, run: Run, *, notes: bool = True) -> None:
    """The summary's sections, each with its heading on the left, and where the run is."""
    summary = run.summary
    if summary is None:
        return
    sections = [(str(heading), [str(sentence) for sentence in sentences]) for heading, sentences in summary.sections()]
    if not notes:
        told = {str(notice.summary) for notice in summary.notices}
        sections = [(heading, sentences) for heading, sentences in sections if not set(sentences) <= told]
    curve, remedies = run.learning_curve, run.remedies
    if curve is not None:
        sections.append((str(text("More data")), [str(sentence) for sentence in curve_sentences(curve)]))
    if remedies is not None:
        sections.append((str(text("Remedies")), [str(sentence) for sentence in remedy_sentences(remedies)]))
    sections.append((str(text("Run")), [str(run.directory)]))
    if (report := report_of(run)) is not None:
        sections.append((str(text("Report")), [str(report)]))
    left = max(11, *(width_of(heading) + 2 for heading, _ in sections))
    marks = {str(finding.summary): _MARKS.get(finding.level, _MARKS["advice"]) for finding in summary.findings}
    output.line("")
    for heading, sentences in sections:
        for position, sentence in enumerate(sentences):
            label = fill(heading if position == 0 else "", left)
            mark, style = marks.get(sentence, ("", ""))
            first, *rest = wrap(one_line(sentence), output.columns - left, first=f"{mark} " if mark else "")
            emphasis = "bold" if position == 0 and heading == sections[0][0] else ""
            if mark:
                output.line((label, "dim"), (first[: len(mark)], style), first[len(mark) :])
            else:
                output.line((label, "dim"), (first, emphasis))
            for line in rest:
                output.line(" " * left, (line, emphasis))


def report_of(run: Run) -> Path | None:
    """Where the run's report is, if it was drawn."""
    path = run.directory / "report.html"
    return path if path.is_file() else None


def fit_answer(run: Run) -> dict[str, Any]:
    """What `fit --json` and `resume --json` print."""
    summary = run.summary
    intervals = {
        part: {score.name: [score.interval.low, score.interval.high] for score in scores if score.interval is not None}
        for part, scores in run.scores.items()
    }
    baselines = summary.baselines if summary is not None else None
    return {
        "run": str(run.directory),
        "task": run.task.kind,
        "metrics": run.metrics,
        "intervals": intervals,
        "findings": [_finding(finding) for finding in run.findings],
        "notices": notice_rows(run.notices),
        "cost": {name: value for name, value in summary.cost.to_dict().items() if name != "format"} if summary is not None else None,
        "baselines": _comparison(baselines) if baselines is not None else None,
        "learning_curve": _record(run.learning_curve),
        "remedies": _record(run.remedies),
        "report": str(report) if (report := report_of(run)) is not None else None,
    }


def _record(record: Record | None) -> dict[str, Any] | None:
    return {name: value for name, value in record.to_dict().items() if name not in ("format", "laws")} if record is not None else None


def notice_rows(notices: Sequence[Notice]) -> list[dict[str, Any]]:
    """Notices for a program: the sentence in the user's language, the numbers beside it."""
    return [
        {"kind": notice.kind, "where": notice.where, "summary": str(notice.summary), "evidence": notice.to_dict()["evidence"]}
        for notice in notices
    ]


def _comparison(baselines: Baselines) -> dict[str, Any]:
    """Model -> its score in the primary metric, and whether the network beats the best of them."""
    scores = {baseline.name: {score.name: score.value for score in baseline.scores} for baseline in baselines.baselines}
    return {
        "conclusion": baselines.conclusion,
        "verdict": str(baselines.verdict),
        "best": baselines.best,
        "metric": baselines.primary,
        "models": {name: values.get(baselines.primary) for name, values in scores.items()},
        "skipped": {baseline.name: str(baseline.skipped) for baseline in baselines.baselines if baseline.skipped is not None},
        "seconds": baselines.seconds,
    }


def _finding(finding: Finding) -> dict[str, Any]:
    return {
        "symptom": finding.symptom,
        "cause": finding.cause,
        "level": finding.level,
        "confidence": finding.confidence,
        "where": finding.where,
        "summary": str(finding.summary),
        "evidence": dict(finding.evidence),
        "remedy": str(finding.remedy) if finding.remedy is not None else None,
    }


def show_evaluation(output: Output, evaluation: Evaluation) -> None:
    output.line(str(samples(evaluation.samples)))
    output.line("")
    show_scores(output, evaluation.scores)


def show_scores(output: Output, scores: Sequence[Score]) -> None:
    """A table of metrics with their intervals."""
    rows = [
        [
            str(metric_name(score.name)),
            (number(score.value), "bold"),
            f"[{number(score.interval.low)}, {number(score.interval.high)}]" if score.interval is not None else "-",
        ]
        for score in scores
    ]
    output.table([str(text("metric")), str(text("value")), str(text("95 % interval"))], rows, right=(1,))
