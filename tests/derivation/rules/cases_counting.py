"""Cases of rules/counting.py."""

from __future__ import annotations

import torch

from derivation.rules.cases import case, given, integers, mask, normal

CASES = {
    "nonzero": [
        case(mask(3, 4)),
        case(mask(3, 4), as_tuple=True),
        case(integers(3, 5)).calling(torch.argwhere),
        case(given(2.0)),
        case(given([0.0, 0.0])),
    ],
    "searchsorted": [
        case(given([1.0, 2.0, 3.0]), given([[0.5, 2.0], [3.0, 9.0]])),
        case(given([1.0, 2.0, 3.0]), 2.0, right=True),
        case(given([[1.0, 2.0], [3.0, 4.0]]), given([[1.5], [4.0]]), side="right"),
        case(given([1.0, 2.0]), normal(0)),
        case(given([3.0, 1.0, 2.0]), given([1.5]), sorter=given([1, 2, 0])),
    ],
    "bucketize": [case(normal(3, 2), given([-1.0, 0.0, 1.0])), case(given([0.0, 1.0]), given([-1.0, 0.0, 1.0]), right=True)],
    "bincount": [case(integers(4, 9)), case(integers(4, 9), minlength=7), case(integers(4, 3), integers(4, 3))],
    "unique": [
        case(integers(4, 9)),
        case(integers(4, 3, 3), return_inverse=True, return_counts=True),
        case(integers(2, 6, 2), dim=0, return_inverse=True, return_counts=True),
        case(integers(2, 2, 6), sorted=False, dim=1),
    ],
}
