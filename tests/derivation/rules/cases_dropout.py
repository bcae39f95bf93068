"""Calls of the dropouts: the mask is the one that PyTorch drew."""

from __future__ import annotations

import torch

from derivation.rules.cases import case, normal

CASES = {
    "dropout": [
        case(normal(4, 5), 0.3),
        case(normal(4, 5), 0.0),
        case(normal(4, 5), 1.0),
        case(normal(4, 5), 0.5, False).calling(lambda x, p, training: torch.dropout(x * 1, p, training)),
        case(normal(4, 5)).calling(lambda x: torch.nn.functional.dropout(x * 1, 0.4, True, True)),
        case(normal(0, 5)),
    ],
    "dropout1d": [case(normal(4, 5, 3), 0.3), case(normal(5, 3)).calling(lambda x: torch.nn.functional.dropout1d(x, 0.5))],
    "dropout2d": [case(normal(4, 5, 3, 3), 0.3), case(normal(4, 5, 3, 3), 1.0)],
    "dropout3d": [case(normal(4, 5, 3, 2, 2), 0.3)],
    "feature_dropout": [case(normal(4, 5, 3), 0.3, True)],
    "alpha_dropout": [case(normal(4, 5), 0.3, True), case(normal(4, 5), 1.0, True), case(normal(4, 5), 0.0, True)],
    "feature_alpha_dropout": [case(normal(4, 5, 2), 0.3, True)],
}
