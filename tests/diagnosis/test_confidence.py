"""A stated confidence becomes the share of such findings that was right; the order of findings of one kind stays."""

from __future__ import annotations

import itertools

import pytest

from pellucid.core.language import text
from pellucid.core.records import Finding
from pellucid.diagnosis.confidence import OBSERVED, between, calibrated


def finding(by: str, level: str, confidence: float) -> Finding:
    return Finding(symptom="nan", summary=text("said"), established_by=by, level=level, confidence=confidence)


@pytest.mark.parametrize(
    ("stated", "expected"), [(0.1, 0.3), (0.5, 0.3), (0.6, 0.45), (0.7, 0.6), (0.8, 0.6), (0.9, 0.6), (0.95, 0.75), (1.0, 0.9)]
)
def test_between_knots_the_line_and_beyond_them_the_ends(stated: float, expected: float) -> None:
    assert between([(0.5, 0.3), (0.7, 0.6), (0.9, 0.6), (1.0, 0.9)], stated) == pytest.approx(expected)


def test_one_knot_is_one_share() -> None:
    assert {between([(0.8, 0.7)], stated) for stated in (0.1, 0.8, 0.9)} == {0.7}


@pytest.mark.parametrize("knots", OBSERVED.values(), ids=str)
def test_the_table_rises_and_promises_no_certainty(knots: list[tuple[float, float]]) -> None:
    assert all(a[0] < b[0] and a[1] <= b[1] for a, b in itertools.pairwise(knots))
    assert all(0 < share < 1 for _, share in knots)


@pytest.mark.parametrize(("by", "level"), OBSERVED)
def test_a_finding_is_mapped_by_its_own_establishment_and_level(by: str, level: str) -> None:
    knots = OBSERVED[by, level]
    assert calibrated(finding(by, level, knots[0][0])).confidence == pytest.approx(knots[0][1])
    assert calibrated(finding(by, "good", 0.42)).confidence == 0.42


def test_what_could_not_be_looked_for_stays_without_confidence() -> None:
    by, level = next(iter(OBSERVED))
    assert calibrated(finding(by, level, 0.0)).confidence == 0.0
