"""Confident learning: which labels of a classification are wrong, told from out-of-sample probabilities.

    probabilities = cross_validated(experiment, folds=3, seconds=60.0)
    joint = confident_joint(labels, probabilities)
    suspects = noisy_samples(labels, probabilities)

Source: C. Northcutt, L. Jiang and I. Chuang, Confident learning: estimating uncertainty in dataset labels, Journal of Artificial
Intelligence Research 70, 2021. Equations are those of section 3.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader

from pellucid.core.trace.model import random_state_kept
from pellucid.diagnosis.experiments.experiment import Experiment
from pellucid.diagnosis.experiments.samples import called, device_of, evenly, mapped, on_device, samples_in, taken
from pellucid.diagnosis.static.program import described_targets

LEAST_FOLD = 20  # updates of a fold's training
BATCH = 512
TESTED = 5_000


def thresholds(labels: Tensor, probabilities: Tensor) -> Tensor:
    """t_j (K,): the mean probability of class j among the samples labelled j (equation 2); infinite for a class without samples."""
    classes = probabilities.shape[1]
    own = probabilities[torch.arange(len(labels)), labels]
    count = torch.bincount(labels, minlength=classes)
    total = torch.zeros(classes, dtype=probabilities.dtype).index_add_(0, labels, own)
    return torch.where(count > 0, total / count.clamp_min(1), torch.full_like(total, torch.inf))


def confident_classes(labels: Tensor, probabilities: Tensor) -> Tensor:
    """(N,): the likeliest among the classes whose threshold a sample reaches; -1 where it reaches none."""
    reached = probabilities >= thresholds(labels, probabilities)
    best = torch.where(reached, probabilities, torch.full_like(probabilities, -torch.inf)).argmax(1)
    return torch.where(reached.any(1), best, torch.full_like(best, -1))


def confident_joint(labels: Tensor, probabilities: Tensor) -> Tensor:
    """C (K, K): how many samples with label i are confidently of class j (equation 1)."""
    classes = probabilities.shape[1]
    chosen = confident_classes(labels, probabilities)
    known = chosen >= 0
    return torch.bincount(labels[known] * classes + chosen[known], minlength=classes * classes).reshape(classes, classes)


def estimated_joint(labels: Tensor, probabilities: Tensor) -> Tensor:
    """Q (K, K), float64: the share of samples with label i and true class j; row sums are the labels' shares (equation 3)."""
    classes = probabilities.shape[1]
    joint = confident_joint(labels, probabilities).double()
    count = torch.bincount(labels, minlength=classes).double()
    empty = joint.sum(1) == 0
    joint[empty] = torch.diag(count)[empty]
    joint = joint / joint.sum(1, keepdim=True).clamp_min(1e-300) * count[:, None]
    return joint / joint.sum()


def self_confidence(labels: Tensor, probabilities: Tensor) -> Tensor:
    """(N,): the probability of the given label. The lower, the likelier it is wrong."""
    return probabilities[torch.arange(len(labels)), labels]


def normalised_margin(labels: Tensor, probabilities: Tensor) -> Tensor:
    """(N,): the probability of the given label minus that of the likeliest other class. The lower, the likelier it is wrong."""
    own = self_confidence(labels, probabilities)
    others = probabilities.clone()
    others[torch.arange(len(labels)), labels] = -torch.inf
    return own - others.amax(1)


RANKINGS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"self_confidence": self_confidence, "normalised_margin": normalised_margin}


def noisy_samples(labels: Tensor, probabilities: Tensor, ranking: str = "self_confidence", by: str = "noise_rate") -> Tensor:
    """Places (n,) of samples whose label is likely wrong, the likeliest first.

    by "confident_joint": those counted off its diagonal. by "noise_rate": for each pair of a label i and another class j, the
    N Q_ij samples whose probability of j most exceeds that of i (section 3.2, "prune by noise rate"). "both": the intersection.
    """
    scores = RANKINGS[ranking](labels, probabilities)
    chosen = torch.ones(len(labels), dtype=torch.bool)
    if by in ("confident_joint", "both"):
        confident = confident_classes(labels, probabilities)
        chosen &= (confident >= 0) & (confident != labels)
    if by in ("noise_rate", "both"):
        chosen &= _by_noise_rate(labels, probabilities)
    places = chosen.nonzero()[:, 0]
    return places[scores[places].argsort(stable=True)]


def _by_noise_rate(labels: Tensor, probabilities: Tensor) -> Tensor:
    wanted = (estimated_joint(labels, probabilities) * len(labels)).round().long()
    marked = torch.zeros(len(labels), dtype=torch.bool)
    for i, j in (wanted > 0).nonzero().tolist():
        own = (labels == i).nonzero()[:, 0]
        if i != j and len(own):
            margin = probabilities[own, j] - probabilities[own, i]
            marked[own[margin.topk(min(int(wanted[i, j]), len(own))).indices]] = True
    return marked


def noise_share(labels: Tensor, probabilities: Tensor) -> float:
    """The estimated share of wrong labels: 1 minus the trace of Q."""
    return float(1 - estimated_joint(labels, probabilities).trace())


# -- out-of-sample probabilities -----------------------------------------------------------------------------------------------------------


def as_probabilities(predicted: Tensor) -> Tensor:
    """Scores of a least-squares fit to one-hot rows, (N, K), which estimate the classes' shares: cut to [0, 1], and of sum 1."""
    cut = predicted.clamp(1e-6, 1.0)
    return cut / cut.sum(1, keepdim=True)


@dataclass(frozen=True, kw_only=True)
class OutOfSample:
    """What the experiment's own network says of training samples that it was not trained on."""

    probabilities: Tensor  # (N, K)
    labels: Tensor  # (N,) as they are given
    test_error: float | None = None  # share of the test part that the same networks get wrong, on average
    test_samples: int = 0
    folds: int = 0

    @classmethod
    def of(cls, experiment: Experiment, seconds: float, folds: int = 2, seed: int = 0) -> OutOfSample | None:
        """Train `folds` times on the rest; None where `cross_validated` gives none, or where targets are no classes of single samples."""
        errors: list[float] = []
        tested = _test_labels(experiment)

        def judge(model: torch.nn.Module) -> None:
            if tested is not None:
                answers = _answers(model, experiment, "test", tested[0])
                if answers is not None and int(tested[1].max()) < answers.shape[1]:
                    errors.append(float((answers.argmax(1) != tested[1]).double().mean()))

        probabilities = cross_validated(experiment, folds, seconds, seed, judge)
        if probabilities is None:
            return None
        labels = class_numbers(taken(experiment.train, torch.arange(len(probabilities)))[1])
        if labels is None or int(labels.max()) >= probabilities.shape[1]:
            return None
        known = sum(errors) / len(errors) if len(errors) == folds else None
        samples = len(tested[1]) if tested is not None and known is not None else 0
        return cls(probabilities=probabilities, labels=labels, test_error=known, test_samples=samples, folds=folds)


def class_numbers(targets: Any) -> Tensor | None:
    """(N,) class indices from 0 of targets that have one class each; None where they are anything else."""
    if not isinstance(targets, Tensor) or targets.is_complex():
        return None
    known = described_targets(targets)
    if known.kind == "one_hot":
        return targets.argmax(1)
    whole = known.kind in ("classes", "binary") and known.low >= 0 and targets.numel() == len(targets)
    return targets.detach().reshape(-1).long().cpu() if whole else None


def _test_labels(experiment: Experiment) -> tuple[Tensor, Tensor] | None:
    """Places of at most TESTED test samples and their classes."""
    if experiment.test is None or isinstance(experiment.test, DataLoader):
        return None
    places = evenly(samples_in(experiment.test), TESTED)
    with random_state_kept(set(), 0):
        labels = class_numbers(taken(experiment.test, places, "test")[1])
    return None if labels is None else (places, labels)


def cross_validated(
    experiment: Experiment, folds: int = 3, seconds: float = 60.0, seed: int = 0, judge: Callable[[torch.nn.Module], None] | None = None
) -> Tensor | None:
    """Probabilities (N, K) of the training samples, each from a training of the experiment's own network without it.

    Each fold's training is the user's, cut off when its share of `seconds` is over; `judge` gets each trained network. None where the data
    are a loader, where the outputs are no scores of classes, or where a fold makes fewer than 20 updates.
    """
    data = experiment.train
    if isinstance(data, DataLoader) or experiment.prepared:
        return None
    size, began = samples_in(data), time.perf_counter()
    with random_state_kept(set(), None):
        order = torch.randperm(size, generator=torch.Generator().manual_seed(seed))
        answers: Tensor | None = None
        for fold in range(folds):
            held = order[fold::folds]
            kept = torch.ones(size, dtype=torch.bool)
            kept[held] = False
            share = (seconds - (time.perf_counter() - began)) / (folds - fold)
            trial = _without(experiment, kept.nonzero()[:, 0]).run(seed, seconds=0.9 * share, score=False)
            if trial.model is None or not trial.finite or trial.error is not None or len(trial.losses) < LEAST_FOLD:
                return None
            probabilities = _answers(trial.model, experiment, "train", held)
            if probabilities is None:
                return None
            if judge is not None:
                judge(trial.model)
            answers = torch.zeros(size, probabilities.shape[1]) if answers is None else answers
            answers[held] = probabilities
    return answers


def _without(experiment: Experiment, kept: Tensor) -> Experiment:
    from torch.utils.data import Subset

    data = experiment.train
    part = tuple(mapped(lambda t: t[kept], one) for one in data) if isinstance(data, tuple) else Subset(data, kept.tolist())
    return experiment.changed(train=part, test=None)


@torch.no_grad()
def _answers(model: torch.nn.Module, experiment: Experiment, part: str, places: Tensor) -> Tensor | None:
    """Probabilities (n, K) of some samples of a part, in evaluation mode."""
    model.eval()
    found: list[Tensor] = []
    for few in places.split(BATCH):
        inputs, _ = taken(getattr(experiment, part), few, part)
        outputs = called(model, on_device(inputs, device_of(model)))
        if not isinstance(outputs, Tensor) or outputs.dim() != 2 or outputs.shape[1] < 1:
            return None
        found.append(outputs.float().cpu())
    scores = torch.cat(found)
    if not bool(scores.isfinite().all()):
        return None
    if scores.shape[1] == 1:  # one score for two classes
        one = scores if bool(((scores >= 0) & (scores <= 1)).all()) else scores.sigmoid()
        return torch.cat([1 - one, one], 1)
    shares = bool((scores >= 0).all()) and bool(((scores.sum(1) - 1).abs() < 1e-3).all())
    return scores if shares else F.softmax(scores, 1)
