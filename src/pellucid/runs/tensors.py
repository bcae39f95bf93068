"""Tensors and one JSON text in one safetensors file, checksummed, equal bytes for equal content.

safetensors itself holds neither tied weights nor other memory formats than the contiguous one. Here every tensor is stored once and
contiguous; which names share it, and the strides it had (channels_last, transposed), stand in the JSON and come back on reading.
The file is written piece by piece from the tensors' own memory (the library would first build a second copy of everything, and
orders its metadata at random); it is read by the library.
"""

from __future__ import annotations

import hashlib
import json
import math
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pellucid.core.errors import ModelError, RunError
from pellucid.core.language import Text, text
from pellucid.core.system import Buffer, storage_errors, write_atomically

_NAMES = {  # torch's type -> its name in a safetensors header
    torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16",
    torch.int64: "I64", torch.int32: "I32", torch.int16: "I16", torch.int8: "I8",
    torch.uint64: "U64", torch.uint32: "U32", torch.uint16: "U16", torch.uint8: "U8", torch.bool: "BOOL",
    torch.float8_e4m3fn: "F8_E4M3", torch.float8_e5m2: "F8_E5M2",
}  # fmt: skip
_OPENING = b'{"__metadata__":{"checksum":"'  # every file begins so: the checksum's place is fixed, and it covers all other bytes
_CHECKSUM_BYTES = 32
_LARGEST_HEADER = 100_000_000  # what the safetensors library reads


def write_tensors(path: Path, tensors: Mapping[str, Tensor], description: Mapping[str, Any]) -> None:
    """Write `tensors` (any device, strides, aliases) and `description` (what JSON can hold) to `path` in one atomic replacement.

    Raises:
        ModelError: a tensor that has no plain values (sparse, quantized, complex, on the meta device).
        StorageError: the disk refuses.
    """
    stored, layout = _packed(tensors)
    header, data = _header(stored, json.dumps({**description, "layout": layout}, separators=(",", ":"), allow_nan=False))
    checksum = hashlib.blake2b(header, digest_size=_CHECKSUM_BYTES)
    for buffer in data:
        checksum.update(buffer)
    start = 8 + len(_OPENING)
    signed = header[:start] + checksum.hexdigest().encode() + header[start + 2 * _CHECKSUM_BYTES :]
    write_atomically(path, [signed, *data])


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """(tensors, description) as they were written, on the CPU.

    Raises:
        RunError: no such file, or it is torn, damaged (its checksum does not hold) or not one of ours.
        StorageError: the disk refuses.
    """
    with storage_errors(path):
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            raise RunError(
                text("{path} does not exist", path=str(path)), text("a file of tensors that Pellucid wrote"), text("check the path")
            ) from None
    start = 8 + len(_OPENING)
    if content[8:start] != _OPENING:
        raise damaged(path, text("it does not begin as a file of Pellucid's"))
    end = start + 2 * _CHECKSUM_BYTES
    view = memoryview(content)
    checksum = hashlib.blake2b(view[:start], digest_size=_CHECKSUM_BYTES)
    checksum.update(b"0" * (2 * _CHECKSUM_BYTES))
    checksum.update(view[end:])
    if content[start:end] != checksum.hexdigest().encode():
        raise damaged(path, text("its checksum does not hold: it is torn, or was changed after it was written"))
    import safetensors
    import safetensors.torch

    # The checksum keeps accidents away, not intent: a crafted file still ends here in one message, whatever it breaks.
    try:
        (size,) = struct.unpack("<Q", content[:8])
        description = json.loads(json.loads(content[8 : 8 + size])["__metadata__"]["pellucid"])
        stored = safetensors.torch.load(content)
        layout = description.pop("layout")
        return _unpacked(stored, layout), description
    except (safetensors.SafetensorError, ValueError, TypeError, LookupError, AttributeError, AssertionError, RuntimeError) as error:
        raise damaged(path, text("its content contradicts itself: {reason}", reason=str(error)[:200])) from error


def damaged(path: Path, reason: Text) -> RunError:
    """The error for a file whose content cannot be trusted."""
    return RunError(
        text("{path} cannot be used: {reason}", path=str(path), reason=reason),
        text("the file as it was written"),
        text("restore it from a copy, or train again"),
    )


def _header(stored: Mapping[str, Tensor], description: str) -> tuple[bytes, list[Buffer]]:
    """The length and the JSON that open a safetensors file, the checksum's place filled with zeros, and the data in order."""
    entries: dict[str, Any] = {"__metadata__": {"checksum": "0" * (2 * _CHECKSUM_BYTES), "pellucid": description}}
    data: list[Buffer] = []
    offset = 0
    for name in sorted(stored, key=lambda name: -stored[name].element_size()):  # wide elements first: every tensor starts aligned
        tensor = stored[name]
        entries[name] = {"dtype": _NAMES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [offset, offset + tensor.nbytes]}
        if tensor.numel():
            data.append(tensor.reshape(-1).view(torch.uint8).numpy().data)
        offset += tensor.nbytes
    header = json.dumps(entries, separators=(",", ":")).encode("ascii")
    header += b" " * (-len(header) % 8)
    if len(header) > _LARGEST_HEADER:
        raise ModelError(
            text("{megabytes} MB of names and values that are no tensors", megabytes=len(header) // 10**6),
            text("at most 100 MB of them in one file"),
            text("keep large states in tensors or NumPy arrays"),
        )
    return struct.pack("<Q", len(header)) + header, data


def _packed(tensors: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Each distinct tensor once, contiguous, on the CPU; and {name: {"same_as": name} or {"strides": [...]}} where that says too little."""
    stored: dict[str, Tensor] = {}
    layout: dict[str, Any] = {}
    first: dict[tuple[Any, ...], str] = {}
    alive: list[Tensor] = []  # an address may only be compared while nobody else can get it
    for name, tensor in tensors.items():
        _check(name, tensor)
        plain = tensor.detach().resolve_neg()
        alive.append(plain)
        if plain.numel():
            geometry = (plain.device, plain.untyped_storage().data_ptr(), plain.storage_offset(), plain.shape, plain.stride(), plain.dtype)
            if geometry in first:
                layout[name] = {"same_as": first[geometry]}
                continue
            first[geometry] = name
        if plain.stride() != _contiguous_strides(plain.shape) and _is_dense(plain.shape, plain.stride()):
            layout[name] = {"strides": list(plain.stride())}
        stored[name] = plain.cpu().contiguous()
    return stored, layout


def _unpacked(stored: Mapping[str, Tensor], layout: Mapping[str, Any]) -> dict[str, Tensor]:
    tensors = dict(stored)
    for name, how in layout.items():
        if "strides" in how:
            shape, strides = stored[name].shape, tuple(how["strides"])
            if not _is_dense(shape, strides):
                raise ValueError(f"strides {strides} of {name!r} do not fit its shape {tuple(shape)}")
            tensors[name] = torch.empty_strided(shape, strides, dtype=stored[name].dtype).copy_(stored[name])
    for name, how in layout.items():
        if "same_as" in how:
            tensors[name] = tensors[how["same_as"]].detach()  # another tensor on the same storage, as tied weights are
    return tensors


def _check(name: str, tensor: Tensor) -> None:
    if name == "__metadata__":
        reason = text("the name is reserved by the file format")
    elif tensor.layout != torch.strided or tensor.is_nested:
        reason = text("its layout is {layout}", layout=str(tensor.layout).removeprefix("torch."))
    elif tensor.device.type == "meta":
        reason = text("it lies on the meta device and has no values")
    elif tensor.dtype not in _NAMES:
        reason = text("its type is {dtype}", dtype=str(tensor.dtype).removeprefix("torch."))
    else:
        return
    raise ModelError(
        text("tensor {name!r} of shape {shape} cannot be stored: {reason}", name=name, shape=str(tuple(tensor.shape)), reason=reason),
        text("dense tensors of real numbers, whole numbers or booleans"),
        text("convert it before it enters the state, for example by to_dense(), dequantize() or torch.view_as_real()"),
    )


def _contiguous_strides(shape: tuple[int, ...]) -> tuple[int, ...]:
    strides, step = [], 1
    for size in reversed(shape):
        strides.append(step)
        step *= max(size, 1)
    return tuple(reversed(strides))


def _is_dense(shape: tuple[int, ...], strides: tuple[Any, ...]) -> bool:
    """Whether the strides are those of a permutation of a contiguous tensor: each element in its own place, no gaps.

    The strides of dimensions of size one decide nothing but which kernel torch takes; they are kept where they stay inside.
    """
    whole = all(type(stride) is int and stride >= 0 for stride in strides)
    if len(shape) != len(strides) or not whole or not all(shape):
        return False
    step = 1
    for stride, size in sorted(zip(strides, shape, strict=True)):
        if size == 1:
            if stride > math.prod(shape):
                return False
        elif stride != step:
            return False
        else:
            step *= size
    return True
