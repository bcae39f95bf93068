"""The textbook's networks derived, every equation checked against autograd: python examples/derive_networks.py mlp

Names: mlp, cnn, fcn, rnn, lstm, gru, attention, transformer. Prints the derivation's check; `print(derivation)` shows every equation.
"""

import sys

import torch
from torch import nn

import pellucid


class Last(nn.Module):
    """A recurrent network whose last hidden state is classified."""

    def __init__(self, kind):
        super().__init__()
        self.recurrent = {"rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}[kind](3, 5, batch_first=True)
        self.output = nn.Linear(5, 2)

    def forward(self, x):  # (N, T, 3)
        states, _ = self.recurrent(x)
        return self.output(states[:, -1])


class Attention(nn.Module):
    """Self-attention with two heads, mean over the positions."""

    def __init__(self):
        super().__init__()
        self.attention, self.output = nn.MultiheadAttention(4, 2, batch_first=True), nn.Linear(4, 2)

    def forward(self, x):  # (N, T, 4)
        return self.output(self.attention(x, x, x)[0].mean(1))


def conv(inputs, outputs):
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2))


NETWORKS = {  # name -> (network, shape of one sample)
    "mlp": lambda: (nn.Sequential(nn.Linear(2, 4), nn.Sigmoid(), nn.Linear(4, 2)), (2,)),
    "cnn": lambda: (nn.Sequential(conv(1, 4), conv(4, 6), nn.Flatten(), nn.Linear(24, 2)), (1, 8, 8)),
    "fcn": lambda: (nn.Sequential(conv(1, 4), nn.ConvTranspose2d(4, 2, 2, stride=2)), (1, 8, 8)),
    **{kind: (lambda kind=kind: (Last(kind), (6, 3))) for kind in ("rnn", "lstm", "gru")},
    "attention": lambda: (Attention(), (5, 4)),
    "transformer": lambda: (nn.TransformerEncoderLayer(4, 2, 8, dropout=0.0, batch_first=True), (5, 4)),
}

if __name__ == "__main__":
    torch.manual_seed(0)
    network, shape = NETWORKS[sys.argv[1] if len(sys.argv) > 1 else "mlp"]()
    inputs = torch.randn(4, *shape)
    target = torch.randint(0, 2, (4, *network(inputs).shape[2:])) if sys.argv[-1] != "transformer" else torch.randn(4, *shape)
    loss = nn.functional.mse_loss if sys.argv[-1] == "transformer" else nn.functional.cross_entropy
    derivation = pellucid.derive(network, inputs, target, loss=loss, optimizer=torch.optim.SGD(network.parameters(), lr=0.1))
    check = derivation.check()
    print(check)
    print(f"{len(derivation.steps)} equations, {check.without_equation} without; largest gradient error {check.worst_gradient:.1e}")
