"""New rows for a trained network: the columns it was trained on, read as they were read then; targets where there are any."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import polars as pl

from pellucid.core.errors import DataError, did_you_mean
from pellucid.core.hashing import join_hashes
from pellucid.core.language import sample_name, text
from pellucid.core.records import Notice
from pellucid.data.ledger import NumberedNames
from pellucid.data.samples import Quarantined
from pellucid.data.tables.columns import Column, read_column, used_columns
from pellucid.data.tables.encoding import CategoricalEncoding
from pellucid.data.tables.files import RawTable, load
from pellucid.data.tables.hashes import hash_table
from pellucid.data.tables.reading import TableSamples, check_quarantine, target_hashes, without_empty_rows
from pellucid.data.targets import TargetChoice, read_known_target

if TYPE_CHECKING:
    from pellucid.data.tables.preprocessing import TablePreprocessing
    from pellucid.data.text.preprocessing import TextPreprocessing


def read_new_table(
    source: Any, preprocessing: TablePreprocessing | TextPreprocessing, *, header: bool = True, target: str = "optional"
) -> TableSamples:
    """New rows for a trained network: the columns it was trained on are there, whatever their order; others are ignored.

    `target` is "optional" (targets are given where every row has one), "required" (rows without a usable target are quarantined) or
    "ignored".

    Raises:
        DataError: a column is missing, or a value is not of its column's kind.
    """
    raw = load(source, header=header and preprocessing.header)
    raw = _placed(raw, preprocessing)
    if preprocessing.kind == "text" and raw.frame.width == 1:
        kept = np.ones(raw.frame.height, dtype=bool)  # an empty row is an empty text, and named as one
    else:
        raw, kept = without_empty_rows(raw)
    original = np.flatnonzero(kept)
    names: Sequence[str] = NumberedNames(len(kept), "row ", 1)
    if len(original) < len(kept):
        names = [names[int(row)] for row in original]
    typed = _typed(raw, preprocessing.columns, names)
    notices = [*raw.notices, *_news(typed, preprocessing), *_new_categories(typed, preprocessing)]
    task, wanted = preprocessing.task, list(preprocessing.task.targets)
    present = [name for name in wanted if name in raw.frame.columns]
    choice: TargetChoice | None = None
    if target != "ignored" and len(present) == len(wanted):
        choice = read_known_target([raw.frame[name] for name in wanted], task, decimal_comma=raw.decimal_comma)
    elif target == "required":
        lacking = next(name for name in wanted if name not in present)
        raise DataError(
            text("{name} has no column {column!r}, the target", name=raw.shown, column=lacking),
            text("rows with their answers"),
            did_you_mean(lacking, raw.frame.columns),
        )
    quarantined: list[Quarantined] = []
    if choice is not None and not choice.usable.all():
        if target == "required":
            bad = np.flatnonzero(~choice.usable).tolist()
            quarantined = [Quarantined(identifier=names[row], reason=choice.reasons[row]) for row in bad]
            check_quarantine(quarantined, raw.frame.height, choice.reasons, wanted, raw)
        else:
            notices.append(_unused_targets(choice, names, wanted))
            choice = None
    input_hashes = _content_hashes(raw, typed, preprocessing)
    usable = np.ones(typed.height, dtype=bool)
    if choice is not None:
        notices += choice.notices
        usable = choice.usable.copy()
    quarantined += _without_words(typed, preprocessing, names, usable, raw)
    good = np.flatnonzero(usable)
    if len(good) < typed.height:
        names, typed, input_hashes = ([names[int(row)] for row in good], typed[good], [input_hashes[int(row)] for row in good])
    if preprocessing.kind == "text":
        notices += cast("TextPreprocessing", preprocessing).news(typed.to_series(0), names)
    values = choice.values[good] if choice is not None else None
    return TableSamples(
        kind="table",
        name=raw.name,
        task=task if values is not None else None,
        inputs=typed,
        targets=values,
        identifiers=names,
        hashes=input_hashes if values is None or not all(input_hashes) else join_hashes(input_hashes, target_hashes(task, values)),
        reference=None if raw.path is None else {"source": raw.path, "header": header},
        quarantined=quarantined,
        notices=notices,
        input_hashes=input_hashes,
        columns=preprocessing.columns,
        header=raw.header,
        width=raw.frame.width,
        decimal_comma=raw.decimal_comma,
    )


def _placed(raw: RawTable, preprocessing: TablePreprocessing | TextPreprocessing) -> RawTable:
    """Columns without names are known by their places, with or without the target among them."""
    if preprocessing.header or (raw.header and set(used_columns(preprocessing.columns)) <= set(raw.frame.columns)):
        return raw
    places = [f"column_{index}" for index in range(preprocessing.width)]
    others = [name for name in places if name not in preprocessing.task.targets]
    for names in (places, others):
        if raw.frame.width == len(names):
            frame = raw.frame.clone()
            frame.columns = names
            return replace(raw, frame=frame)
    raise DataError(
        text("{name} has {got} columns", name=raw.shown, got=raw.frame.width),
        text("{count} columns, as in the table the network was trained on, or {others} without the target",
             count=len(places), others=len(others)),
        text("give the same columns in the same order"),
    )  # fmt: skip


def _typed(raw: RawTable, columns: Mapping[str, Column], names: Sequence[str]) -> pl.DataFrame:
    needed = used_columns(columns)
    missing = [name for name in needed if name not in raw.frame.columns]
    if missing:
        strange = [name for name in raw.frame.columns if name not in columns] or raw.frame.columns
        remedy = did_you_mean(missing[0], strange)
        if len(missing) == len(needed):
            remedy = text("give a table with these columns; this one has: {columns}", columns=list(strange[:20]))
        if not raw.header:
            remedy = text("the first line of the file must hold the column names")
        raise DataError(
            text("{name} has no column {missing!r} ({count} of {needed} columns are missing)",
                 name=raw.shown, missing=missing[0], count=len(missing), needed=len(needed)),
            text("the columns the network was trained on: {columns}", columns=needed[:20]),
            remedy,
        )  # fmt: skip
    return pl.DataFrame([read_column(columns[name], _plain(raw.frame[name]), names) for name in needed])


def _without_words(
    typed: pl.DataFrame, preprocessing: TablePreprocessing | TextPreprocessing, names: Sequence[str], usable: np.ndarray, raw: RawTable
) -> list[Quarantined]:  # fmt: skip
    """Set aside the texts that say nothing, where texts are all that is read.

    Raises:
        DataError: no other is left.
    """
    if preprocessing.kind != "text":
        return []
    from pellucid.data.text.vocabulary import wordless

    nothing = wordless(typed.to_series(0))
    aside = [Quarantined(identifier=names[row], reason=reason) for row, reason in nothing.items() if usable[row]]
    usable[list(nothing)] = False
    if aside and not usable.any():
        raise DataError(
            text("no text of {name} can be used: {examples}", name=raw.shown, examples=[item.summary for item in aside[:3]]),
            text("texts with words"),
            text("check the column {name!r}", name=typed.columns[0]),
        )
    return aside


def _content_hashes(raw: RawTable, typed: pl.DataFrame, preprocessing: TablePreprocessing | TextPreprocessing) -> list[str]:
    """A row's hash as it was made of a training row, columns that no network sees included; "" where these are not known or not there."""
    if not preprocessing.content or not set(preprocessing.unseen) <= set(raw.frame.columns):
        return [""] * typed.height
    read = [
        read_column(replace(column, kind="numeric") if column.whole else column, _plain(raw.frame[name]), strict=False)
        for name, column in preprocessing.unseen.items()
    ]
    return hash_table(typed.hstack(read), preprocessing.content)


def _plain(values: pl.Series) -> pl.Series:
    return values.cast(pl.String) if values.dtype in (pl.Categorical, pl.Enum, pl.Null) else values


def _news(frame: pl.DataFrame, preprocessing: TablePreprocessing | TextPreprocessing) -> list[Notice]:
    """What the training data did not have: values missing in columns that had none."""
    new = [
        name for name in frame.columns if preprocessing.columns[name].missing == 0 and preprocessing.columns[name].infinite == 0
        and frame[name].null_count()
    ]  # fmt: skip
    if not new or preprocessing.kind == "text":  # texts that are missing are set aside
        return []
    return [
        Notice(
            kind="newly_missing",
            summary=text(
                "values are missing in {columns}, where the training data had none: the training data's middle value is taken",
                columns=new[:10],
            )
            if any(preprocessing.columns[name].kind != "text" for name in new)
            else text("texts are missing in {columns}: the network answers as to a word that it does not know", columns=new[:10]),
            where=new[0],
        )
    ]


def _new_categories(frame: pl.DataFrame, preprocessing: TablePreprocessing | TextPreprocessing) -> list[Notice]:
    """One for each column with categories that no training row had; where rare ones were joined into one, nobody can tell."""
    notices: list[Notice] = []
    for name, encoding in preprocessing.encodings.items():
        if not isinstance(encoding, CategoricalEncoding) or encoding.other:
            continue
        strange = frame[name].drop_nulls()
        strange = strange.filter(~strange.is_in(list(encoding.levels)))
        if strange.len():
            notices.append(
                Notice(
                    kind="new_categories",
                    summary=text(
                        "{rows} rows hold categories of {name!r} that the training data did not have, for example {value!r}: "
                        "the network knows nothing about them",
                        rows=strange.len(), name=name, value=str(strange[0])[:60],
                    ),
                    where=name,
                )
            )  # fmt: skip
    return notices


def _unused_targets(choice: TargetChoice, names: Sequence[str], wanted: Sequence[str]) -> Notice:
    row = int(np.flatnonzero(~choice.usable)[0])
    return Notice(
        kind="targets_not_used",
        summary=text(
            "the target {name!r} cannot be used in {count} rows, for example {row} ({reason}): the rows are predicted, not scored",
            name=", ".join(wanted), count=int((~choice.usable).sum()), row=sample_name(names[row]), reason=choice.reasons[row],
        ),
        where=wanted[0],
    )  # fmt: skip
