"""The change that a finding of a watched training stands for: what a watcher says in words, an experiment can try."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from pellucid.core.errors import PellucidError
from pellucid.core.records import Change, Finding
from pellucid.diagnosis.experiments.experiment import Experiment
from pellucid.diagnosis.remedies import apply

BORN = 0.5  # of the dead units, that were dead at the first look
CUSTOMARY_RATE = 1e-3  # of Adam: D. Kingma and J. Ba, Adam, 2015, algorithm 1
CLIPPED = 1.0  # norm of a gradient that explodes, as the remedy of that symptom says
PLAIN: Mapping[str, str] = {  # cause, or symptom -> a kind of change that takes no values
    "unnormalised_input": "standardise_inputs",
    "unnormalised_target": "standardise_targets",
    "missing_zero_grad": "zero_grad",
    "flipped_gradient": "minimise",
    "shape_broadcast": "reshape_targets",
    "no_shuffle": "shuffle",
    "unowned_parameters": "own_parameters",
}
SLOWER: Mapping[str, float] = {
    "lr_too_high": 0.1,
    "divergence": 0.1,
    "oscillation": 1 / 3,
    "dead_relu": 0.1,
}  # of the rate, where the remedy names none


def with_change(finding: Finding, experiment: Experiment) -> Finding:
    """The finding with its change, where it has none yet and one can be applied to this experiment."""
    if finding.change is not None or finding.level == "good":
        return finding
    change = _change(finding, experiment)
    if change is None:
        return finding
    try:
        apply(experiment, change)
    except PellucidError:  # it does not fit: the words of the remedy stay
        return finding
    return replace(finding, change=change)


def _change(finding: Finding, experiment: Experiment) -> Change | None:
    for name in (finding.cause or "", finding.symptom):
        if name in PLAIN:
            return Change(kind=PLAIN[name])
        if name in _OTHERS:
            return _OTHERS[name](finding, experiment)
    return None


def _rate(finding: Finding, experiment: Experiment) -> Change | None:
    """The learning rate that the remedy names, else a fraction of the present one."""
    named = finding.remedy.values.get("rate") if finding.remedy is not None else None
    try:
        return Change(kind="learning_rate", values={"rate": float(str(named))})
    except ValueError:
        pass
    if finding.symptom not in SLOWER:
        return None
    with experiment.seeded(0):
        _, optimizer = experiment.build(0)
    rate = optimizer.param_groups[0].get("lr")
    return None if rate is None else Change(kind="learning_rate", values={"rate": SLOWER[finding.symptom] * float(rate)})


def _mode(finding: Finding, _: Experiment) -> Change | None:
    """Passes with gradients in training mode and nothing dropped in evaluation; evaluations in training mode are the user's own code."""
    return None if finding.evidence.get("evaluations_in_training_mode") else Change(kind="train_mode")


def _dead(finding: Finding, experiment: Experiment) -> Change | None:
    """First weights drawn anew where the units were dead before the first update, smaller steps where they died of them."""
    if finding.evidence.get("dead_from_the_first_step", 0.0) >= BORN:
        return Change(kind="reinitialise", values={"scheme": "default"})
    return _rate(finding, experiment)


def _frozen(finding: Finding, experiment: Experiment) -> Change | None:
    """Weights that do not require their gradient."""
    with experiment.seeded(0):
        model, _ = experiment.build(0)
    frozen = {name for name, parameter in model.named_parameters() if not parameter.requires_grad}
    names = [name for name in finding.evidence.get("parameters", ()) if name in frozen]
    return Change(kind="unfreeze", values={"names": names}) if names else None


def _adam(_finding: Finding, _: Experiment) -> Change:
    return Change(kind="optimizer", values={"name": "adam", "rate": CUSTOMARY_RATE})


def _clipped(_finding: Finding, _: Experiment) -> Change:
    return Change(kind="clip", values={"norm": CLIPPED})


_OTHERS: Mapping[str, Callable[[Finding, Experiment], Any]] = {
    "lr_too_high": _rate,
    "lr_too_low": _rate,
    "divergence": _rate,
    "oscillation": _rate,
    "wrong_mode": _mode,
    "dead_relu": _dead,
    "wrong_optimizer": _adam,
    "frozen_weights": _frozen,
    "exploding_gradient": _clipped,
}
