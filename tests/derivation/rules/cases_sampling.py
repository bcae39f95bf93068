"""Cases of rules/sampling.py."""

from __future__ import annotations

import itertools

from derivation.rules.cases import between, case, given, normal

MODES = list(itertools.product(("bilinear", "nearest", "bicubic"), ("zeros", "border", "reflection"), (True, False)))
CASES = {
    "grid_sample": [
        *(case(normal(2, 3, 4, 5), between(-1.6, 1.6, 2, 3, 2, 2), *modes) for modes in MODES),
        *(case(normal(1, 2, 3, 4, 5), between(-1.6, 1.6, 1, 2, 3, 2, 3), *modes) for modes in MODES if modes[0] != "bicubic"),
        case(normal(1, 1, 3, 3), given([[[[0.0, 0.0], [1.0, -1.0], [0.5, 0.2]]]]), align_corners=True).at_a_kink(),
        case(normal(1, 1, 1, 1), between(-2, 2, 1, 2, 2, 2), padding_mode="reflection", align_corners=True).at_a_kink(),
        case(normal(1, 1, 3, 3), between(-1, 1, 1, 2, 2, 2), align_corners=False),
    ],
    "affine_grid": [
        case(normal(2, 2, 3), (2, 3, 4, 5), align_corners=False),
        case(normal(2, 2, 3), [2, 3, 4, 1], align_corners=True),
        case(normal(1, 3, 4), (1, 2, 3, 4, 2), False),
    ],
}
