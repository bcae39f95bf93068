"""Recurrent networks and attention: one traced call, expanded into gates, times, layers, directions, heads; each gradient is autograd's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import pellucid
from pellucid.derivation.derive import Derivation


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
