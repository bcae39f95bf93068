"""What is seen in data before any training: counts, kinds of columns, missing values, class balance, copies, what looks suspicious."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np

from pellucid.core.errors import DataError
from pellucid.core.hashing import equal_groups, hash_bytes
from pellucid.core.language import Text, sample_name, text
from pellucid.core.records import Notice, Record, Task
from pellucid.core.wording import COLUMN_KINDS
from pellucid.data.samples import Quarantined, Samples

_COMMON = 5  # values named per column
_IMBALANCE = 10.0  # commonest class over rarest, from which the balance is worth a sentence
_CHUNK = 1 << 22  # numbers looked at together


@dataclass(frozen=True, kw_only=True)
class ValueDescription(Record):
    """One column, one target or one array of numbers. What does not apply is None or empty."""

    name: str
    kind: str  # a column's kind, or "array"
    used: bool = True  # whether a network sees it
    missing: int = 0
    distinct: int | None = None
    minimum: float | None = None
    maximum: float | None = None
    mean: float | None = None
    deviation: float | None = None  # standard deviation, divided by n
    median: float | None = None
    common: Mapping[str, int] = field(default_factory=lambda: cast("dict[str, int]", {}))  # the commonest values and how often they occur
    first: str | None = None  # earliest and latest date
    last: str | None = None
    words_for_missing: tuple[str, ...] = ()  # what missing values look like in the file


@dataclass(frozen=True, kw_only=True)
class DataDescription(Record):
    """A source of data, described. `sentences` say the most important of it in words; `notices` say what should be looked at."""

    kind: str  # "table", "images", "array", "torch", "series"
    name: str
    samples: int
    shape: tuple[int, ...] = ()  # of one sample; (columns,) for a table; empty where samples differ or were not looked at
    task: Task | None = None
    columns: tuple[ValueDescription, ...] = ()  # of a table; of other data one entry for all numbers together
    targets: tuple[ValueDescription, ...] = ()
    classes: Mapping[str, int] = field(
        default_factory=lambda: cast("dict[str, int]", {})
    )  # samples, of masks pixels, per class, in the classes' order
    missing: int = 0  # values missing in all columns together
    duplicates: int = 0  # samples that are exact copies of an earlier one, target included
    contradictions: int = 0  # samples whose input equals another's while their targets differ
    parts: Mapping[str, int] = field(default_factory=lambda: cast("dict[str, int]", {}))  # samples per part, where the source is split
    groups: int | None = None
    lengths: tuple[int, int] | None = None  # of series: steps of the shortest and the longest
    steps: int | None = None  # of all series together
    texts: Mapping[str, Any] = field(
        default_factory=lambda: cast("dict[str, Any]", {})
    )  # where a column of texts is all that is learnt from
    quarantined: tuple[Quarantined, ...] = ()
    notices: tuple[Notice, ...] = ()
    sentences: tuple[Text, ...] = ()


def describe(samples: Samples) -> DataDescription:
    """Look at all samples of any kind; nothing of them is changed.

    Example: `describe(read("adult.csv", "income")).sentences`
    """
    notices = list(samples.notices)
    columns, shape = _inputs(samples, notices)
    if samples.kind == "forecasting":
        notices += _of_series(samples)
    task = samples.task
    classes: dict[str, int] = {}
    targets: tuple[ValueDescription, ...] = ()
    if task is not None and samples.targets is not None:
        if task.kind == "classification":
            counts = np.bincount(samples.targets, minlength=len(task.classes))
            classes = dict(zip(task.classes, counts.tolist(), strict=True))
        elif task.kind == "segmentation":
            counts = np.bincount(samples.targets.reshape(-1), minlength=256)[: len(task.classes)]
            classes = dict(zip(task.classes, counts.tolist(), strict=True))
        else:
            values = np.asarray(samples.targets, dtype=np.float64).reshape(len(samples), -1)
            targets = tuple(_numbers(name, "numeric", values[:, index]) for index, name in enumerate(task.targets))
    fixed = Counter(str(part) for part in samples.fixed_parts.tolist()) if samples.fixed_parts is not None else Counter[str]()
    found: dict[str, Any] = {
        "kind": samples.kind,
        "name": samples.name,
        "samples": len(samples),
        "shape": shape,
        "task": task,
        "columns": columns,
        "targets": targets,
        "classes": classes,
        "missing": sum(column.missing for column in columns),
        "duplicates": sum(len(group) - 1 for group in equal_groups(samples.hashes)),
        "contradictions": _contradictions(samples),
        "parts": {part: count for part, count in fixed.items() if part},
        "groups": len(set(samples.groups.tolist())) if samples.groups is not None else None,
        "quarantined": tuple(samples.quarantined),
        "notices": tuple(notices),
    }
    if samples.kind == "series":
        lengths = samples.inputs.lengths
        found |= {"lengths": (int(lengths.min()), int(lengths.max())) if len(lengths) else (0, 0), "steps": int(lengths.sum())}
    if samples.kind == "table":
        found["texts"] = _texts(samples)
    return DataDescription(**found, sentences=tuple(_sentences(DataDescription(**found))))


def _of_series(samples: Any) -> list[Notice]:
    """What a training would find: season, horizon, lags; or why there would be none."""
    from pellucid.data.forecasting.reading import series_notice
    from pellucid.data.preparation import prepare

    known = {str(notice.summary) for notice in samples.notices}
    try:
        found = [notice for notice in prepare(samples).notices if str(notice.summary) not in known]
    except DataError as error:
        found = [Notice(kind="no_training", summary=text("no training is possible: {reason}", reason=str(error).replace("\n", "; ")))]
    return [series_notice(samples), *found]


def _contradictions(samples: Samples) -> int:
    if not samples.input_hashes:
        return 0
    groups = equal_groups(samples.input_hashes)
    return sum(len(group) for group in groups if len({samples.hashes[position] for position in group}) > 1)


# -- inputs --------------------------------------------------------------------------------------------------------------------------


def _inputs(samples: Samples, notices: list[Notice]) -> tuple[tuple[ValueDescription, ...], tuple[int, ...]]:
    inputs = samples.inputs
    if samples.kind == "table":
        columns = _columns(samples, notices)
        return columns, (len(columns),)
    if samples.kind == "series":
        named = [name or str(text("value")) for name in inputs.channels]
        return tuple(_numbers(name, "numeric", inputs.steps[:, place]) for place, name in enumerate(named)), inputs.shape[1:]
    if isinstance(inputs, np.ndarray) and inputs.dtype.kind in "biuf" and inputs.ndim > 1:
        return (_array(inputs, notices),), tuple(inputs.shape[1:])
    shape = getattr(inputs, "input_shape", None) or getattr(inputs, "shape", (0,))[1:]
    return (), tuple(int(size) for size in shape)


def _array(inputs: np.ndarray, notices: list[Notice]) -> ValueDescription:
    """All numbers of an array together, in pieces, so that its memory is not needed twice."""
    step = max(1, _CHUNK // max(1, inputs[:1].size))
    low, high, total, squares = np.inf, -np.inf, 0.0, 0.0
    constant = np.ones(inputs.shape[1:], dtype=bool)
    for start in range(0, len(inputs), step):
        block = inputs[start : start + step].astype(np.float64)
        low, high = min(low, float(block.min())), max(high, float(block.max()))
        total += float(block.sum())
        constant &= (inputs[start : start + step] == inputs[0]).all(axis=0)
    mean = total / inputs.size
    for start in range(0, len(inputs), step):
        squares += float(np.square(inputs[start : start + step].astype(np.float64) - mean).sum())
    count = int(constant.sum())
    if count and len(inputs) > 1:
        notices.append(
            Notice(
                kind="constant_features",
                summary=text("{count} of {features} features have the same value in every sample", count=count, features=constant.size),
                evidence={"features": np.flatnonzero(constant)[:100].tolist()},
            )
        )
    return ValueDescription(
        name="inputs", kind="array", minimum=low, maximum=high, mean=mean, deviation=float(np.sqrt(squares / inputs.size))
    )


def _numbers(name: str, kind: str, values: np.ndarray, **known: Any) -> ValueDescription:
    present = values[np.isfinite(values)]
    if not len(present):
        return ValueDescription(name=name, kind=kind, **known)
    with np.errstate(over="ignore", invalid="ignore"):
        mean, deviation = float(present.mean()), float(present.std())
    return ValueDescription(
        name=name,
        kind=kind,
        **{"missing": len(values) - len(present), "distinct": len(np.unique(present)), **known},
        minimum=float(present.min()),
        maximum=float(present.max()),
        mean=mean if np.isfinite(mean) else None,
        deviation=deviation if np.isfinite(deviation) else None,
        median=float(np.median(present)),
    )


# -- tables --------------------------------------------------------------------------------------------------------------------------


def _columns(samples: Samples, notices: list[Notice]) -> tuple[ValueDescription, ...]:
    import polars as pl

    from pellucid.data.tables.columns import infer_columns
    from pellucid.data.tables.reading import TableSamples

    frame: pl.DataFrame = samples.inputs
    if isinstance(samples, TableSamples):
        columns = samples.columns
    else:
        columns, frame = infer_columns(frame)
    described: list[ValueDescription] = []
    contents: dict[str, list[str]] = {}
    for name, column in columns.items():
        values = frame[name]
        known: dict[str, Any] = {
            "used": column.used, "missing": values.null_count(), "distinct": column.distinct, "words_for_missing": column.words_for_missing,
        }  # fmt: skip
        if column.used and column.kind != "text":
            contents.setdefault(_content(values), []).append(name)
        if values.dtype == pl.Float64:
            described.append(_numbers(name, column.kind, values.fill_null(float("nan")).to_numpy(), **known))
        elif values.dtype == pl.Datetime and values.len() > values.null_count():
            described.append(ValueDescription(name=name, kind=column.kind, **known, first=str(values.min()), last=str(values.max())))
        elif column.kind in ("categorical", "boolean", "constant") and values.dtype in (pl.String, pl.Boolean):
            described.append(ValueDescription(name=name, kind=column.kind, **known, common=_common(values)))
        else:
            described.append(ValueDescription(name=name, kind=column.kind, **known))
    notices += [
        Notice(
            kind="equal_columns",
            summary=text("columns with the same values in every row: {names}", names=[repr(name) for name in names]),
            where=names[0],
            evidence={"columns": names},
        )
        for names in contents.values()
        if len(names) > 1
    ]
    return tuple(described)


def _texts(samples: Samples) -> dict[str, Any]:
    """Lengths, tokens and examples of the texts, where nothing else is learnt from."""
    from pellucid.data.tables.columns import used_columns
    from pellucid.data.tables.reading import TableSamples
    from pellucid.data.text.vocabulary import cut, unit_of

    used = used_columns(samples.columns) if isinstance(samples, TableSamples) else []
    if len(used) != 1 or samples.columns[used[0]].kind != "text" or not len(samples):  # pyright: ignore[reportAttributeAccessIssue]
        return {}
    texts: Any = samples.inputs[used[0]]
    unit = unit_of(texts)
    tokens: Any = cut(texts, unit)
    lengths, counted = tokens.list.len(), tokens.explode().drop_nulls().value_counts(name="times")
    return {
        "column": used[0],
        "unit": unit,
        "shortest": int(lengths.min()),
        "median": float(lengths.median()),
        "longest": int(lengths.max()),
        "tokens": counted.height,
        "once": int((counted["times"] == 1).sum()),
        "example": str(texts.drop_nulls()[0])[:80] if texts.null_count() < texts.len() else "",
    }


def _common(values: Any) -> dict[str, int]:
    counted = values.drop_nulls().value_counts(sort=True).head(_COMMON)
    return {str(value): int(count) for value, count in counted.iter_rows()}


def _content(values: Any) -> str:
    import polars as pl

    if values.dtype == pl.String:
        return hash_bytes(*(b"\x00" if value is None else value.encode("utf-8") for value in values.to_list()))
    return hash_bytes(values.cast(pl.Float64).fill_null(float("nan")).to_numpy().tobytes())


# -- in words ------------------------------------------------------------------------------------------------------------------------


def _sentences(found: DataDescription) -> list[Text]:
    said: list[Text] = []
    if found.kind == "table":
        counts = Counter(column.kind for column in found.columns)
        kinds = [text("{count} {kind}", count=counts[kind], kind=word) for kind, word in COLUMN_KINDS.items() if counts[kind]]
        said.append(
            text("{samples} rows with {columns} input columns: {kinds}.", samples=found.samples, columns=len(found.columns), kinds=kinds)
        )
        if found.texts:
            said += _text_sentences(found.texts)
    elif found.kind == "series":
        shortest, longest = found.lengths or (0, 0)
        told = {"samples": found.samples, "channels": found.shape[0], "steps": longest, "shortest": shortest}
        said.append(
            text("{samples} series with {channels} channels and {steps} steps each.", **told)
            if shortest == longest
            else text("{samples} series with {channels} channels and {shortest} to {steps} steps.", **told)
        )
    elif found.kind == "forecasting":
        said.append(text("{samples} steps of one or several series.", samples=found.samples))
    elif found.shape:
        shape = " x ".join(map(str, found.shape))
        said.append(text("{samples} samples of shape {shape}.", samples=found.samples, shape=shape))
    else:
        said.append(text("{samples} samples.", samples=found.samples))
    said += _target_sentences(found)
    if found.missing and found.kind != "series":  # of series reading says it
        cells = found.samples * max(1, len(found.columns))
        most = sorted((column for column in found.columns if column.missing), key=lambda column: -column.missing)[:3]
        said.append(
            text(
                "{count} values ({share:.3g} %) are missing, most of them in: {columns}.",
                count=found.missing,
                share=100 * found.missing / max(1, cells),
                columns=[text("{name} ({share:.3g} %)", name=column.name, share=100 * column.missing / found.samples) for column in most],
            )
        )
    if found.duplicates:
        said.append(
            text(
                "{count} samples ({share:.3g} %) are exact copies of others.",
                count=found.duplicates,
                share=100 * found.duplicates / found.samples,
            )
        )
    if found.contradictions:
        said.append(text("{count} samples have equal inputs but different targets.", count=found.contradictions))
    if found.quarantined:
        said.append(
            text(
                "Samples that cannot be used: {count}, for example {name}: {reason}.",
                count=len(found.quarantined), name=sample_name(found.quarantined[0].identifier), reason=found.quarantined[0].reason,
            )
        )  # fmt: skip
    return said


def _text_sentences(found: Mapping[str, Any]) -> list[Text]:
    told = {name: found[name] for name in ("column", "shortest", "longest", "tokens")}
    told |= {"median": f"{found['median']:g}", "share": f"{100 * found['once'] / max(1, found['tokens']):.3g}"}
    characters = found["unit"] == "character"
    return [
        text("The texts in {column!r} are read character by character, in their order: {shortest} to {longest} characters, half of them at "
             "most {median}; {tokens} different characters, {share} % of which occur once.", **told)
        if characters
        else text("The texts in {column!r} are read word by word, in their order: {shortest} to {longest} words and marks, half of them at "
                  "most {median}; {tokens} different ones, {share} % of which occur once.", **told),
        text("For example: {example!r}.", example=found["example"]),
    ]  # fmt: skip


def _target_sentences(found: DataDescription) -> list[Text]:
    if found.task is None:
        return [text("No target was named.")]
    if found.task.kind == "segmentation":
        pixels = max(1, sum(found.classes.values()))
        shares = [text("{name} {share:.3g} %", name=name, share=100 * count / pixels)
                  for name, count in sorted(found.classes.items(), key=lambda item: -item[1])]  # fmt: skip
        return [text("Each pixel has one of {count} classes; their shares: {shares}.", count=len(shares), shares=shares[:20])]
    if found.classes:
        order = sorted(found.classes, key=lambda label: -found.classes[label])
        common, rare = order[0], order[-1]
        said = [
            text(
                "The target {target!r} has {count} classes; the commonest, {common!r}, is {share:.3g} % of the samples: "
                "so often a network that always answers it would be right.",
                target=found.task.targets[0], count=len(order), common=common, share=100 * found.classes[common] / max(1, found.samples),
            )
        ]  # fmt: skip
        if found.classes[common] >= _IMBALANCE * max(1, found.classes[rare]):
            said.append(
                text(
                    "The classes are imbalanced: {common!r} has {most} samples, {rare!r} has {least}.",
                    common=common, most=found.classes[common], rare=rare, least=found.classes[rare],
                )
            )  # fmt: skip
        return said
    return [
        text(
            "The target {target!r} is a number from {low:.6g} to {high:.6g}; mean {mean:.6g}, standard deviation {deviation:.4g}.",
            target=target.name, low=target.minimum, high=target.maximum, mean=target.mean, deviation=target.deviation,
        )
        for target in found.targets
        if target.mean is not None and target.deviation is not None
    ]  # fmt: skip
