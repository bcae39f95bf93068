"""Changes of what belongs to what in the data: targets to inputs, the test part to the training part, and numbers in the place of none."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from pellucid.core.language import text
from pellucid.diagnosis.experiments.experiment import Experiment
from pellucid.diagnosis.experiments.samples import first_tensor, loader_of, mapped, samples_in
from pellucid.diagnosis.experiments.scoring import scoring_of
from pellucid.diagnosis.remedies import cannot, remedy
from pellucid.diagnosis.remedies.data import MEASURED, feature_axes

NEAR = 0.3  # deviations, and log ratio of deviations, of the middle column: what parts of 20 samples differ by by chance


@remedy("shift_targets", "by", may=("first", "part"))
def shift_targets(experiment: Experiment, values: Mapping[str, Any]) -> Experiment:
    """Input i gets the target of row i + `by`, from row `first` on; rows at the end that have none are left out.

    Where there is no test part, both sides are scored on the rows as they belong together.
    """
    by, first, part = int(values["by"]), int(values.get("first") or 0), str(values.get("part") or "train")
    data = getattr(experiment, part, None) if part in ("train", "test") else None
    if data is None:
        raise cannot("shift_targets", text("the experiment has no part {part!r}", part=part))
    source = data.dataset if isinstance(data, DataLoader) else data
    size = samples_in(source)
    rows = torch.arange(size)
    wanted = torch.where(rows >= first, rows + by, rows)
    kept = (wanted >= 0) & (wanted < size)
    if not by or not bool(kept.any()) or first >= size:
        raise cannot("shift_targets", text("no target would be another"))
    if isinstance(source, Dataset):
        moved: Any = _Paired(source, rows[kept].tolist(), wanted[kept].tolist())
    else:
        inputs, targets = source
        moved = mapped(lambda tensor: tensor[kept], inputs), mapped(lambda tensor: tensor[wanted[kept]], targets)
    moved = loader_of(data, dataset=moved) if isinstance(data, DataLoader) else moved
    scoring = scoring_of(experiment)
    if part == "test":
        return experiment.changed(test=moved, scoring=scoring)
    return experiment.changed(train=moved, test=moved if experiment.test is None else experiment.test, scoring=scoring)


class _Paired(Dataset[Any]):
    """Inputs of some samples of a data set with the targets of others."""

    def __init__(self, source: Any, inputs: list[int], targets: list[int]) -> None:
        self.source, self.inputs, self.targets = source, inputs, targets

    def __len__(self) -> int:
        return len(self.inputs)

    def __getitem__(self, place: int) -> Any:
        return self.source[self.inputs[place]][0], self.source[self.targets[place]][1]


@remedy("match_test_inputs", may=("order",))
def match_test_inputs(experiment: Experiment, values: Mapping[str, Any]) -> Experiment:
    """Test inputs as the training inputs are: on their scale, or, with `order`, in their order of columns or channels.

    Scale: (x - m) s / d + M, with mean m and deviation d of the test part, M and s of the training part: of all values together where one
    such line brings every column near the training part's, else of each column, channel or feature. Training stays as it is.
    """
    kind = "match_test_inputs"
    if experiment.test is None:
        raise cannot(kind, text("the experiment has no part {part!r}", part="test"))
    inputs, test = experiment.samples("train", MEASURED)[0], experiment.samples("test", MEASURED)[0]
    if not isinstance(inputs, Tensor) or not isinstance(test, Tensor) or inputs.shape[1:] != test.shape[1:] or inputs.dim() < 2:
        raise cannot(kind, text("the inputs of the two parts are no single tensors of one shape"))
    order = values.get("order")
    if order is not None:
        places = torch.tensor([int(place) for place in order])
        if sorted(places.tolist()) != list(range(inputs.shape[1])):
            raise cannot(kind, text("{order} is no order of {count} columns or channels", order=str(list(order)), count=inputs.shape[1]))
        return _tested(experiment, lambda tensor: tensor[:, places.to(tensor.device)])
    if not inputs.is_floating_point() or not test.is_floating_point():
        raise cannot(kind, text("the inputs are no real numbers"))
    axes = list(range(inputs.dim())) if _one_line(inputs, test) else feature_axes(inputs)
    ours, theirs = _moments(inputs, axes), _moments(test, axes)
    scale = torch.where((ours[1] > 0) & (theirs[1] > 0), ours[1] / theirs[1].clamp_min(1e-30), torch.ones_like(ours[1]))
    if not bool(torch.isfinite(scale).all() & torch.isfinite(ours[0]).all() & torch.isfinite(theirs[0]).all()):
        raise cannot(kind, text("the inputs hold NaN or infinity"))

    def matched(tensor: Tensor) -> Tensor:
        mean, factor, wanted = (part[0].to(tensor.device) for part in (theirs[0], scale, ours[0]))
        return ((tensor.double() - mean) * factor + wanted).to(tensor.dtype)

    return _tested(experiment, matched)


def _one_line(inputs: Tensor, test: Tensor) -> bool:
    """Whether one factor and one shift for all values bring the columns of the test part to the training part's means and deviations."""
    (mean, deviation), (other_mean, other) = (_moments(part.reshape(len(part), -1), [0]) for part in (inputs, test))
    varied = (deviation > 0) & (other > 0)
    if int(varied.sum()) < 2:
        return False
    (whole, spread), (other_whole, other_spread) = (_moments(part, list(range(part.dim()))) for part in (inputs, test))
    factor = (spread / other_spread).reshape(())
    left = ((other_mean - other_whole.reshape(())) * factor + whole.reshape(()) - mean)[varied] / deviation[varied]
    ratio = (other * factor / deviation)[varied].log()
    return float(left.abs().median()) < NEAR and float(ratio.abs().median()) < NEAR


def _moments(tensor: Tensor, axes: list[int]) -> tuple[Tensor, Tensor]:
    values = tensor.double()
    return values.mean(axes, keepdim=True), values.std(axes, unbiased=False, keepdim=True)


def _tested(experiment: Experiment, change: Any) -> Experiment:
    return experiment.changed(
        prepared_test=(*experiment.prepared_test, lambda batch: (change(batch[0]), batch[1])), scoring=scoring_of(experiment)
    )


@remedy("rename_test_targets", "classes")
def rename_test_targets(experiment: Experiment, values: Mapping[str, Any]) -> Experiment:
    """Class numbers of the test part become those of the training part: place k holds the test part's number for the k-th class."""
    kind = "rename_test_targets"
    order = [int(place) for place in values["classes"]]
    _, targets = experiment.samples("train", None if isinstance(experiment.train, tuple) else MEASURED)
    if experiment.test is None or not isinstance(targets, Tensor) or (targets.dim() == 2 and targets.shape[1] > 1):
        raise cannot(kind, text("there are no class numbers of two parts"))
    known = targets.unique()
    if sorted(order) != list(range(len(known))) or order == sorted(order):
        raise cannot(kind, text("{order} is no other order of {count} classes", order=str(order), count=len(known)))
    renamed = known[torch.tensor(order).argsort()]  # test class of place order[k] -> class of place k

    def change(batch: Any) -> Any:
        wanted = batch[1]
        places = torch.searchsorted(known.to(wanted.device), wanted.contiguous()).clamp(max=len(known) - 1)
        return batch[0], renamed.to(wanted.device)[places]

    return experiment.changed(prepared_test=(*experiment.prepared_test, change), scoring=scoring_of(experiment))


@remedy("fill_missing")
def fill_missing(experiment: Experiment, _: Mapping[str, Any]) -> Experiment:
    """NaN and infinity in the inputs become the mean of the finite values there: of a table's column, or of all values of a tensor."""
    inputs, _targets = experiment.samples("train", None if isinstance(experiment.train, tuple) else MEASURED)
    size = len(first_tensor(inputs))
    means: list[Tensor | None] = []

    def measured(tensor: Tensor) -> Tensor:
        means.append(_finite_mean(tensor, size))
        return tensor

    mapped(measured, inputs)
    if not any(mean is not None for mean in means):
        raise cannot("fill_missing", text("the training inputs hold no real numbers"))

    def prepare(batch: Any) -> Any:
        waiting = iter(means)

        def one(tensor: Tensor) -> Tensor:
            mean = next(waiting)
            return tensor if mean is None else torch.where(torch.isfinite(tensor), tensor, mean.to(tensor.device))

        return mapped(one, batch[0]), batch[1]

    return experiment.changed(prepared=(*experiment.prepared, prepare), scoring=scoring_of(experiment))


def _finite_mean(tensor: Tensor, size: int) -> Tensor | None:
    if not tensor.is_floating_point() or not tensor.dim() or len(tensor) != size:
        return None
    axes = [0] if tensor.dim() == 2 else list(range(tensor.dim()))
    finite = torch.isfinite(tensor)
    total = torch.where(finite, tensor, 0).double().sum(axes)
    return (total / finite.sum(axes).clamp_min(1)).to(tensor.dtype)
