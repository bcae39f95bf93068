"""Data sets as people have them, healthy and with one thing wrong, and the experiments that use them."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pellucid.diagnosis.experiments.experiment import Experiment

Pair = tuple[Tensor, Tensor]
Make = Callable[[], Experiment]


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# -- parts -------------------------------------------------------------------------------------------------------------------------------


def split(pair: Pair, share: float = 0.25, seed: int = 0) -> tuple[Pair, Pair]:
    """Training and test part, drawn at random."""
    order = torch.randperm(len(pair[0]), generator=seeded(seed))
    held = int(share * len(order))
    return (pair[0][order[held:]], pair[1][order[held:]]), (pair[0][order[:held]], pair[1][order[:held]])


def in_order(pair: Pair, share: float = 0.25) -> tuple[Pair, Pair]:
    """The last samples are the test part."""
    kept = len(pair[0]) - int(share * len(pair[0]))
    return (pair[0][:kept], pair[1][:kept]), (pair[0][kept:], pair[1][kept:])


def standardised(parts: tuple[Pair, Pair]) -> tuple[Pair, Pair]:
    """By the training part's mean and deviation."""
    (inputs, targets), (others, wanted) = parts
    mean, std = inputs.mean(0), inputs.std(0)
    std = torch.where(std > 0, std, torch.ones_like(std))
    return ((inputs - mean) / std, targets), ((others - mean) / std, wanted)


def with_train(parts: tuple[Pair, Pair], change: Callable[[Tensor, Tensor], Pair]) -> tuple[Pair, Pair]:
    return change(*parts[0]), parts[1]


def with_test(parts: tuple[Pair, Pair], change: Callable[[Tensor, Tensor], Pair]) -> tuple[Pair, Pair]:
    return parts[0], change(*parts[1])


def with_both(parts: tuple[Pair, Pair], change: Callable[[Tensor, Tensor], Pair]) -> tuple[Pair, Pair]:
    return change(*parts[0]), change(*parts[1])


# -- experiments -------------------------------------------------------------------------------------------------------------------------


def squared(outputs: Tensor, targets: Tensor) -> Tensor:
    return F.mse_loss(outputs.reshape(targets.shape), targets)


def logistic(outputs: Tensor, targets: Tensor) -> Tensor:
    return F.binary_cross_entropy_with_logits(outputs.reshape(targets.shape), targets.float())


class Words(nn.Module):
    def __init__(self, vocabulary: int, outputs: int) -> None:
        super().__init__()
        self.embedding, self.head = nn.Embedding(vocabulary, 16), nn.Linear(16, outputs)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.head(self.embedding(tokens).mean(1))


class Recurrent(nn.Module):
    def __init__(self, channels: int, outputs: int) -> None:
        super().__init__()
        self.recurrent, self.head = nn.GRU(channels, 16, batch_first=True), nn.Linear(16, outputs)

    def forward(self, series: Tensor) -> Tensor:
        return self.head(self.recurrent(series)[0][:, -1])


def convolutional(channels: int, side: int, outputs: int, *first: nn.Module) -> nn.Module:
    return nn.Sequential(
        *first, nn.Conv2d(channels, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(8 * (side // 2) ** 2, outputs)
    )


def experiment(
    parts: tuple[Pair, Pair] | tuple[Pair, None], loss: Any = None, outputs: int | None = None, model: Any = None, **others: Any
) -> Experiment:
    """A network that fits the inputs' shape: words, series, images or columns."""
    (inputs, targets), test = parts
    if loss is None:
        loss = squared if targets.is_floating_point() else F.cross_entropy
    if outputs is None:
        highest = max(int(part[1].max()) for part in parts if part is not None)
        outputs = targets[0].numel() if targets.is_floating_point() else highest + 1
    if model is None and not inputs.is_floating_point() and inputs.dim() == 2:
        model = lambda: Words(100_000, outputs)  # noqa: E731
    elif model is None and inputs.dim() == 4:
        model = lambda: convolutional(inputs.shape[1], inputs.shape[2], outputs)  # noqa: E731
    elif model is None and inputs.dim() == 3 and inputs.shape[1] != inputs.shape[2]:
        model = lambda: Recurrent(inputs.shape[2], outputs)  # noqa: E731
    elif model is None:
        width = inputs[0].numel()
        model = lambda: nn.Sequential(nn.Flatten(), nn.Linear(width, 32), nn.ReLU(), nn.Linear(32, outputs))  # noqa: E731
    settings: dict[str, Any] = {"optimizer": lambda network: torch.optim.Adam(network.parameters(), 1e-3), "batch_size": 32, **others}
    return Experiment(model=model, loss=loss, train=parts[0], test=test, **settings)


# -- data --------------------------------------------------------------------------------------------------------------------------------


def embedded(name: str) -> Pair:
    """A set of scikit-learn's: classes, or values for diabetes."""
    from pellucid.data.embedded import load_embedded

    inputs, targets = load_embedded(name)
    table = torch.from_numpy(inputs).float()
    return (table, torch.from_numpy(targets).float()) if name == "diabetes" else (table, torch.from_numpy(targets).long())


def digits() -> Pair:
    """(N, 1, 8, 8) in [0, 1]."""
    inputs, targets = embedded("digits")
    return inputs.reshape(-1, 1, 8, 8) / 16, targets


def blobs(samples: int = 600, columns: int = 6, classes: int = 3, distance: float = 2.0, seed: int = 0) -> Pair:
    generator = seeded(seed)
    centres = distance * torch.randn(classes, columns, generator=generator)
    labels = torch.randint(classes, (samples,), generator=generator)
    return centres[labels] + torch.randn(samples, columns, generator=generator), labels


def curved(samples: int = 800, columns: int = 8, classes: int = 4, noise: float = 0.0, seed: int = 0) -> Pair:
    """Classes by a random network of one hidden layer."""
    generator = seeded(seed)
    inputs = torch.randn(samples, columns, generator=generator)
    hidden = torch.tanh(inputs @ torch.randn(columns, 16, generator=generator) / math.sqrt(columns))
    scores = hidden @ torch.randn(16, classes, generator=generator)
    return inputs, (scores + noise * torch.randn(scores.shape, generator=generator)).argmax(1)


def regression(samples: int = 600, columns: int = 5, noise: float = 0.3, seed: int = 0) -> Pair:
    generator = seeded(seed)
    inputs = torch.randn(samples, columns, generator=generator)
    weights = torch.randn(columns, generator=generator)
    return inputs, (torch.tanh(inputs @ weights) + noise * torch.randn(samples, generator=generator))[:, None]


def texts(samples: int = 600, length: int = 20, vocabulary: int = 200, classes: int = 2, seed: int = 0) -> Pair:
    """Words by Zipf's law; each class prefers some of its own, and texts are filled with 0."""
    generator = seeded(seed)
    labels = torch.randint(classes, (samples,), generator=generator)
    weights = 1 / torch.arange(2, vocabulary + 1).float()
    tokens = 1 + torch.multinomial(weights, samples * length, replacement=True, generator=generator).reshape(samples, length)
    own = torch.rand(samples, length, generator=generator) < 0.2
    special = 50 + 10 * labels[:, None] + torch.randint(10, (samples, length), generator=generator)
    tokens = torch.where(own, special, tokens)
    lengths = torch.randint(length // 2, length + 1, (samples,), generator=generator)
    return tokens * (torch.arange(length) < lengths[:, None]), labels


def waves(samples: int = 500, length: int = 40, classes: int = 3, seed: int = 0) -> Pair:
    """(N, T, 1): frequencies at random phases."""
    generator = seeded(seed)
    labels = torch.randint(classes, (samples,), generator=generator)
    time = torch.arange(length) / length
    phase = 2 * math.pi * torch.rand(samples, 1, generator=generator)
    series = torch.sin(2 * math.pi * (labels[:, None] + 2) * time + phase) + 0.3 * torch.randn(samples, length, generator=generator)
    return series[:, :, None], labels


def colours(samples: int = 600, seed: int = 0) -> Pair:
    """(N, 3, 8, 8): red, green and blue differ in mean, the class is a bright corner."""
    generator = seeded(seed)
    labels = torch.randint(4, (samples,), generator=generator)
    images = 0.15 * torch.randn(samples, 3, 8, 8, generator=generator) + torch.tensor([0.55, 0.4, 0.25])[:, None, None]
    for corner, (rows, columns) in enumerate([(slice(0, 4), slice(0, 4)), (slice(0, 4), slice(4, 8)), (slice(4, 8), slice(0, 4)),
                                              (slice(4, 8), slice(4, 8))]):  # fmt: skip
        chosen = labels == corner
        images[chosen, :, rows, columns] += 0.25
    return images.clamp(0, 1), labels


def csv_table(path: Path, target: int = -1, *, header: bool = False, values: bool = False, limit: int | None = None) -> Pair:
    """Numbers as columns, words one-hot; rows with a missing entry are left out."""
    rows = list(csv.reader(path.read_text(encoding="utf-8-sig").splitlines()))[1 if header else 0 :]
    rows = [row for row in rows if row and not any(entry.strip() in ("", "?") for entry in row)]
    columns = list(zip(*rows[:: max(1, len(rows) // limit) if limit else 1], strict=True))
    last = columns.pop(target)
    return torch.cat([_column(column) for column in columns], 1), (_numbers(last) if values else _codes(last))


def _numbers(column: Iterable[str]) -> Tensor:
    return torch.tensor([float(entry) for entry in column])


def _codes(column: tuple[str, ...]) -> Tensor:
    known = sorted(set(column))
    return torch.tensor([known.index(entry) for entry in column])


def _column(column: tuple[str, ...]) -> Tensor:
    try:
        return _numbers(column)[:, None]
    except ValueError:
        return F.one_hot(_codes(column)).float()


def pictures(folder: Path, part: str, samples: int) -> Pair:
    """The first images of MNIST's format, (N, 1, 28, 28) in [0, 1]."""
    import gzip

    import numpy as np

    raw = [gzip.decompress((folder / f"{part}-{name}.gz").read_bytes()) for name in ("images-idx3-ubyte", "labels-idx1-ubyte")]
    images = np.frombuffer(raw[0], np.uint8, count=samples * 784, offset=16).reshape(samples, 1, 28, 28)
    labels = np.frombuffer(raw[1], np.uint8, count=samples, offset=8)
    return torch.from_numpy(images.copy()).float() / 255, torch.from_numpy(labels.copy()).long()
