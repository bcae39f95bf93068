"""Calls of comparisons and logic."""

from __future__ import annotations

import torch

from derivation.rules.cases import Case, apart, case, given, integers, mask, normal

NAN, INFINITY = float("nan"), float("inf")
STRANGE = given([NAN, INFINITY, -INFINITY, 0.0, -0.0, 1.0])


def compared() -> list[Case]:
    return [case(integers(3, 3, 4), integers(3, 4)), case(apart(3, 1), apart(4)), case(normal(3), 0.0), case(STRANGE, STRANGE)]


def logical() -> list[Case]:
    return [case(mask(3, 4), mask(4)), case(integers(3, 4), integers(2, 4))]


CASES = {
    **{name: compared() for name in ("eq", "ne", "lt", "le", "gt", "ge")},
    **{name: [*logical(), case(normal(6), STRANGE)] for name in ("logical_and", "logical_or", "logical_xor")},
    **{name: logical() for name in ("bitwise_and", "bitwise_or", "bitwise_xor")},
    "logical_not": [case(mask(3)), case(STRANGE)],
    "bitwise_not": [case(mask(3)), case(integers(9, 3)), case(mask(3)).calling(lambda x: ~x)],
    **{name: [case(STRANGE), case(normal(2, 3))] for name in ("isnan", "isinf", "isfinite", "isposinf", "isneginf", "signbit")},
    "floor_divide": [case(integers(9, 4), integers(4, 4, low=1)), case(apart(3)).calling(lambda x: x.detach() // 0.7)],
    "rfloor_divide": [case(integers(9, 4, low=1)).calling(lambda x: 20 // x)],
    "isclose": [case(STRANGE, STRANGE), case(STRANGE, STRANGE, equal_nan=True), case(given([1.0, 1.0]), given([1.1, 1.2]), 0.15, 0.0)],
    "heaviside": [case(STRANGE, given(2.0)).calling(lambda x, v: torch.heaviside(x.detach(), v.detach()))],
}
