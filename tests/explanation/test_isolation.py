"""Networks whose copy still leads to the user's own modules: these stay as they are, and the network in evaluation mode is explained."""

from __future__ import annotations

import copy
import functools
import random
import threading
import types
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import pellucid
from explanation.explained_networks import tabular
from pellucid.core.errors import ModelError
from pellucid.explanation.faithfulness.relatives import scrambled
from pellucid.explanation.subject import Subject


class Body(nn.Module):
    """What evaluation mode, hooks and counting show: batch norm, dropout, a counter, a list and a buffer that every call changes."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(5, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 3))
        self.calls, self.seen, self.heard = 0, [], []
        self.register_buffer("total", torch.zeros(1))
        self.net[1].running_mean.uniform_(generator=torch.Generator().manual_seed(1))
        self.net[0].register_forward_hook(lambda *_: self.heard.append("forward"))
        self.net[0].register_full_backward_hook(lambda *_: self.heard.append("backward"))

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        self.seen.append(len(x))
        self.total += 1
        return self.net(x)


class Around(nn.Module):
    """A registered layer behind whatever `reach` gives."""

    def __init__(self, reach: Callable[[], Callable[[Tensor], Tensor]], **held: Any) -> None:
        super().__init__()
        self.last = nn.Linear(3, 3)
        self.__dict__.update(held, reach=reach)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.reach()(x))


class Held:
    """An object that cannot be copied."""

    def __init__(self, body: nn.Module) -> None:
        self.body, self.lock = body, threading.Lock()


BODY = Body()
DRAWS = np.random.default_rng(0)


def _with_forward(make: Callable[[Body], Any]) -> nn.Module:
    body = Body()
    body.forward = make(body)
    return body


def _flags(body: Body) -> Callable[[Tensor], Tensor]:
    def forward(x: Tensor) -> Tensor:
        body.calls += 1
        x = F.batch_norm(body.net[0](x), body.net[1].running_mean, body.net[1].running_var, training=body.training)
        return body.net[4](F.dropout(x, 0.5, body.training))

    return forward


def _by_class() -> nn.Module:
    body = Body()

    class Closing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.last = nn.Linear(3, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.last(body(x))

    Closing.body = body  # for the test to find
    return Closing()


class Global(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.last = nn.Linear(3, 3)
        self.body_of_others = [BODY]

    def forward(self, x: Tensor) -> Tensor:
        return self.last(BODY(x))


class Restless(nn.Module):
    """A train() that gives nothing back, as many write it."""

    def __init__(self) -> None:
        super().__init__()
        self.body = Body()

    def train(self, mode: bool = True) -> None:  # type: ignore[override]
        super().train(mode)

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x)


def _weak() -> nn.Module:
    body = Body()
    body.forward = (lambda reference: lambda x: reference().net(x))(weakref.ref(body))
    return body


_ODD: dict[str, Callable[[], nn.Module]] = {
    "closure": lambda: _with_forward(lambda body: lambda x: body.net(x)),
    "closure over forward": lambda: _with_forward(lambda body: (lambda old: lambda x: 2 * old(x))(body.forward)),
    "closure over flags": lambda: _with_forward(_flags),
    "nested closure": lambda: _with_forward(lambda body: functools.partial(lambda x: (lambda y: body.net(y))(x))),
    "partial": lambda: _with_forward(lambda body: functools.partial(lambda net, x: net(x), body.net)),
    "method": lambda: _with_forward(lambda body: types.MethodType(lambda self, x: self.net(x), body)),
    "weak reference": _weak,
    "list": lambda: (lambda parts: Around(lambda: parts[0], parts=parts))([Body()]),
    "dict": lambda: (lambda parts: Around(lambda: parts["a"], parts=parts))({"a": Body()}),
    "function": lambda: (lambda body: Around(lambda: lambda x: body(x)))(Body()),
    "class": _by_class,
    "global": Global,
    "lock": lambda: (lambda held: Around(lambda: held.body, held=held))(Held(Body())),
    "made anew": lambda: Around(lambda: nn.Sequential(nn.Linear(5, 3), nn.BatchNorm1d(3).eval()).requires_grad_(False)),
    "train gives nothing": Restless,
}  # fmt: skip


def _modules(model: nn.Module) -> list[nn.Module]:
    """With those that are not registered."""
    held = [getattr(type(model), "body", None), *getattr(model, "body_of_others", []), *getattr(model, "parts", [])]
    parts = vars(model).get("parts")
    held += list(parts.values()) if isinstance(parts, dict) else []
    held.append(getattr(vars(model).get("held"), "body", None))
    cells = getattr(vars(model).get("reach"), "__closure__", None) or ()
    held += [cell.cell_contents for cell in cells]
    return [part for item in (model, *held) if isinstance(item, nn.Module) for part in item.modules()]


def _seen(model: nn.Module) -> list[Any]:
    found: list[Any] = []
    for module in _modules(model):
        tensors = {name: value.tolist() for name, value in (*module.named_parameters(recurse=False), *module.named_buffers(recurse=False))}
        hooks = [list(hooks.values()) for hooks in (module._forward_hooks, module._forward_pre_hooks, module._backward_hooks)]
        plain = {name: copy.copy(value) for name, value in vars(module).items() if isinstance(value, (bool, int, list, str))}
        plain.pop("parts", None), plain.pop("body_of_others", None)
        grads = [(p.grad is None, p.requires_grad) for p in module.parameters(recurse=False)]
        found.append((tensors, hooks, plain, vars(module).get("forward"), grads))
    drawn = (torch.get_rng_state().tolist(), random.getstate(), np.random.get_state()[1].tolist(), DRAWS.bit_generator.state)
    return [*found, drawn]


def _calls(model: nn.Module, x: Tensor, *, certified: bool) -> None:
    found = pellucid.explain(model, x, 0, method="saliency")
    pellucid.importance(model, x, torch.arange(len(x)) % 3, repeats=2)
    pellucid.features(model, x, "last" if hasattr(model, "last") else next(n for n, m in model.named_modules() if isinstance(m, nn.Linear)))
    if certified:
        assert found.certificate.trust in ("high", "limited", "none")
        pellucid.certify(model, x, found.attributions, 0)


@pytest.mark.parametrize("make", [pytest.param(make, id=name) for name, make in _ODD.items()])
@pytest.mark.parametrize("certified", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_nothing_changes_and_evaluation_mode_is_explained(make: Callable[[], nn.Module], certified: bool) -> None:
    torch.manual_seed(0)
    model, x = make(), tabular(4)
    for module in _modules(model):
        nn.Module.train(module, True)
    before = _seen(model)
    _calls(model, x, certified=certified)
    assert _seen(model) == before
    values = Subject.of(model, x, 0).value
    for module in _modules(model):
        nn.Module.train(module, False)
    torch.manual_seed(0)
    if "reach" not in vars(model) or _modules(model)[2:]:  # a module that is made in each pass has other weights each time
        torch.testing.assert_close(values, model(x)[:, 0].detach())


def test_the_copys_closures_are_over_the_copy() -> None:
    """Else parameter randomisation would randomise weights that no pass uses."""
    model = _with_forward(lambda body: lambda x: body.net(x))
    subject = Subject.of(model, tabular(), 0)
    other = scrambled(subject.model, torch.Generator().manual_seed(0))
    assert not torch.allclose(other(tabular()), subject.model(tabular()))
    assert torch.equal(subject.model(tabular())[:, 0], subject.value)


def test_a_copy_that_is_the_network_itself_is_refused() -> None:
    class Single(Body):
        def __deepcopy__(self, memo: Any) -> Single:
            return self

    model = Single()
    with pytest.raises(ModelError, match="gives back its own module Single"):
        pellucid.explain(model, tabular())
    assert model.training
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_weights_that_a_pass_writes_are_its_own() -> None:
    class Bounded(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.last = nn.Embedding(20, 4, max_norm=0.5), nn.Linear(4, 3)

        def forward(self, tokens: Tensor) -> Tensor:
            return self.last(self.embed(tokens).mean(1))

    model, tokens = Bounded(), torch.arange(12).reshape(3, 4)
    before = model.embed.weight.detach().clone()
    found = pellucid.explain(model, tokens, 0)
    assert torch.equal(model.embed.weight, before)
    torch.testing.assert_close(found.value, copy.deepcopy(model)(tokens)[:, 0].detach())


class OwnGenerator(nn.Module):
    def __init__(self, draw: Callable[[], float]) -> None:
        super().__init__()
        self.last = nn.Linear(5, 3)
        self.draw = draw

    def forward(self, x: Tensor) -> Tensor:
        return self.last(x) + self.draw()


def _of_torch() -> tuple[nn.Module, Callable[[], Any]]:
    generator = torch.Generator().manual_seed(3)
    return OwnGenerator(lambda: torch.randn(3, generator=generator)), lambda: generator.get_state().tolist()


def _of_numpy() -> tuple[nn.Module, Callable[[], Any]]:
    generator = np.random.default_rng(3)
    return OwnGenerator(lambda: generator.standard_normal()), lambda: generator.bit_generator.state


def _of_python() -> tuple[nn.Module, Callable[[], Any]]:
    generator = random.Random(3)
    return OwnGenerator(lambda: generator.gauss(0, 1)), generator.getstate


class Drawing(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x + DRAWS.standard_normal()


@pytest.mark.parametrize("make", [_of_torch, _of_numpy, _of_python, lambda: (Drawing(), lambda: DRAWS.bit_generator.state)])
def test_own_generators_are_put_back_and_said(make: Callable[[], tuple[nn.Module, Callable[[], Any]]]) -> None:
    model, state = make()
    before = state()
    subject = Subject.of(model, tabular(), 0)
    assert torch.equal(subject.values(subject.inputs), subject.values(subject.inputs))
    assert state() == before
    assert subject.random
    assert any("random generator of its own" in str(note) for note in subject.notes)


def test_noise_without_a_known_source_is_said() -> None:
    count = iter(range(1000))

    class Iterated(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x * next(count)

    subject = Subject.of(Iterated(), tabular() + 1, 0)
    assert subject.random
    assert any("do not repeat" in str(note) for note in subject.notes)


def test_networks_that_remember_start_from_what_they_were() -> None:
    class Remembering(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("last", torch.zeros(1))

        def forward(self, x: Tensor) -> Tensor:
            self.last = 0.5 * self.last + 1
            return x + self.last

    subject = Subject.of(Remembering(), tabular(1), 0)
    assert torch.equal(subject.values(subject.inputs), tabular(1)[:, 0] + 1)
    assert any("depends on earlier calls" in str(note) for note in subject.notes)


_OTHERS: dict[str, Callable[[Tensor], Tensor]] = {
    "mean": lambda x: x - x.mean(0),
    "mean from three on": lambda x: x - x.mean(0) if len(x) > 2 else x,
    "sum before": lambda x: x.cumsum(0),
    "sum behind": lambda x: x.flip(0).cumsum(0).flip(0),
    "mean from four on": lambda x: x - x.mean(0) if len(x) > 3 else x,
    "two at least": lambda x: F.batch_norm(x, None, None, training=True),
    "softmax": lambda x: x.softmax(0),
}


@pytest.mark.parametrize("samples", [1, 2, 3, 7])
@pytest.mark.parametrize("name", _OTHERS)
def test_samples_that_depend_on_each_other(name: str, samples: int) -> None:
    class Together(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return _OTHERS[name](x)

    if name == "mean from four on" and samples < 4:
        assert Subject.of(Together(), tabular(samples), 0).samples == samples  # nobody has seen it
        return
    with pytest.raises(ModelError, match="depends on the other samples of its batch"):
        Subject.of(Together(), tabular(samples), 0)


def test_interrupted_passes_put_everything_back() -> None:
    body = Body()

    class Interrupted(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.held = Held(body)

        def forward(self, x: Tensor) -> Tensor:
            found = self.held.body(x)
            if len(x) > 3:
                raise KeyboardInterrupt
            return found

    before, drawn = _seen(body), torch.get_rng_state()
    with pytest.raises(KeyboardInterrupt):
        pellucid.explain(Interrupted(), tabular(6), 0)
    assert _seen(body) == before
    assert torch.equal(torch.get_rng_state(), drawn)
