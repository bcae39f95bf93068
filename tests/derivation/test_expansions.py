"""Recurrent networks and attention: one traced call, expanded into gates, times, layers, directions, heads; each gradient is autograd's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import pellucid
from pellucid.derivation.derive import Derivation
from pellucid.derivation.registry import all_expansions, letters


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


def test_a_dropout_of_everything_and_input_without_examples() -> None:
    torch.manual_seed(1)
    derived(nn.LSTM(3, 4, num_layers=2, dropout=1.0), torch.randn(3, 2, 3))
    derived(nn.GRU(3, 4, bidirectional=True), torch.randn(3, 3))


class VisionTransformer(nn.Module):
    """Patches as tokens, a class token, learnt positions."""

    def __init__(self, width: int = 8, patch: int = 4, classes: int = 3) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, width, patch, patch)
        self.token = nn.Parameter(torch.randn(1, 1, width))
        self.positions = nn.Parameter(torch.randn(1, 5, width))
        layer = nn.TransformerEncoderLayer(width, 2, 16, activation="gelu", batch_first=True, norm_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, norm=nn.LayerNorm(width), enable_nested_tensor=False)
        self.head = nn.Linear(width, classes)

    def forward(self, images: Tensor) -> Tensor:
        tokens = self.patches(images).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.token.expand(len(images), -1, -1), tokens], 1) + self.positions
        return self.head(self.encoder(tokens)[:, 0])


@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
def test_vision_transformer(training: bool) -> None:
    torch.manual_seed(1)
    derived(VisionTransformer().train(training), torch.randn(2, 3, 8, 8), torch.tensor([0, 2]), F.cross_entropy)


@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
def test_transformer(training: bool) -> None:
    class Translator(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.words = nn.Embedding(9, 8)
            self.transformer = nn.Transformer(8, 2, 1, 1, 16, batch_first=True)
            self.output = nn.Linear(8, 9)
            self.output.weight = self.words.weight  # tied, as in the paper

        def forward(self, source: Tensor, target: Tensor) -> Tensor:
            mask = causal(target.shape[1])
            padding = torch.zeros(source.shape).masked_fill(source == 0, float("-inf"))
            found = self.transformer(
                self.words(source), self.words(target), tgt_mask=mask, tgt_is_causal=True, src_key_padding_mask=padding,
                memory_key_padding_mask=padding,
            )  # fmt: skip
            return self.output(found).transpose(1, 2)

    torch.manual_seed(1)
    source, target = torch.tensor([[1, 4, 5, 2], [3, 6, 0, 0]]), torch.tensor([[1, 2, 3], [4, 5, 6]])
    derived(Translator().train(training), (source, target), target.roll(-1, 1), F.cross_entropy)


# -- the textbooks' formulas, written again, one example and one time after the other ------------------------------------------------------


def arrays_of(network: nn.Module) -> dict[str, np.ndarray]:
    return {name: parameter.detach().double().numpy() for name, parameter in network.named_parameters()}


def sigmoid(z: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-z))


def named(derivation: Derivation, wanted: str) -> np.ndarray:
    """The one result of this name."""
    (found,) = [value.array for step in derivation.steps for value in step.outputs if value.name == wanted]
    return found


def test_lstm_as_textbooks_write_it() -> None:
    torch.manual_seed(1)
    network, x = nn.LSTM(3, 4), torch.randn(5, 2, 3, dtype=torch.float64)
    derivation, p = derived(network.double(), x), arrays_of(network)
    order = [value.name for step in derivation.steps for value in step.outputs if value.name in ("f_2", "i_2", "C~_2", "C_2", "o_2", "h_2")]
    assert order == ["f_2", "i_2", "C~_2", "C_2", "o_2", "h_2"]
    rows = {"i": slice(0, 4), "f": slice(4, 8), "g": slice(8, 12), "o": slice(12, 16)}  # PyTorch's order
    W = {gate: np.hstack([p["weight_hh_l0"][r], p["weight_ih_l0"][r]]) for gate, r in rows.items()}  # W_f = [W_hf, W_if]
    b = {gate: p["bias_hh_l0"][r] + p["bias_ih_l0"][r] for gate, r in rows.items()}
    np.testing.assert_allclose(named(derivation, "W_f"), W["f"])
    np.testing.assert_allclose(named(derivation, "W_C"), W["g"])
    for n in range(2):
        h, C = np.zeros(4), np.zeros(4)
        for t in range(5):
            joined = np.concatenate([h, x.numpy()[t, n]])
            f = sigmoid(W["f"] @ joined + b["f"])
            i = sigmoid(W["i"] @ joined + b["i"])
            candidate = np.tanh(W["g"] @ joined + b["g"])
            C = f * C + i * candidate
            o = sigmoid(W["o"] @ joined + b["o"])
            h = o * np.tanh(C)
            for letter, value in (("f", f), ("i", i), ("C~", candidate), ("C", C), ("o", o), ("h", h)):
                np.testing.assert_allclose(named(derivation, f"{letter}_{t + 1}")[n], value, rtol=1e-12)
    forms = all_expansions()["lstm"].forms
    assert forms[0].equations[:6] == (
        r"f_{t} = \sigma(W_{f} [h_{t-1}, x_{t}] + b_{f})",
        r"i_{t} = \sigma(W_{i} [h_{t-1}, x_{t}] + b_{i})",
        r"\tilde{C}_{t} = \tanh(W_{C} [h_{t-1}, x_{t}] + b_{C})",
        r"C_{t} = f_{t} \odot C_{t-1} + i_{t} \odot \tilde{C}_{t}",
        r"o_{t} = \sigma(W_{o} [h_{t-1}, x_{t}] + b_{o})",
        r"h_{t} = o_{t} \odot \tanh(C_{t})",
    )
    assert [equation[0] for equation in forms[1].equations] == ["i", "f", "g", "o", "c", "h"]


def test_gru_of_pytorch_is_not_the_textbooks() -> None:
    torch.manual_seed(1)
    network, x = nn.GRU(3, 4), torch.randn(2, 1, 3, dtype=torch.float64)
    derivation, p = derived(network.double(), x), arrays_of(network)
    (W_ir, W_iz, W_in), (W_hr, W_hz, W_hn) = np.split(p["weight_ih_l0"], 3), np.split(p["weight_hh_l0"], 3)
    (b_ir, b_iz, b_in), (b_hr, b_hz, b_hn) = np.split(p["bias_ih_l0"], 3), np.split(p["bias_hh_l0"], 3)
    h = np.zeros(4)
    for t in range(2):
        before, x_t = h, x.numpy()[t, 0]
        r = sigmoid(W_ir @ x_t + b_ir + W_hr @ h + b_hr)
        z = sigmoid(W_iz @ x_t + b_iz + W_hz @ h + b_hz)
        candidate = np.tanh(W_in @ x_t + b_in + r * (W_hn @ h + b_hn))
        h = (1 - z) * candidate + z * h
        np.testing.assert_allclose(named(derivation, f"h_{t + 1}")[0], h, rtol=1e-12)
    textbook = np.tanh(W_in @ x_t + b_in + W_hn @ (r * before) + b_hn)
    assert np.abs(textbook - candidate).max() > 1e-3, "another function"
    gru = all_expansions()["gru"]
    assert r"r_{t} \odot (W_{hn} h_{t-1} + b_{hn})" in gru.forms[0].equations[2]
    assert r"[r_{t} \odot h_{t-1}, x_{t}]" in gru.forms[1].equations[0]
    assert gru.note is not None
    assert gru.note in [step.note for step in derivation.steps]
    steps = [step for step in derivation.steps if step.operation == "mul" and step.group.endswith("candidate state")]
    assert [value.name for value in steps[0].inputs] == ["r_1", "v_1"], "what ran, not the textbook's form"


def test_recurrent_network_with_an_output_at_every_time() -> None:
    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn, self.output = nn.RNN(3, 4), nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.output(self.rnn(x)[0])

    torch.manual_seed(1)
    network, x = Network().double(), torch.randn(4, 1, 3, dtype=torch.float64)
    derivation, p = derived(network, x), arrays_of(network)
    b_h, h = p["rnn.bias_ih_l0"] + p["rnn.bias_hh_l0"], np.zeros(4)
    np.testing.assert_allclose(named(derivation, "b_h"), b_h)
    for t in range(4):
        h = np.tanh(p["rnn.weight_hh_l0"] @ h + p["rnn.weight_ih_l0"] @ x.numpy()[t, 0] + b_h)
        y = p["output.weight"] @ h + p["output.bias"]
        np.testing.assert_allclose(named(derivation, f"h_{t + 1}")[0], h, rtol=1e-12)
        np.testing.assert_allclose(derivation.outputs[0].array[t, 0], y, rtol=1e-12)


def test_heads_as_the_paper_writes_them() -> None:
    torch.manual_seed(1)
    network, x = nn.MultiheadAttention(6, 3).double(), torch.randn(4, 1, 6, dtype=torch.float64)
    derivation, p = derived(Self(network), x), arrays_of(network)
    heads = []
    for h in range(3):
        rows = slice(2 * h, 2 * h + 2)
        Q, K, V = (
            x.numpy()[:, 0] @ W[rows].T + b[rows]
            for W, b in zip(np.split(p["in_proj_weight"], 3), np.split(p["in_proj_bias"], 3), strict=True)
        )
        exponentials = np.exp(Q @ K.T / np.sqrt(2))
        heads.append(exponentials / exponentials.sum(axis=1, keepdims=True) @ V)
    Y = np.hstack(heads) @ p["out_proj.weight"].T + p["out_proj.bias"]
    np.testing.assert_allclose(derivation.outputs[0].array[:, 0], Y, rtol=1e-11)


class Self(nn.Module):
    def __init__(self, attention: nn.Module) -> None:
        super().__init__()
        self.attention = attention

    def forward(self, x: Tensor) -> Tensor:
        return self.attention(x, x, x)[0]


@pytest.mark.parametrize("name", all_expansions())
def test_forms_explain_their_letters(name: str) -> None:
    expansion = all_expansions()[name]
    used = set().union(*(letters(equation) for form in expansion.forms for equation in form.equations))
    known = {letter for symbol in expansion.where for letter in letters(symbol)}
    assert used <= known, used - known
    assert expansion.source


def test_every_step_has_its_place() -> None:
    torch.manual_seed(1)
    derivation = derived(nn.LSTM(3, 4, num_layers=2, bidirectional=True), torch.randn(3, 2, 3))
    groups = {step.group for step in derivation.steps}
    for layer in (1, 2):
        for direction in ("forward", "backward"):
            for t in (1, 2, 3):
                assert f"LSTM layer {layer}, {direction} in time, t = {t}, forget gate" in groups
    (f,) = [value for step in derivation.steps for value in step.outputs if value.name == "f_2^(1←)"]
    assert f.symbol == r"f_{2}^{(1, \leftarrow)}"


def test_gradients_of_a_weight_at_every_time_sum_to_its_gradient() -> None:
    torch.manual_seed(1)
    derivation = derived(nn.RNN(3, 70), torch.randn(8, 2, 3))  # too large to be kept for each of eight times: computed when asked for
    weight = derivation.parameters["weight_hh_l0"]
    assert weight.gradient is not None
    parts = [step.gradients["weight"] for step in derivation.steps if step.gradients and step.arguments.get("weight") is weight]
    assert len(parts) == 8
    np.testing.assert_allclose(np.sum(parts, axis=0), weight.gradient)
