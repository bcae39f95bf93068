"""Each score against numbers worked out by hand, or against its definition written again, slower."""

from __future__ import annotations

import itertools

import pytest
import torch
from scipy.stats import spearmanr
from torch import nn

from pellucid.explanation.faithfulness.agreement import agreement_scores
from pellucid.explanation.faithfulness.beyond_the_input import beyond_the_input, drawn_from_inputs, shared_maps
from pellucid.explanation.faithfulness.completeness import completeness, completeness_score
from pellucid.explanation.faithfulness.deletion_insertion import deletion_insertion, descending, own_sets
from pellucid.explanation.faithfulness.infidelity import exact, infidelity, infidelity_score, share_explained
from pellucid.explanation.faithfulness.level import level_score
from pellucid.explanation.faithfulness.removals import Removals, beginnings, random_orders, steps
from pellucid.explanation.faithfulness.scale import scale_score, squared_error
from pellucid.explanation.faithfulness.score import mean_of, rank_correlation, tail
from pellucid.explanation.faithfulness.sensitivity import max_sensitivity
from pellucid.explanation.faithfulness.specificity import class_specificity, input_specificity
from pellucid.explanation.players import Players
from pellucid.explanation.reference import Reference
from pellucid.explanation.subject import Subject


def drawn(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def table_of(contributions: torch.Tensor, orders: torch.Tensor | None = None) -> Removals:
    """Outputs that are sums of the present features' contributions (N, C, P)."""
    orders = random_orders(contributions.shape[2], drawn()) if orders is None else orders
    removed = beginnings(orders).flatten(0, 1)
    outputs = torch.einsum("mp,ncp->nmc", (~removed).double(), contributions.double())
    return Removals(removed, outputs, contributions.sum(2).double(), orders)


def test_infidelity_by_hand():
    """Map (1, 0), sets {1} and {2} that change the output by 3 and 1: the best scale is 3, what is left (0 + 1) / 2 of (9 + 1) / 2."""
    maps, changes, absent = torch.tensor([[1.0, 0.0]]), torch.tensor([[3.0, 1.0]]), torch.eye(2)
    assert infidelity(maps, changes, absent).tolist() == pytest.approx([0.1])
    assert infidelity(-maps, changes, absent).tolist() == [1.0]  # upside down: no scale >= 0 helps
    assert infidelity(torch.zeros(1, 2), changes, absent).tolist() == [1.0]


def test_infidelity_is_the_least_over_scales():
    maps, changes, absent = torch.randn(3, 5), torch.randn(3, 40), (torch.rand(5, 40) < 0.5).double()
    scales = torch.linspace(0, 3, 3001).double()
    predicted = maps.double() @ absent
    tried = ((scales[:, None, None] * predicted - changes) ** 2).mean(2) / (changes.double() ** 2).mean(1)
    assert infidelity(maps, changes, absent).tolist() == pytest.approx(tried.amin(0).tolist(), abs=1e-5)


def test_completeness_by_hand():
    gaps = completeness(torch.tensor([3.0, 4.0, 1.0]), torch.tensor([4.0, 4.0, 0.0]).double(), torch.tensor([2.0, 2.0, 0.5]).double())
    assert gaps.tolist() == pytest.approx([0.25, 0.0, 2.0])  # a change of 0 counts as 0.5, what features change when they are taken away
    one = torch.ones(2)
    assert completeness_score(one, one.double(), one.double(), claimed=True).passed is True
    assert completeness_score(2 * one, one.double(), one.double(), claimed=True).passed is False
    assert completeness_score(2 * one, one.double(), one.double(), claimed=False).passed is None


def test_max_sensitivity_by_hand():
    maps = torch.tensor([[3.0, 4.0], [0.0, 0.0]])
    moved = torch.tensor([[[3.0, 5.0], [0.0, 0.0]], [[0.0, 4.0], [0.0, 0.0]]])
    assert max_sensitivity(maps, moved).tolist() == pytest.approx([0.6, 0.0])


def test_rank_correlation_is_spearmans():
    one, other = torch.randint(0, 4, (6, 15)).double(), torch.randn(6, 15).double()  # ties in one of them
    expected = [float(spearmanr(a, b).statistic) for a, b in zip(one.numpy(), other.numpy(), strict=True)]
    assert rank_correlation(one, other).tolist() == pytest.approx(expected)
    assert rank_correlation(torch.ones(1, 4), torch.randn(1, 4)).tolist() == [0.0]


def test_tail_counts_the_observed_value_itself():
    assert tail(torch.arange(9.0), 100.0) == 0.1
    assert tail(torch.ones(9), 1.0) == 1.0  # ties count against the map


def test_mean_of_one_sample_has_no_interval():
    assert mean_of(torch.tensor([2.0])) == (2.0, None, (2.0,))
    value, interval, _ = mean_of(torch.tensor([1.0, 3.0]))
    assert value == 2.0
    assert interval is not None
    assert (interval.low, interval.high) == pytest.approx((2 - 12.7062, 2 + 12.7062), abs=1e-3)  # Student's t with one degree of freedom


def test_deletion_and_insertion_by_hand():
    """f = 3 a + 2 b + c. Along a, b, c the output is 3, then 1: mean 2; over all orders the mean is 3 and their standard deviation 0.7746.

    Insertion gives 3, then 5: mean 4. All six orders are the random ones.
    """
    orders = torch.tensor([(0, 1, 2), (0, 2, 1), (1, 0, 2), (2, 1, 0), (1, 2, 0), (2, 0, 1)])
    table = table_of(torch.tensor([[[3.0, 2.0, 1.0]]]), orders)
    maps = torch.tensor([[30.0, 20.0, 10.0]])
    removed = own_sets(maps, drawn())
    own = table.full[:, :1] - removed.double() @ torch.tensor([3.0, 2.0, 1.0]).double()
    assert own.tolist() == [[3.0, 1.0, 3.0, 5.0]]
    deletion, insertion = deletion_insertion(own, table)
    assert deletion.value == pytest.approx(1 / 0.7746, abs=1e-3)
    assert deletion.p_value == pytest.approx(1 / 6)  # no other of the six orders lowers the output as fast
    assert insertion.value == pytest.approx(1 / 0.7746, abs=1e-3)
    upside_down, _ = deletion_insertion(6 - own[:, [1, 0, 3, 2]], table)
    assert upside_down.value == pytest.approx(-1 / 0.7746, abs=1e-3)
    assert upside_down.p_value == 1.0
    assert not upside_down.passed


@pytest.mark.parametrize("count", [2, 3, 4, 5])
def test_of_few_features_all_orders_are_tried_equally_often(count: int):
    orders = random_orders(count, drawn())
    found, times = orders.unique(dim=0, return_counts=True)
    assert found.tolist() == [list(order) for order in itertools.permutations(range(count))]
    assert len(times.unique()) == 1
    assert torch.equal(orders[: len(orders) // 2], orders[len(orders) // 2 :].flip(1))


def test_one_dominant_feature_of_many_is_no_chance():
    """Its order beats all random ones, though it is 1.7 of their standard deviations away: no more is possible (Student's p: 0.05)."""
    contributions = torch.full((1, 1, 64), 0.01)
    contributions[0, 0, 7] = 5.0
    table = table_of(contributions, random_orders(64, drawn(), samples=1))
    maps = contributions[:, 0]
    own = table.full[:, :1] - own_sets(maps, drawn()).double() @ maps[0].double()
    deletion, insertion = deletion_insertion(own, table)
    assert 1.2 < (deletion.value or 0) < 2.0
    assert (deletion.p_value or 1) < 0.04
    assert insertion.passed


def test_random_orders_pass_deletion_no_more_often_than_said():
    """Of 400 random maps of single samples 5 % and chance (99.9 %: 35): orders and their reverses are not independent draws."""
    contributions, passed = torch.randn(1, 1, 12, generator=drawn()).exp(), 0
    for seed in range(400):
        table = table_of(contributions, random_orders(12, drawn(seed), samples=1))
        own = (
            table.full[:, :1]
            - own_sets(torch.randn(1, 12, generator=drawn(1000 + seed)), drawn(seed)).double() @ contributions[0, 0].double()
        )
        passed += bool(deletion_insertion(own, table)[0].passed)
    assert 4 <= passed <= 35


def test_order_of_equal_attributions_is_drawn():
    assert descending(torch.tensor([[1.0, 3.0, 2.0]]), drawn()).tolist() == [[1, 2, 0]]
    first = {int(descending(torch.ones(1, 4), drawn(seed))[0, 0]) for seed in range(30)}
    assert first == {0, 1, 2, 3}


@pytest.mark.parametrize("count", [2, 3, 9, 10, 11, 16, 63, 64])
def test_reversed_orders_give_the_complements(count: int):
    sizes = steps(count)
    assert sizes.tolist() == (count - sizes.flip(0)).tolist()
    assert sizes.unique().tolist() == sizes.tolist()
    orders = random_orders(count, drawn())
    sets = beginnings(orders)
    half = len(orders) // 2
    assert torch.equal(sets[:half], ~sets[half:].flip(1))
    assert torch.equal(sets.sum(2), sizes.expand(len(orders), -1))


def test_the_true_map_of_an_additive_function_explains_all_of_it():
    contributions = torch.randn(3, 1, 12)
    table = table_of(contributions)
    assert table.explained(contributions[:, 0]).tolist() == pytest.approx([1.0] * 3)
    assert table.attainable.tolist() == pytest.approx([1.0] * 3, abs=0.01)
    score = share_explained(contributions[:, 0], table)
    assert score.value == pytest.approx(1.0, abs=0.02)
    assert score.passed
    assert share_explained(-contributions[:, 0], table).value == pytest.approx(-1.0, abs=0.02)
    assert torch.allclose(table.additive, contributions[:, 0].double(), atol=0.05)
    assert table.explained(torch.ones(3, 12)).abs().max() < 1e-9  # among sets of one size a constant map predicts nothing


@pytest.mark.parametrize("count", [2, 3, 20])
def test_infidelity_tells_the_true_map_from_others(count: int):
    contributions = torch.randn(8, 1, count)
    table = table_of(contributions)
    right = infidelity_score(contributions[:, 0], table, None, drawn())
    assert right.passed
    assert right.value == pytest.approx(0.0, abs=1e-6)
    wrong = infidelity_score(-contributions[:, 0], table, None, drawn())
    assert not wrong.passed
    assert wrong.value == pytest.approx(1.0)
    scrambled = contributions[:, 0].expand(39, -1, -1)  # networks that forgot all and explain as well
    assert not infidelity_score(contributions[:, 0], table, scrambled, drawn()).passed


def test_random_maps_are_taken_for_faithful_no_more_often_than_said():
    """Under the null every p-value p has probability <= p: of 200 maps of single samples at most 5 % plus chance (99.9 %: 21)."""
    table = table_of(torch.randn(1, 1, 20).exp())
    passed = sum(bool(infidelity_score(torch.randn(1, 20), table, None, drawn(seed)).passed) for seed in range(200))
    assert passed <= 21


def test_class_specificity_by_hand():
    """Two outputs that are each other's negative: the map explains one with correlation 1, the other with -1."""
    contributions = torch.randn(4, 1, 10)
    table = table_of(torch.cat([contributions, -contributions], 1))
    assert class_specificity(contributions[:, 0], table).value == pytest.approx(2.0)
    assert class_specificity(-contributions[:, 0], table).passed is False
    assert class_specificity(contributions[:, 0], table_of(contributions)).passed is None


def test_input_specificity_knows_maps_that_changed_places():
    contributions = torch.randn(6, 1, 15)
    table, maps = table_of(contributions), contributions[:, 0]

    def others(of: torch.Tensor) -> torch.Tensor:
        return torch.stack([torch.cat([of[:i], of[i + 1 :]]) for i in range(len(of))])

    right = input_specificity(maps, table, others(maps), drawn())
    assert right.value == 1.0
    assert right.passed
    assert not input_specificity(maps.roll(1, 0), table, others(maps.roll(1, 0)), drawn()).passed
    assert input_specificity(maps[:1], table_of(contributions[:1]), torch.zeros(1, 0, 15), drawn()).value is None


def test_single_sample_is_compared_with_all_its_neighbours():
    contributions = torch.randn(1, 1, 15)
    score = input_specificity(contributions[:, 0], table_of(contributions), torch.randn(1, 39, 15), drawn())
    assert score.p_value == pytest.approx(1 / 40)


def test_beyond_the_input_by_hand():
    """The partial correlation: what the drawn map predicts is taken out of both; of the rest the right map explains all."""
    drawn_map = torch.randn(2, 12, generator=drawn(1))
    contributions = (2 * drawn_map + torch.randn(2, 12, generator=drawn(2)))[:, None]
    table = table_of(contributions)
    assert beyond_the_input(contributions[:, 0], table, drawn_map[None]).value == pytest.approx(1.0)
    nothing = beyond_the_input(3 * drawn_map, table, drawn_map[None])
    assert nothing.value == pytest.approx(0.0, abs=1e-6)
    assert not nothing.passed
    # by hand, of one sample: correlation of residuals after least squares on the drawn map's predictions
    one = table_of(contributions[:1])
    other = drawn_map[:1] + torch.randn(1, 12, generator=drawn(3))
    given, predicted, changes = (m.double() @ one.indicators for m in (drawn_map[:1], other, contributions[:1, 0]))
    left = [v - (v @ given[0] / (given[0] @ given[0])) * given[0] for v in (predicted[0], changes[0])]
    partial = float(torch.corrcoef(torch.stack(left))[0, 1])
    value = beyond_the_input(other, one, drawn_map[None, :1]).value
    assert value == pytest.approx(partial * abs(partial), abs=1e-6)  # a sum of contributions: the best additive map reaches 1


def test_maps_of_the_input_alone_are_drawn():
    x = torch.randn(3, 2, 8, 8, generator=drawn())
    subject = Subject.of(nn.Sequential(nn.Flatten(), nn.Linear(128, 2)), x)
    reference, players = Reference.of(subject, "zero"), Players.of(subject)
    maps = drawn_from_inputs(subject, reference, players)
    for wanted in (x.abs(), x**2, x, x.abs().amax(1, keepdim=True).expand_as(x)):
        assert any(torch.allclose(made.float(), players.summed([wanted]), atol=1e-5) for made in maps)


def test_what_maps_share_is_the_mean_of_the_others_of_the_same_output():
    maps = torch.tensor([[1.0, 0], [0, 1], [1, 1], [1, 0]])
    shared = shared_maps(maps, torch.tensor([0, 0, 0, 1]), None)
    assert shared[0, 0].tolist() == pytest.approx([0.25, 0.75])  # of (0, 1) and (1, 1) / 2
    assert shared[0, 3].tolist() == pytest.approx([0.5, 0.5])  # alone with its output: of all the others
    assert shared_maps(maps[:1], None, None).shape == (0, 1, 2)


def test_exact_maps_are_seen_whatever_their_scale():
    contributions = torch.tensor([[[0.0, 3, 0, 0, 1, 0]]])
    table = table_of(contributions)
    assert exact(5 * contributions[:, 0], table)
    assert not exact(-contributions[:, 0], table)
    assert not exact(contributions[:, 0] + 0.01, table)
    assert exact(torch.ones(1, 6), table_of(torch.ones(1, 1, 6)))


def test_places_that_leave_a_map_as_it_is_are_no_other_maps():
    """One column of eight is all: one place in eight leaves it there, so that p could not be below 0.12."""
    contributions = torch.zeros(1, 1, 8)
    contributions[0, 0, 3] = 1.0
    table = table_of(contributions + 0.01 * torch.randn(1, 1, 8, generator=drawn()))
    assert infidelity_score(contributions[:, 0], table, None, drawn()).p_value == pytest.approx(1 / 200, abs=0.03)
    elsewhere = contributions[:, 0].roll(1, 1)
    assert infidelity_score(elsewhere, table, None, drawn()).p_value > 0.05


def test_agreement_is_a_rank_correlation_and_says_where():
    maps = torch.arange(10.0).expand(2, -1)
    other = maps.clone()
    other[:, 9] = -50.0
    players = Players(10, (torch.arange(10),), "columns", tuple("abcdefghij"))  # type: ignore[arg-type]
    same, differs = agreement_scores(maps, {"one": maps, "two": other}, players, drawn())
    assert same.value == pytest.approx(1.0)
    assert same.passed
    assert differs.value == pytest.approx(float(spearmanr(maps[0], other[0]).statistic))
    assert "j" in str(differs.note)


def test_all_sets_of_few_features_are_compared_with_each_other():
    """Two features: among sets of one size there are two; sizes stay in, so that equal contributions can be told from unequal ones."""
    table = table_of(torch.tensor([[[2.0, 1.0]]]), torch.tensor(list(itertools.permutations(range(2)))))
    assert table.explained(torch.tensor([[2.0, 1.0]])).item() == pytest.approx(1.0)


@pytest.mark.parametrize(("times", "passed"), [(1.0, True), (0.05, False), (3.0, False)])
def test_scale_by_hand(times: float, passed: bool):
    """A map that is `times` the contributions of an additive function: the slope is 1 / times, what it leaves (1 - times)^2."""
    contributions = torch.randn(3, 1, 12, generator=drawn())
    table, maps = table_of(contributions), times * contributions[:, 0]
    change = contributions[:, 0].double().sum(1)
    score = scale_score(maps, table, maps.sum(1), change, judged=True, compared=False)
    assert score.value == pytest.approx(1 / times, rel=1e-5)
    assert score.passed is passed
    assert scale_score(maps, table, maps.sum(1), change, judged=False, compared=False).passed is None
    assert squared_error(maps, table, None, judged=True).value == pytest.approx(max(-1.0, 1 - (1 - times) ** 2), abs=1e-5)


def test_interactions_may_make_values_larger_than_changes():
    """Integrated gradients that are 1 / 0.6 of the changes allow that size, and no other: a map three times too large stays so."""
    contributions = torch.randn(3, 1, 12, generator=drawn())
    table, maps = table_of(contributions), contributions[:, 0] / 0.6
    assert squared_error(maps, table, maps, judged=True).value == pytest.approx(1.0, abs=1e-6)
    assert squared_error(0.6 * maps, table, maps, judged=True).value == pytest.approx(1.0, abs=1e-6)
    assert squared_error(maps, table, None, judged=True).value == pytest.approx(1 - (1 / 0.6 - 1) ** 2, abs=1e-5)
    assert squared_error(1.8 * maps, table, maps, judged=True).passed is False


def test_integrated_gradients_count_among_what_a_map_can_explain():
    """Where they explain more than the regression, nine tenths are of them."""
    contributions = torch.randn(1, 1, 12, generator=drawn())
    table = table_of(contributions)
    maps = contributions[:, 0] + 1.2 * torch.randn(1, 12, generator=drawn(1))
    table.__dict__["attainable"] = table.explained(maps)
    assert share_explained(maps, table).passed
    assert not share_explained(maps, table, contributions[:, 0]).passed


def test_a_gap_of_one_sample_counts():
    """The mean of ten gaps is 3 %, as nine are none; a method that promises sums does not leave 30 % open."""
    change = torch.ones(10, dtype=torch.float64)
    sums, least = change.clone(), torch.zeros(10)
    assert completeness_score(sums, change, least, claimed=True).passed is True
    sums[4] = 1.3
    assert completeness_score(sums, change, least, claimed=True).passed is False
    assert completeness_score(sums, change, least, claimed=False).passed is None


def test_level_is_the_constant_per_spread():
    contributions = torch.randn(3, 1, 12, generator=drawn())
    table, maps = table_of(contributions), contributions[:, 0].double()
    spread, change = maps.std(1, correction=0).mean(), maps.sum(1)
    right = level_score(maps, table, {"own": change}, judged=True)
    assert right.value == pytest.approx(0.0, abs=1e-6)
    assert right.passed is True
    shifted = level_score(maps - 0.4 * spread, table, {"own": change, "another": change + 100}, judged=True)
    assert shifted.value == pytest.approx(-0.4, abs=1e-5)
    assert shifted.passed is False
    assert level_score(maps + 0.4 * spread, table, {"meant": change + 12 * 0.4 * spread}, judged=True).passed is True
    assert level_score(maps, table, {}, judged=False).passed is None
