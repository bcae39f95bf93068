"""Calls of the activations."""

from __future__ import annotations

import torch

from derivation.rules.cases import Case, apart, case, given, normal

F = torch.nn.functional
NAN = float("nan")


def calls_on(*kinks: float, **options: float) -> list[Case]:
    """On numbers of both signs, one number, none; at the kinks."""
    wide = apart(3, 16).times(4.2)
    return [
        case(wide, **options),
        case(normal(), **options),
        case(normal(0, 3), **options),
        *([case(given([*kinks, NAN]), **options).at_a_kink()] if kinks else []),
    ]


CASES = {
    "relu": [*calls_on(0.0, -0.0), case(apart(5)).calling(lambda x: torch.relu_(x.clone())), case(apart(5)).calling(lambda x: x.relu())],
    "relu6": [*calls_on(0.0, 6.0), case(apart(9).times(20.0)).calling(lambda x: F.relu6(x.clone(), True))],
    "leaky_relu": [*calls_on(0.0), *calls_on(negative_slope=0.3), case(apart(5)).calling(lambda x: F.leaky_relu(x.clone(), 0.1, True))],
    "prelu": [
        case(apart(3, 4), normal(1)),
        case(apart(3, 4), normal(4)),
        case(apart(2, 3, 4, 2), normal(3)),
        case(apart(4), normal(1)),
        case(apart(2, 3, 4), normal(1)),
        case(given([0.0, -1.0]), given([0.25])).at_a_kink(),
    ],
    "rrelu": [
        case(apart(3, 4)),
        case(apart(3, 4), 0.1, 0.3, True),
        case(apart(3, 4)).calling(lambda x: F.rrelu(x.clone(), training=True, inplace=True)),
        case(given([0.0, -1.0]), training=True).at_a_kink(),
    ],
    "threshold": [case(apart(3, 4), 0.12, -3.0), case(given([0.1, 0.2, NAN]), 0.1, 5.0).at_a_kink()],
    "elu": [*calls_on(0.0), *calls_on(alpha=0.5), case(apart(5)).calling(lambda x: F.elu(x.clone(), 1.5, True))],
    "selu": calls_on(0.0),
    "celu": [*calls_on(0.0), *calls_on(alpha=2.0)],
    "sigmoid": [*calls_on(), case(given([-800.0, 0.0, 800.0])), case(normal(3)).calling(torch.special.expit)],
    "log_sigmoid": [*calls_on(), case(given([-800.0, 0.0, 800.0]))],
    "tanh": [*calls_on(), case(normal(3)).calling(F.tanh)],
    "softplus": [*calls_on(), *calls_on(beta=2.0), case(given([19.0, 21.0, 900.0]).times(1.0)), case(apart(3, 4), 2, 0.3).at_a_kink()],
    "softsign": calls_on(0.0),
    "tanhshrink": calls_on(),
    "hardtanh": [*calls_on(-1.0, 1.0), *calls_on(min_val=-0.33, max_val=2.5)],
    "hardsigmoid": calls_on(-3.0, 3.0),
    "hardswish": calls_on(-3.0, 3.0),
    "silu": [*calls_on(), case(normal(3)).calling(lambda x: F.silu(x.clone(), True))],
    "mish": calls_on(),
    "gelu": [*calls_on(), case(normal(3, 4), approximate="tanh"), case(given([-30.0, 30.0]))],
    "glu": [case(normal(3, 4)), case(normal(4, 3), 0), case(normal(2, 6, 3), 1)],
    "softshrink": [*calls_on(-0.5, 0.5), *calls_on(lambd=0.13)],
    "hardshrink": [*calls_on(-0.5, 0.5), *calls_on(lambd=0.13)],
}
