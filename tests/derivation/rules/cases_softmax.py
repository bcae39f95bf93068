"""Calls of the softmax family."""

from __future__ import annotations

import torch

from derivation.rules.cases import case, given, normal

F = torch.nn.functional
INFINITY = float("inf")


def three(name: str) -> list:
    return [
        case(normal(3, 4), 1),
        case(normal(3, 4, 2), -2),
        case(normal(3, 4, 2), dim=0),
        case(normal(), 0),
        case(normal(0, 4), 1),
        case(normal(3, 1), 1),
        case(given([[1.0, -INFINITY, 2.0]]), 1).at_a_kink(),
        case(given([1000.0, -1000.0, 999.0]), 0),
    ]


CASES = {
    "softmax": [
        *three("softmax"),
        case(normal(3, 4)).calling(lambda x: x.softmax(-1)),
        case(normal(3, 4)).calling(lambda x: torch.softmax(x, -1, dtype=torch.float64)),
    ],
    "log_softmax": [*three("log_softmax"), case(normal(3, 4)).calling(lambda x: x.log_softmax(0))],
    "softmin": three("softmin"),
    "logsumexp": [
        case(normal(3, 4), 1),
        case(normal(3, 4, 2), (0, -1), True),
        case(normal(3, 4, 2), [0, 2]),
        case(given([[-INFINITY, -INFINITY], [0.0, -INFINITY]]), 1).at_a_kink(),
        case(normal(), 0),
    ],
    "gumbel_softmax": [case(normal(3, 4)), case(normal(3, 4), 0.5, True).at_a_kink(), case(normal(3, 4, 2), 2.0, dim=1)],
}
