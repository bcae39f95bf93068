"""Attention, in PyTorch one call, in its steps: projections, heads, scores, mask, softmax, context, output projection.

Heads and examples are independent and stay dimensions of one tensor: (N, H, L, d) for N examples, H heads, L queries (S keys), width d.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from pellucid.core.language import text
from pellucid.derivation.registry import Form, Unsupported, expansion
from pellucid.derivation.tape import Tape, Value

DOT_PRODUCT = Form(
    text("as executed, for each example and head"),
    (
        r"S = \frac{Q K^{\top}}{\sqrt{d}} + M",
        r"A_{i j} = \operatorname{softmax}_{j}(S)_{i j} = \frac{e^{S_{i j}}}{\sum_{k} e^{S_{i k}}}",
        r"Z = A V",
    ),
)
DOT_PRODUCT_WHERE = {
    "Q": text("the queries, a row each"), "K": text("the keys, a row each"), "V": text("the values, a row each"),
    "d": text("the width of a query"), "S": text("the scores"),
    "M": text("the mask: 0 where a key may be attended to, else minus infinity"),
    "A": text("the weights of attention"), "Z": text("the context"), "i": text("a query"), "j": text("a key"), "k": text("a key"),
    "e": text("Euler's number"),
}  # fmt: skip
MULTI_HEAD = Form(
    text("as executed"),
    (
        r"Q_{h} = X_{Q} W_{Q,h}^{\top} + b_{Q,h}, \quad K_{h} = X_{K} W_{K,h}^{\top} + b_{K,h},"
        r" \quad V_{h} = X_{V} W_{V,h}^{\top} + b_{V,h}",
        r"Z_{h} = \operatorname{softmax}\left( \frac{Q_{h} K_{h}^{\top}}{\sqrt{d}} + M \right) V_{h}",
        r"Y = [Z_{1}, \dots, Z_{H}] W_{O}^{\top} + b_{O}",
    ),
)
MULTI_HEAD_WHERE = {
    **{letter: DOT_PRODUCT_WHERE[letter] for letter in "QKVdMZ"}, "X": text("the inputs"), "W": text("a weight"), "b": text("a bias"),
    "h": text("a head"), "H": text("the number of heads"), "O": text("of the output"), "Y": text("the output"),
}  # fmt: skip
SOURCE = "Vaswani et al. 2017, Attention is all you need, section 3.2"


def _attended(
    tape: Tape, Q: Value, K: Value, V: Value, masks: Sequence[tuple[str, Value]], dropout: float, scale: float | None,
    draws: Sequence[Value], safe: bool,
) -> tuple[Value, Value]:  # fmt: skip
    """The context Z and the weights A. Masks are ("add", numbers), ("where", True takes part) or ("masked_fill", True does not).

    With `safe`, a query that may attend to nothing gets the context 0, else NaN: PyTorch has both.
    """
    with tape.group(text("scores")):
        transposed = tape.apply("transpose", K, -2, -1, label="K^T", symbol=r"K^{\top}")
        scores = tape.apply("matmul", Q, transposed, label="Q K^T", symbol=r"Q K^{\top}")
        if scale is None:
            scores = tape.apply("div", scores, math.sqrt(Q.shape[-1]), label="S", symbol="S")
        else:
            scores = tape.apply("mul", scores, scale, label="S", symbol="S")
    if masks:
        with tape.group(text("mask")):
            for kind, mask in masks:
                if kind == "where":
                    scores = tape.apply("where", mask, scores, -math.inf, label="S", symbol="S")
                else:
                    scores = tape.apply(kind, scores, mask, *([-math.inf] if kind == "masked_fill" else []), label="S", symbol="S")
    idle = np.isneginf(scores.array).all(axis=-1, keepdims=True) if safe else np.zeros((), bool)
    with tape.group(text("weights of attention")):
        if idle.any():
            nobody = tape.leaf(idle, name="queries without keys")
            scores = tape.apply("masked_fill", scores, nobody, 0.0, label="S", symbol="S")
            weights = tape.apply("masked_fill", tape.apply("softmax", scores, -1), nobody, 0.0, label="A", symbol="A")
            tape.steps[-1].note = text("A query that may attend to no key has the weights 0.")
        else:
            weights = tape.apply("softmax", scores, -1, label="A", symbol="A")
        if dropout > 0:
            draws = [tape.apply("view", mask, weights.shape) if mask.shape != weights.shape else mask for mask in draws[:1]]
            weights = tape.apply("dropout", weights, dropout, True, draws=tuple(draws), label="dropped A", symbol=r"\tilde{A}")
    with tape.group(text("context")):
        return tape.apply("matmul", weights, V, label="Z", symbol="Z"), weights


def _causal(tape: Tape, queries: int, keys: int) -> tuple[str, Value]:
    """Each query sees the keys up to its own place."""
    return "where", tape.leaf(np.tril(np.ones((queries, keys), bool)), name="causal mask")


@expansion("scaled_dot_product_attention", forms=(DOT_PRODUCT,), where=DOT_PRODUCT_WHERE, source=SOURCE)
def scaled_dot_product_attention(
    tape: Tape,
    query: Value,
    key: Value,
    value: Value,
    attn_mask: Value | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    *,
    scale: float | None = None,
    enable_gqa: bool = False,
    draws: Sequence[Value] = (),
) -> Value:
    """The context (..., L, E)."""
    with tape.group(text("attention")):
        if enable_gqa and key.shape[-3] != query.shape[-3]:
            with tape.group(text("heads that share keys")):
                key, value = (
                    tape.apply("repeat_interleave", shared, query.shape[-3] // shared.shape[-3], -3, label=letter, symbol=letter)
                    for shared, letter in ((key, "K"), (value, "V"))
                )
        masks = [_causal(tape, query.shape[-2], key.shape[-2])] if is_causal else []
        if attn_mask is not None:
            masks.append(("add" if attn_mask.differentiable else "where", attn_mask))
        return _attended(tape, query, key, value, masks, dropout_p, scale, draws, safe=True)[0]


@expansion("multi_head_attention_forward", forms=(MULTI_HEAD,), where=MULTI_HEAD_WHERE, source=SOURCE)
def multi_head_attention_forward(
    tape: Tape,
    query: Value,
    key: Value,
    value: Value,
    embed_dim_to_check: int,
    num_heads: int,
    in_proj_weight: Value | None,
    in_proj_bias: Value | None,
    bias_k: Value | None,
    bias_v: Value | None,
    add_zero_attn: bool,
    dropout_p: float,
    out_proj_weight: Value,
    out_proj_bias: Value | None,
    training: bool = True,
    key_padding_mask: Value | None = None,
    need_weights: bool = True,
    attn_mask: Value | None = None,
    use_separate_proj_weight: bool = False,
    q_proj_weight: Value | None = None,
    k_proj_weight: Value | None = None,
    v_proj_weight: Value | None = None,
    static_k: Value | None = None,
    static_v: Value | None = None,
    average_attn_weights: bool = True,
    is_causal: bool = False,
    *,
    draws: Sequence[Value] = (),
) -> tuple[Value, Value | None]:
    """The output (L, N, E), and the weights of attention (N, L, S) or (N, H, L, S)."""
    apply, batched = tape.apply, query.array.ndim == 3
    with tape.group(text("multi-head attention")):
        inputs = [query, key, value]
        if not batched:
            with tape.group(text("input")):
                inputs = [apply("unsqueeze", x, 1) for x in inputs]
        length, examples, width = inputs[0].shape
        weights = (q_proj_weight, k_proj_weight, v_proj_weight) if use_separate_proj_weight else None
        Q, K, V = _projected(tape, inputs, in_proj_weight, weights, in_proj_bias)
        hidden, mask = key_padding_mask, attn_mask
        causal = is_causal and hidden is None and not need_weights
        mask = None if causal else mask
        if hidden is not None and not batched:
            hidden = apply("unsqueeze", hidden, 0, label="padding mask")
        with tape.group(text("heads")):
            if bias_k is not None and bias_v is not None:
                K, V = (
                    apply("cat", [x, apply("repeat", bias, 1, examples, 1)], 0, label=letter, symbol=letter)
                    for x, bias, letter in ((K, bias_k, "K"), (V, bias_v, "V"))
                )
            Q = _heads(tape, Q, num_heads, "Q")
            K = apply("view", static_k, examples, num_heads, *static_k.shape[1:]) if static_k else _heads(tape, K, num_heads, "K")
            V = apply("view", static_v, examples, num_heads, *static_v.shape[1:]) if static_v else _heads(tape, V, num_heads, "V")
            if add_zero_attn:
                K, V = (apply("pad", x, (0, 0, 0, 1), label=letter, symbol=letter) for x, letter in ((K, "K"), (V, "V")))
        added = int(bias_k is not None) + int(add_zero_attn)
        masks = [_causal(tape, length, K.shape[-2])] if causal else []
        with tape.group(text("mask")):
            masks += _masks(tape, mask, hidden, added, (examples, num_heads, length, K.shape[-2]))
        dropout = dropout_p if training else 0.0
        Z, A = _attended(tape, Q, K, V, masks, dropout, None, draws, safe=not need_weights)
        with tape.group(text("output projection")):
            Z = apply("permute", Z, 2, 0, 1, 3, label="Z", symbol="Z")
            Z = apply("view", Z, length, examples, width, label="[Z_1, ..., Z_H]", symbol=r"[Z_{1}, \dots, Z_{H}]")
            Y = apply("linear", Z, out_proj_weight, out_proj_bias, label="Y", symbol="Y")
            if not batched:
                Y = apply("squeeze", Y, 1, label="Y", symbol="Y")
            if not need_weights:
                return Y, None
            if average_attn_weights:
                A = apply("mean", A, 1, label="A", symbol="A")
            else:
                A = apply("clone", A, label="A", symbol="A")
            return Y, A if batched else apply("squeeze", A, 0, label="A", symbol="A")


def _projected(
    tape: Tape, inputs: Sequence[Value], packed: Value | None, separate: Sequence[Value | None] | None, bias: Value | None
) -> list[Value]:
    """Q, K and V: each input times its own weight."""
    with tape.group(text("projections")):
        if separate is not None:
            matrices: Sequence[Any] = separate
        elif packed is not None:
            matrices = tape.apply("chunk", packed, 3, 0, label=["W_Q", "W_K", "W_V"], symbol=["W_{Q}", "W_{K}", "W_{V}"])
        else:
            raise Unsupported(text("attention without projection weights"), text("in_proj_weight"), text("give the weights"))
        biases: Sequence[Any] = [None] * 3
        if bias is not None:
            biases = tape.apply("chunk", bias, 3, 0, label=["b_Q", "b_K", "b_V"], symbol=["b_{Q}", "b_{K}", "b_{V}"])
        return [
            tape.apply("linear", x, matrix, b, label=letter, symbol=letter)
            for x, matrix, b, letter in zip(inputs, matrices, biases, "QKV", strict=True)
        ]


def _heads(tape: Tape, x: Value, heads: int, letter: str) -> Value:
    """(L, N, E) -> (N, H, L, d)."""
    length, examples, width = x.shape
    blocks = tape.apply("view", x, length, examples, heads, width // heads, label=letter, symbol=letter)
    return tape.apply("permute", blocks, 1, 2, 0, 3, label=letter, symbol=letter)


def _masks(tape: Tape, mask: Value | None, hidden: Value | None, added: int, shape: tuple[int, int, int, int]) -> list[tuple[str, Value]]:
    """The attention mask (L, S) or (N H, L, S) and the padding mask (N, S), with columns for added keys, as (N, H, L, S) or less."""
    examples, heads, length, keys = shape
    found: list[tuple[str, Value]] = []
    for value, padding in ((mask, False), (hidden, True)):
        if value is None:
            continue
        if added:
            value = tape.apply("pad", value, (0, added), label="mask")
        if padding:
            value = tape.apply("view", value, examples, 1, 1, keys, label="padding mask")
        elif value.array.ndim == 3 and value.shape[0] > 1:
            value = tape.apply("view", value, examples, heads, length, keys, label="mask")
        found.append(("add" if value.differentiable else "masked_fill", value))
    return found
