"""What one batch tells: whether it can be learnt by heart, whether its gradient is right, and whether its samples depend on each other."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from pellucid.core.errors import TraceError
from pellucid.core.language import Text, text
from pellucid.core.records import Change
from pellucid.core.trace import Operation
from pellucid.diagnosis.controlled.one_pass import few_of, flow_of
from pellucid.diagnosis.controlled.suspects import learning_rate
from pellucid.diagnosis.experiments.experiment import Experiment
from pellucid.diagnosis.experiments.loop import number_of, plain_step, seed_all
from pellucid.diagnosis.experiments.samples import Batch, called, device_of, first_tensor, mapped, on_device
from pellucid.diagnosis.remedies import apply

BY_HEART = 16  # samples
UPDATES = 200
ADAM_RATES = (1e-3, 1e-2, 1e-1)  # the default, and steps by which saturated units and small batches get there within UPDATES
LARGEST_COPY = 20_000_000  # weights: larger networks are not copied into float64
FACTORS = (10.0, 100.0, 1000.0)  # times the user's rate: a range test on one batch (L. Smith, Cyclical learning rates, 2017, section 3.3)
GONE, LEFT = 0.5, 0.1  # of the first loss: a rate that takes so much of it away moves; one that leaves so little has learnt it
DIRECTIONS = 2
ROUNDING = 16 * 2.0**-52  # of a loss in float64, a mean of many numbers
WIDER = 8.0  # times the step of a central difference, by which it is checked
LONG = 8  # steps of a sequence before a gradient can fade through them
RELATIVE = 0.01  # by which slope and gradient may differ in float64: truncation and rounding cost less than 1e-4


@dataclass(frozen=True, kw_only=True)
class BatchChecks:
    """None where a check was not possible; `notes` say why."""

    first_loss: float | None = None  # of the batch that is to be learnt by heart
    last_loss: float | None = None  # the lowest that UPDATES updates on it reached
    adam_loss: float | None = None  # the same under Adam with the best of ADAM_RATES, where the user's optimizer did not get there
    quicker: float | None = None  # times the learning rate, by which the user's optimizer learns a batch that it else does not
    constant_loss: float | None = None  # what the same number of updates reach when all inputs are one and the same
    wrong_gradient: tuple[str, ...] = ()  # parameters whose gradient is not the slope of the loss
    gradient_error: float | None = None  # the largest relative difference of slope and gradient
    surrogate: bool = False  # the loss is flat where a gradient is promised: a straight-through estimator, on purpose
    stopped: bool = False  # the user's own detach() is between the loss and all of these parameters
    apart: float | None = None  # the outputs' spread over samples that differ, over their size: the larger of before and after learning
    faded: float | None = None  # gradient of the loss at one end of the sequences over that at the other
    drawn: float | None = None  # change of outputs in evaluation mode from one pass to the next, over the outputs' size
    dependence: float | None = None  # change of a sample's output when the other samples change, over the output's size
    notes: tuple[Text, ...] = ()

    @property
    def by_heart(self) -> float | None:
        """The share of the loss that went, of what a constant answer leaves; None where that is not known."""
        if self.first_loss is None or self.last_loss is None:
            return None
        start = self.first_loss if self.constant_loss is None else min(self.first_loss, self.constant_loss)
        return 1 - self.last_loss / start if start > 0 else None


def checked(experiment: Experiment, seconds: float) -> BatchChecks:
    """All checks, each on a model of its own; whatever the user's code raises becomes a note."""
    notes: list[Text] = []
    found: dict[str, Any] = {}
    ends = time.perf_counter() + seconds
    checks: tuple[Callable[[Experiment, float], dict[str, Any]], ...] = (mixing, _gradient, _through_time, _by_heart)
    for check in checks:
        if time.perf_counter() > ends:
            notes.append(text("no time was left to look closely at one batch"))
            break
        try:
            with experiment.seeded(0):
                found.update(check(experiment, ends))
        except Exception as error:
            notes.append(text("one batch could not be looked at: {error}", error=f"{type(error).__name__}: {error}".splitlines()[0]))
    return BatchChecks(**found, notes=tuple(notes))


def _by_heart(experiment: Experiment, ends: float) -> dict[str, Any]:
    """Ten or so samples can be learnt by heart by any network that works (A. Karpathy, A recipe for training neural networks, 2019)."""
    batch = few_of(experiment, BY_HEART)
    first, last, apart = _learnt(experiment, batch, ends)
    found: dict[str, Any] = {"first_loss": first, "last_loss": last, "apart": apart}
    blind = (mapped(lambda t: t[:1].expand_as(t).clone() if t.dim() else t, batch[0]), batch[1])
    _, found["constant_loss"], _ = _learnt(experiment, blind, ends)
    if last > (1 - GONE) * first:
        found["quicker"] = _quicker(experiment, batch, first, ends)
    for rate in ADAM_RATES:
        if min(last, found.get("adam_loss", math.inf)) <= 0.1 * first or time.perf_counter() > ends:
            break
        adam = experiment.changed(optimizer=lambda model, rate=rate: torch.optim.Adam(model.parameters(), rate), scheduler=None)
        found["adam_loss"] = min(found.get("adam_loss", math.inf), _learnt(adam, batch, ends)[1])
    return found


def _quicker(experiment: Experiment, batch: Batch, first: float, ends: float) -> float | None:
    """The factor of FACTORS with which the user's own optimizer learns the batch best, where one takes half of the loss away."""
    rate = learning_rate(experiment.build(0)[1])
    losses: dict[float, float] = {}
    for factor in FACTORS if rate else ():
        if time.perf_counter() > ends or min(losses.values(), default=math.inf) <= LEFT * first:
            break
        faster = apply(experiment, Change(kind="learning_rate", values={"rate": (rate or 0.0) * factor}))
        losses[factor] = _learnt(faster, batch, ends)[1]
    best = min(losses, key=lambda factor: losses[factor], default=None)
    return best if best is not None and losses[best] <= (1 - GONE) * first else None


def _spread(model: nn.Module, inputs: Any) -> float | None:
    """How far the answers to these samples lie apart, over their size; None where an answer is not one tensor with a row for each."""
    with torch.no_grad():
        answer = called(model, inputs)
    rows = answer if isinstance(answer, Tensor) else None
    if rows is None or not rows.is_floating_point() or rows.dim() == 0 or len(rows) != len(first_tensor(inputs)):
        return None
    return float((rows - rows.mean(0)).abs().mean()) / max(float(rows.abs().mean()), 1e-30)


def _learnt(experiment: Experiment, batch: Batch, ends: float) -> tuple[float, float, float | None]:
    """The first and the lowest loss of UPDATES updates on one batch, and how far the answers to its samples were apart.

    Dropout is off: learning by heart needs all units.
    """
    model, optimizer = experiment.build(0)
    batch = on_device(batch, device_of(model))
    model.train()
    for module in model.modules():
        if isinstance(module, nn.modules.dropout._DropoutNd):
            module.eval()
    step = experiment.step or plain_step
    losses: list[float] = []
    apart = None if experiment.step is not None else _spread(model, batch[0])
    for _ in range(UPDATES):
        losses.append(number_of(step(model, optimizer, experiment.loss, batch)))
        if not math.isfinite(losses[-1]) or time.perf_counter() > ends:
            break
    if apart is not None:
        apart = max(apart, _spread(model, batch[0]) or 0.0)
    known = [loss for loss in losses if math.isfinite(loss)]
    if not known or not math.isfinite(losses[0]):
        return math.inf, math.inf, apart
    diverged = math.isfinite(losses[-1]) and len(losses) > 1 and losses[-1] > 10 * losses[0]
    return losses[0], losses[-1] if diverged else min(known), apart


def _gradient(experiment: Experiment, ends: float) -> dict[str, Any]:
    """Slope of the loss along a direction against the gradient, in float64: (L(w + h d) - L(w - h d)) / 2 h = <g, d>.

    Source: any account of gradient checking, such as Goodfellow, Bengio and Courville, Deep Learning, 2016, section 11.5.
    """
    model, _ = experiment.build(0)
    if sum(parameter.numel() for parameter in model.parameters()) > LARGEST_COPY:
        return {}
    model = copy.deepcopy(model).double()
    model.eval()  # no dropout, and batch statistics do not move: the loss is a function of the weights alone
    inputs, targets = _doubled(on_device(few_of(experiment, BY_HEART), device_of(model)))

    def loss() -> Tensor:
        torch.manual_seed(0)
        return experiment.loss(called(model, inputs), targets)

    for module in model.modules():
        if isinstance(module, nn.RNNBase):
            module.train()  # cuDNN's backward needs it; without dropout nothing else depends on it
    parameters = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    value = loss()
    gradients = torch.autograd.grad(value, list(parameters.values()), allow_unused=True)
    rounding = ROUNDING * abs(float(value.detach()))
    generator = torch.Generator().manual_seed(0)
    wrong: list[str] = []
    worst, flat = 0.0, True
    scale = math.sqrt(sum(float(g.pow(2).sum()) for g in gradients if g is not None))
    for (name, parameter), gradient in zip(parameters.items(), gradients, strict=True):
        if time.perf_counter() > ends:
            break
        slopes: list[tuple[float, float]] = []
        errors: list[float] = []  # in the directions in which the slope itself is known
        for _ in range(DIRECTIONS):
            direction = torch.randn(parameter.shape, generator=generator, dtype=torch.float64).to(parameter.device)
            direction /= direction.norm().clamp_min(1e-30)
            h = 1e-6 * max(1.0, float(parameter.detach().norm()) / math.sqrt(max(parameter.numel(), 1)))
            slope = _slope(loss, parameter, direction, h)
            promised = 0.0 if gradient is None else float((gradient * direction).sum())
            own = 0.0 if gradient is None else float(gradient.norm()) / math.sqrt(parameter.numel())
            slopes.append((abs(slope), own))
            size = max(abs(slope), abs(promised), own, 1e-6 * scale, 1e-12)
            error = abs(slope - promised) / size
            unknown = 0.0
            if error > RELATIVE:  # a kink between the points gives another slope with another step; of a huge loss all is rounding
                unknown = max(abs(_slope(loss, parameter, direction, WIDER * h) - slope), rounding / h)
            if unknown <= RELATIVE * size:
                errors.append(error)
        error = min(errors, default=0.0)
        worst = max(worst, error)
        if error > RELATIVE:
            wrong.append(name)
            flat = flat and all(slope <= RELATIVE * own for slope, own in slopes)
    if not wrong:
        return {"gradient_error": worst}
    meant, stopped = _on_purpose(experiment, wrong)
    return {
        "wrong_gradient": () if meant else tuple(wrong), "gradient_error": worst, "surrogate": flat, "stopped": stopped
    }  # fmt: skip


def _on_purpose(experiment: Experiment, wrong: list[str]) -> tuple[bool, bool]:
    """Whether all of these gradients pass a function that changes nothing but gradients, and whether all pass a detach().

    A function whose result is its argument is there for its backward alone: a gradient that is turned round (Y. Ganin and V. Lempitsky,
    Unsupervised domain adaptation by backpropagation, 2015), scaled or clipped.
    """
    try:
        flow = flow_of(experiment, experiment.build(0)[0])
    except TraceError:
        return False, False
    places = {flow.trace.parameters[name].value for name in wrong if name in flow.trace.parameters}

    def behind(kind: Callable[[Operation], bool]) -> bool:
        given = [one for operation in flow.trace.operations if kind(operation) for one in operation.inputs()]
        return len(places) == len(wrong) and places <= set().union(*(flow.ancestors(one) for one in given))

    def changes_nothing(operation: Operation) -> bool:
        result = flow.tensor(operation.results()[0])
        return operation.level == "autograd" and any(torch.equal(flow.tensor(one), result) for one in operation.inputs())

    return behind(changes_nothing), behind(lambda operation: operation.name == "detach")


def _through_time(experiment: Experiment, ends: float) -> dict[str, Any]:
    """How the gradient with respect to sequences (N, T, C), or to their embedding, fades from one end of time to the other.

    Source: R. Pascanu, T. Mikolov and Y. Bengio, On the difficulty of training recurrent neural networks, 2013, section 2.
    """
    model, _ = experiment.build(0)
    if sum(parameter.numel() for parameter in model.parameters()) > LARGEST_COPY:
        return {}
    model = copy.deepcopy(model).double().train()  # in float64: what has faded to 1e-40 is not what is masked, which is 0
    inputs, targets = _doubled(on_device(few_of(experiment, BY_HEART), device_of(model)))
    seen: list[Tensor] = []

    def keep(_module: nn.Module, _args: Any, output: Any) -> Any:
        if isinstance(output, Tensor) and output.dim() == 3 and output.requires_grad and not seen:
            seen.append(output)

    if isinstance(inputs, Tensor) and inputs.dim() == 3 and inputs.is_floating_point():
        inputs = inputs.detach().clone().requires_grad_()
        seen.append(inputs)
    handles = [module.register_forward_hook(keep) for module in model.modules() if isinstance(module, nn.Embedding)]
    try:
        value = experiment.loss(called(model, inputs), targets)
    finally:
        for handle in handles:
            handle.remove()
    if not seen or seen[0].shape[1] < LONG:
        return {}
    (gradient,) = torch.autograd.grad(value, seen, allow_unused=True)
    if gradient is None:
        return {}
    sizes = gradient.double().square().sum((0, 2)).sqrt()
    eighth = max(1, len(sizes) // 8)
    first, last = float(sizes[:eighth].max()), float(sizes[-eighth:].max())
    return {"faded": min(first, last) / max(first, last)} if min(first, last) > 0 else {}


def _doubled(batch: Batch) -> Batch:
    inputs, targets = (mapped(lambda t: t.double() if t.is_floating_point() else t, part) for part in batch)
    return inputs, targets


def _slope(loss: Callable[[], Tensor], parameter: Tensor, direction: Tensor, h: float) -> float:
    """(L(w + h d) - L(w - h d)) / 2 h; the parameter is put back."""
    with torch.no_grad():
        kept = parameter.clone()
        parameter.copy_(kept + h * direction)
        above = float(loss())
        parameter.copy_(kept - h * direction)
        below = float(loss())
        parameter.copy_(kept)
    return (above - below) / (2 * h)


def mixing(experiment: Experiment, ends: float) -> dict[str, Any]:
    """Whether a sample's output changes when the others in its batch do: in evaluation mode it must not."""
    model, _ = experiment.build(0)
    model.eval()
    inputs = on_device(few_of(experiment, 8)[0], device_of(model))
    size = len(first_tensor(inputs))
    if size < 4:
        return {}
    kept = (0, size - 1)  # where samples are taken for time steps, the first one depends on none before it
    others = [mapped(lambda t, k=place: _moved(t, size, k), inputs) for place in kept]
    with torch.no_grad():
        seed_all(0)  # what draws in evaluation mode draws the same twice
        before = called(model, inputs)
        changed: list[Any] = []
        for other in others:
            seed_all(0)
            changed.append(called(model, other))
        seed_all(1)
        again = called(model, inputs)
    single = isinstance(before, Tensor)  # several outputs may be samples of a distribution, as a variational autoencoder draws
    before, again = first_tensor(before), first_tensor(again)
    after = [first_tensor(one) for one in changed]
    if before.dim() == 0 or len(before) != size:
        return {}
    spread = float((before - before.mean(0)).abs().mean()) + float(before.abs().mean()) * 1e-3
    if spread <= 0:
        return {"dependence": 0.0, "drawn": 0.0 if single else None}
    return {
        "dependence": max(float((before[k] - one[k]).abs().max()) for k, one in zip(kept, after, strict=True)) / spread,
        "drawn": float((before - again).abs().mean()) / spread if single else None,
    }


def _moved(tensor: Tensor, size: int, kept: int) -> Tensor:
    """All samples but one are replaced: values by values that differ from them, whole numbers (tokens) by those of one sample.

    To let whole numbers change places only would not show a mean or a softmax over the samples, which is the same in any order.
    """
    if not tensor.dim() or len(tensor) != size:
        return tensor
    changed = tensor * -0.5 + tensor.mean() if tensor.is_floating_point() else tensor[1:2].expand_as(tensor).clone()
    changed[kept] = tensor[kept]
    return changed
