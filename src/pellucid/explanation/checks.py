"""What a user may give to explain, and what a network may answer: read, or refused in one sentence."""

from __future__ import annotations

import inspect
import math
import warnings
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from numbers import Real
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from pellucid.core.errors import DataError, MemoryShortage, ModelError, OptionError
from pellucid.core.language import Text, text
from pellucid.core.trace.records import tensors

_WHOLE = (torch.int8, torch.int16, torch.int32, torch.int64)


@contextmanager
def plainly() -> Generator[None]:
    """Outside inference mode, whose tensors refuse every gradient, and outside autocast, which would round what methods compute."""
    with torch.inference_mode(False), torch.autocast("cpu", enabled=False), torch.autocast("cuda", enabled=False):
        yield


def checked_seed(seed: Any) -> int:
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**63:
        raise OptionError(text("seed is {seed!r}", seed=seed), text("an integer from 0 to 2**63 - 1"), text("leave it at 0"))
    return seed


def checked_samples(samples: Any) -> int | None:
    if samples is not None and (isinstance(samples, bool) or not isinstance(samples, int) or samples < 1):
        raise OptionError(text("samples is {samples!r}", samples=samples), text("an integer >= 1, or nothing"), text("leave it out"))
    return samples


def groups_of(features: Any) -> Any:
    """The features' numbers as tensors where they came as arrays."""
    if isinstance(features, (tuple, list)):
        return tuple(groups_of(part) for part in cast("Sequence[Any]", features))
    return torch.from_numpy(features) if isinstance(features, np.ndarray) and features.dtype.kind in "fiub" else features


def named(given: Mapping[Any, Any], keywords: tuple[str, ...] | None, what: Text) -> list[Any]:
    """What was given by name, in the order of the inputs.

    Raises:
        DataError: the inputs have no names, or others.
    """
    names = [str(name) for name in given]
    if keywords is None or set(names) != set(keywords):
        raise DataError(
            text("{what} has the names {names}", what=what, names=names),
            text("no names: the inputs have none") if keywords is None else text("{names}, the names of the inputs", names=list(keywords)),
            text("give a tensor for each input, in the same order") if keywords is None else text("use the same names"),
        )
    by_name = {str(name): value for name, value in given.items()}
    return [by_name[name] for name in keywords]


def check_shapes(inputs: Sequence[Tensor]) -> None:
    """Raise a DataError where a sample has no entries, or they no values."""
    for tensor in inputs:
        if not tensor.numel():
            raise DataError(
                text("an input has shape {shape}", shape=str(tuple(tensor.shape))),
                text("(N, ...): one entry or more for each sample"),
                text("leave out what is empty"),
            )
        if tensor.device.type == "meta":
            raise DataError(
                text("an input is on the meta device"), text("a tensor with values"), text("make it on the network's device")
            )  # fmt: skip


def check_output(output: Tensor) -> None:
    """Raise a ModelError where an output cannot be explained, whatever its values."""
    if not output.is_floating_point() or output.layout != torch.strided or not output.numel():
        raise ModelError(
            text("the network's output has shape {shape} and dtype {dtype}", shape=str(tuple(output.shape)), dtype=str(output.dtype)),
            text("floating-point scores, one or more per sample"),
            text("wrap it in a torch.nn.Module whose forward returns the scores before they are rounded, compared or cut"),
        )


def check_attributions(parts: Sequence[Tensor], gap: float | None, method: str) -> None:
    """Raise a ModelError where an attribution is not finite, or the output on the reference, to which they should add up."""
    bad = torch.stack([(~torch.isfinite(part)).reshape(len(part), -1).any(1).cpu() for part in parts]).any(0)
    rows = bad.nonzero()[:, 0].tolist()
    if rows or (gap is not None and not math.isfinite(gap)):
        raise ModelError(
            text("{method} gives NaN or infinite attributions for {count} of {samples} samples, first for sample {first}", method=method,
                 count=len(rows), samples=len(bad), first=rows[0]) if rows
            else text("the network's output is NaN or infinite on the reference: {method} has nothing to compare with", method=method),
            text("finite outputs and derivatives on the inputs, on the reference, and between them"),
            text("choose a reference on which the network is defined, such as baseline=\"mean\" (look for log, sqrt and division), or a "
                 "method that only evaluates the network: method=\"occlusion\""),
        )  # fmt: skip


def read(given: Any) -> Any:
    """A tensor of an array of numbers, or of a frame (pandas, polars) all of whose columns are numbers; anything else as it is.

    Raises:
        DataError: a frame with columns that are no numbers: how to encode them only their owner knows.
    """
    to_numpy = None if isinstance(given, (Tensor, np.ndarray)) else getattr(given, "to_numpy", None)
    frame = callable(to_numpy)
    array: Any = to_numpy() if callable(to_numpy) else given
    if frame and isinstance(array, np.ndarray) and array.dtype.kind not in "fiub":
        columns = [list(column) for column in array.T.reshape(-1, len(array))]
        named = columns_of(given) or ["0"] * len(columns)
        wrong = [name for name, column in zip(named, columns, strict=True) if not all(isinstance(value, Real) for value in column)]
        if wrong:
            raise DataError(
                text("columns that are no numbers, or have gaps: {names}", names=wrong[:20]),
                text("the numbers that the network gets, in its order"),
                text("encode them as in training; what pellucid fit has trained is explained from its own columns by pellucid explain RUN"),
            )
        array = array.astype(np.float64)
    if isinstance(array, np.ndarray) and array.dtype.kind in "fiub":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that a frame's memory may not be written to: it is copied before anything is
            return torch.from_numpy(np.ascontiguousarray(array))
    return given


def columns_of(inputs: Any) -> tuple[str, ...] | None:
    """The names of a frame's columns."""
    names = getattr(inputs, "columns", None)
    return None if names is None or isinstance(inputs, (Tensor, np.ndarray)) else tuple(str(name) for name in names)


def in_the_networks_type(model: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Floating-point inputs in the one type of the weights; whole numbers of a table too where no embedding could be waiting for them."""
    types = {tensor.dtype for tensor in (*model.parameters(), *model.buffers()) if tensor.is_floating_point()}
    if len(types) != 1:
        return inputs
    (dtype,) = types
    tokens = any(isinstance(module, (nn.Embedding, nn.EmbeddingBag)) for module in model.modules())
    return tuple(
        x.to(dtype) if x.is_floating_point() or (x.dim() <= 2 and x.dtype in _WHOLE and not tokens) else x for x in inputs
    )  # fmt: skip


def converted(came: Sequence[Tensor], inputs: Sequence[Tensor]) -> Text:
    """What is said of inputs that came in another type."""
    pairs = [(str(one.dtype), str(two.dtype)) for one, two in zip(came, inputs, strict=True) if one.dtype != two.dtype]
    return text("the inputs came as {types} and are taken as {dtype}, the type of the network's weights",
                types=sorted({one for one, _ in pairs}), dtype=pairs[0][1])  # fmt: skip


def tensors_of(inputs: Any, what: Text | None = None) -> tuple[tuple[Tensor, ...], tuple[str, ...] | None]:
    """The inputs (or `what` is read in their place) as tensors, and their names where they came by name."""
    keywords = tuple(str(name) for name in cast("Mapping[str, Any]", inputs)) if isinstance(inputs, Mapping) else None
    items = list(cast("Mapping[str, Any]", inputs).values()) if isinstance(inputs, Mapping) else inputs
    parts: list[Any] = list(cast("list[Any]", items)) if isinstance(items, (tuple, list)) else [items]
    parts = [read(part) for part in parts]
    for part in parts:
        if not isinstance(part, Tensor):
            raise DataError(
                text("inputs contain a {kind}", kind=type(part).__name__)
                if what is None else text("{what} contain a {kind}", what=what, kind=type(part).__name__),
                text("a tensor (N, ...) with the sample axis first; a tuple or dict of such tensors where the network takes several"),
                text("an explanation holds them: give its .attributions") if hasattr(part, "attributions")
                else text("convert them, for example with torch.as_tensor(values, dtype=torch.float32)"),
            )  # fmt: skip
        if part.is_nested or part.layout != torch.strided or part.is_quantized or part.dim() == 0 or part.is_complex():
            raise DataError(
                text("an input has shape {shape}, dtype {dtype} and layout {layout}",
                     shape=text("of its own for each sample") if part.is_nested else str(tuple(part.shape)), dtype=str(part.dtype),
                     layout=str(part.layout)),
                text("a dense real tensor with the sample axis first"),
                text("give (N, ...) floating-point numbers, or integers for tokens"),
            )  # fmt: skip
    found = cast("list[Tensor]", parts)
    if not found or not len(found[0]):
        raise DataError(text("there are no samples"), text("at least one sample"), text("give inputs of shape (N, ...) with N >= 1"))
    if len({len(tensor) for tensor in found}) > 1:
        raise DataError(
            text("the inputs have shapes {shapes}", shapes=[str(tuple(tensor.shape)) for tensor in found]),
            text("the same number of samples, first axis, in each of them"),
            text("repeat what all samples share with expand(N, ...)"),
        )
    return tuple(found), keywords


def output_of(result: Any) -> Tensor:
    """The tensor to explain: the result, its `logits`, or its first floating-point tensor."""
    if isinstance(result, Tensor):
        return result
    named = result.get("logits") if isinstance(result, Mapping) else getattr(cast("Any", result), "logits", None)
    if isinstance(named, Tensor):
        return named
    found = [tensor for tensor in tensors(result) if tensor.is_floating_point() and tensor.dim()]
    if not found:
        raise ModelError(
            text("the network returns a {kind}", kind=type(result).__name__),
            text("a tensor with one row per sample"),
            text("wrap it in a torch.nn.Module whose forward returns the scores to explain"),
        )
    return found[0]


def refused(error: Exception, model: nn.Module, inputs: tuple[Tensor, ...], keywords: tuple[str, ...] | None) -> DataError:
    """A DataError that says why the network does not take these inputs, as far as shapes, types and devices tell."""
    weights = [tensor for tensor in (*model.parameters(), *model.buffers()) if tensor.is_floating_point()]
    got = text("the network does not take inputs of shape {shapes}: {error}",
               shapes=[f"{tuple(x.shape)} {str(x.dtype).removeprefix('torch.')}" for x in inputs],
               error=f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}")  # fmt: skip
    expected: Text = text("inputs on which model(inputs) works")
    do: Text = text("call the network on them yourself; the sample axis comes first (inputs.unsqueeze(0) for one sample)")
    if weights:
        dtype, device = weights[0].dtype, weights[0].device
        if any(x.device != device for x in inputs):
            expected = text("inputs on {device}, where the network is", device=str(device))
            do = text('move them: inputs.to("{device}")', device=str(device))
        elif "indices" in str(error) and any(x.is_floating_point() for x in inputs):  # of an embedding
            expected, do = text("tokens as integers, torch.long"), text("convert them: inputs.long()")
        elif isinstance(error, IndexError) and not all(x.is_floating_point() for x in inputs):
            sizes = sorted({module.num_embeddings for module in model.modules() if isinstance(module, nn.Embedding)})
            if sizes:
                expected = text("tokens from 0 to {last}: the embedding has {count} rows", last=sizes[0] - 1, count=sizes[0])
                do = text("use the vocabulary that the network was trained with")
        elif any(x.is_floating_point() and x.dtype != dtype for x in inputs) or any(
            said in str(error) for said in ("dtype", "scalar type", " type (")
        ):
            expected = text("inputs of the network's type, {dtype} (tokens: torch.long)", dtype=str(dtype))
            do = text("convert them: inputs.to({dtype})", dtype=str(dtype))
            if any(x.dtype == torch.uint8 and x.dim() > 2 for x in inputs):  # images
                do = text("convert them, and scale them as in training: inputs.to({dtype}) / 255, for example", dtype=str(dtype))
    first = next((module for module in model.modules() if not any(module.children()) and next(module.parameters(), None) is not None), None)
    if isinstance(first, nn.Linear) and "cannot be multiplied" in str(error) and len(inputs) == 1 and inputs[0].dim() <= 2:
        expected = text("shape (N, {count}): the first layer takes {count} numbers for each sample", count=first.in_features)
        if inputs[0].shape == (first.in_features,):
            do = text("give a single sample its sample axis: inputs.unsqueeze(0)")
    if keywords is not None and isinstance(error, TypeError):
        expected = text("a dict by the names of forward's parameters")
        known = _parameters_of(model)
        if known is not None and not set(keywords) <= set(known):
            got = text("the inputs have the names {names}", names=list(keywords))
            expected = text("names of forward's parameters: {parameters}", parameters=list(known))
            do = text("use these names, or give a tensor for each input in their order")
    return DataError(got, expected, do)


def _parameters_of(model: nn.Module) -> tuple[str, ...] | None:
    """The names that forward takes; None where it takes any, or Python does not know."""
    try:
        parameters = inspect.signature(model.forward).parameters.values()
    except (TypeError, ValueError):
        return None
    if any(parameter.kind == parameter.VAR_KEYWORD for parameter in parameters):
        return None
    return tuple(parameter.name for parameter in parameters if parameter.kind != parameter.VAR_POSITIONAL)


def close(one: Tensor, two: Tensor, tolerance: float = 1e-5) -> bool:
    if one.shape != two.shape:
        return False
    one, two = one.detach().double(), two.detach().double()
    largest = float(two.abs().nan_to_num(0.0, 0.0).max())  # of what is finite: NaN is met and named later
    return bool(torch.allclose(one, two, rtol=tolerance, atol=tolerance * max(largest, 1e-12), equal_nan=True))


def out_of_memory(error: BaseException) -> bool:
    message = str(error).lower()
    return (
        isinstance(error, (torch.OutOfMemoryError, MemoryError))
        or "not enough memory" in message
        or "out of memory" in message
        or "can't allocate memory" in message
    )


def shortage(error: BaseException) -> MemoryShortage:
    return MemoryShortage(
        text("the memory does not hold a pass of one sample: {error}", error=str(error).split("\n")[0]),
        text("a network and a sample that fit"),
        text("use smaller inputs, or another device"),
    )


def unclean(inputs: Sequence[Tensor]) -> list[Text]:
    """What is said of samples with NaN or infinite values for which the network has a finite output all the same."""
    bad = torch.stack([~torch.isfinite(x).reshape(len(x), -1).all(1).cpu() for x in inputs if x.is_floating_point()] or [torch.zeros(1)])
    rows = bad.any(0).nonzero()[:, 0].tolist()
    if not rows:
        return []
    said = text(
        "{count} of {samples} samples hold NaN or infinite values, first sample {first}: the network answers them like any others; check "
        "that they are meant",
        count=len(rows), samples=len(inputs[0]), first=rows[0],
    )  # fmt: skip
    return [said]


def target_of(target: Any, predictions: Tensor, output_shape: tuple[int, ...]) -> Tensor | None:
    """The chosen output of each of the N samples as indices (N,) into the K outputs; None where there is one number.

    Raises:
        OptionError: out of range, of another length, or no integers.
    """
    if target is None:
        if predictions.shape[1] == 1:
            return None
        if len(output_shape) > 1:
            raise OptionError(
                text("a sample's output has shape {shape}", shape=str(output_shape)),
                text("target: which of its numbers to explain"),
                text("give a tuple of {axes} indices, such as target={example}", axes=len(output_shape),
                     example=str((0,) * len(output_shape))),
            )  # fmt: skip
        return predictions.argmax(1)
    if isinstance(target, tuple) and len(output_shape) > 1 and len(cast("tuple[int]", target)) == len(output_shape):
        indices = cast("tuple[int, ...]", target)
        inside = all(isinstance(cast("Any", i), int) and -size <= i < size for i, size in zip(indices, output_shape, strict=True))
        if not inside:
            raise OptionError(
                text("target is {target}", target=str(indices)),
                text("indices into an output of shape {shape}", shape=str(output_shape)),
                text("count from 0"),
            )
        target = int(np.ravel_multi_index([i % size for i, size in zip(indices, output_shape, strict=True)], output_shape))
    try:
        wanted = torch.as_tensor(target)
    except (TypeError, ValueError, RuntimeError):
        wanted = None
    if wanted is None or wanted.is_floating_point() or wanted.dtype == torch.bool or tuple(wanted.shape) not in ((), (len(predictions),)):
        got = text("target is {target!r}", target=target) if wanted is None else text(
            "target has shape {shape} and dtype {dtype}", shape=str(tuple(wanted.shape)), dtype=str(wanted.dtype)
        )  # fmt: skip
        raise OptionError(
            got,
            text("an integer, or one integer for each of the {samples} samples", samples=len(predictions)),
            text("give the index of the output to explain, or nothing for each sample's largest output"),
        )
    wanted = wanted.to(predictions.device, torch.long).expand(len(predictions)).contiguous()
    if int(wanted.min()) < 0 or int(wanted.max()) >= predictions.shape[1]:
        bad = next(int(value) for value in wanted if not 0 <= int(value) < predictions.shape[1])
        raise OptionError(
            text("target is {target}", target=bad),
            text("0 to {last}: the network has {classes} outputs", last=predictions.shape[1] - 1, classes=predictions.shape[1])
            if predictions.shape[1] > 1 else text("0 or nothing: the network has one output"),
            text("classes are counted from 0"),
        )  # fmt: skip
    return wanted


def check_predictions(predictions: Tensor, inputs: Sequence[Tensor]) -> None:
    """Raise a ModelError where an output (N, K) is not finite."""
    bad = ~torch.isfinite(predictions)
    if bool(bad.any()):
        rows = bad.any(1).nonzero()[:, 0].tolist()
        unclean = any(not bool(torch.isfinite(x).all()) for x in inputs if x.is_floating_point())
        raise ModelError(
            text("the network's output is NaN or infinite for {count} of {samples} samples, first for sample {first}",
                 count=len(rows), samples=len(predictions), first=rows[0]),
            text("finite outputs: there is nothing to explain in NaN"),
            text("the inputs contain NaN or infinite values: fill them in or leave these samples out") if unclean
            else text("the inputs are finite: look for the layer that overflows, with pellucid.watch or torch.autograd.detect_anomaly"),
        )  # fmt: skip
