"""Calls of arithmetic, with broadcasting and with plain numbers."""

from __future__ import annotations

import torch

from derivation.rules.cases import Case, apart, case, given, integers, normal, positive


def two(a, b) -> list[Case]:
    """Shapes that broadcast, on draws of these kinds."""
    shapes = [((3, 4), (3, 4)), ((3, 4), (4,)), ((3, 1), (1, 4)), ((), (2, 3)), ((2, 1, 3), (4, 1)), ((0, 3), (3,)), ((1,), (5,))]
    return [case(a(*first), b(*second)) for first, second in shapes]


CASES = {
    "add": [
        *two(normal, normal),
        case(normal(3), normal(2, 3), alpha=2.5),
        case(normal(3), 2).calling(lambda x, y: y + x),
        case(normal(3), normal(3)).calling(lambda x, y: x.clone().add_(y, alpha=-2)),
        case(integers(5, 3), integers(5, 3)),
    ],
    "sub": [*two(normal, normal), case(normal(3), normal(2, 3), alpha=-0.5), case(normal(3), 2).calling(lambda x, y: x - y)],
    "rsub": [case(normal(3), normal(2, 3)), case(normal(3), 1.5, 2), case(normal(3)).calling(lambda x: 1 - x)],
    "mul": [
        *two(normal, normal),
        case(normal(3)).calling(lambda x: 3 * x),
        case(normal(3)).calling(lambda x: x * x),
        case(normal(2), integers(4, 2)),
    ],
    "div": [
        *two(normal, positive),
        case(apart(3, 4), positive(4), rounding_mode="floor"),
        case(apart(3, 4), positive(4), rounding_mode="trunc"),
        case(normal(3), 4).calling(lambda x, y: x / y),
        case(integers(9, 4), integers(5, 4, low=1), rounding_mode="trunc"),
    ],
    "rdiv": [case(positive(3)).calling(lambda x: 2 / x)],
    "neg": [case(normal(3, 4)), case(normal(3)).calling(lambda x: -x), case(normal(0))],
    "remainder": [*two(apart, positive)[:3], case(apart(3, 4), -0.7), case(integers(9, 4), 4)],
    "rremainder": [case(positive(4)).calling(lambda x: 5 % x.detach())],
    "fmod": [*two(apart, positive)[:3], case(apart(3, 4), -0.7)],
    "pow": [
        *two(positive, normal),
        case(normal(3, 4), 2),
        case(normal(3, 4), 3).calling(lambda x, n: x**n),
        case(positive(3, 4), -0.5),
        case(given([0.0, -1.0, 2.0]), 0).at_a_kink(),
        case(given([0.0, 0.0, 0.0]), given([0.0, 1.0, 2.0])).at_a_kink(),
        case(2.5, normal(3)).calling(torch.pow),
        case(integers(4, 3), 3),
    ],
    "rpow": [case(normal(3), 2).calling(lambda x, y: y**x), case(normal(3)).calling(lambda x: 0 ** x.abs()).at_a_kink()],
    "float_power": [case(positive(3, 4), normal(4)), case(positive(3), 2), case(integers(4, 3), 3)],
    "ldexp": [case(normal(3, 4), normal(4)), case(normal(3), integers(4, 3))],
    "lerp": [case(normal(3, 4), normal(3, 4), 0.3), case(normal(3, 1), normal(4), normal(3, 4)), case(normal(4), normal(4), 0.8)],
    "addcmul": [case(normal(3, 4), normal(3, 1), normal(4)), case(normal(3), normal(3), normal(3), value=-2.5)],
    "addcdiv": [case(normal(3, 4), normal(3, 1), positive(4)), case(normal(3), normal(3), positive(3), value=0.5)],
}
