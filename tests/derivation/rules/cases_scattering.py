"""Cases of rules/scattering.py."""

from __future__ import annotations

import torch

from derivation.rules.cases import apart, case, given, integers, mask, normal

COLUMNS = given([[0, 1, 1], [2, 2, 0]])
ZEROS = given([[2.0, 0.0, 1.5, 0.0], [0.5, 3.0, 0.0, 1.0]])
REDUCED = ("sum", "mean", "prod", "amax", "amin")
CASES = {
    "gather": [
        case(normal(4, 3), 0, integers(4, 2, 3)),
        case(normal(4, 3), 1, integers(3, 4, 5)),
        case(normal(4, 3), 1, integers(3, 2, 1)),
        case(normal(4, 3), -2, integers(4, 6, 2)),
        case(normal(), 0, given([0, 0])),
        case(normal(3), 0, given(1)),
        case(normal(3, 2), 0, integers(3, 0, 2)),
        case(normal(5), 0, integers(3, 2, 0)),
    ],
    "take_along_dim": [
        case(normal(4, 3), integers(4, 2, 3), 0),
        case(normal(4, 3), integers(3, 1, 2), dim=1),
        case(normal(1, 3), integers(3, 4, 2), dim=-1),
        case(normal(4, 3), integers(12, 5)),
    ],
    "index_select": [
        case(normal(4, 3), 0, given([0, 0, 2])),
        case(normal(4, 3), -1, given([2, 1])),
        case(normal(4, 3), 0, given(2)),
        case(normal(), 0, given([0])),
    ],
    "index_add": [
        case(normal(4, 3), 0, given([0, 0, 2]), normal(3, 3)),
        case(normal(4, 3), 1, given([2, 1]), normal(4, 2), alpha=0.5),
        case(normal(4), 0, given(1), normal(1)),
        case(integers(5, 4), 0, given([1, 1]), integers(3, 2)),
    ],
    "index_copy": [case(normal(4, 3), 0, given([0, 2]), normal(2, 3)), case(normal(4, 3), -1, given([2, 1]), normal(4, 2))],
    "index_fill": [case(normal(4, 3), 0, given([0, 2]), 1.5), case(normal(4, 3), 1, given([1]), normal())],
    "scatter": [
        case(normal(2, 4), 1, COLUMNS, 1.5),
        case(normal(2, 4), 1, COLUMNS, value=2),
        case(normal(3, 4), 0, given([[0, 1, 2], [1, 2, 0]]), normal(2, 3)),
        case(normal(2, 4), 1, given([[0, 3], [2, 1]]), src=normal(2, 2)),
        case(normal(2, 4), 1, given([[0, 0], [2, 1]]), normal(2, 2)).at_a_kink(),
        case(normal(2, 4), 1, COLUMNS, normal(2, 3), reduce="add").refused("reduce='add'"),
    ],
    "scatter_add": [
        case(normal(2, 4), 1, COLUMNS, normal(2, 3)),
        case(normal(4, 3), 0, integers(4, 6, 2), normal(6, 2)),
        case(normal(), 0, given(0), normal()),
        case(integers(5, 4), 0, given([1, 1]), integers(3, 2)),
    ],
    "scatter_reduce": [
        *(case(apart(2, 4), 1, COLUMNS, apart(2, 3).plus(0.03), reduce) for reduce in REDUCED),
        *(case(apart(2, 4), 1, COLUMNS, apart(2, 3).plus(0.03), reduce, include_self=False) for reduce in REDUCED),
        *(case(ZEROS, 1, given([[0, 1, 1, 3], [2, 2, 0, 1]]), ZEROS, reduce).at_a_kink() for reduce in ("prod", "amax")),
        case(ZEROS, 1, given([[0, 1, 1, 3], [2, 2, 0, 1]]), ZEROS, "prod", include_self=False),
    ],
    "masked_select": [
        case(normal(3, 4), mask(3, 4)),
        case(normal(3, 4), mask(4)),
        case(normal(3, 1), mask(3, 4)).calling(torch.masked_select),
    ],
    "masked_scatter": [
        case(normal(3, 4), mask(3, 4), normal(12)),
        case(normal(3, 4), mask(4), normal(3, 5)),
        case(normal(1, 4), mask(3, 4), normal(12)),
    ],
}
