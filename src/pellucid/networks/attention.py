"""Attention: a weighted mean of values, the weights from how well a query fits each key. Three scores, one masked softmax.

    attention(q, K, V) = sum_t alpha_t v_t,   alpha = softmax(score(q, k_1), ..., score(q, k_T)),   alpha_t = 0 where nothing stands at t

    additive               score(q, k) = v . tanh(W_q q + W_k k)     Bahdanau, Cho and Bengio 2015, appendix A.1.2
    scaled dot product     score(q, k) = q . k / sqrt(D)             Vaswani et al. 2017, equation 1
    multi-head             the same in h subspaces of D / h          Vaswani et al. 2017, section 3.2.2

Masks are True where something stands. A query for which nothing stands anywhere gets zeros, not NaN.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from pellucid.core.errors import ModelError
from pellucid.core.language import text


def masked_softmax(scores: Tensor, mask: Tensor | None) -> Tensor:
    """softmax over the last axis among the entries where `mask` (broadcast) is True; zeros where none is."""
    if mask is None:
        return scores.softmax(-1)
    lowest = torch.finfo(scores.dtype).min
    return scores.masked_fill(~mask, lowest).softmax(-1) * mask


class AdditiveAttention(nn.Module):
    """score(q, k) = v . tanh(W_q q + W_k k). Source: Bahdanau, Cho and Bengio 2015, appendix A.1.2."""

    def __init__(self, query_size: int, key_size: int, size: int) -> None:
        super().__init__()
        self.query = nn.Linear(query_size, size, bias=False)
        self.key = nn.Linear(key_size, size, bias=False)
        self.score = nn.Linear(size, 1, bias=False)

    def forward(self, query: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """query (N, D_q), keys (N, T, D_k), values (N, T, D_v), mask (N, T) -> (N, D_v), weights (N, T)."""
        scores = self.score(torch.tanh(self.query(query)[:, None] + self.key(keys)))[..., 0]  # (N, T)
        weights = masked_softmax(scores, mask)
        return (weights[:, None] @ values)[:, 0], weights


def scaled_dot_product(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """query (..., S, D), key (..., T, D), value (..., T, D_v), mask broadcast to (..., S, T) -> (..., S, D_v), weights (..., S, T).

    Source: Vaswani et al. 2017, equation 1.
    """
    weights = masked_softmax(query @ key.transpose(-2, -1) / math.sqrt(query.shape[-1]), mask)
    return weights @ value, weights


class MultiHeadAttention(nn.Module):
    """concat(head_1 ... head_h) W_o with head_i = attention(x W_q_i, y W_k_i, y W_v_i). Source: Vaswani et al. 2017, section 3.2.2."""

    def __init__(self, size: int, heads: int, dropout: float = 0.0) -> None:
        super().__init__()
        if size % heads:
            raise ModelError(
                text("{size} features and {heads} heads", size=size, heads=heads),
                text("as many features for every head"),
                text("choose a number of heads that divides {size}", size=size),
            )
        self.heads = heads
        self.query, self.key, self.value = nn.Linear(size, size), nn.Linear(size, size), nn.Linear(size, size)
        self.output = nn.Linear(size, size)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, y: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """x (N, S, D) asks y (N, T, D); mask broadcast to (N, S, T) -> (N, S, D), weights (N, heads, S, T)."""

        def split(features: Tensor) -> Tensor:  # (N, T, D) -> (N, heads, T, D / heads)
            return features.unflatten(-1, (self.heads, -1)).transpose(1, 2)

        mask = mask if mask is None else mask[:, None]
        weighted, weights = scaled_dot_product(split(self.query(x)), split(self.key(y)), split(self.value(y)), mask)
        return self.output(self.dropout(weighted.transpose(1, 2).flatten(2))), weights
