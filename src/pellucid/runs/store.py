"""The runs in a folder: list, filter, compare. The list is read from the directories themselves; there is no index to go stale."""

from __future__ import annotations

import fnmatch
import math
import operator
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeGuard, cast

from pellucid.core.errors import OptionError, PellucidError, RunError, did_you_mean
from pellucid.core.language import text
from pellucid.core.system import storage_errors
from pellucid.runs.directory import RunDirectory


@dataclass(frozen=True)
class RunEntry:
    """One line of the list. Of an unreadable run only `path`, `name` and `error` are known."""

    path: Path
    name: str
    created: str = ""  # ISO 8601, UTC
    status: str = "unreadable"  # "finished", "running" (being trained now), "stopped" (has metrics, no summary), "started"
    task: str = ""  # "classification", "regression"
    network: str = ""
    data: str = ""
    metrics: Mapping[str, float] = field(default_factory=lambda: cast("dict[str, float]", {}))  # test part, else validation, else training
    part: str = ""  # which part `metrics` were measured on
    epochs: int = 0
    seconds: float = 0.0
    config: Mapping[str, Any] = field(default_factory=lambda: cast("dict[str, Any]", {}))
    error: str | None = None  # in the language in force when the run was read


def runs_in(folder: Path | str) -> list[RunEntry]:
    """Every run directly in `folder`, the oldest first; unreadable ones too, with the reason. `folder` may itself be a run.

    Raises:
        RunError: there is no such folder.
        StorageError: the disk refuses.
    """
    folder = Path(folder).expanduser()
    with storage_errors(folder):
        if not folder.is_dir():
            raise RunError(
                text("{path} is not a folder", path=str(folder)),
                text("the folder that holds the runs"),
                text("check the path; training makes the folder, named runs where nothing else is said"),
            )
        if (folder / "run.json").is_file():
            return [entry(folder)]
        found = [path for path in folder.iterdir() if (path / "run.json").is_file()]
    return sorted((entry(path) for path in found), key=lambda item: (item.created, item.name))


def entry(path: Path) -> RunEntry:
    """The line of one run; never raises for a run that cannot be read."""
    try:
        directory = RunDirectory.open(path)
        run = directory.read_json("run.json")
        rows = directory.metrics()
        summary = directory.read_record("summary") if directory.has_record("summary") else None
        part, metrics = _final_metrics(summary, rows)
        return RunEntry(
            path=path,
            name=run["name"],
            created=run["created"],
            status=_status(directory, rows, summary),
            task=str(run["task"].get("kind", "")),
            network=str(run["network"].get("name", "")),
            data=str(run["data"].get("name", "")),
            metrics=metrics,
            part=part,
            epochs=len(rows),
            seconds=_seconds(summary, rows),
            config=run["config"],
        )
    except PellucidError as error:
        return RunEntry(path=path, name=path.name, error=str(error))


def _status(directory: RunDirectory, rows: Sequence[Any], summary: Mapping[str, Any] | None) -> str:
    if directory.is_locked():
        return "running"
    if summary is not None:
        return "finished"
    return "stopped" if rows else "started"


def _final_metrics(summary: Mapping[str, Any] | None, rows: Sequence[Mapping[str, Any]]) -> tuple[str, dict[str, float]]:
    """The summary's scores of the test part, else of validation, else of training; without a summary those of the last row."""
    last = rows[-1] if rows else {}
    scores = _mapping(summary.get("scores")) if summary is not None else {}
    for part in ("test", "validation", "train"):
        if summary is not None:
            measured = [_mapping(score) for score in scores[part]] if isinstance(scores.get(part), list) else []
            pairs = [(str(score.get("name")), score.get("value")) for score in measured]
        else:
            pairs = list(_mapping(last.get(part)).items())
        numbers = {name: float(value) for name, value in pairs if _is_number(value)}
        if numbers:
            return part, numbers
    return "", {}


def _seconds(summary: Mapping[str, Any] | None, rows: Sequence[Mapping[str, Any]]) -> float:
    cost = _mapping(summary.get("cost")) if summary is not None else {}
    seconds = cost.get("seconds", rows[-1].get("seconds", 0.0) if rows else 0.0)
    return float(seconds) if _is_number(seconds) else 0.0


def _mapping(value: Any) -> Mapping[str, Any]:
    return cast("Mapping[str, Any]", value) if isinstance(value, Mapping) else {}


def _is_number(value: Any) -> TypeGuard[float]:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


# -------------------------------------------------------------------------------------------------------------------------------- filter

_CONDITION = re.compile(r"^\s*(?P<name>[^\s<>=!]+)\s*(?P<sign>>=|<=|!=|==|=|>|<)\s*(?P<value>(?![<>=]).*?)\s*$")
_SIGNS: dict[str, Callable[[Any, Any], bool]] = {
    ">=": operator.ge, "<=": operator.le, ">": operator.gt, "<": operator.lt, "=": operator.eq, "==": operator.eq, "!=": operator.ne
}  # fmt: skip
_FIELDS = ("name", "created", "status", "task", "network", "data", "epochs", "seconds")


def matching(entries: Iterable[RunEntry], conditions: Sequence[str]) -> list[RunEntry]:
    """The entries for which all `conditions` hold: a field, option or metric, a sign (= != < <= > >=) and a value.

    Texts are compared without case, and * and ? stand for anything: `network=mlp`, `name=adult*`, `accuracy>=0.95`, `batch_size=32`.
    An entry that lacks the name does not match.

    Raises:
        OptionError: a condition that is none, or a name that no entry has.
    """
    chosen = list(entries)
    known = {*_FIELDS, *(name for item in chosen for name in (*item.metrics, *item.config))}
    for condition in conditions:
        match = _CONDITION.match(condition)
        if match is None:
            raise OptionError(
                text("the condition is {condition!r}", condition=condition),
                text("a name, a sign and a value"),
                text("write for example network=mlp or accuracy>=0.95"),
            )
        name, sign, value = match["name"].replace("-", "_"), match["sign"], match["value"]
        if chosen and name not in known:
            raise OptionError(
                text("no run has {name!r}", name=name),
                text("a field, an option or a metric of these runs"),
                did_you_mean(name, sorted(known)),
            )
        chosen = [item for item in chosen if _holds(_value(item, name), sign, value)]
    return chosen


def _value(item: RunEntry, name: str) -> Any:
    if name in _FIELDS:
        return getattr(item, name)
    return item.metrics.get(name, item.config.get(name))


def _holds(got: Any, sign: str, wanted: str) -> bool:
    if got is None:
        return wanted.lower() in ("none", "") and sign in ("=", "==")
    if _is_number(got):
        try:
            return not math.isnan(got) and _SIGNS[sign](got, float(wanted))
        except ValueError:
            return sign == "!="
    written = str(got).lower()
    if sign in ("=", "==", "!="):
        return fnmatch.fnmatchcase(written, wanted.lower()) == (sign != "!=")
    return _SIGNS[sign](written, wanted.lower())  # dates in ISO order


# ------------------------------------------------------------------------------------------------------------------------------- compare


@dataclass(frozen=True)
class ComparedRow:
    """One thing in which runs may differ, and its value in each; None where a run lacks it."""

    kind: str  # "data", "config", "network", "environment", "metric", "cost"
    name: str
    values: tuple[Any, ...]


def compare(paths: Sequence[Path | str]) -> list[ComparedRow]:
    """What differs between runs: data, options, network and environment where they differ, then every metric and the cost.

    Raises:
        RunError: fewer than two runs, or one that cannot be read.
    """
    if len(paths) < 2:
        raise RunError(
            text("runs to compare: {count}", count=len(paths)), text("at least two"), text("give the directories of two or more runs")
        )
    directories = [RunDirectory.open(path) for path in paths]
    runs = [directory.read_json("run.json") for directory in directories]
    entries = [entry(directory.path) for directory in directories]
    for item in entries:
        if item.error is not None:
            raise RunError(item.error)
    rows: list[ComparedRow] = []
    used = [_used(directory, run) for directory, run in zip(directories, runs, strict=True)]
    for kind in ("data", "config", "network", "environment"):
        sections = [_flat(values if kind == "config" else run[kind]) for run, values in zip(runs, used, strict=True)]
        for name in _names(sections):
            values = tuple(section.get(name) for section in sections)
            if any(value != values[0] for value in values[1:]):
                rows.append(ComparedRow(kind, name, values))
    for name in _names([item.metrics for item in entries]):
        rows.append(ComparedRow("metric", name, tuple(item.metrics.get(name) for item in entries)))
    rows.append(ComparedRow("cost", "epochs", tuple(item.epochs for item in entries)))
    rows.append(ComparedRow("cost", "seconds", tuple(item.seconds for item in entries)))
    return rows


def _used(directory: RunDirectory, run: Mapping[str, Any]) -> dict[str, Any]:
    """The options with the values that training used in the place of "auto"."""
    decided = directory.read_record("decisions") if directory.has_record("decisions") else {}
    settings = {**run.get("settings", {}), **{name: decided[name] for name in ("learning_rate", "epochs") if name in decided}}
    return {name: settings.get(name, value) if value == "auto" else value for name, value in run["config"].items()}


def _names(sections: Sequence[Mapping[str, Any]]) -> list[str]:
    return list(dict.fromkeys(name for section in sections for name in section))


def _flat(section: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """{"options": {"hidden": 64}} -> {"options.hidden": 64}"""
    flat: dict[str, Any] = {}
    for name, value in section.items():
        if isinstance(value, Mapping) and value:
            flat.update(_flat(cast("Mapping[str, Any]", value), f"{prefix}{name}."))
        else:
            flat[f"{prefix}{name}"] = value
    return flat
