"""Cases of rules/writing.py."""

from __future__ import annotations

import torch

from derivation.rules.cases import case, given, integers, mask, normal

CASES = {
    "setitem": [
        case(normal(4, 3), 1, normal(3)),
        case(normal(4, 3), (slice(None), 0), normal(4)),
        case(normal(4, 3), slice(1, 3), normal(3)),
        case(normal(4, 3), slice(1, 3), normal(1, 2, 1)),
        case(normal(4, 3), slice(1, 3), normal()),
        case(normal(4, 3), slice(1, 3), 2.5),
        case(normal(4, 3), (..., given([2, 0])), normal(4, 2)),
        case(normal(4, 3), (given([2, 0]), given([1, 1])), normal(2)),
        case(normal(4, 3), mask(4, 3), 0),
        case(normal(4, 3), mask(4), normal(3)),
        case(normal(4, 3), ..., normal(4, 3)),
        case(normal(4, 3), (0, slice(None)), integers(5, 3)),
        case(normal(0, 3), slice(None), normal(3)),
        case(integers(5, 4), 2, 7),
    ],
    "index_put": [
        case(normal(4, 3), (given([0, 2]),), normal(2, 3)),
        case(normal(4, 3), (given([0, 0, 2]),), normal(3, 3), accumulate=True),
        case(normal(4, 3), (given([0, 3]), given([1, 1])), normal()),
        case(normal(4, 3), [given([0, 3]), given([1, 1])], normal(2), True),
        case(normal(4, 3), (None, given([1, 0])), normal(4, 2)).calling(torch.ops.aten.index_put),
        case(normal(4, 3), (mask(4, 3),), normal()),
    ],
    "masked_fill": [
        case(normal(4, 3), mask(4, 3), 2.0),
        case(normal(4, 3), mask(3), float("-inf")),
        case(normal(4, 3), mask(4, 1), normal()),
        case(normal(3), mask(4, 3), 1).calling(torch.masked_fill),
        case(integers(5, 4), mask(4), 9),
        case(normal(0, 3), mask(3), 1.0),
    ],
    "fill": [case(normal(4, 3), 2.0), case(normal(4, 3), normal()), case(integers(3, 2), 1), case(normal(), 1.0), case(normal(0), 1.0)],
    "zero": [case(normal(4, 3)), case(integers(3, 2)), case(normal(0, 2))],
    "copy": [
        case(normal(4, 3), normal(4, 3)),
        case(normal(4, 3), normal(3)),
        case(normal(4, 3), integers(3, 4, 1)),
        case(normal(4, 3), normal(1), True),
        case(normal(0, 3), normal(3)),
    ],
}
