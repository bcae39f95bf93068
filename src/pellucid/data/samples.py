"""What reading gives (`Samples`) and what training takes (`Prepared`): the two records every data kind shares.

source --read--> Samples --prepare--> Prepared(train, validation, test, ledger, preprocessing) --fit--> network
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Protocol

import numpy as np
import torch
from torch import Tensor

from pellucid.core.language import Text, sample_name, text
from pellucid.core.records import Notice, Record, Task


@dataclass(frozen=True, kw_only=True)
class Quarantined(Record):
    """A sample that could not be read; training goes on without it."""

    identifier: str  # row or file name
    reason: Text

    @property
    def summary(self) -> Text:
        """Its name and the reason, for a person."""
        return text("{identifier}: {reason}", identifier=sample_name(self.identifier), reason=self.reason)


@dataclass
class Samples:
    """A data set as it was read: nothing scaled, nothing split, nothing left out in silence."""

    kind: str  # "table", "images", "array", "torch"
    name: str  # short name for the run: "adult", "digits"
    task: Task | None  # None when there is no target (new data to predict)
    inputs: Any  # table: polars.DataFrame; images: uint8 (N, C, H, W); array: numbers (N, ...); torch: torch_data.TorchData
    targets: np.ndarray | None  # classification: (N,) class indices, int64; regression: (N, outputs), float64; torch: None if not all known
    identifiers: Sequence[str]  # what names a sample to a person: row number or file
    hashes: Sequence[str]  # content hash of input and target, 32 hexadecimal digits; "" where a sample has none (see ledger)
    reference: Mapping[str, Any] | None = None  # path or name and the options to read it again; None for data in memory
    fixed_parts: np.ndarray | None = None  # (N,) "train", "validation", "test" or "" where the source itself says so
    groups: np.ndarray | None = None  # (N,) samples of one group stay on one side of the split
    times: np.ndarray | None = None  # (N,) sortable: the latest samples are the test part
    quarantined: Sequence[Quarantined] = ()
    notices: Sequence[Notice] = ()
    input_hashes: Sequence[str] = ()  # content hash of the input alone: finds equal inputs with different targets
    mirrorable: bool | None = None  # images: whether one mirrored left to right is as good a sample; None where nobody says

    def __len__(self) -> int:
        return len(self.identifiers)


class Preprocessing(Protocol):
    """What was fitted on the training part alone, is stored with the run and is applied to everything predicted later."""

    kind: str

    def inputs(self, samples: Samples, indices: np.ndarray | None = None) -> Tensor:
        """(n, *input_shape), ready to keep in memory; uint8 images stay uint8 until `finish`."""
        ...

    def targets(self, samples: Samples, indices: np.ndarray | None = None) -> Tensor:
        """Classification: (n,) int64. Regression: (n, outputs) float32, standardised by the training part."""
        ...

    def finish(self, batch: Tensor) -> Tensor:
        """What is left to do for one batch on its device, for example uint8 to standardised float32; often nothing."""
        ...

    def restore_targets(self, outputs: Tensor) -> Tensor:
        """Regression outputs (n, outputs) back in the user's units; class scores unchanged."""
        ...

    def to_dict(self) -> dict[str, Any]: ...


class Part(Protocol):
    """One side of the split."""

    indices: np.ndarray  # positions in Samples

    def __len__(self) -> int: ...

    def batches(self, batch_size: int, order: Tensor | None = None) -> Iterator[tuple[Tensor, Tensor]]:
        """(inputs, targets) batch by batch, finished; `order` is a permutation of range(len(self)), None for the order of the file."""
        ...


@dataclass
class ResidentPart:
    """A part whose samples live in memory as two tensors: a batch is one `index_select`, no worker processes."""

    inputs: Tensor  # (n, ...)
    targets: Tensor  # (n,) or (n, outputs)
    indices: np.ndarray
    preprocessing: Preprocessing
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    memory_format: torch.memory_format = torch.contiguous_format  # of finished batches of images
    changeable: ClassVar[bool] = True  # `batches` takes `change`

    def __len__(self) -> int:
        return len(self.inputs)

    def to(self, device: torch.device) -> ResidentPart:
        return replace(self, inputs=self.inputs.to(device), targets=self.targets.to(device), device=device)

    def batches(
        self, batch_size: int, order: Tensor | None = None, change: Callable[[Tensor, Tensor], Tensor] | None = None
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """As `Part`; `change(stored, chosen)` may change what is stored of the samples at `chosen` before it is finished."""
        if order is None:
            for start in range(0, len(self), batch_size):
                yield self._finished(self.inputs[start : start + batch_size]), self.targets[start : start + batch_size]
        else:
            for chosen in order.split(batch_size):
                stored = self.inputs.index_select(0, chosen)
                yield self._finished(stored if change is None else change(stored, chosen)), self.targets.index_select(0, chosen)

    def _finished(self, stored: Tensor) -> Tensor:
        batch = self.preprocessing.finish(stored)
        return batch.contiguous(memory_format=self.memory_format) if batch.ndim == 4 else batch


@dataclass
class Prepared:
    """All that training needs, and nothing of where it came from."""

    task: Task
    input_shape: tuple[int, ...]  # one sample's, without N: (F,) for features, (C, H, W) for images
    train: Any  # Part
    validation: Any  # Part; may be empty
    test: Any  # Part; may be empty
    preprocessing: Any  # Preprocessing
    ledger: Any  # pellucid.data.ledger.Ledger
    notices: Sequence[Notice] = ()
    facts: Mapping[str, Any] = field(default_factory=dict[str, Any])  # for networks with an option of that name: "columns", "vocabulary"
    mirrorable: bool = False  # images: whether one mirrored left to right is as good a sample
