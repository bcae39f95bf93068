"""pellucid.check_rule: for those who write a rule. It prints both numbers, and finds what is wrong."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

import pellucid
from pellucid.core.errors import OptionError
from pellucid.derivation import registry
from pellucid.derivation.registry import Rule, Unsupported, given, letters, rule


@pytest.fixture(autouse=True)
def _own_rules() -> Iterator[None]:
    known = dict(registry._rules)
    yield
    registry._rules.clear()
    registry._rules.update(known)


def softsquare(backward: Any, forward: Any = None) -> Rule:
    """x^2 / (1 + x^2), as someone might add it."""

    class body:
        pass

    body.forward = forward or (lambda input: input**2 / (1 + input**2))  # type: ignore[attr-defined]
    body.backward = backward  # type: ignore[attr-defined]
    return rule(
        "softsquare", function=lambda input: input**2 / (1 + input**2), forward=r"Y = X^{2} / (1 + X^{2})",
        backward={"input": r"\bar{X} = 2 \bar{Y} \odot X / (1 + X^{2})^{2}"}, symbols={"X": "input", "Y": "output"}, source="none",
    )(body)  # fmt: skip


def right(dY: Any, Y: Any, input: Any) -> dict[str, Any]:
    return {"input": 2 * dY * input / (1 + input**2) ** 2}


def wrong(dY: Any, Y: Any, input: Any) -> dict[str, Any]:
    return {"input": dY * input / (1 + input**2) ** 2}


def test_a_right_rule() -> None:
    softsquare(right)
    result = pellucid.check_rule("softsquare", (torch.randn(3, 4),))
    assert result.passed
    assert result.forward.error < 1e-14
    assert result.backward["input"].error < 1e-14
    assert result.differences["input"].error < 1e-7
    assert result.from_dict(result.to_dict()) == result


def test_a_wrong_backward_shows_both_numbers() -> None:
    result = pellucid.check_rule(softsquare(wrong), {"input": np.random.default_rng(0).standard_normal((3, 4))})
    assert not result.passed
    assert result.forward.error < 1e-14
    found = result.backward["input"]
    assert found.theirs == pytest.approx(2 * found.ours)
    assert found.error == pytest.approx(0.5)
    assert f"{found.ours:.9g}, by autograd {found.theirs:.9g}" in str(result)
    assert result.differences["input"].error > 0.1


def test_a_wrong_forward() -> None:
    result = pellucid.check_rule(softsquare(right, forward=lambda input: input**2), (torch.randn(3),))
    assert not result.passed
    assert result.forward.error > 1e-3


def test_a_gradient_that_is_truly_zero_passes() -> None:
    """The gradient through a normalisation of a constant gradient: nothing but rounding on both sides."""
    assert pellucid.check_rule("layer_norm", {"input": torch.randn(3, 5), "normalized_shape": (5,)}).passed


def test_lists_draws_and_integers() -> None:
    assert pellucid.check_rule("cat", ([torch.randn(2, 3), torch.randn(1, 3)],)).passed
    assert set(pellucid.check_rule("cat", ([torch.randn(2, 3), torch.randn(1, 3)],)).backward) == {"tensors[0]", "tensors[1]"}
    assert pellucid.check_rule("gt", (torch.randn(3), torch.randn(3))).passed
    assert pellucid.check_rule("getitem", (torch.randn(4, 3), torch.tensor([1, 1]))).passed


def test_what_cannot_be_checked() -> None:
    with pytest.raises(OptionError, match="did you mean 'linear'"):
        pellucid.check_rule("linaer", ())
    with pytest.raises(Unsupported, match="arguments that its rule does not know"):
        pellucid.check_rule("relu", {"inputt": torch.randn(3)})


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"forward": lambda x: x, "backward": lambda dY, Y, z: {}}, r"backward of 'bad' has the parameters dY, Y, z"),
        ({"forward": lambda x: x, "backward": lambda dY, Y, x: {}, "equations": {"z": "0"}}, "has backward equations for"),
        ({"forward": lambda x: x, "backward": lambda dY, Y, x: {}, "equation": r"Y = \given{z}{X}"}, "an equation of 'bad' depends on z"),
    ],
)  # fmt: skip
def test_rules_that_contradict_themselves_are_refused(body: dict[str, Any], words: str) -> None:
    equation, equations = body.pop("equation", "Y = X"), body.pop("equations", {"x": r"\bar{X} = 0"})
    with pytest.raises(OptionError, match=words):
        rule("bad", forward=equation, backward=equations, symbols={}, source="none")(type("bad", (), body))


def test_two_rules_of_one_name_are_refused() -> None:
    softsquare(right)
    with pytest.raises(OptionError, match="two rules for 'softsquare'"):
        softsquare(right)


@pytest.mark.parametrize(
    ("equation", "arguments", "rendered"),
    [
        (r"Y = X\given{b}{ + b}", {"b": None}, "Y = X"),
        (r"Y = X\given{b}{ + b}", {"b": np.ones(2)}, "Y = X + b"),
        (r"Y = X\given{!b}{ + 1}", {"b": None}, "Y = X + 1"),
        (r"\given{r=mean}{\frac{1}{N}}S", {"r": "mean"}, r"\frac{1}{N}S"),
        (r"\given{r=mean}{\frac{1}{N}}S", {"r": "sum"}, "S"),
        (r"\given{r!=mean}{T}S", {"r": "sum"}, "TS"),
        (r"\given{a}{A\given{b}{B}}C", {"a": True, "b": False}, "AC"),
        (r"\given{a}{A\given{b}{B}}C", {"a": True, "b": True}, "ABC"),
    ],
)
def test_equations_depend_on_the_call(equation: str, arguments: dict[str, Any], rendered: str) -> None:
    assert given(equation, arguments) == rendered


def test_letters_of_an_equation() -> None:
    assert letters(r"Y = \given{b}{\alpha b + }\operatorname{vec}(X)_{i} \text{ where } \sum_{j} W") == {
        "Y", r"\alpha", "b", "X", "i", "j", "W",
    }  # fmt: skip
