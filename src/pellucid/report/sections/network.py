"""The network, layer by layer: shapes, parameters, operations, receptive field."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pellucid.core.language import text
from pellucid.report import wording
from pellucid.report.records import RunRecords

MOST_ROWS = 250


def content(records: RunRecords) -> Mapping[str, Any]:
    described = records.run["network"]
    settings = records.settings
    stored = dict(described.get("options") or {})
    if stored.get("vocabulary") == 0:  # a network for series, which embeds nothing
        del stored["vocabulary"]
        stored.pop("embedding_size", None)
    options = {str(name): _option(value) for name, value in stored.items()}
    if settings.get("activation") and not described.get("custom"):
        options.setdefault("activation", _option(settings["activation"]))
    table = records.network
    return {
        "name": str(described.get("name", "")),
        "custom": bool(described.get("custom")),
        "options": options,
        "parameters": wording.grouped(table.parameters if table else described.get("parameters") or 0),
        "inputs": wording.shape(described.get("input_shape")),
        "outputs": described.get("outputs"),
        "table": table,
        "rows": table.rows[:MOST_ROWS] if table else (),
        "rows_left_out": (max(0, len(table.rows) - MOST_ROWS) + table.rows_left_out) if table else 0,
        "with_field": table is not None and any(row.receptive_field for row in table.rows),
        "missing": text("Not recorded: the run has no table of its layers.") if table is None else None,
    }


def _option(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return ", ".join(str(item) for item in value)
    return str(value).removeprefix("python:")
