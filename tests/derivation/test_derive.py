"""Whole networks: every equation executed, every gradient equal to autograd's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import derived_networks as networks
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import pellucid
from pellucid.derivation.derive import Derivation

Case = tuple[Callable[[], nn.Module], Callable[[], Any], Callable[[], Any], Any]


def labels(n: int, classes: int) -> Callable[[], Tensor]:
    return lambda: torch.randint(0, classes, (n,))


def both_heads(outputs: dict[str, Tensor], targets: Tensor) -> Tensor:
    return F.cross_entropy(outputs["first"], targets) + outputs["second"].square().mean()


NETWORKS: dict[str, Case] = {
    "mlp": (networks.mlp, lambda: torch.randn(5, 6), labels(5, 3), F.cross_entropy),
    "mlp with dropout": (lambda: networks.mlp(0.4), lambda: torch.randn(5, 6), labels(5, 3), "cross_entropy"),
    "mlp, squared error": (networks.mlp, lambda: torch.randn(5, 6), lambda: torch.randn(5, 3), "mse_per_sample"),
    "lenet": (networks.LeNet, networks.images, labels(3, 4), F.cross_entropy),
    "residual cnn": (networks.ResidualCNN, lambda: networks.images(4, 3, 8), labels(4, 5), nn.CrossEntropyLoss(label_smoothing=0.1)),
    "tied weights": (networks.Tied, lambda: torch.rand(4, 5), lambda: torch.rand(4, 5), "mse"),
    "two heads": (
        networks.TwoHeads,
        lambda: ({"left": [torch.randn(3, 1), torch.randn(3, 2)], "right": [torch.randn(3, 1)]}, 0.5),
        labels(3, 2),
        both_heads,
    ),
    "sum of the outputs": (networks.TwoHeads, lambda: ({"left": [torch.randn(3, 2)], "right": [torch.randn(3, 2)]}, 2), lambda: None, None),
    "keyword arguments": (
        networks.TwoHeads,
        lambda: {"parts": {"left": [torch.randn(2, 2)], "right": [torch.randn(2, 2)]}, "scale": 1.0, "offset": torch.randn(4)},
        lambda: None,
        None,
    ),
}


def gradients_by_backward(model: nn.Module, inputs: Any, targets: Any, loss: Any, seed: int) -> tuple[float, dict[str, np.ndarray]]:
    """The user's own training step in float64."""
    from pellucid.derivation.named_losses import LOSSES, sum_of_outputs

    def double(item: Any) -> Any:
        if isinstance(item, Tensor):
            return item.double() if item.is_floating_point() else item
        if isinstance(item, dict):
            return {key: double(part) for key, part in item.items()}
        return type(item)(double(part) for part in item) if isinstance(item, (list, tuple)) else item

    torch.manual_seed(seed)
    model = model.double()
    inputs, targets = double(inputs), double(targets)
    outputs = model(**inputs) if isinstance(inputs, dict) else model(*inputs) if isinstance(inputs, tuple) else model(inputs)
    criterion = LOSSES[loss] if isinstance(loss, str) else loss or sum_of_outputs
    value = criterion(outputs) if targets is None else criterion(outputs, targets)
    value.backward()
    return float(value.detach()), {name: p.grad.numpy() for name, p in model.named_parameters(remove_duplicate=False) if p.grad is not None}


@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
@pytest.mark.parametrize("name", NETWORKS)
def test_every_equation_of_a_network(name: str, training: bool) -> None:
    build, inputs, targets, loss = NETWORKS[name]
    torch.manual_seed(3)
    model, x, y = build().train(training), inputs(), targets()
    state = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    random_state = torch.get_rng_state()
    derivation = pellucid.derive(model, x, y, loss)
    check = derivation.check()
    assert check.passed, str(check)
    assert check.without_equation == 0, check.operations_without_equation
    assert check.worst_gradient <= 1e-9
    assert check.worst_forward <= 1e-12
    assert check.gradients >= len(set(map(id, derivation.parameters.values()))) - ("two heads" in name) * 2
    assert torch.equal(torch.get_rng_state(), random_state)  # and the user's network is as it was
    assert all(torch.equal(tensor, state[key]) for key, tensor in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert model.training is training
    if "dropout" in name or (name == "residual cnn" and training):
        return  # the masks are drawn in the network's own precision: a run in float64 draws others
    value, theirs = gradients_by_backward(model, x, y, loss, seed=0)
    assert float(derivation.loss.array.reshape(())) == pytest.approx(value, rel=1e-12)
    for parameter, gradient in theirs.items():
        np.testing.assert_allclose(derivation.gradients[parameter], gradient, rtol=1e-9, atol=1e-9 * np.abs(gradient).max())


def derived(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Derivation:
    return pellucid.derive(function, *args, **kwargs)


def test_steps_have_what_the_pages_need() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(2, 4), nn.Sigmoid(), nn.Linear(4, 1), nn.Sigmoid())
    derivation = pellucid.derive(model, torch.rand(4, 2), torch.rand(4, 1), "half_squared_error")
    first, *_, last = derivation.steps
    assert [step.operation for step in derivation.steps] == ["linear", "sigmoid", "linear", "sigmoid", "sub", "pow", "sum", "mul"]
    assert [step.index for step in derivation.steps] == list(range(1, 9))
    assert (first.operation, first.module, first.stage, first.status) == ("linear", "0", "forward", "checked")
    assert first.equation == r"Y = X W^{\top} + b"
    assert set(first.gradient_equations) == {"input", "weight", "bias"}
    assert [value.name for value in first.inputs] == ["input", "0.weight", "0.bias"]
    assert first.output is derivation.steps[1].inputs[0]
    assert first.output.shape == (4, 4)
    assert first.source is not None
    assert set(first.gradients) == {"input", "weight", "bias"}
    assert first.error.forward < 1e-12
    assert first.error.backward < 1e-12
    assert last.stage == "loss"
    assert last.output is derivation.loss
    weight = derivation.parameters["0.weight"]
    assert weight.kind == "parameter"
    assert weight.uses == [1]
    np.testing.assert_array_equal(weight.gradient, first.gradients["weight"])
    np.testing.assert_allclose(weight.gradient, weight.autograd, rtol=1e-12, atol=1e-15)
    assert derivation.precision.dtype == "float32"
    assert 0 <= derivation.precision.loss < 1e-5


def test_a_value_used_several_times_gets_the_sum() -> None:
    torch.manual_seed(0)
    weight = torch.randn(3, 3, requires_grad=True)
    derivation = pellucid.derive(lambda x: (torch.tanh(x @ weight) * (x @ weight.T)).sum() + (weight * weight).sum(), torch.randn(4, 3))
    value = derivation.parameters["weight"]
    assert len(value.uses) == 4  # matmul, t, and mul twice
    parts = [g for s in derivation.steps for place, g in s.gradients.items() if s.places[place] is value]
    assert len(parts) == 4
    np.testing.assert_allclose(np.sum(parts, axis=0), value.gradient, rtol=1e-14)
    assert derivation.check().passed


def test_a_gradient_that_is_truly_zero_is_no_error() -> None:
    """Rounding is all that is left of the gradient of a bias before batch normalisation, and of all before it when the loss is a sum."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 5), nn.BatchNorm1d(5, affine=False))
    check = pellucid.derive(model, torch.randn(7, 4)).check()
    assert check.passed, str(check)
    assert check.without_equation == 0
    model = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 2))
    check = pellucid.derive(model, torch.randn(7, 4), torch.randint(0, 2, (7,)), F.cross_entropy).check()
    assert check.passed, str(check)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_other_precisions(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    model = networks.mlp(0.3).to(dtype)
    derivation = pellucid.derive(
        model, torch.randn(5, 6, dtype=dtype), torch.randint(0, 3, (5,)), lambda z, y: F.cross_entropy(z.float(), y)
    )
    assert derivation.check().passed
    assert all(value.array.dtype == np.float64 for value in derivation.outputs)
    assert derivation.precision.dtype == str(dtype).removeprefix("torch.")
    if dtype is torch.float64:
        assert derivation.precision.loss < 1e-7  # the loss itself was taken in float32
    else:
        assert 0 < derivation.precision.loss < 0.1


def test_autocast_is_derived_in_float64() -> None:
    torch.manual_seed(0)
    model = networks.mlp()

    def forward(x: Tensor) -> Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return model(x)

    derivation = pellucid.derive(forward, torch.randn(5, 6), torch.randint(0, 3, (5,)), lambda z, y: F.cross_entropy(z.float(), y))
    assert derivation.check().passed
    assert derivation.precision.loss > 0


def test_functions_closures_and_methods() -> None:
    torch.manual_seed(0)
    scale, model = torch.tensor(2.0, requires_grad=True), networks.mlp()
    weights = [torch.randn(3, 4, requires_grad=True), torch.randn(2, 4)]

    def function(x: Tensor, power: int) -> Tensor:
        return (model(x) * scale) ** power @ weights[0] + weights[1]

    derivation = pellucid.derive(function, (torch.randn(2, 6), 2))
    names = set(derivation.parameters)
    assert {"scale", "weights_0", "model.0.weight"} <= names
    assert "weights_1" not in names
    assert derivation.check().passed
    assert derivation.network == "function"
    assert "gain" in pellucid.derive(lambda x, gain=scale: x * gain, torch.randn(2, 6)).parameters
    assert pellucid.derive(model.forward, torch.randn(2, 6)).check().passed
    assert pellucid.derive(torch.tanh, torch.randn(2, 6)).check().passed
    assert scale.grad is None


def test_numpy_inputs() -> None:
    torch.manual_seed(0)
    derivation = pellucid.derive(networks.mlp(), np.random.default_rng(0).random((4, 6)), np.array([0, 1, 2, 0]), "cross_entropy")
    assert derivation.check().passed
    assert derivation.precision.dtype == "float32"


def test_central_differences() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(2, 4), nn.Sigmoid(), nn.Linear(4, 1), nn.Sigmoid())
    derivation = pellucid.derive(model, torch.rand(4, 2), torch.rand(4, 1), "binary_cross_entropy", finite_differences=True)
    assert derivation.differences is not None
    assert [(s.name, s.tried, s.entries) for s in derivation.differences.slopes] == [
        ("0.weight", 8, 8), ("0.bias", 4, 4), ("2.weight", 4, 4), ("2.bias", 1, 1),
    ]  # fmt: skip
    check = derivation.check()
    assert check.passed
    assert check.finite_differences < 1e-7
    assert "8 of 8" in str(derivation.differences)


def test_results_that_depend_on_each_other() -> None:
    """The gradient of a cell's state counts what flows through the hidden state, of which the cell's caller knows nothing."""
    cell = nn.LSTMCell(3, 2)

    def steps(x: Tensor) -> Tensor:
        state = None
        for t in range(3):
            state = cell(x[:, t], state)
        return (state[0] * state[1]).sum()

    check = pellucid.derive(steps, torch.randn(4, 3, 3)).check()
    assert check.passed, str(check)


def test_dropout_in_evaluation_mode_is_the_identity() -> None:
    derivation = pellucid.derive(nn.Sequential(nn.Linear(3, 3), nn.Dropout(0.5), nn.Linear(3, 1)).eval(), torch.randn(2, 3))
    step = derivation.steps[1]
    assert (step.operation, step.identity, step.status) == ("dropout", True, "checked")
    assert step.output is derivation.steps[0].output
    assert step.equation
    assert derivation.check().passed


def test_draws_are_named_leaves() -> None:
    torch.manual_seed(0)
    derivation = pellucid.derive(lambda x: F.dropout(F.dropout(x)) * torch.rand(3) + torch.zeros(3), torch.ones(3))
    assert [value.name for value in derivation.tape.values if value.kind == "draw"] == ["draw_1", "draw_2", "draw_3"]
    assert [step.operation for step in derivation.steps] == ["dropout", "dropout", "mul", "add", "sum"]
    assert [value.name for value in derivation.steps[0].draws] == ["draw_1"]
    assert set(derivation.steps[0].draws[0].array.tolist()) <= {0.0, 1.0}
    assert derivation.check().without_equation == 0


def test_notes_say_that_one_path_is_shown() -> None:
    def branches(x: Tensor) -> Tensor:
        return x * 2 if x.sum() > 0 else x * 3

    derivation = pellucid.derive(branches, torch.ones(3))
    assert any("the pass that ran is shown" in str(note) for note in derivation.notes)


def test_compiled_networks_are_derived_as_python() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU())
    derivation = pellucid.derive(torch.compile(model, backend="eager"), torch.randn(2, 4))
    assert [step.operation for step in derivation.steps] == ["linear", "relu", "sum"]
    assert derivation.check().passed


def test_unused_operations_are_counted_not_shown() -> None:
    def wasteful(x: Tensor) -> Tensor:
        torch.exp(x)
        return x * 2

    derivation = pellucid.derive(wasteful, torch.randn(3))
    assert [step.operation for step in derivation.steps] == ["mul", "sum"]
    assert derivation.aside == 1


@pytest.mark.slow
def test_eighteen_layers_within_half_a_minute() -> None:
    import time

    torch.manual_seed(0)
    model = networks.ResidualCNN((2, 2, 2, 2), 64, 10)
    began = time.perf_counter()
    check = pellucid.derive(model, networks.images(4, 3, 32), torch.randint(0, 10, (4,)), F.cross_entropy).check()
    seconds = time.perf_counter() - began
    assert check.passed, str(check)
    assert check.without_equation == 0
    assert seconds < 30


TRACED: dict[str, tuple[int, ...]] = {
    "Reused": (3, 4), "Residual": (3, 4), "InPlace": (3, 4), "WriteThroughView": (3, 4), "WriteBaseAfterView": (3, 4),
    "WriteToInput": (3, 4), "MaskedWrites": (3, 4),
    "Tied": (3, 4), "Dropouts": (3, 4), "Noise": (3, 4), "Cells": (3, 5, 4), "Indexing": (3, 4),
    "NoGradient": (3, 4), "Transformed": (3, 4), "FunctionalCall": (3, 4), "WeightNormalised": (3, 4),
    "Autocast": (3, 4), "Attribute": (3, 4), "Complex": (3, 4), "Shared": (3, 4), "DataclassOutput": (3, 4), "OrderedOutput": (3, 4),
}  # fmt: skip


@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
@pytest.mark.parametrize("name", TRACED)
def test_no_false_alarm(name: str, training: bool) -> None:
    """Networks that are hard to trace: whatever has no equation has autograd's value, and everything else is equal to it."""
    from core import traced_networks

    torch.manual_seed(0)
    model = getattr(traced_networks, name)().train(training)
    check = pellucid.derive(model, torch.randn(*TRACED[name])).check()
    assert check.passed, str(check)


def test_one_of_several_results_is_an_argument_given_back():
    """broadcast_tensors returns a tensor that has the common shape already as it is; Categorical.log_prob calls it."""
    logits, labels = torch.randn(5, 3, dtype=torch.float64), torch.tensor([0, 1, 2, 0, 1])
    check = pellucid.derive(lambda z: -torch.distributions.Categorical(logits=z).log_prob(labels).mean(), logits).check()
    assert check.passed, str(check)
    assert not check.without_equation
    assert not check.findings  # the labels' copy needs no gradient; that is no place where one stops
