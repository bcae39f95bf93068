"""Cases of rules/embedding.py."""

from __future__ import annotations

import torch

from derivation.rules.cases import apart, case, given, integers, normal, positive

TABLE = normal(5, 3)
CASES = {
    "embedding": [
        case(integers(5, 2, 4), TABLE),
        case(integers(5, 7), TABLE, 2).at_a_kink(),
        case(integers(5, 7), TABLE, padding_idx=-1).at_a_kink(),
        case(integers(5, 7), TABLE, scale_grad_by_freq=True).at_a_kink(),
        case(given(3), TABLE),
        case(integers(5, 0), TABLE),
        case(integers(5, 7), TABLE, max_norm=1.0).refused("max_norm"),
        case(TABLE, integers(5, 7)).calling(torch.embedding).refused("other order"),
    ],
    "embedding_bag": [
        case(integers(5, 2, 4), TABLE),
        *(case(integers(5, 7), apart(5, 3), given([0, 2, 2, 5]), mode=mode) for mode in ("sum", "mean", "max")),
        *(case(integers(5, 2, 4), apart(5, 3), mode=mode, padding_idx=1) for mode in ("sum", "mean", "max")),
        case(integers(5, 7), TABLE, offsets=given([0, 2, 7]), include_last_offset=True),
        case(integers(5, 7), TABLE, given([0, 3]), scale_grad_by_freq=True, mode="sum").refused("counts of other rows"),
        case(integers(5, 2, 4), TABLE, mode="sum", per_sample_weights=positive(2, 4)),
        case(integers(5, 7), TABLE, given([0, 3]), mode="sum", per_sample_weights=positive(7), padding_idx=0),
        case(integers(5, 2, 4), TABLE, max_norm=1.0).refused("max_norm"),
    ],
    "one_hot": [case(integers(4, 3)), case(integers(4, 2, 3), 6), case(integers(4, 3), num_classes=4)],
}
