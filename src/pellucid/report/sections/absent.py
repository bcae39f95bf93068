"""Why a section is empty."""

from __future__ import annotations

from dataclasses import dataclass

from pellucid.core.language import Text, text
from pellucid.report.records import RunRecords


@dataclass(frozen=True)
class Absent:
    """Nothing to show. With a reason the section stands in the report and says it; without one it does not belong to this task."""

    reason: Text | None = None


def not_recorded(records: RunRecords) -> Absent:
    """The record that the section draws is not there."""
    if records.divergence is not None:
        return Absent(text("Not measured: the loss diverged before the training was done."))
    if records.running:
        return Absent(text("Not measured yet: the training is running."))
    if not records.finished:
        return Absent(text("Not measured yet: the training was interrupted."))
    return Absent(text("Not recorded: the run was made by an earlier version, or this was switched off."))
