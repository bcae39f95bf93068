"""What a probe finds between inputs and targets: within each part, from one to the other, and after a change of order or code."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from pellucid.diagnosis.data.contents import PROBED, Contents, Part

NEIGHBOURS = 1.5  # times as many confusions between neighbouring numbers as between any two: an order
TURNED = 0.7  # share of what a probe knows within the training part that it knows of the test part under another code of the classes
LEAST_TEST = 100


def confused_neighbours(predicted: Tensor, labels: Tensor) -> float | None:
    """How often the class that a sample is taken for, or would be next, is a neighbouring number, over chance; None below four classes."""
    count = predicted.shape[1]
    if count < 4:
        return None
    scores = predicted.clone()
    scores[torch.arange(len(labels)), labels] = -math.inf
    near = float(((scores.argmax(1) - labels).abs() == 1).float().mean())
    pairs = sum((1 if label in (0, count - 1) else 2) * float((labels == label).float().mean()) for label in range(count))
    return near / (pairs / (count - 1))


def told_by_probe(part: Part, predicted: Tensor | None = None, places: Tensor | None = None) -> tuple[float, float, float] | None:
    """Accuracy or R2 of a probe's left-out predictions, the same of a constant answer, and the standard error of the former."""
    values = part.values
    if values is None or (predicted is None and part.probed is None):
        return None
    if predicted is None or places is None:
        assert part.probed is not None
        _, places, predicted = part.probed
    wanted = values[places]
    if predicted.shape != wanted.shape:
        return None
    count = len(wanted)
    if part.categorical:
        right = (predicted.argmax(1) == wanted.argmax(1)).double().mean()
        blind = float(wanted.sum(0).max() / count)
        return float(right), blind, math.sqrt(max(blind * (1 - blind), 0.25 / count) / count)
    spread = ((wanted - wanted.mean(0)) ** 2).sum()
    if float(spread) == 0:
        return None
    return (
        float(1 - ((predicted - wanted) ** 2).sum() / spread),
        0.0,
        3 / count,
    )  # of nothing, left out: about 0, seldom more than a few N-ths


def relations(seen: Contents) -> tuple[float, float, float, float, float] | None:
    """Scores within the training part, within the test part, from one to the other, of a constant answer, and a standard error."""
    train, test, across = seen.train, seen.test, seen.across
    if train is None or test is None or across is None or len(across) < LEAST_TEST or not same_classes(train, test):
        return None
    within, other = told_by_probe(train), told_by_probe(test)
    over = told_by_probe(test, across, test.chosen(PROBED))
    if within is None or other is None or over is None:
        return None
    return within[0], other[0], over[0], max(within[1], other[1]), max(within[2], other[2])


def same_classes(train: Part, test: Part) -> bool:
    """Whether class i of the one is class i of the other."""
    if train.labels is None or test.labels is None or not train.categorical:
        return train.categorical == test.categorical
    if train.targets.kind == "one_hot" or test.targets.kind == "one_hot":
        return train.outputs.shape[1:] == test.outputs.shape[1:] and int(train.labels.max()) == int(test.labels.max())
    return bool(torch.equal(train.outputs.unique(), test.outputs.unique()))


def recoded(seen: Contents) -> tuple[list[int], float, float] | None:
    """The class of the test part for each class of the training part, where another than its own; the accuracy with it and without.

    The confusion of a probe that learnt from the training part: where its answers are right only after the classes are renamed, the two
    parts were encoded apart.
    """
    train, test, across = seen.train, seen.test, seen.across
    if train is None or test is None or across is None or not train.categorical or not same_classes(train, test):
        return None
    labels, known = test.labels, told_by_probe(train)
    if labels is None or known is None or len(across) < LEAST_TEST or across.shape[1] < 2 or known[0] <= known[1] + 5 * known[2]:
        return None
    wanted, answer = labels[test.chosen(PROBED)], across.argmax(1)
    classes = across.shape[1]
    confusion = torch.zeros(classes, classes).index_put_((answer, wanted), torch.ones(len(wanted)), accumulate=True)
    plain, gained = float(confusion.diag().sum() / len(wanted)), 0.5 * (known[0] - known[1])
    if float(min(confusion.amax(0).sum(), confusion.amax(1).sum()) / len(wanted)) - plain <= gained:
        return None  # no renaming brings that much: no need to load scipy, which takes a second
    from scipy.optimize import linear_sum_assignment

    order = torch.from_numpy(linear_sum_assignment(-confusion.numpy())[1])
    renamed = float(confusion[torch.arange(classes), order].sum() / len(wanted))
    blind = max(known[1], float(wanted.bincount().max() / len(wanted)))
    right = renamed - blind >= TURNED * (known[0] - known[1]) and renamed - plain > gained
    return (order.tolist(), renamed, plain) if right else None
