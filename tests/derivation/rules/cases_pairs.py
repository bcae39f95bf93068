"""Calls of functions of two numbers."""

from __future__ import annotations

from derivation.rules.cases import apart, between, case, given, integers, normal, positive

INFINITY = float("inf")

CASES = {
    "hypot": [case(normal(3, 4), normal(4)), case(normal(3, 1), normal(1, 4))],
    "atan2": [case(normal(3, 4), normal(4)), case(given([0.0, 1.0]), given([0.0, 0.0])).at_a_kink()],
    "xlogy": [
        case(normal(3, 4), positive(4)),
        case(given([0.0, 0.0, 1.0]), given([0.0, 2.0, 0.0])).at_a_kink(),
        case(2.0, positive(3)),
        case(normal(3), 2.0),
    ],
    "xlog1py": [
        case(normal(3, 4), positive(4)),
        case(given([0.0, 0.0]), given([-1.0, 2.0])).at_a_kink(),
        case(2.0, positive(3)),
        case(normal(3), 2.0),
    ],
    "logaddexp": [case(normal(3, 4), normal(4)), case(given([INFINITY, -INFINITY]), given([INFINITY, -INFINITY])).at_a_kink()],
    "logaddexp2": [case(normal(3, 4), normal(4))],
    "copysign": [case(apart(3, 4), apart(4)), case(given([0.0, 1.0]), given([-1.0, -0.0])).at_a_kink(), case(apart(3), -1.0)],
    "zeta": [case(between(1.5, 4.0, 3, 4).constant(), positive(4)), case(2.0, positive(3)), case(integers(5, 3, low=2), positive(3))],
}
