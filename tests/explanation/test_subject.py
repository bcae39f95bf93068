"""A network as a function of its inputs: right values and derivatives on every trap, and nothing of the user's is touched."""

from __future__ import annotations

import copy
import random
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from explanation.explained_networks import (
    NETWORKS,
    DropoutLeftOn,
    Recurrent,
    Residual,
    ReusedReLU,
    Rounded,
    Words,
    Written,
    image,
    seeded,
    series,
    tabular,
    tokens,
)
from pellucid.core.errors import DataError, MemoryShortage, ModelError, OptionError
from pellucid.explanation.subject import Subject

_CASES = [pytest.param(*case, id=name) for name, case in NETWORKS.items()]


def _called(model: nn.Module, inputs: Any) -> Tensor:
    inputs = copy.deepcopy(inputs)
    result = model(**inputs) if isinstance(inputs, dict) else model(*inputs) if isinstance(inputs, tuple) else model(inputs)
    output = result["logits"] if isinstance(result, dict) else result
    return output.reshape(len(output), -1)


@pytest.mark.parametrize(("make", "inputs"), _CASES)
def test_values_are_those_of_the_network(make: Any, inputs: Any) -> None:
    model, given = seeded(make), inputs()
    subject = Subject.of(model, given)
    if not subject.dropouts:
        expected = _called(model, given).detach()
        torch.testing.assert_close(subject.predictions, expected)
        chosen = expected[:, 0] if subject.target is None else expected.gather(1, expected.argmax(1)[:, None])[:, 0]
        torch.testing.assert_close(subject.values(subject.inputs), chosen)
    # the same through the points, in batches of another size
    subject.batch_size = 2
    torch.testing.assert_close(subject.values_at(subject.points(subject.inputs), subject.inputs), subject.value)
    assert (
        all(tensor.dtype == like.dtype for tensor, like in zip(subject.points(subject.inputs), subject.inputs, strict=False))
        or subject.places
    )


@pytest.mark.parametrize(("make", "inputs"), _CASES)
def test_derivatives_are_those_of_small_changes(make: Any, inputs: Any) -> None:
    """Central differences in float64, along a random direction of all points together; a deep copy of the network is what is asked."""
    model = seeded(make).double()
    given = inputs()
    given = {k: _double(v) for k, v in given.items()} if isinstance(given, dict) else _double(given)
    subject = Subject.of(model, given)
    points = tuple(point.double() for point in subject.points(subject.inputs))
    values, slopes = subject.gradients_at(points, subject.inputs)
    direction = [torch.randn(point.shape, generator=torch.Generator().manual_seed(7), dtype=torch.float64) for point in points]
    step = 1e-6
    up = subject.values_at([p + step * d for p, d in zip(points, direction, strict=True)], subject.inputs)
    down = subject.values_at([p - step * d for p, d in zip(points, direction, strict=True)], subject.inputs)
    along = sum((slope * d).flatten(1).sum(1) for slope, d in zip(slopes, direction, strict=True))
    torch.testing.assert_close(along, (up - down) / (2 * step), rtol=1e-5, atol=1e-8)
    torch.testing.assert_close(values, subject.value)


def _double(given: Any) -> Any:
    if isinstance(given, tuple):
        return tuple(_double(item) for item in given)
    return given.double() if given.is_floating_point() else given


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("surroundings", [torch.enable_grad, torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize(("make", "given"), [(Written, tabular), (Residual, image), (Words, tokens)])
def test_nothing_of_the_users_is_touched(make: Any, given: Any, surroundings: Any, training: bool) -> None:
    torch.manual_seed(0)
    with surroundings():
        model = make()
        inputs = given()
        model.train(training)
        state = {name: value.clone() for name, value in model.state_dict().items()}
        copied, flags = inputs.clone(), [module.training for module in model.modules()]
        drawn = (torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate())
        subject = Subject.of(model, inputs)
        subject.gradients(subject.inputs)
        subject.values(subject.inputs)
        assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
        assert torch.equal(inputs, copied)
        assert [module.training for module in model.modules()] == flags
    assert all(parameter.grad is None for parameter in model.parameters())
    assert getattr(model, "seen", None) is None
    for module in (*model.modules(), *subject.model.modules()):
        assert not module._forward_hooks
        assert not module._forward_pre_hooks
        assert not module._backward_hooks
    assert torch.equal(torch.get_rng_state(), drawn[0])
    assert (np.random.get_state()[1].tolist(), random.getstate()) == drawn[1:]
    assert any("training mode" in str(note) for note in subject.notes) == training


def test_weights_are_shared_and_their_change_is_seen() -> None:
    model = seeded(ReusedReLU)
    subject = Subject.of(model, tabular())
    assert {p.data_ptr() for p in subject.model.parameters()} == {p.data_ptr() for p in model.parameters()}
    assert not subject.weights_changed()
    with torch.no_grad():
        model.first.weight.add_(1.0)
    assert subject.weights_changed()


@pytest.mark.slow  # loading the compiler takes seconds
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch.compile's own
def test_compiled_networks_run_as_plain_python() -> None:
    model = seeded(ReusedReLU)
    plain = Subject.of(model, tabular()).gradients(tabular()[None].unbind(0))
    compiled = torch.compile(model)
    inputs = tabular()
    subject = Subject.of(compiled, inputs)
    values, slopes = subject.gradients(subject.inputs)
    torch.testing.assert_close(values, plain[0])
    torch.testing.assert_close(slopes[0], plain[1][0])


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_scripted_networks() -> None:
    model = seeded(lambda: nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 2)))
    scripted = torch.jit.script(model)
    one, two = Subject.of(model, tabular()), Subject.of(scripted, tabular())
    torch.testing.assert_close(one.gradients(one.inputs)[1][0], two.gradients(two.inputs)[1][0])


def test_dropout_left_on_is_one_thinned_network() -> None:
    """The same draw for every sample, whatever the batch: copies of a sample get one value."""
    subject = Subject.of(seeded(DropoutLeftOn), tabular())
    assert any("dropout left on" in str(note) for note in subject.notes)
    copies = (subject.inputs[0][:1].expand(50, -1),)
    target = torch.zeros(50, dtype=torch.long)
    values = subject.values(copies, target)
    assert float(values.max() - values.min()) == 0.0
    subject.batch_size = 7
    torch.testing.assert_close(subject.values(copies, target), values)


def test_random_networks_are_noted_and_repeat() -> None:
    class Noisy(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x + torch.randn_like(x)

    subject = Subject.of(Noisy(), tabular())
    assert any("draws random numbers" in str(note) for note in subject.notes)
    assert torch.equal(subject.values(subject.inputs), subject.values(subject.inputs))


def test_outputs_of_several_axes() -> None:
    model = seeded(lambda: nn.Conv2d(3, 2, 3, padding=1))
    subject = Subject.of(model, image(), target=(1, 4, -1))
    torch.testing.assert_close(subject.value, model(image())[:, 1, 4, 7].detach())
    with pytest.raises(OptionError, match=r"shape \(2, 8, 8\)"):
        Subject.of(model, image())
    with pytest.raises(OptionError, match=r"target is \(1, 8, 0\)"):
        Subject.of(model, image(), target=(1, 8, 0))


def test_memory_that_runs_out_halves_the_batch() -> None:
    subject = Subject.of(seeded(ReusedReLU), tabular(20), batch_size=16)
    expected = subject.value
    sizes: list[int] = []

    def limited(most: int) -> None:
        plain = type(subject.model).forward

        def forward(x: Tensor) -> Tensor:
            sizes.append(len(x))
            if len(x) > most:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 MiB")
            return plain(subject.model, x)

        subject.model.forward = forward

    limited(4)
    torch.testing.assert_close(subject.values(subject.inputs), expected)
    assert sizes == [16, 8, 4, 4, 4, 4, 4]
    assert subject.batch_size == 4
    limited(0)
    with pytest.raises(MemoryShortage, match="does not hold a pass of one sample"):
        subject.values(subject.inputs)


def test_what_was_computed_is_counted() -> None:
    subject = Subject.of(seeded(ReusedReLU), tabular())
    subject.values(subject.inputs)
    subject.gradients(subject.inputs)
    assert (subject.spent.forward, subject.spent.backward) == (8, 4)


# -- bad input ---------------------------------------------------------------------------------------------------------------------------


class _TimeFirst(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.LSTM(3, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.cell(x)[0][-1]


class _OfTheBatch(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x - x.mean(0)


class _Overflowing(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.log(x)


class _Silent(nn.Module):
    def forward(self, x: Tensor) -> list[str]:
        return ["cat"] * len(x)


_BAD: dict[str, tuple[Any, Any, Any, type[Exception], str]] = {
    "no network": (lambda x: x, tabular(), None, ModelError, "the network is a function(?s:.)*forward method"),
    "a list of numbers": (ReusedReLU(), [1.0, 2.0], None, DataError, "inputs contain a float"),
    "no samples": (ReusedReLU(), torch.zeros(0, 5), None, DataError, "there are no samples"),
    "a number": (ReusedReLU(), torch.tensor(1.0), None, DataError, r"shape \(\)"),
    "unequal inputs": (ReusedReLU(), (torch.zeros(2, 5), torch.zeros(3, 5)), None, DataError, "the same number of samples"),
    "another width": (ReusedReLU(), tabular(4, 6), None, DataError, r"does not take inputs of shape \(4, 6\) float32"),
    "no sample axis": (nn.Conv2d(3, 2, 8), image()[0], None, DataError, "unsqueeze"),
    "bytes": (ReusedReLU(), torch.ones(4, 5, dtype=torch.uint8), None, DataError, r"inputs.to\(torch.float32\)"),
    "whole numbers as pictures": (nn.Conv2d(3, 2, 3), image().long(), None, DataError, r"inputs.to\(torch.float32\)"),
    "wrong names": (ReusedReLU(), {"y": tabular()}, None, DataError, "names of forward's parameters"),
    "target too large": (ReusedReLU(), tabular(), 3, OptionError, "target is 3(?s:.)*0 to 2: the network has 3 outputs"),
    "negative target": (ReusedReLU(), tabular(), -1, OptionError, "target is -1"),
    "target of one output": (nn.Linear(5, 1), tabular(), 1, OptionError, "the network has one output"),
    "targets of another length": (ReusedReLU(), tabular(), [0, 1], OptionError, "one integer for each of the 4 samples"),
    "targets with a fraction": (ReusedReLU(), tabular(), 0.5, OptionError, "torch.float32"),
    "a word for a target": (ReusedReLU(), tabular(), "cat", OptionError, "target is 'cat'"),
    "NaN output": (_Overflowing(), tabular(), 0, ModelError, "NaN or infinite(?s:.)*the inputs are finite"),
    "NaN input": (_Overflowing(), torch.full((2, 5), torch.nan), 0, ModelError, "the inputs contain NaN"),
    "no tensor": (_Silent(), tabular(), None, ModelError, "returns a list"),
    "time before samples": (_TimeFirst(), series(), None, ModelError, "depends on the other samples|one row per sample"),
    "batch statistics": (_OfTheBatch(), tabular(), None, ModelError, "depends on the other samples of its batch"),
    "lazy layer": (nn.LazyLinear(2), tabular(), None, ModelError, "shape is not known yet"),
}  # fmt: skip


@pytest.mark.parametrize(("model", "inputs", "target", "error", "message"), _BAD.values(), ids=_BAD)
def test_bad_input(model: Any, inputs: Any, target: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        Subject.of(model, inputs, target)


def test_not_differentiable() -> None:
    for model, inputs in ((Rounded(), tabular()), (_Cast(), torch.randint(0, 255, (2, 5), dtype=torch.uint8))):
        subject = Subject.of(model, inputs)
        assert subject.differentiable is not None
        assert len(subject.values(subject.inputs)) == len(inputs)
        with pytest.raises(ModelError, match='method="occlusion"'):
            subject.gradients(subject.inputs)


class _Cast(nn.Module):
    """Integers that are numbers: they reach no embedding."""

    def __init__(self) -> None:
        super().__init__()
        self.last = nn.Linear(5, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(x.float() / 255)


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
def test_recurrent_networks_in_evaluation_mode(kind: type[nn.RNNBase]) -> None:
    """Captum's and shap's users meet "cudnn RNN backward can only be called in training mode"; gradients are those of training mode."""
    model = seeded(lambda: Recurrent(kind))
    subject = Subject.of(model, series(), 1)
    _, (slope,) = subject.gradients(subject.inputs)
    leaf = series().requires_grad_()
    (expected,) = torch.autograd.grad(model.train()(leaf)[:, 1].sum(), leaf)
    torch.testing.assert_close(slope, expected)


def test_indices_that_are_computed_are_followed() -> None:
    class Shifted(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed = nn.Embedding(40, 3)

        def forward(self, x: Tensor) -> Tensor:
            left, right = x.long().chunk(2, dim=1)
            return torch.tanh(self.embed(right + 5).sum(1)) + self.embed(left.flip(1))[:, 0]

    subject = Subject.of(seeded(Shifted), tokens().int())
    assert [place.entries[0].tolist() for place in subject.places] == [[3, 4, 5], [2, 1, 0]]
    gathered = subject.gathered([torch.ones_like(point) for point in subject.points(subject.inputs)])
    assert torch.equal(gathered[0], torch.full((3, 6), 3.0))
