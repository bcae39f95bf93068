"""Faults of the samples."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from diagnosis_programs.bases import Base
from diagnosis_programs.faults import Injected, fault, tensors, unlike
from diagnosis_programs.networks import Design

INPUTS = ("inputs", "input", "column", "columns", "train", "test", "data")
TARGETS = ("targets", "target", "labels", "train", "test", "data")
SLOW = "lr_too_low too_few_epochs underfitting plateau"
WILD = "lr_too_high divergence exploding_gradient nan oscillation constant_output dead_relu initial_loss saturation vanishing_gradient"


def drawn(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@fault("unnormalised_input", family="data", where=INPUTS, also=f"{SLOW} {WILD}")
def unnormalised_input(base: Base, severe: bool) -> Injected | None:
    """Columns of sizes from 0.1 to 10,000, or grey values up to some hundreds around 300; mild: twenty times too large."""
    if base.tokens:
        return None
    (inputs, targets), (test_inputs, test_targets) = tensors(base)

    def raw(x: Tensor) -> Tensor:
        if not severe:
            return 20 * x
        if x.dim() == 2 and x.shape[1] < 64:
            sizes = 10 ** torch.linspace(-1, 4, x.shape[1])
            return (x + 2) * sizes
        return 100 * x + 300

    return Injected(experiment=base.experiment(train=(raw(inputs), targets), test=(raw(test_inputs), test_targets)))


@fault("unnormalised_target", family="data", where=TARGETS, also=f"{SLOW} {WILD}")
def unnormalised_target(base: Base, severe: bool) -> Injected | None:
    """Values in the thousands; mild: around 50 with a deviation of 20."""
    if base.kind != "values":
        return None
    (inputs, targets), (test_inputs, test_targets) = tensors(base)
    size, middle = (500.0, 2000.0) if severe else (20.0, 50.0)
    return Injected(
        experiment=base.experiment(train=(inputs, size * targets + middle), test=(test_inputs, size * test_targets + middle)),
    )


@fault("double_normalised_input", family="data", where=INPUTS, causes="unnormalised_input", also=f"{SLOW} constant_output")
def double_normalised_input(base: Base, severe: bool) -> Injected | None:
    """Scaled with the raw data's constants a second time: nearly the same number everywhere; mild: divided by 30."""
    if base.tokens:
        return None
    (inputs, targets), (test_inputs, test_targets) = tensors(base)

    def again(x: Tensor) -> Tensor:
        return (x / 255 if unlike(base) else (x - 100) / 60) if severe else x / 30

    return Injected(experiment=base.experiment(train=(again(inputs), targets), test=(again(test_inputs), test_targets)))


@fault(
    "label_encoding",
    family="data",
    where=(*TARGETS, "loss", "output"),
    causes="wrong_output_units",
    also="divergence lr_too_high underfitting plateau initial_loss wrong_loss",
)
def label_encoding(base: Base, severe: bool) -> Injected | None:
    """Binary targets -1 and 1 (mild: 1 and 2) into a cross-entropy; class numbers 0, 10, 20 ... (mild: from 1), with outputs for all."""
    (inputs, targets), (test_inputs, test_targets) = tensors(base)
    if base.kind == "values":
        return None
    if base.kind == "binary":
        coded = (lambda t: 2 * t - 1) if severe else (lambda t: t + 1)
        return Injected(
            experiment=base.experiment(train=(inputs, coded(targets)), test=(test_inputs, coded(test_targets))), structural=True
        )
    coded = (lambda t: 10 * t) if severe else (lambda t: t + 1)
    outputs = 10 * (base.classes - 1) + 1 if severe else base.classes + 1
    return Injected(
        experiment=base.experiment(Design(outputs=outputs), train=(inputs, coded(targets)), test=(test_inputs, coded(test_targets)))
    )


@fault(
    "single_class_labels",
    family="data",
    where=TARGETS,
    also="constant_output train_test_preprocess_mismatch class_imbalance",
    structural=True,
)
def single_class_labels(base: Base, severe: bool) -> Injected | None:
    """Only one class was read; mild: in the training part only."""
    if base.kind == "values":
        return None
    (inputs, targets), (test_inputs, test_targets) = tensors(base)
    one, test_one = targets.flatten() == 1, test_targets.flatten() == 1
    test = (test_inputs[test_one], test_targets[test_one]) if severe else (test_inputs, test_targets)
    epochs = max(base.epochs, round(base.epochs * len(inputs) / max(int(one.sum()), 1) / 2))
    return Injected(experiment=base.experiment(train=(inputs[one], targets[one]), test=test, epochs=min(epochs, 40)))


@fault("class_imbalance", family="data", where=TARGETS, also="insufficient_data overfitting constant_output train_test_preprocess_mismatch")
def class_imbalance(base: Base, severe: bool) -> Injected | None:
    """Of every second class 2 % are left in the training part (mild 8 %); the test part is as it was."""
    if base.kind == "values":
        return None
    (inputs, targets), test = tensors(base)
    rare = targets.flatten() % 2 == 1
    kept = ~rare | (torch.rand(len(rare), generator=drawn()) < (0.02 if severe else 0.08))
    kept[torch.nonzero(rare)[:2].flatten()] = True
    return Injected(experiment=base.experiment(train=(inputs[kept], targets[kept]), test=test))


@fault("noisy_labels", family="data", where=(*TARGETS, "samples"), also="overfitting underfitting")
def noisy_labels(base: Base, severe: bool) -> Injected | None:
    """A fifth of the training labels is wrong; severe: two fifths."""
    if base.kind == "values":
        return None
    (inputs, targets), test = tensors(base)
    wrong = torch.rand(len(targets), generator=drawn()) < (0.4 if severe else 0.2)
    if base.kind == "binary":
        targets[wrong] = 1 - targets[wrong]
    else:
        shift = torch.randint(1, base.classes, (len(targets),), generator=drawn(1))
        targets[wrong] = ((targets + shift) % base.classes)[wrong]
    return Injected(experiment=base.experiment(train=(inputs, targets), test=test))


@fault(
    "labels_misaligned", family="data", where=(*TARGETS, *INPUTS), also="overfitting underfitting plateau uninformative_input noisy_labels"
)
def labels_misaligned(base: Base, severe: bool) -> Injected | None:
    """Each sample has the label of the one before it; mild: from the middle on."""
    (inputs, targets), test = tensors(base)
    if base.name in ("sunspots-lstm", "temperatures"):  # neighbours in time have nearly the same target
        order = torch.randperm(len(inputs), generator=drawn())
        inputs, targets = inputs[order], targets[order]
    half = 0 if severe else len(targets) // 2
    targets[half:] = targets[half:].roll(1, 0)
    return Injected(
        experiment=base.experiment(train=(inputs, targets), test=test),
        causes="labels_misaligned" if severe else "labels_misaligned noisy_labels",
    )


@fault("data_leakage", family="data", where=(*INPUTS, *TARGETS, "samples", "feature"), also="overfitting")
def data_leakage(base: Base, severe: bool) -> Injected | None:
    """The test samples are in the training part (mild: three in ten of them); in some tables a column is the target."""
    (inputs, targets), (test_inputs, test_targets) = tensors(base)
    if severe and inputs.dim() == 2 and not base.tokens and unlike(base):
        for x, t in ((inputs, targets), (test_inputs, test_targets)):
            x[:, -1] = t.reshape(-1).float()
        return Injected(experiment=base.experiment(train=(inputs, targets), test=(test_inputs, test_targets)), structural=True)
    copied = len(test_inputs) if severe else len(test_inputs) * 3 // 10
    train = (torch.cat([inputs, test_inputs[:copied]]), torch.cat([targets, test_targets[:copied]]))
    return Injected(experiment=base.experiment(train=train, test=(test_inputs, test_targets)), structural=True)


@fault("train_test_preprocess_mismatch", family="data", where=INPUTS, also="overfitting wrong_mode")
def train_test_preprocess_mismatch(base: Base, severe: bool) -> Injected | None:
    """The test part keeps its raw scale (mild: its mean is not subtracted); words are numbered anew for it."""
    train, (test_inputs, test_targets) = tensors(base)
    if base.tokens:
        if not severe:
            return None
        known = test_inputs > 1
        test_inputs[known] = (test_inputs[known] * 37) % 1400 + 2
    else:
        test_inputs = 50 * test_inputs + 60 if severe else test_inputs + 2
    return Injected(experiment=base.experiment(train=train, test=(test_inputs, test_targets)))


@fault("uninformative_input", family="data", where=INPUTS, also="plateau underfitting constant_output overfitting data_leakage")
def uninformative_input(base: Base, severe: bool) -> Injected | None:
    """Every sample has the same inputs; mild: noise that says nothing about the target."""

    def emptied(x: Tensor, seed: int) -> Tensor:
        if severe:
            return x[:1].expand_as(x).clone() if unlike(base) else torch.zeros_like(x)
        if base.tokens:
            return torch.randint(2, 1400, x.shape, generator=drawn(seed))
        return torch.randn(x.shape, generator=drawn(seed))

    (inputs, targets), (test_inputs, test_targets) = tensors(base)
    return Injected(
        experiment=base.experiment(train=(emptied(inputs, 1), targets), test=(emptied(test_inputs, 2), test_targets)),
        causes="uninformative_input" if severe else "uninformative_input labels_misaligned", also="" if severe else "noisy_labels",
    )  # fmt: skip


@fault("insufficient_data", family="data", where=(*INPUTS, *TARGETS, "samples"), also="overfitting too_few_epochs class_imbalance")
def insufficient_data(base: Base, severe: bool) -> Injected | None:
    """Twelve samples; mild: forty. Epochs grow so that there are updates."""
    (inputs, targets), test = tensors(base)
    kept = 12 if severe else 40
    epochs = min(200, base.epochs * max(1, len(inputs) // kept // 4))
    return Injected(experiment=base.experiment(train=(inputs[:kept], targets[:kept]), test=test, epochs=epochs))


@fault(
    "outliers_with_mse",
    family="data",
    where=(*TARGETS, "loss", "samples"),
    also="unnormalised_target lr_too_high exploding_gradient divergence noisy_labels overfitting",
)
def outliers_with_mse(base: Base, severe: bool) -> Injected | None:
    """One target in thirty is sixty deviations off (mild: one in sixty, twenty), and the error is squared."""
    if base.kind != "values":
        return None
    (inputs, targets), test = tensors(base)
    chosen = torch.rand(len(targets), generator=drawn()) < (1 / 30 if severe else 1 / 60)
    sizes: Any = torch.randn(targets.shape, generator=drawn(1)) * (60 if severe else 20)
    targets[chosen] = targets[chosen] + sizes[chosen]
    return Injected(experiment=base.experiment(train=(inputs, targets), test=test, loss=F.mse_loss))
