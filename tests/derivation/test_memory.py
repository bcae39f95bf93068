"""In-place operations and views: a write through one tensor changes every other on the same memory, and so do the gradients."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import pellucid


def plain(h: Tensor) -> Tensor:
    h = h * 1
    h += 2
    h.mul_(h.detach() * 0 + 3)
    return F.relu(h, inplace=True)


def view_then_write(h: Tensor) -> Tensor:
    flat = h.view(-1)
    flat.add_(1)
    return h * h


def base_then_view(h: Tensor) -> Tensor:
    row, column = h[0], h[:, 0]
    h.mul_(2)
    return (row * column[:3]).sum() + h.sum()


def two_views(h: Tensor) -> Tensor:
    first, second = h[:2], h[1:]
    first.mul_(2)
    second.add_(first.sum())
    return (first * 3).sum() + (second * h[:3]).sum()


def view_of_a_view(h: Tensor) -> Tensor:
    inner = h.view(2, 6)[:, 1:4].t()
    inner[0] = inner[1] * 2
    return (h**2).sum() + inner.sum()


def rows_one_by_one(h: Tensor) -> Tensor:
    out = torch.zeros(4, 3)
    for t in range(4):
        out[t] = torch.tanh(h[t]) + (out[t - 1] if t else 0)
    return out**2


def rows_by_views(h: Tensor) -> Tensor:
    out = h.new_zeros(4, 3)
    for t in range(4):
        out[t].copy_(h[t] * (t + 1))
    return out**2


def masked(h: Tensor) -> Tensor:
    h[h > 0] = 0.5
    h[:, :2].neg_()
    h[torch.tensor([0, 2]), torch.tensor([1, 1])] = h[3, :2] * 2
    return h * h


def filled(h: Tensor) -> Tensor:
    h[1].fill_(0.25)
    h.masked_fill_(h < -1, -1.0)
    h[:, 2].zero_()
    h.clamp_(max=0.9)
    return h * h


def counted(h: Tensor) -> Tensor:
    h.index_put_((torch.tensor([0, 0, 2]),), h[:3] * 2, accumulate=True)
    return h * h


def transposed_write(h: Tensor) -> Tensor:
    h.t()[0].sub_(h[:, 1] * 2)
    return h.T * 2


def written_after_use(h: Tensor) -> Tensor:
    before = h.sum()
    h.add_(1)
    return before * h


def written_through_a_slice_of_the_input(x: Tensor) -> Tensor:
    x[:, 0] = x[:, 1]
    return x * x


PROGRAMS = [
    plain, view_then_write, base_then_view, two_views, view_of_a_view, rows_one_by_one, rows_by_views, masked, filled, counted,
    transposed_write, written_after_use,
]  # fmt: skip


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.__name__)
def test_writes(program: Callable[[Tensor], Tensor]) -> None:
    torch.manual_seed(0)
    W, x = torch.randn(3, 3, requires_grad=True), torch.randn(4, 3)
    derivation = pellucid.derive(lambda x: program(x @ W).sum(), x)
    check = derivation.check()
    assert check.passed, str(check)
    assert check.without_equation == 0, check.operations_without_equation
    twin, inputs = W.detach().double().requires_grad_(), x.double()
    torch.set_default_dtype(torch.float64)
    try:
        loss = program(inputs @ twin).sum()
    finally:
        torch.set_default_dtype(torch.float32)
    (gradient,) = torch.autograd.grad(loss, twin)
    assert float(derivation.loss.array) == pytest.approx(loss.item(), rel=1e-12)
    torch.testing.assert_close(torch.from_numpy(derivation.gradients["W"].copy()), gradient, rtol=1e-10, atol=1e-10)


def test_a_write_to_the_input_leaves_the_users_alone() -> None:
    x = torch.arange(6.0).reshape(2, 3)
    derivation = pellucid.derive(written_through_a_slice_of_the_input, x)
    assert derivation.check().passed
    assert torch.equal(x, torch.arange(6.0).reshape(2, 3))
    assert derivation.inputs[0].gradient.tolist() == [[0, 4, 4], [0, 16, 10]]


def test_steps_of_a_write_through_a_view() -> None:
    """The write's own equation, then the base with the written part replaced."""
    W = torch.randn(3, 3, requires_grad=True)
    derivation = pellucid.derive(lambda x: view_then_write(x @ W).sum(), torch.randn(4, 3))
    assert [step.operation for step in derivation.steps] == ["matmul", "view", "add", "put", "mul", "sum"]
    assert derivation.steps[3].output.name == "matmul_1@4"
    assert derivation.steps[2].in_place
    assert derivation.steps[3].in_place


def test_a_weight_clipped_in_the_pass() -> None:
    """Written under no_grad: autograd hands the gradient of the clipped weight to the weight, as the usual recipe wants it."""
    W = torch.tensor([[3.0, 0.5], [-0.2, -4.0]], requires_grad=True)

    def forward(x: Tensor) -> Tensor:
        with torch.no_grad():
            W.clamp_(-1, 1)
        return (x @ W).sum()

    derivation = pellucid.derive(forward, torch.ones(3, 2))
    check = derivation.check()
    assert check.passed, str(check)
    assert [finding.symptom for finding in check.findings] == ["unseen_write"]
    assert derivation.steps[0].status == "differs"
    assert derivation.gradients["W"].tolist() == [[3, 3], [3, 3]]
    assert W.tolist() == [[3.0, 0.5], [pytest.approx(-0.2), -4.0]]


def test_a_write_that_autograd_does_not_see_is_named() -> None:
    """Used only after the write, nothing saved is corrupted: autograd's gradient is that of the program without the write."""
    W = torch.randn(3, 3, requires_grad=True)

    def forward(x: Tensor) -> Tensor:
        h = x @ W
        h.data.mul_(2)
        return h.sum()

    check = pellucid.derive(forward, torch.randn(4, 3)).check()
    assert "unseen_write" in [finding.symptom for finding in check.findings]
