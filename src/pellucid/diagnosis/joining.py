"""What several stages found becomes one account: the same cause once, suspicions beside what the training and the trials made of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from pellucid.core.language import text
from pellucid.core.records import Finding

STRENGTH = {"controlled": 3, "static": 2, "data": 1, "dynamic": 0}  # of an establishment: what was tried beats what was read
# What is wrong whatever it costs: a trial that gets there all the same does not make it right. A test part that leaks gets a lower score
# from its remedy, which is the point of it.
STRUCTURAL = {
    "missing_zero_grad", "flipped_gradient", "wrong_mode", "shape_broadcast", "unowned_parameters", "repeated_parameters", "data_leakage",
    "single_class_labels", "label_encoding",
}  # fmt: skip
TOO_LARGE = ("lr_too_high", "divergence", "exploding_gradient")
SEEN_AS = {"saturating_activation": "vanishing_gradient"}  # cause -> the symptom that its own evidence measures
PROVED = 0.9  # confidence of a cause whose remedy helped over several seeds
STATED = 0.85  # of what a plain network, which has not got it, does without
LEARNS = 0.1  # of the way from a constant answer to a perfect one: more than chance brings
BORNE_OUT = 0.97  # of a logarithm at whose very place the training broke down


def joined(findings: Iterable[Finding]) -> list[Finding]:
    """The same cause, established in several ways, is one finding: as the strongest way tells it; the others stand in its evidence.

    A cause that one way sees at several places stays several findings, each with what the other ways say of its place.
    """
    groups: dict[str, list[Finding]] = {}
    for finding in findings:
        groups.setdefault(f"{finding.cause or finding.symptom}{'' if finding.level != 'good' else ' good'}", []).append(finding)
    told: list[Finding] = []
    for group in groups.values():
        best = max(STRENGTH.get(finding.established_by, 0) for finding in group)
        strongest = [finding for finding in group if STRENGTH.get(finding.established_by, 0) == best]
        weaker = [finding for finding in group if finding not in strongest]
        for position, finding in enumerate(strongest):
            mine = [other for other in weaker if other.where == finding.where or (position == 0 and _elsewhere(other, strongest))]
            told.append(_merged(finding, mine))
    return told


def _elsewhere(other: Finding, several: Sequence[Finding]) -> bool:
    return all(other.where != finding.where for finding in several)


def _merged(finding: Finding, others: Sequence[Finding]) -> Finding:
    if not others:
        return finding
    also = [{"established_by": other.established_by, "where": other.where, "summary": other.summary} for other in others]
    evidence: dict[str, Any] = {}
    for other in others:
        evidence.update(other.evidence)
    return replace(
        finding,
        level="fault" if any(one.level == "fault" for one in (finding, *others)) else finding.level,
        confidence=max(one.confidence for one in (finding, *others)),
        where=finding.where or next((other.where for other in others if other.where), None),
        remedy=finding.remedy or next((other.remedy for other in others if other.remedy is not None), None),
        change=finding.change or next((other.change for other in others if other.change is not None), None),
        evidence={**evidence, **finding.evidence, "also_established_by": also},
    )


def refuted(finding: Finding, trials: Any) -> bool:
    """A suspicion that the network itself refutes: a probe finds nothing in the inputs, and the training does."""
    suspected = finding.symptom == "uninformative_input" and finding.established_by == "data" and finding.level == "advice"
    return suspected and trials is not None and (trials.learnt or 0.0) > LEARNS


def weighed(finding: Finding, trials: Any) -> Finding:
    """A finding beside what its remedy did in the controlled experiments, where it was tried from several seeds.

    What a trial proves is sure, and a fault where it costs much of what can be learnt. What data or a course of training suggest, and a
    trial does not bear out, is no fault: it does not cost more than the seed. What a program cannot do whatever its numbers stays one.
    """
    if trials is None:
        return finding
    effect = trials.effect_of(finding.change)
    if finding.symptom == "vanishing_gradient" and finding.level == "advice" and trials.outdone:  # it learns, and far too little
        evidence = {**finding.evidence, "train_score": trials.reference.train_score, "plain_train_score": trials.network.train_score}
        finding = replace(finding, level="fault", confidence=max(finding.confidence, STATED), evidence=evidence)
    if effect is None:
        return finding
    tried = {"difference": effect.difference, "interval": [effect.interval.low, effect.interval.high], "proved": effect.proved}
    evidence = {**finding.evidence, "tried": tried}
    if effect.proved:
        level = "fault" if effect.heavy else finding.level
        return replace(finding, level=level, confidence=max(finding.confidence, PROVED), evidence=evidence)
    judged = finding.established_by in ("data", "dynamic") and finding.symptom not in STRUCTURAL
    if finding.level == "fault" and judged and effect.difference <= trials.noise:
        return replace(finding, level="advice", confidence=min(finding.confidence, 0.5), evidence=evidence)
    return replace(finding, evidence=evidence)


def as_seen(finding: Finding) -> Finding:
    """A fault that the training suffers from bears the name of what is seen of it; its cause stays."""
    seen = SEEN_AS.get(finding.cause or "")
    return replace(finding, symptom=seen) if seen is not None and finding.level == "fault" else finding


def borne_out(findings: Iterable[Finding]) -> list[Finding]:
    """A suspicion about an operation is a fault once the training gives NaN or infinity from that very operation; one about a summed loss
    once the steps are too large."""
    findings = list(findings)
    if any(finding.symptom in TOO_LARGE and finding.level == "fault" and finding.established_by == "dynamic" for finding in findings):
        findings = [_summed(finding) if finding.symptom == "loss_reduction_sum" else finding for finding in findings]
    broken = next((finding for finding in findings if finding.symptom == "nan" and finding.level == "fault"), None)
    return [_broke_here(finding, broken) if finding.symptom == "unstable_loss" and broken is not None else finding for finding in findings]


def _summed(suspicion: Finding) -> Finding:
    """A step on a sum over the batch is as many times that on its mean: where steps are too large, and the mean's is not, that is why."""
    before, mean = (suspicion.evidence.get(name) for name in ("loss_before", "loss_after_step_of_mean"))
    if suspicion.level != "advice" or before is None or mean is None or not mean < before:
        return suspicion
    return replace(suspicion, level="fault", confidence=max(STATED, suspicion.confidence))


def _broke_here(suspicion: Finding, broken: Finding) -> Finding:
    operation, line = broken.evidence.get("operation"), broken.evidence.get("source")
    if operation is None or operation != suspicion.evidence.get("operation") or (line and suspicion.where not in (line, None)):
        return suspicion
    step = broken.evidence.get("step")
    return replace(
        suspicion,
        level="fault",
        confidence=max(BORNE_OUT, suspicion.confidence),
        summary=text("{said} At step {step} of your training it did.", said=suspicion.summary, step=step),
        evidence={**suspicion.evidence, "broke_at_step": step},
    )
