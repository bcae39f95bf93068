"""Every symptom is found in programs that have it, and nothing is found in healthy ones."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from diagnosis.symptoms.faults import FAULTY
from diagnosis.symptoms.healthy import ADVICE, HEALTHY, QUICK, TABLE
from diagnosis.symptoms.programs import Program, observed, sgd
from diagnosis.symptoms.unusual import UNUSUAL
from pellucid.core.records import Finding
from pellucid.diagnosis.causes import examine
from pellucid.diagnosis.dynamic.course import course_of
from pellucid.diagnosis.dynamic.observations import Observations
from pellucid.diagnosis.registry import symptoms
from turns import in_turn

pytestmark = pytest.mark.filterwarnings("ignore:Using a target size")  # PyTorch's own word on shapes, for some losses
FAULTS = [(symptom, name) for symptom, programs in FAULTY.items() for name in programs]


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def found(program: Program, seed: int) -> tuple[Finding, ...]:
    return examine(observed(program, seed))


def told(findings: tuple[Finding, ...]) -> dict[str, str]:
    """Symptom -> place, consequences too."""
    told: dict[str, str] = {}
    for finding in findings:
        told[finding.symptom] = f"{finding.where} {finding.evidence.get('operation', '')} {finding.evidence.get('parameters', '')}"
        for consequence in finding.evidence.get("consequences", ()):
            told.setdefault(consequence["symptom"], str(consequence["where"]))
    return told


def is_found(symptom: str, name: str, seed: int) -> None:
    program = FAULTY[symptom][name]
    findings = found(program, seed)
    places = told(findings)
    expected = symptom.removeprefix("watched_")
    assert expected in places, [str(finding.summary) for finding in findings]
    assert program.where in places[expected]
    for finding in findings:
        assert finding.level in ("fault", "advice")
        assert 0 < finding.confidence < 1
        assert finding.where
        assert finding.remedy is not None
        assert finding.evidence["expected"]
        for language in ("en", "zh"):
            assert "{" not in finding.summary.render(language)
        assert Finding.from_dict(finding.to_dict()).summary == finding.summary


def test_every_symptom_has_programs() -> None:
    assert set(FAULTY) == set(symptoms(reads=Observations))


@pytest.mark.parametrize(("symptom", "name"), in_turn(FAULTS, 2))
def test_a_fault_is_found(symptom: str, name: str) -> None:
    is_found(symptom, name, 0)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1, 5))
@pytest.mark.parametrize(("symptom", "name"), FAULTS)
def test_a_fault_is_found_whatever_the_seed(symptom: str, name: str, seed: int) -> None:
    is_found(symptom, name, seed)


@pytest.mark.parametrize("seed", range(3))
def test_the_rate_of_the_remedy_can_be_used(seed: int) -> None:
    """It comes from the first steps, not from what the steps after them have thrown far away."""
    too_high = replace(TABLE, optimizer=sgd(30.0))
    (finding,) = (finding for finding in found(too_high, seed) if finding.symptom == "lr_too_high")
    assert finding.remedy is not None
    rate = float(finding.remedy.render("en").removeprefix("learning rate "))
    assert 0.01 <= rate <= 3.0
    course = course_of(observed(replace(TABLE, optimizer=sgd(rate)), seed))
    assert course is not None
    assert course.learnt > 0.2


def is_healthy(name: str, seed: int, capsys: pytest.CaptureFixture[str]) -> None:
    findings = [
        finding for finding in found({**HEALTHY, **UNUSUAL}[name], seed) if (finding.symptom, finding.level) != (ADVICE.get(name), "advice")
    ]
    assert not findings, [str(finding.summary) for finding in findings]
    said = capsys.readouterr()
    assert name in ADVICE or "Pellucid" not in said.out + said.err  # on the way neither


@pytest.mark.parametrize("name", QUICK)
def test_nothing_is_found_in_a_healthy_program(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    is_healthy(name, 0, capsys)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1, 3))
@pytest.mark.parametrize("name", UNUSUAL)
def test_nothing_is_found_in_an_unusual_program_that_is_right(name: str, seed: int, capsys: pytest.CaptureFixture[str]) -> None:
    is_healthy(name, seed, capsys)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1, 5))
@pytest.mark.parametrize("name", HEALTHY)
def test_nothing_is_found_in_a_healthy_program_whatever_the_seed(name: str, seed: int, capsys: pytest.CaptureFixture[str]) -> None:
    is_healthy(name, seed, capsys)
