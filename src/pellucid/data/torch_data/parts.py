"""Torch data as Samples, and the parts that training draws its batches from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import BatchSampler, DataLoader, RandomSampler, Subset

from pellucid.core.errors import DataError
from pellucid.core.hashing import hash_rows, join_hashes
from pellucid.core.language import Text, text
from pellucid.core.memory import require_memory
from pellucid.core.records import Notice, Task
from pellucid.data.arrays.checks import as_array, check_finite, per_sample
from pellucid.data.arrays.targets import target_hashes
from pellucid.data.kinds import PreprocessingKind, preprocessing_kind
from pellucid.data.ledger import NumberedNames
from pellucid.data.samples import ResidentPart, Samples
from pellucid.data.splitting import part_word
from pellucid.data.torch_data.looking import TorchData, TorchSource, is_torch_data, look_at, own_generators, unchanged_random_state
from pellucid.data.torch_data.samples import as_pair, batches_of, check_inputs, fetch
from pellucid.data.torch_data.targets import TargetEncoding, known_targets, understand_targets

# -- reading -------------------------------------------------------------------------------------------------------------------------


def read_torch(parts: Mapping[str, Any], *, task: str = "auto", group: Any = None, time: Any = None) -> Samples:
    """Datasets or DataLoaders, one per part; a single one under the name "".

    Raises:
        DataError: see `torch_data.look_at` and `torch_targets.understand_targets`; parts of different shapes or classes.
    """
    found = {part: look_at(source) for part, source in parts.items()}
    train = found[next(iter(parts))]
    settled, encoding, notices = understand_targets(train, task)
    targets: list[np.ndarray | None] = []
    for part, source in found.items():
        if source.input_shape != train.input_shape:
            raise DataError(
                text("the {part} part has inputs of shape {got}", part=part_word(part), got=str(source.input_shape)),
                text("inputs of shape {shape}, as in the training part", shape=str(train.input_shape)),
                text("prepare both parts in the same way"),
            )
        if not source.input_shape:
            raise DataError(
                text("every input is a single number"), text("inputs with at least one dimension"), text("return a tensor of shape (1,)")
            )
        targets.append(known_targets(source, encoding))
        _check_part(part, targets[0], targets[-1], settled)
    data = TorchData(list(found.values()))
    whole = None if any(piece is None for piece in targets) else np.concatenate([piece for piece in targets if piece is not None])
    fixed = None if list(parts) == [""] else np.repeat(list(parts), [source.samples for source in found.values()])
    notices += _notices(found)
    hashes = _hashes(data, settled, targets)
    first = parts[next(iter(parts))]
    return Samples(
        kind="torch",
        name=type(first.dataset if isinstance(first, DataLoader) else first).__name__,
        task=settled,
        inputs=data,
        targets=whole,
        identifiers=NumberedNames(len(data)),
        hashes=hashes[1],
        input_hashes=hashes[0],
        fixed_parts=fixed,
        groups=per_sample(group, len(data), fixed, "group"),
        times=per_sample(time, len(data), fixed, "time"),
        notices=notices,
    )


def _check_part(part: str, train: np.ndarray | None, targets: np.ndarray | None, task: Task) -> None:
    """Raises DataError for classes that training never sees, or another number of targets."""
    if train is None or targets is None or targets is train:
        return
    if task.kind == "regression":
        if targets.shape[1:] != train.shape[1:]:
            raise DataError(
                text("the {part} part has {got} targets per sample", part=part_word(part), got=targets.shape[1]),
                text("{outputs} as in the training part", outputs=train.shape[1]),
                text("prepare both parts in the same way"),
            )
        return
    unknown = np.setdiff1d(targets, train)
    if len(unknown):
        names = [task.classes[index] if 0 <= index < len(task.classes) else str(index) for index in unknown.tolist()]
        raise DataError(
            text("the classes {classes} stand only in the {part} part", classes=names[:10], part=part_word(part)),
            text("classes that the training part has too"),
            text("add training samples of these classes, or take them out of the {part} part", part=part_word(part)),
        )


def _notices(found: Mapping[str, TorchSource]) -> list[Notice]:
    drawing = [part for part, source in found.items() if source.draws]
    if not drawing:
        return []
    return [
        Notice(
            kind="random_dataset",
            summary=text("reading a sample of {parts} twice gives two different samples: each is read anew in every epoch, none is kept",
                         parts=[part_word(part) for part in drawing]),
            evidence={"parts": drawing},
        )
    ]  # fmt: skip


def _hashes(data: TorchData, task: Task, targets: list[np.ndarray | None]) -> tuple[list[str], list[str]]:
    """(hashes of inputs, hashes of samples): "" for samples that are not in memory."""
    of_inputs: list[str] = []
    of_samples: list[str] = []
    for source, values in zip(data.sources, targets, strict=True):
        if source.inputs is None or values is None:
            of_inputs += [""] * source.samples
            of_samples += [""] * source.samples
        else:
            here = hash_rows(as_array(source.inputs, "inputs"))
            of_inputs += here
            of_samples += join_hashes(here, target_hashes(task, values))
    return of_inputs, of_samples


# -- parts ---------------------------------------------------------------------------------------------------------------------------


@dataclass
class TorchPart:
    """Samples of a Dataset that are read when they are needed, in the order that training asks for."""

    source: TorchSource
    positions: np.ndarray  # in the source
    indices: np.ndarray  # in Samples
    preprocessing: TorchPreprocessing
    ordered: bool = True

    def __len__(self) -> int:
        return len(self.positions)

    def batches(self, batch_size: int, order: Tensor | None = None) -> Iterator[tuple[Tensor, Tensor]]:
        chosen = self.positions if order is None else self.positions[order.cpu().numpy()]
        for start in range(0, len(chosen), batch_size):
            inputs, targets = self.source.read(chosen[start : start + batch_size])
            yield self.preprocessing.finish(inputs), self.preprocessing.encoding.apply(targets)


@dataclass
class LoaderPart:
    """A user's DataLoader, as it is: its own batches in its own order. `batch_size` and `order` are its own affair and not looked at."""

    loader: DataLoader[Any]
    samples: int  # in one epoch
    indices: np.ndarray
    preprocessing: TorchPreprocessing
    ordered: bool = False

    def __len__(self) -> int:
        return self.samples

    def batches(self, batch_size: int = 0, order: Tensor | None = None) -> Iterator[tuple[Tensor, Tensor]]:
        for batch in batches_of(self.loader):
            inputs, targets = as_pair(batch, where=text("a batch of the DataLoader"))
            yield self.preprocessing.finish(inputs), self.preprocessing.encoding.apply(targets)

    def state(self) -> dict[str, Tensor]:
        """What the order of the next epochs depends on, besides torch's global random state."""
        return {name: generator.get_state() for name, generator in own_generators(self.loader).items()}

    def restore(self, state: Mapping[str, Tensor] | None) -> None:
        for name, generator in own_generators(self.loader).items():
            if state and name in state:
                generator.set_state(state[name].to(torch.uint8))


def _loader_of(source: TorchSource, positions: np.ndarray) -> DataLoader[Any]:
    """The user's own loader for all of its samples; for some of them one with the same settings over these alone."""
    loader = source.loader
    assert loader is not None
    if len(positions) == source.samples:
        return loader
    generator = None
    if isinstance(loader.generator, torch.Generator):  # a copy: the user's own is not moved on twice
        generator = torch.Generator(loader.generator.device)
        generator.set_state(loader.generator.get_state())
    more: dict[str, Any] = (
        {"prefetch_factor": loader.prefetch_factor, "persistent_workers": loader.persistent_workers} if loader.num_workers else {}
    )
    return DataLoader(
        Subset(source.dataset, positions.tolist()),
        batch_size=loader.batch_size,
        shuffle=isinstance(loader.sampler, RandomSampler),
        num_workers=loader.num_workers,
        collate_fn=loader.collate_fn,
        pin_memory=loader.pin_memory,
        drop_last=loader.drop_last and len(positions) >= (loader.batch_size or 1),
        timeout=loader.timeout,
        worker_init_fn=loader.worker_init_fn,
        multiprocessing_context=loader.multiprocessing_context if loader.num_workers else None,
        generator=generator,
        **more,
    )


def _samples_per_epoch(loader: DataLoader[Any], otherwise: int) -> int:
    """How many samples one pass over the loader yields: its sampler may draw fewer or more than there are."""
    if loader.batch_size is None or type(loader.batch_sampler) is not BatchSampler:
        return otherwise
    drawn = len(cast("Any", loader.sampler))
    return drawn - drawn % loader.batch_size if loader.drop_last else drawn


# -- preprocessing -------------------------------------------------------------------------------------------------------------------


@dataclass
class TorchPreprocessing:
    """The user's own preparation is kept: only number types are made fit for a network. Regression targets are not standardised."""

    input_shape: tuple[int, ...]
    task: Task | None
    encoding: TargetEncoding = field(default_factory=lambda: TargetEncoding("numbers"))
    kind: str = "torch"

    def inputs(self, samples: Samples, indices: np.ndarray | None = None) -> Tensor:
        """(n, *input_shape): all of them read into memory, finished."""
        return self._collect(samples, indices, 0)

    def targets(self, samples: Samples, indices: np.ndarray | None = None) -> Tensor:
        """Classification: (n,) int64. Regression: (n, outputs) float32, in the user's units."""
        if samples.targets is not None:
            chosen = samples.targets if indices is None else samples.targets[indices]
            return torch.from_numpy(chosen.astype(np.int64 if chosen.ndim == 1 else np.float32))
        if samples.task is None:
            raise DataError(
                text("the data have no target"), text("inputs with their targets"), text("add the target, or use predict, which needs none")
            )
        return self._collect(samples, indices, 1)

    def _collect(self, samples: Samples, indices: np.ndarray | None, which: int) -> Tensor:
        data: TorchData = samples.inputs
        wanted = np.arange(len(data)) if indices is None else indices
        pieces: list[Tensor] = []
        with unchanged_random_state():
            for source, positions in data.locate(wanted):
                kept = source.inputs if which == 0 else source.targets
                if kept is not None:
                    piece = kept if len(positions) == source.samples else kept[torch.from_numpy(positions)]
                else:
                    item = int(np.prod(source.input_shape)) * 4
                    require_memory(len(positions) * item, text("{count} samples of the Dataset", count=len(positions)))
                    step = range(0, len(positions), 256)
                    piece = torch.cat([source.read(positions[start : start + 256])[which] for start in step])
                pieces.append(self.finish(piece) if which == 0 else self.encoding.apply(piece))
        return pieces[0] if len(pieces) == 1 else torch.cat(pieces)

    def finish(self, batch: Tensor) -> Tensor:
        """Floats of any width, bytes and truth values become float32; 16 to 64 bit integers stay (they may be tokens)."""
        batch = batch.detach()  # a sample that a graph hangs on could be gone back through once only
        if batch.dtype == torch.float32:
            return batch
        return batch.to(torch.float32) if batch.is_floating_point() or batch.dtype in (torch.uint8, torch.int8, torch.bool) else batch

    def restore_targets(self, outputs: Tensor) -> Tensor:
        return outputs

    def to_dict(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "format": 1,
            "input_shape": list(self.input_shape),
            "task": None if self.task is None else self.task.to_dict(),
            "encoding": self.encoding.to_dict(),
        }


@preprocessing_kind
class TorchPreprocessingKind(PreprocessingKind):
    kind = "torch"

    def fit(self, samples: Samples, train: np.ndarray) -> TorchPreprocessing:
        source = cast("TorchData", samples.inputs).sources[0]
        assert samples.task is not None
        _, encoding, _ = understand_targets(source, samples.task.kind)
        return TorchPreprocessing(source.input_shape, samples.task, encoding)

    def restore(self, stored: Mapping[str, Any]) -> TorchPreprocessing:
        task = None if stored["task"] is None else Task.from_dict(stored["task"])
        shape = tuple(int(size) for size in stored["input_shape"])
        return TorchPreprocessing(shape, task, TargetEncoding.from_dict(stored["encoding"]))

    def indivisible(self, samples: Samples) -> Text | None:
        return cast("TorchData", samples.inputs).sources[0].indivisible

    def part(self, samples: Samples, indices: np.ndarray, preprocessing: Any) -> Any:
        """In memory where the samples are; else the user's Dataset or DataLoader itself."""
        located = cast("TorchData", samples.inputs).locate(indices)
        if len(located) != 1 or located[0][0].inputs is not None:
            targets = preprocessing.targets(samples, indices) if len(indices) else torch.zeros(0)
            inputs = preprocessing.inputs(samples, indices) if len(indices) else torch.zeros(0, *preprocessing.input_shape)
            return ResidentPart(inputs, targets, indices, preprocessing)
        source, positions = located[0]
        if source.loader is not None:
            loader = _loader_of(source, positions)
            return LoaderPart(loader, _samples_per_epoch(loader, len(positions)), indices, preprocessing)
        return TorchPart(source, positions, indices, preprocessing)


# -- new data ------------------------------------------------------------------------------------------------------------------------


def read_new_torch(source: Any, preprocessing: TorchPreprocessing) -> Samples:
    """New data for a network trained on torch data: a Dataset or DataLoader, with or without targets, or an array of inputs.

    A DataLoader is read in the order of its Dataset, so that the answers stand in that order too.
    """
    shape = preprocessing.input_shape
    if not is_torch_data(source):
        array = as_array(source, "X")
        if array.shape == shape:
            array = array[None]
        check_finite(array, "X")
        found = TorchSource(
            source, samples=len(array), inputs=torch.from_numpy(np.ascontiguousarray(array)), input_shape=tuple(array.shape[1:])
        )
        has_targets = False
    else:
        dataset: Any = source.dataset if isinstance(source, DataLoader) else source
        with unchanged_random_state():
            first = fetch(dataset, 0)
            has_targets = isinstance(first, (tuple, list)) and len(cast("Any", first)) > 1
            if has_targets:
                found = look_at(source)
                found.loader = None
            else:
                pieces = [_only_input(fetch(dataset, index), index) for index in range(len(dataset))]
                found = TorchSource(dataset, samples=len(pieces), inputs=torch.stack(pieces), input_shape=tuple(pieces[0].shape))
    if found.input_shape != shape:
        raise DataError(
            text("inputs of shape {got}", got=str(found.input_shape)),
            text("inputs of shape {shape}, as the network was trained on", shape=str(shape)),
            text("prepare them as the training data were prepared"),
        )
    if found.inputs is not None:
        check_inputs(found.inputs)
    return Samples(
        kind="torch",
        name=type(source).__name__,
        task=preprocessing.task if has_targets else None,
        inputs=TorchData([found]),
        targets=known_targets(found, preprocessing.encoding) if has_targets else None,
        identifiers=NumberedNames(found.samples),
        hashes=[""] * found.samples,
    )


def _only_input(sample: Any, index: int) -> Tensor:
    value = sample[0] if isinstance(sample, (tuple, list)) else sample
    if isinstance(value, np.ndarray):
        return torch.from_numpy(value)
    if isinstance(value, Tensor):
        return value
    raise DataError(
        text("dataset[{index}] is a {type}", index=index, type=type(value).__name__),
        text("tensors"),
        text("turn it into a tensor in __getitem__"),
    )
