"""How single operations inside the model's pass and the loss are changed: which calls are meant, and what is done in their place.

Remedies act on the calls of torch functions, under a mode around the model's call in our own loop, and never on modules: a functional call
is changed as well as a module's. A call is addressed by its operation and its count among the calls of that operation in the pass, as a
trace of the first batch numbers them; a pass that makes them another number of times is refused, since the address would mean another call.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from pellucid.core.errors import TraceError
from pellucid.core.language import text
from pellucid.core.trace import Operation, Trace, trace
from pellucid.core.trace.model import run_eagerly
from pellucid.core.trace.names import TENSOR_ATTRIBUTES, attribute, operation_name, spelling
from pellucid.core.trace.records import references
from pellucid.diagnosis.experiments.experiment import Experiment, first_tensor, mapped
from pellucid.diagnosis.experiments.samples import device_of, on_device
from pellucid.diagnosis.remedies import cannot
from pellucid.diagnosis.remedies.losses import with_loss
from pellucid.diagnosis.static.comparisons import HARMLESS, comparisons_of
from pellucid.diagnosis.static.flow import Flow

TRACED = 64  # samples of the first batch
# What may stand at the end of a network and be left out.
ENDS = frozenset({
    "softmax", "log_softmax", "softmin", "sigmoid", "logsigmoid", "tanh", "relu", "relu6", "leaky_relu", "elu", "selu", "celu", "gelu",
    "silu", "mish", "softplus", "softsign", "hardtanh", "hardsigmoid", "hardswish", "threshold", "prelu", "rrelu",
})  # fmt: skip


@dataclass(frozen=True)
class Address:
    """The `count`-th call (from 0) of an operation in a stage of the pass, "forward" or "loss"."""

    stage: str
    name: str
    count: int


@dataclass(frozen=True)
class Call:
    """A call that the program makes."""

    address: Address
    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]

    def made(self) -> Any:
        return self.function(*self.args, **self.kwargs)

    @property
    def given(self) -> Tensor:
        """The tensor that it acts on."""
        return self.args[0] if self.args else self.kwargs["input"]

    def instead(self, function: Callable[[Tensor], Tensor]) -> Tensor:
        """Another function of the same tensor; written into it where the program's call would be."""
        if bool(self.kwargs.get("inplace")) or (spelling(self.function).endswith("_") and not spelling(self.function).endswith("__")):
            return self.given.copy_(function(self.given.clone()))
        return function(self.given)


Rewrite = Callable[[Call], Any]


@dataclass(frozen=True)
class Rewiring:
    """What is done to which calls."""

    kind: str
    rewrite: Rewrite
    addresses: frozenset[Address] = frozenset()
    names: frozenset[str] = frozenset()  # every call of these operations, in both stages
    calls: Mapping[tuple[str, str], int] | None = None  # how often a pass makes the addressed operations: (stage, name) -> count

    def concerns(self, address: Address) -> bool:
        return address.name in self.names or address in self.addresses

    @property
    def stages(self) -> frozenset[str]:
        return frozenset({"forward", "loss"}) if self.names else frozenset(address.stage for address in self.addresses)


class _Calls(TorchFunctionMode):
    """Hands the calls of one stage that are concerned to a rewriting; inner calls of torch functions are inside and not seen."""

    def __init__(self, rewiring: Rewiring, stage: str) -> None:
        super().__init__()
        self.rewiring, self.stage, self.counts = rewiring, stage, Counter[str]()

    def __torch_function__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None) -> Any:
        kwargs = kwargs or {}
        if torch._C._are_functorch_transforms_active():
            return func(*args, **kwargs)
        read = attribute(func)
        if read is not None and read not in TENSOR_ATTRIBUTES:
            return func(*args, **kwargs)
        name = operation_name(func)
        address = Address(self.stage, name, self.counts[name])
        self.counts[name] += 1
        if not self.rewiring.concerns(address):
            return func(*args, **kwargs)
        return self.rewiring.rewrite(Call(address, func, args, kwargs))

    def checked(self) -> None:
        """Raise where the pass made another number of calls than the one in which the addresses were found."""
        for (stage, name), wanted in (self.rewiring.calls or {}).items():
            if stage == self.stage and self.counts[name] != wanted:
                raise cannot(
                    self.rewiring.kind,
                    text("one pass calls {name} {count} times, another {wanted} times", name=name, count=self.counts[name], wanted=wanted),
                )


@contextmanager
def under(rewiring: Rewiring, stage: str) -> Generator[None]:
    calls = _Calls(rewiring, stage)
    with run_eagerly(), calls:
        yield
    calls.checked()


def rewired(experiment: Experiment, rewiring: Rewiring) -> Experiment:
    """The experiment with calls changed in each pass of the model, and in the loss where it is concerned."""
    changed = experiment
    if "forward" in rewiring.stages:
        changed = around_the_model(changed, rewiring.kind, lambda: under(rewiring, "forward"))
    if "loss" in rewiring.stages:
        given = experiment.loss

        def loss(outputs: Any, targets: Any) -> Any:
            with under(rewiring, "loss"):
                return given(outputs, targets)

        changed = with_loss(changed, loss)
    return changed


class _Around:
    """A fresh model's own forward inside a context, its answer passed through `answer`.

    Set on the model itself and no hooks: a hook that leaves the context does not run when Ctrl-C or another thread stops a pass. A copy of
    the model has a copy of this, bound to it.
    """

    def __init__(self, model: nn.Module, context: Callable[[], Any], answer: Callable[[Any], Any] | None) -> None:
        self.forward, self.context, self.answer = model.forward, context, answer

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        with self.context():
            outputs = self.forward(*args, **kwargs)
        return outputs if self.answer is None else self.answer(outputs)


def around_the_model(
    experiment: Experiment, kind: str, context: Callable[[], Any], answer: Callable[[Any], Any] | None = None
) -> Experiment:
    """Each call of a fresh model runs inside `context()`, and its answer is passed through `answer`."""
    factory = experiment.model
    entered: list[bool] = []

    @contextmanager
    def counted() -> Generator[None]:
        entered.append(True)
        with context():
            yield

    def fresh() -> nn.Module:
        model = factory()
        model.forward = _Around(model, counted, answer)
        return model

    changed = experiment.changed(model=fresh)
    if experiment.step is not None:  # their step may call parts of the model, past its forward
        with changed.seeded(0):
            model, optimizer = changed.build(0)
            entered.clear()
            experiment.step(model.train(), optimizer, experiment.loss, on_device(changed.first_batch(), device_of(model)))
        if not entered:
            raise cannot(kind, text("your step calls parts of the model, not model(inputs)"))
    return changed


# -- where -------------------------------------------------------------------------------------------------------------------------------


def traced(experiment: Experiment, kind: str, training: bool = True) -> Trace:
    """One pass of the first batch, as `position` counts it; without the loss in evaluation mode, or where the loss cannot be traced."""
    with experiment.seeded(0):
        model, _ = experiment.build(0)
        batch = on_device(experiment.first_batch(), device_of(model))
        size = len(first_tensor(batch[1])) if first_tensor(batch[1]).dim() else 0
        inputs, targets = mapped(lambda t: t[:TRACED] if t.dim() and len(t) == size else t, batch)
        try:
            return trace(model, inputs, targets if training else None, experiment.loss if training else None, training=training, seed=0)
        except TraceError as error:
            try:
                return trace(model, inputs, training=training, seed=0)
            except TraceError:
                raise cannot(kind, str(error.got)) from error


def address_of(seen: Trace, operation: Operation) -> Address:
    """How an operation of a trace is found again in another pass."""
    before = seen.operations[: operation.index]
    return Address(
        operation.stage,
        operation.name,
        sum(one.name == operation.name and one.stage == operation.stage and one.level == "function" for one in before),
    )


def at(experiment: Experiment, kind: str, seen: Trace, operations: Iterable[Operation], rewrite: Rewrite) -> Experiment:
    """The calls of these operations rewritten, after seeing that the evaluation pass makes as many of them."""
    several = list(operations)
    hidden = next((one for one in several if one.level != "function"), None)
    if hidden is not None:
        raise cannot(kind, text("{name} is no call of a torch function", name=hidden.name))
    addresses = frozenset(address_of(seen, one) for one in several)
    calls = {(a.stage, a.name): _times(seen, a.stage, a.name) for a in addresses}
    calm = traced(experiment, kind, training=False)
    for (stage, name), count in calls.items():
        if stage == "forward" and _times(calm, stage, name) != count:
            raise cannot(kind, text("the model calls {name} another number of times in evaluation mode", name=name))
    return rewired(experiment, Rewiring(kind=kind, rewrite=rewrite, addresses=addresses, calls=calls))


def _times(seen: Trace, stage: str, name: str) -> int:
    return sum(one.name == name and one.stage == stage and one.level == "function" for one in seen.operations)


def positioned(seen: Trace, kind: str, position: Any) -> list[Operation]:
    """The operations that `position` names: one index or several."""
    indices = [int(one) for one in (position if isinstance(position, (list, tuple)) else [position])]
    for index in indices:
        if not 0 <= index < len(seen.operations):
            raise cannot(kind, text("there is no operation {index}: the pass has {count}", index=index, count=len(seen.operations)))
    return [seen.operations[index] for index in indices]


def last_activation(seen: Trace) -> Operation | None:
    """The activation through which the prediction came last on its way to the loss, past reshaping; None where a layer comes first."""
    flow = Flow(seen)
    ends = [comparison.prediction for comparison in comparisons_of(flow)] if seen.loss is not None else []
    for reference in (*ends, *references(seen.outputs)):
        for _, made in flow.upward(reference, HARMLESS):
            if made.name in ENDS:
                return made
    return None
