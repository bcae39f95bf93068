"""What "auto" becomes for images: the recipe of the whitened network, what the user says beside it, and what the network is shown."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

import pellucid
from pellucid.core.options import resolve
from pellucid.core.records import Task
from pellucid.training import recipes
from pellucid.training.construction import IMAGES_SHOWN, build_network, initialize_from_data, memory_format
from pellucid.training.cost import bfloat16_is_fast
from pellucid.training.settings import choose_settings

TEN = Task(kind="classification", classes=tuple("0123456789"))
CPU = torch.device("cpu")


def chosen(samples=45_000, shape=(3, 32, 32), mirrorable=True, network="whitened_cnn", task=TEN, **given):
    return choose_settings(
        resolve(given), task, train_samples=samples, input_shape=shape, network_name=network, mirrorable=mirrorable, device=CPU
    )


@pytest.mark.parametrize(
    ("samples", "batch_size", "epochs"),
    [(50, 32, 100), (300, 64, 100), (1000, 128, 57), (5000, 256, 25), (48_000, 512, 8), (10**6, 512, 6)],
)
def test_batches_and_passes_follow_the_number_of_images(samples, batch_size, epochs):
    settings = chosen(samples)
    assert (settings.batch_size, settings.epochs) == (batch_size, epochs)
    assert settings.learning_rate == pytest.approx(0.12 * math.sqrt(batch_size / 512))
    assert settings.epochs * math.ceil(samples / settings.batch_size) >= min(450, 100 * math.ceil(samples / batch_size))


def test_the_recipe_and_what_else_a_user_may_say():
    settings = chosen()
    assert (settings.optimizer, settings.momentum, settings.schedule, settings.weight_decay) == ("muon", 0.6, "linear", 0.0)
    assert (settings.activation, settings.label_smoothing, settings.augment) == ("gelu", 0.2, "alternating_flip,shift:2")
    assert {"learning_rate", "optimizer", "batch_size", "epochs", "label_smoothing"} <= set(settings.chosen)  # said to the user as ours
    other = chosen(optimizer="adamw")  # another optimiser: its own customs and a range test
    assert (other.learning_rate, other.schedule, other.momentum, other.label_smoothing) == ("auto", "one_cycle", 0.9, 0.0)
    given = chosen(learning_rate=0.3, batch_size=100, epochs=2, label_smoothing=0.0, augment="none", activation="relu", schedule="cosine")
    assert (given.learning_rate, given.batch_size, given.epochs, given.label_smoothing) == (0.3, 100, 2, 0.0)
    assert (given.augment, given.activation, given.schedule, given.optimizer) == ("none", "relu", "cosine", "muon")
    assert chosen(batch_size=128).learning_rate == pytest.approx(0.06)
    assert chosen(loss="mse").label_smoothing == 0.0
    assert chosen(task=Task(kind="regression")).label_smoothing == 0.0


@pytest.mark.parametrize(
    ("shape", "mirrorable", "augment"),
    [((3, 32, 32), False, "shift:2"), ((1, 28, 28), True, "alternating_flip,shift:2"), ((3, 128, 96), True, "alternating_flip,shift:6")],
)
def test_augmentation_by_what_the_images_are(shape, mirrorable, augment):
    assert chosen(shape=shape, mirrorable=mirrorable).augment == augment


def test_other_networks_keep_their_defaults():
    settings = chosen(network="cnn")
    assert (settings.optimizer, settings.learning_rate, settings.schedule, settings.precision) == ("adamw", "auto", "one_cycle", "float32")
    assert settings.label_smoothing == 0.0


@pytest.mark.parametrize(("fast", "precision"), [(True, "bfloat16"), (False, "float32")])
def test_bfloat16_only_where_the_processor_computes_in_it(fast, precision, monkeypatch):
    monkeypatch.setattr(recipes, "bfloat16_is_fast", lambda device: fast)
    assert chosen().precision == precision
    assert chosen(precision="float32").precision == "float32"


@pytest.mark.parametrize(
    ("capabilities", "fast"),
    [({"avx512_bf16": True}, True), ({"amx_bf16": True}, True), ({"avx512_f": True}, False), ({}, False)],
)
def test_what_the_processor_says(capabilities, fast, monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
    assert bfloat16_is_fast(CPU) is fast
    assert not bfloat16_is_fast(torch.device("mps"))


@pytest.mark.parametrize(("augment", "mirrored"), [("shift", False), ("alternating_flip,shift:2", True), ("flip", True), ("none", False)])
def test_answers_are_mirrored_where_training_images_are(augment, mirrored):
    settings = chosen(augment=augment)
    for name in ("auto", "whitened_cnn"):
        built = build_network(name, None, settings, TEN, (3, 32, 32), 45_000)
        assert built.description["name"] == "whitened_cnn"
        assert built.network.mirrored is built.description["options"]["mirrored"] is mirrored
        assert build_network(name, {"mirrored": not mirrored}, settings, TEN, (3, 32, 32), 45_000).network.mirrored is not mirrored
    assert memory_format(built, CPU) == "channels_last"


class Remembering(nn.Module):
    def initialize_from(self, images):
        self.images = images


class Counted:
    """A part of `count` images, each filled with its number."""

    def __init__(self, count: int, ordered: bool) -> None:
        self.count, self.ordered = count, ordered

    def __len__(self) -> int:
        return self.count

    def batches(self, batch_size, order=None):
        numbers = torch.arange(self.count) if order is None else order
        for some in numbers.split(batch_size):
            yield some[:, None, None, None].float().expand(-1, 1, 4, 4), some


@pytest.mark.parametrize(("count", "ordered"), [(3, True), (IMAGES_SHOWN, True), (10 * IMAGES_SHOWN + 7, True), (10_000, False)])
def test_a_network_is_shown_images_from_all_over_the_part(count, ordered):
    network = Remembering()
    initialize_from_data(network, Counted(count, ordered))
    shown = network.images[:, 0, 0, 0]
    assert min(count, 1500) <= len(shown) <= IMAGES_SHOWN
    if ordered:
        assert shown[-1] >= 0.99 * count - 1
    initialize_from_data(nn.Linear(2, 2), Counted(3, True))  # networks that want to see nothing are shown nothing


def test_photographs_by_default(tmp_path):
    """The whole way on a few images: the whitening layer comes from the training images and is loaded with the run; a class is learnt."""
    generator = np.random.default_rng(0)
    y = generator.integers(0, 2, 120)
    X = generator.integers(0, 150, size=(120, 3, 16, 16)).astype(np.uint8)
    X[:, :, 4:9, 4:9] += (100 * y).astype(np.uint8)[:, None, None, None]
    run = pellucid.fit((X, y), epochs=12, directory=tmp_path, baselines=False, report=False, network_options={"filters": "8,16"})
    assert run.config["network"] == "auto"
    assert type(run.model).__name__ == "WhitenedConvolutionalNetwork"
    assert run.settings["optimizer"] == "muon"
    loaded = pellucid.load(run.directory)
    filters = loaded.model.whitening.weight.flatten(1)
    assert torch.equal(filters[:12], -filters[12:])
    np.testing.assert_allclose(loaded.predict(X).probabilities, run.predict(X).probabilities)
    assert run.metrics["test"]["accuracy"] > 0.8
