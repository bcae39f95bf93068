"""Roots and consequences, and traps for single symptoms that no whole program is needed for."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest

from pellucid.core.language import Text, text
from pellucid.core.records import Change, Finding
from pellucid.diagnosis.causes import CAUSES, EXPLAINS, NAMED, examine, explains, rooted, titled
from pellucid.diagnosis.dynamic.observations import (
    BatchFacts,
    GradientFacts,
    Look,
    LossFacts,
    ModeFacts,
    NonFinite,
    Observations,
    OperationFact,
    OptimizerFacts,
    ParameterSeries,
    StaticFacts,
    TargetFacts,
)
from pellucid.diagnosis.joining import borne_out
from pellucid.diagnosis.registry import symptoms

CHANGE = Change(kind="batch_size", values={"size": 32})


def finding(symptom: str, level: str = "fault", **more: Any) -> Finding:
    return Finding(symptom=symptom, level=level, summary=text("it is {symptom}", symptom=symptom), **more)


def test_every_symptom_has_its_words_and_the_table_knows_no_others() -> None:
    consequences = set().union(*EXPLAINS.values())
    every = {name.removeprefix("watched_").removeprefix("tried_").removeprefix("traced_") for name in symptoms()}
    watched = {name.removeprefix("watched_") for name in symptoms(reads=Observations)}
    assert watched <= set(NAMED) == watched | consequences
    assert set(EXPLAINS) | consequences <= every


def test_nothing_explains_itself() -> None:
    def reach(name: str, path: tuple[str, ...] = ()) -> None:
        assert name not in path, path
        for consequence in EXPLAINS.get(name, ()):
            reach(consequence, (*path, name))

    for name in EXPLAINS:
        reach(name)


def test_the_root_is_told_with_what_it_explains() -> None:
    (root,) = rooted([finding("dead_relu", "advice", where="3"), finding("lr_too_high"), finding("nan")])
    assert (root.symptom, root.level) == ("lr_too_high", "fault")
    assert [(one["symptom"], one["where"]) for one in root.evidence["consequences"]] == [("dead_relu", "3"), ("nan", None)]
    assert "dead ReLU units, NaN or infinity" in str(root.summary)
    assert Finding.from_dict(root.to_dict()).evidence["consequences"][0]["summary"] == text("it is {symptom}", symptom="dead_relu")


@pytest.mark.parametrize(
    ("told", "cause"), [("lr_too_high", "lr_too_high"), ("unowned_parameters", "unowned_parameters"), ("underfitting", None), ("nan", None)]
)
def test_a_symptom_that_is_a_cause_is_told_as_one(told: str, cause: str | None) -> None:
    (root,) = rooted([finding(told, established_by="dynamic")])
    assert root.cause == cause


@pytest.mark.parametrize(("mean", "expected"), [(64.2, "loss_reduction_sum"), (70.0, "lr_too_high")])
def test_a_summed_loss_is_the_root_of_steps_that_are_too_large(mean: float, expected: str) -> None:
    evidence = {"loss_before": 65.7, "loss_after_step_of_mean": mean}
    summed = finding("loss_reduction_sum", "advice", cause="loss_reduction_sum", evidence=evidence)
    roots = rooted(borne_out([summed, finding("lr_too_high", established_by="dynamic"), finding("nan")]))
    assert roots[0].symptom == expected
    assert [root.level for root in roots] == ["fault"] + ["advice"] * (len(roots) - 1)
    assert borne_out([summed])[0].level == "advice"


@pytest.mark.parametrize(
    ("root", "other", "follows"),
    [
        (finding("lr_too_high"), finding("dead_relu"), True),
        (finding("flipped_gradient"), finding("nan"), True),  # through steps that become too large
        (finding("dead_relu"), finding("lr_too_high"), False),
        (finding("lr_too_high", "advice"), finding("nan"), False),  # the lighter does not explain the graver
        (finding("dead_relu"), finding("frozen_weights", cause="zero_gradient"), True),
        (finding("dead_relu"), finding("frozen_weights", cause="detached_branch"), False),
        (finding("lr_too_high"), finding("dead_relu", "good"), False),
        (finding("of another package"), finding("nan"), False),
        (finding("bad_init"), finding("saturating_activation", "advice", cause="saturating_activation"), True),
        (finding("wrong_output_units"), finding("overfitting", "advice"), True),
        (finding("unnormalised_input"), finding("wrong_loss", established_by="controlled"), True),
        (finding("unnormalised_input"), finding("wrong_loss", established_by="static"), False),  # it is so whatever the scale
        # a remedy that was proved at the same learning rate: the rate is not what is wrong
        (finding("bad_batch_size", established_by="controlled", change=CHANGE), finding("lr_too_high", established_by="dynamic"), True),
        (finding("noisy_labels", evidence={"tried": {"proved": True}}), finding("lr_too_high", established_by="dynamic"), True),
        (finding("wrong_optimizer", established_by="controlled", change=CHANGE), finding("lr_too_high", established_by="dynamic"), True),
        (finding("lr_too_high", established_by="dynamic"), finding("wrong_optimizer", established_by="controlled", change=CHANGE), False),
        # what a trial proved does not go under a suspicion
        (finding("wrong_loss", "advice"), finding("wrong_optimizer", "advice", established_by="controlled", change=CHANGE), False),
    ],
)
def test_what_explains_what(root: Finding, other: Finding, follows: bool) -> None:
    assert explains(root, other) is follows


def test_nothing_is_found_where_nothing_was_seen() -> None:
    assert examine(Observations()) == ()


LOOKS = tuple(Look(step=step, loss=1.0) for step in range(0, 60, 10))
WEIGHT = ParameterSeries(name="0.weight", layer="0", shape=(4, 4), elements=16, owners=1, changed=True, weight=(1.0,) * 6,
                         gradient=(0.1,) * 6, update=(1e-3,) * 6, ratio=(1e-3,) * 6)  # fmt: skip


def seen(**more: Any) -> Observations:
    defaults: dict[str, Any] = {
        "steps": 60, "looks": LOOKS, "weights": (WEIGHT,), "optimizers": (OptimizerFacts(kind="SGD", steps=60, owned=1),),
        "gradients": GradientFacts(norm=(0.1,) * 6, raw_norm=(0.1,) * 6, alignment=(1.0,) * 6, intervals=59),
    }  # fmt: skip
    return Observations(**{**defaults, **more})


SORTED = TargetFacts(seen="classes", batches=10, samples=320, neighbours=310, equal_neighbours=300, expected_equal=103.0)
SHARED = replace(WEIGHT, owners=2)
ADAM = OptimizerFacts(kind="Adam", steps=30, owned=1)
SILENT = ParameterSeries(name="", layer="1", shape=(4, 4), elements=16, owners=1, gradient=(0.0,) * 6, weight=(1.0,) * 6, changed=False)
FORGOTTEN = ParameterSeries(name="1.weight", layer="1", shape=(4, 4), elements=16, gradient=(0.1,) * 6, changed=False)


@pytest.mark.parametrize(
    ("observations", "expected"),
    [
        (seen(), set()),
        # cleared once in four intervals is accumulation, not forgetting
        (seen(gradients=GradientFacts(norm=(0.1,) * 6, intervals=59, uncleared=44)), set()),
        (seen(gradients=GradientFacts(norm=(0.1,) * 6, intervals=59, uncleared=59)), {"missing_zero_grad"}),
        # a mask of -inf, and a gradient that a scaler left out, end no training
        (seen(nonfinite=NonFinite(step=3, where="forward", kind="inf", path="attention")), set()),
        (seen(nonfinite=NonFinite(step=3, where="backward", kind="inf", path="0.weight")), set()),
        (seen(nonfinite=NonFinite(step=3, where="weights", path="0.weight")), {"nan"}),
        # a weight per class is spread to the shape of the outputs: no pairs of samples
        (seen(loss=LossFacts(kind="mse_loss", broadcast=((10,), (32, 10)))), set()),
        (seen(loss=LossFacts(kind="mse_loss", broadcast=((32, 1), (32, 32)))), {"shape_broadcast"}),
        # classes in groups, in an order that changes, as samplers for losses over pairs make them
        (seen(targets=SORTED, loss=LossFacts(kind="cross_entropy", target_shape=(32,))), set()),
        (seen(targets=SORTED, loss=LossFacts(kind="cross_entropy", target_shape=(32,)),
              batches=BatchFacts(period=10, repeats=50, steps=60)), {"no_shuffle"}),
        # neighbouring pixels or tokens of one sample are no order of samples
        (seen(targets=SORTED, loss=LossFacts(kind="cross_entropy", target_shape=(32, 8, 8)),
              batches=BatchFacts(period=2, repeats=50, steps=60)), set()),
        # three updates on gradients that were never cleared, and one of two
        (seen(gradients=GradientFacts(norm=(1.0,), intervals=3, uncleared=3)), {"missing_zero_grad"}),
        (seen(gradients=GradientFacts(norm=(1.0,), intervals=3, uncleared=1)), set()),
        # one batch for all steps: a test whether the network can learn it by heart
        (seen(batches=BatchFacts(period=1, repeats=59, steps=60)), set()),
        (seen(batches=BatchFacts(period=10, repeats=50, steps=60)), {"no_shuffle"}),
        # maximize of a reward is meant; of a known loss it is not
        (seen(optimizers=(OptimizerFacts(kind="SGD", steps=60, owned=1, maximize=True),)), set()),
        (seen(optimizers=(OptimizerFacts(kind="SGD", steps=60, owned=1, maximize=True),), loss=LossFacts(kind="mse_loss")),
         {"flipped_gradient"}),
        # minus a loss that is maximised again is minimised
        (seen(optimizers=(OptimizerFacts(kind="SGD", steps=60, owned=1, maximize=True),),
              loss=LossFacts(kind="mse_loss", negated=True)), set()),
        # evaluation in training mode where nothing depends on the mode, or of a generator whose samples a critic wants
        (seen(modes=ModeFacts(training_forwards=60, evaluation_forwards=20, evaluation_in_train=20)), set()),
        (seen(modes=ModeFacts(training_forwards=60, evaluation_forwards=20, evaluation_in_train=20, dependent=("1",)),
              several_models=True), set()),
        (seen(modes=ModeFacts(training_forwards=60, evaluation_forwards=20, evaluation_in_train=20, dependent=("1",))), {"wrong_mode"}),
        # frozen on purpose, and forgotten
        (seen(weights=(WEIGHT, ParameterSeries(name="1.weight", layer="1", trainable=False, changed=False))), set()),
        (seen(weights=(WEIGHT, FORGOTTEN), unowned=("1.weight",)), {"unowned_parameters"}),
        # its gradient is never cleared and grows; the optimizer's own does not
        (seen(weights=(WEIGHT, replace(FORGOTTEN, gradient=(1e3, 1e4, 1e5, 1e6, 1e7, 1e8), weight=(1.0,) * 6)), unowned=("1.weight",)),
         {"unowned_parameters"}),
        # its optimizer waits for its turn, and then has waited too long
        (seen(weights=(WEIGHT, FORGOTTEN), waiting=("1.weight",)), set()),
        (seen(steps=600, weights=(WEIGHT, FORGOTTEN), waiting=("1.weight",)), {"frozen_weights"}),
        # moved by hand
        (seen(weights=(WEIGHT, replace(FORGOTTEN, changed=True)), unowned=("1.weight",)), set()),
        # a bias alone that gets exactly 0, and the whole layer
        (seen(weights=(WEIGHT, replace(SILENT, name="1.weight"), replace(SILENT, name="1.bias", shape=(4,)))), {"frozen_weights"}),
        (seen(weights=(WEIGHT, replace(WEIGHT, name="1.weight", layer="1"), replace(SILENT, name="1.bias", shape=(4,)))), set()),
        # one optimizer after the other, and both at once
        (seen(weights=(SHARED,), optimizers=(replace(ADAM, began=0, latest=29), replace(ADAM, began=30, latest=59))), set()),
        (seen(weights=(SHARED,), optimizers=(replace(ADAM, began=0, latest=58), replace(ADAM, began=1, latest=59))),
         {"repeated_parameters"}),
    ],
)  # fmt: skip
def test_traps(observations: Observations, expected: set[str]) -> None:
    assert {one.symptom for one in examine(observations)} == expected


def born(**more: Any) -> NonFinite:
    return NonFinite(**{"step": 50, "where": "weights", "path": "0.weight", **more})


GREW = seen(loss=LossFacts(first=1.0, trend_step=(10.0, 49.0), trend_high=(2.0, 1e9), nonfinite=1))


@pytest.mark.parametrize(
    ("observations", "remedy"),
    [
        (replace(GREW, nonfinite=born()), "lower the learning rate"),
        (replace(GREW, nonfinite=born(where="forward", operation="linear", kind="inf")), "lower the learning rate"),
        (replace(GREW, nonfinite=born(where="forward", operation="log", kind="inf")), "torch.log(x + 1e-8)"),
        (replace(GREW, nonfinite=born(step=30)), "set_detect_anomaly"),  # what grew only afterwards is no cause
        (seen(nonfinite=born()), "set_detect_anomaly"),
        (seen(nonfinite=born(), static=StaticFacts(made=True, operations=(OperationFact(name="sqrt", source="train.py:7"),))), "1e-8"),
        (seen(nonfinite=born(where="targets")), "clean the targets"),
    ],
)
def test_the_remedy_of_nan_fits_its_cause(observations: Observations, remedy: str) -> None:
    (finding,) = [one for one in examine(observations) if one.symptom == "nan"]
    assert remedy in str(finding.remedy)
    assert ("learning rate" in str(finding.remedy)) == (remedy == "lower the learning rate")


def test_every_name_is_a_heading_that_a_reader_of_chinese_understands() -> None:
    for name in {*EXPLAINS, *NAMED, *CAUSES}:
        heading = titled(name)
        assert isinstance(heading, Text), name
        assert heading.render("en") == name
        assert re.search("[\u4e00-\u9fff]", heading.render("zh")), name
    assert titled("of_another_package") == "of_another_package"
