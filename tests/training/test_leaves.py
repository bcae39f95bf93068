"""The small leaves of training: L1 and clipping, cost."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from pellucid import networks
from pellucid.training.construction import all_parameters
from pellucid.training.cost import flops_per_sample
from pellucid.training.regularization import clip_gradients, l1_penalty, penalized_parameters

# -- regularisation ------------------------------------------------------------------------------------------------------------------


def test_l1_penalty_and_its_gradient():
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(8, 3), nn.Linear(3, 2).requires_grad_(False))
    with torch.no_grad():
        network[3].weight[0, 0] = 0.0
    penalty = l1_penalty(network)
    weights = [network[0].weight, network[3].weight]
    assert [id(w) for w in penalized_parameters(network)] == [id(w) for w in weights]
    assert penalty.item() == pytest.approx(sum(float(np.abs(w.detach().numpy()).sum()) for w in weights))
    penalty.backward()
    for weight in weights:
        assert torch.equal(weight.grad, weight.detach().sign())
    assert network[0].bias.grad is None
    assert l1_penalty(nn.BatchNorm1d(3)).item() == 0


def test_clipping():
    parameters = [torch.zeros(3, requires_grad=True), torch.zeros(2, 2, requires_grad=True)]
    gradients = [torch.tensor([3.0, 0.0, 0.0]), torch.tensor([[0.0, 4.0], [0.0, 0.0]])]
    for largest, factor in ((1.0, 0.2), (10.0, 1.0)):
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient.clone()
        assert clip_gradients(parameters, largest).item() == pytest.approx(5.0)
        for parameter, gradient in zip(parameters, gradients, strict=True):
            torch.testing.assert_close(parameter.grad, gradient * factor, rtol=1e-4, atol=0)


# -- cost ----------------------------------------------------------------------------------------------------------------------------


def test_flops_of_a_linear_layer():
    """Forward 2 N F K; backward 2 N F K for dW, and nothing for dx, which nobody needs; one sample's share."""
    assert flops_per_sample(nn.Linear(30, 5), torch.randn(4, 30)) == 2 * 30 * 5 + 2 * 30 * 5
    two = nn.Sequential(nn.Linear(30, 8), nn.ReLU(), nn.Linear(8, 5))
    assert flops_per_sample(two, torch.randn(4, 30)) == 4 * 30 * 8 + 6 * 8 * 5


def test_flops_of_a_convolution():
    positions, per_position = 6 * 6, 3 * 4 * 9  # 8 x 8 without padding; C_in C_out k k
    assert flops_per_sample(nn.Conv2d(3, 4, 3), torch.randn(2, 3, 8, 8)) == 2 * 2 * positions * per_position


@pytest.mark.parametrize("name", networks.names())
def test_counting_changes_nothing(name):
    tokens = name == "text_cnn"  # which reads nothing else
    shape, options = ((8,), {"vocabulary": 5}) if tokens else ((1, 8, 8), {})
    network = networks.build(name, input_shape=shape, outputs=3, options=options).eval()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    state = torch.get_rng_state()
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randint(0, 5, (2, 8), generator=generator) if tokens else torch.randn(2, *shape, generator=generator)
    flops = flops_per_sample(network, inputs)
    assert flops is not None
    assert flops > 0
    assert torch.equal(state, torch.get_rng_state())
    assert not network.training
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())
    assert all(parameter.grad is None for parameter in network.parameters())


class Stubborn(nn.Linear):
    def forward(self, x):
        raise RuntimeError("not today")


class Uncopyable(nn.Linear):
    def __deepcopy__(self, memo):
        raise RuntimeError("one of a kind")


@pytest.mark.parametrize("network", [Stubborn(3, 2), Uncopyable(3, 2), nn.Flatten()])
def test_cost_that_cannot_be_counted(network):
    assert flops_per_sample(network, torch.randn(2, 3)) is None


def test_parameters():
    shared = nn.Linear(3, 3)
    network = nn.Sequential(shared, shared, nn.Linear(3, 1).requires_grad_(False))
    assert all_parameters(network) == 16  # a layer used twice counts once, a frozen one counts
