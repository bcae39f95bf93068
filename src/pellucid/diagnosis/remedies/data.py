"""Changes of the data as the network gets them: scale, encoding of the targets, samples and columns left out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Subset

from pellucid.core.language import text
from pellucid.diagnosis.experiments.experiment import Experiment
from pellucid.diagnosis.experiments.samples import first_tensor, loader_of, mapped, samples_in
from pellucid.diagnosis.experiments.scoring import scoring_of
from pellucid.diagnosis.remedies import cannot, remedy

MEASURED = 20_000  # training samples from which means and deviations are computed


@remedy("standardise_inputs")
def standardise_inputs(experiment: Experiment, _: Mapping[str, Any]) -> Experiment:
    """Inputs minus their mean over their deviation, both of the training part: for each column of a table (N, D), each channel of images
    (N, C, H, W) and each feature of sequences; constant columns are only centred. Whole numbers of few dimensions are tokens and stay."""
    inputs, _targets = experiment.samples("train", MEASURED)
    size = len(first_tensor(inputs))
    shifts: list[tuple[Tensor, Tensor] | None] = []
    mapped(lambda tensor: (shifts.append(_scale(tensor, size)), tensor)[1], inputs)
    if not any(shift is not None for shift in shifts):
        raise cannot("standardise_inputs", text("the inputs hold no columns of real numbers"))

    def prepare(batch: Any) -> Any:
        waiting = iter(shifts)

        def one(tensor: Tensor) -> Tensor:
            shift = next(waiting)
            if shift is None:
                return tensor
            mean, deviation = (part.to(tensor.device) for part in shift)
            return ((tensor.to(mean.dtype) - mean) / deviation).to(mean.dtype)

        return mapped(one, batch[0]), batch[1]

    return _prepared(experiment, prepare)


def _scale(tensor: Tensor, size: int) -> tuple[Tensor, Tensor] | None:
    """Mean and deviation with dimensions that broadcast against a batch."""
    image = tensor.dtype == torch.uint8 and tensor.dim() >= 3
    if tensor.dim() < 1 or len(tensor) != size or not (tensor.is_floating_point() or image):
        return None
    kind = tensor.dtype if tensor.is_floating_point() else torch.get_default_dtype()
    values, axes = tensor.double(), feature_axes(tensor)
    mean, deviation = values.mean(axes, keepdim=True), values.std(axes, unbiased=False, keepdim=True)
    deviation = torch.where(deviation > 0, deviation, torch.ones_like(deviation))
    if not bool(torch.isfinite(mean).all()):
        raise cannot("standardise_inputs", text("the inputs hold NaN or infinity"))
    return mean[0].to(kind), deviation[0].to(kind)


def feature_axes(tensor: Tensor) -> list[int]:
    """The axes over which one feature lies: all but the columns of a table, the channels of images, the features of sequences."""
    if tensor.dim() <= 2:
        return [0]
    if tensor.dim() > 3:
        return [0, *range(2, tensor.dim())]
    values = tensor.double()  # (N, T, D) or (N, C, T): features lie along the axis whose entries differ more in size
    spreads = [values.pow(2).mean((0, other)).sqrt() for other in (2, 1)]  # along axis 1, along axis 2
    ratios = [float(s.max() / s.clamp_min(1e-12).min()) for s in spreads]
    return [0, 2] if ratios[0] > ratios[1] else [0, 1]


@remedy("standardise_targets")
def standardise_targets(experiment: Experiment, _: Mapping[str, Any]) -> Experiment:
    """Targets minus their mean over their deviation, both of the training part; for scoring, outputs are put back into the units."""
    _, targets = experiment.samples("train", MEASURED)
    if not isinstance(targets, Tensor) or scoring_of(experiment).metric != "r2":
        raise cannot("standardise_targets", text("the targets are no values of a regression"))
    kind = targets.dtype if targets.is_floating_point() else torch.get_default_dtype()
    values = targets.double()
    mean, deviation = values.mean(0), values.std(0, unbiased=False)
    deviation = torch.where(deviation > 0, deviation, torch.ones_like(deviation))
    mean, deviation = mean.to(kind), deviation.to(kind)

    def prepare(batch: Any) -> Any:
        wanted = batch[1]
        return batch[0], (wanted.to(kind) - mean.to(wanted.device)) / deviation.to(wanted.device)

    scoring = scoring_of(experiment)
    before = scoring.restore or (lambda values: values)

    def restore(values: Tensor) -> Tensor:
        shape = (-1, *mean.shape) if mean.dim() else values.shape
        back = values.reshape(shape) * deviation.to(values.device) + mean.to(values.device)
        return before(back.reshape(values.shape))

    return _prepared(experiment, prepare).changed(scoring=replace(scoring, restore=restore))


@remedy("targets_as_classes")
def targets_as_classes(experiment: Experiment, _: Mapping[str, Any]) -> Experiment:
    """Class indices (N,) of type int64, from rows of K with a single 1, from a column (N, 1) or from whole numbers of another type."""
    _, targets = experiment.samples("train", MEASURED)
    if not isinstance(targets, Tensor):
        raise cannot("targets_as_classes", text("the targets are no single tensor"))
    rows = targets.dim() == 2 and targets.shape[1] > 1
    if rows and not bool((targets.double().sum(1) == 1).all()):
        raise cannot("targets_as_classes", text("the rows of the targets have no single 1"))
    if not rows and (bool((targets != targets.round()).any()) if targets.is_floating_point() else False):
        raise cannot("targets_as_classes", text("the targets are no whole numbers"))

    def prepare(batch: Any) -> Any:
        wanted = batch[1]
        if rows:
            return batch[0], wanted.argmax(1)
        return batch[0], (wanted.reshape(len(wanted)) if wanted.dim() == 2 and wanted.shape[1] == 1 else wanted).long()

    return _prepared(experiment, prepare).changed(scoring=None)


@remedy("targets_from_zero")
def targets_from_zero(experiment: Experiment, _: Mapping[str, Any]) -> Experiment:
    """The distinct values of the training targets, in their order, become 0, 1, 2, ... of the same type: {1, 2, 3}, {-1, 1}, {0, 255}."""
    _, targets = experiment.samples("train", None if isinstance(experiment.train, tuple) else MEASURED)
    if not isinstance(targets, Tensor):
        raise cannot("targets_from_zero", text("the targets are no single tensor"))
    known = targets.unique()
    if len(known) > max(2, len(targets) // 2):
        raise cannot("targets_from_zero", text("{count} different targets are no classes", count=len(known)))
    if torch.equal(known.double(), torch.arange(len(known), dtype=torch.float64)):
        raise cannot("targets_from_zero", text("the targets are 0 to {last} already", last=len(known) - 1))

    def prepare(batch: Any) -> Any:
        wanted = batch[1]
        places = torch.searchsorted(known.to(wanted.device), wanted.contiguous()).clamp(max=len(known) - 1)
        return batch[0], places.to(wanted.dtype)

    return _prepared(experiment, prepare).changed(scoring=None)


@remedy("drop_features", "columns")
def drop_features(experiment: Experiment, values: Mapping[str, Any]) -> Experiment:
    """Columns of a table (N, D) tell nothing any more: every sample has the training part's mean there, so that the network still fits."""
    columns = [int(column) for column in _several(values["columns"])]
    inputs, _ = experiment.samples("train", MEASURED)
    if not isinstance(inputs, Tensor) or inputs.dim() != 2 or not inputs.is_floating_point() or any(c >= inputs.shape[1] for c in columns):
        raise cannot("drop_features", text("the inputs are no table with columns {columns}", columns=columns))
    mean = inputs[:, columns].double().mean(0).to(inputs.dtype)

    def prepare(batch: Any) -> Any:
        table = batch[0].clone()
        table[:, columns] = mean.to(table.device)
        return table, batch[1]

    return _prepared(experiment, prepare)


@remedy("drop_samples", "indices", may=("part",))
def drop_samples(experiment: Experiment, values: Mapping[str, Any]) -> Experiment:
    """Samples are left out of a part ("train" where it is not said). Where there is no test part, the score is measured on the whole
    training part as it was, so that before and after are measured on the same samples."""
    part = str(values.get("part") or "train")
    if part not in ("train", "test") or getattr(experiment, part) is None:
        raise cannot("drop_samples", text("the experiment has no part {part!r}", part=part))
    data = getattr(experiment, part)
    source = data.dataset if isinstance(data, DataLoader) else data
    out = {int(index) for index in _several(values["indices"])}
    kept = torch.tensor([index for index in range(samples_in(source)) if index not in out], dtype=torch.long)
    if not len(kept) or len(kept) == samples_in(source):
        raise cannot("drop_samples", text("all samples, or none, would be left out"))
    if isinstance(source, Dataset):
        fewer: Any = Subset(source, kept.tolist())
    else:
        fewer = tuple(mapped(lambda tensor: tensor[kept], item) for item in source)
    fewer = loader_of(data, dataset=fewer) if isinstance(data, DataLoader) else fewer
    scoring = scoring_of(experiment)
    if part == "test":
        return experiment.changed(test=fewer, scoring=scoring)
    return experiment.changed(train=fewer, test=data if experiment.test is None else experiment.test, scoring=scoring)


def _several(values: Any) -> Iterable[Any]:
    return values if isinstance(values, Iterable) and not isinstance(values, str) else (values,)


def _prepared(experiment: Experiment, prepare: Callable[[Any], Any]) -> Experiment:
    return experiment.changed(prepared=(*experiment.prepared, prepare), scoring=scoring_of(experiment))
