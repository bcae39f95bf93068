"""Arrays as Samples: (X, y), several (X, y) that the user has split, array files, and new data for a trained network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np

from pellucid.core.errors import DataError
from pellucid.core.hashing import hash_rows, join_hashes
from pellucid.core.language import text
from pellucid.core.records import Notice, Task
from pellucid.data.arrays.checks import as_array, check_finite, per_sample, read_inputs
from pellucid.data.arrays.preprocessing import ArrayPreprocessing
from pellucid.data.arrays.targets import Targets, encode_new_targets, read_targets, target_hashes
from pellucid.data.ledger import NumberedNames
from pellucid.data.samples import Samples
from pellucid.data.splitting import part_word


def array_samples(
    inputs: np.ndarray,
    targets: Targets | None,
    *,
    name: str = "arrays",
    group: Any = None,
    time: Any = None,
    fixed_parts: np.ndarray | None = None,
    identifiers: Sequence[str] | None = None,
    reference: Mapping[str, Any] | None = None,
    notices: Sequence[Notice] = (),
    hashed: bool = True,
) -> Samples:
    """Samples of the kind "array" with their content hashes."""
    count = len(inputs)
    input_hashes = hash_rows(inputs) if hashed else [""] * count
    hashes = input_hashes if not hashed or targets is None else join_hashes(input_hashes, target_hashes(targets.task, targets.values))
    return Samples(
        kind="array",
        name=name,
        task=None if targets is None else targets.task,
        inputs=inputs,
        targets=None if targets is None else targets.values,
        identifiers=NumberedNames(count) if identifiers is None else identifiers,
        hashes=hashes,
        reference=reference,
        fixed_parts=fixed_parts,
        groups=per_sample(group, count, fixed_parts, "group"),
        times=per_sample(time, count, fixed_parts, "time"),
        notices=(*notices, *(targets.notices if targets is not None else ())),
        input_hashes=input_hashes,
    )


def read_arrays(X: Any, y: Any, *, task: str = "auto", group: Any = None, time: Any = None, name: str = "arrays") -> Samples:
    """X (N, F), (N, H, W), (N, C, H, W) or (N, H, W, C) and y (N,), (N, 1), one-hot (N, K) or (N, outputs); y may be None.

    Raises:
        DataError: see `arrays.read_inputs` and `array_targets.read_targets`.
    """
    inputs, notices = read_inputs(X)
    targets = None if y is None else read_targets(y, len(inputs), task, names=_names_of(y))
    return array_samples(inputs, targets, name=name, group=group, time=time, notices=notices)


def read_array_parts(
    parts: Mapping[str, tuple[Any, Any]], *, task: str = "auto", group: Any = None, time: Any = None, name: str = "arrays"
) -> Samples:
    """Several (X, y) that the user has already split, by part: "train", "validation", "test".

    Raises:
        DataError: samples of different shapes; classes that only one part has.
    """
    inputs: dict[str, np.ndarray] = {}
    notices: list[Notice] = []
    for part, (X, y) in parts.items():
        inputs[part], news = read_inputs(X, name=text("X of the {part} part", part=part_word(part)))
        notices += [notice for notice in news if notice.kind not in {known.kind for known in notices}]
        if y is None:
            raise DataError(
                text("the {part} part has no targets", part=part_word(part)),
                text("pairs (X, y) for every part"),
                text("give ((X, y), (X_test, y_test))"),
            )
        if inputs[part].shape[1:] != inputs["train"].shape[1:]:
            raise DataError(
                text("the {part} part has samples of shape {got}", part=part_word(part), got=str(inputs[part].shape[1:])),
                text("samples of shape {shape}, as in the training part", shape=str(inputs["train"].shape[1:])),
                text("give all parts the same columns, in the same order"),
            )
    sizes = {part: len(array) for part, array in inputs.items()}
    sides = np.repeat(list(sizes), list(sizes.values()))
    values = [_column(y, sizes[part], part) for part, (_, y) in parts.items()]
    if len({value.shape[1:] for value in values}) > 1 or len({value.dtype.kind in "US" for value in values}) > 1:
        raise DataError(
            text("the parts have targets of the shapes {shapes} and the types {types}",
                 shapes=[str(value.shape) for value in values], types=[str(value.dtype) for value in values]),
            text("targets of one kind"),
            text("give the targets of all parts in the same form"),
        )  # fmt: skip
    names = _names_of(parts["train"][1])
    targets = read_targets(np.concatenate(values), len(sides), task, names=names, training=sides == "train")
    identifiers = [identifier for part, size in sizes.items() for identifier in NumberedNames(size, f"{part} ")]
    together = np.concatenate(list(inputs.values()))
    return array_samples(together, targets, name=name, group=group, time=time, fixed_parts=sides, identifiers=identifiers, notices=notices)


def _column(y: Any, count: int, part: str) -> np.ndarray:
    """y of one part as an array, its length checked, (N, 1) as (N,)."""
    array = as_array(y, text("y of the {part} part", part=part_word(part)))
    if array.ndim == 0 or len(array) != count:
        raise DataError(
            text("X of the {part} part has {samples} samples and y has {targets}", part=part_word(part), samples=count,
                 targets=len(array) if array.ndim else 0),
            text("one target per sample"),
            text("check that X and y come from the same rows, in the same order"),
        )  # fmt: skip
    return array[:, 0] if array.ndim == 2 and array.shape[1] == 1 else array


def _names_of(y: Any) -> tuple[str, ...]:
    """The names that a series or a frame of targets brings."""
    columns: Any = getattr(y, "columns", None)
    if columns is not None and not callable(columns):
        return tuple(str(column) for column in columns)
    name: Any = getattr(y, "name", None)
    return (name,) if isinstance(name, str) and name else ()


# -- files ---------------------------------------------------------------------------------------------------------------------------

_INPUT_KEYS = ("x", "data", "inputs", "images", "features", "x_train")
_TARGET_KEYS = ("y", "target", "targets", "labels", "label", "y_train")


def is_array_file(path: Path) -> bool:
    return path.suffix.lower() in (".npy", ".npz")


def load_array_file(path: Path) -> tuple[np.ndarray, np.ndarray | None]:
    """(X, y) of an .npz file, (X, None) of an .npy file. Nothing is unpickled.

    Raises:
        DataError: no NumPy file, arrays of objects, or no array that is called X.
    """
    try:
        loaded: Any = np.load(path, allow_pickle=False, mmap_mode="r" if path.suffix.lower() == ".npy" else None)
        if isinstance(loaded, np.ndarray):
            return loaded, None
        with loaded:
            arrays = {name: loaded[name] for name in loaded.files}
    except (OSError, ValueError, EOFError, KeyError) as error:
        raise DataError(
            text("{path} cannot be read as a NumPy file: {reason}", path=str(path), reason=str(error).split("\n")[0]),
            text("an .npy or .npz file of numbers, written by numpy.save or numpy.savez"),
            text("write it again with numbers, not Python objects"),
        ) from None
    lowered = {name.lower(): name for name in arrays}
    inputs = next((lowered[key] for key in _INPUT_KEYS if key in lowered), None)
    targets = next((lowered[key] for key in _TARGET_KEYS if key in lowered), None)
    if inputs is None:
        raise DataError(
            text("{path} holds the arrays {names}", path=str(path), names=sorted(arrays)),
            text("an array called X (and one called y)"),
            text("write it with numpy.savez(path, X=..., y=...)"),
        )
    return arrays[inputs], arrays[targets] if targets is not None else None


# -- new data ------------------------------------------------------------------------------------------------------------------------


def read_new_arrays(X: Any, y: Any, preprocessing: ArrayPreprocessing, task: Task | None = None, name: str = "arrays") -> Samples:
    """New samples for a network trained on arrays; one sample alone is a batch of one. y may be None.

    Raises:
        DataError: another shape, NaN, or targets that the network does not know.
    """
    inputs, notices = new_inputs(X, preprocessing.input_shape)
    if inputs.ndim > 2 and preprocessing.high > 10 and float(inputs.max()) <= 0.02 * preprocessing.high:
        summary = text(
            "the values go up to {high:g}, and those the network was trained on to {known:g}: is the scale another?",
            high=float(inputs.max()), known=preprocessing.high,
        )  # fmt: skip
        notices.append(Notice(kind="other_scale", summary=summary))
    known = preprocessing.task if task is None else task
    targets = None if y is None or known is None else Targets(known, encode_new_targets(y, len(inputs), known))
    return array_samples(inputs, targets, name=name, notices=notices, hashed=False)


def new_inputs(X: Any, shape: Sequence[int]) -> tuple[np.ndarray, list[Notice]]:
    """X brought to (n, *shape): a single sample gets its N, grey images their channel, channels that stand last go first.

    Raises:
        DataError: it cannot be brought to that shape.
    """
    wanted = tuple(shape)
    array = as_array(X, "X")
    if array.dtype.kind not in "biuf":
        read_inputs(array)  # says what is wrong
    notices: list[Notice] = []
    candidates = [array, array[None]]
    if len(wanted) == 3:
        if wanted[0] == 1:
            candidates += [array[:, None] if array.ndim == 3 else array, array[None, None]]
        if array.ndim in (3, 4):
            last = np.moveaxis(array, -1, -3)
            candidates += [last, last[None]]
        flat = int(np.prod(wanted))
        if array.ndim == 2 and array.shape[1] == flat:
            candidates.append(array.reshape(-1, *wanted))
    fitting = next((candidate for candidate in candidates if tuple(candidate.shape[1:]) == wanted and len(candidate)), None)
    if fitting is None:
        raise DataError(
            text("X has shape {got}", got=str(array.shape)),
            text("shape {shape}: samples as the network was trained on", shape="(N, " + ", ".join(map(str, wanted)) + ")"),
            text("bring the data into that shape"),
        )
    check_finite(array, "X")
    return fitting, notices


def numeric_matrix(frame: Any, features: int) -> tuple[np.ndarray, np.ndarray | None]:
    """(X, y) of a polars frame of numbers: `features` columns, or one more, which is y.

    Raises:
        DataError: another number of columns, or texts.
    """
    names = [str(name) for name in cast("Sequence[Any]", frame.columns)]
    if len(names) not in (features, features + 1):
        raise DataError(
            text("the table has {count} columns", count=len(names)),
            text("{features} columns of numbers, as the network was trained on, or one more with the target", features=features),
            text("give the same columns in the same order"),
        )
    try:
        X = np.stack([frame[name].cast(float).to_numpy() for name in names[:features]], axis=1)
    except Exception as error:
        raise DataError(
            text("the table cannot be read as numbers: {reason}", reason=str(error).split("\n")[0]),
            text("{features} columns of numbers, as the network was trained on", features=features),
            text("give the same columns in the same order"),
        ) from None
    return X, frame[names[features]].to_numpy() if len(names) > features else None
