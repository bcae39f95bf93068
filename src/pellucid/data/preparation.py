"""From Samples to what training takes: split, preprocessing fitted on the training part alone, the ledger of it all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from pellucid.core.errors import DataError
from pellucid.core.language import sample_name, text
from pellucid.core.records import Notice, Task
from pellucid.core.wording import counted
from pellucid.data.kinds import PreprocessingKind, preprocessing_kind_of
from pellucid.data.ledger import Ledger
from pellucid.data.samples import Prepared, ResidentPart, Samples
from pellucid.data.splitting import FEWEST_TO_SPLIT, LEFT_OUT, TEST, TRAIN, VALIDATION, Split, class_counts, part_word, split


def prepare(
    samples: Samples,
    *,
    validation: float | int | str = "auto",
    test: float | int | str = "auto",
    seed: int = 0,
    ledger: Ledger | None = None,
    preprocessing: Any = None,
) -> Prepared:
    """Split `samples` and make them ready for a network.

    With the `ledger` (and the `preprocessing`) of an earlier run the split and the scaling are exactly those of that run.

    Raises:
        DataError: no target, one class, a class seen once, a constant target, or a split that cannot be made.
    """
    task = samples.task
    if task is None:
        raise DataError(
            text("the data have no target"), text("inputs and what to learn from them"), text("name the target column, or give (X, y)")
        )
    kind = preprocessing_kind_of(samples.kind)
    notices = list(samples.notices)
    if ledger is not None:
        divided = _divided_again(samples, ledger, notices)
    else:
        _check_targets(samples, task)
        validation, test = _possible(samples, kind, validation, test, notices)
        divided = _divide(samples, task, validation, test, seed)
        _check_sides(samples, task, divided, notices)
        ledger = Ledger.of(samples, divided, seed=seed, validation=validation, test=test)
    notices += [*divided.notices, *_duplicate_notices(ledger), *_quarantine_notices(samples)]
    train = divided.indices(TRAIN)
    fitted = kind.fit(samples, train) if preprocessing is None else preprocessing
    task = getattr(fitted, "task", task)  # with what only the training part could tell, such as a series' season
    notices += getattr(fitted, "notices", ())
    parts = {part: kind.part(samples, divided.indices(part), fitted) for part in (TRAIN, VALIDATION, TEST)}
    return Prepared(
        task=task,
        input_shape=_input_shape(fitted, parts[TRAIN]),
        train=parts[TRAIN],
        validation=parts[VALIDATION],
        test=parts[TEST],
        preprocessing=fitted,
        ledger=ledger,
        notices=notices,
        facts=getattr(fitted, "facts", {}),
        mirrorable=_is_mirrorable(samples),
    )


def _is_mirrorable(samples: Samples) -> bool:
    """Whether images may be mirrored left to right: as the source says, else photographs, which colour is taken for."""
    if samples.mirrorable is not None:
        return samples.mirrorable
    return samples.kind == "images" and samples.inputs.shape[1] == 3


def _input_shape(preprocessing: Any, train: Any) -> tuple[int, ...]:
    shape = getattr(preprocessing, "input_shape", None)
    if shape is None:
        assert isinstance(train, ResidentPart)
        shape = train.inputs.shape[1:]
    return tuple(int(size) for size in shape)


# -- splitting -----------------------------------------------------------------------------------------------------------------------


def _divide(samples: Samples, task: Task, validation: float | int | str, test: float | int | str, seed: int) -> Split:
    return split(
        len(samples),
        validation=validation,
        test=test,
        seed=seed,
        labels=samples.targets if task.kind == "classification" else None,
        groups=samples.groups,
        times=samples.times,
        hashes=samples.hashes if any(samples.hashes) else (),
        fixed=samples.fixed_parts,
    )


def _possible(
    samples: Samples, kind: PreprocessingKind, validation: float | int | str, test: float | int | str, notices: list[Notice]
) -> tuple[float | int | str, float | int | str]:
    """The parts that can be taken from training: none from a DataLoader that chooses its samples in its own way."""
    reason = kind.indivisible(samples)
    if reason is None:
        return validation, test
    given = set(np.unique(samples.fixed_parts).tolist()) if samples.fixed_parts is not None else set[str]()
    asked = {"validation": validation, "test": test}
    for name, wanted in asked.items():
        if not isinstance(wanted, str) and wanted > 0:
            raise DataError(
                text("{name}={wanted} is asked for, and {reason}", name=name, wanted=wanted, reason=reason),
                text("data that can be split, or parts that are given"),
                text("give (train, validation, test), or a Dataset instead of the DataLoader"),
            )
    missing = [name for name in asked if name not in given]
    if missing:
        summary = text(
            "{reason}, so nothing is taken from it for: {missing}; give (train, validation, test) to have them",
            reason=reason,
            missing=[part_word(name) for name in missing],
        )
        notices.append(Notice(kind="nothing_held_out", summary=summary, evidence={"missing": missing}))
    return ("auto" if "validation" in given else 0), ("auto" if "test" in given else 0)


def _divided_again(samples: Samples, ledger: Ledger, notices: list[Notice]) -> Split:
    """The split of an earlier run, also where some of the data have changed since."""
    codes = ledger.codes_for(samples)
    differences = ledger.compare(samples)
    if not (codes == TRAIN).any():
        raise DataError(
            differences.summary(), text("the data that the run was trained on"), text("give the same data, or start a new training")
        )
    if differences:
        notices.append(Notice(kind="data_changed", summary=differences.summary(), evidence=differences.to_dict()))
    return Split(codes, (), ledger.removed)


# -- checks --------------------------------------------------------------------------------------------------------------------------


def _check_targets(samples: Samples, task: Task) -> None:
    if samples.targets is None or task.kind in ("forecasting", "segmentation"):  # series and masks are checked where they are read
        return
    if task.kind == "regression":
        values = np.asarray(samples.targets).reshape(len(samples), -1)
        for column, name in enumerate(task.targets):
            if len(values) > 1 and (values[:, column] == values[0, column]).all():
                raise DataError(
                    text("the target {name!r} is {value:g} in all {count} samples", name=name, value=values[0, column], count=len(values)),
                    text("a target that varies"),
                    text("choose another target: there is nothing to learn"),
                )
        return
    counts = np.bincount(samples.targets, minlength=len(task.classes))
    present = np.flatnonzero(counts)
    if len(present) < 2:
        raise DataError(
            text("every sample belongs to the class {name!r}", name=task.classes[int(present[0])] if len(present) else "-"),
            text("at least two classes"),
            text("add samples of another class, or choose another target"),
        )
    once = np.flatnonzero(counts == 1)
    if len(once) and samples.fixed_parts is None and len(samples) >= FEWEST_TO_SPLIT:
        raise DataError(
            text("{count} classes have a single sample: {classes}", count=len(once), classes=[task.classes[index] for index in once[:10]]),
            text("at least 2 samples of every class: one to learn from and one to test with"),
            text("leave these samples out, join rare classes into one, or collect more of them"),
        )


def _check_sides(samples: Samples, task: Task, divided: Split, notices: list[Notice]) -> None:
    """What the split has done to the classes."""
    if task.kind != "classification" or samples.targets is None:
        if task.kind == "regression" and samples.targets is not None:
            _check_spread(np.asarray(samples.targets)[divided.indices(TRAIN)], task)
        return
    counts = class_counts(divided.parts, samples.targets, len(task.classes))
    for part in ("validation", "test"):
        unseen = np.flatnonzero((counts["train"] == 0) & (counts[part] > 0))
        if not len(unseen):
            continue
        names = [task.classes[index] for index in unseen[:10]]
        if samples.fixed_parts is not None and part in samples.fixed_parts:
            raise DataError(
                text("the classes {classes} stand only in the {part} part", classes=names, part=part_word(part)),
                text("classes that the training part has too"),
                text("add training samples of these classes, or take them out of the {part} part", part=part_word(part)),
            )
        summary = text("the classes {classes} stand only in the {part} part: they cannot be learnt", classes=names, part=part_word(part))
        notices.append(Notice(kind="unseen_classes", summary=summary, where=part, evidence={"classes": names}))
    if not np.count_nonzero(counts["train"]) >= 2:
        raise DataError(
            text("the training part has samples of one class only"),
            text("at least two classes in the training part"),
            text("group or sort by time more finely, or leave group and time out"),
        )


def _check_spread(values: np.ndarray, task: Task) -> None:
    values = values.reshape(len(values), -1)
    constant = np.flatnonzero((values == values[0]).all(axis=0)) if len(values) > 1 else []
    if len(constant):
        raise DataError(
            text("the target {name!r} is the same in the whole training part", name=task.targets[int(constant[0])]),
            text("a target that varies in the training part"),
            text("group or sort by time more finely, or leave group and time out"),
        )


def _duplicate_notices(ledger: Ledger) -> Sequence[Notice]:
    notices: list[Notice] = []
    kept = [group for group in ledger.duplicates if sum(ledger.codes[position] != LEFT_OUT for position in group) > 1]
    if kept:
        copies = sum(len(group) - 1 for group in kept)
        example = [sample_name(ledger.identifiers[position]) for position in kept[0][:4]]
        notices.append(
            Notice(
                kind="duplicate_samples",
                summary=counted(
                    copies,
                    text("one of {samples} samples is an exact copy of another ({example}); both stay together",
                         samples=ledger.samples, example=example),
                    text("{copies} of {samples} samples are exact copies of others (such as {example}); all copies of one stay together",
                         copies=copies, samples=ledger.samples, example=example),
                ),
                evidence={"groups": len(kept), "copies": copies, "samples": ledger.samples},
            )
        )  # fmt: skip
    if ledger.contradictions:
        example = [sample_name(ledger.identifiers[position]) for position in ledger.contradictions[0][:4]]
        count = sum(len(group) for group in ledger.contradictions)
        notices.append(
            Notice(
                kind="contradictory_samples",
                summary=text(
                    "{count} samples have equal inputs but different targets (such as {example}): no network can answer all of them right",
                    count=count, example=example,
                ),
                evidence={"groups": len(ledger.contradictions), "samples": count},
            )
        )  # fmt: skip
    return notices


def _quarantine_notices(samples: Samples) -> Sequence[Notice]:
    if not samples.quarantined or any(notice.kind == "quarantined" for notice in samples.notices):
        return []
    shown = [item.summary for item in samples.quarantined[:5]]
    return [
        Notice(
            kind="quarantined",
            summary=text("samples left out: {count} ({shown})", count=len(samples.quarantined), shown=shown),
            evidence={"count": len(samples.quarantined)},
        )
    ]
