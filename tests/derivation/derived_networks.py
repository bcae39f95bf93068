"""Networks of every kind whose whole training step is derived in tests: small, but each with what makes its kind special."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def mlp(dropout: float = 0.0) -> nn.Module:
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Dropout(dropout), nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 3))


class LeNet(nn.Module):
    """LeCun et al. 1998, with average pooling and tanh."""

    def __init__(self) -> None:
        super().__init__()
        self.c1, self.c3 = nn.Conv2d(1, 3, 5, padding=2), nn.Conv2d(3, 5, 5)
        self.f5, self.f6, self.output = nn.Linear(5 * 4, 12), nn.Linear(12, 9), nn.Linear(9, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = F.avg_pool2d(torch.tanh(self.c1(x)), 2)
        x = F.max_pool2d(torch.tanh(self.c3(x)), 2)
        x = torch.tanh(self.f5(torch.flatten(x, 1)))
        return self.output(torch.tanh(self.f6(x)))


class Block(nn.Module):
    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, after, 3, stride, 1, bias=False)
        self.conv2 = nn.Conv2d(after, after, 3, 1, 1, bias=False)
        self.bn1, self.bn2 = nn.BatchNorm2d(after), nn.BatchNorm2d(after)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = nn.Sequential()
        if stride != 1 or before != after:
            self.downsample = nn.Sequential(nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after))

    def forward(self, x: Tensor) -> Tensor:
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        out += self.downsample(x)
        return self.relu(out)


class ResidualCNN(nn.Module):
    """He et al. 2016: blocks per stage and channels of the first; [2, 2, 2, 2] and 64 are its 18 layers."""

    def __init__(self, blocks: tuple[int, ...] = (1, 1), channels: int = 4, classes: int = 5) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, channels, 3, 1, 1, bias=False), nn.BatchNorm2d(channels)
        stages, width = [], channels
        for stage, count in enumerate(blocks):
            for position in range(count):
                after = channels * 2**stage
                stages.append(Block(width, after, 2 if stage and not position else 1))
                width = after
        self.stages, self.dropout, self.fc = nn.Sequential(*stages), nn.Dropout(0.3), nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stages(F.relu(self.bn1(self.conv1(x)), inplace=True))
        x = F.adaptive_avg_pool2d(x, 1).flatten(1)
        return self.fc(self.dropout(x))


class Tied(nn.Module):
    """An autoencoder whose decoder is its encoder transposed, and an activation used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Linear(5, 3)
        self.decoder = nn.Linear(3, 5)
        self.decoder.weight = nn.Parameter(self.encoder.weight.detach().T.clone())
        self.again = nn.Linear(5, 3)
        self.again.weight = self.encoder.weight
        self.act = nn.Sigmoid()

    def forward(self, x: Tensor) -> Tensor:
        code = self.act(self.encoder(x))
        return self.act(self.decoder(code)) + F.linear(code, self.encoder.weight.T) + F.linear(self.again(x), self.encoder.weight.t())


class TwoHeads(nn.Module):
    """Nested inputs, several outputs; one of them takes no part in the loss."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk, self.first, self.second, self.unused = nn.Linear(4, 6), nn.Linear(6, 2), nn.Linear(6, 1), nn.Linear(6, 1)

    def forward(self, parts: dict[str, list[Tensor]], scale: float, *, offset: Tensor | None = None) -> dict[str, Tensor]:
        x = torch.cat(parts["left"] + parts["right"], dim=1) * scale
        h = torch.relu(self.trunk(x if offset is None else x + offset))
        return {"first": self.first(h), "second": self.second(h), "unused": self.unused(h)}


def images(n: int = 3, channels: int = 1, size: int = 16) -> Tensor:
    return torch.randn(n, channels, size, size)
