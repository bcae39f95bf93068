"""A frame of inputs and targets beside it, as one frame."""

from __future__ import annotations

from typing import Any

import polars as pl

from pellucid.core.errors import DataError
from pellucid.core.language import text
from pellucid.data.arrays.checks import as_array
from pellucid.data.tables.files import is_frame, load


def frame_with_target(source: Any, target: Any) -> tuple[pl.DataFrame, str | list[str]]:
    """(frame with the targets as its last columns, their names). `target` is a series, an array, a list or a frame of one column.

    Raises:
        DataError: another length than the frame's.
    """
    frame = load(source).frame
    columns = _columns(target)
    for column in columns:
        if column.len() != frame.height:
            raise DataError(
                text("X has {samples} samples and y has {targets}", samples=frame.height, targets=column.len()),
                text("one target per sample"),
                text("check that X and y come from the same rows, in the same order"),
            )
    names: list[str] = []
    for column in columns:
        name = column.name or "target"
        while name in frame.columns:
            name += " (target)"
        names.append(name)
        frame = frame.with_columns(column.alias(name))
    return frame, names[0] if len(names) == 1 else names


def _columns(target: Any) -> list[pl.Series]:
    if is_frame(target):
        return load(target).frame.get_columns()
    name = getattr(target, "name", None)
    label = name if isinstance(name, str) and name else "target"
    if isinstance(target, pl.Series):
        return [target.alias(label)]
    if hasattr(target, "to_list"):  # a pandas series: its own missing values become null
        return (
            [pl.from_pandas(target).alias(label)] if type(target).__module__.startswith("pandas") else [pl.Series(label, target.to_list())]
        )
    array = as_array(target, "y")
    if array.ndim == 2 and array.shape[1] > 1:
        return [pl.Series(f"{label} {index}", array[:, index]) for index in range(array.shape[1])]
    return [pl.Series(label, array.reshape(len(array)) if array.ndim else [])]
