"""The benchmark of derivations derives what it says: all equations, on the networks of its name."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest
from torch import nn

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


def test_a_measurement_is_of_a_complete_derivation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    derive_cost = importlib.import_module("derive_cost")
    for network in ("2-4-1", "LeNet, 8 images"):
        found = derive_cost.once(network, "derive", 1)
        assert found["passed"]
        assert found["without_equation"] == 0
        assert found["seconds"] > 0
    model, images, labels = derive_cost.residual()
    weighted = [module for module in model.modules() if isinstance(module, (nn.Conv2d, nn.Linear))]
    assert len([layer for layer in weighted if not isinstance(layer, nn.Conv2d) or layer.kernel_size != (1, 1)]) == 18
    assert images.shape == (4, 3, 32, 32)
    assert len(labels) == 4
