"""Masks in detail: every class by itself, what was taken for what, and the images answered worst, as pictures."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import Tensor

from pellucid.core.records import Score, Task
from pellucid.core.results import ClassScores, Confusion, MaskPicture, MaskPictures, PartEvaluation
from pellucid.data.masks.classes import VOID
from pellucid.training.masks.measures import FROM_PIXELS, dice, intersection_over_union, pixel_counts
from pellucid.training.metrics import percentiles, resampled

WORST, TYPICAL = 8, 4  # pictures: those with the largest share of wrong pixels, and some drawn at random
SIDE = 200  # pixels of a picture's longer side
_RIGHT, _WRONG, _NOTHING = (232, 232, 232), (200, 30, 45), (255, 255, 255)


def evaluate_masks(outputs: Tensor, targets: Tensor, task: Task, scores: Sequence[Score], *, seed: int = 0) -> PartEvaluation:
    """What one part says, from class maps (N, H, W) and masks. Intervals: percentiles of bootstrap resamples of whole images."""
    counts = pixel_counts(outputs, targets, task.outputs).numpy()  # (N, K, K)
    draws = resampled(counts, np.random.default_rng(seed))
    assert draws is not None
    total = counts.sum(0)

    def shares(name: str, of: Any) -> list[Score | None]:
        values, drawn = of(total), of(draws)  # (K,), (R, K)
        return [
            None if np.isnan(value) else Score(name=name, value=float(value), interval=percentiles(drawn[:, index]), samples=len(counts))
            for index, value in enumerate(values)
        ]

    precision, recall = shares("precision", _precision), shares("recall", _recall)
    f1, iou = shares("f1", dice), shares("iou", intersection_over_union)
    per_class = tuple(
        ClassScores(
            name=name, samples=int(total[index].sum()), predicted=int(total[:, index].sum()), precision=precision[index],
            recall=recall[index], f1=f1[index], iou=iou[index],
        )
        for index, name in enumerate(task.classes)
    )  # fmt: skip
    whole = total.astype(np.int64)
    order = np.dstack(np.unravel_index(np.argsort(-np.where(np.eye(len(whole), dtype=bool), -1, whole), axis=None), whole.shape))[0]
    pairs = tuple((task.classes[a], task.classes[b], int(whole[a, b])) for a, b in order[:40].tolist() if a != b and whole[a, b])
    return PartEvaluation(
        samples=len(counts),
        scores=tuple(scores),
        per_class=per_class,
        confusion=Confusion(classes=task.classes, counts=tuple(tuple(row) for row in whole.tolist()), pairs=pairs),
    )


def _precision(counts: np.ndarray) -> np.ndarray:
    right, answered = np.diagonal(counts, axis1=-2, axis2=-1), counts.sum(-2)
    return np.divide(right, answered, out=np.full(right.shape, np.nan), where=answered > 0)


def _recall(counts: np.ndarray) -> np.ndarray:
    right, there = np.diagonal(counts, axis1=-2, axis2=-1), counts.sum(-1)
    return np.divide(right, there, out=np.full(right.shape, np.nan), where=there > 0)


# -- pictures ----------------------------------------------------------------------------------------------------------------------------


def mask_pictures(
    outputs: Tensor, targets: Tensor, task: Task, *, part: str, source: Any, samples: Any, preprocessing: Any, seed: int = 0
) -> MaskPictures:
    """The images with the largest share of wrong pixels, and some drawn at random from the others, each beside its mask and the answer.

    Args: class maps and masks (N, H, W) in the order of `source`, the Part they come from; `samples`: what was read, None where it is gone.
    """
    counts = pixel_counts(outputs, targets, task.outputs).numpy()
    counting = counts.sum((1, 2))
    wrong = 1 - np.trace(counts, axis1=1, axis2=2) / np.maximum(counting, 1)
    known = np.flatnonzero(counting > 0)
    worst = known[np.argsort(-wrong[known], kind="stable")][:WORST]
    others = np.setdiff1d(known, worst)
    typical = np.sort(np.random.default_rng(seed).permutation(others)[:TYPICAL])
    palette = np.asarray(preprocessing.classes.palette, dtype=np.uint8)
    chosen = [*((int(place), "worst") for place in worst), *((int(place), "random") for place in typical)]
    pictures: list[MaskPicture] = []
    for place, choice in chosen:
        index = int(np.asarray(source.indices)[place])
        height, width = source.sizes[place].tolist()
        truth, answer = (tensor[place, :height, :width].numpy().astype(np.uint8) for tensor in (targets, outputs))
        mistakes = np.where((truth == answer)[..., None], _RIGHT, _WRONG).astype(np.uint8)
        mistakes[truth == VOID] = _NOTHING
        pictures.append(
            MaskPicture(
                index=index,
                identifier=str(samples.identifiers[index]) if samples is not None else str(index),
                choice=choice,
                pixel_accuracy=float(1 - wrong[place]),
                mean_iou=float(FROM_PIXELS["mean_iou"](counts[place])),
                image=None if samples is None else _png(samples.inputs[index, :, :height, :width].transpose(1, 2, 0), smooth=True),
                mask=_png(coloured(truth, palette)),
                answer=_png(coloured(answer, palette)),
                mistakes=_png(mistakes),
            )
        )
    return MaskPictures(
        part=part,
        samples=len(counts),
        legend=tuple((name, "#{:02x}{:02x}{:02x}".format(*colour)) for name, colour in zip(task.classes, palette.tolist(), strict=True)),
        pictures=tuple(pictures),
    )


def coloured(mask: np.ndarray, palette: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8 of class indices; void is white."""
    return np.concatenate([palette, np.full((VOID + 1 - len(palette), 3), 255, dtype=np.uint8)])[mask]


def _png(pixels: np.ndarray, *, smooth: bool = False) -> str:
    """(H, W, 1 or 3) uint8 as a data URL, the longer side at most SIDE pixels."""
    from PIL import Image

    picture = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else np.ascontiguousarray(pixels))
    factor = min(1.0, SIDE / max(picture.size))
    size = (max(1, round(picture.width * factor)), max(1, round(picture.height * factor)))
    if size != picture.size:
        picture = picture.resize(size, Image.Resampling.BILINEAR if smooth else Image.Resampling.NEAREST)
    if not smooth:
        picture = picture.quantize(256, dither=Image.Dither.NONE)
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
