"""Which of several changes lets a gradient through: measured in one pass of the first batch, before any update."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import nn

from pellucid.core.errors import PellucidError
from pellucid.core.records import Change
from pellucid.core.trace import Trace
from pellucid.diagnosis.experiments.experiment import Experiment
from pellucid.diagnosis.experiments.samples import called, device_of, on_device
from pellucid.diagnosis.remedies import apply
from pellucid.diagnosis.remedies.rewiring import last_activation, traced
from pellucid.diagnosis.static.flow import Flow

SATURATING = ("sigmoid", "tanh", "softsign", "hardsigmoid", "hardtanh", "softmax")
CLEAR = 1e-2  # gradient per weight of the first layers over that of the last: a hundred times what is called vanishing
GENTLE = 30.0  # relative change of the loss per relative change of a layer's weights; a thousand is called exploding
SECONDS = 3.0  # that the choice may take before it is made of what was tried
BETTER = 10.0  # times, before a change is worth trying that does not get there


@dataclass(frozen=True)
class Signal:
    """What comes back: first layers' gradient per weight over the last one's, and the largest |g| |w| / L of a layer."""

    ratio: float
    steepness: float


def signal_of(experiment: Experiment) -> Signal | None:
    """The signal of a fresh model on the first batch; None where loss(model(inputs), targets) cannot be taken, or has no gradient."""
    with experiment.seeded(0):
        model, _ = experiment.build(0)
        inputs, targets = on_device(experiment.first_batch(), device_of(model))
        words = {id(parameter) for module in model.modules() if isinstance(module, nn.Embedding) for parameter in module.parameters()}
        weights = [p for p in model.parameters() if p.dim() >= 2 and p.requires_grad and id(p) not in words]
        try:
            loss = experiment.loss(called(model.train(), inputs), targets)
            gradients = torch.autograd.grad(loss, weights, allow_unused=True)
        except Exception:  # a step of the user's own may take its loss in another way
            return None
    pairs = [(float(w.detach().norm()), float(g.norm()), w.numel()) for w, g in zip(weights, gradients, strict=True) if g is not None]
    value = abs(float(loss.detach()))
    if len(pairs) < 2 or not math.isfinite(value) or not value or not all(math.isfinite(g) for _, g, _ in pairs):
        return None if math.isfinite(value) and len(pairs) < 2 else Signal(0.0, math.inf)
    slopes = [gradient / math.sqrt(size) for _, gradient, size in pairs]
    first = max(slopes[: max(1, len(slopes) // 4)])
    return Signal(first / max(slopes[-1], 1e-30), max(weight * gradient / value for weight, gradient, _ in pairs))


def reviving(experiment: Experiment) -> Change | None:
    """The first change after which gradients arrive that vanish on their way back; else the one that brings most, where it is much."""
    now = signal_of(experiment)
    if now is None:
        return None
    best: tuple[float, Change] | None = None
    began = time.perf_counter()
    for change in _revivals(experiment):
        if time.perf_counter() - began > SECONDS:
            break
        after = _after(experiment, change)
        if after is None or after.steepness > max(GENTLE, now.steepness):
            continue
        if after.ratio >= CLEAR:
            return change
        if best is None or after.ratio > best[0]:
            best = after.ratio, change
    return best[1] if best is not None and best[0] >= BETTER * now.ratio else None


def calming(experiment: Experiment, norm: float) -> Change:
    """The first change after which gradients that explode on their way back do not; a clipped norm where none does."""
    began, now = time.perf_counter(), signal_of(experiment)
    for change in _calms(experiment) if now is not None else ():
        if time.perf_counter() - began > SECONDS:
            break
        after = _after(experiment, change)
        if after is not None and now is not None and after.steepness <= GENTLE and BETTER * after.steepness <= now.steepness:
            return change
    return Change(kind="clip", values={"norm": norm})


def _after(experiment: Experiment, change: Change) -> Signal | None:
    try:
        return signal_of(apply(experiment, change))
    except PellucidError:  # it does not fit this network
        return None


def _revivals(experiment: Experiment) -> Iterable[Change]:
    try:
        seen = traced(experiment, "replace_activation")
    except PellucidError:
        return
    last = last_activation(seen)
    hidden = Counter(one.name for one in seen.operations if one.stage == "forward" and one is not last and one.name in SATURATING)
    for name, _ in hidden.most_common(1):
        yield Change(kind="replace_activation", values={"from": name, "to": "relu", "scheme": "kaiming"})
    for scheme in ("kaiming", "default"):
        yield Change(kind="reinitialise", values={"scheme": scheme})
    yield from _normalised(seen)


def _calms(experiment: Experiment) -> Iterable[Change]:
    for scheme in ("default", "kaiming"):
        yield Change(kind="reinitialise", values={"scheme": scheme})
    try:
        yield from _normalised(traced(experiment, "insert_activation"))
    except PellucidError:
        return


def _normalised(seen: Trace) -> Iterable[Change]:
    """Each hidden layer's output normalised, sample by sample."""
    layers = [one for one in Flow(seen).layers if one.operation.stage == "forward"] if seen.loss is not None else []
    hidden = [one.operation.index for one in layers[:-1] if one.kind in ("linear", "convolution")]
    if hidden:
        yield Change(kind="insert_activation", values={"after": hidden, "name": "layer_norm"})
