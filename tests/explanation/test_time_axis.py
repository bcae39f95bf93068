"""Time is found in either order of axes, whatever comes before the layer that knows it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from pellucid.explanation.players import Players
from pellucid.explanation.subject import Subject
from pellucid.explanation.time_axis import time_axis

C, T = 4, 11


class Network(nn.Module):
    """A layer that knows time, behind what reaches it."""

    def __init__(self, layer: nn.Module, before: Callable[[Tensor], Tensor], after: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.layer, self.last, self.before, self.after = layer, nn.LazyLinear(2), before, after

    def forward(self, x: Tensor) -> Tensor:
        out = self.layer(self.before(x))
        return self.last(self.after(out[0] if isinstance(out, tuple) else out))


def swapped(x: Tensor) -> Tensor:
    return x.transpose(1, 2)


def same(x: Tensor) -> Tensor:
    return x


_LAYERS: dict[str, tuple[Callable[[], nn.Module], bool, Callable[[Tensor], Tensor]]] = {  # time last, and what makes (N, D) of its output
    "GRU": (lambda: nn.GRU(C, 5, batch_first=True), False, lambda y: y[:, -1]),
    "LSTM time first": (lambda: nn.LSTM(C, 5), False, lambda y: y[-1]),
    "convolution": (lambda: nn.Conv1d(C, 5, 3), True, lambda y: y.mean(2)),
    "norm": (lambda: nn.BatchNorm1d(C), True, lambda y: y.amax(2)),
    "linear": (lambda: nn.Linear(C, 5), False, lambda y: y.mean(1)),
    "transformer": (lambda: nn.TransformerEncoderLayer(C, 2, 8, batch_first=True), False, lambda y: y.mean(1)),
    "mean": (nn.Identity, True, lambda y: y.mean(2)),
}  # fmt: skip
_BEFORE: dict[str, Callable[[Tensor], Tensor]] = {
    "": same, "scaled": lambda x: (x - 0.1) / 2, "flipped": lambda x: x.flip(1).contiguous(), "squared": lambda x: x.relu().clone(),
}  # fmt: skip


@pytest.mark.parametrize("before", _BEFORE.values(), ids=_BEFORE)
@pytest.mark.parametrize("name", _LAYERS)
@pytest.mark.parametrize("order", ["(N, C, T)", "(N, T, C)"])
def test_time_is_found(name: str, order: str, before: Callable[[Tensor], Tensor]) -> None:
    make, time_last, after = _LAYERS[name]
    given_last = order == "(N, C, T)"
    moved = same if given_last == time_last else swapped
    time_first = name == "LSTM time first"

    def reach(x: Tensor) -> Tensor:
        x = moved(before(x))
        return x.permute(1, 0, 2) if time_first else x

    model = Network(make(), reach, after)
    x = torch.randn(3, C, T) if given_last else torch.randn(3, T, C)
    model.eval()(x)
    subject = Subject.of(model, x, 0)
    shape = (C, T) if given_last else (T, C)
    assert time_axis(subject, shape) == int(given_last)
    players = Players.of(subject, 1)
    assert players.count == T
    assert f"axis {1 + given_last} " in str(players.stated)


def test_own_loops_over_time() -> None:
    class Loop(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cell, self.last = nn.GRUCell(C, 5), nn.Linear(5, 2)

        def forward(self, x: Tensor) -> Tensor:
            state = x.new_zeros(len(x), 5)
            for step in x.unbind(2):
                state = self.cell(step, state)
            return self.last(state)

    assert time_axis(Subject.of(Loop(), torch.randn(3, C, T), 0), (C, T)) == 1
