"""Certificates of right and wrong maps on small networks whose truth is known, and what a certificate may not do."""

from __future__ import annotations

import copy
import threading
from functools import cache

import pytest
import torch
from torch import Tensor, nn

import pellucid
from pellucid.core.language import use_language
from pellucid.explanation.certificate import Certificate
from pellucid.explanation.faithfulness.relatives import Relatives, path_maps, scrambled
from pellucid.explanation.players import Players
from pellucid.explanation.reference import Reference
from pellucid.explanation.subject import Subject


class Curved(nn.Module):
    """f_k(x) = sum_j w_kj (x_j + 0.1 x_j^2): additive, so that its right map from zero is known."""

    def __init__(self, features: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, features, generator=torch.Generator().manual_seed(1)))

    def forward(self, x: Tensor) -> Tensor:
        return (x + 0.1 * x**2) @ self.weight.T

    def right(self, x: Tensor, target: Tensor) -> Tensor:
        return self.weight[target].detach() * (x + 0.1 * x**2)


@cache
def samples(n: int = 6, features: int = 16) -> Tensor:
    return torch.randn(n, features, generator=torch.Generator().manual_seed(2))


TARGET = torch.tensor([0, 1, 2, 0, 1, 2])


def wrong(model: Curved, kind: str) -> Tensor:
    x = samples()
    right = model.right(x, TARGET)
    return {
        "random": torch.randn(x.shape, generator=torch.Generator().manual_seed(5)),
        "inverted": -right,
        "constant": torch.ones_like(x),
        "another class": model.right(x, (TARGET + 1) % 3),
        "another input": right.roll(1, 0),
        "the input": x,
        "scrambled": scrambled(model, torch.Generator().manual_seed(7)).get_parameter("weight")[TARGET] * x,
    }[kind]


def test_the_right_map_is_trusted():
    model = Curved(16, 3)
    certificate = pellucid.certify(model, samples(), model.right(samples(), TARGET), TARGET)
    assert certificate.trust == "high", str(certificate)
    assert certificate.score("share_explained").value == pytest.approx(1.0, abs=0.01)
    assert certificate.score("completeness").value == pytest.approx(0.0, abs=1e-4)
    assert certificate.score("sensitivity").value is None  # the method is not known
    assert len(certificate.score("infidelity").samples) == 6
    assert certificate.compute.forward > 0


@pytest.mark.parametrize("kind", ["random", "inverted", "constant", "another class", "scrambled"])
def test_wrong_maps_are_not_trusted_at_all(kind: str):
    model = Curved(16, 3)
    assert pellucid.certify(model, samples(), wrong(model, kind), TARGET).trust == "none"


@pytest.mark.parametrize("kind", ["another input", "the input"])
def test_wrong_maps_are_never_trusted_highly(kind: str):
    model = Curved(16, 3)
    certificate = pellucid.certify(model, samples(), wrong(model, kind), TARGET)
    assert certificate.trust in ("limited", "none")
    assert certificate.reasons


def test_explanations_have_their_certificate():
    model = Curved(16, 3)
    certificate = pellucid.explain(model, samples(), TARGET, method="integrated_gradients").certificate
    assert certificate.trust == "high", str(certificate)
    assert certificate.score("completeness").passed
    assert certificate.score("sensitivity").passed
    assert certificate.score("parameter_randomisation").passed
    assert {score.name for score in certificate.scores} >= {"agreement_feature_ablation", "agreement_surrogate", "reference_mean"}


class Bent(Curved):
    """Curved, and bent: no map predicts every change exactly."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(super().forward(x) / 4)


def test_one_sample_needs_others_to_be_specific():
    model = Bent(16, 3)
    x, target = samples()[:1], TARGET[:1]
    alone = pellucid.certify(model, x, model.right(x, target), target)
    assert alone.trust == "limited"
    assert any("data=" in str(reason) for reason in alone.reasons)
    background = torch.randn(60, 16, generator=torch.Generator().manual_seed(3))
    right = model.right(x, target)
    right = right * (model(x)[0, target] / right.sum()).detach()  # bending shrinks: with the size of the changes
    together = pellucid.certify(model, x, right, target, data=background, baseline="zero")
    assert together.trust == "high", str(together)


def test_one_output_is_certified_without_classes():
    model = Curved(16, 1)
    x = samples()
    certificate = pellucid.certify(model, x, model.right(x, torch.zeros(6, dtype=torch.long)))
    assert certificate.trust == "high"
    assert certificate.score("class_specificity").value is None
    assert pellucid.certify(model, x, -model.right(x, torch.zeros(6, dtype=torch.long))).trust == "none"


def test_same_seed_same_certificate_and_the_network_is_untouched():
    model = nn.Sequential(nn.Linear(16, 12), nn.BatchNorm1d(12), nn.ReLU(), nn.Dropout(0.5), nn.Linear(12, 3)).train()
    before, state = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    maps = torch.randn(6, 16, generator=torch.Generator().manual_seed(5))
    one, two = (pellucid.certify(model, samples(), maps, TARGET, seed=3) for _ in range(2))
    assert [score.value for score in one.scores] == [score.value for score in two.scores]
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert model.training
    assert all(parameter.grad is None and parameter.requires_grad for parameter in model.parameters())
    assert torch.equal(torch.get_rng_state(), state)
    assert not any(module._forward_hooks for module in model.modules())


def test_networks_without_gradients_are_limited():
    class Steps(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            weight = torch.randn(16, 2, generator=torch.Generator().manual_seed(1))
            return torch.tanh(((x * 8).round() / 8) @ weight / 4)

    x = samples()
    explanation = pellucid.explain(Steps(), x, 0, method="shapley")
    assert explanation.certificate.trust == "limited"
    assert any("no gradients" in str(reason) for reason in explanation.certificate.reasons)


def test_one_feature_is_the_whole_change_of_the_output():
    model, x = Curved(1, 2), torch.ones(4, 1)
    right = model.right(x, torch.zeros(4, dtype=torch.long))
    assert pellucid.certify(model, x, right, 0, baseline="zero").trust == "high"
    certificate = pellucid.certify(model, x, right + 1, 0, baseline="zero")
    assert certificate.trust == "none"
    assert certificate.scores == ()


class Product(nn.Module):
    """x0 x1: the Shapley values from zero are one half of it each; no weights to scramble."""

    def forward(self, x: Tensor) -> Tensor:
        return x[:, 0] * x[:, 1]


class Weighed(nn.Module):
    """Weights that are no parameters: a buffer, an attribute, or out of reach."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        weight = torch.randn(12, 2, generator=torch.Generator().manual_seed(1))
        if kind == "buffer":
            self.register_buffer("weight", weight)
        elif kind == "attribute":
            self.weight = weight
        self.of = (lambda x: torch.tanh(x @ self.weight)) if kind != "closure" else (lambda x: torch.tanh(x @ weight))
        self.kind, self.lock = kind, threading.Lock()

    def forward(self, x: Tensor) -> Tensor:
        with self.lock:
            return self.of(x) if self.kind == "closure" else torch.tanh(x @ self.weight)


@pytest.mark.parametrize(("features", "n"), [(6, 1), *(pytest.param(*case, marks=pytest.mark.slow) for case in ((2, 1), (2, 4), (12, 4)))])
def test_exact_maps_of_one_column_are_right_whatever_chance_could_do(features: int, n: int):
    model = nn.Linear(features, 1)
    with torch.no_grad():
        model.weight.zero_()
        model.weight[0, features // 2] = 2.0
    x = samples(n, features)
    assert pellucid.certify(model, x, model.weight[0].detach() * x, baseline="zero").trust == "high"
    assert pellucid.certify(model, x, (model.weight[0].detach() * x).roll(1, 1), baseline="zero").trust == "none"


@pytest.mark.slow
def test_equal_contributions_are_exact_too():
    model = nn.Linear(8, 1)
    with torch.no_grad():
        model.weight.fill_(1.0)
    assert pellucid.certify(model, torch.ones(3, 8), torch.ones(3, 8), baseline="zero").trust == "high"


@pytest.mark.slow
@pytest.mark.parametrize("features", [2, 5, 8])
def test_shapley_values_of_a_product_are_never_without_trust(features: int):
    x = samples(4, features)
    maps = torch.zeros(4, features)
    maps[:, :2] = (x[:, :1] * x[:, 1:2]) / 2
    certificate = pellucid.certify(Product(), x, maps, baseline="zero")
    assert certificate.trust in ("limited", "high"), str(certificate)


@pytest.mark.parametrize(("kind", "trust"), [("buffer", "high"), ("attribute", "high"), ("closure", "limited")])
@pytest.mark.slow
def test_weights_are_scrambled_where_they_are(kind: str, trust: str):
    x = samples(6, 12)
    model = Weighed(kind)
    before = None if kind == "closure" else model.weight.clone()
    certificate = pellucid.explain(model, x, 1, method="integrated_gradients").certificate
    assert certificate.trust == trust, str(certificate)
    assert before is None or torch.equal(before, model.weight)
    wrong = pellucid.certify(model, x, torch.randn(6, 12, generator=torch.Generator().manual_seed(4)), 1)
    assert wrong.trust == "none"


def test_outputs_that_are_not_finite_without_features_are_said():
    class Logarithm(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.log(x).sum(1)

    x = samples(4, 10).abs() + 0.1
    certificate = pellucid.certify(Logarithm(), x, torch.log(x), baseline="zero")
    assert certificate.trust == "none"
    assert "NaN or infinite" in str(certificate)
    assert pellucid.certify(Logarithm(), x, torch.log(x), baseline=1.0).trust == "high"


def test_outputs_that_nothing_changes_leave_nothing_to_explain():
    model = nn.Linear(6, 1)
    with torch.no_grad():
        model.weight.zero_()
    assert pellucid.certify(model, samples(3, 6), torch.zeros(3, 6)).trust == "limited"
    assert pellucid.certify(model, samples(3, 6), torch.ones(3, 6)).trust == "none"


@pytest.mark.slow
def test_what_all_samples_share_is_not_specific():
    """The mean of the right maps: it knows the network, and nothing of a sample."""
    model, x = Curved(16, 1), 1.5 + samples()
    right = model.right(x, torch.zeros(6, dtype=torch.long))
    certificate = pellucid.certify(model, x, right.mean(0, keepdim=True).expand_as(right), baseline="zero")
    assert certificate.trust == "limited"
    assert pellucid.certify(model, x, right, baseline="zero").trust == "high"


@pytest.mark.slow
def test_all_references_of_a_small_table_are_used():
    """From a hundred references the exact map of a linear network is exact; eight of them would give another one."""
    model, background = nn.Linear(10, 1), 3 * torch.randn(100, 10, generator=torch.Generator().manual_seed(6))
    x = samples(4, 10)
    certificate = pellucid.certify(model, x, model.weight[0].detach() * (x - background.mean(0)), data=background)
    assert "but for rounding" in str(certificate), str(certificate)


def test_many_samples_and_many_features_are_tested_in_part():
    model = Curved(150, 2)
    x = samples(70, 150)
    target = torch.zeros(70, dtype=torch.long)
    certificate = pellucid.certify(model, x, model.right(x, target), target)
    assert certificate.samples == 64
    assert certificate.trust == "high", str(certificate)


class Words(nn.Module):
    """The sum of the words' own contributions, from an embedding that a recurrent layer reads."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.gru, self.head = nn.Embedding(30, 8, padding_idx=0), nn.GRU(8, 8, batch_first=True), nn.Linear(8, 2)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.head(self.gru(self.embedding(tokens))[0].sum(1))


def test_tokens_are_certified():
    torch.manual_seed(4)
    tokens = torch.randint(1, 30, (6, 10))
    certificate = pellucid.explain(Words(), tokens, 1, method="shapley").certificate
    assert certificate.trust in ("high", "limited")
    assert certificate.score("infidelity").passed
    assert pellucid.certify(Words(), tokens, torch.randn(6, 10, generator=torch.Generator().manual_seed(9)), 1).trust == "none"


def test_several_inputs_are_certified():
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.left, self.right = nn.Linear(6, 2), nn.Linear(8, 2)

        def forward(self, a: Tensor, b: Tensor) -> Tensor:
            return self.left(a) + self.right(b)

    model, a, b = Two(), samples(6, 6), samples(6, 8)
    maps = (model.left.weight[0].detach() * a, model.right.weight[0].detach() * b)
    assert pellucid.certify(model, (a, b), maps, 0).score("share_explained").value == pytest.approx(1.0, abs=0.01)
    assert pellucid.certify(model, (a, b), tuple(-part for part in maps), 0).trust == "none"


def test_certificates_are_records_in_both_languages():
    model = Curved(16, 3)
    certificate = pellucid.certify(model, samples(), model.right(samples(), TARGET), TARGET)
    again = Certificate.from_dict(certificate.to_dict())
    assert again.trust == certificate.trust
    assert [score.value for score in again.scores] == [score.value for score in certificate.scores]
    assert str(certificate).startswith("trust: high")
    with use_language("zh"):
        assert "高" in str(certificate)


@pytest.mark.parametrize("kwargs", [{}, {"bidirectional": True}])
def test_scrambled_weights_keep_their_values_and_leave_the_network_alone(kwargs: dict[str, bool]):
    model = nn.LSTM(4, 5, batch_first=True, **kwargs)
    before = [parameter.clone() for parameter in model.parameters()]
    twin = scrambled(model, torch.Generator().manual_seed(0))
    for own, old, new in zip(model.parameters(), before, twin.parameters(), strict=True):
        assert torch.equal(own, old)
        assert torch.equal(old.flatten().sort().values, new.flatten().sort().values)
        assert not torch.equal(old, new)


def test_gradient_maps_of_a_linear_network_are_its_closed_form():
    model = nn.Linear(5, 3)
    x, target = samples(4, 5), torch.tensor([0, 1, 2, 0])
    subject = Subject.of(model, x, target)
    reference, players = Reference.of(subject, 0.5), Players.of(subject)
    for steps in (1, 4):
        maps = path_maps(subject, reference, players, steps=steps)
        assert torch.allclose(maps.float(), model.weight[target].detach() * (x - 0.5), atol=1e-6)
    assert (path_maps(subject, reference, players, steps=1, magnitude=True) >= 0).all()
    other = Relatives(subject).with_samples([2 * x], target)
    assert torch.allclose(path_maps(other, reference, players, steps=1).float(), model.weight[target].detach() * (2 * x - 0.5), atol=1e-6)


@pytest.mark.parametrize("kind", ["as it is", "too small", "too large", "absolute"])
def test_values_have_the_size_of_the_changes(kind: str):
    """A map of the right proportions says so; sums that are not the change are not trusted highly, nor is an exact map of another size."""
    model, x = Bent(16, 3), samples()[:1].abs()
    with torch.no_grad():
        model.weight.copy_(model.weight.abs() * torch.where(torch.arange(16) % 4 == 0, -0.5, 1.0))
    background = torch.randn(60, 16, generator=torch.Generator().manual_seed(3)).abs()
    right = pellucid.explain(model, x, 0, method="shapley", baseline="zero", samples=400).attributions
    assert isinstance(right, Tensor)
    maps = {"as it is": right, "too small": right / 240, "too large": right * 20, "absolute": right.abs()}[kind]
    certificate = pellucid.certify(model, x, maps, 0, data=background, baseline="zero")
    said = str(certificate)
    assert certificate.trust == ("high" if kind == "as it is" else "limited"), said
    assert certificate.score("scale").passed is (kind == "as it is")
    assert (f"times {kind}" in said) is kind.startswith("too")
    assert ("do not add up" in said) is (kind == "absolute")


def test_exact_maps_have_their_size_too():
    model, x = Curved(16, 3), samples()
    right = model.right(x, TARGET)
    assert pellucid.certify(model, x, right, TARGET, baseline="zero").trust == "high"
    assert "20 times too small" in str(pellucid.certify(model, x, right / 20, TARGET, baseline="zero"))


def test_an_input_is_no_other_input_than_itself():
    """A background that holds the sample; too few others are called too few, not as good."""
    model, x = Bent(16, 3), samples()[:1]
    background = torch.cat([x.expand(20, 16), torch.randn(9, 16, generator=torch.Generator().manual_seed(3))])
    certificate = pellucid.certify(model, x, model.right(x, TARGET[:1]), TARGET[:1], data=background, baseline=0.0)
    score = certificate.score("input_specificity")
    assert score.value == 1.0
    assert score.p_value == pytest.approx(0.1)
    assert "too few to tell" in str(certificate)
    assert "maps of other inputs explain the same" not in str(certificate)


class Ramps(nn.Module):
    """A weighed sum of windows' means, bent a little."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(12, generator=torch.Generator().manual_seed(2)))

    def forward(self, series: Tensor) -> Tensor:
        return torch.tanh(series.reshape(-1, 12, 8).mean(2) @ self.weight / 10)[:, None]


def test_maps_that_hold_for_their_own_reference_say_so():
    """Ramps stay what they are when blurred: taken away so, only their noise goes. That is no fault of the map."""
    drawn = torch.Generator().manual_seed(5)
    model, slopes = Ramps(), torch.tensor([1.0, -2.0, 3.0, -1.5])[:, None, None]
    x = slopes * torch.linspace(-1, 1, 96) + slopes.flip(0) + 0.01 * torch.randn(4, 1, 96, generator=drawn)
    explanation = pellucid.explain(model, x, method="integrated_gradients", baseline="zero")
    certificate = explanation.certificate
    assert certificate.trust == "high", str(certificate)
    assert certificate.score("reference_blur").passed is None
    assert "it holds for its own reference" in str(certificate)


def test_maps_without_negative_values_are_right_where_nothing_lowers_the_output():
    model, x = Curved(16, 3), samples()[:1].abs()
    with torch.no_grad():
        model.weight.abs_()
    background = torch.randn(60, 16, generator=torch.Generator().manual_seed(3)).abs()
    maps = pellucid.explain(model, x, 0, method="shapley", baseline="zero", samples=400).attributions
    assert isinstance(maps, Tensor)
    assert (maps >= 0).all()
    assert pellucid.certify(model, x, maps, 0, data=background, baseline="zero").trust == "high"


def test_rows_of_tables_are_not_compared_with_blurred_copies():
    found = pellucid.certify(Bent(16, 3), samples(), Curved(16, 3).right(samples(), TARGET), TARGET, baseline="zero")
    assert {score.name for score in found.scores if score.name.startswith("reference_")} == {"reference_mean", "reference_samples"}
