"""Temperature scaling: probabilities that are as large as the network is often right.

Label smoothing teaches a network to be less sure than it is right. Its scores z divided by one number T give the same answers with other
probabilities, p = softmax(z / T); T makes the cross-entropy of the validation part smallest.

Source: Guo et al. 2017 (arXiv 1706.04599), section 4.2.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

LARGEST_FACTOR = 20.0  # 1 / T lies between 1 / 20 and 20
CALIBRATION_SAMPLES = 2000  # of the validation part: enough for one number


def best_temperature(scores: Tensor, targets: Tensor) -> float:
    """T > 0 with the smallest mean cross-entropy of softmax(scores / T); scores (n, K), targets (n,) class indices.

    A class counts 1 - 1 / (n + 2), the others share the rest (Platt 2000, section 2.2): a few samples, all answered right, would else ask
    for certainty. The cross-entropy is convex in 1 / T: golden-section search finds its minimum.
    """
    count, classes = scores.shape
    scores = scores.double()
    doubt = 1.0 / (count + 2)
    of_target = scores.gather(1, targets[:, None].long())[:, 0]
    wanted = float(((1 - doubt) * of_target + doubt * scores.mean(dim=1)).mean()) if classes > 1 else 0.0

    def loss(logarithm: float) -> float:
        factor = math.exp(logarithm)
        return float(torch.logsumexp(factor * scores, dim=1).mean()) - factor * wanted

    low, high = -math.log(LARGEST_FACTOR), math.log(LARGEST_FACTOR)
    share = (math.sqrt(5) - 1) / 2
    while high - low > 1e-4:
        first, second = high - share * (high - low), low + share * (high - low)
        if loss(first) <= loss(second):
            high = second
        else:
            low = first
    return math.exp(-0.5 * (low + high))
