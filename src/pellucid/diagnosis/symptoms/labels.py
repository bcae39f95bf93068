"""Labels that do not say what the loss takes them to say: their code, their shares, their errors, and whose they are."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from pellucid.core.language import Text, text
from pellucid.core.numerics import wilson_interval
from pellucid.core.records import Change, Finding
from pellucid.diagnosis.comparisons import VALUE_LOSSES
from pellucid.diagnosis.contents import Contents, Part, Term, established, parts_of
from pellucid.diagnosis.label_noise import as_probabilities, noise_share, noisy_samples
from pellucid.diagnosis.probes import Probe, indicator
from pellucid.diagnosis.registry import symptom
from pellucid.diagnosis.relations import recoded, same_classes, told_by_probe

PROBABILITIES = ("binary_cross_entropy", "binary_cross_entropy_with_logits")  # of targets in [0, 1]
SIGNS = ("soft_margin_loss", "hinge_embedding_loss", "margin_ranking_loss", "cosine_embedding_loss")  # of targets -1 and 1
INDICES = ("cross_entropy", "nll_loss", "multi_margin_loss")
IGNORED = -100  # torch's ignore_index
RANKED = 20  # classes from which whole numbers are rather a measure
NEIGHBOURS = 1.5  # times as many confusions between neighbouring numbers as between any two: an order
RARE = 20.0  # times as many samples in the largest class as in the smallest
ALMOST_ALL = 0.95  # share of the largest class from which a constant answer looks good
OTHER_SHARES = 0.25  # half the sum of the differences of the classes' shares between the parts
SURE = 1 / 3  # of the samples: those on which a probe is surest
FLAT = 0.45  # of the error of all samples that the surest third has: errors that have nothing to do with how hard a sample is
# Share of labels that look wrong among the surest third (lower end of its interval) plus by how much the probe does better on the test
# part. Of 48 healthy sets the largest was 0.083 (41 below 0.02) but for grades; with 10 % of wrong labels 0.03 to 0.15, with 20 % from
# 0.13: benchmarks/LOG.md.
NOISY, VERY_NOISY = 0.05, 0.1
LEARNT = 0.4  # of the way from a constant answer's score to a perfect one, that a probe must get to be believed against a label
SHIFTS = (1, -1, 2, -2, 3, -3, 4, -4, 5, -5)
MISALIGNED = 0.3  # of what a shift finds, that the order as it stands may find
LEAST, LEAST_NOISY = 60, 100
PIECES = 8


def _finding(
    cause: str, said: Text, remedy: Text, *, confidence: float, evidence: dict[str, object], expected: dict[str, str],
    level: str = "fault", where: str = "targets", change: Change | None = None,
) -> list[Finding]:  # fmt: skip
    return established(
        cause, said, level=level, confidence=confidence, where=where, evidence=evidence, expected=expected, remedy=remedy, change=change
    )


# -- code --------------------------------------------------------------------------------------------------------------------------------


@symptom("label_encoding", reads=Contents)
def label_encoding(seen: Contents) -> list[Finding]:
    """Numbers that stand for classes and that the loss reads as something else."""
    train = seen.train
    if train is None:
        return []
    for term in seen.terms:
        if term.original:
            found = _outside(term, train) or _rows_without_class(term, train)
            if found:
                return found
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
    places = train.chosen(2000)
    order = _neighbours(Probe(train.inputs[places], train.kind).left_out(indicator(labels[places], count)), labels[places])
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
        change=Change(kind="targets_as_classes"),
    )  # fmt: skip


def _neighbours(predicted: Tensor, labels: Tensor) -> float | None:
    """How often the class that a sample is taken for, or would be next, is a neighbouring number, over chance; None below four classes."""
    count = predicted.shape[1]
    if count < 4:
        return None
    scores = predicted.clone()
    scores[torch.arange(len(labels)), labels] = -math.inf
    near = float(((scores.argmax(1) - labels).abs() == 1).float().mean())
    pairs = sum((1 if label in (0, count - 1) else 2) * float((labels == label).float().mean()) for label in range(count))
    return near / (pairs / (count - 1))


def _parts_encoded_apart(seen: Contents) -> list[Finding]:
    """The test part's classes are numbered otherwise, or are not those of the training part."""
    train, test = seen.train, seen.test
    if train is None or test is None or not train.categorical or train.labels is None or test.labels is None or train.targets.distinct < 2:
        return []
    if not same_classes(train, test) and train.targets.kind != "one_hot" and test.targets.kind != "one_hot":
        known = train.outputs.reshape(-1).unique() if train.whole is None else train.whole[1].reshape(-1).unique()
        strange = ~torch.isin(test.outputs.reshape(-1), known)
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


# -- shares ------------------------------------------------------------------------------------------------------------------------------


@symptom("single_class_labels", reads=Contents)
def single_class_labels(seen: Contents) -> list[Finding]:
    """All training targets are the same."""
    train = seen.train
    if train is None or len(train.outputs) < 2 or train.outputs.is_complex():
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
    if train is None or not train.categorical or train.labels is None or len(train.labels) < LEAST or seen.loses(*VALUE_LOSSES):
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
    """Labels that a probe contradicts where it is sure, by confident learning.

    Where classes overlap a probe errs on the samples it is unsure of, and hardly among the surest third. Wrong labels are spread over all:
    the surest third errs nearly as often. And where the test part's labels are right, the probe does better on them than on those it left
    out of the training part.
    """
    train = seen.train
    if train is None or not train.categorical or train.probed is None or train.values is None or train.targets.kind == "multi_hot":
        return []
    _, places, predicted = train.probed
    labels = train.values[places].argmax(1)
    known = told_by_probe(train)
    if known is None or predicted.shape[1] < 2 or len(labels) < LEAST_NOISY or known[0] < known[1] + 5 * known[2]:
        return []
    sure = predicted.topk(2, 1).values.diff(dim=1).abs()[:, 0]
    third = sure.topk(round(SURE * len(sure))).indices
    wrong = predicted.argmax(1) != labels
    floor, error = float(wrong[third].double().mean()), float(wrong.double().mean())
    better = _better_elsewhere(seen, error, len(labels))
    evident = wilson_interval(int(wrong[third].sum()), len(third)).low + better
    if evident < NOISY or floor < FLAT * error or (train.ordered and _moved(train, "train")):
        return []
    order = _neighbours(predicted, labels)
    told = (known[0] - known[1]) / (1 - known[1])  # a probe that learns little errs where it is sure, too: texts and photographs
    spread = order is None or order < NEIGHBOURS  # grades are mistaken for the next ones
    clear = evident >= VERY_NOISY and (better >= NOISY or (spread and told >= LEARNT))
    probabilities, every = _all_predicted(train)
    suspects = train.rows[noisy_samples(every, probabilities)]
    share = max(floor, min(error, noise_share(every, probabilities)))
    return _finding(
        "noisy_labels",
        text("About {share} of the training labels look wrong: samples {samples}, ... have the look of another class, and are no border "
             "cases.", share=f"{100 * share:.0f} %", samples=", ".join(map(str, suspects[:5].tolist()))),
        text("look at these samples, and correct or leave out those whose label is wrong"),
        level="fault" if clear else "advice",
        confidence=0.8 if clear else 0.5,
        evidence={
            "error_of_surest_third": floor, "error": error, "better_on_test": better, "samples": suspects[:200].tolist(),
            "samples_looked_at": len(every),
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


def _better_elsewhere(seen: Contents, error: float, count: int) -> float:
    """By how much the probe errs less on the test part than on left-out training samples, beyond chance; 0 where it does not."""
    across, test = seen.across, seen.test
    if across is None or test is None or seen.train is None or not same_classes(seen.train, test):
        return 0.0
    over = told_by_probe(test, across, test.chosen(len(across)))
    if over is None:
        return 0.0
    other = 1 - over[0]
    chance = 2 * math.sqrt(error * (1 - error) / count + other * (1 - other) / len(across))
    return max(0.0, error - other - chance)


# -- whose they are ----------------------------------------------------------------------------------------------------------------------


@symptom("labels_misaligned", reads=Contents)
def labels_misaligned(seen: Contents) -> list[Finding]:
    """Targets that belong to other inputs: moved by some rows, in reverse, or in an order of their own."""
    for name, part in parts_of(seen):
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
    if train is None or test is None:
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


def _sorted(part: Part) -> bool:
    flat = part.outputs.reshape(len(part.outputs), -1)[:, 0].double()
    return bool((flat.diff() >= 0).all()) or bool((flat.diff() <= 0).all())
