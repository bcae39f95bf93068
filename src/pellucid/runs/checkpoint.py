"""The state of a training, whatever its nesting, to a file and back: bit for bit, without pickle.

What JSON knows stays as it is; the rest is an object with one key that says what it is:

    {"dict": [[key, value], ...]}   keys of any kind, in order      {"tensor": name}          see runs/tensors.py
    {"tuple": [value, ...]}         [...] alone is a list           {"array": name, "dtype": "<u4", "shape": [624]}
    {"float": "7ff0000000000000"}   infinite or not a number        {"scalar": "<f8", "hex": "..."}   a NumPy scalar
    {"int": "0x1f..."}              beyond 64 bit                   {"bytes": "hex"}

Finite floats are written by `repr`, which Python reads back to the same bits.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from pellucid.core.errors import ModelError
from pellucid.core.language import text
from pellucid.runs.tensors import damaged, read_tensors, write_tensors

FORMAT = 1
_DEEPEST = 100  # nesting: far below what Python's own recursion allows, far above what any optimiser's state has


def write_state(path: Path, kind: str, state: Any, **about: Any) -> None:
    """Write any nesting of dict (keys: str, int, float, bool, None, tuples of these), list, tuple, str, bytes, int, float, bool, None,
    `Tensor`, NumPy array and NumPy scalar to `path`, in one atomic replacement. `about` (what JSON can hold) is kept beside it.

    Mappings come back as dict, named tuples as tuple, tensors without `requires_grad` and on the CPU.

    Raises:
        ModelError: something of another kind, named by its place in the state.
        StorageError: the disk refuses.
    """
    tensors: dict[str, Tensor] = {}
    encoded = _encode(state, (), tensors)
    write_tensors(path, tensors, {"format": FORMAT, "kind": kind, **about, "state": encoded})


def read_state(path: Path, kind: str) -> tuple[Any, dict[str, Any]]:
    """(state, about) as `write_state` got them.

    Raises:
        RunError: no such file, or it is torn, damaged, of another kind, or of a newer format.
    """
    tensors, description = read_tensors(path)
    written_format, written_kind = description.get("format"), description.get("kind")
    if written_kind != kind:
        raise damaged(path, text("it holds {got!r}, not {expected!r}", got=str(written_kind), expected=kind))
    if type(written_format) is not int or written_format < 1 or written_format > FORMAT:
        raise damaged(
            path, text("its format is {got}; this version reads formats up to {known}", got=str(written_format)[:40], known=FORMAT)
        )
    about = {key: value for key, value in description.items() if key not in ("format", "kind", "state")}
    try:
        return _decode(description["state"], tensors, 0), about
    except (ValueError, TypeError, LookupError, AttributeError, RuntimeError, OverflowError, struct.error) as error:
        raise damaged(path, text("its content contradicts itself: {reason}", reason=str(error)[:200])) from error


def _encode(value: Any, place: tuple[str, ...], tensors: dict[str, Tensor]) -> Any:
    kind = cast("type[Any]", type(value))
    if value is None or kind is bool or kind is str:
        return value
    if kind is int:
        return value if -(2**63) <= value < 2**64 else {"int": hex(value)}
    if kind is float:
        return value if math.isfinite(value) else {"float": struct.pack(">d", value).hex()}
    if kind is bytes:
        return {"bytes": value.hex()}
    if len(place) > _DEEPEST:
        raise _refused(value, place, nested=True)
    if isinstance(value, Tensor):
        return {"tensor": _keep(value, place, tensors)}
    if isinstance(value, np.str_):
        return str(value)
    if isinstance(value, np.generic) and value.dtype.kind in "biufc":
        return {"scalar": value.dtype.str, "hex": value.tobytes().hex()}
    if isinstance(value, np.ndarray) and value.dtype.kind in "biufc":
        content = torch.from_numpy(np.ascontiguousarray(value).reshape(-1).view(np.uint8).copy())
        return {"array": _keep(content, place, tensors), "dtype": value.dtype.str, "shape": list(value.shape)}
    if isinstance(value, Mapping):
        pairs = cast("Mapping[Any, Any]", value).items()
        return {"dict": [[_encode_key(key, place), _encode(item, (*place, str(key)), tensors)] for key, item in pairs]}
    if isinstance(value, (list, tuple)):
        items = [_encode(item, (*place, str(index)), tensors) for index, item in enumerate(cast("list[Any]", value))]
        return {"tuple": items} if isinstance(value, tuple) else items
    raise _refused(value, place)


def _encode_key(key: Any, place: tuple[str, ...]) -> Any:
    tensors: dict[str, Tensor] = {}
    encoded = _encode(key, (*place, "key"), tensors)
    if tensors:
        raise _refused(key, (*place, "key"))
    return encoded


def _keep(tensor: Tensor, place: tuple[str, ...], tensors: dict[str, Tensor]) -> str:
    """The place as the tensor's name, so that other programs can read the file: "model.features.0.weight"."""
    name = ".".join(place).encode("utf-8", "replace").decode("utf-8") or "value"
    if name in tensors or name == "__metadata__":
        name = f"{name}#{len(tensors)}"
    tensors[name] = tensor
    return name


def _refused(value: Any, place: tuple[str, ...], *, nested: bool = False) -> ModelError:
    if nested:
        return ModelError(
            text("the state is nested more than {depth} times, beginning with {place}", depth=_DEEPEST, place=".".join(place[:4])),
            text("a state without loops"),
            text("leave what refers to itself out of the state"),
        )
    kind = cast("type[Any]", type(value))
    return ModelError(
        text("{place} in the state is of type {kind}", place=".".join(place) or "state", kind=f"{kind.__module__}.{kind.__qualname__}"),
        text("tensors, numbers, texts, booleans, None, and dicts, lists and tuples of these"),
        text("turn it into one of these, for example in state_dict() or get_extra_state(): files without pickle hold no other objects"),
    )


def _decode(stored: Any, tensors: Mapping[str, Tensor], depth: int) -> Any:
    if depth > _DEEPEST:
        raise ValueError("nested too deep")
    if isinstance(stored, list):
        return [_decode(item, tensors, depth + 1) for item in cast("list[Any]", stored)]
    if not isinstance(stored, dict):
        return stored
    entry = cast("dict[str, Any]", stored)
    match entry:
        case {"dict": list(pairs)}:
            return {_decode(key, {}, depth + 1): _decode(item, tensors, depth + 1) for key, item in cast("list[list[Any]]", pairs)}
        case {"tensor": str(name)}:
            return tensors[name]
        case {"tuple": list(items)}:
            return tuple(_decode(item, tensors, depth + 1) for item in cast("list[Any]", items))
        case {"float": str(bits)}:
            return struct.unpack(">d", bytes.fromhex(bits))[0]
        case {"int": str(digits)}:
            return int(digits, 16)
        case {"bytes": str(digits)}:
            return bytes.fromhex(digits)
        case {"scalar": str(dtype), "hex": str(digits)}:
            return np.frombuffer(bytes.fromhex(digits), dtype=_plain(dtype))[0]
        case {"array": str(name), "dtype": str(dtype), "shape": list(shape)}:
            return tensors[name].numpy().view(_plain(dtype)).reshape(cast("list[int]", shape))
        case _:
            raise ValueError(f"unknown entry {sorted(entry)[:5]}")


def _plain(name: str) -> np.dtype[Any]:
    dtype = np.dtype(name)
    if dtype.kind not in "biufc":
        raise ValueError(f"dtype {name[:40]!r} is not plain numbers")
    return dtype
