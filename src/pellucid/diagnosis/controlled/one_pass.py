"""What one traced pass of a few samples tells the trials: where least is passed on, and what the loss compares."""

from __future__ import annotations

from torch import Tensor, nn

from pellucid.core.trace import trace
from pellucid.diagnosis.experiments.experiment import Experiment
from pellucid.diagnosis.experiments.samples import Batch, device_of, first_tensor, mapped, on_device
from pellucid.diagnosis.static.comparisons import comparisons_of
from pellucid.diagnosis.static.flow import Flow, place_of

FEW = 16  # samples


def few_of(experiment: Experiment, count: int) -> Batch:
    """The first samples of the first batch of the first epoch."""
    inputs, targets = experiment.first_batch()
    size = len(first_tensor(targets))
    return mapped(lambda t: t[:count] if t.dim() and len(t) == size else t, inputs), mapped(
        lambda t: t[:count] if t.dim() and len(t) == size else t, targets
    )


def flow_of(experiment: Experiment, model: nn.Module) -> Flow:
    """What flows where in a pass of a few samples in evaluation mode.

    Raises:
        TraceError: the model or the loss cannot be traced.
    """
    inputs, targets = on_device(few_of(experiment, FEW), device_of(model))
    return Flow(trace(model, inputs, targets, experiment.loss, training=False, seed=0))


def narrowest(experiment: Experiment, model: nn.Module) -> tuple[str, int]:
    """Path and number of units of the layer with the fewest, the last one left out, or of what alone is passed on of a sample; ("", 0)
    where there is none."""
    layers = [
        (path, int(weight.shape[0]))
        for path, module in model.named_modules()
        if isinstance(weight := getattr(module, "weight", None), Tensor) and weight.dim() > 1
    ]
    found = layers[:-1]
    try:
        with experiment.seeded(0):
            flow = flow_of(experiment, model)
        found += [(place_of(operation), entries) for operation, entries in flow.waists() if entries]
    except Exception:  # what cannot be traced, or a step of the user's own: the modules tell enough
        pass
    return min(found, key=lambda layer: layer[1], default=("", 0))


def compared_by(experiment: Experiment, model: nn.Module) -> frozenset[str]:
    """The losses that the user's loss is made of; none where it cannot be traced."""
    try:
        with experiment.seeded(0):
            return frozenset(one.kind for one in comparisons_of(flow_of(experiment, model)))
    except Exception:  # as above
        return frozenset()
