"""Causes in data: found where they are, and nothing is a fault in healthy data that look odd."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from diagnosis.symptoms.data_sets import experiment, seeded
from diagnosis.symptoms.faulty_data import ADVISED, FAULTY
from diagnosis.symptoms.healthy_data import HEALTHY, real
from pellucid.core.errors import DataError, OptionTypeError
from pellucid.core.records import Finding
from pellucid.diagnosis.data.contents import Contents, targets_ignored
from pellucid.diagnosis.experiments.experiment import Experiment
from pellucid.diagnosis.registry import symptoms
from pellucid.diagnosis.remedies import apply
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


def found(program: Experiment) -> list[Finding]:
    contents = Contents.of(program)
    return [finding for function in symptoms(reads=Contents).values() for finding in function(contents) or ()]


def faults(program: Experiment) -> dict[str, str]:
    return {finding.symptom: str(finding.summary) for finding in found(program) if finding.level == "fault"}


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


def test_outliers_are_named() -> None:
    (told,) = [one for one in found(FAULTY["outliers_with_mse"]["two of a hundred times 300"]()) if one.symptom == "outliers_with_mse"]
    worst = told.evidence["samples"]
    assert 0 < len(worst) <= 20
    assert f"samples {', '.join(map(str, worst[:5]))}" in str(told.remedy)


@pytest.mark.parametrize("name", in_turn(HEALTHY, 2))
def test_nothing_is_a_fault_in_healthy_data(name: str) -> None:
    assert faults(HEALTHY[name]()) == {}


@pytest.mark.slow
@pytest.mark.shared_data
@pytest.mark.parametrize("name", real(Path()))
def test_nothing_is_a_fault_in_real_data(name: str, shared_data: Path) -> None:
    assert faults(real(shared_data)[name]()) == {}


# -- what is not supervised ---------------------------------------------------------------------------------------------------------------


def adversarial(model: nn.Module, optimizer: Any, loss: Any, batch: Any) -> Tensor:
    """Real and made-up samples are told apart; the targets of the batch are not looked at."""
    real, targets = batch
    made = torch.randn_like(real)
    optimizer.zero_grad()
    value = loss(model(real), torch.ones_like(targets)) + loss(model(made), torch.zeros_like(targets))
    value.backward()
    optimizer.step()
    return value


def test_targets_that_no_loss_looks_at_are_not_judged() -> None:
    ones = torch.randn(200, 5, generator=seeded()), torch.ones(200, 1)
    plain = experiment((ones, ones), F.binary_cross_entropy_with_logits, outputs=1)
    assert "single_class_labels" in faults(plain)
    assert targets_ignored(plain.changed(step=adversarial))
    told = {one.symptom for one in found(plain.changed(step=adversarial))}
    assert told == {"data_leakage"}  # the test part is the training part, whatever the targets are


@pytest.mark.parametrize("loss", [lambda o, t: o.square().mean(), lambda o, t: F.mse_loss(o, t)], ids=["ignored", "compared"])
def test_whether_targets_count_is_tried(loss: Any) -> None:
    pair = torch.randn(60, 5, generator=seeded()), torch.randn(60, 1, generator=seeded(1))
    ignored = float(loss(torch.ones(2, 1), torch.zeros(2, 1))) == float(loss(torch.ones(2, 1), torch.ones(2, 1)))
    assert targets_ignored(experiment((pair, pair), loss, outputs=1)) is ignored


# -- tails and orders ----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("wild", "level"), [(False, "advice"), (True, "fault")], ids=["a cube", "wild noise"])
def test_targets_that_inputs_explain_are_no_outliers(wild: bool, level: str) -> None:
    inputs = torch.randn(900, 3, generator=seeded(1))
    noise = 0.3 * torch.tan(math.pi * (torch.rand(900, 1, generator=seeded(2)) - 0.5))  # of a Cauchy distribution
    targets = inputs[:, :1] + noise if wild else inputs[:, :1] ** 3
    told = found(experiment(((inputs[:700], targets[:700]), (inputs[700:], targets[700:]))))
    assert [one.level for one in told if one.symptom == "outliers_with_mse"] == [level]


@pytest.mark.parametrize("wrong", [0.4, 1.0], ids=["two fifths wrong", "an order of their own"])
def test_few_labels_are_wrong_or_in_another_order(wrong: float) -> None:
    centres = torch.randn(3, 13, generator=seeded(1))
    labels = torch.randint(3, (250,), generator=seeded(2))
    inputs = centres[labels] * 1.5 + torch.randn(250, 13, generator=seeded(3))
    given = labels[:120].clone()
    changed = torch.rand(120, generator=seeded(4)) < wrong
    given[changed] = given[changed][torch.randperm(int(changed.sum()), generator=seeded(5))] if wrong == 1 else (given[changed] + 1) % 3
    told = set(faults(experiment(((inputs[:120], given), (inputs[120:], labels[120:])))))
    assert told <= {"noisy_labels" if wrong < 1 else "labels_misaligned"}
    assert told or wrong < 1


# -- classes that overlap ------------------------------------------------------------------------------------------------------------------


def overlapping(distance: float, classes: int, wrong: float) -> Experiment:
    """Gaussian clouds whose centres are so many deviations apart on average, and a share of labels that are another class."""
    centres = torch.randn(classes, 6, generator=seeded(1))
    labels = torch.randint(classes, (1600,), generator=seeded(2))
    inputs = (centres * distance / torch.pdist(centres).mean())[labels] + torch.randn(1600, 6, generator=seeded(3))
    changed = torch.rand(1600, generator=seeded(4)) < wrong
    labels = torch.where(changed, (labels + torch.randint(1, classes, (1600,), generator=seeded(5))) % classes, labels)
    return experiment(((inputs[:1200], labels[:1200]), (inputs[1200:], labels[1200:])), outputs=classes)


@pytest.mark.parametrize(("distance", "classes"), [(1.0, 2), (2.0, 5), pytest.param(0.6, 2, marks=pytest.mark.slow)])
def test_classes_that_overlap_are_no_wrong_labels(distance: float, classes: int) -> None:
    assert [one for one in found(overlapping(distance, classes, 0.0)) if one.symptom == "noisy_labels"] == []


def test_a_fifth_of_wrong_labels_is_seen_beside_overlap() -> None:
    assert "noisy_labels" in {one.symptom for one in found(overlapping(3.0, 5, 0.2))}


# -- groups ------------------------------------------------------------------------------------------------------------------------------


def recordings(persons: int = 40, each: int = 15) -> tuple[Tensor, Tensor, Tensor]:
    """Persons (N,), their samples (N, 6), and a class that is the person's own (N,)."""
    person = torch.arange(persons).repeat_interleave(each)
    inputs = torch.randn(persons, 6, generator=seeded(1))[person] + torch.randn(len(person), 6, generator=seeded(2))
    return person, inputs, torch.randint(2, (persons,), generator=seeded(3))[person]


def parted(person: Tensor, inputs: Tensor, labels: Tensor, train: Tensor, **more: Any) -> Experiment:
    return experiment(((inputs[train], labels[train]), (inputs[~train], labels[~train])), outputs=2).changed(
        groups=(person[train], person[~train]) if not more else None, **more
    )


@pytest.mark.parametrize("named", [False, True], ids=["numbers", "names"])
def test_a_group_on_both_sides_is_a_fault(named: bool) -> None:
    person, inputs, labels = recordings()
    train = person < 30
    train |= (person < 35) & (torch.arange(len(person)) % 2 == 0)  # of persons 30 to 34 half of the samples are on each side
    mixed = parted(person, inputs, labels, train)
    if named:
        assert mixed.groups is not None
        mixed = mixed.changed(groups=tuple([f"person {number}" for number in part] for part in mixed.groups))
    (told,) = [finding for finding in found(mixed) if finding.symptom == "data_leakage"]
    assert told.level == "fault"
    assert (told.evidence["shared_groups"], told.evidence["groups_of_test"]) == (5, 10)
    assert told.evidence["share_of_test"] == pytest.approx(37 / 112, abs=0.01)
    assert told.change is not None
    after = apply(mixed, told.change)
    assert len(after.train[1]) == 450
    assert after.groups is None


def test_groups_that_stay_on_their_side_are_no_leak() -> None:
    person, inputs, labels = recordings()
    assert [one for one in found(parted(person, inputs, labels, person < 30)) if one.symptom == "data_leakage"] == []


def test_groups_must_fit_their_parts() -> None:
    person, inputs, labels = recordings()
    apart = parted(person, inputs, labels, person < 30)
    for groups, error in (((person, person), DataError), (person, OptionTypeError), ((person[:450, None], person[450:]), DataError)):
        with pytest.raises(error, match="group"):
            apart.changed(groups=groups)
    with pytest.raises(OptionTypeError, match="without a test part"):
        apart.changed(test=None, groups=(person[:450], person[450:]))


def numbered(column: Tensor, labels: Tensor) -> list[Finding]:
    """What is told of a column beside five of chance."""
    inputs = torch.cat([torch.randn(len(column), 5, generator=seeded(4)), column[:, None].float()], 1)
    train = torch.arange(len(column)) % 4 > 0
    return [one for one in found(parted(column, inputs, labels, train, epochs=2)) if one.symptom == "data_leakage"]


def test_a_column_that_numbers_persons_is_told() -> None:
    person, _, labels = recordings()
    (told,) = numbered(person, labels)
    assert (told.level, told.where, told.evidence["values"]) == ("advice", "inputs[:, [5]]", 40)
    assert told.evidence["score"] == 1.0


@pytest.mark.parametrize("name", ["a measurement in steps", "a wave", "odd and even", "persons whose class is not theirs", "months"])
def test_a_column_that_measures_is_no_number_of_a_person(name: str) -> None:
    values = torch.randint(12 if name == "months" else 60, (600,), generator=seeded(5))
    labels = {
        "a measurement in steps": values > 30, "a wave": torch.sin(values / 5) > 0, "odd and even": values % 2 == 0,
        "persons whose class is not theirs": torch.rand(600, generator=seeded(6)) > 0.5, "months": values % 3 == 0,
    }[name]  # fmt: skip
    assert numbered(values, labels.long()) == []
