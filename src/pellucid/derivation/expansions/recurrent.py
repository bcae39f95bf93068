"""Recurrent networks, in PyTorch one call each, step by step: layers, directions, times, gates."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from pellucid.core.language import Text, text
from pellucid.derivation.expansions.gates import (
    GRU,
    GRU_NOTE,
    GRU_OF_TEXTBOOKS,
    GRU_SOURCE,
    GRU_WHERE,
    LSTM,
    LSTM_NOTE,
    LSTM_OF_TORCH,
    LSTM_SOURCE,
    LSTM_WHERE,
    RNN_SOURCE,
    RNN_WHERE,
    Cell,
    Gru,
    Lstm,
    Place,
    Rnn,
    RnnRelu,
    States,
    Weights,
    rnn_forms,
    several,
)
from pellucid.derivation.registry import Unsupported, expansion
from pellucid.derivation.tape import Tape, Value


class _Times:
    """How a call lays out its times: a tensor (T, N, D), or the packed rows of sequences of several lengths."""

    def __init__(self, tape: Tape, sizes: list[int] | None) -> None:
        self.tape, self.sizes = tape, sizes

    def split(self, x: Value, names: list[str], symbols: list[str]) -> list[Value]:
        """x_1, ..., x_T."""
        if self.sizes is None:
            return list(several(self.tape.apply("unbind", x, 0, label=names, symbol=symbols)))
        return list(several(self.tape.apply("split", x, self.sizes, 0, label=names, symbol=symbols)))

    def join(self, steps: Sequence[Value], label: str) -> Value:
        """The tensor of all times."""
        return (
            self.tape.apply("stack", list(steps), 0, label=label)
            if self.sizes is None
            else self.tape.apply("cat", list(steps), 0, label=label)
        )

    def rows(self, t: int) -> int | None:
        """How many sequences are still going on at time t (from 0); None: all."""
        return None if self.sizes is None else self.sizes[t]


def _unrolled(cell: Cell, times: _Times, x: Sequence[Value], initial: States, backwards: bool) -> tuple[list[Value], States]:
    """One direction of one layer: the output at each time and the last states."""
    tape, states, outputs = cell.tape, initial, dict[int, Value]()
    finished: list[States] = []
    if backwards and times.sizes is not None:  # shorter sequences begin later
        states = _first_rows(tape, states, times.sizes[-1])
    for t in reversed(range(len(x))) if backwards else range(len(x)):
        with tape.group(text("t = {t}", t=t + 1)):
            rows, going = times.rows(t), states[0].shape[0]
            if rows is not None and rows < going:  # the shortest sequences have ended
                finished.append(tuple(tape.apply("narrow", state, 0, rows, going - rows, label=state.name) for state in states))
                states = _first_rows(tape, states, rows)
            elif rows is not None and rows > going:
                begun = [tape.apply("narrow", state, 0, going, rows - going, label=state.name) for state in initial]
                states = tuple(
                    tape.apply("cat", [old, new], 0, label=old.name, symbol=old.symbol) for old, new in zip(states, begun, strict=True)
                )
            states = cell.step(x[t], states, t + 1)
            outputs[t] = states[0]
    if finished:
        parts = [states, *reversed(finished)]
        states = tuple(tape.apply("cat", [part[k] for part in parts], 0, label=states[k].name) for k in range(len(states)))
    return [outputs[t] for t in range(len(x))], states


def _first_rows(tape: Tape, states: States, rows: int) -> States:
    if states[0].shape[0] == rows:
        return states
    return tuple(tape.apply("narrow", state, 0, 0, rows, label=state.name, symbol=state.symbol) for state in states)


@contextmanager
def _titled(tape: Tape, title: str, layer: int, backwards: bool, directions: int) -> Iterator[None]:
    """Steps of one direction of one layer."""
    with tape.group(text("{network} layer {layer}", network=title, layer=layer)):
        if directions == 1:
            yield
        else:
            with tape.group(text("backward in time") if backwards else text("forward in time")):
                yield


def _network(
    tape: Tape,
    make: type[Cell],
    x: Value,
    sizes: list[int] | None,
    initial: Sequence[Value],
    parameters: Sequence[Value],
    biases: bool,
    layers: int,
    dropout: float,
    train: bool,
    bidirectional: bool,
    batch_first: bool,
    draws: Sequence[Value],
) -> tuple[Value, ...]:
    """All layers and directions: the outputs of the last layer, then the last states of every layer and direction."""
    directions, masks = 2 if bidirectional else 1, list(draws)
    count = len(parameters) // (layers * directions)
    alone, times = layers * directions == 1, _Times(tape, sizes)
    with tape.group(text("{network}: input", network=make.title)):
        if batch_first:
            x = tape.apply("transpose", x, 0, 1, label="x")
        length = len(sizes) if sizes is not None else x.shape[0]
        steps = times.split(x, [f"x_{t + 1}" for t in range(length)], [f"x_{{{t + 1}}}" for t in range(length)])
        first = _initial_states(tape, initial, layers, directions, length)
    last: list[States] = []
    whole = x
    for layer in range(layers):
        ways: list[list[Value]] = []
        for backwards in range(directions):
            index = layer * directions + backwards
            place = Place(layer + 1, bool(backwards), alone)
            with _titled(tape, make.title, layer + 1, bool(backwards), directions):
                cell = make(tape, _weights(parameters[index * count : (index + 1) * count], biases), place)
                outputs, states = _unrolled(cell, times, steps, first[index], bool(backwards))
            ways.append(outputs)
            last.append(states)
        with tape.group(text("{network} layer {layer}", network=make.title, layer=layer + 1)), tape.group(text("output")):
            drops = dropout > 0 and train and layer < layers - 1
            steps = ways[0]
            if directions == 2 or drops or layer == layers - 1:
                joined = [times.join(way, f"Y{'←' * k}^({layer + 1})") for k, way in enumerate(ways)]
                whole = joined[0] if directions == 1 else tape.apply("cat", joined, -1, label=f"Y^({layer + 1})")
                if drops:
                    mask = (masks.pop(0),) if masks else ()
                    whole = tape.apply("dropout", whole, dropout, True, draws=mask, label=f"dropped Y^({layer + 1})")
                if layer < layers - 1:
                    names = [f"x_{t + 1}^({layer + 2})" for t in range(length)]
                    steps = times.split(whole, names, [f"x_{{{t + 1}}}^{{({layer + 2})}}" for t in range(length)])
    with tape.group(text("{network}: output", network=make.title)):
        if batch_first:
            whole = tape.apply("transpose", whole, 0, 1, label="Y")
        final = [tape.apply("stack", [states[k] for states in last], 0, label="hC"[k]) for k in range(make.states)]
    return (whole, *final)


def _initial_states(tape: Tape, initial: Sequence[Value], layers: int, directions: int, length: int) -> list[States]:
    """h_0 (and C_0) of every layer and direction; backwards it is h_{T+1}."""
    alone = layers * directions == 1
    places = [(Place(layer + 1, bool(way), alone), length + 1 if way else 0) for layer in range(layers) for way in range(directions)]
    parts = [
        several(
            tape.apply("unbind", state, 0, label=[p.name(letter, t) for p, t in places], symbol=[p.symbol(letter, t) for p, t in places])
        )
        for letter, state in zip("hC", initial, strict=False)
    ]
    return list(zip(*parts, strict=True))


def _weights(parameters: Sequence[Value], biases: bool) -> Weights:
    """W_ih, W_hh, b_ih, b_hh, W_hr, as PyTorch lists them."""
    input, hidden, *rest = parameters
    input_bias, hidden_bias = rest[:2] if biases else (None, None)
    return Weights(input, hidden, input_bias, hidden_bias, rest[-1] if len(rest) == (3 if biases else 1) else None)


def _arguments(args: Sequence[Any], two_states: bool) -> dict[str, Any]:
    """A call's arguments by name. With packed sequences: data, batch_sizes, hx, ...; else input, hx, ..., batch_first."""
    packed = len(args) > 3 and isinstance(args[3], (list, tuple))
    if packed:
        data, batch_sizes, hx, *rest = args
        sizes, batch_first = [int(size) for size in batch_sizes.array], False
    else:
        data, hx, *rest = args
        sizes, batch_first = None, rest.pop()
    parameters, biases, layers, dropout, train, bidirectional = rest
    initial = list(hx) if two_states else [hx]
    if data.array.ndim != (2 if packed else 3) or (sizes is None and not data.shape[1 if batch_first else 0]):
        raise Unsupported(
            text("an input of shape {shape}", shape=str(data.shape)),
            text("(times, examples, features)"),
            text("add the dimension of examples"),
        )
    return {
        "x": data, "sizes": sizes, "initial": initial, "parameters": parameters, "biases": biases, "layers": layers, "dropout": dropout,
        "train": train, "bidirectional": bidirectional, "batch_first": batch_first,
    }  # fmt: skip


@expansion("lstm", forms=(LSTM, LSTM_OF_TORCH), where=LSTM_WHERE, source=LSTM_SOURCE, note=LSTM_NOTE)
def lstm(tape: Tape, *args: Any, draws: Sequence[Value] = ()) -> tuple[Value, ...]:
    """output, h_n, c_n"""
    return _network(tape, Lstm, **_arguments(args, two_states=True), draws=draws)


@expansion("gru", forms=(GRU, GRU_OF_TEXTBOOKS), where=GRU_WHERE, source=GRU_SOURCE, note=GRU_NOTE)
def gru(tape: Tape, *args: Any, draws: Sequence[Value] = ()) -> tuple[Value, ...]:
    """output, h_n"""
    return _network(tape, Gru, **_arguments(args, two_states=False), draws=draws)


@expansion("rnn_tanh", forms=rnn_forms(r"\tanh"), where=RNN_WHERE, source=RNN_SOURCE)
def rnn_tanh(tape: Tape, *args: Any, draws: Sequence[Value] = ()) -> tuple[Value, ...]:
    """output, h_n"""
    return _network(tape, Rnn, **_arguments(args, two_states=False), draws=draws)


@expansion("rnn_relu", forms=rnn_forms(r"\operatorname{relu}"), where=RNN_WHERE, source=RNN_SOURCE)
def rnn_relu(tape: Tape, *args: Any, draws: Sequence[Value] = ()) -> tuple[Value, ...]:
    """output, h_n"""
    return _network(tape, RnnRelu, **_arguments(args, two_states=False), draws=draws)


def _one_step(
    tape: Tape, make: type[Cell], x: Value, states: Sequence[Value], w_ih: Value, w_hh: Value, b_ih: Value | None, b_hh: Value | None
) -> States:
    """A cell: one time step of one layer."""
    title: Text = text("{network} cell", network=make.title)
    with tape.group(title):
        cell = make(tape, Weights(w_ih, w_hh, b_ih, b_hh), Place())
        return cell.step(x, tuple(states), "t")


@expansion("lstm_cell", forms=(LSTM, LSTM_OF_TORCH), where=LSTM_WHERE, source=LSTM_SOURCE, note=LSTM_NOTE)
def lstm_cell(
    tape: Tape, input: Value, hx: Sequence[Value], w_ih: Value, w_hh: Value, b_ih: Value | None = None, b_hh: Value | None = None
) -> States:
    """h, c"""
    return _one_step(tape, Lstm, input, hx, w_ih, w_hh, b_ih, b_hh)


@expansion("gru_cell", forms=(GRU, GRU_OF_TEXTBOOKS), where=GRU_WHERE, source=GRU_SOURCE, note=GRU_NOTE)
def gru_cell(tape: Tape, input: Value, hx: Value, w_ih: Value, w_hh: Value, b_ih: Value | None = None, b_hh: Value | None = None) -> States:
    """h"""
    return _one_step(tape, Gru, input, [hx], w_ih, w_hh, b_ih, b_hh)


@expansion("rnn_tanh_cell", forms=rnn_forms(r"\tanh"), where=RNN_WHERE, source=RNN_SOURCE)
def rnn_tanh_cell(
    tape: Tape, input: Value, hx: Value, w_ih: Value, w_hh: Value, b_ih: Value | None = None, b_hh: Value | None = None
) -> States:
    """h"""
    return _one_step(tape, Rnn, input, [hx], w_ih, w_hh, b_ih, b_hh)


@expansion("rnn_relu_cell", forms=rnn_forms(r"\operatorname{relu}"), where=RNN_WHERE, source=RNN_SOURCE)
def rnn_relu_cell(
    tape: Tape, input: Value, hx: Value, w_ih: Value, w_hh: Value, b_ih: Value | None = None, b_hh: Value | None = None
) -> States:
    """h"""
    return _one_step(tape, RnnRelu, input, [hx], w_ih, w_hh, b_ih, b_hh)
