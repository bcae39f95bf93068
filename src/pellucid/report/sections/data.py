"""The data: how many, how divided, which were copies, which could not be read and why, and what the columns are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pellucid.core.language import Text, sample_name, text
from pellucid.core.wording import COLUMN_KINDS, counted
from pellucid.report import wording
from pellucid.report.figures import Plot, axis, curves
from pellucid.report.records import RunRecords

LETTERS = {"train": "t", "validation": "v", "test": "s"}  # of the ledger's `parts`
MOST_COLUMNS, MOST_QUARANTINED, MOST_NOTICES, MOST_CLASSES = 150, 60, 40, 60


def content(records: RunRecords) -> Mapping[str, Any]:
    ledger = records.ledger
    parts = str(ledger.get("parts", ""))
    sizes = {part: parts.count(letter) for part, letter in LETTERS.items()}
    total = max(sum(sizes.values()), 1)
    samples = int(ledger.get("samples") or records.run["data"].get("samples") or 0)
    quarantined = [(sample_name(str(item.get("identifier", ""))), _reason(item.get("reason"))) for item in ledger.get("quarantined") or ()]
    notices = records.notices
    columns = _columns(records)
    classes = records.task.classes
    return {
        "sizes": [(wording.PART_NAMES[part], size, size / total, part) for part, size in sizes.items()] if parts else [],
        "facts": _facts(records, samples, len(parts) - sum(sizes.values()) if parts else None),
        "notices": notices[:MOST_NOTICES],
        "notices_left_out": max(0, len(notices) - MOST_NOTICES),
        "quarantined": quarantined[:MOST_QUARANTINED],
        "quarantined_left_out": max(0, len(quarantined) - MOST_QUARANTINED),
        "columns": columns[:MOST_COLUMNS],
        "columns_left_out": max(0, len(columns) - MOST_COLUMNS),
        "classes": classes[:MOST_CLASSES],
        "classes_left_out": max(0, len(classes) - MOST_CLASSES),
        "no_ledger": not ledger,
        "examples": _examples(records),
    }


def _facts(records: RunRecords, samples: int, left_out: int | None) -> list[tuple[Text, Any]]:
    """Rows of name and value; what is not known has no row."""
    ledger, data, task = records.ledger, records.run["data"], records.task
    rows: list[tuple[Text, Any]] = [
        (text("source"), str(data.get("name", ""))),
        (text("kind"), wording.DATA_KINDS.get(str(data.get("kind")), str(data.get("kind")))),
        (text("samples"), wording.grouped(samples)),
        (text("one sample"), _one_text(records) or _one_sample(records.run["network"].get("input_shape"), str(data.get("kind")))),
        (text("to predict"), _targets(task.targets)),
    ]
    if task.kind == "classification":
        rows.append((text("classes"), wording.grouped(len(task.classes))))
    rows.append((text("how it was divided"), _division(records)))
    if ledger:
        groups = ledger.get("duplicates") or ()
        rows.append((text("exact copies"), _copies(groups)))
        contradictions = ledger.get("contradictions") or ()
        if contradictions:
            rows.append((text("same inputs, different targets"), _contradicting(contradictions)))
        if ledger.get("removed"):
            rows.append(
                (
                    text("taken out"),
                    counted(
                        len(ledger["removed"]),
                        text("one copy of a sample that a later part holds too"),
                        text("{count} copies of samples that a later part holds too", count=wording.grouped(len(ledger["removed"]))),
                    ),
                )
            )
        elif left_out:
            rows.append((text("in no part"), wording.grouped(left_out)))
        rows.append((text("could not be read"), wording.grouped(len(ledger.get("quarantined") or ()))))
    return rows


def _one_text(records: RunRecords) -> Text | None:
    """A text that is read in order, in words; None of other data."""
    stored = records.preprocessing
    vocabulary = stored.get("vocabulary")
    if stored.get("kind") != "text" or not isinstance(vocabulary, dict):
        return None
    told = {"longest": wording.grouped(float(stored.get("longest", 0))), "known": wording.grouped(len(vocabulary.get("tokens", ())))}
    if vocabulary.get("unit") == "character":
        return text("a text, read character by character, the first {longest} of them; {known} different ones are known", **told)
    return text("a text, read word by word, the first {longest} of them; {known} different ones are known", **told)


def _one_sample(shape: Sequence[int] | None, kind: str) -> Text | str:
    if kind == "table" and shape is not None and len(shape) == 1:
        return text("{count} numbers, once categories and missing values are encoded", count=wording.grouped(shape[0]))
    return wording.shape(shape)


def _examples(records: RunRecords) -> list[tuple[str, Plot]]:
    """Series of the training part, class by class, all on one scale: several series of one channel, or the channels of one."""
    stored = records.preprocessing.get("examples") or {}
    values = [value for of_class in stored.values() for one in of_class for curve in one["curves"] for value in curve if value is not None]
    frame = axis(values, most=4)
    drawn: list[tuple[str, Plot]] = []
    for name, of_class in stored.items():
        if not of_class:
            continue
        single = all(len(one["curves"]) == 1 for one in of_class)
        several = [one["curves"][0] for one in of_class] if single else of_class[0]["curves"]
        steps = [one["steps"] for one in of_class] if single else [of_class[0]["steps"]]
        drawn.append((str(name), curves(several, steps, frame)))
    return drawn


def _reason(stored: Any) -> Text | str:
    return Text.from_dict(stored) if isinstance(stored, Mapping) else str(stored)


def _targets(names: Sequence[str]) -> str:
    shown = ", ".join(names[:12])
    return shown if len(names) <= 12 else f"{shown}, … ({len(names)})"


def _copies(groups: Sequence[Sequence[int]]) -> Text | str:
    copies = sum(len(group) - 1 for group in groups)
    if not copies:
        return text("none")
    return counted(
        len(groups),
        text("{copies}, all of one sample; they stay in one part", copies=wording.grouped(copies)),
        text("{copies}, in {groups} groups; all copies of one sample stay in one part", copies=wording.grouped(copies), groups=len(groups)),
    )


def _contradicting(groups: Sequence[Sequence[int]]) -> Text:
    samples = wording.grouped(sum(len(group) for group in groups))
    several = text("{samples} samples in {groups} groups", samples=samples, groups=len(groups))
    return counted(len(groups), text("{samples} samples", samples=samples), several)


def _division(records: RunRecords) -> Text:
    """By what rule the parts were made."""
    ledger = records.ledger
    options = ledger.get("options") or {}
    seed = ledger.get("seed", records.config.get("seed"))
    if options.get("timed"):
        return text("by time: the latest samples are the test part")
    if options.get("grouped"):
        return text("at random with seed {seed}, each group on one side", seed=seed)
    if "parts" in (ledger.get("reference") or {}) or options.get("given"):
        return text("as the source gives it; what it does not give at random with seed {seed}", seed=seed)
    if records.task.kind == "classification":
        return text("at random with seed {seed}, each class in the same proportion in every part", seed=seed)
    return text("at random with seed {seed}", seed=seed)


def _columns(records: RunRecords) -> list[Mapping[str, Any]]:
    rows: list[Mapping[str, Any]] = []
    for column in records.preprocessing.get("columns") or ():
        kind = str(column.get("kind", ""))
        rows.append(
            {
                "name": str(column.get("name", "")),
                "kind": COLUMN_KINDS.get(kind, kind),
                "used": kind not in wording.UNUSED_COLUMNS,
                "missing": int(column.get("missing") or 0),
                "distinct": column.get("distinct"),
            }
        )
    return rows
