"""Numbers that stand for classes: the code that the targets are in, and the one that the loss takes."""

from __future__ import annotations

from functools import partial

import torch

from pellucid.core.language import text
from pellucid.core.records import Change, Finding
from pellucid.diagnosis.data.contents import Contents, Part, Term
from pellucid.diagnosis.data.probes import Probe, indicator
from pellucid.diagnosis.data.relations import NEIGHBOURS, confused_neighbours, recoded, same_classes
from pellucid.diagnosis.findings import established
from pellucid.diagnosis.registry import symptom
from pellucid.diagnosis.static.comparisons import VALUE_LOSSES

PROBABILITIES = ("binary_cross_entropy", "binary_cross_entropy_with_logits")  # of targets in [0, 1]
SIGNS = ("soft_margin_loss", "hinge_embedding_loss", "margin_ranking_loss", "cosine_embedding_loss")  # of targets -1 and 1
INDICES = ("cross_entropy", "nll_loss", "multi_margin_loss")
IGNORED = -100  # torch's ignore_index
RANKED = 20  # classes from which whole numbers are rather a measure
LEAST = 60


_finding = partial(established, by="data", where="targets")


@symptom("label_encoding", reads=Contents)
def label_encoding(seen: Contents) -> list[Finding]:
    """Numbers that stand for classes and that the loss reads as something else."""
    train = seen.train
    if train is None or not seen.supervised:
        return []
    for term in seen.terms:
        if term.original:
            found = _outside(term, train) or _rows_without_class(term, train)
            if found:
                return found
    if seen.refused:
        return _refused(seen, train)
    return _silent_classes(seen, train) or _classes_as_values(seen, train) or _parts_encoded_apart(seen)


def _outside(term: Term, train: Part) -> list[Finding]:
    """Targets that the loss is not defined for; PyTorch does not always say so."""
    values = train.outputs.double().reshape(-1)
    values = values[values.isfinite()]
    if not len(values):
        return []
    low, high = float(values.min()), float(values.max())
    if term.kind in PROBABILITIES and (low < 0 or high > 1):
        known, wanted = train.targets.integral and train.targets.distinct == 2, text("targets in [0, 1]")
        change = Change(kind="targets_from_zero") if known else None
    elif term.kind in SIGNS and train.targets.distinct == 2 and (low, high) != (-1.0, 1.0):
        wanted, change = text("targets -1 and 1"), None
    elif term.kind in INDICES and not term.target.is_floating_point():
        classes = term.prediction.shape[1] if term.prediction.dim() > 1 else 0
        inside = values[values != IGNORED]
        if not classes or not len(inside) or (float(inside.min()) >= 0 and high < classes):
            return []
        low = float(inside.min())
        wanted, change = text("class indices from 0 to {last}", last=classes - 1), Change(kind="targets_from_zero")
    else:
        return []
    return _finding(
        "label_encoding",
        text("The targets lie between {low} and {high}, and {loss} takes {wanted}.", low=f"{low:g}", high=f"{high:g}", loss=term.kind,
             wanted=wanted),
        text("encode the targets as the loss takes them: {wanted}", wanted=wanted),
        confidence=0.95,
        evidence={"low": low, "high": high, "loss": term.kind},
        expected={"targets": str(wanted)},
        change=change,
    )  # fmt: skip


def _refused(seen: Contents, train: Part) -> list[Finding]:
    """Whole numbers beyond the network's outputs, where the loss fails on them: classes are counted from 1, or outputs are too few."""
    outputs, known = seen.outputs, train.targets
    if outputs is None or outputs.dim() != 2 or outputs.shape[1] < 2 or not known.whole or train.outputs.numel() != len(train.outputs):
        return []
    inside = train.outputs[train.outputs != IGNORED]
    low, high, last = int(inside.min()), int(inside.max()), outputs.shape[1] - 1
    if low >= 0 and high <= last:
        return []
    counted = high - low <= last  # the classes are as many as the outputs, and only numbered otherwise
    wanted = text("class indices from 0 to {last}", last=last)
    return _finding(
        "label_encoding" if counted else "wrong_output_units",
        text("The targets lie between {low} and {high}, and a network with {outputs} outputs takes {wanted}.", low=low, high=high,
             outputs=last + 1, wanted=wanted),
        text("encode the targets as the loss takes them: {wanted}", wanted=wanted)
        if counted
        else text("give the network {classes} outputs", classes=high + 1),
        confidence=0.95,
        evidence={"low": low, "high": high, "outputs": last + 1},
        expected={"low": "0", "high": f"<= {last}"},
        change=Change(kind="targets_from_zero") if counted else None,
    )  # fmt: skip


def _rows_without_class(term: Term, train: Part) -> list[Finding]:
    """Rows of zeros among one-hot rows, in a cross-entropy that gives them a loss of 0."""
    rows = train.outputs
    if term.kind not in INDICES or not rows.is_floating_point() or rows.dim() != 2 or rows.shape[1] < 2:
        return []
    if not bool(((rows == 0) | (rows == 1)).all()):
        return []
    sums = rows.sum(1)
    empty, single = float((sums == 0).float().mean()), float((sums == 1).float().mean())
    if empty == 0 or empty + single < 1:
        return []
    return _finding(
        "label_encoding",
        text("{share} of the one-hot targets have no class at all: rows of zeros, which cross-entropy learns nothing from.",
             share=f"{100 * empty:.1f} %"),
        text("make one column for each class, the first included"),
        confidence=0.9,
        evidence={"rows_of_zeros": empty},
        expected={"rows_of_zeros": "0"},
    )  # fmt: skip


def _silent_classes(seen: Contents, train: Part) -> list[Finding]:
    """A whole class gives the loss no slope: 0 and 1 into a loss that multiplies by the target, say."""
    few = train.targets.distinct
    silent = [value for value in seen.silent if value != IGNORED]
    if not silent or not 2 <= few <= 50 or not train.targets.integral:
        return []
    if any(term.kind in INDICES and not term.target.is_floating_point() for term in seen.terms) and -1 in silent:
        silent.remove(-1)  # a padding of the user's choice
    share = float(sum((train.outputs == value).float().mean() for value in silent))
    if not silent or share < 0.01:
        return []
    listed = ", ".join(f"{value:g}" for value in silent)
    return _finding(
        "label_encoding",
        text("Samples with target {values} ({share} of them) have no part in the loss: its slope is 0 for each of them.", values=listed,
             share=f"{100 * share:.0f} %"),
        text("encode the targets as the loss takes them, for a hinge loss -1 and 1"),
        confidence=0.85,
        evidence={"silent_targets": silent, "share": share},
        expected={"silent_targets": "none"},
    )  # fmt: skip


def _classes_as_values(seen: Contents, train: Part) -> list[Finding]:
    """Class indices that a loss of values regresses: a fault where the numbers have no order."""
    if not seen.loses(*VALUE_LOSSES) or train.outputs.numel() != len(train.outputs) or not train.targets.integral:
        return []
    labels, count = train.labels, train.targets.distinct
    if labels is None or not 3 <= count <= RANKED or len(labels) < LEAST:
        return []
    low, high = train.targets.low, train.targets.high
    if low not in (0, 1) or high - low + 1 != count or float(labels.bincount().min()) < 0.2 * len(labels) / count:
        return []  # counts and grades are seldom equally frequent; codes of classes start at 0 or 1
    outputs = seen.outputs.shape[1] if seen.outputs is not None and seen.outputs.dim() == 2 else 1
    places = train.chosen(2000)
    order = confused_neighbours(Probe(train.inputs[places], train.kind).left_out(indicator(labels[places], count)), labels[places])
    unordered = order is not None and order < NEIGHBOURS
    return _finding(
        "label_encoding",
        text("The targets are the whole numbers {low} to {high}, which look like codes of {count} classes, and {loss} regresses them as "
             "amounts.", low=f"{low:g}", high=f"{high:g}", count=count, loss=next(t.kind for t in seen.terms if t.kind in VALUE_LOSSES)),
        text("one output for each class and torch.nn.functional.cross_entropy, where the numbers are names and not amounts"),
        level="fault" if unordered else "advice",
        confidence=0.8 if unordered else 0.5,
        evidence={"classes": count, "confusions_of_neighbours": order if order is not None else "unknown"},
        expected={"confusions_of_neighbours": f"> {NEIGHBOURS:g} times chance where the numbers are amounts"},
        change=Change(kind="targets_as_classes") if outputs >= count else None,  # one output cannot be made to tell classes apart
    )  # fmt: skip


def _parts_encoded_apart(seen: Contents) -> list[Finding]:
    """The test part's classes are numbered otherwise, or are not those of the training part."""
    train, test = seen.train, seen.test
    if train is None or test is None or not train.categorical or train.labels is None or test.labels is None or train.targets.distinct < 2:
        return []
    if not same_classes(train, test) and train.targets.kind != "one_hot" and test.targets.kind != "one_hot":
        every = train.outputs.reshape(-1) if train.whole is None else train.whole[1].reshape(-1)
        asked = test.outputs.reshape(-1)
        missing = [value for value in asked.unique().tolist() if not bool((every == value).any())]  # no sorting of 50 million
        strange = torch.isin(asked, torch.tensor(missing, dtype=asked.dtype))
        share = float(strange.float().mean())
        if share < 0.05:
            return []
        values = test.outputs.reshape(-1)[strange].unique().tolist()
        return _finding(
            "label_encoding",
            text("{share} of the test targets are classes that the training part does not have: {values}.", share=f"{100 * share:.0f} %",
                 values=", ".join(f"{value:g}" for value in values[:5])),
            text("encode both parts by the same table, and shuffle before splitting"),
            confidence=0.9, where="test targets", evidence={"share": share, "classes": values[:50]}, expected={"share": "0"},
        )  # fmt: skip
    found = recoded(seen)
    if found is None:
        return []
    order, renamed, plain = found
    return _finding(
        "label_encoding",
        text("The classes of the test part are numbered otherwise than those of the training part: a probe scores {plain} on them, and "
             "{renamed} after they are renamed.", plain=f"{plain:.3f}", renamed=f"{renamed:.3f}"),
        text("encode both parts by the same table"),
        confidence=0.9, where="test targets", evidence={"accuracy": plain, "accuracy_renamed": renamed, "classes": order[:50]},
        expected={"accuracy": f"about {renamed:.2f}"},
    )  # fmt: skip
