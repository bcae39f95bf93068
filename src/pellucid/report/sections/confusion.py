"""The confusion matrix; of very many classes the pairs that were confused most."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from pellucid.core.language import text
from pellucid.core.results import Confusion
from pellucid.report import wording
from pellucid.report.records import RunRecords
from pellucid.report.sections.absent import Absent, not_recorded

NAMED_COLUMNS = 12  # up to this many classes the columns carry names, above it numbers
WITH_NUMBERS = 60  # up to this many classes every cell carries its count
MOST_CLASSES = 200  # of a drawn matrix
MOST_PAIRS = 20
FEWEST_CLASSES = 5  # a smaller matrix is read at a glance


def content(records: RunRecords) -> Mapping[str, Any] | Absent:
    if records.task.kind not in ("classification", "segmentation"):
        return Absent()
    pixels = records.task.kind == "segmentation"
    measured = records.evaluated
    if measured is None or measured.confusion is None:
        return not_recorded(records)
    confusion = measured.confusion
    drawn = bool(confusion.counts) and len(confusion.classes) <= MOST_CLASSES
    return {
        "part": wording.PART_NAMES[records.evaluated_part or "test"],
        "matrix": _matrix(confusion) if drawn else None,
        "pairs": _pairs(confusion),
        "size": len(confusion.classes),
        "named": len(confusion.classes) <= NAMED_COLUMNS,
        "numbers": len(confusion.classes) <= WITH_NUMBERS and not pixels,  # millions of pixels fit into no cell
        "pixels": pixels,
        "without_matrix": text("With {count} classes only the pairs are kept.", count=wording.grouped(len(records.task.classes))),
        "drawn": drawn,
    }


def _matrix(confusion: Confusion) -> list[Mapping[str, Any]]:
    """A row per actual class; a cell's shade is its share of the row, its square root where wrong, so that rare confusions are seen."""
    rows: list[Mapping[str, Any]] = []
    for actual, counts in enumerate(confusion.counts):
        total = sum(counts)
        cells = [
            (count, (count / total if actual == predicted else math.sqrt(count / total)) if total else 0.0, actual == predicted)
            for predicted, count in enumerate(counts)
        ]
        rows.append({"number": actual + 1, "name": confusion.classes[actual], "cells": cells, "total": total})
    return rows


def _pairs(confusion: Confusion) -> list[tuple[str, str, int]]:
    """(actual, predicted, count) of wrong answers, the commonest first."""
    if confusion.pairs:
        found = [(str(actual), str(predicted), int(count)) for actual, predicted, count in confusion.pairs]
    else:
        found = [
            (confusion.classes[actual], confusion.classes[predicted], int(count))
            for actual, counts in enumerate(confusion.counts)
            for predicted, count in enumerate(counts)
            if count and actual != predicted
        ]
    return sorted(found, key=lambda pair: -pair[2])[: 0 if 0 < len(confusion.classes) < FEWEST_CLASSES else MOST_PAIRS]
