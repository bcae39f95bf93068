"""All that is needed to do it again: the command, the resolved configuration, seeds, versions, content hashes, the environment."""

from __future__ import annotations

import base64
import hashlib
import json
import math
import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from pellucid.core.language import Text, text
from pellucid.core.options import BY_NAME, OPTIONS
from pellucid.core.system import quoted
from pellucid.report.records import RunRecords

PYTHON = "python:"  # begins what run.json says of an object given from Python
_BARE_KEY = re.compile(r"^[A-Za-z0-9_-]+$")

ENVIRONMENT_NAMES = {
    "pellucid": "Pellucid",
    "python": "Python",
    "torch": "PyTorch",
    "numpy": "NumPy",
    "platform": text("operating system"),
    "machine": text("architecture"),
    "cpu": text("processor"),
    "cpu_capability": text("vector instructions"),
    "cores": text("cores"),
    "threads": text("threads"),
    "accelerator": text("accelerator"),
    "accelerator_runtime": text("accelerator's runtime"),
}


def content(records: RunRecords) -> Mapping[str, Any]:
    environment = records.run["environment"]
    known = [(name, str(environment[key])) for key, name in ENVIRONMENT_NAMES.items() if environment.get(key) is not None]
    more = [(str(key), str(value)) for key, value in environment.items() if key not in ENVIRONMENT_NAMES]
    seed = records.config.get("seed", 0)
    return {
        "command": _command(records),
        "from_python": _source(records) is None,
        "configuration": _configuration(records),
        "chosen": [str(name) for name in (records.run.get("settings") or {}).get("chosen") or ()],
        "seeds": [(text("of every random draw"), str(seed)), (text("of the split"), str(records.ledger.get("seed", seed)))],
        "hashes": _hashes(records),
        "environment": known + more,
        "created": str(records.run.get("created", "")),
        "path": str(records.path),
    }


# -- the command -------------------------------------------------------------------------------------------------------------------------


def _source(records: RunRecords) -> tuple[str, Any] | None:
    """(path or name, target) of data that can be read again; None of data that were in memory."""
    reference = records.run["data"].get("reference") or {}
    return (str(reference["source"]), reference.get("target")) if reference.get("source") else None


def _command(records: RunRecords) -> str:
    """What does the same again, in the shell where that is possible, else in Python."""
    changed = {
        name: value
        for name, value in records.config.items()
        if name in BY_NAME and name != "directory" and value != BY_NAME[name].default and value not in (None, {})
    }
    source = _source(records)
    if source is None or any(str(value).startswith(PYTHON) for value in changed.values()):
        return _in_python(records, changed)
    words = ["pellucid", "fit", quoted(source[0])]
    if source[1] is not None:
        words += ["--target", quoted(_listed(source[1]))]
    for name, value in changed.items():
        kind = BY_NAME[name].kind
        flag = name.replace("_", "-")
        if kind == "flag":
            words.append(f"--{flag}" if value else f"--no-{flag}")
        elif kind == "mapping" and isinstance(value, Mapping):
            for key, item in value.items():
                words += ["--network-option", quoted(f"{key}={_listed(item)}")]
        else:
            words += [f"--{flag}", quoted(_listed(value))]
    return " ".join(words)


def _in_python(records: RunRecords, changed: Mapping[str, Any]) -> str:
    source = _source(records)
    data = "data" if source is None else repr(source[0])
    arguments = [data] + ([f"target={source[1]!r}"] if source is not None and source[1] is not None else [])
    for name, value in changed.items():
        shown = str(value).removeprefix(PYTHON) if str(value).startswith(PYTHON) else repr(value)
        arguments.append(f"{name}={shown}")
    return f"pellucid.fit({', '.join(arguments)})"


def _listed(value: Any) -> str:
    return ",".join(str(item) for item in value) if isinstance(value, (list, tuple)) else str(value)


# -- the resolved configuration ----------------------------------------------------------------------------------------------------------


def _configuration(records: RunRecords) -> str:
    """A TOML file for `pellucid fit --config`: nothing in it is left to be chosen."""
    settings, described = records.settings, records.run["network"]
    resolved = {option.name: settings.get(option.name, records.config.get(option.name)) for option in OPTIONS}
    resolved["network"] = PYTHON + str(described.get("name")) if described.get("custom") else described.get("name")
    resolved["network_options"] = described.get("options") or None
    if resolved.get("task") in (None, "auto"):  # time_series says how to read, beyond the kind of answer
        resolved["task"] = records.task.kind
    lines: list[str] = []
    source = _source(records)
    if source is not None:
        lines.append(f"data = {_toml(source[0])}")
        if source[1] is not None:
            lines.append(f"target = {_toml(_listed(source[1]))}")
    for name, value in resolved.items():
        if value is None or name == "directory":
            continue
        if str(value).startswith(PYTHON):
            lines.append(f"# {name}: {' '.join(str(value).removeprefix(PYTHON).split())}")
        else:
            lines.append(f"{name} = {_toml(value)}")
    return "\n".join(lines)


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return repr(value) if math.isfinite(value) else str(value)
    if isinstance(value, int):
        return str(value)
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{_key(str(key))} = {_toml(item)}" for key, item in value.items() if item is not None) + " }"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(_toml(item) for item in value) + "]"
    return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")


def _key(name: str) -> str:
    return name if _BARE_KEY.match(name) else _toml(name)


# -- hashes ------------------------------------------------------------------------------------------------------------------------------


def _hashes(records: RunRecords) -> list[tuple[Text, str]]:
    """SHA-256 of what went in and of what came out; what is not there has no row."""
    rows: list[tuple[Text, str]] = []
    with suppress(ValueError):
        packed = str(records.ledger.get("content") or "")
        if packed:
            rows.append((text("data, all samples in order"), hashlib.sha256(base64.b64decode(packed, validate=True)).hexdigest()))
    parts = str(records.ledger.get("parts") or "")
    if parts:
        rows.append((text("split"), hashlib.sha256(parts.encode()).hexdigest()))
    weights = _tensor_hash(records.path / "weights.safetensors")
    return rows if weights is None else [*rows, (text("weights"), weights)]


def _tensor_hash(path: Path) -> str | None:
    """SHA-256 of the tensors: their names, types, shapes and bytes. The file's metadata name the run, which the same training repeated
    does not share. None where the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
            header.pop("__metadata__", None)
            described = hashlib.sha256(json.dumps(header, sort_keys=True).encode())
            while block := file.read(1 << 20):
                described.update(block)
    except (OSError, ValueError, AttributeError, OverflowError, MemoryError):
        return None
    return described.hexdigest()
