"""Cases of rules/ordering.py."""

from __future__ import annotations

import torch

from derivation.rules.cases import apart, case, given, integers

TIES = given([[1.0, 3.0, 3.0], [2.0, 2.0, 2.0]])
NAN = given([[1.0, float("nan"), 3.0], [2.0, 0.0, 2.5]])
EXTREMES = [
    case(apart(3, 4)),
    case(apart(3, 4), 1),
    case(apart(3, 4), -2, True),
    case(apart(3, 4), dim=0, keepdim=True),
    case(apart()),
    case(apart(), 0),
    case(apart(3, 4), apart(4)),
    case(apart(2, 3), other=apart(2, 1).plus(0.03)),
    case(TIES).at_a_kink(),
    case(TIES, 1).at_a_kink(),
    case(TIES, given([[3.0], [2.0]])).at_a_kink(),
    case(NAN).at_a_kink(),
    case(NAN, 1).at_a_kink(),
    case(integers(9, 5), 0),
]
SHARED = [
    case(apart(3, 4)),
    case(apart(3, 4), 1),
    case(apart(3, 4), (0, 1), True),
    case(apart(2, 3, 4), dim=(0, -1)),
    case(apart()),
    case(TIES).at_a_kink(),
    case(TIES, 1, True).at_a_kink(),
]
PLACES = [
    case(apart(3, 4)),
    case(apart(3, 4), 1),
    case(apart(3, 4), dim=-1, keepdim=True),
    case(apart(3, 4), keepdim=True),
    case(TIES, 1),
    case(NAN, 1),
    case(apart()),
    case(apart(), 0),
]
SORTS = [
    case(apart(3, 4)),
    case(apart(3, 4), 0),
    case(apart(3, 4), 1, True),
    case(apart(3, 4), dim=0, descending=True),
    case(apart()),
    case(TIES).at_a_kink(),
    case(TIES, 1, True).at_a_kink(),
    case(NAN, -1, True).at_a_kink(),
    case(apart(0, 3), 0),
    case(TIES, stable=True).at_a_kink(),
]
CASES = {
    "max": EXTREMES,
    "min": EXTREMES,
    "amax": SHARED,
    "amin": SHARED,
    "aminmax": [case(apart(3, 4)), case(apart(3, 4), dim=1), case(apart(3, 4), dim=0, keepdim=True), case(TIES, dim=1).at_a_kink()],
    "argmax": PLACES,
    "argmin": PLACES,
    "sort": [
        *SORTS,
        case(integers(4, 20)).refused("equal entries"),
        case(integers(4, 20), stable=True),
        case(TIES, stable=True, dim=0, descending=True).at_a_kink(),
    ],
    "msort": [case(apart(3, 4)), case(TIES).at_a_kink(), case(apart())],
    "argsort": SORTS,
    "topk": [
        case(apart(3, 5), 2),
        case(apart(3, 5), 2, 0),
        case(apart(3, 5), k=3, dim=1, largest=False),
        case(apart(3, 5), 5, sorted=True),
        case(apart(), 1),
        case(apart(3, 5), 0),
        case(TIES, 2).refused("equal entries"),
        case(apart(3, 5), 2, sorted=False).refused("without order"),
    ],
    "kthvalue": [case(apart(3, 5), 2), case(apart(3, 5), 1, 0, True), case(apart(), 1), case(TIES, 2).refused("equal entries")],
    "median": [
        case(apart(3, 4)),
        case(apart(3, 5)),
        case(apart(3, 4), 1),
        case(apart(3, 4), dim=0, keepdim=True),
        case(TIES).at_a_kink(),
        case(NAN).at_a_kink(),
        case(NAN, 1).refused("NaN"),
        case(TIES, 1).refused("equal entries"),
        case(apart()),
    ],
    "mode": [
        case(TIES).at_a_kink(),
        case(TIES, 0, True).at_a_kink(),
        case(apart(3, 4)),
        case(integers(3, 4, 9)),
        case(integers(3, 40)).refused("equal entries"),
        case(apart()),
    ],
    "cummax": [case(apart(3, 4), 1), case(apart(3, 4), dim=0), case(TIES, 1).at_a_kink(), case(NAN, 1).at_a_kink(), case(apart(), 0)],
    "cummin": [case(apart(3, 4), 1), case(apart(3, 4), dim=0), case(TIES, 1).at_a_kink(), case(NAN, 1).at_a_kink(), case(apart(), 0)],
}
CASES["max"] = [*EXTREMES, case(apart(3, 4), 0).calling(lambda x, dim: x.max(dim)), case(apart(3)).calling(torch.Tensor.max)]
