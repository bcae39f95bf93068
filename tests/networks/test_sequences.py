"""Networks for series and texts: their equations, and that padding never reaches an answer."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from pellucid.core.errors import ModelError
from pellucid.networks.attention import AdditiveAttention, MultiHeadAttention, scaled_dot_product
from pellucid.networks.registry import build
from pellucid.networks.sequences import POOLINGS
from pellucid.networks.temporal import MaskedBatchNorm, positions

NAMES = ("rnn", "lstm", "gru", "cnn1d", "resnet1d", "transformer")


def batch(kind: str) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, dict, tuple[int, ...]]:
    """Samples of 9, 5 and 1 steps; the same padded further; the second alone; options and shape of a network for them."""
    if kind == "tokens":
        samples = torch.randint(1, 20, (3, 9))
        samples[1, 5:] = samples[2, 1:] = 0
        return samples, torch.cat([samples, torch.zeros(3, 7, dtype=torch.int64)], 1), samples[1:2, :5], {"vocabulary": 20}, (9,)
    samples = torch.randn(3, 2, 9)
    samples[1, :, 5:] = samples[2, :, 1:] = torch.nan
    return samples, torch.cat([samples, torch.full((3, 2, 7), torch.nan)], 2), samples[1:2, :, :5], {}, (2, 9)


@pytest.mark.parametrize(
    ("name", "pooling", "kind"),
    [*((name, pooling, kind) for name in NAMES for pooling in POOLINGS for kind in ("tokens", "series")), ("text_cnn", "max", "tokens")],
)
def test_padding_never_changes_an_answer(name, pooling, kind):
    torch.manual_seed(0)
    samples, padded, alone, options, shape = batch(kind)
    more = {"layers": 2} if name in ("rnn", "lstm", "gru") else {}
    more = more if name == "text_cnn" else {**more, "pooling": pooling}
    model = build(name, input_shape=shape, outputs=3, options={**options, **more}).eval()
    answers = model(samples)
    torch.testing.assert_close(model(padded), answers)
    torch.testing.assert_close(model(alone), answers[1:2])
    assert not torch.allclose(answers[1:2], answers[:1])
    nothing = torch.zeros(2, 3, dtype=torch.int64) if kind == "tokens" else torch.full((2, 2, 3), torch.nan)
    assert model(nothing).isfinite().all()  # a sequence of length 0 has an answer, the same for all
    gradients: list[list[torch.Tensor]] = []
    for inputs in (samples, padded):  # nor does it change a gradient
        model.zero_grad()
        model(inputs).square().sum().backward()
        gradients.append([parameter.grad.clone() for parameter in model.parameters() if parameter.grad is not None])
    for first, second in zip(*gradients, strict=True):
        torch.testing.assert_close(first, second, atol=1e-4, rtol=1e-4)


def test_statistics_of_a_batch_leave_padding_out():
    norm = MaskedBatchNorm(2)
    samples = torch.randn(3, 2, 9)
    mask = torch.ones(3, 1, 9, dtype=torch.bool)
    mask[1, :, 5:] = mask[2, :, 1:] = False
    stands = samples.transpose(1, 2)[mask[:, 0]]
    normalised = norm(torch.where(mask, samples, 1e6), mask).transpose(1, 2)[mask[:, 0]]
    torch.testing.assert_close(normalised, (stands - stands.mean(0)) / (stands.var(0, correction=0) + norm.eps).sqrt())
    torch.testing.assert_close(norm.running_mean, 0.1 * stands.mean(0))


def test_both_directions_read_every_step_of_each_sequence():
    """The backward units of a padded batch against torch's own packed sequences."""
    torch.manual_seed(0)
    lengths = torch.tensor([9, 5, 1])
    samples = torch.randn(3, 2, 9)
    for row, length in enumerate(lengths):
        samples[row, :, length:] = torch.nan
    model = build("lstm", input_shape=(2, 9), outputs=3, options={"hidden_size": 4}).eval()
    ours, _ = model.steps(samples)
    theirs = nn.LSTM(2, 4, batch_first=True, bidirectional=True)
    for suffix, layer in (("", model.forwards[0]), ("_reverse", model.backwards[0])):
        for name, parameter in layer.named_parameters():
            getattr(theirs, name + suffix).data.copy_(parameter)
    packed = nn.utils.rnn.pack_padded_sequence(samples.nan_to_num().transpose(1, 2), lengths, batch_first=True)
    expected, _ = nn.utils.rnn.pad_packed_sequence(theirs(packed)[0], batch_first=True)
    torch.testing.assert_close(ours, expected)


def test_recurrent_equations_by_hand():
    torch.manual_seed(0)
    x = np.random.default_rng(0).normal(size=(4, 3))  # (T, C)

    def sigmoid(z: np.ndarray) -> np.ndarray:
        return 1 / (1 + np.exp(-z))

    for name in ("rnn", "lstm", "gru"):
        model = build(name, input_shape=(3, 4), outputs=2, options={"hidden_size": 2, "bidirectional": False}).double().eval()
        layer = model.forwards[0]
        W, U, b, c = (parameter.detach().numpy() for parameter in layer.parameters())
        h, cell = np.zeros(2), np.zeros(2)
        for step in x:
            if name == "rnn":
                h = np.tanh(W @ step + b + U @ h + c)
                continue
            z, s = np.split(W @ step + b, len(W) // 2), np.split(U @ h + c, len(W) // 2)
            if name == "lstm":
                i, f, g, o = sigmoid(z[0] + s[0]), sigmoid(z[1] + s[1]), np.tanh(z[2] + s[2]), sigmoid(z[3] + s[3])
                cell = f * cell + i * g
                h = o * np.tanh(cell)
            else:
                r, u = sigmoid(z[0] + s[0]), sigmoid(z[1] + s[1])
                h = (1 - u) * np.tanh(z[2] + r * s[2]) + u * h
        states, _ = model.steps(torch.tensor(x.T[None]))
        np.testing.assert_allclose(states[0, -1].detach().numpy(), h, rtol=1e-10)
        if name == "lstm":
            assert (b + c).tolist() == [0, 0, 1, 1, 0, 0, 0, 0]  # the forget gate begins open


def test_attention_by_hand_and_against_torch():
    torch.manual_seed(0)
    query, keys, values = torch.randn(2, 3), torch.randn(2, 5, 4), torch.randn(2, 5, 6)
    mask = torch.tensor([[True] * 5, [True, True, False, False, False]])
    attention = AdditiveAttention(3, 4, 7)
    pooled, weights = attention(query, keys, values, mask)
    scores = [attention.score.weight @ torch.tanh(attention.query.weight @ query[1] + attention.key.weight @ keys[1, t]) for t in range(2)]
    torch.testing.assert_close(weights[1], torch.cat([torch.cat(scores).softmax(0), torch.zeros(3)]))
    torch.testing.assert_close(pooled[1], weights[1] @ values[1])

    theirs = nn.functional.scaled_dot_product_attention(keys[:, None], keys[:, None], values[:, None], mask[:, None, None])[:, 0]
    torch.testing.assert_close(scaled_dot_product(keys, keys, values, mask[:, None])[0], theirs)

    ours, oracle = MultiHeadAttention(8, 2), nn.MultiheadAttention(8, 2, batch_first=True)
    oracle.in_proj_weight.data = torch.cat([layer.weight for layer in (ours.query, ours.key, ours.value)])
    oracle.in_proj_bias.data = torch.cat([layer.bias for layer in (ours.query, ours.key, ours.value)])
    oracle.out_proj.load_state_dict(ours.output.state_dict())
    x, y = torch.randn(2, 3, 8), torch.randn(2, 5, 8)
    expected, maps = oracle(x, y, y, key_padding_mask=~mask, average_attn_weights=False)
    got, weights = ours(x, y, mask[:, None])
    torch.testing.assert_close(got, expected)
    torch.testing.assert_close(weights, maps)
    with pytest.raises(ModelError, match="divides 8"):
        MultiHeadAttention(8, 3)


def test_positions_by_hand():
    table = positions(6, 5, torch.zeros(1, dtype=torch.float64))
    for t in range(6):
        for i in range(5):
            angle = t / 10_000 ** (2 * (i // 2) / 5)
            assert math.isclose(table[t, i], math.cos(angle) if i % 2 else math.sin(angle), abs_tol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_what_is_no_sequence_is_refused(name):
    with pytest.raises(ModelError, match="choose network mlp"):
        build(name, input_shape=(30,), outputs=2)
    with pytest.raises(ModelError, match="choose network mlp"):
        build(name, input_shape=(3, 8, 8), outputs=2)


@pytest.mark.parametrize("name", ["gru", "lstm"])
def test_what_came_first_is_remembered(name):
    """The class is the sign of the first step; noise follows."""
    torch.manual_seed(0)
    samples = torch.randn(256, 1, 12)
    classes = (samples[:, 0, 0] > 0).long()
    model = build(name, input_shape=(1, 12), outputs=2, options={"pooling": "mean"})
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    for _ in range(60):
        loss = nn.functional.cross_entropy(model(samples), classes)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert (model(samples).argmax(1) == classes).float().mean() > 0.95


def test_a_pyramid_keeps_where_things_stand():
    """The means of the whole, the halves and the quarters of each sequence's own length."""
    from pellucid.networks.sequences import Pooling

    steps, mask = torch.randn(2, 9, 3), torch.ones(2, 9, dtype=torch.bool)
    mask[1, 5:] = False
    pooled = Pooling("pyramid", 3)(steps, mask)
    assert pooled.shape == (2, 21)
    for row, length in ((0, 9), (1, 5)):
        for place, (parts, part) in enumerate(((1, 0), (2, 0), (2, 1), (4, 0), (4, 1), (4, 2), (4, 3))):
            owned = [step for step in range(length) if step * parts // length == part]
            torch.testing.assert_close(pooled[row, 3 * place : 3 * place + 3], steps[row, owned].mean(0))
    turned = Pooling("pyramid", 3)(steps[:1].flip(1), mask[:1])
    assert not torch.allclose(turned, pooled[:1])
    torch.testing.assert_close(Pooling("mean", 3)(steps[:1].flip(1), mask[:1]), pooled[:1, :3])
