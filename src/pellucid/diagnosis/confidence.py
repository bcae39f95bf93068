"""What a finding's confidence means: of findings that state so much, how many were right.

A symptom states its confidence by its own evidence. Beside programs whose fault is known, that is too high or too low; here it is mapped to
the share that was right there. `benchmarks/diagnosis_confidence.py` makes the table, from programs for tuning only, sound ones included.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from pellucid.core.records import Finding

# (established by, level) -> (stated confidence, share that was right), both rising
OBSERVED: Mapping[tuple[str, str], Sequence[tuple[float, float]]] = {
    ("controlled", "advice"): ((0.78, 0.27),),
    ("controlled", "fault"): ((0.85, 0.89),),
    ("data", "advice"): ((0.6, 0.65),),
    ("data", "fault"): ((0.9, 0.94),),
    ("dynamic", "advice"): ((0.89, 0.39),),
    ("dynamic", "fault"): ((0.92, 0.86), (0.98, 0.94)),
    ("static", "advice"): ((0.56, 0.45),),
    ("static", "fault"): ((0.92, 0.94),),
}


def calibrated(finding: Finding) -> Finding:
    """The finding with the confidence that such findings deserved; what is not in the table stays as it is stated."""
    knots = OBSERVED.get((finding.established_by, finding.level))
    return replace(finding, confidence=between(knots, finding.confidence)) if knots and finding.confidence > 0 else finding


def between(knots: Sequence[tuple[float, float]], stated: float) -> float:
    """The line through the knots; before the first and after the last it stays level."""
    first, last = knots[0], knots[-1]
    if stated <= first[0] or stated >= last[0]:
        return first[1] if stated <= first[0] else last[1]
    right = next(place for place, (x, _) in enumerate(knots) if stated <= x)
    (x0, y0), (x1, y1) = knots[right - 1], knots[right]
    return y0 + (y1 - y0) * (stated - x0) / (x1 - x0)
