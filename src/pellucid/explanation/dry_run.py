"""A dry run: a few passes over the first sample that say what kind of function the network is, before anything is explained.

Shapes, embeddings that integers reach, whether a gradient comes back and what it keeps in memory, whether the network draws random numbers
or remembers, and whether a sample's output depends on the others of its batch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from pellucid.core.errors import ModelError, PellucidError
from pellucid.core.language import Text, text
from pellucid.core.memory import available_memory_bytes
from pellucid.explanation.checks import check_output, close, out_of_memory, output_of, shortage
from pellucid.explanation.passes import Place

if TYPE_CHECKING:
    from pellucid.explanation.subject import Subject

_BATCH_BYTES = 2**28  # what one batch may keep on the CPU: more is not faster (the caches hold far less), and many users share a machine
_LARGEST_BATCH = 2048  # what 4096 rows of a small table leave in its layers is more than the caches hold: a third slower


@dataclass(eq=False)
class DryRun:
    """What the passes found."""

    output: Tensor  # (1, ...) of the sample that was looked at, by itself
    places: tuple[Place, ...] = ()
    dropouts: int = 0
    writes: bool = False  # into its inputs
    differentiable: Text | None = None  # None, or why no gradient reaches the inputs
    random: bool = False
    bytes_per_sample: int = 0
    notes: list[Text] = field(default_factory=list)
    looked: int = 0  # which sample that is


def dry_run(subject: Subject) -> DryRun:
    """Look at the network on one sample: the second where there are three or more, so that it has neighbours among the given ones.

    Raises:
        DataError: inputs that it does not take.
        ModelError: an output that cannot be explained, or that depends on the other samples of its batch.
    """
    looked = 1 if subject.samples >= 3 else 0
    first = tuple(tensor[looked : looked + 1] for tensor in subject.inputs)
    found = _first_pass(subject, first)
    found.looked = looked
    subject.places, subject.dropouts, subject.writes = found.places, found.dropouts, found.writes
    flat = found.output.reshape(1, -1)
    points = tuple(x for x in first if x.is_floating_point()) + tuple(place.output for place in found.places)
    found.differentiable, size, again = _look_back(subject, points, first)  # from another seed
    if again is None or not close(again, flat, _tolerance(flat, 1e-5)):
        again = _outputs(subject, first, seed=1)[0]  # the same operations, none of them fused or taken apart otherwise
    found.random = not close(again, flat, _tolerance(flat, 1e-5))
    _look_at_state(subject, found, first)
    size += 4 * sum(x.numel() * x.element_size() for x in (*first, *points)) + flat.numel() * flat.element_size()
    found.bytes_per_sample = max(size, 1)
    if not found.random and subject.samples < 3:  # else the predictions tell: see check_predictions_alone
        _check_alone(subject, first, flat)
    return found


def largest_batch(subject: Subject, bytes_per_sample: int) -> int:
    """How many samples one pass may hold under the memory budget."""
    if subject.device.type == "cuda":
        budget = int(torch.cuda.mem_get_info(subject.device)[0] * 0.25)
    else:
        available = available_memory_bytes()
        budget = _BATCH_BYTES if available is None else min(_BATCH_BYTES, available // 4)
    return max(1, min(_LARGEST_BATCH, budget // bytes_per_sample))


def _first_pass(subject: Subject, first: tuple[Tensor, ...]) -> DryRun:
    def run(rows: tuple[Tensor, ...]) -> DryRun:
        own = tuple(tensor.clone() for tensor in rows)
        met = subject.met(own)
        with subject.surrounded(gradient=False), met:
            output = output_of(subject.call(own))
        found = DryRun(output, tuple(met.places), met.dropouts, any(tensor._version for tensor in own))
        if met.lost:
            names = sorted(set(met.lost))
            found.notes.append(text("indices of {names} are computed from the inputs in a way that was not followed", names=names))
        return found

    found = _taken(subject, lambda: subject.isolation.first_pass(lambda: run(first)), first)
    output = found.output
    if output.dim() == 0 or output.shape[0] != 1:
        raise not_by_rows(1, output)
    check_output(output)
    if found.dropouts:
        found.notes.append(
            text("the network drops at random in evaluation mode (dropout left on): one draw is explained, the same for all samples")
        )
    return found


def _taken(subject: Subject, run: Callable[[], DryRun], first: tuple[Tensor, ...]) -> DryRun:
    try:
        return run()
    except PellucidError:
        raise
    except Exception as error:  # whatever the user's network raises
        if out_of_memory(error):
            raise shortage(error) from error
        if _takes(subject, _crowd(subject, first)):
            fixed = subject.samples == 3 and not _takes(subject, _copies(first, 5))
            raise (_of_one_size(3, 1, error) if fixed else _not_alone()) from error
        if subject.samples > 1 and _takes(subject, subject.inputs):
            raise _of_one_size(subject.samples, 1, error) from error
        raise subject.refused(error) from error  # many samples fail as one does: the inputs do not fit


def _takes(subject: Subject, rows: tuple[Tensor, ...]) -> bool:
    try:
        _outputs(subject, rows)
    except Exception:  # whatever the user's network raises
        return False
    return True


def _copies(first: tuple[Tensor, ...], n: int) -> tuple[Tensor, ...]:
    return tuple(tensor.repeat(n, *[1] * (tensor.dim() - 1)) for tensor in first)


def why_refused(subject: Subject, n: int, error: Exception, looked: int) -> PellucidError:
    """What is said where n samples at once are refused: the number, where as many copies of the sample that the network took alone are
    refused as well; else the samples."""
    if n > 1 and not _takes(subject, _copies(tuple(tensor[looked : looked + 1] for tensor in subject.inputs), n)):
        return _of_one_size(1, n, error)
    return subject.refused(error)


def _look_at_state(subject: Subject, found: DryRun, first: tuple[Tensor, ...]) -> None:
    """What is said of a network that draws random numbers, or remembers earlier calls."""
    isolation, flat = subject.isolation, found.output.reshape(1, -1)
    if found.random and not close(_outputs(subject, first)[0], flat, _tolerance(flat, 1e-5)):
        found.notes.append(
            text("the same inputs and the same random seed give another output in each call, from a source that was not found: "
                 "attributions hold this noise too, and do not repeat")
        )  # fmt: skip
    elif found.random:
        found.notes.append(text("the network draws random numbers in evaluation mode: every pass starts from the same seed"))
    if isolation.generators:
        found.random = True
        found.notes.append(
            text("the network draws from a random generator of its own: it is put back after every pass, so that one draw is explained")
        )
    elif isolation.stateful:
        one, two = _outputs(subject, first, times=2)
        if not close(two, one, _tolerance(one, 1e-5)):
            found.notes.append(
                text("the network's output depends on earlier calls: every pass starts from the state in which it was given")
            )


def _outputs(subject: Subject, rows: tuple[Tensor, ...], *, seed: int = 0, times: int = 1) -> list[Tensor]:
    """(n, K) of one call after the other; where the network remembers, the second one finds what the first one left."""
    with subject.surrounded(gradient=False, seed=seed):
        return [subject.run(rows) for _ in range(times)]


def _look_back(subject: Subject, points: tuple[Tensor, ...], inputs: tuple[Tensor, ...]) -> tuple[Text | None, int, Tensor | None]:
    """None where a gradient reaches some point, else why not; how many bytes the pass kept for it, weights left out; and its output."""
    if not points:
        return text("all inputs are integers that reach no embedding"), 0, None
    kept: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    detached = text("no gradient reaches the inputs: the network detaches them, rounds, or leaves PyTorch")
    try:
        with subject.surrounded(gradient=True, seed=1), torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            leaves = tuple(point.detach().requires_grad_() for point in points)
            output = subject.run_points(leaves, inputs)
            if not output.requires_grad:
                return detached, 0, output
            slopes = torch.autograd.grad(output.sum(), leaves, allow_unused=True)
    except RuntimeError as error:
        return text("PyTorch cannot differentiate the network: {error}", error=str(error).split("\n")[0]), 0, None
    weights = {tensor.untyped_storage().data_ptr() for tensor in (*subject.model.parameters(), *subject.model.buffers())}
    size = sum(number for pointer, number in kept.items() if pointer not in weights)
    return (detached if all(slope is None for slope in slopes) else None), size, output.detach()


def _check_alone(subject: Subject, first: tuple[Tensor, ...], alone: Tensor) -> None:
    """Raise a ModelError where a sample has another output between two other samples than by itself.

    In the middle: a running sum over the batch leaves the first row as it is, one from the back the last.
    """
    rows = _crowd(subject, first)
    try:
        with subject.surrounded(gradient=False):
            result = output_of(subject.call(tuple(tensor.clone() for tensor in rows)))
    except Exception as error:  # whatever the user's network raises
        if out_of_memory(error):
            return
        at = 1 if subject.samples >= 3 else 0  # as in dry_run
        raise why_refused(subject, len(rows[0]), error, at) from error
    if result.dim() == 0 or len(result) != len(rows[0]):
        raise not_by_rows(len(rows[0]), result)
    if not close(result[1:2].reshape(1, -1), alone, _tolerance(alone, 1e-3)):
        raise _not_alone()


def check_predictions_alone(subject: Subject, predictions: Tensor, alone: Tensor, looked: int) -> None:
    """The same for the samples as they were given: the output (1, K) of the one that was looked at must not depend on the others."""
    if subject.random:
        return
    if not close(predictions[looked : looked + 1], alone, _tolerance(alone, 1e-3)):
        raise _not_alone()
    if looked and subject.batch_size < 3:  # it had no neighbour on either side
        _check_alone(subject, tuple(tensor[looked : looked + 1] for tensor in subject.inputs), alone)


def _crowd(subject: Subject, first: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """A sample between two others (3, ...): given ones, else its own entries disturbed, or moved where they are integers."""
    noise = torch.Generator().manual_seed(0)

    def other(index: int, x: Tensor, turn: int) -> Tensor:
        if subject.samples > 2:
            return subject.inputs[index][(0, 2)[turn - 1] :][:1]
        if subject.samples > turn:
            return subject.inputs[index][turn : turn + 1]
        if x.is_floating_point():
            return x + (x.std(correction=0) + (x == 0).all()) * torch.randn(x.shape, generator=noise).to(x)
        return x.roll(turn, -1)

    return tuple(torch.cat([other(i, x, 1), x, other(i, x, 2)]) for i, x in enumerate(first))


def _tolerance(like: Tensor, least: float) -> float:
    """Of outputs that are computed in another order: 1e-5 and 1e-3 in float32, more where numbers have fewer digits."""
    return max(least, 8 * torch.finfo(like.dtype).eps)


def _not_alone() -> ModelError:
    return ModelError(
        text("the output of a sample depends on the other samples of its batch"),
        text("a network that treats each sample by itself in evaluation mode"),
        text("look for batch statistics (batch norm with track_running_stats=False, dynamic quantisation, a mean or a softmax over "
             "axis 0), or for another axis first (batch_first=True)"),
    )  # fmt: skip


def _of_one_size(takes: int, refuses: int, error: Exception) -> ModelError:
    said = str(error).splitlines()[0] if str(error) else ""
    return ModelError(
        text("the network takes a batch of {takes} and refuses one of {refuses}: {error}", takes=takes, refuses=refuses,
             error=f"{type(error).__name__}: {said}"),
        text("a network that takes any number of samples: explain needs other batch sizes than {takes}", takes=takes),
        text("leave the batch size open (x.shape[0] in place of a number; export with a dynamic batch axis), or wrap the network in a "
             "torch.nn.Module that fills a batch up and returns the rows that were asked for"),
    )  # fmt: skip


def not_by_rows(n: int, output: Tensor) -> ModelError:
    return ModelError(
        text("{n} samples went in and an output of shape {shape} came out", n=n, shape=str(tuple(output.shape))),
        text("one row per sample: the first axis of inputs and outputs is the sample axis"),
        text("put the sample axis first (inputs.unsqueeze(0) for one sample; batch_first=True), and return one row per sample"),
    )
