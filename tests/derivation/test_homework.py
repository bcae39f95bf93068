"""Gradients computed elsewhere: the right ones pass, and every customary mistake is named."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import pellucid
from pellucid.core.errors import DataError

X = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
Y = np.array([[0.0], [1.0], [1.0], [0.0]])


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


@pytest.fixture(scope="module")
def case():
    generator = np.random.default_rng(3)
    W1, b1 = generator.normal(size=(2, 4)), generator.normal(size=4)
    W2, b2 = generator.normal(size=(4, 1)), generator.normal(size=1)
    network = nn.Sequential(nn.Linear(2, 4), nn.Sigmoid(), nn.Linear(4, 1), nn.Sigmoid()).double()
    with torch.no_grad():
        for parameter, array in zip(network.parameters(), (W1.T, b1, W2.T, b2), strict=True):
            parameter.copy_(torch.tensor(array))
    optimizer = torch.optim.SGD(network.parameters(), lr=0.5)
    derivation = pellucid.derive(network, torch.tensor(X), torch.tensor(Y), loss="half_squared_error", optimizer=optimizer)
    a1 = sigmoid(X @ W1 + b1)
    a2 = sigmoid(a1 @ W2 + b2)

    def gradients(output=True, hidden=True, factor=1.0):
        dz2 = factor * (a2 - Y) * (a2 * (1 - a2) if output else 1.0)
        dz1 = (dz2 @ W2.T) * (a1 * (1 - a1) if hidden else 1.0)
        return {"W1": X.T @ dz1, "b1": dz1.sum(0, keepdims=True), "W2": a1.T @ dz2, "b2": dz2.sum(0, keepdims=True)}

    return derivation, gradients, {"W1": W1, "b1": b1, "W2": W2, "b2": b2}


def faults(check):
    return [str(finding.summary) for finding in check.faults]


def test_right_gradients_pass_to_twelve_digits(case):
    derivation, gradients, _ = case
    check = derivation.check(gradients=gradients())
    assert check.passed
    assert check.homework is not None
    assert max(result["error"] for result in check.homework["arrays"].values()) < 1e-12


def test_torch_names_and_tensors_are_taken(case):
    derivation, *_ = case
    assert derivation.check(gradients={name: torch.tensor(g) for name, g in derivation.gradients.items()}).passed


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"output": False}, "sigmoid in equation (4) is missing"),
        ({"hidden": False}, "sigmoid in equation (2) is missing"),
        ({"output": False, "hidden": False}, "sigmoid in equation (4)"),
        ({"output": False, "factor": 2.0}, "multiplied by 2"),
        ({"factor": -1.0}, "sign is wrong"),
        ({"factor": 2.0}, "factor 2 of the square's derivative is too much"),
        ({"factor": 0.25}, "1/N is too much"),
        ({"factor": 4.0}, "1/N is missing"),
    ],
)
def test_the_mistake_is_named_the_last_layer_first(case, options, words):
    derivation, gradients, _ = case
    check = derivation.check(gradients=gradients(**options))
    assert not check.passed
    said = faults(check)
    assert words in said[0]
    if options != {"hidden": False}:
        assert "equation (3)" in said[0]  # the output layer's linear step comes first on the way back
        assert len(said) == 4
    else:
        assert len(said) == 2  # the output layer is right
    if options.get("output") is False:
        assert not any("ours times" in sentence for sentence in said)


def test_other_mistakes(case):
    derivation, gradients, old = case
    right = gradients()
    updated = {name: old[name] - 0.5 * right[name].reshape(old[name].shape) for name in old}
    assert derivation.check(gradients={f"new_{name}": array for name, array in updated.items()}).passed
    assert "never updated" in faults(derivation.check(gradients={"new_W1": old["W1"]}))[0]
    assert "never updated" in faults(derivation.check(gradients={"W1": old["W1"]}))[0]
    assert "uphill" in faults(derivation.check(gradients={"new_W2": 2 * old["W2"] - updated["W2"]}))[0]
    assert "zero everywhere" in faults(derivation.check(gradients={"W1": np.zeros((2, 4))}))[0]
    assert "no customary mistake" in faults(derivation.check(gradients={"W1": right["W1"] ** 2}))[0]
    assert "shape" in faults(derivation.check(gradients={"W1": np.zeros((3, 5))}))[0]


def test_transpose_of_a_square_matrix():
    network = nn.Linear(3, 3).double()
    derivation = pellucid.derive(network, torch.randn(5, 3, dtype=torch.float64), loss=lambda output: (output**2).sum())
    assert "transpose" in faults(derivation.check(gradients={"weight": derivation.gradients["weight"].T}))[0]


def test_a_sum_over_the_batch_is_missing():
    network = nn.Linear(3, 2).double()
    x = torch.randn(5, 3, dtype=torch.float64)
    derivation = pellucid.derive(network, x, loss=lambda output: (output**2).sum())
    per_sample = 2 * network(x).detach().numpy()
    assert "sum over the 5 samples is missing" in faults(derivation.check(gradients={"b1": per_sample}))[0]


@pytest.mark.parametrize(("given", "words"), [({"W7": X}, "'W7' is no parameter"), ({"W1": "text"}, "W1")])
def test_refused(case, given, words):
    derivation, *_ = case
    with pytest.raises(DataError, match=words):
        derivation.check(gradients=given)


@pytest.mark.parametrize(
    ("options", "truth"),
    [
        ({"output": False}, "binary cross-entropy, and trains well"),
        ({"output": False, "hidden": False}, "no loss's gradient"),
        ({"hidden": False}, ""),
    ],
)
def test_what_is_true_of_a_missing_derivative(case, options, truth):
    derivation, gradients, _ = case
    remedies = [str(finding.remedy) for finding in derivation.check(gradients=gradients(**options)).faults]
    assert truth in remedies[-1]
    assert ("binary" in remedies[-1]) == ("binary" in truth)
