"""Causes in data: found where they are, and nothing is a fault in healthy data that look odd."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from diagnosis.symptoms.faulty_data import ADVISED, FAULTY
from diagnosis.symptoms.healthy_data import HEALTHY, real
from pellucid.core.records import Finding
from pellucid.diagnosis.data.contents import Contents
from pellucid.diagnosis.experiments.experiment import Experiment
from pellucid.diagnosis.registry import symptoms
from turns import in_turn

QUICK = 2  # sets of each cause in the default suite
CASES = [
    pytest.param(cause, name, marks=() if place < QUICK else pytest.mark.slow)
    for cause, sets in FAULTY.items()
    for place, name in enumerate(sets)
]


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def found(experiment: Experiment) -> list[Finding]:
    contents = Contents.of(experiment)
    return [finding for function in symptoms(reads=Contents).values() for finding in function(contents) or ()]


def faults(experiment: Experiment) -> dict[str, str]:
    return {finding.symptom: str(finding.summary) for finding in found(experiment) if finding.level == "fault"}


def test_every_cause_has_cases() -> None:
    assert set(FAULTY) == set(symptoms(reads=Contents))


@pytest.mark.parametrize(("cause", "name"), CASES)
def test_the_cause_is_found(cause: str, name: str) -> None:
    findings = found(FAULTY[cause][name]())
    mine = [finding for finding in findings if finding.symptom == cause]
    assert mine, [str(finding.summary) for finding in findings]
    others = {finding.symptom for finding in findings if finding.level == "fault"} - {cause}
    assert not others, [str(finding.summary) for finding in findings]
    for finding in mine:
        assert finding.level == ("advice" if cause in ADVISED else "fault")
        assert finding.cause == cause
        assert finding.established_by == "data"
        assert finding.where
        assert finding.remedy is not None
        assert finding.evidence["expected"]
        for language in ("en", "zh"):
            assert "{" not in finding.summary.render(language)
        assert Finding.from_dict(finding.to_dict()).summary == finding.summary


@pytest.mark.parametrize("name", in_turn(HEALTHY, 2))
def test_nothing_is_a_fault_in_healthy_data(name: str) -> None:
    assert faults(HEALTHY[name]()) == {}


@pytest.mark.slow
@pytest.mark.shared_data
@pytest.mark.parametrize("name", real(Path()))
def test_nothing_is_a_fault_in_real_data(name: str, shared_data: Path) -> None:
    assert faults(real(shared_data)[name]()) == {}
