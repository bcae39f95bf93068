"""features: what a layer gives, on networks whose answers are known, and nothing of the network is changed."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pellucid.core.errors import DataError, ModelError, OptionError
from pellucid.explanation.features.features import features


class Finder(nn.Module):
    """A convolution whose unit 0 answers to a vertical bright line at any place, unit 1 to a horizontal one; channels second."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 2, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(2)
        self.last = nn.Linear(2, 2)
        line = torch.tensor([[-1.0, 2.0, -1.0]] * 3)
        with torch.no_grad():
            self.first.weight.copy_(torch.stack([line, line.T])[:, None])

    def forward(self, images: Tensor) -> Tensor:
        return self.last(self.norm(self.first(images)).relu().amax(dim=(2, 3)))


def lines(count: int = 12) -> Tensor:
    """Images with a vertical line (even numbers) or a horizontal one (odd), the later the brighter."""
    images = torch.zeros(count, 1, 7, 7)
    for number in range(count):
        if number % 2:
            images[number, 0, 3, :] = 1 + number
        else:
            images[number, 0, :, 4] = 1 + number
    return images


def test_maps_kernels_and_what_excites_a_unit() -> None:
    model, images = Finder(), lines()
    found = features(model, images, "first", batch_size=5)
    assert torch.equal(found.maps, model.first(images).detach())
    assert found.kernels is not None
    assert torch.equal(found.kernels, model.first.weight)
    strongest = found.exciting(unit=1, count=3)
    assert strongest.samples.tolist() == [11, 9, 7]
    assert strongest.places[:, 0].tolist() == [3, 3, 3]  # on the line
    assert strongest.activations[0] == pytest.approx(6 * 12.0)
    assert found.exciting(unit=0).samples[:3].tolist() == [10, 8, 6]


def test_maximisation_makes_what_the_unit_looks_for() -> None:
    """The made input excites its unit more than any input does on average over the map, within the data's range, the same each time."""
    model, images = Finder(), lines() / 12
    found = features(model, images, "first")
    made = found.maximise([0, 1], steps=60)
    again = found.maximise([0, 1], steps=60)
    assert torch.equal(made.inputs[0], again.inputs[0])
    assert (made.activations > made.highest).all()
    assert made.inputs[0].min() >= images.min()
    assert made.inputs[0].max() <= images.max()
    vertical, horizontal = (image[0] for image in made.inputs[0])
    assert vertical.diff(dim=1).abs().mean() > 2 * vertical.diff(dim=0).abs().mean()  # stripes that stand
    assert horizontal.diff(dim=0).abs().mean() > 2 * horizontal.diff(dim=1).abs().mean()  # stripes that lie


def test_kernels_of_a_linear_layer_on_pixels_are_images() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(49, 5))
    kernels = features(model, lines(), "1").kernels
    assert kernels is not None
    assert kernels.shape == (5, 1, 7, 7)


class Reader(nn.Module):
    """Tokens through an embedding, a recurrent layer and attention."""

    def __init__(self, recurrent: type[nn.RNNBase] = nn.LSTM, batch_first: bool = True) -> None:
        super().__init__()
        self.words = nn.Embedding(9, 8)
        self.over_time = recurrent(8, 6, batch_first=batch_first)
        self.looks = nn.MultiheadAttention(6, 2, batch_first=True)
        self.last = nn.Linear(6, 3)
        self.batch_first = batch_first

    def forward(self, tokens: Tensor) -> Tensor:
        words = self.words(tokens)
        state = self.over_time(words)[0] if self.batch_first else self.over_time(words.transpose(0, 1))[0].transpose(0, 1)
        return self.last(self.looks(state, state, state, need_weights=False)[0].mean(dim=1))


@pytest.mark.parametrize(("recurrent", "batch_first"), [(nn.LSTM, True), (nn.GRU, False), (nn.RNN, True)])
def test_the_hidden_state_over_time(recurrent: type[nn.RNNBase], batch_first: bool) -> None:
    model = Reader(recurrent, batch_first).requires_grad_(False)  # PyTorch adds up in another order where weights are differentiated
    tokens = torch.randint(0, 9, (4, 5))
    state = features(model, tokens, "over_time").hidden_state
    words = model.words(tokens)
    expected = model.over_time(words)[0] if batch_first else model.over_time(words.transpose(0, 1))[0].transpose(0, 1)
    assert torch.equal(state, expected.detach())


class OwnLoop(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.GRUCell(3, 4)

    def forward(self, series: Tensor) -> Tensor:
        state = series.new_zeros(len(series), 4)
        for step in range(series.shape[1]):
            state = self.cell(series[:, step], state)
        return state


def test_the_calls_of_a_cell_are_time_steps() -> None:
    model, series = OwnLoop(), torch.randn(3, 6, 3)
    state = features(model, series, "cell").hidden_state
    assert state.shape == (3, 6, 4)
    assert torch.equal(state[:, -1], model(series).detach())


def test_neighbours_of_an_embedding() -> None:
    model = Reader()
    with torch.no_grad():
        model.words.weight.copy_(torch.eye(9, 8))
        model.words.weight[5] = torch.tensor([0.0, 0, 3, 0, 0, 0, 1, 0])  # nearly along 2, a little along 6
    near = features(model, torch.randint(0, 9, (2, 4)), "words").neighbours(5, count=2)
    assert near.indices.tolist() == [2, 6]
    assert near.similarities.tolist() == pytest.approx([3 / 10**0.5, 1 / 10**0.5])


def test_attention_of_each_head() -> None:
    model, tokens = Reader(), torch.randint(0, 9, (3, 5))
    found = features(model, tokens, "looks")
    state = model.over_time(model.words(tokens))[0]
    expected = model.looks(state, state, state, average_attn_weights=False)[1]
    assert torch.allclose(found.attention, expected.detach())
    assert torch.allclose(found.alignment(1), expected[1].mean(dim=0))
    assert torch.equal(found.alignment(1, head=1), found.attention[1, 1])
    entropies = [-(row * row.log()).sum(-1).mean() for row in found.attention[2]]
    assert torch.equal(found.alignment(2, "sharpest"), found.attention[2, int(torch.stack(entropies).argmin())])


class ScaledDotProduct(nn.Module):
    def __init__(self, causal: bool) -> None:
        super().__init__()
        self.project = nn.Linear(6, 18)
        self.causal = causal

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.project(x).unflatten(-1, (3, 2, 3)).permute(2, 0, 3, 1, 4)
        return F.scaled_dot_product_attention(q, k, v, is_causal=self.causal).transpose(1, 2).flatten(2)


class ByHand(ScaledDotProduct):
    """The same with its own softmax."""

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.project(x).unflatten(-1, (3, 2, 3)).permute(2, 0, 3, 1, 4)
        scores = q @ k.transpose(-2, -1) / 3**0.5
        if self.causal:
            scores = scores.masked_fill(torch.ones(scores.shape[-2:]).triu(1).bool(), float("-inf"))
        return (scores.softmax(dim=-1) @ v).transpose(1, 2).flatten(2)


@pytest.mark.parametrize("causal", [True, False])
def test_attention_that_gives_no_weights_is_that_by_hand(causal: bool) -> None:
    fused, by_hand, x = ScaledDotProduct(causal), ByHand(causal), torch.randn(4, 5, 6)
    by_hand.load_state_dict(fused.state_dict())
    ours, theirs = (features(model, x, "").attention for model in (fused, by_hand))
    assert ours.shape == (4, 2, 5, 5)
    assert torch.allclose(ours, theirs, atol=1e-6)


class Translator(nn.Module):
    """Additive attention step by step, as in Bahdanau et al.: the decoder's row for each step of its own loop."""

    def __init__(self) -> None:
        super().__init__()
        self.score = nn.Linear(8, 1)
        self.cell = nn.GRUCell(4, 4)

    def forward(self, source: Tensor) -> Tensor:
        state = source.mean(dim=1)
        for _ in range(3):
            pairs = torch.cat([source, state[:, None].expand_as(source)], dim=-1)
            weights = F.softmax(self.score(pairs.tanh()), dim=1)  # (N, T, 1)
            state = self.cell((weights * source).sum(dim=1), state)
        return state


def test_the_alignment_of_a_decoder_has_a_row_for_each_of_its_steps() -> None:
    found = features(Translator(), torch.randn(2, 6, 4), "")
    assert found.alignment(0).shape == (3, 6)
    assert torch.allclose(found.alignment(0).sum(dim=1), torch.ones(3))


def test_nothing_of_the_network_is_changed() -> None:
    model, images = Finder().train(), lines(24)
    model.norm.eval()
    before = copy.deepcopy(model.state_dict())
    state = torch.get_rng_state()
    found = features(model, images, "norm")
    found.maximise(0, steps=3)
    found.probes(torch.arange(24) % 2)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert (model.training, model.norm.training) == (True, False)
    assert torch.equal(torch.get_rng_state(), state)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    assert all(parameter.grad is None for parameter in model.parameters())


BAD: dict[str, tuple[Any, type[Exception], str]] = {
    "a wrong path": (lambda: features(Finder(), lines(), "frist"), OptionError, "did you mean 'first'"),
    "no module": (lambda: features(lambda x: x, lines(), "first"), ModelError, "torch.nn.Module"),
    "no tensor": (lambda: features(Finder(), [[1.0]], "first"), DataError, "with the sample axis first"),
    "no unit": (lambda: features(Finder(), lines(), "first").exciting(2), OptionError, "from 0 to 1"),
    "no time": (lambda: features(Finder(), lines(), "first").hidden_state, OptionError, "time steps"),
    "no attention": (lambda: features(Finder(), lines(), "first").attention, OptionError, "no attention"),
    "tokens": (lambda: features(Reader(), torch.zeros(2, 3, dtype=torch.long), "last").maximise(0), OptionError, "whole numbers"),
    "no head": (lambda: features(Reader(), torch.zeros(2, 3, dtype=torch.long), "looks").alignment(0, 7), OptionError, "head is 7"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input(name: str) -> None:
    act, kind, said = BAD[name]
    with pytest.raises(kind, match=said):
        act()


def test_a_layer_that_the_pass_does_not_come_to() -> None:
    model = Finder()
    model.spare = nn.Linear(2, 2)
    with pytest.raises(OptionError, match="not called"):
        features(model, lines(), "spare")
