"""Networks of fully connected layers: perceptron, logistic regression, multilayer perceptron. Any input shape is flattened to F features.

One layer computes z = x W^T + b with W (units, F) and b (units); a = f(z). Source: Goodfellow, Bengio and Courville 2016, chapter 6.
"""

from __future__ import annotations

import math
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from pellucid.core.language import text
from pellucid.core.options import Option
from pellucid.networks.activations import INITIALIZERS, build_activation, initialize
from pellucid.networks.registry import IntegersOption, network

INITIALIZATION = Option(
    "initialization", "choice", "auto", text("how the weights are drawn at first; auto suits the activation"), "network",
    choices=("auto", *INITIALIZERS),
)  # fmt: skip
HIDDEN = IntegersOption("hidden", "text", (64, 64), text("units of each hidden layer"), "network", minimum=1, maximum=1_000_000)
BATCH_NORM = Option("batch_norm", "flag", False, text("batch normalisation before each activation"), "network")


class BatchNorm1d(nn.BatchNorm1d):
    """Batch normalisation that takes a training batch of one sample too: its variance is unknown, so the running statistics serve."""

    def forward(self, input: Tensor) -> Tensor:  # (N, F)
        if self.training and len(input) == 1:
            return F.batch_norm(input, self.running_mean, self.running_var, self.weight, self.bias, False, 0.0, self.eps)
        return super().forward(input)


def hidden_layers(features: int, hidden: tuple[int, ...], activation: Any, dropout: float, batch_norm: bool) -> tuple[list[nn.Module], int]:
    """The layers between `features` inputs and the output layer, and how many features come out of them."""
    layers: list[nn.Module] = []
    for units in hidden:
        layers.append(
            nn.Linear(features, units, bias=not batch_norm)
        )  # batch normalisation subtracts the mean: a bias would have no effect
        if batch_norm:
            layers.append(BatchNorm1d(units))
        layers.append(build_activation(activation))
        if dropout:
            layers.append(nn.Dropout(dropout))
        features = units
    return layers, features


@network("perceptron", options=(INITIALIZATION,))
class Perceptron(nn.Module):
    """One linear unit per class (or target) and nothing between: z_k = w_k . x + b_k; the answer is the class with the largest z.

    The textbook's perceptron answers step(w . x + b) and corrects its weights by w <- w + eta (y - answer) x. The step passes no gradient,
    so it cannot stand inside a network trained by back-propagation. Here the same unit is trained by gradient descent on a loss of z, and
    the threshold is applied when the answer is read: the largest output, or the sign of a single one. What it can represent is the same:
    classes that hyperplanes separate, and not XOR.

    Source: Rosenblatt 1958; Minsky and Papert 1969 for what it cannot do.
    """

    def __init__(self, input_shape: tuple[int, ...], outputs: int, *, initialization: str = "auto") -> None:
        super().__init__()
        self.flatten = nn.Flatten()
        self.output = nn.Linear(math.prod(input_shape), outputs)
        initialize(self, initialization, "identity")

    def forward(self, inputs: Tensor) -> Tensor:  # (N, *input_shape)
        x = self.flatten(inputs)  # (N, F)
        return self.output(x)  # (N, K)


@network("logistic", options=(INITIALIZATION,), tasks=("classification",))
class LogisticRegression(Perceptron):
    """p(class k | x) = softmax(W x + b)_k, or sigmoid(w . x + b) for two classes and one output; forward gives the scores before it.

    The same layer as the perceptron; what makes it logistic regression is the loss, the negative log-likelihood (cross_entropy or
    binary_cross_entropy). That loss is convex in W and b, so that the weights start at zero and the seed does not matter but for the order
    of the samples. Source: Cox 1958; Bishop 2006, sections 4.3.2 and 4.3.4.
    """

    def __init__(self, input_shape: tuple[int, ...], outputs: int, *, initialization: str = "zeros") -> None:
        super().__init__(input_shape, outputs, initialization=initialization)


@network("mlp", options=(HIDDEN, BATCH_NORM, INITIALIZATION))
class MultilayerPerceptron(nn.Module):
    """a_0 = x, a_l = f(W_l a_{l-1} + b_l) for each hidden layer l, and scores z = W a + b of the last one.

    With batch normalisation: a_l = f(gamma (u - mean u) / sqrt(var u + eps) + beta), u = W_l a_{l-1} (Ioffe and Szegedy 2015, algorithm 1).
    With dropout p: each hidden a is set to 0 with probability p while training and divided by 1 - p otherwise (Srivastava et al. 2014).
    Weights are drawn as suits the activation (He et al. 2015 for relu), those of the output layer as Glorot and Bengio 2010 say.

    Source: Rumelhart, Hinton and Williams 1986.
    """

    def __init__(
        self,
        input_shape: tuple[int, ...],
        outputs: int,
        *,
        hidden: tuple[int, ...] = (64, 64),
        batch_norm: bool = False,
        initialization: str = "auto",
        activation: Any = "relu",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.flatten = nn.Flatten()
        layers, features = hidden_layers(math.prod(input_shape), hidden, activation, dropout, batch_norm)
        self.hidden = nn.Sequential(*layers)
        self.output = nn.Linear(features, outputs)
        initialize(self.hidden, initialization, activation)
        initialize(self.output, initialization, "identity")

    def forward(self, inputs: Tensor) -> Tensor:  # (N, *input_shape)
        x = self.flatten(inputs)  # (N, F)
        a = self.hidden(x)  # (N, hidden[-1])
        return self.output(a)  # (N, K)
