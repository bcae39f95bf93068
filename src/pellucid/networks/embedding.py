"""A multilayer perceptron for tables: each column is embedded by itself before the columns meet."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pellucid.core.errors import ModelError
from pellucid.core.language import text
from pellucid.core.options import Option
from pellucid.networks.activations import build_activation, initialize
from pellucid.networks.dense import BATCH_NORM, INITIALIZATION, hidden_layers
from pellucid.networks.registry import IntegersOption, network


class ColumnEmbedding(nn.Module):
    """z_j = W_j x_j + b_j for each column j, side by side; x_j (N, d_j) are the inputs that come of column j.

    One product with a matrix that holds the W_j along its diagonal and zeros elsewhere: for the few hundred inputs of a table this is
    faster than a product for each column. The W_j are drawn from U(-1 / sqrt(d_j), 1 / sqrt(d_j)), as torch.nn.Linear draws its own.
    """

    of_column: Tensor

    def __init__(self, columns: tuple[int, ...], size: int) -> None:
        super().__init__()
        column = torch.repeat_interleave(torch.arange(len(columns)), torch.tensor(columns))  # (F,)
        block = torch.arange(len(columns)).repeat_interleave(size)[:, None] == column  # (C * size, F)
        bound = torch.tensor(columns, dtype=torch.float32).rsqrt()  # (C,)
        self.weight = nn.Parameter((torch.rand(block.shape) * 2 - 1) * bound[column] * block)
        self.bias = nn.Parameter((torch.rand(len(block)) * 2 - 1) * bound.repeat_interleave(size))
        self.register_buffer("of_column", block.float(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:  # (N, F)
        return F.linear(x, self.weight * self.of_column, self.bias)  # (N, C * size)


@network(
    "embedding_mlp",
    options=(
        IntegersOption("columns", "text", (), text("how many inputs each column of the table has"), "network", minimum=1),
        Option("embedding_size", "integer", 8, text("numbers that each column becomes"), "network", minimum=1, maximum=1024),
        IntegersOption("hidden", "text", (256,), text("units of each hidden layer"), "network", minimum=1, maximum=1_000_000),
        BATCH_NORM,
        INITIALIZATION,
    ),
)
class EmbeddingMLP(nn.Module):
    """e_j = f(W_j x_j + b_j) for each column j of the table, a_0 = [e_1 ... e_C], then hidden layers and scores as in `mlp`.

    x_j is what the table's preprocessing makes of column j: a number with its piecewise linear encoding, or the one-hot vector of a
    category, whose embedding is then a column of W_j. A hidden unit of `mlp` sees all columns at once; here the shape of the dependence on
    each is learnt first, and what they do together by the layers behind. On adult and California housing that closed the distance to
    gradient boosting (benchmarks/LOG.md, "Embeddings of columns").

    Source: Gorishniy, Rubachev, Babenko, On Embeddings for Numerical Features in Tabular Deep Learning, NeurIPS 2022, sections 3.2 and 3.4.
    """

    def __init__(
        self,
        input_shape: tuple[int, ...],
        outputs: int,
        *,
        columns: tuple[int, ...] = (),
        embedding_size: int = 8,
        hidden: tuple[int, ...] = (256,),
        batch_norm: bool = False,
        initialization: str = "auto",
        activation: Any = "relu",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        features = math.prod(input_shape)
        columns = columns or (1,) * features
        if sum(columns) != features:
            raise ModelError(
                text("columns with {got} inputs together, and {features} inputs", got=sum(columns), features=features),
                text("the number of inputs of each column, in their order"),
                text("leave columns out: a table's are known"),
            )
        self.flatten = nn.Flatten()
        self.embedding = ColumnEmbedding(columns, embedding_size)
        self.activation = build_activation(activation)
        layers, width = hidden_layers(len(columns) * embedding_size, hidden, activation, dropout, batch_norm)
        self.hidden = nn.Sequential(*layers)
        self.output = nn.Linear(width, outputs)
        initialize(self.hidden, initialization, activation)
        initialize(self.output, initialization, "identity")

    def forward(self, inputs: Tensor) -> Tensor:  # (N, *input_shape)
        x = self.flatten(inputs)  # (N, F)
        e = self.activation(self.embedding(x))  # (N, C * size)
        a = self.hidden(e)  # (N, hidden[-1])
        return self.output(a)  # (N, K)
