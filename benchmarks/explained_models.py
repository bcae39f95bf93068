"""The models whose explanations the benchmark certifies: small, of every data kind, trained here in seconds to a few minutes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn


@dataclass(frozen=True)
class Case:
    model: nn.Module
    inputs: Tensor  # (n, ...) held out of training
    target: Tensor | None  # (n,) the predicted class; None: regression
    data: Tensor  # samples of training: background and neighbours
    score: float  # accuracy or R2 on the held-out samples


def trained(model: nn.Module, X: Tensor, y: Tensor, *, epochs: int, rate: float = 2e-3, batch: int = 64) -> nn.Module:
    """AdamW, a one-cycle rate; cross-entropy for classes, mean squared error else."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=1e-2)
    steps = epochs * ((len(X) + batch - 1) // batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate * 3, total_steps=steps)
    model.train()
    for _ in range(epochs):
        for rows in torch.randperm(len(X)).split(batch):
            output = model(X[rows])
            loss = F.cross_entropy(output, y[rows]) if y.dtype == torch.long else F.mse_loss(output.reshape(-1), y[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return model.eval()


def case(model: nn.Module, X: Tensor, y: Tensor, X_test: Tensor, y_test: Tensor, *, epochs: int, batch: int = 64) -> Case:
    model = trained(model, X, y, epochs=epochs, batch=batch)
    with torch.no_grad():
        output = model(X_test)
    if y.dtype != torch.long:
        error = ((output.reshape(-1) - y_test) ** 2).sum() / ((y_test - y_test.mean()) ** 2).sum()
        return Case(model, X_test, None, X, float(1 - error))
    predicted = output.argmax(dim=1)
    return Case(model, X_test, predicted, X, float((predicted == y_test).float().mean()))


def perceptron(inputs: int, outputs: int, width: int = 48) -> nn.Module:
    return nn.Sequential(nn.Linear(inputs, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, outputs))


def halves(X: np.ndarray, y: np.ndarray, seed: int, *, classes: bool = True) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    order = np.random.default_rng(seed).permutation(len(X))
    cut = int(len(X) * 0.7)
    mean, spread = X[order[:cut]].mean(0), X[order[:cut]].std(0) + 1e-9
    inputs = torch.tensor((X[order] - mean) / spread, dtype=torch.float32)
    targets = torch.tensor(y[order], dtype=torch.long if classes else torch.float32)
    return inputs[:cut], targets[:cut], inputs[cut:], targets[cut:]


def table(name: str, seed: int) -> Case:
    from sklearn import datasets

    found = getattr(datasets, f"load_{name}")()
    classes = name != "diabetes"
    y = found.target if classes else (found.target - found.target.mean()) / found.target.std()
    X, y, X_test, y_test = halves(found.data, y, seed, classes=classes)
    return case(perceptron(X.shape[1], int(y.max()) + 1 if classes else 1), X, y, X_test, y_test, epochs=40)


def linear(seed: int) -> Case:
    """Logistic regression on breast-cancer: the closed form of its attributions is w (x - reference)."""
    from sklearn.datasets import load_breast_cancer

    found = load_breast_cancer()
    return case(nn.Linear(30, 2), *halves(found.data, found.target, seed), epochs=40)


def one_column(seed: int) -> Case:
    """A linear network of twelve columns that looks at one: its exact map is one number and eleven zeros."""
    generator = torch.Generator().manual_seed(seed)
    X = torch.randn(600, 12, generator=generator)
    model = nn.Linear(12, 1).eval()
    with torch.no_grad():
        model.weight.zero_()
        model.weight[0, int(torch.randint(0, 12, (1,), generator=generator))] = 2.0
    return Case(model, X[300:], None, X[:300], 1.0)


def planted_columns(seed: int) -> Case:
    """Twenty columns; four decide: y = 2 x0 - 1.5 x1 + x2 x3, and a class where that is positive."""
    generator = np.random.default_rng(seed)
    X = generator.normal(size=(3000, 20))
    y = (2 * X[:, 0] - 1.5 * X[:, 1] + X[:, 2] * X[:, 3] > 0).astype(int)
    return case(perceptron(20, 2), *halves(X, y, seed), epochs=15)


def four_columns(seed: int) -> Case:
    """Four columns, a number to predict: y = 2 x0 - x1 + x0 x2, and x3 means nothing. Few features leave chance much room."""
    generator = np.random.default_rng(seed)
    X = generator.normal(size=(1500, 4))
    return case(perceptron(4, 1), *halves(X, 2 * X[:, 0] - X[:, 1] + X[:, 0] * X[:, 2], seed, classes=False), epochs=15)


class ImageNetwork(nn.Module):
    def __init__(self, channels: int, classes: int, width: int = 16, *, pooled: bool = True, norm: bool = False) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for inputs, outputs in ((channels, width), (width, 2 * width), (2 * width, 4 * width)):
            layers += [nn.Conv2d(inputs, outputs, 3, padding=1), *([nn.BatchNorm2d(outputs)] if norm else []), nn.ReLU()]
            layers += [nn.MaxPool2d(2)] if outputs != 4 * width else []
        self.features = nn.Sequential(*layers)
        self.pool = nn.AdaptiveAvgPool2d(1) if pooled else nn.Identity()
        self.head = nn.LazyLinear(classes)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.pool(self.features(images)).flatten(1))


def digits(seed: int, *, pooled: bool = False) -> Case:
    from sklearn.datasets import load_digits

    found = load_digits()
    order = np.random.default_rng(seed).permutation(len(found.target))
    X = torch.tensor(found.images[order] / 16, dtype=torch.float32)[:, None]
    y = torch.tensor(found.target[order])
    return case(ImageNetwork(1, 10, pooled=pooled), X[:1300], y[:1300], X[1300:], y[1300:], epochs=12)


def planted_patches(seed: int) -> Case:
    """Noise of 24 x 24 with 6 x 6 stripes of the noise's own size anywhere: their direction is the class. A bright patch means nothing."""
    generator = torch.Generator().manual_seed(seed)
    X = torch.randn(2800, 1, 24, 24, generator=generator)
    y = torch.randint(0, 4, (2800,), generator=generator)
    rows, columns = torch.meshgrid(torch.arange(6), torch.arange(6), indexing="ij")
    stripes = torch.stack([rows % 2, columns % 2, (rows + columns) // 2 % 2, (rows - columns) // 2 % 2]).float() * 2 - 1
    for i in range(2800):
        decisive, bright = (torch.randperm(16, generator=generator)[:2]).tolist()
        r, c = bright // 4 * 6, bright % 4 * 6
        X[i, 0, r : r + 6, c : c + 6] += 2.5
        r, c = decisive // 4 * 6, decisive % 4 * 6
        X[i, 0, r : r + 6, c : c + 6] = stripes[y[i]] + 0.2 * torch.randn(6, 6, generator=generator)
    return case(ImageNetwork(1, 4), X[:2400], y[:2400], X[2400:], y[2400:], epochs=10)


class SequenceNetwork(nn.Module):
    def __init__(self, vocabulary: int, classes: int, kind: type[nn.LSTM] | type[nn.GRU] = nn.LSTM) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, 24, padding_idx=0)
        self.recurrent = kind(24, 32, batch_first=True, bidirectional=True)
        self.head = nn.Linear(64, classes)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.head(self.recurrent(self.embedding(tokens))[0].amax(dim=1))


def planted_words(seed: int) -> Case:
    """Sixteen of forty words; words 1 to 3 speak for class 1, 4 to 6 for class 2, 7 to 9 for class 0, each as often as chance puts them."""
    generator = torch.Generator().manual_seed(seed)
    X = torch.randint(10, 40, (3000, 16), generator=generator)
    y = torch.randint(0, 3, (3000,), generator=generator)
    for i in range(3000):
        places = torch.randperm(16, generator=generator)[:3]
        X[i, places[:2]] = 1 + 3 * ((y[i] - 1) % 3) + torch.randint(0, 3, (2,), generator=generator)
        X[i, places[2]] = 1 + int(torch.randint(0, 9, (1,), generator=generator))
    return case(SequenceNetwork(40, 3), X[:2500], y[:2500], X[2500:], y[2500:], epochs=10)


class SeriesNetwork(nn.Module):
    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.recurrent = nn.GRU(channels, 32, batch_first=True)
        self.head = nn.Linear(32, classes)

    def forward(self, series: Tensor) -> Tensor:  # (N, T, C)
        return self.head(self.recurrent(series)[0].mean(dim=1))


def planted_series(seed: int) -> Case:
    """Noise of 48 steps in two channels; a rise or a fall of eight steps anywhere says the class, as does its channel."""
    generator = torch.Generator().manual_seed(seed)
    X = 0.3 * torch.randn(2400, 48, 2, generator=generator)
    y = torch.randint(0, 3, (2400,), generator=generator)
    ramp = torch.linspace(-1.5, 1.5, 8)
    for i in range(2400):
        start = int(torch.randint(0, 41, (1,), generator=generator))
        X[i, start : start + 8, int(y[i] == 2)] += ramp if y[i] != 1 else -ramp
    return case(SeriesNetwork(2, 3), X[:2000], y[:2000], X[2000:], y[2000:], epochs=15)


def cifar10(folder: Path, seed: int, epochs: int = 4) -> Case:
    """A small CNN with batch normalisation on 20,000 images."""

    def images(name: str) -> np.ndarray:
        mosaic = np.asarray(Image.open(folder / f"{name}.webp").convert("RGB"))
        return mosaic.reshape(100, 32, 100, 32, 3).transpose(0, 2, 1, 3, 4).reshape(-1, 32, 32, 3)

    labels = np.load(folder / "labels.npz")
    mean, spread = torch.tensor([0.4914, 0.4822, 0.4465]), torch.tensor([0.2470, 0.2435, 0.2616])
    X = np.concatenate([images("train_1"), images("train_2")])

    def ready(raw: np.ndarray) -> Tensor:
        return ((torch.from_numpy(np.ascontiguousarray(raw)).float() / 255 - mean) / spread).permute(0, 3, 1, 2).contiguous()

    return case(ImageNetwork(3, 10, 24, norm=True), ready(X), torch.tensor(labels["train"][:20000]).long(),
                ready(images("test")[:2000]), torch.tensor(labels["test"][:2000]).long(), epochs=epochs, batch=128)  # fmt: skip


class ResidualBlock(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.inner = nn.Sequential(nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(),
                                   nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False), nn.BatchNorm2d(outputs))  # fmt: skip
        self.shortcut = nn.Identity() if stride == 1 else nn.Conv2d(inputs, outputs, 1, stride, bias=False)

    def forward(self, images: Tensor) -> Tensor:
        return torch.relu(self.inner(images) + self.shortcut(images))


def residual() -> nn.Module:
    """He et al. 2016, section 4.2: the residual CNN of 20 layers for CIFAR-10, as it is initialised: only its time is measured."""
    torch.manual_seed(3)
    blocks = [ResidualBlock(width // 2 if stride == 2 else width, width, stride)
              for width, strides in ((16, (1, 1, 1)), (32, (2, 1, 1)), (64, (2, 1, 1))) for stride in strides]  # fmt: skip
    stem = [nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU()]
    return nn.Sequential(*stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10)).eval()
