"""What is to be learnt: classes or numbers? Decided from the target's values, said with its reason, and never against an explicit task."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl

from pellucid.core.errors import DataError
from pellucid.core.language import Text, text
from pellucid.core.records import Notice, Task
from pellucid.data.tables.columns import as_number_series
from pellucid.data.tables.parsing import (
    MISSING_AMONG_NUMBERS,
    MISSING_IN_LABELS,
    as_text,
    number_notation,
    parse_numbers,
    stripped,
    without,
)

FEW_CLASSES = 20  # whole numbers with up to so many different values are classes ...
ROWS_PER_CLASS = 3  # ... where each has at least so many rows on average
MANY_CLASSES = 1000  # up to so many, 0, 1, 2, ... without a gap and evenly filled, are classes too: the indices of a large data set
_EVEN = 0.2  # the rarest of many classes must have this share of the mean number of rows
_LARGEST_TARGET = 1e150  # its square is still a float64
_NUMBER_SHARE = 0.9  # from this share of numbers on, a target of texts is one of numbers with stray words


@dataclass
class TargetChoice:
    """A target, understood. `values` of rows that are not `usable` mean nothing: class 0, or NaN."""

    task: Task
    values: np.ndarray  # classification: (N,) int64 class indices; regression: (N, outputs) float64
    usable: np.ndarray  # (N,) bool: rows with a target that can be learnt
    reasons: dict[int, Text] = field(default_factory=dict[int, Text])  # unusable row -> why
    notices: list[Notice] = field(default_factory=list[Notice])


def choose_task(
    values: Any, task: str = "auto", *, name: str = "target", training: np.ndarray | None = None, decimal_comma: bool = False
) -> TargetChoice:
    """Classes or numbers: what the target's (N,) values are, with the class names in natural order.

    Texts and truth values are classes. Whole numbers are classes where they are few: at most 20 different ones with three rows each on
    average, or two; or class indices 0 to K-1, evenly filled. All other numbers are a regression. `training` marks the rows (N,) that
    decide which classes there are, where the split is given.

    Raises:
        DataError: no values, one value only, or values that do not suit the task asked for.
    """
    series = values if isinstance(values, pl.Series) else pl.Series(values)
    if series.dtype in (pl.Categorical, pl.Enum, pl.Null):
        series = series.cast(pl.String)
    if series.dtype.is_nested() or series.dtype in (pl.Binary, pl.Object, pl.Date, pl.Datetime):
        raise DataError(
            text("the target {name!r} holds {type} values", name=name, type=str(series.dtype)),
            text("classes (texts, truth values, whole numbers) or numbers"),
            text("name another column as the target, or turn its values into numbers"),
        )
    if series.dtype == pl.String:
        return _from_texts(stripped(series), task, name, training, decimal_comma)
    if series.dtype == pl.Boolean:
        if task == "regression":
            return _numbers(series.cast(pl.Float64), name)
        return _classes(series.cast(pl.String), task, name, training, text("it holds truth values"))
    return _from_numbers(as_number_series(series), task, name, training)


def several_numbers(columns: Sequence[pl.Series], task: str, names: Sequence[str], decimal_comma: bool = False) -> TargetChoice:
    """Several regression targets: (N, outputs)."""
    if task == "classification":
        raise DataError(
            text("{count} target columns: {names}", count=len(names), names=list(names)),
            text("one column of classes"),
            text("name one of them, or use --task regression for several numbers"),
        )
    pairs = zip(columns, names, strict=True)
    choices = [choose_task(column, "regression", name=name, decimal_comma=decimal_comma) for column, name in pairs]
    reasons: dict[int, Text] = {}
    for choice in choices:
        for row, reason in choice.reasons.items():
            reasons.setdefault(row, reason)
    return TargetChoice(
        Task(kind="regression", targets=tuple(names)),
        np.concatenate([choice.values for choice in choices], axis=1),
        np.asarray(np.stack([choice.usable for choice in choices]).all(axis=0)),
        reasons,
        [notice for choice in choices for notice in choice.notices],
    )


# -- texts ---------------------------------------------------------------------------------------------------------------------------


def _from_texts(texts: pl.Series, task: str, name: str, training: np.ndarray | None, decimal_comma: bool) -> TargetChoice:
    present = without(texts.unique().drop_nulls(), MISSING_IN_LABELS).drop_nulls()
    if not present.len():
        raise _nothing(name, texts.len())
    candidates = without(present, MISSING_AMONG_NUMBERS).drop_nulls()
    notation, wrong = number_notation(candidates, decimal_comma) if candidates.len() else ("plain", candidates)
    numbers = candidates.len() - wrong.len()
    codes = bool(candidates.str.contains(r"^0\d{2,}$").any())
    if numbers and not codes and (wrong.len() == 0 or task == "regression" or (numbers > FEW_CLASSES and task == "auto")):
        cleaned = without(texts, MISSING_AMONG_NUMBERS)
        parsed = parse_numbers(cleaned, notation)
        stray = cleaned.is_not_null() & parsed.is_null()
        share = 1 - (stray.sum() or 0) / max(1, cleaned.len() - cleaned.null_count())
        if not stray.any() or task == "regression" or share >= _NUMBER_SHARE:
            choice = _from_numbers(parsed, task, name, training)
            for row in stray.arg_true().to_list():
                choice.reasons[row] = text("the target is {value!r}, not a number", value=str(cleaned[row])[:60])
            return choice
    if task == "regression":
        row = int(texts.is_not_null().arg_true()[0])
        raise DataError(
            text("the target {name!r} holds texts, for example {value!r} in row {row}", name=name, value=str(texts[row])[:60], row=row + 1),
            text("numbers, because the task is regression"),
            text("use --task classification, or name a column of numbers"),
        )
    return _classes(without(texts, MISSING_IN_LABELS), task, name, training, text("it holds texts"))


def _nothing(name: str, rows: int) -> DataError:
    return DataError(
        text("the target {name!r} is empty in all {rows} rows", name=name, rows=rows),
        text("a value to learn in every row"),
        text("name another column as the target"),
    )


# -- numbers -------------------------------------------------------------------------------------------------------------------------


def _from_numbers(numbers: pl.Series, task: str, name: str, training: np.ndarray | None) -> TargetChoice:
    finite = numbers.set(numbers.is_infinite().fill_null(False), None)
    present = finite.drop_nulls()
    if not present.len():
        raise _nothing(name, numbers.len())
    kind, why = (task, None) if task != "auto" else _kind_of_numbers(present)
    if kind == "classification":
        distinct = present.unique()
        names = pl.Series([number_label(value) for value in distinct.to_list()], dtype=pl.String)
        labels = finite.replace_strict(distinct, names, default=None, return_dtype=pl.String)
        choice = _classes(labels, task, name, training, why)
    else:
        choice = _numbers(finite, name)
        if why is not None:
            whole = bool((present == present.round(0)).all())
            other = text("; for classes use --task classification") if whole else Text("")
            choice.notices.append(
                Notice(
                    kind="task",
                    summary=text("{name!r} is read as numbers (a regression): {why}{other}", name=name, why=why, other=other),
                    where=name,
                )
            )
    for row in (finite.is_null() & numbers.is_not_null()).arg_true().to_list():
        choice.reasons[row] = text("the target is infinite")
    return choice


def _kind_of_numbers(present: pl.Series) -> tuple[str, Text]:
    distinct = present.unique()
    different, rows = distinct.len(), present.len()
    low, high = float(present.min()), float(present.max())  # type: ignore[arg-type]
    if not bool((distinct == distinct.round(0)).all()):
        return "regression", text("it holds fractions")
    if different <= 2 or (different <= FEW_CLASSES and rows >= ROWS_PER_CLASS * different):
        return "classification", text("it holds {count} different whole numbers, {low:g} to {high:g}", count=different, low=low, high=high)
    if low == 0 and high == different - 1 and different <= MANY_CLASSES and rows >= ROWS_PER_CLASS * different:
        counts = present.value_counts()["count"].to_numpy()
        if counts.min() >= _EVEN * counts.mean():
            return "classification", text("it holds the whole numbers 0 to {high:g}, each about equally often", high=high)
    return "regression", text("it holds {count} different whole numbers, {low:g} to {high:g}", count=different, low=low, high=high)


def number_label(value: float) -> str:
    """A number as the name of a class: 2.0 is "2"."""
    return str(int(value)) if value == int(value) and abs(value) < 2**53 else repr(value)


def _numbers(numbers: pl.Series, name: str) -> TargetChoice:
    present = numbers.drop_nulls()
    if not present.len():
        raise _nothing(name, numbers.len())
    if present.n_unique() == 1:
        raise _constant(name, number_label(float(present[0])), present.len())
    values = numbers.to_numpy().astype(np.float64).reshape(-1, 1)
    usable = ~np.isnan(values[:, 0])
    _check_magnitude(values[usable], name)
    reasons = {int(row): text("the target {name!r} is missing", name=name) for row in np.flatnonzero(~usable)}
    return TargetChoice(Task(kind="regression", targets=(name,)), values, usable, reasons)


def _check_magnitude(values: np.ndarray, name: str) -> None:
    """Raises DataError where the squares that a regression needs are beyond the range of 64-bit floats."""
    largest, spread = float(np.abs(values).max()), float((values.max() / 2 - values.min() / 2) * 2)
    if largest > _LARGEST_TARGET or spread < 1 / _LARGEST_TARGET:
        raise DataError(
            text("the target {name!r} goes up to {largest:g} in size and varies by {spread:g}", name=name, largest=largest, spread=spread),
            text("numbers up to 1e+150 that vary by more than 1e-150, whose squares a computer can hold"),
            text("give it in another unit, so that its values are near 1"),
        )


def _constant(name: str, value: str, rows: int) -> DataError:
    return DataError(
        text("the target {name!r} is {value!r} in all {rows} rows", name=name, value=value, rows=rows),
        text("a target that varies: there is nothing to learn from one value"),
        text("name another column as the target, or add samples with other values"),
    )


# -- classes -------------------------------------------------------------------------------------------------------------------------


def natural_order(label: str) -> tuple[Any, ...]:
    """Numbers by size, texts by their letters with the numbers inside by size: "2" < "10", "class 2" < "class 10"."""
    try:
        number = float(label)
        if math.isfinite(number):
            return (0, number, label)
    except ValueError:
        pass
    return (1, [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in re.split(r"(\d+)", label) if part], label)


def _classes(labels: pl.Series, task: str, name: str, training: np.ndarray | None, why: Text | None) -> TargetChoice:
    notices: list[Notice] = []
    reasons = {row: text("the target {name!r} is missing", name=name) for row in labels.is_null().arg_true().to_list()}
    if training is not None:
        labels = _same_labels(labels, training, name, notices)
    decisive = labels if training is None else labels.filter(pl.Series(training))
    counts = {str(label): int(count) for label, count in decisive.drop_nulls().value_counts().iter_rows()}
    rows = sum(counts.values())
    if not counts:
        raise _nothing(name, labels.len())
    if len(counts) == 1:
        raise _constant(name, next(iter(counts)), rows)
    if len(counts) > max(FEW_CLASSES, rows // 2) or (len(counts) == rows and rows > 2):
        raise DataError(
            text("the target {name!r} has {classes} different values in {rows} rows", name=name, classes=len(counts), rows=rows),
            text("classes that occur several times each"),
            text("name another column as the target; for numbers use --task regression"),
        )
    kept = {label for label, count in counts.items() if count > 1}
    lonely = sorted((label for label in counts if label not in kept), key=natural_order)
    if training is not None:
        known = set(counts)
    else:
        known = kept if len(kept) >= 2 else set(counts)
        if lonely and len(kept) < 2:
            raise DataError(
                text("the classes {labels} of {name!r} have one sample each, and {rest} has the others",
                     labels=lonely[:5], name=name, rest=repr(next(iter(kept))))
                if kept
                else text("every class of {name!r} has one sample only: {labels}", name=name, labels=lonely[:5]),
                text("at least two classes with at least two samples each"),
                text("add samples of these classes"),
            )  # fmt: skip
        if lonely:
            notices.append(_lonely_notice(lonely, name))
    classes = tuple(sorted(known, key=natural_order))
    index = {label: number for number, label in enumerate(classes)}
    codes = labels.replace_strict(index, default=-1, return_dtype=pl.Int64).fill_null(-1).to_numpy().copy()
    usable = codes >= 0
    for row in np.flatnonzero(~usable).tolist():
        if row not in reasons:
            label = labels[row]
            reasons[row] = (
                text("the only sample of the class {label!r}", label=label)
                if counts.get(label) == 1
                else text("the class {label!r} does not occur in the training part", label=label)
            )
    codes[~usable] = 0
    notices += _label_notices(classes, counts, name)
    if task == "auto" and why is not None:
        other = text("; for numbers use --task regression") if all(natural_order(label)[0] == 0 for label in classes) else Text("")
        notices.append(
            Notice(
                kind="task",
                summary=text("{name!r} is read as {count} classes (a classification): {why}{other}", name=name, count=len(classes), why=why,
                             other=other),
                where=name,
            )
        )  # fmt: skip
    return TargetChoice(Task(kind="classification", targets=(name,), classes=classes), codes, usable, reasons, notices)


def _lonely_notice(lonely: list[str], name: str) -> Notice:
    return Notice(
        kind="rare_class",
        summary=text(
            "classes of {name!r} with one sample only are left out, because they cannot be both learnt and tested: {labels}",
            name=name, labels=[repr(label) for label in lonely[:10]],
        ),
        where=name,
        evidence={"classes": lonely},
    )  # fmt: skip


def _same_labels(labels: pl.Series, training: np.ndarray, name: str, notices: list[Notice]) -> pl.Series:
    """The other parts' labels as the training part writes them: "<=50K." is "<=50K" where no label of the training part has the dot."""
    known = set(labels.filter(pl.Series(training)).drop_nulls().to_list())
    renamed = matching_labels({str(label) for label in labels.filter(pl.Series(~training)).drop_nulls().to_list()} - known, known)
    if not renamed:
        return labels
    notices.append(renamed_notice(renamed, name))
    return labels.replace(renamed)


def matching_labels(strange: set[str], known: set[str]) -> dict[str, str]:
    """strange label -> the known one it must be: equal but for a dot at the end or the case of its letters."""
    lowered: dict[str, list[str]] = {}
    for label in known:
        lowered.setdefault(label.lower(), []).append(label)
    renamed: dict[str, str] = {}
    for label in strange:
        for candidate in (label.rstrip("."), label):
            if candidate in known:
                renamed[label] = candidate
                break
            if len(lowered.get(candidate.lower(), [])) == 1:
                renamed[label] = lowered[candidate.lower()][0]
                break
    return renamed


def renamed_notice(renamed: dict[str, str], name: str) -> Notice:
    pairs = [f"{old!r} -> {new!r}" for old, new in sorted(renamed.items())]
    return Notice(
        kind="renamed_labels",
        summary=text("labels of {name!r} that are written differently are read as the known ones: {pairs}", name=name, pairs=pairs[:10]),
        where=name,
        evidence={"renamed": renamed},
    )


def _label_notices(classes: tuple[str, ...], counts: dict[str, int], name: str) -> list[Notice]:
    notices: list[Notice] = []
    absent = [label for label in classes if label in MISSING_AMONG_NUMBERS]
    if absent:
        notices.append(
            Notice(
                kind="missing_or_class",
                summary=text(
                    "{label!r} occurs {count} times in {name!r} and is read as a class; leave these cells empty if it means no value",
                    label=absent[0], count=counts.get(absent[0], 0), name=name,
                ),
                where=name,
            )
        )  # fmt: skip
    by_case: dict[str, list[str]] = {}
    for label in classes:
        by_case.setdefault(label.lower(), []).append(label)
    twins = next((labels for labels in by_case.values() if len(labels) > 1), None)
    if twins:
        notices.append(
            Notice(
                kind="similar_classes",
                summary=text("classes of {name!r} differ only in the case of their letters: {labels}", name=name, labels=twins),
                where=name,
            )
        )
    return notices


# -- again, in new data --------------------------------------------------------------------------------------------------------------


def read_known_target(columns: Sequence[pl.Series], task: Task, *, decimal_comma: bool = False) -> TargetChoice:
    """The targets of new data, as the classes or numbers a network was trained on; what does not fit is not usable, and says why."""
    if task.kind == "regression":
        read = [_known_numbers(column, name, decimal_comma) for column, name in zip(columns, task.targets, strict=True)]
        reasons: dict[int, Text] = {}
        for _, wrong in read:
            reasons = {**wrong, **reasons}
        values = np.stack([numbers for numbers, _ in read], axis=1)
        return TargetChoice(task, values, np.asarray(np.isfinite(values).all(axis=1)), reasons)
    name, known = task.targets[0], set(task.classes)
    labels = without(as_text(columns[0].cast(pl.String) if columns[0].dtype in (pl.Categorical, pl.Enum) else columns[0]), frozenset([""]))
    if columns[0].dtype == pl.String and not (set(labels.unique().drop_nulls().to_list()) & known):
        # classes that are numbers: "1.0" in this file is the class "1"
        numbers = labels.cast(pl.Float64, strict=False)
        if numbers.null_count() == labels.null_count():
            labels = as_text(numbers)
    notices: list[Notice] = []
    renamed = matching_labels({str(label) for label in labels.unique().drop_nulls().to_list()} - known, known)
    if renamed:
        labels = labels.replace(renamed)
        notices.append(renamed_notice(renamed, name))
    index = {label: number for number, label in enumerate(task.classes)}
    codes = labels.replace_strict(index, default=-1, return_dtype=pl.Int64).fill_null(-1).to_numpy().copy()
    unknown = {
        int(row): text("the target {name!r} is missing", name=name)
        if labels[int(row)] is None or labels[int(row)] in MISSING_IN_LABELS
        else text("the class {label!r} does not occur in the training part", label=labels[int(row)])
        for row in np.flatnonzero(codes < 0).tolist()
    }
    usable = np.asarray(codes >= 0)
    codes[~usable] = 0
    return TargetChoice(task, codes, usable, unknown, notices)


def _known_numbers(column: pl.Series, name: str, decimal_comma: bool) -> tuple[np.ndarray, dict[int, Text]]:
    if column.dtype != pl.String:
        numbers = as_number_series(column)
        texts = column.cast(pl.String, strict=False)
    else:
        texts = without(stripped(column), MISSING_AMONG_NUMBERS)
        numbers = parse_numbers(texts, number_notation(texts.unique().drop_nulls(), decimal_comma)[0])
    numbers = numbers.set(numbers.is_infinite().fill_null(False), None)
    reasons = {
        int(row): text("the target {name!r} is missing", name=name)
        if texts[int(row)] is None
        else text("the target is {value!r}, not a number", value=str(texts[int(row)])[:60])
        for row in numbers.is_null().arg_true().to_list()
    }
    return numbers.fill_null(float("nan")).to_numpy().astype(np.float64), reasons
