"""The data of an experiment: (X, y), a Dataset or a DataLoader, checked once and given out in batches."""

from __future__ import annotations

import copy
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence, Sized
from contextlib import contextmanager
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, IterableDataset

from pellucid.core.errors import DataError, OptionTypeError
from pellucid.core.language import text
from pellucid.core.trace.model import answer_of

Batch = Any  # (inputs, targets); with a step of the user's own whatever their loader gives
HELD = 2_000_000  # places whose order is drawn at once, in a tenth of a second
AT_ONCE = 65_536


def checked_part(data: Any, name: str) -> Any:
    """A part as an experiment holds it: (X, y) of tensors, a data set, or a loader.

    Raises:
        OptionTypeError, DataError: it is none of these, holds no sample, or has unequal lengths.
    """
    if isinstance(data, DataLoader):
        return _checked_loader(data, name)
    if isinstance(data, Dataset):
        if isinstance(data, IterableDataset) or not hasattr(data, "__len__") or not hasattr(data, "__getitem__"):
            raise OptionTypeError(
                text("{name} is a data set without a length", name=name),
                text("a map-style Dataset, a DataLoader, or (X, y)"),
                text("give a DataLoader of it that has a length"),
            )
        if not len(cast("Sized", data)):
            raise empty(name)
        return cast("Any", data)
    if not isinstance(data, (tuple, list)) or len(cast("Sequence[Any]", data)) != 2:
        raise OptionTypeError(
            text("{name} is {what}", name=name, what=described(data)),
            text("a pair (X, y), a Dataset or a DataLoader"),
            text("give {name}=(X, y)", name=name),
        )
    pair = tuple(_tensors(item, name) for item in cast("Sequence[Any]", data))
    lengths = [len(first_tensor(item)) if first_tensor(item).dim() else 0 for item in pair]
    if not lengths[0] or not lengths[1]:
        raise empty(name)
    if lengths[0] != lengths[1]:
        raise DataError(
            text("{name} has {inputs} inputs and {targets} targets", name=name, inputs=lengths[0], targets=lengths[1]),
            text("one target for each input"),
            text("see where rows were dropped from one of the two only"),
        )
    return pair


def _checked_loader(loader: DataLoader[Any], name: str) -> DataLoader[Any]:
    try:
        batches = len(loader)
    except TypeError:
        raise OptionTypeError(
            text("{name} is a loader without a length", name=name),
            text("a loader that knows how many batches an epoch has"),
            text("give a map-style Dataset, or give the data set a __len__"),
        ) from None
    if not batches:
        raise empty(name)
    return loader


def checked_groups(groups: Any, train: Any, test: Any) -> tuple[Any, Any]:
    """The groups of both parts as arrays of numbers or names, (N,) each.

    Raises:
        OptionTypeError, DataError: they are no pair, or not one group for each sample.
    """
    if not isinstance(groups, (tuple, list)) or len(cast("Sequence[Any]", groups)) != 2 or test is None:
        raise OptionTypeError(
            text("groups is {what}", what=described(groups)) if test is not None else text("groups are given without a test part"),
            text("a pair (train, test) of groups, one for each sample of either part"),
            text("give groups=(persons_of_train, persons_of_test)"),
        )
    found: list[Any] = []
    for given, part, name in zip(cast("Sequence[Any]", groups), (train, test), ("train", "test"), strict=True):
        known = np.asarray(given.detach().cpu() if isinstance(given, Tensor) else given)
        size = samples_in(cast("Any", part).dataset if isinstance(part, DataLoader) else part)
        if known.ndim != 1 or len(known) != size:
            raise DataError(
                text("the groups of {part} have shape {shape}", part=name, shape=known.shape),
                text("one group for each of the {size} samples", size=size),
                text("give groups=(persons_of_train, persons_of_test)"),
            )
        found.append(known)
    return found[0], found[1]


def empty(name: str) -> DataError:
    """The error that a part holds nothing."""
    return DataError(
        text("{name} holds no sample", name=name), text("at least one sample"), text("see how the data were read and filtered")
    )


def samples_in(data: Any) -> int:
    """How many samples a part has that is no loader."""
    return len(cast("Sized", data)) if isinstance(data, Dataset) else len(first_tensor(data[1]))


def evenly(size: int, limit: int | None) -> Tensor:
    """At most `limit` of `size` places, evenly spaced, ascending. In whole numbers: float32 misses rows from 2^24 on."""
    if limit is None or size <= limit:
        return torch.arange(size)
    return torch.arange(limit) * (size - 1) // max(limit - 1, 1)


def in_random_order(size: int, several: int, generator: torch.Generator) -> Iterator[Tensor]:
    """All of `size` places in an order drawn anew, `several` at a time.

    Above HELD places the order is not held but computed as it is asked for, so that the first batch of 50 million rows comes at once: a
    Feistel network of four rounds on numbers of as many bits, in which what falls outside is mapped again.
    Source: M. Luby and C. Rackoff, How to construct pseudorandom permutations from pseudorandom functions, 1988, theorem 1.
    """
    if size <= HELD:
        order = torch.randperm(size, generator=generator)
        for start in range(0, size, several):
            yield order[start : start + several]
        return
    half = ((size - 1).bit_length() + 1) // 2
    mask = (1 << half) - 1
    keys = torch.randint(1 << 31, (4,), generator=generator).tolist()

    def mapped_once(places: Tensor) -> Tensor:
        left, right = places >> half, places & mask
        for key in keys:
            mixed = (right ^ key) * 0x45D9F3B
            mixed = ((mixed >> 16) ^ mixed) * 0x45D9F3B
            left, right = right, left ^ ((mixed >> 16) & mask)
        return (left << half) | right

    for start in range(0, size, several * (per := max(1, AT_ONCE // several))):
        places = mapped_once(torch.arange(start, min(size, start + several * per)))
        while bool((outside := places >= size).any()):
            places[outside] = mapped_once(places[outside])
        yield from places.split(several)


def taken(data: Any, chosen: Tensor, name: str = "train") -> Batch:
    """The chosen samples of a part that is no loader, as one batch."""
    if isinstance(data, Dataset):
        from torch.utils.data import default_collate

        return pair_of(default_collate([data[int(place)] for place in chosen]), name)
    return tuple(mapped(lambda tensor: tensor[chosen], item) for item in data)


def pair_of(batch: Any, name: str) -> Batch:
    """A batch as (inputs, targets); several inputs, which a loader gives as a list, as a tuple.

    Raises:
        DataError: it is no pair.
    """
    if isinstance(batch, (list, tuple)) and len(cast("Sequence[Any]", batch)) == 2:
        inputs, targets = cast("Sequence[Any]", batch)
        return tuple(cast("list[Any]", inputs)) if isinstance(inputs, list) else inputs, targets
    raise DataError(
        text("a batch of {name} is {what}", name=name, what=described(batch)),
        text("(inputs, targets)"),
        text("give a loader of pairs, or your own step"),
    )


def joined(batches: Sequence[Batch], limit: int | None = None) -> Batch:
    """Batches as one; of at most `limit` samples."""

    def join(parts: list[Any]) -> Any:
        head = parts[0]
        if isinstance(head, Tensor):
            return torch.cat([part.reshape(1) if part.dim() == 0 else part for part in parts])[:limit]
        if isinstance(head, dict):
            return {key: join([part[key] for part in parts]) for key in cast("dict[str, Any]", head)}
        return type(head)(join([part[place] for part in parts]) for place in range(len(head)))

    return tuple(join([batch[side] for batch in batches]) for side in (0, 1))


def called(model: nn.Module, inputs: Any) -> Any:
    """What the model says: several inputs are given by position, those of a dict by name, unless forward takes them as a whole."""
    return answer_of(model, inputs)


def first_tensor(structure: Any) -> Tensor:
    """The first tensor of a structure of tuples, lists and dicts.

    Raises:
        DataError: there is none.
    """
    waiting: list[Any] = [structure]
    while waiting:
        item = waiting.pop(0)
        if isinstance(item, Tensor):
            return item
        if isinstance(item, dict):
            waiting = [*cast("dict[str, Any]", item).values(), *waiting]
        elif isinstance(item, (list, tuple)):
            waiting = [*cast("Iterable[Any]", item), *waiting]
    raise DataError(
        text("no tensor was found in {what}", what=described(structure)), text("tensors or arrays"), text("give (X, y) of tensors")
    )


def mapped(function: Callable[[Tensor], Tensor], structure: Any) -> Any:
    """The structure with every tensor replaced."""
    if isinstance(structure, Tensor):
        return function(structure)
    if isinstance(structure, dict):
        return {key: mapped(function, item) for key, item in cast("dict[str, Any]", structure).items()}
    if isinstance(structure, (list, tuple)):
        items = [mapped(function, item) for item in cast("Iterable[Any]", structure)]
        return type(structure)(*items) if hasattr(structure, "_fields") else type(structure)(items)  # a named tuple takes them one by one
    return structure


def described(structure: Any) -> str:
    """A structure's types and shapes: "float32 (64, 10)"."""
    if isinstance(structure, Tensor):
        return f"{str(structure.dtype).removeprefix('torch.')} {tuple(structure.shape)}"
    if isinstance(structure, dict):
        return "{" + ", ".join(f"{key}: {described(item)}" for key, item in cast("dict[str, Any]", structure).items()) + "}"
    if isinstance(structure, (list, tuple)):
        return "(" + ", ".join(described(item) for item in cast("Sequence[Any]", structure)) + ")"
    return type(structure).__name__


def on_device(batch: Any, device: torch.device) -> Any:
    """The batch where the model's weights are."""
    return mapped(lambda tensor: tensor if tensor.device == device else tensor.to(device), batch)


def device_of(model: nn.Module) -> torch.device:
    """Of the first parameter or buffer; the CPU where there is none."""
    for tensor in (*model.parameters(), *model.buffers()):
        return tensor.device
    return torch.device("cpu")


def _tensors(item: Any, name: str) -> Any:
    """Arrays become tensors; NumPy's float64, which no network has by default, becomes the default type."""
    if isinstance(item, Tensor):
        return item
    if isinstance(item, dict):
        return {key: _tensors(value, name) for key, value in cast("dict[str, Any]", item).items()}
    if isinstance(item, tuple):
        return tuple(_tensors(value, name) for value in cast("tuple[Any, ...]", item))
    try:
        array = np.asarray(item)
        tensor = torch.as_tensor(array if array.flags.writeable else array.copy())
    except (TypeError, ValueError, RuntimeError) as error:
        raise DataError(
            text("{name} holds {what}, which is no tensor: {error}", name=name, what=type(item).__name__, error=str(error).splitlines()[0]),
            text("numbers: tensors or arrays"),
            text("encode texts and categories as numbers first"),
        ) from error
    return tensor.to(torch.get_default_dtype()) if tensor.dtype == torch.float64 else tensor


# -- loaders -----------------------------------------------------------------------------------------------------------------------------


@contextmanager
def loaders_seeded(parts: Iterable[Any], seed: int) -> Generator[None]:
    """The generators that loaders and their samplers hold start from `seed` inside the block, and are put back after it."""
    generators: dict[int, torch.Generator] = {}
    for loader in parts:
        if isinstance(loader, DataLoader):
            sampler, batches = cast("Any", loader).sampler, cast("Any", loader).batch_sampler
            for owner in (loader, sampler, batches, getattr(batches, "sampler", None), loader.dataset):
                generator = getattr(owner, "generator", None)
                if isinstance(generator, torch.Generator):
                    generators[id(generator)] = generator
    states = {key: generator.get_state() for key, generator in generators.items()}
    try:
        for generator in generators.values():
            generator.manual_seed(seed)
        yield
    finally:
        for key, generator in generators.items():
            generator.set_state(states[key])


def loader_of(loader: DataLoader[Any], **changes: Any) -> DataLoader[Any]:
    """A loader like this one, with another dataset, batch_size, shuffle or sampler.

    Raises:
        DataError: its batches are drawn by a sampler of the user's own, which cannot be rebuilt.
    """
    from torch.utils.data import BatchSampler, RandomSampler, SequentialSampler

    given: Any = loader
    if isinstance(loader.dataset, IterableDataset) or type(given.batch_sampler) is not BatchSampler:
        raise DataError(
            text("the loader draws its batches itself ({kind})", kind=type(given.batch_sampler or loader.dataset).__name__),
            text("a loader with a batch size and a sampler of torch.utils.data"),
            text("give (X, y) or a Dataset, and batch_size to the experiment"),
        )
    settings: dict[str, Any] = {
        "dataset": loader.dataset, "batch_size": loader.batch_size, "num_workers": loader.num_workers, "collate_fn": loader.collate_fn,
        "pin_memory": loader.pin_memory, "drop_last": loader.drop_last, "timeout": loader.timeout, "generator": loader.generator,
        "worker_init_fn": loader.worker_init_fn, "multiprocessing_context": loader.multiprocessing_context,
    }  # fmt: skip
    plain = type(given.sampler) in (RandomSampler, SequentialSampler)
    if "shuffle" not in changes and "dataset" not in changes:
        settings["sampler"] = given.sampler
    elif "shuffle" not in changes and not plain:
        raise DataError(
            text("the loader has a sampler of its own ({kind})", kind=type(given.sampler).__name__),
            text("a loader with shuffle=True or shuffle=False"),
            text("leave the samples out of the data set yourself"),
        )
    elif "shuffle" not in changes:
        settings["shuffle"] = type(given.sampler) is RandomSampler
    return DataLoader(**{**settings, **changes})


def without_workers(loader: DataLoader[Any]) -> Iterator[Any]:
    """The loader's batches, read in this process: for a few batches starting workers costs more than it saves."""
    if not loader.num_workers:
        return iter(loader)
    one = copy.copy(loader)
    for name, value in {"num_workers": 0, "prefetch_factor": None, "persistent_workers": False, "timeout": 0}.items():
        one.__dict__[name] = value
    one.__dict__["_iterator"] = None
    return iter(one)
