"""The change that a finding stands for where its symptom names none: what is said in words, an experiment can try."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from pellucid.core.errors import PellucidError
from pellucid.core.records import Change, Finding
from pellucid.diagnosis.experiments.experiment import Experiment
from pellucid.diagnosis.experiments.samples import samples_in
from pellucid.diagnosis.remedies import apply
from pellucid.diagnosis.remedies.calls import switches_of_chance
from pellucid.diagnosis.remedies.layers import memory_steps
from pellucid.diagnosis.remedies.signal import calming, reviving

BORN = 0.5  # of the dead units, that were dead at the first look
CUSTOMARY_RATE = 1e-3  # of Adam: D. Kingma and J. Ba, Adam, 2015, algorithm 1
CLIPPED = 1.0  # norm of a gradient that explodes, as the remedy of that symptom says
PLAIN: Mapping[str, str] = {  # cause, or symptom -> a kind of change that takes no values
    "unnormalised_input": "standardise_inputs",
    "double_normalised_input": "standardise_inputs",
    "unnormalised_target": "standardise_targets",
    "missing_zero_grad": "zero_grad",
    "cleared_too_early": "keep_gradient",
    "flipped_gradient": "minimise",
    "shape_broadcast": "reshape_targets",
    "no_shuffle": "shuffle",
    "unowned_parameters": "own_parameters",
    "leaky_batch": "samples_alone",
    "capacity": "wider",
}
SLOWER: Mapping[str, float] = {
    "lr_too_high": 0.1,
    "divergence": 0.1,
    "oscillation": 1 / 3,
    "dead_relu": 0.1,
    "lr_too_low": 10.0,
}  # times the present rate, where the remedy names none


def with_change(finding: Finding, experiment: Experiment) -> Finding:
    """The finding with the first change that fits it and can be applied to this experiment, where it has none yet."""
    if finding.change is not None or finding.level == "good":
        return finding
    try:
        for change in _changes(finding, experiment):
            if change is not None and _fits(experiment, change):
                return replace(finding, change=change)
    except Exception:  # the user's factories and data may raise whatever they like: the words of the remedy stay
        return finding
    return finding


def _fits(experiment: Experiment, change: Change) -> bool:
    try:
        apply(experiment, change)
    except PellucidError:
        return False
    return True


def _changes(finding: Finding, experiment: Experiment) -> Iterable[Change | None]:
    """The changes of the finding's cause, else of its symptom, the likeliest first."""
    for name in dict.fromkeys((finding.cause or "", finding.symptom)):
        if name in PLAIN:
            yield Change(kind=PLAIN[name])
            return
        if name in _OTHERS:
            yield from _OTHERS[name](finding, experiment)
            return


def _rate(finding: Finding, experiment: Experiment) -> Iterable[Change | None]:
    """The learning rate that the remedy names, else a fraction of the present one."""
    named = finding.remedy.values.get("rate") if finding.remedy is not None else None
    try:
        yield Change(kind="learning_rate", values={"rate": float(str(named))})
        return
    except ValueError:
        pass
    if finding.where == "scheduler":
        yield Change(kind="no_scheduler")
        return
    if finding.symptom not in SLOWER:
        return
    with experiment.seeded(0):
        _, optimizer = experiment.build(0)
    group = optimizer.param_groups[0]
    if group.get("lr") is None:
        return
    rate = SLOWER[finding.symptom] * float(group["lr"])
    if finding.symptom == "lr_too_low" and "betas" in group:
        rate = max(rate, CUSTOMARY_RATE)
    yield Change(kind="learning_rate", values={"rate": rate})


def _mode(finding: Finding, experiment: Experiment) -> Iterable[Change | None]:
    """Passes with gradients in training mode and nothing dropped in evaluation; evaluations in training mode are the user's own code.

    Where random numbers are drawn by code of the user's own, its switch.
    """
    if finding.evidence.get("evaluations_in_training_mode"):
        return
    if "changed" in finding.evidence:  # drawn in evaluation mode
        yield from (Change(kind="follow_mode", values={"attribute": name}) for name in switches_of_chance(experiment))
    yield Change(kind="train_mode")


def _dead(finding: Finding, experiment: Experiment) -> Iterable[Change | None]:
    """First weights drawn anew where the units were dead before the first update, smaller steps where they died of them."""
    if finding.evidence.get("dead_from_the_first_step", 0.0) >= BORN:
        yield Change(kind="reinitialise", values={"scheme": "default"})
    yield from _rate(finding, experiment)


def _frozen(finding: Finding, experiment: Experiment) -> Iterable[Change | None]:
    """Weights that do not require their gradient."""
    with experiment.seeded(0):
        model, _ = experiment.build(0)
    frozen = {name for name, parameter in model.named_parameters() if not parameter.requires_grad}
    names = [name for name in finding.evidence.get("parameters", ()) if name in frozen]
    if names:
        yield Change(kind="unfreeze", values={"names": names})


def _adam(_finding: Finding, _: Experiment) -> Iterable[Change | None]:
    yield Change(kind="optimizer", values={"name": "adam", "rate": CUSTOMARY_RATE})


def _exploding(_finding: Finding, experiment: Experiment) -> Iterable[Change | None]:
    yield calming(experiment, CLIPPED)
    yield Change(kind="clip", values={"norm": CLIPPED})


def _vanishing(finding: Finding, experiment: Experiment) -> Iterable[Change | None]:
    """Through time: gates that keep their state. Through layers: what brings the gradient back."""
    if finding.where == "model":
        steps = memory_steps(experiment)
        if steps is not None:
            yield Change(kind="gate_bias", values={"steps": steps})
    yield reviving(experiment)


def _wrong_gradient(finding: Finding, _: Experiment) -> Iterable[Change | None]:
    """A derivative of the user's own left to autograd; what was cut off joined again. Not where a trial found it to be on purpose."""
    if finding.level == "fault":
        yield Change(kind="differentiate")
        yield Change(kind="attach")


def _init(_finding: Finding, _: Experiment) -> Iterable[Change | None]:
    yield Change(kind="reinitialise", values={"scheme": "default"})


# -- outputs and data --------------------------------------------------------------------------------------------------------------------


def _units(finding: Finding, _: Experiment) -> Iterable[Change | None]:
    """As many outputs as the targets ask for."""
    evidence = finding.evidence
    wanted = evidence.get("classes", evidence.get("targets"))
    if isinstance(wanted, int) and evidence.get("outputs") != wanted:
        yield Change(kind="output_units", values={"units": max(wanted, 2) if "classes" in evidence else wanted})


def _one_output_for_classes(finding: Finding, experiment: Experiment) -> Iterable[Change | None]:
    """A score for each class, and the loss of classes."""
    evidence, classes = finding.evidence, finding.evidence.get("classes")
    named = finding.remedy.values.get("name") if finding.remedy is not None else None
    if named == "cross_entropy" and isinstance(evidence.get("target_high"), (int, float)):
        classes = int(evidence["target_high"]) + 1
    if isinstance(classes, int) and classes > 2:
        yield Change(kind="output_units", values={"units": classes, "loss": "cross_entropy"})
    elif isinstance(evidence.get("classes"), list):
        yield Change(kind="rename_test_targets", values={"classes": evidence["classes"]})


def _moved(finding: Finding, _: Experiment) -> Iterable[Change | None]:
    """Targets back to their rows, where it is known by how many they have moved."""
    where, shift = str(finding.where or ""), finding.evidence.get("shift")
    if not isinstance(shift, int):
        return
    first = where.partition("[")[2].partition(":")[0]
    values: dict[str, Any] = {"by": shift, "part": "test" if where.startswith("test") else "train"}
    yield Change(kind="shift_targets", values={**values, **({"first": int(first)} if first.isdigit() else {})})


def _unlike_parts(finding: Finding, _: Experiment) -> Iterable[Change | None]:
    """The test inputs in the training inputs' order, or on their scale."""
    evidence = finding.evidence
    order = evidence.get("channels", evidence.get("columns"))
    if "difference_reordered" in evidence and order is not None:
        yield Change(kind="match_test_inputs", values={"order": list(order)})
    elif "ratio_of_deviations" in evidence:
        yield Change(kind="match_test_inputs")


def _not_finite(finding: Finding, experiment: Experiment) -> Iterable[Change | None]:
    """Numbers in the place of missing inputs; samples without a finite target left out; logarithms kept above 0."""
    where = str(finding.where or "")
    if where.startswith("input"):
        yield Change(kind="fill_missing")
    elif where.startswith("targets") and isinstance(experiment.train, tuple):
        targets = experiment.train[1]
        if isinstance(targets, Tensor) and targets.is_floating_point():
            finite = torch.isfinite(targets).reshape(samples_in(experiment.train), -1).all(1)
            yield Change(kind="drop_samples", values={"indices": (~finite).nonzero()[:, 0].tolist(), "part": "train"})
    elif str(finding.evidence.get("operation")) in ("log", "log2", "log10"):
        yield Change(kind="stable_log")


_OTHERS: Mapping[str, Callable[[Finding, Experiment], Iterable[Change | None]]] = {
    "lr_too_high": _rate,
    "lr_too_low": _rate,
    "divergence": _rate,
    "oscillation": _rate,
    "wrong_mode": _mode,
    "dead_relu": _dead,
    "wrong_optimizer": _adam,
    "frozen_weights": _frozen,
    "exploding_gradient": _exploding,
    "vanishing_gradient": _vanishing,
    "saturation": _vanishing,
    "wrong_gradient": _wrong_gradient,
    "bad_init": _init,
    "wrong_output_units": _units,
    "wrong_loss": _one_output_for_classes,
    "label_encoding": _one_output_for_classes,
    "labels_misaligned": _moved,
    "train_test_preprocess_mismatch": _unlike_parts,
    "nan": _not_finite,
    "missing_values": _not_finite,
}
