"""Every optimiser's equations against `optimizer.step()`, at the first step and later ones, with every setting that changes them."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn

import pellucid
from pellucid.core.errors import OptionError
from pellucid.derivation.tape import Value
from pellucid.derivation.updates import METHODS, updates_of

CASES = [
    (torch.optim.SGD, {"lr": 0.1}),
    (torch.optim.SGD, {"lr": 0.1, "weight_decay": 0.2}),
    (torch.optim.SGD, {"lr": 0.1, "momentum": 0.9}),
    (torch.optim.SGD, {"lr": 0.1, "momentum": 0.9, "dampening": 0.3, "weight_decay": 0.1}),
    (torch.optim.SGD, {"lr": 0.1, "momentum": 0.9, "nesterov": True, "maximize": True}),
    (torch.optim.Adagrad, {"lr": 0.1}),
    (torch.optim.Adagrad, {"lr": 0.1, "lr_decay": 0.5, "weight_decay": 0.1, "initial_accumulator_value": 0.3}),
    (torch.optim.RMSprop, {"lr": 0.01}),
    (torch.optim.RMSprop, {"lr": 0.01, "momentum": 0.5, "centered": True, "weight_decay": 0.1}),
    (torch.optim.Adam, {"lr": 0.01}),
    (torch.optim.Adam, {"lr": 0.01, "betas": (0.8, 0.95), "weight_decay": 0.3, "amsgrad": True}),
    (torch.optim.Adam, {"lr": 0.01, "maximize": True, "fused": True}),
    (torch.optim.Adam, {"lr": 0.01, "weight_decay": 0.3, "decoupled_weight_decay": True}),
    (torch.optim.AdamW, {"lr": 0.01}),
    (torch.optim.AdamW, {"lr": 0.01, "weight_decay": 0.4, "amsgrad": True}),
    (torch.optim.AdamW, {"lr": torch.tensor(0.01), "weight_decay": 0.4}),
    (torch.optim.RAdam, {"lr": 0.01}),
    (torch.optim.RAdam, {"lr": 0.01, "betas": (0.8, 0.7), "weight_decay": 0.3}),
    (torch.optim.RAdam, {"lr": 0.01, "betas": (0.8, 0.95), "weight_decay": 0.3, "decoupled_weight_decay": True, "maximize": True}),
]


def network_and_values(dtype: torch.dtype = torch.float64) -> tuple[nn.Module, dict[str, Value]]:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)).to(dtype)
    generator = np.random.default_rng(0)
    values = {}
    for index, (name, parameter) in enumerate(network.named_parameters()):
        array = parameter.detach().double().numpy()
        values[name] = Value(index, name, "parameter", array, True, gradient=generator.normal(size=array.shape))
    return network, values


@pytest.mark.parametrize("steps", [0, 1, 4])
@pytest.mark.parametrize(("kind", "options"), CASES, ids=lambda value: getattr(value, "__name__", str(value)))
def test_equations_equal_step(kind, options, steps):
    network, values = network_and_values()
    optimizer = kind(network.parameters(), **options)
    for seed in range(steps):
        generator = torch.Generator().manual_seed(seed)
        for parameter in network.parameters():
            parameter.grad = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
        optimizer.step()
    for name, parameter in network.named_parameters():
        values[name].array = parameter.detach().numpy().copy()
    before, state_before = copy.deepcopy(network.state_dict()), copy.deepcopy(optimizer.state_dict())
    updates = updates_of(optimizer, network, values)
    assert [update.parameter for update in updates] == [name for name, _ in network.named_parameters()]
    for update in updates:
        assert update.checked
        assert update.error is not None
        assert update.error < 1e-12
        assert not np.array_equal(update.new, update.old)
        np.testing.assert_allclose(update.lines[-1].value, update.new)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert str(optimizer.state_dict()) == str(state_before)


def test_every_method_has_a_case():
    assert set(METHODS) == {kind for kind, _ in CASES}


def test_clipping_equals_torchs():
    network, values = network_and_values()
    updates = updates_of(torch.optim.SGD(network.parameters(), lr=1.0), network, values, clip=0.5)
    for name, parameter in network.named_parameters():
        parameter.grad = torch.tensor(values[name].gradient)
    nn.utils.clip_grad_norm_(network.parameters(), 0.5)
    for update, parameter in zip(updates, network.parameters(), strict=True):
        np.testing.assert_allclose(update.new, (parameter - parameter.grad).detach().numpy(), rtol=1e-12)
        assert "min" in update.equations[0]


def test_a_method_without_equation_shows_the_optimizers_value():
    network, values = network_and_values()
    (first, *_) = updates_of(torch.optim.Adadelta(network.parameters()), network, values)
    assert not first.checked
    assert first.note is not None
    assert not np.array_equal(first.new, first.old)


def test_a_wrong_equation_is_seen(monkeypatch):
    network, values = network_and_values()
    monkeypatch.setitem(METHODS, torch.optim.SGD, lambda sheet: sheet.write("w", sheet.w - 0.9 * sheet.settings["lr"] * sheet.g))
    errors = [update.error for update in updates_of(torch.optim.SGD(network.parameters(), lr=0.1), network, values)]
    assert min(errors) > 1e-4


@pytest.mark.parametrize("what", ["foreign", "no optimizer"])
def test_refused(what):
    network, values = network_and_values()
    optimizer = torch.optim.SGD(nn.Linear(2, 2).parameters(), lr=0.1) if what == "foreign" else "sgd"
    with pytest.raises(OptionError):
        updates_of(optimizer, network, values)  # pyright: ignore[reportArgumentType]


def test_parameters_without_a_gradient_stay():
    """step() passes over parameters whose .grad is None: neither weight decay nor momentum moves them."""

    class Partly(nn.Module):
        def __init__(self):
            super().__init__()
            self.used, self.unused, self.frozen = nn.Linear(3, 1), nn.Linear(3, 1), nn.Linear(3, 1).requires_grad_(False)

        def forward(self, x):
            return self.used(x) + self.frozen(x)

    torch.manual_seed(0)
    network, x = Partly().double(), torch.randn(4, 3, dtype=torch.float64)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, weight_decay=0.5)
    derivation = pellucid.derive(network, x, optimizer=optimizer)
    network(x).sum().backward()
    optimizer.step()
    for update in derivation.updates:
        np.testing.assert_allclose(
            update.new, network.get_parameter(update.parameter).detach().numpy(), rtol=1e-12, err_msg=update.parameter
        )
        assert bool(update.lines) == update.parameter.startswith("used")
    assert derivation.check().passed
    for page in (str(derivation), derivation.to_html(), derivation.to_latex()):
        assert "no gradient reaches it: SGD leaves it as it is" in page


def test_a_wrong_update_fails_the_check(monkeypatch):
    network = nn.Linear(3, 2)
    monkeypatch.setitem(METHODS, torch.optim.SGD, lambda sheet: sheet.write(r"w \leftarrow w + \eta g", sheet.w + 0.1 * sheet.g))
    derivation = pellucid.derive(network, torch.randn(4, 3), optimizer=torch.optim.SGD(network.parameters(), lr=0.1))
    check = derivation.check()
    assert not check.passed
    assert check.worst_update > 1e-3
    assert "update: largest relative error" in str(check)


def test_a_network_that_holds_results():
    """The old spectral_norm keeps its last weight, a result, as an attribute; copy.deepcopy refuses such a network."""
    network, x = nn.utils.spectral_norm(nn.Linear(3, 2)), torch.randn(4, 3)
    network(x)
    derivation = pellucid.derive(network, x, optimizer=torch.optim.Adam(network.parameters()))
    assert [update.parameter for update in derivation.updates] == ["bias", "weight_orig"]
    assert derivation.check().passed


def test_derive_shows_the_clipped_update():
    network, _ = network_and_values()
    x = torch.ones(2, 3, dtype=torch.float64)
    optimizer = torch.optim.SGD(network.parameters(), lr=1.0)
    derivation = pellucid.derive(network, x, loss=lambda output: (output**2).sum(), optimizer=optimizer, clip=0.1)
    norm = np.sqrt(sum(float(((update.new - update.old) ** 2).sum()) for update in derivation.updates))
    assert norm == pytest.approx(0.1, rel=1e-4)
    assert derivation.check().passed
    assert derivation.to_text()
    with pytest.raises(OptionError, match="clip"):
        pellucid.derive(network, x, optimizer=optimizer, clip=-1.0)
