"""Calls of the poolings."""

from __future__ import annotations

import torch

from derivation.rules.cases import apart, case, given, integers, normal, positive

F = torch.nn.functional

CASES = {
    "max_pool1d": [
        case(apart(2, 3, 9), 2),
        case(apart(3, 10), 3, 2, 1, 2, True),
        case(given([[[1.0, 1.0, 0.0, float("nan"), 2.0, 2.0]]]), 2).at_a_kink(),
    ],
    "max_pool2d": [
        case(apart(2, 3, 6, 6), 2),
        case(apart(2, 3, 7, 8), (3, 2), (2, 1), 1).calling(F.max_pool2d),
        case(apart(3, 8, 9), 3, 2, 1, 2, True),
        case(apart(2, 3, 7, 7), kernel_size=2, ceil_mode=True),
        case(given(torch.zeros(1, 2, 4, 4)), 3, 1, 1).at_a_kink(),
        case(given(torch.full((1, 2, 4, 4), -float("inf"))), 3, 1, 1).at_a_kink(),
        case(integers(9, 1, 2, 4, 4), 2),
        case(apart(0, 3, 4, 4), 2),
    ],
    "max_pool3d": [
        case(apart(2, 2, 4, 4, 5), 2),
        case(apart(2, 4, 5, 5), (2, 3, 2), 2, (1, 1, 0), 1, True),
    ],
    "max_pool1d_with_indices": [
        case(apart(2, 3, 9), 2, return_indices=True).calling(F.max_pool1d),
        case(apart(2, 3, 9), 3, 1, 1, return_indices=True).calling(F.max_pool1d),
    ],
    "max_pool2d_with_indices": [
        case(apart(2, 3, 6, 7), 2, return_indices=True).calling(F.max_pool2d),
        case(apart(3, 6, 7), (3, 2), 2, 1, 1, True, return_indices=True).calling(F.max_pool2d),
    ],
    "max_pool3d_with_indices": [case(apart(1, 2, 4, 4, 4), 2, 1, return_indices=True).calling(F.max_pool3d)],
    "avg_pool1d": [
        case(normal(2, 3, 9), 2),
        case(normal(3, 10), (3,), (2,), (1,), True, False),
        case(normal(2, 3, 10), 3, 2, 1, True),
    ],
    "avg_pool2d": [
        case(normal(2, 3, 6, 6), 2),
        case(normal(2, 3, 7, 8), (3, 2), (2, 3), 1),
        case(normal(3, 7, 8), 3, 2, 1, True, False),
        case(normal(2, 3, 7, 8), 3, 2, 1, True, True),
        case(normal(2, 3, 7, 8), 3, 2, 1, True, False, 5),
        case(normal(0, 2, 4, 4), 2),
    ],
    "avg_pool3d": [
        case(normal(1, 2, 4, 5, 4), 2),
        case(normal(2, 4, 5, 5), 3, 2, 1, True, False),
    ],
    "adaptive_avg_pool1d": [case(normal(2, 3, 7), 3), case(normal(3, 5), 7)],
    "adaptive_avg_pool2d": [
        case(normal(2, 3, 7, 5), 1),
        case(normal(3, 7, 5), (3, None)),
        case(normal(2, 3, 4, 4), (5, 3)),
        case(normal(2, 3, 4, 4), (2,)).calling(lambda x, size: F.adaptive_avg_pool2d(x, (2, 2))),
    ],
    "adaptive_avg_pool3d": [case(normal(2, 3, 4, 5, 3), (2, 3, 2))],
    "adaptive_max_pool1d": [case(apart(2, 3, 7), 3)],
    "adaptive_max_pool2d": [
        case(apart(2, 3, 7, 5), (3, 2)),
        case(apart(3, 4, 5), (5, None)),
        case(given(torch.ones(1, 1, 5, 5)), 2).at_a_kink(),
    ],
    "adaptive_max_pool3d": [case(apart(1, 2, 4, 3, 5), 2)],
    "adaptive_max_pool1d_with_indices": [case(apart(2, 3, 7), 3)],
    "adaptive_max_pool2d_with_indices": [case(apart(2, 3, 7, 5), (3, 2))],
    "adaptive_max_pool3d_with_indices": [case(apart(1, 2, 4, 3, 5), 2)],
    "lp_pool1d": [case(positive(2, 3, 9), 2, 3), case(positive(2, 3, 9), 3.0, 2, 1, True)],
    "lp_pool2d": [
        case(positive(2, 3, 6, 7), 2.0, 2),
        case(positive(2, 3, 6, 7), 1, (3, 2), 2, True),
        case(given([[[0.0, 0.0, 1.0], [0.0, 0.0, 2.0]]]), 2.0, 2, 1).at_a_kink(),
    ],
    "lp_pool3d": [case(positive(2, 4, 4, 4), 2.0, 2)],
}
