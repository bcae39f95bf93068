"""Tables as Samples: which column is the target, what every other column is, which rows cannot be used."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, cast

import numpy as np
import polars as pl

from pellucid.core.errors import DataError, did_you_mean
from pellucid.core.hashing import hash_rows, hash_text, join_hashes
from pellucid.core.language import Text, sample_name, text
from pellucid.core.records import Notice, Task
from pellucid.core.wording import counted
from pellucid.data.samples import Quarantined, Samples
from pellucid.data.tables.columns import Column, content_columns, infer_column, infer_columns, used_columns
from pellucid.data.tables.files import RawTable, load
from pellucid.data.tables.hashes import hash_table
from pellucid.data.tables.leakage import leaking_columns
from pellucid.data.tables.notices import column_notices, reasons_for_dropping
from pellucid.data.tables.parsing import MISSING, as_text
from pellucid.data.targets import TargetChoice, choose_task, several_numbers

QUARANTINE_LIMIT = 0.1  # of the rows may be unusable; beyond, something is wrong with the file or the target
_EXAMPLES = 5


@dataclass
class TableSamples(Samples):
    """Samples of a table: `inputs` is a polars frame whose columns have their kind's type."""

    columns: Mapping[str, Column] = field(default_factory=dict[str, Column])  # every input column, the unused ones too
    header: bool = True  # whether the names come from the source
    width: int = 0  # columns of the source, the target included
    decimal_comma: bool = False


def read_table(
    source: Any, target: Any = None, *, task: str = "auto", header: bool = True, group: Any = None, time: Any = None
) -> TableSamples:
    """The rows of a file (CSV, TSV, other delimiters, Parquet, JSON lines) or of a polars or pandas frame.

    `target` is a column's name or index (negative from the right), several as a list or divided by commas, or None. `group` and `time`
    name columns that direct the split; the column of groups is not among the inputs.

    Raises:
        DataError: the source cannot be read, a column does not exist, or the target cannot be learnt.
    """
    raw = load(source, header=header)
    samples = samples_of(raw, target, task=task, group=group, time=time)
    if raw.path is not None:
        samples.reference = _reference(raw.path, target, task, header, group, time)
    return samples


read_frame = read_table


def read_table_parts(
    parts: Mapping[str, tuple[Any, Any]], *, task: str = "auto", header: bool = True, group: Any = None, time: Any = None
) -> TableSamples:
    """Several tables that the user has already split: part ("train", "validation", "test") -> (source, target).

    The columns are those of the training part; what they are is decided on all parts together. Classes are those of the training part.

    Raises:
        DataError: as `read_table`; a column that another part lacks.
    """
    train_source, target = parts["train"]
    train = load(train_source, header=header)
    tables: dict[str, RawTable] = {"train": train}
    for part, (source, part_target) in parts.items():
        if part == "train":
            continue
        table = load(source, header=train.header)
        if part_target is not None and part_target != target and target is not None:
            named = target_names(table, part_target)
            table = replace(table, frame=table.frame.rename(dict(zip(named, target_names(train, target), strict=True))))
        tables[part] = _like(table, train, part)
    names = {part: table.shown for part, table in tables.items()}
    distinct = len({str(name) for name in names.values()}) == len(names)
    identifiers = [
        f"{names[part] if distinct else part} row {row}" for part, table in tables.items() for row in range(1, table.frame.height + 1)
    ]
    together = replace(
        train,
        frame=_stacked([table.frame for table in tables.values()]),
        notices=[notice for table in tables.values() for notice in table.notices],
    )
    sides = np.concatenate([np.full(table.frame.height, part) for part, table in tables.items()])
    return samples_of(together, target, task=task, group=group, time=time, sides=sides, identifiers=identifiers)


def _reference(path: str, target: Any, task: str, header: bool, group: Any, time: Any) -> dict[str, Any]:
    """The arguments with which `read` gives the same samples again."""
    plain = list(cast("Sequence[Any]", target)) if isinstance(target, (list, tuple)) else target
    return {"source": path, "target": plain, "task": task, "header": header, "group": group, "time": time}


# -- several tables as one -----------------------------------------------------------------------------------------------------------


def _like(table: RawTable, train: RawTable, part: str) -> RawTable:
    """The columns of the training part, in its order."""
    missing = [name for name in train.frame.columns if name not in table.frame.columns]
    if missing:
        raise DataError(
            text("{name} (the {part} part) has no column {missing!r}", name=table.shown, part=part, missing=missing[0]),
            text("the {count} columns of the training part", count=train.frame.width),
            did_you_mean(missing[0], [name for name in table.frame.columns if name not in train.frame.columns] or table.frame.columns),
        )
    return replace(table, frame=table.frame.select(train.frame.columns))


def _stacked(frames: list[pl.DataFrame]) -> pl.DataFrame:
    """One below the other; columns of different types as numbers if all are numbers, else as texts."""
    columns: list[pl.Series] = []
    for name in frames[0].columns:
        pieces = [frame[name] for frame in frames]
        kinds = {piece.dtype for piece in pieces}
        if len(kinds) > 1 or isinstance(pieces[0].dtype, (pl.Categorical, pl.Enum)):
            numeric = all(piece.dtype.is_numeric() or piece.dtype == pl.Null for piece in pieces)
            pieces = [piece.cast(pl.Float64) if numeric else as_text(piece) for piece in pieces]
        columns.append(pl.concat(pieces))
    return pl.DataFrame(columns)


# -- samples -------------------------------------------------------------------------------------------------------------------------


def samples_of(
    raw: RawTable,
    target: Any,
    *,
    task: str,
    group: Any,
    time: Any,
    sides: np.ndarray | None = None,
    identifiers: Sequence[str] | None = None,
) -> TableSamples:
    from pellucid.data.ledger import NumberedNames

    raw, kept = without_empty_rows(raw)
    targets = target_names(raw, target)
    group_name = None if group is None else column_name(raw, group, "group")
    time_name = None if time is None else column_name(raw, time, "time")
    for option, name in (("group", group_name), ("time", time_name)):
        if name in targets:
            raise DataError(
                text("{option} is the target {name!r}", option=option, name=name),
                text("a column other than the target"),
                text("name another column, or leave {option} out", option=option),
            )
    inputs = raw.frame.drop([*targets, *([group_name] if group_name else [])])
    columns, typed = infer_columns(inputs, decimal_comma=raw.decimal_comma, texts=raw.texts)
    columns = _with_something_to_use(columns, raw, targets)
    notices = [*raw.notices, *column_notices(columns)]

    rows = raw.frame.height
    sides = sides[kept] if sides is not None else None
    training = None if sides is None else sides == "train"
    choice = _choice(raw, targets, task, training)
    reasons = dict(choice.reasons) if choice else {}
    usable = choice.usable.copy() if choice else np.ones(rows, dtype=bool)
    empty = _without_text(columns, typed, usable, reasons)
    times = _times(raw, time_name, usable, reasons) if time_name else None
    groups = _groups(raw.frame[group_name]) if group_name else None

    names: Sequence[str] = NumberedNames(len(kept), "row ", 1) if identifiers is None else identifiers
    original = np.flatnonzero(kept)
    quarantined = [Quarantined(identifier=names[int(original[row])], reason=reasons[row]) for row in np.flatnonzero(~usable).tolist()]
    check_quarantine(quarantined, rows, reasons, [empty] if empty else targets, raw)
    chosen = np.flatnonzero(usable)
    if len(chosen) < len(kept):
        names = [names[int(row)] for row in original[chosen]]
        typed = typed[chosen]
    values = choice.values[chosen] if choice else None
    if choice is not None and values is not None:
        notices += choice.notices
        notices += leaking_columns(typed, columns, choice.task, values)
    input_hashes = hash_table(typed, content_columns(columns))
    return TableSamples(
        kind="table",
        name=raw.name,
        task=choice.task if choice else None,
        inputs=typed,
        targets=values,
        identifiers=names,
        hashes=input_hashes if choice is None or values is None else join_hashes(input_hashes, target_hashes(choice.task, values)),
        fixed_parts=None if sides is None else sides[chosen],
        groups=None if groups is None else groups[chosen],
        times=None if times is None else times[chosen],
        quarantined=quarantined,
        notices=notices,
        input_hashes=input_hashes,
        columns=columns,
        header=raw.header,
        width=raw.frame.width,
        decimal_comma=raw.decimal_comma,
    )


def target_hashes(task: Task, values: np.ndarray) -> list[str]:
    """Of the class name, which stays when another class joins; of the numbers in a regression."""
    if task.kind == "classification":
        of_class = [hash_text(name) for name in task.classes]
        return [of_class[index] for index in values.tolist()]
    return hash_rows(values)


def without_empty_rows(raw: RawTable) -> tuple[RawTable, np.ndarray]:
    """Rows in which no cell has a value are spreadsheets' padding."""
    blank = pl.Series([True] * raw.frame.height, dtype=pl.Boolean)
    for values in raw.frame.get_columns():
        empty = values.is_null()
        if values.dtype == pl.String:
            empty = empty | (values.str.strip_chars() == "").fill_null(True)
        blank = blank & empty
        if not blank.any():
            return raw, np.ones(raw.frame.height, dtype=bool)
    kept = ~blank.to_numpy()
    if not kept.any():
        raise DataError(
            text("all {rows} rows of {name} are empty", rows=len(kept), name=raw.shown), text("rows with values"), text("check the file")
        )
    notice = Notice(
        kind="empty_rows",
        summary=counted(
            int((~kept).sum()),
            text("one row without any value is left out"),
            text("{count} rows without any value are left out", count=int((~kept).sum())),
        ),
        evidence={"rows": int((~kept).sum())},
    )
    return replace(raw, frame=raw.frame.filter(pl.Series(kept)), notices=[*raw.notices, notice]), kept


def _with_something_to_use(columns: dict[str, Column], raw: RawTable, targets: Sequence[str]) -> dict[str, Column]:
    """A table of nothing but row numbers (x = 1, 2, 3, ...) is learnt from them; one of nothing usable is refused."""
    if used_columns(columns):
        return columns
    if not columns:
        raise DataError(
            text("{name} has one column, {column!r}, which is the target", name=raw.shown, column=targets[0])
            if len(targets) == 1
            else text("all {count} columns of {name} are targets", count=len(targets), name=raw.shown)
            if targets
            else text("{name} has no columns to learn from", name=raw.shown),
            text("at least one column to learn from, beside the target"),
            text("check the delimiter: comma, semicolon, tabulator or bar") if len(targets) < 2 else text("name fewer targets"),
        )
    counting = {
        name: replace(column, kind="numeric", counts_rows=False)
        for name, column in columns.items()
        if column.kind == "identifier" and column.whole
    }
    if counting:
        return {**columns, **counting}
    raise DataError(
        text("no column of {name} can be learnt from: {reasons}", name=raw.shown, reasons=reasons_for_dropping(columns)[:_EXAMPLES]),
        text("at least one column of numbers, categories, dates or texts"),
        text("add such a column"),
    )


def _without_text(columns: Mapping[str, Column], typed: pl.DataFrame, usable: np.ndarray, reasons: dict[int, Text]) -> str | None:
    """Where a column of texts is all that is learnt from: set aside the rows without one, and give the column's name if there are any."""
    used = used_columns(columns)
    if len(used) != 1 or columns[used[0]].kind != "text":
        return None
    from pellucid.data.text.vocabulary import wordless

    nothing = wordless(typed[used[0]])
    for row, reason in nothing.items():
        if usable[row]:
            usable[row] = False
            reasons[row] = reason
    return used[0] if nothing else None


def _choice(raw: RawTable, targets: Sequence[str], task: str, training: np.ndarray | None) -> TargetChoice | None:
    if not targets:
        return None
    if len(targets) > 1:
        return several_numbers([raw.frame[name] for name in targets], task, targets, raw.decimal_comma)
    return choose_task(raw.frame[targets[0]], task, name=targets[0], training=training, decimal_comma=raw.decimal_comma)


def check_quarantine(
    quarantined: Sequence[Quarantined], rows: int, reasons: Mapping[int, Text], targets: Sequence[str], raw: RawTable
) -> None:
    if len(quarantined) <= max(1, QUARANTINE_LIMIT * rows):
        if len(quarantined) == rows:
            raise DataError(
                text("{name} has {rows} rows, and none can be used: {reason}", name=raw.shown, rows=rows, reason=quarantined[0].reason),
                text("rows with a target"),
                text("check the target"),
            )
        return
    raise DataError(
        text(
            "{count} of {rows} rows of {name} cannot be used, for example {example}: {reason}",
            count=len(quarantined), rows=rows, name=raw.shown, example=sample_name(quarantined[0].identifier), reason=quarantined[0].reason,
        ),
        text("at most {limit:.0f} % of the rows that cannot be used", limit=100 * QUARANTINE_LIMIT),
        text("correct the column {name!r}, or leave these rows out of the file", name=", ".join(targets)),
    )  # fmt: skip


# -- columns by name -----------------------------------------------------------------------------------------------------------------


def target_names(raw: RawTable, target: Any) -> list[str]:
    """The target columns' names: `target` is a name, an index, a list of these, texts divided by commas, or None."""
    if target is None:
        return []
    wanted: list[Any]
    if isinstance(target, str) and target not in raw.frame.columns and "," in target:
        wanted = [part.strip() for part in target.split(",") if part.strip()]
    elif isinstance(target, (list, tuple)):
        wanted = list(cast("Sequence[Any]", target))
    else:
        wanted = [target]
    names = [column_name(raw, name, "target") for name in wanted]
    repeated = next((name for name in names if names.count(name) > 1), None)
    if repeated is not None or not names:
        raise DataError(
            text("the target names {count} columns: {names}", count=len(names), names=names),
            text("each column once"),
            text("name each once"),
        )
    return names


def column_name(raw: RawTable, wanted: Any, option: str) -> str:
    columns = raw.frame.columns
    if isinstance(wanted, str) and (wanted in columns or wanted.strip() in columns):
        return wanted if wanted in columns else wanted.strip()
    index: int | None = None
    counted = isinstance(wanted, str) and wanted.isascii() and wanted.strip().removeprefix("-").isdecimal()
    if counted or (isinstance(wanted, (int, np.integer)) and not isinstance(wanted, bool)):
        index = int(wanted)
    if index is not None:
        if -len(columns) <= index < len(columns):
            return columns[index]
        raise DataError(
            text(
                "{option} is column {index}, and {name} has {count} columns", option=option, index=index, name=raw.shown, count=len(columns)
            ),
            text("an index from 0 to {last}, or from -{count} to -1", last=len(columns) - 1, count=len(columns)),
            text("the last column is -1"),
        )
    if not isinstance(wanted, str):
        raise DataError(
            text("{option} is {value}", option=option, value=repr(wanted)[:60]),
            text("the name or the index of a column"),
            text("choose one of: {names}", names=columns[:30]),
        )
    if not raw.header:
        remedy = text("the columns are called {first} to {last}: give a name or an index such as -1", first=columns[0], last=columns[-1])
    else:
        remedy = did_you_mean(wanted, columns)
    raise DataError(
        text("{name} has no column {wanted!r}", name=raw.shown, wanted=wanted),
        text("{option} is one of its columns", option=option),
        remedy,
    )


def _times(raw: RawTable, name: str, usable: np.ndarray, reasons: dict[int, Text]) -> np.ndarray:
    """Sortable numbers: microseconds for dates. Rows without a time are set aside."""
    column, values = infer_column(name, raw.frame[name], decimal_comma=raw.decimal_comma)
    if column.kind not in ("date", "numeric", "identifier", "constant") or values.dtype == pl.String:
        raise DataError(
            text("time is the column {name!r}, whose values are neither dates nor numbers", name=name),
            text("a column of dates or numbers"),
            text("name such a column, or write its dates as 2024-01-31"),
        )
    if values.dtype == pl.Datetime:
        values = values.dt.timestamp("us")
    for row in (values.is_null()).arg_true().to_list():
        usable[row] = False
        reasons.setdefault(row, text("the time {name!r} is missing", name=name))
    return values.fill_null(0).to_numpy()


def _groups(values: pl.Series) -> np.ndarray:
    """(N,) texts; a row without a group is a group of its own."""
    texts = as_text(values.cast(pl.String) if values.dtype in (pl.Categorical, pl.Enum) else values).to_list()
    return np.asarray([f"missing {row}" if value is None or value in MISSING else value for row, value in enumerate(texts)], dtype=object)
