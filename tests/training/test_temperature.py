"""One number that makes probabilities as large as the answers are often right."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

import pellucid
from pellucid.training.temperature import LARGEST_FACTOR, best_temperature


@pytest.mark.parametrize("temperature", [0.2, 1.0, 3.0])
@pytest.mark.parametrize("classes", [2, 10])
def test_the_temperature_by_which_scores_were_spoilt_is_found(temperature, classes):
    generator = torch.Generator().manual_seed(0)
    honest = 2 * torch.randn(20_000, classes, generator=generator)
    targets = torch.multinomial(honest.softmax(1), 1, generator=generator)[:, 0]  # right as often as the probabilities say
    found = best_temperature(temperature * honest, targets)
    assert found == pytest.approx(temperature, rel=0.05)
    losses = {factor: float(F.cross_entropy(temperature * honest / (factor * found), targets)) for factor in (0.9, 1.0, 1.1)}
    assert losses[1.0] == min(losses.values())


def test_few_samples_all_right_do_not_make_certain():
    scores = torch.eye(3)[torch.tensor([0, 1, 2, 0])]
    chance = float((scores / best_temperature(scores, torch.tensor([0, 1, 2, 0]))).softmax(1).max())
    assert 0.7 < chance < 0.95
    wrong = best_temperature(scores, torch.tensor([1, 2, 0, 1]))
    assert wrong == pytest.approx(LARGEST_FACTOR, rel=0.01)  # as little sure as can be
    assert math.isfinite(best_temperature(torch.zeros(2, 1), torch.zeros(2, dtype=torch.long)))


def test_a_training_with_smoothed_labels_is_corrected_and_answers_the_same(tmp_path):
    generator = torch.Generator().manual_seed(0)
    y = torch.randint(0, 3, (240,), generator=generator)
    X = torch.randn(240, 1, 8, 8, generator=generator)
    for image, label in zip(X, y, strict=True):
        image[:, 2 * label : 2 * label + 3] += 1.0
    options = {"network": "whitened_cnn", "network_options": {"filters": (8, 8)}, "epochs": 15, "baselines": False, "report": False}
    run = pellucid.fit((X.numpy(), y.numpy()), directory=tmp_path, label_smoothing=0.3, precision="float32", **options)
    weights, about = run._directory.load_weights()
    state = run._directory.latest_checkpoint()[1]
    factor = 1 / float(about["temperature"])
    assert factor > 1.2  # smoothing had made it too cautious
    kept = state["best"]["weights"]
    torch.testing.assert_close(weights["output.weight"], factor * kept["output.weight"])
    assert all(torch.equal(weights[name], kept[name]) for name in kept if name != "output.weight")
