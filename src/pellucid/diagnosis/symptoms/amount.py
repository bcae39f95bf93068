"""Whether there are enough samples to learn from."""

from __future__ import annotations

from pellucid.core.language import text
from pellucid.core.records import Finding
from pellucid.diagnosis.data.contents import PROBED, Contents
from pellucid.diagnosis.data.probes import Probe
from pellucid.diagnosis.data.relations import relations, told_by_probe
from pellucid.diagnosis.findings import established
from pellucid.diagnosis.registry import symptom

PER_CLASS, PER_VALUE = 15, 50  # training samples
ENOUGH = 0.95  # of what the test part's own samples teach
GAIN = 0.1  # of score, that the test part's own samples teach a probe and the training part's do not


@symptom("insufficient_data", reads=Contents)
def insufficient_data(seen: Contents) -> list[Finding]:
    """So few training samples that the test part's own samples teach a probe far more."""
    train, test = seen.train, seen.test
    if train is None or not seen.supervised or train.targets.kind == "other":
        return []
    classes = int(train.labels.max()) + 1 if train.categorical and train.labels is not None else 0
    each = train.size / classes if classes else train.size
    limit = PER_CLASS if classes else PER_VALUE
    if each >= limit or train.matrix.shape[1] == 0:
        return []
    proof = _more_would_help(seen)
    if test is None or len(test.inputs) < 2 * train.size:
        proof = None
    # T. Cover, Geometrical and statistical properties of systems of linear inequalities, 1965: any labels of so many samples in general
    # position are told apart by a plane, so that a perfect score on them says nothing
    columns = int((~train.columns.constant).sum())
    shattered = seen.kind == "table" and bool(classes) and train.size <= columns + 1 and not _enough(seen)
    said = (
        text("The training part has {count} samples; {samples} of the test part's own teach a probe more: {more} against {score}.",
             count=train.size, samples=min(PROBED, len(test.inputs)) if test is not None else 0, more=f"{proof[1]:.3f}",
             score=f"{proof[0]:.3f}")
        if proof is not None
        else text("The training part has {count} samples of {columns} columns: so few are told apart by a linear model whatever their "
                  "classes are.", count=train.size, columns=columns)
        if shattered
        else text("The training part has {count} samples for {parameters} parameters.", count=train.size, parameters=seen.parameters)
    )  # fmt: skip
    return established(
        "insufficient_data",
        said,
        by="data",
        level="fault" if proof is not None or shattered else "advice",
        confidence=0.8 if proof is not None or shattered else 0.5,
        where="train",
        evidence={"samples": train.size, "classes": classes, "columns_that_vary": columns, "parameters": seen.parameters,
                  **({"score": proof[0], "score_of_more": proof[1]} if proof is not None else {})},
        expected={"samples": f"> {limit * max(1, classes)}"},
        remedy=text("more training samples: a larger share of the data, augmentation, or a network that was trained on other data"),
    )  # fmt: skip


def _enough(seen: Contents) -> bool:
    """Whether a probe of these few samples answers the test part all but as well as the test part's own samples teach one to."""
    scores = _from_few_and_many(seen)
    return scores is not None and scores[0] - scores[2] >= ENOUGH * (scores[1] - scores[2])


def _more_would_help(seen: Contents) -> tuple[float, float] | None:
    """A probe's score on the test part from the training samples, and from the test part's other samples, where it is far better."""
    scores = _from_few_and_many(seen)
    return scores[:2] if scores is not None and scores[1] - scores[0] > max(GAIN, 4 * scores[3]) else None


def _from_few_and_many(seen: Contents) -> tuple[float, float, float, float] | None:
    """A probe's score on the test part from the training samples, from the test part's other samples, a constant answer's, and a standard
    error of the second."""
    train, test = seen.train, seen.test
    if train is None or test is None or test.values is None or train.values is None or len(train.values) < 2:
        return None
    there = told_by_probe(test)
    if there is None or train.values.shape[1:] != test.values.shape[1:] or train.inputs.shape[1:] != test.inputs.shape[1:]:
        return None
    scores = relations(seen)
    if scores is not None:
        mine = scores[2]
    else:  # so few that no probe of the part was made
        probe = Probe(train.inputs, train.kind)
        probe.left_out(train.values)
        places = test.chosen(PROBED)
        over = told_by_probe(test, probe.predicted(test.inputs[places]), places)
        if over is None:
            return None
        mine = over[0]
    return mine, there[0], there[1], there[2]
