"""Maps whose sums over patches are right, and that are wrong inside them."""

from __future__ import annotations

from functools import cache

import pytest
import torch
from torch import Tensor, nn

import pellucid
from pellucid.explanation.faithfulness.resolution import constant_within, measured_level, resolution_score
from pellucid.explanation.players import Players
from pellucid.explanation.reference import Reference
from pellucid.explanation.subject import Subject


@cache
def linear() -> tuple[nn.Module, Tensor, Tensor]:
    """Images (4, 2, 16, 16) of a linear network, and its exact map from zero."""
    generator = torch.Generator().manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(512, 2))
    with torch.no_grad():
        model[1].weight.copy_(torch.randn(2, 512, generator=generator))
    x = torch.randn(4, 2, 16, 16, generator=generator)
    return model, x, (model[1].weight[0].detach() * x.flatten(1)).reshape(x.shape)


def in_patches(maps: Tensor) -> Tensor:
    """(N, 2, 8, 2, 8, 2): rows and columns of each of the 64 patches."""
    return maps.reshape(len(maps), 2, 8, 2, 8, 2)


def wrong(kind: str) -> Tensor:
    right = linear()[2]
    noise = torch.randn(right.shape, generator=torch.Generator().manual_seed(1))
    if kind == "noise that sums to zero":
        return right + 2 * (noise - in_patches(noise).mean((1, 3, 5), keepdim=True).expand(4, 2, 8, 2, 8, 2).reshape(right.shape))
    if kind == "the other channel":
        return right.flip(1)
    return in_patches(right).flip(5).reshape(right.shape)


@pytest.mark.slow
def test_the_right_map_of_every_pixel_is_trusted():
    model, x, right = linear()
    certificate = pellucid.certify(model, x, right, 0, baseline="zero")
    assert certificate.trust == "high", str(certificate)
    assert certificate.score("resolution").value == pytest.approx(1.0, abs=1e-3)


@pytest.mark.parametrize(
    "kind", ["noise that sums to zero", *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("the other channel", "turned inside"))]
)
def test_maps_that_are_wrong_inside_patches_vouch_for_patches_only(kind: str):
    model, x, _ = linear()
    certificate = pellucid.certify(model, x, wrong(kind), 0, baseline="zero")
    assert certificate.trust == "limited"
    assert any("larger features only" in str(reason) for reason in certificate.reasons)


@pytest.mark.slow
def test_a_map_that_is_even_inside_patches_claims_nothing_there():
    model, x, right = linear()
    even = in_patches(right).mean((1, 3, 5), keepdim=True).expand(4, 2, 8, 2, 8, 2).reshape(x.shape)
    certificate = pellucid.certify(model, x, even, 0, baseline="zero")
    assert certificate.trust == "high"
    assert certificate.score("resolution").value is None
    subject = Subject.of(model, x, 0)
    assert constant_within((even,), Players.of(subject))
    assert not constant_within((right,), Players.of(subject))


def test_pairs_of_sets_take_the_same_number_from_every_patch():
    model, x, right = linear()
    subject = Subject.of(model, x, 0)
    large, small = Players.of(subject), Players.of(subject, "entries")
    level = measured_level(subject, Reference.of(subject, "zero"), large, small, "inside", torch.Generator().manual_seed(0))  # type: ignore[arg-type]
    assert large.summed([level.signs.reshape(-1, 2, 16, 16)]).abs().max() == 0
    assert (level.signs != 0).any(0).float().mean() > 0.9
    predicted = right.flatten(1).double() @ level.signs.T
    assert torch.allclose(level.changes, predicted, atol=1e-4)  # of a linear network the difference itself
    score = resolution_score((-right,), [level])
    assert score.value == pytest.approx(-1.0, abs=1e-3)
    assert not score.passed
