"""What was seen of a training loop while it ran: the evidence that symptoms of training read.

`Observations` is a snapshot: plain numbers, bounded in size whatever the length of the training, and JSON through `to_dict`. The columns
of layers, parameters and gradients have one entry per look, in the order of `looks`. An entry is None where it was not measured, or
where the measured value is not a finite number (then `nonfinite` of that look is above 0).

    @symptom("dead_relu", reads=Observations)
    def dead_relu(seen: Observations) -> list[Finding]:
        for layer in seen.layers: ...

A look is one training step that was watched closely; other steps leave only their loss, fingerprint, learning rate and duration.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from pellucid.core.language import Text
from pellucid.core.records import Record

Column = tuple[float | None, ...]  # one entry per look


def _mapping() -> Mapping[str, Any]:
    return cast("dict[str, Any]", {})


@dataclass(frozen=True, kw_only=True)
class Look(Record):
    """One step that was watched closely."""

    step: int  # updates made before it: the first step of a training is 0
    loss: float | None = None  # of this step, as `loss.values`
    samples: int | None = None  # the batch size N
    training: bool | None = None  # the model's mode during the forward pass
    learning_rate: float | None = None  # of the first group
    updated: bool = True  # False: the gradient was computed and no update followed (a scaler skipped it, or the loop ended)
    backwards: int = 1  # backward passes before the update
    alarm: bool = False  # looked because something seemed wrong, not because it was due


@dataclass(frozen=True, kw_only=True)
class LayerSeries(Record):
    """The activations of one module over the looks, and the gradient of the loss with respect to them.

    side "output": what the module gave. side "input": what the module took, where no other watched module gave it: the output of a
    functional call before it, so that `F.relu(self.fc1(x))` is seen at the input of fc2; `kind` is then that operation's name.
    A unit is a channel of (N, C, ...) activations of convolutions and the like, else an entry of the last dimension.
    """

    path: str  # of the module: "features.0"; "" is the whole model
    kind: str  # "Linear", "ReLU"; for an input the operation that made it: "relu", "add"; "" where that is not known
    side: str = "output"
    shape: tuple[int, ...] = ()  # of the latest look, N included
    units: int = 0
    parameters: tuple[str, ...] = ()  # names of the module's own parameters
    rectifier: bool = False  # its values are those of a ReLU or a relative of it: zero means off
    bounds: tuple[float | None, float | None] | None = (
        None  # of the activation function where it saturates: (-1, 1) for tanh, (0, 1) for sigmoid
    )
    mean: Column = ()
    std: Column = ()
    low: Column = ()
    high: Column = ()
    sample_std: Column = ()  # root mean square over units of the deviation across the samples: 0 where all samples give the same
    zeros: Column = ()  # share of entries that are exactly 0
    dead: Column = ()  # share of units that are 0 for every sample and position of the look
    saturated: Column = ()  # share of entries within 1 % of the range from a bound; None without bounds
    nonfinite: Column = ()  # share of entries that are NaN or infinite
    gradient: Column = ()  # norm of the gradient with respect to the activations, over sqrt(number of entries)
    unit_zeros: tuple[float, ...] = ()  # latest look, per unit: share of zeros; at most 256 units, evenly chosen
    silent: tuple[int, ...] = ()  # the same units: for how many looks in a row the unit was 0 throughout
    silent_samples: tuple[int, ...] = ()  # the same units: samples seen in those looks

    def size(self, place: int) -> float | None:
        """Root mean square of the activations at a look."""
        mean, std = (column[place] if place < len(column) else None for column in (self.mean, self.std))
        return None if mean is None or std is None else math.hypot(mean, std)

    def spreads(self) -> list[float]:
        """Of the looks that have it: the deviation across samples over the size of the activations, 0 where all samples give the same."""
        sized = [(across, self.size(place)) for place, across in enumerate(self.sample_std)]
        return [across / max(size, 1e-30) for across, size in sized if across is not None and size is not None]


@dataclass(frozen=True, kw_only=True)
class ParameterSeries(Record):
    """One parameter tensor over the looks. Norms are Euclidean over all entries."""

    name: str
    layer: str = ""  # path of the module that owns it
    shape: tuple[int, ...] = ()
    elements: int = 0
    trainable: bool = True  # requires_grad
    owners: int = 0  # optimizers and groups that hold it: 0 nobody updates it, 2 it is updated twice
    also: tuple[str, ...] = ()  # further names of the same tensor (tied weights)
    weight: Column = ()  # norm before the update
    gradient: Column = ()  # norm of what the optimizer gets: summed over backwards, unscaled, clipped; None where .grad is None
    update: Column = ()  # norm of the change that the update made
    ratio: Column = ()  # update / weight
    gradient_zeros: Column = ()  # share of the gradient's entries that are exactly 0
    nonfinite: Column = ()  # share of weights and gradient entries that are NaN or infinite
    alike: Column = ()  # largest difference between the units' weights over the largest weight: 0 where all are one; early looks only
    missing: int = 0  # looks at which .grad was None although the parameter is trainable
    changed: bool | None = None  # has it changed since watching began? None: too early to say


@dataclass(frozen=True, kw_only=True)
class GroupFacts(Record):
    """One parameter group of an optimizer, as it is now."""

    learning_rate: float | None = None
    parameters: int = 0  # tensors
    settings: Mapping[str, Any] = field(default_factory=_mapping)  # momentum, betas, weight_decay, maximize, ...: plain values


@dataclass(frozen=True, kw_only=True)
class OptimizerFacts(Record):
    """One optimizer that holds parameters of the model."""

    kind: str  # class name: "SGD", "AdamW"
    given: bool = False  # named in watch(); False: met when it made a step
    groups: tuple[GroupFacts, ...] = ()
    steps: int = 0  # made while watched
    began: int | None = None  # updates of the model before its first step
    latest: int | None = None  # and before its latest
    owned: int = 0  # parameter tensors of the model that it holds
    foreign: int = 0  # parameter tensors it holds that are not the model's
    repeated: tuple[str, ...] = ()  # names that it holds more than once
    maximize: bool = False


@dataclass(frozen=True, kw_only=True)
class LossFacts(Record):
    """The loss: its values, and what its graph shows.

    `steps` and `values` are the latest (at most 512) single steps. `trend_*` covers the whole training: means over blocks of
    `trend_width` steps. Where a scaler or accumulation multiplies the loss, values are those before the factor.
    """

    steps: tuple[int, ...] = ()  # updates made before the backward pass
    values: Column = ()  # None: not finite, or overwritten before it was read
    trend_step: tuple[float, ...] = ()  # middle of the block
    trend_mean: Column = ()
    trend_std: Column = ()  # scatter of single steps within the block
    trend_low: Column = ()
    trend_high: Column = ()
    trend_width: int = 1  # steps in a block
    first: float | None = None  # of the first step
    noise: float | None = None  # standard deviation of one step's loss around its course, over `values`
    nonfinite: int = 0  # steps with a loss that is not finite
    # from the graph at a look
    kind: str | None = None  # "cross_entropy", "nll_loss", "mse_loss", "binary_cross_entropy_with_logits", "l1_loss", ...; None unknown
    nodes: tuple[str, ...] = ()  # names of the graph's nodes from the loss upwards, at most 24
    several: int = 1  # terms of known loss kinds that are added up
    summed: bool = False  # over the samples of a batch rather than averaged
    negated: bool = False  # what is differentiated is minus a known loss
    factor: float = 1.0  # what multiplied the loss: a scaler's scale, 1 / accumulation
    attached: bool = True  # False: the loss reaches no parameter of the model
    module: str | None = None  # class of the loss given to watch()
    normalised: str | None = (
        None  # "softmax", "log_softmax" or "sigmoid" where the model's outputs already passed it before a loss that applies it itself
    )
    bounded: str | None = None  # "relu", "sigmoid" or "tanh" where what the loss compares comes right out of one
    axis: int | None = None  # along which a softmax gave the probabilities of nll_loss, where that is not the classes' axis
    broadcast: tuple[tuple[int, ...], tuple[int, ...]] | None = (
        None  # shapes (smaller, result) where a loss term was spread over another: (32, 1) - (32,)
    )
    output_shape: tuple[int, ...] | None = None  # what the loss compares
    target_shape: tuple[int, ...] | None = None
    # evaluation: only where the loss is known as a module
    evaluation_steps: tuple[int, ...] = ()  # updates made before each evaluation phase
    evaluation_values: Column = ()  # mean loss over the phase's samples
    evaluation_samples: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True)
class TargetFacts(Record):
    """The targets that the loss saw. `seen` is None where its graph does not show them: then nothing may be concluded."""

    seen: str | None = None  # "classes", "values" or None
    batches: int = 0  # looked at
    samples: int = 0
    classes: Mapping[str, int] = field(default_factory=_mapping)  # class -> how often; at most 1000 classes
    mean: float | None = None
    std: float | None = None
    low: float | None = None
    high: float | None = None
    beyond: Mapping[str, float] = field(default_factory=_mapping)  # "relu", "sigmoid", "tanh" -> mean square of what is out of its reach
    neighbours: int = 0  # pairs of successive samples within the batches that were looked at
    equal_neighbours: int = 0  # of which with the same class
    expected_equal: float | None = None  # of which expected if the order were random, given all classes seen
    single_class_batches: int = 0  # batches of more than one sample with one class only


@dataclass(frozen=True, kw_only=True)
class BatchFacts(Record):
    """Which batches came in which order, from a fingerprint of each batch's inputs (or of its targets, which augmentation leaves alone)."""

    steps: int = 0  # batches that were fingerprinted without a gap, from the first
    of: str | None = None  # "inputs" or "targets"; None: no fingerprint could be taken
    size: int | None = None  # the usual batch size
    sizes: Mapping[str, int] = field(default_factory=_mapping)  # batch size -> how often; at most 16 sizes
    period: int | None = None  # after so many steps the same batches came again in the same order
    repeats: int = 0  # steps whose batch equalled the one a period before, in a row, up to the latest
    distinct: int = 0  # different batches among those fingerprinted
    epoch: int | None = None  # steps between evaluations or odd last batches, where these show an epoch's length
    complete: bool = True  # False: fingerprints ended early (they cost too much here)


@dataclass(frozen=True, kw_only=True)
class ModeFacts(Record):
    """train() and eval(), as found at each forward pass of the model."""

    training_forwards: int = 0  # with gradients
    training_in_eval: int = 0  # of which in evaluation mode, and a backward pass followed
    evaluation_forwards: int = 0  # without gradients
    evaluation_in_train: int = 0  # of which in training mode
    dependent: tuple[str, ...] = ()  # paths of modules whose answer depends on the mode: dropout, batch normalisation
    frozen: tuple[str, ...] = ()  # of these, in evaluation mode while the model was in training mode


@dataclass(frozen=True, kw_only=True)
class GradientFacts(Record):
    """The whole gradient (all trainable parameters as one vector g), the update u, and how gradients are cleared."""

    norm: Column = ()  # |g|, what the optimizer gets
    raw_norm: Column = ()  # |g| right after the last backward pass: above `norm` where the loop clips (or a scaler unscales)
    alignment: Column = ()  # cosine between the update u and -g: clearly below 0 where the update climbs
    cosine: Column = ()  # cosine between the gradients of this step and the step before, where the two followed each other
    backwards_per_step: float = 1.0
    unused: int = 0  # backward passes that brought gradients, where no update was ever made
    others_stepped: bool = False  # meanwhile optimizers made steps that hold none of this model's parameters
    intervals: int = 0  # stretches from one update to the next that were checked for cleared gradients
    uncleared: int = 0  # of which the gradient of the step before was never cleared, so that the update used it again
    uncleared_at: str | None = None  # a parameter of the optimizer of which that holds, where there are several
    noise_scale: float | None = None  # B_simple = tr(S) / |G|^2, in samples; None: not enough pairs, or lost in noise
    noise_scale_steps: tuple[int, ...] = ()
    noise_scale_values: Column = ()  # the running estimate
    noise_pairs: int = 0


@dataclass(frozen=True, kw_only=True)
class NonFinite(Record):
    """Where NaN or infinity was first seen."""

    step: int
    since: int | None = None  # the latest step at which the same thing was still finite; None: never seen finite
    where: str = "loss"  # "input", "targets", "weights", "forward", "loss", "backward"
    kind: str = "nan"  # "nan" or "inf"
    path: str | None = None  # module, or parameter
    operation: str | None = None  # traced operation ("log") or graph node ("SqrtBackward0") that gave it from finite values
    source: str | None = None  # line of the user's program
    detail: str | None = None  # "ignored": all labels are left out; "empty": a mean over nothing; "masked": a label's score is -inf;
    # "unused": a derivative of values that torch.where or a mask had left out
    paths: tuple[str, ...] = ()  # everything that was not finite then, in order; at most 32


@dataclass(frozen=True, kw_only=True)
class OperationFact(Record):
    """One tensor operation of the static look."""

    name: str  # "linear", "relu", "softmax"
    module: str = ""
    source: str | None = None  # "train.py:31"
    shape: tuple[int, ...] = ()  # of its first result
    feeds: tuple[int, ...] = ()  # positions of the operations that take its results
    nonfinite: bool = False  # its result was not finite in the static look


@dataclass(frozen=True, kw_only=True)
class StaticFacts(Record):
    """One pass over the first batch, on a copy of the model, operation by operation. `made` is False where that was not possible."""

    made: bool = False
    operations: tuple[OperationFact, ...] = ()  # at most 400
    total: int = 0
    unreached: tuple[str, ...] = ()  # trainable parameters on which the model's output does not depend
    output_shapes: tuple[tuple[int, ...], ...] = ()
    notes: tuple[Text, ...] = ()


@dataclass(frozen=True, kw_only=True)
class TimeFacts(Record):
    """Where the time goes, measured on the host; means over blocks of steps, one entry per look."""

    step_seconds: Column = ()  # from one update to the next since the look before, our own share taken off
    waiting_seconds: Column = ()  # of which between an update and the next forward pass: loading data and the like
    evaluation_seconds: float = 0.0
    seconds: float = 0.0  # watched so far
    overhead_seconds: float = 0.0  # of which our own
    overhead: float = 0.0  # our own share of the time without us, watching as a whole
    start_seconds: float = 0.0  # of our own: once, the static look


@dataclass(frozen=True, kw_only=True)
class Observations(Record):
    """Everything that was seen. `steps` counts updates; without an optimizer, backward passes."""

    model: str = ""  # class name
    parameters: int = 0  # elements
    steps: int = 0
    samples: int = 0  # inputs seen in training forwards
    looks: tuple[Look, ...] = ()  # at most 64: thinned out evenly, the newest kept
    looks_made: int = 0  # thinned ones counted
    layers: tuple[LayerSeries, ...] = ()  # in the order of the forward pass; the model's output (path "") last
    weights: tuple[ParameterSeries, ...] = ()  # in the model's order
    layers_left_out: int = 0
    weights_left_out: int = 0
    optimizers: tuple[OptimizerFacts, ...] = ()
    unowned: tuple[str, ...] = ()  # trainable parameters that no optimizer holds
    waiting: tuple[str, ...] = ()  # trainable parameters held only by optimizers that have made no step yet
    loss: LossFacts = field(default_factory=LossFacts)
    targets: TargetFacts = field(default_factory=TargetFacts)
    batches: BatchFacts = field(default_factory=BatchFacts)
    modes: ModeFacts = field(default_factory=ModeFacts)
    gradients: GradientFacts = field(default_factory=GradientFacts)
    nonfinite: NonFinite | None = None
    static: StaticFacts = field(default_factory=StaticFacts)
    time: TimeFacts = field(default_factory=TimeFacts)
    learning_rate_steps: tuple[int, ...] = ()  # at most 256 points, whenever the rate changed, thinned evenly
    learning_rates: tuple[tuple[float, ...], ...] = ()  # at each point, per group
    compiled: bool = False  # the model runs through torch.compile: what happens inside is not seen
    several_models: bool = False  # the loss also reaches parameters outside this model (a GAN, a frozen critic)
    unseen: tuple[Text, ...] = ()  # what could not be seen, and why

    def layer(self, path: str, side: str = "output") -> LayerSeries | None:
        return next((layer for layer in self.layers if layer.path == path and layer.side == side), None)

    def weight(self, name: str) -> ParameterSeries | None:
        return next((parameter for parameter in self.weights if parameter.name == name or name in parameter.also), None)

    def steps_of_looks(self) -> tuple[int, ...]:
        return tuple(look.step for look in self.looks)

    def source_of(self, path: str, operation: str | None = None) -> str | None:
        """The user's line that calls (an operation in) this module, from the static look."""
        for fact in self.static.operations:
            inside = fact.module == path or fact.module.startswith(f"{path}.")
            if inside and (operation is None or fact.name == operation) and fact.source is not None:
                return fact.source
        return None
