"""One time step of an LSTM, a GRU or a plain recurrent network, gate by gate.

The steps are those of the textbooks: an LSTM's gates act on the concatenation [h_{t-1}, x_t] in the order f, i, C~, C, o, h, whereas
PyTorch keeps W_ih and W_hh apart and stacks their rows in the order i, f, g, o. It is the same function. PyTorch's GRU is not the
textbooks' GRU: see its forms.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pellucid.core.language import Text, text
from pellucid.derivation.registry import Form
from pellucid.derivation.tape import Tape, Value

States = tuple[Value, ...]


@dataclass(frozen=True)
class Place:
    """Letters of one direction of one layer. With several, each letter says which: h_{3}^{(1)}, backwards h_{3}^{(1, <-)}."""

    layer: int = 0
    backwards: bool = False
    alone: bool = True

    def name(self, letter: str, index: Any = "") -> str:
        below = f"_{index}" if index != "" else ""
        return f"{letter}{below}" + ("" if self.alone else f"^({self.layer}{'←' if self.backwards else ''})")

    def symbol(self, letter: str, index: Any = "") -> str:
        body = r"\tilde{" + letter[0] + "}" if letter.endswith("~") else letter
        below = f"_{{{index}}}" if index != "" else ""
        arrow = r", \leftarrow" if self.backwards else ""
        return body + below + ("" if self.alone else f"^{{({self.layer}{arrow})}}")


class Scribe:
    """Applies rules on a tape and gives the results the letters of one place."""

    def __init__(self, tape: Tape, place: Place) -> None:
        self.tape, self.place = tape, place

    def __call__(self, rule: str, *args: Any, to: tuple[str, Any] | list[tuple[str, Any]], **kwargs: Any) -> Any:
        """One step; `to` is the letter and index of its result, or of each of its results."""
        letters = to if isinstance(to, list) else [to]
        labels, symbols = [self.place.name(*letter) for letter in letters], [self.place.symbol(*letter) for letter in letters]
        result = self.tape.apply(rule, *args, label=labels, symbol=symbols, **kwargs)
        return result if isinstance(to, tuple) else several(result)

    def joined(self, h: Value, x: Value) -> Value:
        """The concatenation [h_{t-1}, x_t], under the letters of its two parts."""
        label, symbol = f"[{h.name}, {x.name}]", f"[{h.symbol or 'h'}, {x.symbol or 'x'}]"
        return self.tape.apply("cat", [h, x], -1, label=label, symbol=symbol)


def several(result: Value | tuple[Value, ...]) -> tuple[Value, ...]:
    """The results of a step that may have only one."""
    return result if isinstance(result, tuple) else (result,)


@dataclass(frozen=True)
class Weights:
    """The parameters of one direction of one layer, rows of all gates stacked."""

    input: Value  # W_ih (gates H, D)
    hidden: Value  # W_hh (gates H, H)
    input_bias: Value | None = None
    hidden_bias: Value | None = None
    projection: Value | None = None  # W_hr (P, H)


class Cell:
    """One time step of one direction of one layer."""

    title = ""
    states = 1
    note: Text | None = None  # what a reader should know, said at the first step on the weights

    def __init__(self, tape: Tape, weights: Weights, place: Place) -> None:
        self.tape, self.weights, self.write = tape, weights, Scribe(tape, place)
        first = len(tape.steps)
        with tape.group(text("weights")):
            self.prepare()
        for step in tape.steps[first : first + 1]:
            step.note = self.note

    def prepare(self) -> None:
        """Steps on the weights alone, before the first time."""
        raise NotImplementedError

    def step(self, x: Value, states: States, t: Any) -> States:
        """The states after time t; the first of them is the output."""
        raise NotImplementedError

    def gates(self, letters: str) -> dict[str, tuple[Value, Value, Value | None, Value | None]]:
        """The blocks of rows of each gate: (W_i, W_h, b_i, b_h)."""
        blocks: list[Sequence[Value | None]] = []
        sources = (self.weights.input, self.weights.hidden, self.weights.input_bias, self.weights.hidden_bias)
        for source, letter, side in zip(sources, "WWbb", "ihih", strict=True):
            if source is None:
                blocks.append([None] * len(letters))
            else:
                blocks.append(self.write("chunk", source, len(letters), 0, to=[(letter, side + gate) for gate in letters]))
        return {gate: tuple(block[position] for block in blocks) for position, gate in enumerate(letters)}  # type: ignore[misc]

    def concatenated(self, parts: tuple[Value, Value, Value | None, Value | None], gate: str) -> tuple[Value, Value | None]:
        """W_f = [W_hf, W_if] and b_f = b_hf + b_if: one matrix that acts on [h, x]."""
        input, hidden, input_bias, hidden_bias = parts
        matrix = self.write("cat", [hidden, input], 1, to=("W", gate))
        bias = self.write("add", hidden_bias, input_bias, to=("b", gate)) if hidden_bias and input_bias else hidden_bias or input_bias
        return matrix, bias


LSTM = Form(
    text("as executed: one matrix per gate on the concatenation of the last hidden state and the input"),
    (
        r"f_{t} = \sigma(W_{f} [h_{t-1}, x_{t}] + b_{f})",
        r"i_{t} = \sigma(W_{i} [h_{t-1}, x_{t}] + b_{i})",
        r"\tilde{C}_{t} = \tanh(W_{C} [h_{t-1}, x_{t}] + b_{C})",
        r"C_{t} = f_{t} \odot C_{t-1} + i_{t} \odot \tilde{C}_{t}",
        r"o_{t} = \sigma(W_{o} [h_{t-1}, x_{t}] + b_{o})",
        r"h_{t} = o_{t} \odot \tanh(C_{t})",
        r"W_{f} = [W_{hf}, W_{if}], \quad W_{i} = [W_{hi}, W_{ii}], \quad W_{C} = [W_{hg}, W_{ig}], \quad W_{o} = [W_{ho}, W_{io}]",
        r"b_{f} = b_{hf} + b_{if}, \quad b_{i} = b_{hi} + b_{ii}, \quad b_{C} = b_{hg} + b_{ig}, \quad b_{o} = b_{ho} + b_{io}",
    ),
)
LSTM_OF_TORCH = Form(
    text("in PyTorch's letters and order of gates: the same function"),
    (
        r"i_{t} = \sigma(W_{ii} x_{t} + b_{ii} + W_{hi} h_{t-1} + b_{hi})",
        r"f_{t} = \sigma(W_{if} x_{t} + b_{if} + W_{hf} h_{t-1} + b_{hf})",
        r"g_{t} = \tanh(W_{ig} x_{t} + b_{ig} + W_{hg} h_{t-1} + b_{hg})",
        r"o_{t} = \sigma(W_{io} x_{t} + b_{io} + W_{ho} h_{t-1} + b_{ho})",
        r"c_{t} = f_{t} \odot c_{t-1} + i_{t} \odot g_{t}",
        r"h_{t} = o_{t} \odot \tanh(c_{t})",
    ),
)
LSTM_WHERE = {
    "t": text("the time"), "x": text("the input"), "h": text("the hidden state"), "C": text("the cell state"), "c": text("the cell state"),
    r"\tilde{C}": text("the candidate state"), "g": text("the candidate state"), "f": text("the forget gate"), "i": text("the input gate"),
    "o": text("the output gate"), "W": text("a weight"), "b": text("a bias"), r"\sigma": text("the logistic function"),
}  # fmt: skip
LSTM_SOURCE = "Gers, Schmidhuber and Cummins 2000, Learning to forget: continual prediction with LSTM, section 3"


LSTM_NOTE = text(
    "PyTorch stacks the rows of the gates in the order i, f, g, o and keeps W_i and W_h apart. Here each gate has one matrix on the "
    "concatenation [h, x], W_f = [W_hf, W_if], in the order f, i, C, o: the same function."
)


class Lstm(Cell):
    title = "LSTM"
    states = 2
    note = LSTM_NOTE

    def prepare(self) -> None:
        gates = self.gates("ifgo")
        self.forget, self.input = self.concatenated(gates["f"], "f"), self.concatenated(gates["i"], "i")
        self.candidate, self.output = self.concatenated(gates["g"], "C"), self.concatenated(gates["o"], "o")

    def step(self, x: Value, states: States, t: Any) -> States:
        (h, C), write, group = states, self.write, self.tape.group
        joined = write.joined(h, x)

        def gate(letter: str, weights: tuple[Value, Value | None], activation: str, index: str) -> Value:
            z = write("linear", joined, *weights, to=("z", f"{index},{t}"))
            return write(activation, z, to=(letter, t))

        with group(text("forget gate")):
            f = gate("f", self.forget, "sigmoid", "f")
        with group(text("input gate")):
            i = gate("i", self.input, "sigmoid", "i")
        with group(text("candidate state")):
            candidate = gate("C~", self.candidate, "tanh", "C")
        with group(text("cell state")):
            kept, added = write("mul", f, C, to=("k", t)), write("mul", i, candidate, to=("n", t))
            C = write("add", kept, added, to=("C", t))
        with group(text("output gate")):
            o = gate("o", self.output, "sigmoid", "o")
        with group(text("hidden state")):
            squashed = write("tanh", C, to=("s", t))
            if self.weights.projection is None:
                return write("mul", o, squashed, to=("h", t)), C
            return write("linear", write("mul", o, squashed, to=("m", t)), self.weights.projection, to=("h", t)), C


GRU = Form(
    text("as executed by PyTorch: the reset gate acts after the product with the last hidden state"),
    (
        r"z_{t} = \sigma(W_{z} [h_{t-1}, x_{t}] + b_{z})",
        r"r_{t} = \sigma(W_{r} [h_{t-1}, x_{t}] + b_{r})",
        r"\tilde{h}_{t} = \tanh(W_{in} x_{t} + b_{in} + r_{t} \odot (W_{hn} h_{t-1} + b_{hn}))",
        r"h_{t} = (1 - z_{t}) \odot \tilde{h}_{t} + z_{t} \odot h_{t-1}",
        r"W_{z} = [W_{hz}, W_{iz}], \quad W_{r} = [W_{hr}, W_{ir}], \quad b_{z} = b_{hz} + b_{iz}, \quad b_{r} = b_{hr} + b_{ir}",
    ),
)
GRU_OF_TEXTBOOKS = Form(
    text("in many textbooks, not executed here: the reset gate acts before the product, another function with other numbers"),
    (
        r"\tilde{h}_{t} = \tanh(W_{h} [r_{t} \odot h_{t-1}, x_{t}] + b_{h})",
        r"h_{t} = (1 - z_{t}) \odot h_{t-1} + z_{t} \odot \tilde{h}_{t}",
    ),
)
GRU_NOTE = text(
    "PyTorch's GRU multiplies by the reset gate after W_hn h + b_hn; the GRU of many textbooks multiplies h by it before. "
    "Its update gate keeps the old state where it is 1; in some textbooks the two are exchanged."
)
GRU_WHERE = {
    "t": text("the time"), "x": text("the input"), "h": text("the hidden state"), r"\tilde{h}": text("the candidate state"),
    "z": text("the update gate"), "r": text("the reset gate"), "W": text("a weight"), "b": text("a bias"),
    r"\sigma": text("the logistic function"), "n": text("PyTorch's letter of the candidate state"),
    "i": text("of the input"),
}  # fmt: skip
GRU_SOURCE = "Cho et al. 2014, Learning phrase representations using RNN encoder-decoder, section 2.3; Chung et al. 2014, section 3.2"


class Gru(Cell):
    title = "GRU"
    note = GRU_NOTE

    def prepare(self) -> None:
        gates = self.gates("rzn")
        self.update, self.reset = self.concatenated(gates["z"], "z"), self.concatenated(gates["r"], "r")
        self.new = gates["n"]

    def step(self, x: Value, states: States, t: Any) -> States:
        (h,), write, group = states, self.write, self.tape.group
        joined = write.joined(h, x)
        with group(text("update gate")):
            z = write("sigmoid", write("linear", joined, *self.update, to=("a", f"z,{t}")), to=("z", t))
        with group(text("reset gate")):
            r = write("sigmoid", write("linear", joined, *self.reset, to=("a", f"r,{t}")), to=("r", t))
        with group(text("candidate state")):
            W_i, W_h, b_i, b_h = self.new
            seen = write("linear", x, W_i, b_i, to=("u", t))
            remembered = write("mul", r, write("linear", h, W_h, b_h, to=("v", t)), to=("w", t))
            candidate = write("tanh", write("add", seen, remembered, to=("a", f"n,{t}")), to=("h~", t))
        with group(text("hidden state")):
            taken = write("mul", write("rsub", z, 1, to=("q", t)), candidate, to=("m", t))
            kept = write("mul", z, h, to=("k", t))
            return (write("add", taken, kept, to=("h", t)),)


def rnn_forms(activation: str) -> tuple[Form, Form]:
    return (
        Form(
            text("as executed"),
            (rf"h_{{t}} = {activation}(W_{{hh}} h_{{t-1}} + W_{{ih}} x_{{t}} + b_{{h}})", r"b_{h} = b_{ih} + b_{hh}"),
        ),
        Form(text("an output at every time, where the program has such a layer"), (r"y_{t} = W_{hy} h_{t} + b_{y}",)),
    )


RNN_WHERE = {
    "t": text("the time"), "x": text("the input"), "h": text("the hidden state"), "W": text("a weight"), "b": text("a bias"),
    "y": text("the output"), "i": text("of the input"),
}  # fmt: skip
RNN_SOURCE = "Goodfellow, Bengio and Courville 2016, Deep Learning, section 10.2, eqs. 10.8 to 10.10"


class Rnn(Cell):
    title = "RNN"
    note = text("PyTorch has two biases where textbooks have one: b_h is their sum.")
    activation = "tanh"

    def prepare(self) -> None:
        weights = self.weights
        both = weights.hidden_bias and weights.input_bias
        self.bias = self.write("add", weights.input_bias, weights.hidden_bias, to=("b", "h")) if both else None

    def step(self, x: Value, states: States, t: Any) -> States:
        (h,), write = states, self.write
        remembered = write("linear", h, self.weights.hidden, to=("v", t))
        seen = write("linear", x, self.weights.input, self.bias, to=("u", t))
        return (write(self.activation, write("add", remembered, seen, to=("a", t)), to=("h", t)),)


class RnnRelu(Rnn):
    activation = "relu"
