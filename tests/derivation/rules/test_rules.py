"""Every rule against PyTorch, autograd and central differences, over the case tables of this folder. A rule without a case fails."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from derivation.rules.cases import Case, Draw
from derivation.rules.checking import Call, calls, central_difference_error, check, flat, oddly_strided
from pellucid.core.trace.records import mapped
from pellucid.derivation.comparison import error_of
from pellucid.derivation.registry import Rule, Unsupported, all_rules, find_rule, given, letters
from turns import in_turn

RULES = all_rules()
TABLES = {file.stem: import_module(f"derivation.rules.{file.stem}").CASES for file in sorted(Path(__file__).parent.glob("cases_*.py"))}
ALL = [(name, case) for table in TABLES.values() for name, cases in table.items() for case in cases]
IDS = [f"{name}{case}" for name, case in ALL]


def made(name: str, case: Case) -> tuple[Rule, Call]:
    """The rule, and the traced call of a case."""
    rule = find_rule(name)
    assert rule is not None, f"there is no rule {name}"
    generator = torch.Generator().manual_seed(7)
    args, kwargs = mapped((case.args, case.kwargs), Draw, lambda draw: draw(generator))
    function = case.function or rule.function
    assert function is not None, f"{name} has no torch function to compare with: use .calling()"
    found = [call for call in calls(function, args, kwargs) if call.rule is rule]
    assert found, f"no traced operation has the rule {name}"
    return rule, found[-1]


@pytest.mark.parametrize("name", RULES)
def test_rule_has_a_case(name: str) -> None:
    assert any(table.get(name) for table in TABLES.values()), f"write a case of {name} in a table cases_*.py of this folder"


@pytest.mark.parametrize(("name", "case"), in_turn(ALL, 2), ids=IDS)
def test_case(name: str, case: Case) -> None:
    if case.refusal:  # by the signature when it is bound, or by `forward`
        with pytest.raises(Unsupported, match=re.escape(case.refusal)):
            refused(name, case)
        return
    rule, call = made(name, case)
    forward, backward, gradients = check(call)
    assert forward <= case.tolerance
    assert backward <= 1e-9
    flowing = {place.partition("[")[0] for place, gradient in gradients.items() if gradient is not None}
    assert flowing <= set(rule.differentiable), "a gradient without its equation"
    if not case.kink:
        assert central_difference_error(call, gradients) <= 1e-5
    strides_do_not_matter(rule, call)
    for equation in (rule.equation(call.arguments), *rule.gradient_equations(call.arguments).values()):
        well_formed(equation)


def refused(name: str, case: Case) -> None:
    rule, call = made(name, case)
    rule.run_forward(call.arguments)


def strides_do_not_matter(rule: Rule, call: Call) -> None:
    """The same numbers from arrays with gaps, reversed and transposed, that must not be written to."""
    odd = mapped(call.arguments, np.ndarray, lambda array: oddly_strided(array) if array.size else array)
    plain, strange = flat(rule.run_forward(call.arguments)), flat(rule.run_forward(odd))
    assert all(error_of(b, a) <= 1e-12 for a, b in zip(plain, strange, strict=True))
    if not any(array.dtype.kind == "f" for array in plain):
        return
    ones = [np.ones(array.shape) for array in plain]
    results = [(ones, plain, call.arguments), ([oddly_strided(one) for one in ones], [oddly_strided(a) for a in plain], odd)]
    found = [rule.run_backward(*(item[0] if len(item) == 1 else tuple(item) for item in pair[:2]), pair[2]) for pair in results]
    for argument in found[0]:
        for a, b in zip(_arrays(found[0][argument]), _arrays(found[1][argument]), strict=True):
            assert error_of(b, a, 1.0) <= 1e-9, argument


def _arrays(gradient: Any) -> list[np.ndarray]:
    if isinstance(gradient, (list, tuple)):
        return [array for item in gradient for array in _arrays(item)]
    return [] if gradient is None else [np.asarray(gradient)]


@pytest.mark.parametrize("name", RULES)
def test_equations_speak_of_the_signature(name: str) -> None:
    """Every letter is a parameter, the output, or explained; every argument with a gradient has a letter."""
    rule = RULES[name]
    equations = [rule.forward_equation, *rule.backward_equations.values()]
    used = set().union(*(letters(equation) for equation in equations))
    known = {letter for symbol in (*rule.symbols, *rule.where) for letter in letters(symbol)}
    assert used <= known, "letters that nothing explains"
    assert known <= used, "letters explained that no equation has"
    assert set(rule.symbols.values()) - {"output"} <= set(rule.signature.parameters)
    assert set(rule.backward_equations) <= set(rule.symbols.values()), "an argument with a gradient, but without a letter"
    for argument, equation in rule.backward_equations.items():
        letter = next(symbol for symbol, parameter in rule.symbols.items() if parameter == argument)
        assert re.search(r"\\bar\{" + re.escape(letter) + r"[}_^']", equation) or argument in ("tensors",), (
            f"{equation} is not about {letter}"
        )


@pytest.mark.parametrize("name", RULES)
def test_equations_are_well_formed(name: str) -> None:
    rule = RULES[name]
    for equation in (rule.forward_equation, *rule.backward_equations.values()):
        well_formed(given(equation))


def well_formed(latex: str) -> None:
    assert "=" in latex or r"\sim" in latex
    assert r"\given" not in latex
    depth = 0
    for token in re.findall(r"\\[{}]|[{}]", latex):
        depth += {"{": 1, "}": -1}.get(token, 0)
        assert depth >= 0, latex
    assert depth == 0, latex
    assert latex.count(r"\left") - latex.count(r"\leftarrow") - latex.count(r"\left\\") == latex.count(r"\right") - latex.count(
        r"\rightarrow"
    ), latex
    assert re.findall(r"\\begin\{(\w+)\}", latex) == re.findall(r"\\end\{(\w+)\}", latex)[::-1] or latex.count(r"\begin") == latex.count(
        r"\end"
    )
    assert not re.search(r"=\s*(,|$|\\quad)", latex), f"an empty side: {latex}"
    assert not re.search(r"[_^]\{\s*\}", latex), latex


def test_sources_are_there() -> None:
    assert all(re.search(r"\b(19|20)\d\d\b", rule.source) for rule in RULES.values()), "a source has an author and a year"


def test_nothing_is_written_to_a_tensor() -> None:
    """The arrays that a rule gets cannot be written to: `check` gives read-only views of PyTorch's memory."""
    rule, call = made("relu", Case((Draw(lambda g: torch.randn(3, generator=g, dtype=torch.float64), "x"),), {}))
    assert not call.arguments["input"].flags.writeable
    assert isinstance(rule, Rule)
    assert isinstance(call.trace.tensor(call.outputs[0]), Tensor)
