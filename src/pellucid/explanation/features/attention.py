"""The weights of attention inside a module, of every head, however the module computes them.

    A = softmax(Q K^T / sqrt(d_k) + mask),   the rows of A sum to 1.   Source: Vaswani et al. 2017, section 3.2.1, equation 1

Seen are `nn.MultiheadAttention` and `scaled_dot_product_attention`, which usually throw their weights away (they are taken apart), and a
softmax of the user's own: additive attention, attention by hand.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from pellucid.core.errors import OptionError
from pellucid.core.language import text
from pellucid.explanation.attending import AttentionWeights
from pellucid.explanation.features import capture


def attention_of(network: capture.Network, module: nn.Module, inputs: capture.Inputs, *, layer: str, batch_size: int) -> Tensor:
    """(N, heads, T of the queries, T of the keys) of the attention inside `module`; of several in one module the last.

    Raises:
        OptionError: there is none, or it changes its shape with the samples.
    """
    found = [_of_batch(network, module, batch, layer) for batch in capture.batches(inputs, batch_size)]
    if len({item.shape[1:] for item in found}) > 1:
        raise OptionError(
            text("the attention has another shape in each batch: {shapes}", shapes=[str(tuple(item.shape)) for item in found[:4]]),
            text("sequences of one length"),
            text("pad the inputs to one length"),
        )
    return torch.cat(found)


def _of_batch(network: capture.Network, module: nn.Module, batch: capture.Inputs, layer: str) -> Tensor:
    with _Watching() as watching:
        opened = module.register_forward_pre_hook(watching.open)
        closed = module.register_forward_hook(watching.close)
        try:
            with network.quiet(), torch.no_grad():
                network.passed(batch)
        finally:
            opened.remove()
            closed.remove()
    found = [item for item in watching.weights if item.ndim >= 2 and len(item) == len(batch[0])]
    if not found:
        raise OptionError(
            text("no attention is computed inside the layer {name!r}", name=layer),
            text("nn.MultiheadAttention, scaled_dot_product_attention, or a softmax over the last axis"),
            text("give the path of the attention itself, or of the block around it"),
        )
    one_row = all(item.shape == found[0].shape and item.numel() == len(batch[0]) * item.shape[-1] for item in found)
    if len(found) > 1 and one_row:  # a decoder's own loop: a row for each step
        return torch.stack([item.reshape(len(item), -1) for item in found], dim=1)[:, None]
    weights = found[-1]
    while weights.ndim < 4:
        weights = weights[:, None]
    return weights


class _Watching(TorchFunctionMode):
    """Meets what attends while the module is open."""

    def __init__(self) -> None:
        super().__init__()
        self.met = AttentionWeights()
        self.inside = 0

    def open(self, *_: Any) -> None:
        self.inside += 1

    def close(self, *_: Any) -> None:
        self.inside -= 1

    @property
    def weights(self) -> list[Tensor]:
        """(N, ..., T of the keys) of each attention; additive attention often has its scores as (N, T, 1)."""
        return [found if axis == found.ndim - 1 else found.movedim(axis, -1).flatten(1, -2).squeeze(1) for found, axis in self.met.found]

    def __torch_function__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None) -> Any:
        met = self.met.meet(func, args, kwargs or {}) if self.inside else NotImplemented
        return func(*args, **(kwargs or {})) if met is NotImplemented else met
