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


def linear_samples(columns: int, n: int, seed: int) -> tuple[nn.Linear, torch.Tensor]:
    """A linear network and 300 samples; the first `n` are explained."""
    generator = torch.Generator().manual_seed(seed)
    model = nn.Linear(columns, 3).requires_grad_(False)
    model.weight.copy_(torch.randn(3, columns, generator=generator))
    return model, torch.randn(300, columns, generator=generator)


@pytest.mark.parametrize("baseline", ["auto", "mean"])
@pytest.mark.parametrize("times", [0.0, -1.0, 0.5, 5.0])
def test_a_constant_in_every_value_is_seen_without_a_baseline(times: float, baseline: str):
    """It changes no difference between features, but signs, proportions and sums."""
    model, data = linear_samples(6, 8, 0)
    x = data[:8]
    target = model(x).argmax(1)
    right = model.weight[target] * (x - data.mean(0))
    certificate = pellucid.certify(model, x, right + times * right.std(), target, data=data, baseline=baseline)
    assert certificate.trust == ("limited" if times else "high"), str(certificate)
    assert ("signs and proportions cannot be trusted" in str(certificate)) is bool(times)
    assert ("only their proportions" in str(certificate)) is False


def test_maps_against_any_usual_reference_keep_their_trust():
    """Zero, the mean and samples are all meant by somebody: a map of one of them needs no constant."""
    model, data = linear_samples(12, 8, 1)
    for reference in (torch.zeros(12), data.mean(0), data[:8].mean(0)):
        maps = model.weight[0] * (data[:8] - reference)
        assert pellucid.certify(model, data[:8], maps, 0, data=data).trust == "high"


@pytest.mark.parametrize("which", [(), (3,), (0, 1)])
def test_samples_whose_maps_are_wrong_are_named(which: tuple[int, ...]):
    """Two of 32 leave nine tenths of all explained: a mean does not see them."""
    model, data = linear_samples(12, 32, 2)
    maps = model.weight[0] * data[:32]
    for row in which:
        maps[row] = -maps[row]
    certificate = pellucid.certify(model, data[:32], maps, 0, data=data, baseline="zero")
    assert certificate.trust == ("limited" if which else "high"), str(certificate)
    assert (f"of samples {', '.join(map(str, which))} (counted from 0)" in str(certificate)) is bool(which)


def test_exact_maps_do_not_say_that_features_interact():
    """Of an additive function, most of whose samples change nothing: maps of zero have no slope."""

    class Steps(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return (x[:, :1] > 0).float() + (x[:, 1:2] > 0.5).float()

    data = torch.randn(300, 8, generator=torch.Generator().manual_seed(0))
    data[:5] = -data[:5].abs()
    maps = torch.zeros(8, 8)
    maps[:, 0], maps[:, 1] = data[:8, 0] > 0, data[:8, 1] > 0.5
    certificate = pellucid.certify(Steps(), data[:8], maps, 0, data=data, baseline="zero")
    assert certificate.trust == "high"
    assert "interact" not in str(certificate)
