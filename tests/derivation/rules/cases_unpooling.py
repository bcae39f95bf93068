"""Calls of unpooling and of fractional max pooling."""

from __future__ import annotations

import torch

from derivation.rules.cases import apart, case, given, normal

F = torch.nn.functional

CASES = {
    "max_unpool1d": [case(normal(2, 3), given([[0, 3, 4], [1, 2, 5]]), 2)],
    "max_unpool2d": [
        case(apart(2, 3, 6, 6)).calling(lambda x: F.max_unpool2d(*F.max_pool2d(x, 2, return_indices=True), 2)),
        case(apart(2, 3, 7, 6)).calling(lambda x: F.max_unpool2d(*F.max_pool2d(x, 2, return_indices=True), 2, output_size=(7, 6))),
        case(normal(1, 2, 2), given([[[0, 3], [8, 11]]]), (2, 2), 2, 0),
    ],
    "max_unpool3d": [case(apart(1, 4, 4, 4)).calling(lambda x: F.max_unpool3d(*F.max_pool3d(x, 2, return_indices=True), 2))],
    "fractional_max_pool2d": [
        case(apart(2, 3, 7, 9), 2, (4, 5)),
        case(apart(3, 7, 9), (2, 3), output_ratio=(0.5, 0.6)),
        case(apart(2, 3, 7, 7), 3, 1),
    ],
    "fractional_max_pool3d": [case(apart(1, 2, 6, 7, 5), 2, (3, 4, 2))],
    "fractional_max_pool2d_with_indices": [case(apart(2, 3, 7, 9), 2, (4, 5), return_indices=True)],
    "fractional_max_pool3d_with_indices": [case(apart(1, 2, 6, 7, 5), 2, (3, 4, 2))],
}
