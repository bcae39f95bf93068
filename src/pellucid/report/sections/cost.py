"""What the training cost, beside what was expected of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pellucid.core.language import Text, text
from pellucid.core.records import Cost
from pellucid.core.wording import duration
from pellucid.report import wording
from pellucid.report.records import RunRecords
from pellucid.report.sections.absent import Absent


def content(records: RunRecords) -> Mapping[str, Any] | Absent:
    cost = records.cost
    if cost is None:
        seconds = records.history[-1].get("seconds") if records.history else None
        if not isinstance(seconds, (int, float)):
            return Absent(text("Not recorded: the training was not finished."))
        so_far = text("{seconds} in {epochs} epochs so far", seconds=duration(seconds), epochs=len(records.history))
        return {"rows": [(text("time"), "–", so_far)], "expected": False, "device": None}
    expected = cost.expected_seconds is not None or cost.expected_memory_bytes is not None
    return {"rows": _rows(cost), "expected": expected, "device": cost.device}


def _rows(cost: Cost) -> list[tuple[Text, Any, Any]]:
    """(what, expected, actual)"""
    seconds, size = cost.expected_seconds, cost.expected_memory_bytes
    rows: list[tuple[Text, Any, Any]] = [
        (text("time in all"), duration(seconds) if seconds is not None else "–", duration(cost.seconds)),
        (text("of which in training steps"), "–", duration(cost.training_seconds)),
        (text("of which writing checkpoints"), "–", duration(cost.checkpoint_seconds)),
        (text("largest memory of the process"), wording.memory(size), wording.memory(cost.peak_memory_bytes)),
        (text("epochs"), "–", wording.grouped(cost.epochs)),
        (text("steps"), "–", wording.grouped(cost.steps)),
        (text("training samples seen, repetitions counted"), "–", wording.grouped(cost.samples)),
        (
            text("training samples per second"),
            "–",
            wording.grouped(cost.samples / cost.training_seconds) if cost.training_seconds > 0 else "–",
        ),
        (text("operations for one sample, forward and backward"), "–", wording.scaled(cost.flops_per_sample, "FLOP")),
        (text("operations in all training steps"), "–", wording.scaled(cost.total_flops, "FLOP")),
    ]
    if cost.total_flops and cost.training_seconds > 0:
        rows.append((text("operations per second"), "–", wording.scaled(cost.total_flops / cost.training_seconds, "FLOP/s")))
    rows.append((text("energy of the processor"), "–", _energy(cost.energy_joules)))
    return rows


def _energy(joules: float | None) -> Text | str:
    if joules is None:
        return text("not measurable here")
    return f"{joules:.0f} J" if joules < 36_000 else f"{joules / 3.6e6:.3g} kWh"
