"""Content hashes: what a sample, a file or a text is, in 32 hexadecimal digits (BLAKE2b with a digest of 16 bytes, RFC 7693).

Two samples with equal hashes are the same sample: with 128 bits, a billion different samples collide with a probability below 1e-20.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

import numpy as np

DIGEST_BYTES = 16
_CHUNK_BYTES = 1 << 24  # rows are made contiguous in pieces of this size, so that hashing never doubles the memory of an array


def hash_bytes(*pieces: bytes | bytearray | memoryview) -> str:
    """The hash of the pieces; their lengths count, so that (b"ab", b"c") and (b"a", b"bc") differ."""
    digest = hashlib.blake2b(digest_size=DIGEST_BYTES)
    for piece in pieces:
        if len(pieces) > 1:
            digest.update(len(piece).to_bytes(8, "little"))
        digest.update(piece)
    return digest.hexdigest()


def hash_text(*pieces: str) -> str:
    return hash_bytes(*(piece.encode("utf-8", "surrogatepass") for piece in pieces))


def hash_rows(array: np.ndarray) -> list[str]:
    """One hash per row of `array` (N, ...), of numbers, booleans or texts of fixed width.

    Rows are equal when their values are: -0.0 counts as 0.0 and every NaN as the same NaN. The number type counts: float32 and
    float64 rows differ.
    """
    rows = len(array)
    if not rows:
        return []
    row_bytes = max(1, array.nbytes // rows)
    step = max(1, _CHUNK_BYTES // row_bytes)
    hashes: list[str] = []
    blake2b = hashlib.blake2b
    for start in range(0, rows, step):
        block = _canonical(array[start : start + step])
        data = block.reshape(-1).view(np.uint8).data if block.size else memoryview(b"")
        width = len(data) // len(block)
        hashes += [blake2b(data[i : i + width], digest_size=DIGEST_BYTES).hexdigest() for i in range(0, width * len(block), width or 1)]
        if not width:
            hashes += [blake2b(digest_size=DIGEST_BYTES).hexdigest()] * len(block)
    return hashes


def _canonical(block: np.ndarray) -> np.ndarray:
    """Contiguous, little-endian, one zero and one NaN."""
    if block.dtype.kind == "f":
        block = block + block.dtype.type(0)  # a copy in which -0.0 is 0.0
        block[np.isnan(block)] = np.nan
    return np.ascontiguousarray(block, dtype=block.dtype.newbyteorder("<"))


def join_hashes(first: Sequence[str], second: Sequence[str]) -> list[str]:
    """One hash per pair: that of an input together with that of its target."""
    blake2b = hashlib.blake2b
    return [blake2b(bytes.fromhex(a + b), digest_size=DIGEST_BYTES).hexdigest() for a, b in zip(first, second, strict=True)]


def equal_groups(hashes: Iterable[str]) -> list[list[int]]:
    """The positions of equal hashes, each group of two or more, in order of first appearance; "" equals nothing."""
    first: dict[str, int] = {}
    groups: dict[str, list[int]] = {}
    for position, value in enumerate(hashes):
        before = first.setdefault(value, position)  # numbers, not lists: a list per sample would wake the garbage collector
        if before != position and value:
            groups.setdefault(value, [before]).append(position)
    return [groups[value] for value in sorted(groups, key=first.__getitem__)]
