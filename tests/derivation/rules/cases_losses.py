"""Calls of the losses."""

from __future__ import annotations

from derivation.rules.cases import Case, case, given, integers, normal, positive, simplex, unit

REDUCTIONS = ("mean", "sum", "none")


def of_difference(**options: float) -> list[Case]:
    """Every reduction, and a target of fewer dimensions."""
    return [
        *(case(normal(3, 4), normal(3, 4), reduction=reduction, **options) for reduction in REDUCTIONS),
        case(normal(3, 4), normal(4), **options),
        case(normal(), normal(), **options),
    ]


CASES = {
    "mse_loss": [
        *of_difference(),
        case(normal(0, 4), normal(0, 4), reduction="sum"),
        case(normal(3), normal(3), True).refused("size_average"),
        *(case(normal(3, 4), normal(3, 4), weight=positive(3, 4), reduction=reduction) for reduction in REDUCTIONS),
    ],
    "l1_loss": [*of_difference(), case(given([1.0, 2.0]), given([1.0, 3.0])).at_a_kink()],
    "huber_loss": [
        *of_difference(),
        *of_difference(delta=0.5),
        case(given([0.0, 1.0, -1.0]), given([0.0, 0.0, 0.0])).at_a_kink(),
        *(case(normal(3, 4), normal(3, 4), weight=positive(3, 4).constant(), reduction=reduction) for reduction in REDUCTIONS),
    ],
    "smooth_l1_loss": [
        *of_difference(),
        *of_difference(beta=0.5),
        *of_difference(beta=0.0),
        case(given([0.0, 1.0, -1.0]), given([0.0, 0.0, 0.0])).at_a_kink(),
    ],
    "binary_cross_entropy": [
        *(case(unit(3, 4), unit(3, 4), reduction=reduction) for reduction in REDUCTIONS),
        *(case(unit(3, 4), unit(3, 4), positive(4).constant(), reduction=reduction) for reduction in REDUCTIONS),
        case(given([0.0, 1.0, 0.0, 1.0]), given([0.0, 1.0, 1.0, 0.0]).constant()).at_a_kink(),
    ],
    "binary_cross_entropy_with_logits": [
        *(case(normal(3, 4), unit(3, 4), reduction=reduction) for reduction in REDUCTIONS),
        *(case(normal(3, 4), unit(3, 4), positive(4).constant(), reduction=reduction) for reduction in REDUCTIONS),
        *(case(normal(3, 4), unit(3, 4), reduction=reduction, pos_weight=positive(4).constant()) for reduction in REDUCTIONS),
        case(normal(3, 4), unit(3, 4), positive(3, 1).constant(), pos_weight=positive(4).constant()),
        case(given([800.0, -800.0]), given([0.0, 1.0])),
    ],
    "kl_div": [
        *(case(normal(3, 4), simplex(3, 4), reduction=reduction) for reduction in (*REDUCTIONS, "batchmean")),
        *(case(normal(3, 4), normal(3, 4), reduction=reduction, log_target=True) for reduction in (*REDUCTIONS, "batchmean")),
        case(normal(3), given([0.0, 0.5, 0.5]).constant()),
    ],
    "gaussian_nll_loss": [
        *(case(normal(3, 4), normal(3, 4), positive(3, 4), reduction=reduction) for reduction in REDUCTIONS),
        case(normal(3, 4), normal(3, 4), positive(3), full=True),
        case(normal(3, 4), normal(3, 4), positive(3, 1)),
        case(normal(2), normal(2), given([1e-9, 0.0]), eps=0.1).at_a_kink(),
        case(normal(3), normal(3), 0.7),
    ],
    "poisson_nll_loss": [
        *(case(normal(3, 4), positive(3, 4), reduction=reduction) for reduction in REDUCTIONS),
        case(normal(3, 4), positive(3, 4).times(2.0), full=True),
        case(positive(3, 4), positive(3, 4).times(2.0), log_input=False, full=True, eps=1e-3),
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
