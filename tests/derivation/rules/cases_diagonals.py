"""Cases of rules/diagonals.py."""

from __future__ import annotations

from derivation.rules.cases import case, integers, mask, normal

TRIANGLES = [
    case(normal(3, 4)),
    case(normal(2, 4, 3), 1),
    case(normal(4, 3), diagonal=-2),
    case(normal(0, 3)),
    case(mask(3, 3)),
    case(integers(4, 3, 3), 1),
]
CASES = {
    "tril": TRIANGLES,
    "triu": TRIANGLES,
    "diagonal": [
        case(normal(3, 4)),
        case(normal(3, 4), 1),
        case(normal(3, 4), -2),
        case(normal(2, 3, 4), offset=1, dim1=-2, dim2=-1),
        case(normal(2, 3, 4), -1, 2, 0),
        case(normal(3, 4), 4),
    ],
    "linalg_diagonal": [case(normal(2, 3, 4)), case(normal(3, 2, 2), offset=1, dim1=0, dim2=1)],
    "diag_embed": [case(normal(3)), case(normal(2, 3), 1), case(normal(2, 3), -2, 0, 2), case(normal(2, 3), offset=1, dim1=1, dim2=0)],
    "diag": [case(normal(3)), case(normal(3), -1), case(normal(3, 4)), case(normal(4, 3), diagonal=1)],
    "diagflat": [case(normal(2, 2)), case(normal(3), -1), case(normal(), 1)],
    "trace": [case(normal(3, 4)), case(normal(2, 2)).calling(lambda x: x.trace())],
}
