"""Convolution along time, and the transformer's encoder: networks for texts and series that read all steps at once."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pellucid.core.language import text
from pellucid.core.options import Option
from pellucid.networks.activations import build_activation, initialize
from pellucid.networks.attention import MultiHeadAttention
from pellucid.networks.dense import BATCH_NORM, INITIALIZATION
from pellucid.networks.registry import IntegersOption, network
from pellucid.networks.sequences import EMBEDDING_SIZE, POOLING, VOCABULARY, Pooling, SequenceInput, channels_of


class MaskedBatchNorm(nn.BatchNorm1d):
    """Batch normalisation whose statistics are those of the steps that stand, not of padding. (N, C, T), mask (N, 1, T)."""

    def forward(self, input: Tensor, mask: Tensor | None = None) -> Tensor:
        if not self.training:
            return super().forward(input)
        steps = len(input) * input.shape[2] if mask is None else int(mask.sum())
        if steps < 2:  # no variance: the running statistics serve
            return F.batch_norm(input, self.running_mean, self.running_var, self.weight, self.bias, False, 0.0, self.eps)
        if mask is None or steps == mask.numel():  # the quick way, where all steps stand
            return super().forward(input)
        standing = input.transpose(1, 2)[mask[:, 0]]  # (steps that stand, C)
        normalised = super().forward(standing)
        return torch.zeros_like(input).transpose(1, 2).masked_scatter(mask.transpose(1, 2), normalised).transpose(1, 2)


@network(
    "cnn1d",
    options=(
        VOCABULARY,
        EMBEDDING_SIZE,
        IntegersOption("filters", "text", (64, 128, 64), text("kernels of each convolution layer"), "network", minimum=1, maximum=65_536),
        IntegersOption(
            "kernel_size", "text", (7, 5, 3), text("steps that each layer's kernels see; the last holds on"), "network", minimum=1
        ),
        POOLING,
        BATCH_NORM,
        INITIALIZATION,
    ),
)
class TemporalConvolution(nn.Module):
    """Layers of convolution along time, batch normalisation and activation, then a pooling over all steps: no dense layer, any length.

        S[o, t] = b[o] + sum_{c, m} I[c, t + m - p] K[o, c, m],   p = floor((k - 1) / 2) zeros before, k - 1 - p behind

    After every layer padding is set to zero again, as what lies outside of a sequence is.

    Source: Wang, Yan and Oates, Time series classification from scratch, 2017 (filters 128, 256, 128, kernels 8, 5, 3, mean);
    Kim 2014 for texts (one layer, max).
    """

    def __init__(
        self,
        input_shape: tuple[int, ...],
        outputs: int,
        *,
        vocabulary: int = 0,
        embedding_size: int = 64,
        filters: tuple[int, ...] = (64, 128, 64),
        kernel_size: tuple[int, ...] = (7, 5, 3),
        pooling: str = "mean",
        batch_norm: bool = True,
        initialization: str = "auto",
        activation: Any = "relu",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.input = SequenceInput(channels_of("cnn1d", input_shape, vocabulary), vocabulary, embedding_size, dropout)
        channels = self.input.features
        self.convolutions, self.norms, self.activations = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        for number, count in enumerate(filters):
            kernel = kernel_size[min(number, len(kernel_size) - 1)] if kernel_size else 3
            self.convolutions.append(nn.Conv1d(channels, count, kernel, bias=not batch_norm, padding="same"))
            self.norms.append(MaskedBatchNorm(count) if batch_norm else nn.Identity())
            self.activations.append(build_activation(activation))
            channels = count
        self.pooling = Pooling(pooling, channels)
        self.dropout = nn.Dropout(dropout)
        self.output = nn.Linear(self.pooling.features, outputs)
        initialize(self.convolutions, initialization, activation)
        initialize(self.output, initialization, "identity")

    def steps(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens (N, T) or series (N, C, T) -> feature maps (N, T, filters[-1]), mask (N, T)."""
        x, mask = self.input(inputs)
        maps, stands = x.transpose(1, 2), mask[:, None]
        for convolution, norm, activation in zip(self.convolutions, self.norms, self.activations, strict=True):
            maps = convolution(maps * stands)
            maps = activation(norm(maps, stands) if isinstance(norm, MaskedBatchNorm) else norm(maps))
        return (maps * stands).transpose(1, 2), mask

    def forward(self, inputs: Tensor) -> Tensor:
        return self.output(self.dropout(self.pooling(*self.steps(inputs))))  # (N, K)


class ResidualBlock(nn.Module):
    """y = f(N_k K_k * ... f(N_1 K_1 * x) + s(x)): convolutions K with batch normalisation N, and beside them s, which is x itself or, where
    the number of channels changes, N K_s * x with a kernel of one step. (N, C, T) -> (N, O, T), zero where nothing stands."""

    def __init__(self, channels: int, filters: int, kernel_size: tuple[int, ...], activation: Any) -> None:
        super().__init__()
        sizes = [channels, *[filters] * len(kernel_size)]
        self.convolutions = nn.ModuleList(
            nn.Conv1d(before, after, kernel, bias=False, padding="same")
            for before, after, kernel in zip(sizes, sizes[1:], kernel_size, strict=False)
        )
        self.norms = nn.ModuleList(MaskedBatchNorm(filters) for _ in kernel_size)
        self.shortcut = nn.Conv1d(channels, filters, 1, bias=False) if channels != filters else nn.Identity()
        self.shortcut_norm = MaskedBatchNorm(filters) if channels != filters else None
        self.activations = nn.ModuleList(build_activation(activation) for _ in kernel_size)

    def forward(self, maps: Tensor, stands: Tensor) -> Tensor:  # (N, C, T), (N, 1, T)
        beside = self.shortcut(maps)
        if self.shortcut_norm is not None:
            beside = self.shortcut_norm(beside, stands)
        last = len(self.convolutions) - 1
        for place, (convolution, norm, activation) in enumerate(zip(self.convolutions, self.norms, self.activations, strict=True)):
            maps = norm(convolution(maps), stands)
            maps = activation(maps + beside if place == last else maps) * stands
        return maps


@network(
    "resnet1d",
    options=(
        VOCABULARY,
        EMBEDDING_SIZE,
        IntegersOption("filters", "text", (64, 64, 64), text("kernels of each layer of a block, one number for each block"), "network",
                       minimum=1, maximum=65_536),
        IntegersOption("kernel_size", "text", (7, 5, 3), text("steps that the kernels of a block's layers see"), "network", minimum=1),
        POOLING,
        INITIALIZATION,
    ),
)  # fmt: skip
class ResidualTemporalConvolution(nn.Module):
    """Blocks of convolutions along time with a connection past each (see ResidualBlock), a pooling over all steps, z = W pool(y) + b.

    Source: Wang, Yan and Oates, Time series classification from scratch, 2017, section II-C (three blocks, kernels 8, 5, 3).
    """

    def __init__(
        self,
        input_shape: tuple[int, ...],
        outputs: int,
        *,
        vocabulary: int = 0,
        embedding_size: int = 64,
        filters: tuple[int, ...] = (64, 64, 64),
        kernel_size: tuple[int, ...] = (7, 5, 3),
        pooling: str = "mean",
        initialization: str = "auto",
        activation: Any = "relu",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.input = SequenceInput(channels_of("resnet1d", input_shape, vocabulary), vocabulary, embedding_size, dropout)
        sizes = [self.input.features, *filters]
        self.blocks = nn.ModuleList(
            ResidualBlock(before, after, tuple(kernel_size) or (3,), activation) for before, after in pairwise(sizes)
        )
        self.pooling = Pooling(pooling, sizes[-1])
        self.dropout = nn.Dropout(dropout)
        self.output = nn.Linear(self.pooling.features, outputs)
        initialize(self.blocks, initialization, activation)
        initialize(self.output, initialization, "identity")

    def steps(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens (N, T) or series (N, C, T) -> feature maps (N, T, filters[-1]), mask (N, T)."""
        x, mask = self.input(inputs)
        stands = mask[:, None]
        maps = x.transpose(1, 2) * stands
        for block in self.blocks:
            maps = block(maps, stands)
        return maps.transpose(1, 2), mask

    def forward(self, inputs: Tensor) -> Tensor:
        return self.output(self.dropout(self.pooling(*self.steps(inputs))))  # (N, K)


def positions(steps: int, features: int, like: Tensor) -> Tensor:
    """(T, D): sin(t / 10000^(2i / D)) in the even features, cos in the odd ones. Source: Vaswani et al. 2017, section 3.5."""
    rates = torch.exp(-math.log(10_000.0) * torch.arange(0, features, 2, device=like.device) / features)
    angles = torch.arange(steps, device=like.device)[:, None] * rates  # (T, ceil(D / 2))
    return torch.stack([angles.sin(), angles.cos()], 2).flatten(1)[:, :features].to(like.dtype)


class EncoderLayer(nn.Module):
    """x <- x + attention(norm x); x <- x + W_2 f(W_1 norm x). Normalised first, which trains without warm-up (Xiong et al. 2020)."""

    def __init__(self, size: int, heads: int, activation: Any, dropout: float) -> None:
        super().__init__()
        self.first_norm, self.second_norm = nn.LayerNorm(size), nn.LayerNorm(size)
        self.attention = MultiHeadAttention(size, heads, dropout)
        self.feed_forward = nn.Sequential(nn.Linear(size, 4 * size), build_activation(activation), nn.Linear(4 * size, size))
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:  # (N, T, D), (N, T)
        normalised = self.first_norm(x)
        attended, _ = self.attention(normalised, normalised, mask[:, None])
        x = x + self.dropout(attended)
        return x + self.dropout(self.feed_forward(self.second_norm(x)))


@network(
    "transformer",
    options=(
        VOCABULARY,
        Option("size", "integer", 64, text("features of each step"), "network", minimum=1, maximum=65_536),
        Option("heads", "integer", 4, text("attention heads, each with its share of the features"), "network", minimum=1, maximum=1024),
        Option("layers", "integer", 2, text("layers of attention and feed-forward"), "network", minimum=1, maximum=256),
        POOLING,
    ),
)
class TransformerEncoder(nn.Module):
    """Embedded steps with their positions, layers of self-attention and feed-forward (see EncoderLayer), a pooling, z = W pool(x) + b.

    Source: Vaswani et al. 2017, section 3.
    """

    def __init__(
        self,
        input_shape: tuple[int, ...],
        outputs: int,
        *,
        vocabulary: int = 0,
        size: int = 64,
        heads: int = 4,
        layers: int = 2,
        pooling: str = "mean",
        activation: Any = "gelu",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.input = SequenceInput(channels_of("transformer", input_shape, vocabulary), vocabulary, size, dropout)
        self.projection = nn.Identity() if vocabulary else nn.Linear(self.input.features, size)
        self.layers = nn.ModuleList(EncoderLayer(size, heads, activation, dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(size)
        self.pooling = Pooling(pooling, size)
        self.output = nn.Linear(self.pooling.features, outputs)
        initialize(self.output, "auto", "identity")

    def steps(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens (N, T) or series (N, C, T) -> features (N, T, size), mask (N, T)."""
        x, mask = self.input(inputs)
        x = self.projection(x) + positions(x.shape[1], self.norm.normalized_shape[0], x)
        for layer in self.layers:
            x = layer(x, mask)
        return self.norm(x) * mask[..., None], mask

    def forward(self, inputs: Tensor) -> Tensor:
        return self.output(self.pooling(*self.steps(inputs)))  # (N, K)
