"""Cases of rules/creation.py."""

from __future__ import annotations

import torch

from derivation.rules.cases import case, normal, positive, unit

CASES = {
    "bernoulli": [case(unit(3, 4)), case(unit(3, 4)).calling(lambda p: p.bernoulli())],
    "normal": [
        case(normal(3, 4), positive(3, 4)),
        case(normal(3, 4), 0.5),
        case(1.5, positive(3)).calling(torch.normal),
        case(normal(3, 1), positive(4)),
    ],
}
