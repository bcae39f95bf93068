"""A table's rows as (n, F) float32: one encoding per column, fitted on the training rows alone, stored with the run as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import polars as pl
import torch
from torch import Tensor

from pellucid.core.errors import DataError
from pellucid.core.language import text
from pellucid.core.memory import require_memory
from pellucid.core.records import Task
from pellucid.data.arrays.preprocessing import TargetScaling
from pellucid.data.kinds import PreprocessingKind, preprocessing_kind
from pellucid.data.samples import Samples
from pellucid.data.tables.columns import Column, content_columns, infer_columns, used_columns
from pellucid.data.tables.encoding import ColumnEncoding, fit_encoding, restore_encoding
from pellucid.data.tables.reading import TableSamples
from pellucid.data.text.preprocessing import TextPreprocessing

FORMAT = 1
_MOST_PIECES, _FEWEST_PIECES = 32, 8  # of a piecewise linear encoding: more resolve more, fewer are not worth their weights
_ROWS_PER_PIECE = 256
_PIECES_OF_ALL = 512  # all numeric columns together: a table of hundreds of numbers (pixels, genes) gets none
_CHUNK = 1 << 16  # rows encoded together


@dataclass(frozen=True)
class TablePreprocessing:
    """Fitted by `fit`, applied by `inputs` and `targets`."""

    kind = "table"

    columns: Mapping[str, Column]  # the columns the network sees, in the order of its inputs
    encodings: Mapping[str, ColumnEncoding]
    task: Task
    target_scaling: TargetScaling
    header: bool = True
    width: int = 0  # columns of the table, target included
    content: tuple[str, ...] = ()  # the columns by which samples differ, in the table's order: what their hashes were made of
    unseen: Mapping[str, Column] = field(default_factory=dict[str, Column])  # those of them that no network sees: names, long numbers

    @staticmethod
    def fit(samples: Samples, train: np.ndarray) -> TablePreprocessing | TextPreprocessing:
        """Look at the rows `train` of `samples.inputs` and `samples.targets`, at no other. A column of texts that stands alone: tokens.

        Raises:
            DataError: the training rows hold nothing that could be learnt from.
        """
        if samples.task is None:
            raise DataError(
                text("the table has no target"), text("the column to learn"), text("name it: --target COLUMN, or target='COLUMN'")
            )
        frame: pl.DataFrame = samples.inputs
        if isinstance(samples, TableSamples):
            columns, header, width = samples.columns, samples.header, samples.width
        else:
            columns, frame = infer_columns(frame)
            header, width = True, frame.width
        used = {name: replace(columns[name], words_for_missing=()) for name in used_columns(columns)}
        content = content_columns(columns)
        unseen = {name: replace(columns[name], words_for_missing=()) for name in content if name not in used}
        if [column.kind for column in used.values()] == ["text"]:
            return TextPreprocessing.fit(samples, train, used, header=header, width=width, content=tuple(content), unseen=unseen)
        numeric = [name for name in used if used[name].kind == "numeric"]
        pieces = min(_MOST_PIECES, len(train) // _ROWS_PER_PIECE, _PIECES_OF_ALL // max(1, len(numeric)))
        rows = frame.select(list(used))[np.asarray(train)]
        encodings = {
            name: fit_encoding(column.kind, rows[name], pieces if pieces >= _FEWEST_PIECES else 0) for name, column in used.items()
        }
        if not any(encoding.features for encoding in encodings.values()):
            raise DataError(
                text("no column varies in a way that could be learnt in the {rows} training rows", rows=len(train)),
                text("a column whose values recur or can be measured"),
                text("add rows, or columns of numbers and categories"),
            )
        return TablePreprocessing(
            used, encodings, samples.task, TargetScaling.fit(samples, np.asarray(train)), header, width, tuple(content), unseen
        )

    @property
    def input_shape(self) -> tuple[int, ...]:
        """(F,)"""
        return (sum(len(encoding.features) for encoding in self.encodings.values()),)

    @property
    def feature_names(self) -> list[str]:
        """(F,) what each input of the network is: "age", "age 30 to 35", "workclass = Private", "workclass missing"."""
        return [f"{name} {feature}".strip() for name, encoding in self.encodings.items() for feature in encoding.features]

    @property
    def feature_columns(self) -> list[str]:
        """(F,) the table's column behind each input of the network."""
        return [name for name, encoding in self.encodings.items() for _ in encoding.features]

    @property
    def facts(self) -> dict[str, Any]:
        """What a network may want to know of the inputs: how many come of each column that has any, in their order."""
        return {"columns": tuple(len(encoding.features) for encoding in self.encodings.values() if encoding.features)}

    def inputs(self, samples: Samples, indices: np.ndarray | None = None) -> Tensor:
        """(n, F) float32."""
        frame: pl.DataFrame = samples.inputs if indices is None else samples.inputs[np.asarray(indices)]
        (features,) = self.input_shape
        require_memory(4 * frame.height * features, text("{rows} rows of {features} features", rows=frame.height, features=features))
        matrix = np.empty((frame.height, features), dtype=np.float32)
        for start in range(0, frame.height, _CHUNK):
            chunk, first = frame.slice(start, _CHUNK), 0
            for name, encoding in self.encodings.items():
                last = first + len(encoding.features)
                if last > first:
                    matrix[start : start + chunk.height, first:last] = encoding.encode(chunk[name])
                first = last
        return torch.from_numpy(matrix)

    def targets(self, samples: Samples, indices: np.ndarray | None = None) -> Tensor:
        """Classification: (n,) int64. Regression: (n, outputs) float32, standardised by the training rows."""
        return self.target_scaling.apply(samples, indices)

    def finish(self, batch: Tensor) -> Tensor:
        return batch

    def restore_targets(self, outputs: Tensor) -> Tensor:
        """Regression outputs (n, outputs) in the user's units; class scores unchanged."""
        return self.target_scaling.restore(outputs)

    def to_dict(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "kind": self.kind,
            "input_shape": list(self.input_shape),
            "columns": [column.to_dict() for column in self.columns.values()],
            "encodings": [encoding.to_dict() for encoding in self.encodings.values()],
            "task": self.task.to_dict(),
            "target": self.target_scaling.to_dict(),
            "header": self.header,
            "width": self.width,
            "content": list(self.content),
            "unseen": [column.to_dict() for column in self.unseen.values()],
        }

    @staticmethod
    def from_dict(stored: Mapping[str, Any]) -> TablePreprocessing:
        columns = [Column.from_dict(column) for column in stored["columns"]]
        encodings = [restore_encoding(encoding) for encoding in stored["encodings"]]
        return TablePreprocessing(
            columns={column.name: column for column in columns},
            encodings={column.name: encoding for column, encoding in zip(columns, encodings, strict=True)},
            task=Task.from_dict(stored["task"]),
            target_scaling=TargetScaling.from_dict(stored["target"]),
            header=bool(stored["header"]),
            width=int(stored["width"]),
            content=tuple(stored.get("content", ())),
            unseen={column.name: column for column in map(Column.from_dict, stored.get("unseen", ()))},
        )


@preprocessing_kind
class TablePreprocessingKind(PreprocessingKind):
    kind = "table"

    def fit(self, samples: Samples, train: np.ndarray) -> TablePreprocessing | TextPreprocessing:
        return TablePreprocessing.fit(samples, train)

    def restore(self, stored: Mapping[str, Any]) -> TablePreprocessing:
        return TablePreprocessing.from_dict(stored)

    def part(self, samples: Samples, indices: np.ndarray, preprocessing: Any) -> Any:
        if isinstance(preprocessing, TextPreprocessing):
            return preprocessing.part(samples, indices)
        return super().part(samples, indices, preprocessing)
