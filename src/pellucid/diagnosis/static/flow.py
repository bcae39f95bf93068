"""What flows where in a traced program: what depends on weights, data and targets, its layers with weights, and what lies between."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from torch import Tensor

from pellucid.core.language import Text, text
from pellucid.core.trace import Operation, Reference, Trace
from pellucid.core.trace.records import references
from pellucid.diagnosis.static.ranges import SELECTING, WEIGHTED, WITH_ZERO, Ranges

RECURRENT = frozenset({"lstm", "gru", "rnn_tanh", "rnn_relu", "lstm_cell", "gru_cell", "rnn_tanh_cell", "rnn_relu_cell"})
ATTENTION = frozenset({"multi_head_attention_forward"})
LOOKUPS = frozenset({"embedding", "embedding_bag"})
CHOOSING = frozenset({
    "max_pool1d", "max_pool2d", "max_pool3d", "adaptive_max_pool1d", "adaptive_max_pool2d", "adaptive_max_pool3d", "amax", "amin",
    "max", "min", "median", "topk", "sort", "quantile", "maximum", "minimum", "mode", "cummax", "cummin", "masked_select",
})  # fmt: skip
# Keep a straight line straight: a weighted sum of what they get, with weights that do not depend on it.
AFFINE = (SELECTING - CHOOSING) | WITH_ZERO | frozenset({
    "add", "sub", "rsub", "neg", "sum", "cumsum", "batch_norm", "dropout", "alpha_dropout", "interpolate", "mul", "div", "lerp", "roll",
    "setitem", "copy", "einsum", "matmul", "bmm",
})  # fmt: skip
# Take the shape of what they get, not its values.
SHAPED_LIKE = frozenset({
    "zeros_like", "ones_like", "full_like", "empty_like", "rand_like", "randn_like", "randint_like", "new_zeros", "new_ones", "new_full",
    "new_empty", "new_tensor",
})  # fmt: skip
# Only another shape, type or order of the same numbers.
RESHAPING = frozenset({
    "flatten", "view", "reshape", "permute", "transpose", "contiguous", "squeeze", "unsqueeze", "to", "float", "double", "half",
    "bfloat16", "type", "clone", "expand_as", "view_as", "t", "mT", "movedim", "ravel", "unflatten", "alias", "as_strided", "type_as",
    "getitem", "select", "narrow", "unbind", "chunk", "split",
})  # fmt: skip


@dataclass(frozen=True)
class Layer:
    """An operation with weights of its own."""

    place: int  # among the layers, in the order of their first call
    kind: str  # "linear", "convolution", "recurrent", "attention", "embedding"
    name: str  # module path, or the weight's name, or the source line
    weights: tuple[str, ...]  # parameters' names
    operation: Operation
    data: Reference
    output: Reference


def line_of(operation: Operation) -> str | None:
    """ "net.py:31", the user's line."""
    return f"{Path(operation.source.file).name}:{operation.source.line}" if operation.source else None


def place_of(operation: Operation) -> str:
    """The module's path where the operation ran in a module of PyTorch's, else the source line."""
    return operation.module or line_of(operation) or operation.name


def told_place(operation: Operation) -> Text | str:
    """The same in the middle of a sentence: "module 5", "net.py:31"."""
    return text("module {path}", path=operation.module) if operation.module else place_of(operation)


class Flow:
    """Dependences along a trace."""

    def __init__(self, traced: Trace) -> None:
        self.trace = traced
        self.learnt: set[int] = set()  # depends on a parameter
        self.given: set[int] = set()  # depends on inputs or targets
        self.targets: set[int] = set()  # depends on targets
        self.users: dict[int, list[Operation]] = {}
        for value in traced.values:
            if value.leaf and value.kind == "parameter":
                self.learnt.add(value.index)
            elif value.leaf and value.kind in ("input", "target"):
                self.given.add(value.index)
                if value.kind == "target":
                    self.targets.add(value.index)
        for operation in traced.operations:
            taken = {reference.value for reference in operation.inputs()}
            for value in taken:
                self.users.setdefault(value, []).append(operation)
            if operation.name in SHAPED_LIKE:
                continue
            for reference in operation.results():
                value = traced[reference]
                if value.operation != operation.index:
                    continue
                sources = taken | ({value.previous} if value.previous is not None else set())
                for known in (self.learnt, self.given, self.targets):
                    if sources & known:
                        known.add(value.index)
        self.ranges = Ranges(traced, self.learnt, self.given)

    # -- one value ------------------------------------------------------------------------------------------------------------------------

    def maker(self, reference: Reference) -> Operation | None:
        made = self.trace[reference].operation
        return None if made is None else self.trace.operations[made]

    def is_weight(self, reference: Reference) -> bool:
        """A parameter, or computed from parameters alone."""
        return reference.value in self.learnt and reference.value not in self.given

    def is_reference(self, reference: Reference) -> bool:
        """Data that no weight had a part in: targets, or inputs that are to be reproduced."""
        return reference.value in self.given and reference.value not in self.learnt

    def is_prediction(self, reference: Reference) -> bool:
        return reference.value in self.learnt and reference.value in self.given

    def tensor(self, reference: Reference) -> Tensor:
        return self.trace.tensor(reference)

    def sources(self, reference: Reference) -> list[Reference]:
        """The values from which it was made."""
        made = self.maker(reference)
        previous = self.trace[reference].previous
        before = [Reference(previous)] if previous is not None else []
        return before if made is None else [*made.inputs(), *(one for one in before if one not in made.inputs())]

    def ancestors(self, reference: Reference) -> set[int]:
        waiting, known = [reference], set[int]()
        while waiting:
            one = waiting.pop()
            if one.value not in known:
                known.add(one.value)
                waiting += self.sources(one)
        return known

    def upward(self, reference: Reference, through: Iterable[str]) -> Iterator[tuple[Reference, Operation]]:
        """The chain of makers above a value, each with what it made: on as long as the names are among `through`, and one further.

        Where an operation takes several values, the chain follows the one that is computed from weights and data.
        """
        names = frozenset(through)
        for _ in range(64):
            made = self.maker(reference)
            if made is None:
                return
            yield reference, made
            if made.name not in names:
                return
            onward = [one for one in made.inputs() if self.is_prediction(one)]
            if len(set(onward)) != 1:
                return
            reference = onward[0]

    def origin(self, reference: Reference, through: Iterable[str] = RESHAPING) -> tuple[Reference, Operation | None]:
        """The value and operation behind reshaping."""
        return [(reference, None), *self.upward(reference, through)][-1]

    @cached_property
    def of_loss(self) -> set[int]:
        """Values on which the loss depends."""
        return self.ancestors(self.trace.loss) if self.trace.loss is not None else set()

    def waists(self) -> Iterator[tuple[Operation, int]]:
        """Operations through whose result alone the loss knows the inputs, in order, each with its entries per sample.

        Before the last layer: what comes after it are the scores. A value is alive until the last operation that uses it; where nothing
        else is alive, no other way leads past. One whole number can tell any number of classes: it is no waist.
        """
        inputs = {one.index for one in self.trace.values if one.leaf and one.kind == "input"}
        samples = next((len(one.tensor) for one in self.trace.values if one.index in inputs and one.tensor.dim()), 0)
        last = max((layer.operation.index for layer in self.layers), default=0)
        used = {value: max((o.index for o in users if self._matters(o)), default=-1) for value, users in self.users.items()}
        alive = {value for value in inputs if value in used}
        for operation in self.trace.operations[:last]:
            made = [
                one for one in operation.results()
                if self.trace[one].operation == operation.index and one.value in self.given and used.get(one.value, -1) > operation.index
            ]  # fmt: skip
            alive = {value for value in alive if used[value] > operation.index} | {one.value for one in made}
            if samples and made and alive == {one.value for one in made} and all(self.tensor(one).is_floating_point() for one in made):
                yield operation, sum(self.tensor(one).numel() for one in made) // samples

    def _matters(self, operation: Operation) -> bool:
        return any(one.value in self.of_loss for one in operation.results())

    # -- layers ---------------------------------------------------------------------------------------------------------------------------

    @cached_property
    def parameter_names(self) -> dict[int, str]:
        names: dict[int, str] = {}
        for name, reference in self.trace.parameters.items():
            names.setdefault(reference.value, name)
        return names

    def weights_of(self, reference: Reference) -> list[str]:
        """The parameters from which a weight is computed."""
        return [self.parameter_names[value] for value in sorted(self.ancestors(reference)) if value in self.parameter_names]

    @cached_property
    def layers(self) -> tuple[Layer, ...]:
        """Every call of an operation with weights on which the loss depends; one layer called twice is there twice."""
        found: list[Layer] = []
        places: dict[tuple[str, ...], int] = {}
        for operation in self.trace.operations:
            kind = _kind(operation.name)
            results = operation.results()
            if kind is None or not results or results[0].value not in self.of_loss:
                continue
            taken = [reference for reference in references((operation.args, operation.kwargs)) if self.tensor(reference).dim() > 0]
            weights = [reference for reference in taken if self.is_weight(reference) and self.tensor(reference).dim() >= 2]
            data = [reference for reference in taken if not self.is_weight(reference)]
            if not weights or not data:
                continue
            names = tuple(name for reference in weights for name in self.weights_of(reference))
            own = operation.module or (names[0].removesuffix(".weight") if names else "") or line_of(operation) or operation.name
            if names and not names[0].startswith(f"{operation.module}."):
                own = names[0].removesuffix(".weight")
            found.append(Layer(places.setdefault(names, len(places)), kind, own, names, operation, data[0], results[0]))
        return tuple(found)

    @cached_property
    def straight(self) -> tuple[tuple[Layer, Layer], ...]:
        """Pairs of layers with nothing but straight lines between: the second one's input is an affine function of the first one's output.

        A pair counts only where nothing else uses the first one's output, and where the second gets nothing that went through a curve.
        """
        made: dict[int, Layer] = {}
        state: dict[int, tuple[frozenset[int], bool]] = {}  # value -> layers since the last curve (by operation), something curved is in it
        at = {layer.operation.index: layer for layer in self.layers}
        pairs: list[tuple[Layer, Layer]] = []
        for operation in self.trace.operations:
            taken = [one for one in operation.inputs() if one.value in self.given]
            since = frozenset[int]().union(*(state.get(one.value, (frozenset(), False))[0] for one in taken))
            curved = any(state.get(one.value, (frozenset[int](), False))[1] for one in taken)
            layer = at.get(operation.index)
            if layer is not None and layer.kind in ("linear", "convolution"):
                entry = state.get(layer.data.value, (frozenset[int](), False))
                if not entry[1]:
                    pairs += [(made[index], layer) for index in entry[0]]
                made[operation.index] = layer
                after: tuple[frozenset[int], bool] = (frozenset({operation.index}), False)
            elif layer is not None and layer.kind == "embedding":
                after = (frozenset(), False)
            elif self.is_affine(operation):
                mixed = curved or self._meets_another_way(operation, taken, state)
                after = (frozenset() if mixed else since, mixed)
            else:
                after = (frozenset(), any(one.value in self.learnt for one in taken) or bool(taken))
            for reference in operation.results():
                if self.trace[reference].operation == operation.index:
                    state[reference.value] = after
        return tuple(pair for pair in pairs if self._only_into_layers(pair[0]))

    def _meets_another_way(self, operation: Operation, taken: list[Reference], state: Mapping[int, tuple[frozenset[int], bool]]) -> bool:
        """Whether a layer's output is joined with something that did not come through a layer just now, as in a residual sum.

        The data themselves may stand beside it, as in a recurrent network that reads its input and its last state together.
        """
        ways = [state.get(one.value, (frozenset[int](), False))[0] for one in taken]
        if all(ways) or not any(ways):
            return False
        beside = [one for one, way in zip(taken, ways, strict=True) if not way]
        return operation.name not in ("cat", "stack") or any(one.value in self.learnt for one in beside)

    def is_affine(self, operation: Operation) -> bool:
        """Whether the result is a straight-line function of the data it gets."""
        if operation.name == "leaky_relu":
            slope = operation.kwargs.get("negative_slope", operation.args[1] if len(operation.args) > 1 else 0.01)
            return slope == 1
        if operation.name not in AFFINE:
            return False
        taken = [one for one in operation.inputs() if one.value in self.given]
        if operation.name in ("mul", "div", "matmul", "bmm", "einsum", "lerp"):
            return len(taken) == 1 and (operation.name != "div" or operation.args[0] == taken[0])
        return True

    def _only_into_layers(self, layer: Layer) -> bool:
        """Whether the layer's output goes, on straight lines, into linear layers and nowhere else."""
        waiting, known = [layer.output.value], set[int]()
        indices = {one.operation.index: one for one in self.layers}
        while waiting:
            value = waiting.pop()
            if value in known:
                continue
            known.add(value)
            for operation in self.users.get(value, []):
                results = [one.value for one in operation.results() if self.trace[one].operation == operation.index]
                if not any(result in self.of_loss for result in results):
                    continue
                onward = indices.get(operation.index)
                if onward is not None and onward.kind in ("linear", "convolution"):
                    continue
                beside = [one for one in operation.inputs() if self.is_prediction(one) and one.value not in known]
                if operation.stage == "loss" or not self.is_affine(operation) or beside:  # beside: a way round, as in a residual sum
                    return False
                waiting += [result for result in results if result in self.of_loss]
        return True


def _kind(name: str) -> str | None:
    if name in WEIGHTED:
        return "convolution" if name.startswith("conv") else "linear"
    if name in RECURRENT:
        return "recurrent"
    if name in ATTENTION:
        return "attention"
    return "embedding" if name in LOOKUPS else None


def argument(operation: Operation, place: int, name: str, default: Any = None) -> Any:
    """An argument of the call, however it was given."""
    if name in operation.kwargs:
        return operation.kwargs[name]
    return operation.args[place] if place < len(operation.args) else default
