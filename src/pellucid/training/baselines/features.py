"""What classical models see of each kind of data: a matrix for those that weigh inputs, one for trees. Nothing is fitted here but means.

Tables come through the run's own preprocessing, which was fitted on the training part. Its piecewise linear features serve the linear
model alone: they would drown the distances of a support vector machine, and trees find such steps themselves. For trees the one-hot
features of a categorical column are put back together to one column of codes.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from pellucid.core.language import Text, text
from pellucid.training.baselines import series

LARGEST_SIDE = 16  # pixels: larger images are averaged down
MOST_TOKENS = 4096  # of a bag of words
_VIEW_ENTRIES = 2**26  # of one matrix: 256 MB; more samples than fit are left out, and that is said

Matrix = np.ndarray  # (n, features) float32


@dataclass(frozen=True)
class Features:
    """Turns batches of a part into matrices. `views` are "linear", "distances" and "trees"; of series also "neighbours"."""

    views: dict[str, Callable[[Tensor], Tensor]]
    categorical: tuple[int, ...]  # columns of "trees" that hold codes; -1 is a level that was never seen
    description: Text
    standardise: bool  # whether "linear" and "distances" still have to be standardised
    width: int  # of the widest view
    sparse: bool = False  # nearly all numbers are zero: models that can are given the others alone

    @property
    def most_samples(self) -> int:
        return max(1, _VIEW_ENTRIES // max(1, self.width))


def features_of(part: Any, preprocessing: Any) -> Features | Text:
    """How the samples of `part` become vectors, or why they do not."""
    sample = next(iter(part.batches(2)))[0]
    if getattr(preprocessing, "kind", "") == "text":
        return _of_texts(part, len(preprocessing.vocabulary))
    if getattr(preprocessing, "kind", "") == "series":
        return _of_series(tuple(preprocessing.input_shape))
    if not sample.is_floating_point():
        return text(
            "the inputs are whole numbers of type {dtype}, which may be codes such as words", dtype=str(sample.dtype).split(".")[-1]
        )
    if getattr(preprocessing, "kind", "") == "table":
        return _of_table(preprocessing)
    shape = tuple(sample.shape[1:])
    if len(shape) == 3 and min(shape[1:]) > 1 and shape[0] <= 16:
        return _of_images(shape, preprocessing)
    width = int(np.prod(shape))
    if not width:
        return text("the inputs have the shape {shape}", shape=str(shape))
    description = (
        text("the {count} numbers of a sample, standardised", count=width)
        if len(shape) == 1
        else text("the {count} numbers of a sample of shape {shape} as one vector, standardised", count=width, shape=str(shape))
    )
    flat = _flattened
    return Features({"linear": flat, "distances": flat, "trees": flat}, (), description, True, width)


def _flattened(batch: Tensor) -> Tensor:
    return batch.reshape(len(batch), -1)


def _of_images(shape: tuple[int, ...], preprocessing: Any) -> Features:
    channels, height, width = shape
    size = (min(height, LARGEST_SIDE), min(width, LARGEST_SIDE))

    def pixels(batch: Tensor) -> Tensor:
        return _flattened(F.adaptive_avg_pool2d(batch, size) if size != (height, width) else batch)

    description = (
        text("the pixels, {channels} x {height} x {width}", channels=channels, height=height, width=width)
        if size == (height, width)
        else text(
            "the pixels of {channels} x {height} x {width}, averaged down to {channels} x {small_height} x {small_width}",
            channels=channels, height=height, width=width, small_height=size[0], small_width=size[1],
        )
    )  # fmt: skip
    own = getattr(preprocessing, "kind", "") not in ("images", "array")  # ours are standardised per channel already
    return Features({"linear": pixels, "distances": pixels, "trees": pixels}, (), description, own, channels * size[0] * size[1])


def _of_texts(part: Any, vocabulary: int) -> Features:
    """Bag of words: tf-idf of the commonest tokens, each text divided by its Euclidean norm; see data.tables.prose for the formula."""
    width = min(vocabulary, MOST_TOKENS)

    def counts(batch: Tensor) -> Tensor:  # (n, width); padding is no token
        known = batch.clamp(max=width)  # rarer ones into a column that is left out
        counted = torch.zeros(len(batch), width + 1).scatter_add_(1, known, torch.ones(known.shape))
        return torch.cat([torch.zeros(len(batch), 1), counted[:, 1:width]], 1)

    documents, texts = torch.zeros(width), 0
    for batch, _ in part.batches(1024):
        documents += (counts(batch) > 0).sum(0)
        texts += len(batch)
    rarity = torch.log((1 + texts) / (1 + documents)) + 1

    def bag(batch: Tensor) -> Tensor:
        counted = counts(batch.long())
        weights = torch.where(counted > 0, (1 + counted.clamp(min=1).log()) * rarity, 0.0)
        return weights / weights.norm(dim=1, keepdim=True).clamp(min=1e-12) * math.sqrt(width) / 4

    description = text("a bag of words: which of the {count} commonest tokens a text holds, weighted by their rarity (tf-idf)", count=width)
    return Features({"linear": bag, "distances": bag, "trees": bag}, (), description, False, width, sparse=True)


def _of_series(shape: tuple[int, ...]) -> Features:
    channels, longest = shape
    steps = min(longest, series.MOST_STEPS)
    width = series.summary_width(channels)
    description = text(
        "{count} numbers that sum a series up: of each channel mean, standard deviation, extremes, slope and autocorrelation, and mean, "
        "standard deviation and slope of each quarter; for the nearest neighbour the series themselves",
        count=width,
    )
    views = dict.fromkeys(("linear", "distances", "trees"), series.summary)
    return Features(
        {**views, "neighbours": lambda batch: series.stretched(batch, steps)}, (), description, True, max(width, channels * steps)
    )


def _of_table(preprocessing: Any) -> Features:
    plain: list[int] = []  # columns of the encoded table that are no pieces of a number
    groups: list[tuple[bool, list[int]]] = []  # (whether they are one category's levels, columns)
    first = 0
    for encoding in preprocessing.encodings.values():
        columns = list(range(first, first + len(encoding.features)))
        first += len(columns)
        if encoding.kind == "numeric" and columns:
            columns = columns[: int(bool(encoding.scale))] + (columns[-1:] if encoding.missing else [])
        plain += columns
        if encoding.kind == "categorical" and columns:
            groups.append((True, columns))
        else:
            groups += [(False, [column]) for column in columns]
    kept = torch.tensor(plain)

    def trees(batch: Tensor) -> Tensor:
        columns: list[Tensor] = []
        for levels, positions in groups:
            block = batch[:, positions]
            columns.append(torch.where(block.any(1), block.argmax(1), -1).to(batch.dtype) if levels else block[:, 0])
        return torch.stack(columns, 1)

    return Features(
        views={"linear": lambda batch: batch, "distances": lambda batch: batch[:, kept], "trees": trees},
        categorical=tuple(position for position, (levels, _) in enumerate(groups) if levels),
        description=text(
            "the table's {columns} columns, prepared as for the network; for trees a category is one column of codes",
            columns=sum(bool(encoding.features) for encoding in preprocessing.encodings.values()),
        ),
        standardise=False,
        width=first,
    )


@dataclass
class Views:
    """The matrices of one part; equal views share one."""

    features: Features
    matrices: dict[str, Matrix]
    targets: Tensor

    def __len__(self) -> int:
        return len(self.targets)


def views_of(
    part: Any,
    features: Features,
    *,
    rows: np.ndarray | None = None,
    each: Callable[[Tensor], Any] | None = None,
    until: float = math.inf,
    most: float = math.inf,
) -> Views:
    """Every view of the samples `rows` of a part, in that order (all, in the order of the part, by default).

    `each` is called with every batch of inputs: what it computes stands in the same order, whatever order a user's loader has. Reading
    ends when the clock shows `until`, or with `most` samples; at least one batch is read.
    """
    order = None if rows is None else torch.from_numpy(rows).to(getattr(part, "device", "cpu"))
    pieces: dict[Any, list[Tensor]] = {view: [] for view in set(features.views.values())}
    targets: list[Tensor] = []
    read = 0
    for batch, truth in part.batches(1024) if order is None else part.batches(1024, order):
        if each is not None:
            each(batch)
        for view, found in pieces.items():
            found.append(torch.nan_to_num(view(batch.detach().to("cpu", torch.float32))))
        targets.append(truth.cpu())
        read += len(truth)
        if read >= most or time.perf_counter() > until:
            break
    joined = {view: torch.cat(found).numpy() for view, found in pieces.items()}
    return Views(features, {name: joined[view] for name, view in features.views.items()}, torch.cat(targets))


def standardised(train: Matrix, test: Matrix) -> tuple[Matrix, Matrix]:
    """Both by the mean and deviation of the training rows; a column that never varies stays 0."""
    mean = train.mean(axis=0, dtype=np.float64)
    scale = train.std(axis=0, dtype=np.float64)
    scale[scale <= 1e-7 * np.abs(mean)] = 1.0
    scale[scale == 0] = 1.0
    return ((train - mean) / scale).astype(np.float32), ((test - mean) / scale).astype(np.float32)
