"""Series from .ts files, tables and arrays as Samples: their targets understood, what cannot be used set aside with its reason."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import polars as pl

from pellucid.core.errors import DataError
from pellucid.core.hashing import join_hashes
from pellucid.core.language import Text, sample_name, text
from pellucid.core.records import Notice, Task
from pellucid.core.wording import counted
from pellucid.data.arrays.checks import as_array, per_sample
from pellucid.data.arrays.targets import target_hashes
from pellucid.data.ledger import NumberedNames
from pellucid.data.samples import Quarantined, Samples
from pellucid.data.series.tables import read_table_of_series
from pellucid.data.series.ts_file import is_ts_name, read_ts, test_file_of
from pellucid.data.series.values import RawSeries, SeriesValues, check_values, joined
from pellucid.data.splitting import part_word
from pellucid.data.tables.files import RawTable, load
from pellucid.data.tables.reading import QUARANTINE_LIMIT, column_name
from pellucid.data.targets import TargetChoice, choose_task, read_known_target


@dataclass
class SeriesSamples(Samples):
    """Samples of the kind "series", and how their source looked, so that new data are read alike."""

    layout: str = "array"
    value_columns: tuple[str, ...] = ()
    group: str | None = None
    time: str | None = None
    header: bool = True


def read_series(
    source: Any, target: Any = None, *, task: str = "auto", header: bool = True, group: Any = None, time: Any = None
) -> Samples:
    """The series of one source; NAME_TRAIN.ts takes NAME_TEST.ts beside it as the test part.

    Raises:
        DataError: see the readers; no target that can be learnt; more than a tenth of the series cannot be used.
    """
    if isinstance(source, (str, Path)) and is_ts_name(source):
        beside = test_file_of(Path(source).expanduser())
        if beside is not None:
            samples = read_series_parts(
                {"train": (source, target), "test": (beside, target)}, task=task, header=header, group=group, time=time
            )
            summary = text("{test} lies beside {train} and is taken as the test part", test=beside.name, train=Path(source).name)
            return replace(samples, notices=[Notice(kind="test_file", summary=summary), *samples.notices])
    return _samples({"": _raw(source, target, header=header, group=group, time=time)}, task)


def read_series_parts(
    parts: Mapping[str, tuple[Any, Any]], *, task: str = "auto", header: bool = True, group: Any = None, time: Any = None
) -> Samples:
    """Several sources that the user has already split.

    Raises:
        DataError: as `read_series`; a part with other channels than the training part.
    """
    raw: dict[str, RawSeries] = {}
    for part, (source, target) in parts.items():
        columns = raw["train"].value_columns if raw else ()
        raw[part] = _raw(source, target, header=header, group=group, time=time, columns=columns)
    train = raw["train"]
    for part, other in raw.items():
        if len(other.values.channels) != len(train.values.channels):
            raise DataError(
                text("the series of the {part} part have {got} channels", part=part_word(part), got=len(other.values.channels)),
                text("{count} channels, as in the training part", count=len(train.values.channels)),
                text("give all parts with the same channels, in the same order"),
            )
        if other.labels is None and train.labels is not None:
            raise DataError(
                text("the {part} part has no target", part=part_word(part)), text("a target in every part"), text("name the target")
            )
    return _samples(raw, task)


def _raw(source: Any, target: Any, *, header: bool, group: Any, time: Any, columns: Sequence[str] = ()) -> RawSeries:
    """`columns`: those of the training part's table, where this is another part."""
    if isinstance(source, (str, Path)) and is_ts_name(source):
        for option, given in (("target", target), ("group", group), ("time", time)):
            if given is not None:
                raise DataError(
                    text("{option}={value!r} for a .ts file", option=option, value=given),
                    text("a file whose classes stand at the end of its lines, and that has no columns"),
                    text("leave {option} out", option=option),
                )
        raw = read_ts(Path(source).expanduser())
    elif isinstance(source, (str, Path)) or hasattr(source, "columns"):
        if columns:
            table = load(source, header=header)
            target, group, time = (
                None if name is None else column_name(table, name, option)
                for option, name in (("target", target), ("group", group), ("time", time))
            )
            source = selected(table, [*columns, *(name for name in (target, group, time) if name is not None)])
        raw = read_table_of_series(source, target, header=header, group=group, time=time)
    else:
        raw = series_of_arrays(source, target)
        raw.groups, raw.times = (per_sample(value, len(raw.values), None, option) for value, option in ((group, "group"), (time, "time")))
    return checked(raw)


def selected(table: RawTable, needed: Sequence[str]) -> RawTable:
    """The columns `needed`, in their order.

    Raises:
        DataError: one is not there.
    """
    lacking = [column for column in needed if column not in table.frame.columns]
    if lacking:
        raise DataError(
            text("{name} has no column {missing!r}", name=table.shown, missing=lacking[0]),
            text("the {count} columns that the network was trained on", count=len(needed)),
            text("the columns that are missing: {names}", names=lacking[:20]),
        )
    return replace(table, frame=table.frame.select(list(dict.fromkeys(needed))))


def checked(raw: RawSeries) -> RawSeries:
    """Steps at the end that have no value in any channel are padding and no steps; what is left unusable is set aside."""
    kept = [values[: 1 + int(np.flatnonzero(~np.isnan(values).all(axis=1)).max(initial=-1))] for values in raw.values]
    empty = [place for place, (values, rest) in enumerate(zip(raw.values, kept, strict=True)) if len(values) and not len(rest)]
    raw.values = SeriesValues.of(kept, raw.values.channels)
    for place in empty:
        raw.unusable.setdefault(place, text("none of its values is there"))
    check_values(raw)
    return raw


# -- arrays --------------------------------------------------------------------------------------------------------------------------


def series_of_arrays(X: Any, y: Any) -> RawSeries:
    """X (N, T) or (N, C, T), NaN where a value is missing or a series has ended; or a list of arrays (T_i,) or (C, T_i).

    Raises:
        DataError: arrays of another shape, or with different numbers of channels.
    """
    series: list[np.ndarray]
    if isinstance(X, (list, tuple)) and len(cast("Sequence[Any]", X)) and np.ndim(cast("Sequence[Any]", X)[0]) in (1, 2):
        series = [_one_series(item, place) for place, item in enumerate(cast("Sequence[Any]", X))]
    else:
        array = as_array(X, "X")
        if array.ndim not in (2, 3) or array.dtype.kind not in "biuf":
            raise DataError(
                text("X has shape {shape} and type {type}", shape=str(array.shape), type=str(array.dtype)),
                text("numbers of shape (samples, steps) or (samples, channels, steps)"),
                text("put the steps last; series of different lengths end in NaN"),
            )
        series = [_one_series(values, place) for place, values in enumerate(array)]
    widths = {values.shape[1] for values in series}
    if len(widths) != 1:
        raise DataError(
            text("the series of X have {counts} channels", counts=sorted(widths)) if widths else text("X holds no series"),
            text("one number of channels"),
            text("give arrays of shape (channels, steps) with the same channels"),
        )
    channels = [""] if widths == {1} else [str(channel + 1) for channel in range(widths.pop())]
    labels = None if y is None else pl.Series("target", _plain_labels(y, len(series)))
    name = getattr(y, "name", None)
    return RawSeries(
        values=SeriesValues.of(series, channels),
        identifiers=NumberedNames(len(series)),
        name="arrays",
        shown="X",
        layout="array",
        labels=labels,
        target=name if isinstance(name, str) and name else "target",
    )


def _one_series(values: Any, place: int) -> np.ndarray:
    """(T, C) of (T,) or (C, T)."""
    array = as_array(values, f"X[{place}]")
    if array.ndim not in (1, 2) or array.dtype.kind not in "biuf":
        raise DataError(
            text("X[{place}] has shape {shape} and type {type}", place=place, shape=str(array.shape), type=str(array.dtype)),
            text("numbers of shape (steps,) or (channels, steps)"),
            text("give every series so"),
        )
    return np.asarray(array[:, None] if array.ndim == 1 else array.T, dtype=np.float64)


def _plain_labels(y: Any, count: int) -> Any:
    array = as_array(y, "y")
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 1 or len(array) != count:
        raise DataError(
            text("X has {samples} series and y has shape {shape}", samples=count, shape=str(array.shape)),
            text("one target per series"),
            text("check that X and y come from the same samples, in the same order"),
        )
    return array


# -- samples -------------------------------------------------------------------------------------------------------------------------


def _samples(parts: Mapping[str, RawSeries], task: str) -> SeriesSamples:
    train = next(iter(parts.values()))
    values = joined([raw.values for raw in parts.values()])
    count = len(values)
    sides = None if len(parts) == 1 else np.repeat(list(parts), [len(raw.values) for raw in parts.values()])
    names: Sequence[str] = train.identifiers
    if sides is not None:
        shown = {part: str(raw.shown) for part, raw in parts.items()}
        distinct = len(set(shown.values())) == len(shown)
        names = [f"{shown[part] if distinct else part} {name}" for part, raw in parts.items() for name in raw.identifiers]
    reasons: dict[int, Text] = {}
    begin = 0
    for raw in parts.values():
        reasons |= {begin + place: reason for place, reason in raw.unusable.items()}
        begin += len(raw.values)
    choice = _choice(parts, task, sides, reasons)
    usable = np.ones(count, dtype=bool) if choice is None else choice.usable.copy()
    usable[list(reasons)] = False
    quarantined = quarantine(names, usable, {**(choice.reasons if choice is not None else {}), **reasons}, train.shown)
    chosen = np.flatnonzero(usable)
    notices = [notice for raw in parts.values() for notice in raw.notices] + list(choice.notices if choice is not None else ())
    if len(chosen) < count:
        values, names = values[chosen], [names[place] for place in chosen.tolist()]
    targets = None if choice is None else choice.values[chosen]
    input_hashes = values.hashes()
    return SeriesSamples(
        kind="series",
        name=train.name,
        task=None if choice is None else choice.task,
        inputs=values,
        targets=targets,
        identifiers=names,
        hashes=input_hashes if choice is None or targets is None else join_hashes(input_hashes, target_hashes(choice.task, targets)),
        fixed_parts=None if sides is None else sides[chosen],
        groups=_of_all(parts, "groups", chosen),
        times=_of_all(parts, "times", chosen),
        quarantined=quarantined,
        notices=[*notices, *_missing_notice(values), *_quarantine_notice(quarantined, count)],
        input_hashes=input_hashes,
        layout=train.layout,
        value_columns=train.value_columns,
        group=train.group,
        time=train.time,
        header=train.header,
    )


def _of_all(parts: Mapping[str, RawSeries], name: str, chosen: np.ndarray) -> np.ndarray | None:
    several = [getattr(raw, name) for raw in parts.values()]
    return None if any(one is None for one in several) else np.concatenate(several)[chosen]


def _choice(parts: Mapping[str, RawSeries], task: str, sides: np.ndarray | None, reasons: Mapping[int, Text]) -> TargetChoice | None:
    """Classes or numbers, decided by the series that can be used; the others have no target."""
    train = next(iter(parts.values()))
    if train.labels is None:
        return None
    pieces = [raw.labels for raw in parts.values() if raw.labels is not None]
    if len({piece.dtype for piece in pieces}) > 1:
        numeric = all(piece.dtype.is_numeric() for piece in pieces)
        pieces = [piece.cast(pl.Float64 if numeric else pl.String) for piece in pieces]
    labels = pl.concat([piece.alias(train.target) for piece in pieces])
    labels = labels.set(pl.Series([place in reasons for place in range(labels.len())], dtype=pl.Boolean), None)
    asked = task if task in ("classification", "regression") else train.task
    if train.task != "auto" and asked != train.task:
        raise DataError(
            text("task is {task} and {name} announces a {kind}", task=task, name=train.shown, kind=train.task),
            text("the task of the file"),
            text("leave task out"),
        )
    training = None if sides is None else sides == "train"
    return choose_task(labels, asked, name=train.target, training=training, decimal_comma=train.decimal_comma)


def quarantine(names: Sequence[str], usable: np.ndarray, reasons: Mapping[int, Text], shown: Text | str) -> list[Quarantined]:
    """The series that cannot be used.

    Raises:
        DataError: they are more than a tenth, which is no accident.
    """
    bad = np.flatnonzero(~usable).tolist()
    found = [Quarantined(identifier=names[place], reason=reasons.get(place, text("its target is missing"))) for place in bad]
    if len(found) > max(1, QUARANTINE_LIMIT * len(usable)) or len(found) == len(usable):
        raise DataError(
            text("{count} of {total} series of {name} cannot be used, for example {example}: {reason}", count=len(found), total=len(usable),
                 name=shown, example=sample_name(found[0].identifier), reason=found[0].reason),
            text("at most {limit:.0f} % of the series without a usable target or values", limit=100 * QUARANTINE_LIMIT),
            text("correct these series, or leave them out"),
        )  # fmt: skip
    return found


def _quarantine_notice(quarantined: Sequence[Quarantined], count: int) -> list[Notice]:
    if not quarantined:
        return []
    summary = counted(
        len(quarantined),
        text("one of {series} series is left out: {example}", series=count, example=quarantined[0].summary),
        text("{count} of {series} series are left out, for example {example}", count=len(quarantined), series=count,
             example=quarantined[0].summary),
    )  # fmt: skip
    return [Notice(kind="quarantined", summary=summary, evidence={"count": len(quarantined)})]


def _missing_notice(values: SeriesValues) -> list[Notice]:
    """How many values are missing within series: they are filled in, and that is said."""
    missing = np.isnan(values.steps)
    count = int(missing.sum())
    if not count:
        return []
    series = sum(bool(np.isnan(one).any()) for one in values)
    summary = text(
        "{count} values ({share:.3g} %) are missing within {series} series; each is put on the straight line between its neighbours",
        count=count, share=100 * count / missing.size, series=series,
    )  # fmt: skip
    return [Notice(kind="missing_values", summary=summary, evidence={"values": count, "series": series})]


# -- new data ------------------------------------------------------------------------------------------------------------------------


def read_new_series(source: Any, target: Any, preprocessing: Any, *, header: bool, task: Task | None, targets: str) -> SeriesSamples:
    """New series for a trained network, `targets` as in `sources.read_new`.

    Raises:
        DataError: other channels or columns than the network was trained on; no target where it is required.
    """
    raw = checked(_new_raw(source, target, preprocessing, header, task, targets))
    wanted = len(preprocessing.channels)
    if len(raw.values.channels) != wanted:
        raise DataError(
            text("the series of {name} have {got} channels", name=raw.shown, got=len(raw.values.channels)),
            text("{count} channels, as the network was trained on", count=wanted),
            text("give the same channels in the same order"),
        )
    choice = None
    if targets != "ignored" and raw.labels is not None and task is not None:
        choice = read_known_target([raw.labels], task, decimal_comma=raw.decimal_comma)
        if targets == "optional" and not choice.usable.all():
            choice = None
    elif targets == "required":
        raise DataError(
            text("{name} has no target", name=raw.shown),
            text("the target {target!r}", target=raw.target if task is None else task.targets[0]),
            text("add it, or use predict"),
        )
    usable = np.ones(len(raw.values), dtype=bool) if choice is None else choice.usable.copy()
    usable[list(raw.unusable)] = False
    quarantined = quarantine(raw.identifiers, usable, {**(choice.reasons if choice is not None else {}), **raw.unusable}, raw.shown)
    chosen = np.flatnonzero(usable)
    values = raw.values if usable.all() else raw.values[chosen]
    input_hashes = values.hashes()
    told = None if choice is None else choice.values[chosen]
    return SeriesSamples(
        kind="series",
        name=raw.name,
        task=None if choice is None else task,
        inputs=values,
        targets=told,
        identifiers=raw.identifiers if usable.all() else [raw.identifiers[place] for place in chosen.tolist()],
        hashes=input_hashes if told is None or task is None else join_hashes(input_hashes, target_hashes(task, told)),
        quarantined=quarantined,
        notices=[*raw.notices, *(choice.notices if choice is not None else ()), *_missing_notice(values)],
        input_hashes=input_hashes,
        layout=raw.layout,
        value_columns=raw.value_columns,
        group=raw.group,
        time=raw.time,
        header=raw.header,
    )


def _new_raw(source: Any, target: Any, preprocessing: Any, header: bool, task: Task | None, targets: str) -> RawSeries:
    if isinstance(source, (str, Path)) and is_ts_name(source):
        return read_ts(Path(source))
    if isinstance(source, Path) and source.suffix.lower() in (".npy", ".npz"):
        from pellucid.data.arrays.reading import load_array_file

        source, found = load_array_file(source)
        target = found if target is None else target
    if isinstance(source, (str, Path)) or hasattr(source, "columns"):
        return _new_table(source, preprocessing, header, task, targets)
    array: Any = source
    if not isinstance(source, (list, tuple)):
        array = as_array(source, "X")
        if array.ndim == 1 or (array.ndim == 2 and len(preprocessing.channels) > 1):
            array = array[None]  # one series alone
    return series_of_arrays(array, target)


def _new_table(source: Any, preprocessing: Any, header: bool, task: Task | None, targets: str) -> RawSeries:
    """The columns that the network was trained on; the target where it is among them."""
    raw = load(source, header=header)
    name = None if task is None else task.targets[0]
    present = name if name in raw.frame.columns and targets != "ignored" else None
    if preprocessing.layout in ("wide", "long"):
        needed = [*preprocessing.value_columns, *(column for column in (preprocessing.group, preprocessing.time, present) if column)]
        return read_table_of_series(selected(raw, needed), present, group=preprocessing.group, time=preprocessing.time)
    if name is not None and present is None and name in raw.frame.columns:
        raw = replace(raw, frame=raw.frame.drop(name))
    return read_table_of_series(raw, present)
