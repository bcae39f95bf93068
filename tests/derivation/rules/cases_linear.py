"""Calls of the products of matrices and vectors."""

from __future__ import annotations

import torch

from derivation.rules.cases import Case, case, normal

ADDED = [{}, {"beta": 0.5, "alpha": -2.0}, {"beta": 0, "alpha": 1}]


def added(*shapes: tuple[int, ...]) -> list[Case]:
    return [case(*(normal(*shape) for shape in shapes), **options) for options in ADDED]


CASES = {
    "linear": [
        case(normal(3, 4), normal(5, 4), normal(5)),
        case(normal(3, 4), normal(5, 4)),
        case(normal(4), normal(5, 4), normal(5)),
        case(normal(2, 3, 4), normal(5, 4), normal(5)),
        case(normal(0, 4), normal(5, 4), normal(5)),
        case(normal(3, 0), normal(5, 0), normal(5)),
        case(normal(3, 1), normal(1, 1)),
        case(normal(3, 4), normal(4)),
        case(normal(4), normal(4)),
    ],
    "bilinear": [
        case(normal(3, 4), normal(3, 5), normal(2, 4, 5), normal(2)),
        case(normal(2, 3, 4), normal(2, 3, 5), normal(2, 4, 5)),
        case(normal(4), normal(5), normal(1, 4, 5)),
    ],
    "matmul": [
        case(normal(3, 4), normal(4, 2)),
        case(normal(4), normal(4, 2)),
        case(normal(3, 4), normal(4)),
        case(normal(4), normal(4)),
        case(normal(2, 1, 3, 4), normal(5, 4, 2)),
        case(normal(2, 3, 4), normal(4)),
        case(normal(4), normal(2, 4, 3)),
        case(normal(2, 3, 4), normal(4, 2)).calling(lambda a, b: a @ b),
        case(normal(3, 0), normal(0, 2)),
    ],
    "rmatmul": [case(normal(4, 2), normal(3, 4))],
    "mm": [case(normal(3, 4), normal(4, 2)), case(normal(0, 4), normal(4, 2))],
    "bmm": [case(normal(5, 3, 4), normal(5, 4, 2)), case(normal(1, 3, 4), normal(1, 4, 2))],
    "mv": [case(normal(3, 4), normal(4))],
    "dot": [case(normal(4), normal(4)), case(normal(0), normal(0))],
    "vdot": [case(normal(4), normal(4))],
    "outer": [case(normal(3), normal(4)), case(normal(3), normal(4)).calling(torch.ger)],
    "addmm": [*added((3, 2), (3, 4), (4, 2)), *added((2,), (3, 4), (4, 2)), case(normal(3, 1), normal(3, 4), normal(4, 2))],
    "baddbmm": [*added((5, 3, 2), (5, 3, 4), (5, 4, 2)), *added((3, 1), (5, 3, 4), (5, 4, 2))],
    "addbmm": [*added((3, 2), (5, 3, 4), (5, 4, 2))],
    "addmv": [*added((3,), (3, 4), (4,)), *added((1,), (3, 4), (4,))],
    "addr": [*added((3, 4), (3,), (4,)), *added((4,), (3,), (4,))],
    "linalg_multi_dot": [
        case([normal(3, 4), normal(4, 2), normal(2, 5)]),
        case([normal(4), normal(4, 2), normal(2)]),
        case([normal(3, 4), normal(4)]),
    ],
    "chain_matmul": [case(normal(3, 4), normal(4, 2), normal(2, 5))],
}
