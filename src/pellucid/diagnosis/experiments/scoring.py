"""How good a network's answers are, whatever loss it was trained with: the yardstick by which a remedy is compared with what was before."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from pellucid.core.trace.model import random_state_kept
from pellucid.diagnosis.experiments.samples import Batch, called, device_of, first_tensor, mapped, on_device

if TYPE_CHECKING:
    from pellucid.diagnosis.experiments.experiment import Experiment

CHUNK = 512  # samples that are answered at once
CLASSES_LIMIT = 100_000
JUDGED = 1000  # targets that decide what kind they are
ASKED = 8  # samples that an untrained network answers, so that its answers' shape is known
IGNORED = -100  # the target that torch's losses leave out
ROUNDED = 1e-5  # of a loss: the same in float32, added in another order
GRID = (-10.0, -5.0, -2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0, 5.0, 10.0)


@dataclass(frozen=True)
class Scoring:
    """The metric: "accuracy" of class targets, "r2" of values, "loss" (its negative, so that higher is better) of anything else.

    Class targets are whole numbers (N, ...) with outputs (N, K, ...), (N, ..., K) or flattened (N * ..., K); rows of K with a single 1;
    or two values with one output each, which is on one side of `boundary` or the other.
    """

    metric: str
    classes: int = 0
    values: tuple[float, float] | None = None  # the two values of targets with one output
    restore: Callable[[Any], Any] | None = None  # outputs and targets in the units of the user, where they were trained in others
    loss: Callable[[Any, Any], Any] | None = None  # by which "loss" is measured, where it is not the one that is trained with
    balanced: bool = False  # an accuracy that counts every class alike, however many samples it has: the mean of the classes' recalls

    @property
    def name(self) -> str:
        """Of the metric, as it is reported."""
        return f"balanced_{self.metric}" if self.balanced and self.metric == "accuracy" else self.metric

    @torch.no_grad()
    def measure(
        self, model: nn.Module, loss: Callable[[Any, Any], Any], batches: Iterable[Batch], boundary: float | None = None
    ) -> tuple[float | None, float | None]:
        """Mean loss and score over batches in evaluation mode; the modes are put back, and nothing random is used up.

        None in the place of what cannot be told: a loss or a score that is not finite is told as it is.
        """
        modes = {module: module.training for module in model.modules()}
        device = device_of(model)
        total, judged, weight = 0.0, 0.0, 0
        kept: list[tuple[Tensor, Tensor]] = []
        boundary = self.boundary(loss) if boundary is None else boundary
        model.eval()
        try:
            for batch in batches:
                for inputs, targets in _chunks(on_device(batch, device)):
                    answer = called(model, inputs)
                    count = max(1, len(first_tensor(targets)) if first_tensor(targets).dim() else 1)
                    total += float(loss(answer, targets)) * count
                    weight += count
                    if self.metric == "loss":
                        if self.restore is not None or self.loss is not None:
                            back = self.restore or (lambda structure: structure)
                            judged += float((self.loss or loss)(back(answer), back(targets))) * count
                    elif isinstance(targets, Tensor) and (fitting := answer_to(targets, answer)) is not None:
                        kept.append(self._compared(fitting, targets))
        finally:
            for module, mode in modes.items():
                module.training = mode
        if not weight:
            return None, None
        mean = total / weight
        if self.metric == "loss":
            return mean, -mean if self.restore is None and self.loss is None else -judged / weight
        return mean, self._score(kept, boundary)

    def boundary(self, loss: Callable[[Any, Any], Any]) -> float | None:
        """The output between two values: half way between the outputs that the loss wants for either, 0 where it wants them ever farther
        apart, as with scores; None where the loss does not tell."""
        if self.values is None:
            return None
        best: list[float] = []
        for value in self.values:
            costs: dict[float, float] = {}
            for output in sorted({*GRID, *self.values}):
                try:
                    cost = float(loss(torch.full((2, 1), output), torch.full((2, 1), value)))
                except Exception:  # a loss of probabilities refuses what is none; any other refusal leaves fewer points
                    continue
                if math.isfinite(cost):
                    costs[output] = cost
            if not costs or len(set(costs.values())) < 2:
                return None
            least = min(costs.values())
            best.append(min((output for output, cost in costs.items() if cost <= least + 1e-12), key=abs))
        ends = min(GRID), max(GRID)
        return 0.0 if any(output in ends for output in best) else sum(best) / 2

    def score(self, outputs: Tensor, targets: Tensor, boundary: float | None = None) -> float | None:
        """The metric of outputs (N, ...) against targets (N, ...); None where their shapes do not belong together."""
        return self._score([self._compared(outputs, targets)], boundary)

    def _compared(self, outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """What is kept of one batch: answers and targets in one shape, as small as they can be."""
        if self.restore is not None:
            outputs, targets = self.restore(outputs), self.restore(targets)
        if self.metric != "accuracy":
            return outputs.detach().cpu(), targets.detach().cpu()
        labels = targets.argmax(1) if _rows_of_classes(targets) and targets.shape == outputs.shape else targets
        axis = class_axis(outputs, labels)
        if axis is not None:
            outputs = torch.where(outputs.isnan().any(axis), -1, outputs.argmax(axis))  # no answer is no right answer
        return outputs.detach().cpu().reshape(-1), labels.detach().cpu().reshape(-1)

    def _score(self, kept: list[tuple[Tensor, Tensor]], boundary: float | None) -> float | None:
        if not kept or any(outputs.numel() != targets.numel() for outputs, targets in kept):
            return None
        if self.metric == "accuracy":
            outputs, targets = torch.cat([one for one, _ in kept]), torch.cat([other for _, other in kept])
            counted = targets != IGNORED
            right = (self._answers(outputs, boundary) == targets.double())[counted].double()
            if self.balanced and len(right):
                _, kinds = targets[counted].unique(return_inverse=True)
                right = torch.zeros(int(kinds.max()) + 1, dtype=torch.float64).index_add_(0, kinds, right) / kinds.bincount()
            return float(right.mean()) if len(right) else None
        wanted = torch.cat([targets.double().reshape(len(targets), -1) for _, targets in kept])
        answers = torch.cat([outputs.double().reshape(len(targets), -1) for outputs, targets in kept])
        spread = ((wanted - wanted.mean(0)) ** 2).sum()
        return float(1 - ((answers - wanted) ** 2).sum() / spread) if float(spread) > 0 else None

    def _answers(self, outputs: Tensor, boundary: float | None) -> Tensor:
        """Class numbers: as they are, or by the side of the boundary on which single outputs lie."""
        if not outputs.is_floating_point():
            return outputs.double()
        if self.values is None and self.classes > 2:
            return outputs.double().round().clamp(0, self.classes - 1)  # one output that was drawn to the class's number
        low, high = self.values or (0.0, 1.0)
        if bool((outputs >= 0).all()) and bool((outputs <= 1).all()):
            boundary = 0.5 if low >= 0 else boundary  # probabilities, whatever the loss makes of them
        limit = 0.0 if boundary is None else boundary
        return torch.where(outputs > limit, high, low).double()


def class_axis(outputs: Tensor, labels: Tensor) -> int | None:
    """The axis of the K > 1 classes in outputs for labels (N, ...) or (N, 1); None where there is one output for each label."""
    shape, wanted = tuple(outputs.shape), tuple(labels.shape)
    if len(shape) > 1 and shape[1] > 1 and shape[:1] + shape[2:] == wanted:
        return 1
    if len(shape) > 1 and shape[-1] > 1 and (shape[:-1] == wanted or (len(shape) == 2 and shape[0] == labels.numel())):
        return -1
    return None


def answer_to(targets: Tensor, answer: Any) -> Tensor | None:
    """The first tensor of a network's answer that can be one to these targets: networks give hidden states and more beside it."""
    return next(iter(_answering(targets, answer)), None)


def _answering(targets: Tensor, answer: Any) -> list[Tensor]:
    """The tensors of an answer that can be one to these targets."""
    found: list[Tensor] = []
    mapped(lambda tensor: (found.append(tensor), tensor)[1], answer)
    return [one for one in found if one.numel() == targets.numel() or class_axis(one, targets) is not None]


def scoring_of(experiment: Experiment) -> Scoring:
    """The metric that fits the targets and what the network answers, which is asked once about a few samples."""
    if experiment.scoring is not None:
        return experiment.scoring
    known = experiment.__dict__.get("_scoring")
    if known is None:
        try:
            known = _fitting(experiment)
        except Exception:  # no pairs, a step of the user's own, or a model that fails: `run` and `check` say which
            known = Scoring("loss")
        object.__setattr__(experiment, "_scoring", known)
    return known


def _fitting(experiment: Experiment) -> Scoring:
    _, targets = experiment.samples("train", JUDGED)
    if not isinstance(targets, Tensor) or targets.is_complex():
        return Scoring("loss")
    answered, outputs = _answer(experiment)
    few = targets[: min(ASKED, len(targets))]
    several_outputs = answered and not isinstance(outputs, Tensor)
    if several_outputs and few.dim() > 1 and few[0].numel() > 1 and len(_answering(few, outputs)) > 1:
        return Scoring("loss")  # several heads, each with a column of the targets: only the loss knows which
    if answered:
        outputs = answer_to(few, outputs)
        if outputs is None or (not several_outputs and _without_targets(experiment.loss, outputs, few)):
            return Scoring("loss")
    if _rows_of_classes(targets) and (outputs is None or outputs.shape == few.shape):
        return Scoring("accuracy", targets.shape[1])
    values = targets[targets != IGNORED].double().reshape(-1) if not targets.is_floating_point() else targets.double().reshape(-1)
    if not len(values) or not bool(torch.isfinite(values).all()):
        return Scoring("loss")
    whole, low, high = bool((values == values.round()).all()), float(values.min()), float(values.max())
    several = outputs is not None and class_axis(outputs, few) is not None
    if whole and low >= 0 and several and high < CLASSES_LIMIT:
        if isinstance(outputs, Tensor) and _alike_in_any_column(experiment.loss, outputs, few):
            return Scoring("loss")  # an embedding of the classes and no scores
        return Scoring("accuracy", max(int(high) + 1, 2))
    if len(set(values.unique().tolist())) == 2 and not several and whole:
        return Scoring("accuracy", 2, values=(low, high))
    if several_outputs:
        return Scoring("loss")  # a variational autoencoder's reconstruction may be raw scores: only its loss knows
    if outputs is not None and _of_logarithms(experiment.loss, outputs, few):
        return Scoring("loss")
    return Scoring("r2" if outputs is None or outputs.numel() == few.numel() else "loss")


def _of_logarithms(loss: Callable[[Any, Any], Any], outputs: Tensor, targets: Tensor) -> bool:
    """Whether the loss takes outputs as logarithms of the targets, as a Poisson regression does: their R2 would say nothing."""
    if outputs.numel() != targets.numel() or not bool((targets >= 0).all()) or not bool((targets > 0).any()):
        return False
    values = targets.to(outputs.dtype)
    least = float(values[values > 0].min()) / 2
    try:
        same, logarithms = (float(loss(answer.reshape(outputs.shape), targets)) for answer in (values, values.clamp_min(least).log()))
    except Exception:  # a loss that wants more than outputs and targets
        return False
    return logarithms < same


def _answer(experiment: Experiment) -> tuple[bool, Any]:
    """Whether the untrained network answers a few samples, and what."""
    inputs, _ = experiment.samples("train", ASKED)
    with random_state_kept(set(), None):
        model, _ = experiment.build(0)  # with gradients: a factory may train what it gives
        model.eval()
        try:
            with torch.no_grad():
                return True, mapped(lambda tensor: tensor.cpu(), called(model, on_device(inputs, device_of(model))))
        except Exception:  # check() says what fails, with the batch in hand
            return False, None


def _without_targets(loss: Callable[[Any, Any], Any], outputs: Tensor, targets: Tensor) -> bool:
    """Whether the loss is the same for other targets, as that of samples which are compared with each other: then they are no answers.

    Asked about made-up outputs in [0, 1], which every loss takes: those of an untrained network may all be the same.
    """
    others = targets.clone()
    others[0] = next((one for one in targets if not torch.equal(one, targets[0])), targets[0])  # another order may be the same to a loss
    if torch.equal(others, targets) or not outputs.is_floating_point():
        return False
    chance = torch.Generator().manual_seed(0)
    made, unlike = (torch.rand(outputs.shape, generator=chance).to(outputs.dtype) for _ in range(2))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of shapes: they are told as a finding
            first, second, third = (torch.as_tensor(loss(*pair)) for pair in ((made, targets), (made, others), (unlike, targets)))
    except Exception:  # a loss that takes something else than these outputs
        return False
    return torch.equal(first, second) and not torch.equal(first, third)


def _alike_in_any_column(loss: Callable[[Any, Any], Any], outputs: Tensor, targets: Tensor) -> bool:
    """Whether the loss is the same when the columns of the outputs change places, and not for other outputs: none is a class's.

    A loss that is the mean or the sum over samples judges each by itself; that it treats the columns alike is then the mistake.
    """
    axis = class_axis(outputs, targets)
    if axis is None or not outputs.is_floating_point():
        return False
    chance = torch.Generator().manual_seed(0)
    made, unlike = (torch.rand(outputs.shape, generator=chance).to(outputs.dtype) for _ in range(2))
    try:
        first, turned, other = (float(loss(one, targets)) for one in (made, made.roll(1, axis), unlike))
    except Exception:  # a loss that takes something else than these outputs
        return False
    if not abs(first - turned) <= ROUNDED * abs(first) < abs(first - other):
        return False
    try:
        alone = [float(loss(made[place : place + 1], targets[place : place + 1])) for place in range(len(made))]
    except Exception:  # samples are compared with each other: one alone has no loss
        return True
    total = sum(alone)
    return not min(abs(first - total / len(alone)), abs(first - total)) <= ROUNDED * abs(first)


def constant_score(experiment: Experiment, scoring: Scoring | None = None) -> float | None:
    """The score of the best constant answer on the part that is scored; None for a loss."""
    scoring = scoring or scoring_of(experiment)
    if scoring.metric == "loss":
        return None
    if scoring.metric == "r2":
        return 0.0
    _, targets = experiment.samples("train" if experiment.test is None else "test", 20_000)
    labels = targets.argmax(1) if _rows_of_classes(targets) else targets
    _, counts = labels[labels != IGNORED].reshape(-1).unique(return_counts=True)
    return 1 / len(counts) if scoring.balanced else float(counts.max() / counts.sum())


def _chunks(batch: Batch) -> Iterable[Batch]:
    """A batch in parts of CHUNK samples, where all of its tensors have as many."""
    inputs, targets = batch
    leading = first_tensor(targets)
    size = len(leading) if leading.dim() else 0
    sizes: set[int] = set()
    mapped(lambda tensor: (sizes.add(len(tensor) if tensor.dim() else -1), tensor)[1], (inputs, targets))
    if size <= CHUNK or sizes != {size}:
        yield batch
        return
    for start in range(0, size, CHUNK):
        part = slice(start, start + CHUNK)
        yield mapped(lambda t, p=part: t[p], inputs), mapped(lambda t, p=part: t[p], targets)


def _rows_of_classes(targets: Tensor) -> bool:
    """Rows of K > 1 with a single 1 and else 0."""
    if targets.dim() != 2 or targets.shape[1] < 2:
        return False
    return bool(((targets == 0) | (targets == 1)).all()) and bool((targets.sum(1) == 1).all())
