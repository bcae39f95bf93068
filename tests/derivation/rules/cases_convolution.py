"""Calls of the convolutions."""

from __future__ import annotations

import torch

from derivation.rules.cases import case, normal

F = torch.nn.functional

CASES = {
    "conv1d": [
        case(normal(2, 3, 9), normal(4, 3, 3), normal(4)),
        case(normal(3, 9), normal(4, 3, 3)),
        case(normal(2, 4, 11), normal(6, 2, 3), normal(6), 2, 1, 2, 2),
        case(normal(2, 3, 8), normal(4, 3, 4), padding="same"),
        case(normal(2, 3, 8), normal(4, 3, 4), padding="valid", dilation=(2,)),
        case(normal(0, 3, 8), normal(4, 3, 4), normal(4)),
    ],
    "conv2d": [
        case(normal(2, 3, 6, 5), normal(4, 3, 3, 2), normal(4)),
        case(normal(2, 3, 6, 5), normal(4, 3, 1, 1)),
        case(normal(2, 3, 7, 8), normal(4, 3, 3, 2), normal(4), (2, 3), (1, 2)),
        case(normal(2, 4, 9, 9), normal(6, 2, 3, 3), None, 2, 1, 2, 2),
        case(normal(2, 4, 6, 6), normal(8, 1, 3, 3), normal(8), 1, 1, 1, 4),
        case(normal(3, 6, 6), normal(4, 3, 3, 3), normal(4), padding="same", dilation=2),
        case(normal(2, 3, 5, 5), normal(4, 3, 2, 4), padding="same"),
        case(normal(1, 1, 3, 3), normal(1, 1, 3, 3)),
        case(normal(0, 3, 5, 5), normal(4, 3, 3, 3), normal(4), padding=1),
        case(normal(2, 3, 5, 5), normal(4, 3, 3, 3), stride=5),
    ],
    "conv3d": [
        case(normal(2, 3, 4, 5, 4), normal(2, 3, 2, 3, 2), normal(2)),
        case(normal(2, 4, 5, 5, 5), normal(4, 2, 3, 2, 2), None, (2, 1, 2), 1, (1, 2, 1), 2),
    ],
    "conv_transpose1d": [
        case(normal(2, 3, 5), normal(3, 4, 3), normal(4)),
        case(normal(2, 4, 5), normal(4, 3, 3), normal(6), 3, 1, 2, 2, 2),
    ],
    "conv_transpose2d": [
        case(normal(2, 3, 4, 5), normal(3, 4, 2, 2), normal(4), stride=2),
        case(normal(3, 4, 5), normal(3, 4, 3, 2), stride=(2, 3), padding=(1, 0), output_padding=(1, 2)),
        case(normal(2, 4, 4, 4), normal(4, 2, 3, 3), normal(4), 2, 1, 1, 2, 2),
        case(normal(2, 4, 4, 4), normal(4, 1, 3, 3), groups=4),
        case(normal(0, 4, 4, 4), normal(4, 1, 3, 3)),
        case(normal(2, 3, 1, 1), normal(3, 4, 4, 4)),
    ],
    "conv_transpose3d": [
        case(normal(1, 2, 3, 2, 3), normal(2, 3, 2, 3, 2), normal(3), stride=2),
        case(normal(1, 4, 2, 2, 3), normal(4, 1, 2, 3, 2), None, (1, 2, 2), (0, 1, 1), (0, 1, 0), 2, 1),
    ],
    "unfold": [
        case(normal(2, 3, 6, 5), 2),
        case(normal(2, 3, 7, 6), (3, 2), 2, (1, 2), (2, 1)),
        case(normal(3, 6, 5), kernel_size=(2, 3), stride=3),
    ],
    "fold": [
        case(normal(2, 12, 20), (6, 5), 2),
        case(normal(2, 12, 12), (7, 6), (3, 2), 2, (1, 2), (2, 2)),
        case(normal(12, 20), output_size=(6, 5), kernel_size=2),
    ],
}
