"""Cases of rules/interpolation.py."""

from __future__ import annotations

import torch

from derivation.rules.cases import case, normal

NEAREST = ("nearest", "nearest-exact", "area")
CASES = {
    "interpolate": [
        case(normal(2, 3, 4, 5), scale_factor=2),
        case(normal(2, 3, 4, 5), 7),
        case(normal(1, 2, 4), scale_factor=1.7, mode="nearest"),
        *(case(normal(1, 2, 4), size=7, mode=mode) for mode in NEAREST),
        *(case(normal(1, 2, 9), size=[4], mode=mode) for mode in NEAREST),
        *(case(normal(1, 2, 4, 5), size=(9, 3), mode=mode) for mode in NEAREST),
        *(case(normal(1, 2, 4, 5), scale_factor=(0.6, 2.3), mode=mode) for mode in NEAREST),
        *(case(normal(1, 1, 2, 3, 4), size=(3, 2, 7), mode=mode) for mode in NEAREST),
        case(normal(1, 1, 2), size=82).refused("two passes"),
        case(normal(1, 2, 5), size=8, mode="linear"),
        case(normal(1, 2, 5), size=3, mode="linear", align_corners=True),
        case(normal(1, 2, 5), scale_factor=1.9, mode="linear", align_corners=False),
        case(normal(1, 2, 5), scale_factor=1.9, mode="linear", recompute_scale_factor=True),
        case(normal(1, 2, 5), size=1, mode="linear", align_corners=True),
        case(normal(2, 3, 4, 5), scale_factor=2, mode="bilinear"),
        case(normal(2, 3, 4, 5), scale_factor=2, mode="bilinear", align_corners=True),
        case(normal(1, 1, 4, 5), size=(2, 9), mode="bilinear", align_corners=False),
        case(normal(1, 1, 1, 5), size=(3, 5), mode="bilinear"),
        case(normal(1, 1, 9, 5), size=(4, 7), mode="bilinear", antialias=True),
        case(normal(1, 1, 4, 5), size=(7, 9), mode="bicubic"),
        case(normal(1, 1, 4, 5), scale_factor=(1.5, 0.7), mode="bicubic", align_corners=False),
        case(normal(1, 1, 4, 5), size=(2, 9), mode="bicubic", align_corners=True),
        case(normal(1, 1, 9, 5), size=(4, 7), mode="bicubic", antialias=True),
        case(normal(1, 1, 9, 8), size=(4, 3), mode="lanczos", antialias=True),
        case(normal(1, 1, 2, 3, 4), size=(3, 2, 7), mode="trilinear"),
        case(normal(1, 1, 2, 3, 4), scale_factor=2, mode="trilinear", align_corners=True),
        case(normal(1, 2, 4, 4)).calling(torch.nn.Upsample(scale_factor=2, mode="bilinear")),
    ],
}
