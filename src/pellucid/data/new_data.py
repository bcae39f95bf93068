"""New data for a trained network, read as its training data were: by the preprocessing, not by the source."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np

from pellucid.core.errors import DataError
from pellucid.core.hashing import hash_rows, join_hashes
from pellucid.core.language import text
from pellucid.core.records import Notice, Task
from pellucid.data.arrays.targets import target_hashes
from pellucid.data.embedded import EMBEDDED, embedded_frame, embedded_images, load_embedded
from pellucid.data.kinds import preprocessing_kind_of
from pellucid.data.names import image_set_name, set_name, unknown_name
from pellucid.data.recognition import exists, is_array_like, is_frame, is_pair_of_arrays, place_of
from pellucid.data.samples import Samples


def read_new_data(
    source: Any,
    preprocessing: Any,
    *,
    header: bool = True,
    task: Task | None = None,
    targets: str = "optional",
    data_dir: Any = None,
) -> Samples:
    """`source` for a network whose `preprocessing` this is; `source` may be the tuple (X, y). A list is a list of samples; [X, y] is a
    pair only where `targets` are "required" and it can be one.

    Raises:
        DataError: see `sources.read_new`.
    """
    source, target = _with_targets(source, targets)
    name = set_name(source) if not isinstance(source, str) or not exists(source) else None
    identifiers = None
    if name is not None and image_set_name(name):
        from pellucid.data.images.named import official_test_part

        source, target, identifiers = official_test_part(name, data_dir)
    elif name is not None:
        source, target = _embedded(name, preprocessing.kind)
    elif isinstance(source, (str, Path)):
        if not exists(source):
            error = unknown_name(str(source))
            if preprocessing.kind == "text" and isinstance(source, str) and (" " in source or not Path(source).suffix):
                raise DataError(error.got, error.expected, text("if this is a text, give it in a list: [text]"))
            raise error
        source = Path(place_of(source))
    known = task if task is not None else getattr(preprocessing, "task", None)
    own = preprocessing_kind_of(preprocessing.kind).read_new(source, target, preprocessing, header=header, task=known, targets=targets)
    if own is not None:
        return own
    if preprocessing.kind in ("table", "text"):
        return _new_table(source, target, preprocessing, header, targets)
    reader = {"images": _new_images, "array": _new_arrays, "torch": _new_torch}.get(preprocessing.kind)
    if reader is None:
        raise DataError(
            text("a network trained on data of kind {kind}", kind=preprocessing.kind),
            text("a source that the data kind {kind} recognises", kind=preprocessing.kind),
            text("give data of that kind, and import the package that registers it"),
        )
    samples = reader(source, target, preprocessing, header, known)
    if targets == "required" and not any(samples.hashes):
        _hash(samples)
    if identifiers is not None:
        summary = text("{name}: the {count} images of its official test part are taken", name=str(name), count=len(identifiers))
        samples.name, samples.identifiers, samples.notices = (
            str(name),
            identifiers,
            [*samples.notices, Notice(kind="test_part", summary=summary)],
        )
    return samples


def _hash(samples: Samples) -> None:
    """Content hashes as reading for training makes them, where the samples lie in memory with their targets."""
    inputs: Any = samples.inputs
    if not isinstance(inputs, np.ndarray):
        inputs = inputs.sources[0].inputs
        inputs = None if inputs is None else inputs.numpy()
    if inputs is not None and samples.targets is not None and samples.task is not None:
        samples.input_hashes = hash_rows(inputs)
        samples.hashes = join_hashes(samples.input_hashes, target_hashes(samples.task, samples.targets))


def _with_targets(source: Any, targets: str) -> tuple[Any, Any]:
    """(X, y) of a pair; (source, None) of anything else. A second text is the target's name, which the network knows."""
    if isinstance(source, list) and not (targets == "required" and is_pair_of_arrays(cast("list[Any]", source))):
        return cast("Any", source), None
    if not isinstance(source, (tuple, list)) or len(cast("Sequence[Any]", source)) != 2:
        return source, None
    X, y = cast("Sequence[Any]", source)
    if isinstance(source, tuple) and isinstance(y, (str, int)) and not is_array_like(X):
        return X, None
    if isinstance(source, tuple) and not (is_array_like(y) or is_frame(y)) and not _is_picture(source):
        raise DataError(
            text("a pair whose second element is a {type}", type=type(y).__name__),
            text("one source of new data, or (X, y)"),
            text("give one of the two"),
        )
    if not isinstance(y, (str, Path)) and (not isinstance(X, (str, Path)) or is_array_like(y)):
        return X, y
    return cast("Any", source), None


def _embedded(name: str, kind: str) -> tuple[Any, Any]:
    if kind in ("table", "text"):
        return embedded_frame(name), None
    found = EMBEDDED[name]
    X, y = embedded_images(name) if found.image else load_embedded(name)
    return X, np.asarray(found.classes)[y.astype(np.int64)] if found.classes else y


# -- one per kind of preprocessing ---------------------------------------------------------------------------------------------------


def _new_table(source: Any, target: Any, preprocessing: Any, header: bool, targets: str) -> Samples:
    from pellucid.data.tables.frame_targets import frame_with_target
    from pellucid.data.tables.new_rows import read_new_table

    if not isinstance(source, Path) and not is_frame(source):
        source = _as_frame(source, preprocessing)
    if target is not None:
        source, names = frame_with_target(source, target)
        wanted = list(preprocessing.task.targets)
        given = [names] if isinstance(names, str) else names
        if len(given) == len(wanted):
            source = source.drop([name for name in wanted if name in source.columns and name not in given])
            source = source.rename(dict(zip(given, wanted, strict=True)))
    return read_new_table(source, preprocessing, header=header, target=targets)


def _as_frame(source: Any, preprocessing: Any) -> Any:
    """An array (n, columns), or one row, under the names of the training table's columns in their order."""
    import polars as pl

    from pellucid.data.arrays.checks import as_array

    names = [str(name) for name in preprocessing.columns]
    if isinstance(source, dict):
        row = cast("dict[str, Any]", source)
        return pl.DataFrame({name: value if isinstance(value, (list, tuple, np.ndarray)) else [value] for name, value in row.items()})
    array = as_array(source, "X")
    array = array[None] if array.ndim == 1 else array
    if array.ndim != 2 or array.shape[1] != len(names):
        raise DataError(
            text("X has shape {got}", got=str(array.shape)),
            text("{count} columns in the order {names}, as the network was trained on", count=len(names), names=names[:20]),
            text("give these columns, or a frame with their names"),
        )
    return pl.DataFrame({name: array[:, index] for index, name in enumerate(names)})


def _new_images(source: Any, target: Any, preprocessing: Any, header: bool, task: Task | None) -> Samples:
    from pellucid.data.arrays.reading import new_inputs
    from pellucid.data.arrays.targets import encode_new_targets
    from pellucid.data.images.reading import read_new_images

    channels, height, width = preprocessing.input_shape
    samples = read_new_images(source, channels, (height, width), task)
    if samples is None:
        inputs, notices = new_inputs(source, preprocessing.input_shape)
        samples = _as_samples("images", inputs, notices)
    if target is not None and task is not None:
        samples.targets, samples.task = encode_new_targets(target, len(samples), task), task
    return samples


def _as_samples(kind: str, inputs: np.ndarray, notices: Sequence[Any]) -> Samples:
    from pellucid.data.ledger import NumberedNames

    names = NumberedNames(len(inputs))
    return Samples(
        kind=kind,
        name="arrays",
        task=None,
        inputs=inputs,
        targets=None,
        identifiers=names,
        hashes=[""] * len(inputs),
        notices=list(notices),
    )


def _new_arrays(source: Any, target: Any, preprocessing: Any, header: bool, task: Task | None) -> Samples:
    from pellucid.data.arrays.reading import is_array_file, load_array_file, numeric_matrix, read_new_arrays

    name = "arrays"
    if isinstance(source, Path) or _is_picture(source):
        if isinstance(source, Path) and is_array_file(source):
            name = source.stem
            source, found = load_array_file(source)
            target = found if target is None else target
        else:
            pictures = _pictures_as_arrays(source, preprocessing, task)
            if pictures is not None:
                return pictures
    if isinstance(source, Path) or hasattr(source, "columns"):
        from pellucid.data.tables.columns import infer_columns
        from pellucid.data.tables.files import load

        table = load(source, header=header)
        _, typed = infer_columns(table.frame, decimal_comma=table.decimal_comma)
        name = table.name
        source, found = numeric_matrix(typed, int(np.prod(preprocessing.input_shape)))
        target = found if target is None else target
    return read_new_arrays(source, target, preprocessing, task, name)


def _is_picture(source: Any) -> bool:
    first: Any = cast("Sequence[Any]", source)[0] if isinstance(source, (list, tuple)) and source else source
    return isinstance(first, (str, Path)) or type(first).__module__.startswith("PIL.")


def _pictures_as_arrays(source: Any, preprocessing: Any, task: Task | None) -> Samples | None:
    """Image files for a network trained on image arrays: black becomes the smallest value it was trained on, white the largest."""
    from pellucid.data.images.decoding import is_image_name
    from pellucid.data.images.reading import read_new_images

    shape = preprocessing.input_shape
    if len(shape) != 3 or shape[0] not in (1, 3) or (isinstance(source, Path) and source.is_file() and not is_image_name(source)):
        return None
    samples = read_new_images(source, shape[0], (shape[1], shape[2]), task)
    if samples is None:
        return None
    samples.kind = "array"
    if (preprocessing.low, preprocessing.high) != (0.0, 255.0):
        span = preprocessing.high - preprocessing.low
        samples.inputs = (samples.inputs.astype(np.float32) * (span / 255.0) + preprocessing.low).astype(np.float32)
    return samples


def _new_torch(source: Any, target: Any, preprocessing: Any, header: bool, task: Task | None) -> Samples:
    from pellucid.data.arrays.reading import is_array_file, load_array_file
    from pellucid.data.arrays.targets import encode_new_targets
    from pellucid.data.torch_data.parts import read_new_torch

    if isinstance(source, Path):
        if not is_array_file(source):
            raise DataError(
                text("{path}, for a network trained on a torch data set", path=str(source)),
                text("a torch Dataset or DataLoader, an array, or an .npy or .npz file"),
                text("prepare the data as the training data were prepared"),
            )
        source, found = load_array_file(source)
        target = found if target is None else target
    samples = read_new_torch(source, preprocessing)
    if target is not None and task is not None:
        samples.targets, samples.task = encode_new_targets(target, len(samples), task), task
    return samples
