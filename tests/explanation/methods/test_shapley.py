"""Shapley values against the definition, written again over all orders; sampled ones against all coalitions."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pellucid.core.errors import ModelError
from pellucid.core.language import text
from pellucid.explanation.explain import explain
from pellucid.explanation.methods.coalitions import Estimate, Game
from pellucid.explanation.methods.designs import design, designed
from pellucid.explanation.methods.shapley import contributions, enumerated, sampled
from pellucid.explanation.players import Players
from pellucid.explanation.reference import Reference
from pellucid.explanation.subject import Subject


class Function(nn.Module):
    """A plain function as a network."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


def network(inputs: int, outputs: int = 1, width: int = 16, *, seed: int = 0, scale: float = 1.5) -> nn.Module:
    torch.manual_seed(seed)
    made = nn.Sequential(nn.Linear(inputs, width), nn.ReLU(), nn.Linear(width, width), nn.Tanh(), nn.Linear(width, outputs)).eval()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.mul_(scale)
    return made


def game(model: nn.Module, inputs: Tensor, background: Tensor, target: Tensor | int | None = None) -> Game:
    subject = Subject.of(model, inputs, target)
    return Game(subject, Reference("samples", (background,), text("samples")), Players.of(subject))


def by_definition(model: nn.Module, x: Tensor, background: Tensor, target: int) -> Tensor:
    """The mean of the marginal contributions over all orders and references, one pass after the other."""
    total = torch.zeros(len(x), dtype=torch.float64)
    orders = list(permutations(range(len(x))))
    with torch.no_grad():
        for absent in background:
            for order in orders:
                mixed = absent.clone()
                before = float(model(mixed[None])[0, target])
                for j in order:
                    mixed[j] = x[j]
                    after = float(model(mixed[None])[0, target])
                    total[j] += after - before
                    before = after
    return total / len(orders) / len(background)


def test_enumeration_is_the_definition():
    torch.manual_seed(1)
    model, inputs, background = network(4, 3), torch.randn(3, 4), torch.randn(2, 4)
    played = game(model, inputs, background, torch.tensor([0, 2, 1]))
    found = enumerated(played)
    for i, target in enumerate((0, 2, 1)):
        assert torch.allclose(found.values[i], by_definition(model, inputs[i], background, target), atol=1e-6)
    assert bool(found.exact.all())
    assert torch.equal(found.low, found.values)


def test_one_and_twelve_features():
    torch.manual_seed(1)
    one = enumerated(game(network(1), torch.randn(4, 1), torch.randn(3, 1)))
    assert one.values.shape == (4, 1)
    twelve = game(network(12), torch.randn(2, 12), torch.zeros(1, 12))
    assert torch.allclose(enumerated(twelve).values.sum(1), twelve.full - twelve.empty[:, 0], atol=1e-12)


def test_a_known_game():
    """The glove game: a left and two right gloves; v = 1 with a pair. Shapley values 2/3, 1/6, 1/6."""
    pair = Function(lambda x: x[:, :1] * torch.maximum(x[:, 1:2], x[:, 2:3]))
    found = enumerated(game(pair, torch.ones(1, 3), torch.zeros(1, 3)))
    assert torch.allclose(found.values, torch.tensor([[2 / 3, 1 / 6, 1 / 6]], dtype=torch.float64))


@pytest.mark.parametrize("references", [1, 7, 20])
def test_samples_add_up_and_meet_the_truth(references: int):
    torch.manual_seed(2)
    played = game(network(10), torch.randn(20, 10), torch.randn(references, 10))
    truth = enumerated(played).values
    found = sampled(played, torch.Generator().manual_seed(0), 40)
    assert torch.allclose(found.values.sum(1), played.full - played.empty.mean(1), atol=1e-12)  # completeness: exactly
    inside = ((found.low <= truth) & (truth <= found.high)).double().mean()
    assert inside > 0.9
    again = sampled(played, torch.Generator().manual_seed(0), 40)
    assert torch.equal(found.values, again.values)


def test_the_pilot_asks_for_what_the_aim_needs():
    torch.manual_seed(3)
    played = game(network(20), torch.randn(10, 20), torch.randn(10, 20))
    found = sampled(played, torch.Generator().manual_seed(0))
    half = (found.high - found.low).amax(1).mean() / 2
    assert half < 0.07 * found.values.abs().amax(1).mean()  # 0.05, as far as a pilot can tell


def test_linear_and_unused_features_are_exact():
    """Every reference is met equally often: what is linear in it has no variance left, and what is unused is zero."""
    torch.manual_seed(4)
    weights = torch.randn(16, dtype=torch.float64)
    weights[3] = 0
    background = torch.randn(12, 16, dtype=torch.float64)
    inputs = torch.randn(5, 16, dtype=torch.float64)
    played = game(Function(lambda x: x @ weights[:, None]), inputs, background)
    found = sampled(played, torch.Generator().manual_seed(0), 48)
    assert torch.allclose(found.values, weights * (inputs - background.mean(0)), atol=1e-12)
    assert bool((found.high - found.low < 1e-12).all())
    assert bool(found.exact[:, 3].all())
    single = sampled(game(Function(lambda x: x @ weights[:, None]), inputs, background[:1]), torch.Generator().manual_seed(0), 16)
    assert bool(single.exact.all())


def test_a_pair_is_an_order_and_its_reverse():
    """For a product of two features a pair gives each of them half, whatever the order: antithetic orders have no variance here."""
    product = Function(lambda x: x[:, :1] * x[:, 1:2])
    played = game(product, torch.tensor([[2.0, 3.0, 1.0]]), torch.zeros(1, 3))
    added = contributions(played, played.drawn_references(1, torch.Generator().manual_seed(0)), 9, torch.Generator().manual_seed(0))
    assert torch.equal(added, torch.tensor([3.0, 3.0, 0.0], dtype=torch.float64).expand(1, 1, 9, 3))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_who_is_present_keeps_every_bit(dtype: torch.dtype):
    """Whether it is said in truth values or in numbers."""
    torch.manual_seed(7)
    inputs, background = (torch.randn(50, 6, dtype=dtype) * 10.0 ** torch.randint(-30, 30, (50, 6)) for _ in range(2))
    model = Function(lambda x: x.sum(1, keepdim=True)).to(dtype)
    present = torch.rand(50, 9, 6) < 0.5
    for features in ("auto", torch.tensor([0, 0, 1, 2, 4, 3])):
        players = Players.of(Subject.of(model, inputs), features)
        chosen = present[..., : players.count]
        (said,), (counted,) = (players.mixed((inputs,), (background,), who) for who in (chosen, chosen.to(dtype)))
        assert torch.equal(said, counted)


def test_a_sample_that_takes_no_part_in_the_pilot_is_played_like_the_others():
    """Of 70 samples every third is looked at; where that asks for fewer pairs than references, all of them are."""
    torch.manual_seed(8)
    weights = torch.randn(14, dtype=torch.float64)
    inputs, background = torch.randn(70, 14, dtype=torch.float64), torch.randn(200, 14, dtype=torch.float64) / 20
    played = game(Function(lambda x: x @ weights[:, None]), inputs, background)
    found = sampled(played, torch.Generator().manual_seed(0))
    assert played.subject.spent.forward < 70 * 200 * 26  # not every reference is met
    assert torch.allclose(found.values.sum(1), played.full - played.empty.mean(1), atol=1e-12)
    truth = weights * (inputs - background.mean(0))
    assert ((found.low <= truth) & (truth <= found.high)).double().mean() > 0.9


@pytest.mark.parametrize("repeats", [3, 5])
def test_the_values_of_a_design_are_unbiased_for_every_game(repeats: int):
    """A game of random numbers, whose interactions are as large as its values, with the roles drawn 4000 times."""
    generator = torch.Generator().manual_seed(0)
    table, plan = torch.randn(256, generator=generator, dtype=torch.float64), design(8, repeats)
    lookup = Function(lambda x: table.index_select(0, (x @ 2 ** torch.arange(8, dtype=x.dtype)).long())[:, None])
    truth = enumerated(game(lookup, torch.ones(1, 8, dtype=torch.float64), torch.zeros(1, 8, dtype=torch.float64))).values[0]
    roles = torch.rand(4000, 8, generator=generator).argsort(1)
    present = (plan.members[:, roles].double() @ 2 ** torch.arange(8, dtype=torch.float64)).long().T  # (draws, n)
    by_role = (table[present] - table[255 - present]) / 2 @ plan.weights + (table[255] - table[0]) / 2 * plan.rest
    drawn = by_role.gather(1, roles)
    assert torch.allclose(drawn.sum(1), table[255] - table[0], atol=1e-12)
    assert bool(((drawn.mean(0) - truth).abs() < 4 * drawn.std(0) / 4000**0.5).all())


@pytest.mark.parametrize("players", [8, 30])
def test_a_design_is_exact_on_additive_games(players: int):
    plan, worth = design(players, 3), torch.randn(players, dtype=torch.float64)
    half = (plan.members.double() - 0.5) @ worth
    assert torch.allclose(half @ plan.weights + worth.sum() / 2 * plan.rest, worth, atol=1e-12)


def test_columns_that_do_nothing_are_exactly_zero():
    """Only orders give that: no design is used then."""
    torch.manual_seed(9)
    model, inputs, background = network(13), torch.randn(3, 14), torch.randn(25, 14)
    played = game(Function(lambda x: model(x[:, :13])), inputs, background)
    found = sampled(played, torch.Generator().manual_seed(0))
    assert bool((found.values[:, 13].abs() <= played.noise()[:, 0]).all())  # the network rounds as its batch does
    assert bool(found.exact[:, 13].all())
    assert not bool(found.exact[:, :13].any())


def test_explain_gives_entries_and_patches():
    torch.manual_seed(5)
    image = nn.Sequential(nn.Conv2d(2, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(108, 2)).eval()
    inputs = torch.randn(2, 2, 8, 8)
    found = explain(image, inputs, 1, method="shapley", features=4, baseline="zero")  # 4 patches: exact
    assert found.attributions.shape == inputs.shape
    assert found.gap == 0
    change = image(inputs)[:, 1] - image(torch.zeros(1, 2, 8, 8))[:, 1]
    assert torch.allclose(found.attributions.sum((1, 2, 3)), change.detach(), atol=1e-5)
    assert found.attributions[0, :, :4, :4].unique().numel() == 1  # one number per patch


@pytest.mark.parametrize(
    ("features", "samples", "references", "exact"),
    [(12, None, 1, True), (12, None, 100, False), (12, 16, 1, False), (3, 16, 1, True)],
    ids=["few passes", "many references", "fewer were asked for", "all are fewer than asked for"],
)
def test_all_coalitions_are_tried_where_that_is_affordable(features: int, samples: int | None, references: int, exact: bool):
    torch.manual_seed(4)
    background = torch.randn(references, features)
    found = explain(network(features), torch.randn(1, features), data=background, method="shapley", baseline="samples", samples=samples)
    said = [note.message for note in found.notes]
    assert any(sentence.startswith("exact: all") for sentence in said) == exact
    assert found.spent.forward < (5000 if references == 1 else 20000)
    assert found.gap == pytest.approx(0, abs=1e-5)


def test_nan_is_one_clear_error():
    with pytest.raises(ModelError, match="NaN or infinite where features are replaced"):
        explain(Function(lambda x: torch.log(x).sum(1, keepdim=True)), torch.ones(2, 3), method="shapley", baseline="zero")


def coverage(found: Estimate, truth: Tensor) -> tuple[int, int]:
    open_ = ~found.exact
    return int(((found.low <= truth) & (truth <= found.high) & open_).sum()), int(open_.sum())


def _linear(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Linear(10, 1).eval()


def _additive(seed: int) -> nn.Module:
    generator = torch.Generator().manual_seed(seed)
    frequency, phase, weight = (torch.randn(10, generator=generator) for _ in range(3))
    return Function(lambda x: (weight * torch.sin(2 * frequency * x + phase)).sum(1, keepdim=True))


@pytest.mark.slow
@pytest.mark.parametrize(("make", "references", "pairs"), [
    (_linear, 60, 32), (_additive, 60, 32), (lambda s: network(10, seed=s), 60, 40), (lambda s: network(10, seed=s), 20, 80),
    (lambda s: network(10, seed=s), 1, 32), (lambda s: network(10, seed=s, scale=3), 5, 40),
])  # fmt: skip
def test_intervals_cover(make, references: int, pairs: int):
    """95 % intervals of positive variance contain the enumerated value in 93 to 97 % of cases, over 4000 intervals and 20 networks."""
    inside = total = 0
    for seed in range(20):
        model = make(seed)
        torch.manual_seed(1000 + seed)
        played = game(model, torch.randn(20, 10), torch.randn(references, 10))
        covered, count = coverage(sampled(played, torch.Generator().manual_seed(seed), pairs), enumerated(played).values)
        inside, total = inside + covered, total + count
    assert total >= 1000
    print(f"{inside / total:.4f} of {total}")
    assert 0.93 <= inside / total <= 0.97


@pytest.mark.slow
@pytest.mark.parametrize(("make", "references", "pairs"), [
    (lambda s: network(10, seed=s), 60, 2), (lambda s: network(10, seed=s), 20, 2), (lambda s: network(10, seed=s, scale=3), 50, 8),
    (lambda s: _steps(s), 50, 2),
])  # fmt: skip
def test_intervals_of_designs_cover(make, references: int, pairs: int):
    inside = total = 0
    for seed in range(20):
        model = make(seed)
        torch.manual_seed(1000 + seed)
        played = game(model, torch.randn(20, 10), torch.randn(references, 10))
        covered, count = coverage(designed(played, torch.Generator().manual_seed(seed), pairs), enumerated(played).values)
        inside, total = inside + covered, total + count
    assert total >= 1000
    print(f"{inside / total:.4f} of {total}")
    assert 0.93 <= inside / total <= 0.97


def _steps(seed: int) -> nn.Module:
    """Products of step functions: strong interactions that most references do not meet."""
    weights = torch.randn(10, 3, generator=torch.Generator().manual_seed(seed))
    return Function(lambda x: (x @ weights > 0.5).float().prod(1, keepdim=True) + (x[:, :2] > 0).float().prod(1, keepdim=True))


@pytest.mark.slow
def test_shap_agrees():
    shap = pytest.importorskip("shap")
    torch.manual_seed(6)
    model, inputs, background = network(8, 2), torch.randn(5, 8), torch.randn(10, 8)

    def predict(rows: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return model(torch.as_tensor(rows, dtype=torch.float32))[:, 1].numpy()

    theirs = shap.explainers.Exact(predict, background.numpy())(inputs.numpy()).values
    ours = explain(model, inputs, 1, method="shapley", baseline="samples", data=background).attributions
    assert np.abs(theirs - ours.numpy()).max() < 1e-5
