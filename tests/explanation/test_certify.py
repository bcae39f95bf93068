"""What may be given to certify, and what is refused in one sentence."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import pellucid
from pellucid.core.errors import DataError, OptionError


def images() -> tuple[nn.Module, torch.Tensor]:
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 64, 2)), torch.randn(3, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def test_one_map_for_all_channels_is_taken():
    model, x = images()
    maps = torch.randn(3, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    one = pellucid.certify(model, x, maps, 0)
    two = pellucid.certify(model, x, maps[:, 0], 0)
    three = pellucid.certify(model, x, (maps / 3).expand_as(x), 0)
    assert one.score("infidelity").value == two.score("infidelity").value == pytest.approx(three.score("infidelity").value)
    assert one.score("completeness").value == pytest.approx(three.score("completeness").value)


def test_attributions_of_embeddings_are_summed():
    model = nn.Sequential(nn.Embedding(9, 4), nn.Flatten(), nn.Linear(24, 2))
    tokens = torch.randint(0, 9, (3, 6), generator=torch.Generator().manual_seed(0))
    maps = torch.randn(3, 6, 4, generator=torch.Generator().manual_seed(1))
    one, two = pellucid.certify(model, tokens, maps, 1), pellucid.certify(model, tokens, maps.sum(-1), 1)
    assert [score.value for score in one.scores] == [score.value for score in two.scores]


def test_arrays_are_taken():
    model, x = nn.Linear(6, 2), torch.randn(3, 6, generator=torch.Generator().manual_seed(0))
    maps = (model.weight[0] * x).detach()
    assert pellucid.certify(model, x.numpy(), maps.numpy(), 0).score("share_explained").value == pytest.approx(1.0, abs=0.01)


@pytest.mark.parametrize(
    ("maps", "words"),
    [
        (torch.zeros(3, 5), r"shape \(3, 5\)"),
        (torch.zeros(3, 6, 2), "values\\[..., target\\]"),
        (torch.full((3, 6), float("nan")), "NaN"),
        ((torch.zeros(3, 6), torch.zeros(3, 6)), "for 2 inputs"),
        ("map", "str"),
    ],
)
def test_attributions_that_do_not_fit_are_refused(maps: object, words: str):
    with pytest.raises(DataError, match=words):
        pellucid.certify(nn.Linear(6, 2), torch.zeros(3, 6), maps, 0)


@pytest.mark.parametrize("seed", [-1, 1.5, True, "0"])
def test_seeds_are_checked(seed: object):
    with pytest.raises(OptionError, match="seed"):
        pellucid.certify(nn.Linear(6, 2), torch.zeros(3, 6), torch.zeros(3, 6), 0, seed=seed)
