"""Every static cause is found in programs that have it, before the first step, and no fault in healthy ones."""

from __future__ import annotations

import pytest
import torch

from diagnosis.symptoms.static_by_hand import FAULTY_BY_HAND, HEALTHY_BY_HAND
from diagnosis.symptoms.static_faulty import FAULTY
from diagnosis.symptoms.static_healthy import ADVICE, HEALTHY
from diagnosis.symptoms.static_networks import Case
from pellucid.core.records import Finding
from pellucid.diagnosis.registry import symptoms
from pellucid.diagnosis.remedies import kinds
from pellucid.diagnosis.static.program import Program

QUICK = 4  # programs of each cause that run in every suite; the others are slow tests, and so is every second healthy one
CASES = [(cause, name) for cause, programs in FAULTY.items() for name in programs]
SOON = [
    pytest.param(cause, name, marks=() if place < QUICK else pytest.mark.slow)
    for cause, programs in FAULTY.items()
    for place, name in enumerate(programs)
]
SOUND = [pytest.param(name, marks=() if place % 2 == 0 or name in ADVICE else pytest.mark.slow) for place, name in enumerate(HEALTHY)]
ADVISED = {"initial_loss", "over_regularised", "lr_too_high", "capacity", "wrong_optimizer"}  # hardly more than an advice
SURE = {"1 unit for 4 classes", "1 unit for 8 classes"}  # of these all the same
TOLD_TOO = {  # what else is true of a program with this fault
    "softmax_wrong_axis": {"unstable_loss", "initial_loss", "wrong_loss"},
    "missing_output_activation": {"unstable_loss", "initial_loss"},
    "unstable_loss": {"initial_loss"},
    "bad_init": {"initial_loss", "saturating_activation"},
    "wrong_loss": {"initial_loss", "wrong_output_activation"},
    "saturating_activation": {"initial_loss"},
    "wrong_output_activation": {"initial_loss", "unstable_loss", "wrong_loss"},
    "wrong_output_units": {"initial_loss"},
    "shape_broadcast": {"initial_loss", "wrong_loss"},
    "loss_reduction_sum": {"initial_loss"},
    "double_softmax": {"wrong_loss"},
}


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def found(case: Case, seed: int = 0) -> list[Finding]:
    program = Program.of(case.experiment(), seed)
    assert program.traced, [str(note) for note in program.notes]
    return [finding for function in symptoms(reads=Program).values() for finding in function(program) or ()]


def is_found(cause: str, name: str, seed: int) -> None:
    case = (FAULTY.get(cause, {}) | FAULTY_BY_HAND.get(cause, {}))[name]
    findings = found(case, seed)
    mine = [finding for finding in findings if finding.cause == cause]
    assert len(mine) == 1, [str(finding.summary) for finding in findings]
    assert mine[0].level == ("advice" if cause in ADVISED and name not in SURE else "fault")
    assert case.where in (mine[0].where or ""), mine[0].where
    others = {finding.cause for finding in findings} - {cause}
    assert others <= TOLD_TOO.get(cause, set()), [str(finding.summary) for finding in findings]
    for finding in mine:
        assert 0 < finding.confidence < 1
        assert finding.symptom == finding.cause
        assert finding.established_by == "static"
        assert finding.remedy is not None
        assert finding.evidence["expected"]
        assert finding.change is None or finding.change.kind in kinds()
        for language in ("en", "zh"):
            assert "{" not in finding.summary.render(language)
        assert Finding.from_dict(finding.to_dict()).summary == finding.summary


def test_every_symptom_of_programs_has_cases() -> None:
    assert {name.removeprefix("traced_") for name in symptoms(reads=Program)} == set(FAULTY) | set(FAULTY_BY_HAND)
    assert all(len(FAULTY.get(cause, {}) | FAULTY_BY_HAND.get(cause, {})) >= 4 for cause in {*FAULTY, *FAULTY_BY_HAND})


@pytest.mark.parametrize(("cause", "name"), SOON)
def test_a_static_fault_is_found(cause: str, name: str) -> None:
    is_found(cause, name, 0)


@pytest.mark.parametrize(("cause", "name"), [(cause, name) for cause, programs in FAULTY_BY_HAND.items() for name in programs])
def test_a_static_fault_of_what_is_written_by_hand_is_found(cause: str, name: str) -> None:
    is_found(cause, name, 0)


@pytest.mark.parametrize("name", HEALTHY_BY_HAND)
def test_what_is_rightly_written_by_hand_is_no_fault(name: str) -> None:
    assert not found(HEALTHY_BY_HAND[name])


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1, 4))
@pytest.mark.parametrize(("cause", "name"), CASES)
def test_a_static_fault_is_found_whatever_the_seed(cause: str, name: str, seed: int) -> None:
    is_found(cause, name, seed)


def is_healthy(name: str, seed: int) -> None:
    findings = found(HEALTHY[name], seed)
    wrong = [finding for finding in findings if finding.level == "fault" or finding.cause not in ADVICE.get(name, ())]
    assert not wrong, [(finding.cause, finding.where, str(finding.summary)) for finding in wrong]


@pytest.mark.parametrize("name", SOUND)
def test_nothing_static_is_found_in_a_healthy_program(name: str) -> None:
    is_healthy(name, 0)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1, 4))
@pytest.mark.parametrize("name", HEALTHY)
def test_nothing_static_is_found_in_a_healthy_program_whatever_the_seed(name: str, seed: int) -> None:
    is_healthy(name, seed)


def test_advice_is_rare_and_named() -> None:
    assert len(HEALTHY) >= 100
    assert set(ADVICE) <= set(HEALTHY)
    assert len(ADVICE) <= len(HEALTHY) / 10
