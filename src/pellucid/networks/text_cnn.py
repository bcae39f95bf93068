"""A convolutional network for short texts: kernels of several widths side by side, and of each the place where it answers most."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from pellucid.core.errors import ModelError
from pellucid.core.language import text
from pellucid.core.options import Option
from pellucid.networks.activations import build_activation, initialize
from pellucid.networks.dense import INITIALIZATION
from pellucid.networks.registry import IntegersOption, network
from pellucid.networks.sequences import EMBEDDING_SIZE, VOCABULARY, Pooling, SequenceInput


@network(
    "text_cnn",
    options=(
        VOCABULARY,
        EMBEDDING_SIZE,
        Option("filters", "integer", 100, text("kernels of each width"), "network", minimum=1, maximum=65_536),
        IntegersOption("kernel_size", "text", (3, 4, 5), text("tokens that a kernel sees, one size for each group"), "network", minimum=1),
        INITIALIZATION,
    ),
)  # fmt: skip
class TextCNN(nn.Module):
    """c_k = max_t f(b_k + sum_{m, d} K_k[d, m] e_{t+m}[d]) over all places t of a text with embeddings e_1 ... e_T, for kernels of several
    widths; z = W [c_1 ... c_K] + b. A kernel that has learnt "not very good" answers wherever it stands.

    Dropout acts on the embeddings and on c.

    Source: Kim 2014, Convolutional neural networks for sentence classification, equations 2 to 4.

    Raises:
        ModelError: inputs that are no texts.
    """

    def __init__(
        self,
        input_shape: tuple[int, ...],
        outputs: int,
        *,
        vocabulary: int = 0,
        embedding_size: int = 128,
        filters: int = 100,
        kernel_size: tuple[int, ...] = (3, 4, 5),
        initialization: str = "auto",
        activation: Any = "relu",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if not vocabulary or len(input_shape) != 1:
            raise ModelError(
                text("network is {network} and one input has shape {shape}", network="text_cnn", shape=str(tuple(input_shape))),
                text("texts"),
                text("choose network cnn1d for series, or mlp"),
            )
        self.input = SequenceInput(0, vocabulary, embedding_size, dropout)
        self.convolutions = nn.ModuleList(nn.Conv1d(embedding_size, filters, width, padding=width // 2) for width in kernel_size)
        self.activation = build_activation(activation)
        self.pooling = Pooling("max", filters)
        self.dropout = nn.Dropout(dropout)
        self.output = nn.Linear(filters * len(kernel_size), outputs)
        initialize(self.convolutions, initialization, activation)
        initialize(self.output, initialization, "identity")

    def forward(self, inputs: Tensor) -> Tensor:  # (N, T)
        embedded, mask = self.input(inputs)  # (N, T, D), (N, T)
        steps = (embedded * mask[..., None]).transpose(1, 2)
        found = [self.activation(convolution(steps))[..., : steps.shape[2]].transpose(1, 2) for convolution in self.convolutions]
        return self.output(self.dropout(torch.cat([self.pooling(maps, mask) for maps in found], 1)))  # (N, K)
