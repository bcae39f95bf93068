"""The table of layers: against counts and receptive fields worked out by hand, and for networks of every sort."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pellucid.core.results import LayerRow, NetworkTable
from pellucid.training.cost import flops_per_sample
from pellucid.training.layers import ROWS, network_table


class Residual(nn.Module):
    """Branches, functions in place of modules, a parameter of its own, a layer that is never called."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.wide = nn.Conv2d(8, 8, 5, 2, 2)
        self.narrow = nn.Conv2d(8, 8, 1, 2)
        self.last = nn.Linear(8, 5)
        self.mixing = nn.Parameter(torch.eye(5))
        self.unused = nn.Linear(3, 3)

    def forward(self, images: Tensor) -> Tensor:
        maps = F.max_pool2d(F.relu(self.norm(self.first(images))), 2)
        maps = F.relu(self.wide(maps) + self.narrow(maps))
        return self.last(F.adaptive_avg_pool2d(maps, 1).flatten(1)) @ self.mixing


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.LSTMCell(4, 6)
        self.deep = nn.LSTM(6, 5, 2, batch_first=True, bidirectional=True)
        self.attention = nn.MultiheadAttention(10, 2, batch_first=True)
        self.out = nn.Linear(10, 3)
        self.tied = nn.Linear(10, 3)
        self.tied.weight = self.out.weight

    def forward(self, x: Tensor) -> Tensor:  # (N, T, 4)
        state = None
        states = []
        for step in x.unbind(1):
            state = self.cell(step, state)
            states.append(state[0])
        a = self.deep(torch.stack(states, 1))[0]
        a = self.attention(a, a, a)[0]
        return self.out(a[:, -1]) + self.tied(a[:, 0])


def by_path(table: NetworkTable) -> dict[str, LayerRow]:
    return {row.path: row for row in table.rows}


def test_residual_network_by_hand() -> None:
    network = Residual()
    table = network_table(network, torch.zeros(2, 3, 32, 32))
    rows = by_path(table)
    assert [row.path for row in table.rows] == ["first", "norm", "wide", "narrow", "last", "", "unused"]
    assert rows["first"].output_shape == (8, 32, 32)
    assert rows["first"].flops == 2 * 3 * 9 * 8 * 32 * 32
    assert rows["wide"].flops == 2 * 8 * 25 * 8 * 8 * 8
    assert rows[""].flops == 2 * 5 * 5
    assert rows[""].parameters == 25
    assert rows[""].kind == "Residual"
    assert rows["unused"].calls == 0
    assert rows["unused"].parameters == 12
    assert {path: row.receptive_field for path, row in rows.items()} == {
        "first": (3, 3), "norm": (3, 3), "wide": (4 + 4 * 2, 4 + 4 * 2), "narrow": (4, 4), "last": None, "": None, "unused": None,
    }  # fmt: skip
    assert sum(row.parameters for row in table.rows) == table.parameters == sum(p.numel() for p in network.parameters())
    assert sum(row.flops or 0 for row in table.rows) == table.flops


def test_recurrent_network_by_hand() -> None:
    steps = 7
    table = network_table(Recurrent(), torch.zeros(3, steps, 4))
    rows = by_path(table)
    assert rows["cell"].calls == steps
    assert rows["cell"].flops == steps * 2 * 4 * 6 * (4 + 6)
    assert rows["deep"].flops == 2 * 2 * steps * 4 * 5 * ((6 + 5) + (10 + 5))  # two directions, two layers
    assert rows["attention"].parameters == 4 * 10 * 10 + 4 * 10  # with those of out_proj, which is never called
    assert rows["tied"].shared is False
    assert rows["tied"].parameters == 3
    assert sum(row.parameters for row in table.rows) == table.parameters
    assert "attention.out_proj" not in rows


@pytest.mark.parametrize(
    ("layers", "inputs", "fields"),
    [
        ([nn.Conv1d(2, 4, 5, dilation=3), nn.AvgPool1d(2), nn.Conv1d(4, 4, 3)], (2, 2, 64), [(13,), (14,), (18,)]),
        ([nn.Conv3d(1, 2, (1, 3, 3)), nn.MaxPool3d(2), nn.GELU()], (2, 1, 8, 8, 8), [(1, 3, 3), (2, 4, 4), (2, 4, 4)]),
        ([nn.Conv2d(1, 2, (3, 1), stride=(2, 1)), nn.Conv2d(2, 2, 3)], (2, 1, 16, 16), [(3, 1), (7, 3)]),
        ([nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(72, 2)], (2, 1, 8, 8), [(3, 3), None, None]),
        ([nn.Conv2d(1, 2, 3), nn.Softmax2d(), nn.Upsample(scale_factor=2), nn.Conv2d(2, 2, 3)], (2, 1, 8, 8), [(3, 3), None, None, None]),
        ([nn.Conv2d(1, 2, 3), nn.MaxPool2d(3, 1, dilation=2), nn.LPPool2d(2, 3, 2)], (2, 1, 16, 16), [(3, 3), (7, 7), (9, 9)]),
        ([nn.Linear(4, 3), nn.ReLU()], (2, 4), [None, None]),
    ],
    ids=["1d-dilated", "3d", "uneven", "flatten", "undefined", "pools", "dense"],
)  # fmt: skip
def test_receptive_fields(layers: list[nn.Module], inputs: tuple[int, ...], fields: list[tuple[int, ...] | None]) -> None:
    table = network_table(nn.Sequential(*layers), torch.randn(inputs))
    assert [row.receptive_field for row in table.rows] == fields


def test_a_receptive_field_is_what_the_gradient_reaches() -> None:
    """The oracle: which inputs the middle output's gradient is not zero at."""
    layers = nn.Sequential(nn.Conv2d(1, 1, 3), nn.Conv2d(1, 1, 3, stride=2), nn.AvgPool2d(3, 2), nn.Conv2d(1, 1, 3, dilation=2)).double()
    for parameter in layers.parameters():
        nn.init.constant_(parameter, 1.0)
    images = torch.ones(2, 1, 61, 61, dtype=torch.float64, requires_grad=True)
    maps = layers(images)
    maps[0, 0, maps.shape[2] // 2, maps.shape[3] // 2].backward()
    assert images.grad is not None
    reached = tuple(int((images.grad[0, 0].abs().sum(axis) > 0).sum()) for axis in (1, 0))
    assert network_table(layers, images.detach()).rows[-1].receptive_field == reached


def test_nothing_is_changed_and_the_users_hooks_stay_quiet() -> None:
    network = nn.Sequential(nn.Linear(3, 4), nn.Dropout(0.5), nn.BatchNorm1d(4)).eval()
    called: list[int] = []
    network[0].register_forward_hook(lambda *_: called.append(1))
    state, before = torch.get_rng_state(), {name: value.clone() for name, value in network.state_dict().items()}
    network_table(network, torch.randn(2, 3, generator=torch.Generator().manual_seed(0)))
    assert not called
    assert not network.training
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert len(network[0]._forward_hooks) == 1


def test_deep_networks_are_cut_off() -> None:
    table = network_table(nn.Sequential(*(nn.Linear(2, 2) for _ in range(ROWS + 5))), torch.zeros(2, 2))
    assert len(table.rows) == ROWS
    assert table.rows_left_out == 5
    assert table.parameters == 6 * (ROWS + 5)


def test_the_operations_of_an_lstm_are_counted() -> None:
    network = nn.LSTM(4, 6, batch_first=True)

    class Last(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lstm = network

        def forward(self, x: Tensor) -> Tensor:
            return self.lstm(x)[0][:, -1]

    forward = 2 * 5 * 4 * 6 * (4 + 6)
    flops = flops_per_sample(Last(), torch.randn(3, 5, 4))
    assert flops == pytest.approx(3 * forward, rel=0.2)  # torch leaves the gradient of an input that needs none out
