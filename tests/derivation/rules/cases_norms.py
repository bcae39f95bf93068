"""Cases of rules/norms.py."""

from __future__ import annotations

import math

import torch

from derivation.rules.cases import apart, case, given

INF = math.inf
ORDERS = (0, 0.5, 1, 1.5, 2, 3, INF, -INF)
ZERO = given([[0.0, 0.0, 0.0], [1.0, -1.0, 0.0]])
CASES = {
    "linalg_vector_norm": [
        *(case(apart(3, 4), p) for p in ORDERS),
        *(case(apart(3, 4), p, 1, True) for p in ORDERS),
        *(case(ZERO, p, 1).at_a_kink() for p in ORDERS),
        case(apart(2, 3, 4), dim=(0, 2)),
        case(apart()),
        case(apart(0, 3), 2, 0),
        case(apart(0, 3), INF, 1).calling(lambda x, p, d: torch.linalg.vector_norm(x, p, d)).refused("nothing"),
    ],
    "norm": [
        case(apart(3, 4)),
        case(apart(3, 4), "fro", (0, 1)),
        case(apart(3, 4), 1),
        case(apart(3, 4), 3, 1),
        case(apart(3, 4), dim=0, keepdim=True),
        case(apart(3, 4), INF, 0),
        case(apart(3, 4), "nuc"),
        case(apart(2, 3, 4), "nuc", (0, 2), True),
        case(apart(3, 4), p=2.0, dim=-1).calling(torch.Tensor.norm),
        case(ZERO, 2, 1).at_a_kink(),
        case(apart()),
    ],
    "frobenius_norm": [case(apart(3, 4), (0, 1)).calling(torch._C._VariableFunctions.frobenius_norm)],
    "linalg_matrix_norm": [
        *(case(apart(3, 4), order) for order in ("fro", "nuc", 1, -1, 2, -2, INF, -INF)),
        *(case(apart(2, 3, 4), order, (2, 0), True) for order in ("fro", "nuc", 1, -1, 2, -2, INF, -INF)),
    ],
    "linalg_norm": [
        case(apart(3, 4)),
        case(apart(2, 3, 4), dim=(0, 1)),
        case(apart(3, 4), 2),
        case(apart(3, 4), 1, 0),
        case(apart(4), INF),
        case(apart(2, 3, 4), "nuc", dim=(1, 2), keepdim=True),
        case(apart(2, 3, 4)),
    ],
    "dist": [
        case(apart(3, 4), apart(3, 4).plus(0.03).times(2)),
        case(apart(3, 4), apart(4).times(1.7), 1),
        case(apart(3), apart(3).times(2), p=3.0),
    ],
}
