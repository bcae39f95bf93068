"""A convolutional network for texts: kernels of several widths side by side, of each the place where it answers most, and beside them a
linear model of single tokens and pairs.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn

from pellucid.core.errors import ModelError
from pellucid.core.language import text
from pellucid.core.options import Option
from pellucid.networks.activations import build_activation, initialize
from pellucid.networks.dense import INITIALIZATION
from pellucid.networks.registry import IntegersOption, network
from pellucid.networks.sequences import EMBEDDING_SIZE, VOCABULARY, Pooling, SequenceInput

_BUCKETS = 2**17  # of hashed pairs: ten thousand sentences hold about seventy thousand
_FACTOR = 1_000_003  # a prime, so that pairs spread evenly over the buckets
_STEP = 10.0  # a pair is met in few batches, and AdamW moves it by about the learning rate in each: this much further


class NgramScores(nn.Module):
    """z_k = s / sqrt(n) sum_g w_{g, k} over the n tokens and runs of up to `order` tokens g of a text: a linear model of what stands in it.

    Runs are hashed into a table of fixed size instead of being listed. The weights start at zero, so that what no training text held
    says nothing. Source: Joulin et al. 2017, Bag of tricks for efficient text classification, section 2.2, with w of one number for
    each class; beside a network, as in Cheng et al. 2016, Wide and deep learning.
    """

    def __init__(self, vocabulary: int, order: int, outputs: int) -> None:
        super().__init__()
        self.order = order
        self.tokens = nn.Embedding(vocabulary, outputs)
        self.runs = nn.ModuleList(nn.Embedding(_BUCKETS, outputs) for _ in range(2, order + 1))
        for table in (self.tokens, *self.runs):
            nn.init.zeros_(cast("nn.Embedding", table).weight)

    def forward(self, inputs: Tensor) -> Tensor:  # (N, T) -> (N, K)
        stands, hashed = inputs != 0, inputs
        scores, count = (self.tokens(inputs) * stands[..., None]).sum(1), stands.sum(1)
        for length, table in enumerate(self.runs, start=2):
            last = inputs[:, length - 1 :]  # the last token of each run (N, T - length + 1)
            hashed, stands = hashed[:, : last.shape[1]] * _FACTOR + last, last != 0
            scores = scores + (table(1 + hashed % (_BUCKETS - 1)) * stands[..., None]).sum(1)
            count = count + stands.sum(1)
        return scores * (_STEP / count.clamp(min=1).sqrt())[:, None]


@network(
    "text_cnn",
    options=(
        VOCABULARY,
        EMBEDDING_SIZE,
        Option("filters", "integer", 50, text("kernels of each width"), "network", minimum=1, maximum=65_536),
        IntegersOption("kernel_size", "text", (3, 4, 5), text("tokens that a kernel sees, one size for each group"), "network", minimum=1),
        Option("ngrams", "integer", 2, text("longest run of tokens that a linear model beside the kernels knows; 0: none"), "network",
               minimum=0, maximum=5),
        INITIALIZATION,
    ),
)  # fmt: skip
class TextCNN(nn.Module):
    """c_k = max_t f(b_k + sum_{m, d} K_k[d, m] e_{t+m}[d]) over all places t of a text with embeddings e_1 ... e_T, for kernels of several
    widths; z = W [c_1 ... c_K] + b + z(n-grams). A kernel that has learnt "not very good" answers wherever it stands.

    Dropout acts on the embeddings and on c. The scores of `NgramScores` are added: what single words and pairs say is learnt at once, and
    the kernels learn the rest (benchmarks/LOG.md, "Texts").

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
        filters: int = 50,
        kernel_size: tuple[int, ...] = (3, 4, 5),
        ngrams: int = 2,
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
        self.ngrams = NgramScores(vocabulary, ngrams, outputs) if ngrams else None
        initialize(self.convolutions, initialization, activation)
        initialize(self.output, initialization, "identity")

    def forward(self, inputs: Tensor) -> Tensor:  # (N, T)
        embedded, mask = self.input(inputs)  # (N, T, D), (N, T)
        steps = (embedded * mask[..., None]).transpose(1, 2)
        found = [self.activation(convolution(steps))[..., : steps.shape[2]].transpose(1, 2) for convolution in self.convolutions]
        scores = self.output(self.dropout(torch.cat([self.pooling(maps, mask) for maps in found], 1)))  # (N, K)
        return scores if self.ngrams is None else scores + self.ngrams(inputs)
