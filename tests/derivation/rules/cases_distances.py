"""Calls of distances and similarities."""

from __future__ import annotations

from derivation.rules.cases import apart, case, given, normal

INFINITY = float("inf")

CASES = {
    "pairwise_distance": [
        case(normal(4, 3), normal(4, 3)),
        case(normal(4, 3), normal(3), 1.0, 1e-3, True),
        case(normal(2, 4, 3), normal(4, 3), 3.0),
        case(normal(4, 3), normal(4, 3), INFINITY),
        case(normal(3), normal(3)),
    ],
    "cosine_similarity": [
        case(normal(4, 3), normal(4, 3)),
        case(normal(4, 3, 2), normal(3, 1), 1),
        case(normal(3), normal(3), 0),
        case(normal(4, 3), normal(4, 3), -1, 5.0).at_a_kink(),
        case(given([[0.0, 0.0], [1e-9, 0.0]]), normal(2, 2)).at_a_kink(),
    ],
    "cdist": [
        case(normal(4, 3), normal(5, 3)),
        *(case(apart(4, 3), apart(5, 3).times(0.77), p) for p in (0.0, 0.5, 1.0, 1.5, 3.0, INFINITY)),
        case(normal(2, 4, 3), normal(5, 3)),
        case(normal(30, 3), normal(26, 3)),
        case(given([[0.0, 0.0]]), given([[0.0, 0.0], [3.0, 4.0]])).at_a_kink(),
        case(normal(0, 3), normal(2, 3)),
    ],
    "pdist": [
        case(normal(5, 3)),
        *(case(apart(4, 3), p) for p in (1.0, 1.5, 3.0)),
        case(normal(4, 3), INFINITY),
        case(normal(1, 3)),
    ],
}
