"""How good masks are: counts of pixels per image, and the scores that are functions of their sums.

n[i, a, b] is how many pixels of image i are of class a and were answered b; void pixels are in none. Over all: n[a, b] = sum_i n[i, a, b],

    mean_iou         mean over the classes that occur or are answered of n[c, c] / (sum_b n[c, b] + sum_a n[a, c] - n[c, c])
    dice             mean over the same classes of 2 n[c, c] / (sum_b n[c, b] + sum_a n[a, c])
    pixel_accuracy   sum_c n[c, c] / sum_{a, b} n[a, b]

These are scores of the part as a whole, not means of the images' own scores: Everingham et al. 2015, section 4.1.4. Intervals:
percentiles of bootstrap resamples of whole images, since the pixels of one image are anything but independent.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from pellucid.data.masks.classes import IGNORED, VOID

_PIXELS = 2**22  # counted together


def answered(output: Tensor) -> Tensor:
    """(N, H, W) uint8 class maps of scores (N, K, H, W); maps as they are."""
    return output.argmax(1).to(torch.uint8) if output.ndim == 4 else output


def compact(targets: Tensor) -> Tensor:
    """Masks of batches, int64 with IGNORED, as they are kept: bytes with VOID."""
    return targets if targets.dtype == torch.uint8 else targets.masked_fill(targets == IGNORED, VOID).to(torch.uint8)


def pixel_counts(output: Tensor, targets: Tensor, classes: int) -> Tensor:
    """(N, K, K) float64 n[i, a, b] of scores or class maps against masks (N, H, W), as in batches or as they are kept."""
    step = max(1, _PIXELS // max(1, targets[:1].numel()))  # some images at a time: a part has more pixels than numbers fit into memory
    return torch.cat([_counted(some, truth, classes) for some, truth in zip(output.split(step), targets.split(step), strict=True)])


def _counted(output: Tensor, targets: Tensor, classes: int) -> Tensor:
    maps, masks = answered(output).long().flatten(1), compact(targets).long().flatten(1)
    counts = masks != VOID
    image = torch.arange(len(maps), device=maps.device)[:, None].expand_as(maps)
    cells = (image * classes + masks) * classes + maps.clamp_max(classes - 1)
    return torch.bincount(cells[counts], minlength=len(maps) * classes**2).view(len(maps), classes, classes).double()


def intersection_over_union(counts: np.ndarray) -> np.ndarray:
    """(..., K) of counts (..., K, K); NaN for a class that neither occurs nor is answered."""
    right, either = _overlap(counts)
    return _share(right, either - right)


def dice(counts: np.ndarray) -> np.ndarray:
    """(..., K): the F1 of the pixels of each class."""
    right, either = _overlap(counts)
    return _share(2 * right, either)


def _overlap(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return np.diagonal(counts, axis1=-2, axis2=-1), counts.sum(-1) + counts.sum(-2)


def _share(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    return np.divide(above, below, out=np.full(np.shape(above), np.nan), where=below > 0)


def _mean(values: np.ndarray) -> np.ndarray:
    """Over the last axis, of the numbers that there are."""
    there = np.isfinite(values)
    return _share(np.where(there, values, 0.0).sum(-1), there.sum(-1))


FROM_PIXELS = {  # name -> a function of counts (..., K, K)
    "mean_iou": lambda counts: _mean(intersection_over_union(counts)),
    "pixel_accuracy": lambda counts: _share(np.trace(counts, axis1=-2, axis2=-1), counts.sum((-2, -1))),
    "dice": lambda counts: _mean(dice(counts)),
}


def joined_masks(masks: list[Tensor]) -> Tensor:
    """(N, H, W) of several (n, h, w): smaller ones lie in the upper left, VOID beside them."""
    height, width = (max(mask.shape[axis] for mask in masks) for axis in (1, 2))
    if all(mask.shape[1:] == (height, width) for mask in masks):
        return torch.cat(masks)
    return torch.cat([torch.nn.functional.pad(mask, (0, width - mask.shape[2], 0, height - mask.shape[1]), value=VOID) for mask in masks])


def commonest_at_each_place(targets: Tensor, classes: int) -> Tensor:
    """(H, W) uint8: the class that most masks (N, H, W) have at each pixel; where all are void, the commonest of all."""
    counts = torch.zeros(classes, *targets.shape[1:], dtype=torch.int32)
    for mask in targets:
        for index in mask.unique().tolist():
            if index != VOID:
                counts[index] += (mask == index).to(torch.int32)
    best = counts.argmax(0)
    return torch.where(counts.sum(0) > 0, best, counts.flatten(1).sum(1).argmax()).to(torch.uint8)


def like(constant: Tensor, targets: Tensor) -> Tensor:
    """The map (H, W) for each of the masks (N, h, w): cut, or continued by its border where these are larger."""
    height, width = targets.shape[1:]
    rows = torch.arange(height).clamp_max(constant.shape[0] - 1)
    columns = torch.arange(width).clamp_max(constant.shape[1] - 1)
    return constant[rows[:, None], columns].expand(len(targets), height, width)
