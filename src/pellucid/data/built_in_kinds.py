"""The kinds of data that Pellucid reads itself, registered as anyone's own kind is. The last one registered is asked first.

What reading takes (polars, pillow) is imported when something is read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np

from pellucid.core.errors import DataError
from pellucid.core.language import text
from pellucid.data.embedded import EMBEDDED, embedded_name, read_embedded
from pellucid.data.kinds import DataKind, data_kind
from pellucid.data.names import IMAGE_SETS, image_set_name
from pellucid.data.recognition import exists, is_array_like, is_file, is_folder, is_frame, is_pair_of_frames, place_of
from pellucid.data.samples import Samples

_TABLE_SUFFIXES = (".csv", ".tsv", ".parquet", ".jsonl", ".ndjson", ".gz", ".xz", ".bz2")


class BuiltInKind(DataKind):
    """A kind whose new data `new_data` reads, by the network's preprocessing."""


class TabularKind(BuiltInKind):
    """Tables, from files or in memory: parts of both can be mixed."""

    def read_parts(
        self, parts: Mapping[str, tuple[Any, Any]], *, task: str = "auto", header: bool = True, group: Any = None, time: Any = None
    ) -> Samples:
        from pellucid.data.tables.reading import read_table_parts

        named = {part: _with_target_column(source, target) for part, (source, target) in parts.items()}
        return read_table_parts(named, task=task, header=header, group=group, time=time)


@data_kind
class ArrayKind(BuiltInKind):
    name = "array"
    accepts = text("arrays (X, y)")

    def recognises(self, source: Any) -> bool:
        if isinstance(source, tuple) and len(cast("tuple[Any, ...]", source)) == 2:
            X, y = cast("tuple[Any, Any]", source)
            return is_array_like(X) and is_array_like(y)
        return is_array_like(source)

    def read(
        self, source: Any, target: Any = None, *, task: str = "auto", header: bool = True, group: Any = None, time: Any = None
    ) -> Samples:
        from pellucid.data.arrays.reading import read_arrays

        return read_arrays(source, _array_target(target), task=task, group=group, time=time)

    def read_parts(
        self, parts: Mapping[str, tuple[Any, Any]], *, task: str = "auto", header: bool = True, group: Any = None, time: Any = None
    ) -> Samples:
        from pellucid.data.arrays.reading import read_array_parts

        return read_array_parts({part: (X, _array_target(y)) for part, (X, y) in parts.items()}, task=task, group=group, time=time)


def _array_target(target: Any) -> Any:
    if isinstance(target, (str, int)):
        raise DataError(
            text("target={target!r}, and arrays have no column names", target=target),
            text("the targets themselves, one per sample"),
            text("give (X, y), or X with target=y; for columns with names give a frame"),
        )
    return target


@data_kind
class TorchKind(BuiltInKind):
    name = "torch"
    accepts = text("a torch Dataset or DataLoader")

    def recognises(self, source: Any) -> bool:
        from pellucid.data.torch_data.looking import is_torch_data

        return is_torch_data(source)

    def read(
        self, source: Any, target: Any = None, *, task: str = "auto", header: bool = True, group: Any = None, time: Any = None
    ) -> Samples:
        return self.read_parts({"": (source, target)}, task=task, group=group, time=time)

    def read_parts(
        self, parts: Mapping[str, tuple[Any, Any]], *, task: str = "auto", header: bool = True, group: Any = None, time: Any = None
    ) -> Samples:
        from pellucid.data.torch_data.parts import read_torch

        if any(target is not None for _, target in parts.values()):
            raise DataError(
                text("a torch data set and also a target"), text("samples (input, target) in the data set itself"), text("leave target out")
            )
        return read_torch({part: source for part, (source, _) in parts.items()}, task=task, group=group, time=time)


@data_kind
class FrameKind(TabularKind):
    name = "frame"
    accepts = text("a polars or pandas frame with the target's name")

    def recognises(self, source: Any) -> bool:
        if isinstance(source, tuple) and len(cast("tuple[Any, ...]", source)) == 2:
            X, y = cast("tuple[Any, Any]", source)
            return is_frame(X) and (is_array_like(y) or is_pair_of_frames([X, y]))
        return is_frame(source)

    def read(
        self, source: Any, target: Any = None, *, task: str = "auto", header: bool = True, group: Any = None, time: Any = None
    ) -> Samples:
        from pellucid.data.tables.reading import read_frame

        source, target = _with_target_column(source, target)
        return read_frame(source, target, task=task, group=group, time=time)


def _with_target_column(source: Any, target: Any) -> tuple[Any, Any]:
    """A frame X and targets y as one frame and the name of y's column; others as they are."""
    if isinstance(source, (str, Path)) or target is None or isinstance(target, (str, int, np.integer)):
        return source, target
    names = [str(name) for name in getattr(source, "columns", ())]
    if isinstance(target, (list, tuple)) and all(isinstance(name, (str, int)) for name in cast("Sequence[Any]", target)):
        entries = cast("Sequence[Any]", target)
        if len(entries) < len(names) and all(entry in names or isinstance(entry, int) for entry in entries) and len(entries) != len(source):
            return source, target
    from pellucid.data.tables.frame_targets import frame_with_target

    return frame_with_target(source, target)


@data_kind
class TableFileKind(TabularKind):
    name = "table file"
    accepts = text("the path of a table (CSV/TSV/Parquet/JSON lines)")

    def recognises(self, source: Any) -> bool:
        if not isinstance(source, (str, Path)) or is_folder(source):
            return False
        return exists(source) or Path(source).suffix.lower() in _TABLE_SUFFIXES

    def read(
        self, source: Any, target: Any = None, *, task: str = "auto", header: bool = True, group: Any = None, time: Any = None
    ) -> Samples:
        from pellucid.data.tables.reading import read_table

        if target is not None and not isinstance(target, (str, int, np.integer, list, tuple)):
            raise DataError(
                text("the target of the file {path} is a {type}", path=str(source), type=type(target).__name__),
                text("the name or index of one of its columns"),
                text("name the column"),
            )
        return read_table(source, target, task=task, header=header, group=group, time=time)


@data_kind
class ForecastingKind(BuiltInKind):
    """Tables, from files or in memory, whose rows are the steps of one or several series."""

    name = "forecasting"
    accepts = text("with task forecasting: the path of a table or a frame with a row for every time")
    task = "forecasting"

    def recognises(self, source: Any) -> bool:
        return not isinstance(source, tuple) and (FrameKind().recognises(source) or TableFileKind().recognises(source))

    def read(
        self,
        source: Any,
        target: Any = None,
        *,
        task: str = "auto",
        header: bool = True,
        group: Any = None,
        time: Any = None,
        horizon: int | str = "auto",
        lags: int | str = "auto",
    ) -> Samples:
        from pellucid.data.forecasting.reading import read_series

        return read_series(source, target, header=header, group=group, time=time, horizon=horizon, lags=lags)

    def read_parts(
        self, parts: Mapping[str, tuple[Any, Any]], *, task: str = "auto", header: bool = True, group: Any = None, time: Any = None
    ) -> Samples:
        raise DataError(
            text("several tables, for a forecast"),
            text("one table: its latest rows are the test part"),
            text("put the rows into one table; --test and --validation say how many of the latest are held out"),
        )


@data_kind
class ArrayFileKind(BuiltInKind):
    name = "array file"
    accepts = text("the path of an .npz file with X and y")

    def recognises(self, source: Any) -> bool:
        return isinstance(source, (str, Path)) and Path(source).suffix.lower() in (".npy", ".npz") and is_file(source)

    def read(
        self, source: Any, target: Any = None, *, task: str = "auto", header: bool = True, group: Any = None, time: Any = None
    ) -> Samples:
        from pellucid.data.arrays.reading import load_array_file, read_arrays

        path = Path(source).expanduser()
        X, y = load_array_file(path)
        if target is not None:
            y = _array_target(target)
        if y is None:
            raise DataError(
                text("{path} holds inputs without targets", path=str(path)),
                text("an .npz file with X and y"),
                text("write it with numpy.savez(path, X=..., y=...)"),
            )
        return read_arrays(X, y, task=task, group=group, time=time, name=path.stem)


class SeriesKind(BuiltInKind):
    """Time series: each sample is a series of numbers, of any length."""

    def read(
        self, source: Any, target: Any = None, *, task: str = "auto", header: bool = True, group: Any = None, time: Any = None
    ) -> Samples:
        from pellucid.data.series.reading import read_series

        source, target = _with_target_column(source, target) if self.name == "table of series" else (source, target)
        return read_series(source, target, task=task, header=header, group=group, time=time)

    def read_parts(
        self, parts: Mapping[str, tuple[Any, Any]], *, task: str = "auto", header: bool = True, group: Any = None, time: Any = None
    ) -> Samples:
        from pellucid.data.series.reading import read_series_parts

        if self.name == "table of series":
            parts = {part: _with_target_column(source, target) for part, (source, target) in parts.items()}
        return read_series_parts(parts, task=task, header=header, group=group, time=time)


@data_kind
class SeriesFileKind(SeriesKind):
    name = "series file"
    accepts = text("the path of time series (.ts)")

    def recognises(self, source: Any) -> bool:
        return isinstance(source, (str, Path)) and Path(source).suffix.lower() == ".ts" and is_file(source)


@data_kind
class SeriesArrayKind(SeriesKind):
    name = "array of series"
    accepts = text("with task time_series: arrays (X, y), X of shape (samples, channels, steps)")
    task = "time_series"

    def recognises(self, source: Any) -> bool:
        return ArrayKind().recognises(source) or ArrayFileKind().recognises(source)

    def read(
        self, source: Any, target: Any = None, *, task: str = "auto", header: bool = True, group: Any = None, time: Any = None
    ) -> Samples:
        if isinstance(source, (str, Path)):
            from pellucid.data.arrays.reading import load_array_file

            source, found = load_array_file(Path(source).expanduser())
            target = found if target is None else target
        return super().read(source, _array_target(target), task=task, header=header, group=group, time=time)


@data_kind
class SeriesTableKind(SeriesKind):
    name = "table of series"
    accepts = text("with task time_series: the path of a table or a frame with a row per series, or per step")
    task = "time_series"

    def recognises(self, source: Any) -> bool:
        return FrameKind().recognises(source) or (not ArrayFileKind().recognises(source) and TableFileKind().recognises(source))


@data_kind
class ImageFolderKind(BuiltInKind):
    name = "image folder"
    accepts = text("the path of a folder with one subfolder of images per class")

    def recognises(self, source: Any) -> bool:
        return isinstance(source, (str, Path)) and is_folder(source)

    def read(
        self,
        source: Any,
        target: Any = None,
        *,
        task: str = "auto",
        header: bool = True,
        group: Any = None,
        time: Any = None,
        size: Any = None,
        channels: int | None = None,
    ) -> Samples:
        from pellucid.data.images.reading import read_image_folder

        _no_target_for_images(target, task)
        return read_image_folder(Path(source).expanduser(), group=group, time=time, size=size, channels=channels)

    def read_parts(
        self,
        parts: Mapping[str, tuple[Any, Any]],
        *,
        task: str = "auto",
        header: bool = True,
        group: Any = None,
        time: Any = None,
        size: Any = None,
        channels: int | None = None,
    ) -> Samples:
        from pellucid.data.images.reading import read_image_parts

        _no_target_for_images(next(iter(parts.values()))[1], task)
        folders = {part: Path(source).expanduser() for part, (source, _) in parts.items()}
        return read_image_parts(folders, group=group, time=time, size=size, channels=channels)


def _no_target_for_images(target: Any, task: str) -> None:
    if target is not None:
        raise DataError(
            text("target={target!r} for a folder of images", target=str(target)),
            text("the classes are the names of the subfolders"),
            text("leave target out"),
        )
    if task == "regression":
        raise DataError(
            text("task=regression for a folder of images"),
            text("a classification: the classes are the names of the subfolders"),
            text("leave task out; for images with numbers to predict give arrays (X, y) or a torch Dataset"),
        )


@data_kind
class MaskFolderKind(BuiltInKind):
    name = "folder of masks"
    accepts = text("the path of a folder with the folders images and masks")

    def recognises(self, source: Any) -> bool:
        if not isinstance(source, (str, Path)) or not is_folder(source):
            return False
        from pellucid.data.masks.folders import folders_of

        return bool(folders_of(Path(place_of(source))))

    def read(
        self,
        source: Any,
        target: Any = None,
        *,
        task: str = "auto",
        header: bool = True,
        group: Any = None,
        time: Any = None,
        scale: float | None = None,
        channels: int | None = None,
    ) -> Samples:
        from pellucid.data.masks.reading import read_mask_folder

        _only_segmentation(task)
        return read_mask_folder(source, target, group=group, time=time, scale=scale, channels=channels)

    def read_parts(
        self,
        parts: Mapping[str, tuple[Any, Any]],
        *,
        task: str = "auto",
        header: bool = True,
        group: Any = None,
        time: Any = None,
        scale: float | None = None,
        channels: int | None = None,
    ) -> Samples:
        from pellucid.data.masks.reading import read_mask_parts

        _only_segmentation(task)
        folders = {part: source for part, (source, _) in parts.items()}
        target = next((target for _, target in parts.values() if target is not None), None)
        return read_mask_parts(folders, target, group=group, time=time, scale=scale, channels=channels)


def _only_segmentation(task: str) -> None:
    if task not in ("auto", "segmentation"):
        raise DataError(
            text("task={task} for a folder of images and masks", task=task),
            text("segmentation: a class for every pixel"),
            text("leave task out; for classes of whole images give a folder with one subfolder per class"),
        )


@data_kind
class TextFolderKind(BuiltInKind):
    name = "text folder"
    accepts = text("the path of a folder with one subfolder of .txt files per class")

    def recognises(self, source: Any) -> bool:
        if not isinstance(source, (str, Path)) or not is_folder(source):
            return False
        from pellucid.data.text.folders import holds_texts

        return holds_texts(place_of(source))

    def read(
        self, source: Any, target: Any = None, *, task: str = "auto", header: bool = True, group: Any = None, time: Any = None
    ) -> Samples:
        from pellucid.data.text.folders import read_text_folder

        _no_target_for_texts(target)
        return read_text_folder(Path(source).expanduser(), task=task, group=group, time=time)

    def read_parts(
        self, parts: Mapping[str, tuple[Any, Any]], *, task: str = "auto", header: bool = True, group: Any = None, time: Any = None
    ) -> Samples:
        from pellucid.data.text.folders import read_text_parts

        _no_target_for_texts(next(iter(parts.values()))[1])
        roots = {part: Path(source).expanduser() for part, (source, _) in parts.items()}
        return read_text_parts(roots, task=task, group=group, time=time)


def _no_target_for_texts(target: Any) -> None:
    if target not in (None, "class"):
        raise DataError(
            text("target={target!r} for a folder of texts", target=str(target)),
            text("the classes are the names of the subfolders"),
            text("leave target out"),
        )


@data_kind
class ImageFileKind(BuiltInKind):
    name = "image file"  # recognised so that the message is right; one picture is nothing to learn from

    def recognises(self, source: Any) -> bool:
        if not isinstance(source, (str, Path)) or not is_file(source):
            return False
        from pellucid.data.images.decoding import is_image_name

        return is_image_name(source)

    def read(
        self, source: Any, target: Any = None, *, task: str = "auto", header: bool = True, group: Any = None, time: Any = None
    ) -> Samples:
        raise DataError(
            text("{path} is a single image", path=str(source)),
            text("a folder with one subfolder of images per class"),
            text("give the folder; to label this image with a trained network use predict"),
        )


@data_kind
class EmbeddedKind(BuiltInKind):
    name = "embedded"
    accepts = text("one of the names {names}", names="/".join(EMBEDDED))

    def recognises(self, source: Any) -> bool:
        return embedded_name(source) is not None

    def read(
        self, source: Any, target: Any = None, *, task: str = "auto", header: bool = True, group: Any = None, time: Any = None
    ) -> Samples:
        name = embedded_name(source)
        assert name is not None
        kind = "classification" if EMBEDDED[name].classes else "regression"
        if target not in (None, "target", "digit") or task not in ("auto", kind):
            raise DataError(
                text("target={target!r} and task={task} for the embedded data set {name}", target=target, task=task, name=name),
                text("its own target: a {kind}", kind=kind),
                text("leave target and task out"),
            )
        return read_embedded(name, group=group, time=time)


@data_kind
class NamedImagesKind(BuiltInKind):
    name = "named images"
    accepts = text("one of the published image sets {names}", names="/".join(IMAGE_SETS))

    def recognises(self, source: Any) -> bool:
        return image_set_name(source) is not None

    def read(
        self,
        source: Any,
        target: Any = None,
        *,
        task: str = "auto",
        header: bool = True,
        group: Any = None,
        time: Any = None,
        data_dir: Any = None,
        tell: Any = None,
    ) -> Samples:
        from pellucid.data.images.named import read_named_images

        name = image_set_name(source)
        assert name is not None
        if target not in (None, "class") or task not in ("auto", "classification"):
            raise DataError(
                text("target={target!r} and task={task} for the image set {name}", target=target, task=task, name=name),
                text("its own target: the class of each image"),
                text("leave target and task out"),
            )
        return read_named_images(name, data_dir=data_dir, group=group, time=time, tell=tell)
