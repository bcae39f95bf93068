"""Calls of einsum and its cases."""

from __future__ import annotations

import torch

from derivation.rules.cases import case, normal

CASES = {
    "einsum": [
        case("ij,jk->ik", normal(3, 4), normal(4, 2)),
        case("bij, bjk -> bik", normal(2, 3, 4), normal(2, 4, 2)),
        case("bhqd,bhkd->bhqk", normal(2, 3, 4, 5), normal(2, 3, 6, 5)),
        case("...ij,...jk", normal(2, 3, 4), normal(5, 1, 4, 2)),
        case("i...,...i->...", normal(3, 4), normal(2, 1, 3)),
        case("ba,ac", normal(3, 4), normal(4, 2)),
        case("ii->i", normal(3, 3)),
        case("ii", normal(3, 3)),
        case("iij,j->ij", normal(3, 3, 4), normal(4)),
        case("ij->ji", normal(3, 4)),
        case("ij->", normal(3, 4)),
        case("...->", normal(3, 4)),
        case("i,j->ij", normal(3), normal(4)),
        case("i,i,i->i", normal(3), normal(3), normal(3)),
        case("ij,ik,jk->", normal(3, 4), normal(3, 2), normal(4, 2)),
        case("ij,kj->ik", normal(3, 1), normal(2, 4)),
        case("ij,j->i", normal(3, 4), normal(1)),
        case("ij,jk->ik", [normal(3, 4), normal(4, 2)]),
        case("aB,Bc", normal(3, 4), normal(4, 2)),
        case("ij,jk->ik", normal(3, 0), normal(0, 2)),
        case(normal(3, 4), normal(4, 2)).calling(lambda a, b: torch.einsum(a, [0, 1], b, [1, 2], [2, 0])),
    ],
    "tensordot": [
        case(normal(2, 3, 4), normal(3, 4, 5)),
        case(normal(2, 3, 4), normal(4, 2, 5), ([0, 2], [1, 0])),
        case(normal(2, 3), normal(4), 0),
        case(normal(2, 3), normal(3, 4), dims=1),
        case(normal(2, 3), normal(2, 3), dims=2),
    ],
    "inner": [case(normal(2, 3, 4), normal(5, 4)), case(normal(4), normal(4)), case(normal(2, 3), normal()), case(normal(4), normal(2, 4))],
    "kron": [
        case(normal(2, 3), normal(4, 2)),
        case(normal(3), normal(2, 2)),
        case(normal(2, 2, 2), normal(3)),
        case(normal(), normal(2)),
    ],
    "linalg_vecdot": [case(normal(2, 3, 4), normal(4)), case(normal(2, 3), normal(2, 3), dim=0)],
    "cross": [case(normal(2, 3), normal(2, 3)), case(normal(3, 4), normal(3, 4)), case(normal(3, 3), normal(3, 3), 1)],
    "linalg_cross": [case(normal(2, 3), normal(2, 3)), case(normal(3, 4), normal(3, 1), dim=0), case(normal(1, 2, 3), normal(4, 1, 3))],
}
