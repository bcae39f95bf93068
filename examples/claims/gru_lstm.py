"""Claim: a GRU is simpler and faster than an LSTM, and on some tasks better.

Measured: both with 48 hidden units on the digits, read row by row (8 inputs of 8 pixels) and in pairs of pixels (32 inputs of 2): the
weights, milliseconds of processor time for a training step (the best of six rounds in turn), the test accuracy after 300 steps, and the
differences within each seed.

Came out: simpler, yes; faster, no: PyTorch's GRU is the slower one on a processor; better, not shown.

python examples/claims/gru_lstm.py
"""

import math
import time

import torch
from claim import Figures, report
from learning import accuracy, digits, train
from torch import Tensor, nn


class Reader(nn.Module):
    """Reads the image in pieces of `pixels` pixels; the last hidden state is classified."""

    def __init__(self, kind: type[nn.RNNBase], pixels: int) -> None:
        super().__init__()
        self.pixels, self.core, self.output = pixels, kind(pixels, 48, batch_first=True), nn.Linear(48, 10)

    def forward(self, x: Tensor) -> Tensor:  # (N, 1, 8, 8) -> (N, 10)
        return self.output(self.core(x.reshape(len(x), -1, self.pixels))[0][:, -1])


def measure(seed: int, quick: bool) -> Figures:
    X, y, X_test, y_test = digits(seed)
    found: Figures = {}
    for pixels in (8, 2):
        reading = f"{64 // pixels} inputs of {pixels}"
        torch.manual_seed(seed)
        models = {name: Reader(kind, pixels) for name, kind in (("GRU", nn.GRU), ("LSTM", nn.LSTM))}
        seconds = dict.fromkeys(models, math.inf)
        pieces = 2 if quick else 6
        for _ in range(pieces):
            for name, model in models.items():
                start = time.process_time()
                train(model, X, y, steps=50, learning_rate=0.01)
                seconds[name] = min(seconds[name], time.process_time() - start)
        for name, model in models.items():
            found[f"{name}, {reading}"] = {
                "weights": sum(parameter.numel() for parameter in model.parameters()),
                "ms a step": 1000 * seconds[name] / 50,
                "test accuracy": accuracy(model, X_test, y_test),
            }
        gru, lstm = found[f"GRU, {reading}"], found[f"LSTM, {reading}"]
        found[f"difference, {reading}"] = {column: gru[column] - lstm[column] for column in ("ms a step", "test accuracy")}
    return found


if __name__ == "__main__":
    report(measure, seeds=4, script=__file__)
