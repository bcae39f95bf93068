"""The rules' equations written for this network, in one of three notations. Only the typesetting differs.

    "column"  z = W x + b: examples are columns, as in most textbooks
    "row"     Z = X W + b: examples are rows, W has a column per unit
    "torch"   Z = X W^T + b: examples are rows, W as torch.nn.Linear stores it

In a chain of fully connected layers the numbers are laid out as the notation has them; elsewhere they keep torch's layout, and the
equation of a linear step speaks of one example n.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pellucid.derivation.formula import (
    Letter,
    Matrix,
    Node,
    Number,
    Row,
    Script,
    Symbol,
    Words,
    exchanged,
    gradient_of,
    indexed,
    sides,
    substituted,
)
from pellucid.derivation.latex_formula import first_of, latex, parse
from pellucid.derivation.letters import Letters
from pellucid.derivation.tape import Step, Value
from pellucid.derivation.textbook import ELEMENTWISE, LINEAR, LOSSES

if TYPE_CHECKING:
    from pellucid.derivation.derive import Derivation
    from pellucid.derivation.updates import Update

SUBSTITUTED_ENTRIES = 64  # numbers are put into an equation up to this many in each array
SUBSTITUTED_COLUMNS = 8
LISTED = 6  # values of a list are named up to this many


@dataclass(frozen=True)
class Written:
    """One equation of the page."""

    parts: tuple[Node, ...]  # left side and what it equals, in the network's letters
    numbers: tuple[Node, ...] = ()  # the same right side with numbers, then the result; none where they do not fit
    value: np.ndarray | None = None  # the result, laid out as the notation has it
    symbol: Node | None = None  # its letter
    also: Node | None = None  # what the equation uses, such as sigma'(z) = a (1 - a)
    theirs: np.ndarray | None = None  # PyTorch's, to compare
    argument: str = ""  # the place whose gradient it is
    arrow: bool = False  # w <- w - eta g rather than an equation

    @property
    def row(self) -> Row:
        """The whole equation."""
        items: list[Node] = []
        for part in self.parts:
            items += [Symbol("\\leftarrow" if self.arrow else "=")] if items else []
            items += part.items if isinstance(part, Row) else (part,)
        return Row(tuple(items))

    @property
    def latex(self) -> str:
        return latex(self.row)


class Notation:
    """The equations of one derivation, in its letters and its layout."""

    def __init__(self, derivation: Derivation) -> None:
        self.derivation, self.name = derivation, derivation.notation
        self.letters = Letters(derivation)
        self.chain, self.single, self.symbol = self.letters.chain, self.letters.single, self.letters.symbol

    # layout ------------------------------------------------------------------------------------------------------------------------

    def laid_out(self, value: Value, array: np.ndarray | None = None) -> np.ndarray:
        """The value, or its gradient, as the notation lays it out."""
        array = value.array if array is None else array
        if not self.chain or self.name == "torch":
            return array
        return self.of_parameter(array) if value.kind == "parameter" else array.T if self.name == "column" and array.ndim == 2 else array

    def of_parameter(self, array: np.ndarray) -> np.ndarray:
        return array.T if self.chain and self.name == "row" and array.ndim == 2 else array

    def drawn(self, value: Value, array: np.ndarray | None = None) -> Matrix:
        """Numbers for an equation: in row notations a vector is a row."""
        laid = self.laid_out(value, array)
        per_example = value.kind == "target" and not self.single
        return Matrix(laid[None, :] if laid.ndim == 1 and (self.name != "column" or per_example) else laid)

    # equations ---------------------------------------------------------------------------------------------------------------------

    def forward(self, step: Step) -> Written | None:
        """The step's equation; None without one."""
        if step.rule is None:
            return None
        linear = self._linear(step)
        source = linear["forward"] if linear else step.rule.forward_equation
        if step.rule.name in ELEMENTWISE and step.rule.name != "relu":
            source = step.rule.forward_equation
        listed, spelt = self._spelt_out(step, _given(source, step))
        tree = self._tidy(step, parse(listed))
        letters = self._letters_of(step)
        parts = tuple(_with_words(substituted(part, letters), spelt) for part in sides(tree))
        if len(step.outputs) != 1:
            return Written(parts)
        output = step.outputs[0]
        numbers: tuple[Node, ...] = (self.drawn(output),) if self._small(output) else ()
        arrays = self._arrays_of(step)
        if len(parts) > 1 and arrays is not None and self._fits(step, output) and not indexed(tree, [*arrays]):
            first = sides(tree)[1]
            if (
                linear
                and self.name == "column"
                and "X" in arrays
                and "b" in arrays
                and output.array.ndim == 2
                and output.array.shape[0] > 1
            ):
                arrays = arrays | {"b": Matrix(np.repeat(step.arguments["bias"].array[:, None], output.array.shape[0], axis=1))}
            numbers = _distinct(substituted(first, arrays), self.drawn(output))
        return Written(parts, numbers, self.laid_out(output), self.symbol(output), theirs=None)

    def backward(self, step: Step) -> list[Written]:
        """The step's gradients, one equation for each argument that has one."""
        written: list[Written] = []
        linear = self._linear(step)
        equations = dict(step.rule.backward_equations) if step.rule else {}
        letters = self._letters_of(step)
        if step.rule:  # a list's letters stay, with the gradients that their bars stand for
            letters = {letter: Letter(letter) for letter in step.rule.symbols if self._listed(step, letter)} | letters
        for place, gradient in step.gradients.items():
            value = step.places.get(place)
            if gradient is None or value is None:
                continue
            symbol = self.symbol(value)
            laid = self.laid_out(value, gradient)
            parameter = place.partition("[")[0]
            source = linear[parameter] if linear and parameter in linear else equations.get(parameter)
            theirs = value.autograd if len(value.uses) == 1 else None
            left = substituted(parse(r"\bar{X}"), {"X": symbol})
            if source is None or step.rule is None:
                shown: tuple[Node, ...] = (self.drawn(value, gradient),) if self._small(value) else ()
                written.append(Written((left,), shown, laid, left, theirs=theirs, argument=place))
                continue
            if linear and self.name in ("column", "row") and self.chain and parameter == "bias" and not self.single:
                source = r"\bar{b} = \sum_{n} \bar{Y}_{n}"
            also: Node | None = None
            spelt: Mapping[str, Node] = {}
            known = ELEMENTWISE.get(step.rule.name)
            if known is not None:
                name, slope = known
                prime = Script(first_of(name), None, Symbol("\\prime"))
                call = Row((prime, Symbol("("), Letter("X"), Symbol(")")))
                tree = Row((*parse(r"\bar{X} = \bar{Y} \odot").items, call))
                also = substituted(Row((call, Symbol("="), *parse(slope).items)), letters)
                for_numbers = parse(rf"\bar{{X}} = \bar{{Y}} \odot {slope if slope.startswith('[') or 'odot' in slope else f'({slope})'}")
            else:
                listed, spelt = self._spelt_out(step, _given(source, step), bar=True)
                tree = for_numbers = self._tidy(step, parse(listed))
            parts = tuple(_with_words(substituted(part, letters), spelt) for part in sides(tree))
            numbers: tuple[Node, ...] = (self.drawn(value, gradient),) if self._small(value) else ()
            arrays, arriving = self._arrays_of(step), self._arriving(step)
            names = [*(arrays or {}), *arriving]
            if arrays is not None and arriving and self._fits(step, value) and not indexed(for_numbers, names) and len(parts) > 1:
                numbers = _distinct(substituted(sides(for_numbers)[1], arrays, arriving), self.drawn(value, gradient))
            written.append(Written(parts, numbers, laid, left, also, theirs, place))
        return written

    def loss(self) -> tuple[Written, Written | None] | None:
        """A named loss as its textbook writes it, and dL/d(output); None for a loss of another kind."""
        derivation = self.derivation
        if derivation.loss_name not in LOSSES or len(derivation.outputs) != 1 or len(derivation.targets) != 1:
            return None
        if any(step.stage == "loss" and not _plain_call(step) for step in derivation.steps):
            return None
        output, target = derivation.outputs[0], derivation.targets[0]
        if output.kind != "operation":
            return None
        letters = {"P": self.symbol(output), "y": self.symbol(target)}
        forward, backward = LOSSES[derivation.loss_name]
        tree = parse(forward)
        worked: tuple[Node, ...] = (Matrix(derivation.loss.array),)
        if derivation.loss_name == "half_squared_error" and output.array.size <= 4 and target.array.size == output.array.size:
            worked = (_squares(output.array.reshape(-1), target.array.reshape(-1)), *worked)
        loss = Written((substituted(tree, letters),), worked, derivation.loss.array, Letter("L"))
        if output.gradient is None:
            return loss, None
        slope = parse(backward)
        parts = tuple(substituted(part, letters) for part in sides(slope))
        numbers: tuple[Node, ...] = ()
        shape = output.array.shape
        if derivation.loss_name == "half_squared_error" and output.array.size <= 16 and target.array.shape == shape:
            inside = substituted(sides(slope)[1], {"P": self.drawn(output), "y": self.drawn(target)})
            numbers = (inside, self.drawn(output, output.gradient))
        elif output.array.size <= SUBSTITUTED_ENTRIES and output.array.ndim <= 2:
            numbers = (self.drawn(output, output.gradient),)
        gradient = Written(parts, numbers, self.laid_out(output, output.gradient), parts[0], theirs=output.autograd)
        return loss, gradient

    def arriving(self, step: Step) -> list[tuple[Node, np.ndarray]]:
        """dL/d(output) as it arrives at the step, for each result that has one."""
        return [
            (substituted(parse(r"\bar{Y}"), {"Y": self.symbol(value)}), self.laid_out(value, value.gradient))
            for value in step.outputs
            if value.gradient is not None
        ]

    def update(self, update: Update) -> list[Written]:
        """The optimiser's equations for one parameter, the numbers put in where they are few and the equation is a single one."""
        value = self.derivation.parameters.get(update.parameter)
        symbol: Node = Letter("w") if value is None else self.symbol(value)
        letters: dict[str, Node] = {"w": symbol}
        small = value is not None and self._small(value)
        alone = len(update.lines) == 1
        written: list[Written] = []
        for line in update.lines:
            tree = parse(line.equation)
            arrow = Symbol("\\leftarrow") in tree.items
            left = substituted(sides(tree)[0], letters)
            parts = tuple(
                substituted(part, letters, {}) if not alone else _with_gradient(substituted(part, letters), symbol) for part in sides(tree)
            )
            numbers: tuple[Node, ...] = ()
            if small and value is not None and line.value.shape == update.old.shape:
                result = self.drawn(value, line.value)
                numbers = (result,)
                if alone and update.method == "SGD":
                    eta = float(update.settings["lr"])
                    inside = Row((Letter("w"), Symbol("-"), _number(eta), Symbol("\\,"), Letter("g")))
                    arrays = {"w": self.drawn(value, update.old), "g": self.drawn(value, update.gradient)}
                    numbers = (substituted(inside, arrays), result)
            written.append(
                Written(parts, numbers, self.laid_out(value, line.value) if value is not None else line.value, left, arrow=arrow)
            )
        return written

    # parts -------------------------------------------------------------------------------------------------------------------------

    def _linear(self, step: Step) -> Mapping[str, str] | None:
        if step.rule is None or step.rule.name != "linear" or self.name == "torch":
            return None
        if self.chain:
            return LINEAR[self.name]
        return LINEAR["each"] if self.name == "column" else None

    def _listed(self, step: Step, letter: str) -> tuple[Value, ...]:
        """The values of a list of tensors, or of several outputs, that a letter of the rule stands for; none for any other letter."""
        parameter = step.rule.symbols.get(letter) if step.rule else None
        values = step.outputs if parameter == "output" else step.arguments.get(str(parameter))
        if not isinstance(values, (list, tuple)) or (parameter == "output" and len(values) == 1):
            return ()
        return tuple(value for value in values if isinstance(value, Value))

    def _spelt_out(self, step: Step, source: str, *, bar: bool = False) -> tuple[str, dict[str, Node]]:
        """A list such as X_1, ..., X_n with the values that it stands for, where they are few; words stand for them until later.

        With `bar` it is a list of gradients.
        """
        if step.rule is None:
            return source, {}
        spelt: dict[str, Node] = {}
        for letter in step.rule.symbols:
            values = self._listed(step, letter)
            if not 0 < len(values) <= LISTED:
                continue
            names = [f"@{letter}{place}" for place in range(len(values))]
            drawn = re.escape(rf"\bar{{{letter}}}" if bar else letter)
            pattern = drawn + r"_\{1\},?\s*(?:\\[,;]\s*)?\\[lc]?dots\s*,?\s*" + drawn + r"_\{n\}"
            changed = re.sub(pattern, lambda _, names=names: ", ".join(rf"\mathtt{{{name}}}" for name in names), source)
            if changed != source:
                source = changed
                symbols = [gradient_of(self.symbol(value)) if bar else self.symbol(value) for value in values]
                spelt |= dict(zip(names, symbols, strict=True))
        return source, spelt

    def _letters_of(self, step: Step) -> dict[str, Node]:
        """The rule's letters -> this call's."""
        rule = step.rule
        if rule is None:
            return {}
        letters: dict[str, Node] = {}
        for letter, parameter in rule.symbols.items():
            if parameter == "output" and len(step.outputs) == 1:
                letters[letter] = self.symbol(step.outputs[0])
                continue
            argument = step.arguments.get(str(parameter))
            if isinstance(argument, Value):
                letters[letter] = self.symbol(argument)
            elif isinstance(argument, (int, float)) and not isinstance(argument, bool):
                letters[letter] = _number(argument)
        return letters

    def _arrays_of(self, step: Step) -> dict[str, Node] | None:
        """The rule's letters -> numbers; None where an argument is too large to be put into an equation, or is a list."""
        rule = step.rule
        if rule is None:
            return None
        arrays: dict[str, Node] = {}
        for letter, parameter in rule.symbols.items():
            argument = step.outputs[0] if parameter == "output" else step.arguments.get(str(parameter))
            if isinstance(argument, Value):
                if not self._small(argument):
                    return None
                arrays[letter] = self.drawn(argument)
            elif isinstance(argument, (list, tuple)) and any(isinstance(item, Value) for item in argument):
                return None  # a list of tensors, as of cat: its letters say which, its numbers stand where they were computed
            elif isinstance(argument, (int, float)) and not isinstance(argument, bool):
                arrays[letter] = _number(argument)
        return arrays

    def _arriving(self, step: Step) -> dict[str, Node]:
        if step.rule is None or len(step.outputs) != 1 or step.outputs[0].gradient is None:
            return {}
        output = step.outputs[0]
        return {letter: self.drawn(output, output.gradient) for letter, parameter in step.rule.symbols.items() if parameter == "output"}

    def _small(self, value: Value) -> bool:
        array = value.array
        return array.ndim <= 2 and array.size <= SUBSTITUTED_ENTRIES and max((*array.shape, 1)) <= SUBSTITUTED_COLUMNS and array.size > 0

    def _fits(self, step: Step, *values: Value) -> bool:
        return all(self._small(value) for value in values) and step.status != "no equation"

    def _tidy(self, step: Step, tree: Row) -> Row:
        """Without signs of an element-wise product where a factor is a single number."""
        scalar = any(
            not isinstance(step.arguments.get(name), Value) or step.arguments[name].array.ndim == 0
            for name in ("input", "other")
            if name in step.arguments
        )
        if step.operation not in ("mul", "div", "rdiv") or not scalar:
            return tree
        result = exchanged(tree, lambda part: Symbol("\\cdot") if part == Symbol("\\odot") else None)
        return result if isinstance(result, Row) else tree


def _with_words(part: Node, spelt: Mapping[str, Node]) -> Node:
    """The letters in the places of the words that stood for them."""
    return exchanged(part, lambda inner: spelt.get(inner.words) if isinstance(inner, Words) else None) if spelt else part


def _with_gradient(part: Node, symbol: Node) -> Node:
    """g written as dL/dw."""
    return exchanged(part, lambda inner: gradient_of(symbol) if inner == Letter("g") else None)


def _distinct(inner: Node, result: Node) -> tuple[Node, ...]:
    """Numbers put in and the result; the result alone where the equation only hands numbers on."""
    handed_on = isinstance(inner, Matrix) or (isinstance(inner, Row) and len(inner.items) == 1 and isinstance(inner.items[0], Matrix))
    return (result,) if handed_on else (inner, result)


def _squares(outputs: np.ndarray, targets: np.ndarray) -> Node:
    """1/2 ((a - b)^2 + ...) with numbers."""
    items: list[Node] = [*parse(r"\frac{1}{2}").items, *([Symbol("(")] if outputs.size > 1 else [])]
    for place, (output, target) in enumerate(zip(outputs, targets, strict=True)):
        items += [Symbol("+")] if place else []
        items += [Symbol("("), Matrix(np.asarray(output)), Symbol("-"), Matrix(np.asarray(target)), Script(Symbol(")"), None, Number("2"))]
    return Row((*items, *([Symbol(")")] if outputs.size > 1 else [])))


def _number(number: float) -> Node:
    digits = f"{number:.6g}"
    if "e" in digits:
        mantissa, exponent = digits.split("e")
        power = f"10^{{{int(exponent)}}}"
        return parse(power if mantissa == "1" else rf"{mantissa} \cdot {power}")
    return Number(digits) if number >= 0 else Row((Symbol("("), Symbol("-"), Number(digits[1:]), Symbol(")")))


def _given(equation: str, step: Step) -> str:
    from pellucid.derivation.registry import given

    return given(equation, step.arguments)


def _plain_call(step: Step) -> bool:
    """Whether a loss was called without weights, smoothing or another reduction."""
    arguments: Mapping[str, Any] = step.arguments
    return (
        arguments.get("weight") is None
        and arguments.get("reduction", "mean") == "mean"
        and not arguments.get("label_smoothing")
        and not (
            step.operation == "cross_entropy"
            and isinstance(arguments.get("target"), Value)
            and arguments["target"].array.dtype.kind in "iu"
            and bool((arguments["target"].array == arguments.get("ignore_index", -100)).any())
        )
    )
