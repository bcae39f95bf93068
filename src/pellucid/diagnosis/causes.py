"""What explains what: of several symptoms of one training the root is told, and the others as its consequences.

A row of `EXPLAINS` says that a symptom, where it is found, brings others about by itself: a learning rate that is too high kills ReLUs and
makes the loss diverge, so that one finding with its consequences is told and not three. The table has no cycles, a test holds it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import cache
from typing import Any

from pellucid.core.language import Text, text
from pellucid.core.records import Finding
from pellucid.diagnosis.observations import Observations
from pellucid.diagnosis.registry import failed, symptoms

# Root -> what it brings about directly; what those bring about in turn follows. Programs that are wrong whatever their numbers are come
# first, then the size of a step, then what it does to activations and gradients, and the course of the loss, which explains nothing.
EXPLAINS: Mapping[str, frozenset[str]] = {
    name: frozenset(consequences.split())
    for name, consequences in {
        "flipped_gradient": "lr_too_high exploding_gradient",
        "missing_zero_grad": "lr_too_high exploding_gradient",
        "shape_broadcast": "constant_output plateau underfitting",
        "no_shuffle": "oscillation plateau overfitting underfitting",
        "wrong_mode": "overfitting underfitting oscillation",
        "repeated_parameters": "lr_too_high oscillation divergence",
        "unowned_parameters": "frozen_weights plateau underfitting lr_too_low",
        "frozen_weights": "plateau underfitting lr_too_low constant_output",
        "lr_too_high": "divergence oscillation nan dead_relu saturation plateau constant_output vanishing_gradient",
        "exploding_gradient": "divergence oscillation nan dead_relu saturation plateau lr_too_high",
        "dead_relu": "vanishing_gradient constant_output frozen_weights plateau underfitting",
        "saturation": "vanishing_gradient constant_output plateau underfitting",
        "vanishing_gradient": "frozen_weights plateau underfitting constant_output lr_too_low",
        "lr_too_low": "plateau underfitting",
        "constant_output": "plateau underfitting",
        "divergence": "nan",
        "nan": "dead_relu saturation constant_output frozen_weights plateau",
        "oscillation": "plateau underfitting",
        "plateau": "underfitting",
    }.items()
}

NAMED: Mapping[str, Text] = {  # a symptom in the middle of a sentence
    "constant_output": text("the same output for every sample"),
    "dead_relu": text("dead ReLU units"),
    "divergence": text("a rising loss"),
    "exploding_gradient": text("exploding gradients"),
    "flipped_gradient": text("updates that climb the loss"),
    "frozen_weights": text("weights that do not change"),
    "lr_too_high": text("updates that are too large"),
    "lr_too_low": text("updates that are too small"),
    "missing_zero_grad": text("gradients that are never cleared"),
    "nan": text("NaN or infinity"),
    "no_shuffle": text("sorted batches"),
    "oscillation": text("an oscillating loss"),
    "overfitting": text("overfitting"),
    "plateau": text("a loss that does not fall"),
    "repeated_parameters": text("weights that are updated twice"),
    "saturation": text("saturated units"),
    "shape_broadcast": text("a loss over all pairs of samples"),
    "underfitting": text("underfitting"),
    "unowned_parameters": text("weights that no optimizer has"),
    "vanishing_gradient": text("vanishing gradients"),
    "wrong_mode": text("the wrong mode"),
}
_RANK = {"fault": 0, "advice": 1, "good": 2}


def examine(seen: Observations) -> tuple[Finding, ...]:
    """The findings about a training that was watched: roots with consequences, faults first, the surest first; none where all is well.

    A symptom of another package that fails is reported and does not stop the others.
    """
    findings: list[Finding] = []
    for name, function in symptoms(reads=Observations).items():
        try:
            findings.extend(function(seen) or ())
        except Exception as error:
            findings.append(failed(name, error))
    return rooted(findings)


def rooted(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """The roots among the findings; what a root explains is told in its sentence and stands in its evidence under "consequences"."""
    findings = list(findings)
    roots = [finding for finding in findings if not any(explains(other, finding) for other in findings)]
    told = [_with_consequences(root, [other for other in findings if explains(root, other)]) for root in roots]
    return tuple(sorted(told, key=lambda finding: (_rank(finding), -finding.confidence)))


def _rank(finding: Finding) -> int:
    return _RANK.get(finding.level, 1)


def explains(root: Finding, other: Finding) -> bool:
    """Whether `other` follows from `root`, which must not be the lighter one. Weights without any gradient have a cause of their own."""
    if "good" in (root.level, other.level) or other.symptom not in _reach(root.symptom) or _rank(root) > _rank(other):
        return False
    return other.symptom != "frozen_weights" or other.cause in (None, "zero_gradient") or root.symptom == "unowned_parameters"


@cache
def _reach(name: str) -> frozenset[str]:
    """Everything that follows from a symptom, directly or through others."""
    direct = EXPLAINS.get(name, frozenset())
    return direct.union(*(_reach(consequence) for consequence in direct)) if direct else direct


def _with_consequences(root: Finding, consequences: list[Finding]) -> Finding:
    if not consequences:
        return root
    told: list[dict[str, Any]] = [
        {"symptom": other.symptom, "where": other.where, "level": other.level, "summary": other.summary} for other in consequences
    ]
    names = list(dict.fromkeys(other.symptom for other in consequences))
    return replace(
        root,
        summary=text("{said} It explains what else is seen: {others}.", said=root.summary, others=[NAMED.get(n, n) for n in names]),
        evidence={**root.evidence, "consequences": told},
    )
