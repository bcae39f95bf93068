"""Cases of rules/indexing.py."""

from __future__ import annotations

import numpy as np
import torch

from derivation.rules.cases import case, given, integers, mask, normal

CASES = {
    "getitem": [
        case(normal(4, 3), 1),
        case(normal(4, 3), -1),
        case(normal(4, 3), slice(1, None, 2)),
        case(normal(4, 3, 2), (..., 0)),
        case(normal(4, 3, 2), (slice(None), None, 1, ...)),
        case(normal(4, 3), (2, 1)),
        case(normal(4, 3), None),
        case(normal(4, 3), ...),
        case(normal(4, 3), True),
        case(normal(4, 3), (slice(None), False)),
        case(normal(4, 3), [0, 0, 3]),
        case(normal(4, 3), given([[0, 1], [-1, 0]])),
        case(normal(4, 3), given(2)),
        case(normal(4, 3), (given([0, 1, 1]), given([2, 0, 0]))),
        case(normal(4, 3, 2), (given([0, 1, 1]), slice(None), given([1, 0, 0]))),
        case(normal(4, 3, 2), (0, slice(None), given([1, 0, 0]))),
        case(normal(4, 3, 2), (slice(None), given([[1], [0]]), given([1, 0, 0]))),
        case(normal(4, 3, 2), (slice(1, 3), given([1, 1]))),
        case(normal(4, 3), mask(4, 3)),
        case(normal(4, 3), mask(4)),
        case(normal(4, 3), (mask(4), 1)),
        case(normal(4, 3), (slice(None), mask(3))),
        case(normal(4, 3, 2), (..., mask(3, 2))),
        case(normal(4, 3), (np.array([1, 1]),)),
        case(normal(4, 3), given([0, 1]).times(1)).calling(lambda x, i: x[i.int()]),
        case(normal(0, 3), slice(0, 2)),
        case(normal(4, 0), given([0, 2])),
        case(normal(4, 3), (range(2),)).calling(lambda x, i: x[list(i[0])]),
        case(integers(5, 4), given([3, 3])),
        case(
            normal(3),
            (
                given(
                    [],
                ),
            ),
        ).calling(lambda x, i: x[i[0].long()]),
    ],
    "take": [case(normal(3, 2), integers(6, 4)), case(normal(3, 2), given([[-1], [0]]))],
    "put": [
        case(normal(3, 2), given(4), normal(1)),
        case(normal(3, 2), given([0, 4]), normal(2)),
        case(normal(3, 2), given([0, 4, 0]), normal(3), accumulate=True),
        case(normal(3, 2), given([1]), normal(1), True).calling(torch.Tensor.put),
    ],
}
