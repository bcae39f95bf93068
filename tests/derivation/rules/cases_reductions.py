"""Cases of rules/reductions.py."""

from __future__ import annotations

import torch

from derivation.rules.cases import case, given, integers, mask, normal

NAN = float("nan")
SHAPES = [
    case(normal(2, 3, 4)),
    case(normal(2, 3, 4), 1),
    case(normal(2, 3, 4), -1, True),
    case(normal(2, 3, 4), (0, 2)),
    case(normal(2, 3, 4), dim=(1, -1), keepdim=True),
    case(normal(2, 3), axis=0, keepdims=True),
    case(normal(1, 3), 0),
]
EMPTY = [case(normal()), case(normal(0, 3), 0), case(normal(2, 0), dim=1)]
SPREADS = [
    case(normal(3, 4)),
    case(normal(3, 4), 1),
    case(normal(3, 4), (0, 1)),
    case(normal(3, 4), False),
    case(normal(3, 4), 0, False, True),
    case(normal(3, 4), dim=-1, correction=0),
    case(normal(3, 4), dim=(0,), correction=2, keepdim=True),
    case(normal(3, 4), dim=None, unbiased=True),
    case(normal(3, 4), 1).calling(lambda x, dim: x.var(dim)),
]

CASES = {
    "sum": [
        *SHAPES,
        *EMPTY,
        case(normal(2, 3), [], True),
        case(normal(2, 3), ()),
        case(integers(5, 2, 3), 1),
        case(mask(2, 3)),
        case(integers(5, 3), dtype=torch.float64),
        case(normal(3), dtype=torch.float64),
        case(normal(2, 3), 1).calling(lambda x, dim: x.sum(dim, keepdim=True)),
    ],
    "sum_to_size": [case(normal(2, 3), 1, 3), case(normal(2, 3, 4), (3, 1)), case(normal(2, 3), (1,)), case(normal(2, 3), size=(2, 3))],
    "nansum": [case(given([[1.0, NAN], [2.0, 3.0]])).at_a_kink(), case(given([[1.0, NAN], [2.0, 3.0]]), 1, True).at_a_kink(), *SHAPES[:3]],
    "mean": [*SHAPES, case(normal()), case(normal(2, 3), ()), case(integers(5, 3), dtype=torch.float64)],
    "nanmean": [case(given([[1.0, NAN], [2.0, 3.0]])).at_a_kink(), case(given([[1.0, NAN], [2.0, 3.0]]), 1, True).at_a_kink(), *SHAPES[:3]],
    "prod": [
        *SHAPES[:3],
        *EMPTY,
        case(given([[1.0, 0.0, 2.0], [0.0, 3.0, 0.0]]), 1),
        case(given([[1.0, 0.0, 2.0], [0.5, 3.0, 4.0]])),
        case(normal(2, 3), 0, dtype=torch.float64),
        case(integers(5, 3)),
        case(mask(3)),
    ],
    "var": [*SPREADS[:-1], case(normal(3, 4), 1).calling(lambda x, dim: x.var(dim)), case(normal(1, 3), 1)],
    "std": [
        *SPREADS[:-1],
        case(normal(3, 4), 1).calling(lambda x, dim: x.std(dim)),
        case(given([[1.0, 1.0], [0.0, 2.0]]), 1).at_a_kink(),
    ],
    "var_mean": SPREADS[:-1],
    "std_mean": [*SPREADS[:-1], case(given([[1.0, 1.0], [0.0, 2.0]]), 1).at_a_kink()],
    "all": [case(mask(2, 3)), case(mask(2, 3), 1), case(integers(2, 3), dim=0, keepdim=True), case(given(torch.tensor([1, 0, 3]).byte()))],
    "any": [case(mask(2, 3)), case(normal(2, 3), (0, 1)), case(mask(2, 0), 1)],
    "count_nonzero": [case(integers(3, 4)), case(normal(2, 3), 0), case(integers(2, 2, 3), dim=(0, 1)), case(given(2.0))],
}
