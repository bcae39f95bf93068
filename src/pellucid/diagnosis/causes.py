"""What explains what: of several symptoms of one training the root is told, and the others as its consequences.

A row of `EXPLAINS` says that a symptom, where it is found, brings others about by itself: a learning rate that is too high kills ReLUs and
makes the loss diverge, so that one finding with its consequences is told and not three. The table has no cycles, a test holds it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import cache
from typing import Any

from pellucid.core.language import Text, text
from pellucid.core.records import Finding
from pellucid.diagnosis.dynamic.observations import Observations
from pellucid.diagnosis.registry import failed, symptoms

# Root -> what it brings about directly; what those bring about in turn follows. Programs that are wrong whatever their numbers are come
# first, then the data, then the size of a step and other settings, then what it does to activations and gradients, and the course of the
# loss, which explains nothing.
_COURSE = "plateau underfitting oscillation constant_output too_few_epochs capacity not_learnt_by_heart wrong_optimizer bad_batch_size "
_SIGNAL = "vanishing_gradient dead_relu saturation frozen_weights lr_too_low "
_SIZE = "lr_too_high exploding_gradient divergence nan "
EXPLAINS: Mapping[str, frozenset[str]] = {
    name: frozenset(consequences.split())
    for name, consequences in {
        "wrong_output_activation": _COURSE + _SIGNAL + "initial_loss",
        "missing_output_activation": _COURSE + _SIZE + "initial_loss unstable_loss",
        "wrong_loss": _COURSE + _SIGNAL + _SIZE + "initial_loss",
        "double_softmax": _COURSE + "vanishing_gradient lr_too_low initial_loss",
        "softmax_wrong_axis": "wrong_loss " + _COURSE + _SIGNAL + "initial_loss leaky_batch",
        "wrong_output_units": "wrong_loss frozen_weights overfitting " + _COURSE + "initial_loss",
        "unstable_loss": "nan divergence exploding_gradient",
        "loss_reduction_sum": _SIZE + "oscillation initial_loss dead_relu",
        "shape_broadcast": "wrong_loss constant_output plateau underfitting initial_loss not_learnt_by_heart capacity wrong_optimizer",
        "missing_activation": "underfitting capacity plateau",
        "wrong_hidden_activation": _COURSE + _SIGNAL + _SIZE,
        "saturating_activation": _COURSE + _SIGNAL,
        "bad_init": "saturating_activation " + _COURSE + _SIGNAL + _SIZE + "initial_loss",
        "detached_branch": _COURSE + "frozen_weights wrong_gradient",
        "wrong_mode": "wrong_loss overfitting underfitting oscillation leaky_batch",
        "leaky_batch": _COURSE + "overfitting",
        "wrong_gradient": _COURSE,
        "label_encoding": "wrong_loss " + _COURSE + _SIZE + "initial_loss wrong_output_units",
        "single_class_labels": _COURSE + "class_imbalance overfitting wrong_loss",
        "labels_misaligned": _COURSE + "overfitting uninformative_input",
        "uninformative_input": _COURSE + "overfitting",
        "noisy_labels": "overfitting underfitting plateau oscillation",
        "class_imbalance": "constant_output plateau underfitting",
        "insufficient_data": "overfitting",
        "train_test_preprocess_mismatch": "overfitting uninformative_input labels_misaligned capacity not_learnt_by_heart",
        "double_normalised_input": _COURSE + _SIGNAL + "unnormalised_input",
        "unnormalised_input": "wrong_loss " + _COURSE + _SIGNAL + _SIZE + "initial_loss bad_init",
        "unnormalised_target": "wrong_loss " + _COURSE + _SIGNAL + _SIZE + "initial_loss outliers_with_mse",
        "outliers_with_mse": "oscillation exploding_gradient lr_too_high plateau overfitting underfitting",
        "flipped_gradient": "lr_too_high exploding_gradient wrong_gradient not_learnt_by_heart",
        "missing_zero_grad": "overfitting flipped_gradient lr_too_high exploding_gradient not_learnt_by_heart",
        "no_shuffle": "oscillation plateau overfitting underfitting",
        "repeated_parameters": "lr_too_high oscillation divergence",
        "unowned_parameters": "wrong_mode frozen_weights plateau underfitting lr_too_low capacity not_learnt_by_heart",
        "frozen_weights": "plateau underfitting lr_too_low constant_output capacity not_learnt_by_heart",
        "lr_too_high": "divergence oscillation nan dead_relu saturation vanishing_gradient " + _COURSE,
        "exploding_gradient": "divergence oscillation nan dead_relu saturation plateau lr_too_high",
        "dead_relu": "vanishing_gradient constant_output frozen_weights plateau underfitting",
        "saturation": "vanishing_gradient constant_output plateau underfitting",
        "vanishing_gradient": "frozen_weights plateau underfitting constant_output lr_too_low",
        "lr_too_low": "plateau underfitting too_few_epochs capacity not_learnt_by_heart wrong_optimizer",
        "over_regularised": _COURSE + _SIGNAL + _SIZE,
        "wrong_optimizer": "plateau underfitting oscillation",
        "bad_batch_size": "plateau underfitting oscillation lr_too_low too_few_epochs",
        "too_few_epochs": "plateau underfitting",
        "capacity": "plateau underfitting constant_output",
        "constant_output": "plateau underfitting",
        "divergence": "nan",
        "nan": "dead_relu saturation constant_output frozen_weights plateau",
        "oscillation": "plateau underfitting",
        "plateau": "underfitting",
    }.items()
}

NAMED: Mapping[str, Text] = {  # a symptom in the middle of a sentence
    "bad_batch_size": text("batches of a bad size"),
    "bad_init": text("first weights of a bad size"),
    "capacity": text("a network that is too small"),
    "class_imbalance": text("rare classes"),
    "constant_output": text("the same output for every sample"),
    "dead_relu": text("dead ReLU units"),
    "divergence": text("a rising loss"),
    "double_softmax": text("a softmax that is applied twice"),
    "exploding_gradient": text("exploding gradients"),
    "flipped_gradient": text("updates that climb the loss"),
    "frozen_weights": text("weights that do not change"),
    "initial_loss": text("a high first loss"),
    "labels_misaligned": text("targets of other samples"),
    "leaky_batch": text("samples that influence each other"),
    "lr_too_high": text("updates that are too large"),
    "lr_too_low": text("updates that are too small"),
    "missing_output_activation": text("outputs that are no probabilities"),
    "missing_zero_grad": text("gradients that are never cleared"),
    "nan": text("NaN or infinity"),
    "no_shuffle": text("sorted batches"),
    "not_learnt_by_heart": text("one batch that cannot be learnt by heart"),
    "oscillation": text("an oscillating loss"),
    "outliers_with_mse": text("outliers under a squared loss"),
    "overfitting": text("overfitting"),
    "plateau": text("a loss that does not fall"),
    "repeated_parameters": text("weights that are updated twice"),
    "saturating_activation": text("activations that saturate"),
    "saturation": text("saturated units"),
    "shape_broadcast": text("a loss over all pairs of samples"),
    "softmax_wrong_axis": text("a softmax over the wrong axis"),
    "too_few_epochs": text("a training that ends too soon"),
    "underfitting": text("underfitting"),
    "uninformative_input": text("inputs that say nothing about the target"),
    "unnormalised_input": text("inputs on a bad scale"),
    "unstable_loss": text("a logarithm that can become infinite"),
    "unowned_parameters": text("weights that no optimizer has"),
    "vanishing_gradient": text("vanishing gradients"),
    "wrong_gradient": text("a gradient that is not the slope of the loss"),
    "wrong_loss": text("a loss that does not fit"),
    "wrong_mode": text("the wrong mode"),
    "wrong_optimizer": text("an optimizer that does not get there"),
    "wrong_output_activation": text("an output that cannot reach its targets"),
    "wrong_output_units": text("outputs of the wrong number"),
}
_TITLES = {title.message: title for title in (  # the names themselves; in Chinese they stand behind what they mean
    text("bad_batch_size"), text("bad_init"), text("capacity"), text("class_imbalance"), text("constant_output"), text("data_leakage"),
    text("dead_relu"), text("detached_branch"), text("divergence"), text("double_normalised_input"), text("double_softmax"),
    text("exploding_gradient"), text("flipped_gradient"), text("frozen_weights"), text("generalisation"),
    text("initial_loss"), text("insufficient_data"), text("label_encoding"), text("labels_misaligned"), text("leaky_batch"),
    text("loss_reduction_sum"), text("lr_too_high"), text("lr_too_low"), text("missing_activation"), text("missing_output_activation"),
    text("missing_zero_grad"), text("nan"), text("no_shuffle"), text("noisy_labels"), text("not_learnt_by_heart"), text("oscillation"),
    text("outliers_with_mse"), text("over_regularised"), text("overfitting"), text("plateau"), text("repeated_parameters"),
    text("saturating_activation"), text("saturation"), text("shape_broadcast"), text("single_class_labels"),
    text("softmax_wrong_axis"), text("too_few_epochs"), text("too_short"), text("train_test_preprocess_mismatch"),
    text("underfitting"), text("uninformative_input"), text("unnormalised_input"), text("unnormalised_target"),
    text("unowned_parameters"), text("unstable_loss"), text("vanishing_gradient"), text("wrong_gradient"),
    text("wrong_hidden_activation"), text("wrong_loss"), text("wrong_mode"), text("wrong_optimizer"), text("wrong_output_activation"),
    text("wrong_output_units"),
)}  # fmt: skip
SCALES = ("unnormalised_input", "unnormalised_target")
# What is seen of a training and is itself what to mend; the others are signs of something: a plateau, a loss that is no number, dead units
CAUSES = {
    "double_softmax", "flipped_gradient", "leaky_batch", "lr_too_high", "lr_too_low", "missing_output_activation", "missing_zero_grad",
    "no_shuffle", "repeated_parameters", "shape_broadcast", "softmax_wrong_axis", "too_few_epochs", "unowned_parameters", "wrong_mode",
    "wrong_optimizer", "wrong_output_activation",
}  # fmt: skip
_RANK = {"fault": 0, "advice": 1, "good": 2}


def examine(seen: Observations) -> tuple[Finding, ...]:
    """The findings about a training that was watched: roots with consequences, faults first, the surest first; none where all is well.

    A symptom of another package that fails is reported and does not stop the others.
    """
    findings: list[Finding] = []
    for name, function in symptoms(reads=Observations).items():
        try:
            findings.extend(function(seen) or ())
        except Exception as error:
            findings.append(failed(name, error))
    return rooted(findings)


def titled(name: str) -> Text | str:
    """The name of a symptom or cause as a heading; of another package's symptom the name itself."""
    return _TITLES.get(name, name)


def rooted(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """The roots among the findings; what a root explains is told in its sentence and stands in its evidence under "consequences"."""
    findings = list(findings)
    roots = [finding for finding in findings if not any(explains(other, finding) for other in findings)]
    told = [_named(_with_consequences(root, [other for other in findings if explains(root, other)])) for root in roots]
    return tuple(sorted(told, key=lambda finding: (_rank(finding), -finding.confidence)))


def _named(finding: Finding) -> Finding:
    """A finding whose symptom is a cause, whoever established it, says so."""
    return replace(finding, cause=finding.symptom) if finding.cause is None and finding.symptom in CAUSES else finding


def _rank(finding: Finding) -> int:
    return _RANK.get(finding.level, 1)


def explains(root: Finding, other: Finding) -> bool:
    """Whether `other` follows from `root`, which must not be the lighter one.

    Weights without any gradient have a cause of their own; and what is not finite is seen after steps that were too large, not before.
    """
    if _mended_at_its_rate(root, other):
        return True
    if _mended_at_its_rate(other, root):
        return False
    if other.established_by == "controlled" and root.level == "advice" and root.established_by != "controlled":
        return False  # what a trial proved does not go under what is only suspected
    if root.symptom == "unstable_loss" and other.symptom == "lr_too_high":
        return False
    if other.symptom == "wrong_loss" and other.established_by != "controlled" and root.symptom in SCALES:
        return False  # what is read in the program is so whatever the scale of the data
    if "good" in (root.level, other.level) or root is other or not _leads_to(root, other) or _rank(root) > _rank(other):
        return False
    return other.symptom != "frozen_weights" or other.cause in (None, "zero_gradient") or root.symptom == "unowned_parameters"


def _mended_at_its_rate(root: Finding, other: Finding) -> bool:
    """Whether trials proved another change to mend what looked, in the course of the training, like a learning rate that is too high."""
    tried = root.evidence.get("tried")
    proved = (root.established_by == "controlled" and root.change is not None) or (isinstance(tried, Mapping) and tried.get("proved"))
    rates = ("lr_too_high", "lr_too_low", "too_few_epochs", "divergence", "oscillation", "exploding_gradient")
    seen = other.symptom == "lr_too_high" and other.established_by == "dynamic"
    return seen and bool(proved) and root.level == "fault" and root.symptom not in rates


def _leads_to(root: Finding, other: Finding) -> bool:
    """By the table of symptoms; by the established cause of the root where that is not answered from the other side."""
    if other.symptom in _reach(root.symptom):
        return True
    if root.symptom in _reach(other.symptom) or other.symptom == root.symptom:
        return False
    return other.symptom in _reach(root.cause or "") and root.symptom not in _reach(other.cause or "")


@cache
def _reach(name: str) -> frozenset[str]:
    """Everything that follows from a symptom, directly or through others."""
    direct = EXPLAINS.get(name, frozenset())
    return direct.union(*(_reach(consequence) for consequence in direct)) if direct else direct


def _with_consequences(root: Finding, consequences: list[Finding]) -> Finding:
    if not consequences:
        return root
    told: list[dict[str, Any]] = [
        {"symptom": other.symptom, "where": other.where, "level": other.level, "summary": other.summary} for other in consequences
    ]
    names = list(dict.fromkeys(other.symptom for other in consequences))
    return replace(
        root,
        summary=text("{said} It explains what else is seen: {others}.", said=root.summary, others=[NAMED.get(n, n) for n in names]),
        evidence={**root.evidence, "consequences": told},
    )
