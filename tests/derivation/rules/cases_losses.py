"""Calls of the losses."""

from __future__ import annotations

import torch

from derivation.rules.cases import case, given, integers, normal, positive, simplex

REDUCTIONS = ("mean", "sum", "none")

CASES = {
    "mse_loss": [
        *(case(normal(3, 4), normal(3, 4), reduction=reduction) for reduction in REDUCTIONS),
        case(normal(0, 4), normal(0, 4), reduction="sum"),
        case(normal(3), normal(3), True).refused("size_average"),
        case(normal(3), normal(3), weight=positive(3)).refused("weight"),
    ],
    "cross_entropy": [
        *(case(normal(4, 5), integers(5, 4), reduction=reduction) for reduction in REDUCTIONS),
        *(case(normal(4, 5), integers(5, 4), positive(5).constant(), reduction=reduction, label_smoothing=0.2) for reduction in REDUCTIONS),
        *(case(normal(4, 5), simplex(4, 5), reduction=reduction) for reduction in REDUCTIONS),
        case(normal(4, 5), positive(4, 5), positive(5).constant(), label_smoothing=0.1),
        case(normal(4, 5), given([1, -100, 4, -100]), positive(5).constant()),
        case(normal(4, 5), given([1, 0, 4, 0]), ignore_index=0, label_smoothing=0.1),
        case(normal(4, 5), given([0, 0, 0, 0]), ignore_index=0, reduction="sum"),
        case(normal(5), given(2)),
        case(normal(5), simplex(5)),
        case(normal(2, 5, 3, 2), integers(5, 2, 3, 2), positive(5).constant()),
        case(normal(2, 5, 3), simplex(2, 5, 3), reduction="none"),
        case(normal(4, 1), given([0, 0, 0, 0])),
        case(given([[0.0, -float("inf"), 1.0]]), given([2])).at_a_kink(),
    ],
    "nll_loss": [
        *(case(normal(4, 5), integers(5, 4), reduction=reduction) for reduction in REDUCTIONS),
        case(normal(4, 5), given([1, -100, 4, 0]), positive(5).constant()),
        case(normal(2, 5, 3, 2), integers(5, 2, 3, 2), positive(5).constant(), reduction="none"),
        case(normal(2, 5, 3), integers(5, 2, 3)),
        case(normal(5), given(2)),
    ],
}
_ = torch
