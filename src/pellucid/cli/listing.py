"""The table of runs, and two or more runs side by side."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pellucid.cli.layout import number, one_line, words
from pellucid.cli.names import metric_name, status_name
from pellucid.cli.session import Session
from pellucid.core.errors import OptionError, did_you_mean
from pellucid.core.language import Text, text
from pellucid.core.options import BY_NAME
from pellucid.core.wording import count, duration

if TYPE_CHECKING:
    from pellucid.runs.store import ComparedRow, RunEntry

STATES = ("finished", "running", "stopped", "started", "unreadable")
_STATE_STYLES = {"finished": "green", "running": "cyan", "stopped": "yellow", "started": "yellow", "unreadable": "red"}
_KINDS = {  # kinds of rows of a comparison -> heading
    "data": text("data"),
    "config": text("options"),
    "network": text("network"),
    "environment": text("machine"),
    "metric": text("metrics"),
    "cost": text("cost"),
}


def show(session: Session, folder: str, *, task: str | None, network: str | None, status: str | None, where: Sequence[str]) -> None:
    """List the runs in `folder`, the latest first."""
    if task is not None:
        task = BY_NAME["task"].check(task)
    if status is not None and status not in STATES:
        raise OptionError(
            text("{option} is {value!r}", option="status", value=status),
            text("one of: {names}", names=list(STATES)),
            did_you_mean(status, STATES),
        )
    from pellucid.runs.store import matching, runs_in

    every = runs_in(folder)
    named = {"task": task, "network": network, "status": status}
    conditions = [f"{name}={value}" for name, value in named.items() if value is not None]
    entries = matching(every, [*conditions, *where])[::-1]
    if session.json:
        session.write_json({"folder": folder, "runs": [_as_json(entry) for entry in entries]})
        return
    output = session.out
    if not entries:
        what = text("no runs in {folder}", folder=folder) if not every else text("none of the {count} runs matches", count=len(every))
        output.prose(str(what))
        return
    header = [text("run"), text("created"), text("status"), text("network"), text("result"), text("epochs"), text("time")]
    rows = [
        [
            (one_line(entry.name), "bold"),
            _local(entry.created, short=output.live),
            (str(status_name(entry.status)), _STATE_STYLES.get(entry.status, "")),
            entry.network,
            _result(entry),
            count(entry.epochs),
            str(duration(entry.seconds)) if entry.seconds else "-",
        ]
        for entry in entries
    ]
    output.table([str(name) for name in header], rows, right=(5, 6), spare=(5, 6, 1))
    if any(_on_another_part(entry) for entry in entries):
        output.prose(str(text("* on the validation part: nothing was measured on a test part")), "dim", rest="  ")
    for entry in entries:
        if entry.error is not None:
            session.err.prose(entry.error.split("\n")[0], "yellow", first="  ")


def _result(entry: RunEntry) -> str:
    for name in ("accuracy", "r2", "mean_iou", *entry.metrics):
        if name in entry.metrics:
            return words(metric_name(name), number(entry.metrics[name], 3)) + ("*" if _on_another_part(entry) else "")
    return "-"


def _on_another_part(entry: RunEntry) -> bool:
    return bool(entry.metrics) and entry.part != "test"


def _local(created: str, *, short: bool) -> str:
    """The user's own time; for a narrow window without this year's number."""
    try:
        moment = datetime.datetime.fromisoformat(created).astimezone()
    except ValueError:
        return created or "-"
    if short and moment.year == datetime.datetime.now().year:
        return moment.strftime("%m-%d %H:%M")
    return moment.strftime("%Y-%m-%d" if short else "%Y-%m-%d %H:%M")


def _as_json(entry: RunEntry) -> dict[str, Any]:
    return {
        "path": str(entry.path),
        "name": entry.name,
        "created": entry.created,
        "status": entry.status,
        "data": entry.data,
        "task": entry.task,
        "network": entry.network,
        "part": entry.part,
        "metrics": dict(entry.metrics),
        "epochs": entry.epochs,
        "seconds": entry.seconds,
        "config": dict(entry.config),
        "error": entry.error,
    }


def compare(session: Session, folders: Sequence[str]) -> None:
    """In what runs differ: data, options, network and machine where they differ, every metric, and the cost."""
    from pellucid.runs.store import compare as rows_of

    rows = rows_of(folders)
    if session.json:
        table = [{"kind": row.kind, "name": row.name, "values": list(row.values)} for row in rows]
        session.write_json({"runs": list(folders), "rows": table})
        return
    names = [Path(folder).name or folder for folder in folders]
    if len(set(names)) < len(names):
        names = list(folders)
    table, kind = [], ""
    for row in rows:
        if row.kind != kind:
            kind = row.kind
            table += ([[""] * (len(names) + 1)] if table else []) + [[(str(_KINDS.get(kind, kind)), "bold"), *[""] * len(names)]]
        table.append([f"  {_row_name(row)}", *_cells(row)])
    session.out.table(["", *names], table)


def _row_name(row: ComparedRow) -> Text | str:
    if row.kind == "metric":
        return metric_name(row.name)
    if row.kind == "cost":
        return {"epochs": text("epochs"), "seconds": text("time")}.get(row.name, row.name)
    return row.name


def _cells(row: ComparedRow) -> list[str | tuple[str, str]]:
    """The values; of metrics the best is bold."""
    if row.kind == "cost" and row.name == "seconds":
        return [str(duration(value)) for value in row.values]
    shown = [number(value) if row.kind == "metric" and value is not None else _shown(value) for value in row.values]
    values = [value for value in row.values if isinstance(value, (int, float))]
    if row.kind != "metric" or len(set(shown)) < 2 or not values:
        return [one_line(value) for value in shown]
    best = max(values) if _higher_is_better(row.name) else min(values)
    return [(value, "bold") if row.values[index] == best else value for index, value in enumerate(shown)]


def _higher_is_better(metric: str) -> bool:
    return not any(word in metric for word in ("loss", "rmse", "mse", "mae", "error"))


def _shown(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return str(text("yes")) if value else str(text("no"))
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, (list, tuple)):
        return ", ".join(str(item) for item in value)
    return str(value)
