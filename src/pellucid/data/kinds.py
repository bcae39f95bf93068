"""Data kinds: what `read` can read. A kind recognises its sources and turns them into Samples; the built-in ones register as anyone's do.

    import numpy as np
    import pellucid.data

    @pellucid.data.data_kind
    class Recordings(pellucid.data.DataKind):
        name = "recordings"
        accepts = "a .rec file"

        def recognises(self, source):
            return isinstance(source, (str, Path)) and str(source).endswith(".rec")

        def read(self, source, target=None, *, task="auto", header=True, group=None, time=None):
            X, y = my_own_reader(source)
            return pellucid.data.read((X, y), task=task, group=group, time=time)

A package registers its kinds for all its users by an entry point:

    [project.entry-points."pellucid.data_kinds"]
    recordings = "module:Recordings"
"""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.metadata import entry_points
from typing import Any, TypeVar

import numpy as np
import torch

from pellucid.core.errors import DataError
from pellucid.core.language import Text, text
from pellucid.core.records import Task
from pellucid.data.samples import Preprocessing, ResidentPart, Samples

ENTRY_POINT_GROUP = "pellucid.data_kinds"


class DataKind(ABC):
    """One way to read data. `name`, `recognises` and `read` are all that a kind must have; the rest has defaults."""

    name: str
    accepts: Text | str = ""  # the sources it reads, in words, for the message about a source nobody recognises
    task: str | None = None  # the value of the option `task` without which this kind is not asked: a table of numbers can mean many things

    @abstractmethod
    def recognises(self, source: Any) -> bool:
        """Whether this kind reads `source`. Must be quick and must not raise."""

    @abstractmethod
    def read(
        self, source: Any, target: Any = None, *, task: str = "auto", header: bool = True, group: Any = None, time: Any = None
    ) -> Samples:
        """The samples, nothing scaled, nothing split. Raises DataError where they cannot be used."""

    def read_parts(
        self,
        parts: Mapping[str, tuple[Any, Any]],
        *,
        task: str = "auto",
        header: bool = True,
        group: Any = None,
        time: Any = None,
    ) -> Samples:
        """Several sources that the user has already split: part ("train", "validation", "test") -> (source, target)."""
        from pellucid.data.joining import join_parts

        train_source, train_target = parts["train"]
        train = self.read(train_source, train_target, task=task, header=header, group=group, time=time)
        settled = train.task.kind if train.task else task  # the other parts may be too small to guess the task from
        read = {"train": train}
        for part, (source, target) in parts.items():
            if part != "train":
                read[part] = self.read(source, target, task=settled, header=header, group=group, time=time)
        return join_parts(read)

    def read_new(self, source: Any, preprocessing: Preprocessing, *, header: bool = True) -> Samples:
        """New data for a trained network."""
        samples = self.read(source, header=header)
        if samples.kind != preprocessing.kind:
            raise DataError(
                text("the new data are of kind {got}", got=samples.kind),
                text("data of kind {kind}, as the network was trained on", kind=preprocessing.kind),
                text("give data of the same kind"),
            )
        return samples


class PreprocessingKind(ABC):
    """How samples of one kind are prepared: fitted on the training part, stored with the run, applied to everything predicted later."""

    kind: str  # Samples.kind

    @abstractmethod
    def fit(self, samples: Samples, train: np.ndarray) -> Preprocessing:
        """Look at the samples at positions `train` alone."""

    @abstractmethod
    def restore(self, stored: Mapping[str, Any]) -> Preprocessing:
        """What `Preprocessing.to_dict` has written."""

    def indivisible(self, samples: Samples) -> Text | None:
        """Why nothing can be taken from the training samples for validation or test; None where it can."""
        return None

    def read_new(
        self, source: Any, target: Any, preprocessing: Preprocessing, *, header: bool, task: Task | None, targets: str
    ) -> Samples | None:
        """New data for a trained network, `target` from beside them where it was given so; None where this kind has no reader of its own.
        `targets` as in `sources.read_new`."""
        return None

    def part(self, samples: Samples, indices: np.ndarray, preprocessing: Preprocessing) -> Any:
        """The samples at `indices` as a Part."""
        return ResidentPart(preprocessing.inputs(samples, indices), preprocessing.targets(samples, indices), indices, preprocessing)

    def new_part(self, samples: Samples, preprocessing: Preprocessing, *, labelled: bool) -> Any:
        """New samples as a Part; without targets, all are zero."""
        inputs = preprocessing.inputs(samples)
        targets = preprocessing.targets(samples) if labelled else torch.zeros(len(inputs))
        return ResidentPart(inputs, targets, np.arange(len(inputs)), preprocessing)


_Kind = TypeVar("_Kind", bound=type)
_data_kinds: dict[str, Any] = {}
_preprocessing_kinds: dict[str, PreprocessingKind] = {}
_MODULES = {  # the built-in ones register themselves when they are first needed
    "array": "pellucid.data.arrays.preprocessing",
    "forecasting": "pellucid.data.forecasting.preprocessing",
    "images": "pellucid.data.images.reading",
    "masks": "pellucid.data.masks.preprocessing",
    "series": "pellucid.data.series.preprocessing",
    "table": "pellucid.data.tables.preprocessing",
    "text": "pellucid.data.text.preprocessing",
    "torch": "pellucid.data.torch_data.parts",
}
_failures: dict[str, str] = {}  # entry points that could not be loaded, and why


def data_kind(kind: _Kind) -> _Kind:
    """Class decorator: register a data kind. It is asked before all that were registered earlier; an equal name replaces the earlier."""
    instance = kind()
    name = getattr(instance, "name", None)
    missing = [method for method in ("recognises", "read") if not callable(getattr(instance, method, None))]
    if not isinstance(name, str) or not name or missing:
        raise DataError(
            text("the data kind {kind} has no {missing}", kind=kind.__name__, missing=missing or ["name"]),
            text("a class with name, recognises(source) and read(source, target, ...)"),
            text("derive it from pellucid.data.DataKind"),
        )
    _data_kinds.pop(name, None)
    _data_kinds[name] = instance
    return kind


def preprocessing_kind(kind: _Kind) -> _Kind:
    """Class decorator: register how samples of `kind.kind` are prepared."""
    instance = kind()
    _preprocessing_kinds[instance.kind] = instance
    return kind


@cache
def _load_entry_points() -> None:
    for entry_point in entry_points(group=ENTRY_POINT_GROUP):
        try:
            data_kind(entry_point.load())
        except Exception as error:  # somebody else's package: it must not stop reading what does not need it
            _failures[entry_point.name] = f"{type(error).__name__}: {error}"


def data_kinds() -> Iterator[Any]:
    """All kinds, the latest registered first."""
    _load_entry_points()
    yield from list(_data_kinds.values())[::-1]


def data_kind_of(source: Any, task: str = "auto") -> Any | None:
    """The kind that reads `source` for `task`, None where nobody recognises it. A kind made for this very task goes before the others."""
    asked = [kind for kind in data_kinds() if getattr(kind, "task", None) == task]
    others = [kind for kind in data_kinds() if getattr(kind, "task", None) is None]
    return next((kind for kind in (*asked, *others) if kind.recognises(source)), None)


def failures() -> Mapping[str, str]:
    """Data kinds of other packages that could not be loaded: entry point -> reason."""
    _load_entry_points()
    return _failures


def preprocessing_kind_of(kind: str) -> PreprocessingKind:
    """Raises DataError where no such kind is registered (a run of a newer version, or of a package that is not installed)."""
    if kind in _MODULES and kind not in _preprocessing_kinds:
        importlib.import_module(_MODULES[kind])
    if kind not in _preprocessing_kinds:
        _load_entry_points()
    if kind not in _preprocessing_kinds:
        raise DataError(
            text("preprocessing of the kind {kind!r}", kind=kind),
            text("one of: {kinds}", kinds=sorted({*_MODULES, *_preprocessing_kinds})),
            text("install the package, or the version of pellucid, with which the run was made"),
        )
    return _preprocessing_kinds[kind]
