"""Arrays in memory: NumPy, torch, nested lists, anything that NumPy takes. X is (N, F), (N, H, W), (N, C, H, W) or (N, H, W, C).

The user's arrays are never changed; Samples hold views of them where no conversion is needed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np
import torch

from pellucid.core.errors import DataError
from pellucid.core.language import Text, text
from pellucid.core.memory import require_memory
from pellucid.core.records import Notice

_CHANNELS = (1, 3, 4)  # grey, RGB, RGBA
_CHUNK = 1 << 22  # numbers looked at together, so that checks never double the memory of an array
_LARGEST = 1e150  # its square is still a float64


def is_array_like(value: Any) -> bool:
    """Whether `value` can be an X or a y: an array, a tensor, a series, a sequence of numbers or of such, a sparse matrix."""
    if isinstance(value, (np.ndarray, torch.Tensor)) or is_sparse(value):
        return True
    if isinstance(value, (str, bytes, Mapping)) or value is None:
        return False
    if isinstance(value, (list, tuple, range)):
        first: Any = cast("Sequence[Any]", value)[0] if len(cast("Sequence[Any]", value)) else 0.0
        return first is None or isinstance(first, (bool, int, float, complex, np.generic, str)) or is_array_like(first)
    return hasattr(value, "__array__") or hasattr(value, "__array_interface__") or hasattr(value, "__dlpack__")


def is_sparse(value: Any) -> bool:
    if isinstance(value, torch.Tensor):
        return value.layout != torch.strided
    return type(value).__module__.startswith("scipy.sparse") and hasattr(value, "toarray")


# -- any array-like as a NumPy array -------------------------------------------------------------------------------------------------


def as_array(value: Any, name: Text | str) -> np.ndarray:
    """`value` as a NumPy array of numbers, booleans or texts, without a copy where possible. `name` is what errors call it.

    Raises:
        DataError: ragged lists, objects, complex numbers, dates, records, masked or sparse data that do not fit.
    """
    if is_sparse(value):
        value = _dense(value, name)
    if isinstance(value, torch.Tensor):
        array = _from_tensor(value, name)
    elif isinstance(value, np.ma.MaskedArray):
        masked = cast("Any", value)
        if bool(np.ma.getmaskarray(masked).any()):
            position = np.argwhere(np.ma.getmaskarray(masked))[0].tolist()
            raise DataError(
                text("{name} is a masked array with masked values, the first at {position}", name=name, position=str(position)),
                text("a value everywhere"),
                text("fill them in, for example with {name}.filled(...), or leave these samples out", name=name),
            )
        array = np.asarray(masked.data)
    elif isinstance(value, (list, tuple)):
        array = _from_sequence(cast("Sequence[Any]", value), name)
    else:
        array = _from_other(value, name)
    return _check_type(array, name)


def _dense(value: Any, name: Text | str) -> Any:
    shape = tuple(int(size) for size in value.shape)
    itemsize = value.element_size() if isinstance(value, torch.Tensor) else np.dtype(value.dtype).itemsize
    require_memory(
        int(np.prod(shape, dtype=np.float64)) * itemsize,
        text("the {shape} numbers of the sparse {name}, written out,", shape=" x ".join(map(str, shape)), name=name),
        text("reduce its columns first, for example with scikit-learn's TruncatedSVD or SelectKBest"),
    )
    return value.detach().to_dense() if isinstance(value, torch.Tensor) else value.toarray()


def _from_tensor(value: torch.Tensor, name: Text | str) -> np.ndarray:
    value = value.detach()
    if value.is_complex():
        raise _complex(name, str(value.dtype))
    if value.is_nested:
        raise DataError(
            text("{name} is a nested tensor: its samples have different shapes", name=name),
            text("samples of one shape"),
            text("cut or pad them to one shape"),
        )
    if value.is_quantized:
        value = value.dequantize()
    if value.device.type == "meta":
        raise DataError(
            text("{name} is a tensor on the meta device: it has a shape, but no values", name=name),
            text("a tensor with values"),
            text("create it on the CPU"),
        )
    if value.is_floating_point() and value.dtype not in (torch.float16, torch.float32, torch.float64):
        value = value.float()  # bfloat16 and 8-bit floats, which NumPy does not know
    return value.cpu().resolve_neg().numpy()


def _from_sequence(value: Sequence[Any], name: Text | str) -> np.ndarray:
    if value and all(isinstance(item, torch.Tensor) for item in value):
        rows: Any = [_from_tensor(item, name) for item in value]
    else:
        rows = value
    try:
        array = np.asarray(rows)
    except ValueError:
        raise _ragged(rows, name) from None
    except OverflowError as error:
        raise DataError(
            text("{name} holds a number too large for its type: {error}", name=name, error=str(error)),
            text("numbers that fit into 64 bits"),
            text("divide them by a constant, or give them as floats"),
        ) from None
    if array.dtype.kind in "US" and any(isinstance(item, (int, float)) for item in value):
        mixed = next(index for index, item in enumerate(value) if isinstance(item, str) != isinstance(value[0], str))
        raise DataError(
            text("{name} mixes texts and numbers: entry {index} is {entry!r}", name=name, index=mixed, entry=value[mixed]),
            text("entries of one type"),
            text("write all of them as texts, or all as numbers"),
        )
    return array


def _ragged(rows: Sequence[Any], name: Text | str) -> DataError:
    shapes = [np.shape(row) if not isinstance(row, (list, tuple)) else (len(cast("Sequence[Any]", row)),) for row in rows]
    odd = next((index for index, shape in enumerate(shapes) if shape != shapes[0]), None)
    if odd is None:
        return DataError(
            text("the rows of {name} have parts of different lengths", name=name),
            text("samples of one shape"),
            text("cut or pad them to one shape"),
        )
    return DataError(
        text("{name}[0] has shape {first} and {name}[{index}] has shape {other}",
             name=name, first=str(shapes[0]), index=odd, other=str(shapes[odd])),
        text("samples of one shape"),
        text("cut or pad them to one shape"),
    )  # fmt: skip


def _from_other(value: Any, name: Text | str) -> np.ndarray:
    try:
        if hasattr(value, "to_list") and not hasattr(value, "__dlpack__"):  # a series: its own missing values become None
            numbers = value.to_numpy()
            return numbers if numbers.dtype != object else np.asarray(value.to_list(), dtype=object)
        if hasattr(value, "to_numpy"):
            return np.asarray(value.to_numpy())
        if not hasattr(value, "__array__") and hasattr(value, "__dlpack__"):
            return _from_tensor(torch.from_dlpack(value), name)
        return np.asarray(value)
    except (TypeError, ValueError, RuntimeError, BufferError) as error:
        raise DataError(
            text("{name} is a {type} that cannot be turned into an array: {error}", name=name, type=type(value).__name__, error=str(error)),
            text("a NumPy array, a torch tensor or nested lists of numbers"),
            text("convert it with numpy.asarray first"),
        ) from None


def _complex(name: Text | str, kind: str) -> DataError:
    return DataError(
        text("{name} holds complex numbers ({dtype})", name=name, dtype=kind),
        text("real numbers"),
        text("give real and imaginary part (or magnitude and phase) as two features each"),
    )


def _check_type(array: np.ndarray, name: Text | str) -> np.ndarray:
    kind = array.dtype.kind
    if kind == "c":
        raise _complex(name, str(array.dtype))
    if kind == "O":
        return _from_objects(array, name)
    if kind in "mM":
        raise DataError(
            text("{name} holds dates or times ({dtype})", name=name, dtype=str(array.dtype)),
            text("numbers"),
            text("give a polars or pandas frame, whose dates are understood, or turn them into numbers"),
        )
    if kind == "V":
        raise DataError(
            text("{name} is a structured array with the fields {fields}", name=name, fields=list(array.dtype.names or ())),
            text("a plain array of numbers"),
            text("give it as a frame: polars.from_numpy({name})", name=name),
        )
    if kind == "f" and array.dtype.itemsize > 8:
        array = array.astype(np.float64)
    return array


def _from_objects(array: np.ndarray, name: Text | str) -> np.ndarray:
    """Texts and truth values in an object array are taken; anything else is refused: nobody knows what it would become."""
    entries: list[Any] = array.ravel().tolist()
    types = {type(entry) for entry in entries}
    if types and types <= {str, np.str_}:
        return array.astype(str)
    if types == {bool}:
        return array.astype(bool)
    strange = next((i for i, entry in enumerate(entries) if type(entry) is not type(entries[0])), 0)
    position = [int(index) for index in np.unravel_index(strange, array.shape)] if array.ndim else []
    missing = any(entry is None or entry != entry for entry in entries if not isinstance(entry, np.ndarray))
    raise DataError(
        text("{name} is an array of Python objects; entry {position} is {entry} ({type})", name=name, position=str(position),
             entry=repr(entries[strange])[:60] if entries else "-", type=type(entries[strange]).__name__ if entries else "-"),
        text("an array of numbers, all of one type"),
        text("fill in or leave out the missing values, then convert: {name}.astype(float)", name=name)
        if missing else text("convert it: {name}.astype(float); for columns of different types give a frame", name=name),
    )  # fmt: skip


# -- X -------------------------------------------------------------------------------------------------------------------------------


def read_inputs(value: Any, name: Text | str = "X") -> tuple[np.ndarray, list[Notice]]:
    """X as an array of numbers (N, F), (N, C, H, W) or of another shape with N first, every number finite.

    Raises:
        DataError: not numbers, no samples, no features, NaN or infinity.
    """
    array = as_array(value, name)
    if array.dtype.kind in "US":
        raise DataError(
            text("{name} holds texts, for example {example!r}", name=name, example=str(array.ravel()[0])[:60] if array.size else ""),
            text("numbers"),
            text("give a polars or pandas frame, whose texts and categories are understood"),
        )
    if array.ndim < 2:
        raise DataError(
            text("{name} has shape {shape}", name=name, shape=str(array.shape)),
            text("one row per sample: (samples, features), or (samples, channels, height, width) for images"),
            text("for one feature write {name}.reshape(-1, 1); for one sample {name}.reshape(1, -1)", name=name),
        )
    if not array.size:
        raise DataError(
            text("{name} has shape {shape}: it is empty", name=name, shape=str(array.shape)),
            text("at least one sample with at least one feature"),
            text("check how {name} was made", name=name),
        )
    check_finite(array, name)
    _check_magnitude(array, name)
    array, notices = _as_images(array, name)
    return array, notices


def check_finite(array: np.ndarray, name: Text | str) -> None:
    """Raises DataError that names the first NaN or infinity and how many there are."""
    if array.dtype.kind != "f":
        return
    step = max(1, _CHUNK // max(1, array[:1].size))
    bad, first = 0, None
    for start in range(0, len(array), step):
        wrong = ~np.isfinite(array[start : start + step])
        count = int(wrong.sum())
        if count and first is None:
            first = [int(index) for index in np.argwhere(wrong)[0]]
            first[0] += start
        bad += count
    if first is None:
        return
    value = float(array[tuple(first)])
    share = bad / array.size
    raise DataError(
        text("{name}{position} is {value}; {count} of {total} values are NaN or infinite ({share:.3g} %)",
             name=name, position="[" + ", ".join(map(str, first)) + "]", value=value, count=bad, total=array.size, share=100 * share),
        text("finite numbers everywhere"),
        text("leave these samples out, or fill them in; a polars or pandas frame may hold missing values") if share < 1
        else text("check how {name} was made: none of its values is a number", name=name),
    )  # fmt: skip


def _check_magnitude(array: np.ndarray, name: Text | str) -> None:
    """Raises DataError for numbers whose squares, which standardising needs, are beyond the range of 64-bit floats."""
    if array.dtype.kind != "f" or array.dtype.itemsize < 8:
        return
    largest = max(float(array.max()), -float(array.min()))
    if largest > _LARGEST:
        raise DataError(
            text("{name} goes up to {largest:g} in size", name=name, largest=largest),
            text("numbers up to {largest:g}", largest=_LARGEST),
            text("give it in another unit, so that its values are near 1"),
        )


def _as_images(array: np.ndarray, name: Text | str) -> tuple[np.ndarray, list[Notice]]:
    """Grey images get their channel; channels that stand last go before height and width, where torch has them."""
    if array.ndim == 3:
        notice = Notice(
            kind="grey_images",
            summary=text(
                "{name} of shape {shape} is taken as {count} grey images of {height} x {width} pixels; "
                "for series of numbers set task to time_series",
                name=name, shape=str(array.shape), count=array.shape[0], height=array.shape[1], width=array.shape[2],
            ),
        )  # fmt: skip
        return array[:, None], [notice]
    if array.ndim == 4 and array.shape[3] in _CHANNELS and array.shape[1] not in _CHANNELS:
        notice = Notice(
            kind="channels_last",
            summary=text(
                "{name} of shape {shape} has its channels last; they are moved to (samples, channels, height, width)",
                name=name, shape=str(array.shape),
            ),
        )  # fmt: skip
        return np.moveaxis(array, 3, 1), [notice]
    return array, []


def per_sample(value: Any, count: int, fixed_parts: np.ndarray | None, option: str) -> np.ndarray | None:
    """The values of --group or --time for arrays: one per sample, as an array.

    Raises:
        DataError: a column name (arrays have none), or another number of values.
    """
    if value is None:
        return None
    if isinstance(value, (str, int)):
        raise DataError(
            text("{option}={value!r}, and arrays have no column names", option=option, value=value),
            text("{count} values, one per sample", count=count),
            text("give the values themselves: {option}=values; or give a frame", option=option),
        )
    values = np.asarray(value.to_list() if hasattr(value, "to_list") else value)
    if values.shape != (count,):
        parts = text("one per sample, those of the training part first") if fixed_parts is not None else text("one per sample")
        raise DataError(
            text("{option} has shape {shape}", option=option, shape=str(values.shape)),
            text("{count} values, {which}", count=count, which=parts),
            text("give one value for each sample"),
        )
    return values
