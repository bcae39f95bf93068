"""Which letter each value of a derivation has: layers are numbered, results are called by their layer or by their equation's number."""

from __future__ import annotations

import re
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from pellucid.derivation.formula import Accent, Letter, Node, Number, Row, Script, Symbol, Words
from pellucid.derivation.latex_formula import first_of, latex, parse
from pellucid.derivation.tape import Step, Value

if TYPE_CHECKING:
    from pellucid.derivation.derive import Derivation

ACTIVATIONS = frozenset(
    re.findall(
        r"\w+",
        "sigmoid tanh relu relu6 leaky_relu elu selu celu gelu silu mish softplus softsign hardtanh hardsigmoid hardswish logsigmoid prelu "
        "rrelu threshold softmax log_softmax softmin tanhshrink hardshrink softshrink",
    )
)
CHAIN = ACTIVATIONS | {"linear", "dropout"}
_HANDING_ON = frozenset({"shapes", "joining", "indexing", "casts", "elementwise", "reductions", "diagonals"})


class Letters:
    r"""The letters of one derivation.

    Layer l has W^{(l)} and b^{(l)}, its result before the activation is z^{(l)}, after it a^{(l)}; the network's output is \hat{y}, the
    target y, the loss L. Any other result is u_{k}, k being the number of the equation that gives it.
    """

    def __init__(self, derivation: Derivation) -> None:
        self.derivation = derivation
        forward = [step for step in derivation.steps if step.stage != "loss"]
        self.chain = _is_chain(derivation, forward)
        first = next((value.array for value in derivation.inputs), np.zeros(1))
        self.single = self.chain and (first.ndim < 2 or first.shape[0] == 1)  # one example: small letters
        self.layers: dict[tuple[str, str], int] = {}  # (kind of layer, module path) -> its number among those of its kind
        self.symbols: dict[int, Node] = {}
        self._name()

    def _name(self) -> None:
        derivation = self.derivation
        small = self.single and derivation.notation == "column"
        taken: set[str] = set()
        for kind, values in (("x" if small else "X", derivation.inputs), ("y" if small or not self.chain else "Y", derivation.targets)):
            for number, value in enumerate(values, 1):
                self.symbols[value.index] = Letter(kind) if len(values) == 1 else Script(Letter(kind), Number(str(number)))
        paths = {value.index: path for path, value in reversed(list(derivation.parameters.items()))}
        for step in derivation.steps:
            owners: list[int] = []
            for place, value in step.places.items():
                if value.kind == "parameter" and value.index not in self.symbols:
                    path = paths.get(value.index, value.name)
                    layer = (_kind_of(step), path.rpartition(".")[0])
                    if layer not in self.layers:
                        self.layers[layer] = 1 + sum(kind == layer[0] for kind, _ in self.layers)
                    symbol = _numbered(_letter_of(step, place), self.layers[layer])
                    if latex(symbol) in taken:
                        symbol = Script(Letter("w"), Words(path, "mathrm"))
                    taken.add(latex(symbol))
                    self.symbols[value.index] = symbol
                if value.kind == "parameter":
                    path = paths.get(value.index, value.name)
                    owners.append(self.layers.get((_kind_of(step), path.rpartition(".")[0]), 0))
            self._result(step, owners[0] if owners else 0, taken, small)
        if len(derivation.outputs) == 1 and derivation.outputs[0].kind == "operation" and derivation.outputs[0] is not derivation.loss:
            self.symbols[derivation.outputs[0].index] = Accent("hat", Letter("y" if small or not self.chain else "Y"))
        for number, value in enumerate(derivation.parameters.values(), 1):  # those that no step uses
            self.symbols.setdefault(value.index, Script(Letter("w"), Number(str(number))))
        if derivation.loss.kind == "operation":
            self.symbols[derivation.loss.index] = Letter("L")

    def _result(self, step: Step, layer: int, taken: set[str], small: bool) -> None:
        for position, value in enumerate(step.outputs):
            if value.index in self.symbols:
                continue
            symbol: Node | None = None
            if step.group:
                symbol = _labelled(value.name, step)
                copy = 1
                while symbol is not None and latex(symbol) in taken:  # the same gate of a further layer or module
                    copy += 1
                    symbol = _numbered(_labelled(value.name, step) or Letter("u"), copy)
            elif len(step.outputs) == 1:
                if layer and (step.operation == "linear" or step.operation.startswith("conv")):
                    symbol = _numbered(Letter("z" if small or not self.chain else "Z"), layer)
                elif step.operation in ACTIVATIONS and step.inputs:
                    before = self.symbols.get(step.inputs[0].index)
                    if isinstance(before, Script) and before.base in (Letter("z"), Letter("Z")):
                        symbol = Script(Letter("a" if before.base == Letter("z") else "A"), before.sub, before.sup)
            if symbol is None or latex(symbol) in taken:
                number = str(step.index) if len(step.outputs) == 1 else f"{step.index},{position + 1}"
                symbol = Script(Letter("u"), Number(number))
            taken.add(latex(symbol))
            self.symbols[value.index] = symbol

    def symbol(self, value: Value) -> Node:
        """The value's letter."""
        if value.index in self.symbols:
            return self.symbols[value.index]
        if value.kind == "constant" and value.array.size == 1 and value.array.dtype.kind in "fiu":
            return Number(f"{float(value.array.reshape(())):.6g}")
        letter = {"buffer": "r", "draw": "m", "input": "x"}.get(value.kind, "c")
        return self.symbols.setdefault(value.index, Script(Letter(letter), Number(str(value.index))))

    @cached_property
    def legend(self) -> list[tuple[Node, Value]]:
        """Letters of what is given: inputs, targets and parameters."""
        given = [*self.derivation.inputs, *self.derivation.targets]
        seen = {value.index for value in given}
        for value in self.derivation.parameters.values():
            if value.index not in seen:
                seen.add(value.index)
                given.append(value)
        return [(self.symbol(value), value) for value in given]


def _is_chain(derivation: Derivation, forward: list[Step]) -> bool:
    """Whether the network is fully connected layers and activations, one after the other, on one input of examples by features."""
    if len(derivation.inputs) != 1 or not forward or derivation.inputs[0].array.ndim not in (1, 2):
        return False
    current = derivation.inputs[0]
    for step in forward:
        if step.rule is None or step.operation not in CHAIN or len(step.outputs) != 1 or not step.inputs:
            return False
        if step.inputs[0] is not current or step.outputs[0].array.ndim > 2:
            return False
        if any(value.kind not in ("parameter", "draw") for value in step.inputs[1:]):
            return False
        current = step.outputs[0]
    return any(step.operation == "linear" for step in forward)


_NAME = r"[A-Za-z]~?(?:_[\w,]+)?(?:\^\(\d+←?\))?"
_LABEL = re.compile(rf"^(?:{_NAME}|\[{_NAME}(?:, {_NAME})*\])$")


def _labelled(name: str, step: Step) -> Node | None:
    """The name that an expansion gave to a result: z_f,1 or [h_0, x_1]; None where it is only the operation's."""
    if name.startswith(step.operation) or not _LABEL.match(name):
        return None
    written = re.sub(r"([A-Za-z])~", r"\\tilde{\1}", name)
    written = re.sub(r"_([A-Za-z0-9]+(?:,[A-Za-z0-9]+)*)", r"_{\1}", written)
    written = re.sub(r"\^(\(\d+)(←?)\)", lambda found: f"^{{{found[1]}{found[2].replace('←', chr(92) + 'leftarrow ')})}}", written)
    items = parse(written).items
    return items[0] if len(items) == 1 else Row(items)


def _letter_of(step: Step, place: str) -> Node:
    """The rule's own letter for a parameter: W and b of a linear layer, gamma and beta of a normalisation.

    Operations that only hand numbers on know no such letter: there the parameter's own name tells.
    """
    value = step.places[place]
    if step.rule is not None and step.rule.family in _HANDING_ON:
        leaf = value.name.rpartition(".")[2]
        kind = "W" if "weight" in leaf else "b" if "bias" in leaf else "w"
        rest = re.sub(r"weight|bias", "", leaf).strip("_").replace("__", "_")
        return Script(Letter(kind), Words(rest, "mathrm")) if rest else Letter(kind)
    if step.rule is not None:
        for letter, parameter in step.rule.symbols.items():
            if parameter == place:
                return first_of(letter)
    return Letter("w")


def _kind_of(step: Step) -> str:
    """Linear and convolution layers are counted together, those of any other kind by themselves."""
    return "layer" if step.operation == "linear" or step.operation.startswith("conv") else step.operation


def _numbered(letter: Node, layer: int) -> Node:
    number = Row((Symbol("("), Number(str(layer)), Symbol(")")))
    return Script(letter.base, letter.sub, number) if isinstance(letter, Script) else Script(letter, None, number)
