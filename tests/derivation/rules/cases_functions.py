"""Calls of functions of one number."""

from __future__ import annotations

import torch

from derivation.rules.cases import Case, Draw, apart, between, case, given, integers, normal, positive, unit

NAN, INFINITY = float("nan"), float("inf")
REAL, POSITIVE, UNIT = normal(3, 4), positive(3, 4), unit(3, 4)


def calls_on(draw: Draw, *kinks: float) -> list[Case]:
    """On numbers of the domain, on a single one, on none; at the kinks."""
    cases = [
        case(draw),
        case(Draw(lambda g: draw(g).detach()[0, 0].clone(), "one")),
        case(Draw(lambda g: draw(g).detach()[:0].clone(), "none")),
    ]
    return [*cases, case(given(list(kinks))).at_a_kink()] if kinks else cases


CASES = {
    "exp": calls_on(REAL, -INFINITY, 0.0, INFINITY),
    "exp2": calls_on(REAL),
    "expm1": calls_on(REAL, 1e-20),
    "log": [*calls_on(POSITIVE, 0.0, INFINITY)],
    "log2": calls_on(POSITIVE),
    "log10": calls_on(POSITIVE),
    "log1p": calls_on(POSITIVE, 1e-20),
    "square": [*calls_on(REAL), case(integers(9, 3)).calling(lambda x: torch.square(x.double()))],
    "sqrt": calls_on(POSITIVE, 0.0),
    "rsqrt": calls_on(POSITIVE),
    "reciprocal": calls_on(POSITIVE, INFINITY),
    "abs": [*calls_on(apart(3, 4), 0.0, -0.0), case(normal(2)).calling(abs)],
    "floor": calls_on(apart(3, 4), 0.0, -1.0, 2.0),
    "ceil": calls_on(apart(3, 4), 0.0, -1.0, 2.0),
    "trunc": calls_on(apart(3, 4).times(7.3), 0.0, -1.0, 2.0),
    "round": [
        *calls_on(apart(3, 4).times(7.3), 0.5, 1.5, -2.5),
        case(apart(5).times(0.123), decimals=2),
        case(apart(5).times(1234.5), decimals=-2),
    ],
    "frac": calls_on(apart(3, 4).times(7.3), -2.0),
    "sign": [*calls_on(apart(3, 4), 0.0), case(apart(3)).calling(torch.sgn)],
    "sin": calls_on(REAL),
    "cos": calls_on(REAL),
    "tan": calls_on(between(-1.2, 1.2, 3, 4)),
    "asin": calls_on(UNIT),
    "acos": calls_on(UNIT),
    "atan": calls_on(REAL),
    "sinh": calls_on(REAL),
    "cosh": calls_on(REAL),
    "asinh": calls_on(REAL),
    "acosh": calls_on(between(1.1, 4.0, 3, 4)),
    "atanh": calls_on(UNIT),
    "sinc": calls_on(REAL, 0.0),
    "deg2rad": calls_on(REAL),
    "rad2deg": calls_on(REAL),
    "erf": calls_on(REAL, -INFINITY, INFINITY),
    "erfc": calls_on(REAL),
    "erfinv": calls_on(UNIT),
    "erfcx": calls_on(REAL),
    "ndtr": calls_on(REAL),
    "log_ndtr": calls_on(REAL.times(3.0)),
    "ndtri": calls_on(UNIT),
    "lgamma": calls_on(POSITIVE),
    "digamma": calls_on(POSITIVE, 0.0),
    "polygamma": [
        case(1, POSITIVE).within(1e-9),
        case(2, between(0.5, 3.0, 4)),
        case(0, POSITIVE),
        case(POSITIVE).calling(lambda x: x.polygamma(3)),
    ],
    "i0": calls_on(REAL),
    "i0e": calls_on(apart(3, 4), 0.0),
    "i1": calls_on(REAL, 0.0),
    "i1e": calls_on(apart(3, 4), 0.0),
    "entr": calls_on(POSITIVE, -1.0, 0.0, 1.0),
    "logit": [*calls_on(UNIT, -1.0, 0.0, 1.0, 2.0), case(UNIT, 0.2), case(given([0.1, 0.2, 0.9, 1.5]), 0.2).at_a_kink()],
    "nan_to_num": [
        case(given([NAN, INFINITY, -INFINITY, 1.0])).at_a_kink(),
        case(given([NAN, INFINITY, -INFINITY, 1.0]), 1.0, 2.0, -3.0).at_a_kink(),
        case(integers(4, 3)),
    ],
    "mvlgamma": [case(between(2.0, 5.0, 3, 4), 3), case(positive(3), 1)],
}
