"""Content hashes and memory: equal contents are equal, different ones differ, and nothing is changed."""

import hashlib

import numpy as np
import pytest

from pellucid.core import memory
from pellucid.core.errors import DataError
from pellucid.core.hashing import equal_groups, hash_bytes, hash_rows, hash_text, join_hashes


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.float32, np.float64, np.bool_, np.float16])
@pytest.mark.parametrize("shape", [(7,), (7, 3), (7, 2, 4, 5)])
def test_rows_are_hashed_one_by_one(dtype, shape):
    array = (np.random.default_rng(0).random(shape) * 50).astype(dtype)
    assert hash_rows(array) == [hashlib.blake2b(np.ascontiguousarray(row).tobytes(), digest_size=16).hexdigest() for row in array]
    assert hash_rows(np.asfortranarray(array)) == hash_rows(array)


def test_chunks_do_not_show(monkeypatch):
    array = np.random.default_rng(0).random((50, 3))
    whole = hash_rows(array)
    monkeypatch.setattr("pellucid.core.hashing._CHUNK_BYTES", 100)
    assert hash_rows(array) == whole


def test_equal_values_are_equal():
    array = np.asarray([[0.0, np.nan], [-0.0, -np.nan], [0.0, 1.0]])
    before = array.copy()
    hashes = hash_rows(array)
    assert hashes[0] == hashes[1] != hashes[2]
    assert np.signbit(array[1, 0])
    assert np.array_equal(array, before, equal_nan=True)
    assert hash_rows(array.astype(">f8")) == hashes
    assert hash_rows(np.zeros((0, 3))) == []
    assert len(set(hash_rows(np.zeros((4, 0))))) == 1
    assert len(set(hash_rows(np.asarray(["a", "b", "a"])))) == 2


def test_pieces_do_not_run_together():
    assert hash_bytes(b"ab", b"c") != hash_bytes(b"a", b"bc") != hash_bytes(b"abc")
    assert hash_text("猫") == hash_bytes("猫".encode())
    a, b = hash_text("a"), hash_text("b")
    assert join_hashes([a], [b]) != join_hashes([b], [a])


def test_equal_groups():
    assert equal_groups(["x", "y", "x", "", "", "z", "y", "x"]) == [[0, 2, 7], [1, 6]]
    assert equal_groups([]) == []


def test_what_does_not_fit_is_refused_politely(monkeypatch):
    available = memory.available_memory_bytes()
    assert available is None or 0 < available < 2**50
    monkeypatch.setattr(memory, "available_memory_bytes", lambda: 10**9)
    memory.require_memory(10**9, "the data")
    with pytest.raises(DataError, match=r"the data take 9\.3 GiB of memory, and 954 MiB can be taken"):
        memory.require_memory(10**10, "the data")
    monkeypatch.setattr(memory, "available_memory_bytes", lambda: None)
    memory.require_memory(10**18, "the data")
