"""Healthy data that look odd: nothing in them is a fault."""

from __future__ import annotations

import math
from pathlib import Path
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
    csv_table,
    curved,
    digits,
    embedded,
    experiment,
    in_order,
    logistic,
    pictures,
    regression,
    seeded,
    split,
    squared,
    standardised,
    texts,
    waves,
)


def ordered_by_class(pair: Pair) -> Pair:
    order = pair[1].argsort(stable=True)
    return pair[0][order], pair[1][order]


def one_hot_columns() -> Pair:
    """Five categories of four values each, and a rule on two of them with errors: rows repeat."""
    generator = seeded(1)
    codes = torch.randint(4, (800, 5), generator=generator)
    labels = ((codes[:, 0] + codes[:, 1]) % 3 == 0).long()
    flipped = torch.rand(800, generator=generator) < 0.1
    return F.one_hot(codes, 4).flatten(1).float(), torch.where(flipped, 1 - labels, labels)


def measured_thrice() -> Pair:
    """Settings of five knobs, three measurements each."""
    inputs, _ = regression(250)
    inputs = inputs.repeat_interleave(3, 0)
    noise = 0.3 * torch.randn(len(inputs), generator=seeded(3))
    return inputs, (torch.tanh(inputs.sum(1)) + noise)[:, None]


def rare_codes() -> Pair:
    """A few columns of small whole numbers: most test rows stand in the training part too."""
    generator = seeded(2)
    codes = torch.randint(3, (900, 4), generator=generator).float()
    return codes, (codes.sum(1) + torch.randn(900, generator=generator) > 4).long()


def counts() -> Pair:
    """Sparse counts of 300 words as floating-point columns."""
    generator = seeded(3)
    labels = torch.randint(3, (500,), generator=generator)
    rates = 0.05 + 0.4 * (torch.rand(3, 300, generator=generator) < 0.05).float()
    return torch.poisson(rates[labels], generator=generator), labels


def binary_columns() -> Pair:
    generator = seeded(4)
    inputs = (torch.rand(600, 12, generator=generator) < 0.3).float()
    return inputs, ((inputs[:, :4].sum(1) >= 2) ^ (inputs[:, 5] > 0)).long()


def series_forecast() -> tuple[Pair, Pair]:
    """Windows of a noisy seasonal series and the next value, split in time."""
    time = torch.arange(700).float()
    series = torch.sin(time / 6) + 0.5 * torch.sin(time / 29) + 0.2 * torch.randn(700, generator=seeded(5))
    windows = series.unfold(0, 13, 1)
    return in_order((windows[:, :12], windows[:, 12:]))


def returns() -> tuple[Pair, Pair]:
    """The next of a series of returns: hardly to be foreseen, and the one before is among the inputs."""
    series = torch.randn(900, generator=seeded(6))
    series[1:] += 0.3 * series[:-1].clone()
    windows = series.unfold(0, 9, 1)
    return in_order((windows[:, :8], windows[:, 8:]))


def drifting() -> tuple[Pair, Pair]:
    """A time stamp among the columns, split in time."""
    inputs, labels = curved(800, seed=7)
    stamp = torch.linspace(0, 1, 800)[:, None]
    return in_order((torch.cat([inputs, (stamp - 0.4) / 0.25], 1), labels))


def sessions() -> tuple[Pair, Pair]:
    """Forty persons with twenty similar recordings each, split by person."""
    generator = seeded(8)
    persons = torch.randn(40, 10, generator=generator)
    labels = (persons[:, 0] + persons[:, 1] > 0).long()
    inputs = persons.repeat_interleave(20, 0) + 0.05 * torch.randn(800, 10, generator=generator)
    every = labels.repeat_interleave(20)
    return (inputs[:600], every[:600]), (inputs[600:], every[600:])


def imbalanced(share: float, classes: int = 2) -> tuple[Pair, Pair]:
    generator = seeded(9)
    labels = torch.where(torch.rand(2000, generator=generator) < share, 0, torch.randint(1, classes, (2000,), generator=generator))
    return split((torch.randn(2000, 6, generator=generator) + 1.5 * labels[:, None], labels))


def bounded() -> Pair:
    """Targets in [0, 0.05]."""
    inputs, targets = regression(seed=10)
    return inputs, 0.05 * targets.sigmoid()


def borders() -> Pair:
    """Images whose outer pixels are always 0."""
    inputs, labels = digits()
    return F.pad(inputs, (4, 4, 4, 4)), labels


def overlapping() -> Pair:
    """Two classes whose best accuracy is about 0.75."""
    return blobs(1500, 4, 2, 0.5, seed=11)


def counted_events() -> Pair:
    """Nine targets of ten are 0: rare events, no outliers."""
    generator = seeded(12)
    inputs = torch.randn(800, 4, generator=generator)
    return inputs, torch.poisson(0.1 * inputs[:, 0].exp(), generator=generator)[:, None]


def prices() -> Pair:
    """Lognormal targets, sigma 0.5."""
    inputs, targets = regression(seed=13)
    return inputs, (0.5 * targets / targets.std()).exp()


def grades() -> Pair:
    """Whole numbers 1 to 5 that are amounts, equally frequent."""
    inputs, targets = regression(1000, noise=0.2, seed=14)
    ranks = targets[:, 0].argsort().argsort()
    return inputs, (1 + ranks * 5 // len(ranks)).float()[:, None]


def several_labels() -> Pair:
    """Four labels, of which any number may hold."""
    inputs, _ = curved(800, seed=15)
    return inputs, (torch.stack([inputs[:, 0], inputs[:, 1] + inputs[:, 2], inputs[:, 3] * inputs[:, 4], inputs[:, 5] - 1], 1) > 0).float()


def soft_labels() -> Pair:
    inputs, labels = curved(800, seed=16)
    return inputs, 0.9 * F.one_hot(labels, 4).float() + 0.025


def hinge(outputs: Tensor, targets: Tensor) -> Tensor:
    return (1 - targets * outputs.reshape(targets.shape)).clamp_min(0).mean()


def signs() -> Pair:
    inputs, labels = curved(600, classes=2, seed=17)
    return inputs, 2.0 * labels - 1


def autoencoder() -> Any:
    inputs, _ = blobs(500, 8, 4, seed=18)
    parts = split((inputs, inputs.clone()))
    return experiment(parts, squared, model=lambda: nn.Sequential(nn.Linear(8, 3), nn.Tanh(), nn.Linear(3, 8)))


def parity() -> Pair:
    """Eight bits and whether an odd number of them is set: what no linear rule finds."""
    bits = (torch.rand(900, 8, generator=seeded(19)) < 0.5).float()
    return bits, (bits.sum(1) % 2).long()


def logarithms() -> Pair:
    """Columns over six orders of magnitude, as logarithms."""
    inputs, labels = curved(600, seed=20)
    return (inputs * 3).exp().log10(), labels


def tagged() -> Any:
    """One label for each token, -100 where the text has ended."""
    tokens, _ = texts(400, seed=21)
    labels = torch.where(tokens == 0, -100, tokens % 3)

    class Tagger(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding, self.head = nn.Embedding(300, 16), nn.Linear(16, 3)

        def forward(self, tokens: Tensor) -> Tensor:
            return self.head(self.embedding(tokens)).transpose(1, 2)

    return experiment(split((tokens, labels)), F.cross_entropy, 3, Tagger)


def next_token() -> Any:
    """The text itself, moved by one."""
    tokens, _ = texts(400, seed=22)

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding, self.recurrent, self.head = nn.Embedding(300, 16), nn.GRU(16, 16, batch_first=True), nn.Linear(16, 300)

        def forward(self, tokens: Tensor) -> Tensor:
            return self.head(self.recurrent(self.embedding(tokens))[0]).transpose(1, 2)

    return experiment(split((tokens[:, :-1], tokens[:, 1:])), F.cross_entropy, 300, Model)


def xor() -> Any:
    inputs = torch.tensor([[0.0, 0], [0, 1], [1, 0], [1, 1]])
    return experiment(((inputs, torch.tensor([0, 1, 1, 0])), None), batch_size=4)


def line() -> Any:
    """y = 2 x + 1 with a little noise, one column."""
    inputs = torch.linspace(-1, 1, 200)[:, None]
    return experiment(split((inputs, 2 * inputs + 1 + 0.05 * torch.randn(200, 1, generator=seeded(23)))))


def bytes_in_the_model() -> Any:
    """Images of bytes that the network itself divides by 255."""

    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = convolutional(1, 8, 10)

        def forward(self, images: Tensor) -> Tensor:
            return self.body(images.float() / 255)

    inputs, labels = digits()
    return experiment(split(((inputs * 255).to(torch.uint8), labels)), F.cross_entropy, 10, Scaled)


def normalised_in_the_model() -> Any:
    """Raw columns into batch normalisation."""
    parts = split(embedded("wine"))
    return experiment(parts, model=lambda: nn.Sequential(nn.BatchNorm1d(13), nn.Linear(13, 32), nn.ReLU(), nn.Linear(32, 3)))


def rescaled_in_the_model() -> Any:
    """Targets in the hundreds; the network puts its answers there."""
    parts = standardised(split(embedded("diabetes")))

    class Rescaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Sequential(nn.Linear(10, 32), nn.ReLU(), nn.Linear(32, 1))

        def forward(self, inputs: Tensor) -> Tensor:
            return 150 + 80 * self.body(inputs)

    return experiment(parts, model=Rescaled)


def loaders() -> Any:
    train, test = (TensorDataset(*part) for part in split(curved(seed=24)))
    made = experiment(split(curved(seed=24)))
    return made.changed(train=DataLoader(train, batch_size=32, shuffle=True), test=DataLoader(test, batch_size=64))


def augmented() -> Any:
    """A data set that draws a new variant of an image at each look."""

    class Noisy(TensorDataset):
        def __getitem__(self, index: Any) -> Any:
            image, label = super().__getitem__(index)
            return image + 0.1 * torch.randn(image.shape), label

    train, test = split(digits())
    return experiment((train, test)).changed(train=Noisy(*train))


def two_inputs() -> Any:
    inputs, labels = curved(600, seed=25)

    class Joined(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Linear(8, 4)

        def forward(self, left: Tensor, right: Tensor) -> Tensor:
            return self.head(torch.cat([left, right], 1))

    made = experiment(split((inputs, labels)), model=Joined)
    return made.changed(
        train=((inputs[:450, :3], inputs[:450, 3:]), labels[:450]), test=((inputs[450:, :3], inputs[450:, 3:]), labels[450:])
    )


def easy() -> Any:
    """Classes so far apart that every column tells them."""
    return experiment(split(blobs(500, 6, 3, 30.0, seed=26)))


def polynomial() -> Any:
    """x, x^2, ..., x^5 as columns."""
    x = 2 * torch.rand(300, 1, generator=seeded(27)) - 1
    return experiment(split((torch.cat([x**n for n in range(1, 6)], 1), torch.sin(3 * x))))


def threshold_rule() -> Any:
    """The class is the sign of one column, as in many an exercise."""
    inputs = torch.randn(500, 5, generator=seeded(28))
    return experiment(split((inputs, (inputs[:, 0] > 0).long())))


def oversampled() -> Any:
    """Rare samples repeated in the training part only."""
    train, test = imbalanced(0.9)
    rare = (train[1] == 1).nonzero()[:, 0]
    order = torch.cat([torch.arange(len(train[0])), rare.repeat(7)])
    return experiment(((train[0][order], train[1][order]), test))


HEALTHY: dict[str, Make] = {
    **{f"{name}, standardised": lambda n=name: experiment(standardised(split(embedded(n)))) for name in ("iris", "wine", "breast-cancer")},
    **{
        f"{name} as it is": lambda n=name: experiment(split(embedded(n)))
        for name in ("iris", "wine", "breast-cancer", "digits", "diabetes")
    },
    "iris in its own order": lambda: experiment((ordered_by_class(split(embedded("iris"))[0]), split(embedded("iris"))[1]), shuffle=False),
    "diabetes, both standardised": lambda: experiment(standardised(split((embedded("diabetes")[0], (embedded("diabetes")[1] - 152) / 77)))),
    "digits as images": lambda: experiment(split(digits())),
    "digits ordered by class": lambda: experiment((ordered_by_class(split(digits())[0]), split(digits())[1])),
    "images with black borders": lambda: experiment(split(borders())),
    "colour images": lambda: experiment(split(colours())),
    "blobs": lambda: experiment(split(blobs())),
    "a curved border": lambda: experiment(split(curved())),
    "two classes, one output": lambda: experiment(split(curved(classes=2)), logistic, 1),
    "overlapping classes": lambda: experiment(split(overlapping())),
    "classes that overlap a little": lambda: experiment(split(curved(2000, noise=1.0))),
    "a noisy regression": lambda: experiment(split(regression(noise=2.0))),
    "a regression": lambda: experiment(split(regression())),
    "texts": lambda: experiment(split(texts())),
    "texts of four classes": lambda: experiment(split(texts(800, 30, 500, 4))),
    "one token after another": next_token,
    "one label for each token": tagged,
    "waves": lambda: experiment(split(waves())),
    "one-hot columns with repeated rows": lambda: experiment(split(one_hot_columns())),
    "the same settings measured thrice": lambda: experiment(split(measured_thrice())),
    "small whole numbers": lambda: experiment(split(rare_codes())),
    "sparse counts": lambda: experiment(split(counts())),
    "binary columns": lambda: experiment(split(binary_columns())),
    "the next value of a series": lambda: experiment(series_forecast()),
    "returns": lambda: experiment(returns()),
    "a time stamp": lambda: experiment(drifting()),
    "persons, split by person": lambda: experiment(sessions()),
    "95 to 5": lambda: experiment(imbalanced(0.95)),
    "many rare classes": lambda: experiment(imbalanced(0.6, 20)),
    "small bounded targets": lambda: experiment(split(bounded())),
    "counts of rare events": lambda: experiment(split(counted_events())),
    "prices": lambda: experiment(split(prices())),
    "grades": lambda: experiment(split(grades())),
    "several labels": lambda: experiment(split(several_labels()), F.binary_cross_entropy_with_logits, 4),
    "soft labels": lambda: experiment(split(soft_labels()), F.cross_entropy, 4),
    "one-hot targets": lambda: experiment(split((curved()[0], F.one_hot(curved()[1], 4).float())), F.cross_entropy, 4),
    "signs into a hinge loss": lambda: experiment(split(signs()), hinge, 1),
    "an autoencoder": autoencoder,
    "parity": lambda: experiment(split(parity())),
    "logarithms": lambda: experiment(split(logarithms())),
    "xor": xor,
    "a line": line,
    "bytes, divided in the network": bytes_in_the_model,
    "raw columns into batch normalisation": normalised_in_the_model,
    "answers put on the targets' scale": rescaled_in_the_model,
    "loaders": loaders,
    "augmentation": augmented,
    "two inputs": two_inputs,
    "easy classes": easy,
    "powers of one number": polynomial,
    "a threshold on one column": threshold_rule,
    "oversampling": oversampled,
    "no test part": lambda: experiment((curved(), None)),
    "few samples": lambda: experiment(split(curved(80, classes=2))),
    "radians": lambda: experiment(
        split((2 * math.pi * torch.rand(500, 2, generator=seeded(29)), torch.rand(500, 1, generator=seeded(30))))
    ),
}


# -- real data, where they are ---------------------------------------------------------------------------------------------------------


def real(folder: Path) -> dict[str, Make]:
    """Tables and images of the shared folder."""
    tables = folder / "tabular"

    def of(name: str, **options: Any) -> Make:
        return lambda: experiment(standardised(split(csv_table(tables / f"{name}.csv", **options))))

    def raw(name: str, **options: Any) -> Make:
        return lambda: experiment(split(csv_table(tables / f"{name}.csv", **options)))

    def images(name: str) -> Make:
        return lambda: experiment((pictures(folder / name, "train", 6000), pictures(folder / name, "t10k", 2000)))

    def small(number: int, **options: Any) -> Make:
        return lambda: experiment(split(csv_table(folder / "tables_small" / f"table-{number}.csv", **options)))

    return {
        "adult": of("adult-train", limit=6000),
        "california": of("california_housing", target=8, header=True, values=True, limit=6000),
        "california, raw": raw("california_housing", target=8, header=True, values=True, limit=6000),
        "white wine, quality": of("winequality-white", values=True),
        "red wine, quality": of("winequality-red", values=True),
        "white wine, classes": of("winequality-white"),
        "pima": of("pima-indians-diabetes"),
        "glass": of("glass"),
        "seeds": of("wheat-seeds"),
        "mpg": of("auto-mpg", target=0, header=True, values=True),
        "heart": of("heart-train", header=True),
        "german credit": of("german-credit"),
        "wisconsin": of("breast-cancer-wisconsin"),
        "mnist": images("mnist"),
        "fashion": images("fashion_mnist"),
        **{f"small table {number}": small(number, values=number == 4) for number in (1, 2, 3, 4)},
    }
