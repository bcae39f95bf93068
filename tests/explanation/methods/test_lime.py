"""LIME against the regression on all coalitions, solved here again."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from pellucid.core.language import text
from pellucid.explanation.explain import explain
from pellucid.explanation.methods.coalitions import Game
from pellucid.explanation.methods.lime import fitted
from pellucid.explanation.players import Players
from pellucid.explanation.reference import Reference
from pellucid.explanation.subject import Subject


def network(inputs: int, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    made = nn.Sequential(nn.Linear(inputs, 16), nn.ReLU(), nn.Linear(16, 2)).eval()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.mul_(2)
    return made


def on_all_coalitions(model: nn.Module, x: Tensor, background: Tensor, target: int) -> Tensor:
    """Weighted least squares over all 2^M coalitions and every reference."""
    M, R = len(x), len(background)
    present = torch.tensor([[(number >> j) & 1 for j in range(M)] for number in range(2**M)], dtype=torch.bool)
    mixed = torch.where(present[:, None], x, background)  # (2^M, R, M)
    with torch.no_grad():
        v = model(mixed.reshape(-1, M))[:, target].double()
    design = torch.cat([torch.ones(2**M, 1), present], 1).double().repeat_interleave(R, 0)
    closeness = torch.tensor([math.exp(-(((1 - math.sqrt(int(row.sum()) / M)) / 0.25) ** 2)) for row in present]).double()
    root = closeness.repeat_interleave(R).sqrt()[:, None]
    return torch.linalg.lstsq(root * design, root * v[:, None]).solution[1:, 0]


@pytest.mark.parametrize("references", [1, 6])
def test_weights_and_intervals_meet_the_regression_on_all_coalitions(references: int):
    inside = total = 0
    for seed in range(6):
        model = network(7, seed)
        torch.manual_seed(100 + seed)
        inputs, background = torch.randn(10, 7), torch.randn(references, 7)
        subject = Subject.of(model, inputs, 1)
        game = Game(subject, Reference("samples", (background,), text("samples")), Players.of(subject))
        found, share = fitted(game, 1000, torch.Generator().manual_seed(seed))
        truth = torch.stack([on_all_coalitions(model, x, background, 1) for x in inputs])
        assert (found.values - truth).abs().mean() < 0.1 * truth.abs().mean()
        inside, total = inside + int(((found.low <= truth) & (truth <= found.high)).sum()), total + truth.numel()
        assert bool(((share > 0.3) & (share <= 1)).all())
    assert 0.92 <= inside / total <= 0.98  # 420 intervals: two standard errors are 0.02


def test_a_linear_network_is_given_back_exactly():
    torch.manual_seed(0)
    model, inputs, background = nn.Linear(6, 1).double().eval(), torch.randn(3, 6).double(), torch.randn(8, 6).double()
    found = explain(model, inputs, method="lime", data=background)
    truth = model.weight.detach() * (inputs - background.mean(0))
    assert torch.allclose(found.attributions, truth, rtol=0, atol=1e-5)  # the penalty of 1e-6, over the variance of presence
    assert "100%" in str(found.notes[-1])


@pytest.mark.parametrize("seed", [0, 1])
def test_intervals_of_a_linear_network_hold_its_rounding(seed: int):
    torch.manual_seed(seed)
    model, inputs, background = nn.Linear(6, 1).eval(), torch.randn(3, 6), torch.randn(8, 6)
    found = explain(model, inputs, method="lime", data=background)
    truth = model.weight.detach().double() * (inputs.double() - background.double().mean(0))
    low, high = found.interval
    assert bool(((low <= truth) & (truth <= high)).all())
    assert float((high - low).max()) < 1e-4  # rounding, and no more than that
    assert bool(found.exact.all())


def test_a_linear_model_that_does_not_fit_is_said_first():
    class Parity(nn.Module):
        def forward(self, x):
            return x.sign().prod(1, keepdim=True)

    found = explain(Parity(), torch.ones(2, 6), method="lime", baseline=-1.0)
    assert str(found.notes[0]).startswith("careful: of 2 of 2 samples")
    assert str(explain(Parity(), torch.ones(1, 6), method="lime", baseline=-1.0).notes[0]).startswith("careful: the linear model")
    assert not any("careful" in str(note) for note in explain(network(6), torch.ones(2, 6), method="lime").notes)


def test_the_same_seed_gives_the_same_weights():
    model, inputs = network(9), torch.randn(2, 9)
    one, two, other = (explain(model, inputs, method="lime", seed=seed, samples=100) for seed in (0, 0, 1))
    assert torch.equal(one.attributions, two.attributions)
    assert not torch.equal(one.attributions, other.attributions)
    low, high = one.interval
    assert bool((low < one.attributions).all() and (one.attributions < high).all())


def test_patches_and_tokens():
    torch.manual_seed(0)
    image = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(72, 2)).eval()
    inputs = torch.randn(2, 1, 8, 8)
    found = explain(image, inputs, method="lime", features=4)
    assert found.attributions.shape == inputs.shape
    words = nn.Sequential(nn.Embedding(10, 4), nn.Flatten(), nn.Linear(20, 2)).eval()
    assert explain(words, torch.randint(1, 10, (3, 5)), method="lime").attributions.shape == (3, 5)
