"""Calls of maximum, minimum, clamp and where."""

from __future__ import annotations

import torch

from derivation.rules.cases import apart, case, given, integers, mask, normal

NAN = float("nan")
EQUAL = given([1.0, 2.0, NAN, 3.0]), given([1.0, 3.0, 1.0, NAN])

CASES = {
    "maximum": [
        case(normal(3, 4), normal(4)),
        case(normal(3, 1), normal(1, 4)),
        case(*EQUAL).at_a_kink(),
        case(integers(4, 3), integers(4, 3)),
    ],
    "minimum": [case(normal(3, 4), normal(4)), case(normal(3, 1), normal(1, 4)), case(*EQUAL).at_a_kink()],
    "fmax": [case(normal(3, 4), normal(4)), case(*EQUAL).at_a_kink()],
    "fmin": [case(normal(3, 4), normal(4)), case(*EQUAL).at_a_kink()],
    "clamp": [
        case(apart(3, 4), -0.21, 0.33),
        case(apart(3, 4), min=0.0),
        case(apart(3, 4), max=0.2).calling(torch.clip),
        case(given([-1.0, 0.0, 1.0, NAN]), 0.0, 1.0).at_a_kink(),
        case(apart(3, 4), normal(4).times(0.1), normal(3, 1).times(0.1).plus(1.0)),
        case(apart(3, 4), normal(4), normal(3, 1)),
        case(apart(4), normal(3, 1), None),
        case(apart(3), 1.0, -1.0).at_a_kink(),
        case(integers(9, 4), 2, 5),
    ],
    "clamp_min": [case(apart(3, 4), 0.12), case(apart(4), normal(3, 1))],
    "clamp_max": [case(apart(3, 4), 0.12), case(apart(4), normal(3, 1))],
    "where": [
        case(mask(3, 4), normal(3, 4), normal(4)),
        case(mask(3, 1), normal(4), 2.0),
        case(mask(3), 1.0, normal(3)),
        case(normal(3, 4), mask(3, 1), normal(4)).calling(lambda x, c, y: x.where(c, y)),
    ],
}
