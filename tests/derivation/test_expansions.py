"""Recurrent networks and attention: one traced call, expanded into gates, times, layers, directions, heads; each gradient is autograd's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import pellucid
from pellucid.derivation.derive import Derivation


def derived(network: nn.Module, inputs: Any, targets: Any = None, loss: Any = None) -> Derivation:
    """The derivation of a network's squared outputs; everything in it has an equation and is right."""
    derivation = pellucid.derive(network, inputs, targets, loss or weighted)
    check = derivation.check()
    assert check.passed, check
    assert not check.without_equation
    assert check.worst_gradient <= 1e-9
    assert check.worst_forward <= 1e-9
    return derivation


def weighted(outputs: Any) -> Tensor:
    """A loss in which every entry of every output counts, each in its own way."""
    tensors = [outputs] if isinstance(outputs, Tensor) else [t for part in outputs for t in ([part] if isinstance(part, Tensor) else part)]
    return sum((tensor * torch.arange(1.0, tensor.numel() + 1, dtype=tensor.dtype).reshape(tensor.shape).sin()).sum() for tensor in tensors)  # type: ignore[return-value]


OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "two layers": {"num_layers": 2},
    "both directions": {"bidirectional": True},
    "batch first": {"batch_first": True},
    "no bias": {"bias": False},
    "dropout": {"num_layers": 3, "dropout": 0.4},
    "everything": {"num_layers": 2, "dropout": 0.5, "bidirectional": True, "batch_first": True},
}
NETWORKS: dict[str, Callable[..., nn.Module]] = {
    "lstm": nn.LSTM,
    "gru": nn.GRU,
    "rnn": nn.RNN,
    "relu rnn": lambda *sizes, **options: nn.RNN(*sizes, nonlinearity="relu", **options),
    "projected lstm": lambda *sizes, **options: nn.LSTM(*sizes, proj_size=2, **options),
}


@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("kind", NETWORKS)
def test_recurrent_network(kind: str, options: str, training: bool) -> None:
    torch.manual_seed(1)
    network = NETWORKS[kind](3, 4, **OPTIONS[options]).train(training)
    derived(network, torch.randn(2, 5, 3) if OPTIONS[options].get("batch_first") else torch.randn(5, 2, 3))


class WithState(nn.Module):
    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor, *states: Tensor) -> Any:
        return self.network(x, states if len(states) > 1 else states[0])


@pytest.mark.parametrize("kind", NETWORKS)
def test_initial_state(kind: str) -> None:
    torch.manual_seed(1)
    state = torch.randn(2, 2, 2 if kind == "projected lstm" else 4)
    states = (state, torch.randn(2, 2, 4)) if "lstm" in kind else (state,)
    derivation = derived(WithState(NETWORKS[kind](3, 4, num_layers=2)), (torch.randn(3, 2, 3), *states))
    assert all(value.gradient is not None and value.error is not None for value in derivation.inputs)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("kind", [nn.LSTMCell, nn.GRUCell, nn.RNNCell])
def test_cell(kind: Any, bias: bool) -> None:
    class Loop(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cell = kind(3, 4, bias=bias)

        def forward(self, x: Tensor) -> Any:
            state = None
            for x_t in x:
                state = self.cell(x_t, state)
            return state

    torch.manual_seed(1)
    derived(Loop(), torch.randn(3, 2, 3))
    derived(kind(3, 4, bias=bias), torch.randn(3))


def causal(length: int) -> Tensor:
    return nn.Transformer.generate_square_subsequent_mask(length)


class Attention(nn.Module):
    """Multi-head attention with its masks given."""

    def __init__(self, *, call: dict[str, Any] | None = None, **options: Any) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, **options)
        self.call = call or {}

    def forward(self, query: Tensor, key: Tensor | None = None, value: Tensor | None = None) -> Any:
        key = query if key is None else key
        found = self.attention(query, key, key if value is None else value, **self.call)
        return [part for part in found if part is not None]


PADDING = torch.tensor([[False, False, True, True], [False, False, False, True]])
HIDDEN = torch.zeros(2, 4).masked_fill(PADDING, float("-inf"))
ATTENTIONS: dict[str, tuple[dict[str, Any], list[tuple[int, ...]]]] = {
    "self-attention": ({}, [(4, 2, 8)]),
    "batch first": ({"batch_first": True}, [(2, 4, 8)]),
    "unbatched": ({}, [(4, 8)]),
    "unbatched, padding": ({"call": {"key_padding_mask": PADDING[0]}}, [(4, 8)]),
    "cross-attention": ({}, [(3, 2, 8), (4, 2, 8)]),
    "three widths": ({"kdim": 5, "vdim": 6}, [(3, 2, 8), (4, 2, 5), (4, 2, 6)]),
    "no bias": ({"bias": False}, [(4, 2, 8)]),
    "biases of keys": ({"add_bias_kv": True, "add_zero_attn": True}, [(4, 2, 8)]),
    "biases of keys, masks": (
        {"add_bias_kv": True, "add_zero_attn": True, "call": {"attn_mask": causal(4), "key_padding_mask": HIDDEN}},
        [(4, 2, 8)],
    ),
    "padding": ({"call": {"key_padding_mask": PADDING}}, [(4, 2, 8)]),
    "padding, no weights": ({"call": {"key_padding_mask": PADDING, "need_weights": False}}, [(4, 2, 8)]),
    "causal": ({"call": {"attn_mask": causal(4), "is_causal": True}}, [(4, 2, 8)]),
    "causal, no weights": ({"call": {"attn_mask": causal(4), "is_causal": True, "need_weights": False}}, [(4, 2, 8)]),
    "causal and padding": (
        {"call": {"attn_mask": causal(4), "is_causal": True, "need_weights": False, "key_padding_mask": HIDDEN}},
        [(4, 2, 8)],
    ),
    "truth values": ({"call": {"attn_mask": ~torch.ones(4, 4, dtype=torch.bool).tril()}}, [(4, 2, 8)]),
    "a mask per head": ({"call": {"attn_mask": torch.linspace(-1, 1, 64).reshape(4, 4, 4)}}, [(4, 2, 8)]),
    "a mask per head, no weights": (
        {"call": {"attn_mask": torch.linspace(-1, 1, 64).reshape(4, 4, 4), "need_weights": False}},
        [(4, 2, 8)],
    ),
    "weights of each head": ({"call": {"average_attn_weights": False}}, [(4, 2, 8)]),
    "dropout": ({"dropout": 0.3}, [(4, 2, 8)]),
    "dropout, no weights": ({"dropout": 0.3, "call": {"need_weights": False}}, [(4, 2, 8)]),
}


@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
@pytest.mark.parametrize("kind", ATTENTIONS)
def test_multi_head_attention(kind: str, training: bool) -> None:
    options, shapes = ATTENTIONS[kind]
    torch.manual_seed(1)
    network = Attention(**options).train(training)
    derived(network, tuple(torch.randn(shape) for shape in shapes))


DOT_PRODUCTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "scale": {"scale": 0.3},
    "causal": {"is_causal": True},
    "truth values": {"attn_mask": torch.tensor([[True, False, True, True], [False, False, False, True], [True] * 4])},
    "a query without keys": {"attn_mask": torch.tensor([[True, False, True, True], [False] * 4, [True] * 4])},
    "numbers": {"attn_mask": torch.linspace(-1, 1, 12).reshape(3, 4)},
    "dropout": {"dropout_p": 0.4},
    "shared keys": {"enable_gqa": True},
}


@pytest.mark.parametrize("kind", DOT_PRODUCTS)
def test_scaled_dot_product_attention(kind: str) -> None:
    class Attend(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.mask = nn.Parameter(DOT_PRODUCTS[kind]["attn_mask"]) if kind == "numbers" else None

        def forward(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
            options = DOT_PRODUCTS[kind] if self.mask is None else {"attn_mask": self.mask}
            return F.scaled_dot_product_attention(query, key, value, **options)

    torch.manual_seed(1)
    heads = 2 if kind == "shared keys" else 4
    derived(Attend(), (torch.randn(2, 4, 3, 5), torch.randn(2, heads, 4, 5), torch.randn(2, heads, 4, 6)))


@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
@pytest.mark.parametrize("batch_first", [True, False])
def test_transformer_encoder_layer(batch_first: bool, training: bool) -> None:
    torch.manual_seed(1)
    derived(nn.TransformerEncoderLayer(8, 2, 12, batch_first=batch_first).train(training), torch.randn(3, 4, 8))


@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
@pytest.mark.parametrize("norm_first", [True, False])
def test_transformer_decoder_layer(norm_first: bool, training: bool) -> None:
    class Decoder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.TransformerDecoderLayer(8, 2, 12, activation="gelu", norm_first=norm_first)

        def forward(self, target: Tensor, memory: Tensor) -> Tensor:
            return self.layer(target, memory, tgt_mask=causal(len(target)), tgt_is_causal=True)

    torch.manual_seed(1)
    derived(Decoder().train(training), (torch.randn(4, 2, 8), torch.randn(3, 2, 8)))


class Bahdanau(nn.Module):
    """Sequence to sequence with additive attention: score = v . tanh(W s + U h)."""

    def __init__(self, vocabulary: int = 7, width: int = 4) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, width, padding_idx=0)
        self.encoder = nn.GRU(width, width, bidirectional=True, batch_first=True)
        self.decoder = nn.GRUCell(3 * width, width)
        self.state, self.memory = nn.Linear(width, width, bias=False), nn.Linear(2 * width, width)
        self.score, self.output = nn.Linear(width, 1, bias=False), nn.Linear(3 * width, vocabulary)

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        memory, last = self.encoder(self.embedding(source))
        state, logits = last[-1], []
        for word in self.embedding(target).unbind(1):
            scores = self.score(torch.tanh(self.state(state)[:, None] + self.memory(memory))).squeeze(-1)
            scores = scores.masked_fill(source == 0, float("-inf"))
            context = torch.bmm(scores.softmax(-1)[:, None], memory)[:, 0]
            state = self.decoder(torch.cat([word, context], 1), state)
            logits.append(self.output(torch.cat([state, context], 1)))
        return torch.stack(logits, 1)


def test_sequence_to_sequence_with_additive_attention() -> None:
    torch.manual_seed(1)
    source = torch.tensor([[1, 4, 5, 2], [3, 6, 0, 0]])
    target = torch.tensor([[1, 2, 3], [4, 5, 6]])
    derived(
        Bahdanau(), (source, target), target.roll(-1, 1), lambda logits, target: F.cross_entropy(logits.flatten(0, 1), target.flatten())
    )


@pytest.mark.parametrize("options", ["plain", "no bias", "everything"])
@pytest.mark.parametrize("kind", NETWORKS)
def test_packed_sequences(kind: str, options: str) -> None:
    class Packed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = NETWORKS[kind](3, 4, **{**OPTIONS[options], "batch_first": True})

        def forward(self, x: Tensor) -> Any:
            packed = nn.utils.rnn.pack_padded_sequence(x, torch.tensor([3, 5, 1, 3]), batch_first=True, enforce_sorted=False)
            outputs, states = self.network(packed)
            return nn.utils.rnn.pad_packed_sequence(outputs, batch_first=True)[0], states

    torch.manual_seed(1)
    derived(Packed(), torch.randn(4, 5, 3))
