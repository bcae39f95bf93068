"""From what a recorder holds to `Observations`: rows of looks, and the snapshot that symptoms read."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn

from pellucid.diagnosis.dynamic.observations import (
    BatchFacts,
    GradientFacts,
    GroupFacts,
    LayerSeries,
    Look,
    LossFacts,
    ModeFacts,
    Observations,
    OptimizerFacts,
    ParameterSeries,
    StaticFacts,
    TargetFacts,
    TimeFacts,
)
from pellucid.diagnosis.watch import look as looks
from pellucid.diagnosis.watch import nonfinite
from pellucid.diagnosis.watch.history import Row
from pellucid.diagnosis.watch.loss_graph import LossGraph
from pellucid.diagnosis.watch.ownership import OptimizerSeen
from pellucid.diagnosis.watch.statistics import Activation, column, finite

if TYPE_CHECKING:
    from pellucid.diagnosis.watch.recorder import Recorder

NAMES = 64  # in a list of parameters
LAYER_COLUMNS = (*Activation._fields, "gradient")
WEIGHT_COLUMNS = ("weight", "gradient", "update", "ratio", "gradient_zeros", "nonfinite", "alike")


class Memory:
    """What outlives single looks: per layer and unit the latest share of zeros and for how long the unit has been silent; and more."""

    def __init__(self) -> None:
        self.layers: dict[tuple[str, str], tuple[Any, ...]] = {}  # kind, rectifier, bounds, shape, units
        self.missing: dict[str, int] = {}  # looks at which a parameter had no gradient
        self.moved: set[str] = set()
        self.still: dict[str, int] = {}  # looks at which an update did not change a parameter
        self.zeros: dict[Any, list[float]] = {}
        self.silent: dict[Any, list[int]] = {}
        self.samples: dict[Any, list[int]] = {}

    def began(self, names: Iterable[str]) -> None:
        """An optimizer makes its first step: what it holds could not change before."""
        for name in names:
            self.still.pop(name, None)

    def add(self, key: Any, zeros: list[float], samples: int) -> None:
        before = self.silent.get(key, [])
        if len(before) != len(zeros):
            before = [0] * len(zeros)
            self.samples[key] = [0] * len(zeros)
        self.zeros[key] = zeros
        self.silent[key] = [count + 1 if share == 1 else 0 for share, count in zip(zeros, before, strict=True)]
        self.samples[key] = [seen + samples if share == 1 else 0 for share, seen in zip(zeros, self.samples[key], strict=True)]


# -- one look ----------------------------------------------------------------------------------------------------------------------------


def row(recorder: Recorder, look: looks.Look) -> Row:
    """Read the look and take it in."""
    if look.before:
        look.read_update()
    found = look.readings.fetch()
    samples = look.samples or 0
    layers: dict[Any, tuple[float | None, ...]] = {}
    for key, kind in look.kinds.items():
        gradient = found.get(("gradient", key))
        layers[key] = (*found[("layer", key)], None if gradient is None else gradient[0])
        shape = look.shapes[key]
        recorder.memory.add(key, found[("units", key)], look.measured[key] if shape else samples)
        recorder.memory.layers[key] = (*kind, shape, look.units[key])
    for key, values in found.items():
        if isinstance(key, tuple) and key[0] == "targets":
            recorder.targets.add(key[1], values, key[2])
    weights = {name: _weight(recorder, look, name, found) for name in look.read | look.before.keys()}
    for name in look.missing:
        recorder.memory.missing[name] = recorder.memory.missing.get(name, 0) + 1
    squares = [found[("g", name)][0] for name in look.counted if ("g", name) in found]
    raw = [norm for name, norm in zip(look.raw, found.get("raw", ()), strict=False) if name in look.counted or not look.counted]
    product, own, update = (found.get(name, [math.nan])[0] for name in ("gu", "gg", "uu"))
    spent = recorder.spent
    made = Row(
        look=Look(
            step=look.step,
            samples=look.samples,
            training=look.training,
            learning_rate=_rate(recorder),
            updated=look.updated,
            backwards=look.backwards,
            alarm=look.alarm,
            loss=finite(_loss_of(recorder, look.step)),
        ),
        layers=layers,
        weights=weights,
        norm=math.sqrt(sum(value * value for value in squares)) if squares else None,
        raw_norm=math.hypot(*raw) if raw else None,
        alignment=-product / math.sqrt(own * update) if own > 0 and update > 0 else None,
        step_seconds=spent.seconds / spent.steps if spent.steps else None,
        waiting_seconds=spent.waited / spent.waits if spent.waits else None,
    )
    spent.steps, spent.seconds, spent.waited, spent.waits = 0, 0.0, 0.0, 0
    _gradients_not_finite(recorder, look, made, found)
    look.batch = None
    return made


def _weight(recorder: Recorder, look: looks.Look, name: str, found: dict[Any, list[float]]) -> tuple[float | None, ...]:
    """The numbers of WEIGHT_COLUMNS for one parameter."""
    weight, gradient, update = (found.get((what, name), [None])[0] for what in ("w", "g", "u"))
    parameter, kept = recorder.ownership.parameters.get(name), look.before.get(name)
    if parameter is not None and kept is not None and kept.numel() and kept.numel() < parameter.numel():
        spread = math.sqrt(parameter.numel() / kept.numel())  # every n-th entry was kept
        weight, update = (None if value is None else value * spread for value in (weight, update))
    broken = 0.0
    for norm, tensor in ((weight, kept), (gradient, look.gradient.get(name))):
        if norm is not None and not math.isfinite(norm) and tensor is not None:
            broken = max(broken, 1 - float(tensor.isfinite().float().mean()))
    if look.updated and update is not None:
        if update > 0 or not math.isfinite(update):
            recorder.memory.moved.add(name)
        elif name in look.counted or name in look.missing or not recorder.ownership.owned(name):  # else another optimizer had its turn
            recorder.memory.still[name] = recorder.memory.still.get(name, 0) + 1
    ratio = update / weight if update is not None and weight else None
    return weight, gradient, update, ratio, found.get(("0", name), [None])[0], broken, found.get(("alike", name), [None])[0]


def _rate(recorder: Recorder) -> float | None:
    alive = recorder.ownership.alive()
    return finite(float(alive[0].param_groups[0]["lr"])) if alive else None


def _loss_of(recorder: Recorder, step: int) -> float | None:
    course = recorder.course
    course.take_in()
    for known, value in zip(reversed(course.steps), reversed(course.values), strict=True):
        if known == step:
            return value
    return None


def _gradients_not_finite(recorder: Recorder, look: looks.Look, made: Row, found: dict[Any, list[float]]) -> None:
    """A gradient that is not finite after a loss that was: it was born on the way back."""
    if recorder.nonfinite is not None or not look.updated or made.look.loss is None or recorder.loss_facts.factor > 1:
        return
    broken = [name for name in look.read if ("g", name) in found and not math.isfinite(found[("g", name)][0])]
    if not broken:
        return
    order = list(recorder.ownership.parameters)
    broken.sort(key=order.index)
    nan = any(math.isnan(found[("g", name)][0]) for name in broken)
    recorder.nonfinite = nonfinite.at_look(recorder, look, broken, nan)


# -- the loss ----------------------------------------------------------------------------------------------------------------------------


def loss_facts(graph: LossGraph, look: looks.Look) -> LossFacts:
    target = graph.target
    return LossFacts(
        kind=graph.kind,
        nodes=graph.nodes,
        several=max(graph.several, 1),
        summed=graph.summed,
        negated=graph.negated,
        factor=graph.factor,
        normalised=graph.normalised,
        bounded=graph.bounded,
        axis=graph.axis,
        broadcast=graph.broadcast,
        output_shape=graph.output_shape or (None if look.output is None else tuple(look.output.shape)),
        target_shape=None if target is None else tuple(target.shape),
    )


def targets_of(graph: LossGraph) -> tuple[str, Tensor] | None:
    """The targets that the loss's graph shows: "classes" or "values"."""
    target = graph.target
    if target is None or graph.targets is None:
        return None
    shape = graph.output_shape
    binary = graph.kind is not None and graph.kind.startswith("binary_cross_entropy") and shape is not None
    if binary and target.numel() == target.shape[0]:
        return "classes", target  # 0 or 1; soft targets would be read as whole numbers, and are values
    return graph.targets, target


# -- the snapshot ------------------------------------------------------------------------------------------------------------------------


def observations(recorder: Recorder) -> Observations:
    """Everything seen so far, as plain numbers."""
    rows = recorder.rows
    seen = recorder.ownership.seen
    trainable = [name for name, parameter in recorder.ownership.parameters.items() if parameter.requires_grad]
    owned, waiting = recorder.ownership.ever_owned(), recorder.ownership.waiting
    rates = recorder.rates.points
    return Observations(
        model=type(recorder.model).__name__,
        parameters=sum(parameter.numel() for parameter in recorder.ownership.parameters.values()),
        steps=recorder.step,
        samples=recorder.samples,
        looks=tuple(row.look for row in rows.rows),
        looks_made=rows.made,
        layers=_layers(recorder),
        weights=_weights(recorder),
        layers_left_out=recorder.layers.left_out,
        weights_left_out=len(recorder.ownership.parameters) - len(recorder.ownership.measured),
        optimizers=tuple(remember_optimizer(recorder, one) for one in seen),
        unowned=tuple(name for name in trainable if name not in owned and name not in waiting)[:NAMES] if seen else (),
        waiting=tuple(name for name in trainable if name not in owned and name in waiting)[:NAMES],
        loss=_loss(recorder),
        targets=TargetFacts(**recorder.targets.facts()),
        batches=recorder.order.facts() if recorder.forwards else BatchFacts(),
        modes=_modes(recorder),
        gradients=_gradients(recorder),
        nonfinite=recorder.nonfinite,
        static=recorder.static.facts if recorder.static is not None else StaticFacts(),
        time=_time(recorder),
        learning_rate_steps=tuple(step for step, _ in rates),
        learning_rates=tuple(values for _, values in rates),
        compiled=recorder.compiled,
        several_models=recorder.several_models,
        unseen=tuple(recorder.unseen()),
    )


def _layers(recorder: Recorder) -> tuple[LayerSeries, ...]:
    owners: dict[str, list[str]] = {}
    for name in recorder.ownership.parameters:
        owners.setdefault(name.rpartition(".")[0], []).append(name)
    series: list[LayerSeries] = []
    for key, (kind, rectifier, bounds, shape, units) in recorder.memory.layers.items():
        columns = recorder.rows.columns("layers", key, len(LAYER_COLUMNS))
        series.append(
            LayerSeries(
                path=key[0],
                kind=kind,
                side=key[1],
                shape=shape,
                units=units,
                parameters=tuple(owners.get(key[0], ())) if key[0] else (),
                rectifier=rectifier,
                bounds=bounds,
                unit_zeros=tuple(round(share, 4) for share in recorder.memory.zeros[key]),
                silent=tuple(recorder.memory.silent[key]),
                silent_samples=tuple(recorder.memory.samples[key]),
                **cast("dict[str, Any]", dict(zip(LAYER_COLUMNS, columns, strict=True))),
            )
        )
    return tuple(sorted(series, key=lambda layer: layer.path == ""))


def _weights(recorder: Recorder) -> tuple[ParameterSeries, ...]:
    series: list[ParameterSeries] = []
    for name, parameter in recorder.ownership.measured.items():
        columns = recorder.rows.columns("weights", name, len(WEIGHT_COLUMNS))
        changed = True if name in recorder.memory.moved else False if recorder.memory.still.get(name, 0) >= 2 else None
        series.append(
            ParameterSeries(
                name=name,
                layer=name.rpartition(".")[0],
                shape=tuple(parameter.shape),
                elements=parameter.numel(),
                trainable=parameter.requires_grad,
                owners=recorder.ownership.times_held.get(name, 0),
                also=tuple(recorder.ownership.aliases.get(name, ())),
                missing=recorder.memory.missing.get(name, 0),
                changed=changed,
                **cast("dict[str, Any]", dict(zip(WEIGHT_COLUMNS, columns, strict=True))),
            )
        )
    return tuple(series)


def remember_optimizer(recorder: Recorder, seen: OptimizerSeen) -> OptimizerFacts:
    """The optimizer as it is now, or as it last was."""
    optimizer = seen.optimizer()
    if optimizer is not None:
        seen.facts = _optimizer(recorder, seen, optimizer)
    facts = seen.facts or OptimizerFacts(kind="", given=seen.given)  # given, and gone before its first step
    return replace(facts, steps=seen.steps, began=seen.began, latest=seen.latest)


def _optimizer(recorder: Recorder, seen: OptimizerSeen, optimizer: torch.optim.Optimizer) -> OptimizerFacts:
    held = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    counts: dict[int, int] = {}
    for parameter in held:
        counts[id(parameter)] = counts.get(id(parameter), 0) + 1
    return OptimizerFacts(
        kind=type(optimizer).__name__,
        given=seen.given,
        groups=tuple(
            GroupFacts(
                learning_rate=finite(float(group["lr"])) if "lr" in group else None,
                parameters=len(group["params"]),
                settings={str(key): value for key, value in group.items() if key not in ("params", "lr") and _plain(value)},
            )
            for group in optimizer.param_groups[:16]
        ),
        steps=seen.steps,
        owned=len(seen.names),
        foreign=sum(id(parameter) not in recorder.ownership.names for parameter in held),
        repeated=tuple(name for identity, name in recorder.ownership.names.items() if counts.get(identity, 0) > 1)[:NAMES],
        maximize=any(bool(group.get("maximize")) for group in optimizer.param_groups),
    )


def _plain(value: Any) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, (tuple, list)):
        return len(value) <= 8 and all(_plain(item) for item in value)
    return value is None or isinstance(value, (bool, int, str))


def _loss(recorder: Recorder) -> LossFacts:
    facts, module = recorder.loss_facts, recorder.loss_module
    of_graph = ("kind", "nodes", "several", "summed", "negated", "factor", "normalised", "bounded", "axis", "broadcast")
    known = {name: getattr(facts, name) for name in of_graph}
    shapes = (facts.output_shape, facts.target_shape)
    evaluations: dict[str, Any] = {}
    if module is not None:
        shapes = module.shapes or shapes
        phases = list(module.phases)
        evaluations = {
            "evaluation_steps": tuple(step for step, _, _ in phases),
            "evaluation_values": column(value for _, value, _ in phases),
            "evaluation_samples": tuple(samples for _, _, samples in phases),
        }
    return LossFacts(
        **known,
        **recorder.course.facts(),
        **evaluations,
        attached=not (recorder.probe.misses >= 4 and recorder.backwards == 0),
        module=module.kind if module is not None else None,
        output_shape=shapes[0],
        target_shape=shapes[1],
    )


def _modes(recorder: Recorder) -> ModeFacts:
    dependent = {path: module for path, module in recorder.model.named_modules() if _depends_on_mode(module)}
    return ModeFacts(
        training_forwards=recorder.modes.training,
        training_in_eval=recorder.modes.training_in_eval,
        evaluation_forwards=recorder.modes.evaluation,
        evaluation_in_train=recorder.modes.evaluation_in_train,
        dependent=tuple(dependent)[:NAMES],
        frozen=tuple(path for path, module in dependent.items() if recorder.model.training and not module.training)[:NAMES],
    )


def _depends_on_mode(module: nn.Module) -> bool:
    if isinstance(module, nn.modules.dropout._DropoutNd):
        return module.p > 0
    if isinstance(module, nn.modules.batchnorm._NormBase):
        return module.track_running_stats
    dropout = getattr(module, "dropout", 0.0)
    return isinstance(module, (nn.RNNBase, nn.MultiheadAttention)) and isinstance(dropout, float) and dropout > 0


def _gradients(recorder: Recorder) -> GradientFacts:
    rows, probe = recorder.rows, recorder.probe
    several = [one.clearing for one in recorder.ownership.seen if one.clearing is not None]
    worst = max(several, key=lambda one: one.uncleared, default=None)
    if worst is not None and worst.uncleared <= probe.uncleared:
        worst = None
    return GradientFacts(
        norm=rows.of_rows("norm"),
        raw_norm=rows.of_rows("raw_norm"),
        alignment=rows.of_rows("alignment"),
        cosine=rows.of_rows("cosine"),
        backwards_per_step=round(recorder.backwards / recorder.step, 3) if recorder.step else 1.0,
        unused=recorder.unused(),
        others_stepped=recorder.step == 0 and recorder.ownership.foreign,
        intervals=probe.intervals if worst is None else worst.intervals,
        uncleared=probe.uncleared if worst is None else worst.uncleared,
        uncleared_at=None if worst is None else recorder.ownership.names.get(id(worst.parameter)),
        noise_scale=finite(recorder.noise.value),
        noise_scale_steps=tuple(step for step, _ in recorder.noise_points),
        noise_scale_values=column(value for _, value in recorder.noise_points),
        noise_pairs=recorder.noise.pairs,
    )


def _time(recorder: Recorder) -> TimeFacts:
    sampling, rows = recorder.sampling, recorder.rows
    return TimeFacts(
        step_seconds=rows.of_rows("step_seconds"),
        waiting_seconds=rows.of_rows("waiting_seconds"),
        evaluation_seconds=round(recorder.evaluation_seconds, 6),
        seconds=round(sampling.elapsed(), 6),
        overhead_seconds=round(sampling.own, 6),
        overhead=round(sampling.overhead(), 6),
        start_seconds=round(sampling.start, 6),
    )
