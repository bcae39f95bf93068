"""The network by hand agrees with derive, learns XOR, and its broken twin is caught."""

from __future__ import annotations

import importlib
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import pellucid

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


@pytest.fixture
def by_hand(monkeypatch):
    monkeypatch.syspath_prepend(str(EXAMPLES))
    return importlib.reload(importlib.import_module("mlp_by_hand"))


def test_all_four_gradients_agree_with_derive(by_hand):
    network = nn.Sequential(nn.Linear(2, 4), nn.Sigmoid(), nn.Linear(4, 1), nn.Sigmoid()).double()
    with torch.no_grad():
        for parameter, array in zip(network.parameters(), (by_hand.W1.T, by_hand.b1[0], by_hand.W2.T, by_hand.b2[0]), strict=True):
            parameter.copy_(torch.tensor(array))
    derivation = pellucid.derive(network, torch.tensor(by_hand.X), torch.tensor(by_hand.Y), loss="half_squared_error")
    mine = by_hand.gradients(by_hand.X, by_hand.Y, by_hand.W1, by_hand.b1, by_hand.W2, by_hand.b2)
    check = derivation.check(gradients=mine)
    assert check.passed
    assert check.homework is not None
    assert len(check.homework["arrays"]) == 4
    assert max(result["error"] for result in check.homework["arrays"].values()) < 1e-12
    loss = by_hand.loss_of(by_hand.forward(by_hand.X, by_hand.W1, by_hand.b1, by_hand.W2, by_hand.b2)[1], by_hand.Y)
    assert float(derivation.loss.array.reshape(())) == pytest.approx(loss, rel=1e-13)


def test_it_learns_xor(by_hand):
    assert by_hand.train() < 0.01
    outputs = by_hand.forward(by_hand.X, by_hand.W1, by_hand.b1, by_hand.W2, by_hand.b2)[1]
    assert np.array_equal(outputs.round(), by_hand.Y)


def test_the_broken_twin(by_hand):
    broken = importlib.reload(importlib.import_module("mlp_by_hand_broken"))
    old = (by_hand.W1, by_hand.b1, by_hand.W2, by_hand.b2)
    assert broken.train(*old, hidden_derivative=True) < 0.01
    assert broken.train(*old, hidden_derivative=False) > 0.1
