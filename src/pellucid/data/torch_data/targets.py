"""What a torch Dataset's targets mean: whole numbers are class indices, floats are numbers to predict, as torch's own losses have it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pellucid.core.errors import DataError
from pellucid.core.language import text
from pellucid.core.records import Notice, Task
from pellucid.data.torch_data.looking import TorchSource

INDICES, VALUES, ONE_HOT, NUMBERS = "indices", "values", "one_hot", "numbers"


@dataclass(frozen=True)
class TargetEncoding:
    """How targets as the user gives them become those of a Task."""

    how: str  # INDICES: as they are; VALUES: the position among `values`; ONE_HOT: the column of the 1; NUMBERS: floats
    values: tuple[float, ...] = ()

    def apply(self, targets: Tensor) -> Tensor:
        """(n,) int64 class indices, or (n, outputs) float32.

        Raises:
            DataError: a value that the training part never had.
        """
        if self.how == NUMBERS:
            return targets.to(torch.float32).reshape(len(targets), -1)
        if self.how == ONE_HOT:
            return targets.reshape(len(targets), -1).argmax(dim=1)
        flat = targets.reshape(len(targets), -1)[:, 0]
        if self.how == INDICES:
            return flat.to(torch.int64)
        known = torch.tensor(self.values, dtype=torch.float64, device=flat.device)
        wanted = flat.to(torch.float64)
        positions = torch.searchsorted(known, wanted).clamp(max=len(known) - 1)
        if not torch.equal(known[positions], wanted):
            strange = float(wanted[known[positions] != wanted][0])
            raise DataError(
                text("a target is {value:g}, which the training part never has", value=strange),
                text("one of the classes {classes}", classes=[f"{value:g}" for value in self.values[:20]]),
                text("add training samples of this class, or leave it out"),
            )
        return positions

    def to_dict(self) -> dict[str, Any]:
        return {"how": self.how, "values": list(self.values)}

    @staticmethod
    def from_dict(stored: Mapping[str, Any]) -> TargetEncoding:
        return TargetEncoding(stored["how"], tuple(float(value) for value in stored["values"]))


def understand_targets(source: TorchSource, task: str) -> tuple[Task, TargetEncoding, list[Notice]]:
    """The task that the training part's targets set.

    Raises:
        DataError: complex, missing, constant or oddly shaped targets, or targets that do not suit `task`.
    """
    known = source.targets if source.targets is not None else source.first_targets
    assert known is not None
    complete = source.targets is not None
    targets = _checked(known)
    if targets.ndim == 2:
        if task != "regression" and _is_one_hot(targets):
            outputs = targets.shape[1]
            notice = Notice(kind="one_hot", summary=text("every target has one 1 among {outputs} numbers: read as classes, one-hot encoded",
                                                         outputs=outputs))  # fmt: skip
            return _classification(source, [str(index) for index in range(outputs)]), TargetEncoding(ONE_HOT), [notice]
        if task == "classification":
            raise DataError(
                text("targets of shape {shape} that are not one-hot, and the task is classification", shape=str(tuple(targets.shape))),
                text("one class index per sample"),
                text("return the class as one whole number, or set task to regression"),
            )
        names = tuple(f"target {index}" for index in range(targets.shape[1]))
        return Task(kind="regression", targets=names), TargetEncoding(NUMBERS), []
    numbers = targets.is_floating_point()
    binary = numbers and complete and bool(((targets == 0) | (targets == 1)).all())
    if task == "regression" or (task == "auto" and numbers and not binary):
        if complete and len(targets) > 1 and bool((targets == targets[0]).all()):
            raise _constant(float(targets[0]), len(targets))
        return Task(kind="regression"), TargetEncoding(NUMBERS), []
    notices: list[Notice] = []
    if binary and task == "auto":
        summary = text("the targets are the floats 0 and 1: read as two classes; for numbers to predict set task to regression")
        notices.append(Notice(kind="binary_floats", summary=summary))
    return _classes(source, targets, complete, notices)


def _checked(targets: Tensor) -> Tensor:
    """Targets (n,) or (n, outputs >= 2)."""
    if targets.is_complex() or targets.layout != torch.strided:
        raise DataError(
            text("targets of type {dtype}, layout {layout}", dtype=str(targets.dtype), layout=str(targets.layout)),
            text("real numbers in a dense tensor"),
            text("convert them in __getitem__"),
        )
    if targets.ndim > 2 and targets[0].numel() > 1:
        raise DataError(
            text("targets of shape {shape} for each sample", shape=str(tuple(targets.shape[1:]))),
            text("one class index, or one row of numbers, per sample"),
            text("images as targets are not read yet: give one class per sample"),
        )
    targets = targets.reshape(len(targets), -1)
    if targets.is_floating_point() and not bool(torch.isfinite(targets).all()):
        position = int(torch.nonzero(~torch.isfinite(targets))[0, 0])
        raise DataError(
            text(
                "the target of sample {index} is {value}",
                index=position,
                value=", ".join(f"{value:g}" for value in targets[position].tolist()),
            ),
            text("finite numbers"),
            text("leave these samples out"),
        )
    return targets[:, 0] if targets.shape[1] == 1 else targets


def _is_one_hot(targets: Tensor) -> bool:
    return bool(((targets == 0) | (targets == 1)).all()) and bool((targets.double().sum(dim=1) == 1).all())


def _constant(value: float, count: int) -> DataError:
    return DataError(
        text("all {count} targets are {value:g}", count=count, value=value),
        text("targets that vary"),
        text("check the targets: there is nothing to learn"),
    )


def _classification(source: TorchSource, values: Sequence[str]) -> Task:
    names = source.classes
    return Task(kind="classification", targets=("class",), classes=names if len(names) >= len(values) else tuple(values))


def _classes(source: TorchSource, targets: Tensor, complete: bool, notices: list[Notice]) -> tuple[Task, TargetEncoding, list[Notice]]:
    """Class indices as they are where they can be meant so (0, 1, 2, ...); else the values in their order."""
    values = np.unique(targets.double().numpy())
    low, high = float(values[0]), float(values[-1])
    whole = bool((values == np.round(values)).all())
    shown = [f"{value:g}" for value in values]
    count = len(source.classes)
    as_indices = whole and low >= 0 and (high < count or 2 * len(values) >= high + 1)
    if complete and len(values) < 2:
        raise _constant(low, len(targets))
    if as_indices:
        return _classification(source, [str(index) for index in range(max(count, int(high) + 1))]), TargetEncoding(INDICES), notices
    if not complete:
        raise DataError(
            text(
                "the Dataset is too slow to read whole, and its first targets are {values}", values=[f"{value:g}" for value in values[:10]]
            ),
            text("class indices 0, 1, 2, ... and an attribute `classes` with the names of all classes"),
            text("give the Dataset the attributes `classes` and `targets`, as torchvision's have"),
        )
    if not whole and len(values) > 100:
        raise DataError(
            text("the targets have {count} different values, not whole numbers, and the task is classification", count=len(values)),
            text("class indices"),
            text("set task to regression, or turn the numbers into classes"),
        )
    shown = [f"{value:g}" for value in values]
    notices.append(
        Notice(
            kind="class_values", summary=text("the {count} classes are the targets' values {values}", count=len(values), values=shown[:20])
        )
    )
    return _classification(source, shown), TargetEncoding(VALUES, tuple(values.tolist())), notices


def known_targets(source: TorchSource, encoding: TargetEncoding) -> np.ndarray | None:
    """(n,) int64 class indices or (n, outputs) float64 where all targets are known."""
    if source.targets is None:
        return None
    encoded = encoding.apply(_checked(source.targets)).numpy()
    return encoded.astype(np.float64) if encoding.how == NUMBERS else encoded.astype(np.int64)
