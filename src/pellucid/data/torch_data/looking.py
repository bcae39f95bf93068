"""torch Datasets and DataLoaders, used as they are: nothing scaled, random transforms kept random, loaders in their own order.

A Dataset that gives the same sample whenever it is asked is read once and kept in memory where it fits; one that draws random numbers (its
own augmentation) is asked again in every epoch. The global random states are the same after reading as before.
"""

from __future__ import annotations

import random
import time as clock
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import BatchSampler, DataLoader, Dataset, IterableDataset, RandomSampler, SequentialSampler, default_collate

from pellucid.core.errors import DataError
from pellucid.core.language import Text, text
from pellucid.core.memory import available_memory_bytes
from pellucid.data.torch_data.samples import (
    Sample,
    as_pair,
    batches_of,
    check_inputs,
    class_names,
    collated,
    fetch,
    iterable_error,
    length_of,
    quick_targets,
    same_sample,
    tensors_of,
    uneven_error,
)

_TRIALS = 8  # samples read twice to see whether reading is random
_SECONDS_TO_READ = 60.0  # a Dataset that takes longer is not read beforehand unless it must be
_MEMORY_SHARE = 0.25  # of the memory that can be taken, for samples kept


# -- what a source is ----------------------------------------------------------------------------------------------------------------


def is_torch_data(source: Any) -> bool:
    """A Dataset, a DataLoader, or a list of more than three (input, target) pairs of tensors."""
    if isinstance(source, (Dataset, DataLoader)):
        return True
    if isinstance(source, list) and len(cast("list[Any]", source)) > 3:
        first: Any = cast("list[Any]", source)[0]
        return isinstance(first, tuple) and len(cast("tuple[Any, ...]", first)) == 2 and isinstance(first[0], (Tensor, np.ndarray))
    # a class of the user's own that behaves as a Dataset without deriving from it
    plain = not isinstance(source, (type, str, bytes, Mapping, Sequence, np.ndarray, Tensor)) and not hasattr(source, "__array__")
    alike = hasattr(source, "__getitem__") and hasattr(source, "__len__")
    return plain and alike and not hasattr(source, "columns") and not hasattr(source, "toarray")


@dataclass
class TorchSource:
    """One Dataset or DataLoader of the user's, and what was learnt by looking at it."""

    dataset: Any
    loader: DataLoader[Any] | None = None
    collate: Callable[[list[Any]], Any] = default_collate
    samples: int = 0
    inputs: Tensor | None = None  # (n, ...) where all samples are kept in memory
    targets: Tensor | None = None  # (n, ...) as the source gives them, where they are known
    input_shape: tuple[int, ...] = ()
    first_targets: Tensor | None = None  # those of the first samples, where all are not known
    draws: bool = False  # reading a sample draws random numbers
    indivisible: Text | None = None  # why it cannot be split
    classes: tuple[str, ...] = ()

    def read(self, indices: Sequence[int] | np.ndarray) -> Sample:
        """(inputs, targets) of the samples at `indices`, put together as the user's collate function does. Raises DataError."""
        samples = [fetch(self.dataset, int(index)) for index in indices]
        return as_pair(collated(self.collate, samples, indices), where=text("the samples at {indices}", indices=str(list(indices[:3]))))


def look_at(source: Any, *, keep: bool = True) -> TorchSource:
    """Everything that can be known of a Dataset or DataLoader without changing anything.

    Raises:
        DataError: an IterableDataset, no length, no samples, samples that are no (input, target) tensors.
    """
    with unchanged_random_state():
        if not isinstance(source, DataLoader):
            return _look_at_dataset(source, keep)
        loader = cast("DataLoader[Any]", source)
        before = {name: generator.get_state() for name, generator in own_generators(loader).items()}
        try:
            return _look_at_loader(loader)
        finally:
            for name, generator in own_generators(loader).items():
                generator.set_state(before[name])


def own_generators(loader: DataLoader[Any]) -> dict[str, torch.Generator]:
    """The generators that a loader draws from, where it does not draw from torch's global one."""
    candidates = {"loader": loader.generator, "sampler": getattr(loader.sampler, "generator", None)}
    return {name: generator for name, generator in candidates.items() if isinstance(generator, torch.Generator)}


def _look_at_dataset(dataset: Any, keep: bool) -> TorchSource:
    found = TorchSource(dataset, samples=length_of(dataset), classes=class_names(dataset))
    tensors = tensors_of(dataset)
    if tensors is not None:
        found.inputs, found.targets = tensors
        found.input_shape = tuple(found.inputs.shape[1:])
        check_inputs(found.inputs)
        return found
    _look_at_samples(found, keep)
    return found


def _look_at_loader(loader: DataLoader[Any]) -> TorchSource:
    dataset: Any = loader.dataset
    if isinstance(dataset, IterableDataset):
        raise iterable_error(loader)
    found = TorchSource(
        dataset,
        loader,
        collate=loader.collate_fn if loader.batch_size is not None else default_collate,
        samples=length_of(dataset),
        classes=class_names(dataset),
        indivisible=_why_indivisible(loader),
    )
    batch = next(batches_of(loader), None)
    if batch is None:
        raise DataError(
            text("the DataLoader yields no batch (dataset of {count}, batch_size={size}, drop_last={drop})",
                 count=found.samples, size=loader.batch_size, drop=loader.drop_last),
            text("at least one batch"),
            text("use a smaller batch_size, or drop_last=False"),
        )  # fmt: skip
    inputs, targets = as_pair(batch, where=text("a batch of the DataLoader"))
    if not inputs.ndim or not targets.ndim or len(inputs) != len(targets):
        raise DataError(
            text("a batch of inputs of shape {inputs} with targets of shape {targets}", inputs=str(tuple(inputs.shape)),
                 targets=str(tuple(targets.shape))),
            text("batches with one target per input: the same first dimension"),
            text("check the DataLoader's collate_fn"),
        )  # fmt: skip
    check_inputs(inputs)
    found.input_shape, found.first_targets = tuple(inputs.shape[1:]), targets
    quick = None if loader.collate_fn is not default_collate else quick_targets(dataset)
    if quick is not None and len(quick) == found.samples and _agree(found, quick):
        found.targets = quick
    elif found.indivisible is None:
        _look_at_samples(found, keep=False)
    else:  # its batches are all there is: count the samples and collect the targets by one pass
        collected = [as_pair(batch, where=text("a batch of the DataLoader"))[1] for batch in loader]
        found.first_targets = torch.cat([part.reshape(len(part), -1) if targets.ndim > 1 else part for part in collected])
        found.samples = len(found.first_targets)
    return found


def _why_indivisible(loader: DataLoader[Any]) -> Text | None:
    """A loader with the usual samplers can be made again for a part of its samples; one that has its own way of choosing cannot."""
    if loader.batch_size is None or type(loader.batch_sampler) is not BatchSampler:
        return text("the DataLoader makes its batches by itself")
    sampler = loader.sampler
    whole = isinstance(sampler, RandomSampler) and not sampler.replacement and sampler.num_samples == len(cast("Any", loader.dataset))
    if whole or type(sampler) is SequentialSampler:
        return None
    return text("the DataLoader chooses its samples by a {sampler}", sampler=type(sampler).__name__)


def _look_at_samples(found: TorchSource, keep: bool) -> None:
    """Read a few samples twice, then all of them where that is quick: their targets, and the samples themselves where they may be kept."""
    trials = sorted({int(index) for index in np.linspace(0, found.samples - 1, _TRIALS)})
    start = clock.perf_counter()
    state = random_state()
    first = [found.read([index]) for index in trials]
    again = [found.read([index]) for index in trials]
    seconds = (clock.perf_counter() - start) / (2 * len(trials)) * found.samples
    found.draws = random_state() != state or any(not same_sample(a, b) for a, b in zip(first, again, strict=True))
    shapes = {tuple(inputs.shape[1:]) for inputs, _ in first}
    if len(shapes) > 1:
        odd = next(i for i, (inputs, _) in enumerate(first) if inputs.shape != first[0][0].shape)
        raise uneven_error(trials[0], first[0][0], trials[odd], first[odd][0])
    check_inputs(torch.cat([inputs for inputs, _ in first]))
    found.input_shape = tuple(first[0][0].shape[1:])
    found.first_targets = torch.cat([targets for _, targets in first])
    quick = quick_targets(found.dataset)
    if quick is not None and len(quick) == found.samples and _agree(found, quick):
        found.targets = quick
    item = first[0][0]
    available = available_memory_bytes()
    fits = available is None or item.numel() * item.element_size() * found.samples < _MEMORY_SHARE * available
    keep = keep and fits and not found.draws and seconds <= _SECONDS_TO_READ
    numbers = found.first_targets.is_floating_point()
    if keep or (found.targets is None and (seconds <= _SECONDS_TO_READ or not (numbers or found.classes))):
        _read_all(found, keep, state)


def _read_all(found: TorchSource, keep: bool, state: Any) -> None:
    """One pass over the Dataset. Nothing is kept if the pass shows that reading is random after all."""
    inputs: list[Tensor] = []
    targets: list[Tensor] = []
    step = 256
    for start in range(0, found.samples, step):
        x, y = found.read(range(start, min(found.samples, start + step)))
        if tuple(x.shape[1:]) != found.input_shape:
            raise uneven_error(0, torch.empty(1, *found.input_shape), start, x)
        targets.append(y)
        if keep:
            inputs.append(x)
    found.targets = torch.cat(targets)
    if keep and random_state() == state:
        kept = torch.cat(inputs)
        checks = np.linspace(0, found.samples - 1, _TRIALS).astype(int)
        if all(same_sample((kept[[i]], found.targets[[i]]), found.read([i])) for i in checks.tolist()):
            found.inputs = kept
            return
    found.draws = found.draws or keep


def _agree(found: TorchSource, quick: Tensor) -> bool:
    """Whether the attribute says what reading says: a target_transform may have changed it."""
    for index in sorted({int(position) for position in np.linspace(0, found.samples - 1, _TRIALS)}):
        target = found.read([index])[1]
        if target.shape[1:] != quick.shape[1:] or not torch.equal(target[0].double(), quick[index].double()):
            return False
    return True


# -- random state --------------------------------------------------------------------------------------------------------------------


def random_state() -> tuple[Any, ...]:
    """The global states of torch, NumPy and Python, comparable."""
    name, keys, position, has_gauss, cached = np.random.get_state(legacy=True)
    states = [torch.get_rng_state()]
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        states += torch.cuda.get_rng_state_all()
    drawn = tuple(bytes(state.numpy()) for state in states)
    return drawn, (str(name), np.asarray(keys).tobytes(), position, has_gauss, cached), random.getstate()


@contextmanager
def unchanged_random_state() -> Iterator[None]:
    """Whatever is drawn inside the block, the global random states are as before afterwards."""
    torch_state, numpy_state, python_state = torch.get_rng_state(), np.random.get_state(legacy=True), random.getstate()
    on_devices = torch.cuda.get_rng_state_all() if torch.cuda.is_available() and torch.cuda.is_initialized() else None
    try:
        yield
    finally:
        torch.set_rng_state(torch_state)
        np.random.set_state(numpy_state)
        random.setstate(python_state)
        if on_devices is not None:
            torch.cuda.set_rng_state_all(on_devices)


@dataclass
class TorchData:
    """The user's sources one after the other, as one data set: what Samples of the kind "torch" hold as inputs."""

    sources: list[TorchSource] = field(default_factory=list[TorchSource])

    def __len__(self) -> int:
        return sum(source.samples for source in self.sources)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """One sample's."""
        return self.sources[0].input_shape

    @property
    def offsets(self) -> list[int]:
        """Where each source begins."""
        return np.cumsum([0, *(source.samples for source in self.sources)])[:-1].tolist()

    def locate(self, indices: np.ndarray) -> list[tuple[TorchSource, np.ndarray]]:
        """(source, positions in it) of the samples at `indices`, for the sources that have any of them."""
        located: list[tuple[TorchSource, np.ndarray]] = []
        for source, offset in zip(self.sources, self.offsets, strict=True):
            inside = indices[(indices >= offset) & (indices < offset + source.samples)] - offset
            if len(inside):
                located.append((source, inside))
        return located
