"""A finding whose cause is established by the data or by an experiment, whatever the training went like."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pellucid.core.language import Text
from pellucid.core.records import Change, Finding


def established(
    cause: str,
    summary: Text,
    remedy: Text,
    *,
    by: str,
    where: str,
    confidence: float,
    evidence: Mapping[str, Any],
    expected: Mapping[str, Any],
    level: str = "fault",
    symptom_only: bool = False,
    change: Change | None = None,
) -> list[Finding]:
    """The finding, whose symptom is its cause; the numbers of the evidence are rounded to what a person reads.

    `symptom_only`: something is wrong for certain, and why is not known.
    """
    plain = {key: float(f"{value:.4g}") if isinstance(value, float) else value for key, value in evidence.items()}
    return [
        Finding(
            symptom=cause, cause=None if symptom_only else cause, level=level, confidence=confidence, where=where, summary=summary,
            evidence={**plain, "expected": dict(expected)}, remedy=remedy, change=change, established_by=by,
        )
    ]  # fmt: skip
