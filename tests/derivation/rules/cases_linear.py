"""Calls of the products of matrices."""

from __future__ import annotations

from derivation.rules.cases import case, normal

CASES = {
    "linear": [
        case(normal(3, 4), normal(5, 4), normal(5)),
        case(normal(3, 4), normal(5, 4)),
        case(normal(4), normal(5, 4), normal(5)),
        case(normal(2, 3, 4), normal(5, 4), normal(5)),
        case(normal(0, 4), normal(5, 4), normal(5)),
        case(normal(3, 0), normal(5, 0), normal(5)),
        case(normal(3, 1), normal(1, 1)),
    ],
    "matmul": [
        case(normal(3, 4), normal(4, 2)),
        case(normal(4), normal(4, 2)),
        case(normal(3, 4), normal(4)),
        case(normal(4), normal(4)),
        case(normal(2, 1, 3, 4), normal(5, 4, 2)),
        case(normal(2, 3, 4), normal(4)),
        case(normal(4), normal(2, 4, 3)),
    ],
}
