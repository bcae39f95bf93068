"""Cases of rules/joining.py."""

from __future__ import annotations

import torch

from derivation.rules.cases import case, given, integers, normal

CASES = {
    "cat": [
        case([normal(2, 3), normal(4, 3)]),
        case((normal(2, 3), normal(2, 1), normal(2, 0)), 1),
        case([normal(2, 3), normal(2, 3)], dim=-1),
        case([normal(0), normal(2, 3)]),
        case([normal(2), integers(4, 3)], axis=0),
        case(tensors=[normal(2, 3)], dim=-2),
    ],
    "stack": [
        case([normal(2, 3), normal(2, 3)]),
        case((normal(2, 3), normal(2, 3)), -1),
        case([normal(3), normal(3)], dim=1),
        case([normal(), normal()]),
    ],
    "hstack": [case([normal(2), normal(3)]), case([normal(2, 3), normal(2, 1)]), case((normal(), normal()))],
    "vstack": [case([normal(3), normal(2, 3)]), case([normal(1, 2, 3), normal(2, 2, 3)])],
    "dstack": [case([normal(3), normal(3)]), case([normal(2, 3), normal(2, 3)])],
    "column_stack": [case([normal(3), normal(3, 2)])],
    "split": [
        case(normal(5, 2), 2),
        case(normal(5, 2), 5),
        case(normal(2, 5), [1, 4], 1),
        case(normal(2, 5), split_size=2, dim=-1),
        case(normal(2, 5), split_size_or_sections=3, dim=1).calling(torch.split),
        case(normal(0, 2), 1),
    ],
    "chunk": [case(normal(5, 2), 3), case(normal(2, 7), 3, dim=-1), case(normal(2, 3), 1), case(normal(0, 2), 2)],
    "tensor_split": [
        case(normal(5, 2), 3),
        case(normal(2, 7), (1, 4), dim=1),
        case(normal(7), (5, 2)),
        case(normal(2, 7), sections=2, dim=-1),
        case(normal(4), indices=(1, 9)),
        case(normal(4), given([1, 3])),
    ],
    "hsplit": [case(normal(2, 4), 2), case(normal(4), (1, 3))],
    "vsplit": [case(normal(4, 2), 2)],
    "dsplit": [case(normal(2, 1, 4), [1, 2])],
    "unbind": [case(normal(3, 2)), case(normal(2, 3), 1), case(normal(2, 3), dim=-1), case(normal(1, 2))],
    "select": [case(normal(3, 4), 0, 1), case(normal(3, 4), -1, -2), case(normal(3, 4), dim=1, index=0)],
    "narrow": [case(normal(5, 2), 0, 1, 3), case(normal(2, 5), 1, -2, 2), case(normal(5), 0, 2, 0), case(normal(5), 0, given(1), 2)],
    "broadcast_tensors": [case(normal(3, 1), normal(4)), case(normal(2, 1), normal(1, 3), normal())],
    "meshgrid": [
        case(normal(2), normal(3)),
        case(normal(2), normal(3), indexing="xy"),
        case([normal(2), normal(3), normal(4)], indexing="xy"),
        case(normal()),
    ],
    "atleast_1d": [case(normal()), case(normal(2), normal())],
    "atleast_2d": [case(normal(3)), case([normal(3), normal(2, 2)])],
    "atleast_3d": [case(normal(3)), case(normal(2, 3)), case(normal())],
    "block_diag": [case(normal(2, 3), normal(2), normal()), case(normal(1, 1))],
}
