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
    change: Change | None = None,
) -> list[Finding]:
    """The finding, whose symptom is its cause; the numbers of the evidence are rounded to what a person reads."""
    plain = {key: float(f"{value:.4g}") if isinstance(value, float) else value for key, value in evidence.items()}
    return [
        Finding(
            symptom=cause, cause=cause, level=level, confidence=confidence, where=where, summary=summary,
            evidence={**plain, "expected": dict(expected)}, remedy=remedy, change=change, established_by=by,
        )
    ]  # fmt: skip
