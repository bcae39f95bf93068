"""Cases of rules/sequences.py."""

from __future__ import annotations

from derivation.rules.cases import case, given, integers, normal

CASES = {
    "_pack_padded_sequence": [case(normal(4, 3, 2), given([4, 2, 1]), False), case(normal(3, 4), given([4, 4, 3]), True)],
    "_pad_packed_sequence": [
        case(normal(7, 2), given([3, 2, 1, 1]), False, 0.0, -1),
        case(normal(7, 2), given([3, 2, 2]), True, 1.5, 5),
    ],
    "pad_sequence": [
        case([normal(2, 3), normal(4, 3)]),
        case([normal(2), normal(1)], True, 0.5),
        case([normal(2, 3), normal(4, 3)], batch_first=True, padding_side="left"),
        case([integers(5, 2), integers(5, 3)], padding_value=9),
    ],
}
