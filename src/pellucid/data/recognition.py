"""What a value is, asked without loading what it takes to read it: each question is quick and none raises."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, cast

_FRAME_PACKAGES = ("polars", "pandas", "pyarrow", "narwhals", "modin", "cudf", "duckdb")


def place_of(source: str | Path) -> str:
    """A path with "~" resolved."""
    return os.path.expanduser(source)  # noqa: PTH111 - pathlib's raises where there is no home


def exists(source: str | Path) -> bool:
    return os.path.exists(place_of(source))  # noqa: PTH110 - pathlib's raises for names that are too long, or without permission


def is_file(source: str | Path) -> bool:
    return os.path.isfile(place_of(source))  # noqa: PTH113


def is_folder(source: str | Path) -> bool:
    return os.path.isdir(place_of(source))  # noqa: PTH112


def is_frame(value: Any) -> bool:
    """Whether `value` is a data frame; polars is only loaded when the question arises."""
    package = type(value).__module__.split(".")[0]
    if package not in _FRAME_PACKAGES and not hasattr(value, "__arrow_c_stream__"):
        return False
    from pellucid.data.tables import files as table_files

    return table_files.is_frame(value)


def is_array_like(value: Any) -> bool:
    from pellucid.data.arrays import checks as arrays

    return arrays.is_array_like(value)


def is_pair_of_arrays(items: Any) -> bool:
    """[X, y], two arrays where as many rows of y, one number or several, stand beside the samples X; else a list of arrays is a list of
    samples."""
    pair = cast("list[Any]", list(items))
    if len(pair) != 2 or not all(hasattr(item, "shape") for item in pair):
        return False
    (first, second) = (tuple(int(size) for size in item.shape) for item in pair)
    return len(first) >= 2 and len(second) in (1, 2) and first[0] == second[0]


def is_pair_of_frames(items: Any) -> bool:
    """(frame X, frame y): as many rows, and y has one column that X has not."""
    pair = cast("list[Any]", list(items))
    if len(pair) != 2 or not all(is_frame(item) for item in pair):
        return False
    first, second = ([str(name) for name in item.columns] for item in pair)
    return len(second) == 1 and second[0] not in first and len(pair[0]) == len(pair[1])
