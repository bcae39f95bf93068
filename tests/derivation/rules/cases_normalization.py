"""Calls of the normalisations."""

from __future__ import annotations

import torch

from derivation.rules.cases import case, given, normal, positive

CASES = {
    "batch_norm": [
        case(normal(4, 3), None, None, normal(3), normal(3), True),
        case(normal(4, 3, 2, 5), None, None, normal(3), normal(3), True, 0.1, 1e-3),
        case(normal(4, 3, 6), None, None, training=True),
        case(normal(4, 3, 2, 5), normal(3).constant(), positive(3).constant(), normal(3), normal(3)),
        case(normal(4, 3, 2, 5), normal(3).constant(), positive(3).constant(), normal(3), None, True),
        case(normal(2, 3, 2, 2, 2), None, None, None, normal(3), True),
    ],
    "layer_norm": [
        case(normal(2, 3, 4), (4,), normal(4), normal(4)),
        case(normal(2, 3, 4), (3, 4), normal(3, 4)),
        case(normal(2, 3, 4), [4], None, None, 1e-3),
        case(normal(4), (4,), None, normal(4)),
        case(normal(0, 4), (4,), normal(4), normal(4)),
    ],
    "group_norm": [
        case(normal(2, 6, 3, 2), 3, normal(6), normal(6)),
        case(normal(2, 6), 2),
        case(normal(2, 4, 5), 1, normal(4), None, 1e-3),
    ],
    "instance_norm": [
        case(normal(2, 3, 4, 5), weight=normal(3), bias=normal(3)),
        case(normal(2, 3, 4)),
        case(normal(2, 3, 4), normal(3).constant(), positive(3).constant(), normal(3), use_input_stats=False),
    ],
    "rms_norm": [
        case(normal(2, 3, 4), (4,), normal(4)),
        case(normal(2, 3, 4), (3, 4), None, 1e-3),
        case(given([[0.0, 0.0], [1e-9, 0.0]]), (2,)).at_a_kink(),
    ],
    "local_response_norm": [
        case(normal(2, 7, 3), 3, 0.1),
        case(normal(2, 7, 3, 2), 4, 0.5, 0.5, 2.0),
        case(normal(1, 2, 3, 2, 2), 5),
    ],
    "normalize": [
        case(normal(3, 4)),
        case(normal(3, 4), 1.0, 0),
        case(normal(3, 4), 3.0, -1),
        case(normal(3, 4), float("inf")),
        case(normal(3, 4).times(0.1), 2.0, 1, 10.0),
        case(given(torch.zeros(2, 3))).at_a_kink(),
    ],
}
