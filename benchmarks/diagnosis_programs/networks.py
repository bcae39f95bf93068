"""Networks as people write them, each in a style of its own, with the places at which a fault can be put in.

`Design` says what is to be different; a network without faults is `Design()`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F


@dataclass(frozen=True, kw_only=True)
class Design:
    """What a network has in its places."""

    hidden: str | None = "relu"  # activation of hidden layers
    output: str | None = None  # what is done to the last layer's result
    detach: str | None = None  # "early" or "late": a result is cut from the graph
    extra: int = 0  # further hidden layers before the head
    width: float = 1.0  # times as many units in the hidden layers
    outputs: int | None = None  # another number of outputs
    dropout: float | None = None  # in the place of the network's own
    mixing: bool = False  # samples of a batch are mixed by a reshape
    always_drop: float = 0.0  # F.dropout without training=self.training
    initialise: Callable[[nn.Module], None] | None = None
    freeze: tuple[str, ...] = ()  # beginnings of names of parameters that get requires_grad=False


MODULES: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU, "sigmoid": nn.Sigmoid, "tanh": nn.Tanh, "gelu": nn.GELU, "leaky_relu": partial(nn.LeakyReLU, 0.1),
    "elu": nn.ELU, "silu": nn.SiLU, "softplus": nn.Softplus, "softmax": partial(nn.Softmax, dim=1),
    "log_softmax": partial(nn.LogSoftmax, dim=1), "softmax_batch": partial(nn.Softmax, dim=0),
    "log_softmax_batch": partial(nn.LogSoftmax, dim=0), "softsign": nn.Softsign, "hardtanh": nn.Hardtanh,
}  # fmt: skip
FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": F.relu, "sigmoid": torch.sigmoid, "tanh": torch.tanh, "gelu": F.gelu, "leaky_relu": partial(F.leaky_relu, negative_slope=0.1),
    "elu": F.elu, "silu": F.silu, "softplus": F.softplus, "softmax": lambda x: F.softmax(x, dim=1),
    "log_softmax": lambda x: F.log_softmax(x, dim=1), "softmax_batch": lambda x: torch.softmax(x, dim=0),
    "log_softmax_batch": lambda x: torch.log_softmax(x, 0), "softsign": F.softsign, "hardtanh": F.hardtanh,
    "scaled_tanh": lambda x: 10 * torch.tanh(x),
}  # fmt: skip


def finished(model: nn.Module, design: Design) -> nn.Module:
    """Own first weights, and what is frozen."""
    if design.initialise is not None:
        with torch.no_grad():
            model.apply(design.initialise)
    for name, parameter in model.named_parameters():
        if design.freeze and name.startswith(design.freeze):
            parameter.requires_grad_(False)
    return model


def through(name: str | None, x: Tensor) -> Tensor:
    return x if name is None else FUNCTIONS[name](x)


def mixed(x: Tensor) -> Tensor:
    """What looks like a reordering of axes, and spreads each sample over the batch."""
    return x.t().contiguous().view(x.shape)


def sized(number: int, design: Design) -> int:
    return max(1, round(number * design.width))


def sequential(inputs: int, hidden: tuple[int, ...], outputs: int, design: Design) -> nn.Module:
    """One nn.Sequential; no class at all."""
    layers: list[nn.Module] = []
    last = inputs
    for width in [*hidden, *[hidden[-1]] * design.extra]:
        layers.append(nn.Linear(last, sized(width, design)))
        last = sized(width, design)
        layers += [MODULES[design.hidden]()] if design.hidden else []
        layers += [nn.Dropout(design.dropout)] if design.dropout else []
    layers.append(nn.Linear(last, design.outputs or outputs))
    layers += [MODULES[design.output]()] if design.output else []
    if design.detach or design.mixing or design.always_drop:
        return Patched(layers, design)
    return nn.Sequential(*layers)


class Patched(nn.Module):
    """The same layers in a loop, where something is done between them."""

    def __init__(self, layers: list[nn.Module], design: Design) -> None:
        super().__init__()
        self.layers, self.design = nn.ModuleList(layers), design

    def forward(self, x: Tensor) -> Tensor:
        linear = [place for place, layer in enumerate(self.layers) if isinstance(layer, nn.Linear)]
        for place, layer in enumerate(self.layers):
            if place == linear[-1]:
                x = mixed(x) if self.design.mixing else x
                x = F.dropout(x, self.design.always_drop) if self.design.always_drop else x
                x = x.detach() if self.design.detach == "late" else x
            if place == linear[1] and self.design.detach == "early":
                x = x.detach()
            x = layer(x)
        return x


class Functional(nn.Module):
    """Layers by number, activations as functions in forward()."""

    def __init__(self, inputs: int, hidden: tuple[int, int], outputs: int, design: Design) -> None:
        super().__init__()
        self.design = design
        first, second = (sized(width, design) for width in hidden)
        self.fc1 = nn.Linear(inputs, first)
        self.fc2 = nn.Linear(first, second)
        self.more = nn.ModuleList(nn.Linear(second, second) for _ in range(design.extra))
        self.out = nn.Linear(second, design.outputs or outputs)

    def forward(self, x: Tensor) -> Tensor:
        design = self.design
        x = x.flatten(1)
        x = through(design.hidden, self.fc1(x))
        if design.detach == "early":
            x = x.detach()
        x = through(design.hidden, self.fc2(x))
        for layer in self.more:
            x = through(design.hidden, layer(x))
        x = F.dropout(x, design.dropout, training=self.training) if design.dropout else x
        x = F.dropout(x, design.always_drop) if design.always_drop else x
        x = mixed(x) if design.mixing else x
        if design.detach == "late":
            x = x.data
        return through(design.output, self.out(x))


class LayerBlock(nn.Module):
    def __init__(self, inputs: int, outputs: int, activation: str | None) -> None:
        super().__init__()
        self.linear, self.norm, self.activation = nn.Linear(inputs, outputs), nn.LayerNorm(outputs), activation

    def forward(self, x: Tensor) -> Tensor:
        return through(self.activation, self.norm(self.linear(x)))


class Nested(nn.Module):
    """Blocks in an encoder, a head of its own; layer normalisation."""

    def __init__(self, inputs: int, width: int, outputs: int, design: Design, *, norm: bool = False) -> None:
        super().__init__()
        width = sized(width, design)
        block = partial(LayerBlock, activation=design.hidden) if norm else partial(PlainBlock, activation=design.hidden)
        self.encoder = nn.Sequential(block(inputs, width), *[block(width, width) for _ in range(1 + design.extra)])
        self.dropout = nn.Dropout(design.dropout or 0.0)
        self.head = nn.Linear(width, design.outputs or outputs)
        self.design = design

    def forward(self, x: Tensor) -> Tensor:
        if self.design.detach == "late":
            with torch.no_grad():
                hidden = self.encoder(x)
        elif self.design.detach == "early":
            hidden = self.encoder[1:](self.encoder[0](x).detach())
        else:
            hidden = self.encoder(x)
        hidden = mixed(hidden) if self.design.mixing else hidden
        hidden = F.dropout(hidden, self.design.always_drop) if self.design.always_drop else hidden
        return through(self.design.output, self.head(self.dropout(hidden)))


class PlainBlock(nn.Module):
    def __init__(self, inputs: int, outputs: int, activation: str | None) -> None:
        super().__init__()
        self.linear = nn.Linear(inputs, outputs)
        self.activation = MODULES[activation]() if activation else None

    def forward(self, x: Tensor) -> Tensor:
        x = self.linear(x)
        return x if self.activation is None else self.activation(x)


def convolutional(channels: int, size: int, outputs: int, design: Design, *, norm: bool) -> nn.Module:
    """Two convolutions in one nn.Sequential."""
    first, second, side = sized(12, design), sized(24, design), size // 4

    def block(inward: int, outward: int) -> list[nn.Module]:
        return [
            nn.Conv2d(inward, outward, 3, padding=1),
            *([nn.BatchNorm2d(outward)] if norm else []),
            *([MODULES[design.hidden]()] if design.hidden else []),
            nn.MaxPool2d(2),
        ]

    layers = [*block(channels, first), *block(first, second), nn.Flatten()]
    wide = second * side * side
    for _ in range(design.extra + 1):
        layers += [nn.Linear(wide, sized(48, design)), *([MODULES[design.hidden]()] if design.hidden else [])]
        wide = sized(48, design)
    layers += [nn.Dropout(design.dropout)] if design.dropout else []
    layers += [nn.Linear(wide, design.outputs or outputs), *([MODULES[design.output]()] if design.output else [])]
    if design.detach or design.mixing or design.always_drop:
        return Patched2d(layers, design)
    return nn.Sequential(*layers)


class Patched2d(nn.Module):
    """Convolutions and the classifier apart, something done between them."""

    def __init__(self, layers: list[nn.Module], design: Design) -> None:
        super().__init__()
        flat = next(place for place, layer in enumerate(layers) if isinstance(layer, nn.Flatten))
        self.features, self.classifier, self.design = nn.Sequential(*layers[: flat + 1]), nn.Sequential(*layers[flat + 1 :]), design

    def forward(self, x: Tensor) -> Tensor:
        x = self.features(x)
        if self.design.detach == "early":
            x = x.detach()
        if self.design.mixing:
            x = mixed(x)
        if self.design.always_drop:
            x = F.dropout(x, self.design.always_drop)
        if self.design.detach == "late":
            x = self.classifier[:-1](x).detach()
            return self.classifier[-1](x)
        return self.classifier(x)


class FunctionalConvolutional(nn.Module):
    """conv1, conv2, fc1, fc2, as in the first tutorials."""

    def __init__(self, size: int, outputs: int, design: Design) -> None:
        super().__init__()
        self.design = design
        self.conv1 = nn.Conv2d(1, sized(10, design), 3, padding=1)
        self.conv2 = nn.Conv2d(sized(10, design), sized(20, design), 3, padding=1)
        self.fc1 = nn.Linear(sized(20, design) * (size // 4) ** 2, sized(40, design))
        self.more = nn.ModuleList(nn.Linear(sized(40, design), sized(40, design)) for _ in range(design.extra))
        self.fc2 = nn.Linear(sized(40, design), design.outputs or outputs)

    def forward(self, x: Tensor) -> Tensor:
        design = self.design
        x = F.max_pool2d(through(design.hidden, self.conv1(x)), 2)
        if design.detach == "early":
            x = x.detach()
        x = F.max_pool2d(through(design.hidden, self.conv2(x)), 2)
        x = torch.flatten(x, 1)
        x = mixed(x) if design.mixing else x
        x = through(design.hidden, self.fc1(x))
        for layer in self.more:
            x = through(design.hidden, layer(x))
        x = F.dropout(x, design.dropout, training=self.training) if design.dropout else x
        x = F.dropout(x, design.always_drop) if design.always_drop else x
        x = x.detach() if design.detach == "late" else x
        return through(design.output, self.fc2(x))


class ResidualBlock(nn.Module):
    def __init__(self, channels: int, activation: str | None) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(channels, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels)
        self.conv2, self.bn2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels)
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        out = through(self.activation, self.bn1(self.conv1(x)))
        return through(self.activation, x + self.bn2(self.conv2(out)))


class Residual(nn.Module):
    """stem, layer1, layer2, fc."""

    def __init__(self, outputs: int, design: Design) -> None:
        super().__init__()
        width = sized(12, design)
        self.design = design
        self.stem = nn.Conv2d(1, width, 3, stride=2, padding=1)
        self.layer1, self.layer2 = ResidualBlock(width, design.hidden), ResidualBlock(width, design.hidden)
        self.more = nn.ModuleList(nn.Linear(width * 9, width * 9) for _ in range(design.extra))
        self.fc = nn.Linear(width * 9, design.outputs or outputs)

    def forward(self, x: Tensor) -> Tensor:
        design = self.design
        x = self.layer1(through(design.hidden, self.stem(x)))
        if design.detach == "early":
            x = x.detach()
        x = F.max_pool2d(x, 2)
        x = F.adaptive_avg_pool2d(self.layer2(x), 3).flatten(1)
        x = mixed(x) if design.mixing else x
        for layer in self.more:
            x = through(design.hidden, layer(x))
        x = F.dropout(x, design.dropout, self.training) if design.dropout else x
        x = F.dropout(x, design.always_drop) if design.always_drop else x
        x = x.detach() if design.detach == "late" else x
        return through(design.output, self.fc(x))


class Recurrent(nn.Module):
    """rnn, then a small head on its last state."""

    def __init__(self, kind: Any, features: int, outputs: int, design: Design, *, vocabulary: int = 0) -> None:
        super().__init__()
        width = sized(24, design)
        self.design = design
        self.embedding = nn.Embedding(vocabulary, features) if vocabulary else nn.Identity()
        self.rnn = kind(features, width, batch_first=True)
        self.hidden = nn.Linear(width, width)
        self.more = nn.ModuleList(nn.Linear(width, width) for _ in range(design.extra))
        self.head = nn.Linear(width, design.outputs or outputs)

    def forward(self, x: Tensor) -> Tensor:
        design = self.design
        x = self.embedding(x)
        states, _ = self.rnn(x)
        x = states[:, -1]
        if design.detach == "early":
            x = x.detach()
        x = mixed(x) if design.mixing else x
        x = through(design.hidden, self.hidden(x))
        for layer in self.more:
            x = through(design.hidden, layer(x))
        x = F.dropout(x, design.dropout, self.training) if design.dropout else x
        x = F.dropout(x, design.always_drop) if design.always_drop else x
        x = x.detach() if design.detach == "late" else x
        return through(design.output, self.head(x))


class Convolutional1d(nn.Module):
    """conv blocks made in a loop, mean over time."""

    def __init__(self, channels: int, outputs: int, design: Design) -> None:
        super().__init__()
        width = sized(16, design)
        self.design = design
        self.convs = nn.ModuleList([nn.Conv1d(channels, width, 7, padding=3), nn.Conv1d(width, width, 5, padding=2)])
        self.norms = nn.ModuleList([nn.BatchNorm1d(width), nn.BatchNorm1d(width)])
        self.more = nn.ModuleList(nn.Linear(width, width) for _ in range(design.extra))
        self.classifier = nn.Linear(width, design.outputs or outputs)

    def forward(self, x: Tensor) -> Tensor:
        design = self.design
        for number, (conv, norm) in enumerate(zip(self.convs, self.norms, strict=True)):
            x = F.avg_pool1d(through(design.hidden, norm(conv(x))), 2)
            if number == 0 and design.detach == "early":
                x = x.detach()
        x = x.mean(2)
        x = mixed(x) if design.mixing else x
        for layer in self.more:
            x = through(design.hidden, layer(x))
        x = F.dropout(x, design.dropout, self.training) if design.dropout else x
        x = F.dropout(x, design.always_drop) if design.always_drop else x
        x = x.detach() if design.detach == "late" else x
        return through(design.output, self.classifier(x))


class BagOfWords(nn.Module):
    """The mean of the words' vectors, two layers."""

    def __init__(self, vocabulary: int, outputs: int, design: Design) -> None:
        super().__init__()
        self.design = design
        self.embedding = nn.Embedding(vocabulary, 24, padding_idx=0)
        self.fc1 = nn.Linear(24, sized(32, design))
        self.more = nn.ModuleList(nn.Linear(sized(32, design), sized(32, design)) for _ in range(design.extra))
        self.fc2 = nn.Linear(sized(32, design), design.outputs or outputs)

    def forward(self, tokens: Tensor) -> Tensor:
        design = self.design
        known = (tokens != 0).unsqueeze(-1)
        x = (self.embedding(tokens) * known).sum(1) / known.sum(1).clamp(min=1)
        if design.detach == "early":
            x = x.detach()
        x = mixed(x) if design.mixing else x
        x = through(design.hidden, self.fc1(x))
        for layer in self.more:
            x = through(design.hidden, layer(x))
        x = F.dropout(x, design.dropout, self.training) if design.dropout else x
        x = F.dropout(x, design.always_drop) if design.always_drop else x
        x = x.detach() if design.detach == "late" else x
        return through(design.output, self.fc2(x))


class Attention(nn.Module):
    """Self-attention by hand, two heads."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.query, self.key, self.value, self.mix = (nn.Linear(width, width) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        batch, time, width = x.shape
        query, key, value = (part(x).view(batch, time, 2, width // 2).transpose(1, 2) for part in (self.query, self.key, self.value))
        weights = torch.softmax(query @ key.transpose(-2, -1) / math.sqrt(width // 2), dim=-1)
        return self.mix((weights @ value).transpose(1, 2).reshape(batch, time, width))


class TransformerBlock(nn.Module):
    def __init__(self, width: int, activation: str | None) -> None:
        super().__init__()
        self.norm1, self.attention, self.norm2 = nn.LayerNorm(width), Attention(width), nn.LayerNorm(width)
        self.up, self.down, self.activation = nn.Linear(width, 2 * width), nn.Linear(2 * width, width), activation

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.norm1(x))
        return x + self.down(through(self.activation, self.up(self.norm2(x))))


class Transformer(nn.Module):
    """Words and places, one block, the mean over words."""

    def __init__(self, vocabulary: int, length: int, outputs: int, design: Design) -> None:
        super().__init__()
        self.design = design
        self.words, self.places = nn.Embedding(vocabulary, 24), nn.Parameter(0.02 * torch.randn(length, 24))
        self.block = TransformerBlock(24, design.hidden)
        self.more = nn.ModuleList(nn.Linear(24, 24) for _ in range(design.extra))
        self.norm, self.head = nn.LayerNorm(24), nn.Linear(24, design.outputs or outputs)

    def forward(self, tokens: Tensor) -> Tensor:
        design = self.design
        x = self.words(tokens) + self.places
        if design.detach == "early":
            x = x.detach()
        x = self.norm(self.block(x)).mean(1)
        x = mixed(x) if design.mixing else x
        for layer in self.more:
            x = through(design.hidden, layer(x))
        x = F.dropout(x, design.dropout, self.training) if design.dropout else x
        x = F.dropout(x, design.always_drop) if design.always_drop else x
        x = x.detach() if design.detach == "late" else x
        return through(design.output, self.head(x))
