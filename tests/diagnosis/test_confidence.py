"""A stated confidence becomes the share of such findings that was right; the order of findings of one kind stays."""

from __future__ import annotations

import pytest

from pellucid.core.language import text
from pellucid.core.records import Finding
from pellucid.diagnosis import confidence
from pellucid.diagnosis.confidence import OBSERVED, SLOPE, SUREST, calibrated, moved


def finding(by: str, level: str, stated: float, cause: str = "none of ours") -> Finding:
    return Finding(symptom="nan", cause=cause, summary=text("said"), established_by=by, level=level, confidence=stated)


def test_what_is_usually_stated_becomes_the_share() -> None:
    assert moved(0.8, 0.6, 0.8, 1.0) == pytest.approx(0.6)
    assert {round(moved(0.8, 0.7, stated, 0.0), 9) for stated in (0.1, 0.8, 1.0)} == {0.7}


def test_odds_move_with_what_is_stated() -> None:
    # stated odds of 3 against usual odds of 1: share odds 1/3 times 3, and times the root of 3 with half the slope
    assert moved(0.5, 0.25, 0.75, 1.0) == pytest.approx(0.5)
    assert moved(0.5, 0.25, 0.75, 0.5) == pytest.approx(3**0.5 / (3 + 3**0.5))
    assert moved(0.5, 0.9, 1.0, 1.0) < 1


def test_the_table_promises_no_certainty() -> None:
    assert all(1 - SUREST <= share <= SUREST and 0 < stated <= 1 for stated, share in OBSERVED.values())
    assert SLOPE >= 0  # the order of findings of one kind stays
    assert all(kind[:2] in OBSERVED for kind in OBSERVED)


@pytest.mark.parametrize("kind", OBSERVED, ids=" ".join)
def test_a_finding_is_mapped_by_its_own_kind(kind: tuple[str, ...]) -> None:
    stated, share = OBSERVED[kind]
    told = finding(kind[0], kind[1], stated, *kind[2:])
    assert calibrated(told).confidence == pytest.approx(share, abs=0.01)
    assert calibrated(finding(kind[0], "good", 0.42)).confidence == 0.42


def test_a_cause_of_its_own_comes_before_the_wider_group(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(confidence, "OBSERVED", {("data", "fault"): (0.9, 0.5), ("data", "fault", "data_leakage"): (0.9, 0.75)})
    told = [calibrated(finding("data", "fault", 0.9, cause)).confidence for cause in ("data_leakage", "noisy_labels")]
    assert told == [pytest.approx(0.75), pytest.approx(0.5)]


def test_what_could_not_be_looked_for_stays_without_confidence() -> None:
    by, level = next(iter(OBSERVED))[:2]
    assert calibrated(finding(by, level, 0.0)).confidence == 0.0
