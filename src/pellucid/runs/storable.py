"""What a run's JSON files can hold: any reader's JSON, yet no number lost and nothing believed that we would not write."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from typing import Any, cast

from pellucid.core.language import Text
from pellucid.core.records import Record


def dump_json(content: Any, indent: int | None = None) -> bytes:
    """`content` as one JSON text in UTF-8, valid for every reader.

    Records, sentences, paths, NumPy and torch values become what JSON has; keys become texts; infinite and NaN numbers {"float": "inf"}.
    """
    layout: dict[str, Any] = {"indent": indent, "separators": (",", ": ") if indent else (",", ":")}
    try:  # the common case at the speed of C
        written = json.dumps(content, ensure_ascii=False, allow_nan=False, default=storable, **layout)
    except (ValueError, TypeError):
        written = json.dumps(storable(content), ensure_ascii=False, allow_nan=False, **layout)
    return written.encode("utf-8", "replace")


def storable(value: Any) -> Any:
    """What JSON can hold, without loss for finite and other numbers."""
    if value is None or isinstance(value, (str, bool)):
        return str(value) if type(value) not in (str, bool, type(None)) else value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else {"float": str(float(value))}
    if isinstance(value, (Record, Text)):
        return storable(value.to_dict())
    if isinstance(value, Mapping):
        return {str(key): storable(item) for key, item in cast("Mapping[Any, Any]", value).items()}
    if isinstance(value, (list, tuple)):
        return [storable(item) for item in cast("list[Any]", value)]
    if isinstance(value, os.PathLike):
        return os.fspath(cast("os.PathLike[str]", value))
    if hasattr(value, "tolist"):  # NumPy arrays and scalars, tensors
        return storable(value.tolist())
    raise TypeError(f"a run's JSON cannot hold {type(value).__module__}.{type(value).__qualname__}")


def load_json(content: bytes) -> Any:
    """JSON as we write it. ValueError for everything else: not UTF-8, not JSON, numbers no float can hold, nesting without end."""

    def refuse(word: str) -> float:
        raise ValueError(f"{word} is no number of JSON")

    def finite(word: str) -> float:
        number = float(word)
        if math.isinf(number):
            raise ValueError(f"the number {word[:40]} is too large")
        return number

    try:
        return json.loads(content.decode("utf-8"), parse_constant=refuse, parse_float=finite, object_hook=_revive)
    except RecursionError:
        raise ValueError("it is nested too deep") from None


def _revive(entry: dict[str, Any]) -> Any:
    if len(entry) == 1 and entry.get("float") in ("nan", "inf", "-inf"):
        return float(entry["float"])
    return entry


def revived(value: Any) -> Any:
    """What `storable` made, with its infinite and NaN numbers back."""
    return json.loads(json.dumps(value), object_hook=_revive)
