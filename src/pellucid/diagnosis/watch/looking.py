"""The course of a look: begun before a forward pass, read after the update; and what is done once, or when a loss is not finite."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from pellucid.core.trace.model import random_state_kept
from pellucid.diagnosis.dynamic.observations import NonFinite
from pellucid.diagnosis.watch import loss_graph, nonfinite, observing, static_look
from pellucid.diagnosis.watch.look import Look, compare
from pellucid.diagnosis.watch.ownership import OptimizerSeen

if TYPE_CHECKING:
    from pellucid.diagnosis.watch.recorder import Recorder

TARGETS = 4096  # of one batch that are read
clock = time.perf_counter


def begin(recorder: Recorder) -> None:
    start = clock()
    if not recorder.compiled and static_look.is_compiled(recorder.model):
        recorder.compiled = True
    if recorder.compiled:  # no hooks inside compiled code: they would not run, or have it compiled anew
        recorder.layers.modules.clear()
    recorder.ownership.look_up()
    recorder.ownership.look_up_optimizers()
    look = recorder.look = Look(recorder.step, recorder.sampling.alarmed(recorder.step), recorder.layers, recorder.static)
    look.training = recorder.window.training if recorder.forwards else None
    if not recorder.forwards and recorder.backwards:  # the model's parts are called, not the model itself
        look.attach()
    look.cost += clock() - start
    if recorder.step:
        start = clock()
        recorder.ownership.look_for_others()
        recorder.sampling.start += clock() - start  # once, and no price of looks


def look_statically(recorder: Recorder, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Once, before the first training step, and with every random generator put back."""
    if recorder.step == 0 and any(nn.parameter.is_lazy(parameter) for parameter in recorder.model.parameters()):
        return  # its shapes come with the first pass
    start = clock()
    with random_state_kept(_devices(recorder), None), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the user's own forward will warn by itself
        recorder.static = static_look.look(recorder.model, args, kwargs)
    recorder.sampling.start += clock() - start


def _devices(recorder: Recorder) -> set[torch.device]:
    return {parameter.device for parameter in recorder.ownership.parameters.values()}


def read_graph(recorder: Recorder, look: Look, loss: Tensor) -> None:
    """Which loss this is and against which targets; the targets' values come with the look's other numbers."""
    graph = look.graph = loss_graph.read(loss, look.output_nodes)
    scale = loss_graph.scale_of(loss) if graph.scaled else None
    recorder.scaled = graph.scaled
    recorder.factor = graph.factor / (float(scale) if scale is not None and float(scale) else 1.0)
    if isinstance(recorder.latest_loss, float):
        recorder.latest_loss = recorder.unscaled(loss)
    recorder.several_models |= any(id(leaf) not in recorder.ownership.names for leaf in graph.leaves)
    recorder.compiled |= any("CompiledFunction" in name for name in graph.nodes)
    recorder.loss_facts = observing.loss_facts(graph, look)
    found = observing.targets_of(graph)
    if found is not None and recorder.loss_module is None:
        kind, target = found
        flat = target.detach().reshape(-1)[:TARGETS]
        look.readings.add(("targets", kind, target.dim() <= 1 or target.numel() == target.shape[0]), flat.to(torch.float32))


def read_gradients(recorder: Recorder, look: Look, seen: OptimizerSeen) -> None:
    """Of what this optimizer updates, and of what nobody does."""
    owned = recorder.ownership.owned
    look.read_gradients({name: p for name, p in recorder.ownership.measured.items() if name in seen.names or not owned(name)}, seen.names)


def compare_gradients(recorder: Recorder) -> None:
    """The gradient of the step after a look against the look's."""
    step, earlier, samples = recorder.pair or (0, {}, 0)
    recorder.pair = None
    if recorder.step != step + 1:
        return
    start = clock()
    numbers = compare(earlier, recorder.ownership.measured)
    first, second, product = (0.0, 0.0, 0.0) if numbers is None else numbers.tolist()
    if first > 0 and second > 0 and math.isfinite(product):
        if recorder.rows.rows and recorder.rows.rows[-1].look.step == step:
            recorder.rows.rows[-1].cosine = product / math.sqrt(first * second)
        if samples and recorder.window.samples == samples:
            recorder.noise.add(first, second, product, samples)
            if recorder.noise.value is not None:
                recorder.noise_points.append((recorder.step, recorder.noise.value))
                recorder.noise_points = recorder.noise_points if len(recorder.noise_points) <= 128 else recorder.noise_points[::2]
    recorder.sampling.compared(clock() - start)


def describe_optimizers(recorder: Recorder) -> None:
    """While they are alive: a function's own optimizer goes when it returns."""
    recorder.ownership.count_holders()
    for seen in recorder.ownership.seen:
        observing.remember_optimizer(recorder, seen)


def finish(recorder: Recorder) -> None:
    """Read what the look has measured: the one wait for the device."""
    look, recorder.finishing = recorder.finishing, None
    assert look is not None
    start = clock()
    look.detach()
    if look.failed is not None:
        raise look.failed
    recorder.read_losses()
    describe_optimizers(recorder)
    recorder.rows.add(observing.row(recorder, look))
    if look.updated and look.gradient:
        recorder.pair = look.step, look.pair(), look.samples or 0
    recorder.sampling.own += look.hooks
    recorder.sampling.looked(look.step, look.cost + look.hooks + clock() - start)
    if recorder.when_judged is not None and (look.alarm or recorder.sampling.may_judge(look.step, recorder.rows.made)):
        start = clock()
        recorder.when_judged(recorder)
        recorder.sampling.judged(clock() - start)


def locate(recorder: Recorder, loss: Tensor, value: float) -> None:
    """The loss is NaN or infinite, and its graph is still there: where was it born?"""
    _locate(recorder, lambda batch, nodes: nonfinite.in_loss(recorder, loss, value, batch, nodes))


def locate_in_gradients(recorder: Recorder) -> None:
    """The loss was finite and its gradient is not; the weights have not taken it in yet."""
    _locate(recorder, lambda batch, nodes: nonfinite.in_gradients(recorder, recorder.top, batch, nodes))


def _locate(recorder: Recorder, where: Callable[[Any, Any], NonFinite]) -> None:
    if recorder.nonfinite is None:
        start = clock()
        nodes = recorder.look.output_nodes if recorder.look is not None else ()
        with random_state_kept(_devices(recorder), None), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            recorder.nonfinite = where(recorder.window.batch, nodes)
        recorder.sampling.start += clock() - start
        recorder.sampling.alarm(recorder.step + 1)
