"""Rules: what one tensor operation computes and what its derivative is, in LaTeX and executed in NumPy, side by side.

NumPy in float64, because a proof must not use what it proves. A rule is one function pair with its equations:

    @rule(
        "linear", function=torch.nn.functional.linear,
        forward=r"Y = X W^{\\top}\\given{bias}{ + b}",
        backward={
            "input": r"\\bar{X} = \\bar{Y} W",
            "weight": r"\\bar{W} = \\bar{Y}^{\\top} X",
            "bias": r"\\bar{b} = \\sum_{n} \\bar{Y}_{n}",
        },
        symbols={"X": "input", "W": "weight", "b": "bias", "Y": "output"},
        where={"n": "the examples"},
        source="Goodfellow, Bengio and Courville 2016, section 6.5.6",
    )
    class linear:
        def forward(input, weight, bias=None):
            return input @ weight.T + (0 if bias is None else bias)

        def backward(dY, Y, input, weight, bias=None):
            return {"input": dY @ weight, "weight": ..., "bias": None if bias is None else ...}

`\\bar{Y}` is dL/dY, the gradient of the scalar loss with respect to Y; in code `dY`. `forward` has the parameters of the torch function
in its order and with its names and defaults. It gets arrays in the place of tensors (float64; integers and booleans as they are), and
everything else as the program gave it. `backward` gets the gradient of the output, the output, and the same arguments; it returns one
array per differentiable argument (a list of arrays where the argument is a list of tensors; None where there is no gradient), each of the
argument's own shape. What it returns for an argument that was a plain number is ignored.
Several outputs: `forward` returns a tuple, `dY` and `Y` are flat tuples, and an output that nothing used has the gradient zero.

Parts of an equation that depend on the call: `\\given{bias}{ + b}` stands only where the argument `bias` is neither None nor False,
`\\given{reduction=mean}{\\frac{1}{N}}` where str(reduction) is "mean", `\\given{!bias}{...}` and `\\given{reduction!=sum}{...}` where not.
`Rule.equation(arguments)` renders them.

A function that PyTorch lets one call in several orders, `max(x, dim)` and `max(x, other)`, has a third function in its rule,
`arguments(bound)`, which gets the bound arguments by name, tensors being whatever stands for them, and returns them as `forward` takes
them.

Random draws (dropout masks, noise) reach a rule that asks for them by a keyword-only parameter `draws=()` in both functions: a tuple of
arrays as PyTorch drew them, in order (for dropout the mask of zeros and ones).

An operation that is many steps (a recurrent network, attention) is an expansion instead: a function that applies elementary rules on a
tape.

    @expansion("lstm")
    def lstm(tape, input, hx, params, has_biases, ...):     # the traced call's arguments, with tape Values in the place of tensors
        with tape.group(text("forget gate")):
            z = tape.apply("linear", input_t, W, b, label="z_f", symbol="z_{f}")
        return output, h, c                                 # Values in the places of the call's results

An expansion may ask for `draws` too (Values), and raise `Unsupported`; both are as for rules.
"""

from __future__ import annotations

import inspect
import re
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from importlib.metadata import EntryPoint, entry_points
from typing import Any

import numpy as np

from pellucid.core.errors import InputError, OptionError
from pellucid.core.language import Text, text

ENTRY_POINTS = "pellucid.rules"


@dataclass(frozen=True)
class Rule:
    """One operation: its names, equations, and both passes in NumPy."""

    name: str  # as the trace calls it
    function: Callable[..., Any] | None  # the torch function: what `check_rule` compares with
    forward_equation: str  # LaTeX
    backward_equations: Mapping[str, str]  # argument -> LaTeX
    symbols: Mapping[str, str]  # letter in the equations -> parameter of `forward`, "output", or a described quantity
    source: str
    forward: Callable[..., Any]
    backward: Callable[..., Mapping[str, Any]]
    family: str = ""
    note: Text | None = None  # what a reader should know: a tie, a convention, another name
    where: Mapping[str, str] = field(default_factory=dict)  # letter -> what it stands for, where it is no parameter: "s": "the stride"
    arguments: Callable[[dict[str, Any]], dict[str, Any]] | None = None  # puts the arguments of a call in another order right

    @cached_property
    def signature(self) -> inspect.Signature:
        return inspect.signature(self.forward)

    def bind(self, args: Sequence[Any], kwargs: Mapping[str, Any], draws: Sequence[Any] = ()) -> dict[str, Any]:
        """The call's arguments by the names of `forward`; defaults filled in.

        PyTorch's other spellings of an argument (axis for dim, keepdims for keepdim, self for input) are taken too.

        Raises:
            Unsupported: a call that `forward`'s signature does not cover.
        """
        parameters = self.signature.parameters
        kwargs = {_SPELLINGS[key] if key not in parameters and _SPELLINGS.get(key) in parameters else key: kwargs[key] for key in kwargs}
        if kwargs.get("out", 0) is None:
            del kwargs["out"]
        if "draws" in parameters:
            kwargs["draws"] = tuple(draws)
        try:
            bound = self.signature.bind(*args, **kwargs)
        except TypeError as error:
            raise Unsupported(
                text("{name} was called with arguments that its rule does not know: {error}", name=self.name, error=str(error)),
                text("the parameters {parameters}", parameters=list(self.signature.parameters)),
                text("extend the rule's signature"),
            ) from None
        bound.apply_defaults()
        return self.arguments(bound.arguments) if self.arguments else bound.arguments

    def run_forward(self, arguments: Mapping[str, Any]) -> Any:
        """`forward` on bound arguments."""
        args, kwargs = self.arguments_of(arguments)
        with np.errstate(all="ignore"):  # a NaN is the program's own; where it is born is said by `derive`
            return self.forward(*args, **kwargs)

    def run_backward(self, gradient: Any, output: Any, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        """`backward` on the gradient of the output, the output, and the bound arguments."""
        args, kwargs = self.arguments_of(arguments)
        with np.errstate(all="ignore"):
            return self.backward(gradient, output, *args, **kwargs)

    def arguments_of(self, arguments: Mapping[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Bound arguments as positional and keyword arguments of `forward`."""
        bound = inspect.BoundArguments(self.signature, OrderedDict(arguments))
        return bound.args, bound.kwargs

    def equation(self, arguments: Mapping[str, Any]) -> str:
        """The forward equation of one call, in LaTeX."""
        return given(self.forward_equation, arguments)

    def gradient_equations(self, arguments: Mapping[str, Any]) -> dict[str, str]:
        """The backward equations of one call, by argument, in LaTeX."""
        return {name: given(equation, arguments) for name, equation in self.backward_equations.items()}

    @property
    def differentiable(self) -> tuple[str, ...]:
        """The arguments that have a gradient."""
        return tuple(self.backward_equations)


class Unsupported(InputError):  # noqa: N818
    """A call that a rule knows it does not cover; the step is shown with autograd's value and counted."""


_rules: dict[str, Rule] = {}
_expansions: dict[str, Expansion] = {}
_SPELLINGS = {"axis": "dim", "keepdims": "keepdim", "self": "input", "x": "input", "x1": "input", "x2": "other"}


def rule(
    *names: str,
    function: Callable[..., Any] | None = None,
    forward: str,
    backward: Mapping[str, str],
    symbols: Mapping[str, str],
    source: str,
    where: Mapping[str, str] | None = None,
    note: Text | None = None,
) -> Callable[[type], Rule]:
    """Register a class with the functions `forward` and `backward` as the rule of the traced `names`; the first is its title."""

    def register(body: type) -> Rule:
        made = Rule(
            name=names[0],
            function=function,
            forward_equation=forward,
            backward_equations=dict(backward),
            symbols=dict(symbols),
            source=source,
            forward=body.__dict__["forward"],
            backward=body.__dict__["backward"],
            family=body.__module__.rsplit(".", 1)[-1],
            note=note,
            where=dict(where or {}),
            arguments=body.__dict__.get("arguments"),
        )
        _check_parameters(made)
        for name in names:
            if name in _rules:
                raise OptionError(
                    text("there are two rules for {name!r}", name=name), text("one rule per operation"), text("rename one of them")
                )
            _rules[name] = made
        return made

    return register


def _check_parameters(made: Rule) -> None:
    """`backward` takes (gradient, output, *the parameters of forward), and every equation speaks of a parameter of forward."""
    forward, backward = list(made.signature.parameters), list(inspect.signature(made.backward).parameters)
    if backward[2:] != forward:
        raise OptionError(
            text("backward of {name!r} has the parameters {got}", name=made.name, got=backward),
            text("the gradient, the output, then {expected}", expected=forward),
            text("give both functions the same parameters in the same order"),
        )
    unknown = [argument for argument in made.backward_equations if argument not in forward]
    if unknown:
        raise OptionError(
            text("{name!r} has backward equations for {unknown}", name=made.name, unknown=unknown),
            text("parameters of forward: {expected}", expected=forward),
            text("name the equations after the parameters"),
        )
    equations = (made.forward_equation, *made.backward_equations.values())
    strange = sorted({condition[1] for equation in equations for condition in _GIVEN.findall(equation)} - set(forward))
    if strange:
        raise OptionError(
            text("an equation of {name!r} depends on {unknown}", name=made.name, unknown=strange),
            text("parameters of forward: {expected}", expected=forward),
            text("name the conditions after the parameters"),
        )


@dataclass(frozen=True)
class Form:
    """One way to write what an expansion computes."""

    title: Text  # "as executed", "in PyTorch's order of gates", "as many textbooks have it: another function"
    equations: tuple[str, ...]  # LaTeX


@dataclass(frozen=True)
class Expansion:
    """One traced operation that is many steps, and its equations in a few lines."""

    names: tuple[str, ...]  # as the trace calls it; the first is its title
    function: Callable[..., Any]
    forms: tuple[Form, ...] = ()  # the first is what the steps execute
    where: Mapping[str, str | Text] = field(default_factory=lambda: dict[str, "str | Text"]())  # letter -> what it stands for
    source: str = ""
    note: Text | None = None


def expansion(
    *names: str,
    forms: Sequence[Form] = (),
    where: Mapping[str, str | Text] | None = None,
    source: str = "",
    note: Text | None = None,
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Register a function (tape, *arguments) that does the traced `names` in elementary steps."""

    def register(function: Callable[..., Any]) -> Callable[..., Any]:
        made = Expansion(names, function, tuple(forms), dict(where or {}), source, note)
        for name in names:
            if name in _expansions:
                raise OptionError(
                    text("there are two expansions of {name!r}", name=name), text("one per operation"), text("rename one of them")
                )
            _expansions[name] = made
        return function

    return register


def find_expansion(name: str) -> Callable[..., Any] | None:
    """The function that expands a traced operation, or None."""
    known = all_expansions().get(name)
    return known.function if known else None


def all_expansions() -> dict[str, Expansion]:
    """Every expansion, by each of its names."""
    import pellucid.derivation.expansions  # noqa: F401  (registers them)

    return _expansions


@cache
def _installed() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=ENTRY_POINTS)}


def _load(point: EntryPoint) -> None:
    """Import another package's rule, which registers it."""
    try:
        point.load()
    except Exception as error:
        raise OptionError(
            text(
                "the rule {name!r} of the entry point {value} cannot be loaded: {error}",
                name=point.name,
                value=point.value,
                error=str(error),
            ),
            text("a module that registers a rule of this name when it is imported"),
            text("mend or uninstall the package that brings it"),
        ) from error


def find_rule(name: str) -> Rule | None:
    """The rule of a traced operation, or None."""
    import pellucid.derivation.rules  # noqa: F401  (registers the built-in rules)

    if name not in _rules and name in _installed():
        _load(_installed()[name])
    return _rules.get(name)


def all_rules() -> dict[str, Rule]:
    """Every rule by its title."""
    import pellucid.derivation.rules  # noqa: F401

    return {name: made for name, made in sorted(_rules.items()) if made.name == name}


_GREEK = re.findall(
    r"\w+",
    "alpha beta gamma delta epsilon varepsilon zeta eta theta kappa lambda mu nu xi rho sigma tau phi varphi psi omega "
    "Gamma Delta Theta Lambda Sigma Phi Psi Omega",
)
_COMMAND = re.compile(r"\\([A-Za-z]+)\*?")
_WORDS = re.compile(r"\\(?:text|operatorname|mathrm|mathtt|begin|end)\s*\{[^{}]*\}")


_GIVEN = re.compile(r"\\given\{(!?)(\w+)(?:(!?)=([^{}]*))?\}\{")


def given(equation: str, arguments: Mapping[str, Any] | None = None) -> str:
    """The equation with its \\given{condition}{part} decided by the arguments; without arguments every part stands."""
    found = _GIVEN.search(equation)
    if found is None:
        return equation
    depth, end = 1, found.end()
    while depth:
        depth += {"{": 1, "}": -1}.get(equation[end], 0)
        end += 1
    negated, name, different, value = found.groups()
    if arguments is None:
        stands = True
    elif value is None:
        argument = arguments[name]
        stands = (argument is not None and argument is not False) != bool(negated)
    else:
        stands = (str(arguments[name]) == value) != (bool(different) != bool(negated))
    part = equation[found.end() : end - 1] if stands else ""
    return equation[: found.start()] + given(part + equation[end:], arguments)


def letters(equation: str) -> set[str]:
    """The letters of an equation, Greek ones as commands, words in \\text{...} and the like left out.

    A test looks each of them up in the rule's symbols.
    """
    plain = _WORDS.sub(" ", given(equation))
    greek = {"\\" + name for name in _COMMAND.findall(plain) if name in _GREEK}
    return greek | set(re.findall(r"[A-Za-z]", _COMMAND.sub(" ", plain)))


def unbroadcast(gradient: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Sum a gradient over the dimensions along which an argument of `shape` was repeated by broadcasting."""
    extra = gradient.ndim - len(shape)
    if extra > 0:
        gradient = gradient.sum(axis=tuple(range(extra)))
    repeated = tuple(axis for axis, size in enumerate(shape) if size == 1 and gradient.shape[axis] != 1)
    return gradient.sum(axis=repeated, keepdims=True) if repeated else gradient.reshape(shape)
