"""The verdict on a training: every symptom is looked for; where nothing is wrong, that is said too, with the numbers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from pellucid.core.language import text
from pellucid.core.records import Finding
from pellucid.core.wording import baseline_name
from pellucid.diagnosis.dynamic.curves import Curves, metric_word, part_word, shown
from pellucid.diagnosis.dynamic.noise import interval_of
from pellucid.diagnosis.registry import failed, symptoms
from pellucid.diagnosis.symptoms.overfitting import NOTHING_LEARNT, generalisation_gap

WIDE = 0.10  # of what was learnt: an interval of the gap wider than this on either side leaves the question half open


def verdict(curves: Curves) -> tuple[Finding, ...]:
    """The findings of all symptoms, faults first; at least one: without a fault or an advice the last is a "good" one.

    A symptom of another package that fails is reported and does not stop the others.
    """
    findings: list[Finding] = []
    for name, function in symptoms(reads=Curves).items():
        try:
            findings.extend(function(curves) or ())
        except Exception as error:
            findings.append(failed(name, error))
    if curves.simple:
        findings.extend(_beside_simple(curves))
    elif not any(finding.symptom in ("overfitting", "underfitting", "too_short") for finding in findings):
        findings.append(_nothing_wrong(curves))
    rank = {"fault": 0, "advice": 1, "good": 2}
    return tuple(sorted(findings, key=lambda finding: (rank.get(finding.level, 1), -finding.confidence)))


def _beside_simple(curves: Curves) -> list[Finding]:
    """Of a forecast: its error beside that of the best simple forecast on each part. The errors themselves are no measure of overfitting:
    later parts of a series have another level and other swings, which cost every forecast more, or less."""
    train, held_out, part = curves.train, curves.held_out, curves.held_out_part
    if train is None or held_out is None or not all(curves.simple.get(name) for name in ("train", part)):
        return [_nothing_wrong(curves)]
    ratios = {"train": train.value / curves.simple["train"], part: held_out.value / curves.simple[part]}
    evidence = {
        "metric": curves.primary, "simple": curves.simple_name, "ratios": ratios, "simple_scores": dict(curves.simple),
        "train": train.value, part: held_out.value, f"{part}_samples": held_out.samples,
    }  # fmt: skip
    said = text(
        "on the {part} the {metric} is {held_out}, and {model} gets {simple}; on the training part {train}, and {simple_train}.",
        metric=metric_word(curves.primary), held_out=shown(held_out.value), part=part_word(part), simple=shown(curves.simple[part]),
        model=baseline_name(curves.simple_name, curves.primary), train=shown(train.value), simple_train=shown(curves.simple["train"]),
    )  # fmt: skip
    finding = Finding(symptom="generalisation", level="good", confidence=0.5, evidence=evidence, summary=said)
    if ratios[part] < 1:
        more = text(
            "A forecast no worse than the simple ones: {said} The parts lie in different times, so that their errors are no measure of "
            "overfitting.",
            said=said,
        )  # fmt: skip
        return [replace(finding, summary=more)]
    if ratios["train"] < 1 - NOTHING_LEARNT:
        return [
            replace(
                finding,
                symptom="overfitting",
                level="advice",
                summary=text("Overfitting: {said} What the network learnt beyond the simple forecast does not carry over.", said=said),
                remedy=text("take the simple forecast, or try a longer series, --weight-decay or a smaller network"),
            )
        ]
    return [
        replace(
            finding,
            level="advice",
            summary=text("No better than a simple forecast: {said}", said=said),
            remedy=text("take the simple forecast, or look for single values far from all others and for steps where the series changes"),
        )
    ]


def _nothing_wrong(curves: Curves) -> Finding:
    """Neither over- nor underfitting is seen: what was compared, and how sure that is."""
    gap, train, held_out = generalisation_gap(curves), curves.train, curves.held_out
    evidence: dict[str, Any] = {"metric": curves.primary, "trivial": curves.trivial}
    for part in ("train", "validation", "test"):
        score = getattr(curves, part)
        if score is not None:
            evidence[part], evidence[f"{part}_samples"] = score.value, score.samples
    if train is not None and (curves.share(train.value) or 1.0) < NOTHING_LEARNT:
        return Finding(
            symptom="generalisation",
            level="advice",
            confidence=0.5,
            summary=text(
                "The {metric} says little here: {train} on the training part, and a constant answer gets {trivial}. The loss "
                "is clearly below that of a constant answer, so the network has learnt something.",
                metric=metric_word(curves.primary),
                train=shown(train.value),
                trivial=shown(curves.trivial),
            ),
            evidence=evidence,
            remedy=text("weigh the classes (--class-weight balanced), and look at the balanced accuracy or the area under the ROC curve"),
        )
    if train is None or held_out is None or gap is None or gap.interval is None or interval_of(held_out) is None:
        return Finding(
            symptom="generalisation",
            level="advice",
            confidence=0.0,
            summary=text(
                "Over- and underfitting cannot be judged: it takes a score with its interval on the training part and on held-out samples."
            ),
            evidence=evidence,
            remedy=text("hold some samples out: --validation 0.2"),
        )
    evidence |= {"gap": gap.value, "gap_interval": [gap.interval.low, gap.interval.high], "lost_share": gap.lost}
    share = curves.share(held_out.value)
    if share is not None and share < 0:
        return Finding(
            symptom="generalisation",
            level="advice",
            confidence=0.5,
            summary=text(
                "Worse than a constant answer on the {part}: {metric} is {held_out} there, {train} on the training part, and a constant "
                "answer gets {trivial}.",
                part=part_word(curves.held_out_part), metric=metric_word(curves.primary), held_out=shown(held_out.value),
                train=shown(train.value), trivial=shown(curves.trivial),
            ),
            evidence=evidence,
            remedy=text("look at what tells the parts apart: single values far from all others, or a split in time"),
        )  # fmt: skip
    values: dict[str, Any] = {
        "metric": metric_word(curves.primary),
        "train": shown(train.value),
        "held_out": shown(held_out.value),
        "part": part_word(curves.held_out_part),
        "samples": held_out.samples,
        "gap": shown(gap.value, gap.interval.high),
        "low": shown(gap.interval.low, gap.interval.high),
        "high": shown(gap.interval.high, gap.interval.low),
    }
    open_question = gap.interval.high > 2 * WIDE * gap.learnt
    if open_question and gap.interval.low > 0:
        summary = text(
            "Some overfitting, how much is open: {metric} is {train} on the training part and {held_out} on the {part}; gap {gap}. With "
            "{samples} samples there the 95 % interval is wide, [{low}, {high}].",
            **values,
        )
    elif open_question:
        summary = text(
            "No overfitting can be shown: {metric} is {train} on the training part and {held_out} on the {part}; gap {gap}. With {samples} "
            "samples there the 95 % interval is wide, [{low}, {high}]: a gap of {high} cannot be excluded.",
            **values,
        )
    else:
        summary = text(
            "A good fit: {metric} is {train} on the training part and {held_out} on the {part}; gap {gap}, 95 % interval [{low}, {high}].",
            **values,
        )
    summary = text("{said} Whether another network would do better, these curves cannot tell.", said=summary)
    return Finding(
        symptom="generalisation",
        level="good",
        confidence=gap.confidence_below(max(gap.bound, WIDE * gap.learnt)),
        summary=summary,
        evidence=evidence,
        remedy=text("more samples, or cross-validation, would narrow the interval") if open_question else None,
    )
