"""Trainings by Lightning, skorch, Hugging Face's Trainer and Keras: watched by the examples' own lines, unchanged bit for bit."""

from __future__ import annotations

import importlib.util
import random
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import pellucid
from pellucid.diagnosis.watch import attachment

EXAMPLES = Path(__file__).parents[3] / "examples"
FRAMEWORKS = {"lightning": ("lightning",), "skorch": ("skorch",), "transformers": ("transformers", "accelerate"), "keras": ("keras",)}
TROUBLE = {"lr_too_high", "divergence", "exploding_gradient", "saturation", "dead_relu", "nan"}  # what a rate far too high can show first

pytestmark = [pytest.mark.slow]


def training_of(framework: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The example's `train`; skipped, visibly, where the framework is not installed."""
    for package in FRAMEWORKS[framework]:
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed")
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    path = EXAMPLES / f"watch_{framework}.py"
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the frameworks' own
        spec.loader.exec_module(module)
    return module.train


def outcome(train: Any, watch: Any) -> tuple[dict[str, torch.Tensor], tuple[Any, ...], Any]:
    """Weights afterwards, random states afterwards, the watcher."""
    random.seed(1)
    np.random.seed(1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model, watcher = train(watch)
    weights = {name: value.detach().clone() for name, value in model.state_dict().items()}
    return weights, (torch.random.get_rng_state(), random.getstate(), np.random.get_state()[1].copy()), watcher


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_a_watched_training_is_the_same_and_its_trouble_is_found(framework: str, monkeypatch: pytest.MonkeyPatch) -> None:
    train = training_of(framework, monkeypatch)
    bare, bare_random, _ = outcome(train, lambda *_: None)
    watched, watched_random, watcher = outcome(train, pellucid.watch)
    with watcher:
        found = {finding.symptom for finding in watcher.findings}
        observed = watcher.observations
    for (name, value), other in zip(bare.items(), watched.values(), strict=True):  # Keras numbers its layers on through a process
        assert torch.equal(value.nan_to_num(7.0), other.nan_to_num(7.0)), name
    assert torch.equal(bare_random[0], watched_random[0])
    assert bare_random[1] == watched_random[1]
    assert np.array_equal(bare_random[2], watched_random[2])
    assert observed.steps > 50  # every update was counted: the optimizer that is made later, or none of torch's
    assert found & TROUBLE, found
    assert attachment.attached() == 0
