"""Every activation against its formula, retyped in NumPy, its gradient against central differences; initialisers by their statistics."""

from __future__ import annotations

import functools
import math

import numpy as np
import pytest
import torch
from torch import nn

from pellucid.core.errors import OptionError, OptionTypeError
from pellucid.networks.activations import (
    ACTIVATIONS,
    ALIASES,
    INITIALIZERS,
    FunctionActivation,
    activation_name,
    build_activation,
    initialize,
)


def s(z):
    return 1 / (1 + np.exp(-z))


erf = np.vectorize(math.erf)
FORMULAS = {
    "identity": lambda z: z,
    "relu": lambda z: np.where(z > 0, z, 0),
    "relu6": lambda z: np.clip(z, 0, 6),
    "leaky_relu": lambda z: np.where(z > 0, z, 0.01 * z),
    "prelu": lambda z: np.where(z > 0, z, 0.25 * z),
    "elu": lambda z: np.where(z > 0, z, np.exp(z) - 1),
    "selu": lambda z: 1.0507009873554804934193349852946 * np.where(z > 0, z, 1.6732632423543772848170429916717 * (np.exp(z) - 1)),
    "celu": lambda z: np.maximum(0, z) + np.minimum(0, np.exp(z) - 1),
    "gelu": lambda z: z * (1 + erf(z / np.sqrt(2))) / 2,
    "silu": lambda z: z / (1 + np.exp(-z)),
    "mish": lambda z: z * np.tanh(np.log1p(np.exp(z))),
    "sigmoid": s,
    "tanh": lambda z: (np.exp(z) - np.exp(-z)) / (np.exp(z) + np.exp(-z)),
    "softplus": lambda z: np.log(1 + np.exp(z)),
    "softsign": lambda z: z / (1 + np.abs(z)),
    "hardtanh": lambda z: np.clip(z, -1, 1),
    "hardsigmoid": lambda z: np.clip((z + 3) / 6, 0, 1),
    "hardswish": lambda z: z * np.clip((z + 3) / 6, 0, 1),
    "logsigmoid": lambda z: -np.log(1 + np.exp(-z)),
    "tanhshrink": lambda z: z - np.tanh(z),
    "softshrink": lambda z: np.where(z > 0.5, z - 0.5, np.where(z < -0.5, z + 0.5, 0)),
    "hardshrink": lambda z: np.where(np.abs(z) > 0.5, z, 0),
}
# Away from the corners at 0, +-0.5, +-1, +-3 and 6, where a derivative does not exist.
POINTS = np.array([-7.3, -4.1, -2.2, -1.4, -0.7, -0.3, -0.04, 0.03, 0.4, 0.8, 1.6, 2.7, 4.4, 7.1])


def test_every_activation_has_a_formula_here():
    assert set(FORMULAS) == set(ACTIVATIONS)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_values_and_gradients(name):
    module = build_activation(name).double()
    z = torch.tensor(POINTS, requires_grad=True)
    a = module(z)
    np.testing.assert_allclose(a.detach().numpy(), FORMULAS[name](POINTS), rtol=1e-12, atol=1e-12)
    a.sum().backward()
    h = 1e-6
    differences = (FORMULAS[name](POINTS + h) - FORMULAS[name](POINTS - h)) / (2 * h)
    np.testing.assert_allclose(z.grad.numpy(), differences, rtol=1e-7, atol=1e-8)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_extreme_inputs_stay_finite(name):
    z = torch.tensor([-1e4, 1e4], requires_grad=True)
    a = build_activation(name)(z)
    a.sum().backward()
    assert torch.isfinite(a).all()
    assert torch.isfinite(z.grad).all()


@pytest.mark.parametrize("name", [*ALIASES, "ReLU", " GELU ", "Leaky-ReLU"])
def test_aliases_and_spellings(name):
    assert activation_name(name) in ACTIVATIONS


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("rellu", "did you mean 'relu'"),
        ("sigmod", "did you mean 'sigmoid'"),
        ("softmax", "logits"),
        ("log-softmax", "logits"),
        ("heaviside", "no gradient"),
        ("threshold", "no gradient"),
        ("", "choose one of"),
    ],
)
def test_refusals(name, says):
    with pytest.raises(OptionError, match=says):
        build_activation(name)


def test_objects_are_welcome():
    shared = nn.PReLU()
    copied = build_activation(shared)
    assert isinstance(copied, nn.PReLU)
    assert copied is not shared
    assert isinstance(build_activation(nn.GELU), nn.GELU)
    assert build_activation(functools.partial(nn.LeakyReLU, 0.2)).negative_slope == 0.2
    wrapped = build_activation(torch.sin)
    assert isinstance(wrapped, FunctionActivation)
    assert torch.equal(wrapped(torch.ones(3)), torch.ones(3).sin())
    with pytest.raises(OptionTypeError, match="function of one tensor"):
        build_activation(3)


# The variance of a weight with fan_in 400 and fan_out 100.
VARIANCES = {
    "he_normal": 2 / 400, "he_uniform": 2 / 400, "xavier_uniform": 2 / 500, "xavier_normal": 2 / 500, "lecun_normal": 1 / 400,
    "orthogonal": 1 / 400, "normal": 1e-4, "uniform": 0.1**2 / 12, "zeros": 0.0,
}  # fmt: skip


def test_every_initialiser_has_a_variance_here():
    assert set(VARIANCES) == set(INITIALIZERS)


@pytest.mark.parametrize("name", INITIALIZERS)
def test_initialisers(name):
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Linear(400, 100), nn.Conv2d(16, 4, 5, bias=False))
    initialize(layers, name)
    weight = layers[0].weight.detach()
    assert weight.var().item() == pytest.approx(VARIANCES[name], rel=0.05)
    assert abs(weight.mean().item()) < 0.001
    assert layers[0].bias.abs().max() == 0
    if name == "he_normal":  # a kernel's fan_in counts its window: 16 * 5 * 5
        assert layers[1].weight.var().item() == pytest.approx(2 / 400, rel=0.1)
    if name == "orthogonal":
        torch.testing.assert_close(weight @ weight.T, torch.eye(100), atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("activation", "variance"), [("relu", 2 / 400), ("tanh", 2 / 500), ("selu", 1 / 400), ("gelu", 2 / 400), (nn.ReLU, 2 / 400)]
)
def test_auto_suits_the_activation(activation, variance):
    torch.manual_seed(0)
    layer = nn.Linear(400, 100)
    initialize(layer, "auto", activation)
    assert layer.weight.var().item() == pytest.approx(variance, rel=0.05)


def test_he_keeps_the_signal_through_twenty_layers():
    torch.manual_seed(0)
    x = torch.randn(256, 256)
    for _ in range(20):
        layer = nn.Linear(256, 256)
        initialize(layer, "he_normal")
        x = layer(x).relu()
    assert 0.3 < (x**2).mean().item() < 3


def test_misspelled_initialiser():
    with pytest.raises(OptionError, match="did you mean 'xavier_uniform'"):
        initialize(nn.Linear(2, 2), "xavier_unifrom")
