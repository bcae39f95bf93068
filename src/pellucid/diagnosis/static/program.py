"""What a program is before its first step: one traced pass of the first batch with its loss, and the facts that follow from it.

program = Program.of(experiment)
program.comparisons[0].kind, program.targets.kind, [layer.name for layer in program.layers]
"""

from __future__ import annotations

import copy
import math
import os
import sys
import time
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from pellucid.core.errors import TraceError
from pellucid.core.language import Text, text
from pellucid.core.trace import Operation, Trace, trace
from pellucid.core.trace.records import references, tensors
from pellucid.diagnosis.experiments.samples import called, device_of, evenly, mapped, on_device
from pellucid.diagnosis.experiments.unregistered import unregistered
from pellucid.diagnosis.static.comparisons import Comparison, comparisons_of
from pellucid.diagnosis.static.flow import Flow, Layer

if TYPE_CHECKING:
    from pellucid.diagnosis.experiments.experiment import Experiment

_TORCH = str(Path(torch.__file__).parent) + os.sep
_PELLUCID = str(Path(__file__).resolve().parents[1]) + os.sep
SAMPLES = 64  # of the first batch
TARGETS = 20_000  # samples whose targets are looked at
FETCHED = 2_000  # the same where each sample has to be fetched from a data set or a loader, in at most FETCHING_SECONDS
FETCHING_SECONDS = 0.5
LARGEST = 50_000_000  # weights: a copy of more is not made
OPERATIONS = 4_000  # of a pass that is made a second time


@dataclass(frozen=True)
class Targets:
    """What the network is to say, from the whole training part (or evenly chosen samples of it)."""

    kind: str = "other"  # "classes", "binary", "one_hot", "multi_hot", "probabilities", "bounded" (in [0, 1] or [-1, 1]), "values", "other"
    whole: bool = False  # of an integer type
    shape: tuple[int, ...] = ()  # of one sample's
    low: float = math.nan
    high: float = math.nan
    mean: float = math.nan
    std: float = math.nan
    distinct: int = 0  # different values; 0 where they are too many to count
    classes: int = 0  # highest class + 1, or the columns of one-hot rows
    counts: tuple[int, ...] = ()  # samples of each class
    integral: bool = False  # whole numbers, whatever the type
    samples: int = 0
    all: Tensor | None = field(default=None, repr=False, compare=False)


@dataclass(frozen=True, eq=False, kw_only=True)
class Program:
    """The facts. Where the pass could not be traced `traced` is False, the tuples are empty, and `notes` says why."""

    graph: Flow | None = None
    comparisons: tuple[Comparison, ...] = ()
    targets: Targets = field(default_factory=Targets)
    loss: float | None = None  # of the first batch, at the first weights
    samples: int = 0  # in that batch, as it was traced
    batch: int = 0  # samples in the whole of it
    gradients: Mapping[str, Tensor] = field(default_factory=dict)  # parameter -> gradient; those that get none are left out
    differentiable: bool = False  # whether the gradients could be computed
    trainable: frozenset[str] = frozenset()
    owned: frozenset[str] = frozenset()  # parameters that the optimizer has
    hidden: Mapping[str, Tensor] = field(default_factory=dict)  # path -> trainable tensor that is no parameter, and that no optimizer has
    same: frozenset[str] = frozenset()  # parameters that the factory gives the same values under another seed: loaded or set, not drawn
    optimizer: str = ""  # its class's name
    rate: float | None = None  # its first learning rate
    decay: float = 0.0  # its largest weight decay
    own_step: bool = False
    evaluates: bool = False  # the factory gives the model in evaluation mode
    step_modes: tuple[bool, ...] = ()  # of the user's own step: whether each pass with gradients ran in training mode
    depends_on_mode: tuple[str, ...] = ()  # modules that do something else in evaluation: dropout, batch normalisation
    growth: float | None = None  # loss of the batch twice in one over the loss of the batch
    batch_axes: Mapping[int, tuple[int, ...]] = field(default_factory=dict)  # value -> its axes that grow with the batch
    drops_in_evaluation: tuple[Operation, ...] = ()  # random operations that run in evaluation mode
    notes: tuple[Text, ...] = ()

    @classmethod
    def of(cls, experiment: Experiment, seed: int = 0) -> Program:
        """Trace the first batch (at most 64 samples) at the first weights. Nothing is raised: `notes` says what could not be seen."""
        with experiment.seeded(seed), torch.enable_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the training itself will say them
            try:
                return _seen(experiment, seed)
            except Exception as error:  # whatever the user's code raises
                return cls(notes=(text("the program could not be traced: {error}", error=_first_line(error)),))

    @property
    def layers(self) -> tuple[Layer, ...]:
        """Calls of operations with weights, in order."""
        return self.graph.layers if self.graph is not None else ()

    def targets_of(self, comparison: Comparison) -> Targets:
        """The kind of what a prediction is compared with."""
        return described_targets(self.wanted(comparison))

    @property
    def traced(self) -> bool:
        return self.graph is not None

    @property
    def flow(self) -> Flow:
        """What flows where; only of a program that was traced."""
        assert self.graph is not None
        return self.graph

    @property
    def trace(self) -> Trace:
        return self.flow.trace

    def wanted(self, comparison: Comparison) -> Tensor:
        """The values that a prediction is compared with: of the whole training part where the loss takes the targets as they are."""
        seen = self.flow.tensor(comparison.target)
        every = self.targets.all
        if every is None:
            return seen
        leaf = references(self.trace.targets)
        if len(leaf) != 1:
            return seen
        own = self.flow.tensor(leaf[0])
        if own.numel() == seen.numel() and torch.equal(own.reshape(-1).double(), seen.reshape(-1).double()):
            return every
        return seen


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0][:300]


def _seen(experiment: Experiment, seed: int) -> Program:
    model, optimizer = experiment.build(seed)
    names = named_parameters(model)
    owned = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
    facts: dict[str, Any] = {
        "trainable": frozenset(name for name, parameter in names.items() if parameter.requires_grad),
        "owned": frozenset(name for name, parameter in names.items() if id(parameter) in owned),
        "optimizer": type(optimizer).__name__,
        "rate": _number(optimizer.param_groups[0].get("lr")),
        "decay": max((_number(group.get("weight_decay")) or 0.0 for group in optimizer.param_groups), default=0.0),
        "own_step": experiment.step is not None,
        "evaluates": not model.training,
        "targets": targets_of(experiment),
        "depends_on_mode": tuple(path for path, module in model.named_modules() if _depends_on_mode(module)),
    }
    entries = sum(parameter.numel() for parameter in names.values())
    if entries > LARGEST:
        return Program(**facts, notes=(text("the model has {count} weights: no copy is made of so large a model", count=entries),))
    hidden = {path: tensor for path, tensor in unregistered(model).items() if id(tensor) not in owned}
    facts["same"] = _same(experiment, {**names, **hidden}, seed + 1)
    facts["hidden"] = {path: tensor.detach() for path, tensor in hidden.items()}
    faithful = True
    if experiment.step is not None:
        facts["step_modes"], faithful = _own_step(experiment, seed)
    batch = on_device(experiment.first_batch(seed), device_of(model))
    inputs, targets = _few(batch, SAMPLES)
    traced = trace(model, inputs, targets, experiment.loss, training=True, seed=seed)
    traced = _without_asker(traced)
    notes = list(traced.notes)
    if not faithful:
        notes.append(text("your step does something else than loss(model(inputs), targets): nothing is said about outputs and loss"))
    flow = Flow(traced)
    gradients: dict[str, Tensor] | None = {}
    try:
        found = traced.gradients(wanted=list(traced.parameters.values()))
        gradients = {
            name: found[reference].to_dense() if found[reference].is_sparse else found[reference]
            for name, reference in traced.parameters.items() if reference in found
        }  # fmt: skip
    except TraceError as error:
        gradients = None
        notes.append(text("the gradients could not be computed: {error}", error=_first_line(error)))
    size = _length(inputs, targets)
    few = len(traced.operations) <= OPERATIONS
    return Program(
        **facts,
        graph=flow,
        comparisons=comparisons_of(flow) if faithful else (),
        loss=float(traced.tensor(traced.loss)) if traced.loss is not None and faithful else None,
        samples=size,
        batch=_length(*batch),
        gradients=gradients or {},
        differentiable=gradients is not None,
        growth=_growth(model, experiment.loss, inputs, targets, seed) if few and faithful else None,
        batch_axes=_batch_axes(traced, model, experiment.loss, inputs, targets, size, seed) if few else {},
        drops_in_evaluation=_random_in_evaluation(model, inputs, seed) if few and names else (),
        notes=tuple(notes),
    )


def _without_asker(traced: Trace) -> Trace:
    """A loss of PyTorch's that is called by us has no line of the user's: the one that asked for the diagnosis is none."""
    frame = sys._getframe(1)
    while frame is not None and frame.f_code.co_filename.startswith((_TORCH, _PELLUCID)):
        frame = frame.f_back
    if frame is None:
        return traced
    asked = frame.f_code.co_filename, frame.f_lineno
    operations = tuple(
        replace(one, source=None) if one.source is not None and (one.source.file, one.source.line) == asked else one
        for one in traced.operations
    )
    return replace(traced, operations=operations)


def named_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """By the names that a trace gives them, which knows nothing of torch.compile's wrapper."""
    return {name.replace("_orig_mod.", ""): parameter for name, parameter in model.named_parameters()}


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, (int, float, Tensor)) else None


def _same(experiment: Experiment, names: Mapping[str, Tensor], seed: int) -> frozenset[str]:
    """Weights with the same values under another seed."""
    other, _ = experiment.build(seed)
    again = {**named_parameters(other), **unregistered(other)}
    return frozenset(
        name for name, parameter in names.items()
        if name in again and again[name].shape == parameter.shape and torch.equal(again[name].detach(), parameter.detach())
    )  # fmt: skip


def _depends_on_mode(module: nn.Module) -> bool:
    return isinstance(module, nn.modules.batchnorm._BatchNorm) or bool(
        isinstance(module, (nn.modules.dropout._DropoutNd, nn.RNNBase)) and getattr(module, "p", getattr(module, "dropout", 0.0))
    )


def _own_step(experiment: Experiment, seed: int) -> tuple[tuple[bool, ...], bool]:
    """One step of the user's own on a pair that is thrown away.

    In which mode the network's passes with gradients ran, and whether the loss got an answer of the network and the batch's targets just as
    they were, so that loss(model(inputs), targets) is what the step computes.
    """
    modes: list[bool] = []
    answers: list[Any] = []
    faithful: list[bool] = []

    def enter(module: nn.Module, _: Any) -> None:
        if torch.is_grad_enabled():
            modes.append(module.training)

    def leave(_module: nn.Module, _inputs: Any, answer: Any) -> None:
        answers.append(answer)

    def told(*given: Any, **named: Any) -> Any:
        targets = batch[1] if isinstance(batch, tuple) and len(batch) == 2 else None
        faithful.append(len(given) == 2 and any(given[0] is answer for answer in answers) and given[1] is targets)
        return experiment.loss(*given, **named)

    try:
        model, optimizer = experiment.build(seed)
        model.train()
        batch = on_device(experiment.first_batch(seed), device_of(model))
        handles = [model.register_forward_pre_hook(enter), model.register_forward_hook(leave)]
        assert experiment.step is not None
        experiment.step(model, optimizer, told, batch)
        for handle in handles:
            handle.remove()
    except Exception:  # what the step raises the training will show
        return (), False
    return tuple(modes), any(faithful)


def _length(*structures: Any) -> int:
    return next((int(tensor.shape[0]) for tensor in tensors(structures) if tensor.dim()), 0)


def _few(structure: Any, count: int) -> Any:
    """The first samples of every tensor that has them along its first dimension."""
    size = _length(structure)
    return mapped(lambda tensor: tensor[:count] if tensor.dim() and tensor.shape[0] == size else tensor, structure)


def _growth(model: nn.Module, loss: Any, inputs: Any, targets: Any, seed: int) -> float | None:
    """How the loss grows when every sample comes twice: 1 for a mean over samples, 2 for a sum over them."""
    size = _length(inputs, targets)

    def twice(structure: Any) -> Any:
        return mapped(lambda t: torch.cat([t, t]) if t.dim() and t.shape[0] == size else t, structure)

    try:
        values: list[float] = []
        for given, wanted in ((inputs, targets), (twice(inputs), twice(targets))):
            torch.manual_seed(seed)
            twin = copy.deepcopy(model).train()
            with torch.no_grad():
                values.append(float(loss(called(twin, given), wanted)))
    except Exception:  # a model with a fixed batch size, a loss with state, ...: then it stays unknown
        return None
    return values[1] / values[0] if values[0] and all(map(math.isfinite, values)) else None


def _batch_axes(traced: Trace, model: nn.Module, loss: Any, inputs: Any, targets: Any, batch: int, seed: int) -> dict[int, tuple[int, ...]]:
    """The axes that shrink when the batch has one sample less: a second pass with the same operations tells."""
    if batch < 3:
        return {}
    try:
        fewer = trace(model, _few(inputs, batch - 1), _few(targets, batch - 1), loss, training=True, seed=seed)
    except TraceError:
        return {}
    if len(fewer.values) != len(traced.values) or [one.name for one in fewer.operations] != [one.name for one in traced.operations]:
        return {}
    axes: dict[int, tuple[int, ...]] = {}
    for mine, other in zip(traced.values, fewer.values, strict=True):
        if mine.tensor.dim() == other.tensor.dim():
            axes[mine.index] = tuple(i for i, (a, b) in enumerate(zip(mine.tensor.shape, other.tensor.shape, strict=True)) if a != b)
    return axes


def _random_in_evaluation(model: nn.Module, inputs: Any, seed: int) -> tuple[Operation, ...]:
    """Dropout that runs although the model is in evaluation mode."""
    try:
        calm = trace(model, inputs, training=False, seed=seed)
    except TraceError:
        return ()
    return tuple(one for one in calm.operations if "dropout" in one.name and one.draws)


# -- targets -----------------------------------------------------------------------------------------------------------------------------


def targets_of(experiment: Experiment) -> Targets:
    """The kind of targets of the training part."""
    data = experiment.train
    if isinstance(data, tuple) and not experiment.prepared:
        every = data[1]
        if isinstance(every, Tensor) and len(every) > TARGETS:
            every = every[evenly(len(every), TARGETS)]
    else:
        every = _fetched(experiment)
    return described_targets(every) if isinstance(every, Tensor) else Targets()


def _fetched(experiment: Experiment) -> Any:
    """The targets of a data set or loader, as many as come in the time."""
    until = time.perf_counter() + FETCHING_SECONDS
    parts: list[Any] = []
    for _, targets in experiment.portions("train", FETCHED):
        parts.append(targets)
        if time.perf_counter() > until:
            break
    return torch.cat(parts) if all(isinstance(part, Tensor) for part in parts) else None


def described_targets(every: Tensor) -> Targets:
    """The kind of these targets, first dimension samples."""
    if not every.numel() or every.is_complex():
        return Targets()
    every = every.detach()
    values = every.double()
    finite = values[values.isfinite()]
    if not finite.numel():
        return Targets()
    whole = not every.is_floating_point()
    integral = bool((finite == finite.round()).all())
    low, high = float(finite.min()), float(finite.max())
    sample = finite if finite.numel() <= 200_000 else finite.reshape(-1)[:: finite.numel() // 200_000]
    distinct = len(torch.unique(sample))
    columns = every.shape[1] if every.dim() > 1 else 1
    rows = values.sum(1) if every.dim() == 2 and columns > 1 else None
    classes, counts = 0, ()
    if integral and low >= 0 and high <= 1 and rows is not None:
        exclusive = bool((rows == 1).all())
        kind, classes = ("one_hot" if exclusive else "multi_hot"), columns
        counts = tuple(int(count) for count in values.sum(0)) if exclusive else ()
    elif rows is not None and low >= 0 and high <= 1 and bool(((rows - 1).abs() < 1e-3).all()):
        kind, classes = "probabilities", columns
    elif integral and low >= 0 and high <= 1:
        kind, classes = "binary", 2
    elif integral and whole:
        kind, classes = "classes", int(high) + 1
    elif (low >= 0 and high <= 1) or (low >= -1 and high <= 1):
        kind = "bounded"
    else:
        kind = "values"
    if not counts and kind in ("binary", "classes") and low >= 0 and high < 10_000:
        counts = tuple(int(count) for count in torch.bincount(finite.long().reshape(-1), minlength=classes))
    return Targets(
        kind=kind, whole=whole, shape=tuple(every.shape[1:]), low=low, high=high, mean=float(finite.mean()),
        std=float(finite.std(unbiased=False)), distinct=distinct, classes=classes, counts=counts, integral=integral, samples=len(every),
        all=every,
    )  # fmt: skip
