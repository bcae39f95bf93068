"""Claim: plain recurrent networks forget what lies far back; gates remember it, and attention reaches it in one step.

Measured: the first of L + 1 inputs is one of four symbols, the rest is noise; after the last, the symbol is asked for. Before training:
log10 of the gradient at the first input over that at the last. After 400 steps of Adam, clipped: the share recalled (guessing 0.25).

Came out: the gradient of gated networks vanishes as well, unless the forget gate starts open; that of attention does not. One learning rate
for all, tuned for none: the recall does not say which network remembers best.

python examples/claims/lags.py
"""

import torch
from claim import Figures, report
from learning import accuracy, train
from torch import Tensor, nn

KINDS = {"RNN": nn.RNN, "LSTM": nn.LSTM, "LSTM, forget gate open": nn.LSTM, "GRU": nn.GRU, "attention": nn.MultiheadAttention}


class Reader(nn.Module):
    """Answers from the last hidden state, or from what the last position attends to (positions are learnt)."""

    def __init__(self, kind: str, length: int) -> None:
        super().__init__()
        self.embedding, self.output = nn.Linear(4, 32), nn.Linear(32, 4)
        self.positions = nn.Parameter(torch.randn(length, 32)) if kind == "attention" else None
        self.core = KINDS[kind](32, 1 if kind == "attention" else 32, batch_first=True)
        if kind == "LSTM, forget gate open":  # sigmoid(4) = 0.98 of the cell state is kept (Gers et al. 2000)
            nn.init.constant_(self.core.bias_ih_l0[32:64], 4.0)

    def forward(self, x: Tensor) -> Tensor:  # (N, T, 4) -> (N, 4)
        x = self.embedding(x)
        if self.positions is None:
            return self.output(self.core(x)[0][:, -1])
        return self.output(self.core((x + self.positions)[:, -1:], *[x + self.positions] * 2)[0][:, 0])


def batch(size: int, lag: int) -> tuple[Tensor, Tensor]:
    """(N, L + 1, 4): a symbol, then noise; (N,): which symbol."""
    y = torch.randint(4, (size,))
    return torch.cat([nn.functional.one_hot(y, 4).float()[:, None], 0.3 * torch.randn(size, lag, 4)], 1), y


def measure(seed: int, quick: bool) -> Figures:
    found: Figures = {kind: {} for kind in KINDS}
    for kind, lag in ((kind, lag) for kind in KINDS for lag in ((10, 20) if quick else (10, 30))):
        torch.manual_seed(seed)
        model = Reader(kind, lag + 1)
        X = batch(32, lag)[0].requires_grad_()
        norms = torch.autograd.grad(model(X).pow(2).sum(), X)[0].norm(dim=(0, 2)).log10()  # (T,)
        found[kind][f"gradient, lag {lag}"] = float(norms[0] - norms[-1])
        train(model, *batch(4000, lag), steps=150 if quick else 400, learning_rate=0.01, batch=32, clip=1.0)
        found[kind][f"recall, lag {lag}"] = accuracy(model, *batch(500, lag))
    return found


if __name__ == "__main__":
    report(measure, seeds=3, script=__file__)
