"""`read`: whatever the user gives, as Samples. What can be given is in `built_in_kinds`, and in the kinds that users register."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from pellucid.core.errors import DataError, did_you_mean
from pellucid.core.language import text
from pellucid.core.options import BY_NAME
from pellucid.core.records import Notice, Task
from pellucid.data.built_in_kinds import ArrayKind, BuiltInKind, FrameKind, TabularKind
from pellucid.data.joining import join_parts
from pellucid.data.kinds import data_kind_of, data_kinds, failures, preprocessing_kind_of
from pellucid.data.names import IMAGE_SETS, image_set_name, set_name, unknown_name
from pellucid.data.recognition import exists, is_array_like, is_folder, is_frame, is_pair_of_arrays, is_pair_of_frames
from pellucid.data.samples import Preprocessing, Samples

if TYPE_CHECKING:
    from pellucid.data.download import Tell

_DEFAULTS = {"task": "auto", "header": True, "group": None, "time": None}
_PART_NAMES = {2: ("train", "test"), 3: ("train", "validation", "test")}


def read(
    source: Any,
    target: Any = None,
    *,
    task: str = "auto",
    header: bool = True,
    group: Any = None,
    time: Any = None,
    data_dir: Any = None,
    horizon: int | str = "auto",
    lags: int | str = "auto",
    tell: Tell | None = None,
) -> Samples:
    """The samples in `source`: nothing scaled, nothing split, nothing left out in silence.

    Args:
        source: the path of a table (CSV, TSV, Parquet, JSON lines), of a NumPy file or of a folder of images per class; the name of an
            known data set; (X, y); a polars or pandas frame; a torch Dataset or DataLoader; or (train, test), (train, validation,
            test) of any of these.
        target: the name or index of the column to learn, or y where `source` is X.
        task: "classification", "regression", or "auto": by the target's values; "time_series" where each sample is a series of numbers.
        header: whether a table's first line holds the column names.
        group, time: the column (for arrays: the values, one per sample) that keeps samples on one side, or that orders them.
        data_dir: the folder in which a published image set such as cifar10 is looked for first, and into which it is downloaded.
        horizon, lags: of task="forecasting": how many steps ahead, and from how many past ones.
        tell: gets a sentence now and then while something is downloaded.

    Raises:
        DataError: the source cannot be used; the message says what it is, what is accepted and what to do.

    Example: `read("adult.csv", "income")`, `read((X, y))`, `read(("train.csv", "test.csv"), target="price")`
    """
    _check_task(task)
    parts = _parts_of(source, target)
    own: dict[str, Any] = {} if image_set_name(source) is None else {"data_dir": data_dir, "tell": tell}
    if data_dir is not None and not own:
        raise DataError(
            text("data_dir={folder} and other data than a published image set", folder=str(data_dir)),
            text("data_dir with one of the names {names}", names=list(IMAGE_SETS)),
            text("leave data_dir out; a file or folder is given by its own path"),
        )
    if parts is not None:
        return _read_parts(parts, task=task, header=header, group=group, time=time)
    source, target = _separated(source, target)
    kind = _kind_of(source, task)
    ahead = {name: value for name, value in (("horizon", horizon), ("lags", lags)) if value != "auto"}
    if ahead and kind.task != "forecasting":
        raise DataError(
            text("{options} and the task {task}", options=list(ahead), task=task),
            text("a forecast: {options} belong to it", options=list(ahead)),
            text("set --task forecasting, or leave them out"),
        )
    own |= ahead
    samples: Samples = kind.read(source, target, task=task, header=header, group=group, time=time, **own)
    return _with_reference(samples, source, target, {"task": task, "header": header, "group": group, "time": time})


def read_reference(reference: Mapping[str, Any]) -> Samples:
    """The same data again, as `Samples.reference` of an earlier reading names them.

    Raises:
        DataError: they are not there any more, or cannot be read.
    """
    arguments = {
        name: reference.get(name, default) for name, default in (("task", "auto"), ("header", True), ("group", None), ("time", None))
    }
    own = dict(cast("Mapping[str, Any]", reference.get("own") or {}))
    if "data_dir" in own and not is_folder(own["data_dir"]):  # another machine, another place: the other places remain
        del own["data_dir"]
    if "parts" in reference:
        parts = {part: (_path(item["source"]), item.get("target")) for part, item in cast("Mapping[str, Any]", reference["parts"]).items()}
        return _read_parts(parts, own=own, **arguments)
    source, target = _path(reference["source"]), reference.get("target")
    kind = _kind_of(source, arguments["task"])
    samples: Samples = kind.read(source, target, **arguments, **own)
    return _with_reference(samples, source, target, arguments)


def read_new(
    source: Any,
    preprocessing: Preprocessing,
    *,
    header: bool = True,
    task: Task | None = None,
    targets: str = "optional",
    data_dir: Any = None,
) -> Samples:
    """New data for a trained network, checked against what it was trained on.

    `targets` is "optional" (taken where every sample has one), "required" (rows of a table without one are left out, named) or "ignored".
    A published image set means its official test part; it is looked for in `data_dir` first.

    Raises:
        DataError: other columns or shapes, values of another kind, classes that the network does not know.
    """
    from pellucid.data.new_data import read_new_data

    own = data_kind_of(source)
    if own is not None and not isinstance(own, BuiltInKind):
        return own.read_new(source, preprocessing, header=header)
    return read_new_data(source, preprocessing, header=header, task=task, targets=targets, data_dir=data_dir)


def restore(stored: Mapping[str, Any]) -> Any:
    """The Preprocessing that `to_dict` has written. Raises DataError where its kind is unknown."""
    return preprocessing_kind_of(str(stored.get("kind"))).restore(stored)


# -- what was given? -----------------------------------------------------------------------------------------------------------------


def _check_task(task: str) -> None:
    choices = ("auto", *BY_NAME["task"].choices)
    if task not in choices:
        raise DataError(
            text("task is {task!r}", task=task), text("one of: {choices}", choices=list(choices)), did_you_mean(str(task), choices)
        )


def _kind_of(source: Any, task: str = "auto") -> Any:
    """The data kind that reads `source` for `task`. Raises DataError that says what we got and what is accepted."""
    if source is None:
        raise DataError(text("no data"), _accepted(), text("give a path, a name, arrays or a data set"))
    kind = data_kind_of(source, task)
    if kind is not None:
        return kind
    if isinstance(source, str):
        raise unknown_name(source)
    if isinstance(source, Path):
        raise unknown_name(str(source if len(source.parts) > 1 else source.absolute()))
    if callable(source):
        do = text("call it: give what {name} returns", name=getattr(source, "__name__", "it"))
    elif isinstance(source, Mapping):
        do = text("make a frame of it: polars.DataFrame(data)")
    elif hasattr(source, "__iter__") and not hasattr(source, "__len__"):
        do = text("collect it first: list(data)")
    else:
        do = text("convert it, or register your own data kind: see pellucid.data.data_kind")
    broken = [f"{name} ({reason})" for name, reason in failures().items()]
    if broken:
        do = text("{do}; these data kinds could not be loaded: {broken}", do=do, broken=broken)
    raise DataError(text("data of type {type}", type=f"{type(source).__module__}.{type(source).__qualname__}"), _accepted(), do)


def _accepted() -> Any:
    kinds = [kind.accepts for kind in data_kinds() if getattr(kind, "accepts", "")]
    return text("one of: {kinds}; or a pair (train, test) of these", kinds=kinds[::-1])


def _parts_of(source: Any, target: Any) -> dict[str, tuple[Any, Any]] | None:
    """part -> (source, target) where the user gives parts; None where `source` is one source or (X, y)."""
    if not isinstance(source, (tuple, list)):
        return None
    items: list[Any] = list(cast("Sequence[Any]", source))
    if len(items) not in _PART_NAMES or not all(_is_whole(item) for item in items) or is_pair_of_frames(items):
        return None
    separated = [_separated(item, target) for item in items]
    return dict(zip(_PART_NAMES[len(items)], separated, strict=True))


def _is_whole(item: Any) -> bool:
    """Whether `item` alone is a source: anything but a bare array, which can only be an X or a y."""
    if isinstance(item, str) and set_name(item) is None and not Path(item).suffix and not exists(item):
        return False
    if isinstance(item, (str, Path)):
        return True
    kind = data_kind_of(item)
    return kind is not None and (kind.name != ArrayKind.name or isinstance(item, tuple))


def _separated(source: Any, target: Any) -> tuple[Any, Any]:
    """(X, y) of a tuple (X, y), and of a list that can be nothing else; others as they are."""
    if not isinstance(source, (tuple, list)) or len(cast("Sequence[Any]", source)) != 2:
        return source, target
    X, y = cast("Sequence[Any]", source)
    if isinstance(source, list) and (target is not None or not _can_be_a_pair(X, y)):
        return cast("Any", source), target  # an X of two rows, or two samples of different lengths
    if not (is_frame(X) or is_array_like(X)) or not (is_frame(y) or is_array_like(y)):
        return cast("Any", source), target
    if target is not None:
        raise DataError(
            text("a pair (X, y) and also a target"), text("either (X, y), or X with target=y"), text("leave one of the two targets out")
        )
    return X, y


def _can_be_a_pair(X: Any, y: Any) -> bool:
    if isinstance(y, (list, tuple)):
        return hasattr(X, "shape") and len(X) == len(cast("Sequence[Any]", y))
    return is_pair_of_arrays([X, y])


def _path(source: Any) -> Any:
    return source if set_name(source) else Path(source)


def _with_reference(samples: Samples, source: Any, target: Any, arguments: Mapping[str, Any]) -> Samples:
    """How to read the same again: only a path or a name can be, and only with a target and options that JSON holds."""
    own = (samples.reference or {}).get("own")
    if not isinstance(source, (str, Path)) or not all(_plain(value) for value in (target, *arguments.values())):
        samples.reference = None
        return samples
    name = set_name(source) or str(Path(source).expanduser().resolve())
    samples.reference = {"source": name, "target": _as_json(target), **{key: _as_json(value) for key, value in arguments.items()}}
    if own:
        samples.reference = {**samples.reference, "own": own}
    if set_name(source) and exists(str(source)):
        summary = text("{name} is read as the data set of that name; for the file or folder write {path}", name=name, path=f"./{source}")
        samples.notices = [*samples.notices, Notice(kind="name_or_path", summary=summary)]
    return samples


def _plain(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return all(_plain(item) for item in cast("Sequence[Any]", value))
    return value is None or isinstance(value, (str, int, float, bool, np.integer))


def _as_json(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return [_as_json(item) for item in cast("Sequence[Any]", value)]
    return value.item() if isinstance(value, np.integer) else value


def _read_parts(
    parts: Mapping[str, tuple[Any, Any]], *, task: str, header: bool, group: Any, time: Any, own: Mapping[str, Any] | None = None
) -> Samples:
    arguments = {"task": task, "header": header, "group": group, "time": time}
    kinds = {part: _kind_of(source, task) for part, (source, _) in parts.items()}
    first = kinds["train"]
    samples: Samples
    if all(kind is first for kind in kinds.values()) and hasattr(first, "read_parts"):
        samples = first.read_parts(parts, **arguments, **(own or {}))
    elif all(isinstance(kind, TabularKind) for kind in kinds.values()):
        samples = FrameKind().read_parts(parts, **arguments)
    else:
        samples = join_parts({part: kinds[part].read(source, target, **arguments) for part, (source, target) in parts.items()})
    extra = (samples.reference or {}).get("own")
    references = [_with_reference(replace(samples), source, target, arguments).reference for source, target in parts.values()]
    samples.reference = None
    if all(reference is not None for reference in references):
        sources = {part: {"source": item["source"], "target": item["target"]} for part, item in zip(parts, references, strict=True) if item}
        samples.reference = {"parts": sources, **arguments, **({"own": extra} if extra else {})}
    return samples
