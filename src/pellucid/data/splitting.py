"""Which sample is trained on, which chooses and stops, and which gives the final score.

Equal samples never stand on both sides: a network that has seen a test sample in training is not tested by it. Where the sides are free,
all copies of a sample are dealt to one side together; where they are dictated (by the source, by groups, by time), the copies are taken
out of the earlier side. The same seed gives the same split; no global random state is read or changed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pellucid.core.errors import DataError
from pellucid.core.hashing import equal_groups
from pellucid.core.language import Text, text
from pellucid.core.records import Notice

PARTS = ("train", "validation", "test", "")  # "": left out
TRAIN, VALIDATION, TEST, LEFT_OUT = range(4)

AUTOMATIC_FRACTION = 0.2  # of the samples for the test part, then of the rest for the validation part
# 10 000 samples measure an accuracy of 0.9 to +-0.006: more would only be taken from training. To choose an epoch half of them will do
# (+-0.008), and the validation part is measured after every epoch.
AUTOMATIC_LIMITS = {"test": 10_000, "validation": 5_000}
FEWEST_TO_SPLIT = 10  # distinct samples; with fewer, "auto" holds nothing out


def part_word(part: str) -> Text:
    """What a person calls a part: "training"; "data" where there is only one."""
    return {"train": text("training"), "validation": text("validation"), "test": text("test")}.get(part) or text("data")


@dataclass(frozen=True)
class Split:
    """The part of every sample, and what had to be done to keep the sides apart."""

    parts: np.ndarray  # (N,) int8: TRAIN, VALIDATION, TEST or LEFT_OUT
    notices: Sequence[Notice] = ()
    removed: Sequence[int] = ()  # copies of held-out samples, taken out of training

    def indices(self, part: int) -> np.ndarray:
        return np.flatnonzero(self.parts == part)


@dataclass
class _Question:
    """What is to be split, and how; `pool` are the samples whose part the source leaves open."""

    pool: np.ndarray  # positions
    parts: np.ndarray  # (N,) int8, filled in
    labels: np.ndarray  # (N,) class indices; zeros for a regression
    groups: np.ndarray | None  # (N,) int, one number per group
    times: np.ndarray | None  # (N,) int ranks
    hashes: Sequence[str]
    validation: int  # samples wanted
    test: int
    random: np.random.Generator
    notices: list[Notice] = field(default_factory=list[Notice])


def split(
    samples: int,
    *,
    validation: float | int | str = "auto",
    test: float | int | str = "auto",
    seed: int = 0,
    labels: np.ndarray | None = None,
    groups: np.ndarray | None = None,
    times: np.ndarray | None = None,
    hashes: Sequence[str] = (),
    fixed: np.ndarray | None = None,
) -> Split:
    """Deal `samples` samples to training, validation and test.

    Args:
        validation, test: a fraction of the samples (0.2), how many of them (200), 0 for none, or "auto": 20 % for the test, then 20 %
            of the rest for the validation, at most 10 000 and 5 000. Where the source fixes a part, that part is taken as it is.
        labels: (N,) class indices; every class keeps its share in every part (within one sample) and at least one sample in training.
        groups: (N,) samples of one group stay on one side.
        times: (N,) the latest samples are the test part, those before them the validation part; equal times stay on one side.
        hashes: (N,) content hashes; equal ones stay on one side.
        fixed: (N,) "train", "validation", "test" or "" where the source says so.

    Raises:
        DataError: too few samples, or fractions, counts, groups or times that leave a part empty.
    """
    if samples < 2:
        raise DataError(text("{count} samples", count=samples), text("at least 2 samples"), text("collect more data"))
    parts = np.full(samples, TRAIN, dtype=np.int8)
    if fixed is not None:
        for code, name in enumerate(PARTS[:3]):
            parts[np.asarray(fixed) == name] = code
    question = _Question(
        pool=np.flatnonzero(parts == TRAIN),
        parts=parts,
        labels=np.zeros(samples, dtype=np.int64) if labels is None else np.asarray(labels).reshape(-1),
        groups=None if groups is None else _numbered(groups, text("group")),
        times=None if times is None else _numbered(times, text("time")),
        hashes=hashes,
        validation=0,
        test=0,
        random=np.random.default_rng([seed, 0x5EED]),
    )
    removed = _remove_copies(question)  # between the parts that the source fixes, before the rest is dealt
    question.pool = np.flatnonzero(parts == TRAIN)
    if len(question.pool):
        _decide_sizes(question, validation, test)
        if question.validation or question.test:
            deal = _by_time if times is not None else _by_group if groups is not None else _stratified
            deal(question)
            removed += _remove_copies(question)
    if not (parts == TRAIN).any():
        raise DataError(
            text("no training sample is left: every one is a copy of a validation or test sample"),
            text("training samples that are not in the validation or test part"),
            text("give one source and let pellucid split it, or take the copies out of the test data"),
        )
    if removed:
        question.notices.append(_removal_notice(removed, hashes))
    if groups is not None and fixed is not None:
        _report_straddling_groups(question)
    return Split(parts, tuple(question.notices), tuple(sorted(position for position, _ in removed)))


# -- how many ------------------------------------------------------------------------------------------------------------------------


def _decide_sizes(question: _Question, validation: float | int | str, test: float | int | str) -> None:
    """Turn "auto", fractions and counts into numbers of samples of the pool."""
    pool = len(question.pool)
    given = {part: bool((question.parts == part).any()) for part in (VALIDATION, TEST)}
    for part, wanted in ((VALIDATION, validation), (TEST, test)):
        if given[part] and not isinstance(wanted, str):
            raise DataError(
                text(
                    "{option}={wanted} is asked for, and the data bring their own {part} part",
                    option=PARTS[part],
                    wanted=wanted,
                    part=part_word(PARTS[part]),
                ),
                text("one of the two"),
                text("leave {option} out, or give only the training data", option=PARTS[part]),
            )
    distinct = (
        pool - sum(len(group) - 1 for group in equal_groups(question.hashes[int(i)] for i in question.pool)) if question.hashes else pool
    )
    units = distinct if question.groups is None else min(distinct, len(np.unique(question.groups[question.pool])))
    small = distinct < FEWEST_TO_SPLIT
    automatic = [part for part, wanted in ((VALIDATION, validation), (TEST, test)) if isinstance(wanted, str) and not given[part]]
    if small and automatic:
        question.notices.append(_too_few_to_hold_out(pool, distinct))
    question.test = 0 if given[TEST] else _wanted(test, pool, pool, small, "test")
    question.validation = 0 if given[VALIDATION] else _wanted(validation, pool, pool - question.test, small, "validation")
    held_out = question.test + question.validation
    if held_out >= pool:
        raise DataError(
            text(
                "validation={validation} and test={test} take {held_out} of {pool} samples and leave none to train on",
                validation=validation, test=test, held_out=held_out, pool=pool,
            ),
            text("at least one sample left for training"),
            text("choose smaller parts, for example validation=0.2 and test=0.2"),
        )  # fmt: skip
    asked = 1 + bool(question.test) + bool(question.validation)
    if units < asked:
        if question.groups is not None and units < distinct:
            raise DataError(
                text("the groups have {count} different values", count=units),
                text("at least {asked} groups, one for each part of the split", asked=asked),
                text("group by something finer, or give the test data yourself as a pair (train, test)"),
            )
        raise DataError(
            text("{pool} samples, of which {distinct} are different from each other", pool=pool, distinct=distinct),
            text("at least {asked} different samples, one for each part of the split", asked=asked),
            text("collect more data, or give the test data yourself as a pair (train, test)"),
        )


def _wanted(wanted: float | int | str, pool: int, rest: int, small: bool, name: str) -> int:
    """How many samples a part takes: a fraction is of the whole pool, "auto" of the rest."""
    if isinstance(wanted, str):
        return 0 if small else min(AUTOMATIC_LIMITS[name], max(1, round(AUTOMATIC_FRACTION * rest)))
    if wanted < 0 or wanted != wanted:
        raise DataError(
            text("{name}={wanted}", name=name, wanted=wanted),
            text("a fraction of the samples (0.2) or how many of them (200)"),
            text("choose a positive number"),
        )
    if wanted == 0:
        return 0
    if wanted < 1:
        return max(1, round(wanted * pool))
    if wanted > pool:
        raise DataError(
            text("{name}={wanted} is more than the {pool} samples there are", name=name, wanted=int(wanted), pool=pool),
            text("a fraction of the samples (0.2) or how many of them, fewer than {pool}", pool=pool),
            text("choose a smaller number"),
        )
    return int(wanted)


def _too_few_to_hold_out(pool: int, distinct: int) -> Notice:
    return Notice(
        kind="nothing_held_out",
        summary=text(
            "only {distinct} different samples (of {pool}): too few to hold any out, so all are trained on and nothing tests the network",
            distinct=distinct,
            pool=pool,
        ),
        evidence={"samples": pool, "distinct": distinct, "fewest_to_split": FEWEST_TO_SPLIT},
    )


def _numbered(values: np.ndarray, what: Text) -> np.ndarray:
    """Sortable values as whole numbers 0, 1, ... in their order.

    Raises:
        DataError: a value is missing, or two cannot be compared.
    """
    values = np.asarray(values)
    if values.dtype.kind == "f":
        missing = np.flatnonzero(np.isnan(values))
    elif values.dtype.kind in "mM":
        missing = np.flatnonzero(np.isnat(values))
    elif values.dtype == object:
        missing = np.asarray([i for i, value in enumerate(values.tolist()) if value is None or value != value], dtype=np.int64)
    else:
        missing = np.zeros(0, dtype=np.int64)
    if len(missing):
        raise DataError(
            text("the {what} of {count} samples is missing, first in sample {index}", what=what, count=len(missing), index=int(missing[0])),
            text("a value for every sample: without it nobody knows on which side the sample belongs"),
            text("fill in the missing values, or leave these samples out"),
        )
    try:
        return np.unique(values, return_inverse=True)[1].reshape(-1)
    except TypeError:
        return np.unique([str(value) for value in values.tolist()], return_inverse=True)[1].reshape(-1)


# -- three ways to deal --------------------------------------------------------------------------------------------------------------


def _units(question: _Question) -> list[np.ndarray]:
    """The pool's samples, copies of one sample together."""
    alone = np.ones(len(question.pool), dtype=bool)
    units: list[np.ndarray] = []
    if question.hashes:
        for group in equal_groups(question.hashes[int(i)] for i in question.pool):
            alone[group] = False
            units.append(question.pool[group])
    return [*question.pool[alone].reshape(-1, 1), *units]


def _stratified(question: _Question) -> None:
    """Every class gives its share to every part. Copies go together, so a class with copies may miss its share by their number."""
    units = _units(question)
    by_class: dict[int, list[np.ndarray]] = {}
    for unit in units:
        by_class.setdefault(int(question.labels[unit[0]]), []).append(unit)
    classes = sorted(by_class)
    sizes = np.asarray([sum(len(unit) for unit in by_class[label]) for label in classes])
    free = np.asarray([len(by_class[label]) - 1 for label in classes])  # units that may leave training: one of every class stays
    for label in classes:
        order = question.random.permutation(len(by_class[label]))
        by_class[label] = [by_class[label][i] for i in order]
    for part, wanted in ((TEST, question.test), (VALIDATION, question.validation)):
        quotas = _quotas(sizes, wanted, free, question.random)
        for row, label in enumerate(classes):
            taken, kept = _take(by_class[label], int(quotas[row]), int(free[row]))
            by_class[label] = kept
            free[row] -= len(taken)
            for unit in taken:
                question.parts[unit] = part
        if wanted and not (question.parts[question.pool] == part).any():
            raise DataError(
                text(
                    "no sample can be spared for the {part} part: each of {count} classes has too few",
                    part=part_word(PARTS[part]),
                    count=len(classes),
                ),
                text("classes with at least 3 different samples"),
                text("collect more samples of each class, or join rare classes"),
            )


def _quotas(sizes: np.ndarray, wanted: int, free: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """How many of `wanted` samples each class gives: its share rounded down or up, the largest remainders first."""
    exact = sizes * (wanted / max(1, sizes.sum()))
    quotas = np.minimum(np.floor(exact + 1e-9).astype(np.int64), free)
    tie = random.permutation(len(sizes))
    for row in np.lexsort((tie, -(exact - np.floor(exact + 1e-9)))):
        if quotas.sum() >= wanted:
            break
        if quotas[row] < min(free[row], np.ceil(exact[row] - 1e-9)):
            quotas[row] += 1
    return quotas


def _take(units: list[np.ndarray], quota: int, free: int) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Units whose samples number at most `quota` and come as near to it as going through them once allows."""
    taken: list[np.ndarray] = []
    kept: list[np.ndarray] = []
    filled = 0
    for unit in units:
        if len(taken) < free and filled + len(unit) <= quota:
            taken.append(unit)
            filled += len(unit)
        else:
            kept.append(unit)
    if not taken and quota and free:  # every unit is larger than the quota: the smallest comes nearest
        smallest = min(range(len(kept)), key=lambda i: len(kept[i]))
        taken.append(kept.pop(smallest))
    return taken, kept


def _by_group(question: _Question) -> None:
    """Deal whole groups, large ones first, each to the part that lacks its classes most."""
    assert question.groups is not None
    pool = question.pool
    numbers, inverse = np.unique(question.groups[pool], return_inverse=True)
    classes, labels = np.unique(question.labels[pool], return_inverse=True)
    counts = np.zeros((len(numbers), len(classes)))
    np.add.at(counts, (inverse, labels), 1)
    wanted = {TRAIN: len(pool) - question.test - question.validation, VALIDATION: question.validation, TEST: question.test}
    parts = [part for part, size in wanted.items() if size]
    share = counts.sum(axis=0) / len(pool)
    desired = np.stack([wanted[part] * share for part in parts])  # (parts, classes)
    filled = np.zeros_like(desired)
    side = np.zeros(len(numbers), dtype=np.int64)
    shuffled = question.random.permutation(len(numbers))
    for group in shuffled[np.argsort(-counts[shuffled].sum(axis=1), kind="stable")]:
        here = counts[group]
        growth = (here * (here + 2 * (filled - desired)) / np.maximum(desired, 1e-9)).sum(axis=1)
        side[group] = int(growth.argmin())
        filled[side[group]] += here
    for missing in set(range(len(parts))) - set(side.tolist()):  # give it the smallest group of the part with the most groups
        donor = np.bincount(side, minlength=len(parts)).argmax()
        candidates = np.flatnonzero(side == donor)
        side[candidates[counts[candidates].sum(axis=1).argmin()]] = missing
    question.parts[pool] = np.asarray(parts, dtype=np.int8)[side[inverse]]


def _by_time(question: _Question) -> None:
    """The latest samples are the test part, those before them the validation part. A group counts where its latest sample stands."""
    assert question.times is not None
    pool = question.pool
    ranks = question.times[pool]
    if question.groups is not None:
        latest = np.full(question.groups.max() + 1, -1)
        np.maximum.at(latest, question.groups[pool], ranks)
        ranks = latest[question.groups[pool]]
    order = np.argsort(ranks, kind="stable")
    moments = ranks[order]
    cuts = np.flatnonzero(np.diff(moments)) + 1  # places where a later time begins: equal times stay together
    end = len(pool)
    wanted_parts = [(part, wanted) for part, wanted in ((TEST, question.test), (VALIDATION, question.validation)) if wanted]
    for part, wanted in wanted_parts:
        reserve = 1 if part == TEST and question.validation else 0  # the earliest cut is left for the validation part
        possible = cuts[cuts < end][reserve:]
        if not len(possible):
            raise DataError(
                text("the samples have {count} different times", count=len(np.unique(ranks))),
                text("at least {count} different times, so that each part has its own", count=1 + len(wanted_parts)),
                text("use a finer time, or leave time out"),
            )
        start = int(possible[np.abs(possible - (end - wanted)).argmin()])
        question.parts[pool[order[start:end]]] = part
        end = start


# -- keeping the sides apart ---------------------------------------------------------------------------------------------------------


def _remove_copies(question: _Question) -> list[tuple[int, int]]:
    """Where sides are dictated, a sample may stand on two: its copies leave training, and validation if the test has it too.

    Returns (position, part it was in) of each copy taken out.
    """
    removed: list[tuple[int, int]] = []
    for group in equal_groups(question.hashes):
        sides = [int(side) for side in question.parts[group] if side != LEFT_OUT]
        last = max(sides, default=LEFT_OUT)
        for position in group:
            if question.parts[position] < last != LEFT_OUT:
                removed.append((position, int(question.parts[position])))
                question.parts[position] = LEFT_OUT
    return removed


def _removal_notice(removed: list[tuple[int, int]], hashes: Sequence[str]) -> Notice:
    train = sum(part == TRAIN for _, part in removed)
    return Notice(
        kind="duplicates_across_parts",
        summary=text(
            "{count} samples stand in more than one part; their copies were taken out: {train} of training, {validation} of validation",
            count=len({hashes[position] for position, _ in removed}),
            train=train,
            validation=len(removed) - train,
        ),
        evidence={"removed": len(removed), "from_train": train, "from_validation": len(removed) - train},
    )


def _report_straddling_groups(question: _Question) -> None:
    assert question.groups is not None
    sides: dict[int, set[int]] = {}
    for group, part in zip(question.groups.tolist(), question.parts.tolist(), strict=True):
        if part != LEFT_OUT:
            sides.setdefault(group, set()).add(part)
    straddling = sum(len(parts) > 1 for parts in sides.values())
    if straddling:
        question.notices.append(
            Notice(
                kind="groups_across_parts",
                summary=text(
                    "{count} of {groups} groups stand in more than one of the parts you gave: the test may be too optimistic",
                    count=straddling,
                    groups=len(sides),
                ),
                evidence={"groups": straddling, "of": len(sides)},
            )
        )


def class_counts(parts: np.ndarray, labels: np.ndarray, classes: int) -> dict[str, Any]:
    """How many samples of each class every part holds: {"train": (K,), ...}."""
    return {PARTS[part]: np.bincount(labels[parts == part], minlength=classes) for part in (TRAIN, VALIDATION, TEST)}
