"""A derivation as text: every step is there, the 2-4-1 network reads like a textbook, a large network does not flood the terminal."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import pellucid
from derivation.derived_networks import ResidualCNN, images
from pellucid.core.language import use_language
from pellucid.derivation.latex_formula import latex, parse
from pellucid.derivation.pages.plain import columns_of, plain
from pellucid.derivation.registry import all_rules, given


def two_four_one(notation="column", examples=1):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(2, 4), nn.Sigmoid(), nn.Linear(4, 1), nn.Sigmoid()).double()
    x = torch.tensor([[0.0, 1.0], [1.0, 0.0], [1.0, 1.0], [0.0, 0.0]], dtype=torch.float64)[:examples]
    y = torch.tensor([[1.0], [1.0], [0.0], [0.0]], dtype=torch.float64)[:examples]
    optimizer = torch.optim.SGD(network.parameters(), lr=0.5)
    return pellucid.derive(network, x, y, loss="half_squared_error", optimizer=optimizer, notation=notation)


@pytest.mark.parametrize(
    ("notation", "lines"),
    [
        (
            "column",
            ["z⁽¹⁾ = W⁽¹⁾ x + b⁽¹⁾", "a⁽¹⁾ = σ(z⁽¹⁾)", "∂L/∂z⁽²⁾ = ∂L/∂ŷ ⊙ σ′(z⁽²⁾)", "∂L/∂W⁽²⁾ = ∂L/∂z⁽²⁾ a⁽¹⁾ᵀ"],
        ),
        ("row", ["Z⁽¹⁾ = X W⁽¹⁾ + b⁽¹⁾", "∂L/∂W⁽²⁾ = A⁽¹⁾ᵀ ∂L/∂Z⁽²⁾", "∂L/∂A⁽¹⁾ = ∂L/∂Z⁽²⁾ W⁽²⁾ᵀ"]),
        ("torch", ["Z⁽¹⁾ = X W⁽¹⁾ᵀ + b⁽¹⁾", "∂L/∂W⁽²⁾ = (∂L/∂Z⁽²⁾)ᵀ A⁽¹⁾", "∂L/∂A⁽¹⁾ = ∂L/∂Z⁽²⁾ W⁽²⁾"]),
    ],
)
def test_the_textbook_s_lines_in_each_notation(notation, lines):
    with use_language("en"):
        page = two_four_one(notation).to_text()
    for line in lines:
        assert line in page
    assert "W⁽¹⁾ ← W⁽¹⁾ − η ∂L/∂W⁽¹⁾" in page
    assert "∑ᵢ" in page
    assert "η = 0.5" in page
    assert max(map(columns_of, page.splitlines())) <= 100


@pytest.mark.parametrize("notation", ["column", "row", "torch"])
@pytest.mark.parametrize("examples", [1, 4])
def test_numbers_put_in_give_the_result(notation, examples):
    """The matrices of a linear step multiply to the result as they stand in the equation."""
    import numpy as np

    from pellucid.derivation.formula import Matrix, Row, Script
    from pellucid.derivation.notation import Notation

    derivation = two_four_one(notation, examples)
    letters = Notation(derivation)

    def value(part):
        if isinstance(part, Script):
            return value(part.base).T
        return np.atleast_1d(part.array) if isinstance(part, Matrix) else None

    for step in (derivation.steps[0], derivation.steps[2]):
        written = letters.forward(step)
        assert written is not None
        inner, result = written.numbers
        assert isinstance(inner, Row)
        first, second, _, bias = inner.items
        a, b, c, r = value(first), value(second), value(bias), np.atleast_1d(result.array)
        if notation == "column" and c.ndim == 1 and r.ndim == 2:
            c = c[:, None]
        np.testing.assert_allclose(a @ b + c, r, rtol=1e-12)
        for gradient in letters.backward(step):
            if gradient.argument != "bias":
                inner, result = gradient.numbers
                left, right = (value(part) for part in inner.items)
                product = left * right if 1 in (left.size, right.size) else left @ right
                np.testing.assert_allclose(product.reshape(result.array.shape), result.array, rtol=1e-12)


def test_chinese():
    with use_language("zh"):
        page = two_four_one().to_text()
    for word in ("前向传播", "反向传播", "损失", "更新", "检验"):
        assert word in page
    assert max(map(columns_of, page.splitlines())) <= 100


def test_a_large_network_stays_readable():
    network = ResidualCNN((2, 2, 2, 2), 4, 10)
    derivation = pellucid.derive(network, images(2, 3, 8), torch.tensor([1, 2]), loss="cross_entropy")
    page = derivation.to_text()
    assert len(page.splitlines()) < 300
    assert max(map(columns_of, page.splitlines())) <= 100
    for step in derivation.steps:
        assert f"({step.index})" in page


def test_every_rule_can_be_drawn():
    for name, rule in all_rules().items():
        for equation in (rule.forward_equation, *rule.backward_equations.values()):
            tree = parse(given(equation))
            line = plain(tree)
            assert line.strip(), name
            assert "\\" not in line.replace("∖", ""), (name, line)
            assert plain(parse(latex(tree))) == line, name


def test_an_expansion_keeps_its_own_letters():
    network = nn.LSTM(2, 3, num_layers=2)
    derivation = pellucid.derive(network, torch.randn(2, 1, 2), loss=lambda output: (output[0] ** 2).sum())
    page = derivation.to_text()
    assert "W⁽²⁾_f = [W⁽²⁾_{hf}, W⁽²⁾_{if}]" in page
    assert "C̃⁽¹⁾₁ = tanh(z⁽¹⁾_{C,1})" in page
    assert r"W_{\mathrm{ih\_l0}}^{(1)}" in derivation.to_latex()


def test_lists_of_tensors_leave_no_placeholder() -> None:
    network = nn.GRU(1, 1)
    derivation = pellucid.derive(network, torch.ones(2, 1, 1), loss=lambda outputs: outputs[0].sum())
    page = derivation.to_text()
    assert "@" not in page
    assert "= [W_{hz}, W_{iz}]" in page


class JoinedAndSplit(nn.Module):
    """Two layers side by side, joined and taken apart again."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.other = nn.Linear(2, 1), nn.Linear(2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        left, right = torch.cat([self.one(x), self.other(x)], 1).split(1, 1)
        return left * right


def test_the_gradients_of_lists_are_gradients() -> None:
    page = pellucid.derive(JoinedAndSplit(), torch.randn(1, 2)).to_text()
    assert "[∂L/∂z⁽¹⁾, ∂L/∂z⁽²⁾] = ∂L/∂u₃" in page
    assert "∂L/∂u₃ = [∂L/∂u₄,₁, ∂L/∂u₄,₂]" in page


def test_long_lists_keep_their_letters() -> None:
    page = pellucid.derive(lambda x: torch.cat([x * k for k in range(1, 9)]), torch.ones(2, requires_grad=True)).to_text()
    assert "[∂L/∂X₁, …, ∂L/∂Xₙ] =" in page
