"""Content hashes of a table's rows: equal rows have equal hashes on every machine and with every version of polars."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import polars as pl

from pellucid.core.hashing import DIGEST_BYTES

_CHUNK = 1 << 16  # rows whose bytes are held together


def hash_table(frame: pl.DataFrame, names: Sequence[str]) -> list[str]:
    """One hash per row over the columns `names`, in this order.

    Numbers, truth values and dates (seconds since 1970) count by value as little-endian float64, so that 1 and 1.0 are equal; texts as
    UTF-8 with their length before them, so that no two rows of texts run together; missing values equal each other and nothing else.
    """
    types = dict(zip(frame.columns, frame.dtypes, strict=True))
    numbers = [name for name in names if types[name] != pl.String]
    texts = [name for name in names if types[name] == pl.String]
    hashes: list[str] = []
    for start in range(0, frame.height, _CHUNK):
        hashes += _hashes_of(frame.slice(start, _CHUNK), numbers, texts)
    return hashes


def _hashes_of(chunk: pl.DataFrame, numbers: list[str], texts: list[str]) -> list[str]:
    rows = chunk.height
    block = np.full((rows, len(numbers)), np.nan, dtype="<f8")
    for position, name in enumerate(numbers):
        block[:, position] = _as_floats(chunk[name])
    block += 0.0  # -0.0 becomes 0.0
    block[np.isnan(block)] = np.nan  # one NaN
    data, width = block.tobytes(), 8 * len(numbers)
    joined = _joined(chunk, texts)
    blake2b = hashlib.blake2b
    return [blake2b(data[row * width : (row + 1) * width] + text, digest_size=DIGEST_BYTES).hexdigest() for row, text in enumerate(joined)]


def _as_floats(values: pl.Series) -> np.ndarray:
    if values.dtype == pl.Datetime:
        values = values.dt.timestamp("us").cast(pl.Float64) / 1e6
    return values.cast(pl.Float64).fill_null(float("nan")).to_numpy()


def _joined(chunk: pl.DataFrame, names: list[str]) -> list[bytes]:
    """ "3:Yes" for a text of three bytes, "-" for a missing one, one after the other."""
    if not names:
        return [b""] * chunk.height
    parts = [
        pl.when(pl.col(name).is_null())
        .then(pl.lit("-"))
        .otherwise(pl.concat_str([pl.col(name).str.len_bytes().cast(pl.String), pl.lit(":"), pl.col(name)]))
        for name in names
    ]
    return [text.encode("utf-8") for text in chunk.select(pl.concat_str(parts)).to_series().to_list()]
