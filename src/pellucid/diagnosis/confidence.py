"""What a finding's confidence means: of findings of its kind that state so much, how many were right.

A symptom states its confidence by its own evidence. Beside programs of which it is known what is true, that is too high or too low. Here it
becomes the share that was right there: of findings of the same cause where there were enough of them, drawn towards the share of the same
establishment and level, and those towards the level's (a beta-binomial estimate: so many pseudo-observations of the wider group). What a
finding states beside the others of its group moves it by `SLOPE` in the log-odds. `benchmarks/diagnosis_confidence.py --write` makes the
table, from programs for tuning only, sound ones included; the slope and the weight of the wider group are those by which base programs that
the table has not seen are told best.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

from pellucid.core.records import Finding

# Kind of finding, (established by, level) or (established by, level, cause) -> (what such findings state on average, share that was right)
# the table begins
OBSERVED: Mapping[tuple[str, ...], tuple[float, float]] = {
    ("controlled", "advice"): (0.78, 0.27),
    ("controlled", "fault"): (0.85, 0.89),
    ("data", "advice"): (0.6, 0.65),
    ("data", "fault"): (0.9, 0.94),
    ("dynamic", "advice"): (0.89, 0.39),
    ("dynamic", "fault"): (0.93, 0.9),
    ("static", "advice"): (0.56, 0.45),
    ("static", "fault"): (0.92, 0.94),
}
SLOPE = 0.0
# the table ends
SUREST = 0.99  # and 1 - SUREST: no share of some hundred findings tells more


def calibrated(finding: Finding) -> Finding:
    """The finding with the confidence that such findings deserved; what is not in the table stays as it is stated."""
    if finding.confidence <= 0:
        return finding
    kind = (finding.established_by, finding.level)
    known = OBSERVED.get((*kind, finding.cause or finding.symptom)) or OBSERVED.get(kind)
    return finding if known is None else replace(finding, confidence=moved(*known, finding.confidence, SLOPE))


def moved(usual: float, share: float, stated: float, slope: float) -> float:
    """The share that was right, moved by how far what is stated is from what is usually stated, in the log-odds."""
    odds = log_odds(share) + slope * (log_odds(stated) - log_odds(usual))
    return 1 / (1 + math.exp(-odds))


def log_odds(probability: float) -> float:
    bounded = min(max(probability, 1 - SUREST), SUREST)
    return math.log(bounded / (1 - bounded))
