"""Importance against what is known of linear models, and its intervals against fresh samples."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from pellucid.core.errors import DataError, ModelError, OptionError
from pellucid.explanation.explain import explain
from pellucid.explanation.importance import Importance, importance

WEIGHTS = torch.tensor([2.0, -1.0, 0.5, 0.0])


def linear() -> nn.Module:
    model = nn.Linear(4, 1).eval()
    with torch.no_grad():
        model.weight.copy_(WEIGHTS[None])
        model.bias.zero_()
    return model


def drawn(n: int, seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(n, 4, generator=generator)
    return inputs, inputs @ WEIGHTS + 0.5 * torch.randn(n, generator=generator)


VARIANCE = float((WEIGHTS**2).sum()) + 0.25
TRUTH = {"loss": 2 * WEIGHTS**2, "r2": 2 * WEIGHTS**2 / VARIANCE}  # the squared error rises by w^2 E(x - x')^2


@pytest.mark.parametrize("metric", ["loss", "r2"])
def test_the_fall_of_a_linear_model_is_known(metric: str):
    found = importance(linear(), *drawn(3000, 0), metric=metric, repeats=3)
    assert torch.allclose(torch.tensor(found.value), TRUTH[metric], rtol=0.1)
    assert bool(((torch.tensor(found.high) - torch.tensor(found.low))[:3] < 0.2 * TRUTH[metric][:3]).all())


@pytest.mark.slow
@pytest.mark.parametrize("metric", ["loss", "r2"])
def test_intervals_cover_the_population(metric: str):
    """Over 400 data sets of 60 samples the 95 % intervals of three used columns contain the fall in all of the population."""
    model, inside = linear(), torch.zeros(4)
    runs = 400
    for seed in range(runs):
        inputs, targets = drawn(60, seed)
        found = importance(model, inputs, targets, metric=metric, repeats=5, seed=seed)
        inside += (torch.tensor(found.low) <= TRUTH[metric]) & (TRUTH[metric] <= torch.tensor(found.high))
    assert bool((inside[:3] / runs > 0.91).all()), inside / runs  # one standard error is 0.011; skewed data cost the rest
    assert bool((inside[:3] / runs < 0.985).all()), inside / runs
    assert inside[3] == runs


def test_an_unused_column_is_exactly_nothing():
    inputs, targets = drawn(50, 0)
    found = importance(linear(), inputs, targets, names=("a", "b", "c", "unused"))
    assert found.metric == "r2"
    assert found.exact == (False, False, False, True)
    assert (found.value[3], found.low[3], found.high[3]) == (0, 0, 0)
    residual = targets - inputs @ WEIGHTS
    assert math.isclose(found.score or 0, float(1 - residual.square().mean() / targets.var(correction=0)), rel_tol=1e-4)
    assert str(found).splitlines()[1].startswith("a  ")


def test_accuracy_and_cross_entropy():
    model = nn.Linear(3, 2).eval()
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[0.0, 0.0, 0.0], [4.0, 0.02, 0.0]]))
        model.bias.zero_()
    inputs = torch.randn(200, 3, generator=torch.Generator().manual_seed(0))
    targets = (inputs[:, 0] > 0).long()
    found = importance(model, inputs, targets)
    assert found.metric == "accuracy"
    assert found.low[0] < 0.5 < found.high[0]  # a column of coin flips: half of the answers
    assert not found.exact[1]
    assert found.high[1] > 0  # used, though hardly an answer changes
    assert found.exact[2]
    loss = importance(model, inputs, targets, metric="loss")
    probabilities = importance(nn.Sequential(model, nn.Softmax(1)), inputs, targets, metric="loss")
    assert torch.allclose(torch.tensor(loss.value), torch.tensor(probabilities.value), atol=1e-4)
    own = importance(model, inputs, targets, metric=lambda outputs, truth: (outputs.argmax(1) == truth).double())
    assert own.value == found.value


def test_features_of_images_and_words():
    torch.manual_seed(0)
    image = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(72, 2)).eval()
    assert len(importance(image, torch.randn(20, 1, 8, 8), torch.randint(0, 2, (20,)), features=4, repeats=2).value) == 4
    words = nn.Sequential(nn.Embedding(10, 4), nn.Flatten(), nn.Linear(20, 2)).eval()
    assert len(importance(words, torch.randint(1, 10, (20, 5)), torch.randint(0, 2, (20,))).value) == 5


def test_shapley_is_the_mean_size_over_the_samples():
    inputs, _ = drawn(40, 1)
    background, _ = drawn(30, 2)
    found = importance(linear(), inputs, method="shapley", data=background)
    values = explain(linear(), inputs, method="shapley", data=background).attributions
    assert found.shapley is not None
    assert torch.allclose(found.shapley.float(), values, atol=1e-6)
    size = values.abs()
    assert torch.allclose(torch.tensor(found.value), size.mean(0), atol=1e-5)
    assert torch.allclose(torch.tensor(found.high) - torch.tensor(found.value), 2.0227 * size.std(0) / math.sqrt(40), atol=1e-4)
    assert found.exact == (False, False, False, True)
    assert torch.equal(found.entries, inputs)
    assert Importance.from_dict(found.to_dict()).value == found.value


def test_bad_input_is_one_clear_error():
    inputs, targets = drawn(20, 0)
    classes = nn.Linear(4, 3).eval()
    cases = [
        (OptionError, "one of permutation", lambda: importance(linear(), inputs, targets, method="gini")),
        (OptionError, "accuracy", lambda: importance(linear(), inputs, targets, metric="acuracy")),
        (DataError, "no targets", lambda: importance(linear(), inputs)),
        (DataError, "one for each of the 20", lambda: importance(linear(), inputs, targets[:5])),
        (DataError, "class indices", lambda: importance(classes, inputs, torch.full((20,), 3))),
        (DataError, "class indices", lambda: importance(linear(), inputs, targets, metric="accuracy")),
        (DataError, "all targets are equal", lambda: importance(linear(), inputs, torch.ones(20))),
        (DataError, "one sample", lambda: importance(linear(), inputs[:1], targets[:1])),
        (OptionError, "3 names", lambda: importance(linear(), inputs, targets, names=("a", "b", "c"))),
        (OptionError, ">= 2", lambda: importance(linear(), inputs, targets, repeats=1)),
        (OptionError, "one score for each", lambda: importance(linear(), inputs, targets, metric=lambda o, t: o.mean())),
        (ModelError, "NaN", lambda: importance(linear(), inputs * float("nan"), targets)),
    ]  # fmt: skip
    for kind, words, call in cases:
        with pytest.raises(kind, match=words):
            call()
