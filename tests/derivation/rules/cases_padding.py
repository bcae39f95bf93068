"""Cases of rules/padding.py."""

from __future__ import annotations

from derivation.rules.cases import case, integers, normal

CASES = {
    "pad": [
        case(normal(2, 3, 4), (1, 2)),
        case(normal(2, 3, 4), (1, 0, 2, 3), "constant", 1.5),
        case(normal(2, 3, 4), [0, 1, -1, 0]),
        case(normal(2, 5), (-1, -2, 3, -1), value=2),
        case(integers(5, 3), (1, 1)),
        case(normal(2, 0), (2, 1)),
        case(normal(2, 3, 4), (2, 3), mode="reflect"),
        case(normal(1, 2, 3, 4), (1, 2, 2, 1), "reflect"),
        case(normal(1, 2, 3, 4, 3), (1, 2, 2, 1, 0, 2), "reflect"),
        case(normal(2, 3, 4), (5, 1), mode="replicate"),
        case(normal(1, 2, 3, 4), (1, 2, 0, 4), mode="replicate"),
        case(normal(1, 2, 1, 1, 2), (1, 2, 1, 1, 2, 2), mode="replicate"),
        case(normal(2, 3, 4), (4, 3), mode="circular"),
        case(normal(1, 2, 3, 4), (1, 2, 3, 0), mode="circular"),
        case(normal(1, 2, 4, 4), (-1, 1, -2, 1), mode="circular"),
    ],
    "constant_pad_nd": [case(normal(2, 3), (1, -1, 0, 2)), case(normal(2, 3), [1, 1], 0.5)],
    "pixel_shuffle": [case(normal(2, 8, 3, 2), 2), case(normal(9, 1, 2), upscale_factor=3)],
    "pixel_unshuffle": [case(normal(2, 3, 4, 6), 2), case(normal(1, 3, 3), downscale_factor=3)],
    "channel_shuffle": [case(normal(2, 6, 3), 2), case(normal(1, 6, 2, 2), 3)],
}
