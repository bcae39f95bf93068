"""Data with one thing wrong, by cause; the healthy set they were made of is the twin."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from diagnosis.symptoms.data_sets import (
    Make,
    Pair,
    blobs,
    colours,
    convolutional,
    curved,
    digits,
    embedded,
    experiment,
    logistic,
    regression,
    seeded,
    split,
    squared,
    standardised,
    texts,
    waves,
    with_both,
    with_test,
    with_train,
)
from diagnosis.symptoms.healthy_data import binary_columns, counts, hinge, prices


def flipped(share: float, seed: int = 1) -> Any:
    """A share of the labels becomes another class."""

    def change(inputs: Tensor, labels: Tensor) -> Pair:
        generator = seeded(seed)
        wrong = torch.rand(len(labels), generator=generator) < share
        others = (labels + torch.randint(1, int(labels.max()) + 1, (len(labels),), generator=generator)) % (int(labels.max()) + 1)
        return inputs, torch.where(wrong, others, labels)

    return change


def shifted(rows: int) -> Any:
    """Each target belongs to the input some rows away."""
    return lambda inputs, targets: (inputs, targets.roll(rows, 0))


def exchanged(inputs: Tensor, targets: Tensor) -> Pair:
    """Targets in an order of their own."""
    return inputs, targets[torch.randperm(len(targets), generator=seeded(2))]


def sorted_alone(inputs: Tensor, targets: Tensor) -> Pair:
    return inputs, targets.sort(0).values


def dropped_in_the_middle(inputs: Tensor, targets: Tensor) -> Pair:
    """The targets lost a row, the inputs lost their last one."""
    half = len(inputs) // 2
    return inputs[:-1], torch.cat([targets[:half], targets[half + 1 :]])


def scaled(factor: float, offset: float = 0.0) -> Any:
    return lambda inputs, targets: (inputs * factor + offset, targets)


def copied(share: float, noise: float = 0.0) -> Any:
    """Test samples that stand in the training part too, perhaps a little changed."""

    def change(parts: tuple[Pair, Pair]) -> tuple[Pair, Pair]:
        train, test = parts
        count = int(share * len(test[0]))
        chosen = torch.randperm(len(test[0]), generator=seeded(3))[:count]
        more = test[0][chosen]
        more = more + noise * torch.randn(more.shape, generator=seeded(4)) if noise else more
        return (torch.cat([train[0], more]), torch.cat([train[1], test[1][chosen]])), test

    return change


def with_column(make: Any) -> Any:
    """One more column, made of the targets."""

    def change(inputs: Tensor, targets: Tensor) -> Pair:
        return torch.cat([inputs, make(targets.float()).reshape(len(inputs), -1)], 1), targets

    return change


def burnt_in(inputs: Tensor, labels: Tensor) -> Pair:
    """The first pixel says the class."""
    images = inputs.clone()
    images[:, 0, 0, 0] = labels / 10
    return images, labels


def persons() -> tuple[Pair, Pair]:
    """Forty persons with twenty all but equal recordings each, split at random."""
    generator = seeded(5)
    centres = torch.randn(40, 10, generator=generator)
    inputs = centres.repeat_interleave(20, 0) + 0.01 * torch.randn(800, 10, generator=generator)
    return split((inputs, (centres[:, 0] > 0).long().repeat_interleave(20)))


def oversampled(pair: Pair) -> Pair:
    """The samples of the first two classes twice, as who balances classes before parting the data."""
    inputs, labels = pair
    again = (labels < 2).nonzero()[:, 0]
    return torch.cat([inputs, inputs[again]]), torch.cat([labels, labels[again]])


def heavy(pair: Pair, share: float, factor: float) -> Pair:
    inputs, targets = pair
    far = torch.rand(len(targets), generator=seeded(6)) < share
    return inputs, torch.where(far[:, None], factor * targets, targets)


def few(count: int) -> Any:
    return lambda inputs, targets: (inputs[:count], targets[:count])


def rare_in_training(share: float) -> tuple[Pair, Pair]:
    """The test part has as many of either class, the training part hardly any of the second."""
    train, test = split(blobs(3000, 6, 2, 1.0, seed=7), 0.2)
    kept = (train[1] == 0) | (torch.rand(len(train[1]), generator=seeded(8)) < share)
    return (train[0][kept], train[1][kept]), test


def one_class(inputs: Tensor, targets: Tensor) -> Pair:
    kept = targets == targets[0]
    return inputs[kept], targets[kept]


def squared_classes(outputs: Tensor, targets: Tensor) -> Tensor:
    return F.mse_loss(outputs.reshape(targets.shape), targets.float())


def renamed(inputs: Tensor, labels: Tensor) -> Pair:
    """Classes numbered in another order."""
    return inputs, (labels + 1) % (int(labels.max()) + 1)


def rotated(tokens: Tensor, labels: Tensor) -> Pair:
    """Filled on the left."""
    lengths = (tokens != 0).sum(1)
    place = (torch.arange(tokens.shape[1]) + lengths[:, None]) % tokens.shape[1]
    return tokens.gather(1, place), labels


def permuted(inputs: Tensor, targets: Tensor) -> Pair:
    return inputs[:, torch.randperm(inputs.shape[1], generator=seeded(9))], targets


def loaders(parts: tuple[Pair, Pair]) -> Any:
    made = experiment(parts)
    train, test = (DataLoader(TensorDataset(*part), batch_size=32) for part in parts)
    return made.changed(train=train, test=test)


def twice_in_the_model() -> Any:
    """The data are in [0, 1] already, and the network divides by 255."""

    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = convolutional(1, 8, 10)

        def forward(self, images: Tensor) -> Tensor:
            return self.body(images / 255)

    return experiment(split(digits()), F.cross_entropy, 10, Scaled)


def bytes_of(pair: Pair) -> Pair:
    return (255 * pair[0]).round() / 255, pair[1]


def distinct_columns() -> Pair:
    inputs, labels = curved(600, 6, 3, seed=10)
    return inputs * torch.tensor([1.0, 2, 1, 0.5, 1, 1]) + torch.arange(6) - 2, labels


S = standardised
# cause -> name -> experiment; those of the causes in ADVISED are advice, which controlled trials raise
FAULTY: dict[str, dict[str, Make]] = {
    "unnormalised_input": {
        "bytes": lambda: experiment(with_both(split(digits()), scaled(255))),
        "a table in its own units": lambda: experiment(split(embedded("wine"))),
        "one column in thousands": lambda: experiment(with_both(split(curved()), lambda x, y: (x * torch.tensor([1000.0] + [1.0] * 7), y))),
        "tiny numbers": lambda: experiment(with_both(split(regression()), scaled(1e-4))),
        "a series in hundreds": lambda: experiment(with_both(split(waves()), scaled(100, 1000))),
    },
    "unnormalised_target": {
        "diabetes": lambda: experiment(S(split(embedded("diabetes")))),
        "prices in units": lambda: experiment(with_both(split(prices()), lambda x, y: (x, 2e5 * y))),
        "far from zero": lambda: experiment(with_both(split(regression()), lambda x, y: (x, y + 1000))),
        "tiny targets": lambda: experiment(with_both(split(regression()), lambda x, y: (x, 1e-4 * y))),
    },
    "double_normalised_input": {
        "bytes divided twice": lambda: experiment(with_both(split(bytes_of(digits())), scaled(1 / 255))),
        "colours divided twice": lambda: experiment(with_both(split(colours()), scaled(1 / 255))),
        "in the network too": twice_in_the_model,
        "standardised, then divided": lambda: experiment(with_both(S(split(embedded("breast-cancer"))), scaled(1 / 255))),
        "statistics of bytes": lambda: experiment(with_both(split(digits()), scaled(1 / 78, -33 / 78))),
    },
    "train_test_preprocess_mismatch": {
        "bytes in the test part": lambda: experiment(with_test(split(digits()), scaled(255))),
        "only the training part standardised": lambda: experiment((S(split(embedded("wine")))[0], split(embedded("wine"))[1])),
        "channels exchanged": lambda: experiment(with_test(split(colours()), lambda x, y: (x.flip(1), y))),
        "images turned": lambda: experiment(with_test(split(digits()), lambda x, y: (x.transpose(2, 3), y))),
        "columns in another order": lambda: experiment(with_test(split(distinct_columns()), permuted)),
        "another vocabulary": lambda: experiment(with_test(split(texts()), lambda x, y: (x + 97, y))),
        "filled on the other side": lambda: experiment(with_test(split(texts()), rotated)),
        "one column in another unit": lambda: experiment(
            with_test(split(curved()), lambda x, y: (x * torch.tensor([1.0, 1, 60] + [1.0] * 5), y))
        ),
        "a regression's inputs in percent": lambda: experiment(with_test(split(regression()), scaled(100))),
    },
    "uninformative_input": {
        "all rows are zero": lambda: experiment(with_both(split(curved()), lambda x, y: (0 * x, y))),
        "all images are white": lambda: experiment(with_both(split(digits()), lambda x, y: (torch.ones_like(x), y))),
        "every text is padding": lambda: experiment(with_both(split(texts()), lambda x, y: (0 * x, y))),
        "constant columns of a regression": lambda: experiment(with_both(split(regression()), lambda x, y: (0 * x + 3, y))),
    },
    "outliers_with_mse": {
        "two of a hundred times 300": lambda: experiment(split(heavy(regression(), 0.02, 300))),
        "one of a hundred times 1000": lambda: experiment(split(heavy(regression(1000, 8, seed=11), 0.01, 1000))),
        "Cauchy": lambda: experiment(split((regression()[0], torch.tan(math.pi * (torch.rand(600, 1, generator=seeded(12)) - 0.5))))),
        "typing errors in diabetes": lambda: experiment(
            S(split(heavy((embedded("diabetes")[0], embedded("diabetes")[1][:, None] / 77), 0.03, 1000)))
        ),
    },
    "label_encoding": {
        "-1 and 1 into binary cross-entropy": lambda: experiment(
            with_both(split(curved(classes=2)), lambda x, y: (x, 2.0 * y - 1)), logistic, 1
        ),
        "1 and 2 into binary cross-entropy": lambda: experiment(
            with_both(split(embedded("breast-cancer")), lambda x, y: (x, y + 1.0)), logistic, 1
        ),
        "0 and 255 as masks": lambda: experiment(
            with_both(split(digits()), lambda x, y: (x, 255.0 * (y % 2))), logistic, 1
        ),
        "0 and 1 into a hinge loss": lambda: experiment(with_both(split(curved(classes=2)), lambda x, y: (x, y.float())), hinge, 1),
        "0 and 1 into a soft margin": lambda: experiment(
            with_both(split(curved(classes=2)), lambda x, y: (x, y.float()[:, None])), F.soft_margin_loss, 1
        ),
        "digits as amounts": lambda: experiment(split(digits()), squared_classes, 1),
        "five classes as amounts": lambda: experiment(
            with_both(split(blobs(900, 8, 5, 3.0, seed=13)), lambda x, y: (x, y.float())), squared
        ),
        "rows of zeros": lambda: experiment(
            with_both(split(curved()), lambda x, y: (x, F.one_hot(y, 4)[:, 1:].float())), F.cross_entropy, 3
        ),
        "another order in the test part": lambda: experiment(with_test(split(digits()), renamed)),
        "two classes exchanged in the test part": lambda: experiment(with_test(split(curved(classes=2)), renamed)),
        "test labels from 1": lambda: experiment(with_test(split(curved()), lambda x, y: (x, y + 1)), outputs=5),
    },
    "single_class_labels": {
        "one class of a table": lambda: experiment(with_train(split(curved()), one_class), outputs=4),
        "one digit": lambda: experiment(with_train(split(digits()), one_class), outputs=10),
        "all values equal": lambda: experiment(with_train(split(regression()), lambda x, y: (x, 0 * y + 2))),
        "one kind of text": lambda: experiment(with_train(split(texts()), one_class), outputs=2),
    },
    "class_imbalance": {
        "3 in a hundred, in the test part half": lambda: experiment(rare_in_training(0.03)),
        "8 in a hundred, in the test part half": lambda: experiment(rare_in_training(0.08)),
        "one output": lambda: experiment(rare_in_training(0.05), logistic, 1),
        "rows of classes": lambda: experiment(
            with_both(rare_in_training(0.05), lambda x, y: (x, F.one_hot(y, 2).float())), F.cross_entropy, 2
        ),
    },
    "noisy_labels": {
        "digits, 10 %": lambda: experiment(with_train(split(digits()), flipped(0.1))),
        "digits, 40 %": lambda: experiment(with_train(split(digits()), flipped(0.4))),
        "waves, 20 %": lambda: experiment(with_train(split(waves()), flipped(0.2))),
        "tumours, 20 % in both parts": lambda: experiment(with_both(S(split(embedded("breast-cancer"))), flipped(0.2))),
        "colours, 15 %": lambda: experiment(with_train(split(colours()), flipped(0.15))),
        "a table, 20 %": lambda: experiment(with_train(split(curved(1200)), flipped(0.2))),
        "one-hot, 20 %": lambda: experiment(
            with_both(with_train(split(digits()), flipped(0.2)), lambda x, y: (x, F.one_hot(y, 10).float())), F.cross_entropy, 10
        ),
    },
    "labels_misaligned": {
        "one row too far": lambda: experiment(with_train(split(curved()), shifted(1))),
        "digits, two rows back": lambda: experiment(with_train(split(digits()), shifted(-2))),
        "waves, in both parts": lambda: experiment(with_both(split(waves()), shifted(3))),
        "a regression by one row": lambda: experiment(with_both(split(regression()), shifted(1))),
        "texts by one row": lambda: experiment(with_train(split(texts()), shifted(1))),
        "the test targets": lambda: experiment(with_test(split(digits()), shifted(1))),
        "a row lost in the middle": lambda: experiment(with_train(split(digits()), dropped_in_the_middle)),
        "targets sorted alone": lambda: experiment(with_train(split(digits()), sorted_alone)),
        "targets shuffled alone": lambda: experiment(with_train(split(curved()), exchanged)),
        "a regression's targets shuffled": lambda: experiment(with_train(split(regression()), exchanged)),
        "loaders in order": lambda: loaders(with_train(split(digits()), shifted(1))),
    },
    "data_leakage": {
        "a tenth of the test part": lambda: experiment(copied(0.1)(split(curved()))),
        "rows repeated before the split": lambda: experiment(split(oversampled(curved(600)))),
        "half of the test images": lambda: experiment(copied(0.5)(split(digits()))),
        "a third of the texts": lambda: experiment(copied(0.3)(split(texts()))),
        "a third, a little changed": lambda: experiment(copied(0.35, 0.01)(split(curved()))),
        "images with a little noise": lambda: experiment(copied(0.4, 0.01)(split(digits()))),
        "the test part is the training part": lambda: experiment((curved(), curved())),
        "persons in both parts": lambda: experiment(persons()),
        "a column is the label": lambda: experiment(with_both(split(curved()), with_column(lambda y: 2 * y - 1))),
        "columns are the one-hot label": lambda: experiment(
            with_both(split(curved()), with_column(lambda y: F.one_hot(y.long(), 4).float()))
        ),
        "a column is the target in another unit": lambda: experiment(with_both(split(regression()), with_column(lambda y: 9 * y / 5 + 32))),
        "a column is the label with a little noise": lambda: experiment(
            with_both(split(curved()), with_column(lambda y: y + 0.02 * torch.randn(len(y), generator=seeded(14))))
        ),
        "a pixel is the label": lambda: experiment(with_both(split(digits()), burnt_in)),
        "one of many binary columns": lambda: experiment(with_both(split(binary_columns()), with_column(lambda y: y))),
    },
    "insufficient_data": {
        "twenty samples": lambda: experiment(with_train(split(curved(), 0.5), few(20)), outputs=4),
        "thirty digits": lambda: experiment(with_train(split(digits(), 0.5), few(30)), outputs=10),
        "ten values": lambda: experiment(with_train(split(regression(noise=0.1), 0.5), few(10))),
        "twelve texts": lambda: experiment(with_train(split(texts(), 0.5), few(12)), outputs=2),
        "fifteen counts": lambda: experiment(with_train(split(counts(), 0.5), few(15)), outputs=3),
    },
}  # fmt: skip
ADVISED = {"unnormalised_input", "unnormalised_target"}
