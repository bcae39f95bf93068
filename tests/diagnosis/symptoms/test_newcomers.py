"""What newcomers are told about their programs: the root, its place, a remedy that fits; and nothing about programs that are right."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from diagnosis.symptoms.newcomers import FAULTY, HEALTHY, LONG
from diagnosis.symptoms.projects import RATES
from pellucid.core.records import Finding


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def cases(names: Any) -> list[Any]:
    """One seed of every second program; the other seeds and programs, and those that take long, are slow."""
    return [
        pytest.param(name, seed, marks=[pytest.mark.slow] if seed or place % 2 or name in LONG else [], id=f"{name}, {seed}")
        for place, name in enumerate(names)
        for seed in range(3)
    ]


def found(program: Any, seed: int) -> tuple[Finding, ...]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return program()


@pytest.mark.parametrize(("name", "seed"), cases(FAULTY))
def test_the_root_is_told(name: str, seed: int) -> None:
    program, symptom, where, remedy = FAULTY[name]
    findings = found(program, seed)
    said = [f"{finding.symptom}: {finding.summary} -> {finding.remedy}" for finding in findings]
    faults = [finding for finding in findings if finding.level == "fault"]
    assert [finding.symptom for finding in faults] == [symptom], said
    assert where in f"{faults[0].where} {faults[0].summary}", said
    assert remedy in str(faults[0].remedy), said


@pytest.mark.parametrize(("name", "seed"), cases(HEALTHY))
def test_nothing_is_said(name: str, seed: int, capsys: pytest.CaptureFixture[str]) -> None:
    findings = found(HEALTHY[name], seed)
    assert not findings, [f"{finding.symptom}: {finding.summary}" for finding in findings]
    assert "Pellucid" not in capsys.readouterr().err


def test_what_is_wrong_with_every_step_is_printed_after_the_first(capsys: pytest.CaptureFixture[str]) -> None:
    found(FAULTY["only the head is given to the optimizer"][0], 0)
    assert "Pellucid, step 2: No optimizer has" in capsys.readouterr().err
    found(FAULTY["evaluation mode from the start"][0], 0)
    assert "Pellucid, step 2: The network trains in evaluation mode" in capsys.readouterr().err


@pytest.mark.parametrize(("name", "seed"), cases(RATES))
def test_a_rate_that_is_named_can_be_used(name: str, seed: int) -> None:
    program, rate = RATES[name]
    (finding,) = [one for one in found(lambda: program(rate), seed) if one.symptom == "lr_too_high"]  # an advice where it learns at last
    named = float(str(finding.remedy).removeprefix("learning rate "))
    assert 1e-4 <= named <= rate / 10
    assert not [one for one in found(lambda: program(named), seed) if one.level == "fault"]  # it may learn slowly


@pytest.mark.parametrize(
    "name",
    ["root of rows of 0", "a logarithm in the branch that is not taken", "angle between equal vectors", "root of a row that is rarely 0"],
)
def test_a_derivative_is_named_where_gradients_are_read_at_looks_only(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a device: with the weights from before the look's update, or, between looks, as a suspicion."""
    monkeypatch.setattr("pellucid.diagnosis.watch.probe.Probe.finite", lambda _: True)
    program, symptom, where, remedy = FAULTY[name]
    (finding,) = found(program, 0)
    assert finding.symptom == symptom
    assert where in f"{finding.where} {finding.summary}"
    assert remedy in str(finding.remedy)
