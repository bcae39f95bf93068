"""Attention taken apart inside our own pass: queries, keys and values go to a function of ours instead of PyTorch's one call.

    attend(query, key, value, mask, scale) -> A V and A = softmax(Q K^T * scale + mask)
    shapes (..., T, d), (..., S, d), (..., S, e) -> (..., T, e), (..., T, S)

Source: Vaswani et al. 2017, equation 1 and section 3.2.2.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from pellucid.core.trace.names import operation_name

Attend = Callable[[Tensor, Tensor, Tensor, "Tensor | None", float], tuple[Tensor, Tensor]]

_SCALED = ("query", "key", "value", "attn_mask", "dropout_p", "is_causal", "scale", "enable_gqa")
_MULTI_HEAD = inspect.signature(F.multi_head_attention_forward)


class AttentionWeights:
    """Met during a pass: the weights of every attention with their axis of keys, softmaxes of the program's own included."""

    def __init__(self) -> None:
        self.found: list[tuple[Tensor, int]] = []

    def meet(self, func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        """The result of a call that attends, else NotImplemented."""
        result = taken_apart(func, args, kwargs, self._attend)
        if result is NotImplemented and operation_name(func) == "softmax":
            result = func(*args, **kwargs)
            axis = kwargs.get("dim", args[1] if len(args) > 1 else None)
            if isinstance(axis, int):
                self.found.append((result, axis % result.dim()))
        return result

    def _attend(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scale: float) -> tuple[Tensor, Tensor]:
        scores = query @ key.transpose(-2, -1) * scale
        weights = torch.softmax(scores if mask is None else scores + mask, -1).nan_to_num(0.0)  # rows that may look at nothing
        self.found.append((weights, weights.dim() - 1))
        return weights @ value, weights


def taken_apart(func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], attend: Attend) -> Any:
    """The result of a call of attention, or NotImplemented where it is none, or one of a kind that is not known here."""
    name = operation_name(func)
    if name == "scaled_dot_product_attention":
        return _scaled(attend, **{**dict(zip(_SCALED, args, strict=False)), **kwargs})
    if name == "multi_head_attention_forward":
        bound = _MULTI_HEAD.bind(*args, **kwargs)
        bound.apply_defaults()
        return _multi_head(attend, bound.arguments)
    return NotImplemented


def _scaled(
    attend: Attend, query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None, dropout_p: float = 0.0,
    is_causal: bool = False, scale: float | None = None, enable_gqa: bool = False,
) -> Any:  # fmt: skip
    if dropout_p:
        return NotImplemented
    if enable_gqa:
        groups = query.shape[-3] // key.shape[-3]
        key, value = key.repeat_interleave(groups, -3), value.repeat_interleave(groups, -3)
    if is_causal:
        attn_mask = torch.ones(query.shape[-2], key.shape[-2], dtype=torch.bool, device=query.device).tril()
    if attn_mask is not None and attn_mask.dtype == torch.bool:  # true: may be attended to
        attn_mask = torch.zeros(attn_mask.shape, dtype=query.dtype, device=query.device).masked_fill(~attn_mask, -math.inf)
    return attend(query, key, value, attn_mask, 1 / math.sqrt(query.shape[-1]) if scale is None else scale)[0]


def _multi_head(attend: Attend, a: Mapping[str, Any]) -> Any:
    """nn.MultiheadAttention in evaluation mode, for sequences (T, N, E)."""
    query, key, value, heads = a["query"], a["key"], a["value"], a["num_heads"]
    unusual = ("bias_k", "bias_v", "static_k", "static_v")
    if query.dim() != 3 or a["add_zero_attn"] or any(a[name] is not None for name in unusual) or (a["training"] and a["dropout_p"]):
        return NotImplemented
    if a["use_separate_proj_weight"]:
        weights = (a["q_proj_weight"], a["k_proj_weight"], a["v_proj_weight"])
    else:
        weights = a["in_proj_weight"].chunk(3)
    biases = (None, None, None) if a["in_proj_bias"] is None else a["in_proj_bias"].chunk(3)
    T, N, E = query.shape

    def split(tensor: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        projected = F.linear(tensor, weight, bias)
        return projected.reshape(len(projected), N, heads, E // heads).permute(1, 2, 0, 3)  # (N, heads, T, d)

    q, k, v = (split(t, w, b) for t, w, b in zip((query, key, value), weights, biases, strict=True))
    mask: Tensor | None = None
    if a["attn_mask"] is not None:
        mask = _added(a["attn_mask"].reshape(N, heads, T, -1) if a["attn_mask"].dim() == 3 else a["attn_mask"], q)
    if a["key_padding_mask"] is not None:
        padded = _added(a["key_padding_mask"].reshape(N, 1, 1, -1), q)
        mask = padded if mask is None else mask + padded
    attended, attention = attend(q, k, v, mask, 1 / math.sqrt(E // heads))  # (N, heads, T, d)
    output = F.linear(attended.permute(2, 0, 1, 3).reshape(T, N, E), a["out_proj_weight"], a["out_proj_bias"])
    if not a["need_weights"]:
        return output, None
    return output, attention.mean(1) if a["average_attn_weights"] else attention


def _added(mask: Tensor, like: Tensor) -> Tensor:
    """What is added to the scores; in a mask of truth values, true here means: may not be attended to."""
    return torch.zeros(mask.shape, dtype=like.dtype, device=like.device).masked_fill(mask, -math.inf) if mask.dtype == torch.bool else mask
