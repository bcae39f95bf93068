"""Cases of rules/cumulative.py."""

from __future__ import annotations

import torch

from derivation.rules.cases import case, given, integers, normal

RUNNING = [case(normal(3, 4), 1), case(normal(3, 4), dim=-2), case(normal(), 0), case(normal(3, 0), 0), case(normal(3, 0), 1)]
INTEGRALS = [
    case(normal(3, 4)),
    case(normal(3, 4), dx=0.5, dim=0),
    case(normal(3, 4), normal(4)),
    case(normal(3, 4), normal(3), dim=0),
    case(normal(3, 4), normal(3, 4), dim=0),
    case(normal(3, 4), normal(1, 4)),
]
CASES = {
    "cumsum": [*RUNNING, case(integers(4, 5), 0), case(integers(4, 5), 0, dtype=torch.float64)],
    "cumprod": [
        *RUNNING,
        case(given([[2.0, 0.0, 1.5, 0.0, 3.0], [0.5, 3.0, -1.0, 1.0, 0.0], [0.0, 1.0, 2.0, 3.0, 4.0]]), 1),
        case(integers(4, 5), 0),
    ],
    "logcumsumexp": [*RUNNING[:4], case(given([700.0, -700.0, 0.0, 800.0]), 0)],
    "diff": [
        case(normal(3, 4)),
        case(normal(3, 4), 2, 0),
        case(normal(3, 4), n=1, dim=-1, prepend=normal(3, 2), append=normal(3, 1)),
        case(normal(3, 4), 5),
        case(normal(3, 4), 0),
        case(normal(3, 4), 0, 1, normal(3, 1)),
        case(normal(4), append=normal(1)),
        case(integers(5, 4)),
    ],
    "trapezoid": INTEGRALS,
    "cumulative_trapezoid": INTEGRALS,
}
