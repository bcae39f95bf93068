"""Labels that do not say what the loss takes them to say: their shares, their errors, and whose they are."""

from __future__ import annotations

import math
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from pellucid.core.language import text
from pellucid.core.numerics import wilson_interval
from pellucid.core.records import Change, Finding
from pellucid.diagnosis.data.contents import Contents, Part, parts_of
from pellucid.diagnosis.data.label_noise import OutOfSample, as_probabilities, noise_share, noisy_samples
from pellucid.diagnosis.data.relations import NEIGHBOURS, confused_neighbours, same_classes, told_by_probe
from pellucid.diagnosis.findings import established
from pellucid.diagnosis.registry import symptom
from pellucid.diagnosis.static.comparisons import VALUE_LOSSES

RARE = 20.0  # times as many samples in the largest class as in the smallest
ALMOST_ALL = 0.95  # share of the largest class from which a constant answer looks good
OTHER_SHARES = 0.25  # half the sum of the differences of the classes' shares between the parts
SURE = 1 / 3  # of the samples: those on which a probe is surest
FLAT = 0.45  # of the error of all samples that the surest third has: errors that have nothing to do with how hard a sample is
# Share of labels that look wrong among the surest third (lower end of its interval) plus by how much the probe does better on the test
# part. Of 48 healthy sets the largest was 0.083 (41 below 0.02) but for grades; with 10 % of wrong labels 0.03 to 0.15, with 20 % from
# 0.13: benchmarks/LOG.md.
NOISY, VERY_NOISY = 0.05, 0.1
# Where classes overlap, the surest tenth errs less again than the surest third; wrong labels are as frequent there. Of 18 sound sets of
# overlapping clouds, rings and logistic draws, the ratio was 0.51 to 0.71 where the surest third errs often and TOLD is reached; with 20 %
# of wrong labels it was 0.80 to 1.12: benchmarks/LOG.md.
SUREST, STEADY = 0.1, 0.75
TOLD = 0.3  # of the way from a constant answer's score to a perfect one: what learns less has no sure answers to contradict a label with
LEARNT = 0.4  # of the way from a constant answer's score to a perfect one, that a probe must get to be believed against a label
FAR_BETTER = 0.1  # on the test part, beyond chance: there is much to learn, and the training part's own labels do not agree with it
SHIFTS = (1, -1, 2, -2, 3, -3, 4, -4, 5, -5)
MISALIGNED = 0.3  # of what a shift finds, that the order as it stands may find
LEAST, LEAST_NOISY = 60, 100
PIECES = 8


_finding = partial(established, by="data", where="targets")


# -- shares ------------------------------------------------------------------------------------------------------------------------------


@symptom("single_class_labels", reads=Contents)
def single_class_labels(seen: Contents) -> list[Finding]:
    """All training targets are the same."""
    train = seen.train
    if train is None or not seen.supervised or len(train.outputs) < 2 or train.outputs.is_complex():
        return []
    rows = train.outputs.reshape(len(train.outputs), -1)
    if rows.is_floating_point() and not bool(rows.isfinite().all()):
        return []
    every = train.whole[1].reshape(train.size, -1) if train.whole is not None else rows
    if not bool((rows == rows[:1]).all()) or not bool((every == every[:1]).all()):
        return []
    if rows.shape[1] > 1 and train.targets.kind not in ("one_hot", "multi_hot", "binary", "classes"):
        return []
    value = str(rows[0].tolist() if rows.shape[1] > 1 else rows[0, 0].item())[:60]
    return _finding(
        "single_class_labels",
        text("All {count} training targets are {value}: there is nothing to tell apart.", count=train.size, value=value),
        text("see how the part was drawn: sorted data must be shuffled before they are split"),
        confidence=0.95,
        evidence={"distinct_targets": 1},
        expected={"distinct_targets": "> 1"},
    )


@symptom("class_imbalance", reads=Contents)
def class_imbalance(seen: Contents) -> list[Finding]:
    """Rare classes: an advice, and a fault where the test part asks for them more often than the training part shows them."""
    train, test = seen.train, seen.test
    if train is None or not seen.supervised or not train.categorical or train.labels is None or len(train.labels) < LEAST:
        return []
    if seen.loses(*VALUE_LOSSES):
        return []
    counts = train.labels.bincount().double()
    counts = counts[counts > 0]
    if len(counts) < 2:
        return []
    ratio, share = float(counts.max() / counts.min()), float(counts.max() / counts.sum())
    other = 0.0
    if test is not None and test.labels is not None and test.categorical and same_classes(train, test) and len(test.labels) >= LEAST:
        theirs = test.labels.bincount().double()
        if len(theirs) == len(counts):
            other = 0.5 * float((counts / counts.sum() - theirs / theirs.sum()).abs().sum())
    shifted = other > OTHER_SHARES and ratio > 5
    if not shifted and ratio < RARE and share < ALMOST_ALL:
        return []
    said = (
        text("The rarest class has {ratio} times fewer training samples than the most frequent one, and the test part has other shares.",
             ratio=f"{ratio:.3g}")
        if shifted
        else text("The rarest class has {ratio} times fewer samples than the most frequent one ({share} of all): accuracy hardly tells "
                  "whether it is learnt.", ratio=f"{ratio:.3g}", share=f"{100 * share:.1f} %")
    )  # fmt: skip
    return _finding(
        "class_imbalance",
        said,
        text("weight the classes in the loss, and judge by balanced accuracy or recall per class"),
        level="fault" if shifted else "advice",
        confidence=0.8 if shifted else 0.6,
        evidence={"largest_over_smallest": ratio, "share_of_largest": share, "difference_to_test": other},
        expected={"largest_over_smallest": f"< {RARE:g}", "difference_to_test": f"< {OTHER_SHARES:g}"},
        change=Change(kind="class_weight"),
    )


# -- errors ------------------------------------------------------------------------------------------------------------------------------


@symptom("noisy_labels", reads=Contents)
def noisy_labels(seen: Contents) -> list[Finding]:
    """Labels that a probe contradicts where it is sure, by confident learning."""
    train = seen.train
    if train is None or not seen.supervised or not train.categorical or train.targets.kind == "multi_hot":
        return []
    if train.probed is None or train.values is None:
        return []
    _, places, predicted = train.probed
    labels = train.values[places].argmax(1)
    known = told_by_probe(train)
    if known is None or predicted.shape[1] < 2 or len(labels) < LEAST_NOISY:
        return []
    better = _better_elsewhere(seen, known[0], len(labels))
    if known[0] < known[1] + 5 * known[2] and (better < FAR_BETTER or not _tells_of_test(seen)):
        return []
    judged = _errors_where_sure(predicted, labels, better, (known[0], known[1]))
    if judged is not None and judged.floor > 1 - 1 / predicted.shape[1]:
        return []  # more than labels drawn by lot: they are in an order of their own
    if judged is None or (train.ordered and _moved(train, "train")):
        return []
    probabilities, every = _all_predicted(train)
    return _noisy(judged, probabilities, every, train.rows, "data")


@symptom("cross_validated_noisy_labels", reads=OutOfSample)
def cross_validated_noisy_labels(seen: OutOfSample) -> list[Finding]:
    """The same by the user's own network, trained without the samples that it judges."""
    labels, probabilities = seen.labels, seen.probabilities
    if len(labels) < LEAST_NOISY or probabilities.shape[1] < 2:
        return []
    score = float((probabilities.argmax(1) == labels).double().mean())
    blind = float(labels.bincount().max() / len(labels))
    if score < blind + 5 * math.sqrt(max(blind * (1 - blind), 0.25 / len(labels)) / len(labels)):
        return []
    better = 0.0 if seen.test_error is None else _beyond_chance(1 - score, len(labels), seen.test_error, seen.test_samples)
    judged = _errors_where_sure(probabilities, labels, better, (score, blind))
    return [] if judged is None else _noisy(judged, probabilities, labels, torch.arange(len(labels)), "controlled")


class _Judged(NamedTuple):
    floor: float  # share of the surest third whose label is contradicted
    error: float  # the same of all
    better: float  # by how much the test part is answered better
    clear: bool


def _errors_where_sure(predicted: Tensor, labels: Tensor, better: float, known: tuple[float, float]) -> _Judged | None:
    """Whether labels are contradicted by predictions (n, K) that were made without them, as wrong labels are and hard samples are not.

    Where classes overlap one errs on the samples that one is unsure of, less among the surest third, and hardly among the surest tenth.
    Wrong labels are everywhere: those err nearly as often. And where the test part's labels are right, one does better on them than on
    those left out of the training part. `known` is the accuracy and that of a constant answer.
    """
    sure = predicted.topk(2, 1).values.diff(dim=1).abs()[:, 0]
    third = sure.topk(round(SURE * len(sure))).indices
    wrong = predicted.argmax(1) != labels
    floor, error = float(wrong[third].double().mean()), float(wrong.double().mean())
    evident = wilson_interval(int(wrong[third].sum()), len(third)).low + better
    told = (known[0] - known[1]) / (1 - known[1])  # what learns little errs where it is sure, too: texts and photographs
    if evident < NOISY or floor < FLAT * error:
        return None
    if better < NOISY and (
        told < TOLD or float(wrong[sure.topk(max(1, round(SUREST * len(sure)))).indices].double().mean()) < STEADY * floor
    ):
        return None
    order = confused_neighbours(predicted, labels)
    spread = order is None or order < NEIGHBOURS  # grades are mistaken for the next ones
    return _Judged(floor, error, better, evident >= VERY_NOISY and (better >= NOISY or (spread and told >= LEARNT)))


def _noisy(judged: _Judged, probabilities: Tensor, labels: Tensor, rows: Tensor, by: str) -> list[Finding]:
    floor, error, better, clear = judged
    suspects = rows[noisy_samples(labels, probabilities)]
    share = max(floor, min(error, noise_share(labels, probabilities)))
    said = text(
        "About {share} of the training labels look wrong: samples {samples}, ... have the look of another class, and are no border cases.",
        share=f"{100 * share:.0f} %", samples=", ".join(map(str, suspects[:5].tolist())),
    )  # fmt: skip
    if by == "controlled":
        said = text("{said} Your own network says so, trained without the samples that it judges.", said=said)
    return established(
        "noisy_labels",
        said,
        text("look at these samples, and correct or leave out those whose label is wrong"),
        by=by,
        where="targets",
        level="fault" if clear else "advice",
        confidence=(0.85 if by == "controlled" else 0.8) if clear else 0.5,
        evidence={
            "error_of_surest_third": floor, "error": error, "better_on_test": better, "samples": suspects[:200].tolist(),
            "samples_looked_at": len(labels),
        },
        expected={"error_of_surest_third": f"< {NOISY:g}, or < {FLAT:g} of the error"},
        change=Change(kind="drop_samples", values={"indices": suspects.tolist(), "part": "train"}),
    )  # fmt: skip


def _all_predicted(train: Part) -> tuple[Tensor, Tensor]:
    """Probabilities (N, K) and labels (N,) of all samples that were read: left out of the probe's fit, or never in it."""
    assert train.probed is not None
    assert train.values is not None
    probe, places, predicted = train.probed
    others = torch.ones(len(train.inputs), dtype=torch.bool)
    others[places] = False
    scores = torch.empty(len(train.inputs), predicted.shape[1])
    scores[places] = predicted
    for few in others.nonzero()[:, 0].split(4000) if bool(others.any()) else ():
        scores[few] = probe.predicted(train.inputs[few])
    return as_probabilities(scores), train.values.argmax(1)


def _better_elsewhere(seen: Contents, score: float, count: int) -> float:
    """By how much the probe errs less on the test part than on left-out training samples, beyond chance; 0 where it does not."""
    across, test = seen.across, seen.test
    if across is None or test is None or seen.train is None or not same_classes(seen.train, test):
        return 0.0
    over = told_by_probe(test, across, test.chosen(len(across)))
    return 0.0 if over is None else _beyond_chance(1 - score, count, 1 - over[0], len(across))


def _beyond_chance(error: float, count: int, other: float, samples: int) -> float:
    """How much smaller the other error is, less two standard errors of the difference; 0 where it is not."""
    chance = 2 * math.sqrt(error * (1 - error) / count + other * (1 - other) / max(samples, 1))
    return max(0.0, error - other - chance)


# -- whose they are ----------------------------------------------------------------------------------------------------------------------


@symptom("labels_misaligned", reads=Contents)
def labels_misaligned(seen: Contents) -> list[Finding]:
    """Targets that belong to other inputs: moved by some rows, in reverse, or in an order of their own."""
    for name, part in parts_of(seen) if seen.supervised else ():
        found = _moved(part, name) if part.ordered else []
        if found:
            return found
    return _own_order(seen)


def _moved(part: Part, name: str) -> list[Finding]:
    """A probe finds more in the inputs about the targets some rows away."""
    values, known = part.values, told_by_probe(part)
    if values is None or known is None or part.probed is None or len(values) < LEAST or _windows(part):
        return []
    score, blind, error = known
    probe, places, predicted = part.probed
    if score - blind > MISALIGNED * (1 - blind):
        return _moved_piece(part, name, places, predicted, values)
    rows = part.rows[places]
    best: tuple[float, int] | None = None
    for shift in SHIFTS:
        moved = (places + shift).clamp(0, len(values) - 1)
        right = part.rows[moved] == rows + shift
        wanted = values[torch.where(right, moved, places)]
        if part.matrix.shape[1] <= 512 and _contained(part, places, wanted):
            return []  # forecasts: what is near in time is among the inputs
        left_out = probe.left_out(wanted, remember=False)
        reached = _score(part, left_out[right], wanted[right])
        if best is None or reached > best[0]:
            best = reached, shift
    if best is None:
        return []
    gained = best[0] - blind
    if gained > max(8 * error, 0.15 * (1 - blind)) and score - blind < MISALIGNED * gained:
        return _misaligned(name, best[1], best[0], score, blind, None)
    return _moved_piece(part, name, places, predicted, values) if score - blind > 5 * error else []


def _moved_piece(part: Part, name: str, places: Tensor, predicted: Tensor, values: Tensor) -> list[Finding]:
    """From some row on the targets are those of other rows: a row was dropped from one of the two only."""
    if not part.categorical or len(places) < PIECES * LEAST:
        return []
    answer, labels = predicted.argmax(1), values.argmax(1)
    for piece in torch.arange(len(places)).chunk(PIECES):
        blind = float(labels[places[piece]].bincount().max() / len(piece))
        scores: dict[int, float] = {}
        for shift in (0, *SHIFTS):
            moved = (places[piece] + shift).clamp(0, len(values) - 1)
            right = part.rows[moved] == part.rows[places[piece]] + shift
            scores[shift] = float((answer[piece][right] == labels[moved[right]]).double().mean()) if bool(right.any()) else 0.0
        best = max(SHIFTS, key=lambda shift: scores[shift])
        gained = scores[best] - blind
        error = 0.5 / math.sqrt(len(piece))
        if gained > max(5 * error, 0.2 * (1 - blind)) and scores[0] - blind < MISALIGNED * gained:
            return _misaligned(name, best, scores[best], scores[0], blind, int(part.rows[places[piece[0]]]))
    return []


def _misaligned(name: str, shift: int, reached: float, score: float, blind: float, first: int | None) -> list[Finding]:
    where = "targets" if name == "train" else "test targets"
    said = text(
        "Row i of the inputs goes with row i {shift} of the targets: a probe scores {reached} on targets so moved, {score} as they "
        "stand, and a constant answer {blind}.",
        shift=f"{'+' if shift > 0 else '-'} {abs(shift)}", reached=f"{reached:.3f}", score=f"{score:.3f}", blind=f"{blind:.3f}",
    )  # fmt: skip
    return _finding(
        "labels_misaligned",
        said,
        text("see where rows were dropped, shifted or sorted in inputs or targets only"),
        confidence=0.9,
        where=where if first is None else f"{where}[{first}:]",
        evidence={"shift": shift, "score": score, "score_moved": reached, "constant": blind},
        expected={"shift": "0", "score": f"about {reached:.2f}"},
    )


def _score(part: Part, predicted: Tensor, wanted: Tensor) -> float:
    if not len(wanted):
        return 0.0
    if part.categorical:
        return float((predicted.argmax(1) == wanted.argmax(1)).double().mean())
    spread = float(((wanted - wanted.mean(0)) ** 2).sum())
    return float(1 - ((predicted - wanted) ** 2).sum() / spread) if spread > 0 else 0.0


def _windows(part: Part) -> bool:
    """Rows are windows of one series: each is the one before it, moved by a step."""
    flat = part.inputs[:200].reshape(min(200, len(part.inputs)), -1).float()
    if part.inputs.dim() == 3:
        steps = part.inputs[:200].float()
        return steps.shape[1] > 2 and len(steps) > 2 and bool(torch.isclose(steps[1:, :-1], steps[:-1, 1:]).float().mean() > 0.9)
    return flat.shape[1] > 2 and len(flat) > 2 and bool(torch.isclose(flat[1:, :-1], flat[:-1, 1:]).float().mean() > 0.9)


def _contained(part: Part, places: Tensor, wanted: Tensor) -> bool:
    """Whether a column of the inputs is these values."""
    if part.categorical or wanted.shape[1] != 1:
        return False
    columns = part.matrix[places]
    centred, target = columns - columns.mean(0), wanted - wanted.mean(0)
    size = centred.norm(dim=0) * target.norm()
    related = (centred * target).sum(0) / size.clamp_min(1e-12)
    return bool((related > 0.999).any())


def _own_order(seen: Contents) -> list[Finding]:
    """Inputs say nothing about the training targets, but much about the test targets."""
    train, test = seen.train, seen.test
    if train is None or test is None or not train.single or not seen.supervised:
        return []
    here, there = told_by_probe(train), told_by_probe(test)
    if here is None or there is None or len(train.inputs) < LEAST or train.categorical != test.categorical:
        return []
    if here[1] > there[1] + OTHER_SHARES:  # hardly another class to be found
        return []
    ordered = _sorted(train)
    at_chance = here[0] < here[1] + 2 * here[2]
    found = there[0] > there[1] + max(5 * there[2], 0.15 * (1 - there[1]))
    small = len(train.inputs) < 0.5 * len(test.inputs)
    if at_chance and found and _tells_of_test(seen):
        return []  # what it learnt from these targets holds: many are wrong, not all
    if not at_chance or not found or (small and here[0] + 4 * here[2] > there[0]):
        return []
    said = text(
        "Inputs of the training part say nothing about its targets (a probe scores {here}, a constant answer {blind}), while those of the "
        "test part do ({there}): the training targets are in another order than the inputs.",
        here=f"{here[0]:.3f}", blind=f"{here[1]:.3f}", there=f"{there[0]:.3f}",
    )  # fmt: skip
    return _finding(
        "labels_misaligned",
        said,
        text("follow one sample from its source to the batch: see where inputs or targets are sorted or shuffled alone"),
        confidence=0.85,
        evidence={"score": here[0], "constant": here[1], "score_of_test": there[0], "targets_sorted": ordered},
        expected={"score": f"about {there[0]:.2f}"},
    )


def _tells_of_test(seen: Contents) -> bool:
    """Whether a probe of the training part's targets answers the test part better than a constant does."""
    if seen.across is None or seen.test is None or seen.train is None or not same_classes(seen.train, seen.test):
        return False
    over = told_by_probe(seen.test, seen.across, seen.test.chosen(len(seen.across)))
    return over is not None and over[0] > over[1] + 4 * over[2]


def _sorted(part: Part) -> bool:
    flat = part.outputs.reshape(len(part.outputs), -1)[:, 0].double()
    return bool((flat.diff() >= 0).all()) or bool((flat.diff() <= 0).all())
