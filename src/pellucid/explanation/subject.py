"""The network as a function of its inputs: one number per sample, evaluated and differentiated in batches that fit into memory.

    subject = Subject.of(model, inputs, target=3)
    subject.values(copies, target)                 # (n,) the chosen output of n perturbed samples
    values, gradients = subject.gradients(copies)  # and its derivative with respect to each input

All passes run on a copy that shares the user's weights and nothing else, in evaluation mode, with `torch.autograd.grad` only, from a fixed
seed: the user's network, its mode, buffers, gradients and hooks, and the random state stay as they are, whatever happens.

A *point* is a tensor with respect to which the function is differentiated: a floating-point input itself, or what an embedding makes of an
integer input (see passes). `gathered` brings one tensor per point back to the shape of the inputs.
"""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, cast

import torch
from torch import Tensor, nn

from pellucid.core.errors import DataError, MemoryShortage, ModelError, PellucidError
from pellucid.core.language import Text, text
from pellucid.core.records import Record
from pellucid.core.trace.model import answer_of, random_state_kept, run_eagerly
from pellucid.explanation.checks import (
    check_predictions,
    check_shapes,
    columns_of,
    converted,
    in_the_networks_type,
    out_of_memory,
    output_of,
    plainly,
    refused,
    shortage,
    target_of,
    tensors_of,
)
from pellucid.explanation.dry_run import check_predictions_alone, dry_run, largest_batch, not_by_rows, why_refused
from pellucid.explanation.isolation import Isolation
from pellucid.explanation.passes import Pass, Place

Tell = Callable[[int, int], None]  # done, of how many


@dataclass(frozen=True, kw_only=True)
class Spent(Record):
    """What was computed: passes counted in samples, and wall time."""

    forward: int = 0
    backward: int = 0
    seconds: float = 0.0


@dataclass(eq=False)
class Subject:
    """A network, the samples to explain, and the output chosen for each. Made by `Subject.of`, which checks everything."""

    model: nn.Module  # the copy on which passes run
    isolation: Isolation  # keeps passes from the user's
    inputs: tuple[Tensor, ...]  # sample axis first; one number per sample (N,) is held as (N, 1)
    flat: tuple[bool, ...]  # inputs that came as (N,), and go to the network so
    types: tuple[torch.dtype, ...]  # in which the inputs came
    single: bool  # the user gave one tensor
    keywords: tuple[str, ...] | None  # names of the inputs, where the user gave a dict
    target: Tensor | None  # (N,) index of the chosen output; None where there is one
    classes: int  # K, outputs of a sample; 1: a scalar
    output_shape: tuple[int, ...]  # of one sample: (K,), or more axes
    continuous: tuple[bool, ...]  # floating-point inputs
    places: tuple[Place, ...]  # embeddings that integer inputs reach
    differentiable: Text | None  # None, or why no gradient reaches the inputs
    random: bool  # the network draws random numbers in evaluation mode
    dropouts: int  # calls of dropout that are left on
    writes: bool  # the network writes into its inputs
    batch_size: int
    notes: list[Text] = field(default_factory=list)
    tell: Tell = field(default=lambda done, total: None)
    original: nn.Module | None = None
    columns: tuple[str, ...] | None = None  # their names, where a frame was given
    _predictions: Tensor | None = None
    _alone: tuple[Tensor, int] | None = None  # the output of a sample by itself, (1, K), and which sample
    _weights: tuple[Tensor, ...] = ()
    _forward: int = 0
    _backward: int = 0
    _started: float = field(default_factory=time.perf_counter)

    @classmethod
    @plainly()
    def of(
        cls, model: nn.Module, inputs: Any, target: Any = None, *, batch_size: int | None = None, tell: Tell | None = None,
        predict: bool = True,
    ) -> Subject:  # fmt: skip
        """Check a network, its inputs and the target, and look at one pass. Without `predict` the samples' outputs wait until asked for.

        `inputs`: a tensor (N, ...), array or frame of numbers, a tuple or list of these in the order of `forward`, or a dict by its
        parameters' names. What the network refuses is tried again in the type of its weights, and a note says so. `target`: the index of
        an output, one per sample, or a tuple that points into an output of several axes; None: each sample's largest output.

        Raises:
            ModelError: no network, one that cannot be copied, or whose output is unusable.
            DataError: inputs that the network does not take.
            OptionError: a target out of range.
        """
        if not isinstance(cast("Any", model), nn.Module):
            raise ModelError(
                text("the network is a {kind}", kind=type(model).__name__),
                text("a torch.nn.Module"),
                text("put the function into the forward method of a small torch.nn.Module"),
            )
        given, keywords = tensors_of(inputs)
        notes: list[Text] = []
        check_shapes(given)
        flat = tuple(tensor.dim() == 1 for tensor in given)
        given = tuple(x.detach().clone() for x in given)  # the certificate comes later: the user's may be other values by then
        given = tuple(x[:, None] if one else x for x, one in zip(given, flat, strict=True))
        if any(nn.parameter.is_lazy(tensor) for tensor in (*model.parameters(), *model.buffers())):
            raise ModelError(
                text("the network has a lazy layer whose shape is not known yet"),
                text("a network that has seen data once"),
                text("call the network once on these inputs, then explain it"),
            )
        if any(parameter.device.type == "meta" for parameter in model.parameters()):
            raise ModelError(
                text("the network is on the meta device and has no values"),
                text("a network with values"),
                text("materialise it with to_empty and load its weights"),
            )
        isolation = Isolation(model, notes)
        if getattr(model, "training", False):
            notes.append(text("the network was in training mode: it is explained in evaluation mode, and yours stays as it was"))
        made = cls(
            model=isolation.model,
            isolation=isolation,
            inputs=given,
            flat=flat,
            types=tuple(tensor.dtype for tensor in given),
            single=not isinstance(inputs, (tuple, list, Mapping)),
            keywords=keywords,
            target=None,
            classes=1,
            output_shape=(),
            continuous=tuple(tensor.is_floating_point() for tensor in given),
            places=(),
            differentiable=None,
            random=False,
            dropouts=0,
            writes=False,
            batch_size=1,
            notes=notes,
            original=model,
            columns=columns_of(inputs),
            _weights=_fingerprint(model),
        )
        if tell is not None:
            made.tell = tell
        try:
            seen = dry_run(made)
        except DataError:
            made.inputs = in_the_networks_type(model, given)
            if tuple(tensor.dtype for tensor in made.inputs) == made.types:
                raise
            made.continuous = tuple(tensor.is_floating_point() for tensor in made.inputs)
            seen = dry_run(made)
            notes.append(converted(given, made.inputs))
        made.output_shape = tuple(seen.output.shape[1:])
        made.classes = math.prod(made.output_shape)
        made.differentiable, made.random = seen.differentiable, seen.random
        made.batch_size = batch_size or largest_batch(made, seen.bytes_per_sample)
        notes += seen.notes
        alone = seen.output.reshape(1, -1)
        made._alone = alone, seen.looked
        if made.samples == 1:
            made.remember(alone)
        known = made.predictions if predict or target is None else alone.expand(made.samples, -1)  # of a target only its range is checked
        made.target = target_of(target, known, made.output_shape)
        made._forward = made._backward = 0  # looking is not explaining
        return made

    def as_given(self, parts: Sequence[Tensor]) -> Tensor | tuple[Tensor, ...]:
        """One tensor per input in the shapes in which they came; a single one where one came."""
        shaped = tuple(part.reshape(len(part)) if one else part for part, one in zip(parts, self.flat, strict=True))
        return shaped[0] if self.single else shaped

    # -- what a sample is ------------------------------------------------------------------------------------------------------------

    @property
    def samples(self) -> int:
        """N."""
        return len(self.inputs[0])

    @property
    def device(self) -> torch.device:
        return self.inputs[0].device

    @cached_property
    def masks(self) -> tuple[bool, ...]:
        """Which inputs say what tokens there are: zeros and ones in the shape of an input that reaches an embedding, which they do not."""
        reached = {place.input for place in self.places}
        shapes = {tuple(self.inputs[index].shape) for index in reached}
        return tuple(
            index not in reached and tuple(x.shape) in shapes and not x.is_floating_point() and bool(((x == 0) | (x == 1)).all())
            for index, x in enumerate(self.inputs)
        )

    def name(self, index: int) -> Text | str:
        """What the user calls an input."""
        return self.keywords[index] if self.keywords is not None else text("input {number}", number=index)

    @property
    def kind(self) -> str:
        """ "tokens", "table" (N, F), "series" (N, C, T) or (N, T, C), "image" (N, C, H, W), "volume", or "mixed"."""
        if self.places:
            return "tokens"
        kinds = {{2: "table", 3: "series", 4: "image", 5: "volume"}.get(x.dim(), "mixed") for x in self.inputs if x.is_floating_point()}
        return kinds.pop() if len(kinds) == 1 else "mixed"

    @property
    def predictions(self) -> Tensor:
        """(N, K) the outputs of the samples."""
        if self._predictions is None:
            self.remember(self.outputs(self.inputs))
        return cast("Tensor", self._predictions)

    @predictions.setter
    def predictions(self, outputs: Tensor) -> None:
        self._predictions = outputs

    def remember(self, predictions: Tensor) -> None:
        """Check the samples' outputs (N, K), which some pass has met, and keep them as the predictions."""
        if self._alone is not None:
            check_predictions_alone(self, predictions, *self._alone)
        check_predictions(predictions, self.inputs)
        self._predictions = predictions

    @property
    def predicted(self) -> Tensor | None:
        """(N,) the largest output of each sample; None for a single number."""
        return None if self.classes == 1 else self.predictions.argmax(1)

    @property
    def value(self) -> Tensor:
        """(N,) the chosen output of each sample."""
        return self.chosen(self.predictions, self.target)

    @property
    def spent(self) -> Spent:
        return Spent(forward=self._forward, backward=self._backward, seconds=time.perf_counter() - self._started)

    def weights_changed(self) -> bool:
        """Whether the user's network was trained on since this was made: passes would speak of another network."""
        if self.original is None:
            return False
        now = _fingerprint(self.original)
        return len(now) != len(self._weights) or not all(torch.equal(*pair) for pair in zip(self._weights, now, strict=True))

    # -- evaluating ------------------------------------------------------------------------------------------------------------------

    @plainly()
    def outputs(self, inputs: Sequence[Tensor]) -> Tensor:
        """(n, K) the outputs of n samples, without gradient."""

        return self._evaluated(len(inputs[0]), lambda rows: self.run(tuple(tensor[rows] for tensor in inputs)))

    @plainly()
    def values(self, inputs: Sequence[Tensor], target: Tensor | None = None) -> Tensor:
        """(n,) the chosen output of n samples, without gradient; `target` (n,) defaults to this subject's, where n is N."""
        target = self.target_for(len(inputs[0]), target)

        def run(rows: slice) -> Tensor:
            found = self.run(tuple(tensor[rows] for tensor in inputs))
            return self.chosen(found, None if target is None else target[rows]).clone()  # not a view of all K outputs

        return self._evaluated(len(inputs[0]), run)

    @plainly()
    def points(self, inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """The floating-point inputs, then what each embedding makes of the integer inputs, (n, ..., D)."""
        own = tuple(tensor for tensor, continuous in zip(inputs, self.continuous, strict=True) if continuous)
        if not self.places:
            return own

        def run(rows: slice) -> tuple[Tensor, ...]:
            with self.surrounded(gradient=False):
                own_rows = tuple(tensor[rows].clone() for tensor in inputs)
                met = self.met(own_rows)
                self._run_in(own_rows, met)
                return tuple(place.output for place in met.places)

        pieces = self.batched(len(inputs[0]), run)
        return own + tuple(torch.cat(parts) for parts in zip(*pieces, strict=True))

    @plainly()
    def values_at(self, points: Sequence[Tensor], inputs: Sequence[Tensor], target: Tensor | None = None) -> Tensor:
        """(n,) the chosen output where the points take these values; `inputs` give what is no point."""
        target = self.target_for(len(points[0]), target)

        def run(rows: slice) -> Tensor:
            with self.surrounded(gradient=False):
                found = self.run_points(tuple(point[rows] for point in points), tuple(tensor[rows] for tensor in inputs))
                return self.chosen(found, None if target is None else target[rows]).clone()

        return torch.cat(self.batched(len(points[0]), run))

    @plainly()
    def gradients_at(
        self, points: Sequence[Tensor], inputs: Sequence[Tensor], target: Tensor | None = None
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """The chosen output (n,) and its derivative with respect to each point, where the points take these values.

        Raises:
            ModelError: no gradient reaches the inputs.
        """
        self.require_gradients()
        target = self.target_for(len(points[0]), target)

        def run(rows: slice) -> tuple[Tensor, tuple[Tensor, ...]]:
            with self.surrounded(gradient=True):
                leaves = tuple(point[rows].detach().requires_grad_() for point in points)
                found = self.run_points(leaves, tuple(tensor[rows] for tensor in inputs))
                values = self.chosen(found, None if target is None else target[rows])
                slopes = self.slopes(values, leaves)
                return values.detach(), tuple(
                    torch.zeros_like(leaf) if slope is None else slope.detach() for leaf, slope in zip(leaves, slopes, strict=True)
                )

        pieces = self.batched(len(points[0]), run)
        return torch.cat([values for values, _ in pieces]), tuple(torch.cat(parts) for parts in zip(*(s for _, s in pieces), strict=True))

    def gradients(self, inputs: Sequence[Tensor], target: Tensor | None = None) -> tuple[Tensor, tuple[Tensor, ...]]:
        """The chosen output (n,) and its derivative with respect to each point of n samples."""
        return self.gradients_at(self.points(inputs), inputs, target)

    def gathered(self, parts: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """One tensor per point, shapes (n, ...), as one per input: embeddings are summed over D, and each sum goes to its own entry."""
        parts = list(parts)
        found = [parts.pop(0) if continuous else None for continuous in self.continuous]
        n = len(parts[0]) if parts else len(cast("Tensor", next(part for part in found if part is not None)))
        for index, tensor in enumerate(self.inputs):
            if found[index] is None:
                size = math.prod(tensor.shape[1:])
                dtype = parts[0].dtype if parts else torch.get_default_dtype()
                total = torch.zeros(n, size, dtype=dtype, device=tensor.device)
                for place, part in zip(self.places, parts, strict=True):
                    if place.input == index:
                        sums = part.sum(-1).reshape(n, -1)
                        total.scatter_add_(1, place.entries[:1].reshape(1, -1).expand(n, -1), sums)
                found[index] = total.reshape(n, *tensor.shape[1:])
        return tuple(cast("list[Tensor]", found))

    def refused(self, error: Exception) -> DataError:
        """What is said where the network does not take the inputs."""
        parts = self.as_given(self.inputs)
        return refused(error, self.model, parts if isinstance(parts, tuple) else (parts,), self.keywords)

    # -- checks ----------------------------------------------------------------------------------------------------------------------

    def require_gradients(self) -> None:
        """Raise a ModelError where no gradient reaches the inputs."""
        if self.differentiable is not None:
            raise ModelError(
                self.differentiable,
                text("a network that can be differentiated with respect to its inputs"),
                text('use a method that only evaluates the network: method="occlusion", "shapley", "lime" or "feature_ablation"'),
            )

    def target_for(self, n: int, target: Tensor | None) -> Tensor | None:
        if target is not None or self.target is None:
            return target
        if n != self.samples:
            raise DataError(
                text("{n} samples came without their target, and {samples} samples are explained", n=n, samples=self.samples),
                text("a target for each of them"),
                text("repeat the target of each sample as often as the sample"),
            )
        return self.target

    # -- passes ----------------------------------------------------------------------------------------------------------------------

    def met(self, inputs: Sequence[Tensor], given: Sequence[Tensor] | None = None, **more: Any) -> Pass:
        return Pass({i: x for i, x in enumerate(inputs) if not x.is_floating_point() and x.dtype != torch.bool}, given, **more)

    @contextmanager
    def surrounded(self, gradient: bool, seed: int = 0) -> Generator[None]:
        """What holds around every pass, and is put back after it."""
        with ExitStack() as around:
            around.enter_context(plainly())
            around.enter_context(torch.set_grad_enabled(gradient))
            around.enter_context(random_state_kept({self.device}, seed))
            around.enter_context(run_eagerly())
            around.enter_context(self.isolation.kept(self.model))
            if gradient and self.device.type == "cuda":  # cuDNN's recurrent networks have a backward pass in training mode only
                around.enter_context(torch.backends.cudnn.flags(enabled=not self._recurrent()))
            yield

    def _evaluated(self, n: int, run: Callable[[slice], Tensor]) -> Tensor:
        """What `run` makes of the rows 0..n, without gradient, batch by batch.

        Surroundings take as long as a thousand rows of a small table: they stand once around all batches where no pass notices another.
        """
        isolation = self.isolation
        apart = bool(self.random or isolation.stateful or isolation.generators or isolation.guarded)

        def batch(rows: slice) -> Tensor:
            with self.surrounded(gradient=False):
                return run(rows)

        if apart:
            return torch.cat(self.batched(n, batch))
        with self.surrounded(gradient=False):
            return torch.cat(self.batched(n, run))

    def _recurrent(self) -> bool:
        return any(isinstance(module, nn.RNNBase) for module in self.model.modules())

    def call(self, inputs: Sequence[Tensor]) -> Any:
        inputs = tuple(x.squeeze(1) if one else x for x, one in zip(inputs, self.flat, strict=True))
        return self.model(*inputs) if self.keywords is None else answer_of(self.model, dict(zip(self.keywords, inputs, strict=True)))

    def run(self, inputs: tuple[Tensor, ...]) -> Tensor:
        """(n, K) with whatever gradient the surroundings record."""
        return self._run_in(tuple(x.clone() for x in inputs) if self.writes else inputs, self.met(()))

    def _run_in(self, inputs: tuple[Tensor, ...], met: Pass) -> Tensor:
        self._forward += len(inputs[0])
        with met if met.needed or self.dropouts else nullcontext():  # a mode costs time in every operation
            result = self.call(inputs)
        output = output_of(result)
        if output.dim() == 0 or len(output) != len(inputs[0]):
            raise not_by_rows(len(inputs[0]), output)
        return output.reshape(len(inputs[0]), -1)

    def run_points(self, points: tuple[Tensor, ...], inputs: tuple[Tensor, ...], **more: Any) -> Tensor:
        """(n, K) where the points take these values."""
        own = list(points)
        # a clone, because the program may write into its input, which a leaf with gradient forbids
        full = tuple(own.pop(0).clone() if continuous else x for x, continuous in zip(inputs, self.continuous, strict=True))
        return self._run_in(full, self.met(full, own or None, **more))

    def slopes(self, values: Tensor, of: Sequence[Tensor]) -> tuple[Tensor | None, ...]:
        """The derivative of each of the values (n,) with respect to its own rows of these tensors; None where there is none."""
        self._backward += len(values)
        return torch.autograd.grad(values.sum(), of, allow_unused=True)

    def chosen(self, outputs: Tensor, target: Tensor | None) -> Tensor:
        return outputs[:, 0] if target is None else outputs.gather(1, target[:, None])[:, 0]

    def batched(self, n: int, run: Callable[[slice], Any]) -> list[Any]:
        """`run` over the rows 0..n in batches; where memory runs out, the batch is halved and it goes on."""
        pieces: list[Any] = []
        start = 0
        while start < n:
            rows = slice(start, min(n, start + self.batch_size))
            failed: MemoryShortage | None = None
            try:
                pieces.append(run(rows))
            except PellucidError:
                raise
            except Exception as error:
                if not out_of_memory(error):
                    looked = None if self._alone is None else self._alone[1]
                    raise (self.refused(error) if looked is None else why_refused(self, rows.stop - rows.start, error, looked)) from error
                failed = shortage(error)  # the error itself would hold the pass's memory
            if failed is None:
                start = rows.stop
                continue
            if rows.stop - rows.start == 1:
                raise failed
            self.batch_size = (rows.stop - rows.start) // 2
            gc.collect()
            if self.device.type == "cuda":
                torch.cuda.empty_cache()
        return pieces


def _fingerprint(model: nn.Module) -> tuple[Tensor, ...]:
    """Of each weight the sum of its bits as integers, and a thousand of its values: what writes past the version counter is seen too."""
    found: list[Tensor] = []
    for parameter in model.parameters():
        weight = parameter.detach()
        if parameter.is_inference() or weight.layout != torch.strided or weight.device.type == "meta":
            continue  # copied: see shared_copy
        weight = torch.view_as_real(weight) if weight.is_complex() else weight
        bits = weight.view({1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}[weight.element_size()])
        flat = bits.reshape(-1)
        found.append(torch.cat([flat.sum(dtype=torch.int64)[None], flat[:: 1 + len(flat) // 1024].long()]))
    return tuple(found)
