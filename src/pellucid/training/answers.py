"""What a trained network gives back: its answers for new samples, and its scores on samples whose answers are known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pellucid.core.errors import OptionError
from pellucid.core.language import text
from pellucid.core.records import Interval, Notice, Score, Task
from pellucid.core.results import Forecast
from pellucid.training.forecasting.forecasts import forecast_columns

if TYPE_CHECKING:
    from pellucid.data.masks.classes import MaskClasses


@dataclass(frozen=True)
class Predictions:
    """What the network says about new samples, in the user's own terms."""

    task: Task
    identifiers: list[str]  # row numbers or file names
    labels: list[Any] | None  # classification: the most probable class of each sample; whole numbers where the classes are numbered
    probabilities: np.ndarray | None  # classification: (n, K), rows sum to 1
    values: np.ndarray | None  # regression: (n, outputs), in the target's units
    masks: list[np.ndarray] | None = None  # segmentation: (H, W) uint8 class indices, as large as each image
    mask_classes: MaskClasses | None = None  # and what they are called in the user's own masks
    forecasts: tuple[Forecast, ...] = ()  # forecasting: the next steps of each series
    names: tuple[str, ...] = ()  # forecasting: of the columns that hold the times and the series
    skipped: tuple[str, ...] = ()  # what could not be read, each with its reason
    notices: tuple[Notice, ...] = ()  # what is unlike the data the network was trained on: unseen categories, another scale

    def __len__(self) -> int:
        return len(self.identifiers)

    def to_dict(self) -> dict[str, Any]:
        """Column name -> values: what a CSV of the predictions holds."""
        if self.forecasts:
            return forecast_columns(self.forecasts, self.task, self.names)
        columns: dict[str, Any] = {"sample": self.identifiers}
        if self.labels is not None and self.probabilities is not None:
            columns[self.task.targets[0]] = self.labels
            for index, name in enumerate(self.task.classes):
                columns[f"probability of {name}"] = [float(f"{value:.6g}") for value in self.probabilities[:, index]]
        elif self.values is not None:
            for index, name in enumerate(self.task.targets):
                columns[name] = [float(f"{value:.9g}") for value in self.values[:, index]]  # as many digits as float32 has
        elif self.masks is not None:
            for index, name in enumerate(self.task.classes):
                columns[f"share of {name}"] = [float(f"{(mask == index).mean():.6g}") for mask in self.masks]
        return columns

    def write_masks(self, folder: str | Path) -> list[str]:
        """Write each mask as a PNG in the values, or colours, of the masks learnt from, called as its image; gives the names.

        Raises:
            OptionError: the task has no masks. StorageError: the folder cannot be written to.
        """
        if self.masks is None or self.mask_classes is None:
            raise OptionError(
                text("the task is {task}", task=self.task.kind), text("masks of a segmentation"), text("write a table: write_csv, to_dict")
            )
        from pellucid.data.masks.writing import write_masks  # pillow, only where masks are written

        return write_masks(Path(folder), self.masks, self.identifiers, self.mask_classes)


def class_values(classes: Sequence[str]) -> list[Any]:
    """The classes as the user wrote them: whole numbers and truth values are no texts, so that they compare with the user's own y."""
    if {name.lower() for name in classes} == {"false", "true"}:
        return [name.lower() == "true" for name in classes]
    if all(name.lstrip("-").isdecimal() and str(int(name)) == name for name in classes):
        return [int(name) for name in classes]
    return list(classes)


@dataclass(frozen=True)
class Evaluation:
    """Scores of a network on data with known targets."""

    scores: tuple[Score, ...]
    samples: int
    skipped: tuple[str, ...] = ()
    notices: tuple[Notice, ...] = ()

    @property
    def metrics(self) -> dict[str, float]:
        return {score.name: score.value for score in self.scores}

    @property
    def intervals(self) -> dict[str, Interval | None]:
        return {score.name: score.interval for score in self.scores}

    def to_dict(self) -> dict[str, Any]:
        return {"samples": self.samples, "scores": [score.to_dict() for score in self.scores], "skipped": list(self.skipped),
                "notices": [notice.to_dict() for notice in self.notices]}  # fmt: skip
