"""Single samples and batches of a user's torch Dataset: fetched, checked, put together; every mistake named with its index."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import ConcatDataset, IterableDataset, Subset, TensorDataset, default_collate

from pellucid.core.errors import DataError
from pellucid.core.language import Text, text

Sample = tuple[Tensor, Tensor]


def length_of(dataset: Any) -> int:
    """The number of samples. Raises DataError: no length, or none."""
    if isinstance(dataset, IterableDataset):
        raise iterable_error(cast("Any", dataset))
    try:
        count = len(dataset)
    except (TypeError, ValueError, NotImplementedError, AttributeError):
        raise DataError(
            text("the Dataset {name} has no length", name=type(dataset).__name__),
            text("a map-style Dataset with __len__ and __getitem__"),
            text("give it a method __len__ that returns the number of samples"),
        ) from None
    if not count:
        raise DataError(
            text("the Dataset {name} has no samples", name=type(dataset).__name__),
            text("at least 2 samples"),
            text("check the path or the filter from which it is made"),
        )
    return count


def batches_of(loader: Any) -> Iterator[Any]:
    """The batches of a user's DataLoader. Raises DataError where the loader, its collate function or one of its workers fails."""
    try:
        yield from loader
    except DataError:
        raise
    except Exception as error:
        raise DataError(
            text("the DataLoader failed: {type}: {error}", type=type(error).__name__, error=str(error).strip().split("\n")[-1]),
            text("batches (inputs, targets) of two tensors"),
            text("go through it once yourself, with num_workers=0: for batch in loader: pass"),
        ) from error


def iterable_error(source: Any) -> DataError:
    return DataError(
        text("{name} is, or reads from, an IterableDataset: its samples come in one stream that cannot be split or shuffled",
             name=type(source).__name__),
        text("a map-style Dataset with __len__ and __getitem__"),
        text("collect the stream, if it fits into memory: pellucid.fit(list(dataset)); or give the Dataset a __getitem__"),
    )  # fmt: skip


def fetch(dataset: Any, index: int) -> Any:
    """dataset[index]. Raises DataError that names the index and what went wrong there."""
    try:
        return dataset[index]
    except DataError:
        raise
    except Exception as error:
        raise DataError(
            text("dataset[{index}] raised {type}: {error}", index=index, type=type(error).__name__, error=str(error).split("\n")[0]),
            text("an (input, target) pair for every index from 0 to the length of the Dataset"),
            text("call dataset[{index}] yourself to see the whole error", index=index),
        ) from error


def collated(collate: Callable[[list[Any]], Any], samples: list[Any], indices: Any) -> Any:
    first = samples[0]
    if collate is default_collate:
        _check_sample(first, int(indices[0]))
    try:
        return collate(samples)
    except Exception as error:
        shapes = [tuple(np.shape(sample[0])) for sample in samples if isinstance(sample, (tuple, list)) and hasattr(sample[0], "shape")]
        odd = next((position for position, shape in enumerate(shapes) if shape != shapes[0]), None)
        if odd is not None:
            raise uneven_error(int(indices[0]), samples[0][0][None], int(indices[odd]), samples[odd][0][None]) from None
        raise DataError(
            text(
                "the samples from {index} on cannot be put into one batch: {error}", index=int(indices[0]), error=str(error).split("\n")[0]
            ),
            text("inputs and targets that are tensors, arrays or numbers of one shape"),
            text("convert them in __getitem__, or give a DataLoader with its own collate_fn"),
        ) from error


def _check_sample(sample: Any, index: int) -> None:
    """Raises DataError where a sample is no (input, target) pair of tensors, arrays or numbers."""
    expected = text("an (input, target) pair of tensors, arrays or numbers")
    if isinstance(sample, Mapping):
        raise DataError(
            text("dataset[{index}] is a dictionary with the keys {keys}", index=index, keys=[str(key) for key in cast("Any", sample)][:10]),
            expected,
            text("wrap the Dataset: return sample[INPUT], sample[TARGET] in __getitem__"),
        )
    if not isinstance(sample, (tuple, list)) or len(cast("Sequence[Any]", sample)) != 2:
        pieces = len(cast("Sequence[Any]", sample)) if isinstance(sample, (tuple, list)) else 1
        kind = type(sample).__name__
        raise DataError(
            text("dataset[{index}] is a {type} with {pieces} elements", index=index, type=kind, pieces=pieces)
            if isinstance(sample, (tuple, list))
            else text("dataset[{index}] is a {type}: an input without a target", index=index, type=kind),
            expected,
            text("return the pair input, target in __getitem__"),
        )
    for name, piece in zip((text("input"), text("target")), cast("Sequence[Any]", sample), strict=True):
        if isinstance(piece, (Tensor, np.ndarray, np.generic, int, float, complex)) and not isinstance(piece, (str, bytes)):
            continue
        if isinstance(piece, (list, tuple)) and piece and all(isinstance(item, (int, float)) for item in cast("Sequence[Any]", piece)):
            raise DataError(
                text("the {piece} of dataset[{index}] is a {type} of numbers", piece=name, index=index, type=type(piece).__name__),
                expected,
                text("turn it into a tensor: torch.tensor(...)"),
            )
        picture = type(piece).__module__.startswith("PIL")
        raise DataError(
            text("the {piece} of dataset[{index}] is a {type}", piece=name, index=index, type=type(piece).__name__),
            expected,
            text("turn the picture into a tensor: transform=torchvision.transforms.ToTensor()") if picture
            else text("turn it into a tensor or a number in __getitem__"),
        )  # fmt: skip


def as_pair(batch: Any, where: Text) -> Sample:
    """(inputs, targets) of a batch. Raises DataError where it is something else."""
    expected = text("batches (inputs, targets) of two tensors")
    if isinstance(batch, Mapping):
        raise DataError(
            text("{where} is a dictionary with the keys {keys}", where=where, keys=[str(key) for key in cast("Any", batch)][:10]),
            expected,
            text("return (inputs, targets) from collate_fn or __getitem__"),
        )
    if not isinstance(batch, (tuple, list)) or len(cast("Sequence[Any]", batch)) != 2:
        pieces = len(cast("Sequence[Any]", batch)) if isinstance(batch, (tuple, list)) else 1
        raise DataError(
            text("{where} is a {type} with {pieces} elements: inputs without targets, or more than these two", where=where, pieces=pieces,
                 type=type(batch).__name__),
            expected,
            text("return (inputs, targets) from collate_fn or __getitem__"),
        )  # fmt: skip
    inputs, targets = cast("Sequence[Any]", batch)
    for name, piece in ((text("inputs"), inputs), (text("targets"), targets)):
        if not isinstance(piece, Tensor):
            raise DataError(
                text("{where}: its {piece} are a {type}", where=where, piece=name, type=type(piece).__name__),
                expected,
                text("turn them into tensors in collate_fn or __getitem__"),
            )
    return inputs, targets


def check_inputs(inputs: Tensor) -> None:
    if inputs.is_complex():
        raise DataError(
            text("the inputs are complex numbers ({dtype})", dtype=str(inputs.dtype)),
            text("real numbers"),
            text("give real and imaginary part as two channels"),
        )
    if inputs.layout != torch.strided:
        raise DataError(
            text("the inputs are sparse tensors ({layout})", layout=str(inputs.layout)),
            text("dense tensors"),
            text("call .to_dense() on them"),
        )
    if inputs.is_floating_point() and not bool(torch.isfinite(inputs).all()):
        position = [int(index) for index in torch.nonzero(~torch.isfinite(inputs))[0]]
        raise DataError(
            text("the inputs hold {value} at {position}", value=float(inputs[tuple(position)]), position=str(position)),
            text("finite numbers everywhere"),
            text("leave these samples out, or mend them in __getitem__"),
        )


def uneven_error(first: int, a: Tensor, other: int, b: Tensor) -> DataError:
    return DataError(
        text("dataset[{first}] has an input of shape {a} and dataset[{other}] of shape {b}", first=first, other=other,
             a=str(tuple(a.shape[1:])), b=str(tuple(b.shape[1:]))),
        text("inputs of one shape"),
        text("resize, cut or pad them in __getitem__, or give a DataLoader whose collate_fn does it"),
    )  # fmt: skip


def same_sample(a: Sample, b: Sample) -> bool:
    return all(
        x.shape == y.shape and x.dtype == y.dtype and torch.equal(torch.nan_to_num(x), torch.nan_to_num(y))
        for x, y in zip(a, b, strict=True)
    )


# -- what a Dataset tells without being read -----------------------------------------------------------------------------------------


def tensors_of(dataset: Any) -> Sample | None:
    """The two tensors of a TensorDataset or a Subset of one, whole; None for any other Dataset.

    Raises:
        DataError: a TensorDataset of one or three tensors.
    """
    if type(dataset) is Subset:
        whole = tensors_of(dataset.dataset)
        if whole is None:
            return None
        indices = torch.as_tensor(list(dataset.indices), dtype=torch.int64)
        count = len(whole[0])
        outside = indices[(indices < -count) | (indices >= count)]
        if len(outside):
            raise DataError(
                text("a Subset takes sample {index} of {count}", index=int(outside[0]), count=count),
                text("indices from 0 to {last}", last=count - 1),
                text("correct the indices of the Subset"),
            )
        return whole[0][indices], whole[1][indices]
    if type(dataset) is not TensorDataset:
        return None
    if len(dataset.tensors) != 2:
        raise DataError(
            text("a TensorDataset of {count} tensors", count=len(dataset.tensors)),
            text("two tensors, inputs and targets"),
            text("make it as TensorDataset(inputs, targets)"),
        )
    return dataset.tensors[0].detach().cpu(), dataset.tensors[1].detach().cpu()


def quick_targets(dataset: Any) -> Tensor | None:
    """Targets that a Dataset keeps in an attribute, as torchvision's do; None where it has none of that kind."""
    if isinstance(dataset, Subset):
        whole = quick_targets(cast("Any", dataset).dataset)
        return None if whole is None else whole[torch.as_tensor(list(cast("Any", dataset).indices), dtype=torch.int64)]
    if isinstance(dataset, ConcatDataset):
        pieces = [quick_targets(piece) for piece in cast("Any", dataset).datasets]
        known = [piece for piece in pieces if piece is not None]
        return torch.cat(known) if len(known) == len(pieces) else None
    if isinstance(dataset, TensorDataset):
        return dataset.tensors[1].detach().cpu() if len(dataset.tensors) == 2 else None
    for name in ("targets", "labels"):
        value = getattr(dataset, name, None)
        if value is None or isinstance(value, (str, Mapping)):
            continue
        try:
            return torch.as_tensor(value).detach().cpu()
        except (TypeError, ValueError, RuntimeError):
            continue
    return None


def class_names(dataset: Any) -> tuple[str, ...]:
    """The names of the classes where the Dataset (or the one inside a Subset) knows them."""
    names = getattr(dataset, "classes", None)
    if isinstance(names, (list, tuple)) and names and all(isinstance(name, str) for name in cast("Sequence[Any]", names)):
        return tuple(cast("Sequence[str]", names))
    inner = getattr(dataset, "dataset", None) or next(iter(getattr(dataset, "datasets", [])), None)
    return class_names(inner) if inner is not None and inner is not dataset else ()
