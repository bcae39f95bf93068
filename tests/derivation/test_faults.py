"""What is wrong is caught, and the step that causes it named: wrong rules, wrong backwards, overwritten memory, lost gradients, NaN."""

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
from pellucid.core.errors import TraceError
from pellucid.derivation import registry
from pellucid.derivation.registry import Rule, Unsupported


def weight() -> Tensor:
    return torch.randn(3, 3, generator=torch.Generator().manual_seed(1), requires_grad=True)


def x() -> Tensor:
    return torch.randn(4, 3, generator=torch.Generator().manual_seed(2))


def replaced(monkeypatch: pytest.MonkeyPatch, name: str, **changes: Any) -> None:
    """A rule with another forward or backward."""
    import dataclasses

    rule = registry.find_rule(name)
    assert rule is not None
    monkeypatch.setitem(registry._rules, name, dataclasses.replace(rule, **changes))


# -- wrong rules -----------------------------------------------------------------------------------------------------------------------


def transposed(dY: Any, Y: Any, input: Any, weight: Any, bias: Any = None) -> dict[str, Any]:
    return {"input": dY @ weight, "weight": 1.001 * (dY.T @ input), "bias": dY.sum(axis=0)}


def wrong_input(dY: Any, Y: Any, input: Any, weight: Any, bias: Any = None) -> dict[str, Any]:
    return {"input": 2 * dY @ weight, "weight": dY.T @ input, "bias": dY.sum(axis=0)}


def wrong_shape(dY: Any, Y: Any, input: Any, weight: Any, bias: Any = None) -> dict[str, Any]:
    return {"input": dY @ weight, "weight": input.T @ dY, "bias": dY.sum(axis=0)}


@pytest.mark.parametrize(("backward", "names"), [(transposed, "weight"), (wrong_input, "input"), (wrong_shape, None)])
def test_a_wrong_backward_rule_is_named_and_only_it(monkeypatch: pytest.MonkeyPatch, backward: Any, names: str | None) -> None:
    """Steps before the wrong one are compared with what autograd says arrives there: no chain of accusations."""
    replaced(monkeypatch, "linear", backward=backward)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv1d(2, 3, 2), nn.Tanh(), nn.Flatten(), nn.Linear(9, 5), nn.Tanh())
    derivation = pellucid.derive(model, torch.randn(4, 2, 4))
    check = derivation.check()
    assert not check.passed
    wrong = [step for step in derivation.steps if step.status == "wrong"]
    assert [step.operation for step in wrong] == ["linear"]
    assert len(check.faults) == 1
    assert "linear (3)" in str(check)
    if names:
        assert f"gradient of {names}" in str(check.faults[0].summary)
        assert wrong[0].error.backward == pytest.approx({"weight": 1e-3, "input": 0.5}[names], rel=0.1)
    else:
        assert "shape (9, 5), not (5, 9)" in str(check)


def test_a_wrong_rule_of_a_value_used_twice_is_told_from_its_right_twin(monkeypatch: pytest.MonkeyPatch) -> None:
    replaced(monkeypatch, "sigmoid", backward=lambda dY, Y, input: {"input": dY * Y})
    W = weight()
    derivation = pellucid.derive(lambda x: (torch.sigmoid(x @ W) * torch.tanh(x @ W)).sum() + W.sum(), x())
    assert [(step.operation, step.status) for step in derivation.steps if step.status != "checked"] == [("sigmoid", "wrong")]

    def shared(x: Tensor) -> Tensor:
        h = x @ W
        return torch.sigmoid(h).sum() + torch.tanh(h).sum()

    derivation = pellucid.derive(shared, x())
    assert [(step.operation, step.status) for step in derivation.steps if step.status != "checked"] == [("sigmoid", "wrong")]
    assert derivation.check().worst_gradient > 1e-3


def test_a_wrong_forward_rule_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    replaced(monkeypatch, "tanh", forward=lambda input: np.tanh(input) + 1e-6)
    derivation = pellucid.derive(networks.mlp().eval(), torch.randn(5, 6))
    check = derivation.check()
    assert not check.passed
    assert 1e-6 < check.worst_forward < 1e-5
    assert derivation.steps[check.worst_forward_step - 1].operation == "tanh"
    assert check.worst_gradient <= 1e-9  # its backward is still right
    assert [step.operation for step in derivation.steps if step.status == "wrong"] == ["tanh"]


def test_a_rule_that_raises_or_refuses_is_shown_with_autograds_value(monkeypatch: pytest.MonkeyPatch) -> None:
    from pellucid.core.language import text

    def refuses(dY: Any, Y: Any, input: Any) -> Any:
        raise Unsupported(text("a reason of its own"))

    def raises(input: Any) -> Any:
        raise KeyError("bug")

    model, inputs = networks.mlp().eval(), torch.randn(5, 6)
    replaced(monkeypatch, "tanh", backward=refuses)
    derivation = pellucid.derive(model, inputs)
    (step,) = (step for step in derivation.steps if step.operation == "tanh")
    assert (step.status, str(step.note)) == ("no equation", "a reason of its own")
    assert derivation.check().passed
    replaced(monkeypatch, "tanh", forward=raises)
    derivation = pellucid.derive(model, inputs)
    (step,) = (step for step in derivation.steps if step.operation == "tanh")
    assert step.status == "no equation"
    assert "KeyError" in str(step.note)
    check = derivation.check()
    assert (check.without_equation, check.operations_without_equation) == (1, ("tanh",))
    assert check.passed
    assert "without an equation, autograd's value: 1 (tanh)" in str(check)


def test_operations_without_a_rule_have_autograds_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Never skipped: shown, counted, and everything before them still checked."""
    real = registry.find_rule
    for home in ("recorded", "tape"):
        monkeypatch.setattr(f"pellucid.derivation.{home}.find_rule", lambda name: None if name in ("relu", "linear") else real(name))
    derivation = pellucid.derive(networks.mlp(0.5), torch.randn(5, 6), torch.randint(0, 3, (5,)), F.cross_entropy)
    check = derivation.check()
    assert check.passed, str(check)
    assert check.without_equation == 4
    assert check.worst_gradient < 1e-12
    assert all(value.gradient is not None for value in derivation.parameters.values())


# -- autograd.Function -----------------------------------------------------------------------------------------------------------------


class Cube(torch.autograd.Function):
    factor = 3

    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        ctx.save_for_backward(value)
        return value**3

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (value,) = ctx.saved_tensors
        return 3 * value**2 * gradient


class WrongCube(Cube):
    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (value,) = ctx.saved_tensors
        return 2 * value**2 * gradient


class Softmax(torch.autograd.Function):
    """The sum of its outputs is 1 whatever the argument: the slope of that sum is rounding, and no fault."""

    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        result = value.softmax(-1)
        ctx.save_for_backward(result)
        return result

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (result,) = ctx.saved_tensors
        return result * (gradient - (gradient * result).sum(-1, keepdim=True))


def dirichlet(h: Tensor) -> Tensor:
    """PyTorch's own Function; its gradient is implicit, and the sampler draws again where a draw is rejected."""
    return torch.distributions.Dirichlet(h.exp()).rsample() * torch.arange(1.0, h.shape[-1] + 1, dtype=h.dtype)


class StraightThrough(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        return torch.sign(value)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return gradient


class Reversal(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        return value.view_as(value)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return -0.5 * gradient


class Scaled(torch.autograd.Function):
    """Two arguments, of which the second's gradient has the wrong sign."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(value, scale)
        return value * scale, value + scale

    @staticmethod
    def backward(ctx: Any, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
        value, scale = ctx.saved_tensors
        return first * scale + second, -(first * value).sum() + second.sum()


def scaled(h: Tensor) -> Tensor:
    first, second = Scaled.apply(h, h.mean())
    return first + second


@pytest.mark.parametrize(
    ("function", "status", "symptom"),
    [
        (Cube.apply, "no equation", None),
        (WrongCube.apply, "wrong", "wrong_backward"),
        (StraightThrough.apply, "differs", "differs_from_derivative"),
        (Reversal.apply, "differs", "differs_from_derivative"),
        (scaled, "wrong", "wrong_backward"),
        (Softmax.apply, "no equation", None),
    ],
    ids=["right", "wrong", "straight-through", "reversal", "wrong second argument", "constant sum"],
)
def test_custom_backwards(function: Callable[[Tensor], Tensor], status: str, symptom: str | None) -> None:
    W = weight()
    derivation = pellucid.derive(lambda x: function(torch.tanh(x @ W)).sum(), x())
    check = derivation.check()
    (step,) = (step for step in derivation.steps if step.rule is None)
    assert step.status == status
    assert check.without_equation == 1
    assert check.passed is (status != "wrong"), str(check)
    assert [finding.symptom for finding in check.findings] == ([symptom] if symptom else [])
    if status == "no equation":
        assert "agrees with central differences" in str(step.note)
    else:
        assert check.findings[0].evidence["step"] == step.index
        assert step.operation in str(check.findings[0].summary)
    assert check.worst_gradient <= 1e-9  # whatever it claims, the rest is autograd's, and equal


def test_a_function_that_draws_out_of_sight_is_not_accused() -> None:
    W = weight()
    torch.manual_seed(0)
    derivation = pellucid.derive(lambda x: dirichlet(torch.tanh(x @ W)).sum(), x())
    assert derivation.check().passed, str(derivation.check())
    (step,) = (step for step in derivation.steps if step.rule is None)
    assert "draws out of sight" in str(step.note)


def test_a_users_own_rule_for_his_function() -> None:
    from pellucid.derivation.registry import rule

    @rule(
        "Cube", function=Cube, forward="Y = X^{3}", backward={"value": r"\bar{X} = 3 \bar{Y} \odot X^{2}"},
        symbols={"X": "value", "Y": "output"}, source="none",
    )  # fmt: skip
    class cube:
        def forward(value):
            return value**3

        def backward(dY, Y, value):
            return {"value": 3 * dY * value**2}

    try:
        assert isinstance(cube, Rule)
        W = weight()
        check = pellucid.derive(lambda x: Cube.apply(x @ W).sum(), x()).check()
        assert (check.without_equation, check.passed) == (0, True)
    finally:
        del registry._rules["Cube"]


# -- where the gradient stops ----------------------------------------------------------------------------------------------------------


def by_detach(h: Tensor) -> Tensor:
    return h * torch.sigmoid(h).detach()


def by_data(h: Tensor) -> Tensor:
    return h * torch.sigmoid(h).data


def by_no_grad(h: Tensor) -> Tensor:
    with torch.no_grad():
        gate = torch.sigmoid(h)
    return h * gate


@pytest.mark.parametrize(("function", "reason"), [(by_detach, "detach"), (by_data, "data"), (by_no_grad, "torch.no_grad()")])
def test_a_detached_branch_is_named(function: Callable[[Tensor], Tensor], reason: str) -> None:
    W = weight()
    derivation = pellucid.derive(lambda x: function(x @ W).sum(), x())
    check = derivation.check()
    assert check.passed, str(check)  # ours equals autograd's: it is the program that stops the gradient
    (finding,) = check.findings
    assert (finding.symptom, finding.level) == ("gradient_stops", "advice")
    assert reason in str(finding.summary)
    step = derivation.steps[finding.evidence["steps"][0] - 1]
    assert step.index == (2 if "no_grad" in reason else 3)
    assert str(step.index) in str(finding.summary)


def test_no_alarm_where_nothing_is_lost() -> None:
    """A detached input, a mask, running statistics, a class index: no parameter's gradient is lost there."""
    model = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3))

    def forward(x: Tensor) -> Tensor:
        h = model(x.detach())
        mask = (h > 0).to(h.dtype)
        with torch.no_grad():
            h.detach().mean()  # looked at, not used
        return (h * mask)[torch.arange(4), h.argmax(1)].sum()

    assert pellucid.derive(forward, x()).check().findings == ()


def test_central_differences_see_through_a_detached_branch() -> None:
    W = weight()
    derivation = pellucid.derive(lambda x: by_detach(x @ W).sum(), x(), finite_differences=True)
    check = derivation.check()
    assert check.finite_differences > 1e-3
    assert check.passed


# -- overwritten memory ----------------------------------------------------------------------------------------------------------------


def data_of_an_argument(h: Tensor) -> Tensor:
    y = h * h
    h.data.mul_(2)  # the backward pass of h * h now reads the doubled numbers
    return y


def detached_result(h: Tensor) -> Tensor:
    y = torch.tanh(h)
    y.data.add_(0.5)
    return y


def through_numpy(h: Tensor) -> Tensor:
    y = torch.exp(h)
    y.detach().numpy()[...] = 0
    return h * y


@pytest.mark.parametrize(("function", "operation"), [(data_of_an_argument, "mul"), (detached_result, "add")])
def test_a_silent_overwrite_is_caught_and_named(function: Callable[[Tensor], Tensor], operation: str) -> None:
    W = weight()
    derivation = pellucid.derive(lambda x: function(x @ W).sum(), x())
    check = derivation.check()
    assert not check.passed
    (fault,) = check.faults
    assert fault.symptom == "overwritten_memory"
    assert operation in str(fault.summary)
    assert "test_faults.py" in str(fault.where)
    assert not [step for step in derivation.steps if step.status == "wrong" and step.operation not in (operation,)]


def test_an_overwrite_that_pytorch_refuses_is_named() -> None:
    W = weight()

    def forward(x: Tensor) -> Tensor:
        h = torch.sigmoid(x @ W)
        h += 1
        return h.sum()

    with pytest.raises(TraceError, match=r"(?s)__iadd__|add_ at .*test_faults.py.* writes over the result of sigmoid"):
        pellucid.derive(forward, x())


# -- NaN -------------------------------------------------------------------------------------------------------------------------------


def test_where_nan_is_born() -> None:
    W = weight()
    check = pellucid.derive(lambda x: (torch.log(x @ W) * 2).sum(), x()).check()
    (fault,) = check.faults
    assert (fault.symptom, fault.evidence["step"]) == ("not_finite", 2)
    assert "born at step 2, log" in str(fault.summary)


def test_where_a_gradient_becomes_infinite() -> None:
    W = weight()
    check = pellucid.derive(lambda x: (torch.sqrt((x @ W) * 0) * 2).sum(), x()).check()
    (fault,) = check.faults
    assert "gradients are born at step 3, sqrt" in str(fault.summary)


def test_nan_in_what_was_given() -> None:
    W, inputs = weight(), x()
    inputs[1, 1] = float("nan")
    check = pellucid.derive(lambda x: (x @ W).sum(), inputs).check()
    (fault,) = check.faults
    assert "input holds NaN" in str(fault.summary)


def test_infinities_of_a_mask_are_no_fault() -> None:
    W = weight()
    mask = torch.tensor([True, False, False])
    derivation = pellucid.derive(lambda x: (torch.softmax((x @ W).masked_fill(mask, float("-inf")), 1) ** 2).sum(), x())
    assert derivation.check().passed, str(derivation.check())


def test_nan_accuses_no_rule() -> None:
    check = pellucid.derive(nn.Linear(2, 3), torch.randn(3, 2), torch.full((3,), -100), loss=F.cross_entropy).check()
    assert [finding.symptom for finding in check.faults] == ["not_finite"]
    assert not check.passed
