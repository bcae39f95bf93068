"""Cases of rules/quantiles.py."""

from __future__ import annotations

from derivation.rules.cases import apart, case, given, unit

NAN = given([[1.0, float("nan"), 3.0, 0.5], [2.0, 0.0, 2.5, -1.0]])
QUANTILES = [
    case(apart(3, 5), 0.3),
    case(apart(3, 5), 0.3, 1),
    case(apart(3, 5), 0.77, dim=0, keepdim=True),
    case(apart(3, 5), unit(3), 1),
    case(apart(3, 5), unit(2), dim=-1, keepdim=True),
    case(apart(3, 5), unit()),
    case(apart(3, 5), 1.0, 1),
    *(case(apart(3, 5), 0.33, 1, interpolation=kind) for kind in ("linear", "lower", "higher", "nearest", "midpoint")),
    case(NAN, 0.4, 1).at_a_kink(),
    case(apart(), 0.5),
]
CASES = {"quantile": QUANTILES, "nanquantile": QUANTILES}
