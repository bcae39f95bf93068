"""Recurrent networks: RNN, LSTM, GRU, for texts and series of any length."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, cast

import torch
from torch import Tensor, nn

from pellucid.core.language import text
from pellucid.core.options import Option
from pellucid.networks.activations import INITIALIZERS, initialize
from pellucid.networks.dense import INITIALIZATION
from pellucid.networks.registry import network
from pellucid.networks.sequences import EMBEDDING_SIZE, POOLING, VOCABULARY, Pooling, SequenceInput, channels_of, lengths_of

OPTIONS = (
    VOCABULARY,
    EMBEDDING_SIZE,
    Option("hidden_size", "integer", 64, text("units of each recurrent layer, in each direction"), "network", minimum=1, maximum=65_536),
    Option("layers", "integer", 1, text("recurrent layers, one on the other"), "network", minimum=1, maximum=64),
    Option("bidirectional", "flag", True, text("a second set of units reads the sequence from its end"), "network"),
    POOLING,
    INITIALIZATION,
    Option(
        "recurrent_initialization", "choice", "orthogonal", text("how the weights between the steps are drawn at first"), "network",
        choices=tuple(INITIALIZERS),
    ),
)  # fmt: skip


class LockedDropout(nn.Module):
    """The same features of a sequence are dropped at all its steps. Source: Gal and Ghahramani 2016, equation 4."""

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, steps: Tensor) -> Tensor:  # (N, T, D)
        if not self.training or not self.p:
            return steps
        return nn.functional.dropout(steps.new_ones(len(steps), 1, steps.shape[2]), self.p) * steps


def reversed_steps(steps: Tensor, lengths: Tensor) -> Tensor:
    """(N, T, D): the steps of each sequence from its own last to its first, what follows them where it was."""
    place = torch.arange(steps.shape[1], device=steps.device)[None]  # (1, T)
    place = torch.where(place < lengths[:, None], lengths[:, None] - 1 - place, place)
    return steps.gather(1, place[..., None].expand_as(steps))


class RecurrentNetwork(nn.Module):
    """h_1 ... h_T of each layer from those of the layer below, both directions side by side; pooled; z = W pool(h) + b.

    Padded batches instead of packed ones: packing was slower here. The units that read backwards begin at each sequence's own last step, so
    that they see no padding. Dropout of whole features between the layers, the same at all steps.
    """

    cell: ClassVar[Callable[..., nn.RNNBase]] = nn.RNN

    def __init__(
        self,
        input_shape: tuple[int, ...],
        outputs: int,
        *,
        vocabulary: int = 0,
        embedding_size: int = 64,
        hidden_size: int = 64,
        layers: int = 1,
        bidirectional: bool = True,
        pooling: str = "mean",
        initialization: str = "auto",
        recurrent_initialization: str = "orthogonal",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        fill = "xavier_uniform" if initialization == "auto" else initialization
        self._fill, self._fill_between = INITIALIZERS[fill][0], INITIALIZERS[recurrent_initialization][0]
        channels = channels_of(type(self).__name__.lower(), input_shape, vocabulary)
        self.input = SequenceInput(channels, vocabulary, embedding_size, dropout)
        features = self.input.features
        self.forwards, self.backwards = nn.ModuleList(), nn.ModuleList()
        for _ in range(layers):
            for direction in (self.forwards, self.backwards)[: 1 + bidirectional]:
                direction.append(self._layer(features, hidden_size))
            features = hidden_size * (1 + bidirectional)
        self.dropout = LockedDropout(dropout)
        self.pooling = Pooling(pooling, features)
        self.output = nn.Linear(self.pooling.features, outputs)
        initialize(self.output, initialization, "identity")

    def _layer(self, features: int, hidden_size: int) -> nn.RNNBase:
        """Weights from the inputs by default as Glorot and Bengio 2010 say, between the steps orthogonal (Saxe et al. 2014), each gate by
        itself; biases zero."""
        layer = self.cell(features, hidden_size, batch_first=True)
        for name, parameter in layer.named_parameters():
            if name.startswith("weight_hh"):
                for gate in parameter.detach().split(hidden_size):
                    self._fill_between(gate)
            elif name.startswith("weight"):
                self._fill(parameter.detach())
            else:
                nn.init.zeros_(parameter)
        return layer

    def steps(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens (N, T) or series (N, C, T) -> hidden states (N, T, H) of the last layer, mask (N, T)."""
        x, mask = self.input(inputs)
        lengths = lengths_of(mask)
        for number, forwards in enumerate(self.forwards):
            if number:
                x = self.dropout(x)
            h, _ = forwards(x)
            if len(self.backwards):
                backwards, _ = self.backwards[number](reversed_steps(x, lengths))
                h = torch.cat([h, reversed_steps(backwards, lengths)], 2)
            x = h
        return x * (torch.arange(x.shape[1], device=x.device) < lengths[:, None])[..., None], mask

    def forward(self, inputs: Tensor) -> Tensor:
        h, mask = self.steps(inputs)
        return self.output(self.dropout(self.pooling(h, mask)[:, None])[:, 0])  # (N, K)


@network("rnn", options=OPTIONS)
class RNN(RecurrentNetwork):
    """h_t = tanh(W x_t + U h_{t-1} + b), h_0 = 0. Source: Elman 1990; Goodfellow, Bengio and Courville 2016, equations 10.8 and 10.9."""


@network("lstm", options=OPTIONS)
class LSTM(RecurrentNetwork):
    """A cell c_t that forgets and takes in through gates, which lets gradients live longer:

        i, f, o = sigmoid(W_{i,f,o} x_t + U_{i,f,o} h_{t-1} + b_{i,f,o}),   g = tanh(W_g x_t + U_g h_{t-1} + b_g)
        c_t = f c_{t-1} + i g,   h_t = o tanh(c_t)

    The forget gate's bias starts at 1 (Jozefowicz et al. 2015). Source: Hochreiter and Schmidhuber 1997; Gers et al. 2000.
    """

    cell = nn.LSTM

    def _layer(self, features: int, hidden_size: int) -> nn.RNNBase:
        layer = super()._layer(features, hidden_size)
        cast("Tensor", layer.bias_ih_l0).data[hidden_size : 2 * hidden_size] = 1.0  # torch's order: i, f, g, o
        return layer


@network("gru", options=OPTIONS)
class GRU(RecurrentNetwork):
    """Two gates instead of three, and no cell of its own:

        r, z = sigmoid(W_{r,z} x_t + U_{r,z} h_{t-1} + b_{r,z}),   n = tanh(W_n x_t + b_n + r (U_n h_{t-1} + c_n))
        h_t = (1 - z) n + z h_{t-1}

    Source: Cho et al. 2014, equations 5 to 8, with torch's place of r.
    """

    cell = nn.GRU
