"""One clear error or note each: what cannot be derived, and what is derived as something else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import pellucid
from pellucid.core.errors import DataError, ModelError, OptionError, PellucidError, TraceError
from pellucid.core.language import use_language

LINEAR = nn.Linear(3, 2)


class Quantised(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("table", torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8))

    def forward(self, x: Tensor) -> Tensor:
        return x


def penalty(x: Tensor) -> Tensor:
    (gradient,) = torch.autograd.grad(LINEAR(x).sum(), x, create_graph=True)
    return gradient.square().sum()


REFUSALS: dict[str, tuple[Callable[[], Any], type[PellucidError], str]] = {
    "a number": (lambda: pellucid.derive(3, torch.ones(3)), ModelError, "an object of type int instead of a network"),
    "a state": (lambda: pellucid.derive(LINEAR.state_dict(), torch.ones(3)), ModelError, "of type OrderedDict instead of a network"),
    "a class": (lambda: pellucid.derive(nn.ReLU, torch.ones(3)), ModelError, "the class ReLU instead of a network"),
    "shapes": (lambda: pellucid.derive(LINEAR, torch.ones(4, 5)), ModelError, "shapes cannot be multiplied"),
    "integers": (lambda: pellucid.derive(lambda x: x * 2.5, torch.arange(3)), DataError, "inputs of int64 and no parameter"),
    "no tensor": (lambda: pellucid.derive(lambda x: torch.ones(3) * x, 2), DataError, "inputs without a tensor"),
    "gradient inside": (lambda: pellucid.derive(penalty, torch.ones(4, 3)), ModelError, r"torch.autograd.grad at .*test_bad_input.py"),
    "vector loss": (
        lambda: pellucid.derive(LINEAR, torch.ones(4, 3), torch.ones(4, 2), lambda z, y: (z - y) ** 2),
        ModelError,
        "the loss returned float32",
    ),
    "targets alone": (lambda: pellucid.derive(LINEAR, torch.ones(4, 3), torch.ones(4, 2)), DataError, "targets were given, but no loss"),
    "loss alone": (lambda: pellucid.derive(LINEAR, torch.ones(4, 3), loss="mse"), DataError, "but no targets"),
    "loss's name": (
        lambda: pellucid.derive(LINEAR, torch.ones(4, 3), torch.ones(4, 2), "cross_entrpy"),
        OptionError,
        "did you mean 'cross_entropy'",
    ),
    "loss's type": (lambda: pellucid.derive(LINEAR, torch.ones(4, 3), torch.ones(4, 2), 2), DataError, "a loss of type int"),
    "targets' shape": (lambda: pellucid.derive(LINEAR, torch.ones(4, 3), torch.ones(4), "mse"), ModelError, r"targets have shape \(4,\)"),
    "notation": (lambda: pellucid.derive(LINEAR, torch.ones(4, 3), notation="colum"), OptionError, "did you mean 'column'"),
    "objects": (lambda: pellucid.derive(LINEAR, np.array(["a", "b"])), DataError, "an array of <U1"),
    "no dependence": (lambda: pellucid.derive(LINEAR, torch.ones(4, 3), loss=lambda z: torch.ones(())), ModelError, "requires_grad=False"),
    "scripted": (lambda: pellucid.derive(torch.jit.script(LINEAR), torch.ones(4, 3)), ModelError, "TorchScript"),
    "scripted function": (lambda: pellucid.derive(torch.jit.script(F.relu), torch.ones(4, 3)), ModelError, "TorchScript"),
    "quantised": (lambda: pellucid.derive(Quantised(), torch.ones(4, 3)), ModelError, "table is quantised"),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning", "ignore:.*quant.*")
@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("case", REFUSALS)
def test_refusals_say_what_to_do(case: str, language: str) -> None:
    call, kind, words = REFUSALS[case]
    if language == "en":
        with pytest.raises(kind, match=words) as caught:
            call()
        assert caught.value.expected
        assert caught.value.do
    else:
        with use_language("zh"), pytest.raises(kind):
            call()


def test_a_program_that_refuses_inputs_with_gradients_is_derived_without_them() -> None:
    def forward(x: Tensor) -> Tensor:
        return LINEAR(x) * float(x.numpy().max())

    derivation = pellucid.derive(forward, torch.rand(4, 3))
    assert derivation.check().passed
    assert derivation.inputs[0].gradient is None


def test_sharded_parameters_are_refused() -> None:
    class DTensor(torch.Tensor):
        """Stands for torch.distributed.tensor.DTensor, which needs several processes."""

    model = nn.Linear(3, 2)
    model.bias = nn.Parameter(model.bias.detach().as_subclass(DTensor))
    with pytest.raises(ModelError, match="bias is sharded over several processes"):
        pellucid.derive(model, torch.ones(2, 3))


def test_frozen_parameters_have_no_gradient() -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 2))
    model[0].requires_grad_(False)
    derivation = pellucid.derive(model, torch.rand(4, 3))
    assert set(derivation.gradients) == {"1.weight", "1.bias"}
    assert derivation.check().passed


def test_a_parameter_on_which_the_loss_does_not_depend_has_gradient_zero() -> None:
    class Lazy(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used, self.unused = nn.Linear(3, 2), nn.Linear(3, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.used(x)

    derivation = pellucid.derive(Lazy(), torch.rand(4, 3))
    assert derivation.check().passed
    assert not derivation.gradients["unused.weight"].any()
    assert derivation.parameters["unused.weight"].uses == []


def test_complex_numbers_are_without_an_equation() -> None:
    W = torch.randn(4, 3, requires_grad=True)
    derivation = pellucid.derive(lambda x: torch.fft.rfft(x @ W).abs().sum(), torch.rand(2, 4))
    check = derivation.check()
    assert check.passed, str(check)
    assert check.without_equation == 2
    assert {str(step.note) for step in derivation.steps if step.status == "no equation"} == {"complex numbers"}


def test_a_complex_loss():
    with pytest.raises(TraceError, match="complex64"):
        pellucid.derive(nn.Linear(4, 2), torch.randn(3, 4), loss=lambda output: output.sum() * 1j)


def test_backward_hooks_are_named():
    """They change the gradients of training, and no copy has them: a page that does not say so would show other numbers."""
    network = nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2))
    network[0].weight.register_hook(lambda gradient: 2 * gradient)
    network[1].register_full_backward_hook(lambda module, given, arriving: (2 * given[0],))
    (note,) = pellucid.derive(network, torch.randn(3, 4)).notes
    assert note.values["names"] == ["0.weight", "1"]
