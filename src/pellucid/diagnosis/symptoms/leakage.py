"""What the test part should not have shown before."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from pellucid.core.language import text
from pellucid.core.numerics import wilson_interval
from pellucid.core.records import Change, Finding
from pellucid.diagnosis.data.contents import KEYED, PROBED, Contents, Part, runs
from pellucid.diagnosis.data.probes import Probe
from pellucid.diagnosis.data.relations import told_by_probe
from pellucid.diagnosis.experiments.samples import evenly
from pellucid.diagnosis.findings import established
from pellucid.diagnosis.registry import symptom

COPIES, MANY_COPIES = 0.005, 0.02  # share of test samples that stand in the training part: worth a word, and a fault
LEAST_COPIES = 3
BY_CHANCE = 3.0  # times as many copies between the parts as within one: more than the data's own repetitions
REPEATED = 0.1  # share of test samples that stand in the training part, from which copies made before the split are a fault
CONTINUOUS = 0.02  # chance that two samples agree in a column of measurements, at most
SAME = 0.95  # of the copies have the target of the sample that they copy: measurements that were repeated differ
CHANCE_PAIRS = 0.5  # expected chance copies of one sample among all, from which repetitions are natural
NEAR = 0.05  # of the distance to the NEIGHBOURS-th neighbour: a near duplicate
NEIGHBOURS = 50
DIMENSIONS = 4.0  # in fewer, samples come near each other by chance
TWINS, MANY_TWINS = 0.05, 0.2
QUERIES = 500  # test samples whose neighbours are looked for
LARGEST_SEARCH = 20_000  # training samples among which
EASY = 0.98  # accuracy of a probe
APART = 3.0  # times as far are the classes apart in a column, as they are wide
ROWS = 50  # samples before a column is said to tell the target
COLUMNS = 0.05  # share of the columns that may tell it; where more do, the classes are just easy
EQUAL, NEARLY = 0.99999, 0.999  # correlation of a column with the target
IDENTIFIERS = 20  # values of a column that may number persons
AGAIN = 0.8  # share of the test samples whose value the training part has
TOLD = 0.5  # of the way from a constant answer to a perfect one, that the value alone tells
TABLE_COLUMNS = 512


@symptom("data_leakage", reads=Contents)
def data_leakage(seen: Contents) -> list[Finding]:
    """Test samples, or the persons or places they come from, in the training part; or a column that is the target."""
    columns = (_telling_columns(seen) or _identifier(seen)) if seen.supervised else []
    return [*(_shared_groups(seen) or _copies(seen) or _twins(seen)), *columns]


# -- groups ------------------------------------------------------------------------------------------------------------------------------


def _shared_groups(seen: Contents) -> list[Finding]:
    """A person, recording or place of the test part that the training part has seen, by the groups that the user gave."""
    experiment = seen.experiment
    if experiment is None or experiment.groups is None:
        return []
    known = [(groups, evenly(len(groups), KEYED).numpy()) for groups in experiment.groups]
    ours, theirs = (groups[places] for groups, places in known)
    inside, leaked = np.isin(theirs, ours), np.isin(ours, theirs)
    count, share = int(inside.sum()), float(inside.mean())
    if not count:
        return []
    both, every = np.unique(theirs[inside]), len(np.unique(theirs))
    here, there = (places[chosen] for (_, places), chosen in zip(known, (leaked, inside), strict=True))
    part, dropped = ("train", here) if 2 * len(here) < len(experiment.groups[0]) else ("test", there)
    droppable = len(dropped) < 0.9 * len(experiment.groups[part == "test"])
    return established(
        "data_leakage",
        text(
            "{count} of the {groups} groups of the test part are in the training part too ({names}): {share} of the test samples come from "
            "a group that the network was trained on, and their score says nothing about new groups.",
            count=len(both), groups=every, names=", ".join(map(str, both[:3].tolist())) + (", ..." if len(both) > 3 else ""),
            share=f"{100 * share:.1f} %",
        ),
        by="data",
        level="fault" if share >= MANY_COPIES else "advice",
        confidence=0.95,
        where="test inputs",
        evidence={
            "shared_groups": len(both), "groups_of_test": every, "share_of_test": share, "samples_of_shared_groups_in_train": len(here),
            "groups": [str(group) for group in both[:50].tolist()], "test_samples": there[:200].tolist(), **_by_groups(seen, inside, known),
        },
        expected={"shared_groups": "0", "share_of_test": "0"},
        remedy=text(
            "split by group, so that all samples of one person, recording or place are in one part "
            "(sklearn.model_selection.GroupShuffleSplit)"
        ),
        change=Change(kind="drop_samples", values={"indices": dropped.tolist(), "part": part}) if droppable else None,
    )  # fmt: skip


def _by_groups(seen: Contents, inside: np.ndarray, known: list[tuple[np.ndarray, np.ndarray]]) -> dict[str, float]:
    """What a probe of the training part scores on test samples of groups it has seen, and of new ones, where there are enough of both."""
    across, test = seen.across, seen.test
    if across is None or test is None or test.values is None or not test.categorical or seen.train is None or not seen.train.categorical:
        return {}
    places = test.chosen(len(across))
    if across.shape != test.values[places].shape:
        return {}
    met = np.isin(test.rows[places].numpy(), known[1][1][inside])
    right = (across.argmax(1) == test.values[places].argmax(1)).numpy()
    if min(met.sum(), (~met).sum()) < ROWS:
        return {}
    return {"probe_on_shared_groups": float(right[met].mean()), "probe_on_new_groups": float(right[~met].mean())}


def _identifier(seen: Contents) -> list[Finding]:
    """A column that numbers persons or places: each of its values has a target of its own, and neighbouring values have nothing in common.

    A measurement tells the target as well, but then the targets of its neighbouring values are alike.
    """
    train, test = seen.train, seen.test
    if train is None or test is None or seen.kind != "table" or train.inputs.shape[1:] != test.inputs.shape[1:]:
        return []
    if train.values is None or test.values is None or train.values.shape[1:] != test.values.shape[1:] or len(test.inputs) < ROWS:
        return []
    found: list[tuple[int, int, float, float, float]] = []
    several = (train.columns.distinct >= IDENTIFIERS) & (train.columns.distinct <= min(2000, len(train.inputs)) // 2)
    for column in several.nonzero()[:TABLE_COLUMNS, 0].tolist():
        scores = _by_lookup(train, test, column)
        if scores is not None:
            found.append((column, *scores))
    if not found:
        return []
    column, values, own, near, blind = max(found, key=lambda one: one[2])
    return established(
        "data_leakage",
        text(
            "Column {column} of the inputs looks like the number of a person or a thing: it has {values} values, which come again in both "
            "parts, and the value alone tells the target ({own}; the neighbouring values {near}, a constant answer {blind}).",
            column=column, values=values, own=f"{own:.3f}", near=f"{near:.3f}", blind=f"{blind:.3f}",
        ),
        by="data",
        level="advice",  # where the same persons are asked about later on, it is no leak
        confidence=0.6,
        where=f"inputs[:, [{column}]]",
        evidence={
            "columns": [one[0] for one in found][:50], "values": values, "score": own, "score_of_neighbours": near, "constant": blind,
        },
        expected={"score": f"about {near:.2f}, as its neighbours"},
        remedy=text(
            "leave the column out, and split by it, so that all samples of one person or thing are in one part "
            "(sklearn.model_selection.GroupShuffleSplit)"
        ),
        change=Change(kind="drop_features", values={"columns": [column]}),
    )  # fmt: skip


def _by_lookup(train: Part, test: Part, column: int) -> tuple[int, float, float, float] | None:
    """How many values the column has, and the scores on the test part of the mean target of the same value, of the values beside it, and
    of a constant answer; None where the column is no identifier by them."""
    assert train.values is not None
    assert test.values is not None
    known, place, number = train.matrix[:, column].unique(return_inverse=True, return_counts=True)
    count = len(known)
    asked = test.matrix[:, column].contiguous()
    at = torch.searchsorted(known, asked).clamp(max=count - 1)
    again = known[at] == asked
    # each value several times, and most of them on both sides: a measurement's values come once, a category's are few
    if count < IDENTIFIERS or float(number.double().median()) < 2 or float(again.double().mean()) < AGAIN:
        return None
    sums = torch.zeros(count, train.values.shape[1]).index_add_(0, place, train.values)
    before, after = (at - 1).clamp(min=0), (at + 1).clamp(max=count - 1)
    own = sums[at] / number[at, None]
    near = (sums[before] + sums[after]) / (number[before] + number[after])[:, None]
    places = again.nonzero()[:, 0]
    alone, others = told_by_probe(test, own[again], places), told_by_probe(test, near[again], places)
    if alone is None or others is None or len(places) < ROWS:
        return None
    (mine, blind, error), beside = alone, others[0]
    learnt = mine - blind
    if learnt < max(TOLD * (1 - blind), 5 * error) or beside - blind > max(0.2 * learnt, 2 * error):
        return None
    if train.categorical and beside < float(train.values.mean(0).square().sum()) - 0.2 * learnt:
        return None  # neighbours that are always another class, as odd and even numbers: a function of the value
    return count, mine, beside, blind


# -- copies ------------------------------------------------------------------------------------------------------------------------------


def _copies(seen: Contents) -> list[Finding]:
    """The same inputs in both parts."""
    train, test = seen.train, seen.test
    if train is None or test is None or train.inputs.shape[1:] != test.inputs.shape[1:] or train.matrix.shape[1] == 0:
        return []
    ours, theirs = train.keys, test.keys
    shared = torch.isin(theirs, ours)
    count, share = int(shared.sum()), float(shared.double().mean())
    if len(ours) < train.size:
        share = min(1.0, share * train.size / len(ours))  # of a sample of the training part
    if count < LEAST_COPIES or share < COPIES:
        return []
    every = len(ours) == train.size and len(theirs) == test.size
    if every and count == len(theirs) == len(ours):
        return _same_part(train)
    _, place, number = ours.unique(return_inverse=True, return_counts=True)
    within = float((number[place] > 1).double().mean())
    natural = _chance_copies(train) > CHANCE_PAIRS
    usual = share <= BY_CHANCE * within
    if natural and usual:
        return []
    # rows that were repeated before the split repeat within the training part as often as across
    fault = share >= MANY_COPIES and (not usual or (not natural and share >= REPEATED and _copied(train, test, shared)))
    leaked = train.positions[torch.isin(ours, theirs[shared])]
    return established(
        "data_leakage",
        text(
            "{count} test samples ({share}) have the same inputs as training samples; within the training part {within} are repeated.",
            count=count, share=f"{100 * share:.1f} %", within=f"{100 * within:.1f} %",
        ),
        by="data",
        level="fault" if fault else "advice",
        confidence=0.9 if fault else 0.6,
        where="test inputs",
        evidence={
            "shared": count, "share_of_test": share, "repeated_in_train": within,
            "test_samples": test.positions[shared][:200].tolist(), "train_samples": leaked[:200].tolist(),
        },
        expected={"share_of_test": f"< {COPIES:g}"},
        remedy=text("remove duplicates before splitting, or take these samples out of the training part"),
        change=Change(kind="drop_samples", values={"indices": leaked.tolist(), "part": "train"}) if 2 * len(leaked) < train.size else None,
    )  # fmt: skip


def _same_part(train: Part) -> list[Finding]:
    return established(
        "data_leakage",
        text("The test part is the training part: its score says nothing about new samples."),
        by="data",
        level="fault" if train.size >= ROWS else "advice",  # a handful of samples that is all there is, such as XOR
        confidence=0.9,
        where="test",
        evidence={"share_of_test": 1.0},
        expected={"share_of_test": f"< {COPIES:g}"},
        remedy=text("hold samples back for the test part"),
    )


def _chance_copies(part: Part) -> float:
    """How many equal rows a row would have in the part if columns were drawn apart: few values in few columns repeat by themselves."""
    if part.kind in ("images", "sequences") and part.matrix.shape[1] > 64:
        return 0.0
    # columns depend on each other: they count half, by which tables of codes repeat themselves and measurements do not (the tests' sets)
    return part.size * math.exp(0.5 * sum(math.log(chance) for chance in _agreements(part)))


def _agreements(part: Part) -> list[float]:
    """The chance that two samples agree, for each column."""
    chances: list[float] = []
    for column in part.matrix[part.chosen(1000)].sort(0).values.T[:256]:
        counts = column.unique_consecutive(return_counts=True)[1].double()
        chances.append(float((counts * (counts - 1)).sum()) / (len(column) * max(1, len(column) - 1)) or 1.0 / len(column))
    return chances


def _copied(train: Part, test: Part, shared: Tensor) -> bool:
    """Whether the samples of both parts are copies that somebody made and no repetitions of the data's own: measurements in two columns or
    more, the same target, and in some classes alone, as who balances classes before parting the data. Real tables repeat rows in all.
    """
    if train.kind != "table" or sum(chance < CONTINUOUS for chance in _agreements(train)) < 2:
        return False
    ours, theirs = (part.whole[1] if part.whole is not None and len(part.keys) == part.size else part.outputs for part in (train, test))
    known, order = train.keys.sort()
    places = order[torch.searchsorted(known, test.keys[shared])]
    same = ours[places] == theirs[shared] if ours.shape[1:] == theirs.shape[1:] else torch.zeros(1)
    return float(same.double().mean()) >= SAME and _of_some_classes(train, ours)


def _of_some_classes(train: Part, targets: Tensor) -> bool:
    """Whether rows of one class are repeated and rows of another are not."""
    values = targets.reshape(len(targets), -1)
    labels = values.argmax(1) if values.shape[1] > 1 else values[:, 0]
    _, place, number = train.keys.unique(return_inverse=True, return_counts=True)
    repeated = (number[place] > 1).double()
    _, kind, rows = labels.unique(return_inverse=True, return_counts=True)
    if len(rows) > len(labels) / ROWS:
        return False  # values and no classes
    shares = (torch.zeros(len(rows), dtype=torch.float64).index_add_(0, kind, repeated) / rows)[rows >= ROWS]
    return len(shares) > 1 and float(shares.min()) < COPIES and float(shares.max()) >= REPEATED


def _twins(seen: Contents) -> list[Finding]:
    """Test samples that are all but equal to a training sample, although there is room."""
    train, test = seen.train, seen.test
    if train is None or test is None or train.probed is None or train.inputs.shape[1:] != test.inputs.shape[1:]:
        return []
    if seen.kind == "tokens" or len(test.inputs) < LEAST_COPIES or not train.columns.finite or not test.columns.finite:
        return []
    probe = train.probed[0]
    base = train.whole[0] if train.whole is not None else train.inputs
    base = base[runs(len(base), LARGEST_SEARCH)] if base[0].numel() <= 1000 else train.inputs
    few = test.inputs[test.chosen(QUERIES)]
    points = torch.cat([probe.represented(some) for some in base.split(4000)])
    if len(points) < 2 * NEIGHBOURS or points.shape[1] == 0:
        return []
    nearest = _nearest(probe.represented(few), points)
    dimension = math.log(2) / max(1e-6, float((nearest[:, -1] / nearest[:, NEIGHBOURS // 2 - 1].clamp_min(1e-12)).log().median()))
    ratio = nearest[:, 0] / nearest[:, -1].clamp_min(1e-12)
    near = (nearest[:, 0] > 1e-6 * nearest[:, -1]) & (ratio < NEAR)
    share = float(near.double().mean())
    chance = NEIGHBOURS * NEAR**dimension
    low = wilson_interval(int(near.sum()), len(near)).low
    if dimension < DIMENSIONS or _chance_copies(train) > CHANCE_PAIRS or low < max(TWINS, 5 * chance) or int(near.sum()) < LEAST_COPIES:
        return []
    fault = low >= MANY_TWINS
    return established(
        "data_leakage",
        text(
            "{share} of the test samples have a training sample {ratio} times nearer than its other neighbours: near copies, or samples of "
            "one and the same thing, are in both parts.",
            share=f"{100 * share:.0f} %", ratio=f"{1 / NEAR:.0f}",
        ),
        by="data",
        level="fault" if fault else "advice",
        confidence=0.75 if fault else 0.55,
        where="test inputs",
        evidence={
            "share_of_test": share, "by_chance": chance, "test_samples": test.rows[test.chosen(QUERIES)][near][:200].tolist(),
            "dimension": dimension,
        },
        expected={"share_of_test": f"< {TWINS:g}"},
        remedy=text("split by the thing the samples come from (person, recording, page), and make variants of samples after splitting"),
    )  # fmt: skip


def _nearest(points: Tensor, among: Tensor) -> Tensor:
    """Distances (n, NEIGHBOURS), ascending; exact copies are at distance 0."""
    found: list[Tensor] = []
    squares = among.square().sum(1)
    for some in points.split(256):
        distance = (some.square().sum(1)[:, None] + squares - 2 * some @ among.T).clamp_min(0)
        nearest = distance.topk(NEIGHBOURS, largest=False)
        exact = (some[:, None] - among[nearest.indices]).norm(dim=2)  # the formula above loses digits where it is small
        found.append(exact.sort(1).values)
    return torch.cat(found)


# -- columns -----------------------------------------------------------------------------------------------------------------------------


def _telling_columns(seen: Contents) -> list[Finding]:
    """Columns that are the target, in its own or another code."""
    train = seen.train
    if train is None or len(train.inputs) < ROWS or train.matrix.shape[1] < 2 or not train.columns.finite:
        return []
    if train.categorical:
        columns = _class_columns(train)
        exact = bool(columns) and not _told_without(train, columns)
    else:
        columns, exact = _value_columns(train)
    exact = exact and seen.kind != "sequences"  # what one time step tells may be what the network is to remember
    if not columns or len(columns) > max(_indicators(train), COLUMNS * train.matrix.shape[1]) or len(columns) == train.matrix.shape[1]:
        return []
    listed = ", ".join(map(str, columns[:5]))
    return established(
        "data_leakage",
        text("Column {columns} of the inputs is the target in another form: it tells the target of every sample.", columns=listed)
        if exact
        else text("Column {columns} of the inputs alone all but tells the target.", columns=listed),
        by="data",
        level="fault" if exact else "advice",
        confidence=0.85 if exact else 0.5,
        where=f"inputs[:, [{listed}]]",
        evidence={"columns": columns[:50]},
        expected={"columns": "none"},
        remedy=text("leave out what is only known once the target is"),
        change=Change(kind="drop_features", values={"columns": columns}),
    )


def _indicators(part: Part) -> int:
    """How many columns of a one-hot target there may be."""
    return part.values.shape[1] if part.values is not None and part.categorical else 1


def _class_columns(part: Part) -> list[int]:
    """Columns in which the classes lie apart as copies of the label do; or one column for each class, as one-hot labels do."""
    labels, values = part.labels, part.matrix
    if labels is None:
        return []
    classes = int(labels.max()) + 1
    if classes < 2 or int(labels.bincount(minlength=classes).min()) < 5 or classes > 50:
        return []
    low = torch.stack([values[labels == label].amin(0) for label in range(classes)])
    high = torch.stack([values[labels == label].amax(0) for label in range(classes)])
    ordered = low.sort(0)
    gaps = ordered.values[1:] - high.gather(0, ordered.indices)[:-1]  # from one class to the next, (K - 1, D)
    width = (high - low).amax(0)
    even = gaps.amax(0) < 1.1 * gaps.amin(0) + width  # codes of classes stand at equal distances
    alone = (gaps.amin(0) > APART * width) & (gaps.amin(0) > 0) & even
    if bool(alone.any()):
        return alone.nonzero()[:, 0].tolist()
    marks: dict[int, int] = {}
    if classes > 2:  # a column that is high for one class only, for each of the classes but one
        for label in range(classes):
            others = torch.cat([low[:label], low[label + 1 :]]), torch.cat([high[:label], high[label + 1 :]])
            spread = torch.maximum(others[1].amax(0) - others[0].amin(0), high[label] - low[label])
            apart = low[label] - others[1].amax(0)
            own = ((apart > APART * spread) & (apart > 0)).nonzero()[:, 0]
            if len(own) == 1:
                marks[label] = int(own)
    return sorted(marks.values()) if len(marks) >= classes - 1 else []


def _told_without(part: Part, columns: list[int]) -> bool:
    """Whether the other columns tell the classes as well: then these are just easy, unless the column has one value for each class."""
    labels, values = part.labels, part.values
    if labels is None or values is None or len(part.matrix[:, columns[0]].unique()) == len(labels.unique()):
        return False
    kept = [place for place in range(part.matrix.shape[1]) if place not in columns]
    places = part.chosen(PROBED)
    predicted = Probe(part.matrix[places][:, kept], "table").left_out(values[places])
    return float((predicted.argmax(1) == labels[places]).float().mean()) > EASY


def _value_columns(part: Part) -> tuple[list[int], bool]:
    """Columns that are a straight function of the target; and whether exactly, all other columns knowing less."""
    flat = part.outputs.reshape(len(part.outputs), -1).double()
    if flat.shape[1] != 1 or not bool(flat.isfinite().all()) or part.targets.distinct < 5:
        return [], False
    values = part.matrix.double()
    centred, target = values - values.mean(0), flat - flat.mean(0)
    size = centred.norm(dim=0) * target.norm()
    related = ((centred * target).sum(0) / size.clamp_min(1e-300)).abs()
    equal = (related > EQUAL) & (size > 0)
    if bool(equal.any()):
        return equal.nonzero()[:, 0].tolist(), True
    nearly = ((related > NEARLY) & (size > 0)).nonzero()[:, 0].tolist()
    return nearly, False
