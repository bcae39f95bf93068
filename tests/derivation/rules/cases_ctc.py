"""Calls of the loss of unaligned sequences. Its gradient is the derivative only behind log_softmax: no central differences."""

from __future__ import annotations

import torch

from derivation.rules.cases import case, given, integers, normal

F = torch.nn.functional
CASES = {
    "ctc_loss": [
        *(
            case(normal(6, 3, 4), integers(4, 3, 2, low=1), given([6, 5, 6]), given([2, 1, 2]), reduction=reduction)
            .calling(lambda x, *a, **k: F.ctc_loss(x.log_softmax(-1), *a, **k))
            .at_a_kink()
            for reduction in ("mean", "sum", "none")
        ),
        case(normal(6, 2, 4), given([1, 1, 2, 3]), (6, 5), (3, 1), 0).calling(lambda x, *a: F.ctc_loss(x.log_softmax(-1), *a)).at_a_kink(),
        case(normal(6, 4), given([1, 1]), given(6), given(2), 3).calling(lambda x, *a: F.ctc_loss(x.log_softmax(-1), *a)).at_a_kink(),
        case(normal(2, 2, 4), given([[1, 1, 2], [2, 0, 0]]), (2, 2), (3, 1), zero_infinity=True)
        .calling(lambda x, *a, **k: F.ctc_loss(x.log_softmax(-1), *a, **k))
        .at_a_kink(),
        case(normal(4, 2, 3), given([[1, 0], [0, 0]]), (4, 3), (1, 0)).calling(lambda x, *a: F.ctc_loss(x.log_softmax(-1), *a)).at_a_kink(),
    ],
}
