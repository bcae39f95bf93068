"""Calls of the losses that want a margin."""

from __future__ import annotations

import torch

from derivation.rules.cases import case, given, integers, normal, positive, signs, unit

REDUCTIONS = ("mean", "sum", "none")
LABELS = given([[1, 2, -1, 0], [3, -1, -1, -1], [0, 1, 2, 3], [-1, 0, 0, 0]])

CASES = {
    "margin_ranking_loss": [
        *(case(normal(4), normal(4), signs(4), 0.3, reduction=reduction) for reduction in REDUCTIONS),
        case(normal(4, 1), normal(1, 3), signs(4, 3)),
        case(given([1.0]), given([1.0]), given([1.0])).at_a_kink(),
    ],
    "hinge_embedding_loss": [
        *(case(normal(3, 4), signs(3, 4).constant(), reduction=reduction) for reduction in REDUCTIONS),
        case(given([1.0, 0.5]), given([-1.0, -1.0]).constant(), 0.5).at_a_kink(),
    ],
    "soft_margin_loss": [
        *(case(normal(3, 4), signs(3, 4).constant(), reduction=reduction) for reduction in REDUCTIONS),
    ],
    "multi_margin_loss": [
        *(case(normal(4, 5), integers(5, 4), reduction=reduction) for reduction in REDUCTIONS),
        case(normal(4, 5), integers(5, 4), 2, 0.7, positive(5).constant()),
        case(normal(4, 5), integers(5, 4), 1, 0.7, positive(5).constant(), reduction="none"),
        case(normal(5), given(2)),
    ],
    "multilabel_margin_loss": [
        *(case(normal(4, 4), LABELS, reduction=reduction) for reduction in REDUCTIONS),
        case(normal(4), given([2, 0, -1, 3])),
    ],
    "multilabel_soft_margin_loss": [
        *(case(normal(3, 4), unit(3, 4), reduction=reduction) for reduction in REDUCTIONS),
        case(normal(3, 4), unit(3, 4), positive(4).constant()),
        case(normal(4), unit(4)),
    ],
    "cosine_embedding_loss": [
        *(case(normal(4, 3), normal(4, 3), signs(4).constant(), 0.1, reduction=reduction) for reduction in REDUCTIONS),
        case(normal(3), normal(3), given(1).constant()),
        case(given([[1.0, 0.0]]), given([[1.0, 0.0]]), given([-1]), 1.0).at_a_kink(),
    ],
    "triplet_margin_loss": [
        *(case(normal(4, 3), normal(4, 3), normal(4, 3), reduction=reduction) for reduction in REDUCTIONS),
        *(case(normal(4, 3), normal(4, 3), normal(4, 3), 2.0, swap=True, reduction=reduction) for reduction in REDUCTIONS),
        case(normal(4, 3), normal(4, 3), normal(4, 3), 0.5, 1.0, 1e-3),
        case(normal(4, 3), normal(1, 3), normal(4, 3), 0.5, 3.0),
        case(normal(3), normal(3), normal(3)),
    ],
    "triplet_margin_with_distance_loss": [
        case(normal(4, 3), normal(4, 3), normal(4, 3), distance_function=torch.nn.PairwiseDistance(1.0, 1e-3)),
        *(case(normal(4, 3), normal(4, 3), normal(4, 3), swap=swap) for swap in (False, True)),
        case(normal(4, 3), normal(4, 3), normal(4, 3), distance_function=lambda a, b: (a - b).abs().sum(-1)).refused("distance function"),
    ],
}
