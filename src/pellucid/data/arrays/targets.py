"""y of arrays: class indices, names, truth values, one-hot rows, numbers, or several numbers per sample."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pellucid.core.errors import DataError
from pellucid.core.hashing import hash_rows, hash_text
from pellucid.core.language import text
from pellucid.core.records import Notice, Task
from pellucid.data.arrays.checks import as_array, check_finite
from pellucid.data.splitting import FEWEST_TO_SPLIT


@dataclass
class Targets:
    """y, understood."""

    task: Task
    values: np.ndarray  # (N,) int64 class indices, or (N, outputs) float64
    notices: list[Notice] = field(default_factory=list[Notice])


def read_targets(
    value: Any, count: int, task: str = "auto", names: Sequence[str] = (), what: str = "y", training: np.ndarray | None = None
) -> Targets:
    """y of `count` samples: class indices, names, truth values, one-hot rows, numbers or several numbers per sample.

    `training` marks the samples (N,) that decide which classes there are, where the user has split the data.

    Raises:
        DataError: another length, missing values, one class, a constant, or numbers that do not suit the task.
    """
    array = as_array(value, what)
    if array.ndim == 0 or len(array) != count:
        raise _other_length(count, what, array)
    if count < 2:
        raise DataError(text("{count} samples", count=count), text("at least 2 samples"), text("collect more data"))
    check_finite(array, what)
    notices: list[Notice] = []
    if array.ndim > 2 and array[0].size == 1:
        array = array.reshape(count, 1)
    if array.ndim > 2 or (array.ndim == 2 and not array.shape[1]):
        raise DataError(
            text("{what} has shape {shape}", what=what, shape=str(array.shape)),
            text("(samples,) or (samples, outputs)"),
            text("give one class or one row of numbers per sample"),
        )
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim == 2:
        if task != "regression" and _is_one_hot(array):
            notices.append(
                Notice(
                    kind="one_hot",
                    summary=text("{what} has one 1 in every row of {columns}: it is read as {columns} classes, one-hot encoded",
                                 what=what, columns=array.shape[1]),
                )
            )  # fmt: skip
            classes = tuple(names) if len(names) == array.shape[1] else tuple(str(index) for index in range(array.shape[1]))
            return Targets(Task(kind="classification", classes=classes), array.argmax(axis=1).astype(np.int64), notices)
        return _several_numbers(array, task, names, what)
    return _one_column(array, task, names[0] if len(names) == 1 else "target", training, notices)


def _one_column(array: np.ndarray, task: str, name: str, training: np.ndarray | None, notices: list[Notice]) -> Targets:
    from pellucid.data.targets import choose_task  # polars, which reading images or digits does without

    if (
        training is None and len(array) < FEWEST_TO_SPLIT
    ):  # all are trained on, as the four rows of a truth table: each class may be met once
        training = np.ones(len(array), dtype=bool)
    choice = choose_task(array.astype(np.float64) if array.dtype == np.float16 else array, task, name=name, training=training)
    unusable = np.flatnonzero(~choice.usable)
    if len(unusable):
        first = int(unusable[0])
        raise DataError(
            text("{count} targets cannot be learnt, the first is that of sample {index}: {reason}",
                 count=len(unusable), index=first, reason=choice.reasons.get(first, text("it is missing"))),
            text("a target for every sample, and every class at least twice in the training data"),
            text("leave these samples out, join rare classes into one, or collect more of them"),
        )  # fmt: skip
    return Targets(choice.task, choice.values, [*notices, *choice.notices])


def _other_length(count: int, what: str, array: np.ndarray) -> DataError:
    return DataError(
        text("X has {samples} samples and {what} has {targets}", samples=count, what=what, targets=len(array) if array.ndim else 0),
        text("one target per sample"),
        text("check that X and {what} come from the same rows, in the same order", what=what),
    )


def _is_one_hot(array: np.ndarray) -> bool:
    if array.dtype.kind not in "biuf":
        return False
    return bool(((array == 0) | (array == 1)).all() and (array.sum(axis=1) == 1).all())


def _several_numbers(array: np.ndarray, task: str, names: Sequence[str], what: str) -> Targets:
    outputs = array.shape[1]
    if task == "classification" or array.dtype.kind in "US":
        raise DataError(
            text("{what} has {outputs} columns that are not one-hot, and the task is classification", what=what, outputs=outputs),
            text("one class per sample: shape (samples,)"),
            text("give one column of {what} at a time, or the numbers as a regression", what=what),
        )
    values = array.astype(np.float64)
    constant = np.flatnonzero((values == values[0]).all(axis=0))
    if len(constant) and len(values) > 1:
        raise DataError(
            text(
                "column {column} of {what} is {value:g} in every sample", column=int(constant[0]), what=what, value=values[0, constant[0]]
            ),
            text("targets that vary"),
            text("leave this column out: there is nothing to learn"),
        )
    notices: list[Notice] = []
    if ((array == 0) | (array == 1)).all():
        notices.append(
            Notice(
                kind="several_labels",
                summary=text(
                    "{what} holds {outputs} columns of zeros and ones, several of them 1 in one row: read as {outputs} numbers to predict",
                    what=what, outputs=outputs,
                ),
            )
        )  # fmt: skip
    targets = tuple(names) if len(names) == outputs else tuple(f"target {index}" for index in range(outputs))
    return Targets(Task(kind="regression", targets=targets), values, notices)


def encode_new_targets(value: Any, count: int, task: Task, what: str = "y") -> np.ndarray:
    """y of new data for a trained network: (N,) class indices, or (N, outputs) numbers.

    Raises:
        DataError: another length, classes that the network does not know, or texts where numbers were learnt.
    """
    array = as_array(value, what)
    if array.ndim == 0 or len(array) != count:
        raise _other_length(count, what, array)
    check_finite(array, what)
    array = array.reshape(count, -1)
    outputs = len(task.targets) if task.kind == "regression" else len(task.classes) if _is_one_hot(array) and array.shape[1] > 1 else 1
    if array.shape[1] != outputs or (task.kind == "regression" and array.dtype.kind in "US"):
        raise DataError(
            text("{what} has shape {shape} and type {dtype}", what=what, shape=str(array.shape), dtype=str(array.dtype)),
            text("{outputs} numbers per sample, as the network was trained on", outputs=outputs)
            if task.kind == "regression"
            else text("one class per sample"),
            text("give the targets in the form in which they were given to fit"),
        )
    if task.kind == "regression":
        return array.astype(np.float64)
    if outputs > 1:
        return array.argmax(axis=1).astype(np.int64)
    return _class_indices(array[:, 0], task, what)


def _class_indices(values: np.ndarray, task: Task, what: str) -> np.ndarray:
    from pellucid.data.targets import matching_labels, number_label

    distinct, inverse = np.unique(values, return_inverse=True)
    labels = [_label(value, number_label) for value in distinct.tolist()]
    number = {name: index for index, name in enumerate(task.classes)}
    strange = {label for label in labels if label not in number}
    renamed = matching_labels(strange, set(number))
    unknown = sorted(strange - set(renamed))
    if unknown:
        raise DataError(
            text("{what} holds the classes {unknown}", what=what, unknown=unknown[:10]),
            text("the classes that the network knows: {classes}", classes=list(task.classes[:20])),
            text("leave these samples out, or train a network on data that have these classes"),
        )
    return np.asarray([number[renamed.get(label, label)] for label in labels], dtype=np.int64)[inverse.reshape(-1)]


def _label(value: Any, number_label: Any) -> str:
    """A value as the name of its class, as it was named when the network was trained."""
    if isinstance(value, bool):
        return str(value).lower()
    return number_label(float(value)) if isinstance(value, (int, float)) else str(value).strip()


def target_hashes(task: Task, values: np.ndarray) -> list[str]:
    """A hash per target: of the class name, so that it stays the same when another class joins; of the numbers in a regression."""
    if task.kind == "classification":
        of_class = [hash_text(name) for name in task.classes]
        return [of_class[index] for index in values.tolist()]
    return hash_rows(values)
