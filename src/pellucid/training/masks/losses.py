"""Losses of scores for every pixel, z (N, K, H, W), against masks y (N, H, W); IGNORED counts nothing. p = softmax(z).

    name            equation, over the pixels i that count, w the class weights (1 without the option)
    cross_entropy   - sum_i w[y_i] ln p_i[y_i] / sum_i w[y_i]
    focal           - sum_i w[y_i] (1 - p_i[y_i])^2 ln p_i[y_i] / sum_i w[y_i]            Lin et al. 2017, equations 4 and 5, gamma = 2
    dice            mean over images of 1 - 1 / |C| sum_{c in C} (2 sum_i p_i[c] [y_i = c] + 1) / (sum_i p_i[c] + sum_i [y_i = c] + 1)
                    C: the classes that the image shows             Milletari et al. 2016, section 3; Sudre et al. 2017, squares left out
    cross_entropy+dice, focal+dice      the sum of the two                                Isensee et al. 2021, online methods

The logarithm is natural. Cross-entropy and focal are means over all pixels of the batch together, as in torch.nn.CrossEntropyLoss with
ignore_index; dice is one number per image, and the 1 in its fraction keeps it defined where a class is neither there nor answered.

class_weight="balanced" is median-frequency balancing: w_c = median(f) / f_c, where f_c is the share of c among the pixels that count of
the images that show c. Source: Eigen and Fergus 2015, section 5.2; Badrinarayanan et al. 2017, section 3.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from pellucid.data.masks.classes import IGNORED, VOID

GAMMA = 2.0  # of the focal loss: Lin et al. 2017, section 4.1
MASK_LOSSES = ("cross_entropy", "focal", "dice", "cross_entropy+dice", "focal+dice")
Terms = Callable[[Tensor, Tensor], Tensor]


def terms_of(name: str, weight: Tensor | None, smoothing: float) -> Terms:
    """A function of (z, y) that gives (N, parts, 2): of each image, for each part of the loss, a sum and what all sums are divided by.

    The loss of any number of images is sum over parts of (sum over images of the first) / (sum over images of the second).
    """
    parts = [_PARTS[part](weight, smoothing) for part in name.split("+")]

    def terms(output: Tensor, targets: Tensor) -> Tensor:
        return torch.stack([part(output, targets) for part in parts], dim=1)

    return terms


def total(terms: Tensor) -> Tensor:
    """The loss of (N, parts, 2) terms; a part in which nothing counts is 0."""
    above, below = terms.sum(0).unbind(1)
    return (above / below.clamp_min(torch.finfo(below.dtype).tiny)).sum()


def per_image(terms: Tensor) -> Tensor:
    """(N,): each image's share, scaled so that the mean of all is the loss."""
    above, below = terms.unbind(2)  # (N, parts)
    return (above * len(terms) / below.sum(0).clamp_min(torch.finfo(below.dtype).tiny)).sum(1)


def _pixelwise(losses: Tensor, targets: Tensor, weight: Tensor | None) -> Tensor:
    """(N, 2): the sum of (N, H, W) weighted losses, 0 where nothing counts, and of the weights."""
    counts = targets != IGNORED
    shares = counts.to(losses.dtype) if weight is None else weight.to(losses)[targets.masked_fill(~counts, 0)] * counts
    return torch.stack([losses.flatten(1).sum(1), shares.flatten(1).sum(1)], dim=1)


def _cross_entropy(weight: Tensor | None, smoothing: float) -> Terms:
    def terms(output: Tensor, targets: Tensor) -> Tensor:
        of_type = None if weight is None else weight.to(output)
        losses = F.cross_entropy(output, targets, of_type, ignore_index=IGNORED, reduction="none", label_smoothing=smoothing)
        return _pixelwise(losses, targets, weight)

    return terms


def _focal(weight: Tensor | None, smoothing: float) -> Terms:
    def terms(output: Tensor, targets: Tensor) -> Tensor:
        surprise = F.cross_entropy(output, targets, ignore_index=IGNORED, reduction="none")  # -ln p[y], 0 where nothing counts
        losses = (-torch.expm1(-surprise)) ** GAMMA * surprise
        if weight is not None:
            losses = losses * weight.to(losses)[targets.clamp_min(0)]
        return _pixelwise(losses, targets, weight)

    return terms


def _dice(weight: Tensor | None, smoothing: float) -> Terms:
    def terms(output: Tensor, targets: Tensor) -> Tensor:
        counts = (targets != IGNORED)[:, None]  # (N, 1, H, W)
        chances = output.softmax(1) * counts
        hot = torch.zeros_like(chances).scatter_(1, targets.clamp_min(0)[:, None], 1.0) * counts
        common, both = (chances * hot).sum((2, 3)), (chances + hot).sum((2, 3))  # (N, K)
        shown = (hot.amax((2, 3)) > 0).to(output.dtype)
        share = shown if weight is None else shown * weight.to(output)
        ratio = (share * (2 * common + 1) / (both + 1)).sum(1) / share.sum(1).clamp_min(torch.finfo(output.dtype).tiny)
        images = (share.sum(1) > 0).to(output.dtype)
        return torch.stack([(1 - ratio) * images, images], dim=1)

    return terms


_PARTS: dict[str, Callable[[Tensor | None, float], Terms]] = {"cross_entropy": _cross_entropy, "focal": _focal, "dice": _dice}


def median_frequency_weights(targets: Tensor, classes: int) -> list[float]:
    """(K,) weights of masks as they are kept, (N, H, W) bytes; a class that no mask shows weighs 1."""
    counts = torch.stack([torch.bincount(mask[mask != VOID].flatten().long(), minlength=classes) for mask in targets]).double()  # (N, K)
    counting = counts.sum(1, keepdim=True)
    shown = counts > 0
    frequency = counts.sum(0) / (shown * counting).sum(0)
    median = float(frequency[shown.any(0)].median())
    return [median / float(share) if there else 1.0 for share, there in zip(frequency, shown.any(0).tolist(), strict=True)]
