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
from pellucid.networks.whitened import WhitenedConvolutionalNetwork
from pellucid.training.muon import muon_groups, orthogonalized
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


def radam(w, gradients, eta, mu, decay):
    m = s = 0
    for t, g in enumerate(gradients, 1):
        g = g + decay * w
        m, s = mu * m + (1 - mu) * g, 0.999 * s + 0.001 * g**2
        step, rho = m / (1 - mu**t), 1999 - 2 * t * 0.999**t / (1 - 0.999**t)
        if rho > 5:
            r = np.sqrt((rho - 4) * (rho - 2) * 1999 / (1995 * 1997 * rho))
            step = step * r * np.sqrt(1 - 0.999**t) / (np.sqrt(s) + 1e-8)
        w = w - eta * step
    return w


def orthogonal(matrix, iterations=5):
    """The polynomial on the singular values, where Muon has it on the matrix."""
    U, S, V = np.linalg.svd(matrix, full_matrices=False)
    s = S / (np.linalg.norm(matrix) + 1e-7)
    for _ in range(iterations):
        s = 3.4445 * s - 4.7750 * s**3 + 2.0315 * s**5
    return U @ np.diag(s) @ V


def muon(w, gradients, eta, mu, decay):
    """Of a hidden matrix (rows, columns), and of a vector: Adam with a third of the rate."""
    v = m = s = 0
    for t, g in enumerate(gradients, 1):
        if w.ndim == 1:
            m, s = mu * m + (1 - mu) * g, 0.95 * s + 0.05 * g**2
            w = w - eta / 3 * (m / (1 - mu**t)) / (np.sqrt(s / (1 - 0.95**t)) + 1e-8)
        else:
            v = mu * v + g
            w = w - eta * decay * w - eta * max(1, w.shape[0] / w.shape[1]) ** 0.5 * orthogonal(g + mu * v)
    return w


UPDATES = {
    "sgd": sgd, "momentum": momentum, "nesterov": functools.partial(momentum, nesterov=True), "adagrad": adagrad, "rmsprop": rmsprop,
    "adam": adam, "adamw": functools.partial(adam, decoupled=True), "radam": radam, "muon": muon,
}  # fmt: skip


def test_every_optimizer_has_an_update_here_and_a_custom():
    assert set(UPDATES) == set(OPTIMIZERS) == set(BY_NAME["optimizer"].choices) == set(CUSTOMARY_RATE) == set(CUSTOMARY_MOMENTUM)


@pytest.mark.parametrize("decay", [0.0, 0.1])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_updates_against_the_equation(name, decay):
    generator = np.random.default_rng(0)
    network = nn.Linear(4, 3, dtype=torch.float64)
    weight, bias = network.weight.detach().numpy().copy(), network.bias.detach().numpy().copy()
    gradients = generator.normal(size=(8, 3, 4))  # RAdam begins to scale its steps at the sixth
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


# -- muon --------------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(3, 20), (20, 3), (16, 16), (1, 5)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_singular_values_come_near_one_and_directions_stay(shape, dtype):
    matrix = torch.from_numpy(np.random.default_rng(1).normal(size=shape)).to(dtype)
    made = orthogonalized(matrix)
    assert made.dtype == dtype
    assert made.shape == matrix.shape
    U, S, V = torch.linalg.svd(matrix.double(), full_matrices=False)
    inner = U.T @ made.double() @ V.T
    rounding = 0.06 if dtype == torch.float32 else 1e-9  # bfloat16 where the processor has it
    assert (inner - torch.diag(inner.diagonal())).abs().max() < rounding
    held = 0.05 * S.norm() < S
    assert inner.diagonal()[held].min() > 0.65
    assert inner.diagonal().max() < 1.25


def test_filters_are_one_matrix():
    """(O, C, h, w) moves as its (O, C h w) does."""
    filters, matrix = nn.Conv2d(3, 4, 2, bias=False, dtype=torch.float64), nn.Linear(12, 4, bias=False, dtype=torch.float64)
    with torch.no_grad():
        matrix.weight.copy_(filters.weight.reshape(4, 12))
    gradient = torch.randn(4, 12, dtype=torch.float64)
    for network in (filters, matrix):
        network.weight.grad = gradient.reshape(network.weight.shape).clone()
        build_optimizer("muon", network, learning_rate=0.1, weight_decay=0.1).step()
    torch.testing.assert_close(filters.weight.reshape(4, 12), matrix.weight, rtol=0, atol=0)


def test_what_muon_makes_orthogonal():
    network = nn.Sequential(nn.Embedding(7, 4), nn.Linear(4, 5), nn.LayerNorm(5), nn.Linear(5, 6), nn.Linear(6, 2))
    groups = {(group["kind"], group["weight_decay"]): group["params"] for group in muon_groups(network, 0.1)}
    named = {id(parameter): name for name, parameter in network.named_parameters()}
    assert {key: [named[id(p)] for p in params] for key, params in groups.items()} == {
        ("orthogonal", 0.1): ["1.weight", "3.weight"],
        ("adam", 0.1): ["0.weight", "4.weight"],  # embedding and output layer
        ("adam", 0.0): ["1.bias", "2.weight", "2.bias", "3.bias", "4.bias"],
    }


def test_scale_free_weights_keep_their_size_and_others_do_not():
    torch.manual_seed(0)
    network = WhitenedConvolutionalNetwork((3, 8, 8), 2, filters=(8, 8))
    optimizer = build_optimizer("muon", network, learning_rate=0.1)
    free = network.scale_free_parameters()
    assert [id(p) for p in next(g for g in optimizer.param_groups if g["kind"] == "scale_free")["params"]] == [id(p) for p in free]
    frozen = network.whitening.weight.clone()
    before = [parameter.detach().clone() for parameter in free]
    nn.functional.cross_entropy(network(torch.randn(64, 3, 8, 8)), torch.arange(64) % 2).backward()
    optimizer.step()
    for old, new in zip(before, free, strict=True):
        scaled = old * len(old) ** 0.5 / old.norm()
        share = float((new.detach() - scaled).norm() / scaled.norm())
        assert share == pytest.approx(0.1, rel=0.35)  # the rate is the relative size of an update
    assert torch.equal(frozen, network.whitening.weight)
