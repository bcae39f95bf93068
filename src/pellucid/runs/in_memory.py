"""A run that is kept in memory alone: what training writes is there to read, and no file is made."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pellucid.core.records import Record


class RunInMemory:
    """Stands where a `RunDirectory` does for trainings that nobody resumes: estimators. Rows and records are kept, checkpoints are not."""

    path: Path | None = None  # there is no directory to name

    def __init__(self) -> None:
        self._rows: list[dict[str, Any]] = []
        self._records: dict[str, dict[str, Any]] = {}

    def append_metrics(self, row: Mapping[str, Any]) -> None:
        self._rows.append(dict(row))

    def metrics(self) -> list[dict[str, Any]]:
        return list(self._rows)

    def metrics_size(self) -> int:
        return len(self._rows)

    def cut_metrics(self, size: int) -> None:
        del self._rows[size:]

    def write_record(self, name: str, record: Record | Mapping[str, Any]) -> None:
        self._records[name] = record.to_dict() if isinstance(record, Record) else dict(record)

    def read_record(self, name: str) -> dict[str, Any]:
        return self._records[name]

    def record_names(self) -> list[str]:
        return sorted(self._records)

    def save_weights(self, state_dict: Mapping[str, Any], metadata: Mapping[str, Any] | None = None) -> None:
        """The weights are the network's."""

    def save_checkpoint(self, step: int, state: Any) -> None:
        """What lives in memory dies with the program: there is nothing to go on from."""

    def latest_checkpoint(self) -> None:
        return None
