"""One update of every optimiser against its equation in NumPy; which parameters decay; users' own optimisers."""

from __future__ import annotations

import dataclasses
import functools

import numpy as np
import pytest
import torch
from torch import nn

from pellucid.core.errors import ModelError, OptionError, OptionTypeError
from pellucid.core.options import BY_NAME
from pellucid.training.optimizers import OPTIMIZERS, build_optimizer, parameter_groups
from pellucid.training.settings import CUSTOMARY_MOMENTUM, CUSTOMARY_RATE


def sgd(w, gradients, eta, mu, decay):
    for g in gradients:
        w = w - eta * (g + decay * w)
    return w


def momentum(w, gradients, eta, mu, decay, nesterov=False):
    v = 0
    for g in gradients:
        g = g + decay * w
        v = mu * v + g
        w = w - eta * (g + mu * v if nesterov else v)
    return w


def adagrad(w, gradients, eta, mu, decay):
    s = 0
    for g in gradients:
        g = g + decay * w
        s = s + g**2
        w = w - eta * g / (np.sqrt(s) + 1e-10)
    return w


def rmsprop(w, gradients, eta, mu, decay):
    s = v = 0
    for g in gradients:
        g = g + decay * w
        s = 0.99 * s + 0.01 * g**2
        v = mu * v + g / (np.sqrt(s) + 1e-8)
        w = w - eta * v
    return w


def adam(w, gradients, eta, mu, decay, decoupled=False):
    m = s = 0
    for t, g in enumerate(gradients, 1):
        if decoupled:
            w = w - eta * decay * w
        else:
            g = g + decay * w
        m, s = mu * m + (1 - mu) * g, 0.999 * s + 0.001 * g**2
        w = w - eta * (m / (1 - mu**t)) / (np.sqrt(s / (1 - 0.999**t)) + 1e-8)
    return w


UPDATES = {
    "sgd": sgd, "momentum": momentum, "nesterov": functools.partial(momentum, nesterov=True), "adagrad": adagrad, "rmsprop": rmsprop,
    "adam": adam, "adamw": functools.partial(adam, decoupled=True),
}  # fmt: skip


def test_every_optimizer_has_an_update_here_and_a_custom():
    assert set(UPDATES) == set(OPTIMIZERS) == set(BY_NAME["optimizer"].choices) == set(CUSTOMARY_RATE) == set(CUSTOMARY_MOMENTUM)


@pytest.mark.parametrize("decay", [0.0, 0.1])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_updates_against_the_equation(name, decay):
    generator = np.random.default_rng(0)
    network = nn.Linear(4, 3, dtype=torch.float64)
    weight, bias = network.weight.detach().numpy().copy(), network.bias.detach().numpy().copy()
    gradients = generator.normal(size=(5, 3, 4))
    optimizer = build_optimizer(name, network, learning_rate=0.03, weight_decay=decay)
    for gradient in gradients:
        network.weight.grad, network.bias.grad = torch.tensor(gradient), torch.tensor(gradient[:, 0].copy())
        optimizer.step()
    mu = OPTIMIZERS[name].momentum
    np.testing.assert_allclose(network.weight.detach().numpy(), UPDATES[name](weight, gradients, 0.03, mu, decay), rtol=1e-9)
    np.testing.assert_allclose(network.bias.detach().numpy(), UPDATES[name](bias, gradients[:, :, 0], 0.03, mu, 0.0), rtol=1e-9)


@pytest.mark.parametrize("name", [name for name, entry in OPTIMIZERS.items() if entry.momentum is not None])
def test_given_momentum(name):
    generator = np.random.default_rng(0)
    network = nn.Linear(4, 3, bias=False, dtype=torch.float64)
    weight, gradients = network.weight.detach().numpy().copy(), generator.normal(size=(5, 3, 4))
    optimizer = build_optimizer(name, network, learning_rate=0.03, momentum=0.7)
    for gradient in gradients:
        network.weight.grad = torch.tensor(gradient)
        optimizer.step()
    update = momentum if name == "sgd" else UPDATES[name]
    np.testing.assert_allclose(network.weight.detach().numpy(), update(weight, gradients, 0.03, 0.7, 0.0), rtol=1e-9)


def test_l2_equals_decoupled_decay_for_plain_sgd_only():
    """L2 shrinks by eta * lambda each step, as decoupled decay does; Adam's L2 does not."""
    gradients = np.random.default_rng(0).normal(size=(3, 2, 2))
    w = np.ones((2, 2))
    shrunk = w
    for g in gradients:
        shrunk = shrunk - 0.1 * 0.5 * shrunk - 0.1 * g
    np.testing.assert_allclose(sgd(w, gradients, 0.1, 0, 0.5), shrunk)
    assert np.abs(adam(w, gradients, 0.1, 0.9, 0.5) - adam(w, gradients, 0.1, 0.9, 0.5, decoupled=True)).max() > 0.01


def test_biases_and_normalisation_do_not_decay():
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.PReLU(), nn.Flatten(), nn.Linear(8, 3))
    network[4].bias.requires_grad_(False)
    decayed, kept = parameter_groups(network, 0.1)
    assert [p.ndim for p in decayed["params"]] == [4, 2]
    assert [p.shape[0] for p in kept["params"]] == [2, 2, 2, 1]
    assert (decayed["weight_decay"], kept["weight_decay"]) == (0.1, 0.0)
    assert len(parameter_groups(network, 0.0)) == 1
    assert len(parameter_groups(nn.Linear(2, 2, bias=False), 0.1)) == 1


@pytest.mark.parametrize("name", ["sgd", "momentum", "nesterov", "adagrad", "adam", "adamw"])
def test_fused_where_it_exists(name):
    network = nn.Linear(3, 3)
    assert build_optimizer(name, network, learning_rate=0.1).defaults["fused"] is True
    sparse = nn.Embedding(3, 3, sparse=True)
    assert not build_optimizer(name, sparse, learning_rate=0.1).defaults.get("fused")


def test_plain_kernels_where_fused_ones_are_missing(monkeypatch):
    def constructor(groups, fused=False, **options):
        if fused:
            raise RuntimeError("`fused=True` requires all the params to be floating point Tensors of supported devices")
        return torch.optim.SGD(groups, **options)

    monkeypatch.setitem(OPTIMIZERS, "sgd", dataclasses.replace(OPTIMIZERS["sgd"], constructor=constructor))
    made = build_optimizer("sgd", nn.Linear(3, 3), learning_rate=0.1, weight_decay=0.1)
    assert not made.defaults.get("fused")
    assert [group["weight_decay"] for group in made.param_groups] == [0.1, 0.0]


@pytest.mark.parametrize(
    ("optimizer", "arguments", "error", "says"),
    [
        ("adamm", {}, OptionError, "did you mean 'adam'"),
        ("adagrad", {"momentum": 0.9}, OptionError, "adagrad has no momentum"),
        ("nesterov", {"momentum": 0.0}, OptionError, "above 0"),
        (3, {}, OptionTypeError, "a name, a subclass"),
        (lambda network: "sgd", {}, OptionTypeError, "optimizer is 'sgd'"),
        (lambda network: torch.optim.SGD([torch.zeros(1, requires_grad=True)]), {}, OptionError, "1 of 1 parameters that are not"),
        (torch.optim.LBFGS, {"weight_decay": 0.1}, OptionError, "LBFGS does not take it"),
    ],
)
def test_refusals(optimizer, arguments, error, says):
    with pytest.raises(error, match=says):
        build_optimizer(optimizer, nn.Linear(2, 2), learning_rate=0.1, **arguments)


def test_nothing_to_train():
    for network in (nn.Flatten(), nn.Linear(2, 2).requires_grad_(False)):
        with pytest.raises(ModelError, match="no parameter to train"):
            build_optimizer("sgd", network, learning_rate=0.1)


def test_users_own():
    network = nn.Linear(2, 2)
    made = build_optimizer(torch.optim.NAdam, network, learning_rate=0.3, momentum=0.9, weight_decay=0.1)
    assert isinstance(made, torch.optim.NAdam)
    assert [(group["lr"], group["weight_decay"]) for group in made.param_groups] == [(0.3, 0.1), (0.3, 0.0)]
    made = build_optimizer(functools.partial(torch.optim.SGD, momentum=0.5), network, learning_rate=0.3, momentum=0.9)
    assert (made.defaults["momentum"], made.defaults["lr"]) == (0.5, 0.3)
    made = build_optimizer(lambda network: torch.optim.SGD(network.parameters(), lr=7.0), network, learning_rate=0.3)
    assert made.defaults["lr"] == 7.0
    assert build_optimizer(made, network, learning_rate=0.3) is made
