"""The names of parts, tasks, metrics and states, in the user's language."""

from __future__ import annotations

from pellucid.core.language import Text, text
from pellucid.core.wording import COLUMN_KINDS, TASK_NAMES
from pellucid.diagnosis.dynamic.curves import METRIC_WORDS

_PARTS = {"train": text("training"), "validation": text("validation"), "test": text("test")}

_STATUS = {
    "finished": text("finished"),
    "running": text("running"),
    "stopped": text("stopped"),
    "started": text("started"),
    "unreadable": text("unreadable"),
}

_MORE_METRICS = {
    "log_loss": text("log loss"),
    "top5_accuracy": text("top-5 accuracy"),
    "loss_stderr": text("standard error of the loss"),
}


def column_kind_name(kind: str) -> Text | str:
    return COLUMN_KINDS["numeric"] if kind == "array" else COLUMN_KINDS.get(kind, kind)


def part_name(part: str) -> Text | str:
    return _PARTS.get(part, part)


def task_name(task: str) -> Text | str:
    return TASK_NAMES.get(task, task)


def status_name(status: str) -> Text | str:
    return _STATUS.get(status, status)


def metric_name(metric: str) -> Text | str:
    return METRIC_WORDS.get(metric) or _MORE_METRICS.get(metric) or metric.replace("_", " ")
