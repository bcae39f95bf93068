from __future__ import annotations

import json
import math
import random
import re
import struct
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from hypothesis import given
from hypothesis import strategies as st

import pellucid
from pellucid.core.errors import ModelError, RunError
from pellucid.runs.checkpoint import read_state, write_state
from pellucid.runs.tensors import read_tensors, write_tensors


def same(a: Any, b: Any) -> bool:
    """Equal in kind, structure and bits."""
    if isinstance(a, torch.Tensor):
        # bytes, so that NaN equals itself; strides, because kernels and rounding can depend on them
        return a.dtype == b.dtype and a.shape == b.shape and a.stride() == b.stride() and bytes_of(a) == bytes_of(b)
    if type(a) is not type(b):
        return False
    if isinstance(a, np.ndarray):
        return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
    if isinstance(a, np.generic):
        return a.dtype == b.dtype and a.tobytes() == b.tobytes()
    if isinstance(a, float):
        return struct.pack("d", a) == struct.pack("d", b)
    if isinstance(a, dict):
        return len(a) == len(b) and all(same(k, m) and same(v, w) for (k, v), (m, w) in zip(a.items(), b.items(), strict=True))
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(same(v, w) for v, w in zip(a, b, strict=True))
    return a == b


def bytes_of(tensor: torch.Tensor) -> bytes:
    return tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes() if tensor.numel() else b""


NAN_WITH_PAYLOAD = struct.unpack(">d", bytes.fromhex("fff8000000abcdef"))[0]

STATES: dict[str, Any] = {
    "nothing": None,
    "numbers": [0, -1, 2**63, 2**64, -(2**63) - 1, 10**400, True, False, 0.1, -0.0, 5e-324, 1.7976931348623157e308],
    "not numbers": [math.inf, -math.inf, math.nan, NAN_WITH_PAYLOAD],
    "texts": ["", "权重", "a\x00b", "\ud800", 'quote"\\', "🙂"],
    "lists and tuples": ([], (), [()], ([1, (2, [3])],), {"a": (1, [2])}),
    "keys": {1: "int", "1": "str", 1.5: "float", None: "none", (1, ("a", 2)): "tuple", 2**70: "big"},
    "a dict that looks like ours": {"tensor": "x", "dict": [[1, 2]], "float": "inf"},
    "bytes": b"\x00\xff",
    "empty": {},
    "scalars": torch.tensor(2.5),
    "zero-size": [torch.empty(0), torch.empty(0, 3), torch.empty(2, 0, 5, dtype=torch.int8)],
    "bool": torch.tensor([True, False]),
    "types": [
        torch.tensor([1, 2, 3]).to(dtype)
        for dtype in (torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8,
                      torch.uint16, torch.uint32, torch.uint64, torch.float8_e4m3fn, torch.float8_e5m2)
    ],
    "not a number in tensors": torch.tensor([math.nan, math.inf, -math.inf, -0.0], dtype=torch.bfloat16),
    "channels last": torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last),
    "channels last 3d": torch.randn(2, 3, 4, 5, 6).to(memory_format=torch.channels_last_3d),
    "one by one convolution, channels last": torch.randn(8, 3, 1, 1).to(memory_format=torch.channels_last),
    "transposed": torch.randn(3, 4).t(),
    "random states": {"torch": torch.get_rng_state(), "python": random.getstate(), "numpy": np.random.get_state()},
    "arrays": [np.arange(6).reshape(2, 3), np.zeros((0, 2), np.uint32), np.float32(0.1), np.int64(-1), np.bool_(True),
               np.array(3.5), np.arange(3, dtype=">i2"), np.array([1 + 2j])],
}  # fmt: skip


@pytest.mark.parametrize("name", STATES)
def test_states_come_back_bit_for_bit(tmp_path: Path, name: str) -> None:
    path = tmp_path / "state.safetensors"
    write_state(path, "checkpoint", STATES[name], step=3)
    state, about = read_state(path, "checkpoint")
    assert same(STATES[name], state)
    assert about["step"] == 3
    first = path.read_bytes()
    write_state(path, "checkpoint", STATES[name], step=3)
    assert path.read_bytes() == first  # equal states are equal files


leaves = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary()
keys = st.text() | st.integers() | st.none() | st.tuples(st.integers(), st.text())
nestings = st.recursive(
    leaves, lambda inner: st.lists(inner) | st.lists(inner).map(tuple) | st.dictionaries(keys, inner), max_leaves=20
)  # fmt: skip


@given(nestings)
def test_any_nesting_comes_back(tmp_path_factory: pytest.TempPathFactory, state: Any) -> None:
    path = tmp_path_factory.getbasetemp() / "nesting.safetensors"
    write_state(path, "checkpoint", state)
    assert same(state, read_state(path, "checkpoint")[0])


def test_tied_tensors_are_stored_once_and_come_back_tied(tmp_path: Path) -> None:
    weight = torch.randn(100, 100)
    state = {"encoder": weight, "decoder": weight.detach(), "transposed": weight.t(), "half": weight[:50], "copy": weight.clone()}
    path = tmp_path / "state.safetensors"
    write_state(path, "checkpoint", state)
    read, _ = read_state(path, "checkpoint")
    assert all(torch.equal(state[name], read[name]) for name in state)
    assert read["encoder"].data_ptr() == read["decoder"].data_ptr() != read["copy"].data_ptr()
    assert path.stat().st_size < 4 * 100 * 100 * 3.6  # encoder, transposed, half, copy: the tied one takes no room


def test_other_programs_can_read_the_file(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    network = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4))
    write_state(path, "weights", network.state_dict())
    read = safetensors.torch.load_file(path)
    assert set(read) == set(network.state_dict())
    assert all(torch.equal(read[name], value) for name, value in network.state_dict().items())


@pytest.mark.parametrize("optimizer", ["SGD", "Adam", "AdamW", "Adagrad", "RMSprop"])
def test_optimisers_go_on_from_their_stored_state(tmp_path: Path, optimizer: str) -> None:
    def train(network: torch.nn.Module, optimiser: torch.optim.Optimizer, steps: int) -> None:
        for _ in range(steps):
            network(torch.randn(8, 3, 6, 6)).square().mean().backward()
            optimiser.step()
            optimiser.zero_grad()

    def fresh() -> tuple[torch.nn.Module, torch.optim.Optimizer]:
        network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.Dropout(0.5), torch.nn.Conv2d(4, 2, 1))
        network = network.to(memory_format=torch.channels_last)
        return network, getattr(torch.optim, optimizer)(network.parameters(), lr=0.01)

    torch.manual_seed(0)
    network, optimiser = fresh()
    train(network, optimiser, 3)
    state = {"network": network.state_dict(), "optimizer": optimiser.state_dict(), "random": torch.get_rng_state()}
    write_state(tmp_path / "state", "checkpoint", state)
    train(network, optimiser, 3)
    again, optimiser_again = fresh()
    read, _ = read_state(tmp_path / "state", "checkpoint")
    again.load_state_dict(read["network"])
    optimiser_again.load_state_dict(read["optimizer"])
    torch.set_rng_state(read["random"])
    train(again, optimiser_again, 3)
    assert same(dict(network.state_dict()), dict(again.state_dict()))


@pytest.mark.parametrize(
    ("state", "named"),
    [
        ({"loss": torch.zeros(2, dtype=torch.complex64)}, "'loss' of shape \\(2,\\).*complex64"),
        ({"a": {"weights": torch.zeros(2, 2).to_sparse()}}, "'a.weights'.*sparse_coo"),
        ({"a": torch.empty(2, device="meta")}, "meta"),
        ({"optimizer": {"groups": [{"function": len}]}}, r"optimizer\.groups\.0\.function .*builtin_function_or_method"),
        ({"a": {1, 2}}, "set"),
        ({"a": np.array(["x", object()], dtype=object)}, "ndarray"),
        ({torch.zeros(1): 1}, "Tensor"),
        (object(), "object"),
    ],
)
def test_what_cannot_be_stored_is_refused_by_name_and_nothing_is_written(tmp_path: Path, state: Any, named: str) -> None:
    with pytest.raises(ModelError, match=named) as caught:
        write_state(tmp_path / "state", "checkpoint", state)
    assert caught.value.do
    assert list(tmp_path.iterdir()) == []


def test_a_state_that_contains_itself_is_refused(tmp_path: Path) -> None:
    state: dict[str, Any] = {}
    state["self"] = state
    with pytest.raises(ModelError, match="nested more than"):
        write_state(tmp_path / "state", "checkpoint", state)


def test_named_tuples_and_ordered_dicts_come_back_plain(tmp_path: Path) -> None:
    write_state(tmp_path / "state", "checkpoint", OrderedDict(size=torch.Size([2, 3])))
    assert same(read_state(tmp_path / "state", "checkpoint")[0], {"size": (2, 3)})


# ------------------------------------------------------------------------------------------------------------------------ damaged files


@pytest.fixture
def file(tmp_path: Path) -> Path:
    write_state(tmp_path / "state", "checkpoint", {"weights": torch.arange(100.0), "step": 7})
    return tmp_path / "state"


def test_every_torn_length_is_noticed(file: Path) -> None:
    whole = file.read_bytes()
    for length in [*range(200), *range(200, len(whole), 37), len(whole) - 1]:
        file.write_bytes(whole[:length])
        with pytest.raises(RunError, match="cannot be used"):
            read_state(file, "checkpoint")
    file.write_bytes(whole + b"x")
    with pytest.raises(RunError, match="checksum"):
        read_state(file, "checkpoint")


def test_every_flipped_bit_is_noticed(file: Path) -> None:
    whole = file.read_bytes()
    for position in range(len(whole)):
        flipped = bytearray(whole)
        flipped[position] ^= 1 << position % 8
        file.write_bytes(flipped)
        with pytest.raises(RunError, match="cannot be used"):
            read_state(file, "checkpoint")


BILLION_DEEP = "[" * 100_000


@pytest.mark.parametrize(
    "description",
    [
        {"format": 1, "kind": "checkpoint", "state": {"tensor": "missing"}},
        {"format": 1, "kind": "checkpoint", "state": {"tensor": 3}},
        {"format": 1, "kind": "checkpoint", "state": {"unknown": 1}},
        {"format": 1, "kind": "checkpoint", "state": {"float": "zz"}},
        {"format": 1, "kind": "checkpoint", "state": {"float": "00"}},
        {"format": 1, "kind": "checkpoint", "state": {"int": "zz"}},
        {"format": 1, "kind": "checkpoint", "state": {"dict": [1]}},
        {"format": 1, "kind": "checkpoint", "state": {"dict": [[{"dict": []}, 1]]}},
        {"format": 1, "kind": "checkpoint", "state": {"array": "w", "dtype": "O", "shape": [1]}},
        {"format": 1, "kind": "checkpoint", "state": {"array": "w", "dtype": "<f4", "shape": [10**30]}},
        {"format": 1, "kind": "checkpoint", "state": {"array": "w", "dtype": "object", "shape": "x"}},
        {"format": 1, "kind": "checkpoint", "state": {"scalar": "<f8", "hex": ""}},
        {"format": 1, "kind": "checkpoint"},
        {"format": 2, "kind": "checkpoint", "state": 1},
        {"format": True, "kind": "checkpoint", "state": 1},
        {"format": "1", "kind": "checkpoint", "state": 1},
        {"format": 1, "kind": "weights", "state": 1},
        {"kind": ["checkpoint"]},
        {},
    ],
    ids=str,
)
def test_contents_that_contradict_themselves_are_refused(tmp_path: Path, description: dict[str, Any]) -> None:
    write_tensors(tmp_path / "state", {"w": torch.zeros(4, dtype=torch.uint8)}, description)
    with pytest.raises(RunError, match="cannot be used"):
        read_state(tmp_path / "state", "checkpoint")


@pytest.mark.parametrize(
    "layout",
    [
        {"w": {"strides": [10**15]}},
        {"w": {"strides": [0]}},
        {"w": {"strides": [-1]}},
        {"w": {"strides": "x"}},
        {"w": {"strides": [1.0]}},
        {"v": {"strides": [1]}},
        {"v": {"same_as": "u"}},
        {"w": 3},
        {"w": {"same_as": []}},
        [],
        None,
    ],
    ids=str,
)
def test_layouts_that_do_not_fit_are_refused(tmp_path: Path, layout: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from pellucid.runs import tensors

    packed = tensors._packed
    monkeypatch.setattr(tensors, "_packed", lambda given: (packed(given)[0], layout))
    tensors.write_tensors(tmp_path / "state", {"w": torch.zeros(4)}, {})
    with pytest.raises(RunError, match="contradicts"):
        read_tensors(tmp_path / "state")


@pytest.mark.parametrize(
    "header",
    [b"", b"{}", b'{"__metadata__":{}}', BILLION_DEEP.encode(), b'{"__metadata__":{"pellucid":"' + b"1" * 5000 + b'"}}'],
    ids=["empty", "no metadata", "empty metadata", "deep", "huge number"],
)
def test_foreign_and_crafted_headers_are_refused(tmp_path: Path, header: bytes) -> None:
    path = tmp_path / "state"
    path.write_bytes(struct.pack("<Q", len(header)) + header)
    with pytest.raises(RunError, match="cannot be used"):
        read_tensors(path)
    safetensors.torch.save_file({"w": torch.zeros(2)}, path, {"format": "pt"})
    with pytest.raises(RunError, match="does not begin"):
        read_tensors(path)


def test_a_description_too_large_for_the_format_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pellucid.runs import tensors

    monkeypatch.setattr(tensors, "_LARGEST_HEADER", 1000)
    with pytest.raises(ModelError, match="at most 100 MB"):
        write_state(tmp_path / "state", "checkpoint", list(range(1000)))
    assert list(tmp_path.iterdir()) == []


def test_no_pickle_in_our_files(file: Path) -> None:
    text = file.read_bytes()
    size = struct.unpack("<Q", text[:8])[0]
    assert json.loads(text[8 : 8 + size])["__metadata__"]["pellucid"]
    source = Path(pellucid.__file__).parent
    unsafe = re.compile(r"import pickle|(?<!safetensors\.)torch\.(load|save)\(|allow_pickle=True")
    assert not [path for path in source.rglob("*.py") if unsafe.search(path.read_text("utf-8"))]
