"""Columns that tell the answer: a copy of the target under another name, or a value that is only known once the answer is."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import polars as pl

from pellucid.core.language import text
from pellucid.core.records import Notice, Task
from pellucid.data.tables.columns import Column

_ROWS = 30  # fewer rows agree by chance
_CORRELATION = 0.99999  # from here on a number is the target in another unit
_REPEATS = 2.0  # a column must have at least so many rows per value before "determines" means anything


def leaking_columns(frame: pl.DataFrame, columns: Mapping[str, Column], task: Task, targets: np.ndarray) -> list[Notice]:
    """A notice for each column that equals or determines the target."""
    if frame.height < _ROWS:
        return []
    notices: list[Notice] = []
    for name, column in columns.items():
        if not column.used or column.kind == "text":
            continue
        if task.kind == "classification":
            notice = _classes_told_by(frame[name], column, targets, task)
        else:
            notice = _numbers_told_by(frame[name], column, targets, task)
        if notice is not None:
            notices.append(notice)
    return notices


def _classes_told_by(values: pl.Series, column: Column, targets: np.ndarray, task: Task) -> Notice | None:
    pairs = pl.DataFrame({"value": values, "target": targets}).filter(pl.col("value").is_not_null())
    if pairs.height < 0.5 * len(targets) or pairs["target"].n_unique() < 2:
        return None
    if column.distinct * _REPEATS <= pairs.height:
        classes = pairs.group_by("value").agg(pl.col("target").n_unique())["target"]
        if classes.max() == 1:
            return _equal(column.name, task) if column.distinct == pairs["target"].n_unique() else _determined(column.name, task)
    if column.kind == "numeric":
        ordered = pairs.sort("value")
        number, label = ordered["value"].to_numpy(), ordered["target"].to_numpy()
        changes = np.flatnonzero(label[1:] != label[:-1])
        within_ties = (number[changes] == number[changes + 1]).any()
        if len(changes) == pairs["target"].n_unique() - 1 and not within_ties:
            return Notice(
                kind="separating_column",
                summary=text(
                    "column {column!r} alone separates the classes of {target!r} by threshold; is it known before the answer?",
                    column=column.name, target=task.targets[0],
                ),
                where=column.name,
            )  # fmt: skip
    return None


def _numbers_told_by(values: pl.Series, column: Column, targets: np.ndarray, task: Task) -> Notice | None:
    for position, target in enumerate(task.targets):
        pairs = pl.DataFrame({"value": values, "target": targets[:, position]}).filter(pl.col("value").is_not_null())
        if pairs.height < 0.5 * len(targets):
            return None
        if column.kind == "numeric":
            x, y = pairs["value"].to_numpy(), pairs["target"].to_numpy()
            if (x == y).all():
                return _equal(column.name, task, target)
            if _correlation(x, y) >= _CORRELATION:
                return Notice(
                    kind="equals_target",
                    summary=text(
                        "column {column!r} is the target {target!r} in another unit: leave it out if it is not known before the answer",
                        column=column.name, target=target,
                    ),
                    where=column.name,
                )  # fmt: skip
        if column.distinct > 1 and column.distinct * _REPEATS <= pairs.height:
            spread = pairs.group_by("value").agg(pl.col("target").n_unique())["target"]
            if spread.max() == 1:
                return _determined(column.name, task, target)
    return None


def _correlation(x: np.ndarray, y: np.ndarray) -> float:
    """|Pearson's r|, 0 where one of the two does not vary."""
    with np.errstate(all="ignore"):  # numbers near the largest float overflow to inf, then to NaN, and count as 0
        x, y = x - x.mean(), y - y.mean()
        scale = np.sqrt((x * x).sum() * (y * y).sum())
        r = abs(float((x * y).sum() / scale)) if scale > 0 else 0.0
    return r if np.isfinite(r) else 0.0


def _equal(column: str, task: Task, target: str | None = None) -> Notice:
    return Notice(
        kind="equals_target",
        summary=text(
            "column {column!r} equals the target {target!r} in other words: leave it out if it is not known before the answer",
            column=column, target=target or task.targets[0],
        ),
        where=column,
    )  # fmt: skip


def _determined(column: str, task: Task, target: str | None = None) -> Notice:
    return Notice(
        kind="determines_target",
        summary=text(
            "column {column!r} determines the target {target!r}: each of its values goes with one answer; is it known before the answer?",
            column=column, target=target or task.targets[0],
        ),
        where=column,
    )  # fmt: skip
