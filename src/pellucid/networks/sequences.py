"""What networks for sequences share: inputs of unequal length side by side, and how the steps of one become one vector.

A batch is either tokens (N, T), whole numbers in which 0 is padding, or series (N, C, T), numbers in which NaN is padding; padding stands
at the end. An image (N, 1, H, W) is a series of W steps with H numbers each. All become features (N, T, D), zero where there is padding,
and a mask (N, T) that is True where there is none. How long the padding is never reaches an answer: each network here keeps that promise,
and the tests hold it to it.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pellucid.core.errors import ModelError
from pellucid.core.language import text
from pellucid.core.options import Option
from pellucid.networks.attention import AdditiveAttention

VOCABULARY = Option("vocabulary", "integer", 0, text("how many tokens there are, padding included; 0: the inputs are numbers"), "network")
EMBEDDING_SIZE = Option("embedding_size", "integer", 64, text("numbers that each token becomes"), "network", minimum=1, maximum=65_536)
POOLINGS = ("last", "mean", "max", "attention", "pyramid")
PYRAMID = (1, 2, 4)  # into how many equal parts a sequence is cut on each level: He et al. 2014, section 2.2, with 4 for 6 and 2 for 3
POOLING = Option("pooling", "choice", "mean", text("how the steps of a sequence become one vector"), "network", choices=POOLINGS)


def channels_of(name: str, input_shape: tuple[int, ...], vocabulary: int) -> int:
    """C of series (C, T), or of images (1, C, T); 0 for tokens (T,).

    Raises:
        ModelError: inputs that are neither.
    """
    if vocabulary and len(input_shape) == 1:
        return 0
    if not vocabulary and (len(input_shape) == 2 or (len(input_shape) == 3 and input_shape[0] == 1)):
        return input_shape[-2]
    raise ModelError(
        text("network is {network} and one input has shape {shape}", network=name, shape=str(tuple(input_shape))),
        text("series of shape (channels, steps), or texts"),
        text("give arrays of shape (N, channels, steps), or choose network mlp"),
    )


class SequenceInput(nn.Module):
    """Tokens (N, T) through an embedding, or series (N, C, T) as they are -> features (N, T, D), mask (N, T)."""

    def __init__(self, channels: int, vocabulary: int, embedding_size: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, embedding_size, padding_idx=0) if vocabulary else None
        if self.embedding is not None:  # small at first: tokens seen once or twice then say little; from N(0, 1) they are learnt by heart
            nn.init.uniform_(self.embedding.weight, -0.1, 0.1)
            self.embedding.weight.data[0] = 0.0
        self.dropout = nn.Dropout(dropout)  # of whole features of a step's embedding
        self.features = embedding_size if vocabulary else channels

    def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        if self.embedding is not None:
            mask = inputs != 0
            return self.dropout(self.embedding(inputs)), mask
        inputs = inputs[:, 0] if inputs.ndim == 4 else inputs
        mask = ~inputs.isnan().all(1)  # (N, T)
        return torch.nan_to_num(inputs).transpose(1, 2), mask


def lengths_of(mask: Tensor) -> Tensor:
    """(N,) how many steps, padding at the end not counted; what is missing within a sequence counts."""
    steps = torch.arange(1, mask.shape[1] + 1, device=mask.device)
    return (mask * steps).amax(1) if mask.shape[1] else mask.sum(1)


class Pooling(nn.Module):
    """Steps (N, T, D) and mask (N, T) -> (N, D): the last step's features, their mean or maximum, or an attention's weighted mean; or
    (N, 7 D), a pyramid: the means of the whole, of its two halves and of its four quarters, side by side, so that where something stands is
    not lost.

    Attention asks with a query that is learnt with the network: score(h_t) = v . tanh(W h_t). Source: Yang et al. 2016, equations 5 to 7.
    Pyramid: He et al. 2014, Spatial pyramid pooling, section 2.2, along time.
    """

    def __init__(self, kind: str, features: int) -> None:
        super().__init__()
        self.kind = kind
        self.features = features * (sum(PYRAMID) if kind == "pyramid" else 1)  # of the vector
        self.attention = AdditiveAttention(1, features, features) if kind == "attention" else None

    def forward(self, steps: Tensor, mask: Tensor) -> Tensor:
        if self.kind == "last":
            last = (lengths_of(mask) - 1).clamp(min=0)
            return steps[torch.arange(len(steps), device=steps.device), last]
        if self.attention is not None:
            pooled, _ = self.attention(steps.new_ones(len(steps), 1), steps, steps, mask)
            return pooled
        if self.kind == "pyramid":
            place, lengths = torch.arange(mask.shape[1], device=mask.device), lengths_of(mask).clamp(min=1)
            owner = [(place * parts)[None] // lengths[:, None] for parts in PYRAMID]  # (N, T): which part a step belongs to
            held = [mask & (owned == part) for owned, parts in zip(owner, PYRAMID, strict=True) for part in range(parts)]
            shares = torch.stack(held, 1).to(steps.dtype)  # (N, 7, T)
            return ((shares @ steps) / shares.sum(2, keepdim=True).clamp(min=1)).flatten(1)
        kept = mask[..., None]
        if self.kind == "max":
            highest = steps.masked_fill(~kept, torch.finfo(steps.dtype).min).amax(1)
            return torch.where(mask.any(1, keepdim=True), highest, 0.0)
        return (steps * kept).sum(1) / kept.sum(1).clamp(min=1)
